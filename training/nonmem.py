"""Reading tables in the column convention of pharmacometrics (NONMEM): one row per dose or observation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

from hybrid import Dose, Schedule
from physics.units import require
from training.event_table import RESERVED, EventTable, Row, number_in, read_events
from training.records import Record

Order = Literal["observation-first", "dose-first", "file"]

ORAL: Mapping[int, str] = MappingProxyType({1: "gut", 2: "plasma"})
PLASMA: Mapping[int, str] = MappingProxyType({2: "concentration"})


def read_nonmem(
    path: str | Path,
    *,
    units: Mapping[str, str],
    compartments: Mapping[int, str] = ORAL,
    channels: Mapping[int, str] = PLASMA,
    covariates: Sequence[str] | None = None,
    order: Order = "observation-first",
    channel_column: Literal["CMT", "DVID"] | None = None,
    signed: Sequence[str] = (),
) -> list[Record]:
    """The people of a table, in the file's order.

    The file: a header, then one row per event; separated by commas, semicolons, tabs or blanks; "." or nothing means
    missing; lines that begin with "#" or "C " are comments. Names of columns in any case:
    - ID, TIME, AMT, DV: person, time, dose, measured value. Needed. A person's rows stand together, sorted by time.
    - EVID: 0 observation, 1 dose, 2 other (only its covariates count). 3 and 4 (resets) are refused. Without the
      column a row with AMT > 0 is a dose and every other one an observation.
    - CMT: where a dose goes and what is measured. Missing or 0: the first of `compartments`, the first of `channels`.
    - RATE > 0: an infusion over AMT/RATE. Missing or 0: all at once. Negative (modelled) rates are refused.
    - ADDL, II: ADDL more doses, every II. SS (steady state) is refused.
    - MDV = 1: the value of this row was not measured. DVID: see `channel_column`.
    - every other column: a covariate, constant for each person.

    Arguments
    - `units`: UCUM codes, {"TIME": "h", "AMT": "mg", "DV": "mg/L"} and more keys for covariates. A channel's own
      name as a key goes before DV, for channels in different units. The records are in these units; `Cohort.of` converts
      them to its model's.
    - `compartments`: CMT → state into which the dose goes; {1: "gut", 2: "plasma"} by default.
    - `channels`: CMT (or DVID) → channel; {2: "concentration"} by default. Rows of one time become one row of values.
    - `covariates`: the columns to keep, all numeric ones by default (a column of text alone is left out).
    - `order` of an observation and a dose of one time: the observation first (default), the dose first, or as the rows
      stand in the file. "First" is real: a dose that comes first is moved back by one rounding of the record's
      longest time, so that the state at the observation's time is the one after it.
    - `channel_column`: the column whose numbers are the keys of `channels`; DVID where the file has it, else CMT.
    - `signed`: channels whose values may be negative.

    Returns: one `Record` per person; it starts at the time of the person's first row.
    Errors: `ValueError` naming file, line and cure, for everything that is not as said above, values that are not
    finite, negative doses, times or values given twice, and people without an observation.
    Law: shuffling people, or writing ADDL out as rows, gives the same records up to their order.
    Source: the column convention is that of Beal, Sheiner, Boeckmann & Bauer, NONMEM Users Guides (1989–2009).
    """
    if order not in ("observation-first", "dose-first", "file"):
        raise ValueError(f"read_nonmem: order is 'observation-first', 'dose-first' or 'file', got {order!r}")
    if channel_column not in (None, "CMT", "DVID"):
        raise ValueError(f"read_nonmem: channel_column is 'CMT' or 'DVID', got {channel_column!r}")
    if not compartments or not channels:
        raise ValueError(f"read_nonmem: needs a compartment and a channel, got {dict(compartments)}, {dict(channels)}")
    table = read_events(Path(path))
    by = channel_column or ("DVID" if "DVID" in table.columns else "CMT")
    if channel_column is not None and channel_column not in table.columns:
        raise table.error(table.header_line, f"there is no column {channel_column}; leave channel_column out or add it")
    names = tuple(dict.fromkeys(channels.values()))
    unknown = set(signed) - set(names)
    if unknown:
        raise ValueError(f"read_nonmem: signed names {sorted(unknown)}; the channels are {list(names)}")
    kept = _covariate_columns(table, covariates)
    stated = _units(table, units, names, kept)
    reader = _Reader(table, dict(compartments), dict(channels), names, by, kept, stated, order, frozenset(signed))
    return reader.records()


def _covariate_columns(table: EventTable, wanted: Sequence[str] | None) -> dict[str, str]:
    """Name of the covariate → column. The caller's spelling goes before the file's."""
    others = [column for column in table.columns if column not in RESERVED]
    if wanted is not None:
        by_capitals = {column.upper(): column for column in others}
        missing = [name for name in wanted if name.upper() not in by_capitals]
        if missing:
            raise table.error(
                table.header_line,
                f"there is no covariate column {missing}; the columns that can be covariates are {others}",
            )
        return {name: by_capitals[name.upper()] for name in wanted}
    kept = {}
    for column in others:
        filled = [row for row in table.rows if row.cells[column]]
        if any(number_in(row.cells[column]) is not None for row in filled):
            kept[column] = column  # text in one of its rows is then an error, with its line
    return kept


def _units(
    table: EventTable, units: Mapping[str, str], channels: tuple[str, ...], covariates: Mapping[str, str]
) -> dict[str, str]:
    capitals = {key.upper(): unit for key, unit in units.items()}
    missing = [key for key in ("TIME", "AMT") if key not in capitals]
    if "DV" not in capitals and any(channel not in units for channel in channels):
        missing.append("DV")
    known = {"TIME", "AMT", "DV", *(name.upper() for name in (*channels, *covariates))}
    # a unit of a column that is not read is harmless, a unit of nothing is a slip
    unknown = [key for key in units if key.upper() not in known | {column.upper() for column in table.columns}]
    if missing or unknown:
        said = [f"lacks {', '.join(missing)}"] if missing else []
        said += [f"names {', '.join(unknown)}, which is no column and no channel"] if unknown else []
        raise ValueError(
            f"{table.name}: units {' and '.join(said)}; state them as UCUM codes, as in "
            'units={"TIME": "h", "AMT": "mg", "DV": "mg/L"}'
        )
    for key, unit in units.items():
        require(unit, f"{table.name}: the unit of {key}")
    stated = {"time": capitals["TIME"], "dose": capitals["AMT"]}
    stated |= {name: capitals[name.upper()] for name in covariates if name.upper() in capitals}
    return stated | {channel: units[channel] if channel in units else capitals["DV"] for channel in channels}


@dataclass(frozen=True)
class _Reader:
    table: EventTable
    compartments: dict[int, str]
    channels: dict[int, str]
    names: tuple[str, ...]
    by: str
    covariates: dict[str, str]
    units: dict[str, str]
    order: Order
    signed: frozenset[str]

    def records(self) -> list[Record]:
        people = [(person, list(rows)) for person, rows in groupby(self.table.rows, key=lambda row: row.cells["ID"])]
        last_line: dict[str, int] = {}
        for person, rows in people:
            if not person:
                raise self.table.error(rows[0].line, "ID is missing; every row needs the person it belongs to")
            if person in last_line:
                raise self.table.error(
                    rows[0].line,
                    f"person {person} comes back, whose rows ended on line {last_line[person]}; sort the file by ID, then "
                    "TIME, or give two people two IDs",
                )
            last_line[person] = rows[-1].line
        return [self._record(person, rows) for person, rows in people]

    def _record(self, person: str, rows: list[Row]) -> Record:
        table = self.table
        times = self._times(person, rows)
        values: dict[float, dict[str, float]] = {}
        observed_on: dict[tuple[float, str], Row] = {}
        given: list[tuple[Dose, int, int]] = []  # dose, line, and how many before it in the same row
        for row, time in zip(rows, times, strict=True):
            kind = self._kind(row)
            if kind == "other":
                continue
            if kind == "dose":
                given += [(dose, row.line, k) for k, dose in enumerate(self._doses(row, time))]
                continue
            channel, value = self._observation(row)
            first = observed_on.setdefault((time, channel), row)
            if first is not row:
                cure = "delete one of them" if first.cells == row.cells else "keep one of them, or their mean"
                raise table.error(
                    row.line,
                    f"{channel} of person {person} at time {time:g} is given twice, first on line {first.line}; {cure}",
                )
            values.setdefault(time, {})[channel] = value
        self._require_different_doses(person, rows)
        when = np.array(sorted(values))
        measured = [[values[t].get(c, math.nan) for c in self.names] for t in when]
        array = np.array(measured).reshape(len(when), len(self.names))
        if not np.isfinite(array).any():
            raise table.error(
                rows[0].line, f"person {person} has no observation; leave the person out, or check EVID, MDV and DV"
            )
        lines: dict[float, list[int]] = {}
        for (time, _), row in observed_on.items():
            lines.setdefault(time, []).append(row.line)
        nudge = float(np.spacing(max(abs(t) for t in times)))
        doses = [self._ordered(dose, line, k, lines, nudge) for dose, line, k in given]
        doses.sort(key=lambda dose: float(dose.time))
        start = min([times[0], *(float(dose.time) for dose in doses)])
        return Record(
            id=person,
            schedule=Schedule(tuple(doses), start=start),
            times=when,
            values=array,
            channels=self.names,
            covariates=self._covariates(person, rows),
            units=dict(self.units),
        )

    def _times(self, person: str, rows: list[Row]) -> list[float]:
        times: list[float] = []
        for row in rows:
            time = self.table.number(row, "TIME")
            if time is None:
                raise self.table.error(row.line, "TIME is missing; every row needs the time of its event")
            if times and time < times[-1]:
                raise self.table.error(
                    row.line,
                    f"time {time:g} of person {person} comes after {times[-1]:g}; sort the person's rows by TIME, or give "
                    "the rows of a second occasion an ID of their own",
                )
            times.append(time)
        return times

    def _kind(self, row: Row) -> Literal["observation", "dose", "other"]:
        table = self.table
        evid, amount = table.integer(row, "EVID"), table.number(row, "AMT")
        if (table.number(row, "SS") or 0.0) != 0.0:
            raise table.error(
                row.line,
                "SS asks for a steady state, which is not read; write the earlier doses out, as rows or by ADDL and II",
            )
        if evid is None:
            if "EVID" in table.columns:
                raise table.error(row.line, "EVID is missing; write 0 for an observation, 1 for a dose, 2 for neither")
            return "dose" if amount else "observation"
        if evid in (3, 4):
            raise table.error(
                row.line,
                f"EVID is {evid}, a reset, which is not read; split the record here: give the rows from this one on an ID "
                "of their own",
            )
        if evid not in (0, 1, 2):
            raise table.error(row.line, f"EVID is {evid}; it is 0 for an observation, 1 for a dose, 2 for neither")
        if evid == 0 and amount:
            raise table.error(
                row.line, f"EVID is 0, an observation, and AMT is {amount:g}; write EVID 1 if it is a dose"
            )
        return ("observation", "dose", "other")[evid]

    def _observation(self, row: Row) -> tuple[str, float]:
        table = self.table
        key = table.integer(row, self.by)
        key = key or next(iter(self.channels))
        if key not in self.channels:
            raise table.error(
                row.line,
                f"{self.by} is {key} on an observation, and the channels are {self.channels}; name it, as in "
                f"channels={{{key}: 'effect'}}, or correct the row",
            )
        channel, value = self.channels[key], table.number(row, "DV")
        if value is None or table.integer(row, "MDV"):
            return channel, math.nan
        if value < 0.0 and channel not in self.signed:
            raise table.error(
                row.line,
                f"DV is {value:g}, a negative {channel}; write . if it was not measured, or name the channel in signed if "
                "it may be negative",
            )
        return channel, value

    def _doses(self, row: Row, time: float) -> list[Dose]:
        table = self.table
        amount, rate = table.number(row, "AMT"), table.number(row, "RATE") or 0.0
        if amount is None:
            raise table.error(row.line, "a dose without an AMT; write the amount, or EVID 2 if nothing was given")
        if amount < 0.0:
            raise table.error(row.line, f"AMT is {amount:g}; a dose cannot be negative, correct the sign")
        if rate < 0.0:
            raise table.error(
                row.line,
                f"RATE is {rate:g}: rates and durations that a model finds are not read; write the rate that was given",
            )
        if rate > 0.0 and amount == 0.0:
            raise table.error(
                row.line, f"RATE is {rate:g} and AMT is 0; write the amount of the infusion, rate × duration"
            )
        key = table.integer(row, "CMT")
        key = key or next(iter(self.compartments))
        if key not in self.compartments:
            raise table.error(
                row.line,
                f"CMT is {key} on a dose, and the compartments are {self.compartments}; name it, as in "
                f"compartments={{{key}: 'depot'}}, or correct the row",
            )
        more, interval = table.integer(row, "ADDL") or 0, table.number(row, "II") or 0.0
        if more < 0 or interval < 0.0 or (more > 0 and interval == 0.0):
            raise table.error(
                row.line, f"ADDL is {more} and II is {interval:g}; additional doses need ADDL ≥ 0 and II > 0"
            )
        duration = amount / rate if rate > 0.0 else 0.0
        state = self.compartments[key]
        return [Dose(state, time + k * interval, amount, duration) for k in range(more + 1)]

    def _require_different_doses(self, person: str, rows: list[Row]) -> None:
        first: dict[tuple[tuple[str, str], ...], int] = {}
        for row in rows:
            if self._kind(row) != "dose":
                continue
            line = first.setdefault(tuple(row.cells.items()), row.line)
            if line != row.line:
                raise self.table.error(
                    row.line,
                    f"this dose of person {person} is given twice, first on line {line}; delete one row, or write the "
                    "sum in one row if both were given",
                )

    def _ordered(self, dose: Dose, line: int, extra: int, observed: Mapping[float, list[int]], nudge: float) -> Dose:
        """The dose, moved just before the observations of its time where it comes first."""
        time = float(dose.time)
        lines = observed.get(time, [])
        if self.order == "observation-first" or not lines:
            return dose
        # an additional dose belongs to a row that stands before all later times
        before = [extra > 0 or line < other for other in lines]
        if self.order == "file" and len(set(before)) > 1:
            raise self.table.error(
                line,
                f"the dose at time {time:g} stands between observations of the same time; move its row before or after all "
                "of them, or choose order='observation-first' or 'dose-first'",
            )
        first = self.order == "dose-first" or before[0]
        return Dose(dose.state, time - nudge, dose.amount, dose.duration) if first else dose

    def _covariates(self, person: str, rows: list[Row]) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, column in self.covariates.items():
            for row in rows:
                value = self.table.number(row, column)
                if value is None:
                    continue
                if found.setdefault(name, value) != value:
                    raise self.table.error(
                        row.line,
                        f"covariate {column} of person {person} changes from {found[name]:g} to {value:g}, and covariates "
                        "are constant here; keep one value, or leave it out of covariates and give it to the schedule as "
                        "an input: schedule.do(inputs={...: Signal(times, values)})",
                    )
            if name not in found:
                raise self.table.error(
                    rows[0].line,
                    f"person {person} has no {column}, which others have; write a value, or leave {column} out: "
                    "covariates=[...]",
                )
        return found
