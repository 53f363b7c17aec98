"""The whole demo, as a person runs it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner

from exchange import load
from homeostat import demo
from homeostat.cli import app
from homeostat.data import theophylline
from homeostat.demo import FORECAST_FROM, run_demo
from homeostat.study import Settings


@pytest.mark.slow
def test_the_demo_writes_everything_and_is_certified(tmp_path: Path) -> None:
    began = time.perf_counter()
    summary = run_demo(tmp_path, Settings(forecast_from=FORECAST_FROM), Console(quiet=True))
    assert summary["certified"]
    assert summary["identity_metric_refused"]
    assert summary["identical_after_load"]
    assert summary["rate"] > 0.02
    assert set(summary["scores"]) == {"hybrid", "backbone alone", "neural ODE alone"}
    for name in ("model.twin", "report.html", "people.png", "reliability.png", "phase.png", "what_if.png", "hero.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    assert (tmp_path / "theophylline.h").stat().st_size < 100_000
    assert (tmp_path / "theophylline.fmu").stat().st_size < 1_000_000
    exported = [Path(one["path"]) for one in summary["exported"]["files"]]
    assert exported == [tmp_path / "theophylline.h", tmp_path / "theophylline.fmu"]
    page = (tmp_path / "report.html").read_text()
    assert '<a href="theophylline.h">' in page
    assert '<a href="theophylline.fmu">' in page
    # a minute and a half on two quiet cores; the limit allows for a machine that does other things too
    assert time.perf_counter() - began < 400


@pytest.mark.slow
def test_a_demo_that_is_interrupted_says_so_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = theophylline().read_text().splitlines()
    table = tmp_path / "four.csv"
    table.write_text("\n".join([lines[0], *(x for x in lines[1:] if int(x.split(",")[0]) <= 4)]))
    monkeypatch.setattr(demo, "theophylline", lambda: table)
    update, count = Progress.update, 0

    def interrupted(self: Progress, *given: Any, **named: Any) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        update(self, *given, **named)

    monkeypatch.setattr(Progress, "update", interrupted)  # of this process alone: the baselines are trained in another one
    options = ["--members", "2", "--folds", "2", "--steps", "20", "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, ["demo", *options])
    mark = "hybrid: interrupted at step 3 of 20"
    assert done.exit_code == 130, done.output
    summary = json.loads(done.stdout)
    assert (summary["interrupted"], summary["cut_short"]) == (True, mark)
    assert load(summary["bundle"]).provenance["interrupted"] == mark
    assert f"Training was cut short ({mark})" in Path(summary["report"]).read_text()
    assert mark in " ".join(done.stderr.split())
