"""Effect compartment, indirect responses and warfarin against closed forms, integrals and printed values."""

import numpy as np
import pytest
from scipy.integrate import quad

from physics import Mechanism
from physics.shelf import (
    EffectCompartment,
    InhibitedLoss,
    InhibitedProduction,
    StimulatedLoss,
    StimulatedProduction,
    WarfarinTurnover,
)
from tests.physics.shelf.solved import near, solved

FULL = {InhibitedProduction: 0.5, InhibitedLoss: 2.0, StimulatedProduction: 1.5, StimulatedLoss: 2.0 / 3.0}


def test_the_effect_comes_late() -> None:
    t = np.array([0.5, 2.0, 10.0])
    near(solved(EffectCompartment(), {}, t, {"ke0": 0.4}, {"C": 3.0})["Ce"], 3.0 * (1.0 - np.exp(-0.4 * t)), 1e-10)


@pytest.mark.parametrize("kind", FULL, ids=lambda kind: kind.__name__)
def test_an_indirect_response_to_a_constant_concentration(kind: type[Mechanism]) -> None:
    inhibited = kind in (InhibitedProduction, InhibitedLoss)
    most, half = ("Imax", "IC50") if inhibited else ("Smax", "SC50")
    for size, C, t in ((0.8, 3.0, np.array([1.0, 5.0, 30.0])), (1.0, 1.7, np.array([2.0, 300.0]))):
        effect = size * C / (1.7 + C)
        factor = 1.0 - effect if inhibited else 1.0 + effect
        by_loss = kind in (InhibitedLoss, StimulatedLoss)
        rest, rate = 50.0 * (1.0 / factor if by_loss else factor), 0.3 * (factor if by_loss else 1.0)
        found = solved(kind(), {"response": 50.0}, t, {"R0": 50.0, "kout": 0.3, most: size, half: 1.7}, {"C": C})
        near(found["response"], rest + (50.0 - rest) * np.exp(-rate * t), 1e-10)
    assert abs(found["response"][-1] / 50.0 - FULL[kind]) < 1e-10  # C = IC50, full effect


def test_warfarin() -> None:
    mechanism = WarfarinTurnover()
    p = {one.name: one.typical for one in mechanism.physical}
    t = [24.0, 48.0, 72.0, 144.0]
    found = solved(mechanism, {"depot": 100.0, "PCA": p["E0"]}, t)
    near(found["CP"], [8.76432, 5.88816, 3.95587, 1.19958], 1e-6)
    near(found["PCA"], [35.07793, 20.42575, 20.02468, 39.23872], 1e-6)

    rates = np.array([p["ktr"], p["ka"], p["CL"] / p["V"]])
    weights = [1.0 / np.prod([b - a for b in rates if b != a]) for a in rates]

    def concentration(at: float) -> float:
        return float(100.0 / p["V"] * p["ktr"] * p["ka"] * np.dot(weights, np.exp(-rates * at)))

    def made(at: float) -> float:
        C = concentration(at)
        return p["kout"] * p["E0"] * (1.0 - p["Emax"] * C / (p["EC50"] + C))

    near(found["CP"], [concentration(at) for at in t], 1e-10)
    for at, pca in zip(t, found["PCA"], strict=True):
        arrived = quad(
            lambda s, at=at: made(s) * np.exp(p["kout"] * (s - at)), 0.0, at, epsabs=1e-12, epsrel=1e-12, limit=200
        )[0]
        near(pca, [p["E0"] * np.exp(-p["kout"] * at) + arrived], 1e-8)
