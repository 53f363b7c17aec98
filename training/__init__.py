"""What is fitted: records, losses, ensembles, personalisation, scores, calibration."""

from training.crossvalidation import Plan, at_times, forecast, forecast_unseen
from training.fit import Fitted, Step, fit
from training.losses import Stability, gaussian_nll, residual_share
from training.marginal import Marginal, PopulationStep, fit_population, laplace_marginal
from training.nonmem import read_nonmem
from training.personalise import Personal, personalise, prior, sensitivity
from training.records import Cohort, Record

__all__ = [
    "Cohort",
    "Fitted",
    "Marginal",
    "Personal",
    "Plan",
    "PopulationStep",
    "Record",
    "Stability",
    "Step",
    "at_times",
    "fit",
    "fit_population",
    "forecast",
    "forecast_unseen",
    "gaussian_nll",
    "laplace_marginal",
    "personalise",
    "prior",
    "read_nonmem",
    "residual_share",
    "sensitivity",
]
