"""`homeostat simulate`."""

from pathlib import Path
from typing import Annotated

import typer

from homeostat.commands.answer import Answer, Command
from homeostat.options import BundleFile, Json, Structures


def simulate(
    bundle: BundleFile,
    do: Annotated[
        str,
        typer.Option(
            "--do",
            help="What to change in the person's schedule, times as in --until: \"scale gut by 2\"; \"from 12 h: clear gut\" "
            "keeps what was given before. The grammar is in `homeostat grammar`.",
        ),
    ] = "",
    person: Annotated[str | None, typer.Option(help="A fitted person's id (default: the first).")] = None,
    until: Annotated[
        float | None,
        typer.Option(
            help="End of the simulation, in time since the person's first dose as it was given, or their start where there is "
            "none (default: 24)."
        ),
    ] = None,
    points: Annotated[int, typer.Option(min=2, max=4_000, help="How many times to print.")] = 13,
    level: Annotated[float, typer.Option(min=0.01, max=0.999, help="Level of the intervals.")] = 0.8,
    picture: Annotated[Path | None, typer.Option(help="Also draw as given and as done into this PNG or SVG.")] = None,
    structures: Structures = None,
    as_json: Json = False,
) -> Answer:
    """Ask "what if we do this?" for one person: concentrations with both uncertainties under a changed schedule."""
    from homeostat.bundles.simulated import simulate_person
    from homeostat.own_structures import own_structures

    values, text = simulate_person(
        bundle,
        do,
        person=person,
        until=until,
        points=points,
        level=level,
        picture=picture,
        structures=own_structures(structures or []),
    )
    return Answer(values, text)


SIMULATE = Command(
    simulate,
    'homeostat simulate runs/theophylline/model.twin --person 1 --do "scale gut by 2" --until 36',
    lambda given: [given["picture"]],
)
