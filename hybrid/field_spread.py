"""What the model does not know of the vector field itself, which contraction cannot hide."""

import math

import torch
from torch import Tensor

from hybrid.model import HybridModel
from physics.arguments import require_kind, require_shape


def field_spread(
    model: HybridModel,
    x: Tensor,  # (..., n)
    u: Tensor | None = None,  # (..., m)
    c: Tensor | None = None,  # (..., r)
    theta: Tensor | None = None,  # (..., q) for everyone alike, (M, ..., q) by member
) -> Tensor:  # (..., n)
    """Variance (1/M) over members of dx/dt at given points, the sum of the model's terms, in (state unit/time)².

    Along a path a contracting model forgets what its members disagree on, so that the spread of a long forecast says little
    about where the model is ignorant; the field's says it at the point itself. It is epistemic if the members are: see
    `learned.Ensemble`.
    Arguments: points x with any axes in front; inputs u, covariates and latents c of the residual, and parameters θ there, 0
    and typical (η = 0) where left out. Members may differ in θ by an axis in front; without it they differ in ε alone, and
    where θ is left out in the population too.
    Errors: `ValueError` for sizes that do not fit.
    Law: 0 for one member; does not depend on which point is asked with which.
    """
    require_kind(model, HybridModel, "field_spread: model", "field_spread(model, x)")
    named = {"x": x, "u": u, "c": c, "theta": theta}
    for what, value in named.items():
        if value is not None or what == "x":
            require_shape(value, f"field_spread: {what}", ..., "k", write=f"{what}=torch.tensor([…])")
            if value is not None and value.is_meta:
                raise ValueError(f"field_spread: {what} is on {value.device}, which holds no numbers; write {what}.cpu()")
            if value is not None and value.dtype != model.dtype:
                raise ValueError(f"field_spread: {what} is {value.dtype}, the model {model.dtype}; write {what}.to(model.dtype)")
            if value is not None and bool(torch.isinf(value).any()):
                raise ValueError(f"field_spread: {what} holds infinite values, at which nothing is known; give finite points")
    x = x.to(model.device)
    lead, n = x.shape[:-1], x.shape[-1]
    R = math.prod(lead)
    M, backbone = model.members, model.backbone
    sizes = {"u": (u, len(backbone.inputs)), "c": (c, model.sees)}
    if n != len(backbone.states):
        raise ValueError(f"field_spread: x needs shape (..., {len(backbone.states)}), got {tuple(x.shape)}")

    def rows(value: Tensor | None, size: int, name: str) -> Tensor:  # (1, R, size)
        value = x.new_zeros(*lead, size) if value is None else value.to(x.device)
        if value.shape != (*lead, size):
            raise ValueError(f"field_spread: {name} needs shape {(*lead, size)}, got {tuple(value.shape)}")
        return value.reshape(1, R, size)

    at, q = x.reshape(1, R, n), len(backbone.physical)
    with torch.no_grad():
        if theta is None:
            typical = at.new_zeros(M, 1, model.population.dimension)
            # covariates of a population are unknown here: where it reads any, θ must be given
            theta = model.population.theta(typical, {}).expand(-1, R, -1)
        elif theta.shape in ((*lead, q), (M, *lead, q)):
            theta = theta.to(x.device).reshape(M if theta.ndim > x.ndim else 1, R, q)
        else:
            raise ValueError(
                f"field_spread: theta needs shape {(*lead, q)} or {(M, *lead, q)}, got {tuple(theta.shape)}"
            )
        inputs, context = (rows(value, size, name) for name, (value, size) in sizes.items())
        field = model.at(theta, context.expand(M, -1, -1)).rate(at.expand(M, -1, -1), inputs)
        return field.expand(M, -1, -1).var(0, correction=0).reshape(*lead, n)
