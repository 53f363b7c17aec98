"""Operations value by value: each result from the values at its own place."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from exchange.onnx.building import Operand, Value, rank_of
from exchange.onnx.call import Call, Rule


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

ELEMENTWISE: Mapping[str, Rule] = MappingProxyType(
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
        **{"clamp_min": _clamped, "clamp_max": _extreme(False), "log1p": _log1p, "expm1": _expm1},
        **{"softplus": _softplus, "logaddexp": _logaddexp, "silu": _silu, "gelu": _gelu},
        **{"sinh": _hyperbolic("Sub"), "cosh": _hyperbolic("Add"), "leaky_relu": _leaky},
    }
)
