"""Tables as the field writes them: durations, dates, replicates, names, row numbers, and what is refused in them.

Every test that computes does so through a model: the linear one-compartment model, ke .086 /h, V 31.5 L, ka 1.5 /h.
"""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid import Concentration, Exponential, HybridModel, rollout, simulate
from learned import AdditiveProportional
from physics import LogNormalPopulation, OneCompartmentOral
from training import Cohort, Record, read_nonmem, read_table
from training.people.tables.convention import BY_NAME, COLUMNS
from training.people.tables.file_kinds import kind_of

UNITS = {"TIME": "h", "AMT": "mg", "DV": "mg/L"}
KA, KE, V = 1.5, 0.086, 31.5
NAN = math.nan


def table(folder: Path, text: str, name: str = "people.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def one_compartment() -> HybridModel:
    backbone = OneCompartmentOral()
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, spread=[0.6, 0.2, 0.2]),
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.5], [0.1], [0.03]),
    )


def predicted(record: Record, times: list[float] | None = None) -> list[float]:
    """mg/L of a typical person, from empty compartments, at the record's times after its first dose."""
    when = [float(t) for t in record.times[record.scored]] if times is None else times
    theta = torch.tensor([KA, KE, V], dtype=torch.float64)
    x0 = torch.zeros(2, dtype=torch.float64)
    x = simulate(one_compartment(), record.schedule, when, theta, x0, solver=Exponential(rtol=1e-8))
    return (x[:, 1] / V).tolist()


def refused(folder: Path, text: str, match: str, **arguments: object) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        read_nonmem(table(folder, text), **{"units": UNITS, **arguments})  # type: ignore[arg-type]
    assert len(str(caught.value)) < 700


# durations


@pytest.mark.parametrize("name", ["DUR", "dur", "TINF", "T_INF", "Duration", "INFDUR", "inf_dur", "INFUSION_TIME"])
def test_a_duration_is_an_infusion(tmp_path, name):
    text = f"ID,TIME,AMT,DV,EVID,CMT,{name}\n1,0,120,.,1,2,3\n1,0.5,.,0.6,0,2,.\n1,3,.,3.3,0,2,.\n1,8,.,2.1,0,2,.\n"
    (record,) = read_nonmem(table(tmp_path, text), units=UNITS)
    assert [(d.amount, d.duration) for d in record.schedule.doses] == [(120.0, 3.0)]
    assert record.covariates == {}
    assert predicted(record)[:2] == pytest.approx([0.6215, 3.3578], abs=5e-5)


def test_durations_with_rates_additional_doses_and_units(tmp_path):
    head = "ID,TIME,AMT,DV,EVID,CMT,RATE,TINF,ADDL,II\n"
    seen = "1,30,.,1,0,2,.,.,.,.\n"
    (both,) = read_nonmem(table(tmp_path, head + "1,0,100,.,1,2,33.3,3,1,12\n" + seen), units=UNITS)
    assert [(d.time, d.duration) for d in both.schedule.doses] == [(0.0, 100 / 33.3), (12.0, 100 / 33.3)]
    (bolus,) = read_nonmem(table(tmp_path, head + "1,0,100,.,1,2,0,0,0,.\n" + seen), units=UNITS)
    assert bolus.schedule.doses[0].bolus
    refused(tmp_path, head + "1,0,100,.,1,2,50,3,.,.\n" + seen, "line 2: AMT is 100, RATE 50 and TINF 3.*correct one")
    refused(tmp_path, head + "1,0,100,.,1,2,.,-2,.,.\n" + seen, "line 2: TINF is -2.*write the duration that was given")
    refused(tmp_path, head + "1,0,100,.,1,2,.,1h,.,.\n" + seen, "line 2: TINF is '1h', and a number is needed")
    refused(
        tmp_path,
        head + "1,0,100,.,1,2,.,.,.,.\n1,1,.,8,0,2,.,3,.,.\n",
        r"line 3: TINF is 3 and AMT is 0.*or \. in TINF",
    )
    fine = head + "1,0,100,.,1,2,.,90,.,.\n" + seen
    refused(
        tmp_path, fine, "units states 'min' for TINF.*in the unit of TIME, h; convert", units={**UNITS, "TINF": "min"}
    )
    read_nonmem(table(tmp_path, fine), units={**UNITS, "TINF": "h", "RATE": "mg/h", "II": "h"})
    two = "ID,TIME,AMT,DV,DUR,TINF\n1,0,100,.,2,3\n1,1,.,5,.,.\n"
    refused(tmp_path, two, r"\['DUR', 'TINF'\] mean the same.*--ignore TINF")
    (one,) = read_nonmem(table(tmp_path, two), units=UNITS, ignore=["tinf"])
    assert one.schedule.doses[0].duration == 2.0
    (disease,) = read_nonmem(
        table(tmp_path, "ID,TIME,AMT,DV,DUR\n1,0,100,.,7\n1,1,.,5,7\n"), units=UNITS, covariates=["DUR"]
    )
    assert disease.covariates == {"DUR": 7.0}  # who names it as a covariate has said what it is
    assert disease.schedule.doses[0].bolus


# a dose and a value of one time


def test_rows_of_one_time_are_in_the_order_of_the_file(tmp_path):
    text = "ID,TIME,AMT,DV,EVID,CMT\n1,0,315,.,1,2\n1,0,.,10,0,2\n1,4,.,7.1,0,2\n1,8,.,5.0,0,2\n"
    (record,) = read_nonmem(table(tmp_path, text), units=UNITS)
    assert predicted(record) == pytest.approx([10.0, 7.0893, 5.0258], abs=5e-5)
    model = one_compartment()
    cohort = Cohort.of([record], model)
    assert cohort.mask[0, :, 0].tolist() == [True, True, True]  # the value after the dose is judged, and is no baseline
    typical = torch.zeros(1, 1, model.personal, dtype=torch.float64)
    run = rollout(model, cohort.conditions, typical, Exponential(rtol=1e-8))
    _, ke, volume = model.population.theta(typical, {})[0, 0].tolist()
    bolus = [315.0 / volume * math.exp(-ke * t) for t in (0.0, 4.0, 8.0)]
    assert run.mean[0, 0, :, 0].tolist() == pytest.approx(bolus, rel=1e-6)  # once, not twice


def test_a_sample_before_the_dose_is_right_on_either_side_where_the_dose_goes_elsewhere(tmp_path):
    rows = ["1,0,320,.,1,1", "1,0,.,0.74,0,2"]
    for pair in (rows, rows[::-1]):
        text = "ID,TIME,AMT,DV,EVID,CMT\n" + "\n".join([*pair, "1,2,.,8,0,2", ""])
        (record,) = read_nonmem(table(tmp_path, text), units=UNITS)
        assert record.baseline.tolist() == [0.74]
        assert record.scored.tolist() == [False, True]
        assert record.schedule.doses[0].time == 0.0


def trough(value: str, first: str) -> str:
    """A second bolus at 24 h and a value of that time, on the side that `first` says."""
    pair = ["1,24,315,.,1,2", f"1,24,.,{value},0,2"]
    pair = pair if first == "dose" else pair[::-1]
    return "ID,TIME,AMT,DV,EVID,CMT\n" + "\n".join(["1,0,315,.,1,2", "1,4,.,7.1,0,2", *pair, "1,28,.,8,0,2", ""])


def test_a_trough_and_a_peak_at_the_time_of_a_bolus(tmp_path):
    e = math.exp
    (low,) = read_nonmem(table(tmp_path, trough("1.3", "value")), units=UNITS)
    assert predicted(low) == pytest.approx([10 * e(-4 * KE), 10 * e(-24 * KE), 10 * e(-28 * KE) + 10 * e(-4 * KE)])
    (high,) = read_nonmem(table(tmp_path, trough("11.3", "dose")), units=UNITS)
    assert predicted(high) == pytest.approx(
        [10 * e(-4 * KE), 10 * e(-24 * KE) + 10, 10 * e(-28 * KE) + 10 * e(-4 * KE)]
    )
    # a value below the last one cannot well be from after the bolus: it is not guessed
    wrong = trough("1.3", "dose")
    refused(
        tmp_path, wrong, r"line 5: .*1\.3, is not above what was there before it.*order='observation-first'.*--order"
    )
    for order, place in (("observation-first", 0.0), ("file", 10.0), ("dose-first", 10.0)):
        (said,) = read_nonmem(table(tmp_path, wrong), units=UNITS, order=order)
        assert predicted(said)[1] == pytest.approx(10 * e(-24 * KE) + place)


def test_before_and_after_a_bolus_at_one_time_are_two_rows(tmp_path):
    text = trough("11.3", "dose").replace("1,24,315", "1,24,.,1.3,0,2\n1,24,315")
    (record,) = read_nonmem(table(tmp_path, text), units=UNITS)
    assert record.values[:, 0].tolist() == [7.1, 1.3, 11.3, 8.0]
    assert np.round(record.times, 9).tolist() == [4.0, 24.0, 24.0, 28.0]
    low = 10 * math.exp(-24 * KE)
    assert predicted(record)[1:3] == pytest.approx([low, low + 10.0])
    refused(tmp_path, text.replace("11.3", "1.2"), "line 6: .*1.2, is not above")


def test_the_order_is_asked_for_where_the_table_does_not_say_what_is_measured(tmp_path):
    # DVID says which channel, and nothing says of which compartment it is
    head = "ID,TIME,AMT,DV,EVID,DVID\n"
    dose, value, later = "1,0,100,.,1,.\n", "1,0,.,40,0,2\n", "1,3,.,6,0,1\n"
    two = {"channels": {1: "concentration", 2: "effect"}}
    refused(tmp_path, head + dose + value + later, "line 3: effect at time 0.*is not clear.*order=", **two)
    for text, order in ((head + value + dose + later, None), (head + dose + value + later, "observation-first")):
        (record,) = read_nonmem(table(tmp_path, text), units=UNITS, order=order, **two)
        assert record.baseline[1] == 40.0
    # CMT 1 takes the dose and is what the one channel may be of
    central = "ID,TIME,AMT,DV,EVID,CMT\n1,0,100,.,1,1\n1,0,.,3,0,2\n1,3,.,2,0,2\n"
    refused(tmp_path, central, "line 3: concentration at time 0.*is not clear", compartments={1: "plasma"})
    # an infusion changes nothing at the moment in which it begins
    infused = "ID,TIME,AMT,DV,EVID,CMT,DUR\n1,0,100,.,1,2,2\n1,0,.,0,0,2,.\n1,3,.,2,0,2,.\n"
    (record,) = read_nonmem(table(tmp_path, infused), units=UNITS)
    assert record.baseline.tolist() == [0.0]
    # one of ADDL's doses has no row whose place could say
    addl = "ID,TIME,AMT,DV,EVID,CMT,ADDL,II\n1,0,315,.,1,2,2,12\n1,12,.,3.6,0,2,.,.\n"
    refused(tmp_path, addl, "line 3: .*one of ADDL's.*write the doses as rows.*--order")
    rounded = addl.replace("2,12", "3,0.1").replace("1,12,", "1,0.3,")  # 3 × .1 is not .3 in binary fractions
    refused(tmp_path, rounded, "line 3: .*one of ADDL's")
    (after,) = read_nonmem(table(tmp_path, addl), units=UNITS, order="observation-first")
    assert predicted(after) == pytest.approx([10 * math.exp(-12 * KE)])
    # 0 right after a bolus is from before it
    zero = "ID,TIME,AMT,DV,EVID,CMT\n1,0,315,.,1,2\n1,0,.,0,0,2\n1,4,.,7,0,2\n"
    refused(tmp_path, zero, "line 3: .*the value, 0, is not above")


@pytest.mark.parametrize("order", [None, "file"])
@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_rows_is_walked_row_by_row(tmp_path, order, seed):
    """The textbook's way: go through the rows, let the amount decay to each row's time, add the dose or read the value."""
    draw = np.random.default_rng(seed)
    rows, expected, amount, before = ["ID,TIME,AMT,DV,EVID,CMT"], [], 0.0, 0.0
    for time in (0.0, 4.0, 4.25, 30.0):
        for _ in range(draw.integers(1, 6)):
            amount, before = amount * math.exp(-KE * (time - before)), time
            if draw.random() < 0.5:
                dose = round(400.0 * (1 + time) * (1 + draw.random()), 3)  # so large that the value rises
                rows.append(f"1,{time},{dose},.,1,2")
                amount += dose
            elif not expected or expected[-1] != amount / V:  # the same again would be a row given twice
                rows.append(f"1,{time},.,{amount / V!r},0,2")
                expected.append(amount / V)
    rows.append("1,40,.,1,0,2")
    expected.append(amount * math.exp(-KE * (40.0 - before)) / V)
    (record,) = read_nonmem(table(tmp_path, "\n".join(rows)), units=UNITS, order=order)
    assert predicted(record, record.times.tolist()) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert record.values[:-1, 0].tolist() == expected[:-1]
    assert (np.diff(record.times) >= 0.0).all()


def test_an_effect_measured_with_a_bolus_stays_before_it(tmp_path):
    text = "ID,TIME,AMT,DV,EVID,CMT\n1,0,315,.,1,2\n1,0,.,10,0,2\n1,0,.,80,0,3\n1,4,.,7,0,2\n"
    (record,) = read_nonmem(
        table(tmp_path, text),
        units=UNITS,
        compartments={2: "plasma", 3: "effect"},
        channels={2: "concentration", 3: "effect"},
    )
    np.testing.assert_array_equal(record.baseline[1], 80.0)
    np.testing.assert_array_equal(record.values[:2], [[NAN, 80.0], [10.0, NAN]])


def test_a_dose_and_a_value_in_one_row_are_both_kept(tmp_path):
    (record,) = read_nonmem(table(tmp_path, "ID,TIME,AMT,DV\n1,0,100,0.74\n1,2,.,8\n"), units=UNITS)
    assert record.values[:, 0].tolist() == [0.74, 8.0]
    assert record.baseline.tolist() == [0.74]
    assert [d.amount for d in record.schedule.doses] == [100.0]
    # 0 is what the convention writes where a dose's row has no value, and MDV says so in so many words
    for row in ("1,0,100,0,.", "1,0,100,0,1", "1,0,100,0.74,1"):
        (record,) = read_nonmem(table(tmp_path, f"ID,TIME,AMT,DV,MDV\n{row}\n1,2,.,8,0\n"), units=UNITS)
        assert record.times.tolist() == [2.0]
    (record,) = read_nonmem(table(tmp_path, "ID,TIME,AMT,DV,MDV\n1,0,100,0,0\n1,2,.,8,0\n"), units=UNITS)
    assert record.baseline.tolist() == [0.0]
    head = "ID,TIME,AMT,DV,EVID,MDV\n"
    refused(
        tmp_path,
        head + "1,0,100,0.74,1,.\n1,2,.,8,0,0\n",
        r"line 2: DV is 0\.74 on the row of a dose.*a row of its own",
    )
    read_nonmem(table(tmp_path, head + "1,0,100,0,1,0\n1,2,.,8,0,0\n"), units=UNITS)
    into = {"compartments": {1: "plasma"}, "channels": {1: "concentration"}}
    refused(tmp_path, "ID,TIME,AMT,DV\n1,0,315,10\n1,2,.,8\n", "line 2: .*stand in one row; write two", **into)


def test_replicates_are_two_rows_of_one_time(tmp_path):
    text = (
        "ID,TIME,AMT,DV,EVID,CMT,REP\n1,0,100,.,1,1,.\n1,2,.,8,0,2,1\n1,2,.,8.4,0,2,2\n1,2,.,8,0,2,3\n1,6,.,5,0,2,1\n"
    )
    found = read_table(table(tmp_path, text), units=UNITS)
    (record,) = found.records
    assert record.times.tolist() == [2.0, 2.0, 2.0, 6.0]
    assert record.values[:, 0].tolist() == [8.0, 8.4, 8.0, 5.0]
    assert record.changing.keys() == {"REP"}  # which no model reads
    two = "ID,TIME,AMT,DV,DVID\n1,0,100,.,.\n1,2,.,8,1\n1,2,.,90,2\n1,2,.,9,1\n"
    (record,) = read_nonmem(table(tmp_path, two), units=UNITS, channels={1: "concentration", 2: "effect"})
    np.testing.assert_array_equal(record.values, [[8.0, 90.0], [9.0, NAN]])
    again = "ID,TIME,AMT,DV\n1,0,100,.\n1,2,.,8\n1,2,.,8\n"
    refused(tmp_path, again, "line 4: this value of person 1 at time 2 is given twice, first on line 3.*a column REP")


def test_rows_that_measured_nothing_are_no_replicates(tmp_path):
    text = "ID,TIME,AMT,DV,EVID,MDV\n1,0,100,.,1,1\n1,2,.,.,0,1\n1,2,.,8,0,0\n1,6,.,5,0,0\n"
    (record,) = read_nonmem(table(tmp_path, text), units=UNITS)
    assert (record.times.tolist(), record.values[:, 0].tolist()) == ([2.0, 6.0], [8.0, 5.0])
    for before, after in (
        ("1,2,.,.,0,1", "1,2,.,0,0,1"),
        ("1,2,.,.,0,1", "1,2,.,.,0,0"),
        ("1,2,.,.,0,1", "1,2,.,8,0,1"),
    ):
        (same,) = read_nonmem(table(tmp_path, text.replace(before, after)), units=UNITS)
        assert same.values.tolist() == record.values.tolist()
    (same,) = read_nonmem(table(tmp_path, text.replace("1,2,.,8,0,0\n", "1,2,.,8,0,0\n1,2,.,.,0,1\n")), units=UNITS)
    assert same.values.tolist() == record.values.tolist()
    (alone,) = read_nonmem(table(tmp_path, text.replace("1,2,.,8,0,0\n", "")), units=UNITS)
    np.testing.assert_array_equal(alone.values[:, 0], [NAN, 5.0])


# days and clock times


DATED = "ID,{column},TIME,AMT,DV,EVID,CMT\n1,{a},{t},100,.,1,1\n1,{a},{u},.,8,0,2\n1,{b},{v},.,2,0,2\n"


def dated(column: str, a: str, b: str, t: str = "8", u: str = "10", v: str = "11") -> str:
    return DATED.format(column=column, a=a, b=b, t=t, u=u, v=v)


@pytest.mark.parametrize(
    ("column", "a", "b"),
    [
        ("DATE", "2021-05-03", "2021-05-04"),
        ("DATE", "05/03/2021", "05/04/2021"),
        ("DATE", "5/3/21", "5/4/21"),
        ("date", "05-31-2021", "06-01-2021"),
        ("DATE", "12/31/99", "1/1/00"),
        ("DATE", "20210531", "20210601"),
        ("DATE", "2021/05/31", "2021/06/01"),
        ("DATE", "31MAY2021", "01JUN2021"),
        ("DATE", "2024-02-29 00:00:00", "2024-03-01 00:00:00"),
        ("DATE", "1", "2"),
        ("DATE", "44319", "44320"),
        ("DAT1", "31/05/2021", "01/06/2021"),
        ("DAT1", "31.5.2021", "1.6.2021"),
        ("DAT1", "2021-05-31", "2021-06-01"),
        ("DAT2", "21/05/31", "21/06/01"),
        ("DAT3", "21/31/05", "21/01/06"),
        ("DAT3", "2021-05-31", "2021-06-01"),
    ],
)
def test_days_and_hours_are_times_since_the_first_row(tmp_path, column, a, b):
    for hours in (("8", "10", "11"), ("8:00", "10:00", "11:00"), ("08:00:00", "10:00:00", "11:00:00")):
        (record,) = read_nonmem(table(tmp_path, dated(column, a, b, *hours)), units=UNITS)
        assert record.schedule.doses[0].time == 0.0
        assert record.times.tolist() == [2.0, 27.0]
        assert record.covariates == {}


def test_clock_times_in_the_stated_unit(tmp_path):
    clock = dated("DATE", "2021-05-03", "2021-05-04", "8:15", "10:30", "07:00:30")
    for unit, times in (("h", [2.25, 22 + 45.5 / 60]), ("min", [135.0, 1365.5]), ("d", [2.25 / 24, 1365.5 / 1440])):
        (record,) = read_nonmem(table(tmp_path, clock), units={**UNITS, "TIME": unit})
        assert record.times.tolist() == pytest.approx(times, rel=1e-14)
    stamps = "ID,TIME,AMT,DV\n1,2021-05-03T08:00,100,.\n1,2021-05-03 10:30:00,.,8\n1,2021-05-04T11:00,.,2\n"
    (record,) = read_nonmem(table(tmp_path, stamps), units=UNITS)
    assert record.times.tolist() == [2.5, 27.0]
    zoned = "ID,TIME,AMT,DV\n1,2021-05-03T08:00+02:00,100,.\n1,2021-05-03T08:30Z,.,8\n"
    (record,) = read_nonmem(table(tmp_path, zoned), units=UNITS)
    assert record.times.tolist() == [2.5]
    undated = "ID,TIME,AMT,DV\n1,8:00,100,.\n1,10:30,.,8\n2,9:00,100,.\n2,12:00,.,8\n"
    one, two = read_nonmem(table(tmp_path, undated), units=UNITS)
    assert (one.times.tolist(), two.times.tolist()) == ([2.5], [3.0])
    # plain numbers without days are what they were
    (plain,) = read_nonmem(table(tmp_path, "ID,TIME,AMT,DV\n1,8,100,.\n1,10.5,.,8\n"), units=UNITS)
    assert plain.times.tolist() == [10.5]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            dated("DATE", "31/05/2021", "01/06/2021"),
            "line 2: DATE is '31/05/2021', which is no month/day/year.*DAT1 for day",
        ),
        (dated("DATE", "31.05.2021", "01.06.2021"), "line 2: DATE is '31.05.2021'.*DAT1 for day/month/year"),
        (dated("DAT1", "05/31/2021", "06/01/2021"), "line 2: DAT1 is '05/31/2021', which is no day/month/year"),
        (dated("DATE", "2021-02-29", "2021-03-01"), "line 2: DATE is '2021-02-29'.*day is out of range"),
        (dated("DATE", "210531", "210601"), "line 2: DATE is '210531'"),
        (dated("DATE", "Monday", "Tuesday"), "line 2: DATE is 'Monday'"),
        (dated("DATE", "2021-05-03", "."), "line 4: DATE is missing, which other rows have"),
        (dated("DATE", "2021-05-03 07:30:00", "2021-05-04"), "line 2: DATE is '2021-05-03 07:30:00'"),
        (
            dated("DATE", "1", "2", v="27"),
            "line 4: TIME is '27' beside DATE, where it is the time of the day.*--ignore DATE",
        ),
        (dated("DATE", "1", "2", v="8:75"), "line 4: TIME is '8:75', which no clock shows"),
        (dated("DATE", "1", "2", v="8:30 PM"), "line 4: TIME is '8:30 PM'; write hours:minutes of a 24-hour clock"),
        (dated("DATE", "1", "1", v="7"), "line 4: time -1 of person 1 comes after 2"),
        (
            "ID,DATE,DAT1,TIME,AMT,DV\n1,1,1,8,100,.\n1,1,1,10,.,8\n",
            "line 1: DATE and DAT1 both give the day.*--ignore DAT1",
        ),
        ("ID,TIME,AMT,DV\n1,20:00,100,.\n1,2:00,.,8\n", "line 3: .*a clock that passes midnight needs a DATE"),
        ("ID,TIME,AMT,DV\n1,2021-05-03T08:00,100,.\n1,2,.,8\n", "line 2: TIME is '2021-05-03T08:00' here and no date"),
        ("ID,TIME,AMT,DV\n1,2021-05-03T08:00Z,100,.\n1,2021-05-03T09:00,.,8\n", "some rows name a time zone"),
    ],
)
def test_days_that_are_not_clear_are_refused(tmp_path, text, sentence):
    refused(tmp_path, text, sentence)


def test_hours_beside_days_need_a_unit_that_is_clear(tmp_path):
    text = dated("DATE", "1", "2")
    refused(
        tmp_path,
        text,
        "line 2: TIME is '8' beside DATE.*stated as min; write hours:minutes",
        units={**UNITS, "TIME": "min"},
    )
    refused(tmp_path, text, "the unit of TIME is 'mo'; state one of", units={**UNITS, "TIME": "mo"})
    elapsed = read_nonmem(table(tmp_path, dated("DATE", "1", "2", v="27")), units=UNITS, ignore=["DATE"])
    assert elapsed[0].times.tolist() == [10.0, 27.0]


# censoring, routes, endpoints, and whatever else has a meaning


CENSORED = "ID,TIME,AMT,DV,EVID,CMT,{}\n1,0,100,.,1,1,{}\n1,2,.,3.1,0,2,{}\n1,48,.,0.5,0,2,{}\n"


@pytest.mark.parametrize(
    ("names", "dose", "seen", "last", "sentence"),
    [
        ("CENS,LIMIT", ".,.", ".,.", "1,0.5", r"line 4: the value lies above 0\.5 and below 0\.5"),
        ("CENS,LIMIT", ".,.", ".,.", "-1,0.2", r"line 4: the value lies above 0\.5 and below 0\.2.*correct the row"),
        ("CENS", ".", "0", "2", "line 4: CENS is '2'; it is 1 below, -1 above"),
        ("CENS,LLOQ", ".,.", "0,0.2", "1,0.2", r"line 4: CENS is 1, so that DV is the limit, 0\.5, and LLOQ is 0\.2"),
        ("BLQ", "0", "0", "1", "line 4: BLQ is '1' and nothing says the limit; write it into a column LLOQ"),
        ("BLQ,LLOQ", "0,.", "0,.", "1,0.2", r"BLQ says that the value is below LLOQ, 0\.2, and DV is 0\.5"),
        ("BQL", ".", "N", "Y", "line 4: BQL is 'Y' and nothing says"),
        ("blloq", "FALSE", "FALSE", "TRUE", "line 4: blloq is 'TRUE' and nothing says"),
        ("LLOQ", ".", "0.5", "0.5", r"line 4: DV is 0\.5 and LLOQ, the limit of quantification, is 0\.5"),
        ("LLOD", ".", "0.5", "0.5", r"line 4: DV is 0\.5 and LLOD, the limit of detection, is 0\.5"),
        ("LIMIT", ".", "0.6", "0.6", r"line 4: DV is 0\.5 and LIMIT"),
        ("ULOQ", ".", "3", "3", r"line 3: DV is 3\.1 and ULOQ, the upper limit"),
    ],
)
def test_censored_values_are_refused(tmp_path, names, dose, seen, last, sentence):
    refused(tmp_path, CENSORED.format(names, dose, seen, last), sentence)


@pytest.mark.parametrize(
    ("names", "dose", "seen", "last"),
    [
        ("CENS,LIMIT", ".,.", "0,.", "0,."),
        ("CENS,LIMIT", ".,.", "0,0.5", ".,0.5"),  # a limit without a censored value says nothing
        ("CENS", "1", "0", "NA"),
        ("BLQ", ".", "no", "FALSE"),
        ("LLOQ", "0.6", "0.1", "0.1"),
        ("LIMIT", ".", "-Inf", "-inf"),
    ],
)
def test_columns_of_censoring_that_say_nothing_are_left_out_by_name(tmp_path, names, dose, seen, last):
    found = read_table(table(tmp_path, CENSORED.format(names, dose, seen, last)), units=UNITS)
    assert found.records[0].values[:, 0].tolist() == [3.1, 0.5]
    assert found.records[0].covariates == {}
    assert [one.column for one in found.left_out] == names.split(",")
    assert all(str(one).startswith(f"column {one.column} is left out: ") for one in found.left_out)


def test_a_censored_row_without_a_value_is_a_row_without_a_value(tmp_path):
    for row in ("1,48,.,.,0,2,0,.", "1,48,.,0.5,0,2,1,1"):
        text = f"ID,TIME,AMT,DV,EVID,CMT,BLQ,MDV\n1,0,100,.,1,1,.,1\n1,2,.,3.1,0,2,0,0\n{row}\n"
        (record,) = read_nonmem(table(tmp_path, text), units=UNITS)
        np.testing.assert_array_equal(record.values[:, 0], [3.1, NAN])
    (record,) = read_nonmem(table(tmp_path, CENSORED.format("CENS", "0", "0", "1")), units=UNITS, ignore=["CENS"])
    assert record.values[:, 0].tolist() == [3.1, 0.5]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "ID,TIME,AMT,DV,EVID,ADM\n1,0,100,.,1,2\n1,0.5,.,3.0,0,.\n",
            "line 2: ADM is '2'.*CMT alone says where a dose goes",
        ),
        ("ID,TIME,AMT,DV,ADM\n1,0,100,.,1\n1,1,100,.,2\n1,2,.,3,.\n", "line 2: ADM is '1'"),
        ("ID,TIME,AMT,DV,ROUTE\n1,0,100,.,iv\n1,2,.,3,.\n", "line 2: ROUTE is 'iv'.*give the file a column CMT"),
        ("ID,TIME,AMT,DV,CMT,ADM\n1,0,100,.,1,1\n1,1,100,.,1,2\n1,2,.,3,2,.\n", "line 3: ADM is '2' and CMT 1"),
    ],
)
def test_the_way_of_a_dose_is_not_guessed(tmp_path, text, sentence):
    refused(tmp_path, text, sentence)


def test_a_way_that_says_what_is_known_anyway(tmp_path):
    for text in (
        "ID,TIME,AMT,DV,ADM\n1,0,100,.,1\n1,2,.,3,.\n",
        "ID,TIME,AMT,DV,CMT,ADM\n1,0,100,.,1,1\n1,1,100,.,2,2\n1,2,.,3,2,.\n",
        "ID,TIME,AMT,DV,CMT,ROUTE\n1,0,100,.,2,iv\n1,2,.,3,2,.\n",
    ):
        found = read_table(table(tmp_path, text), units=UNITS)
        assert found.records[0].covariates == {}
        assert len(found.left_out) == 1
    text = "ID,TIME,AMT,DV,EVID,CMT\n1,0,100,.,1,2\n1,0.5,.,3.0,0,.\n"  # the cure of the refused table
    (record,) = read_nonmem(table(tmp_path, text), units=UNITS)
    assert predicted(record) == pytest.approx([3.0410], abs=5e-5)


def test_endpoints_by_number_and_by_name(tmp_path):
    two = {"channels": {1: "concentration", 2: "effect"}}
    for name, first, second in (("YTYPE", "1", "2"), ("DVID", "concentration", "effect"), ("ytype", "Effect", "1")):
        text = f"ID,TIME,AMT,DV,{name}\n1,0,100,.,.\n1,1,.,8,{first}\n1,2,.,90,{second}\n"
        (record,) = read_nonmem(table(tmp_path, text), units=UNITS, **two)
        one, other = (0, 1) if first.lower() != "effect" else (1, 0)
        assert (record.values[0, one], record.values[1, other]) == (8.0, 90.0)
    text = "ID,TIME,AMT,DV,YTYPE\n1,0,100,.,.\n1,1,.,8,1\n1,2,.,90,2\n"
    refused(
        tmp_path, text, "line 3: YTYPE is 1 on an observation, and the channels are {2: 'concentration'}.*channels={1"
    )
    refused(
        tmp_path, text.replace("90,2", "90,pca"), "line 4: YTYPE is 'pca' on an observation.*channels={'pca'", **two
    )
    (record,) = read_nonmem(
        table(tmp_path, text.replace("90,2", "90,pca")), units=UNITS, channels={1: "concentration", "PCA": "effect"}
    )
    np.testing.assert_array_equal(record.values, [[8.0, NAN], [NAN, 90.0]])
    both = "ID,TIME,AMT,DV,DVID,YTYPE\n1,0,100,.,.,.\n1,1,.,8,1,2\n1,2,.,90,2,2\n"
    refused(tmp_path, both, "line 3: DVID and YTYPE are '1' and '2'", **two)
    (record,) = read_nonmem(table(tmp_path, both), units=UNITS, channel_column="DVID", **two)
    np.testing.assert_array_equal(record.values, [[8.0, NAN], [NAN, 90.0]])
    told = read_table(table(tmp_path, both), units=UNITS, channel_column="DVID", **two).left_out
    assert [str(one) for one in told] == ["column YTYPE is left out: what was measured is read from DVID"]
    # a column of endpoints that says nothing leaves CMT its meaning
    empty = "ID,TIME,AMT,DV,CMT,DVID\n1,0,100,.,1,.\n1,1,.,8,2,.\n1,2,.,90,3,.\n"
    (record,) = read_nonmem(table(tmp_path, empty), units=UNITS, channels={2: "concentration", 3: "effect"})
    np.testing.assert_array_equal(record.values, [[8.0, NAN], [NAN, 90.0]])


def test_compartments_by_name(tmp_path):
    text = "ID,TIME,AMT,DV,CMT\n1,0,100,.,{}\n1,2,.,2.7,{}\n"
    for dose, seen in (("plasma", "plasma"), ("Plasma", "concentration"), ("2", "PLASMA"), ("2.0", "2")):
        (record,) = read_nonmem(table(tmp_path, text.format(dose, seen)), units=UNITS)
        assert record.schedule.doses[0].state == "plasma"
        assert predicted(record) == pytest.approx([100 / V * math.exp(-2 * KE)])
    refused(
        tmp_path,
        text.format("central", "central"),
        r"line 2: CMT is 'central' on a dose, and the compartments are .*compartments=\{'central'",
    )
    (record,) = read_nonmem(
        table(tmp_path, text.format("central", "central")),
        units=UNITS,
        compartments={"central": "plasma"},
        channels={"central": "concentration"},
    )
    assert record.schedule.doses[0].state == "plasma"
    refused(tmp_path, text.format("plasma", "brain"), "line 3: CMT is 'brain' on an observation.*channels=")
    refused(tmp_path, text.format("plasma", "gut"), "line 3: CMT is 'gut' on an observation")
    refused(tmp_path, text.format("-2", "2"), "line 2: CMT is -2 on a dose")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ID,TIME,AMT,DV,RATE,MDV\n1,0,0,0,50,1\n1,4,0,5,0,0\n", "line 2: RATE is 50 and AMT is 0"),
        ("ID,TIME,AMT,DV,DUR\n1,0,.,.,2\n1,4,0,5,0\n", "line 2: DUR is 2 and AMT is 0"),
        ("ID,TIME,AMT,DV,ADDL,II\n1,0,.,.,3,12\n1,4,0,5,0,0\n", "line 2: ADDL is 3 and AMT is 0"),
        (
            "ID,TIME,AMT,DV,EVID,II\n1,0,9,.,1,0\n1,4,.,5,0,12\n",
            r"line 3: II is 12 and AMT is 0, an observation.*\. in II",
        ),
        ("ID,TIME,AMT,DV,EVID,RATE\n1,0,9,.,2,0\n1,4,.,5,0,0\n", "line 2: EVID is 2, neither dose nor.*AMT is 9"),
        ("ID,TIME,AMT,DV,II\n1,0,9,.,12\n1,4,.,5,.\n", "line 2: II is 12 and ADDL does not say.*--ignore II"),
        ("ID,TIME,AMT,DV,TAU\n1,0,9,.,12\n1,4,.,5,.\n", "line 2: TAU is 12 and ADDL does not say"),
        ("ID,TIME,AMT,DV,SS\n1,0,9,.,1\n1,4,.,5,.\n", "line 2: SS asks for a steady state"),
        ("ID,TIME,AMT,DV,RATE\n1,0,9,.,-3\n1,4,.,5,.\n", "line 2: RATE is -3"),
        ("ID,TIME,AMT,DV,CONT\n1,0,9,.,1\n1,4,.,5,0\n", "line 2: CONT is '1': a row that goes on"),
        ("ID,TIME,AMT,DV,RPT_\n1,0,9,.,0\n1,4,.,5,1\n", "line 3: RPT_ is '1'"),
        ("ID,TIME,AMT,DV,L1\n1,0,9,.,1\n1,4,.,5,2\n", "line 3: L1 is '2'"),
        (
            "ID,TIME,AMT,DV,L2,CMT\n1,0,9,.,.,1\n1,4,.,5,7,2\n1,4,.,6,7,2\n",
            "line 4?3?: L2 of person 1 is '7'.*--ignore L2",
        ),
        ("ID,TIME,AMT,DV,OCC\n1,0,9,.,1\n1,4,.,5,1\n1,40,9,.,2\n1,44,.,5,1\n", "line 5: OCC of person 1 comes back to '1'"),
        ("ID,TIME,AMT,DV,EVID,CMT\n1,0,9,.,1,1\n1,4,.,5,0,2\n1,5,.,.,2,-1\n", "line 4: CMT is -1, which turns"),
        (
            "ID,TIME,AMT,DV,DVU\n1,0,9,.,.\n1,4,.,5,mg/L\n1,5,.,900,ng/mL\n",
            "line 4: DVU is 'ng/mL', and mg/L is stated",
        ),
        ("ID,TIME,AMT,DV,AMTU\n1,0,9,.,g\n1,4,.,5,g\n", "line 2: AMTU is 'g', and mg is stated"),
        (
            "ID,TIME,AMT,DV\n1,0,9,.\n1,4,.,<O.5\n",
            "line 3: DV is '<O.5', and a number is needed behind <",
        ),
    ],
)
def test_what_the_convention_means_is_never_passed_over(tmp_path, text, sentence):
    refused(tmp_path, text, sentence)


@pytest.mark.parametrize("name", [n for n, c in BY_NAME.items() if c.use != "read"])
def test_no_name_of_the_convention_becomes_a_covariate_or_is_passed_over(tmp_path, name):
    """Whatever numbers stand in it: the column is refused where it says something, and named where it says nothing."""
    said = []
    for dose, first, second in (("9", "9", "8.5"), ("0.1", "0.1", "0.1"), ("0", "0", "0"), (".", ".", ".")):
        text = f"ID,TIME,AMT,DV,{name}\n1,0,100,.,{dose}\n1,2,.,8,{first}\n1,4,.,5,{second}\n"
        try:
            found = read_table(table(tmp_path, text), units=UNITS)
        except ValueError as error:
            said.append(str(error))
            continue
        assert found.records[0].covariates == {}
        assert [one.column for one in found.left_out] == [name]
    refusable = BY_NAME[name].use == "checked"
    assert bool(said) is refusable
    assert all(name in sentence and "line " in sentence for sentence in said)
    assert len(said) < 4  # an empty column stops nobody


def test_every_name_of_the_convention_has_one_meaning():
    names = [n for c in COLUMNS for n in (c.name, *c.also)]
    assert len(set(names)) == len(names)
    assert all(n == n.upper() for n in names)
    assert all(c.cure or c.name == "LIMIT" for c in COLUMNS if c.use == "checked")


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.permutations(range(10)), st.sampled_from([",", ";", "\t", " "]), st.booleans())
def test_the_order_of_columns_and_their_case_do_not_matter(tmp_path_factory, order, mark, low):
    names = ["ID", "TIME", "AMT", "DV", "EVID", "CMT", "TINF", "WT", "DATE", "CENS"]
    rows = [
        ["B", "8:00", "100", ".", "1", "2", "2", "70", "2021-05-03", "."],
        ["B", "9:30", ".", "3", "0", "2", ".", "70", "2021-05-03", "0"],
        ["B", "9:30", ".", "4", "0", "2", ".", "70", "2021-05-03", "0"],
        ["B", "7:00", ".", "NA", "0", "2", ".", ".", "2021-05-04", "0"],
    ]
    head = [n.lower() if low else n for n in names]
    text = "\n".join(mark.join(line[k] for k in order) for line in (head, *rows))
    (record,) = read_nonmem(table(tmp_path_factory.mktemp("table"), text), units=UNITS)
    assert record.times.tolist() == [1.5, 1.5, 23.0]
    np.testing.assert_array_equal(record.values[:, 0], [3.0, 4.0, NAN])
    assert [(d.state, d.time, d.amount, d.duration) for d in record.schedule.doses] == [("plasma", 0.0, 100.0, 2.0)]
    assert list(record.covariates.values()) == [70.0]


def test_columns_that_say_nothing_are_no_covariates(tmp_path):
    text = (
        "ID,TIME,AMT,DV,SS,OCC,L2,PCMT,CALL,CONT,DVU,AGE=DROP,II,ADDL\n"
        "1,0,9,.,0,1,0,2,1,0,.,3,12,0\n1,4,.,5,0,1,1,2,1,0,mg/L,4,0,0\n1,5,.,4,0,1,2,2,1,0,mg/L,5,0,0\n"
    )
    found = read_table(table(tmp_path, text), units=UNITS)
    assert found.records[0].covariates == {}
    assert {one.column for one in found.left_out} == {"SS", "OCC", "L2", "PCMT", "CALL", "CONT", "DVU", "AGE=DROP"}
    with pytest.raises(ValueError, match="line 2: "):  # where they are asked for as covariates they are
        read_nonmem(table(tmp_path, text.replace("9,.,0,1", "9,.,0,x")), units=UNITS, covariates=["OCC"])
    (record,) = read_nonmem(table(tmp_path, text), units=UNITS, covariates=["OCC"])
    assert record.covariates == {"OCC": 1.0}


def test_too_many_additional_doses_are_refused_at_once(tmp_path):
    text = "ID,TIME,AMT,DV,EVID,CMT,ADDL,II\n1,0,1,.,1,1,{},12\n1,24,.,5,0,2,.,.\n"
    for more in ("100000000", "10001", "1e300"):
        refused(tmp_path, text.format(more), "line 2: ADDL is 1.*more than 10000 doses in one row")
    (record,) = read_nonmem(table(tmp_path, text.format(10000)), units=UNITS)
    assert len(record.schedule.doses) == 10001


# the file


def test_people_whose_names_begin_with_the_mark_of_a_comment(tmp_path):
    text = (
        "ID\tTIME\tAMT\tDV\nB 6\t0\t100\t.\nB 6\t2\t.\t8\nC 7\t0\t100\t.\nC 7\t2\t.\t6\nD 8\t0\t100\t.\nD 8\t2\t.\t7\n"
    )
    for mark in ("\t", ",", ";"):
        records = read_nonmem(table(tmp_path, text.replace("\t", mark)), units=UNITS)
        assert [(r.id, r.values[0, 0]) for r in records] == [("B 6", 8.0), ("C 7", 6.0), ("D 8", 7.0)]
    only = text.replace("B 6", "C 6").replace("D 8", "C 8")
    assert [r.id for r in read_nonmem(table(tmp_path, only), units=UNITS)] == ["C 6", "C 7", "C 8"]
    quoted = text.replace("B 6", "6").replace("D 8", "8").replace("C 7", '"C 7"')
    assert [r.id for r in read_nonmem(table(tmp_path, quoted), units=UNITS)] == ["6", "C 7", "8"]
    blanks = text.replace("C 7", '"C 7"').replace("B 6", '"B 6"').replace("D 8", "8").replace("\t", " ")
    assert [r.id for r in read_nonmem(table(tmp_path, blanks), units=UNITS)] == ["B 6", "C 7", "8"]
    # among numbers it may be a row that was commented out: not guessed
    numbers = text.replace("B 6", "6").replace("D 8", "8")
    refused(tmp_path, numbers, 'line 4: the line begins with C, the mark of a comment.*write # .*quotes.*"C 7"')
    prose = numbers.replace("C 7\t0\t100\t.\nC 7\t2\t.\t6\n", "C one person was left out\n#C 7\t2\t.\t6\n")
    assert [r.id for r in read_nonmem(table(tmp_path, prose), units=UNITS)] == ["6", "8"]


def test_decimal_commas_in_a_covariate(tmp_path):
    text = "ID;TIME;AMT;DV;WT\n1;0;320;.;70,5\n1;2;.;8;70,5\n2;0;320;.;81,2\n2;2;.;7;81,2\n"
    refused(tmp_path, text, "line 2: WT is '70,5', and a number is needed.*decimal point", units={**UNITS, "WT": "kg"})
    refused(tmp_path, text, "line 2: WT is '70,5'.*decimal point")
    refused(tmp_path, text.replace("70,5", "70.5"), "line 4: WT is '81,2'.*decimal point", units={**UNITS, "WT": "kg"})
    refused(tmp_path, text.replace("70,5", "heavy"), "line 2: WT is 'heavy'", units={**UNITS, "WT": "kg"})
    unit = text.replace("70,5", "70.5 kg").replace("81,2", "81.2 kg")
    refused(tmp_path, unit, "line 2: WT is '70.5 kg', and a number is needed", units={**UNITS, "wt": "kg"})
    empty = text.replace("70,5", "NA").replace("81,2", ".")
    refused(tmp_path, empty, "person 1 has no WT", units={**UNITS, "WT": "kg"})
    assert read_nonmem(table(tmp_path, text), units={**UNITS, "WT": "kg"}, ignore=["WT"])[0].covariates == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "ID,TIME,AMT,EVID,CMT,DV,RATE\n1,0,100,1,1,.,0\n1,2,,0,2,8,5,\n1,4,,0,2,6,0\n",
            "line 3: 8 fields where the header has 7.*decimal point",
        ),
        ("ID,TIME,AMT,DV,WT\n1,0,5,100,.,\n1,2,5,.,8,\n", "line 2: 6 fields where the header has 5"),
        ("ID,TIME,AMT,DV,WT,\n1,0,100,.,,\n1,2,,8,5,,\n", "line 3: 7 fields where the header has 5"),
        ("ID,TIME,AMT,DV,,\n1,0,100,.,,\n1,2,,8,5,\n", "line 3: 6 fields where the header has 4"),
        ("ID,TIME,AMT,DV\n1,0,100,.,,,\n1,2,,8\n", "line 2: 7 fields where the header has 4"),
    ],
)
def test_an_empty_cell_never_hides_a_shifted_row(tmp_path, text, sentence):
    refused(tmp_path, text, sentence)


def test_empty_cells_behind_header_and_rows_are_a_spreadsheets(tmp_path):
    text = "ID,TIME,AMT,DV,,\n1,0,100,.,,\n1,2,,8,,\n1,3,,7\n"
    assert read_nonmem(table(tmp_path, text), units=UNITS)[0].values[:, 0].tolist() == [8.0, 7.0]


@pytest.mark.parametrize(
    "text",
    [
        '"","ID","TIME","AMT","DV","EVID","CMT"\n"1",1,0,100,NA,1,1\n"2",1,2,NA,8,0,2\n',
        "X,ID,TIME,AMT,DV,EVID,CMT\n1,1,0,100,<NA>,1,1\n2,1,2,NA,8,0,2\n",
        ",ID,TIME,AMT,DV,EVID,CMT\n0,1,0,100.0,,1,1\n1,1,2,,8.0,0,2\n",
        '"ID","TIME","AMT","DV","EVID","CMT"\n"1",1,0,100,NA,1,1\n"2",1,2,NA,8,0,2\n',
        '"ID" "TIME" "AMT" "DV" "EVID" "CMT"\n"3" 1 0 100 NA 1 1\n"7" 1 2 NA 8 0 2\n',
        "Unnamed: 0,ID,TIME,AMT,DV,EVID,CMT\n4,1,0,100,NA,1,1\n9,1,2,NA,8,0,2\n",
    ],
)
def test_row_numbers_and_missing_values_of_r_and_pandas(tmp_path, text):
    found = read_table(table(tmp_path, text), units=UNITS)
    (record,) = found.records
    assert (record.id, record.times.tolist(), record.values[:, 0].tolist()) == ("1", [2.0], [8.0])
    assert record.schedule.doses[0].amount == 100.0
    assert [one.why for one in found.left_out] == ["the numbers of the rows"]


def test_a_number_before_every_row_may_be_a_person_and_a_decimal_comma(tmp_path):
    text = "ID,TIME,AMT,DV\n1,0,100,8,5\n2,0,100,7,2\n"
    refused(tmp_path, text, "line 2: 5 fields where the header has 4.*decimal point")
    refused(tmp_path, text.replace("1,0", '"1",0'), "line 2: 5 fields where the header has 4")


def test_other_names_of_needed_columns_are_asked_about(tmp_path):
    refused(
        tmp_path, "ID,TIME,DOSE,CONC\n1,0,100,8\n", r"lacks AMT, DV \(is it DOSE for AMT, CONC for DV\? Rename it\)"
    )


def test_an_id_as_long_as_a_page_is_a_column_that_has_slipped(tmp_path):
    text = 'ID,TIME,AMT,DV\n"{0}",0,100,.\n"{0}",2,.,8\n'
    assert read_nonmem(table(tmp_path, text.format("n 1 " * 25)), units=UNITS)[0].id == ("n 1 " * 25).strip()
    with pytest.raises(ValueError, match=r"line 2: ID is .* of 1199 characters; at most 100") as caught:
        read_nonmem(table(tmp_path, text.format("n 1 " * 300)), units=UNITS)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("mark", ["|", " | ", "/", ":", "~", "||", "^"])
def test_a_separator_that_is_not_read_is_named(tmp_path, mark):
    text = "ID,TIME,AMT,DV\n1,0,100,.\n1,2,.,8\n".replace(",", mark)
    for whole in (text, text.replace("ID", '"ID"').replace("TIME", '"TIME"')):
        refused(tmp_path, whole, f"line 1: the header .* looks separated by {re.escape(repr(mark.strip()))}, which is not read")
    refused(tmp_path, "ID,TIME,AMT/h,DV\n1,0,100,.\n", "lacks AMT")  # a sign in a name is no separator


def test_columns_without_a_name_that_are_no_row_numbers(tmp_path):
    for text in (",ID,TIME,AMT,DV\nx,1,0,100,.\ny,1,2,.,8\n", "ID,,TIME,AMT,DV\n1,4,0,100,.\n1,5,2,.,8\n"):
        refused(tmp_path, text, "repeat or have no name")
    repeats = ",ID,TIME,AMT,DV\n1,1,0,100,.\n1,1,2,.,8\n"
    refused(tmp_path, repeats, "repeat or have no name")
    # an X that does not number the rows is a covariate
    (record,) = read_nonmem(table(tmp_path, "X,ID,TIME,AMT,DV\n5,1,0,100,.\n5,1,2,.,8\n"), units=UNITS)
    assert record.covariates == {"X": 5.0}
    empty = "ID,,TIME,AMT,DV\n1,,0,100,.\n1,,2,.,8\n"
    assert read_nonmem(table(tmp_path, empty), units=UNITS)[0].times.tolist() == [2.0]


def test_two_tables_in_one_file(tmp_path):
    text = "ID,TIME,AMT,DV\n1,0,100,.\n1,2,.,8\n{}\n2,0,100,.\n2,2,.,7\n"
    for again in ("ID,TIME,AMT,DV", "id,time,amt,dv", '"ID","TIME","AMT","DV"', "TABLE NO.  2\nID,TIME,AMT,DV"):
        records = read_nonmem(table(tmp_path, text.format(again)), units=UNITS)
        assert [(r.id, r.values[0, 0]) for r in records] == [("1", 8.0), ("2", 7.0)]
    refused(tmp_path, text.format("ID,TIME,DV,AMT"), "line 4: a second header.*other columns.*read two files")
    refused(tmp_path, text.format("ID,TIME,AMT,DV,WT"), "line 4: a second header")
    refused(
        tmp_path,
        text.format("ID,TIME,AMT,DV").replace("2,0", "1,0").replace("2,2,.", "1,2,."),
        "line 5: time 0 of person 1",
    )
    nonmem = "TABLE NO.  1\n ID TIME AMT DV\n 1 0.0000E+00 1.0000E+02 .\n 1 2.0000E+00 0.0000E+00 8.0000E+00\n"
    assert read_nonmem(table(tmp_path, nonmem), units=UNITS)[0].values[0, 0] == 8.0
    marked = "#ID,TIME,AMT,DV\n1,0,100,.\n1,2,.,8\n"
    assert read_nonmem(table(tmp_path, marked), units=UNITS)[0].values[0, 0] == 8.0


def test_one_person_under_two_spellings(tmp_path):
    refused(tmp_path, "ID,TIME,AMT,DV\n1,0,100,.\n1.0,2,.,8\n", "line 3: person 1.0 comes back")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b'{"resourceType": "Bundle", "entry": []}', "FHIR resources in JSON"),
        (b'\xef\xbb\xbf[\n {"resourceType": "Observation"}]', "FHIR resources in JSON"),
        (b'[{"sgv": 120, "date": 1}]', "Nightscout entries"),
        (b'[{"a": 1}]', "JSON; this reader takes rows of ID, TIME, AMT, DV"),
        (
            b"Index,Timestamp (YYYY-MM-DDThh:mm:ss),Event Type,Event Subtype,Patient Info,Glucose Value (mg/dL)\n1,,FirstName\n",
            "Dexcom Clarity",
        ),
        (
            b"Glucose Data,Generated on,03-05-2021\nDevice,Serial Number,Device Timestamp,Record Type,Historic Glucose mmol/L\n",
            "LibreView",
        ),
        (
            "Gerät,Seriennummer,Gerätezeitstempel\nFreeStyle LibreLink,1,03-05-2021 08:00,0,98\n".encode(),
            "LibreView",
        ),
        (b"Last Name,First Name\nIndex,Date,Time,Sensor Glucose (mg/dL),Bolus Volume Delivered (U)\n", "CareLink"),
        (b"PK\x03\x04\x14\x00\x06\x00", "an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook"),
        (b"HEADER RECORD*******LIBRARY HEADER RECORD!!!!!!!", "a SAS transport file"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (b"\x1f\x8b\x08\x00", "R's .rds files"),
        (b"RDX3\nX\n", "an R workspace"),
        ("ID,TIME".encode("utf-16"), "text in UTF-16"),
        (b"<!DOCTYPE html><html>", "a web page"),
    ],
)
def test_other_kinds_of_file_are_said_to_be_what_they_are(tmp_path, head, words):
    path = tmp_path / "people.csv"
    path.write_bytes(head)
    with pytest.raises(ValueError, match=rf"people\.csv: this is .*{words}"):
        read_nonmem(path, units=UNITS)


def test_a_table_is_no_other_kind():
    noted = b"ID;TIME;AMT;DV;NOTE\n1;0;100;.;Dexcom\n1;2;.;8;FreeStyle Libre\n"
    for text in (
        noted,
        b"ID,TIME,AMT,DV\n1,0,100,.\n",
        b"# glucose value by event subtype\nID,TIME,AMT,DV\n",
        b"",
        b"[",
    ):
        assert kind_of(text) is None


def test_messages_quote_little_of_a_large_file(tmp_path):
    wide = "ID,TIME,AMT," + ",".join(f"COLUMN{k}" for k in range(2000)) + "\n1,0,100\n"
    refused(tmp_path, wide, "lacks DV")
    refused(tmp_path, "ID,TIME,AMT,DV\n1,0,100,.\n1,2,.," + "x" * 100_000 + "\n", "line 3: DV is 'xxx")
    refused(tmp_path, "ID,TIME,AMT,DV,CMT\n1,0,100,.," + "x" * 100_000 + "\n1,2,.,8,2\n", "line 2: CMT is 'xxx")


def test_every_column_that_is_left_out_is_named(tmp_path):
    text = "ID,TIME,AMT,DV,WT,SEX,NOTE,TAD,CENS\n1,0,100,.,70,F,.,0,0\n1,2,.,8,70,F,late,2,0\n"
    found = read_table(table(tmp_path, text), units=UNITS)
    assert {one.column for one in found.left_out} == {"SEX", "NOTE", "CENS"}
    assert found.records[0].changing.keys() == {"TAD"}  # which changes, and is kept as that
    found = read_table(table(tmp_path, text), units=UNITS, covariates=["WT"], ignore=["sex"])
    assert {one.column for one in found.left_out} == {"SEX", "NOTE", "TAD", "CENS"}
    assert found.records[0].covariates == {"WT": 70.0}
    with pytest.raises(ValueError, match=r"covariates is a list of names, got 'WT'; write covariates=\['WT'\]"):
        read_table(table(tmp_path, text), units=UNITS, covariates="WT")


@pytest.mark.parametrize("name", ["BLQFLAG", "blq_flag", "BQLFLAG"])
def test_a_flag_of_censoring_is_one_under_any_of_its_names(tmp_path, name):
    text = f"ID,TIME,AMT,DV,{name}\n1,0,100,.,0\n1,2,.,8,0\n1,48,.,.5,1\n"
    refused(tmp_path, text, f"line 4: {name} is '1' and nothing says the limit")


@pytest.mark.parametrize("name", ["DAY", "day", "STUDYDAY"])
def test_days_beside_times_of_the_day_are_not_lost(tmp_path: Path, name: str) -> None:
    rows = ["1,1,8,100,.", "1,1,10,.,8", "1,2,11,.,2"]
    path = tmp_path / "days.csv"
    path.write_text("\n".join([f"ID,{name},TIME,AMT,DV", *rows]))
    units = {"TIME": "h", "AMT": "mg", "DV": "mg/L"}
    with pytest.raises(ValueError, match=rf"line 4: {name} changes from .*name the column DATE.*{name}"):
        read_nonmem(path, units=units)
    assert read_nonmem(path, units=units, ignore=[name])[0].times.tolist() == [10.0, 11.0]
    path.write_text("\n".join(["ID,DATE,TIME,AMT,DV", *rows]))
    (person,) = read_nonmem(path, units=units)
    assert (person.times - person.origin).tolist() == [2.0, 27.0]
    # a count of days beside a time that runs on says nothing new
    path.write_text("\n".join([f"ID,{name},TIME,AMT,DV", "1,1,8,100,.", "1,1,10,.,8", "1,2,35,.,2"]))
    assert read_nonmem(path, units=units)[0].times.tolist() == [10.0, 35.0]


# what is not there


@pytest.mark.parametrize("word", ["NaN", "nan", "NAN", "null", "NULL", "N/A", "n/a", "#N/A"])
def test_what_programs_write_for_a_missing_value_is_missing_as_na_is(tmp_path, word):
    text = "ID,TIME,AMT,DV,EVID,CMT,RATE,WT\n1,0,100,?,1,1,?,?\n1,2,?,8,0,?,.,?\n1,4,?,?,0,2,.,?\n1,6,?,5,0,2,.,?\n"
    known = read_table(table(tmp_path, text.replace("?", "NA")), units=UNITS)
    found = read_table(table(tmp_path, text.replace("?", word)), units=UNITS)
    np.testing.assert_array_equal(found.records[0].values[:, 0], [8.0, NAN, 5.0])
    np.testing.assert_array_equal(found.records[0].values, known.records[0].values)
    assert found.records[0].schedule == known.records[0].schedule
    assert found.left_out == known.left_out
    refused(tmp_path, text.replace("?", word), "person 1 has no WT", units={**UNITS, "WT": "kg"})
    refused(tmp_path, text.replace("1,0,100", "1,0,?").replace("?", word), "line 2: a dose without an AMT")


@pytest.mark.parametrize("dash", ["-", "–", "—"])
def test_a_dash_is_missing_where_nothing_was_measured_and_asked_about_where_something_may_have_been(tmp_path, dash):
    text = "ID,TIME,AMT,DV,EVID,CMT,MDV,WT\n1,0,100,-,1,1,.,70\n1,2,-,8,0,-,-,70\n1,4,-,-,0,2,1,70\n1,5,-,-,2,2,.,70\n"
    (record,) = read_nonmem(table(tmp_path, text.replace("-", dash)), units=UNITS)
    np.testing.assert_array_equal(record.values[:, 0], [8.0, NAN])
    assert [(d.state, d.amount) for d in record.schedule.doses] == [("gut", 100.0)]
    without = "ID,TIME,AMT,DV\n1,0,100,-\n1,2,-,8\n"
    assert read_nonmem(table(tmp_path, without.replace("-", dash)), units=UNITS)[0].values.tolist() == [[8.0]]
    for row in ("1,6,.,-,0,2,0,70", "1,6,.,-,0,2,.,70", "1,6,.,-,0,2,-,70"):
        refused(tmp_path, f"{text}{row}\n".replace("-", dash), f"line 6: DV is '{dash}', and a number is needed.*below the limit")
    refused(tmp_path, f"{without}1,4,.,-\n".replace("-", dash), f"line 4: DV is '{dash}', and a number is needed")
