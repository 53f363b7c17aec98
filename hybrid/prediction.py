"""What a model says about observations it has not seen: a Gaussian mixture whose components are kept, not averaged.

A component is one ensemble member together with one draw of the person's own parameters. Both are held fixed along the whole
path; averaging them in parameter space, or pointwise in time, would throw away what the model does not know. The mathematics on
plain arrays is in `hybrid/mixture.py`; `Prediction` gives the components their names.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, final

import torch
from torch import Tensor

from hybrid.mixture import blocks, mixture_cdf, mixture_crossing, mixture_crps, mixture_log_prob, mixture_quantile
from hybrid.prediction_tables import dataset, long_frame, summary
from hybrid.shift import Shift, require_shift
from physics.arguments import (
    as_numbers,
    quote,
    require_choice,
    require_device,
    require_flag,
    require_ids,
    require_kind,
    require_names,
    require_number,
    require_shape,
)
from physics.glance import glance

if TYPE_CHECKING:
    from hybrid.frames import DataFrame, Dataset


@final
@dataclass(frozen=True, eq=False)
class Prediction:
    """Predictive distribution of N people's observations at T times each, with its sources of uncertainty kept apart.

    Given member m and draw s an observation is Gaussian, y | m, s ~ N(mean[m, s], variance[m, s]), independent between times,
    and between channels but for `correlation`; members and draws are equally likely, so that y follows a mixture of M·S
    Gaussians.

    Arguments
      mean      (M, S, N, T, p), in the channels' units; M members (what the model does not know), S draws of the person's
                own parameters given their data (S = 1 where there are none)
      variance  (M, S, N, T, p), measurement-noise variance, units squared
      times     (N, T), in the records' time unit, since each one's first dose (or start): as a `Cohort` has them
      mask      (N, T) bool, true where a time is real; false is padding
      channels, units   p names and p UCUM codes
      ids       (N,) whose each row is, None where that is not known: it is compared with the cohort that the prediction meets
      time_unit a UCUM code, None where nobody said it; it is shown and handed on
      correlation  (M, N, p, p) of the measurement errors of one time, None where channels are independent: `sample` alone
                reads it, everything else is of one channel at one time
      shift     (N,) whether each person looks like those of the training, None where nobody asked; nothing is computed of it

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
    ids: tuple[str, ...] | None = None
    time_unit: str | None = None
    correlation: Tensor | None = None
    shift: tuple[Shift, ...] | None = None

    __repr__, _repr_html_ = glance(summary)

    def __post_init__(self) -> None:
        for name in ("mean", "variance", "times", "mask"):
            object.__setattr__(self, name, as_numbers(getattr(self, name), f"Prediction: {name}", truths=name == "mask"))
        for name in ("mean", "variance", "times"):
            object.__setattr__(self, name, getattr(self, name).to(torch.float64))
        for name in ("variance", "times", "mask"):  # all of it is where the means are
            object.__setattr__(self, name, getattr(self, name).to(self.mean.device))
        object.__setattr__(self, "channels", require_names(self.channels, "Prediction: channels", '("concentration",)'))
        listed = isinstance(self.units, Iterable) and not isinstance(self.units, str | Mapping | set)
        units = tuple(self.units) if listed else (self.units,)
        for unit in units:
            if not isinstance(unit, str):
                raise ValueError(f"Prediction: units are texts, one for each channel, and one is {quote(unit)}; write ('mg/L',)")
        object.__setattr__(self, "units", units)
        if self.mean.dim() != 5 or self.mean.shape != self.variance.shape or 0 in self.mean.shape:
            raise ValueError(
                f"mean has shape {tuple(self.mean.shape)} and variance {tuple(self.variance.shape)}; both need the shape "
                "(members, draws, people, times, channels) with every axis at least 1. A missing draw axis is the usual "
                "cause: write mean[:, None]; a variance shared by members or draws: variance.expand_as(mean)."
            )
        object.__setattr__(self, "ids", require_ids(self.ids, self.mean.shape[2], "Prediction: ids"))
        object.__setattr__(self, "shift", require_shift(self.shift, self.mean.shape[2], "Prediction: shift"))
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
        if self.correlation is not None:
            M, _, N, _, p = self.mean.shape
            require_shape(self.correlation, "Prediction: correlation", M, N, p, p, write="predict(model, cohort, draws)")
            object.__setattr__(self, "correlation", self.correlation.to(self.mean))
        if not bool(torch.isfinite(self.times[self.mask]).all()):
            raise ValueError("times holds values that are not finite where mask says that they are real; mask those out")
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
        value = self._threshold(threshold, "exceeds: threshold")
        return self._evaluate(lambda y, mean, variance: mixture_cdf(-y, -mean, variance), value)

    def crosses(
        self,
        threshold: Tensor | float,  # broadcasts to (N, T, p)
        *,
        side: Literal["above", "below"] = "above",
        measured: bool = True,
    ) -> Tensor:  # (N, p)
        """P(above, or below, the threshold at any of the prediction's real times), NaN for people who have none.

        For a window write `prediction.during(start, end).crosses(threshold)`. A member and a draw are fixed along the path, so
        dependence between times is the mixture's own. `measured`: that some *measurement* crosses, noise included, which
        grows with the number of times measured; otherwise that the noiseless path does, at these times (between them it may
        cross unseen: predict on a fine grid). Errors: ValueError for another side.
        Law: at one time it is `exceeds`; a window inside another has the smaller probability.
        """
        require_choice(side, ("above", "below"), 'crosses: side (write "above" or "below")')
        require_flag(measured, "crosses: measured")
        sign = 1.0 if side == "above" else -1.0
        value = self._threshold(threshold, "crosses: threshold")
        real = self.mask[..., None].expand_as(value).transpose(0, 1).flatten(1)  # (T, N p)
        mean, variance = (v.movedim(3, 2).flatten(3).flatten(0, 1) for v in (self.mean, self.variance))  # (M S, T, N p)
        variance = variance if measured else torch.zeros_like(variance)
        level = sign * value.transpose(0, 1).flatten(1)
        parts = [
            mixture_crossing(level[:, c], sign * mean[..., c], variance[..., c], real[:, c])
            for c in blocks(mean.flatten(0, 1))
        ]
        found = torch.where(real.any(0), torch.cat(parts), torch.nan)
        return found.reshape(self.mean.shape[2], self.mean.shape[4])

    def quantile(self, levels: Sequence[float]) -> Tensor:  # (L,) -> (L, N, T, p)
        """The values at which cdf equals each level, to 1e-10 relative; see `mixture_quantile`. Carries no gradient."""
        if isinstance(levels, str | Mapping | set) or not isinstance(levels, Iterable) or getattr(levels, "ndim", 1) == 0:
            raise ValueError(f"quantile: levels is a list, even of one, and is {quote(levels)}; write [0.1, 0.5, 0.9]")
        levels = list(levels)
        if not levels:
            raise ValueError("quantile: levels is empty; write [0.1, 0.5, 0.9]")
        for level in levels:
            if not isinstance(level, float | int) or isinstance(level, bool):
                require_number(level, "quantile: a level")
        mean, variance = self._columns()
        rows = [
            torch.cat([mixture_quantile(float(level), mean[:, c], variance[:, c]) for c in blocks(mean)])
            for level in levels
        ]
        return self._scatter(torch.stack(rows))

    def interval(self, level: float) -> tuple[Tensor, Tensor]:  # each (N, T, p)
        """Central interval holding `level` of the mixture: the quantiles at (1 − level)/2 and (1 + level)/2."""
        if not (isinstance(level, float) and math.isnan(level)):
            require_number(level, "interval: level")
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
        require_number(count, "sample: count, how many paths,", least=1.0, most=1e8, whole=True)
        require_kind(generator, torch.Generator, "sample: generator", "torch.Generator().manual_seed(0)")
        require_flag(shared_member, "sample: shared_member")
        count = int(count)
        members, draws, people = self.mean.shape[:3]
        device, own = self.mean.device, generator.device  # a generator draws where it lives, and nowhere else
        drawn = (count, 1) if shared_member else (count, people)
        member = torch.randint(members, drawn, generator=generator, device=own).to(device)
        draw = torch.randint(draws, (count, people), generator=generator, device=own).to(device)
        chosen = (member, draw, torch.arange(people, device=device))
        mean, variance = self.mean[chosen], self.variance[chosen]
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64, device=own).to(device)
        if self.correlation is not None:
            root = torch.linalg.cholesky(self.correlation)[member.expand(count, people), chosen[2]]  # (count, N, p, p)
            noise = (root[:, :, None] @ noise[..., None])[..., 0]
        return self._masked(mean + variance.sqrt() * noise)

    def to_frame(self, level: float = 0.9) -> "DataFrame":
        """One row for each person, real time and channel, as a pandas DataFrame: what is expected, and how sure that is.

        Columns: person (id, or position), time with its unit (None where nobody said it), channel and unit; in that unit mean and
        sd of the mixture, the parts of sd² as aleatoric_sd, epistemic_sd and personal_sd, and lower and upper, the ends of the
        central interval that holds `level`; and, where it was asked, shift: True where the person does not look like the
        training.
        """
        lower, upper = self.interval(level)
        parts = {f"{name}_sd": getattr(self, name).sqrt() for name in ("aleatoric", "epistemic", "personal")}
        values = {"mean": self.point, "sd": self.total.sqrt(), **parts, "level": float(level), "lower": lower, "upper": upper}
        return long_frame(self, values)

    def to_xarray(self) -> "Dataset":
        """The mixture itself as an xarray Dataset: mean and variance by member, draw, person, time and channel, NaN at padding.

        Coordinates: the ids, the channels and their units, `when` (person, time), and `time` where it is the same for everyone.
        """
        return dataset(self)

    def to(self, device: torch.device | str) -> "Prediction":
        """The same prediction on another device."""
        require_device(device, "Prediction.to: device")
        return replace(self, mean=self.mean.to(device))

    def members(self, indices: Sequence[int] | Tensor) -> "Prediction":
        """The prediction of these members alone."""
        index = self._index(indices, self.mean.shape[0], "member")
        correlation = None if self.correlation is None else self.correlation[index]
        return replace(self, mean=self.mean[index], variance=self.variance[index], correlation=correlation)

    def people(self, indices: Sequence[int] | Tensor) -> "Prediction":
        """The prediction for these people alone."""
        i = self._index(indices, self.mean.shape[2], "person")
        mean, variance = self.mean[:, :, i], self.variance[:, :, i]
        ids = None if self.ids is None else tuple(self.ids[k] for k in i.tolist())
        correlation = None if self.correlation is None else self.correlation[:, i]
        shift = None if self.shift is None else tuple(self.shift[k] for k in i.tolist())
        times, mask = self.times[i], self.mask[i]
        return replace(
            self, mean=mean, variance=variance, times=times, mask=mask, ids=ids, correlation=correlation, shift=shift
        )

    def during(self, start: float, end: float) -> "Prediction":
        """The prediction at times in [start, end] alone, each record's own time; others become padding."""
        for name, time in (("start", start), ("end", end)):
            if not (isinstance(time, float) and math.isinf(time)):  # a window may be open
                require_number(time, f"during: {name}")
        start, end = float(start), float(end)
        if not start <= end:
            raise ValueError(f"The window runs from {start} to {end}; its start needs to be no later than its end.")
        return replace(self, mask=self.mask & (self.times >= start) & (self.times <= end))

    def _index(self, indices: Sequence[int] | Tensor, size: int, noun: str) -> Tensor:
        try:
            index = torch.as_tensor(indices, device=self.mean.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{noun} indices are whole numbers in a list, between 0 and {size - 1}, and are {quote(indices)}; write [0]"
            ) from error
        if index.dtype == torch.bool and index.shape == (size,):
            index = index.nonzero().squeeze(1)
        whole = not (index.is_floating_point() or index.is_complex() or index.dtype == torch.bool)
        if not whole or index.dim() != 1 or index.numel() == 0 or bool(((index < -size) | (index >= size)).any()):
            raise ValueError(
                f"{noun} indices {quote(indices)} do not select from {size}; give a non-empty list of whole numbers between 0 "
                f"and {size - 1} (an index of one is [0]), or {size} booleans."
            )
        return index

    def _numbers(self, value: Tensor | float, what: str) -> Tensor:
        try:
            kind = value if isinstance(value, Tensor) else torch.as_tensor(value)
            if kind.is_complex() or kind.dtype == torch.bool:
                raise TypeError
            return torch.as_tensor(value, dtype=torch.float64, device=self.mean.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{what} must be numbers, and is {quote(value)}") from error

    def _threshold(self, value: Tensor | float, what: str) -> Tensor:  # (N, T, p)
        given, shape = self._numbers(value, what), self.mean.shape[2:]
        if given.ndim > 3 or not all(a in (1, b) for a, b in zip(given.shape[::-1], shape[::-1], strict=False)):
            raise ValueError(f"{what} has shape {tuple(given.shape)}; give one number, or one for each of {tuple(shape)}")
        if bool(given.isnan().any()):
            raise ValueError(f"{what} holds NaN, which nothing is above or below; give numbers")
        return given.expand(shape)

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
        y = self._numbers(y, "observations")
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
