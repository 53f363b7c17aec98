"""Many independent minima at once: L-BFGS with Armijo's condition, every member with a memory and a step of its own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid import HybridModel
from training.lbfgs import Memory

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
    what is `carried` there.
    """

    index: int
    loss: Tensor
    slope: Tensor
    converged: Tensor
    held_out: Tensor
    ended: tuple[str, ...]
    best: Tensor
    carried: Tensor


def descend(
    objective: Callable[[Tensor, Tensor], Point],  # of (M, P), and what the last accepted point carried
    point: Tensor,  # (M, P)
    first: Point,
    judged: Tensor,  # (M,) bool
    *,
    steps: int,
    patience: int,
    tolerance: float,
    longest: float,
) -> Iterator[Descended]:
    """Every member's minimum from `point` on, at which the objective is `first`: one evaluation for all of them a step.

    A member is converged when no derivative is above `tolerance`. It is finished then, and when ten steps gained no more than a
    tenth of `tolerance`, when its step has shrunk to nothing, or when it is `judged` by held-out people and `patience` points in
    a row were no better to them: it keeps the best of its path by that judgement, else the last. A trial that is no better, or
    has no value, is taken back and its step shortened; no step moves any number by more than `longest`. It ends when all are
    finished.
    Law: members do not influence each other.
    Source: Liu & Nocedal, Math. Program. 45 (1989) 503 (L-BFGS); Armijo, Pacific J. Math. 16 (1966) 1.
    """
    M = len(point)
    loss, gradient, carried = first.loss, first.gradient, first.carried
    memory = Memory(M, point.shape[1], point)
    length = torch.ones(M, dtype=torch.float64, device=point.device)
    losses = [loss]
    best, best_carried, best_judgement, judgement = point, carried, first.held_out, first.held_out
    stale = torch.zeros(M, dtype=torch.long, device=point.device)  # points since a member was at its best
    direction = memory.direction(gradient)
    for index in range(1, steps + 1):
        slope = gradient.abs().amax(1)
        converged = slope <= tolerance
        stalled = losses[max(0, len(losses) - 11)] - loss <= 0.1 * tolerance if index > 10 else converged
        finished = converged | stalled | (length < 1e-8) | (judged & (stale >= patience))
        ended = _reasons(
            (("converged", converged), ("judged", judged & (stale >= patience)), ("short", length < 1e-8), ("flat", stalled)),
            "out of steps" if index == steps else "",
        )
        yield Descended(index, loss.clone(), slope, converged, judgement.clone(), ended, best, best_carried)
        if bool(finished.all()) or index == steps:
            return
        # a quasi-Newton step trusts a curvature that it has seen along a few directions; none may leap
        bounded = (longest / direction.abs().amax(1).clamp(min=1e-300)).clamp(max=1.0)
        move = torch.where(finished, 0.0, length * bounded)[:, None] * direction
        new = objective(point + move, carried)
        expected = (gradient * move).sum(1)  # < 0
        better = ~finished & (new.loss <= loss + 1e-4 * expected)
        memory.remember(move, new.gradient - gradient, better)
        # the minimum of the parabola through both losses and the slope, within reason
        bend = new.loss - loss - expected
        shorter = torch.where(torch.isfinite(bend), -0.5 * expected / bend.clamp(min=1e-300), 0.1).clamp(0.1, 0.5)
        length = torch.where(better, 1.0, torch.where(finished, length, length * shorter))
        point = torch.where(better[:, None], point + move, point)
        gradient = torch.where(better[:, None], new.gradient, gradient)
        loss, carried = torch.where(better, new.loss, loss), torch.where(_rows(better, carried), new.carried, carried)
        losses.append(loss)
        judgement = torch.where(better, new.held_out, judgement)
        kept = better & (~judged | (judgement < best_judgement))
        stale = torch.where(better, torch.where(kept, 0, stale + 1), stale)
        best_judgement = torch.where(kept, judgement, best_judgement)
        best = torch.where(kept[:, None], point, best)
        best_carried = torch.where(_rows(kept, carried), carried, best_carried)
        direction = torch.where(better[:, None], memory.direction(gradient), direction)


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


def _reasons(cases: tuple[tuple[str, Tensor], ...], other: str) -> tuple[str, ...]:
    """For every member the first of the cases (M,) that holds, else the other."""
    each = zip(*(case.tolist() for _, case in cases), strict=True)
    return tuple(next((name for (name, _), holds in zip(cases, row, strict=True) if holds), other) for row in each)
