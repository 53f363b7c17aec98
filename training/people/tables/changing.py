"""What changes within a person's record: covariates that have a new value from a row on, and the occasions."""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from physics.occasions import OCCASION
from training.people.own_values import Steps, steps_of, value_at
from training.people.tables.anew import Anew
from training.people.tables.convention import ignored
from training.people.tables.event_table import EventTable, Row, short
from training.people.tables.events import Given
from training.people.tables.file_order import Event

Changing = dict[str, Steps]
Own = dict[str, dict[int, float]]  # what the row on each line says, by the name of what changes


def rows_placed(rows: Sequence[Row], times: Sequence[float], happened: Sequence[Event]) -> list[float]:
    """When what the rows say begins: with their own dose or value, which stand at a time at which its order is clear (`placed`),
    and never after what a later row says.
    """
    placed: dict[int, float] = {}
    for event in happened:
        if not isinstance(event.what, Given) or event.what.extra == 0:
            placed[event.line] = min(event.time, placed.get(event.line, np.inf))
    found = [placed.get(row.line, time) for row, time in zip(rows, times, strict=True)]
    return np.minimum.accumulate(np.array(found)[::-1])[::-1].tolist()


def own_of(
    table: EventTable,
    person: str,
    lines: Sequence[int],  # (T,) of each row of values
    when: np.ndarray,  # (T,)
    changing: Changing,
    occasions: Sequence[float],
    own: Own,
) -> dict[str, np.ndarray]:  # each (T,)
    """`Record.read_with`: what rows say that is not what holds until their time.

    Errors: `ValueError` for a value that counts as measured in an occasion that its row does not know yet.
    """
    found = {}
    for name, steps in steps_of(changing, occasions).items():
        values = np.array([own[name][line] for line in lines])
        said = values != value_at(steps, when)
        wrong = np.flatnonzero(said & ~np.isin(when, steps[0]))
        if len(wrong) and name == OCCASION:
            k = int(wrong[0])
            raise table.error(
                lines[k],
                f"this value of person {person} counts as measured after what a later row of its time gives, and its own row "
                f"says {name} {values[k]:g}, which is that of before; correct one of the two, or leave order=... (--order) out",
            )
        if said.any():
            found[name] = np.where(said, values, np.nan)
    return found


def changing_of(
    table: EventTable,
    person: str,
    rows: Sequence[Row],
    times: Sequence[float],
    columns: Mapping[str, str],
    moving: Collection[str],
) -> tuple[dict[str, float], Changing, Own]:
    """The covariates of a person that are one number for each, and those that change for anybody, `moving`: (times, values),
    each value from its time on, and what each row says of these.

    Where a row has none the last one goes on; before the first one it holds too. Of several rows of one time the last one counts
    from then on, and each of them for the value that it measured.
    Errors: `ValueError` for somebody without any value.
    """
    constant: dict[str, float] = {}
    changing: Changing = {}
    own: Own = {}
    for name, column in columns.items():
        spelled = table.columns[column]
        found: dict[float, float] = {}
        said: dict[int, float] = {}
        for row, time in zip(rows, times, strict=True):
            value = table.number(row, column)
            if value is not None:
                found[time] = value
                said[row.line] = value
        if not found:
            raise table.error(
                rows[0].line,
                f"person {person} has no {spelled}, which others have",
                f"write a value, or leave {spelled} out: covariates=[...], {ignored(spelled)}",
                f"write a value, or leave {spelled} out: --ignore {spelled}",
            )
        first = next(iter(found))
        _note_later(table, spelled, person, times, first, next(iter(said)), f"{found[first]:g}")
        values = list(found.values())
        if name not in moving:
            constant[name] = next(iter(said.values()))
            continue
        now = next(iter(said.values()))
        own[name] = {row.line: (now := said.get(row.line, now)) for row in rows}
        kept = [k for k in range(len(values)) if k == 0 or values[k] != values[k - 1]]
        at = np.array(list(found))[kept]
        at[0] = times[0]
        changing[name] = (at, np.array(values)[kept])
    return constant, changing, own


def occasions_of(
    table: EventTable,
    person: str,
    rows: Sequence[Row],
    times: Sequence[float],
    happened: Sequence[Event],
    measured: Collection[int],  # the lines on which anything was measured
) -> tuple[tuple[float, ...], dict[int, float]]:
    """The times at which the occasions of a person begin, the first one's too, and which one each row is of, from 1; nothing
    where the table does not say.

    Errors: `ValueError` for an occasion that comes back after another one, one in which nothing was measured, and a dose of one
    at the time at which the next begins.
    """
    begun: dict[str, tuple[float, int]] = {}
    own: dict[int, float] = {}
    now = ""
    spelled = table.columns.get("OCC", "OCC")
    for row, time in zip(rows, times, strict=True):
        text = row.cells.get("OCC", "")
        if text and text != now:
            if text in begun:
                raise table.error(
                    row.line,
                    f"{spelled} of person {person} comes back to {short(text)}, which ended before; give each occasion a "
                    "number of its own, put the rows of one time in the order in which they happened, "
                    f"or leave the column out: {ignored(spelled)}",
                )
            if begun and time == max(start for start, _ in begun.values()):
                raise table.error(
                    row.line,
                    f"two occasions of person {person} begin at {time:g}, {short(now)} and {short(text)}; correct {spelled}, "
                    f"or leave the column out: {ignored(spelled)}",
                )
            now = text
            if not begun:
                _note_later(table, spelled, person, times, time, row.line, short(text))
            begun[text] = (time if begun else times[0], row.line)
        own[row.line] = float(max(len(begun), 1))
    if not begun:
        return (), {}
    seen = {own[line] for line in measured}
    # an additional dose stands on the line of the first one, and is given when it is given
    doses = [e for e in happened if isinstance(e.what, Anew) or (isinstance(e.what, Given) and e.what.extra == 0)]
    for k, (label, (start, line)) in enumerate(begun.items()):
        if k + 1 not in seen:
            raise table.error(
                line,
                f"nothing was measured on the occasion {short(label)} of person {person}; give its rows the {spelled} "
                "of the one before or "
                f"after it, or leave the column out: {ignored(spelled)}",
            )
        late = next((e for e in doses if e.time == start and own[e.line] < k + 1), None)
        if late is not None:
            raise table.error(
                late.line,
                f"this dose of person {person} is of an earlier occasion and given at {start:g}, when {short(label)} begins, and "
                f"would be taken as given in that; give its row the {spelled} {short(label)}, or correct one of the times",
            )
    return tuple(time for time, _ in begun.values()), own


def _note_later(
    table: EventTable,
    spelled: str,
    person: str,
    times: Sequence[float],
    first: float,
    line: int,
    said: str,
) -> None:
    """Keep that something is first said later than the person's first row; rows of one time are placed a rounding apart."""
    if first > min(times) and not math.isclose(first, min(times), rel_tol=1e-12, abs_tol=1e-12):
        table.before.setdefault(spelled, []).append(
            f"of person {person} is first said on {table.place(line)}, at {first:g}: {said}"
        )
