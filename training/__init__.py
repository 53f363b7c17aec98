"""What is fitted: records, losses, ensembles, personalisation, scores, calibration."""

from training.crossvalidation import Plan, at_times, forecast, forecast_unseen
from training.fit import Fitted, Step, fit
from training.fit_population import PopulationStep, fit_population
from training.losses import Stability, gaussian_nll, residual_share
from training.marginal import Marginal, laplace_marginal
from training.nonmem import read_nonmem
from training.personalise import Personal, personalise, prior
from training.records import Cohort, Record
from training.sensitivity import observed_information, sensitivity

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
    "observed_information",
    "personalise",
    "prior",
    "read_nonmem",
    "residual_share",
    "sensitivity",
]
