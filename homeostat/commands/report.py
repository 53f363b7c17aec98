"""`homeostat report`."""

from pathlib import Path
from typing import Annotated

import typer

from homeostat.commands.answer import Answer, Command
from homeostat.door import typed
from homeostat.options import (
    BundleFile,
    Channels,
    Compartments,
    Covariates,
    ForecastFrom,
    Ignore,
    Json,
    Order,
    Signed,
    Structures,
    Threshold,
    names,
    numbered,
    order_of,
    pairs,
)


def report(
    context: typer.Context,
    bundle: BundleFile,
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            help="A table like that of `fit`: the people to forecast. "
            "An input of the model stands in rows of its own: its name in CMT, its value in DV, its unit in --units.",
        ),
    ],
    units: Annotated[str, typer.Option("--units", help="As in `fit`; by default the bundle's own.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder of the report (default: report/ beside the bundle).")] = None,
    compartments: Compartments = None,
    channels: Channels = None,
    covariates: Covariates = None,
    order: Order = None,
    signed: Signed = "",
    ignore: Ignore = "",
    threshold: Threshold = None,
    forecast_from: ForecastFrom = None,
    structures: Structures = None,
    as_json: Json = False,
) -> Answer:
    """Forecast the people of a table with a trained bundle, score it, and write HTML, SVG, PNG, CSV and JSON."""
    from homeostat.bundles.reported import report_on
    from homeostat.gallery.made import Made
    from homeostat.own_structures import own_structures

    summary = report_on(
        bundle,
        data,
        folder=out,
        units=pairs(units, "--units"),
        compartments=None if compartments is None else numbered(compartments, "--compartments"),
        channels=None if channels is None else numbered(channels, "--channels"),
        covariates=None if covariates is None else names(covariates),
        order=order_of(order),
        signed=names(signed),
        ignore=names(ignore),
        threshold=threshold,
        forecast_from=forecast_from,
        structures=own_structures(structures or []),
        made=Made.now(typed(context)),
    )
    return Answer(summary, summary["text"], notes=summary["notes"])


REPORT = Command(
    report,
    "homeostat report runs/theophylline/model.twin --data table.csv --units TIME=h,AMT=mg,DV=mg/L",
    lambda given: [given["out"] or given["bundle"].parent / "report"],
)
