"""The conic solver against the structured climb: two searches that share no code must agree."""

import time
from itertools import pairwise
from types import SimpleNamespace

import clarabel
import cvxpy as cp
import numpy as np
import pytest

from stability import Lure, common_metric
from stability.search.climb.interior_point import climb
from stability.search.semidefinite import joint
from stability.search.states.jacobians import linear

KA = np.linspace(0.7, 3.0, 12)  # 1/h
KE = np.linspace(0.054, 0.11, 12)  # 1/h
THEOPHYLLINE = np.stack([np.array([[-ka, 0.0], [ka, -ke]]) for ka, ke in zip(KA, KE, strict=True)])  # amounts


def reached(J: np.ndarray, P: np.ndarray) -> float:
    return float(min(-np.linalg.eigvals(np.linalg.solve(P, j.T @ P + P @ j) / 2).real.max() for j in J))


def test_twelve_people_share_a_metric_of_small_condition() -> None:
    P, rate = common_metric(THEOPHYLLINE)
    assert 0.99 * 0.054 < rate < 0.054
    assert rate == pytest.approx(reached(THEOPHYLLINE, P), rel=1e-9)
    assert np.linalg.cond(P) <= 10
    np.testing.assert_array_equal(P, P.T)
    assert np.linalg.eigvalsh(P)[0] > 0.99


def test_a_requested_rate_is_reached_with_a_smaller_condition() -> None:
    best, _ = common_metric(THEOPHYLLINE)
    P, rate = common_metric(THEOPHYLLINE, 0.03)
    assert rate >= 0.03
    assert np.linalg.cond(P) < np.linalg.cond(best)


def test_a_rate_out_of_reach_is_said_by_the_number() -> None:
    P, rate = common_metric(THEOPHYLLINE, 0.06)
    assert rate < 0.054
    assert rate == pytest.approx(reached(THEOPHYLLINE, P), rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_climb_on_random_matrices(seed: int) -> None:
    """Both maximise the same quasi-concave function: within their tolerances of 0.1 % each, and below the dual bound."""
    rng = np.random.default_rng(seed)
    n = 2 + seed % 2
    J = rng.normal(size=(6, n, n)) * 0.5 - 1.5 * np.eye(n)
    _, rate = common_metric(J)
    ascent = climb(linear(J), np.eye(n), tolerance=1e-4)
    assert rate == pytest.approx(ascent.rate, rel=5e-3)
    assert rate <= ascent.bound + 1e-9


def test_cutting_planes_see_every_matrix() -> None:
    """One bad matrix among many: it decides the rate wherever it stands."""
    J = np.tile(-np.eye(2), (50, 1, 1))
    J[37] = [[-0.5, 3.0], [0.0, -0.5]]
    P, rate = common_metric(J)
    assert 0.45 < rate <= 0.5
    assert rate == pytest.approx(reached(J, P), rel=1e-9)


def test_condition_number_is_obeyed() -> None:
    J = np.array([[[-0.5, 3.0], [0.0, -0.5]]])
    rates = []
    for condition in (2.0, 10.0, 1000.0):
        P, rate = common_metric(J, condition=condition)
        assert np.linalg.cond(P) <= condition * 1.001
        rates.append(rate)
    assert rates == sorted(rates)


@pytest.mark.parametrize("widths", [(4,), (3, 3)])
def test_the_joint_inequality_changes_sign_where_the_climb_ends(widths: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    sizes = [2, *widths, 2]
    weights = [0.4 * rng.normal(size=(2, o, i)) for i, o in pairwise(sizes)]
    loop = Lure(A=[[-1.0, 0.3], [0.0, -1.2]], weights=weights, biases=[np.zeros(w.shape[1]) for w in weights]).loop()
    best = climb(loop, np.eye(2), tolerance=1e-4).rate
    below, above = joint(loop, 0.98 * best), joint(loop, 1.02 * best)
    assert below is not None
    assert below[2] > 0
    assert (below[1] > 0).all()
    assert above is not None
    assert above[2] < 0


def test_joint_without_a_residual_is_the_common_metric() -> None:
    below, above = (joint(linear(THEOPHYLLINE), rate) for rate in (0.053, 0.055))
    assert below is not None
    assert below[2] > 0
    assert below[1].shape == (12, 0)
    assert above is not None
    assert above[2] < 1e-6


def test_time_limit_is_obeyed() -> None:
    rng = np.random.default_rng(0)
    J = rng.normal(size=(300, 8, 8)) * 0.3 - 2 * np.eye(8)
    start = time.perf_counter()
    P, rate = common_metric(J, seconds=0.5)
    assert time.perf_counter() - start < 3.0
    assert rate == pytest.approx(reached(J, P), rel=1e-9)


def test_solver_errors_end_as_values(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: cp.Problem, **_: object) -> None:
        raise cp.error.SolverError("no")

    class Ends:
        def __init__(self, *_: object) -> None: ...

        def solve(self) -> SimpleNamespace:
            return SimpleNamespace(status="NumericalError", x=[1.0, 0.0, 1.0, 0.0])

    monkeypatch.setattr(cp.Problem, "solve", broken)
    monkeypatch.setattr(clarabel, "DefaultSolver", Ends)
    P, rate = common_metric(THEOPHYLLINE)
    np.testing.assert_array_equal(P, np.eye(2))
    assert rate == pytest.approx(reached(THEOPHYLLINE, np.eye(2)))
    assert joint(linear(THEOPHYLLINE), 0.01) is None


def test_arguments_are_refused_with_a_reason() -> None:
    with pytest.raises(ValueError, match="matrices"):
        common_metric(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="matrices"):
        common_metric([[np.nan]])
    with pytest.raises(ValueError, match="condition"):
        common_metric([[-1.0]], condition=1.0)
