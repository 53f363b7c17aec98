"""Weighted ℓ1 certificates: known answers, the linear programme, trajectories, and mutations decided in rationals."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import linprog

from stability import Lure, Refusal, WeightedL1, check, weighted_l1
from stability.lure import SLOPES
from stability.proof.checker import prove
from stability.search.states.activation import value
from stability.search.weighted_l1 import best_weights, reached
from tests.builders import read_back

KA, KE = 1.5, 0.086


def proved(system: Lure, rate: float | None = None) -> WeightedL1:
    found = weighted_l1(system, rate)
    assert isinstance(found, WeightedL1), found
    read_back(found, system)
    return found


def layered(seed: int, widths: tuple[int, ...], n: int, gain: float, activation: str = "tanh", V: int = 2) -> Lure:
    rng = np.random.default_rng(seed)
    sizes = [n, *widths, n]
    weights = [rng.normal(size=(V, o, i)) / i for i, o in pairwise(sizes)]
    weights[-1] = gain * weights[-1]
    rates = rng.uniform(0.5, 2.0, n)
    A = np.diag(-rates) + np.diag(rates[:-1], -1) * rng.uniform(0.2, 0.9)
    return Lure(A=A, weights=weights, biases=[rng.normal(size=o) for o in sizes[1:]], activation=activation)


def test_theophylline_in_amounts() -> None:
    """Rate ke: w_plasma/w_gut ≤ (ka − λ)/ka; where the identity metric fails, ℓ1 needs no more than weights."""
    system = Lure(A=[[-KA, 0.0], [KA, -KE]], weights=[], biases=[])
    found = proved(system)
    assert 0.999 * KE <= found.rate <= KE
    assert found.weights[1] / found.weights[0] <= (KA - found.rate) / KA * (1 + 1e-12)
    # ke itself is reached, w_plasma = .9 w_gut leaving room: the inequality is not strict, and decided exactly.
    edge = replace(found, rate=KE, weights=np.array([1.0, 0.9]), claim="")
    assert check(edge, system)
    assert not check(replace(edge, rate=float(np.nextafter(KE, 1)), claim=""), system)
    assert proved(system, rate=0.999999 * KE).rate == 0.999999 * KE
    refusal = weighted_l1(system, rate=float(np.nextafter(KE, 1)))
    assert isinstance(refusal, Refusal)
    assert refusal.best_rate == pytest.approx(KE, rel=1e-6)


def test_one_matrix_reaches_its_perron_root() -> None:
    rng = np.random.default_rng(1)
    for n in (2, 3, 5):
        M = rng.uniform(0.0, 1.0, (n, n)) - n * np.eye(n)
        root = np.linalg.eigvals(M).real.max()
        assert proved(Lure(A=M, weights=[], biases=[])).rate == pytest.approx(-root, rel=2e-3)
        signs = rng.choice([-1.0, 1.0], (n, n))
        signs[np.arange(n), np.arange(n)] = 1.0
        assert proved(Lure(A=M * signs, weights=[], biases=[])).rate == pytest.approx(-root, rel=2e-3)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 5), V=st.integers(1, 6))
def test_policy_iteration_is_the_linear_programme(seed: int, n: int, V: int) -> None:
    """Bisection on λ with scipy's linear programmes finds the same best rate."""
    rng = np.random.default_rng(seed)
    M = rng.uniform(0.0, 1.0, (V, n, n)) * (rng.uniform(size=(V, n, n)) < 0.7) + 0.01
    M[:, np.arange(n), np.arange(n)] = rng.uniform(-2 * n, 0.0, (V, n))
    low, high = -2.0 * n, 2.0 * n
    for _ in range(40):
        middle = (low + high) / 2
        rows = np.concatenate([m.T + middle * np.eye(n) for m in M])
        feasible = linprog(np.ones(n), A_ub=rows, b_ub=np.zeros(len(rows)), bounds=[(1.0, None)] * n).status == 0
        low, high = (middle, high) if feasible else (low, middle)
    assert reached(M, best_weights(M, 0.0)) == pytest.approx(low, abs=1e-5)


@pytest.mark.parametrize("activation", list(SLOPES))
def test_the_bound_covers_every_slope_pattern(activation: str) -> None:
    """The logarithmic norm max_j (J_jj + Σ w_i/w_j |J_ij|) of every corner pattern and of random ones."""
    system = layered(2, (3, 2), 3, 0.3, activation)
    found, (alpha, beta) = proved(system), SLOPES[activation]
    w, rng = found.weights, np.random.default_rng(0)
    patterns = [np.array(p) for p in product((alpha, beta), repeat=5)] + list(rng.uniform(alpha, beta, (50, 5)))
    worst = -np.inf
    for s in patterns:
        for J in system.jacobian([s[:3], s[3:]]):
            scaled = w[:, None] * J / w
            norm = np.abs(scaled).sum(0) - np.abs(np.diagonal(J)) + np.diagonal(J)
            worst = max(worst, norm.max())
    assert worst <= -found.rate * (1 - 1e-12)


def test_trajectories_contract_in_the_weighted_distance() -> None:
    system, rng = layered(4, (6,), 3, 0.5, "tanh", V=1), np.random.default_rng(3)
    found = proved(system)

    def field(t: float, x: np.ndarray) -> np.ndarray:
        z = value("tanh", system.weights[0][0] @ x + system.biases[0] + np.sin(t))
        return system.A @ x + system.weights[1][0] @ z

    times = np.linspace(0, 4, 21)
    for _ in range(4):
        x, y = (solve_ivp(field, (0, 4), x0, t_eval=times, rtol=1e-10, atol=1e-12).y.T for x0 in rng.normal(size=(2, 3)))
        distance = np.abs(x - y) @ found.weights
        assert (distance <= distance[0] * np.exp(-found.rate * times) + 1e-9).all()


def test_one_layer_of_one_unit_is_exact() -> None:
    """dx/dt = −x + ½ tanh(x): λ = ½, an edge that only exact arithmetic can stand on."""
    system = Lure(A=[[-1.0]], weights=[[[1.0]], [[0.5]]], biases=[[0.0], [0.0]])
    found = proved(system)
    assert found.rate == 0.5
    assert not check(replace(found, rate=float(np.nextafter(0.5, 1)), claim=""), system)


def test_too_wild_a_residual_is_refused() -> None:
    refusal = weighted_l1(layered(1, (4,), 3, 20.0))
    assert isinstance(refusal, Refusal)
    assert refusal.best_rate is not None
    assert refusal.best_rate < 0
    weights = [np.zeros((700, 8)), np.zeros((700, 700)), np.zeros((8, 700))]
    refusal = weighted_l1(Lure(A=-np.eye(8), weights=weights, biases=[np.zeros(len(w)) for w in weights]))
    assert isinstance(refusal, Refusal)
    assert "exact products" in refusal.message


def holds(found: WeightedL1, system: Lure) -> bool:
    """Written again for one hidden layer: the hull entry by entry from the two ends of each unit's slope."""
    alpha, beta = (Fraction(s) for s in SLOPES[system.activation])
    if found.rate <= 0 or (found.weights <= 0).any():
        return False
    flat, w = system.flatten(), [Fraction(v) for v in found.weights]
    n, H = len(w), flat.widths[0]
    for v in range(len(flat.A)):
        for j in range(n):
            total = Fraction(0)
            for i in range(n):
                terms = [Fraction(flat.weights[1][v, i, h]) * Fraction(flat.weights[0][v, h, j]) for h in range(H)]
                base = Fraction(flat.A[v, i, j])
                high = base + sum((max(alpha * t, beta * t) for t in terms), Fraction(0))
                low = base + sum((min(alpha * t, beta * t) for t in terms), Fraction(0))
                total += w[i] * (high if i == j else max(abs(low), abs(high)))
            if total > -Fraction(found.rate) * w[j]:
                return False
    return True


@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_mutations_are_decided_exactly(activation: str) -> None:
    """Not only no false yes: in rationals there is no false no either."""
    system, rng = layered(7, (4,), 3, 0.3, activation), np.random.default_rng(2)
    found = proved(system)
    said = []
    for _ in range(60):
        size = 1.0 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-16, 0.5)
        if rng.integers(2):
            mutant = replace(found, rate=float(found.rate * size), claim="")
        else:
            w = np.array(found.weights)
            w[rng.integers(3)] *= size
            mutant = replace(found, weights=w)
        said.append(check(mutant, system))
        assert said[-1] == holds(mutant, system)
    assert 5 < sum(said) < 55
    weights = [np.array(x) for x in system.weights]
    weights[0][0, 0, 0] = np.nextafter(weights[0][0, 0, 0], 9)
    assert not check(found, replace(system, weights=tuple(weights)))


def test_fields_that_do_not_fit_are_refused() -> None:
    system = layered(7, (4,), 3, 0.3)
    found = proved(system)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"digest": "0" * 64}, "digest"),
        ({"claim": "It shrinks."}, "claim"),
        ({"slope_range": (0.0, 0.5)}, "slope range"),
        ({"leading": (3,)}, "leading"),
        ({"not_covered": ()}, "not covered"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": -1.0}, "rate"),
        ({"weights": np.ones(2)}, "weights"),
        ({"weights": np.array([1.0, 0.0, 1.0])}, "weights"),
        ({"weights": np.array([1.0, np.inf, 1.0])}, "weights"),
    ]
    for fields, reason in cases:
        verdict = prove(replace(found, **fields), system)
        assert not verdict
        assert reason in verdict.reason
    with pytest.raises(ValueError, match="rate"):
        weighted_l1(system, rate=0.0)
    with pytest.raises(ValueError, match="Lure"):
        weighted_l1({})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weighted l1"):
        WeightedL1.from_dict({"kind": "certificate"})
