"""What the valid calls are made with: a few tiny things that they share."""

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid import (
    Concentration,
    Dose,
    HybridModel,
    Prediction,
    RungeKutta,
    Schedule,
    predict,
)
from learned import (
    MLP,
    AdditiveProportional,
    Ensemble,
)
from physics import (
    LogNormalPopulation,
    OneCompartmentOral,
)
from stability import Certificate, Lure, certify
from training import (
    Cohort,
    Personal,
    Record,
    personalise,
    prior,
)

D = torch.float64


@dataclass(frozen=True)
class World:
    """A few tiny things that the calls share."""

    backbone: OneCompartmentOral
    population: LogNormalPopulation
    model: HybridModel
    stack: HybridModel
    people: list[Record]
    cohort: Cohort
    known: Personal
    theta: Tensor
    prediction: Prediction
    y: Tensor
    system: Lure
    certificate: Certificate
    folder: Path


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def schedule() -> Schedule:
    return Schedule((Dose("gut", 0.0, 320.0),))


def records() -> list[Record]:
    units = {"time": "h", "concentration": "mg/L", "dose": "mg", "WT": "kg"}
    values = ([5.0, 8.0, 6.0], [4.0, 7.0, 5.5], [6.0, 9.0, 6.5], [5.5, 8.5, 5.0])
    return [
        Record(str(i), schedule(), np.array([1.0, 2.0, 6.0]), np.array([v]).T, ("concentration",), {"WT": 70.0 + i}, units)
        for i, v in enumerate(values)
    ]


@cache
def world() -> World:
    """All of it, made once."""
    backbone = OneCompartmentOral()
    powers = {"V": {"WT": (70.0, 1.0, "kg")}}
    population = LogNormalPopulation(backbone, spread={"ka": 0.6, "ke": 0.2, "V": 0.2}, powers=powers)
    model = HybridModel(
        backbone,
        population,
        MLP(hidden=(4,), state_scale=256.0, rate_scale=0.01),
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([0.5], [0.1], [0.03]),
        covariates={"WT": (70.0, 20.0, "kg")},
    )
    people = records()
    cohort = Cohort.of(people, model)
    known = personalise(model, cohort, iterations=3)
    stack = Ensemble(2).stack(model, generator())
    both = prior(stack, len(people)).draws(2, generator())
    prediction = predict(stack, cohort, both, solver=RungeKutta("rk4"))
    system = Lure(
        A=[[-2.0, 0.5], [0.3, -1.5]],
        weights=[[[0.3, 0.1], [0.2, -0.4], [0.1, 0.1]], [[0.2, 0.1, 0.3], [0.1, -0.2, 0.1]]],
        biases=[[0.1, 0.2, -0.1], [0.0, 0.0]],
        B=[[1.0], [0.0]],
        input_weights=[[0.1], [0.2], [0.1]],
    )
    certificate = certify(system, seconds=5.0)
    if not isinstance(certificate, Certificate):
        raise ValueError(f"the tiny system has no certificate: {certificate.message}")
    theta = torch.tensor([[[1.5, 0.086, 31.5]]], dtype=D)
    return World(
        *(backbone, population, model, stack, people, cohort, known, theta, prediction, cohort.y, system, certificate),
        Path(tempfile.mkdtemp(prefix="slips")),
    )


def others() -> dict[str, Any]:
    """Objects of this project's own kinds, to stand where another belongs."""
    w = world()
    return {
        "a model": w.model,
        "a cohort": w.cohort,
        "records": w.people,
        "a prediction": w.prediction,
        "a schedule": schedule(),
        "a personal": w.known,
        "a system": w.system,
        "a solver": RungeKutta("rk4"),
    }


