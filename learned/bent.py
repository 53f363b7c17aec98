"""A symmetric matrix bent to be positive definite, smoothly, with its derivatives of first and second order."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Bent(torch.autograd.Function):
    """f(K) = ½(K + (K² + 4τ²I)^½) ≻ 0 of symmetric K: K itself where that is well above τ, near 0 where it is well below −τ.

    Its derivative along H, in the eigenvectors of K, is f[k_i, k_j] H_ij with the divided differences (Daleckii & Krein)
    f[k_i, k_j] = ½(1 + r[k_i, k_j]), r[k_i, k_j] = (k_i + k_j)/(r_i + r_j), r = (k² + 4τ²)^½: finite also where eigenvalues
    agree. Gives the eigenvalues and eigenvectors of K beside f(K), as constants.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(K: Tensor, tau: float) -> tuple[Tensor, Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(K)
        lengths = torch.sqrt(values.square() + 4.0 * tau**2)
        # for k < 0 the sum cancels, and 2τ²/(r − k) is the same number
        bent = torch.where(values > 0, 0.5 * (values + lengths), 2.0 * tau**2 / (lengths - values).clamp(min=tau))
        return (vectors * bent[..., None, :]) @ vectors.mT, values, vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: tuple[Tensor, Tensor, Tensor]) -> None:
        K, ctx.tau = inputs
        _, values, vectors = output
        ctx.mark_non_differentiable(values, vectors)
        ctx.save_for_backward(K, values, vectors)
        ctx.save_for_forward(K, values, vectors)

    @staticmethod
    def backward(ctx: Any, above: Tensor, *_: Any) -> tuple[Tensor, None]:
        K, values, vectors = ctx.saved_tensors
        return _BentAlong.apply(K, above, values, vectors, ctx.tau), None

    @staticmethod
    def jvp(ctx: Any, along: Tensor, _: Any) -> tuple[Tensor, None, None]:
        K, values, vectors = ctx.saved_tensors
        return _BentAlong.apply(K, along, values, vectors, ctx.tau), None, None


class _BentAlong(torch.autograd.Function):
    """The derivative of f at K along H, which is its own transpose; and that of it, by the second divided differences.

    D²f(K)[H, G]_ij = Σ_l f[k_i, k_l, k_j] (H_il G_lj + G_il H_lj), f[a, b, c] = ½ r[a, b, c]. From r² = k² + 4τ², whose second
    divided differences are 1, by the rule of Leibniz: r[a, b, c] = (1 − r[a, b] r[b, c])/(r_a + r_c), without a difference of
    eigenvalues below.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(K: Tensor, along: Tensor, values: Tensor, vectors: Tensor, tau: float) -> Tensor:
        return vectors @ (0.5 * (1.0 + _first(values, tau)[0]) * (vectors.mT @ along @ vectors)) @ vectors.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor, float], output: Tensor) -> None:
        K, along, values, vectors, ctx.tau = inputs
        ctx.save_for_backward(K, along, values, vectors)
        ctx.save_for_forward(K, along, values, vectors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        K, along, values, vectors = ctx.saved_tensors
        own = _BentAlong.forward(K, above, values, vectors, ctx.tau)
        return _second(along, above, values, vectors, ctx.tau), own, None, None, None

    @staticmethod
    def jvp(ctx: Any, K_along: Tensor | None, H_along: Tensor | None, *_: Any) -> Tensor:
        K, along, values, vectors = ctx.saved_tensors
        found = torch.zeros_like(along)
        if H_along is not None:
            found = found + _BentAlong.forward(K, H_along, values, vectors, ctx.tau)
        return found if K_along is None else found + _second(along, K_along, values, vectors, ctx.tau)


def _first(values: Tensor, tau: float) -> tuple[Tensor, Tensor]:  # (..., n, n) twice
    """r[k_i, k_j], and r_i + r_j."""
    lengths = torch.sqrt(values.square() + 4.0 * tau**2)
    both = lengths[..., :, None] + lengths[..., None, :]
    return (values[..., :, None] + values[..., None, :]) / both, both


def _second(H: Tensor, G: Tensor, values: Tensor, vectors: Tensor, tau: float) -> Tensor:
    """D²f(K)[H, G]."""
    ratio, both = _first(values, tau)
    # (..., i, l, j)
    second = 0.5 * (1.0 - ratio[..., :, :, None] * ratio[..., None, :, :]) / both[..., :, None, :]
    H, G = vectors.mT @ H @ vectors, vectors.mT @ G @ vectors
    pairs = H[..., :, :, None] * G[..., None, :, :] + G[..., :, :, None] * H[..., None, :, :]
    return vectors @ (second * pairs).sum(-2) @ vectors.mT
