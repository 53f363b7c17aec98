"""Mechanisms that are in print, ready with their numbers: one file each, by subject."""

from physics.mechanism import Mechanism
from physics.shelf.drugs.effect_compartment import EffectCompartment
from physics.shelf.drugs.indirect_response import (
    InhibitedLoss,
    InhibitedProduction,
    StimulatedLoss,
    StimulatedProduction,
)
from physics.shelf.drugs.marsh import Marsh, MarshPopulation
from physics.shelf.drugs.michaelis_menten import MichaelisMenten
from physics.shelf.drugs.one_compartment import (
    OneCompartment,
    OneCompartmentByMouth,
    OneCompartmentByMouthRates,
    OneCompartmentRates,
)
from physics.shelf.drugs.parallel_elimination import ParallelElimination
from physics.shelf.drugs.schnider import Schnider, SchniderPopulation
from physics.shelf.drugs.three_compartments import (
    ThreeCompartments,
    ThreeCompartmentsByMouth,
    ThreeCompartmentsByMouthRates,
    ThreeCompartmentsRates,
)
from physics.shelf.drugs.two_compartments import (
    TwoCompartments,
    TwoCompartmentsByMouth,
    TwoCompartmentsByMouthRates,
    TwoCompartmentsRates,
)
from physics.shelf.drugs.warfarin import WarfarinTurnover
from physics.shelf.engineering.building_zone import BuildingZone
from physics.shelf.engineering.coupled_tanks import CoupledTanks
from physics.shelf.engineering.dc_motor import DCMotor
from physics.shelf.physiology.bergman import Bergman
from physics.shelf.physiology.s2008 import S2008
from physics.shelf.physiology.s2008_people import S2008Person, s2008_people, s2008_person
from physics.shelf.physiology.s2008_stomach import S2008Stomach
from physics.shelf.physiology.sirs import SIRS
from physics.shelf.physiology.windkessel import Windkessel

# a new entry is one file, one word here and a Scene in docs/shelf.py: the contract tests and `homeostat fit --backbone NAME` run
# over this tuple
MECHANISMS: tuple[type[Mechanism], ...] = (
    OneCompartment,
    OneCompartmentRates,
    OneCompartmentByMouth,
    OneCompartmentByMouthRates,
    TwoCompartments,
    TwoCompartmentsRates,
    TwoCompartmentsByMouth,
    TwoCompartmentsByMouthRates,
    ThreeCompartments,
    ThreeCompartmentsRates,
    ThreeCompartmentsByMouth,
    ThreeCompartmentsByMouthRates,
    MichaelisMenten,
    ParallelElimination,
    EffectCompartment,
    InhibitedProduction,
    InhibitedLoss,
    StimulatedProduction,
    StimulatedLoss,
    WarfarinTurnover,
    Marsh,
    Schnider,
    Bergman,
    S2008,
    S2008Stomach,
    Windkessel,
    SIRS,
    CoupledTanks,
    DCMotor,
    BuildingZone,
)

__all__ = [
    "MECHANISMS",
    "S2008",
    "SIRS",
    "Bergman",
    "BuildingZone",
    "CoupledTanks",
    "DCMotor",
    "EffectCompartment",
    "InhibitedLoss",
    "InhibitedProduction",
    "Marsh",
    "MarshPopulation",
    "MichaelisMenten",
    "OneCompartment",
    "OneCompartmentByMouth",
    "OneCompartmentByMouthRates",
    "OneCompartmentRates",
    "ParallelElimination",
    "S2008Person",
    "S2008Stomach",
    "Schnider",
    "SchniderPopulation",
    "StimulatedLoss",
    "StimulatedProduction",
    "ThreeCompartments",
    "ThreeCompartmentsByMouth",
    "ThreeCompartmentsByMouthRates",
    "ThreeCompartmentsRates",
    "TwoCompartments",
    "TwoCompartmentsByMouth",
    "TwoCompartmentsByMouthRates",
    "TwoCompartmentsRates",
    "WarfarinTurnover",
    "Windkessel",
    "s2008_people",
    "s2008_person",
]
