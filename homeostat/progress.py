"""A progress bar around a fit, in a terminal and in a notebook: loss and time left, and nothing lost by an interruption."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from homeostat.notebook_bar import NotebookBar
from physics.arguments import quote, require_kind, require_text
from training import FitStep, Fitted, Step


@dataclass(frozen=True)
class Interruption:
    """Where a training was cut short: after `step` of `total`."""

    step: int
    total: int

    def __str__(self) -> str:
        return f"interrupted at step {self.step} of {self.total}"


def cut_short(found: Mapping[str, Interruption | None]) -> str:
    """Which trainings were cut short and where, by their names, as a bundle's provenance keeps it; "" where none was."""
    return "; ".join(f"{name}: {one}" for name, one in found.items() if one is not None)


class Bar(Protocol):
    """What shows how far a fit is: a bar of the terminal, or of a notebook."""

    def show(self, index: int, total: int, words: Mapping[str, str]) -> None:
        """Step `index` of `total` has been done, and what is said of it, by name."""

    def end(self, index: int, said: str) -> None:
        """No more steps come after this one; `said`, a sentence about that, or ""."""


class TerminalBar:
    """Rich's bar."""

    def __init__(self, title: str, progress: Progress) -> None:
        self.title, self.progress, self.began = title, progress, False
        self.task = progress.add_task(f"{title:<16}", total=None, words="loss …")

    def show(self, index: int, total: int, words: Mapping[str, str]) -> None:
        """Redraw the bar."""
        if not self.began and index > 1:
            # steps of an earlier run took no time in this one: the time left is not to be judged by them
            self.progress.reset(self.task, completed=index, total=total)
        self.began = True
        said = " ".join(f"{name} {value}" for name, value in words.items())
        self.progress.update(self.task, completed=index, total=total, words=said)

    def end(self, index: int, said: str) -> None:
        """An early stop is an end, at which the bar should not look unfinished; an interruption is said."""
        if said:
            self.progress.console.print(f"[yellow]{self.title.strip()}: {said}[/yellow]")
        else:
            self.progress.update(self.task, total=self.progress.tasks[0].completed or 1)


@contextmanager
def _bar(title: str, console: Console) -> Iterator[Bar]:
    if console.is_jupyter:  # rich would need ipywidgets, and leave nothing to be read in a notebook that is saved
        yield NotebookBar(title)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, transient=False) as progress:
        yield TerminalBar(title, progress)


def watched(
    steps: Iterable[FitStep],
    title: str = "fit",
    console: Console | None = None,
) -> tuple[Fitted, Interruption | None]:
    """Run a fit to its end under a progress bar; the best fit, and where it was interrupted, None where it was not.

    Arguments: `steps`, what `fit`, `shoot` or `fit_population` yield, as they come; `title`, how the bar begins; `console`, where
    it is drawn, by default where the program runs: a terminal, or the cell of a notebook, in which one line is kept up to date.
    Ctrl-C, or a notebook's stop, ends the fit and keeps its best state so far, or before anybody held out was looked at its last
    one; a fit with a checkpoint saves. A resumed fit begins where it was, also in the bar.
    Errors: `KeyboardInterrupt` if that comes before the first step; `ValueError` for what yields no steps of a fit.
    """
    write = "watched(fit(model, cohort))"
    if not isinstance(steps, Iterable) or isinstance(steps, str | bytes):
        raise ValueError(f"watched: steps are those of a fit, as they come, and are {quote(steps)}; write {write}")
    require_text(title, "watched: title", '"hybrid"')
    require_kind(console, (Console, type(None)), "watched: console", "rich.console.Console(), or None")
    last: FitStep | None = None
    kept: Fitted | None = None
    with held(steps), _bar(title, console or Console()) as bar:
        try:
            for step in steps:
                if not isinstance(step, FitStep):
                    raise ValueError(f"watched: steps are those of a fit, and one is {quote(step)}; write {write}")
                kept, last = _to_keep(step), step
                bar.show(step.index, step.total, _words(step))
            if last is not None:
                bar.end(last.index, "")
        except KeyboardInterrupt:
            if last is None or kept is None:
                raise
            if last.index < last.total:  # after the last step nothing is missing
                interruption = Interruption(last.index, last.total)
                bar.end(last.index, f"{interruption}; going on with the best state so far")
                return kept, interruption
    if last is None:
        raise ValueError(f"watched: no step is left: the steps of a fit are used up by the loop over them; write {write}")
    return last.best, None


def held(steps: Iterable[object]) -> AbstractContextManager[object]:
    """A context at whose end these steps are closed, where they are made one by one: an interrupted fit saves there and then."""
    return closing(steps) if isinstance(steps, Generator) else nullcontext()


def _to_keep(step: FitStep) -> Fitted:
    if isinstance(step, Step) and step.now is not None and not bool(step.held_out.isfinite().any()):
        return step.now()  # members that nobody has looked at yet have no best state but the one they began with
    return step.best


def _words(step: FitStep) -> dict[str, str]:
    words = {"loss": f"{float(step.loss.mean()):.2f}"}
    if isinstance(step, Step):
        seen = step.held_out[step.held_out.isfinite()]
        words["unseen"] = f"{float(seen.mean()):.2f}" if len(seen) else "…"
        words["rate"] = f"{step.rate:.3f}"
    return words
