"""How a coordinate bends into its box, and how one parameter is kept above another."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from physics.parameter import Parameter

_BEND = 1.0 / 3.0  # β: over how much of log(θ/bound) a parameter that nears its bound gives way


@dataclass(frozen=True)
class Order:
    """Parameter `upper` lies above the product of parameter `first` and the `rest`, each to the power 1 or −1; by index."""

    upper: int
    first: int
    rest: tuple[tuple[int, int], ...]


def late(
    x: Tensor,  # (...)
) -> Tensor:  # (...)
    """b(x) = x/(1 + x⁸)^(1/8), for any x: of the two terms under the root, the larger is taken out."""
    # the quotient does not depend on what is taken out, so neither does its derivative
    largest = x.detach().abs().clamp(min=1.0)
    return x / largest * ((1.0 / largest) ** 8 + (x / largest) ** 8) ** (-0.125)


def unlate(
    y: Tensor,  # (...), in (−1, 1)
) -> Tensor:  # (...)
    """The x with b(x) = y: y/(1 − y⁸)^(1/8)."""
    return y * (1.0 - y**8) ** (-0.125)


def softened(
    x: Tensor,  # (...)
) -> Tensor:  # (...)
    """σ(x) = β log(1 + exp(x/β)): above max(x, 0), and within β log 2 of it."""
    return _BEND * torch.logaddexp(x / _BEND, torch.zeros_like(x))


def ordered(
    logs: Tensor,  # (..., q)
    orders: Sequence[Order],
    low: Tensor,  # (q,)
    high: Tensor,  # (q,)
) -> Tensor:  # (..., q)
    """log θ with every parameter above what it lies above; `low` and `high`, the ends of the box of log θ."""
    columns = list(logs.unbind(-1))
    for order in orders:
        rest = sum((sign * columns[i] for i, sign in order.rest), torch.zeros_like(columns[0]))
        top = high[order.upper]
        below = top - _BEND - softened(top - _BEND - columns[order.first] - rest)
        columns[order.first] = (below - rest).clamp(low[order.first], high[order.first])
        bound = columns[order.first] + rest
        room = top - bound
        ratio = room * softened(columns[order.upper] - bound) / softened(room)
        columns[order.upper] = (bound + ratio).clamp(low[order.upper], high[order.upper])
    return torch.stack(columns, -1)


def order_of(
    parameter: Parameter,
    parameters: Sequence[Parameter],
    held: Sequence[float | None] | None = None,
) -> Order:
    """What `parameter.above` says, as indices, checked for room; `held` gives the value of each parameter that has one alone.

    Errors: `ValueError` for a text that is no product of known parameters, a parameter that need not be positive, or boxes
    that leave no room.
    """
    names = [p.name for p in parameters]
    parts = re.split(r"([*/])", parameter.above.replace(" ", ""))
    factors, signs = parts[::2], [1, *(1 if s == "*" else -1 for s in parts[1::2])]
    unknown = [f for f in factors if f not in names or f == parameter.name]
    if unknown or len(set(factors)) < len(factors):
        raise ValueError(
            f"parameter {parameter.name} lies above {parameter.above[:60]!r}, which is no product or quotient of others among "
            f'{names}; write above="ke", or above="CL/V"'
        )
    signed = [p.name for p in (parameter, *(parameters[names.index(f)] for f in factors)) if not p.positive]
    if signed:
        raise ValueError(
            f"parameter {parameter.name} lies above {parameter.above}, which is kept in logarithms, and the box of {signed[0]} "
            "is not positive; give it a positive box, or take the order out"
        )
    first, rest = names.index(factors[0]), tuple((names.index(f), s) for f, s in zip(factors[1:], signs[1:], strict=True))
    alone = [None] * len(names) if held is None else held
    low = [p.low if value is None else value for p, value in zip(parameters, alone, strict=True)]
    high = [p.high if value is None else value for p, value in zip(parameters, alone, strict=True)]
    # the bound gives way at its first factor; at that one's low end it must still leave room for θ_j
    least = math.log(low[first])
    least += sum(s * math.log(high[i] if s > 0 else low[i]) for i, s in rest)
    end = high[names.index(parameter.name)]
    if not least < math.log(end) - 2.0 * _BEND:
        raise ValueError(
            f"parameter {parameter.name} lies above {parameter.above}, which is at least {math.exp(least):.3g} for some people, "
            f"and its box ends at {end:g} {parameter.unit}; raise that end to more than twice as much, or lower the "
            f"box of {parameters[first].name}"
        )
    return Order(names.index(parameter.name), first, rest)
