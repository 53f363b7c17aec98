"""A graph of ours evaluated in numpy, every result's size known before it is made: what a stranger's graph takes is bounded.

It needs no runtime, and no library but the one that parses the file. `Erf` needs scipy's or torch's erf; torch is here.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from physics.arguments import quote

if TYPE_CHECKING:
    import onnx

MOST = 2**24  # numbers in all results together, 128 MB
Array = np.ndarray[Any, Any]


def _sigmoid(x: Array) -> Array:
    return np.where(x >= 0.0, 1.0 / (1.0 + np.exp(-np.abs(x))), 1.0 - 1.0 / (1.0 + np.exp(-np.abs(x))))


def _erf(x: Array) -> Array:
    return torch.erf(torch.from_numpy(np.ascontiguousarray(x))).numpy()


_PLAIN: Mapping[str, Callable[..., Any]] = {  # of each number by itself
    **{"Abs": np.abs, "Acos": np.arccos, "Add": np.add, "And": np.logical_and, "Asin": np.arcsin, "Atan": np.arctan},
    **{
        "Ceil": np.ceil,
        "Cos": np.cos,
        "Div": np.divide,
        "Equal": np.equal,
        "Erf": _erf,
        "Exp": np.exp,
        "Floor": np.floor,
    },
    **{"Greater": np.greater, "GreaterOrEqual": np.greater_equal, "Identity": lambda x: x, "IsNaN": np.isnan},
    **{"Less": np.less, "LessOrEqual": np.less_equal, "Log": np.log, "Max": np.maximum, "Min": np.minimum},
    **{"Mul": np.multiply, "Neg": np.negative, "Not": np.logical_not, "Or": np.logical_or, "Pow": np.power},
    **{
        "Reciprocal": np.reciprocal,
        "Relu": lambda x: np.maximum(x, 0.0),
        "Sigmoid": _sigmoid,
        "Sign": np.sign,
        "Sin": np.sin,
    },
    **{"Sqrt": np.sqrt, "Sub": np.subtract, "Tan": np.tan, "Tanh": np.tanh, "Where": np.where, "Xor": np.logical_xor},
}
_REDUCED: Mapping[str, Callable[..., Any]] = {
    **{"ReduceSum": np.sum, "ReduceMean": np.mean, "ReduceMax": np.amax, "ReduceMin": np.amin},
}


def evaluated(graph: "onnx.GraphProto", given: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of a graph at these inputs, by name.

    Errors: `ValueError`, one clause, for an operation that we do not write, values that do not fit, and for more than 2²⁴ numbers
    in all results together.
    """
    from onnx import numpy_helper

    values: dict[str, Array] = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer} | dict(
        given
    )
    total = 0
    with np.errstate(all="ignore"):  # what is not finite comes out as it is
        for node in graph.node:
            attributes = {one.name: one for one in node.attribute}
            try:
                operands = [values[name] for name in node.input]
                total += _size(node.op_type, operands)
                if total > MOST:
                    raise ValueError(f"its results are more than {MOST} numbers")
                result = _one(node.op_type, operands, attributes)
                if len(node.output) != 1:
                    raise ValueError(f"{quote(node.op_type)} gives {len(node.output)} results, and ours give one")
            except (KeyError, IndexError, TypeError, OverflowError, np.exceptions.AxisError) as error:
                raise ValueError(
                    f"its operation {quote(node.op_type)} does not fit what it is given ({error!r:.100})"
                ) from error
            values[node.output[0]] = result
    missing = [one.name for one in graph.output if one.name not in values]
    if missing:
        raise ValueError(f"it does not compute its output {quote(missing[0])}")
    return {one.name: values[one.name] for one in graph.output}


def _size(operation: str, operands: Sequence[Array]) -> int:
    """How many numbers the result has, or more."""
    if operation in _PLAIN:
        return math.prod(np.broadcast_shapes(*(one.shape for one in operands)))
    if operation == "MatMul":
        a, b = operands
        if not a.ndim or not b.ndim:
            raise ValueError("a product of matrices is of arrays with axes")
        lead = math.prod(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
        return lead * (a.shape[-2] if a.ndim > 1 else 1) * (b.shape[-1] if b.ndim > 1 else 1)
    if operation == "Expand":
        return math.prod(np.broadcast_shapes(operands[0].shape, tuple(int(k) for k in operands[1])))
    if operation == "Gather":
        return operands[0].size * max(1, operands[1].size)
    return sum(one.size for one in operands)


def _integer(attributes: Mapping[str, Any], name: str, default: int) -> int:
    return int(attributes[name].i) if name in attributes else default


def _one(operation: str, operands: Sequence[Array], attributes: Mapping[str, Any]) -> Array:
    if operation in _PLAIN:
        found = np.asarray(_PLAIN[operation](*operands))
        kept = operation in ("Max", "Min", "Relu") and operands[0].dtype.kind == "f"
        return found.astype(operands[0].dtype) if kept else found
    if operation in _REDUCED:
        axes = tuple(int(k) for k in operands[1])
        return np.asarray(
            _REDUCED[operation](operands[0], axis=axes, keepdims=bool(_integer(attributes, "keepdims", 1)))
        )
    if operation not in _SHAPING:
        raise ValueError(f"{quote(operation)} is no operation that we write")
    return np.asarray(_SHAPING[operation](operands, attributes))


def _slice(operands: Sequence[Array], _: Mapping[str, Any]) -> Array:
    value, starts, ends, axes, steps = operands
    cut = [slice(None)] * value.ndim
    for start, end, axis, step in zip(*(one.tolist() for one in (starts, ends, axes, steps)), strict=True):
        cut[axis] = slice(start, end, step)
    return value[tuple(cut)]


def _unsqueezed(operands: Sequence[Array], _: Mapping[str, Any]) -> Array:
    return np.expand_dims(operands[0], tuple(int(k) for k in operands[1]))


_DTYPES = {1: np.float32, 11: np.float64, 7: np.int64, 6: np.int32, 9: np.bool_}
_SHAPING: Mapping[str, Callable[[Sequence[Array], Mapping[str, Any]], Any]] = {
    "MatMul": lambda v, a: np.matmul(*v),
    "Expand": lambda v, a: np.broadcast_to(v[0], np.broadcast_shapes(v[0].shape, tuple(int(k) for k in v[1]))),
    "Gather": lambda v, a: np.take(v[0], v[1], axis=_integer(a, "axis", 0)),
    "Reshape": lambda v, a: np.reshape(v[0], [v[0].shape[i] if k == 0 else int(k) for i, k in enumerate(v[1])]),
    "Shape": lambda v, a: np.array(v[0].shape, dtype=np.int64),
    "Concat": lambda v, a: np.concatenate(list(v), axis=_integer(a, "axis", 0)),
    "Transpose": lambda v, a: np.transpose(v[0], [int(k) for k in a["perm"].ints]),
    "Unsqueeze": _unsqueezed,
    "Squeeze": lambda v, a: np.squeeze(v[0], tuple(int(k) for k in v[1])),
    "Slice": _slice,
    "Cast": lambda v, a: v[0].astype(_DTYPES[_integer(a, "to", 0)]),
}
