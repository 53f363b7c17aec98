"""Is the uncertainty right, when, and what is it made of? Pictures of one channel of an `UncertaintyReport`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from homeostat.pictures.style import (
    FAINT,
    GREY,
    IGNORANCE,
    INK,
    LINE,
    NOISE,
    PROMISE,
    SECOND,
    axis_labels,
    header,
    header_height,
    label,
    new_figure,
    panel_title,
    percent,
    save,
    tidy,
)
from training.trust.report_parts import ChannelReport, CoverageRow, SplitRow

_LEVELS = (LINE, SECOND, PROMISE, GREY)  # the colours of interval levels, in their order
_PARTS = (("aleatoric", NOISE, "noise"), ("personal", "#9cc3a9", "person not known"), ("epistemic", IGNORANCE, "model"))


def draw_horizons(
    channel: ChannelReport,
    path: Path | str,
    *,
    time_unit: str | None,
    gates: int,
    band_level: float = 0.95,
    title: str = "How far ahead can it be trusted?",
    since: str | None = None,
) -> Path:
    """Coverage and width of the intervals by horizon, what the variance is made of, and the PIT. Writes a PNG.

    Grey bars are one simultaneous band over all `gates` of the report: a perfect forecaster stays in all of them together
    `band_level` of the time. `since`: what the times count from, "first dose".
    """
    subtitle = (
        f"{channel.channel}: {channel.count} measurements of {channel.records} people. Grey: where "
        f"{100 * band_level:.0f} of 100 perfect forecasters of this sample stay, in all {gates} places together."
        + ("" if since is None else f" Times count from each person's {since}.")
    )
    width = 11.0
    figure = new_figure(width, 7.9 + header_height(title, subtitle, width))
    (coverage, sharp), (split, pit) = figure.subplots(2, 2)
    coverage_axes(coverage, channel.coverage_by_horizon, time_unit)
    sharpness_axes(sharp, channel.coverage_by_horizon, channel.unit, time_unit)
    split_axes(split, channel.split_by_horizon, channel.unit, label("Time of the measurement", time_unit))
    dots = "Dots: the squared errors; a right model's end, on average, where the bars do"
    panel_title(split, "What the variance is made of", dots)
    pit_axes(pit, channel)
    header(figure, title, subtitle)
    return save(figure, path)


@dataclass(frozen=True, eq=False)
class Rings:
    """The members' disagreement about the vector field itself, on shells around people's states.

    `radius` (R,), in the states' own spread (Mahalanobis) · `spread` (R,), the root of the mean variance over members, each
    state in its scale per time · `edge`, the radius that holds 95 % of these people's states at the times of their measurements
    · `whose` states they are.
    """

    radius: NDArray[np.float64]
    spread: NDArray[np.float64]
    edge: float
    whose: str = "the training people"


def draw_ignorance(
    channel: ChannelReport,
    rings: Rings | None,
    path: Path | str,
    *,
    time_unit: str | None,
    title: str = "Where does the model know little?",
) -> Path:
    """The split by predicted value; and how far the members disagree about the field, away from the data. Writes a PNG."""
    subtitle = (
        "Noise stays whatever is done; the model's part falls with more people, the person's with more of their data. A path "
        "forgets what its members disagree about, as far as the model contracts: the vector field itself does not."
    )
    width, panels = 11.0, 1 if rings is None else 2
    figure = new_figure(width, 4.4 + header_height(title, subtitle, width))
    axes = np.atleast_1d(figure.subplots(1, panels))
    split_axes(axes[0], channel.split_by_value, channel.unit, label(f"Predicted {channel.channel}", channel.unit))
    panel_title(axes[0], "By predicted value")
    if rings is not None:
        rings_axes(axes[1], rings, time_unit)
    header(figure, title, subtitle)
    return save(figure, path)


def rings_axes(axes: Axes, rings: Rings, time_unit: str | None) -> None:
    """The field's spread against the distance from the data (gid "rings"); shaded where training has been (gid "seen")."""
    axes.axvspan(0.0, rings.edge, color=NOISE, alpha=0.5, linewidth=0.0, zorder=0.5, gid="seen")
    axes.plot(rings.radius, rings.spread, "o-", color=SECOND, linewidth=1.5, markersize=5.0, zorder=3.0, gid="rings")
    tidy(axes)
    axes.set_xlim(0.0, float(rings.radius.max()))
    axes.set_ylim(bottom=0.0)
    per = "" if time_unit is None else f" per {time_unit}"
    axis_labels(axes, f"Distance from the states of {rings.whose}, in their own spread", f"Members' spread, in state scales{per}")
    panel_title(axes, "Away from the data", f"Shaded: where 95 % of the states of {rings.whose} are")


def coverage_axes(axes: Axes, rows: Sequence[CoverageRow], time_unit: str | None) -> None:
    """Share of measurements inside each interval (gid "coverage"), over its band (gid "null"), per horizon."""
    handles = []
    for k, (level, colour) in enumerate(_by_level(rows)):
        mine = [r for r in rows if r.level == level]
        at = np.arange(len(mine)) + 0.16 * (k - 0.5 * (len({r.level for r in rows}) - 1))
        axes.axhline(level, color=colour, linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.7, zorder=1.0)
        low, high = (np.clip([getattr(r.share, end) for r in mine], 0.0, 1.0) for end in ("lower", "upper"))
        axes.vlines(at, low, high, color=FAINT, linewidth=8.0, zorder=2.0).set_gid("null")
        shares = [r.share.observed for r in mine]
        axes.plot(at, shares, "o", color=colour, markersize=6.0, markeredgecolor="white", zorder=4.0, gid="coverage")
        handles.append(Line2D([], [], color=colour, marker="o", linestyle="", label=f"{percent(level)} interval"))
    tidy(axes)
    axes.set_ylim(-0.03, 1.03)
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    axes.set_yticks(ticks, ["0", "25 %", "50 %", "75 %", "100 %"])
    _horizons(axes, [r.horizon for r in rows], time_unit, "Measurements inside")
    axes.legend(handles=handles, frameon=False, loc="lower right", fontsize=9.0)
    panel_title(axes, "Coverage")


def sharpness_axes(axes: Axes, rows: Sequence[CoverageRow], unit: str | None, time_unit: str | None) -> None:
    """Mean width of each interval per horizon (gid "width"): of two forecasters that cover alike, the narrower one is better."""
    for level, colour in _by_level(rows):
        mine = [r for r in rows if r.level == level]
        words = f"{percent(level)} interval"
        width = [r.sharpness for r in mine]
        axes.plot(range(len(mine)), width, "o-", color=colour, linewidth=1.4, markersize=5.0, gid="width", label=words)
    tidy(axes)
    axes.set_ylim(bottom=0.0)
    _horizons(axes, [r.horizon for r in rows], time_unit, label("Mean width", unit))
    axes.legend(frameon=False, fontsize=9.0)
    panel_title(axes, "Width of the intervals")


def split_axes(axes: Axes, rows: Sequence[SplitRow], unit: str | None, words: str) -> None:
    """Stacked mean variances per group (gid "split") and the mean squared error where there is one (gid "error")."""
    at, bottom = np.arange(len(rows)), np.zeros(len(rows))
    handles: list[Artist] = []
    for part, colour, name in _PARTS:
        height = np.array([getattr(r, part) for r in rows])
        for bar in axes.bar(at, height, 0.72, bottom=bottom, color=colour, edgecolor="white", linewidth=0.8, zorder=2.0):
            bar.set_gid("split")
        bottom = bottom + height
        handles.append(Patch(color=colour, label=name))
    error = np.array([r.squared_error for r in rows])
    if np.isfinite(error).any():
        axes.plot(at, error, "o", color=INK, markersize=5.5, markeredgecolor="white", zorder=4.0, gid="error")
        handles.append(Line2D([], [], color=INK, marker="o", linestyle="", label="squared error"))
    tidy(axes)
    _ticks(axes, [r.group for r in rows])
    axis_labels(axes, words, label("Variance", None if unit is None else f"({unit})²"))
    axes.legend(handles=handles, frameon=False, fontsize=9.0)


def pit_axes(axes: Axes, channel: ChannelReport) -> None:
    """The histogram of the probability integral transform (gid "pit") over its simultaneous band (gid "null")."""
    share = channel.pit.share
    bins = len(share)
    edges = np.linspace(0.0, 1.0, bins + 1)
    seen = np.array([g.observed for g in share])
    axes.bar(edges[:-1], seen, 1.0 / bins, align="edge", color=NOISE, edgecolor="white", zorder=2.0, gid="pit")
    low, high = (np.maximum([*v, v[-1]], 0.0) for v in ([g.lower for g in share], [g.upper for g in share]))
    axes.fill_between(edges, low, high, step="post", color=FAINT, alpha=0.45, linewidth=0.0, zorder=3.0, gid="null")
    axes.axhline(1.0 / bins, color=GREY, linewidth=1.0, linestyle=(0, (4, 3)), zorder=3.5)
    tidy(axes, grid=False)
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, max(1.25 * seen.max(), 2.5 / bins))
    axis_labels(axes, "Predicted probability of a value below the measured one (PIT)", "Share of measurements")
    outside = any(g.place for g in share)
    words = "leaves its band: centre, width or shape is wrong" if outside else "inside its band, as a calibrated forecaster's"
    panel_title(axes, "Flat is right", words)


def _by_level(rows: Sequence[CoverageRow]) -> list[tuple[float, str]]:
    return list(zip(sorted({r.level for r in rows}), _LEVELS, strict=False))


def _horizons(axes: Axes, names: Sequence[str], time_unit: str | None, words: str) -> None:
    _ticks(axes, list(dict.fromkeys(names)))
    axis_labels(axes, label("Time of the measurement", time_unit), words)


def _ticks(axes: Axes, names: Sequence[str]) -> None:
    """The groups' names, slanted where there are many."""
    many = len(names) > 5
    axes.set_xticks(range(len(names)), names, rotation=30 if many else 0, ha="right" if many else "center")
