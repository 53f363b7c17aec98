"""Intervals that follow one person online and keep their rate of misses whatever happens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from physics.arguments import as_written, quote, require_kind, require_names, require_number
from physics.glance import glance
from training.trust.null_band import Array, ArrayLike, as_array
from training.trust.outcome import Outcome, require_outcome
from training.trust.recalibration.conformal import residuals
from training.trust.recalibration.fitted_on import FittedOn


@final
@dataclass(frozen=True, eq=False)
class Followed:
    """What following people online gave: `lower`, `upper`, `missed` (N, T, p), NaN where nothing was observed (and at padding
    for the ends); `alpha` (N, p), where everyone's α is now: hand it on when more observations come.

    Everything is ±∞; nothing at all, where α has reached one, has its lower end (+∞) above its upper one (−∞).
    """

    lower: Array
    upper: Array
    missed: Array
    alpha: Array

    __repr__, _repr_html_ = glance()


@final
@dataclass(frozen=True, eq=False)
class AdaptiveConformal:
    """Adaptive conformal inference: α_{t+1} = α_t + γ (target − err_t), free to leave [0, 1].

    The interval at t is point ± q·sd with q the (1 − α_t) conformal quantile of `scores`; err_t is 1 where y_t is
    outside of it. For α_t ≤ 0 it is everything, for α_t ≥ 1 nothing: clipping α there would lose the law.
    `scores`, per channel the sorted |y − mean|/sd of calibration people · `channels` · `target` rate of misses α · `gamma`
    step γ: small is steady, large follows fast; a first guess is .02 · `fitted_on`.
    Law: for any sequence, |mean err − target| ≤ (max(α_1, 1 − α_1) + γ)/(T γ) over T observations.
    Source: Gibbs & Candès (2021), proposition 4.1.
    """

    scores: tuple[tuple[float, ...], ...]
    channels: tuple[str, ...]
    target: float
    gamma: float
    fitted_on: FittedOn

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        for name in ("target", "gamma"):
            require_number(getattr(self, name), f"AdaptiveConformal: {name}")
        channels = require_names(self.channels, "AdaptiveConformal: channels", "AdaptiveConformal.fit(outcome)")
        object.__setattr__(self, "channels", channels)
        kept = [as_array(scores) for scores in self.scores]
        if len(kept) != len(channels) or not all(k.ndim == 1 and len(k) and (np.diff(k) >= 0).all() for k in kept):
            raise ValueError(
                f"AdaptiveConformal: scores are rising numbers, a row for each of {len(channels)} channels, and are "
                f"{quote(self.scores)}; write AdaptiveConformal.fit(outcome)"
            )
        require_kind(self.fitted_on, FittedOn, "AdaptiveConformal: fitted_on", "AdaptiveConformal.fit(outcome)")
        if not 0.0 < self.target < 1.0 or not self.gamma > 0.0:
            raise ValueError(
                f"target is {self.target} and gamma {self.gamma}; the rate of misses lies strictly between 0 and 1, and "
                "the step is above 0, e.g. target=0.1, gamma=0.02."
            )

    @staticmethod
    def fit(
        outcome: Outcome,
        *,
        target: float = 0.1,
        gamma: float = 0.02,
    ) -> "AdaptiveConformal":
        """Keep the residuals of people whom the model has not seen; the law holds whatever they are.

        Errors: `ValueError` for shapes, or a channel without observations.
        """
        require_outcome(outcome, "AdaptiveConformal.fit")
        channels, record = outcome.prediction.channels, FittedOn.of(outcome.people, outcome.values)
        r = residuals(outcome, "residual", 0.8)
        scores = tuple(tuple(np.sort(r[..., c][~np.isnan(r[..., c])]).tolist()) for c in range(r.shape[2]))
        for channel, kept in zip(channels, scores, strict=True):
            if not kept:
                raise ValueError(f"channel {channel!r} was never observed in these people; leave it out.")
        return AdaptiveConformal(scores, channels, target, gamma, record)

    def factor(self, alpha: ArrayLike, channel: int) -> Array:
        """q at every α: +∞ for α ≤ 0 (and where there are too few scores), −∞ for α ≥ 1."""
        require_number(channel, "AdaptiveConformal.factor: channel", least=0.0, most=len(self.scores) - 1.0, whole=True)
        if np.isnan(as_array(alpha, truths=False)).any():
            raise ValueError("AdaptiveConformal.factor: alpha holds NaN; give numbers, as `Followed.alpha` has")
        kept, a = np.asarray(self.scores[channel]), as_array(alpha)
        a = np.clip(a, -1.0, 2.0)  # beyond them nothing changes
        rank = np.ceil((len(kept) + 1) * (1.0 - a) - 1e-9).astype(np.int64)
        q = kept[np.clip(rank - 1, 0, len(kept) - 1)]
        return np.where((a >= 1.0) | (rank <= 0), -np.inf, np.where((a <= 0.0) | (rank > len(kept)), np.inf, q))

    def follow(
        self,
        outcome: Outcome,  # in order of time
        *,
        alpha: ArrayLike | None = None,  # (N, p); the target where None
        in_sample: bool = False,
    ) -> Followed:
        """Everyone's intervals, each made before its observation is seen; a missing observation leaves α as it is.

        Law: following in two pieces, the second from the first's `alpha`, is following at once.
        Errors: `ValueError` for shapes, other channels, or people it was fitted on unless `in_sample`.
        """
        require_outcome(outcome, "AdaptiveConformal.follow")
        prediction, seen = outcome.prediction, outcome.values
        self.fitted_on.refuse(outcome.people, seen, in_sample=in_sample)
        if prediction.channels != self.channels:
            raise ValueError(f"The channels are {list(self.channels)}, and the prediction's {list(prediction.channels)}.")
        N, T, p = seen.shape
        now = np.full((N, p), self.target) if alpha is None else as_array(alpha, truths=False).copy()
        if now.shape != (N, p) or not np.isfinite(now).all():
            raise ValueError(f"alpha has shape {now.shape}; it needs one finite number per person and channel, {(N, p)}.")
        point, sd = as_array(prediction.point), np.sqrt(as_array(prediction.total))
        lower, upper, missed = (np.full((N, T, p), np.nan) for _ in range(3))
        for t in range(T):
            q = np.stack([self.factor(now[:, c], c) for c in range(p)], axis=1)
            lower[:, t], upper[:, t] = point[:, t] - q * sd[:, t], point[:, t] + q * sd[:, t]
            here = ~np.isnan(seen[:, t])
            outside = ~(np.abs(seen[:, t] - point[:, t]) <= q * sd[:, t])
            missed[:, t] = np.where(here, outside, np.nan)
            now = np.where(here, now + self.gamma * (self.target - outside), now)
        return Followed(lower, upper, missed, now)

    def bound(self, observations: int, alpha: float | None = None) -> float:
        """The most by which the rate of misses over this many observations can differ from the target."""
        require_number(observations, "AdaptiveConformal.bound: observations, how many,", least=1.0, whole=True)
        if alpha is not None:
            require_number(alpha, "AdaptiveConformal.bound: alpha")
        observations = int(observations)
        start = self.target if alpha is None else float(alpha)
        return (max(start, 1.0 - start) + self.gamma) / (observations * self.gamma)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "kind": "adaptive_conformal",
            "scores": [list(kept) for kept in self.scores],
            "channels": list(self.channels),
            "target": self.target,
            "gamma": self.gamma,
            "fitted_on": self.fitted_on.to_dict(),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "AdaptiveConformal":
        """The inverse of `to_dict`."""
        with as_written(data, "AdaptiveConformal"):
            scores = tuple(tuple(as_array(kept).tolist()) for kept in data["scores"])
            on = FittedOn.from_dict(data["fitted_on"])
            return AdaptiveConformal(scores, data["channels"], data["target"], data["gamma"], on)
