"""`homeostat identify`."""

import math
from pathlib import Path
from typing import Annotated

import typer

from homeostat.commands.answer import Answer, Command
from homeostat.options import Json, config_of, names, pairs


def identify(
    times: Annotated[
        list[str],
        typer.Option(
            "--times",
            help="When one person is measured, in the backbone's unit of time: 0.5,2,8,24; or with a name: rich=0.5,2,8,24. "
            "Once for each design: several are compared.",
        ),
    ],
    do: Annotated[
        str,
        typer.Option(
            "--do", help='What everyone is given: "dose 320 mg -> gut @ 0". The grammar is in `homeostat grammar`.'
        ),
    ] = "",
    backbone: Annotated[
        str,
        typer.Option(
            help="A built-in backbone or mechanism, by class name, or your own, as mine.py:Mine or package.module:Mine: THIS "
            "RUNS THAT CODE."
        ),
    ] = "OneCompartmentOral",
    backbone_config: Annotated[str, typer.Option(help='Its arguments as JSON: {"parameters": "clearance"}.')] = "{}",
    people: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10**6,
            help="How many are measured so: then the population's typical values, spreads and noise are asked about too "
            "(default: one person's parameters alone).",
        ),
    ] = None,
    values: Annotated[
        str, typer.Option(help="Typical values to ask about, as ka=1.2,V=30 (default: the backbone's).")
    ] = "",
    known: Annotated[str, typer.Option(help="Parameters that are known and not asked about, as ka,V.")] = "",
    fraction: Annotated[
        str, typer.Option(help="The share of doses into a compartment that arrives, a parameter more, as gut=0.8.")
    ] = "",
    spread: Annotated[
        str,
        typer.Option(
            help="Standard deviations between people, of logarithms where a parameter is positive, as ka=0.6,V=0.2; 0 for one "
            "value that everyone has (default: the backbone's, or 0.3)."
        ),
    ] = "",
    additive: Annotated[
        str,
        typer.Option(
            help="Standard deviation of noise in the channel's unit: 0.2, or by channel: effect=2,concentration=0.1."
        ),
    ] = "",
    proportional: Annotated[str, typer.Option(help="The same as a share of the value: 0.1, or by channel.")] = "",
    channels: Annotated[
        str, typer.Option(help="Which channels are measured, as concentration (default: the backbone's).")
    ] = "",
    starts: Annotated[
        int,
        typer.Option(min=0, max=1000, help="From how many other values to look for parameters with the same curve."),
    ] = 16,
    picture: Annotated[Path | None, typer.Option(help="Also draw the expected errors into this PNG or SVG.")] = None,
    as_json: Json = False,
) -> Answer:
    """Say before anything is measured what sampling schedules can tell of a model's parameters, and which tells most.

    Fisher information at the values asked about: rank, directions that cannot be told apart in words, expected relative
    standard errors, other parameters with the same curve. Exit code 1 where the best design leaves a parameter or a spread
    unseen, or not known to 100 %, or two sets of parameters with one curve that nothing keeps apart.
    """
    from homeostat.study.backbones import backbone_named
    from homeostat.study.identified import Asked, draw
    from homeostat.study.identified import identify as identified

    designs = {}
    for k, text in enumerate(times):
        name, _, row = text.rpartition("=")
        name = name.strip() or (f"design {k + 1}" if len(times) > 1 else "design")
        if name in designs:
            raise ValueError(f"--times names {name!r} twice; give each design a name of its own, as rich=0.5,2,8")
        designs[name] = [_number(part, "--times") for part in names(row)]
        if not designs[name]:
            raise ValueError(f"--times {text!r} holds no time; write 0.5,2,8,24, or rich=0.5,2,8,24")
        if not all(math.isfinite(time) for time in designs[name]) or designs[name] != sorted(designs[name]):
            raise ValueError(f"--times {text!r}: times are finite and increase; write 0.5,2,8,24 (equal ones are replicates)")
        if designs[name][0] < 0.0:
            raise ValueError(f"--times {text!r}: times before the schedule's start, 0, tell nothing; leave them out")
    asked = Asked(
        values=_numbers(values, "--values"),
        known=names(known),
        fraction=_numbers(fraction, "--fraction"),
        spread=_numbers(spread, "--spread"),
        additive=_by_channel(additive, "--additive"),
        proportional=_by_channel(proportional, "--proportional"),
        channels=names(channels),
    )
    physics = backbone_named(backbone, config_of(backbone_config))
    found = identified(physics, do, designs, people=people, asked=asked, starts=starts)
    text = found.in_words()
    if picture is not None:
        text += f"\npicture: {draw(found, picture)}"
    return Answer(found.to_dict(), text, code=0 if found.good else 1, notes=found.notes)


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{option}: {text.strip()[:60]!r} is no number") from error


def _numbers(text: str, option: str) -> dict[str, float]:
    return {name: _number(value, option) for name, value in pairs(text, option).items()}


def _by_channel(text: str, option: str) -> dict[str, float]:
    """Numbers by channel, or one for all, under ""."""
    return _numbers(text, option) if "=" in text or not text.strip() else {"": _number(text, option)}


IDENTIFY = Command(
    identify,
    'homeostat identify --do "dose 320 mg -> gut @ 0" --times rich=0.25,0.5,1,2,4,8,24 --times late=4,8,12,24 --proportional 0.1 '
    "--additive 0.1 --people 12",
    lambda given: [given["picture"]],
)
