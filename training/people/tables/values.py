"""The rows of values of one person: what was measured at one time stands in one row, as far as it says one thing."""

import math
from collections.abc import Sequence

import numpy as np

from training.people.tables.changing import Own
from training.people.tables.event_table import EventTable
from training.people.tables.events import Observation
from training.people.tables.file_order import Event

_NOTHING = (math.nan, -math.inf, math.inf)  # a channel that was not measured, and its limits


def values_of(
    table: EventTable,
    person: str,
    line: int,
    happened: Sequence[Event],
    own: Own,
    names: Sequence[str],
) -> tuple[list[int], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A line of the table (T), the time (T,), values (T, p) and limits below and above: values of one time in one row,
    replicates in further rows of that time, and those whose rows say other occasions or covariates.
    """
    found: dict[tuple[float, tuple[float, ...]], dict[str, list[tuple[float, float, float]]]] = {}
    on: dict[tuple[float, tuple[float, ...]], int] = {}
    for event in happened:
        if isinstance(event.what, Observation):
            key = event.time, tuple(by_line[event.line] for by_line in own.values())
            on.setdefault(key, event.line)
            values, what = found.setdefault(key, {}).setdefault(event.what.channel, []), event.what
            number = math.nan if what.value is None else what.value
            values += [] if what.seen is None else [(number, what.lower, what.upper)]
    lines: list[int] = []
    when: list[float] = []
    measured: list[list[tuple[float, float, float]]] = []
    for key in sorted(found, key=lambda one: one[0]):
        here = found[key]
        # a row that measured nothing stands where nothing else does
        for k in range(max(1, *(len(values) for values in here.values()))):
            lines.append(on[key])
            when.append(key[0])
            measured.append([here[c][k] if k < len(here.get(c, ())) else _NOTHING for c in names])
    array, lower, upper = np.array(measured, dtype=np.float64).reshape(len(when), len(names), 3).transpose(2, 0, 1)
    if not (np.isfinite(array) | np.isfinite(lower) | np.isfinite(upper)).any():
        raise table.error(
            line, f"person {person} has no observation; leave the person out, or check EVID, MDV and DV"
        )
    return lines, np.array(when), array, lower, upper
