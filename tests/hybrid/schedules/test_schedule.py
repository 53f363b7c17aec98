"""Schedules: what `do` keeps, what scaling and splitting conserve, and that cutting an infusion changes nothing."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hybrid import Dose, Schedule, Signal, build_segments
from hybrid.schedules.dose import as_float, as_time

STATES = ("gut", "plasma", "tissue")

doses = st.builds(
    Dose,
    state=st.sampled_from(STATES),
    time=st.floats(0.0, 48.0),
    amount=st.floats(0.0, 500.0),
    duration=st.one_of(st.just(0.0), st.floats(0.25, 6.0)),
)
signals = st.builds(lambda v: Signal((0.0, 5.0), (v, 2.0 * v)), st.floats(-10.0, 10.0))
schedules = st.builds(
    lambda d, i: Schedule(tuple(d), i), st.lists(doses, max_size=6), st.dictionaries(st.sampled_from("uvw"), signals)
)


def key(dose: Dose) -> tuple[str, float, float, float]:
    return (dose.state, as_float(dose.time), as_float(dose.amount), dose.duration)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(schedules, st.lists(doses, max_size=3), signals)
def test_do_keeps_everything_that_it_does_not_name(base, new, signal):
    gut = [Dose("gut", d.time, d.amount, d.duration) for d in new]
    before = (base.doses, dict(base.inputs))
    changed = base.do({"gut": gut}, inputs={"u": signal})
    assert sorted(map(key, changed.into("gut"))) == sorted(map(key, gut))
    for state in ("plasma", "tissue"):
        assert sorted(map(key, changed.into(state))) == sorted(map(key, base.into(state)))
    assert changed.inputs == {**base.inputs, "u": signal}
    assert changed.start == base.start
    assert [d.time for d in changed.doses] == sorted(d.time for d in changed.doses)
    assert (base.doses, dict(base.inputs)) == before  # a new one, the old one stays
    assert changed.do({"gut": gut}, inputs={"u": signal}) == changed
    assert sorted(map(key, base.do().doses)) == sorted(map(key, base.doses))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(schedules, st.floats(0.0, 10.0), st.integers(1, 5), st.floats(0.1, 24.0))
def test_scaled_and_split(base, factor, parts, interval):
    assume(base.into("gut"))
    scaled = base.scaled("gut", factor)
    total = sum(d.amount for d in base.into("gut"))
    # sums of a few floats: relative rounding of some 1e-16 each
    assert sum(d.amount for d in scaled.into("gut")) == pytest.approx(factor * total, rel=1e-13)
    split = base.split("gut", parts, interval)
    assert len(split.into("gut")) == parts * len(base.into("gut"))
    assert sum(d.amount for d in split.into("gut")) == pytest.approx(total, rel=1e-13)
    expected = sorted(d.time + k * interval for d in base.into("gut") for k in range(parts))
    assert sorted(d.time for d in split.into("gut")) == expected
    for other in (scaled, split):
        assert sorted(map(key, other.into("plasma"))) == sorted(map(key, base.into("plasma")))
        assert other.inputs == base.inputs
    assert sorted(map(key, base.split("gut", 1, interval).doses)) == sorted(map(key, base.doses))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.floats(0.0, 10.0), st.floats(0.5, 6.0), st.floats(0.05, 0.95), st.floats(1.0, 300.0))
def test_an_infusion_cut_in_two_delivers_the_same(time, duration, fraction, amount):
    whole = Schedule((Dose("gut", time, amount, duration),))
    first = fraction * duration
    halves = Schedule(
        (
            Dose("gut", time, fraction * amount, first),
            Dose("gut", time + first, (1.0 - fraction) * amount, duration - first),
        )
    )
    observed = [0.0, time + 0.3 * duration, time + 0.9 * duration, 20.0]

    def delivered(schedule: Schedule) -> torch.Tensor:
        cut = build_segments([schedule], [observed], STATES)
        amounts = (cut.rate[..., 0] * cut.dt).cumsum(1)
        return cut.read(torch.nn.functional.pad(amounts, (1, 0))[None, ..., None])[0, 0, :, 0]

    # the rates are quotients that differ in their last bits, summed over at most five segments
    torch.testing.assert_close(delivered(halves), delivered(whole), rtol=1e-11, atol=1e-11 * amount)


def test_a_signal_between_at_and_beyond_its_points():
    linear = Signal((0.0, 10.0, 20.0), (1.0, 3.0, -1.0), "linear")
    assert [linear.at(t) for t in (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0, 99.0)] == [1.0, 1.0, 2.0, 3.0, 1.0, -1.0, -1.0]
    held = Signal((0.0, 10.0, 20.0), (1.0, 3.0, -1.0), "held")
    assert [held.at(t) for t in (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0)] == [1.0, 1.0, 1.0, 3.0, 3.0, -1.0]
    assert [held.at(t, "left") for t in (0.0, 5.0, 10.0, 20.0)] == [1.0, 1.0, 1.0, 3.0]
    assert [linear.at(t, "left") for t in (0.0, 10.0, 20.0, 25.0)] == [1.0, 3.0, -1.0, -1.0]


def test_numbers_that_carry_a_gradient_keep_it():
    time = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    amount = torch.tensor(100.0, dtype=torch.float64, requires_grad=True)
    schedule = Schedule((Dose("gut", time, amount),)).scaled("gut", 3.0).split("gut", 2, 4.0)
    first, second = schedule.doses
    (as_time(second.time) + as_time(second.amount)).backward()
    assert (as_float(first.amount), as_float(second.time)) == (150.0, 6.0)
    assert (time.grad, amount.grad) == (torch.tensor(1.0), torch.tensor(1.5))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Dose("gut", 0.0, -1.0), "amount must be at least 0, and is -1"),
        (lambda: Dose("gut", 0.0, float("nan")), "amount must be a finite number, and is nan"),
        (lambda: Dose("gut", float("inf"), 1.0), "time must be a finite number, and is inf"),
        (lambda: Dose("gut", 0.0, 1.0, -1.0), "duration must be at least 0, and is -1"),
        (lambda: Signal((), ()), "at least one"),
        (lambda: Signal((0.0, 1.0), (1.0,)), "as many values as times"),
        (lambda: Signal((0.0, 0.0), (1.0, 2.0)), "must increase strictly"),
        (lambda: Signal((0.0, 1.0), (1.0, float("inf"))), "must be finite"),
        (lambda: Signal((0.0,), (1.0,), "cubic"), "'linear' or 'held', got 'cubic'"),
        (lambda: Schedule((Dose("gut", -1.0, 5.0),)), "starts at 0 and a dose into gut is at -1"),
        (lambda: Schedule(start=float("nan")), "the time at which the record begins, must be a finite number, and is nan"),
        (lambda: Schedule().do({"gut": [Dose("plasma", 0.0, 1.0)]}), "a dose into plasma stands under another"),
        (lambda: Schedule().split("gut", 0, 1.0), "parts must be at least 1"),
        (lambda: Schedule().split("gut", 2, 0.0), "interval must be above 0"),
    ],
)
def test_what_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
