"""The closed list of scalar operations that a program may hold: those of a tape, and what tracing needs beside them.

Each is given in numpy here, in C in `in_c.py`, and its slopes in `slopes.py`; tests hold the three alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.special import erf

LEAVES = ("given", "constant")


@dataclass(frozen=True)
class Operation:
    """One operation, elementwise, in float64: its `arity`, its value in numpy, whether a number (an exponent) comes behind the
    arguments, and whether what it gives is a truth, 1 or 0."""

    arity: int
    plain: Callable[..., Any]
    numbered: bool = False
    truth: bool = False


def _truth(holds: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *a: np.where(holds(*a), 1.0, 0.0)


def _hill(v: Any, n: float) -> Any:
    if n == 1.0:  # NaN stays, as in torch
        return np.where(v < 0.0, 0.0, v / (1.0 + v))
    return np.where(v > 0.0, _sigmoid(n * np.log(np.maximum(v, 1e-300))), 0.0)


def _sigmoid(v: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-v))


def _power(v: Any, n: float) -> Any:
    if abs(n) == 0.5:  # as torch has it, of −∞ and −0 too
        return np.sqrt(v) if n > 0.0 else 1.0 / np.sqrt(v)
    return np.power(v, n)


OPERATIONS = MappingProxyType(
    {
        # those of a tape
        "add": Operation(2, np.add),
        "subtract": Operation(2, np.subtract),
        "multiply": Operation(2, np.multiply),
        "divide": Operation(2, np.divide),
        "negate": Operation(1, np.negative),
        "power": Operation(1, _power, numbered=True),
        "exp": Operation(1, np.exp),
        "log": Operation(1, np.log),
        "sqrt": Operation(1, np.sqrt),
        "sin": Operation(1, np.sin),
        "cos": Operation(1, np.cos),
        "atan": Operation(1, np.arctan),
        "tanh": Operation(1, np.tanh),
        "sigmoid": Operation(1, _sigmoid),
        "softplus": Operation(1, lambda a: np.logaddexp(a, 0.0)),
        "relu": Operation(1, lambda a: np.maximum(a, 0.0)),
        "abs": Operation(1, np.abs),
        "minimum": Operation(2, np.minimum),
        "maximum": Operation(2, np.maximum),
        "saturating": Operation(1, lambda a: a / (1.0 + a)),
        "hill": Operation(1, _hill, numbered=True),
        "square": Operation(1, np.square),
        # those beside them
        "pow": Operation(2, np.power),
        "expm1": Operation(1, np.expm1),
        "log1p": Operation(1, np.log1p),
        "erf": Operation(1, erf),
        "tan": Operation(1, np.tan),
        "asin": Operation(1, np.arcsin),
        "acos": Operation(1, np.arccos),
        "sinh": Operation(1, np.sinh),
        "cosh": Operation(1, np.cosh),
        "atan2": Operation(2, np.arctan2),
        "floor": Operation(1, np.floor),
        "sign": Operation(1, lambda a: np.where(a > 0.0, 1.0, 0.0) - np.where(a < 0.0, 1.0, 0.0)),
        "where": Operation(3, lambda c, a, b: np.where(c != 0.0, a, b)),
        "less": Operation(2, _truth(np.less), truth=True),
        "less_equal": Operation(2, _truth(np.less_equal), truth=True),
        "equal": Operation(2, _truth(np.equal), truth=True),
        "isnan": Operation(1, _truth(np.isnan), truth=True),
        "and": Operation(2, _truth(lambda a, b: (a != 0.0) & (b != 0.0)), truth=True),
        "or": Operation(2, _truth(lambda a, b: (a != 0.0) | (b != 0.0)), truth=True),
        "not": Operation(1, _truth(lambda a: a == 0.0), truth=True),
    }
)
FLAT = frozenset({"floor", "sign", *(name for name, one in OPERATIONS.items() if one.truth)})  # what has no slope
