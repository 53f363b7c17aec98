"""Lines of a stream: what is read, and the sentence for whatever is not."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import twin.log.events as module
from tests.twin.log.drawn import any_event, stamps, texts
from twin.log import Event, as_line, read_event, read_time, time_text
from twin.log.events import LONGEST, LONGEST_LINE, offset
from twin.log.times import DAY, EARLIEST, LATEST, duration_text, read_duration

SCHEMA = json.loads((Path(module.__file__).parent / "event.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
GOOD: dict[str, Any] = {
    "patient": "P1",
    "source": "lab",
    "id": "4711",
    "version": 1,
    "kind": "measurement",
    "time": "2026-11-27T08:00:00Z",
    "channel": "glucose",
    "value": 5.4,
    "unit": "mmol/L",
}
DOSE = {k: v for k, v in GOOD.items() if k != "channel"} | {
    "kind": "dose",
    "compartment": "gut",
    "value": 500,
    "unit": "mg",
}
INPUT = {k: v for k, v in GOOD.items() if k != "channel"} | {"kind": "input", "input": "basal"}
WITHDRAWAL = {k: GOOD[k] for k in ("patient", "source", "id", "time")} | {"kind": "withdrawal", "version": 2}
OFFSET = {k: GOOD[k] for k in ("patient", "source", "id", "time")} | {"kind": "offset", "value": -1.5, "unit": "min"}


def without(data: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {k: v for k, v in data.items() if k not in fields}


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (GOOD, Event("P1", "lab", "4711", 1, "measurement", 1795766400000000, "glucose", 5.4, "mmol/L")),
        (
            without(GOOD, "version"),
            Event("P1", "lab", "4711", 1, "measurement", 1795766400000000, "glucose", 5.4, "mmol/L"),
        ),
        (
            GOOD | {"version": 3.0},
            Event("P1", "lab", "4711", 3, "measurement", 1795766400000000, "glucose", 5.4, "mmol/L"),
        ),
        (
            DOSE | {"duration": "PT1H30M0.5S"},
            Event("P1", "lab", "4711", 1, "dose", 1795766400000000, "gut", 500.0, "mg", 5400500000),
        ),
        (INPUT | {"value": -0.0}, Event("P1", "lab", "4711", 1, "input", 1795766400000000, "basal", 0.0, "mmol/L")),
        (WITHDRAWAL, Event("P1", "lab", "4711", 2, "withdrawal", 1795766400000000)),
        (OFFSET, Event("P1", "lab", "4711", 1, "offset", 1795766400000000, value=-1.5, unit="min")),
        (
            GOOD | {"arrived": "2026-11-27T10:30:00.25+02:00"},
            Event(
                "P1", "lab", "4711", 1, "measurement", 1795766400000000, "glucose", 5.4, "mmol/L", 0, 1795768200250000
            ),
        ),
    ],
)
def test_a_line_of_each_kind(data: dict[str, Any], event: Event) -> None:
    line = json.dumps(data)
    for given_as in (line, line.encode(), line + "\r\n", f"  {line}\n".encode(), data, json.dumps(data, indent=1)):
        assert read_event(given_as) == event
    VALIDATOR.validate(data)
    assert math.copysign(1.0, event.value or 0.0) == 1.0 or event.value != 0.0


@given(any_event())
def test_what_is_written_is_read_as_it_was(event: Event) -> None:
    line = as_line(event)
    assert read_event(line) == event
    assert read_event(line.encode()) == event
    assert as_line(read_event(line)) == line
    assert len(line.splitlines()) == 1
    VALIDATOR.validate(json.loads(line))


LONG = "x" * 201
# what is written, and words of the sentence that says why it is not read; False: the schema cannot know
BAD: list[tuple[str | bytes, str]] = [
    ("", "the line is empty"),
    (" \r\n", "the line is empty"),
    ("{", "not JSON at character"),
    ("nonsense", "not JSON at character 1"),
    (json.dumps(GOOD)[:-3], "not JSON"),
    (json.dumps(GOOD) + json.dumps(GOOD), "not JSON"),
    (json.dumps(GOOD).replace('"', "'"), "not JSON"),
    ("[1, 2]", r"no object: \[1, 2\]"),
    ("null", "no object: null"),
    ('"text"', "no object"),
    ("5", "no object"),
    ("\ufeff" + json.dumps(GOOD), "byte order mark"),
    (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "byte order mark"),
    (json.dumps(GOOD).encode("utf-16"), "byte 1 of the line is not UTF-8"),
    (b'{"patient": "\xff"}', "byte 14 of the line is not UTF-8"),
    (b'{"patient": "\xed\xa0\x80"}', "not UTF-8"),  # a surrogate in bytes
    ("[" * 10_000, "nested too deeply"),
    ('{"a":' * 2_500 + "1" + "}" * 2_500, "nested too deeply|the field .a. is unknown"),
    ("[" * 40_000 + "]" * 40_000, "the line has 80000 characters"),
    (json.dumps(GOOD | {"unit": "x" * LONGEST_LINE}), "the line has"),
    ('{"patient": "a", "patient": "b"}', "'patient' is given twice"),
    (json.dumps(GOOD)[:-1] + ', "value": 5.4}', "'value' is given twice"),
    (json.dumps(GOOD | {"value": math.nan}), "NaN is no number of JSON"),
    (json.dumps(GOOD | {"value": math.inf}), "Infinity is no number"),
    (json.dumps(GOOD | {"value": -math.inf}), "-Infinity is no number"),
    (json.dumps(GOOD).replace("5.4", "1e999"), '"value" is not finite'),
    (json.dumps(GOOD).replace("5.4", "9" * 400), '"value" is not finite'),
    (json.dumps(GOOD).replace("5.4", "9" * 5_000), "a number has 5000 digits"),
    (json.dumps(GOOD).replace("5.4", "05.4"), "not JSON"),
    (json.dumps(GOOD).replace("5.4", "5,4"), "not JSON"),
]


@pytest.mark.parametrize(("line", "words"), BAD)
def test_a_line_that_is_no_object(line: str | bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        read_event(line)
    assert_one_sentence(str(raised.value))


FIELDS: list[tuple[dict[str, Any], str, bool]] = [
    *((without(GOOD, field), f'"{field}" is missing; write "{field}": ', True) for field in GOOD if field != "version"),
    *((without(DOSE, field), f'"{field}" is missing', True) for field in ("compartment", "value", "unit")),
    (without(INPUT, "input"), '"input" is missing', True),
    *((without(OFFSET, field), f'"{field}" is missing', True) for field in ("value", "unit")),
    ({}, '"patient" is missing', True),
    (GOOD | {"chanel": "g"}, "'chanel' is unknown; write \"channel\"", True),
    (GOOD | {"comment": "g"}, "'comment' is unknown; leave it out", True),
    (GOOD | {"": 1}, "'' is unknown", True),
    (GOOD | {"name": "glucose"}, "'name' is unknown", True),
    (GOOD | {"compartment": "gut"}, '"compartment" is given, and an event of kind measurement has none', True),
    (GOOD | {"duration": "PT1H"}, '"duration" is given, and an event of kind measurement has none', True),
    (WITHDRAWAL | {"value": 1}, '"value" is given, and an event of kind withdrawal has none', True),
    (OFFSET | {"channel": "g"}, '"channel" is given, and an event of kind offset has none', True),
    (GOOD | {"kind": "Measurement"}, '"kind" is .Measurement.; write one of measurement, dose', True),
    (GOOD | {"kind": None}, '"kind" is null', True),
    (GOOD | {"kind": ["dose"]}, '"kind" is', True),
    (GOOD | {"version": 0}, '"version" is 0; write a whole number from 1', True),
    (GOOD | {"version": -1}, '"version" is -1', True),
    (GOOD | {"version": 2**63}, '"version" is 9223372036854775808', True),
    (GOOD | {"version": 10**30}, '"version" is 1000', True),
    (GOOD | {"version": 1.5}, '"version" must be a whole number, and is 1.5', True),
    (GOOD | {"version": True}, '"version" must be a whole number, and is true', True),
    (GOOD | {"version": "1"}, "\"version\" must be a whole number, and is '1'", True),
    (GOOD | {"version": None}, '"version" must be a whole number, and is null', True),
    (GOOD | {"version": 1e300}, '"version" must be a whole number', True),
    (
        GOOD | {"version": 2.0**60},
        '"version" must be a whole number',
        False,
    ),  # a whole number to a schema, and who knows which
    (WITHDRAWAL | {"version": 1}, '"version" of a withdrawal is 1; write a version above', True),
    (without(WITHDRAWAL, "version"), '"version" of a withdrawal is 1', True),
    (GOOD | {"value": "5.4"}, "\"value\" must be a number, and is '5.4'; .* without quotes", True),
    (GOOD | {"value": True}, '"value" must be a number, and is true', True),
    (GOOD | {"value": None}, '"value" must be a number, and is null', True),
    (GOOD | {"value": [5.4]}, '"value" must be a number', True),
    (GOOD | {"value": {"mean": 5.4}}, '"value" must be a number', True),
    *((GOOD | {field: ""}, f'"{field}" is empty', True) for field in ("patient", "source", "id", "channel", "unit")),
    *(
        (GOOD | {field: 7}, f'"{field}" must be a text, and is 7', True)
        for field in ("patient", "source", "id", "channel", "unit")
    ),
    *(
        (GOOD | {field: None}, f'"{field}" must be a text, and is null', True)
        for field in ("patient", "source", "id", "channel")
    ),
    *(
        (GOOD | {field: LONG}, f'"{field}" has 201 characters', True)
        for field in ("patient", "source", "id", "channel", "unit")
    ),
    (GOOD | {"patient": "a\x00b"}, r'"patient" holds the character U\+0000', True),
    (GOOD | {"patient": "a\nb"}, r"U\+000A", True),
    (GOOD | {"patient": "a\n"}, r"U\+000A", True),
    (GOOD | {"id": "\x1b[2J"}, r"U\+001B", True),
    (GOOD | {"id": "a\x7f"}, r"U\+007F", True),
    (GOOD | {"id": "a\u2028b"}, r"U\+2028", True),
    (GOOD | {"id": "a\u200bb"}, r"U\+200B", True),
    (GOOD | {"id": "a\u202eb"}, r"U\+202E", True),
    (GOOD | {"id": "\ufeffa"}, r"U\+FEFF", True),
    (GOOD | {"source": "\ud800"}, r'"source" holds the character U\+D800', True),
    (GOOD | {"source": "a\udfffb"}, r"U\+DFFF", True),
    (GOOD | {"source": " lab"}, '"source" is . lab., with a space at its end', True),
    (GOOD | {"source": "lab\u00a0"}, "with a space at its end", True),
    (GOOD | {"time": "2026-11-27T08:00:00"}, "without a zone", True),
    (GOOD | {"time": "2026-11-27"}, "no time of RFC 3339", True),
    (GOOD | {"time": "08:00:00Z"}, "no time of RFC 3339", True),
    (GOOD | {"time": "yesterday"}, "no time of RFC 3339", True),
    (GOOD | {"time": ""}, "no time of RFC 3339", True),
    (GOOD | {"time": "2026-11-27T08:00:00Z\n"}, "no time of RFC 3339", True),
    (GOOD | {"time": "2026-11-27T08:00Z"}, "no time of RFC 3339", True),
    (GOOD | {"time": "2026-11-27T08:00:00.Z"}, "no time of RFC 3339", True),
    (GOOD | {"time": "2026-11-27T08:00:00,5Z"}, "no time of RFC 3339", True),
    (GOOD | {"time": "٢٠٢٦-11-27T08:00:00Z"}, "no time of RFC 3339", True),  # digits of another script
    (GOOD | {"time": "20261127T080000Z"}, "no time of RFC 3339", True),
    (GOOD | {"time": "2026-W48-5T08:00:00Z"}, "no time of RFC 3339", True),
    (GOOD | {"time": 1795766400}, '"time" must be a text, and is 1795766400', True),
    (GOOD | {"time": None}, '"time" must be a text, and is null', True),
    (GOOD | {"time": True}, '"time" must be a text, and is true', True),
    (GOOD | {"time": "2026-11-27T08:00:00.123456789Z"}, "finer than a microsecond", True),
    (GOOD | {"time": "2026-11-27T08:00:00.0000001Z"}, "finer than a microsecond", True),
    (GOOD | {"time": "2016-12-31T23:59:60Z"}, "a leap second", True),
    (GOOD | {"time": "2026-11-27T24:00:00Z"}, "no such hour", True),
    (GOOD | {"time": "2026-11-27T08:60:00Z"}, "no such hour", True),
    (GOOD | {"time": "2026-11-27T08:00:61Z"}, "no such hour", True),
    (GOOD | {"time": "2026-11-27T08:00:00+24:00"}, r"no zone \+24:00", True),
    (GOOD | {"time": "2026-11-27T08:00:00+01:60"}, r"no zone \+01:60", True),
    (GOOD | {"time": "2026-11-27T08:00:00+0100"}, "no time of RFC 3339", True),
    (GOOD | {"time": "2026-13-27T08:00:00Z"}, "no such day", True),
    (GOOD | {"time": "2026-00-27T08:00:00Z"}, "no such day", True),
    (GOOD | {"time": "2026-02-29T08:00:00Z"}, "no such day", False),
    (GOOD | {"time": "2026-11-31T08:00:00Z"}, "no such day", False),
    (GOOD | {"time": "0000-11-27T08:00:00Z"}, "no such day", True),
    (GOOD | {"time": "0001-01-01T00:00:00Z"}, "not from 1900 to 2199", True),
    (GOOD | {"time": "0001-01-01T00:00:00+23:59"}, "not from 1900 to 2199", True),
    (GOOD | {"time": "9999-12-31T23:59:59.999999Z"}, "not from 1900 to 2199", True),
    (GOOD | {"time": "9999-12-31T23:59:59-23:59"}, "not from 1900 to 2199", True),
    (GOOD | {"time": "1899-12-31T23:59:59.999999Z"}, "not from 1900 to 2199", False),
    (GOOD | {"time": "2200-01-01T00:00:00Z"}, "not from 1900 to 2199", False),
    (GOOD | {"arrived": "now"}, '"arrived" is .now., which is no time', True),
    (GOOD | {"arrived": None}, '"arrived" must be a text, and is null', True),
    (GOOD | {"arrived": "0001-01-01T00:00:00Z"}, '"arrived" is not from 1900', True),
    *(
        (DOSE | {"duration": bad}, '"duration" is .*, which is no duration of ISO 8601', True)
        for bad in (
            "",
            "P",
            "PT",
            "PT1",
            "30",
            30,
            0.5,
            None,
            True,
            "pt30m",
            "P1W",
            "P1M",
            "P1Y",
            "PT30M\n",
            "-PT30M",
            "PT-5M",
            "P1DT",
        )
    ),
    (DOSE | {"duration": "PT1.5H"}, "no duration of ISO 8601", True),
    (DOSE | {"duration": "PT0.1234567S"}, "finer than a microsecond", True),
    (DOSE | {"duration": "P36526D"}, '"duration" is 3155846400000000', False),
    (OFFSET | {"unit": "mg"}, "\"unit\" of an offset is 'mg'; write one of us, ms, s, min, h, d", True),
    (OFFSET | {"unit": "minutes"}, "\"unit\" of an offset is 'minutes'", True),
    (OFFSET | {"value": 1e300}, '"value" of an offset is 1e\\+300 min; write a hundred years at most', False),
    (OFFSET | {"value": -36526, "unit": "d"}, "a hundred years at most", False),
]


@pytest.mark.parametrize(("data", "words", "of_schema"), FIELDS)
def test_a_field_that_cannot_be_used(data: dict[str, Any], words: str, of_schema: bool) -> None:
    for given_as in (json.dumps(data), data):
        with pytest.raises(ValueError, match=words) as raised:
            read_event(given_as)  # type: ignore[arg-type]
        assert_one_sentence(str(raised.value))
    assert VALIDATOR.is_valid(data) is not of_schema


def assert_one_sentence(text: str) -> None:
    """On one line, not longer than a person reads, with what to write after a semicolon, and nothing that a terminal obeys."""
    assert text.isprintable()
    assert "; " in text
    assert len(text) < 330


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["$defs"]) >= set(module.KINDS)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.text()
    | st.sampled_from(("2026-11-27T08:00:00Z", "PT5M", "s")),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=400)
@given(st.sampled_from((GOOD, DOSE, INPUT, WITHDRAWAL, OFFSET)), st.data())
def test_whatever_a_field_holds_is_read_or_said(data: dict[str, Any], drawn: st.DataObject) -> None:
    """An event or one sentence; and what the schema refuses is not read."""
    field = drawn.draw(st.sampled_from(sorted({*GOOD, "compartment", "input", "arrived", "duration", "other"})))
    changed = data | {field: drawn.draw(json_values)}
    try:
        event = read_event(json.dumps(changed))
    except ValueError as error:
        assert_one_sentence(str(error))
    else:
        assert VALIDATOR.is_valid(changed)
        assert read_event(as_line(event)) == event


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.text(max_size=60), st.integers(0, 200), st.integers(0, 30))
def test_whatever_a_line_holds_is_read_or_said(noise: bytes | str, at: int, taken: int) -> None:
    line = json.dumps(DOSE)
    part = noise if isinstance(noise, bytes) else noise.encode("utf-8", "surrogatepass")
    for broken in (noise, line.encode()[:at] + part + line.encode()[at + taken :]):
        try:
            event = read_event(broken)
        except ValueError as error:
            assert_one_sentence(str(error))
        else:
            assert read_event(as_line(event)) == event


@pytest.mark.parametrize("line", [None, 5, ["a"], 5.0, object(), bytearray(b"{}")])
def test_what_is_no_line(line: Any) -> None:
    with pytest.raises(ValueError, match="an event is a line of text"):
        read_event(line)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"time": 1.5e15}, '"time" must be whole microseconds since 1970, and is 1500000000000000.0; write read_time'),
        ({"time": datetime(2026, 11, 27, tzinfo=UTC)}, '"time" must be whole microseconds'),
        ({"time": True}, '"time" must be whole microseconds since 1970, and is true'),
        ({"time": 2**63}, '"time" is not from 1900'),
        ({"arrived": 1.0}, '"arrived" must be whole microseconds'),
        ({"kind": "bolus"}, '"kind" is'),
        ({"value": None}, '"value" must be a number'),
        ({"value": "5"}, '"value" must be a number'),
        ({"unit": ""}, '"unit" is empty'),
        ({"name": ""}, '"channel" is empty'),
        ({"duration": 5}, '"duration" is given, and an event of kind measurement has none'),
        ({"duration": -5, "kind": "dose"}, '"duration" is -5'),
        ({"duration": 1.5, "kind": "dose"}, '"duration" must be a whole number'),
        ({"duration": LONGEST + 1, "kind": "dose"}, '"duration" is'),
        ({"kind": "withdrawal", "version": 2}, '"name" is .glucose., and an event of kind withdrawal has none'),
        (
            {"kind": "withdrawal", "version": 2, "name": ""},
            '"value" is given, and an event of kind withdrawal has none',
        ),
        ({"kind": "withdrawal", "version": 2, "name": "", "value": None}, '"unit" is given'),
    ],
)
def test_an_event_made_by_hand_is_checked_as_one_that_is_read(changed: dict[str, Any], words: str) -> None:
    fields = {
        "patient": "P",
        "source": "lab",
        "id": "1",
        "version": 1,
        "kind": "measurement",
        "time": 0,
        "name": "glucose",
        "value": 5.4,
    }
    with pytest.raises(ValueError, match=words):
        Event(**(fields | {"unit": "mmol/L"} | changed))


@given(stamps)
def test_times_are_whole_microseconds(time: int) -> None:
    """Against datetime, whose arithmetic is of whole microseconds too."""
    text = time_text(time)
    assert read_time(text) == time
    moment = datetime.fromisoformat(text)
    assert (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) == time


@given(stamps.filter(lambda t: EARLIEST + DAY < t < LATEST - DAY), st.integers(-1439, 1439))
def test_zones_are_taken_off(time: int, minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)
    assert read_time(moment.astimezone(zone).isoformat()) == time


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-11-27t08:00:00z", "2026-11-27T08:00:00Z"),
        ("2026-11-27 08:00:00-00:00", "2026-11-27T08:00:00Z"),
        ("2026-11-27T08:00:00.1Z", "2026-11-27T08:00:00.100000Z"),
        ("2026-11-27T08:00:00.123456000Z", "2026-11-27T08:00:00.123456Z"),
        ("2026-11-27T00:30:00+01:00", "2026-11-26T23:30:00Z"),
        ("1900-01-01T00:30:00+00:30", "1900-01-01T00:00:00Z"),
        ("1899-12-31T23:30:00-00:30", "1900-01-01T00:00:00Z"),
        ("2024-02-29T23:59:59.999999Z", "2024-02-29T23:59:59.999999Z"),
    ],
)
def test_the_same_moment_in_other_words(text: str, same: str) -> None:
    assert time_text(read_time(text)) == same
    VALIDATOR.validate(GOOD | {"time": text})


@given(st.integers(0, LONGEST))
def test_durations(duration: int) -> None:
    assert read_duration(duration_text(duration)) == duration
    if duration:
        VALIDATOR.validate(DOSE | {"duration": duration_text(duration)})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("P1D", 86400), ("P1DT1S", 86401), ("PT36H", 129600), ("PT90M", 5400), ("PT0S", 0), ("PT1H1S", 3601)],
)
def test_durations_as_others_write_them(text: str, seconds: int) -> None:
    assert read_duration(text) == seconds * 1_000_000
    VALIDATOR.validate(DOSE | {"duration": text})


@pytest.mark.parametrize(
    ("value", "unit", "added"),
    [
        *(
            (1.0, "us", 1),
            (0.5, "us", 0),
            (1.5, "us", 2),
            (-2.5, "ms", -2500),
            (0.1, "s", 100_000),
            (0.1, "h", 360_000_000),
        ),
        *((1 / 3, "min", 20_000_000), (-1.0, "d", -DAY), (20683.0, "d", 20683 * DAY)),
    ],
)
def test_what_an_offset_adds(value: float, unit: str, added: int) -> None:
    assert offset(Event("P", "lab", "1", 1, "offset", 0, value=value, unit=unit)) == added
