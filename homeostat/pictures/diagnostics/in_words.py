"""What each of these pictures shows, in words with its numbers, for whoever does not see it."""

from collections.abc import Mapping, Sequence

import numpy as np

from homeostat.pictures.diagnostics.curves import limits_of
from homeostat.pictures.diagnostics.eta import shown_pairs
from homeostat.pictures.diagnostics.marks import beside
from homeostat.pictures.style import percent
from physics.arguments import counted
from training.diagnostics import EtaCovariates, FittedCurves, PredictionErrors, PredictiveCheck, Residuals


def predictive_check_in_words(checks: Mapping[str, PredictiveCheck]) -> str:
    """How many quantiles leave their band, where, and what the bins are."""
    found = []
    for name, one in checks.items():
        with np.errstate(invalid="ignore"):
            outside = (one.observed < one.low) | (one.observed > one.high)
        where = [
            f"the {percent(one.levels[j])} quantile at {one.at[b]:.3g}{_behind(one.about.time_unit)}"
            for j, b in np.argwhere(outside)
        ]
        which = f" ({', '.join(where[:6])}{' and others' if len(where) > 6 else ''})" if where else ""
        found.append(
            f"{name}: of {len(one.values)} measurements of {one.channel}{_in(one.unit)}, {one.binning}, "
            f"{one.strays.observed:.0f} of "
            f"{one.strays_of} quantiles lie outside their band{which}, where {percent(one.strays.level)} of right "
            f"models have up to "
            f"{one.strays.upper:.0f}"
        )
    return f"Measured quantiles along time over the bands of simulated ones. {'. '.join(found)}."


def npde_in_words(errors: PredictionErrors, channel: int = 0) -> str:
    """The three statistics beside their bands."""
    name = errors.about.channels[channel]
    bands = "; ".join(beside(what, band) for what, band in errors.statistics[name].items())
    count = int(np.isfinite(errors.npde[..., channel].cpu().numpy()).sum())
    return (
        f"Three panels of {count} prediction distribution errors of {name}: sorted against normal quantiles, along "
        f"time, along the "
        f"prediction. Their {bands}."
    )


def residuals_in_words(found: Residuals, channel: int = 0) -> str:
    """Mean and spread of the weighted residuals, and the largest."""
    there = np.isfinite(found.cwres[..., channel].cpu().numpy())
    iwres, cwres = (v[..., channel].cpu().numpy()[there] for v in (found.iwres, found.cwres))
    spread = f" and standard deviation {cwres.std(ddof=1):.3g}" if len(cwres) > 1 else ""
    narrow = f", IWRES standard deviation {iwres.std(ddof=1):.3g}" if len(iwres) > 1 else ""
    return (
        f"Six panels of {len(cwres)} measurements of {found.about.channels[channel]}: measured against typical and individual "
        f"predictions, and weighted residuals. CWRES have mean {cwres.mean():.3g}{spread}, the largest is "
        f"{np.abs(cwres).max():.3g} from "
        f"0{narrow}."
    )


def curves_in_words(fits: FittedCurves, people: Sequence[int], channel: int = 0) -> str:
    """How many panels of what, from where to where."""
    values = fits.measured[..., channel].cpu().numpy()[list(people)]
    count = int(np.isfinite(values).sum())
    name, unit = fits.about.channels[channel], fits.about.units[channel]
    reach = f", from {np.nanmin(values):.3g} to {np.nanmax(values):.3g}{_behind(unit)}" if count else ""
    panels = "One panel" if len(people) == 1 else f"{len(people)} panels, one a person,"
    limited = int(np.isfinite(limits_of(fits, channel)[0][list(people)]).sum())
    verb = "is" if limited == 1 else "are"
    more = f" {limited} more {verb} only known to lie beyond a limit: a triangle there." if limited else ""
    said = f"with {counted(count, 'measurement', 'measurements')}{reach}, the individual curve and that of the typical person."
    return f"{panels} of {name}{_in(unit)} {said}{more}"


def eta_in_words(found: EtaCovariates) -> str:
    """The correlations that chance explains least."""
    pairs = sorted(shown_pairs(found), key=lambda one: found.chance[one])
    said = [
        f"{found.effects[j]} and {found.covariates[k]} have a rank correlation of {found.correlation[j, k]:.2f}, "
        f"which chance gives "
        f"with probability {found.chance[j, k]:.3g}"
        for j, k in pairs[:4]
    ]
    panels = counted(len(pairs), "panel", "panels").capitalize()
    return f"{panels} of people's own coordinates against their covariates. {'; '.join(said)}."


def _in(unit: str | None) -> str:
    return "" if unit in (None, "", "1") else f" in {unit}"


def _behind(unit: str | None) -> str:
    return "" if unit in (None, "", "1") else f" {unit}"
