"""The cells of a DataFrame as a text file would hold them, so that both are read by one set of rules."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hybrid.frames import DataFrame

_MOST_WHOLE = 2.0**53  # up to here a float that is whole is the whole number that it was before a missing cell made it a float


def cells_of(frame: "DataFrame") -> tuple[list[str], list[Sequence[str]]]:
    """The columns' names and the rows' cells; an index that has a name is a column too.

    Missing (None, NaN, NA, NaT) is an empty cell; 1.0 is 1, as where a missing value made floats of whole numbers; True is 1;
    a time stamp is an ISO time.
    Errors: `ValueError` for names of several levels, and for durations, whose unit a file would not say either.
    """
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    if frame.columns.nlevels > 1:
        raise ValueError(
            f"the frame's columns have names of {frame.columns.nlevels} levels, and one names a column; write "
            "frame.columns = frame.columns.map('_'.join)"
        )
    names = [str(name) for name in frame.columns]
    rows = zip(*(_texts(name, frame.iloc[:, k]) for k, name in enumerate(names)), strict=True)
    return names, list(rows)


def _texts(name: str, column: Any) -> list[str]:
    values, missing = column.tolist(), column.isna().tolist()
    if getattr(column.dtype, "kind", "") == "f" and column.dtype.itemsize < 8:
        values = [np.float32(v) for v in values]  # .1 was .1 before it was stored so
    return ["" if lost else _text(name, value) for value, lost in zip(values, missing, strict=True)]


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating):
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) < _MOST_WHOLE else str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "total_seconds"):
        raise ValueError(
            f"the frame's column {name[:60]} holds durations, and numbers in a stated unit are read; write "
            f"frame[{name[:60]!r}] / pandas.Timedelta('1h') for hours"
        )
    return str(value)
