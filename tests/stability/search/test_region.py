"""Enclosures against dense points, regional certificates against samples, mutations and integrated trajectories."""

import json
import math
from dataclasses import replace
from functools import cache
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from stability import Box, Certificate, Ellipsoid, Inputs, Lure, Refusal, certify, check, decay_in_words
from stability.lure import sides
from stability.proof.activation import EXTREMES, FUNCTIONS, slope_range, supremum, value_range
from stability.proof.checker import prove
from stability.proof.contraction import inequality
from stability.proof.region.cells import Frame, cover
from stability.proof.region.claim import regional_statement
from stability.proof.region.enclosure import Layers, argument_ranges, combine, expand, pairs, triples
from stability.proof.region.field import Field, fields_of
from stability.proof.region.invariance import field_bounds
from stability.proof.region.jacobian import jacobians_over
from stability.proof.region.slopes import slopes_in
from stability.proof.system import read_system
from stability.search.states.jacobians import jacobians_at, log_norm

Array = NDArray[np.float64]
ACTIVATIONS = sorted(FUNCTIONS)


def jacobians(system: Lure, points: Array) -> Array:  # (V, S, n, n) at points (S, n + m)
    flat = system.flatten()
    return jacobians_at(flat, np.broadcast_to(points, (flat.A.shape[0], *points.shape)))[1]


def draw(box: Box, count: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    unit = rng.uniform(0, 1, (count, len(box.lower)))
    unit[: count // 3] = np.round(unit[: count // 3])
    return box.lower + unit * (box.upper - box.lower)


# ---- scalar functions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_derivative_is_that_of_the_one_before(name: str) -> None:
    v, h = np.linspace(-6.03, 6.02, 500), 1e-5
    for k in range(4 if name != "relu" else 1):
        f, g = FUNCTIONS[name][k : k + 2]
        assert np.abs((f(v + h) - f(v - h)) / (2 * h) - g(v)).max() < 2e-9


@pytest.mark.parametrize("name", [a for a in ACTIVATIONS if a != "relu"])
def test_the_extremes_are_all_there(name: str) -> None:
    grid = np.linspace(-12, 12, 120_001)
    for k in range(5):
        values = FUNCTIONS[name][k](grid)
        real = np.abs(np.diff(values)) > 1e-12
        rising = np.sign(np.diff(values)) * real
        turns = [grid[i + 1] for i in range(len(rising) - 1) if rising[i] * rising[i + 1] < 0]
        assert all(min(abs(p - t) for p in EXTREMES[name][k]) < 1e-3 for t in turns), (k, turns)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(name=st.sampled_from(ACTIVATIONS), a=st.floats(-20, 20), width=st.floats(0, 15))
def test_ranges_of_functions_hold_between_the_ends(name: str, a: float, width: float) -> None:
    v = np.linspace(a, a + width, 301)
    low, high = value_range(name, np.array(a), np.array(a + width))
    assert (low <= FUNCTIONS[name][0](v)).all()
    assert (FUNCTIONS[name][0](v) <= high).all()
    low, high = slope_range(name, np.array(a), np.array(a + width))
    assert (low <= FUNCTIONS[name][1](v)).all()
    assert (FUNCTIONS[name][1](v) <= high).all()
    for order in (2, 3, 4):
        assert (np.abs(FUNCTIONS[name][order](v)) <= supremum(name, order, np.array(a), np.array(a + width))).all()


# ---- expansions ------------------------------------------------------------------------------------------------------


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    name=st.sampled_from(ACTIVATIONS), depth=st.integers(1, 6), size=st.floats(-6, 0), seed=st.integers(0, 10_000)
)
def test_no_point_of_a_cell_leaves_the_enclosures(name: str, depth: int, size: float, seed: int) -> None:
    rng, d, h, K = np.random.default_rng(seed), 3, 5, 4
    widths = [d, *[h] * depth]
    weights = tuple(rng.normal(size=(b, a)) * 1.5 / np.sqrt(a) for a, b in pairwise(widths))
    layers = Layers(weights, tuple(rng.normal(size=h) * 0.5 for _ in range(depth)), name)
    out = rng.normal(size=(2, h))
    c, r = rng.uniform(-1, 1, (d, K)), rng.uniform(0, 1, (d, K)) * 10.0**size
    z, ranges = expand(layers, c, r), argument_ranges(layers, c, r)
    f = combine(z, out, np.zeros_like(out), r)
    low, high = f.ranges(r)
    for sample in range(40):
        delta = rng.uniform(-1, 1, (d, K)) * r
        delta = np.sign(delta) * r if sample % 2 else delta
        value, G = c + delta, np.broadcast_to(np.eye(d)[:, :, None], (d, d, K))
        for W, b, (a, e) in zip(layers.weights, layers.biases, ranges, strict=True):
            v = W @ value + b[:, None]
            assert ((a <= v) & (v <= e)).all()
            value, G = FUNCTIONS[name][0](v), FUNCTIONS[name][1](v)[:, None] * np.einsum("ij,jdk->idk", W, G)
        value, G = out @ value, np.einsum("ij,jdk->idk", out, G)
        assert ((low <= value) & (value <= high)).all()
        model = f.gradient.copy()
        for column, (k, j) in enumerate(pairs(d)):
            model[:, j] += delta[k] * f.hessian[:, column]
            if k != j:
                model[:, k] += delta[j] * f.hessian[:, column]
        for column, axes in enumerate(triples(d)):
            for order in set(permutations(axes)):
                model[:, order[0]] += 0.5 * delta[order[1]] * delta[order[2]] * f.third[:, column]
        bound = f.gradient_error + f.hessian_error + f.remainder / 6
        assert not (np.abs(G - model) > bound).any()  # not a number: a cell so large that nothing is claimed


def test_the_error_falls_with_the_cube_of_the_cell() -> None:
    """Measured order 3 of what is left out of the Jacobian: plain interval arithmetic has order 1."""
    rng = np.random.default_rng(3)
    layers = Layers((rng.normal(size=(8, 2)), rng.normal(size=(8, 8)) / 3), (np.ones(8) / 2, np.zeros(8)), "tanh")
    size = np.array([2e-2, 1e-2, 5e-3])
    left = expand(layers, np.full((2, 3), 0.3), np.stack([size, size])).remainder.max((0, 1))
    assert np.allclose(left[:-1] / left[1:], 8.0, rtol=0.15)


# ---- cells -----------------------------------------------------------------------------------------------------------


def gate(bias: float = 0.0, gain: float = 2.0) -> Lure:
    """ẋ = −x + gain tanh(x + bias): slope gain − 1 where the argument is 0, −1 far from there."""
    return Lure(A=[[-1.0]], weights=[[[1.0]], [[gain]]], biases=[[bias], [0.0]])


def test_cells_prove_the_rate_up_to_the_known_one() -> None:
    """On x ≥ a > 0 the slope of −x + 2 tanh x is at most −1 + 2 sech²(a), there and nowhere else."""
    a = 1.2
    best = 1.0 - 2.0 / math.cosh(a) ** 2
    none, frame = np.zeros(0), Frame.of(np.eye(1))
    jacobian = next(jacobians_over(read_system(gate()), np.array([a]), np.array([2.5]), (none, none)))
    assert cover(jacobian, frame, best - 1e-6, most=10_000).proved
    beyond = cover(jacobian, frame, best + 1e-3, most=10_000)
    assert not beyond.proved
    assert beyond.counterexample is not None
    assert 1.0 - 2.0 / math.cosh(float(beyond.counterexample[0])) ** 2 < best + 1e-3
    assert not cover(jacobian, frame, best, most=20).proved  # out of cells is a refusal, never a yes


@cache
def local(activation: str = "tanh", count: int = 1) -> tuple[Lure, Box, Certificate]:
    """Contracting in the box, with an unstable state outside it; two members where asked."""
    rng = np.random.default_rng(5)
    W1, W2, W3 = rng.normal(size=(count, 6, 2)) * 0.5, rng.normal(size=(count, 6, 6)) / 3, rng.normal(size=(count, 2, 6))
    W3 *= 0.35
    biases = [rng.normal(size=(count, 6)) * 0.2, np.zeros((count, 6)), np.zeros((count, 2))]
    # One more unit, steep at x_0 = 4, out of the box.
    W1 = np.concatenate([W1, np.broadcast_to([[3.0, 0.0]], (count, 1, 2))], 1)
    biases[0] = np.concatenate([biases[0], np.full((count, 1), -12.0)], 1)
    W2 = np.concatenate([np.concatenate([W2, np.zeros((count, 6, 1))], 2), np.zeros((count, 1, 7))], 1)
    W2[:, 6, 6] = 3.0
    biases[1] = np.concatenate([biases[1], np.full((count, 1), 3.0)], 1)
    W3 = np.concatenate([W3, np.broadcast_to([[1.0], [0.0]], (count, 2, 1))], 2)
    biases[2][:, 0] = 0.0
    offset = np.zeros((count, 2))
    system = Lure(A=[[-1.0, 0.3], [-0.3, -1.2]], weights=[W1, W2, W3], biases=biases, activation=activation)
    for v, field in enumerate(fields_of(read_system(system), True)):
        z = expand(field.layers, np.zeros((2, 1)), np.zeros((2, 1)))
        offset[v] = -field.last @ z.value[:, 0]
    system = replace(system, biases=(biases[0], biases[1], offset))
    box = Box([-1.0, -1.0], [1.0, 1.0])
    found = certify(system, region=box, seconds=6.0)
    assert isinstance(found, Certificate), found.to_dict()
    return system, box, found


@pytest.mark.parametrize(("activation", "count"), [("tanh", 1), ("tanh", 2), ("sigmoid", 1), ("relu", 1), ("silu", 1)])
def test_a_regional_certificate_is_true_on_dense_samples(activation: str, count: int) -> None:
    system, box, found = local(activation, count)
    assert check(found, system)
    J = jacobians(system, draw(box, 4000))
    assert log_norm(J, found.metric).max() <= -found.rate
    assert found.rate <= (found.metric_cap or np.inf) * (1 + 1e-6) <= found.spectral_cap * (1 + 1e-5)
    if activation == "tanh":
        assert isinstance(certify(system, seconds=4.0), Refusal)  # not anywhere
        assert found.rate >= 0.9 * (found.metric_cap or np.inf)


def test_it_travels_as_json() -> None:
    system, _, found = local()
    again = Certificate.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert check(again, system)
    assert check(json.loads(json.dumps(found.to_dict())), system.to_dict())


def test_mutations_that_a_sampled_jacobian_contradicts_are_refused() -> None:
    system, _, found = local()
    rng = np.random.default_rng(1)
    assert isinstance(found.region, dict)
    refused = 0
    for trial in range(30):
        data = json.loads(json.dumps(found.to_dict()))
        if trial % 3 == 0:
            data["rate"] = found.rate * (1.02 + rng.uniform(0, 2))
        elif trial % 3 == 1:
            grow = 1.0 + rng.uniform(0.5, 6)
            data["region"]["lower"], data["region"]["upper"] = [-grow, -grow], [grow, grow]
        else:
            tilt = np.diag([1.0, 10 ** rng.uniform(-2, 2)])
            P = tilt @ found.metric @ tilt
            data["metric"], data["condition"] = P.tolist(), float(np.linalg.cond(P))
        del data["claim"]
        mutated = Certificate.from_dict({**data, "claim": ""})
        region = mutated.region
        assert isinstance(region, dict)
        J = jacobians(system, draw(Box(region["lower"], region["upper"]), 6000, seed=trial))
        if log_norm(J, mutated.metric).max() > -mutated.rate:
            refused += 1
            assert not check(replace(mutated, metric_cap=None, inequality_cap=None, spectral_cap=99.0), system)
    assert refused >= 20


@pytest.mark.parametrize(
    "change",
    [
        {"stays": {"set": "box", "doses": True}},
        {"stays": {"set": "ball", "centre": [0.0, 0.0], "radius": 5.0, "start": 4.9, "doses": False}},
        {"stays": {"set": "ball", "centre": [0.0, 0.0], "radius": 0.5, "start": 0.6, "doses": False}},
        {"stays": {"set": "all", "doses": False}},
        {"proof": "trust"},
        {"kind": "half space"},
        {"lower": [1.0, 1.0]},
        {"lower": [float("nan"), -1.0]},
        {"lower": [-1.0]},
        {"inputs": {"lower": [0.0], "upper": [1.0], "doses": None, "gap": None}},
    ],
)
def test_a_region_that_does_not_say_so_is_refused(change: dict[str, object]) -> None:
    system, _, found = local()
    assert isinstance(found.region, dict)
    try:
        mutated = replace(found, region={**found.region, **change}, claim="")
    except ValueError:  # no sentence can be made of it
        mutated = replace(found, region={**found.region, **change})
    assert not prove(mutated, system)


# ---- slopes ----------------------------------------------------------------------------------------------------------


def test_local_slopes_enter_the_inequality_unit_by_unit() -> None:
    rng = np.random.default_rng(2)
    system = Lure(
        A=[[-1.0, 0.2], [0.1, -2.0]],
        weights=[rng.normal(size=(2, 4, 2)), rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 2, 3))],
        biases=[np.zeros(4), np.zeros(3), np.zeros(2)],
        activation="silu",
    )
    stack, loop = read_system(system), system.loop()
    alpha, beta = rng.uniform(-0.1, 0.3, (2, 7)), rng.uniform(0.4, 1.0, (2, 7))
    P, L = np.array([[2.0, 0.3], [0.3, 1.0]]), rng.uniform(0.5, 2, (2, 7))
    M, radius = inequality(stack, slice(0, 2), 0.1, P, L, (alpha, beta))
    J, R = sides(replace(loop, lower=alpha, upper=beta))
    half = J @ (L[:, :, None] * R.swapaxes(1, 2))
    expected = half + half.swapaxes(1, 2)
    expected[:, :2, :2] -= loop.A.swapaxes(1, 2) @ P + P @ loop.A + 0.2 * P
    expected[:, :2, 2:] -= P @ loop.E
    expected[:, 2:, :2] -= (P @ loop.E).swapaxes(1, 2)
    assert np.abs(M - expected).max() < 1e-13
    assert radius.max() < 1e-11


def test_slopes_over_a_box_contain_those_of_its_points() -> None:
    system, box, _ = local("tanh", 2)
    lower, upper = slopes_in(read_system(system), box.lower, box.upper, (np.zeros(0), np.zeros(0)))
    flat = system.flatten()
    points = draw(box, 2000)
    slopes = np.concatenate(jacobians_at(flat, np.broadcast_to(points, (2, *points.shape)))[0], axis=2)
    assert (lower[:, None] <= slopes).all()
    assert (slopes <= upper[:, None]).all()
    assert np.allclose(upper, slopes.max(1), atol=0.05)  # and are not much wider


def test_twelve_states_by_slopes() -> None:
    """Too many axes for cells at this rate: a chain of compartments with a residual that is steep outside the box only."""
    n = 12
    A = -np.eye(n) * 1.5 + np.diag(np.ones(n - 1), -1)
    W1 = np.vstack([np.eye(n), np.eye(1, n) * 2])
    b1 = np.append(np.zeros(n), -10.0)
    W2 = np.hstack([0.1 * np.eye(n), 3.0 * np.eye(n, 1)])
    b2 = -W2 @ np.tanh(b1)
    system = Lure(A=A, weights=[W1, W2], biases=[b1, b2])
    found = certify(system, region=Box(-np.ones(n), np.ones(n)), seconds=10.0)
    assert isinstance(found, Certificate)
    assert isinstance(found.region, dict)
    assert found.region["proof"] == "slopes"
    assert check(found, system)
    mutated = replace(found, region={**found.region, "lower": [-6.0] * n, "upper": [6.0] * n}, claim="")
    assert not check(mutated, system)


# ---- staying ---------------------------------------------------------------------------------------------------------


def test_two_attractors_are_refused() -> None:
    """ẋ = −x + 2 tanh x contracts near each of its two attractors; a convex set that holds both holds the repeller too."""
    found = certify(gate(), region=Box([-2.5], [2.5]), seconds=5.0)
    assert isinstance(found, Refusal)
    assert found.reason == "disproved"
    one = certify(gate(), region=Box([1.2], [2.5]), seconds=5.0)
    assert isinstance(one, Certificate)
    assert check(one, gate())
    assert not check(replace(one, region={**dict(one.region), "lower": [-2.5]}, claim=""), gate())  # type: ignore[arg-type]


def test_a_state_outside_an_ellipsoid_disproves_nothing_of_it() -> None:
    """Unstable for x_0 + x_1 > 2.6: beyond |x| ≤ 1.5, but in the box around that ball."""
    weights = [[[1.0, 1.0]], [[1.0], [1.0]]]
    system = Lure(A=-np.eye(2), weights=weights, biases=[[-2.6], [0.0, 0.0]], activation="relu")
    far = certify(system, region=Ellipsoid([0.0, 0.0], 1.5), seconds=3.0)
    assert isinstance(far, Refusal)
    assert far.reason == "not proved"
    given = certify(system, region=Ellipsoid([0.0, 0.0], 1.5), metric=np.eye(2), seconds=3.0)
    assert isinstance(given, Refusal)
    assert given.reason == "not proved"
    near = certify(system, region=Ellipsoid([0.0, 0.0], 1.2), metric=np.eye(2), seconds=3.0)
    assert isinstance(near, Certificate)
    inside = certify(system, region=Ellipsoid([1.5, 1.5], 1.5), seconds=3.0)
    assert isinstance(inside, Refusal)
    assert inside.reason == "disproved"
    assert np.linalg.norm(np.array(inside.counterexample["state"]) - 1.5) <= 1.5 / 100  # type: ignore[index]


def test_a_box_that_trajectories_leave_is_refused_with_numbers() -> None:
    box = Box([2.2], [4.0])  # contracting, but the attractor at 1.915 lies outside
    found = certify(gate(), region=box, seconds=5.0)
    assert isinstance(found, Refusal)
    assert found.reason == "not proved"
    assert "stay" in found.message
    assert "drift" in found.message


def test_compartments_keep_the_orthant_exactly() -> None:
    """On x_0 = 0 without input nothing flows: the enclosure is exactly 0 there, and that is accepted."""
    system = Lure(
        A=[[-1.0, 0.0], [1.0, -0.5]],
        weights=[[[1.0, 0.0]], [[0.0], [0.2]]],
        biases=[[1.0], [0.0, 0.0]],
        B=[[1.0], [0.0]],
    )
    box, inputs = Box([0.0, 0.0], [2.0, 5.0]), Inputs([0.0], [1.9])
    found = certify(system, region=box, inputs=inputs, seconds=5.0)
    assert isinstance(found, Certificate)
    assert isinstance(found.region, dict)
    assert found.region["stays"]["set"] == "box"
    more = {**found.region, "inputs": Inputs([0.0], [2.1]).to_dict()}
    assert not check(replace(found, region=more, claim=""), system)  # then x_0 leaves at 2
    less = {**found.region, "inputs": Inputs([-1e-9], [1.9]).to_dict()}
    assert not check(replace(found, region=less, claim=""), system)


@pytest.mark.parametrize("doses", [None, [[0.3, 0.0], [0.0, 0.2]]])
def test_trajectories_stay_and_contract_at_the_rate(doses: list[list[float]] | None) -> None:
    """Integrated with changing inputs and boluses as often as allowed: never outside the set, never slower than claimed."""
    rng = np.random.default_rng(11)
    W1, W2 = rng.normal(size=(8, 2)) * 0.8, rng.normal(size=(2, 8)) * 0.25
    b1 = rng.normal(size=8) * 0.3
    A, B, Wu = np.array([[-1.0, 0.2], [0.1, -1.3]]), np.array([[0.2], [0.1]]), rng.normal(size=(8, 1)) * 0.2
    system = Lure(A=A, weights=[W1, W2], biases=[b1, -W2 @ np.tanh(b1)], B=B, input_weights=Wu)
    inputs = Inputs([-0.5], [0.5], doses, None if doses is None else 2.0)
    region = Ellipsoid([0.0, 0.0], 1.5)
    found = certify(system, region=region, inputs=inputs, seconds=10.0)
    assert isinstance(found, Certificate), found.to_dict()
    assert isinstance(found.region, dict)
    stays, P = found.region["stays"], found.metric
    assert stays["doses"] is (doses is not None)
    centre = np.array(stays["centre"])

    def length(x: Array) -> Array:
        return np.sqrt(np.einsum("...i,ij,...j->...", x, P, x))

    directions = rng.normal(size=(2, 2))
    x = centre + directions * (stays["start"] / length(directions))[:, None]
    gap0 = float(length(x[0] - x[1]))
    t = 0.0
    for step in range(8):
        u = inputs.lower if step % 2 else inputs.upper
        if doses is not None:
            x = x + np.array(doses[step % 2])
            assert (length(x - centre) <= stays["radius"]).all()

        def rhs(_: float, y: Array, u: Array = u) -> Array:
            y = y.reshape(2, 2)
            return (y @ A.T + u @ B.T + np.tanh(y @ W1.T + u @ Wu.T + b1) @ W2.T + system.biases[1]).ravel()

        solution = solve_ivp(rhs, (0.0, 2.0), x.ravel(), rtol=1e-10, atol=1e-12, t_eval=np.linspace(0, 2, 20))
        paths = solution.y.T.reshape(-1, 2, 2)
        assert (length(paths - centre) <= stays["radius"] * (1 + 1e-9)).all()
        assert (length(paths[:, 0] - paths[:, 1]) <= gap0 * np.exp(-found.rate * (t + solution.t)) * (1 + 1e-7)).all()
        x, t = paths[-1], t + 2.0


def test_doses_that_are_not_covered_are_refused_and_what_holds_without_them_is_said() -> None:
    """A certificate without the doses that were asked for used to come back, and was taken for one with them."""
    system, box, _ = local()
    plain = certify(system, region=box)
    assert isinstance(plain, Certificate)
    for rate in (None, plain.rate / 2):
        found = certify(system, rate, box, Inputs([], [], [[5.0, 0.0]], 1.0), seconds=6.0)
        assert isinstance(found, Refusal)
        assert found.reason == "not proved"
        assert found.message.startswith("The doses that were asked for are not covered. ")
        assert f"that the distance in P {decay_in_words(rate or plain.rate, '')}: leave them out" in found.message
    # where nothing holds without them either, the doses are not what is wrong
    neither = certify(system, 2.0 * plain.spectral_cap, box, Inputs([], [], [[5.0, 0.0]], 1.0), seconds=6.0)
    assert isinstance(neither, Refusal)
    assert "Without doses" not in neither.message
    small = certify(system, region=box, inputs=Inputs([], [], [[0.1, 0.0]], 1.0), seconds=6.0)
    assert isinstance(small, Certificate)
    assert isinstance(small.region, dict)
    assert small.region["stays"]["doses"] is True
    often = {**small.region, "inputs": {**small.region["inputs"], "gap": 0.01}}
    assert not check(replace(small, region=often, claim=""), system)
    large = {**small.region, "inputs": {**small.region["inputs"], "doses": [[0.9, 0.0]]}}
    assert not check(replace(small, region=large, claim=""), system)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.floats(-4, 0.3))
def test_bounds_of_the_field_hold_at_its_points(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    layers = Layers((rng.normal(size=(5, 3)), rng.normal(size=(4, 5))), (rng.normal(size=5), rng.normal(size=4)), "silu")
    A, S, B = rng.normal(size=(2, 2)), rng.normal(size=(2, 2)), rng.normal(size=(2, 1))
    field = Field((A, S), (B,), layers, rng.normal(size=(2, 4)), rng.normal(size=2))
    rows = rng.normal(size=(2, 2))
    c, r = rng.normal(size=(3, 5)), rng.uniform(0, 1, (3, 5)) * 10.0**size
    low, high = field_bounds(field, rows, np.zeros((2, 2)), c, r, lower=np.full(3, -np.inf), upper=np.full(3, np.inf))
    for _ in range(50):
        y = c + rng.uniform(-1, 1, c.shape) * r
        v = layers.weights[0] @ y + layers.biases[0][:, None]
        v = layers.weights[1] @ FUNCTIONS["silu"][0](v) + layers.biases[1][:, None]
        f = (A + S) @ y[:2] + B @ y[2:] + field.last @ FUNCTIONS["silu"][0](v) + field.bias[:, None]
        assert ((low <= rows @ f) & (rows @ f <= high)).all()


# ---- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Box([0.0, 1.0], [1.0, 1.0]), r"lower\[1\] = 1 is not below"),
        (lambda: Box([0.0], [1.0, 2.0]), "lower has 1 entries and upper 2"),
        (lambda: Box([0.0], [np.nan]), "finite"),
        (lambda: certify(gate(), region=Box([0.0], [np.inf])), "no end on some side"),
        (lambda: Ellipsoid([0.0], -1.0), "radius"),
        (lambda: Inputs([1.0], [0.0]), "empty"),
        (lambda: Inputs([0.0], [1.0], [[1.0]]), "gap"),
        (lambda: Inputs([0.0], [1.0], None, 3.0), "gap"),
        (lambda: certify(gate(), region=Box([0.0, 0.0], [1.0, 1.0])), "2 states"),
        (lambda: certify(gate(), region=Box([0.0], [1.0]), inputs=Inputs([0.0], [1.0])), "inputs"),
        (lambda: certify(gate(), inputs=Inputs([0.0], [1.0])), "region"),
    ],
)
def test_arguments_that_cannot_be_used(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()


# ---- what a forger would try


def forged(system: Lure, region: dict[str, Any], rate: float = 0.9) -> dict[str, Any]:
    """A certificate for x' = −x + …, written by hand."""
    honest = certify(Lure(A=system.A, weights=[], biases=[]), region=Box([-1.0], [1.0]))
    data = honest.to_dict() | {"rate": rate, "digest": system.digest(), "region": region, "metric": [[1.0]]}
    data |= {"multipliers": [[]], "spectral_cap": 1.0, "metric_cap": None, "slope_range": [0.0, 1.0], "condition": 1.0}
    return data | {"claim": regional_statement(rate, 1, 1, region)}


@pytest.mark.parametrize("kept", ["ball", "box"])
def test_input_weights_of_a_residual_without_hidden_units_drive_the_state(kept: str) -> None:
    """x' = −x + 100 u, u in ±1, leaves every small set: the inputs act through the single weight's input weights."""
    stays = {"set": "box", "doses": False}
    if kept == "ball":
        stays = {"set": "ball", "centre": [0.0], "radius": 0.5, "start": 0.499, "doses": False}
    inputs = {"lower": [-1.0], "upper": [1.0], "doses": None, "gap": None}
    region = {"kind": "box", "lower": [-1.0], "upper": [1.0], "inputs": inputs, "proof": "cells", "stays": stays}
    for strength, said in ((100.0, False), (0.4, True)):
        system = Lure(A=[[-1.0]], weights=[[[0.0]]], biases=[[0.0]], input_weights=[[strength]])
        verdict = prove(forged(system, region), system)
        assert bool(verdict) is said, verdict
    strong = Lure(A=[[-1.0]], weights=[[[0.0]]], biases=[[0.0]], input_weights=[[100.0]])
    assert not certify(strong, region=Box([-1.0], [1.0]), inputs=Inputs([-1.0], [1.0]))


def test_bounds_that_overflowed_make_a_relu_uncertain_and_not_dead() -> None:
    lower, upper = slope_range("relu", np.array([np.nan, -1.0, 1.0, -1.0]), np.array([np.nan, -0.5, 2.0, 1.0]))
    np.testing.assert_array_equal(lower, [0.0, 0.0, 1.0, 0.0])
    np.testing.assert_array_equal(upper, [1.0, 0.0, 1.0, 1.0])
