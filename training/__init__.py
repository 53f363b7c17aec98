"""What is fitted: records, losses, ensembles, personalisation, scores, calibration."""

from training.anchor import Anchor
from training.checkpoint import Checkpoint
from training.convergence import Convergence, convergence, recorded
from training.crossvalidation import Plan, at_times, forecast, forecast_unseen
from training.distributed import Shard, gather_members
from training.ends import AtEnd, at_ends
from training.far_covariates import FarCovariate, far_covariates
from training.fit import Step, fit
from training.fit_population import PopulationStep, fit_population
from training.log import log_steps
from training.losses import Stability, beta_nll, gaussian_crps, gaussian_nll, residual_share
from training.marginal import Marginal, laplace_marginal
from training.nonmem import Table, read_nonmem, read_table
from training.personalise import Personal, personalise, prior
from training.records import Cohort, Record
from training.sensitivity import observed_information, sensitivity
from training.shooting import ShootingStep, shoot
from training.starts import Start, starting_values
from training.state import Fitted
from training.windows import Windows, windows

__all__ = [
    "Anchor",
    "AtEnd",
    "Checkpoint",
    "Cohort",
    "Convergence",
    "FarCovariate",
    "Fitted",
    "Marginal",
    "Personal",
    "Plan",
    "PopulationStep",
    "Record",
    "Shard",
    "ShootingStep",
    "Stability",
    "Start",
    "Step",
    "Table",
    "Windows",
    "at_ends",
    "at_times",
    "beta_nll",
    "convergence",
    "far_covariates",
    "fit",
    "fit_population",
    "forecast",
    "forecast_unseen",
    "gather_members",
    "gaussian_crps",
    "gaussian_nll",
    "laplace_marginal",
    "log_steps",
    "observed_information",
    "personalise",
    "prior",
    "read_nonmem",
    "read_table",
    "recorded",
    "residual_share",
    "sensitivity",
    "shoot",
    "starting_values",
    "windows",
]
