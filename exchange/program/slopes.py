"""The slopes of every operation as lines of a program: of a tape's as `physics/operation.py` has them, of the others as torch."""

import math
from collections.abc import Callable
from types import MappingProxyType

from exchange.program.lines import Lines

Rule = Callable[..., tuple[int, ...]]  # of the lines, z, its arguments and its number: ∂z/∂a of every argument


def _one(of: Callable[..., int]) -> Rule:
    return lambda *a: (of(*a),)


def _less_one(lines: Lines, z: int) -> int:
    return lines.write("subtract", lines.constant(1.0), z)


def _over(lines: Lines, z: int) -> int:
    return lines.write("divide", lines.constant(1.0), z)


def _scaled(lines: Lines, factor: float, z: int) -> int:
    return lines.write("multiply", lines.constant(factor), z)


def _quotient(lines: Lines, z: int, over: int) -> tuple[int, int]:
    return over, lines.write("negate", lines.write("multiply", z, over))  # one division for both


def _power(lines: Lines, z: int, a: int, n: float) -> int:
    if n == 0.0:
        return lines.constant(0.0)
    return _scaled(lines, n, a if n == 2.0 else lines.write("power", a, number=n - 1.0))


def _hill(lines: Lines, z: int, v: int, n: float) -> int:
    zero, rest = lines.constant(0.0), _less_one(lines, z)
    if n == 1.0:
        return lines.write("where", lines.write("less", v, zero), zero, lines.write("square", rest))
    safe = lines.write("maximum", v, lines.constant(1e-300))
    slope = lines.write("divide", lines.write("multiply", _scaled(lines, n, z), rest), safe)
    return lines.write("where", lines.write("less", zero, v), slope, zero)


def _chosen(lines: Lines, first: int) -> tuple[int, int]:
    """1 for the one that is chosen, the first of two that are alike, 0 for the other."""
    one, zero = lines.constant(1.0), lines.constant(0.0)
    return lines.write("where", first, one, zero), lines.write("where", first, zero, one)


def _pow(lines: Lines, z: int, a: int, n: int) -> tuple[int, int]:
    zero = lines.constant(0.0)
    base = lines.write("multiply", n, lines.write("pow", a, lines.write("subtract", n, lines.constant(1.0))))
    nothing = lines.write("and", lines.write("equal", a, zero), lines.write("less_equal", zero, n))
    exponent = lines.write("multiply", z, lines.write("log", a))
    return (
        lines.write("where", lines.write("equal", n, zero), zero, base),
        lines.write("where", nothing, zero, exponent),
    )


def _atan2(lines: Lines, z: int, a: int, b: int) -> tuple[int, int]:
    size = lines.write("add", lines.write("square", a), lines.write("square", b))
    return lines.write("divide", b, size), lines.write("negate", lines.write("divide", a, size))


def _unit_circle(lines: Lines, a: int) -> int:
    """1/√(1 − a²)."""
    return _over(lines, lines.write("sqrt", _less_one(lines, lines.write("square", a))))


SLOPES: MappingProxyType[str, Rule] = MappingProxyType(
    {
        "add": lambda lines, z, a, b: (lines.constant(1.0), lines.constant(1.0)),
        "subtract": lambda lines, z, a, b: (lines.constant(1.0), lines.constant(-1.0)),
        "multiply": lambda lines, z, a, b: (b, a),
        "divide": lambda lines, z, a, b: _quotient(lines, z, _over(lines, b)),
        "negate": lambda lines, z, a: (lines.constant(-1.0),),
        "power": _one(_power),
        "exp": lambda lines, z, a: (z,),
        "log": _one(lambda lines, z, a: _over(lines, a)),
        "sqrt": _one(lambda lines, z, a: lines.write("divide", lines.constant(0.5), z)),
        "sin": _one(lambda lines, z, a: lines.write("cos", a)),
        "cos": _one(lambda lines, z, a: lines.write("negate", lines.write("sin", a))),
        "atan": _one(
            lambda lines, z, a: _over(lines, lines.write("add", lines.constant(1.0), lines.write("square", a)))
        ),
        "tanh": _one(lambda lines, z, a: _less_one(lines, lines.write("square", z))),
        "sigmoid": _one(lambda lines, z, a: lines.write("multiply", z, _less_one(lines, z))),
        "softplus": _one(lambda lines, z, a: lines.write("sigmoid", a)),
        "relu": _one(
            lambda lines, z, a: lines.write(
                "where", lines.write("less", lines.constant(0.0), a), lines.constant(1.0), lines.constant(0.0)
            )
        ),
        "abs": _one(lambda lines, z, a: lines.write("sign", a)),
        "minimum": lambda lines, z, a, b: _chosen(lines, lines.write("less_equal", a, b)),
        "maximum": lambda lines, z, a, b: _chosen(lines, lines.write("less_equal", b, a)),
        "saturating": _one(
            lambda lines, z, a: lines.write("power", lines.write("add", lines.constant(1.0), a), number=-2.0)
        ),
        "hill": _one(_hill),
        "square": _one(lambda lines, z, a: _scaled(lines, 2.0, a)),
        "pow": _pow,
        "expm1": _one(lambda lines, z, a: lines.write("add", z, lines.constant(1.0))),
        "log1p": _one(lambda lines, z, a: _over(lines, lines.write("add", lines.constant(1.0), a))),
        "erf": _one(
            lambda lines, z, a: _scaled(
                lines, 2.0 / math.sqrt(math.pi), lines.write("exp", lines.write("negate", lines.write("square", a)))
            )
        ),
        "tan": _one(lambda lines, z, a: lines.write("add", lines.constant(1.0), lines.write("square", z))),
        "asin": _one(lambda lines, z, a: _unit_circle(lines, a)),
        "acos": _one(lambda lines, z, a: lines.write("negate", _unit_circle(lines, a))),
        "sinh": _one(lambda lines, z, a: lines.write("cosh", a)),
        "cosh": _one(lambda lines, z, a: lines.write("sinh", a)),
        "atan2": _atan2,
    }
)
