"""A steady state that is known without the doses that led to it: the same dose at the same interval, for as long as it takes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from hybrid.schedules.dose import Number, as_float, require_rate
from physics.arguments import quote, require_choice, require_flag, require_number


@dataclass(frozen=True)
class Steady:
    """At `time` everything is where `amount` into `state` every `every`, given for ever, has brought it, just before the next
    one.

    x(time) = x* with x* = Φ(x*), Φ one interval: the dose, at once or over `duration`, and what is left of the interval. The dose
    at `time` itself is none of it: it is a `Dose` of the schedule, where one is given. A value of `time` itself is read of x*,
    the trough, where nothing was given before; where something was, it comes first, as everywhere (`Schedule`), and is read of
    that.
    `kept`: "duration" or "rate", what a model's fraction leaves of an infusion (`Dose.kept`); "always", an infusion as long as
    the interval that never stopped until `time`, which runs at its rate whatever the fraction is: of it there is no amount that a
    part could be of (AMT 0, RATE and SS in tables).
    `added`: x* is added to what is there (which has a meaning for linear models alone) instead of replacing it. What replaces
    ends infusions that run, and what was given before and has yet to arrive does not.
    An infusion as long as the interval runs for ever; a longer one overlaps with itself, and what is left of those that began
    before `time` has to be given too, as doses: `tails` makes them.
    Errors: `ValueError` for an amount that is not positive, an interval or a duration that is none, times that are not finite,
    and "always" of what is not as long as its interval.
    """

    state: str
    time: float
    amount: Number
    every: float
    duration: float = 0.0
    added: bool = False
    kept: Literal["duration", "rate", "always"] = "duration"

    def __post_init__(self) -> None:
        if not isinstance(self.state, str) or not self.state.strip():
            raise ValueError(
                f"a steady state is one of doses into a compartment, by its name, and got {quote(self.state)}; write "
                "Steady('gut', 0.0, 320.0, every=24.0)"
            )
        what = f"steady state of doses into {quote(self.state)}"
        for name in ("time", "every", "duration"):
            value = getattr(self, name)
            if isinstance(value, Tensor) and value.requires_grad:
                raise ValueError(f"{what}: {name} carries no gradient; give a number, float({name})")
        require_number(self.time, f"{what}: time")
        require_number(self.every, f"{what}: every, the interval between doses,", above=0.0)
        require_number(self.duration, f"{what}: duration", least=0.0)
        require_number(self.amount, f"{what}: amount", least=0.0)
        require_flag(self.added, f"{what}: added")
        require_choice(self.kept, ("duration", "rate", "always"), f"{what}: kept")
        require_rate(self.kept, self.duration, what)
        if self.kept == "always" and as_float(self.duration) != as_float(self.every):
            raise ValueError(
                f"{what}: an infusion that never stops runs for all of the interval, and this one runs "
                f"{as_float(self.duration):g} of {as_float(self.every):g}; write duration={as_float(self.every):g}, or "
                "kept='rate'"
            )
        if as_float(self.duration) > 1000.0 * as_float(self.every):
            raise ValueError(
                f"{what}: an infusion over {as_float(self.duration):g} every {as_float(self.every):g} overlaps with more than a "
                "thousand others; correct one of the two"
            )
        for name in ("time", "every", "duration"):
            object.__setattr__(self, name, as_float(getattr(self, name)))

    @property
    def tails(self) -> tuple[tuple[Number, float], ...]:
        """Of the infusions that began before `time` and run on after it: what is left to give, and for how long."""
        found, k = [], 1
        while k * self.every < self.duration * (1.0 - 1e-12):
            left = self.duration - k * self.every
            found.append((self.amount * (left / self.duration), left))
            k += 1
        return tuple(found)


@dataclass(frozen=True)
class Course:
    """One interval of a steady state in at most two stretches: `length` (2,) of each, and the `rate` (2,) at which the dose of
    amount 1 runs in; a dose at once has none, and comes at the beginning.
    """

    length: tuple[float, float]
    rate: tuple[float, float]

    @staticmethod
    def of(steady: Steady) -> "Course":
        """The interval that begins with a dose."""
        if steady.duration == 0.0:
            return Course((steady.every, 0.0), (0.0, 0.0))
        # of an infusion that overlaps with itself some run all the time, and one more for the rest of its duration
        always = int(np.floor(steady.duration / steady.every * (1.0 + 1e-12)))
        rest = max(steady.duration - always * steady.every, 0.0)
        each = 1.0 / steady.duration
        return Course((rest, steady.every - rest), ((always + 1) * each, always * each))
