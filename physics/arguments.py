"""Arguments that cannot be used, said in a sentence: what was given, what is needed, what to write."""

import math
from typing import Any

from torch import Tensor


def quote(value: object, most: int = 120) -> str:
    """The value as Python writes it, with its middle left out where that is long: an array or a file may be of any size."""
    if type(value).__name__ in ("ndarray", "Tensor") and getattr(value, "ndim", None):
        return f"an array of shape {tuple(getattr(value, 'shape', ()))}"
    if not isinstance(value, str | bytes | int | float | list | tuple | dict | None) and getattr(value, "ndim", 1) != 0:
        return f"a {type(value).__name__}"  # what it holds may be anything, and long
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 25]} … {text[-20:]}"


def shortened(text: str, most: int = 100) -> str:
    """A name or a text as it stands, with its middle left out where it is as long as a page."""
    return text if len(text) <= most else f"{text[: most - 25]} … {text[-20:]}"


def require_kind(value: object, kind: type | tuple[type, ...], what: str, write: str) -> None:
    """Raise `ValueError` unless the value is of this kind; `write` is the line that gives one."""
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        raise ValueError(f"{what} must be a {' or '.join(k.__name__ for k in kinds)}, and is {quote(value)}; write {write}")


def require_number(
    value: object,
    what: str,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
    whole: bool = False,
) -> None:
    """Raise `ValueError` unless the value is one finite number (a tensor or array without axes holds one) in the range.

    The range is above `above`, and from `least` to `most`; with `whole` the number is an integer.
    """
    single: Any = value.detach() if isinstance(value, Tensor) else value
    if isinstance(single, str | bytes | bool) or not hasattr(single, "__float__") or getattr(single, "ndim", None):
        hint = "; write it without quotes" if isinstance(value, str) else ""
        raise ValueError(f"{what} must be one number, and is {quote(value)}{hint}")
    number = float(single)
    kind = "whole" if whole else "finite"
    if not math.isfinite(number) or (whole and number != int(number)):
        raise ValueError(f"{what} must be a {kind} number, and is {number:g}")
    if not (number > above and least <= number <= most):
        needed = [f"above {above:g}"] if above > -math.inf else [f"at least {least:g}"] if least > -math.inf else []
        needed += [f"at most {most:g}"] if most < math.inf else []
        raise ValueError(f"{what} must be {' and '.join(needed)}, and is {number:g}")
