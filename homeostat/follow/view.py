"""The view that stays on the screen: the first people, each with their channels and bands, and how late what is known was."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from textwrap import wrap

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from homeostat.follow.lines import Line
from homeostat.follow.numbers import day, decimals_for, number, stretch, trace, when
from homeostat.follow.shown import Shown
from homeostat.plain_text import shown
from physics.arguments import shortened
from twin import Change, Estimate

PEOPLE = 12  # the first of them are shown, the rest are counted
_PAST = 24  # how many estimates the bars beside a channel show
_HEAD = 3  # lines above the people


@dataclass
class _Person:
    """The last that was said of somebody, when what came last was true, and the means until then."""

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
        who.came = change.event.time if change.effective is None else change.effective
        for name, band in estimate.channels.items():
            who.past.setdefault(name, deque(maxlen=_PAST)).append(band.mean)

    def reject(self, line: Line, reason: str) -> None:
        """Count it, and say it where nobody else keeps it."""
        self._rejects += 1
        if self._warn:
            self._console.print(Text(shown(f"line {line.number}: {reason}")))

    def end(self) -> None:
        """What is on the screen stays there."""
        self._live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        everybody = list(self._people.values())  # a copy: another thread draws
        room = max((options.height or console.height) - _HEAD - 1, 2)
        wide = [max((len(row[k]) for who in everybody for row in _rows(who)), default=0) for k in range(5)]
        latest = max((who.estimate.arrived for who in everybody if who.estimate.arrived is not None), default=None)
        drawn: list[Text] = []
        count = 0
        for who in everybody:
            block = list(_block(who, latest, wide, options.max_width))
            if count and len(drawn) + len(block) > room:
                break
            drawn += block
            count += 1
        yield from self._head(len(self._met), count, latest)
        yield from drawn

    def _head(self, people: int, count: int, latest: int | None) -> Iterator[Text]:
        followed = "1 person" if people == 1 else f"{people:,} people"
        said = [_many(self._changes, "change"), f"{self._rejects:,} rejected", followed]
        if count < people:
            said[-1] += f", the first {count} shown"
        if latest is not None:
            said.append(f"{day(latest)}, UTC")
        if self._people and all(who.estimate.shift.flagged is None for who in self._people.values()):
            said.append("training not known")  # whether they look like it
        yield _line(Text(shown(self._title, lines=False), style="bold"))
        yield _line(Text(" · ".join(said)))
        yield Text("")


def _block(who: _Person, latest: int | None, wide: Sequence[int], width: int) -> Iterator[Text]:
    """A person: times, without what they share with the `latest` arrival, and the NIS; channels; what must be known of them."""
    estimate = who.estimate
    head = Text(shown(shortened(estimate.patient, 40), lines=False), style="bold")
    if estimate.effective is not None:
        head.append(f"  newest {when(estimate.effective, latest)}", style="not bold")
    if estimate.arrived is not None:
        head.append(f", came {when(estimate.arrived, latest)}", style="not bold")
        if who.came is not None:
            head.append(f", {stretch(estimate.arrived - who.came)} late", style="not bold")
    consistency = _consistency(estimate)
    if len(head) + 2 + len(consistency) <= width:
        yield _line(head.append("  ").append_text(consistency))
    else:
        yield _line(head)
        yield _line(Text("  ").append_text(consistency))
    for name, mean, low, high, unit, past in _rows(who):
        row = Text(f"  {name:<{wide[0]}}  {mean:>{wide[1]}}  ")
        row.append(f"{low:>{wide[2]}} – {high:<{wide[3]}}", style="dim").append(f"  {unit:<{wide[4]}}  ")
        yield _line(row.append(past, style="cyan"))
    if estimate.waits:
        yield _line(Text(f"  waits to be told {', '.join(estimate.waits)}", style="dim"))
    for note in estimate.notes:
        yield from _words(note, width, "dim")
    if estimate.shift.flagged:
        yield from _words(estimate.shift.sentence(), width, "yellow")
    if estimate.held is not None:
        yield from _words(f"held: {estimate.held}", width, "red")


def _words(text: str, width: int, style: str) -> Iterator[Text]:
    for part in wrap(shown(text, lines=False), max(width - 2, 20), subsequent_indent="  "):
        yield _line(Text(f"  {part}", style=style))


def _consistency(estimate: Estimate) -> Text:
    if estimate.last is None:
        return Text("nothing was measured yet", style="not bold dim")
    (low, high), inside = estimate.last.band, estimate.last.inside
    words = f"NIS {_short(estimate.last.nis)} {'in' if inside else 'outside'} {_short(low)}–{_short(high)}"
    return Text(words, style="not bold" if inside else "bold")


def _rows(who: _Person) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Of each channel: name, mean, both ends of the band, unit, and the means until then as bars."""
    for name, band in who.estimate.channels.items():
        decimals = decimals_for(band.high - band.low)
        mean, low, high = (number(value, decimals) for value in (band.mean, band.low, band.high))
        unit = "" if band.unit == "1" else band.unit
        yield shortened(shown(name, lines=False), 30), mean, low, high, unit, trace(list(who.past.get(name, ())))


def _short(value: float) -> str:
    return number(value, 1)


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
