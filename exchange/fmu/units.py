"""UCUM codes as FMI's unit definitions: a code is the unit's name, and its factor to SI stands beside it where it has one.

FMI knows kg, m, s, A, K, mol, cd and rad. What UCUM counts otherwise has a name alone: arbitrary units ([iU]), equivalents, what
stands in braces, and scales of their own (pH, decibel).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from physics.units import parse

_SI = {
    "[mass]": "kg",
    "[length]": "m",
    "[time]": "s",
    "[current]": "A",
    "[temperature]": "K",
    "[substance]": "mol",
    "[luminosity]": "cd",
    "rad": "rad",
}
_CELSIUS = (("K", "1"), ("offset", "273.15"))


@dataclass(frozen=True)
class UnitDefinition:
    """A unit by its UCUM code; `base`: FMI's attributes of its BaseUnit, none where it is not of SI."""

    name: str
    base: tuple[tuple[str, str], ...] | None


def definitions(codes: Iterable[str]) -> tuple[UnitDefinition, ...]:
    """Each code once, sorted."""
    return tuple(UnitDefinition(code, _base(code)) for code in sorted(set(codes)))


def rate_of(unit: str, time: str) -> str:
    """The unit of a rate: of `unit` per `time`."""
    return f"/{time}" if unit == "1" else f"{unit}/{time}"


def _base(code: str) -> tuple[tuple[str, str], ...] | None:
    if code == "Cel":
        return _CELSIUS
    unit = parse(code)
    if unit.special or unit.notes or any(name not in _SI for name, _ in unit.dimension):
        return None
    powers = tuple((_SI[name], str(power)) for name, power in unit.dimension)
    # computed in floating point: 15 digits are those that were meant (0.001, and not 0.0009999999999999998)
    factor = f"{float(unit.scale):.15g}"
    return powers if factor == "1" else (*powers, ("factor", factor))
