"""Values of a table that are only known to lie beyond a limit: CENS with LIMIT, BLQ with LLOQ, and "<0.05" in DV."""

import math
import re
from dataclasses import dataclass

from training.people.tables.event_table import EventTable, Row, number_in, short

_NO = ("n", "no", "f", "false")  # flags that say no
_YES = ("y", "yes", "t", "true")
_BEYOND = re.compile(r"([<>≤≥])\s*=?\s*(\S+)")


@dataclass(frozen=True)
class Reading:
    """What DV says: a `value`, or that it lies between `lower` and `upper`, or nothing."""

    value: float | None = None
    lower: float = -math.inf
    upper: float = math.inf

    @property
    def limited(self) -> bool:
        """Is it known to lie beyond a limit, and no more?"""
        return math.isfinite(self.lower) or math.isfinite(self.upper)


def says_no(text: str) -> bool:
    """Does a flag say no?"""
    return text.casefold() in _NO or number_in(text) == 0.0


def reading_of(table: EventTable, row: Row) -> Reading:
    """What the row measured.

    CENS 1: below DV, and above LIMIT where that is given; CENS −1: above DV, and below LIMIT; then DV is a limit, that of LLOQ
    (ULOQ) where it is missing. BLQ: below LLOQ, whatever DV says of it. "<0.05" and ">20" in DV say it themselves.
    Errors: `ValueError` naming line and cure for a flag that is none of these, a limit that is missing or not finite, and limits
    that exclude each other.
    """
    found = _BEYOND.fullmatch(row.cells.get("DV", ""))
    side = _side(table, row)
    if found:
        return _in_words(table, row, found[1], found[2], side)
    value = table.number(row, "DV")
    if side == 0:
        return Reading(value)
    by_flag = not _said(row, "CENS")
    name = "LLOQ" if side > 0 else "ULOQ"
    stated = table.number(row, name)
    if by_flag or value is None:
        if stated is None:
            flag = table.columns["BLQ" if by_flag else "CENS"]
            raise table.error(
                row.line,
                f"{flag} is {short(row.cells['BLQ' if by_flag else 'CENS'])} and nothing says the limit; write it into a column "
                f"{name}, or into DV beside CENS",
            )
        if by_flag and value is not None and value > stated:
            raise table.error(
                row.line,
                f"{table.columns['BLQ']} says that the value is below {table.columns[name]}, {stated:g}, and DV is {value:g}; "
                "correct one of the three",
            )
        value = stated
    elif stated is not None and abs(stated - value) > 1e-9 * abs(value):
        raise table.error(
            row.line,
            f"CENS is {row.cells['CENS']}, so that DV is the limit, {value:g}, and {table.columns[name]} is {stated:g}; "
            "write the "
            "limit into both, or leave one column out",
        )
    other = None if by_flag else table.number(row, "LIMIT")
    lower, upper = (value, other) if side < 0 else (other, value)
    if lower is not None and upper is not None and not lower < upper:
        raise table.error(
            row.line,
            f"the value lies above {lower:g} and below {upper:g}, by {table.columns['CENS']}, DV and "
            f"{table.columns['LIMIT']}, and "
            "nothing does; LIMIT is the other end, below DV where CENS is 1 and above it where CENS is -1: correct the row",
        )
    return Reading(None, -math.inf if lower is None else lower, math.inf if upper is None else upper)


def _side(table: EventTable, row: Row) -> int:
    """1 where the value lies below a limit, −1 where it lies above one, 0 where it is none of both."""
    sides = {}
    for name in ("CENS", "BLQ"):
        text = row.cells.get(name, "")
        if not text or says_no(text):
            continue
        number = number_in(text)
        if text.casefold() not in _YES and (number not in (1.0, -1.0) or (name == "BLQ" and number != 1.0)):
            meaning = "1 below, -1 above, 0 neither" if name == "CENS" else "1 below the limit, 0 not"
            raise table.error(row.line, f"{table.columns[name]} is {short(text)}; it is {meaning}")
        sides[name] = -1 if number == -1.0 else 1
    if len(set(sides.values())) > 1:
        raise table.error(row.line, "CENS says above a limit and BLQ below one; correct one of the two")
    return next(iter(sides.values()), 0)


def _said(row: Row, name: str) -> bool:
    text = row.cells.get(name, "")
    return bool(text) and not says_no(text)


def _in_words(table: EventTable, row: Row, sign: str, text: str, side: int) -> Reading:
    limit, below = number_in(text), sign in "<≤"
    if limit is None or not math.isfinite(limit):
        said = short(row.cells["DV"])
        raise table.error(row.line, f"DV is {said}, and a number is needed behind {sign}; write <0.05 or a number")
    if side and side != (1 if below else -1):
        raise table.error(row.line, f"DV is {short(row.cells['DV'])} and CENS or BLQ says the other side; correct one of the two")
    return Reading(None, -math.inf, limit) if below else Reading(None, limit, math.inf)
