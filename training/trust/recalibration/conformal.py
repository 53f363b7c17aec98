"""Intervals with a guarantee that needs no distribution: only that the next person is like those before."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch

from hybrid.prediction import Prediction
from physics.arguments import as_written, require_choice, require_generator, require_kind, require_names, require_number
from physics.glance import glance
from training.trust.horizons import Horizons
from training.trust.ids import people_index
from training.trust.null_band import Array, as_array
from training.trust.outcome import Outcome, require_outcome, require_own_rows, require_prediction
from training.trust.recalibration.fitted_on import FittedOn
from training.trust.simultaneous import SimultaneousBand, simultaneous_band

Kind = Literal["residual", "quantile"]


def conformal_quantile(
    scores: Array,  # (n, ...), NaN is missing
    level: float,
) -> Array:  # (...)
    """The ⌈(n + 1)·level⌉-th smallest of n scores; +∞ where that is beyond the last, −∞ where level ≤ 0.

    Law: one more exchangeable score is at or below it with probability ≥ level, and ≤ level + 1/(n + 1) without ties.
    Source: Vovk, Gammerman & Shafer (2005); Lei, G'Sell, Rinaldo, Tibshirani & Wasserman (2018), theorem 2.2.
    """
    scores = as_array(scores, truths=False)
    require_number(level, "conformal_quantile: level", most=1.0)
    level = float(level)
    if not scores.ndim or not len(scores):
        raise ValueError(f"conformal_quantile: scores need a row for each of one person or more, and have shape {scores.shape}")
    ordered = np.sort(scores, axis=0)  # NaN last
    count = (~np.isnan(scores)).sum(0)
    rank = np.ceil((count + 1) * level - 1e-9).astype(np.int64)  # (19 + 1)·.95 is 19, whatever float64 makes of it
    chosen = np.take_along_axis(ordered, np.clip(rank - 1, 0, len(scores) - 1)[None], axis=0)[0]
    return np.where(rank <= 0, -np.inf, np.where(rank > count, np.inf, chosen))


def people_needed(level: float) -> int:
    """The fewest calibration people for which an interval of this level is finite: ⌈level/(1 − level)⌉, 19 for 95 %."""
    _check_level(level)
    return math.ceil(level / (1.0 - level) - 1e-9)


@final
@dataclass(frozen=True, eq=False)
class SplitConformal:
    """Intervals point ± q·scale whose q is a finite-sample quantile over calibration people, per horizon or for whole paths.

    `scores` (n, H, p), for every calibration person, horizon and channel the largest residual in units of the scale, NaN
    where nothing was observed · `kind`: "residual", |y − mean| / sd of the mixture, or "quantile", how far y is beyond
    the central interval of `base`, in half its widths (Romano, Patterson & Candès 2019): asymmetric where the mixture is ·
    `horizons`, or None: whole paths, the largest over all times (H = 1) · `base` level of the quantile kind · `fitted_on`.
    Law: of a person exchangeable with the calibration people, all observations in one horizon and channel (with None: the
    whole path of one channel) are inside with probability ≥ level, whatever the model; where n < `people_needed(level)` the
    interval is infinite. Several horizons together are promised less: take whole paths for that.
    Source: Papadopoulos et al. (2002); Vovk, Gammerman & Shafer (2005).
    """

    scores: Array
    kind: Kind
    horizons: Horizons | None
    base: float
    channels: tuple[str, ...]
    fitted_on: FittedOn

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        channels = require_names(self.channels, "SplitConformal: channels", "SplitConformal.fit(outcome, …)")
        object.__setattr__(self, "channels", channels)
        p = len(channels)
        H = 1 if self.horizons is None else len(self.horizons)
        scores = as_array(self.scores)
        if scores.ndim != 3 or scores.shape[1:] != (H, p) or np.isinf(scores).any():
            raise ValueError(f"SplitConformal: scores need shape (people, {H}, {p}), finite or NaN, and have {scores.shape}")
        require_choice(self.kind, ("residual", "quantile"), "SplitConformal: kind")
        _check_level(self.base)
        require_kind(self.fitted_on, FittedOn, "SplitConformal: fitted_on", "SplitConformal.fit(outcome, …)")

    @staticmethod
    def fit(
        outcome: Outcome,  # several records of a person are one person
        *,
        horizons: Horizons | None,
        kind: Kind = "residual",
        base: float = 0.8,
    ) -> "SplitConformal":
        """Keep everyone's largest residuals. The people must be unseen by the model, and by a `Scaling` before this.

        Errors: `ValueError` for shapes, nothing observed, times outside the horizons, another kind.
        """
        require_choice(kind, ("residual", "quantile"), "SplitConformal.fit: kind")
        if horizons is not None:
            require_kind(horizons, Horizons, "SplitConformal.fit: horizons", "Horizons.of(prediction), or None for whole paths")
        _check_level(base)
        require_outcome(outcome, "SplitConformal.fit")
        record = FittedOn.of(outcome.people, outcome.values)
        scores = _scores(outcome, horizons, kind, base)
        return SplitConformal(scores, kind, horizons, base, outcome.prediction.channels, record)

    def factor(self, level: float) -> Array:  # (H, p)
        """q at this level; infinite where there are too few calibration people."""
        _check_level(level)
        return conformal_quantile(self.scores, level)

    def interval(
        self, prediction: Prediction, people: Sequence[str], level: float = 0.9, *, in_sample: bool = False
    ) -> tuple[Array, Array]:  # each (N, T, p)
        """Lower and upper ends for people that it was not fitted on, NaN at padding, ±∞ where nothing can be promised.

        Errors: `ValueError` for other channels, times outside the horizons, or people it was fitted on unless `in_sample`.
        """
        require_prediction(prediction, "SplitConformal.interval")
        people_index(people, prediction.mean.shape[2])
        require_own_rows(prediction, people, "SplitConformal.interval")
        self.fitted_on.refuse(people, in_sample=in_sample)
        _same_channels(self.channels, prediction)
        place = _place(prediction, self.horizons)
        q = self.factor(level)[np.maximum(place, 0)]  # (N, T, p)
        return _widened(prediction, q, self.kind, self.base)

    def coverage(
        self,
        outcome: Outcome,
        level: float = 0.9,
        *,
        generator: torch.Generator,
        draws: int = 1000,
        band_level: float = 0.95,
        in_sample: bool = False,
    ) -> SimultaneousBand:
        """The share of new people inside, per horizon and channel (G = H·p gates, channels fastest), in one band over all.

        Replicates deal calibration and test people anew out of all of them, compute q and cover: under exchangeability the
        same distribution, dependence between horizons and the calibration set's own luck included.
        Errors: as `interval`, and for the very data it was fitted on. Source: permutation test, Fisher (1935).
        """
        require_generator(generator, "SplitConformal.coverage: generator")
        require_number(draws, "SplitConformal.coverage: draws", least=2.0, most=1e7, whole=True)
        _check_level(level)
        _check_level(band_level)
        draws, band_level = int(draws), float(band_level)
        require_outcome(outcome, "SplitConformal.coverage")
        self.fitted_on.refuse(outcome.people, outcome.values, in_sample=in_sample)
        _same_channels(self.channels, outcome.prediction)
        test = _scores(outcome, self.horizons, self.kind, self.base)
        n, m = len(self.scores), len(test)
        pooled = np.concatenate([self.scores, test]).reshape(n + m, -1)

        def inside(order: Array) -> Array:  # (n + m, G) -> (G,)
            q, new = conformal_quantile(order[:n], level), order[n:]
            here = ~np.isnan(new)
            return np.where(here.any(0), (here & (new <= q)).sum(0) / np.maximum(here.sum(0), 1), np.nan)

        rows = [inside(pooled[torch.randperm(n + m, generator=generator).numpy()]) for _ in range(draws)]
        return simultaneous_band(np.stack(rows), inside(pooled), level=band_level)

    def sentences(self, level: float) -> list[str]:
        """Where an interval of this level cannot be finite, and how many people it would need."""
        _check_level(level)
        level = float(level)
        found, count = [], (~np.isnan(self.scores)).sum(0)
        labels = self.horizons.labels if self.horizons else ("the whole path",)
        for h, c in zip(*np.nonzero(np.isinf(self.factor(level))), strict=True):
            found.append(
                f"{self.channels[c]}, {labels[h]}: an interval of {100 * level:g} % that holds without assumptions needs at "
                f"least {people_needed(level)} calibration people and there are {count[h, c]}: it is everything. Ask for "
                f"{100 * count[h, c] / (count[h, c] + 1):.3g} % or less, or for wider horizons."
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; a missing score is None."""
        return {
            "kind": "split_conformal",
            "scores": _plain(self.scores),
            "residual": self.kind,
            "horizons": self.horizons.to_dict() if self.horizons else None,
            "base": self.base,
            "channels": list(self.channels),
            "fitted_on": self.fitted_on.to_dict(),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "SplitConformal":
        """The inverse of `to_dict`."""
        with as_written(data, "SplitConformal"):
            horizons = None if data["horizons"] is None else Horizons.from_dict(data["horizons"])
            scores = np.array(data["scores"], dtype=np.float64)  # None becomes NaN
            on = FittedOn.from_dict(data["fitted_on"])
            return SplitConformal(scores, data["residual"], horizons, data["base"], data["channels"], on)


def _check_level(level: float) -> None:
    require_number(level, "level")
    if not 0.0 < level < 1.0:
        raise ValueError(f"A level of {level} was asked for; levels lie strictly between 0 and 1, e.g. 0.9.")


def _same_channels(channels: tuple[str, ...], prediction: Prediction) -> None:
    if prediction.channels != channels:
        raise ValueError(
            f"The intervals were fitted for the channels {list(channels)} and the prediction has "
            f"{list(prediction.channels)}; fit them on a prediction of the same channels."
        )


def _plain(values: Array) -> Any:
    """Nested lists with None for NaN."""
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return plain.tolist()


def _place(prediction: Prediction, horizons: Horizons | None) -> np.ndarray:  # (N, T), −1 at padding
    real = prediction.mask.cpu().numpy()
    if horizons is None:
        return np.where(real, 0, -1)
    place = horizons.index(prediction.times)
    outside = real & (place < 0)
    if outside.any():
        t = as_array(prediction.times)[outside]
        raise ValueError(
            f"{outside.sum()} times ({t.min():g} to {t.max():g}) are outside the horizons {horizons.edges[0]:g} to "
            f"{horizons.edges[-1]:g}, where nothing was calibrated. Make them of both predictions, "
            "Horizons.of(calibration, test), or leave those times out: prediction.during(start, end)."
        )
    return np.where(real, place, -1)


def _centre_and_scale(prediction: Prediction, kind: Kind, base: float) -> tuple[Array, Array, Array]:  # lower, upper, scale
    if kind == "residual":
        point, sd = as_array(prediction.point), np.sqrt(as_array(prediction.total))
        return point, point, sd
    lower, upper = (as_array(end) for end in prediction.interval(base))
    return lower, upper, 0.5 * (upper - lower)


def residuals(outcome: Outcome, kind: Kind, base: float) -> Array:  # (N, T, p)
    """How far each observation is beyond the prediction's centre (or central interval), in units of its scale."""
    seen = outcome.values
    lower, upper, scale = _centre_and_scale(outcome.prediction, kind, base)
    return np.maximum(lower - seen, seen - upper) / scale


def _widened(prediction: Prediction, q: Array, kind: Kind, base: float) -> tuple[Array, Array]:
    lower, upper, scale = _centre_and_scale(prediction, kind, base)
    return lower - q * scale, upper + q * scale


def _scores(outcome: Outcome, horizons: Horizons | None, kind: Kind, base: float) -> Array:  # (n, H, p)
    """The largest residual of every person in every horizon, NaN where there is none."""
    person = outcome.person
    r, place = residuals(outcome, kind, base), _place(outcome.prediction, horizons)
    largest = np.full((len(outcome.names), len(horizons) if horizons else 1, r.shape[2]), -np.inf)
    i, t, c = np.nonzero(~np.isnan(r))
    np.maximum.at(largest, (person[i], place[i, t], c), r[i, t, c])
    return np.where(np.isinf(largest), np.nan, largest)
