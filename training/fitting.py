"""Fitting a whole ensemble at once: a generator of steps, whose loop is the caller's."""

import copy
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hybrid import HybridModel, SimulationError, rollout
from hybrid.defaults import differentiating
from hybrid.threads import of_cohort, threads_by
from physics.arguments import quote, require_kind
from physics.glance import Summary, glance
from training.fitted import Fitted
from training.lessons import lessons, looked, scored
from training.looks import Looks
from training.losses import residual_share, weight_penalty
from training.machinery.checkpoint import Saved, fingerprint_of
from training.machinery.distributed import Shard
from training.machinery.precision import in_bfloat16
from training.machinery.state import State
from training.machinery.together import latest_of, sum_and_clip
from training.machinery.unit import unit
from training.objective import Objective
from training.people.arguments import require_fit
from training.people.cohort import Cohort
from training.search import Search


def _summary(step: Any) -> Summary:
    more = [("on held-out people", step.held_out), ("learning rate", step.rate)]
    return f"Step {step.index} of {step.total}", [("loss", step.loss), *more, ("best", step.best.model)]


@dataclass(frozen=True)
class Step:
    """One step of `fit`.

    `index` of `total` · `loss` (M,) each member's objective · `held_out` (M,) the latest mean −log predictive density per
    measurement that judges, of held-out people or `judged`, NaN before the first look or where nobody can be scored · `rate`, the
    learning rate · `best`, the fit to keep if training ends here · `now`, a function that copies the fit as it is after this
    step, to be called before the next one: before the first look `best` of members that are judged is where they began.
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
    - `looks`: how often a member is judged by its held-out people, or by `objective.judged`: people are personalised with the
      member frozen, on what was measured up to `objective.forecast_from` (on everything where that is None), or on what is not
      judged, and scored on the rest. `fit` ends early once
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
    rate, checkpoint = search.rate, looks.checkpoint
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
    taught = lessons(objective, cohort, M, "fit", shard.total)
    everyone, share = taught.everyone, taught.share
    anchors, stability = objective.anchors, objective.stability
    if anchors is not None:
        anchors = anchors.to(personal)
        anchors.require(M, cohort.y.shape)
    if stability is not None:  # once, here: a graph that is captured copies nothing from elsewhere
        stability = stability.to(device)
    # a held-out person with nothing left to forecast judges nobody
    judged = shard.total(taught.of_members(lambda lesson: lesson.count)) > 0  # (M,)
    moving = in_bfloat16(model) if search.bfloat16 else model

    def losses() -> Tensor:  # (M,)
        try:
            run = rollout(moving, cohort.conditions, personal, solver)
        except SimulationError as error:
            raise named(error, cohort) from error
        each = taught.of_members(lambda lesson: scored(lesson, run, objective.likelihood, anchors, "fit"))
        if anchors is None:
            each = each - model.log_prior(personal)
        else:
            each = each - model.log_prior(personal - anchors.personal) + anchors.penalty(model)[:, None] / everyone
        if objective.least_residual:  # the share costs a fifth of a step
            each = each + objective.least_residual * residual_share(model, run, share, everyone=shard.total)
        if stability is not None:
            each = each + stability.penalty(model, run.theta)
        if objective.decay or objective.sparsity:
            each = each + weight_penalty(model, objective.decay, objective.sparsity)[:, None]
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
            "weights": taught.weights,
            "held-out people": torch.zeros_like(share > 0) if objective.held_out is None else objective.held_out.to(device),
            "least_residual": objective.least_residual,
            "stability": stability,
            "likelihood": objective.likelihood,
            "anchors": anchors,
            "forecast_from": objective.forecast_from,
            "look_every": looks.every,
            "patience": patience,
            "solver": solver,
            "bfloat16": search.bfloat16,
            "processes": [shard.rank, shard.world],
        }
        newer = {"judged": objective.judged, "decay": objective.decay, "sparsity": objective.sparsity}
        # at their defaults they are left out: a checkpoint that knows nothing of them is of the same fit
        settings |= {name: value for name, value in newer.items() if isinstance(value, Tensor) or value}
        fingerprint = fingerprint_of(model, cohort, settings)
        kept = latest_of(checkpoint, fingerprint, shard)
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
            state.loss = sum_and_clip(model, personal, loss, search.clip, shard)
            state.rate = float(state.optimiser.param_groups[0]["lr"])
            state.optimiser.step()
            state.schedule.step()
            state.index += 1
            if state.index % looks.every == 0 or state.index == steps:
                better = ~judged
                if bool(judged.any()):
                    try:
                        state.latest, state.warm = looked(taught, model, state.warm, solver, shard.total)
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


def _merge(best: Fitted, model: HybridModel, personal: Tensor, better: Tensor) -> Fitted:
    """`best`, with the members that improved taken from the current model."""
    merged = copy.deepcopy(best.model)
    with torch.no_grad():
        for old, new in zip(merged.parameters(), model.parameters(), strict=True):
            mask = better if old.shape[0] == better.shape[0] else better.any()[None]
            old[mask] = new.detach()[mask]
    return Fitted(merged, torch.where(better[:, None, None], personal.detach(), best.personal))
