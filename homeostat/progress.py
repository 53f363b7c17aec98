"""A progress bar around a fit: loss, learning rate and time left, and nothing lost by Ctrl-C."""

from collections.abc import Generator
from contextlib import closing

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training import Fitted, Step


def watch(steps: Generator[Step, None, None], title: str, console: Console) -> tuple[Fitted, bool]:
    """Run a fit to its end under a progress bar; the best fit, and whether it was interrupted.

    Ctrl-C stops the fit and keeps its best state so far; a fit with a checkpoint saves. A resumed fit begins where it was,
    also in the bar. Errors: `KeyboardInterrupt` if that comes before the first step.
    """
    best: Fitted | None = None
    interrupted = False
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
                if best is None and step.index > 1:
                    # steps of an earlier run took no time in this one: the time left is not to be judged by them
                    bar.reset(task, completed=step.index, total=step.total)
                best = step.best
                seen = step.held_out[step.held_out.isfinite()]
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
            interrupted = True
            console.print(f"[yellow]{title.strip()}: interrupted; going on with the best state so far[/yellow]")
    if best is None:
        raise KeyboardInterrupt
    return best, interrupted
