"""A mechanism in the place of a backbone: one field however it is split, for every solver and everyone who asks."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import lambertw
from torch import Tensor

from exchange.bundle.structures import describe, rebuild
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
    conditions_of,
    rollout,
    sample_paths,
    simulate,
)
from hybrid.derivative import slope_of
from learned import MLP, AdditiveProportional, DiagonalDiffusion, Ensemble
from physics import (
    LinearisedBackbone,
    LogNormalPopulation,
    Mechanism,
    MichaelisMenten,
    Parameter,
    SharedPopulation,
    TapedMechanism,
)
from physics.defaults import Defaults
from physics.operations import saturating
from training import Cohort, Record, Search, Stability, fit, fit_population, last, personalise, residual_share

F64 = torch.float64
BY_ERROR = [Exponential(rtol=1e-10), RungeKutta("tsit5", rtol=1e-10), Torchdiffeq("dopri5", 1e-10, 1e-10)]
ALL = [*BY_ERROR, RungeKutta("rk4"), Exponential()]
STEPS = RungeKutta("rk4")
NAMES = [f"{type(s).__name__}-{s.order}-{s.adaptive}" for s in ALL]


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


class Infused(Mechanism):
    """What an input lets in leaves by a saturable way and by a second compartment: it rests where both balance."""

    time_unit = "h"
    states = {"plasma": "mg", "deep": "mg"}
    inputs = {"infusion": "mg/h"}
    physical = (
        Parameter("Vmax", "mg/h", 20.0, 2.0, 200.0),
        Parameter("Km", "mg", 10.0, 1.0, 100.0),
        Parameter("k", "/h", 0.3, 0.03, 3.0),
    )
    scale = {"plasma": 10.0, "deep": 10.0}
    typical_inputs = {"infusion": 5.0}
    starts = (("deep", None),)
    defaults = Defaults(amounts=True)

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        across = theta.k * (x.plasma - x.deep)
        return {"plasma": u.infusion - theta.Vmax * saturating(x.plasma / theta.Km) - across, "deep": across}


class Straight(Mechanism):
    """Two compartments: linear, whatever it is written as."""

    time_unit = "h"
    states = {"a": "mg", "b": "mg"}
    inputs = {"r": "mg/h"}
    physical = (Parameter("k", "/h", 0.3, 0.03, 3.0), Parameter("V", "L", 2.0, 0.2, 20.0))
    scale = {"a": 10.0, "b": 10.0}

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        flow = theta.k * x.a
        return {"a": u.r - flow, "b": flow - x.b / theta.V}


def taken(residual: MLP | None = None, **more: Any) -> HybridModel:
    """Michaelis–Menten by mouth, in concentrations."""
    mechanism = MichaelisMenten()
    population = LogNormalPopulation(mechanism, spread={"ka": 0.5, "Vmax": 0.3, "Km": 0.3, "V": 0.2})
    seen = {"observation": Concentration("plasma", "V", "c"), "noise": AdditiveProportional([0.5], [0.1], [0.03])}
    return HybridModel(mechanism, population, residual, **seen, **more)


def infused(residual: MLP | None = None, **more: Any) -> HybridModel:
    population = LogNormalPopulation(Infused(), spread={"Vmax": 0.2, "Km": 0.2, "k": 0.2})
    seen = {"observation": States(["deep"]), "noise": AdditiveProportional([0.1], [0.1], [0.03])}
    return HybridModel(Infused(), population, residual, **seen, **more)


BOLUS, TIMES, THETA = Schedule(doses=(Dose("plasma", 0.0, 600.0),)), [0.5, 1.0, 2.0, 3.0], (12.0, 500.0, 4.0, 50.0)


@cache
def closed_form() -> np.ndarray:
    """600 mg at once: C = Km W((C₀/Km) e^{(C₀ − vt)/Km})."""
    _, vmax, km, V = THETA
    c0, t = 600.0 / V, np.array(TIMES)
    return np.real(km * lambertw(c0 / km * np.exp((c0 - vmax / V * t) / km)))


def test_the_closed_form_is_that_of_the_reference() -> None:
    np.testing.assert_allclose(closed_form(), [8.4180932217, 5.2822318045, 1.2023880651, 0.1290749435], atol=6e-11)


@pytest.mark.parametrize("solver", [*ALL, None], ids=[*NAMES, "default"])
def test_every_solver_gives_the_closed_form(solver: Solver | None) -> None:
    mesh = None if solver is None or solver.adaptive else Mesh(0.01)
    with torch.no_grad():
        found = simulate(taken(), BOLUS, TIMES, row(*THETA), solver=solver, mesh=mesh)
    np.testing.assert_allclose(found[:, 1] / 50.0, closed_form(), rtol=1e-8 if solver in BY_ERROR else 1e-6)
    assert torch.equal(found[:, 0], torch.zeros(4, dtype=F64))


@pytest.mark.parametrize("learned", [False, True], ids=["alone", "learned"])
def test_the_field_is_one_however_it_is_split(learned: bool) -> None:
    residual = MLP(hidden=(4,), state_scale=20.0, rate_scale=3.0) if learned else None
    model = Ensemble(2).stack(infused(residual), torch.Generator().manual_seed(0))
    g = torch.Generator().manual_seed(1)
    N, M = 3, model.members
    personal = 0.3 * torch.randn(M, N, 3, generator=g, dtype=F64)
    theta = model.theta(personal, {})
    x, u = 30.0 * torch.rand(M, N, 2, generator=g, dtype=F64), 5.0 * torch.rand(1, N, 1, generator=g, dtype=F64)
    terms, tape = model.at(theta), model.mechanism.tape.at(theta)
    with torch.no_grad():
        plain = tape.rate(x, u)
        parts = terms.parts(x, u)
        if learned:
            plain = plain + model.residual(x, u, x.new_zeros(M, N, 0))
        size = parts.linear.abs() + parts.forced.abs() + parts.known.abs()
        assert bool(((parts.total - plain).abs() <= 1e-13 * size).all())
        torch.testing.assert_close(terms.unsplit()(x, u), plain, rtol=1e-15, atol=1e-15)
        J = terms.jacobian(x, u)
        automatic = slope_of(lambda at: terms.rate(at, u), x)
        torch.testing.assert_close(J, automatic, rtol=1e-12, atol=1e-12)
        # what a solver is given, at a place where the input moves and something runs in
        ramp = Schedule(doses=(Dose("plasma", 0.0, 3.0, duration=1.0),), inputs={"infusion": Signal([0.0, 1.0], [2.0, 4.0])})
        given = conditions_of(model, [ramp] * N, [[1.0]] * N, mesh=Mesh(0.5))
        field = model.bind(given.segments, theta, model.context(personal, {}))
        held = torch.full((1, N, 1), 2.5, dtype=F64)
        total = terms.rate(x, held, torch.tensor([3.0, 0.0], dtype=F64).expand(1, N, 2))
        torch.testing.assert_close(field(0.5, x), 0.5 * total, rtol=1e-13, atol=1e-13)
        whole = 0.5 * (field.linear(x) + field.forcing(0.5) + field.residual(0.5, x))
        torch.testing.assert_close(field(0.5, x), whole, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(field.linear(x) + field.nonlinear(0, 0.5, x), total, rtol=1e-13, atol=1e-13)
        place = torch.zeros(N, dtype=torch.long), torch.full((N,), 0.5, dtype=F64)
        torch.testing.assert_close(field.linear(x) + field.nonlinear_at(*place, x), total, rtol=1e-13, atol=1e-13)
    assert not model.linear
    assert model.opaque == ()
    assert "Infused(x, u; θ)" in repr(model)


def test_a_linear_mechanism_leaves_nothing() -> None:
    """Its matrices are all of it: the exact step, and no term that costs anything."""
    seen = {"observation": States(["b"]), "noise": AdditiveProportional([0.1], [0.1], [0.03])}
    model = HybridModel(Straight(), SharedPopulation(Straight(), values={"k": 0.3, "V": 2.0}), **seen)
    assert model.linear
    schedule = Schedule(doses=(Dose("a", 0.0, 100.0),), inputs={"r": Signal([0.0], [0.0])})
    found = simulate(model, schedule, [1.0, 5.0], row(0.3, 2.0), solver=Exponential())
    A = torch.stack([row(-0.3, 0.0), row(0.3, -0.5)])
    for t, x in zip((1.0, 5.0), found, strict=True):
        torch.testing.assert_close(x, torch.linalg.matrix_exp(A * t) @ row(100.0, 0.0), rtol=1e-13, atol=0.0)
    arrays = model.lure(row(0.3, 2.0))
    assert "tape" not in arrays
    np.testing.assert_allclose(arrays["A"][0, 0], A)


@pytest.mark.parametrize("solver", [Exponential(rtol=1e-7), *ALL[1:]], ids=NAMES)
def test_gradients_reach_theta_and_the_start(solver: Solver) -> None:
    """By the steps, against differences of what they give; the start, an equilibrium at θ, moves with it."""
    model, mesh = infused(), None if solver.adaptive else Mesh(0.1)
    schedule = Schedule(doses=(Dose("plasma", 0.5, 30.0),), inputs={"infusion": Signal([0.0, 1.0], [5.0, 8.0], "held")})
    weights = row(1.0, -0.7)

    def of(theta: Tensor) -> Tensor:
        return (simulate(model, schedule, [0.4, 1.3, 2.0], theta, solver=solver, mesh=mesh) * weights).sum()

    theta = row(21.0, 9.0, 0.4).requires_grad_()
    (got,) = torch.autograd.grad(of(theta), theta)
    at = theta.detach()
    for j, step in enumerate(torch.diag(1e-5 * at)):
        with torch.no_grad():
            want = float(of(at + step) - of(at - step)) / (2.0 * float(step[j]))
        assert float(got[j]) == pytest.approx(want, rel=2e-5)


def test_other_derivatives_agree() -> None:
    """The adjoint, checkpoints, forward mode, a batch of vmap, second derivatives."""
    model = infused(MLP(hidden=(3,), state_scale=20.0, rate_scale=1.0))
    schedule = Schedule(doses=(Dose("plasma", 0.0, 30.0),), inputs={"infusion": Signal([0.0], [5.0])})
    theta, mesh = row(21.0, 9.0, 0.4), Mesh(0.1)

    def of(theta: Tensor, solver: Solver = STEPS) -> Tensor:
        return simulate(model, schedule, [1.0, 2.0], theta, row(12.0, 3.0), solver=solver, mesh=mesh).sum()

    def slope(solver: Solver) -> Tensor:
        at = theta.clone().requires_grad_()
        return torch.autograd.grad(of(at, solver), at)[0]

    want = slope(STEPS)
    torch.testing.assert_close(slope(RungeKutta("rk4", chunk=3)), want, rtol=1e-12, atol=0.0)
    for solver in (Exponential(chunk=3), Torchdiffeq("dopri5", 1e-9, 1e-9, adjoint=True)):
        torch.testing.assert_close(slope(solver), want, rtol=1e-4, atol=1e-6)
    slope_of(torch.sin, theta)  # torch's first derivative in forward mode warns of torch's own use of torch.jit
    torch.testing.assert_close(torch.func.jacfwd(of)(theta), want, rtol=1e-12, atol=1e-12)
    several = theta * row(0.9, 1.0, 1.1)[:, None]
    mapped = torch.func.vmap(of)(several)
    torch.testing.assert_close(mapped, torch.stack([of(one) for one in several]), rtol=1e-12, atol=0.0)
    at = theta.clone().requires_grad_()
    (first,) = torch.autograd.grad(of(at), at, create_graph=True)
    (second,) = torch.autograd.grad(first[0], at)
    step = torch.diag(1e-4 * theta)[0]
    high, low = (slope_at(model, theta + sign * step, schedule, mesh) for sign in (1.0, -1.0))
    torch.testing.assert_close(second, (high - low) / (2.0 * step[0]), rtol=1e-4, atol=1e-7)


def slope_at(model: HybridModel, theta: Tensor, schedule: Schedule, mesh: Mesh) -> Tensor:
    at = theta.clone().requires_grad_()
    found = simulate(model, schedule, [1.0, 2.0], at, row(12.0, 3.0), solver=RungeKutta("rk4"), mesh=mesh).sum()
    return torch.autograd.grad(found, at)[0]


def test_people_start_where_they_rest() -> None:
    """Everyone at the equilibrium of their own inputs and θ; a measured state is what was measured."""
    model = infused()
    schedules = [Schedule(inputs={"infusion": Signal([0.0], [level])}) for level in (5.0, 8.0, 8.0)]
    given = conditions_of(model, schedules, [[1.0, 9.0]] * 3, baseline=row(torch.nan, torch.nan, 2.5)[:, None])
    with torch.no_grad():
        run = rollout(model, given, torch.zeros(1, 3, 3, dtype=F64))
    rest = row(50.0 / 15.0, 80.0 / 12.0)[:, None].expand(2, 2)  # Km u/(Vmax − u), in both compartments
    torch.testing.assert_close(run.states[0, :2, 0], rest, rtol=1e-9, atol=0.0)
    torch.testing.assert_close(run.states[0, :2, 1], rest, rtol=1e-9, atol=0.0)
    start = model.initial(run.theta, given.baseline, given.segments.u0[:, 0])
    torch.testing.assert_close(start[0, 2], row(80.0 / 12.0, 2.5), rtol=1e-12, atol=0.0)
    assert model.starts_from == (True,)
    with pytest.raises(ValueError, match=r"Infused has no equilibrium .*infusion 30 mg/h"):
        simulate(model, Schedule(inputs={"infusion": Signal([0.0], [30.0])}), [1.0], row(20.0, 10.0, 0.3))


def test_single_precision() -> None:
    model = taken(MLP(hidden=(4,))).to(torch.float32)
    with torch.no_grad():
        found = simulate(model, BOLUS, TIMES, row(*THETA).float())
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[:, 1] / 50.0, closed_form(), rtol=0.05)  # the residual is there


def test_the_structure_travels_as_a_tape() -> None:
    model = taken(MLP(hidden=(4,)))
    structure = json.loads(json.dumps(describe(model)))
    assert structure["backbone"]["class"] == "LinearisedBackbone"
    assert "known" not in structure
    again = rebuild(structure, dict(model.named_parameters()))
    assert isinstance(again.mechanism, TapedMechanism)
    with torch.no_grad():
        ours, theirs = (simulate(one, BOLUS, TIMES, row(*THETA)) for one in (model, again))
    assert torch.equal(ours, theirs)
    assert describe(again) == describe(model)


def test_a_certificate_gets_the_field_and_not_its_split() -> None:
    model = taken(MLP(hidden=(4,)))
    arrays = model.lure(row(*THETA).expand(3, 4))
    assert not arrays["A"].any()
    assert "B" not in arrays
    assert arrays["tape"] == model.mechanism.tape.to_dict()
    assert arrays["theta"].shape == (1, 3, 4)
    assert arrays["scale"].tolist() == [300.0, 300.0]
    assert len(arrays["weights"]) == 2


@cache
def people() -> tuple[Record, ...]:
    """Four people, simulated from the typical ones with their own Vmax, measured with an error of .3 mg/L."""
    g, model = torch.Generator().manual_seed(3), taken()
    schedule, found = Schedule(doses=tuple(Dose("gut", float(k), 300.0) for k in range(3))), []
    for i in range(4):
        eta = 0.5 * torch.randn(4, generator=g, dtype=F64)
        theta = model.theta(eta[None, None], {})[0, 0]
        times = np.linspace(0.1, 3.5, 9)
        with torch.no_grad():
            y = simulate(model, schedule, times.tolist(), theta)[:, 1] / theta[3]
        y = y + 0.3 * torch.randn(9, generator=g, dtype=F64)
        found.append(Record(f"P{i}", schedule, times, y[:, None].numpy(), channels=("c",)))
    return tuple(found)


@pytest.mark.slow
def test_it_is_fitted_personalised_and_judged_like_any_other() -> None:
    model = taken(MLP(hidden=(4,), state_scale=300.0, rate_scale=30.0))
    cohort = Cohort.of(people(), model)
    given = cohort.conditions
    known = personalise(model, cohort)
    assert bool(known.converged.all())
    with torch.no_grad():
        run = rollout(model, given, known.mode, RungeKutta("rk4"))
        x = run.states.flatten(1, 2)
        parts = model.at(run.theta, points=run.states.shape[2]).parts(x, x.new_zeros(1, x.shape[1], 0))
        scale = run.states.square().mean((1, 2))[:, None, None]
        share = (parts.learned.square() / scale).view_as(run.states).sum((-1, -2))
        share = share / (parts.total.square() / scale).view_as(run.states).sum((-1, -2))
    torch.testing.assert_close(residual_share(model, run), share, rtol=1e-9, atol=0.0)
    first, *_, final = fit(model, cohort, search=Search(steps=6))
    assert float(final.loss.min()) < float(first.loss.min())
    alone = taken()
    found = last(fit_population(alone, cohort, search=Search(steps=2)))
    assert bool(torch.isfinite(found.personal).all())
    penalty = Stability.of(model, {}).penalty(model, run.theta)
    assert penalty.shape == run.theta.shape[:2]


def test_process_noise_moves_by_the_slope_of_the_whole() -> None:
    """The variance beside a saturable elimination: that of many paths, to their sampling error."""
    model = taken(process=DiagonalDiffusion([0.0, 15.0]))
    given = conditions_of(model, [BOLUS], [[0.5, 1.5]], mesh=Mesh(0.05))
    personal = torch.zeros(1, 1, 4, dtype=F64)
    with torch.no_grad():
        run = rollout(model, given, personal)
        noise = model.noise.variance(run.mean, run.states, run.inputs)
        paths = sample_paths(model, given, personal, 4000, torch.Generator().manual_seed(0), solver=RungeKutta("rk4"))
        want = paths.states[0, :, 0, :, 1].var(0) / 50.0**2
    torch.testing.assert_close((run.variance - noise)[0, 0, :, 0], want, rtol=0.08, atol=0.0)


def test_a_backbone_of_a_mechanism_may_be_given_its_point() -> None:
    """The split is another, the field is the same."""
    seen = {"observation": Concentration("plasma", "V", "c"), "noise": AdditiveProportional([0.5], [0.1], [0.03])}
    other = LinearisedBackbone(MichaelisMenten(), x={"gut": 0.0, "plasma": 200.0})
    model = HybridModel(other, SharedPopulation(other, values=dict(zip(("ka", "Vmax", "Km", "V"), THETA, strict=True))), **seen)
    with torch.no_grad():
        found = simulate(model, BOLUS, TIMES, row(*THETA), solver=Exponential(rtol=1e-8))
    np.testing.assert_allclose(found[:, 1] / 50.0, closed_form(), rtol=1e-6)


class RunsAway(Mechanism):
    """Of two states that know nothing of each other the second is infinite after ln 1.5 hours, from 3."""

    time_unit = "h"
    states = {"quiet": "1", "loud": "1"}
    physical = (Parameter("k", "/h", 1.0, 0.1, 10.0),)
    scale = {"quiet": 1.0, "loud": 1.0}
    starts_empty = True

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"quiet": -theta.k * x.quiet, "loud": theta.k * x.loud * (x.loud - 1.0)}


@pytest.mark.parametrize(
    ("solver", "mesh"),
    [
        (None, None),
        (RungeKutta("dopri5", rtol=1e-6), None),
        (RungeKutta("rk4"), Mesh(0.5)),
        (Torchdiffeq("rk4"), Mesh(0.5)),
    ],
)
def test_who_runs_away_is_named(solver: Solver | None, mesh: Mesh | None) -> None:
    model = HybridModel(
        RunsAway(),
        SharedPopulation(RunsAway(), values={"k": 1.0}),
        observation=States(["quiet"]),
        noise=AdditiveProportional([0.1], [0.1], [0.01]),
    )
    with pytest.raises(SimulationError, match=r"time [0-9.]+, in loud[.:]") as seen:
        simulate(model, Schedule(), [10.0], row(1.0), row(1.0, 3.0), solver=solver, mesh=mesh)
    assert seen.value.failures[0].states == ("loud",)
