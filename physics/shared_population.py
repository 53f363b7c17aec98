"""A population whose people differ in nothing physical."""

from typing import Any

import torch
from torch import Tensor

from physics.population import Population


class SharedPopulation(Population):
    """θ is the same vector for everyone: the empty one for a backbone without parameters, or fixed numbers.

    Arguments: `values` (q,), in the order of the backbone's parameters. There is no η.
    """

    dimension = 0

    def __init__(self, values: list[float] | None = None) -> None:
        super().__init__()
        self.values: Tensor
        self.register_buffer("values", torch.tensor(values or [], dtype=torch.float64))

    def theta(self, eta: Tensor, covariates: dict[str, Tensor]) -> Tensor:
        return self.values.expand(*eta.shape[:-1], self.values.shape[0])

    def log_prior(self, eta: Tensor) -> Tensor:
        return eta.new_zeros(eta.shape[:-1])

    @property
    def box(self) -> Tensor:
        return torch.stack([self.values, self.values], -1)

    def config(self) -> dict[str, Any]:
        return {"values": self.values.tolist()}
