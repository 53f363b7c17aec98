"""The parts of a JSON value, each of the kind that it must be: what a stranger wrote is never passed over or guessed."""

import math
from typing import Any

from physics.arguments import quote


def only(value: Any, needed: set[str], allowed: set[str], what: str) -> dict[str, Any]:
    """The mapping that has these names and no other. Errors: `ValueError` naming what lacks and what is not known."""
    found = mapping(value, what)
    if not needed <= found.keys() or not found.keys() <= needed | allowed:
        strange = sorted(found.keys() - needed - allowed)
        raise ValueError(
            f"{what} holds {', '.join(sorted(needed))}, and lacks {sorted(needed - found.keys())} and has {quote(strange)} "
            "besides; save it again, or use the version that wrote it"
        )
    return found


def mapping(value: Any, what: str) -> dict[str, Any]:
    """Names with values. Errors: `ValueError`, beginning with `what`."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is a {type(value).__name__}, and names with values are needed; save it again")
    return value


def listed(value: Any, what: str) -> list[Any]:
    """A list: a tuple of a text is its letters, and of a mapping its names. Errors: `ValueError`, beginning with `what`."""
    if not isinstance(value, list):
        raise ValueError(f"{what} is a {type(value).__name__}, and a list is needed; save it again")
    return value


def number(value: object) -> float:
    """A finite number, and no truth value. Errors: `ValueError` showing what stands in its place."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"a finite number is needed where {quote(value)} stands; save it again")
    return float(value)


def says(full: Any, part: Any) -> bool:
    """Does a JSON value say all that another says? Whole numbers may have become numbers; names may have been added."""
    if isinstance(part, dict):
        return isinstance(full, dict) and all(k in full and says(full[k], v) for k, v in part.items())
    if isinstance(part, list):
        return isinstance(full, list | tuple) and len(full) == len(part) and all(map(says, full, part))
    return isinstance(full, bool) == isinstance(part, bool) and bool(full == part)
