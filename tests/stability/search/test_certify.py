"""The search: known answers, caps, trajectories, refusals, time limits, JSON."""

import json
import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from stability import Certificate, Lure, Refusal, certify, check, metric_cap, spectral_cap
from stability.lure import SLOPES
from stability.search.climb.interior_point import climb
from stability.search.states.activation import slope, value
from stability.search.states.duals import dual_holds, one_metric
from stability.search.states.jacobians import jacobians_of, linear, log_norm
from stability.search.states.sampling import sample

KA = np.linspace(0.7, 3.0, 12)  # 1/h
KE = np.linspace(0.054, 0.11, 12)  # 1/h
THEOPHYLLINE = np.stack([np.array([[-ka, 0.0], [ka, -ke]]) for ka, ke in zip(KA, KE, strict=True)])  # amounts


def opinion_dynamics() -> Lure:
    return Lure(
        A=-1.5 * np.eye(3),
        weights=[[[1, -1, 0], [-1, 1, -1], [0, -1, 1]], 0.5 * np.eye(3)],
        biases=[np.zeros(3), np.zeros(3)],
    )


def layered(
    seed: int, widths: tuple[int, ...], n: int, *, gain: float, lead: tuple[int, ...] = (), **more: Any
) -> Lure:
    rng = np.random.default_rng(seed)
    sizes = [n, *widths, n]
    weights = [rng.normal(size=(*lead, o, i)) / np.sqrt(i) for i, o in pairwise(sizes)]
    weights[-1] = weights[-1] * gain
    biases = [rng.normal(size=(*lead, o)) for o in sizes[1:]]
    return Lure(A=-np.eye(n) + 0.2 * rng.normal(size=(n, n)), weights=weights, biases=biases, **more)


def naive_matrix(system: Lure, certificate: Certificate, v: int) -> np.ndarray:
    """The textbook inequality's left side, to be ⪯ 0: V̇ + 2λV − 2 (δz − αδv)ᵀΛ(δz − βδv), dense, one system."""
    loop, P, L = system.loop(), certificate.metric, np.diag(certificate.multipliers[v])
    A, E, W, N = loop.A[v], loop.E[v], loop.W[v], loop.N[v]
    alpha, beta = SLOPES[system.activation]
    dv, dz = np.hstack([W, N]), np.hstack([np.zeros_like(W), np.eye(len(N))])
    sector = (dz - alpha * dv).T @ L @ (dz - beta * dv)
    corner = A.T @ P + P @ A + 2 * certificate.rate * P
    return np.block([[corner, P @ E], [(P @ E).T, np.zeros_like(N)]]) - sector - sector.T


def certified(system: Lure, **arguments: Any) -> Certificate:
    found = certify(system, **arguments)
    assert isinstance(found, Certificate), found
    assert check(found, system)
    for v in range(len(found.multipliers)):
        assert np.linalg.eigvalsh(naive_matrix(system, found, v))[-1] < 0
    assert found.spectral_cap is not None
    assert found.rate <= found.spectral_cap + 1e-9
    assert found.inequality_cap is None or found.rate <= found.inequality_cap + 1e-9
    assert found.metric_cap is None or found.rate <= found.metric_cap + 1e-9
    assert found.condition == pytest.approx(np.linalg.cond(found.metric), rel=1e-9)
    return found


def test_opinion_dynamics_reaches_the_exact_rate() -> None:
    """The symmetric Jacobian at slopes 1 has the eigenvalue −1.5 + (1 + √2)/2, and P = I attains it."""
    exact = 1.5 - (1 + np.sqrt(2)) / 2
    system = opinion_dynamics()
    free, identity = certified(system), certified(system, metric=np.eye(3))
    for found in (free, identity):
        assert 0.99 * exact < found.rate < exact
    assert free.identity_refused is False
    np.testing.assert_array_equal(identity.metric, np.eye(3))
    assert spectral_cap(system) == pytest.approx(exact, rel=1e-9)


def test_hopfield_is_disproved_with_a_true_counterexample() -> None:
    system = Lure(A=-2.5 * np.eye(3), weights=[np.eye(3), np.ones((3, 3))], biases=[np.zeros(3)] * 2)
    refusal = certify(system)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "disproved"
    found = refusal.counterexample
    assert found is not None
    slopes = [1 - np.tanh(np.array(found["state"])) ** 2]  # the first layer is the identity, without bias
    np.testing.assert_allclose(found["slopes"], slopes)
    np.testing.assert_allclose(found["jacobian"], system.jacobian(slopes))
    assert np.linalg.eigvals(np.array(found["jacobian"])).real.max() == pytest.approx(0.5)


def test_theophylline_needs_a_metric_and_gets_one() -> None:
    """In amounts the Euclidean logarithmic norm is positive exactly if ka > 4 ke: +.238 at ka 1.5, ke .086."""
    one = np.array([[-1.5, 0.0], [1.5, -0.086]])
    assert log_norm(one, np.eye(2)) == pytest.approx(0.238, abs=5e-4)
    assert log_norm(np.array([[-0.4, 0.0], [0.4, -0.1]]), np.eye(2)) == pytest.approx(0.0, abs=1e-12)
    refusal = certify(Lure(A=one, weights=[], biases=[]), metric=np.eye(2))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "not proved"
    assert "This metric fails" in refusal.message
    assert refusal.best_rate == pytest.approx(-0.238, abs=5e-4)
    system = Lure(A=THEOPHYLLINE, weights=[], biases=[])
    found = certified(system)
    assert found.identity_refused is True
    assert found.condition <= 10
    assert 0.99 * 0.054 < found.rate < 0.054
    assert found.leading == (12,)


@pytest.mark.parametrize("scale", [1.0, 1.0 / 60.0])
def test_the_usual_load_ends_in_time_and_near_its_cap(scale: float) -> None:
    """8 members × 12 people, n = 2, 16 units: within 1 % of what the inequality can reach, in hours and in minutes."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(8, 1, 16, 2)) / np.sqrt(2), scale * 0.01 * rng.normal(size=(8, 1, 2, 16)) / 4]
    system = Lure(A=scale * THEOPHYLLINE[None], weights=weights, biases=[np.zeros(16), np.zeros(2)])
    start = time.perf_counter()
    found = certified(system)
    assert time.perf_counter() - start < 10.0  # measured: 2 s
    assert found.multipliers.shape == (96, 16)
    assert found.inequality_cap is not None
    assert found.rate > 0.99 * found.inequality_cap
    assert found.metric_cap is not None
    assert found.metric_cap > 1.5 * found.inequality_cap  # slope patterns that no state attains cost a third of the rate here
    assert found.condition < 20


@pytest.mark.parametrize("activation", list(SLOPES))
def test_two_trajectories_contract_in_the_metric(activation: str) -> None:
    """Pairs under the same input, integrated tightly: |δx(t)|_P ≤ e^{−λt} |δx(0)|_P at every output time."""
    rng = np.random.default_rng(4)
    system = layered(
        3, (8,), 2, gain=0.4, activation=activation, input_weights=rng.normal(size=(8, 1)), B=np.ones((2, 1))
    )
    found = certified(system)
    assert system.input_weights is not None
    assert system.B is not None
    Wu, B = system.input_weights[:, 0], system.B[:, 0]

    def field(t: float, x: np.ndarray) -> np.ndarray:
        u = 3 * np.sin(2 * t)
        z = value(activation, system.weights[0] @ x + Wu * u + system.biases[0])
        return system.A @ x + B * u + system.weights[1] @ z + system.biases[1]

    times = np.linspace(0, 3, 31)
    for _ in range(5):
        pair = rng.normal(size=(2, 2)) * 3
        first, second = (
            solve_ivp(field, (0, 3), x0, t_eval=times, rtol=1e-11, atol=1e-12, method="DOP853", max_step=0.05).y
            for x0 in pair
        )
        delta = (first - second).T
        distance = np.sqrt(np.einsum("ti,ij,tj->t", delta, found.metric, delta))
        # 1e-7: the kink of relu costs the solver some of its ten digits.
        assert (distance <= distance[0] * (np.exp(-found.rate * times) + 1e-7)).all()


def test_two_hidden_layers() -> None:
    system = layered(1, (8, 8), 2, gain=0.2, lead=(2,))
    found = certified(system)
    again = certified(system, rate=0.5 * found.rate)
    assert again.rate == 0.5 * found.rate
    refusal = certify(system, rate=1.05 * found.rate)
    assert isinstance(refusal, Refusal)
    assert refusal.rate_bound is not None
    assert refusal.rate_bound < 1.05 * found.rate


def test_requested_rate_above_the_spectral_cap_is_disproved() -> None:
    system = opinion_dynamics()
    refusal = certify(system, rate=0.3)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "disproved"
    assert certified(system, rate=0.25).rate == 0.25


def test_no_common_metric_comes_with_its_dual() -> None:
    """Rotations that are each stable and together are not: [[−a, b], [−1/b, −a]] and its transpose, b large."""
    a, b = 0.1, 4.0
    pair = np.array([[[-a, b], [-1 / b, -a]], [[-a, 1 / b], [-b, -a]]])
    refusal = certify(Lure(A=pair, weights=[], biases=[]))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "no common metric"
    assert refusal.counterexample is not None
    J, Z = (np.array(refusal.counterexample[name]) for name in ("jacobians", "duals"))
    total = sum(j @ z + z @ j.T for j, z in zip(J, Z, strict=True))
    assert np.linalg.eigvalsh(total)[0] > 0
    assert all(np.linalg.eigvalsh(z)[0] > 0 for z in Z)
    assert {tuple(j.ravel()) for j in J} <= {tuple(j.ravel()) for j in pair}
    assert refusal.best_rate is not None
    assert refusal.best_rate < 0


def test_dual_is_not_found_where_a_metric_exists() -> None:
    J = THEOPHYLLINE
    _, ascent = one_metric(sample(Lure(A=J, weights=[], biases=[])), np.eye(2), with_corners=False)
    assert not dual_holds(np.tile(J, (1, 1, 1)), np.tile(np.eye(2), (12, 1, 1)), 0.0)
    assert ascent.bound >= ascent.rate


def test_caps_bound_each_other_and_the_certificate() -> None:
    for seed in range(3):
        system = layered(seed, (6,), 2, gain=0.4)
        spectral, metric = spectral_cap(system), metric_cap(system)
        found = certify(system)
        assert metric <= spectral
        if found:
            assert found.rate <= metric + 1e-9


def test_sampled_slopes_belong_to_the_sampled_states() -> None:
    """Attained means attained: slopes recomputed from states and inputs, Jacobians from slopes by finite differences."""
    rng = np.random.default_rng(2)
    system = layered(5, (4, 3), 2, gain=0.5, lead=(2,), input_weights=rng.normal(size=(4, 1)))
    drawn = sample(system, samples=16)
    assert drawn.inputs is not None
    assert system.input_weights is not None
    for v in range(2):
        for s in range(0, drawn.states.shape[1], 5):
            u = drawn.inputs[v, s]

            def field(x: np.ndarray, v: int = v, u: np.ndarray = u) -> np.ndarray:
                assert system.input_weights is not None
                z = np.tanh(system.weights[0][v] @ x + system.input_weights @ u + system.biases[0][v])
                z = np.tanh(system.weights[1][v] @ z + system.biases[1][v])
                return system.A @ x + system.weights[2][v] @ z

            x, h = drawn.states[v, s], 1e-5
            difference = np.stack([(field(x + h * e) - field(x - h * e)) / (2 * h) for e in np.eye(2)], axis=1)
            np.testing.assert_allclose(drawn.attained[v, s], difference, atol=1e-8)


def test_relu_slopes_are_those_of_an_open_region() -> None:
    """With zero bias the origin is a kink of every unit; the sampled slopes hold in a neighbourhood of their states."""
    weights = [np.array([[1.0, 0.0], [-1.0, 0.0]]), 0.1 * np.ones((2, 2))]  # exactly one of the two units is on
    system = Lure(A=-np.eye(2), weights=weights, biases=[np.zeros(2), np.zeros(2)], activation="relu")
    drawn = sample(system)
    np.testing.assert_array_equal(drawn.slopes[0].sum(-1), 1.0)


def test_corner_patterns_stay_in_the_slope_range_and_find_the_worst() -> None:
    """Exhaustive over all 2⁸ corners: the sign steps come within 5 % of the worst abscissa."""
    system = layered(8, (8,), 2, gain=1.0, activation="sigmoid")
    flat = system.flatten()
    every = 0.25 * np.array(list(np.ndindex(*[2] * 8)), dtype=float)
    exhaustive = np.linalg.eigvals(jacobians_of(flat, [every[None]])).real.max()
    found = np.linalg.eigvals(sample(system).corners).real.max()
    assert found <= exhaustive + 1e-12
    assert found >= exhaustive - 0.05 * abs(exhaustive)


@pytest.mark.parametrize("activation", list(SLOPES))
def test_slopes_are_derivatives(activation: str) -> None:
    v = np.linspace(-5, 5, 101)[:-1] + 0.01  # not the kink of relu
    numeric = (value(activation, v + 1e-6) - value(activation, v - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope(activation, v), numeric, atol=1e-8)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 4),
    widths=st.lists(st.integers(1, 6), max_size=2).map(tuple),
    gain=st.floats(0, 1.5),
    activation=st.sampled_from(list(SLOPES)),
)
def test_what_certify_returns_is_true(seed: int, n: int, widths: tuple[int, ...], gain: float, activation: str) -> None:
    """A certificate is accepted by the checker and by the naive matrix; JSON keeps every bit; a refusal has a reason."""
    try:
        system = layered(seed, widths, n, gain=gain, activation=activation)
    except ValueError:
        return  # A was not Hurwitz
    found = certify(system, seconds=5.0)
    if isinstance(found, Certificate):
        assert check(found, system)
        again = Certificate.from_dict(json.loads(json.dumps(found.to_dict())))
        assert again.to_dict() == found.to_dict()
        np.testing.assert_array_equal(again.metric, found.metric)
        assert check(again, Lure.from_dict(json.loads(json.dumps(system.to_dict()))))
        assert np.linalg.eigvalsh(naive_matrix(system, found, 0))[-1] < 0
        assert bool(found)
    else:
        refusal = Refusal.from_dict(json.loads(json.dumps(found.to_dict())))
        assert refusal.to_dict() == found.to_dict()
        assert refusal.message
        assert not refusal


def test_dead_units_and_zero_weights() -> None:
    zero = Lure(
        A=[[-1.0, 0.0], [0.5, -2.0]], weights=[np.zeros((4, 2)), np.zeros((2, 4))], biases=[np.zeros(4), np.zeros(2)]
    )
    assert certified(zero).rate > 0.98
    half = Lure(
        A=zero.A, weights=[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]], biases=[np.zeros(2), np.zeros(2)]
    )
    assert certified(half).rate > 0.98  # no path through the units: the first has no output, the second no input


def test_states_of_very_different_sizes() -> None:
    """Amounts in mg and in ng: the same dynamics after a diagonal change of units by 1e3, within the condition allowed."""
    system = layered(2, (5,), 2, gain=0.3)
    D = np.diag([1.0, 1e-1])
    scaled = Lure(
        A=D @ system.A @ np.linalg.inv(D),
        weights=[system.weights[0] @ np.linalg.inv(D), D @ system.weights[1]],
        biases=system.biases,
    )
    assert certified(scaled).rate == pytest.approx(certified(system).rate, rel=0.01)


def chain(n: int) -> np.ndarray:
    """Compartments in a row, threefold gain from each to the next: stable, and far from normal."""
    k = np.array([0.02, 0.03, 0.05, 0.01, 0.02, 0.1, 0.03, 0.006])[:n]
    return np.diag(-k) + np.diag(3 * k[:-1], -1)


@pytest.mark.parametrize("units", [np.ones(8), np.array([1e-3, 1, 1, 10, 1, 1, 100, 1])])
def test_long_chains_and_unlucky_units_are_certified(units: np.ndarray) -> None:
    """A stable matrix has a metric; where its condition number exceeds 1e4 the search changes coordinates."""
    A = np.diag(units) @ chain(8) @ np.diag(1 / units)
    found = certified(Lure(A=A, weights=[], biases=[]))
    assert found.condition > 1e4
    assert found.rate > 0.5 * 0.006  # the smallest rate constant, which no metric of finite condition reaches


def test_time_limit_is_obeyed_and_returns_the_best_so_far() -> None:
    system = layered(0, (120, 120), 4, gain=0.05)
    start = time.perf_counter()
    outcome = certify(system, seconds=1.0)
    assert time.perf_counter() - start < 2.5  # one Newton step and the proof may come after the limit
    if outcome:
        assert check(outcome, system)
    else:
        assert outcome.reason == "not proved"
        assert "time" in outcome.message


def test_wide_layer_is_certified() -> None:
    system = layered(0, (128,), 4, gain=0.5 / np.sqrt(128))
    found = certified(system, seconds=30.0)
    assert found.metric_cap is not None
    assert found.rate > 0.8 * found.metric_cap


def test_fixed_metric_agrees_with_the_free_search_at_its_own_metric() -> None:
    system = layered(6, (5,), 3, gain=0.4)
    found = certified(system)
    again = certified(system, metric=found.metric)
    assert again.rate >= found.rate * (1 - 1e-3)


def test_bound_of_the_climb_is_above_and_closes() -> None:
    loop = layered(7, (5, 4), 2, gain=0.4).loop()
    coarse, fine = climb(loop, np.eye(2), tolerance=0.1), climb(loop, np.eye(2), tolerance=1e-5)
    assert coarse.bound >= fine.rate
    assert fine.bound >= fine.rate
    assert fine.bound - fine.rate <= 1.1e-5 * fine.bound
    J = linear(THEOPHYLLINE)
    assert climb(J, np.eye(2), fixed=True).rate == pytest.approx(-log_norm(THEOPHYLLINE, np.eye(2)).max(), rel=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 0.0}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"seconds": 0.0}, "time limit"),
        ({"metric": np.eye(2)}, r"\(3, 3\)"),
        ({"metric": -np.eye(3)}, "positive definite"),
        ({"metric": np.triu(np.ones((3, 3)))}, "symmetric"),
    ],
)
def test_arguments_are_refused_with_a_reason(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        certify(opinion_dynamics(), **arguments)
    with pytest.raises(ValueError, match="Lure"):
        certify({"A": [[-1.0]]})  # type: ignore[arg-type]


def test_dictionaries_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="refusal"):
        Refusal.from_dict({"kind": "certificate"})
    with pytest.raises(ValueError, match="reason"):
        Refusal.from_dict({"kind": "refusal", "reason": "bored", "message": ""})
    with pytest.raises(ValueError, match="certificate"):
        Certificate.from_dict({"kind": "refusal"})


def test_several_systems_are_proved_as_their_stack() -> None:
    """One metric for a list; each of them contracts in it; what does not fit together is refused by name."""
    pair = [layered(seed, (6,), 2, gain=0.3) for seed in (1, 2)]
    found = certify(pair)
    assert isinstance(found, Certificate)
    assert check(found, Lure.stack(pair))
    for one in pair:
        assert certify(one, found.rate, metric=found.metric)
    with pytest.raises(ValueError, match="differ in structure"):
        certify([pair[0], layered(1, (5,), 2, gain=0.3)])
    for wrong in ([], 3, [pair[0], "x"]):
        with pytest.raises(ValueError, match="a Lure is needed"):
            certify(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("activation", list(SLOPES))
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6])
def test_one_to_six_hidden_layers_of_every_activation(depth: int, activation: str) -> None:
    """A gain that shrinks with what the layers' norms multiply to: certified, proved, and true of the naive matrix."""
    system = layered(depth, (4,) * depth, 2, gain=0.05 if activation in ("silu", "gelu") else 0.2, activation=activation)
    assert certified(system).rate > 0.1
