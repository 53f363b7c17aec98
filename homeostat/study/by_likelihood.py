"""A population alone, no learned part beside it: its spread and its noise are estimated by the marginal likelihood."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from rich.console import Console
from torch import Tensor

from exchange import solver_named
from homeostat.progress import Interruption, held, watched
from homeostat.study.alone import Alone
from homeostat.study.recipe import Recipe
from homeostat.study.settings import Settings
from homeostat.study.training import Trained, require_folds
from hybrid import SimulationError, Solver
from learned import Ensemble, concatenate, select
from physics.arguments import counted
from physics.glance import glance
from training import (
    Checkpoint,
    Cohort,
    Fitted,
    Looks,
    Objective,
    Plan,
    PopulationStep,
    Record,
    Search,
    at_ends,
    fit_population,
)
from training.inference import Approximation, NewtonStep, polish
from training.inference.quadrature import MOST_COORDINATES
from training.people.mode import modes

StepT = TypeVar("StepT")

_ARRIVED = 5e-4  # of −2 log L: how near its optimum a fit is to be


@dataclass(frozen=True)
class Optimum:
    """Where the search for the optimum of a marginal likelihood ended.

    `names` of the estimated numbers' tensors · `approximation` · `away`, by how much −2 log L would still fall, by its quadratic,
    NaN where the search was cut short before that was asked · `unfinished`, the ids of those whose own coordinates were not
    found · `said`, what the search itself said.
    """

    names: tuple[str, ...]
    approximation: Approximation
    away: float
    unfinished: tuple[str, ...]
    said: tuple[str, ...] = ()

    __repr__, _repr_html_ = glance()

    @property
    def arrived(self) -> Tensor:  # (1,) bool
        """Is it at the optimum?"""
        return torch.tensor([self.away <= _ARRIVED])

    @property
    def converged(self) -> bool:
        """Is it, and everyone's own coordinates at theirs?"""
        return bool(self.arrived) and not self.unfinished

    @property
    def where(self) -> str:
        """In which members; of one there is nothing to say."""
        return ""

    def as_found(self) -> str:
        """How near the optimum it is."""
        return f"−2 log L ({self.approximation}) would fall by less than {_ARRIVED:g}, and everyone's own coordinates were found."

    def sentences(self) -> list[str]:
        """Why it counts as not converged; nothing where it has."""
        found = []
        if not bool(self.arrived):
            by = (
                "by how much is not known"
                if self.away != self.away
                else f"by {self.away:.2g} as far as its curvature tells"
            )
            more = f" {' '.join(self.said)}" if self.said else ""
            cure = "Give it more --steps, or a simpler model."
            found.append(f"−2 log L ({self.approximation}) would still fall, {by}.{more} {cure}")
        if self.unfinished:
            some = ", ".join(self.unfinished[:5]) + (" …" if len(self.unfinished) > 5 else "")
            whose = counted(len(self.unfinished), "person", "people")
            found.append(f"The search for the own coordinates of {whose} has not converged: {some}.")
        return found

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "converged": self.converged,
            "method": self.approximation,
            "away": None if self.away != self.away else self.away,
            "people_not_converged": list(self.unfinished),
            "sentences": self.sentences(),
        }


def require_alone(recipe: Recipe, alone: Alone) -> None:
    """Refuse, before anything is computed, what quadrature has too many nodes for."""
    d = recipe.model.personal
    if alone.approximation == "quadrature" and d > MOST_COORDINATES:
        raise ValueError(
            f"--method quadrature takes up to {MOST_COORDINATES} effects, and each person has {d} here; write --method focei or "
            "laplace, or make parameters --shared"
        )


def plan_of(people: int, folds: int, generator: torch.Generator) -> Plan:
    """One model of everyone, and one of all but each fold: nobody is drawn twice."""
    if people < 2:
        raise ValueError(f"a model that is cross-validated by person needs at least 2 people, got {people}")
    fold = Ensemble(1, folds=folds).fold_of(people, generator)
    never = fold[None, :] == torch.arange(folds)[:, None]
    weights = torch.cat([torch.ones(1, people, dtype=torch.float64), (~never).to(torch.float64)])
    return Plan(1, folds, weights, torch.zeros_like(weights, dtype=torch.bool), fold)


def train_alone(
    recipe: Recipe,
    records: Sequence[Record],
    alone: Alone,
    settings: Settings,
    console: Console,
    *,
    checkpoint: Checkpoint | None = None,
) -> tuple[Trained, list[str]]:
    """Fit everyone's model and each fold's in one computation, then take the first to the optimum of its approximation.

    The folds' models are where `fit_population` ends, by FOCE with interaction or Laplace's method: their people judge forecasts,
    and nothing is read off them else. Returns what was fitted, and what a reader of the scores must know of the folds.
    Errors: as `train`.
    """
    require_alone(recipe, alone)
    solver = solver_named(settings.solver)
    generator = torch.Generator().manual_seed(settings.seed)
    require_folds(settings.folds, len(records))
    plan = plan_of(len(records), settings.folds, generator)
    stack = plan.stack(recipe.model, generator).to(settings.device)
    cohort = Cohort.of(records, recipe.model, recipe.mesh).to(settings.device)
    ends: list[PopulationStep] = []
    steps = fit_population(
        stack,
        cohort,
        Objective(weights=plan.weights.to(settings.device)),
        Search(steps=settings.steps, solver=solver),
        Looks(checkpoint=checkpoint),
        curvature="fisher" if alone.approximation == "focei" else "observed",
    )
    steps = noting(steps, ends)
    best, interrupted = watched(steps, recipe.name, console)
    # a step says of every member how its search ended; of the folds' the reader of scores must know
    ended = ends[0].ended if ends else ()
    open_folds = sum(one not in ("converged", "flat") for one in ended[1:])
    notes = []
    if open_folds and interrupted is None:
        notes.append(
            f"In {open_folds} of {settings.folds} folds of the cross-validation the search had not arrived; their forecasts "
            "are scored as they are."
        )
    whole, away = Fitted(plan.final(best.model), best.personal[: plan.members]), float("nan")
    if interrupted is None:
        whole, away, interrupted = _polished(whole, cohort, alone, solver, console)
    model = whole.model
    stack = concatenate([model, select(best.model, torch.arange(1, len(plan.weights)))])
    personal = modes(model, cohort, start=whole.personal, solver=solver)
    for index, why in personal.failed.items():
        raise SimulationError(why, record=index)
    lost = torch.nonzero(~personal.converged.all(0))[:, 0].tolist()
    optimum = Optimum(
        tuple(name for name, _ in model.named_parameters()),
        alone.approximation,
        away,
        tuple(cohort.ids[i] for i in lost),
        tuple(ends[0].sentences()) if ends else (),
    )
    found = Trained(
        recipe, plan, cohort, stack, model, personal, interrupted, at_ends(model, cohort, personal.mode), optimum
    )
    return found, notes


def _polished(
    fitted: Fitted, cohort: Cohort, alone: Alone, solver: Solver, console: Console
) -> tuple[Fitted, float, Interruption | None]:
    """The fit at the optimum of its approximation, how far −2 log L is from there, and where that was cut short."""
    last: list[NewtonStep] = []
    steps = polish(fitted.model, cohort, approximation=alone.approximation, start=fitted.personal, solver=solver)
    steps = noting(steps, last)
    best, interrupted = watched(steps, "its optimum", console)
    return best, float(last[0].away[0]), interrupted


def noting(steps: Iterator[StepT], latest: list[StepT]) -> Iterator[StepT]:
    """The same steps, the latest of which is in `latest`; who closes these closes those, which saves a checkpoint."""
    with held(steps):
        for step in steps:
            latest[:] = [step]
            yield step
