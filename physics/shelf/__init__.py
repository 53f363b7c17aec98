"""Mechanisms that are in print, ready with their numbers: one file each, by subject."""

from physics.mechanism import Mechanism
from physics.shelf.compartments.michaelis_menten import MichaelisMenten

# a new entry is one file and one word here: the contract tests and `homeostat fit --backbone NAME` run over this tuple
MECHANISMS: tuple[type[Mechanism], ...] = (MichaelisMenten,)

__all__ = ["MECHANISMS", "MichaelisMenten"]
