"""Filters: a belief of a person, carried by the model and corrected by what is measured."""

from hybrid.filters.contract import Belief, Filter, Followed, Innovation
from hybrid.filters.start import starting_belief
from hybrid.filters.ukf import UKF

# a new member is one file and one word here: the contract tests run over this tuple
FILTERS: tuple[type[Filter], ...] = (UKF,)

__all__ = ["FILTERS", "UKF", "Belief", "Filter", "Followed", "Innovation", "starting_belief"]
