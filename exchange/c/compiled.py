"""A C compiler, where there is one, and shared libraries made with it."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from exchange.files.names import one_line
from exchange.files.whole_file import whole_file
from physics.arguments import quote

FLAGS = ("-std=c99", "-O2")
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")
LONGEST = 120.0  # seconds of one call of the compiler


def compiler() -> str | None:
    """The path of the compiler that the environment's CC names, else of cc, gcc or clang; None where there is none.

    Errors: `ValueError` where CC names one that is not there: another one in its place would not be what was asked for.
    """
    named = _named()
    if named:
        found = shutil.which(named[0])
        if found is None:
            raise ValueError(f"CC names the compiler {quote(named[0])}, which is not there; set CC to one that is, or unset it")
        return found
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def _named() -> list[str]:
    """What CC says, word by word: a compiler, and what it is to be given."""
    said = os.environ.get("CC", "")
    try:
        return shlex.split(said)
    except ValueError as error:
        raise ValueError(f"CC is {quote(said)}, which is no command ({error}); set CC to the path of a compiler") from error


def shared_library(
    sources: str | Sequence[str | os.PathLike[str]],  # the text of one C file, or files
    target: str | os.PathLike[str],
    *,
    flags: Sequence[str] = FLAGS,
    include: Sequence[str | os.PathLike[str]] = (),
    using: str | None = None,
) -> Path:
    """Compile C into a shared library, which appears whole or not at all, linked against the mathematics library alone.

    Arguments: `include`, folders in which headers lie; `using`, the path of a compiler, by default `compiler()` with what else
    CC says.
    Errors: `ValueError` where there is no compiler, and with what it said where it refuses, makes nothing or is not done in time.
    """
    further = _named()[1:] if using is None else []
    using = compiler() if using is None else using
    if using is None:
        raise ValueError(
            "shared_library: no C compiler was found (CC, cc, gcc, clang); install one, or say where it is by CC"
        )
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(sources, str):
            written = Path(folder) / "source.c"
            written.write_text(sources, encoding="utf-8")
            sources = [written]
        with whole_file(target) as partial:
            within = [f"-I{path}" for path in include]
            files = [str(path) for path in sources]
            run([using, *further, *flags, *within, "-fPIC", "-shared", *files, "-o", str(partial), "-lm"])
            if not partial.is_file():
                raise ValueError(
                    f"{using} ended as if it had compiled the C of this model, and made no file; set CC to a C compiler"
                )
    return Path(target)


def run(command: Sequence[str]) -> None:
    """Run a compiler. Errors: `ValueError` with what it said, or that it said nothing, and where it is not done in time."""
    try:
        # in a session of its own: what it starts ends with it, and holds nothing open
        started = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
        )
    except OSError as error:
        raise ValueError(f"{command[0]}: cannot be run ({error.strerror}); set CC to a C compiler") from error
    with started:
        try:
            out, err = started.communicate(timeout=LONGEST)
        except BaseException as error:
            _end(started)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise ValueError(
                f"{command[0]}: not done with the C of this model after {LONGEST:g} s, and was ended; set CC to another "
                "compiler, or export fewer members"
            ) from error
    if started.returncode:
        lines = (err.strip() or out.strip()).splitlines()[:12]
        said = f"and said: {one_line(' | '.join(map(str.strip, lines)), 1500)}" if lines else "and said nothing"
        raise ValueError(f"{command[0]} refused the C of this model (exit status {started.returncode}) {said}")


def _end(started: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(started.pid, signal.SIGKILL)
        else:
            started.kill()
