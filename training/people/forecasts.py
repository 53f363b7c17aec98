"""A final ensemble and its cross-validation by person, trained side by side in one computation."""

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from hybrid import Conditions, HybridModel, Prediction, Solver, predict
from hybrid.defaults import predicting
from learned import Ensemble, select
from physics.arguments import quote, require_generator, require_kind, require_number, require_shape
from physics.glance import glance
from training.people.arguments import require_alike, require_fit
from training.people.cohort import Cohort, in_float64
from training.people.mode import personalise
from training.people.posterior import Personal

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

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_number(self.members, "Plan: members", least=1.0, most=1e6, whole=True)
        require_number(self.folds, "Plan: folds", least=2.0, most=1e6, whole=True)
        write = "Plan.of(people, members, folds, generator)"
        require_shape(self.fold, "Plan: fold", "N", write=write, whole=True)
        if not bool(((self.fold >= 0) & (self.fold < int(self.folds))).all()):
            raise ValueError(f"Plan: fold is from 0 to {int(self.folds) - 1} for each person, and is {quote(self.fold.tolist())}")
        shape = (int(self.members) * (1 + int(self.folds)), len(self.fold))
        require_shape(self.weights, "Plan: weights", *shape, write=write)
        if not bool((torch.isfinite(self.weights) & (self.weights >= 0)).all()):
            raise ValueError(f"Plan: weights are counts, finite and not negative; write {write}")
        if not isinstance(self.held_out, Tensor) or self.held_out.shape != shape or self.held_out.dtype != torch.bool:
            raise ValueError(f"Plan: held_out needs dtype bool and shape {shape}, and is {quote(self.held_out)}; write {write}")

    @staticmethod
    def of(people: int, members: int, folds: int, generator: torch.Generator) -> "Plan":
        """Draw bootstrap resamples and folds for this many people.

        Of two people each fold's members know the other one alone: they can be judged, and differ by their first weights only.
        Errors: `ValueError` for fewer than two people, or more folds than people.
        """
        for what, number in (("people", people), ("members", members), ("folds", folds)):
            require_number(number, f"Plan.of: {what}, how many,", most=1e6, whole=True)
        require_generator(generator, "Plan.of: generator")
        people, members, folds = int(people), int(members), int(folds)
        if folds < 2 and people >= 2:
            raise ValueError(f"Plan.of: folds is 2 or more, since nobody could be judged, got {folds}; write 2")
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

    def _require(self, model: HybridModel, name: str) -> None:
        require_kind(model, HybridModel, f"{name}: model", "plan.stack(template, generator)")
        if model.members != len(self.weights):
            raise ValueError(
                f"{name}: the plan is of {len(self.weights)} stacked members and the model has {model.members}; write "
                "plan.stack(template, generator)"
            )

    def final(self, model: HybridModel) -> HybridModel:
        """The final ensemble out of the stack."""
        self._require(model, "Plan.final")
        return select(model, torch.arange(self.members))

    def unseen(self, model: HybridModel, k: int) -> HybridModel:
        """The ensemble that never saw fold k."""
        self._require(model, "Plan.unseen")
        require_number(k, "Plan.unseen: k, a fold,", least=0.0, most=self.folds - 1.0, whole=True)
        k = int(k)
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
    require_fit(model, known, "forecast", solver)
    require_fit(model, asked, "forecast", solver)
    require_alike(known, asked, "forecast")
    require_number(draws, "forecast: draws", least=1.0, whole=True)
    require_generator(generator, "forecast: generator")
    (model, known), (_, asked) = in_float64(model, known), in_float64(model, asked)
    personal = personalise(model, known, solver=solver)
    sample = personal.draws(draws, generator)
    return predict(model, asked, sample, solver=predicting(solver, model.dtype)), personal


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
    require_kind(plan, Plan, "forecast_unseen: plan", "Plan.of(people, members, folds, generator)")
    plan._require(model, "forecast_unseen")
    require_fit(model, known, "forecast_unseen", solver)
    require_fit(model, asked, "forecast_unseen", solver)
    require_alike(known, asked, "forecast_unseen")
    if len(plan.fold) != known.conditions.size:
        raise ValueError(f"forecast_unseen: the plan is of {len(plan.fold)} people and known of {known.conditions.size}")
    require_number(draws, "forecast_unseen: draws", least=1.0, whole=True)
    require_generator(generator, "forecast_unseen: generator")
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
    correlations = [p.correlation for p in parts if p.correlation is not None]
    return replace(
        parts[0],
        mean=torch.cat([p.mean for p in parts], 2)[:, :, back],
        variance=torch.cat([p.variance for p in parts], 2)[:, :, back],
        times=torch.cat([p.times for p in parts])[back],
        mask=torch.cat([p.mask for p in parts])[back],
        ids=asked.ids,
        correlation=torch.cat(correlations, 1)[:, back] if correlations else None,
    )


def at_times(cohort: Cohort, conditions: Conditions, times: Tensor) -> Cohort:
    """The same people asked at other times, for which `conditions` were cut: nothing is observed there."""
    require_kind(cohort, Cohort, "at_times: cohort", "Cohort.of(records, model)")
    require_kind(conditions, Conditions, "at_times: conditions", "conditions_of(model, schedules, times)")
    N, T = conditions.segments.segment.shape
    require_shape(times, "at_times: times", N, T, write="the times for which conditions were cut", like=cohort.y)
    if not bool(torch.isfinite(times).all()) or cohort.conditions.size != N:
        raise ValueError(f"at_times: times must be finite, for {cohort.conditions.size} people; got {quote(times)}")
    p = cohort.y.shape[-1]
    y = torch.full((*times.shape, p), torch.nan, dtype=torch.float64, device=times.device)
    return replace(cohort, conditions=conditions, times=times, y=y, limits=None)
