"""What changes within a person's record: covariates that have a new value from a row on, and the occasions."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from training.people.tables.convention import ignored
from training.people.tables.event_table import EventTable, Row, short

Changing = dict[str, tuple[np.ndarray, np.ndarray]]


def changing_of(
    table: EventTable,
    person: str,
    rows: Sequence[Row],
    times: Sequence[float],
    columns: Mapping[str, str],
    moving: Collection[str],
) -> tuple[dict[str, float], Changing]:
    """The covariates of a person that are one number for each, and those that change for anybody, `moving`: (times, values),
    each value from its time on.

    Where a row has none the last one goes on; before the first one it holds too. Of several rows of one time the last one counts.
    Errors: `ValueError` for somebody without any value.
    """
    constant: dict[str, float] = {}
    changing: Changing = {}
    for name, column in columns.items():
        spelled = table.columns[column]
        found: dict[float, float] = {}
        for row, time in zip(rows, times, strict=True):
            value = table.number(row, column)
            if value is not None:
                found[time] = value
        if not found:
            raise table.error(
                rows[0].line,
                f"person {person} has no {spelled}, which others have",
                f"write a value, or leave {spelled} out: covariates=[...], {ignored(spelled)}",
                f"write a value, or leave {spelled} out: --ignore {spelled}",
            )
        values = list(found.values())
        if name not in moving:
            constant[name] = values[0]
            continue
        kept = [k for k in range(len(values)) if k == 0 or values[k] != values[k - 1]]
        at = np.array(list(found))[kept]
        at[0] = times[0]
        changing[name] = (at, np.array(values)[kept])
    return constant, changing


def occasions_of(
    table: EventTable,
    person: str,
    rows: Sequence[Row],
    times: Sequence[float],
    measured: np.ndarray,  # when anything was measured
) -> tuple[float, ...]:
    """The times at which the occasions of a person begin, the first one's too; () where the table does not say.

    Errors: `ValueError` for an occasion that comes back after another one, and one in which nothing was measured.
    """
    begun: dict[str, tuple[float, int]] = {}
    now = ""
    for row, time in zip(rows, times, strict=True):
        text = row.cells.get("OCC", "")
        if not text or text == now:
            continue
        spelled = table.columns["OCC"]
        if text in begun:
            raise table.error(
                row.line,
                f"{spelled} of person {person} comes back to {short(text)}, which ended before; give each occasion a "
                "number of its own, "
                f"or leave the column out: {ignored(spelled)}",
            )
        now = text
        begun[text] = (time if begun else times[0], row.line)
    if not begun:
        return ()
    labels, starts = list(begun), [time for time, _ in begun.values()]
    for k, (label, start) in enumerate(zip(labels, starts, strict=True)):
        end = starts[k + 1] if k + 1 < len(starts) else np.inf
        # a value at the time at which the next one begins may be of before it
        if not ((measured >= start - 1e-9 * max(1.0, abs(start))) & (measured <= end)).any():
            spelled = table.columns["OCC"]
            raise table.error(
                begun[label][1],
                f"nothing was measured on the occasion {short(label)} of person {person}; give its rows the {spelled} "
                "of the one before or "
                f"after it, or leave the column out: {ignored(spelled)}",
            )
    return tuple(starts)
