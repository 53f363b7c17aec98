"""A person's own clock: it reads 0 at their first dose, whatever the table's clock reads then."""

import math
from dataclasses import replace

import numpy as np
from torch import Tensor

from hybrid import Schedule
from hybrid.schedules.dose import SAME, as_float


def origin_of(schedule: Schedule) -> float:
    """Where a person's own clock reads 0: at their first dose or steady state, without any at the start."""
    return min([*(as_float(d.time) for d in schedule.doses), *(s.time for s in schedule.steady)], default=schedule.start)


def counts_from(schedule: Schedule) -> str:
    """What that is, in words."""
    return "first dose" if schedule.doses or schedule.steady else "start"


def since(
    schedule: Schedule,
    times: np.ndarray,  # (T,)
    origin: float,
) -> tuple[Schedule, np.ndarray]:
    """The schedule and the observation times, counted from `origin`.

    t − origin, rounded to the decimals that t and origin carry at all: 100.7 − 100 is .7000000000000028, and .7 was meant.
    Two different times stay different: those that would become one are left as the subtraction gives them.
    Law: with origin 0 nothing changes; the order of all times is kept; a time with few enough decimals comes out as if it
    had been written on this clock (for times about 1e5, ten of them).
    """
    if origin == 0.0:
        return schedule, times
    signals = {name: np.asarray(s.times, dtype=np.float64) for name, s in schedule.inputs.items()}
    doses = np.array([as_float(d.time) for d in schedule.doses])
    anew = np.array([*schedule.resets, *(s.time for s in schedule.steady)], dtype=np.float64)
    every = np.unique(np.concatenate([times, doses, anew, [schedule.start], *signals.values()]))
    raw = every - origin
    decimals = math.floor(-math.log10(4.0 * np.spacing(max(abs(origin), float(np.abs(every).max())))))
    clean = np.round(raw, min(max(decimals, 0), 22))  # 1e22 is the last power of ten that float64 holds exactly
    apart = np.diff(clean) > 0.0
    alone = np.concatenate([[True], apart]) & np.concatenate([apart, [True]])
    own = np.where(alone, clean, raw) + 0.0  # no −0

    def moved(at: np.ndarray) -> np.ndarray:
        return own[np.searchsorted(every, at)]

    shifted = [
        # a time that carries a gradient keeps it
        replace(d, time=float(t) + (d.time - d.time.detach()) if isinstance(d.time, Tensor) else float(t))
        for d, t in zip(schedule.doses, moved(doses), strict=True)
    ]
    return (
        replace(
            schedule,
            doses=tuple(shifted),
            inputs={
                name: replace(s, times=tuple(moved(signals[name]).tolist())) for name, s in schedule.inputs.items()
            },
            start=float(moved(np.array([schedule.start]))[0]),
            resets=tuple(moved(np.array(schedule.resets, dtype=np.float64)).tolist()),
            steady=tuple(replace(s, time=float(moved(np.array([s.time]))[0])) for s in schedule.steady),
        ),
        moved(times),
    )


def at_or_before(
    times: np.ndarray,  # (T,) on the person's own clock
    time: float,
) -> np.ndarray:  # (T,)
    """Which times are not after `time`, a rounding apart being the same."""
    return times <= time + SAME * float(np.abs(times).max())
