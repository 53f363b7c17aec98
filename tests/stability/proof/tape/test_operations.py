"""The checker's table of operations: the same names as physics', the same numbers, and bounds that hold and are reached."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from physics.operation import OPERATIONS as TORCH
from stability.proof import Unusable
from stability.proof.tape import OPERATIONS, Tape, Unbounded, plain, read_tape, slope_bounds, slopes, value_bounds
from stability.proof.tape.functions import NUMBERED, steepest_hill
from stability.proof.tape.reading import PAIRS

NOTHING = np.zeros(0)
NONE = NOTHING, NOTHING


def tape_of(operation: str, number: float | None = None) -> Tape:
    """One operation on the states a (and b)."""
    pair = operation in PAIRS
    code: list[list[Any]] = [["state", 0], ["state", 1]] if pair else [["state", 0]]
    code.append([operation, *range(1 + pair), *(() if number is None else (number,))])
    states = ["a", "b"] if pair else ["a"]
    rate = [len(code) - 1] * len(states)
    return read_tape({"tape": 1, "states": states, "inputs": [], "parameters": [], "code": code, "rate": rate})


# where each function has values; the numbers that are tried
ABOVE = {"log": 0.0, "saturating": -1.0}
NUMBERS: dict[str, tuple[float, ...]] = {
    "power": (0.0, 1.0, 2.0, 3.0, 4.0, -1.0, -2.0, 0.5, 0.75, 1.5, 2.5, -0.5, 7.0),
    "hill": (0.5, 1.0, 1.0001, 1.5, 3.0, 8.0),
}
CASES = [(name, n) for name in OPERATIONS for n in NUMBERS.get(name, (None,))]

mp = mpmath.mp.clone()
mp.prec = 120
EXACT: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "minimum": min,
    "maximum": max,
    "negate": lambda a: -a,
    "power": lambda a, n: mp.mpf(1) if n == 0 else (a ** int(n) if float(n).is_integer() else a**n),
    "exp": mp.exp,
    "log": mp.log,
    "sqrt": mp.sqrt,
    "sin": mp.sin,
    "cos": mp.cos,
    "atan": mp.atan,
    "tanh": mp.tanh,
    "sigmoid": lambda a: 1 / (1 + mp.exp(-a)),
    "softplus": lambda a: mp.log(1 + mp.exp(a)),
    "relu": lambda a: max(a, mp.mpf(0)),
    "abs": abs,
    "saturating": lambda a: a / (1 + a),
    "hill": lambda a, n: a**n / (1 + a**n) if a > 0 else mp.mpf(0),
    "square": lambda a: a * a,
}


def floor_of(name: str, n: float | None) -> float:
    """The least argument that may be tried."""
    if name == "sqrt" or (name == "power" and n is not None and not float(n).is_integer() and n > 0):
        return 0.0
    if name in ABOVE or (name == "power" and n is not None and n < 0):
        return ABOVE.get(name, 0.0) + 1e-3
    return -1e3


def test_the_two_tables_name_the_same_operations() -> None:
    assert set(OPERATIONS) == set(TORCH)
    assert {name for name in TORCH if TORCH[name].arity == 2} == set(PAIRS)
    assert {name for name in TORCH if TORCH[name].numbered} == set(NUMBERED)


@pytest.mark.parametrize(("name", "n"), CASES)
def test_the_two_tables_agree(name: str, n: float | None) -> None:
    rng = np.random.default_rng(0)
    arity, more = TORCH[name].arity, () if n is None else (n,)
    points = rng.uniform(max(floor_of(name, n) + 0.01, -3.0), 3.0, size=(200, arity))
    one = torch.tensor(points, dtype=torch.float64)
    columns = one.unbind(-1)
    z = TORCH[name].value(*columns, *more)
    by_torch = [torch.as_tensor(s, dtype=torch.float64).expand(200) for s in TORCH[name].slopes(z, *columns, *more)]
    tape = tape_of(name, n)
    np.testing.assert_allclose(plain(tape, points, NOTHING, NOTHING)[:, 0], z, rtol=1e-13, atol=1e-14)
    found = slopes(tape, points, NOTHING, NOTHING)[:, 0]
    np.testing.assert_allclose(found, torch.stack(by_torch, -1), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("name", "n"), CASES)
def test_bounds_hold(name: str, n: float | None) -> None:
    """Values and secants of points inside lie inside, in 120 bits; the ends of the box are among the points."""
    rng = np.random.default_rng(len(name) + int(10 * abs(n or 0.0)))
    tape, floor = tape_of(name, n), floor_of(name, n)
    arity, more = len(tape.states), () if n is None else (mp.mpf(n),)
    sizes = 10.0 ** rng.uniform(-4, 1.5, size=(12, 1))
    low = np.maximum(rng.normal(size=(12, arity)) * sizes, floor)
    low[::5] = np.maximum(0.0 if name not in ABOVE else 1e-3, floor)
    high = low + np.abs(rng.normal(size=(12, arity))) * sizes
    if name == "divide":
        low[:, 1], high[:, 1] = np.abs(low[:, 1]) + 0.01, np.abs(low[:, 1]) + 0.01 + (high - low)[:, 1]
    box = low, high
    values = value_bounds(tape, box, NONE, NONE)
    slope = slope_bounds(tape, box, NONE, NONE, strict=False)
    for k in range(len(low)):
        corners = rng.random(size=(4, 2, arity)) ** 2
        corners[0, 0], corners[0, 1], corners[1, 0] = 0.0, 1.0, 0.0
        for pair in np.clip(low[k] + corners * (high[k] - low[k]), low[k], high[k]):
            try:
                one, two = (EXACT[name](*(mp.mpf(v) for v in point), *more) for point in pair)
            except ZeroDivisionError:  # 0 to a negative power, where nothing was bounded
                assert not np.isfinite(values[1][k, 0])
                continue
            for z in (one, two):
                assert mp.mpf(values[0][k, 0]) <= z <= mp.mpf(values[1][k, 0])
            # what S δx can be, in 120 bits: the secant of one argument alone, and of all together
            step = [mp.mpf(b) - mp.mpf(a) for a, b in zip(*pair, strict=True)]
            ends = [[mp.mpf(slope[e][k, 0, j]) if d else mp.mpf(0) for e in (0, 1)] for j, d in enumerate(step)]
            reach = [[d * e for e in both] if d else [mp.mpf(0)] * 2 for d, both in zip(step, ends, strict=True)]
            assert sum(min(r) for r in reach) <= two - one <= sum(max(r) for r in reach)


SMOOTH = [
    "exp",
    "log",
    "sqrt",
    "atan",
    "tanh",
    "sigmoid",
    "softplus",
    "saturating",
    "negate",
    "square",
    "relu",
    "abs",
    "sin",
    "cos",
]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.sampled_from(
        [
            *((name, None) for name in SMOOTH),
            *(("hill", n) for n in NUMBERS["hill"]),
            *(("power", n) for n in NUMBERS["power"]),
        ]
    ),
    st.floats(-6.0, 6.0),
    st.floats(1e-3, 8.0),
)
def test_bounds_are_reached(case: tuple[str, float | None], low: float, width: float) -> None:
    """Dense samples of a function of one argument come to both ends of the bounds of values and of slopes."""
    name, n = case
    low = max(low, floor_of(name, n) + 0.05)
    # at 0 a slope is one of those beside it, or has no bound; what holds across it, the secants of test_bounds_hold say
    if name in ("hill", "relu", "abs") and low <= 0.0 <= low + width:
        low = 0.05
    if name == "power" and n is not None and n < 0:
        low = max(low, 0.05)
    x = np.linspace(low, low + width, 4_001)[:, None]
    tape, box = tape_of(name, n), (x[0], x[-1])
    values, slope = value_bounds(tape, box, NONE, NONE), slope_bounds(tape, box, NONE, NONE)
    for sampled, (least, most) in (
        (plain(tape, x, NOTHING, NOTHING)[:, 0], (values[0][0], values[1][0])),
        (slopes(tape, x, NOTHING, NOTHING)[:, 0, 0], (slope[0][0, 0], slope[1][0, 0])),
    ):
        size = np.abs(sampled).max() + 1e-9
        assert least <= sampled.min() + 1e-12 * size
        assert most >= sampled.max() - 1e-12 * size
        # between two samples a function may rise by so much at most
        near = np.abs(np.diff(sampled)).max() + 1e-10 * size
        assert sampled.min() - least <= near
        assert most - sampled.max() <= near


def test_hill_is_steepest_where_the_formula_says() -> None:
    for n in (1.5, 2.0, 4.0, 20.0):
        where, slope = steepest_hill(n)
        x = np.linspace(0.0, 3.0, 300_001)[:, None]
        sampled = slopes(tape_of("hill", n), x, NOTHING, NOTHING)[:, 0, 0]
        assert math.isclose(sampled.max(), slope, rel_tol=1e-8)
        assert abs(x[sampled.argmax(), 0] - where) < 1e-4
        low, high = slope_bounds(tape_of("hill", n), (np.array([-math.inf]), np.array([math.inf])), NONE, NONE)
        assert low[0, 0] == 0.0
        assert math.isclose(high[0, 0], slope, rel_tol=1e-11)


@pytest.mark.parametrize(
    ("name", "n", "low", "high", "expected"),
    [
        ("saturating", None, 0.0, math.inf, (0.0, 1.0)),
        ("hill", 1.0, 0.0, math.inf, (0.0, 1.0)),
        ("hill", 0.5, 0.0, 4.0, (0.5 * 2.0 / 9.0 / 4.0, math.inf)),
        ("relu", None, 0.0, 2.0, (1.0, 1.0)),
        ("relu", None, -1.0, 2.0, (0.0, 1.0)),
        ("relu", None, -1.0, 0.0, (0.0, 0.0)),
        ("abs", None, -1.0, 2.0, (-1.0, 1.0)),
        ("sqrt", None, 0.0, 4.0, (0.25, math.inf)),
        ("power", 0.5, 0.0, 4.0, (0.25, math.inf)),
        ("power", 3.0, -1.0, 2.0, (0.0, 12.0)),
        ("power", 0.0, -1.0, 2.0, (0.0, 0.0)),
        ("exp", None, -math.inf, 0.0, (0.0, 1.0)),
        ("softplus", None, -math.inf, math.inf, (0.0, 1.0)),
        ("tanh", None, -math.inf, math.inf, (0.0, 1.0)),
        ("sin", None, -math.inf, math.inf, (-1.0, 1.0)),
        ("cos", None, 0.0, math.pi / 2, (-1.0, 0.0)),
        ("square", None, 0.0, math.inf, (0.0, math.inf)),
        ("log", None, 0.5, math.inf, (0.0, 2.0)),
    ],
)
def test_slopes_that_are_known(
    name: str, n: float | None, low: float, high: float, expected: tuple[float, float]
) -> None:
    found = slope_bounds(tape_of(name, n), (np.array([low]), np.array([high])), NONE, NONE, strict=False)
    np.testing.assert_allclose([found[0][0, 0], found[1][0, 0]], expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "n", "low", "high", "needs"),
    [
        ("log", None, 0.0, 1.0, "above 0"),
        ("sqrt", None, -1e-9, 1.0, "at least 0"),
        ("power", 1.5, -1.0, 1.0, "at least 0"),
        ("power", -1.0, -1.0, 1.0, "other than 0"),
        ("power", -0.5, 0.0, 1.0, "above 0"),
        ("saturating", None, -1.0, 1.0, "above -1"),
    ],
)
def test_no_value_somewhere(name: str, n: float | None, low: float, high: float, needs: str) -> None:
    box = np.array([[1.0], [low]]), np.array([[2.0], [high]])
    with pytest.raises(
        Unbounded, match=f"line 1 of the tape, {name}.*{needs}.*of a, .*from {low:g} to {high:g}.*shrink the region"
    ):
        value_bounds(tape_of(name, n), box, NONE, NONE)
    with pytest.raises(Unbounded):
        slope_bounds(tape_of(name, n), box, NONE, NONE)
    for bounds in (
        value_bounds(tape_of(name, n), box, NONE, NONE, strict=False),
        slope_bounds(tape_of(name, n), box, NONE, NONE, strict=False),
    ):
        assert np.isinf(bounds[0].ravel()[1])
        assert np.isinf(bounds[1].ravel()[1])
        assert np.isfinite([bounds[0].ravel()[0], bounds[1].ravel()[0]]).all()


@pytest.mark.parametrize(("name", "n"), [("sqrt", None), ("power", 0.75), ("hill", 0.5)])
def test_no_bound_of_the_slope(name: str, n: float | None) -> None:
    box = np.array([0.0]), np.array([1.0])
    assert np.isfinite(value_bounds(tape_of(name, n), box, NONE, NONE)).all()
    with pytest.raises(Unbounded, match="slopes without a bound"):
        slope_bounds(tape_of(name, n), box, NONE, NONE)


GOOD = {
    "tape": 1,
    "states": ["a"],
    "inputs": ["r"],
    "parameters": ["k"],
    "code": [["state", 0], ["parameter", 0], ["divide", 0, 1]],
    "rate": [2],
}


def test_json_is_read() -> None:
    tape = read_tape(json.loads(json.dumps(GOOD)))
    assert tape.names_in(2) == ["a", "k"]
    assert tape.moves == (True, False, True)
    assert read_tape(tape) is tape


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tape": 2}, "version 2"),
        ({"tape": True}, "version"),
        ({"more": 1}, "'more'"),
        ({"states": []}, "no states"),
        ({"states": ["a", "a"]}, "differ"),
        ({"states": "a"}, "a list is needed"),
        ({"parameters": [1]}, "names"),
        ({"rate": []}, "0 rates"),
        ({"rate": [3]}, "from 0 to 2"),
        ({"rate": [True]}, "from 0 to 2"),
        ({"rate": [1.0]}, "from 0 to 2"),
        ({"code": None}, "a list is needed"),
        ({"code": [["state", 0], [], ["exp", 0]]}, "line 1"),
        ({"code": [["state", 0], ["exp", 1], ["exp", 0]]}, "line 1.*an earlier line"),
        ({"code": [["state", 0], ["exp", -1], ["exp", 0]]}, "line 1"),
        ({"code": [["state", 0], ["exp", 0, 1], ["exp", 0]]}, "line 1, exp|line 1 of the tape, exp, needs 1 lines"),
        ({"code": [["state", 1], ["exp", 0], ["exp", 0]]}, "line 0.*one of 1 states"),
        ({"code": [["state", 0], ["erf", 0], ["exp", 0]]}, "'erf'"),
        ({"code": [["state", 0], ["hill", 0, -1.0], ["exp", 0]]}, "above 0"),
        ({"code": [["state", 0], ["power", 0, math.inf], ["exp", 0]]}, "not finite"),
        ({"code": [["state", 0], ["power", 0, "2"], ["exp", 0]]}, "a number is needed"),
        ({"code": [["state", 0], ["constant", 2**53 + 1], ["exp", 0]]}, "rounded"),
        ({"code": [["state", 0], [["exp"], 0], ["exp", 0]]}, "line 1"),
    ],
)
def test_json_of_wrong_kinds(change: dict[str, Any], says: str) -> None:
    with pytest.raises(Unusable, match=says):
        read_tape({**GOOD, **change})


@pytest.mark.parametrize("data", [None, 3, [], "tape", {}, {"tape": 1}])
def test_what_is_no_tape(data: object) -> None:
    with pytest.raises(Unusable, match="a tape has the entries"):
        read_tape(data)


def test_boxes_that_do_not_fit() -> None:
    tape, one = read_tape(GOOD), (np.ones(1), np.ones(1))
    for box, says in (
        ((np.ones(2), np.ones(2)), "shapes"),
        ((np.array([2.0]), np.array([1.0])), "lower end above"),
        ((np.array([math.nan]), np.array([1.0])), "no number"),
        ((np.array([math.inf]), np.array([math.inf])), "no number"),
    ):
        with pytest.raises(Unusable, match=f"the box of x.*{says}"):
            value_bounds(tape, box, one, one)
    with pytest.raises(Unusable, match="do not broadcast"):
        value_bounds(tape, (np.ones((2, 1)), np.ones((2, 1))), (np.ones((3, 1)), np.ones((3, 1))), one)


def test_a_tape_that_somebody_made_is_verified_too() -> None:
    tape = read_tape(GOOD)
    for change in (
        {"rate": (7,)},
        {"code": (*tape.code[:2], tape.code[2]._replace(arguments=(0, 5)))},
        {"code": (*tape.code[:2], tape.code[2]._replace(operation="system"))},
        {"code": (*tape.code[:2], tape.code[2]._replace(number=3.0))},
        {"code": None},
    ):
        with pytest.raises(Unusable):
            read_tape(replace(tape, **change))
