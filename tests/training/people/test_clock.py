"""Nobody's clock has an origin: shifting a person's times changes no cohort, no score, no horizon and no held-out look."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from homeostat.data import THEOPHYLLINE_UNITS, theophylline
from homeostat.study import Settings, asked_of, dense_of, evaluate, train
from homeostat.study.recipe import hybrid_recipe
from hybrid import Dose, HybridModel, Mesh, Schedule, Signal, predict
from physics import OneCompartmentOral
from training import Cohort, Looks, Objective, Record, Search, fit, read_nonmem
from training.people.clock import at_or_before, counts_from, origin_of, since
from training.people.records import counted_from
from training.trust import Horizons, Outcome, score_table

MESH = Mesh(0.65, 0.2, 0.5)
SHIFTS = st.one_of(st.integers(-2000, 2000).map(lambda k: k / 10), st.floats(-1e5, 1e5), st.sampled_from([1e5, -1e5, 8760.3]))


def shifted(record: Record, by: float) -> Record:
    """The same person by another clock."""
    given = record.schedule
    moved = Schedule(
        tuple(replace(d, time=d.time + by) for d in given.doses),
        {k: Signal(tuple(t + by for t in s.times), s.values, s.kind) for k, s in given.inputs.items()},
        given.start + by,
    )
    return replace(record, schedule=moved, times=record.times + by)


# ---- one record ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.lists(st.integers(-500, 5000).map(lambda k: k / 100), min_size=2, max_size=8, unique=True).map(sorted),
    st.integers(0, 7),
    SHIFTS,
)
def test_written_times_come_back_to_the_last_bit(times: Sequence[float], dosed: int, by: float) -> None:
    dose = Dose("gut", times[dosed % len(times)], 100.0, duration=1.5)
    signal = Signal(tuple(times), tuple(range(len(times))), "held")
    plain = Record(
        "a",
        Schedule((dose,), {"u": signal}, start=times[0]),
        np.array(times),
        np.arange(1.0, len(times) + 1.0)[:, None],
        ("y",),
    )
    one, other = plain.on_own_clock(), shifted(plain, by).on_own_clock()
    assert one.origin == other.origin == 0.0
    np.testing.assert_array_equal(one.times, other.times)
    assert one.schedule == other.schedule
    np.testing.assert_allclose(one.times, plain.times - plain.origin, rtol=0, atol=1e-12)
    assert one.on_own_clock() is one  # twice is once


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.floats(0.0, 50.0), min_size=1, max_size=8, unique=True).map(sorted), SHIFTS)
def test_any_time_is_kept_to_a_rounding_and_the_order_of_all(times: Sequence[float], by: float) -> None:
    clock = np.array(times) + by
    _, own = since(Schedule((), start=float(clock[0])), clock, float(clock[0]))
    np.testing.assert_allclose(own, clock - clock[0], rtol=0, atol=25 * np.spacing(abs(by) + 50.0))
    assert (np.sign(np.diff(own)) == np.sign(np.diff(clock))).all()


def test_a_hair_between_dose_and_value_stays_a_hair() -> None:
    """A dose moved one rounding before a value stays before it, where rounding alone would put them together."""
    time = 1e5 + 0.3
    before = np.nextafter(time, 0.0)
    one = Record("a", Schedule((Dose("gut", before, 1.0),), start=before), np.array([time, time + 1]), np.ones((2, 1)), ("y",))
    own = one.on_own_clock()
    assert own.origin == 0.0
    assert 0.0 < own.times[0] < 1e-10
    assert own.scored.all()
    assert own.times[1] == pytest.approx(1.0, abs=1e-10)


def test_a_dose_time_with_a_gradient_keeps_it() -> None:
    at = torch.tensor(100.7, dtype=torch.float64, requires_grad=True)
    schedule = Schedule((Dose("gut", 100.0, 1.0), Dose("gut", at, 1.0)), start=99.0)
    own, times = since(schedule, np.array([101.2]), origin_of(schedule))
    moved = own.doses[1].time
    assert isinstance(moved, torch.Tensor)
    assert (own.start, float(moved.detach()), times.tolist()) == (-1.0, 0.7, [1.2])
    (slope,) = torch.autograd.grad(moved, at)
    assert slope == 1.0


def test_what_a_clock_counts_from() -> None:
    dosed, undosed = Schedule((Dose("gut", 5.0, 1.0), Dose("gut", 3.0, 1.0)), start=1.0), Schedule(start=7.0)
    assert (origin_of(dosed), counts_from(dosed)) == (3.0, "first dose")
    assert (origin_of(undosed), counts_from(undosed)) == (7.0, "start")
    both = [Record("a", s, np.array([9.0]), np.ones((1, 1)), ("y",)) for s in (dosed, undosed)]
    assert counted_from(both) == "first dose or start"
    assert since(dosed, both[0].times, 0.0)[0] is dosed
    assert at_or_before(np.array([0.1 + 0.2, 0.31]), 0.3).tolist() == [True, False]


def test_a_record_as_known_at_a_time_since_its_dose(people: tuple[Record, ...]) -> None:
    for by in (0.0, 333.3, -1e5):
        np.testing.assert_array_equal(shifted(people[0], by).until(1.5).values, people[0].until(1.5).values)
    with pytest.raises(ValueError, match=r"nothing was measured up to 0\.1 since the first dose"):
        shifted(people[0], 50.0).until(0.1)


# ---- people ----------------------------------------------------------------------------------------------------------


def scores_of(model: HybridModel, cohort: Cohort, horizons: Horizons) -> dict[str, float]:
    """What a report says of everyone in every horizon, forecast with their parameters typical."""
    draws = torch.zeros(model.members, 1, cohort.conditions.size, model.personal, dtype=torch.float64)
    found = predict(model, cohort, draws)
    place, table, outcome = horizons.index(found.times), {}, Outcome.of(found, cohort)
    for h in range(len(horizons)):
        if bool(torch.isfinite(cohort.y[torch.from_numpy(place == h)]).any()):
            table |= {f"{k} {h}": v for k, v in score_table(outcome, mask=place == h).items()}
    return table


@settings(deadline=None, max_examples=5, derandomize=True)
@given(shifts=st.lists(SHIFTS, min_size=4, max_size=4), from_=st.sampled_from([0.75, 1.0, 3.0]), count=st.sampled_from([2, 8]))
def test_shifting_people_changes_no_score_no_horizon_and_no_split(people_of, shifts, from_, count) -> None:
    people = people_of(times=(0.25, 0.75, 1.5, 3.0, 5.1, 8.7))
    # someone with another time than the rest, full digits, and one known before the dose
    people = [*people[:2], replace(people[2], times=people[2].times * (1.0 + 1 / 3)), people[3]]
    early = Schedule(people[3].schedule.doses, start=-2.0)
    people[3] = replace(people[3], schedule=early, times=np.array([-2.0, 0.0, 1.5, 3.0, 5.1, 8.7]))
    moved = [shifted(r, by) for r, by in zip(people, shifts, strict=True)]
    recipe = hybrid_recipe(OneCompartmentOral(), people, hidden=(3,))
    plain, other = Cohort.of(people, recipe.model, recipe.mesh), Cohort.of(moved, recipe.model, recipe.mesh)
    assert plain.unscored == other.unscored
    assert sum(plain.unscored) >= 1
    torch.testing.assert_close(other.times, plain.times, rtol=0, atol=1e-9)
    torch.testing.assert_close(other.conditions.baseline, plain.conditions.baseline, rtol=0, atol=0, equal_nan=True)
    for a, b in ((plain, other), (plain.until(from_), other.until(from_)), (plain.after(from_), other.after(from_))):
        torch.testing.assert_close(b.y, a.y, rtol=0, atol=0, equal_nan=True)
    first, second = (asked_of(group, "mg/L", None, None) for group in (people, moved))
    assert second.forecast_from == pytest.approx(first.forecast_from, abs=1e-9)
    assert second.threshold == first.threshold
    end = max(float(r.times[-1]) for r in plain.records)
    dense = [dense_of(cohort, recipe.model, end).times for cohort in (plain, other)]
    torch.testing.assert_close(*dense, rtol=0, atol=1e-9)

    def horizons(cohort: Cohort) -> Horizons:
        draws = torch.zeros(1, 1, 4, recipe.model.personal, dtype=torch.float64)
        return Horizons.of(predict(recipe.model, cohort, draws), count=count)

    a, b = horizons(plain), horizons(other)
    np.testing.assert_allclose(b.edges, a.edges, rtol=0, atol=1e-9)
    for edges in (a, b, Horizons((-2.0, 0.75, 1.5, 5.1, 12.0))):
        np.testing.assert_array_equal(edges.index(plain.times), edges.index(other.times))
        one, two = scores_of(recipe.model, plain, edges), scores_of(recipe.model, other, edges)
        assert one.keys() == two.keys()
        np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=1e-8, atol=1e-9)


def test_shifting_people_changes_no_held_out_look(people: tuple[Record, ...], model: HybridModel) -> None:
    held = torch.tensor([[False, False, True, True]])

    def looks(group: Sequence[Record]) -> tuple[float, float]:
        cohort = Cohort.of(group, model, MESH)
        *_, last = fit(
            model,
            cohort,
            objective=Objective(weights=(~held).double(), held_out=held, forecast_from=1.5),
            search=Search(steps=2),
            looks=Looks(every=1),
        )
        return float(last.loss), float(last.held_out)

    plain = looks(people)
    assert np.isfinite(plain).all()
    moved = [shifted(r, by) for r, by in zip(people, (0.0, 100.0, 777.7, -1e5), strict=True)]
    np.testing.assert_allclose(looks(moved), plain, rtol=1e-9)


def test_late_enrolment_changes_no_score(tmp_path: Path) -> None:
    """The table of the package, each person 100 h after the one before: count, scores and the rest are the same."""
    rows = list(csv.reader(theophylline().read_text().splitlines()))
    rows = [rows[0], *(r for r in rows[1:] if int(r[0]) <= 3)]
    records = []
    for name, late in (("plain.csv", 0.0), ("late.csv", 100.0)):
        with (tmp_path / name).open("w", newline="") as file:
            write = csv.writer(file)
            write.writerow(rows[0])
            write.writerows([r[0], repr(float(r[1]) + late * (int(r[0]) - 1)), *r[2:]] for r in rows[1:])
        records.append(read_nonmem(tmp_path / name, units=THEOPHYLLINE_UNITS))
    found = []
    for people in records:
        asked = asked_of(people, "mg/L", None, None)
        chosen = Settings(members=2, folds=2, steps=2, forecast_from=asked.forecast_from, draws=2)
        recipe = hybrid_recipe(OneCompartmentOral(), people, hidden=(3,))
        found.append(evaluate(train(recipe, people, chosen, Console(quiet=True)), chosen, asked.threshold))
    plain, late = (e.scores for e in found)
    assert plain["count"] == late["count"] == 27  # of thirty after the dose, what came after everybody's first
    assert late == pytest.approx(plain, rel=1e-9, nan_ok=True)


# ---- horizons --------------------------------------------------------------------------------------------------------


def test_a_horizon_does_not_tell_roundings_apart() -> None:
    edges = Horizons((0.0, 0.7, 2.0))
    assert edges.index([-1e-12, 0.7 - 1e-12, 0.7, 0.7 + 1e-12, 2.0 + 1e-12]).tolist() == [0, 1, 1, 1, 1]
    assert edges.index([-1e-6, 0.7 - 1e-6, 2.0 + 1e-6]).tolist() == [-1, 0, -1]


def test_a_clock_that_ticks_in_more_than_ones_is_not_rounded_to_tens() -> None:
    """float64 holds every second whole number there, and differences of such numbers exactly."""
    origin = 1e16
    _, times = since(Schedule((Dose("gut", origin, 1.0),), start=origin), np.array([origin, origin + 34.0]), origin)
    assert times.tolist() == [0.0, 34.0]
