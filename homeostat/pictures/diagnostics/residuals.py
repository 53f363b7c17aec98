"""Goodness of fit: measured against predicted, and weighted residuals against what they should not depend on."""

import numpy as np
from matplotlib.axes import Axes

from homeostat.pictures.colours import GREY
from homeostat.pictures.diagnostics.marks import DASHED, dot_line, errors_panel, handles, normal_axes, reach, trend
from homeostat.pictures.diagnostics.npde import channel_of
from homeostat.pictures.sheet import Given, sheet_axes
from homeostat.pictures.style import axis_labels, label, panel_title, tidy
from physics.arguments import require_kind
from training.diagnostics import Residuals

WIDE = 30.0  # largest over smallest value, from which on both axes are logarithmic


def residuals_axes(
    found: Residuals,
    *,
    channel: int = 0,
    axes: Given = None,
    title: str | None = None,
    subtitle: str | None = None,
    since: str | None = None,
) -> list[Axes]:
    """Six panels of one channel: measured against PRED and IPRED, CWRES against normal quantiles; CWRES against time and PRED,
    IWRES
    against IPRED.

    Arguments: `channel`, its place; `axes`, six, by default those of a figure of its own under `title` and `subtitle`; `since`,
    what times count from. Returns the panels' axes.
    Errors: `ValueError` for a channel that is not there or of which nothing was measured.
    """
    require_kind(found, Residuals, "residuals_axes: found", "residuals(model, cohort)")
    name = channel_of(channel, found.about.channels, "residuals_axes")
    there = np.isfinite(found.cwres[..., channel].cpu().numpy())
    if not there.any():
        raise ValueError(f"residuals_axes: nothing was measured of {name}; choose another channel")
    y, pred, ipred, iwres, cwres = (
        v[..., channel].cpu().numpy()[there] for v in (found.y, found.pred, found.ipred, found.iwres, found.cwres)
    )
    times, unit = found.times.cpu().numpy()[there], found.about.units[channel]
    panels = sheet_axes(axes, (2, 3), size=(13.0, 8.6), title=title, subtitle=subtitle, handles=handles(), legend_columns=4)
    low, high, log = _ends(y, pred, ipred)
    for panel, predicted, words in (
        (panels[0], pred, "PRED, of the typical person"),
        (panels[1], ipred, "IPRED, of each person"),
    ):
        panel.plot([low, high], [low, high], color=GREY, linewidth=1.0, linestyle=DASHED, zorder=1.8, gid="diagonal")
        dot_line(predicted, y, panel)
        trend(predicted, y, panel)
        if log:
            panel.set_xscale("log")
            panel.set_yscale("log")
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_major_formatter("{x:g}")
        panel.set_xlim(low, high)
        panel.set_ylim(low, high)
        tidy(panel, grid=False)
        axis_labels(panel, label(words, unit), label(f"measured {name}", unit))
    panel_title(panels[0], "Measured and typical")
    panel_title(panels[1], "Measured and individual")
    most = reach(cwres, iwres)
    normal_axes(cwres, panels[2], most)
    axis_labels(panels[2], "Normal quantile", "CWRES")
    panel_title(panels[2], "Is the law of CWRES normal?")
    rows = (
        (
            panels[3],
            times,
            cwres,
            "CWRES along time",
            label("time" if since is None else f"time since {since}", found.about.time_unit),
        ),
        (panels[4], pred, cwres, "CWRES along the prediction", label("PRED", unit)),
        (panels[5], ipred, iwres, "IWRES along the fit", label("IPRED", unit)),
    )
    for panel, x, z, words, below in rows:
        errors_panel(x, z, panel, most)
        axis_labels(panel, below, words.split(" ")[0])
        panel_title(panel, words)
    return panels


def _ends(*values: np.ndarray) -> tuple[float, float, bool]:
    """Ends that hold all dots, and whether they are to be on a logarithmic axis."""
    every = np.concatenate(values)
    low, high = float(every.min()), float(every.max())
    if low > 0.0 and high > WIDE * low:
        return low / 1.3, high * 1.3, True
    pad = 0.05 * (high - low) or 0.5 * abs(high) or 1.0
    return (0.0 if 0.0 <= low < 0.5 * high else low - pad), high + pad, False
