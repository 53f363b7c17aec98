"""Units and names as claims put them into words."""

import math
from collections.abc import Sequence
from typing import Any

from stability.arguments import listed, shown
from stability.decay import rounded
from stability.glance import Rows, Summary


def per(time_unit: str) -> str:
    """What follows "per": the unit of time, or "unit of time" where it has no name. Errors: ValueError for what is no text."""
    return behind(time_unit).lstrip() or "unit of time"


def behind(unit: str) -> str:
    """A unit as it stands behind a number: " h", or nothing where there is none. Errors: ValueError for what is no text."""
    if not isinstance(unit, str):
        raise ValueError(f"the unit is {shown(unit)}; give a UCUM code as text, 'h', or '' where there is none.")
    return "" if unit in ("", "1") else f" {unit}"


def ends_in_words(low: float | None, high: float | None, unit: str = "") -> str:
    """Between which ends a state lies, rounded inward, None or infinite where there is none; its unit behind."""
    a, b = (None if end is None or math.isinf(end) else end for end in (low, high))
    if a is not None and b is not None:
        return f"{rounded(a, 4, 'up')} to {rounded(b, 4, 'down')}{behind(unit)}"
    if a is not None:
        return f"from {rounded(a, 4, 'up')}{behind(unit)} on"
    return "of any value" if b is None else f"up to {rounded(b, 4, 'down')}{behind(unit)}"


def named(states: Sequence[tuple[str, str]], count: int | None) -> list[tuple[str, str]]:
    """The names and units of so many states, of any number for None; "state 0" and so on where they are not given.

    Errors: ValueError for what is no list of names with their units, or as many as there are states.
    """
    write = 'a list of names with their units, one a state: [("gut", "mg"), …], or ()'
    found = [tuple(listed(one, "a state", write)) for one in listed(states, "states", write)]
    if not found:
        return [(f"state {i}", "") for i in range(count or 0)]
    pairs = all(len(one) == 2 and all(isinstance(word, str) for word in one) for one in found)
    if not pairs or count not in (None, len(found)):
        raise ValueError(f"states is {shown(states)}{'' if count is None else f', of {count} states'}; give {write}.")
    return [(name, unit) for name, unit in found]


def summary_of(claim: Any, found: str, rows: Rows) -> Summary:
    """What a claim shows of itself: what was `found`, the claim in words, `rows` of its own, and what it does not cover."""
    return f"{type(claim).__name__}, for check(claim, system) to prove: {found}", [
        ("says", claim.in_words("")),
        *rows,
        ("not covered", "; ".join(claim.not_covered)),
    ]


def systems_of(leading: Sequence[int]) -> str:
    """The leading axes of a system in words."""
    if len(leading) == 2:
        return f"{leading[0] * leading[1]}: members {leading[0]}, people {leading[1]}"
    return " × ".join(map(str, leading)) or "1"
