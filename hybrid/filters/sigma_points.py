"""Sigma points of a Gaussian, and the mean and the deviations of what became of them, on plain arrays.

2z points of equal weight, none at the centre (α = 1, κ = 0): no weight is ever negative, whatever z.
"""

import math

import torch
from torch import Tensor

from physics.arguments import require_shape


def points(
    mean: Tensor,  # (..., z)
    root: Tensor,  # (..., z, z)
) -> Tensor:  # (..., 2z, z)
    """mean + √z L_j for every column L_j of the root, and then mean − √z L_j; the mean alone where z is 0.

    Law: their mean and covariance are those of the Gaussian.
    Source: Julier & Uhlmann, Proc. IEEE 92 (2004) 401, the symmetric set.
    """
    require_shape(mean, "points: mean", ..., "z", write="belief.mean")
    z = mean.shape[-1]
    require_shape(root, "points: root", ..., z, z, write="belief.root", like=mean)
    if not z:
        return mean[..., None, :]
    away = math.sqrt(z) * root.mT
    return mean[..., None, :] + torch.cat([away, -away], -2)


def moments(
    p: Tensor,  # (..., P, a)
) -> tuple[Tensor, Tensor]:  # (..., a), (..., a, P)
    """The mean of P points of equal weight, and their deviations over √P: deviations @ deviationsᵀ is the covariance.

    Cross covariances of what became of the same points are products of their deviations.
    """
    require_shape(p, "moments: p", ..., "P", "a", write="points(mean, root)")
    if not p.shape[-2]:
        raise ValueError(f"moments: p holds no point, and has the shape {tuple(p.shape)}; write points(mean, root)")
    first, *others = p.unbind(-2)  # added in one order, whoever else is there
    mean = sum(others, first) / p.shape[-2]
    return mean, (p - mean[..., None, :]).mT / math.sqrt(p.shape[-2])


def halves(
    p: Tensor,  # (..., 2z, a)
) -> tuple[Tensor, Tensor, Tensor]:  # (..., a), (..., a, z), (..., a, z)
    """The mean of what became of `points`, and their deviations as odd and even halves: odd oddᵀ + even evenᵀ is the covariance.

    A pair of columns d₊, d₋ turned by 45°: (d₊ − d₋)/√2 and (d₊ + d₋)/√2. Of points themselves they are the root and 0, so that
    an update needs no deviations of the state beside its root: `condition(mean, root, y, predicted, odd, noise, beside=even)`.
    Errors: `ValueError` for an odd number of points; one alone, of a state of nothing, has no deviations.
    """
    require_shape(p, "halves: p", ..., "P", "a", write="points(mean, root)")
    z, odd = divmod(p.shape[-2], 2)
    if p.shape[-2] != 1 and (odd or not z):
        raise ValueError(f"halves: p holds pairs of points, and {p.shape[-2]} are given; write points(mean, root)")
    if not z:
        none = p.new_zeros(*p.shape[:-2], p.shape[-1], 0)
        return p[..., 0, :], none, none
    up, down = p[..., :z, :], p[..., z:, :]
    both = up + down
    first, *others = both.unbind(-2)  # added in one order, whoever else is there
    mean = sum(others, first) / (2 * z)
    scale = 1.0 / (2.0 * math.sqrt(z))
    return mean, ((up - down) * scale).mT, ((both - 2.0 * mean[..., None, :]) * scale).mT
