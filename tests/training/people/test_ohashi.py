"""The reader of the Ohashi tables: conversions, the split, and what it says of a slip."""

from pathlib import Path

import numpy as np
import pytest

from tests.ohashi_tables import write_tables
from training.people import read_ohashi


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    return write_tables(tmp_path)


def test_the_reader_converts_and_splits(tables: Path) -> None:
    data = read_ohashi(tables)
    assert [r.id for r in data.train] == ["1", "2"]
    assert [r.id for r in data.test] == ["4"]
    assert data.first_phase == {"1": 317.5, "2": -15.0, "3": 100.0}
    one, two = data.train
    np.testing.assert_allclose(one.values[:, 0], 0.3311 * np.array([1, 4, 6, 5, 3]), rtol=1e-15)
    np.testing.assert_allclose(
        one.schedule.inputs["glucose"].values, 0.0551 * np.array([0, 60, 90, 50, 20]), rtol=1e-12
    )
    assert one.schedule.inputs["basal"].values == (0.3311,)
    assert one.baseline[0] == 0.3311
    assert one.scored.tolist() == [False, True, True, True, True]
    assert (one.covariates["age"], one.covariates["type2"]) == (34.0, 0.0)
    assert (two.covariates["type2"], data.test[0].covariates["type2"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("table", "old", "new", "sentence"),
    [
        ("ohashi_OGTT.csv", "O-CPR(60)", "CPR60", r"lacks the column 'O-CPR\(60\)'"),
        ("ohashi_OGTT.csv", ";", ",", r"separator \(needed here: ';'\)"),
        ("ohashi_OGTT.csv", "1;90;150", "1;90;high", r"person 1: O-PG\(30\) is 'high' and must be a number"),
        ("ohashi_OGTT.csv", "2;100;190", "2;100;-190", r"person 2: O-PG\(30\) is '-190'"),
        ("ohashi_OGTT.csv", "5;5\n", "5\n", r"person 2: O-CPR\(120\) is ''"),
        ("ohashi_OGTT.csv", "2;100", "1;100", "lists person 1 twice"),
        ("ohashi_subjectinfo.csv", "T2DM", "T1DM", r"person 2: the type is 'T1DM'"),
        ("ohashi_clamp_indices.csv", "317.5", "n/a", "person 1: incremental AUC"),
        ("split.csv", "4,test", "9,test", "names person 9"),
        ("split.csv", "4,test", "3,test", r"person 3: O-PG\(30\) is ''"),
        ("split.csv", "4,test", "4,later", "set is 'later'"),
    ],
)
def test_the_reader_says_what_is_wrong(tables: Path, table: str, old: str, new: str, sentence: str) -> None:
    text = (tables / table).read_text()  # reads CR LF as a plain line end
    assert old in text
    (tables / table).write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=sentence):
        read_ohashi(tables)


def test_a_missing_table(tables: Path) -> None:
    (tables / "split.csv").unlink()
    with pytest.raises(ValueError, match=r"lacks split\.csv"):
        read_ohashi(tables)
