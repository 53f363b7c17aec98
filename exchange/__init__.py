"""What travels: the model bundle, with certificate and calibration inside."""

from homeostat_siblings import require_siblings

# before the first of them is imported
require_siblings("exchange", ("physics", "learned", "hybrid", "stability", "training"))

from exchange.bundle import Bundle
from exchange.coverage import Outside
from exchange.person import Person
from exchange.reading import load
from exchange.solvers import solver_named
from exchange.structures import BUILTIN, describe, rebuild
from exchange.systems import lure_of
from exchange.units import units_of
from exchange.writing import save

__all__ = [
    "BUILTIN",
    "Bundle",
    "Outside",
    "Person",
    "describe",
    "load",
    "lure_of",
    "rebuild",
    "save",
    "solver_named",
    "units_of",
]
