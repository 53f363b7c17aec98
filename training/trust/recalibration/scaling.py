"""Recalibration of a prediction's parts: how much too small or too large is each source of uncertainty?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch

from hybrid.prediction import Prediction
from hybrid.threads import of_blocks, threads_by
from physics.arguments import (
    as_written,
    quote,
    require_choice,
    require_generator,
    require_kind,
    require_names,
    require_number,
)
from physics.glance import glance
from training.trust.ids import people_index
from training.trust.null_band import Array, ArrayLike, as_array
from training.trust.outcome import Outcome, require_outcome, require_own_rows, require_prediction
from training.trust.recalibration.factors import DOUBT, FLOOR, FactorProblem, Score, scaled
from training.trust.recalibration.fitted_on import FittedOn

PARTS = ("aleatoric", "epistemic", "personal")


def scale_parts(
    prediction: Prediction,
    aleatoric: ArrayLike,  # (p,) or a number, ≥ 0
    epistemic: ArrayLike,
    personal: ArrayLike,
) -> Prediction:
    """The prediction with each part of its variance times a factor, per channel, and the mixture's mean as it was.

    σ² → a σ², μ_ms → μ̄ + √e (μ̄_m − μ̄) + √s (μ_ms − μ̄_m): measurement noise is widened within the components, model and
    personal uncertainty by moving their means apart.
    Law: `.aleatoric`, `.epistemic` and `.personal` come out times a, e and s; factors of 1 are the identity.
    """
    require_kind(prediction, Prediction, "scale_parts: prediction", "predict(model, cohort, draws)")
    p = len(prediction.channels)
    for name, factor in zip(PARTS, (aleatoric, epistemic, personal), strict=True):
        given = as_array(factor, truths=False)
        if given.shape not in ((), (1,), (p,)) or not (np.isfinite(given) & (given >= 0.0)).all():
            raise ValueError(f"scale_parts: {name} is one factor ≥ 0, or {p}, one a channel, and is {quote(factor)}; write 1.0")
    a, e, s = (torch.as_tensor(as_array(f), device=prediction.mean.device) for f in (aleatoric, epistemic, personal))
    mean, variance = scaled(prediction.mean, prediction.variance, torch.stack(torch.broadcast_tensors(a, e, s)))
    return replace(prediction, mean=mean, variance=variance)


@final
@dataclass(frozen=True)
class Scaling:
    """Factors of the aleatoric, the epistemic and the personal variance of every channel, fitted on held-out people.

    They minimise Σ score + Σ_k (log f_k)²/(2 log²4) over n observations (for CRPS in units of the unscaled mean): a factor of
    4 either way is one standard deviation of what is thought likely beforehand, so that what few people cannot settle stays
    near 1. The aleatoric factor is at least FLOOR = 1e-4, a hundredth of the stated standard deviation. A measurement is
    written with two or three digits, and a narrower noise than that is scored on their rounding: where people are few, repeat
    each other or were observed without noise, a density has no upper bound, and without a floor the best factor is what
    rounding leaves of 0. A factor at the floor says that the noise cannot be learned from these people.

    `channels` (p,) · `aleatoric`, `epistemic`, `personal` (p,), factors of variances, 1 where a part is not there to be
    scaled (one member, one draw) · `covariance` (p, 3, 3), of the three logarithms, clustered by person: how little the
    calibration people say · `score`, what was minimised · `before`, `after` (p,), its mean on the people it was fitted on
    · `fitted_on`.
    Law: factors of 1 are the identity; `after` is never above `before`, since the penalty is 0 at 1. What is minimised is
    bounded below, and its minimum is found to better than 1e-6 on any processor and in any order of the people; so are the
    factors, where the minimum is unique: always for one member and one draw, else unless several minima happen to be equally
    low (members and draws that are each other's mirror); then the one nearest to factors of 1 is taken.
    Source: Guo, Pleiss, Sun & Weinberger (2017) for one temperature; Gneiting et al. (2005) for fitting spread to scores;
    a factor for each part follows from the law of total variance.
    """

    channels: tuple[str, ...]
    aleatoric: tuple[float, ...]
    epistemic: tuple[float, ...]
    personal: tuple[float, ...]
    covariance: tuple[tuple[tuple[float, ...], ...], ...]
    score: Score
    before: tuple[float, ...]
    after: tuple[float, ...]
    fitted_on: FittedOn

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        channels = require_names(self.channels, "Scaling: channels", "Scaling.fit(outcome)")
        object.__setattr__(self, "channels", channels)
        p = len(channels)
        for name in (*PARTS, "before", "after"):
            numbers = getattr(self, name)
            if not isinstance(numbers, tuple) or len(numbers) != p:
                raise ValueError(f"Scaling: {name} is a tuple of {p} numbers, one a channel, and is {quote(numbers)}")
            for number in numbers:
                require_number(number, f"Scaling: {name}", above=0.0 if name in PARTS else -math.inf)
        if np.shape(self.covariance) != (p, 3, 3) or not np.isfinite(np.asarray(self.covariance, dtype=np.float64)).all():
            raise ValueError(f"Scaling: covariance is {p} finite matrices (3, 3), and has shape {np.shape(self.covariance)}")
        require_choice(self.score, ("nll", "crps"), "Scaling: score")
        require_kind(self.fitted_on, FittedOn, "Scaling: fitted_on", "Scaling.fit(outcome)")

    @staticmethod
    @threads_by(of_blocks)
    def fit(
        outcome: Outcome,
        *,
        score: Score = "nll",
    ) -> "Scaling":
        """Minimise the mean NLL (or CRPS) of the mixture over the observations of people whom the model has not seen.

        Channel by channel, over the logarithms of the factors, by Newton's method from the minima of a grid, which is the finer
        the fewer observations there are; see `FactorProblem`.
        The two parts are told apart where their shares differ between observations, and by the mixture's shape; where they
        hardly do, `covariance` is large. CRPS visits all pairs of components: of hundreds, take NLL.
        Returns a `Scaling`. Errors: `ValueError` for shapes, a channel without observations, or another score.
        """
        require_choice(score, ("nll", "crps"), "Scaling.fit: score, the mixture's log score or CRPS,")
        require_outcome(outcome, "Scaling.fit")
        prediction, seen, index = outcome.prediction, outcome.y, outcome.person
        record = FittedOn.of(outcome.people, outcome.values)
        factors, covariances, before, after = [], [], [], []
        for c, channel in enumerate(prediction.channels):
            here = ~torch.isnan(seen[..., c])
            if not bool(here.any()):
                raise ValueError(
                    f"channel {channel!r} was never observed in these people; leave it out of the prediction, or fit on "
                    "people who have it."
                )
            mean, variance = (
                v.detach()[..., c][:, :, here].cpu() for v in (prediction.mean, prediction.variance)
            )  # (M, S, G)
            person = torch.from_numpy(index)[:, None].expand_as(here)[here]
            problem = FactorProblem(mean, variance, seen[..., c][here], person, score)
            try:
                u = problem.minimise()
                spread = problem.covariance(u)
            except torch.linalg.LinAlgError as error:
                raise ValueError(
                    f"channel {channel!r}: what was observed is so far from the prediction that its scores are beyond float64; "
                    "look at the units of both, and at the largest value"
                ) from error
            factors.append(u.exp().tolist())
            covariances.append(tuple(tuple(row) for row in spread.tolist()))
            before.append(float(problem.scores(torch.zeros(3, dtype=torch.float64)).mean()))
            after.append(float(problem.scores(u).mean()))
        a, e, s = (tuple(f[k] for f in factors) for k in range(3))
        return Scaling(
            prediction.channels, a, e, s, tuple(covariances), score, tuple(before), tuple(after), record
        )

    @property
    def people(self) -> tuple[str, ...]:
        """Whom it was fitted on."""
        return self.fitted_on.people

    def refuse(self, people: Sequence[str], observed: Array | None = None) -> None:
        """Raise `ValueError` for people that it was fitted on, or for their very data."""
        self.fitted_on.refuse(people, *(() if observed is None else (observed,)), in_sample=False)

    def apply(self, prediction: Prediction, people: Sequence[str], *, in_sample: bool = False) -> Prediction:
        """The recalibrated prediction of people that it was not fitted on.

        Errors: `ValueError` for other channels, or for people it was fitted on unless `in_sample`.
        """
        require_prediction(prediction, "Scaling.apply")
        people_index(people, prediction.mean.shape[2])
        require_own_rows(prediction, people, "Scaling.apply")
        self.fitted_on.refuse(people, in_sample=in_sample)
        if prediction.channels != self.channels:
            raise ValueError(
                f"The factors are of the channels {list(self.channels)} and the prediction has "
                f"{list(prediction.channels)}; fit them on a prediction of the same channels."
            )
        return scale_parts(prediction, self.aleatoric, self.epistemic, self.personal)

    def perturbed(self, prediction: Prediction, generator: torch.Generator) -> Prediction:
        """An already recalibrated prediction as it might be, had other people of the same number been fitted on.

        Log factors are moved by a draw from their covariance: the calibration people's share in what a band must allow.
        """
        require_generator(generator, "Scaling.perturbed: generator")
        require_prediction(prediction, "Scaling.perturbed")
        if prediction.channels != self.channels:
            raise ValueError(f"Scaling.perturbed: the factors are of {list(self.channels)}, not {list(prediction.channels)}")
        root = np.stack([np.linalg.cholesky(np.asarray(c) + 1e-14 * np.eye(3)) for c in self.covariance])
        z = torch.randn((len(self.channels), 3, 1), generator=generator, dtype=torch.float64).numpy()
        a, e, s = np.exp((root @ z)[..., 0].T)
        return scale_parts(prediction, a, e, s)

    def sentences(self) -> list[str]:
        """What the factors say, with their 95 % range over calibration people."""
        found = []
        for c, channel in enumerate(self.channels):
            for k, part in enumerate(PARTS):
                factor, sd = getattr(self, part)[c], math.sqrt(self.covariance[c][k][k])
                if k == 0 and factor <= FLOOR * (1.0 + 1e-12):
                    found.append(
                        f"{channel}: the {part} variance is taken times {factor:.3g}, the least that a scaling may reach: these "
                        "measurements are too few, too alike or too close to the forecast to say how large their noise is."
                    )
                    continue
                if sd == 0.0:
                    continue
                low, high = factor * math.exp(-1.96 * sd), factor * math.exp(1.96 * sd)
                found.append(
                    f"{channel}: the {part} variance is taken times {factor:.3g} (95 % range over the "
                    f"{len(self.fitted_on.people)} calibration people {low:.2g} to {high:.2g})"
                    + (": they hardly settle it." if sd > 0.7 * DOUBT else ".")
                )
        return found

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        lists = {name: list(getattr(self, name)) for name in ("channels", *PARTS, "before", "after")}
        covariance = [[list(row) for row in matrix] for matrix in self.covariance]
        return {"kind": "scaling", **lists, "covariance": covariance, "score": self.score} | {
            "fitted_on": self.fitted_on.to_dict()
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Scaling":
        """The inverse of `to_dict`."""
        with as_written(data, "Scaling"):
            a, e, s, before, after = (tuple(data[k]) for k in (*PARTS, "before", "after"))
            covariance = tuple(tuple(tuple(map(float, row)) for row in matrix) for matrix in data["covariance"])
            on = FittedOn.from_dict(data["fitted_on"])
            return Scaling(data["channels"], a, e, s, covariance, data["score"], before, after, on)
