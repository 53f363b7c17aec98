"""Units of an FMU as UCUM codes, where both say the same; nothing is guessed from a name alone."""

from typing import Any

from physics.units import Unit, parse

_SI = {
    "kg": "[mass]",
    "m": "[length]",
    "s": "[time]",
    "A": "[current]",
    "K": "[temperature]",
    "mol": "[substance]",
    "cd": "[luminosity]",
}
_RAD = "rad"  # a unit of its own in FMI, and in UCUM here


def ucum_of(
    name: str,
    stated: Any,
    *,
    trusted: bool,
) -> str | None:
    """The UCUM code of a unit that an FMU calls `name`; None where its definition does not say that it is that code.

    Arguments: `stated`, its definition (FMPy's Unit), None where there is none · `trusted`: the names are UCUM by the file's word
    of its own, as ours are.
    """
    try:
        unit = parse(name)
    except ValueError:
        return None
    if trusted:
        return name
    base = None if stated is None else stated.baseUnit
    if base is None or unit.notes or (unit.special and name != "Cel"):
        return None
    return name if _agrees(name, unit, base) else None


def _agrees(name: str, unit: Unit, base: Any) -> bool:
    powers = {ours: int(getattr(base, theirs, 0) or 0) for theirs, ours in _SI.items()}
    powers[_RAD] = int(getattr(base, "rad", 0) or 0)
    factor, offset = float(base.factor), float(base.offset)
    if name == "Cel":
        return {k for k, v in powers.items() if v} == {"[temperature]"} and (factor, offset) == (1.0, 273.15)
    found = {k: v for k, v in powers.items() if v}
    return found == dict(unit.dimension) and offset == 0.0 and abs(factor / float(unit.scale) - 1.0) < 1e-9
