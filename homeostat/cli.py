"""The command line: `homeostat demo | fit | certify | check | report | simulate | inspect`.

Exit codes everywhere: 0 done (and certified or proved, where that was asked), 1 refused, 2 unusable input, 130 interrupted by
Ctrl-C, whatever was kept, 143 ended by SIGTERM. Nothing heavy is imported before a command runs, so that `--help` answers at
once.
"""

import json
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Hybrid physics-ML models, dx/dt = A(θ)x + B(θ)u + ε(x, u, c): train, certify, calibrate, simulate.",
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else there.")]
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
        "there is no dose, in the model's unit (default: a tenth of the record, or the first measurement where that is later)."
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


def main() -> None:
    """Run the command line; errors of use are one sentence on standard error and exit code 2."""
    # the terminal's own encoding may not have ε; text that cannot be shown must not end a run
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app()


_LONG = re.compile(r"\S{200,}")  # a word as long as a page, of which a message quotes the beginning


def _begun(found: "re.Match[str]") -> str:
    return f"{found[0][:120]}…"


INTERRUPTED = 128 + signal.SIGINT
ENDED = 128 + signal.SIGTERM


@contextmanager
def _noting_interrupts() -> Iterator[list[int]]:
    """Ctrl-C raises `KeyboardInterrupt`, as always, and SIGTERM `SystemExit`; either is noted, whoever catches it.

    A search that is interrupted answers with the best so far: the command must know all the same. What was set to be ignored
    (by `nohup`, or in the background of a script) stays ignored.
    """
    noted: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        noted.append(number)
        if number == signal.SIGTERM:
            raise SystemExit(ENDED)
        raise KeyboardInterrupt

    before = {}
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        try:
            if signal.getsignal(number) == usual:
                before[number] = signal.signal(number, stop)
        except ValueError:  # not in the main thread, which signals do not reach
            break
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _written(places: Sequence[Path]) -> dict[Path, int]:
    """When each file in these places was last written; what is no folder counts as a file."""
    found: dict[Path, int] = {}
    with suppress(OSError):  # the command itself says that a place cannot be read or written
        for place in places:
            for file in place.iterdir() if place.is_dir() else [place]:
                if file.is_file() and file.suffix not in (".partial", ".previous"):
                    found[file] = file.stat().st_mtime_ns
    return found


def _kept(before: dict[Path, int], places: Sequence[Path]) -> str:
    """What a command that was stopped leaves behind, in words."""
    new = sorted(str(file) for file, when in _written(places).items() if before.get(file) != when)
    if not new:
        return "nothing was written"
    resume = "; the same command with --resume goes on with the training" if any(".checkpoint" in name for name in new) else ""
    return f"written before and kept: {', '.join(new[:8])}{' …' if len(new) > 8 else ''}{resume}"


def _guard(work: Callable[[], int], writes: Sequence[Path | None] = ()) -> None:
    """Run a command's body and end with its exit code, or with that of an interrupt and a sentence about what is kept.

    `writes`: the folders and files that the command writes.
    """
    places = [place for place in writes if place is not None]
    before = _written(places)
    try:
        with _noting_interrupts() as noted:
            code = _answered(work)
            if noted:
                if code < 2:  # a search was stopped, and what it had found until then was used
                    typer.echo("homeostat: interrupted; the answer is the best that was found until then", err=True)
                code = INTERRUPTED
    except KeyboardInterrupt:
        typer.echo(f"homeostat: interrupted; {_kept(before, places)}", err=True)
        code = INTERRUPTED
    except SystemExit as end:
        if end.code != ENDED:
            raise
        typer.echo(f"homeostat: ended by SIGTERM; {_kept(before, places)}", err=True)
        code = ENDED
    raise typer.Exit(code)


def _answered(work: Callable[[], int]) -> int:
    """A command's exit code, or 2 and one sentence for input that cannot be used."""
    from hybrid import SimulationError

    def said(message: Warning | str, *_: Any, **__: Any) -> None:
        typer.echo(f"homeostat: {message}", err=True)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = said  # a sentence, without the line of code that it comes from
            return work()
    except (ValueError, SimulationError, OSError, ImportError) as error:
        typer.echo(f"homeostat: {_LONG.sub(_begun, str(error))}", err=True)
        return 2


def _pairs(text: str, option: str) -> dict[str, str]:
    pairs = [part.split("=", 1) for part in text.split(",") if part.strip()]
    if any(len(p) != 2 or not p[0].strip() or not p[1].strip() for p in pairs):
        raise ValueError(f"{option} {text!r} is not of the form NAME=VALUE,NAME=VALUE")
    return {key.strip(): value.strip() for key, value in pairs}


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _say(notes: list[str]) -> None:
    for note in notes:
        typer.echo(f"homeostat: {note}", err=True)


def _order(text: str | None) -> Any:
    if text not in (None, "file", "observation-first", "dose-first"):
        raise ValueError(f"--order {text!r} is not one of file, observation-first, dose-first")
    return text


def _numbered(text: str, option: str) -> dict[int | str, str]:
    """Numbers or names of the table → names of the model."""
    return {int(key) if key.isdigit() else key: value for key, value in _pairs(text, option).items()}


def _console(as_json: bool) -> Any:
    from rich.console import Console

    return Console(stderr=as_json)


def _print(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


@app.command(epilog="Example: homeostat demo --out runs/theophylline")
def demo(
    out: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("runs/theophylline"),
    members: Annotated[int, typer.Option(min=2, help="Ensemble members.")] = 8,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation by person.")] = 6,
    steps: Annotated[int, typer.Option(min=1, help="Training steps at most.")] = 120,
    seed: Annotated[int, typer.Option(min=0, max=2**62, help="Seed of everything random.")] = 2026,
    device: Annotated[str, typer.Option(help="cpu, or cuda where there is one.")] = "cpu",
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
            _print(summary)
        if summary["interrupted"]:
            return INTERRUPTED
        return 0 if summary["certified"] and summary["identical_after_load"] else 1

    _guard(work, [out])


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
    members: Annotated[int, typer.Option(min=2)] = 8,
    folds: Annotated[int, typer.Option(min=2)] = 6,
    steps: Annotated[int, typer.Option(min=1)] = 120,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 0.03,
    seed: Annotated[int, typer.Option(min=0, max=2**62)] = 2026,
    device: Annotated[str, typer.Option(help="cpu, or cuda where there is one.")] = "cpu",
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
        from training.nonmem import read_table

        given = _pairs(units, "--units")
        try:
            config = json.loads(backbone_config)
            widths = [int(w) for w in hidden.split(",")]
        except ValueError as error:
            raise ValueError(f"--backbone-config must be JSON and --hidden whole numbers ({error})") from error
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
        settings = Settings(
            members, folds, steps, rate, forecast_from=forecast_from, seed=seed, device=device, solver=solver
        )
        summary = fit_table(
            table,
            read.records,
            given,
            folder=out,
            backbone=(backbone, config),
            hidden=widths if widths != [0] else [],
            settings=settings,
            threshold=threshold,
            console=_console(as_json),
            resume=resume,
            log=log,
        )
        _say(summary["notes"])
        summary["notes"] = [*left_out, *summary["notes"]]
        if as_json:
            _print(summary)
        if summary["interrupted"]:
            return INTERRUPTED
        return 0 if summary["certified"] else 1

    _guard(work, [out])


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
    as_json: Json = False,
) -> None:
    """Search a new contraction certificate for a bundle's members and people: exit 0 certified, 1 refused."""

    def work() -> int:
        from homeostat.work import certify_bundle

        result, text, about = certify_bundle(bundle, rate, seconds, write, region)
        if as_json:
            _print({"certified": bool(result), **result.to_dict(), **about})
        else:
            typer.echo(text)
        return 0 if result else 1

    _guard(work, [bundle])


@app.command(epilog="Example: homeostat check runs/theophylline/model.twin")
def check(bundle: BundleFile, as_json: Json = False) -> None:
    """Prove a bundle's certificate again, in outward-rounded arithmetic, against its own weights, and hold it beside what its
    own people do: exit 0 proved and covering them, 1 not.
    """

    def work() -> int:
        from homeostat.work import examine_bundle

        found = examine_bundle(bundle)
        if as_json:
            _print(found.to_dict())
        else:
            typer.echo(found.text)
        return 0 if found.good else 1

    _guard(work)


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
    as_json: Json = False,
) -> None:
    """Forecast the people of a table with a trained bundle, score it, and write HTML, PNG and JSON."""

    def work() -> int:
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
        )
        _say(summary["notes"])
        if as_json:
            _print(summary)
        else:
            typer.echo(summary["text"])
        return 0

    _guard(work, [out or bundle.parent / "report"])


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
    points: Annotated[int, typer.Option(min=2, help="How many times to print.")] = 13,
    level: Annotated[float, typer.Option(min=0.01, max=0.999, help="Level of the intervals.")] = 0.8,
    picture: Annotated[Path | None, typer.Option(help="Also draw as given and as done into this PNG.")] = None,
    as_json: Json = False,
) -> None:
    """Ask "what if we do this?" for one person: concentrations with both uncertainties under a changed schedule."""

    def work() -> int:
        from homeostat.work import simulate_person

        answer, text = simulate_person(
            bundle, do, person=person, until=until, points=points, level=level, picture=picture
        )
        if as_json:
            _print(answer)
        else:
            typer.echo(text)
        return 0

    _guard(work, [picture])


@app.command(epilog="Example: homeostat inspect runs/theophylline/model.twin")
def inspect(bundle: BundleFile, as_json: Json = False) -> None:
    """Say what is in a bundle: structure, units, people, certificate, calibration, provenance."""

    def work() -> int:
        from homeostat.work import inspect_bundle

        about, text = inspect_bundle(bundle)
        if as_json:
            _print(about)
        else:
            typer.echo(text)
        return 0

    _guard(work)


@app.command(epilog="Example: homeostat grammar")
def grammar(as_json: Json = False) -> None:
    """Print the grammar of doses and inputs, as `--do` reads it."""
    from hybrid.schedule_text import GRAMMAR

    if as_json:
        _print({"grammar": GRAMMAR})
    else:
        typer.echo(GRAMMAR)


if __name__ == "__main__":
    main()
