"""What several of these pictures draw: dots, the lines of a standard normal law, trends, and normal quantiles."""

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from homeostat.pictures.colours import FAINT, GREY, LINE, SECOND
from homeostat.pictures.style import percent, tidy
from training.trust.calibration import partition
from training.trust.null_band import NullBand

Array = NDArray[np.float64]
DASHED = (0, (4, 3))
NORMAL = 1.959964  # ±: 95 % of a standard normal law lie between
EACH = 10  # measurements in a bin of a trend, at least


def dot_line(x: Array, y: Array, axes: Axes, gid: str = "measured") -> None:
    """One dot a measurement, smaller where there are many."""
    size = 4.2 if len(x) <= 400 else 3.0 if len(x) <= 2000 else 2.0
    edge = 0.5 if len(x) <= 2000 else 0.0
    axes.plot(x, y, "o", color=LINE, markersize=size, markeredgecolor="white", markeredgewidth=edge, zorder=3.0, gid=gid)


def trend(x: Array, y: Array, axes: Axes) -> None:
    """The means of bins of equal counts along x, joined (gid "trend"); nothing of fewer than two bins."""
    bins = min(8, len(x) // EACH)
    if bins < 2:
        return
    parts = partition(x, bins=bins)  # equal values are never parted
    axes.plot(parts.means(x), parts.means(y), color=SECOND, linewidth=1.8, marker=".", markersize=5.0, zorder=4.0, gid="trend")


def normal_lines(axes: Axes) -> None:
    """0, and between which 95 % of a standard normal law lie."""
    axes.axhline(0.0, color=GREY, linewidth=1.0, zorder=1.8, gid="zero")
    for end in (-NORMAL, NORMAL):
        axes.axhline(end, color=GREY, linewidth=1.0, linestyle=DASHED, zorder=1.8, gid="normal")


def errors_panel(x: Array, y: Array, axes: Axes, most: float) -> None:
    """Errors that should be standard normal against something, with their trend; ±`most` on the vertical axis at least."""
    normal_lines(axes)
    dot_line(x, y, axes)
    trend(x, y, axes)
    tidy(axes, grid=False)
    axes.set_ylim(-most, most)


def reach(*values: Array) -> float:
    """Half the height of an axis for errors: 3.2, or as far as they go."""
    found = np.concatenate([np.abs(v[np.isfinite(v)]) for v in values]) if values else np.zeros(0)
    return max(3.2, 1.08 * float(found.max()) if len(found) else 0.0)


def normal_axes(values: Array, axes: Axes, most: float, *, level: float = 0.95, draws: int = 1000) -> None:
    """Sorted values against the quantiles of a standard normal law (gid "quantiles"), over where `level` of as many independent
    normal numbers have each (gid "null")."""
    n = len(values)
    ordered = np.sort(values)
    grid = np.unique(np.linspace(0, n - 1, min(n, 400)).round().astype(int))  # of many, as many as can be told apart
    ideal = torch.special.ndtri(torch.from_numpy((np.arange(n) + 0.5) / n)).numpy()
    rows = max(50, min(draws, 2_000_000 // max(n, 1)))
    chance = torch.randn((rows, n), generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    chance.sort(1)
    low, high = np.quantile(chance[:, grid], (0.5 - level / 2, 0.5 + level / 2), axis=0)
    axes.fill_between(ideal[grid], low, high, color=FAINT, alpha=0.75, linewidth=0, zorder=1.5, gid="null")
    axes.plot([-most, most], [-most, most], color=GREY, linewidth=1.0, linestyle=DASHED, zorder=1.8, gid="diagonal")
    axes.plot(
        ideal[grid],
        ordered[grid],
        "o",
        color=LINE,
        markersize=4.2,
        markeredgecolor="white",
        markeredgewidth=0.5,
        zorder=3.0,
        gid="quantiles",
    )
    tidy(axes, grid=False)
    width = max(3.2, 1.08 * float(ideal[-1])) if n else 3.2
    axes.set_xlim(-width, width)
    axes.set_ylim(-most, most)


def handles(*, null: bool = True) -> list[Artist]:
    """The legend's entries."""
    found: list[Artist] = [
        Line2D([], [], color=LINE, marker="o", markersize=4.4, linestyle="none", label="one measurement"),
        Line2D([], [], color=SECOND, linewidth=1.8, label="means in bins of equal counts"),
        Line2D([], [], color=GREY, linewidth=1.0, linestyle=DASHED, label="95 % of a standard normal law, or as predicted"),
    ]
    if null:
        found.append(Patch(facecolor=FAINT, alpha=0.75, label="where 95 % of right models have a point"))
    return found


def beside(name: str, band: NullBand, between: str = ", ") -> str:
    """A statistic beside what right models show."""
    observed = float("nan") if band.observed is None else band.observed
    words = f"{name} {observed:.3g}{between}{percent(band.level)} of right models: {band.lower:.2g} to {band.upper:.2g}"
    return words.replace("-", "−")
