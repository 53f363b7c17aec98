"""Lower precision where it is safe: the matrix products of the learned part, and nothing else."""

from typing import Any

import torch
from torch import Tensor

from hybrid import HybridModel
from learned import Residual


class _Bfloat16(Residual):
    """Another residual, whose matrix products are taken in bfloat16 under torch.autocast and given back as they came."""

    def __init__(self, residual: Residual) -> None:
        super().__init__()
        self.residual = residual
        self.states, self.inputs, self.covariates = residual.states, residual.inputs, residual.covariates
        self.vanishes_at_origin = residual.vanishes_at_origin
        self.sees_theta, self.seen_theta = residual.sees_theta, residual.seen_theta

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            found: Tensor = self.residual(x, u, c)
        return found.to(x.dtype)

    def reset(self, generator: torch.Generator) -> None:
        self.residual.reset(generator)

    def config(self) -> dict[str, Any]:
        return self.residual.config()


def in_bfloat16(model: HybridModel) -> HybridModel:
    """The same model (it shares every tensor), whose residual multiplies matrices in bfloat16.

    ε is a correction of a known field and loses about three significant digits of itself; A x, the integration of the
    state, the observation, losses and covariances keep the model's own type: there, rounding would add up.
    For training alone: the learned part is certified, judged and saved without it.
    Errors: `ValueError` for a float64 model, which torch.autocast leaves alone.
    Source: Micikevicius et al. (2018), mixed precision training; bfloat16 has float32's range, so no loss is scaled.
    """
    kinds = {p.dtype for p in model.parameters()}
    if torch.float64 in kinds:
        raise ValueError("bfloat16 is for float32 models, and this one is float64: model.to(torch.float32) first")
    if model.residual.vanishes:
        return model
    return HybridModel(
        model.backbone,
        model.population,
        _Bfloat16(model.residual),
        observation=model.observation,
        noise=model.noise,
        latents=model.latents,
        covariates=model.standardised,
        process=model.process,
        known=model.known,
    )
