"""Channels that are logarithms say so, and their quantiles are shown in the unit of what is measured."""

from pathlib import Path

import numpy as np
import torch

from exchange import Bundle, Person, save
from homeostat.bundles.simulated import simulate_person
from homeostat.study.logarithms import logarithm_notes, measured_as
from hybrid import Concentration, Dose, HybridModel, Log, Mesh, Schedule
from learned import Constant
from physics import LogNormalPopulation, OneCompartmentOral
from training import prior


def model_of() -> HybridModel:
    backbone = OneCompartmentOral()
    population = LogNormalPopulation(backbone, {"ka": 0.3, "ke": 0.3, "V": 0.3})
    observation = Log(Concentration("plasma", "V"), 0.001)
    return HybridModel(backbone, population, observation=observation, noise=Constant([0.2], [0.01]))


def test_a_logarithm_says_of_what_it_is() -> None:
    model = model_of()
    assert measured_as(model) == {"log(concentration)": ("concentration", "mg/L")}
    (said,) = logarithm_notes(model)
    assert said.startswith("log(concentration) is the natural logarithm of concentration in mg/L")
    plain = HybridModel(model.backbone, model.population, observation=Concentration("plasma", "V"), noise=Constant([1.0], [0.1]))
    assert logarithm_notes(plain) == []


def test_a_simulation_gives_the_median_of_what_is_measured(tmp_path: Path) -> None:
    model = model_of()
    person = Person("Ada", Schedule((Dose("gut", 0.0, 300.0),)), {}, (float("nan"),))
    known = prior(model, 1, covariance=0.01 * torch.eye(3, dtype=torch.float64))
    path = save(Bundle(model, (person,), known, Mesh(0.5, 0.1)), tmp_path / "log.twin")
    answer, text = simulate_person(path, "", person=None, until=12.0, points=5, level=0.8, picture=None)
    channel = answer["channels"]["log(concentration)"]
    own = channel["measured"]
    assert (own["channel"], own["unit"]) == ("concentration", "mg/L")
    np.testing.assert_allclose(own["lower"], np.exp(channel["lower"]), rtol=1e-12)
    np.testing.assert_allclose(own["upper"], np.exp(channel["upper"]), rtol=1e-12)
    assert all(a < m < b for a, m, b in zip(own["lower"], own["median"], own["upper"], strict=True))
    assert "median concentration [mg/L]" in text
    assert "is the natural logarithm of concentration in mg/L" in text
