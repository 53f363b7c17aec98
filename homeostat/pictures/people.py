"""Forecasts of many people as small multiples."""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from homeostat.pictures.bands import Array, Bands, band_axes, band_handles
from homeostat.pictures.colours import GREY, INK, PAGE
from homeostat.pictures.sheet import Given, outer_labels, sheet_axes
from homeostat.pictures.style import (
    cut_apart,
    grid_shape,
    label,
    panel_title,
    person_name,
    tidy,
    time_since,
    title_width,
)
from hybrid import Prediction
from physics.arguments import counted, require_kind, require_same_people
from training import Record
from training.people.clock import at_or_before
from training.people.conversion import as_shown
from training.people.records import counted_from, never_negative

MOST = 24  # panels in one picture; more could not be read


def person_axes(
    bands: Bands,
    record: Record,
    *,
    axes: Axes | None = None,
    person: int = 0,
    channel: int = 0,
    forecast_from: float | None = None,
) -> Axes:
    """One person: bands, median, what was known (filled dots, gid "known") and what came later (open, gid "unseen").

    What is only known to lie beyond a limit has a triangle there that points to where it lies (gid "limited"), down where a value
    is below its limit or between two, filled and open as dots are.

    Arguments: `person`, the record's place in `bands`; `channel`, the record's column, the one of the bands, in their
    units; `forecast_from`, the time up to which all was known, since the record's origin; None where nothing was
    withheld. Returns the axes.
    """
    require_kind(bands, Bands, "person_axes: bands", "Bands.of(prediction)")
    axes = band_axes(bands, person, axes=axes)
    values = record.values[:, channel]
    seen = np.isfinite(values)
    times = record.on_own_clock().times
    known_by = np.ones_like(seen) if forecast_from is None else at_or_before(times, forecast_from)
    known = seen & known_by
    for gid, chosen, filled in (("known", known, True), ("unseen", seen & ~known, False)):
        axes.add_line(dots(times[chosen], values[chosen], filled=filled, name=gid))
    at, down = beyond_limits(record, channel)
    for filled, early in ((True, known_by), (False, ~known_by)):
        limited_marks(axes, times[early], at[early], down[early], filled=filled)
    if forecast_from is not None and np.isfinite(forecast_from):
        axes.axvline(forecast_from, color=GREY, linewidth=1.0, linestyle=(0, (4, 3)), zorder=2.0, gid="forecast_from")
    tidy(axes)
    return axes


def limited_marks(axes: Axes, times: Array, at: Array, down: NDArray[np.bool_], *, filled: bool) -> None:
    """A triangle at the limit of each value that is only known by it, which points to where it lies (gid "limited")."""
    for marker, way in (("v", down), ("^", ~down)):
        chosen = way & np.isfinite(at)
        if chosen.any():
            axes.add_line(dots(times[chosen], at[chosen], filled=filled, name="limited", marker=marker))


def limited_handle(filled: bool = True) -> Line2D:
    """The legend's entry of these."""
    return dots(filled=filled, name="at its limit: known to lie beyond it", marker="v")


def beyond_limits(record: Record, channel: int) -> tuple[Array, NDArray[np.bool_]]:  # (T,), (T,)
    """The limit at which each value stands that is only known by its limits, NaN for the others, and whether it lies below."""
    lower, upper = (
        np.full(len(record.times), np.nan) if v is None else v[:, channel] for v in (record.lower, record.upper)
    )
    return nearest_limits(lower, upper)


def nearest_limits(lower: Array, upper: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Where values stand that are known by these limits alone: at the upper one where there is one, else at the lower; NaN
    where there is neither; and whether they lie below.
    """
    down = np.isfinite(upper)
    at = np.where(down, upper, lower)
    return np.where(np.isfinite(at), at, np.nan), down


def dots(
    times: Array | None = None, values: Array | None = None, *, filled: bool, name: str, marker: str = "o"
) -> Line2D:
    """Measurements as dots, full or empty; without any, a legend's entry."""
    return Line2D(
        [] if times is None else times,
        [] if values is None else values,
        linestyle="none",
        marker=marker,
        markersize=5.2,
        markeredgecolor=INK,
        markeredgewidth=1.1,
        markerfacecolor=INK if filled else PAGE,
        zorder=4.0,
        label=name,
        gid=name,
    )


def people_handles(
    level: float, forecast_from: float | None, time_unit: str | None, cut: bool = False, limited: Sequence[Record] = ()
) -> list[Artist]:
    """The legend's entries, in reading order; `limited`, the records, where marks of values beyond limits are to be told."""
    beyond: list[Artist] = []
    if any(record.censored.any() for record in limited):
        beyond = [limited_handle()]
    if forecast_from is None:
        return [*band_handles(level, cut, line="median"), dots(filled=True, name="measured"), *beyond]
    entries: list[Artist] = [
        dots(filled=True, name="measured, known to the forecast"),
        dots(filled=False, name="measured later, never seen"),
    ]
    if np.isfinite(forecast_from):
        at = f"{forecast_from:g} {time_unit or ''}".strip()
        entries.append(Line2D([], [], color=GREY, linewidth=1.0, linestyle=(0, (4, 3)), label=f"forecast from {at}"))
    return [*band_handles(level, cut), *entries, *beyond]


def people_axes(
    prediction: Prediction,
    records: Sequence[Record],
    *,
    axes: Given = None,
    channel: int = 0,
    forecast_from: float | None = None,
    level: float = 0.8,
    time_unit: str | None = None,
    beyond: Sequence[str] = (),
    title: str | None = None,
    subtitle: str | None = None,
) -> list[Axes]:
    """Small multiples: every person's forecast with two bands, and what was measured. Returns the panels' axes.

    The wide band holds `level` of the measurements that the model expects; the inner one is the share of ignorance (see
    `Bands`). Filled dots were known to the forecast (time ≤ forecast_from), open dots came later. Limits are shared.
    Arguments: `prediction` on its own dense times, people in the order of `records`, times since everyone's `origin`,
    as a `Cohort` has them (the records' own are counted from there, and drawn in the prediction's units); `axes`, as
    many as people, by default those of a figure of its own; `channel`, which of the prediction's; `forecast_from` in
    the prediction's time, None where nothing was withheld; `time_unit`, that of the prediction, by default the first
    record's; `beyond`, the ids of those who go beyond what the model was trained on, whose panels say that; `title`,
    `subtitle`, above a figure of its own. Of a channel that all records declare nonnegative, bands and median are cut
    at 0, and the legend says so.
    Errors: `ValueError` for more than 24 people (see `pages`), as many predictions as records not being so, a missing
    channel, a level outside (0, 1).
    """
    require_kind(prediction, Prediction, "people_axes: prediction", "predict(model, cohort)")
    people = require_people(prediction, records)
    if not 1 <= people <= MOST:
        raise ValueError(
            f"{people} people were to be drawn in one picture, which has room for 1 to {MOST}; choose some: "
            "prediction.people(range(24)) and records[:24]."
        )
    records = as_drawn(prediction, records, time_unit)
    bands = Bands.of(prediction, channel=channel, level=level, nonnegative=never_negative(records))
    unit = time_unit or records[0].units.get("time")
    handles = people_handles(level, forecast_from, unit, bands.cut, records)
    rows, columns = grid_shape(people)
    width = {1: 9.0, 2: 10.5}.get(columns, 12.0)
    panels = sheet_axes(
        axes,
        (rows, columns),
        count=people,
        size=(width, 4.4 if rows == 1 else 2.15 * rows + 0.3),
        title=title,
        subtitle=subtitle,
        handles=handles,
        legend_columns=3 if width > 11.0 else 2,
    )
    names = cut_apart([person_name(r.id) for r in records], 10.5, min(map(title_width, panels)), bold=True)
    for place, (panel, record) in enumerate(zip(panels, records, strict=True)):
        person_axes(bands, record, axes=panel, person=place, channel=channel, forecast_from=forecast_from)
        words = "goes beyond what was trained" if record.id in beyond else " " if beyond else ""  # titles side by side
        panel_title(panel, names[place], words, size=10.5)
    limits(panels, bands, records, channel)
    outer_labels(
        panels,
        label(time_since(counted_from(records)), unit),
        label(prediction.channels[channel], prediction.units[channel]),
    )
    return panels


def pages(name: str, people: int) -> list[tuple[str, range, str]]:
    """How many people are shared out to pictures of at most 24: a file's stem, the people's places, and what a title
    adds.

    One picture keeps the name and adds nothing; several are `name-1`, `name-2`, …: ", people 1 to 24 of 120".
    """
    if people <= MOST:
        return [(name, range(people), "")]
    found = []
    for k, start in enumerate(range(0, people, MOST)):
        which = range(start, min(start + MOST, people))
        found.append((f"{name}-{k + 1}", which, f": people {which.start + 1} to {which.stop} of {people}"))
    return found


def as_drawn(prediction: Prediction, records: Sequence[Record], time_unit: str | None) -> list[Record]:
    """The records in the prediction's units, so that dots and bands share an axis; times in `time_unit` where it is
    said."""
    channels = dict(zip(prediction.channels, prediction.units, strict=True))
    return [as_shown(record, channels, time_unit) for record in records]


def require_people(prediction: Prediction, records: Sequence[Record]) -> int:
    """N, where the prediction and the records are of the same N people."""
    people = prediction.mean.shape[2]
    if people != len(records):
        raise ValueError(
            f"The prediction is for {counted(people, 'person', 'people')} and "
            f"{counted(len(records), 'record', 'records')} came with it; give the records of the same "
            "people in the same order, or choose the people: prediction.people([0, 1])."
        )
    write = "give the records in the prediction's order"
    require_same_people(prediction.ids, [r.id for r in records], "The prediction and the records", write)
    return people


def limits(panels: Sequence[Axes], bands: Bands, records: Sequence[Record], channel: int) -> None:
    """Limits that hold bands and dots, from 0 where nothing is negative: sizes then compare as lengths."""
    low, high = bands.extent()
    values = np.concatenate([v for r in records for v in (r.values[:, channel], beyond_limits(r, channel)[0])])
    values = values[np.isfinite(values)]
    low, high = min([low, *values]), max([high, *values])
    pad = 0.05 * (high - low)
    floor = 0.0 if 0.0 <= low < 0.5 * high else low - pad
    start, end = float(np.nanmin(bands.times)), float(np.nanmax(bands.times))
    own = [r.on_own_clock().times for r in records]
    start, end = min([start, *(t[0] for t in own)]), max([end, *(t[-1] for t in own)])
    for axes in panels:
        axes.set_ylim(floor, high + pad)
        axes.set_xlim(start - 0.03 * (end - start), end + 0.03 * (end - start))
