"""The course of a fit by gradients: update, look, keep; the one loop of `fit` and of `shoot`."""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from hybrid import HybridModel, SimulationError, Solver
from training.fitted import Fitted
from training.looks import Looks
from training.loop.members_lbfgs import MembersLBFGS
from training.loop.score import Score
from training.machinery.checkpoint import Saved, fingerprint_of
from training.machinery.state import State
from training.machinery.together import Part, latest_of, sum_and_clip
from training.machinery.unit import unit
from training.people.cohort import Cohort
from training.search import Search


@dataclass(frozen=True)
class Stage:
    """A part of a fit with one optimiser, up to step `until`.

    `losses`: what is made small, (M,) or (K, M) of which the first row is what a step says and the sum is differentiated ·
    `parts`: what moves, and is clipped together · `groups`: the same as torch's optimisers take it, with numbers of their own ·
    `rate` and `schedule` · `ready`: called between the gradient and the update; `after`: called after it, with the step's index.
    `patient`: do looks that are no better end it? · `forgiving`: is a member that cannot be simulated at a look a failure? ·
    `moved_by`: the optimiser, by default the fit's.
    """

    name: str
    until: int
    losses: Callable[[], Tensor]
    parts: Sequence[Part]
    groups: Sequence[Mapping[str, Any]]
    rate: float
    schedule: Callable[[Optimizer], LRScheduler]
    ready: Callable[[int], None] = lambda index: None
    after: Callable[[int], None] = lambda index: None
    patient: bool = True
    forgiving: bool = False
    moved_by: Callable[..., Optimizer] | None = None


@dataclass(frozen=True)
class Course:
    """What the stages of a fit have in common.

    `settings`: what makes it another fit, by the words in which a checkpoint of another one is refused · `judging`: gives
    what simulates at a look, where that is not `solver`.
    """

    score: Score
    search: Search
    looks: Looks
    patience: int
    solver: Solver
    settings: Mapping[str, object]
    judging: Callable[[], Solver] | None = None

    def run(self, state: State, stages: Sequence[Stage]) -> Iterator[State]:
        """Go through the stages, and yield the state after every update; after a checkpoint, first the saved one.

        Whenever the loop ends, by `break` or an error too, a fit with a checkpoint has saved its last whole state.
        """
        checkpoint, kept = self.looks.checkpoint, None  # the last whole state: what an interrupt amid a step leaves is none
        fingerprint: dict[str, Any] = {}
        self._enter(state, stages, 0)
        if checkpoint is not None:
            fingerprint = self._fingerprint(state)
            kept = latest_of(checkpoint, fingerprint, self.score.shard)
            if kept is not None:
                at = [stage.name for stage in stages].index(kept.values.get("stage", stages[0].name))
                self._enter(state, stages, at)
                state.restore(kept)
        written = state.index
        try:
            if kept is not None:
                yield state
            for at, stage in enumerate(stages):
                if state.index >= stage.until:
                    continue
                if stage.name != state.stage:
                    self._enter(state, stages, at)
                for kept in self._through(state, stage):
                    yield state
                    if checkpoint is not None and kept is not None and kept.index % checkpoint.every == 0:
                        checkpoint.write(fingerprint, kept)
                        written = kept.index
        finally:
            if checkpoint is not None and kept is not None and kept.index != written:
                checkpoint.write(fingerprint, kept)

    def ended(self, state: State, total: int) -> tuple[str, ...]:
        """Why each member's search is over: "judged" by what had no patience left, "out of steps", or "" where it goes on."""
        tired = self.score.judged & (state.stale >= self.patience)
        return tuple("judged" if one else "out of steps" if state.index == total else "" for one in tired.tolist())

    def _enter(self, state: State, stages: Sequence[Stage], at: int) -> None:
        stage = stages[at]
        since = stages[at - 1].until if at else 0
        steps = stage.until - since if self.search.schedule is not None else 0  # the fit's own are as long as it is
        moved_by = stage.moved_by or self.search.optimiser or torch.optim.Adam
        state.enter(stage.name, since, stage.groups, moved_by, stage.rate, stage.schedule, self.score.name, steps)

    def _through(self, state: State, stage: Stage) -> Iterator[Saved | None]:
        """The steps of a stage; what a checkpoint would keep of each, None where there is none."""
        judged, shard, every = self.score.judged, self.score.shard, self.looks.every
        some = bool(judged.any())
        moved = [t for part in stage.parts for t in (*part.shared, *part.own)]
        # exchanges between processes are no part of a graph
        whole = unit(stage.losses, moved, capture=self.search.capture and shard.world == 1)
        by = state.optimiser
        searching, lost = isinstance(by, torch.optim.LBFGS | MembersLBFGS), False

        def evaluate() -> Tensor:  # (M,)
            value = whole()
            if whole.captured and not bool(torch.isfinite(value).all()):
                stage.losses()  # a graph does not say who diverged
            largest = None if searching else self.search.clip  # a line search needs the gradient as it is
            said = sum_and_clip(stage.parts, value if value.ndim > 1 else value[None], largest, shard)
            stage.ready(state.index + 1)
            return said

        while state.index < stage.until and not (
            stage.patient and bool((judged & (state.stale >= self.patience)).all())
        ):
            state.rate = float(by.param_groups[0]["lr"])
            if isinstance(by, MembersLBFGS):
                state.loss = by.step(lambda: evaluate().sum(0))
            else:
                said = evaluate()
                state.loss = said[0]
            if isinstance(by, torch.optim.LBFGS):
                # a step of a line search may go where nobody can be simulated: it is taken back, and its memory of slopes
                before = [t.detach().clone() for t in moved]
                try:
                    _search(by, said, evaluate)
                except SimulationError as error:
                    with torch.no_grad():
                        for tensor, was in zip(moved, before, strict=True):
                            tensor.copy_(was)
                    by.state.clear()
                    if lost:
                        warnings.warn(
                            f"{self.score.name}: the search by L-BFGS ends at step {state.index} of {stage.until}: it goes where "
                            f"{error}; what it had reached is kept; write a smaller rate, or "
                            'functools.partial(torch.optim.LBFGS, line_search_fn="strong_wolfe")',
                            stacklevel=2,
                        )
                        return
                    lost = True
                else:
                    lost = False
            elif not searching:
                by.step()
            state.schedule.step()
            state.index += 1
            stage.after(state.index)
            if state.index % every == 0 or state.index == stage.until:
                better = ~judged
                if some:
                    self._look(state, stage)
                    # a finished member is not reopened: how long the loop goes on is for the others to say
                    better = better | ((state.latest < state.best_score) & (state.stale < self.patience))
                    state.best_score = torch.where(better, state.latest, state.best_score)
                    state.stale = torch.where(better, 0, state.stale + int(stage.patient))
                state.best = _merge(state.best, state.model, state.personal, better)
            elif not some:
                state.best = Fitted(copy.deepcopy(state.model), state.personal.detach().clone())
            yield state.saved() if self.looks.checkpoint is not None else None

    def _look(self, state: State, stage: Stage) -> None:
        solver = self.solver if self.judging is None else self.judging()
        if stage.forgiving:
            state.latest, state.warm = self.score.judge_or_lose(state.model, state.warm, solver)
            return
        try:
            state.latest, state.warm = self.score.judge(state.model, state.warm, solver)
        except SimulationError as error:
            raise named(error, self.score.cohort) from error

    def _fingerprint(self, state: State) -> dict[str, Any]:
        search, objective, score = self.search, self.score.objective, self.score
        nobody = torch.zeros_like(score.share > 0)
        held_out = nobody if objective.held_out is None else objective.held_out.to(nobody.device)
        settings: dict[str, object] = {
            "rate": search.rate,
            "optimiser": [type(state.optimiser).__qualname__, state.groups()],
            "schedule": [type(state.schedule).__qualname__, state.schedule.state_dict()],
            "clip": search.clip,
            "weights": score.taught.weights,
            "held-out people": held_out,
            "least_residual": objective.least_residual,
            "stability": score.stability,
            "likelihood": objective.likelihood,
            "anchors": score.anchors,
            "forecast_from": objective.forecast_from,
            "look_every": self.looks.every,
            "patience": self.patience,
            "solver": self.solver,
            "bfloat16": search.bfloat16,
            "processes": [score.shard.rank, score.shard.world],
        }
        newer = {"judged": objective.judged, "decay": objective.decay, "sparsity": objective.sparsity}
        # at their defaults they are left out: a checkpoint that knows nothing of them is of the same fit
        settings |= {name: value for name, value in newer.items() if isinstance(value, Tensor) or value}
        return fingerprint_of(state.model, score.cohort, {**settings, **self.settings})


def line_search(search: Search) -> bool:
    """Does the optimiser ask for the objective again and again in a step, so that a rate is a share of a step found?"""
    if search.optimiser is None:
        return False
    try:
        return isinstance(search.optimiser([torch.zeros(1, requires_grad=True)], lr=search.rate), torch.optim.LBFGS)
    except (TypeError, ValueError, AttributeError, RuntimeError):  # whoever begins with it says so
        return False


def named(error: SimulationError, cohort: Cohort) -> SimulationError:
    """The same failure with the person's id in place of the row's number, and with what the time counts from."""
    if error.record is None:
        return error
    who = cohort.records[error.record % len(cohort.ids)]  # copies of people repeat the cohort's order
    text = str(error).replace(f"record {error.record}:", f"person {who.id}:", 1)
    if error.time is not None:
        text = text.replace(f"at time {error.time:g}", f"at time {error.time:g} since the {who.began}", 1)
    return SimulationError(text, record=error.record, time=error.time)


def _search(optimiser: Optimizer, first: Tensor, evaluate: Callable[[], Tensor]) -> None:
    """A step of an optimiser that asks for the objective again and again, which has been evaluated where it begins."""
    known: list[Tensor] = [first]

    def closure() -> float:
        return float((known.pop() if known else evaluate()).sum())

    optimiser.step(closure)


def _merge(best: Fitted, model: HybridModel, personal: Tensor, better: Tensor) -> Fitted:
    """`best`, with the members that improved taken from the current model."""
    merged = copy.deepcopy(best.model)
    with torch.no_grad():
        for old, new in zip(merged.parameters(), model.parameters(), strict=True):
            mask = better if old.shape[0] == better.shape[0] else better.any()[None]
            old[mask] = new.detach()[mask]
    return Fitted(merged, torch.where(better[:, None, None], personal.detach(), best.personal))
