"""Ranges of time in which forecasts are judged apart: what is true an hour ahead need not be true a day ahead."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from hybrid.prediction import Prediction
from hybrid.schedules.dose import SAME
from physics.arguments import as_written, quote, require_number
from physics.glance import glance
from training.trust.null_band import ArrayLike, as_array

FEW = 10  # records in a horizon below which its numbers come with a sentence


@final
@dataclass(frozen=True)
class Horizons:
    """H ranges [e_h, e_{h+1}) of the time since a person's first dose (or start), the last one closed.

    `edges` (H + 1,), increasing, in the record's time unit (for one horizon at one time they may be equal). A time that a
    rounding (1e-9 of the longest) parts from an edge is at it: no horizon depends on where a table's clock reads 0.
    Errors: `ValueError` for fewer than two edges, or edges that do not increase.
    """

    edges: tuple[float, ...]

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        edges = as_array(self.edges)
        if edges.ndim != 1:
            raise ValueError(f"horizons have edges in a list, and got {quote(self.edges)}; write Horizons((0.0, 2.0, 8.0, 24.0))")
        object.__setattr__(self, "edges", tuple(edges.tolist()))
        e = np.asarray(self.edges)
        rising = (np.diff(e) > 0.0).all() or (len(e) == 2 and e[0] == e[1])
        if len(e) < 2 or not np.isfinite(e).all() or not rising:
            raise ValueError(
                f"horizons have the edges {list(self.edges)}; they need at least two finite ones that increase, e.g. "
                "Horizons((0.0, 2.0, 8.0, 24.0))."
            )

    @staticmethod
    def of(*predictions: Prediction, count: int = 8) -> "Horizons":
        """Every distinct time a horizon of its own where there are at most `count`; else `count` with equally many times.

        Give all predictions that will be judged by them (calibration people and test people), so that they hold all.
        """
        require_number(count, "Horizons.of: count", least=1.0, whole=True)
        if not predictions or not all(isinstance(p, Prediction) for p in predictions):
            raise ValueError(f"Horizons are of predictions, and got {quote(predictions)}; write Horizons.of(prediction).")
        times = np.concatenate([as_array(p.times[p.mask]) for p in predictions])
        if times.size == 0:
            raise ValueError("the predictions have no real time (every mask is False); check the mask.")
        distinct = np.unique(times)
        apart = np.diff(distinct, prepend=-np.inf) > SAME * np.abs(distinct).max()
        distinct = distinct[apart]  # the first of those that a rounding parts
        if len(distinct) <= count:
            edges = np.concatenate([distinct[:1], 0.5 * (distinct[1:] + distinct[:-1]), distinct[-1:]])
        else:
            places = -(-times.size * np.arange(count) // count)
            within = np.searchsorted(distinct, np.sort(times)[places], side="right") - 1
            edges = distinct[np.unique(np.append(within, len(distinct) - 1))]
        return Horizons(tuple(edges.tolist()))

    def __len__(self) -> int:
        return len(self.edges) - 1

    @property
    def labels(self) -> tuple[str, ...]:
        """As words: "0.5–2"."""
        return tuple(f"{a:.4g}–{b:.4g}" for a, b in zip(self.edges[:-1], self.edges[1:], strict=True))

    def index(self, times: ArrayLike) -> NDArray[np.int64]:
        """The horizon of each time, −1 outside of all."""
        t, edges = as_array(times), np.asarray(self.edges)
        near = SAME * np.abs(edges).max()
        place = np.searchsorted(edges - near, t, side="right") - 1
        place = np.where((t >= edges[-1] - near) & (t <= edges[-1] + near), len(self) - 1, place)
        return np.where((t < edges[0] - near) | (t > edges[-1] + near), -1, place)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"edges": list(self.edges)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Horizons":
        """The inverse of `to_dict`."""
        with as_written(data, "Horizons"):
            return Horizons(tuple(data["edges"]))
