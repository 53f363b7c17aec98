"""A `do` that keeps the past, and what is left of a schedule from a time on."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hybrid import Dose, Exponential, HybridModel, Mesh, RungeKutta, Schedule, Signal, States, simulate
from hybrid.schedules.schedule_text import ScheduleTextError, parse_schedule
from learned import MLP, AdditiveProportional
from physics import LinearBackbone, SharedPopulation

F64 = torch.float64
STATES, NOBODY = ("x1", "x2"), torch.zeros(0, dtype=F64)
TIMES = st.floats(0.0, 10.0).map(lambda t: round(t, 2))
doses = st.builds(
    Dose,
    state=st.sampled_from(STATES),
    time=TIMES,
    amount=st.floats(0.0, 5.0),
    duration=st.one_of(st.just(0.0), st.floats(0.25, 6.0)),
    lag=st.sampled_from([0.0, 0.0, 0.75]),
)


@st.composite
def signals(draw) -> Signal:
    times = sorted(draw(st.sets(TIMES, min_size=1, max_size=5)))
    return Signal(times, [draw(st.floats(-1.0, 1.0)) for _ in times], draw(st.sampled_from(["linear", "held"])))


schedules = st.builds(lambda d, u: Schedule(tuple(d), {"u": u}), st.lists(doses, max_size=5), signals())


def model(hidden: int = 4) -> HybridModel:
    residual = MLP(2, 1, hidden=(hidden,), rate_scale=1.0, state_scale=2.0) if hidden else None
    return HybridModel(
        LinearBackbone([[-1.0, 0.4], [0.3, -0.6]], [[0.5], [-0.2]], states=STATES, inputs=("u",)),
        SharedPopulation(),
        residual,
        observation=States([0], ["y"], ["1"]),
        noise=AdditiveProportional([0.1], [0.1], [0.01]),
    )


LINEAR, LEARNED = model(0), model()
EXACT = Exponential(rtol=1e-8)


def given_before(schedule: Schedule, state: str, time: float) -> tuple[float, float]:
    """How much was given into a compartment before a time, and how much of that has arrived."""

    def part(begin: float, dose: Dose) -> float:
        if dose.duration == 0.0:
            return dose.amount if begin < time else 0.0
        return dose.amount * min(max((time - begin) / dose.duration, 0.0), 1.0)

    into = schedule.into(state)
    return sum(part(d.time, d) for d in into), sum(part(d.time + d.lag, d) for d in into)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(schedules, st.lists(doses, min_size=1, max_size=3), TIMES, signals())
def test_what_was_given_before_stays(base, new, since, signal):
    new = [replace(d, time=since + d.time) for d in new]
    changed = base.do(*new, inputs={"u": signal}, since=since)
    named = {d.state for d in new}
    for state in STATES:
        for t in (0.5 * since, since):
            assert given_before(changed, state, t) == pytest.approx(given_before(base, state, t), rel=1e-12, abs=1e-12)
        if state not in named:
            assert changed.into(state) == sorted(base.into(state), key=lambda d: d.time)  # an infusion is not even cut
    late = [d for d in changed.doses if d.time >= since and d.state in named]
    assert sorted(late, key=repr) == sorted(new, key=repr)  # and nothing else goes into them any more
    for d in changed.doses:
        if d.state in named and d.time < since:
            assert d.time + d.duration <= since + 1e-12
    before = [t for t in np.linspace(0.0, 10.0, 41) if t < since - 1e-9]
    after = [t for t in np.linspace(0.0, 10.0, 41) if t > since + 1e-9]
    u, v = base.inputs["u"], changed.inputs["u"]
    assert v.sample(before) == pytest.approx(u.sample(before), rel=1e-12, abs=1e-12)
    assert v.sample(after) == pytest.approx(signal.sample(after), rel=1e-12, abs=1e-12)


@settings(deadline=None, max_examples=8, derandomize=True)
@given(schedules, st.lists(doses, min_size=1, max_size=2), TIMES, signals(), st.sampled_from([LINEAR, LEARNED]))
def test_do_since_agrees_before(base, new, since, signal, who):
    assume(since > 0.1)
    changed = base.do(*(replace(d, time=since + d.time) for d in new), inputs={"u": signal}, since=since)
    times = [0.25 * since, 0.7 * since, since]
    a, b = (simulate(who, s, times, NOBODY, torch.ones(2, dtype=F64), solver=EXACT) for s in (base, changed))
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=8, derandomize=True)
@given(schedules, TIMES, st.sampled_from([LINEAR, LEARNED]))
def test_up_to_a_time_and_from_there_on_is_the_whole(base, since, who):
    start = torch.ones(2, dtype=F64)
    times = [since + 0.3, since + 2.0, since + 9.0]
    whole = simulate(who, base, [since, *times], NOBODY, start, solver=EXACT)
    rest = base.since(since)
    assert rest.start == since
    assert all(d.time >= since for d in rest.doses)
    torch.testing.assert_close(simulate(who, rest, times, NOBODY, whole[0], solver=EXACT), whole[1:], rtol=1e-6, atol=1e-6)


def test_what_cannot_be_done_from_then_on_is_said_of_then() -> None:
    base = Schedule((Dose("x1", 0.0, 8.0),), start=-1.0)
    for change, words in (
        (Dose("x1", 2.0, 1.0), "do: since is 3 and a dose into x1 is at 2; what was given before since stays"),
        ({"x1": [Dose("x1", 2.0, 1.0)]}, "do: since is 3 and a dose into x1 is at 2"),
        ("dose 1 -> x1 @ 2", "what is done here begins at 3; dose at that time"),
        ("from 2: clear x1", "what is done here begins at 3; write that time"),
        ("scale x1 by 2", "no dose into x1 to scale from 3 on, and what was given before stays; give one: dose 1 -> x1 @ 3"),
    ):
        with pytest.raises(ValueError, match=words):
            base.do(change, since=3.0)
    for text, words in (
        ("from 3: dose 1 -> x1 @ 2", "what is done here begins at 3"),
        ("from 3: clear x1; from -2: clear x1", "the record starts at -1"),
        ("from 3: split x1 in 2 every 1", "no dose into x1 to split from 3 on"),
        ("scale x2 by 2", "no dose into x2 to scale; give one: dose 1 -> x2 @ 0"),
    ):
        with pytest.raises(ValueError, match=words):
            base.do(text)
    assert base.do(Dose("x1", 3.0, 1.0), since=3.0).doses == (Dose("x1", 0.0, 8.0), Dose("x1", 3.0, 1.0))


@settings(deadline=None, max_examples=50, derandomize=True)
@given(schedules, TIMES, TIMES)
def test_since_twice_is_since_the_later(base, first, second):
    first, second = sorted((first, second))
    twice, once = base.since(first).since(second), base.since(second)
    grid = np.linspace(second, 25.0, 60)
    for state in STATES:
        for t in grid:
            assert given_before(twice, state, t) == pytest.approx(given_before(once, state, t), rel=1e-9, abs=1e-9)
    assert twice.inputs["u"].sample(grid) == pytest.approx(once.inputs["u"].sample(grid), rel=1e-9, abs=1e-9)


def test_examples_by_hand():
    base = Schedule((Dose("x1", 0.0, 8.0, 4.0), Dose("x2", 5.0, 1.0), Dose("x1", 6.0, 2.0)), {"u": Signal([0.0], [1.0])})
    changed = base.do(Dose("x1", 3.0, 9.0), since=1.0)
    assert changed.doses == (Dose("x1", 0.0, 2.0, 1.0), Dose("x1", 3.0, 9.0), Dose("x2", 5.0, 1.0))
    assert base.do({"x1": []}, since=1.0).doses == (Dose("x1", 0.0, 2.0, 1.0), Dose("x2", 5.0, 1.0))
    # the rest of what runs is a dose like the later ones
    assert base.do("scale x1 by 2", since=1.0).into("x1") == [
        *(Dose("x1", 0.0, 2.0, 1.0), Dose("x1", 1.0, 12.0, 3.0), Dose("x1", 6.0, 4.0))
    ]
    assert base.do(since=1.0).doses == base.doses
    assert base.since(1.0).doses == (Dose("x1", 1.0, 6.0, 3.0), Dose("x2", 5.0, 1.0), Dose("x1", 6.0, 2.0))
    # given and not yet there: it stays in `do`, and is still to come in `since`
    late = Schedule((Dose("x1", 0.0, 3.0, lag=2.0),))
    assert late.do({"x1": []}, since=1.0) == late
    assert late.since(1.0).doses == (Dose("x1", 2.0, 3.0),)
    # at the time itself it is still to come
    assert base.since(5.0).doses == (Dose("x2", 5.0, 1.0), Dose("x1", 6.0, 2.0))
    held = Signal([0.0, 4.0], [1.0, 2.0], "held")
    assert held.followed(Signal([3.0], [5.0], "held"), 2.0).kind == "held"
    with pytest.raises(ValueError, match="since is 2"):
        base.do(Dose("x1", 1.0, 5.0), since=2.0)
    with pytest.raises(ValueError, match="write a later time"):
        base.since(-1.0)


def test_since_keeps_gradients():
    amount, time = (torch.tensor(v, dtype=F64, requires_grad=True) for v in (8.0, 0.5))
    base = Schedule((Dose("x1", time, amount, 4.0),), {"u": Signal([0.0], [1.0])})
    start = torch.zeros(2, dtype=F64)
    mesh, solver = Mesh(0.1), RungeKutta("rk4")
    whole = simulate(LINEAR, base, [2.0, 4.0], NOBODY, start, solver=solver, mesh=mesh)
    again = simulate(LINEAR, base.since(2.0), [4.0], NOBODY, whole[0], solver=solver, mesh=mesh)
    for one, other in ((whole[1, 0], again[0, 0]), (whole[1, 1], again[0, 1])):
        wanted = torch.autograd.grad(one, (amount, time), retain_graph=True)
        got = torch.autograd.grad(other, (amount, time), retain_graph=True)
        torch.testing.assert_close(torch.stack(got), torch.stack(wanted), rtol=1e-5, atol=1e-7)


# ---- calls and texts


def test_the_forms_of_do():
    base = Schedule((Dose("gut", 0.0, 320.0), Dose("plasma", 1.0, 5.0)))
    dose = Dose("gut", 0.0, 640.0)
    assert base.do(dose) == base.do({"gut": [dose]}) == base.do("scale gut by 2") == base.do({"gut": dose})
    two = base.do(dose, Dose("gut", 8.0, 10.0), Dose("plasma", 2.0, 1.0))
    assert two.doses == (dose, Dose("plasma", 2.0, 1.0), Dose("gut", 8.0, 10.0))
    assert base.added(dose).into("gut") == [*base.into("gut"), dose]
    signal = Signal([0.0], [1.0])
    assert base.do("clear gut", inputs={"u": signal}) == base.do({"gut": []}, inputs={"u": signal})
    assert base.do("set glucose = 5") == base.do(inputs={"glucose": Signal([0.0], [5.0])})


def parse(text: str, base: Schedule) -> Schedule:
    units = {"time": "h", "gut": "mg"}
    return parse_schedule(text, states=("gut", "plasma"), inputs=("u",), base=base, units=units)


def test_from_in_the_grammar():
    base = Schedule((Dose("gut", 0.0, 8.0, 4.0), Dose("plasma", 5.0, 1.0)), {"u": Signal([0.0], [1.0], "held")})
    assert parse("from 1 h: clear gut", base) == base.do({"gut": []}, since=1.0)
    both = parse("dose 3 -> plasma @ 2; from 1 h: dose 50 mg -> gut @ 14; set u = 2 held; from 20: dose 1 -> gut @ 21", base)
    first = base.do(Dose("plasma", 2.0, 3.0))
    second = first.do(Dose("gut", 14.0, 50.0), inputs={"u": Signal([1.0], [2.0], "held")}, since=1.0)
    assert both == second.do(Dose("gut", 21.0, 1.0), since=20.0)
    twice = parse("from 1: dose 1 -> gut @ 2; dose 2 -> gut @ 3", base)
    assert twice.into("gut")[1:] == [Dose("gut", 2.0, 1.0), Dose("gut", 3.0, 2.0)]
    assert base.do("from 1: scale gut by 2") == base.do("scale gut by 2", since=1.0)
    assert parse("from 1:", base) == base


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("from 12 clear gut", 8, "where : and what is done from then on belong"),
        ("clear gut from 12: scale plasma by 2", 10, "write ; between two"),
        ("from 12: dose 5 -> gut @ 3", 25, "what is done here begins at 12"),
        ("from -1: clear gut", 0, "the record starts at 0"),
        ("from: clear gut", 4, "number of the time"),
        ("from 9: scale gut by 2", 14, "no dose into gut to scale"),
        ("clear gut; from 2: from 1: nonsense", 27, "where a statement begins"),
    ],
)
def test_slips_of_from(text: str, at: int, words: str):
    with pytest.raises(ScheduleTextError, match=words) as caught:
        parse(text, Schedule((Dose("gut", 0.0, 8.0, 4.0),), {"u": Signal([0.0], [1.0])}))
    assert caught.value.at == at


def test_a_step_between_signals_of_two_kinds():
    line, held = Signal([0.0, 10.0], [0.0, 10.0]), Signal([0.0, 5.0, 7.0], [1.0, 2.0, 3.0], "held")
    joined = line.followed(held, 4.0)
    assert joined.sample([1.0, 3.999, 4.0, 4.9, 5.0, 8.0]).tolist() == pytest.approx([1.0, 3.999, 1.0, 1.0, 2.0, 3.0])
    back = held.followed(line, 6.0)
    assert back.sample([1.0, 4.9, 5.0, 5.9, 6.0, 8.0]).tolist() == pytest.approx([1.0, 1.0, 2.0, 2.0, 6.0, 8.0])
    assert math.nextafter(6.0, -math.inf) in back.times


# ---- two times are the same where rounding parts them


LATE = 0.1 + 0.2  # a rounding after 0.3


def test_a_dose_a_rounding_before_is_one_at_that_time():
    gut, running = Dose("gut", 0.3, 8.0), Dose("plasma", 0.0, 6.0, 0.3)
    base = Schedule((running, gut), {"u": Signal([0.0], [1.0])})
    assert LATE > 0.3
    for change in ("clear gut", {"gut": []}):
        assert base.do(change, since=LATE).doses == (running,)
    assert base.do("from 0.30000000000000004: clear gut").doses == (running,)
    assert base.do("scale gut by 2", since=LATE).doses == (running, Dose("gut", LATE, 16.0))
    # what is not named stays as it was, and so does what has run out
    assert base.do("clear plasma", since=LATE) == base
    for change in (Dose("gut", 0.3, 1.0), "dose 1 -> gut @ 0.3"):
        assert base.do(change, since=LATE).doses == (running, Dose("gut", LATE, 1.0))
    assert base.since(LATE).doses == (Dose("gut", LATE, 8.0),)
    assert Schedule((Dose("gut", 0.1, 8.0, lag=0.2),)).since(math.nextafter(LATE, 1.0)).doses == (
        Dose("gut", math.nextafter(LATE, 1.0), 8.0),
    )
    # the start of a record too
    assert Schedule((Dose("gut", LATE, 8.0),), start=LATE).since(0.3).start == LATE
    # what anybody could measure is before
    assert base.do("clear gut", since=0.3 + 1e-6).doses == base.doses
    with pytest.raises(ValueError, match=r"since is 0\.30001 and a dose into gut is at 0\.3;"):
        base.do(Dose("gut", 0.3, 1.0), since=0.30001)


def test_a_dose_moved_by_a_rounding_keeps_its_gradient():
    time = torch.tensor(0.3, dtype=F64, requires_grad=True)
    dose = Schedule((Dose("gut", time, 8.0),)).since(LATE).doses[0]
    assert float(dose.time.detach()) == LATE
    assert torch.autograd.grad(dose.time, time)[0] == 1.0


def test_a_change_that_reaches_into_the_past_is_refused():
    base = Schedule((Dose("gut", 0.0, 8.0), Dose("gut", 4.0, 2.0)), {"u": Signal([0.0], [1.0])})
    with pytest.raises(ValueError, match="puts a dose into gut at 1, and what was given before 2 stays; write a time from 2 on"):
        base.onwards(2.0, lambda later: Schedule((Dose("gut", 1.0, 5.0),)))
    # what it leaves out: doses are not given, inputs drive as before
    assert base.onwards(2.0, lambda later: Schedule()) == Schedule(base.doses[:1], base.inputs)


@pytest.mark.filterwarnings("error")
def test_a_time_that_carries_a_gradient_is_a_number():
    since = torch.tensor(1.0, dtype=F64, requires_grad=True)
    base = Schedule((Dose("gut", 0.0, 8.0, 4.0), Dose("gut", 5.0, 1.0)), {"u": Signal([0.0], [1.0])})
    assert base.since(since) == base.since(1.0)
    assert base.do("clear gut", since=since) == base.do("clear gut", since=1.0)
