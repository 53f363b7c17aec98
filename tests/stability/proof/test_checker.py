"""The checker against an adversary: numbers that underflow, its budget, junk in every leaf, and what --exact decides."""

import json
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import junk
from benchmarks.oracles import claim_mutations
from benchmarks.oracles.claim_mutations import Original, consistent, exact, mutant, true
from stability import Box, Ellipsoid, Inputs, Lure, check, lipschitz_bound, weighted_l1
from stability.proof.budget import Budget
from stability.proof.checker import prove
from stability.proof.command import main
from stability.proof.rational import exactly
from stability.proof.region.cells import Affine, Frame, root_of_squares
from stability.proof.region.enclosure import Layers, argument_ranges, combine, expand
from stability.proof.region.field import Field
from stability.proof.region.invariance import field_bounds, length, vector_length
from stability.proof.system import read_system
from stability.proof.weighted_l1 import hull


@cache
def originals() -> list[Original]:
    """A slope range with both signs, input weights and a skip, and linear systems."""
    return claim_mutations.originals(("silu",))


Tree = dict[str, Any]


def by_kind(kind: str, number: int = 0) -> Original:
    return deepcopy([one for one in originals() if one.kind == kind][number])


# ---- underflow -------------------------------------------------------------------------------------------------------


def boxed(A: list[list[float]], lower: list[float], upper: list[float], **parts: Any) -> tuple[Tree, Tree]:
    """A claim that the box of a linear system is kept, written by hand, with a metric in which it contracts where it does."""
    n = len(A)
    system = {"A": A, "weights": [], "biases": [], "activation": "tanh", "B": None, "input_weights": None, "skip": None, **parts}
    P = np.eye(1) if n == 1 else np.array([[1.0, 0.0], [0.0, 4.0]])
    inputs = system.pop("inputs", None)
    region = {"kind": "box", "lower": lower, "upper": upper, "inputs": inputs, "proof": "slopes"}
    region["stays"] = {"set": "box", "doses": False}
    claim = by_kind("in a region", -2).claim | {"rate": system.pop("rate", 0.25), "metric": P.tolist(), "region": region}
    one = consistent(Original("in a region", claim, system))
    return one.claim, one.system


def test_a_box_that_is_kept_in_ordinary_numbers_is_proved() -> None:
    """The forged claims below fail for their numbers alone: with others of the same signs the form is accepted."""
    assert check(*boxed([[-1.0, 0.5], [0.0, -1.0]], [-2.0, -1.0], [2.0, 1.0]))
    assert not check(*boxed([[-1.0, 1.4], [0.0, -1.0]], [-1.0, -1.0], [2.0, 1.0]))  # (1 − 1.4) · 1 < 0 at the lower corner
    assert not check(*boxed([[-1.0, 1.4], [0.0, -1.0]], [-1e-100, -1e-100], [2.0, 1.0]))
    assert check(*boxed([[-1.0, 0.5], [0.0, -1.0]], [-1e-100, -1e-100], [2.0, 1.0]))


@pytest.mark.parametrize("tiny", [5e-324, 1e-320, 2.3e-308, 1e-300, 1e-200, 1e-150, 9e-101])
def test_walls_whose_products_underflow_are_refused(tiny: float) -> None:
    """f₁ = (1 − 1.4) · 5e-324 points outward at the lower corner, and rounds to zero."""
    for A in ([[-1.0, 1.4], [0.0, -1.0]], [[-1e-30, 1.4e-30], [0.0, -1e-30]]):
        rate = 0.25 if A[0][0] == -1.0 else 2.5e-31
        for upper in ([2.0, 1.0], [tiny, tiny]):
            verdict = prove(*boxed(A, [-tiny, -tiny], upper, rate=rate))
            assert not verdict
            assert verdict.decided
            assert "below 1e-100" in verdict.reason


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"lower": [0.0], "upper": [1e-250], "doses": None, "gap": None}, "a level"),
        ({"lower": [-5e-324], "upper": [0.0], "doses": None, "gap": None}, "a level"),
        ({"lower": [0.0], "upper": [0.0], "doses": [[1e-300]], "gap": 1.0}, "a dose"),
        ({"lower": [0.0], "upper": [0.0], "doses": [[0.1]], "gap": 1e-310}, "the gap"),
    ],
)
def test_levels_and_doses_whose_products_underflow_are_refused(change: Tree, what: str) -> None:
    """dx/dt = −x − 1e-80 u on [0, 1], u in [0, 1e-250]: at 0 the field is negative, and rounds to zero."""
    verdict = prove(*boxed([[-1.0]], [0.0], [1.0], B=[[-1e-80]], inputs=change))
    assert not verdict
    assert what in verdict.reason
    assert "below 1e-100" in verdict.reason


@pytest.mark.parametrize(
    ("path", "what"),
    [
        (("rate",), "the rate"),
        (("region", "stays", "radius"), "radius"),
        (("region", "stays", "start"), "starts"),
        (("region", "stays", "centre", 0), "centre"),
        (("region", "inputs", "doses", 0, 1), "a dose"),
    ],
)
def test_every_other_number_of_a_region_too(path: tuple[Any, ...], what: str) -> None:
    one = next(o for o in originals() if o.kind == "in a region" and o.claim["region"]["stays"]["doses"])
    assert check(one.claim, one.system)
    new = deepcopy(one)
    owner: Any = new.claim
    for key in path[:-1]:
        owner = owner[key]
    owner[path[-1]] = 4e-310
    reason = prove(consistent(new).claim, new.system).reason
    assert what in reason
    assert "below 1e-100" in reason


@pytest.mark.parametrize(
    "make",
    [
        lambda: Box([-5e-324], [1.0]),
        lambda: Ellipsoid([1e-200], 1.0),
        lambda: Ellipsoid([0.0], 1e-120),
        lambda: Inputs([0.0], [1e-250]),
        lambda: Inputs([0.0], [1.0], [[0.0, -1e-101]], 1.0),
        lambda: Inputs([0.0], [1.0], [[0.0, 1.0]], 1e-300),
    ],
)
def test_they_are_refused_at_the_door_of_the_search_too(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="not zero and below 1e-100"):
        make()
    Box([-1e-100, 0.0], [1.0, 1e-99])


@settings(derandomize=True, max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), low=st.integers(-1074, -300), spread=st.integers(0, 60))
def test_roots_of_squares_that_underflow_are_bounds(seed: int, low: int, spread: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.ldexp(rng.normal(size=5), rng.integers(low, low + spread + 1, size=5))
    truth = sum(Fraction(v) ** 2 for v in values)
    assert Fraction(float(root_of_squares(values[:, None], 0)[0])) ** 2 * (1 + Fraction(1, 2**40)) + Fraction(2) ** -2100 >= truth
    frame = Frame.of(np.eye(5))
    assert Fraction(float(length(frame, -values[:, None], values[:, None])[0])) ** 2 >= truth
    assert Fraction(vector_length(frame, values)) ** 2 >= truth
    assert root_of_squares(np.zeros((2, 1)), 0)[0] == 0.0


def test_a_drift_whose_square_underflows_is_still_a_drift() -> None:
    """|f(x̂)| = 1e-170 with the room 1e-180: the squares are zero."""
    one = by_kind("in a region", -2)
    A, drift = [[-1e-90, 0.0], [0.0, -1e-90]], 1e-80
    system = one.system | {"A": A, "B": None}
    stays = {"set": "ball", "centre": [-drift, 0.0], "radius": 2e-90, "start": 1e-90, "doses": False}
    region = {"kind": "box", "lower": [-1.0, -1.0], "upper": [1.0, 1.0], "inputs": None, "proof": "slopes", "stays": stays}
    claim = one.claim | {"rate": 0.9e-90, "metric": [[1.0, 0.0], [0.0, 1.0]], "multipliers": [[]], "region": region}
    made = consistent(Original("in a region", claim, system))
    verdict = prove(made.claim, made.system)
    assert not verdict
    assert "drift" in verdict.reason
    near = deepcopy(made)
    near.claim["region"]["stays"]["centre"] = [0.0, 0.0]
    assert check(consistent(near).claim, near.system)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.integers(-1040, 0), part=st.integers(-330, 100), identity=st.booleans())
def test_bounds_of_a_linear_field_hold_in_rationals_near_the_end_of_the_numbers(
    seed: int, scale: int, part: int, identity: bool
) -> None:
    """Cells as near to zero as they like, entries from 1e-100 up, rows of the identity and others: never inside the truth."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return np.ldexp(np.round(rng.normal(size=shape) * 8) / 8, part)

    field = Field((draw(2, 2), draw(2, 2)), (draw(2, 1),), None, np.zeros((2, 0)), draw(2) * rng.integers(0, 2))
    rows = np.array([[-1.0, 0.0], [0.0, 1.0]]) if identity else rng.normal(size=(2, 2))
    error = np.zeros((2, 2)) if identity else np.full((2, 2), 1e-200)
    c, r = np.ldexp(rng.normal(size=(3, 4)), scale), np.ldexp(rng.uniform(0, 2, (3, 4)), scale)
    c = c * rng.integers(0, 2, size=(3, 1))
    with np.errstate(all="ignore"):
        low, high = field_bounds(field, rows, error, c, r, lower=np.full(3, -np.inf), upper=np.full(3, np.inf))
    F = np.vectorize(Fraction, otypes=[object])
    A = F(field.linear[0]) + F(field.linear[1])
    for corner in (-1, 0, 1):
        y = F(c) + corner * F(r)
        f = F(rows) @ (A @ y[:2] + F(field.B[0]) @ y[2:] + F(field.bias)[:, None])
        assert (F(low) <= f).all()
        assert (f <= F(high)).all()


@settings(derandomize=True, max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.integers(-1000, 0), first=st.integers(-300, 100), then=st.integers(-300, 100))
def test_enclosures_hold_in_rationals_near_the_end_of_the_numbers(seed: int, scale: int, first: int, then: int) -> None:
    """Two layers of relus: values, arguments and slopes at points of a cell, entries from 1e-91 to 1e31."""
    rng, F = np.random.default_rng(seed), np.vectorize(Fraction, otypes=[object])

    def draw(exponent: int, *shape: int) -> np.ndarray:
        return np.ldexp(np.round(rng.normal(size=shape) * 8) / 8, exponent)

    biases = draw(first + scale, 3) * (seed % 2), draw(first, 3) * (seed % 3)
    layers = Layers((draw(first, 3, 2), draw(then, 3, 3)), biases, "relu")
    out = draw(-first, 2, 3)
    c, r = np.ldexp(rng.normal(size=(2, 4)), scale), np.ldexp(rng.uniform(0, 2, (2, 4)), scale)
    ranges, f = argument_ranges(layers, c, r), combine(expand(layers, c, r), out, np.zeros_like(out), r)
    low, high = f.ranges(r)
    for corner in (-1, 0, 1):
        z = F(c) + corner * F(r) * F(rng.choice([-1.0, 1.0], size=c.shape))
        J = np.broadcast_to(F(np.eye(2))[:, :, None], (2, 2, 4))
        for W, b, (a, e) in zip(layers.weights, layers.biases, ranges, strict=True):
            v = F(W) @ z + F(b)[:, None]
            assert (F(a) <= v).all()
            assert (v <= F(e)).all()
            z, J = np.maximum(v, Fraction(0)), F((v > 0).astype(float))[:, None] * np.einsum("ij,jdk->idk", F(W), J)
        value, J = F(out) @ z, np.einsum("ij,jdk->idk", F(out), J)
        assert (F(low) <= value).all()
        assert (value <= F(high)).all()
        assert (abs(J - F(f.gradient)) <= F(f.gradient_error + f.hessian_error + f.remainder / 6)).all()


def test_an_exact_zero_on_a_face_stays_zero() -> None:
    """On x₀ = 0 nothing flows outward, also where other walls, entries and levels are as small as they may be."""
    for scale in (1.0, 4e-100):
        made = boxed([[-1.0, 0.0], [0.5 * scale, -1.0]], [0.0, 0.0], [scale, 2.0], B=[[0.0], [scale]], inputs=None)
        claim, system = made
        claim["region"]["inputs"] = {"lower": [0.0], "upper": [scale], "doses": None, "gap": None}
        one = consistent(Original("in a region", claim, system))
        assert check(one.claim, one.system)
        one.system["B"] = [[-scale], [scale]]
        assert not check(consistent(one).claim, one.system)


def test_whole_numbers_that_double_precision_rounds_are_refused() -> None:
    """The sentence would quote 2⁵³ + 1 and be proved of 2⁵³."""
    for wall, kept in ((-(2.0**53), True), (-(2**53) - 1, False)):
        verdict = prove(*boxed([[-1.0]], [wall], [1.0]))
        assert bool(verdict) is kept
        assert kept or "round" in verdict.reason
    weights, biases = [np.ones((3, 1)) / 4, np.ones((1, 3)) / 4], [np.zeros(3), np.zeros(1)]
    found = lipschitz_bound(weights, "tanh", Box([-1.0], [1.0]), biases=biases).to_dict()
    layers = {"weights": weights, "activation": "tanh", "biases": biases}
    for upper, word in ((1, ""), (2**53 + 1, "round")):
        found["region"]["upper"] = [upper]
        verdict = prove(consistent(Original("lipschitz in a box", found, layers)).claim, layers)
        assert bool(verdict) is not bool(word)
        assert word in verdict.reason
    assert "whole number" in prove(by_kind("tube").claim, by_kind("tube").system | {"B": [[2**53 + 1], [0]]}).reason


# ---- not a number ----------------------------------------------------------------------------------------------------


def test_an_axis_that_is_not_a_number_in_one_cell_is_hidden_in_none() -> None:
    """The second cell's slope along the first axis forbids it, whatever the first cell's is; the third axis does nothing."""
    slopes = np.zeros((3, 1, 1, 2))
    slopes[0, 0, 0], slopes[1, 0, 0] = [np.nan, 5.0], [0.1, 0.1]
    one = np.ones((1, 1, 2))
    affine = Affine(one, one, slopes, 0.0 * one, np.ones((3, 2)))
    frame = Frame.of(np.eye(1))
    assert not affine.holds(frame, 0.1).any()
    slopes[0, 0, 0, 1] = 0.2
    assert affine.holds(frame, 0.1).tolist() == [False, True]
    slopes[0, 0, 0] = [np.nan, 0.0]
    assert affine.holds(frame, 0.1).tolist() == [False, True]
    assert not affine.fails(frame, 0.1).any()
    broken = replace(affine, centre=np.array([[[np.nan, 1.0]]]))
    assert not broken.fails(frame, 0.1).any()


def test_cells_whose_bounds_overflow_prove_nothing_and_end() -> None:
    """Weights and walls of 1e49: infinities and NaN everywhere."""
    one = next(o for o in originals() if o.kind == "in a region" and o.claim["region"]["proof"] == "cells")
    new = deepcopy(one)
    new.claim["region"]["lower"], new.claim["region"]["upper"] = [-1e49, -1e49], [1e49, 1e49]
    new.system["weights"][0] = (np.array(new.system["weights"][0]) * 1e48).tolist()
    begin = time.monotonic()
    assert not check(consistent(new).claim, new.system, budget=Budget(cells=20_000))
    assert time.monotonic() - begin < 5.0


# ---- the budget ------------------------------------------------------------------------------------------------------


def many(side: int) -> tuple[Tree, Tree]:
    """A file of `side` numbers twice that speaks of their square many systems."""
    return next((o.claim, o.system) for o, what in junk.bombs() if what == f"weighted l1 of {side}² systems")


def test_axes_that_broadcast_are_counted_before_they_are_made() -> None:
    begin = time.monotonic()
    verdict = prove(*many(1000))
    assert time.monotonic() - begin < 2.0
    assert not verdict
    assert not verdict.decided
    assert verdict.reason.startswith("not decided")
    claim, system = many(3000)
    for kind in ("certificate", "tube", "l2", "step", "weighted l1"):
        begin = time.monotonic()
        assert not prove(claim | {"kind": kind, "region": "global"}, system)
        assert time.monotonic() - begin < 2.0
    small = prove(*many(200), budget=Budget(seconds=1e-3))
    assert not small.decided
    assert "0.001 seconds" in small.reason


def test_weighted_l1_decides_what_it_did() -> None:
    """The same kind of file, few systems: proved, and refused above the rate."""
    system = Lure(A=-np.ones((3, 1, 1, 1)), weights=[], biases=[], skip=np.zeros((1, 2, 1, 1)))
    found = weighted_l1(system, 0.5)
    assert found
    assert check(found, system)
    faster = replace(found, rate=1.5, claim="")
    assert not check(faster, system)
    assert prove(faster, system).decided
    weights, biases = [np.full((60, 20), 1e-3), np.full((20, 60), 1e-3)], [np.zeros(60), np.zeros(20)]
    wide = Lure(A=-3.0 * np.eye(20), weights=weights, biases=biases)
    low, high = hull(read_system(wide), 0)
    assert low[0, 1] == 0
    assert float(high[0, 1]) == pytest.approx(60e-6)


def test_cells_run_out_with_that_word_and_more_of_them_decide() -> None:
    one = next(o for o in originals() if o.kind == "in a region" and o.claim["region"]["proof"] == "cells")
    assert check(one.claim, one.system)
    verdict = prove(one.claim, one.system, budget=Budget(cells=1))
    assert not verdict
    assert not verdict.decided
    assert verdict.reason.startswith("not decided: 1 cells are used up")
    assert not prove(one.claim, one.system, budget=Budget(seconds=1e-9)).decided
    assert not prove(one.claim, one.system, budget=Budget(bytes=1000)).decided
    assert "bytes" in prove(one.claim, one.system, budget=Budget(bytes=1000)).reason


def test_a_rate_at_the_optimum_ends() -> None:
    """At the best rate itself no cell about the worst state is ever proved."""
    one = next(o for o in originals() if o.kind == "in a region" and o.claim["region"]["proof"] == "cells")
    low, high = one.claim["rate"], 40.0 * one.claim["rate"]
    new = deepcopy(one)
    for _ in range(60):
        new.claim["rate"] = (low + high) / 2
        said = prove(consistent(new).claim, new.system, budget=Budget(cells=80))
        low, high = (new.claim["rate"], high) if said else (low, new.claim["rate"])
        if not said.decided:
            break
    assert not said.decided
    assert "80 cells" in said.reason


def test_a_budget_is_positive_numbers() -> None:
    wrong_ones: list[Tree] = [{"cells": 0}, {"seconds": -1.0}, {"bytes": None}, {"cells": True}, {"cells": "x" * 999}]
    for wrong in (*wrong_ones, {"bytes": 2.5}, {"cells": float("inf")}, {"seconds": float("nan")}):
        with pytest.raises(ValueError, match=r"give a (positive|whole) number") as error:
            Budget(**wrong)
        assert len(str(error.value)) < 250
    assert Budget(seconds=float("inf"))


def written(folder: Path, claim: Any, system: Any) -> str:
    file = folder / "claim.json"
    file.write_text(json.dumps({"certificate": claim, "system": system}))
    return str(file)


def test_the_command_says_not_decided_and_how_far_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = next(o for o in originals() if o.kind == "in a region" and o.claim["region"]["proof"] == "cells")
    file = written(tmp_path, one.claim, one.system)
    assert main([file]) == 0
    assert capsys.readouterr().err == ""  # within a second there is nothing to tell
    assert main([file, "--cells", "1"]) == 3
    assert capsys.readouterr().out.startswith("not decided: 1 cells")
    assert main([file, "--cells", "1", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["proved"], told["decided"]) == (False, False)
    assert main([file, "--bytes", "3200"]) == 3
    assert "100 bytes" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main([file, "--seconds", "-1"])
    assert stop.value.code == 2
    assert "positive" in capsys.readouterr().err
    ticks = iter(range(10**9))  # a clock by which every look takes a second
    monkeypatch.setattr("stability.proof.budget.time.monotonic", lambda: float(next(ticks)))
    assert main([file, "--seconds", "1000"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert "of at most 1000 s" in lines[0]
    assert prove(one.claim, one.system, budget=Budget(seconds=1000.0))
    assert capsys.readouterr().err == ""  # the library is silent unless it is asked


def test_progress_is_for_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    one = next(o for o in originals() if o.kind == "in a region" and o.claim["region"]["proof"] == "cells")
    ticks, told = iter(range(10**9)), []
    monkeypatch.setattr("stability.proof.budget.time.monotonic", lambda: float(next(ticks)))
    assert prove(one.claim, one.system, budget=Budget(seconds=1000.0), progress=told.append)
    assert told
    assert all("cells" in line for line in told)


# ---- a second opinion ------------------------------------------------------------------------------------------------


def test_exact_says_what_it_does_not_decide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, word in (("in a region", "regional claims"), ("tube", "'tube'"), ("lipschitz", "'lipschitz'"), ("step", "'step'")):
        one = by_kind(kind)
        file = written(tmp_path, one.claim, one.system)
        assert main([file]) == 0
        capsys.readouterr()
        assert main([file, "--exact"]) == 3
        said = capsys.readouterr().out
        assert said.startswith("not decided: rational arithmetic does not decide ")
        assert word in said
        assert "false" not in said
    one = by_kind("weighted l1")  # the proof is in rationals already
    assert main([written(tmp_path, one.claim, one.system), "--exact"]) == 0
    false = by_kind("in a region")
    false.claim["rate"] *= 10.0
    assert main([written(tmp_path, consistent(false).claim, false.system), "--exact"]) == 1
    with pytest.raises(ValueError, match="about all states"):
        exactly(false.claim, false.system)
    assert exactly(by_kind("all states").claim, by_kind("all states").system)


# ---- junk and mutants ------------------------------------------------------------------------------------------------


def test_biases_that_are_numbers_where_vectors_are_needed_are_refused() -> None:
    weights, biases = [np.ones((3, 2)) / 4, np.ones((1, 3)) / 4], [np.zeros(3), np.zeros(1)]
    found = lipschitz_bound(weights, "tanh", Box([-1.0, -1.0], [1.0, 1.0]), biases=biases)
    system = {"weights": weights, "activation": "tanh"}
    assert check(found, {**system, "biases": biases})
    for wrong in ([1.0, 1.0], [[0.0] * 3, 1.0], [[0.0] * 3], [[[0.0] * 3], [0.0]], [], [None, None], ["x", "y"], 3, None):
        assert not check(found, {**system, "biases": wrong})


def test_junk_is_refused_without_an_exception() -> None:
    """A sample of the benchmark's 25,000: one leaf in so many of every claim and system."""
    rng, begin = np.random.default_rng(4), time.monotonic()
    for one, what in junk.mutants(originals(), rng, 350):
        verdict = prove(one.claim, one.system, budget=Budget(cells=5_000))
        assert len(verdict.reason) < 2_000, what
    assert time.monotonic() - begin < 60.0


def test_what_is_quoted_is_short() -> None:
    one = by_kind("all states")
    for name, wrong in (("kind", "k" * 10_000), ("rate", "r" * 10_000), ("region", ["x" * 10_000]), ("region", 10**3000)):
        assert len(prove(one.claim | {name: wrong}, one.system).reason) < 250
    assert len(prove(one.claim, one.system | {"activation": "a" * 10_000}).reason) < 250
    assert not check(one.claim | {"not_covered": [10**5000]}, one.system)
    assert not check(by_kind("in a region").claim | {"region": junk.nested(3000)}, by_kind("in a region").system)


def test_what_is_accepted_among_extreme_numbers_is_true() -> None:
    """A sample of the benchmark's mutants of every kind of claim, and both answers among them."""
    rng, accepted, false = np.random.default_rng(8), 0, 0
    for step in range(160):
        one = mutant(originals()[step % len(originals())], rng)
        said = check(one.claim, one.system, budget=Budget(cells=1_500))
        if said:
            assert true(one, rng), one
        elif exact(one) and step % 3 == 0:
            false += not true(one, rng)
        accepted += said
    assert accepted > 25
    assert false > 8


def test_more_bytes_than_there_are_may_be_allowed(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"certificate": {}, "system": {}}')
    assert main([str(tmp_path / "p.json"), "--bytes", str(10**15)]) == 2  # and read is what is there
