"""A differentiable lower bound of the contraction rate in a fixed metric: the certificate as a training penalty.

For fixed P, any multipliers Λ with R = 2Λ − σ(ΛN + NᵀΛ) + 2κ NᵀΛN ≻ 0 prove, by the Schur complement of the certificate's
inequality for slopes in [α, β], σ = α + β, κ = αβ,

    rate(Λ) = −½ λmax( P^{-1/2} (AᵀP + PA − 2κ WᵀΛW + S R⁻¹ Sᵀ) P^{-1/2} ),      S = P E + σ WᵀΛ.

Explicit Λ, nearly the best ones, make this a closed formula, so that training can meet the certificate at every step.
Coordinates in which P is the identity are used throughout: P = CCᵀ, x̃ = Cᵀx, hence Ã = CᵀAC⁻ᵀ, Ẽ = CᵀE, W̃ = WC⁻ᵀ.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stability.arguments import choice, finite, loop_of_tensors
from stability.lure import SLOPES


def contraction_margin(
    A: Tensor,  # (..., n, n), 1/time
    weights: Sequence[Tensor],  # L tensors (..., out, in); [] or one: a linear system
    metric: Tensor,  # (n, n), symmetric positive definite
    activation: str = "tanh",
) -> Tensor:  # (...,), 1/time
    """A lower bound of the rate at which each system dx/dt = A x + W_L φ(… φ(W_1 x)) contracts in √(δxᵀPδx).

    Equation: rate = −½ λmax(Ã + Ãᵀ − 2κ W̃ᵀΛW̃ + S̃ R⁻¹ S̃ᵀ) with explicit multipliers (see `_one_layer` and `_deep`). Differentiable
    with respect to A and the weights, with finite gradients also at weights that are exactly zero. The leading axes
    broadcast, and what depends on the weights alone is computed once per set of weights, not once per record.
    Errors: ValueError for an unknown activation or shapes that do not fit.
    Law: never above the best rate of the certificate's inequality in this metric (in exact arithmetic; it proves nothing).
    Source: the multiplier of one unit minimises the trace of its term (derivation at the line); Schur complement.
    """
    choice(activation, SLOPES, "the activation, whose slope range must be known:")
    loop_of_tensors(A, weights, metric)
    n = A.shape[-1]
    if metric.shape != (n, n):
        raise ValueError(f"the metric has shape {tuple(metric.shape)}; A has {n} states, so ({n}, {n}) is needed.")
    if weights and (weights[0].shape[-1] != n or weights[-1].shape[-2] != n):
        raise ValueError(f"the weights map {weights[0].shape[-1]} to {weights[-1].shape[-2]} states; A has {n}.")
    alpha, beta = SLOPES[activation]
    C, failed = torch.linalg.cholesky_ex(metric.to(A))
    if bool(failed) or not bool(metric.isfinite().all()):
        raise ValueError("the metric is not positive definite; take it from a certificate or from common_metric.")
    inverse = torch.linalg.solve_triangular(C, torch.eye(n, dtype=C.dtype, device=C.device), upper=False)
    if len(weights) == 1:
        A, weights = A + weights[0], []
    A = C.mT @ A @ inverse.mT
    if n > 2:  # which eigenvalues are asked of; of two the formula hands NaN on
        finite(A, *weights)
    total = A + A.mT
    if weights:
        first, last = weights[0] @ inverse.mT, C.mT @ weights[-1]
        residual = (
            _one_layer(first, last, alpha, beta)
            if len(weights) == 2
            else _deep(first, weights[1:-1], last, alpha + beta, alpha * beta)
        )
        total = total + residual
    return -0.5 * _largest_eigenvalue(total)


def _one_layer(first: Tensor, last: Tensor, alpha: float, beta: float) -> Tensor:
    """½ Σ_j s_j s_jᵀ/Λ_j − 2κ Σ_j Λ_j c_j c_jᵀ with s_j = b_j + σΛ_j c_j, b_j the columns of the last weight, c_j the rows
    of the first.

    N = 0, so R = 2Λ and the units do not meet. The trace of unit j's term, |b|²/(2Λ) + σ bᵀc + Λ|c|²(σ²/2 − 2κ), in which
    σ²/2 − 2κ = (β − α)²/2, is least at Λ = |b|/((β − α)|c|). Any positive Λ is valid, so ε² may be added under both roots:
    a dead unit (b = 0 or c = 0) then costs at most about ε times the other's length, and gradients stay finite.
    """
    b, c = last, first.mT  # (..., n, h): one column per unit
    multiplier = torch.sqrt((_square(b) + _GUARD**2) / (_square(c) + _GUARD**2)) / (beta - alpha)  # (..., 1, h)
    s = b + (alpha + beta) * multiplier * c
    total = 0.5 * (s / multiplier) @ s.mT
    return total - 2.0 * alpha * beta * (multiplier * c) @ c.mT if alpha else total


def _deep(first: Tensor, middle: Sequence[Tensor], last: Tensor, sigma: float, kappa: float) -> Tensor:
    """S R⁻¹ Sᵀ − 2κ WᵀΛW for two or more hidden layers, with one multiplier per layer.

    Λ_l = s t_l I with t_1 = 1 and t_{l+1} = t_l (r/‖W_{l+1}‖)², where σ r − κ r² ≤ 1 (r = 1/σ for κ = 0). Scaled by Λ^{-1/2}
    from both sides, R has at least 2(1 + κ r²)I on its diagonal and −σ√(t_{l+1}/t_l) W_{l+1}, of norm at most σ r, beside
    it; so R̂ ≻ 2(1 + κ r² − σ r cos(π/L)) ≥ 0 for L − 1 hidden layers (the norm of the path graph's adjacency matrix). With
    R = sR̂ the term is X/s + Y + Yᵀ + sZ, where X = E R̂⁻¹ Eᵀ and Z = σ² WᵀΛ̂ R̂⁻¹ Λ̂W − 2κ WᵀΛ̂W; its trace is least at
    s = √(tr X/tr Z).
    """
    r = 2.0 / (sigma + math.sqrt(sigma * sigma - 4.0 * kappa))
    t = [torch.ones(first.shape[:-2], dtype=first.dtype, device=first.device)[..., None, None]]
    for weight in middle:
        square = torch.linalg.eigvalsh(weight @ weight.mT)[..., -1, None, None]  # ‖W‖², faster than by singular values
        t.append(t[-1] * r**2 / (square * (1.0 + 1e-6) + _GUARD))
    widths = [first.shape[-2], *(w.shape[-2] for w in middle)]
    lead = torch.broadcast_shapes(first.shape[:-2], last.shape[:-2], *(w.shape[:-2] for w in middle))
    # The scaled R̂ is block tridiagonal with −K_{l+1} = −σ√(t_{l+1}/t_l) W_{l+1} below its diagonal. Block Cholesky from the
    # first layer on, D_1 = R̂_1, D_{l+1} = R̂_{l+1} − K D_l⁻¹ Kᵀ, keeps to blocks of one layer's width.
    n = first.shape[-1]

    def block(k: int) -> Tensor:  # R̂_k = 2I + 2κ (t_{k+1}/t_k) WᵀW, W the next layer's weight
        eye = torch.eye(widths[k], dtype=first.dtype, device=first.device)
        if not kappa or k == len(middle):
            return 2.0 * eye
        return 2.0 * (eye + kappa * (t[k + 1] / t[k]) * (middle[k].mT @ middle[k]))

    left = first.mT * sigma * torch.sqrt(t[0])  # the x rows of S restricted to W, scaled: (…, n, h_1)
    right = last / torch.sqrt(t[-1])  # those restricted to E: (…, n, h_last)
    half = torch.linalg.cholesky(block(0).expand(*first.shape[:-2], -1, -1))
    solved = torch.linalg.solve_triangular(half, left.mT, upper=False)  # half⁻¹ leftᵀ
    Z = solved.mT @ solved
    if kappa:
        Z = Z - 2.0 * kappa * (first.mT * t[0]) @ first
    for k, weight in enumerate(middle):
        K = sigma * torch.sqrt(t[k + 1] / t[k]) * weight
        across = torch.linalg.solve_triangular(half, K.mT, upper=False)  # half⁻¹ Kᵀ
        half = torch.linalg.cholesky(block(k + 1) - across.mT @ across)
        solved = torch.linalg.solve_triangular(half, across.mT @ solved, upper=False)
        Z = Z + solved.mT @ solved
    end = torch.linalg.solve_triangular(half, right.mT, upper=False)
    X, Y = end.mT @ end, end.mT @ solved
    X, Y, Z = (m.expand(*lead, n, n) for m in (X, Y, Z))
    s = torch.sqrt((_trace(X) + _GUARD**2) / (_trace(Z) + _GUARD**2))[..., None, None]
    return X / s + Y + Y.mT + s * Z


_GUARD = 1e-6  # against 0/0 at dead units; small beside any weight that matters


def _square(columns: Tensor) -> Tensor:
    return (columns * columns).sum(-2, keepdim=True)


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)


def _largest_eigenvalue(matrix: Tensor) -> Tensor:
    """λmax of symmetric matrices; for n = 2 in closed form, which is many times faster in a batch.

    The root is raised by a hair, which keeps its gradient finite where both eigenvalues agree and errs to the safe side.
    """
    if matrix.shape[-1] == 1:
        return matrix[..., 0, 0]
    if matrix.shape[-1] == 2:
        a, b, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 1]
        return 0.5 * (a + d) + torch.sqrt(0.25 * (a - d) ** 2 + b * b + 1e-24)
    return torch.linalg.eigvalsh(matrix)[..., -1]
