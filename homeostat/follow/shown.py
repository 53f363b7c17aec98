"""Where estimates go: an interface, and JSON lines."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from homeostat.follow.lines import Line
from homeostat.follow.said import change_in_json, kind_of_shift, present_in_json
from twin import Change, Estimate


class Shown(ABC):
    """What is shown of a stream while it is followed."""

    @abstractmethod
    def begin(self, people: Sequence[str], estimate: Callable[[str], Estimate]) -> None:
        """Who is known before the first line, and how it is asked what is believed of them."""

    @abstractmethod
    def change(self, line: Line, change: Change) -> None:
        """An event changed what is known of a person."""

    @abstractmethod
    def reject(self, line: Line, reason: str) -> None:
        """A line was not followed."""

    @abstractmethod
    def end(self) -> None:
        """No more lines come."""


class JsonLines(Shown):
    """One JSON object a line for every change.

    `say` prints a line and has it out when it returns; `warn` says a sentence elsewhere, None where somebody else keeps the
    dead letters.
    """

    def __init__(self, say: Callable[[str], None], warn: Callable[[str], None] | None, present: bool) -> None:
        """`present`: what is known before the first line is said too."""
        self._say, self._warn, self._present = say, warn, present
        self._met: set[str] = set()
        self._shift: dict[str, tuple[object, ...]] = {}

    def begin(self, people: Sequence[str], estimate: Callable[[str], Estimate]) -> None:
        """A line of everybody, where that was asked for."""
        for patient in people if self._present else ():
            self._met.add(patient)
            found = estimate(patient)
            self._shift[patient] = kind_of_shift(found)
            self._say(present_in_json(found))

    def change(self, line: Line, change: Change) -> None:
        """A line on standard output."""
        patient = change.event.patient
        first, before = patient not in self._met, self._shift.get(patient)
        self._met.add(patient)
        if change.estimate is not None:
            self._shift[patient] = kind_of_shift(change.estimate)
        self._say(change_in_json(line.number, change, first=first, shifted=self._shift.get(patient) != before))

    def reject(self, line: Line, reason: str) -> None:
        """A sentence with the line's number."""
        if self._warn is not None:
            self._warn(f"line {line.number}: {reason}")

    def end(self) -> None:
        """Nothing is left to print."""
