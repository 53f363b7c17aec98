"""Units of measure: codes of the Unified Code for Units of Measure (UCUM), whether two join, and by which factor.

The one file that imports `ucumvert` and `pint`, and only when a code is met that is not among the common ones: their errors
are translated here, and where they know less than UCUM says, this file is the stricter one.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

# Codes that need no library to be known as codes (a test has the library read every one).
_COMMON = frozenset(
    (
        "1", "%", "s", "min", "h", "d", "wk", "mo", "a", "/s", "/min", "/h", "/d", "h-1", "min-1", "L", "mL", "dL",
        "l", "g", "kg", "mg", "ug", "ng", "mol", "mmol", "umol", "nmol", "pmol", "mg/L", "g/L", "ug/L", "ng/mL",
        "ug/mL", "mg/mL", "mg/dL", "mmol/L", "umol/L", "nmol/L", "pmol/L", "L/h", "mL/min", "mg/h", "mmol/L/min",
        "kg/m2", "cm", "m",
        # of the shelf (physics/shelf), or every import would load the library
        "A", "H", "L/(m[IU].min2)", "L/min", "N.m", "N.m.s", "Ohm", "V", "V.s", "cm2", "cm2/s", "cm3/s", "kg.m2",
        "mL/mm[Hg]", "mL/s", "m[IU]/L", "mg/d", "mg/dL/min", "mm[Hg]", "mm[Hg].s/mL", "rad/s",
        "Cel", "K", "L/kg", "W", "W.h/K", "W/K", "W/m2", "dL/kg", "m2", "mg.L/(kg.min.pmol)", "mg/kg", "mg/kg/min", "mg/min",
        "pmol/kg", "pmol/kg/min",
    )
)
_NUMBERS = frozenset(("10*", "10^", "[pi]", "%", "[ppth]", "[ppm]", "[ppb]", "[pptr]"))  # the atoms that are plain numbers
# A mole of ions is not a mole of charges, nor of particles, though UCUM gives all three the same dimension.
_OWN_KIND = frozenset(("eq", "osm"))
# pint reads these as something else: a gram in a hundred (UCUM: in 100 mL), minutes and seconds of time (UCUM: of arc)
_MISREAD = frozenset(("g%", "'", "''"))
_PHYSICAL = frozenset(f"[{name}]" for name in ("length", "mass", "time", "substance", "current", "temperature", "luminosity"))
_MEGA = frozenset((("M", "L"), ("M", "l"), ("M", "g"), ("M", "m")))
_LONGEST = 60  # characters of a code that a message quotes
_EXACT = 1e-15  # the library computes in floating point: a factor this close to a short decimal number is that number

# What people write, and the code for it. Whole words, after capitals were kept.
_WORDS = {
    **dict.fromkeys(("hr", "hrs", "hour", "hours", "Hr", "HR", "H"), "h"),
    **dict.fromkeys(("mins", "minute", "minutes", "Min"), "min"),
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("day", "days", "D"), "d"),
    **dict.fromkeys(("week", "weeks", "wks"), "wk"),
    **dict.fromkeys(("month", "months"), "mo"),
    **dict.fromkeys(("yr", "yrs", "year", "years", "y"), "a"),
    **dict.fromkeys(("mcg", "microgram", "micrograms"), "ug"),
    **dict.fromkeys(("gm", "gms", "gram", "grams"), "g"),
    **dict.fromkeys(("mgs", "milligram", "milligrams"), "mg"),
    **dict.fromkeys(("kgs", "kilogram", "kilograms", "Kg"), "kg"),
    **dict.fromkeys(("lb", "lbs", "pound", "pounds"), "[lb_av]"),
    **dict.fromkeys(("oz", "ounce", "ounces"), "[oz_av]"),
    **dict.fromkeys(("in", "inch", "inches"), "[in_i]"),
    **dict.fromkeys(("ft", "foot", "feet"), "[ft_i]"),
    **dict.fromkeys(("litre", "liter", "litres", "liters"), "L"),
    **dict.fromkeys(("cc", "mls", "mLs"), "mL"),
    **dict.fromkeys(("iu", "IU", "UI", "IE"), "[iU]"),
    **{f"{p}IU": f"{p}[iU]" for p in "munk"},
    **{f"{p}Eq": f"{p}eq" for p in ("", "m", "u")},
    **{f"{p}M": f"{p}mol/L" for p in ("", "m", "u", "n", "p")},
    **{f"{p}osmol": f"{p}osm" for p in ("", "m")},
    "mmHg": "mm[Hg]",
    "mOsm": "mosm",
    "bpm": "/min",
    "ppm": "[ppm]",
    **dict.fromkeys(("percent", "pct"), "%"),
    **dict.fromkeys(("degC", "Celsius", "celsius"), "Cel"),
    **dict.fromkeys(("none", "None", "dimensionless", "unitless", "NA"), "1"),
}
_SIGNS = str.maketrans({"µ": "u", "μ": "u", "·": ".", "×": ".", "*": ".", "−": "-", "²": "2", "³": "3", "⁻": "-", "¹": "1"})


@dataclass(frozen=True)
class Unit:
    """A parsed code: `scale`, how many of the base units it is; `dimension`, their exponents by name; `notes`, what stands in
    braces, which UCUM counts as nothing and which says what is counted; `special`: on a scale of its own (Cel, [pH], dB).
    """

    code: str
    scale: Fraction
    dimension: tuple[tuple[str, int], ...]
    notes: tuple[tuple[str, int], ...] = ()
    special: bool = False
    mega: bool = False  # a megalitre or a megagram, which in a person is a slip of capitals


def require(code: object, where: str) -> str:
    """The code itself, where it is UCUM.

    Errors: `ValueError`, beginning with `where`, that names the likely code meant.
    """
    if isinstance(code, str) and code in _COMMON:
        return code
    parse(code, where)
    return str(code)


def parse(code: object, where: str = "unit") -> Unit:
    """The unit of a UCUM code. Errors: as `require`."""
    if not isinstance(code, str):
        raise ValueError(f"{where}: a UCUM code is text, as 'mg/L', and this is {type(code).__name__}")
    unit = _parsed(code)
    if unit is None:
        meant = _cure(code)
        cure = f"write {meant!r}" if meant else "write it as 'mg/L', 'h', '/min' or '[iU]' are written; '1' for a plain number"
        raise ValueError(f"{where}: {code[:_LONGEST]!r} is not a UCUM code; {cure}")
    return unit


def compatible(have: str, want: str) -> bool:
    """Do numbers in one unit become numbers in the other by a factor?"""
    return have == want or _reason(parse(have), parse(want)) is None


def factor(
    have: str,
    want: str,
    where: str = "unit",
    *,
    molar_mass: float | None = None,  # g/mol
) -> Fraction:
    """By what a number in `have` is multiplied to be in `want`; the exact ratio where that is a short decimal or one over it.

    Moles and grams meet only where `molar_mass` is stated.
    Errors: `ValueError`, beginning with `where`, for codes that are not UCUM or do not join, with the reason.
    Law: factor(a, b) · factor(b, a) = 1, and factor(a, b) · factor(b, c) = factor(a, c), to rounding.
    Source: Schadow, McDonald, Suico, Föhring & Tolxdorff, J. Am. Med. Inform. Assoc. 6 (1999) 151 (UCUM).
    """
    if have == want:
        require(have, where)
        return Fraction(1)
    a, b = parse(have, where), parse(want, where)
    moles = _moles(a, b)
    if moles and molar_mass is not None:
        if not isinstance(molar_mass, int | float) or not 0.0 < molar_mass < float("inf"):
            raise ValueError(f"{where}: the molar mass must be positive and finite, in g/mol, and is {molar_mass}")
        return _short(a.scale / b.scale * (Fraction(molar_mass) / 1000) ** moles)
    reason = _reason(a, b)
    if reason is not None:
        raise ValueError(f"{where} is in {have[:_LONGEST]} and {want[:_LONGEST]} is needed: {reason}")
    return _short(a.scale / b.scale)


def over(above: str, below: str) -> str:
    """The code of one unit divided by another."""
    return f"({above})/({below})"


def times(above: str, below: str) -> str:
    """The code of a product."""
    return f"({above}).({below})"


def convert(value: Any, ratio: Fraction) -> Any:
    """A number, array or tensor times an exact ratio: one rounding for a factor such as 60 or 1/60."""
    if ratio.numerator != 1:
        value = value * float(ratio.numerator)
    return value if ratio.denominator == 1 else value / float(ratio.denominator)


def _reason(a: Unit, b: Unit) -> str | None:
    """Why two units do not join, None where they do."""
    if a.code == b.code:
        return None
    if a.code.lower() == b.code.lower() and (a.special, a.dimension, a.scale) != (b.special, b.dimension, b.scale):
        return "capitals count in UCUM (mL is a millilitre, ML a megalitre); write the one that is meant"
    if a.special or b.special:
        odd = a.code if a.special else b.code
        return f"{odd} is on a scale of its own (an offset, a logarithm), so no factor leads there; convert the numbers"
    if _moles(a, b):
        return "moles become grams by a molar mass, which is not stated; convert the numbers, and state the unit they are then in"
    if a.dimension != b.dimension:
        own = sorted({name for name, _ in (*a.dimension, *b.dimension) if name not in _PHYSICAL})
        if own:
            return f"{own[0]} is a unit of its own kind, which no factor turns into another; convert the numbers"
        bare = "1" in (a.code, b.code)
        cure = "state the unit where '1' stands, if it is no plain number" if bare else "correct the stated unit, or the join"
        return f"one measures {_words(a)}, the other {_words(b)}; {cure}"
    if a.notes != b.notes:
        return "what stands in braces says what is counted, and it differs; write the same on both sides"
    if a.mega != b.mega:
        return "a megalitre or megagram is likely a slip of capitals (mL, mg); write the one that is meant"
    return None


def _moles(a: Unit, b: Unit) -> int:
    """k where the units differ in substance^k against mass^k alone, k < 0 for mass against substance; else 0."""
    ratio = dict(a.dimension)
    for name, power in b.dimension:
        ratio[name] = ratio.get(name, 0) - power
    ratio = {name: power for name, power in ratio.items() if power}
    moles = ratio.get("[substance]", 0)
    return moles if moles and ratio == {"[substance]": moles, "[mass]": -moles} and a.notes == b.notes else 0


def _words(unit: Unit) -> str:
    """A dimension in words: mass per length³."""

    def one(name: str, power: int) -> str:
        raised = {1: "", 2: "²", 3: "³"}.get(power, f"^{power}")
        return name.strip("[]") + raised

    above = [one(n, p) for n, p in unit.dimension if p > 0]
    below = [one(n, -p) for n, p in unit.dimension if p < 0]
    return (" × ".join(above) or ("a number" if not below else "1")) + "".join(f" per {name}" for name in below)


def _cure(code: str) -> str | None:
    """The code that was likely meant."""
    text = re.sub(r"/?\s*\(?1\.73\s*m(\^?2|²)\)?", "/{1.73_m2}", code)
    text = text.strip().translate(_SIGNS).replace("°C", "Cel").replace("°F", "[degF]").replace(" per ", "/").replace("^", "")
    text = re.sub(r"(?<=[\w\]])\s+(?=[A-Za-z\[])", ".", text)
    text = re.sub(r"\s+", "", text) or "1"

    def worded(raw: str) -> str:
        return re.sub(r"(?<![{\[])\b[A-Za-z]+(?=$|[^A-Za-z_\]}])", lambda m: _WORDS.get(m[0], m[0]), raw)

    tried = (text, worded(text), worded(text.lower()), text.lower(), f"[{text}]")
    return next((one for one in tried if one != code and _parsed(one) is not None), None)


def _short(ratio: Fraction) -> Fraction:
    """The short decimal number, or one over it, that a ratio computed in floating point stands for."""
    for inverse in (False, True):
        wanted = 1 / ratio if inverse else ratio
        near = Fraction(Decimal(f"{float(wanted):.12g}"))
        if abs(near / wanted - 1) < _EXACT:
            return 1 / near if inverse else near
    return Fraction(float(ratio))


@functools.cache
def _library() -> tuple[Any, Any, Any]:
    """The registry, the parser and the parser's error; about half a second, once, and only where a conversion needs it."""
    from lark.exceptions import LarkError
    from ucumvert import PintUcumRegistry, get_ucum_parser

    return PintUcumRegistry(), get_ucum_parser(), LarkError


@functools.cache
def _parsed(code: str) -> Unit | None:
    """The unit of a code, None for what is no code."""
    registry, parser, failure = _library()
    if not code or len(code) > 200 or not code.isascii():
        return None
    try:
        tree = parser.parse(code)
    except failure:
        return None
    scale, dimension, notes, special, mega = Fraction(1), dict[str, int](), dict[str, int](), False, False
    for kind, prefix, atom, power in _atoms(tree, 1):
        if kind == "note":
            notes[atom] = notes.get(atom, 0) + power
        elif kind == "number":
            scale *= Fraction(int(atom)) ** power
        else:
            found = None if atom in _MISREAD else _atom(registry, prefix, atom)
            if found is None:
                special = True
                continue
            scale *= found[0] ** power
            mega = mega or (prefix, atom) in _MEGA
            for name, exponent in found[1]:
                dimension[name] = dimension.get(name, 0) + exponent * power
    return Unit(
        code,
        scale,
        tuple(sorted((n, p) for n, p in dimension.items() if p)),
        tuple(sorted((n, p) for n, p in notes.items() if p)),
        special,
        mega,
    )


def _atom(registry: Any, prefix: str, atom: str) -> tuple[Fraction, list[tuple[str, int]]] | None:
    """Scale and dimension of one atom with its prefix, None for one on a scale of its own or that the library cannot read."""
    try:
        one = registry.from_ucum(prefix + atom)
        if not one._is_multiplicative:
            return None
        base = (1 * one).to_base_units()
        # SI has whole exponents for everything but a few atoms that nobody measures people in
        dimension = [(str(n), int(p)) for n, p in base.dimensionality.items()]
        if any(p != int(p) for p in base.dimensionality.values()):
            return None
        scale = Fraction(Decimal(repr(float(base.magnitude))))
    except Exception:  # [pH] and others: the library's definitions stop short of the code's list
        return None
    if atom in _OWN_KIND or (not dimension and atom not in _NUMBERS):  # arbitrary units: pint takes them for numbers
        dimension.append(("[iU]" if atom == "[IU]" else atom, 1))
    return scale, dimension


def _atoms(node: Any, power: int) -> Iterator[tuple[str, str, str, int]]:
    """(kind, prefix, atom, exponent) of everything in the parser's tree."""
    if not hasattr(node, "children"):
        if getattr(node, "type", "") == "ANNOTATION":
            yield "note", "", str(node), power
        return
    parts = node.children
    if node.data == "simple_unit":
        if parts[-1].type == "FACTOR":
            yield "number", "", str(parts[-1]), power
        else:
            yield "unit", str(parts[0]) if len(parts) == 2 else "", str(parts[-1]), power
    elif node.data == "annotatable" and len(parts) == 2:
        yield from _atoms(parts[0], power * int(parts[1]))
    elif node.data == "main_term" and len(parts) == 2:
        yield from _atoms(parts[1], -power)
    elif node.data == "term" and len(parts) == 3:
        yield from _atoms(parts[0], power)
        yield from _atoms(parts[2], -power if str(parts[1]) == "/" else power)
    else:
        for part in parts:
            yield from _atoms(part, power)
