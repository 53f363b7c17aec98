"""What a twin needs of people: records, readers, personalisation, sensitivity, their forecasts. No optimiser."""

from training.people.far_covariates import FarCovariate, far_covariates
from training.people.forecast import Plan, at_times, forecast, forecast_unseen
from training.people.likelihoods import Likelihood, beta_nll, gaussian_crps, gaussian_nll
from training.people.personalise import Personal, personalise, prior
from training.people.records import Cohort, Record
from training.people.sensitivity import observed_information, sensitivity
from training.people.tables.nonmem import Table, read_nonmem, read_table

__all__ = [
    "Cohort",
    "FarCovariate",
    "Likelihood",
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
    "read_table",
    "sensitivity",
]
