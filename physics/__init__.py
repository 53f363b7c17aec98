"""What is known: stable linear backbones and mechanisms, with units and sources, and the populations that people come from."""

from physics.administered import Administered
from physics.backbone import Backbone, require_hurwitz, spectral_abscissa
from physics.compartments import Compartments
from physics.composition import feedback, parallel, renamed, series
from physics.covariate_models import CategoryOf, ExponentialOf, LinearOf, PowerOf
from physics.defaults import Defaults, Observed
from physics.effects import Fixed, LogitNormal, LogNormal, Normal, Shared
from physics.equilibria import Equilibrium, equilibrium
from physics.laws.backbone import check_backbone
from physics.laws.mechanism import check_mechanism
from physics.laws.population import check_population
from physics.linear_backbone import LinearBackbone
from physics.linearised import Linearised, linearise
from physics.linearised_backbone import LinearisedBackbone
from physics.log_normal_population import LogNormalPopulation
from physics.mechanism import Mechanism, TapedMechanism
from physics.mixed_population import MixedPopulation
from physics.occasions import Occasions
from physics.one_compartment_oral import OneCompartmentOral
from physics.parameter import Parameter
from physics.population import Population
from physics.shared_population import SharedPopulation
from physics.shelf import MECHANISMS, MarshPopulation, MichaelisMenten, SchniderPopulation
from physics.tape import Tape
from physics.van_cauter import VanCauter, VanCauterPopulation

# a new member is one file and one word here: the contract tests and the bundle loader run over these tuples
BACKBONES: tuple[type[Backbone], ...] = (LinearBackbone, OneCompartmentOral, VanCauter)
POPULATIONS: tuple[type[Population], ...] = (
    LogNormalPopulation,
    SharedPopulation,
    MixedPopulation,
    VanCauterPopulation,
    MarshPopulation,
    SchniderPopulation,
)

__all__ = [
    "BACKBONES",
    "MECHANISMS",
    "POPULATIONS",
    "Administered",
    "Backbone",
    "CategoryOf",
    "Compartments",
    "Defaults",
    "Equilibrium",
    "ExponentialOf",
    "Fixed",
    "LinearBackbone",
    "LinearOf",
    "Linearised",
    "LinearisedBackbone",
    "LogNormal",
    "LogNormalPopulation",
    "LogitNormal",
    "MarshPopulation",
    "Mechanism",
    "MichaelisMenten",
    "MixedPopulation",
    "Normal",
    "Observed",
    "Occasions",
    "OneCompartmentOral",
    "Parameter",
    "Population",
    "PowerOf",
    "SchniderPopulation",
    "Shared",
    "SharedPopulation",
    "Tape",
    "TapedMechanism",
    "VanCauter",
    "VanCauterPopulation",
    "check_backbone",
    "check_mechanism",
    "check_population",
    "equilibrium",
    "feedback",
    "linearise",
    "parallel",
    "renamed",
    "require_hurwitz",
    "series",
    "spectral_abscissa",
]
