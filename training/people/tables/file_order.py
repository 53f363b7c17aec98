"""Which comes first where a dose and a measurement have one time: the rows' order, where it matters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from training.people.tables.anew import Anew
from training.people.tables.event_table import EventTable
from training.people.tables.events import Given, Observation

Order = Literal["observation-first", "dose-first", "file"]
_SAY = "say which comes first: order='observation-first' if it was measured before the dose, order='file' if after it (--order)"


@dataclass(frozen=True)
class Event:
    """Something that happened to one person at `time`, said on `line`."""

    time: float
    line: int
    what: Observation | Given | Anew


def placed(events: Sequence[Event], order: Order | None, nudge: float, table: EventTable) -> list[Event]:
    """One person's events (in the order of their rows), at times that say which comes first.

    A record reads an observation before any dose of its own time. So every stretch of a time's rows that ends with a dose which
    an observation follows is moved back by one `nudge` for each such place that is still to come: the observations before the
    dose, the dose, then, at the time itself, those after it. Without an order only the doses count that change what is
    measured: at once, into the state that an observation measures.
    Errors: `ValueError` where no order is given and the rows do not settle it.
    """
    if order == "observation-first":
        return list(events)
    moved: list[Event] = []
    earlier: dict[str, float] = {}
    for _, group in groupby(sorted(events, key=lambda event: event.time), key=lambda event: event.time):
        together = list(group)
        moved += _of_one_time(together, order, nudge, table, earlier)
        for event in together:
            if isinstance(event.what, Observation) and event.what.seen is not None:
                earlier[event.what.channel] = event.what.seen
    return moved


def _of_one_time(
    events: list[Event], order: Order | None, nudge: float, table: EventTable, earlier: dict[str, float]
) -> list[Event]:
    if order == "dose-first":
        observed = any(isinstance(event.what, Observation) for event in events)
        return [_back(event, 0.0 if not observed or isinstance(event.what, Observation) else nudge) for event in events]
    # an additional dose belongs to a row that stands before those of all later times
    events = sorted(events, key=lambda e: (not (isinstance(e.what, Given) and e.what.extra > 0), e.line))
    counts = [order == "file" or _counts(event, events, table, earlier) for event in events]
    # from the last row to the first: how many places, where a dose is followed by an observation, are still to come
    left, after, behind = 0, False, []
    for event, count in zip(reversed(events), reversed(counts), strict=True):
        if count and not isinstance(event.what, Observation) and after:
            left, after = left + 1, False
        elif count and isinstance(event.what, Observation):
            after = True
        behind.append(left)
    found = []
    for event, count, places in zip(events, counts, reversed(behind), strict=True):
        if not count:  # before all doses that change anything, or, a dose that changes nothing, in its place
            places = left if isinstance(event.what, Observation) else 0
        found.append(_back(event, places * nudge))
    return found


def _counts(event: Event, events: list[Event], table: EventTable, earlier: dict[str, float]) -> bool:
    """Does it matter in which order this event and the others of its time come? Refuses what the rows do not settle."""
    matter = False
    for other in events:
        if Anew in (type(event.what), type(other.what)):
            pair = event.what if isinstance(event.what, Observation) else other.what
            matter = matter or (isinstance(pair, Observation) and pair.seen is not None)
            continue
        dose, seen = (event, other) if isinstance(event.what, Given) else (other, event)
        if not isinstance(dose.what, Given) or not isinstance(seen.what, Observation):
            continue
        given, value = dose.what, seen.what
        if value.seen is None or not given.dose.bolus or float(given.dose.amount) == 0.0:
            continue
        first = given.extra > 0 or dose.line < seen.line
        if value.place not in (None, given.dose.state):
            continue
        told = f"{value.channel} at time {seen.time:g} and the dose into {given.dose.state} of that time"
        if given.extra > 0:
            raise table.error(
                seen.line,
                f"{told}, one of ADDL's: the table does not say which came first; write the doses as rows, or {_SAY}",
            )
        if dose.line == seen.line:
            raise table.error(seen.line, f"{told} stand in one row; write two, in the order of the events, or {_SAY}")
        if value.place is None and first:
            raise table.error(
                seen.line,
                f"{told}: whether the dose goes into what is measured is not clear, and its row stands first; {_SAY}",
            )
        if value.place is None:
            continue
        if first and (value.seen <= 0.0 or value.seen <= _last_before(dose, value.channel, events, earlier)):
            raise table.error(
                seen.line,
                f"{told}: the row stands behind the dose, and the value, {value.seen:g}, is not above what was there before it; "
                f"move the row before the dose, or {_SAY}",
            )
        matter = True
    return matter


def _last_before(dose: Event, channel: str, events: list[Event], earlier: dict[str, float]) -> float:
    """The last value of a channel before a dose; without any, less than every value."""
    last = earlier.get(channel, -math.inf)
    for event in events:
        if isinstance(event.what, Observation) and event.what.channel == channel and event.line < dose.line:
            last = last if event.what.seen is None else event.what.seen
    return last


def _back(event: Event, by: float) -> Event:
    if by == 0.0:
        return event
    time = event.time - by
    if isinstance(event.what, Given):
        return Event(time, event.line, Given(replace(event.what.dose, time=time), event.what.extra))
    if isinstance(event.what, Anew):
        steady = event.what.steady
        return Event(time, event.line, Anew(None if steady is None else replace(steady, time=time)))
    return replace(event, time=time)
