"""A system under a policy: the closed loop is exact, the checker makes it itself, the claim names the policy; attacked."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stability import (
    Box,
    Certificate,
    Inputs,
    Lure,
    Policy,
    RegionalRate,
    certify,
    check,
    close_loop,
    prove,
    read_claim,
    regional_rate,
    tube,
    weighted_l1,
)
from stability.proof.contraction import NOT_COVERED, OTHER_FEEDBACK
from stability.proof.reading import Unusable
from stability.proof.system import read_system
from stability.proof.tape import plain as tape_at
from stability.proof.tape import read_tape
from stability.search.states.activation import value

# x₀' = −a x₀ + u₀ x₁, x₁' = −x₁ + u₁ − u₀²
TAPE: dict[str, Any] = {
    "tape": 1,
    "states": ["p", "q"],
    "inputs": ["r", "s"],
    "parameters": ["a"],
    "code": [
        ["state", 0],
        ["input", 0],
        ["parameter", 0],
        ["multiply", 2, 0],
        ["state", 1],
        ["multiply", 1, 4],
        ["subtract", 5, 3],
        ["input", 1],
        ["square", 1],
        ["subtract", 7, 8],
        ["subtract", 9, 4],
    ],
    "rate": [6, 10],
}
# Bergman's minimal model with insulin under the skin: G (mg/dL), X (/min), I (mU/L), two depots (mU); u in mU/min
LOOP: dict[str, Any] = {
    "tape": 1,
    "states": ["G", "X", "I", "S1", "S2"],
    "inputs": ["insulin", "meal"],
    "parameters": ["p1", "p2", "p3", "n", "t", "V", "Gb", "Ib"],
    "code": [
        *(["state", k] for k in range(5)),
        *(["input", k] for k in range(2)),
        *(["parameter", k] for k in range(8)),  # 7 to 14
        *(["subtract", 13, 0], ["multiply", 7, 15], ["multiply", 1, 0], ["subtract", 16, 17], ["add", 18, 6]),  # 19: G'
        *(["subtract", 2, 14], ["multiply", 9, 20], ["multiply", 8, 1], ["subtract", 21, 22]),  # 23: X'
        *(["divide", 3, 11], ["subtract", 5, 24], ["divide", 4, 11], ["subtract", 24, 26]),  # 25, 27: depots
        *(["divide", 26, 12], ["multiply", 10, 2], ["subtract", 28, 29]),  # 30: I'
    ],
    "rate": [19, 23, 30, 25, 27],
}
THETA = [0.028, 0.025, 1.3e-5, 0.142, 55.0, 8.4, 100.0, 7.0]
OPEN = Lure(A=np.zeros((5, 5)), weights=[], biases=[], tape=LOOP, theta=THETA, scale=[100.0, 0.02, 10.0, 500.0, 500.0])
FREE = [np.inf] * 3
BOX = Box([60.0, -0.004, *(-end for end in FREE)], [260.0, 0.03, *FREE])


def pump(gain: float, above: float = 100.0) -> Policy:
    """Insulin in proportion to the glucose above a target, and none below."""
    return Policy.saturating([[gain, 0.0, 0.0, 0.0, 0.0]], [-gain * above], lower=[0.0])


def network(rng: np.random.Generator, m: int) -> dict[str, Any]:
    return {
        "weights": [rng.normal(size=(3, 2)), rng.normal(size=(2, 3)) * 0.2],
        "biases": [rng.normal(size=3), np.zeros(2)],
        "activation": "tanh",
        "input_weights": rng.normal(size=(3, m)),
    }


def system(seed: int, *, tape: bool = True) -> Lure:
    rng = np.random.default_rng(seed)
    known: dict[str, Any] = {"tape": TAPE, "theta": [1.5]} if tape else {}
    beside = network(rng, 2) | {"activation": "relu"}
    return Lure(A=-2.0 * np.eye(2), B=rng.normal(size=(2, 2)), **network(rng, 2), branches=[beside], **known)


def policy(seed: int, outputs: int = 1) -> Policy:
    rng = np.random.default_rng(seed)
    gain, offset = rng.normal(size=(outputs, 2)), rng.normal(size=outputs)
    if seed % 3 == 0:
        return Policy.linear(gain, offset)
    if seed % 3 == 1:
        return Policy.saturating(gain, offset, lower=[-0.5] * outputs, upper=[0.7] * outputs)
    shapes = [(3, 2), (2, 3), (outputs, 2)]
    weights, biases = [rng.normal(size=s) for s in shapes], [rng.normal(size=s[0]) for s in shapes]
    return Policy(weights=weights, biases=biases, activation=[["tanh", "relu", "sigmoid"], ["softplus", "identity"]])


def rate_of(one: Lure, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """dx/dt, plainly."""
    f = one.A @ x + (0.0 if one.B is None or not u.size else one.B @ u)
    for net in (one, *one.branches):
        v, names = x, net.activation
        for k, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
            v = w @ v + b + (net.input_weights @ u if k == 0 and net.input_weights is not None else 0.0)
            if k + 1 < len(net.weights):
                layer = (names,) * len(v) if isinstance(names, str) else names[k]
                v = np.array([float(value(name, np.array(a))) for name, a in zip(layer, v, strict=True)])
        f = f + (v if net.weights else 0.0)
    return f if one.tape is None else f + tape_at(read_tape(one.tape), x, u, np.array(one.theta))


@pytest.mark.parametrize("seed", range(6))
def test_the_closed_loop_at_x_is_the_open_one_at_the_policys_input(seed: int) -> None:
    opened, kappa, rng = system(seed, tape=seed > 2), policy(seed), np.random.default_rng(seed)
    fed = seed % 2
    closed = close_loop(opened, kappa, [fed])
    assert closed.inputs == 1
    for _ in range(5):
        x, rest = rng.normal(size=2), rng.normal(size=1)
        u = np.insert(rest, fed, kappa(x)[0])
        np.testing.assert_allclose(rate_of(closed, x, rest), rate_of(opened, x, u), atol=1e-12)
    both = close_loop(opened, policy(seed, 2))
    assert both.inputs == 0
    x = rng.normal(size=2)
    np.testing.assert_allclose(rate_of(both, x, np.zeros(0)), rate_of(opened, x, policy(seed, 2)(x)), atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_the_checker_puts_together_the_same_loop_and_both_digests_agree(seed: int) -> None:
    opened, kappa = system(seed, tape=seed > 2), policy(seed)
    closed = close_loop(opened, kappa, [1])
    flags: dict[str, Any] = {"tapes": True, "mixed": True, "policies": True}
    ours, theirs = read_system(closed.together(), **flags), read_system(closed.to_dict(), **flags)
    for a, b in zip((*ours.weights, *ours.biases), (*theirs.weights, *theirs.biases), strict=True):
        np.testing.assert_array_equal(a[:], b[:])
    assert ours.tape == theirs.tape
    assert ours.activation == theirs.activation
    assert closed.digest() == theirs.digest == read_system(closed, **flags).digest
    again = Lure.from_dict(json.loads(json.dumps(closed.to_dict())))
    assert again.digest() == closed.digest() == closed.one(0).digest()
    assert len({closed.digest(), opened.digest(), ours.digest, close_loop(opened, kappa, [0]).digest()}) == 4
    with pytest.raises(Unusable, match="under a policy"):
        read_system(closed, tapes=True, mixed=True)


@pytest.mark.parametrize("seed", range(6))
def test_no_sampled_log_norm_contradicts_a_closed_loop_and_another_policy_is_another_system(seed: int) -> None:
    rng = np.random.default_rng(seed)
    A, B = np.array([[-1.0, 0.5], [0.0, -0.4]]) + 0.1 * rng.normal(size=(2, 2)), rng.normal(size=(2, 1))
    opened = Lure(A=A, B=B, **{k: v for k, v in network(rng, 1).items() if k != "input_weights"})
    gain = -0.8 * B.T
    kappa = Policy.linear(gain) if seed % 2 else Policy.saturating(gain, lower=[-2.0], upper=[2.0])
    closed = close_loop(opened, kappa)
    found = certify(closed, seconds=10)
    if not isinstance(found, Certificate):
        return
    P = found.metric

    def sampled(gains: np.ndarray) -> float:
        most = np.inf
        for slope in (0.0, 1.0) if seed % 2 == 0 else (1.0,):
            for _ in range(100):
                v = opened.weights[0] @ (rng.normal(size=2) * 3) + opened.biases[0]
                J = A + slope * B @ gains + opened.weights[1] @ ((1 - np.tanh(v) ** 2)[:, None] * opened.weights[0])
                most = min(most, -np.linalg.eigvals(np.linalg.solve(P, (P @ J + J.T @ P) / 2)).real.max())
        return most

    assert found.rate <= sampled(gain) + 1e-9
    for change in (3.0, -3.0, 0.3):
        data = closed.to_dict()
        data["policy"]["weights"][0][0][0] += change
        assert "another system" in prove(found, data).reason
        stack = read_system(data, mixed=True, policies=True)
        forged = replace(found, digest=stack.digest, feedback=stack.feedback, claim="")
        if check(forged, data):
            other = np.array(data["policy"]["weights"][0])
            assert found.rate <= sampled(other) + 1e-9


def test_a_claim_names_its_policy_and_speaks_of_feedback_alone_where_there_is_one() -> None:
    opened = Lure(A=[[-1.0, 0.0], [1.0, 0.5]], B=[[1.0, 0.0], [0.0, 1.0]], weights=[], biases=[])
    assert not certify(opened)
    closed = close_loop(opened, Policy.linear([[0.0, -3.0]]), [0])
    found = certify(closed)
    assert isinstance(found, Certificate)
    assert "under the feedback u[0] = kappa(x), kappa the policy " in found.claim
    assert "with the same external inputs" in found.claim
    assert NOT_COVERED[2] not in found.not_covered
    assert OTHER_FEEDBACK in found.not_covered
    assert "the stated policy and the same external inputs" in found.in_words("h")
    assert found.rate == pytest.approx(0.25, rel=0.02)  # eigenvalues −¼ ± 1.56i
    again = read_claim(json.loads(json.dumps(found.to_dict())))
    assert check(again, json.loads(json.dumps(closed.to_dict())))
    assert not check(found, opened)
    for lie in (
        {"claim": found.claim.replace("external ", "")},
        {"claim": found.claim.replace("kappa the policy ", "kappa the policy 0")},
        {"not_covered": [s for s in found.not_covered if s != OTHER_FEEDBACK]},
    ):
        assert not check(found.to_dict() | lie, closed)
    bare = certify(Lure(A=[[-1.0]], weights=[], biases=[]))
    assert isinstance(bare, Certificate)
    assert "feedback" not in bare.to_dict()
    without = bare.to_dict() | {"not_covered": [s for s in bare.not_covered if s != NOT_COVERED[2]]}
    assert "lacks a sentence" in prove(without, Lure(A=[[-1.0]], weights=[], biases=[])).reason
    for ask in (lambda: tube(found, closed), lambda: weighted_l1(closed)):
        with pytest.raises(ValueError, match="under a policy"):
            ask()


def test_insulin_under_the_skin_by_glucose() -> None:
    meal = Inputs([0.0], [5.0])
    closed = close_loop(OPEN, pump(0.4), ["insulin"])
    found = regional_rate(closed, BOX, inputs=meal)
    assert isinstance(found, RegionalRate)
    assert found.rate >= 0.0012
    assert "same external inputs, any signals within [0.0] <= u <= [5.0]" in found.claim
    assert check(found, closed.to_dict())
    assert "another system" in prove(found, close_loop(OPEN, pump(0.5), ["insulin"])).reason
    unstable = regional_rate(close_loop(OPEN, pump(1.0), ["insulin"]), BOX, inputs=meal)
    assert not unstable
    assert unstable.reason == "disproved"
    example = unstable.counterexample
    assert example is not None
    J, (real, _) = np.array(example["jacobian"]), example["eigenvalue"]
    assert real > 0.001
    assert J[3, 0] == 1.0  # the depot by glucose: the policy's slope
    assert len(example["eigenvector"][0]) == 5
    assert example["policy"] == [pytest.approx(example["state"][0] - 100.0)]
    assert ((np.array(BOX.lower) < example["state"]) & (example["state"] < np.array(BOX.upper))).all()


def test_and_it_stays() -> None:
    closed = close_loop(OPEN, pump(0.2, 60.0), ["insulin"])
    x = np.array([89.43, 0.002957, 11.42, 749.4, 749.4])
    half = np.array([40.0, 0.006, 8.0, 400.0, 400.0])
    found = certify(closed, region=Box(x - half, x + half), inputs=Inputs([0.0], [0.0]), rate=0.005, seconds=20)
    assert isinstance(found, Certificate), found
    assert "both stay in" in found.claim
    assert "kappa the policy" in found.claim
    assert check(found, closed)
    assert not check(found, OPEN)


def test_people_share_a_policy_and_refusals_are_in_words() -> None:
    people = [Lure(A=[[-a]], B=[[1.0]], weights=[], biases=[]) for a in (1.0, 2.0)]
    damped, other = Policy.linear([[-1.0]]), Policy.linear([[-2.0]])
    both = Lure.stack([close_loop(one, damped) for one in people])
    assert both.leading == (2,)
    assert both.digest() == close_loop(Lure.stack(people), damped).digest()
    assert both.one(1).digest() == close_loop(people[1], damped).digest()
    found = certify(both)
    assert isinstance(found, Certificate)
    assert found.rate == pytest.approx(2.0, rel=0.01)
    with pytest.raises(ValueError, match="different policies"):
        Lure.stack([close_loop(people[0], damped), close_loop(people[1], other)])
    blind = Lure(A=[[-1.0]], B=[[0.0, 1.0]], weights=[], biases=[])
    linear = Lure(A=[[-1.0]], B=[[1.0]], weights=[[[0.1]]], biases=[[0.0]])
    gelu = Policy(weights=[np.ones((1, 5)), [[1.0]]], biases=[[0.0], [0.0]], activation="gelu")
    for call, words in (
        (lambda: close_loop(both, damped), "already"),
        (lambda: close_loop(people[0], Policy.linear([[1.0, 1.0]])), "sees 2 states"),
        (lambda: close_loop(people[0], Policy.linear([[1.0], [1.0]])), "gives 2 inputs"),
        (lambda: close_loop(blind, damped, [0]), "nothing in the system reads input 0"),
        (lambda: close_loop(OPEN, pump(0.1), ["glucagon"]), "insulin, meal"),
        (lambda: close_loop(people[0], damped, ["insulin"]), "positions alone"),
        (lambda: close_loop(linear, damped), "one layer"),
        (lambda: close_loop(Lure(A=[[-1.0]], weights=[], biases=[]), damped, [0]), "has no inputs, so that no policy"),
        (lambda: close_loop(OPEN, gelu, ["insulin"]), "gelu"),
        (lambda: close_loop(people[0], 3), "the policy"),  # type: ignore[arg-type]
        (lambda: Policy.saturating([[1.0]]), "lower or upper"),
        (lambda: Policy.saturating([[1.0]], lower=[1.0], upper=[0.0]), "below"),
        (lambda: Policy(weights=[[[1.0]], [[1.0, 2.0]]], biases=[[0.0], [0.0]]), "do not lead"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    assert "inputs 1," in repr(close_loop(OPEN, pump(0.1), ["insulin"]))  # the meal, which only the tape reads
    slips: list[dict[str, Any]] = [{"inputs": [1]}, {"inputs": [True]}, {"inputs": []}, {"more": 1}]
    for change in (*slips, {"weights": [[[1.0, 2.0]]]}, {"biases": [[np.nan]]}):
        data = close_loop(people[0], damped).to_dict()
        data["policy"] |= change
        assert not check(found, data)
        with pytest.raises(Unusable):
            read_system(data, mixed=True, policies=True)
