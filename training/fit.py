"""Fitting a whole ensemble at once: a generator of steps, whose loop is the caller's."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid import HybridModel, SimulationError, Solver, rollout
from training.losses import Stability, gaussian_nll, residual_share
from training.personalise import personalise, sensitivity
from training.records import Cohort


@dataclass(frozen=True)
class Fitted:
    """A model at its best step so far: every member at its own best, with the people's coordinates (M, N, d)."""

    model: HybridModel
    personal: Tensor


@dataclass(frozen=True)
class Step:
    """One step of `fit`.

    `index` of `total` · `loss` (M,) each member's objective · `held_out` (M,) the latest mean −log predictive density per
    observation of held-out people, NaN before the first look or where nobody can be scored · `rate`, the learning rate ·
    `best`, the fit to keep if training ends here.
    """

    index: int
    total: int
    loss: Tensor
    held_out: Tensor
    rate: float
    best: Fitted


def fit(
    model: HybridModel,
    cohort: Cohort,
    *,
    weights: Tensor | None = None,  # (M, N)
    held_out: Tensor | None = None,  # (M, N) bool
    steps: int = 200,
    rate: float = 0.05,
    least_residual: float = 1.0,
    stability: Stability | None = None,
    forecast_from: float | None = None,
    look_every: int = 20,
    patience: int = 5,
    solver: Solver | None = None,
) -> Iterator[Step]:
    """Fit every member to its own weighting of the people, all members and people in one computation.

    Member m minimises the weighted mean over people of −log p(y | η) − log p(η) + `least_residual`·(residual's share) +
    stability penalty, over the model's trainable tensors and each person's coordinates η, by Adam with a cosine
    schedule; gradients are clipped per member, so members do not influence each other.

    Arguments
    - `weights`: how often each member counts each person (1 for all). A person with weight 0 teaches the member nothing.
    - `held_out`: the people by whom a member is judged while it trains. Every `look_every` steps they are personalised
      with the member frozen, on what was measured up to `forecast_from` (on everything where that is None), and scored
      on the rest. A member keeps its best look until `patience` looks in a row are no better: then it is finished, whatever
      the others do. `fit` ends early once every member is finished. Without anyone to judge it a member keeps its last state.
    - `solver`: `Torchdiffeq("rk4")` by default, on the cohort's mesh.

    Yields a `Step` after every update. Interrupting the loop loses nothing: the last step's `best` is complete.
    Errors: `ValueError` for shapes and numbers that cannot be; `SimulationError` that names the person.
    Law: members do not influence each other; a person with weight 0 does not influence the member.
    Source: Kingma & Ba (2015) for Adam.
    """
    model = copy.deepcopy(model)
    M, N = model.members, cohort.conditions.size
    device = cohort.y.device
    weights = torch.ones(M, N, dtype=torch.float64, device=device) if weights is None else weights.to(device)
    held_out = torch.zeros(M, N, dtype=torch.bool, device=device) if held_out is None else held_out.to(device)
    for name, number in (("steps", steps), ("look_every", look_every), ("patience", patience), ("rate", rate)):
        if not number > 0:
            raise ValueError(f"fit: {name} must be positive, got {number}")
    if held_out.dtype != torch.bool:
        raise ValueError(f"fit: held_out says yes or no, dtype bool, and has {held_out.dtype}; write held_out > 0")
    for name, value in (("weights", weights), ("held_out", held_out)):
        if value.shape != (M, N):
            raise ValueError(f"fit: {name} needs shape (M, N) = ({M}, {N}), got {tuple(value.shape)}")
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()) or not bool((weights.sum(1) > 0).all()):
        raise ValueError("fit: weights must be finite and not negative, and every member needs someone to learn from")
    if bool(((weights > 0) & held_out).any()):
        raise ValueError("fit: someone is held out of a member that trains on them; make one of weights and held_out 0")
    share = weights / weights.sum(1, keepdim=True)

    personal = torch.zeros(M, N, model.personal, dtype=torch.float64, device=device, requires_grad=True)
    trained = [*model.parameters(), personal]
    optimiser = torch.optim.Adam(trained, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=0.02 * rate)
    best = Fitted(copy.deepcopy(model), personal.detach().clone())
    best_score = torch.full((M,), math.inf, dtype=torch.float64, device=device)
    # a held-out person with nothing left to forecast judges nobody
    judged = (held_out * _asked(cohort, forecast_from).mask.sum((-1, -2))).sum(1) > 0  # (M,)
    latest = torch.full((M,), math.nan, dtype=torch.float64, device=device)
    warm: Tensor | None = None
    stale = torch.zeros(M, dtype=torch.long, device=device)  # looks since a member was at its best

    for index in range(1, steps + 1):
        optimiser.zero_grad()
        try:
            run = rollout(model, cohort.conditions, personal, solver)
        except SimulationError as error:
            raise named(error, cohort) from error
        each = gaussian_nll(cohort.y, run.mean, run.variance) - model.log_prior(personal)
        each = each + least_residual * residual_share(model, run, share)
        if stability is not None:
            each = each + stability.penalty(model, run.theta)
        loss = (share * each).sum(1)  # (M,)
        loss.sum().backward()
        _clip_per_member(trained, 10.0)
        now = optimiser.param_groups[0]["lr"]
        optimiser.step()
        schedule.step()
        if index % look_every == 0 or index == steps:
            better = ~judged
            if bool(judged.any()):
                try:
                    latest, warm = _judge(model, cohort, held_out, forecast_from, warm, solver)
                except SimulationError as error:
                    raise named(error, cohort) from error
                # a finished member is not reopened: how long the loop goes on is for the others to say
                better = better | ((latest < best_score) & (stale < patience))
                best_score = torch.where(better, latest, best_score)
                stale = torch.where(better, 0, stale + 1)
            best = _merge(best, model, personal, better)
        elif not bool(judged.any()):
            best = Fitted(copy.deepcopy(model), personal.detach().clone())
        yield Step(index, steps, loss.detach(), latest, now, best)
        if bool((judged & (stale >= patience)).all()):
            return


def named(error: SimulationError, cohort: Cohort) -> SimulationError:
    """The same failure with the person's id in place of the row's number."""
    if error.record is None:
        return error
    person = cohort.ids[error.record % len(cohort.ids)]  # copies of people repeat the cohort's order
    text = str(error).replace(f"record {error.record}:", f"person {person}:", 1)
    return SimulationError(text, record=error.record, time=error.time)


def _judge(
    model: HybridModel,
    cohort: Cohort,
    held_out: Tensor,
    forecast_from: float | None,
    warm: Tensor | None,
    solver: Solver | None,
) -> tuple[Tensor, Tensor]:
    """Mean −log predictive density per observation of each member's held-out people, and their coordinates."""
    known, asked = cohort if forecast_from is None else cohort.until(forecast_from), _asked(cohort, forecast_from)
    # a few damped steps suffice: the next look goes on from here
    found = personalise(model, known, start=warm, iterations=4, solver=solver)
    with torch.no_grad():
        # a forecaster does not know the person exactly: their posterior widens what is predicted (to first order)
        s = sensitivity(model, asked.conditions, found.mode, solver)
        own = torch.einsum("mntpi,mnij,mntpj->mntp", s.mean_slope, found.covariance, s.mean_slope)
        each = gaussian_nll(asked.y, s.mean, s.variance + own)  # (M, N)
    count = asked.mask.sum((-1, -2))  # (N,)
    total = (held_out * count).sum(1)
    score = torch.where(held_out, each, 0.0).sum(1) / total.clamp(min=1)
    return torch.where(total > 0, score, torch.nan), found.mode


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


def _clip_per_member(trained: list[Tensor], largest: float) -> None:
    """Scale each member's whole gradient to at most `largest` in norm; gradients that no loss reached stay None."""
    gradients = [p.grad for p in trained if p.grad is not None]
    M = max(g.shape[0] for g in gradients)
    stacked = [g for g in gradients if g.shape[0] == M]
    norm = torch.stack([g.flatten(1).square().sum(1) for g in stacked]).sum(0).sqrt()  # (M,)
    factor = (largest / norm.clamp(min=1e-12)).clamp(max=1.0)
    for g in stacked:
        g.mul_(factor.reshape(-1, *[1] * (g.ndim - 1)))
