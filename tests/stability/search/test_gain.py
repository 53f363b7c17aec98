"""Gains: closed forms, the oscillator that tells a tube from an L2 gain, simulated adversaries, and the checker's refusals."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.linalg import expm

from stability import Certificate, Gain, Lure, Refusal, certify, check, l2_gain, tube
from stability.lure import SLOPES
from stability.proof.checker import prove
from stability.proof.rational import positive_definite
from stability.search.states.activation import value
from tests.builders import read_back

ZETA = 0.1  # ẍ + 2ζẋ + x = u
L2 = 1 / (2 * ZETA * np.sqrt(1 - ZETA**2))  # the resonance peak, 5.03
PEAK = 1 / np.tanh(np.pi * ZETA / (2 * np.sqrt(1 - ZETA**2)))  # ∫|impulse response|, 6.39


def oscillator() -> tuple[Certificate, Lure]:
    system = Lure(A=[[0.0, 1.0], [-1.0, -2 * ZETA]], weights=[], biases=[], B=[[0.0], [1.0]])
    return certified(system), system


def certified(system: Lure) -> Certificate:
    found = certify(system)
    assert isinstance(found, Certificate), found
    return found


def gained(found: Gain | Refusal, system: Lure) -> Gain:
    assert isinstance(found, Gain), found
    read_back(found, system)
    return found


def layered(activation: str, widths: tuple[int, ...] = (5,), seed: int = 0, inputs: int = 2) -> Lure:
    rng = np.random.default_rng(seed)
    sizes = [2, *widths, 2]
    weights = [rng.normal(size=(2, o, i)) / i for i, o in pairwise(sizes)]
    weights[-1] = 0.5 * weights[-1]
    return Lure(
        A=[[-1.0, 0.8], [-0.8, -1.2]],
        weights=weights,
        biases=[rng.normal(size=o) for o in sizes[1:]],
        activation=activation,
        B=rng.normal(size=(2, inputs)),
        input_weights=rng.normal(size=(2, widths[0], inputs)),
    )


def test_scalar_closed_form() -> None:
    """dx/dt = −a x + g tanh x + b u: the worst slope is g, and both gains are b/(a − g)."""
    a, g, b = 2.0, 0.5, 3.0
    system = Lure(A=[[-a]], weights=[[[1.0]], [[g]]], biases=[[0.0], [0.0]], B=[[b]])
    certificate = certified(system)
    for found in (tube(certificate, system), l2_gain(certificate, system)):
        height = found.per_state[0] if found.kind == "tube" else found.value  # type: ignore[union-attr]
        assert b / (a - g) <= height <= 1.01 * b / (a - g)
        gained(found, system)
    assert tube(certificate, system).rate == pytest.approx((a - g) / 2, rel=0.02)  # type: ignore[union-attr]


def test_input_weights_alone() -> None:
    """dx/dt = −2x + ½ tanh(x + u): per unit of u at most ½ enters, against 2 − ½ of decay."""
    system = Lure(A=[[-2.0]], weights=[[[1.0]], [[0.5]]], biases=[[0.0], [0.0]], input_weights=[[1.0]])
    plainly, searched = (gained(tube(certified(system), system, search=s), system).per_state[0] for s in (False, True))
    assert 0.5 / 1.5 <= searched <= 1.001 * 0.5 / 1.5
    assert searched < plainly < 2 * searched  # the multipliers of the best rate are not those of the least gain
    plain = Lure(A=[[-2.0]], weights=[[[0.5]]], biases=[[0.0]], B=[[1.0]], input_weights=[[1.0]])  # −1.5 x + 2u
    assert gained(tube(certified(plain), plain), plain).per_state[0] == pytest.approx(2.0 / 1.5, rel=1e-3)


def test_the_oscillator_tells_a_tube_from_an_l2_gain() -> None:
    certificate, system = oscillator()
    assert pytest.approx(6.39, abs=0.01) == PEAK
    assert pytest.approx(5.03, abs=0.01) == L2
    energy = gained(l2_gain(certificate, system, [[1.0, 0.0]], search=True), system)
    assert L2 <= energy.value <= 1.001 * L2
    # The worst input of all: the sign of the impulse response, backwards. It goes higher than the L2 gain, within the tube.
    h = np.array([(expm(system.A * t) @ [0.0, 1.0])[0] for t in np.arange(0.005, 80, 0.01)])
    reached = 0.01 * np.abs(h).sum()
    assert reached == pytest.approx(PEAK, rel=1e-3)
    assert reached > energy.value
    for found in (tube(certificate, system), tube(certificate, system, search=True, state=0)):
        assert gained(found, system).per_state[0] >= reached
    assert found.per_state[0] < 1.15 * PEAK  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="energy, not a height"):
        _ = energy.per_state
    # Nor does the checker let the one pass for the other.
    assert not check(replace(energy, kind="tube", claim=""), system)
    assert not check(replace(energy, kind="tube", rate=0.05, output=np.zeros((0, 2)), claim=""), system)


def test_l2_gain_of_linear_systems_is_the_peak_over_frequencies() -> None:
    rng = np.random.default_rng(3)
    for seed in range(3):
        n, m = 2 + seed, 1 + seed % 2
        A, B, C = -np.eye(n) + 0.3 * rng.normal(size=(n, n)), rng.normal(size=(n, m)), rng.normal(size=(1, n))
        system = Lure(A=A, weights=[], biases=[], B=B)
        omega = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 2000)])
        transfer = C @ np.linalg.inv(1j * omega[:, None, None] * np.eye(n) - A) @ B
        peak = np.linalg.norm(transfer, ord=2, axis=(1, 2)).max()
        found = gained(l2_gain(certified(system), system, C, search=True), system)
        assert peak * (1 - 1e-4) <= found.value <= 1.005 * peak
        assert gained(l2_gain(certified(system), system, C), system).value >= peak * (1 - 1e-4)


def test_search_never_does_worse_on_a_residual() -> None:
    system = layered("tanh")
    certificate = certified(system)
    plain, searched = (gained(l2_gain(certificate, system, search=s), system) for s in (False, True))
    assert searched.value <= plain.value * (1 + 1e-6)


@pytest.mark.parametrize("activation", list(SLOPES))
def test_the_tube_holds_against_a_greedy_adversary(activation: str) -> None:
    """u' − u points where it raises the distance in P most, at every step; both members, every output time."""
    system = layered(activation, (4, 3) if activation == "gelu" else (5,))
    found = gained(tube(certified(system), system), system)
    rng, dt, d, steps = np.random.default_rng(1), 0.01, 0.7, 600
    flat = system.flatten()
    assert flat.B is not None
    assert flat.input_weights is not None
    for v in range(2):
        Wu, B, U = flat.input_weights[v], flat.B[v], flat.input_weights[v]

        def field(x: np.ndarray, u: np.ndarray, v: int = v, B: np.ndarray = B, Wu: np.ndarray = Wu) -> np.ndarray:
            z = value(activation, flat.weights[0][v] @ x + Wu @ u + flat.biases[0][v])
            for w, b in zip(flat.weights[1:-1], flat.biases[1:-1], strict=True):
                z = value(activation, w[v] @ z + b[v])
            return flat.A[v] @ x + B @ u + flat.weights[-1][v] @ z + flat.biases[-1][v]

        x, y = rng.normal(size=2), rng.normal(size=2)
        first, closest = np.sqrt((x - y) @ found.metric @ (x - y)), np.inf
        for k in range(steps):
            u = 2 * np.sin(0.05 * k) * np.ones(2)
            effect = np.stack([field(y, u + 1e-3 * e) - field(y, u - 1e-3 * e) for e in np.eye(2)], 1)
            push = effect.T @ found.metric @ (y - x)
            other = u + d * push / max(np.linalg.norm(push), 1e-12)
            x, y = (_rk4(field, s, w, dt) for s, w in ((x, u), (y, other)))
            fade = np.exp(-found.rate * (k + 1) * dt) * first
            distance = np.sqrt((y - x) @ found.metric @ (y - x))
            assert distance <= (fade + found.value * d) * (1 + 1e-6)
            assert (np.abs(y - x) <= (found.units * fade + found.per_state * d) * (1 + 1e-6)).all()
            closest = min(closest, (fade + found.value * d) / distance)
        assert closest < 20  # the adversary did push
        assert U.shape[1] == 2


def _rk4(field: Any, x: np.ndarray, u: np.ndarray, dt: float) -> np.ndarray:
    k1 = field(x, u)
    k2 = field(x + dt / 2 * k1, u)
    k3 = field(x + dt / 2 * k2, u)
    k4 = field(x + dt * k3, u)
    return np.asarray(x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4))


def exactly_bordered(gain: Gain, system: Lure) -> bool:
    """The bordered inequality of every system, dense and in rationals, and the value against the supply."""
    F = np.vectorize(Fraction, otypes=[object])
    alpha, beta = (Fraction(s) for s in SLOPES[system.activation])
    flat, loop = system.flatten(), system.loop()
    assert flat.B is not None
    P, C = F(gain.metric), gain.output
    if not positive_definite(P.tolist()) or (gain.multipliers <= 0).any() or gain.supply < 0 or gain.value < 0:
        return False
    twice = 2 * Fraction(gain.rate) if gain.kind == "tube" else Fraction(1)
    if twice <= 0 or Fraction(gain.value) ** 2 * twice < Fraction(gain.supply):
        return False
    for v in range(len(gain.multipliers)):
        n, H, m = *loop.E.shape[1:], flat.B.shape[-1]
        U = np.zeros((H, m))
        if flat.input_weights is not None:
            U[: loop.widths[0]] = flat.input_weights[v]
        V = F(np.hstack([loop.W[v], loop.N[v], U]))
        D = F(np.hstack([np.zeros((H, n)), np.eye(H), np.zeros((H, m))]))
        half = (D - alpha * V).T @ (F(gain.multipliers[v])[:, None] * (D - beta * V))
        M = half + half.T
        G = np.concatenate([F(flat.A[v]) + Fraction(gain.rate) * F(np.eye(n)), F(loop.E[v]), F(flat.B[v])], 1)
        M[:n] -= P @ G
        M[:, :n] -= (P @ G).T
        M[n + H :, n + H :] += Fraction(gain.supply) * F(np.eye(m))
        if gain.kind == "l2":
            M[:n, :n] -= F(C).T @ F(C)
        if not positive_definite(M.tolist()):
            return False
    return True


@pytest.mark.parametrize("kind", ["tube", "l2"])
@pytest.mark.parametrize("activation", ["tanh", "silu"])
def test_mutations_are_never_falsely_accepted(kind: str, activation: str) -> None:
    system = layered(activation, (3, 2) if activation == "tanh" else (3,))
    certificate = certified(system)
    gain = gained(tube(certificate, system) if kind == "tube" else l2_gain(certificate, system), system)
    assert exactly_bordered(gain, system)
    rng, said, false = np.random.default_rng(5), 0, 0
    names = ["rate", "supply", "value", "metric", "multipliers"] if kind == "tube" else ["supply", "value", "metric", "output"]
    for _ in range(80):
        name, size = rng.choice(names), 1.0 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-9, 1)
        before = getattr(gain, name)
        if isinstance(before, float):
            fields: dict[str, Any] = {name: before * size}
        else:
            new = np.array(before)
            where = tuple(rng.integers(s) for s in new.shape)
            new[where] *= size
            if name == "metric":
                new[where[::-1]] = new[where]
            fields = {name: new}
        mutant = replace(gain, claim="", **fields)
        accepted, true = check(mutant, system), exactly_bordered(mutant, system)
        assert not accepted or true
        said, false = said + accepted, false + (not true)
    assert said > 5
    assert false > 5


def test_fields_that_do_not_fit_are_refused() -> None:
    certificate, system = oscillator()
    gain = gained(tube(certificate, system), system)
    for fields, reason in (
        ({"digest": "0" * 64}, "digest"),
        ({"claim": "It is small."}, "claim"),
        ({"slope_range": (0.0, 0.5)}, "slope range"),
        ({"leading": (3,)}, "leading"),
        ({"not_covered": ()}, "not covered"),
        ({"value": 0.99 * gain.value}, "sqrt"),
        ({"rate": -gain.rate}, "positive rate"),
        ({"rate": float("nan")}, "finite"),
        ({"units": 0.99 * gain.units}, "units"),
        ({"units": np.ones(3)}, "units"),
        ({"metric": -gain.metric}, "positive definite"),
        ({"metric": gain.metric + 1e-3 * np.eye(2, k=1)}, "symmetric"),
        ({"output": np.eye(2)}, "no output"),
    ):
        fields = fields if "claim" in fields else {"claim": "", **fields}
        verdict = prove(replace(gain, **fields), system)
        assert not verdict
        assert reason in verdict.reason, (fields, verdict.reason)
    other = replace(system, B=np.array([[0.0], [1.0 + 1e-15]]))
    assert not check(gain, other)
    assert not check(gain.to_dict() | {"kind": "peak"}, system)


def test_arguments_are_refused_with_a_reason() -> None:
    certificate, system = oscillator()
    quiet = Lure(A=system.A, weights=[], biases=[])
    for function, arguments, message in (
        (tube, (certified(quiet), quiet), "no input"),
        (tube, (certificate, quiet), "not proved for this system"),
        (tube, (None, system), "Certificate"),
        (l2_gain, (certificate, system, np.eye(3)), "2 columns"),
    ):
        with pytest.raises(ValueError, match=message):
            function(*arguments)
    with pytest.raises(ValueError, match="states 0 … 1"):
        tube(certificate, system, search=True, state=2)
    with pytest.raises(ValueError, match="'certificate'"):
        Gain.from_dict(certificate.to_dict())
