"""What a modeller looks at after a fit: simulated cohorts beside the measured one, residuals, people's own coordinates."""

from training.diagnostics.curves import FittedCurves, fitted_curves
from training.diagnostics.eta import EtaCovariates, eta_against_covariates
from training.diagnostics.npde import PredictionErrors, npde
from training.diagnostics.predictive_check import PredictiveCheck, predictive_check
from training.diagnostics.residuals import Residuals, residuals
from training.diagnostics.simulated import SimulatedCohorts, simulated_cohorts

__all__ = [
    "EtaCovariates",
    "FittedCurves",
    "PredictionErrors",
    "PredictiveCheck",
    "Residuals",
    "SimulatedCohorts",
    "eta_against_covariates",
    "fitted_curves",
    "npde",
    "predictive_check",
    "residuals",
    "simulated_cohorts",
]
