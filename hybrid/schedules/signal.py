"""A measured input through its points."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from torch import Tensor

from hybrid.many_rows import Rows
from hybrid.schedules.columns import column
from physics.arguments import require_choice, require_kind, require_number
from physics.glance import Summary, glance

Side: TypeAlias = Literal["left", "right"]
Column: TypeAlias = Sequence[float] | np.ndarray | Tensor


def _summary(signal: Any) -> Summary:
    times, values = signal.times, signal.values
    return f"Signal: points {len(times)}, {signal.kind}", [
        ("times", f"{times[0]:g} to {times[-1]:g}"),
        ("values", f"{min(values):.4g} to {max(values):.4g}, first {values[0]:.4g}"),
    ]


@dataclass(frozen=True)
class Signal:
    """A measured input u(t) through the points (times, values), "linear" between them or "held" from each to the next.

    Before the first and after the last point the nearest value holds. Times and values may be lists, arrays, tensors or columns
    of a table; they are kept as numbers, whatever they came as.
    Errors: `ValueError` unless times increase strictly and everything is finite.
    """

    times: tuple[float, ...]
    values: tuple[float, ...]
    kind: Literal["linear", "held"] = "linear"

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        times, values = column(self.times, "Signal: times"), column(self.values, "Signal: values")
        if len(times) != len(values) or not len(times):
            raise ValueError(
                f"Signal: needs as many values as times, at least one; got {len(times)} times and {len(values)} values"
            )
        for name, points in (("time", times), ("value", values)):
            lost = np.flatnonzero(~np.isfinite(points))
            if len(lost):
                raise ValueError(
                    f"Signal: times and values must be finite, and {len(lost)} of {len(points)} {name}s are not, the first at "
                    f"position {lost[0]}; leave those points out, or fill the gap"
                )
        wrong = np.flatnonzero(np.diff(times) <= 0)
        if len(wrong):
            k = wrong[0]
            raise ValueError(
                f"Signal: times must increase strictly, and position {k} at {times[k]:g} is followed by {times[k + 1]:g}; sort "
                "them and merge repeats"
            )
        require_choice(self.kind, ("linear", "held"), "Signal: kind")
        object.__setattr__(self, "times", tuple(times.tolist()))
        object.__setattr__(self, "values", tuple(values.tolist()))

    @cached_property
    def points(self) -> np.ndarray:  # (2, S)
        """The times and the values as arrays, to be read alone."""
        found = np.array([self.times, self.values], dtype=np.float64)
        found.flags.writeable = False
        return found

    def at(self, time: float, side: Side = "right") -> float:
        """u(time); at a jump of a held signal, the value on the asked side."""
        require_number(time, "Signal.at: time")
        return float(self.sample(np.array([float(time)]), side)[0])

    def sample(self, times: Column, side: Side = "right") -> np.ndarray:  # (S,)
        """u at many times (S,), as `at`."""
        require_choice(side, ("left", "right"), "Signal: side")
        asked = column(times, "Signal.sample: times")
        if not np.isfinite(asked).all():
            lost = int((~np.isfinite(asked)).sum())
            raise ValueError(f"Signal.sample: times must be finite, and {lost} are not; leave them out")
        return sampled([self], asked, np.zeros(len(asked), dtype=np.int64), side)

    def since(self, time: float) -> "Signal":
        """The same from `time` on: its value there, and the later points."""
        require_number(time, "Signal.since: time")
        own, values = self.points
        later = own > float(time)
        return replace(self, times=(float(time), *own[later].tolist()), values=(self.at(time), *values[later].tolist()))

    def followed(self, later: "Signal", time: float) -> "Signal":
        """This signal before `time`, and `later` from there on.

        Two held signals make a held one. Anything else makes a linear one, and where it steps, at `time` and at each step of a
        held one, the step takes the time between two neighbouring numbers.
        """
        require_kind(later, Signal, "Signal.followed: later", "Signal(times, values)")
        require_number(time, "Signal.followed: time")
        after, end = later.since(time), float(np.nextafter(float(time), -np.inf))
        first = self if self.kind == after.kind == "held" else _drawn(self)
        then = after if self.kind == after.kind == "held" else _drawn(after)
        x, y = first.points
        kept = x < end
        # the last point of the past is its value at the last number before `time`
        return Signal(
            times=(*x[kept].tolist(), end, *then.times),
            values=(*y[kept].tolist(), self.at(end), *then.values),
            kind=then.kind,
        )


def _drawn(signal: Signal) -> Signal:
    """A held signal as a linear one, each step between two neighbouring numbers."""
    if signal.kind == "linear":
        return signal
    times, values = signal.points
    before = np.nextafter(times[1:], -np.inf)
    wide = before > times[:-1]  # points that are neighbours already are joined by their step
    x = np.concatenate([times, before[wide]])
    y = np.concatenate([values, values[:-1][wide]])
    order = np.argsort(x, kind="stable")
    return Signal(tuple(x[order].tolist()), tuple(y[order].tolist()))


def sampled(
    signals: Sequence[Signal],
    times: np.ndarray,  # (Q,)
    which: np.ndarray,  # (Q,) the signal that each time is asked of
    side: Side,
) -> np.ndarray:  # (Q,)
    """u of many signals, each at times of its own."""
    different = {id(s): s for s in signals}
    number = {key: k for k, key in enumerate(different)}
    row = np.array([number[id(s)] for s in signals], dtype=np.int64)[which] if len(different) > 1 else np.zeros_like(which)
    points = [s.points for s in different.values()]
    rows = Rows(np.array([p.shape[1] for p in points]))
    x, y = points[0] if len(points) == 1 else np.concatenate(points, 1)
    held = np.array([s.kind == "held" for s in different.values()])[row]
    last = rows.begin[row] + rows.count[row] - 1
    found = rows.search(x, times, row, "right")
    if side == "left" and held.any():
        found = np.where(held, rows.search(x, times, row, "left"), found)
    here = np.maximum(rows.begin[row] + found - 1, rows.begin[row])  # the point before, or the first
    value = y[here]
    # on a straight line between two points, where neither end is meant
    between = np.flatnonzero(~held & (found > 0) & (here < last) & (x[here] != times))
    at = here[between]
    value[between] = (y[at + 1] - y[at]) / (x[at + 1] - x[at]) * (times[between] - x[at]) + y[at]
    return value
