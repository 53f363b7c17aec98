"""Train the ensemble beside its cross-validation, forecast people whom it never saw, and judge how sure it may be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from rich.console import Console
from torch import Tensor

from homeostat.c_peptide.beta import AHEAD, SOLVER, fit_beta
from homeostat.c_peptide.halves import train_halves
from homeostat.c_peptide.model import FORECAST_FROM, MESH, build, people, train
from homeostat.progress import Interruption
from homeostat.second_process import SecondProcess
from homeostat.study.recipe import Recipe
from homeostat.study.training import Trained
from hybrid import HybridModel, Prediction, SimulationError, predict
from training import Cohort, Plan, Record, at_ends, convergence


@dataclass(frozen=True)
class Ensembles:
    """Members trained on draws of everybody, the `plan`'s folds beside them, all in one `stack`; the training people.

    `losses`: of every step, each of the final members or more.
    """

    plan: Plan
    stack: HybridModel
    cohort: Cohort
    interrupted: Interruption | None
    losses: Sequence[Tensor] = ()

    @property
    def final(self) -> HybridModel:
        """The members that saw everybody."""
        return self.plan.final(self.stack)


def train_ensembles(
    records: Sequence[Record],
    *,
    members: int,
    folds: int,
    steps: int,
    generator: torch.Generator,
    device: str,
    console: Console,
    second: SecondProcess | None = None,
) -> Ensembles:
    """One computation for the final ensemble and every fold's, all on bootstrap draws of people: a spread by first weights alone
    is no measure of ignorance. `second`: a process that trains half of the members meanwhile; none is needed on a GPU.
    """
    plan = Plan.of(len(records), members, folds, generator)
    stack = plan.stack(build(), generator).to(device)
    cohort = people(records, stack)
    weights = plan.weights.to(device)
    if second is None:
        fitted, interrupted, losses = train(stack, cohort, weights, steps, console)
    else:
        fitted, interrupted, losses = train_halves(stack, cohort, weights, steps, console, second=second)
    return Ensembles(plan, fitted.model, cohort, interrupted, losses)


def forecasts(
    model: HybridModel, known: Cohort, asked: Sequence[Cohort], draws: int, generator: torch.Generator
) -> list[Prediction]:
    """C-peptide at the times of each of `asked` from the samples of the first hour of `known`, the same people: a component for
    each member and draw of β, the same draws for all.
    """
    beta = fit_beta(model, known, AHEAD, FORECAST_FROM).draws(draws, generator)
    return [predict(model, one, beta, solver=SOLVER) for one in asked]


def forecast(model: HybridModel, known: Cohort, asked: Cohort, draws: int, generator: torch.Generator) -> Prediction:
    """`forecasts` at the times of one cohort."""
    (found,) = forecasts(model, known, [asked], draws, generator)
    return found


def forecast_unseen(found: Ensembles, draws: int, generator: torch.Generator) -> Prediction:
    """The training people by the members that never saw them, in the cohort's order."""
    plan, cohort = found.plan, found.cohort
    folds = [torch.nonzero(plan.fold == k)[:, 0] for k in range(plan.folds)]
    parts = []
    for k, index in enumerate(folds):
        own = cohort.people(index.to(cohort.y.device))
        parts.append(forecast(plan.unseen(found.stack, k), own, own, draws, generator))
    back = torch.argsort(torch.cat(folds)).to(cohort.y.device)
    return replace(
        parts[0],
        mean=torch.cat([p.mean for p in parts], 2)[:, :, back],
        variance=torch.cat([p.variance for p in parts], 2)[:, :, back],
        times=cohort.times,
        mask=cohort.real,
        ids=cohort.ids,
    )


def trained(found: Ensembles) -> Trained:
    """The same as a bundle and a page take it: the final members, and everyone's β by the model's own likelihood.

    Errors: `SimulationError` naming the person.
    """
    model = found.final
    personal = fit_beta(model, found.cohort, None, float(found.cohort.times.max()))
    for index, why in personal.failed.items():
        raise SimulationError(why, record=index)
    # of the people's search alone: training is stopped, and does not arrive (`page.training_verdict`)
    arrived = convergence(model, personal, found.cohort.ids, weights=found.plan.weights[: found.plan.members])
    ends = at_ends(model, found.cohort, personal.mode)
    recipe = Recipe("hybrid", model, MESH)
    return Trained(recipe, found.plan, found.cohort, found.stack, model, personal, found.interrupted, ends, arrived)
