"""`homeostat fit`."""

from pathlib import Path
from typing import Annotated

import typer

from homeostat.commands.answer import Answer, Command
from homeostat.door import INTERRUPTED, say_notes, typed
from homeostat.options import (
    Begun,
    Channels,
    Compartments,
    Covariates,
    Device,
    ForecastFrom,
    Ignore,
    Json,
    Members,
    Order,
    Seed,
    Signed,
    SolverName,
    Steps,
    Threshold,
    Units,
    config_of,
    console_of,
    learning_rate_of,
    names,
    numbered,
    order_of,
    pairs,
    widths_of,
)


def fit(
    context: typer.Context,
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="Columns ID TIME AMT DV EVID CMT RATE and covariates.")
    ],
    units: Units,
    backbone: Annotated[
        str,
        typer.Option(
            help="A built-in backbone or mechanism, by class name, or your own, as mine.py:Mine or package.module:Mine: THIS "
            "RUNS THAT CODE, and the other commands read a bundle of your own backbone with --structures of the same place."
        ),
    ] = "OneCompartmentOral",
    backbone_config: Annotated[
        str, typer.Option(help='Its arguments as JSON: {"A": [[-1.0]], "states": ["x"]}.')
    ] = "{}",
    out: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("runs/fit"),
    compartments: Compartments = None,
    channels: Channels = None,
    covariates: Covariates = None,
    order: Order = None,
    signed: Signed = "",
    ignore: Ignore = "",
    hidden: Annotated[
        str, typer.Option(help="Widths of the residual's hidden layers, as 8 or 16,16; 0 for none.")
    ] = "8",
    start: Begun = "backbone",
    method: Annotated[
        str,
        typer.Option(
            metavar="ensemble|focei|laplace|quadrature",
            help="Several members with a learned part, each person's own coordinates found beside them (ensemble); or a "
            "population alone, with its spread, by its marginal likelihood: FOCE with interaction (focei), Laplace's method "
            "(laplace), or adaptive quadrature (quadrature, up to four effects).",
        ),
    ] = "ensemble",
    error: Annotated[
        str | None,
        typer.Option(
            metavar="additive|combined1|combined2",
            help="Of a population alone: its noise, additive, or additive and proportional with standard deviations that add "
            "(combined1) or variances that add (combined2, the default).",
        ),
    ] = None,
    correlated: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="Of a population alone: a block of parameters whose effects are correlated, as CL,V; once for each.",
        ),
    ] = None,
    shared: Annotated[
        str, typer.Option(help="Of a population alone: parameters that are one value for everyone, as ka.")
    ] = "",
    threshold: Threshold = None,
    forecast_from: ForecastFrom = None,
    members: Members = 8,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=1024,
            help="Folds of the cross-validation by person, at most as many as people (default: 6, or as many as people where "
            "there are fewer).",
        ),
    ] = None,
    steps: Steps = 120,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 0.03,
    seed: Seed = 2026,
    device: Device = "cpu",
    solver: SolverName = "rk4",
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--anew",
            help="Where training in this --out was interrupted or killed: go on with it, given the same arguments, bit for "
            "bit as if it had not been; or begin anew. With neither, such a folder is left alone.",
        ),
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="Curves for TensorBoard in OUT/log (needs homeostat[log]).")] = False,
    as_json: Json = False,
) -> Answer:
    """Train and certify a hybrid model of your own table, judge it on people never seen, save the bundle and a report.

    Known physics that is not linear is a mechanism: homeostat fit table.csv --backbone MichaelisMenten --units
    TIME=d,AMT=mg,DV=mg/L

    A population alone, as pharmacometricians fit it: homeostat fit table.csv --method focei --error combined1 --correlated CL,V
    --backbone-config '{"parameters": "clearance"}' --start empty --units TIME=h,AMT=mg,DV=mg/L
    """
    from homeostat.commands.method import alone_of
    from homeostat.gallery.made import Made
    from homeostat.study.backbones import backbone_named, begun, observation_of, require_driven
    from homeostat.study.fit_table import fit_table
    from homeostat.study.settings import Settings
    from physics.administered import linearised_of
    from training.people.tables.nonmem import read_table
    from training.people.tables.of_model import channels_of, compartments_of

    alone = alone_of(context, method, error, correlated or [], names(shared))
    if alone is not None:
        hidden, members = "0", 1
    given = pairs(units, "--units")
    config, widths = config_of(backbone_config), widths_of(hidden, members * ((folds or 6) + 1))
    physics = begun(backbone_named(backbone, config), start, own=":" in backbone)
    shown = channels_of(physics) if channels is None else numbered(channels, "--channels")
    # what is no channel of it, or cannot come from a table, is known before the table is read
    require_driven(physics, ())
    if shown:
        observation_of(physics, [*dict.fromkeys(shown.values())])
    read = read_table(
        table,
        units=given,
        compartments=compartments_of(physics) if compartments is None else numbered(compartments, "--compartments"),
        channels=shown,
        covariates=None if covariates is None else names(covariates),
        order=order_of(order),
        signed=names(signed),
        ignore=names(ignore),
    )
    left_out = [*map(str, read.left_out), *read.notes]
    say_notes(left_out)  # before minutes of training
    parts = min(6, len(read.records)) if folds is None else folds
    settings = Settings(
        members,
        parts,
        steps,
        learning_rate_of(rate),
        forecast_from=forecast_from,
        seed=seed,
        device=device,
        solver=solver,
    )
    summary = fit_table(
        table,
        read.records,
        given,
        folder=out,
        backbone=physics,
        hidden=widths,
        settings=settings,
        threshold=threshold,
        console=console_of(as_json),
        resume=resume,
        log=log,
        made=Made.now(typed(context)),
        alone=alone,
    )
    if ":" in backbone and linearised_of(physics) is None:  # a mechanism's tape is in the bundle
        say_notes([f"the bundle names your {type(physics).__name__}: read it with --structures {backbone}"])
    values = {**summary, "notes": [*left_out, *summary["notes"]]}
    code = INTERRUPTED if summary["interrupted"] else 0 if summary["certified"] else 1
    return Answer(values, code=code, notes=summary["notes"])


FIT = Command(
    fit,
    "homeostat fit table.csv --backbone OneCompartmentOral --units TIME=h,AMT=mg,DV=mg/L,WT=kg --covariates WT --ignore NOTE "
    "--out runs/mine",
    lambda given: [given["out"]],
)
