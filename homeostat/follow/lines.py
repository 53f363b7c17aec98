"""The lines of a stream, as they come: what is waiting is taken together, and a slow producer is answered at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

LONGEST = 65_536  # bytes of a line; an event has some hundred
_AT_ONCE = 1 << 20  # bytes that are taken together
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Line:
    """A line, counted from 1. `cut`: it is longer than `LONGEST`, and `content` is its beginning."""

    number: int
    content: bytes
    cut: bool = False

    @property
    def text(self) -> str:
        """The line as text, with what is no UTF-8 as \\xNN."""
        return self.content.decode("utf-8", "backslashreplace")


def waiting_lines(stream: BinaryIO) -> Iterator[list[Line]]:
    """The lines that are waiting, and then those that are waiting next, until the stream ends; empty lines are left out.

    Reading waits where nothing is there, and for nothing else: a line is given as soon as its end has come. The last one needs
    none. Of a line without an end no more is kept than `LONGEST`, so that a binary file fills no memory.
    """
    number, begun, dropping = 1, b"", False
    # one read of the system: what is there, not what would fill a buffer
    while data := stream.read1(_AT_ONCE) if hasattr(stream, "read1") else stream.read(_AT_ONCE):
        found = []
        *whole, rest = data.split(b"\n")
        for part in whole:
            content, begun = begun + part, b""
            found.append(Line(number, content[:LONGEST], dropping or len(content) > LONGEST))
            number, dropping = number + 1, False
        if not dropping:
            begun += rest
            dropping = len(begun) > LONGEST
            begun = begun[:LONGEST]
        yield _telling(found)
    yield _telling([Line(number, begun, dropping)])


def _telling(lines: list[Line]) -> list[Line]:
    """Without empty lines, and without the mark that some programs put before the first."""
    found = [Line(1, line.content.removeprefix(_BOM), line.cut) if line.number == 1 else line for line in lines]
    return [line for line in found if line.content.strip()]
