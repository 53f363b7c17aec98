"""The closed list of operations that a tape may hold: what each gives, and its slopes, in torch and in numpy.

Where an operation has a kink, its slope there is one of those beside it (torch's choice). The checker has a table of its own
(`stability/proof/tape/`), and a test holds the two alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

Value = Any  # a tensor, or a number where nothing varies


@dataclass(frozen=True)
class Operation:
    """One operation z = f(a, …), elementwise.

    `arity`: how many arguments · `value`: in torch · `slopes`: ∂z/∂a, … in torch, from z, the arguments and the number · `plain`:
    in numpy · `numbered`: whether a constant number comes behind the arguments, the exponent.
    Law: `value` and `plain` agree; `slopes` are the derivatives of `value`.
    """

    arity: int
    value: Callable[..., Value]
    slopes: Callable[..., tuple[Value, ...]]
    plain: Callable[..., Any]
    numbered: bool = False


def hill_value(v: Value, n: float) -> Value:
    """vⁿ/(1 + vⁿ) above 0, and 0 below: as a sigmoid of n log v, which does not overflow."""
    if n == 1.0:
        above = v.clamp(min=0.0)  # whose slope at 0 is that of the right
        return above / (1.0 + above)
    inside = torch.sigmoid(n * torch.log(v.clamp(min=1e-300 if v.dtype == torch.float64 else 1e-37)))
    return torch.where(v > 0.0, inside, torch.zeros_like(v))


def _hill_slope(z: Value, v: Value, n: float) -> Value:
    if n == 1.0:
        return torch.where(v >= 0.0, (1.0 - z) ** 2, torch.zeros_like(v))
    safe = v.clamp(min=1e-300 if v.dtype == torch.float64 else 1e-37)
    return torch.where(v > 0.0, n * z * (1.0 - z) / safe, torch.zeros_like(v))


def _hill_plain(v: Any, n: float) -> Any:
    v = np.asarray(v, dtype=np.float64)
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(v > 0.0, 1.0 / (1.0 + np.where(v > 0.0, v, 1.0) ** -n), 0.0)[()]


def _extreme(one: Value, two: Value, larger: bool) -> Value:
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return torch.maximum(one, two) if larger else torch.minimum(one, two)
    tensor, number = (one, two) if isinstance(one, Tensor) else (two, one)
    return tensor.clamp(min=number) if larger else tensor.clamp(max=number)


def _chosen(one: Value, two: Value, larger: bool) -> tuple[Value, Value]:
    first = (one >= two) if larger else (one <= two)
    like = one if isinstance(one, Tensor) else two
    weight = first.to(like.dtype)
    return weight, 1.0 - weight


def _sigmoid_plain(v: Any) -> Any:
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(v, dtype=np.float64)))


# what a tape may hold beside its leaves; the order is that of the documentation
OPERATIONS = MappingProxyType(
    {
        "add": Operation(2, lambda a, b: a + b, lambda z, a, b: (1.0, 1.0), np.add),
        "subtract": Operation(2, lambda a, b: a - b, lambda z, a, b: (1.0, -1.0), np.subtract),
        "multiply": Operation(2, lambda a, b: a * b, lambda z, a, b: (b, a), np.multiply),
        "divide": Operation(2, lambda a, b: a / b, lambda z, a, b: (1.0 / b, -z / b), np.divide),
        "negate": Operation(1, lambda a: -a, lambda z, a: (-1.0,), np.negative),
        "power": Operation(
            1, lambda a, n: a**n, lambda z, a, n: (n * a ** (n - 1.0),), lambda a, n: np.power(a, n), numbered=True
        ),
        "exp": Operation(1, torch.exp, lambda z, a: (z,), np.exp),
        "log": Operation(1, torch.log, lambda z, a: (1.0 / a,), np.log),
        "sqrt": Operation(1, torch.sqrt, lambda z, a: (0.5 / z,), np.sqrt),
        "sin": Operation(1, torch.sin, lambda z, a: (torch.cos(a),), np.sin),
        "cos": Operation(1, torch.cos, lambda z, a: (-torch.sin(a),), np.cos),
        "atan": Operation(1, torch.atan, lambda z, a: (1.0 / (1.0 + a * a),), np.arctan),
        "tanh": Operation(1, torch.tanh, lambda z, a: (1.0 - z * z,), np.tanh),
        "sigmoid": Operation(1, torch.sigmoid, lambda z, a: (z * (1.0 - z),), _sigmoid_plain),
        "softplus": Operation(
            1,
            lambda a: torch.logaddexp(a, torch.zeros_like(a)),
            lambda z, a: (torch.sigmoid(a),),
            lambda a: np.logaddexp(a, 0.0),
        ),
        "relu": Operation(1, torch.relu, lambda z, a: ((a > 0.0).to(a.dtype),), lambda a: np.maximum(a, 0.0)),
        "abs": Operation(1, torch.abs, lambda z, a: (torch.sign(a),), np.abs),
        "minimum": Operation(2, lambda a, b: _extreme(a, b, False), lambda z, a, b: _chosen(a, b, False), np.minimum),
        "maximum": Operation(2, lambda a, b: _extreme(a, b, True), lambda z, a, b: _chosen(a, b, True), np.maximum),
        "saturating": Operation(1, lambda a: a / (1.0 + a), lambda z, a: ((1.0 + a) ** -2.0,), lambda a: a / (1.0 + a)),
        "hill": Operation(1, hill_value, lambda z, a, n: (_hill_slope(z, a, n),), _hill_plain, numbered=True),
        "square": Operation(1, torch.square, lambda z, a: (2.0 * a,), np.square),
    }
)
