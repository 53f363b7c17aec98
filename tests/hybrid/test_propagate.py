"""Mean and covariance along an interval: the closed form where there is one, and cutting an interval changes nothing."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from torch import Tensor

from hybrid import (
    Dose,
    Exponential,
    HybridModel,
    Interval,
    Mesh,
    Schedule,
    States,
    build_segments,
    conditions_of,
    propagate,
    rollout,
    root,
    sample_paths,
    simulate,
    transition,
)
from hybrid.derivative import slope_of
from hybrid.problem import Problem
from hybrid.process_noise import Driven
from learned import MLP, Constant, DiagonalDiffusion
from physics import LinearBackbone, SharedPopulation

F64 = torch.float64
A, G, NOBODY = [[-1.0, 0.4], [0.3, -0.6]], [0.5, 0.2], torch.zeros(0, dtype=F64)


@dataclass(frozen=True)
class Linear:
    """dx = (A x + B u + rate) dt + g dW with constant input, on plain arrays: no model and no solver."""

    A: Tensor
    B: Tensor
    D: Tensor

    def flow(self, x: Tensor, interval: Interval) -> Tensor:
        n = self.A.shape[-1]
        drive = interval.u0 @ self.B.T + interval.rate  # (N, n)
        wide = torch.zeros(len(interval.dt), n + 1, n + 1, dtype=F64)
        wide[:, :n, :n], wide[:, :n, n] = self.A * interval.dt[:, None, None], drive * interval.dt[:, None]
        E = torch.linalg.matrix_exp(wide)
        return (E[:, :n, :n] @ x[..., None])[..., 0] + E[:, :n, n]

    def slope(self, x: Tensor, u: Tensor) -> Tensor:
        return self.A.expand(1, x.shape[1], *self.A.shape)

    def intensity(self, x: Tensor) -> Tensor:
        return self.D.expand(1, x.shape[1], *self.D.shape)


def van_loan(A: np.ndarray, D: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
    """e^{A h} and Q from one exponential of twice the size (Van Loan 1978)."""
    n = len(A)
    E = expm(np.block([[-A, D], [np.zeros((n, n)), A.T]]) * h)
    F = E[n:, n:].T
    return F, F @ E[:n, n:]


def drawn(seed: int, people: int = 3, n: int = 3) -> tuple[Linear, Interval, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    M = rng.normal(size=(n, n))
    M = M - (0.2 + max(np.linalg.eigvals(M).real.max(), 0.0)) * np.eye(n)
    W, V = rng.normal(size=(n, n)), rng.normal(size=(2, people, n, n))
    field = Linear(*(torch.from_numpy(v) for v in (M, rng.normal(size=(n, 2)), W @ W.T)))
    interval = Interval.of(
        torch.from_numpy(rng.uniform(0.0, 2.0, people)),
        n,
        jump=torch.from_numpy(rng.normal(size=(people, n))),
        rate=torch.from_numpy(rng.normal(size=(people, n))),
        inputs=torch.from_numpy(rng.normal(size=(people, 2))),
    )
    return field, interval, torch.from_numpy(rng.normal(size=(2, people, n))), torch.from_numpy(V @ V.swapaxes(-1, -2))


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_linear_and_gaussian_is_the_closed_form(seed: int) -> None:
    field, interval, x, S = drawn(seed)
    mean, covariance = propagate(field, x, S, interval)
    for i in range(3):
        F, Q = van_loan(field.A.numpy(), field.D.numpy(), float(interval.dt[i]))
        drive = (field.B @ interval.u0[i] + interval.rate[i]).numpy()
        for m in range(2):
            exact = F @ (x[m, i] + interval.jump[i]).numpy() + np.linalg.solve(field.A.numpy(), (F - np.eye(3)) @ drive)
            assert mean[m, i].numpy() == pytest.approx(exact, rel=1e-9, abs=1e-9)
            assert covariance[m, i].numpy() == pytest.approx(F @ S[m, i].numpy() @ F.T + Q, rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 2**31), share=st.floats(0.0, 1.0))
def test_cutting_an_interval_changes_nothing(seed: int, share: float) -> None:
    field, interval, x, S = drawn(seed)
    first = replace(interval, dt=share * interval.dt)
    second = replace(interval, dt=interval.dt - first.dt, jump=torch.zeros_like(interval.jump))
    whole, parts = propagate(field, x, S, interval), propagate(field, *propagate(field, x, S, first), second)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    still = replace(interval, dt=torch.zeros_like(interval.dt))
    mean, covariance = propagate(field, x, S, still)
    assert torch.equal(mean, x + interval.jump)
    torch.testing.assert_close(covariance, S, rtol=1e-14, atol=1e-14)


def test_gradients_of_everything() -> None:
    field, interval, x, S = drawn(5)
    parts = [v.clone().requires_grad_() for v in (x, S, interval.dt, interval.jump, interval.rate, interval.u0)]

    def run(x: Tensor, S: Tensor, dt: Tensor, jump: Tensor, rate: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        return propagate(field, x, S, Interval.of(dt, 3, jump=jump, rate=rate, inputs=u))

    assert torch.autograd.gradcheck(run, parts)


def test_the_jacobian_point_by_point() -> None:
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    got = slope_of(lambda v: torch.stack([v[..., 0] * v[..., 1], v[..., 2].sin()], -1), x)
    zero, one = torch.zeros_like(x[..., 0]), torch.ones_like(x[..., 0])
    first = torch.stack([x[..., 1], x[..., 0], zero], -1)
    torch.testing.assert_close(got, torch.stack([first, torch.stack([zero, zero, x[..., 2].cos() * one], -1)], -2))


def test_the_root_of_many() -> None:
    generator = torch.Generator().manual_seed(3)
    full = torch.randn(4, 3, 3, generator=generator, dtype=F64)
    thin = torch.randn(4, 3, 2, generator=generator, dtype=F64)  # two drives for three states
    Q = torch.cat([full @ full.mT, thin @ thin.mT, torch.zeros(1, 3, 3, dtype=F64)])
    L = root(Q)
    torch.testing.assert_close(L @ L.mT, Q, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(L[:4], torch.linalg.cholesky(Q[:4]), rtol=1e-12, atol=1e-12)
    assert root(torch.ones(2, 2, dtype=torch.float32)).dtype == torch.float32


def test_what_is_no_tensor_of_the_right_shape_is_refused_in_words() -> None:
    field, interval, x, S = drawn(1)
    eye, odd = torch.eye(2, dtype=F64), torch.tensor([[1.0, torch.nan], [torch.nan, 1.0]], dtype=F64)
    single = torch.full((2,), 0.5)
    for call, words in (
        (lambda: transition(np.eye(2), np.eye(2)), r"transition: J must be a tensor .* torch\.as_tensor"),
        (lambda: transition(eye, torch.eye(3, dtype=F64)), r"transition: D must be a tensor .* shape \(\.\.\., 2, 2\)"),
        (lambda: transition(eye[:1], eye), "J holds square matrices"),
        (lambda: transition(eye, eye.float()), "D is torch.float32"),
        (lambda: transition(eye.expand(3, 2, 2), eye.expand(4, 2, 2)), "give as many of both"),
        (lambda: root(np.eye(2)), "root: Q must be a tensor"),
        (lambda: root(odd), "root: Q holds NaN or infinity off its diagonal"),
        (lambda: propagate(1, 2, 3, 4), r"field has the methods flow\(x, interval\), slope"),  # type: ignore[arg-type]
        (lambda: propagate(Linear, x, S, interval), "field has the methods"),
        (lambda: propagate(field, x, S, 4), "interval must be a Interval"),
        (lambda: propagate(field, x.numpy(), S, interval), "propagate: x must be a tensor"),
        (lambda: propagate(field, x[:, :2], S, interval), r"propagate: x must be a tensor .* \(M, 3, 3\)"),
        (lambda: propagate(field, x, S[..., :2], interval), "propagate: S must be a tensor"),
        (lambda: propagate(field, x.float(), S, interval), "x torch.float32"),
        (lambda: propagate(field, x, S.expand(3, 2, 3, 3, 3)[:, 0], interval), "x is of 2 members and S of 3"),
        (lambda: Interval.of(single, 2, jump=torch.zeros(2, 2, dtype=F64)), "dt is torch.float32 and jump torch.float64"),
        (lambda: Interval.of(single, 2, inputs=(None, torch.zeros(2, 1))), "Interval.of: inputs must be a tensor"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    one = propagate(field, x[:1], S, interval)  # one mean for all members
    assert [tuple(v.shape) for v in one] == [(1, 3, 3), (2, 3, 3, 3)]


# ---- intervals and segments


def test_an_interval_is_the_segment_of_a_schedule() -> None:
    segments = build_segments([Schedule((Dose("x1", 0.0, 3.0), Dose("x2", 0.0, 1.0, 2.0)))] * 2, [[1.5], [1.0]], ("x1", "x2"))
    one = Interval.at(segments, 0)
    made = Interval.of(
        torch.tensor([1.5, 1.0], dtype=F64),
        2,
        jump=torch.tensor([[3.0, 0.0]] * 2, dtype=F64),
        rate=torch.tensor([[0.0, 0.5]] * 2, dtype=F64),
    )
    for name in ("dt", "start", "jump", "rate", "u0", "u1"):
        assert torch.equal(getattr(one, name), getattr(made, name)), name
        assert torch.equal(getattr(made.segments(), name), getattr(segments, name)), name
    assert torch.equal(made.segments().fraction, segments.fraction)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Interval.of(torch.tensor([-1.0]), 2), "0 or longer"),
        (lambda: Interval.of(torch.ones(2, 2), 2), "Interval.of: dt"),
        (lambda: Interval.of(torch.ones(2), 2, jump=torch.ones(2, 3)), "Interval.of: jump"),
        (lambda: Interval.of(torch.ones(2), 2, inputs=(torch.ones(2, 1), torch.ones(2, 2))), "both of one shape"),
        (lambda: Interval.of(torch.ones(2), 0), "states, how many"),
    ],
)
def test_intervals_that_cannot_be(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


# ---- models


def model(process: bool = True, hidden: int = 0) -> HybridModel:
    return HybridModel(
        LinearBackbone(A),
        SharedPopulation(),
        MLP(2, hidden=(hidden,), rate_scale=0.5, state_scale=2.0) if hidden else None,
        observation=States([0, 1], ["y1", "y2"], ["1", "1"]),
        noise=Constant([0.1, 0.1], [1e-3, 1e-3]),
        process=DiagonalDiffusion(G) if process else None,
    )


START = torch.tensor([2.0, -1.0], dtype=F64)
SPREAD = torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=F64)


@pytest.mark.parametrize("process", [True, False])
def test_a_start_that_is_known_up_to_a_covariance(process: bool) -> None:
    built = model(process)
    conditions = conditions_of(built, [Schedule((Dose("x1", 1.0, 3.0),))] * 2, [[0.5, 2.0], [1.0, 4.0]])
    nobody = torch.zeros(1, 2, 0, dtype=F64)
    with torch.no_grad():
        plain, run = (rollout(built, conditions, nobody, start=s) for s in (START, (START, SPREAD)))
    torch.testing.assert_close(plain.mean, run.mean, rtol=1e-9, atol=1e-12)
    D = np.diag(np.square(G)) * process
    for i, times in enumerate([[0.5, 2.0], [1.0, 4.0]]):
        for k, t in enumerate(times):
            F, _ = van_loan(np.array(A), D, t)
            more = (run.variance - plain.variance)[0, i, k].numpy()  # beside what noise and process give
            assert more == pytest.approx(np.diag(F @ SPREAD.numpy() @ F.T), rel=1e-9)
    want = simulate(built, [Schedule((Dose("x1", 1.0, 3.0),))] * 2, [[0.5, 2.0], [1.0, 4.0]], NOBODY, START)
    torch.testing.assert_close(plain.states, want)


def test_a_pair_may_be_a_list_and_its_covariance_is_one() -> None:
    built = model()
    conditions = conditions_of(built, [Schedule()] * 2, [[1.0], [2.0]])
    nobody = torch.zeros(1, 2, 0, dtype=F64)

    def run(start: object) -> Tensor:
        with torch.no_grad():
            return rollout(built, conditions, nobody, start=start).variance  # type: ignore[arg-type]

    want = run((START, SPREAD))
    assert torch.equal(run([START, SPREAD]), want)
    assert torch.equal(run([START.numpy(), SPREAD.numpy()]), want)
    # two states in a list are those of two people, as ever
    each = np.stack([START.numpy(), START.numpy()])
    assert torch.equal(run(list(each)), run(START))
    thin = torch.outer(START, START)  # of one direction alone
    assert bool(run((START, thin)).isfinite().all())
    for S, words in (
        (torch.tensor([[0.5, 2.0], [2.0, 0.3]], dtype=F64), "indefinite"),
        (torch.tensor([[0.5, 0.2], [0.1, 0.3]], dtype=F64), "symmetric"),
        (-SPREAD, "a variance below 0"),
    ):
        for pair in ((START, S), [START, S]):
            with pytest.raises(ValueError, match=words):
                run(pair)


def test_from_a_filtered_state_on_is_the_whole() -> None:
    built = model(hidden=4)
    nobody, mesh = torch.zeros(1, 1, 0, dtype=F64), Mesh(0.05)
    schedule = Schedule((Dose("x1", 0.5, 3.0), Dose("x2", 2.0, 1.0)))
    whole = rollout(built, conditions_of(built, [schedule], [[1.0, 3.0]], mesh=mesh), nobody, start=(START, SPREAD))
    # to t = 1 by propagation, and from there with what is left of the schedule
    first = build_segments([schedule], [[1.0]], built.backbone.states, (), mesh)
    problem = Problem.of(built, conditions_of(built, [schedule], [[1.0]], mesh=mesh), nobody, (START, SPREAD))
    driven = Driven.of(problem, Exponential(rtol=1e-9))
    x, S = problem.start, problem.covariance
    for k in range(first.dt.shape[1]):
        x, S = propagate(driven, x, S, Interval.at(first, k))
    rest = conditions_of(built, [schedule.since(1.0)], [[1.0, 3.0]], mesh=mesh)
    again = rollout(built, rest, nobody, start=(x, S))
    torch.testing.assert_close(again.mean, whole.mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(again.variance, whole.variance, rtol=1e-5, atol=1e-6)


def test_paths_start_where_they_are_spread() -> None:
    built = model()
    conditions = conditions_of(built, [Schedule()], [[0.0, 1.0]], mesh=Mesh(0.5))
    nobody = torch.zeros(1, 1, 0, dtype=F64)
    paths = sample_paths(
        built, conditions, nobody, 20_000, torch.Generator().manual_seed(1), start=(START, SPREAD), solver=Exponential()
    )
    with torch.no_grad():
        run = rollout(built, conditions, nobody, start=(START, SPREAD))
    got = paths.measurement[0, :, 0]  # (C, T, p)
    # 20,000 draws: a variance is within 5 √(2/20,000) of its own
    assert got.var(0).numpy() == pytest.approx(run.variance[0, 0].numpy(), rel=0.05)
    assert got.mean(0).numpy() == pytest.approx(run.mean[0, 0].numpy(), abs=0.03)
    assert np.cov(paths.states[0, :, 0, 0].T.numpy()) == pytest.approx(SPREAD.numpy(), rel=0.08, abs=0.02)


def test_who_starts_where_nobody_measured() -> None:
    built = model(process=False)
    schedule = Schedule((Dose("x1", 0.0, 3.0),))
    assert torch.equal(
        simulate(built, schedule, [1.0, 2.0], NOBODY), simulate(built, schedule, [1.0, 2.0], NOBODY, torch.zeros(2, dtype=F64))
    )
