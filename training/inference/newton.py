"""A population taken to the very optimum of an approximation of its likelihood, by Newton's method."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hybrid import HybridModel, SimulationError, Solver
from physics.arguments import require_number, require_tensor
from physics.glance import Summary, glance
from training.fitted import Fitted
from training.inference.approximations import Approximation, people_counted_in, require_approximation
from training.inference.curvature import Curved, Likelihood, Slope, decrement, seen
from training.inference.estimates import trained, united
from training.loop.descent import flat, place
from training.marginal.laplace import require_float64
from training.people.arguments import require_fit
from training.people.cohort import Cohort

_KEPT = 0.05  # a step that leaves less than this of what was to be gained shows that the Hessian need not be made anew
_ROUNDING = 1e-9  # of the objective: what a step may seem to lose by rounding alone, relative


def _summary(step: Any) -> Summary:
    return f"NewtonStep {step.index} of {step.total}", [
        *(
            ("loss", step.loss),
            ("−2 log L would fall by", step.away),
            ("converged", step.converged),
            ("best", step.best.model),
        )
    ]


@dataclass(frozen=True)
class NewtonStep:
    """One step of `polish`.

    `index` of at most `total` · `loss` (M,), the mean of −log p(y_i) over the people, as in `fit_population` · `away` (M,), by
    how much −2 log L would still fall, by its quadratic · `converged` (M,) · `best`, the fit where the search is.
    """

    index: int
    total: int
    loss: Tensor
    away: Tensor
    converged: Tensor
    best: Fitted

    __repr__, _repr_html_ = glance(_summary)


def polish(
    model: HybridModel,
    cohort: Cohort,
    *,
    approximation: Approximation = "focei",
    nodes: int = 13,
    weights: Tensor | None = None,  # (M, N)
    start: Tensor | None = None,  # (M, N, d)
    steps: int = 30,
    tolerance: float = 1e-6,
    solver: Solver | None = None,
) -> Iterator[NewtonStep]:
    """Newton's steps to the optimum of −2 log L by `approximation`, from a model that is near it: `last(polish(model, cohort))`.

    `fit_population` ends where slopes are small; a standard error, and a difference of two objectives, are of the optimum itself,
    and of that of their own approximation. The Hessian is that of `standard_errors`: differences of the exact gradient, with all
    moved models as members of one computation. A step goes along what the likelihood determines, no logarithm by more than ½, and
    is halved until the objective is less. The weights of a residual are held.

    Arguments: `approximation`, "focei" (Laplace's method with the Fisher information, as `fit_population` by default), "laplace"
    (with the Hessian, `curvature="observed"`) or "quadrature" with so many `nodes` along each coordinate; `weights`, how often
    each member counts each person; `start` of the search for modes; at most so many `steps`; `tolerance`, what −2 log L may
    still be too high by.
    Yields a `NewtonStep` at every point, the first where the model is.
    Errors: `ValueError` for shapes and numbers that cannot be, and a model that estimates nothing; `SimulationError` that names
    the person whom the model cannot simulate at the start.
    Law: members do not influence each other.
    Source: Nocedal & Wright, Numerical Optimization (2006), section 3.4 (a Hessian that is not positive definite).
    """
    require_fit(model, cohort, "polish", solver)
    require_float64(model, cohort)
    require_approximation(approximation, nodes, "polish")
    require_number(steps, "polish: steps", least=1.0, whole=True)
    require_number(tolerance, "polish: tolerance", above=0.0)
    require_tensor(start, "polish: start (M, N, d)", "Marginal.mode of an earlier call")
    counted = people_counted_in(weights, model, cohort, "polish")
    trial, names, _ = trained(model, "polish")
    likelihood = Likelihood(cohort, counted, names, united(trial, names), approximation, int(nodes), solver)
    curved = likelihood.curved(trial, start)
    at, people = curved.at, counted.sum(1)
    ways = [_inverse(curved, m) for m in range(len(people))]
    fresh, last_away = True, None
    steps = int(steps)
    for index in range(1, steps + 1):
        away = torch.tensor([decrement(at.gradient[m], ways[m]) for m in range(len(ways))], dtype=torch.float64)
        converged = away <= tolerance
        if not fresh and last_away is not None and bool((~converged & (away > _KEPT * last_away)).any()):
            curved = likelihood.curved(trial, at.mode)
            ways, fresh = [_inverse(curved, m) for m in range(len(people))], True
            away = torch.tensor([decrement(at.gradient[m], ways[m]) for m in range(len(ways))], dtype=torch.float64)
            converged = away <= tolerance
        best = copy.deepcopy(model)
        place(best, names, flat(trial, names))
        yield NewtonStep(index, steps, at.total / people, away, converged, Fitted(best, at.mode.clone()))
        if bool(converged.all()) or index == steps:
            return
        way = -torch.stack([ways[m] @ at.gradient[m] for m in range(len(ways))])
        moved = _line(likelihood, trial, at, torch.where(converged[:, None].to(way.device), 0.0, way), curved.longest)
        if moved is None:
            if fresh:
                return  # the quadratic promises what no step finds: as near as rounding lets
            curved = likelihood.curved(trial, at.mode)
            ways, fresh, last_away = [_inverse(curved, m) for m in range(len(people))], True, None
            continue
        at, last_away, fresh = moved, away, False


def _inverse(curved: Curved, m: int) -> Tensor:  # (P, P)
    """The inverse of the Hessian along what is seen; where it bends the wrong way, of its size."""
    information = curved.information[m]
    split = seen(information, curved.size[m], curved.loosest[m], curved.noise[m])
    inverse = split.covariance
    for way in split.saddle:
        inverse = inverse + torch.outer(way, way) / (way @ information @ way).abs().clamp(min=1e-3)
    return inverse


def _line(
    likelihood: Likelihood,
    model: HybridModel,
    at: Slope,
    way: Tensor,  # (M, P)
    longest: Tensor,  # (M, P)
) -> Slope | None:
    """The model moved along `way`, every member by as much as makes its objective less; None where none is."""
    point = flat(model, likelihood.names)
    length = (longest / way.abs().clamp(min=1e-300)).amin(1).clamp(max=1.0)
    need = way.abs().amax(1) > 0.0
    done = ~need
    found = at
    for _ in range(8):
        trial = point + torch.where(done & need, 0.0, length)[:, None] * way
        # who has its step keeps it: their numbers are those that were found
        trial = torch.where((done & need)[:, None], flat(model, likelihood.names), trial)
        before = flat(model, likelihood.names)
        place(model, likelihood.names, trial)
        try:
            new = likelihood.slope(model, found.mode)
        except SimulationError:
            place(model, likelihood.names, before)
            length = torch.where(done, length, 0.5 * length)
            continue
        better = (
            ~done & (new.total <= at.total + _ROUNDING * (1.0 + at.total.abs())) & torch.isfinite(new.gradient).all(1)
        )
        place(model, likelihood.names, torch.where(better[:, None], trial, before))
        found = Slope(
            torch.where(better[:, None], new.value, found.value),
            torch.where(better, new.total, found.total),
            torch.where(better[:, None], new.gradient, found.gradient),
            torch.where(better[:, None, None], new.mode, found.mode),
        )
        done = done | better
        if bool(done.all()):
            return found
        length = torch.where(done, length, 0.5 * length)
    return found if bool((done & need).any()) else None
