"""Sizes, widths and scales that a constructor was given, looked at before anything is made of them."""

import math
from collections.abc import Mapping, Sequence


def scale_of(scale: Mapping[str, float] | Sequence[float] | float, size: int, name: str) -> tuple[float, ...]:
    """`size` positive scales, each the nearest power of two: these fold into weights without rounding, so the certified
    arrays are the model's. Errors: `ValueError`, which begins with `name`; so does that for scales by name, which wait for a
    model and never come here.
    """
    if isinstance(scale, Mapping):
        raise ValueError(f"{name} goes by name, {str(list(scale))[:100]}, which is resolved when a HybridModel is built")
    try:
        values = [float(scale)] * size if isinstance(scale, int | float) else [float(s) for s in scale]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} needs one number or {size} of them, got {str(scale)[:100]!r}") from error
    if len(values) != size or not all(0.0 < s < float("inf") for s in values):
        raise ValueError(f"{name} needs {size} positive finite numbers, got {values}")
    return tuple(2.0 ** round(math.log2(s)) for s in values)


def widths_of(hidden: Sequence[int], name: str) -> tuple[int, ...]:
    """The widths of hidden layers. Errors: `ValueError`, which begins with `name`, for what is no list of whole numbers."""
    if isinstance(hidden, str) or not hasattr(hidden, "__iter__") or not all(
        isinstance(h, int) and not isinstance(h, bool) for h in hidden
    ):
        raise ValueError(f"{name} is a list of widths, one for each layer, and is {str(hidden)[:100]!r}; write hidden=(8,)")
    return tuple(hidden)


def sizes_of(sizes: Mapping[str, object], name: str) -> None:
    """Raise `ValueError`, which begins with `name`, for a size that is no whole number."""
    for what, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int):
            raise ValueError(f"{name}: {what} is how many there are, a whole number, and is {str(size)[:100]!r}")


def column_of(values: Sequence[float], name: str) -> tuple[float, ...]:
    """One number a channel. Errors: `ValueError`, which begins with `name`, for what is no list of numbers."""
    try:
        if isinstance(values, str):
            raise TypeError
        return tuple(float(v) for v in values)
    except (TypeError, ValueError) as error:
        seen = str(values)[:100]
        raise ValueError(f"{name} is a list of numbers, one for each channel, and is {seen!r}; write [0.5]") from error
