"""The functions that a mechanism's `rate` is written with, beside + − × ÷ and constant powers.

Each takes a traced scalar, a tensor, an array or a number: a `rate` can be traced to a tape, and run as plain Python too.

    from physics.operations import exp, hill, saturating
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from torch import Tensor

from physics.arguments import require_number
from physics.operation import OPERATIONS


class Traced(ABC):
    """What stands for a value while a `rate` is traced: whatever records an operation on itself."""

    @abstractmethod
    def record(self, operation: str, *arguments: Any, number: float | None = None) -> Any:
        """The scalar that the operation gives."""


def apply(operation: str, *arguments: Any, number: float | None = None) -> Any:
    """The operation of that name, on whatever the arguments are."""
    for argument in arguments:
        if isinstance(argument, Traced):
            return argument.record(operation, *arguments, number=number)
    one = OPERATIONS[operation]
    more = () if number is None else (number,)
    if any(isinstance(argument, Tensor) for argument in arguments):
        return one.value(*arguments, *more)
    return one.plain(*(np.asarray(a, dtype=np.float64) for a in arguments), *more)


def exp(v: Any) -> Any:
    """eᵛ."""
    return apply("exp", v)


def log(v: Any) -> Any:
    """The natural logarithm, v > 0. An exponent that is a parameter: vⁿ = exp(n log v)."""
    return apply("log", v)


def sqrt(v: Any) -> Any:
    """The square root, v ≥ 0; its slope has no bound near 0."""
    return apply("sqrt", v)


def sin(v: Any) -> Any:
    """The sine, v in radians."""
    return apply("sin", v)


def cos(v: Any) -> Any:
    """The cosine, v in radians."""
    return apply("cos", v)


def atan(v: Any) -> Any:
    """The arctangent, in radians."""
    return apply("atan", v)


def tanh(v: Any) -> Any:
    """The hyperbolic tangent."""
    return apply("tanh", v)


def sigmoid(v: Any) -> Any:
    """1/(1 + e⁻ᵛ). A Hill function with a parameter as exponent is sigmoid(n log v), v > 0."""
    return apply("sigmoid", v)


def softplus(v: Any) -> Any:
    """log(1 + eᵛ)."""
    return apply("softplus", v)


def relu(v: Any) -> Any:
    """max(v, 0): a dead band."""
    return apply("relu", v)


def minimum(v: Any, w: Any) -> Any:
    """The smaller of the two."""
    return apply("minimum", v, w)


def maximum(v: Any, w: Any) -> Any:
    """The larger of the two."""
    return apply("maximum", v, w)


def saturating(v: Any) -> Any:
    """v/(1 + v), v > −1: Vmax·x/(Km + x) is Vmax·saturating(x/Km). Its slope is monotone, so that bounds of it are exact."""
    return apply("saturating", v)


def hill(v: Any, n: float) -> Any:
    """vⁿ/(1 + vⁿ) with a constant n > 0 for v ≥ 0, and 0 below: what is left of 0 is rounding. Errors: `ValueError` for n ≤ 0."""
    require_number(n, "hill: n, a constant exponent (for a parameter write sigmoid(n * log(v))),", above=0.0)
    return apply("hill", v, number=float(n))


def square(v: Any) -> Any:
    """v²."""
    return apply("square", v)
