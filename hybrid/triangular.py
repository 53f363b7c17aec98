"""The lower triangular root of X Xᵀ, which is never formed, on plain arrays: many small ones at once.

Modified Gram–Schmidt over the rows of X: row j, less its parts along the rows before it, is L_jj q_j. Its L is as good as
Householder's, from which it differs by rounding alone: it is that of the same rows under a block of zeros (Björck & Paige).

All arithmetic is done one number at a time over a batch that lies innermost, sums by halves in one fixed order: a sum, a product
and a root are rounded in one way only, so that nobody's bits depend on the others, on how many there are, or on threads.
A library's decompositions, sums and products of matrices choose their order by size.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid.derivative import transforming
from physics.arguments import require_shape

_CHUNK = 1 << 18  # numbers of X worked on together: what a second-level cache holds
_FEW = 1 << 15  # numbers that torch too would work on in one thread
_BITS = {torch.float64: (torch.int64, 0x7FF << 52), torch.float32: (torch.int32, 0xFF << 23)}  # of the exponent


def tria(
    X: Tensor,  # (..., n, k)
) -> Tensor:  # (..., n, n)
    """L, lower triangular with diagonal ≥ 0, L Lᵀ = X Xᵀ: every row to the rounding of that row of X, whatever its scale.

    A row that depends on those before it, to rounding (zeros; the one after k others), has the diagonal 0 and its column is 0:
    so has every such entry beside k of them. NaN or infinity in X makes that matrix NaN from its row on, and no other.
    Differentiable as long as the rows that depend on others go on doing so: of a row that leaves the span of those before it
    L has no derivative, and the part of the gradient in that direction is 0. Twice and by `torch.func` too.
    Law: nobody's bits depend on other matrices of the batch, or on how many there are.
    Errors: `ValueError` for what is no tensor of float32 or float64 numbers with two axes or more, the last not empty.
    Source: Björck, BIT 7 (1967) 1; Björck & Paige, SIAM J. Matrix Anal. Appl. 13 (1992) 176, Theorem 4.1.
    """
    require_shape(X, "tria: X", ..., "n", "k", write="torch.cat([deviations, noise], -1)")
    if X.dtype not in _BITS or not X.shape[-1]:
        raise ValueError(
            f"tria: X is of float64 or float32 numbers in one column or more, and is {X.dtype} of shape {tuple(X.shape)}; "
            "write X.to(torch.float64), or torch.zeros(n, 1) where nothing varies"
        )
    if transforming() or not X.numel():
        return _plain(X)
    return _triangle(X, None) if constant(X) else _Triangle.apply(X)


class _Triangle(torch.autograd.Function):
    """`_triangle` with its derivative by hand."""

    @staticmethod
    def forward(ctx, X: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        q = torch.empty_like(X, memory_format=torch.contiguous_format)
        L = _triangle(X, q)
        ctx.save_for_backward(X, L, q)
        return L

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        X, L, q = ctx.saved_tensors
        if torch.is_grad_enabled():  # a derivative of the derivative is wanted
            return torch.autograd.grad(_plain(X), X, gradient, create_graph=True)[0]
        return _reverse(L, q, X, gradient)


def _triangle(X: Tensor, q: Tensor | None) -> Tensor:
    """L; and the unit rows q (..., n, k), X = L q, written into `q` where it is given: 0 for rows that depend on others."""
    n, k = X.shape[-2:]
    L = torch.empty(*X.shape[:-2], n, n, dtype=X.dtype, device=X.device)
    rows, lower = X.detach().reshape(-1, n, k), L.view(-1, n, n)
    for part in _parts(len(rows), n * k, X.device):
        W = innermost(rows[part])  # (n, k, b)
        outermost(lower_of(W, q is not None), lower[part])
        if q is not None:
            outermost(W, q.view(-1, n, k)[part])
    return L


def lower_of(W: Tensor, units: bool = False) -> Tensor:  # (n, k, b) -> (n, n, b)
    """`tria` of matrices with the batch innermost, without a derivative. W is used up; `units`: it becomes the unit rows q."""
    n = len(W)
    size = _power_of_two(W.abs().amax(1))
    W.mul_(size.reciprocal()[:, None])
    found = torch.zeros(n, n, W.shape[-1], dtype=W.dtype, device=W.device)
    small = _dependent(n, W.dtype) ** 2
    with cheapest(W, found) as (xp, (rest, lower)):
        space = xp.empty_like(rest)
        for j in range(n):
            row = rest[0]
            sums = _sum(xp.multiply(rest, row, out=space))
            square = xp.where(sums[0] <= small, math.inf, sums[0])  # beside infinity all else is 0, and NaN stays
            r = _root(square)
            xp.divide(sums, r, out=lower[j:, j])
            rest, space = rest[1:], space[1:]
            if j + 1 < n:
                rest -= xp.multiply(row, (sums[1:] / square)[:, None], out=space)
            if units:
                row /= r
    return found.mul_(size[:, None])


@contextmanager
def cheapest(*values: Tensor) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """What to compute with and the same memory as its arrays: few numbers by numpy, whose calls cost a third, others by torch.

    Sums, products and quotients of single numbers are rounded in one way by both.
    """
    if values[0].device.type != "cpu" or max(v.numel() for v in values) > _FEW:
        yield torch, values
        return
    with np.errstate(all="ignore"):
        yield np, tuple(v.numpy() for v in values)


def _reverse(L: Tensor, q: Tensor, X: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of X from that of L: the steps of `_triangle` backwards, in which row i regains its part along q_j."""
    n, k = q.shape[-2:]
    found = torch.empty_like(q)
    lower, units, rows, given = (v.reshape(-1, *v.shape[-2:]) for v in (L, q, X, gradient))
    for part in _parts(len(units), 3 * n * k, q.device):
        S, Q, W, g = (innermost(v[part]) for v in (lower, units, rows, given))  # (n, n|k, b)
        size = _power_of_two(W.abs().amax(1))[:, None]
        S.div_(size)
        g.mul_(size)
        W.zero_()  # the rows as they were at step j
        back = torch.zeros_like(Q)
        for j in reversed(range(n)):
            unit, r = Q[j], S[j, j]
            lives = r != 0.0
            direction = g[j, j] * unit
            if j + 1 < n:
                lengths, rest, after = S[j + 1 :, j, None], W[j + 1 :], back[j + 1 :]
                along = (g[j + 1 :, j] - _sum(unit * after))[:, None]  # of L_ij
                rest += unit * lengths
                turned = _added(along * rest - lengths * after)
                after += unit * along
                direction = direction + (turned - unit * _sum(unit * turned)) / torch.where(lives, r, 1.0)
            back[j] = torch.where(lives, direction, 0.0)
            W[j] = unit * r
        outermost(back.div_(size), found.view(-1, n, k)[part])
    return found


def _plain(X: Tensor) -> Tensor:
    """L by operations that every transform of torch knows, to rounding the same."""
    n = X.shape[-2]
    size = X.detach().abs().amax(-1, keepdim=True)
    size = torch.where(size == 0.0, 1.0, size)
    W, columns = X / size, []
    for j in range(n):
        row = W[..., 0, :]
        square = (row * row).sum(-1, keepdim=True)
        gone = square <= _dependent(n, X.dtype) ** 2
        unit = torch.where(gone, 0.0, row / torch.where(gone, 1.0, square).sqrt())
        lengths = (W * unit[..., None, :]).sum(-1)
        W = W[..., 1:, :] - lengths[..., 1:, None] * unit[..., None, :]
        columns.append(torch.cat([lengths.new_zeros(*lengths.shape[:-1], j), lengths], -1))
    return torch.stack(columns, -1) * size if n else X.new_zeros(*X.shape[:-1], 0)


def _root(square: Any) -> Any:  # (b,)
    """√, rounded as IEEE 754 says on a processor, where torch may take a library's that is off in the last bit."""
    if not isinstance(square, Tensor):
        return np.sqrt(square)
    return torch.from_numpy(np.sqrt(square.numpy())) if square.device.type == "cpu" else square.sqrt()


def _sum(terms: Any) -> Any:  # (..., k, b) -> (..., b)
    """Their sum by halves, in an order that k alone decides. What it is given is used up."""
    k = terms.shape[-2]
    while k > 1:
        half = k // 2
        some = terms[..., :half, :]
        some += terms[..., k - half : k, :]
        k -= half
    return terms[..., 0, :]


def _added(terms: Tensor) -> Tensor:  # (m, k, b) -> (k, b)
    """Their sum, one after another."""
    first, *others = terms.unbind(0)
    return sum(others, first)


def constant(value: Tensor) -> bool:
    """Is nobody going to ask for a derivative along it, so that what is made of it may be made in place?"""
    return not transforming() and not (torch.is_grad_enabled() and value.requires_grad)


def innermost(matrices: Tensor) -> Tensor:  # (b, n, k) -> (n, k, b)
    """A copy with the batch innermost, as arithmetic over many small matrices wants it."""
    b, n, k = matrices.shape
    if constant(matrices) and matrices.is_contiguous():  # as one matrix: torch turns those in blocks
        return torch.empty(n * k, b, dtype=matrices.dtype, device=matrices.device).copy_(matrices.view(b, n * k).T).view(n, k, b)
    return matrices.permute(1, 2, 0).clone(memory_format=torch.contiguous_format)


def outermost(values: Tensor, matrices: Tensor) -> None:  # (n, k, b), (b, n, k)
    """Write them back, the batch outermost."""
    n, k, b = values.shape
    matrices.view(b, n * k).copy_(values.view(n * k, b).T)


def _dependent(n: int, dtype: torch.dtype) -> float:
    """The length, of a row of numbers up to 1, below which n projections leave nothing but their rounding."""
    return 8.0 * n * torch.finfo(dtype).eps


def _power_of_two(value: Tensor) -> Tensor:
    """The largest power of two that is not above the value ≥ 0, a scale that rounds nothing; 1 below the normal numbers."""
    whole, exponent = _BITS[value.dtype]
    size = (value.view(whole) & exponent).view(value.dtype)
    return torch.where(size == 0.0, 1.0, size)


def _parts(count: int, each: int, device: torch.device) -> Iterator[slice]:
    """Slices of a batch that are worked on together: what a cache holds, and on a GPU everything."""
    step = max(_CHUNK // max(each, 1), 64) if device.type == "cpu" else max(count, 1)
    return (slice(i, i + step) for i in range(0, count, step))
