"""People in a DataFrame are read as people in a file are."""

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybrid import HybridModel
from training import Cohort, Record, read_nonmem, read_table

UNITS = {"TIME": "h", "AMT": "mg", "DV": "mg/L"}
PEOPLE = """ID,TIME,AMT,DV,EVID,CMT,WT,SITE
1,0,320.5,.,1,1,70.1,Ulm
1,0.25,.,3.125,0,2,70.1,Ulm
1,7.75,.,1.1,0,2,70.1,Ulm
2,0,300,.,1,1,82,Graz
2,1.5,.,6.25,0,2,82,Graz
2,9,.,0.3,0,2,82,Graz
"""


def as_frame(text: str) -> Any:
    """As pandas reads a file."""
    return pd.read_csv(StringIO(text), na_values=["."])


def same(one: list[Record], two: list[Record]) -> bool:
    return len(one) == len(two) and all(
        (a.id, a.schedule, dict(a.covariates), dict(a.units), a.channels, a.nonnegative)
        == (b.id, b.schedule, dict(b.covariates), dict(b.units), b.channels, b.nonnegative)
        and np.array_equal(a.times, b.times)
        and np.array_equal(a.values, b.values, equal_nan=True)
        for a, b in zip(one, two, strict=True)
    )


ADDL = "ID,TIME,AMT,DV,EVID,ADDL,II\n1,0,100,.,1,3,12\n1,40,.,2.5,0,.,.\n"
CLOCK = "ID,DATE,TIME,AMT,DV\nA,2021-05-03,08:30,100,.\nA,2021-05-03,11:00,.,2.5\nA,2021-05-04,08:30,.,1.5\n"
COMMENTED = "C,ID,TIME,AMT,DV\n.,1,0,100,.\nC,1,1,.,99\n.,1,2,.,5\n"


@pytest.mark.parametrize("text", [PEOPLE, ADDL, CLOCK, COMMENTED], ids=["people", "addl", "clock", "comments"])
def test_a_frame_gives_the_records_of_its_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(text)
    file, frame = (read_table(table, units=UNITS) for table in (tmp_path / "people.csv", as_frame(text)))
    assert same(frame.records, file.records)
    assert [(one.column, one.covariate) for one in frame.left_out] == [(one.column, one.covariate) for one in file.left_out]


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.convert_dtypes(),  # pandas' own missing values
        lambda f: f.astype({"ID": float, "EVID": float, "CMT": float}),  # what a missing cell makes of whole numbers
        lambda f: f.set_index(["ID", "TIME"]),  # an index that has names
        lambda f: f.set_index(np.arange(100, 106)),  # the rows left by a selection
        lambda f: f.astype({"WT": str, "SITE": "category"}),
        lambda f: f.rename(columns=str.lower),
        lambda f: f.assign(MDV=f.DV.isna()),  # yes and no
    ],
)
def test_however_pandas_holds_them(change: Callable[[Any], Any]) -> None:
    with pytest.warns(UserWarning, match="the frame: left out as covariates"):
        frame = read_nonmem(change(as_frame(PEOPLE)), units=UNITS)
    plain = read_table(as_frame(PEOPLE), units=UNITS).records
    assert [r.id for r in frame] == ["1", "2"]
    assert all(np.array_equal(a.values, b.values) and a.schedule == b.schedule for a, b in zip(frame, plain, strict=True))


def test_time_stamps_are_times_since_the_first_row() -> None:
    frame = pd.DataFrame({
        "ID": ["A"] * 3, "TIME": pd.to_datetime(["2021-05-03 08:30", "2021-05-03 11:00", "2021-05-04 08:30"]),
        "AMT": [100, None, None], "DV": [None, 2.5, 1.5],
    })  # fmt: skip
    (record,) = read_nonmem(frame, units=UNITS)
    assert record.times.tolist() == [2.5, 24.0]


def test_a_number_stored_short_is_the_number_that_was_written() -> None:
    frame = as_frame(PEOPLE).astype({"WT": np.float32})
    assert read_table(frame, units=UNITS, ignore=["SITE"]).records[0].covariates["WT"] == 70.1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.assign(DV=["low"] * len(f)), r"the frame, row 0 \(counted from 0\): DV is 'low', and a number is needed"),
        (lambda f: f.assign(AMT=-f.AMT), r"the frame, row 0 .*: AMT is -320.5; a dose cannot be negative"),
        (lambda f: f.rename(columns={"DV": "conc"}), r"the frame, its columns: .* lacks DV \(is it conc for DV\? Rename it\)"),
        (lambda f: f.iloc[[0, 3, 1, 4]], r"the frame, row 2 .*: person 1 comes back"),
        (lambda f: f.iloc[:0], "the frame, its columns: the header is all there is; add rows"),
        (lambda f: f.assign(TIME=pd.to_timedelta(f.TIME, unit="h")), r"holds durations.*frame\['TIME'\] / pandas.Timedelta"),
        (lambda f: pd.concat({"a": f}, axis=1), "names of 2 levels"),
        (lambda f: f.assign(**{"dv ": f.DV}), "mean the same|repeat"),
    ],
)
def test_what_cannot_be_read_is_said_as_of_a_file(change: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        read_table(change(as_frame(PEOPLE)), units=UNITS)
    assert "line" not in re.sub("the line", "", str(error.value))


def test_a_cohort_comes_from_a_frame(model: HybridModel, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(PEOPLE)
    frame = as_frame(PEOPLE)
    cohort = Cohort.from_frame(frame, model, units=UNITS, ignore=["SITE"])
    assert same(list(cohort.records), list(Cohort.of(read_table(tmp_path / "people.csv", units=UNITS).records, model).records))
    assert cohort.ids == ("1", "2")


@pytest.mark.parametrize("wrong", [PEOPLE, {"ID": [1]}, [[1, 2]], None, Path("people.csv")])
def test_what_is_no_frame_is_named(wrong: object, model: HybridModel) -> None:
    with pytest.raises(ValueError, match=r"from_frame: frame is a pandas DataFrame.*write Cohort.of\(read_nonmem"):
        Cohort.from_frame(wrong, model, units=UNITS)  # type: ignore[arg-type]
