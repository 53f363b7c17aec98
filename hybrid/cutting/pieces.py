"""Records that begin anew on the way, or go on with another θ, as the pieces between: rows, which any solver integrates."""

import itertools
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hybrid.cutting.restarts import Restarts
from hybrid.derivative import array_of

# what a piece starts from: where the piece before ends, where the record does, or where somebody of whom nothing is known does
CONTINUES, FIRST, REST = -3, -2, -1


class Records(Protocol):
    """Segments of N people, as `hybrid.cutting.segments` has them, which make pieces themselves and so are not known here."""

    @property
    def dt(self) -> Tensor: ...
    @property
    def start(self) -> Tensor: ...
    @property
    def jump(self) -> Tensor: ...
    @property
    def rate(self) -> Tensor: ...
    @property
    def u0(self) -> Tensor: ...
    @property
    def u1(self) -> Tensor: ...
    @property
    def segment(self) -> Tensor: ...
    @property
    def fraction(self) -> Tensor: ...
    @property
    def restarts(self) -> Restarts | None: ...


@dataclass(frozen=True)
class Pieces:
    """N records as R rows, one for each piece of each.

    `rows`: the tensors of the rows' segments, by name · `owner` (R,) whose each is · `opens` (R,) the record's segment at
    which it begins, one more than there are where that is at its end · `kind` (R,): `CONTINUES` (the row before it), `FIRST`,
    `REST`, or the number of the steady state that it starts from · `turn` (R,), how often its record has turned to another θ by
    then · `row`, `slot` (N, T): where each observation is read; one at the time of a steady state before which nothing was given
    is read at the beginning of that piece.
    What a steady state adds is a row of its own, in which nothing arrives and nothing drives, and is added to what is read:
    `more` (3, A), the place of the observation in (N, T) in one number, the row and the slot.
    """

    rows: dict[str, Tensor]
    owner: Tensor
    opens: Tensor
    kind: Tensor
    turn: Tensor
    row: Tensor
    slot: Tensor
    more: Tensor

    @staticmethod
    def of(whole: Records) -> "Pieces":
        """The pieces of these records. Law: without a restart each record is one piece."""
        found = whole.restarts
        assert found is not None
        (N, K), seen = whole.dt.shape, array_of(whole.segment)
        shares = array_of(whole.fraction)
        T, early = seen.shape[1], shares == 0
        boundary = np.where(early, 0, np.where(shares == 1, seen + 1, -1))  # where an observation is at one
        reset_who, reset_at, who, at, added, first = (
            array_of(getattr(found, name)) for name in ("reset_who", "reset_at", "who", "at", "added", "first")
        )
        breaks: list[dict[int, int]] = [{} for _ in range(N)]
        turns: list[list[int]] = [[] for _ in range(N)]
        for i, k in zip(array_of(found.turn_who).tolist(), array_of(found.turn_at).tolist(), strict=True):
            breaks[i][k] = CONTINUES
            turns[i].append(k)
        for i, k in zip(reset_who.tolist(), reset_at.tolist(), strict=True):
            breaks[i][k] = REST
        for e, (i, k) in enumerate(zip(who.tolist(), at.tolist(), strict=True)):
            if not added[e]:
                breaks[i][k] = e
        rows: list[tuple[int, int, int, int, int]] = []  # owner, first segment, the one after the last, kind, turns
        row, slot = np.zeros((N, T), dtype=np.int64), np.zeros((N, T), dtype=np.int64)
        readings: list[np.ndarray] = []
        place = np.arange(T)
        for i, own in enumerate(breaks):
            edges = [0, *sorted(own), K]
            # an observation at the record's start is read before everything that happens there
            piece = np.where(early[i], 0, np.searchsorted(np.array(edges[1:-1]), seen[i], side="right"))
            for p, k in enumerate(edges[1:-1]):  # a steady state that is the first thing of all is there at its own time
                if own[k] >= 0 and first[own[k]]:
                    piece[boundary[i] == k] = p + 1
            for p, (low, high) in enumerate(itertools.pairwise(edges)):
                here = place[piece == p]
                row[i, here], slot[i, here] = len(rows), np.arange(len(here))
                rows.append((i, low, high, own[low] if p else FIRST, sum(k <= low for k in turns[i])))
                readings.append(here)
        more: list[tuple[int, int, int]] = []
        alone = len(rows)
        for e in np.flatnonzero(added).tolist():
            i, low = int(who[e]), int(at[e])
            high = min((k for k in breaks[i] if k > low), default=K)
            here = place[((seen[i] >= low) & (seen[i] < high) & ~early[i]) | ((boundary[i] == low) & first[e])]
            more += [(i * T + int(t), len(rows), s) for s, t in enumerate(here)]
            rows.append((i, low, high, e, sum(k <= low for k in turns[i])))
            readings.append(here)
        owner, opens, closes, kind, turn = (np.array(v, dtype=np.int64) for v in zip(*rows, strict=True))
        device = whole.dt.device

        def whole_numbers(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        count = closes - opens
        steps = np.arange(max(int(count.max()), 1))
        there = whole_numbers(steps < count[:, None])
        index = np.minimum(opens[:, None] + steps, np.maximum(closes - 1, opens)[:, None])
        index = whole_numbers(np.minimum(index, K - 1))  # a piece may begin at the record's very end
        mine = whole_numbers(owner)[:, None]
        quiet = whole_numbers(np.arange(len(rows)) >= alone)[:, None, None]

        def of(value: Tensor, still: bool) -> Tensor:
            taken = value[mine, index]
            return torch.where(there[..., None] & ~quiet, taken, torch.zeros_like(taken)) if still else taken

        u0, u1 = of(whole.u0, False), of(whole.u1, False)
        u0 = torch.where(there[..., None], u0, torch.where(whole_numbers(count == 0)[:, None, None], u0, u1))
        u1 = torch.where(there[..., None], u1, u0)
        dt = whole.dt[mine, index]
        longest = max(1, *map(len, readings))
        read = np.stack([np.concatenate([t, np.repeat(t[-1:] if len(t) else [0], longest - len(t))]) for t in readings])
        none = np.array([not len(t) for t in readings])[:, None]
        local = np.where(none, 0, seen[owner[:, None], read] - opens[:, None])
        fraction = whole.fraction[mine, whole_numbers(read)]
        fraction = torch.where(whole_numbers(local < 0), torch.zeros_like(fraction), fraction)  # at the very beginning of a piece
        local = np.maximum(local, 0)
        made = {
            "dt": torch.where(there, dt, torch.zeros_like(dt)),
            "start": whole.start[mine, index],
            "jump": of(whole.jump, True),
            "rate": of(whole.rate, True),
            "u0": torch.where(quiet, torch.zeros_like(u0), u0),
            "u1": torch.where(quiet, torch.zeros_like(u1), u1),
            "segment": whole_numbers(local),
            "fraction": torch.where(whole_numbers(none), torch.ones_like(fraction), fraction),
        }
        return Pieces(
            rows=made,
            owner=whole_numbers(owner),
            opens=whole_numbers(opens),
            kind=whole_numbers(kind),
            turn=whole_numbers(turn),
            row=whole_numbers(row),
            slot=whole_numbers(slot),
            more=whole_numbers(np.array(more, dtype=np.int64).reshape(-1, 3).T),
        )

    def back(
        self,
        states: Tensor,  # (M, R, L, n) at the rows' readings
    ) -> Tensor:  # (M, N, T, n)
        """The states of the records at their observations."""
        found = states[:, self.row, self.slot]
        if not self.more.shape[1]:
            return found
        where, row, slot = self.more
        flat = found.flatten(1, 2)
        return flat.index_add(1, where, states[:, row, slot]).reshape(found.shape)
