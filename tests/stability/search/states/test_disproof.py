"""Systems that do not decay: refused with the eigenvalue and its direction, in words for any system, whatever is claimed."""

import json
from typing import Any

import numpy as np
import pytest

from stability import (
    Box,
    Certificate,
    Inputs,
    Lure,
    Refusal,
    certify,
    certify_step,
    check,
    falsify,
    l2_gain,
    tube,
    weighted_l1,
)
from stability.search.states.routh import decays


def linear(A: Any) -> Lure:
    return Lure(A=A, weights=[], biases=[], B=np.ones((np.shape(A)[-1], 1)))


def unimodular(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """An integer matrix and its integer inverse: a change of coordinates without rounding."""
    rng, T, back = np.random.default_rng(seed), np.eye(n), np.eye(n)
    for _ in range(2 * n):
        i, j = rng.choice(n, 2, replace=False)
        step = np.eye(n)
        step[i, j] = rng.integers(-1, 2)
        T, back = step @ T, back @ (2 * np.eye(n) - step)
    return T, back


UNSTABLE = {
    "growth": ([[-1.0, 0.0], [0.0, 0.5]], 0.5),
    "integrator": ([[0.0]], 0.0),
    "integrator of a state": ([[-1.0, 0.0], [1.0, 0.0]], 0.0),
    "double integrator": ([[0.0, 1.0], [0.0, 0.0]], 0.0),
    "triple integrator": ([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], 0.0),
    "undamped oscillator": ([[0.0, 4.0], [-1.0, 0.0]], 0.0),
    "two compartments that nothing leaves": ([[-1.0, 1.0], [1.0, -1.0]], 0.0),
    "all zeros": ([[0.0, 0.0], [0.0, 0.0]], 0.0),
}


@pytest.mark.parametrize("name", UNSTABLE)
def test_what_does_not_decay_is_disproved_with_its_direction(name: str) -> None:
    A, real = np.array(UNSTABLE[name][0]), UNSTABLE[name][1]
    for seed in range(3):  # as it stands, and in coordinates in which rounding moves the eigenvalues
        T, back = unimodular(seed, len(A)) if seed and len(A) > 1 else (np.eye(len(A)), np.eye(len(A)))
        turned = T @ A @ back
        for rate in (None, 0.01):
            refusal = certify(linear(turned), rate)
            assert isinstance(refusal, Refusal)
            assert refusal.reason == "disproved"
            assert refusal.counterexample is not None
            value = complex(*refusal.counterexample["eigenvalue"])
            v = np.array(refusal.counterexample["eigenvector"][0]) + 1j * np.array(refusal.counterexample["eigenvector"][1])
            assert value.real == pytest.approx(real, abs=1e-4)  # of three equal ones rounding leaves a third of the digits
            assert np.linalg.norm(v) == pytest.approx(1.0)
            assert np.linalg.norm(turned @ v - value * v) < 1e-3 * max(np.abs(turned).max(), 1.0)
            assert "eigenvalue" in refusal.message
            assert "eigenvector" in refusal.message
            assert "instead" in refusal.message
            assert "elimination" not in refusal.message
            again = Refusal.from_dict(json.loads(json.dumps(refusal.to_dict())))
            assert again.to_dict() == refusal.to_dict()


def test_the_words_name_what_it_is() -> None:
    assert "an integrator" in certify(linear([[0.0]])).message  # type: ignore[union-attr]
    assert "an undamped oscillation" in certify(linear([[0.0, 4.0], [-1.0, 0.0]])).message  # type: ignore[union-attr]
    assert "0 ± 2i" in certify(linear([[0.0, 4.0], [-1.0, 0.0]])).message  # type: ignore[union-attr]
    grows = certify(linear([[[-1.0, 0.0], [0.0, -1.0]], [[-1.0, 0.0], [0.0, 0.5]]]))
    assert isinstance(grows, Refusal)
    assert "system [1]" in grows.message
    assert "0.5" in grows.message
    assert "(0, 1)" in grows.message
    slow = certify(linear([[-1.0]]), 2.0)
    assert isinstance(slow, Refusal)
    assert "A rate below 1" in slow.message
    wide = certify(linear(np.diag([*[-1.0] * 8, 0.25])))
    assert isinstance(wide, Refusal)
    assert "mostly in state 8" in wide.message


def test_a_rate_that_is_just_reached_is_not_disproved() -> None:
    """−x contracts at the rate 1 exactly; that is out of reach of a strict proof, and nothing false is said of it."""
    outcome = certify(linear(-np.eye(2)), 1.0)
    assert isinstance(outcome, Refusal)
    assert outcome.reason == "not proved"
    assert certify(linear(-np.eye(2)), 0.99)


@pytest.mark.parametrize("seed", range(6))
def test_decided_in_rationals_as_in_float64_where_that_can_tell(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(20):
        n = int(rng.integers(1, 8))
        A, S = rng.normal(size=(2, n, n)) * 10.0 ** rng.integers(-3, 4)
        for rate in (0.0, 0.7):
            worst = np.linalg.eigvals(A + S + rate * np.eye(n)).real.max()
            assert decays([A, S], rate) == (worst < 0)
    T, back = unimodular(seed, 5)
    slow = T @ np.diag([-1.0, -2.0, -3.0, -1.0, -(2.0**-40)]) @ back  # stable by a hair, exactly
    still = T @ np.diag([-1.0, -2.0, -3.0, -1.0, 0.0]) @ back
    assert decays([slow])
    assert not decays([still])


def test_what_the_skip_or_the_residual_holds_is_certified() -> None:
    """A by itself does not decay; what counts is the whole."""
    found = certify(Lure(A=[[0.5]], weights=[], biases=[], skip=[[-1.5]]))
    assert isinstance(found, Certificate)
    assert found.rate > 0.99
    servo = Lure(A=[[0.5]], weights=[[[1.0]], [[-2.0]]], biases=[[0.0], [0.0]])  # dx/dt = x/2 − 2 tanh x
    near = certify(servo, region=Box([-0.5], [0.5]))
    assert isinstance(near, Certificate)
    assert check(near, servo)
    assert near.rate > 0.9 * (2.0 / np.cosh(0.5) ** 2 - 0.5)
    far = certify(servo)
    assert isinstance(far, Refusal)
    assert far.reason == "disproved"
    assert "region" in far.message


def test_an_integrator_behind_units_that_saturate_is_disproved_in_the_limit() -> None:
    """dx/dt = −tanh x: every Jacobian is negative, none by a given rate everywhere."""
    still = Lure(A=[[0.0]], weights=[[[1.0]], [[-1.0]]], biases=[[0.0], [0.0]])
    refusal = certify(still)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "disproved"
    assert "saturate" in refusal.message
    assert refusal.counterexample is not None
    assert "state" not in refusal.counterexample
    near = certify(still, region=Box([-1.0], [1.0]))
    assert isinstance(near, Certificate)
    # softplus does not saturate: −softplus(x) decays where it is steep, and no state is a counterexample by a margin
    open_ended = certify(Lure(A=[[0.0]], weights=[[[1.0]], [[-1.0]]], biases=[[0.0], [0.0]], activation="softplus"))
    assert isinstance(open_ended, Refusal)
    assert open_ended.reason == "not proved"
    assert "the eigenvalue 0" in open_ended.message


def test_every_kind_of_claim_refuses_it_as_a_value() -> None:
    for A in ([[-1.0, 0.0], [0.0, 0.5]], [[-1.0, 0.0], [1.0, 0.0]]):
        system = linear(A)
        refusal = certify(system)
        assert isinstance(refusal, Refusal)
        assert tube(refusal, system) is refusal
        assert l2_gain(refusal, system) is refusal
        assert certify_step(refusal, system, 0.1) is refusal
        amounts = weighted_l1(system)
        assert isinstance(amounts, Refusal)
        assert amounts.reason == "disproved"
        assert "eigenvector" in amounts.message
        counterexample = falsify(system)
        assert counterexample is not None
        regional = certify(system, region=Box([-1.0, -1.0], [1.0, 1.0]), inputs=Inputs([-1.0], [1.0]))
        assert isinstance(regional, Refusal)
        assert regional.reason == "disproved"


@pytest.mark.parametrize(
    "A", [[[-1e-320]], [[-1e-320, 0.0], [0.0, -1.0]], [[-1e308, 1e308], [0.0, -1e308]], [[-1.0, 1e200], [0.0, -1.0]], [[-1e60]]]
)
def test_numbers_that_float64_cannot_carry_are_a_refusal(A: list[list[float]]) -> None:
    for region in (None, Box([-1.0] * len(A), [1.0] * len(A))):
        found = certify(Lure(A=A, weights=[], biases=[]), region=region, seconds=2.0)
        assert isinstance(found, Refusal)
        assert found.reason == "not proved"
        assert "units" in found.message


def test_what_is_offered_instead_is_there() -> None:
    integrator, both = (certify(Lure(A=A, weights=[], biases=[])) for A in ([[0.0, 1.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, -1.0]]))
    assert "the other states alone" not in integrator.message  # type: ignore[union-attr]
    assert "the other states alone" in both.message  # type: ignore[union-attr]
