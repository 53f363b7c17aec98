"""The residual of a model that trusts its physics alone."""

from typing import Any

import torch
from torch import Tensor

from learned.residual import LayeredResidual, Layers
from learned.sizes import generator_of, sizes_of, tensor_of


class Zero(LayeredResidual):
    """ε = 0: with it the solution is the matrix exponential. It has no trainable tensor."""

    vanishes = True

    def __init__(self, states: int = 0, inputs: int = 0, covariates: int = 0) -> None:
        super().__init__()
        sizes_of({"states": states, "inputs": inputs, "covariates": covariates}, "Zero")
        if states < 1 or inputs < 0 or covariates < 0:
            raise ValueError(
                f"Zero: needs states ≥ 1, inputs and covariates ≥ 0, got {states}, {inputs} and {covariates}; a model without a "
                "residual needs none to be named: HybridModel(backbone, population, None, …)"
            )
        self.states, self.inputs, self.covariates = int(states), int(inputs), int(covariates)
        self.vanishes_at_origin = True
        self.nothing: Tensor
        self.register_buffer("nothing", torch.zeros(1, states, dtype=torch.float64), persistent=False)

    def layers(self) -> Layers:
        n = self.states
        return Layers(
            weights=(self.nothing[:, :, None].expand(1, n, n),),
            biases=(self.nothing,),
            input_weights=self.nothing.new_zeros(1, n, 0),
            covariate_weights=self.nothing.new_zeros(1, n, 0),
            activation="tanh",
            vanishes_at_origin=False,
        )

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        tensor_of(x, "Zero: x", ..., self.states)
        return torch.zeros_like(x)

    def reset(self, generator: torch.Generator) -> None:
        generator_of(generator, "Zero.reset: generator")
        return None

    def config(self) -> dict[str, Any]:
        return {"states": self.states, "inputs": self.inputs, "covariates": self.covariates}
