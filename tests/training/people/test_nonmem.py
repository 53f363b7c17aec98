"""Reading event tables: the published file, what every column means, and a sentence for every bad row."""

import csv
import re
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid import Dose, build_segments
from training import Record
from training.people.tables.nonmem import read_nonmem

UNITS = {"TIME": "h", "AMT": "mg", "DV": "mg/L"}
THEOPHYLLINE = Path(str(files("homeostat.data") / "theophylline.csv"))


def table(folder: Path, text: str) -> Path:
    path = folder / "people.csv"
    path.write_text(text, encoding="utf-8")
    return path


def same(a: Record, b: Record) -> bool:
    return (
        a.id == b.id
        and a.schedule == b.schedule
        and np.array_equal(a.times, b.times)
        and np.array_equal(a.values, b.values, equal_nan=True)
        and (a.channels, dict(a.covariates), dict(a.units)) == (b.channels, dict(b.covariates), dict(b.units))
    )


def test_theophylline_is_read_as_published():
    records = read_nonmem(THEOPHYLLINE, units={**UNITS, "WT": "kg"})
    with THEOPHYLLINE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(records) == 12
    values = np.concatenate([r.values[:, 0] for r in records])
    assert len(values) == 132
    assert values.mean() == pytest.approx(4.9605, abs=5e-5)  # printed with four decimals
    assert sum(r.values[0, 0] == 0.0 for r in records) == 9
    for record in records:
        mine = [row for row in rows if row["ID"] == record.id]
        observed = [row for row in mine if row["EVID"] == "0"]
        (dose,) = [row for row in mine if row["EVID"] == "1"]
        assert record.schedule.doses == (Dose("gut", 0.0, float(dose["AMT"])),)
        assert record.times.tolist() == [float(row["TIME"]) for row in observed]
        assert record.values[:, 0].tolist() == [float(row["DV"]) for row in observed]
        assert record.channels == ("concentration",)
        assert record.covariates == {"WT": float(dose["WT"])}
        assert record.units == {"time": "h", "dose": "mg", "concentration": "mg/L", "WT": "kg"}
        assert record.schedule.start == 0.0
        # the observation at the dose's time is the baseline
        assert record.baseline.tolist() == [float(observed[0]["DV"])]
        assert not record.scored[0]
        assert record.scored[1:].all()


@pytest.mark.parametrize("separator", [",", ";", "\t", " ", "   "])
def test_every_separator_gives_the_same_people(tmp_path, separator):
    text = THEOPHYLLINE.read_text().replace(",", separator)
    read = read_nonmem(table(tmp_path, text), units=UNITS)
    assert all(same(a, b) for a, b in zip(read, read_nonmem(THEOPHYLLINE, units=UNITS), strict=True))


def test_headers_in_any_case_comments_blank_lines_and_a_byte_order_mark(tmp_path):
    lines = THEOPHYLLINE.read_text().lower().splitlines()
    lines[0] = lines[0].replace("wt", '"WT"')
    text = "\ufeffC theophylline, twelve people\n# mg and hours\n" + "\n\n# again\n".join(lines) + "\r\n,,,,,,\n"
    read = read_nonmem(table(tmp_path, text), units=UNITS)
    assert all(same(a, b) for a, b in zip(read, read_nonmem(THEOPHYLLINE, units=UNITS), strict=True))


def test_rows_commented_out_in_a_first_column_c(tmp_path):
    text = "C,ID,TIME,AMT,DV,EVID,CMT\n.,1,0,10,.,1,1\nC,1,0.5,.,99,0,2\n.,1,1,.,3,0,2\n"
    (record,) = read_nonmem(table(tmp_path, text), units=UNITS)
    assert record.times.tolist() == [1.0]
    assert record.covariates == {}


def test_doses_infusions_and_additional_doses(tmp_path):
    text = """ID,TIME,AMT,DV,EVID,CMT,RATE,ADDL,II,MDV
7,-1,.,0.5,0,2,.,.,.,0
7,0,100,.,1,1,0,2,8,1
7,2,60,.,1,2,30,.,.,1
7,3,.,4,0,2,.,.,.,0
7,9,.,5,0,2,.,.,.,1
7,20,.,2,0,2,.,.,.,0
"""
    (record,) = read_nonmem(table(tmp_path, text), units=UNITS)
    assert record.schedule.doses == (
        Dose("gut", 0.0, 100.0),
        Dose("plasma", 2.0, 60.0, 2.0, kept="rate"),  # 60 at 30 per hour
        Dose("gut", 8.0, 100.0),
        Dose("gut", 16.0, 100.0),
    )
    assert record.schedule.start == -1.0  # the first row, not the first dose
    np.testing.assert_array_equal(record.values[:, 0], [0.5, 4.0, np.nan, 2.0])  # MDV 1: not measured
    assert record.covariates == {}


def test_without_evid_and_cmt_an_amount_is_what_makes_a_dose(tmp_path):
    text = "ID TIME AMT DV\n1 0 10 .\n1 1 . 3\n1 2 0 2\n"
    (record,) = read_nonmem(table(tmp_path, text), units=UNITS)
    assert record.schedule.doses == (Dose("gut", 0.0, 10.0),)
    assert record.times.tolist() == [1.0, 2.0]


TWO = """ID,TIME,AMT,DV,EVID,CMT,DVID
1,0,100,.,1,1,.
1,1,.,8,0,2,1
1,1,.,90,0,2,2
1,2,.,60,0,2,2
2,0,50,.,1,1,.
2,3,.,4,0,2,1
"""


def test_channels_of_one_time_become_one_row(tmp_path):
    units = {"TIME": "h", "AMT": "mg", "concentration": "mg/L", "effect": "%"}
    first, second = read_nonmem(
        table(tmp_path, TWO), units=units, channels={1: "concentration", 2: "effect"}, covariates=[]
    )
    assert first.channels == ("concentration", "effect")
    assert first.times.tolist() == [1.0, 2.0]
    np.testing.assert_array_equal(first.values, [[8.0, 90.0], [np.nan, 60.0]])
    np.testing.assert_array_equal(second.values, [[4.0, np.nan]])
    assert first.units == {"time": "h", "dose": "mg", "concentration": "mg/L", "effect": "%"}
    by_cmt = TWO.replace(",0,2,2\n", ",0,3,9\n")
    again, _ = read_nonmem(
        table(tmp_path, by_cmt), units=units, channels={2: "concentration", 3: "effect"}, channel_column="CMT"
    )
    np.testing.assert_array_equal(again.values, first.values)


@pytest.mark.parametrize(
    ("order", "dose_row_first", "observed_after"),
    [
        ("observation-first", True, False),
        ("observation-first", False, False),
        ("dose-first", True, True),
        ("dose-first", False, True),
        ("file", True, True),
        ("file", False, False),
    ],
)
def test_order_of_a_dose_and_an_observation_of_one_time(tmp_path, order, dose_row_first, observed_after):
    pair = ["1,5,10,.,1,1", "1,5,.,3,0,2"]
    rows = ["1,0,.,1,0,2", *(pair if dose_row_first else pair[::-1]), "1,6,.,4,0,2"]
    path = table(tmp_path, "ID,TIME,AMT,DV,EVID,CMT\n" + "\n".join(rows) + "\n")
    (record,) = read_nonmem(path, units=UNITS, order=order)
    (dose,) = record.schedule.doses
    assert record.times.tolist() == [0.0, 5.0, 6.0]
    assert (dose.time < 5.0) is observed_after
    assert abs(dose.time - 5.0) <= np.spacing(6.0)
    assert record.scored.tolist() == [False, observed_after, True]


def test_a_dose_that_comes_first_is_seen_by_its_observation(tmp_path):
    # an intravenous bolus sampled at once: 100 mg in 10 L
    path = table(tmp_path, "ID,TIME,AMT,DV,EVID,CMT\n1,0,100,.,1,2\n1,0,.,10,0,2\n1,4,.,5,0,2\n")
    seen = []
    for order in ("observation-first", "dose-first"):
        (record,) = read_nonmem(path, units=UNITS, order=order)
        cut = build_segments([record.schedule], [record.times.tolist()], ("gut", "plasma"))
        arrived = torch.cat([torch.zeros(1, 1, 2, dtype=torch.float64), cut.jump.cumsum(1)], 1)
        seen.append(cut.read(arrived[None])[0, 0, :, 1].tolist())
    assert seen == [[0.0, 100.0], [100.0, 100.0]]


def test_other_events_are_ignored_and_their_covariates_kept(tmp_path):
    text = "ID,TIME,AMT,DV,EVID,CMT,WT,SEX,AGE\n1,-2,.,7,2,9,70,F,.\n1,0,10,.,1,1,.,F,50\n1,1,.,3,0,2,.,F,50\n"
    path = table(tmp_path, text)
    left = r"people.csv: left out as covariates: SEX \('F' on line 2 is no number\); name"
    later = "people.csv: AGE of person 1 is first said on line 3, at 0: 50"
    with pytest.warns(UserWarning, match=left), pytest.warns(UserWarning, match=later):
        (record,) = read_nonmem(path, units=UNITS)
    assert record.covariates == {"WT": 70.0, "AGE": 50.0}
    assert record.schedule.start == -2.0
    with pytest.warns(UserWarning, match=later):
        (record,) = read_nonmem(path, units=UNITS, covariates=["age"])
    assert record.covariates == {"age": 50.0}
    with pytest.raises(ValueError, match=r"people.csv, line 2: SEX is 'F', and a number is needed"):
        read_nonmem(path, units=UNITS, covariates=["SEX"])


def test_a_covariate_that_is_first_said_later_is_said_to_hold_before(tmp_path):
    """Its first value holds from the first row on, of one that changes and of one that does not, and that is said."""
    for late, kept in (("140,150", [[0.0, 25.0], [140.0, 150.0]]), ("140,140", None)):
        first, second = late.split(",")
        text = (
            "ID,TIME,AMT,DV,EVID,CMT,WT\n1,0,100,.,1,1,.\n1,1,0,2,0,2,.\n"
            f"1,24,0,1,0,2,{first}\n1,25,0,1,0,2,{second}\n2,0,100,.,1,1,70\n2,2,0,2,0,2,.\n"
        )
        path = table(tmp_path, text)
        said = "people.csv: WT of person 1 is first said on line 4, at 24: 140; it is taken to have been that before, too: write"
        with pytest.warns(UserWarning, match=said) as warned:
            records = read_nonmem(path, units={**UNITS, "WT": "kg"})
        assert len(warned) == 1
        if kept is None:
            assert [r.covariates for r in records] == [{"WT": 140.0}, {"WT": 70.0}]
        else:
            assert [v.tolist() for v in records[0].changing["WT"]] == kept
    with warnings.catch_warnings(action="error"):
        read_nonmem(table(tmp_path, text.replace("1,1,.", "1,1,140")), units={**UNITS, "WT": "kg"})


def test_an_occasion_that_is_first_said_later_is_said_to_have_begun_before(tmp_path):
    text = "ID,TIME,AMT,DV,EVID,CMT,OCC\n1,0,100,.,1,1,{}\n1,1,0,2,0,2,{}\n1,24,0,1,0,2,1\n1,48,0,1,0,2,2\n"
    said = "people.csv: OCC of person 1 is first said on line 4, at 24: '?1'?; it is taken to have been that before"
    with pytest.warns(UserWarning, match=said) as warned:
        (record,) = read_nonmem(table(tmp_path, text.format(".", ".")), units=UNITS)
    assert len(warned) == 1
    with warnings.catch_warnings(action="error"):
        (whole,) = read_nonmem(table(tmp_path, text.format(1, 1)), units=UNITS)
    assert record.occasions == whole.occasions == (0.0, 48.0)


@pytest.mark.parametrize("order", ["observation-first", "dose-first"])
def test_of_rows_of_one_time_none_is_later(tmp_path, order):
    text = "ID,TIME,AMT,DV,EVID,CMT,WT\n1,24,100,.,1,1,.\n1,24,.,3,0,2,70\n1,30,.,5,0,2,75\n"
    with warnings.catch_warnings(action="error"):
        (record,) = read_nonmem(table(tmp_path, text), units={**UNITS, "WT": "kg"}, order=order)
    assert record.changing["WT"][1].tolist() == [70.0, 75.0]


def test_a_column_that_is_no_covariate_is_left_out_by_name_unless_it_was_meant(tmp_path):
    """An age is missing: nobody who does not need it is stopped by it. A time since the dose changes, and is kept as that."""
    text = (
        "ID,TIME,TAD,AMT,DV,EVID,CMT,AGE,HT,WT\n"
        "1,0,0,320,.,1,1,.,inf,70\n1,2,2,.,8,0,2,.,180,70\n2,0,0,320,.,1,1,44,170,80\n2,2,2,.,7,0,2,44,170,80\n"
    )
    path = table(tmp_path, text)
    said = r"people.csv: left out as covariates: AGE \(person 1 has no value\), HT \('inf' on line 2 is no number\)"
    with pytest.warns(UserWarning, match=said):
        records = read_nonmem(path, units=UNITS)
    assert [r.covariates for r in records] == [{"WT": 70.0}, {"WT": 80.0}]
    assert [v.tolist() for v in records[0].changing["TAD"]] == [[0.0, 2.0], [0.0, 2.0]]
    for name, sentence in (("AGE", "person 1 has no AGE"), ("HT", "not finite")):
        with pytest.raises(ValueError, match=sentence):
            read_nonmem(path, units=UNITS, covariates=[name])
        with pytest.raises(ValueError, match=sentence), warnings.catch_warnings(action="ignore"):
            read_nonmem(path, units={**UNITS, name: "1"})
    assert [r.covariates for r in read_nonmem(path, units=UNITS, ignore=["tad", "AGE", "HT", "WT"])] == [{}, {}]
    with pytest.raises(ValueError, match=r"ignore names \['BMI'\]"):
        read_nonmem(path, units=UNITS, ignore=["BMI"])
    with pytest.raises(ValueError, match="are needed"):
        read_nonmem(path, units=UNITS, ignore=["time"])


HEAD = "ID,TIME,AMT,DV,EVID,CMT,RATE,ADDL,II,SS,WT\n"
DOSE = "1,0,100,.,1,1,.,.,.,.,70\n"
SEEN = "1,1,.,8,0,2,.,.,.,.,70\n"
LATE = "1,2,.,6,0,2,.,.,.,.,70\n"

BAD = [
    # (what is wrong, file, line, words of the sentence, words of the cure)
    ("no EVID", HEAD + DOSE + "1,1,.,8,.,2,.,.,.,.,70\n", 3, "EVID is missing", "write 0"),
    ("missing columns", "ID,TIME,CMT\n1,0,1\n", 1, "lacks AMT, DV", "must name the columns"),
    ("a column twice", "ID,TIME,AMT,DV,dv\n1,0,1,2,3\n", 1, r"\['DV', 'dv'\] repeat", "its own name"),
    ("no rows", HEAD, 1, "header is all there is", "add rows"),
    ("a short row", HEAD + DOSE + "1,1,.,8\n", 3, "4 fields where the header has 11", "write . for"),
    ("a decimal comma", HEAD + DOSE + "1,1,.,8,5,0,2,.,.,.,.,70\n", 3, "12 fields", "decimal point"),
    ("unsorted times", HEAD + DOSE + LATE + SEEN, 4, "time 1 of person 1 comes after 2", "sort"),
    ("an equal row twice", HEAD + DOSE + SEEN + SEEN, 4, "given twice, first on line 3", "delete one of them"),
    ("a dose twice", HEAD + DOSE + DOSE + SEEN, 3, "dose of person 1 is given twice, first on line 2", "sum"),
    (
        "people mixed",
        HEAD + DOSE + SEEN + DOSE.replace("1,", "2,", 1) + LATE,
        5,
        "person 1 comes back",
        "sort the file",
    ),
    ("no person", HEAD + "." + DOSE[1:] + SEEN, 2, "ID is missing", "the person it belongs to"),
    ("no time", HEAD + DOSE + SEEN.replace("1,1,", "1,.,"), 3, "TIME is missing", "the time of its event"),
    ("a negative dose", HEAD + DOSE.replace("100", "-100") + SEEN, 2, "AMT is -100", "correct the sign"),
    ("a negative value", HEAD + DOSE + SEEN.replace("8", "-8"), 3, "DV is -8, a negative concentration", "signed"),
    ("infinite", HEAD + DOSE + SEEN.replace("8", "inf"), 3, "DV is inf, which is not finite", r"write \."),
    ("a dash, which may be a finding", HEAD + DOSE + SEEN.replace("8", "-"), 3, "DV is '-', and a number", r"or \. where it is"),
    ("an endless time", HEAD + DOSE + SEEN.replace("1,1,", "1,inf,"), 3, "TIME is inf", "not finite"),
    (
        "text",
        HEAD + DOSE + SEEN.replace("8", "BLQ"),
        3,
        "DV is 'BLQ', and a number is needed",
        "limit of quantification",
    ),
    ("thousands", HEAD + DOSE.replace("100", "1_00") + SEEN, 2, "AMT is '1_00'", "write a number"),
    (
        "unknown dose compartment",
        HEAD + DOSE.replace(",1,1,", ",1,5,") + SEEN,
        2,
        "CMT is 5 on a dose",
        "compartments={5",
    ),
    ("unknown channel", HEAD + DOSE + SEEN.replace(",0,2,", ",0,1,"), 3, "CMT is 1 on an observation", "channels={1"),
    ("half a compartment", HEAD + DOSE + SEEN.replace(",0,2,", ",0,2.5,"), 3, "CMT is 2.5", "whole number"),
    ("no observation", HEAD + DOSE, 2, "person 1 has no observation", "leave the person out"),
    (
        "nothing measured",
        HEAD + DOSE + SEEN.replace("8", "."),
        2,
        "person 1 has no observation",
        "leave the person out",
    ),
    ("unknown event", HEAD + DOSE + SEEN.replace(",0,2,", ",7,2,"), 3, "EVID is 7", "0 for an observation"),
    ("a reset", HEAD + DOSE + SEEN + LATE.replace(",0,2,", ",3,2,"), 4, "on the row of a reset", "EVID 0"),
    ("steady state", HEAD + "1,0,100,.,1,1,.,.,.,1,70\n" + SEEN, 2, "SS asks for a steady state and II does not", "write II"),
    ("a modelled rate", HEAD + "1,0,100,.,1,1,-3,.,.,.,70\n" + SEEN, 2, "RATE is -3", "write the rate that was given"),
    ("an empty infusion", HEAD + "1,0,0,.,1,1,5,.,.,.,70\n" + SEEN, 2, "RATE is 5 and AMT is 0", "rate × duration"),
    ("no interval", HEAD + "1,0,100,.,1,1,.,3,.,.,70\n" + SEEN, 2, "ADDL is 3 and II is 0", "II > 0"),
    ("a dose of nothing", HEAD + "1,0,.,.,1,1,.,.,.,.,70\n" + SEEN, 2, "a dose without an AMT", "EVID 2"),
    (
        "dose or observation",
        HEAD + DOSE + "1,1,5,8,0,2,.,.,.,.,70\n",
        3,
        "an observation, and AMT is 5",
        "write EVID 1",
    ),
    ("text in a covariate", HEAD + DOSE + SEEN.replace("70", "7O"), 3, "WT is '7O', and a number is needed", "write"),
    (
        "a person without covariate",
        HEAD + DOSE + SEEN + "2,0,.,1,0,2,.,.,.,.,.\n",
        4,
        "person 2 has no WT",
        "covariates=",
    ),
]


@pytest.mark.parametrize(("text", "line", "seen", "cure"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_rows_are_refused_with_file_line_and_cure(tmp_path, text, line, seen, cure):
    # a column whose unit is stated was meant: it is read or refused
    units = {**UNITS, "WT": "kg"} if ",WT" in text else UNITS
    with pytest.raises(ValueError, match=rf"people\.csv, line {line}: .*{seen}.*{cure}"):
        read_nonmem(table(tmp_path, text), units=units)


def test_decimal_commas_where_semicolons_separate(tmp_path):
    text = "ID;TIME;AMT;DV\n1;0;100;.\n1;1;.;8,5\n"
    with pytest.raises(ValueError, match=r"line 3: DV is '8,5'.*decimal point"):
        read_nonmem(table(tmp_path, text), units=UNITS)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.csv: there is no such file; check the path"):
        read_nonmem(tmp_path / "gone.csv", units=UNITS)
    with pytest.raises(ValueError, match="cannot be read"):
        read_nonmem(tmp_path, units=UNITS)
    for text in ("", "\n \n", "# only a comment\n"):
        with pytest.raises(ValueError, match="the file is empty; it needs a header with ID, TIME, AMT, DV"):
            read_nonmem(table(tmp_path, text), units=UNITS)
    (tmp_path / "people.csv").write_bytes(b"ID,TIME,AMT,DV,Gr\xf6\xdfe\n1,0,1,2,3\n")
    with pytest.raises(ValueError, match="not a text file in UTF-8"):
        read_nonmem(tmp_path / "people.csv", units=UNITS)


def test_units_must_be_stated(tmp_path):
    path = table(tmp_path, HEAD + DOSE + SEEN)
    with pytest.raises(ValueError, match=r"units lacks TIME, AMT, DV; state them as UCUM codes"):
        read_nonmem(path, units={})
    with pytest.raises(ValueError, match="lacks DV"):
        read_nonmem(
            path, units={"TIME": "h", "AMT": "mg", "concentration": "mg/L"}, channels={2: "a", 3: "concentration"}
        )
    with pytest.raises(ValueError, match="names HT, which is no column and no channel"):
        read_nonmem(path, units={**UNITS, "HT": "cm"})


def test_arguments_that_are_not_choices(tmp_path):
    path = table(tmp_path, HEAD + DOSE + SEEN)
    with pytest.raises(ValueError, match="order is"):
        read_nonmem(path, units=UNITS, order="last")
    with pytest.raises(ValueError, match="there is no column DVID"):
        read_nonmem(path, units=UNITS, channel_column="DVID")
    with pytest.raises(ValueError, match="no covariate column"):
        read_nonmem(path, units=UNITS, covariates=["HT"])
    with pytest.raises(ValueError, match="signed names"):
        read_nonmem(path, units=UNITS, signed=["effect"])
    minus = table(tmp_path, HEAD + DOSE + SEEN.replace("8", "-8"))
    assert read_nonmem(minus, units=UNITS, signed=["concentration"])[0].values[0, 0] == -8.0


def test_a_dose_between_observations_of_its_time_keeps_its_place_in_file_order(tmp_path):
    text = TWO.replace("1,0,100,.,1,1,.\n1,1,.,8,0,2,1\n", "1,1,.,8,0,2,1\n1,1,100,.,1,1,.\n")
    channels = {1: "concentration", 2: "effect"}
    one, _ = read_nonmem(table(tmp_path, text), units=UNITS, channels=channels, order="file")
    before = 1.0 - np.spacing(2.0)
    assert one.times.tolist() == [before, 1.0, 2.0]
    assert one.schedule.doses == (Dose("gut", before, 100.0),)
    np.testing.assert_array_equal(one.values, [[8.0, np.nan], [np.nan, 90.0], [np.nan, 60.0]])
    one, _ = read_nonmem(table(tmp_path, text), units=UNITS, channels=channels)  # the gut's dose changes neither
    assert one.times.tolist() == [1.0, 2.0]


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    more=st.integers(0, 4),
    interval=st.sampled_from([0.5, 4.0, 12.0]),
    rate=st.sampled_from([0.0, 25.0]),
    people=st.permutations([1, 2, 3]),
)
def test_additional_doses_are_rows_and_people_can_be_shuffled(tmp_path_factory, more, interval, rate, people):
    folder = tmp_path_factory.mktemp("table")
    head = "ID,TIME,AMT,DV,EVID,CMT,RATE,ADDL,II\n"
    short, long = head, head
    for person in people:
        short += f"{person},0,{100 * person},.,1,1,{rate},{more},{interval}\n"
        long += "".join(f"{person},{k * interval},{100 * person},.,1,1,{rate},.,.\n" for k in range(more + 1))
        short += f"{person},100,.,{person},0,2,.,.,.\n"
        long += f"{person},100,.,{person},0,2,.,.,.\n"
    a = read_nonmem(table(folder, short), units=UNITS)
    b = read_nonmem(table(folder, long), units=UNITS)
    assert [r.id for r in a] == [str(p) for p in people]
    assert all(same(x, y) for x, y in zip(a, b, strict=True))
    assert all(len(r.schedule.doses) == more + 1 for r in a)


def test_the_data_readme_says_how_to_read_the_file():
    text = (files("homeostat.data") / "README.md").read_text(encoding="utf-8")
    (units,) = re.findall(r"units=(\{.*?\})", text)
    records = read_nonmem(THEOPHYLLINE, units=dict(re.findall(r'"(\w+)": "([\w/]+)"', units)))
    assert records[0].units["WT"] == "kg"
