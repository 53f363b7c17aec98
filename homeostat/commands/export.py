"""`homeostat export`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from homeostat.commands.answer import Answer, Command
from homeostat.options import BundleFile, Json, Structures


def export(
    bundle: BundleFile,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="WORD",
            help="c: one header of C99, nothing to link but the mathematics library. fmu: a functional mock-up unit, FMI 3 or 2, "
            "sources and a binary. onnx: five graphs. torch: the same of torch.export, which need none of our packages. sbml: "
            "SBML, where nothing is learned.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write (default: beside the bundle, with its name and an ending of its own)."),
    ] = None,
    member: Annotated[
        str, typer.Option(metavar="K|all", help="Of the ensemble, member K, counted from 0, or all of them.")
    ] = "all",
    theta: Annotated[
        str | None,
        typer.Option(
            metavar="typical|ID",
            help="Whose parameters it starts with: a fitted person's, by id, or those of the typical one (no deviation, "
            "reference covariates); left out: the typical one's. They can be set to others in every form. The population's map, "
            "by which "
            "covariates become parameters, is in a header and among the graphs and programs whatever is written here; in an FMU "
            "where this is left out; in SBML never.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="float64|float32", help="Of the numbers in it (default: float64; no certificate covers float32)."
        ),
    ] = None,
    fmi: Annotated[
        int | None, typer.Option(metavar="3|2", help="Of an FMU: the version of the standard (default: 3).")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What the model is called in it, a legal identifier of C (default: the name of the file)."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write over a file that is there.")] = False,
    structures: Structures = None,
    as_json: Json = False,
) -> Answer:
    """Write a bundle's model in a form that runs without homeostat: exit 0 written, whole; 2 nothing was.

    A model without a certificate of contraction is written too, and is marked "not certified", in the file and on standard error.
    """
    from homeostat.bundles.exported import Choice, export_bundle
    from homeostat.own_structures import own_structures

    options = {"--precision": precision, "--fmi": fmi, "--name": name}
    choice = Choice(to, member=member, theta=theta, options=options, replace=replace)
    found = export_bundle(bundle, choice, out, own_structures(structures or []))
    return Answer(found.to_dict(), found.text, notes=found.notes)


def _writes(given: Mapping[str, Any]) -> list[Path | None]:
    out, bundle = given["out"], given["bundle"]
    # of several files none may have the name that was given
    return [bundle.parent if out is None else out.parent if given["to"] in ("onnx", "torch") else out]


EXPORT = Command(
    export, "homeostat export runs/theophylline/model.twin --to fmu --fmi 3 --out theophylline.fmu", _writes
)
