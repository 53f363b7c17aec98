"""The command line: the words of `homeostat.commands`, run, and what they answer printed.

Exit codes everywhere: 0 done (and certified or proved, where that was asked), 1 refused, 2 unusable input, 70 a mistake of the
program, 130 interrupted by Ctrl-C, whatever was kept, 143 ended by SIGTERM. Nothing heavy is imported before a command runs, so
that `--help` answers at once.
"""

import sys
import warnings
from functools import wraps
from typing import Annotated, Any

import typer

from homeostat import __version__
from homeostat.commands import COMMANDS, Command
from homeostat.door import Door, print_json, say, say_notes
from homeostat.interrupted import stoppable
from homeostat_siblings import HOUSE, require_siblings

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


def offer(command: Command, to: typer.Typer = app) -> None:
    """Make a command one of the program's words."""

    @wraps(command.run)  # typer reads the options off the signature
    def called(*, as_json: bool = False, **given: Any) -> None:
        places = [place for place in command.writes(given) if place is not None]
        raise typer.Exit(stoppable(lambda: _answered(command, given, as_json), as_json, places, command.again(given)))

    to.command(command.name, epilog=f"Example: {command.example}")(called)


def _answered(command: Command, given: dict[str, Any], as_json: bool) -> int:
    """Run a command and print what it answers: its exit code."""

    def said(message: Warning | str, *_: Any, **__: Any) -> None:
        say(f"homeostat: {message}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = said  # a sentence, without the line of code that it comes from
        require_siblings("homeostat", HOUSE)
        answer = command.run(**given, as_json=as_json)
        say_notes(answer.notes)
        if as_json and answer.values is not None:
            print_json(answer.values)
        elif answer.text:
            say(answer.text)
        return answer.code


for _command in COMMANDS:
    offer(_command)


if __name__ == "__main__":
    main()
