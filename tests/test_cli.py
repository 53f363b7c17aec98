"""The command line: exit codes, one sentence for wrong input, JSON alone on standard output."""

import json
from pathlib import Path

import pytest
from test_tiny import tiny_bundle
from typer.testing import CliRunner

from exchange import save
from homeostat.cli import app
from homeostat.data import theophylline

COMMANDS = ("demo", "fit", "certify", "check", "report", "simulate", "inspect", "grammar")
RUN = CliRunner()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny_bundle(), tmp_path_factory.mktemp("bundle") / "model.twin")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    done = RUN.invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert "Example:" in done.stdout


def test_certify_check_inspect_simulate(bundle: Path) -> None:
    assert RUN.invoke(app, ["check", str(bundle)]).exit_code == 2  # nothing to check yet
    done = RUN.invoke(app, ["certify", str(bundle), "--write", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["certified"] is True
    done = RUN.invoke(app, ["check", str(bundle), "--json"])
    assert (done.exit_code, json.loads(done.stdout)["proved"]) == (0, True)
    assert RUN.invoke(app, ["certify", str(bundle), "--rate", "5"]).exit_code == 1
    assert json.loads(RUN.invoke(app, ["inspect", str(bundle), "--json"]).stdout)["members"] == 2
    done = RUN.invoke(app, ["simulate", str(bundle), "--do", "scale gut by 2", "--points", "3", "--json"])
    assert done.exit_code == 0
    assert len(json.loads(done.stdout)["time"]) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "nowhere.twin"], "no such file"),
        (["check", str(theophylline())], "not a whole bundle"),
        (["fit", "nowhere.csv", "--units", "TIME=h,AMT=mg,DV=mg/L"], "no such file"),
        (["fit", str(theophylline()), "--units", "TIME=h"], "AMT"),
        (["fit", str(theophylline()), "--units", "TIME"], "NAME=VALUE"),
        (["fit", str(theophylline()), "--units", "TIME=min,AMT=mg,DV=mg/L"], "needs h"),
        (["fit", str(theophylline()), "--units", "TIME=h,AMT=mg,DV=mg/L", "--backbone", "Foo"], "unknown backbone"),
    ],
)
def test_wrong_input_is_one_sentence(arguments: list[str], words: str) -> None:
    done = RUN.invoke(app, arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_unknown_person_and_a_bad_schedule(bundle: Path) -> None:
    for arguments in (["--person", "99"], ["--do", "dose 3 g -> gut @ 0"], ["--do", "dose 1 -> stomach @ 0"]):
        assert RUN.invoke(app, ["simulate", str(bundle), *arguments]).exit_code == 2
