"""What a twin needs of people: records, readers, personalisation, sensitivity, their forecasts. No optimiser."""

from training.people.cohort import Cohort
from training.people.covariates import FarCovariate, far_covariates
from training.people.forecasts import Plan, at_times, forecast, forecast_unseen
from training.people.information import observed_information, sensitivity
from training.people.likelihoods import Likelihood, beta_nll, gaussian_crps, gaussian_nll
from training.people.mode import personalise
from training.people.posterior import Personal, prior
from training.people.records import Record
from training.people.tables import Ohashi, Table, read_nonmem, read_ohashi, read_table

__all__ = [
    "Cohort",
    "FarCovariate",
    "Likelihood",
    "Ohashi",
    "Personal",
    "Plan",
    "Record",
    "Table",
    "at_times",
    "beta_nll",
    "far_covariates",
    "forecast",
    "forecast_unseen",
    "gaussian_crps",
    "gaussian_nll",
    "observed_information",
    "personalise",
    "prior",
    "read_nonmem",
    "read_ohashi",
    "read_table",
    "sensitivity",
]
