"""What was learned, and what it is worth: the pictures of the C-peptide study."""

from collections.abc import Sequence
from dataclasses import dataclass
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
from homeostat.pictures.in_words import people_in_words
from homeostat.pictures.people import limits, people_handles
from homeostat.pictures.sheet import panel_axes, sheet_axes
from homeostat.pictures.style import SMALL, axis_labels, cell_size, header_height, panel_title, person_name, tidy
from hybrid import Prediction
from training import Record
from training.people.records import never_negative

PERCENTILES = (10.0, 50.0, 90.0)
_DASHED = (0, (5, 2))


def secretion_axes(found: Secretion, *, late: bool = False, axes: Axes | None = None) -> Axes:
    """The learned relation: a thin line for every person, thicker for those at the 10th, 50th and 90th percentile."""
    axes = panel_axes(axes)
    for curve in found.late if late else found.early:
        axes.plot(found.rise, 1000.0 * curve, color=FAINT, linewidth=0.7, zorder=1.5)
    ends = []
    for which in PERCENTILES:
        curve = 1000.0 * found.percentile(which, late)
        axes.plot(found.rise, curve, color=LINE, linewidth=2.4, zorder=3.0)
        ends.append(float(curve[-1]))
    tidy(axes)
    axes.set_xlim(0.0, 1.09 * found.rise[-1])
    axis_labels(axes, "Rise of glucose (mmol/L)", "Secretion above basal (pmol/L/min)")
    shared = len(axes.get_shared_y_axes().get_siblings(axes)) > 1  # the other panel may be drawn later, and reach higher
    curves = np.stack([found.early, found.late] if shared else [found.late if late else found.early])
    high = 1000.0 * float(curves.max() - min(curves.min(), 0.0))
    between = 1.2 * SMALL / 72.0 / (0.6 * cell_size(axes)[1]) * high  # a line of text, in a panel of so much of its place
    for which, end, at in zip(PERCENTILES, ends, apart(ends, between), strict=True):
        axes.annotate(
            f"{which:.0f}th",
            (found.rise[-1], end),
            xytext=(1.015 * found.rise[-1], at),
            textcoords="data",
            color=LINE,
            fontsize=SMALL,
            va="center",
        )
    return axes


def apart(heights: Sequence[float], between: float) -> list[float]:
    """Places for labels of these heights, at least so far apart and no farther from them than that needs.

    They keep their order; labels that would overlap share the room about their middle.
    """
    groups: list[tuple[float, int]] = []  # middle and number of labels
    for height in sorted(heights):
        groups.append((height, 1))
        while len(groups) > 1:
            (a, m), (b, n) = groups[-2:]
            if b - a >= between * (m + n) / 2.0:
                break
            groups[-2:] = [((m * a + n * b) / (m + n), m + n)]
    places = [middle + between * (k - (n - 1) / 2.0) for middle, n in groups for k in range(n)]
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    return [place for _, place in sorted(zip(order, places, strict=True))]


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
        linestyle=_DASHED,
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
    """The page's first picture: what was learned, two people forecast, and what the forecasts are worth."""
    title = "A secretion that nobody wrote down, learned on kinetics that are known"
    two = _Two.of(dense, records, forecast_from)
    ratios = (1.2, 1.0, 1.0, 1.35)
    panels = sheet_axes(
        None, (1, 4), size=(13.4, 4.6), title=title, handles=two.handles, legend_columns=3, width_ratios=ratios
    )
    _learned_panel(secretion, panels[0])
    two.draw(panels[1:3])
    axis_labels(panels[2], None, "")
    _errors_panel(found, len(records), panels[3])
    caption = (
        "Left: how much the network lets the pancreas secrete above basal for a rise of glucose, a line for each training "
        "person. Middle: the first two test people of the published split, forecast from their first hour; dashed in orange is "
        "the last value carried forward. Right: the root mean square error of all test people's forecasts at 90 and 120 min."
    )
    alt = f"{_learned_in_words(secretion)} {_errors_in_words(found)}"
    return write_picture(figure_of(panels), folder, "hero", title=title, caption=caption, alt=alt)


def narrow_pictures(
    folder: Path,
    dense: Prediction,
    records: Sequence[Record],
    secretion: Secretion,
    found: Figures,
    forecast_from: float,
) -> list[Picture]:
    """The same in two pictures that stand beside each other or, on a phone, one below the other: `learned` and `forecast`."""
    size, height = 4.7, 9.2  # inches
    title = "Learned on known kinetics"
    panels = sheet_axes(None, (2, 1), size=(size, height - header_height(title, None, size)), title=title)
    _learned_panel(secretion, panels[0])
    _errors_panel(found, len(records), panels[1])
    caption = (
        "Above: secretion above basal for a rise of glucose, a line for each training person. Below: the error of all test "
        "people's forecasts, beside what it has to beat."
    )
    alt = f"{_learned_in_words(secretion)} {_errors_in_words(found)}"
    learned = write_picture(figure_of(panels), folder, "learned", title=title, caption=caption, alt=alt)

    two = _Two.of(dense, records, forecast_from)
    title = f"Two of {len(records)} people never seen"
    rows = header_height(title, None, size, len(two.handles))
    panels = sheet_axes(
        None, (2, 1), size=(size, height - rows), title=title, handles=two.handles, legend_columns=1
    )
    two.draw(panels)
    caption = "The first two test people of the published split, forecast from their first hour."
    alt = people_in_words(two.prediction, two.records, forecast_from=forecast_from, time_unit="min")
    forecast = write_picture(figure_of(panels), folder, "forecast", title=title, caption=caption, alt=alt)
    return [learned, forecast]


@dataclass(frozen=True, eq=False)
class _Two:
    """The first two people, as both pictures draw them."""

    prediction: Prediction
    records: Sequence[Record]
    bands: Bands
    handles: list[Artist]
    forecast_from: float

    @staticmethod
    def of(dense: Prediction, records: Sequence[Record], forecast_from: float) -> "_Two":
        prediction = dense.people([0, 1])
        bands = Bands.of(prediction, nonnegative=never_negative(records))
        last = Line2D([], [], color=SECOND, linewidth=1.6, linestyle=_DASHED, label="last value carried forward")
        return _Two(
            prediction, records[:2], bands, [*people_handles(0.8, forecast_from, "min", bands.cut), last], forecast_from
        )

    def draw(self, panels: Sequence[Axes]) -> None:
        for i, (axes, record) in enumerate(zip(panels, self.records, strict=True)):
            forecast_axes(self.bands, record, person=i, forecast_from=self.forecast_from, axes=axes)
            panel_title(axes, person_name(record.id))
            axis_labels(axes, "Time since the drink (min)", "C-peptide (nmol/L)")
        limits(panels, self.bands, self.records, 0)


def _learned_panel(secretion: Secretion, axes: Axes) -> None:
    secretion_axes(secretion, axes=axes)
    words = f"30 min after the drink, {len(secretion.early)} people;\nbold: 10th, 50th and 90th percentile"
    panel_title(axes, "Secretion, learned", words)


def _errors_panel(found: Figures, people: int, axes: Axes) -> None:
    errors_axes(found, axes=axes)
    words = f"{people} people never seen, at 90 and 120 min\nfrom the first hour; 95 % over people"
    panel_title(axes, "Error of the forecast", words)


def _learned_in_words(secretion: Secretion) -> str:
    mid = 1000.0 * secretion.percentile(50.0)[-1]
    return f"Learned secretion rises with glucose, to {mid:.0f} pmol/L/min at {secretion.rise[-1]:.1f} mmol/L for the median."


def _errors_in_words(found: Figures) -> str:
    ours, last = found.forecast[OURS], found.forecast[LAST]
    return (
        f"Root mean square errors in nmol/L: the hybrid {ours.value:.2f} ({ours.low:.2f} to {ours.high:.2f}), the published "
        f"hybrid {Published().forecast:.2f}, secretion in proportion to glucose {found.forecast[PROPORTIONAL].value:.2f}, the "
        f"last value {last.value:.2f}, the kinetics alone {found.forecast[KINETICS].value:.2f}."
    )


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
