"""What was learned, and what it is worth: the pictures of the C-peptide study."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from homeostat.c_peptide.agreement import Published
from homeostat.c_peptide.figures import KINETICS, LAST, OURS, PROPORTIONAL, Figures
from homeostat.c_peptide.secretion import Secretion
from homeostat.pictures import Bands, Picture, figure_of, person_axes, write_picture
from homeostat.pictures.colours import FAINT, GREY, INK, LINE, PAGE, SECOND
from homeostat.pictures.people import limits, people_handles
from homeostat.pictures.sheet import panel_axes, sheet_axes
from homeostat.pictures.style import (
    SMALL,
    axis_labels,
    header,
    header_height,
    new_figure,
    panel_title,
    person_name,
    tidy,
)
from hybrid import Prediction
from training import Record
from training.people.records import never_negative

PERCENTILES = (10.0, 50.0, 90.0)


def secretion_axes(found: Secretion, *, late: bool = False, axes: Axes | None = None) -> Axes:
    """The learned relation: a thin line for every person, thicker for those at the 10th, 50th and 90th percentile."""
    axes = panel_axes(axes)
    for curve in found.late if late else found.early:
        axes.plot(found.rise, 1000.0 * curve, color=FAINT, linewidth=0.7, zorder=1.5)
    for which in PERCENTILES:
        curve = 1000.0 * found.percentile(which, late)
        axes.plot(found.rise, curve, color=LINE, linewidth=2.4, zorder=3.0)
        axes.annotate(
            f"{which:.0f}th",
            (found.rise[-1], curve[-1]),
            xytext=(4.0, 0.0),
            textcoords="offset points",
            color=LINE,
            fontsize=SMALL,
            va="center",
        )
    tidy(axes)
    axes.set_xlim(0.0, 1.09 * found.rise[-1])
    axis_labels(axes, "Rise of glucose (mmol/L)", "Secretion above basal (pmol/L/min)")
    return axes


def errors_axes(found: Figures, *, axes: Axes | None = None) -> Axes:
    """RMSE of the forecasts at 90 and 120 min with 95 % intervals: ours, the published one, and what both have to beat."""
    axes = panel_axes(axes)
    shown = [
        ("hybrid", found.forecast[OURS], LINE),
        ("published\nhybrid", None, INK),
        ("proportional\nsecretion", found.forecast[PROPORTIONAL], GREY),
        ("last\nvalue", found.forecast[LAST], SECOND),
        ("kinetics\nalone", found.forecast[KINETICS], GREY),
    ]
    published = Published().forecast
    for row, (_, estimate, colour) in enumerate(shown):
        value = published if estimate is None else estimate.value
        if estimate is not None:
            axes.plot([estimate.low, estimate.high], [row, row], color=colour, linewidth=2.2, zorder=2.0)
        ground = PAGE if estimate is None else colour
        axes.plot([value], [row], "o", color=colour, markerfacecolor=ground, markersize=8.0, zorder=3.0)
        axes.annotate(
            f"{value:.2f}",
            (value, row),
            xytext=(0.0, 8.0),
            textcoords="offset points",
            fontsize=SMALL,
            color=colour,
            ha="center",
        )
    axes.axvline(published, color=FAINT, linewidth=1.0, zorder=1.0)
    tidy(axes, grid=False)
    axes.set_yticks(range(len(shown)), [name for name, _, _ in shown])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(shown) - 0.5, -0.7)
    axes.set_xlim(left=0.0)
    axis_labels(axes, "Root mean square error (nmol/L)", None)
    return axes


def forecast_axes(bands: Bands, record: Record, *, person: int, forecast_from: float, axes: Axes | None = None) -> Axes:
    """One person's forecast, and the last value carried forward beside it."""
    axes = panel_axes(axes)
    person_axes(bands, record, axes=axes, person=person, channel=0, forecast_from=forecast_from)
    last = int((record.times <= forecast_from).sum()) - 1
    axes.plot(
        [record.times[last], record.times[-1]],
        [record.values[last, 0]] * 2,
        color=SECOND,
        linewidth=1.6,
        linestyle=(0, (5, 2)),
        zorder=2.5,
        gid="last_value",
    )
    return axes


def rank_axes(found: Figures, *, axes: Axes | None = None) -> Axes:
    """Every person's β, by rank, beside the first phase of the clamp, by rank."""
    axes = panel_axes(axes)
    n = found.order.size
    turn = -1.0 if np.corrcoef(found.order, found.first_phase)[0, 1] < 0 else 1.0
    pairs = [np.argsort(np.argsort(v)) + 1 for v in (found.first_phase, turn * found.order)]
    axes.plot(*pairs, "o", color=LINE, markersize=4.5, markerfacecolor=PAGE, markeredgewidth=1.1)
    tidy(axes)
    axes.set_aspect("equal")
    axis_labels(axes, f"Rank of the clamp's first phase (1 to {n})", f"Rank of β (1 to {n})")
    return axes


def hero_picture(
    folder: Path,
    dense: Prediction,
    records: Sequence[Record],
    secretion: Secretion,
    found: Figures,
    forecast_from: float,
) -> Picture:
    """The wide picture: what was learned, three people forecast, and what the forecasts are worth."""
    chosen = list(range(3))
    bands = Bands.of(dense.people(chosen), nonnegative=never_negative(records))
    title = "A secretion that nobody wrote down, learned on kinetics that are known"
    handles: list[Artist] = people_handles(0.8, forecast_from, "min", bands.cut)
    handles.append(
        Line2D([], [], color=SECOND, linewidth=1.6, linestyle=(0, (5, 2)), label="last value carried forward")
    )
    width = 16.0
    figure = new_figure(width, 4.9 + header_height(title, None, width, 2))
    left, middle, right = figure.subfigures(1, 3, squeeze=False, width_ratios=(1.0, 1.75, 1.15))[0]
    learned = secretion_axes(secretion, axes=left.subplots())
    panel_title(
        learned,
        "Learned",
        f"30 min after the drink, of {len(secretion.early)} people;\nbold: the 10th, 50th and 90th percentile",
    )
    panels = list(middle.subplots(1, 3, sharey=True))
    for i, axes in zip(chosen, panels, strict=True):
        forecast_axes(bands, records[i], person=i, forecast_from=forecast_from, axes=axes)
        panel_title(axes, person_name(records[i].id), size=10.5)
        axis_labels(axes, "Time since the drink (min)", None)
    limits(panels, bands, [records[i] for i in chosen], 0)
    axis_labels(panels[0], None, "C-peptide (nmol/L)")
    errors = errors_axes(found, axes=right.subplots())
    panel_title(
        errors,
        f"Forecast of {len(records)} people never seen",
        "at 90 and 120 min from the first hour;\n95 % over people",
    )
    header(figure, title, None, handles=handles, columns=4)
    ours, last = found.forecast[OURS], found.forecast[LAST]
    caption = (
        "Left: how much the network lets the pancreas secrete above basal for a rise of glucose, a line for each training "
        "person. Middle: the first three test people of the published split, forecast from their first hour; orange is the last "
        "value carried forward. Right: the root mean square error of all test people's forecasts at 90 and 120 min."
    )
    mid = 1000.0 * secretion.percentile(50.0)[-1]
    alt = (
        f"Learned secretion rises with glucose, to {mid:.0f} pmol/L/min at {secretion.rise[-1]:.1f} mmol/L for the median. "
        f"Root mean square errors in nmol/L: the hybrid {ours.value:.2f} ({ours.low:.2f} to {ours.high:.2f}), the published "
        f"hybrid {Published().forecast:.2f}, secretion in proportion to glucose {found.forecast[PROPORTIONAL].value:.2f}, the "
        f"last value {last.value:.2f}, the kinetics alone {found.forecast[KINETICS].value:.2f}."
    )
    return write_picture(figure, folder, "hero", title=title, caption=caption, alt=alt)


def secretion_picture(folder: Path, found: Secretion) -> Picture:
    """The learned relation early and late after the drink."""
    title = "What was learned: secretion for a rise of glucose"
    panels = sheet_axes(None, (1, 2), size=(11.0, 4.2), title=title, share=True)
    words = ("at 30 min, glucose having risen evenly until then", "at 90 min, glucose having stayed there since 30 min")
    for axes, late, said in zip(panels, (False, True), words, strict=True):
        secretion_axes(found, late=late, axes=axes)
        panel_title(axes, "Late" if late else "Early", said)
    middle = [1000.0 * found.percentile(50.0, late)[-1] for late in (False, True)]
    spread = 1000.0 * found.spread[-1]
    caption = (
        "Thin: every training person, the members' mean; bold: the people at the 10th, 50th and 90th percentile. The network "
        "also sees how fast glucose rises, the area of its rise and a curve in time, so that the same rise means another "
        f"secretion at another time; these are two paths of many. Drawn up to the rise at 30 min that 95 % of people stay "
        f"below; there the members' own curves of the median person differ by {spread:.0f} pmol/L/min (standard deviation)."
    )
    end, median = f"{found.rise[-1]:.1f} mmol/L", [f"{value:.0f}" for value in middle]
    low, high = (1000.0 * found.percentile(which)[-1] for which in (10.0, 90.0))
    alt = (
        f"At a rise of {end} the median person secretes {median[0]} pmol/L/min above basal after 30 min, {median[1]} after 90; "
        f"after 30 min people at the 10th and 90th percentile secrete {low:.0f} and {high:.0f} pmol/L/min."
    )
    return write_picture(figure_of(panels), folder, "secretion", title=title, caption=caption, alt=alt)


def rank_picture(folder: Path, found: Figures) -> Picture:
    """β beside an experiment that the model never saw."""
    title = "β beside the clamp, which the model never saw"
    (axes,) = sheet_axes(None, (1, 1), size=(6.4, 5.0), title=title)
    rank_axes(found, axes=axes)
    caption = (
        "Each dot is one person: the rank of their β, found from glucose and C-peptide after a drink, beside the rank of the "
        "insulin that they released in the first ten minutes of a hyperglycaemic clamp, another experiment."
    )
    return write_picture(
        figure_of([axes]),
        folder,
        "first_phase",
        title=title,
        caption=caption,
        alt=f"{found.order.size} people; Spearman's rank correlation is {found.rank} (95 % over people).",
    )
