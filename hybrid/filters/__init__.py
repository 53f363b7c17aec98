"""Filters: a belief of a person, carried by the model and corrected by what is measured."""

from hybrid.filters.along import Track, along, follow
from hybrid.filters.contract import Belief, Filter, Followed, Innovation
from hybrid.filters.ekf import EKF
from hybrid.filters.enkf import EnKF
from hybrid.filters.laws import check_filter
from hybrid.filters.rts import smooth
from hybrid.filters.start import starting_belief
from hybrid.filters.ukf import UKF

# a new member is one file and one word here: the contract tests run over this tuple
FILTERS: tuple[type[Filter], ...] = (UKF, EKF, EnKF)

__all__ = [
    "EKF",
    "FILTERS",
    "UKF",
    "Belief",
    "EnKF",
    "Filter",
    "Followed",
    "Innovation",
    "Track",
    "along",
    "check_filter",
    "follow",
    "smooth",
    "starting_belief",
]
