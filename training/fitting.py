"""Fitting a whole ensemble at once: a generator of steps, whose loop is the caller's."""

import copy
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hybrid import HybridModel, SimulationError, Solver, rollout
from hybrid.defaults import differentiating
from hybrid.threads import of_cohort, threads_by
from physics.arguments import quote, require_kind
from physics.glance import Summary, glance
from training.fitted import Fitted
from training.looks import Looks
from training.losses import residual_share
from training.machinery.checkpoint import Checkpoint, Saved, fingerprint_of
from training.machinery.distributed import Shard
from training.machinery.precision import in_bfloat16
from training.machinery.state import State
from training.machinery.unit import unit
from training.objective import Objective, people_counted
from training.people.arguments import require_fit
from training.people.cohort import Cohort, in_float64
from training.people.information import sensitivity
from training.people.likelihoods import gaussian_nll
from training.people.mode import modes
from training.search import Search


def _summary(step: Any) -> Summary:
    more = [("on held-out people", step.held_out), ("learning rate", step.rate)]
    return f"Step {step.index} of {step.total}", [("loss", step.loss), *more, ("best", step.best.model)]


@dataclass(frozen=True)
class Step:
    """One step of `fit`.

    `index` of `total` · `loss` (M,) each member's objective · `held_out` (M,) the latest mean −log predictive density per
    observation of held-out people, NaN before the first look or where nobody can be scored · `rate`, the learning rate ·
    `best`, the fit to keep if training ends here · `now`, a function that copies the fit as it is after this step, to be called
    before the next one: before the first look `best` of members that are judged is where they began.
    """

    index: int
    total: int
    loss: Tensor
    held_out: Tensor
    rate: float
    best: Fitted
    now: Callable[[], Fitted] | None = None

    __repr__, _repr_html_ = glance(_summary)


@threads_by(of_cohort)
def fit(
    model: HybridModel,
    cohort: Cohort,
    objective: Objective = Objective(),
    search: Search = Search(),
    looks: Looks = Looks(),
) -> Generator[Step, None, None]:
    """Fit every member to its own weighting of the people, all members and people in one computation.

    Member m minimises the weighted mean over people of −log p(y | η) − log p(η) + `least_residual`·(residual's share) +
    stability penalty, over the model's trainable tensors and each person's coordinates η, in the model's own type.

    Arguments
    - `objective`: what is made small, and whom each member counts and is judged by.
    - `search`: how; 200 `steps` where it does not say.
    - `looks`: how often a member is judged by its held-out people: they are personalised with the member frozen, on what was
      measured up to `objective.forecast_from` (on everything where that is None), and scored on the rest. `fit` ends early once
      every member is finished, after a `patience` of 5 looks where it does not say. And where the fit is kept.

    Yields a `Step` after every update; `last(fit(…))` waits for the end. Interrupting the loop loses nothing: the last step's
    `best` is complete. Steps may end before the fit has arrived: `convergence` says so, and `at_ends` what it left at an end of
    its range.
    Errors: `ValueError` for shapes and numbers that cannot be, and for a checkpoint of another fit; `SimulationError` that
    names the person.
    Law: members do not influence each other; a person with weight 0 does not influence the member; stop, save and resume
    is never stopped, bit for bit on a CPU.
    Source: Kingma & Ba (2015) for Adam.
    """
    require_fit(model, cohort, "fit")
    require_kind(objective, Objective, "fit: objective", "fit(model, cohort, objective=Objective(weights=…))")
    require_kind(search, Search, "fit: search", "fit(model, cohort, search=Search(steps=200))")
    require_kind(looks, Looks, "fit: looks", "fit(model, cohort, looks=Looks(every=20))")
    if objective.forecast_from is not None and objective.held_out is None:
        raise ValueError(
            f"fit: forecast_from is {objective.forecast_from:g} and nobody is held out, so nothing would be forecast from there: "
            "everyone's measurements teach, late ones too; say who is held out, Objective(held_out=…, weights=…), or teach by "
            "the early ones alone, fit(model, cohort.until(time))"
        )
    rate, forecast_from, checkpoint = search.rate, objective.forecast_from, looks.checkpoint
    steps = 200 if search.steps is None else search.steps
    patience = 5 if looks.patience is None else looks.patience
    model = copy.deepcopy(model)
    solver = search.solver or differentiating()  # one for all steps: it keeps its buffers between them
    shard = search.shard or Shard()
    shard.alike(model)
    M, N = model.members, cohort.conditions.size
    device = cohort.y.device
    state = State.begin(
        model,
        N,
        search.optimiser,
        rate,
        search.schedule or (lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps, eta_min=0.02 * rate)),
    )
    personal = state.personal
    if device != personal.device:
        raise ValueError(f"fit: the model is on {personal.device} and the cohort on {device}; write cohort.to(model.device)")
    if cohort.y.dtype != personal.dtype:
        raise ValueError(f"fit: the model is {personal.dtype} and the cohort {cohort.y.dtype}; write cohort.to({personal.dtype})")
    weights, held_out, everyone = people_counted(objective, personal, (M, N), "fit", shard.total)
    share = weights / everyone
    anchors, stability = objective.anchors, objective.stability
    if anchors is not None:
        anchors = anchors.to(personal)
        anchors.require(M, cohort.y.shape)
    if stability is not None:  # once, here: a graph that is captured copies nothing from elsewhere
        stability = stability.to(device)
    # a held-out person with nothing left to forecast judges nobody
    judged = shard.total((held_out * _asked(cohort, forecast_from).mask.sum((-1, -2))).sum(1)) > 0  # (M,)
    moving = in_bfloat16(model) if search.bfloat16 else model

    def losses() -> Tensor:  # (M,)
        try:
            run = rollout(moving, cohort.conditions, personal, solver)
        except SimulationError as error:
            raise named(error, cohort) from error
        if anchors is None:
            try:
                each = objective.likelihood(cohort.y, run.mean, run.variance)
            except (TypeError, NotImplementedError) as error:
                why = str(error)[:100]
                raise ValueError(f"fit: likelihood cannot score (y, mean, variance): {why}; write gaussian_nll") from error
            if not isinstance(each, Tensor) or each.shape != (M, N):
                raise ValueError(f"fit: likelihood gives one number a member and person, {(M, N)}, and gave {quote(each)}")
            each = each - model.log_prior(personal)
        else:
            each = anchors.likelihood(objective.likelihood, cohort.y, run.mean, run.variance)
            each = each - model.log_prior(personal - anchors.personal) + anchors.penalty(model)[:, None] / everyone
        if objective.least_residual:  # the share costs a fifth of a step
            each = each + objective.least_residual * residual_share(model, run, share, everyone=shard.total)
        if stability is not None:
            each = each + stability.penalty(model, run.theta)
        return (share * each).sum(1)

    fingerprint: dict[str, Any] = {}
    kept: Saved | None = None  # the last whole state: what an interrupt amid a step leaves is none
    if checkpoint is not None:
        settings: dict[str, object] = {
            "steps": steps,
            "rate": rate,
            "optimiser": [type(state.optimiser).__qualname__, state.groups()],
            "schedule": [type(state.schedule).__qualname__, state.schedule.state_dict()],
            "clip": search.clip,
            "weights": weights,
            "held-out people": held_out,
            "least_residual": objective.least_residual,
            "stability": stability,
            "likelihood": objective.likelihood,
            "anchors": anchors,
            "forecast_from": forecast_from,
            "look_every": looks.every,
            "patience": patience,
            "solver": solver,
            "bfloat16": search.bfloat16,
            "processes": [shard.rank, shard.world],
        }
        fingerprint = fingerprint_of(model, cohort, settings)
        kept = _latest(checkpoint, fingerprint, shard)
        if kept is not None:
            state.restore(kept)
    written = state.index
    # exchanges between processes are no part of a graph
    whole = unit(losses, [*model.parameters(), personal], capture=search.capture and shard.world == 1)
    try:
        if kept is not None:
            yield _step(state, steps)
        while state.index < steps and not bool((judged & (state.stale >= patience)).all()):
            loss = whole()
            if whole.captured and not bool(torch.isfinite(loss).all()):
                losses()  # a graph does not say who diverged
            state.loss = _sum_and_clip(model, personal, loss, search.clip, shard)
            state.rate = float(state.optimiser.param_groups[0]["lr"])
            state.optimiser.step()
            state.schedule.step()
            state.index += 1
            if state.index % looks.every == 0 or state.index == steps:
                better = ~judged
                if bool(judged.any()):
                    try:
                        state.latest, state.warm = _judge(model, cohort, held_out, forecast_from, state.warm, solver, shard)
                    except SimulationError as error:
                        raise named(error, cohort) from error
                    # a finished member is not reopened: how long the loop goes on is for the others to say
                    better = better | ((state.latest < state.best_score) & (state.stale < patience))
                    state.best_score = torch.where(better, state.latest, state.best_score)
                    state.stale = torch.where(better, 0, state.stale + 1)
                state.best = _merge(state.best, model, personal, better)
            elif not bool(judged.any()):
                state.best = Fitted(copy.deepcopy(model), personal.detach().clone())
            if checkpoint is not None:
                kept = state.saved()
            yield _step(state, steps)
            if checkpoint is not None and kept is not None and kept.index % checkpoint.every == 0:
                checkpoint.write(fingerprint, kept)
                written = kept.index
    finally:
        if checkpoint is not None and kept is not None and kept.index != written:
            checkpoint.write(fingerprint, kept)


def named(error: SimulationError, cohort: Cohort) -> SimulationError:
    """The same failure with the person's id in place of the row's number, and with what the time counts from."""
    if error.record is None:
        return error
    who = cohort.records[error.record % len(cohort.ids)]  # copies of people repeat the cohort's order
    text = str(error).replace(f"record {error.record}:", f"person {who.id}:", 1)
    if error.time is not None:
        text = text.replace(f"at time {error.time:g}", f"at time {error.time:g} since the {who.began}", 1)
    return SimulationError(text, record=error.record, time=error.time)


def _step(state: State, total: int) -> Step:
    def now() -> Fitted:
        return Fitted(copy.deepcopy(state.model), state.personal.detach().clone())

    return Step(state.index, total, state.loss, state.latest, state.rate, state.best, now)


def require_steps(steps: object, what: str) -> None:
    """Raise `ValueError` for what is no generator of a fit's steps."""
    if not isinstance(steps, Generator):
        raise ValueError(f"{what} are those of a fit as they come, and are {quote(steps)}; write fit(model, cohort)")


def _latest(checkpoint: Checkpoint, fingerprint: Mapping[str, Any], shard: Shard) -> Saved | None:
    """The state to go on from: the latest one that every process has."""
    found = {saved.index: saved for saved in reversed(checkpoint.read(fingerprint))}
    index = shard.latest_common(sorted(found)) if shard.world > 1 else max(found, default=None)
    if index is None:
        return None
    checkpoint.back_to(found[index])
    return found[index]


def _judge(
    model: HybridModel,
    cohort: Cohort,
    held_out: Tensor,
    forecast_from: float | None,
    warm: Tensor | None,
    solver: Solver | None,
    shard: Shard,
) -> tuple[Tensor, Tensor]:
    """Mean −log predictive density per observation of each member's held-out people, and their coordinates."""
    model, cohort = in_float64(model, cohort)
    known, asked = cohort if forecast_from is None else cohort.until(forecast_from), _asked(cohort, forecast_from)
    # a few damped steps suffice: the next look goes on from here; all of them, so that nobody waits for who else converged
    found = modes(model, known, start=warm, iterations=4, tolerance=0.0, solver=solver)
    with torch.no_grad():
        # a forecaster does not know the person exactly: their posterior widens what is predicted (to first order)
        s = sensitivity(model, asked.conditions, found.mode, solver)
        own = torch.einsum("mntpi,mnij,mntpj->mntp", s.mean_slope, found.covariance, s.mean_slope)
        each = gaussian_nll(asked.y, s.mean, s.variance + own)  # (M, N)
    count = asked.mask.sum((-1, -2))  # (N,)
    total = shard.total((held_out * count).sum(1))
    score = shard.total(torch.where(held_out, each, 0.0).sum(1)) / total.clamp(min=1)
    return torch.where(total > 0, score, torch.nan), found.mode.contiguous()


def _asked(cohort: Cohort, forecast_from: float | None) -> Cohort:
    """What a held-out person is scored on."""
    return cohort if forecast_from is None else cohort.after(forecast_from)


def _merge(best: Fitted, model: HybridModel, personal: Tensor, better: Tensor) -> Fitted:
    """`best`, with the members that improved taken from the current model."""
    merged = copy.deepcopy(best.model)
    with torch.no_grad():
        for old, new in zip(merged.parameters(), model.parameters(), strict=True):
            mask = better if old.shape[0] == better.shape[0] else better.any()[None]
            old[mask] = new.detach()[mask]
    return Fitted(merged, torch.where(better[:, None, None], personal.detach(), best.personal))


def _sum_and_clip(
    model: HybridModel,
    personal: Tensor,  # (M, N, d)
    loss: Tensor,  # (M,)
    largest: float | None,
    shard: Shard,
) -> Tensor:  # (M,)
    """Sum the shared gradients over processes; scale each member's whole gradient to at most `largest`; the loss of all.

    Gradients that no loss reached stay None.
    """
    shared = [p.grad for p in model.parameters() if p.grad is not None]
    own = [] if personal.grad is None else [personal.grad]
    M = loss.shape[0]
    square = torch.stack([loss.new_zeros(M), *(g.flatten(1).square().sum(1) for g in own)]).sum(0)  # (M,)
    if shard.world > 1:
        # one exchange for everything: many small ones would each wait
        flat = shard.total(torch.cat([*(g.reshape(-1) for g in shared), square, loss]))
        *parts, square, loss = flat.split([*(g.numel() for g in shared), M, M])
        for g, part in zip(shared, parts, strict=True):
            g.copy_(part.view_as(g))
    if largest is not None:
        stacked = [g for g in shared if g.shape[0] == M]
        norm = torch.stack([*(g.flatten(1).square().sum(1) for g in stacked), square]).sum(0).sqrt()  # (M,)
        factor = (largest / norm.clamp(min=1e-12)).clamp(max=1.0)
        for g in [*stacked, *own]:
            g.mul_(factor.reshape(-1, *[1] * (g.ndim - 1)))
    return loss
