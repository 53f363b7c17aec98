"""Days and clock times of a table: DATE and its kin, hh:mm, and ISO times, as numbers in the stated unit."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from training.people.tables.convention import DATES, ignored
from training.people.tables.event_table import EventTable, Row, short

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "wk": 604800.0}  # UCUM codes of lengths that are fixed
_ORDER = {"DATE": "mdy", "DAT1": "dmy", "DAT2": "ymd", "DAT3": "ydm"}
_WORDS = {"m": "month", "d": "day", "y": "year"}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CLOCK = re.compile(r"(\d{1,4}):(\d{2})(?::(\d{2}(?:\.\d*)?))?")
_STAMP = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{1,2}:\d{2}")
_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ]0{1,2}:00(?::00(?:\.0*)?)?)?")
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})")
_NAMED = re.compile(r"(\d{1,2})[- /]?([A-Za-z]{3})[A-Za-z]*[- /,]*(\d{2}|\d{4})")
_PARTS = re.compile(r"(\d{1,4})([/.-])(\d{1,2})\2(\d{1,4})")


@dataclass(frozen=True)
class Clock:
    """How the times of one table are read.

    `dated`, the column of the days, or None · `clocked`: do the rows give times of the day, which count from a person's first
    row? · `unit`, the stated one.
    """

    table: EventTable
    dated: str | None
    clocked: bool
    unit: str

    @staticmethod
    def of(table: EventTable, unit: str) -> "Clock":
        """The clock of a table. Errors: `ValueError` for two columns of days, and for a unit that no clock is read in."""
        days = [c for c in DATES if any(row.cells.get(c) for row in table.rows)]
        if len(days) > 1:
            first, second = (table.columns[c] for c in days[:2])
            raise table.error(
                table.header_line,
                f"{first} and {second} both give the day; keep one: {ignored(second)}",
            )
        clocked = bool(days) or any(":" in row.cells["TIME"] for row in table.rows)
        _require_one_way(table)
        if clocked and unit not in _SECONDS:
            raise table.error(
                table.header_line,
                f"the rows give dates or times of the day, and the unit of TIME is {short(unit)}; state one of "
                f"{', '.join(_SECONDS)}, in which their differences are wanted",
            )
        return Clock(table, days[0] if days else None, clocked, unit)

    def times(self, rows: Sequence[Row]) -> list[float]:
        """The times of one person's rows: as written, or since their first row where days or times of the day are given.

        Errors: `ValueError` naming line and cure for what is no time, no day, or not clear.
        """
        if not self.clocked:
            return [self._plain(row) for row in rows]
        seconds = [self._seconds(row) for row in rows]
        return [(s - seconds[0]) / _SECONDS[self.unit] for s in seconds]

    def _plain(self, row: Row) -> float:
        time = self.table.number(row, "TIME")
        if time is None:
            raise self.table.error(row.line, "TIME is missing; every row needs the time of its event")
        return time

    def _seconds(self, row: Row) -> float:
        text = row.cells["TIME"]
        if _STAMP.match(text):
            return self._stamp(row, text)
        day = 0.0 if self.dated is None else self._day(row, self.dated)
        found = _CLOCK.fullmatch(text)
        if found:
            hours, minutes, rest = int(found[1]), int(found[2]), float(found[3] or 0.0)
            if minutes >= 60 or rest >= 60.0:
                raise self.table.error(row.line, f"TIME is {short(text)}, which no clock shows; write hours:minutes")
            within = 3600.0 * hours + 60.0 * minutes + rest
        elif ":" in text:
            raise self.table.error(
                row.line,
                f"TIME is {short(text)}; write hours:minutes of a 24-hour clock, as 20:30, or 2021-05-03T20:30",
            )
        else:
            plain = self._plain(row)
            if self.unit != "h":
                beside = f"beside {self.table.columns[self.dated]}" if self.dated else "beside others as hours:minutes"
                raise self.table.error(
                    row.line,
                    f"TIME is {short(text)} {beside}, where a plain number means hours of the day, and its unit is stated as "
                    f"{self.unit}; write hours:minutes, or state h",
                )
            within = round(3600.0 * plain, 6)  # .1 h is 360 s; what binary fractions add to it is no time
        if self.dated is not None and not 0.0 <= within <= 86400.0:
            dated = self.table.columns[self.dated]
            raise self.table.error(
                row.line,
                f"TIME is {short(text)} beside {dated}, where it is the time of the day, 0 to 24 h; if it counts from the "
                f"first dose, leave the dates out: {ignored(dated)}",
            )
        return day + within

    def _stamp(self, row: Row, text: str) -> float:
        if self.dated is not None:
            dated = self.table.columns[self.dated]
            raise self.table.error(
                row.line,
                f"TIME is {short(text)}, which gives the day too, beside {dated}; keep one: {ignored(dated)}",
            )
        try:
            at = datetime.fromisoformat(text)
        except ValueError as error:
            raise self.table.error(row.line, f"TIME is {short(text)}, which is no time ({error}); correct it") from None
        naive = at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at
        return (naive - datetime(1970, 1, 1)).total_seconds()

    def _day(self, row: Row, column: str) -> float:
        """Seconds from a fixed day to the row's."""
        text, spelled = row.cells[column], self.table.columns[column]
        if not text:
            raise self.table.error(row.line, f"{spelled} is missing, which other rows have; write the day of the event")
        iso = _ISO.fullmatch(text) or _COMPACT.fullmatch(text)
        if iso:
            y, m, d = (int(part) for part in iso.groups())
        elif re.fullmatch(r"-?\d{1,5}", text):
            return 86400.0 * int(text)  # days, counted, as spreadsheets and SAS do too
        elif (named := _NAMED.fullmatch(text)) and named[2].lower() in _MONTHS:
            y, m, d = _year(named[3]), _MONTHS.index(named[2].lower()) + 1, int(named[1])
        else:
            y, m, d = self._parts(row, column, text)
        try:
            return 86400.0 * date(y, m, d).toordinal()
        except ValueError as error:
            raise self._no_day(row, column, str(error)) from None

    def _parts(self, row: Row, column: str, text: str) -> tuple[int, int, int]:
        found = _PARTS.fullmatch(text)
        order = _ORDER[column]
        if not found or (found[2] == "." and order != "dmy"):
            raise self._no_day(row, column, "")
        parts = [found[1], found[3], found[4]]
        if len(parts[0]) == 4 and order in ("mdy", "dmy"):
            order = "ymd"  # four digits first are a year, and month and day follow it in that order
        by = dict(zip(order, parts, strict=True))
        if len(by["m"]) > 2 or len(by["d"]) > 2 or len(by["y"]) == 3:
            raise self._no_day(row, column, "")
        return _year(by["y"]), int(by["m"]), int(by["d"])

    def _no_day(self, row: Row, column: str, why: str) -> ValueError:
        order = "/".join(_WORDS[c] for c in _ORDER[column])
        others = ", ".join(f"{n} for {'/'.join(_WORDS[c] for c in o)}" for n, o in _ORDER.items() if n != column)
        return self.table.error(
            row.line,
            f"{self.table.columns[column]} is {short(row.cells[column])}, which is no {order}{f' ({why})' if why else ''}; "
            f"write 2021-05-03, or name the column {others}",
        )


def _require_one_way(table: EventTable) -> None:
    """Times that give the day too are given so in every row, all with a time zone or all without."""
    stamps = [row for row in table.rows if _STAMP.match(row.cells["TIME"])]
    if not stamps:
        return
    first = f"TIME is {short(stamps[0].cells['TIME'])}"
    if len(stamps) < len(table.rows):
        raise table.error(stamps[0].line, f"{first} here and no date elsewhere; write all times in one way")
    if len({_zoned(row.cells["TIME"]) for row in stamps}) > 1:
        raise table.error(
            stamps[0].line, f"{first}, and some rows name a time zone and some do not; write all times in one way"
        )


def _year(digits: str) -> int:
    # NM-TRAN's rule (LAST20 = 50): 00 to 50 are of this century, 51 to 99 of the last
    year = int(digits)
    return year if len(digits) > 2 else year + (2000 if year <= 50 else 1900)


def _zoned(stamp: str) -> bool:
    return bool(re.search(r"(Z|[+-]\d{2}:?\d{2})$", stamp[16:]))
