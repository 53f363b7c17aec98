"""A column of numbers, as whoever calls us holds it: a list, an array, a tensor, a column of a table."""

import numpy as np
from torch import Tensor

from physics.arguments import quote


def column(values: object, what: str) -> np.ndarray:  # (T,) float64
    """A list, tuple, array, tensor or column of pandas of one axis, float64; what is missing in a column is NaN.

    Errors: `ValueError`, beginning with `what`, for anything else.
    """
    try:
        found = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
        if found.dtype.kind == "O" and hasattr(values, "to_numpy"):  # a column of pandas with its own sign for missing
            found = values.to_numpy(dtype=np.float64, na_value=np.nan)
        if found.ndim == 1 and found.dtype.kind in "fiu":
            return found.astype(np.float64)
    except (ValueError, TypeError, RuntimeError):  # a ragged list, or a tensor of no device
        pass
    raise ValueError(f"{what} must be numbers in a list or an array of one axis, got {quote(values)}")
