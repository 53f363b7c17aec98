"""What delivers a dose as it was said changes nothing: lag 0, fraction 1 and the said durations are records cut without any θ."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid import (
    Concentration,
    Dose,
    HybridModel,
    Mesh,
    RungeKutta,
    Schedule,
    Signal,
    Solver,
    States,
    Steady,
    rollout,
    simulate,
)
from learned import Constant
from physics import (
    Administered,
    Backbone,
    LinearBackbone,
    MixedPopulation,
    Occasions,
    OneCompartmentOral,
    Parameter,
    PowerOf,
    Shared,
    SharedPopulation,
)
from tests.hybrid.cutting.test_delivered_pieces import FINE
from training import Cohort, Record

D = torch.float64
THETA = torch.tensor([1.5, 2.7, 31.0], dtype=D)
# one h on a grid of whole hours: everything comes at the time of everything else
HOURS = st.integers(0, 8).map(float)
KINDS: dict[str, dict[str, Parameter]] = {
    "lag": {"gut": Parameter("Tlag", "h", 0.5, 0.0, 4.0)},
    "fraction": {"gut": Parameter("F", "1", 1.0, 0.05, 1.5), "plasma": Parameter("F2", "1", 1.0, 0.05, 1.5)},
    "duration": {"gut": Parameter("D1", "h", 2.0, 0.1, 24.0)},
    "rate": {"plasma": Parameter("R2", "mg/h", 50.0, 1.0, 1e4)},
}
SAID = {"lag": 0.0, "fraction": 1.0, "duration": 2.0, "rate": 50.0}


def model_of(backbone: Backbone) -> HybridModel:
    population = SharedPopulation(backbone, values={p.name: p.typical for p in backbone.physical})
    return HybridModel(backbone, population, observation=States(("plasma",)), noise=Constant([0.1], [0.01]))


@st.composite
def schedules(draw: st.DrawFn, settled: tuple[str, ...] = ("gut", "plasma")) -> Schedule:
    """Doses at once, over 2 h or 3 h, by duration or rate, resets and steady states, each at a whole hour."""
    doses = draw(st.lists(st.tuples(st.sampled_from(("gut", "plasma")), HOURS, st.sampled_from((0.0, 2.0, 3.0)), st.booleans()),
                          max_size=4))
    given = [Dose(s, t, 100.0 if d != 3.0 else 60.0, d, kept="rate" if d and rated else "duration") for s, t, d, rated in doses]
    resets = draw(st.lists(HOURS, max_size=2))
    times = draw(st.lists(HOURS, max_size=2, unique=True))
    steady = []
    for time in times:
        state, lasts = draw(st.sampled_from(settled)), draw(st.sampled_from((0.0, 2.0)))
        kept = "rate" if lasts and draw(st.booleans()) else "duration"
        steady.append(Steady(state, time, 80.0, draw(st.sampled_from((3.0, 12.0))), lasts, draw(st.booleans()), kept))  # type: ignore[arg-type]
    return Schedule(tuple(given), resets=tuple(resets), steady=tuple(steady))


def left_to_the_model(schedule: Schedule, kinds: tuple[str, ...]) -> Schedule:
    """The same, what of infusions this θ knows left out: 100 mg over 2 h at 50 mg/h."""

    def of(dose: Dose) -> Dose:
        for kind, state in (("duration", "gut"), ("rate", "plasma")):
            if kind in kinds and dose.state == state and dose.duration == 2.0:
                return Dose(dose.state, dose.time, dose.amount, modelled=kind)  # type: ignore[arg-type]
        return dose

    return replace(schedule, doses=tuple(map(of, schedule.doses)))


@pytest.mark.parametrize("kinds", [("fraction",), ("lag",), ("duration", "rate"), ("lag", "fraction", "duration", "rate")])
@settings(max_examples=40, deadline=None)
@given(data=st.data(), step=st.sampled_from((None, 0.4)), observed=st.booleans())
def test_what_arrives_as_it_was_said_is_cut_as_it_was_said(
    kinds: tuple[str, ...], data: st.DataObject, step: float | None, observed: bool
) -> None:
    """Two people, read at whole hours: before, at and after whatever happens, and up to their last."""
    into = ("plasma",) if "lag" in kinds else ("gut", "plasma")
    people = [data.draw(schedules(into)) for _ in range(2)]
    times = [sorted(data.draw(st.lists(HOURS, min_size=1, max_size=6))) for _ in people]
    inner = OneCompartmentOral(parameters="clearance")
    whole = Administered(inner, **{kind: KINDS[kind] for kind in kinds})
    theta = torch.cat([THETA, torch.tensor([SAID[k] for k in kinds for _ in KINDS[k]], dtype=D)])
    mesh = Mesh(step, observed=observed)
    found = simulate(model_of(whole), [left_to_the_model(s, kinds) for s in people], times, theta, solver=FINE, mesh=mesh)
    right = simulate(model_of(inner), people, times, THETA, solver=FINE, mesh=mesh)
    torch.testing.assert_close(found, right, rtol=1e-7, atol=1e-7)


def changing_of(**given: Mapping[str, Parameter]) -> HybridModel:
    """CL is another one in each of two occasions and goes with the weight, at every dose."""
    backbone = Administered(OneCompartmentOral(parameters="clearance"), start="empty", **given)
    spread = {p.name: Shared() for p in backbone.physical}
    population = MixedPopulation(
        backbone, spread, covariates={"V": [PowerOf("WT", 70.0, 1.0, unit="kg")]}, occasions=Occasions({"CL": 0.4}, 2)
    )
    return HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=Constant([0.1], [0.01]))


AS_SAID = {
    "fraction": KINDS["fraction"],
    "duration": KINDS["duration"],
    "rate": {"plasma": Parameter("R2", "mg/h", 50.0, 1.0, 1e4)},
}


@settings(max_examples=40, deadline=None)
@given(schedule=schedules(), second=HOURS, heavier=HOURS, times=st.lists(HOURS, min_size=1, max_size=6), seed=st.integers(0, 99))
def test_it_is_so_where_theta_changes_on_the_way(
    schedule: Schedule, second: float, heavier: float, times: list[float], seed: int
) -> None:
    """An occasion and a weight that change at whole hours, in which other things happen too."""
    schedule = replace(schedule, steady=tuple(one for one in schedule.steady if not one.added))
    eta = torch.randn(1, 1, 2, dtype=D, generator=torch.Generator().manual_seed(seed))
    found = []
    for given_by in ({}, AS_SAID):
        own = left_to_the_model(schedule, tuple(given_by))
        record = Record(
            "1", own, sorted(times), np.ones(len(times)), "concentration",
            occasions=(0.0, second + 0.5) if second else (0.0,), changing={"WT": ([0.0, heavier + 1.0], [70.0, 140.0])},
        )
        model = changing_of(**given_by)
        found.append(rollout(model, Cohort.of([record], model).conditions, eta, FINE).states)
    torch.testing.assert_close(found[1], found[0], rtol=1e-7, atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    schedule=schedules(),
    times=st.lists(HOURS, min_size=1, max_size=6),
    held=st.booleans(),
    solver=st.sampled_from((FINE, RungeKutta("rk4"))),
)
def test_it_is_so_beneath_an_input_and_for_a_solver_that_steps(
    schedule: Schedule, times: list[float], held: bool, solver: Solver
) -> None:
    """The input steps or bends at whole hours; what begins anew there begins with it."""
    inner = LinearBackbone([[-1.5, 0.0], [1.5, -0.1]], [[0.0], [5.0]], states=("gut", "plasma"), inputs=("drip",),
                           state_units=("mg", "mg"), time_unit="h")
    schedule = replace(schedule, inputs={"drip": Signal((1.0, 4.0, 6.0), (2.0, 0.5, 3.0), "held" if held else "linear")})
    whole = Administered(inner, fraction=KINDS["fraction"])
    theta, nothing = torch.ones(2, dtype=D), torch.zeros(0, dtype=D)
    found, right = (
        simulate(model_of(backbone), schedule, sorted(times), own, solver=solver, mesh=Mesh(0.1))
        for backbone, own in ((whole, theta), (inner, nothing))
    )
    # rk4's steps of .1 lie between the same times in both
    torch.testing.assert_close(found, right, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kinds", [(), ("fraction",), ("lag",), ("duration", "rate")])
@pytest.mark.parametrize("step", [None, 0.5])
def test_a_value_at_a_steady_state_is_of_what_was_given_before(kinds: tuple[str, ...], step: float | None) -> None:
    """Closed forms: what a dose 24 h ago has left, or the trough where nothing was given before; also as the last value."""
    into = "plasma" if kinds == ("lag",) else "gut"
    inner = OneCompartmentOral(parameters="clearance")
    whole = Administered(inner, **{kind: KINDS[kind] for kind in kinds})
    theta = torch.cat([THETA, torch.tensor([SAID[k] for k in kinds for _ in KINDS[k]], dtype=D)])
    steady, ka, ke = (Steady(into, 24.0, 80.0, 12.0),), float(THETA[0]), float(THETA[1] / THETA[2])
    before = Schedule((Dose("plasma", 0.0, 100.0),), steady=steady)
    emptied = replace(before, resets=(24.0,))
    people, times = [before, before, emptied, Schedule(steady=steady), Schedule(steady=steady)], [[24.0, 25.0], [24.0]]
    found = simulate(model_of(whole), people, [*times, *times[:1], *times], theta, solver=FINE, mesh=Mesh(step))
    left = 100.0 * np.exp(-24.0 * ke)
    many = np.arange(1, 200) * 12.0  # of the first of them e^{−209} is left
    swallowed = ka / (ka - ke) * (np.exp(-ke * many) - np.exp(-ka * many))
    trough = 80.0 * (swallowed if into == "gut" else np.exp(-ke * many)).sum()
    np.testing.assert_allclose(found[0, :, 0, 1], [left, left, left, trough, trough], rtol=1e-8)
