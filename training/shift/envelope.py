"""How much had come by every time: the least and the most of the training, and who leaves what lies between."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MORE = 1.5  # times the most, or less than the least divided by it: what counts as another rate
FEWEST = 2.0  # a count that differs by one is no other rate

Left = tuple[float, float, float]  # when somebody was beyond, how much they had had by then, and the limit


@dataclass(frozen=True)
class Events:
    """What came to one person: `times` (K,) increasing, `sizes` (K,) of each, and the `end` until which they were followed."""

    times: Array
    sizes: Array
    end: float

    def until(self, times: Array) -> Array:
        """The sum of all sizes up to each of these times, and at it."""
        total = np.concatenate([[0.0], np.cumsum(self.sizes)])
        found: Array = total[np.searchsorted(self.times, times + 1e-9 * np.maximum(1.0, np.abs(times)), side="right")]
        return found


@dataclass(frozen=True)
class Envelope:
    """`least` and `most` (G,) that anybody in training had by each of `times` (G,), of those who were followed so long.

    `counted`: whether it is a number of events, of which a difference by one says nothing.
    """

    times: tuple[float, ...]
    least: tuple[float, ...]
    most: tuple[float, ...]
    counted: bool

    @staticmethod
    def of(people: Sequence[Events], start: float, counted: bool) -> "Envelope":
        """Of the training's people, from `start` on: at their own times as far as a few dozen tell them."""
        end = max((p.end for p in people), default=start)
        own = np.concatenate([p.times[p.times <= p.end] for p in people] or [np.zeros(0)])
        often = np.quantile(own, np.linspace(0.0, 1.0, 33), method="nearest") if len(own) else np.zeros(0)
        grid = np.unique(np.concatenate([np.linspace(start, end, 17), often]))
        counts = np.stack([p.until(grid) for p in people])  # (N, G)
        there = np.array([p.end for p in people])[:, None] >= grid - 1e-9 * max(1.0, abs(end))
        least = np.where(there, counts, np.inf).min(0)
        most = np.maximum.accumulate(np.where(there, counts, 0.0).max(0))
        at, low, high = (tuple(float(f"{v:.9g}") for v in row.tolist()) for row in (grid, least, most))
        return Envelope(at, low, high, counted)

    def most_by(self, time: float) -> float:
        """The most by a time; after the longest record in proportion to the time."""
        grid = self.times
        k = bisect_left(grid, time - 1e-7 * max(1.0, abs(time)))
        if k < len(grid):
            return self.most[k]
        span = grid[-1] - grid[0]
        return self.most[-1] * max(1.0, (time - grid[0]) / span if span > 0.0 else 1.0)

    def least_by(self, time: float) -> float:
        """The least by a time; after the longest record what it was at its end."""
        k = bisect_right(self.times, time - 1e-7 * max(1.0, abs(time))) - 1
        return self.least[k] if k >= 0 else 0.0

    def left(self, events: Events) -> Left | None:
        """When somebody is first beyond it, how much they have had by then, and the limit; None for who is within."""
        for time in np.unique(events.times[events.times <= events.end]).tolist():
            over = self.over(time, float(events.until(np.array([time]))[0]))
            if over is not None:
                return over
        return self.under(events.end, float(events.until(np.array([events.end]))[0]))

    def over(self, time: float, had: float) -> Left | None:
        """The same of who has had so much by a time, where that is too much."""
        most = self.most_by(time)
        return (time, had, most) if had > MORE * most * (1.0 + 1e-9) and had - most >= self._apart else None

    def under(self, time: float, had: float) -> Left | None:
        """The same where it is too little."""
        least = self.least_by(time)
        return (time, had, least) if had < least / MORE * (1.0 - 1e-9) and least - had >= self._apart else None

    @property
    def _apart(self) -> float:
        return FEWEST if self.counted else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"times": list(self.times), "least": list(self.least), "most": list(self.most), "counted": self.counted}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Envelope":
        """The inverse of `to_dict`. Errors: `ValueError` for numbers that are no envelope."""
        rows = [np.asarray(data[name], dtype=np.float64) for name in ("times", "least", "most")]
        if len({row.shape for row in rows}) != 1 or rows[0].ndim != 1 or not len(rows[0]) or len(rows[0]) > 1_000:
            raise ValueError("an envelope has as many times as least and most numbers, up to 1,000")
        if not all(np.isfinite(row).all() for row in rows) or (np.diff(rows[0]) <= 0).any() or (rows[1] > rows[2]).any():
            raise ValueError("an envelope has times that increase, and finite numbers of which the least are not above the most")
        if not isinstance(data["counted"], bool):
            raise ValueError("counted is true or false")
        at, least, most = (tuple(row.tolist()) for row in rows)
        return Envelope(at, least, most, data["counted"])
