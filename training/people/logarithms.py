"""Records as a model of logarithms has them: the logarithm of what was measured, and of limits."""

from dataclasses import replace

import numpy as np

from hybrid import Log
from physics.arguments import quote
from training.people.records import Record


def in_logarithms(record: Record, observation: Log) -> Record:
    """The same person with the logarithm of every value and limit, which are in the units of the observation within.

    A lower limit at 0 or below says nothing of a logarithm, and is left out.
    Errors: `ValueError`, naming person, channel and time, for a value or an upper limit at 0 or below.
    """
    for what, array in (("was measured", record.values), ("has its upper limit", record.upper)):
        wrong = np.zeros(record.values.shape, dtype=bool) if array is None else np.asarray(array) <= 0.0  # NaN is not
        if wrong.any():
            t, c = np.argwhere(wrong)[0].tolist()
            assert array is not None
            raise ValueError(
                f"record {record.id}: {record.channels[c]} {what} at {array[t, c]:g} at time {record.times[t]:g}, and the model "
                f"observes its logarithm ({quote(observation.channels[c])}); leave such values out, or say that they are below "
                "the limit of quantification (Record.upper)"
            )
    lower, upper = (None if limit is None else _log(limit) for limit in (record.lower, record.upper))
    units = {name: unit for name, unit in record.units.items() if name not in record.channels}
    stated = {**units, **dict(zip(observation.channels, observation.units, strict=True))}
    return replace(
        record,
        values=_log(record.values),
        channels=observation.channels,
        units=stated,
        lower=lower,
        upper=upper,
        nonnegative=(),  # a logarithm may be negative
    )


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(np.where(values > 0.0, values, np.nan))  # +∞, no limit, stays so
