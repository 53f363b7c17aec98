"""One right-hand side: the field is the sum of its terms for everyone who asks, whoever wrote them."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from exchange.bundle.structures import BUILTIN, describe, rebuild
from hybrid import (
    BoundTerm,
    Dose,
    Exponential,
    HybridModel,
    Mesh,
    Rollout,
    RungeKutta,
    Schedule,
    Signal,
    Solver,
    States,
    Term,
    Torchdiffeq,
    conditions_of,
    field_spread,
    predict,
    rollout,
    sample_paths,
    simulate,
)
from learned import MLP, AdditiveProportional, DiagonalDiffusion, Ensemble, Residual, check_residual
from physics import LinearBackbone, SharedPopulation
from tests.builders import MESH, oral_model, oral_of, oral_people
from training import Cohort, Objective, Search, Stability, fit, last, residual_share

F64 = torch.float64


class Saturable(Term):
    """−v x/(k + x) of the second state, beside what the backbone eliminates; v in amount/h for a V of 50 L."""

    def __init__(self, v: float, k: float) -> None:
        super().__init__()
        self.v, self.k = v, k

    def at(self, theta: Tensor, c: Tensor) -> BoundTerm:
        v = self.v * theta[..., 2] / 50.0
        return BoundTerm(lambda x, u: torch.stack([torch.zeros_like(x[..., 1]), -v * x[..., 1] / (self.k + x[..., 1])], -1))

    def config(self) -> dict[str, Any]:
        return {"v": self.v, "k": self.k}


class Sees(Residual):
    """ε = (0, a tanh(x₂/100) ke): no layers, and it sees θ."""

    sees_theta = True

    def __init__(self, states: int = 2, inputs: int = 0, covariates: int = 0) -> None:
        super().__init__()
        self.states, self.inputs, self.covariates, self.vanishes_at_origin = states, inputs, covariates, True
        self.a = nn.Parameter(torch.full((1, 1), -20.0, dtype=F64))

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        ke = c[..., self.covariates + 1]
        rate = self.a[:, :, None][..., 0] * torch.tanh(x[..., 1] / 100.0) * ke
        return torch.stack([torch.zeros_like(rate), rate], -1)

    def reset(self, generator: torch.Generator) -> None:
        with torch.no_grad():
            self.a.copy_(-20.0 + torch.rand(self.a.shape, generator=generator, dtype=F64))

    def config(self) -> dict[str, Any]:
        return {"states": self.states, "inputs": self.inputs, "covariates": self.covariates}


def by_scipy(theta: Tensor, dose: float, times: list[float], beside: Any) -> np.ndarray:
    ka, ke, V = theta.tolist()

    def rate(t: float, x: np.ndarray) -> list[float]:
        return [-ka * x[0], ka * x[0] - ke * x[1] + beside(x[1], ke, V)]

    found = solve_ivp(rate, (0.0, times[-1]), [dose, 0.0], t_eval=times, rtol=1e-11, atol=1e-11, method="LSODA")
    return found.y.T


TIMES = [0.5, 2.0, 6.0, 12.0]


@cache
def of_kind(kind: str, theta: tuple[float, ...]) -> np.ndarray:
    """320 mg with the known term, the one that sees θ, or both, by scipy."""

    def beside(x: float, ke: float, V: float) -> float:
        saturable = -12.0 * V / 50.0 * x / (40.0 + x) if kind != "sees" else 0.0
        return saturable + (-20.0 * np.tanh(x / 100.0) * ke if kind != "known" else 0.0)

    return by_scipy(torch.tensor(theta, dtype=F64), 320.0, TIMES, beside)


BY_ERROR = [Exponential(rtol=1e-8), RungeKutta("tsit5", rtol=1e-8), Torchdiffeq("dopri5", 1e-9, 1e-9)]
ALL = [*BY_ERROR, RungeKutta("rk4"), Exponential()]


@pytest.mark.parametrize("solver", ALL, ids=lambda s: f"{type(s).__name__}-{s.order}-{s.adaptive}")
@pytest.mark.parametrize("kind", ["known", "sees", "both"])
def test_a_term_of_ones_own_is_integrated_as_scipy_integrates_it(solver: Solver, kind: str) -> None:
    model = oral_of(Sees() if kind != "known" else None, known=(Saturable(12.0, 40.0),) if kind != "sees" else ())

    schedule = Schedule(doses=(Dose("gut", 0.0, 320.0),))
    mesh = Mesh() if solver.adaptive else Mesh(0.04, 0.01, 0.5)
    given = conditions_of(model, [schedule] * 2, [TIMES] * 2, mesh=mesh)
    personal = torch.tensor([[[0.0, 0.0, 0.0], [0.5, -0.4, 0.3]]], dtype=F64)
    with torch.no_grad():
        run = rollout(model, given, personal, solver)
    for i in range(2):
        np.testing.assert_allclose(run.states[0, i], of_kind(kind, tuple(run.theta[0, i].tolist())), rtol=2e-6, atol=1e-6)


def models() -> dict[str, HybridModel]:
    g = torch.Generator().manual_seed(0)
    backbone = LinearBackbone([[-1.0, 0.2], [0.0, -0.5]], [[1.0], [0.3]])
    driven = {"observation": States(["x1", "x2"]), "noise": AdditiveProportional([0.1] * 2, [0.1] * 2, [0.01] * 2), "latents": 1}
    bent = MLP(2, 1, 1, (4,), activation="gelu")
    found = {
        "alone": oral_of(),
        "layers": oral_model(),
        "driven": HybridModel(backbone, SharedPopulation(), bent, **driven),
        "sees": oral_of(Sees()),
        "known": oral_of(MLP(2, hidden=(4,), activation="silu"), known=(Saturable(12.0, 40.0),)),
        "all": oral_of(Sees(), known=(Saturable(12.0, 40.0), Saturable(3.0, 9.0))),
    }
    return {name: Ensemble(2).stack(model, g) for name, model in found.items()}


@pytest.mark.parametrize("name", list(models()))
def test_the_field_is_the_sum_of_its_terms_for_every_asker(name: str) -> None:
    model = models()[name]
    g = torch.Generator().manual_seed(1)
    M, N, n, m, T = model.members, 3, 2, len(model.backbone.inputs), 4
    personal = 0.3 * torch.randn(M, N, model.personal, generator=g, dtype=F64)
    theta, c = model.theta(personal, {}), model.context(personal, {})
    x, u = 50.0 * torch.rand(M, N, n, generator=g, dtype=F64), torch.rand(1, N, m, generator=g, dtype=F64)
    terms = model.at(theta, c)
    with torch.no_grad():
        parts, rate, J = terms.parts(x, u), terms.rate(x, u), terms.jacobian(x, u)
        A, B = model.backbone.matrices(theta)
        plain = (A @ x[..., None])[..., 0] + (B @ u[..., None])[..., 0]
        for term in model.known:
            plain = plain + term.at(theta, c).rate(x, u)
        seen = torch.cat([c, theta], -1) if model.residual.sees_theta else c
        plain = plain + model.residual(x, u, seen)
    torch.testing.assert_close(rate, plain, rtol=1e-14, atol=1e-14)
    assert torch.equal(parts.total, rate)
    assert (parts.forced is None) == (m == 0)
    assert (parts.known is None) == (not model.known)
    assert (parts.learned is None) == model.residual.vanishes == (name == "alone")
    assert terms.linear == model.linear == (name == "alone")

    # the slope, by reverse mode: points do not meet
    at = x.clone().requires_grad_()
    value = terms.rate(at, u)
    rows = [torch.autograd.grad(v.sum(), at, retain_graph=True)[0] for v in value.unbind(-1)]
    torch.testing.assert_close(J, torch.stack(rows, -2), rtol=1e-12, atol=1e-14)

    # what a solver integrates
    inputs = {name: Signal([0.0], [0.5]) for name in model.backbone.inputs}
    given = conditions_of(model, [Schedule(inputs=inputs)] * N, [[1.0]] * N, mesh=Mesh(0.5))
    field = model.bind(given.segments, theta, c)
    held = torch.full((1, N, m), 0.5, dtype=F64)
    with torch.no_grad():
        want = given.segments.dt[None, :, 0, None] * terms.rate(x, held)
        torch.testing.assert_close(field(0.5, x), want, rtol=1e-13, atol=1e-14)

    # as many points of each person in a row
    many = x[:, :, None] + torch.rand(M, N, T, n, generator=g, dtype=F64)
    with torch.no_grad():
        rows_of = model.at(theta, c, points=T).rate(many.flatten(1, 2), u.repeat_interleave(T, 1)).view_as(many)
        for t in range(T):
            torch.testing.assert_close(rows_of[:, :, t], terms.rate(many[:, :, t], u), rtol=1e-14, atol=1e-14)

    # the spread over members
    if not model.sees:
        spread = field_spread(model, x[0], u[0], theta=theta)
        with torch.no_grad():
            want = terms.rate(x[:1].expand(M, -1, -1), u).var(0, correction=0)
        torch.testing.assert_close(spread, want, rtol=1e-12, atol=1e-14)


def test_what_runs_in_and_what_drives_is_part_of_the_field() -> None:
    """A large input, a small state: the residual's share is that of the whole field, not of A x + ε."""
    size = 1e4
    backbone = LinearBackbone([[-1.0]], [[1.0]], states=["x"], inputs=["u"])
    model = HybridModel(
        backbone,
        SharedPopulation(),
        MLP(1, 1, 0, (4,)),
        observation=States(["x"]),
        noise=AdditiveProportional([0.1], [0.1], [0.01]),
    )
    with torch.no_grad():
        model.residual.weights[-1].mul_(5.0)

    def share(schedule: Schedule) -> tuple[float, float]:
        given = conditions_of(model, [schedule], [[1e-9]], mesh=Mesh(0.5))
        with torch.no_grad():
            run = rollout(model, given, torch.zeros(1, 1, 0, dtype=F64))
            x, u = run.states[0, 0, 0], run.inputs[0, 0, 0]
            e = float(model.residual(x[None, None], u[None, None], torch.zeros(1, 1, 0, dtype=F64)))
            return float(residual_share(model, run)), (e / (size - float(x) + e)) ** 2

    got, want = share(Schedule(inputs={"u": Signal([0.0], [size])}))
    assert 0.0 < got < 1e-6
    assert got == pytest.approx(want, rel=1e-6)
    got, want = share(Schedule(doses=(Dose("x", 0.0, size, duration=1.0),), inputs={"u": Signal([0.0], [0.0])}))
    assert 0.0 < got < 1e-6
    assert got == pytest.approx(want, rel=1e-6)


def share_of(run: Rollout, model: HybridModel) -> Tensor:
    found = torch.zeros(run.states.shape[:2], dtype=F64)
    scale = run.states.detach().square().mean((1, 2))
    for m in range(found.shape[0]):
        for i in range(found.shape[1]):
            x = run.states[m, i][None]
            u, rows = torch.zeros(1, x.shape[1], 0, dtype=F64), x.shape[1]
            parts = model.at(run.theta[m : m + 1, [i] * rows], torch.zeros(1, rows, 0, dtype=F64)).parts(x, u)
            found[m, i] = (parts.learned.square() / scale[m]).sum() / (parts.total.square() / scale[m]).sum()
    return found


def test_a_residual_that_sees_theta_reaches_everything(cohort: Cohort) -> None:
    """One file, `Sees`, without layers: the fit, the share, the covariance, a bundle's structure; the certificate says no."""
    model = oral_of(Sees())
    given = cohort.conditions
    personal = torch.zeros(1, given.size, 3, dtype=F64)
    with torch.no_grad():
        run = rollout(model, given, personal, RungeKutta("rk4"))
    torch.testing.assert_close(residual_share(model, run), share_of(run, model).detach(), rtol=1e-9, atol=0.0)

    theta = model.theta(personal, {})
    alone = simulate(model, Schedule(doses=(Dose("gut", 0.0, 320.0),)), TIMES, theta[0, 0])
    exact = by_scipy(theta[0, 0], 320.0, TIMES, lambda x, ke, V: -20.0 * np.tanh(x / 100.0) * ke)
    np.testing.assert_allclose(alone.detach(), exact, rtol=2e-5, atol=1e-4)
    told = predict(model, cohort, personal[:, None])
    torch.testing.assert_close(told.mean[0, 0], rollout(model, given, personal).mean[0].detach(), rtol=1e-12, atol=0.0)

    fitted = last(fit(model, cohort, Objective(least_residual=0.1), Search(steps=5)))
    assert float(fitted.model.residual.a.detach()) != -20.0

    with pytest.raises(ValueError, match=r"Sees has neither layers nor a tape, so it has no Lur'e form"):
        model.lure(theta)
    stability = Stability.of(oral_of(), given.covariates)
    with pytest.raises(ValueError, match=r"Sees has neither layers nor a tape, so its slope has no bound"):
        stability.penalty(model, theta)

    again = rebuild(describe(model), dict(model.named_parameters()), {**BUILTIN, "Sees": Sees})
    with torch.no_grad():
        assert torch.equal(rollout(again, given, personal, RungeKutta("rk4")).states, run.states)


def test_a_known_term_reaches_everything(cohort: Cohort) -> None:
    model = oral_of(MLP(2, hidden=(4,)), known=(Saturable(12.0, 40.0),))
    given, personal = cohort.conditions, torch.zeros(1, cohort.conditions.size, 3, dtype=F64)
    with torch.no_grad():
        run = rollout(model, given, personal, RungeKutta("rk4"))
    torch.testing.assert_close(residual_share(model, run), share_of(run, model).detach(), rtol=1e-9, atol=0.0)
    fitted = last(fit(model, cohort, search=Search(steps=3)))
    assert bool(torch.isfinite(fitted.personal).all())
    theta = model.theta(personal, {})
    with pytest.raises(ValueError, match=r"Saturable has neither layers nor a tape, so it has no Lur'e form"):
        model.lure(theta)
    with pytest.raises(ValueError, match=r"Saturable has neither layers nor a tape, so its slope has no bound"):
        Stability.of(oral_of(), given.covariates).penalty(model, theta)
    structure = describe(model)
    assert structure["known"] == [{"class": "Saturable", "config": {"v": 12.0, "k": 40.0}}]
    assert "known" not in describe(oral_of())
    again = rebuild(structure, dict(model.named_parameters()), {**BUILTIN, "Saturable": Saturable})
    with torch.no_grad():
        assert torch.equal(rollout(again, given, personal, RungeKutta("rk4")).states, run.states)
    with pytest.raises(ValueError, match="unknown structure 'Saturable'"):
        rebuild(structure, dict(model.named_parameters()))
    # the mesh knows it: steep where it is not saturated
    steep, records = oral_of(known=(Saturable(4000.0, 40.0),)), oral_people()
    assert Mesh.of(steep, records).step < 0.2 * Mesh.of(oral_of(), records).step


def test_gradients_of_a_known_term_by_the_adjoint_are_those_of_the_steps() -> None:
    """θ stands in A and in the term: neither counts the other's part."""
    model = oral_of(Sees(), known=(Saturable(12.0, 40.0),))
    given = conditions_of(model, [Schedule(doses=(Dose("gut", 0.0, 320.0),))], [TIMES], mesh=MESH)
    found = []
    for solver in (RungeKutta("rk4"), Torchdiffeq("dopri5", 1e-9, 1e-9, adjoint=True)):
        personal = torch.zeros(1, 1, 3, dtype=F64, requires_grad=True)
        model.zero_grad()
        rollout(model, given, personal, solver if solver.adaptive else RungeKutta("tsit5", rtol=1e-9)).states.sum().backward()
        found.append((personal.grad.clone(), model.residual.a.grad.clone()))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_process_noise_follows_the_slope_of_every_term() -> None:
    """The variance beside a known term and a θ-seeing residual: that of many paths, to their sampling error."""
    model = oral_of(Sees(), known=(Saturable(12.0, 40.0),), process=DiagonalDiffusion([0.0, 4.0]))
    given = conditions_of(model, [Schedule(doses=(Dose("gut", 0.0, 320.0),))], [[1.0, 4.0]], mesh=Mesh(0.1))
    personal = torch.zeros(1, 1, 3, dtype=F64)
    with torch.no_grad():
        run = rollout(model, given, personal)
        theta = run.theta
        noise = model.noise.variance(run.mean, run.states, run.inputs)
        # of a step of the mesh the default would take several, for 4,000 paths each
        paths = sample_paths(model, given, personal, 4000, torch.Generator().manual_seed(0), solver=RungeKutta("rk4"))
        V = theta[..., 2]
        want = paths.states[0, :, 0, :, 1].var(0) / V[0, 0] ** 2
    got = (run.variance - noise)[0, 0, :, 0]
    torch.testing.assert_close(got, want, rtol=0.08, atol=0.0)


def test_lure_takes_theta_as_it_comes() -> None:
    model = oral_model()
    theta = model.theta(torch.zeros(1, 3, 3, dtype=F64), {}).detach()
    whole = model.lure(theta)
    assert whole["A"].shape == (1, 3, 2, 2)
    for given, people in ((theta[0, 0], 1), (theta[0], 3)):
        found = model.lure(given)
        assert found["A"].shape == (1, people, 2, 2)
        assert np.array_equal(found["A"], whole["A"][:, :people])
        assert all(np.array_equal(a, b) for a, b in zip(found["weights"], whole["weights"], strict=True))
    # lists and arrays too, to the last digit
    for given in (theta[0, 0].tolist(), theta[0, 0].numpy(), theta[0].tolist(), theta.numpy(), list(theta[0].numpy())):
        lead = np.ndim(given) - 1
        assert np.array_equal(model.lure(given)["A"], whole["A"][:, : (3 if lead else 1)])
    for given, words in (
        ([1.5, 0.086], r"lure: theta needs shape \(3,\), \(N, 3\) or \(M, N, 3\), got \(2,\)"),
        ("ka", "lure: theta must be numbers in a tensor of last axis 3"),
        ([1.5, 0.086, 31.5, 1.0], r"got \(4,\)"),
    ):
        with pytest.raises(ValueError, match=words):
            model.lure(given)
    latent = HybridModel(
        model.backbone, model.population, MLP(2, 0, 1, (4,)), observation=model.observation, noise=model.noise, latents=1
    )
    with pytest.raises(ValueError, match=r"1 covariates and latents; give c"):
        latent.lure(theta)
    assert latent.lure(theta[0, 0], torch.zeros(1, dtype=F64))["biases"][0].shape == (1, 1, 4)
    assert latent.lure(theta[0, 0].tolist(), [0.0])["biases"][0].shape == (1, 1, 4)
    with pytest.raises(ValueError, match=r"lure: c needs shape \(1,\), \(N, 1\)"):
        latent.lure(theta[0, 0], [0.0, 1.0])


def test_a_residual_that_sees_theta_keeps_the_laws_of_residuals() -> None:
    check_residual(Sees(), parameters=3)
    with pytest.raises(ValueError, match="say how many there are"):
        check_residual(Sees())


class Wide(Saturable):
    """Gives one rate where there are two states."""

    def at(self, theta: Tensor, c: Tensor) -> BoundTerm:
        return BoundTerm(lambda x, u: -x[..., :1])


class Unbegun(Saturable):
    """Forgets that a term is a torch module."""

    def __init__(self) -> None:
        self.v = self.k = 1.0


def test_slips_in_terms_are_sentences() -> None:
    with pytest.raises(ValueError, match=r"Unbegun: .* never ran; call super\(\)\.__init__\(\) first"):
        oral_of(known=(Unbegun(),))
    with pytest.raises(ValueError, match=r"Wide: its rate is .* a rate for each of gut, plasma|Wide: its rate is .* each of"):
        oral_of(known=(Wide(1.0, 1.0),))
    with pytest.raises(ValueError, match="HybridModel: known must be"):
        oral_of(known=Saturable(1.0, 1.0))
    with pytest.raises(ValueError, match="each of known"):
        oral_of(known=(MLP(2),))
    with pytest.raises(ValueError, match="BoundTerm: value must be a function"):
        BoundTerm(3.0)
    terms = oral_model().at(torch.tensor([[[1.0, 0.1, 50.0]]], dtype=F64))
    with pytest.raises(ValueError, match="x and u have"):
        terms.rate(torch.zeros(1, 1, 3, dtype=F64), torch.zeros(1, 1, 0, dtype=F64))
    with pytest.raises(ValueError, match="x must be"):
        terms.jacobian(torch.zeros(3, dtype=F64), torch.zeros(1, 1, 0, dtype=F64))
