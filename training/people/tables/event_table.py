"""A table of events in a text file: cells by column and line, before anything is made of them."""

import csv
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from physics.arguments import InputError
from training.people.tables.convention import LIKELY, NEEDED, column_of, dropped, ignored
from training.people.tables.file_kinds import kind_of

_MOST_BYTES, _MOST_COLUMNS = 64 * 10**6, 10_000  # of a table; more is a slip, or no table
_MISSING = ("", ".", "NA", "<NA>")  # the convention's, and R's
_NOT_THERE = ("nan", "n/a", "#n/a", "null")  # what pandas, spreadsheets and databases write for it, in any case
_DASHES = ("-", "–", "—")  # missing by hand; in DV it may as well say "nothing was found", which is a value
_ROW_NAMES = (
    "",
    "X",
    "...1",
    "UNNAMED: 0",
    "ROWNAMES",
    "ROWNAME",
    "RN",
)  # what R, readr and pandas call the rows' numbers


@dataclass(frozen=True)
class Row:
    """One line of the file, with its number, its cells by column, and `all` of them, those that are not read too."""

    line: int
    cells: dict[str, str]  # stripped; "" where missing
    all: tuple[str, ...]


@dataclass(frozen=True)
class LeftOut:
    """A column that was not read, and why: `str` says it in one line. `covariate`: it might have been meant as one."""

    column: str
    why: str
    covariate: bool = False

    def __str__(self) -> str:
        return f"column {self.column or 'without a name'} is left out: {self.why}"


@dataclass(frozen=True)
class EventTable:
    """The whole table: `name` to speak of it, `columns` by their standard names, `rows`, and what was `left_out`;
    `before`, of whom a covariate or an occasion is first said later than their first row.

    `header_line`: None for a table that is no file, whose rows are counted from 0.
    """

    name: str
    header_line: int | None
    columns: dict[str, str]  # standard name in capitals, or the covariate's own → spelling in the file
    rows: list[Row]
    left_out: list[LeftOut] = field(default_factory=list)
    before: dict[str, list[str]] = field(default_factory=dict)  # spelled column → sentences, one a person

    def place(self, line: int | None) -> str:
        """Where a row stands, or the header, in words."""
        if self.header_line is not None:
            return f"line {line}"
        return "its columns" if line is None else f"row {line} (counted from 0)"

    def error(self, line: int | None, message: str, cure: str = "", cure_at_shell: str = "") -> ValueError:
        """The error that names file and line. A name or cell as long as a page is cut. A `cure` that the shell says in other
        words is given apart.
        """

        def cut(text: str) -> str:
            return re.sub(r"\S{100,}", lambda found: f"{found[0][:60]}…", text)

        where = f"{self.name}, {self.place(line)}: {cut(message)}"
        return InputError(where, cut(cure), cut(cure_at_shell)) if cure else ValueError(where)

    def number(self, row: Row, column: str) -> float | None:
        """The number in a column, None where it is missing or the file has no such column."""
        text = row.cells.get(column, "")
        if not text:
            return None
        value = number_in(text)
        if value is None:
            hint = "write numbers with a decimal point" if "," in text else "write a number, or . where it is missing"
            if column == "DV":  # what is known by a limit counts, and is not to be thrown away
                hint += (
                    "; of a value below the limit of quantification write <0.05, that limit, or the limit in DV and 1 in a "
                    "column CENS, or 1 in a column BLQ and the limit in a column LLOQ"
                )
            raise self.error(row.line, f"{self.columns[column]} is {short(text)}, and a number is needed; {hint}")
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


def _is_missing(cell: str) -> bool:
    return cell in _MISSING or cell.casefold() in _NOT_THERE


def _may_be_measured(column: str, cells: Mapping[str, str]) -> bool:
    """Is this the DV of a row that may have measured something: no dose, no other event, and no MDV?"""
    return column == "DV" and not any(number_in(cells.get(name, "")) for name in ("MDV", "EVID" if "EVID" in cells else "AMT"))


def short(text: str, most: int = 60) -> str:
    """What a message quotes of the file: in quotes, and never a page of it."""
    return repr(text if len(text) <= most else text[: most - 1] + "…")


def listed(names: Sequence[str], most: int = 12) -> str:
    """A list of names for a message, the first of them where they are many."""
    some = ", ".join(short(name, 24) for name in names[:most])
    return f"[{some}{', …' if len(names) > most else ''}]"


def read_events(path: Path, ignore: Sequence[str] = (), covariates: Sequence[str] = ()) -> EventTable:
    """The cells of a table separated by commas, semicolons, tabs or blanks.

    Arguments: `ignore`, columns that are not read; `covariates`, those that are the person's own though the convention has
    another meaning for the name (where it has one, the standard name stands for the column's own).
    Errors: `ValueError` naming the file and, where there is one, the line: no file, another kind of file, no text, no rows,
    no needed columns, columns twice, rows of another length, lines that may be comments or rows.
    """
    lines = _lines(path)
    if not lines:
        raise ValueError(f"{path}: the file is empty; it needs a header with {', '.join(NEEDED)} and rows below it")
    header_line, header = lines[0]
    separator = _separator(header)
    longest, at = max((content.count(separator), line) for line, content in lines)
    if longest > _MOST_COLUMNS:
        raise ValueError(f"{path.name}, line {at}: {longest} fields, and {_MOST_COLUMNS} columns are the most that is read")
    table = EventTable(path.name, header_line, {}, [])
    found = [(line, content, _split(content, separator)) for line, content in lines[1:]]
    return _filled(table, _split(header, separator), found, separator, ignore, covariates)


def events_in(
    name: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    ignore: Sequence[str] = (),
    covariates: Sequence[str] = (),
) -> EventTable:
    """The same of cells that are in memory already, read by the same rules."""
    table = EventTable(name, None, {}, [])
    found = [(k, "", [cell.strip() for cell in cells]) for k, cells in enumerate(rows)]
    return _filled(table, [one.strip() for one in header], found, "", ignore, covariates)


def _filled(
    table: EventTable,
    spelling: list[str],
    found: list[tuple[int, str, list[str]]],
    separator: str,
    ignore: Sequence[str],
    covariates: Sequence[str],
) -> EventTable:
    """The table, with the rows that are data under the names that the header gives."""
    width = len(spelling)  # as it stands in the file, with the empty cells behind it
    while spelling and not spelling[-1]:
        spelling.pop()
    found = [f for f in found if not _second_header(table, f[0], f[2], spelling)]
    rows = _without_comments(table, found, len(spelling), spelling[0].upper() == "C" if spelling else False)
    # unquoted numbers before every row of commas may as well be people, with a decimal comma in each row
    clear = separator != "," or all(content.startswith('"') for _, content, _ in found)
    if clear and rows and all(len(cells) == width + 1 for _, cells in rows) and _numbers_rows([c[0] for _, c in rows]):
        spelling, width = ["", *spelling], width + 1  # R's write.table names every column but that of the row names
    columns = _name_columns(table, spelling, rows, ignore, covariates)
    table.columns.update({standard: name for standard, name in zip(columns, spelling, strict=True) if standard})
    for line, cells in rows:
        # a spreadsheet pads a short table with empty cells, header and rows alike; an empty cell behind one row alone may as
        # well be that of a row which a decimal comma has shifted
        if len(cells) not in (len(spelling), width) or any(cells[len(spelling) :]):
            comma = ", and numbers with a decimal point" if separator == "," else ""
            raise table.error(
                line, f"{len(cells)} fields where the header has {len(spelling)}; write . for what is missing{comma}"
            )
        clean = ["" if _is_missing(cell) else cell for cell in cells[: len(spelling)]]
        named = {standard: cell for standard, cell in zip(columns, clean, strict=True) if standard}
        named |= {column: "" for column, cell in named.items() if cell in _DASHES and not _may_be_measured(column, named)}
        own = tuple(cell for name, cell in zip(spelling, clean, strict=True) if name.upper() not in _ROW_NAMES)
        table.rows.append(Row(line, named, own))
    if not table.rows:
        raise table.error(table.header_line, "the header is all there is; add rows below it")
    return table


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are neither empty nor comments, with their numbers, from the header on."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError(f"{path}: a table of more than {_MOST_BYTES // 10**6} MB is not read; split it by people")
        known = kind_of(data)
        if known:
            raise ValueError(f"{path}: this is {known}")
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file; check the path, seen from {Path.cwd()}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8 ({error.reason}); save the table as plain CSV") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); give the path of a text file") from None
    lines = [(k, line) for k, line in enumerate(text.split("\n"), 1) if line.strip(" \t,;")]
    lines = [(k, line) for k, line in lines if not line.lstrip().upper().startswith("TABLE NO")]  # NONMEM's own tables
    bare = [(k, line) for k, line in lines if line.lstrip()[0] != "#"]
    first = next(
        ((k, line.lstrip()[1:]) for k, line in lines if line.lstrip()[0] == "#" and _is_header(line[1:])), None
    )
    if first is not None and not any(_is_header(line) for k, line in bare):
        bare = [first, *(b for b in bare if b[0] > first[0])]  # a header that is a comment to NONMEM: #ID TIME …
    # prose such as "C theophylline, 12 people" may stand above a header, and a header may begin with a column C
    while bare and bare[0][1].startswith("C ") and not _is_header(bare[0][1]):
        bare = bare[1:]
    return bare


def _second_header(table: EventTable, line: int, cells: Sequence[str], spelling: Sequence[str]) -> bool:
    """Is this row the header again, as where two tables were joined? Another one is refused."""
    again = [cell.upper() for cell in cells]
    while again and not again[-1]:
        again.pop()
    own = [name.upper() for name in spelling]
    if again == own:
        return True
    if {"ID", "TIME"} <= set(again):
        raise table.error(
            line,
            f"a second header, {listed(cells)}, with other columns than the first, {listed(spelling)}; read two files",
        )
    return False


def _without_comments(
    table: EventTable, found: Sequence[tuple[int, str, list[str]]], count: int, has_c: bool
) -> list[tuple[int, list[str]]]:
    """The rows, without those that are commented out.

    A line that begins with "C " is a comment by the convention, and may be the row of a person whose ID does. It is a row where
    the others' first cells are of that form too (B 6, D 8); it is a comment where it has another number of cells; else it is
    refused.
    """
    marked = [content.startswith("C ") for _, content, _ in found]
    others = [cells[0] for (_, _, cells), mark in zip(found, marked, strict=True) if not mark]
    lettered = any(re.match(r"[^\W\d_]+ +\S", cell) for cell in others) or not others
    rows = []
    for (line, _, cells), mark in zip(found, marked, strict=True):
        if has_c and (mark or cells[0].upper() == "C"):  # commented out in the column made for that
            continue
        if mark and not lettered:
            if len(cells) != count:
                continue
            raise table.error(
                line,
                "the line begins with C, the mark of a comment, and has as many fields as a row; write # before a comment, or "
                f'quotes around the name: "{cells[0][:40]}"',
            )
        rows.append((line, cells))
    return rows


def _name_columns(
    table: EventTable,
    spelling: Sequence[str],
    rows: Sequence[tuple[int, list[str]]],
    ignore: Sequence[str],
    covariates: Sequence[str],
) -> list[str]:
    """The standard name of every column, "" where it is not read."""
    upper = [name.upper() for name in spelling]
    away = {name.upper() for name in ignore}
    own = {name.upper() for name in covariates}
    unknown = sorted(name for name in ignore if name.upper() not in upper)
    if unknown:
        raise table.error(table.header_line, f"ignore names {listed(unknown)}; the columns are {listed(spelling)}")
    columns = []
    for k, (name, capitals) in enumerate(zip(spelling, upper, strict=True)):
        known = column_of(name)
        cells = [c[k] for _, c in rows if len(c) > k]
        if capitals in away:
            table.left_out.append(LeftOut(name, "as asked for"))
        elif dropped(name):
            table.left_out.append(LeftOut(name, "its name says that it is not read"))
        elif k == 0 and capitals in _ROW_NAMES and _numbers_rows(cells):
            table.left_out.append(LeftOut(name, "the numbers of the rows"))
        elif not name and not any(cells):
            table.left_out.append(LeftOut(name, "nothing in it"))
        elif known is not None and (known.core or capitals not in own):
            columns.append(known.name)
            continue
        else:
            # a name of the convention that is the person's own here must not be taken for it
            columns.append("?" if not name else name if known is None else f"{name} as a covariate")
            continue
        columns.append("")
    missing = [name for name in NEEDED if name not in columns]
    bare = any(name and not re.search(r"\w", name) for name in spelling)
    other = _other_separator(spelling) if missing or bare else ""
    if other:
        raise table.error(
            table.header_line,
            f"the header {listed(spelling)} looks separated by {other}, which is not read; separate columns by commas, "
            "semicolons, tabs or blanks, in the header and in the rows",
        )
    if missing:
        meant = [f"{name} for {need}" for need in missing for name in spelling if name.upper() in LIKELY[need]]
        perhaps = f" (is it {', '.join(meant)}? Rename it)" if meant else ""
        raise table.error(
            table.header_line,
            f"the header {listed(spelling)} lacks {', '.join(missing)}{perhaps}; "
            + (
                "give them, frame.rename(columns={…})"
                if table.header_line is None
                else "the first line that is no comment must name the columns, separated like the rows (comma, semicolon, tab or "
                "blanks)"
            ),
        )
    read = [(c, s) for c, s in zip(columns, spelling, strict=True) if c]
    capitals_read = [s.upper() for _, s in read]
    twice = sorted({s for _, s in read if capitals_read.count(s.upper()) > 1})
    if twice or "?" in columns:
        raise table.error(
            table.header_line, f"the columns {listed(twice or spelling)} repeat or have no name; give each its own name"
        )
    for standard in dict.fromkeys(columns):
        same = [s for c, s in read if c == standard]
        if len(same) > 1:
            raise table.error(
                table.header_line,
                f"the columns {listed(same)} mean the same; keep one: {ignored(same[1])}",
            )
    return columns


def _numbers_rows(cells: Sequence[str]) -> bool:
    """Do these cells number the rows: whole numbers that increase from each to the next?"""
    if len(cells) < 2 or not all(re.fullmatch(r"\d{1,15}", cell) for cell in cells):
        return False
    numbers = [int(cell) for cell in cells]
    return all(a < b for a, b in itertools.pairwise(numbers))


def _separator(header: str) -> str:
    # what separates the header's names; blanks only where nothing else does
    found = {mark: header.count(mark) for mark in ",;\t"}
    best = max(found, key=lambda mark: found[mark])
    return best if found[best] else " "


def _other_separator(spelling: Sequence[str]) -> str:
    """The sign by which a header in one piece is separated, where that is one that is not read; "" where there is none."""
    header, mark = " ".join(spelling).replace('"', ""), r"[^\w.\s]+"
    marks, words = set(re.findall(mark, header)), re.split(mark, header)
    return short(marks.pop(), 20) if len(marks) == 1 and {"ID", "TIME"} <= {word.strip().upper() for word in words} else ""


def _split(line: str, separator: str) -> list[str]:
    if separator == " ":
        return [cell.strip('"') for cell in re.findall(r'"[^"]*"|\S+', line)]
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]
    except csv.Error as error:
        raise ValueError(f"the line that begins with {short(line)} is no row of a table ({error}); correct it") from error


def _is_header(line: str) -> bool:
    return {"ID", "TIME"} <= {name.upper() for name in _split(line, _separator(line))}
