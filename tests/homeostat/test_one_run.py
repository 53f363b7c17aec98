"""A folder never holds files of two runs as if they were of one: what is unfinished is apart, and what is whole stays whole."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import homeostat.bundles.reported
import homeostat.study.fit_table
from homeostat.cli import app
from homeostat.data import theophylline
from homeostat.one_run import UNFINISHED, Run
from homeostat.places import require_folder


def files_of(folder: Path) -> dict[str, str]:
    """What is in it, but for what is unfinished."""
    found = {str(f.relative_to(folder)): f.read_text(errors="replace") for f in folder.rglob("*") if f.is_file()}
    return {name: text for name, text in found.items() if not name.startswith(UNFINISHED)}


def write(
    place: Path,
    of: str,
    *,
    pictures: tuple[str, ...] = ("people",),
    tables: tuple[str, ...] = ("scores",),
    files: tuple[str, ...] = (),
    cut: str = "",
) -> None:
    (place / "tables").mkdir(exist_ok=True)
    named = {
        "svg": [f"{n}.svg" for n in pictures],
        "png": [f"{n}.png" for n in pictures],
        "csv": [f"tables/{n}.csv" for n in tables],
    }
    for name in ("model.twin", *files, *named["svg"], *named["png"], *named["csv"]):
        (place / name).write_text(of)
    listed = {
        "pictures": [{"svg": f"{n}.svg", "png": f"{n}.png"} for n in pictures],
        "tables": [{"csv": c} for c in named["csv"]],
    }
    (place / "report.json").write_text(json.dumps({**listed, "files": dict.fromkeys(files, "exported"), "cut_short": cut}))
    (place / "report.html").write_text(of)


def test_files_of_one_run_come_together_and_those_of_the_earlier_one_go(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "own.png").write_text("mine")
    write(Run(tmp_path).begin(), "first", pictures=("people", "people-2"), tables=("scores", "theta"), files=("twin.fmu",))
    assert set(files_of(tmp_path)) == {"notes.txt", "own.png"}  # nothing before the end
    assert Run(tmp_path).finish() == tmp_path
    first = files_of(tmp_path)
    assert {"report.html", "people-2.svg", "tables/theta.csv", "model.twin", "twin.fmu"} < set(first)
    assert not (tmp_path / UNFINISHED).exists()
    write(Run(tmp_path).begin(), "second")
    assert files_of(tmp_path) == first  # and the earlier run is whole until then
    page, model = Run(tmp_path).finished(tmp_path / UNFINISHED / "report.html", tmp_path / UNFINISHED / "model.twin")
    assert (page.read_text(), model.read_text()) == ("second", "second")
    assert set(files_of(tmp_path)) == {"notes.txt", "own.png", "model.twin", "report.html", "report.json", "people.svg",
                                       "people.png", "tables/scores.csv"}  # fmt: skip


def test_a_run_that_was_cut_short_takes_no_whole_one_s_place(tmp_path: Path) -> None:
    write(Run(tmp_path).begin(), "cut", cut="hybrid: interrupted at step 3 of 20")
    assert Run(tmp_path).finish(cut_short=True) == tmp_path  # better than none
    assert Run(tmp_path).kept_apart() == ""
    write(Run(tmp_path).begin(), "longer", cut="hybrid: interrupted at step 9 of 20")
    assert Run(tmp_path).finish(cut_short=True) == tmp_path
    assert (tmp_path / "report.html").read_text() == "longer"
    write(Run(tmp_path).begin(), "whole")
    assert Run(tmp_path).finish() == tmp_path
    write(Run(tmp_path).begin(), "cut", cut="hybrid: interrupted at step 3 of 20")
    assert Run(tmp_path).finish(cut_short=True) == tmp_path / UNFINISHED
    assert "keeps the earlier run, which was not cut short; this one is in " in Run(tmp_path).kept_apart()
    assert (tmp_path / "report.html").read_text() == "whole"
    assert (tmp_path / UNFINISHED / "report.html").read_text() == "cut"


def test_an_interrupt_while_files_are_moved_is_none_between_two_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(Run(tmp_path).begin(), "first", pictures=("a", "b", "c"))
    Run(tmp_path).finish()
    write(Run(tmp_path).begin(), "second", pictures=("c", "d", "e"))
    replace, count = Path.replace, 0

    def stopped(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        Run(tmp_path).finish()
    found = files_of(tmp_path)
    assert {name for name in found if name.endswith(".svg")} == {"c.svg", "d.svg", "e.svg"}
    assert {text for name, text in found.items() if name != "report.json"} == {"second"}


@pytest.mark.parametrize(
    "written",
    [
        "no JSON",
        "[1]",
        '{"pictures": 3, "tables": [4, {"csv": 5}]}',
        '{"tables": [{"csv": "../other/own.csv"}, {"csv": "model.twin"}, {"csv": ""}, {"csv": "/etc/x.csv"}]}',
    ],
)
def test_an_earlier_page_that_names_odd_files_removes_none(written: str, tmp_path: Path) -> None:
    other, folder = tmp_path / "other", tmp_path / "out"
    for place in (other, folder):
        place.mkdir()
    (other / "own.csv").write_text("mine")
    (folder / "model.twin").write_text("mine")
    (folder / "report.html").write_text("old")
    (folder / "report.json").write_text(written)
    (Run(folder).begin() / "report.html").write_text("new")
    Run(folder).finish()
    assert (other / "own.csv").read_text() == (folder / "model.twin").read_text() == "mine"
    assert (folder / "report.html").read_text() == "new"


UNITS = ["--units", "TIME=h,AMT=mg,DV=mg/L"]


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (ValueError("odd; mend it"), 2), (KeyError("x"), 70)]
)
def test_a_rerun_that_ends_early_says_what_there_is_and_leaves_the_earlier_one(
    error: BaseException, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(Run(tmp_path).begin(), "first")
    Run(tmp_path).finish()
    first = files_of(tmp_path)

    def stopped(*_: object, folder: Path, **__: object) -> None:
        (Run(folder).begin() / "model.twin").write_text("second")
        raise error

    monkeypatch.setattr(homeostat.study.fit_table, "fit_table", stopped)
    done = CliRunner().invoke(app, ["fit", str(theophylline()), *UNITS, "--out", str(tmp_path)])
    assert done.exit_code == code
    kept = f"written before and kept: {tmp_path / UNFINISHED / 'model.twin'}; what an earlier run left in {tmp_path} is as it was"
    assert kept in done.stderr
    assert files_of(tmp_path) == first


def test_a_folder_that_is_only_looked_at_is_not_left(tmp_path: Path) -> None:
    require_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    require_folder(tmp_path)
    assert Run(tmp_path / "a" / "b").begin().is_dir()  # and what is written into is there


def test_a_refused_run_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("ID,TIME,AMT,DV,CMT\n1,0,100,.,1\n1,1,.,5,2\n1,2,.,4,2\n1,4,.,2,2\n")
    units = ["--units", "TIME=h,AMT=mg,DV=mg/L"]
    for words in (
        ["demo", "--folds", "50"],
        ["demo", "c-peptide", "--folds", "500"],
        ["fit", str(tmp_path / "one.csv"), *units],
    ):
        done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
        assert done.exit_code == 2, done.output
        assert "read" not in done.stdout
        assert [one.name for one in tmp_path.iterdir()] == ["one.csv"]
