"""What a model says about observations it has not seen: a Gaussian mixture whose components are kept, not averaged.

A component is one ensemble member together with one draw of the person's own parameters. Both are held fixed along the whole
path; averaging them in parameter space, or pointwise in time, would throw away what the model does not know. The first four
functions are mathematics on plain arrays, component axis first; `Prediction` gives the components their names.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

SQRT_HALF = math.sqrt(0.5)
INVERSE_SQRT_PI = 1.0 / math.sqrt(math.pi)
BLOCK = 2**21  # numbers in one temporary array (16 MB in float64): bounds memory, and keeps the block near the cache


def mixture_cdf(
    y: Tensor,  # (G,)
    mean: Tensor,  # (K, G)
    variance: Tensor,  # (K, G)
) -> Tensor:  # (G,)
    """Distribution function of K equally weighted Gaussians, (1/K) Σ_k Φ((y − μ_k)/σ_k).

    Through erfc, so the lower tail keeps its relative precision; the upper tail is the mirrored mixture's lower tail.
    """
    return 0.5 * torch.erfc((mean - y) * (SQRT_HALF * variance.rsqrt())).mean(0)


def mixture_log_prob(
    y: Tensor,  # (G,)
    mean: Tensor,  # (K, G)
    variance: Tensor,  # (K, G)
) -> Tensor:  # (G,)
    """Log density of K equally weighted Gaussians, log (1/K) Σ_k N(y; μ_k, σ_k²), by logsumexp."""
    terms = -0.5 * ((y - mean).square() / variance + (2.0 * math.pi * variance).log())
    return torch.logsumexp(terms, 0) - math.log(mean.shape[0])


def mixture_quantile(
    level: float,
    mean: Tensor,  # (K, G)
    variance: Tensor,  # (K, G)
) -> Tensor:  # (G,)
    """The y at which the mixture's distribution function equals `level`, by Newton's method held inside a bracket.

    The bracket is [min_k q_k, max_k q_k] with q_k the components' own quantiles: at the upper end every component's
    distribution function is at least the level, at the lower end at most. Newton runs on log F, which is nearly quadratic in
    a tail; a step that leaves the bracket, or is not half as long as the one before, is replaced by a bisection.
    Levels above one half are solved for the mirrored mixture, so that both tails are relatively precise.
    Where the mixture has a gap wider than floating-point numbers resolve (F equal to the level over an interval), some point
    of that interval is returned.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"A quantile level of {level} was asked for; levels lie strictly between 0 and 1, e.g. 0.9.")
    with torch.no_grad():
        if level > 0.5:
            return -mixture_quantile(1.0 - level, -mean, variance)
        sd = variance.sqrt()
        ends = mean + sd * torch.special.ndtri(mean.new_tensor(level))
        low, high = ends.amin(0), ends.amax(0)
        answer = 0.5 * (low + high)
        x, last, smallest = answer.clone(), high - low, sd.amin(0)
        active = torch.arange(x.numel(), device=x.device)
        # Each pass halves either the bracket or the step; after 100 passes only bisection is allowed, and 1,200 halvings
        # exceed what the exponent range of float64 can hold.
        for iteration in range(1300):
            z = (x - mean) / sd
            below = 0.5 * torch.erfc(-SQRT_HALF * z).mean(0)
            density = ((-0.5 * z.square()).exp() / sd).mean(0) / math.sqrt(2.0 * math.pi)
            error = torch.log1p((below - level) / level)  # log F − log level, without the rounding of two logarithms
            low, high = torch.where(error < 0.0, x, low), torch.where(error < 0.0, high, x)
            newton = x - error * below / density
            step, tolerance = (newton - x).abs(), 1e-15 * (x.abs() + smallest)
            by_newton = (newton >= low) & (newton <= high) & (2.0 * step <= last) & (iteration < 100)
            bisected = 0.5 * (low + high)
            converged = (step <= tolerance) | (high - low <= tolerance) | (error.abs() <= 2e-16)
            answer[active[converged]] = x[converged]
            if bool(converged.all()):
                break
            following = torch.where(by_newton, newton, bisected)
            last, x = (following - x).abs(), following
            if 2 * int(converged.sum()) >= converged.numel():  # few columns are left: stop paying for the others
                keep = ~converged
                active, x, last, low, high = active[keep], x[keep], last[keep], low[keep], high[keep]
                mean, sd, smallest = mean[:, keep], sd[:, keep], smallest[keep]
        return answer


def mixture_crps(
    y: Tensor,  # (G,)
    mean: Tensor,  # (K, G)
    variance: Tensor,  # (K, G)
) -> Tensor:  # (G,)
    """Continuous ranked probability score of K equally weighted Gaussians, in closed form (smaller is better, unit of y).

    CRPS = (1/K) Σ_k A(y − μ_k, σ_k²) − (1/2K²) Σ_j Σ_k A(μ_j − μ_k, σ_j² + σ_k²), with
    A(d, v) = E|d + √v Z| = d (2Φ(d/√v) − 1) + 2 √v φ(d/√v)   (Grimit, Gneiting, Berrocal & Johnson 2006).
    Pairs are visited one component at a time, so memory is that of the components themselves.
    """
    count = mean.shape[0]
    to_observation = _expected_distance(y - mean, variance).mean(0)
    spread = 2.0 * INVERSE_SQRT_PI * variance.sqrt().sum(0)  # the pairs j = k
    for k in range(count - 1):
        spread = spread + 2.0 * _expected_distance(mean[k + 1 :] - mean[k], variance[k + 1 :] + variance[k]).sum(0)
    return to_observation - spread / (2.0 * count**2)


def _expected_distance(difference: Tensor, variance: Tensor) -> Tensor:
    """E|d + √v Z| for standard normal Z."""
    scaled = difference * (SQRT_HALF * variance.rsqrt())
    gauss = (2.0 * variance).sqrt() * INVERSE_SQRT_PI * (-scaled.square()).exp()
    return difference * torch.erf(scaled) + gauss


@final
@dataclass(frozen=True, eq=False)
class Prediction:
    """Predictive distribution of N people's observations at T times each, with its sources of uncertainty kept apart.

    Given member m and draw s an observation is Gaussian, y | m, s ~ N(mean[m, s], variance[m, s]), independent between times
    and channels; members and draws are equally likely, so that y follows a mixture of M·S Gaussians.

    Arguments
      mean      (M, S, N, T, p), in the channels' units; M members (what the model does not know), S draws of the person's
                own parameters given their data (S = 1 where there are none)
      variance  (M, S, N, T, p), measurement-noise variance, units squared
      times     (N, T), each record's own time unit
      mask      (N, T) bool, true where a time is real; false is padding
      channels, units   p names and p UCUM codes

    Everything computed is (N, T, p) in float64, NaN at padding and where an observation handed in is NaN (missing). What
    padding holds is never looked at.
    Errors: ValueError for shapes that disagree, no members, no draws, means that are not finite, variances that are not
    finite and positive (at real times).
    Law: total = aleatoric + epistemic + personal, the variance of the mixture; one member and one draw are the Gaussian.
    Source: the law of total variance, applied twice; Lakshminarayanan, Pritzel & Blundell (2017) for the mixture of members.
    """

    mean: Tensor
    variance: Tensor
    times: Tensor
    mask: Tensor
    channels: tuple[str, ...]
    units: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("mean", "variance", "times"):
            object.__setattr__(self, name, torch.as_tensor(getattr(self, name)).to(torch.float64))
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "units", tuple(self.units))
        if self.mean.dim() != 5 or self.mean.shape != self.variance.shape or 0 in self.mean.shape:
            raise ValueError(
                f"mean has shape {tuple(self.mean.shape)} and variance {tuple(self.variance.shape)}; both need the shape "
                "(members, draws, people, times, channels) with every axis at least 1. A missing draw axis is the usual "
                "cause: write mean[:, None]; a variance shared by members or draws: variance.expand_as(mean)."
            )
        if self.times.shape != self.mean.shape[2:4] or self.mask.shape != self.mean.shape[2:4]:
            raise ValueError(
                f"times has shape {tuple(self.times.shape)} and mask {tuple(self.mask.shape)}; both need (people, times) = "
                f"{tuple(self.mean.shape[2:4])}, as in mean."
            )
        if self.mask.dtype != torch.bool:
            raise ValueError(f"mask has dtype {self.mask.dtype}; it needs torch.bool: write mask > 0.")
        if not len(self.channels) == len(self.units) == self.mean.shape[4]:
            raise ValueError(
                f"{len(self.channels)} channel names and {len(self.units)} units came with {self.mean.shape[4]} channels in "
                'mean; each channel needs one name and one unit, e.g. channels=("glucose",), units=("mmol/L",).'
            )
        mean, variance = self._columns()
        if not bool(torch.isfinite(mean).all()):
            raise ValueError(
                "mean holds values that are not finite at real times; the simulation diverged, or padding was not masked: "
                "look at prediction inputs where ~mean.isfinite()."
            )
        if not bool((torch.isfinite(variance) & (variance > 0.0)).all()):
            raise ValueError(
                "variance holds values that are not finite and positive at real times; a noise head needs a floor above "
                "zero: write variance.clamp_min(floor)."
            )

    @property
    def point(self) -> Tensor:  # (N, T, p)
        """Mean of the mixture, (1/MS) Σ_m Σ_s mean."""
        return self._masked(self.mean.mean((0, 1)))

    @property
    def aleatoric(self) -> Tensor:  # (N, T, p)
        """Measurement and process noise, mean over members and draws of the variance: what no data would remove."""
        return self._masked(self.variance.mean((0, 1)))

    @property
    def epistemic(self) -> Tensor:  # (N, T, p)
        """What the model does not know: variance (1/M) over members of the member's mean over draws.

        This is the share in the variance of *this* mixture. For an estimate of the posterior's, see `epistemic_posterior`.
        """
        return self._masked(self.mean.mean(1).var(0, correction=0))

    @property
    def personal(self) -> Tensor:  # (N, T, p)
        """What this person's data have not settled: mean over members of the variance (1/S) over draws."""
        return self._masked(self.mean.var(1, correction=0).mean(0))

    @property
    def total(self) -> Tensor:  # (N, T, p)
        """Variance of the mixture, aleatoric + epistemic + personal."""
        return self.aleatoric + self.epistemic + self.personal

    @property
    def epistemic_posterior(self) -> Tensor:  # (N, T, p)
        """Estimate of the posterior variance between members, free of the draws' sampling noise; may be negative.

        (1/(M − 1)) Σ_m (μ̄_m − μ̄)² − (1/S) · mean_m (1/(S − 1)) Σ_s (μ_ms − μ̄_m)²: the between-groups component of
        a one-way analysis of variance (Searle, Casella & McCulloch 1992, chapter 3). Unbiased for draws independent between
        members; draws shared by all members (common random numbers) make it too small. With S = 1 nothing is subtracted:
        a single draw is taken to be the parameters themselves, not a sample of them. NaN with one member, which has no
        spread.
        """
        members, draws = self.mean.shape[:2]
        if members == 1:
            return torch.full_like(self.point, torch.nan)
        between = self.mean.mean(1).var(0, correction=1)
        within = self.mean.var(1, correction=1).mean(0) / draws if draws > 1 else torch.zeros_like(between)
        return self._masked(between - within)

    def cdf(self, y: Tensor) -> Tensor:  # (..., N, T, p) -> the same
        """P(observation ≤ y): the probability integral transform (PIT) when y is what was observed."""
        return self._evaluate(mixture_cdf, y)

    def log_prob(self, y: Tensor) -> Tensor:  # (..., N, T, p) -> the same
        """Log density of each observation under the mixture (marginal per time and channel, not of the path)."""
        return self._evaluate(mixture_log_prob, y)

    def crps(self, y: Tensor) -> Tensor:  # (..., N, T, p) -> the same
        """Continuous ranked probability score of each observation, in the channel's unit; see `mixture_crps`."""
        return self._evaluate(mixture_crps, y)

    def exceeds(
        self,
        threshold: Tensor | float,  # broadcasts to (N, T, p)
    ) -> Tensor:  # (N, T, p)
        """P(observation > threshold), precise in the upper tail; the lower one is cdf."""
        value = torch.as_tensor(threshold, dtype=torch.float64, device=self.mean.device)
        return self._evaluate(
            lambda y, mean, variance: mixture_cdf(-y, -mean, variance), value.expand(self.mean.shape[2:])
        )

    def quantile(self, levels: Sequence[float]) -> Tensor:  # (L,) -> (L, N, T, p)
        """The values at which cdf equals each level, to 1e-10 relative; see `mixture_quantile`. Carries no gradient."""
        mean, variance = self._columns()
        rows = [
            torch.cat([mixture_quantile(float(level), mean[:, c], variance[:, c]) for c in blocks(mean)])
            for level in levels
        ]
        return self._scatter(torch.stack(rows))

    def interval(self, level: float) -> tuple[Tensor, Tensor]:  # each (N, T, p)
        """Central interval holding `level` of the mixture: the quantiles at (1 − level)/2 and (1 + level)/2."""
        if not 0.0 < level < 1.0:
            raise ValueError(
                f"An interval of level {level} was asked for; levels lie strictly between 0 and 1, e.g. 0.9."
            )
        lower, upper = self.quantile((0.5 * (1.0 - level), 0.5 * (1.0 + level)))
        return lower, upper

    def sample(
        self, count: int, generator: torch.Generator, *, shared_member: bool = False
    ) -> Tensor:  # (count, N, T, p)
        """Whole paths: a member and a draw once per path, then measurement noise at each time and channel.

        Process noise is in the variance of each time, and its correlation along time is not: whole paths of a model that has
        it come from `sample_paths`.
        By default every person's path draws its own member. All people do live in the same world: `shared_member=True`
        draws one member for the whole cohort, which leaves each person's distribution as it is and correlates people as
        the model's ignorance does. Use it for statements about many people at once (a cohort's mean, a null band).
        """
        if count < 1:
            raise ValueError(f"{count} paths were asked for; write a count of at least 1.")
        members, draws, people = self.mean.shape[:3]
        device = self.mean.device
        drawn = (count, 1) if shared_member else (count, people)
        member = torch.randint(members, drawn, generator=generator, device=device)
        draw = torch.randint(draws, (count, people), generator=generator, device=device)
        chosen = (member, draw, torch.arange(people, device=device))
        mean, variance = self.mean[chosen], self.variance[chosen]
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64, device=device)
        return self._masked(mean + variance.sqrt() * noise)

    def members(self, indices: Sequence[int] | Tensor) -> "Prediction":
        """The prediction of these members alone."""
        index = self._index(indices, self.mean.shape[0], "member")
        return replace(self, mean=self.mean[index], variance=self.variance[index])

    def people(self, indices: Sequence[int] | Tensor) -> "Prediction":
        """The prediction for these people alone."""
        i = self._index(indices, self.mean.shape[2], "person")
        mean, variance = self.mean[:, :, i], self.variance[:, :, i]
        return replace(self, mean=mean, variance=variance, times=self.times[i], mask=self.mask[i])

    def _index(self, indices: Sequence[int] | Tensor, size: int, noun: str) -> Tensor:
        index = torch.as_tensor(indices, device=self.mean.device)
        if index.dtype == torch.bool and index.shape == (size,):
            index = index.nonzero().squeeze(1)
        whole = not index.is_floating_point() and index.dtype != torch.bool
        if not whole or index.dim() != 1 or index.numel() == 0 or bool(((index < -size) | (index >= size)).any()):
            raise ValueError(
                f"{noun} indices {indices} do not select from {size}; give a non-empty list of whole numbers between 0 and "
                f"{size - 1} (an index of one is [0]), or {size} booleans."
            )
        return index

    def _masked(self, values: Tensor) -> Tensor:
        return torch.where(self.mask[..., None], values, torch.nan)

    def _present(self) -> Tensor:  # (N T p,) bool
        return self.mask[..., None].expand(self.mean.shape[2:]).reshape(-1)

    def _columns(self) -> tuple[Tensor, Tensor]:  # (M S, G) each, the G entries at real times
        count = self.mean.shape[0] * self.mean.shape[1]
        present = self._present()
        return self.mean.reshape(count, -1)[:, present], self.variance.reshape(count, -1)[:, present]

    def _scatter(self, rows: Tensor) -> Tensor:  # (R, G) -> (R, N, T, p)
        full = rows.new_full((rows.shape[0], self._present().numel()), torch.nan)
        full[:, self._present()] = rows
        return full.reshape(rows.shape[0], *self.mean.shape[2:])

    def _evaluate(self, function: Callable[[Tensor, Tensor, Tensor], Tensor], y: Tensor) -> Tensor:
        """Apply a mixture function at the real times, block by block."""
        y = torch.as_tensor(y, dtype=torch.float64, device=self.mean.device)
        shape = self.mean.shape[2:]
        if y.dim() < 3 or y.shape[-3:] != shape:
            raise ValueError(
                f"Observations have shape {tuple(y.shape)}; the prediction needs (..., people, times, channels) = "
                f"(..., {', '.join(map(str, shape))}). A single channel still has its axis: write y[..., None]."
            )
        mean, variance = self._columns()
        rows = y.reshape(-1, shape.numel())[:, self._present()]
        values = [torch.cat([function(row[c], mean[:, c], variance[:, c]) for c in blocks(mean)]) for row in rows]
        return self._scatter(torch.stack(values)).reshape(y.shape)


def blocks(components: Tensor) -> list[slice]:
    """Slices of columns such that components × columns stays below BLOCK; one empty slice where there are no columns."""
    width = max(1, BLOCK // components.shape[0])
    return [slice(start, start + width) for start in range(0, max(1, components.shape[1]), width)]
