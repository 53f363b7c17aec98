"""Measurements of one time whose errors are correlated between channels: their density together, with any of them missing."""

import torch
from torch import Tensor

_PATTERNS = 5  # channels up to which every pattern of missing ones is prepared, 2^p of them


def joint_nll(
    y: Tensor,  # (N, T, p), NaN where there is nothing to score
    mean: Tensor,  # (M, N, T, p)
    variance: Tensor,  # (M, N, T, p)
    correlation: Tensor,  # (M|1, p, p), or of each time (M|1, N, T, p, p)
) -> Tensor:  # (M, N)
    """−log N(y; mean, D R D) summed over each person's times, D² = diag(variance), without the constant ½ log 2π per number."""
    there = ~torch.isnan(y)
    one = torch.where(there, variance, 1.0)
    z = (torch.where(there, y, 0.0) - torch.where(there, mean, 0.0)) / one.sqrt()
    W, half = whitening(there, correlation)
    white = (W @ z[..., None])[..., 0]
    return (0.5 * (white.square() + one.log()).sum(-1) + half).sum(-1)


def whitening(
    there: Tensor,  # (N, T, p) bool
    correlation: Tensor,  # (M|1, p, p), or of each time (M|1, N, T, p, p)
) -> tuple[Tensor, Tensor]:  # (M|1, N, T, p, p), (M|1, N, T)
    """W with Wᵀ W = R⁻¹ of the channels that are there, and ½ log det R of them; a missing one has a row of the identity.

    Of a matrix that is not positive definite the logarithm is NaN.
    """
    p = there.shape[-1]
    if correlation.ndim == 3 and p <= _PATTERNS:  # as many roots as there are patterns, and not as there are times
        bits = 2 ** torch.arange(p, device=there.device)
        patterns = (torch.arange(2**p, device=there.device)[:, None] & bits) > 0  # (K, p)
        W, half = _inverse_root(_present(patterns, correlation[:, None]))
        code = (there * bits).sum(-1)  # (N, T)
        return W[:, code], half[:, code]
    return _inverse_root(_present(there, correlation[:, None, None] if correlation.ndim == 3 else correlation))


def _present(
    there: Tensor,  # (…, p) bool
    correlation: Tensor,  # (M, …, p, p)
) -> Tensor:  # (M, …, p, p)
    """The correlations of what is there, and the identity elsewhere."""
    eye = torch.eye(there.shape[-1], dtype=correlation.dtype, device=correlation.device)
    return torch.where(there[..., :, None] & there[..., None, :], correlation, eye)


def _inverse_root(R: Tensor) -> tuple[Tensor, Tensor]:
    lower, wrong = torch.linalg.cholesky_ex(R)
    eye = torch.eye(R.shape[-1], dtype=R.dtype, device=R.device)
    W = torch.linalg.solve_triangular(lower, eye.expand_as(lower), upper=False)
    return W, torch.where(wrong > 0, torch.nan, lower.diagonal(dim1=-2, dim2=-1).log().sum(-1))


def joint_expansion(
    y: Tensor,  # (N, T, p)
    mean: Tensor,  # (M, N, T, p)
    variance: Tensor,
    mean_slope: Tensor,  # (M, N, T, p, d)
    variance_slope: Tensor,
    correlation: Tensor,  # (M|1, p, p)
) -> tuple[Tensor, Tensor, Tensor]:  # (M, N), (M, N, d), (M, N, d, d)
    """`joint_nll`, its gradient along a person's coordinates, and its Fisher information.

    With Σ = D R D and R of no coordinate, J = ∂μ/∂η and b = ∂ log v/∂η of each channel: the information of one time is
    Jᵀ Σ⁻¹ J + ¼ bᵀ (I + R⁻¹ ∘ R) b, of ½ tr(Σ⁻¹ ∂Σ Σ⁻¹ ∂Σ) with ∂Σ = ½ (diag(b) Σ + Σ diag(b)).
    """
    there = torch.isfinite(y)
    one = torch.where(there, variance, 1.0)
    sd = one.sqrt()
    z = (torch.where(there, y, 0.0) - torch.where(there, mean, 0.0)) / sd
    W, half = whitening(there, correlation)
    white = (W @ z[..., None])[..., 0]
    solved = (W.mT @ white[..., None])[..., 0]  # R⁻¹ z
    value = (0.5 * (white.square() + one.log()).sum(-1) + half).sum(-1)
    J = torch.where(there[..., None], mean_slope, 0.0) / sd[..., None]
    b = torch.where(there[..., None], variance_slope, 0.0) / one[..., None]
    gradient = (0.5 * (1.0 - z * solved)[..., None] * b - solved[..., None] * J).sum((2, 3))
    J = (W @ J).flatten(2, 3)
    present = _present(there, correlation[:, None, None])
    K = 0.25 * (torch.eye(y.shape[-1], dtype=b.dtype, device=b.device) + (W.mT @ W) * present)
    information = J.mT @ J + b.flatten(2, 3).mT @ (K @ b).flatten(2, 3)
    return value, gradient, information
