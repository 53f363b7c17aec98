"""Lipschitz bounds: the known answer for weights of one sign, the conic solver, sampled Jacobians, and the checker."""

import json
from dataclasses import replace
from itertools import pairwise

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stability import LipschitzBound, check, lipschitz_bound
from stability.lipschitz import least
from stability.lure import SLOPES
from stability.proof import prove
from stability.proof_lipschitz import _inequality, statement


def draw(seed: int, sizes: list[int], *, positive: bool = False) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = [(o, i) for i, o in pairwise(sizes)]
    return [rng.uniform(0, 1, s) if positive else rng.normal(size=s) / np.sqrt(s[1]) for s in shapes]


@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus"])
@pytest.mark.parametrize("sizes", [[3, 8, 2], [4, 20, 20, 3], [2, 6, 5, 4, 1], [5, 4]])
def test_weights_of_one_sign_have_the_norm_of_their_product(activation: str, sizes: list[int]) -> None:
    """With every slope at 1 the product itself is a Jacobian, and the largest: the published benchmarks with uniform weights."""
    weights = draw(1, sizes, positive=True)
    product = np.linalg.multi_dot(weights[::-1]) if len(weights) > 1 else weights[0]
    found = lipschitz_bound(weights, activation)
    exact = float(np.linalg.norm(product, 2))
    assert exact * (1 - 1e-9) <= found.bound <= exact * (1 + 2e-3)
    assert found.floor <= exact * (1 + 1e-6)
    assert check(found, {"weights": weights, "activation": activation})


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "gelu"])
def test_one_layer_agrees_with_the_conic_solver(activation: str) -> None:
    """LipSDP-Neuron as it stands on paper."""
    alpha, beta = SLOPES[activation]
    W, E = draw(2, [3, 7, 2])
    L, square = cp.Variable(7, nonneg=True), cp.Variable()
    T = cp.diag(L)
    M = cp.bmat(
        [
            [square * np.eye(3) + 2 * alpha * beta * W.T @ T @ W, -(alpha + beta) * W.T @ T],
            [-(alpha + beta) * T @ W, 2 * T - E.T @ E],
        ]
    )
    cp.Problem(cp.Minimize(square), [(M + M.T) / 2 >> 0]).solve(solver=cp.CLARABEL)
    exact = float(np.sqrt(square.value))
    found = lipschitz_bound([W, E], activation)
    assert exact * (1 - 1e-5) <= found.bound <= exact * (1 + 2e-3)
    assert found.floor <= exact * (1 + 1e-5)


@settings(max_examples=15, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 7), min_size=3, max_size=5),
    activation=st.sampled_from(sorted(SLOPES)),
)
def test_never_below_a_jacobian_nor_above_the_product_of_norms(seed: int, sizes: list[int], activation: str) -> None:
    weights, (alpha, beta) = draw(seed, sizes), SLOPES[activation]
    found = lipschitz_bound(weights, activation).bound
    rng = np.random.default_rng(seed)
    for _ in range(50):
        J = weights[0]
        for w in weights[1:]:
            slopes = rng.choice([alpha, beta], J.shape[0]) if rng.uniform() < 0.5 else rng.uniform(alpha, beta, J.shape[0])
            J = w @ (slopes[:, None] * J)
        assert np.linalg.norm(J, 2) <= found
    norms = np.prod([np.linalg.norm(w, 2) for w in weights])
    assert found <= max(beta, -alpha) ** (len(weights) - 1) * norms * (1 + 2e-3)


def test_narrower_slopes_give_smaller_bounds_and_one_slope_the_linear_map() -> None:
    """Slopes in [½, ½] leave the linear map ½W_2W_1 alone; ranges in between lie in between."""
    weights = draw(3, [3, 9, 3])
    reached = []
    for width in (0.0, 0.2, 0.5):
        half = np.full(9, 0.5)
        reached.append(np.sqrt(-2.0 * least(weights, half - width, half + width).rate))
    assert reached == sorted(reached)
    assert reached[0] == pytest.approx(0.5 * np.linalg.norm(weights[1] @ weights[0], 2), rel=2e-3)


def test_the_checker_builds_the_inequality_as_on_paper() -> None:
    weights = draw(4, [3, 5, 4, 2])
    L = np.random.default_rng(0).uniform(1, 2, 9)
    alpha, beta = SLOPES["gelu"]
    V = np.zeros((9, 12))
    V[:5, :3], V[5:, 3:8] = weights[0], weights[1]
    D = np.concatenate([np.zeros((9, 3)), np.eye(9)], axis=1)
    sector = (D - alpha * V).T @ np.diag(L) @ (D - beta * V)
    M = sector + sector.T
    M[:3, :3] += 2.5**2 * np.eye(3)
    M[8:, 8:] -= weights[-1].T @ weights[-1]
    mid, radius = _inequality(weights, "gelu", 2.5, L)
    np.testing.assert_allclose(mid, M, atol=1e-13)
    assert (np.abs(mid - M) <= radius).all()
    assert radius.max() < 1e-11


def test_every_change_is_refused_and_json_is_exact() -> None:
    weights = draw(5, [3, 8, 6, 2])
    system = {"weights": [w.tolist() for w in weights], "activation": "tanh"}
    found = lipschitz_bound(weights)
    data = json.loads(json.dumps(found.to_dict()))
    assert check(data, system)
    again = LipschitzBound.from_dict(data)
    assert again.to_dict() == found.to_dict()
    lower = 0.99 * found.floor
    assert "not proved" in prove(replace(found, bound=lower, claim=statement(lower, 3, 2)), system).reason
    assert "sentence" in prove(replace(found, bound=lower), system).reason
    assert "multipliers" in prove(replace(found, multipliers=-found.multipliers), system).reason
    assert "slope range" in prove(replace(found, slope_range=(0.0, 0.5)), system).reason
    changed = [w.copy() for w in weights]
    changed[1][0, 0] = np.nextafter(changed[1][0, 0], 1.0)
    assert "digest" in prove(found, {"weights": changed, "activation": "tanh"}).reason
    assert not check(found, {"weights": weights[:-1], "activation": "tanh"})
    assert not check(found, {"weights": [], "activation": "tanh"})


def test_bad_weights_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="takes 4 inputs"):
        lipschitz_bound([np.ones((3, 2)), np.ones((2, 4))])
    with pytest.raises(ValueError, match="finite matrix"):
        lipschitz_bound([np.full((3, 2), np.nan)])
    with pytest.raises(ValueError, match="activation"):
        lipschitz_bound([np.ones((3, 2))], "step")
    with pytest.raises(ValueError, match="at least one"):
        lipschitz_bound([])
