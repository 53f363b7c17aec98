"""A table with SS, EVID 4, OCC, CENS and a weight that changes, through every command that takes it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from homeostat.cli import app

ARGUMENTS = ["--start", "empty", "--members", "2", "--folds", "2", "--units", "TIME=h,AMT=mg,DV=mg/L,WT=kg"]


def table_of(path: Path) -> Path:
    """Eight people in steady state every 12 h, who begin anew at 48 h with another weight; what is below 1 mg/L is not known."""
    rng = np.random.default_rng(1)
    lines = ["ID,TIME,AMT,DV,EVID,CMT,CENS,LIMIT,SS,II,OCC,WT"]
    for i in range(1, 9):
        ka, CL, V = np.array([1.2, 3.0, 40.0]) * np.exp(0.2 * rng.standard_normal(3))

        def after(t: float, ka: float = ka, CL: float = CL, V: float = V) -> float:
            k = CL / V
            return float(100.0 * ka / V / (ka - k) * (np.exp(-k * t) - np.exp(-ka * t)))

        lines.append(f"{i},0,100,.,1,1,0,.,1,12,1,{60 + i}")
        for t in (1.0, 4.0, 11.5, 24.0):
            y = sum(after(t + 12.0 * n) for n in range(60)) + 0.1 * rng.standard_normal()
            lines.append(f"{i},{t},0,{max(y, 1.0):.3f},0,2,{int(y < 1.0)},{'0' if y < 1.0 else '.'},0,0,1,{60 + i}")
        lines.append(f"{i},48,100,.,4,1,0,.,0,0,2,{63 + i}")
        for t in (1.0, 4.0, 8.0):
            lines.append(f"{i},{48 + t},0,{after(t) + 0.1 * rng.standard_normal():.3f},0,2,0,.,0,0,2,{63 + i}")
    path.write_text("\n".join(lines) + "\n")
    return path


def answered(*arguments: str) -> str:
    """Standard output; what ends in an error of the program is raised, for its exit code would be 1 as well."""
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code in (0, 1), done.output + done.stderr  # 1: done, and not certified
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("hidden", ["0", "4"])
def test_every_command_takes_it(tmp_path: Path, hidden: str) -> None:
    table, out = table_of(tmp_path / "all.csv"), tmp_path / "out"

    def run(*arguments: str) -> dict[str, Any]:
        return dict(json.loads(answered(*arguments, "--json")))

    made = run("fit", str(table), *ARGUMENTS, "--hidden", hidden, "--steps", "6", "--out", str(out))
    page = Path(made["report"]).read_text()
    assert page.count("<svg") + page.count("<img") > 3
    assert not list(out.glob("*.checkpoint*"))
    bundle = str(out / "model.twin")
    assert len(run("inspect", bundle)["people"]) == 8
    again = run("report", bundle, "--data", str(table), "--out", str(tmp_path / "again"))
    assert Path(again["report"]).exists()
    asked = ("simulate", bundle, "--person", "3", "--until", "36", "--points", "4")
    once, twice = run(*asked), run(*asked, "--do", "scale gut by 2")
    assert once != twice
    for command in ("certify", "check"):
        assert answered(command, bundle)
    done = CliRunner().invoke(app, ["simulate", bundle, "--picture", str(tmp_path / "one.svg"), "--do", "scale gut by 2"])
    assert done.exit_code == 0, done.output + done.stderr
    assert (tmp_path / "one.svg").stat().st_size > 1000


@pytest.mark.slow
def test_the_population_alone_too(tmp_path: Path) -> None:
    table, out = table_of(tmp_path / "all.csv"), tmp_path / "out"
    more = ["--method", "focei", "--steps", "3", "--out", str(out), "--json"]
    made = json.loads(answered("fit", str(table), *ARGUMENTS[:2], *ARGUMENTS[-2:], *more))
    assert Path(made["report"]).exists()
