"""The lower triangular root of X Xᵀ, which is never formed, on plain arrays."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from physics.arguments import require_shape


def tria(
    X: Tensor,  # (..., n, k)
) -> Tensor:  # (..., n, n)
    """L, lower triangular with diagonal ≥ 0, of L Lᵀ = X Xᵀ: to the rounding of X, whose square is never formed."""
    require_shape(X, "tria: X", ..., "n", "k", write="torch.cat([deviations, noise], -1)")
    n, k = X.shape[-2:]
    X = pad(X, (0, n - k)) if k < n else X
    upper = torch.linalg.qr(X.mT, mode="reduced").R
    return (upper * torch.where(upper.diagonal(dim1=-2, dim2=-1) < 0.0, -1.0, 1.0)[..., :, None]).mT
