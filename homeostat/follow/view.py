"""The view that stays on the screen: the first people, each with their channels and bands, and how late what is known was."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

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


@dataclass
class _Person:
    """The last that was said of somebody, when what came last was true, and what the means were until then."""

    estimate: Estimate
    came: int | None = None
    past: dict[str, deque[float]] = field(default_factory=dict)


class LiveView(Shown):
    """The people of a stream on the terminal, redrawn four times a second while lines come.

    Of each: the consistency of their last measurement (NIS, beside the central 95 % of what a model that is right shows), when
    their newest event was true, when the last one came and how much later that was; and of each channel its mean, its band, and
    the means before it as bars, the last one to the right.
    """

    def __init__(self, title: str, console: Console, warn: bool) -> None:
        """`title`, what is followed; `warn`: a rejected line is said above the view, and not only counted."""
        self._title, self._console, self._warn = title, console, warn
        self._people: dict[str, _Person] = {}
        self._met: set[str] = set()
        self._changes = self._rejects = 0
        self._live = Live(self, console=console, refresh_per_second=4, vertical_overflow="crop")

    def begin(self, people: Sequence[str], estimate: Callable[[str], Estimate]) -> None:
        """Those who have a place in the view are shown as the log has them; the others are counted."""
        for patient in people[:PEOPLE]:
            self._people[patient] = _Person(estimate(patient))
        self._met.update(people)
        self._live.start()

    def change(self, line: Line, change: Change) -> None:
        """Keep it for the next drawing."""
        self._changes += 1
        patient, estimate = change.event.patient, change.estimate
        self._met.add(patient)
        if estimate is None or (patient not in self._people and len(self._people) >= PEOPLE):
            return
        who = self._people.setdefault(patient, _Person(estimate))
        who.estimate = estimate
        who.came = change.effective
        for name, band in estimate.channels.items():
            who.past.setdefault(name, deque(maxlen=_PAST)).append(band.mean)

    def reject(self, line: Line, reason: str) -> None:
        """Count it, and say it where nobody else keeps it."""
        self._rejects += 1
        if self._warn:
            self._console.print(Text(shown(f"line {line.number}: {reason}"), style="yellow"))

    def end(self) -> None:
        """What is on the screen stays there."""
        self._live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        everybody = list(self._people.values())  # a copy: another thread draws
        room = max((options.height or console.height) - _HEAD - 1, 2)
        drawn: list[Text] = []
        count = 0
        for who in everybody:
            block = list(_block(who))
            if count and len(drawn) + len(block) > room:
                break
            drawn += block
            count += 1
        yield from self._head(len(self._met), count)
        yield from drawn

    def _head(self, people: int, count: int) -> Iterator[Text]:
        followed = "1 person" if people == 1 else f"{people:,} people"
        said = [_many(self._changes, "change"), f"{self._rejects:,} rejected", followed]
        if count < people:
            said[-1] += f", the first {count} shown"
        yield _line(Text(shown(self._title, lines=False), style="bold"))
        yield _line(Text(" · ".join(said)))
        yield Text("")


def _block(who: _Person) -> Iterator[Text]:
    """A person: a line with the NIS and the times, one for each channel, and one for what must be known of them."""
    estimate = who.estimate
    head = Text(shown(shortened(estimate.patient, 40), lines=False), style="bold")
    if estimate.last is not None:
        (low, high), inside = estimate.last.band, estimate.last.inside
        words = f"NIS {_two(estimate.last.nis)} {'in' if inside else 'outside'} {_two(low)}–{_two(high)}"
        head.append(f"  {words}", style="not bold" if inside else "not bold yellow")
    if estimate.effective is not None:
        head.append(f"  newest {when(estimate.effective)}", style="not bold")
    if estimate.arrived is not None:
        head.append(f", last came {when(estimate.arrived, estimate.effective)}", style="not bold")
        if who.came is not None:
            head.append(f", {stretch(estimate.arrived - who.came)} late", style="not bold")
    yield _line(head)
    wide = max((len(name) for name in estimate.channels), default=0)
    for name, band in estimate.channels.items():
        decimals = decimals_for(band.high - band.low)
        mean, low_, high_ = (number(value, decimals) for value in (band.mean, band.low, band.high))
        row = Text(f"  {shown(name, lines=False):<{min(wide, 30)}}  {mean:>9}")
        row.append(f"  {low_:>9} – {high_:<9}", style="dim").append(f" {'' if band.unit == '1' else band.unit:<9} ")
        yield _line(row.append(trace(list(who.past.get(name, ()))), style="cyan"))
    if estimate.waits:
        yield _line(Text(f"  waits to be told {', '.join(estimate.waits)}", style="dim"))
    if estimate.held is not None:
        yield _line(Text(f"  held: {shown(estimate.held, lines=False)}", style="red"))


def _two(value: float) -> str:
    return number(value, 2 if value < 10.0 else 1)


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
