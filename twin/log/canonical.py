"""The canonical order of what is told of people: a function of the set of events alone, and never of when they came.

**What counts.** Of each identity (patient, source, id) the event with the highest version; of equal versions the one that was
issued later, which is `Event.arrived` as the sender told it, and before all others where it is not told. What then is a
withdrawal leaves, whether it came after what it withdraws or before.

**When it was.** The stamp t of a measurement, a dose or an input is what the source's clock said. Of the offsets of the same
patient and source that count, the one with the greatest (time, id) at or before t is in force, and the effective time is t plus
its value: t itself before the first one. Offsets that are corrected, withdrawn or late move what they concern.

**In which order.** By effective time; at one time what is measured was measured before what is given, and a dose comes before an
input; then by source and id, compared as the bytes of UTF-8.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from physics.arguments import quote, require_kind
from physics.glance import Summary, glance
from twin.log.events import Event, offset
from twin.log.times import EARLIEST, LATEST, time_text

RANK = {"measurement": 0, "dose": 1, "input": 2}

Key = tuple[int, int, bytes, bytes]  # effective time (µs), rank of the kind, source and id in UTF-8
Identity = tuple[str, str, str]


def shown_key(key: Key) -> str:
    """A key for people: when, and who said what."""
    time, _, source, name = key
    return f"{time_text(min(max(time, EARLIEST), LATEST - 1))}, {name.decode()} by {source.decode()}"


def _shown(timed: "Timed") -> Summary:
    event = timed.event
    given = "" if event.value is None else f"{event.value:.6g} {event.unit}"
    return f"Timed: {event.kind} {event.id} of {event.patient} by {event.source}, version {event.version}", [
        ("effective", shown_key(timed.key).partition(",")[0]),
        ("stamped", time_text(event.time)),
        (event.name, given),
    ]


@dataclass(frozen=True, slots=True)
class Timed:
    """An event that counts, and its effective time: µs since 1970, UTC, by a clock that is right."""

    time: int
    event: Event

    __repr__, _repr_html_ = glance(_shown)

    @property
    def key(self) -> Key:
        """Where it stands among everything of its patient: no two events of one patient share a key."""
        event = self.event
        return self.time, RANK[event.kind], event.source.encode(), event.id.encode()


def issued(event: Event) -> tuple[int, bool, int]:
    """By what two events of one identity are compared: version, whether it is told when it was issued, and when."""
    return event.version, event.arrived is not None, event.arrived or 0


def counting(events: Iterable[Event]) -> dict[Identity, Event]:
    """Of each identity the event that counts, withdrawals and offsets among them.

    Errors: `ValueError` where two of equal version, issued at the same time or neither told when, say different things: nothing
    in them tells which one holds. A log holds no such pair, since it refuses the second.
    """
    best: dict[Identity, Event] = {}
    rivals: dict[Identity, Event] = {}
    for event in events:
        present = best.get(event.identity)
        if present is None or issued(event) > issued(present):
            best[event.identity] = event
            rivals.pop(event.identity, None)
        elif issued(event) == issued(present) and event.content != present.content:
            rivals[event.identity] = event
    for event in rivals.values():
        raise ValueError(
            f"two events say different things as version {event.version} of {event.id!r} by {event.source!r} of "
            f"{event.patient!r}, and neither was issued later; give a correction a higher version"
        )
    return best


def canonical(events: Iterable[Event]) -> tuple[Timed, ...]:
    """What counts of these events, of one patient or several, with effective times, in canonical order.

    Of several patients, what has the same key is in the order of the patients' bytes.

    Errors: as `counting`. Law: any order of the argument, and any event in it twice, gives the same.
    """
    if isinstance(events, str | bytes | Mapping) or not isinstance(events, Iterable):
        raise ValueError(f"canonical: events are many, in a list, and are {quote(events)}; write [event]")
    events = list(events)
    for event in events:
        require_kind(event, Event, "canonical: each of the events", "Event(…), or read_event(line)")
    best = counting(events)
    clocks: dict[tuple[str, str], list[tuple[int, bytes, int]]] = defaultdict(list)
    for event in best.values():
        if event.kind == "offset":
            clocks[event.patient, event.source].append((event.time, event.id.encode(), offset(event)))
    for clock in clocks.values():
        clock.sort()
    timed = []
    for event in best.values():
        if event.kind in RANK:
            clock = clocks.get((event.patient, event.source), [])
            i = bisect_right(clock, event.time, key=lambda entry: entry[0])
            timed.append(Timed(event.time + (clock[i - 1][2] if i else 0), event))
    return tuple(sorted(timed, key=lambda one: (one.key, one.event.patient.encode())))
