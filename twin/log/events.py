"""Events: what is told of a person, one line of JSON each, checked field by field; times are whole microseconds UTC."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from physics.arguments import require_kind
from physics.glance import Summary, glance
from twin.log.times import Microseconds, duration_text, in_json, read_duration, read_time, require_stamp, time_text

KINDS = ("measurement", "dose", "input", "withdrawal", "offset")
NAMED = {"measurement": "channel", "dose": "compartment", "input": "input"}  # the field of a line that is `Event.name`
LONGEST_LINE = 16_384  # bytes of UTF-8: an event has some three hundred
LONGEST_TEXT = 200  # characters
_DEEPEST = 50  # brackets in brackets, of which an event has one
HIGHEST_VERSION = 2**63 - 1
LONGEST = 100 * 31_557_600 * 1_000_000  # µs in a hundred Julian years: the longest infusion, the largest offset
# units in which a clock's offset may be given, in µs
CLOCK_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}

_ALWAYS = ("patient", "source", "id", "version", "kind", "time", "arrived")
_NEEDED = ("patient", "source", "id", "kind", "time")
_OF_KIND: dict[str, tuple[str, ...]] = {
    "measurement": ("channel", "value", "unit"),
    "dose": ("compartment", "value", "unit", "duration"),
    "input": ("input", "value", "unit"),
    "withdrawal": (),
    "offset": ("value", "unit"),
}
_EXAMPLE = {
    "patient": '"P1"',
    "source": '"lab"',
    "id": '"4711"',
    "version": "1",
    "kind": '"measurement"',
    "time": '"2026-11-27T08:00:00Z"',
    "arrived": '"2026-11-27T08:05:00Z"',
    "channel": '"glucose"',
    "compartment": '"gut"',
    "input": '"basal"',
    "value": "5.4",
    "unit": '"mmol/L"',
    "duration": '"PT30M"',
}
# Control characters, what ends a line, turns the direction of writing or has no width (save the two joiners that words of
# Persian or Hindi are spelt with), halves of a surrogate pair, the byte order mark: two names would look the same and differ.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")
_SPACES = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"


def _shown(event: "Event") -> Summary:
    given = "" if event.value is None else f"{event.value:.6g} {event.unit}"
    return f"Event: {event.kind} {event.id} of {event.patient} by {event.source}, version {event.version}", [
        ("time", time_text(event.time)),
        (event.name or "adds", given if not event.duration else f"{given} over {duration_text(event.duration)}"),
        ("arrived", None if event.arrived is None else time_text(event.arrived)),
    ]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that is told of one person, by one source, in one version.

    Its identity is (`patient`, `source`, `id`); texts are compared as they are, as the bytes of UTF-8. A correction is the
    same identity with a higher version. `content` is everything but `arrived`: two events of equal content are one, told twice.

    Attributes:
        patient, source, id: who, told by whom, and the source's own name of it.
        version: 1 for what is told first; a withdrawal, which takes back what has a lower version, begins at 2.
        kind: one of `KINDS`.
        time: when it was true, as the source's clock said (µs since 1970-01-01T00:00:00Z, from 1900 to 2199).
        name: the channel measured, the compartment of a dose, the input; empty in a withdrawal and an offset.
        value: a finite number, in `unit`: what was measured, the amount of a dose, the input from then on (held); of an offset,
            what is added to the stamps of this patient's source from `time` on, by its own clock, to give the true time.
        unit: a UCUM code, "1" for a plain number; of an offset one of `CLOCK_UNITS`.
        duration: how long a dose is infused (µs); 0 is a bolus.
        arrived: when this version was issued by whoever passes it on (µs), where that is told. Never our own clock: of two events
            of equal version it decides which one counts.

    Errors: `ValueError`, one sentence, for a field that cannot be used.
    """

    patient: str
    source: str
    id: str
    version: int
    kind: str
    time: int
    name: str = ""
    value: float | None = None
    unit: str = ""
    duration: int = 0
    arrived: int | None = None

    __repr__, _repr_html_ = glance(_shown)

    def __post_init__(self) -> None:
        _require_text(self.patient, "patient")
        _require_text(self.source, "source")
        _require_text(self.id, "id")
        if type(self.kind) is not str or self.kind not in KINDS:
            raise ValueError(f'"kind" is {in_json(self.kind)}; write one of {", ".join(KINDS)}')
        _require_whole(self.version, "version", 1, HIGHEST_VERSION)
        require_stamp(self.time, "time")
        if self.arrived is not None:
            require_stamp(self.arrived, "arrived")
        fields = _OF_KIND[self.kind]
        if self.kind in NAMED:
            _require_text(self.name, NAMED[self.kind])
        elif self.name != "":
            raise ValueError(f'"name" is {in_json(self.name)}, and an event of kind {self.kind} has none; leave it out')
        if "value" in fields:
            object.__setattr__(self, "value", _number(self.value))
            _require_text(self.unit, "unit")
        elif self.value is not None or self.unit != "":
            given = "value" if self.value is not None else "unit"
            raise ValueError(f'"{given}" is given, and an event of kind {self.kind} has none; leave it out')
        _require_whole(self.duration, "duration", 0, LONGEST)
        if self.duration and self.kind != "dose":
            raise ValueError(f'"duration" is given, and an event of kind {self.kind} has none; leave it out')
        if self.kind == "withdrawal" and self.version < 2:
            raise ValueError(
                '"version" of a withdrawal is 1; write a version above that of what it withdraws, 2 at least'
            )
        if self.kind == "offset":
            offset(self)

    @property
    def identity(self) -> tuple[str, str, str]:
        """(patient, source, id)."""
        return self.patient, self.source, self.id

    @property
    def content(self) -> tuple[Any, ...]:
        """Everything but `arrived`."""
        head = (self.patient, self.source, self.id, self.version, self.kind, self.time)
        return (*head, self.name, self.value, self.unit, self.duration)


def offset(event: Event) -> Microseconds:
    """What an offset adds to the stamps of its source, to the nearest µs; half a µs goes to the even one.

    Errors: `ValueError` for a unit that is none of a clock's, and for more than a hundred years.
    """
    if event.unit not in CLOCK_UNITS:
        raise ValueError(f'"unit" of an offset is {in_json(event.unit)}; write one of {", ".join(CLOCK_UNITS)}')
    added = (event.value or 0.0) * CLOCK_UNITS[event.unit]
    if not abs(added) <= LONGEST:
        raise ValueError(f'"value" of an offset is {event.value:g} {event.unit}; write a hundred years at most')
    return round(added)


def read_event(line: str | bytes | Mapping[str, Any]) -> Event:
    """The event of one line of a stream: `{"patient", "source", "id", "version", "kind", "time", …}`, as the schema
    `twin/log/event.schema.json` says, or of such a mapping that was read already.

    `version` is 1 where it is left out. `time` and `arrived` are RFC 3339 with a zone and whole microseconds; `duration` is
    ISO 8601, "PT1H30M". `channel`, `compartment` or `input` becomes `Event.name`.

    Errors: `ValueError`, one sentence with what was seen and what to write: no JSON object, a field that is missing, unknown,
    given twice or of another type, a time without a zone, a number that is not finite.

    Law: `read_event(as_line(event)) == event`.
    """
    data = line if isinstance(line, Mapping) else _object(line)
    known = dict.fromkeys((*_ALWAYS, *(field for fields in _OF_KIND.values() for field in fields)))
    for field in data:
        if field not in known:
            _refuse_field(field, known)
    for field in _NEEDED:
        _require_given(data, field)
    kind = data["kind"]
    if type(kind) is not str or kind not in KINDS:
        raise ValueError(f'"kind" is {in_json(kind)}; write one of {", ".join(KINDS)}')
    fields = _OF_KIND[kind]
    for field in data:
        if field not in _ALWAYS and field not in fields:
            raise ValueError(f'"{field}" is given, and an event of kind {kind} has none; leave it out')
    for field in fields:
        if field != "duration":
            _require_given(data, field)
    return Event(
        patient=data["patient"],
        source=data["source"],
        id=data["id"],
        version=_whole(data.get("version", 1)),  # type: ignore[arg-type]  # Event looks at it
        kind=kind,
        time=read_time(data["time"], "time"),
        name=data[NAMED[kind]] if kind in NAMED else "",
        value=_number(data["value"]) if "value" in fields else None,
        unit=data["unit"] if "unit" in fields else "",
        duration=read_duration(data["duration"], "duration") if "duration" in data else 0,
        arrived=read_time(data["arrived"], "arrived") if "arrived" in data else None,
    )


def as_line(event: Event) -> str:
    """The event as one line of JSON, without its end: the same event, the same characters. Errors: `ValueError` for none."""
    require_kind(event, Event, "as_line: event", "Event(…), or read_event(line)")
    data: dict[str, Any] = {
        "patient": event.patient,
        "source": event.source,
        "id": event.id,
        "version": event.version,
        "kind": event.kind,
        "time": time_text(event.time),
    }
    if event.arrived is not None:
        data["arrived"] = time_text(event.arrived)
    if event.kind in NAMED:
        data[NAMED[event.kind]] = event.name
    if event.value is not None:
        data |= {"value": event.value, "unit": event.unit}
    if event.duration:
        data["duration"] = duration_text(event.duration)
    return json.dumps(data, ensure_ascii=False, allow_nan=False)


def _object(line: str | bytes) -> dict[str, Any]:
    """What the JSON of a line says."""
    if not isinstance(line, str | bytes):
        raise ValueError(f'an event is a line of text, and is {in_json(line)}; write {{"patient": "P1", …}}')
    if len(line) > LONGEST_LINE:
        raise ValueError(f"the line has {len(line)} characters; write one event a line, {LONGEST_LINE} at most")
    if isinstance(line, bytes):
        try:
            line = line.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"byte {error.start + 1} of the line is not UTF-8; write the stream in UTF-8") from error
    if line.startswith("\ufeff"):
        raise ValueError("the line begins with a byte order mark; write UTF-8 without one")
    if not line.strip():
        raise ValueError('the line is empty; write {"patient": "P1", …}')
    if _depth(line) > _DEEPEST:  # said before it is read: how deep a reader gets is a setting of the process
        raise ValueError("the line is nested too deeply; write one flat object a line")
    try:
        data = json.loads(line, object_pairs_hook=_once, parse_constant=_refuse_constant, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"the line is not JSON at character {error.colno} ({error.msg}); write one object a line"
        ) from error
    if not isinstance(data, dict):
        raise ValueError(f'the line is JSON, and no object: {in_json(data)}; write {{"patient": "P1", …}}')
    return data


def _depth(line: str) -> int:
    """How deep brackets stand in brackets, those in texts left out."""
    if line.count("[") + line.count("{") <= _DEEPEST:
        return 0  # no deeper than that
    depth = deepest = 0
    for bracket in re.findall(r'[\[\]{}]', re.sub(r'"(?:[^"\\]|\\.)*"', "", line)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs of an object, each name once: two readers of a name that is there twice may take either."""
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{in_json(twice)} is given twice; write it once")
    return data


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON; leave the event out, or withdraw it")


def _integer(digits: str) -> int:
    if len(digits) > 400:  # beyond any float64; Python itself refuses to read 4,300 digits
        raise ValueError(f"a number has {len(digits)} digits; write a finite number")
    return int(digits)


def _refuse_field(field: object, known: Mapping[str, None]) -> None:
    near = get_close_matches(str(field), known, n=1, cutoff=0.8)
    cure = f'write "{near[0]}"' if near else f"leave it out: the fields are {', '.join(known)}"
    raise ValueError(f"the field {in_json(field)} is unknown; {cure}")


def _require_given(data: Mapping[str, Any], field: str) -> None:
    if field not in data:
        raise ValueError(f'"{field}" is missing; write "{field}": {_EXAMPLE[field]}')


def _require_text(text: object, field: str) -> None:
    """A name that can be read and repeated: nothing of `_UNSEEN`, no space at its ends, not longer than a line."""
    if type(text) is not str:
        raise ValueError(f'"{field}" must be a text, and is {in_json(text)}; write "{field}": {_EXAMPLE[field]}')
    if not text:
        raise ValueError(f'"{field}" is empty; write "{field}": {_EXAMPLE[field]}')
    if len(text) > LONGEST_TEXT:
        raise ValueError(f'"{field}" has {len(text)} characters; write {LONGEST_TEXT} at most')
    if not text.isprintable() and (found := _UNSEEN.search(text)):
        raise ValueError(f'"{field}" holds the character U+{ord(found[0]):04X}, which nobody sees; leave it out')
    if text[0] in _SPACES or text[-1] in _SPACES:
        raise ValueError(f'"{field}" is {in_json(text)}, with a space at its end; leave the space out')


def _whole(value: object) -> object:
    """A whole number that JSON has as 2.0 is 2; everything else is left to `_require_whole`."""
    return int(value) if type(value) is float and value.is_integer() and abs(value) <= 2**53 else value


def _require_whole(value: object, field: str, least: int, most: int) -> None:
    if type(value) is not int:
        raise ValueError(f'"{field}" must be a whole number, and is {in_json(value)}; write "{field}": {least}')
    if not least <= value <= most:
        raise ValueError(f'"{field}" is {in_json(value)}; write a whole number from {least} to {most}')


def _number(value: object) -> float:
    """A finite float64; minus zero is zero, which a database would make of it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        hint = ", without quotes" if isinstance(value, str) else ""
        raise ValueError(f'"value" must be a number, and is {in_json(value)}; write "value": 5.4{hint}')
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f'"value" is not finite ({in_json(value)}); leave the event out, or withdraw it')
    return number + 0.0
