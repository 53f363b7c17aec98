"""Which measurements of many people are taken at which boundary, one after the other, and what was known at each of them.

People need not be measured at the same boundaries, and one may be measured several times at one (replicates). A *stage* is a
belief of everyone at a boundary: before anything measured there, and after the first, the second, … measurement of all who have
as many. Every measurement has two of them, that before it and that after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hybrid.derivative import transforming


@dataclass(frozen=True)
class Readings:
    """The order of N people's T measurements at B boundaries.

    `taken`: of every boundary the updates there, each with everyone's place (N,) among their own measurements, −1 for none ·
    `before` and `after` (N, T), the stages around every measurement · `update` (N, T), the number of the update that takes it,
    −1 where nothing was measured · `opens` (N, T), whether it is its person's first at its boundary.
    """

    taken: list[list[np.ndarray]]
    before: np.ndarray
    after: np.ndarray
    update: np.ndarray
    opens: np.ndarray

    @staticmethod
    def of(
        boundary: np.ndarray,  # (N, T), not falling along T
        measured: np.ndarray,  # (N, T) bool
        boundaries: int,
    ) -> "Readings":
        """The order of these measurements, of which some are missing."""
        (N, T), rows = boundary.shape, np.arange(len(boundary))[:, None]
        # what all have at one boundary is one update, also of those of whom it is missing
        measured = np.where((boundary == boundary[:1]).all(0), measured.any(0), measured)
        opens = np.ones_like(measured)
        opens[:, 1:] = boundary[:, 1:] != boundary[:, :-1]
        done = measured.cumsum(1) - measured  # how many come before each
        first = np.maximum.accumulate(np.where(opens, np.arange(T), 0), axis=1)
        rank = done - done[rows, first]  # at its own boundary
        most = np.zeros(boundaries, dtype=np.int64)
        np.maximum.at(most, boundary[measured], rank[measured] + 1)
        before = (np.cumsum(1 + most) - (1 + most))[boundary] + rank
        update = np.where(measured, (np.cumsum(most) - most)[boundary] + rank, -1)
        table = np.full((int(most.sum()), N), -1)
        who, place = np.nonzero(measured)
        table[update[who, place], who] = place
        taken = [list(part) for part in np.split(table, np.cumsum(most)[:-1])]
        return Readings(taken, before, before + measured, update, opens)


class Kept:
    """What is known at every measurement, put in stage by stage.

    Where nothing is differentiated only what is asked for takes memory; a gradient needs all stages anyway.
    """

    def __init__(
        self,
        stage: np.ndarray,  # (N, T)
        like: Tensor,
    ) -> None:
        self._stage = stage
        self._even = bool((stage == stage[:1]).all())
        self._lists = torch.is_grad_enabled() or transforming()
        flat = stage[0] if self._even else stage.ravel()
        order = np.argsort(flat, kind="stable")
        numbers, begin = np.unique(flat[order], return_index=True)
        parts = np.split(order, begin[1:])
        self._asked = {int(s): torch.from_numpy(p).to(like.device) for s, p in zip(numbers, parts, strict=True)}
        self._found: dict[str, dict[int, Tensor]] = {}
        self._table: dict[str, Tensor] = {}

    def put(
        self,
        stage: int,
        values: Mapping[str, Tensor],  # each (M, N, …)
    ) -> None:
        """What is known of everyone at a stage."""
        where, T = self._asked.get(stage), self._stage.shape[1]
        if where is None:
            return
        for name, value in values.items():
            if self._lists:
                self._found.setdefault(name, {})[stage] = value
                continue
            if name not in self._table:
                self._table[name] = value.new_empty(*value.shape[:2], T, *value.shape[2:])
            if self._even:
                self._table[name][:, :, where] = value[:, :, None]
            else:
                who = where // T
                self._table[name][:, who, where % T] = value[:, who]

    def whole(self) -> dict[str, Tensor]:  # each (M, N, T, …)
        """At every measurement of everyone."""
        if not self._lists:
            return self._table
        return {name: self._gathered(found) for name, found in self._found.items()}

    def _gathered(self, found: Mapping[int, Tensor]) -> Tensor:
        if self._even:
            return torch.stack([found[s] for s in self._stage[0].tolist()], 2)
        order = sorted(found)
        stacked = torch.stack([found[s] for s in order], 2)  # (M, N, S, …)
        place = torch.from_numpy(np.searchsorted(order, self._stage)).to(stacked.device)
        more = stacked.shape[3:]
        index = place.reshape(1, *place.shape, *[1] * len(more)).expand(len(stacked), -1, -1, *more)
        return stacked.gather(2, index)
