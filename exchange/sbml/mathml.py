"""Scalar lines as MathML, the content markup of which SBML keeps its formulas.

Numbers are written so that they are read back to the last bit, which libSBML's own writer, with 15 digits, does not.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from exchange.program.operations import LEAVES
from physics.arguments import quote
from physics.tape import Line

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
_DEEPEST = 40  # applications within one another in one formula; readers are recursive


def applied(operator: str, *arguments: str) -> str:
    """An application of an operator of MathML, `applied("plus", "<ci>a</ci>", "<ci>b</ci>")`."""
    return f"<apply><{operator}/>{''.join(arguments)}</apply>"


def named(identifier: str) -> str:
    """The value of what has this identifier."""
    return f"<ci>{identifier}</ci>"


def called(function: str, *arguments: str) -> str:
    """A function that the model defines, of these arguments."""
    return f"<apply>{named(function)}{''.join(arguments)}</apply>"


def number(value: float) -> str:
    """A number, to the last bit."""
    if not math.isfinite(value):
        raise ValueError(f"a formula in SBML takes finite numbers, and one is {value}")
    digits, _, power = repr(float(value)).partition("e")
    return f'<cn type="e-notation">{digits}<sep/>{int(power)}</cn>' if power else f"<cn>{digits}</cn>"


def chosen(value: str, where: str, otherwise: str) -> str:
    """One value where a condition holds, else another."""
    return f"<piecewise><piece>{value}{where}</piece><otherwise>{otherwise}</otherwise></piecewise>"


_V, _W, _N = named("v"), named("w"), named("n")
_ONE, _NOTHING = number(1.0), number(0.0)
_ABOVE = applied("gt", _V, _NOTHING)

# what MathML has no operator for, as functions of v (and w, or n) that the model defines: none of them overflows where the
# value does not. `min` and `max` came with Level 3 Version 2, and readers of before have none.
FUNCTIONS: Mapping[str, tuple[tuple[str, ...], str]] = MappingProxyType(
    {
        "sigmoid": (
            ("v",),
            applied("times", number(0.5), applied("plus", _ONE, applied("tanh", applied("times", number(0.5), _V)))),
        ),
        "softplus": (
            ("v",),
            chosen(
                applied("plus", _V, applied("ln", applied("plus", _ONE, applied("exp", applied("minus", _V))))),
                _ABOVE,
                applied("ln", applied("plus", _ONE, applied("exp", _V))),
            ),
        ),
        "relu": (("v",), chosen(_V, _ABOVE, _NOTHING)),
        "minimum": (("v", "w"), chosen(_V, applied("lt", _V, _W), _W)),
        "maximum": (("v", "w"), chosen(_V, applied("gt", _V, _W), _W)),
        "saturating": (("v",), applied("divide", _V, applied("plus", _ONE, _V))),
        "expm1": (("v",), applied("minus", applied("exp", _V), _ONE)),
        "log1p": (("v",), applied("ln", applied("plus", _ONE, _V))),
        "sign": (("v",), chosen(_ONE, _ABOVE, chosen(number(-1.0), applied("lt", _V, _NOTHING), _NOTHING))),
        "where": (("n", "v", "w"), chosen(_V, applied("neq", _N, _NOTHING), _W)),
        "less": (("v", "w"), chosen(_ONE, applied("lt", _V, _W), _NOTHING)),
        "less_equal": (("v", "w"), chosen(_ONE, applied("leq", _V, _W), _NOTHING)),
        "equal": (("v", "w"), chosen(_ONE, applied("eq", _V, _W), _NOTHING)),
        "not": (("v",), chosen(_ONE, applied("eq", _V, _NOTHING), _NOTHING)),
        "hill": (
            ("v", "n"),
            chosen(
                applied("divide", _ONE, applied("plus", _ONE, applied("power", _V, applied("minus", _N)))),
                _ABOVE,
                _NOTHING,
            ),
        ),
    }
)
_OPERATORS = {
    **{"add": "plus", "subtract": "minus", "multiply": "times", "divide": "divide", "negate": "minus"},
    **{"power": "power", "exp": "exp", "log": "ln", "sqrt": "root", "sin": "sin", "cos": "cos", "atan": "arctan"},
    **{"tanh": "tanh", "abs": "abs", "pow": "power", "tan": "tan", "asin": "arcsin", "acos": "arccos", "sinh": "sinh"},
    **{"cosh": "cosh", "floor": "floor"},
}
OPERATIONS = (*_OPERATORS, *FUNCTIONS, "square")
"""The operations that a formula may hold: those of a tape, and of what is traced those that MathML can say."""


def formula(operation: str, arguments: Sequence[str], constant: float | None, functions: Mapping[str, str]) -> str:
    """One operation on formulas; `functions`: the identifiers under which the model defines `FUNCTIONS`."""
    given = (*arguments, *(() if constant is None else (number(constant),)))
    if operation == "square":
        return applied("power", *given, number(2.0))
    if operation in FUNCTIONS:
        return called(functions[operation], *given)
    return applied(_OPERATORS[operation], *given)


def require_operations(code: Iterable[Line], part: str) -> None:
    """Raise `ValueError`, which names the operation, where a part of the model does what no formula here says."""
    other = next((line.operation for line in code if line.operation not in (*LEAVES, *OPERATIONS)), None)
    if other is not None:
        raise ValueError(
            f"Sbml: {part} has the operation {quote(other)}, and SBML is written with {', '.join(OPERATIONS)}; export another "
            "form, --to c or --to fmu"
        )


def formulas(
    code: Sequence[Line],
    ends: Sequence[int],
    leaf: Callable[[Line], str],
    part: Callable[[int], str],
    functions: Mapping[str, str],
) -> tuple[dict[int, str], dict[int, str]]:
    """The formulas of the lines `ends`, and those of the parts that they read by name: what is used twice, and what would lie
    too deep.

    `leaf`: the formula of a line that is neither operation nor constant · `part`: the identifier of a line that is a part.
    Law: every line that any end needs is written once.
    """
    needed, uses = set(ends), dict.fromkeys(ends, 1)
    for i in range(len(code) - 1, -1, -1):
        operation = code[i].operation
        if i not in needed or operation not in OPERATIONS:
            continue
        for j in code[i].arguments:
            needed.add(j)
            uses[j] = uses.get(j, 0) + 1
    text, depth, parts = dict[int, str](), dict[int, int](), dict[int, str]()
    for i in sorted(needed):
        line = code[i]
        if line.operation == "constant":
            text[i], depth[i] = number(float(line.number or 0.0)), 0
        elif line.operation not in OPERATIONS:
            text[i], depth[i] = leaf(line), 0
        else:
            whole = formula(line.operation, [text[j] for j in line.arguments], line.number, functions)
            text[i], depth[i] = whole, 1 + max(depth[j] for j in line.arguments)
            if uses.get(i, 0) > 1 or depth[i] > _DEEPEST:
                parts[i] = whole
                text[i], depth[i] = named(part(i)), 0
    return {i: text[i] for i in ends}, parts
