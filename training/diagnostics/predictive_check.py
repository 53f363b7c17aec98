"""Visual predictive check: quantiles of what was measured beside the same of simulated cohorts, along time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from hybrid.frames import frame_of
from physics.arguments import InputError, quote, require_flag, require_kind, require_number
from physics.glance import Summary, glance
from training.diagnostics.censored import Censoring
from training.diagnostics.members import About
from training.diagnostics.simulated import SimulatedCohorts
from training.trust.calibration import partition
from training.trust.null_band import NullBand, levels_of, stray_band, tails

if TYPE_CHECKING:
    from hybrid.frames import DataFrame

Array = NDArray[np.float64]
LEAST = 20  # simulated cohorts of which a band is made: fewer have no 95 % between their ends
NOMINAL = 12  # times at most that are each a bin of their own
STEEPEST = 100.0  # a correction by more than this shows the noise of a prediction near 0, and no measurement
EACH = 10  # measurements at least in a bin on average, where bins are made


def _summary(check: "PredictiveCheck") -> Summary:
    said = "prediction-corrected " if check.corrected else ""
    return f"PredictiveCheck, {said}of {check.channel}: {int(check.count.sum())} measurements in {len(check.count)} bins", [
        ("quantiles", ", ".join(f"{level:g}" for level in check.levels)),
        ("outside their band", f"{check.strays.observed:g} of {check.strays_of}; of right models up to {check.strays.upper:g}"),
        ("bins", check.binning),
        ("drawn from", check.about.members),
    ]


@dataclass(frozen=True, eq=False)
class PredictiveCheck:
    """One channel's quantiles along time, measured and simulated. L `levels` in B bins.

    `edges` (B+1) and `at` (B), the median time of each bin's measurements, `count` (B) of them · `observed` (L, B), quantiles of
    what was measured · `low`, `middle`, `high` (L, B), of the same quantile of K simulated cohorts: the interval that holds
    `band` of them, and their median · `times`, `values` (n), the measurements themselves, `censored` (n) those at a limit ·
    `beyond` (3, B), of the share of measurements below the limit of quantification: observed, and the ends of the interval of the
    simulated ones; None without one · `limits`, that limit and the one above which nothing is measured, ±∞ for none: quantiles
    there are NaN · `strays`, how many of the L·B quantiles leave their own interval, beside how many do of a right model ·
    `corrected`: values are times the bin's median prediction over their own · `left_out`, how many measurements have no place,
    and `why` · `binning`, how the bins were made, in words · `draws` K · `channel`, `unit` · `about`, of which people and
    members.
    """

    levels: tuple[float, ...]
    band: float
    edges: Array
    at: Array
    count: NDArray[np.int64]
    observed: Array
    low: Array
    middle: Array
    high: Array
    times: Array
    values: Array
    censored: NDArray[np.bool_]
    beyond: Array | None
    limits: tuple[float, float]
    strays: NullBand
    corrected: bool
    left_out: int
    why: str
    binning: str
    draws: int
    channel: str
    unit: str
    about: About

    __repr__, _repr_html_ = glance(_summary)

    @property
    def strays_of(self) -> int:
        """Of how many quantiles `strays` are: those of bins with measurements."""
        return len(self.levels) * int((self.count > 0).sum())

    def to_frame(self) -> "DataFrame":
        """One row for each quantile of each bin, as a pandas DataFrame: the bin's ends and median time with their unit, how many
        measurements, the level, the measured quantile, and median, low and high of the simulated ones with the unit of the
        channel.
        """
        L, B = self.observed.shape
        return frame_of(
            {
                "bin_from": np.tile(self.edges[:-1], L).tolist(),
                "bin_to": np.tile(self.edges[1:], L).tolist(),
                "time": np.tile(self.at, L).tolist(),
                "time_unit": [self.about.time_unit] * (L * B),
                "count": np.tile(self.count, L).tolist(),
                "level": np.repeat(self.levels, B).tolist(),
                "measured": self.observed.ravel().tolist(),
                "simulated": self.middle.ravel().tolist(),
                "low": self.low.ravel().tolist(),
                "high": self.high.ravel().tolist(),
                "channel": [self.channel] * (L * B),
                "unit": [self.unit] * (L * B),
            },
            "PredictiveCheck.to_frame",
        )


def predictive_check(
    simulated: SimulatedCohorts,
    channel: str | int = 0,
    *,
    corrected: bool = False,
    bins: int | Sequence[float] | None = None,
    levels: Sequence[float] = (0.1, 0.5, 0.9),
    band: float = 0.95,
) -> PredictiveCheck:
    """A visual predictive check of one channel, as numbers.

    In every bin of time, the quantiles of what was measured, and the same quantiles of each simulated cohort at the same people's
    measurements: what is missing among those measured is missing there. `corrected`: every value, measured or simulated, times
    (the median of PRED over the bin's measurements)/(its own PRED), by which doses, covariates and times within a bin stop adding
    to the spread; measurements whose PRED is not above 0, or differs from that median more than a hundredfold, have no place
    there, and are counted in `left_out` (of a `Log` channel it is a difference that is added, and everybody has a place): of a
    channel with an offset, or near 0, a ratio says nothing. Bins are those of all
    measurements, corrected or not; one in which nothing is left has no quantiles.
    Bins: up to 12 different times are each a bin; of more, bins of equal counts (ten measurements each on average, and at most 12
    bins), which never part measurements of one time. `bins`: how many of equal counts, or their edges, each bin closed below, the
    last at both ends; measurements outside the edges are counted in `left_out`.
    Values below a limit of quantification count as lying below every value, in both; a quantile that lies there is NaN.
    Arguments: `channel`, its name or place; `levels` of the quantiles; `band`, the share of simulated cohorts between `low` and
    `high`.
    Errors: `ValueError` for no measurement of the channel, fewer than 20 draws, edges that do not increase, and, of values known
    by limits alone, for several limits in one channel or a correction.
    Law: of a right model each interval holds its quantile in a share `band` of studies; corrected, two groups with different
    doses of a linear model have one law.
    Source: Holford, PAGE 14 (2005) abstr 738; Bergstrand, Hooker, Wallin & Karlsson, AAPS J. 13 (2011) 143, equations 1 and 2;
    Bergstrand & Karlsson, AAPS J. 11 (2009) 371 (values below the limit).
    """
    require_kind(simulated, SimulatedCohorts, "predictive_check: simulated", "simulated_cohorts(model, cohort, 1000, generator)")
    require_flag(corrected, "predictive_check: corrected")
    about = simulated.about
    c = _place(channel, about.channels)
    levels = levels_of(levels, "predictive_check")
    if not levels or any(not 0.0 < level < 1.0 for level in levels):
        raise ValueError(f"predictive_check: levels lie strictly between 0 and 1, e.g. (0.1, 0.5, 0.9), and are {quote(levels)}")
    require_number(band, "predictive_check: band")
    ends, K = tails(float(band)), len(simulated.values)
    if K < LEAST:
        raise ValueError(f"predictive_check: {K} cohorts were drawn, and a band is made of {LEAST} or more; 1,000 are usual")
    there = simulated.measured[..., c].cpu()
    if not bool(there.any()):
        raise ValueError(f"predictive_check: nothing is measured of {about.channels[c]} in these people; choose another channel")
    times = simulated.times.cpu()[there].numpy()
    values = simulated.y[..., c].cpu()[there].numpy()
    drawn = simulated.values[..., c].cpu()[:, there].numpy()  # (K, n)
    limits, values, drawn, censored = _censored(simulated, c, there, values, drawn, corrected)
    edges, which, binning = _bins(times, bins)  # of all measurements, so that a correction leaves the bins as they are
    if (which < 0).all():
        raise ValueError(
            f"predictive_check: no measurement lies within the edges {quote(bins)}; the times are {times.min():g} to "
            f"{times.max():g}"
        )
    out = [(which < 0, "they lie outside the bins")]
    if corrected:
        pred = simulated.population[..., c].cpu()[there].numpy()
        if about.logarithms:  # a factor of what is measured is a sum of its logarithms
            shift = _shifts(pred, which)
            values, drawn = values + shift, drawn + shift
        else:
            ratio, out = _corrections(pred, which, about.channels[c])
            values, drawn = values * ratio, drawn * ratio
    gone = np.any([rows for rows, _ in out], 0)
    left_out, why = int(gone.sum()), "; ".join(words for rows, words in out if rows.any())
    which = np.where(gone, -1, which)
    members = [np.flatnonzero(which == b) for b in range(len(edges) - 1)]
    used = [b for b, rows in enumerate(members) if len(rows)]
    B, L = len(members), len(levels)
    observed, spread = np.full((L, B), np.nan), np.full((K, L, B), np.nan)
    share = np.full((K + 1, B), np.nan)
    for b in used:
        rows = members[b]
        observed[:, b] = np.quantile(values[rows], levels)
        spread[:, :, b] = np.quantile(drawn[:, rows], levels, axis=1).T
        share[0, b], share[1:, b] = (values[rows] <= limits[0]).mean(), (drawn[:, rows] <= limits[0]).mean(1)
    low, middle, high = np.full((3, L, B), np.nan)
    low[:, used], middle[:, used], high[:, used] = np.quantile(spread[:, :, used], (ends[0], 0.5, ends[1]), axis=0)
    flat = np.tile(np.isin(np.arange(B), used), L)
    strays = stray_band(
        spread.reshape(K, -1)[:, flat], observed.ravel()[flat], np.stack([low.ravel(), high.ravel()])[:, flat], float(band)
    )
    for value in (observed, middle, low, high):
        value[(value <= limits[0]) | (value >= limits[1])] = np.nan
    beyond = None
    if np.isfinite(limits[0]):
        beyond = np.full((3, B), np.nan)
        beyond[0], beyond[1:, used] = share[0], np.quantile(share[1:, used], ends, axis=0)
    at = np.array([np.median(times[rows]) if len(rows) else np.nan for rows in members])
    count = np.array([len(rows) for rows in members])
    inside = ~gone
    return PredictiveCheck(
        *(levels, float(band), edges, at, count, observed, low, middle, high),
        *(times[inside], values[inside], censored[inside], beyond, limits, strays, corrected, left_out, why),
        *(binning, K, about.channels[c], about.units[c], about),
    )


def _shifts(pred: Array, which: NDArray[np.int64]) -> Array:  # (n,)
    """(The median of a bin's predictions) − (each), 0 outside the bins."""
    found = np.zeros(len(pred))
    for b in np.unique(which[which >= 0]):
        rows = which == b
        found[rows] = np.median(pred[rows]) - pred[rows]
    return found


def _corrections(
    pred: Array,  # (n,)
    which: NDArray[np.int64],  # (n,)
    channel: str,
) -> tuple[Array, list[tuple[NDArray[np.bool_], str]]]:  # (n,)
    """(The median of a bin's predictions)/(each), 1 for who has none; and who is left out, why."""
    outside, below = which < 0, (which >= 0) & ~(pred > 0.0)
    ratio, steep = np.ones(len(pred)), np.zeros(len(pred), dtype=bool)
    for b in np.unique(which[~outside & ~below]):
        rows = np.flatnonzero((which == b) & ~below)
        each = np.median(pred[rows]) / pred[rows]
        steep[rows] = (each > STEEPEST) | (each < 1.0 / STEEPEST)
        rows = rows[~steep[rows]]
        if len(rows):
            ratio[rows] = np.median(pred[rows]) / pred[rows]
    out = [
        (below, "their prediction for η = 0 is not above 0"),
        (steep, f"their prediction for η = 0 and the median of their bin differ by more than {STEEPEST:g} times"),
        (outside, "they lie outside the bins"),
    ]
    if (below | steep | outside).all():
        raise InputError(
            f"predictive_check: no prediction of {channel} within the bins is above 0 and near the others of its bin, and "
            "what is corrected is divided by it",
            "write corrected=False",
        )
    return ratio, out


def _place(channel: str | int, channels: Sequence[str]) -> int:
    if isinstance(channel, str) and channel in channels:
        return channels.index(channel)
    if isinstance(channel, int) and not isinstance(channel, bool) and 0 <= channel < len(channels):
        return channel
    raise ValueError(
        f"predictive_check: channel is one of {', '.join(channels)}, or its place from 0 to {len(channels) - 1}, and "
        f"is {quote(channel)}"
    )


def _censored(
    simulated: SimulatedCohorts,
    c: int,
    there: torch.Tensor,  # (N, T)
    values: Array,  # (n,)
    drawn: Array,  # (K, n)
    corrected: bool,
) -> tuple[tuple[float, float], Array, Array, NDArray[np.bool_]]:
    """The channel's limits, and everything beyond one at the limit itself."""
    censoring, name = Censoring.of(simulated, "predictive_check"), simulated.about.channels[c]
    none = (-np.inf, np.inf)
    if censoring is None or not bool(censoring.side[..., c].any()):
        return none, values, drawn, np.zeros(len(values), dtype=bool)
    if not censoring.single[c]:
        raise InputError(
            f"predictive_check: {name} has several limits of quantification, and one quantile has one",
            "check each by itself, simulated.people(index)",
        )
    if corrected:
        raise InputError(
            f"predictive_check: some of {name} is known by a limit alone, which a correction would make another one for each "
            "measurement",
            "write corrected=False, or check each dose by itself, simulated.people(index)",
        )
    side = censoring.side[..., c].cpu()[there].numpy()
    low, high = (float(v[..., c].cpu()[there][0]) for v in (censoring.low, censoring.high))
    values = np.where(side < 0, low, np.where(side > 0, high, values))
    return (low, high), np.clip(values, low, high), np.clip(drawn, low, high), side != 0


def _bins(times: Array, bins: int | Sequence[float] | None) -> tuple[Array, NDArray[np.int64], str]:
    """Edges (B+1), the bin of each time (−1 for none), and how they were made."""
    distinct = np.unique(times)
    listed = isinstance(bins, list | tuple) or (isinstance(bins, np.ndarray) and bins.ndim == 1)
    if not (bins is None or listed or isinstance(bins, int)) or isinstance(bins, bool):
        raise ValueError(
            f"predictive_check: bins is how many, the edges of all, or None, and is {quote(bins)}; write [0.0, 2.0, 8.0]"
        )
    if bins is not None and not isinstance(bins, int):
        for edge in bins:
            require_number(edge, "predictive_check: bins, each of their edges,")
        edges = np.asarray(bins, dtype=np.float64)
        if len(edges) < 2 or not np.all(np.diff(edges) > 0.0):
            raise ValueError(
                f"predictive_check: edges of bins increase, and are two or more, and are {quote(bins)}; write [0.0, 2.0, 8.0]"
            )
        which = np.searchsorted(edges, times, side="right") - 1
        which[times == edges[-1]] = len(edges) - 2
        which[which >= len(edges) - 1] = -1
        return edges, which, f"{len(edges) - 1} bins as they were given"
    if bins is None and len(distinct) <= NOMINAL:
        lowest = np.arange(len(distinct))
        words = f"each of the {len(distinct)} times is a bin" if len(distinct) > 1 else "one time, one bin"
    else:
        if bins is not None:
            require_number(bins, "predictive_check: bins, how many,", least=1.0, most=1e4, whole=True)
        asked = min(NOMINAL, max(1, len(times) // EACH)) if bins is None else int(bins)
        parts = partition(times, bins=asked)
        lowest = np.searchsorted(distinct, np.minimum.reduceat(times[parts.order], parts.starts))
        words = f"{len(lowest)} bins of about equal counts, which do not part equal times"
    starts = distinct[lowest]
    before = distinct[np.maximum(lowest - 1, 0)]
    edges = np.append(np.where(lowest == 0, starts, 0.5 * (starts + before)), distinct[-1])
    which = np.searchsorted(edges[1:-1], times, side="right")
    return edges, which, words
