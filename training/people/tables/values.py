"""The rows of values of one person: what was measured at one time stands in one row, as far as it says one thing."""

import bisect
import math
from collections.abc import Sequence

import numpy as np

from physics.occasions import OCCASION
from training.people.tables.changing import Own
from training.people.tables.event_table import EventTable
from training.people.tables.events import Observation
from training.people.tables.file_order import Event

_Group = tuple[float, float, int]  # time, occasion, and how much was given before
_NOTHING = (math.nan, -math.inf, math.inf)  # a channel that was not measured, and its limits


def values_of(
    table: EventTable,
    person: str,
    line: int,
    happened: Sequence[Event],
    own: Own,
    names: Sequence[str],
) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A line of the table (T), the time (T,), values (T, p) and limits below and above: values of one time in one row, replicates
    in further rows of that time, and so are values of another occasion, and those behind a dose where anything changes.

    Errors: `ValueError` for somebody of whom nothing was measured.
    """
    found: dict[_Group, dict[str, list[tuple[int, tuple[float, float, float]]]]] = {}
    on: dict[_Group, int] = {}
    of_occasion = own.get(OCCASION, {})
    given = sorted(e.line for e in happened if not isinstance(e.what, Observation)) if own else []
    for event in happened:
        if isinstance(event.what, Observation):
            key = event.time, of_occasion.get(event.line, 0.0), bisect.bisect_left(given, event.line)
            values, what = found.setdefault(key, {}).setdefault(event.what.channel, []), event.what
            number = math.nan if what.value is None else what.value
            values += [] if what.seen is None else [(event.line, (number, what.lower, what.upper))]
            on.setdefault(key, event.line)
    lines: list[int] = []
    when: list[float] = []
    measured: list[list[tuple[float, float, float]]] = []
    for key in sorted(found, key=lambda one: one[0]):
        here = found[key]
        # a row that measured nothing stands where nothing else does
        for k in range(max(1, *(len(values) for values in here.values()))):
            row = {c: values[k] for c, values in here.items() if k < len(values)}
            lines.append(min((line for line, _ in row.values()), default=on[key]))
            when.append(key[0])
            measured.append([row[c][1] if c in row else _NOTHING for c in names])
    array, lower, upper = np.array(measured, dtype=np.float64).reshape(len(when), len(names), 3).transpose(2, 0, 1)
    if not (np.isfinite(array) | np.isfinite(lower) | np.isfinite(upper)).any():
        raise table.error(
            line, f"person {person} has no observation; leave the person out, or check EVID, MDV and DV"
        )
    return lines, np.array(when), array, lower, upper
