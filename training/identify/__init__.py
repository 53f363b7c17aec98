"""Before anything is fitted: what a design can tell of a model's parameters, and what it cannot."""

from training.identify.comparison import Comparison, compare_designs
from training.identify.design import Arm
from training.identify.information import Information
from training.identify.optima import Optima, other_optima
from training.identify.person import person_information
from training.identify.population import population_information
from training.identify.sensitivities import Sensitivities, sensitivities

__all__ = [
    "Arm",
    "Comparison",
    "Information",
    "Optima",
    "Sensitivities",
    "compare_designs",
    "other_optima",
    "person_information",
    "population_information",
    "sensitivities",
]
