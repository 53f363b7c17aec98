"""A known term and a residual without layers that sees θ, as strangers would write them: one file, no word anywhere."""

from typing import Any

import torch
from torch import Tensor, nn

from hybrid import BoundTerm, Term
from learned import Residual


class Saturable(Term):
    """−v x/(k + x) of the last of two states."""

    def __init__(self, v: float, k: float) -> None:
        super().__init__()
        self.v, self.k = v, k

    def at(self, theta: Tensor, c: Tensor) -> BoundTerm:
        return BoundTerm(lambda x, u: torch.stack([0.0 * x[..., 0], -self.v * x[..., 1] / (self.k + x[..., 1])], -1))

    def config(self) -> dict[str, Any]:
        return {"v": self.v, "k": self.k}


class Slowed(Residual):
    """ε = (0, a ke x₂ exp(−(x₂/100)²)) with θ = (ka, ke, V): where there is much, elimination is another."""

    sees_theta = True

    def __init__(self) -> None:
        super().__init__()
        self.states, self.inputs, self.covariates, self.vanishes_at_origin = 2, 0, 0, True
        self.a = nn.Parameter(torch.zeros(1, 1, 1, dtype=torch.float64))

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        ke, plasma = c[..., 1:2], x[..., 1:]
        found = self.a * ke * plasma * torch.exp(-(plasma / 100.0).square())
        return torch.cat([torch.zeros_like(found), found], -1)

    def reset(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.a, std=0.1, generator=generator)

    def config(self) -> dict[str, Any]:
        return {}
