"""What is kept of a table's columns: covariates, stated units, and the names of those of which nothing is kept."""

import math
import re
from collections.abc import Mapping, Sequence

from physics.arguments import InputError
from physics.units import require
from training.people.tables.censored import says_no
from training.people.tables.convention import BY_NAME, ENDPOINTS, STANDARD, ignored
from training.people.tables.event_table import EventTable, LeftOut, listed, number_in, short

_DAYS = ("DAY", "DAYS", "STUDYDAY", "STUDY_DAY", "VISITDAY", "VISIT_DAY", "DAYNO", "DY")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def covariate_columns(table: EventTable, wanted: Sequence[str] | None, units: Mapping[str, str]) -> dict[str, str]:
    """Name of the covariate → column. The caller's spelling goes before the file's.

    Where nobody named the columns to keep, one that cannot be a covariate is left out, so that it stops nobody who does not
    need it; one whose unit is stated was meant, and is read or refused.
    """
    others = [column for column in table.columns if column not in STANDARD]
    if wanted is None:
        _refuse_days(table, others)
    if wanted is not None:
        by_capitals = {table.columns[column].upper(): column for column in others}
        missing = [name for name in wanted if name.upper() not in by_capitals]
        if missing:
            raise table.error(
                table.header_line,
                f"there is no covariate column {listed(missing)}; the columns that can be covariates are {listed(others)}",
            )
        return {name: by_capitals[name.upper()] for name in wanted}
    meant = {name.upper() for name in units}
    kept = {}
    for column in others:
        why = None if column.upper() in meant or changes(table, column) else _no_covariate(table, column)
        if why is None:
            kept[column] = column  # what is wrong with it is then an error, with its line
        else:
            table.left_out.append(LeftOut(column, why, covariate=True))
    return kept


def changes(table: EventTable, column: str) -> str | None:
    """Where a column of numbers has two values for one person; None where it has not, or holds something else."""
    found: dict[str, float] = {}
    where = None
    for row in table.rows:
        text, person = row.cells[column], row.cells["ID"]
        value = number_in(text) if text else None
        if text and (value is None or not math.isfinite(value)):
            return None
        if value is not None and found.setdefault(person, value) != value and where is None:
            where = f"it changes for person {person} on {table.place(row.line)}"
    return where if all(row.cells["ID"] in found for row in table.rows) else None


def _refuse_days(table: EventTable, columns: Sequence[str]) -> None:
    """Refuse a count of days beside times of the day: the days would be lost, and what is left may still increase."""
    column = next((c for c in columns if c.upper() in _DAYS), None)
    times = [number_in(row.cells["TIME"]) for row in table.rows]
    if column is None or not all(t is not None and 0.0 <= t <= 24.0 for t in times):
        return
    first: dict[str, str] = {}
    for row in table.rows:
        day, person = row.cells[column], row.cells["ID"]
        if day and first.setdefault(person, day) != day:
            raise table.error(
                row.line,
                f"{column} changes from {short(first[person], 20)} to {short(day, 20)} for person {short(person, 40)}, and every "
                f"TIME of the table lies within 24: if TIME is the time of the day, name the column DATE; if TIME runs on by "
                f"itself, leave the column out: {ignored(column)}",
            )


def _no_covariate(table: EventTable, column: str) -> str | None:
    """Why a column cannot be a covariate, which is one number for each person; None where it can."""
    found: dict[str, float] = {}
    for row in table.rows:
        text, person = row.cells[column], row.cells["ID"]
        if not text:
            continue
        value = number_in(text)
        if _DECIMAL_COMMA.fullmatch(text):
            return None  # a number that was meant as one
        if value is None or not math.isfinite(value):
            return f"{short(text, 40)} on {table.place(row.line)} is no number"
        if found.setdefault(person, value) != value:
            return f"it changes for person {person} on {table.place(row.line)}"
    missing = [row.cells["ID"] for row in table.rows if row.cells["ID"] not in found]
    return f"person {missing[0]} has no value" if missing else None


def _doses(table: EventTable) -> bool:
    """Does any row give something, or say that it does? Where none does, AMT needs no unit."""
    units = ("AMTU", "RATE", "DUR", "ADDL")  # which say something of an amount, and are refused or read beside its unit
    if any(name in table.columns and any(row.cells.get(name) for row in table.rows) for name in units):
        return True
    given = ((row.cells.get("AMT", ""), row.cells.get("EVID", "")) for row in table.rows)
    return any((amount and number_in(amount) != 0.0) or number_in(event) in (1.0, 4.0) for amount, event in given)


def stated_units(
    table: EventTable, units: Mapping[str, str], channels: tuple[str, ...], covariates: Mapping[str, str]
) -> dict[str, str]:
    """The units of a record: "time", "dose", every channel and covariate; those of other columns must be what they are read in.

    Where no row gives a dose, AMT needs no unit, and the record states none.

    Errors: `ValueError` for units that lack, that name nothing, or that a column is not read in.
    """
    capitals = {key.upper(): unit for key, unit in units.items()}
    missing = [key for key in ("TIME", "AMT") if key not in capitals and (key == "TIME" or _doses(table))]
    if "DV" not in capitals and any(channel not in units for channel in channels):
        missing.append("DV")
    columns = {c.upper() for c in (*table.columns, *table.columns.values(), *(out.column for out in table.left_out))}
    known = {"TIME", "AMT", "DV", *(name.upper() for name in (*channels, *covariates))} | columns
    # a unit of a column that is not read is harmless, a unit of nothing is a slip
    unknown = [key for key in units if key.upper() not in known]
    if missing or unknown:
        said = [f"lacks {', '.join(missing)}"] if missing else []
        said += (
            [f"names {', '.join(name[:40] for name in unknown[:5])}, which is no column and no channel"]
            if unknown
            else []
        )
        raise InputError(
            f"{table.name}: units {' and '.join(said)}",
            'state them as UCUM codes, as in units={"TIME": "h", "AMT": "mg", "DV": "mg/L"}',
            "state them as UCUM codes, as in --units TIME=h,AMT=mg,DV=mg/L",
        )
    for key, unit in units.items():
        require(unit, f"{table.name}: the unit of {key}")
    stated = {"time": capitals["TIME"]} | ({"dose": capitals["AMT"]} if "AMT" in capitals else {})
    stated |= {name: capitals[name.upper()] for name in covariates if name.upper() in capitals}
    stated |= {channel: units[channel] if channel in units else capitals["DV"] for channel in channels}
    due = {"TIME": stated["time"]}
    if "dose" in stated:
        due |= {"AMT": stated["dose"], "AMT/TIME": f"{stated['dose']}/{stated['time']}"}
    for column, spelled in table.columns.items():
        have = capitals.get(spelled.upper())
        if have is None or column not in STANDARD or column in ("TIME", "AMT", "DV"):
            continue
        of = BY_NAME[column]
        if (of.unit in due and have != due[of.unit]) or (of.unit == "DV" and have not in [stated[c] for c in channels]):
            raise ValueError(
                f"{table.name}: units states {short(have)} for {spelled}, {of.says}, which is read in the unit of {of.unit}, "
                f"{due.get(of.unit, capitals.get('DV', ''))}; convert the column and leave its unit out"
            )
    return stated


def name_the_rest(table: EventTable, by: str, kept: set[str]) -> None:
    """What was read of the convention's columns without keeping anything, and what nobody asked for."""
    told = {one.column for one in table.left_out}
    for column, spelled in table.columns.items():
        if column in kept or spelled in told:
            continue
        if column in ENDPOINTS and column != by:
            why = f"what was measured is read from {table.columns.get(by, by)}"
        elif column not in STANDARD:
            why = "not among the covariates asked for"
        elif (BY_NAME[column].use == "read" and not _says_nothing(table, column)) or (
            column in ("LLOQ", "ULOQ")
            and any(name in table.columns and not _says_nothing(table, name) for name in _FLAGS)
        ):
            continue
        else:
            why = f"{BY_NAME[column].says}; no row says anything of it that matters here"
        table.left_out.append(LeftOut(spelled, why))


_FLAGS = ("CENS", "BLQ")


def _says_nothing(table: EventTable, column: str) -> bool:
    """Is a column that is read where it says something one that never does?"""
    told = table.rows if column in ("SS", "OCC") else [row for row in table.rows if row.cells["DV"]]
    said = {row.cells.get(column, "") for row in told} - {""}
    if column == "OCC":
        return len(said) < 2
    if column == "LIMIT":
        return "CENS" not in table.columns or _says_nothing(table, "CENS")
    return column in ("SS", *_FLAGS) and all(says_no(text) for text in said)
