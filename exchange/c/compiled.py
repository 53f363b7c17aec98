"""A C compiler, where there is one, and shared libraries made with it."""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from exchange.files.whole_file import whole_file

FLAGS = ("-std=c99", "-O2")
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")
LONGEST = 300.0  # seconds of one call of the compiler


def compiler() -> str | None:
    """The path of the compiler that CC names, else of cc, gcc or clang; None where there is none."""
    named = shlex.split(os.environ.get("CC", ""))
    for name in (*named[:1], "cc", "gcc", "clang"):
        found = shutil.which(name)
        if found:
            return found
    return None


def shared_library(
    sources: str | Sequence[str | os.PathLike[str]],  # the text of one C file, or files
    target: str | os.PathLike[str],
    *,
    flags: Sequence[str] = FLAGS,
    include: Sequence[str | os.PathLike[str]] = (),
    using: str | None = None,
) -> Path:
    """Compile C into a shared library, which appears whole or not at all, linked against the mathematics library alone.

    Arguments: `include`, folders in which headers lie; `using`, the path of a compiler, by default `compiler()`.
    Errors: `ValueError` where there is no compiler, and with the first lines of what it said where it refuses.
    """
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
            run([using, *flags, *within, "-fPIC", "-shared", *files, "-o", str(partial), "-lm"])
    return Path(target)


def run(command: Sequence[str]) -> None:
    """Run a compiler. Errors: `ValueError` with the first lines of what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, errors="replace", check=False)
    except subprocess.TimeoutExpired as error:
        raise ValueError(
            f"{command[0]}: not done after {LONGEST:.0f} s; compile with -O1, or export fewer members"
        ) from error
    except OSError as error:
        raise ValueError(f"{command[0]}: cannot be run ({error.strerror})") from error
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[:12])
        raise ValueError(f"{command[0]} refused the C of this model:\n{said}")
