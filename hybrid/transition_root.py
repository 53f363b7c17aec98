"""e^J and a root of the covariance that white noise makes along it, on plain arrays: many small matrices at once.

Arithmetic is that of `hybrid.triangular`: nobody's bits depend on others, so how often a matrix is halved and how many terms
are taken is each one's own affair.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from hybrid.derivative import transforming, values_of
from hybrid.triangular import constant, innermost, tria
from physics.arguments import require_shape

_SMALL = (1 / 64, 1 / 16, 1 / 8, 1 / 4, 1 / 2)  # norms of J up to which fewer terms will do; larger ones are halved to the last
_LARGE = 2.0**30  # of the norm of J, beyond which e^J has no digit left
_CHUNK = 1 << 17  # numbers of a matrix [G …] worked on together


def transition_root(
    J: Tensor,  # (..., n, n)
    G: Tensor,  # (..., n, k)
) -> tuple[Tensor, Tensor]:  # (..., n, n), (..., n, n)
    """e^J, and R lower triangular, R Rᵀ = ∫₀¹ e^{Js} G Gᵀ e^{Jᵀs} ds; for a length h give J h and G √h, its driven columns alone.

    With the Legendre polynomials p_j, orthonormal on [0, 1], e^{Js} G = Σ_j p_j(s) C_j, and the integral is Σ_j C_j C_jᵀ exactly:
    R = tria[C_0 C_1 …], and no covariance is formed. Around the middle, C_j = Σ_k b_jk J^k e^{J/2} G with
    k! b_jk = ∫ (s − ½)^k p_j(s) ds, which is 0 for k < j and for j + k odd. Enough j and k for a norm of J of ½, or of less; a
    larger J is halved q times, and R(2Z) = tria[R(Z), e^Z R(Z)].
    Rows that noise reaches over n − k others, where they are small, have the digits of their own size.
    Returns: NaN for a J or G that is not finite and for a norm of J above 2³⁰, there alone. Differentiable as `tria` is.
    Law: R Rᵀ and e^J are those of `transition`; nobody's bits depend on the others.
    Errors: `ValueError` for what are not matrices J and G of one number of rows, type and device, one for the other.
    Source: Särkkä & Solin, Applied Stochastic Differential Equations (2019) § 6.2, for the integral; the expansion is ours.
    """
    n = J.shape[-1] if isinstance(J, Tensor) and J.ndim > 1 else "n"
    require_shape(J, "transition_root: J", ..., n, n, write="field.slope(x, u) * h")
    require_shape(G, "transition_root: G", ..., n, "k", write="torch.diag_embed(g) * h.sqrt()", like=J)
    n, k = G.shape[-2:]
    lead = _together(J, G)
    J, G = J.expand(*lead, n, n).reshape(-1, n, n), G.expand(*lead, n, k).reshape(-1, n, k)
    if not J.numel():
        return J.view(*lead, n, n), J.view(*lead, n, n)
    first, *others = J.detach().abs().unbind(-1)  # added in one order, or who is halved how often would be for the sum to say
    norms = sum(others, first).amax(-1)
    J = torch.where((norms > _LARGE)[:, None, None], torch.nan, J)
    kinds = _kinds(norms)
    if len(kinds) == 1:
        ((kind, _),) = kinds
        e, R = _whole(J, G, *kind)
    else:
        e, R = torch.empty_like(J), torch.empty_like(J)
        for kind, whose in kinds:
            e[whose], R[whose] = _whole(J[whose], G[whose], *kind)
    return e.view(*lead, n, n), R.view(*lead, n, n)


def _whole(J: Tensor, G: Tensor, halvings: int, norm: float) -> tuple[Tensor, Tensor]:  # (b, n, n), (b, n, k)
    """`transition_root` of matrices whose norm over 2^halvings is `norm` or less."""
    step = max(_CHUNK // max(J[0].numel(), 1), 64) if J.device.type == "cpu" else max(len(J), 1)
    if len(J) <= step:
        return _part(J, G, halvings, norm)
    parts = [_part(a, b, halvings, norm) for a, b in zip(J.split(step), G.split(step), strict=True)]
    return torch.cat([e for e, _ in parts]), torch.cat([R for _, R in parts])


def _part(J: Tensor, G: Tensor, halvings: int, norm: float) -> tuple[Tensor, Tensor]:
    """The same of as many as a cache holds. Inside the batch is innermost: Z (n, n, b)."""
    n, k = G.shape[-2:]
    if k > n:
        G, k = tria(G), n
    Z = innermost(J * 0.5**halvings)
    half = _exponential(Z * 0.5, 0.5 * norm, n - k)
    V = _times(half, innermost(G * 0.5 ** (0.5 * halvings)))
    blocks: list[Tensor] = []
    space = torch.empty_like(V) if constant(V) else None
    for i, row in enumerate(_coefficients(n - k, norm)):
        V = _times(Z, V) if i else V
        for j, b in row:
            if j == len(blocks):
                blocks.append(b * V)
            elif space is None:
                blocks[j] = blocks[j] + b * V
            else:
                blocks[j] += torch.mul(V, b, out=space)
    e = _times(half, half)
    R = tria(torch.cat(blocks, 1).permute(2, 0, 1))
    for _ in range(halvings):
        lower = innermost(R)
        R = tria(torch.cat([lower, _times(e, lower)], 1).permute(2, 0, 1))
        e = _times(e, e)
    return e.permute(2, 0, 1).contiguous(), R


def _times(A: Tensor, B: Tensor) -> Tensor:  # (n, m, b), (m, c, b) -> (n, c, b)
    """The product of matrices, batch innermost."""
    found = A[:, 0, None] * B[0]
    space = torch.empty_like(found) if constant(found) else None
    for m in range(1, len(B)):
        if space is None:
            found = found + A[:, m, None] * B[m]
        else:
            found += torch.mul(A[:, m, None], B[m], out=space)
    return found


def _exponential(Z: Tensor, norm: float, depth: int) -> Tensor:  # (n, n, b)
    """e^Z by its series, for a norm that is ¼ or less: a polynomial in Z³ whose coefficients are quadratic in Z.

    `depth` terms more than what is seen beside 1: where a row is reached over as many others they are its first ones.
    """
    terms = _terms(norm) + depth
    one = torch.eye(len(Z), dtype=Z.dtype, device=Z.device)[..., None]
    squared = _times(Z, Z)
    cubed = _times(squared, Z)
    first, *others = (
        one / math.factorial(i) + Z / math.factorial(i + 1) + squared / math.factorial(i + 2)
        for i in reversed(range(0, terms, 3))
    )
    for block in others:
        first = block + _times(first, cubed)
    return first


def _terms(norm: float) -> int:
    """How many terms of an exponential's series are seen beside 1."""
    return next(i for i in range(1, 40) if norm**i / math.factorial(i) < 1e-17)


@lru_cache(maxsize=256)
def _coefficients(depth: int, norm: float) -> tuple[tuple[tuple[int, float], ...], ...]:
    """For each power k of Z the pairs (j, b_jk), of as many j and k as rows at that depth need, reached over as many others.

    Beside the row's leading term, (norm)^c/c! /√(2c + 1) for depth c, what is left out is below 1e-17 (k) and, squared as in the
    covariance, 1e-14 (j).
    """
    c, f = depth, math.factorial
    J = next(
        j
        for j in range(c + 1, c + 60)
        if (f(j) ** 2 * math.sqrt((2 * j + 1) * (2 * c + 1)) / (f(2 * j + 1) * f(j - c)) * norm ** (j - c)) ** 2 < 1e-14
    )
    K = max(_terms(0.5 * norm) + c, J)

    def b(j: int, k: int) -> float:
        return 0.5**k * math.sqrt(2 * j + 1) * 2**j * f((k + j) // 2) / (f((k - j) // 2) * f(k + j + 1))

    return tuple(tuple((j, b(j, k)) for j in range(k % 2, min(k + 1, J), 2)) for k in range(K))


def _kinds(norms: Tensor) -> list[tuple[tuple[int, float], Tensor]]:  # (b,)
    """Who is halved how often and is then how small: ((halvings, norm), positions) for all that occur."""
    size = values_of(norms)
    if transforming():  # one person's values are not to be seen: all as the largest one
        size = size.nan_to_num(0.0, 0.0, 0.0).amax().reshape(1)
    kinds = [(0, s) for s in _SMALL] + [(q, _SMALL[-1]) for q in range(1, 32)]
    bounds = torch.tensor([2.0**q * s for q, s in kinds[:-1]], dtype=size.dtype, device=size.device)
    found = torch.bucketize(torch.where(size <= _LARGE, size, 0.0), bounds)  # NaN too is small
    first, last = (int(v) for v in torch.aminmax(found))
    if first == last:
        return [(kinds[first], found)]
    return [(kinds[int(i)], (found == i).nonzero()[:, 0]) for i in torch.unique(found)]


def _together(J: Tensor, G: Tensor) -> tuple[int, ...]:
    """The axes before the matrices'. Errors: `ValueError` where those of the two are not of the same sizes, or of size 1."""
    if J.dtype != G.dtype:
        raise ValueError(f"transition_root: J is {J.dtype} and G {G.dtype}; give both of one type")
    if not G.shape[-1]:
        raise ValueError("transition_root: G has no column; give torch.zeros(n, 1) where no noise drives anything")
    try:
        return tuple(torch.broadcast_shapes(J.shape[:-2], G.shape[:-2]))
    except RuntimeError as error:
        raise ValueError(
            f"transition_root: J and G go together, and have the shapes {tuple(J.shape)} and {tuple(G.shape)}; give as many of "
            "both, or one for all"
        ) from error
