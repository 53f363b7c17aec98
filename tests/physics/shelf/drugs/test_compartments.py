"""One, two and three compartments against their sums of exponentials, in both kinds of parameters and by both ways in."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from physics import Mechanism
from physics.shelf import (
    OneCompartment,
    OneCompartmentByMouth,
    OneCompartmentByMouthRates,
    OneCompartmentRates,
    ThreeCompartments,
    ThreeCompartmentsByMouth,
    ThreeCompartmentsByMouthRates,
    ThreeCompartmentsRates,
    TwoCompartments,
    TwoCompartmentsByMouth,
    TwoCompartmentsByMouthRates,
    TwoCompartmentsRates,
)
from tests.physics.shelf.solved import near, solved

KA = {"ka": 0.9}
ONE = {"CL": 4.0, "V": 20.0}, {"ke": 0.2, "V": 20.0}
TWO = {"CL": 4.0, "V1": 20.0, "Q": 10.0, "V2": 100.0 / 3.0}, {"k10": 0.2, "k12": 0.5, "k21": 0.3, "V1": 20.0}
THREE = (
    {"CL": 4.0, "V1": 20.0, "Q2": 10.0, "V2": 25.0, "Q3": 3.0, "V3": 150.0},
    {"k10": 0.2, "k12": 0.5, "k21": 0.4, "k13": 0.15, "k31": 0.02, "V1": 20.0},
)
ENTRIES: Mapping[type[Mechanism], tuple[str, Mapping[str, float], Mapping[str, float]]] = {
    OneCompartment: ("plasma", ONE[0], ONE[1]),
    OneCompartmentRates: ("plasma", ONE[1], ONE[1]),
    OneCompartmentByMouth: ("gut", KA | ONE[0], ONE[1]),
    OneCompartmentByMouthRates: ("gut", KA | ONE[1], ONE[1]),
    TwoCompartments: ("plasma", TWO[0], TWO[1]),
    TwoCompartmentsRates: ("plasma", TWO[1], TWO[1]),
    TwoCompartmentsByMouth: ("gut", KA | TWO[0], TWO[1]),
    TwoCompartmentsByMouthRates: ("gut", KA | TWO[1], TWO[1]),
    ThreeCompartments: ("plasma", THREE[0], THREE[1]),
    ThreeCompartmentsRates: ("plasma", THREE[1], THREE[1]),
    ThreeCompartmentsByMouth: ("gut", KA | THREE[0], THREE[1]),
    ThreeCompartmentsByMouthRates: ("gut", KA | THREE[1], THREE[1]),
}
TIMES = (0.25, 1.0, 5.0, 20.0)


def exponentials(rates: Mapping[str, float], ka: float | None, t: np.ndarray) -> np.ndarray:
    """The plasma after a dose of 1: by partial fractions of Π(s + k_i1) / Π(s + λ_i), times ka/(s + ka) where it is swallowed."""
    returns = [rates[name] for name in ("k21", "k31") if name in rates]
    leaving = sum(rates[name] for name in ("ke", "k10", "k12", "k13") if name in rates)
    above = np.poly([-k for k in returns]) if returns else np.array([1.0])
    below = np.polymul([1.0, leaving], above)  # less what comes back: k1i ki1 for each tissue, times the others
    for i, k in enumerate(returns):
        rest = np.poly([-other for j, other in enumerate(returns) if j != i]) if len(returns) > 1 else np.array([1.0])
        below = np.polysub(below, rates[("k12", "k13")[i]] * k * rest)
    if ka is not None:
        above, below = ka * above, np.polymul(below, [1.0, ka])
    roots = np.roots(below)
    weights = np.polyval(above, roots) / np.polyval(np.polyder(below), roots)
    return np.real(np.exp(np.outer(t, roots)) @ weights)


@pytest.mark.parametrize("kind", ENTRIES, ids=lambda kind: kind.__name__)
def test_a_dose_is_a_sum_of_exponentials(kind: type[Mechanism]) -> None:
    taken, theta, rates = ENTRIES[kind]
    found = solved(kind(), {taken: 100.0}, TIMES, theta)
    near(found["plasma"], 100.0 * exponentials(rates, theta.get("ka"), np.array(TIMES)), 1e-10)


def test_the_printed_digits_of_two_compartments() -> None:
    t = np.array([1.0, 5.0, 20.0])
    want = [0.5398850420, 0.2031483497, 0.0750670361]
    assert np.allclose(exponentials(TWO[1], None, t), want, rtol=0.0, atol=6e-11)
    near(solved(TwoCompartments(), {"plasma": 1.0}, t, TWO[0])["plasma"], want, 1e-9)  # ten digits are printed


@pytest.mark.parametrize("kind", ENTRIES, ids=lambda kind: kind.__name__)
def test_clearances_and_rates_are_one_field(kind: type[Mechanism]) -> None:
    """dx/dt is linear, stable and monotone, and what leaves is all that is lost."""
    mechanism, (_, theta, rates) = kind(), ENTRIES[kind]
    x = torch.zeros(1, len(mechanism.states), dtype=torch.float64)
    J = mechanism.tape.at(torch.tensor([list(theta.values())], dtype=torch.float64)).jacobian(x, x[:, :0])[0].numpy()
    assert np.linalg.eigvals(J).real.max() < 0.0
    assert set(mechanism.signs.values()) == {1}
    assert (J - np.diag(np.diag(J)) >= 0.0).all()
    lost = np.zeros(len(J))
    lost[list(mechanism.states).index("plasma")] = rates["ke"] if "ke" in rates else rates["k10"]
    assert np.allclose(-J.sum(0), lost, rtol=0.0, atol=1e-14)
