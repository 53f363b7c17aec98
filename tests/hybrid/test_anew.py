"""Resets and steady states: against closed forms of matrix exponentials, truly repeated doses, and records of their own."""

import copy

import numpy as np
import pytest
import scipy.linalg
import torch

from hybrid import (
    Cause,
    Dose,
    Exponential,
    HybridModel,
    Mesh,
    RungeKutta,
    Schedule,
    States,
    Torchdiffeq,
    integrate,
    simulate,
)
from hybrid.filters import UKF, Followed, follow
from hybrid.schedules.schedule_text import format_schedule, parse_schedule
from hybrid.schedules.steady import Steady
from hybrid.simulate import conditions_of, rollout
from learned import AdditiveProportional, Ensemble, select
from physics import LogNormalPopulation, MichaelisMenten, OneCompartmentOral
from tests.builders import BOXES, oral_model, oral_of
from training.long_records.window import windows

THETA = torch.tensor([1.5, 0.08, 30.0], dtype=torch.float64)
A = OneCompartmentOral(**BOXES).matrices(THETA[None, None])[0][0, 0].numpy()


def moved(time: float) -> np.ndarray:
    return scipy.linalg.expm(A * time)


def settled(time: float, arrives: np.ndarray) -> np.ndarray:
    """(I − e^{A·II})⁻¹ e^{A·II} d."""
    return np.linalg.solve(np.eye(2) - moved(time), moved(time) @ arrives)


@pytest.mark.parametrize("every", [2.0, 6.0, 240.0])
def test_a_steady_state_is_the_closed_form(every: float) -> None:
    schedule = Schedule((Dose("gut", 0.0, 100.0),), steady=(Steady("gut", 0.0, 100.0, every),))
    states = simulate(oral_of(), schedule, [0.0, 1.0, 5.0], THETA).numpy()
    begin = settled(every, np.array([100.0, 0.0])) + np.array([100.0, 0.0])
    # nothing was given before: what stands at its own time is the trough
    np.testing.assert_allclose(states[0], settled(every, np.array([100.0, 0.0])), rtol=1e-9)
    np.testing.assert_allclose(states[1:], [moved(1.0) @ begin, moved(5.0) @ begin], rtol=1e-9)


@pytest.mark.parametrize("duration", [0.0, 2.0, 6.0, 9.0, 15.0])
def test_infusions_at_steady_state_are_those_truly_repeated(duration: float) -> None:
    steady = Steady("plasma", 0.0, 100.0, 6.0, duration)
    doses = (Dose("plasma", 0.0, 100.0, duration), *(Dose("plasma", 0.0, much, left) for much, left in steady.tails))
    states = simulate(oral_of(), Schedule(doses, steady=(steady,)), [3.0, 6.0, 13.0], THETA)
    last = 6.0 * 99
    doses = tuple(Dose("plasma", 6.0 * k, 100.0, duration) for k in range(100))  # e^{−.08·594} = 2e-21 is left of the start
    brute = simulate(oral_of(), Schedule(doses), [last + 3.0, last + 6.0, last + 13.0], THETA)
    torch.testing.assert_close(states, brute, rtol=1e-9, atol=1e-9)


def test_an_infusion_without_an_end_is_where_inflow_is_outflow() -> None:
    schedule = Schedule(steady=(Steady("plasma", 1.0, 24.0, 1.0, 1.0),))  # 24 in each unit of time, for ever
    states = simulate(oral_of(), schedule, [1.5], THETA).numpy()[0]
    np.testing.assert_allclose(states, moved(0.5) @ [0.0, 24.0 / 0.08], rtol=1e-9)


@pytest.mark.parametrize("solver", [None, Exponential(), RungeKutta("rk4"), Torchdiffeq("dopri5")])
def test_every_solver_takes_a_record_apart_where_it_begins_anew(solver: object) -> None:
    doses = (Dose("gut", 1.0, 100.0), Dose("gut", 3.0, 70.0, lag=5.0), Dose("plasma", 9.0, 50.0, 4.0), Dose("gut", 10.0, 80.0))
    schedule = Schedule(doses, resets=(4.0, 10.0, 12.5))
    times = [0.0, 2.0, 4.0, 5.0, 9.5, 10.0, 11.0, 12.5, 14.0]
    mesh = None if solver is None else Mesh(0.05)
    states = simulate(oral_of(), schedule, times, THETA, solver=solver, mesh=mesh).numpy()  # type: ignore[arg-type]
    before = moved(1.0) @ [100.0, 0.0]
    infused = np.linalg.solve(A, (moved(0.5) - np.eye(2)) @ [0.0, 12.5])
    whole = np.linalg.solve(A, (moved(1.0) - np.eye(2)) @ [0.0, 12.5])
    # the lagged dose was given before the reset at 4 and never arrives; the infusion ends at 10; nothing is left after 12.5
    right = [[0, 0], before, moved(3.0) @ [100.0, 0.0], [0, 0], infused, whole]
    right += [moved(1.0) @ [80.0, 0.0], moved(2.5) @ [80.0, 0.0], [0, 0]]
    np.testing.assert_allclose(states, right, rtol=2e-6, atol=1e-6)


def test_what_is_added_is_the_superposition() -> None:
    morning, evening = Steady("gut", 0.0, 100.0, 24.0), Steady("plasma", 12.0, 50.0, 24.0, added=True)
    doses = [*(Dose("gut", 24.0 * k, 100.0) for k in range(2)), *(Dose("plasma", 12.0 + 24.0 * k, 50.0) for k in range(2))]
    states = simulate(oral_of(), Schedule(doses, steady=(morning, evening)), [6.0, 12.0, 20.0, 40.0], THETA).numpy()
    start = settled(24.0, np.array([100.0, 0.0])) + np.array([100.0, 0.0])
    np.testing.assert_allclose(states[1], moved(12.0) @ start, rtol=1e-9)  # what is added counts from its own time on
    noon = moved(12.0) @ start + settled(24.0, np.array([0.0, 50.0])) + [0.0, 50.0]
    np.testing.assert_allclose(states[2], moved(8.0) @ noon, rtol=1e-9)
    # both for ever is the same as both given a hundred times
    many = [*(Dose("gut", 24.0 * k, 100.0) for k in range(102)), *(Dose("plasma", 12.0 + 24.0 * k, 50.0) for k in range(102))]
    brute = simulate(oral_of(), Schedule(tuple(many)), [24.0 * 100 + 20.0, 24.0 * 100 + 40.0], THETA).numpy()
    np.testing.assert_allclose(states[2:], brute, rtol=1e-9)


def test_gradients_are_those_of_finite_differences() -> None:
    model = oral_of()

    def last(theta: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
        steady = (Steady("gut", 0.0, amount, 8.0), Steady("plasma", 3.0, amount, 5.0, 2.0, added=True))
        schedule = Schedule((Dose("gut", 0.0, amount), Dose("plasma", 3.0, amount)), steady=steady)
        return simulate(model, schedule, [2.0, 7.0], theta)

    amount = torch.tensor(80.0, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(last, (THETA.clone().requires_grad_(), amount))


def test_people_without_restarts_are_as_without_anybody_with_them() -> None:
    model = oral_model()
    plain = Schedule((Dose("gut", 0.0, 320.0), Dose("gut", 12.0, 320.0)))
    times = [[1.0, 5.0, 14.0], [2.0, 6.0, 30.0]]
    other = Schedule((Dose("gut", 0.0, 100.0), Dose("gut", 20.0, 100.0)), resets=(20.0,))
    eta = torch.tensor([[[0.2, -0.1, 0.1], [0.0, 0.3, -0.2]]], dtype=torch.float64)
    both = rollout(model, conditions_of(model, [plain, other], times), eta)
    one = rollout(model, conditions_of(model, [plain], times[:1]), eta[:, :1])
    torch.testing.assert_close(both.states[:, :1], one.states, rtol=1e-6, atol=1e-6)
    # after the reset it is a record of its own
    alone = rollout(model, conditions_of(model, [Schedule((Dose("gut", 0.0, 100.0),))], [[10.0]]), eta[:, 1:])
    torch.testing.assert_close(both.states[:, 1:, 2:], alone.states, rtol=1e-6, atol=1e-6)
    # chosen, repeated and moved people keep their restarts
    chosen = conditions_of(model, [plain, other], times).people(torch.tensor([1, 0, 1]))
    again = rollout(model, chosen, eta[:, [1, 0, 1]])
    torch.testing.assert_close(again.states, both.states[:, [1, 0, 1]], rtol=1e-6, atol=1e-6)


def test_with_a_residual_the_steady_state_is_that_of_doses_truly_given() -> None:
    model = oral_model()
    with torch.no_grad():
        for parameter in model.residual.parameters():
            parameter.mul_(3.0)
    schedule = Schedule((Dose("gut", 0.0, 100.0),), steady=(Steady("gut", 0.0, 100.0, 12.0),))
    states = simulate(model, schedule, [4.0, 12.0], THETA)
    many = Schedule(tuple(Dose("gut", 12.0 * k, 100.0) for k in range(20)))  # e^{−.08·240} = 5e-9
    brute = simulate(model, many, [12.0 * 19 + 4.0, 12.0 * 20], THETA)
    assert model.linear is False
    torch.testing.assert_close(states, brute, rtol=1e-5, atol=1e-4)


def test_a_text_says_them_and_reads_back() -> None:
    text = "steady 100 mg -> gut @ 0 every 24 over 2 added; dose 100 -> gut @ 0; reset @ 72"
    units = {"gut": "mg", "time": "h"}
    found = parse_schedule(text, states=("gut",), base=Schedule(), units=units)
    assert found.resets == (72.0,)
    assert found.steady == (Steady("gut", 0.0, 100.0, 24.0, 2.0, added=True),)
    assert parse_schedule(format_schedule(found, units=units), states=("gut",), base=Schedule(), units=units) == found


def test_what_is_done_from_a_time_on_keeps_what_was() -> None:
    steady = (Steady("gut", 0.0, 100.0, 24.0), Steady("gut", 48.0, 100.0, 24.0))
    base = Schedule((Dose("gut", 0.0, 100.0), Dose("gut", 30.0, 100.0, 10.0)), resets=(12.0, 36.0), steady=steady)
    assert base.since(20.0).resets == (36.0,)
    assert base.since(20.0).steady == steady[1:]
    changed = base.do({"gut": [Dose("gut", 40.0, 7.0)]}, since=33.0)
    assert changed.resets == (12.0, 36.0)
    assert changed.steady == steady
    assert [float(d.amount) for d in changed.doses] == [100.0, 30.0, 7.0]
    whole = simulate(oral_of(), base, [20.0, 35.0, 40.0, 50.0], THETA)
    rest = simulate(oral_of(), base.since(20.0), [35.0, 40.0, 50.0], THETA, start=whole[0])
    torch.testing.assert_close(rest, whole[1:], rtol=1e-9, atol=1e-9)


def test_a_lag_of_other_doses_stands_beside_a_steady_state() -> None:
    steady = (Steady("gut", 1.0, 1.0, 2.0),)
    for dose in (Dose("plasma", 1.0, 1.0, lag=0.5), Dose("gut", 0.5, 1.0, lag=0.5)):
        assert Schedule((dose,), steady=steady).doses == (dose,)
    assert Schedule((Dose("gut", 9.0, 1.0, lag=0.5),), resets=(8.0,), steady=steady).doses[0].lag == 0.5


def test_members_begin_anew_each_for_itself_and_in_float32_the_same() -> None:
    seed = torch.Generator().manual_seed(4)
    schedule = Schedule(
        (Dose("gut", 0.0, 320.0), Dose("gut", 60.0, 320.0)), resets=(60.0,), steady=(Steady("gut", 0.0, 320.0, 12.0),)
    )
    plain = Schedule((Dose("gut", 0.0, 320.0),))
    times = [[0.5, 8.0, 61.0, 70.0], [0.5, 8.0, 61.0, 70.0]]
    stacked = Ensemble(3).stack(oral_model(), seed)
    eta = 0.3 * torch.randn(3, 2, 3, dtype=torch.float64, generator=seed)
    given = conditions_of(stacked, [schedule, plain], times)
    together = rollout(stacked, given, eta).states.detach()
    for k in range(3):
        alone = rollout(select(stacked, torch.tensor([k])), given, eta[k : k + 1]).states.detach()
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-5, atol=3e-4)  # 1e-6 of 320: steps are shared
    single, eta32 = copy.deepcopy(stacked).to(torch.float32), eta.to(torch.float32)
    rough = rollout(single, given.to(torch.zeros((), dtype=torch.float32)), eta32).states.detach()
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough.to(together), together, rtol=1e-3, atol=1e-2)  # 320 in float32, by a solver of 1e-4


def test_what_has_no_place_for_them_refuses() -> None:
    model = oral_of()
    schedule = Schedule((Dose("gut", 0.0, 100.0),), resets=(5.0,))
    given = conditions_of(model, [schedule], [[1.0, 8.0]])
    y = torch.ones(1, 2, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match="a reset or a steady state"):
        follow(UKF(Followed.of(model, 1, floor={})), given, y)
    with pytest.raises(ValueError, match="a reset or a steady state"):
        windows(given.segments, 2)
    start = (torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    with pytest.raises(ValueError, match="a reset or a steady state"):
        rollout(model, given, torch.zeros(1, 1, 3, dtype=torch.float64), start=start)
    added = Schedule(steady=(Steady("gut", 0.0, 1.0, 24.0, added=True),))
    with pytest.raises(ValueError, match="linear models alone"):
        simulate(oral_model(), added, [1.0], THETA)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Steady("gut", 0.0, -1.0, 24.0), "amount"),
        (lambda: Steady("gut", 0.0, 1.0, 0.0), "interval"),
        (lambda: Steady("gut", 0.0, 1.0, 1.0, 2000.0), "overlaps"),
        (lambda: Steady("", 0.0, 1.0, 1.0), "compartment"),
        (lambda: Schedule(resets=(-1.0,)), "starts at 0"),
        (lambda: Schedule(resets=3.0), "list of times"),  # type: ignore[arg-type]
        (lambda: Schedule(steady=(Steady("gut", 1.0, 1.0, 2.0), Steady("plasma", 1.0, 1.0, 2.0))), "undo the first"),
        (lambda: Schedule((Dose("gut", 1.0, 1.0, lag=0.5),), steady=(Steady("gut", 1.0, 1.0, 2.0),)), "arrives 0.5 later"),
        (
            lambda: Schedule(
                (Dose("gut", 4.0, 1.0, lag=torch.zeros((), requires_grad=True)),), steady=(Steady("gut", 1.0, 1.0, 2.0),)
            ),
            "times of arrival",
        ),
        (lambda: parse_schedule("reset 24", states=("gut",), base=Schedule()), "found '24' where @"),
        (lambda: parse_schedule("steady 1 -> gut @ 0", states=("gut",), base=Schedule()), "every"),
    ],
)
def test_what_cannot_be_is_refused(made: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        made()  # type: ignore[operator]


def saturable() -> HybridModel:
    """Elimination by Vmax 500 mg/d with Km·V 200 mg, everyone alike."""
    mechanism = MichaelisMenten()
    return HybridModel(
        mechanism,
        LogNormalPopulation(mechanism.physical, [0.01] * len(mechanism.physical)),
        observation=States(["plasma"], ["c"], ["mg"]),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
    )


@pytest.mark.parametrize(("amount", "duration"), [(100.0, 0.0), (300.0, 0.5)])
@pytest.mark.slow
def test_of_saturable_elimination_it_is_that_of_doses_truly_given(amount: float, duration: float) -> None:
    model = saturable()
    theta = model.typical[0]
    steady = Steady("plasma", 0.0, amount, 1.0, duration)
    schedule = Schedule((Dose("plasma", 0.0, amount, duration),), steady=(steady,))
    states = simulate(model, schedule, [0.3, 1.0], theta)
    doses = tuple(Dose("plasma", float(k), amount, duration) for k in range(60))  # what is left of the start: below e^{−.5·60}
    brute = simulate(model, Schedule(doses), [59.3, 60.0], theta, solver=RungeKutta("rk4"), mesh=Mesh(0.02))
    torch.testing.assert_close(states, brute, rtol=2e-5, atol=1e-3)


def test_more_than_is_taken_away_has_no_steady_state_and_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hybrid.steady_state._ROUNDS", 4)  # it has none, however many doses are given
    model = saturable()
    theta = model.typical[0]
    too_much, plain = (
        Schedule((Dose("plasma", 0.0, a),), steady=(Steady("plasma", 0.0, a, 1.0),) if a > 500.0 else ()) for a in (600.0, 100.0)
    )
    found = integrate(model, [too_much, plain], [[0.5], [0.5]], theta)
    assert [(f.record, f.cause) for f in found.failures] == [(0, Cause.UNSETTLED)]
    assert bool(found.states[:, 0].isnan().all())
    torch.testing.assert_close(found.states[0, 1], simulate(model, plain, [0.5], theta))


@pytest.mark.slow
def test_its_gradient_is_that_of_finite_differences() -> None:
    model = saturable()
    theta = model.typical[0, 0].clone().requires_grad_()

    def last(theta: torch.Tensor) -> torch.Tensor:
        schedule = Schedule((Dose("plasma", 0.0, 300.0),), steady=(Steady("plasma", 0.0, 300.0, 1.0),))
        return simulate(model, schedule, [0.5], theta, solver=Exponential(rtol=1e-9))[0, 1]

    (exact,) = torch.autograd.grad(last(theta), theta)
    with torch.no_grad():
        for j in range(len(theta)):
            step = torch.zeros_like(theta)
            step[j] = 1e-4 * theta[j].abs()
            slope = (last(theta + step) - last(theta - step)) / (2.0 * step[j])
            # second order in the step, and a solver's 1e-9 over it
            assert abs(float(exact[j] - slope)) <= 1e-4 * max(abs(float(slope)), 1e-2)


@pytest.mark.slow
def test_its_second_derivative_is_that_of_finite_differences() -> None:
    model = saturable()
    theta = model.typical[0, 0].clone().requires_grad_()

    def slope(theta: torch.Tensor, graph: bool) -> torch.Tensor:
        schedule = Schedule((Dose("plasma", 0.0, 300.0),), steady=(Steady("plasma", 0.0, 300.0, 1.0),))
        last = simulate(model, schedule, [0.5], theta, solver=Exponential(rtol=1e-9))[0, 1]
        return torch.autograd.grad(last, theta, create_graph=graph)[0]

    exact = torch.stack([torch.autograd.grad(v, theta, retain_graph=True)[0] for v in slope(theta, True)])
    rows = []
    for j in range(len(theta)):
        step = torch.zeros_like(theta)
        step[j] = 1e-4 * theta[j].detach().abs()
        up, down = ((theta.detach() + s * step).requires_grad_() for s in (1.0, -1.0))
        rows.append((slope(up, False) - slope(down, False)) / (2.0 * step[j]))
    differences = torch.stack(rows)
    # in what each parameter changes when it doubles; second order in the step, and a solver's 1e-9 over it
    size = theta.detach()[:, None] * theta.detach()
    torch.testing.assert_close(exact * size, differences * size, rtol=2e-4, atol=2e-2)


def test_people_counted_from_the_end_keep_where_they_begin_anew() -> None:
    doses = (Dose("gut", 0.0, 100.0), Dose("gut", 6.0, 100.0))
    schedule = Schedule(doses, resets=(6.0,), steady=(Steady("gut", 0.0, 100.0, 12.0),))
    both = conditions_of(oral_of(), [Schedule((Dose("gut", 0.0, 50.0),)), schedule], [[1.0, 8.0]] * 2)
    last, second = both.people(torch.tensor([-1])), both.people(torch.tensor([1]))
    personal = torch.zeros(1, 1, 3, dtype=torch.float64)
    torch.testing.assert_close(rollout(oral_of(), last, personal).mean, rollout(oral_of(), second, personal).mean, rtol=0, atol=0)
