"""`homeostat import`: what an FMU says of itself, its own simulation as a table, and nothing run unasked."""

import json
from pathlib import Path

import pytest

from benchmarks.corruptions.content import ordinary
from exchange import Fmu, Selection
from exchange.c.compiled import compiler
from tests.homeostat.shell import run

pytest.importorskip("fmpy")


@pytest.fixture(scope="module")
def fmu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    return Fmu(selection=Selection(member=0)).write(ordinary(), folder / "pump.fmu").path


def test_it_says_what_there_is_and_why_no_certificate_covers_it(fmu: Path) -> None:
    done = run("import", fmu)
    assert done.exit_code == 0, done.output
    assert "FMI 3.0, ModelExchange and CoSimulation" in done.stdout
    assert "gut (mg), plasma (mg)" in done.stdout
    assert "no certificate covers a model with an imported FMU" in done.stdout
    values = json.loads(run("import", fmu, "--json").stdout)
    assert [one["name"] for one in values["states"]] == ["gut", "plasma"]
    assert values["certificate"] is None


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
def test_its_simulation_is_a_table(fmu: Path) -> None:
    table = fmu.parent / "table.csv"
    asked = ["--until", "4", "--points", "5", "--set", "gut=320", "--channels", "y.concentration", "--records", table]
    done = run("import", fmu, *asked)
    assert done.exit_code == 0, done.output
    rows = [line.split(",") for line in table.read_text().splitlines()]
    assert rows[0][:5] == ["ID", "TIME", "AMT", "RATE", "DV"]
    assert [float(row[1]) for row in rows[1:]] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert float(rows[3][4]) > 1.0
    again = run("import", fmu, *asked)
    assert again.exit_code == 2
    assert again.stderr.endswith("name another file behind --records, or write over it with --replace\n")
    assert run("import", fmu, *asked, "--replace").exit_code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "ka=fast"], "is no number"),
        (["--set", "ka"], "is not of the form NAME=VALUE"),
        (["--set", "nothing=1"], "--set 'nothing' is none of the FMU's parameters and states and inputs: "),
        (["--channels", "nothing"], "is none of the FMU's"),
        (["--until", "-1"], "is no time after 0"),
        (["--do", "dose 3 -> gut @ 0"], "is a bolus"),
        (["--do", "dance"], "dance"),
    ],
)
def test_what_cannot_be_meant(fmu: Path, options: list[str], said: str) -> None:
    done = run("import", fmu, "--records", fmu.parent / "none.csv", *options)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not (fmu.parent / "none.csv").exists()


def test_what_is_no_fmu(tmp_path: Path) -> None:
    (tmp_path / "x.fmu").write_text("x")
    assert run("import", tmp_path / "x.fmu").exit_code == 2
    assert run("import", tmp_path / "nowhere.fmu").exit_code == 2


@pytest.mark.parametrize(
    "option", [["--until", "2"], ["--points", "3"], ["--set", "ka=1"], ["--do", "x"], ["--step", "1"], ["--replace"]]
)
def test_what_means_nothing_without_records_is_refused(fmu: Path, option: list[str]) -> None:
    done = run("import", fmu, *option)
    assert done.exit_code == 2
    assert f"{option[0]} is of --records" in done.stderr


def test_the_fmu_itself_is_never_written_over(fmu: Path, tmp_path: Path) -> None:
    before, link = fmu.read_bytes(), tmp_path / "link.csv"
    link.symlink_to(fmu)
    for target in (fmu, link):
        done = run("import", fmu, "--records", target, "--replace")
        assert (done.exit_code, "would be lost" in done.stderr) == (2, True)
    assert fmu.read_bytes() == before


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
def test_by_default_the_table_has_the_channels_alone(fmu: Path, tmp_path: Path) -> None:
    done = run("import", fmu, "--records", tmp_path / "a.csv", "--points", "3", "--set", "gut=320", "--json")
    values = json.loads(done.stdout)
    assert values["channels"] == ["y.concentration"]
    assert "variance.concentration" in values["not_written"]
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 4
    text = run("import", fmu, "--records", tmp_path / "b.csv", "--points", "3", "--set", "gut=320").stdout
    assert "the table has no row of what was set (gut)" in text
