"""Marsh and Schnider: the numbers in print, by the matrix exponential, and θ of everyone inside its box."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.optimize import minimize_scalar

from physics import MarshPopulation, Population, SchniderPopulation
from physics.shelf import Marsh, Schnider
from tests.physics.shelf.solved import near, solved

F64 = torch.float64


def of(population: Population, **covariates: float) -> dict[str, float]:
    given = {name: torch.tensor([value], dtype=F64) for name, value in covariates.items()}
    theta = population.theta(torch.zeros(1, 1, 0, dtype=F64), given)[0, 0].tolist()
    return dict(zip([name for name, _ in population.gives], theta, strict=True))


MAN = {"age": 40.0, "weight": 70.0, "height": 170.0, "male": 1.0}


def test_schnider() -> None:
    p = of(SchniderPopulation(), **MAN)
    assert np.allclose([p["V2"], p["CL1"], p["CL2"]], [23.983, 1.638135, 1.602], rtol=0.0, atol=5e-7)
    k = [p["CL1"] / p["V1"], p["CL2"] / p["V1"], p["CL2"] / p["V2"], p["CL3"] / p["V1"], p["CL3"] / p["V3"]]
    A = np.array(
        [[-k[0] - k[1] - k[3], k[2], k[4], 0], [k[1], -k[2], 0, 0], [k[3], 0, -k[4], 0], [0.456 / 4.27, 0, 0, -0.456]]
    )

    def by_formula(t: float) -> np.ndarray:
        return expm(A * t)[:, 0] * 200.0

    assert abs(by_formula(0.0)[0] / 4.27 - 46.838407) < 5e-7
    assert abs(by_formula(1.0)[0] / 4.27 - 18.351411) < 5e-7
    peak = minimize_scalar(lambda t: -by_formula(t)[3], bounds=(0.5, 3.0), method="bounded")
    assert abs(peak.x - 1.521) < 5e-4
    assert abs(-peak.fun - 11.5132) < 5e-5
    t = (1.0, 10.0, 100.0)
    found = solved(Schnider(), {"central": 200.0}, t, p)
    for j, name in enumerate(("central", "fast", "slow", "Ce")):
        near(found[name], [by_formula(at)[j] for at in t], 1e-10)


def test_marsh() -> None:
    p = of(MarshPopulation(), weight=70.0)
    A = np.array([[-0.119 - 0.112 - 0.042, 0.055, 0.0033], [0.112, -0.055, 0.0], [0.042, 0.0, -0.0033]])
    t = (1e-12, 1.0, 30.0)
    want = [expm(A * at)[0, 0] * 140.0 / (0.228 * 70.0) for at in t]
    assert np.allclose(want[:2], [8.7719, 6.6989], rtol=0.0, atol=5e-5)
    near(solved(Marsh(), {"central": 140.0}, t, p)["central"] / p["V1"], want, 1e-10)


def test_covariates_that_are_left_out_are_named() -> None:
    for population, needed in ((SchniderPopulation(), "age, weight, height, male"), (MarshPopulation(), "weight")):
        with pytest.raises(ValueError, match=f"needs the covariates {needed}; missing: {needed}"):
            population.theta(torch.zeros(1, 1, 0, dtype=F64))


def test_everyone_lies_in_the_box() -> None:
    generator = torch.Generator().manual_seed(1)
    low, high = torch.tensor([[18.0, 95.0], [40.0, 130.0], [140.0, 200.0], [0.0, 1.0]], dtype=F64).unbind(-1)
    drawn = torch.rand(20000, 4, generator=generator, dtype=F64)
    drawn[:, 3] = drawn[:, 3].round()
    drawn[:8000] = (1.2 * drawn[:8000] - 0.1).clamp(0.0, 1.0)  # ends too
    people = dict(zip(MAN, (low + (high - low) * drawn).unbind(-1), strict=True))
    people["male"] = people["male"].round()
    theta, box = SchniderPopulation().theta(torch.zeros(1, 20000, 0, dtype=F64), people)[0], SchniderPopulation().box
    assert bool(((theta >= box[:, 0]) & (theta <= box[:, 1])).all())
    assert bool((theta.amin(0) <= 1.05 * box[:, 0]).all())  # and it is no wider than needed
    assert bool((theta.amax(0) >= 0.95 * box[:, 1]).all())
    for one, p in zip(box.tolist(), Schnider().physical, strict=True):
        assert p.low < one[0] <= one[1] < p.high
    for one, p in zip(MarshPopulation().box.tolist(), Marsh().physical, strict=True):
        assert p.low < one[0] <= one[1] < p.high


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"age": 12.0}, "age lies in 18–95 a, got [12.0]"),
        ({"weight": 230.0}, "weight lies in 40–130 kg"),
        ({"male": 2.0}, "male"),
        ({"male": 0.5}, "1 for men or 0 for women, got [0.5]"),
        ({"height": None}, "missing: height"),
    ],
)
def test_people_the_formulas_do_not_know(changed: dict, says: str) -> None:
    given = {name: value for name, value in {**MAN, **changed}.items() if value is not None}
    with pytest.raises(ValueError, match="SchniderPopulation") as caught:
        of(SchniderPopulation(), **given)
    assert says in str(caught.value)
