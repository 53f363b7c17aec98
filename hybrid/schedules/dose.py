"""A dose: an amount that arrives in a compartment at once, or at a constant rate."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from hybrid.derivative import mapped, values_of
from physics.arguments import quote, require_choice, require_number

Number = float | Tensor

SAME = 1e-9  # of the longest time: what rounding can part two equal times by, and nobody measures


def slack(*times: float) -> float:
    """How far apart two of these times may be and be the same: `SAME` of the longest."""
    return SAME * max(map(abs, times))


def next_after(times: Sequence[float], time: float) -> float:
    """The first of these ascending times that is later, +∞ for none; of `Schedule.anew`: when what is given then is forgotten."""
    k = bisect_right(times, time)
    return times[k] if k < len(times) else math.inf


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


def as_time(number: Number) -> Tensor:
    """A float64 scalar that keeps its gradient, on the CPU, where records are cut."""
    return number.to("cpu", torch.float64) if isinstance(number, Tensor) else torch.tensor(float(number), dtype=torch.float64)


@dataclass(frozen=True)
class Dose:
    """`amount` (state unit) into compartment `state` at `time` + `lag`: at once, or at a constant rate over `duration`.

    All four numbers may be tensors that need a gradient. At a time that is also an observation's, the observation comes
    first. The lag is the time between giving and arriving: a tablet that has to dissolve.
    `modelled`: "rate" or "duration" of a dose that runs in at a rate, or for a time, that is a parameter of the model
    (`physics.Administered`; RATE −1 and −2 in tables) and that its own `duration` leaves out.
    `kept`, where a model's fraction F changes how much of an infusion arrives: "duration", it lasts as long as was said and runs
    at F·amount/duration; "rate", it was the rate amount/duration that was said (RATE in tables), and it lasts F·duration. Without
    a fraction both are one. "cut" is what `Schedule` makes of a part of an infusion whose rate was said: a model with a fraction
    there refuses it.
    Errors: `ValueError` for a duration beside `modelled`, a rate kept of a dose without a duration, a negative or non-finite
    amount, duration or lag, and a time that is not finite.
    """

    state: str
    time: Number
    amount: Number
    duration: Number = 0.0
    lag: Number = 0.0
    modelled: Literal["", "rate", "duration"] = ""
    kept: Literal["duration", "rate", "cut"] = "duration"

    def __post_init__(self) -> None:
        if not isinstance(self.state, str) or not self.state.strip():
            raise ValueError(
                f"a dose goes into a compartment, by its name, and got {quote(self.state)}; write Dose('gut', 0.0, 320.0)"
            )
        require_choice(self.modelled, ("", "rate", "duration"), f"dose into {quote(self.state)}: modelled")
        require_choice(self.kept, ("duration", "rate", "cut"), f"dose into {quote(self.state)}: kept")
        for name in ("time", "duration", "lag", "amount"):
            value, least = getattr(self, name), -float("inf") if name == "time" else 0.0
            each: list[object] = [value]
            if isinstance(value, Tensor) and mapped(value):
                # of a batch all amounts are looked at, and there is none of times (`as_float` says why)
                each = [values_of(value).amin(), values_of(value).amax()] if name == "amount" else [as_float(value)]
            for one in each:
                require_number(one, f"dose into {quote(self.state)}: {name}", least=least)

        if self.modelled and as_float(self.duration) != 0.0:
            raise ValueError(
                f"dose into {quote(self.state)}: its {self.modelled} is the model's, and it has a duration of "
                f"{as_float(self.duration):g}; leave one of the two out"
            )
        require_rate(self.kept, self.duration, f"dose into {quote(self.state)}")

    @property
    def bolus(self) -> bool:
        """Does all of it arrive at once, as far as the dose says?"""
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


def require_rate(kept: str, duration: Number, where: str) -> None:
    """Raise `ValueError`, beginning with `where`, where a rate is kept of what has none."""
    if kept != "duration" and as_float(duration) == 0.0:
        raise ValueError(f"{where}: its rate is kept and it has none, all of it arrives at once; give a duration, amount/rate")


def part_of(dose: Dose, amount: Number, duration: Number) -> Dose:
    """A part of an infusion. How long all of it lasts is no longer known where its rate was said and a model has a fraction."""
    return replace(dose, amount=amount, duration=duration, kept="duration" if dose.kept == "duration" else "cut")


def no_earlier(dose: Dose, time: float) -> Dose:
    """The same dose, at `time` where it is earlier: for one whose time is the same but for rounding."""
    if as_float(dose.time) >= time:
        return dose
    own = dose.time
    return replace(dose, time=time + (as_time(own) - as_time(own).detach()) if isinstance(own, Tensor) else time)
