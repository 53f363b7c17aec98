"""`homeostat follow`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from homeostat.commands.answer import Answer, Command
from homeostat.door import say, say_notes
from homeostat.interrupted import undisturbed
from homeostat.options import BundleFile, Structures


def _schema(which: str | None) -> None:
    if which is not None:
        from homeostat.follow.schemas import schema_text

        say(schema_text(which))
        raise typer.Exit(0)


def follow(
    bundle: BundleFile,
    stream: Annotated[
        str,
        typer.Option(
            metavar="FILE.ndjson|-",
            help="Events, one JSON object a line, as --schema event describes them; - for standard input, which is answered line "
            "by line as it comes.",
        ),
    ],
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.db",
            help="Where what has arrived is kept, an SQLite file of this command's own. The same command goes on from it, and "
            "says nothing of events that it knows. Without it nothing is kept when the command ends.",
        ),
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Lines that cannot be followed are added to this file, a JSON object each: line, reason, text (default: a "
            "sentence each on standard error).",
        ),
    ] = None,
    process_floor: Annotated[
        str | None,
        typer.Option(
            "--process-floor",
            metavar="UNIT=VALUE,…",
            help="The standard deviation that every state in this unit gains in the model's unit of time, beside what the "
            "model's own process noise gives, as mg=2; of one state alone by its name, as plasma=2. A model without process "
            "noise needs one of every state, 0 for none.",
        ),
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Who may be followed: a JSON object of people by id, each with covariates, and inputs that hold until an event "
            "says others (default: the bundle's people, and anybody where the model reads no covariates).",
        ),
    ] = None,
    sources: Annotated[
        str | None, typer.Option(help="Whose events are taken, as lab,ward; others are rejected (default: anybody's).")
    ] = None,
    filter_: Annotated[
        str,
        typer.Option("--filter", help="ukf, unscented; ekf, extended; enkf, an ensemble of each person."),
    ] = "ukf",
    drift: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="What is a person's own changes with this time constant, as 30d, about what the population says (default: it "
            "stays as it is).",
        ),
    ] = None,
    horizon: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="How much older than a person's newest event one may be; what is older still is rejected.",
        ),
    ] = "7d",
    ahead: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="How far in the future an event may be, by this machine's clock, before it is rejected.",
        ),
    ] = "5min",
    level: Annotated[float, typer.Option(min=0.01, max=0.999, help="Level of the bands.")] = 0.9,
    present: Annotated[
        bool,
        typer.Option(
            "--present", help="First say what is known of everybody in the log, a line each, changed by nothing."
        ),
    ] = False,
    structures: Structures = None,
    schema: Annotated[
        str | None,
        typer.Option(
            metavar="event|estimate",
            callback=_schema,
            is_eager=True,
            help="Print the JSON Schema of a line that is read (event) or of one that is printed (estimate), and end.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object a line, as --schema estimate describes it, in a terminal too; it is what is printed "
            "wherever standard output is no terminal. Where the exit code is 2, 70, 130 or 143 the last one is "
            '{"error": {"message", "cure", "exit"}}.',
        ),
    ] = False,
) -> Answer:
    """Follow people in step with their data: each event that arrives corrects what the model believes of its person, late,
    corrected and withdrawn ones too, as if all had come in order. Exit 0 at the end of the stream, lines that were rejected
    among them or not.

    A line: {"patient": "anna", "source": "lab", "id": "17", "kind": "measurement", "time": "2026-03-01T06:30:00Z", "channel":
    "concentration", "value": 5.2, "unit": "mg/L"}
    """
    from homeostat.follow.followed import Asked, follow_stream

    asked = Asked(
        bundle,
        stream,
        log=log,
        rejects=rejects,
        process_floor=process_floor,
        people=people,
        sources=sources,
        filter=filter_,
        drift=drift,
        horizon=horizon,
        ahead=ahead,
        level=level,
        present=present,
        structures=tuple(structures or ()),
        as_json=as_json,
    )

    def warn(text: str) -> None:
        say_notes([text])

    return Answer(None, notes=follow_stream(asked, say, warn, undisturbed))


def _again(given: Mapping[str, Any]) -> str:
    return "the same command goes on from there" if given["log"] is not None else ""


FOLLOW = Command(
    follow,
    "homeostat follow runs/theophylline/model.twin --stream events.ndjson --log night.db --process-floor mg=2",
    lambda given: [given["log"], given["rejects"]],
    _again,
)
