"""The loop: lines become events, events arrive in rounds, and what came of each is said in the order of the lines."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from homeostat.follow.lines import LONGEST, Line
from homeostat.follow.rejects import Rejects
from homeostat.follow.rounds import rounds
from homeostat.follow.shown import Shown
from twin import Change, Twin
from twin.log import Event, read_event


@dataclass
class Followed:
    """What came of a stream: lines that were read, changes, events that were known before, and lines that were rejected."""

    lines: int = 0
    changes: int = 0
    known: int = 0
    rejected: int = 0

    def __str__(self) -> str:
        counts = (
            (self.lines, "lines"),
            (self.changes, "changes"),
            (self.known, "known before"),
            (self.rejected, "rejected"),
        )
        return ", ".join(f"{count:,} {word}" for count, word in counts)


def follow_lines(
    windows: Iterable[Sequence[Line]],
    twin: Twin,
    shown: Shown,
    *,
    rejects: Rejects | None = None,
    undisturbed: Callable[[], AbstractContextManager[None]],
) -> Followed:
    """Follow a stream to its end.

    Arguments: `windows`, the lines that are waiting, again and again; `shown`, where what came of them goes; `rejects`, the file
    of dead letters; `undisturbed`, a context in which Ctrl-C waits. What was taken is said, whatever ends the command between
    two rounds: then lines before it that were not taken have no answer.
    Law: what is said of every line does not depend on how many were waiting together.
    """
    found = Followed()
    for window in windows:
        _Window(window, twin, shown, rejects, found).follow(undisturbed)
    return found


class _Window:
    """Lines that were waiting together: what came of each, and up to which of them that has been said."""

    def __init__(
        self, lines: Sequence[Line], twin: Twin, shown: Shown, rejects: Rejects | None, found: Followed
    ) -> None:
        self._lines, self._twin, self._shown, self._rejects, self._found = lines, twin, shown, rejects, found
        self._came: list[Change | str | None] = [None] * len(lines)
        self._said = 0

    def follow(self, undisturbed: Callable[[], AbstractContextManager[None]]) -> None:
        events: list[Event] = []
        places: list[int] = []
        for place, line in enumerate(self._lines):
            try:
                events.append(_event(line))
                places.append(place)
            except ValueError as error:
                self._came[place] = str(error)
        try:
            for turn in rounds([event.patient for event in events]):
                with undisturbed():
                    for k, change in zip(turn, self._twin.arrive([events[k] for k in turn]), strict=True):
                        self._came[places[k]] = change
                    self._say()
        except BaseException:
            # what is in the log is known when the stream comes again, and would never be said
            with suppress(Exception), undisturbed():
                for line, came in zip(self._lines[self._said :], self._came[self._said :], strict=True):
                    if isinstance(came, Change):
                        self._tell(line, came)
            raise
        self._say()

    def _say(self) -> None:
        """Say what came of the lines, in their order, up to the first that waits for its round."""
        while self._said < len(self._lines):
            line, came = self._lines[self._said], self._came[self._said]
            if came is None:
                return
            self._said += 1
            self._tell(line, came)

    def _tell(self, line: Line, came: Change | str) -> None:
        self._found.lines += 1
        reason = came if isinstance(came, str) else came.reason if came.verdict == "refused" else None
        if reason is not None:
            reason = _at_shell(reason)
            self._found.rejected += 1
            if self._rejects is not None:
                self._rejects.add(line, reason)
            self._shown.reject(line, reason)
        elif isinstance(came, Change) and came.verdict == "new":
            self._found.changes += 1
            self._shown.change(line, came)
        else:
            self._found.known += 1


def _at_shell(reason: str) -> str:
    """The twin's own sentences, with what helps at the shell."""
    problem, python, _ = reason.partition("; say them: Twin(")
    return f"{problem}; say them with --people" if python else reason


def _event(line: Line) -> Event:
    if line.cut:
        raise ValueError(f"this line is longer than {LONGEST:,} bytes, which no event is; write one event a line")
    return read_event(line.content)
