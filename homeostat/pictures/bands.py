"""Two uncertainties as two bands: what more data would narrow, and what no data would."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from homeostat.pictures.colours import IGNORANCE, LINE, NOISE
from homeostat.pictures.sheet import panel_axes
from homeostat.pictures.style import percent
from hybrid import Prediction
from physics.arguments import require_kind, require_names, require_number
from physics.glance import glance

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bands:
    """One channel of a prediction as curves over time, NaN at padding.

    `times`, `median` (N, T) · `total` (2, N, T): the central interval of an observation · `ignorance` (2, N, T): the
    central interval, of the same level, of the noise-free curve, over members and over draws of the person: zero width
    where one member and one draw are all there is. Ignorance is epistemic and personal uncertainty together.
    `cut`: the channel is declared never to be below 0, and all of it is of max(y, 0).
    """

    times: Array
    median: Array
    total: Array
    ignorance: Array
    level: float
    cut: bool = False

    __repr__, _repr_html_ = glance()

    @staticmethod
    def of(prediction: Prediction, *, channel: int = 0, level: float = 0.8, nonnegative: Sequence[str] = ()) -> "Bands":
        """The bands of one channel; cut at 0, below which a Gaussian reaches and the channel cannot be, where it is
        named in `nonnegative`. A quantile of max(y, 0) is the larger of y's and 0.

        Errors: `ValueError` for what is no prediction, a channel that is not there or a level outside (0, 1).
        """
        require_kind(prediction, Prediction, "Bands.of: prediction", "predict(model, cohort, draws)")
        require_number(channel, "Bands.of: channel", whole=True)
        require_number(level, "Bands.of: level")
        nonnegative = require_names(nonnegative, "Bands.of: nonnegative", '("concentration",), or () for none')
        channel, level = int(channel), float(level)
        if not 0 <= channel < len(prediction.channels):
            raise ValueError(
                f"Channel {channel} was asked for; the prediction has {len(prediction.channels)} "
                f"({', '.join(prediction.channels)}), counted from 0."
            )
        if not 0.0 < level < 1.0:
            raise ValueError(f"A band of level {level} was asked for; levels lie strictly between 0 and 1, e.g. 0.8.")
        ends, prediction = (0.5 * (1.0 - level), 0.5 * (1.0 + level)), prediction.to("cpu")
        low, median, high = prediction.quantile((ends[0], 0.5, ends[1]))[..., channel].numpy()
        mask = prediction.mask.numpy()
        curves = prediction.mean[..., channel].numpy()  # (M, S, N, T)
        curves = np.where(mask, curves.reshape(-1, *curves.shape[2:]), 0.0)  # what padding holds is never looked at
        inner = np.where(mask, np.quantile(curves, ends, axis=0), np.nan)
        times, total = np.where(mask, prediction.times.numpy(), np.nan), np.stack([low, high])
        if prediction.channels[channel] in nonnegative:
            median, total, inner = (np.maximum(v, 0.0) for v in (median, total, inner))
        return Bands(times, median, total, inner, level, prediction.channels[channel] in nonnegative)

    def extent(self) -> tuple[float, float]:
        """Lowest and highest value that the bands reach."""
        return float(np.nanmin(self.total)), float(np.nanmax(self.total))


def band_axes(bands: Bands, person: int = 0, *, axes: Axes | None = None) -> Axes:
    """Draw one person's bands and median line (gids "total", "ignorance", "median").

    `person`, the place in `bands`. Returns the axes.
    """
    require_kind(bands, Bands, "band_axes: bands", "Bands.of(prediction)")
    require_number(person, "band_axes: person", whole=True)
    person = int(person)
    if not -len(bands.times) <= person < len(bands.times):
        raise ValueError(f"Person {person} was asked for; the bands are of {len(bands.times)}, counted from 0.")
    axes = panel_axes(axes)
    here = np.isfinite(bands.times[person])
    t = bands.times[person, here]
    total, ignorance = bands.total[:, person, here], bands.ignorance[:, person, here]
    axes.fill_between(t, *total, color=NOISE, linewidth=0, zorder=1.0).set_gid("total")
    axes.fill_between(t, *ignorance, color=IGNORANCE, linewidth=0, zorder=1.5).set_gid("ignorance")
    (line,) = axes.plot(t, bands.median[person, here], color=LINE, linewidth=1.8, zorder=3.0)
    line.set_gid("median")
    return axes


def band_handles(level: float, cut: bool = False, *, line: str = "median forecast") -> list[Artist]:
    """What the legend says of the bands, and that they are cut at 0 where they are. `line`, what the median is of."""
    noise = f"total, {percent(level)} band{', cut at 0' if cut else ''}: adds measurement noise"
    return [
        Line2D([], [], color=LINE, linewidth=1.8, label=line),
        Patch(facecolor=IGNORANCE, label=f"ignorance, {percent(level)} band: more data would narrow it"),
        Patch(facecolor=NOISE, label=noise),
    ]
