"""Is the uncertainty right, when, and what is it made of? Pictures of one channel of an `UncertaintyReport`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from homeostat.pictures.arguments import require_rows, require_words
from homeostat.pictures.colours import FAINT, GREY, IGNORANCE, INK, LINE, NOISE, PERSON, PROMISE, SECOND
from homeostat.pictures.sheet import Given, panel_axes, sheet_axes
from homeostat.pictures.style import axis_labels, label, panel_title, percent, tidy
from physics.arguments import counted, require_kind, require_text
from physics.glance import glance
from training.trust.report_parts import ChannelReport, CoverageRow, SplitRow

_LEVELS = (LINE, SECOND, PROMISE, GREY)  # the colours of interval levels, in their order
_SHAPES = ("o", "s", "D", "^")  # and their dots, so that they are told apart in grey
_CHANNEL = "uncertainty_report(…).channels[0]"
_ROWS = f"{_CHANNEL}.coverage_by_horizon"
_PARTS = (("aleatoric", NOISE, "noise"), ("personal", PERSON, "person not known"), ("epistemic", IGNORANCE, "model"))


def horizons_axes(
    channel: ChannelReport,
    *,
    axes: Given = None,
    time_unit: str | None = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> list[Axes]:
    """Coverage and width of the intervals by horizon, what the variance is made of, and the PIT. Returns the four axes.

    `axes`, four, by default those of a figure of its own under `title` and `subtitle`; `time_unit` of the horizons.
    """
    require_kind(channel, ChannelReport, "horizons_axes: channel", _CHANNEL)
    handles = [*level_handles(channel.coverage_by_horizon), *split_handles(channel.split_by_horizon)]
    panels = sheet_axes(
        axes, (2, 2), size=(11.0, 7.9), title=title, subtitle=subtitle, handles=handles, legend_columns=len(handles)
    )
    coverage_axes(channel.coverage_by_horizon, axes=panels[0], time_unit=time_unit)
    sharpness_axes(channel.coverage_by_horizon, axes=panels[1], unit=channel.unit, time_unit=time_unit)
    words = label("Time of the measurement", time_unit)
    split_axes(channel.split_by_horizon, axes=panels[2], unit=channel.unit, words=words)
    dots = "Dots: the squared errors; a right model's end, on average, where the bars do"
    panel_title(panels[2], "What the variance is made of", dots)
    pit_axes(channel, axes=panels[3])
    return panels


def sample_in_words(channel: ChannelReport, gates: int, band_level: float, since: str | None) -> str:
    """How much there is of a channel, and what is grey: one simultaneous band over all `gates` of the report."""
    return (
        f"{label(channel.channel, None)}: {counted(channel.count, 'measurement', 'measurements')} of "
        f"{counted(channel.records, 'person', 'people')}. Grey: where "
        f"{100 * band_level:.0f} of 100 perfect forecasters of this sample stay, in all {gates} places together."
        + ("" if since is None else f" Times count from each person's {since}.")
    )


@dataclass(frozen=True, eq=False)
class Rings:
    """The members' disagreement about the vector field itself, on shells around people's states.

    `radius` (R,), in the states' own spread (Mahalanobis) · `spread` (R,), the root of the mean variance over
    members, each state in its scale per time · `edge`, the radius that holds 95 % of these people's states at the
    times of their measurements · `whose` states they are.
    """

    radius: NDArray[np.float64]
    spread: NDArray[np.float64]
    edge: float
    whose: str = "the training people"

    __repr__, _repr_html_ = glance()


def ignorance_axes(
    channel: ChannelReport,
    rings: Rings | None = None,
    *,
    axes: Given = None,
    time_unit: str | None = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> list[Axes]:
    """The split by predicted value; and how far the members disagree about the field, away from the data. Returns the
    axes.

    `axes`, two (one without `rings`), by default those of a figure of its own under `title` and `subtitle`;
    `time_unit` of the field.
    """
    require_kind(channel, ChannelReport, "ignorance_axes: channel", _CHANNEL)
    handles = split_handles(channel.split_by_value)
    panels = sheet_axes(
        axes,
        (1, 1 if rings is None else 2),
        size=(11.0, 4.4),
        title=title,
        subtitle=subtitle,
        handles=handles,
        legend_columns=len(handles),
    )
    words = label(f"Predicted {channel.channel}", channel.unit)
    split_axes(channel.split_by_value, axes=panels[0], unit=channel.unit, words=words)
    panel_title(panels[0], "By predicted value")
    if rings is not None:
        rings_axes(rings, axes=panels[1], time_unit=time_unit)
    return panels


def level_handles(rows: Sequence[CoverageRow]) -> list[Artist]:
    """The legend's entries for interval levels."""
    return [
        Line2D([], [], color=colour, marker=shape, markersize=5.5, linestyle="", label=f"{percent(level)} interval")
        for level, colour, shape in _by_level(rows)
    ]


def split_handles(rows: Sequence[SplitRow]) -> list[Artist]:
    """The legend's entries for parts of the variance, and the squared error where there is one."""
    handles: list[Artist] = [Patch(color=colour, label=name) for _, colour, name in _PARTS]
    if any(np.isfinite(r.squared_error) for r in rows):
        handles.append(Line2D([], [], color=INK, marker="o", markersize=5.5, linestyle="", label="squared error"))
    return handles


def rings_axes(rings: Rings, *, axes: Axes | None = None, time_unit: str | None = None) -> Axes:
    """The field's spread against the distance from the data (gid "rings"); shaded where training has been (gid
    "seen")."""
    require_kind(rings, Rings, "rings_axes: rings", "Rings(radius, spread, edge)")
    axes = panel_axes(axes)
    axes.axvspan(0.0, rings.edge, color=NOISE, alpha=0.5, linewidth=0.0, zorder=0.5, gid="seen")
    axes.plot(rings.radius, rings.spread, "o-", color=SECOND, linewidth=1.5, markersize=5.0, zorder=3.0, gid="rings")
    tidy(axes)
    axes.set_xlim(0.0, float(rings.radius.max()))
    axes.set_ylim(bottom=0.0)
    per = "" if time_unit is None else f" per {time_unit}"
    axis_labels(
        axes,
        f"Distance from the states of {rings.whose},\nin their own spread",
        f"Members' spread, in state scales{per}",
    )
    panel_title(axes, "Away from the data", f"Shaded: where 95 % of the states of {rings.whose} are")
    return axes


def coverage_axes(rows: Sequence[CoverageRow], *, axes: Axes | None = None, time_unit: str | None = None) -> Axes:
    """Share of measurements inside each interval (gid "coverage"), over its band (gid "null"), per horizon."""
    rows = require_rows(rows, CoverageRow, "coverage_axes: rows", _ROWS)
    require_words(time_unit, "coverage_axes: time_unit", '"h", or None')
    axes = panel_axes(axes, handles=level_handles(rows))
    for k, (level, colour, shape) in enumerate(_by_level(rows)):
        mine = [r for r in rows if r.level == level]
        at = np.arange(len(mine)) + 0.16 * (k - 0.5 * (len({r.level for r in rows}) - 1))
        axes.axhline(level, color=colour, linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.7, zorder=1.0)
        low, high = (np.clip([getattr(r.share, end) for r in mine], 0.0, 1.0) for end in ("lower", "upper"))
        axes.vlines(at, low, high, color=FAINT, linewidth=8.0, zorder=2.0).set_gid("null")
        shares = [r.share.observed for r in mine]
        axes.plot(
            at,
            shares,
            shape,
            color=colour,
            markersize=6.0,
            markeredgecolor="white",
            zorder=4.0,
            gid="coverage",
            label=f"{percent(level)} interval",
        )
    tidy(axes)
    axes.set_ylim(-0.03, 1.03)
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    axes.set_yticks(ticks, ["0", "25 %", "50 %", "75 %", "100 %"])
    _horizons(axes, [r.horizon for r in rows], time_unit, "Measurements inside")
    panel_title(axes, "Coverage")
    return axes


def sharpness_axes(
    rows: Sequence[CoverageRow], *, axes: Axes | None = None, unit: str | None = None, time_unit: str | None = None
) -> Axes:
    """Mean width of each interval per horizon (gid "width"): of two forecasters that cover alike, the narrower one is
    better."""
    rows = require_rows(rows, CoverageRow, "sharpness_axes: rows", _ROWS)
    require_words(unit, "sharpness_axes: unit", '"mg/L", or None')
    require_words(time_unit, "sharpness_axes: time_unit", '"h", or None')
    axes = panel_axes(axes, handles=level_handles(rows))
    for level, colour, shape in _by_level(rows):
        mine = [r for r in rows if r.level == level]
        words = f"{percent(level)} interval"
        width = [r.sharpness for r in mine]
        axes.plot(
            range(len(mine)), width, shape + "-", color=colour, linewidth=1.4, markersize=5.0, gid="width", label=words
        )
    tidy(axes)
    axes.set_ylim(bottom=0.0)
    _horizons(axes, [r.horizon for r in rows], time_unit, label("Mean width", unit))
    panel_title(axes, "Width of the intervals")
    return axes


def split_axes(
    rows: Sequence[SplitRow], *, axes: Axes | None = None, unit: str | None = None, words: str = "Group"
) -> Axes:
    """Stacked mean variances per group (gid "split") and the mean squared error where there is one (gid "error")."""
    rows = require_rows(rows, SplitRow, "split_axes: rows", "uncertainty_report(…).channels[0].split_by_horizon")
    require_words(unit, "split_axes: unit", '"mg/L", or None')
    require_text(words, "split_axes: words", '"Group"')
    axes = panel_axes(axes, handles=split_handles(rows))
    at, bottom = np.arange(len(rows)), np.zeros(len(rows))
    for part, colour, name in _PARTS:
        height = np.array([getattr(r, part) for r in rows])
        bars = axes.bar(
            at, height, 0.72, bottom=bottom, color=colour, edgecolor="white", linewidth=0.8, zorder=2.0, label=name
        )
        for bar in bars:
            bar.set_gid("split")
        bottom = bottom + height
    error = np.array([r.squared_error for r in rows])
    if np.isfinite(error).any():
        axes.plot(at, error, "o", color=INK, markersize=5.5, markeredgecolor="white", zorder=4.0, gid="error")
    tidy(axes)
    _ticks(axes, [r.group for r in rows])
    axis_labels(axes, words, label("Variance", None if unit is None else f"({unit})²"))
    return axes


def pit_axes(channel: ChannelReport, *, axes: Axes | None = None) -> Axes:
    """The histogram of the probability integral transform (gid "pit") over its simultaneous band (gid "null")."""
    require_kind(channel, ChannelReport, "pit_axes: channel", _CHANNEL)
    axes = panel_axes(axes)
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
    axis_labels(axes, "Predicted probability of a value\nbelow the measured one (PIT)", "Share of measurements")
    if any(g.place for g in share):
        words = "leaves its band: centre, width or shape is wrong"
    elif any(g.decides for g in share):
        words = "inside its band, as a calibrated forecaster's"
    else:
        words = "of too few people: its band holds whatever may be seen"
    panel_title(axes, "Flat is right", words)
    return axes


def _by_level(rows: Sequence[CoverageRow]) -> list[tuple[float, str, str]]:
    return list(zip(sorted({r.level for r in rows}), _LEVELS, _SHAPES, strict=False))


def _horizons(axes: Axes, names: Sequence[str], time_unit: str | None, words: str) -> None:
    _ticks(axes, list(dict.fromkeys(names)))
    axis_labels(axes, label("Time of the measurement", time_unit), words)


def _ticks(axes: Axes, names: Sequence[str]) -> None:
    """The groups' names, slanted where there are many."""
    many = len(names) > 5
    axes.set_xticks(
        range(len(names)), names, rotation=30 if many else 0, ha="right" if many else "center", rotation_mode="anchor"
    )
