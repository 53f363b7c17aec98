"""Operations along axes: products, reductions, and what only moves values."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from exchange.onnx.building import Building, Operand, Value, rank_of
from exchange.onnx.call import Call, Rule


def _product(call: Call) -> Value:
    a, b = (call.operand(v) for v in call.arguments[:2])
    return call.put("MatMul", a, b)


def _linear(call: Call) -> Value:
    x, weight, bias = call.operand(call.arguments[0]), call.arguments[1], call.get(2, "bias")
    turned = _permuted(call.graph, call.operand(weight), (1, 0))
    found = call.put("MatMul", x, turned)
    return found if bias is None else call.put("Add", found, call.operand(bias))


def _addmm(call: Call) -> Value:
    bias, a, b = (call.operand(v) for v in call.arguments[:3])
    if call.get(3, "beta", 1) != 1 or call.get(4, "alpha", 1) != 1:
        raise ValueError("addmm with factors is not written; multiply by them first")
    return call.put("Add", call.put("MatMul", a, b), bias)


def _einsum(call: Call) -> Value:
    equation, operands = call.arguments[:2]
    return call.graph.node("Einsum", [call.operand(v) for v in operands], call.dtype, call.rank, {"equation": equation})


def _reduced(operation: str) -> Rule:
    def rule(call: Call) -> Value:
        value = call.operand(call.arguments[0])
        axes, keep = call.get(1, "dim"), bool(call.get(2, "keepdim", False))
        axes = (
            list(range(rank_of(value)))
            if axes is None or axes == []
            else [axes]
            if isinstance(axes, int)
            else list(axes)
        )
        attributes = {"keepdims": int(keep)}
        return call.graph.node(operation, [value, call.graph.integers(axes)], call.dtype, call.rank, attributes)

    return rule


def _every(operation: str) -> Rule:
    """all and any along axes, in whole numbers: of truth values there is no such reduction."""

    def rule(call: Call) -> Operand:
        value = call.graph.cast(call.operand(call.arguments[0], torch.bool), torch.int32)
        axes = call.get(1, "dim")
        axes = list(range(rank_of(value))) if axes is None else [axes] if isinstance(axes, int) else list(axes)
        keep = {"keepdims": int(bool(call.get(2, "keepdim", False)))}
        found = call.graph.node(operation, [value, call.graph.integers(axes)], torch.int32, call.rank, keep)
        return call.graph.cast(found, torch.bool)

    return rule


def _unsqueeze(call: Call) -> Value:
    axis = call.arguments[1] % call.rank
    return call.put("Unsqueeze", call.operand(call.arguments[0]), call.graph.integers([axis]))


def _squeeze(call: Call) -> Value:
    value, axes = call.operand(call.arguments[0]), call.arguments[1]
    axes = [axes] if isinstance(axes, int) else axes
    return call.put("Squeeze", value, call.graph.integers([a % rank_of(value) for a in axes]))


def _select(call: Call) -> Value:
    value, axis, place = call.arguments[:3]
    value = call.operand(value)
    return call.graph.node(
        "Gather", [value, torch.tensor(place)], call.dtype, call.rank, {"axis": axis % rank_of(value)}
    )


def _cut(call: Call, value: Operand, axis: int, start: int, end: int, step: int = 1) -> Value:
    inputs = [value, *(call.graph.integers([k]) for k in (start, end, axis, step))]
    return call.graph.node("Slice", inputs, call.dtype, rank_of(value))


def _slice(call: Call) -> Value:
    value = call.operand(call.arguments[0])
    axis, start, end, step = call.get(1, "dim", 0), call.get(2, "start"), call.get(3, "end"), call.get(4, "step", 1)
    end = 2**62 if end is None else end
    if not all(isinstance(k, int) for k in (axis, end, step)) or not isinstance(start, int | None):
        raise ValueError("a slice whose ends depend on the length of the batch is not written; take whole rows")
    return _cut(call, value, axis % rank_of(value), start or 0, end, step)


def _split(call: Call) -> list[Value]:
    value, sizes, axis = call.operand(call.arguments[0]), call.arguments[1], call.get(2, "dim", 0)
    if not isinstance(sizes, list | tuple):
        raise ValueError("split into parts of one size is not written; give the size of each part")
    found, start = [], 0
    for size in sizes:
        found.append(_cut(call, value, axis % rank_of(value), start, start + size))
        start += size
    return found


def _unbind(call: Call) -> list[Value]:
    value, axis = call.operand(call.arguments[0]), call.get(1, "dim", 0)
    attributes = {"axis": axis % rank_of(value)}
    return [
        call.graph.node("Gather", [value, torch.tensor(place)], call.dtype, call.rank, attributes)
        for place in range(call.count)
    ]


def _index(call: Call) -> Value:
    value, places = call.operand(call.arguments[0]), call.arguments[1]
    axes = [i for i, one in enumerate(places) if one is not None]
    if len(axes) != 1 or not isinstance(places[axes[0]], Tensor) or places[axes[0]].dtype != torch.int64:
        raise ValueError("indexing is written with one list of constant positions; take the columns one list at a time")
    return call.graph.node("Gather", [value, places[axes[0]]], call.dtype, call.rank, {"axis": axes[0]})


def _index_select(call: Call) -> Value:
    value, axis, places = call.arguments[:3]
    value = call.operand(value)
    return call.graph.node("Gather", [value, places], call.dtype, call.rank, {"axis": axis % rank_of(value)})


def _cat(call: Call) -> Value:
    axis = call.get(1, "dim", 0) % call.rank
    return call.graph.node(
        "Concat", [call.operand(v) for v in call.arguments[0]], call.dtype, call.rank, {"axis": axis}
    )


def _stack(call: Call) -> Value:
    axis = call.get(1, "dim", 0) % call.rank
    each = [call.put("Unsqueeze", call.operand(v), call.graph.integers([axis])) for v in call.arguments[0]]
    return call.graph.node("Concat", each, call.dtype, call.rank, {"axis": axis})


def _permuted(graph: Building, value: Operand, order: Sequence[int]) -> Operand:
    if isinstance(value, Tensor):
        return value.permute(*order)
    return graph.node("Transpose", [value], value.dtype, value.rank, {"perm": list(order)})


def _permute(call: Call) -> Operand:
    return _permuted(call.graph, call.operand(call.arguments[0]), [a % call.rank for a in call.arguments[1]])


def _transpose(call: Call) -> Operand:
    value = call.operand(call.arguments[0])
    order = list(range(rank_of(value)))
    i, j = call.arguments[1:3] if len(call.arguments) > 2 else (-2, -1)
    order[i], order[j] = order[j], order[i]
    return _permuted(call.graph, value, order)


def _reshape(call: Call) -> Value:
    return call.put("Reshape", call.operand(call.arguments[0]), call.graph.shape(call.arguments[1]))


def _expand(call: Call) -> Value:
    # −1, "as it is", is 1 in ONNX, whose Expand broadcasts
    sizes = [1 if isinstance(size, int) and size == -1 else size for size in call.arguments[1]]
    return call.put("Expand", call.operand(call.arguments[0]), call.graph.shape(sizes))


def _shape_of(call: Call, value: Operand) -> Operand:
    if isinstance(value, Tensor):
        return call.graph.integers(value.shape)
    return call.graph.node("Shape", [value], torch.int64, 1)


def _expand_as(call: Call) -> Value:
    return call.put("Expand", call.operand(call.arguments[0]), _shape_of(call, call.arguments[1]))


def _filled(number: float) -> Rule:
    """Of given sizes: zeros, ones."""

    def rule(call: Call) -> Value:
        sizes = call.arguments[0] if isinstance(call.arguments[0], list | tuple) else call.arguments[1]
        return call.put("Expand", call.number(number), call.graph.shape(sizes))

    return rule


def _full(call: Call) -> Value:
    first = isinstance(call.arguments[0], list | tuple)
    sizes, number = call.arguments[:2] if first else call.arguments[1:3]
    return call.put("Expand", call.number(number), call.graph.shape(sizes))


def _like(number: float | None) -> Rule:
    """Of the shape of another: zeros, ones, a number."""

    def rule(call: Call) -> Value:
        fill = call.arguments[1] if number is None else number
        return call.put("Expand", call.number(fill), _shape_of(call, call.arguments[0]))

    return rule


def _broadcast(call: Call) -> list[Value]:
    values = [call.operand(v) for v in call.arguments[0]]
    shape = call.graph.node("Shape", [_broadcast_sum(call, values)], torch.int64, 1)
    return [call.put("Expand", v, shape) for v in values]


def _broadcast_sum(call: Call, values: Sequence[Operand]) -> Operand:
    """Something of the shape that all have together."""
    whole = values[0]
    for value in values[1:]:
        whole = call.put("Add", whole, value)
    return whole


def _size(call: Call) -> Value:
    shape = call.graph.node("Shape", [call.arguments[0]], torch.int64, 1)
    return call.graph.node("Gather", [shape, torch.tensor(call.arguments[1])], torch.int64, 0, {"axis": 0})


ALONG_AXES: Mapping[str, Rule] = MappingProxyType(
    {
        **{"matmul": _product, "bmm": _product, "mm": _product, "mv": _product, "dot": _product, "linear": _linear},
        **{"addmm": _addmm, "einsum": _einsum, "sum": _reduced("ReduceSum"), "mean": _reduced("ReduceMean")},
        **{"all": _every("ReduceMin"), "any": _every("ReduceMax")},
        **{"amax": _reduced("ReduceMax"), "amin": _reduced("ReduceMin")},
        **{"unsqueeze": _unsqueeze, "squeeze": _squeeze, "select": _select, "slice": _slice, "index": _index},
        **{"split": _split, "split_with_sizes": _split, "index_select": _index_select, "cat": _cat, "stack": _stack},
        "unbind": _unbind,
        **{"permute": _permute, "transpose": _transpose, "mT": _transpose, "t": _transpose},
        **dict.fromkeys(("view", "reshape", "_unsafe_view"), _reshape),
        **{"expand": _expand, "broadcast_to": _expand, "expand_as": _expand_as, "broadcast_tensors": _broadcast},
        **dict.fromkeys(("zeros", "new_zeros"), _filled(0.0)),
        **dict.fromkeys(("ones", "new_ones"), _filled(1.0)),
        **{"full": _full, "new_full": _full, "full_like": _like(None)},
        **{"zeros_like": _like(0.0), "ones_like": _like(1.0), "sym_size": _size},
    }
)
