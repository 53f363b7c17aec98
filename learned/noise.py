"""Measurement noise: the variance of a measurement of each channel."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn


class NoiseHead(nn.Module, ABC):
    """σ²(y, x, u), the variance of a measurement of each channel.

    Attributes: `channels` p; `floor` (p,), the standard deviation that no fit can go below: without it a flexible mean
    drives the likelihood to infinity on a record that it can pass through.
    Law: never below the floor, `floor²`; the deterministic limit, in which nothing learned is left, gives the floor.
    Every trainable tensor has a leading member axis (1 until an ensemble stacks it).
    """

    channels: int
    floor: Tensor

    @abstractmethod
    def variance(
        self,
        y: Tensor,  # (M, N, T, p) predicted mean
        x: Tensor,  # (M, N, T, n)
        u: Tensor,  # (M|1, N, T, m)
    ) -> Tensor:  # (M, N, T, p)
        """The variance, in the channel's unit squared."""

    @abstractmethod
    def reset(self, generator: torch.Generator) -> None:
        """Draw anew what starts at random; what starts where the caller said stays as it is."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON values."""
