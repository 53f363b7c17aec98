"""The lines of a stream, in which order they are followed, and how numbers and times are shown."""

import io
import math
import os
import threading
import time
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.follow.lines import LONGEST, Line, waiting_lines
from homeostat.follow.numbers import day, decimals_for, number, stretch, trace, when
from homeostat.follow.rounds import rounds


class Trickle(io.RawIOBase):
    """A pipe: it gives what has come, as much as each piece holds."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def read1(self, _: int) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


def read(*pieces: bytes) -> list[Line]:
    return [line for window in waiting_lines(Trickle([p for p in pieces if p])) for line in window]  # type: ignore[arg-type]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_where_a_pipe_is_cut_changes_no_line(data: bytes, cuts: list[int]) -> None:
    """As `splitlines` of bytes at newlines alone, empty ones left out but counted."""
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    expected = [(k, part) for k, part in enumerate(data.split(b"\n"), 1) if part.strip()]
    expected = [(k, part.removeprefix(b"\xef\xbb\xbf") if k == 1 else part) for k, part in expected]
    expected = [(k, part) for k, part in expected if part.strip()]
    assert [(line.number, line.content) for line in read(*(data[a:b] for a, b in pairwise(ends)))] == expected


def test_the_last_line_needs_no_end_and_the_first_may_bear_a_mark() -> None:
    assert [(line.number, line.content) for line in read(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"b', b'": 2}')] == [
        (1, b'{"a": 1}\r'),
        (3, b'{"b": 2}'),
    ]
    assert read() == []


def test_a_line_without_end_fills_no_memory() -> None:
    """A binary file has none for gigabytes; the line behind it is a line again."""
    block = b"\0" * (1 << 20)
    lines = read(*[block] * 40, b"\n{}\n", b"x" * LONGEST, b"\n", b"y" * (LONGEST + 1))
    assert [(line.number, len(line.content), line.cut) for line in lines] == [
        (1, LONGEST, True),
        (2, 2, False),
        (3, LONGEST, False),
        (4, LONGEST, True),
    ]
    assert Line(1, b"a\xff\xc3\xa4").text == "a\\xffä"


def test_a_slow_producer_is_answered_at_once_and_what_waits_is_taken_together() -> None:
    out, into = os.pipe()
    with os.fdopen(out, "rb") as stream:
        windows = waiting_lines(stream)
        os.write(into, b"1\n2\n3")
        assert [line.content for line in next(windows)] == [b"1", b"2"]
        os.write(into, b"4\n")
        assert [line.content for line in next(windows)] == [b"34"]
        threading.Thread(target=lambda: (time.sleep(0.05), os.write(into, b"5\n"))).start()
        assert [line.content for line in next(windows)] == [b"5"]
        os.close(into)
        assert [line for window in windows for line in window] == []


@given(st.lists(st.sampled_from("abcd"), max_size=30))
def test_rounds_have_nobody_twice_and_keep_everybody_s_order(people: list[str]) -> None:
    found = rounds(people)
    assert sorted(place for turn in found for place in turn) == list(range(len(people)))
    for turn in found:
        assert len({people[place] for place in turn}) == len(turn)
        assert turn == sorted(turn)
    for person in set(people):
        own = [place for turn in found for place in turn if people[place] == person]
        assert own == sorted(own)
    assert len(found) == max((people.count(person) for person in people), default=0)


@pytest.mark.parametrize(
    ("width", "value", "shown"),
    [(2.22, 5.2141, "5.2"), (0.04, 5.2141, "5.214"), (31.0, 112.3, "112"), (0.0, 1.0, "1.000"), (3e-7, 1e-6, "1.00e-06"),
     (5.0, -0.004, "0.0"), (1e9, 3.2e11, "3.20e+11"), (math.nan, 2.0, "2.000"), (1.0, math.nan, "–"), (1.0, math.inf, "–")],
)  # fmt: skip
def test_a_number_is_shown_to_what_its_band_tells(width: float, value: float, shown: str) -> None:
    assert number(value, decimals_for(width)) == shown


def test_times_and_stretches() -> None:
    noon = round(datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC).timestamp()) * 10**6
    assert when(noon) == "01 Mar 2026 12:00:05"
    assert when(noon, noon - 3_600_000_000) == "12:00:05"
    assert when(noon, noon + 86_400_000_000) == "01 Mar 12:00:05"
    assert when(noon, noon + 366 * 86_400_000_000) == "01 Mar 2026 12:00:05"
    assert day(noon) == "01 Mar 2026"
    assert when(-1) == "31 Dec 1969 23:59:59"
    for micros, text in (
        (0, "under 1 s"), (999_999, "under 1 s"), (12_000_000, "12 s"), (62_000_000, "1 min"), (3_600_000_000, "1 h"),
        (10_920_000_000, "3 h 2 min"), (86_400_000_000 + 5_000_000, "1 d"), (-90_000_000, "−1 min"), (90_061_000_000, "1 d 1 h"),
    ):  # fmt: skip
        assert stretch(micros) == text


def test_bars_beside_a_channel() -> None:
    assert trace([0.0, 1.0, 2.0, 7.0, 8.0]) == "▁▂▃██"
    assert trace([3.0, 3.0]) == "▅▅"
    assert trace([1.0, math.nan, 2.0]) == "▁ █"
    assert trace([]) == trace([math.nan]) == ""
