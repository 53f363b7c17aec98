"""Noise with a constant part and a part that grows with what is measured."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from learned.noise import NoiseHead
from learned.sizes import column_of


class AdditiveProportional(NoiseHead):
    """σ² = floor² + a² + (b y)², the combined error model of pharmacometrics, a and b learned per channel.

    Arguments: `additive` a (p,) and `proportional` b (p,), where learning starts, in the channel's unit and as a
    fraction; `floor` (p,), the standard deviation that no fit can go below.
    Trainable: log a and log b, (M, p).
    Errors: `ValueError` for numbers that are not positive and finite, or not one per channel.
    Source: Beal & Sheiner, NONMEM Users Guide Part I (1992).
    """

    def __init__(self, additive: Sequence[float], proportional: Sequence[float], floor: Sequence[float]) -> None:
        super().__init__()
        additive, proportional, floor = (
            column_of(v, f"AdditiveProportional: {what}")
            for what, v in (("additive", additive), ("proportional", proportional), ("floor", floor))
        )
        if not len(additive) == len(proportional) == len(floor) or not all(
            0.0 < v < math.inf for v in (*additive, *proportional, *floor)
        ):
            raise ValueError(
                "AdditiveProportional: needs positive finite additive, proportional and floor, one per channel, got "
                f"{list(additive)}, {list(proportional)}, {list(floor)}"
            )
        self.channels = len(additive)
        self.start = ([float(a) for a in additive], [float(b) for b in proportional])
        self.register_buffer("floor", torch.tensor([float(f) for f in floor], dtype=torch.float64))
        self.log_additive = nn.Parameter(torch.tensor([self.start[0]], dtype=torch.float64).log())
        self.log_proportional = nn.Parameter(torch.tensor([self.start[1]], dtype=torch.float64).log())

    def variance(self, y: Tensor, x: Tensor, u: Tensor) -> Tensor:
        a = torch.exp(2.0 * self.log_additive)[:, None, None, :]
        b = torch.exp(2.0 * self.log_proportional)[:, None, None, :]
        return self.floor.square() + a + b * y.square()

    def reset(self, generator: torch.Generator) -> None:
        return None

    def config(self) -> dict[str, Any]:
        return {"additive": self.start[0], "proportional": self.start[1], "floor": self.floor.tolist()}
