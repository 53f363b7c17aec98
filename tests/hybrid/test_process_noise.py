"""Process noise: its covariance is the one of the stochastic equation, whatever the step, and paths are drawn from it."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm, solve_continuous_lyapunov
from scipy.stats import chi2
from torch import Tensor

from hybrid import (
    Concentration,
    Dose,
    Exponential,
    HybridModel,
    Mesh,
    RungeKutta,
    Schedule,
    States,
    conditions_of,
    rollout,
    sample_paths,
)
from hybrid.propagate import root, transition
from learned import MLP, Constant, DiagonalDiffusion, Ensemble, ProcessNoise, select
from physics import LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from tests.builders import PROCESS_BUILDERS
from training import Cohort, Record, Search, fit, shoot

F64 = torch.float64
FLOOR = 1e-3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(A: list[list[float]], process: ProcessNoise | None, residual: MLP | None = None) -> HybridModel:
    n = len(A)
    return HybridModel(
        LinearBackbone(A),
        SharedPopulation(),
        residual,
        observation=States(list(range(n)), [f"y{i}" for i in range(n)], ["1"] * n),
        noise=Constant([FLOOR] * n, [FLOOR] * n),
        process=process,
    )


def started(model: HybridModel, amounts: list[float], times: list[float], mesh: Mesh | None = None):
    """Everyone starts from a dose into every state at time 0."""
    doses = tuple(Dose(s, 0.0, a) for s, a in zip(model.backbone.states, amounts, strict=True))
    return conditions_of(model, [Schedule(doses=doses)], [times], mesh=mesh)


def nobody(model: HybridModel, people: int = 1) -> Tensor:
    return torch.zeros(model.members, people, model.personal, dtype=F64)


def driven(model: HybridModel, conditions, solver=None) -> np.ndarray:  # (T, p) of the first member and person
    with torch.no_grad():
        return (rollout(model, conditions, nobody(model), solver).variance - 2 * FLOOR**2)[0, 0].numpy()


# ---- the step


@settings(deadline=None, max_examples=50, derandomize=True)
@given(n=st.integers(1, 4), size=st.floats(-6.0, 3.0), seed=st.integers(0, 2**31))
def test_a_step_is_van_loans_integral(n: int, size: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, n)) * math.exp(size)
    Z = Z - 1.1 * max(0.0, np.linalg.eigvals(Z).real.max()) * np.eye(n)
    D = np.diag(rng.uniform(size=n))
    e, Q = (v.numpy() for v in transition(torch.from_numpy(Z), torch.from_numpy(D)))
    assert e == pytest.approx(expm(Z), rel=1e-9, abs=1e-10)
    if abs(np.linalg.eigvals(Z).real).min() > 1e-3 * abs(Z).max():
        # d/ds of e^{Zs} D e^{Zᵀs} integrates to Z Q + Q Zᵀ = e^Z D e^{Zᵀ} − D
        exact = solve_continuous_lyapunov(Z, expm(Z) @ D @ expm(Z).T - D)
        assert np.abs(Q - exact).max() < 1e-8 * abs(exact).max()
    assert np.abs(Q - Q.T).max() <= 1e-13 * abs(Q).max()


def test_a_fast_rate_cancels_nothing() -> None:
    # ∫ e^{−2·1000 s} ds = 1/2000; Van Loan's block exponential would need e^{1000}
    Z = torch.diag(torch.tensor([-1000.0, -1e-9], dtype=F64))
    _, Q = transition(Z, torch.eye(2, dtype=F64))
    assert Q.diagonal().tolist() == pytest.approx([0.0005, 1.0], rel=1e-8)


@pytest.mark.parametrize(
    "Q",
    [
        np.zeros((2, 2)),
        np.diag([4.0, 0.0]),
        np.ones((2, 2)),
        np.array([[2.0, -1.0], [-1.0, 1.0]]),
        np.outer([1.0, -2.0, 1e6], [1.0, -2.0, 1e6]),  # driven as one, in units far apart
    ],
)
def test_the_root_of_a_covariance(Q: np.ndarray) -> None:
    L = root(torch.from_numpy(Q)).numpy()
    assert pytest.approx(Q, rel=1e-14, abs=1e-14) == L @ L.T
    assert not np.triu(L, 1).any()


# ---- the variance


@pytest.mark.parametrize("solver", [RungeKutta("rk4"), Exponential()], ids=["rk4", "exponential"])
def test_ornstein_uhlenbeck_in_any_number_of_steps(solver) -> None:
    model = made([[-1.0]], DiagonalDiffusion([0.5]))
    exact = [0.25 * (1.0 - math.exp(-2.0 * t)) / 2.0 for t in (0.25, 1.0, 3.0)]
    assert exact[1] == pytest.approx(0.1081, abs=5e-5)
    steps = (None, 0.5, 0.25, 0.125) if isinstance(solver, Exponential) else (2.0, 0.5, 0.25, 0.125)
    for step in steps:
        got = driven(model, started(model, [2.0], [0.25, 1.0, 3.0], Mesh(step)), solver)
        assert got[:, 0] == pytest.approx(exact, rel=1e-11), step


@pytest.mark.parametrize("observed", [True, False])
def test_two_states_with_a_dose_on_the_way_and_readings_anywhere(observed: bool) -> None:
    A = [[-1.0, 0.4], [0.3, -3.0]]
    model = made(A, DiagonalDiffusion([0.5, 0.2]))
    times = [0.0, 0.31, 0.9, 1.0, 1.7, 2.9]
    schedule = Schedule(doses=(Dose("x1", 0.0, 1.0), Dose("x2", 0.8, 5.0)))
    conditions = conditions_of(model, [schedule], [times], mesh=Mesh(0.37, observed=observed))
    a, D = np.array(A), np.diag([0.25, 0.04])
    rate = lambda _, s: (a @ s.reshape(2, 2) + s.reshape(2, 2) @ a.T + D).ravel()  # noqa: E731
    exact = solve_ivp(rate, (0.0, 3.0), np.zeros(4), t_eval=times, rtol=1e-12, atol=1e-14).y.T[:, [0, 3]]
    # a linear system does not mind where it is: doses, steps and readings inside them change nothing
    assert driven(model, conditions) == pytest.approx(exact, rel=1e-9, abs=1e-13)


def nonlinear(process: ProcessNoise) -> HybridModel:
    residual = MLP(2, hidden=(6,), rate_scale=1.0, state_scale=1.0, generator=generator(4))
    with torch.no_grad():
        residual.weights[-1].mul_(8.0)
    return made([[-1.0, 0.5], [0.0, -0.6]], process, residual)


@pytest.mark.parametrize("name", PROCESS_BUILDERS)
def test_the_linearised_equation_along_a_nonlinear_path(name: str) -> None:
    model = nonlinear(PROCESS_BUILDERS[name]())
    times = [0.4, 1.1, 2.0]
    empty = torch.zeros(1, 1, 0, dtype=F64)

    def f(x: np.ndarray) -> np.ndarray:
        at = torch.from_numpy(x)[None, None]
        with torch.no_grad():
            return model.backbone.A.numpy() @ x + model.residual(at, empty, empty)[0, 0].numpy()

    def rate(_: float, z: np.ndarray) -> np.ndarray:
        x, S = z[:2], z[2:].reshape(2, 2)
        J = np.stack([(f(x + 1e-6 * e) - f(x - 1e-6 * e)) / 2e-6 for e in np.eye(2)], 1)
        with torch.no_grad():
            g = model.process.diffusion(torch.from_numpy(x)[None, None])[0, 0].numpy()
        return np.concatenate([f(x), (J @ S + S @ J.T + np.diag(g**2)).ravel()])

    exact = solve_ivp(rate, (0.0, 2.0), [1.5, 1.0, 0, 0, 0, 0], t_eval=times, rtol=1e-10, atol=1e-12).y.T[:, [2, 5]]
    errors = [abs(driven(model, started(model, [1.5, 1.0], times, Mesh(h))) - exact).max() for h in (0.2, 0.1, 0.05)]
    assert errors[-1] < 2e-3 * exact.max()
    # of second order: halving the step divides the error by four
    assert all(a / b > 3.0 for a, b in itertools.pairwise(errors) if b > 1e-9)


def test_without_process_noise_nothing_changes_to_the_last_bit() -> None:
    with_none, still = nonlinear(DiagonalDiffusion([0.0, 0.0])), nonlinear(DiagonalDiffusion([0.0, 0.0]))
    with_none.process = None
    conditions = started(with_none, [1.5, 1.0], [0.4, 1.1, 2.0], Mesh(0.1))
    a, b = (rollout(m, conditions, nobody(m), RungeKutta("rk4")) for m in (with_none, still))
    assert torch.equal(a.mean, b.mean)
    assert torch.equal(a.variance, b.variance)
    assert torch.equal(a.variance, with_none.noise.variance(a.mean, a.states, a.inputs))
    assert (driven(nonlinear(DiagonalDiffusion([0.1, 0.0])), conditions) > 0.0).all()


def test_people_and_members_keep_to_themselves() -> None:
    model = Ensemble(3).stack(nonlinear(DiagonalDiffusion([0.5, 0.2], [0.1, 0.2])), generator(1))
    with torch.no_grad():
        model.process.log_scale += torch.randn(3, 2, generator=generator(2), dtype=F64)
    schedules = [Schedule(doses=(Dose("x1", 0.0, 1.0), Dose("x2", 0.3 * i, 1.0 + i))) for i in range(4)]
    times = [[0.2 + 0.1 * i, 1.0, 1.5 + i] for i in range(4)]
    solver = RungeKutta("rk4")  # adapted steps are accepted by all members together
    together = rollout(model, conditions_of(model, schedules, times, mesh=Mesh(0.2)), nobody(model, 4), solver).variance
    for m, i in ((0, 3), (2, 1)):
        one = select(model, torch.tensor([m]))
        alone = conditions_of(one, [schedules[i]], [times[i]], mesh=Mesh(0.2))
        torch.testing.assert_close(together[[m]][:, [i]], rollout(one, alone, nobody(one), solver).variance, rtol=1e-10, atol=0.0)


def test_who_fails_is_nan_and_nobody_else() -> None:
    model = nonlinear(DiagonalDiffusion([0.5, 0.2]))
    schedule = Schedule(doses=(Dose("x1", 0.0, 1.0),))
    conditions = conditions_of(model, [schedule] * 2, [[1.0], [1.0]], mesh=Mesh(0.2))
    jump = conditions.segments.jump.clone()
    jump[1, 0, 0] = math.inf
    broken = replace(conditions, segments=replace(conditions.segments, jump=jump))
    run = rollout(model, broken, nobody(model, 2), on_failure="return")
    assert [f.record for f in run.failures] == [1]
    assert torch.isnan(run.variance[:, 1]).all()
    whole = rollout(model, conditions, nobody(model, 2)).variance[:, 0]
    torch.testing.assert_close(run.variance[:, 0], whole, rtol=1e-12, atol=0.0)
    run.variance[:, 0].sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.process.log_scale.grad.abs().min() > 0.0


def test_the_variance_is_differentiated_whole() -> None:
    model = nonlinear(DiagonalDiffusion([0.5, 0.2], [0.3, 0.2]))
    conditions = started(model, [1.5, 1.0], [0.5, 1.0], Mesh(0.25))
    own = nobody(model)

    def value() -> Tensor:
        return rollout(model, conditions, own).variance.log().sum()

    value().backward()
    for tensor in (model.process.log_scale, model.process.log_proportional, model.residual.weights[0], model.residual.weights[1]):
        flat, gradient = tensor.detach().view(-1), tensor.grad.flatten()
        for k in range(min(3, flat.numel())):
            kept, ends = float(flat[k]), []
            for h in (1e-5, -1e-5):
                flat[k] = kept + h
                with torch.no_grad():
                    ends.append(float(value()))
            flat[k] = kept
            assert float(gradient[k]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-8)


def test_in_single_precision_and_with_products_in_bfloat16() -> None:
    model = nonlinear(DiagonalDiffusion([0.5, 0.2]))
    conditions = started(model, [1.5, 1.0], [0.4, 1.1], Mesh(0.2))
    exact = driven(model, conditions)
    y = rollout(model, conditions, nobody(model)).mean.detach()[0, 0].numpy() + 0.1
    schedule = Schedule(doses=(Dose("x1", 0.0, 1.5), Dose("x2", 0.0, 1.0)))
    cohort = Cohort.of([Record("A", schedule, np.array([0.4, 1.1]), y, ("y0", "y1"))], model, Mesh(0.2))
    half = model.to(torch.float32)
    run = rollout(half, conditions.to(torch.zeros(())), nobody(half).float())
    assert run.variance.dtype == torch.float32
    assert (run.variance[0, 0].detach() - 2 * FLOOR**2).numpy() == pytest.approx(exact, rel=1e-4)
    assert torch.isfinite(sample_paths(half, conditions.to(torch.zeros(())), nobody(half).float(), 5, generator(1)).states).all()
    losses = [
        float(next(fit(half, cohort.to(torch.float32), search=Search(bfloat16=bfloat16, steps=1))).loss[0])
        for bfloat16 in (False, True)
    ]
    # the likelihood of two times sees ε's three digits, and the variance that process noise makes is in it
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_an_observation_of_a_person_is_seen_through_its_own_slope() -> None:
    backbone = OneCompartmentOral()
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.4, 0.2, 0.2]),
        observation=Concentration(1, 2),
        noise=Constant([0.1], [0.1]),
        process=DiagonalDiffusion([0.0, 3.0]),
    )
    conditions = conditions_of(model, [Schedule(doses=(Dose("gut", 0.0, 100.0),))] * 2, [[2.0], [2.0]], mesh=Mesh(0.25))
    own = torch.tensor([[[0.0, 0.0, 0.0], [0.5, -1.0, 2.0]]], dtype=F64)
    run = rollout(model, conditions, own)
    _, ke, V = run.theta.unbind(-1)
    exact = 0.02 + 9.0 * (1.0 - torch.exp(-4.0 * ke)) / (2.0 * ke) / V.square()
    torch.testing.assert_close(run.variance[..., 0, 0], exact, rtol=1e-9, atol=0.0)


# ---- paths


def test_paths_have_the_joint_law_of_ornstein_and_uhlenbeck() -> None:
    model, count, times = made([[-1.0]], DiagonalDiffusion([0.5])), 4000, [0.25, 1.0, 3.0]
    for step in (None, 0.1):
        conditions = started(model, [2.0], times, Mesh(step))
        paths = sample_paths(model, conditions, nobody(model), count, generator(3), solver=Exponential())
        x = paths.states[0, :, 0, :, 0].numpy()
        t = np.array(times)
        early, gap = np.minimum.outer(t, t), np.abs(np.subtract.outer(t, t))
        exact = 0.25 * (1.0 - np.exp(-2.0 * early)) / 2.0 * np.exp(-gap)
        error = np.linalg.solve(np.linalg.cholesky(exact), (x - 2.0 * np.exp(-t)).T)  # whitened: 3 independent normals
        # means, variances and correlations over 4,000: four standard errors
        assert np.abs(error.mean(1)).max() < 4.0 / math.sqrt(count)
        got = error @ error.T / count
        assert np.abs(got - np.eye(3)).max() < 4.0 * math.sqrt(2.0 / count)
        noise = (paths.measurement - paths.mean).square().sum() / (2 * FLOOR**2)
        low, high = chi2.interval(0.999, 3 * count)
        assert low < float(noise) < high


@pytest.mark.parametrize("name", PROCESS_BUILDERS)
def test_paths_of_a_nonlinear_equation_are_those_of_euler_and_maruyama(name: str) -> None:
    model, count, steps = nonlinear(PROCESS_BUILDERS[name]()), 4000, 200
    conditions = started(model, [1.5, 1.0], [1.0], Mesh(0.1))
    got = sample_paths(model, conditions, nobody(model), count, generator(5)).states[0, :, 0, 0]
    empty, g = torch.zeros(1, 1, 0, dtype=F64), generator(6)
    x = torch.tensor([1.5, 1.0], dtype=F64).expand(1, count, 2)
    h = 1.0 / steps
    with torch.no_grad():
        for _ in range(steps):
            z = torch.randn(x.shape, generator=g, dtype=F64)
            x = x + h * (x @ model.backbone.A.T + model.residual(x, empty, empty)) + math.sqrt(h) * model.process.diffusion(x) * z
    # both are 4,000 draws; the fine method's own bias is of the order of its step, .5 %
    sd = x[0].std(0)
    assert ((got.mean(0) - x[0].mean(0)).abs() / sd).max() < 4.5 * math.sqrt(2.0 / count)
    assert (got.std(0) / sd - 1.0).abs().max() < 4.5 / math.sqrt(count) + 0.01


def test_paths_without_process_noise_are_the_solution() -> None:
    model = nonlinear(DiagonalDiffusion([0.0, 0.0]))
    conditions = started(model, [1.5, 1.0], [0.0, 0.4, 2.0], Mesh(0.1))
    solver = RungeKutta("rk4")
    run = rollout(model, conditions, nobody(model), solver)
    for process in (model.process, None):
        model.process = process
        paths = sample_paths(model, conditions, nobody(model), 3, generator(1), solver=solver)
        torch.testing.assert_close(paths.states, run.states[:, None].expand(-1, 3, -1, -1, -1), rtol=1e-12, atol=1e-13)
        assert paths.measurement.shape == (1, 3, 1, 3, 2)
    with pytest.raises(ValueError, match="count, how many paths, must be at least 1"):
        sample_paths(model, conditions, nobody(model), 0, generator(1))
    conditions = started(model, [1.0, 1.0], [0.15, 0.4], Mesh(0.1, observed=False))
    with pytest.raises(ValueError, match="observed=True"):
        sample_paths(model, conditions, nobody(model), 1, generator(1))


# ---- learning it, and its arguments


def test_fit_learns_how_strongly_the_state_is_driven() -> None:
    truth = made([[-1.0]], DiagonalDiffusion([0.5]))
    times = [0.2, 0.5, 1.0]
    people = 150
    paths = sample_paths(truth, started(truth, [2.0], times), nobody(truth), people, generator(8)).measurement[0, :, 0]
    schedule = Schedule(doses=(Dose("x1", 0.0, 2.0),))
    records = [Record(f"P{i}", schedule, np.array(times), y.numpy(), ("y0",)) for i, y in enumerate(paths)]
    model = made([[-1.0]], DiagonalDiffusion([0.1]))
    model.noise.log_sd.requires_grad_(False)
    *_, last = fit(model, Cohort.of(records, model, Mesh(1.0)), search=Search(steps=60, rate=0.2))
    # Ornstein–Uhlenbeck from a known start: three increments each of known relative variance, but fitted to their marginals,
    # which are correlated; between 150 and 450 independent squares, the standard error of s is 1/√300 = 6 % at most
    assert float(last.best.model.process.log_scale.detach().exp()) == pytest.approx(0.5, rel=0.18)
    with pytest.raises(ValueError, match="fit this model with fit"):
        next(iter(shoot(model, Cohort.of(records, model, Mesh(1.0)), count=2)))


@pytest.mark.parametrize("name", PROCESS_BUILDERS)
def test_a_configuration_makes_the_same_again(name: str) -> None:
    process = PROCESS_BUILDERS[name]()
    again = type(process)(**json.loads(json.dumps(process.config())))
    x = torch.randn(2, 5, 2, generator=generator(1), dtype=F64)
    assert torch.equal(again.diffusion(x), process.diffusion(x))
    assert process.diffusion(x).shape == x.shape or process.diffusion(x).shape == (1, 5, 2)
    assert (process.diffusion(x) >= 0.0).all()
    assert process.states == 2


def test_the_diffusion_is_its_formula() -> None:
    process = DiagonalDiffusion([0.3, 0.0], [0.4, 0.5])
    x = torch.tensor([[[2.0, -3.0], [0.0, 0.0]]], dtype=F64, requires_grad=True)
    got = process.diffusion(x)
    assert got[0, 0].tolist() == pytest.approx([math.hypot(0.3, 0.8), 1.5], rel=1e-12)
    assert got[0, 1].tolist() == pytest.approx([0.3, 0.0], rel=1e-12)
    got.square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(process.log_scale.grad).all()


def test_arguments_are_checked() -> None:
    for arguments in (([],), ([-0.1],), ([float("nan")],), ([0.1], [0.1, 0.2]), ([0.1, 0.2], [0.1])):
        with pytest.raises(ValueError, match="DiagonalDiffusion: needs"):
            DiagonalDiffusion(*arguments)
    with pytest.raises(ValueError, match="made for 2 states and the model has 1"):
        made([[-1.0]], DiagonalDiffusion([0.1, 0.2]))
