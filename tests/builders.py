"""Small models and people whose truth is known: what tests build by hand, with names."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from hybrid import Concentration, Dose, HybridModel, Mesh, Schedule
from learned import MLP, AdditiveProportional
from physics import LogNormalPopulation, OneCompartmentOral
from training import Looks, Objective, Record, Search

BOXES = {"ka": (0.3, 4.0), "ke": (0.02, 0.25), "V": (5.0, 200.0)}
SPREAD = (0.4, 0.2, 0.2)  # ω of log ka, log ke and log V
MESH = Mesh(0.65, 0.2, 0.5)  # the largest ka is 4/h, and 0.65 × 4 is inside the stability region of the classic method


def oral_people(
    count: int = 4,
    *,
    seed: int = 1,
    shift: Sequence[float] = (0.0, 0.0, 0.0),
    noise: tuple[float, float] = (0.2, 0.05),
    times: Sequence[float] = (0.25, 0.75, 1.5, 3.0, 5.0, 8.0),
) -> tuple[Record, ...]:
    """Synthetic people who each took one oral dose, from the closed form of Bateman (1910).

    The learned `shift` of the log parameters, the noise (additive, proportional) and the times may be chosen.
    """
    rng = np.random.default_rng(seed)
    population = LogNormalPopulation(OneCompartmentOral(**BOXES).physical, SPREAD)
    with torch.no_grad():
        population.shift += torch.tensor([shift], dtype=torch.float64)
        theta = population.theta(torch.from_numpy(rng.standard_normal((1, count, 3))), {})[0].numpy()
    t = np.asarray(times)
    found = []
    for i, (ka, ke, V) in enumerate(theta):
        dose = 300.0 + 20.0 * i
        mean = dose * ka / (V * (ka - ke)) * (np.exp(-ke * t) - np.exp(-ka * t))
        sd = np.hypot(noise[0], noise[1] * mean)
        # a concentration cannot be negative; what the noise makes so was not measured
        values = mean + sd * rng.standard_normal(len(t))
        values = np.where(values > 0, values, np.nan)[:, None]
        schedule = Schedule(doses=(Dose("gut", 0.0, dose),))
        found.append(
            Record(f"P{i + 1}", schedule, t, values, ("concentration",), {}, {"time": "h", "concentration": "mg/L"})
        )
    return tuple(found)


def oral_model() -> HybridModel:
    """One member, not trained: one compartment, log-normal people, a residual of four hidden units."""
    backbone = OneCompartmentOral(**BOXES)
    residual = MLP(2, hidden=(4,), separable=True, state_scale=300.0, rate_scale=0.1)
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, SPREAD),
        residual,
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
    )


def as_values(**given: Any) -> dict[str, Any]:
    """The arguments of a fit: the fields of its three values, given flat, each in its value, and everything else as it is."""
    found: dict[str, Any] = {}
    for name, kind in (("objective", Objective), ("search", Search), ("looks", Looks)):
        own = {f.name: given.pop(f.name) for f in fields(kind) if f.name in given}
        if own:
            found[name] = kind(**own)
    return found | given
