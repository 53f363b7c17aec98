"""A layered residual as its folded arrays: what trains them stays behind."""

from typing import Any

import torch
from torch import Tensor

from learned import LayeredResidual, Residual
from learned.residual import Layers

_PARTS = ("input_weights", "covariate_weights", "skip")


class Folded(LayeredResidual):
    """A layered residual whose arrays are made once, in float64, and then held.

    Some residuals make their layers by factorisations that no other runtime has; what is exported is what comes out of them.
    Law: `forward` is that of the residual.
    """

    def __init__(self, residual: LayeredResidual) -> None:
        super().__init__()
        self.states, self.inputs, self.covariates = residual.states, residual.inputs, residual.covariates
        self.vanishes_at_origin = residual.vanishes_at_origin
        self.sees_theta, self.seen_theta = residual.sees_theta, residual.seen_theta
        with torch.no_grad():
            layers = residual.layers()
        self._activation, self._depth = layers.activation, len(layers.weights)
        for k, (weight, bias) in enumerate(zip(layers.weights, layers.biases, strict=True)):
            self.register_buffer(f"weight{k}", weight.detach().clone())
            self.register_buffer(f"bias{k}", bias.detach().clone())
        for name in _PARTS:
            part = getattr(layers, name)
            self.register_buffer(name, None if part is None else part.detach().clone())
        self._zero = layers.vanishes_at_origin

    def layers(self) -> Layers:
        return Layers(
            weights=tuple(self.get_buffer(f"weight{k}") for k in range(self._depth)),
            biases=tuple(self.get_buffer(f"bias{k}") for k in range(self._depth)),
            input_weights=self.get_buffer("input_weights"),
            covariate_weights=self.get_buffer("covariate_weights"),
            activation=self._activation,
            vanishes_at_origin=self._zero,
            skip=self._buffers["skip"],
        )

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return self.layers().at(c)(x, u)

    def reset(self, generator: torch.Generator) -> None:
        raise ValueError(
            "Folded: what is exported is not trained; draw the residual's own tensors anew and export it again"
        )

    def config(self) -> dict[str, Any]:
        raise ValueError("Folded: what is exported is not saved in a bundle; save the model that it was made from")


def folded(residual: Residual) -> Residual:
    """The residual with its layers held, where it has any; any other as it is."""
    return Folded(residual) if isinstance(residual, LayeredResidual) and not residual.vanishes else residual
