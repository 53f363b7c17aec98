"""What is done to one person: doses, infusions and input signals, and `do`, the question "what if we did this?"."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hybrid.derivative import mapped, values_of
from physics.arguments import quote, require_choice, require_kind, require_number, require_text

Number = float | Tensor
SAME = 1e-9  # of the longest time: what rounding can part two equal times by, and nobody measures


def as_float(number: Number) -> float:
    """The plain number.

    Errors: `ValueError` for one of a batch of `torch.func.vmap`.
    """
    if not isinstance(number, Tensor):
        return float(number)
    if mapped(number):
        raise ValueError(
            "torch.func.vmap hides when a dose comes, and by that a record is cut; give a schedule with a time of its own for "
            "each (N schedules, no vmap); amounts may be mapped"
        )
    return float(values_of(number))


def numbers(values: object, what: str) -> tuple[float, ...]:
    """A list, tuple, array or tensor of one axis as plain numbers. Errors: `ValueError` that says which is none."""
    try:
        column = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
        if column.ndim == 1 and column.dtype.kind in "fiu":
            return tuple(column.astype(np.float64).tolist())
    except (ValueError, TypeError, RuntimeError):  # a ragged list, or a tensor of no device
        pass
    raise ValueError(f"{what} must be numbers in a list or an array of one axis, got {quote(values)}")


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
        if not isinstance(self.state, str) or not self.state.strip():
            raise ValueError(
                f"a dose goes into a compartment, by its name, and got {quote(self.state)}; write Dose('gut', 0.0, 320.0)"
            )
        for name in ("time", "duration", "lag", "amount"):
            value, least = getattr(self, name), -float("inf") if name == "time" else 0.0
            each: list[object] = [value]
            if isinstance(value, Tensor) and mapped(value):
                # of a batch all amounts are looked at, and there is none of times (`as_float` says why)
                each = [values_of(value).amin(), values_of(value).amax()] if name == "amount" else [as_float(value)]
            for one in each:
                require_number(one, f"dose into {quote(self.state)}: {name}", least=least)

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
        require_number(count, "Dose(…).repeated: count, how many doses in all,", least=1.0, most=1e5, whole=True)
        require_number(interval, "Dose(…).repeated: interval", above=0.0)
        return tuple(replace(self, time=self.time + k * interval) for k in range(int(count)))


@dataclass(frozen=True)
class Signal:
    """A measured input u(t) through the points (times, values), "linear" between them or "held" from each to the next.

    Before the first and after the last point the nearest value holds. Times and values may be lists, arrays or tensors.
    Errors: `ValueError` unless times increase strictly and everything is finite.
    """

    times: tuple[float, ...]
    values: tuple[float, ...]
    kind: Literal["linear", "held"] = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", numbers(self.times, "Signal: times"))
        object.__setattr__(self, "values", numbers(self.values, "Signal: values"))
        if len(self.times) != len(self.values) or not self.times:
            raise ValueError(
                f"Signal: needs as many values as times, at least one; got {len(self.times)} times and {len(self.values)} values"
            )
        for name, column in (("time", self.times), ("value", self.values)):
            lost = [k for k, v in enumerate(column) if not abs(v) < float("inf")]
            if lost:
                raise ValueError(
                    f"Signal: times and values must be finite, and {len(lost)} of {len(column)} {name}s are not, the first at "
                    f"position {lost[0]}; leave those points out, or fill the gap"
                )
        for k, (a, b) in enumerate(itertools.pairwise(self.times)):
            if b <= a:
                raise ValueError(
                    f"Signal: times must increase strictly, and position {k} at {a:g} is followed by {b:g}; sort them and merge "
                    "repeats"
                )
        require_choice(self.kind, ("linear", "held"), "Signal: kind")

    def at(self, time: float, side: Literal["left", "right"] = "right") -> float:
        """u(time); at a jump of a held signal, the value on the asked side."""
        require_number(time, "Signal.at: time")
        return float(self.sample(np.array([float(time)]), side)[0])

    def sample(self, times: np.ndarray, side: Literal["left", "right"] = "right") -> np.ndarray:
        """u at many times (S,), as `at`."""
        require_choice(side, ("left", "right"), "Signal: side")
        times = np.array(numbers(times, "Signal.sample: times"))
        if not np.isfinite(times).all():
            lost = int((~np.isfinite(times)).sum())
            raise ValueError(f"Signal.sample: times must be finite, and {lost} are not; leave them out")
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
        require_number(self.start, "schedule: start, the time at which the record begins,")
        if isinstance(self.doses, str | Mapping | set) or not isinstance(self.doses, Dose | Iterable):
            raise ValueError(f"schedule: doses is a list of doses, and is {quote(self.doses)}; write Schedule() for none")
        doses = (self.doses,) if isinstance(self.doses, Dose) else tuple(self.doses)
        object.__setattr__(self, "doses", doses)
        for dose in doses:
            require_kind(dose, Dose, "schedule: each of doses", 'Schedule((Dose("gut", 0.0, 320.0),))')
        if not isinstance(self.inputs, Mapping) or not all(
            isinstance(name, str) and isinstance(s, Signal) for name, s in self.inputs.items()
        ):
            raise ValueError(
                f"schedule: inputs are signals by name, as {{'glucose': Signal(times, values)}}, got {quote(self.inputs)}"
            )
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
        for what, given in (("doses", doses), ("inputs", inputs)):
            if given is not None and not isinstance(given, Mapping):
                raise ValueError(
                    f"do: {what} go by name, got {quote(given)}; write "
                    'do({"gut": [Dose("gut", 0.0, 320.0)]}), which replaces what goes into the gut, or a text by parse_schedule'
                )
        for state, group in (doses or {}).items():
            if isinstance(group, str) or not isinstance(group, Dose | Iterable):
                raise ValueError(f"do: what goes into {quote(state, 60)} is a list of doses, and is {quote(group)}; write []")
        doses = {state: (group,) if isinstance(group, Dose) else tuple(group) for state, group in (doses or {}).items()}
        for group in doses.values():
            for dose in group:
                require_kind(dose, Dose, "do: each dose", 'do({"gut": [Dose("gut", 0.0, 320.0)]})')
        wrong = [d for state, group in doses.items() for d in group if d.state != state]
        if wrong:
            raise ValueError(f"do: a dose into {wrong[0].state} stands under another compartment's name; move it")
        kept = [d for d in self.doses if d.state not in doses]
        new = sorted([*kept, *(d for group in doses.values() for d in group)], key=lambda d: as_float(d.time))
        return replace(self, doses=tuple(new), inputs={**self.inputs, **(inputs or {})})

    def scaled(self, state: str, factor: float) -> "Schedule":
        """Every dose into `state` times `factor`.

        Errors: `ValueError` for a factor below 0, or where nothing goes into `state`.
        """
        require_number(factor, "scaled: factor", least=0.0)
        self._require_some(state)
        return self.do({state: [replace(d, amount=d.amount * factor) for d in self.into(state)]})

    def split(self, state: str, parts: int, interval: float) -> "Schedule":
        """Every dose into `state` in `parts` equal ones, `interval` apart, the first at the old time."""
        require_number(parts, "split: parts", least=1.0, most=1e5, whole=True)
        require_number(interval, "split: interval", above=0.0)
        self._require_some(state)
        new = [
            replace(d, time=d.time + k * interval, amount=d.amount / parts)
            for d in self.into(state)
            for k in range(int(parts))
        ]
        return self.do({state: new})

    def _require_some(self, state: str) -> None:
        if not self.into(state):
            there = sorted({d.state for d in self.doses})
            raise ValueError(f"no dose goes into {quote(state)}; this schedule's go into {there or 'nothing'}")

    def into(self, state: str) -> list[Dose]:
        """The doses into one compartment."""
        require_text(state, "Schedule.into: state, a compartment,", '"gut"')
        return [d for d in self.doses if d.state == state]


def as_time(number: Number) -> Tensor:
    """A float64 scalar that keeps its gradient, on the CPU, where records are cut."""
    return number.to("cpu", torch.float64) if isinstance(number, Tensor) else torch.tensor(float(number), dtype=torch.float64)
