"""Records as a table of events: what is read again is what was written, and what a table cannot say is refused."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchange.imported.table import write_table
from hybrid import Concentration, Dose, HybridModel, Schedule, Steady, simulate
from learned import Constant
from physics import Administered, LogNormalPopulation, OneCompartmentOral, Parameter
from training import Record
from training.people.tables.nonmem import read_table

UNITS = {"TIME": "h", "AMT": "mg", "DV": "mg/L"}
WHERE = {1: "gut", 2: "plasma"}


def number(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


@st.composite
def doses(draw: st.DrawFn) -> Dose:
    state, time, amount = draw(st.sampled_from(("gut", "plasma"))), draw(number(0.0, 50.0)), draw(number(0.01, 1e4))
    match draw(st.sampled_from(("bolus", "duration", "rate", "modelled"))):
        case "bolus":
            return Dose(state, time, amount)
        case "modelled":
            return Dose(state, time, amount, modelled=draw(st.sampled_from(("rate", "duration"))))
        case "duration":
            return Dose(state, time, amount, draw(number(0.01, 100.0)))
    return Dose(state, time, amount, draw(number(0.01, 100.0)), kept="rate")


@st.composite
def records(draw: st.DrawFn, name: str) -> Record:
    given = draw(st.lists(doses(), max_size=4, unique_by=lambda dose: float(dose.time)))
    times = sorted(draw(st.lists(number(50.5, 99.0), min_size=1, max_size=4, unique=True)))
    values = [[draw(number(0.0, 1e3)), draw(st.one_of(st.just(np.nan), number(0.0, 1e3)))] for _ in times]
    schedule = Schedule(tuple(given), start=draw(st.sampled_from((-3.5, 0.0))))
    return Record(name, schedule, times, values, ("a", "b"), {"WT": draw(number(1.0, 200.0))})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(people=st.tuples(records("1"), records("Ada, the second")))
def test_what_is_read_again_is_what_was_written(people: tuple[Record, ...], tmp_path: Path) -> None:
    """Doses with what is kept of them, values, covariates and the start; to the last bit but for the length of an infusion whose
    rate was said, which is AMT/RATE again.
    """
    path = write_table(people, tmp_path / "people.csv", replace=True)
    used = list(dict.fromkeys(dose.state for one in people for dose in one.schedule.doses))
    where = {i + 1: state for i, state in enumerate(used)} or WHERE
    read = read_table(path, units=UNITS, compartments=where, channels={1: "a", 2: "b"}, channel_column="DVID").records
    for one, other in zip(people, read, strict=True):
        assert other.id == one.id
        assert other.schedule.start == one.schedule.start
        assert dict(other.covariates) == dict(one.covariates)
        assert np.array_equal(other.times, one.times)
        assert np.array_equal(other.values, one.values, equal_nan=True)
        ours = sorted(one.schedule.doses, key=lambda dose: float(dose.time))
        assert [replace(d, duration=0.0, kept="duration") for d in other.schedule.doses] == [
            replace(d, duration=0.0, kept="duration") for d in ours
        ]
        assert [d.kept for d in other.schedule.doses] == [d.kept for d in ours]
        for mine, theirs in zip(ours, other.schedule.doses, strict=True):
            # two divisions, each rounded once
            assert float(theirs.duration) == pytest.approx(
                float(mine.duration), rel=5e-16 if mine.kept == "rate" else 0.0
            )


@pytest.mark.parametrize("kept", ["duration", "rate"])
def test_a_fraction_makes_two_models_of_them_and_the_table_says_which(kept: str, tmp_path: Path) -> None:
    backbone = Administered(OneCompartmentOral(), fraction={"gut": Parameter("F", "1", 0.5, 0.01, 1.0)})
    population = LogNormalPopulation(backbone, dict.fromkeys(("ka", "ke", "V", "F"), 0.3))
    model = HybridModel(backbone, population, None, observation=Concentration(1, 2), noise=Constant([0.1], [0.01]))
    theta = torch.tensor([[1.5, 0.1, 30.0, 0.5]], dtype=torch.float64)
    times = [1.0, 3.0, 5.0, 7.0]
    infused = {k: Schedule((Dose("gut", 0.0, 300.0, 6.0, kept=k),)) for k in ("duration", "rate")}  # type: ignore[arg-type]
    curves = {k: simulate(model, one, times, theta)[..., 1].numpy() for k, one in infused.items()}
    assert np.abs(curves["rate"] - curves["duration"]).max() > 1.0  # else nothing is tested
    path = write_table(
        [Record("1", infused[kept], times, [1.0, 1.0, 1.0, 1.0], ("concentration",))], tmp_path / "one.csv"
    )
    (read,) = read_table(path, units=UNITS, channels={1: "concentration"}, channel_column="DVID").records
    np.testing.assert_array_equal(simulate(model, read.schedule, times, theta)[..., 1].numpy(), curves[kept])
    with path.open() as file:
        assert ("DUR" in next(csv.reader(file))) is (kept == "duration")


def test_what_no_row_can_say_is_refused(tmp_path: Path) -> None:
    plain = Record("1", Schedule((Dose("gut", 0.0, 10.0),)), [1.0], [2.0], ("a",), {"WT": 70.0})
    part = Schedule((Dose("gut", 0.0, 10.0, 5.0, kept="rate"),)).since(2.0)
    assert part.doses[0].kept == "cut"
    for wrong, words in (
        (
            [replace(plain, schedule=part, times=[3.0])],
            "a part of an infusion whose rate was said.*write the whole schedule",
        ),
        ([replace(plain, schedule=Schedule((), resets=(0.5,)))], "the schedule has a reset"),
        (
            [replace(plain, schedule=Schedule(steady=(Steady("gut", 0.0, 1.0, every=2.0),)))],
            "the schedule has a steady state",
        ),
        ([replace(plain, values=[np.nan], upper=[[0.5]])], "known by limits alone"),
        ([replace(plain, occasions=(0.0, 0.5))], "it has occasions"),
        ([replace(plain, changing={"AGE": ([0.0, 0.5], [1.0, 2.0])})], "the covariate AGE, which changes on the way"),
        ([replace(plain, covariates={"dur": 1.0})], "'dur', which the convention has for something else"),
        ([plain, replace(plain, id="2", covariates={})], "record 2 has no covariate 'WT'"),
        ([replace(plain, schedule=Schedule((Dose("gut", 0.0, 0.0, 1.0),)))], "is of nothing"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            write_table(wrong, tmp_path / "no.csv")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "no.csv").exists()


def test_equal_rows_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    """They would be read as one row that stands twice."""
    target = tmp_path / "table.csv"
    twice = {"bolus": Dose("gut", 0.0, 10.0), "infusion": Dose("gut", 0.0, 10.0, 3.0)}
    for dose in twice.values():
        with pytest.raises(ValueError, match=r"record 1: 2 equal doses go into 'gut' at 0, .* make one dose of their sum"):
            write_table([Record("1", Schedule((dose, dose)), [1.0], [[1.0]], ("concentration",))], target)
    with pytest.raises(ValueError, match=r"record 1: 'concentration' is 2 2 times at 1, which reads as one row"):
        write_table([Record("1", Schedule(), [1.0, 1.0], [[2.0], [2.0]], ("concentration",))], target)
    assert not target.exists()
    both = Schedule((twice["infusion"], Dose("gut", 0.0, 10.0, 3.0, kept="rate")))
    missing = Record("1", both, [1.0, 1.0, 2.0], [[2.0], [3.0], [np.nan]], ("concentration",))
    written = write_table([missing], target)
    (again,) = read_table(written, units=UNITS, compartments=WHERE, channels={1: "concentration"}).records
    assert again.schedule.doses == both.doses
    assert again.values[:, 0].tolist() == [2.0, 3.0]
