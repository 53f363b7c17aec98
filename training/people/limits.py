"""What is known of a value that was not measured as a number: it lies between limits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def limits_of(
    lower: Numbers | None,  # (T, p) or (T,) of one channel; NaN or −∞ where there is none
    upper: Numbers | None,  # the same; NaN or +∞ where there is none
    values: Numbers,  # (T, p), NaN where nothing was measured
    channels: Sequence[str],  # (p,)
    where: str,
) -> tuple[Numbers | None, Numbers | None]:
    """The limits as (T, p), −∞ and +∞ where there is none; (None, None) where no value has any.

    Errors: `ValueError`, beginning with `where`, for other shapes, limits beside a value that was measured, and a lower limit
    that is not below the upper one.
    """
    found = []
    for name, given, none in (("lower", lower, -np.inf), ("upper", upper, np.inf)):
        if given is None:
            found.append(np.full(values.shape, none))
            continue
        shaped = given[:, None] if given.ndim == 1 and len(channels) == 1 else given
        if shaped.shape != values.shape:
            raise ValueError(
                f"{where}: {name} has a limit for each value, {values.shape}, and has the shape {given.shape}; write NaN where "
                "there is none"
            )
        found.append(np.where(np.isnan(shaped), none, shaped))
    low, high = found
    there = np.isfinite(low) | np.isfinite(high)
    impossible = (low == np.inf) | (high == -np.inf)
    beside = there & np.isfinite(values)
    crossed = there & ~(low < high)
    for wrong, why in (
        (impossible, "nothing is above +∞ or below −∞; write −∞ for no lower limit, +∞ for no upper one, or NaN for either"),
        (beside, "a value that was measured has no limits; write NaN for its limits, or NaN for the value if it was not"),
        (crossed, "the lower limit is below the upper one; a value that is known exactly is measured: write it into values"),
    ):
        if wrong.any():
            k, j = (int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(
                f"{where}: {channels[j]} number {k + 1} is {values[k, j]:g} with limits {low[k, j]:g} and {high[k, j]:g}, "
                f"and {why}"
            )
    return (low, high) if there.any() else (None, None)


def limited(
    lower: Numbers | None,  # (T, p)
    upper: Numbers | None,
    shape: tuple[int, ...],
) -> NDArray[np.bool_]:  # (T, p)
    """True where a value is known to lie between limits; False everywhere where there are none."""
    if lower is None or upper is None:
        return np.zeros(shape, dtype=np.bool_)
    found: NDArray[np.bool_] = np.isfinite(lower) | np.isfinite(upper)
    return found
