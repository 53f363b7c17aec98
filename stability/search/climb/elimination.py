"""The certificate's matrix eliminated layer by layer: log det and Schur complement at a cost linear in the depth, differentiable.

With multipliers Λ and slopes in [α, β] per unit, M of `stability/README.md` is block tridiagonal in the layers, with a border
n wide in x:

    M_kk = 2Λ_k + 2 W_{k+1}ᵀ(αβΛ)_{k+1} W_{k+1},      M_{k+1,k} = −((α + β)Λ)_{k+1} W_{k+1},
    M_1x = −((α + β)Λ)_1 W_1,    M_{L−1,x} −= W_LᵀP,    M_xx = −(AᵀP + PA + 2λP) + 2 W_1ᵀ(αβΛ)_1 W_1.

Block Cholesky from the first layer on, the border carried along, x last: blocks of one layer's width only, O(Σ h³) work and
O(Σ h²) memory where the dense matrix takes (Σ h)³ and (Σ h)². What remains is −Q − 2λP with an n × n matrix Q that does not
depend on λ, so that these multipliers prove exactly the rate −½ λmax(P⁻¹Q).
Source: block elimination, as ECLipsE (Xu & Sivaranjani, NeurIPS 2024) uses it without a border for Lipschitz bounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stability.arguments import choice, finite, loop_of_tensors, multipliers_of, number
from stability.lure import SLOPES


@dataclass(frozen=True)
class Eliminated:
    """What is left of M once the layers are eliminated: the block of z is positive where `inside` says so."""

    log_det: Tensor  # (...,): log det of the block of z, less Σ log 2Λ (0 for weights of zero)
    Q: Tensor  # (..., n, n): the Schur complement is −Q − 2λP
    inside: Tensor  # (...,), bool


def eliminate(
    A: Tensor,  # (..., n, n)
    weights: Sequence[Tensor],  # L ≥ 2 tensors (..., out, in)
    metric: Tensor,  # P (..., n, n)
    multipliers: Sequence[Tensor],  # L − 1 tensors (..., h), positive
    lower: Sequence[Tensor],  # α, L − 1 tensors that broadcast with (..., h)
    upper: Sequence[Tensor],  # β
) -> Eliminated:
    """Eliminate the hidden layers; see above. Where the block of z is not positive, the numbers have no meaning."""
    total = metric @ A
    Q = total + total.mT
    product = [a * b * m for a, b, m in zip(lower, upper, multipliers, strict=True)]
    side = [(a + b) * m for a, b, m in zip(lower, upper, multipliers, strict=True)]
    curved = [bool((a * b).any()) for a, b in zip(lower, upper, strict=True)]
    if curved[0]:
        Q = Q - 2.0 * weights[0].mT @ (product[0][..., None] * weights[0])
    border = -side[0][..., None] * weights[0]
    block: Tensor | None = None  # what earlier layers take from this one's
    log_det = torch.zeros((), dtype=A.dtype, device=A.device)
    inside = torch.ones((), dtype=torch.bool, device=A.device)
    last = len(multipliers) - 1
    for k, L in enumerate(multipliers):
        D = torch.diag_embed(2.0 * L)
        if block is not None:
            D = D - block
        following = weights[k + 1]
        if k < last and curved[k + 1]:
            D = D + 2.0 * following.mT @ (product[k + 1][..., None] * following)
        if k == last:
            border = border - following.mT @ metric
        half, failed = torch.linalg.cholesky_ex(D)
        inside = inside & (failed == 0)
        log_det = log_det + 2.0 * half.diagonal(dim1=-2, dim2=-1).log().sum(-1) - (2.0 * L).log().sum(-1)
        solved = torch.linalg.solve_triangular(half, border, upper=False)
        Q = Q + solved.mT @ solved
        if k < last:
            across = torch.linalg.solve_triangular(half, -(side[k + 1][..., None] * following).mT, upper=False)
            block = across.mT @ across
            border = -across.mT @ solved
    return Eliminated(log_det, Q, inside)


def contraction_rate(
    A: Tensor,  # (..., n, n), 1/time
    weights: Sequence[Tensor],  # L ≥ 2 tensors (..., out, in)
    metric: Tensor,  # P (n, n)
    multipliers: Sequence[Tensor],  # L − 1 tensors (..., h), positive
    activation: str = "tanh",
) -> Tensor:  # (...,), 1/time
    """The rate that these multipliers prove in this metric, −½ λmax(P⁻¹Q); −inf where they prove none.

    Differentiable in everything. With multipliers from `best_multipliers` it lies far above the `contraction_margin` of
    explicit ones for two and more hidden layers; as a penalty, refresh them every few steps.
    Errors: ValueError for an unknown activation or numbers of layers that do not fit.
    Law: never above the best rate of the certificate's inequality in this metric (in exact arithmetic; it proves nothing).
    """
    _require(A, weights, metric, multipliers)
    found = eliminate(A, weights, metric, multipliers, *_slopes(weights, multipliers, activation))
    values = torch.linalg.eigvalsh(_whitened(found.Q, metric))[..., -1]
    return torch.where(found.inside, -0.5 * values, -torch.inf)


def contraction_barrier(
    A: Tensor,  # (..., n, n), 1/time
    weights: Sequence[Tensor],  # L ≥ 2 tensors (..., out, in)
    metric: Tensor,  # P (n, n)
    multipliers: Sequence[Tensor],  # L − 1 tensors (..., h), positive
    rate: float,  # 1/time
    activation: str = "tanh",
) -> Tensor:  # (...,)
    """−log det of the certificate's matrix at the rate, without dimension: finite exactly where these multipliers prove it.

    Equation: −log det M_zz(2Λ)⁻¹ − log det(−½P⁻¹Q − λI), the latter in units of 1/time. Inf outside, so that a line search or
    a rejected step keeps training inside; differentiable in A, weights, metric and multipliers, all of which may be trained.
    Errors, source: as `contraction_rate`. Law: finite ⇔ `contraction_rate` > rate.
    """
    _require(A, weights, metric, multipliers)
    number(rate, "the rate", "a finite rate in 1/time")
    rate = rate if isinstance(rate, torch.Tensor) else float(rate)
    found = eliminate(A, weights, metric, multipliers, *_slopes(weights, multipliers, activation))
    room = -0.5 * _whitened(found.Q, metric) - rate * torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    half, failed = torch.linalg.cholesky_ex(room)
    value = -found.log_det - 2.0 * half.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return torch.where(found.inside & (failed == 0), value, torch.inf)


def explicit_multipliers(
    weights: Sequence[Tensor],  # L ≥ 2 tensors (..., out, in)
    metric: Tensor,  # P (n, n)
    lower: Sequence[Tensor],
    upper: Sequence[Tensor],
) -> list[Tensor]:
    """One number per layer that makes the block of z positive at any depth (`interior_point.explicit`), balanced by `metric`."""
    a = max(float((lo + up).clamp(min=0.0).max()) for lo, up in zip(lower, upper, strict=True))
    b = max(float((-lo * up).clamp(min=0.0).max()) for lo, up in zip(lower, upper, strict=True))
    s = 0.95 * 2.0 / (a + (a * a + 4.0 * b) ** 0.5) if a > 0 else 1.0
    lead = torch.broadcast_shapes(*(w.shape[:-2] for w in weights))
    first, last = weights[0].abs().amax((-2, -1)) * max(a, 1e-9), (metric @ weights[-1]).abs().amax((-2, -1))
    t = (last.clamp(min=1e-9) / first.clamp(min=1e-9)).expand(lead)
    out = []
    for k, weight in enumerate(weights[:-1]):
        if k:
            t = t / (torch.linalg.matrix_norm(weight, 2) / s).clamp(min=0.1) ** 2
        out.append(t[..., None].expand(*lead, weight.shape[-2]).clone())
    return out


def slopes_of(activation: str, multipliers: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The activation's slope range as arrays, one per layer.

    Errors: ValueError for an unknown activation.
    """
    choice(activation, SLOPES, "the activation, whose slope range must be known:")
    alpha, beta = SLOPES[activation]
    ends = [(m.new_tensor([alpha]), m.new_tensor([beta])) for m in multipliers]
    return [lo for lo, _ in ends], [up for _, up in ends]


def _slopes(
    weights: Sequence[Tensor], multipliers: Sequence[Tensor], activation: str
) -> tuple[list[Tensor], list[Tensor]]:
    if len(weights) < 2 or len(multipliers) != len(weights) - 1:
        raise ValueError(
            f"{len(weights)} weights with {len(multipliers)} multiplier vectors; give one per hidden layer, at least one."
        )
    return slopes_of(activation, multipliers)


def _require(A: Tensor, weights: Sequence[Tensor], metric: Tensor, multipliers: Sequence[Tensor]) -> None:
    loop_of_tensors(A, weights, metric)
    multipliers_of(multipliers, weights)
    finite(A, *weights, metric)
    if metric.dtype != A.dtype or metric.device != A.device:
        raise ValueError(f"the metric is {metric.dtype} on {metric.device} and A {A.dtype} on {A.device}; write metric.to(A).")
    if int(torch.linalg.cholesky_ex(metric.detach()).info) != 0:
        raise ValueError("the metric is not positive definite; take it from a certificate or from common_metric.")


def _whitened(Q: Tensor, metric: Tensor) -> Tensor:
    """C⁻¹ Q C⁻ᵀ, P = CCᵀ."""
    half = torch.linalg.cholesky(metric)
    out = torch.linalg.solve_triangular(half, Q, upper=False)
    out = torch.linalg.solve_triangular(half, out.mT, upper=False)
    return (out + out.mT) / 2
