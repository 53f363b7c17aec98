"""Small studies whose truth is known: a linear mixed model, and oral doses simulated from the model that judges them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid import Concentration, Dose, HybridModel, Schedule, States
from learned import AdditiveProportional
from physics import LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from tests.builders import BOXES, MESH
from tests.training.people.test_personalise import Constant
from training import Cohort, Record
from training.diagnostics import simulated_cohorts

A = torch.tensor([[-1.0, 0.4], [0.3, -0.7]], dtype=torch.float64)
TIMES = (0.4, 1.0, 1.7, 3.0)
SIGMA = 0.3
SPREAD = (0.3, 0.3, 0.3)
D = torch.float64


def linear(latents: int = 2, people: int = 3, *, seed: int = 0, channels: int = 1) -> tuple[HybridModel, Cohort, Tensor, Tensor]:
    """y = Z η + noise, with its Z (L, d) and the covariance of a person's measurements; values are draws of that law.

    Of several channels the measurements go time by time.
    """
    generator = torch.Generator().manual_seed(seed)
    gain = torch.randn(2, latents, generator=generator, dtype=D)
    names = ["y", "z"][:channels]
    model = HybridModel(
        LinearBackbone(A, state_units=["mg", "mg"], time_unit="h"),
        SharedPopulation(),
        Constant(gain),
        observation=States(list(range(channels)), names, ["mg"] * channels),
        noise=AdditiveProportional([SIGMA] * channels, [1e-9] * channels, [1e-8] * channels),
        latents=latents,
    )
    # dx/dt = A x + G η from 0: x(t) = A⁻¹ (e^{At} − 1) G η
    Z = torch.cat(
        [(torch.linalg.inv(A) @ (torch.linalg.matrix_exp(A * t) - torch.eye(2, dtype=D)) @ gain)[:channels] for t in TIMES]
    )
    C = Z @ Z.T + SIGMA**2 * torch.eye(len(Z), dtype=D)
    y = torch.randn(people, len(Z), generator=generator, dtype=D) @ torch.linalg.cholesky(C).T
    values = y.reshape(people, len(TIMES), channels).numpy()
    records = [
        Record(
            id=f"P{i + 1}",
            schedule=Schedule(),
            times=np.array(TIMES),
            values=v,
            channels=tuple(names),
            units={"time": "h"} | dict.fromkeys(names, "mg"),
        )
        for i, v in enumerate(values)
    ]
    return model, Cohort.of(records, model), Z, C


def oral(spread: Sequence[float] = SPREAD, ka: float | None = None, **parts: Any) -> HybridModel:
    """One compartment, log-normal people; `ka`, another typical value of the absorption."""
    backbone = OneCompartmentOral(**BOXES)
    population = LogNormalPopulation(backbone, dict(zip(("ka", "ke", "V"), spread, strict=True)))
    if ka is not None:
        with torch.no_grad():
            population.shift[:, 0] += float(np.log(ka / backbone.physical[0].typical))
    noise = AdditiveProportional([0.1], [0.1], [0.02])
    return HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=noise, **parts)


def measured_by(
    model: HybridModel,
    people: int,
    seed: int,
    *,
    doses: Sequence[float] = (300.0,),
    times: Sequence[float] = (0.5, 1.0, 2.0, 4.0, 8.0, 12.0),
) -> Cohort:
    """People who took one dose each, in turn the doses given, measured by a draw of the model itself."""
    unit = {"time": "h", "concentration": "mg/L"}
    empty = [
        Record(
            f"P{i + 1}",
            Schedule((Dose("gut", 0.0, doses[i % len(doses)]),)),
            np.array(times),
            np.zeros((len(times), 1)),
            ("concentration",),
            {"DOSE": float(doses[i % len(doses)])},
            unit,
        )
        for i in range(people)
    ]
    blank = Cohort.of(empty, model, MESH)
    drawn = simulated_cohorts(model, blank, 1, torch.Generator().manual_seed(seed)).values[0]
    return replace(blank, y=drawn)
