"""What is kept of a person, and that it is all of it."""

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid import Mesh
from twin.clock import Clock
from twin.estimate import chi_square_band
from twin.joining import Course, Infusion
from twin.people import Known
from twin.snapshots import GAP, RECENT, Believed, Snapshots, State, thinned


def state_of(seed: int, members: int = 2, particles: int = 0) -> State:
    rng = np.random.default_rng(seed)
    z = 5
    course = Course(
        *(123_456_789, -5 if seed % 2 else None, 77, (0.1, math.nan), (3.5, 0.0)),
        (Infusion(999, 1, 0.25), Infusion(1000, 0, 1e-300)),
        None if seed % 3 else 4,
        seed,
    )
    if seed == 0:
        return State(course, None)
    root = np.tril(rng.standard_normal((members, z, z)))
    cloud = rng.standard_normal((members, z, particles)) if particles else None
    numbers = (rng.standard_normal((members, z)), root, *rng.standard_normal((3, members)))
    return State(course, Believed(*numbers, 3, 17, None if seed == 1 else -40, seed, cloud))


@pytest.mark.parametrize(("seed", "members", "particles"), [(0, 1, 0), (1, 1, 0), (2, 3, 0), (3, 2, 8)])
def test_a_packed_state_is_the_state(seed: int, members: int, particles: int) -> None:
    state = state_of(seed, members, particles)
    again = State.unpacked(state.packed(), states=2, inputs=2, size=5)
    assert again.packed() == state.packed()
    assert again.course.infusions == state.course.infusions
    assert (again.course.origin, again.course.measured, again.course.missed) == (
        *(state.course.origin, state.course.measured, state.course.missed),
    )
    if state.belief is None:
        assert again.belief is None
        return
    assert again.belief is not None
    for name in ("mean", "root", "evidence", "nis", "total", "particles"):
        one, other = getattr(state.belief, name), getattr(again.belief, name)
        assert (one is None and other is None) or np.array_equal(one, other)
    assert (again.belief.held, again.belief.seen, again.belief.counted) == (state.belief.held, 3, 17)


def test_what_is_known_of_a_person_is_kept_to_the_bit() -> None:
    rng = np.random.default_rng(1)
    known = Known(
        *({"WT": 70.1, "age": 1 / 3}, (math.nan, 0.1)),
        *(rng.standard_normal((2, 3)), rng.standard_normal((2, 3, 3))),
        *((0.0, 2.5), Mesh(0.3, 0.1, 0.2)),
    )
    again = Known.unpacked(known.packed())
    assert again.packed() == known.packed()
    assert np.array_equal(again.covariance, known.covariance)
    none = Known({}, (), np.zeros((2, 0)), np.zeros((2, 0, 0)), (), Mesh(0.3))
    assert Known.unpacked(none.packed()).mean.shape == (2, 0)


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=200, unique=True))
def test_gaps_grow_with_age_and_the_newest_stay(times: list[int]) -> None:
    times = sorted(times)
    kept = [times[k] for k in thinned(times)]
    assert kept[0] == times[0]
    assert kept[-RECENT:] == times[-RECENT:]
    for a, b in pairwise(kept):
        assert b - a <= GAP * (times[-1] - b) or not [t for t in times if a < t < b]


def test_snapshots_of_a_week_are_few_whichever_way_they_came() -> None:
    """One by one, and with late changes on the way: every five minutes of seven days."""
    rng, snapshots, minute = random.Random(4), Snapshots(), 60_000_000
    counts, now = [], 0
    for k in range(3 * 2016):
        now = k * 5 * minute
        if k % 500 == 499:  # something late: what is newer is gone, and comes again
            back = now - rng.randrange(1, 1440) * minute
            snapshots.forget_from(back)
            later = [t for t in range(0, now, 5 * minute) if t >= back]
            there = list(snapshots.times)
            for i in thinned([*there, *later]):
                if i >= len(there):
                    snapshots.add((later[i - len(there)], 0, b"", b""), b"")
        snapshots.add((now, 0, b"", b""), b"")
        snapshots.thin()
        old = snapshots.before(now - 2016 * 5 * minute)
        if old is not None and old > 0:
            snapshots.forget_before(old)
        counts.append(len(snapshots.times))
    assert max(counts) < 110
    for a, b in pairwise(snapshots.times):
        assert b - a <= max(GAP * (now - b), 5 * minute)


def test_time_is_whole_microseconds_until_it_is_a_length() -> None:
    for unit, per in (("h", 3_600_000_000), ("min", 60_000_000), ("d", 86_400_000_000), ("s", 1_000_000)):
        clock = Clock.of(unit)
        assert (clock.per, clock.length(per), clock.length(7 * per)) == (per, 1.0, 7.0)
        assert clock.microseconds(clock.length(123_456_789)) == 123_456_789
    assert Clock.of("min").length(1) == 1 / 60_000_000
    with pytest.raises(ValueError, match="the model's unit of time"):
        Clock.of("mg")


def test_the_band_of_nis_is_that_of_a_table() -> None:
    # χ² of 1 and of 10 degrees, 2.5 % and 97.5 %: Abramowitz & Stegun, table 26.8
    assert chi_square_band(1) == pytest.approx((0.000982069, 5.02389), rel=1e-5)
    assert chi_square_band(10) == pytest.approx((3.24697, 20.4832), rel=1e-5)
