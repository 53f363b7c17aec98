"""Microseconds of UTC as the model's unit of time: whole numbers, until a length is handed to the model."""

from dataclasses import dataclass
from fractions import Fraction

from physics.units import factor

Microseconds = int

NEVER: Microseconds = -(2**62)  # before any time that an event can have


@dataclass(frozen=True)
class Clock:
    """How many microseconds a unit of the model's time is, exactly: `per`.

    A length of time is the difference of two whole numbers, and is rounded once, where it becomes a float64 in the model's
    unit; so two times are equal exactly if their microseconds are.
    """

    unit: str
    per: Fraction

    @staticmethod
    def of(unit: str) -> "Clock":
        """The clock of a model whose time is in this UCUM unit. Errors: `ValueError` for one that is no time."""
        return Clock(unit, factor(unit, "us", "Twin: the model's unit of time"))

    def length(self, time: Microseconds) -> float:
        """µs in the model's unit, the nearest float64."""
        return time * self.per.denominator / self.per.numerator

    def microseconds(self, length: float) -> Microseconds:
        """A length in the model's unit as whole µs, the nearest."""
        return round(Fraction(length) * self.per)
