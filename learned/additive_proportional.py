"""Noise with a constant part and a part that grows with what is measured."""

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

    def __init__(self, additive: PerChannel, proportional: PerChannel, floor: PerChannel) -> None:
        super().__init__()
        given = {"additive": additive, "proportional": proportional, "floor": floor}
        self.names, (additive, proportional, floor) = per_channel(given, "AdditiveProportional")
        if not len(additive) == len(proportional) == len(floor) or not all(
            0.0 < v < math.inf for v in (*additive, *proportional, *floor)
        ):
            raise ValueError(
                "AdditiveProportional: needs positive finite additive, proportional and floor, one per channel, got "
                f"{shown(additive)}, {shown(proportional)}, {shown(floor)}"
            )
        self.channels = len(additive)
        self.called: tuple[str, ...] | None = self.names
        self.start = ([float(a) for a in additive], [float(b) for b in proportional])
        self.register_buffer("floor", torch.tensor([float(f) for f in floor], dtype=torch.float64))
        self.log_additive = nn.Parameter(torch.tensor([self.start[0]], dtype=torch.float64).log())
        self.log_proportional = nn.Parameter(torch.tensor([self.start[1]], dtype=torch.float64).log())

    def joined(self, joint: Joint) -> "AdditiveProportional":
        """This head with its channels in the model's order."""
        order = channel_order(self.names, joint, "AdditiveProportional")
        if order is None:
            return called(self, joint)
        found = copy.deepcopy(self)
        found.names, found.start = joint.channels, ([self.start[0][i] for i in order], [self.start[1][i] for i in order])
        for tensor in (*found.parameters(), *found.buffers()):
            tensor.data = tensor.data[..., order]
        return called(found, joint)

    def variance(self, y: Tensor, x: Tensor, u: Tensor) -> Tensor:
        require_seen(self, y, self.log_additive.shape[0])
        a = torch.exp(2.0 * self.log_additive)[:, None, None, :]
        b = torch.exp(2.0 * self.log_proportional)[:, None, None, :]
        return self.floor.square() + a + b * y.square()

    def estimates(self) -> Estimates:
        """What is learned, by name: "additive(…)", the standard deviation where y is 0 (floor included), "proportional(…)"."""
        additive = (self.floor.square() + (2.0 * self.log_additive).exp()).sqrt()
        sizes = {"additive": (self.log_additive, additive), "proportional": (self.log_proportional, self.log_proportional.exp())}
        return learned_sizes(sizes, self.called)

    def reset(self, generator: torch.Generator) -> None:
        generator_of(generator, "AdditiveProportional.reset: generator")
        return None

    def config(self) -> dict[str, Any]:
        given = {"additive": self.start[0], "proportional": self.start[1], "floor": self.floor.tolist()}
        if self.names is None:
            return given
        return {key: dict(zip(self.names, values, strict=True)) for key, values in given.items()}


Combined2 = AdditiveProportional  # the field's name of it, beside `Combined1`
