"""A Model Exchange FMU that stays open: rates and slopes of its states at any point. Opening it runs the code that it holds."""

import ctypes
import shutil
import tempfile
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange.fmu.archive import open_fmu
from exchange.fmu.loading import loaded, told_of
from exchange.imported.described import described_in
from exchange.imported.settings import Settings, settings_of

Array = NDArray[np.float64]
_ROUNDS = 100  # of discrete states before they rest
_CUBE = float(np.finfo(np.float64).eps) ** (
    1.0 / 3.0
)  # the step of a central difference, of the size of what it is taken of


class Instance:
    """The right-hand side of an FMU: f(x, u) with its parameters held, and its slopes.

    `described`: what it says of itself · `parameters` by name, in the FMU's units. It is opened once, one call at a time enters
    it, and it closes when nobody holds it any more. A copy is the same instance.
    Errors: `ValueError`, one sentence that names the file, for an FMU without Model Exchange or without states, one that changes
    at events or with time (its rate is not a function of x and u alone), one without a binary for this platform, and for what it
    answers with an error.
    """

    def __init__(self, path: Path, parameters: Mapping[str, float]) -> None:
        opened = open_fmu(path)
        self.described, self.parameters = described_in(opened), dict(parameters)
        self._require_continuous()
        given = settings_of(self.described, self.parameters, ("parameters",), f"{path}:")
        self._lock = threading.Lock()
        folder = Path(tempfile.mkdtemp())
        try:
            with told_of(path):
                opened.write_to(folder)
                _, self._fmu = loaded(folder, path, "ModelExchange")
                self._three = self.described.version == "3.0"
                self._begin(given)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(self, _closed, self._fmu, folder)
        self._n, self._m = len(self.described.states), len(self.described.inputs)
        self._x, self._dx = (ctypes.c_double * self._n)(), (ctypes.c_double * self._n)()
        self._references = [v.reference for v in self.described.inputs]
        self._knowns = [*(v.reference for v in self.described.states), *self._references]
        self._sizes = [abs(v.nominal or 1.0) for v in (*self.described.states, *self.described.inputs)]
        self._require_no_clock()

    def __deepcopy__(self, memo: object) -> "Instance":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Instance, (self.described.path, self.parameters)

    @property
    def slopes_by(self) -> str:
        """How `slopes` are found."""
        return "directional derivatives" if self.described.directional else "central differences"

    def start(self) -> tuple[Array, Array]:
        """x (n,) and u (m,) as the FMU starts."""
        return self._x0.copy(), self._u0.copy()

    def rate(
        self,
        x: Array,  # (n,)
        u: Array,  # (m,)
    ) -> Array:  # (n,)
        """dx/dt, in the FMU's units."""
        with self._lock, told_of(self.described.path):
            return self._rate(x, u)

    def slopes(
        self,
        x: Array,  # (n,)
        u: Array,  # (m,)
    ) -> Array:  # (n, n + m)
        """∂(dx/dt)/∂(x, u): exact where the FMU gives directional derivatives, else central differences, good to some 1e-9 of the
        sizes that enter.
        """
        with self._lock, told_of(self.described.path):
            columns = list[Any]()
            if self.described.directional:
                self._rate(x, u)
                rates = list(self.described.derivatives)
                columns = [self._fmu.getDirectionalDerivative(rates, [known], [1.0]) for known in self._knowns]
            else:
                at = np.concatenate([x, u])
                for k, size in enumerate(self._sizes):
                    high, low = at.copy(), at.copy()
                    step = _CUBE * max(abs(at[k]), size)
                    high[k], low[k] = at[k] + step, at[k] - step
                    both = [self._rate(one[: self._n], one[self._n :]) for one in (high, low)]
                    columns.append((both[0] - both[1]) / (high[k] - low[k]))
            return np.array(columns, dtype=np.float64).reshape(self._n + self._m, self._n).T

    def _rate(self, x: Array, u: Array) -> Array:
        self._x[:] = x.tolist()
        if self._m:
            (self._fmu.setFloat64 if self._three else self._fmu.setReal)(self._references, u.tolist())
        self._fmu.setContinuousStates(self._x, self._n)
        (self._fmu.getContinuousStateDerivatives if self._three else self._fmu.getDerivatives)(self._dx, self._n)
        return np.array(self._dx, dtype=np.float64)

    def _begin(self, parameters: Settings) -> None:
        """From instantiated to continuous time, as the standard has it: initialised, then its discrete states until they rest."""
        fmu, path = self._fmu, self.described.path
        if not self._three:
            fmu.setupExperiment(startTime=0.0)
        parameters.put(fmu, three=self._three)
        fmu.enterInitializationMode() if not self._three else fmu.enterInitializationMode(startTime=0.0)
        fmu.exitInitializationMode()
        for _ in range(_ROUNDS):
            more, ends, _, _, timed, _ = (fmu.updateDiscreteStates if self._three else fmu.newDiscreteStates)()
            if ends:
                raise ValueError(f"{path}: the FMU ends its simulation as it begins")
            if timed:
                raise ValueError(
                    f"{path}: the FMU has an event at a time of its own, which a term of dx/dt cannot follow"
                )
            if not more:
                break
        else:
            raise ValueError(f"{path}: its discrete states do not come to rest in {_ROUNDS} rounds")
        fmu.enterContinuousTimeMode()
        count = len(self.described.states)
        found = (ctypes.c_double * count)()
        fmu.getContinuousStates(found, count)
        self._x0 = np.array(found, dtype=np.float64)
        references = [v.reference for v in self.described.inputs]
        self._u0 = np.array(
            (fmu.getFloat64 if self._three else fmu.getReal)(references) if references else [], dtype=np.float64
        )

    def _require_continuous(self) -> None:
        one = self.described
        if "ModelExchange" not in one.kinds:
            raise ValueError(
                f"{one.path}: has no Model Exchange, so its states are its own; take records, simulated_records(path, times)"
            )
        if not one.states:
            raise ValueError(f"{one.path}: has no continuous state, so there is no dx/dt to take of it")
        if one.event_indicators:
            raise ValueError(
                f"{one.path}: has {one.event_indicators} event indicators: its rate switches where one changes its sign, which a "
                "term of dx/dt does not follow; take records of it, simulated_records(path, times)"
            )

    def _require_no_clock(self) -> None:
        """The rate a little later is the rate now: what reads the time is no function of x and u."""
        now = self.rate(self._x0, self._u0)
        with self._lock, told_of(self.described.path):
            self._fmu.setTime(1.2345)
            later = self._rate(self._x0, self._u0)
            self._fmu.setTime(0.0)
        if not np.array_equal(now, later, equal_nan=True):
            raise ValueError(
                f"{self.described.path}: its rate reads the time, and a term of dx/dt is a function of states and inputs; "
                "make what it reads an input of the FMU"
            )


def _closed(fmu: Any, folder: Path) -> None:
    try:
        fmu.terminate()
        fmu.freeInstance()
    except Exception:  # on the way out there is nobody to tell
        pass
    shutil.rmtree(folder, ignore_errors=True)
