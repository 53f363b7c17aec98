"""Simulation against closed forms, an independent solver and finite differences, and the solvers' declared orders."""

import itertools
import math
import re
from importlib.resources import files

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from torch import Tensor

from hybrid import (
    Concentration,
    Dose,
    HybridModel,
    Mesh,
    RungeKutta,
    Schedule,
    Signal,
    SimulationError,
    States,
    Torchdiffeq,
    build_segments,
    conditions_of,
    integrate,
    predict,
    rollout,
    simulate,
)
from hybrid.solve.torchdiffeq_solver import FIXED
from learned import MLP, AdditiveProportional, Ensemble, Residual, select
from physics import LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from training import Cohort
from training.people.tables.nonmem import read_nonmem

F64 = torch.float64
TIGHT = Torchdiffeq("dopri5", rtol=1e-9, atol=1e-10)
NOBODY = torch.zeros(0, dtype=F64)  # θ of a backbone without parameters
# what takes steps of one length and does not iterate to a tolerance (whose order: tests/hybrid/solve/test_derivatives.py)
EXPLICIT = [m for m in FIXED if m not in ("implicit_adams", "fixed_adams")]


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


def linear_model(A, B=None, residual: Residual | None = None, latents: int = 0) -> HybridModel:
    backbone = LinearBackbone(A, B)
    return HybridModel(
        backbone,
        SharedPopulation(),
        residual,
        observation=States([0], ["y"], ["1"]),
        noise=AdditiveProportional([0.1], [0.1], [0.01]),
        latents=latents,
    )


def oral_model(residual: Residual | None = None, latents: int = 0) -> HybridModel:
    backbone = OneCompartmentOral()
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.5, 0.3, 0.3]),
        residual,
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.3], [0.1], [0.05]),
        latents=latents,
    )


def hurwitz(n: int, generator: torch.Generator, margin: float = 0.3) -> Tensor:
    """A random matrix whose eigenvalues have real parts of −margin at most."""
    A = torch.randn(n, n, generator=generator, dtype=F64)
    return A - (torch.linalg.eigvals(A).real.max() + margin) * torch.eye(n, dtype=F64)


# ---- closed forms


def bateman(t: np.ndarray, dose: float, x0: float, ka: float, ke: float) -> np.ndarray:
    """The amount in plasma after one oral dose at 0 and x0 in plasma then (Bateman 1910)."""
    return dose * ka / (ka - ke) * (np.exp(-ke * t) - np.exp(-ka * t)) + x0 * np.exp(-ke * t)


@pytest.mark.parametrize(
    ("solver", "mesh", "rtol"),
    [
        (TIGHT, None, 1e-7),
        # 1/120e of ka·h to the fourth is below 1e-5 at h = 0.05, ka = 5, the fastest of these people
        (Torchdiffeq("rk4"), Mesh(0.05), 1e-5),
    ],
    ids=["dopri5", "rk4"],
)
def test_everyone_who_took_theophylline_follows_the_closed_form(solver, mesh, rtol):
    path = files("homeostat.data") / "theophylline.csv"
    records = read_nonmem(str(path), units={"TIME": "h", "AMT": "mg", "DV": "mg/L"})
    model = oral_model()
    cohort = Cohort.of(records, model, mesh)
    personal = 0.7 * torch.randn(1, 12, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    with torch.no_grad():
        run = rollout(model, cohort.conditions, personal, solver)
    for i, record in enumerate(records):
        ka, ke, V = run.theta[0, i].tolist()
        first = V * record.values[0, 0]  # the observation before the dose is where the plasma starts
        want = bateman(record.times, float(record.schedule.doses[0].amount), first, ka, ke)
        np.testing.assert_allclose(run.states[0, i, : len(want), 1], want, rtol=rtol, atol=rtol * 100)
        np.testing.assert_allclose(run.mean[0, i, : len(want), 0], want / V, rtol=rtol, atol=rtol * 100 / V)


@settings(deadline=None, max_examples=8, derandomize=True)
@given(st.integers(1, 4), st.integers(0, 2**20))
def test_a_linear_model_is_the_matrix_exponential(n, seed):
    generator = torch.Generator().manual_seed(seed)
    A, B = hurwitz(n, generator), torch.randn(n, 2, generator=generator, dtype=F64)
    x0, u = torch.randn(n, generator=generator, dtype=F64), torch.randn(2, generator=generator, dtype=F64)
    # u1 held with a jump at 1, u2 linear from 0 to 2: (x, u, slope of u) obeys one linear equation in each stretch
    after, slope = u[0] + 1.5, 0.7
    schedule = Schedule(
        (Dose("x1", 0.5, 2.0), Dose(f"x{n}", 1.0, 3.0, 0.75)),
        {
            "u1": Signal((0.0, 1.0), (u[0].item(), after.item()), "held"),
            "u2": Signal((0.0, 2.0), (u[1].item(), u[1].item() + 2.0 * slope)),
        },
    )
    times = [0.0, 0.5, 1.0, 1.4, 2.0]
    have = simulate(linear_model(A, B), schedule, times, NOBODY, x0, solver=TIGHT)

    size = n + 3  # x, u1, u2, slope
    big = np.zeros((size, size))
    big[:n, :n], big[:n, n : n + 2], big[n + 1, n + 2] = A.numpy(), B.numpy(), 1.0
    z = np.array([*x0.tolist(), *u.tolist(), slope])
    want = [z[:n]]
    infusion = np.zeros(size + 1)
    for begin, end in [(0.0, 0.5), (0.5, 1.0), (1.0, 1.4), (1.4, 1.75), (1.75, 2.0)]:
        z = z.copy()
        z[0] += 2.0 * (begin == 0.5)
        z[n] = after.item() if begin >= 1.0 else u[0].item()
        infusion = np.zeros((size + 1, size + 1))
        infusion[:size, :size] = big
        infusion[n - 1, size] = 4.0 if 1.0 <= begin < 1.75 else 0.0  # 3 over 0.75
        z = (expm(infusion * (end - begin)) @ np.append(z, 1.0))[:size]
        if end in times:
            want.append(z[:n])
    # dopri5's tolerance of 1e-9, times some tens of steps
    np.testing.assert_allclose(have, np.array(want), rtol=1e-7, atol=1e-7)


def test_propofol_after_a_bolus():
    # Schnider et al. 1998, 40 years, 70 kg, 170 cm, male; lean body mass by James. 200 mg into V1 = 4.27 L
    age, weight, height = 40.0, 70.0, 170.0
    lean = 1.1 * weight - 128.0 * (weight / height) ** 2
    V = [4.27, 18.9 - 0.391 * (age - 53.0), 238.0]
    Cl = [
        1.89 + 0.0456 * (weight - 77.0) - 0.0681 * (lean - 59.0) + 0.0264 * (height - 177.0),
        1.29 - 0.024 * (age - 53.0),
        0.836,
    ]
    A = [
        [-sum(Cl) / V[0], Cl[1] / V[1], Cl[2] / V[2]],
        [Cl[1] / V[0], -Cl[1] / V[1], 0],
        [Cl[2] / V[0], 0, -Cl[2] / V[2]],
    ]
    x = simulate(
        linear_model(A), Schedule((Dose("x1", 0.0, 200.0),)), [1e-9, 1.0], NOBODY, tensor(0, 0, 0), solver=TIGHT
    )
    assert (x[:, 0] / V[0]).tolist() == pytest.approx([46.84, 18.35], abs=0.005)  # two printed decimals


# ---- an independent solver


def rich_model(members: int = 1) -> HybridModel:
    """Two states, one input, a residual that sees both and a latent: everything at once."""
    residual = MLP(2, 1, 1, (5, 4), vanishes_at_origin=True, rate_scale=2.0, state_scale=2.0)
    model = linear_model([[-1.0, 0.4], [0.3, -0.6]], [[0.5], [-0.2]], residual, latents=1)
    stacked = Ensemble(members).stack(model, torch.Generator().manual_seed(11))
    with torch.no_grad():  # a residual that matters
        for weight in stacked.residual.weights:
            weight.mul_(3.0)
    return stacked


def rich_schedule(time: float | Tensor = 0.7, amount: float | Tensor = 3.0) -> Schedule:
    return Schedule(
        (Dose("x1", time, amount), Dose("x2", 1.1, 2.0, 0.8), Dose("x1", 2.0, 1.5)),
        {"u1": Signal((0.0, 0.9, 2.5), (1.0, -1.0, 2.0))},
    )


RICH_TIMES = [0.0, 0.4, 1.3, 2.0, 2.2, 3.0]


def naive_solution(model: HybridModel, x0: np.ndarray, latent: float) -> np.ndarray:
    """The same model written out in numpy and integrated by scipy between its events."""
    mlp = model.residual
    A, B = model.backbone.A.numpy(), model.backbone.B.numpy()
    W = [w[0].detach().numpy() for w in mlp.weights]
    b = [v[0].detach().numpy() for v in mlp.biases]
    U, C = mlp.input_weights[0].detach().numpy(), mlp.covariate_weights[0].detach().numpy()

    def net(x: np.ndarray, u: float) -> np.ndarray:
        h = np.tanh(W[0] @ (x / 2.0) + U @ [u] + C @ [latent] + b[0])
        h = np.tanh(W[1] @ h + b[1])
        return 2.0 * 2.0 * (W[2] @ h)  # rate_scale × state_scale

    def f(t: float, x: np.ndarray) -> np.ndarray:
        u = float(np.interp(t, [0.0, 0.9, 2.5], [1.0, -1.0, 2.0]))
        infusion = np.array([0.0, 2.5 if 1.1 <= t < 1.1 + 0.8 else 0.0])
        return A @ x + B @ [u] + infusion + net(x, u) - net(np.zeros(2), 0.0)

    x, states = x0, [x0]
    edges = [0.0, 0.4, 0.7, 0.9, 1.1, 1.3, 1.9, 2.0, 2.2, 2.5, 3.0]
    for begin, end in itertools.pairwise(edges):
        x = x + np.array([3.0 * (begin == 0.7) + 1.5 * (begin == 2.0), 0.0])
        # stop short of the next event, so that no step looks across it
        x = solve_ivp(f, (begin, np.nextafter(end, 0.0)), x, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
        if end in RICH_TIMES:
            states.append(x)
    return np.array(states)


def test_a_hybrid_with_doses_infusion_and_input_agrees_with_scipy():
    model, x0 = rich_model(), tensor(0.5, -0.3)
    want = naive_solution(model, x0.numpy(), 0.8)
    for solver, mesh in ((TIGHT, None), (Torchdiffeq("rk4"), Mesh(0.01))):
        with torch.no_grad():
            have = simulate(model, rich_schedule(), RICH_TIMES, NOBODY, x0, c=tensor(0.8), solver=solver, mesh=mesh)
        # the tolerance of 1e-9 over some tens of steps, and the fourth power of the step
        np.testing.assert_allclose(have, want, rtol=1e-7, atol=1e-7)


# ---- orders


@pytest.mark.parametrize("method", EXPLICIT)
def test_the_measured_order_is_the_declared_one(method):
    # without doses and with smooth inputs inside every segment nothing but the step limits the order
    model, solver = rich_model(), Torchdiffeq(method)
    schedule = Schedule((), {"u1": Signal((0.0, 3.0), (1.0, -2.0))})

    def end(solver: Torchdiffeq, mesh: Mesh | None) -> Tensor:
        with torch.no_grad():
            return simulate(model, schedule, [3.0], NOBODY, tensor(0.5, -0.3), c=tensor(0.8), solver=solver, mesh=mesh)[
                0
            ]

    exact = end(Torchdiffeq("dopri8", 1e-13, 1e-14), None)
    errors = [(end(solver, Mesh(3.0 / steps)) - exact).norm().item() for steps in (20, 40, 80)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert solver.order == FIXED[method]
    # asymptotic within a quarter of an order at these steps, and closer at the finer pair
    assert orders[-1] == pytest.approx(solver.order, abs=0.25), errors


@pytest.mark.parametrize("method", ["bosh3", "dopri5", "dopri8"])
def test_adaptive_methods_follow_their_tolerance(method):
    model, x0 = rich_model(), tensor(0.5, -0.3)
    exact = naive_solution(model, x0.numpy(), 0.8)
    errors = []
    for rtol in (1e-4, 1e-6):
        solver = Torchdiffeq(method, rtol, rtol * 1e-2)
        with torch.no_grad():
            have = simulate(model, rich_schedule(), RICH_TIMES, NOBODY, x0, c=tensor(0.8), solver=solver)
        errors.append(float(np.abs(have.numpy() - exact).max()))
        # local errors of rtol each add up over some tens of steps
        assert errors[-1] < 20.0 * rtol
    assert errors[1] < errors[0]


# ---- gradients


def central(f, at: Tensor, eps: float) -> Tensor:
    """Central finite differences of a scalar function of a tensor."""
    out = torch.zeros_like(at)
    for k in range(at.numel()):
        step = torch.zeros(at.numel(), dtype=F64)
        step[k] = eps
        step = step.reshape(at.shape)
        with torch.no_grad():
            out.view(-1)[k] = (f(at + step) - f(at - step)) / (2.0 * eps)
    return out


def rich_value(model: HybridModel, leaves: dict[str, Tensor], solver: Torchdiffeq, mesh: Mesh | None) -> Tensor:
    """A smooth number in which every state at every time counts, and differently."""
    weigh = torch.linspace(0.5, 1.5, 2 * len(RICH_TIMES), dtype=F64).reshape(-1, 2)
    schedule = rich_schedule(leaves["time"], leaves["amount"])
    x = simulate(model, schedule, RICH_TIMES, NOBODY, leaves["x0"], c=leaves["c"], solver=solver, mesh=mesh)
    return (weigh * x.sin()).sum()


def rich_leaves() -> dict[str, Tensor]:
    # a time at which the mesh cuts no part more or less when it moves a little
    return {"x0": tensor(0.5, -0.3), "c": tensor(0.8), "time": tensor(0.73)[0], "amount": tensor(3.0)[0]}


# The gradient is that of the steps themselves, so the differences see the same function. At 1e-5 their error is
# eps² ≈ 1e-10 and their rounding 1e-16/eps ≈ 1e-11, times third derivatives and values of a few tens.
@pytest.mark.parametrize("name", ["x0", "c", "time", "amount"])
def test_gradients_against_finite_differences(name):
    model, given_leaves, solver, mesh = rich_model(), rich_leaves(), Torchdiffeq("rk4"), Mesh(0.1)
    leaf = given_leaves[name].clone().requires_grad_()
    (have,) = torch.autograd.grad(rich_value(model, {**given_leaves, name: leaf}, solver, mesh), leaf)
    want = central(lambda v: rich_value(model, {**given_leaves, name: v}, solver, mesh), leaf.detach(), 1e-5)
    assert have.abs().min() > 1e-3  # it matters
    torch.testing.assert_close(have, want, rtol=1e-7, atol=1e-7)


def test_gradients_to_every_weight_against_finite_differences():
    model, leaves, solver, mesh = rich_model(), rich_leaves(), Torchdiffeq("rk4"), Mesh(0.1)
    rich_value(model, leaves, solver, mesh).backward()
    for name, parameter in model.residual.named_parameters():
        # along a random direction, which meets every entry
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(9), dtype=F64)
        before = parameter.detach().clone()

        def moved(by: Tensor, parameter=parameter, before=before, direction=direction) -> Tensor:
            parameter.copy_(before + by * direction)
            return rich_value(model, leaves, solver, mesh)

        want = central(moved, tensor(0.0), 1e-5)
        with torch.no_grad():
            parameter.copy_(before)
        have = (parameter.grad * direction).sum()
        assert have.item() == pytest.approx(want.item(), rel=1e-7, abs=1e-7), name
        assert abs(have) > 1e-3, name


def test_gradients_through_adaptive_steps():
    # against those of the fixed steps, short enough for the fourth power to be below the tolerance
    grads = []
    for solver, mesh in ((Torchdiffeq("dopri5", 1e-8, 1e-9), None), (Torchdiffeq("rk4"), Mesh(0.02))):
        model, leaves = rich_model(), {k: v.requires_grad_() for k, v in rich_leaves().items()}
        rich_value(model, leaves, solver, mesh).backward()
        grads.append([v.grad for v in (*leaves.values(), *model.residual.parameters())])
    for have, want in zip(*grads, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-5, atol=1e-5)


def test_gradient_to_a_persons_own_coordinates():
    model = oral_model(MLP(2, 0, 1, (4,), separable=True, state_scale=300.0, rate_scale=0.2), latents=1)
    schedule = Schedule((Dose("gut", 0.0, 300.0), Dose("gut", 6.0, 200.0)))
    conditions = conditions_of(model, [schedule], [[1.0, 5.0, 9.0]], baseline=tensor(0.4)[None], mesh=Mesh(0.25))
    at = tensor(0.3, -0.5, 0.2, 0.9)

    def value(personal: Tensor) -> Tensor:
        return rollout(model, conditions, personal.reshape(1, 1, 4), RungeKutta("rk4")).mean.square().sum()

    leaf = at.clone().requires_grad_()
    (have,) = torch.autograd.grad(value(leaf), leaf)
    torch.testing.assert_close(have, central(value, at, 1e-5), rtol=1e-7, atol=1e-7)
    assert have.abs().min() > 1e-4


def test_gradient_to_the_time_of_a_dose_is_the_closed_form():
    # d/dτ of e^{−k(t−τ)} is k e^{−k(t−τ)}; an observation at the dose's own time is before it, wherever it moves
    time = tensor(2.0)[0].requires_grad_()
    schedule = Schedule((Dose("x1", time, 5.0),))
    for solver, mesh in ((TIGHT, None), (Torchdiffeq("rk4"), Mesh(0.05))):
        x = simulate(linear_model([[-0.8]]), schedule, [2.0, 2.0, 3.5], NOBODY, tensor(1.0), solver=solver, mesh=mesh)[
            :, 0
        ]
        grads = [torch.autograd.grad(x[k], time, retain_graph=True)[0].item() for k in range(3)]
        assert grads == pytest.approx([0.0, 0.0, 0.8 * 5.0 * math.exp(-0.8 * 1.5)], abs=1e-6)
        assert x.tolist() == pytest.approx([math.exp(-1.6)] * 2 + [math.exp(-2.8) + 5.0 * math.exp(-1.2)], abs=1e-6)


# ---- batches, members, shapes


@settings(deadline=None, max_examples=8, derandomize=True)
@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 1000), st.sampled_from(EXPLICIT))
def test_people_and_members_do_not_see_each_other(people, members, seed, method):
    model = rich_model(members)
    rng = np.random.default_rng(seed)
    schedules = [
        Schedule(
            (Dose("x1", float(rng.uniform(0, 2)), 1.0), Dose("x2", 0.5, float(rng.uniform(1, 3)), 1.0)),
            {"u1": Signal((0.0, 1.0), (float(rng.normal()), float(rng.normal())))},
        )
        for _ in range(people)
    ]
    times = [sorted(rng.uniform(0, 4, size=rng.integers(1, 4)).tolist()) for _ in range(people)]
    x0, c = torch.from_numpy(rng.normal(size=(people, 2))), torch.from_numpy(rng.normal(size=(people, 1)))
    solver, mesh = Torchdiffeq(method), Mesh(0.25)
    with torch.no_grad():
        theta = NOBODY.expand(people, 0)
        together = simulate(model, schedules, times, theta, x0, c=c, solver=solver, mesh=mesh)
        assert together.shape == (members, people, max(map(len, times)), 2)
        for i in range(people):
            for m in range(members):
                member = select(model, torch.tensor([m]))
                alone = simulate(member, schedules[i], times[i], NOBODY, x0[i], c=c[i], solver=solver, mesh=mesh)
                # batched products may add in another order: a few units in the last place over some 30 steps
                torch.testing.assert_close(together[m, i, : len(times[i])], alone, rtol=1e-12, atol=1e-12)
        reordered = simulate(
            model, schedules[::-1], times[::-1], theta, x0.flip(0), c=c.flip(0), solver=solver, mesh=mesh
        )
        torch.testing.assert_close(reordered.flip(1), together, rtol=1e-12, atol=1e-12)


def test_shapes_with_one_and_with_many():
    model, schedule = rich_model(), rich_schedule()
    one = simulate(model, schedule, [1.0, 2.0], NOBODY, tensor(0.0, 0.0))
    assert one.shape == (2, 2)
    assert simulate(model, [schedule], [[1.0, 2.0]], NOBODY, tensor(0.0, 0.0)).shape == (1, 1, 2, 2)
    many = simulate(rich_model(3), schedule, torch.tensor([1.0, 2.0]), NOBODY, tensor(0.0, 0.0))
    assert many.shape == (3, 2, 2)
    # one member stacked is the member itself
    again = simulate(select(rich_model(3), torch.tensor([1])), schedule, [1.0, 2.0], NOBODY, tensor(0.0, 0.0))
    torch.testing.assert_close(again, many[1], rtol=1e-5, atol=1e-7)  # dopri5's norm sees the whole batch


def test_a_record_read_only_at_its_start_is_its_initial_state():
    schedule = Schedule((Dose("x1", 2.0, 7.0),), {"u1": Signal((0.0,), (1.0,))}, start=2.0)
    for solver in (Torchdiffeq("dopri5"), Torchdiffeq("rk4")):
        x = simulate(rich_model(), schedule, [2.0], NOBODY, tensor(0.5, -0.3), solver=solver)
        assert x.tolist() == [[0.5, -0.3]]


def test_splitting_a_segment_or_an_infusion_changes_nothing():
    model, x0 = rich_model(), tensor(0.5, -0.3)
    base = rich_schedule()
    halves = base.do({"x2": [Dose("x2", 1.1, 0.5, 0.2), Dose("x2", 1.3, 1.5, 0.6)]})
    more = sorted([*RICH_TIMES, 0.55, 1.45, 2.7])
    kept = [more.index(t) for t in RICH_TIMES]
    with torch.no_grad():
        whole = simulate(model, base, RICH_TIMES, NOBODY, x0, solver=TIGHT)
        infused = simulate(model, halves, RICH_TIMES, NOBODY, x0, solver=TIGHT)
        cut = simulate(model, base, more, NOBODY, x0, solver=TIGHT)[kept]
    # the solver steps differently, within its tolerance of 1e-9 over some tens of steps
    torch.testing.assert_close(infused, whole, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(cut, whole, rtol=1e-7, atol=1e-7)


def test_the_field_is_the_sum_of_its_parts():
    model = rich_model(2)
    segments = build_segments([rich_schedule(), rich_schedule(0.1)], [RICH_TIMES] * 2, ("x1", "x2"), ("u1",))
    c = tensor(0.8, -0.4).reshape(1, 2, 1).expand(2, 2, 1)
    field = model.bind(segments, NOBODY.expand(2, 2, 0), c)
    x = torch.randn(2, 2, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
    for t in (0.0, 0.5, 3.25, 6.9):
        rate = (field.A @ x[..., None])[..., 0] + field.forcing(t) + field.residual(t, x)
        torch.testing.assert_close(field(t, x), segments.dt[None, :, int(t), None] * rate, rtol=1e-13, atol=1e-13)


def test_predict_runs_every_draw_under_every_member():
    model = oral_model(MLP(2, 0, 1, (4,), separable=True, state_scale=300.0, rate_scale=0.2), latents=1)
    model = Ensemble(3).stack(model, torch.Generator().manual_seed(2))
    schedules = [Schedule((Dose("gut", 0.0, 300.0),)), Schedule((Dose("gut", 0.0, 100.0),))]
    conditions = conditions_of(model, schedules, [[1.0, 4.0], [2.0, 3.0]], mesh=Mesh(0.25))
    draws = torch.randn(3, 5, 2, 4, generator=torch.Generator().manual_seed(4), dtype=F64)
    times = torch.tensor([[1.0, 4.0], [2.0, 3.0]], dtype=F64)
    solver = Torchdiffeq("rk4")
    prediction = predict(model, conditions, draws, times=times, mask=torch.ones(2, 2, dtype=torch.bool), solver=solver)
    for s in range(5):
        run = rollout(model, conditions, draws[:, s], solver)
        torch.testing.assert_close(prediction.mean[:, s], run.mean.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(prediction.variance[:, s], run.variance.detach(), rtol=1e-12, atol=1e-12)
    for wrong in (math.nan, math.inf):
        spoiled = draws.clone()
        spoiled[1, 2, 0, 3] = wrong
        with pytest.raises(ValueError, match="predict: draws holds NaN or infinity"):
            predict(model, conditions, spoiled, times=times, mask=torch.ones(2, 2, dtype=torch.bool), solver=solver)


def test_numbers_in_a_list_keep_their_digits():
    model, theta = oral_model(), [1.5, 0.086, 31.5]
    asked = Schedule((Dose("gut", 0.0, 300.0),)), [1.0, 4.0]
    want = simulate(model, *asked, torch.tensor(theta, dtype=F64))
    assert torch.equal(simulate(model, *asked, theta), want)
    assert torch.equal(simulate(model, *asked, np.array(theta)), want)


# ---- failures


def test_a_state_that_overflows_names_record_and_time():
    # Euler with steps of 1 on dx/dt = −x + 10⁴ x multiplies by 10⁴, which passes 1.8·10³⁰⁸ at the 78th step
    model = linear_model([[-1.0]], residual=MLP(1, hidden=(1,), activation="relu"))
    with torch.no_grad():
        for weight, value in zip(model.residual.weights, (1.0, 1e4), strict=True):
            weight.fill_(value)
        model.residual.biases[0].zero_()
    schedules = [Schedule(start=-1.0), Schedule(), Schedule()]
    times = [[0.0], [100.0], [3.0]]
    steps = math.floor(math.log(np.finfo(float).max) / math.log(1e4)) + 1
    with pytest.raises(
        SimulationError, match=rf"record 1: the state is not finite at time {steps}\b.*shorten Mesh"
    ) as caught:
        simulate(model, schedules, times, NOBODY, tensor(1.0), solver=Torchdiffeq("euler"), mesh=Mesh(1.0))
    assert (caught.value.record, caught.value.time) == (1, float(steps))


def test_a_start_that_is_not_finite_names_record_and_time():
    x0 = torch.tensor([[1.0], [float("nan")]], dtype=F64)
    schedules = [Schedule(), Schedule(start=2.0)]
    model, times, solver = linear_model([[-1.0]]), [[1.0], [3.0]], Torchdiffeq("rk4")
    found = integrate(model, schedules, times, NOBODY, x0, solver=solver, mesh=Mesh(0.5))
    with pytest.raises(SimulationError) as caught:
        found.require()
    assert (caught.value.record, caught.value.time) == (1, 2.0)
    # whoever wants states and no failures hears which argument it was
    for start, words in (
        (x0, "start holds NaN, in the state x1 (position 0) of record 1"),
        (x0.tolist(), "start holds NaN, in the state x1 (position 0) of record 1"),
        (np.array([math.nan]), "start holds NaN, in the state x1 (position 0);"),
        (tensor(math.inf), "start holds infinity"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            simulate(model, schedules, times, NOBODY, start, solver=solver, mesh=Mesh(0.5))


def test_an_adaptive_solver_that_cannot_go_on_says_so():
    x0 = tensor(float("nan"))
    with pytest.raises(SimulationError, match=r"record 0: the state is not finite at time 0.*Likely causes"):
        integrate(linear_model([[-1.0]]), [Schedule()], [[1.0]], NOBODY, x0, solver=Torchdiffeq("dopri5")).require()


def test_arguments_that_do_not_fit():
    model = linear_model([[-1.0]])
    with pytest.raises(ValueError, match=r"start needs shape \(1,\)"):
        simulate(model, Schedule(), [1.0], NOBODY, tensor(1.0, 2.0))
    with pytest.raises(ValueError, match=r"theta needs shape \(0,\)"):
        simulate(model, Schedule(), [1.0], tensor(1.0), tensor(1.0))
    with pytest.raises(ValueError, match="2 schedules need as many lists of times, at least one; got 1"):
        simulate(model, [Schedule(), Schedule()], [[1.0]], NOBODY, tensor(1.0))
    with pytest.raises(ValueError, match="method is one of"):
        Torchdiffeq("leapfrog")
