"""e^J and a root of the covariance that white noise makes along it, on plain arrays: many small matrices at once.

Arithmetic is that of `hybrid.triangular`: nobody's bits depend on others, so how often a matrix is halved and how many terms
are taken is each one's own affair.
"""

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from hybrid.derivative import constant as made_once
from hybrid.derivative import transforming, values_of
from hybrid.triangular import cheapest, constant, innermost, lower_of, tria
from physics.arguments import require_shape

_SMALL = (1 / 64, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # norms of J up to which fewer terms will do; larger ones are halved
_LARGE = 2.0**30  # of the norm of J, beyond which e^J has no digit left
_CHUNK = 1 << 17  # numbers of [C_0 C_1 …] worked on together, and as much room: what a second-level cache holds


def transition_root(
    J: Tensor,  # (..., n, n)
    G: Tensor,  # (..., n, k)
) -> tuple[Tensor, Tensor]:  # (..., n, n), (..., n, n)
    """e^J, and R lower triangular, R Rᵀ = ∫₀¹ e^{Js} G Gᵀ e^{Jᵀs} ds; for a length h give J h and G √h, its driven columns alone.

    With the Legendre polynomials p_j, orthonormal on [0, 1], e^{Js} G = Σ_j p_j(s) C_j, and the integral is Σ_j C_j C_jᵀ exactly:
    R = tria[C_0 C_1 …], and no covariance is formed. C_j = Σ_m d_jm J^m G with m! d_jm = ∫ s^m p_j(s) ds, which is 0
    for m < j and positive from there on. Enough j and m for a norm of J of 1, or of less; a larger J is halved q times, and
    R(2Z) = tria[R(Z), e^Z R(Z)].
    Rows that noise reaches over n − k others, where they are small, have the digits of their own size.
    Returns: NaN for a J or G that is not finite and for a norm of J above 2³⁰, there alone. Differentiable as `tria` is.
    Law: R Rᵀ and e^J are those of `transition`; nobody's bits depend on the others.
    Errors: `ValueError` for what are not matrices J and G of one number of rows, type and device, one for the other.
    Source: Särkkä & Solin, Applied Stochastic Differential Equations (2019) § 6.2, for the integral; the expansion is ours.
    """
    e, R = _of_all(J, G, "transition_root", exponential=True)
    return e, R


def noise_root(
    J: Tensor,  # (..., n, n)
    G: Tensor,  # (..., n, k)
) -> Tensor:  # (..., n, n)
    """R of `transition_root`, to the bit, for who does not ask for e^J."""
    return _of_all(J, G, "noise_root", exponential=False)[1]


def _of_all(J: Tensor, G: Tensor, name: str, *, exponential: bool) -> tuple[Tensor, Tensor]:
    """e^J, where it is asked for, and R, every kind of matrices by itself. Errors: those of `transition_root`."""
    n = J.shape[-1] if isinstance(J, Tensor) and J.ndim > 1 else "n"
    require_shape(J, f"{name}: J", ..., n, n, write="field.slope(x, u) * h")
    require_shape(G, f"{name}: G", ..., n, "k", write="torch.diag_embed(g) * h.sqrt()", like=J)
    n, k = G.shape[-2:]
    lead = _together(J, G, name)
    J, G = J.expand(*lead, n, n).reshape(-1, n, n), G.expand(*lead, n, k).reshape(-1, n, k)
    if not J.numel():
        return J.view(*lead, n, n), J.view(*lead, n, n)
    norms = _norms(J, G)
    J = torch.where((norms > _LARGE)[:, None, None], torch.nan, J)
    kinds = _kinds(norms)
    if len(kinds) == 1:
        ((kind, _),) = kinds
        e, R = _whole(J, G, *kind, exponential)
    else:
        e, R = torch.empty_like(J), torch.empty_like(J)
        for kind, whose in kinds:
            e[whose], R[whose] = _whole(J[whose], G[whose], *kind, exponential)
    return e.view(*lead, n, n), R.view(*lead, n, n)


def _norms(J: Tensor, G: Tensor) -> Tensor:  # (b,)
    """The largest sum of a row of J; that of the largest J for who has neither J nor G, to whom any kind does the same."""
    first, *others = J.detach().abs().unbind(-1)  # added in one order, or who is halved how often would be for the sum to say
    norms = sum(others, first).amax(-1)
    nothing = (norms == 0.0) & (G.detach() == 0.0).flatten(1).all(-1)
    return torch.where(nothing, torch.where(norms <= _LARGE, norms, 0.0).amax(), norms)


def _whole(J: Tensor, G: Tensor, halvings: int, norm: float, exponential: bool) -> tuple[Tensor, Tensor]:
    """e^J (b, n, n) and R (b, n, n) of matrices (b, n, n), (b, n, k) whose norm over 2^halvings is `norm` or less."""
    if G.shape[-1] > G.shape[-2]:
        G = tria(G)
    n, k = G.shape[-2:]
    width = n * k * len(_weights(n - k, norm)[-1])
    step = max(_CHUNK // max(width, n * n), 64) if J.device.type == "cpu" else max(len(J), 1)
    if len(J) <= step:
        return _part(J, G, halvings, norm, exponential)
    parts = [_part(a, b, halvings, norm, exponential) for a, b in zip(J.split(step), G.split(step), strict=True)]
    return torch.cat([e for e, _ in parts]), torch.cat([R for _, R in parts])


def _part(J: Tensor, G: Tensor, halvings: int, norm: float, exponential: bool) -> tuple[Tensor, Tensor]:
    """The same of as many as a cache holds, inside with the batch innermost. Not e^J but J where nobody asks."""
    Z, V = innermost(J * 0.5**halvings), innermost(G * 0.5 ** (0.5 * halvings))
    way = _by_hand if constant(Z) and constant(V) else _differentiable
    e, R = way(Z, V, halvings, norm, exponential)
    return e.permute(2, 0, 1).contiguous(), R.permute(2, 0, 1).contiguous()


def _by_hand(Z: Tensor, V: Tensor, halvings: int, norm: float, exponential: bool) -> tuple[Tensor, Tensor]:
    """Z (n, n, b), V (n, k, b) of G: e^J and R (n, n, b), in buffers."""
    depth = len(V) - V.shape[1]
    table, one = _table(depth, norm, V.dtype, V.device), torch.eye(len(Z), dtype=Z.dtype, device=Z.device)
    C = V.new_zeros(len(V), table.shape[1], *V.shape[1:])  # C_j stand beside each other
    with cheapest(C, Z, V, one, table) as (xp, (found, z, v, unit, weights)):
        columns, space = _columns(z), xp.empty_like(found)
        for i, weight in enumerate(weights):
            v = _times(columns, v, xp) if i else v
            some = found[:, : i + 1]  # the others' weight is 0
            some += xp.multiply(v[:, None], weight[: i + 1], out=space[:, : i + 1])
        e = _exponential(z, unit[..., None], _terms(norm) + depth, xp) if exponential or halvings else z
        R = lower_of(C.flatten(1, 2))
        for _ in range(halvings):
            columns = _columns(e)
            r = xp.asarray(R)
            R = lower_of(torch.as_tensor(xp.concatenate([r, _times(columns, r, xp)], 1)))
            e = _times(columns, e, xp)
    return torch.as_tensor(e), R


def _differentiable(Z: Tensor, V: Tensor, halvings: int, norm: float, exponential: bool) -> tuple[Tensor, Tensor]:
    """The same in ordinary operations."""
    depth, one = len(V) - V.shape[1], torch.eye(len(Z), dtype=Z.dtype, device=Z.device)
    table, columns = _table(depth, norm, V.dtype, V.device), _columns(Z)
    C = V.new_zeros(len(V), table.shape[1], *V.shape[1:])
    for i, weight in enumerate(table):
        V = _times(columns, V) if i else V
        C = C + weight * V[:, None]
    e = _exponential(Z, one[..., None], _terms(norm) + depth) if exponential or halvings else Z
    R = _lower(C.flatten(1, 2))
    for _ in range(halvings):
        columns = _columns(e)
        R = _lower(torch.cat([R, _times(columns, R)], 1))
        e = _times(columns, e)
    return e, R


def _lower(W: Tensor) -> Tensor:  # (n, k, b) -> (n, n, b)
    """`tria` with the batch innermost."""
    return innermost(tria(W.permute(2, 0, 1)))


def _columns(A: Any) -> list[Any]:  # (n, m, b)
    """As `_times` takes a matrix on the left: m × (n, 1, b)."""
    return [A[:, i, None] for i in range(A.shape[1])]


def _times(columns: list[Any], B: Any, xp: Any = None) -> Any:  # m × (n, 1, b), (m, c, b) -> (n, c, b)
    """The product of matrices, batch innermost; by `xp`, or in ordinary operations."""
    (column, row), *others = zip(columns, B, strict=True)
    found = column * row
    space = None if xp is None else xp.empty_like(found)
    for column, row in others:
        if xp is None:
            found = found + column * row
        else:
            found += xp.multiply(column, row, out=space)
    return found


def _exponential(Z: Any, one: Any, terms: int, xp: Any = None) -> Any:  # (n, n, b), (n, n, 1) -> (n, n, b)
    """e^Z by its series, for a norm that is 1 or less: a polynomial in Z³ whose coefficients are quadratic in Z.

    `terms`: those seen beside 1, and more where a row is reached over others: they are its first ones.
    """
    squared = _times(_columns(Z), Z, xp)
    cubed = _times(_columns(squared), Z, xp)
    first, *others = (
        one * _share(i) + Z * _share(i + 1) + squared * _share(i + 2) for i in reversed(range(0, terms, 3))
    )
    for block in others:
        first = block + _times(_columns(first), cubed, xp)
    return first


def _share(i: int) -> float:
    return 1 / math.factorial(i)


def _terms(norm: float) -> int:
    """How many terms of an exponential's series are seen beside 1."""
    return next(i for i in range(1, 40) if norm**i / math.factorial(i) < 1e-17)


@lru_cache(maxsize=256)
def _weights(depth: int, norm: float) -> tuple[tuple[float, ...], ...]:
    """For each j the factors d_jm of Z^m G in C_j, of as many j and m as rows at that depth need, reached over as many others.

    Beside the row's leading term, (norm)^c/c! /√(2c + 1) for depth c, what is left out is below 1e-17 (m) and, squared as in the
    covariance, 1e-14 (j).
    """
    c, f = depth, math.factorial  # from 171 on above every float: whole numbers are divided by whole numbers
    J = next(
        j
        for j in range(c + 1, c + 60)
        if (f(j) ** 2 / (f(2 * j + 1) * f(j - c)) * math.sqrt((2 * j + 1) * (2 * c + 1)) * norm ** (j - c)) ** 2 < 1e-14
    )
    return tuple(
        tuple(f(m) / (f(m - j) * f(m + j + 1)) * math.sqrt(2 * j + 1) for j in range(min(m + 1, J)))
        for m in range(max(_terms(norm) + c, J))
    )


@lru_cache(maxsize=256)
def _table(depth: int, norm: float, dtype: torch.dtype, device: torch.device) -> Tensor:  # (m, j, 1, 1)
    """The same with zeros where there is none."""
    rows = _weights(depth, norm)
    with made_once():
        filled = [[*row, *[0.0] * (len(rows[-1]) - len(row))] for row in rows]
        return torch.tensor(filled, dtype=dtype, device=device)[..., None, None]


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


def _together(J: Tensor, G: Tensor, name: str) -> tuple[int, ...]:
    """The axes before the matrices'. Errors: `ValueError` where those of the two are not of the same sizes, or of size 1."""
    if J.dtype != G.dtype:
        raise ValueError(f"{name}: J is {J.dtype} and G {G.dtype}; give both of one type")
    if not G.shape[-1]:
        raise ValueError(f"{name}: G has no column; give torch.zeros(n, 1) where no noise drives anything")
    try:
        return tuple(torch.broadcast_shapes(J.shape[:-2], G.shape[:-2]))
    except RuntimeError as error:
        raise ValueError(
            f"{name}: J and G go together, and have the shapes {tuple(J.shape)} and {tuple(G.shape)}; give as many of "
            "both, or one for all"
        ) from error
