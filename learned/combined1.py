"""Noise whose standard deviations add up: a constant one, and one that grows with what is measured."""

from typing import Any

import torch
from torch import Tensor, nn

from learned.joints import Joint
from learned.noise import Estimates, NoiseHead, PerChannel, require_seen
from learned.sizes import generator_of
from learned.two_parts import arguments_of, begin, joined_in_order, sizes_of_both


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

    names: tuple[str, ...] | None
    called: tuple[str, ...] | None
    start: tuple[list[float], list[float]]
    log_additive: nn.Parameter
    log_proportional: nn.Parameter

    def __init__(self, additive: PerChannel, proportional: PerChannel, floor: PerChannel) -> None:
        super().__init__()
        begin(self, additive, proportional, floor)

    def joined(self, joint: Joint) -> "Combined1":
        """This head with its channels in the model's order."""
        return joined_in_order(self, joint)

    def variance(self, y: Tensor, x: Tensor, u: Tensor) -> Tensor:
        require_seen(self, y, self.log_additive.shape[0])
        a, b = (v.exp()[:, None, None, :] for v in (self.log_additive, self.log_proportional))
        return self.floor.square() + (a + b * y.abs()).square()

    def estimates(self) -> Estimates:
        """What is learned, by name: "additive(…)", the standard deviation where y is 0 (floor included), "proportional(…)"."""
        return sizes_of_both(self)

    def reset(self, generator: torch.Generator) -> None:
        generator_of(generator, "Combined1.reset: generator")
        return None

    def held(self) -> dict[str, Any]:
        """What no trainable tensor carries, in one form for equal ones."""
        return {"floor": self.floor.detach(), "channels": self.called}

    def config(self) -> dict[str, Any]:
        return arguments_of(self)
