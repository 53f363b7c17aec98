"""What is done to one person: doses, infusions and input signals, and `do`, the question "what if we did this?"."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Number = float | Tensor


def as_float(number: Number) -> float:
    """The plain number."""
    return float(number.detach()) if isinstance(number, Tensor) else float(number)


@dataclass(frozen=True)
class Dose:
    """`amount` (state unit) into compartment `state` at `time` + `lag`: at once, or at a constant rate over `duration`.

    All four numbers may be tensors that need a gradient. At a time that is also an observation's, the observation comes
    first. The lag is the time between giving and arriving: a tablet that has to dissolve.
    Errors: `ValueError` for a negative or non-finite amount, duration or lag, or a time that is not finite.
    """

    state: str
    time: Number
    amount: Number
    duration: Number = 0.0
    lag: Number = 0.0

    def __post_init__(self) -> None:
        time, amount = as_float(self.time), as_float(self.amount)
        duration, lag = as_float(self.duration), as_float(self.lag)
        if not (0.0 <= amount < float("inf")):
            raise ValueError(f"dose into {self.state} at {time:g}: amount {amount:g} must be finite and not negative")
        if not (abs(time) < float("inf") and 0.0 <= duration < float("inf") and 0.0 <= lag < float("inf")):
            raise ValueError(
                f"dose into {self.state}: time {time:g} must be finite, duration {duration:g} not negative and lag {lag:g} not "
                "negative"
            )

    @property
    def bolus(self) -> bool:
        """Does all of it arrive at once?"""
        return as_float(self.duration) == 0.0

    @property
    def arrival(self) -> Number:
        """When it begins to arrive."""
        return self.time if not isinstance(self.lag, Tensor) and self.lag == 0.0 else self.time + self.lag

    def repeated(self, count: int, interval: float) -> tuple["Dose", ...]:
        """The same dose `count` times in all, `interval` apart.

        Errors: `ValueError` unless count ≥ 1 and interval > 0.
        """
        if count < 1 or not 0.0 < interval < float("inf"):
            raise ValueError(
                f"a dose is repeated 1 or more times at a positive interval, got {count} and {interval:g}; write "
                "Dose(...).repeated(count, interval)"
            )
        return tuple(replace(self, time=self.time + k * interval) for k in range(count))


@dataclass(frozen=True)
class Signal:
    """A measured input u(t) through the points (times, values), "linear" between them or "held" from each to the next.

    Before the first and after the last point the nearest value holds.
    Errors: `ValueError` unless times increase strictly and everything is finite.
    """

    times: tuple[float, ...]
    values: tuple[float, ...]
    kind: Literal["linear", "held"] = "linear"

    def __post_init__(self) -> None:
        if len(self.times) != len(self.values) or not self.times:
            raise ValueError(f"Signal: needs as many values as times, at least one; got {self.times} and {self.values}")
        if not all(abs(v) < float("inf") for v in (*self.times, *self.values)):
            raise ValueError(f"Signal: times and values must be finite, got {self.times} and {self.values}")
        if any(b <= a for a, b in itertools.pairwise(self.times)):
            raise ValueError(f"Signal: times must increase strictly, got {self.times}; sort them and merge repeats")
        if self.kind not in ("linear", "held"):
            raise ValueError(f"Signal: kind is 'linear' or 'held', got {self.kind!r}")

    def at(self, time: float, side: Literal["left", "right"] = "right") -> float:
        """u(time); at a jump of a held signal, the value on the asked side."""
        return float(self.sample(np.array([time]), side)[0])

    def sample(self, times: np.ndarray, side: Literal["left", "right"] = "right") -> np.ndarray:
        """u at many times (S,), as `at`."""
        if self.kind == "linear":
            return np.interp(times, self.times, self.values)
        last = np.searchsorted(self.times, times, side=side) - 1
        return np.asarray(self.values, dtype=np.float64)[np.maximum(last, 0)]


@dataclass(frozen=True)
class Schedule:
    """Everything done to one person: `doses`, `inputs` by name, and `start`, the time at which the record begins.

    Law: `do` keeps everything that it does not name; cutting an infusion in two changes nothing.
    """

    doses: tuple[Dose, ...] = ()
    inputs: Mapping[str, Signal] = field(default_factory=dict)
    start: float = 0.0

    def __post_init__(self) -> None:
        if not abs(self.start) < float("inf"):
            raise ValueError(f"schedule: start {self.start:g} must be finite; give the time at which the record begins")
        early = [d for d in self.doses if as_float(d.time) < self.start]
        if early:
            raise ValueError(
                f"schedule starts at {self.start:g} and a dose into {early[0].state} is at {as_float(early[0].time):g}; "
                "start the record earlier or leave the dose out"
            )

    def do(
        self,
        doses: Mapping[str, Sequence[Dose]] | None = None,
        inputs: Mapping[str, Signal] | None = None,
    ) -> "Schedule":
        """A new schedule in which the doses of the named compartments, and the named inputs, are replaced by these."""
        doses = doses or {}
        wrong = [d for state, group in doses.items() for d in group if d.state != state]
        if wrong:
            raise ValueError(f"do: a dose into {wrong[0].state} stands under another compartment's name; move it")
        kept = [d for d in self.doses if d.state not in doses]
        new = sorted([*kept, *(d for group in doses.values() for d in group)], key=lambda d: as_float(d.time))
        return replace(self, doses=tuple(new), inputs={**self.inputs, **(inputs or {})})

    def scaled(self, state: str, factor: float) -> "Schedule":
        """Every dose into `state` times `factor`."""
        return self.do({state: [replace(d, amount=d.amount * factor) for d in self.into(state)]})

    def split(self, state: str, parts: int, interval: float) -> "Schedule":
        """Every dose into `state` in `parts` equal ones, `interval` apart, the first at the old time."""
        if parts < 1 or not interval > 0:
            raise ValueError(f"split: needs parts ≥ 1 and a positive interval, got {parts} and {interval}")
        new = [
            replace(d, time=d.time + k * interval, amount=d.amount / parts)
            for d in self.into(state)
            for k in range(parts)
        ]
        return self.do({state: new})

    def into(self, state: str) -> list[Dose]:
        """The doses into one compartment."""
        return [d for d in self.doses if d.state == state]


def as_time(number: Number) -> Tensor:
    """A float64 scalar that keeps its gradient, on the CPU, where records are cut."""
    return number.to("cpu", torch.float64) if isinstance(number, Tensor) else torch.tensor(float(number), dtype=torch.float64)
