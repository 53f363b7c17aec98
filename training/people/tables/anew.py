"""Rows after which everything begins anew: resets (EVID 3 and 4) and steady states (SS)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hybrid import Dose
from hybrid.schedules.dose import part_of
from hybrid.schedules.steady import Steady
from training.people.tables.censored import says_no
from training.people.tables.event_table import EventTable, Row, number_in, short


@dataclass(frozen=True)
class Anew:
    """A reset, or a `steady` state."""

    steady: Steady | None = None

    @property
    def forgets(self) -> bool:
        """Is nothing left of what was before?"""
        return self.steady is None or not self.steady.added


def steady_asked(table: EventTable, row: Row) -> int:
    """SS of a row: 0 for none, 1 where it replaces what is there (3 does too), 2 where it adds to it."""
    text = row.cells.get("SS", "")
    if not text or says_no(text):
        return 0
    number = number_in(text)
    if number not in (1.0, 2.0, 3.0):
        raise table.error(
            row.line,
            f"{table.columns['SS']} is {short(text)}; it is 0 for no steady state, 1 for one instead of what is there, "
            "2 for one on "
            "top of it",
        )
    return 2 if number == 2.0 else 1


def settled(table: EventTable, row: Row, dose: Dose, interval: float, asked: int) -> tuple[Steady, list[Dose]]:
    """The steady state that a dose of a row belongs to, and what is left of the infusions before it that still run.

    Errors: `ValueError` naming line and cure for an SS without II, and an amount of 0.
    """
    if interval == 0.0:
        raise table.error(
            row.line,
            f"{table.columns['SS']} asks for a steady state and II does not say of which interval; write II, or, for an "
            "infusion that "
            "never stopped, AMT 0 and its RATE",
        )
    kept: Literal["duration", "rate"] = "duration" if dose.kept == "duration" else "rate"
    steady = Steady(dose.state, float(dose.time), dose.amount, interval, float(dose.duration), asked == 2, kept)
    return steady, [part_of(dose, much, left) for much, left in steady.tails]


def unending(state: str, time: float, rate: float, asked: int) -> Steady:
    """The steady state of an infusion that never stopped until now: rate/CL in plasma, whatever a model's fraction is."""
    return Steady(state, time, rate, 1.0, 1.0, asked == 2, "always")


def counted_on(rows: Sequence[Row], times: Sequence[float]) -> list[float]:
    """The times of a person whose clock starts again at a reset: what follows is counted on from the last time before it."""
    shift, found = 0.0, list[float]()
    for row, time in zip(rows, times, strict=True):
        resets = number_in(row.cells.get("EVID", "")) in (3.0, 4.0)
        if found and resets and time + shift < found[-1]:
            shift = found[-1] - time
        found.append(time + shift)
    return found
