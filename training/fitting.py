"""Fitting a whole ensemble at once: a generator of steps, whose loop is the caller's."""

import copy
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from hybrid import HybridModel, SimulationError, rollout
from hybrid.defaults import differentiating
from hybrid.threads import of_cohort, threads_by
from physics.arguments import quote, require_kind
from physics.glance import Summary, glance
from training.fitted import Compared, Fitted
from training.looks import Looks
from training.loop.course import Course, Stage, named
from training.loop.score import Score, require_forecast
from training.machinery.distributed import Shard
from training.machinery.precision import in_bfloat16
from training.machinery.state import State
from training.machinery.together import Part
from training.objective import Objective
from training.people.arguments import require_trainable
from training.people.cohort import Cohort
from training.search import Search

LONG = 2000  # segments in a row: from here on a fit by `shoot` is proposed


def _summary(step: Any) -> Summary:
    more = [("on held-out people", step.held_out), ("learning rate", step.rate)]
    return f"Step {step.index} of {step.total}", [("loss", step.loss), *more, ("best", step.best.model)]


@dataclass(frozen=True)
class Step:
    """One step of `fit`.

    `index` of `total` · `loss` (M,) each member's objective · `held_out` (M,) the latest mean −log predictive density per
    measurement that judges, of held-out people or `judged`, NaN before the first look or where nobody can be scored · `rate`, the
    learning rate · `best`, the fit to keep if training ends here · `now`, a function that copies the fit as it is after this
    step, to be called before the next one: before the first look `best` of members that are judged is where they began · `ended`
    (M,) why each member's search is over: "judged" (what judges had no patience left), "out of steps", or "" where it goes on.
    Neither says that it has arrived · `compared`, by what members may be compared.
    """

    index: int
    total: int
    loss: Tensor
    held_out: Tensor
    rate: float
    best: Fitted
    now: Callable[[], Fitted] | None = None
    ended: tuple[str, ...] = ()
    compared: Compared | None = None

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

    A record of 2,000 segments or more is said to be long, with a warning: `shoot` is for those.

    Yields a `Step` after every update; `last(fit(…))` waits for the end. Interrupting the loop loses nothing: the last step's
    `best` is complete. Steps may end before the fit has arrived: `convergence` says so, and `at_ends` what it left at an end of
    its range.
    Errors: `ValueError` for shapes and numbers that cannot be, and for a checkpoint of another fit; `SimulationError` that
    names the person.
    Law: members do not influence each other; a person with weight 0 does not influence the member; stop, save and resume
    is never stopped, bit for bit on a CPU.
    Source: Kingma & Ba (2015) for Adam.
    """
    require_trainable(model, cohort, "fit")
    require_kind(objective, Objective, "fit: objective", "fit(model, cohort, objective=Objective(weights=…))")
    require_kind(search, Search, "fit: search", "fit(model, cohort, search=Search(steps=200))")
    require_kind(looks, Looks, "fit: looks", "fit(model, cohort, looks=Looks(every=20))")
    require_forecast(objective, "fit")
    longest = cohort.conditions.segments.dt.shape[1]
    if longest >= LONG and model.process is None:
        warnings.warn(
            f"fit: the longest record has {longest} segments, which every step takes one after the other; `shoot` takes them "
            "side by side, and finds its way where a long record has many minima: write last(shoot(model, cohort, …)), with the "
            "same values",
            stacklevel=2,
        )
    rate = search.rate
    steps = 200 if search.steps is None else search.steps
    patience = 5 if looks.patience is None else looks.patience
    model = copy.deepcopy(model)
    solver = search.solver or differentiating(model)  # one for all steps: it keeps its buffers between them
    shard = search.shard or Shard()
    shard.alike(model)
    score = Score.of(model, cohort, objective, shard, "fit")
    state = State.begin(model, cohort.conditions.size)
    personal = state.personal
    moving = in_bfloat16(model) if search.bfloat16 else model

    def losses() -> Tensor:  # (M,)
        try:
            run = rollout(moving, cohort.conditions, personal, solver)
        except SimulationError as error:
            raise named(error, cohort) from error
        return score.loss(model, run, personal)

    def cosine(optimiser: Optimizer) -> LRScheduler:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=0.02 * rate)

    parts = [Part([*model.parameters()], [personal])]
    groups = [{"params": [*model.parameters(), personal]}]
    stage = Stage("fit", steps, losses, parts, groups, rate, search.schedule or cosine)
    course = Course(score, search, looks, patience, solver, {"steps": steps})
    for _ in course.run(state, [stage]):
        yield _step(state, steps, course)


def _step(state: State, total: int, course: Course) -> Step:
    def now() -> Fitted:
        return Fitted(copy.deepcopy(state.model), state.personal.detach().clone())

    ended, compared = course.ended(state, total), course.score.compared(state.best_score)
    return Step(state.index, total, state.loss, state.latest, state.rate, state.best, now, ended, compared)


def require_steps(steps: object, what: str) -> None:
    """Raise `ValueError` for what is no generator of a fit's steps."""
    if not isinstance(steps, Generator):
        raise ValueError(f"{what} are those of a fit as they come, and are {quote(steps)}; write fit(model, cohort)")
