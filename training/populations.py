"""Fitting a population with its spread: the marginal likelihood of every member, by L-BFGS."""

import copy
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from hybrid import HybridModel, SimulationError
from hybrid.defaults import differentiating
from hybrid.threads import of_cohort, threads_by
from physics.arguments import require_choice, require_kind, require_number, require_tensor
from physics.glance import Summary, glance
from training.fitted import Compared, Fitted
from training.looks import Looks
from training.loop.descent import (
    NOT_OF_LBFGS,
    Descended,
    Descent,
    LineSearch,
    Point,
    descend,
    flat,
    place,
    reasons_in_words,
)
from training.loop.lessons import lessons
from training.loop.resumed import kept
from training.loop.stepwise import Stepwise
from training.losses import require_weights
from training.marginal.laplace import require_float64
from training.marginal.marginals import Costs, Marginals
from training.objective import Objective
from training.people.arguments import require_trainable, require_untouched
from training.people.cohort import Cohort
from training.people.mode import Curvature
from training.search import Search

_NEARER = "a start from the data: build the model of `starting_values(records, backbone).backbone`"

# what of `Objective`, `Search` and `Looks` this search has not
_WITHOUT = {
    "likelihood": "a population is fitted by the marginal likelihood",
    "anchors": "the marginal likelihood draws no posterior",
    "forecast_from": "held-out people judge by all that was measured of them",
    "bfloat16": "a marginal likelihood needs float64",
    "capture": "the search for everyone's modes asks for values, which a captured graph cannot",
    "shard": "people are not shared out to processes",
    "every": "every point is looked at",
}
# what an L-BFGS with a line search has not, and another optimiser has
_OF_STEPS = {name: why for name, why in NOT_OF_LBFGS.items() if name in ("rate", "schedule", "clip")}


def _summary(step: Any) -> Summary:
    more = [("slope", step.slope), ("converged", step.converged), ("on held-out people", step.held_out), ("ended", step.ended)]
    return f"PopulationStep {step.index} of {step.total}", [("loss", step.loss), *more, ("best", step.best.model)]


@dataclass(frozen=True)
class PopulationStep:
    """One step of `fit_population`.

    `index` of at most `total` · `loss` (M,) each member's objective where its search is · `slope` (M,) its largest
    derivative there · `converged` (M,) · `held_out` (M,) the mean objective of its held-out people there, NaN without any ·
    `best`, the fit to keep if the search ends here, with everyone's modes · `ended` (M,) why each member's search is over:
    "converged", "flat" (ten steps gained next to nothing), "short" (its step has shrunk to nothing), "judged" (its held-out
    people have had it), "out of steps" at the last of `total`, or "" where it goes on · `refused`, why somebody could not be
    simulated at one of the last ten points that were tried, "" where everybody could · `compared`, by what members may be
    compared.
    """

    index: int
    total: int
    loss: Tensor
    slope: Tensor
    converged: Tensor
    held_out: Tensor
    best: Fitted
    ended: tuple[str, ...] = ()
    refused: str = ""
    compared: Compared | None = None

    __repr__, _repr_html_ = glance(_summary)

    def sentences(self) -> list[str]:
        """What a reader of the result must know of the search, in words; nothing where every member has arrived."""
        found = reasons_in_words(self.ended, self.slope, _NEARER)
        if found and self.refused:
            found.append(f"Where it would have gone on, somebody cannot be simulated: {self.refused}")
        return found


@threads_by(of_cohort)
def fit_population(
    model: HybridModel,
    cohort: Cohort,
    objective: Objective = Objective(),
    search: Search = Search(),
    looks: Looks = Looks(),
    *,
    tolerance: float = 1e-4,
    longest: float = 0.5,
    curvature: Curvature = "fisher",
    start: Tensor | None = None,  # (M, N, d)
) -> Iterator[PopulationStep]:
    """Fit every member's population, spread, noise and weights by marginal likelihood, all members in one computation.

    Member m minimises the weighted mean over people of −log p(y_i) (`laplace_marginal`) + `least_residual`·(residual's
    share) + stability penalty, the last two at the person's mode, over the model's trainable tensors, and those that the
    population names in `by_marginal`: with `LogNormalPopulation(…, learn_spread=True)` the spread ω. Every step starts
    the search for modes at the last accepted ones.
    The method is L-BFGS with Armijo's condition, each member with its own memory and step length; one step is one
    evaluation of the objective and its gradient, for all members at once. A trial that is no better, or in which someone
    cannot be simulated, is taken back and its step shortened.

    Arguments
    - `objective`: `weights`, `least_residual` and `stability`, as in `fit`, but that the residual's share is measured in
      scales of the states that are held from the first modes on, and differentiated whole: a line search needs one function.
      And `held_out`: the people by whom a member is judged while it searches, by the same objective, in which their own
      coordinates are integrated out too. A member keeps the best point of its path by this judgement. Without anyone to judge
      it a member keeps the last point: fine for a population, too much for a network, which this search takes further into
      its training people than Adam does.
    - `search`: at most so many `steps`, evaluations (100 where it does not say), and the `solver`. A member is converged when no
      derivative of its objective is above `tolerance`, and finished then, or when ten steps gained no more than a tenth of
      `tolerance` (the objective is per person: a network has directions that no likelihood minds), or when its step has shrunk
      to nothing. `fit_population` ends early once every member is finished.
    - `looks`: the `patience`: after so many points in a row that held-out people find no better (10 where it does not say) a
      member is finished. Every point is looked at.
    - `longest`: no step moves any number of a member by more than this (they are logarithms and weights of order 1).
    - `curvature`: as in `laplace_marginal`. `start`: where the first search for modes begins.

    The search begins at the typical values of the model that it is given, and takes none from the data unasked: the model may be
    fitted already, and a member must learn nothing of people whom its weights, or a cohort cut by `until`, keep from it. Three
    times off, it needs some ten times as many steps: build the model of `starting_values(records, backbone).backbone`, with
    records that everybody may see.

    Yields a `PopulationStep` after every evaluation; that of the last says in `ended` and `sentences()` how each member's search
    ended, and `training.at_ends` what it left at an end of its range. Interrupting the loop loses nothing.
    Errors: `ValueError` for shapes and numbers that cannot be, and for what `objective`, `search` and `looks` ask that this
    search has not; `SimulationError` that names the person when the model cannot simulate someone at the very start.
    Law: members do not influence each other; a person with weight 0 does not influence the member.
    Source: Liu & Nocedal, Math. Program. 45 (1989) 503 (L-BFGS); Armijo, Pacific J. Math. 16 (1966) 1.
    """
    require_trainable(model, cohort, "fit_population")
    require_kind(objective, Objective, "fit_population: objective", "fit_population(model, cohort, Objective(weights=…))")
    require_kind(search, Search, "fit_population: search", "fit_population(model, cohort, search=Search(steps=100))")
    require_kind(looks, Looks, "fit_population: looks", "fit_population(model, cohort, looks=Looks(patience=10))")
    by_lines = search.optimiser is None
    for value in (objective, search, looks):
        require_untouched(value, "fit_population", _WITHOUT | (_OF_STEPS if by_lines else {}))
    require_float64(model, cohort)
    solver = search.solver or differentiating(model)  # one for all rounds: it keeps its buffers between them
    for name, size in (("tolerance", tolerance), ("longest", longest)):
        require_number(size, f"fit_population: {name}", above=0.0)
    require_choice(curvature, ("fisher", "observed"), "fit_population: curvature")
    steps = 100 if search.steps is None else search.steps
    patience = 10 if looks.patience is None else looks.patience
    tolerance, longest = float(tolerance), float(longest)
    require_tensor(start, "fit_population: start (M, N, d)", "Marginal.mode of an earlier call")
    M, N, d = model.members, cohort.conditions.size, model.personal
    device = cohort.y.device
    taught = lessons(objective, cohort, M, "fit_population")
    if start is not None and start.shape != (M, N, d):
        raise ValueError(f"fit_population: start needs shape (M, N, d) = {(M, N, d)}, got {tuple(start.shape)}")
    stability = None if objective.stability is None else objective.stability.to(device)
    require_weights(model, objective.decay, objective.sparsity, "fit_population")
    costs = Costs(objective.least_residual, stability, objective.decay, objective.sparsity)
    whole = Marginals.of(model, taught, start, costs, curvature, solver)

    best = copy.deepcopy(model)  # carries the point to keep; what asks for gradients in it stays as it was
    trial = copy.deepcopy(model)
    for name in trial.population.by_marginal:
        trial.population.get_parameter(name).requires_grad_()
    names = [name for name, p in trial.named_parameters() if p.requires_grad]
    for name in names:
        if trial.get_parameter(name).shape[0] != M:
            raise ValueError(
                f"fit_population: {name} has {trial.get_parameter(name).shape[0]} members and the model {M}"
            )
    if not names:
        raise ValueError("fit_population: nothing in the model asks to be trained")
    point = flat(trial, names)  # (M, P)
    first = whole.at(trial, names, start)
    if not bool(torch.isfinite(first.loss).all()):
        why = next(iter(first.failed.values()), "the objective is not finite")
        raise SimulationError(f"the population cannot be fitted from here: {why}")

    refusals: deque[str] = deque(maxlen=10)  # of the last points that were tried

    def objective_at(point: Tensor, mode: Tensor) -> Point:
        place(trial, names, point)
        tried = whole.at(trial, names, mode)
        lost = not bool(torch.isfinite(tried.loss).all())
        refusals.append(next(iter(tried.failed.values()), "") if lost else "")
        return tried.point

    judged = taught.of_members(lambda lesson: lesson.count) > 0
    searching: Descent
    if search.optimiser is None:
        searching = LineSearch(point, first.point, judged, patience=patience, tolerance=tolerance, longest=longest)
    else:
        searching = Stepwise(
            *(point, first.point, judged),
            optimiser=search.optimiser,
            rate=search.rate,
            schedule=search.schedule or (lambda o: CosineAnnealingLR(o, steps, eta_min=0.02 * search.rate)),
            clip=search.clip,
            patience=patience,
            tolerance=tolerance,
            name="fit_population",
            steps=0 if search.schedule is None else steps - 1,  # the first point has no update before it
        )
    settings: dict[str, object] = {
        **{name: getattr(search, name) for name in ("optimiser", "rate", "schedule", "clip")},
        **{"steps": steps, "patience": patience, "tolerance": tolerance, "longest": longest, "curvature": curvature},
        **{"weights": taught.weights, "held-out people": objective.held_out, "judged": objective.judged, "costs": costs},
        **{"solver": solver, "start": start},
    }
    path = descend(objective_at, searching, steps)
    if looks.checkpoint is not None:
        path = kept(path, searching, looks.checkpoint, model, cohort, settings)
    elif model.delivery.lag and isinstance(searching, LineSearch) and not bool(judged.any()):

        def found_again(step: Descended) -> LineSearch | None:
            """From where it ended, with everyone's mode looked for anew; None where that finds nothing lower."""
            place(trial, names, step.best)
            anew = whole.at(trial, names, None)
            if not bool((anew.loss < step.loss - tolerance).any()):
                return None
            lower = (anew.loss < step.loss)[:, None, None]
            point = replace(anew.point, carried=torch.where(lower, anew.point.carried, step.carried))
            return LineSearch(step.best, point, judged, patience=patience, tolerance=tolerance, longest=longest)

        path = _and_again(path, found_again, objective_at, steps)
    for step in path:
        place(best, names, step.best)
        fitted = Fitted(copy.deepcopy(best), step.carried.clone())
        refused = next((why for why in reversed(refusals) if why), "")
        yield PopulationStep(
            *(step.index, steps, step.loss, step.slope, step.converged, step.held_out, fitted, step.ended, refused),
            Compared(torch.where(judged, step.judgement, torch.nan), taught.everyone[:, 0], taught.alike),
        )


def _and_again(
    path: Iterator[Descended],
    found_again: Callable[[Descended], LineSearch | None],
    objective: Callable[[Tensor, Tensor], Point],
    steps: int,
) -> Iterator[Descended]:
    """A search, and from where it ended another one as long as there are steps and a start that is lower.

    A search for modes that begins at the last ones stays on their side of an observation that somebody's dose may pass.
    """
    done = 0
    while True:
        for step in path:
            yield replace(step, index=done + step.index)
        done += step.index
        again = found_again(step) if done < steps else None
        if again is None:
            return
        path = descend(objective, again, steps - done)
