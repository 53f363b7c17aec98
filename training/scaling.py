"""Recalibration of a prediction's parts: how much too small or too large is each source of uncertainty?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from hybrid.mixture import blocks, mixture_crps, mixture_log_prob
from hybrid.prediction import Prediction
from training.fitted_on import FittedOn, people_index
from training.null_band import Array, ArrayLike, as_array

PARTS = ("aleatoric", "epistemic", "personal")
DOUBT = math.log(4.0)  # standard deviation of a factor's logarithm before anyone is seen: few people leave factors near 1
Score = Literal["nll", "crps"]


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
    a, e, s = (torch.as_tensor(as_array(f), device=prediction.mean.device) for f in (aleatoric, epistemic, personal))
    mean, variance = _scaled(prediction.mean, prediction.variance, torch.stack(torch.broadcast_tensors(a, e, s)))
    return replace(prediction, mean=mean, variance=variance)


def _scaled(mean: Tensor, variance: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:  # (M, S, ..., p), (3, p|)
    member = mean.mean(1, keepdim=True)
    centre = member.mean(0, keepdim=True)
    a, e, s = factors
    if not factors.requires_grad and bool((factors == 1.0).all()):
        return mean, variance  # the identity to the last bit
    return centre + e.sqrt() * (member - centre) + s.sqrt() * (mean - member), a * variance


@final
@dataclass(frozen=True)
class Scaling:
    """Factors of the aleatoric, the epistemic and the personal variance of every channel, fitted on held-out people.

    They minimise Σ score + Σ_k (log f_k)²/(2 log²4) over n observations (for CRPS in units of the unscaled mean): a factor of
    4 either way is one standard deviation of what is thought likely beforehand, so that what few people cannot settle stays
    near 1 and does not run to 0 or infinity.

    `channels` (p,) · `aleatoric`, `epistemic`, `personal` (p,), factors of variances, 1 where a part is not there to be
    scaled (one member, one draw) · `covariance` (p, 3, 3), of the three logarithms, clustered by person: how little the
    calibration people say · `score`, what was minimised · `before`, `after` (p,), its mean on the people it was fitted on
    · `fitted_on`.
    Law: factors of 1 are the identity; `after` is never above `before`, since the penalty is 0 at 1.
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

    @staticmethod
    def fit(
        prediction: Prediction,
        y: ArrayLike,  # (N, T, p), NaN is missing
        people: Sequence[str],  # (N,)
        *,
        score: Score = "nll",
    ) -> "Scaling":
        """Minimise the mean NLL (or CRPS) of the mixture over the observations of people whom the model has not seen.

        Channel by channel, over the logarithms of the factors, by L-BFGS from the best of a coarse grid.
        The two parts are told apart where their shares differ between observations, and by the mixture's shape; where they
        hardly do, `covariance` is large. CRPS visits all pairs of components: of hundreds, take NLL.
        Returns a `Scaling`. Errors: `ValueError` for shapes, a channel without observations, or another score.
        """
        if score not in ("nll", "crps"):
            raise ValueError(f'score is {score!r}; write "nll" (mixture log score) or "crps".')
        seen = observed(prediction, y)
        record = FittedOn.of(people, as_array(y))
        _, index = people_index(people, len(seen))
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
            problem = _Problem(mean, variance, seen[..., c][here], person, score)
            u = problem.minimise()
            factors.append(u.exp().tolist())
            covariances.append(tuple(tuple(row) for row in problem.covariance(u).tolist()))
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
        people_index(people, prediction.mean.shape[2])
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
        a, e, s, before, after = (tuple(map(float, data[k])) for k in (*PARTS, "before", "after"))
        covariance = tuple(tuple(tuple(map(float, row)) for row in matrix) for matrix in data["covariance"])
        return Scaling(
            tuple(data["channels"]),
            a,
            e,
            s,
            covariance,
            data["score"],
            before,
            after,
            FittedOn.from_dict(data["fitted_on"]),
        )


def observed(prediction: Prediction, y: ArrayLike) -> Tensor:  # (N, T, p), NaN at padding too
    """Observations at a prediction's real times.

    Errors: `ValueError` for another shape, or observations that are infinite.
    """
    seen = torch.from_numpy(as_array(y).copy())
    shape = prediction.mean.shape[2:]
    if seen.shape != shape:
        raise ValueError(
            f"Observations have shape {tuple(seen.shape)}; the prediction needs (people, times, channels) = {tuple(shape)}. "
            "A single channel still has its axis: write y[..., None]."
        )
    seen = torch.where(prediction.mask[..., None].cpu(), seen, torch.nan)
    if bool(torch.isinf(seen).any()):
        raise ValueError("Observations hold infinite values; a missing one is NaN: write np.where(isfinite, y, nan).")
    return seen


@final
class _Problem:
    """The score of one channel as a function of u (3,), the logarithms of the factors."""

    def __init__(self, mean: Tensor, variance: Tensor, y: Tensor, person: Tensor, score: Score) -> None:
        self.mean, self.variance, self.y, self.person, self.score = mean, variance, y, person, score
        self.unit = 1.0  # what a nat is in this score
        if score == "crps":
            self.unit = float(self.scores(torch.zeros(3, dtype=torch.float64)).mean())
        self.free = [0] + [k for k in (1, 2) if mean.shape[k - 1] > 1]  # one member has no spread to scale, nor one draw

    def scores(self, u: Tensor) -> Tensor:  # (G,)
        """The score of every observation, without a graph."""
        with torch.no_grad():
            return torch.cat([self._block(u, c) for c in self._blocks()])

    def _blocks(self) -> list[slice]:
        return blocks(self.mean.reshape(-1, self.y.shape[0]))

    def _block(self, u: Tensor, c: slice) -> Tensor:
        mean, variance = _scaled(self.mean[..., c], self.variance[..., c], u.exp()[:, None])
        mean, variance = mean.flatten(0, 1), variance.flatten(0, 1)
        if self.score == "crps":
            return mixture_crps(self.y[c], mean, variance)
        return -mixture_log_prob(self.y[c], mean, variance)

    def _penalty(self, u: Tensor) -> Tensor:
        return u.square().sum() * (0.5 * self.unit / (DOUBT**2 * self.y.shape[0]))

    def penalised(self, u: Tensor) -> float:
        """What is minimised, per observation."""
        return float(self.scores(u).mean()) + float(self._penalty(u))

    def gradient(self, u: Tensor) -> tuple[float, Tensor]:
        """Mean penalised score and its gradient, block by block: memory is that of one block."""
        at = u.clone().requires_grad_()
        penalty = self._penalty(at)
        penalty.backward()
        total = float(penalty.detach())
        for c in self._blocks():
            value = self._block(at, c).sum() / self.y.shape[0]
            value.backward()
            total += float(value.detach())
        gradient = torch.zeros(3, dtype=torch.float64) if at.grad is None else at.grad
        return total, torch.where(torch.isin(torch.arange(3), torch.tensor(self.free)), gradient, 0.0)

    def _descend(self, start: Tensor) -> Tensor:  # (3,)
        """L-BFGS from `start`; `start` itself where that leads nowhere."""
        u = start.clone().requires_grad_()
        search = torch.optim.LBFGS(
            [u], max_iter=100, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
        )

        def closure() -> float:
            value, gradient = self.gradient(u.detach())
            u.grad = gradient
            return value

        search.step(closure)
        found = u.detach()
        return found if bool(found.isfinite().all()) else start

    def minimise(self) -> Tensor:  # (3,)
        """The best found, and 0, factors of 1, where nothing is better."""
        zero = torch.zeros(3, dtype=torch.float64)
        steps = [(-DOUBT, 0.0, DOUBT) if k in self.free else (0.0,) for k in range(3)]
        grid = [torch.tensor([a, e, s], dtype=torch.float64) for a in steps[0] for e in steps[1] for s in steps[2]]
        best = min([zero, *grid], key=self.penalised)
        return min([zero, best, self._descend(best)], key=self.penalised)

    def covariance(self, u: Tensor) -> Tensor:  # (3, 3)
        """(H + Λ)⁻¹ (G + Λ) (H + Λ)⁻¹ of the log factors, Λ = 1/log²4: what is thought beforehand, where people say nothing.

        H is the Hessian of the total score, by central differences, G the sum over people of their gradients' squares:
        observations of one person count once. Source: Huber (1967); clustered: Liang & Zeger (1986).
        """
        free, h, n = self.free, 1e-3, self.y.shape[0]
        people, place = torch.unique(self.person, return_inverse=True)
        slopes = torch.zeros(len(people), len(free), dtype=torch.float64)
        hessian = torch.zeros(len(free), len(free), dtype=torch.float64)  # of the penalised score
        for j, k in enumerate(free):
            step = torch.zeros(3, dtype=torch.float64)
            step[k] = h
            slopes[:, j].index_add_(0, place, (self.scores(u + step) - self.scores(u - step)) / (2.0 * h))
            hessian[:, j] = (self.gradient(u + step)[1] - self.gradient(u - step)[1])[free] * (n / (2.0 * h))
        slopes, hessian = slopes / self.unit, hessian / self.unit
        prior = torch.eye(len(free), dtype=torch.float64) / DOUBT**2
        spread = slopes.T @ slopes * (len(people) / max(len(people) - 1, 1)) + prior
        values, vectors = torch.linalg.eigh(0.5 * (hessian + hessian.T))
        inverse = vectors @ torch.diag(1.0 / values.clamp_min(1.0 / DOUBT**2)) @ vectors.T
        full = torch.zeros(3, 3, dtype=torch.float64)
        rows = torch.tensor(free)
        full[rows[:, None], rows] = inverse @ spread @ inverse
        return full


def mean_scores(prediction: Prediction, y: ArrayLike) -> dict[str, Array]:  # each (N, T, p)
    """NLL and CRPS of every observation, NaN where nothing was observed."""
    seen = observed(prediction, y).to(prediction.mean.device)
    return {"nll": as_array(-prediction.log_prob(seen)), "crps": as_array(prediction.crps(seen))}
