"""Staying in the order of an orthant: what is true is proved, the traps of doses are refused, and so is what is changed."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from stability.proof import Unusable
from stability.proof.arithmetic import Array
from stability.proof.region.order import Bounds, Curves, monotone, order_kept
from stability.proof.tape import read_tape, slope_bounds, value_bounds
from stability.search.order_curves import order_curves

NONE = np.zeros(0), np.zeros(0)
# gut → plasma → out by Vmax v/(1 + v), v = plasma/Km
ELIMINATION = read_tape(
    {
        "tape": 1,
        "states": ["gut", "plasma"],
        "inputs": [],
        "parameters": [],
        "code": [
            *(["state", 0], ["state", 1], ["constant", 12.0], ["multiply", 2, 0], ["negate", 3], ["constant", 200.0]),
            *(["divide", 1, 5], ["saturating", 6], ["constant", 500.0], ["multiply", 8, 7], ["subtract", 3, 9]),
        ],
        "rate": [4, 10],
    }
)
UP = np.ones(2)


def elimination(low: Array, high: Array) -> tuple[Array, Array]:
    return value_bounds(ELIMINATION, (low, high), NONE, NONE, strict=False)


def region(plasma: float) -> tuple[Array, Array]:
    return np.array([-30.0, -30.0]), np.array([320.0, plasma])


@cache
def daily(dose: float, coupled: bool = False) -> Curves:
    doses = np.zeros(2), np.array([dose, 0.0])
    return order_curves(elimination, UP, 1.0, doses, scale=np.array([30.0, 300.0]), monotone=not coupled, margin=0.02, pieces=100)


@pytest.mark.parametrize("coupled", [False, True])
def test_saturable_elimination_with_daily_doses(coupled: bool) -> None:
    """300 mg a day by mouth: the true peak is 400 mg, so 600 hold it and 300 do not."""
    curves, box = daily(300.0, coupled), region(600.0)
    slopes = slope_bounds(ELIMINATION, box, NONE, NONE)
    assert monotone(slopes, UP)
    assert not monotone(slopes, np.array([1.0, -1.0]))
    peak = curves.largest.sum(2)[:, 1].max()
    assert 395.0 < peak < 415.0
    for any_gap in (True, False):
        said = order_kept(elimination, curves, box, UP, signs_proved=not coupled, any_gap=any_gap)
        assert said == ""
    assert "not proved" in order_kept(
        elimination, curves, region(300.0), UP, signs_proved=not coupled, any_gap=True, most=5000
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: replace(c, doses=(c.doses[0], c.doses[1] + 1.0)), "begin above"),
        (lambda c: replace(c, doses=(c.doses[0] - 1.0, c.doses[1])), "begin below"),
        (lambda c: replace(c, before=(c.before[0], c.before[1] * 0.98)), "come back"),
        (
            lambda c: replace(c, largest=c.largest - 2.0 * (np.arange(100) == 50)[:, None, None] * np.eye(4)[0]),
            "jumps",
        ),
        (lambda c: replace(c, knots=c.knots * 0.5), "not proved"),
        (lambda c: replace(c, largest=c.largest * np.array([1.0, 1.02, 1.0, 1.0])), "not proved|jumps|come back"),
        (lambda c: replace(c, before=(c.before[1], c.before[0])), "not in order"),
    ],
)
def test_changed_curves_are_refused(change: object, says: str) -> None:
    curves = change(daily(300.0))  # type: ignore[operator]
    said = order_kept(elimination, curves, region(600.0), UP, signs_proved=True, any_gap=True, most=20_000)
    assert said
    assert any(word in said for word in says.split("|"))


def test_curves_that_do_not_fit() -> None:
    curves = daily(300.0)
    for broken in (replace(curves, knots=curves.knots[1:]), replace(curves, largest=curves.largest * np.nan)):
        with pytest.raises(Unusable, match="do not fit"):
            order_kept(elimination, broken, region(600.0), UP, signs_proved=True, any_gap=False)


def linear(A: Array) -> Bounds:
    """Of dx/dt = A x, with a little more than the rounding of its sums."""
    plus, minus = np.maximum(A, 0.0), np.minimum(A, 0.0)

    def bounds(low: Array, high: Array) -> tuple[Array, Array]:
        one, two = low @ plus.T + high @ minus.T, high @ plus.T + low @ minus.T
        size = 1e-14 * (np.maximum(np.abs(low), np.abs(high)) @ np.abs(A).T)
        return one - size, two + size

    return bounds


def double_peak() -> Array:
    """τ = 1: a depot of 25, 40 transits of mean 1.5 in all, elimination 8."""
    n, k = 42, 40 / 1.5
    A = np.zeros((n, n))
    A[0, 0], A[-1, 0], A[-1, -1] = -25.0, 25.0, -8.0
    for i in range(1, 41):
        A[i, i] = -k
        A[i + 1, i] = k
    return A


def test_the_double_peak_is_refused_for_gaps_of_at_least_tau() -> None:
    """The upper trajectory is back below its start after τ; two doses 1.5 τ apart still exceed it."""
    A = double_peak()
    dose = np.zeros(42)
    dose[0] = dose[1] = 50.0
    curves = order_curves(linear(A), np.ones(42), 1.0, (np.zeros(42), dose), scale=np.full(42, 50.0), pieces=100)
    box = np.full(42, -1.0), np.full(42, 100.0)
    off = A - np.diag(np.diag(A))
    assert monotone((off, off), np.ones(42))
    fixed = order_kept(linear(A), curves, box, np.ones(42), signs_proved=True, any_gap=False)
    assert fixed == ""
    said = order_kept(linear(A), curves, box, np.ones(42), signs_proved=True, any_gap=True)
    assert "kept where the next dose comes later" in said


def test_an_order_with_signs() -> None:
    """Two that hinder each other are monotone in (+, −): the same curves are found and proved as of the turned system."""
    A = np.array([[-2.0, -1.0], [-1.0, -3.0]])
    sigma = np.array([1.0, -1.0])
    assert monotone((A, A), sigma)
    doses = np.array([0.0, 1.0]), np.array([1.0, 0.0])  # least, largest in that order
    curves = order_curves(linear(A), sigma, 1.0, doses, scale=np.ones(2))
    box = np.full(2, -3.0), np.full(2, 3.0)
    assert order_kept(linear(A), curves, box, sigma, signs_proved=True, any_gap=False) == ""
    assert "not in order" in order_kept(linear(A), curves, box, np.ones(2), signs_proved=True, any_gap=False)
