"""One schedule and one list of times for each person, looked at before they are cut."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from hybrid.schedules.columns import column
from hybrid.schedules.schedule import Schedule
from physics.arguments import quote, require_kind


def require_rows(schedules: Any, times: Any, name: str) -> tuple[list[Schedule], list[np.ndarray]]:
    """One schedule and one list of times for each person.

    Errors: `ValueError`, beginning with `name`, for what is not that.
    """
    if isinstance(schedules, Schedule | str | Mapping) or not isinstance(schedules, Iterable):
        raise ValueError(
            f"{name}: schedules is a list, one for each person, and is {quote(schedules)}; write [schedule] even for one"
        )
    schedules = list(schedules)
    for schedule in schedules if set(map(type, schedules)) != {Schedule} else ():
        require_kind(schedule, Schedule, f"{name}: each schedule", 'Schedule((Dose("gut", 0.0, 320.0),))')
    if isinstance(times, Tensor) and times.ndim == 2 and len(times) == len(schedules):
        times = times.detach().cpu().numpy()
    rows = [] if isinstance(times, str | bytes | Mapping | set) or not isinstance(times, Collection) else list(times)
    if len(rows) != len(schedules) or not rows:
        raise ValueError(
            f"{name}: {len(schedules)} schedules need as many lists of times, at least one; got {len(rows)} in {quote(times)}"
        )
    return schedules, [_row(row, name) for row in rows]


def _row(row: Any, name: str) -> np.ndarray:  # (T,)
    if type(row) is not np.ndarray or row.ndim == 0:
        if isinstance(row, str | Mapping | set) or not isinstance(row, Iterable) or getattr(row, "ndim", 1) == 0:
            raise ValueError(
                f"{name}: each person has a list of times, even of one, and got {quote(row)}; write [[1.0, 6.0], [2.0]]"
            )
        row = row if hasattr(row, "ndim") else list(row)
    elif row.ndim == 1 and row.dtype == np.float64:
        return row
    return column(row, f"{name}: times")


def require_cuttable(
    schedules: Sequence[Schedule],
    times: Sequence[np.ndarray],  # N × (T_i,)
    states: tuple[str, ...],
    inputs: tuple[str, ...],
) -> None:
    """Raise the `ValueError` of the first record that cannot be cut, with its number where there are several."""
    if len(schedules) == 1:
        return _require(schedules[0], times[0], states, inputs)
    there, driving = set(states), set(inputs)
    early = [len(t) == 0 or not t[0] >= s.start for s, t in zip(schedules, times, strict=True)]
    flat = np.concatenate(times)
    begins = np.cumsum([0, *map(len, times)])[1:-1]
    falls = np.diff(flat) < 0
    falls[begins[(begins > 0) & (begins < len(flat))] - 1] = False  # from one person to the next
    if (
        not any(early)
        and bool(np.isfinite(flat).all())
        and not falls.any()
        and all(s.inputs.keys() == driving for s in schedules)
        and all(s.compartments <= there for s in schedules)
    ):
        return
    for i, (schedule, when) in enumerate(zip(schedules, times, strict=True)):
        try:
            _require(schedule, when, states, inputs)
        except ValueError as error:
            raise ValueError(of_record(i, len(schedules), error)) from error


def of_record(index: int, people: int, error: Exception) -> str:
    """What is wrong, with the number of the record where there are several."""
    return f"record {index}: {error}" if people > 1 else str(error)


def _require(schedule: Schedule, when: np.ndarray, states: tuple[str, ...], inputs: tuple[str, ...]) -> None:
    unknown = schedule.compartments - set(states)
    if unknown:
        raise ValueError(f"a dose goes into {quote(sorted(unknown))}; the compartments are {list(states)}")
    if schedule.inputs.keys() != set(inputs):
        raise ValueError(
            f"the schedule sets the inputs {quote(sorted(schedule.inputs))} and the model has {list(inputs)}; give one Signal "
            "for each of the model's and no other"
        )
    if when.size == 0 or not np.isfinite(when).all() or (np.diff(when) < 0).any():
        wrong = np.flatnonzero(~np.isfinite(when)) if when.size else when
        if not wrong.size and when.size:
            wrong = np.flatnonzero(np.diff(when) < 0) + 1
        where = f"{when[wrong[0]]:g} at position {wrong[0]} of {len(when)}" if wrong.size else "none"
        raise ValueError(f"observation times must be sorted, finite and at least one; got {where}; sort them")
    if when[0] < schedule.start:
        raise ValueError(f"the first observation is at {when[0]:g}, before the record starts at {schedule.start:g}")
