"""Lipschitz bounds: the known answer for weights of one sign, the conic solver, sampled Jacobians, and the checker."""

import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stability import Box, Ellipsoid, LipschitzBound, Lure, certify_step, check, lipschitz_bound
from stability.lure import SLOPES
from stability.proof.checker import prove
from stability.proof.lipschitz import digest, holds, inequality, statement
from stability.proof.loop_shift import centre_and_radius, multipliers_of, shifted_inequality
from stability.search.lipschitz_bounds.climbed import least
from stability.search.lipschitz_bounds.closed_form import closed_form, layer_by_layer
from stability.search.states.activation import slope, value


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
    mid, radius = inequality(weights, "gelu", 2.5, L)
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
    with pytest.raises(ValueError, match=r'weights is a mapping of A, weights; .*lipschitz_bound\(system\["weights"\]'):
        lipschitz_bound({"A": np.eye(2), "weights": [np.eye(2)]})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"certificate is a mapping of A; .* certify_step\(certificate, system, step\)"):
        certify_step({"A": np.eye(2)}, {"A": np.eye(2)}, 0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="takes 4 inputs"):
        lipschitz_bound([np.ones((3, 2)), np.ones((2, 4))])
    with pytest.raises(ValueError, match="finite matrix"):
        lipschitz_bound([np.full((3, 2), np.nan)])
    with pytest.raises(ValueError, match="activation"):
        lipschitz_bound([np.ones((3, 2))], "step")
    with pytest.raises(ValueError, match="at least one"):
        lipschitz_bound([])


def fast(weights: list[np.ndarray]) -> float:
    """ECLipsE-Fast (Xu & Sivaranjani, NeurIPS 2024) for slopes in [0, 1], on paper: M_k = Λ_k − ¼Λ_kW_kM_{k−1}⁻¹W_kᵀΛ_k."""
    M = np.eye(weights[0].shape[1])
    for W in weights[:-1]:
        S = W @ np.linalg.solve(M, W.T)
        largest = 2.0 / np.linalg.norm(S, 2)  # λ = 1/(2 m² σ), m = ½
        M = largest * np.eye(len(W)) - 0.25 * largest**2 * S
    return float(np.sqrt(np.linalg.norm(weights[-1] @ np.linalg.solve(M, weights[-1].T), 2)))


@pytest.mark.parametrize("sizes", [[3, 8, 2], [5, 20, 20, 20, 2], [4, 6, 9, 3, 7, 5, 2]])
def test_the_closed_form_is_the_published_one_for_slopes_up_to_one(sizes: list[int]) -> None:
    weights, half = draw(7, sizes), np.full(sum(sizes[1:-1]), 0.5)
    assert np.sqrt(layer_by_layer(weights, half, half, 0.0, None, False)[0]) == pytest.approx(fast(weights), rel=1e-9)
    assert np.sqrt(closed_form(weights, half, half)[0]) <= fast(weights) * (1 + 1e-12)


@pytest.mark.parametrize("activation", ["tanh", "silu", "gelu"])
def test_any_time_limit_gives_the_closed_form_and_never_more_than_the_product_of_norms(activation: str) -> None:
    """At a limit that ends before the climb; twenty-five layers, where multipliers by trial were twice the product."""
    rng = np.random.default_rng(3)
    for sizes in ([5, *[12] * 24, 3], [4, 30, 30, 2], [3, 5, 1]):
        weights = [rng.normal(size=(o, i)) / np.sqrt(i) for i, o in pairwise(sizes)]
        found = lipschitz_bound(weights, activation, seconds=1e-6)
        assert check(found, {"weights": weights, "activation": activation})
        product = np.prod([np.linalg.norm(w, 2) for w in weights]) * SLOPES[activation][1] ** (len(weights) - 1)
        assert found.bound <= product * (1 + 1e-5)
        if activation == "tanh":
            assert found.bound <= fast(weights) * (1 + 1e-5)
        assert found.floor <= found.bound


def test_more_time_is_never_worse() -> None:
    weights = draw(9, [4, 16, 16, 16, 3])
    reached = [lipschitz_bound(weights, seconds=seconds).bound for seconds in (1e-6, 0.02, 30.0)]
    assert reached[2] <= reached[1] * (1 + 1e-9)
    assert reached[1] <= reached[0] * (1 + 1e-9)
    assert reached[2] < 0.9 * reached[0]


def test_the_shifted_inequality_holds_where_the_first_one_does() -> None:
    """F = TᵀMT with z = T(x, q), for wide slopes, as on paper; and its radius covers what rounds."""
    weights = draw(4, [3, 5, 4, 2])
    alpha, beta = SLOPES["gelu"]
    L = np.random.default_rng(0).uniform(1, 2, 9)
    c, r = centre_and_radius(np.full(9, alpha), np.full(9, beta), beta)
    T = np.eye(12)
    T[3:8] = np.hstack([c[:5, None] * weights[0], np.diag(r[:5]), np.zeros((5, 4))])
    T[8:] = c[5:, None] * (weights[1] @ T[3:8]) + np.hstack([np.zeros((4, 8)), np.diag(r[5:])])
    M, _ = inequality(weights, "gelu", 2.5, L)
    found = shifted_inequality(weights, 2.5, L, c, r)
    assert found is not None
    np.testing.assert_allclose(found[0], T.T @ M @ T, atol=1e-12)
    assert found[1].max() < 1e-10


def test_nothing_below_the_exact_constant_is_accepted() -> None:
    """One unit a layer, on throughout the box: |S + Π w| in fractions, and bounds from a rounding to a thousandth beside it."""
    rng = np.random.default_rng(8)
    accepted = 0
    for _ in range(150):
        weights = [rng.uniform(0.1, 3.0, (1, 1)) * 10.0 ** rng.integers(-3, 4) for _ in range(int(rng.integers(1, 8)))]
        skip = rng.normal(size=(1, 1)) if rng.uniform() < 0.5 else None
        exact = Fraction(1)
        for w in weights:
            exact *= Fraction(float(w[0, 0]))
        exact = abs(exact + (0 if skip is None else Fraction(float(skip[0, 0]))))
        bound = float(exact) * (1.0 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-17, -3))
        H = len(weights) - 1
        on = np.ones(H), np.ones(H)
        c, r = centre_and_radius(*on, 1.0)
        _, mu = closed_form(weights, c, r, 0.0, skip)
        if bound > 0 and holds(weights, "relu", bound, multipliers_of(mu, r), on, skip):
            accepted += 1
            assert Fraction(bound) > exact
    assert accepted > 30


def test_slopes_with_centre_and_radius_cover_theirs() -> None:
    rng = np.random.default_rng(1)
    lower = rng.uniform(-0.2, 1.0, 500)
    upper = np.where(rng.uniform(size=500) < 0.3, lower, lower + rng.uniform(0, 1.2, 500) * 10.0 ** rng.uniform(-16, 0, 500))
    c, r = centre_and_radius(lower, upper, 1.1)
    for low, high, middle, half in zip(*(map(Fraction, a.tolist()) for a in (lower, upper, c, r)), strict=True):
        assert middle - half <= low
        assert high <= middle + half
        assert half > 0


# ---- a residual with a linear term --------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1e-6, 20.0])
def test_a_linear_term_is_part_of_the_bound(seconds: float) -> None:
    """|Sx + f(x)|: above every Jacobian, at most ‖S‖ and the product of norms, and S alone where the network is nothing."""
    weights, rng = draw(21, [3, 10, 8, 3]), np.random.default_rng(5)
    S = rng.normal(size=(3, 3)) * 3.0
    found = lipschitz_bound(weights, skip=S, seconds=seconds)
    system = {"weights": weights, "activation": "tanh", "skip": S}
    assert check(found, system)
    assert "with its linear term" in found.claim
    for _ in range(200):
        D = [rng.choice([0.0, 1.0], w.shape[0]) for w in weights[:-1]]
        J = S + weights[2] @ (D[1][:, None] * weights[1]) @ (D[0][:, None] * weights[0])
        assert np.linalg.norm(J, 2) <= found.bound
    assert found.bound <= (np.linalg.norm(S, 2) + np.prod([np.linalg.norm(w, 2) for w in weights])) * (1 + 1e-5)
    nothing = [0.0 * w for w in weights]
    assert lipschitz_bound(nothing, skip=S, seconds=seconds).bound == pytest.approx(np.linalg.norm(S, 2), rel=1e-5)
    with pytest.raises(ValueError, match="skip"):
        lipschitz_bound(weights, skip=np.ones((2, 3)))


def test_a_bound_without_the_linear_term_is_refused_for_a_residual_with_one() -> None:
    weights = draw(22, [2, 6, 2])
    without, S = lipschitz_bound(weights), 100.0 * np.eye(2)
    residual = Lure(A=-np.eye(2), weights=weights, biases=[np.zeros(6), np.zeros(2)], skip=S)
    assert "linear term" in prove(without, residual).reason
    whole = lipschitz_bound(weights, skip=S)
    assert check(whole, residual)
    assert whole.bound > 99.0
    assert not check(whole, {"weights": weights, "activation": "tanh"})
    assert not check(whole, {"weights": weights, "activation": "tanh", "skip": 2.0 * S})
    assert not check(whole, {"weights": weights, "activation": "tanh", "skip": [[np.nan, 0.0], [0.0, 1.0]]})
    low = replace(whole, bound=0.98 * whole.floor, claim=statement(0.98 * whole.floor, 2, 2, skip=True))
    assert "not proved" in prove(low, residual).reason
    # A linear term that cancels the network's: no triangle inequality finds that.
    W = [np.eye(3), np.eye(3)]
    on = lipschitz_bound(W, "relu", Box([1.0] * 3, [2.0] * 3), biases=[np.zeros(3)] * 2, skip=-np.eye(3))
    assert on.bound < 1e-4
    assert check(on, {"weights": W, "activation": "relu", "biases": [np.zeros(3)] * 2, "skip": -np.eye(3)})


# ---- in a box --------------------------------------------------------------------------------------------------------


def jacobian_norms(weights: list[np.ndarray], biases: list[np.ndarray], activation: str, points: np.ndarray) -> np.ndarray:
    """|∂f/∂x|₂ (S,) at points (S, n), by the chain rule."""
    z, J = points, np.broadcast_to(np.eye(points.shape[1]), (len(points), *np.eye(points.shape[1]).shape))
    for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
        v, J = z @ w.T + b, w @ J
        if k < len(weights) - 1:
            z, J = value(activation, v), slope(activation, v)[:, :, None] * J
    return np.linalg.norm(J, 2, axis=(1, 2))


@settings(max_examples=12, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 6), min_size=3, max_size=4),
    activation=st.sampled_from(sorted(SLOPES)),
    half=st.floats(0.01, 2.0),
)
def test_in_a_box_never_below_a_gradient_there_nor_above_the_global_bound(
    seed: int, sizes: list[int], activation: str, half: float
) -> None:
    weights, rng = draw(seed, sizes), np.random.default_rng(seed)
    biases, centre = [rng.normal(size=w.shape[0]) for w in weights], rng.normal(size=sizes[0])
    box = Box(centre - half, centre + half)
    found = lipschitz_bound(weights, activation, box, biases=biases)
    system = {"weights": weights, "activation": activation, "biases": biases}
    assert check(found, system)
    points = rng.uniform(box.lower, box.upper, (2000, sizes[0]))
    points[:200] = np.where(points[:200] > centre, box.upper, box.lower)
    assert jacobian_norms(weights, biases, activation, points).max() <= found.bound
    assert found.bound <= lipschitz_bound(weights, activation).bound * (1 + 2e-3)


def test_a_small_box_has_about_the_norm_at_its_middle() -> None:
    weights, rng = draw(11, [3, 12, 10, 2]), np.random.default_rng(2)
    biases, centre = [rng.normal(size=w.shape[0]) for w in weights], np.array([0.5, -1.0, 0.25])
    here = jacobian_norms(weights, biases, "tanh", centre[None])[0]
    bounds = [lipschitz_bound(weights, "tanh", Box(centre - r, centre + r), biases=biases).bound for r in (1e-4, 0.1, 1.0)]
    everywhere = lipschitz_bound(weights, "tanh").bound
    assert here <= bounds[0] <= here * 1.005
    assert bounds == sorted(bounds)
    assert bounds[1] < 0.7 * everywhere
    assert bounds[2] < everywhere


def random_net(sizes: list[int], activation: str, half: float, seed: int) -> tuple[float, float, LipschitzBound]:
    """A plain random net with inputs near 0: the norm of the Jacobian there, the largest of a sample, and the bound."""
    weights, rng = draw(seed, sizes), np.random.default_rng(seed)
    biases = [rng.normal(size=o) for o in sizes[1:]]
    points = rng.uniform(-half, half, (500, sizes[0]))
    points[0] = 0.0
    norms = jacobian_norms(weights, biases, activation, points)
    box = Box([-half] * sizes[0], [half] * sizes[0])
    found = lipschitz_bound(weights, activation, box, biases=biases, seconds=20.0)
    assert check(found, {"weights": weights, "activation": activation, "biases": biases})
    return float(norms[0]), float(norms.max()), found


@pytest.mark.parametrize("activation", ["tanh", "relu", "softplus", "gelu"])
@pytest.mark.parametrize("layers", [2, 4, 6, 9, 14])
def test_in_a_tiny_box_every_unit_is_linear_and_the_bound_is_the_jacobian(layers: int, activation: str) -> None:
    """Where α = β the best multipliers are infinite; without them the slopes are a centre, and nothing is lost at any depth."""
    here, largest, found = random_net([5, *[20] * (layers - 1), 2], activation, 1e-7, layers)
    assert largest <= found.bound <= here * (1 + 1e-3)
    assert found.floor <= found.bound


@pytest.mark.parametrize("layers", [2, 4, 6, 9])
def test_relu_nets_in_a_small_box_at_any_depth(layers: int) -> None:
    """Units that are on, off, and a few that change within the box: near the largest Jacobian there."""
    _, largest, found = random_net([2, *[12] * (layers - 1), 2], "relu", 0.05, layers)
    assert largest <= found.bound <= 1.3 * largest


def test_where_no_relu_changes_its_slope_the_network_is_linear() -> None:
    """Units that are on everywhere in the box and units that are off: ‖W_2 diag(s) W_1‖."""
    W1, W2 = draw(3, [2, 6, 3])
    on = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    biases = [np.where(on > 0, 9.0, -9.0), np.zeros(3)]
    box = Box([-1.0, -1.0], [1.0, 1.0])
    found = lipschitz_bound([W1, W2], "relu", box, biases=biases)
    exact = float(np.linalg.norm(W2 @ (on[:, None] * W1), 2))
    assert exact <= found.bound <= exact * (1 + 3e-3)
    off = lipschitz_bound([W1, W2], "relu", box, biases=[np.full(6, -9.0), np.zeros(3)])  # the network is constant
    assert 0 < off.bound < 1e-4


def test_a_regional_bound_that_was_tampered_with_is_refused() -> None:
    weights, rng = draw(12, [2, 8, 6, 2]), np.random.default_rng(4)
    biases = [rng.normal(size=w.shape[0]) for w in weights]
    system = {"weights": weights, "activation": "tanh", "biases": biases}
    box = Box([0.5, 0.5], [0.7, 0.7])
    found = lipschitz_bound(weights, "tanh", box, biases=biases)
    data = json.loads(json.dumps(found.to_dict()))
    assert check(data, {k: [a.tolist() for a in v] if k != "activation" else v for k, v in system.items()})
    assert LipschitzBound.from_dict(data).to_dict() == found.to_dict()
    assert "the box [0.5, 0.5] <= x <= [0.7, 0.7]" in found.claim

    def said(region: dict[str, object] | None, **fields: object) -> str:
        words = statement(found.bound, 2, 2, region)
        return prove({**data, "region": region, "claim": words, **fields}, system).reason

    larger = {"kind": "box", "lower": [-3.0, -3.0], "upper": [3.0, 3.0]}
    assert "sentence" in prove({**data, "region": larger}, system).reason
    assert "not proved" in said(larger)
    assert "digest" in said(None)
    assert "not proved" in said(None, digest=digest(weights, "tanh"))  # passed off as global
    assert "not a box" in said({**larger, "kind": "ellipsoid"})
    assert "empty" in said({**larger, "lower": [4.0, -3.0]})
    assert "empty" in said({**larger, "lower": [-3.0], "upper": [3.0]})
    assert "large" in said({**larger, "upper": [1e60, 3.0]})
    assert not check({**data, "region": {"kind": "box"}}, system)
    assert not check({**data, "region": "box"}, system)
    moved = [biases[0] + 0.1, *biases[1:]]
    assert "digest" in prove(found, {**system, "biases": moved}).reason
    # Biases with which every unit is steepest in the box: the bound is false, and the digest forged.
    other = [-weights[0] @ np.array([0.6, 0.6]), 0.0 * biases[1], biases[2]]
    assert jacobian_norms(weights, other, "tanh", np.full((1, 2), 0.6))[0] > found.bound
    assert "not proved" in prove({**data, "digest": digest(weights, "tanh", other)}, {**system, "biases": other}).reason
    assert "missing" in prove(found, {"weights": weights, "activation": "tanh"}).reason
    # Ranges of slopes that a claim brings along are not read.
    assert "not proved" in said(larger, slopes=[[0.0] * 14, [0.0] * 14])


def test_a_region_that_does_not_fit_says_what_is_wrong() -> None:
    weights, biases = [np.ones((3, 2)), np.ones((1, 3))], [np.zeros(3), np.zeros(1)]
    box = Box([0.0, 0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="biases="):
        lipschitz_bound(weights, "tanh", box)
    with pytest.raises(ValueError, match="shapes"):
        lipschitz_bound(weights, "tanh", box, biases=biases[:1])
    with pytest.raises(ValueError, match="3 axes"):
        lipschitz_bound(weights, "tanh", Box([0.0] * 3, [1.0] * 3), biases=biases)
    with pytest.raises(ValueError, match="Ellipsoid"):
        lipschitz_bound(weights, "tanh", Ellipsoid([0.0, 0.0], 1.0), biases=biases)  # type: ignore[arg-type]
