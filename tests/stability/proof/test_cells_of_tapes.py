"""Cells with a tape: random systems against dense points and secants, closed forms, mutated claims, and axes nobody sees."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stability import (
    Box,
    Certificate,
    Inputs,
    Lure,
    Policy,
    RegionalRate,
    certify,
    close_loop,
    common_metric,
    prove,
    regional_rate,
)
from stability.proof import Budget
from stability.proof.reading import Unusable
from stability.proof.region.cells import Frame, affine_on
from stability.proof.region.jacobian import jacobians_over
from stability.proof.system import read_system
from stability.proof.tape import plain, read_tape, seen_by_slopes, slopes
from stability.search.known import known_jacobians, without_known
from stability.search.raise_rate import raise_rate
from stability.search.states.jacobians import abscissa, log_norm
from tests.stability.search.test_regional_rate import (
    BERGMAN,
    BOX,
    LEVELS,
    MICHAELIS_MENTEN,
    bergman,
    network,
    saturating,
)

Array = NDArray[np.float64]
_ONE = ("tanh", "atan", "sin", "relu", "abs", "square", "softplus", "sigmoid", "negate")
SHARES = (0.5, 0.9, 1.001)  # of the best at sampled states
_TWO = ("add", "subtract", "multiply", "multiply", "minimum", "maximum")


def claimed(system: Lure, box: Box, inputs: Inputs | None, metric: Array, rate: float) -> RegionalRate:
    """The claim that cells prove this rate in this metric."""
    P = (metric + metric.T) / 2
    levels = None if inputs is None else {"lower": inputs.lower.tolist(), "upper": inputs.upper.tolist()}
    stack = read_system(system, tapes=True, mixed=True, policies=True)
    return RegionalRate(
        rate=rate,
        metric=P,
        multipliers=np.zeros((stack.count, 0)),
        slope_range=system.slope_range,
        condition=float(np.linalg.cond(P)),
        leading=system.leading,
        digest=system.digest(),
        region={**box.to_dict(), "inputs": levels, "proof": "cells"},
        wide=stack.wide,
        feedback=stack.feedback,
    )


def random_system(seed: int) -> Lure:
    """dx/dt = −a x + a small random tape in (x, u, θ) + a small network, of two or three states."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 4))
    code: list[list[Any]] = [["state", k] for k in range(n)] + [["input", 0], ["parameter", 0], ["constant", 0.1]]
    small = n + 2
    for _ in range(int(rng.integers(4, 14))):
        if rng.random() < 0.45:
            code.append([_ONE[rng.integers(len(_ONE))], int(rng.integers(len(code)))])
        else:
            code.append([_TWO[rng.integers(len(_TWO))], *(int(k) for k in rng.integers(len(code), size=2))])
    rate = []
    for k in range(n):
        code += [["constant", -0.5 - float(rng.random())], ["multiply", len(code), k]]
        code += [["multiply", small, int(rng.integers(len(code) - 2))], ["add", len(code) - 1, len(code)]]
        rate.append(len(code) - 1)
    names = [f"x{k}" for k in range(n)]
    tape = {"tape": 1, "states": names, "inputs": ["u"], "parameters": ["p"], "code": code, "rate": rate}
    W = [rng.normal(size=(4, n)), 0.1 * rng.normal(size=(n, 4))]
    net = {"weights": W, "biases": [rng.normal(size=4), np.zeros(n)], "input_weights": rng.normal(size=(4, 1))}
    if seed % 3 == 0:
        net = {"weights": [], "biases": []}
    theta: dict[str, Any] = {"theta": [0.5], "theta_upper": [0.7]} if seed % 4 == 1 else {"theta": [0.5]}
    return Lure(A=np.zeros((n, n)), tape=tape, activation=("tanh", "relu")[seed % 2], **net, **theta)


def points_in(system: Lure, box: Box, inputs: Inputs, count: int, seed: int = 0) -> Array:
    """(count, n + m + q): x, u and θ of the first system, the box's corners among them."""
    stack = read_system(system, tapes=True, mixed=True, policies=True)
    assert stack.theta is not None
    low = np.concatenate([box.lower, inputs.lower, stack.theta[0][0]])
    high = np.concatenate([box.upper, inputs.upper, stack.theta[1][0]])
    unit = np.random.default_rng(seed).uniform(0, 1, (count, len(low)))
    unit[: count // 10] = np.round(unit[: count // 10])
    return np.asarray(low + unit * (high - low))


def rate_of(system: Lure, points: Array) -> Array:
    """dx/dt of the whole field at (K, n + m + q), but for B u."""
    n, flat = system.states, system.flatten()
    assert system.tape is not None
    x, u, theta = points[:, :n], points[:, n : n + 1], points[:, n + 1 :]
    out = plain(read_tape(system.tape), x, u, theta)
    if flat.widths:
        assert flat.input_weights is not None
        z = x @ flat.weights[0][0].T + u @ flat.input_weights[0].T + flat.biases[0][0]
        z = np.tanh(z) if system.activation == "tanh" else np.maximum(z, 0.0)
        out = out + z @ flat.weights[1][0].T
    return np.asarray(out)


@pytest.mark.parametrize("seed", range(8))
def test_no_point_and_no_secant_of_random_systems_beats_what_is_proved(seed: int) -> None:
    system = random_system(seed)
    n, stack = system.states, read_system(system, tapes=True)
    box, inputs = Box(np.full(n, -1.0), np.full(n, 0.75)), Inputs([-0.5], [0.5])
    points = points_in(system, box, inputs, 10_000, seed)
    J = known_jacobians(without_known(system), stack, points[None])[1][0]
    P = common_metric(J[:300])[0]
    most = -float(log_norm(J, P).max())
    assert most > 0
    found = [
        prove(
            claimed(system, box, inputs, P, share * most),
            system,
            budget=Budget(cells=2500 if system.activation == "tanh" else 500),
        )
        for share in SHARES
    ]
    assert found[0].proved or system.activation == "relu"  # whose kinks take many more cells
    rate = max([one.rate for one in found if one.proved and one.rate is not None], default=0.0)
    assert rate <= min(most, -float(abscissa(J).max())) + 1e-9
    other = np.concatenate([points_in(system, box, inputs, 10_000, seed + 100)[:, :n], points[:, n:]], 1)
    dx, df = other[:, :n] - points[:, :n], rate_of(system, other) - rate_of(system, points)
    assert ((dx @ P) * (df + rate * dx)).sum(1).max() <= 1e-9


@pytest.mark.parametrize("seed", [4, 6])
def test_under_a_policy_no_secant_beats_what_is_proved(seed: int) -> None:
    open_loop, rng = random_system(seed), np.random.default_rng(seed)
    n = open_loop.states
    K = rng.normal(size=(2, n)), 0.3 * rng.normal(size=(1, 2))
    system = close_loop(open_loop, Policy(weights=K, biases=[np.zeros(2), np.zeros(1)], activation="tanh"))
    one, two = rng.uniform(-1.0, 0.75, (2, 5000, n))
    f = [rate_of(open_loop, np.c_[x, np.tanh(x @ K[0].T) @ K[1].T, np.full(5000, 0.5)]) for x in (one, two)]
    dx, df, box = two - one, f[1] - f[0], Box(np.full(n, -1.0), np.full(n, 0.75))
    most = float(-((dx * df).sum(1) / (dx * dx).sum(1)).max())
    for share, proved in ((0.5, True), (1.001, False)):
        said = prove(claimed(system, box, None, np.eye(n), share * most), system, budget=Budget(cells=1500))
        assert said.proved == proved


@pytest.mark.parametrize("seed", range(6))
def test_every_axis_that_changes_a_slope_is_seen(seed: int) -> None:
    system = random_system(seed)
    assert system.tape is not None
    n, tape, rng = system.states, read_tape(system.tape), np.random.default_rng(seed)
    seen = set(seen_by_slopes(tape).tolist())
    y = rng.uniform(-1, 1, (200, n + 1))
    for k in range(n + 1):
        moved = y.copy()
        moved[:, k] = rng.uniform(-1, 1, 200)
        one, two = (slopes(tape, at[:, :n], at[:, n:], np.array([0.5])) for at in (y, moved))
        assert k in seen or (one == two).all()


def test_only_what_slopes_depend_on_is_cut_and_needs_ends() -> None:
    minimal = read_tape(BERGMAN)
    assert seen_by_slopes(minimal).tolist() == [0, 1]  # G and X, not the insulin
    assert seen_by_slopes(read_tape(MICHAELIS_MENTEN)).tolist() == [1]  # plasma, not the gut
    none = np.zeros(0)
    stack = read_system(saturating(), tapes=True)
    assert next(jacobians_over(stack, np.zeros(2), np.array([np.inf, 300.0]), (none, none))).axes.tolist() == [1]
    with pytest.raises(Unusable, match="none along plasma"):
        next(jacobians_over(stack, np.zeros(2), np.array([300.0, np.inf]), (none, none)))
    refused = prove(claimed(saturating(), Box([0.0, 0.0], [300.0, np.inf]), None, np.eye(2), 0.1), saturating())
    assert not refused
    assert "none along plasma" in refused.reason


@pytest.mark.parametrize("most", [300.0, 2000.0])
def test_cells_reach_the_slowest_slope_of_saturable_elimination(most: float) -> None:
    """Vmax KmV/(KmV + x)² at the end of the region, in a metric in which the gut weighs little."""
    system, box, limit = saturating(), Box([0.0, 0.0], [np.inf, most]), 500.0 * 200.0 / (200.0 + most) ** 2
    found = regional_rate(system, box)
    assert isinstance(found, RegionalRate)
    assert prove(claimed(system, box, None, found.metric, 0.99 * limit), system)
    assert not prove(claimed(system, box, None, found.metric, 1.0001 * limit), system)


def test_the_minimal_model_beside_a_network() -> None:
    system = bergman(**network())
    found = regional_rate(system, BOX, LEVELS)
    assert isinstance(found, RegionalRate)
    assert found.region["proof"] == "cells"
    assert found.multipliers.shape == (1, 0)
    assert 0.0225 <= found.rate <= 0.0234
    short = prove(found, system, budget=Budget(cells=20))
    assert not short.decided
    assert "20 cells are used up" in short.reason
    again = RegionalRate.from_dict(json.loads(json.dumps(found.to_dict())))
    assert prove(again, system)
    assert "cell by cell" in found.details("min", [("G", "mg/dL"), ("X", "/min")])[1]
    # the same network as a branch, with one of other units beside it
    faint = {
        "weights": [np.ones((3, 2)), 1e-9 * np.ones((2, 3))],
        "biases": [np.zeros(3), np.zeros(2)],
        "activation": "relu",
    }
    branched = bergman(branches=[network(), faint])
    assert prove(claimed(branched, BOX, LEVELS, found.metric, 0.99 * found.rate), branched)
    assert not prove(claimed(branched, BOX, LEVELS, found.metric, 1.02 * found.rate), branched)


def test_a_certificate_of_a_tape_by_cells() -> None:
    """Rate by cells, and a box that is kept; with the rate of another region, or one too high, it is none."""
    system, box, inputs = random_system(6), Box([-1.0, -1.0], [0.75, 0.75]), Inputs([-0.5], [0.5])
    found = certify(system, region=box, inputs=inputs)
    assert isinstance(found, Certificate)
    for rate, proved in ((0.95 * found.rate, True), (1.1 * found.rate, False)):
        region = {**found.region, "proof": "cells"}
        more = {
            "rate": rate,
            "multipliers": [[]],
            "region": region,
            "claim": "",
            "spectral_cap": None,
            "metric_cap": None,
        }
        by_cells = Certificate.from_dict(found.to_dict() | more)
        assert prove(by_cells, system, budget=Budget(cells=5000)).proved == proved


def test_a_tape_that_is_linear_is_one_cell_and_the_linear_system() -> None:
    A = np.array([[-1.0, 0.4], [-0.3, -0.7]])
    code: list[list[Any]] = [["state", 0], ["state", 1]]
    for row in A:
        code += [["constant", row[0]], ["multiply", len(code), 0], ["constant", row[1]], ["multiply", len(code) + 2, 1]]
        code.append(["add", len(code) - 3, len(code) - 1])
    tape = {"tape": 1, "states": ["a", "b"], "inputs": [], "parameters": [], "code": code, "rate": [6, 11]}
    taped = Lure(A=np.zeros((2, 2)), weights=[], biases=[], tape=tape, theta=[])
    P, far, none = np.array([[1.0, 0.1], [0.1, 1.5]]), Box([-np.inf, -np.inf], [np.inf, np.inf]), np.zeros(0)
    exact = -float(log_norm(A[None], P)[0])
    for rate, holds in ((exact * (1 - 1e-9), True), (exact * (1 + 1e-9), False)):
        assert prove(claimed(taped, far, None, P, rate), taped, budget=Budget(cells=1)).proved == holds
    cell = np.zeros((0, 1)), np.zeros((0, 1))
    families = []
    for system in (taped, Lure(A=A, weights=[], biases=[])):
        one = next(jacobians_over(read_system(system, tapes=True), far.lower, far.upper, (none, none)))
        families.append(affine_on(one, Frame.of(P), *cell))
    assert np.abs(families[0].middle - families[1].middle).max() < 1e-14
    assert max(family.error.max() for family in families) < 1e-13


def test_theta_in_a_box_is_every_theta_and_what_cutting_cannot_reach_ends_the_search() -> None:
    system = saturating(theta=[10.0, 450.0, 180.0], theta_upper=[13.0, 550.0, 220.0])
    box, none = Box([0.0, 0.0], [np.inf, 600.0]), np.zeros(0)
    by_corners = regional_rate(system, box)
    assert isinstance(by_corners, RegionalRate)
    P = by_corners.metric
    over = list(jacobians_over(read_system(system, tapes=True), box.lower, box.upper, (none, none)))
    reached, point = raise_rate(over, Frame.of(P), 0.2)
    assert point is None
    worst = min(450.0 * k / (k + 600.0) ** 2 for k in (180.0, 220.0))
    assert 0.95 * by_corners.rate < reached <= worst  # θ's widths are the same in both, and plasma's are cut
    assert prove(claimed(system, box, None, P, reached), system)
    listed = replace(system, theta=np.array([[10.0, 450.0, 180.0], [13.0, 550.0, 220.0]]), theta_upper=None)
    assert prove(claimed(listed, box, None, P, reached), listed)


def test_no_mutated_claim_is_accepted_that_a_state_contradicts() -> None:
    """With the digest forged for the changed system, so that cells alone are asked; the oracle: log norms at 2,000 states."""
    system = bergman(**network())
    box, inputs = Box([60.0, 0.001], [250.0, 0.04]), LEVELS
    found = regional_rate(system, box, inputs)
    assert isinstance(found, RegionalRate)
    original = claimed(system, box, inputs, found.metric, 0.95 * found.rate)
    assert prove(original, system)
    rng, accepted, refused = np.random.default_rng(0), 0, 0
    for _ in range(60):
        tape, more = json.loads(json.dumps(BERGMAN)), network()
        theta, region, rate = [0.028, 90.0, 0.025, 1.3e-5, 10.0], dict(original.region), original.rate
        kind, line = rng.integers(5), int(rng.integers(8, 16))
        if kind == 0:
            tape["code"][line][0] = ("add", "subtract", "multiply")[rng.integers(3)]
        elif kind == 1:
            tape["code"][line][int(rng.integers(1, 3))] = int(rng.integers(line))
        elif kind == 2:
            theta[int(rng.integers(3))] *= float(np.exp(0.5 * rng.normal()))
        elif kind == 3:
            region["lower"] = [60.0, float(0.01 * rng.normal())]
        else:
            more["weights"][2] = more["weights"][2] * float(np.exp(rng.normal()))
            rate *= float(np.exp(0.1 * rng.normal()))
        other = bergman(tape=tape, theta=theta, **more)
        try:
            asked = Box(region["lower"], region["upper"])
        except ValueError:
            continue
        assert other.digest() == original.digest or not prove(original, other)
        said = prove(
            replace(original, digest=other.digest(), region=region, rate=rate, claim=""),
            other,
            budget=Budget(cells=400),
        )
        accepted, refused = accepted + said.proved, refused + (not said.proved)
        if said.proved:
            points = points_in(other, asked, inputs, 2000)
            J = known_jacobians(without_known(other), read_system(other, tapes=True), points[None])[1]
            assert rate <= -float(log_norm(J, original.metric).max()) + 1e-12
    assert accepted > 10
    assert refused > 20
