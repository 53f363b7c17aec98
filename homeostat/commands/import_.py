"""`homeostat import`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from homeostat.commands.answer import Answer, Command
from homeostat.options import Json, names, pairs


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An FMU of FMI 2.0 or 3.0, of any program.")],
    records: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE.csv",
            help="Simulate it, by its own Co-Simulation, and write its outputs as a table that `homeostat fit` reads. THIS "
            "RUNS THE CODE IN THE FMU; without it nothing of the file is run.",
        ),
    ] = None,
    until: Annotated[
        float | None, typer.Option(help="End of the simulation, in the FMU's unit of time (default: 1).")
    ] = None,
    points: Annotated[
        int | None,
        typer.Option(min=2, max=100_000, help="How many times, evenly from 0 to --until (default: 101)."),
    ] = None,
    setting: Annotated[
        str,
        typer.Option(
            "--set",
            metavar="NAME=VALUE,…",
            help="Parameters, inputs or starts by name, in the FMU's own units. The table has no row of them.",
        ),
    ] = "",
    do: Annotated[
        str,
        typer.Option(
            "--do",
            help='What is done: inputs, "set heat = 2 @ 0, 3 @ 5 held", and infusions into a state that has an input of that '
            "name, infused.STATE, which become rows of the table; inputs have no column in it. The grammar is in "
            "`homeostat grammar`.",
        ),
    ] = "",
    channels: Annotated[
        str,
        typer.Option(
            help="Outputs or states to write, as y,plasma (default: every output; of an FMU that homeostat wrote, the channels "
            "y.NAME alone, and not the variances and members of each).",
        ),
    ] = "",
    step: Annotated[float | None, typer.Option(help="Between communications (default: the FMU's own).")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write over a table that is there.")] = False,
    as_json: Json = False,
) -> Answer:
    """Read an FMU of others: say what it has and what is not known of it, and simulate it into a table of records.

    homeostat import pump.fmu --records pump.csv --until 10 --set valve=0.5

    In Python it is a term of a model, exchange.imported.imported_term. No certificate covers one: its rate is machine code, which
    answers at points, and a proof over a region needs layers or operations to bound.
    """
    from homeostat.bundles.imported import Asked, import_fmu

    given = pairs(setting, "--set")
    if records is None:
        _refuse_idle(
            {
                "--until": until,
                "--points": points,
                "--set": setting,
                "--do": do,
                "--channels": channels,
                "--step": step,
            },
            replace,
        )
    asked = Asked(1.0 if until is None else until, points or 101, given, do, names(channels), step)
    found = import_fmu(file, records, asked, replace=replace)
    return Answer(found.values, found.text, notes=found.notes)


def _refuse_idle(options: Mapping[str, object], replace: bool) -> None:
    """Raise `ValueError` for what means nothing where nothing is simulated."""
    idle = [name for name, value in options.items() if value not in (None, "")] + ["--replace"] * replace
    if idle:
        raise ValueError(f"{idle[0]} is of --records, and nothing is simulated without it; write --records TABLE.csv")


IMPORT = Command(import_, "homeostat import pump.fmu", lambda given: [given["records"]])
