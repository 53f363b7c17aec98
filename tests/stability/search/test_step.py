"""The discretised step: exact norms of linear steps, closed forms, real pairs of steps, the conic solver, and the checker."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stability import Certificate, Lure, Refusal, Step, certify, certify_step, check
from stability.lure import SLOPES
from stability.proof.checker import prove
from stability.proof.rational import positive_definite
from stability.proof.step import METHODS, inequality
from stability.proof.system import read_system
from stability.search.states.activation import value
from stability.search.step import stages
from tests.builders import read_back


def certified(system: Lure) -> Certificate:
    found = certify(system)
    assert isinstance(found, Certificate), found
    return found


def proved(certificate: Certificate, system: Lure, step: float, method: str = "rk4") -> Step:
    found = certify_step(certificate, system, step, method)
    assert isinstance(found, Step), found
    read_back(found, system)
    return found


def layered(seed: int, widths: tuple[int, ...], n: int, gain: float, activation: str = "tanh", V: int = 2) -> Lure:
    rng = np.random.default_rng(seed)
    sizes = [n, *widths, n]
    weights = [rng.normal(size=(V, o, i)) / i for i, o in pairwise(sizes)]
    weights[-1] = gain * weights[-1]
    A = -np.eye(n) + 0.2 * rng.normal(size=(n, n))
    return Lure(A=A, weights=weights, biases=[rng.normal(size=o) for o in sizes[1:]], activation=activation)


def stability_function(method: str, hA: np.ndarray) -> np.ndarray:
    one = np.eye(len(hA))
    return one + hA if method == "euler" else one + hA @ (one + hA / 2 @ (one + hA / 3 @ (one + hA / 4)))


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("step", [0.01, 0.3, 1.0])
def test_linear_steps_have_the_norm_of_the_stability_function(method: str, step: float) -> None:
    system = Lure(A=[[-1.5, 0.0], [1.5, -0.086]], weights=[], biases=[])
    certificate = certified(system)
    C = np.linalg.cholesky(certificate.metric).T
    exact = np.linalg.norm(C @ stability_function(method, step * system.A) @ np.linalg.inv(C), ord=2)
    found = proved(certificate, system, step, method)
    assert exact <= found.factor <= exact + 1e-5 * (1 - exact) + 1e-12
    too_good = replace(found, factor=float(exact * (1 - 1e-12)), claim="")
    assert not check(too_good, system)


def test_too_large_a_step_is_refused() -> None:
    """Euler is unstable beyond h = 2/1.5, the classical method beyond 2.785/1.5."""
    system = Lure(A=[[-1.5, 0.0], [1.5, -0.086]], weights=[], biases=[])
    certificate = certified(system)
    for method, step in (("euler", 1.34), ("rk4", 1.86)):
        refusal = certify_step(certificate, system, step, method)
        assert isinstance(refusal, Refusal)
        assert refusal.reason == "not proved"
        assert "smaller step" in refusal.message
        assert refusal.best_rate is not None
        assert refusal.best_rate < 0


def test_scalar_closed_form() -> None:
    """dx/dt = −2x + ½ tanh x: an Euler step has the factors 1 − 2h … 1 − 1.5h, whichever is larger in magnitude."""
    system = Lure(A=[[-2.0]], weights=[[[1.0]], [[0.5]]], biases=[[0.0], [0.0]])
    certificate = certified(system)
    for step in (0.01, 0.2, 0.5, 0.8, 0.95):
        exact = max(abs(1 - 2 * step), abs(1 - 1.5 * step))
        found = proved(certificate, system, step, "euler")
        assert exact <= found.factor <= exact + 2e-3 * (1 - exact)
    for step in (0.01, 0.2, 0.5):  # at least the worst constant slope; little more
        slowest = stability_function("rk4", np.array([[-1.5 * step]]))[0, 0]
        assert slowest <= proved(certificate, system, step).factor <= slowest + 0.02 * (1 - slowest)


def test_small_steps_approach_the_rate_of_the_differential_equation() -> None:
    system = layered(1, (5,), 2, 0.5)
    certificate = certified(system)
    rates = [proved(certificate, system, step).rate for step in (0.1, 0.01)]
    assert rates[1] > 0.97 * certificate.rate


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("widths", [(4,), (4, 3)])
def test_the_multipliers_are_the_best_in_this_metric(method: str, widths: tuple[int, ...]) -> None:
    """The same programme, stated as it stands, by the conic solver."""
    system = layered(2, widths, 2, 0.6, V=1)
    certificate, step = certified(system), 0.3
    G, J, R = stages(system.loop(), 0, step, method)
    tau, L = cp.Variable(), cp.Variable(J.shape[1], nonneg=True)
    weight = np.zeros((len(J), len(J)))
    weight[:2, :2] = certificate.metric
    M = tau * weight - G.T @ certificate.metric @ G + J @ cp.diag(L) @ R.T + R @ cp.diag(L) @ J.T
    cp.Problem(cp.Minimize(tau), [(M + M.T) / 2 >> 0]).solve(solver=cp.CLARABEL)
    best = float(np.sqrt(tau.value))
    found = proved(certificate, system, step, method)
    assert best - 1e-6 <= found.factor <= best + 3e-3 * (1 - best)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    widths=st.sampled_from([(3,), (4, 3)]),
    activation=st.sampled_from(list(SLOPES)),
    method=st.sampled_from(list(METHODS)),
    step=st.floats(0.01, 0.4),
)
def test_real_pairs_of_steps_contract(
    seed: int, widths: tuple[int, ...], activation: str, method: str, step: float
) -> None:
    try:
        system = layered(seed, widths, 2, 0.4, activation)
    except ValueError:
        return  # A was not Hurwitz
    certificate = certify(system, seconds=3.0)
    if not isinstance(certificate, Certificate):
        return
    found = certify_step(certificate, system, step, method)
    if not isinstance(found, Step):
        return
    flat, rng = system.flatten(), np.random.default_rng(seed)

    def field(x: np.ndarray) -> np.ndarray:  # (V, S, n)
        z = x
        for k, (w, b) in enumerate(zip(flat.weights, flat.biases, strict=True)):
            z = z @ w.swapaxes(1, 2) + b[:, None]
            z = value(activation, z) if k < len(flat.weights) - 1 else z
        return x @ flat.A.swapaxes(1, 2) + z

    def stepped(x: np.ndarray) -> np.ndarray:
        if method == "euler":
            return x + step * field(x)
        k1 = field(x)
        k2 = field(x + step / 2 * k1)
        k3 = field(x + step / 2 * k2)
        k4 = field(x + step * k3)
        return np.asarray(x + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4))

    x = rng.normal(size=(2, 200, 2)) * 10.0 ** rng.uniform(-1, 1, (2, 200, 1))
    y = x + rng.normal(size=x.shape) * 10.0 ** rng.uniform(-2, 1, (2, 200, 1))

    def distance(d: np.ndarray) -> np.ndarray:
        return np.asarray(np.sqrt(np.einsum("vsi,ij,vsj->vs", d, found.metric, d)))

    assert (distance(stepped(x) - stepped(y)) <= found.factor * distance(x - y) * (1 + 1e-10)).all()


def exact_inequality(system: Lure, step: Step, index: int) -> list[list[Fraction]]:
    """M in rationals, with the method's own fractions and the stages written out."""
    F = np.vectorize(Fraction, otypes=[object])
    loop, h = system.loop(), Fraction(step.step)
    A, E, W, N, P = (F(a) for a in (loop.A[index], loop.E[index], loop.W[index], loop.N[index], step.metric))
    alpha, beta = (Fraction(s) for s in SLOPES[system.activation])
    starts = [Fraction(0), Fraction(1, 2), Fraction(1, 2), Fraction(1)] if step.method == "rk4" else [Fraction(0)]
    parts = [Fraction(1, 6), Fraction(1, 3), Fraction(1, 3), Fraction(1, 6)] if step.method == "rk4" else [Fraction(1)]
    n, H = E.shape
    size = n + len(starts) * H
    first = F(np.eye(n, size))
    end, slope, rows = first, 0 * first, []
    for k, (a, b) in enumerate(zip(starts, parts, strict=True)):
        own = F(np.eye(H, size, n + k * H))
        stage = first + h * a * slope
        slope = A @ stage + E @ own
        end = end + h * b * slope
        rows.append(W @ stage + N @ own)
    V, D = np.concatenate(rows), F(np.eye(size - n, size, n))
    half = (D - alpha * V).T @ (F(step.multipliers[index])[:, None] * (D - beta * V))
    M = half + half.T - end.T @ P @ end
    M[:n, :n] += Fraction(step.factor) ** 2 * P
    rows_of: list[list[Fraction]] = M.tolist()
    return rows_of


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_the_checkers_matrix_encloses_the_exact_one(method: str, activation: str) -> None:
    system = layered(3, (3, 2), 2, 0.3, activation)
    found, stack = proved(certified(system), system, 0.1, method), read_system(system)
    M = inequality(stack, slice(0, 2), method, found.step, found.factor, found.metric, found.multipliers)
    assert (M.mid == M.mid.swapaxes(1, 2)).all()
    assert M.radius.max() < 1e-11
    for v in range(2):
        exact = np.array(exact_inequality(system, found, v), dtype=object)
        F = np.vectorize(Fraction, otypes=[object])
        assert (abs(exact - F(M.mid[v])) <= F(M.radius[v])).all()


@pytest.mark.parametrize("method", list(METHODS))
def test_mutations_are_never_falsely_accepted(method: str) -> None:
    system = layered(5, (3,), 2, 0.4, V=1)
    found, rng = proved(certified(system), system, 0.2, method), np.random.default_rng(1)
    said = false = 0
    for _ in range(30):
        name = rng.choice(["metric", "multipliers", "factor", "step"])
        size = 1.0 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-8, 0.5)
        new: Any = getattr(found, name)
        if isinstance(new, float):
            new = float(new * size)
        else:
            new = np.array(new)
            where = tuple(rng.integers(s) for s in new.shape)
            new[where] *= size
            if name == "metric":
                new[where[::-1]] = new[where]
        mutant = replace(found, claim="", **{name: new})
        F = np.vectorize(Fraction, otypes=[object])
        true = 0 < mutant.factor < 1 and mutant.step > 0 and (mutant.multipliers > 0).all()
        true = true and positive_definite(F(mutant.metric).tolist()) and positive_definite(exact_inequality(system, mutant, 0))
        accepted = check(mutant, system)
        assert not accepted or true
        said, false = said + accepted, false + (not true)
    assert said > 3
    assert false > 3


def test_fields_and_arguments_that_do_not_fit() -> None:
    system = layered(5, (3,), 2, 0.4, V=1)
    certificate = certified(system)
    found = proved(certificate, system, 0.2)
    for fields, reason in (
        ({"digest": "0" * 64}, "digest"),
        ({"claim": "It shrinks."}, "claim"),
        ({"slope_range": (0.0, 0.5)}, "slope range"),
        ({"leading": (3,)}, "leading"),
        ({"not_covered": ()}, "not covered"),
        ({"factor": 1.0}, "factor"),
        ({"step": -0.1}, "step"),
        ({"method": "euler"}, "shape"),
        ({"method": "heun"}, "method"),
        ({"metric": -found.metric}, "positive definite"),
        ({"metric": np.array([[1.0, 0.1], [0.0, 1.0]])}, "symmetric"),
    ):
        verdict = prove(replace(found, **fields), system)
        assert not verdict
        assert reason in verdict.reason
    for arguments, message in (
        ((certificate, system, 0.0), "step"),
        ((certificate, system, 0.1, "heun"), "heun"),
        ((certificate, layered(6, (3,), 2, 0.4), 0.1), "another system"),
        ((None, system, 0.1), "Certificate"),
    ):
        with pytest.raises(ValueError, match=message):
            certify_step(*arguments)
    with pytest.raises(ValueError, match="'step'"):
        Step.from_dict(certificate.to_dict())
