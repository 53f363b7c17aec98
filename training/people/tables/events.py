"""What one row of a table of events says: a dose, a measured value, both, or neither, and everything that is refused in it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hybrid import Dose
from training.people.tables.anew import Anew, settled, steady_asked, unending
from training.people.tables.censored import Reading, reading_of, says_no
from training.people.tables.convention import BY_NAME, COLUMNS, Column, ignored
from training.people.tables.event_table import EventTable, Row, number_in, short
from training.people.tables.keys import named, options

Kind = Literal["observation", "dose", "both", "other", "reset", "renewed"]  # renewed: a reset and a dose
MOST_DOSES = 10_000  # more additional doses than this in one row are a slip


@dataclass(frozen=True)
class Observation:
    """A value that one row measured, None where it measured nothing or only says that it lies between `lower` and `upper`.

    `place` is the state that was measured, None where the table does not say.
    """

    channel: str
    value: float | None
    place: str | None
    lower: float = -math.inf
    upper: float = math.inf

    @property
    def limited(self) -> bool:
        """Is it known to lie beyond a limit, and no more?"""
        return math.isfinite(self.lower) or math.isfinite(self.upper)

    @property
    def seen(self) -> float | None:
        """The value, or the limit that stands for it where rows of one time are put in order."""
        if self.value is not None or not self.limited:
            return self.value
        return self.upper if math.isfinite(self.upper) else self.lower


@dataclass(frozen=True)
class Given:
    """A dose that one row gives; `extra`, how many of the row's came before it."""

    dose: Dose
    extra: int


@dataclass(frozen=True)
class Events:
    """Reads rows. `compartments` and `channels` by number or name, `by` the column that says which channel."""

    table: EventTable
    compartments: Mapping[int | str, str]
    channels: Mapping[int | str, str]
    by: str
    units: Mapping[str, str]  # of TIME, AMT and every channel
    signed: frozenset[str]
    one_way: frozenset[str]  # of ADM and ROUTE, those that name the first way of giving alone

    @staticmethod
    def of(
        table: EventTable,
        compartments: Mapping[int | str, str],
        channels: Mapping[int | str, str],
        *,
        by: str,
        units: Mapping[str, str],
        signed: Sequence[str],
    ) -> "Events":
        """The reader of a table's rows."""
        first = compartments.get(1) in (None, next(iter(compartments.values())))
        said = {name: {row.cells.get(name, "") for row in table.rows} - {""} for name in _ROUTES}
        one_way = frozenset(n for n, texts in said.items() if first and all(number_in(t) in (0.0, 1.0) for t in texts))
        return Events(table, compartments, channels, by, units, frozenset(signed), one_way)

    def kind(self, row: Row) -> Kind:
        """What the row is. Errors: `ValueError` for what contradicts itself, and for what is not read."""
        table = self.table
        evid, amount = table.integer(row, "EVID"), table.number(row, "AMT")
        meanings = "0 for an observation, 1 for a dose, 2 for neither, 3 for a reset, 4 for a reset and a dose"
        if evid is None and "EVID" in table.columns:
            raise table.error(row.line, f"EVID is missing; write {meanings}")
        if evid not in (None, 0, 1, 2, 3, 4):
            raise table.error(row.line, f"EVID is {evid}; it is {meanings}")
        if evid in (0, 2, 3) and amount:
            what = {0: "an observation", 2: "neither dose nor observation", 3: "a reset without a dose (4 has one)"}[evid]
            raise table.error(
                row.line,
                f"EVID is {evid}, {what}, and AMT is {amount:g}; write EVID 1 if it is a dose, and . in AMT if not",
            )
        if evid is None:
            kind: Kind = ("both" if self._measured_too(row) else "dose") if amount else "observation"
        else:
            kind = _KINDS[evid]
        self._require_consistent(row, kind)
        return kind

    def _measured_too(self, row: Row) -> bool:
        """Does the row of a dose hold a value too? 0 is what the convention writes where there is none, unless MDV is 0."""
        value, missing = self.table.number(row, "DV"), self.table.integer(row, "MDV")
        return value is not None and not missing and (value != 0.0 or missing == 0)

    def _require_consistent(self, row: Row, kind: Kind) -> None:
        table = self.table
        if kind in ("observation", "other", "reset"):
            if steady_asked(table, row):
                raise table.error(
                    row.line,
                    f"{table.columns['SS']} asks for a steady state on a row without a dose; write AMT, or 0 in "
                    f"{table.columns['SS']}",
                )
            for column in ("RATE", "DUR", "ADDL", "II"):
                value = table.number(row, column)
                if value:
                    amount = table.number(row, "AMT") or 0.0
                    name = table.columns[column]
                    raise table.error(
                        row.line,
                        f"{name} is {value:g} and AMT is {amount:g}, {_what(kind)}; write the amount that was given, for an "
                        f"infusion rate × duration, or . in {name}",
                    )
        if kind in ("dose", "renewed") and "EVID" in table.columns and self._measured_too(row) and table.number(row, "DV") != 0.0:
            raise table.error(
                row.line,
                f"DV is {table.number(row, 'DV'):g} on the row of a dose; give the value a row of its own with EVID 0, before or "
                "after the dose as it was taken, or write MDV 1 here if it is none",
            )
        if kind == "reset" and self._measured_too(row) and table.number(row, "DV") != 0.0:
            raise table.error(
                row.line,
                f"DV is {table.number(row, 'DV'):g} on the row of a reset; give the value a row of its own with EVID 0, "
                "or write MDV 1 "
                "here if it is none",
            )
        if kind == "other" and (number_in(row.cells.get("CMT", "")) or 0.0) < 0.0:
            raise table.error(row.line, f"CMT is {row.cells['CMT']}, which turns a compartment off; that is not read")

    def observation(self, row: Row) -> Observation:
        """What the row measured."""
        table = self.table
        channel = self._channel(row)
        found = Reading() if table.integer(row, "MDV") else reading_of(table, row)
        value = found.value
        if value is None and not found.limited:
            return Observation(channel, None, None)
        if value is not None:
            self._require_measured(row, channel, value)
        below = min(v for v in (value, found.lower, found.upper) if v is not None and math.isfinite(v))
        if below < 0.0 and channel not in self.signed:
            raise table.error(
                row.line,
                f"DV is {below:g}, a negative {channel}",
                "write . if it was not measured, or name the channel in signed if it may be negative",
                f"write . if it was not measured, or --signed {channel} if it may be negative",
            )
        return Observation(channel, value, self._place(row, channel), found.lower, found.upper)

    def _channel(self, row: Row) -> str:
        text, key = self._key(row, self.by)
        if key is None:
            return next(iter(self.channels.values()))
        found = named(key, self.channels)
        if found is None and isinstance(key, str) and self.by == "CMT":
            # the name of a compartment, whose number is that of a channel
            numbers = [k for k, state in self.compartments.items() if state.casefold() == key.casefold()]
            found = next((self.channels[k] for k in numbers if k in self.channels), None)
        if found is None:
            name = self.table.columns[self.by]
            raise self.table.error(
                row.line,
                f"{name} is {text} on an observation, and the channels are {dict(self.channels)}",
                f"name it, as in channels={{{key!r}: 'effect'}}, or correct the row",
                f"name it beside the others, as in --channels {options(self.channels)},{key}=effect, or correct the row",
            )
        return found

    def _place(self, row: Row, channel: str) -> str | None:
        """The state that a channel measures, as far as the table says so."""
        if channel in self.compartments.values():
            return channel
        _, key = self._key(row, "CMT")
        if isinstance(key, str) or (key is None and self.by == "CMT"):
            state = named(key, self.compartments) if isinstance(key, str) else None
            if state is not None:
                return state
            key = next((k for k, c in self.channels.items() if c == channel), None)
        return None if key is None else self.compartments.get(key)

    def anew(self, row: Row, time: float, kind: Kind) -> list[Anew]:
        """What begins anew with the row."""
        return [Anew()] if kind in ("reset", "renewed") else []

    def doses(self, row: Row, time: float) -> list[Given | Anew]:
        """The doses that the row gives, behind the steady state that it asks for."""
        table, asked = self.table, steady_asked(self.table, row)
        amount = table.number(row, "AMT")
        if amount is None:
            raise table.error(row.line, "a dose without an AMT; write the amount, or EVID 2 if nothing was given")
        if amount < 0.0:
            raise table.error(row.line, f"AMT is {amount:g}; a dose cannot be negative, correct the sign")
        more, interval = table.integer(row, "ADDL"), table.number(row, "II") or 0.0
        if (more or 0) < 0 or interval < 0.0 or (more and interval == 0.0):
            raise table.error(
                row.line, f"ADDL is {more or 0} and II is {interval:g}; additional doses need ADDL ≥ 0 and II > 0"
            )
        if more and more > MOST_DOSES:
            raise table.error(
                row.line,
                f"ADDL is {more}, more than {MOST_DOSES} doses in one row, which is a slip; write how many were given",
            )
        if more is None and interval > 0.0 and not asked:
            name = table.columns["II"]
            raise table.error(
                row.line,
                f"{name} is {interval:g} and ADDL does not say how many doses follow; write ADDL, 0 if it was one dose, or leave "
                f"the column out: {ignored(name)}",
            )
        state, rate = self._compartment(row), table.number(row, "RATE") or 0.0
        if asked and amount == 0.0 and rate > 0.0 and interval == 0.0:
            return [Anew(unending(state, time, rate, asked))]
        if rate in (-1.0, -2.0):
            found_by_model = Dose(state, time, amount, modelled="rate" if rate == -1.0 else "duration")
            return self._modelled(row, found_by_model, more or 0, interval)
        duration = self._duration(row, amount)
        dose = Dose(state, time, amount, duration, kept="rate" if rate > 0.0 else "duration")
        found: list[Given | Anew] = [Given(replace(dose, time=time + k * interval), k) for k in range((more or 0) + 1)]
        if not asked:
            return found
        steady, tails = settled(table, row, dose, interval, asked)
        return [Anew(steady), *(Given(tail, 0) for tail in tails), *found]

    def _modelled(self, row: Row, dose: Dose, more: int, interval: float) -> list[Given | Anew]:
        """Doses whose rate or duration a model finds."""
        if steady_asked(self.table, row) or self.table.number(row, "DUR"):
            raise self.table.error(
                row.line,
                f"{self.table.columns['RATE']} is {self.table.number(row, 'RATE'):g}, a {dose.modelled} that a model "
                "finds, beside a "
                "steady state or a duration; write the earlier doses as rows, and . in the duration",
            )
        return [Given(replace(dose, time=float(dose.time) + k * interval), k) for k in range(more + 1)]

    def _duration(self, row: Row, amount: float) -> float:
        table = self.table
        rate, stated = table.number(row, "RATE") or 0.0, table.number(row, "DUR") or 0.0
        for name, value in (("RATE", rate), ("DUR", stated)):
            if value < 0.0:
                raise table.error(
                    row.line,
                    f"{table.columns[name]} is {value:g}: a rate is that of an infusion, -1 for one that a "
                    "model finds, -2 for a duration that it finds; write the "
                    f"{'rate' if name == 'RATE' else 'duration'} that was given",
                )
            if value > 0.0 and amount == 0.0:
                raise table.error(
                    row.line,
                    f"{table.columns[name]} is {value:g} and AMT is 0; write the amount of the infusion, rate × duration",
                )
        if rate == 0.0:
            return stated
        # a table rounds one of the two
        if stated > 0.0 and abs(stated * rate - amount) > 0.01 * amount:
            raise table.error(
                row.line,
                f"AMT is {amount:g}, RATE {rate:g} and {table.columns['DUR']} {stated:g}, and an amount is rate × duration; "
                "correct one of the three, or leave one column out",
            )
        return amount / rate

    def _compartment(self, row: Row) -> str:
        text, key = self._key(row, "CMT")
        self._require_route(row, key)
        if key is None:
            return next(iter(self.compartments.values()))
        found = named(key, self.compartments)
        if found is None:
            raise self.table.error(
                row.line,
                f"CMT is {text} on a dose, and the compartments are {dict(self.compartments)}",
                f"name the state into which it goes, as in compartments={{{key!r}: 'depot'}}, or correct the row",
                f"name the state into which it goes, as in --compartments {options(self.compartments)},{key}=depot, or correct "
                "the row",
            )
        return found

    def _key(self, row: Row, column: str) -> tuple[str, int | str | None]:
        """A cell of CMT, DVID or YTYPE: for messages, and as a number or name; None where missing or 0."""
        text = row.cells.get(column, "")
        if not text:
            return "", None
        if not _is_number(text):
            return short(text), text
        whole = self.table.integer(row, column)
        return str(whole), whole or None

    # what stands in a column that is checked

    def require_readable(self, row: Row, kind: Kind) -> None:
        """Refuse what a column of the convention says and this reader does not read."""
        for column in _CHECKED:
            text = row.cells.get(column.name, "")
            if not text:
                continue
            if column.name == "L1" and text != row.cells["ID"]:
                raise self._refused(row, column)
            if column.core and not says_no(text):
                raise self._refused(row, column)
            if column.name in _UNIT_COLUMNS and kind != "other":
                self._require_unit(row, column, kind)

    def _require_unit(self, row: Row, column: Column, kind: Kind) -> None:
        of = column.unit
        if (of == "DV" and kind in ("dose", "renewed")) or (of == "AMT" and kind == "observation"):
            return
        stated = self.units[self._channel(row) if of == "DV" else of]
        if row.cells[column.name] != stated:
            raise self._refused(row, column, f", and {stated} is stated")

    def _require_measured(self, row: Row, channel: str, value: float) -> None:
        limits = [name for name in ("LLOQ", "LOD") if self._limit(row, name) is not None]
        if not limits and "CENS" not in self.table.columns:
            limits = ["LIMIT"]
        # a value at or below the larger of two limits is not sure
        below = max(limits, key=lambda name: self._limit(row, name) or 0.0) if limits else "LIMIT"
        lower = self._limit(row, below) if limits else None
        upper = self._limit(row, "ULOQ")
        beyond = (lower is not None and value <= lower) or (upper is not None and value >= upper)
        if beyond:
            low = lower is not None and value <= lower
            name = below if low else "ULOQ"
            side = "above" if low else "below"
            raise self.table.error(
                row.line,
                f"DV is {value:g} and {self.table.columns[name]}, {BY_NAME[name].says}, is {row.cells[name]}: whether "
                f"{channel} was measured is not clear; mark it in a column CENS, 1 below the limit in DV and -1 above, "
                "or write . in DV "
                f"if it was not measured, or leave the column out if every value was, since only values {side} the "
                "limit are sure "
                "to be",
            )

    def _limit(self, row: Row, column: str) -> float | None:
        text = row.cells.get(column, "")
        return None if text.casefold() in ("", "inf", "-inf") else self.table.number(row, column)

    def _require_route(self, row: Row, key: int | str | None) -> None:
        for name in _ROUTES:
            text = row.cells.get(name, "")
            if not text or text == "0":
                continue
            number = number_in(text)
            # the first way of giving, and no other, is what a table without the column says; a CMT says it better
            same = key is not None and (number is None or number == key)
            if not (same or name in self.one_way):
                beside = f" and CMT {key}" if key is not None else ""
                raise self._refused(row, BY_NAME[name], beside)

    def _refused(self, row: Row, column: Column, more: str = "") -> ValueError:
        name = self.table.columns[column.name]
        return self.table.error(
            row.line,
            f"{name} is {short(row.cells[column.name])}{more}: {column.says}; {column.cure.format(ignore=ignored(name))}",
        )


_KINDS: tuple[Kind, ...] = ("observation", "dose", "other", "reset", "renewed")
_CHECKED = tuple(c for c in COLUMNS if c.use == "checked")
_ROUTES = ("ADM", "ROUTE")
_UNIT_COLUMNS = ("TIMEU", "AMTU", "DVU")


def _is_number(text: str) -> bool:
    return number_in(text) is not None


def _what(kind: Kind) -> str:
    return {"observation": "an observation", "reset": "a reset without a dose"}.get(kind, "neither dose nor observation")
