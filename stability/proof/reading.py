"""What the checker is given, entry by entry: looked up by name, and read as numbers, arrays, lists; else it is `Unusable`.

An array is anything that numpy reads as one, or a tensor of another library (`.detach().cpu().numpy()`), wherever it lies and
whether or not it keeps gradients; it is taken at its own precision, which float64 holds exactly.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stability.proof.arithmetic import Array


class Unusable(ValueError):
    """The input is not a certificate and a system at all (as opposed to a false certificate)."""


_NEEDED = object()


def has(source: object, *names: str) -> bool:
    """Whether all of these are entries of a mapping, or attributes of an object."""
    if isinstance(source, Mapping):
        return all(map(source.__contains__, names))
    return all(hasattr(source, name) for name in names)


def get(source: object, name: str, default: Any = _NEEDED) -> Any:
    """An entry of a mapping, or an attribute of an object, by its name. Errors: Unusable where there is none, and no default."""
    if isinstance(source, Mapping):
        if name in source:
            return source[name]
    elif hasattr(source, name):
        return getattr(source, name)
    if default is not _NEEDED:
        return default
    raise Unusable(f"{name!r} is missing: this is not a claim with its system")


def shown(value: object) -> str:
    """A value as a message quotes it: short, whatever it is."""
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:60] + "…")
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 10**30):
        return repr(value)
    return f"the class {value.__name__[:60]}" if isinstance(value, type) else f"a value of type {type(value).__name__}"


def unlike_any(source: object, role: str, write: str) -> str:
    """The sentence for what is no claim, or no system, at all: what it is, and what to give instead."""
    if isinstance(source, Mapping):
        keys = [shown(key) for key in list(source)[:4]]
        seen = f"a dictionary of {', '.join(keys)}{', …' if len(source) > 4 else ''}" if keys else "an empty dictionary"
    else:
        seen = shown(source)
    return f"the {role} is {seen}; give {write}"


def array(value: Any, name: str) -> Array:
    """Real numbers as float64, exactly. Errors: Unusable for anything else, and for whole numbers that would be rounded."""
    try:
        if hasattr(value, "detach") and hasattr(value, "cpu"):
            value = value.detach().cpu().numpy()
        raw = np.asarray(value)
        if raw.dtype.kind not in "fiu":
            raise ValueError(f"entries of kind {raw.dtype}")
        found = raw.astype(np.float64)
        if raw.dtype.kind != "f" and raw.size and np.abs(found).max() >= 2.0**53:
            raise ValueError("a whole number beyond 2^53, which double precision may round; write it with a decimal point")
    except (TypeError, ValueError, OverflowError, RecursionError, RuntimeError, AttributeError) as error:
        raise Unusable(f"{name} is not an array of numbers: {str(error)[:200]}") from error
    # An empty list of multipliers per system reads as (V, 0), which is right for a linear system.
    return found


def number(value: Any) -> float:
    """One number, exactly. Errors: Unusable for anything else, and for one that double precision rounds."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        raise Unusable(f"{shown(value)} stands where a number is needed")
    try:
        found = float(value)
    except OverflowError as error:
        raise Unusable("a number is too large for double precision") from error
    if found != value and found == found:  # a sentence that quotes 2⁵³ + 1 would be proved of 2⁵³
        raise Unusable(f"{shown(value)} is rounded in double precision, so the sentence would not be about it")
    return found


def sequence(value: Any) -> Sequence[Any]:
    """A list, as JSON has it, or a tuple. Errors: Unusable for anything else."""
    if not isinstance(value, list | tuple):
        raise Unusable(f"a list is needed where {type(value).__name__} stands")
    return value
