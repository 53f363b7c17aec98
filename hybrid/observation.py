"""What is measured of the state."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class Observation(nn.Module, ABC):
    """The mean of the measured channels, y = h(x, θ).

    Attributes: `channels` and `units`, names and UCUM codes (p,); `linear`, whether h is linear in x.
    Law: linear where it says so.
    """

    channels: tuple[str, ...]
    units: tuple[str, ...]
    linear: bool

    @abstractmethod
    def mean(
        self,
        x: Tensor,  # (M, N, T, n)
        theta: Tensor,  # (M, N, q)
    ) -> Tensor:  # (M, N, T, p)
        """h(x, θ)."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON values."""


class States(Observation):
    """y_j = x_{i_j}: some states themselves. Arguments: `index` (p,), names and units of the channels."""

    def __init__(self, index: Sequence[int], channels: Sequence[str], units: Sequence[str]) -> None:
        super().__init__()
        if not len(index) == len(channels) == len(units) or len(index) == 0:
            raise ValueError(f"States: needs one channel and unit per index, got {index}, {channels}, {units}")
        self.index, self.channels, self.units = tuple(int(i) for i in index), tuple(channels), tuple(units)
        self.linear = True

    def mean(self, x: Tensor, theta: Tensor) -> Tensor:
        return x[..., list(self.index)]

    def config(self) -> dict[str, Any]:
        return {"index": list(self.index), "channels": list(self.channels), "units": list(self.units)}


class Concentration(Observation):
    """y = x_i / V: the amount in compartment `state` over the volume θ_`volume`, both given by their index."""

    def __init__(self, state: int, volume: int, channel: str = "concentration", unit: str = "mg/L") -> None:
        super().__init__()
        self.state, self.volume = int(state), int(volume)
        self.channels, self.units, self.linear = (channel,), (unit,), True

    def mean(self, x: Tensor, theta: Tensor) -> Tensor:
        return x[..., self.state, None] / theta[..., None, self.volume, None]

    def config(self) -> dict[str, Any]:
        return {"state": self.state, "volume": self.volume, "channel": self.channels[0], "unit": self.units[0]}
