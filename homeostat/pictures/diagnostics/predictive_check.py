"""Visual predictive checks: quantiles of what was measured over the bands of the same quantiles of simulated cohorts."""

from collections.abc import Mapping

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from homeostat.pictures.colours import FAINT, GREY, LINE, NOISE, SECOND
from homeostat.pictures.diagnostics.marks import DASHED
from homeostat.pictures.sheet import Given, panel_axes, sheet_axes
from homeostat.pictures.style import axis_labels, label, panel_title, percent, tidy
from physics.arguments import require_kind
from training.diagnostics import PredictiveCheck

PALE_DOTS = 0.45


def predictive_check_panel_axes(check: PredictiveCheck, *, axes: Axes | None = None, since: str | None = None) -> Axes:
    """Measured quantiles (gid "quantile", dashed but the middle one) over the bands of the simulated ones (gid "band"), the
    measurements behind (gid "measured"); a quantile outside its band is ringed (gid "outside").

    A tick above the time axis is the end of a bin (gid "bins"). `since`, what times count from. Returns the axes.
    """
    require_kind(check, PredictiveCheck, "predictive_check_panel_axes: check", "predictive_check(simulated)")
    axes = panel_axes(axes, width=6.4, height=4.6, handles=predictive_check_handles(check))
    middle = int(np.argmin(np.abs(np.array(check.levels) - 0.5)))
    exact = ~check.censored
    axes.plot(
        check.times[exact],
        check.values[exact],
        "o",
        color=GREY,
        alpha=PALE_DOTS,
        markersize=2.6,
        markeredgewidth=0,
        zorder=2.2,
        gid="measured",
    )
    here = check.count > 0
    for j in range(len(check.levels)):
        colour = FAINT if j == middle else NOISE
        x, low, high = _spread(check, np.where(here, check.low[j], np.nan)), check.low[j], check.high[j]
        wide = (low, high) if len(x) == len(low) else (np.repeat(low, 2), np.repeat(high, 2))
        axes.fill_between(x, *wide, color=colour, alpha=0.8, linewidth=0, zorder=1.5 if j == middle else 1.2).set_gid("band")
        axes.plot(
            check.at,
            check.observed[j],
            color=LINE,
            linewidth=2.0 if j == middle else 1.5,
            marker="o",
            markersize=3.6,
            linestyle="-" if j == middle else DASHED,
            zorder=3.5,
            gid="quantile",
        )
    with np.errstate(invalid="ignore"):
        outside = (check.observed < check.low) | (check.observed > check.high)
    level, b = np.nonzero(outside)
    axes.plot(
        check.at[b],
        check.observed[level, b],
        "o",
        markersize=9.0,
        markerfacecolor="none",
        markeredgecolor=SECOND,
        markeredgewidth=1.8,
        zorder=4.0,
        gid="outside",
    )
    for limit in check.limits:
        if np.isfinite(limit):
            axes.axhline(limit, color=SECOND, linewidth=1.1, linestyle=(0, (1, 2)), zorder=2.0, gid="limit")
    tidy(axes)
    axes.plot(
        check.edges,
        np.zeros(len(check.edges)),
        "|",
        color=GREY,
        markersize=9.0,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        zorder=5.0,
        gid="bins",
    )
    quantity = f"{check.channel}, prediction-corrected" if check.corrected else check.channel
    axis_labels(
        axes, label("time" if since is None else f"time since {since}", check.about.time_unit), label(quantity, check.unit)
    )
    return axes


def _spread(check: PredictiveCheck, values: np.ndarray) -> np.ndarray:
    """Where a band lies along time: at the bins' medians, or, of one bin, from its beginning to its end."""
    if len(values) > 1:
        return check.at
    pad = 0.5 if check.edges[0] == check.edges[-1] else 0.0
    return np.array([check.edges[0] - pad, check.edges[-1] + pad])


def predictive_check_axes(
    checks: Mapping[str, PredictiveCheck],
    *,
    axes: Given = None,
    title: str | None = None,
    subtitle: str | None = None,
    since: str | None = None,
) -> list[Axes]:
    """Predictive checks side by side, each by what it is: "as measured", "prediction-corrected". Returns the panels' axes.

    Arguments: `checks`, from one to three of one band and the same levels; `axes`, as many, by default those of a figure of its
    own under `title` and `subtitle`; `since`, what times count from.
    Errors: `ValueError` for none or too many, or of different bands.
    """
    require_kind(checks, Mapping, "predictive_check_axes: checks", '{"as measured": predictive_check(simulated)}')
    if not 1 <= len(checks) <= 3:
        raise ValueError(f"predictive_check_axes: {len(checks)} checks were given; one picture shows from 1 to 3 side by side")
    kinds = list(checks.values())
    for one in kinds:
        require_kind(one, PredictiveCheck, "predictive_check_axes: each of checks", "predictive_check(simulated)")
    if len({(one.band, one.levels) for one in kinds}) > 1:
        raise ValueError(
            "predictive_check_axes: the checks have different levels or bands, and one legend tells them; draw them apart"
        )
    panels = sheet_axes(
        axes,
        (1, len(kinds)),
        size=({1: 7.5, 2: 11.5, 3: 14.5}[len(kinds)], 4.7),
        title=title,
        subtitle=subtitle,
        handles=predictive_check_handles(*kinds),
        legend_columns=3 if len(kinds) > 1 else 2,
    )
    for panel, (name, one) in zip(panels, checks.items(), strict=True):
        predictive_check_panel_axes(one, axes=panel, since=since)
        panel_title(panel, name[:1].upper() + name[1:], strays_in_words(one))
    return panels


def strays_in_words(check: PredictiveCheck) -> str:
    """How many quantiles leave their band, beside how many do by chance."""
    return (
        f"{check.strays.observed:.0f} of {check.strays_of} quantiles outside their band,\n"
        f"up to {check.strays.upper:.0f} in {percent(check.strays.level)} of right models"
    )


def predictive_check_handles(*checks: PredictiveCheck) -> list[Artist]:
    """The legend's entries."""
    first = checks[0]
    middle = int(np.argmin(np.abs(np.array(first.levels) - 0.5)))
    outer = [percent(level) for j, level in enumerate(first.levels) if j != middle]
    half, band = percent(first.levels[middle]), f"{percent(first.band)} of simulated cohorts"
    found: list[Artist] = [
        Line2D([], [], color=LINE, linewidth=2.0, marker="o", markersize=3.6, label=f"measured {half} quantile"),
        Patch(facecolor=FAINT, alpha=0.8, label=f"{half} quantile of {band}"),
        Line2D([], [], color=GREY, alpha=PALE_DOTS, marker="o", markersize=3.0, linestyle="none", label="one measurement"),
    ]
    if outer:
        names = " and ".join(outer)
        found.append(
            Line2D([], [], color=LINE, linewidth=1.5, linestyle=DASHED, marker="o", markersize=3.6, label=f"measured {names}")
        )
        found.append(Patch(facecolor=NOISE, alpha=0.8, label=f"{names} of {band}"))
    found.append(
        Line2D(
            [],
            [],
            marker="o",
            markersize=8.0,
            markerfacecolor="none",
            markeredgecolor=SECOND,
            markeredgewidth=1.8,
            linestyle="none",
            label="outside its band",
        )
    )
    if any(np.isfinite(limit) for one in checks for limit in one.limits):
        found.append(Line2D([], [], color=SECOND, linewidth=1.1, linestyle=(0, (1, 2)), label="limit of quantification"))
    return found
