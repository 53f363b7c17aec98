"""The field with a tape over cells: sampled values lie within its bounds, zeros on a face stay zeros, and what cancels does."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physics.operations import exp, saturating, sin, square
from physics.trace import trace
from stability import Lure
from stability.proof.budget import Budget, Meter, NotDecided
from stability.proof.region.cells import bisect
from stability.proof.region.field import Field, fields_of
from stability.proof.region.invariance import box_kept, field_bounds
from stability.proof.region.unbounded import Chart
from stability.proof.system import read_system
from stability.proof.tape import plain, read_tape, value_bounds


def mixed(x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
    return {
        "a": -theta.k * x.a * u.r + sin(x.b) - x.a * x.b,
        "b": theta.V * saturating(x.a / theta.k) - x.b / (1.0 + exp(-x.a)) + u.r**2,
    }


def mixed_system(rng: np.random.Generator) -> Lure:
    tape = trace(mixed, ["a", "b"], ["r"], ["k", "V"]).to_dict()
    theta = rng.uniform(0.5, 2.0, 2)
    return Lure(
        A=rng.normal(size=(2, 2)),
        B=rng.normal(size=(2, 1)),
        weights=[rng.normal(size=(4, 2)), rng.normal(size=(2, 4))],
        biases=[rng.normal(size=4), rng.normal(size=2)],
        input_weights=rng.normal(size=(4, 1)),
        tape=tape,
        theta=theta,
        theta_upper=theta + rng.uniform(0.0, 0.2, 2),
    )


@settings(derandomize=True, max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.floats(-4, 0.3))
def test_bounds_hold_at_the_points_of_the_cells(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    system = mixed_system(rng)
    field = fields_of(read_system(system, tapes=True), True)[0]
    assert field.tape is not None
    assert field.theta is not None
    lower, upper = np.array([0.0, -3.0, -1.0]), np.array([3.0, 3.0, 2.0])
    c = rng.uniform(0, 1, (3, 6)) * (upper - lower)[:, None] + lower[:, None]
    r = rng.uniform(0, 1, (3, 6)) * 10.0**size
    for rows in (rng.normal(size=(2, 2)), np.array([[0.0, -1.0]])):
        low, high = field_bounds(field, rows, np.zeros_like(rows), c, r, lower=lower, upper=upper)
        assert (low <= high).all()
        for _ in range(30):
            y = np.clip(c + rng.uniform(-1, 1, c.shape) * r, lower[:, None], upper[:, None])
            theta = field.theta[0] + rng.uniform(0, 1, 2) * (field.theta[1] - field.theta[0])
            v = np.tanh(system.weights[0] @ y[:2] + system.input_weights @ y[2:] + system.biases[0][:, None])
            f = system.A @ y[:2] + system.B @ y[2:] + system.weights[1] @ v + system.biases[1][:, None]
            f = rows @ (f + plain(field.tape, y[:2].T, y[2:].T, theta).T)
            assert ((low - 1e-12 <= f) & (f <= high + 1e-12)).all()


def of_tape(rate: Any, states: str, theta: dict[str, float], inputs: str = "", **more: Any) -> Field:
    tape = trace(rate, states.split(), inputs.split(), list(theta)).to_dict()
    n = len(states.split())
    given: dict[str, Any] = {
        "A": np.zeros((n, n)),
        "weights": [],
        "biases": [],
        "tape": tape,
        "theta": [*theta.values()],
    }
    return fields_of(read_system(Lure(**(given | more)), tapes=True), True)[0]


def test_a_face_on_which_nothing_flows_is_exactly_zero() -> None:
    def rate(x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"gut": -theta.ka * x.gut, "plasma": theta.ka * x.gut - theta.Vmax * saturating(x.plasma / theta.Km)}

    field, none = of_tape(rate, "gut plasma", {"ka": 12.0, "Vmax": 500.0, "Km": 200.0}), np.zeros(0)
    box = np.zeros(2), np.array([30.0, 600.0])
    row, cell = np.array([[-1.0, 0.0]]), np.array([[0.0], [300.0]])
    low, high = field_bounds(field, row, 0.0 * row, cell, cell, lower=box[0], upper=np.array([0.0, 600.0]))
    assert low[0, 0] == high[0, 0] == 0.0
    assert box_kept([field], *box, (none, none), most=1000) == ""
    # 12 · 31.3 mg/d flow in where 500 · 600/800 = 375 flow out
    assert box_kept([field], box[0], np.array([31.2, 600.0]), (none, none), most=1000) == ""
    assert "plasma = 600" in box_kept([field], box[0], np.array([31.3, 600.0]), (none, none), most=1000)


def test_terms_that_cancel_do_so_in_the_mean_value_form() -> None:
    """On the face x = 2 the field is −10⁻⁶ y, the difference of two terms: by values its sign is open until cells are tiny."""

    def rate(x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"x": x.y * (2.0 - 0.4999995 * x.x) - 1.0000020 * x.y, "y": -x.y + u.r}

    field = of_tape(rate, "x y", {}, "r")
    levels = np.array([1.0]), np.array([2.0])
    assert box_kept([field], np.array([0.0, 1.0]), np.array([2.0, 2.0]), levels, most=200) == ""


def test_the_axis_that_a_tape_alone_sees_is_cut() -> None:
    """The linear part is zero, and of eight inputs the rate sees one: cells along the others would never end."""

    def rate(x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"x": -x.x + 0.9 * square(sin(8.0 * u.h))}

    names = "a b c d e f g h"
    field = of_tape(rate, "x", {}, names)
    levels = -np.ones(8), np.ones(8)
    assert box_kept([field], np.zeros(1), np.ones(1), levels, most=300) == ""
    assert box_kept([field], np.zeros(1), np.full(1, 0.5), levels, most=300) != ""


def test_the_clock_is_asked_inside_a_long_tape() -> None:
    code: list[list[Any]] = [["state", 0], *(["negate", k] for k in range(5000))]
    tape = read_tape({"tape": 1, "states": ["x"], "inputs": [], "parameters": [], "code": code, "rate": [5000]})
    none, box = (np.zeros(0), np.zeros(0)), (np.zeros(1), np.ones(1))
    meter = Meter(Budget(seconds=1e-9))
    with pytest.raises(NotDecided, match="of a tape of 5001"):
        value_bounds(tape, box, none, none, meter=meter)


def test_a_network_in_a_box_without_an_end() -> None:
    """On an endless cell its units are known by their range alone, and a state that it does not feed by nothing of it."""

    def rate(x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"gut": -2.0 * x.gut, "r": 1.0 - x.r}

    weights, none = [np.ones((2, 2)), np.array([[0.0, 0.0], [0.4, -0.5]])], (np.zeros(0), np.zeros(0))
    half = np.zeros(2), np.full(2, np.inf)
    for activation, bias, kept in (
        ("tanh", 0.0, True),
        ("tanh", -0.2, False),
        ("sigmoid", -0.2, True),
        ("silu", 0.0, False),
    ):
        field = of_tape(
            rate, "gut r", {}, weights=weights, biases=[np.zeros(2), np.array([0.0, bias])], activation=activation
        )
        assert (box_kept([field], *half, none, most=500) == "") == kept, (activation, bias)


def test_cells_of_an_endless_box_cover_it() -> None:
    chart = Chart(np.array([0.0, -np.inf, 3.0, -np.inf]), np.array([np.inf, 5.0, 4.0, np.inf]))
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def test(c: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        small = r.max(0) <= 0.2
        if small.any():
            seen.append(chart.cells(c[:, small], r[:, small]))
        return small, np.zeros(len(small), dtype=bool), r.argmax(0)

    assert bisect(test, *chart.ends, most=10_000).proved
    low, high = (np.concatenate(ends, axis=1) for ends in zip(*seen, strict=True))
    rng = np.random.default_rng(0)
    far = 10.0 ** rng.uniform(-5, 12, (400, 4))
    points = np.stack([far[:, 0], 5.0 - far[:, 1], rng.uniform(3, 4, 400), far[:, 3] * rng.choice([-1.0, 1.0], 400)], 1)
    inside = (points[:, :, None] >= low) & (points[:, :, None] <= high)
    assert inside.all(1).any(1).all()
    assert np.isinf(low[3]).any()
    assert np.isinf(high[0]).any()
