"""Noise with a constant part and a part that grows with what is measured."""

from typing import Any

import torch
from torch import Tensor, nn

from learned.joints import Joint
from learned.noise import Estimates, NoiseHead, PerChannel, require_seen
from learned.sizes import generator_of
from learned.two_parts import arguments_of, begin, joined_in_order, sizes_of_both


class AdditiveProportional(NoiseHead):
    """σ² = floor² + a² + (b y)², the combined error model of pharmacometrics, a and b learned per channel.

    Variances add: the field's "combined2", and `Combined2` is the same class. Where standard deviations add, it is `Combined1`.

    Arguments: `additive` a (p,) and `proportional` b (p,), where learning starts, in the channel's unit and as a
    fraction; `floor` (p,), the standard deviation that no fit can go below. Each as numbers in the order of the channels, or
    by the channels' names, {"glucose": 0.2, "insulin": 3.0}: then the model puts them into its own order.
    Trainable: log a and log b, (M, p).
    Errors: `ValueError` for numbers that are not positive and finite, or not one per channel.
    Source: Beal & Sheiner, NONMEM Users Guide Part I (1992).
    """

    names: tuple[str, ...] | None
    called: tuple[str, ...] | None
    start: tuple[list[float], list[float]]
    log_additive: nn.Parameter
    log_proportional: nn.Parameter

    def __init__(self, additive: PerChannel, proportional: PerChannel, floor: PerChannel) -> None:
        super().__init__()
        begin(self, additive, proportional, floor)

    def joined(self, joint: Joint) -> "AdditiveProportional":
        """This head with its channels in the model's order."""
        return joined_in_order(self, joint)

    def variance(self, y: Tensor, x: Tensor, u: Tensor) -> Tensor:
        require_seen(self, y, self.log_additive.shape[0])
        a = torch.exp(2.0 * self.log_additive)[:, None, None, :]
        b = torch.exp(2.0 * self.log_proportional)[:, None, None, :]
        return self.floor.square() + a + b * y.square()

    def estimates(self) -> Estimates:
        """What is learned, by name: "additive(…)", the standard deviation where y is 0 (floor included), "proportional(…)"."""
        return sizes_of_both(self)

    def reset(self, generator: torch.Generator) -> None:
        generator_of(generator, "AdditiveProportional.reset: generator")
        return None

    def held(self) -> dict[str, Any]:
        """What no trainable tensor carries, in one form for equal ones."""
        return {"floor": self.floor.detach(), "channels": self.called}

    def config(self) -> dict[str, Any]:
        return arguments_of(self)


Combined2 = AdditiveProportional  # the field's name of it, beside `Combined1`
