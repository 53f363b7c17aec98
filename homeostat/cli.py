"""The command line: `homeostat demo | fit | certify | check | report | simulate | inspect`.

Exit codes everywhere: 0 done (and certified or proved, where that was asked), 1 refused, 2 unusable input, 70 a mistake of the
program, 130 interrupted by Ctrl-C, whatever was kept, 143 ended by SIGTERM. Nothing heavy is imported before a command runs, so
that `--help` answers at once.
"""

import itertools
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from homeostat import __version__
from homeostat.door import Door, explain, print_json, say
from homeostat.interrupted import INTERRUPTED, stoppable

app = typer.Typer(
    name="homeostat",
    cls=Door,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # plain text: what stands in square brackets is part of a sentence here, and rich would take it for a style
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Hybrid physics-ML models, dx/dt = A(θ)x + B(θ)u + ε(x, u, c): train, certify, calibrate, simulate.",
    epilog="Exit codes: 0 done, and certified or proved where that was asked; 1 refused; 2 input that cannot be used; 70 a "
    "mistake of the program (HOMEOSTAT_TRACEBACK=1 in the environment shows where); 130 interrupted, 143 ended by SIGTERM; 141 "
    "where nobody reads the output any more.",
)

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
    str, typer.Option("--compartments", help="CMT numbers (or names) of the compartments that doses go into, as 1=gut,2=plasma.")
]
Channels = Annotated[str, typer.Option("--channels", help="CMT numbers (or names) of the measured channels, as 2=concentration.")]
Covariates = Annotated[
    str | None,
    typer.Option(
        help="Columns to keep as covariates, as WT,AGE; they must be constant for each person. By default every numeric column "
        "that is; the others are named on standard error.",
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
        "with a sentence that says of how many nothing is known by then)."
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


def main() -> None:
    """Run the command line; errors of use are one sentence on standard error and exit code 2."""
    # the terminal's own encoding may not have ε; text that cannot be shown must not end a run
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app()


def _version(asked: bool) -> None:
    if asked:
        say(f"homeostat {__version__}")
        raise typer.Exit(0)


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """What every command has in common."""


def _guard(work: Callable[[], int], as_json: bool, writes: Sequence[Path | None] = ()) -> None:
    """Run a command's body and end with its exit code, with what `explain` makes of an error, or with that of an interrupt.

    `writes`: the folders and files that the command writes.
    """
    raise typer.Exit(stoppable(lambda: _answered(work, as_json), as_json, [place for place in writes if place is not None]))


def _answered(work: Callable[[], int], as_json: bool) -> int:
    """A command's exit code, or what `explain` makes of an error, and one sentence."""

    def said(message: Warning | str, *_: Any, **__: Any) -> None:
        say(f"homeostat: {message}", err=True)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = said  # a sentence, without the line of code that it comes from
            return work()
    except Exception as error:
        return explain(error, as_json)


def _pairs(text: str, option: str) -> dict[str, str]:
    pairs = [part.split("=", 1) for part in text.split(",") if part.strip()]
    if any(len(p) != 2 or not p[0].strip() or not p[1].strip() for p in pairs):
        raise ValueError(f"{option} {text!r} is not of the form NAME=VALUE,NAME=VALUE")
    return {key.strip(): value.strip() for key, value in pairs}


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _say(notes: list[str]) -> None:
    for note in notes:
        say(f"homeostat: {note}", err=True)


def _order(text: str | None) -> Any:
    if text not in (None, "file", "observation-first", "dose-first"):
        raise ValueError(f"--order {text!r} is not one of file, observation-first, dose-first")
    return text


def _numbered(text: str, option: str) -> dict[int | str, str]:
    """Numbers or names of the table → names of the model."""
    return {int(key) if key.isdigit() else key: value for key, value in _pairs(text, option).items()}


def _config(text: str) -> Any:
    from exchange.plain_json import plain_json

    try:
        return plain_json(text.encode("utf-8", "surrogateescape"), _MOST)
    except ValueError as error:
        raise ValueError(f'--backbone-config must be JSON ({error}); write it in quotes: \'{{"A": [[-1.0]]}}\'') from error


def _widths(text: str, networks: int) -> list[int]:
    """The hidden widths; none for 0. Refused before anything is made of them: more weights than any memory holds."""
    cure = "write 8, or 16,16, or 0 for none"
    try:
        widths = [int(w) for w in text.split(",")]
    except ValueError as error:
        raise ValueError(f"--hidden must be whole numbers ({error}); {cure}") from error
    if min(widths) < 0 or (0 in widths and len(widths) > 1):
        raise ValueError(f"--hidden {text} has a layer without units; {cure}")
    if networks * (widths[0] + sum(a * b for a, b in itertools.pairwise(widths))) > _MOST:
        raise ValueError(f"--hidden {text} makes more than {_MOST:,} weights in all members and folds; {cure}")
    return widths if widths != [0] else []


def _console(as_json: bool) -> Any:
    from rich.console import Console

    return Console(stderr=as_json)


@app.command(epilog="Example: homeostat demo --out runs/theophylline")
def demo(
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
) -> None:
    """Train, certify, calibrate, draw and save a hybrid model of twelve real people (under three minutes on two cores)."""

    def work() -> int:
        from homeostat.demo import FORECAST_FROM, run_demo
        from homeostat.study import Settings

        settings = Settings(members, folds, steps, forecast_from=FORECAST_FROM, seed=seed, device=device, solver=solver)
        summary = run_demo(out, settings, _console(as_json))
        _say(summary["notes"])
        if as_json:
            print_json(summary)
        if summary["interrupted"]:
            return INTERRUPTED
        return 0 if summary["certified"] and summary["identical_after_load"] else 1

    _guard(work, as_json, [out])


@app.command(
    epilog="Example: homeostat fit table.csv --backbone OneCompartmentOral --units TIME=h,AMT=mg,DV=mg/L,WT=kg "
    "--covariates WT --ignore NOTE --out runs/mine"
)
def fit(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="Columns ID TIME AMT DV EVID CMT RATE and covariates.")
    ],
    units: Units,
    backbone: Annotated[str, typer.Option(help="A built-in backbone, by class name.")] = "OneCompartmentOral",
    backbone_config: Annotated[
        str, typer.Option(help='Its arguments as JSON: {"A": [[-1.0]], "states": ["x"]}.')
    ] = "{}",
    out: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("runs/fit"),
    compartments: Compartments = "1=gut,2=plasma",
    channels: Channels = "2=concentration",
    covariates: Covariates = None,
    order: Order = None,
    signed: Signed = "",
    ignore: Ignore = "",
    hidden: Annotated[
        str, typer.Option(help="Widths of the residual's hidden layers, as 8 or 16,16; 0 for none.")
    ] = "8",
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
) -> None:
    """Train and certify a hybrid model of your own table, judge it on people never seen, save the bundle and a report."""

    def work() -> int:
        from homeostat.study import Settings
        from homeostat.work import fit_table
        from training.people.tables.nonmem import read_table

        given = _pairs(units, "--units")
        config, widths = _config(backbone_config), _widths(hidden, members * ((folds or 6) + 1))
        read = read_table(
            table,
            units=given,
            compartments=_numbered(compartments, "--compartments"),
            channels=_numbered(channels, "--channels"),
            covariates=None if covariates is None else _names(covariates),
            order=_order(order),
            signed=_names(signed),
            ignore=_names(ignore),
        )
        left_out = [str(one) for one in read.left_out]
        _say(left_out)
        parts = min(6, len(read.records)) if folds is None else folds
        settings = Settings(
            members, parts, steps, rate, forecast_from=forecast_from, seed=seed, device=device, solver=solver
        )
        summary = fit_table(
            table,
            read.records,
            given,
            folder=out,
            backbone=(backbone, config),
            hidden=widths,
            settings=settings,
            threshold=threshold,
            console=_console(as_json),
            resume=resume,
            log=log,
        )
        _say(summary["notes"])
        summary["notes"] = [*left_out, *summary["notes"]]
        if as_json:
            print_json(summary)
        if summary["interrupted"]:
            return INTERRUPTED
        return 0 if summary["certified"] else 1

    _guard(work, as_json, [out])


@app.command(epilog="Example: homeostat certify runs/theophylline/model.twin --rate 0.03")
def certify(
    bundle: BundleFile,
    rate: Annotated[float | None, typer.Option(help="The rate to prove, in 1/time (default: the best one).")] = None,
    region: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='Prove it in a box only, where trajectories stay: JSON {"lower": [...], "upper": [...], "inputs": '
            '{"lower": [...], "upper": [...], "doses": [[...]], "gap": 24}} ("inputs" and its doses may be left out).',
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time limit.")] = 60.0,
    write: Annotated[bool, typer.Option("--write", help="Put it into the bundle; a refusal replaces no certificate.")] = False,
    structures: Structures = None,
    as_json: Json = False,
) -> None:
    """Search a new contraction certificate for a bundle's members and people: exit 0 certified, 1 refused."""

    def work() -> int:
        from homeostat.own_structures import own_structures
        from homeostat.work import certify_bundle

        result, text, about = certify_bundle(
            bundle, rate, seconds, write, region, own_structures(structures or [])
        )
        if as_json:
            print_json({"certified": bool(result), **result.to_dict(), **about})
        else:
            say(text)
        return 0 if result else 1

    _guard(work, as_json, [bundle])


@app.command(epilog="Example: homeostat check runs/theophylline/model.twin")
def check(bundle: BundleFile, structures: Structures = None, as_json: Json = False) -> None:
    """Prove a bundle's certificate again, in outward-rounded arithmetic, against its own weights, and hold it beside what its
    own people do: exit 0 proved and covering them, 1 not.
    """

    def work() -> int:
        from homeostat.own_structures import own_structures
        from homeostat.work import examine_bundle

        found = examine_bundle(bundle, own_structures(structures or []))
        if as_json:
            print_json(found.to_dict())
        else:
            say(found.text)
        return 0 if found.good else 1

    _guard(work, as_json)


@app.command(
    epilog="Example: homeostat report runs/theophylline/model.twin --data table.csv --units TIME=h,AMT=mg,DV=mg/L"
)
def report(
    bundle: BundleFile,
    data: Annotated[Path, typer.Option("--data", help="A table like that of `fit`: the people to forecast.")],
    units: Annotated[str, typer.Option("--units", help="As in `fit`; by default the bundle's own.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder of the report (default: report/ beside the bundle).")] = None,
    compartments: Compartments = "1=gut,2=plasma",
    channels: Channels = "2=concentration",
    covariates: Covariates = None,
    order: Order = None,
    signed: Signed = "",
    ignore: Ignore = "",
    threshold: Threshold = None,
    forecast_from: ForecastFrom = None,
    structures: Structures = None,
    as_json: Json = False,
) -> None:
    """Forecast the people of a table with a trained bundle, score it, and write HTML, PNG and JSON."""

    def work() -> int:
        from homeostat.own_structures import own_structures
        from homeostat.work import report_on

        summary = report_on(
            bundle,
            data,
            folder=out,
            units=_pairs(units, "--units"),
            compartments=_numbered(compartments, "--compartments"),
            channels=_numbered(channels, "--channels"),
            covariates=None if covariates is None else _names(covariates),
            order=_order(order),
            signed=_names(signed),
            ignore=_names(ignore),
            threshold=threshold,
            forecast_from=forecast_from,
            structures=own_structures(structures or []),
        )
        _say(summary["notes"])
        if as_json:
            print_json(summary)
        else:
            say(summary["text"])
        return 0

    _guard(work, as_json, [out or bundle.parent / "report"])


@app.command(
    epilog='Example: homeostat simulate runs/theophylline/model.twin --person 1 --do "scale gut by 2" --until 36'
)
def simulate(
    bundle: BundleFile,
    do: Annotated[
        str,
        typer.Option(
            "--do",
            help="What to change in the person's schedule, times as in --until; the grammar is in `homeostat grammar`.",
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
    picture: Annotated[Path | None, typer.Option(help="Also draw as given and as done into this PNG.")] = None,
    structures: Structures = None,
    as_json: Json = False,
) -> None:
    """Ask "what if we do this?" for one person: concentrations with both uncertainties under a changed schedule."""

    def work() -> int:
        from homeostat.own_structures import own_structures
        from homeostat.work import simulate_person

        answer, text = simulate_person(
            bundle,
            do,
            person=person,
            until=until,
            points=points,
            level=level,
            picture=picture,
            structures=own_structures(structures or []),
        )
        if as_json:
            print_json(answer)
        else:
            say(text)
        return 0

    _guard(work, as_json, [picture])


@app.command(epilog="Example: homeostat inspect runs/theophylline/model.twin")
def inspect(bundle: BundleFile, structures: Structures = None, as_json: Json = False) -> None:
    """Say what is in a bundle: structure, units, people, certificate, calibration, provenance."""

    def work() -> int:
        from homeostat.own_structures import own_structures
        from homeostat.work import inspect_bundle

        about, text = inspect_bundle(bundle, own_structures(structures or []))
        if as_json:
            print_json(about)
        else:
            say(text)
        return 0

    _guard(work, as_json)


@app.command(epilog="Example: homeostat grammar")
def grammar(as_json: Json = False) -> None:
    """Print the grammar of doses and inputs, as `--do` reads it."""
    from hybrid.schedule_text import GRAMMAR

    if as_json:
        print_json({"grammar": GRAMMAR})
    else:
        say(GRAMMAR)


if __name__ == "__main__":
    main()
