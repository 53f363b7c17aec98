"""The rational oracle for regional claims against samples and closed forms; mutations of regional claims judged by it."""

import math
from dataclasses import replace
from decimal import Context, Decimal
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.oracles.mutants import Case
from benchmarks.oracles.regional_mutations import NEEDS, REGIONAL, accepts, parts, regional_case
from benchmarks.oracles.relu_oracle import Piecewise, exponential_below, in_region, patterns, root_below, vertices
from stability import Certificate, Lure, check
from stability.proof.region.contraction import prove_in_region
from stability.proof.system import read_system

original = cache(regional_case)


def rationals(array: np.ndarray) -> list[list[Fraction]]:
    return [[Fraction(float(v)) for v in row] for row in np.atleast_2d(array)]


def draw(seed: int, states: int, inputs: int, units: int) -> tuple[Piecewise, tuple[np.ndarray, ...]]:
    rng, d = np.random.default_rng(seed), states + inputs
    shapes = (states, d), (units, d), (1, units), (states, units), (1, states)
    arrays = tuple(np.round(rng.normal(size=s) * 8) / 8 for s in shapes)
    linear, first, offset, last, bias = map(rationals, arrays)
    return Piecewise(linear, first, offset[0], last, bias[0]), arrays


@settings(derandomize=True, max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), inputs=st.integers(0, 1), units=st.integers(1, 5))
def test_patterns_and_extremes_against_thousands_of_points(seed: int, inputs: int, units: int) -> None:
    """Sampled slopes are among the patterns, and all of these but slivers are met; no sampled value beats the vertices."""
    field, (A, W, b, E, c) = draw(seed, 2, inputs, units)
    d = 2 + inputs
    lower, upper = [Fraction(-1)] * d, [Fraction(5, 4)] * d
    points = vertices(field, lower, upper)
    found = set(patterns(field, points, lower, upper))
    y = np.random.default_rng(seed).uniform(-1.0, 1.25, (30_000, d))
    v = y @ W.T + b
    clear = (np.abs(v) > 1e-12).all(1)
    sampled, counts = np.unique((v[clear] > 0).astype(int), axis=0, return_counts=True)
    # A unit without weights has the slope that its bias gives, and 0 where that is zero.
    seen = {tuple(int(s) for s in row) for row in sampled}
    if not any(b[0][j] == 0 and not W[j].any() for j in range(units)):
        assert seen <= found
        assert len(found - seen) <= 2
        assert counts.sum() == clear.sum()
    f = y @ A.T + np.maximum(v, 0.0) @ E.T + c
    best = np.array([[float(x) for x in field.value(p)] for p in points])
    assert (f.max(0) <= best.max(0) + 1e-12).all()
    assert (f.min(0) >= best.min(0) - 1e-12).all()
    exact = np.array(points, dtype=np.float64)
    np.testing.assert_allclose(exact @ A.T + np.maximum(exact @ W.T + b, 0.0) @ E.T + c, best, atol=1e-12)


def test_a_line_through_a_corner_cuts_nothing_off() -> None:
    """x_1 + x_2 = 2 meets [0, 1]² in one point: the polytope beyond it has no interior."""
    flat, ones = rationals(np.zeros((2, 2))), np.ones((1, 2))
    one = Piecewise(flat, rationals(ones), [Fraction(-2)], rationals(ones.T), [Fraction(0)] * 2)
    box = [Fraction(0)] * 2, [Fraction(1)] * 2
    assert patterns(one, vertices(one, *box), *box) == [(0,)]
    nearer = replace(one, offset=[Fraction(-2) + Fraction(1, 10**9)])
    assert set(patterns(nearer, vertices(nearer, *box), *box)) == {(0,), (1,)}
    assert (Fraction(1), 1 - Fraction(1, 10**9)) in vertices(nearer, *box)


@given(x=st.floats(0, 40), y=st.floats(0, 1e6))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_bounds_of_roots_and_exponentials_are_bounds(x: float, y: float) -> None:
    root = root_below(Fraction(y))
    assert root**2 <= Fraction(y) < (root + Fraction(1, 2**119)) ** 2 or y == 0
    exact = Fraction(Context(prec=80).exp(Decimal(-x)))  # rounded correctly at the eightieth digit
    assert -exact / 10**79 <= exact - exponential_below(Fraction(x)) <= Fraction(1, 2**100)


def scalar(rate: float, region: dict[str, object]) -> Case:
    """dx/dt = −x + 2 max(x − 1, 0): slope −1 to the left of 1, +1 to the right of it."""
    system = Lure(A=[[-1.0]], weights=[[[1.0]], [[2.0]]], biases=[[-1.0], [0.0]], activation="relu")
    whole = {"kind": "box", "lower": [-1.0], "upper": [0.75], "inputs": None, "proof": "cells"}
    certificate = Certificate(
        rate=rate,
        metric=np.eye(1),
        multipliers=np.zeros((1, 0)),
        slope_range=(0.0, 1.0),
        condition=1.0,
        leading=(),
        digest=system.digest(),
        spectral_cap=9.0,
        metric_cap=None,
        identity_refused=None,
        region={**whole, "stays": {"set": "box", "doses": False}, **region},
    )
    return Case(system, certificate)


def judged(one: Case) -> tuple[bool, bool | None]:
    return accepts(one), in_region(one.certificate, one.system)


def test_the_edges_are_where_they_are_on_paper() -> None:
    below = float(np.nextafter(1.0, 0.0))
    assert judged(scalar(1.0 - 1e-9, {})) == (True, True)
    assert judged(scalar(below, {}))[1] is True
    assert judged(scalar(1.0, {})) == (False, False)
    assert judged(scalar(below, {"upper": [1.0]}))[1] is True  # up to the kink, not beyond
    assert judged(scalar(below, {"upper": [float(np.nextafter(1.0, 2.0))]})) == (False, False)
    assert judged(scalar(0.5, {"lower": [0.25]})) == (False, False)  # the field points to the left, out of the box


def test_the_edge_of_the_boluses() -> None:
    """δ/(1 − e^{−λτ}) ≤ ρ with δ = ¼, ρ = ½, λ = ½: τ ≥ 2 ln 2."""

    def claim(gap: float, start: float = 0.25) -> Case:
        inputs = {"lower": [], "upper": [], "doses": [[-0.25]], "gap": gap}
        stays = {"set": "ball", "centre": [0.0], "radius": 0.5, "start": start, "doses": True}
        return scalar(0.5, {"inputs": inputs, "stays": stays})

    edge = 2.0 * math.log(2.0)  # rounded; its neighbours lie on either side of the true one
    assert judged(claim(float(np.nextafter(edge, 0.0)))) == (False, False)
    assert judged(claim(float(np.nextafter(edge, 9.0))))[1] is True
    assert judged(claim(edge * (1 + 1e-8), 0.25 * (1 - 1e-9))) == (True, True)
    assert judged(claim(edge * (1 + 1e-8), 0.2500001)) == (False, False)


def test_what_the_oracle_cannot_decide_it_does_not_judge() -> None:
    with pytest.raises(ValueError, match="relu systems"):
        in_region(replace(scalar(0.5, {}).certificate, region="global"), scalar(0.5, {}).system)


@pytest.mark.parametrize("seed", range(8))
def test_the_originals_are_true_and_accepted(seed: int) -> None:
    one = original(seed)
    assert judged(one) == (True, True)
    assert check(one.certificate, one.system)


def test_mutations_that_are_accepted_are_not_false() -> None:
    """The benchmark's regional mutations, a few of each kind."""
    rng, false, accepted = np.random.default_rng(3), 0, 0
    for step in range(8 * len(REGIONAL)):
        kind = list(REGIONAL)[step % len(REGIONAL)]
        among = [one for one in map(original, range(8)) if NEEDS.get(kind, "") in parts(one)]
        one = among[int(rng.integers(len(among)))]
        mutant = REGIONAL[kind](one, rng)
        if mutant.system.digest() != one.system.digest():
            assert not check(one.certificate, mutant.system)
            mutant = replace(mutant, certificate=replace(mutant.certificate, digest=mutant.system.digest()))
        said, true = judged(mutant)
        assert not (said and true is False), (kind, mutant.certificate.to_dict())
        false, accepted = false + (true is False), accepted + said
    assert false >= 40
    assert accepted >= 40


def test_fewer_cells_refuse_sooner_and_accept_nothing_more() -> None:
    one = next(c for c in map(original, range(8)) if "cells" in parts(c))
    stack = read_system(one.system)
    assert prove_in_region(one.certificate, stack)
    assert "within 1 cells" in prove_in_region(one.certificate, stack, most_cells=1).reason
