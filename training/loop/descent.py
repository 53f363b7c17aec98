"""Many independent minima at once: L-BFGS with Armijo's condition, every member with a memory and a step of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hybrid import HybridModel
from training.loop.lbfgs import Memory

# what of `Search` and `Looks` this search has not, whichever objective is followed down; see `require_untouched`
NOT_OF_LBFGS = {
    "optimiser": "it is L-BFGS with a line search",
    "rate": "a line search finds its own step; the largest is `longest`",
    "schedule": "a line search finds its own step",
    "clip": "a line search needs the whole gradient; the largest step is `longest`",
    "shard": "people are not shared out to processes",
    "every": "every point is looked at",
}


@dataclass(frozen=True)
class Point:
    """An objective at a point: `loss` (M,), infinite where it has no value; its `gradient` (M, P).

    `held_out` (M,): what held-out people say, infinite where one failed, NaN where there is none · `carried` (M, …): what else is
    known there and a next evaluation may begin from.
    """

    loss: Tensor
    held_out: Tensor
    gradient: Tensor
    carried: Tensor


@dataclass(frozen=True)
class Descended:
    """A search after `index` evaluations.

    `loss`, `slope` (the largest derivative), `converged`, `held_out` (M,) where each member's search is · `ended` (M,) why it is
    over: "converged", "judged", "short", "flat", "out of steps", or "" where it goes on · `best` (M, P), the point to keep, with
    what is `carried` there, and what held-out people say of it, `judgement` (M,).
    """

    index: int
    loss: Tensor
    slope: Tensor
    converged: Tensor
    held_out: Tensor
    ended: tuple[str, ...]
    best: Tensor
    carried: Tensor
    judgement: Tensor


class Descent(Protocol):
    """What looks for every member's minimum, one evaluation of all members a step."""

    index: int

    def said(self, steps: int) -> Descended:
        """Where it is after `index` evaluations, of at most so many."""

    def trial(self) -> tuple[Tensor, Tensor]:  # (M, P), (M, …)
        """The point to be evaluated next, and what the last accepted one carried."""

    def take(self, new: Point) -> None:
        """Go on with what the objective is at the trial."""

    def saved(self) -> dict[str, Tensor]:
        """All that another search needs to go on as this one."""

    def restore(self, index: int, saved: Mapping[str, Tensor]) -> None:
        """Become the search that was saved after so many evaluations."""


def descend(
    objective: Callable[[Tensor, Tensor], Point],  # of (M, P), and what the last accepted point carried
    search: Descent,
    steps: int,
) -> Iterator[Descended]:
    """What the search says after every evaluation of the objective, until all members have ended or `steps` are used up."""
    while True:
        said = search.said(steps)
        yield said
        if all(said.ended):
            return
        search.take(objective(*search.trial()))
        search.index += 1


class LineSearch:
    """Every member's minimum by L-BFGS from `point` on, at which the objective is `first`.

    A member is converged when no derivative is above `tolerance`. It is finished then, and when ten steps gained no more than a
    tenth of `tolerance`, when its step has shrunk to nothing, or when it is `judged` by held-out people and `patience` points in
    a row were no better to them: it keeps the best of its path by that judgement, else the last. A trial that is no better, or
    has no value, is taken back and its step shortened; no step moves any number by more than `longest`. It ends when all are
    finished.
    Law: members do not influence each other.
    Source: Liu & Nocedal, Math. Program. 45 (1989) 503 (L-BFGS); Armijo, Pacific J. Math. 16 (1966) 1.
    """

    def __init__(
        self,
        point: Tensor,  # (M, P)
        first: Point,
        judged: Tensor,  # (M,) bool
        *,
        patience: int,
        tolerance: float,
        longest: float,
    ) -> None:
        M, self.index = len(point), 1
        self.point, self.loss, self.gradient, self.carried = point, first.loss, first.gradient, first.carried
        self.tolerance, self.longest = tolerance, longest
        self.memory = Memory(M, point.shape[1], point)
        self.length = torch.ones(M, dtype=torch.float64, device=point.device)
        self.losses = self.loss[None]  # the last ten before now, and now
        self.path = Path(point, first, judged, patience)
        self.direction = self.memory.direction(self.gradient)
        self.move = torch.zeros_like(point)

    def said(self, steps: int) -> Descended:
        slope = self.gradient.abs().amax(1)
        converged = slope <= self.tolerance
        stalled = self.losses[0] - self.loss <= 0.1 * self.tolerance if self.index > 10 else converged
        tired, short = self.path.tired, self.length < 1e-8
        self.finished = converged | stalled | short | tired
        ended = reasons(
            (("converged", converged), ("judged", tired), ("short", short), ("flat", stalled)),
            "out of steps" if self.index == steps else "",
        )
        path = self.path
        kept_by = (path.judgement.clone(), ended, path.best, path.carried, path.best_judgement)
        return Descended(self.index, self.loss.clone(), slope, converged, *kept_by)

    def trial(self) -> tuple[Tensor, Tensor]:
        # a quasi-Newton step trusts a curvature that it has seen along a few directions; none may leap
        bounded = (self.longest / self.direction.abs().amax(1).clamp(min=1e-300)).clamp(max=1.0)
        # who has no direction, where a slope is no number, stays, and keeps nobody else from being evaluated
        still = self.finished | ~torch.isfinite(self.direction).all(1)
        self.move = torch.where(still[:, None], 0.0, (self.length * bounded)[:, None] * self.direction)
        return self.point + self.move, self.carried

    def take(self, new: Point) -> None:
        move, loss = self.move, self.loss
        expected = (self.gradient * move).sum(1)  # < 0
        better = ~self.finished & (new.loss <= loss + 1e-4 * expected)
        self.memory.remember(move, new.gradient - self.gradient, better)
        # the minimum of the parabola through both losses and the slope, within reason
        bend = new.loss - loss - expected
        shorter = torch.where(torch.isfinite(bend), -0.5 * expected / bend.clamp(min=1e-300), 0.1).clamp(0.1, 0.5)
        self.length = torch.where(better, 1.0, torch.where(self.finished, self.length, self.length * shorter))
        self.point = torch.where(better[:, None], self.point + move, self.point)
        self.gradient = torch.where(better[:, None], new.gradient, self.gradient)
        self.loss = torch.where(better, new.loss, loss)
        self.carried = torch.where(_rows(better, self.carried), new.carried, self.carried)
        self.losses = torch.cat([self.losses, self.loss[None]])[-11:]
        self.path.keep(better, better, self.point, self.carried, new.held_out)
        self.direction = torch.where(better[:, None], self.memory.direction(self.gradient), self.direction)

    def saved(self) -> dict[str, Tensor]:
        return kept(self, _OWN) | kept(self.path, PATH, "path.") | kept(self.memory, _REMEMBERED, "memory.")

    def restore(self, index: int, saved: Mapping[str, Tensor]) -> None:
        self.index = index
        bring(self, _OWN, "", saved, self.point.device)
        bring(self.path, PATH, "path.", saved, self.point.device)
        bring(self.memory, _REMEMBERED, "memory.", saved, self.point.device)


_OWN = ("point", "loss", "gradient", "carried", "losses", "length", "direction")
_REMEMBERED = ("move", "change", "inverse", "scale")


class Path:
    """What each member keeps of its search: the `best` point by those who judge it, else the last, and what it `carried`."""

    def __init__(self, point: Tensor, first: Point, judged: Tensor, patience: int) -> None:
        self.best, self.carried, self.judged, self.patience = point, first.carried, judged, patience
        self.best_judgement = self.judgement = first.held_out
        self.stale = torch.zeros(len(point), dtype=torch.long, device=point.device)  # points since a member was at its best

    @property
    def tired(self) -> Tensor:  # (M,)
        """Who is judged, and was no better for so many points."""
        return self.judged & (self.stale >= self.patience)

    def keep(self, moved: Tensor, better: Tensor, point: Tensor, carried: Tensor, judgement: Tensor) -> None:
        """Look at the members that moved (M,); who is not judged keeps a point where that is `better` (M,)."""
        self.judgement = torch.where(moved, judgement, self.judgement)
        chosen = moved & torch.where(self.judged, self.judgement < self.best_judgement, better)
        self.stale = torch.where(moved, torch.where(chosen, 0, self.stale + 1), self.stale)
        self.best_judgement = torch.where(chosen, self.judgement, self.best_judgement)
        self.best = torch.where(chosen[:, None], point, self.best)
        self.carried = torch.where(_rows(chosen, carried), carried, self.carried)


PATH = ("best", "carried", "best_judgement", "judgement", "stale")


def kept(part: object, names: Sequence[str], prefix: str = "") -> dict[str, Tensor]:
    """Copies of these tensors of something, by name."""
    return {prefix + name: getattr(part, name).detach().clone() for name in names}


def bring(part: object, names: Sequence[str], prefix: str, saved: Mapping[str, Tensor], device: torch.device) -> None:
    """Put them back."""
    for name in names:
        setattr(part, name, saved[prefix + name].to(device))


def reasons_in_words(ended: Sequence[str], slope: Tensor, nearer: str, level: float = 1e-3) -> list[str]:
    """What a reader of the result must know of the members' searches that did not arrive; nothing where all did."""
    said = (
        ("out of steps", f"went on when its steps were used up: give it more `steps`, or {nearer}"),
        ("short", f"ended where no step made the objective less, at a slope that is not 0: {nearer}"),
        ("flat", "ended where ten steps gained next to nothing, though it is not level there: something is not determined"),
    )
    found = []
    for why, words in said:
        # what ends flat at ten times the default tolerance is as good as converged
        rows = [m for m, e in enumerate(ended) if e == why and (why != "flat" or slope[m] > level)]
        if rows:
            largest = float(slope[rows].max())
            found.append(f"The search of {len(rows)} of {len(ended)} members {words} (largest derivative {largest:.2g}).")
    return found


def flat(model: HybridModel, names: Sequence[str]) -> Tensor:  # (M, P)
    """The numbers of these parameters, a row for each member."""
    return torch.cat([model.get_parameter(n).detach().reshape(model.members, -1) for n in names], 1)


def place(model: HybridModel, names: Sequence[str], point: Tensor) -> None:
    """Write the numbers of every member into the model."""
    with torch.no_grad():
        at = 0
        for name in names:
            parameter = model.get_parameter(name)
            size = parameter.numel() // parameter.shape[0]
            parameter.copy_(point[:, at : at + size].reshape(parameter.shape))
            at += size


def _rows(which: Tensor, like: Tensor) -> Tensor:
    return which.reshape(-1, *[1] * (like.ndim - 1))


def reasons(cases: tuple[tuple[str, Tensor], ...], other: str) -> tuple[str, ...]:
    """For every member the first of the cases (M,) that holds, else the other."""
    each = zip(*(case.tolist() for _, case in cases), strict=True)
    return tuple(next((name for (name, _), holds in zip(cases, row, strict=True) if holds), other) for row in each)
