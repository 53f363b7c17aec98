"""Doses whose lag, fraction, duration and rate are θ's: closed forms, an independent integration, and differences."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from torch import Tensor

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
    Torchdiffeq,
    build_segments,
    conditions_of,
    rollout,
    sample_paths,
    simulate,
)
from hybrid.cutting.delivered import delivered
from hybrid.filters import Followed
from hybrid.schedules.schedule_text import format_schedule, parse_schedule
from learned import MLP, AdditiveProportional, DiagonalDiffusion, Ensemble, select
from physics import (
    Administered,
    Backbone,
    LogNormalPopulation,
    MichaelisMenten,
    OneCompartmentOral,
    Parameter,
    VanCauter,
)

LAG = Parameter("Tlag", "h", 0.5, 0.01, 4.0)
F = Parameter("F", "1", 0.8, 0.05, 1.5)
D = Parameter("D2", "h", 2.0, 0.1, 24.0)
R = Parameter("R1", "mg/h", 50.0, 1.0, 1e4)
THETA = (1.5, 2.7, 31.0, 0.7, 0.6, 3.3)  # ka, CL, V, Tlag, F, D2
TIMES = (0.0, 0.25, 0.7, 1.0, 2.0, 5.0, 8.0, 12.0, 12.7, 13.0, 24.0)
SCHEDULE = Schedule((Dose("gut", 0.0, 320.0), Dose("gut", 12.0, 100.0), Dose("plasma", 5.0, 50.0, modelled="duration")))
FINE = Exponential(rtol=1e-9)


def oral() -> Administered:
    inner = OneCompartmentOral(parameters="clearance")
    return Administered(inner, lag={"gut": LAG}, fraction={"gut": F}, duration={"plasma": D})


def model_of(backbone: Backbone, **more: object) -> HybridModel:
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone, dict.fromkeys([p.name for p in backbone.physical], 0.3)),
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([0.1], [0.1], [0.01]),
        **more,  # type: ignore[arg-type]
    )


def closed(theta: Tensor, times: Tensor) -> Tensor:  # (T,)
    """Bateman's curve for each swallowed dose, and a constant infusion, each from when it arrives."""
    ka, CL, V, lag, fraction, lasts = theta
    ke = CL / V

    def swallowed(at: float, amount: float) -> Tensor:
        since = (times - at - lag).clamp(min=0.0)
        return fraction * amount * ka / (ka - ke) * (torch.exp(-ke * since) - torch.exp(-ka * since))

    since = times - 5.0
    running, after = torch.minimum(since, lasts).clamp(min=0.0), (since - lasts).clamp(min=0.0)
    infused = 50.0 / lasts / ke * (1.0 - torch.exp(-ke * running)) * torch.exp(-ke * after)
    return swallowed(0.0, 320.0) + swallowed(12.0, 100.0) + infused


@pytest.mark.parametrize(
    ("solver", "mesh", "within"),
    [
        (FINE, None, 1e-9),
        (FINE, Mesh(None, observed=False), 1e-9),
        (RungeKutta("rk4"), Mesh(0.05), 1e-3),  # (ka · step)⁴/120 of the dose, and its slope ka times that
        (RungeKutta("rk4"), Mesh(0.05, observed=False), 1e-3),
        (Torchdiffeq("dopri5", rtol=1e-9, atol=1e-9), None, 1e-4),
    ],
)
def test_values_and_slopes_are_those_of_the_closed_form(solver: Solver, mesh: Mesh | None, within: float) -> None:
    theta = torch.tensor(THETA, dtype=torch.float64, requires_grad=True)
    times = torch.tensor(TIMES, dtype=torch.float64)
    found, truth = simulate(model_of(oral()), SCHEDULE, TIMES, theta, solver=solver, mesh=mesh)[:, 1], closed(theta, times)
    assert (found - truth).abs().max() < within
    # at .7 and 12.7 a dose arrives that very moment: the curve has a kink there, and no slope
    smooth = torch.tensor([t not in (0.7, 12.7) for t in TIMES], dtype=torch.float64)
    weight = smooth * torch.linspace(1.0, 2.0, len(TIMES), dtype=torch.float64)
    (mine,), (right,) = (torch.autograd.grad((weight * v).sum(), theta) for v in (found, truth))
    assert (mine - right).abs().max() < 10.0 * within


def test_where_a_dose_arrives_at_an_observation_it_is_read_before() -> None:
    """The slope there is that of the curve without the dose: what a person who waits a little longer would have."""
    theta = torch.tensor(THETA, dtype=torch.float64, requires_grad=True)
    for observed in (True, False):
        found = simulate(model_of(oral()), SCHEDULE, TIMES, theta, solver=FINE, mesh=Mesh(None, observed=observed))[:, 1]
        later = theta + torch.tensor([0.0, 0.0, 0.0, 1e-9, 0.0, 0.0], dtype=torch.float64)
        (mine,) = torch.autograd.grad(found[8], theta, retain_graph=True)
        (right,) = torch.autograd.grad(closed(later, torch.tensor(TIMES, dtype=torch.float64))[8], theta)
        assert torch.allclose(mine, right, rtol=1e-6, atol=1e-6)
        assert float(torch.autograd.grad(found[2], theta)[0].abs().max()) == 0.0


def test_an_infusion_at_a_rate_of_the_person_and_a_stated_one_with_a_fraction() -> None:
    """A stated duration stays, and F·amount goes over it; with a rate of θ F·amount takes F·amount/rate."""
    inner = OneCompartmentOral(parameters="clearance")
    whole = model_of(Administered(inner, fraction={"plasma": F}, rate={"plasma": R}))
    theta = torch.tensor([1.5, 2.7, 31.0, 0.6, 40.0], dtype=torch.float64)
    plain = model_of(inner)
    for dose, same in (
        (Dose("plasma", 1.0, 100.0, duration=2.0), Dose("plasma", 1.0, 60.0, duration=2.0)),
        (Dose("plasma", 1.0, 100.0, modelled="rate"), Dose("plasma", 1.0, 60.0, duration=1.5)),
        (Dose("plasma", 1.0, 100.0), Dose("plasma", 1.0, 60.0)),
    ):
        found = simulate(whole, Schedule((dose,)), TIMES, theta, solver=FINE)
        assert torch.allclose(found, simulate(plain, Schedule((same,)), TIMES, theta[:3], solver=FINE), atol=1e-9)


def independent(theta: Sequence[float], times: Sequence[float]) -> np.ndarray:  # (T,)
    """Amounts in plasma of Michaelis–Menten elimination, doses by scipy between events that are sorted by hand."""
    Vmax, Km, V, lag, fraction = theta
    jumps = [(0.0 + lag, 300.0 * fraction), (1.0 + lag, 200.0 * fraction)]
    x, t, found = 0.0, 0.0, []
    for when, what in sorted([*((s, None) for s in times), *jumps], key=lambda one: (one[0], one[1] is not None)):
        if when > t:
            rate = lambda _, y: -Vmax * y / V / (Km + y / V)  # noqa: E731
            x = float(solve_ivp(rate, (t, when), [x], rtol=1e-10, atol=1e-10, method="LSODA").y[0, -1])
            t = when
        if what is None:
            found.append(x)
        else:
            x += what
    return np.array(found)


def test_a_mechanism_against_an_independent_integration() -> None:
    backbone = Administered(MichaelisMenten(), lag={"plasma": replace(LAG, unit="d")}, fraction={"plasma": F})
    names = [p.name for p in backbone.physical]
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone, dict.fromkeys(names, 0.3)),
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([0.1], [0.1], [0.01]),
    )
    values = {p.name: p.typical for p in backbone.physical} | {"Tlag": 0.3, "F": 0.7}
    theta = torch.tensor([values[name] for name in names], dtype=torch.float64)
    times = (0.0, 0.2, 0.5, 1.1, 1.6, 3.0)
    schedule = Schedule((Dose("plasma", 0.0, 300.0), Dose("plasma", 1.0, 200.0)))
    right = independent([values[name] for name in ("Vmax", "Km", "V", "Tlag", "F")], times)
    found = simulate(model, schedule, times, theta, solver=Exponential(rtol=1e-9))
    assert np.allclose(found[:, backbone.states.index("plasma")].numpy(), right, rtol=1e-6, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(
    doses=st.lists(
        st.tuples(st.sampled_from(("gut", "plasma")), st.floats(0.0, 20.0), st.one_of(st.just(0.0), st.floats(0.01, 4.0))),
        max_size=4,
    ),
    lag=st.floats(0.01, 3.0),
    step=st.sampled_from((None, 0.4)),
    observed=st.booleans(),
)
def test_it_is_what_a_schedule_with_these_numbers_says(
    doses: list[tuple[str, float, float]], lag: float, step: float | None, observed: bool
) -> None:
    """Two people, one of whom gets less; whatever order things come in."""
    theta = torch.tensor([1.5, 2.7, 31.0, lag, 0.6, 3.3], dtype=torch.float64)
    asked = Schedule(tuple(Dose(s, t, 100.0, duration=d) for s, t, d in doses))
    own = tuple(
        Dose(d.state, d.time, d.amount * (0.6 if d.state == "gut" else 1.0), d.duration, lag if d.state == "gut" else 0.0)
        for d in asked.doses
    )
    times, mesh = [[0.0, 1.0, 6.0, 20.0, 24.0], [2.0, 30.0]], Mesh(step, observed=observed)
    people = [asked, replace(asked, doses=asked.doses[:1])]
    found = simulate(model_of(oral()), people, times, theta, solver=FINE, mesh=mesh)
    same = [Schedule(own), Schedule(own[:1])]
    right = simulate(model_of(OneCompartmentOral(parameters="clearance")), same, times, theta[:3], solver=FINE, mesh=mesh)
    assert torch.allclose(found, right, rtol=1e-7, atol=1e-7)


def test_inputs_go_on_beneath_doses_that_move() -> None:
    inner = VanCauter({"slope": "mmol/L/min"})
    state, time = inner.states[0], inner.time_unit
    whole = Administered(inner, lag={state: Parameter("Tlag", time, 5.0, 0.1, 60.0)})
    rng = np.random.default_rng(0)
    inputs = {name: Signal([0.0, 10.0, 25.0], rng.uniform(1.0, 5.0, 3), "linear") for name in inner.inputs}
    schedule = Schedule((Dose(state, 3.0, 100.0),), inputs)
    segments = build_segments(
        [schedule], [[0.0, 8.0, 20.0, 40.0]], inner.states, inner.inputs, Mesh(4.0), delivery=whole.delivery
    )
    theta = torch.tensor([[*(p.typical for p in inner.physical), 6.0]], dtype=torch.float64)
    found = delivered(segments, whole.delivery, theta)
    moved = replace(schedule, doses=(Dose(state, 3.0, 100.0, lag=6.0),))
    right = build_segments([moved], [[0.0, 8.0, 20.0, 40.0]], inner.states, inner.inputs, Mesh(4.0))
    assert torch.allclose(found.read_inputs(), right.read_inputs())
    there, wanted = (
        torch.stack([(s.dt * (s.u0 + s.u1)[..., k] / 2.0).sum() for k in range(len(inner.inputs))]) for s in (found, right)
    )
    assert torch.allclose(there, wanted)  # the integral of every input
    assert torch.allclose(found.dt.sum(1), right.dt.sum(1))


def test_members_and_people_have_their_own_and_no_member_moves_another() -> None:
    model = Ensemble(members=3).stack(
        model_of(oral(), residual=MLP(2, 0, 0, hidden=(3,))), torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1), dtype=p.dtype))
    conditions = conditions_of(model, [SCHEDULE, SCHEDULE], [list(TIMES), [1.0, 3.0]])
    personal = 0.3 * torch.randn(3, 2, model.personal, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    run = rollout(model, conditions, personal)
    for m in range(3):
        alone = rollout(select(model, torch.tensor([m])), conditions, personal[[m]])
        assert torch.allclose(run.mean[m], alone.mean[0], rtol=1e-9)
        assert torch.allclose(run.variance[m], alone.variance[0], rtol=1e-9)
    run.mean[1].sum().backward()
    for name, p in model.named_parameters():
        if p.grad is not None:
            assert float(p.grad[[0, 2]].abs().max()) == 0.0, name
    weights = next(p for name, p in model.named_parameters() if "residual" in name and p.numel())
    assert weights.grad is not None
    assert float(weights.grad[1].abs().max()) > 0.0


def test_process_noise_is_carried_across_doses_that_move() -> None:
    """Linear: the variance is that of the same model with the doses said in numbers, and many paths have it."""
    inner, noise = OneCompartmentOral(parameters="clearance"), DiagonalDiffusion([1.0, 2.0], [1e-3, 1e-3])
    whole, plain = model_of(oral(), process=noise), model_of(inner, process=noise)
    population = whole.population
    theta = population.theta(torch.zeros(1, 1, 6, dtype=torch.float64), {}).detach()
    lag, fraction, lasts = (float(v) for v in theta[0, 0, 3:])
    said = Schedule(
        (
            Dose("gut", 0.0, 320.0 * fraction, lag=lag),
            Dose("gut", 12.0, 100.0 * fraction, lag=lag),
            Dose("plasma", 5.0, 50.0, duration=lasts),
        )
    )
    asked = conditions_of(whole, [SCHEDULE], [list(TIMES)])
    mine = rollout(whole, asked, torch.zeros(1, 1, 6, dtype=torch.float64))
    right = rollout(plain, conditions_of(plain, [said], [list(TIMES)]), torch.zeros(1, 1, 3, dtype=torch.float64))
    assert torch.allclose(mine.mean, right.mean, rtol=1e-6)
    assert torch.allclose(mine.variance, right.variance, rtol=1e-6)
    paths = sample_paths(whole, asked, torch.zeros(1, 1, 6, dtype=torch.float64), 3, torch.Generator().manual_seed(0))
    assert bool(torch.isfinite(paths.states).all())


def test_what_cannot_know_when_doses_arrive_is_refused() -> None:
    model = model_of(oral())
    plain = model_of(OneCompartmentOral(parameters="clearance"))
    personal = torch.zeros(1, 1, 6, dtype=torch.float64)
    with pytest.raises(ValueError, match="give each dose its own"):
        Followed.of(model, 1)
    with pytest.raises(ValueError, match="cut the people for this model"):
        rollout(model, conditions_of(plain, [Schedule()], [[1.0]]), personal)
    conditions = conditions_of(model, [SCHEDULE], [[1.0]])
    with pytest.raises(ValueError, match="these segments do not know it"):
        model.bind(conditions.segments, model.theta(personal, {}), model.context(personal, {}))
    with pytest.raises(ValueError, match="leaves its duration to the model, which has none for plasma"):
        conditions_of(plain, [SCHEDULE], [[1.0]])
    with pytest.raises(ValueError, match="leaves its rate to the model"):
        conditions_of(model, [Schedule((Dose("plasma", 0.0, 1.0, modelled="rate"),))], [[1.0]])
    with pytest.raises(ValueError, match="leave one of the two out"):
        Dose("plasma", 0.0, 1.0, 2.0, modelled="rate")
    with pytest.raises(ValueError, match="modelled"):
        Dose("plasma", 0.0, 1.0, modelled="speed")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"torch\.func\.vmap"):
        torch.func.vmap(lambda theta: simulate(model, SCHEDULE, [1.0], theta))(torch.tensor([THETA, THETA], dtype=torch.float64))


def test_a_dose_whose_duration_is_the_models_is_not_cut_in_two() -> None:
    with pytest.raises(ValueError, match="is the model's to say"):
        SCHEDULE.since(6.0)
    assert [d.modelled for d in SCHEDULE.since(5.0).doses] == ["duration", ""]
    assert SCHEDULE.do({"gut": []}, since=6.0).into("plasma") == SCHEDULE.into("plasma")
    with pytest.raises(ValueError, match="is the model's to say"):
        SCHEDULE.do({"plasma": []}, since=6.0)


def test_the_text_of_a_schedule_says_whose_duration_it_is() -> None:
    text = format_schedule(SCHEDULE)
    assert text.endswith("dose 50 -> plasma @ 5 over duration")
    again = parse_schedule(text, states=("gut", "plasma"), inputs=(), base=Schedule())
    assert again.doses == tuple(sorted(SCHEDULE.doses, key=lambda d: float(d.time)))
    assert parse_schedule("dose 5 -> gut @ 0 over rate", states=("gut",), inputs=(), base=Schedule()).doses[0].modelled == "rate"
