"""A table of events in a text file: cells by column and line, before anything is made of them."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

REQUIRED = ("ID", "TIME", "AMT", "DV")
# what has a meaning of its own in the convention, and so is no covariate
RESERVED = (*REQUIRED, "EVID", "CMT", "RATE", "MDV", "II", "ADDL", "SS", "DVID", "C")


@dataclass(frozen=True)
class Row:
    """One line of the file, with its number, and its cells by column."""

    line: int
    cells: dict[str, str]  # stripped; "" where missing


@dataclass(frozen=True)
class EventTable:
    """The whole file: `name` to speak of it, `columns` by their standard names, `rows`."""

    name: str
    header_line: int
    columns: dict[str, str]  # standard name in capitals, or the covariate's own → spelling in the file
    rows: list[Row]

    def error(self, line: int, message: str) -> ValueError:
        """The error that names file and line."""
        return ValueError(f"{self.name}, line {line}: {message}")

    def number(self, row: Row, column: str) -> float | None:
        """The number in a column, None where it is missing or the file has no such column."""
        text = row.cells.get(column, "")
        if not text:
            return None
        value = number_in(text)
        if value is None:
            hint = "write numbers with a decimal point" if "," in text else "write a number, or . where it is missing"
            if column == "DV":
                hint += " (also for a value below the limit of quantification)"
            raise self.error(row.line, f"{self.columns[column]} is {text!r}, and a number is needed; {hint}")
        if not math.isfinite(value):
            raise self.error(
                row.line, f"{self.columns[column]} is {text}, which is not finite; write . where it is missing"
            )
        return value

    def integer(self, row: Row, column: str) -> int | None:
        """The whole number in a column, None where it is missing."""
        value = self.number(row, column)
        if value is not None and value != int(value):
            raise self.error(
                row.line, f"{self.columns[column]} is {value:g}, and a whole number is needed; correct the row"
            )
        return None if value is None else int(value)


def number_in(text: str) -> float | None:
    """The number that a cell holds, None where it holds text."""
    if "_" in text:  # Python reads 1_000 as a number, nobody else does
        return None
    try:
        return float(text)
    except ValueError:
        return None


def read_events(path: Path) -> EventTable:
    """The cells of a table separated by commas, semicolons, tabs or blanks.

    Errors: `ValueError` naming the file and, where there is one, the line: no file, no text, no rows, no needed
    columns, columns twice, rows of another length.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file; check the path, seen from {Path.cwd()}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8 ({error.reason}); save the table as plain CSV") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); give the path of a text file") from None
    lines = [(k, line) for k, line in enumerate(text.split("\n"), 1) if line.strip(" \t,;") and line.lstrip()[0] != "#"]
    # prose such as "C theophylline, 12 people" may stand above a header, and a header may begin with a column C
    while lines and lines[0][1].startswith("C ") and not _looks_like_header(lines[0][1]):
        lines = lines[1:]
    if not lines:
        raise ValueError(f"{path}: the file is empty; it needs a header with {', '.join(REQUIRED)} and rows below it")
    header_line, header = lines[0]
    separator = _separator(header)
    spelling = _split(header, separator)
    upper = [name.upper() for name in spelling]
    columns = [u if u in RESERVED else name for u, name in zip(upper, spelling, strict=True)]
    table = EventTable(path.name, header_line, dict(zip(columns, spelling, strict=True)), [])
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise table.error(
            header_line,
            f"the header {spelling} lacks {', '.join(missing)}; the first line that is no comment must name the "
            "columns, separated like the rows (comma, semicolon, tab or blanks)",
        )
    twice = sorted({name for name, u in zip(spelling, upper, strict=True) if upper.count(u) > 1})
    if twice or "" in spelling:
        raise table.error(
            header_line, f"the columns {twice or spelling} repeat or have no name; give each its own name"
        )
    for line, content in lines[1:]:
        if content.startswith("C "):
            continue
        cells = _split(content, separator)
        if columns[0] == "C" and cells[0].upper() == "C":  # a row that is commented out in the column made for that
            continue
        # a spreadsheet pads short tables with empty cells
        while len(cells) > len(columns) and not cells[-1]:
            cells.pop()
        if len(cells) != len(columns):
            raise table.error(
                line,
                f"{len(cells)} fields where the header has {len(columns)}; write . for what is missing"
                + (", and numbers with a decimal point" if separator == "," else ""),
            )
        clean = ["" if cell == "." else cell for cell in cells]
        table.rows.append(Row(line, dict(zip(columns, clean, strict=True))))
    if not table.rows:
        raise table.error(header_line, "the header is all there is; add rows below it")
    return table


def _separator(header: str) -> str:
    # what separates the header's names; blanks only where nothing else does
    found = {mark: header.count(mark) for mark in ",;\t"}
    best = max(found, key=lambda mark: found[mark])
    return best if found[best] else " "


def _split(line: str, separator: str) -> list[str]:
    if separator == " ":
        return [cell.strip('"') for cell in line.split()]
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]


def _looks_like_header(line: str) -> bool:
    return {"ID", "TIME"} <= {name.upper() for name in _split(line, _separator(line))}
