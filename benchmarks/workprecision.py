"""Error against time of every solver of ours and torchdiffeq, on the non-stiff and the stiff problem: a picture.

Batch 64, float64, time of value and gradient, largest error of any state. Writes docs/workprecision.png; with --quick the
picture goes beside the table.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks import race
from benchmarks.peers import ours, peers_torch, problem, reference

COLOURS = ("#0b6e99", "#c2410c", "#15803d", "#7e22ce", "#b45309")  # ours; peers are grey
GREYS = ("#4b5563", "#9ca3af", "#6b7280")


@dataclass(frozen=True)
class Line:
    """One solver's points: errors and median times in ms, loosest setting first."""

    name: str
    ours: bool
    points: tuple[tuple[float, float], ...]


def contestants(kind: str, p: problem.Problem, quick: bool) -> dict[str, list[race.Contestant]]:
    """Every solver by name, each at several settings."""
    lines: dict[str, list[race.Contestant]] = {}
    for name, choices in ours.LINES[kind].items():
        lines[name] = [ours.contestant(f"{name}, {i}", p, c, torch.float64) for i, c in enumerate(choices)]
    adaptive = [1e-2, 1e-4, 1e-6, 1e-8]
    # no longer than from output to output, since torchdiffeq interpolates linearly in between; and where rk4 is stable
    longest = p.times[1] - p.times[0] if kind == "nonstiff" else 0.025
    steps = [longest, longest / 2, longest / 4]
    for method, settings in (("dopri5", adaptive), ("rk4", steps)):
        name = f"torchdiffeq {method}"
        lines[name] = []
        for value in settings:
            fixed = method == "rk4"
            solution = peers_torch.torchdiffeq_solution(method, 1e-4 if fixed else value, value if fixed else None)
            lines[name].append(peers_torch.torch_contestant(f"{name} {value:g}", p, torch.float64, solution))
    return {name: found[:2] if quick else found for name, found in lines.items()}


def measure(kind: str, report: race.Report, setup: race.Settings) -> list[Line]:
    """All lines of one problem."""
    p = problem.nonstiff().first(64) if kind == "nonstiff" else problem.stiff()
    if setup.quick:
        p = p.first(8)
    right = reference.right_answer(p, setup.cache)
    lines = contestants(kind, p, setup.quick)
    every = [c for found in lines.values() for c in found]
    rows = {r.name: r for r in race.race(every, right, kind, report, setup, value=0.3, gradient=1.0)}
    out = []
    for name, found in lines.items():
        points = [(rows[c.name].value_error, rows[c.name].median) for c in found]
        kept = tuple((e, t) for e, t in points if t is not None)
        out.append(Line(name, found[0].ours, kept))
    return out


def draw(panels: dict[str, list[Line]], file: Path) -> None:
    """The picture: one panel for each problem, ours in colour."""
    matplotlib.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(9.0, 4.0), layout="constrained", dpi=160)
    titles = {"nonstiff": "not stiff: rates .2 to 1.5", "stiff": "stiff: rates .05 to 100"}
    # a solver has one colour in every panel
    colours: dict[str, str] = {}
    palettes = {True: iter(COLOURS), False: iter(GREYS)}
    for line in (line for lines in panels.values() for line in lines if line.points):
        if line.name not in colours:
            colours[line.name] = next(palettes[line.ours])
    for axes, (kind, lines) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        _panel(axes, titles[kind], lines, colours)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def _panel(axes: Axes, title: str, lines: list[Line], colours: dict[str, str]) -> None:
    for line in lines:
        if not line.points:
            continue
        errors, times = zip(*line.points, strict=True)
        axes.plot(
            errors,
            times,
            marker="o" if line.ours else "s",
            markersize=5 if line.ours else 4,
            linewidth=2.0 if line.ours else 1.2,
            color=colours[line.name],
            label=line.name,
            zorder=3 if line.ours else 2,
        )
    axes.set(xscale="log", yscale="log", xlabel="largest error of any state", ylabel="value and gradient, ms")
    axes.invert_xaxis()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.text(0.98, 0.03, "better ↘", transform=axes.transAxes, ha="right", color="#6b7280")
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.grid(which="major", color="#e5e7eb", linewidth=0.8)
    axes.legend(frameon=False, fontsize=8)


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("workprecision", __doc__)
    report = race.Report("workprecision", "Work and precision")
    panels = {kind: measure(kind, report, setup) for kind in ("nonstiff", "stiff")}
    file = setup.out / "workprecision.png" if setup.quick else Path("docs/workprecision.png")
    draw(panels, file)
    report.notes.append(f"The picture is {file}.\n")
    return setup.finish(report)


if __name__ == "__main__":
    sys.exit(main())
