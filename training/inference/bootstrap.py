"""How estimates scatter when other people of the same population are studied: the bootstrap of people, in one computation."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hybrid import HybridModel, Solver
from learned import concatenate, select
from physics.arguments import quote, require_generator, require_number, require_shape
from physics.glance import Summary, glance
from training.fitted import last
from training.inference.estimates import jacobian, trained
from training.inference.unseen import numbers_unseen
from training.marginal.laplace import require_float64
from training.objective import Objective
from training.people.arguments import require_fit
from training.people.cohort import Cohort
from training.people.mode import Curvature
from training.populations import PopulationStep, fit_population
from training.search import Search


def _summary(found: Any) -> Summary:
    said = f"Bootstrap of {len(found.value)} draws, {int(found.arrived.sum())} arrived"
    if int(found.arrived.sum()) < 2:  # an interval of one has no ends
        return said, [("ended", "; ".join(sorted(set(found.ended))))]
    return said, [
        (name, f"sd {float(found.sd[j]):.3g}, {float(low):.4g} to {float(high):.4g}")
        for j, (name, (low, high)) in enumerate(zip(found.names[:7], found.interval(0.95)[:7].tolist(), strict=True))
    ]


@dataclass(frozen=True)
class Bootstrap:
    """Estimates of B cohorts, each drawn from the people of one with replacement.

    `names` (E,) · `value` (B, E), NaN where the people of a draw say nothing of a number · `arrived` (B,), whose search ended
    at an optimum: what is said is of those · `ended` (B,), why each ended, as `PopulationStep.ended` says it · `counts` (B,
    N), how often each draw has each person · `model`, the B models.
    """

    names: tuple[str, ...]
    value: Tensor
    arrived: Tensor
    ended: tuple[str, ...]
    counts: Tensor
    model: HybridModel

    __repr__, _repr_html_ = glance(_summary)

    @property
    def sd(self) -> Tensor:  # (E,)
        """Standard deviation of every estimate over the draws that arrived and saw it; NaN of fewer than two."""
        good = self.value[self.arrived]
        seen = torch.isfinite(good)
        return torch.where(seen, good - good.nanmean(0), 0.0).square().sum(0).div(seen.sum(0) - 1.0).sqrt()

    def interval(self, level: float = 0.95) -> Tensor:  # (E, 2)
        """Percentile interval of every estimate, over the draws that arrived and saw it; NaN where none did."""
        require_number(level, "Bootstrap.interval: level", above=0.0)
        if not level < 1.0:
            raise ValueError(
                f"Bootstrap.interval: level is a share between 0 and 1, and is {level}; write interval(0.95)"
            )
        good = self.value[self.arrived]
        if len(good) < 2:
            raise ValueError(
                f"Bootstrap.interval: {len(good)} of {len(self.value)} draws arrived; give the search more steps"
            )
        ends = torch.tensor([0.5 - 0.5 * float(level), 0.5 + 0.5 * float(level)], dtype=good.dtype, device=good.device)
        return torch.nanquantile(good, ends, dim=0).mT

    def sentences(self) -> list[str]:
        """What a reader must know beside the numbers; nothing where all is well."""
        lost, B = len(self.value) - int(self.arrived.sum()), len(self.value)
        found = []
        if lost:
            found.append(
                f"{lost} of {B} draws did not arrive at an optimum and are left out: what is said may be too narrow."
            )
        blind = torch.isnan(self.value[self.arrived]).sum(0).tolist()
        for k in sorted(set(blind) - {0}):
            which = ", ".join(name for name, count in zip(self.names, blind, strict=True) if count == k)
            found.append(
                f"In {k} of {B - lost} draws nobody says anything of {which}, and they are left out of it: what is said is of "
                "draws that do. Give bootstrap(…, strata=…), a label for each person, so that every draw has some of each kind."
            )
        if B < 200:
            found.append(f"{B} draws say little about the ends of a 95 % interval; a few hundred are usual.")
        return found


def bootstrap(
    model: HybridModel,
    cohort: Cohort,
    count: int,
    generator: torch.Generator,
    *,
    strata: Sequence[str] | None = None,  # (N,)
    curvature: Curvature = "fisher",
    steps: int = 100,
    tolerance: float = 1e-4,
    together: int = 50,
    start: Tensor | None = None,  # (1, N, d)
    solver: Solver | None = None,
) -> Bootstrap:
    """Fit `count` cohorts drawn from the people of this one with replacement, each from where the model is.

    A draw counts every person so many times (the record weights of a member), so that nobody is simulated twice for one draw, and
    `together` draws are members of one `fit_population`. Drawn are people with all their measurements, since those of one
    person are not independent.

    Arguments: `model` of one member, fitted; `strata`, a label for each person: then each label keeps its number of people (two
    doses, say, of which one has few); `curvature`, `tolerance` and at most so many `steps` as in `fit_population`; `start` of the
    modes.
    Errors: `ValueError` for a model of several members, or one that estimates nothing.
    An estimate on which nothing depends that the people of a draw measured, a category that nobody of them has, would stay where
    it starts, and is NaN in that draw.
    Law: the mean of the counts of a person over draws is 1; within a stratum they add up to its size in every draw.
    Source: Efron, Ann. Stat. 7 (1979) 1; Davison & Hinkley, Bootstrap Methods (1997), section 3.8 (whole people).
    """
    require_fit(model, cohort, "bootstrap", solver)
    require_float64(model, cohort)
    require_number(count, "bootstrap: count", least=1.0, most=1e6, whole=True)
    require_number(steps, "bootstrap: steps", least=1.0, whole=True)
    require_number(tolerance, "bootstrap: tolerance", above=0.0)
    require_number(together, "bootstrap: together", least=1.0, whole=True)
    require_generator(generator, "bootstrap: generator")
    if start is not None:
        size = (1, cohort.conditions.size, model.personal)
        require_shape(start, "bootstrap: start", *size, write="Marginal.mode of an earlier call", like=cohort.y)
    if model.members != 1:
        raise ValueError(
            f"bootstrap: the model has {model.members} members, and draws are of one; write bootstrap(select(model, "
            "torch.tensor([0])), …)"
        )
    trial, names, _ = trained(model, "bootstrap")
    for name, parameter in trial.named_parameters():
        parameter.requires_grad_(name in names)  # networks are held, as standard errors hold them
    counts = people_drawn(cohort.conditions.size, int(count), generator, strata).to(cohort.y)
    models: list[HybridModel] = []
    ended: list[str] = []
    arrived: list[Tensor] = []
    for rows in torch.arange(int(count)).split(int(together)):
        stack = select(trial, torch.zeros(len(rows), dtype=torch.long))
        fitted = last(
            fit_population(
                stack,
                cohort,
                Objective(weights=counts[rows], least_residual=0.0),
                Search(steps=int(steps), solver=solver),
                tolerance=tolerance,
                curvature=curvature,
                start=None if start is None else start.expand(len(rows), -1, -1),
            )
        )
        step = fitted.step
        if not isinstance(step, PopulationStep):  # fit_population yields no other
            raise TypeError(f"bootstrap: fit_population ended with {quote(step)}")
        models.append(fitted.model)
        ended += step.ended
        # the objective of a draw is per person: at ten times the tolerance what is left of −2 log L is far below an error
        arrived.append(step.slope <= 10.0 * tolerance)
    whole = models[0] if len(models) == 1 else concatenate(models)
    whole_trial = copy.deepcopy(whole)
    for name in names:
        whole_trial.get_parameter(name).requires_grad_()
    told, _, value, _ = jacobian(whole_trial, names)
    blind = numbers_unseen(trial, names, cohort, counts, "focei" if curvature == "fisher" else "laplace", start, solver)
    first, _, _, _ = jacobian(trial, names)
    blind = blind[:, [first.index(name) for name in told]]
    value = torch.where(blind, torch.nan, value)
    return Bootstrap(told, value, torch.cat(arrived), tuple(ended), counts, whole)


def people_drawn(
    people: int,
    count: int,
    generator: torch.Generator,
    strata: Sequence[str] | None = None,  # (N,)
) -> Tensor:  # (B, N)
    """How often each of B draws with replacement holds each person; within each stratum as many as it has."""
    listed = isinstance(strata, Sequence) and not isinstance(strata, str)
    labels = [*strata] if strata is not None and listed else [""] * (people if strata is None else -1)
    if len(labels) != people or not all(isinstance(label, str) for label in labels):
        raise ValueError(
            f"bootstrap: strata is a label for each person, {people} in all, and is {quote(strata)}; write a list of words"
        )
    counts = torch.zeros(count, people, dtype=torch.float64)
    for label in dict.fromkeys(labels):
        mine = torch.tensor([i for i, one in enumerate(labels) if one == label])
        drawn = mine[torch.randint(len(mine), (count, len(mine)), generator=generator, device=generator.device).cpu()]
        counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    return counts
