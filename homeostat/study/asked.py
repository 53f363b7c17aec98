"""What is asked of a model: an event, and the time that forecasts start from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from homeostat.wording import behind
from hybrid.schedules.dose import SAME
from physics.glance import glance
from training import Record
from training.people.clock import at_or_before
from training.people.records import counted_from


@dataclass(frozen=True)
class Asked:
    """What was asked of a model: the event's `channel`, `unit` and `threshold`, and the time that forecasts start from.

    Times are in `time_unit`, counted from everybody's own `since`. `note`: what a reader must know of how they were chosen.
    """

    channel: str
    unit: str
    threshold: float
    forecast_from: float | None
    time_unit: str
    since: str = "first dose"
    note: str = ""

    __repr__, _repr_html_ = glance()

    @property
    def event(self) -> str:
        """The event in words."""
        return f"{self.channel} above {self.threshold:g}{behind(self.unit)}"


def asked_of(records: Sequence[Record], unit: str, threshold: float | None, forecast_from: float | None) -> Asked:
    """What is asked where the caller does not say: the median measurement, and forecasts from the first time at which everybody
    has a value and somebody still has a later one.

    A value is one after the first dose (or start): what was measured before is where a person starts from. Where there is no such
    time, forecasts are from the last of people's first values that somebody has a later one than: some people are then forecast
    from nothing, and `note` says how many.

    `records`, `threshold` and `forecast_from` are in the model's units; `forecast_from` counts from everyone's own first dose
    (or start), wherever the table's clock has its zero.
    Errors: `ValueError` where nothing is measured after `forecast_from`, or nothing before it, or nothing after any dose.
    """
    records = [r.on_own_clock() for r in records]
    scored = np.concatenate([r.values[r.scored] for r in records])
    if not np.isfinite(scored).any():
        raise ValueError(
            f"nobody was measured after the {counted_from(records)}, so that nothing can be forecast; check TIME, EVID and MDV"
        )
    if threshold is None:
        threshold = float(f"{np.nanmedian(scored):.2g}")
    if not np.isfinite(threshold):
        raise ValueError(f"the threshold of the event is {threshold:g}; give a finite number, in the unit of the measurements")
    note = ""
    if forecast_from is None:
        forecast_from, nothing = _first_known(records)
        if nothing:
            at = f"{forecast_from:.4g} {records[0].units.get('time', '')}".strip()
            note = (
                f"There is no time since the {counted_from(records)} by which everybody was measured and after which somebody "
                f"is again: forecasts are from {at}, when nothing is known yet of {nothing} of {len(records)} people; "
                "--forecast-from chooses another time."
            )
    known = [at_or_before(r.times, forecast_from) for r in records]
    before = [r.id for r, k in zip(records, known, strict=True) if not _informs(r)[k].any()]
    after = [r.id for r, k in zip(records, known, strict=True) if not np.isfinite(r.values[r.scored & ~k]).any()]
    if len(before) == len(records) or len(after) == len(records):
        unit = records[0].units.get("time", "")
        raise ValueError(
            f"forecasts from {f'{forecast_from:g} {unit}'.strip()} since the {counted_from(records)} leave nothing to "
            f"{'forecast' if len(after) == len(records) else 'learn from'}; the records run to "
            f"{f'{max(float(r.times[-1]) for r in records):g} {unit}'.strip()} since then: choose another --forecast-from"
        )
    return Asked(
        records[0].channels[0],
        unit,
        threshold,
        forecast_from,
        records[0].units.get("time", "1"),
        counted_from(records),
        note,
    )


def _informs(record: Record) -> np.ndarray:  # (T,)
    """Where anything is known: a number, or that it lies beyond a limit, by which a person is found and nothing is scored."""
    return np.asarray((np.isfinite(record.values) | record.censored).any(1))


def _first_known(records: Sequence[Record]) -> tuple[float, int]:
    """The last of people's first values after their first dose (or start) that somebody has a later value than, on everybody's
    own clock, and of how many people nothing is known by then.

    Errors: `ValueError` where nobody has a value later than somebody's first.
    """
    known = [r.times[r.scored & _informs(r)] for r in records]
    measured = [r.times[r.scored & np.isfinite(r.values).any(1)] for r in records]
    for time in sorted({float(times[0]) for times in known if len(times)}, reverse=True):
        if any(not at_or_before(times, time).all() for times in measured if len(times)):
            # a value right after a dose at once stands a rounding behind it
            time = 0.0 if time <= SAME * max(times[-1] for times in measured if len(times)) else time
            return time, sum(not (len(times) and at_or_before(times, time)[0]) for times in known)
    raise ValueError(
        f"everyone's only value after the {counted_from(records)} is of one time, so that nothing is left to forecast: that "
        "takes a value to forecast from and a later one"
    )


def require_two_forecasts(records: Sequence[Record], asked: Asked) -> None:
    """Each one's recalibration is by what came true of the others."""
    begin = float(asked.forecast_from or 0.0)
    later = [r.id for r in records if np.isfinite(r.values[r.scored & ~at_or_before(r.times, begin)]).any()]
    if len(later) < 2 <= len(records):  # of one person alone nobody is left to learn from, which is said where that is planned
        raise ValueError(
            f"after {begin:g} {asked.time_unit} since the {asked.since} only person {', '.join(later)} is measured "
            "again, and forecasts are judged on two people or more: choose an earlier --forecast-from, or give people with more "
            "measurements"
        )
