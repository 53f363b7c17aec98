"""The whole demo, as a person runs it."""

import time
from pathlib import Path

import pytest
from rich.console import Console

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
    # a minute and a half on two quiet cores; the limit allows for a machine that does other things too
    assert time.perf_counter() - began < 400
