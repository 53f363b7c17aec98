"""What is fitted: records, losses, ensembles, personalisation, scores, calibration.

Names are resolved on first use (PEP 562): who follows a patient with `training.people`, or judges with `training.trust`, loads no
optimiser and no conic solver.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from homeostat_siblings import require_siblings

if TYPE_CHECKING:
    from training.anchor import Anchor
    from training.fitted import FitStep, Fitted, last
    from training.fitting import Step, fit
    from training.innovation_fitting import InnovationStep, innovation_fit
    from training.judged import judged_blocks, judged_people, judged_records, judged_tail
    from training.long_records.encoder import StartEncoder
    from training.long_records.shooting import ShootingStep, shoot
    from training.long_records.window import Windows, windows
    from training.looks import Looks
    from training.losses import Stability, residual_share
    from training.machinery.checkpoint import Checkpoint
    from training.machinery.distributed import Shard, gather_members
    from training.marginal.laplace import Marginal, laplace_marginal
    from training.objective import Objective
    from training.people.cohort import Cohort
    from training.people.covariates import FarCovariate, far_covariates
    from training.people.forecasts import Plan, at_times, forecast, forecast_unseen
    from training.people.information import observed_information, sensitivity
    from training.people.likelihoods import beta_nll, gaussian_crps, gaussian_nll
    from training.people.mode import personalise
    from training.people.posterior import Personal, prior
    from training.people.records import Record
    from training.people.tables.nonmem import Table, read_nonmem, read_table
    from training.populations import PopulationStep, fit_population
    from training.search import Search
    from training.starting.many_starts import Best, best_of, several
    from training.starting.starts import Start, starting_values
    from training.watched.arrival import Convergence, convergence, recorded
    from training.watched.ends import AtEnd, at_ends
    from training.watched.log import log_steps

require_siblings("training", ("physics", "learned", "hybrid", "stability"))

__all__ = [
    "Anchor",
    "AtEnd",
    "Best",
    "Checkpoint",
    "Cohort",
    "Convergence",
    "FarCovariate",
    "FitStep",
    "Fitted",
    "InnovationStep",
    "Looks",
    "Marginal",
    "Objective",
    "Personal",
    "Plan",
    "PopulationStep",
    "Record",
    "Search",
    "Shard",
    "ShootingStep",
    "Stability",
    "Start",
    "StartEncoder",
    "Step",
    "Table",
    "Windows",
    "at_ends",
    "at_times",
    "best_of",
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
    "innovation_fit",
    "judged_blocks",
    "judged_people",
    "judged_records",
    "judged_tail",
    "laplace_marginal",
    "last",
    "log_steps",
    "observed_information",
    "personalise",
    "prior",
    "read_nonmem",
    "read_table",
    "recorded",
    "residual_share",
    "sensitivity",
    "several",
    "shoot",
    "starting_values",
    "windows",
]

_HOME = {
    "Anchor": "anchor",
    "AtEnd": "watched.ends",
    "Best": "starting.many_starts",
    "Checkpoint": "machinery.checkpoint",
    "Cohort": "people.cohort",
    "Convergence": "watched.arrival",
    "FarCovariate": "people.covariates",
    "FitStep": "fitted",
    "Fitted": "fitted",
    "InnovationStep": "innovation_fitting",
    "Looks": "looks",
    "Marginal": "marginal.laplace",
    "Objective": "objective",
    "Personal": "people.posterior",
    "Plan": "people.forecasts",
    "PopulationStep": "populations",
    "Record": "people.records",
    "Search": "search",
    "Shard": "machinery.distributed",
    "ShootingStep": "long_records.shooting",
    "Stability": "losses",
    "Start": "starting.starts",
    "StartEncoder": "long_records.encoder",
    "Step": "fitting",
    "Table": "people.tables.nonmem",
    "Windows": "long_records.window",
    "at_ends": "watched.ends",
    "at_times": "people.forecasts",
    "best_of": "starting.many_starts",
    "beta_nll": "people.likelihoods",
    "convergence": "watched.arrival",
    "far_covariates": "people.covariates",
    "fit": "fitting",
    "fit_population": "populations",
    "forecast": "people.forecasts",
    "forecast_unseen": "people.forecasts",
    "gather_members": "machinery.distributed",
    "gaussian_crps": "people.likelihoods",
    "gaussian_nll": "people.likelihoods",
    "innovation_fit": "innovation_fitting",
    "judged_blocks": "judged",
    "judged_people": "judged",
    "judged_records": "judged",
    "judged_tail": "judged",
    "laplace_marginal": "marginal.laplace",
    "last": "fitted",
    "log_steps": "watched.log",
    "observed_information": "people.information",
    "personalise": "people.mode",
    "prior": "people.posterior",
    "read_nonmem": "people.tables.nonmem",
    "read_table": "people.tables.nonmem",
    "recorded": "watched.arrival",
    "residual_share": "losses",
    "sensitivity": "people.information",
    "several": "starting.many_starts",
    "shoot": "long_records.shooting",
    "starting_values": "starting.starts",
    "windows": "long_records.window",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'training' has no attribute {name!r}; it offers {', '.join(__all__)}.")
    return getattr(import_module(f"training.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
