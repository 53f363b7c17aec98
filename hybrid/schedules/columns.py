"""A column of numbers, as whoever calls us holds it: a list, an array, a tensor, a column of a table."""

import numpy as np
from torch import Tensor

from physics.arguments import quote


def as_array(values: object) -> np.ndarray:
    """What `values` holds as an array, wherever a tensor is; what a column of pandas says is missing is NaN.

    Errors: those of numpy, torch and pandas for what is no array.
    """
    found = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    if found.dtype.kind == "O" and hasattr(values, "to_numpy"):  # its own sign for missing is no number
        found = np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    return found


def column(values: object, what: str) -> np.ndarray:  # (T,) float64
    """A list, tuple, array, tensor or column of a table, of one axis, as float64; what is missing in a column is NaN.

    Errors: `ValueError`, beginning with `what`, for anything else.
    """
    try:
        found = as_array(values)
        if found.ndim == 1 and found.dtype.kind in "fiu":
            return found.astype(np.float64)
    except (ValueError, TypeError, RuntimeError):  # a ragged list, or a tensor of no device
        pass
    raise ValueError(f"{what} must be numbers in a list or an array of one axis, got {quote(values)}")
