"""An FMU's binary, loaded into this process by FMPy, and what FMPy raises in a sentence.

Whoever loads an FMU runs code that the file holds, with all that this process may do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exchange.c.compiled import compiler, shared_library
from exchange.files.names import one_line


def require_fmpy(path: Path) -> Any:
    """FMPy. Errors: `ValueError` where it is not installed."""
    try:
        import fmpy
    except ImportError as error:
        raise ValueError(f"{path}: reading an FMU needs FMPy; pip install 'homeostat[fmu]'") from error
    return fmpy


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """What FMPy raises, which may be anything, as one sentence about the file."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(f"{path}: "):
            raise
        raise ValueError(f"{path}: this FMU cannot be read or run ({one_line(str(error), 300)})") from error


def loaded(folder: Path, path: Path, kind: str, *, ours: bool = False) -> tuple[Any, Any]:
    """What FMPy reads of the unpacked FMU in a folder, and an instance of it; `kind`, "ModelExchange" or "CoSimulation".

    `ours`: written by us, so that its description is held against the standard, and its sources are compiled where it has no
    binary for here.
    Errors: `ValueError` where there is nothing to load, and whatever FMPy raises: within `told_of`.
    """
    fmpy = require_fmpy(path)
    about = fmpy.read_model_description(str(folder), validate=ours)
    three = str(about.fmiVersion).startswith("3.")
    one = about.modelExchange if kind == "ModelExchange" else about.coSimulation
    if one is None:
        raise ValueError(f"{path}: has no {'Model Exchange' if kind == 'ModelExchange' else 'Co-Simulation'}")
    name = one.modelIdentifier
    where = folder / "binaries" / (fmpy.platform_tuple if three else fmpy.platform)
    library = where / f"{name}{fmpy.sharedLibraryExtension}"
    if Path(name).name != name or not library.is_file():
        if not ours:
            raise ValueError(
                f"{path}: has no binary for {where.name}; build one of its sources, or ask its author for it"
            )
        _build(folder, path, about, library)
    # FMPy prints what an FMU logs; its errors come as exceptions anyway
    silent = (lambda *_: None) if three else None
    return about, fmpy.instantiate_fmu(str(folder), about, kind, library_path=str(library), logger=silent)


def _build(folder: Path, path: Path, about: Any, library: Path) -> None:
    sources = [
        f for build in about.buildConfigurations[:1] for files in build.sourceFileSets for f in files.sourceFiles
    ]
    inside = [(folder / "sources" / one).resolve() for one in sources]
    if not sources or not all(one.is_file() and one.is_relative_to((folder / "sources").resolve()) for one in inside):
        raise ValueError(f"{path}: has no binary for {library.parent.name}, and no sources to make one of")
    if compiler() is None:
        raise ValueError(
            f"{path}: has no binary for {library.parent.name}, and no C compiler was found to make one of its sources"
        )
    library.parent.mkdir(parents=True, exist_ok=True)
    shared_library(inside, library, include=[folder / "sources"])
