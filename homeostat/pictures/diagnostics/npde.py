"""NPDE: against the normal law, along time, and along what was predicted."""

import numpy as np
from matplotlib.axes import Axes

from homeostat.pictures.diagnostics.marks import beside, errors_panel, handles, normal_axes, reach
from homeostat.pictures.sheet import Given, sheet_axes
from homeostat.pictures.style import axis_labels, label, panel_title
from physics.arguments import require_kind
from training.diagnostics import PredictionErrors


def npde_axes(
    errors: PredictionErrors,
    *,
    channel: int = 0,
    axes: Given = None,
    title: str | None = None,
    subtitle: str | None = None,
    since: str | None = None,
) -> list[Axes]:
    """One channel's NPDE in three panels: sorted against normal quantiles, against time, against the mean prediction.

    Arguments: `channel`, its place; `axes`, three, by default those of a figure of its own under `title` and `subtitle`; `since`,
    what times count from. Returns the panels' axes.
    Errors: `ValueError` for a channel that is not there or of which nothing was measured.
    """
    require_kind(errors, PredictionErrors, "npde_axes: errors", "npde(simulated, generator)")
    name = channel_of(channel, errors.about.channels, "npde_axes")
    there = np.isfinite(errors.npde[..., channel].cpu().numpy())
    if not there.any():
        raise ValueError(f"npde_axes: nothing was measured of {name}; choose another channel")
    z, epred = (v[..., channel].cpu().numpy()[there] for v in (errors.npde, errors.epred))
    times = errors.times.cpu().numpy()[there]
    panels = sheet_axes(axes, (1, 3), size=(13.0, 4.5), title=title, subtitle=subtitle, handles=handles(), legend_columns=4)
    most = reach(z)
    normal_axes(z, panels[0], most)
    errors_panel(times, z, panels[1], most)
    errors_panel(epred, z, panels[2], most)
    what = "NPDE" if errors.decorrelated else "Normalised pd"
    axis_labels(panels[0], "Normal quantile", what)
    axis_labels(panels[1], label("time" if since is None else f"time since {since}", errors.about.time_unit), what)
    axis_labels(panels[2], label(f"mean simulated {name}", errors.about.units[channel]), what)
    bands = errors.statistics[name]
    panel_title(panels[0], "Is its law normal?", beside("Kolmogorov distance", bands["Kolmogorov distance"], "\n"))
    panel_title(panels[1], "Along time", beside("mean", bands["mean"], "\n"))
    panel_title(panels[2], "Along the prediction", beside("standard deviation", bands["standard deviation"], "\n"))
    return panels


def channel_of(channel: int, channels: tuple[str, ...], where: str) -> str:
    """The channel's name. Errors: `ValueError`, beginning with `where`, for a place that is not there."""
    if isinstance(channel, bool) or not isinstance(channel, int) or not 0 <= channel < len(channels):
        raise ValueError(f"{where}: channel is a place from 0 to {len(channels) - 1} ({', '.join(channels)}), and is {channel!r}")
    return channels[channel]
