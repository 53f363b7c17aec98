"""Derivatives that are asked for are there: second ones, those of torch.func, those after a validation, and torchdiffeq's."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torchdiffeq
from torch import Tensor
from torch.autograd import forward_ad

import hybrid.solve.plain_march
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
    rollout,
    simulate,
)
from hybrid.derivative import constant, mapped, varies
from hybrid.solve.schemes.tableau import TABLEAUS
from hybrid.solve.torchdiffeq_solver import ADAPTIVE, FIXED
from learned import MLP, AdditiveProportional, DiagonalDiffusion, Ensemble, Residual
from learned.bent import Bent
from physics import LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from training import Cohort, Record, Search, fit, fit_population, gaussian_nll, personalise, shoot

F64 = torch.float64
# torch's own rules of forward mode are written with what torch deprecates
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


# ---- models


def oral(residual: bool = True, **more: Any) -> HybridModel:
    backbone = OneCompartmentOral()
    learned = MLP(2, hidden=(4,), separable=True, state_scale=200.0, rate_scale=0.05) if residual else None
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.6, 0.2, 0.2]),
        learned,
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.5], [0.1], [0.03]),
        **more,
    )


class Hidden(Residual):
    """The same function as a layered residual, without its layers: its steps are plain operations."""

    def __init__(self, inner: MLP) -> None:
        super().__init__()
        self.states, self.inputs, self.covariates = inner.states, inner.inputs, inner.covariates
        self.vanishes_at_origin = inner.vanishes_at_origin
        self.inner = inner

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return self.inner(x, u, c)

    def reset(self, generator: torch.Generator) -> None:
        return None

    def config(self) -> dict[str, object]:
        return {}


def driven(members: int, activation: str, layered: bool, personal: bool) -> HybridModel:
    """Two states, one input and one latent; θ of everyone's own where it is `personal`."""
    states, inputs = (2, 0) if personal else (2, 1)
    residual = MLP(
        states,
        inputs,
        0 if personal else 1,
        (5, 4),
        activation,  # type: ignore[arg-type]
        state_scale=2.0,
        rate_scale=2.0,
        generator=torch.Generator().manual_seed(7),
    )
    own = OneCompartmentOral()
    linear = LinearBackbone([[-0.7, 0.4], [-0.5, -1.1]], [[0.6], [-0.2]])
    model = HybridModel(
        own if personal else linear,
        LogNormalPopulation(own.physical, [0.5, 0.3, 0.3]) if personal else SharedPopulation(),
        residual,
        observation=States([0, 1], ["a", "b"], ["mg" if personal else "1"] * 2),
        noise=AdditiveProportional([0.1] * 2, [0.1] * 2, [0.01] * 2),
        latents=0 if personal else 1,
    )
    if members > 1:
        model = Ensemble(members).stack(model, torch.Generator().manual_seed(3))
    with torch.no_grad():
        model.residual.weights[-1].mul_(3.0)  # type: ignore[index, union-attr]
    if not layered:
        model.residual = Hidden(model.residual)  # type: ignore[arg-type]
    return model


# ---- second derivatives

SECOND = [
    *((f"{m} on a mesh", lambda m=m: RungeKutta(m), Mesh(0.1)) for m in TABLEAUS),
    ("bosh3 to a tolerance", lambda: RungeKutta("bosh3", rtol=1e-6), Mesh()),
    *((f"{m} to a tolerance", lambda m=m: RungeKutta(m, rtol=1e-8), Mesh()) for m in ("tsit5", "dopri5")),
    ("Exponential on a mesh", Exponential, Mesh(0.5)),
    ("Exponential to a tolerance", lambda: Exponential(rtol=1e-8), Mesh()),
    ("the default", lambda: None, None),
    ("torchdiffeq's rk4", Torchdiffeq, Mesh(0.1)),
    ("torchdiffeq's dopri5", lambda: Torchdiffeq("dopri5", 1e-6, 1e-8), Mesh()),
]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("make", "mesh"), [s[1:] for s in SECOND], ids=[s[0] for s in SECOND])
def test_the_second_derivative_is_batemans(make: Callable[[], Solver | None], mesh: Mesh | None, residual: bool) -> None:
    """d²x/dke² of the plasma amount; the residual has layers, and its last weights are 0."""
    ka, t, amount = 1.2, 5.0, 200.0
    k = tensor(0.1)[0].requires_grad_()
    closed = amount * ka / (ka - k) * (torch.exp(-k * t) - math.exp(-ka * t))
    (first,) = torch.autograd.grad(closed, k, create_graph=True)
    (second,) = torch.autograd.grad(first, k)
    assert second.item() == pytest.approx(2323.1529, rel=1e-7)
    model = oral(residual)
    if residual:
        with torch.no_grad():
            model.residual.weights[-1].zero_()  # type: ignore[index, union-attr]
    theta = tensor(ka, 0.1, 30.0).requires_grad_()
    given = Schedule((Dose("gut", 0.0, amount),))
    solver = make()
    x = simulate(model, given, [t], theta, torch.zeros(2), solver=solver, mesh=mesh)[0, 1]
    (have,) = torch.autograd.grad(x, theta, create_graph=True)
    near = 2e-4 if isinstance(solver, RungeKutta) and solver.method == "bosh3" else 1e-5
    assert have[1].item() == pytest.approx(first.item(), rel=near)
    assert torch.autograd.grad(have[1], theta)[0][1].item() == pytest.approx(second.item(), rel=near)


def leaves(model: HybridModel, personal: bool) -> dict[str, Tensor]:
    found = {"x0": tensor(0.8, -0.3), "amount": tensor(0.5)[0], "time": tensor(0.6)[0], "long": tensor(0.4)[0]}
    if personal:
        found["theta"] = tensor(1.2, 0.2, 10.0)
    else:
        found["c"] = tensor(0.3)
    return {k: v.requires_grad_() for k, v in found.items()} | {
        f"w{i}": p for i, p in enumerate(p for p in model.residual.parameters() if p.numel())
    }


def value(model: HybridModel, given: dict[str, Tensor], personal: bool, solver: Solver, mesh: Mesh) -> Tensor:
    states = ("gut", "plasma") if personal else ("x1", "x2")
    doses = (
        Dose(states[0], given["time"], given["amount"]),
        Dose(states[1], 0.3, 0.7 * given["amount"], duration=given["long"]),
    )
    inputs = {} if personal else {"u1": Signal([0.0, 1.0, 2.0], [0.0, 1.0, 0.5], "linear")}
    schedules = [Schedule(doses, inputs), Schedule(doses[1:], inputs)]
    theta = given.get("theta", torch.zeros(0, dtype=F64))
    times = [[0.5, 1.3], [0.2, 0.9, 1.1]]
    run = simulate(model, schedules, times, theta, given["x0"], c=given.get("c"), solver=solver, mesh=mesh)
    return torch.sin(run).sum()


def second_of(model: HybridModel, personal: bool, solver: Solver, mesh: Mesh) -> list[Tensor]:
    """The derivative of the gradient along one direction: every pair of leaves meets in it."""
    given = leaves(model, personal)
    first = torch.autograd.grad(value(model, given, personal, solver, mesh), list(given.values()), create_graph=True)
    along = sum((g * torch.cos(torch.arange(g.numel(), dtype=F64)).view_as(g)).sum() for g in first)
    return list(torch.autograd.grad(along, list(given.values())))


@pytest.mark.parametrize("personal", [False, True])
@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize(
    ("make", "activation"),
    [
        (lambda: RungeKutta("tsit5"), "tanh"),
        (lambda: RungeKutta("rk4"), "silu"),
        (lambda: RungeKutta("bosh3", rtol=3e-2), "gelu"),
        (Exponential, "softplus"),
        (lambda: Exponential(chunk=2), "tanh"),
    ],
    ids=["tsit5", "rk4", "bosh3 rtol", "exponential", "exponential in chunks"],
)
def test_second_derivatives_of_layered_steps_are_those_of_plain_ones(
    make: Callable[[], Solver], activation: str, observed: bool, members: int, personal: bool
) -> None:
    mesh = Mesh(0.4, observed=observed)
    have, want = (second_of(driven(members, activation, layer, personal), personal, make(), mesh) for layer in (True, False))
    for a, b in zip(have, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_a_gradient_penalty_trains() -> None:
    model, solver = driven(1, "tanh", True, False), RungeKutta()
    penalty = []
    optimiser = torch.optim.Adam(model.residual.parameters(), lr=0.02)
    for _ in range(8):  # the buffers come back every time
        x0 = tensor(0.8, -0.3).requires_grad_()
        end = simulate(model, Schedule(inputs=SIGNAL), [2.0], NOBODY, x0, c=tensor(0.3), solver=solver, mesh=Mesh(0.25))
        (slope,) = torch.autograd.grad(end.sum(), x0, create_graph=True)
        optimiser.zero_grad()
        slope.square().sum().backward()
        optimiser.step()
        penalty.append(float(slope.detach().square().sum()))
    assert penalty[-1] < 0.7 * penalty[0]


SIGNAL = {"u1": Signal([0.0, 2.0], [1.0, 1.0])}
NOBODY = torch.zeros(0, dtype=F64)


def test_a_first_derivative_after_a_second_one_is_as_before() -> None:
    model, solver = driven(1, "tanh", True, False), RungeKutta()

    def end(x0: Tensor) -> Tensor:
        return simulate(model, Schedule(inputs=SIGNAL), [2.0], NOBODY, x0, c=tensor(0.3), solver=solver, mesh=Mesh(0.25)).sum()

    x0 = tensor(0.8, -0.3).requires_grad_()
    y = end(x0)
    (want,) = torch.autograd.grad(y, x0, retain_graph=True)
    (twice,) = torch.autograd.grad(y, x0, create_graph=True)
    (after,) = torch.autograd.grad(y, x0)
    (fresh,) = torch.autograd.grad(end(x0), x0)
    for have in (twice, after, fresh):
        torch.testing.assert_close(have, want, rtol=1e-12, atol=0.0)


def test_who_has_no_second_derivatives_says_what_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hybrid.solve.plain_march.torch, "compile", lambda step, **_: step)
    hidden = driven(1, "tanh", False, False)
    cases = [
        (hidden, RungeKutta(compiled=True), "without compiled=True"),
        (hidden, Torchdiffeq("dopri5", adjoint=True), "without adjoint=True"),
    ]
    for model, solver, words in cases:
        x0 = tensor(0.8, -0.3).requires_grad_()
        y = simulate(model, Schedule(inputs=SIGNAL), [1.0], NOBODY, x0, c=tensor(0.3), solver=solver, mesh=Mesh(0.5)).sum()
        torch.autograd.grad(y, x0, retain_graph=True)
        with pytest.raises(RuntimeError, match=words):
            torch.autograd.grad(y, x0, create_graph=True)


def test_the_bend_of_a_contracting_residual_twice() -> None:
    Z = torch.randn(2, 3, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    Z[1] = 0.2 * torch.eye(3, dtype=F64)  # three equal eigenvalues

    def bent(z: Tensor) -> Tensor:
        found: Tensor = Bent.apply(z + z.mT, 0.3)[0]
        return found

    Z.requires_grad_()
    assert torch.autograd.gradcheck(bent, Z)
    assert torch.autograd.gradgradcheck(bent, Z)
    for z in Z.detach():
        weight = torch.arange(9, dtype=F64).view(3, 3).cos()
        scalar = lambda v, w=weight: (w * bent(v)).sum()  # noqa: E731
        want = torch.autograd.functional.hessian(scalar, z)
        torch.testing.assert_close(torch.func.hessian(scalar)(z), want, rtol=1e-10, atol=1e-12)


# ---- torch.func

Z0 = tensor(1.2, 0.1, 30.0, 3.0, 1.0, 200.0, 50.0, 0.3)
FUNC = [
    ("rk4", lambda: RungeKutta("rk4"), Mesh(0.8)),
    ("tsit5 inside", lambda: RungeKutta("tsit5"), Mesh(0.8, observed=False)),
    ("exponential inside", Exponential, Mesh(1.0, observed=False)),
    ("exponential to a tolerance", lambda: Exponential(rtol=3e-2, atol=1.0), Mesh()),
]


def asked_of(model: HybridModel, solver: Solver, mesh: Mesh) -> Callable[[Tensor], Tensor]:
    def f(z: Tensor) -> Tensor:
        doses = (Dose("gut", 0.0, z[5], lag=z[7]), Dose("plasma", 1.0, z[6], duration=0.5))
        run = simulate(model, Schedule(doses), [0.7, 2.0], z[:3], z[3:5], solver=solver, mesh=mesh)
        return (run / 100.0).square().sum()

    return f


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("make", "mesh"), [s[1:] for s in FUNC], ids=[s[0] for s in FUNC])
def test_transforms_of_torch_func(make: Callable[[], Solver], mesh: Mesh, residual: bool) -> None:
    f = asked_of(oral(residual), make(), mesh)
    z = Z0.clone().requires_grad_()
    (first,) = torch.autograd.grad(f(z), z, create_graph=True)
    hessian = torch.stack([torch.autograd.grad(g, z, retain_graph=True)[0] for g in first])
    gradient = first.detach()
    close = lambda have, want: torch.testing.assert_close(have, want, rtol=1e-9, atol=1e-12)  # noqa: E731
    close(torch.func.grad(f)(Z0), gradient)
    close(torch.func.jacfwd(f)(Z0), gradient)
    close(torch.func.hessian(f)(Z0), hessian)
    along = 0.1 * Z0
    with forward_ad.dual_level():
        close(forward_ad.unpack_dual(f(forward_ad.make_dual(Z0, along))).tangent, gradient @ along)


def test_a_linear_model_is_mapped_by_default() -> None:
    """One exact step a segment: there is no tolerance, and so nothing that vmap hides."""
    backbone = OneCompartmentOral()
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone, spread={"ka": 0.6, "ke": 0.2, "V": 0.2}),
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([0.5], [0.1], [0.03]),
    )
    theta = torch.tensor([[1.5, 0.086, 31.5], [0.7, 0.1, 20.0]], dtype=torch.float64)
    given = Schedule((Dose("gut", 0.0, 320.0),))

    def plasma(theta: Tensor) -> Tensor:
        return simulate(model, given, [6.0], theta, torch.zeros(2, dtype=torch.float64))[0, 1]

    ka, ke = theta[:, 0], theta[:, 1]
    bateman = 320.0 * ka / (ka - ke) * (torch.exp(-6.0 * ke) - torch.exp(-6.0 * ka))
    torch.testing.assert_close(torch.func.vmap(plasma)(theta), bateman)
    torch.func.vmap(torch.func.hessian(plasma))(theta)


def test_vmap_and_functional_call() -> None:
    model, solver = oral(), Exponential()
    many = torch.stack([Z0[:3], Z0[:3] * tensor(1.1, 0.8, 1.2)])
    amounts = tensor(100.0, 250.0)

    def f(theta: Tensor, amount: Tensor) -> Tensor:
        given = Schedule((Dose("gut", 0.0, amount),))
        return simulate(model, given, [1.0, 4.0], theta, torch.zeros(2), solver=solver, mesh=Mesh(1.0))

    want = torch.stack([f(t, a) for t, a in zip(many, amounts, strict=True)])
    torch.testing.assert_close(torch.func.vmap(f)(many, amounts), want, rtol=1e-12, atol=1e-12)
    slopes = torch.func.vmap(torch.func.jacrev(f))(many, amounts)
    want = torch.stack(
        [torch.autograd.functional.jacobian(lambda t, a=a: f(t, a), t) for t, a in zip(many, amounts, strict=True)]
    )
    torch.testing.assert_close(slopes, want, rtol=1e-10, atol=1e-12)

    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self) -> Tensor:
            return f(many[0], amounts[0]).square().sum()

    loss, held = Loss(), dict(model.named_parameters())
    for p in held.values():
        p.grad = None
    loss().backward()
    found = torch.func.grad(lambda p: torch.func.functional_call(loss, p))({f"model.{k}": v for k, v in held.items()})
    for name, p in held.items():
        grad = torch.zeros_like(p) if p.grad is None else p.grad
        torch.testing.assert_close(found[f"model.{name}"], grad, rtol=1e-9, atol=1e-9)


def test_what_a_transform_cannot_have_is_one_sentence() -> None:
    model = oral()
    many = torch.stack([Z0[:3], 1.1 * Z0[:3]])
    given = Schedule((Dose("gut", 0.0, 100.0),))

    def f(theta: Tensor, solver: Solver, mesh: Mesh | None = None) -> Tensor:
        return simulate(model, given, [4.0], theta, torch.zeros(2), solver=solver, mesh=mesh)

    with pytest.raises(ValueError, match=r"vmap hides; give the batch as people or members .* solver=Exponential\(\)"):
        torch.func.vmap(lambda t: f(t, Exponential(rtol=1e-6)))(many)
    with pytest.raises(ValueError, match="hides when a dose comes"):
        torch.func.vmap(lambda t: Dose("gut", t, 1.0))(tensor(1.0, 2.0))
    with pytest.raises(ValueError, match="rk4 becomes unstable"):
        torch.func.vmap(lambda t: f(t, RungeKutta("rk4"), Mesh(4.0)))(many)
    for solver in (Torchdiffeq("dopri5"), Torchdiffeq("dopri5", adjoint=True)):
        with pytest.raises(ValueError, match="does not go with this transform"):
            torch.func.grad(lambda t, s=solver: f(t, s).sum())(many[0])
    with pytest.raises(ValueError, match="scipy_solver runs in numpy"):
        f(many[0].clone().requires_grad_(), Torchdiffeq("scipy_solver"))


def test_what_varies_is_seen_at_every_level() -> None:
    other = tensor(1.0, 2.0)
    seen: list[tuple[bool, ...]] = []

    def look(x: Tensor) -> Tensor:
        seen.append((varies(x), varies(2.0 * x), varies(other), varies(torch.ones(2)), varies(2.0 * other)))
        with constant():
            assert not torch._C._functorch.is_functorch_wrapped_tensor(torch.ones(2))
        return (x * other).sum()

    f = torch.func
    for asked in (f.grad(look), f.jacfwd(look), f.hessian(look), f.jacrev(f.jacfwd(look)), f.jacfwd(f.jacfwd(look))):
        asked(other.clone())
    f.vmap(look)(torch.ones(3, 2))
    assert set(seen) == {(True, True, False, False, False)}
    assert not mapped(other)
    assert not varies(other)


def test_process_noise_under_a_transform(people: tuple[Record, ...]) -> None:
    model = oral(process=DiagonalDiffusion([1.0, 1.0]))
    cohort = Cohort.of(people[:1], model, Mesh(0.65, 0.2, 0.5))

    def f(own: Tensor) -> Tensor:
        run = rollout(model, cohort.conditions, own[None, None], RungeKutta("rk4"))
        return gaussian_nll(cohort.y, run.mean, run.variance).sum()

    own = tensor(0.3, -0.2, 0.1)
    want = torch.autograd.functional.jacobian(f, own)
    torch.testing.assert_close(torch.func.grad(f)(own), want, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.func.jacfwd(f)(own), want, rtol=1e-9, atol=1e-9)


# ---- between calls

KEPT = [
    ("rk4", lambda: RungeKutta("rk4"), Mesh(0.5)),
    ("tsit5 inside", RungeKutta, Mesh(0.5, observed=False)),
    ("bosh3 to a tolerance", lambda: RungeKutta("bosh3", rtol=1e-3), Mesh(observed=False)),
    ("exponential", Exponential, Mesh(0.5)),
    ("exponential inside", Exponential, Mesh(0.5, observed=False)),
    ("exponential in chunks", lambda: Exponential(chunk=2), Mesh(0.5)),
    ("exponential to a tolerance", lambda: Exponential(rtol=1e-3), Mesh()),
    ("torchdiffeq", lambda: Torchdiffeq("rk4"), Mesh(0.5)),
    ("torchdiffeq by the adjoint", lambda: Torchdiffeq("dopri5", 1e-3, adjoint=True), Mesh()),
]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("off", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize(("make", "mesh"), [s[1:] for s in KEPT], ids=[s[0] for s in KEPT])
def test_training_after_a_validation_with_the_same_solver(
    make: Callable[[], Solver], mesh: Mesh, off: Callable[[], AbstractContextManager[None]], shared: bool
) -> None:
    """Either order, in batches of other sizes, in float32 in between; one A for all, and a segment's own tables."""
    from hybrid import conditions_of
    from hybrid.solve.schemes.tableau import constants

    constants.cache_clear()
    model = driven(1, "tanh", True, personal=not shared)
    inputs = SIGNAL if shared else {}
    where = "x1" if shared else "gut"

    def conditions(people: int) -> Any:
        given = [Schedule((Dose(where, 0.0, 1.0 + i),), inputs) for i in range(people)]
        return conditions_of(model, given, [[0.7, 2.0]] * people, mesh=mesh)

    def run(own: HybridModel, given: Any, solver: Solver) -> Tensor:
        personal = torch.zeros(1, given.size, own.personal, dtype=own.dtype)
        return rollout(own, given, personal, solver).mean

    def trained(given: Any, solver: Solver) -> list[Tensor]:
        model.zero_grad(set_to_none=True)
        run(model, given, solver).square().sum().backward()
        return [p.grad.clone() for p in model.residual.parameters() if p.grad is not None]

    want = trained(conditions(2), make())
    solver, two = make(), conditions(2)
    for _ in range(2):
        with off():
            seen = run(model, two, solver)
            run(model, conditions(3), solver)
        with off():
            single = replace(two).to(torch.zeros((), dtype=torch.float32))
            run(driven(1, "tanh", True, personal=not shared).to(torch.float32), single, solver)
        for have, right in zip(trained(two, solver), want, strict=True):
            torch.testing.assert_close(have, right, rtol=1e-9, atol=1e-12)
    assert torch.equal(run(model, two, make()).detach(), seen.clone())


def test_a_validation_may_personalise(people: tuple[Record, ...], model: HybridModel) -> None:
    cohort = Cohort.of(people[:2], model, Mesh(0.65, 0.2, 0.5))
    solver = RungeKutta("rk4")
    want = personalise(model, cohort, solver=RungeKutta("rk4"))
    with torch.inference_mode():
        found = personalise(model, cohort, solver=solver)
    assert torch.equal(found.mode, want.mode)
    own = torch.zeros(1, 2, 3, dtype=F64)
    rollout(model, cohort.conditions, own, solver).mean.sum().backward()


@pytest.mark.parametrize("make", [RungeKutta, Exponential], ids=["tsit5", "exponential"])
def test_threads_may_share_a_solver(make: Callable[[], Solver]) -> None:
    """Four threads, one solver, each with its own amounts: everybody's gradient is their own."""
    model, solver = driven(1, "tanh", True, False), make()
    found: dict[int, list[Tensor]] = {i: [] for i in range(4)}

    def gradient(i: int, one: Solver) -> Tensor:
        x0 = tensor(0.1 * i, 1.0).requires_grad_()
        run = simulate(model, Schedule(inputs=SIGNAL), [1.0], NOBODY, x0, c=tensor(0.3), solver=one, mesh=Mesh(0.25))
        return torch.autograd.grad(run.square().sum(), x0)[0]

    def work(i: int) -> None:
        for _ in range(6):
            found[i].append(gradient(i, solver))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for i, gradients in found.items():
        want = gradient(i, make())
        assert len(gradients) == 6
        for have in gradients:
            torch.testing.assert_close(have, want, rtol=1e-12, atol=0.0)


# ---- torchdiffeq


def test_every_method_of_torchdiffeq_is_offered() -> None:
    from torchdiffeq._impl.odeint import SOLVERS

    assert torchdiffeq.odeint is not None
    assert {*FIXED, *ADAPTIVE} == set(SOLVERS)
    with pytest.raises(ValueError, match="method is one of"):
        Torchdiffeq("leapfrog")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 or more"):
        Torchdiffeq("dopri5", steps=2)


def ways() -> Iterator[tuple[str, bool]]:
    for method in (*FIXED, *ADAPTIVE):
        for adjoint in (False, True):
            if adjoint or method != "scipy_solver":
                yield method, adjoint


LOOSE = {"euler": 1.0, "midpoint": 0.05, "heun2": 0.05, "fehlberg2": 0.05, "adaptive_heun": 0.05, "bosh3": 0.02}


def two_early_times(people: tuple[Record, ...]) -> tuple[HybridModel, Cohort]:
    model, mesh = oral(), Mesh(0.25, 0.05, 0.5)
    return model, Cohort.of([replace(r, times=r.times[:2], values=r.values[:2]) for r in people[:2]], model, mesh)


def gradients(model: HybridModel, cohort: Cohort, solver: Solver) -> list[Tensor]:
    model.zero_grad(set_to_none=True)
    run = rollout(model, cohort.conditions, tensor(0.1, -0.2, 0.1).expand(1, 2, 3), solver)
    gaussian_nll(cohort.y, run.mean, run.variance).sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None and p.numel()]


@pytest.fixture(scope="module")
def ours(people: tuple[Record, ...]) -> tuple[list[Tensor], Tensor]:
    """The gradient and the loss after two steps by our own solvers."""
    model, cohort = two_early_times(people)
    step = [*fit(model, cohort, search=Search(steps=2, solver=RungeKutta("rk4")))][-1]
    return gradients(model, cohort, RungeKutta("dopri5", rtol=1e-7)), step.loss


@pytest.mark.parametrize(("method", "adjoint"), list(ways()))
def test_every_method_of_torchdiffeq_trains(
    method: Any, adjoint: bool, people: tuple[Record, ...], ours: tuple[list[Tensor], Tensor]
) -> None:
    """Its gradient is ours, and two steps of `fit` end where ours do. MLP without covariates: some weights are empty."""
    model, cohort = two_early_times(people)
    solver = Torchdiffeq(method, 1e-3, 1e-3, adjoint=adjoint)
    tolerance = LOOSE.get(method, 1e-2)
    want_gradients, want_loss = ours
    for have, want in zip(gradients(model, cohort, solver), want_gradients, strict=True):
        torch.testing.assert_close(have, want, rtol=tolerance, atol=tolerance * float(want.abs().max()))
    have_step = [*fit(model, cohort, search=Search(steps=2, solver=solver))][-1]
    torch.testing.assert_close(have_step.loss, want_loss, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_the_adjoint_trains_windows_and_populations(method: Any, people: tuple[Record, ...]) -> None:
    model, mesh = oral(), Mesh(0.5, 0.1, 0.5)
    cohort = Cohort.of([replace(r, times=r.times[:2], values=r.values[:2]) for r in people[:1]], model, mesh)
    solvers = (Torchdiffeq(method, 1e-3, 1e-3, adjoint=True), RungeKutta("rk4"))
    have, want = (
        [*shoot(model, cohort, search=Search(steps=3, solver=s), count=2, rounds=1, polish=1)][-1] for s in solvers
    )
    torch.testing.assert_close(have.loss, want.loss, rtol=1e-2, atol=1e-2)
    one, other = ([*fit_population(model, cohort, search=Search(steps=2, solver=s))][-1] for s in solvers)
    torch.testing.assert_close(one.loss, other.loss, rtol=1e-2, atol=1e-2)


@pytest.mark.filterwarnings("ignore:Functional iteration did not converge")  # torchdiffeq's: it takes four rounds at most
@pytest.mark.parametrize(("method", "steps"), [("explicit_adams", (0.125, 0.0625)), ("implicit_adams", (0.5, 0.25))])
def test_adams_steps_inside_a_segment(method: Any, steps: tuple[float, float]) -> None:
    """The declared order is that of the first multistep step in a segment; fewer steps in it are less accurate."""
    model, theta = oral(False), tensor(1.2, 0.1, 30.0)

    def end(solver: Solver, mesh: Mesh | None) -> np.ndarray:
        run = simulate(model, Schedule(), [4.0], theta, tensor(200.0, 0.0), solver=solver, mesh=mesh)
        return run[-1].numpy()

    exact = end(Exponential(rtol=1e-10), None)
    solver = Torchdiffeq(method, 1e-11, 1e-11)
    errors = [np.abs(end(solver, Mesh(step)) - exact).max() for step in steps]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(solver.order, abs=0.5)
    assert np.abs(end(replace(solver, steps=5), Mesh(steps[0])) - exact).max() > errors[0]
    fast = tensor(4.0, 0.1, 30.0)
    with pytest.raises(SimulationError, match="becomes unstable"):
        simulate(model, Schedule(), [4.0], fast, tensor(200.0, 0.0), solver=solver, mesh=Mesh(20.0))
