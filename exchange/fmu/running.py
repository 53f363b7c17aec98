"""An FMU of ours that runs in this process: its variables by name, and its slopes."""

import ctypes
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange.files.names import one_line
from exchange.fmu.archive import Opened
from exchange.fmu.loading import loaded, require_fmpy, told_of

Array = NDArray[np.float64]


class Running:
    """A Model Exchange instance: variables by name, and derivatives; what FMPy raises comes as a `ValueError`."""

    def __init__(self, description: Any, instance: Any, path: Path, folder: Path) -> None:
        self._instance, self._path, self._folder = instance, path, folder
        self._three = str(description.fmiVersion).startswith("3.")
        self._references = {v.name: v.valueReference for v in description.modelVariables}
        self._states = [v.variable.derivative.name for v in description.derivatives]

    def start(self, values: dict[str, float]) -> None:
        """Begin anew with these start values and parameters, up to where states may be set."""
        with told_of(self._path):
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
        with told_of(self._path):
            set_all = self._instance.setFloat64 if self._three else self._instance.setReal
            set_all([self._reference(name) for name in values], list(values.values()))

    def switch(self, name: str, value: bool) -> None:
        """Set a Boolean by name."""
        with told_of(self._path):
            self._instance.setBoolean([self._reference(name)], [value])

    def at(self, time: float) -> None:
        """Set the time."""
        with told_of(self._path):
            self._instance.setTime(time)

    def stepped(self, values: dict[str, float], step: float, names: Sequence[str]) -> Array:
        """Variables after one step of co-simulation from time 0, begun anew with these values, states among them."""
        with told_of(self._path):
            description, instance = loaded(self._folder, self._path, "CoSimulation", ours=True)
            try:
                other = Running(description, instance, self._path, self._folder)
                other.set(values)
                if self._three:
                    instance.enterInitializationMode(startTime=0.0)
                else:
                    instance.setupExperiment(startTime=0.0)
                    instance.enterInitializationMode()
                instance.exitInitializationMode()
                instance.doStep(0.0, step)
                return other.get(names)
            finally:
                instance.freeInstance()

    def set_states(self, values: dict[str, float]) -> None:
        """Set every continuous state, by name."""
        with told_of(self._path):
            column = [values[name] for name in self._states]
            numbers = (ctypes.c_double * len(column))(*column)
            self._instance.setContinuousStates(numbers, len(column))

    def get(self, names: Sequence[str]) -> Array:
        """The values of variables by name."""
        with told_of(self._path):
            get_all = self._instance.getFloat64 if self._three else self._instance.getReal
            return np.array(get_all([self._reference(name) for name in names]), dtype=np.float64)

    def jacobian(self, of: Sequence[str], by: Sequence[str]) -> Array:  # (len(of), len(by))
        """∂of/∂by, column by column."""
        rows, columns = [self._reference(name) for name in of], [self._reference(name) for name in by]
        with told_of(self._path):
            found = [self._instance.getDirectionalDerivative(rows, [column], [1.0]) for column in columns]
        return np.array(found, dtype=np.float64).reshape(len(by), len(of)).T

    def adjoint(self, of: Sequence[str], by: Sequence[str]) -> Array:  # (len(of), len(by))
        """∂of/∂by, row by row, by adjoint derivatives. Errors: `ValueError` for FMI 2, which has none."""
        rows, columns = [self._reference(name) for name in of], [self._reference(name) for name in by]
        with told_of(self._path):
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
    require_fmpy(opened.path)
    folder = Path(tempfile.mkdtemp())
    try:
        opened.write_to(folder)
        with told_of(opened.path):
            description, instance = loaded(folder, opened.path, "ModelExchange", ours=True)
        try:
            yield Running(description, instance, opened.path, folder)
        finally:
            instance.freeInstance()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
