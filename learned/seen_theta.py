"""θ as a residual sees it: standardised by its box."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

KEYS = ("name", "at", "low", "high")


@dataclass(frozen=True)
class SeenTheta:
    """(log θ_j − centre)/half of the parameters that are seen: from −1 at the low end of its box to 1 at the high one.

    A parameter whose box reaches 0 or below has no logarithm, and is (θ_j − centre)/half.
    Arguments, each one for a parameter that is seen: `names`; `at`, its place in θ; `low` and `high`, the ends of its box in the
    backbone's units. Errors: `ValueError` for ends that are no box.
    """

    names: tuple[str, ...]
    at: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(
                    f"a residual sees θ by its box, and that of {name[:60]!r} is {low:g} to {high:g}; give low < high, finite"
                )

    def __call__(
        self,
        theta: Tensor,  # (..., q), in the backbone's order and units
    ) -> Tensor:  # (..., k)
        """What the network is given."""
        columns = []
        for at, logs, centre, half in self.scales:
            one = theta[..., at : at + 1]
            columns.append(((torch.log(one) if logs else one) - centre) / half)
        return torch.cat(columns, -1)

    @property
    def scales(self) -> list[tuple[int, bool, float, float]]:
        """Of each parameter its place in θ, whether its logarithm is seen, and centre and half of its box there."""
        found = []
        for at, low, high in zip(self.at, self.low, self.high, strict=True):
            ends = (math.log(low), math.log(high)) if low > 0.0 else (low, high)
            found.append((at, low > 0.0, 0.5 * (ends[0] + ends[1]), 0.5 * (ends[1] - ends[0])))
        return found

    def config(self) -> list[dict[str, Any]]:
        """As plain JSON values: what `sees_theta` takes without a model."""
        rows = zip(self.names, self.at, self.low, self.high, strict=True)
        return [dict(zip(KEYS, row, strict=True)) for row in rows]

    @property
    def count(self) -> int:
        """k, how many are seen."""
        return len(self.at)
