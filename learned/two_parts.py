"""What heads of a constant part and one that grows with what is measured have in common: all but how the two add up."""

import math
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from learned.joints import Joint
from learned.noise import (
    Called,
    Estimates,
    PerChannel,
    by_channel,
    called,
    channel_order,
    learned_sizes,
    per_channel,
    reordered,
)
from learned.sizes import shown


class TwoParts(Called, Protocol):
    """log a and log b, (M, p), above a floor (p,), and where they started."""

    start: tuple[list[float], list[float]]
    channels: int
    floor: Tensor
    log_additive: nn.Parameter
    log_proportional: nn.Parameter

    def register_buffer(self, name: str, tensor: Tensor) -> None: ...


_Head = TypeVar("_Head", bound=TwoParts)


def begin(head: TwoParts, additive: PerChannel, proportional: PerChannel, floor: PerChannel) -> None:
    """Give a head its numbers. Errors: `ValueError` for some that are not positive and finite, or not one per channel."""
    name = type(head).__name__
    given = {"additive": additive, "proportional": proportional, "floor": floor}
    head.names, (additive, proportional, floor) = per_channel(given, name)
    if not len(additive) == len(proportional) == len(floor) or not all(
        0.0 < v < math.inf for v in (*additive, *proportional, *floor)
    ):
        raise ValueError(
            f"{name}: needs positive finite additive, proportional and floor, one per channel, got "
            f"{shown(additive)}, {shown(proportional)}, {shown(floor)}"
        )
    head.channels, head.called = len(additive), head.names
    head.start = ([float(a) for a in additive], [float(b) for b in proportional])
    head.register_buffer("floor", torch.tensor([float(f) for f in floor], dtype=torch.float64))
    head.log_additive = nn.Parameter(torch.tensor([head.start[0]], dtype=torch.float64).log())
    head.log_proportional = nn.Parameter(torch.tensor([head.start[1]], dtype=torch.float64).log())


def joined_in_order(head: _Head, joint: Joint) -> _Head:
    """The head with its channels in the model's order."""
    order = channel_order(head.names, joint, type(head).__name__)
    if order is None:
        return called(head, joint)
    found = reordered(head, joint, order)
    found.start = ([head.start[0][i] for i in order], [head.start[1][i] for i in order])
    return found


def sizes_of_both(head: TwoParts) -> Estimates:
    """What is learned, by name: "additive(…)", the standard deviation where y is 0 (floor included), "proportional(…)"."""
    additive = (head.floor.square() + (2.0 * head.log_additive).exp()).sqrt()
    sizes = {"additive": (head.log_additive, additive), "proportional": (head.log_proportional, head.log_proportional.exp())}
    return learned_sizes(sizes, head.called)


def arguments_of(head: TwoParts) -> dict[str, Any]:
    """The constructor's arguments as plain JSON values."""
    given = {"additive": head.start[0], "proportional": head.start[1], "floor": head.floor.tolist()}
    return by_channel(given, head.names)
