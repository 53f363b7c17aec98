"""The contract of every solver: order, agreement with an independent one, splitting, batches, gradients, failures."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.stats import norm
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
    SimulationError,
    Solver,
    States,
    Torchdiffeq,
    build_segments,
    integrate,
    rollout,
    simulate,
)
from hybrid.solve.plain_march import plain_march
from hybrid.solve.schemes.phi import phi
from learned import MLP, AdditiveProportional, Ensemble, Residual
from physics import LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from tests.builders import SOLVER_KINDS, SolverKind

F64 = torch.float64
NOBODY = torch.zeros(0, dtype=F64)


# ---- models


def loop(
    members: int = 1, *, activation: str = "tanh", hidden: tuple[int, ...] = (5, 4), latents: int = 1
) -> HybridModel:
    """Two states, one input and one latent that the residual sees, the same for everyone."""
    residual = MLP(
        2,
        1,
        latents,
        hidden,
        activation,  # type: ignore[arg-type]
        state_scale=2.0,
        rate_scale=2.0,
        generator=torch.Generator().manual_seed(7),
    )
    with torch.no_grad():
        residual.weights[-1].mul_(3.0)
    model = HybridModel(
        LinearBackbone([[-0.7, 0.4], [-0.5, -1.1]], [[0.6], [-0.2]]),
        SharedPopulation(),
        residual,
        observation=States([0, 1], ["a", "b"], ["1", "1"]),
        noise=AdditiveProportional([0.1] * 2, [0.1] * 2, [0.01] * 2),
        latents=latents,
    )
    if members == 1:
        return model
    stacked = Ensemble(members).stack(model, torch.Generator().manual_seed(3))
    with torch.no_grad():
        stacked.residual.weights[-1].mul_(3.0)
    return stacked


def oral(members: int = 1) -> HybridModel:
    """A of every person their own, by θ."""
    backbone = OneCompartmentOral()
    residual = MLP(2, 0, 0, (6,), separable=True, state_scale=300.0, rate_scale=0.2)
    with torch.no_grad():
        residual.weights[-1].mul_(5.0)
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.5, 0.3, 0.3]),
        residual,
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.3], [0.1], [0.05]),
    )
    return model if members == 1 else Ensemble(members).stack(model, torch.Generator().manual_seed(3))


class Bent(Residual):
    """A residual without layers: ε = a sin(x) + u·tanh(c), a learned."""

    def __init__(self) -> None:
        super().__init__()
        self.states, self.inputs, self.covariates, self.vanishes_at_origin = 2, 1, 1, False
        self.a = torch.nn.Parameter(torch.full((1, 1, 2), 0.4, dtype=F64))

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return self.a * torch.sin(x) + u * torch.tanh(c)

    def reset(self, generator: torch.Generator) -> None:
        return None

    def config(self) -> dict[str, object]:
        return {}


def bent() -> HybridModel:
    plain = loop()
    return HybridModel(
        plain.backbone, plain.population, Bent(), observation=plain.observation, noise=plain.noise, latents=1
    )


def schedule(
    time: float | Tensor = 0.7,
    amount: float | Tensor = 3.0,
    lag: float | Tensor = 0.0,
    duration: float | Tensor = 0.8,
) -> Schedule:
    """Two doses, one of them late, an infusion, and an input with a bend."""
    doses = (Dose("x1", time, amount, lag=lag), Dose("x2", 1.1, 2.0, duration), Dose("x1", 2.0, 1.5))
    return Schedule(doses, {"u1": Signal((0.0, 0.9, 2.5), (1.0, -1.0, 2.0))})


TIMES = [0.0, 0.4, 1.3, 2.0, 2.2, 3.0]
LATENT = torch.tensor([0.8], dtype=F64)
START = torch.tensor([0.5, -0.3], dtype=F64)


@cache
def truth(activation: str = "tanh") -> np.ndarray:
    """The equations of `loop` in numpy between the events, by scipy at 1e-12."""
    model = loop(activation=activation)
    mlp = model.residual
    A, B = model.backbone.A.numpy(), model.backbone.B.numpy()
    W = [w[0].detach().numpy() for w in mlp.weights]
    b = [v[0].detach().numpy() for v in mlp.biases]
    U, C = mlp.input_weights[0].detach().numpy(), mlp.covariate_weights[0].detach().numpy()
    phi = {
        "tanh": np.tanh,
        "relu": lambda z: np.maximum(z, 0.0),
        "sigmoid": lambda z: 1.0 / (1.0 + np.exp(-z)),
        "softplus": lambda z: np.logaddexp(0.0, z),
        "silu": lambda z: z / (1.0 + np.exp(-z)),
        "gelu": lambda z: z * norm.cdf(z),
    }[activation]

    def net(x: np.ndarray, u: float) -> np.ndarray:
        h = phi(W[0] @ (x / 2.0) + U @ [u] + C @ [0.8] + b[0])
        for w, v in zip(W[1:-1], b[1:], strict=True):
            h = phi(w @ h + v)
        return 2.0 * 2.0 * (W[-1] @ h)  # rate_scale × state_scale

    def f(t: float, x: np.ndarray) -> np.ndarray:
        u = float(np.interp(t, [0.0, 0.9, 2.5], [1.0, -1.0, 2.0]))
        infusion = np.array([0.0, 2.5 if 1.1 <= t < 1.1 + 0.8 else 0.0])
        return A @ x + B @ [u] + infusion + net(x, u) - net(np.zeros(2), 0.0)

    x, states = START.numpy(), [START.numpy()]
    for begin, end in itertools.pairwise([0.0, 0.4, 0.7, 0.9, 1.1, 1.3, 1.9, 2.0, 2.2, 2.5, 3.0]):
        x = x + np.array([3.0 * (begin == 0.7) + 1.5 * (begin == 2.0), 0.0])
        x = solve_ivp(f, (begin, np.nextafter(end, 0.0)), x, method="DOP853", rtol=3e-13, atol=1e-14).y[:, -1]
        if end in TIMES:
            states.append(x)
    return np.array(states)


def run(model: HybridModel, solver: Solver, mesh: Mesh | None, given: Schedule | None = None) -> Tensor:
    with torch.no_grad():
        given, x0, theta, c = given or schedule(), *(v.to(model.dtype) for v in (START, NOBODY, LATENT))
        return simulate(model, given, TIMES, theta, x0, c=c, solver=solver, mesh=mesh)


# ---- what each kind of solver declares, on a mesh and to a tolerance

KINDS = SOLVER_KINDS
FIXED = [k for k in KINDS if k.fixed]
ADAPTIVE = [k for k in KINDS if k.adaptive]
ids = lambda kind: kind.name  # noqa: E731


def solvers_of(kind: SolverKind, step: float, tol: float, observed: bool = True) -> tuple[Solver, Mesh]:
    if kind.fixed:
        return kind.fixed(), Mesh(step, observed=observed)
    assert kind.adaptive is not None
    return kind.adaptive(tol), Mesh(observed=observed)


# ---- accuracy


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize("kind", FIXED, ids=ids)
def test_measured_order_is_the_declared_one(kind: SolverKind, observed: bool) -> None:
    if not observed and not kind.reads:
        pytest.skip("reads at the ends of segments alone")
    model = loop()
    # a smooth input and no dose: nothing but the step limits the order
    smooth = Schedule((), {"u1": Signal((0.0, 3.0), (1.0, -2.0))})
    exact = run(model, Torchdiffeq("dopri8", 1e-13, 1e-14), None, smooth)
    steps = (40, 80, 160) if kind.order < 3 else (20, 40, 80) if kind.order < 5 else (10, 20, 40)
    found = [run(model, *solvers_of(kind, 3.0 / n, 0.0, observed), smooth) for n in steps]
    at_end = [(x[-1] - exact[-1]).norm().item() for x in found]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(at_end)]
    assert orders[-1] == pytest.approx(kind.order, abs=0.4), at_end
    if not observed:  # inside the steps one order less is declared, and never better than the end
        inside = [(x - exact).abs().amax().item() for x in found]
        assert math.log2(inside[-2] / inside[-1]) > min(kind.order, 4) - 1 - 0.35, inside


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "softplus", "silu", "gelu"])
@pytest.mark.parametrize("kind", [k for k in KINDS if k.order > 1 and "bosh3" not in k.name], ids=ids)
def test_agreement_with_scipy_at_1e_9(kind: SolverKind, activation: str) -> None:
    if activation != "tanh" and not ("tsit5" in kind.name or "Exponential" in kind.name):
        pytest.skip("activations are the kernel's business, which is one")
    if activation == "relu" and kind.name in ("Exponential-adaptive",):
        pytest.skip("order 4 at a kink needs more steps than a test should take")
    model = loop(activation=activation)
    fine = 0.002 if activation == "relu" else {5: 0.02, 4: 0.005, 8: 0.1}[kind.order]
    have = run(model, *solvers_of(kind, fine, 2e-12)).numpy()
    # a kink costs a step its order: an error of h² where it lies, times the small jump of the slope
    tolerance = 1e-6 if activation == "relu" else 1e-9
    np.testing.assert_allclose(have, truth(activation), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize("kind", ADAPTIVE, ids=ids)
def test_tolerances_are_followed(kind: SolverKind, observed: bool) -> None:
    if not observed and not kind.reads:
        pytest.skip("reads at the ends of segments alone")
    model = loop()
    exact = truth()
    errors = []
    for tol in (1e-4, 1e-6, 1e-8):
        errors.append(float(np.abs(run(model, *solvers_of(kind, 0.0, tol, observed)).numpy() - exact).max()))
        # each of some tens of steps adds an error of tol, and the system forgets them at a rate near 1
        assert errors[-1] < 20.0 * tol, errors
    assert errors[0] > errors[-1]


def test_a_linear_system_is_exact_in_one_step() -> None:
    A = torch.tensor([[-50.0, 1.0], [0.3, -0.2]], dtype=F64)
    model = HybridModel(
        LinearBackbone(A),
        SharedPopulation(),
        observation=States([0], ["y"], ["1"]),
        noise=AdditiveProportional([0.1], [0.1], [0.01]),
    )
    for observed in (True, False):
        x = simulate(model, Schedule(), [0.1, 4.0], NOBODY, START, solver=Exponential(), mesh=Mesh(observed=observed))
        for row, t in zip(x, (0.1, 4.0), strict=True):
            np.testing.assert_allclose(row.detach(), expm(A.numpy() * t) @ START.numpy(), rtol=1e-12, atol=1e-14)


def test_a_fast_rate_costs_no_steps() -> None:
    # rates from .05 to 100 per hour, every state seen by the residual; the reference is scipy's implicit Radau
    generator = torch.Generator().manual_seed(5)
    Q = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=F64))[0]
    A = Q @ torch.diag(torch.tensor([-0.05, -0.3, -1.0, -100.0], dtype=F64)) @ Q.T
    residual = MLP(4, hidden=(16, 16), generator=generator, rate_scale=0.25)
    model = HybridModel(
        LinearBackbone(A),
        SharedPopulation(),
        residual,
        observation=States([0], ["y"], ["1"]),
        noise=AdditiveProportional([0.1], [0.1], [0.01]),
    )
    x0 = torch.randn(4, generator=generator, dtype=F64)
    times = np.linspace(0.0, 24.0, 25).tolist()
    schedule = Schedule((Dose("x1", 7.5, 1.0),))

    def f(t: float, x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            value = torch.from_numpy(x)[None, None]
            return (A @ value[0, 0] + residual(value, value.new_zeros(1, 1, 0), value.new_zeros(1, 1, 0))[0, 0]).numpy()

    first = solve_ivp(f, (0.0, 7.5), x0.numpy(), method="Radau", rtol=1e-10, atol=1e-12, t_eval=[*times[:8], 7.5]).y.T
    rest = solve_ivp(
        f, (7.5, 24.0), first[-1] + [1.0, 0, 0, 0], method="Radau", rtol=1e-10, atol=1e-12, t_eval=times[8:]
    ).y.T
    want = np.concatenate([first[:8], rest])
    mesh = Mesh(step=1.0, first=0.001, growth=0.25, observed=False)
    steps = build_segments([schedule], [times], model.backbone.states, (), mesh).dt.shape[1]
    assert steps < 100  # an explicit method is stable with some 1,000
    for solver, cut, error in ((Exponential(), mesh, 1e-5), (Exponential(rtol=1e-7), Mesh(observed=False), 1e-5)):
        with torch.no_grad():
            have = simulate(model, schedule, times, NOBODY, x0, solver=solver, mesh=cut)
        assert float(np.abs(have.numpy() - want).max()) < error


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(1, 5), st.floats(-3.0, 3.5), st.integers(0, 2**16), st.integers(0, 2))
def test_phi_functions_are_those_of_the_augmented_exponential(n: int, scale: float, seed: int, halves: int) -> None:
    Z = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=F64)
    Z = Z - Z.T - Z @ Z.T  # stable, as every A is
    Z = 10.0**scale * Z / Z.norm()
    for k, found in enumerate(reversed(phi(Z, halves))):
        big = np.zeros((4 * n, 4 * n))
        big[:n, :n] = Z.numpy() / 2.0**k
        for j in range(3):
            big[j * n : (j + 1) * n, (j + 1) * n : (j + 2) * n] = np.eye(n)
        want = expm(big)[:n].reshape(n, 4, n)
        for j in range(4):
            # scaling and squaring loses a digit per doubling of the norm, here as in scipy
            np.testing.assert_allclose(found[j], want[:, j], rtol=1e-11, atol=1e-11 * np.abs(want[:, j]).max())


def test_phi_is_differentiable() -> None:
    Z = (3.0 * torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=F64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: torch.cat([v for level in phi(z, 1) for v in level]), (Z,))


# ---- splitting and batches


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_splitting_changes_nothing_but_the_error(kind: SolverKind) -> None:
    model = loop()
    solver, mesh = solvers_of(kind, 0.002 if kind.order == 1 else 0.02, 1e-6 if kind.order == 3 else 1e-9)
    error = 2e-2 if kind.order == 1 else 1e-5 if kind.order == 3 else 1e-7
    halves = schedule().do({"x2": [Dose("x2", 1.1, 0.5, 0.2), Dose("x2", 1.3, 1.5, 0.6)]})
    whole = run(model, solver, mesh)
    torch.testing.assert_close(run(model, solver, mesh, halves), whole, rtol=error, atol=error)
    more = sorted([*TIMES, 0.55, 1.45, 2.7])
    with torch.no_grad():
        cut = simulate(model, schedule(), more, NOBODY, START, c=LATENT, solver=solver, mesh=mesh)
    torch.testing.assert_close(cut[[more.index(t) for t in TIMES]], whole, rtol=error, atol=error)


def test_a_segment_in_two_at_the_same_steps_is_the_same_to_rounding() -> None:
    model = loop()
    segments = build_segments([schedule()], [TIMES], ("x1", "x2"), ("u1",), Mesh(observed=False))
    K = segments.dt.shape[1]
    cut = torch.arange(K).repeat_interleave(2)[None]
    begin = torch.tensor([0.0, 0.5], dtype=F64).repeat(K)[None]
    halves = segments.refine(cut, begin, begin + 0.5)
    assert halves.dt.sum() == pytest.approx(3.0, abs=1e-13)
    quarter = torch.tensor([0.0, 0.25, 0.5, 0.75], dtype=F64).repeat(K)[None]
    directly = segments.refine(cut.repeat_interleave(2, 1), quarter, quarter + 0.25)
    again = torch.arange(2 * K).repeat_interleave(2)[None]
    twice = halves.refine(again, begin.repeat(1, 2), begin.repeat(1, 2) + 0.5)
    for name in ("dt", "start", "jump", "rate", "u0", "u1", "fraction"):
        torch.testing.assert_close(getattr(twice, name), getattr(directly, name), rtol=1e-12, atol=1e-13)
    assert torch.equal(twice.segment, directly.segment)
    # a boundary stays one, read before the dose of its time
    field = model.bind(halves, NOBODY.expand(1, 1, 0), LATENT.expand(1, 1, 1))
    states = RungeKutta().solve(field.on(replace(halves, meshed=True)), START.expand(1, 1, 2)).states
    np.testing.assert_allclose(states[0, 0].detach(), truth(), atol=2e-3)


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("kind", [k for k in KINDS if not k.name.startswith("Torchdiffeq-dopri")], ids=ids)
def test_a_record_does_not_depend_on_its_batch(kind: SolverKind, members: int, observed: bool) -> None:
    if not observed and not kind.reads:
        pytest.skip("reads at the ends of segments alone")
    model = oral(members)
    rng = np.random.default_rng(2)
    people = []
    for i in range(3):
        doses = tuple(
            Dose("gut", float(t), float(a), lag=0.25 * (i % 2), duration=float(d))
            for t, a, d in zip(
                rng.uniform(0, 8, i + 1), rng.uniform(100, 400, i + 1), [0.0, 2.0, 0.0, 1.5], strict=False
            )
        )
        people.append((Schedule(doses), np.sort(rng.uniform(0, 12, 3 + 5 * i)).tolist()))
    theta = torch.from_numpy(
        np.column_stack([rng.uniform(0.5, 3, 3), rng.uniform(0.05, 0.2, 3), rng.uniform(20, 40, 3)])
    )
    x0 = torch.from_numpy(rng.uniform(0, 100, (3, 2)))
    solver, mesh = solvers_of(kind, 0.5 if kind.order > 1 else 0.1, 1e-5, observed)
    with torch.no_grad():
        schedules, times = [p[0] for p in people], [p[1] for p in people]
        together = simulate(model, schedules, times, theta, x0, solver=solver, mesh=mesh)
        for i in range(3):
            one = slice(i, i + 1)
            alone = simulate(model, schedules[one], times[one], theta[one], x0[one], solver=solver, mesh=mesh)
            # sums in another order over some tens of steps, on amounts of some hundreds
            torch.testing.assert_close(together[:, i : i + 1, : len(times[i])], alone, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("kind", ["explicit", "exponential"])
def test_one_for_everyone_is_each_for_themselves(kind: str) -> None:
    """The shortcuts for one A, one clock and one place of reading give what the general way gives."""
    model = loop(2)
    solver = RungeKutta() if kind == "explicit" else Exponential()
    times = [TIMES, TIMES]
    x0 = torch.stack([START, START.flip(0)])
    theta = NOBODY.expand(2, 0)
    mesh = Mesh(0.3, observed=False)
    c = torch.tensor([[0.8], [-0.5]], dtype=F64)
    with torch.no_grad():
        alike = simulate(model, [schedule()] * 2, times, theta, x0, c=c, solver=solver, mesh=mesh)
        # a third person with other times makes everyone's their own
        other = simulate(
            model,
            [schedule()] * 3,
            [*times, [0.1, 2.9]],
            NOBODY.expand(3, 0),
            torch.cat([x0, x0[:1]]),
            c=torch.cat([c, c[:1]]),
            solver=solver,
            mesh=mesh,
        )
    torch.testing.assert_close(other[:, :2], alike, rtol=1e-12, atol=1e-12)


# ---- gradients


def central(f: Callable[[Tensor], Tensor], at: Tensor, eps: float = 1e-5) -> Tensor:
    """Central differences of a scalar function."""
    out = torch.zeros_like(at)
    for k in range(at.numel()):
        step = torch.zeros(at.numel(), dtype=F64)
        step[k] = eps
        with torch.no_grad():
            out.view(-1)[k] = (f(at + step.view(at.shape)) - f(at - step.view(at.shape))) / (2.0 * eps)
    return out


def leaves() -> dict[str, Tensor]:
    # times at which nothing on the mesh changes its number of parts when they move a little
    values = {"time": 0.63, "lag": 0.1, "amount": 3.0, "duration": 0.77}
    return {"x0": START, "c": LATENT, **{k: torch.tensor(v, dtype=F64) for k, v in values.items()}}


def value(model: HybridModel, given: dict[str, Tensor], solver: Solver, mesh: Mesh) -> Tensor:
    """A smooth number to which every state at every time counts, and differently."""
    weigh = torch.linspace(0.5, 1.5, 2 * len(TIMES), dtype=F64).reshape(-1, 2)
    doses = schedule(given["time"], given["amount"], given["lag"], given["duration"])
    x = simulate(model, doses, TIMES, NOBODY, given["x0"], c=given["c"], solver=solver, mesh=mesh)
    return (weigh * x.sin()).sum()


GRADIENTS = [
    ("tsit5", RungeKutta(), 0.3),
    ("rk4", RungeKutta("rk4"), 0.3),
    ("exponential", Exponential(), 0.3),
    ("torchdiffeq", Torchdiffeq("rk4"), 0.3),
    ("tsit5 chunked", RungeKutta(chunk=3), 0.3),
    ("exponential chunked", Exponential(chunk=3), 0.3),
]


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize("make", [loop, bent], ids=["layers", "no layers"])
@pytest.mark.parametrize(("name", "solver", "step"), GRADIENTS, ids=[g[0] for g in GRADIENTS])
def test_gradients_against_finite_differences(
    name: str, solver: Solver, step: float, make: Callable[[], HybridModel], observed: bool
) -> None:
    if not observed and name == "torchdiffeq":
        pytest.skip("reads at the ends of segments alone")
    model, mesh = make(), Mesh(step, observed=observed)
    given = {k: v.clone().requires_grad_() for k, v in leaves().items()}
    value(model, given, solver, mesh).backward()
    for key, leaf in given.items():

        def moved(v: Tensor, key: str = key) -> Tensor:
            return value(model, {**leaves(), key: v}, solver, mesh)

        # the differences see the same steps: their error is eps² = 1e-10, their rounding 1e-16/eps = 1e-11
        want = central(moved, leaf.detach())
        assert leaf.grad is not None
        assert want.abs().min() > 1e-3, key  # it matters
        torch.testing.assert_close(leaf.grad, want, rtol=1e-7, atol=1e-7, msg=lambda m, key=key: f"{key}: {m}")
    for part, parameter in model.residual.named_parameters():
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(9), dtype=F64)
        before = parameter.detach().clone()

        def shifted(by: Tensor, p: Tensor = parameter, b: Tensor = before, d: Tensor = direction) -> Tensor:
            p.copy_(b + by * d)
            return value(model, leaves(), solver, mesh)

        want = central(shifted, torch.tensor(0.0, dtype=F64))
        with torch.no_grad():
            parameter.copy_(before)
        have = (parameter.grad * direction).sum()
        assert have.item() == pytest.approx(want.item(), rel=1e-6, abs=1e-7), part


@pytest.mark.parametrize("solver", [RungeKutta(rtol=1e-8), Exponential(rtol=1e-8)], ids=["tsit5", "exponential"])
def test_gradients_on_adapted_steps_are_those_of_fine_ones(solver: Solver) -> None:
    # the steps are constants of the gradient, so it is that of the solution to the tolerance
    found = []
    for one, mesh in ((solver, Mesh(observed=False)), (RungeKutta(), Mesh(0.02))):
        model, given = loop(), {k: v.clone().requires_grad_() for k, v in leaves().items()}
        value(model, given, one, mesh).backward()
        found.append([v.grad for v in (*given.values(), *model.residual.parameters())])
    for have, want in zip(*found, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "solver", [RungeKutta(), RungeKutta("rk4"), Exponential()], ids=["tsit5", "rk4", "exponential"]
)
def test_gradients_to_theta_against_finite_differences(solver: Solver) -> None:
    model = oral(2)
    schedules = [Schedule((Dose("gut", 0.0, 300.0), Dose("gut", 6.0, 200.0))), Schedule((Dose("gut", 0.5, 250.0),))]
    times = [[1.0, 5.0, 9.0], [2.0, 3.0]]
    at = torch.tensor([[1.5, 0.09, 30.0], [0.8, 0.12, 25.0]], dtype=F64)
    for observed in (True, False):
        mesh = Mesh(0.6, observed=observed)

        def total(theta: Tensor, mesh: Mesh = mesh) -> Tensor:
            x = simulate(model, schedules, times, theta, torch.zeros(2, dtype=F64), solver=solver, mesh=mesh)
            return (x / 100.0).sin().sum()

        leaf = at.clone().requires_grad_()
        (have,) = torch.autograd.grad(total(leaf), leaf)
        torch.testing.assert_close(have, central(total, at), rtol=1e-7, atol=1e-7)
        assert have[:, :2].abs().min() > 1e-2


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(
    "solver",
    [
        RungeKutta(),
        RungeKutta("bosh3"),
        RungeKutta(chunk=2),
        Exponential(),
        Exponential(chunk=2),
        RungeKutta(rtol=1e-3),
        Exponential(rtol=1e-3),
    ],
    ids=str,
)
@pytest.mark.parametrize("activation", ["tanh", "relu", "softplus", "silu", "gelu"])
def test_by_hand_is_as_by_automatic_differentiation(
    solver: Solver, members: int, observed: bool, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loop(members, activation=activation)
    mesh = Mesh(0.3 if getattr(solver, "rtol", None) is None else None, observed=observed)
    found = []
    for plain in (False, True):
        if plain:
            monkeypatch.setattr(hybrid.solve.one_step, "march", lambda *a, pool, **k: plain_march(*a, **k))
        model.zero_grad()
        given = {k: v.clone().requires_grad_() for k, v in leaves().items()}
        doses = [schedule(given["time"], given["amount"], given["lag"], given["duration"]), schedule(0.2, 1.0)]
        theta = NOBODY.expand(2, 0)
        x = simulate(model, doses, [TIMES, TIMES[:4]], theta, given["x0"], c=given["c"], solver=solver, mesh=mesh)
        (x.sin() * torch.linspace(0.5, 1.5, x.numel(), dtype=F64).view_as(x)).sum().backward()
        found.append([x.detach(), *(v.grad.clone() for v in (*given.values(), *model.residual.parameters()))])
    for have, want in zip(*found, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(
    "solver", [RungeKutta, lambda: RungeKutta("rk4"), Exponential], ids=["tsit5", "rk4", "exponential"]
)
@pytest.mark.parametrize("make", [loop, oral])
def test_steps_that_are_repeated_are_those_of_a_new_solver(
    make: Callable[..., HybridModel], solver: Callable[[], Solver], members: int, observed: bool
) -> None:
    """The operations that a solver keeps from its last call serve other weights, starts, θ and cotangents."""
    model = make(members)
    mesh = Mesh(0.3, observed=observed)
    base = schedule() if make is loop else Schedule((Dose("gut", 0.0, 3.0), Dose("plasma", 1.0, 2.0, 0.7)))
    segments = build_segments([base] * 2, [TIMES, TIMES[:4]], model.backbone.states, model.backbone.inputs, mesh)
    generator = torch.Generator().manual_seed(4)
    kept = solver()
    for turn in range(4):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=F64))
        theta = torch.tensor([1.5, 0.2, 30.0], dtype=F64) + 0.1 * torch.rand(2, 3, generator=generator, dtype=F64)
        theta = (theta if make is oral else theta[:, :0])[None].expand(members, -1, -1).clone()
        x0 = torch.randn(members, 2, 2, generator=generator, dtype=F64)
        weigh = torch.randn(members, 2, len(TIMES), 2, generator=generator, dtype=F64)
        c = torch.full((members, 2, model.residual.covariates), 0.3 * turn, dtype=F64)
        found = []
        for one in (kept, solver()):
            model.zero_grad()
            leaves_ = [v.clone().requires_grad_() for v in (theta, x0, c)]
            field = model.bind(segments, leaves_[0], leaves_[2])
            states = one.solve(field, leaves_[1]).states
            (weigh * states.sin()).sum().backward()
            grads = [v.grad for v in (*leaves_, *model.residual.parameters()) if v.grad is not None]
            found.append([states.detach(), *(g.clone() for g in grads)])
        for have, want in zip(*found, strict=True):
            torch.testing.assert_close(have, want, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.*script_method.*:DeprecationWarning"
)  # torch's own, at the first import of its compiler
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)  # and while it traces
def test_compiled_steps_are_the_steps(caplog: pytest.LogCaptureFixture) -> None:
    model, found = bent(), []
    for compiled in (False, True):
        model.zero_grad()
        value(model, leaves(), RungeKutta("rk4", compiled=compiled), Mesh(0.3)).backward()
        found.append(model.residual.a.grad.clone())
    assert not [r for r in caplog.records if r.name.startswith("hybrid")]  # it was compiled indeed
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_steps_that_cannot_be_compiled_run_and_say_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> Callable[..., object]:
        def run(*_: object) -> object:
            raise RuntimeError("no C++ compiler")

        return run

    monkeypatch.setattr(torch, "compile", fail)
    model = bent()
    want = value(model, leaves(), RungeKutta("bosh3"), Mesh(0.3))
    have = value(model, leaves(), RungeKutta("bosh3", compiled=True), Mesh(0.3))
    assert [r.getMessage() for r in caplog.records] == [
        "steps run operation by operation: torch.compile failed with no C++ compiler"
    ]
    torch.testing.assert_close(have, want, rtol=1e-14, atol=0.0)


def test_a_second_backward_finds_its_buffers_taken_and_computes_again() -> None:
    model, solver = loop(), RungeKutta()
    x0 = START.clone().requires_grad_()
    first = simulate(model, schedule(), TIMES, NOBODY, x0, c=LATENT, solver=solver, mesh=Mesh(0.3)).square().sum()
    (once,) = torch.autograd.grad(first, x0, retain_graph=True)
    second = simulate(model, schedule(), TIMES, NOBODY, 2.0 * x0, c=LATENT, solver=solver, mesh=Mesh(0.3)).sum()
    (again,) = torch.autograd.grad(first, x0)
    torch.testing.assert_close(again, once, rtol=1e-13, atol=1e-13)
    torch.autograd.grad(second, x0)


def test_the_adjoint_is_the_gradient_of_the_steps_to_the_tolerance() -> None:
    found = []
    for make in (loop, bent):
        for adjoint in (False, True):
            solver = Torchdiffeq("dopri5", 1e-9, 1e-10, adjoint=adjoint)
            model, given = make(), {k: v.clone().requires_grad_() for k, v in leaves().items()}
            value(model, given, solver, Mesh()).backward()
            found.append([v.grad for v in (*given.values(), *model.residual.parameters())])
        names = [*leaves(), *(n for n, _ in make().residual.named_parameters())]
        for name, have, want in zip(names, *found, strict=True):
            torch.testing.assert_close(have, want, rtol=1e-6, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")
        found.clear()


# ---- precision


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_float32_is_float64_to_its_precision(kind: SolverKind) -> None:
    if "dopri8" in kind.name:
        pytest.skip("its coefficients are beyond float32")
    model = loop()
    solver, mesh = solvers_of(kind, 0.05, 1e-5)
    exact = run(model, solver, mesh)
    single = run(loop().to(torch.float32), solver, mesh)
    assert single.dtype == torch.float32
    # some tens of steps of rounding at 6e-8, and adapted steps that differ by it
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-4)


# ---- failures


@pytest.mark.parametrize(
    "kind", [k for k in KINDS if "tsit5" in k.name or "Exp" in k.name or k.name == "Torchdiffeq-rk4"], ids=ids
)
def test_who_diverges_does_not_stop_the_others(kind: SolverKind) -> None:
    # ε = 10⁷ relu(x) outgrows any backbone for x > 0, and vanishes for x ≤ 0
    residual = MLP(1, hidden=(1,), activation="relu")
    with torch.no_grad():
        for w, number in zip(residual.weights, (1.0, 1e7), strict=True):
            w.fill_(number)
        residual.biases[0].fill_(0.0)
    model = HybridModel(
        LinearBackbone([[-1.0]]),
        SharedPopulation(),
        residual,
        observation=States([0], ["y"], ["1"]),
        noise=AdditiveProportional([0.1], [0.1], [0.01]),
    )
    solver, mesh = solvers_of(kind, 0.1, 1e-6)
    if hasattr(solver, "max_steps"):
        solver = replace(solver, max_steps=300)  # a growth at a rate of 10⁷ wants very many
    x0 = torch.tensor([[-1.0], [-2.0], [-3.0]], dtype=F64, requires_grad=True)
    schedules = [Schedule(), Schedule((Dose("x1", 0.5, 4.0),)), Schedule()]
    times = [[1.0, 3.0]] * 3
    done = integrate(model, schedules, times, NOBODY, x0, solver=solver, mesh=mesh)
    assert [f.record for f in done.failures] == [1]
    assert 0.5 <= done.failures[0].time <= 3.0
    assert "not finite" in str(done.failures[0]) or "steps were not enough" in str(done.failures[0])
    assert done.states[:, 1].isnan().all()
    kept = done.states[:, [0, 2]]
    want = torch.tensor([-1.0, -3.0], dtype=F64)[:, None] * torch.tensor([-1.0, -3.0], dtype=F64).exp()
    torch.testing.assert_close(kept[0, :, :, 0].detach(), want, rtol=1e-4, atol=1e-5)
    kept.sum().backward()
    assert x0.grad is not None
    assert torch.isfinite(x0.grad).all()
    assert x0.grad[1] == 0.0
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    with pytest.raises(SimulationError, match="record 1: ") as caught:
        simulate(model, schedules, times, NOBODY, x0, solver=solver, mesh=mesh)
    assert [f.record for f in caught.value.failures] == [1]


def test_a_number_that_is_not_finite_names_its_record() -> None:
    for bad in (float("nan"), float("inf")):
        for solver in (RungeKutta(), Exponential(), RungeKutta(rtol=1e-5), Exponential(rtol=1e-5)):
            x0 = torch.tensor([[1.0, 1.0], [bad, 1.0]], dtype=F64)
            mesh = Mesh(0.1)
            done = integrate(loop(), [schedule()] * 2, [TIMES] * 2, NOBODY, x0, c=LATENT, solver=solver, mesh=mesh)
            assert [(f.record, f.time) for f in done.failures] == [(1, 0.0)]
            assert torch.isfinite(done.states[:, 0]).all()


def test_steps_that_do_not_suffice_are_said() -> None:
    stiff = HybridModel(
        LinearBackbone([[-1e6]]),
        SharedPopulation(),
        observation=States([0], ["y"], ["1"]),
        noise=AdditiveProportional([0.1], [0.1], [0.01]),
    )
    with pytest.raises(SimulationError, match=r"50 steps were not enough.*use Exponential") as caught:
        simulate(stiff, Schedule(), [10.0], NOBODY, START[:1], solver=RungeKutta(rtol=1e-6, max_steps=50))
    assert caught.value.time < 10.0


def test_a_rollout_returns_who_went_well() -> None:
    model = oral()
    people = [Schedule((Dose("gut", 0.0, 300.0),))] * 3
    from hybrid import conditions_of

    conditions = conditions_of(model, people, [[1.0, 4.0]] * 3, mesh=Mesh(0.5))
    personal = torch.zeros(1, 3, 3, dtype=F64)
    personal[0, 1, 0] = float("nan")
    run = rollout(model, conditions, personal, on_failure="return")
    assert [f.record for f in run.failures] == [1]
    assert torch.isfinite(run.mean[:, [0, 2]]).all()
    with pytest.raises(SimulationError, match="record 1"):
        rollout(model, conditions, personal)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: RungeKutta("rk5"), "method is one of"),
        (lambda: RungeKutta("rk4", rtol=1e-3), "no error estimate"),
        (lambda: RungeKutta(atol=1e-3), "atol goes with rtol"),
        (lambda: Exponential(rtol=0.0), "positive"),
        (lambda: Exponential(rtol=1e-3, atol=-1.0), "positive"),
        (lambda: RungeKutta(chunk=0), "chunk at least 1"),
        (lambda: Dose("x1", 0.0, 1.0).repeated(0, 1.0), "how many doses in all, must be at least 1"),
        (lambda: Dose("x1", 0.0, 1.0, lag=-1.0), "lag must be at least 0, and is -1"),
    ],
)
def test_what_is_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


def test_reading_inside_needs_a_solver_that_can() -> None:
    with pytest.raises(ValueError, match="cut the records at their observations"):
        run(loop(), Torchdiffeq("rk4"), Mesh(0.1, observed=False))


def test_repeated_doses_and_lags_are_the_same_as_written_out() -> None:
    model = oral()
    theta = torch.tensor([1.5, 0.09, 30.0], dtype=F64)
    short = Schedule(Dose("gut", 0.0, 100.0, lag=0.5).repeated(3, 4.0))
    long = Schedule(tuple(Dose("gut", t + 0.5, 100.0) for t in (0.0, 4.0, 8.0)))
    with torch.no_grad():
        pair = [simulate(model, s, [0.5, 4.4, 12.0], theta, torch.zeros(2)) for s in (short, long)]
    torch.testing.assert_close(*pair, rtol=1e-13, atol=1e-12)
    assert replace(short.doses[0], time=1.0).arrival == 1.5
