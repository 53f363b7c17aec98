"""Certificates of systems with a tape: closed forms in one state, linear systems written as tapes, half-spaces with doses, and
refusals that say which half of the proof is missing."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physics.operations import hill, maximum, relu, saturating, sin, square
from physics.trace import trace
from stability import (
    Box,
    Certificate,
    Ellipsoid,
    Inputs,
    Lure,
    Policy,
    Refusal,
    certify,
    check,
    close_loop,
    prove,
    read_claim,
)
from stability.proof.tape import plain, read_tape, slopes

Rate = Callable[[Any, Any, Any], Mapping[str, Any]]


def taped(rate: Rate, states: str, theta: Mapping[str, float], inputs: str = "", **more: Any) -> Lure:
    n = len(states.split())
    parts: dict[str, Any] = {"A": np.zeros((n, n)), "weights": [], "biases": []}
    tape = trace(rate, states.split(), inputs.split(), list(theta)).to_dict()
    return Lure(**(parts | {"tape": tape, "theta": list(theta.values())} | more))


def elimination(x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
    return {"x": u.r - theta.V * saturating(x.x / theta.K)}


def response(x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
    """A drug that inhibits a production: indirect response I."""
    return {"c": -theta.ke * x.c, "r": theta.kin * (1.0 - theta.most * saturating(x.c / theta.half)) - theta.kout * x.r}


DRUG = {"ke": 0.1, "kin": 5.0, "most": 0.9, "half": 2.0, "kout": 0.05}
HALF = Box([0.0, 0.0], [np.inf, np.inf])


def sat(u: float) -> Lure:
    return taped(elimination, "x", {"V": 500.0, "K": 200.0}, "r")


def test_one_state_is_known_exactly() -> None:
    """Rate V K/(K + X)²; the face X is kept as long as no more flows in than V X/(K + X) out."""
    system, box = sat(0.0), Box([0.0], [600.0])
    found = certify(system, region=box, inputs=Inputs([0.0], [374.9]))
    assert isinstance(found, Certificate)
    limit = 500.0 * 200.0 / 800.0**2
    assert 0.999 * limit <= found.rate <= limit
    assert isinstance(found.region, Mapping)
    assert found.region["stays"] == {"set": "box", "doses": False}
    again = read_claim(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert check(again, system.to_dict())
    more = certify(system, region=box, inputs=Inputs([0.0], [375.1]))
    assert isinstance(more, Refusal)
    assert "face x = 600" in more.message
    assert "regional_rate(system, region, inputs)" in more.message
    assert more.best_rate is not None
    assert 0.999 * limit <= more.best_rate <= limit
    assert isinstance(certify(system, rate=1.001 * limit, region=box, inputs=Inputs([0.0], [374.9])), Refusal)


def test_a_ball_with_doses_is_known_exactly_in_one_state() -> None:
    """About the rest x̂ of a constant inflow: doses δ at least τ apart are covered where δ/(1 − e^(−λτ)) ≤ ρ."""
    rate: Rate = lambda x, u, theta: {"x": theta.inflow - theta.k * x.x - theta.V * saturating(x.x / theta.K)}  # noqa: E731
    system, box = taped(rate, "x", {"inflow": 10.0, "k": 0.1, "V": 10.0, "K": 50.0}), Box([-20.0], [100.0])
    free = certify(system, region=box)
    assert isinstance(free, Certificate)
    tape, theta = read_tape(system.tape), np.array([10.0, 0.1, 10.0, 50.0])
    grid = np.linspace(0.0, 100.0, 100_001)
    rest = float(grid[np.abs(plain(tape, grid[:, None], np.zeros((1, 0)), theta)[:, 0]).argmin()])
    room = min(rest + 20.0, 100.0 - rest) * (1.0 - np.exp(-free.rate * 10.0))
    found = certify(system, region=box, inputs=Inputs([], [], [[0.98 * room]], 10.0))
    assert isinstance(found, Certificate)
    assert isinstance(found.region, Mapping)
    assert found.region["stays"]["set"] == "ball"
    assert found.region["stays"]["doses"]
    for part, kept in ((0.99, True), (1.01, False)):
        inputs = {**found.region["inputs"], "doses": [[part * room]]}
        stays = {**found.region["stays"], "start": 1e-3}
        assert check(replace(found, region={**found.region, "inputs": inputs, "stays": stays}, claim=""), system) == kept
    sooner = {**found.region, "inputs": {**found.region["inputs"], "gap": 5.0}}
    assert not check(replace(found, region=sooner, claim=""), system)


@settings(derandomize=True, max_examples=3, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_linear_system_written_as_a_tape_has_the_verdict_of_its_matrices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    A, B = rng.normal(size=(2, 2)) - 1.5 * np.eye(2), rng.normal(size=(2, 1))

    def rate(x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        p, q = x.p, x.q
        return {"p": theta.a * p + theta.b * q + theta.e * u.r, "q": theta.c * p + theta.d * q + theta.f * u.r}

    system = taped(rate, "p q", dict(zip("abcdef", [*A.ravel(), *B.ravel()], strict=True)), "r")
    plainly = Lure(A=A, B=B, weights=[], biases=[])
    for where in (
        {},
        {"region": Ellipsoid([0.0, 0.0], 5.0), "inputs": Inputs([-1.0], [1.0], [[0.3, 0.1]], 1.0)},
        {"region": Box([-5.0, -5.0], [5.0, 5.0]), "inputs": Inputs([-0.5], [0.5])},
    ):
        one, two = certify(system, **where), certify(plainly, **where)
        assert isinstance(one, (type(two), Certificate))  # a tape's rounder metrics may keep more
        if isinstance(one, Certificate) and isinstance(two, Certificate):
            assert one.rate == pytest.approx(two.rate, rel=0.03)
            assert one.rate <= -np.linalg.eigvals(A).real.max()
        elif isinstance(one, Refusal) and not where:
            assert one.reason == two.reason == "disproved"


def test_a_half_space_with_doses_is_kept_and_its_rate_is_that_of_the_slowest() -> None:
    system = taped(response, "c r", DRUG, scale=[2.0, 100.0])
    doses = Inputs([], [], [[10.0, 0.0]], 24.0)
    found = certify(system, region=HALF, inputs=doses)
    assert isinstance(found, Certificate)
    assert 0.98 * 0.05 <= found.rate <= 0.05
    assert "<= x <= [inf, inf]" in found.claim
    assert "from 0 mg on" in found.where_in_words([("c", "mg"), ("r", "mg")])
    again = read_claim(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert check(again, system)
    negative = {**doses.to_dict(), "doses": [[10.0, -1.0]]}
    forged = replace(found, region={**dict(found.region), "inputs": negative}, claim="")  # type: ignore[arg-type]
    assert "cross one of its faces" in prove(forged, system).reason
    # where the drug stops more than all production, the response may become negative
    beyond = taped(response, "c r", DRUG | {"most": 1.1}, scale=[2.0, 100.0])
    assert "face r = 0" in prove(replace(found, digest=beyond.digest()), beyond).reason
    upper = {**dict(found.region), "upper": [20.0, 200.0]}  # type: ignore[arg-type]
    assert "cross one of its faces" in prove(replace(found, region=upper, claim=""), system).reason


def test_all_states_where_every_slope_is_bounded_and_else_a_sentence() -> None:
    rate: Rate = lambda x, u, theta: {"x": -2.0 * x.x + theta.a * sin(x.y), "y": u.r - x.y + 0.1 * relu(x.x)}  # noqa: E731
    system = taped(rate, "x y", {"a": 0.5}, "r", theta_upper=[0.7])
    found = certify(system)
    assert isinstance(found, Certificate)
    assert found.everywhere
    assert 0.5 < found.rate < 1.0
    assert "any theta within its stated bounds" in found.claim
    again = read_claim(json.loads(json.dumps(found.to_dict())))
    assert check(again, system)
    assert not check(found, taped(rate, "x y", {"a": 0.5}, "r", theta_upper=[1.7]))
    none = certify(taped(response, "c r", DRUG))
    assert isinstance(none, Refusal)
    assert "needs an argument above -1" in none.message
    assert "Give the region" in none.message
    grows = certify(taped(lambda x, u, theta: {"x": 0.1 * x.x - 0.05 * sin(x.x)}, "x", {}))
    assert isinstance(grows, Refusal)
    assert grows.reason == "disproved"
    assert "The linear part" not in grows.message


def test_a_face_that_is_only_touched_needs_slopes_on_both_of_its_sides() -> None:
    """x' = −x − h(−x), h(v) = √v/(1 + √v) on v > 0: the field is 0 at x = 0, and x = −t²/4 + … starts there too."""
    system = taped(lambda x, u, theta: {"x": -x.x - hill(-x.x, 0.5)}, "x", {})
    found = certify(system, region=Box([0.0], [1.0]))
    assert isinstance(found, Refusal)
    assert "just outside of the region" in found.message
    system = taped(lambda x, u, theta: {"x": -x.x - hill(-x.x, 1.5)}, "x", {})
    assert isinstance(certify(system, region=Box([0.0], [1.0])), Certificate)


def lent(x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
    """What p gains by q, q loses by p: corners take both slopes at their worst at once, which no state has."""
    return {"p": -x.p - theta.a * square(x.p) * x.p + x.p * square(x.q), "q": u.r - square(x.p) * x.q}


@pytest.mark.parametrize("where", [Ellipsoid([0.0, 0.0], 0.9), Box([-0.9, -0.9], [0.9, 0.9])], ids=["ellipsoid", "box"])
def test_a_given_metric_and_an_ellipsoid_are_cut_into_cells_and_so_is_a_closed_loop(where: Box | Ellipsoid) -> None:
    closed = close_loop(taped(lent, "p q", {"a": 0.3}, "r"), Policy.linear([[0.0, -1.0]]), ["r"])
    found = certify(closed, region=where, metric=np.eye(2), seconds=10)
    assert isinstance(found, Certificate), found
    assert found.region["proof"] == "cells"  # type: ignore[index, call-overload]
    # in the middle of the face p = 0 the symmetric part is q² − 1
    assert 0.97 * 0.19 <= found.rate <= 0.19
    assert check(found, closed)
    asked = certify(closed, 0.15, where, metric=np.eye(2), seconds=10)
    assert isinstance(asked, Certificate)
    assert asked.rate == 0.15
    none = certify(closed, 0.191, where, metric=np.eye(2), seconds=10)
    assert isinstance(none, Refusal)
    if isinstance(where, Ellipsoid):  # its metric is sought
        assert isinstance(certify(closed, 0.15, where, seconds=10), Certificate)


def faces_hold(system: Lure, box: Box, levels: Inputs, theta: list[float], rate: float) -> bool:
    """A dense grid: on no face the field points outward, and no Jacobian exceeds the rate in any metric."""
    assert system.tape is not None
    tape, n = read_tape(system.tape), system.states
    axes = [
        np.linspace(a, b, 13) for a, b in zip([*box.lower, *levels.lower], [*box.upper, *levels.upper], strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    x, u = grid[:, :n], grid[:, n:]
    f = plain(tape, x, u, np.array(theta))
    kept = all(
        (f[x[:, i] == box.lower[i], i] >= -1e-12).all() and (f[x[:, i] == box.upper[i], i] <= 1e-12).all()
        for i in range(n)
    )
    return kept and bool((np.linalg.eigvals(slopes(tape, x, u, np.array(theta))).real.max(-1) <= -rate).all())


def coupled(x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
    p = theta.a * u.r - theta.b * x.p - theta.c * x.p * x.q
    return {"p": p, "q": theta.d * saturating(maximum(x.p, 0.0)) - square(theta.e) * x.q}


def test_every_change_that_breaks_rate_or_staying_is_refused() -> None:
    """With the digest forged for the changed system, so that the arithmetic alone is asked; the oracle is a dense grid."""
    box, levels, theta = Box([0.0, 0.0], [2.0, 1.0]), Inputs([0.0], [1.0]), [1.0, 1.0, 0.2, 0.6, 0.9]
    system = taped(coupled, "p q", dict(zip("abcde", theta, strict=True)), "r")
    found = certify(system, region=box, inputs=levels, seconds=5.0)
    assert isinstance(found, Certificate)
    assert isinstance(found.region, Mapping)
    rng, accepted, refused = np.random.default_rng(0), 0, 0
    assert system.tape is not None
    for _ in range(60):
        tape, changed = json.loads(json.dumps(dict(system.tape))), list(theta)
        region = json.loads(json.dumps(dict(found.region)))
        kind, line = rng.integers(4), int(rng.integers(len(tape["code"])))
        if kind == 0:
            swap = {"add": "subtract", "subtract": "add", "multiply": "add", "saturating": "tanh", "maximum": "minimum"}
            tape["code"][line][0] = swap.get(tape["code"][line][0], tape["code"][line][0])
        elif kind == 1:
            changed[int(rng.integers(5))] *= float(np.exp(0.7 * rng.normal()))
        elif kind == 2:
            region["upper"][int(rng.integers(2))] *= float(np.exp(0.7 * rng.normal()))
        else:
            region["inputs"]["upper"][0] *= float(np.exp(rng.normal()))
        other = replace(system, tape=tape, theta=changed)
        forged = Certificate.from_dict(found.to_dict() | {"digest": other.digest(), "region": region, "claim": ""})
        if prove(forged, other):
            accepted += 1
            asked = Box(region["lower"], region["upper"]), Inputs(region["inputs"]["lower"], region["inputs"]["upper"])
            assert faces_hold(other, *asked, changed, found.rate)
        else:
            refused += 1
        if other.digest() != found.digest:
            assert not check(found, other)
    assert accepted > 8
    assert refused > 20
