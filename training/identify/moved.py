"""A person's parameters moved one by one, each on its own scale, whatever population the person is of."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hybrid import HybridModel
from physics import Population
from physics.arguments import quote, require_names

# points of two stencils of order four, of width h and 2h, and their weights: ∂f ≈ [8(f(h) − f(−h)) − (f(2h) − f(−2h))]/12h
POINTS = (1.0, -1.0, 2.0, -2.0, 4.0, -4.0)
NARROW = (8.0 / 12.0, -8.0 / 12.0, -1.0 / 12.0, 1.0 / 12.0, 0.0, 0.0)
WIDE = (0.0, 0.0, 8.0 / 24.0, -8.0 / 24.0, -1.0 / 24.0, 1.0 / 24.0)
# of logarithms: the wide stencil loses (2h)⁴/30 of f⁽⁵⁾, 2e-15, and rounds by 1e-16/2h, 2e-13 of f
STEP = 2.5e-4


class MovedPeople(Population):
    """θ of a typical person of another population, with these parameters moved: θ_j e^{z_j} where θ_j is positive and cannot be
    negative, θ_j + u_j z_j elsewhere, with u_j a hundredth of its box.

    z is all that a person has. Nothing keeps θ in its box or in order, so that it is moved a little, or looked at, anywhere.
    """

    def __init__(self, within: Population, parameters: Sequence[tuple[int, bool, float]]) -> None:
        super().__init__()
        self.within, self.gives, self.covariates = within, within.gives, within.covariates
        self.moves = tuple(parameters)  # (place in θ, is it a logarithm, u)
        self.dimension = len(self.moves)

    def theta(self, eta: Tensor, covariates: dict[str, Tensor]) -> Tensor:
        zero = eta.new_zeros(1, eta.shape[1], self.within.dimension)
        columns = list(self.within.theta(zero, covariates).expand(*eta.shape[:2], -1).unbind(-1))
        for k, (j, log, unit) in enumerate(self.moves):
            columns[j] = columns[j] * eta[..., k].exp() if log else columns[j] + unit * eta[..., k]
        return torch.stack(columns, -1)

    def log_prior(self, eta: Tensor) -> Tensor:
        return eta.new_zeros(eta.shape[:-1])

    @property
    def box(self) -> Tensor:
        return self.within.box

    def config(self) -> dict[str, Any]:
        return {"parameters": self.moves}


def moved_people(
    model: HybridModel, parameters: Sequence[str] | None, name: str
) -> tuple[HybridModel, tuple[str, ...], tuple[str, ...], tuple[float, ...]]:  # … (q,) three times
    """A copy of the model whose people have these parameters for coordinates; their names, scales ("log", "linear") and sizes u.

    `parameters`: all by default, in θ's order. Errors: `ValueError`, beginning with `name`, for names that there are none of.
    """
    physical = model.backbone.physical
    known = [p.name for p in physical]
    asked = tuple(known) if parameters is None else require_names(parameters, f"{name}: parameters", '("CL", "V")')
    unknown = [one for one in asked if one not in known]
    if unknown or not asked:
        raise ValueError(f"{name}: parameters are among {', '.join(known) or 'none'}, and are {quote(list(asked))}")
    logs = {p.name: p.low >= 0.0 for p in physical}
    chosen = [(known.index(one), logs[one], 1.0) for one in asked]
    chosen = [(j, log, 1.0 if log else (physical[j].high - physical[j].low) / 100.0) for j, log, _ in chosen]
    trial = copy.copy(model)
    trial._modules = dict(model._modules)
    trial.population = MovedPeople(model.population, chosen)
    scales = tuple("log" if log else "linear" for _, log, _ in chosen)
    return trial, asked, scales, tuple(unit for _, _, unit in chosen)


def stencil(dimension: int, step: float, like: Tensor) -> Tensor:  # (6 dimension + 1, dimension)
    """0, then ±h, ±2h and ±4h along each coordinate in turn."""
    eye = torch.eye(dimension, dtype=like.dtype, device=like.device)
    points = like.new_tensor(POINTS)[:, None, None] * (step * eye)
    return torch.cat([eye.new_zeros(1, dimension), points.movedim(0, 1).reshape(-1, dimension)])


def derivatives(
    value: Tensor,  # (6k + 1, …), at the points of `stencil`
    step: float,
) -> tuple[Tensor, Tensor]:  # (k, …) twice
    """By the wide stencil, whose rounding is the smaller one, and what the narrow one says otherwise: the size of the error.

    Where the curve has a kink, or the solver is not as smooth as it is exact, the two differ by more than rounding.
    """
    at = value[1:].reshape(-1, len(POINTS), *value.shape[1:])
    wide, narrow = (torch.einsum("p,kp...->k...", value.new_tensor(w) / step, at) for w in (WIDE, NARROW))
    return wide, narrow - wide
