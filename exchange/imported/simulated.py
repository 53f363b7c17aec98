"""Co-Simulation as a source of records: what an FMU's outputs are at given times, as if someone had been measured."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange.fmu.archive import open_fmu
from exchange.fmu.loading import loaded, told_of
from exchange.imported.described import Described, Variable, described_in
from exchange.imported.settings import Settings, settings_of
from hybrid import Schedule, Signal
from physics.arguments import quote, require_kind, require_number, require_path
from training.people import Record

_MOST_STEPS = 10_000_000
_NOBODY: Mapping[str, Mapping[str, float]] = MappingProxyType({"1": MappingProxyType({})})


def simulated_records(
    path: str | os.PathLike[str],
    times: Sequence[float],  # (T,)
    *,
    people: Mapping[str, Mapping[str, float]] = _NOBODY,
    schedule: Schedule | None = None,
    channels: Sequence[str] | None = None,
    step: float | None = None,
) -> list[Record]:
    """Records of a Co-Simulation FMU, one for each of `people`: its outputs at `times`, without noise.

    THIS RUNS THE CODE THAT THE FMU HOLDS.
    Arguments: `times`, increasing, in the FMU's unit of time, from 0 on · `people`, by id, each the parameters (and starts of
    inputs and states) that it sets, by name, in the FMU's units, and switches, 1 for true · `schedule`: its inputs by name, held
    between their points, and infusions (doses with a duration) into a state that the FMU has an input `infused.<state>` for; a
    bolus, which would be a jump that FMI has no place for, is refused · `channels`, outputs by name (default: all) · `step`
    between communications (default:
    the FMU's own, and without one the longest that meets every time).
    Units are those that the FMU states; what it does not state is left out of the records' units, and `described(path).unknown`
    names it. An FMU's own step decides how near to its equations this is.
    Errors: `ValueError`, one sentence, for an FMU without Co-Simulation, names that are not there, values that are not finite,
    and what it answers with an error.
    """
    require_path(path, "simulated_records: path", "simulated_records('model.fmu', [0.0, 1.0, 2.0])")
    require_kind(people, Mapping, "simulated_records: people", '{"1": {"mu": 2.0}}')
    require_kind(
        schedule,
        (Schedule, type(None)),
        "simulated_records: schedule",
        'Schedule(inputs={"u": Signal((0.0,), (1.0,))})',
    )
    if step is not None:
        require_number(step, "simulated_records: step", above=0.0)
    opened = open_fmu(path)
    about = described_in(opened)
    if "CoSimulation" not in about.kinds:
        raise ValueError(
            f"{about.path}: has no Co-Simulation; take it as a term of a model, imported_term(path, backbone)"
        )
    at = _times(times)
    shown = [
        about.one(name, ("outputs", "states"), "simulated_records: the channel") for name in _named(channels, about)
    ]
    driven = _driven(about, schedule)
    each = {id: _settings(about, id, values) for id, values in people.items()}
    found = list[Record]()
    folder = Path(tempfile.mkdtemp())
    try:
        with told_of(about.path):
            opened.write_to(folder)
        for id, settings in each.items():
            values = _run(folder, about, at, settings, driven, [v.reference for v in shown], step or about.step)
            _require_finite(about, id, at, values, shown)
            units = {v.name: v.unit for v in shown if v.unit is not None}
            units |= {} if about.time_unit is None else {"time": about.time_unit}
            found.append(Record(id, schedule or Schedule(), at, values, tuple(v.name for v in shown), {}, units))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _times(times: Any) -> NDArray[np.float64]:
    try:
        at = np.asarray(times, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"simulated_records: times are numbers, and are {quote(times)}; write [0.0, 1.0, 2.0]"
        ) from error
    if at.ndim != 1 or not len(at) or not np.isfinite(at).all() or at[0] < 0.0 or (np.diff(at) <= 0.0).any():
        raise ValueError(f"simulated_records: times increase from 0 on, and are {quote(times)}; write [0.0, 1.0, 2.0]")
    return at


def _named(channels: object, about: Described) -> list[str]:
    if channels is None:
        if not about.outputs:
            raise ValueError(f"{about.path}: has no outputs; name states to read, channels=(…,)")
        return [v.name for v in about.outputs]
    if isinstance(channels, str) or not isinstance(channels, Sequence) or not channels:
        raise ValueError(f"simulated_records: channels are names of outputs, and are {quote(channels)}; write ('y',)")
    return list(channels)


def _settings(about: Described, id: object, values: object) -> Settings:
    what = f"simulated_records: people: {quote(id, 60)}"
    if not isinstance(id, str):
        raise ValueError(f"{what} is no text; write {{'1': {{…}}}}")
    require_kind(values, Mapping, what, '{"mu": 2.0}')
    assert isinstance(values, Mapping)  # for the type checker: just required
    return settings_of(about, values, ("parameters", "states", "inputs"), f"{what}:")


def _driven(about: Described, schedule: Schedule | None) -> dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """For each driven input its change points and the level from each on."""
    found: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    if schedule is None:
        return found
    schedule.require_unbroken("simulated_records", "an FMU of others knows neither; simulate each stretch as a person of its own")
    for name, signal in schedule.inputs.items():
        one = about.one(name, ("inputs",), "simulated_records: the schedule drives")
        if signal.kind != "held" and len(signal.times) > 1:
            raise ValueError(
                f"simulated_records: the input {quote(name)} is drawn linearly between its points, and Co-Simulation holds "
                'inputs over a step; write Signal(times, values, "held")'
            )
        found[one.reference] = _column(signal)
    rates: dict[str, list[tuple[float, float, float]]] = {}
    for dose in schedule.doses:
        start, length, amount = float(dose.time + dose.lag), float(dose.duration), float(dose.amount)
        if length <= 0.0:
            raise ValueError(
                f"simulated_records: the dose into {quote(dose.state)} at {start:g} is a bolus, a jump that FMI has no place "
                "for; give it a duration, as short as it may be"
            )
        rates.setdefault(dose.state, []).append((start, start + length, amount / length))
    for state, pieces in rates.items():
        one = about.one(
            f"infused.{state}", ("inputs",), f"simulated_records: a dose into {quote(state)} needs an input:"
        )
        at = np.unique([0.0, *itertools.chain.from_iterable(piece[:2] for piece in pieces)])
        levels = np.array([sum(rate for start, end, rate in pieces if start <= t < end) for t in at.tolist()])
        found[one.reference] = (at, levels)
    return found


def _column(signal: Signal) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.asarray(signal.times, dtype=np.float64), np.asarray(signal.values, dtype=np.float64)


def _run(
    folder: Path,
    about: Described,
    at: NDArray[np.float64],  # (T,)
    settings: Settings,
    driven: Mapping[int, tuple[NDArray[np.float64], NDArray[np.float64]]],
    shown: Sequence[int],
    step: float | None,
) -> NDArray[np.float64]:  # (T, p)
    """One person: an instance of its own, from 0 to the last time."""
    changes = [t for times, _ in driven.values() for t in times.tolist() if 0.0 < t < at[-1]]
    ends = np.unique([0.0, *at.tolist(), *changes])
    if step is not None and at[-1] / step > _MOST_STEPS:
        raise ValueError(
            f"{about.path}: {at[-1] / step:.3g} steps of {step:g} up to {at[-1]:g} are too many; give a longer step"
        )
    _require_steps(about, ends, step)
    rows = list[list[float]]()
    with told_of(about.path):
        (_, fmu), three = loaded(folder, about.path, "CoSimulation"), about.version == "3.0"
        put, get = (fmu.setFloat64, fmu.getFloat64) if three else (fmu.setReal, fmu.getReal)
        try:
            stop = float(at[-1])
            fmu.enterInitializationMode(startTime=0.0, stopTime=stop) if three else fmu.setupExperiment(
                startTime=0.0, stopTime=stop
            )
            settings.put(fmu, three=three)
            _set(put, _levels(driven, 0.0))
            if not three:
                fmu.enterInitializationMode()
            fmu.exitInitializationMode()
            rows += [get(shown)] if at[0] == 0.0 else []
            for start, end in itertools.pairwise(ends.tolist()):
                pieces = 1 if step is None else max(1, round((end - start) / step + 0.499999))
                points = np.linspace(start, end, pieces + 1).tolist()
                _set(put, _levels(driven, start))
                for t, later in itertools.pairwise(points):
                    answer = fmu.doStep(currentCommunicationPoint=t, communicationStepSize=later - t)
                    if three and answer[1]:
                        raise ValueError(f"{about.path}: the FMU ends its simulation at {t:g}")
                rows += [get(shown)] if end in at else []
            fmu.terminate()
        finally:
            fmu.freeInstance()
    return np.array(rows, dtype=np.float64)


def _require_steps(about: Described, ends: NDArray[np.float64], step: float | None) -> None:
    """Raise `ValueError` where an FMU takes one step alone, and what is asked for does not lie on it."""
    if about.any_step:
        return
    if step is None:
        raise ValueError(f"{about.path}: cannot be stepped as one likes, and does not say by how much; give it, step=…")
    off = ends[np.abs(ends / step - np.round(ends / step)) > 1e-9]
    if len(off):
        raise ValueError(
            f"{about.path}: is stepped by {step:g} alone, and {off[0]:g} is no multiple of it; give times that are"
        )


def _set(put: Any, values: Mapping[int, float]) -> None:
    if values:
        put(list(values), list(values.values()))


def _levels(driven: Mapping[int, tuple[NDArray[np.float64], NDArray[np.float64]]], time: float) -> dict[int, float]:
    return {
        one: float(values[max(0, int(np.searchsorted(times, time, "right")) - 1)])
        for one, (times, values) in driven.items()
    }


def _require_finite(about: Described, id: str, at: Any, values: Any, shown: Sequence[Variable]) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        k, j = bad[0]
        raise ValueError(
            f"{about.path}: {shown[j].name} of {quote(id)} is {values[k, j]} at {at[k]:g}; what is set lets the FMU run away, "
            "or its step is too long: set other values, or step=…"
        )
