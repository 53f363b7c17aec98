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

    `values`, by covariate (N, P): of the record's beginning, then from each of `times` (N, P − 1) on, ascending; who has fewer
    pieces has some at +∞ that repeat the last value. `reading` (N, T), the piece with whose θ an observation is read: at the time
    of a change, the new one.
    """

    values: Mapping[str, Tensor]
    times: Tensor
    reading: Tensor

    @staticmethod
    def of(
        begins: Sequence[float],  # (N,) of the records
        read: Sequence[np.ndarray],  # N × (T_i,)
        given: Sequence[Mapping[str, tuple[np.ndarray, np.ndarray]]],  # N × name → (times, values)
    ) -> "Changes | None":
        """These, where the same names are given of everyone: each value holds from its time on, the first one before it too.

        None where there are none.
        """
        names = sorted(given[0]) if given else []
        if not names:
            return None
        rows: list[dict[str, list[float]]] = []
        own: list[np.ndarray] = []
        for start, one in zip(begins, given, strict=True):
            later = np.unique(np.concatenate([t for t, _ in one.values()]))
            later = later[later > start]
            at = np.concatenate([[start], later])
            own.append(later)
            rows.append({n: v[np.maximum(np.searchsorted(t, at, side="right") - 1, 0)].tolist() for n, (t, v) in one.items()})
        P, T = 1 + max(map(len, own)), max(map(len, read))
        times = np.full((len(own), P - 1), np.inf)
        for i, later in enumerate(own):
            times[i, : len(later)] = later
        values = {n: [row[n] + row[n][-1:] * (P - len(row[n])) for row in rows] for n in names}
        asked = np.stack([np.concatenate([t, np.repeat(t[-1:], T - len(t))]) for t in read])
        tables = {n: torch.tensor(v, dtype=torch.float64) for n, v in values.items()}
        return Changes(tables, torch.from_numpy(times), _pieces(torch.from_numpy(times), torch.from_numpy(asked)))

    @property
    def count(self) -> int:
        """P."""
        return self.times.shape[1] + 1

    @property
    def turns(self) -> list[np.ndarray]:
        """When each record changes."""
        return [row[np.isfinite(row)] for row in array_of(self.times)]

    def read_at(
        self,
        times: Tensor,  # (N, T)
    ) -> "Changes":
        """The same of these records, read at other times."""
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
    return torch.searchsorted(times.contiguous(), asked.contiguous(), right=True)
