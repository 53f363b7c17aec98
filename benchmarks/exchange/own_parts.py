"""Parts that nobody but their author knows: a residual without layers, and a known term; what has neither layers nor a tape."""

from typing import Any

import torch
from torch import Tensor, nn

from hybrid import BoundTerm, Term
from learned import Residual


class Eddy(Residual):
    """ε_i = ρ s_i g sin(Σ_j W_ij x_j/s_j + U_i·u/r + C_i·c) exp(−|x_i/s_i|/4), g = 1, or with `sees_theta` the first θ over its
    typical value; minus its value at (0, 0, c) with `vanishes_at_origin`.

    Arguments: sizes; `scale` s and `input_scale` r; `rate` ρ in 1/time; `typical`, that of the first θ, None to see no θ.
    """

    def __init__(
        self,
        states: int,
        inputs: int,
        covariates: int,
        *,
        scale: list[float],
        input_scale: list[float],
        rate: float,
        typical: float | None = None,
        vanishes_at_origin: bool = False,
    ) -> None:
        super().__init__()
        self.states, self.inputs, self.covariates = states, inputs, covariates
        self.sees_theta, self.vanishes_at_origin = typical is not None, vanishes_at_origin
        self.rate, self.typical = rate, typical
        self.scale: Tensor
        self.input_scale: Tensor
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64), persistent=False)
        self.register_buffer("input_scale", torch.tensor(input_scale, dtype=torch.float64), persistent=False)
        self.mix = nn.Parameter(torch.zeros(1, states, states + inputs + covariates, dtype=torch.float64))
        self.reset(torch.Generator().manual_seed(0))

    def reset(self, generator: torch.Generator) -> None:
        with torch.no_grad():
            self.mix.copy_(torch.randn(self.mix.shape, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        value = self._raw(x, u, c)
        if not self.vanishes_at_origin:
            return value
        return value - self._raw(torch.zeros_like(x), torch.zeros_like(u), c)

    def _raw(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        known = c[..., : self.covariates]
        rows = torch.broadcast_shapes(x.shape[:2], u.shape[:2], c.shape[:2])
        seen = torch.cat([part.expand(*rows, -1) for part in (x / self.scale, u / self.input_scale, known)], -1)
        value = torch.sin(seen @ self.mix.mT) * torch.exp(-0.25 * torch.abs(x / self.scale))
        if self.typical is not None:
            value = value * (c[..., self.covariates, None] / self.typical)
        return self.rate * self.scale * value

    def config(self) -> dict[str, Any]:
        return {
            "states": self.states,
            "inputs": self.inputs,
            "covariates": self.covariates,
            "scale": self.scale.tolist(),
            "input_scale": self.input_scale.tolist(),
            "rate": self.rate,
            "typical": self.typical,
            "vanishes_at_origin": self.vanishes_at_origin,
        }


class Saturable(Term):
    """k_i = −v s_i z/(1 + |z|) of one state, z = x_i/s_i: a loss that saturates. Arguments: `state` i, `rate` v, `scale` s_i."""

    def __init__(self, states: int, state: int, rate: float, scale: float) -> None:
        super().__init__()
        self.states, self.state, self.rate, self.scale = states, state, rate, scale
        self.loss: Tensor
        one = torch.zeros(states, dtype=torch.float64)
        one[state] = rate * scale
        self.register_buffer("loss", one, persistent=False)

    def at(self, theta: Tensor, c: Tensor) -> BoundTerm:
        del theta, c

        def value(x: Tensor, u: Tensor) -> Tensor:
            del u
            z = x[..., self.state, None] / self.scale
            return -self.loss * (z / (1.0 + torch.abs(z)))

        return BoundTerm(value)

    def config(self) -> dict[str, Any]:
        return {"states": self.states, "state": self.state, "rate": self.rate, "scale": self.scale}
