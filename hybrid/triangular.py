"""The lower triangular root of X Xᵀ, which is never formed, on plain arrays: many small ones at once.

Modified Gram–Schmidt over the rows of X: row j, less its parts along the rows before it, is L_jj q_j. Its L is as good as
Householder's, from which it differs by rounding alone: it is that of the same rows under a block of zeros (Björck & Paige).

All arithmetic is done one number at a time over a batch that lies innermost, sums by halves in one fixed order: a sum, a product
and a root are rounded in one way only, so that nobody's bits depend on the others, on how many there are, or on threads.
A library's decompositions, sums and products of matrices choose their order by size.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from hybrid.derivative import transforming
from physics.arguments import require_shape

_CHUNK = 1 << 18  # numbers of X worked on together: what a second-level cache holds
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
    if transforming():
        return _plain(X)
    if torch.is_grad_enabled() and X.requires_grad:
        return _Triangle.apply(X)
    return _triangle(X, None)


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
        return _reverse(L, q, gradient, X)


def _triangle(X: Tensor, q: Tensor | None) -> Tensor:
    """L; and the unit rows q (..., n, k), X = L q, written into `q` where it is given: 0 for rows that depend on others."""
    n, k = X.shape[-2:]
    L = torch.empty(*X.shape[:-2], n, n, dtype=X.dtype, device=X.device)
    rows, lower = X.detach().reshape(-1, n, k), L.view(-1, n, n)
    for part in _parts(len(rows), n * k, X.device):
        W = rows[part].permute(2, 1, 0).clone(memory_format=torch.contiguous_format)  # (k, n, b)
        size = _power_of_two(W.abs().amax(0))
        W.mul_(size.reciprocal())
        b = W.shape[-1]
        found = torch.zeros(n, n, b, dtype=W.dtype, device=W.device)  # by column, then by row
        space = torch.empty(k * n * b, dtype=W.dtype, device=W.device)
        for j in range(n):
            m = n - j
            sums = sum_of(torch.mul(W[:, j:], W[:, j : j + 1], out=space[: k * m * b].view(k, m, b)))
            square = _squared(sums[0], n)
            r = square.sqrt()
            torch.div(sums, r, out=found[j, j:])
            if m > 1:
                share = sums[1:] / square
                W[:, j + 1 :].sub_(torch.mul(W[:, j : j + 1], share, out=space[: k * (m - 1) * b].view(k, m - 1, b)))
            if q is not None:
                W[:, j].div_(r)
        lower[part] = found.mul_(size).permute(2, 1, 0)
        if q is not None:
            q.view(-1, n, k)[part] = W.permute(2, 1, 0)
    return L


def _reverse(L: Tensor, q: Tensor, gradient: Tensor, X: Tensor) -> Tensor:
    """The gradient of X from that of L: the steps of `_triangle` backwards, in which row i regains its part along q_j."""
    n, k = q.shape[-2:]
    found = torch.empty_like(q)
    parts = (v.reshape(-1, *v.shape[-2:]) for v in (L, q, gradient, X))
    lower, units, given, rows = parts
    for part in _parts(len(units), 3 * n * k, q.device):
        size = _power_of_two(rows[part].abs().amax(-1).T.contiguous())  # (n, b)
        S, Q, g = (v[part].permute(2, 1, 0).contiguous() for v in (lower, units, given))
        S, g = S / size, g * size
        W = torch.zeros_like(Q)  # the rows as they were at step j
        back = torch.zeros_like(Q)
        for j in reversed(range(n)):
            unit, lengths, after = Q[:, j : j + 1], S[j, j + 1 :], back[:, j + 1 :]
            along = g[j, j + 1 :] - sum_of(unit * after)  # of L_ij
            W[:, j + 1 :] += unit * lengths
            of_unit = along * W[:, j + 1 :] - lengths * after
            turned = sum_of(of_unit.movedim(1, 0)) if j + 1 < n else torch.zeros_like(Q[:, j])
            after += unit * along
            r = S[j, j]
            lives = r != 0.0
            radial = sum_of(Q[:, j] * turned)
            back[:, j] = torch.where(lives, g[j, j] * Q[:, j] + (turned - Q[:, j] * radial) / torch.where(lives, r, 1.0), 0.0)
            W[:, j] = Q[:, j] * r
        found.view(-1, n, k)[part] = (back / size).permute(2, 1, 0)
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


def sum_of(terms: Tensor) -> Tensor:  # (k, ..., b) -> (..., b)
    """Their sum by halves, in an order that k alone decides. What it is given is used up."""
    k = len(terms)
    while k > 1:
        half = k // 2
        terms[:half] += terms[k - half : k]
        k -= half
    return terms[0]


def _squared(square: Tensor, n: int) -> Tensor:
    """The squared length of what a row has beside those before it: infinity, by which all else is 0, where that is rounding."""
    return torch.where(square <= _dependent(n, square.dtype) ** 2, torch.inf, square)  # NaN stays


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
