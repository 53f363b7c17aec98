"""Whole tapes: sampled values and secants lie within the bounds, and the entries that are known come out as they are known."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from physics.operations import (
    atan,
    cos,
    exp,
    hill,
    log,
    maximum,
    minimum,
    relu,
    saturating,
    sigmoid,
    sin,
    softplus,
    sqrt,
    square,
    tanh,
)
from physics.tape import Tape as PhysicsTape
from physics.trace import trace
from stability.proof.tape import Tape, plain, read_tape, slope_bounds, slopes, value_bounds

NOTHING = np.zeros(0)
NONE = NOTHING, NOTHING


def everything(x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
    """Every operation at once, with kinks inside the boxes that are tried."""
    v, w = x.a / theta.V, x.b * theta.k
    first = exp(-v) + log(1.0 + v) - sqrt(0.1 + w) * sin(v) + cos(w) / (2 + atan(v)) + 0.3 * tanh(w - v)
    second = sigmoid(v) * softplus(w) + relu(v - 0.2) - abs(w - 1.1) + minimum(v, w) * maximum(v, 0.7) + minimum(2.0, w)
    third = saturating(v) + hill(w, 1.5) * hill(v, 3) + square(v) + x.b**3 - (0.1 + x.a) ** 0.75 + (1.5 - x.b) ** 2
    return {"a": first - theta.k * x.a * u.r, "b": second - third + 2 * (3.0 - u.r) + 1.0 / theta.V - v * v}


def both(rate: Callable[..., Any], states: str, inputs: str = "", parameters: str = "") -> tuple[PhysicsTape, Tape]:
    tape = trace(rate, states.split(), inputs.split(), parameters.split())
    return tape, read_tape(tape.to_dict())


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.floats(-3.0, 0.5))
def test_values_and_secants_lie_within(seed: int, size: float) -> None:
    tape, read = both(everything, "a b", "r", "k V")
    rng = np.random.default_rng(seed)
    low = [rng.uniform(0.0, 2.5, size=(3, 1, k)) for k in (2, 1, 2)]
    low[2] += 0.2
    boxes = [(a, a + 10.0**size * rng.random(size=a.shape)) for a in low]
    values, by_x = value_bounds(read, *boxes), slope_bounds(read, *boxes)
    by_u = slope_bounds(read, *boxes, by_inputs=True)
    assert values[0].shape == (3, 1, 2)
    assert by_x[0].shape == (3, 1, 2, 2)
    assert by_u[0].shape == (3, 1, 2, 1)
    one, two = ([a + rng.random(size=(3, 40, a.shape[-1])) * (b - a) for a, b in boxes] for _ in range(2))
    x, u, theta = one
    f = plain(read, x, u, theta)
    np.testing.assert_allclose(f, tape.plain(x, u, theta), rtol=1e-13, atol=1e-13)
    assert ((values[0] <= f + 1e-13) & (f <= values[1] + 1e-13)).all()
    for bounds, step, other in ((by_x, two[0] - x, (two[0], u, theta)), (by_u, two[1] - u, (x, two[1], theta))):
        change = plain(read, *other) - f
        ends = bounds[0] * step[..., None, :], bounds[1] * step[..., None, :]
        assert (np.minimum(*ends).sum(-1) <= change + 1e-12).all()
        assert (change <= np.maximum(*ends).sum(-1) + 1e-12).all()
    by_torch = tape.at(torch.tensor(theta)).jacobian(torch.tensor(x), torch.tensor(u)).numpy()
    np.testing.assert_allclose(slopes(read, x, u, theta), by_torch, rtol=1e-11, atol=1e-11)
    assert (by_x[0] <= by_torch + 1e-12).all()
    assert (by_torch <= by_x[1] + 1e-12).all()


def test_points_are_enclosed_narrowly() -> None:
    _, read = both(everything, "a b", "r", "k V")
    rng = np.random.default_rng(1)
    at = [0.2 + rng.random(size=(50, k)) for k in (2, 1, 2)]
    for low, high in (value_bounds(read, *((a, a) for a in at)), slope_bounds(read, *((a, a) for a in at))):
        assert (low < high).any()
        assert (high - low < 1e-9).all()


def michaelis_menten(x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
    return {"gut": -12.0 * x.gut, "plasma": 12.0 * x.gut - theta.Vmax * saturating(x.plasma / theta.Km)}


def test_michaelis_menten() -> None:
    """Vmax Km/(Km + x)², from the region's end to 0; in the half-space no more than Vmax/Km, and the face is kept exactly."""
    _, read = both(michaelis_menten, "gut plasma", "", "Vmax Km")
    theta = np.array([500.0, 200.0])
    low, high = slope_bounds(read, (np.zeros(2), np.array([300.0, 600.0])), NONE, (theta, theta))
    np.testing.assert_allclose(low, [[-12.0, 0.0], [12.0, -2.5]], rtol=1e-10)
    np.testing.assert_allclose(high, [[-12.0, 0.0], [12.0, -0.15625]], rtol=1e-10)
    low, high = slope_bounds(read, (np.zeros(2), np.full(2, math.inf)), NONE, (theta, theta))
    np.testing.assert_allclose([low[1, 1], high[1, 1]], [-2.5, 0.0], atol=1e-10)
    low, high = value_bounds(read, (np.zeros(2), np.array([[0.0, 600.0], [300.0, 0.0]])), NONE, (theta, theta))
    assert high[0, 0] == 0.0  # nothing flows out of an empty gut
    assert low[1, 1] == 0.0


def bergman(x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
    return {
        "G": -(theta.p1 + x.X) * x.G + theta.p1 * theta.Gb,
        "X": -theta.p2 * x.X + theta.p3 * (x.I - theta.Ib),
        "I": -theta.n * x.I + u.insulin,
    }


def test_bergman() -> None:
    """The product gives two entries with slopes in the ranges of its factors; all else is θ's alone."""
    _, read = both(bergman, "G X I", "insulin", "p1 Gb p2 p3 Ib n")
    theta = np.array([0.028, 90.0, 0.025, 1.3e-5, 7.0, 0.142])
    box = np.array([50.0, 0.0, 0.0]), np.array([300.0, 0.05, 100.0])
    low, high = slope_bounds(read, box, (np.zeros(1), np.ones(1)), (theta, theta))
    np.testing.assert_allclose(low[0], [-0.078, -300.0, 0.0], rtol=1e-12)
    np.testing.assert_allclose(high[0], [-0.028, -50.0, 0.0], rtol=1e-12)
    rest = high[1:] - low[1:]
    assert (rest <= 1e-14 * np.abs(low[1:])).all()
    by_u = slope_bounds(read, box, (np.zeros(1), np.ones(1)), (theta, theta), by_inputs=True)
    np.testing.assert_array_equal(by_u, np.broadcast_to(np.array([[0.0], [0.0], [1.0]]), (2, 3, 1)))


def test_an_entry_of_theta_alone_has_the_width_of_rounding() -> None:
    rate = lambda x, u, t: {"a": exp(t.k) * sqrt(t.V) * x.a / (1.0 + t.k**2) - 3.0 * hill(t.k, 1.5) * x.a + tanh(u.r)}  # noqa: E731
    _, read = both(rate, "a", "r", "k V")
    theta = np.random.default_rng(0).uniform(0.1, 3.0, size=(20, 2))
    low, high = slope_bounds(
        read, (np.array([-math.inf]), np.array([math.inf])), (np.zeros(1), np.ones(1)), (theta, theta)
    )
    assert (high - low < 1e-10 * (1.0 + np.abs(low))).all()


@pytest.mark.parametrize(
    ("rate", "low", "high", "expected"),
    [
        (lambda x, u, t: {"a": saturating(x.a / 225.0)}, 90.0, 300.0, (225.0 / 525.0**2, 225.0 / 315.0**2)),
        (lambda x, u, t: {"a": hill(x.a / 2.0, 2.0)}, 0.0, 10.0, (0.0, 3.0 * math.sqrt(3.0) / 16.0)),
        (lambda x, u, t: {"a": maximum(x.a, 2.0 * x.a - 1.0)}, -5.0, 5.0, (1.0, 2.0)),  # one s for both
        (lambda x, u, t: {"a": minimum(x.a, 3.0)}, -5.0, 2.0, (1.0, 1.0)),
        (lambda x, u, t: {"a": x.a * x.a}, -1.0, 2.0, (-2.0, 4.0)),
        (lambda x, u, t: {"a": x.a**2 * x.a}, 0.0, 2.0, (0.0, 12.0)),
        (lambda x, u, t: {"a": 1.0 / x.a}, 0.5, 2.0, (-4.0, -0.25)),
        (lambda x, u, t: {"a": (1.0 - x.a) / 4.0}, 0.5, 2.0, (-0.25, -0.25)),
    ],
)
def test_entries_that_are_known(
    rate: Callable[..., Any], low: float, high: float, expected: tuple[float, float]
) -> None:
    """The first is the reference page's: glucose 90–300, Km 225, from .0008 to .0023."""
    _, read = both(rate, "a")
    found = slope_bounds(read, (np.array([low]), np.array([high])), NONE, NONE)
    np.testing.assert_allclose([found[0][0, 0], found[1][0, 0]], expected, rtol=1e-10, atol=1e-12)


def test_what_has_no_value_is_never_hidden() -> None:
    """Neither by a factor 0, nor where the line does not move."""
    _, read = both(lambda x, u, t: {"a": 0.0 * log(x.a) + t.k, "b": log(t.k) * x.b}, "a b", "", "k")
    one = np.ones(1)
    for x, theta in ((-1.0, 1.0), (1.0, -1.0)):
        box = np.array([x, 0.0]), np.array([2.0, 0.0])
        for bounds in (value_bounds, slope_bounds):
            low, high = bounds(read, box, NONE, (theta * one, 2.0 * one), strict=False)
            assert (low == -math.inf).all()
            assert (high == math.inf).all()


def test_a_hundred_thousand_cells() -> None:
    _, read = both(bergman, "G X I", "insulin", "p1 Gb p2 p3 Ib n")
    theta = np.array([0.028, 90.0, 0.025, 1.3e-5, 7.0, 0.142])
    low = np.random.default_rng(0).random(size=(100_000, 3))
    found = slope_bounds(read, (low, low + 0.01), (np.zeros(1), np.ones(1)), (theta, theta))
    assert found[0].shape == (100_000, 3, 3)
