"""Normalised prediction distribution errors: where each measurement lies among those that the model would have made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hybrid.frames import frame_of
from physics.arguments import InputError, require_flag, require_generator, require_kind, require_number
from physics.glance import Summary, glance
from training.diagnostics.censored import Censoring, imputed
from training.diagnostics.members import About
from training.diagnostics.residuals import long_columns, whitened
from training.diagnostics.simulated import SimulatedCohorts
from training.trust.null_band import NullBand, tails

if TYPE_CHECKING:
    from hybrid.frames import DataFrame

NULL = 400  # simulated cohorts that stand for the measured one: 2.5 % of them are ten
_SMALL = 1e-12  # as far as a transform may come to 0 or 1


def _summary(errors: "PredictionErrors") -> Summary:
    rows: list[tuple[str, object]] = [
        (
            f"{channel}, {name}",
            f"{band.observed:.3g}, where {band.level:.0%} of right models have {band.lower:.3g} to {band.upper:.3g}",
        )
        for channel, bands in errors.statistics.items()
        for name, band in bands.items()
    ]
    count, about = int(torch.isfinite(errors.pd).sum()), errors.about
    return (
        f"PredictionErrors of {count} measurements of {len(about.ids)} people among {errors.draws} draws, {about.members}",
        rows,
    )


@dataclass(frozen=True, eq=False)
class PredictionErrors:
    """Where every measurement lies among simulated ones, each (N, T, p), NaN where nothing was measured and for who failed.

    `pd`, its place in the law of its own time, uniform in (0, 1) for a right model and dependent within a person · `npde`,
    standard normal for a right model and, within a person, without correlation: of what is left once the other measurements of
    that person have been taken out · `epred`, in the channel's unit, the mean of the simulated ones · `y`, what was measured, NaN
    also where only limits are known · `censored` (bool), where that is so · `times` (N, T) · `statistics`, by channel: "mean",
    "standard deviation" and "Kolmogorov distance" of npde, each beside what `level` of right models show, the same people drawn
    from the model in the place of those measured · `draws` K · `decorrelated`; where it is False npde are Φ⁻¹(pd) · `about`.
    """

    pd: Tensor
    npde: Tensor
    epred: Tensor
    y: Tensor
    censored: Tensor
    times: Tensor
    statistics: Mapping[str, Mapping[str, NullBand]]
    draws: int
    decorrelated: bool
    about: About

    __repr__, _repr_html_ = glance(_summary)

    def to_frame(self) -> "DataFrame":
        """One row for each measurement, as a pandas DataFrame: person, time and its unit, channel and unit, y, EPRED, whether it
        is
        known by limits alone, pd and npde.
        """
        there = torch.isfinite(self.pd).cpu()
        columns = long_columns(self.pd, self.times, self.about)
        for name in ("y", "epred", "censored", "pd", "npde"):
            columns[name] = getattr(self, name).cpu()[there].tolist()
        return frame_of(columns, "PredictionErrors.to_frame")


def npde(
    simulated: SimulatedCohorts,
    generator: torch.Generator,
    *,
    decorrelate: bool = True,
    level: float = 0.95,
) -> PredictionErrors:
    """Normalised prediction distribution errors of everyone's measurements, by Monte Carlo.

    Of a person with measurements y and K draws y*ₖ of them, E and C the mean and covariance of all K + 1, decorrelated by the
    Cholesky factor of C = L Lᵀ: z = L⁻¹(y − E), zₖ = L⁻¹(y*ₖ − E). pde_j = (#{k: zₖⱼ < zⱼ} + u)/(K + 1), u uniform in (0, 1), and
    npde = Φ⁻¹(pde). pd_j is the same of y and y*ₖ themselves. With y among those of which E and C are taken, and ties settled by
    u, all K + 1 have the same standing: of a right model every pde is exactly uniform, whatever K. (Programs that leave y out,
    and take 1/2K for the ends, differ by O(1/K).) Independence within a person is exact where y is normal.
    A value known by its limits alone takes a place drawn between them (censoring): its pd is uniform among those of the draws
    there, and it enters the decorrelation as one of these draws; where the limit of a channel is one for all, draws beyond it are
    shuffled in the same way, so that neither says more than the other.
    Arguments: `simulated`, of `simulated_cohorts`; `generator`, of u and of what stands for censored values; `decorrelate`,
    False for pd alone, with more measurements of a person than draws; `level` of the bands of `statistics`.
    Errors: `ValueError` for as few draws as a person has measurements, which cannot be decorrelated.
    Law: of a model that is right, Kolmogorov's distance of npde from N(0, 1) exceeds its band in 1 − `level` of all studies.
    Source: Brendel, Comets, Laffont, Laveille & Mentré, Pharm. Res. 23 (2006) 2036; Comets, Brendel & Mentré, Comput. Methods
    Programs Biomed. 90 (2008) 154; Nguyen, Comets & Mentré, J. Pharmacokinet. Pharmacodyn. 39 (2012) 499 (censoring).
    """
    require_kind(simulated, SimulatedCohorts, "npde: simulated", "simulated_cohorts(model, cohort, 1000, generator)")
    require_generator(generator, "npde: generator")
    require_flag(decorrelate, "npde: decorrelate")
    require_number(level, "npde: level")
    tails(level)
    K, N, T, p = simulated.values.shape
    there = simulated.measured.flatten(1)  # (N, L)
    longest = int(there.sum(1).max()) if N else 0
    if decorrelate and 2 * longest >= K:
        raise InputError(
            f"npde: somebody has {longest} measurements, and their covariance is estimated of {K} draws, of which more than "
            f"{2 * longest} are needed (1,000 are usual)",
            "draw more cohorts, or write npde(…, decorrelate=False)",
        )
    values, y = simulated.values.flatten(2), simulated.y.flatten(1)
    censoring = Censoring.of(simulated, "npde")
    ends = None if censoring is None else tuple(v.flatten(1) for v in (censoring.side, censoring.low, censoring.high))
    pd, errors = torch.full_like(y, torch.nan), torch.full_like(y, torch.nan)
    kept = min(NULL, K)
    null = np.full((kept, N, T * p), np.nan)
    for rows in torch.arange(N, device=y.device).split(max(1, 2**23 // max(K * T * p, 1))):
        mine, own, here = values[:, rows], y[rows], there[rows]
        if ends is not None:
            mine, own = imputed(mine, own, (ends[0][rows], ends[1][rows], ends[2][rows]), generator)
        both = torch.where(here, torch.cat([own[None], mine]), 0.0)  # (K+1, R, L)
        places = _places(both, generator)
        pd[rows] = torch.where(here, places[0], torch.nan)
        if decorrelate:
            away = torch.where(here, both - both.mean(0), 0.0)
            C = torch.einsum("kri,krj->rij", away, away) / (K + 1)
            places = _places(whitened(away, C, here, "cholesky"), generator)
        errors[rows] = torch.where(here, places[0], torch.nan)
        null[:, rows.cpu().numpy()] = torch.where(here, places[1 : kept + 1], torch.nan).cpu().numpy()
    shape = (N, T, p)
    errors = errors.reshape(shape)
    statistics = {
        channel: _statistics(errors[..., c].cpu().numpy(), null.reshape(kept, *shape)[..., c], level)
        for c, channel in enumerate(simulated.about.channels)
        if bool(torch.isfinite(errors[..., c]).any())
    }
    epred = torch.where(there.reshape(shape), simulated.values.mean(0), torch.nan)
    censored = simulated.measured & ~torch.isfinite(simulated.y)
    return PredictionErrors(
        *(pd.reshape(shape), _normal(errors), epred, simulated.y, censored, simulated.times, statistics, K, decorrelate),
        simulated.about,
    )


def _places(
    rows: Tensor,  # (K+1, R, L)
    generator: torch.Generator,
) -> Tensor:  # the same
    """The place of each among all, in (0, 1): its rank, ties in any order, and a uniform number, over K + 1."""
    chance = torch.rand(rows.shape, generator=generator, dtype=torch.float64, device=generator.device).to(rows.device)
    shuffled = torch.argsort(chance, 0)  # ties fall as this order has them, and no row has a standing of its own
    order = shuffled.gather(0, torch.argsort(rows.gather(0, shuffled), dim=0, stable=True))
    rank = torch.empty_like(order)
    rank.scatter_(0, order, torch.arange(len(rows), device=rows.device)[:, None, None].expand_as(order).contiguous())
    extra = torch.rand(rows.shape, generator=generator, dtype=torch.float64, device=generator.device).to(rows.device)
    return ((rank + extra) / len(rows)).clamp(_SMALL, 1.0 - _SMALL)


def _normal(places: Tensor) -> Tensor:
    return torch.special.ndtri(places)


def _statistics(
    seen: np.ndarray,  # (N, T)
    null: np.ndarray,  # (R, N, T)
    level: float,
) -> dict[str, NullBand]:
    here = np.isfinite(seen)
    every = np.concatenate([seen[here][None], null[:, here]])
    normal = torch.special.ndtri(torch.from_numpy(every)).numpy()
    found = {"mean": normal.mean(1), "standard deviation": np.sqrt(np.square(normal).mean(1) - normal.mean(1) ** 2)}
    found["Kolmogorov distance"] = kolmogorov(every)
    bands = {}
    for name, value in found.items():
        low, high = np.quantile(value[1:], tails(level) if name != "Kolmogorov distance" else (0.0, level))
        low = 0.0 if name == "Kolmogorov distance" else low  # nearer than others is no fault
        bands[name] = NullBand(float(value[1:].mean()), float(low), float(high), float(value[0]), level, len(null))
    return bands


def kolmogorov(places: np.ndarray) -> np.ndarray:  # (R, n) -> (R,)
    """The largest distance between the empirical distribution of these numbers and the uniform one."""
    n = places.shape[-1]
    ordered, steps = np.sort(places, -1), np.arange(1, n + 1) / n
    return np.maximum((steps - ordered).max(-1), (ordered - steps).max(-1) + 1.0 / n)
