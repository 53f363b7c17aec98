"""Tables with steady states, resets, censored values, occasions and covariates that change: what is read, and what it means."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from hybrid import Dose
from hybrid.schedules.steady import Steady
from hybrid.simulate import rollout
from tests.builders import oral_of
from training import Cohort, Record, read_nonmem

UNITS = {"TIME": "h", "AMT": "mg", "DV": "mg/L"}


def read(folder: Path, text: str, **given: object) -> Record:
    path = folder / "people.csv"
    path.write_text(text)
    (record,) = read_nonmem(path, units=UNITS, **given)  # type: ignore[arg-type]
    # a frame is the same table
    frame = pd.read_csv(path)
    (same,) = read_nonmem(frame, units=UNITS, **given)  # type: ignore[arg-type]
    assert same.schedule == record.schedule
    np.testing.assert_array_equal(same.times, record.times)
    np.testing.assert_array_equal(same.values, record.values)
    return record


HEAD = "ID,TIME,AMT,DV,EVID,CMT,RATE,ADDL,II,SS\n"


@pytest.mark.parametrize(("ss", "added"), [("1", False), ("2", True), ("3", False)])
def test_a_steady_state_is_read_with_its_interval(tmp_path: Path, ss: str, added: bool) -> None:
    record = read(tmp_path, HEAD + f"1,0,100,.,1,1,.,2,12,{ss}\n1,5,.,8,0,2,.,.,.,.\n")
    assert record.schedule.steady == (Steady("gut", 0.0, 100.0, 12.0, 0.0, added),)
    assert [float(d.time) for d in record.schedule.doses] == [0.0, 12.0, 24.0]


def test_an_infusion_longer_than_its_interval_goes_on(tmp_path: Path) -> None:
    record = read(tmp_path, HEAD + "1,0,100,.,1,2,10,.,6,1\n1,5,.,8,0,2,.,.,.,.\n")
    assert record.schedule.steady == (Steady("plasma", 0.0, 100.0, 6.0, 10.0, kept="rate"),)
    assert [(float(d.amount), float(d.duration)) for d in record.schedule.doses] == [(40.0, 4.0), (100.0, 10.0)]


def test_an_infusion_that_never_stopped_until_now(tmp_path: Path) -> None:
    record = read(tmp_path, HEAD + "1,0,0,.,1,2,24,.,.,1\n1,5,.,8,0,2,.,.,.,.\n1,6,100,.,1,1,.,.,.,.\n1,8,.,9,0,2,.,.,.,.\n")
    assert record.schedule.steady == (Steady("plasma", 0.0, 24.0, 1.0, 1.0, kept="always"),)
    assert record.origin == 0.0  # not the dose at 6: what is measured at 5 is no baseline
    assert record.scored.all()


def test_a_trough_behind_the_dose_of_its_time_is_read_in_the_steady_state(tmp_path: Path) -> None:
    record = read(tmp_path, HEAD + "1,0,100,.,1,1,.,.,12,1\n1,0,.,3,0,2,.,.,.,.\n1,5,.,8,0,2,.,.,.,.\n")
    model = oral_of()
    cohort = Cohort.of([record], model)
    run = rollout(model, cohort.conditions, torch.zeros(1, 1, 3, dtype=torch.float64))
    assert bool(cohort.mask.all())
    assert float(run.mean[0, 0, 0, 0].detach()) > 0.5  # and not 0, before anything was given


def test_a_reset_takes_back_what_was_given_and_time_may_start_again(tmp_path: Path) -> None:
    rows = "1,0,100,.,1,1,.,9,12,.\n1,5,.,8,0,2,.,.,.,.\n1,0,50,.,4,1,.,.,.,.\n1,0,.,0,0,2,.,.,.,.\n1,4,.,3,0,2,.,.,.,.\n"
    record = read(tmp_path, HEAD + rows)
    # a rounding before the value of its time, which stands behind it
    assert record.schedule.resets == (pytest.approx(5.0, abs=1e-12),)
    assert [(float(d.time), float(d.amount)) for d in record.schedule.doses] == [(0.0, 100.0), (pytest.approx(5.0), 50.0)]
    np.testing.assert_allclose(record.times, [5.0, 5.0, 9.0])
    model = oral_of()
    cohort = Cohort.of([record], model)
    run = rollout(model, cohort.conditions, torch.zeros(1, 1, 3, dtype=torch.float64))
    alone = read(tmp_path, HEAD + "1,0,50,.,1,1,.,.,.,.\n1,4,.,3,0,2,.,.,.,.\n")
    other = rollout(model, Cohort.of([alone], model).conditions, torch.zeros(1, 1, 3, dtype=torch.float64))
    torch.testing.assert_close(run.mean[0, 0, -1], other.mean[0, 0, -1], rtol=1e-9, atol=1e-9)
    assert float(run.mean[0, 0, 1, 0].detach()) < 1e-12  # measured behind the reset


@pytest.mark.parametrize(
    ("names", "cells", "lower", "upper"),
    [
        ("CENS", "1", -math.inf, 0.5),
        ("CENS", "-1", 0.5, math.inf),
        ("CENS,LIMIT", "1,0.1", 0.1, 0.5),
        ("CENS,LIMIT", "-1,9", 0.5, 9.0),
        ("BLQ,LLOQ", "1,0.7", -math.inf, 0.7),
        ("BLQ,LLOQ", "Y,0.5", -math.inf, 0.5),
        ("CENS,LLOQ", "1,0.5", -math.inf, 0.5),
    ],
)
def test_censored_values_are_limits(tmp_path: Path, names: str, cells: str, lower: float, upper: float) -> None:
    none = ",".join("." for _ in names.split(","))
    text = f"ID,TIME,AMT,DV,EVID,CMT,{names}\n1,0,100,.,1,1,{none}\n1,2,.,3.1,0,2,{none}\n1,48,.,0.5,0,2,{cells}\n"
    record = read(tmp_path, text)
    assert record.lower is not None
    assert record.upper is not None
    np.testing.assert_array_equal(record.values[:, 0], [3.1, np.nan])
    assert (record.lower[1, 0], record.upper[1, 0]) == (lower, upper)
    assert record.censored.tolist() == [[False], [True]]
    assert int(Cohort.of([record], oral_of()).censored.sum()) == 1


def test_what_stands_in_the_value_itself(tmp_path: Path) -> None:
    record = read(tmp_path, "ID,TIME,AMT,DV,EVID,CMT\n1,0,100,.,1,1\n1,2,.,3.1,0,2\n1,48,.,<0.5,0,2\n1,49,.,> 20,0,2\n")
    assert record.lower is not None
    assert record.upper is not None
    assert record.upper[1:, 0].tolist() == [0.5, math.inf]
    assert record.lower[1:, 0].tolist() == [-math.inf, 20.0]
    # MDV takes it away
    (gone,) = (read(tmp_path, "ID,TIME,AMT,DV,MDV,EVID,CMT\n1,0,100,.,1,1,1\n1,2,.,3.1,0,0,2\n1,48,.,<0.5,1,0,2\n"),)
    assert gone.lower is None


def test_occasions_and_covariates_that_change_are_kept_with_their_times(tmp_path: Path) -> None:
    head = "ID,TIME,AMT,DV,EVID,CMT,OCC,WT,SEX\n"
    rows = "1,10,100,.,1,1,1,70,1\n1,15,.,8,0,2,1,70,1\n1,34,100,.,1,1,2,.,1\n1,40,.,9,0,2,2,68,1\n"
    record = read(tmp_path, head + rows, covariates=["WT", "SEX"])
    assert record.occasions == (10.0, 34.0)
    assert record.covariates == {"SEX": 1.0}
    assert [v.tolist() for v in record.changing["WT"]] == [[10.0, 40.0], [70.0, 68.0]]
    own = record.on_own_clock()
    assert own.occasions == (0.0, 24.0)
    assert own.changing["WT"][0].tolist() == [0.0, 30.0]
    cohort = Cohort.of([record], oral_of())  # reads no weight
    assert cohort.records[0].occasions == (0.0, 24.0)
    weighed = oral_of(covariates={"WT": (70.0, 20.0, "kg")})
    changes = Cohort.of([record], weighed).conditions.changes
    assert changes is not None
    assert changes.values["WT"].tolist() == [[70.0, 68.0]]
    assert changes.times.tolist() == [[30.0]]
    assert changes.reading.tolist() == [[0, 1]]  # at the time of a change, its new value


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("1,0,100,.,1,1,.,.,.,1\n1,5,.,8,0,2,.,.,.,.\n", "line 2: SS asks for a steady state and II does not"),
        ("1,0,100,.,1,1,.,.,12,4\n1,5,.,8,0,2,.,.,.,.\n", "line 2: SS is '4'; it is 0"),
        ("1,0,100,.,1,1,.,.,.,.\n1,5,.,8,0,2,.,.,.,1\n", "line 3: SS asks for a steady state on a row without a dose"),
        ("1,0,.,3,0,2,.,.,.,.\n1,0,100,.,1,1,.,.,12,1\n1,5,.,8,0,2,.,.,.,.\n", "line 2: a value at 0 stands before the steady"),
        ("1,0,100,.,1,1,.,.,.,.\n1,0,.,.,3,1,.,.,.,.\n1,5,.,8,0,2,.,.,.,.\n", "line 3: a reset .* takes back what line 2 gives"),
        ("1,0,100,.,1,1,.,.,.,.\n1,3,20,.,3,1,.,.,.,.\n1,5,.,8,0,2,.,.,.,.\n", "EVID is 3, a reset without a dose"),
        ("1,0,100,.,1,1,.,.,.,.\n1,5,.,8,5,2,.,.,.,.\n", "EVID is 5; it is 0 for an observation.*4 for a reset"),
        ("1,0,100,.,1,1,.,.,.,.\n1,5,.,8,0,2,.,.,.,.\n1,1,.,7,0,2,.,.,.,.\n", "line 4: time 1 of person 1 comes after 5"),
    ],
)
def test_bad_rows_are_one_sentence(tmp_path: Path, rows: str, says: str) -> None:
    path = tmp_path / "people.csv"
    path.write_text(HEAD + rows)
    with pytest.raises(ValueError, match=says):
        read_nonmem(path, units=UNITS)


def test_an_occasion_in_which_nothing_was_measured_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("ID,TIME,AMT,DV,OCC\n1,0,9,.,1\n1,4,.,5,1\n1,40,9,.,2\n1,80,9,.,3\n1,84,.,5,3\n")
    with pytest.raises(ValueError, match="line 4: nothing was measured on the occasion '2' of person 1"):
        read_nonmem(path, units=UNITS)


def test_two_doses_of_one_person_at_steady_state(tmp_path: Path) -> None:
    """A morning dose replaces, an evening dose adds: the sum of both for ever from the evening on."""
    rows = "1,0,100,.,1,1,.,5,24,1\n1,12,50,.,1,1,.,5,24,2\n1,20,.,8,0,2,.,.,.,.\n"
    record = read(tmp_path, HEAD + rows)
    assert record.schedule.steady == (Steady("gut", 0.0, 100.0, 24.0), Steady("gut", 12.0, 50.0, 24.0, added=True))
    assert len(record.schedule.doses) == 12
    assert isinstance(record.schedule.doses[0], Dose)


@pytest.mark.parametrize(("rate", "modelled"), [("-1", "rate"), ("-2", "duration")])
def test_a_rate_that_a_model_finds_is_read_and_needs_a_model_for_it(tmp_path: Path, rate: str, modelled: str) -> None:
    record = read(tmp_path, HEAD + f"1,0,100,.,1,2,{rate},1,24,.\n1,5,.,8,0,2,.,.,.,.\n")
    assert [(float(d.time), d.modelled) for d in record.schedule.doses] == [(0.0, modelled), (24.0, modelled)]
    with pytest.raises(ValueError, match=modelled):
        Cohort.of([record], oral_of())


def test_a_steady_state_on_dates_with_two_channels_and_values_marked_missing(tmp_path: Path) -> None:
    head = "ID,DATE,TIME,AMT,DV,EVID,CMT,II,SS,MDV\n"
    path = tmp_path / "people.csv"
    path.write_text(
        head
        + "1,2024-01-01,08:00,100,0,1,1,12,1,1\n"
        + "1,2024-01-01,10:00,.,8,0,2,.,.,0\n"
        + "1,2024-01-01,10:00,.,55,0,1,.,.,0\n"
        + "1,2024-01-01,20:00,.,7,0,2,.,.,1\n"
        + "1,2024-01-02,08:00,.,3,0,2,.,.,0\n"
    )
    units = {**UNITS, "concentration": "mg/L", "amount": "mg"}
    (record,) = read_nonmem(path, units=units, channels={2: "concentration", 1: "amount"})
    assert record.schedule.steady == (Steady("gut", 0.0, 100.0, 12.0),)
    assert [(float(d.time), float(d.amount)) for d in record.schedule.doses] == [(0.0, 100.0)]
    seen = {float(t): tuple(row) for t, row in zip(record.times, record.values, strict=True) if np.isfinite(row).any()}
    assert set(seen) == {2.0, 24.0}  # a value marked missing is none
    assert sorted(v for row in record.values for v in row if np.isfinite(v)) == [3.0, 8.0, 55.0]
