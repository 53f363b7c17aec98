"""The numbers of a page as files beside it: every table as CSV, everything as JSON."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exchange.files.whole_file import whole_file
from homeostat.gallery.table import Cell, Table, value_of
from homeostat.plain_text import finite

FOLDER = "tables"  # beside the page


def write_csv(folder: Path, table: Table) -> Path:
    """`folder/tables/NAME.csv`: all rows, numbers to their last digit, units in the header; an empty cell is none."""
    whole, path = table.full or table, folder / FOLDER / f"{table.name}.csv"
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow([_safe(name) for name in whole.columns])
        rows.writerows([_cell(cell) for cell in row] for row in whole.rows)
    return path


def _cell(cell: Cell) -> str | float | int:
    if cell is None or cell != cell:
        return ""
    return _safe(cell) if isinstance(cell, str) else cell


def _safe(text: str) -> str:
    # a spreadsheet runs a cell that begins like a formula, and names of people are whatever a stranger's table says
    formula = text[:1] in ("=", "@", "\t", "\r") or (text[:1] in ("+", "-") and value_of(text) is None)
    return f"'{text}" if formula else text


def write_json(path: Path, values: Mapping[str, Any]) -> Path:
    """One object, a name of it a line; what is no finite number is null."""
    lines = [
        f"{json.dumps(str(k))}: {json.dumps(finite(v), ensure_ascii=False, allow_nan=False)}" for k, v in values.items()
    ]
    with whole_file(path) as partial:
        partial.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return path


def table_values(table: Table) -> dict[str, Any]:
    """A table as plain JSON values, whole."""
    whole = table.full or table
    return {
        "title": table.title,
        "columns": list(whole.columns),
        "rows": [list(row) for row in whole.rows],
        "note": table.note,
        "csv": f"{FOLDER}/{table.name}.csv",
    }
