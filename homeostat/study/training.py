"""Train an ensemble beside its cross-validation, and find the people."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from torch import Tensor

from exchange import solver_named
from homeostat.progress import Interruption, watched
from homeostat.study.recipe import Recipe
from homeostat.study.settings import Settings, require_settings
from hybrid import (
    HybridModel,
    SimulationError,
    Torchdiffeq,
    rollout,
)
from physics.glance import glance
from training import (
    AtEnd,
    Checkpoint,
    Cohort,
    Looks,
    Objective,
    Personal,
    Plan,
    Record,
    Search,
    Stability,
    at_ends,
    convergence,
    fit,
    log_steps,
    recorded,
)
from training.people.mode import modes


class Arrival(Protocol):
    """Whether a fit has arrived: `training.Convergence` of an ensemble, `Optimum` of a population alone."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def arrived(self) -> Tensor: ...

    @property
    def converged(self) -> bool: ...

    @property
    def where(self) -> str: ...

    def as_found(self) -> str: ...

    def sentences(self) -> list[str]: ...

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Trained:
    """A fitted stack: the final `model` and the `stack` that also holds the folds' ensembles; the people's coordinates.

    `interrupted`: where training was cut short, None where it was not · `ends`: what the final model has at an end of its range ·
    `convergence`: how far it is from where its people would have it.
    """

    recipe: Recipe
    plan: Plan
    cohort: Cohort
    stack: HybridModel
    model: HybridModel
    personal: Personal
    interrupted: Interruption | None
    ends: tuple[AtEnd, ...]
    convergence: Arrival

    __repr__, _repr_html_ = glance()


def train(
    recipe: Recipe,
    records: Sequence[Record],
    settings: Settings,
    console: Console,
    *,
    checkpoint: Checkpoint | None = None,
    log: Path | None = None,
) -> Trained:
    """Train the final ensemble and every fold's ensemble in one computation, with the stability penalty.

    `checkpoint`: go on from it if it is there, and save into it; `log`: a folder for TensorBoard.
    Errors: `ValueError` for records that do not fit the model; `SimulationError` naming the person.
    """
    require_settings(settings)
    solver = solver_named(settings.solver)
    generator = torch.Generator().manual_seed(settings.seed)
    require_folds(settings.folds, len(records))
    plan = Plan.of(len(records), settings.members, settings.folds, generator)
    stack = plan.stack(recipe.model, generator).to(settings.device)
    cohort = Cohort.of(records, recipe.model, recipe.mesh).to(settings.device)
    # what cannot contract by physics alone (a neural ODE) is trained without the penalty
    contracting = len(recipe.model.backbone.physical) > 0
    stability = Stability.of(recipe.model, cohort.conditions.covariates) if contracting else None
    steps = fit(
        stack,
        cohort,
        objective=Objective(
            weights=plan.weights, held_out=plan.held_out, stability=stability, forecast_from=settings.forecast_from
        ),
        search=Search(steps=settings.steps, rate=settings.rate, solver=solver),
        # the budget is small, and a member that stalls for a while often goes on: each keeps the best of all its looks
        looks=Looks(every=15, patience=settings.steps, checkpoint=checkpoint),
    )
    losses: list[Tensor] = []
    steps = recorded(steps, losses)
    best, interrupted = watched(steps if log is None else log_steps(steps, log), recipe.name, console)
    model = plan.final(best.model)
    personal = modes(model, cohort, solver=solver)
    for index, why in personal.failed.items():  # someone on whom the members were trained: the fit itself is broken
        raise SimulationError(why, record=index)
    arrived = convergence(
        model,
        personal,
        cohort.ids,
        weights=plan.weights[: plan.members],
        losses=[loss[: plan.members] for loss in losses],
    )
    ends = at_ends(model, cohort, personal.mode)
    return Trained(recipe, plan, cohort, best.model, model, personal, interrupted, ends, arrived)


def require_folds(folds: int, people: int) -> None:
    """Raise `ValueError` for more folds than people: each fold holds back somebody."""
    if folds > people >= 2:  # of one person nobody is left to learn from, which is said where that is planned
        raise ValueError(
            f"{folds} folds were asked for and there are {people} people; each fold holds back at least one of them: write "
            f"--folds {people} or fewer"
        )


def why_not_converged(convergence: Arrival, interrupted: Interruption | None) -> str:
    """Why a fit counts as not converged, in sentences; "" where it has. One that was cut short never had the time to show it."""
    stopped = [] if interrupted is None else [f"Training was {interrupted}, before it could be seen to arrive."]
    return " ".join([*stopped, *convergence.sentences()])


def gradient_difference(trained: Trained, settings: Settings) -> float:
    """How far the gradient that trains is from torchdiffeq's, at the trained weights: |g − g'|∞/|g'|∞, with g' by dopri5.

    Of the mean over people of −log p(y | η) − log p(η), added over members, along the weights and everyone's η. Both solvers
    work on the cohort's mesh, dopri5 to a tolerance of 1e-8.
    """
    model, cohort = copy.deepcopy(trained.model), trained.cohort
    found = []
    for solver in (solver_named(settings.solver), Torchdiffeq("dopri5", rtol=1e-8, atol=1e-10)):
        personal = trained.personal.mode.clone().requires_grad_()
        model.zero_grad(set_to_none=True)
        run = rollout(model, cohort.conditions, personal, solver)
        (cohort.nll(run.mean, run.variance, run.correlation) - model.log_prior(personal)).mean(1).sum().backward()
        given = (personal.grad, *(p.grad for p in model.parameters()))
        found.append(torch.cat([g.flatten() for g in given if g is not None]))
    have, want = found
    return float((have - want).abs().max() / want.abs().max())
