"""Another cohort: do these people look like those of the training, and what it takes to serve them."""

from training.shift.compared import compared
from training.shift.drawn import simulated
from training.shift.reference import CRITERION, Reference
from training.shift.update import Update, update

__all__ = ["CRITERION", "Reference", "Update", "compared", "simulated", "update"]
