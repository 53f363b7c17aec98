"""What is fitted: records, losses, ensembles, personalisation, scores, calibration."""

from training.crossvalidation import Plan, at_times, forecast, forecast_unseen
from training.fit import Fitted, Step, fit
from training.losses import Stability, gaussian_nll, residual_share
from training.nonmem import read_nonmem
from training.personalise import Personal, personalise, prior, sensitivity
from training.records import Cohort, Record
from training.shooting import ShootingStep, shoot
from training.windows import Windows, windows

__all__ = [
    "Cohort",
    "Fitted",
    "Personal",
    "Plan",
    "Record",
    "ShootingStep",
    "Stability",
    "Step",
    "Windows",
    "at_times",
    "fit",
    "forecast",
    "forecast_unseen",
    "gaussian_nll",
    "personalise",
    "prior",
    "read_nonmem",
    "residual_share",
    "sensitivity",
    "shoot",
    "windows",
]
