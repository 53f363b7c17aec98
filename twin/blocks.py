"""People in blocks of one size, so that the arithmetic of a block is the same whoever is in it.

A block has `size` rows and always one of them at least at rest, which lasts no time and is infused: so everything that a
solver asks of a whole batch (are all steps equally long? is anyone infused?) has the same answer in every block, and no batch
of another shape chooses another kernel. What a filter and a solver do to a row, then, depends on that row alone.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hybrid import HybridModel, Interval
from hybrid.filters import Belief
from twin.joining import Group, Piece
from twin.people import Known
from twin.snapshots import Believed, State

Array = NDArray[np.float64]


class Move(NamedTuple):
    """One step of one person: a first belief (from the row `baseline`), a piece of time, a measurement; any of them or none.

    `group`: of the group that is complete after it, -1 while it is not.
    """

    inputs: tuple[float, ...]
    piece: Piece | None
    row: Array | None
    group: int
    baseline: Array | None = None
    origin: int = 0


def moves(groups: list[Group], state: State, starts: tuple[bool, ...], horizon: int) -> list[Move]:
    """What a filter does along these groups from a state: nothing before the start, nor of someone who is held.

    `starts` (p,): the channels that the model starts from. Somebody is started anew by the first measurement that comes later
    than the horizon after the last good belief, when nothing can any more correct what made it diverge.
    """
    found: list[Move] = []
    started = state.belief is not None and state.belief.held is None
    held = None if state.belief is None else state.belief.held
    for k, group in enumerate(groups):
        inputs = group.course.inputs
        if not started:
            anew = held is not None and bool(group.rows) and group.course.time - held > horizon
            if not (group.begins or anew):
                continue
            started = True
            baseline, rows = _baseline(group.rows, starts)
            first = rows[0] if rows else None
            done = k if len(rows) < 2 else -1
            found.append(Move(inputs, None, first, done, baseline, group.course.time))
            rows = rows[1:]
        else:
            rows = list(group.rows)
            before = [Move(piece.inputs, piece, None, -1) for piece in group.pieces]
            first = rows[0] if rows else None
            done = k if len(rows) < 2 else -1
            if before:
                before[-1] = Move(inputs, group.pieces[-1], first, done)
            else:
                before = [Move(inputs, None, first, done)]
            found += before
            rows = rows[1:]
        found += [Move(inputs, None, row, k if row is rows[-1] else -1) for row in rows]
    return found


def _baseline(rows: tuple[Array, ...], starts: tuple[bool, ...]) -> tuple[Array, list[Array]]:
    """The first measurement of each channel that the model starts from, and what is left."""
    taken = np.array(starts)
    if not rows:
        return np.full(len(starts), math.nan), []
    baseline = np.where(taken, rows[0], math.nan)
    left = [np.where(taken, math.nan, rows[0]), *rows[1:]]
    return baseline, [row for row in left if not np.isnan(row).all()]


@dataclass
class Columns:
    """The moves of the people of a block as arrays with the axes (T, B, …): step by step, row by row."""

    dt: Tensor
    start: Tensor
    jump: Tensor
    rate: Tensor
    held: Tensor
    inputs: Tensor
    y: Tensor
    baseline: Tensor
    begins: Tensor
    group: list[list[int]]

    @staticmethod
    def of(model: HybridModel, plans: list[list[Move]], size: int, joined: tuple[tuple[float, ...], ...]) -> "Columns":
        """These plans, and rest for whoever has no more to do; `joined` are the inputs (m,) of those who rest."""
        T, B = max(map(len, plans), default=0), size
        n, m, p = len(model.backbone.states), len(model.backbone.inputs), len(model.observation.channels)
        dt, start, jump, rate = np.zeros((T, B)), np.zeros((T, B)), np.zeros((T, B, n)), np.zeros((T, B, n))
        held, inputs = np.zeros((T, B, m)), np.zeros((T, B, m))
        y, baseline = np.full((T, B, p), math.nan), np.full((T, B, p), math.nan)
        begins, group = np.zeros((T, B), dtype=bool), [[-1] * B for _ in range(T)]
        rate[:, len(plans) :] = 1.0  # whoever rests is infused, for no time
        for i, plan in enumerate(plans):
            for t, move in enumerate(plan):
                inputs[t, i] = held[t, i] = move.inputs
                if move.piece is not None:
                    dt[t, i], start[t, i], jump[t, i], rate[t, i], held[t, i] = move.piece
                if move.row is not None:
                    y[t, i] = move.row
                if move.baseline is not None:
                    baseline[t, i], begins[t, i] = move.baseline, True
                group[t][i] = move.group
            held[len(plan) :, i] = inputs[len(plan) :, i] = plan[-1].inputs if plan else joined[i]
        like = next(iter((*model.parameters(), *model.buffers())))

        def tensor(value: Array) -> Tensor:
            return torch.from_numpy(value).to(like)

        return Columns(
            tensor(dt),
            tensor(start),
            tensor(jump),
            tensor(rate),
            tensor(held),
            tensor(inputs),
            tensor(y),
            tensor(baseline),
            torch.from_numpy(begins).to(like.device),
            group,
        )

    def interval(self, t: int) -> Interval:
        """Everyone's step t."""
        return Interval(self.dt[t], self.jump[t], self.rate[t], self.held[t], self.held[t], self.start[t], meshed=True)

    def rest(self, i: int, since: int) -> None:
        """Row i does nothing from step `since` on."""
        for value, still in ((self.dt, 0.0), (self.jump, 0.0), (self.y, math.nan), (self.baseline, math.nan)):
            value[since:, i] = still
        self.begins[since:, i] = False
        for row in self.group[since:]:
            row[i] = -1


def stacked(model: HybridModel, people: list[Known], states: list[State], size: int) -> tuple[Belief, dict[str, Tensor]]:
    """The beliefs of a block's people and their covariates; rows that nobody has are copies of the first."""
    like = next(iter((*model.parameters(), *model.buffers())))
    M, n, z = model.members, len(model.backbone.states), len(model.backbone.states) + model.personal
    believed = [s.belief for s in states]
    blank = _blank(M, z, next((b.particles.shape[-1] for b in believed if b is not None and b.particles is not None), 0))
    rows = [blank if b is None else b for b in believed]
    rows += [rows[0]] * (size - len(rows))
    mean, root = np.stack([b.mean for b in rows], 1), np.stack([b.root for b in rows], 1)
    clouds = [b.particles for b in rows if b.particles is not None]
    particles = torch.from_numpy(np.stack(clouds, 1)).to(like) if clouds else None
    belief = Belief(torch.from_numpy(mean).to(like), torch.from_numpy(root).to(like), like.new_zeros(size), n, particles)
    everyone = [*people, *[people[0]] * (size - len(people))]
    names = sorted(people[0].covariates)
    return belief, {name: torch.tensor([k.covariates[name] for k in everyone]).to(like) for name in names}


def _blank(M: int, z: int, particles: int) -> Believed:
    """Of someone who has not started: any numbers, since they rest until they do."""
    zero = np.zeros(M)
    cloud = np.zeros((M, z, particles)) if particles else None
    return Believed(np.zeros((M, z)), np.broadcast_to(np.eye(z), (M, z, z)).copy(), zero, zero, zero, particles=cloud)
