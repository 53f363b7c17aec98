"""What changes on the way of people's records: covariates, and the occasion, each with a value for each piece."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hybrid.derivative import array_of
from physics.arguments import require_people


@dataclass(frozen=True)
class Changes:
    """N records of P pieces each, at most, within which θ is constant.

    `values`, by covariate (N, P + E): of the record's beginning, then from each of `times` (N, P − 1) on, ascending; who has
    fewer pieces has some at +∞ that repeat the last value. The last E are of no piece: a single reading has such values, where
    its own row says others than those before and after a change at its time. `reading` (N, T), with which of these an observation
    is read: at the time of a change with the old ones, for an observation comes first, unless it says itself with what it is.
    """

    values: Mapping[str, Tensor]
    times: Tensor
    reading: Tensor

    @staticmethod
    def of(
        begins: Sequence[float],  # (N,) of the records
        read: Sequence[np.ndarray],  # N × (T_i,)
        given: Sequence[Mapping[str, tuple[np.ndarray, np.ndarray]]],  # N × name → (times, values)
        own: Sequence[Mapping[str, np.ndarray]] | None = None,  # N × name → (T_i,), NaN where the rule holds
    ) -> "Changes | None":
        """These, where the same names are given of everyone: each value holds from its time on, the first one before it too, and
        `own` is what a reading itself says.

        None where there are none.
        """
        names = sorted(given[0]) if given else []
        if not names:
            return None
        rows: list[list[list[float]]] = []  # N × pieces × names
        found: list[np.ndarray] = []
        for start, one in zip(begins, given, strict=True):
            later = np.unique(np.concatenate([t for t, _ in one.values()]))
            later = later[later > start]
            at = np.concatenate([[start], later])
            found.append(later)
            each = [v[np.maximum(np.searchsorted(t, at, side="right") - 1, 0)] for t, v in (one[n] for n in names)]
            rows.append(np.stack(each, 1).tolist())
        P, T = 1 + max(map(len, found)), max(map(len, read))
        times = np.full((len(found), P - 1), np.inf)
        for i, later in enumerate(found):
            times[i, : len(later)] = later
        asked = np.stack([np.concatenate([t, np.repeat(t[-1:], T - len(t))]) for t in read])
        reading = _pieces(torch.from_numpy(times), torch.from_numpy(asked)).numpy()
        more: list[list[list[float]]] = [[] for _ in rows]
        for i, said in enumerate(own or ()):
            kept = [said[n] if n in said else np.full(len(read[i]), np.nan) for n in names]
            for k in np.flatnonzero(np.isfinite(np.stack(kept)).any(0)).tolist():
                before = rows[i][int(reading[i, k])]
                wanted = [float(v[k]) if np.isfinite(v[k]) else b for v, b in zip(kept, before, strict=True)]
                reading[i, k] = _placed(wanted, rows[i], more[i], int(reading[i, k]), P)
            reading[i, len(read[i]) :] = reading[i, len(read[i]) - 1]
        E = max(map(len, more))
        whole = [
            [*row, *[row[-1]] * (P - len(row)), *extra, *[row[-1]] * (E - len(extra))]
            for row, extra in zip(rows, more, strict=True)
        ]
        table = torch.tensor(whole, dtype=torch.float64)  # (N, P + E, names)
        values = {n: table[..., j].contiguous() for j, n in enumerate(names)}
        return Changes(values, torch.from_numpy(times), torch.from_numpy(reading))

    @property
    def count(self) -> int:
        """P + E, how many θ each record has."""
        return int(next(iter(self.values.values())).shape[1])

    @property
    def turns(self) -> list[np.ndarray]:
        """When each record changes."""
        return [row[np.isfinite(row)] for row in array_of(self.times)]

    def read_at(
        self,
        times: Tensor,  # (N, T)
    ) -> "Changes":
        """The same of these records, read at other times: at that of a change with what was before."""
        return replace(self, reading=_pieces(self.times, times.to(self.times)))

    def read_padded(self, T: int) -> "Changes":
        """The same read at T times, the last one again."""
        last = self.reading[:, -1:].expand(-1, T - self.reading.shape[1])
        return replace(self, reading=torch.cat([self.reading, last], 1))

    def people(self, index: Tensor) -> "Changes":
        """The same of the chosen records, with repeats."""
        require_people(index, len(self.times), "Changes.people: index")
        values = {k: v[index] for k, v in self.values.items()}
        return Changes(values, self.times[index], self.reading[index])

    def to(self, like: Tensor) -> "Changes":
        """The same in the dtype and on the device of `like`."""
        values = {k: v.to(like) for k, v in self.values.items()}
        return Changes(values, self.times.to(like), self.reading.to(like.device))


def _pieces(times: Tensor, asked: Tensor) -> Tensor:  # (N, T)
    if not times.shape[1]:
        return torch.zeros(asked.shape, dtype=torch.long, device=asked.device)
    return torch.searchsorted(times.contiguous(), asked.contiguous())


def _placed(wanted: list[float], pieces: list[list[float]], more: list[list[float]], now: int, P: int) -> int:
    """Which values a reading is read with that says `wanted`: those of the piece that ends, or of the next, or others, new in
    `more` where nobody said them before.
    """
    for k in (now, now + 1):
        if k < len(pieces) and pieces[k] == wanted:
            return k
    if wanted not in more:
        more.append(wanted)
    return P + more.index(wanted)
