"""UCUM codes as unit definitions of SBML, as far as SBML has words for them."""

from collections.abc import Mapping
from types import MappingProxyType
from xml.sax.saxutils import quoteattr

from physics.units import parse

# the base units of SBML Level 3 by the dimension that they measure (section 4.4.2 of its specification)
_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "[length]": "metre",
        "[mass]": "kilogram",
        "[time]": "second",
        "[substance]": "mole",
        "[current]": "ampere",
        "[temperature]": "kelvin",
        "[luminosity]": "candela",
        "rad": "radian",
    }
)


def definition(
    code: str,  # UCUM
    identifier: str,
) -> str | None:
    """The unit definition of a code under this identifier: base units and one number; None where SBML has no unit for it.

    There is none for scales with an origin of their own (Cel), and none for counts that no base unit measures ([iU], eq).
    """
    unit = parse(code)
    if unit.special or any(name not in _KINDS for name, _ in unit.dimension):
        return None
    parts = [_unit("dimensionless", 1, float(f"{float(unit.scale):.13g}"))]
    parts += [_unit(_KINDS[name], power, 1.0) for name, power in unit.dimension]
    # the factor 1 says nothing beside others
    kept = parts[1:] if len(parts) > 1 and 'multiplier="1.0"' in parts[0] else parts
    name = f"<unitDefinition id={quoteattr(identifier)} name={quoteattr(code)}>"
    return f"{name}<listOfUnits>{''.join(kept)}</listOfUnits></unitDefinition>"


def _unit(kind: str, exponent: int, multiplier: float) -> str:
    return f'<unit kind="{kind}" exponent="{exponent}" scale="0" multiplier="{multiplier!r}"/>'
