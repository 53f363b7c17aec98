"""What is on the shelf beside drugs, against closed forms and printed values."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from physics import equilibrium
from physics.shelf import SIRS, Bergman, BuildingZone, CoupledTanks, DCMotor, Windkessel
from tests.physics.shelf.solved import near, solved

D = torch.float64


def rest(mechanism, theta: dict[str, float], u: list[float]) -> np.ndarray:
    numbers = {**{p.name: p.typical for p in mechanism.physical}, **theta}
    found = equilibrium(mechanism, torch.tensor(u, dtype=D), torch.tensor(list(numbers.values()), dtype=D))
    assert found.message == ""
    return found.x.numpy()


def test_minimal_model() -> None:
    p1, p2, p3, Gb, Ib, insulin, Ra = 0.028, 0.025, 1.3e-5, 90.0, 10.0, 60.0, 1.5
    X = p3 * (insulin - Ib) / p2
    G = (p1 * Gb + Ra) / (p1 + X)
    times = [1.0, 30.0, 200.0]
    found = solved(Bergman(), {"glucose": 200.0, "action": X}, times, u={"I": insulin, "Ra": Ra})
    near(found["glucose"], G + (200.0 - G) * np.exp(-(p1 + X) * np.array(times)), 1e-10)
    found = solved(Bergman(), {"glucose": 200.0}, times, u={"I": insulin, "Ra": Ra})
    near(found["action"], X * (1.0 - np.exp(-p2 * np.array(times))), 1e-10)
    assert rest(Bergman(), {}, [insulin, Ra]) == pytest.approx([G, X], rel=1e-12)
    assert rest(Bergman(), {}, [Ib, 0.0]) == pytest.approx([Gb, 0.0], abs=1e-12)


def test_windkessel_of_two_and_three_elements() -> None:
    """The pressure at the aorta is that of the chamber and Rc Q: three printed values."""
    found = solved(Windkessel(), {}, [0.5, 1.0, 3.0], u={"Q": 90.0})["pressure"]
    near(found, 90.0 * (1.0 - np.exp(-np.array([0.5, 1.0, 3.0]) / 1.3)), 1e-10)
    near(found + 0.05 * 90.0, [33.2358841509, 52.7967567692, 85.5458477555], 1e-11)


def test_sirs_rests_where_the_formula_says_and_keeps_its_total() -> None:
    beta, gamma, omega, mu = 0.5, 0.25, 0.01, 4e-5
    S = (gamma + mu) / beta
    I = (1.0 - S) * (omega + mu) / (gamma + omega + mu)  # noqa: E741, as it is called
    assert rest(SIRS(), {}, []) == pytest.approx([S, I, 1.0 - S - I], abs=1e-10)
    # without births and deaths, as printed; μ is never 0 here, and I* differs from that by as much as μ from it
    assert rest(SIRS(), {"mu": 1e-6}, [])[1] == pytest.approx(0.0192307692, abs=3e-6)
    times = [10.0, 100.0, 1000.0]
    found = solved(SIRS(), {"S": 0.7, "I": 0.1}, times)
    near(sum(found.values()), 1.0 - 0.2 * np.exp(-mu * np.array(times)), 1e-10)


def test_an_emptying_tank_and_one_that_overflows() -> None:
    times = np.array([1.0, 10.0, 50.0])
    found = solved(CoupledTanks(), {"upper": 16.0, "lower": 9.0}, list(times), u={"q": 0.0})["upper"]
    near(found, (4.0 - 0.071 / 28.0 * np.sqrt(981.0 / 2.0) * times) ** 2, 1e-10)
    assert rest(CoupledTanks(), {}, [8.0]) == pytest.approx(
        [(8.0 / a) ** 2 / 1962.0 for a in (0.071, 0.057)], rel=1e-10
    )
    over = rest(CoupledTanks(), {}, [25.0])
    assert over[0] > 20.0
    assert 0.071 * np.sqrt(1962.0 * over[0]) + 10.0 * (over[0] - 20.0) == pytest.approx(25.0, rel=1e-10)
    last, empty = solved(CoupledTanks(), {"upper": 0.5}, [15.0, 25.0], u={"q": 0.0})["upper"]
    falls = 0.071 / 28.0 * np.sqrt(981.0 / 2.0)  # of √h, until it is the root of a tenth of a millimetre; then h dies out
    assert last == pytest.approx(0.01 * np.exp(-2.0 * falls / 0.1 * (15.0 - (np.sqrt(0.5) - 0.1) / falls)), rel=1e-6)
    assert empty == pytest.approx(0.0, abs=1e-8)


def test_a_motor_is_its_matrix_exponential() -> None:
    A = np.array([[-0.1 / 0.01, 0.01 / 0.01], [-0.01 / 0.5, -1.0 / 0.5]])
    f = np.array([-0.02 / 0.01, 1.5 / 0.5])
    end = -np.linalg.solve(A, f)
    times = [0.05, 0.4, 3.0]
    found = solved(DCMotor(), {"speed": 1.0}, times, u={"V": 1.5, "load": 0.02})
    want = np.stack([end + expm(A * t) @ (np.array([1.0, 0.0]) - end) for t in times])
    near(np.stack(list(found.values()), -1), want, 1e-10)
    assert rest(DCMotor(), {}, [1.0, 0.0])[0] == pytest.approx(0.01 / (0.1 + 0.01**2), rel=1e-12)


@pytest.mark.parametrize(("start", "power", "slope"), [(10.0, 8000.0, 0.0), (20.0, 0.0, 4000.0), (25.0, 0.0, 0.0)])
def test_a_zone_without_leaks_is_a_matrix_exponential_in_each_state_of_its_valve(
    start: float, power: float, slope: float
) -> None:
    """Open, between its kinks (4 kW/K times what the setpoint lies above), shut."""
    theta = {p.name: p.typical for p in BuildingZone().physical}
    Ca, Cw, Hi, Ho, Hw = (theta[name] for name in ("Ca", "Cw", "Hi", "Ho", "Hw"))
    A = np.array([[-(Hi + Hw + slope) / Ca, Hi / Ca], [Hi / Cw, -(Hi + Ho) / Cw]])
    f = np.array([(2.0 * Hw + power + slope * 21.0) / Ca, (2.0 * Ho + 6.0 * 300.0) / Cw])
    end, x0 = -np.linalg.solve(A, f), np.array([start, start + 0.1])
    times = [0.02, 0.1, 0.5]
    levels = {"outdoor": 2.0, "sun": 300.0, "setpoint": 21.0}
    found = solved(BuildingZone(), dict(zip(("air", "walls"), x0, strict=True)), times, {"AL": 0.0}, levels)
    near(np.stack(list(found.values()), -1), np.stack([end + expm(A * t) @ (x0 - end) for t in times]), 1e-10)


@pytest.mark.parametrize("above", [16.0, -9.0])
def test_a_zone_that_only_leaks(above: float) -> None:
    """d Δ/dt = −k |Δ|^½ Δ, so that Δ = Δ₀/(1 + ½ k √|Δ₀| t)²."""
    nothing = dict.fromkeys(("Hi", "Hw", "P"), 0.0)
    k = 1.2 * np.sqrt(0.000145) * 500.0 / (1200.0 / 3.6)
    times = np.array([1.0, 10.0, 100.0])
    start, levels = {"air": 5.0 + above}, {"outdoor": 5.0, "sun": 0.0, "setpoint": 0.0}
    found = solved(BuildingZone(), start, list(times), nothing, levels)["air"]
    near(found - 5.0, above / (1.0 + 0.5 * k * np.sqrt(abs(above)) * times) ** 2, 1e-10)


def test_a_zone_rests_where_heat_balances() -> None:
    air, walls = rest(BuildingZone(), {}, [2.0, 100.0, 21.0])
    assert 19.0 < air < 21.0
    lost = 80.0 * (air - 2.0) + 120.0 * (walls - 2.0) + 1.2 * np.sqrt(0.000145) * 500.0 * (air - 2.0) ** 1.5
    assert lost == pytest.approx(600.0 + 8000.0 * (21.0 - air) / 2.0, rel=1e-10)
