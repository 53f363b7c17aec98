"""Numbers after a fit: how well each estimate is known, whether a larger model is worth it, and what data cannot see."""

from training.inference.approximations import Approximation
from training.inference.bootstrap import Bootstrap, bootstrap
from training.inference.comparison import LikelihoodRatio, likelihood_ratio
from training.inference.estimates import HasEstimates, estimates
from training.inference.newton import NewtonStep, polish
from training.inference.objective_value import ObjectiveValue, objective_value
from training.inference.parameter_table import ParameterRow, ParameterTable, parameter_table
from training.inference.quadrature import quadrature_marginal
from training.inference.shrinkage import Shrinkage, shrinkage
from training.inference.standard_errors import StandardErrors, standard_errors

__all__ = [
    "Approximation",
    "Bootstrap",
    "HasEstimates",
    "LikelihoodRatio",
    "NewtonStep",
    "ObjectiveValue",
    "ParameterRow",
    "ParameterTable",
    "Shrinkage",
    "StandardErrors",
    "bootstrap",
    "estimates",
    "likelihood_ratio",
    "objective_value",
    "parameter_table",
    "polish",
    "quadrature_marginal",
    "shrinkage",
    "standard_errors",
]
