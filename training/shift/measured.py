"""Whether what was measured of somebody so far is what the training's law predicts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv

from hybrid import ShiftReason

Array = NDArray[np.float64]

FEWEST_SIMULATED = 200  # people of whom the moments of a distance are taken


@dataclass(frozen=True)
class Measured:
    """What the model makes of N people, each (N,), None where nobody asked: of their measurements the part `own` that moved
    parameters explain and its degrees of `freedom`, the `rest` and what is `left` for it (`seen.distances`); their coordinates
    `mode` (N, d), the mean over members; the members' `disagreement` along all times, and how far they are `apart` at one; of how
    many measurements limits alone are known, `limited`, and of how many that their cohort leaves out, `uncounted`.
    """

    own: Array | None = None
    freedom: Array | None = None
    rest: Array | None = None
    left: Array | None = None
    mode: Array | None = None
    disagreement: Array | None = None
    apart: Array | None = None
    limited: Array | None = None
    uncounted: Array | None = None


@dataclass(frozen=True)
class Spread:
    """How squared distances q of the training's own `people` were spread: χ² where the model is true.

    With n degrees of freedom z = (q − n)/√(2n) has mean 0 and variance 1 then, where means are linear; `bias` and `spread` are
    what they had, and never say that a new person is closer than the model has it: it was fitted on these. What the model has is
    0 and 1, or what z is among people who are `simulated` from it. No `people`: nothing is known.
    Law: E q = n + bias √(2n), Var q = 2n spread², by a gamma law, which is χ²_n for 0 and 1.
    """

    people: int = 0
    bias: float = 0.0
    spread: float = 1.0

    def __post_init__(self) -> None:
        whole = isinstance(self.people, int) and not isinstance(self.people, bool)
        if not whole or self.people < 0 or not -0.5 <= self.bias < 1e9 or not 0.5 <= self.spread < 1e9:
            raise ValueError(f"a spread is of people, with a bias and a spread of -0.5 and 0.5 or more, and is {self!r:.200}")

    @staticmethod
    def of(
        squares: Array,  # (N,)
        freedom: Array,  # (N,)
        simulated: tuple[Array, Array] | None = None,  # (S,) each
    ) -> "Spread":
        """Of the training's people, beside the same of others who were simulated from the model."""
        z = _standardised(squares, freedom)
        if not len(z):
            return Spread()
        drawn = np.zeros(0) if simulated is None else _standardised(*simulated)
        known = len(drawn) >= FEWEST_SIMULATED  # of fewer the moments say less than χ² does
        bias, spread = (float(drawn.mean()), float(drawn.std(ddof=1))) if known else (0.0, 1.0)
        bias, spread = min(max(bias, -0.5), 1e6), min(max(spread, 0.5), 1e6)
        more = float(z.std(ddof=1)) if len(z) > 1 else spread
        return Spread(len(z), *(float(f"{v:.6g}") for v in (max(float(z.mean()), bias), max(more, spread))))

    def limit(self, freedom: float, share: float) -> float:
        """What q of so many degrees of freedom passes with this probability."""
        mean, variance = freedom + self.bias * math.sqrt(2.0 * freedom), 2.0 * freedom * self.spread**2
        return float(gammainccinv(mean**2 / variance, share)) * variance / mean

    def beyond(self, value: float, freedom: float, share: float) -> float | None:
        """The limit, where a value passes it."""
        if not self.people or not (math.isfinite(value) and freedom > 0.0):
            return None
        limit = self.limit(freedom, share)
        return limit if value > limit else None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"people": self.people, "bias": self.bias, "spread": self.spread}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Spread":
        """The inverse of `to_dict`."""
        return Spread(data["people"], float(data["bias"]), float(data["spread"]))


def _standardised(squares: Array, freedom: Array) -> Array:
    there = np.isfinite(squares) & (freedom > 0)
    found: Array = (squares[there] - freedom[there]) / np.sqrt(2.0 * freedom[there])
    return found


def kinetic_reasons(
    own: Spread,
    rest: Spread,
    measured: Measured,
    i: int,
    shares: tuple[float, float],
    names: tuple[str, ...],
) -> list[ShiftReason]:
    """Why a person's measurements are not those of the training, if they are not: by moved parameters, or by none."""
    if measured.own is None or measured.freedom is None or measured.rest is None or measured.left is None:
        return []
    found, count = [], int(measured.freedom[i] + measured.left[i] + 0.5)
    limited = 0 if measured.limited is None else int(measured.limited[i])
    by = "" if not limited else f" ({'known by its' if count == 1 else f'{limited} of them known by'} limits alone)"
    whose = f"the one measurement so far{by} is" if count == 1 else f"the {count} measurements so far{by} are"
    value, limit = float(measured.own[i]), own.beyond(float(measured.own[i]), float(measured.freedom[i]), shares[0])
    if limit is not None:
        mode = np.zeros(0) if measured.mode is None else measured.mode[i]
        j = int(np.abs(mode).argmax()) if len(mode) else 0
        name = names[j] if j < len(names) else ""
        most = f", most of all by {name} ({mode[j]:+.2g})" if name else ""
        said = (
            f"{whose} as of somebody whose own parameters are {math.sqrt(value):.3g} standard deviations from the "
            f"typical person of "
            f"the training, beyond {math.sqrt(limit):.3g}, which {100 * shares[0]:.2g} % of the training's people pass{most}"
        )
        found.append(ShiftReason("kinetics", said, name, math.sqrt(value), math.sqrt(limit)))
    value, limit = float(measured.rest[i]), rest.beyond(float(measured.rest[i]), float(measured.left[i]), shares[1])
    if limit is not None:
        said = (
            f"{whose} {math.sqrt(value):.3g} standard deviations from what any parameters of their own explain, beyond "
            f"{math.sqrt(limit):.3g}, which {100 * shares[1]:.2g} % of the training's people pass"
        )
        found.append(ShiftReason("kinetics", said, "", math.sqrt(value), math.sqrt(limit)))
    return found
