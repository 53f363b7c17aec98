"""The population of a fitted model beside its people: predictive checks, NPDE, residuals, fits, η, as far as each can be had."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from homeostat.study.estimated import Estimated
from hybrid import HybridModel, SimulationError, Solver
from physics.arguments import InputError, counted
from physics.glance import glance
from training import Cohort, Personal
from training.diagnostics import (
    EtaCovariates,
    FittedCurves,
    PredictionErrors,
    PredictiveCheck,
    Residuals,
    eta_against_covariates,
    fitted_curves,
    npde,
    predictive_check,
    residuals,
    simulated_cohorts,
)

DRAWS = 500  # simulated cohorts at most
ROWS = 100_000  # people simulated at most, and of measurements ten million: a minute on one processor
NUMBERS = 10_000_000
PEOPLE = 24  # whose curves are drawn
_CALLED = {"predictive_check": "No predictive check", "npde": "No NPDE", "residuals": "No residuals"}  # by who refuses them


@dataclass(frozen=True, eq=False)
class Diagnosed:
    """What there is to see of a population, None of what cannot be had; `missing`, why, in sentences.

    `checks`, by channel and kind · `errors` · `residuals` · `curves`, of the first people · `eta` · `draws`, how many cohorts ·
    `estimates`, the table of parameters, of the people of the fit whoever is diagnosed.
    """

    checks: Mapping[str, Mapping[str, PredictiveCheck]]
    errors: PredictionErrors | None
    residuals: Residuals | None
    curves: FittedCurves | None
    eta: EtaCovariates | None
    draws: int
    missing: tuple[str, ...]
    estimates: Estimated | None = None

    __repr__, _repr_html_ = glance()

    def to_dict(self) -> dict[str, Any]:
        """The statistics as plain JSON values."""
        estimates = None if self.estimates is None else self.estimates.to_dict()
        found: dict[str, Any] = {
            "draws": self.draws,
            "missing": list(self.missing),
            "estimates": estimates,
            "channels": {},
        }
        for channel, kinds in self.checks.items():
            found["channels"].setdefault(channel, {})["predictive_check"] = {
                kind: {"outside": one.strays.observed, "of": one.strays_of, "right_models_up_to": one.strays.upper}
                for kind, one in kinds.items()
            }
        if self.errors is not None:
            for channel, bands in self.errors.statistics.items():
                found["channels"].setdefault(channel, {})["npde"] = {
                    name: {"observed": b.observed, "lower": b.lower, "upper": b.upper, "level": b.level}
                    for name, b in bands.items()
                }
        left = self.residuals
        if left is not None:
            for c, channel in enumerate(left.about.channels):
                for name in ("iwres", "cwres"):
                    value = getattr(left, name)[..., c]
                    value = value[torch.isfinite(value)]
                    if len(value) > 1:
                        spread = {"mean": float(value.mean()), "standard deviation": float(value.std())}
                        found["channels"].setdefault(channel, {})[name] = spread
        return found


def without_cure(refused: Exception) -> str:
    """The reason alone, for who reads a page and writes no Python."""
    message = refused.problem if isinstance(refused, InputError) else str(refused)
    who, told, reason = message.partition(": ")
    return f"{_CALLED[who]}: {reason.rstrip('.')}." if told and who in _CALLED else f"{message.rstrip('.')}."


def diagnosed(
    model: HybridModel, cohort: Cohort, personal: Personal, *, seed: int = 23, solver: Solver | None = None
) -> Diagnosed | None:
    """Everything of `training.diagnostics` for these people; None for a model whose people do not differ by coordinates of their
    own.

    What cannot be had of them (a limit of quantification for each person, process noise) costs nothing else: the sentence that
    refuses it is among `missing`.
    """
    if not model.personal:
        return None
    generator = torch.Generator().manual_seed(seed)
    missing: list[str] = []

    def had(make: Any) -> Any:
        try:
            return make()
        except (ValueError, SimulationError) as error:
            missing.append(without_cure(error))
            return None

    N, (T, p) = len(cohort.ids), cohort.y.shape[1:]
    K = min(DRAWS, ROWS // N, NUMBERS // (N * T * p))
    drawn, errors = None, None
    checks: dict[str, dict[str, PredictiveCheck]] = {}
    if K >= 50:
        drawn = had(lambda: simulated_cohorts(model, cohort, K, generator, solver=solver))
    else:
        size = f"{counted(N, 'person', 'people')} with up to {counted(T, 'time', 'times')}"
        missing.append(f"{size} are too many to draw the cohorts that a predictive check needs.")
    if drawn is not None and bool(drawn.measured.any()):
        for c, channel in enumerate(drawn.about.channels):
            if bool(drawn.measured[..., c].any()):
                both = {
                    "as measured": had(lambda c=c: predictive_check(drawn, c)),
                    "prediction-corrected": had(lambda c=c: predictive_check(drawn, c, corrected=True)),
                }
                checks[channel] = {name: one for name, one in both.items() if one is not None}
        longest = int(drawn.measured.flatten(1).sum(1).max())
        # three statistics a channel share one in twenty
        level = 1.0 - 0.05 / (3 * len(drawn.about.channels))
        errors = had(lambda: npde(drawn, generator, decorrelate=2 * longest < K, level=level))
    left = had(lambda: residuals(model, cohort, personal, solver=solver))
    first = torch.arange(min(PEOPLE, N))
    curves = had(lambda: fitted_curves(model, cohort.people(first), personal.people(first), solver=solver))
    eta = None
    if any(len(v.unique()) > 1 for v in cohort.conditions.covariates.values()):
        eta = had(lambda: eta_against_covariates(model, cohort, personal, generator=generator, solver=solver))
    return Diagnosed(checks, errors, left, curves, eta, max(K, 0), tuple(dict.fromkeys(missing)))
