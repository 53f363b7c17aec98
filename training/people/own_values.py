"""What a measurement at the time of a change says itself: of which occasion it is, and with which covariate it is read."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from hybrid.schedules.columns import as_array
from physics.arguments import quote, require_kind
from physics.occasions import OCCASION

Steps = tuple[np.ndarray, np.ndarray]  # times, and the values from there on


def numbered(occasions: Sequence[float]) -> Steps:
    """The number of each occasion, from 1, from its time on."""
    return np.array(occasions), np.arange(1.0, len(occasions) + 1.0)


def steps_of(changing: Mapping[str, Steps], occasions: Sequence[float]) -> dict[str, Steps]:
    """All that changes on the way, by name: the covariates, and the occasion where there are some."""
    return {**changing, **({OCCASION: numbered(occasions)} if occasions else {})}


def value_at(
    steps: Steps,
    times: np.ndarray,  # (T,)
    side: Literal["left", "right"] = "left",
) -> np.ndarray:  # (T,)
    """The values that measurements at these times are of where they say nothing: at the time of a change the one before it; from
    the "right" the new one.
    """
    at, values = steps
    return values[np.maximum(np.searchsorted(at, times, side=side) - 1, 0)]


def required_readings(
    given: object,
    times: np.ndarray,  # (T,)
    occasions: Sequence[float],
    changing: Mapping[str, Steps],
    where: str,
) -> dict[str, np.ndarray]:  # each (T,)
    """`Record.read_with` as numbers.

    Errors: `ValueError`, beginning with `where`, for a name that does not change, other shapes, and a measurement of another
    occasion than one that its time belongs to.
    """
    write = 'read_with={"occasion": [nan, nan, 2.0]}'
    require_kind(given, Mapping, f"{where}: read_with", write)
    assert isinstance(given, Mapping)  # for the type checker: just required
    known = steps_of(changing, occasions)
    found = {}
    for name, column in given.items():
        if name not in known:
            there = ", ".join(sorted(known)) or "nothing"
            raise ValueError(f"{where}: read_with names {quote(name)}, and what changes is {there}; leave it out")
        values = np.asarray(as_array(column))
        if values.dtype.kind not in "fiu" or values.shape != times.shape or np.isinf(values).any():
            raise ValueError(
                f"{where}: read_with of {name} has a number for each of {len(times)} times, NaN for none, and is "
                f"{quote(column)}; write {write}"
            )
        values = values.astype(np.float64)
        before, after = value_at(known[name], times), value_at(known[name], times, "right")
        wrong = np.isfinite(values) & (values != before) & (values != after)
        if name == OCCASION and wrong.any():
            k = int(wrong.argmax())
            raise ValueError(
                f"{where}: the measurement at {times[k]:g} is read with {name} = {values[k]:g} and {name} is {before[k]:g} then"
                + (f", or {after[k]:g}" if after[k] != before[k] else "")
                + "; correct one of the two, or write NaN"
            )
        if np.isfinite(values).any():
            found[name] = values
    return found
