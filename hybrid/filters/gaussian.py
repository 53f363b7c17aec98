"""A Gaussian conditioned on a measurement, in root form, on plain arrays."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid.triangular import tria


@dataclass(frozen=True)
class Conditioned:
    """What a measurement made of a Gaussian, and what it said of the prediction.

    `mean` (..., z) and `root` (..., z, z) lower · `value` (..., p) = y − ŷ, NaN where missing · `innovation_root` (..., p, p)
    lower, rows of the identity where missing · `nis` (...,) = valueᵀ (root rootᵀ)⁻¹ value · `count` (...,) of channels seen ·
    `log_likelihood` (...,) of all that was seen · `by_channel` (..., p): that of each channel alone, NaN where missing.
    """

    mean: Tensor
    root: Tensor
    value: Tensor
    innovation_root: Tensor
    nis: Tensor
    count: Tensor
    log_likelihood: Tensor
    by_channel: Tensor


def condition(
    mean: Tensor,  # (..., z)
    root: Tensor,  # (..., z, k)
    y: Tensor,  # (..., p)
    predicted: Tensor,  # (..., p)
    shadow: Tensor,  # (..., p, k)
    noise: Tensor,  # (..., p)
    *,
    beside: Tensor | None = None,  # (..., p, e)
) -> Conditioned:
    """The Gaussian given y. [root; shadow]: k columns of joint deviations; `beside`: columns that y alone has, beside its noise.

    Where nothing is seen mean and root are those given, to the bit (the root where k = z, else its triangle).
    """
    z, k = root.shape[-2:]
    p = y.shape[-1]
    missing = torch.isnan(y)
    seen = ~missing
    value = y - predicted
    own = torch.diag_embed(torch.where(missing, 1.0, noise))
    if beside is not None:
        own = torch.cat([torch.where(missing[..., None], 0.0, beside), own], -1)
    shadow = torch.where(missing[..., None], 0.0, shadow)
    lead = torch.broadcast_shapes(mean.shape[:-1], root.shape[:-2], y.shape[:-1], predicted.shape[:-1])
    own = own.expand(*lead, *own.shape[-2:])
    upper = torch.cat([shadow.expand(*lead, p, k), own], -1)
    lower = torch.cat([root.expand(*lead, z, k), mean.new_zeros(*lead, z, own.shape[-1])], -1)
    L = tria(torch.cat([upper, lower], -2))
    innovation_root, gain = L[..., :p, :p], L[..., p:, :p]
    safe = torch.where(missing, 0.0, value)
    white = torch.linalg.solve_triangular(innovation_root, safe[..., None], upper=False)
    nis = white.square().sum((-1, -2))
    count = seen.sum(-1)
    logs = torch.where(missing, 0.0, innovation_root.diagonal(dim1=-2, dim2=-1).log())
    log_likelihood = -0.5 * (nis + count.to(nis) * math.log(2.0 * math.pi)) - logs.sum(-1)
    variance = upper.square().sum(-1)
    by_channel = torch.where(missing, torch.nan, -0.5 * (safe.square() / variance + (2.0 * math.pi * variance).log()))
    none = ~seen.any(-1)
    return Conditioned(
        torch.where(none[..., None], mean, mean + (gain @ white)[..., 0]),
        torch.where(none[..., None, None], root if k == z else tria(root), L[..., p:, p:]),
        value.expand(*lead, p),
        innovation_root,
        nis,
        count.expand(lead),
        log_likelihood,
        by_channel.expand(*lead, p),
    )
