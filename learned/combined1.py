"""Noise whose standard deviations add up: a constant one, and one that grows with what is measured."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from learned.joints import Joint
from learned.noise import (
    Estimates,
    NoiseHead,
    PerChannel,
    called,
    channel_order,
    learned_sizes,
    per_channel,
    require_seen,
)
from learned.sizes import generator_of, shown


class Combined1(NoiseHead):
    """σ = a + b |y| above the floor, σ² = floor² + (a + b |y|)²: standard deviations add, a and b learned per channel.

    `Combined2` adds variances instead, a² + b² y²; with the same a and b this σ is larger, most where a = b |y|, by √2.
    Published models say which is meant, or give a formula: sd = .2 + .1 f is this one.

    Arguments: `additive` a (p,) and `proportional` b (p,), where learning starts, in the channel's unit and as a
    fraction; `floor` (p,), the standard deviation that no fit can go below. Each as numbers in the order of the channels, or
    by the channels' names, {"glucose": 0.2, "insulin": 3.0}: then the model puts them into its own order.
    Trainable: log a and log b, (M, p).
    Errors: `ValueError` for numbers that are not positive and finite, or not one per channel.
    Source: Lavielle, Mixed Effects Models for the Population Approach (2014), section 3.4, where it is named so.
    """

    def __init__(self, additive: PerChannel, proportional: PerChannel, floor: PerChannel) -> None:
        super().__init__()
        given = {"additive": additive, "proportional": proportional, "floor": floor}
        self.names, (additive, proportional, floor) = per_channel(given, "Combined1")
        if not len(additive) == len(proportional) == len(floor) or not all(
            0.0 < v < math.inf for v in (*additive, *proportional, *floor)
        ):
            raise ValueError(
                "Combined1: needs positive finite additive, proportional and floor, one per channel, got "
                f"{shown(additive)}, {shown(proportional)}, {shown(floor)}"
            )
        self.channels = len(additive)
        self.called: tuple[str, ...] | None = self.names
        self.start = ([float(a) for a in additive], [float(b) for b in proportional])
        self.register_buffer("floor", torch.tensor([float(f) for f in floor], dtype=torch.float64))
        self.log_additive = nn.Parameter(torch.tensor([self.start[0]], dtype=torch.float64).log())
        self.log_proportional = nn.Parameter(torch.tensor([self.start[1]], dtype=torch.float64).log())

    def joined(self, joint: Joint) -> "Combined1":
        """This head with its channels in the model's order."""
        order = channel_order(self.names, joint, "Combined1")
        if order is None:
            return called(self, joint)
        found = copy.deepcopy(self)
        found.names, found.start = joint.channels, ([self.start[0][i] for i in order], [self.start[1][i] for i in order])
        for tensor in (*found.parameters(), *found.buffers()):
            tensor.data = tensor.data[..., order]
        return called(found, joint)

    def variance(self, y: Tensor, x: Tensor, u: Tensor) -> Tensor:
        require_seen(self, y, self.log_additive.shape[0])
        a, b = (v.exp()[:, None, None, :] for v in (self.log_additive, self.log_proportional))
        return self.floor.square() + (a + b * y.abs()).square()

    def estimates(self) -> Estimates:
        """What is learned, by name: "additive(…)", the standard deviation where y is 0 (floor included), "proportional(…)"."""
        additive = (self.floor.square() + (2.0 * self.log_additive).exp()).sqrt()
        sizes = {"additive": (self.log_additive, additive), "proportional": (self.log_proportional, self.log_proportional.exp())}
        return learned_sizes(sizes, self.called)

    def reset(self, generator: torch.Generator) -> None:
        generator_of(generator, "Combined1.reset: generator")
        return None

    def config(self) -> dict[str, Any]:
        given = {"additive": self.start[0], "proportional": self.start[1], "floor": self.floor.tolist()}
        if self.names is None:
            return given
        return {key: dict(zip(self.names, values, strict=True)) for key, values in given.items()}
