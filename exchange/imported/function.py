"""An FMU as a function of tensors: rows one by one, its slopes as the derivative."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from exchange.imported.instance import Instance

_NO_SECOND = (
    "an FMU gives its first derivatives and no second: nothing can be differentiated through its slopes (a penalty on slopes, a "
    "variance along the path in a fit); leave that out, or give the part by layers or a tape"
)


class Rate(torch.autograd.Function):
    """f (..., n) of x (..., n) and u (..., m), whose leading axes broadcast; differentiable once, in both modes."""

    @staticmethod
    def forward(x: Tensor, u: Tensor, instance: Instance) -> Tensor:
        """Row by row."""
        return _by_rows(x, u, instance.rate, (x.shape[-1],))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Where the slopes are taken."""
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])
        ctx.instance = inputs[2]

    @staticmethod
    def backward(ctx: Any, *bars: Tensor) -> tuple[Tensor, Tensor, None]:
        """Jᵀ of what comes back."""
        x, u = ctx.saved_tensors
        both = torch.einsum("...i,...ij->...j", bars[0], Slopes.apply(x, u, ctx.instance))
        n = x.shape[-1]
        return both[..., :n].sum_to_size(x.shape), both[..., n:].sum_to_size(u.shape), None

    @staticmethod
    def jvp(ctx: Any, *along: Any) -> Tensor:
        """J times a direction."""
        x, u = ctx.saved_tensors
        n, J = x.shape[-1], Slopes.apply(x, u, ctx.instance)
        found = torch.zeros_like(J[..., 0])
        for part, direction in ((J[..., :n], along[0]), (J[..., n:], along[1])):
            if direction is not None:
                found = found + (part @ direction[..., None])[..., 0]
        return found

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor, u: Tensor, instance: Instance) -> tuple[Tensor, int]:
        """One more leading axis."""
        return Rate.apply(*_fronted(in_dims, x, u), instance), 0


class Slopes(torch.autograd.Function):
    """∂f/∂(x, u) (..., n, n + m); no derivative of it is to be had, and who asks is told."""

    @staticmethod
    def forward(x: Tensor, u: Tensor, instance: Instance) -> Tensor:
        """Row by row."""
        return _by_rows(x, u, instance.slopes, (x.shape[-1], x.shape[-1] + u.shape[-1]))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing to keep."""

    @staticmethod
    def backward(ctx: Any, *bars: Tensor) -> Any:
        """There is none."""
        raise ValueError(_NO_SECOND)

    @staticmethod
    def jvp(ctx: Any, *along: Any) -> Any:
        """There is none."""
        raise ValueError(_NO_SECOND)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor, u: Tensor, instance: Instance) -> tuple[Tensor, int]:
        """One more leading axis."""
        return Slopes.apply(*_fronted(in_dims, x, u), instance), 0


def _fronted(in_dims: tuple[Any, ...], x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the mapped axis in front, of size 1 where only the other one is mapped."""
    first, second = (v[None] if d is None else v.movedim(d, 0) for d, v in zip(in_dims[:2], (x, u), strict=True))
    return first, second


def _by_rows(x: Tensor, u: Tensor, of: Any, shape: tuple[int, ...]) -> Tensor:
    lead = torch.broadcast_shapes(x.shape[:-1], u.shape[:-1])
    rows, inputs = (
        v.detach().expand(*lead, v.shape[-1]).reshape(-1, v.shape[-1]).cpu().double().numpy() for v in (x, u)
    )
    # what is not finite is not asked about: an FMU may answer with an error, and the solver says where a state ran away
    nothing = np.full(shape, np.nan)
    found = [
        of(a, b) if np.isfinite(a).all() and np.isfinite(b).all() else nothing
        for a, b in zip(rows, inputs, strict=True)
    ]
    return torch.as_tensor(np.array(found).reshape(*lead, *shape)).to(x)
