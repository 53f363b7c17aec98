"""The falsifier: its gradient, what sampling misses and it finds, boxes, and that it never accuses the innocent."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stability import Certificate, Counterexample, Lure, Refusal, certify, falsify
from stability import region as regional
from stability.lure import SLOPES
from stability.search.states.activation import slope, value
from stability.search.states.attack import ascent_direction, attack, curvature
from stability.search.states.jacobians import abscissa
from stability.search.states.sampling import sample, sample_in


class Box:
    def __init__(self, lower: list[float], upper: list[float]) -> None:
        self.lower, self.upper = np.array(lower), np.array(upper)


def layered(seed: int, widths: tuple[int, ...], n: int, gain: float, activation: str = "tanh", inputs: int = 0) -> Lure:
    rng = np.random.default_rng(seed)
    sizes = [n, *widths, n]
    weights = [rng.normal(size=(o, i)) / np.sqrt(i) for i, o in pairwise(sizes)]
    weights[-1] = gain * weights[-1]
    return Lure(
        A=-np.eye(n) + 0.2 * rng.normal(size=(n, n)),
        weights=weights,
        biases=[rng.normal(size=o) for o in sizes[1:]],
        activation=activation,
        input_weights=rng.normal(size=(widths[0], inputs)) if inputs else None,
    )


def narrow(n: int, seed: int, distance: float = 60.0, units: int = 6) -> tuple[Lure, np.ndarray]:
    """Units that each act in a slab 1/200 wide, far out, in different places; in one slab J has the eigenvalue +0.5."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(units, n))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    places = rng.uniform(0.5, 2.0, units) * distance
    places[0] = distance
    last = 0.01 * rng.normal(size=(n, units))
    last[:, 0] = 1.5 * direction[0]
    return (
        Lure(A=-np.eye(n), weights=[200.0 * direction, last / 200.0], biases=[-200.0 * places, np.zeros(n)]),
        direction[0],
    )


def field(system: Lure, x: np.ndarray, u: np.ndarray | None) -> np.ndarray:
    """The vector field of one system, written out."""
    z = x
    for k, (w, b) in enumerate(zip(system.weights, system.biases, strict=True)):
        v = w @ z + b
        if k == 0 and u is not None:
            assert system.input_weights is not None
            v = v + system.input_weights @ u
        z = v if k == len(system.weights) - 1 else value(system.activation, v)
    return system.linear() @ x + z


@pytest.mark.parametrize("activation", [a for a in SLOPES if a != "relu"])
def test_curvature_is_the_derivative_of_the_slope(activation: str) -> None:
    v = np.linspace(-5, 5, 101)
    numeric = (slope(activation, v + 1e-5) - slope(activation, v - 1e-5)) / 2e-5
    np.testing.assert_allclose(curvature(activation, v), numeric, atol=1e-9)


@pytest.mark.parametrize(("widths", "inputs"), [((5,), 0), ((5, 4), 0), ((4, 5, 3), 2)])
def test_gradient_of_the_abscissa_against_differences(widths: tuple[int, ...], inputs: int) -> None:
    for activation in ("tanh", "silu", "gelu"):
        system = layered(3, widths, 3, 1.0, activation, inputs)
        flat, rng = system.flatten(), np.random.default_rng(1)
        points = rng.normal(size=(1, 6, 3 + inputs))
        there, gradient = ascent_direction(flat, points)
        for k in range(3 + inputs):
            step = np.zeros(3 + inputs)
            step[k] = 1e-6
            up, down = (ascent_direction(flat, points + s * step)[0] for s in (1, -1))
            np.testing.assert_allclose(gradient[..., k], (up - down) / 2e-6, atol=1e-6, rtol=1e-5)
        assert there.shape == (1, 6)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_narrow_unit_far_out_is_missed_by_sampling_and_found_by_the_attack(n: int) -> None:
    system, direction = narrow(n, seed=n)
    assert abscissa(sample(system).attained).max() < -0.5
    found = falsify(system, seconds=5.0)
    assert isinstance(found, Counterexample)
    assert direction @ found.state == pytest.approx(60.0, abs=0.05)
    assert 0.45 < found.eigenvalue.real < 0.6  # 0.5 but for the harmless units
    J, h = np.zeros((n, n)), 1e-6
    for k, e in enumerate(np.eye(n)):
        J[:, k] = (field(system, found.state + h * e, None) - field(system, found.state - h * e, None)) / (2 * h)
    np.testing.assert_allclose(found.jacobian, J, atol=1e-4)
    assert np.linalg.eigvals(J).real.max() > 0.3
    refusal = certify(system, seconds=5.0)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "disproved"
    assert json.loads(json.dumps(refusal.counterexample)) == refusal.counterexample


def test_the_climb_itself_matters() -> None:
    """Bumps that no unit makes alone: two units, steep side by side, add up only between their two centres."""
    w = 200.0 * np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, -0.6]])  # the last three do nothing
    bias = [-12000.7, -11999.3, 9000.0, 3000.0, 5000.0]
    last = np.array([[0.8, 0.8, 0.0, 0.0, 0.0], [0.0] * 5]) / 200.0
    system = Lure(A=-np.eye(2), weights=[w, last], biases=[bias, [0.0, 0.0]])
    v = np.linspace(58.0, 62.0, 400_001)
    best = (0.8 / np.cosh(v - 60.7) ** 2 + 0.8 / np.cosh(v - 59.3) ** 2).max() - 1.0
    start = attack(system, sample(system), steps=0)
    assert abscissa(start.attained).max() < best - 1e-4
    climbed = attack(system, sample(system), steps=40)
    assert abscissa(climbed.attained).max() == pytest.approx(best, abs=1e-9)


def test_second_layer_units_are_found() -> None:
    """A narrow unit in the second layer: its slab is curved in x."""
    rng = np.random.default_rng(5)
    first = np.array([[0.05, 0.0], [0.0, 0.05], [0.03, 0.04]])
    second = 300.0 * np.array([[1.0, 0.3, 0.2], [0.2, 0.1, 0.1]])
    system = Lure(
        A=-0.2 * np.eye(2),
        weights=[first, second, [[0.1, 0.0], [0.0, 1e-4]]],
        biases=[np.zeros(3), [-200.0, 2000.0], rng.normal(size=2)],
    )
    assert abscissa(sample(system, samples=16, rounds=1).attained).max() < -0.19
    assert falsify(system, seconds=5.0) is not None


def test_relu_keeps_a_random_climb() -> None:
    """One cell of the plane, far out, where two units are on together: each alone is harmless."""
    rng = np.random.default_rng(2)
    first = np.vstack([[3.0, 0.0], [0.0, 3.0], 0.5 * rng.normal(size=(3, 2))])
    bias = np.array([-150.0, -150.0, 0.0, 0.0, 0.0])
    last = np.column_stack([[0.25, 0.3], [0.3, 0.25], np.zeros((2, 3))])
    system = Lure(A=-np.eye(2), weights=[first, last], biases=[bias, np.zeros(2)], activation="relu")
    found = falsify(system, seconds=5.0)
    assert found is not None
    assert (found.state > 50.0).all()
    assert found.eigenvalue.real == pytest.approx(0.65, abs=1e-9)  # −1 + 3 (.25 + .3)


def test_box_keeps_the_state_inside() -> None:
    system, direction = narrow(2, seed=2)
    assert falsify(system, region=Box([-5.0, -5.0], [5.0, 5.0]), seconds=2.0) is None
    centre = 60.0 * direction
    box = Box([*(centre - 20.0)], [*(centre + 20.0)])
    found = falsify(system, region=box, seconds=5.0)
    assert found is not None
    assert (found.state >= box.lower).all()
    assert (found.state <= box.upper).all()
    samples = attack(system, sample(system), box)
    assert (samples.states >= box.lower).all()
    assert (samples.states <= box.upper).all()


@settings(deadline=None, max_examples=15, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 3),
    gain=st.floats(0.1, 2.0),
    activation=st.sampled_from(list(SLOPES)),
    inputs=st.integers(0, 1),
)
def test_what_is_certified_is_never_disproved(seed: int, n: int, gain: float, activation: str, inputs: int) -> None:
    """And what is disproved has, at its own state and input, the Jacobian that it says."""
    try:
        system = layered(seed, (4,), n, gain, activation, inputs)
    except ValueError:
        return  # A was not Hurwitz
    found = certify(system, seconds=2.0)
    if isinstance(found, Certificate):
        assert falsify(system, rate=found.rate, seconds=0.3) is None
    counterexample = falsify(system, rate=5.0, seconds=1.0)
    if counterexample is not None:
        assert counterexample.eigenvalue.real > -5.0
        x, u, h = counterexample.state, counterexample.input, 1e-6 * (1 + np.abs(counterexample.state).max())
        J = np.stack([(field(system, x + h * e, u) - field(system, x - h * e, u)) / (2 * h) for e in np.eye(n)], 1)
        np.testing.assert_allclose(counterexample.jacobian, J, atol=1e-4)


def test_arguments_are_refused_with_a_reason() -> None:
    system = layered(0, (3,), 2, 0.1)
    for arguments, message in (
        ({"rate": -1.0}, "rate"),
        ({"seconds": 0.0}, "time limit"),
        ({"region": object()}, "lower"),
        ({"region": Box([1.0, 1.0], [0.0, 2.0])}, "lower ≤ upper"),
        ({"region": Box([0.0], [1.0])}, "2 ends"),
    ):
        with pytest.raises(ValueError, match=message):
            falsify(system, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Lure"):
        falsify({"A": [[-1.0]]})  # type: ignore[arg-type]


# ---- within a region's certificate -----------------------------------------------------------------------------------


def test_a_slab_that_samples_of_the_box_miss_is_found_by_certify_in_it() -> None:
    system, direction = narrow(2, seed=2)
    box = regional.Box([-150.0, -150.0], [150.0, 150.0])
    none = np.zeros(0)
    assert abscissa(sample_in(system, box.lower, box.upper, (none, none)).attained).max() < -0.5
    refusal = certify(system, region=box, seconds=5.0)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "disproved"
    assert refusal.counterexample is not None
    state = np.array(refusal.counterexample["state"])
    assert ((box.lower <= state) & (state <= box.upper)).all()
    assert direction @ state == pytest.approx(60.0, abs=0.05)
    # Where the box ends before the slab, nothing is disproved.
    nearer = regional.Box([-30.0, -30.0], [30.0, 30.0])
    assert isinstance(certify(system, region=nearer, seconds=5.0), Certificate)


def test_inputs_stay_within_their_levels() -> None:
    """dx/dt = −x + 2 tanh(x + u) − 2: unstable at x + u = 0, which u ∈ [2.5, 3] does not reach from |x| ≤ 1."""
    system = Lure(A=[[-1.0]], weights=[[[1.0]], [[2.0]]], biases=[[0.0], [-2.0]], input_weights=[[1.0]])
    box, levels = regional.Box([-1.0], [1.0]), regional.Inputs([2.5], [3.0])
    start = sample_in(system, box.lower, box.upper, (levels.lower, levels.upper))
    climbed = attack(system, start, box, (levels.lower, levels.upper), steps=40)
    assert climbed.inputs is not None
    assert (climbed.inputs.min(), climbed.inputs.max()) == (2.5, 3.0)
    assert abscissa(climbed.attained).max() == pytest.approx(2.0 / np.cosh(1.5) ** 2 - 1.0, abs=1e-9)
    free = attack(system, start, box, steps=40)
    assert abscissa(free.attained).max() > 0.9
    found = certify(system, region=box, inputs=levels, seconds=5.0)
    assert isinstance(found, Certificate)
    assert found.rate == pytest.approx(1.0 - 2.0 / np.cosh(1.5) ** 2, rel=0.03)


def test_an_ellipsoid_is_declined_in_words() -> None:
    with pytest.raises(ValueError, match=r"Ellipsoid; give a box .* certificate's metric"):
        falsify(layered(1, (4,), 2, 0.1), region=regional.Ellipsoid([0.0, 0.0], 1.0))  # type: ignore[arg-type]
