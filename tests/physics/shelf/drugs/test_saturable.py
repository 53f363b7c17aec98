"""Saturable elimination against Lambert's function, and beside a linear part against the separated equation."""

import numpy as np
from scipy.integrate import quad, simpson
from scipy.optimize import brentq
from scipy.special import lambertw

from physics.shelf import MichaelisMenten, ParallelElimination
from tests.physics.shelf.solved import near, solved


def test_a_bolus_is_lamberts_function() -> None:
    t, (V, vmax, Km) = np.array([0.5, 1.0, 2.0, 3.0]), (50.0, 500.0, 4.0)
    c0 = 600.0 / V
    formula = Km * lambertw(c0 / Km * np.exp((c0 - vmax / V * t) / Km)).real
    assert np.allclose(formula, [8.4180932217, 5.2822318045, 1.2023880651, 0.1290749435], rtol=0.0, atol=6e-11)
    found = solved(MichaelisMenten(), {"plasma": 600.0}, t, {"Vmax": vmax, "Km": Km, "V": V})
    near(found["plasma"] / V, formula, 1e-10)


def test_what_is_swallowed_leaves_at_the_saturated_rate() -> None:
    """All that arrived and is not there any more was taken by Vmax C/(Km + C)."""
    t = np.linspace(0.0, 4.0, 4001)
    found = solved(MichaelisMenten(), {"gut": 900.0}, t)
    taken = simpson(500.0 * found["plasma"] / (4.0 * 50.0 + found["plasma"]), t)
    assert (
        abs(taken - (900.0 - found["gut"][-1] - found["plasma"][-1])) < 1e-5
    )  # mg, by Simpson's rule in steps of .001 d


def test_parallel_elimination_solves_the_separated_equation() -> None:
    CL, vmax, Km, V = 2.5, 20.0, 4.0, 50.0
    k, v = CL / V, vmax / V
    K, c0 = Km + v / k, 30.0

    def formula(c: float) -> float:
        return (Km / K * np.log(c0 / c) + (1.0 - Km / K) * np.log((c0 + K) / (c + K))) / k

    assert abs(formula(7.0) - quad(lambda c: 1.0 / (k * c + v * c / (Km + c)), 7.0, c0)[0]) < 1e-9
    t = (1.0, 5.0, 10.0, 25.0, 60.0)
    want = [brentq(lambda c, at=at: formula(c) - at, 1e-9, c0, xtol=1e-14, rtol=1e-14) for at in t]
    found = solved(ParallelElimination(), {"plasma": c0 * V}, t, {"CL": CL, "Vmax": vmax, "Km": Km, "V": V})
    near(found["plasma"] / V, want, 1e-10)
