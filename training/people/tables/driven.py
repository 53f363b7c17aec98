"""Measured inputs of a person from a table: rows like those of measurements, of a channel that is called as the input."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hybrid import Signal
from training.people.records import Record


def driven(
    record: Record,
    inputs: Mapping[str, Literal["linear", "held"]],
) -> Record:
    """The same person with channels that are `inputs`, by name with how they go between their points, as input signals.

    What was read as measured of such a channel are the signal's points; before the first and after the last the nearest
    holds. The other channels are measured as before; times at which nothing else was measured are left out.
    Errors: `ValueError` for a person without any value of some inputs, all of which it names, with two values of one time, or
    with one that is censored, naming person and cure.
    Law: the values at the points are those of the table, to the last bit.
    """
    missing = [name for name in inputs if not _given(record, name).any()]
    if missing:
        several = len(missing) > 1
        raise ValueError(
            f"record {record.id}: no row gives the input{'s' * several} {', '.join(missing)}, and the model needs "
            f"{'them' if several else 'it'} of everyone; write rows with CMT={missing[0]} and its value in DV, one at least, "
            f"and its unit: --units {missing[0]}=…{', and so for each' * several}"
        )
    signals = {}
    for name, kind in inputs.items():
        here, values = _given(record, name), record.values[:, record.channels.index(name)]
        if record.censored[:, record.channels.index(name)].any():
            raise ValueError(
                f"record {record.id}: the input {name} has a value that is only known to lie between limits, and what drives a "
                "model is a number; write the number, or leave the row out"
            )
        times = record.times[here]
        twice = np.flatnonzero(np.diff(times) <= 0.0)
        if len(twice):
            raise ValueError(
                f"record {record.id}: the input {name} has two values at {times[twice[0]]:g}; keep one of them"
            )
        signals[name] = Signal(tuple(times.tolist()), tuple(values[here].tolist()), kind)
    kept = [k for k, channel in enumerate(record.channels) if channel not in inputs]
    values = record.values[:, kept]
    measured = np.isfinite(values).any(1) | record.censored[:, kept].any(1)
    return replace(
        record,
        schedule=record.schedule.do(inputs=signals),
        times=record.times[measured],
        values=values[measured],
        channels=tuple(record.channels[k] for k in kept),
        nonnegative=tuple(c for c in record.nonnegative if c not in inputs),
        lower=None if record.lower is None else record.lower[:, kept][measured],
        upper=None if record.upper is None else record.upper[:, kept][measured],
    )


def _given(record: Record, name: str) -> NDArray[np.bool_]:  # (T,)
    """At which of the record's times the channel of this name has a value."""
    if name not in record.channels:
        return np.zeros(len(record.times), dtype=bool)
    return np.isfinite(record.values[:, record.channels.index(name)])
