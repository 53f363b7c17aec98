"""Arrays of lines: what a tensor is while its operations are written as scalars."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from exchange.program.lines import Lines

Array = np.ndarray  # of whole numbers in objects: the line of every element


def lifted(lines: Lines, value: Any) -> Array:
    """An array of lines: itself, or the constants that a tensor or a number holds."""
    if isinstance(value, np.ndarray):
        return value
    numbers = (
        value.detach().cpu().double().numpy() if isinstance(value, Tensor) else np.asarray(value, dtype=np.float64)
    )
    found = np.empty(numbers.shape, dtype=object)
    for place in np.ndindex(numbers.shape):
        found[place] = lines.constant(float(numbers[place]))
    return found


def each(write: Callable[..., int], *arrays: Array) -> Array:
    """The line that `write` gives for every element of arrays that broadcast."""
    found = np.frompyfunc(write, len(arrays), 1)(*arrays)
    return found if isinstance(found, np.ndarray) else holding(found)


def holding(line: int) -> Array:
    """An array without axes."""
    found = np.empty((), dtype=object)
    found[()] = line
    return found


def folded(write: Callable[[int, int], int], array: Array, axes: tuple[int, ...], start: int | None = None) -> Array:
    """Along these axes all elements as one, from the first on; of none of them `start`."""
    kept = [axis for axis in range(array.ndim) if axis not in axes]
    rows = array.transpose([*kept, *axes]).reshape(*(array.shape[axis] for axis in kept), -1)
    found = np.empty(rows.shape[:-1], dtype=object)
    for place in np.ndindex(found.shape):
        row = list(rows[place])
        if not row and start is None:
            raise ValueError("the least or largest of nothing")
        whole: Any = row[0] if row else start
        for one in row[1:]:
            whole = write(whole, one)
        found[place] = whole
    return found


def product(lines: Lines, a: Array, b: Array) -> Array:
    """The matrix product of (..., i, k) and (..., k, j), with axes in front that broadcast."""
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, (*lead, *a.shape[-2:])), np.broadcast_to(b, (*lead, *b.shape[-2:]))
    found = np.empty((*lead, a.shape[-2], b.shape[-1]), dtype=object)
    for place in np.ndindex(found.shape):
        *front, i, j = place
        row, column = a[(*front, i)], b[(*front, slice(None), j)]
        total: int | None = None
        for one, other in zip(row, column, strict=True):
            term = lines.write("multiply", one, other)
            total = term if total is None else lines.write("add", total, term)
        found[place] = lines.constant(0.0) if total is None else total
    return found
