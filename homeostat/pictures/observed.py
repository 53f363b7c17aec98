"""What was measured against what was predicted of it: on the diagonal, where a prediction comes true."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from homeostat.pictures.colours import FAINT, GREY, LINE
from homeostat.pictures.sheet import Given, panel_axes, sheet_axes
from homeostat.pictures.style import axis_labels, label, panel_title, percent, tidy
from hybrid import Prediction
from physics.arguments import require_kind, require_tensor
from physics.glance import glance

Array = NDArray[np.float64]
WIDE = 30.0  # largest over smallest value, from which on both axes are logarithmic


@dataclass(frozen=True, eq=False)
class Observed:
    """One channel's measurements beside their predictions, people after people, in the channel's unit.

    `predicted`, `measured` (K,) · `low`, `high` (K,), the interval of probability `level` · `channel`, `unit`.
    """

    predicted: Array
    measured: Array
    low: Array
    high: Array
    level: float
    channel: str
    unit: str

    __repr__, _repr_html_ = glance()

    @staticmethod
    def of(
        prediction: Prediction,
        y: Tensor,  # (N, T, p), NaN where nothing was measured
        *,
        channel: int = 0,
        level: float = 0.8,
    ) -> "Observed":
        """Every measurement of a channel that is there, with the prediction's mean and interval at its time.

        Errors: `ValueError` for a channel that is not there, measurements of another shape, a level outside (0, 1).
        """
        require_tensor(y, "Observed.of: y", "cohort.y")
        if not 0 <= channel < len(prediction.channels):
            raise ValueError(
                f"Channel {channel} was asked for; the prediction has {len(prediction.channels)} "
                f"({', '.join(prediction.channels)}), counted from 0."
            )
        prediction, y = prediction.to("cpu"), y.detach().cpu()
        if y.shape != prediction.point.shape:
            raise ValueError(
                f"y has shape {tuple(y.shape)} and the prediction {tuple(prediction.point.shape)}: people, times, channels; "
                "give what was measured at the prediction's own times, NaN where nothing was."
            )
        there = torch.isfinite(y[..., channel]) & prediction.mask
        low, high = prediction.interval(level)
        point, seen, below, above = (v[..., channel][there].double().numpy() for v in (prediction.point, y, low, high))
        return Observed(point, seen, below, above, level, prediction.channels[channel], prediction.units[channel])

    @property
    def rmse(self) -> float:
        """The root of the mean squared distance between measured and predicted; NaN without a measurement."""
        return float(np.sqrt(np.square(self.measured - self.predicted).mean())) if len(self.measured) else float("nan")

    @property
    def bias(self) -> float:
        """Measured minus predicted, on average; NaN without a measurement."""
        return float((self.measured - self.predicted).mean()) if len(self.measured) else float("nan")

    @property
    def inside(self) -> int:
        """How many measurements lie inside their interval, ends included."""
        return int(((self.low <= self.measured) & (self.measured <= self.high)).sum())


def observed_panel_axes(
    numbers: Observed, *, axes: Axes | None = None, ends: tuple[float, float] | None = None, log: bool | None = None
) -> Axes:
    """Measured against predicted, one dot a measurement (gid "observed"), over its interval (gid "interval") and the diagonal
    (gid "diagonal").

    `ends`, lowest and highest value of both axes, and `log`, whether both are logarithmic: by default what the values ask for.
    Returns the axes.
    """
    require_kind(numbers, Observed, "observed_panel_axes: numbers", "Observed.of(prediction, y)")
    axes = panel_axes(axes, width=5.2, height=5.2, handles=observed_handles(numbers.level))
    low, high, logarithmic = _reach([numbers])
    low, high = (low, high) if ends is None else ends
    log = logarithmic if log is None else log
    axes.plot([low, high], [low, high], color=GREY, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1.8, gid="diagonal")
    axes.hlines(numbers.measured, numbers.low, numbers.high, color=FAINT, linewidth=1.2, zorder=2.0).set_gid("interval")
    axes.plot(
        numbers.predicted,
        numbers.measured,
        "o",
        color=LINE,
        markersize=4.4,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=4.0,
        gid="observed",
    )
    for axis, scale, limit in (
        (axes.xaxis, axes.set_xscale, axes.set_xlim),
        (axes.yaxis, axes.set_yscale, axes.set_ylim),
    ):
        if log:
            scale("log")
            axis.set_major_formatter("{x:g}")
        limit(low, high)
    axes.set_aspect("equal")
    axes.set_anchor("NW")
    tidy(axes, grid=False)
    if not log:  # the same on both axes
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axis_labels(
        axes, label(f"Predicted {numbers.channel}", numbers.unit), label(f"Measured {numbers.channel}", numbers.unit)
    )
    return axes


def observed_axes(
    numbers: Mapping[str, Observed],
    *,
    axes: Given = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> list[Axes]:
    """Measured against predicted, for each kind of prediction beside the other, on the same ends. Returns the panels' axes.

    Arguments: `numbers` by what kind of prediction they are of ("forecast", "individual fit"), from one to three of one channel;
    `axes`, as many, by default those of a figure of its own under `title` and `subtitle`. Both axes are logarithmic where all
    values are above 0 and the largest is more than 30 times the smallest.
    Errors: `ValueError` for none or too many, or of different channels.
    """
    require_kind(numbers, Mapping, "observed_axes: numbers", '{"forecast": Observed.of(prediction, y)}')
    if not 1 <= len(numbers) <= 3:
        raise ValueError(f"{len(numbers)} kinds of prediction were given; one picture shows from 1 to 3 side by side.")
    kinds = list(numbers.values())
    if len({(one.channel, one.unit) for one in kinds}) > 1:
        raise ValueError(
            f"The predictions are of {', '.join(f'{one.channel} in {one.unit}' for one in kinds)}; one picture shows one channel."
        )
    low, high, log = _reach(kinds)
    columns = len(kinds)
    panels = sheet_axes(
        axes,
        (1, columns),
        size=({1: 6.0, 2: 10.5, 3: 13.5}[columns], 5.0),
        title=title,
        subtitle=subtitle,
        handles=observed_handles(kinds[0].level),
        legend_columns=3 if columns > 1 else 2,
    )
    for panel, (name, one) in zip(panels, numbers.items(), strict=True):
        observed_panel_axes(one, axes=panel, ends=(low, high), log=log)
        count = len(one.measured)
        unit = "" if one.unit in ("", "1") else f" {one.unit}"
        words = f"{count} measurements, root mean square error {one.rmse:.3g}{unit}" if count else "no measurement"
        panel_title(panel, name[:1].upper() + name[1:], words)
    return panels


def observed_handles(level: float) -> list[Artist]:
    """The legend's entries."""
    return [
        Line2D([], [], color=LINE, marker="o", markersize=4.4, linestyle="none", label="one measurement"),
        Line2D([], [], color=FAINT, linewidth=2.0, label=f"its {percent(level)} interval"),
        Line2D([], [], color=GREY, linewidth=1.0, linestyle=(0, (4, 3)), label="as predicted"),
    ]


def _reach(kinds: list[Observed]) -> tuple[float, float, bool]:
    """Ends that hold all dots, and whether they are to be on a logarithmic axis: intervals may leave them."""
    values = np.concatenate([v for one in kinds for v in (one.predicted, one.measured)])
    if not len(values):
        return 0.0, 1.0, False
    low, high = float(values.min()), float(values.max())
    if low > 0.0 and high > WIDE * low:
        return low / 1.3, high * 1.3, True
    pad = 0.05 * (high - low) or 0.5 * abs(high) or 1.0
    return (0.0 if 0.0 <= low < 0.5 * high else low - pad), high + pad, False
