"""A progress bar around a fit: loss, learning rate and time left, and nothing lost by Ctrl-C."""

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training import Fitted, Step


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


def watched(steps: Generator[Step, None, None], title: str, console: Console) -> tuple[Fitted, Interruption | None]:
    """Run a fit to its end under a progress bar; the best fit, and where it was interrupted, None where it was not.

    Ctrl-C stops the fit and keeps its best state so far, or before anybody held out was looked at its last one; a fit with a
    checkpoint saves. A resumed fit begins where it was, also in the bar.
    Errors: `KeyboardInterrupt` if that comes before the first step.
    """
    last: Step | None = None
    kept: Fitted | None = None
    interruption: Interruption | None = None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]} unseen {task.fields[unseen]} rate {task.fields[rate]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with closing(steps), Progress(*columns, console=console, transient=False) as bar:
        task = bar.add_task(f"{title:<16}", total=None, loss="…", unseen="…", rate="…")
        try:
            for step in steps:
                if last is None and step.index > 1:
                    # steps of an earlier run took no time in this one: the time left is not to be judged by them
                    bar.reset(task, completed=step.index, total=step.total)
                seen = step.held_out[step.held_out.isfinite()]
                # members that nobody has looked at yet have no best state but the one they began with
                kept, last = (step.best if len(seen) or step.now is None else step.now()), step
                bar.update(
                    task,
                    completed=step.index,
                    total=step.total,
                    loss=f"{float(step.loss.mean()):.2f}",
                    unseen=f"{float(seen.mean()):.2f}" if len(seen) else "…",
                    rate=f"{step.rate:.3f}",
                )
            # an early stop is an end: the bar should not look unfinished
            bar.update(task, total=bar.tasks[0].completed or 1)
        except KeyboardInterrupt:
            if last is None:
                raise
            if last.index < last.total:  # after the last step nothing is missing
                interruption = Interruption(last.index, last.total)
                console.print(f"[yellow]{title.strip()}: {interruption}; going on with the best state so far[/yellow]")
    if last is None or kept is None:
        raise KeyboardInterrupt
    return (last.best, None) if interruption is None else (kept, interruption)
