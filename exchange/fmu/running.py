"""An FMU that runs in this process, through FMPy: the one file beside tests that imports it.

Whoever runs an FMU runs code that the file holds, with all that this process may do.
"""

import ctypes
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange.c.compiled import compiler, shared_library
from exchange.files.names import one_line
from exchange.fmu.archive import Opened

Array = NDArray[np.float64]


class Running:
    """A Model Exchange instance: variables by name, and derivatives; what FMPy raises comes as a `ValueError`."""

    def __init__(self, description: Any, instance: Any, path: Path) -> None:
        self._instance, self._path = instance, path
        self._three = str(description.fmiVersion).startswith("3.")
        self._references = {v.name: v.valueReference for v in description.modelVariables}
        self._states = [v.variable.derivative.name for v in description.derivatives]

    def start(self, values: dict[str, float]) -> None:
        """Begin anew with these start values and parameters, up to where states may be set."""
        with _told(self._path):
            self._instance.reset()
            self.set(values)
            if self._three:
                self._instance.enterInitializationMode(startTime=0.0)
            else:
                self._instance.setupExperiment(startTime=0.0)
                self._instance.enterInitializationMode()
            self._instance.exitInitializationMode()
            self._instance.enterContinuousTimeMode()

    def set(self, values: dict[str, float]) -> None:
        """Set variables by name."""
        if not values:
            return
        with _told(self._path):
            set_all = self._instance.setFloat64 if self._three else self._instance.setReal
            set_all([self._reference(name) for name in values], list(values.values()))

    def switch(self, name: str, value: bool) -> None:
        """Set a Boolean by name."""
        with _told(self._path):
            self._instance.setBoolean([self._reference(name)], [value])

    def set_states(self, values: dict[str, float]) -> None:
        """Set every continuous state, by name."""
        with _told(self._path):
            column = [values[name] for name in self._states]
            numbers = (ctypes.c_double * len(column))(*column)
            self._instance.setContinuousStates(numbers, len(column))

    def get(self, names: Sequence[str]) -> Array:
        """The values of variables by name."""
        with _told(self._path):
            get_all = self._instance.getFloat64 if self._three else self._instance.getReal
            return np.array(get_all([self._reference(name) for name in names]), dtype=np.float64)

    def jacobian(self, of: Sequence[str], by: Sequence[str]) -> Array:  # (len(of), len(by))
        """∂of/∂by, column by column."""
        rows, columns = [self._reference(name) for name in of], [self._reference(name) for name in by]
        with _told(self._path):
            found = [self._instance.getDirectionalDerivative(rows, [column], [1.0]) for column in columns]
        return np.array(found, dtype=np.float64).reshape(len(by), len(of)).T

    def adjoint(self, of: Sequence[str], by: Sequence[str]) -> Array:  # (len(of), len(by))
        """∂of/∂by, row by row, by adjoint derivatives. Errors: `ValueError` for FMI 2, which has none."""
        rows, columns = [self._reference(name) for name in of], [self._reference(name) for name in by]
        with _told(self._path):
            if not self.has_adjoint:
                raise ValueError("FMI 2 has no adjoint derivatives")
            found = [self._instance.getAdjointDerivative([row], columns, [1.0], len(columns)) for row in rows]
        return np.array(found, dtype=np.float64).reshape(len(of), len(by))

    @property
    def has_adjoint(self) -> bool:
        """Are there adjoint derivatives?"""
        return self._three

    def _reference(self, name: str) -> int:
        if name not in self._references:
            raise ValueError(f"{self._path}: there is no variable {one_line(name, 80)!r} in its modelDescription.xml")
        return int(self._references[name])


@contextmanager
def running(opened: Opened) -> Iterator[Running]:
    """The FMU, unpacked into a folder that goes when the block ends; its sources are compiled where it has no binary for here.

    Errors: `ValueError`, one sentence, where FMPy is not installed, where nothing runs here, and for what FMPy says.
    """
    try:
        from fmpy import instantiate_fmu, read_model_description
    except ImportError as error:
        raise ValueError("running an FMU needs FMPy: pip install 'homeostat[fmu]'") from error
    folder = Path(tempfile.mkdtemp())
    try:
        opened.write_to(folder)
        instance = None
        with _told(opened.path):
            description = read_model_description(str(folder))
            if description.modelExchange is None:
                raise ValueError("it has no Model Exchange")
            library = _library(folder, description)
            instance = instantiate_fmu(
                str(folder), description, "ModelExchange", library_path=str(library), logger=_silent(description)
            )
        try:
            yield Running(description, instance, opened.path)
        finally:
            instance.freeInstance()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _library(folder: Path, description: Any) -> Path:
    """The binary for this platform, else one that is compiled of the sources."""
    from fmpy import platform, platform_tuple, sharedLibraryExtension

    three, name = str(description.fmiVersion).startswith("3."), description.modelExchange.modelIdentifier
    found = folder / "binaries" / (platform_tuple if three else platform) / f"{name}{sharedLibraryExtension}"
    if found.is_file():
        return found
    sources = [
        f for build in description.buildConfigurations[:1] for files in build.sourceFileSets for f in files.sourceFiles
    ]
    inside = [(folder / "sources" / one).resolve() for one in sources]
    if not sources or not all(one.is_file() and one.is_relative_to((folder / "sources").resolve()) for one in inside):
        raise ValueError(f"it has no binary for {platform_tuple} and no sources to make one of")
    if compiler() is None:
        raise ValueError(
            f"it has no binary for {platform_tuple}, and no C compiler was found to make one of its sources"
        )
    found.parent.mkdir(parents=True, exist_ok=True)
    return shared_library(inside, found, include=[folder / "sources"])


def _silent(description: Any) -> Any:
    """FMPy prints what an FMU logs; its errors come as exceptions anyway."""
    return (lambda *_: None) if str(description.fmiVersion).startswith("3.") else None


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What FMPy raises, which is `Exception` itself, as one sentence about the file."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(f"{path}: "):
            raise
        raise ValueError(f"{path}: the FMU cannot be run ({one_line(str(error), 300)})") from error
