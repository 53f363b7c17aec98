"""Process noise: what drives the states at random, dx = f(x) dt + g(x) dW."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from learned.glance import built_with, glance


class ProcessNoise(nn.Module, ABC):
    """g(x), the diffusion of every state: in a short time Δt the state gains a standard deviation of g √Δt.

    The states are driven by independent Wiener processes, read in Itô's sense. Attribute: `states` n.
    Law: halving the step leaves the variance at t unchanged.
    Every trainable tensor has a leading member axis (1 until an ensemble stacks it).
    """

    states: int

    __repr__, _repr_html_ = glance(built_with)

    @abstractmethod
    def diffusion(
        self,
        x: Tensor,  # (M, R, n)
    ) -> Tensor:  # (M, R, n)
        """g(x) ≥ 0, in the state's unit per √time."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON values."""
