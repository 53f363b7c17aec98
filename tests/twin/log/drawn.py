"""Events drawn at random, for laws as properties: any event, and events of few people, sources and ids, whose identities meet."""

import string

from hypothesis import strategies as st

from twin.log.events import CLOCK_UNITS, KINDS, NAMED, Event
from twin.log.times import DAY, EARLIEST, LATEST, read_time

START = read_time("2026-11-27T00:00:00Z")
MINUTE = 60_000_000
HOUR = 60 * MINUTE

# whatever a name may hold, most of it rare: other scripts, signs beyond 16 bits, quotes of SQL and JSON
texts = st.text(
    st.one_of(
        st.sampled_from(string.ascii_letters + string.digits + "'\"\\%?;-/"),
        st.characters(codec="utf-8", categories=("L", "N", "S")),
    ),
    min_size=1,
    max_size=12,
).filter(lambda text: text.strip() == text and text.isprintable())
stamps = st.one_of(st.integers(EARLIEST, LATEST - 1), st.sampled_from((EARLIEST, LATEST - 1, 0, -1, START)))
values = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def any_event(draw: st.DrawFn) -> Event:
    """One event with every field drawn over the whole of its range."""
    kind = draw(st.sampled_from(KINDS))
    whose = (draw(texts), draw(texts), draw(texts))
    version = draw(st.one_of(st.integers(2, 9), st.integers(2, 2**63 - 1), st.just(2 if kind == "withdrawal" else 1)))
    arrived = draw(st.none() | stamps)
    if kind == "withdrawal":
        return Event(*whose, version, kind, draw(stamps), arrived=arrived)
    if kind == "offset":
        unit = draw(st.sampled_from(sorted(CLOCK_UNITS)))
        most = 36_525 * DAY / CLOCK_UNITS[unit]
        return Event(
            *whose, version, kind, draw(stamps), value=draw(st.floats(-most, most)), unit=unit, arrived=arrived
        )
    duration = draw(st.integers(0, 100 * 365 * DAY)) if kind == "dose" else 0
    return Event(*whose, version, kind, draw(stamps), draw(texts), draw(values), draw(texts), duration, arrived)


def _told(name: str, minute: float, changed: dict[str, object]) -> Event:
    """By patient P's laboratory."""
    stamp = START + round(minute * MINUTE)
    fields = {"patient": "P", "source": "lab", "id": name, "version": 1, "time": stamp}
    return Event(**(fields | changed))  # type: ignore[arg-type]


def result(name: str, minute: float, value: float, **changed: object) -> Event:
    """A measured glucose of patient P by the laboratory."""
    return _told(name, minute, {"kind": "measurement", "name": "glucose", "value": value, "unit": "mg/dL"} | changed)


def withdrawn(name: str, version: int = 2, **changed: object) -> Event:
    """What takes back what patient P's laboratory called so."""
    return _told(name, 0.0, {"version": version, "kind": "withdrawal"} | changed)


def clock(name: str, minute: float, value: float, **changed: object) -> Event:
    """From this minute on by its clock, so many minutes are added to the stamps of patient P's laboratory."""
    return _told(name, minute, {"kind": "offset", "value": value, "unit": "min"} | changed)


@st.composite
def event_of_few(draw: st.DrawFn, told: bool = True) -> Event:
    """An event of patient P that is likely to meet others: its identity, its time and its version are among few.

    Where it is `told`, one that says something else was issued at another time, so that no two are without an order. Else two of
    equal version may differ, and be issued at the same time or say nothing of it.
    """
    kind = draw(st.sampled_from((*KINDS, "measurement")))
    source, name = draw(st.sampled_from(("lab", "cgm"))), draw(st.sampled_from(("1", "2", "é", "€", "😀")))
    version = draw(st.integers(2 if kind == "withdrawal" else 1, 4))
    minute, value = draw(st.integers(0, 4)), draw(st.integers(0, 3))
    whose = ("P", source, name, version, kind, START + minute * MINUTE)
    content = (KINDS.index(kind) * 5 + minute) * 4 + (0 if kind == "withdrawal" else value)
    arrived = START + DAY + content if told else draw(st.sampled_from((None, START + DAY, START + 2 * DAY)))
    if kind == "withdrawal":
        return Event(*whose, arrived=arrived)
    if kind == "offset":
        return Event(*whose, value=value - 2.0, unit="min", arrived=arrived)
    return Event(*whose, NAMED[kind], float(value), "mg", arrived=arrived)
