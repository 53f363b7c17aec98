"""Individual and population fits as small multiples."""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from homeostat.pictures.bands import Array
from homeostat.pictures.colours import GREY, LINE
from homeostat.pictures.diagnostics.marks import DASHED
from homeostat.pictures.diagnostics.npde import channel_of
from homeostat.pictures.people import MOST, dots, limited_handle, limited_marks, nearest_limits
from homeostat.pictures.sheet import Given, outer_labels, sheet_axes
from homeostat.pictures.style import cut_apart, grid_shape, label, panel_title, person_name, tidy, title_width
from physics.arguments import quote, require_kind
from training.diagnostics import FittedCurves


def curves_axes(
    fits: FittedCurves,
    people: Sequence[int] | None = None,
    *,
    channel: int = 0,
    axes: Given = None,
    title: str | None = None,
    subtitle: str | None = None,
    since: str | None = None,
) -> list[Axes]:
    """One panel a person: what was measured (gid "known"), their own curve (gid "individual") and that of the typical person with
    their doses and covariates (gid "population"). What is only known to lie beyond a limit has a triangle there that points to
    where it lies (gid "limited").

    Arguments: `people`, their places, at most 24, by default the first 24; `channel`, its place; `axes`, as many as people, by
    default those of a figure of its own under `title` and `subtitle`; `since`, what times count from. Returns the panels' axes.
    Errors: `ValueError` for a channel or people that are not there, or too many.
    """
    require_kind(fits, FittedCurves, "curves_axes: fits", "fitted_curves(model, cohort)")
    name = channel_of(channel, fits.about.channels, "curves_axes")
    ids = fits.about.ids
    places = list(range(min(MOST, len(ids)))) if people is None else list(people)
    if not 1 <= len(places) <= MOST or not all(isinstance(i, int) and 0 <= i < len(ids) for i in places):
        raise ValueError(
            f"curves_axes: people are from 1 to {MOST} places below {len(ids)}, and are {quote(places)}; write range(0, 12)"
        )
    limit, below = limits_of(fits, channel)
    rows, columns = grid_shape(len(places))
    width = {1: 9.0, 2: 10.5}.get(columns, 12.0)
    panels = sheet_axes(
        axes,
        (rows, columns),
        count=len(places),
        size=(width, 4.4 if rows == 1 else 2.15 * rows + 0.3),
        title=title,
        subtitle=subtitle,
        handles=curves_handles(limited=bool(np.isfinite(limit[places]).any())),
        legend_columns=3,
    )
    names = cut_apart([person_name(ids[i]) for i in places], 10.5, min(map(title_width, panels)), bold=True)
    at, seen = fits.measured_at.cpu().numpy(), fits.measured[..., channel].cpu().numpy()
    times, population, individual = (
        fits.times.cpu().numpy(),
        fits.population[..., channel].cpu().numpy(),
        fits.individual[..., channel].cpu().numpy(),
    )
    every = np.concatenate([v[places].ravel() for v in (seen, limit, population, individual)])
    every = every[np.isfinite(every)]
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    pad = 0.05 * (high - low) or 1.0
    begin, end = float(times[places].min()), float(times[places].max())
    for panel, i, words in zip(panels, places, names, strict=True):
        panel.plot(times[i], population[i], color=GREY, linewidth=1.4, linestyle=DASHED, zorder=2.0, gid="population")
        panel.plot(times[i], individual[i], color=LINE, linewidth=1.8, zorder=3.0, gid="individual")
        there = np.isfinite(seen[i])
        panel.add_line(dots(at[i][there], seen[i][there], filled=True, name="known"))
        limited_marks(panel, at[i], limit[i], below[i], filled=True)
        tidy(panel)
        panel.set_ylim(0.0 if 0.0 <= low < 0.5 * high else low - pad, high + pad)
        panel.set_xlim(begin - 0.03 * (end - begin), end + 0.03 * (end - begin))
        panel_title(panel, words, "not computed" if i in fits.about.failed else "", size=10.5)
    outer_labels(
        panels,
        label("time" if since is None else f"time since {since}", fits.about.time_unit),
        label(name, fits.about.units[channel]),
    )
    return panels


def limits_of(fits: FittedCurves, channel: int) -> tuple[Array, NDArray[np.bool_]]:  # (N, T), (N, T)
    """Where each value stands that is only known by its limits, NaN for the others, and whether it lies below."""
    if fits.limits is None:
        nothing = np.full(fits.measured.shape[:2], np.nan)
        return nearest_limits(nothing, nothing)
    return nearest_limits(*fits.limits[..., channel, :].cpu().numpy().transpose(2, 0, 1))


def curves_handles(*, limited: bool = False) -> list[Artist]:
    """The legend's entries; `limited`: of values beyond limits too."""
    return [
        dots(filled=True, name="measured"),
        *([limited_handle()] if limited else []),
        Line2D([], [], color=LINE, linewidth=1.8, label="individual fit"),
        Line2D([], [], color=GREY, linewidth=1.4, linestyle=DASHED, label="typical person, same doses and covariates"),
    ]
