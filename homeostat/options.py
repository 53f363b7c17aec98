"""The options that several commands share, and how their texts are read. Nothing heavy is imported here."""

import itertools
import math
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help='Print one JSON object on standard output and nothing else there; {"error": {"message", "cure", "exit"}} where the '
        "exit code is 2, 70, 130 or 143.",
    ),
]
Structures = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE.py:NAME",
        help="A class of your own that the bundle names, as mine.py:Mine or package.module:Mine; once for each. THIS RUNS THAT "
        "CODE; without it nothing in a bundle is ever run.",
    ),
]
Members = Annotated[int, typer.Option(min=2, max=1024, help="Ensemble members.")]
Folds = Annotated[int, typer.Option(min=2, max=1024, help="Folds of the cross-validation by person, at most as many as people.")]
Steps = Annotated[int, typer.Option(min=1, max=10**6, help="Training steps at most.")]
Seed = Annotated[int, typer.Option(min=0, max=2**62, help="Seed of everything random.")]
Device = Annotated[str, typer.Option(help="cpu, or cuda where there is one.")]
BundleFile = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A model bundle, as runs/theophylline/model.twin.")]
Units = Annotated[
    str,
    typer.Option(
        "--units", help="Units of the columns, as UCUM codes: TIME=h,AMT=mg,DV=mg/L[,WT=kg …]; converted to the model's."
    ),
]
Compartments = Annotated[
    str | None,
    typer.Option(
        "--compartments",
        help="CMT numbers (or names) of the compartments that doses go into, as 1=gut,2=plasma (default: the backbone's).",
    ),
]
Channels = Annotated[
    str | None,
    typer.Option(
        "--channels",
        help="CMT numbers (or names) of the measured channels, as 2=concentration (default: the backbone's).",
    ),
]
Covariates = Annotated[
    str | None,
    typer.Option(
        help="Columns to keep as covariates, as WT,AGE. By default every numeric column that has a value for each person; where "
        "it changes within a person, each value holds from its row on, and the first one before it too. The others are named on "
        "standard error.",
    ),
]
Order = Annotated[
    str | None,
    typer.Option(
        help="Of a dose and a value of one time: file, as the rows stand; observation-first; dose-first (default: as the rows "
        "stand, where the dose goes into what is measured).",
    ),
]
Signed = Annotated[str, typer.Option(help="Channels whose values may be negative, as effect,balance.")]
Ignore = Annotated[str, typer.Option(help="Columns that are not read at all, as DATE,NOTE.")]
Begun = Annotated[
    str,
    typer.Option(
        "--start",
        metavar="backbone|empty",
        help="What is in the body at first: what the backbone makes of a value measured before the first dose (backbone), or "
        "nothing (empty), and then such values are scored like any other.",
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(help="Score the event 'a measurement above this', in the model's unit (default: the median measurement)."),
]
ForecastFrom = Annotated[
    float | None,
    typer.Option(
        help="Forecast unseen people from what was measured up to this time since everyone's own first dose, or start where "
        "there is no dose, in the model's unit (default: the first time by which everybody has a value since then and after "
        "which somebody has another; where there is none, the last of people's first values after which somebody has another, "
        "with a sentence that says of how many nothing is known by then; of `report`: the time from which the bundle's "
        "own people were forecast, where that is not before this one)."
    ),
]
SolverName = Annotated[
    str,
    typer.Option(
        "--solver",
        help="Of training, and of finding a person: rk4, tsit5, dopri5, bosh3, exponential (ours), or torchdiffeq:METHOD, as "
        "torchdiffeq:dopri5, with :adjoint behind it for gradients by the adjoint equation. The bundle remembers it.",
    ),
]

_MOST = 10**8  # bytes of a JSON argument, weights of a fit: more is a slip


def pairs(text: str, option: str) -> dict[str, str]:
    pairs = [part.split("=", 1) for part in text.split(",") if part.strip()]
    if any(len(p) != 2 or not p[0].strip() or not p[1].strip() for p in pairs):
        raise ValueError(f"{option} {text!r} is not of the form NAME=VALUE,NAME=VALUE")
    return {key.strip(): value.strip() for key, value in pairs}


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def order_of(text: str | None) -> Any:
    if text not in (None, "file", "observation-first", "dose-first"):
        raise ValueError(f"--order {text!r} is not one of file, observation-first, dose-first")
    return text


def numbered(text: str, option: str) -> dict[int | str, str]:
    """Numbers or names of the table → names of the model."""
    return {int(key) if key.isdecimal() else key: value for key, value in pairs(text, option).items()}


def config_of(text: str) -> Any:
    from exchange.files.plain_json import plain_json

    try:
        return plain_json(text.encode("utf-8", "surrogateescape"), _MOST)
    except ValueError as error:
        raise ValueError(f'--backbone-config must be JSON: {error}; write it in quotes: \'{{"A": [[-1.0]]}}\'') from error


def widths_of(text: str, networks: int) -> list[int]:
    """The hidden widths; none for 0. Refused before anything is made of them: more weights than any memory holds."""
    cure = "write 8, or 16,16, or 0 for none"
    parts = [part.strip() for part in text.split(",")]
    odd = [part for part in parts if not part.removeprefix("-").isdecimal()]
    if odd:
        raise ValueError(f"--hidden {text!r} is not made of whole numbers: {odd[0]!r} is none; {cure}")
    widths = [int(part) for part in parts]
    if min(widths) < 0 or (0 in widths and len(widths) > 1):
        raise ValueError(f"--hidden {text} has a layer without units; {cure}")
    if networks * (widths[0] + sum(a * b for a, b in itertools.pairwise(widths))) > _MOST:
        raise ValueError(f"--hidden {text} makes more than {_MOST:,} weights in all members and folds; {cure}")
    return widths if widths != [0] else []


def learning_rate_of(rate: float) -> float:
    if not 0.0 < rate < math.inf:  # NaN neither
        raise ValueError(f"--rate {rate:g} is no learning rate; write a positive one, as 0.03")
    return rate


def console_of(as_json: bool) -> Any:
    """Where a command that takes minutes says how far it is: standard error where standard output is one JSON object."""
    from rich.console import Console

    return Console(stderr=as_json)
