"""`homeostat demo`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from homeostat.commands.answer import Answer, Command
from homeostat.door import INTERRUPTED, typed
from homeostat.options import Device, Json, Seed, SolverName, console_of

THEOPHYLLINE, C_PEPTIDE = "theophylline", "c-peptide"


def demo(
    context: typer.Context,
    which: Annotated[
        str,
        typer.Argument(
            metavar="[theophylline|c-peptide]",
            help="theophylline: twelve people, one dose, the whole path in little; c-peptide: 117 people after a glucose drink, "
            "a secretion that is learned, beside the published hybrid's figures.",
        ),
    ] = THEOPHYLLINE,
    out: Annotated[
        Path | None, typer.Option(help="Where everything is written; by default runs/theophylline or runs/c-peptide.")
    ] = None,
    members: Annotated[int, typer.Option(min=2, max=1024, help="Ensemble members.")] = 8,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Folds of the cross-validation by person, at most as many as people; by default 6, of c-peptide 5.",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=10**6, help="Training steps at most; by default 120, of c-peptide 250.")
    ] = None,
    seed: Seed = 2026,
    device: Device = "cpu",
    solver: SolverName = "rk4",
    as_json: Json = False,
) -> Answer:
    """Train, certify, calibrate, draw and save a hybrid model of twelve real people (70 s on two cores).

    `homeostat demo c-peptide` is the second one (46 s on two cores): it shows what a learned part is for.
    """
    from homeostat.gallery.made import Made
    from homeostat.study.settings import Settings

    folder, made = _folder(which, out), Made.now(typed(context))
    if _known(which) == C_PEPTIDE:
        from homeostat.c_peptide.demo import SETTINGS, run_c_peptide

        if solver != SETTINGS.solver:
            raise ValueError(
                f"the c-peptide demo is trained with {SETTINGS.solver}, whose figures it shows; leave --solver out"
            )
        own = Settings(
            members,
            SETTINGS.folds if folds is None else folds,
            SETTINGS.steps if steps is None else steps,
            rate=SETTINGS.rate,
            forecast_from=SETTINGS.forecast_from,
            seed=seed,
            device=device,
        )
        summary = run_c_peptide(folder, own, console_of(as_json), made=made)
    else:
        from homeostat.demo import FORECAST_FROM, run_demo

        settings = Settings(
            members,
            6 if folds is None else folds,
            120 if steps is None else steps,
            forecast_from=FORECAST_FROM,
            seed=seed,
            device=device,
            solver=solver,
        )
        summary = run_demo(folder, settings, console_of(as_json), made=made)
    good = summary["certified"] and summary["identical_after_load"]
    return Answer(summary, code=INTERRUPTED if summary["interrupted"] else 0 if good else 1, notes=summary["notes"])


def _known(which: str) -> str:
    if which.lower() not in (THEOPHYLLINE, C_PEPTIDE):
        raise ValueError(f"there is no demo {which!r}; write homeostat demo {THEOPHYLLINE}, or homeostat demo {C_PEPTIDE}")
    return which.lower()


def _folder(which: str, out: Path | None) -> Path:
    return Path("runs") / _known(which) if out is None else out


def _writes(given: Mapping[str, Any]) -> list[Path]:
    # an unknown one is refused by the command itself
    return [_folder(given["which"], given["out"])] if given["which"].lower() in (THEOPHYLLINE, C_PEPTIDE) else []


DEMO = Command(demo, "homeostat demo c-peptide --out runs/c-peptide", _writes)
