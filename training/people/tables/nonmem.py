"""Reading tables in the column convention of pharmacometrics (NONMEM): one row per dose or observation."""

import bisect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np

from hybrid import Schedule
from hybrid.frames import is_frame
from physics.glance import glance
from physics.occasions import OCCASION
from training.people.records import LONGEST_ID, Record
from training.people.tables.anew import Anew, counted_on
from training.people.tables.arguments import require_reading
from training.people.tables.changing import changing_of, occasions_of, own_of, rows_placed
from training.people.tables.convention import BY_NAME, ignored
from training.people.tables.dates import Clock
from training.people.tables.event_table import EventTable, LeftOut, Row, events_in, number_in, read_events, short
from training.people.tables.events import MOST_DOSES, Events, Given, Observation
from training.people.tables.file_order import Event, Order, placed
from training.people.tables.frame_cells import cells_of
from training.people.tables.kept_columns import changes, covariate_columns, name_the_rest, stated_units
from training.people.tables.keys import endpoint_column
from training.people.tables.values import values_of

if TYPE_CHECKING:
    from hybrid.frames import DataFrame

ORAL: Mapping[int | str, str] = MappingProxyType({1: "gut", 2: "plasma"})
PLASMA: Mapping[int | str, str] = MappingProxyType({2: "concentration"})


@dataclass(frozen=True)
class Table:
    """What a table held: `records`, one for each person in the file's order, and the columns that were `left_out`, with why;
    `notes`, what was taken for granted."""

    records: list[Record]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...] = ()

    __repr__, _repr_html_ = glance()


def read_nonmem(
    path: "str | Path | DataFrame",
    *,
    units: Mapping[str, str],
    compartments: Mapping[int, str] | Mapping[int | str, str] = ORAL,
    channels: Mapping[int, str] | Mapping[int | str, str] = PLASMA,
    covariates: Sequence[str] | None = None,
    order: Order | None = None,
    channel_column: Literal["CMT", "DVID", "YTYPE"] | None = None,
    signed: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> list[Record]:
    """The people of a table, in the file's order: the `records` of `read_table`, where everything is said.

    A column that might have been meant as a covariate and cannot be one is named in a warning, and one that is first said of
    somebody after their first row.
    """
    table = read_table(
        path,
        units=units,
        compartments=compartments,
        channels=channels,
        covariates=covariates,
        order=order,
        channel_column=channel_column,
        signed=signed,
        ignore=ignore,
    )
    lost = [f"{one.column} ({one.why})" for one in table.left_out if one.covariate]
    if lost:
        warnings.warn(
            f"{_named(path)}: left out as covariates: {', '.join(lost)}; name a column in covariates if it is needed",
            stacklevel=2,
        )
    for note in table.notes:
        warnings.warn(f"{_named(path)}: {note}", stacklevel=2)
    return table.records


def _named(path: object) -> str:
    return "the frame" if is_frame(path) else Path(str(path)).name


def read_table(
    path: "str | Path | DataFrame",
    *,
    units: Mapping[str, str],
    compartments: Mapping[int, str] | Mapping[int | str, str] = ORAL,
    channels: Mapping[int, str] | Mapping[int | str, str] = PLASMA,
    covariates: Sequence[str] | None = None,
    order: Order | None = None,
    channel_column: Literal["CMT", "DVID", "YTYPE"] | None = None,
    signed: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Table:
    """The people of a table, a text file or a pandas DataFrame, and which of its columns were left out.

    The file: a header, then one row per event; separated by commas, semicolons, tabs or blanks; ".", NA, NaN, N/A, null or
    nothing means missing (a dash too, but in a DV that may have been measured); lines that begin with "#" or "C " are
    comments; R's row numbers and repeated headers are passed over. A DataFrame is read by the same rules, as if it had been
    written to a file: named levels of its index are columns too. Names of columns in any case, all of them in
    `training.people.tables.convention`:
    - ID, TIME, AMT, DV: person, time, dose, measured value. Needed. A person's rows stand together, sorted by time.
    - EVID: 0 observation, 1 dose, 2 other (only its covariates count), 3 reset, 4 reset and dose: everything is as if nothing had
      been given, running infusions end, and so do additional doses. TIME may start again there: what follows is then counted on
      from the last time before it. Without the column a row with AMT > 0 is a dose, and a value too where DV is neither missing
      nor 0; every other one is an observation.
    - CMT: where a dose goes and what is measured: a number of `compartments` or `channels`, or a name in them. Missing or
      0: the first of `compartments`, the first of `channels`.
    - RATE > 0: an infusion over AMT/RATE; DUR (TINF, DURATION) > 0: over that time. Missing or 0: all at once. RATE −1
      (−2): over a time that the model's rate (duration) says (`physics.Administered`).
    - ADDL, II: ADDL more doses, every II. SS = 1 (or 3): the dose is the last of many like it, every II, that led to a steady
      state, in place of what was there; SS = 2: on top of it. AMT = 0 with RATE and without II: of an infusion that stops here.
    - MDV = 1: the value of this row was not measured. CENS = 1 (−1): it is below (above) DV, and above (below) LIMIT where
    that is
      given. BLQ: it is below LLOQ. So is "<0.05" in DV.
    - OCC: the occasion; a record keeps when each begins (`Record.occasions`), and of which one a value is that was measured at
      that very time, which its own row says (`Record.read_with`). An occasion without a measured value is refused.
    - DVID, YTYPE: see `channel_column`.
    - DATE (month/day/year), DAT1 (day/month/year), DAT2 (year/month/day), DAT3 (year/day/month), ISO dates and counted days
      in each: then TIME is the time of the day, hh:mm, hh:mm:ss or hours, and the times of a record count from the person's
      first row, in the unit stated for TIME. TIME may be an ISO time (2021-05-03T08:30) too.
    - what else the convention has a meaning for (LLOQ, ADM, L2, …) is refused where it says something that is
      not read, with the line and the cure.
    - every other column: a covariate, one number for each person, or numbers that hold from their row on (`Record.changing`),
      the first of them before it too (`Table.notes` says of whom), and a value is read with those of its own row. NONMEM's PREDPP
      takes a row's value for the interval that ends with it. Where a table was written for that, move such a column up by one row
      within each person,
      frame.groupby("ID")["WT"].transform(lambda w: w.shift(-1).ffill()): people then go through the same θ from row to row, and a
      value is read with what the row after it had said.

    Arguments
    - `units`: UCUM codes, {"TIME": "h", "AMT": "mg", "DV": "mg/L"} and more keys for covariates; AMT needs none where
      no row gives a dose. A channel's own name as a key goes before DV, for channels in different units. The
      records are in these units; `Cohort.of` converts them to its model's.
    - `compartments`: CMT → state into which the dose goes; {1: "gut", 2: "plasma"} by default. Names may be keys:
      {"central": "plasma"}.
    - `channels`: CMT (or DVID) → channel; {2: "concentration"} by default. Rows of one time become one row of values, and
      replicates (several values of a channel at one time) further rows of that time.
    - `covariates`: the columns to keep. By default all that hold numbers of everybody; others are left out, unless
      their unit is stated: then they were meant, and are refused with line and cure.
    - `order` of a dose and a value of one time. By default as the rows stand, the convention, where a dose at once goes into
      what is measured; where the table does not say so, or where a value after such a dose is not above the one before it,
      the order must be given. Other doses change nothing that is measured at their own time, and such values count as
      measured before them. Given: "observation-first", "dose-first", or "file", as the rows stand, for every dose.
      A dose that comes first is moved back by one rounding of the record's longest time, so that the state at the
      value's time is the one after it.
    - `channel_column`: the column whose numbers are the keys of `channels`; by default the first of DVID, YTYPE and CMT that
      says anything.
    - `signed`: channels whose values may be negative; the records declare the others `nonnegative`.
    - `ignore`: columns that are not read.

    Returns: a `Table` with one `Record` per person; it starts at the time of the person's first row. Its `left_out` names
    every column of which nothing was kept.
    Errors: `ValueError` naming file, line and cure, for everything that is not as said above, values that are not
    finite, negative doses, rows given twice, and people without an observation.
    Law: shuffling people, or writing ADDL out as rows, gives the same records up to their order.
    Source: the column convention is that of Beal, Sheiner, Boeckmann & Bauer, NONMEM Users Guides (1989–2009), part V,
    chapter 6 for days and clock times.
    """
    covariates, ignore, signed = require_reading(
        path,
        units=units,
        compartments=compartments,
        channels=channels,
        covariates=covariates,
        order=order,
        channel_column=channel_column,
        signed=signed,
        ignore=ignore,
    )
    names = tuple(dict.fromkeys(channels.values()))
    if is_frame(path):
        table = events_in("the frame", *cells_of(path), ignore, covariates or ())
    else:
        table = read_events(Path(str(path)), ignore, covariates or ())
    kept = covariate_columns(table, covariates, units)
    stated = stated_units(table, units, names, kept)
    events = Events.of(
        table,
        _keys(compartments),
        _keys(channels),
        by=endpoint_column(table, channel_column),
        units={"TIME": stated["time"], "AMT": stated.get("dose", ""), **{name: stated[name] for name in names}},
        signed=signed,
    )
    _require_few_doses(table)
    moving = frozenset(name for name, column in kept.items() if changes(table, column))
    records = _Reader(table, events, Clock.of(table, stated["time"]), names, kept, stated, order, moving).records()
    name_the_rest(table, events.by, set(kept.values()))
    return Table(records, tuple(table.left_out), tuple(_said_later(column, who) for column, who in table.before.items()))


def _said_later(column: str, who: Sequence[str]) -> str:
    more = f" (so of {len(who) - 1} more)" if len(who) > 1 else ""
    return f"{column} {who[0]}{more}; it is taken to have been that before, too: write it in the first row if it was not"


_MOST_ADDED = 200_000  # doses that ADDL asks for in a whole table: more than anybody was given, and than fit into memory


def _require_few_doses(table: EventTable) -> None:
    """Refuse what repeats beyond reason before it is made: each row may be modest, and all of them are not."""
    added = 0
    for row in table.rows:
        more = number_in(row.cells.get("ADDL", "")) or 0.0
        if 0.0 < more <= MOST_DOSES:  # what else is wrong with the cell is said of its row
            added += int(more)
        if added > _MOST_ADDED:
            raise table.error(row.line, f"ADDL asks for {added} doses up to here, and {_MOST_ADDED} are the most; write fewer")


def _keys(names: Mapping[int, str] | Mapping[int | str, str]) -> dict[int | str, str]:
    """Numbers as numbers, however they were typed."""
    return {int(k) if isinstance(k, str) and k.isdecimal() else k: name for k, name in names.items()}


def _given(given: Given, line: int, times: Sequence[float]) -> Event:
    """A dose as an event; one of ADDL's that rounding parts from the time of a row (3 × .1 from .3) has the row's time."""
    time = float(given.dose.time)
    if given.extra:
        k = bisect.bisect_left(times, time)
        near = [t for t in times[max(k - 1, 0) : k + 1] if abs(t - time) <= 1e-12 * max(abs(t), abs(time))]
        time = near[0] if near else time
        given = Given(replace(given.dose, time=time), given.extra)
    return Event(time, line, given)


@dataclass(frozen=True)
class _Reader:
    table: EventTable
    events: Events
    clock: Clock
    names: tuple[str, ...]
    covariates: dict[str, str]
    units: dict[str, str]
    order: Order | None
    moving: frozenset[str] = frozenset()  # covariates that change for anybody

    def records(self) -> list[Record]:
        people = [(person, list(rows)) for person, rows in groupby(self.table.rows, key=lambda row: row.cells["ID"])]
        last_line: dict[str | float, int] = {}
        for person, rows in people:
            if not person:
                raise self.table.error(rows[0].line, "ID is missing; every row needs the person it belongs to")
            if len(person) > LONGEST_ID:
                raise self.table.error(
                    rows[0].line, f"ID is {short(person)}, of {len(person)} characters; at most {LONGEST_ID} name a person"
                )
            number = number_in(person)
            key = person if number is None else number  # 1 and 1.0 are one person
            if key in last_line:
                raise self.table.error(
                    rows[0].line,
                    f"person {person} comes back, whose rows ended on {self.table.place(last_line[key])}; sort the file by ID, "
                    "then TIME, or give two people two IDs",
                )
            last_line[key] = rows[-1].line
        return [self._record(person, rows) for person, rows in people]

    def _record(self, person: str, rows: list[Row]) -> Record:
        table = self.table
        times = self._times(person, rows)
        happened: list[Event] = []
        seen: dict[tuple[str, ...], Row] = {}
        for row, time in zip(rows, times, strict=True):
            kind = self.events.kind(row)
            self.events.require_readable(row, kind)
            if kind == "other":
                continue
            happened += [Event(time, row.line, one) for one in self.events.anew(row, time, kind)]
            if kind == "reset":
                continue
            if kind in ("dose", "renewed"):
                self._require_once(person, row, time, seen, False)
            else:  # in one row the value comes before the dose
                observed = self.events.observation(row)
                happened.append(Event(time, row.line, observed))
                if observed.seen is not None:
                    self._require_once(person, row, time, seen, True)
            if kind in ("dose", "both", "renewed"):
                given = self.events.doses(row, time)
                happened += [_given(g, row.line, times) if isinstance(g, Given) else Event(time, row.line, g) for g in given]
        happened = self._without_the_past(happened)
        self._require_ungrouped(person, rows)
        nudge = float(np.spacing(max(abs(t) for t in times) or 1.0))
        happened = placed(happened, self.order, nudge, table)
        # what rows say of what changes holds from where their own dose or value stands
        begins = rows_placed(rows, times, happened)
        constant, changing, own = changing_of(table, person, rows, begins, self.covariates, self.moving)
        seen_on = {e.line for e in happened if isinstance(e.what, Observation) and e.what.seen is not None}
        occasions, of_occasion = occasions_of(table, person, rows, begins, happened, seen_on)
        own |= {OCCASION: of_occasion} if occasions else {}
        lines, when, measured, lower, upper = values_of(table, person, rows[0].line, happened, own, self.names)
        doses = [event.what.dose for event in happened if isinstance(event.what, Given)]
        anew = [(event.time, event.what.steady) for event in happened if isinstance(event.what, Anew)]
        start = min([times[0], *(event.time for event in happened)])
        return Record(
            id=person,
            schedule=Schedule(
                tuple(sorted(doses, key=lambda dose: float(dose.time))),
                start=start,
                resets=tuple(at for at, steady in anew if steady is None),
                steady=tuple(steady for _, steady in anew if steady is not None),
            ),
            times=when,
            values=measured,
            channels=self.names,
            covariates=constant,
            units=dict(self.units),
            nonnegative=tuple(name for name in self.names if name not in self.events.signed),
            lower=lower,
            upper=upper,
            occasions=occasions,
            changing=changing,
            read_with=own_of(table, person, lines, when, changing, occasions, own),
        )

    def _without_the_past(self, happened: list[Event]) -> list[Event]:
        """Without the additional doses that a reset or a steady state takes back."""
        kept = list(happened)
        for anew in happened:
            if not isinstance(anew.what, Anew) or not anew.what.forgets:
                continue
            lost = [e for e in kept if e.line < anew.line and e.time >= anew.time and not isinstance(e.what, Observation)]
            for event in lost:
                if not isinstance(event.what, Given) or event.what.extra == 0:
                    raise self.table.error(
                        anew.line,
                        f"a reset or a steady state at {anew.time:g} takes back what {self.table.place(event.line)} "
                        "gives at the same "
                        "time; delete that row, or move it behind this one",
                    )
            kept = [e for e in kept if e not in lost]
            before = [e for e in kept if e.line < anew.line]
            early = [e for e in before if isinstance(e.what, Observation) and e.what.seen is not None and e.time == anew.time]
            if anew.what.steady is not None and early and all(isinstance(e.what, Observation) for e in before):
                raise self.table.error(
                    early[0].line,
                    f"a value at {anew.time:g} stands before the steady state of that time, and nothing is given before it: "
                    "whether it is of that steady state or of somebody who never took anything the table does not say; begin the "
                    "steady state one interval earlier (TIME - II, ADDL 1), move the row behind the dose if it was measured "
                    "after it, or leave the row out",
                )
        return kept

    def _times(self, person: str, rows: list[Row]) -> list[float]:
        times = counted_on(rows, self.clock.times(rows))
        for row, before, time in zip(rows[1:], times[:-1], times[1:], strict=True):
            if time < before:
                midnight = " (a clock that passes midnight needs a DATE)" if self.clock.clocked else ""
                raise self.table.error(
                    row.line,
                    f"time {time:g} of person {person} comes after {before:g}; sort the person's rows by TIME, or give "
                    f"a second occasion, before which nothing is left, a reset (EVID 3 or 4){midnight}",
                )
        return times

    def _require_once(
        self, person: str, row: Row, time: float, seen: dict[tuple[str, ...], Row], measured: bool
    ) -> None:
        first = seen.setdefault(row.all, row)
        if first is row:
            return
        if not measured:
            raise self.table.error(
                row.line,
                f"this dose of person {person} is given twice, first on {self.table.place(first.line)}; delete one row, or write "
                "the sum in one row if both were given",
            )
        raise self.table.error(
            row.line,
            f"this value of person {person} at time {time:g} is given twice, first on {self.table.place(first.line)}; delete one "
            "of them, or, if it was measured twice, add a column REP with 1 and 2",
        )

    def _require_ungrouped(self, person: str, rows: list[Row]) -> None:
        grouped = [row for row in rows if row.cells.get("L2") and number_in(row.cells["L2"]) != 0.0 and row.cells["DV"]]
        groups = [row.cells["L2"] for row in grouped]
        self._refuse_first("L2", person, [row for row in grouped if groups.count(row.cells["L2"]) > 1])

    def _refuse_first(self, column: str, person: str, rows: Sequence[Row]) -> None:
        if not rows:
            return
        known, spelled = BY_NAME[column], self.table.columns[column]
        raise self.table.error(
            rows[0].line,
            f"{spelled} of person {person} is {short(rows[0].cells[column])}, {known.says}; "
            + known.cure.format(ignore=ignored(spelled)),
        )
