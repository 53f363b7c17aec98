"""Noise that is the same everywhere."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from learned.joints import Joint
from learned.noise import (
    Estimates,
    NoiseHead,
    PerChannel,
    by_channel,
    called,
    channel_order,
    learned_sizes,
    per_channel,
    reordered,
    require_seen,
)
from learned.sizes import generator_of, shown


class Constant(NoiseHead):
    """σ² = floor² + s², s learned per channel: an instrument whose error does not depend on what it measures.

    Arguments: `sd` s (p,), where learning starts, and `floor` (p,), the standard deviation that no fit can go below, both
    in the channel's unit: in the order of the channels, or both by the channels' names.
    Trainable: log s, (M, p). For noise that is known, `head.log_sd.requires_grad_(False)`.
    Errors: `ValueError` for numbers that are not positive and finite, or not one per channel.
    """

    def __init__(self, sd: PerChannel, floor: PerChannel) -> None:
        super().__init__()
        self.names, (sd, floor) = per_channel({"sd": sd, "floor": floor}, "Constant")
        if len(sd) != len(floor) or not all(0.0 < v < math.inf for v in (*sd, *floor)):
            raise ValueError(
                f"Constant: needs positive finite sd and floor, one per channel, got {shown(sd)}, {shown(floor)}"
            )
        self.channels = len(sd)
        self.called: tuple[str, ...] | None = self.names
        self.start = [float(s) for s in sd]
        self.register_buffer("floor", torch.tensor([float(f) for f in floor], dtype=torch.float64))
        self.log_sd = nn.Parameter(torch.tensor([self.start], dtype=torch.float64).log())

    def joined(self, joint: Joint) -> "Constant":
        """This head with its channels in the model's order."""
        order = channel_order(self.names, joint, "Constant")
        if order is None:
            return called(self, joint)
        found = reordered(self, joint, order)
        found.start = [self.start[i] for i in order]
        return found

    def variance(self, y: Tensor, x: Tensor, u: Tensor) -> Tensor:
        require_seen(self, y, self.log_sd.shape[0])
        same = self.floor.square() + torch.exp(2.0 * self.log_sd)[:, None, None, :]
        return same.expand(torch.broadcast_shapes(same.shape, y.shape))

    def estimates(self) -> Estimates:
        """What is learned, by name: "additive(…)", the standard deviation, floor included."""
        return learned_sizes({"additive": (self.log_sd, (self.floor.square() + (2.0 * self.log_sd).exp()).sqrt())}, self.called)

    def reset(self, generator: torch.Generator) -> None:
        generator_of(generator, "Constant.reset: generator")
        return None

    def held(self) -> dict[str, Any]:
        """What no trainable tensor carries, in one form for equal ones."""
        return {"floor": self.floor.detach(), "channels": self.called}

    def config(self) -> dict[str, Any]:
        return by_channel({"sd": self.start, "floor": self.floor.tolist()}, self.names)
