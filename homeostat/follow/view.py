"""The view that stays on the screen: the first people, each with their channels and bands, and how late what is known was."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from homeostat.follow.lines import Line
from homeostat.follow.numbers import decimals_for, number, stretch, trace, when
from homeostat.follow.shown import Shown
from homeostat.plain_text import shown
from physics.arguments import shortened
from twin import Change, Estimate

PEOPLE = 12  # the first of them are shown, the rest are counted
_PAST = 24  # how many estimates the bars beside a channel show
_HEAD = 3  # lines above the people
_LONGEST_NAME = 16


@dataclass
class _Person:
    """The last that was said of somebody, and what the means were until then."""

    estimate: Estimate
    arrived: int
    past: dict[str, deque[float]] = field(default_factory=dict)


class LiveView(Shown):
    """The people of a stream on the terminal, redrawn four times a second while lines come."""

    def __init__(self, title: str, console: Console, warn: bool) -> None:
        """`title`, what is followed; `warn`: a rejected line is said above the view, and not only counted."""
        self._title, self._console, self._warn = title, console, warn
        self._people: dict[str, _Person] = {}
        self._changes = self._rejects = 0
        self._live = Live(self, console=console, refresh_per_second=4, vertical_overflow="crop")

    def change(self, line: Line, change: Change) -> None:
        """Keep it for the next drawing."""
        self._changes += 1
        if change.estimate is not None:
            self.know(change.estimate, change.received)

    def know(self, estimate: Estimate, arrived: int) -> None:
        """What is known of somebody, who has a place from now on."""
        who = self._people.setdefault(estimate.patient, _Person(estimate, arrived))
        who.estimate, who.arrived = estimate, arrived
        for name, band in estimate.channels.items():
            who.past.setdefault(name, deque(maxlen=_PAST)).append(band.mean)

    def reject(self, line: Line, reason: str) -> None:
        """Count it, and say it where nobody else keeps it."""
        self._rejects += 1
        if self._warn:
            self._console.print(Text(shown(f"line {line.number}: {reason}"), style="yellow"))

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        everybody = list(self._people.values())  # a copy: another thread draws
        room = max((options.height or console.height) - _HEAD - 1, 2)
        drawn: list[Text] = []
        count = 0
        for who in everybody[:PEOPLE]:
            block = list(_block(who, options.max_width))
            if count and len(drawn) + len(block) > room:
                break
            drawn += block
            count += 1
        yield from self._head(len(everybody), count)
        yield from drawn

    def _head(self, people: int, count: int) -> Iterator[Text]:
        said = [f"{self._changes:,} changes", f"{self._rejects:,} rejected"]
        said.append(f"{people:,} people" + (f", the first {count} shown" if count < people else ""))
        yield _line(Text(shown(self._title), style="bold"))
        yield _line(Text(" · ".join(said)))
        yield Text("")


def _block(who: _Person, width: int) -> Iterator[Text]:
    """A person: a line with the times and the NIS, and one for each channel."""
    estimate = who.estimate
    head = Text(shown(shortened(estimate.patient, 40), lines=False), style="bold")
    if estimate.held is not None:
        yield _line(head.append(f"  held: {shown(estimate.held, lines=False)}", style="red"))
    yield _line(head)


def _line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
