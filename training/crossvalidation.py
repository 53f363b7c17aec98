"""A final ensemble and its cross-validation by person, trained side by side in one computation."""

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from hybrid import Conditions, HybridModel, Prediction, Solver, predict
from hybrid.defaults import predicting
from learned import Ensemble, select
from training.personalise import Personal, in_float64, personalise
from training.records import Cohort

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class Plan:
    """Which member learns from whom, is stopped on whom, and never sees whom.

    The first `members` of the M_all stacked members are the final ensemble, trained on resamplings of everyone; then
    come K ensembles of as many members each, the k-th of which never sees the people of fold k.
    `weights` (M_all, N) counts · `held_out` (M_all, N) the people that stop a member: in its folds, not in its resample
    · `fold` (N,) the fold in which each person is unseen.
    """

    members: int
    folds: int
    weights: Tensor
    held_out: Tensor
    fold: Tensor

    @staticmethod
    def of(people: int, members: int, folds: int, generator: torch.Generator) -> "Plan":
        """Draw bootstrap resamples and folds for this many people.

        Of two people each fold's members know the other one alone: they can be judged, and differ by their first weights only.
        Errors: `ValueError` for fewer than two people, or more folds than people.
        """
        if people < 2:
            raise ValueError(f"an ensemble that is cross-validated by person needs at least 2 people, got {people}")
        final, unseen = Ensemble(members), Ensemble(members, folds=folds)
        fold = unseen.fold_of(people, generator)
        first = final.record_weights(people, generator)
        rest = unseen.record_weights(people, generator, fold)
        own = torch.arange(folds).repeat_interleave(members)
        never = torch.cat([torch.zeros(members, people, dtype=torch.bool), fold[None, :] == own[:, None]])
        weights = torch.cat([first, rest])
        return Plan(members, folds, weights, (weights == 0) & ~never, fold)

    def stack(self, template: ModuleT, generator: torch.Generator) -> ModuleT:
        """The template as M_all members."""
        return Ensemble(self.weights.shape[0]).stack(template, generator)

    def final(self, model: HybridModel) -> HybridModel:
        """The final ensemble out of the stack."""
        return select(model, torch.arange(self.members))

    def unseen(self, model: HybridModel, k: int) -> HybridModel:
        """The ensemble that never saw fold k."""
        return select(model, torch.arange(self.members) + (k + 1) * self.members)


def forecast(
    model: HybridModel,
    known: Cohort,
    asked: Cohort,
    *,
    draws: int = 16,
    generator: torch.Generator,
    solver: Solver | None = None,
) -> tuple[Prediction, Personal]:
    """Learn every person's coordinates from `known`, predict at the times of `asked` (the same people).

    Member by member: the mode and Laplace covariance of the person, `draws` of it, one path each. In float64, as `personalise`.
    `solver`: of the search for the person, by default the one of `personalise`. Draws of their parameters may be faster than
    those for whom the mesh was made: the prediction takes `solver` only where it adapts its steps, else `Exponential(rtol=1e-6)`.
    """
    (model, known), (_, asked) = in_float64(model, known), in_float64(model, asked)
    personal = personalise(model, known, solver=solver)
    sample = personal.draws(draws, generator)
    mask = torch.ones_like(asked.times, dtype=torch.bool)
    steps = predicting(solver, model.dtype)
    return predict(model, asked.conditions, sample, times=asked.times, mask=mask, solver=steps), personal


def forecast_unseen(
    plan: Plan,
    model: HybridModel,
    known: Cohort,
    asked: Cohort,
    *,
    draws: int = 16,
    generator: torch.Generator,
    solver: Solver | None = None,
) -> Prediction:
    """Everyone's forecast by the ensemble that never saw them, in the cohort's order."""
    parts, order = [], []
    for k in range(plan.folds):
        index = torch.nonzero(plan.fold == k)[:, 0]
        one = plan.unseen(model, k)
        found, _ = forecast(
            one, known.people(index), asked.people(index), draws=draws, generator=generator, solver=solver
        )
        parts.append(found)
        order.append(index)
    back = torch.argsort(torch.cat(order))
    return replace(
        parts[0],
        mean=torch.cat([p.mean for p in parts], 2)[:, :, back],
        variance=torch.cat([p.variance for p in parts], 2)[:, :, back],
        times=torch.cat([p.times for p in parts])[back],
        mask=torch.cat([p.mask for p in parts])[back],
    )


def at_times(cohort: Cohort, conditions: Conditions, times: Tensor) -> Cohort:
    """The same people asked at other times, for which `conditions` were cut: nothing is observed there."""
    p = cohort.y.shape[-1]
    y = torch.full((*times.shape, p), torch.nan, dtype=torch.float64, device=times.device)
    return replace(cohort, conditions=conditions, times=times, y=y)
