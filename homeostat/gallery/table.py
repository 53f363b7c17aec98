"""A table as a value: what a page, a terminal and a file make of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Optional

Cell = str | float | int | None
NUMBER = re.compile(r"^[<>≈≤≥]?\s*[+\-−]?(\d[\d,]*\.?\d*|\.\d+)")


@dataclass(frozen=True)
class Table:
    """A table of a report.

    `title`; `columns` (C,) names; `rows` of C cells each: text, numbers, or None for an empty cell. A column whose cells are
    all numbers, or text that begins with one, is set flush right; plain floats of one column get the same decimals.
    `note` stands below. `best`, by column name "low" or "high", emphasises that column's best value; nothing is
    emphasised unless asked. `most`: so many rows at most are shown on a page, which says so; the files beside it have all of
    them. `full`: what the files hold, where a page writes it shorter (a share as "82 %", a band in brackets).
    Errors: `ValueError` for a row of another length, or `best` naming no column.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    best: Mapping[str, Literal["low", "high"]] = field(default_factory=dict)
    most: int | None = None
    full: Optional["Table"] = None

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f'Table "{self.title}" has {len(self.columns)} columns and a row of {len(row)} cells, {list(row)}; give '
                    "every row one cell per column, None where it is empty."
                )
        for name, which in self.best.items():
            if name not in self.columns or which not in ("low", "high"):
                raise ValueError(
                    f'Table "{self.title}": best says {name!r}: {which!r}; it takes a column of {list(self.columns)} and '
                    '"low" or "high".'
                )

    @property
    def name(self) -> str:
        """The stem of its file, and its anchor on a page."""
        return stem(self.title)


def stem(title: str) -> str:
    """A title as the stem of a file and as an anchor: plain letters and digits with hyphens, never empty."""
    plain = re.sub(r"[^a-z0-9]+", "-", title.lower().replace("θ", "theta").replace("β", "beta").replace("'", "")).strip("-")
    return plain[:60].strip("-") or "untitled"


def value_of(cell: Cell) -> float | None:
    """The number that a cell is or begins with."""
    if isinstance(cell, str):
        found = NUMBER.match(cell.strip())
        return float(re.sub(r"[^\d.\-]", "", found.group().replace("−", "-"))) if found else None
    return None if cell is None or isinstance(cell, bool) or cell != cell else float(cell)


def as_written(column: Sequence[Cell]) -> list[str]:
    """Cells as text. Floats share as many decimals as give the middle one three significant digits, at most six.

    Where the largest needs fewer and nothing is lost by them (whole minutes), they are fewer.
    """
    floats = [abs(c) for c in column if isinstance(c, float) and c == c and abs(c) != float("inf")]
    decimals, middle = (_decimals(value) for value in (max(floats, default=0.0), sorted(floats or [0.0])[len(floats) // 2]))
    if any(value != round(value, decimals) for value in floats):
        decimals = max(decimals, middle)
    out = []
    for cell in column:
        if cell is None or (isinstance(cell, float) and cell != cell):
            out.append("–")
        elif isinstance(cell, float):
            out.append(f"{cell:.{decimals}f}".replace("-", "−"))
        else:
            out.append(str(cell))
    return out


def _decimals(value: float) -> int:
    """How many give this number three significant digits."""
    return 3 if value == 0.0 else next((d for d in range(7) if value * 10**d >= 100.0), 6)
