"""Where estimates go: an interface, and JSON lines."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType

from homeostat.follow.lines import Line
from homeostat.follow.said import as_json_line
from twin import Change


class Shown(ABC):
    """What is shown of a stream while it is followed; entered before the first line and left after the last."""

    @abstractmethod
    def change(self, line: Line, change: Change) -> None:
        """An event changed what is known of a person."""

    @abstractmethod
    def reject(self, line: Line, reason: str) -> None:
        """A line was not followed."""

    def __enter__(self) -> "Shown":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        """Nothing is left open."""


class JsonLines(Shown):
    """One JSON object a line for every change.

    `say` prints a line and has it out when it returns; `warn` says a sentence elsewhere, None where somebody else keeps the
    dead letters.
    """

    def __init__(self, say: Callable[[str], None], warn: Callable[[str], None] | None) -> None:
        self._say, self._warn = say, warn

    def change(self, line: Line, change: Change) -> None:
        """A line on standard output."""
        self._say(as_json_line(line.number, change))

    def reject(self, line: Line, reason: str) -> None:
        """A sentence with the line's number."""
        if self._warn is not None:
            self._warn(f"line {line.number}: {reason}")
