"""`homeostat demo c-peptide`, small: everything is written and says the same, and an interrupted one keeps what it has."""

import html
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.progress import Progress
from typer.testing import CliRunner

from exchange import load
from homeostat.c_peptide.agreement import Estimate, Published
from homeostat.c_peptide.demo import solver_verdict
from homeostat.c_peptide.figures import KINETICS, LAST, OURS, PROPORTIONAL, Figures
from homeostat.c_peptide.model import RESIDUAL_INPUTS, drinking
from homeostat.c_peptide.page import published_table, published_verdicts, rival_verdicts
from homeostat.cli import app
from homeostat.data import ohashi
from homeostat.gallery import saved_verdict
from tests.ohashi_tables import ROW_UNITS, write_rows
from training.people import read_ohashi

SMALL = ["demo", "c-peptide", "--members", "2", "--folds", "2", "--json"]


def figures_with(ours: Estimate, difference: Estimate) -> Figures:
    worse = Estimate(0.8, 0.7, 0.9)
    return Figures(
        {OURS: ours, PROPORTIONAL: worse, KINETICS: worse},
        {name: ours if name == OURS else worse for name in (OURS, PROPORTIONAL, LAST, KINETICS)},
        dict.fromkeys((PROPORTIONAL, LAST, KINETICS), difference),
        rank=Estimate(0.81, 0.7, 0.9),
        rank_test=Estimate(0.8, 0.6, 0.9),
        order=np.arange(5.0),
        first_phase=np.arange(5.0),
        apart=0.0,
        noise=0.2,
    )


def test_steps_are_called_fine_where_they_are_and_beside_the_noise_that_was_found() -> None:
    found = figures_with(Estimate(0.3, 0.2, 0.4), Estimate(-0.1, -0.2, 0.1))
    right, coarse = (solver_verdict(replace(found, apart=apart, noise=0.5)) for apart in (0.04, 0.06))
    assert (right.good, coarse.good) == (True, False)
    assert "fine enough" in right.claim
    assert "too coarse" in coarse.claim
    assert "0.5 nmol/L" in right.detail
    same, other = (saved_verdict(difference, "nmol/L") for difference in (0.0, 1e-9))
    assert (same.good, other.good) == (True, False)
    assert "does not predict" in other.claim


@pytest.mark.parametrize(
    ("low", "high", "good", "words"),
    [(0.1, 0.2, True, "below"), (0.5, 0.6, False, "above"), (0.1, 0.6, None, "cannot tell them apart")],
)
def test_what_is_said_of_the_published_figures_is_what_the_intervals_allow(
    low: float, high: float, good: bool | None, words: str
) -> None:
    found = figures_with(Estimate((low + high) / 2, low, high), Estimate(-0.1, -0.2, 0.1))
    error, forecast, rank = published_verdicts(found)
    assert (error.good, forecast.good, rank.good) == (good, good, None)
    assert words in error.claim
    assert words in forecast.claim
    assert "lies in the published range" in rank.claim
    assert f"{Published().forecast:.3f} nmol/L" in forecast.detail
    assert all("cannot be told apart" in v.claim and v.good is None for v in rival_verdicts(found, {}))
    cells = [cell for row in published_table(found, 35).rows for cell in row]
    assert {"0.292", "0.79–0.83", "0.418"} <= set(cells)


def test_another_solver_is_refused_in_words() -> None:
    done = CliRunner().invoke(app, ["demo", "c-peptide", "--solver", "dopri5"])
    assert done.exit_code == 2
    assert "the c-peptide demo is trained with rk4" in done.stderr


def test_the_help_says_that_there_are_two() -> None:
    done = CliRunner().invoke(app, ["demo", "--help"])
    assert done.exit_code == 0
    assert "homeostat demo c-peptide" in " ".join(done.stdout.split())


INPUTS = {"basal": "nmol/L", "glucose": "mmol/L", **RESIDUAL_INPUTS}


def require_named_inputs(bundle: str, table: Path) -> None:
    """`inspect` says which inputs, one refusal names all whose unit nobody stated, and the bundle's own units are said whose."""
    said = CliRunner().invoke(app, ["inspect", bundle]).stdout
    assert f"inputs     {', '.join(f'{name} [{unit}]' for name, unit in INPUTS.items())}" in said
    assert "O-CPR in ng/mL, O-PG in mg/dL" in said
    done = CliRunner().invoke(app, ["report", bundle, "--data", str(table), "--units", "TIME=min,DV=nmol/L,glucose=mmol/L"])
    assert done.exit_code == 2
    assert "nothing of basal, slope, area, gut" in done.stderr
    assert "--units TIME=min,DV=nmol/L,basal=nmol/L,glucose=mmol/L,slope=" in done.stderr
    done = CliRunner().invoke(app, ["report", bundle, "--data", str(table)])
    assert done.exit_code == 2
    assert "are those of ohashi_OGTT.csv (O-CPR in ng/mL" in done.stderr


@pytest.mark.slow
def test_it_writes_everything_and_the_shell_reads_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*SMALL, "--steps", "12", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["certified"]
    assert summary["identical_after_load"]
    assert not summary["interrupted"]
    figures = summary["figures"]
    assert figures["forecast"][LAST][0] == pytest.approx(0.830, abs=5e-4)  # whatever was trained
    assert figures["rank_people"] == 117
    for name in ("hero", "learned", "forecast", "secretion", "first_phase"):
        for kind in ("png", "svg"):
            assert (tmp_path / f"{name}.{kind}").stat().st_size > 5_000
    assert (tmp_path / "c_peptide.h").stat().st_size < 100_000
    assert (tmp_path / "c_peptide.fmu").stat().st_size < 1_000_000
    page = (tmp_path / "report.html").read_text()
    for words in (
        "Beside the published hybrid",
        "0.292",
        "0.79–0.83",
        "0.418",
        "K. Ohashi",
        "CC BY 4.0",
        "licenses/by/4.0",
    ):
        assert words in page
    assert "Individual fits, and observed against predicted" in page
    assert "Recalibration by the training people makes the test people" in page
    assert "before any recalibration" in page
    numbers = (tmp_path / "tables/beside-the-published-hybrid.csv").read_text().splitlines()
    assert numbers[0] == "figure,of,value,from,to"
    assert all(float(cell) for row in numbers[1:] for cell in row.rsplit(",", 3)[1:] if cell)
    bundle = summary["bundle"]
    assert f"--units TIME=min,DV=nmol/L,{','.join(f'{k}={v}' for k, v in INPUTS.items())}" in html.unescape(page)
    assert len(load(bundle).people) == 82
    for command in (["check", bundle], ["inspect", bundle], ["simulate", bundle, "--person", "1", "--until", "120"]):
        assert CliRunner().invoke(app, command).exit_code == 0, command
    # people of a table whose inputs stand in rows of their own
    table = write_rows(tmp_path / "people.csv", [drinking(one) for one in read_ohashi(ohashi()).test[:3]])
    own = {name: unit for name, unit in {**ROW_UNITS, **RESIDUAL_INPUTS}.items() if name != "AMT"}  # nobody is dosed
    units = ",".join(f"{name}={unit}" for name, unit in own.items())
    given = ["--data", str(table), "--units", units, "--forecast-from", "60", "--out", str(tmp_path / "people")]
    done = CliRunner().invoke(app, ["report", bundle, *given, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["scores"]["count"] == 6
    require_named_inputs(bundle, table)
    assert "Not estimated: θ is computed from everyone" in (tmp_path / "people/report.html").read_text()


@pytest.mark.slow
def test_an_interrupted_one_keeps_what_it_has_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update, count = Progress.update, 0

    def interrupted(self: Progress, *given: Any, **named: Any) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        update(self, *given, **named)

    monkeypatch.setattr(Progress, "update", interrupted)
    done = CliRunner().invoke(app, [*SMALL, "--steps", "20", "--out", str(tmp_path)])
    mark = "hybrid: interrupted at step 3 of 20"
    assert done.exit_code == 130, done.output
    summary = json.loads(done.stdout)
    assert (summary["interrupted"], summary["cut_short"]) == (True, mark)
    assert load(summary["bundle"]).provenance["interrupted"] == mark
    page = Path(summary["report"]).read_text()
    assert f"Training was cut short ({mark})" in page
    said = json.loads(Path(summary["report"]).with_suffix(".json").read_text())["verdicts"]
    about = [v for v in said if v["about"][0] in ("interrupted", "convergence", "network")]
    assert [v["about"] for v in about] == [["interrupted"]]  # one cause, one line, which says what has not arrived for it
    assert "stopped after 3 steps, before the 250 that were chosen" in about[0]["detail"]
