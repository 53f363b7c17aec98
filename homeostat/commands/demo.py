"""`homeostat demo`."""

from pathlib import Path
from typing import Annotated

import typer

from homeostat.commands.answer import Answer, Command
from homeostat.door import typed
from homeostat.interrupted import INTERRUPTED
from homeostat.options import Device, Json, Members, Seed, SolverName, Steps, console_of


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("runs/theophylline"),
    members: Members = 8,
    folds: Annotated[
        int, typer.Option(min=2, help="Folds of the cross-validation by person, at most as many as people: 12.")
    ] = 6,
    steps: Steps = 120,
    seed: Seed = 2026,
    device: Device = "cpu",
    solver: SolverName = "rk4",
    as_json: Json = False,
) -> Answer:
    """Train, certify, calibrate, draw and save a hybrid model of twelve real people (under three minutes on two cores)."""
    from homeostat.demo import FORECAST_FROM, run_demo
    from homeostat.gallery.made import Made
    from homeostat.study.settings import Settings

    settings = Settings(members, folds, steps, forecast_from=FORECAST_FROM, seed=seed, device=device, solver=solver)
    summary = run_demo(out, settings, console_of(as_json), made=Made.now(typed(context)))
    good = summary["certified"] and summary["identical_after_load"]
    return Answer(summary, code=INTERRUPTED if summary["interrupted"] else 0 if good else 1, notes=summary["notes"])


DEMO = Command(demo, "homeostat demo --out runs/theophylline", lambda given: [given["out"]])
