"""ATen operations that move elements and compute none: on an array of lines they are those of numpy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from exchange.program.arrays import Array, lifted
from exchange.program.lines import Lines


def same(lines: Lines, a: Any, *_: Any, **__: Any) -> Array:
    """What is copied, or seen under another name."""
    return lifted(lines, a)


def view(lines: Lines, a: Any, shape: Sequence[int]) -> Array:
    return lifted(lines, a).reshape(tuple(shape))


def expand(lines: Lines, a: Any, shape: Sequence[int], implicit: bool = False) -> Array:
    array = lifted(lines, a)
    front = len(shape) - array.ndim
    return np.broadcast_to(array, tuple(array.shape[i - front] if s == -1 else s for i, s in enumerate(shape)))


def broadcast_tensors(lines: Lines, arrays: Sequence[Any]) -> tuple[Array, ...]:
    return tuple(np.broadcast_arrays(*(lifted(lines, a) for a in arrays)))


def expanded_as(lines: Lines, a: Any, other: Any) -> Array:
    return np.broadcast_to(lifted(lines, a), tuple(other.shape))


def viewed_as(lines: Lines, a: Any, other: Any) -> Array:
    return lifted(lines, a).reshape(tuple(other.shape))


def flatten(lines: Lines, a: Any, first: int = 0, last: int = -1) -> Array:
    array = lifted(lines, a)
    if not array.ndim:
        return array.reshape(1)
    first, last = first % array.ndim, last % array.ndim
    return array.reshape((*array.shape[:first], -1, *array.shape[last + 1 :]))


def mirrored(lines: Lines, a: Any) -> Array:
    return lifted(lines, a).swapaxes(-1, -2)


def permute(lines: Lines, a: Any, axes: Sequence[int]) -> Array:
    return lifted(lines, a).transpose(tuple(axes))


def transpose(lines: Lines, a: Any, first: int, second: int) -> Array:
    return lifted(lines, a).swapaxes(first, second)


def turned(lines: Lines, a: Any) -> Array:
    return lifted(lines, a).T


def unsqueeze(lines: Lines, a: Any, axis: int) -> Array:
    return np.expand_dims(lifted(lines, a), axis)


def squeeze(lines: Lines, a: Any, axes: int | Sequence[int] | None = None) -> Array:
    array = lifted(lines, a)
    some = range(array.ndim) if axes is None else [axes] if isinstance(axes, int) else axes
    return array.squeeze(tuple(axis % array.ndim for axis in some if array.shape[axis] == 1))


def select(lines: Lines, a: Any, axis: int, index: int) -> Array:
    return _part(lifted(lines, a), axis, index)


def sliced(
    lines: Lines, a: Any, axis: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Array:
    return _part(lifted(lines, a), axis, slice(start, end, step))


def split(lines: Lines, a: Any, sizes: int | Sequence[int], axis: int = 0) -> tuple[Array, ...]:
    array = lifted(lines, a)
    length = array.shape[axis]
    ends = list(range(sizes, length, sizes)) if isinstance(sizes, int) else list(np.cumsum(sizes)[:-1])
    return tuple(np.split(array, ends, axis))


def unbind(lines: Lines, a: Any, axis: int = 0) -> tuple[Array, ...]:
    array = lifted(lines, a)
    return tuple(_part(array, axis, i) for i in range(array.shape[axis]))


def cat(lines: Lines, parts: Sequence[Any], axis: int = 0) -> Array:
    arrays = [lifted(lines, part) for part in parts]
    return np.concatenate([a for a in arrays if a.shape != (0,)] or arrays, axis)


def stack(lines: Lines, parts: Sequence[Any], axis: int = 0) -> Array:
    return np.stack([lifted(lines, part) for part in parts], axis)


def repeat(lines: Lines, a: Any, times: Sequence[int]) -> Array:
    return np.tile(lifted(lines, a), tuple(times))


def flip(lines: Lines, a: Any, axes: Sequence[int]) -> Array:
    return np.flip(lifted(lines, a), tuple(axes))


def diagonal(lines: Lines, a: Any, offset: int = 0, first: int = 0, second: int = 1) -> Array:
    return np.diagonal(lifted(lines, a), offset, first, second)


def index(lines: Lines, a: Any, places: Sequence[Any]) -> Array:
    return lifted(lines, a)[_places(places)]


def index_select(lines: Lines, a: Any, axis: int, places: Any) -> Array:
    return _part(lifted(lines, a), axis, _fixed(places))


def gather(lines: Lines, a: Any, axis: int, places: Any) -> Array:
    array, where = lifted(lines, a), _fixed(places)
    inside = tuple(slice(None) if i == axis % array.ndim else slice(0, s) for i, s in enumerate(where.shape))
    return np.take_along_axis(array[inside], where, axis)


def select_scatter(lines: Lines, a: Any, part: Any, axis: int, index: int) -> Array:
    return _with_part(lifted(lines, a), lifted(lines, part), axis, index)


def slice_scatter(
    lines: Lines, a: Any, part: Any, axis: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Array:
    return _with_part(lifted(lines, a), lifted(lines, part), axis, slice(start, end, step))


def index_put(lines: Lines, a: Any, places: Sequence[Any], values: Any, accumulate: bool = False) -> Array:
    if accumulate:
        raise NotImplementedError("accumulate=True")
    found = lifted(lines, a).copy()
    found[_places(places)] = lifted(lines, values)
    return found


def copy(lines: Lines, a: Any, source: Any, *_: Any) -> Array:
    return np.broadcast_to(lifted(lines, source), lifted(lines, a).shape)


def triangle(lower: bool) -> Any:
    def of(lines: Lines, a: Any, diagonal: int = 0) -> Array:
        array = lifted(lines, a)
        kept = np.tril(np.ones(array.shape[-2:]), diagonal) if lower else np.triu(np.ones(array.shape[-2:]), diagonal)
        found = np.broadcast_to(lifted(lines, 0.0), array.shape).copy()
        found[..., kept == 1.0] = array[..., kept == 1.0]
        return found

    return of


def _part(array: Array, axis: int, index: Any) -> Array:
    found = array[(slice(None),) * (axis % array.ndim) + (index,)]
    return found if isinstance(found, np.ndarray) else _whole(found)


def _with_part(array: Array, part: Array, axis: int, index: Any) -> Array:
    found = array.copy()
    found[(slice(None),) * (axis % array.ndim) + (index,)] = part
    return found


def _whole(line: int) -> Array:
    found = np.empty((), dtype=object)
    found[()] = line
    return found


def _fixed(places: Any) -> np.ndarray:
    """Places that no input moves."""
    if not isinstance(places, Tensor):
        raise NotImplementedError("places that are computed from the inputs")
    return places.numpy()


def _places(places: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(slice(None) if one is None else _fixed(one) for one in places)
