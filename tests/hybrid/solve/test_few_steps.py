"""Work that need not be done: steps of linear models, restarts where an input steps, matrix functions of equal segments."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import Tensor

import hybrid.solve.one_step
from hybrid import (
    Concentration,
    Dose,
    Exponential,
    HybridModel,
    Mesh,
    RungeKutta,
    Schedule,
    Signal,
    Solver,
    States,
    Torchdiffeq,
    build_segments,
    integrate,
    rollout,
    simulate,
)
from hybrid.simulate import conditions_of
from hybrid.solve.schemes.exponential_matrices import stage_matrices
from hybrid.solve.schemes.phi import phi, phi_of_multiples
from learned import MLP, AdditiveProportional
from physics import LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation

F64 = torch.float64
NOBODY = torch.zeros(0, dtype=F64)


def driven(A: list[list[float]], B: list[list[float]], *, residual: bool, seed: int = 3) -> HybridModel:
    """A linear model with one input, and a network that bends it."""
    n, learned = len(A), None
    if residual:
        learned = MLP(n, 1, 0, (6,), "tanh", state_scale=3.0, rate_scale=0.5)
        with torch.no_grad():
            draw = torch.randn(learned.weights[-1].shape, generator=torch.Generator().manual_seed(seed), dtype=F64)
            learned.weights[-1].copy_(draw)
    return HybridModel(
        LinearBackbone(A, B),
        SharedPopulation(),
        learned,
        observation=States([0], ["a"], ["1"]),
        noise=AdditiveProportional([0.1], [0.1], [0.01]),
    )


SLOW = [[-1.0, 0.0], [0.6, -0.15]]
FAST = [[-300.0, 0.0], [40.0, -0.3]]
INTO = [[1.0], [0.3]]


def held(points: int, apart: float, size: float, doses: tuple[Dose, ...] = (), seed: int = 0) -> Schedule:
    """A signal that steps at random around 5."""
    values = 5.0 + size * np.random.default_rng(seed).standard_normal(points)
    return Schedule(doses, {"u1": Signal(tuple(apart * np.arange(points)), tuple(values.tolist()), "held")})


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps each later solve takes."""
    counts: list[int] = []
    adapt = hybrid.solve.one_step.adapt

    def counted(*arguments: object):  # type: ignore[no-untyped-def]
        segments, failures = adapt(*arguments)  # type: ignore[arg-type]
        counts.append(int((segments.dt > 0).sum()))
        return segments, failures

    monkeypatch.setattr(hybrid.solve.one_step, "adapt", counted)
    return counts


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize("A", [SLOW, FAST], ids=["slow", "fast"])
def test_a_linear_model_takes_one_exact_step_a_segment(
    A: list[list[float]], observed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = steps_of(monkeypatch)
    schedule = held(512, 0.7, 2.0, (Dose("x1", 20.1, 3.0), Dose("x2", 40.0, 5.0, duration=2.2)))
    times = [0.0, 0.35, 20.1, 33.3, 358.4]
    x = simulate(
        driven(A, INTO, residual=False),
        schedule,
        times,
        NOBODY,
        torch.tensor([5.0, 20.0], dtype=F64),
        mesh=Mesh(observed=observed),
    )
    # cut at each of 512 steps of the input, at two doses, the end of one and, with `observed`, two times in between
    assert counts == [512 + 3 + (2 if observed else 0)]
    # the textbook's way: e^{hM} of the system with its forcing as one more, constant state
    state, now, expected = np.array([5.0, 20.0]), 0.0, []
    signal, M = schedule.inputs["u1"], np.zeros((3, 3))
    edges = sorted({*signal.times, 20.1, 40.0, 42.2, *times})
    for left, right in zip(edges, [*edges[1:], None], strict=True):
        if left in times:
            expected.append(state.copy())
        if left == 20.1:
            state = state + np.array([3.0, 0.0])
        if right is None:
            break
        level = signal.values[int(np.searchsorted(signal.times, left, side="right")) - 1]
        M[:2, :2], M[:2, 2] = A, np.array(INTO)[:, 0] * level + [0.0, 5.0 / 2.2 if 40.0 <= left < 42.2 else 0.0]
        state = (expm((right - left) * M) @ [*state, 1.0])[:2]
        now = right
    assert now == times[-1]
    np.testing.assert_allclose(x.numpy(), np.array(expected), rtol=1e-10)


@pytest.mark.parametrize("solver", [Exponential(rtol=1e-6), RungeKutta("tsit5", rtol=1e-6)], ids=["exponential", "tsit5"])
def test_a_stepping_input_does_not_restart_the_step_size(solver: Solver, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, model = steps_of(monkeypatch), driven(SLOW, INTO, residual=True)
    schedule, times = held(64, 0.1, 0.5), [0.0, 6.4]
    x = simulate(model, schedule, times, NOBODY, torch.tensor([5.0, 20.0], dtype=F64), solver=solver).detach()
    # 64 segments, each shorter than the step that the tolerance allows; a restart takes at least two in each
    assert counts[0] <= 1.2 * 64
    right = simulate(
        model,
        schedule,
        times,
        NOBODY,
        torch.tensor([5.0, 20.0], dtype=F64),
        solver=Torchdiffeq("dopri5", rtol=1e-10, atol=1e-10),
    ).detach()
    assert float(((x - right).abs() / right.abs().amax(0)).max()) < 2e-6


@pytest.mark.parametrize("seed", range(3))
def test_the_error_is_still_what_the_tolerance_says(seed: int) -> None:
    # a fast mode that the input drives and the residual follows, at any distance between the steps
    rng = np.random.default_rng(seed)
    fast, mid = 10 ** rng.uniform(0.5, 3.5), 10 ** rng.uniform(-0.5, 1.5)
    A = np.array([[-fast, 0.0, 0.0], [0.3 * mid, -mid, 0.0], [0.02, 0.1, -0.2]])
    turn = np.eye(3) + 0.3 * rng.standard_normal((3, 3))
    A = turn @ A @ np.linalg.inv(turn)
    B = rng.standard_normal((3, 1)) * np.array([[fast**0.7], [1.0], [1.0]])
    model = driven(A.tolist(), B.tolist(), residual=True, seed=seed)
    apart = 10 ** rng.uniform(-1.0, 0.5)
    push = (Dose("x2", 3.3 * apart, 2.0, duration=1.5 * apart), Dose("x1", 5.0 * apart, 1.0))
    schedule = held(8, apart, 10 ** rng.uniform(-2.0, 0.7), push, seed)
    times, x0 = np.linspace(0.0, 8.0 * apart, 7).tolist(), torch.tensor(rng.standard_normal(3))
    rtol = 1e-5

    def with_(solver: Solver, **cut: bool) -> Tensor:
        return simulate(model, schedule, times, NOBODY, x0, solver=solver, mesh=Mesh(**cut)).detach()

    right = with_(RungeKutta("dopri5", rtol=1e-9, atol=1e-11, max_steps=200_000), observed=True)
    for observed in (True, False):
        found = with_(Exponential(rtol=rtol), observed=observed)
        assert float(((found - right).abs() / right.abs().amax(0)).max()) < 5.0 * rtol, observed


def test_nobody_else_changes_anybodys_steps() -> None:
    model = driven(SLOW, INTO, residual=True)
    schedules = [held(12, 0.5, 1.0), held(9, 0.7, 3.0, seed=1), held(12, 0.5, 0.1, (Dose("x1", 2.0, 9.0),), seed=2)]
    times = [[0.0, 2.2, 6.0]] * 3
    x0 = torch.tensor([5.0, 20.0], dtype=F64)
    together = integrate(model, schedules, times, NOBODY, x0, solver=Exponential(rtol=1e-6)).require()
    for i in range(3):
        alone = integrate(model, [schedules[i]], [times[i]], NOBODY, x0, solver=Exponential(rtol=1e-6)).require()
        torch.testing.assert_close(together[:, i], alone[:, 0], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("size", [1e-9, 1.0, 30.0])
def test_functions_of_multiples_are_those_of_each(n: int, size: float) -> None:
    g = torch.Generator().manual_seed(n)
    A = size * (torch.randn(5, n, n, generator=g, dtype=F64) - 2.0 * torch.eye(n, dtype=F64))
    A[0] = 0.0
    h = torch.rand(5, 6, generator=g, dtype=F64)
    h[:, -1] = 0.0  # padding lasts no time
    A.requires_grad_()
    h.requires_grad_()
    each = phi((A[:, None] * h[..., None, None]).reshape(-1, n, n), 2)
    many = phi_of_multiples(A, h, 2)
    assert len(many) == 3
    for one, (e, p) in zip(each, many, strict=True):
        for a, b in zip(one, (e, *p.split(n, -1)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
    target = torch.randn(30, n, 4 * n, generator=g, dtype=F64)
    gradients = []
    for level in (torch.cat(each[-1], -1), torch.cat(many[-1], -1)):
        gradients.append(torch.autograd.grad((level * target).sum(), [A, h]))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(a.abs().max()))


def cohort_of(people: int, mesh: Mesh) -> tuple[HybridModel, list[Schedule], list[list[float]], Tensor]:
    """People with A of their own, who take the same doses and are measured when they come."""
    backbone = OneCompartmentOral()
    residual = MLP(2, 0, 0, (4,), separable=True, state_scale=300.0, rate_scale=0.2)
    with torch.no_grad():
        residual.weights[-1].mul_(5.0)
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.5, 0.3, 0.3]),
        residual,
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.3], [0.1], [0.05]),
    )
    rng = np.random.default_rng(0)
    schedules = [Schedule(Dose("gut", 0.0, 300.0).repeated(3, 8.0)) for _ in range(people)]
    times = [np.sort(rng.uniform(0.1, 24.0, 5)).tolist() for _ in range(people)]
    eta = torch.randn(1, people, 3, generator=torch.Generator().manual_seed(1), dtype=F64)
    return model, schedules, times, eta


@pytest.mark.parametrize(
    ("mesh", "saved"), [(Mesh(0.65, 0.2, 0.5, observed=False), True), (Mesh(0.5), True), (Mesh(), False)]
)
def test_equal_segments_share_their_matrix_functions(mesh: Mesh, saved: bool) -> None:
    model, schedules, times, eta = cohort_of(4, mesh)
    segments = build_segments(schedules, times, model.backbone.states, mesh=mesh)
    own, which = segments.own_lengths
    assert (which is not None) == saved
    if which is not None:
        # the same steps after equal doses, and equal steps
        assert own.shape[1] < 0.7 * segments.dt.shape[1]
        torch.testing.assert_close(own.gather(1, which), segments.dt, rtol=1e-13, atol=1e-14)
    # with and without sharing the matrices are the same
    theta = model.theta(eta, {})
    shared, _ = stage_matrices(model.bind(segments, theta, model.context(eta, {})), 1)
    apart = replace(segments)
    apart.__dict__["own_lengths"] = (segments.dt, None)
    plain, _ = stage_matrices(model.bind(apart, theta, model.context(eta, {})), 1)
    for a, b in zip(shared, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_members_with_one_theta_share_too() -> None:
    mesh = Mesh(0.65, 0.2, 0.5)
    model, schedules, times, eta = cohort_of(3, mesh)
    segments = build_segments(schedules, times, model.backbone.states, mesh=mesh)
    theta = model.theta(eta, {})
    once = model.bind(segments, theta.expand(4, -1, -1), model.context(eta, {}))
    each = model.bind(segments, theta.repeat(4, 1, 1), model.context(eta, {}))
    for a, b in zip(stage_matrices(once, 4)[0], stage_matrices(each, 4)[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)


def test_gradients_of_shared_functions_are_those_of_differences() -> None:
    mesh = Mesh(0.65, 0.2, 0.5, observed=False)
    model, schedules, times, eta = cohort_of(3, mesh)
    conditions = conditions_of(model, schedules, times, mesh=mesh)

    def value(at: Tensor) -> Tensor:
        return rollout(model, conditions, at, Exponential()).mean.square().mean()

    at = eta.clone().requires_grad_()
    (slope,) = torch.autograd.grad(value(at), at)
    with torch.no_grad():
        for direction in torch.eye(9, dtype=F64).view(9, 1, 3, 3)[::2]:
            difference = (value(eta + 1e-5 * direction) - value(eta - 1e-5 * direction)) / 2e-5
            assert float((slope * direction).sum()) == pytest.approx(float(difference), rel=1e-6, abs=1e-8)
