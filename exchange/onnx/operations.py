"""The operations of torch that a graph may hold, and how each is written in ONNX.

Only what has the same meaning to the last branch: where torch switches (softplus beyond 20, a comparison with NaN), so does the
graph. Functions that ONNX lacks are written by those that it has, in a form that keeps their digits near 0.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from exchange.onnx.building import Building, Operand, Value, rank_of


@dataclass(frozen=True)
class Call:
    """One operation of a traced program: its operands, and of its result the type and the number of axes; `count`: how many
    results it has.
    """

    graph: Building
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    dtype: torch.dtype
    rank: int
    count: int = 1

    def get(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by place or by name."""
        return self.arguments[place] if place < len(self.arguments) else self.options.get(name, default)

    def put(self, operation: str, *inputs: Operand) -> Value:
        """A node of the result's own type and axes."""
        return self.graph.node(operation, inputs, self.dtype, self.rank)

    def number(self, value: float) -> Tensor:
        """A number in the type of the result."""
        return torch.tensor(value, dtype=self.dtype)

    def operand(self, value: Any, dtype: torch.dtype | None = None) -> Operand:
        """A number or tensor as an operand, in the type of the result or in another."""
        dtype = self.dtype if dtype is None else dtype
        if isinstance(value, Value | Tensor):
            return self.graph.cast(value, dtype)
        return torch.tensor(value, dtype=dtype)


Rule = Callable[[Call], Any]


def _one(operation: str) -> Rule:
    return lambda call: call.put(operation, call.operand(call.arguments[0]))


def _two(operation: str) -> Rule:
    return lambda call: call.put(operation, *(call.operand(v) for v in call.arguments[:2]))


def _scaled(operation: str) -> Rule:
    """a ± α b."""

    def rule(call: Call) -> Value:
        a, b = (call.operand(v) for v in call.arguments[:2])
        alpha = call.get(2, "alpha", 1)
        return call.put(operation, a, b if alpha == 1 else call.put("Mul", b, call.number(alpha)))

    return rule


def _reversed(call: Call) -> Value:
    return call.put("Sub", call.operand(call.arguments[1]), call.operand(call.arguments[0]))


def _compared(operation: str, turned: bool = False) -> Rule:
    def rule(call: Call) -> Value:
        given = [v for v in call.arguments[:2] if isinstance(v, Value | Tensor)]
        dtype = given[0].dtype if len(given) == 1 else torch.promote_types(given[0].dtype, given[1].dtype)
        found = call.put(operation, *(call.operand(v, dtype) for v in call.arguments[:2]))
        return call.put("Not", found) if turned else found

    return rule


def _where(call: Call) -> Value:
    condition, *others = call.arguments[:3]
    return call.put("Where", call.operand(condition, torch.bool), *(call.operand(v) for v in others))


def _same(call: Call) -> Operand:
    return call.operand(call.arguments[0])


def _square(call: Call) -> Value:
    a = call.operand(call.arguments[0])
    return call.put("Mul", a, a)


def _power(call: Call) -> Operand:
    a, n = call.operand(call.arguments[0]), call.arguments[1]
    if isinstance(n, int | float):
        if n == 2:
            return call.put("Mul", a, a)
        if n == 1:
            return a
        if n == 0.5:
            return call.put("Sqrt", a)
        if n == -1:
            return call.put("Reciprocal", a)
    return call.put("Pow", a, call.operand(n))


def _at_least(call: Call, value: Operand, bound: Operand, larger: bool = True) -> Value:
    """max or min, and NaN where either is NaN, as torch has it."""
    chosen = call.put("Max" if larger else "Min", value, bound)
    return _nan_kept(call, chosen, value, bound)


def _nan_kept(call: Call, found: Operand, *of: Operand) -> Value:
    """NaN wherever one of the operands is NaN: kernels differ in what they make of it."""
    kept = found
    for value in of:
        if isinstance(value, Tensor) and not value.isnan().any():
            continue
        odd = call.graph.node("IsNaN", [value], torch.bool, rank_of(value))
        kept = call.put("Where", odd, value, kept)
    return kept  # type: ignore[return-value]  # found is a node


def _extreme(larger: bool) -> Rule:
    def rule(call: Call) -> Value:
        return _at_least(call, call.operand(call.arguments[0]), call.operand(call.arguments[1]), larger)

    return rule


def _clamped(call: Call) -> Operand:
    found = call.operand(call.arguments[0])
    for place, name, larger in ((1, "min", True), (2, "max", False)):
        bound = call.get(place, name)
        if bound is not None:
            found = _at_least(call, found, call.operand(bound), larger)
    return found


def _relu(call: Call) -> Value:
    a = call.operand(call.arguments[0])
    return _nan_kept(call, call.put("Relu", a), a)


def _log1p_of(call: Call, z: Operand) -> Value:
    """log(1 + z) with the digits of z: log(w) z/(w − 1), w = 1 + z as it was rounded (Higham 2002, § 1.14.1)."""
    one = call.number(1.0)
    w = call.put("Add", z, one)
    near = call.graph.node("Equal", [w, one], torch.bool, call.rank)
    large = call.graph.node("Greater", [w, call.number(1e10)], torch.bool, call.rank)  # and where w − 1 is ∞
    plain = call.graph.node("Or", [near, large], torch.bool, call.rank)
    log = call.put("Log", w)
    safe = call.put("Where", plain, one, call.put("Sub", w, one))
    exact = call.put("Div", call.put("Mul", log, z), safe)
    return call.put("Where", near, z, call.put("Where", large, log, exact))


def _log1p(call: Call) -> Value:
    return _log1p_of(call, call.operand(call.arguments[0]))


def _expm1(call: Call) -> Value:
    """e^z − 1 with the digits of z: (w − 1) z/log(w), w = e^z as it was rounded (Higham 2002, § 1.14.1)."""
    z, one = call.operand(call.arguments[0]), call.number(1.0)
    w = call.put("Exp", z)
    less = call.put("Sub", w, one)
    near = call.graph.node("Equal", [w, one], torch.bool, call.rank)
    size = call.put("Abs", z)
    far = call.graph.node("Greater", [size, one], torch.bool, call.rank)  # nothing cancels; and log(w) may be infinite
    plain = call.graph.node("Or", [near, far], torch.bool, call.rank)
    exact = call.put("Div", call.put("Mul", less, z), call.put("Where", plain, one, call.put("Log", w)))
    return call.put("Where", near, z, call.put("Where", far, less, exact))


def _softplus(call: Call) -> Value:
    """log(1 + e^{βx})/β up to the threshold, and x beyond it."""
    x, beta, threshold = call.operand(call.arguments[0]), call.get(1, "beta", 1), call.get(2, "threshold", 20)
    z = x if beta == 1 else call.put("Mul", x, call.number(beta))
    beyond = call.graph.node("Greater", [z, call.number(threshold)], torch.bool, call.rank)
    value = _log1p_of(call, call.put("Exp", call.put("Where", beyond, call.number(0.0), z)))
    return call.put("Where", beyond, x, value if beta == 1 else call.put("Div", value, call.number(beta)))


def _logaddexp(call: Call) -> Value:
    a, b = (call.operand(v) for v in call.arguments[:2])
    apart = call.put("Abs", call.put("Sub", a, b))
    return call.put("Add", _at_least(call, a, b), _log1p_of(call, call.put("Exp", call.put("Neg", apart))))


def _silu(call: Call) -> Value:
    x = call.operand(call.arguments[0])
    return call.put("Mul", x, call.put("Sigmoid", x))


def _gelu(call: Call) -> Value:
    x = call.operand(call.arguments[0])
    if call.get(1, "approximate", "none") != "none":
        raise ValueError("gelu with approximate='tanh' is not written; use gelu without it, or silu")
    inner = call.put("Erf", call.put("Mul", x, call.number(math.sqrt(0.5))))
    return call.put("Mul", call.put("Mul", x, call.number(0.5)), call.put("Add", inner, call.number(1.0)))


def _rsqrt(call: Call) -> Value:
    return call.put("Reciprocal", call.put("Sqrt", call.operand(call.arguments[0])))


def _hyperbolic(operation: str) -> Rule:
    """sinh and cosh by e^x."""

    def rule(call: Call) -> Value:
        x = call.operand(call.arguments[0])
        up, down = call.put("Exp", x), call.put("Exp", call.put("Neg", x))
        return call.put("Mul", call.put(operation, up, down), call.number(0.5))

    return rule


def _leaky(call: Call) -> Value:
    x, slope = call.operand(call.arguments[0]), call.get(1, "negative_slope", 0.01)
    above = call.graph.node("Greater", [x, call.number(0.0)], torch.bool, call.rank)
    return call.put("Where", above, x, call.put("Mul", x, call.number(slope)))


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


_UNARY = {
    **{
        "neg": "Neg",
        "exp": "Exp",
        "log": "Log",
        "sqrt": "Sqrt",
        "sin": "Sin",
        "cos": "Cos",
        "tan": "Tan",
        "asin": "Asin",
    },
    **{"acos": "Acos", "atan": "Atan", "tanh": "Tanh", "sigmoid": "Sigmoid", "abs": "Abs", "floor": "Floor"},
    **{"ceil": "Ceil", "erf": "Erf", "reciprocal": "Reciprocal", "logical_not": "Not", "bitwise_not": "Not"},
}
_COMPARISONS = {"gt": "Greater", "lt": "Less", "ge": "GreaterOrEqual", "le": "LessOrEqual", "eq": "Equal"}
_LOGICAL = {"and": "And", "or": "Or", "xor": "Xor"}


def _sign(call: Call) -> Value:
    """0 of what is no number, as torch has it."""
    x = call.operand(call.arguments[0])
    odd = call.graph.node("IsNaN", [x], torch.bool, call.rank)
    return call.put("Where", odd, call.number(0.0), call.put("Sign", x))


def _quotient(call: Call) -> Value:
    if call.options.get("rounding_mode") is not None:
        raise ValueError("a division that rounds is not written; divide, and take floor")
    return call.put("Div", *(call.operand(v) for v in call.arguments[:2]))


def _isnan(call: Call) -> Value:
    return call.put("IsNaN", call.arguments[0])


# by the names that torch.export gives, without the overload
OPERATIONS: Mapping[str, Rule] = MappingProxyType(
    {
        **{name: _one(operation) for name, operation in _UNARY.items()},
        **{name: _compared(operation) for name, operation in _COMPARISONS.items()},
        "ne": _compared("Equal", turned=True),
        **{f"logical_{name}": _two(operation) for name, operation in _LOGICAL.items()},
        **{f"bitwise_{name}": _two(operation) for name, operation in _LOGICAL.items()},
        **{f"__{name}__": _two(operation) for name, operation in _LOGICAL.items()},
        **dict.fromkeys(
            ("clone", "detach", "alias", "contiguous", "lift_fresh_copy", "view_as", "to", "_to_copy"), _same
        ),
        **dict.fromkeys(("type_as", "positive"), _same),
        **{"add": _scaled("Add"), "sub": _scaled("Sub"), "rsub": _reversed, "mul": _two("Mul"), "div": _quotient},
        **{"square": _square, "pow": _power, "rsqrt": _rsqrt, "isnan": _isnan, "where": _where, "sign": _sign},
        **{"maximum": _extreme(True), "minimum": _extreme(False), "clamp": _clamped, "relu": _relu},
        **{
            "clamp_min": _clamped,
            "clamp_max": _extreme(False),
        },
        **{
            "log1p": _log1p,
            "expm1": _expm1,
            "softplus": _softplus,
            "logaddexp": _logaddexp,
            "silu": _silu,
            "gelu": _gelu,
        },
        **{"sinh": _hyperbolic("Sub"), "cosh": _hyperbolic("Add"), "leaky_relu": _leaky},
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
        **{
            "full": _full,
            "new_full": _full,
            "zeros_like": _like(0.0),
            "ones_like": _like(1.0),
            "full_like": _like(None),
        },
        "sym_size": _size,
    }
)
