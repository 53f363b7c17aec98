"""The lines of a program as C99 statements."""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np

from exchange.program.operations import OPERATIONS
from exchange.program.program import Program
from physics.arguments import quote, require_choice, require_kind, require_text

Real = Literal["double", "float"]

# {0}, {1}, … are the arguments, {n} is the number; @ is what a function's name or a number ends in, f for float
_IN_C = MappingProxyType(
    {
        "add": "{0} + {1}",
        "subtract": "{0} - {1}",
        "multiply": "{0} * {1}",
        "divide": "{0} / {1}",
        "negate": "-{0}",
        "power": "pow@({0}, {n})",
        "exp": "exp@({0})",
        "log": "log@({0})",
        "sqrt": "sqrt@({0})",
        "sin": "sin@({0})",
        "cos": "cos@({0})",
        "atan": "atan@({0})",
        "tanh": "tanh@({0})",
        "sigmoid": "1.0@ / (1.0@ + exp@(-{0}))",
        "softplus": "({0} > 0.0@ ? {0} : 0.0@) + log1p@(exp@(-fabs@({0})))",
        "relu": "{0} < 0.0@ ? 0.0@ : {0}",
        "abs": "fabs@({0})",
        # what is NaN stays, which fmin and fmax would not do
        "minimum": "({0} < {1} || {0} != {0}) ? {0} : {1}",
        "maximum": "({0} > {1} || {0} != {0}) ? {0} : {1}",
        "saturating": "{0} / (1.0@ + {0})",
        "hill": "{0} > 0.0@ ? 1.0@ / (1.0@ + exp@(-{n} * log@({0} < {tiny} ? {tiny} : {0}))) : 0.0@",
        "square": "{0} * {0}",
        "pow": "pow@({0}, {1})",
        "expm1": "expm1@({0})",
        "log1p": "log1p@({0})",
        "erf": "erf@({0})",
        "tan": "tan@({0})",
        "asin": "asin@({0})",
        "acos": "acos@({0})",
        "sinh": "sinh@({0})",
        "cosh": "cosh@({0})",
        "atan2": "atan2@({0}, {1})",
        "floor": "floor@({0})",
        "sign": "({0} > 0.0@ ? 1.0@ : 0.0@) - ({0} < 0.0@ ? 1.0@ : 0.0@)",
        "where": "{0} ? {1} : {2}",
        "less": "{0} < {1}",
        "less_equal": "{0} <= {1}",
        "equal": "{0} == {1}",
        "isnan": "{0} != {0}",
        "and": "{0} && {1}",
        "or": "{0} || {1}",
        "not": "!{0}",
    }
)
# exponents that a product or a quotient says at less cost
_POWERS = MappingProxyType(
    {
        2.0: "{0} * {0}",
        3.0: "{0} * {0} * {0}",
        4.0: "({0} * {0}) * ({0} * {0})",
        0.5: "sqrt@({0})",
        -1.0: "1.0@ / {0}",
        -2.0: "1.0@ / ({0} * {0})",
        -0.5: "1.0@ / sqrt@({0})",
    }
)
_HILL_OF_ONE = "{0} < 0.0@ ? 0.0@ : {0} / (1.0@ + {0})"
_MATHS = re.compile(r"\b(\w+)\(")


def lines_in_c(program: Program, names: Mapping[str, str], real: Real = "double", *, prefix: str = "v") -> list[str]:
    """The statements, one a line of text, that compute a program: `const double v12 = v3 * v7;`, then the outputs.

    Arguments: `names`, for every group of inputs and outputs the C expression of its i-th number, {"x": "x[{i}]", "rate":
    "rate[{i}]"}; `real`, in which all is computed; `prefix` of the lines' own names. Inputs are read before any output is
    written. Numbers are hexadecimal, so that no digit is lost; INFINITY and NAN are the macros of <math.h>.
    Errors: `ValueError` for a group without an expression.
    Law: compiled, it gives what `Program.evaluate` gives, to rounding of the functions of <math.h>.
    """
    require_kind(program, Program, "lines_in_c: program", "traced(…), or of_tape(mechanism.tape)")
    require_kind(names, Mapping, "lines_in_c: names", '{"x": "x[{i}]"}')
    require_choice(real, ("double", "float"), "lines_in_c: real")
    require_text(prefix, "lines_in_c: prefix", '"v"')
    for group in (*program.inputs, *program.outputs):
        if "{i}" not in str(names.get(group)):
            raise ValueError(
                f'lines_in_c: names has {quote(names.get(group))} for {group}; write {{"{group}": "{group}[{{i}}]"}}'
            )
    groups, texts, found = list(program.inputs), list[str](), list[str]()
    for i, (operation, arguments, number) in enumerate(program.code):
        if operation == "constant":
            texts.append(number_in_c(0.0 if number is None else number, real))
            continue
        own = f"{prefix}{i}"
        kind = "int" if operation in OPERATIONS and OPERATIONS[operation].truth else real
        if operation == "given":
            text = names[groups[arguments[0]]].replace("{i}", str(arguments[1]))
        else:
            text = _in_c(operation, [texts[j] for j in arguments], number, real)
        found.append(f"const {kind} {own} = {text};")
        texts.append(own)
    for group, lines in program.outputs.items():
        found += [f"{names[group].replace('{i}', str(place))} = {texts[i]};" for place, i in enumerate(lines)]
    return found


def functions_in_c(lines: list[str]) -> tuple[str, ...]:
    """The functions of <math.h> that statements of `lines_in_c` call, in alphabetical order."""
    return tuple(sorted({name for line in lines for name in _MATHS.findall(line)}))


def number_in_c(number: float, real: Real = "double") -> str:
    """A number as C99 has it, with all its digits: hexadecimal, or short where that says the same."""
    if math.isnan(number):
        return "NAN"
    if math.isinf(number):
        return "INFINITY" if number > 0 else "(-INFINITY)"
    with np.errstate(over="ignore"):
        rounded = float(np.float32(number)) if real == "float" else float(number)
    if math.isinf(rounded):
        raise ValueError(f"a number of the model, {number!r}, is too large for float; write real='double'")
    short = repr(rounded)
    text = short if len(short) <= 6 and "e" not in short else rounded.hex()
    text += "f" if real == "float" else ""
    return f"({text})" if text.startswith("-") else text


def _in_c(operation: str, arguments: list[str], number: float | None, real: Real) -> str:
    template = _IN_C[operation]
    if operation == "power" and number in _POWERS:
        template = _POWERS[number]  # type: ignore[index]  # just found there
    elif operation == "hill" and number == 1.0:
        template = _HILL_OF_ONE
    tiny = number_in_c(1e-300) if real == "double" else number_in_c(1e-37, real)
    text = template.format(*arguments, n="" if number is None else number_in_c(number, real), tiny=tiny)
    return text.replace("@", "f" if real == "float" else "")
