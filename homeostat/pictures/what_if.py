"""The same person under several schedules."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from homeostat.pictures.bands import Bands, band_axes, band_handles
from homeostat.pictures.colours import GREY, INK, PAGE, SECOND
from homeostat.pictures.people import beyond_limits, dots, limited_handle, limited_marks
from homeostat.pictures.sheet import Given, outer_labels, sheet_axes
from homeostat.pictures.style import cut_apart, label, panel_title, percent, tidy, time_since, title_width
from hybrid import Dose, Prediction, Schedule
from hybrid.schedules.dose import as_float
from physics.arguments import require_kind
from physics.glance import glance
from training import Record

_DOSE: dict[str, Any] = {"color": INK, "linestyle": "none", "marker": "^", "markersize": 7.0}
_LARGER: dict[str, Any] = _DOSE | {"markerfacecolor": PAGE, "markeredgecolor": SECOND, "markeredgewidth": 1.6}
_HATCHED: dict[str, Any] = {"facecolor": "none", "edgecolor": GREY, "hatch": "///", "linewidth": 0.0, "alpha": 0.45}


@dataclass(frozen=True)
class Exceedance:
    """How far one person's forecast is above a threshold.

    `peak_time`, where the median is highest · `peak`, the median there · `probability`, P(a measurement then >
    threshold) · `duration`, ∫ P(measurement > threshold) dt over the forecast: the expected time above.
    """

    peak_time: float
    peak: float
    probability: float
    duration: float

    __repr__, _repr_html_ = glance()

    @staticmethod
    def of(prediction: Prediction, threshold: float, *, person: int, channel: int) -> "Exceedance":
        """From the mixture itself; the integral by the trapezoidal rule on the prediction's own times."""
        one = prediction.people([person]).to("cpu")
        here = one.mask[0].numpy()
        t = one.times[0].numpy()[here]
        median = one.quantile((0.5,))[0, 0, :, channel].numpy()[here]
        above = one.exceeds(threshold)[0, :, channel].numpy()[here]
        k = int(np.argmax(median))
        return Exceedance(float(t[k]), float(median[k]), float(above[k]), float(np.trapezoid(above, t)))


def schedule_axes(
    bands: Bands,
    *,
    axes: Axes | None = None,
    person: int = 0,
    threshold: float | None = None,
    schedule: Schedule | None = None,
    beyond: Sequence[tuple[float, float]] = (),
    largest: Mapping[str, float] | None = None,
    until: float | None = None,
    measured: tuple[ArrayLike, ArrayLike] | None = None,
    limited: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    under_it: bool = True,
) -> Axes:
    """One schedule's bands, the threshold (gid "threshold"), and a mark at every dose along the time axis (gid
    "doses").

    Arguments: `largest`, by compartment, doses above which are larger than any in training (gid "doses_beyond");
    hatched, the times `beyond` what was trained (gid "beyond"); `until`, when this person was last measured in
    training (gid "until"); `measured`, times and values of what was measured of this person: full dots (gid
    "measured") `under_it`, this very schedule, and open ones where it was under another; `limited`, times and limits of what
    is only known to lie beyond these, and whether below: triangles (gid "limited"), full and open likewise. Returns the axes.
    """
    require_kind(bands, Bands, "schedule_axes: bands", "Bands.of(prediction)")
    axes = band_axes(bands, person, axes=axes)
    for begin, end in beyond:
        axes.axvspan(begin, end, zorder=0.8, gid="beyond", **_HATCHED)
    if threshold is not None:
        axes.axhline(threshold, color=SECOND, linewidth=1.3, linestyle=(0, (5, 3)), zorder=2.5, gid="threshold")
    if until is not None:
        axes.axvline(until, color=GREY, linewidth=1.0, linestyle=(0, (1, 2)), zorder=2.0, gid="until")
    end = float(np.nanmax(bands.times))  # the marks are not clipped: a later dose would stand beside the picture
    for gid, which, look in (("doses", False, _DOSE), ("doses_beyond", True, _LARGER)):
        given = [d for d in _doses(schedule) if as_float(d.time) <= end]
        times = [as_float(d.time) for d in given if _larger(d, largest) is which]
        if times:
            line = Line2D(
                times, [0.0] * len(times), transform=axes.get_xaxis_transform(), clip_on=False, zorder=5.0, **look
            )
            line.set_gid(gid)
            axes.add_line(line)
    if measured is not None:
        seen, values = (np.asarray(v, dtype=np.float64) for v in measured)
        axes.add_line(dots(seen, values, filled=under_it, name="measured"))
    if limited is not None:
        at, limit = (np.asarray(v, dtype=np.float64) for v in limited[:2])
        limited_marks(axes, at, limit, np.asarray(limited[2], dtype=bool), filled=under_it)
    tidy(axes)
    return axes


def _doses(schedule: Schedule | None) -> Sequence[Dose]:
    return () if schedule is None else schedule.doses


def _larger(dose: Dose, largest: Mapping[str, float] | None) -> bool:
    return largest is not None and dose.state in largest and as_float(dose.amount) > 1.01 * largest[dose.state]


def what_if_axes(
    predictions: Mapping[str, Prediction],
    *,
    axes: Given = None,
    channel: int = 0,
    threshold: float | None = None,
    person: int = 0,
    level: float = 0.8,
    time_unit: str | None = None,
    schedules: Mapping[str, Schedule] | None = None,
    since: str | None = None,
    nonnegative: Sequence[str] = (),
    beyond: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    uncertified: Collection[str] = (),
    largest: Mapping[str, float] | None = None,
    until: float | None = None,
    measured: Record | None = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> list[Axes]:
    """The same person under several schedules, side by side on shared limits. Returns the panels' axes.

    Each panel says P(a measurement at the peak > threshold), with the peak that of the median, and the expected time
    above the threshold. Arguments: `predictions` by the name of what is done, at most eight; `threshold` in the
    channel's unit; `schedules`, by the same names, mark the doses; `since`, what the times count from, stands at
    their axis; `nonnegative`, the channels that are cut at 0; `beyond`, by name of those that go beyond what was
    trained, the times at which they do: their panels say so, and these times are hatched; `uncertified`, the names of those
    that no certificate speaks of, whose panels say that; `axes`, as many as
    predictions, by default those of a figure of its own under `title` and `subtitle`.
    Errors: `ValueError` for no prediction or too many, a person or channel that is not there, schedules of other names.
    """
    require_kind(predictions, Mapping, "what_if_axes: predictions", '{"as given": bundle.forecast(…)}')
    if not 1 <= len(predictions) <= 8:
        raise ValueError(f"{len(predictions)} predictions were given; one picture compares from 1 to 8 schedules.")
    if schedules is not None and not set(schedules) <= set(predictions):
        raise ValueError(
            f"Schedules are named {sorted(schedules)} and predictions {sorted(predictions)}; give them the same names."
        )
    beyond = beyond or {}
    bands = {
        name: Bands.of(p.people([person]), channel=channel, level=level, nonnegative=nonnegative)
        for name, p in predictions.items()
    }
    first = next(iter(predictions.values()))
    unit = first.units[channel]
    handles: list[Artist] = band_handles(level, first.channels[channel] in nonnegative)
    if threshold is not None:
        dash = (0, (5, 3))
        handles.append(
            Line2D([], [], color=SECOND, linewidth=1.3, linestyle=dash, label=f"threshold, {threshold:g} {unit}")
        )
    if schedules:
        handles.append(Line2D([], [], label="dose", **_DOSE))
        if any(_larger(dose, largest) for one in schedules.values() for dose in one.doses):
            handles.append(Line2D([], [], label="dose larger than any in training", **_LARGER))
    seen = limited = None
    if measured is not None:
        there = np.isfinite(measured.values[:, channel])
        measured = measured.on_own_clock()
        seen = measured.times[there], measured.values[there, channel]
        own = [schedules is None or schedules.get(name) == measured.schedule for name in predictions]
        handles += [dots(filled=True, name="measured")] * any(own)
        handles += [dots(filled=False, name="measured, under what was given")] * (not all(own))
        limit, below = beyond_limits(measured, channel)
        if np.isfinite(limit).any():
            limited = measured.times, limit, below
            handles.append(limited_handle(any(own)))
    if until is not None:
        handles.append(
            Line2D([], [], color=GREY, linewidth=1.0, linestyle=(0, (1, 2)), label="last measured in training")
        )
    if any(beyond.values()):
        handles.append(Patch(label="beyond what was trained", **_HATCHED))
    count = len(predictions)
    columns = count if count <= 4 else -(-count // 2)
    rows = -(-count // columns)
    width = 9.0 if count == 1 else 12.0
    panels = sheet_axes(
        axes,
        (rows, columns),
        count=count,
        size=(width, 4.3 * rows),
        title=title,
        subtitle=subtitle,
        handles=handles,
        legend_columns=3 if width > 10 else 2,
    )
    names = cut_apart([*predictions], 11.5, min(map(title_width, panels)), bold=True)
    for panel, shown, (name, prediction) in zip(panels, names, predictions.items(), strict=True):
        schedule = None if schedules is None else schedules.get(name)
        schedule_axes(
            bands[name],
            axes=panel,
            threshold=threshold,
            schedule=schedule,
            beyond=beyond.get(name, ()),
            largest=largest,
            until=until,
            measured=seen,
            limited=limited,
            under_it=measured is None or schedules is None or schedule == measured.schedule,
        )
        found = Exceedance.of(prediction, 0.0 if threshold is None else threshold, person=person, channel=channel)
        words = exceedance_in_words(found, prediction, threshold, person, channel, time_unit)
        # a line in every panel, so that their titles stand side by side
        for said, where in (("BEYOND WHAT WAS TRAINED", beyond), ("OUTSIDE WHAT IS CERTIFIED", uncertified)):
            if where:
                words += f"\n{said}" if name in where else "\n "
        panel_title(panel, shown, words)
    lows, highs = zip(*(b.extent() for b in bands.values()), strict=True)
    values = [] if seen is None else seen[1].tolist()
    values += [] if limited is None else limited[1][np.isfinite(limited[1])].tolist()
    low, high = min([*lows, *values]), max([*highs, *values, *([] if threshold is None else [threshold])])
    pad = 0.05 * (high - low)
    clock = np.array([p.times[person][p.mask[person]][[0, -1]].tolist() for p in predictions.values()])
    start, end = float(clock[:, 0].min()), float(clock[:, 1].max())
    for panel in panels:
        panel.set_xlim(start - 0.03 * (end - start), end + 0.03 * (end - start))
        panel.set_ylim(0.0 if 0.0 <= low < 0.5 * high else low - pad, high + pad)
    outer_labels(panels, label(time_since(since), time_unit), label(first.channels[channel], unit))
    return panels


def exceedance_in_words(
    found: Exceedance,
    prediction: Prediction,
    threshold: float | None,
    person: int,
    channel: int,
    time_unit: str | None,
) -> str:
    """When the median peaks, and, with a threshold, how likely a measurement then and how long one is above: short
    lines."""
    unit, clock = prediction.units[channel], f" {time_unit}" if time_unit else ""
    t = prediction.times[person][prediction.mask[person]]
    # times to about a hundredth of the forecast's length: no reader wants more, and the integral's grid gives no more
    decimals = max(0, -math.floor(math.log10(max(float(t[-1] - t[0]), 1e-9) / 100.0)))
    smallest = 10.0**-decimals
    peak = f"median peaks at {found.peak:.3g} {unit}, {found.peak_time:.{decimals}f}{clock}"
    if threshold is None:
        return peak
    time = f"{found.duration:.{decimals}f}{clock}" if found.duration >= smallest else f"below {smallest:g}{clock}"
    return (
        f"{peak}\nP(measured above {threshold:g} {unit} then): {chance(found.probability)}\nexpected time above: {time}"
    )


def chance(probability: float) -> str:
    """A probability in per cent, never rounded to certainty."""
    if probability < 0.005:
        return "below " + percent(0.01)
    return "above " + percent(0.99) if probability > 0.995 else percent(probability)
