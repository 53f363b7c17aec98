"""Recalibration of event probabilities: the monotone map that fits held-out outcomes best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from physics.arguments import as_written, quote, require_kind, require_number
from physics.glance import glance
from training.trust.calibration import events
from training.trust.ids import people_index
from training.trust.null_band import Array, ArrayLike, as_array
from training.trust.recalibration.fitted_on import FittedOn


def pool_adjacent_violators(
    mean: Array,  # (k,)
    weight: Array,  # (k,), above zero
) -> Array:  # (k,)
    """The non-decreasing sequence closest to `mean` in weighted least squares.

    From left to right, a value below the block before it is merged with that block into their weighted mean, until none is.
    Law: the weighted sum is kept; of all monotone sequences none has a smaller Σ w (x − mean)².
    Source: Ayer, Brunk, Ewing, Reid & Silverman (1955).
    """
    mean, weight = as_array(mean, truths=False), as_array(weight, truths=False)
    fits = mean.ndim == 1 and mean.shape == weight.shape and len(mean) > 0
    if not fits or not np.isfinite([mean, weight]).all() or not (weight > 0).all():
        raise ValueError(
            f"pool_adjacent_violators: needs finite means (k,) and as many weights above 0, got {quote(mean)} and {quote(weight)}"
        )
    blocks: list[tuple[float, float, int]] = []  # weighted sum, weight, length
    for value, w in zip(mean.tolist(), weight.tolist(), strict=True):
        total, size, length = value * w, w, 1
        while blocks and blocks[-1][0] * size >= total * blocks[-1][1]:  # mean before ≥ mean of this one
            before = blocks.pop()
            total, size, length = total + before[0], size + before[1], length + before[2]
        blocks.append((total, size, length))
    return np.repeat([b[0] / b[1] for b in blocks], [b[2] for b in blocks])


@final
@dataclass(frozen=True)
class IsotonicEvents:
    """A monotone map from stated to calibrated event probabilities.

    `stated` and `calibrated` (k,), non-decreasing knots: linear between them, constant beyond · `count` events and
    `happened` of them · `end_counts`, how many events are behind the first and the last value · `fitted_on`.
    Law: it keeps the order of forecasts; on the people it was fitted on the Brier score is never worse.
    Source: Zadrozny & Elkan (2002).
    """

    stated: tuple[float, ...]
    calibrated: tuple[float, ...]
    count: int
    happened: int
    end_counts: tuple[int, int]
    fitted_on: FittedOn

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        knots = (as_array(self.stated), as_array(self.calibrated))
        if len(knots[0]) != len(knots[1]) or not len(knots[0]) or not all(
            k.ndim == 1 and (np.diff(k) >= 0).all() and (k >= 0).all() and (k <= 1).all() for k in knots
        ):
            raise ValueError(f"IsotonicEvents: needs as many stated as calibrated knots, rising in [0, 1], got {quote(knots)}")
        for name in ("count", "happened"):
            require_number(getattr(self, name), f"IsotonicEvents: {name}", least=0.0, whole=True)
        for end in self.end_counts:
            require_number(end, "IsotonicEvents: each of end_counts", least=1.0, whole=True)
        require_kind(self.fitted_on, FittedOn, "IsotonicEvents: fitted_on", "IsotonicEvents.fit(probability, outcome, people)")

    @staticmethod
    def fit(
        probability: ArrayLike,  # (N, ...) in [0, 1]
        outcome: ArrayLike,  # the same shape, 0 or 1, NaN is missing
        people: Sequence[str],  # (N,)
    ) -> "IsotonicEvents":
        """Pool adjacent violators on the events of held-out people, equal probabilities taken together first.

        Of an `Outcome`: `IsotonicEvents.fit(*outcome.above(threshold), outcome.people)`.

        Errors: `ValueError` for p outside [0, 1], y other than 0, 1 and NaN, shapes, or outcomes all alike.
        """
        p, y = events(probability, outcome)
        record = FittedOn.of(people, outcome, probability)
        if y.min() == y.max():
            raise ValueError(
                f"All {y.size} outcomes are {y[0]:.0f}; a monotone map fitted to them says {y[0]:.0f} whatever is forecast. "
                "Collect people of whom some have the event and some have not, or leave the probabilities as they are."
            )
        value, place, ties = np.unique(p, return_inverse=True, return_counts=True)
        weight = ties.astype(np.float64)
        fitted = pool_adjacent_violators(np.bincount(place.reshape(-1), weights=y) / weight, weight)
        starts = np.flatnonzero(np.diff(fitted, prepend=-1.0) > 0.0)
        ends = np.append(starts[1:], len(fitted)) - 1
        knots = np.unique(np.concatenate([starts, ends]))
        per_block = np.add.reduceat(ties, starts)
        return IsotonicEvents(
            tuple(value[knots].tolist()),
            tuple(fitted[knots].tolist()),
            y.size,
            int(y.sum()),
            (int(per_block[0]), int(per_block[-1])),
            record,
        )

    def apply(self, probability: ArrayLike, people: Sequence[str], *, in_sample: bool = False) -> Array:
        """Calibrated probabilities (N, ...) of people that it was not fitted on; NaN stays NaN.

        Errors: `ValueError` for p outside [0, 1], or for people it was fitted on unless `in_sample`.
        """
        p = as_array(probability, truths=False)
        people_index(people, len(p) if p.ndim else 1)
        self.fitted_on.refuse(people, in_sample=in_sample)
        if np.nanmin(p, initial=0.0) < 0.0 or np.nanmax(p, initial=1.0) > 1.0:
            raise ValueError(f"Probabilities run from {np.nanmin(p)} to {np.nanmax(p)}; they lie in [0, 1].")
        return np.where(np.isnan(p), np.nan, np.interp(p, self.stated, self.calibrated))

    def sentences(self) -> list[str]:
        """Where the map says 0 or 1, how far the truth may be from it."""
        found = [f"{self.count} events, of which {self.happened} happened, of {len(self.fitted_on.people)} people."]
        for end, count in zip((0, -1), self.end_counts, strict=True):
            if self.calibrated[end] in (0.0, 1.0):
                bound = 1.0 - 0.05 ** (1.0 / count)  # none of n: the p with (1 − p)^n = 5 %
                same = [p for p, q in zip(self.stated, self.calibrated, strict=True) if q == self.calibrated[end]]
                found.append(
                    f"Forecasts {'up to' if end == 0 else 'from'} {same[-1 - end]:.3g} are mapped to "
                    f"{self.calibrated[end]:.0f} on the strength of {count} events: a true rate {bound:.2g} away is as "
                    "compatible with them."
                )
        return found

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "kind": "isotonic",
            "stated": list(self.stated),
            "calibrated": list(self.calibrated),
            "count": self.count,
            "happened": self.happened,
            "end_counts": list(self.end_counts),
            "fitted_on": self.fitted_on.to_dict(),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "IsotonicEvents":
        """The inverse of `to_dict`."""
        with as_written(data, "IsotonicEvents"):
            first, last = data["end_counts"]
            stated, calibrated = (tuple(as_array(data[k]).tolist()) for k in ("stated", "calibrated"))
            on = FittedOn.from_dict(data["fitted_on"])
            return IsotonicEvents(stated, calibrated, data["count"], data["happened"], (first, last), on)
