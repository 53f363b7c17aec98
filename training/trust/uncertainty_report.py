"""Is the uncertainty of a forecast right? All its numbers at once, each beside what a perfect forecaster would show."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hybrid.prediction import Prediction
from hybrid.threads import of_blocks, threads_by
from training.trust.calibration import (
    EVENT_BINS,
    Partition,
    describe_convention,
    ence,
    partition,
    quantile_calibration_error,
)
from training.trust.channel_verdicts import channel_verdicts
from training.trust.controls import control_flags
from training.trust.horizons import Horizons
from training.trust.innovations import innovations, neighbour_sums
from training.trust.null_band import Array, ArrayLike, as_array, tails
from training.trust.outcome import Outcome, require_outcome
from training.trust.person_null import PersonNull, null_band_of
from training.trust.recalibration.cross_scaling import CrossScaling
from training.trust.recalibration.scaling import Scaling
from training.trust.report_parts import (
    ChannelReport,
    CoverageRow,
    Events,
    Gate,
    Histogram,
    ScoreRow,
    SplitRow,
    UncertaintyReport,
)
from training.trust.scores import brier_decomposition, energy_score, pooled
from training.trust.simultaneous import simultaneous_band
from training.trust.verdicts import Verdict

PIT_BINS, QUANTILES, VARIANCE_BINS, GROUPS = 20, 20, 10, 5

# what each statistic can be at all; a quantile error is largest, mean |1 − (j − ½)/J| = ½, where all fall below every quantile,
# and a correlation of neighbours Σ ab / Σ ½(a² + b²) is within ±1
_POSSIBLE: dict[object, tuple[float, float]] = {
    **dict.fromkeys(("coverage", "path", "pit"), (0.0, 1.0)),
    "quantile": (0.0, 0.5),
    **dict.fromkeys(("zms", "ence"), (0.0, np.inf)),
    "lag": (-1.0, 1.0),
}

CONVENTIONS = (
    ("coverage", "share of observations in the closed central interval of the mixture; of paths: people with all theirs inside"),
    ("ECE", describe_convention(bins=EVENT_BINS)),
    ("quantile error", f"mean over levels (j − ½)/{QUANTILES} of |share of y at or below the quantile − level|, one-sided"),
    ("ENCE", f"mean of |RMSE − RMV|/RMV over {VARIANCE_BINS} bins of equal count by variance; it grows like √bins"),
    ("NLL and CRPS", "of the mixture, closed forms; energy score: fair, 1/R(R − 1), of one person's path"),
    ("epistemic", "variance over members with 1/M, of this mixture; epistemic_posterior: with 1/(M − 1), less the draws' noise"),
    ("band", "of cohorts drawn from the forecast, whole paths by person; one band over all gates, by the largest departure"),
)


@threads_by(of_blocks)
def uncertainty_report(
    outcome: Outcome,
    *,
    generator: torch.Generator,
    horizons: Horizons | None = None,
    thresholds: Mapping[str, float] | None = None,
    levels: Sequence[float] = (0.5, 0.8, 0.95),
    calibration: Scaling | CrossScaling | None = None,
    resample: str | None = None,
    members: Prediction | None = None,
    measurement_sd: Mapping[str, float] | None = None,
    distance: ArrayLike | None = None,  # (N, T)
    shared_member: bool = False,
    replicates: int = 1000,
    band_level: float = 0.95,
    time_unit: str | None = None,
) -> UncertaintyReport:
    """Judge the prediction of people whom neither the model nor a recalibration has seen.

    `horizons`: by default `Horizons.of(prediction)` · `thresholds` of the events, per channel; by default the median of what
    is predicted · `calibration`: the scaling that the prediction went through, whose people are refused here and whose own
    luck the bands then allow for · `resample`: what makes the members differ ("init" is flagged) · `members`: the
    stored forecast with its members apart, to compare a forecast by one model with · `measurement_sd` per channel, where
    the measurement's own error is known · `distance` of each state from the training data, in any unit: adds the split by it ·
    `shared_member`, `replicates`: as in `PersonNull.draw` · `time_unit` of the prediction's times, for the sentences.
    Returns an `UncertaintyReport`. Errors: `ValueError` for shapes, no data in a channel, thresholds of no channel, people
    whom the calibration was fitted on.
    Law: of a perfect forecaster one band holds all gates of the page together with probability `band_level`, so that a page
    without fault is what it mostly shows; the reliability diagram's bins alone have pointwise bands.
    """
    require_outcome(outcome, "uncertainty_report")
    prediction, seen = outcome.prediction, outcome.values
    if calibration is not None:
        calibration.refuse(outcome.people, seen)
    for name, given in (("thresholds", thresholds), ("measurement_sd", measurement_sd)):
        unknown = sorted(set(given or {}) - set(prediction.channels))
        if unknown:
            raise ValueError(f"{name} names {unknown}; the channels are {list(prediction.channels)}.")
    if distance is not None and as_array(distance).shape != seen.shape[:2]:
        raise ValueError(f"distance has shape {as_array(distance).shape}; it needs (people, times) = {seen.shape[:2]}.")
    for level in levels:
        tails(level)
    for c, channel in enumerate(prediction.channels):
        if np.isnan(seen[..., c]).all():
            raise ValueError(
                f"channel {channel!r} was never observed; leave it out of the prediction, or check the mask and the times."
            )
    horizons = horizons or Horizons.of(prediction)
    null = PersonNull.draw(
        outcome,
        generator=generator,
        replicates=replicates,
        shared_member=shared_member,
        calibration=calibration,
    )
    facts = _Facts(outcome, null, horizons, tuple(levels))
    events = {name: facts.threshold(c, (thresholds or {}).get(name)) for c, name in enumerate(prediction.channels)}
    for c, name in enumerate(prediction.channels):
        facts.observe(c, events[name])
    names, rows, shown = list(facts.found), np.stack([r for r, _ in facts.found.values()], 1), facts.found.values()
    least, most = np.array([facts.possible(name) for name in names]).T
    band = simultaneous_band(rows, np.array([value for _, value in shown]), level=band_level, least=least, most=most)
    gates = {
        name: Gate(
            float(band.observed[g]),
            float(band.mean[g]),
            float(band.lower[g]),
            float(band.upper[g]),
            alone_lower=float(band.alone_lower[g]),
            alone_upper=float(band.alone_upper[g]),
            decides=bool(band.decides[g]),
        )
        for g, name in enumerate(names)
    }
    channels = tuple(
        facts.channel(c, gates, events[name], distance, generator) for c, name in enumerate(prediction.channels)
    )
    flags = control_flags(
        prediction, channels, resample=resample, members=members, measurement_sd=measurement_sd or {}
    )
    whole = band.sentence("gates (coverage by level and horizon, PIT, variance, events, innovations)").rstrip(".")
    allowed = "" if calibration is None else "The band allows for other calibration people, too."
    people = int(null.person.max()) + 1
    able = band.undecided < band.gates
    tells = any(gate.tells(people) for channel in channels for gate in channel.coverage.values())
    good = None if not able or (band.passes and not tells) else band.passes
    verdicts = [Verdict(whole, good, allowed, ("gates",))]
    verdicts += [one for channel in channels for one in channel_verdicts(channel, time_unit, calibration is not None)]
    return UncertaintyReport(
        people=people,
        observations=int((~np.isnan(seen)).sum()),
        horizon_edges=horizons.edges,
        members=prediction.mean.shape[0],
        draws=prediction.mean.shape[1],
        band_level=band_level,
        replicates=null.replicates,
        gates=band.gates,
        failed=int(band.outside.sum()),
        undecided=band.undecided,
        channels=channels,
        flags=flags,
        verdicts=tuple(verdicts + [flag.verdict for flag in flags]),
        conventions=CONVENTIONS,
        fitted_on=() if calibration is None else calibration.people,
    )


class _Facts:
    """What all channels share, computed once; `found`: by (channel, what, ...) the replicates (D,) and the observed statistic ·
    `most_error`, by channel, the largest calibration error of events that outcomes could give.
    """

    def __init__(self, outcome: Outcome, null: PersonNull, horizons: Horizons, levels: tuple[float, ...]) -> None:
        prediction, seen = outcome.prediction, outcome.values
        self.prediction, self.seen, self.null, self.horizons, self.levels = prediction, seen, null, horizons, levels
        value = torch.from_numpy(seen).to(prediction.mean.device)
        self.point, self.total = as_array(prediction.point), as_array(prediction.total)
        self.pit, self.nll = as_array(prediction.cdf(value)), -as_array(prediction.log_prob(value))
        self.crps = as_array(prediction.crps(value))
        self.horizon = np.where(prediction.mask.cpu().numpy(), horizons.index(prediction.times), -1)  # (N, T)
        ends = [0.5 * (1.0 + sign * level) for level in levels for sign in (-1.0, 1.0)]
        ends_of = as_array(prediction.quantile(ends)).reshape(len(levels), 2, *seen.shape)
        self.width = ends_of[:, 1] - ends_of[:, 0]  # (L, N, T, p)
        self.whitened = innovations(outcome)
        self.whitened_null = innovations(outcome, null.drawn)
        self.found: dict[tuple[object, ...], tuple[Array, float]] = {}
        self.most_error: dict[object, float] = {}

    def threshold(self, c: int, given: float | None) -> float:
        """The event's threshold: the one asked for, or the median prediction, which no outcome has a say in."""
        return float(np.median(self.point[..., c][~np.isnan(self.seen[..., c])])) if given is None else float(given)

    def possible(self, name: tuple[object, ...]) -> tuple[float, float]:
        """The least and the most that a statistic of `found` can be, whatever is observed."""
        c, what = name[:2]
        return (0.0, self.most_error[c]) if what == "events" else _POSSIBLE[what]

    def observe(self, c: int, threshold: float) -> None:
        """Every statistic of one channel that has a gate, beside its replicates."""
        y, pit, transform = self.seen[..., c], self.pit[..., c], self.null.transform[..., c]
        here = ~np.isnan(y)
        self._coverage(c, pit, transform, here)
        self._transforms(c, pit, transform, here)
        self._variances(c, here)
        cell, parts, p, outcome = self._binned(c, threshold)
        mean_null = self.null.counts(cell, len(parts.counts), self._happened(c, threshold)) / parts.counts
        weight, gap = parts.counts / p.size, np.abs(parts.means(outcome) - parts.means(p))
        farthest = np.maximum(parts.means(p), 1.0 - parts.means(p))  # all have the event, or nobody
        self.most_error[c] = float((weight * farthest).sum())
        self.found[c, "events"] = (weight * np.abs(mean_null - parts.means(p))).sum(1), float((weight * gap).sum())
        near = neighbour_sums(self.whitened[..., c]).sum(0)
        near_null = self.null.sums(neighbour_sums(self.whitened_null[..., c]))
        if near[1] > 0.0:
            self.found[c, "lag"] = near_null[:, 0] / near_null[:, 1], float(near[0] / near[1])
        else:  # nobody has two observations
            self.found[c, "lag"] = np.full(self.null.replicates, np.nan), float("nan")

    def _coverage(self, c: int, pit: Array, transform: Array, here: NDArray[np.bool_]) -> None:
        H, everyone = len(self.horizons), here.any(1)
        cell = np.where(here, np.where(self.horizon >= 0, self.horizon, H), -1)
        count = np.bincount(cell[here], minlength=H + 1).astype(np.float64)
        for level in self.levels:
            inside, inside_null = _central(pit, level), _central(transform, level)
            share = np.bincount(cell[here], weights=inside[here], minlength=H + 1)
            share_null = self.null.counts(cell, H + 1, inside_null.astype(np.float64))
            self.found[c, "coverage", level] = share_null.sum(1) / count.sum(), float(share.sum() / count.sum())
            for h in np.flatnonzero(count[:H]):
                self.found[c, "coverage", level, int(h)] = share_null[:, h] / count[h], float(share[h] / count[h])
            whole = np.asarray((inside | ~here).all(1) & everyone, dtype=np.float64)
            whole_null = np.asarray((inside_null | ~here).all(2) & everyone, dtype=np.float64)
            paths = self.null.sums(whole_null[..., None])[:, 0] / everyone.sum()
            self.found[c, "path", level] = paths, float(whole.sum() / everyone.sum())

    def _transforms(self, c: int, pit: Array, transform: Array, here: NDArray[np.bool_]) -> None:
        fine = 2 * QUANTILES  # levels (j − ½)/J are the odd ones of 2J equal bins
        place = np.minimum(np.where(here, transform, 0.0) * fine, fine - 1).astype(np.int64)
        counts_null = self.null.counts(np.where(here, place, -1), fine) / here.sum()
        counts = np.bincount(np.minimum(pit[here] * fine, fine - 1).astype(np.int64), minlength=fine) / here.sum()
        grid = (np.arange(QUANTILES) + 0.5) / QUANTILES
        below = np.abs(counts_null.cumsum(1)[:, 0::2] - grid).mean(1)
        self.found[c, "quantile"] = below, quantile_calibration_error(pit[here], levels=QUANTILES)
        width = fine // PIT_BINS
        for k in range(PIT_BINS):
            bins = slice(k * width, (k + 1) * width)
            self.found[c, "pit", k] = counts_null[:, bins].sum(1), float(counts[bins].sum())

    def _variances(self, c: int, here: NDArray[np.bool_]) -> None:
        total, one = self.total[..., c], np.where(here, 0, -1)
        error, error_null = np.square(self.seen[..., c] - self.point[..., c]), self._error_null(c)
        ratio = self.null.counts(one, 1, error_null / total)[:, 0] / here.sum()
        self.found[c, "zms"] = ratio, float((error / total)[here].mean())
        parts = partition(total[here], bins=VARIANCE_BINS)
        cell, rmv = _cells(parts.order, parts.counts, here), np.sqrt(parts.means(total[here]))
        rmse = np.sqrt(self.null.counts(cell, len(parts.counts), error_null) / parts.counts)
        self.found[c, "ence"] = np.abs(rmse / rmv - 1.0).mean(1), ence(total[here], error[here], bins=VARIANCE_BINS)

    def _error_null(self, c: int) -> Array:
        return np.square(self.null.drawn[..., c] - self.point[..., c])

    def _happened(self, c: int, threshold: float) -> Array:
        return (self.null.drawn[..., c] > threshold).astype(np.float64)

    def _binned(self, c: int, threshold: float) -> tuple[NDArray[np.int64], Partition, Array, Array]:
        here = ~np.isnan(self.seen[..., c])
        p = as_array(self.prediction.exceeds(threshold))[..., c][here]
        parts = partition(p, bins=EVENT_BINS)
        return _cells(parts.order, parts.counts, here), parts, p, (self.seen[..., c][here] > threshold).astype(np.float64)

    def channel(
        self,
        c: int,
        gates: dict[tuple[object, ...], Gate],
        threshold: float,
        distance: ArrayLike | None,
        generator: torch.Generator,
    ) -> ChannelReport:
        """All numbers of one channel."""
        y, point, total = (v[..., c] for v in (self.seen, self.point, self.total))
        here, error = ~np.isnan(y), np.square(y - point)
        samples = self.null.drawn[: min(50, len(self.null.drawn)), ..., c]
        far = None if distance is None else np.where(self.horizon >= 0, as_array(distance), np.nan)
        return ChannelReport(
            channel=self.prediction.channels[c],
            unit=self.prediction.units[c],
            count=int(here.sum()),
            records=self._people(here),
            nll=float(pooled(self.nll[..., c])),
            crps=float(pooled(self.crps[..., c])),
            rmse=float(np.sqrt(pooled(error))),
            energy_score=float(pooled(energy_score(samples, y, event_axes=1))),
            zms=gates[c, "zms"],
            ence=gates[c, "ence"],
            quantile_error=gates[c, "quantile"],
            autocorrelation=gates[c, "lag"],
            coverage={f"{a:g}": gates[c, "coverage", a] for a in self.levels},
            path_coverage={f"{a:g}": gates[c, "path", a] for a in self.levels},
            pit=Histogram(tuple(gates[c, "pit", k] for k in range(PIT_BINS))),
            events=self._events(c, threshold, gates[c, "events"], generator),
            by_horizon=self._scores_by_horizon(c, here, error, total),
            coverage_by_horizon=self._coverage_by_horizon(c, here, gates),
            split_by_horizon=self._split(c, self.horizon, self.horizons.labels, error),
            split_by_value=self._split(c, *_groups(np.where(self.horizon >= 0, point, np.nan)), error),
            split_by_distance=() if far is None else self._split(c, *_groups(far), error),
        )

    def _events(self, c: int, threshold: float, error: Gate, generator: torch.Generator) -> Events:
        cell, parts, p, outcome = self._binned(c, threshold)
        mean_null = self.null.counts(cell, len(parts.counts), self._happened(c, threshold)) / parts.counts
        lower, upper = np.quantile(mean_null, [0.025, 0.975], axis=0)
        whole = brier_decomposition(p, outcome, bins=EVENT_BINS)
        dealt = np.stack([outcome[torch.randperm(p.size, generator=generator).numpy()] for _ in range(200)])
        chance = (parts.counts / p.size * np.square(parts.means(dealt) - outcome.mean())).sum(1)
        return Events(
            threshold=threshold,
            convention=describe_convention(bins=EVENT_BINS),
            mean_probability=tuple(parts.means(p).tolist()),
            mean_outcome=tuple(parts.means(outcome).tolist()),
            count=tuple(parts.counts.tolist()),
            lower=tuple(lower.tolist()),
            upper=tuple(upper.tolist()),
            error=error,
            brier=whole.score,
            reliability=whole.reliability,
            resolution=null_band_of(chance, whole.resolution),
            uncertainty=whole.uncertainty,
        )

    def _people(self, at: NDArray[np.bool_]) -> int:  # (N, T)
        """How many people, who may have several records, have anything there."""
        return len(np.unique(self.null.person[at.any(1)]))

    def _scores_by_horizon(self, c: int, here: NDArray[np.bool_], error: Array, total: Array) -> tuple[ScoreRow, ...]:
        found = []
        for h, label in enumerate(self.horizons.labels):
            at = here & (self.horizon == h)
            if at.any():
                nll, crps = (float(v[..., c][at].mean()) for v in (self.nll, self.crps))
                records, z = self._people(at), float((error / total)[at].mean())
                found.append(ScoreRow(label, int(at.sum()), records, nll, crps, float(error[at].mean() ** 0.5), z))
        return tuple(found)

    def _coverage_by_horizon(
        self, c: int, here: NDArray[np.bool_], gates: dict[tuple[object, ...], Gate]
    ) -> tuple[CoverageRow, ...]:
        found = []
        for j, level in enumerate(self.levels):
            for h, label in enumerate(self.horizons.labels):
                at = here & (self.horizon == h)
                if at.any():
                    width, records = float(self.width[j][..., c][at].mean()), self._people(at)
                    share = gates[c, "coverage", level, h]
                    found.append(CoverageRow(label, level, int(at.sum()), records, share, width))
        return tuple(found)

    def _split(
        self, c: int, group: NDArray[np.int64], labels: Sequence[str], error: Array
    ) -> tuple[SplitRow, ...]:
        names = ("aleatoric", "epistemic", "personal", "epistemic_posterior")
        parts = [as_array(getattr(self.prediction, name))[..., c] for name in names]
        found = []
        for k, label in enumerate(labels):
            at = group == k
            if at.any():
                squares = error[at][~np.isnan(error[at])]
                mean = float(squares.mean()) if squares.size else float("nan")
                a, e, s, posterior = (float(part[at].mean()) for part in parts)
                found.append(SplitRow(label, int(at.sum()), a, e, s, posterior, mean))
        return tuple(found)


def _central(transform: Array, level: float) -> NDArray[np.bool_]:
    """An observation is inside the central interval exactly when its transform is within level/2 of one half."""
    inside: NDArray[np.bool_] = np.less_equal(np.abs(transform - 0.5), 0.5 * level)
    return inside


def _cells(order: NDArray[np.int64], counts: NDArray[np.int64], here: NDArray[np.bool_]) -> NDArray[np.int64]:  # (N, T)
    """The bin of each observation in its place, −1 where there is none."""
    inside = np.empty(len(order), np.int64)
    inside[order] = np.repeat(np.arange(len(counts)), counts)
    cell = np.full(here.shape, -1, np.int64)
    cell[here] = inside
    return cell


def _groups(value: Array) -> tuple[NDArray[np.int64], list[str]]:  # (N, T)
    """Fifths of a quantity (ties never split), and their ranges as labels."""
    here = ~np.isnan(value)
    parts = partition(value[here], bins=GROUPS)
    cell = _cells(parts.order, parts.counts, here)
    labels = [f"{value[cell == k].min():.3g} to {value[cell == k].max():.3g}" for k in range(len(parts.counts))]
    return cell, labels
