"""The structured searches: elimination against dense algebra, the climbs against each other, limits of time, training."""

import time
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from stability import Certificate, Lure, Refusal, certify, check, contraction_margin
from stability.lure import SLOPES, Loop
from stability.search import everywhere
from stability.search.climb import interior_point
from stability.search.climb.elimination import (
    contraction_barrier,
    contraction_rate,
    eliminate,
    explicit_multipliers,
    slopes_of,
)
from stability.search.climb.interior_point import climb
from stability.search.climb.layered import best_multipliers, climb_layers
from stability.search.climb.newton import move
from stability.search.climb.problem import Point, Problem
from stability.search.semidefinite import joint


def draw(seed: int, widths: list[int], n: int, *, gain: float = 0.6, activation: str = "tanh") -> Lure:
    rng = np.random.default_rng(seed)
    weights = [gain * rng.normal(size=(o, i)) / np.sqrt(i) for i, o in pairwise([n, *widths, n])]
    A = -1.5 * np.eye(n) + 0.3 * rng.normal(size=(n, n))
    return Lure(A=A, weights=weights, biases=[np.zeros(len(w)) for w in weights], activation=activation)


def on_paper(loop: Loop, rate: float, P: np.ndarray, L: np.ndarray) -> np.ndarray:
    """M as `stability/README.md` writes it, with slopes per unit."""
    n, H = loop.E.shape[1:]
    V, D = np.concatenate([loop.W[0], loop.N[0]], 1), np.concatenate([np.zeros((H, n)), np.eye(H)], 1)
    sector = (D - loop.lower[0][:, None] * V).T @ np.diag(L) @ (D - loop.upper[0][:, None] * V)
    corner, E = loop.A[0].T @ P + P @ loop.A[0] + 2 * rate * P, loop.E[0]
    return sector + sector.T - np.block([[corner, P @ E], [E.T @ P, np.zeros((H, H))]])


def any_slopes(loop: Loop, seed: int) -> Loop:
    rng = np.random.default_rng(seed)
    lower = rng.uniform(-0.1, 0.4, loop.lower.shape)
    return Loop(loop.A, loop.E, loop.W, loop.N, lower, lower + rng.uniform(0.1, 0.6, lower.shape), loop.widths)


def tensors(arrays: object) -> list[Tensor]:
    return [torch.tensor(np.asarray(a)) for a in arrays]  # type: ignore[attr-defined]


@pytest.mark.parametrize("widths", [[5], [4, 6], [3, 5, 2, 4]])
@pytest.mark.parametrize("slopes", ["plain", "any"])
def test_elimination_is_the_dense_schur_complement(widths: list[int], slopes: str) -> None:
    system, rng, n = draw(0, widths, 3), np.random.default_rng(1), 3
    loop = system.loop() if slopes == "plain" else any_slopes(system.loop(), 2)
    L, G = 10.0 * rng.uniform(1, 2, sum(widths)), rng.normal(size=(n, n))
    P = G @ G.T + np.eye(n)
    M = on_paper(loop, 0.3, P, L)
    cuts = np.cumsum(widths)[:-1]
    parts = [np.split(x, cuts) for x in (L, loop.lower[0], loop.upper[0])]
    found = eliminate(
        torch.tensor(loop.A[0]), tensors(system.weights), torch.tensor(P), *(tensors(part) for part in parts)
    )
    assert bool(found.inside)
    schur = M[:n, :n] - M[:n, n:] @ np.linalg.solve(M[n:, n:], M[n:, :n])
    np.testing.assert_allclose(-found.Q.numpy() - 0.6 * P, schur, rtol=1e-11, atol=1e-11)
    assert found.log_det.item() == pytest.approx(np.linalg.slogdet(M[n:, n:])[1] - np.log(2 * L).sum(), rel=1e-11)
    # and the Newton climb's matrix is the same one
    problem = Problem(loop, True, 1.0, np.array([[1e9]]))
    np.testing.assert_allclose(problem.matrix(0.3, P, L[None])[0], M, rtol=1e-12, atol=1e-12)
    X = rng.normal(size=(1, *M.shape))
    dense = problem.change(0.3, P, L[None], 0.7 * P) @ X
    np.testing.assert_allclose(problem.change_times(0.3, P, L[None], 0.7 * P, X), dense, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_rate_and_barrier_differentiate_in_everything(activation: str) -> None:
    system = draw(3, [4, 3], 2, gain=0.4, activation=activation)
    P = torch.tensor([[2.0, 0.3], [0.3, 1.0]], dtype=torch.float64)
    A, weights = torch.tensor(system.A), tensors(system.weights)
    L = explicit_multipliers(weights, P, *slopes_of(activation, [w.new_zeros(1) for w in weights[:-1]]))
    inputs = tuple(x.clone().requires_grad_() for x in (A, P, *weights, *L))

    def rate(A: Tensor, P: Tensor, *rest: Tensor) -> Tensor:
        return contraction_rate(A, rest[:3], (P + P.mT) / 2, rest[3:], activation)

    def barrier(A: Tensor, P: Tensor, *rest: Tensor) -> Tensor:
        return contraction_barrier(A, rest[:3], (P + P.mT) / 2, rest[3:], -1.0, activation)

    assert torch.autograd.gradcheck(rate, inputs, eps=1e-6, atol=1e-6)
    assert torch.autograd.gradcheck(barrier, inputs, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_barrier_is_finite_exactly_below_the_rate_and_equals_the_dense_log_det(seed: int) -> None:
    system = draw(seed, [6, 5], 2)
    P = np.diag([1.0, 2.0])
    A, weights = torch.tensor(system.A), tensors(system.weights)
    L = best_multipliers(A, weights, torch.tensor(P))
    rate = contraction_rate(A, weights, torch.tensor(P), L).item()
    assert contraction_barrier(A, weights, torch.tensor(P), L, rate + 1e-6).item() == np.inf
    value = contraction_barrier(A, weights, torch.tensor(P), L, rate - 0.1).item()
    flat = torch.cat(L).numpy()
    M = on_paper(system.loop(), rate - 0.1, P, flat)
    scale = np.log(2 * flat).sum() + np.linalg.slogdet(2 * P)[1]
    assert value == pytest.approx(scale - np.linalg.slogdet(M)[1], rel=1e-8)


@pytest.mark.parametrize("activation", ["tanh", "silu"])
@pytest.mark.parametrize("widths", [[12], [10, 8], [6, 6, 6]])
def test_the_two_climbs_agree(activation: str, widths: list[int]) -> None:
    """First order ends a little lower, never above the dual bound; its rate is that of its multipliers."""
    system = draw(5, widths, 3, gain=0.5, activation=activation)
    flat, loop = system.flatten(), system.loop()
    ends = ([np.full((1, h), end) for h in widths] for end in SLOPES[activation])
    found = climb_layers(flat.linear(), flat.weights, *ends, np.eye(3))
    dense = climb(loop, np.eye(3), tolerance=1e-4)
    assert 0.97 * dense.rate < found.rate <= dense.bound * (1 + 1e-9)
    for at, sign in ((found.rate * (1 - 1e-6), 1.0), (found.rate * (1 + 1e-6), -1.0)):
        M = on_paper(loop, at, found.metric, found.multipliers[0])
        assert sign * np.linalg.eigvalsh(M)[0] > 0


def test_the_layered_climb_takes_many_systems_and_a_given_metric() -> None:
    one, two = draw(1, [6, 5], 2), draw(2, [6, 5], 2)
    both = Lure(
        A=np.stack([one.A, two.A]),
        weights=[np.stack(w) for w in zip(one.weights, two.weights, strict=True)],
        biases=[np.zeros((2, len(b))) for b in one.biases],
    )
    ends = ([np.full((1, h), end) for h in (6, 5)] for end in (0.0, 1.0))
    found = climb_layers(both.linear(), both.weights, *ends, np.eye(2), fixed=True)
    exact = climb(both.loop(), np.eye(2), fixed=True, tolerance=1e-5)
    np.testing.assert_array_equal(found.metric, np.eye(2))
    assert exact.rate - 0.02 * abs(exact.rate) < found.rate <= exact.bound + 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_slopes_of_every_unit_its_own_agree_with_the_conic_solver(seed: int) -> None:
    """Also where α > 0, where the sign of Λ is no longer implied by M ≻ 0."""
    loop = any_slopes(draw(seed, [4, 3], 2).loop(), seed)
    found = climb(loop, np.eye(2), tolerance=1e-4)
    assert np.linalg.eigvalsh(on_paper(loop, found.rate * (1 - 1e-6), found.metric, found.multipliers[0]))[0] > 0
    below, above = joint(loop, found.rate - 0.01), joint(loop, found.bound + 0.01)
    assert below is not None
    assert below[2] > 0
    assert above is None or above[2] < 1e-6


@pytest.mark.parametrize("widths", [[32, 32], [16, 16, 16]])
def test_few_newton_steps(widths: list[int]) -> None:
    found = climb(draw(7, widths, 4).loop(), np.eye(4))
    assert found.bound - found.rate <= 3.1e-3 * found.bound
    assert found.iterations <= 60


def test_a_time_limit_and_an_interrupt_leave_a_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = draw(7, [32, 32], 4).loop()
    started = time.monotonic()
    late = climb(loop, np.eye(4), deadline=time.monotonic() - 1.0)
    assert time.monotonic() - started < 1.0
    assert np.linalg.eigvalsh(on_paper(loop, late.rate, late.metric, late.multipliers[0]))[0] > 0
    calls = [0]

    def interrupted(problem: Problem, point: Point) -> Point | None:
        calls[0] += 1
        if calls[0] > 8:
            raise KeyboardInterrupt
        return move(problem, point)

    monkeypatch.setattr(interior_point, "move", interrupted)
    stopped = climb(loop, np.eye(4))
    assert stopped.interrupted
    assert stopped.rate > late.rate
    assert np.linalg.eigvalsh(on_paper(loop, stopped.rate, stopped.metric, stopped.multipliers[0]))[0] > 0


def test_large_systems_go_by_layers_and_end_proved_or_refused_with_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everywhere, "_LARGE", 10)
    monkeypatch.setattr(everywhere, "climb", lambda loop, *rest, **more: _only_linear(loop, climb, *rest, **more))
    system = draw(5, [10, 8], 3, gain=0.5)
    found = certify(system, seconds=20)
    assert isinstance(found, Certificate)
    assert check(found, system)
    wild = draw(5, [10, 8], 3, gain=1.6)
    refused = certify(wild, seconds=5)
    assert isinstance(refused, Refusal)
    assert refused.rate_bound is not None
    assert np.isfinite(refused.rate_bound)


def _only_linear(loop: Loop, inner: object, *rest: object, **more: object) -> object:
    assert not loop.widths, "the dense climb was called for a large system"
    return inner(loop, *rest, **more)  # type: ignore[operator]


def test_training_with_the_certificate_in_the_loss_ends_certified_at_less_cost_than_the_explicit_margin() -> None:
    """A field that no certificate covers when it is fitted freely: two hidden layers on a steep target."""
    torch.manual_seed(0)
    A, P = -torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    x = 2.0 * torch.randn(200, 2, generator=generator, dtype=torch.float64)
    y = torch.stack([torch.sin(2.0 * x[:, 1]), torch.tanh(2.0 * x[:, 0])], 1)
    rate = 0.2

    def fit(penalty: str) -> tuple[list[Tensor], float]:
        g = torch.Generator().manual_seed(2)
        shapes = [(12, 2), (12, 12), (2, 12)]
        weights = [(torch.randn(s, generator=g, dtype=torch.float64) * 0.3).requires_grad_() for s in shapes]
        biases = [torch.zeros(s[0], dtype=torch.float64, requires_grad=True) for s in shapes]
        optimiser = torch.optim.Adam([*weights, *biases], lr=0.01)
        fall = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0 - step / 150)
        error = torch.zeros(())
        for _ in range(150):
            z = torch.tanh(torch.tanh(x @ weights[0].mT + biases[0]) @ weights[1].mT + biases[1])
            error = (z @ weights[2].mT + biases[2] - y).square().mean()
            loss = error
            if penalty == "explicit":
                margin = contraction_margin(A, weights, P)
                loss = error + 20.0 * (1.05 * rate - margin).clamp(min=0.0).square()
            elif penalty == "multipliers":
                margin = contraction_rate(A, weights, P, best_multipliers(A, weights, P))
                loss = error + 20.0 * (1.05 * rate - margin).clamp(min=0.0).square()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            fall.step()
        return [w.detach() for w in weights], error.item()

    fitted = {name: fit(name) for name in ("free", "explicit", "multipliers")}
    reached = {}
    for name, (weights, _) in fitted.items():
        system = Lure(A=A, weights=weights, biases=[np.zeros(len(w)) for w in weights])
        reached[name] = climb(system.loop(), P.numpy(), fixed=True).rate
    assert reached["free"] < 0
    assert reached["multipliers"] >= rate
    assert fitted["free"][1] < fitted["multipliers"][1] < 0.9 * fitted["explicit"][1]
