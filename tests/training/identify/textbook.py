"""Models of the six textbook cases, and small ones beside them."""

import torch

from hybrid import Concentration, Dose, HybridModel, Observation, Schedule
from learned import AdditiveProportional, Constant, NoiseHead
from physics import (
    Administered,
    Backbone,
    LogNormalPopulation,
    Mechanism,
    OneCompartmentOral,
    Parameter,
    Population,
    SharedPopulation,
)
from training.identify import Arm

F64 = torch.float64
F = Parameter("F", "1", 0.8, 0.05, 3.0)


def seen_as(
    backbone: Backbone | Mechanism,
    observation: Observation,
    population: Population | None = None,
    noise: NoiseHead | None = None,
) -> HybridModel:
    """A model whose people are all typical where no population is said, measured to 10 % and a little more."""
    own = population or SharedPopulation(backbone, {p.name: p.typical for p in backbone.physical})
    return HybridModel(
        backbone, own, observation=observation, noise=noise or AdditiveProportional([0.01], [0.1], [1e-6])
    )


def concentration(backbone: Backbone | Mechanism, volume: str = "V", **given: object) -> HybridModel:
    return seen_as(backbone, Concentration("plasma", volume, "concentration", "mg/L"), **given)  # type: ignore[arg-type]


def by_mouth(faster: str | None = None, **typical: float) -> OneCompartmentOral:
    """ka, ke, V in boxes that hold the flip-flopped ones too."""
    return OneCompartmentOral(
        ka=(0.005, 50.0),
        ke=(0.005, 50.0),
        V=(0.1, 2000.0),
        faster=faster,  # type: ignore[arg-type]
        typical={"ka": 1.2, "ke": 0.1, "V": 20.0, **typical},
    )


def dosed(*times: float, state: str = "gut", amount: float = 100.0, people: int = 1) -> Arm:
    return Arm(Schedule((Dose(state, 0.0, amount),)), times, people)


def population(backbone: Backbone | Mechanism, **spread: float) -> LogNormalPopulation:
    every = {p.name: spread.get(p.name, 0.3) for p in backbone.physical}
    return LogNormalPopulation(backbone, every, learn_spread=True)


def swallowed() -> Administered:
    """ka, ke, V and F."""
    return Administered(by_mouth(), fraction={"gut": F})


def noise(sd: float) -> Constant:
    return Constant([sd], [1e-9])
