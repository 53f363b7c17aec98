"""ATen operations that act on every element by itself, as lines."""

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from exchange.program.arrays import Array, each, lifted
from exchange.program.lines import Lines

Elementwise = Callable[..., int]  # of the lines and an element of each argument


def _named(operation: str, *order: int) -> Elementwise:
    """An operation of the list as it is, its arguments in this order."""
    return lambda lines, *a: lines.write(operation, *([a[i] for i in order] if order else a))


def _not(of: Elementwise) -> Elementwise:
    return lambda lines, *a: lines.write("not", of(lines, *a))


def power(lines: Lines, a: int, n: int) -> int:
    """aⁿ; with a constant exponent as torch has those that it knows."""
    number = lines.number(n)
    if number is None or lines.number(a) is not None:
        return lines.write("pow", a, n)
    if number == 0.0:
        return lines.constant(1.0)
    if number == 1.0:
        return a
    if number == 2.0:
        return lines.write("square", a)
    return lines.write("sqrt", a) if number == 0.5 else lines.write("power", a, number=number)


def extreme(larger: bool) -> Elementwise:
    """The larger, or the smaller; of two that are alike the mean, so that its slope is half of each, as torch has it."""

    def of(lines: Lines, a: int, b: int) -> int:
        if a == b:
            return a
        half = lines.constant(0.5)
        chosen = lines.write("less", *((b, a) if larger else (a, b)))
        if lines.number(a) is None:  # what is NaN stays
            chosen = lines.write("or", chosen, lines.write("isnan", a))
        mean = lines.write("add", lines.write("multiply", half, a), lines.write("multiply", half, b))
        return lines.write("where", lines.write("equal", a, b), mean, lines.write("where", chosen, a, b))

    return of


def at_least(lines: Lines, a: int, low: int) -> int:
    """a, and `low` where a is below it; at it the slope is that of a."""
    return lines.write("where", lines.write("less", a, low), low, a)


def at_most(lines: Lines, a: int, high: int) -> int:
    """a, and `high` where a is above it; at it the slope is that of a."""
    return lines.write("where", lines.write("less", high, a), high, a)


def _log_of_sum(lines: Lines, a: int, b: int) -> int:
    """log(eᵃ + eᵇ), from the larger one on."""
    if lines.number(b) == 0.0:
        return lines.write("softplus", a)
    if lines.number(a) == 0.0:
        return lines.write("softplus", b)
    above = lines.write("add", b, lines.write("softplus", lines.write("subtract", a, b)))
    below = lines.write("add", a, lines.write("softplus", lines.write("subtract", b, a)))
    same = lines.write("add", extreme(True)(lines, a, b), lines.constant(math.log(2.0)))
    return lines.write(
        "where", lines.write("equal", a, b), same, lines.write("where", lines.write("less", a, b), above, below)
    )


def _finite(lines: Lines, a: int) -> int:
    return lines.write("less", lines.write("abs", a), lines.constant(math.inf))


def _xor(lines: Lines, a: int, b: int) -> int:
    return lines.write("not", lines.write("equal", lines.write("not", a), lines.write("not", b)))


def _sigmoid_times(lines: Lines, a: int) -> int:
    return lines.write("multiply", a, lines.write("sigmoid", a))


def _scaled(operation: str, factor: float) -> Elementwise:
    return lambda lines, a: lines.write("multiply", lines.write(operation, a), lines.constant(factor))


def _ceil(lines: Lines, a: int) -> int:
    return lines.write("negate", lines.write("floor", lines.write("negate", a)))


def _trunc(lines: Lines, a: int) -> int:
    return lines.write("where", lines.write("less", a, lines.constant(0.0)), _ceil(lines, a), lines.write("floor", a))


def _over(operation: str | None) -> Elementwise:
    return lambda lines, a: lines.write("divide", lines.constant(1.0), lines.write(operation, a) if operation else a)


# what has the same name in the list of operations, and what has another
_ALIKE = (
    *(
        "exp",
        "expm1",
        "log",
        "log1p",
        "sqrt",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "atan2",
        "sinh",
        "cosh",
        "tanh",
    ),
    *("sigmoid", "erf", "relu", "abs", "sign", "floor", "square", "isnan", "where"),
)
_UNDER_ANOTHER_NAME = {
    **{"mul": "multiply", "neg": "negate", "special_expit": "sigmoid", "lt": "less", "le": "less_equal", "eq": "equal"},
    **{"logical_and": "and", "bitwise_and": "and", "__and__": "and", "logical_not": "not", "bitwise_not": "not"},
    **{"logical_or": "or", "bitwise_or": "or", "__or__": "or"},
}

ELEMENTWISE: MappingProxyType[str, Elementwise] = MappingProxyType(
    {
        **{f"aten.{name}": _named(name) for name in _ALIKE},
        **{f"aten.{name}": _named(operation) for name, operation in _UNDER_ANOTHER_NAME.items()},
        "aten.gt": _named("less", 1, 0),
        "aten.ge": _named("less_equal", 1, 0),
        "aten.ne": _not(_named("equal")),
        "aten.logical_xor": _xor,
        "aten.bitwise_xor": _xor,
        "aten.isinf": lambda lines, a: lines.write("equal", lines.write("abs", a), lines.constant(math.inf)),
        "aten.isfinite": _finite,
        "aten.reciprocal": _over(None),
        "aten.rsqrt": _over("sqrt"),
        "aten.exp2": lambda lines, a: lines.write("pow", lines.constant(2.0), a),
        "aten.log2": _scaled("log", 1.0 / math.log(2.0)),
        "aten.log10": _scaled("log", 1.0 / math.log(10.0)),
        "aten.ceil": _ceil,
        "aten.trunc": _trunc,
        "aten.pow": power,
        "aten.minimum": extreme(False),
        "aten.maximum": extreme(True),
        "aten.logaddexp": _log_of_sum,
        "aten.silu": _sigmoid_times,
    }
)


def add(lines: Lines, a: Any, b: Any, alpha: float = 1.0) -> Array:
    """a + alpha b."""
    return _sum("add", lines, a, b, alpha)


def sub(lines: Lines, a: Any, b: Any, alpha: float = 1.0) -> Array:
    """a − alpha b."""
    return _sum("subtract", lines, a, b, alpha)


def rsub(lines: Lines, a: Any, b: Any, alpha: float = 1.0) -> Array:
    """b − alpha a."""
    return _sum("subtract", lines, b, a, alpha)


def _sum(operation: str, lines: Lines, a: Any, b: Any, alpha: float) -> Array:
    factor = lines.constant(alpha)
    return each(
        lambda p, q: lines.write(operation, p, lines.write("multiply", factor, q)), lifted(lines, a), lifted(lines, b)
    )


def div(lines: Lines, a: Any, b: Any, rounding_mode: str | None = None) -> Array:
    """a / b, or rounded down, or towards 0."""
    found = each(lambda p, q: lines.write("divide", p, q), lifted(lines, a), lifted(lines, b))
    if rounding_mode is None:
        return found
    return each(lambda p: _trunc(lines, p) if rounding_mode == "trunc" else lines.write("floor", p), found)


def clamp(lines: Lines, a: Any, low: Any = None, high: Any = None) -> Array:
    """a within its ends, those that there are."""
    found = lifted(lines, a)
    if low is not None:
        found = each(lambda p, q: at_least(lines, p, q), found, lifted(lines, low))
    if high is not None:
        found = each(lambda p, q: at_most(lines, p, q), found, lifted(lines, high))
    return found


def hardtanh(lines: Lines, a: Any, low: float = -1.0, high: float = 1.0) -> Array:
    """a within its ends, and flat at them."""
    ends = lines.constant(low), lines.constant(high)

    def of(p: int) -> int:
        above = lines.write("where", lines.write("less_equal", p, ends[0]), ends[0], p)
        return lines.write("where", lines.write("less_equal", ends[1], above), ends[1], above)

    return each(of, lifted(lines, a))


def softplus(lines: Lines, a: Any, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """log(1 + exp(beta a))/beta, and a where beta a is above the threshold, as torch has it."""
    factor, end, zero = lines.constant(beta), lines.constant(threshold), lines.constant(0.0)

    def of(p: int) -> int:
        v = lines.write("multiply", factor, p)
        far = lines.write("less", end, v)
        # the argument of what is not chosen is held, or its slope, which is no number far out, would spoil the adjoint's
        held = lines.write("log1p", lines.write("exp", lines.write("where", far, zero, v)))
        return lines.write("where", far, p, lines.write("divide", held, factor))

    return each(of, lifted(lines, a))


def gelu(lines: Lines, a: Any, approximate: str = "none") -> Array:
    """a Φ(a), or its formula with tanh."""

    def of(p: int) -> int:
        if approximate == "none":
            inner = lines.write("erf", lines.write("multiply", p, lines.constant(math.sqrt(0.5))))
        else:
            cube = lines.write("multiply", lines.constant(0.044715), lines.write("power", p, number=3.0))
            inner = lines.write("multiply", lines.constant(math.sqrt(2.0 / math.pi)), lines.write("add", p, cube))
            inner = lines.write("tanh", inner)
        half = lines.write("multiply", lines.constant(0.5), p)
        return lines.write("multiply", half, lines.write("add", lines.constant(1.0), inner))

    return each(of, lifted(lines, a))


def leaky_relu(lines: Lines, a: Any, slope: float = 0.01) -> Array:
    """a above 0, and so much of it below."""
    zero, factor = lines.constant(0.0), lines.constant(slope)
    return each(
        lambda p: lines.write("where", lines.write("less", zero, p), p, lines.write("multiply", factor, p)),
        lifted(lines, a),
    )


def elu(lines: Lines, a: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Array:
    """a above 0, and alpha (eᵃ − 1) below, with their scales."""
    zero, outer = lines.constant(0.0), lines.constant(scale)

    def of(p: int) -> int:
        positive = lines.write("less", zero, p)
        inside = lines.write("multiply", lines.constant(input_scale), lines.write("where", positive, zero, p))
        below = lines.write("multiply", lines.constant(alpha), lines.write("expm1", inside))
        return lines.write("multiply", outer, lines.write("where", positive, p, below))

    return each(of, lifted(lines, a))


def elementwise(operation: Elementwise, lines: Lines, *arguments: Any) -> Array:
    """One of `ELEMENTWISE`, on whatever broadcasts."""
    return each(lambda *a: operation(lines, *a), *(lifted(lines, a) for a in arguments))
