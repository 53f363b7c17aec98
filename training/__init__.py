"""What is fitted: records, losses, ensembles, personalisation, scores, calibration."""

from training.checkpoint import Checkpoint
from training.crossvalidation import Plan, at_times, forecast, forecast_unseen
from training.distributed import Shard, gather_members
from training.fit import Step, fit
from training.log import log_steps
from training.losses import Stability, gaussian_nll, residual_share
from training.nonmem import read_nonmem
from training.personalise import Personal, personalise, prior, sensitivity
from training.records import Cohort, Record
from training.state import Fitted

__all__ = [
    "Checkpoint",
    "Cohort",
    "Fitted",
    "Personal",
    "Plan",
    "Record",
    "Shard",
    "Stability",
    "Step",
    "at_times",
    "fit",
    "forecast",
    "forecast_unseen",
    "gather_members",
    "gaussian_nll",
    "log_steps",
    "personalise",
    "prior",
    "read_nonmem",
    "residual_share",
    "sensitivity",
]
