"""What the program says when it cannot do what was asked: one sentence, one object for `--json`, and an exit code.

Exit codes: 0 done, 1 refused, 2 input that cannot be used, 70 a mistake of the program (EX_SOFTWARE of sysexits.h), 130
interrupted (128 + SIGINT), 141 the reader of a pipe went away (128 + SIGPIPE). Python itself ends with 1 after an error, which
here means "refused": nothing is left to it.
"""

import contextlib
import errno
import json
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from homeostat.misuse import wrong_use
from homeostat.plain_text import finite, json_line, json_shown, shown

UNUSABLE, INTERNAL, INTERRUPTED, NO_READER = 2, 70, 130, 141
TRACEBACK = "HOMEOSTAT_TRACEBACK"
_LONG = re.compile(r"\S{200,}")  # a word as long as a page, of which a message quotes the beginning
_SIMULATION = (
    "likely causes, in order: steps too long for the fastest rate (--solver exponential, or torchdiffeq:dopri5), a residual that "
    "grows (a lower --rate of learning), a time or an amount in another unit than --units says"
)
_OTHER_PLACE, _ROOM = "name another place, or move the file", "make room on the disk, or write elsewhere"
# what a system says in half a sentence, by its number: what it means here, and what helps
_SYSTEM: Mapping[int, tuple[str, str]] = {
    errno.EEXIST: ("a file stands there, where a folder is needed", _OTHER_PLACE),
    errno.ENOTDIR: ("a part of this path is a file, where a folder is needed", _OTHER_PLACE),
    errno.EISDIR: ("this is a folder, where a file is needed", "name a file"),
    errno.ENOENT: ("there is no such place", "check the path"),
    errno.EACCES: ("this place may not be used", "name one that you may read and write"),
    errno.EPERM: ("this place may not be used", "name one that you may read and write"),
    errno.EROFS: ("nothing can be written there", "name another place"),
    errno.ENAMETOOLONG: ("this name is too long for the system", "write a shorter one"),
    errno.ENOSPC: ("No space left on device", _ROOM),
    errno.EDQUOT: ("no more may be written there", _ROOM),
}
_MEMORY = "ask for less: fewer --points, --members or --folds, narrower --hidden layers, a shorter table"


def say(text: str, *, err: bool = False) -> None:
    """Print, with nothing in it that a terminal would obey. Errors: `OSError` that says which stream is meant."""
    try:
        typer.echo(shown(text), err=err)
    except BrokenPipeError:
        raise
    except OSError as error:
        _let_go(sys.stderr if err else sys.stdout)
        raise OSError(error.errno, error.strerror, f"standard {'error' if err else 'output'}") from error


def say_notes(notes: Sequence[str]) -> None:
    """Sentences that a reader must know, one a line on standard error."""
    for note in notes:
        say(f"homeostat: {note}", err=True)


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on standard output; what is no finite number is null, as JSON has no other."""
    say(json_shown(json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False)))


def print_json_line(value: Mapping[str, Any]) -> None:
    """One JSON object on one line of standard output, which has left the program when this returns."""
    say(json_line(value))


def fail(problem: str, cure: str | None, code: int, as_json: bool) -> int:
    """Say what cannot be done, and what would help, on standard error, and with `as_json` as an object on standard output."""
    problem, cure = _cut(problem), None if cure is None else _cut(cure)
    first, _, rest = problem.partition("\n")
    sentence = first if cure is None else f"{first}; {cure}"
    with contextlib.suppress(OSError):  # where nobody can be told, the exit code still tells
        say(f"homeostat: {sentence}" + (f"\n{rest}" if rest else ""), err=True)
    if as_json:
        with contextlib.suppress(OSError):
            # on one line, since a command may have printed other objects, one a line
            print_json_line({"error": {"message": problem, "cure": cure, "exit": code}})
    return code


def _cut(text: str) -> str:
    return _LONG.sub(lambda found: f"{found[0][:120]}…", text)


def explain(error: Exception, as_json: bool) -> int:
    """Say an error, whatever it is, and return the exit code: 2 for what the input is to blame for, 70 for a mistake of ours."""
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        return no_reader()
    problem, cure, code = explained(error)
    return fail(problem, cure, code, as_json)


def explained(error: Exception) -> tuple[str, str | None, int]:
    """What is wrong, what would help, and the exit code."""
    # a module that nobody has imported has raised nothing, and importing it takes seconds
    if "physics" in sys.modules:
        from physics.arguments import InputError

        if isinstance(error, InputError):
            return error.problem_at_shell, error.cure_at_shell, UNUSABLE
    if "hybrid" in sys.modules:
        from hybrid import SimulationError

        if isinstance(error, SimulationError):
            return str(error).partition(". ")[0], _SIMULATION, UNUSABLE
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate" in str(error)):
        return "this takes more memory than there is", _MEMORY, UNUSABLE
    if isinstance(error, OSError) and error.strerror is not None:
        where = "" if error.filename is None else f"{error.filename}: "
        problem, cure = _SYSTEM.get(error.errno or 0, (error.strerror, None))
        return f"{where}{problem}", cure, UNUSABLE
    if isinstance(error, ValueError | ImportError | OSError):
        # the house's sentences end with the cure, behind a semicolon; further lines show a place in a text
        first, line, rest = str(error).partition("\n")
        problem, mark, cure = first.rpartition("; ")
        return (problem if mark else first) + line + rest, cure if mark else None, UNUSABLE
    found = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    problem = f"this is a mistake of the program and says nothing about the model ({found})"
    return problem, f"the same command with {TRACEBACK}=1 in the environment shows where", INTERNAL


def no_reader() -> int:
    """Whoever read the output has gone (`homeostat … | head`): nothing is left to say, now or when Python flushes at the end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _let_go(stream)
    return NO_READER


def _let_go(stream: Any) -> None:
    """What is still in the stream's buffer goes nowhere: Python would try again at its end, and end with a code of its own."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        stream.flush()


def typed(context: typer.Context) -> tuple[str, ...]:
    """The words behind `homeostat` as they were typed, for a page that says how it was made."""
    return tuple(context.find_root().obj or ())


class Door(TyperGroup):
    """The commands as one program, whose every way out is one of the exit codes above, wrong use included."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        given = sys.argv[1:] if args is None else list(args)
        extra.setdefault("obj", tuple(given))  # for whoever writes down how something was made: `typed`
        if not standalone_mode:
            return super().main(given, prog_name, complete_var, False, windows_expand_args, **extra)
        as_json = "--json" in given
        try:
            code = super().main(given, prog_name, complete_var, False, windows_expand_args, **extra) or 0
        except SystemExit as ended:
            # whoever prints help to a reader that has gone ends with 1
            code = no_reader() if type(sys.stdout).__name__ == "PacifyFlushWrapper" else ended.code
        except Exception as error:
            # wrong use has a class of typer's own, which some versions keep to themselves
            try:
                code = _wrong_use(error, given, as_json) if hasattr(error, "format_message") else explain(error, as_json)
            except OSError as unsaid:  # nobody can be told
                code = explain(unsaid, as_json)
        sys.exit(code)


    def make_context(self, info_name: Any, args: Any, *given: Any, **named: Any) -> Any:
        """Read what was typed before the command."""
        with _interruptible(args):
            return super().make_context(info_name, args, *given, **named)

    def invoke(self, ctx: Any) -> Any:
        """Read what was typed behind the command, and run it."""
        with _interruptible(typed(ctx)):
            return super().invoke(ctx)


@contextlib.contextmanager
def _interruptible(words: Sequence[str]) -> Iterator[None]:
    """Ctrl-C while words are read, which takes seconds on a slow disk: typer would end without a sentence."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise typer.Exit(fail("interrupted; nothing was written", None, INTERRUPTED, "--json" in words)) from error


def _wrong_use(error: Any, given: Sequence[str], as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    if context is not None:
        with contextlib.suppress(OSError):
            say(context.get_usage(), err=True)
    problem, cure = wrong_use(error, given)
    return fail(problem, cure, UNUSABLE, as_json)
