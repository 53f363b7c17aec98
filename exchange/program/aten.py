"""The ATen operations that a traced part of a model may use, each by what it is as scalar lines. This is the whole list."""

from collections.abc import Callable, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from exchange.program import aten_elementwise as by_element
from exchange.program import aten_shapes as by_place
from exchange.program.arrays import Array, each, folded, lifted, product
from exchange.program.lines import Lines

Carried = Callable[..., Any]  # of the lines and the arguments of the operation


def _axes(array: Array, axes: int | Sequence[int] | None) -> tuple[int, ...]:
    some = [axes] if isinstance(axes, int) else axes
    return tuple(range(array.ndim)) if not some and some != 0 else tuple(axis % array.ndim for axis in some or ())


def _reduced(operation: by_element.Elementwise, start: float | None) -> Carried:
    def of(lines: Lines, a: Any, axes: int | Sequence[int] | None = None, keepdim: bool = False, **_: Any) -> Array:
        array = lifted(lines, a)
        along = _axes(array, axes)
        first = None if start is None else lines.constant(start)
        found = folded(lambda p, q: operation(lines, p, q), array, along, first)
        return np.expand_dims(found, along) if keepdim else found

    return of


def _add(lines: Lines, a: int, b: int) -> int:
    return lines.write("add", a, b)


def _multiply(lines: Lines, a: int, b: int) -> int:
    return lines.write("multiply", a, b)


_sum = _reduced(_add, 0.0)


def _mean(lines: Lines, a: Any, axes: int | Sequence[int] | None = None, keepdim: bool = False, **_: Any) -> Array:
    array = lifted(lines, a)
    count = lines.constant(float(np.prod([array.shape[axis] for axis in _axes(array, axes)])))
    return each(lambda p: lines.write("divide", p, count), _sum(lines, array, axes, keepdim))


def _cumulative(lines: Lines, a: Any, axis: int, **_: Any) -> Array:
    found = lifted(lines, a).copy()
    rows = found.swapaxes(0, axis) if found.ndim else found.reshape(1)
    for i in range(1, len(rows)):
        rows[i] = each(lambda p, q: _add(lines, p, q), np.asarray(rows[i - 1]), np.asarray(rows[i]))
    return found


def _length(lines: Lines, a: Any, order: float = 2.0, axes: Any = None, keepdim: bool = False, **_: Any) -> Array:
    if order != 2.0:
        raise NotImplementedError(f"the norm of order {order}")
    squares = each(lambda p: lines.write("square", p), lifted(lines, a))
    return each(lambda p: lines.write("sqrt", p), _sum(lines, squares, axes, keepdim))


def _softmax(lines: Lines, a: Any, axis: int, half_to_float: bool = False) -> Array:
    array = lifted(lines, a)
    largest = _reduced(by_element.extreme(True), None)(lines, array, axis, True)
    powers = each(lambda p, q: lines.write("exp", lines.write("subtract", p, q)), array, largest)
    return each(lambda p, q: lines.write("divide", p, q), powers, _sum(lines, powers, axis, True))


def _matmul(lines: Lines, a: Any, b: Any) -> Array:
    """The product of matrices, and of rows and columns where one has a single axis."""
    one, other = lifted(lines, a), lifted(lines, b)
    found = product(lines, one if one.ndim > 1 else one[None], other if other.ndim > 1 else other[:, None])
    found = found if other.ndim > 1 else found[..., 0]
    return found if one.ndim > 1 else found[..., 0] if other.ndim == 1 else found[..., 0, :]


def _addmm(lines: Lines, c: Any, a: Any, b: Any, *, beta: float = 1.0, alpha: float = 1.0) -> Array:
    scaled = by_element.elementwise(_multiply, lines, c, beta)
    return by_element.add(lines, scaled, _matmul(lines, a, b), alpha)


def _linear(lines: Lines, a: Any, weight: Any, bias: Any = None) -> Array:
    found = _matmul(lines, a, lifted(lines, weight).swapaxes(-1, -2))
    return found if bias is None else by_element.add(lines, found, bias)


TABLE: MappingProxyType[str, Carried] = MappingProxyType(
    {
        **{name: partial(by_element.elementwise, operation) for name, operation in by_element.ELEMENTWISE.items()},
        "aten.add": by_element.add,
        "aten.sub": by_element.sub,
        "aten.rsub": by_element.rsub,
        "aten.div": by_element.div,
        "aten.clamp": by_element.clamp,
        "aten.clamp_min": by_element.clamp,
        "aten.clamp_max": lambda lines, a, high: by_element.clamp(lines, a, None, high),
        "aten.hardtanh": by_element.hardtanh,
        "aten.softplus": by_element.softplus,
        "aten.gelu": by_element.gelu,
        "aten.leaky_relu": by_element.leaky_relu,
        "aten.elu": by_element.elu,
        "aten.sum": _sum,
        "aten.prod": _reduced(_multiply, 1.0),
        "aten.amax": _reduced(by_element.extreme(True), None),
        "aten.amin": _reduced(by_element.extreme(False), None),
        "aten.any": _reduced(lambda lines, a, b: lines.write("or", a, b), 0.0),
        "aten.all": _reduced(lambda lines, a, b: lines.write("and", a, b), 1.0),
        "aten.mean": _mean,
        "aten.cumsum": _cumulative,
        "aten.linalg_vector_norm": _length,
        "aten._softmax": _softmax,
        "aten.softmax": _softmax,
        "aten.mm": _matmul,
        "aten.bmm": _matmul,
        "aten.mv": _matmul,
        "aten.dot": _matmul,
        "aten.matmul": _matmul,
        "aten.addmm": _addmm,
        "aten.linear": _linear,
        **{
            f"aten.{name}": by_place.same
            for name in (
                "clone",
                "alias",
                "detach",
                "lift_fresh_copy",
                "contiguous",
                "_to_copy",
                "to",
                "type_as",
                "detach_",
            )
        },
        "aten.view": by_place.view,
        "aten._unsafe_view": by_place.view,
        "aten.reshape": by_place.view,
        "aten.flatten": by_place.flatten,
        "aten.broadcast_to": by_place.expand,
        "aten.broadcast_tensors": by_place.broadcast_tensors,
        "aten.expand_as": by_place.expanded_as,
        "aten.view_as": by_place.viewed_as,
        "aten.mT": by_place.mirrored,
        "aten.expand": by_place.expand,
        "aten.permute": by_place.permute,
        "aten.transpose": by_place.transpose,
        "aten.t": by_place.turned,
        "aten.numpy_T": by_place.turned,
        "aten.unsqueeze": by_place.unsqueeze,
        "aten.squeeze": by_place.squeeze,
        "aten.select": by_place.select,
        "aten.slice": by_place.sliced,
        "aten.split": by_place.split,
        "aten.split_with_sizes": by_place.split,
        "aten.unbind": by_place.unbind,
        "aten.cat": by_place.cat,
        "aten.stack": by_place.stack,
        "aten.repeat": by_place.repeat,
        "aten.flip": by_place.flip,
        "aten.diagonal": by_place.diagonal,
        "aten.index": by_place.index,
        "aten.index_select": by_place.index_select,
        "aten.gather": by_place.gather,
        "aten.select_scatter": by_place.select_scatter,
        "aten.slice_scatter": by_place.slice_scatter,
        "aten.index_put": by_place.index_put,
        "aten.copy": by_place.copy,
        "aten.tril": by_place.triangle(True),
        "aten.triu": by_place.triangle(False),
    }
)
# what depends on the shape of its argument alone
SHAPED = frozenset(
    {"aten.full_like", "aten.zeros_like", "aten.ones_like", "aten.new_zeros", "aten.new_ones", "aten.new_full"}
)
# what no input enters: torch makes it
MADE = frozenset(
    f"aten.{name}" for name in ("zeros", "ones", "full", "scalar_tensor", "eye", "arange", "tensor", "_tensor_constant")
)
# what torch says of a tensor's type, which the tracing asks for itself
SAID = frozenset({"aten._assert_tensor_metadata"})
