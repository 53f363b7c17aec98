"""The functions φ_k of matrices, in which a linear equation is solved exactly."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from hybrid.derivative import mapped, values_of
from hybrid.solve.schemes.tableau import constants

_TERMS = 16  # of the series of φ₃ for ‖Z‖ ≤ ½: the next one is ½¹⁶/19! < 1e-22
_POWERS = 32  # of the series of all four for ‖Z‖ ≤ 2: the next one is 2³²/32! < 2e-26
_SERIES = tuple(tuple(1.0 / math.factorial(j + k) for k in range(4)) for j in range(_POWERS))
_SUMS = ((1 / 2, 1 / 4, 1 / 16), (0.0, 1 / 4, 1 / 8), (0.0, 0.0, 1 / 8))  # 2^{−k}/(k−l)! for l ≤ k = 1, 2, 3


def phi(
    Z: Tensor,  # (..., n, n)
    halves: int = 0,
    doublings: int | Tensor | None = None,
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """(e^Z, φ₁(Z), φ₂(Z), φ₃(Z)), and before it the same at Z/2, Z/4, … as often as `halves` asks.

    `doublings` q: how often Z is halved; by default `doublings_for(Z)`. Of a tensor (...,) every Z has its own, so that nobody's
    numbers depend on who stands beside them: `own_doublings(Z)`.

    φ_k(Z) = ∫₀¹ e^{(1−s)Z} s^{k−1}/(k−1)! ds, so that φ_k(Z) Z = φ_{k−1}(Z) − 1/(k−1)!. Scaling and doubling: the Taylor
    series of φ₃ at Z/2^q of norm ½ or less, then φ_k(2Z) = 2^{−k} [e^Z φ_k(Z) + Σ_{l≤k} φ_l(Z)/(k−l)!], in which nothing
    cancels. Differentiable in Z.
    Law: e^Z is the matrix exponential.
    Source: Skaflestad & Wright, Appl. Numer. Math. 59 (2009) 783.
    """
    n = Z.shape[-1]
    doublings = _at_least(halves, doublings_for(Z) if doublings is None else doublings)
    z = Z / _power(doublings)
    one = torch.eye(n, dtype=Z.dtype, device=Z.device)
    c = [1.0 / math.factorial(k + 3) for k in range(_TERMS)]
    z2 = z @ z
    z3, z4 = z2 @ z, z2 @ z2
    # Paterson & Stockmeyer: a polynomial in z⁴ whose coefficients are cubic in z
    blocks = [c[k] * one + c[k + 1] * z + c[k + 2] * z2 + c[k + 3] * z3 for k in range(0, _TERMS, 4)]
    p3 = blocks[-1]
    for block in reversed(blocks[:-1]):
        p3 = block + p3 @ z4
    p2 = 0.5 * one + z @ p3
    p1 = one + z @ p2
    e = one + z @ p1
    levels = _doubled(e, torch.cat([p1, p2, p3], -1), doublings, halves)
    return [(e, *p.split(n, -1)) for e, p in levels]


def phi_of_multiples(
    A: Tensor,  # (R, n, n)
    h: Tensor,  # (R, K)
    halves: int = 0,
    doublings: int | Tensor | None = None,
) -> list[tuple[Tensor, Tensor]]:  # (R·K, n, n), (R·K, n, 3n)
    """`phi` at h_rk A_r for many h of each A: (e^Z, [φ₁ φ₂ φ₃](Z)) at the end, and before it at the halves.

    The powers of A_r, each over its own factorials, are made once, and the series at all h_r1 … h_rK are one product with the
    powers of h: a few products of everyone's instead of dozens for every h. The series runs to a norm of 2, which takes two
    doublings less; rounding grows by e², as it would have in those.
    `doublings` q: as in `phi`, of a tensor (R,) for every A; by default `doublings_for_multiples(A, h)`. Differentiable in A, h.
    Law: the values are those of `phi`.
    """
    n = A.shape[-1]
    q = _at_least(halves, doublings_for_multiples(A, h) if doublings is None else doublings)
    scales, powers = _powers(A, h, q)
    series = powers[:, :, :, None] * constants(_SERIES, A.dtype, A.device)[:, None, :, None]  # (R, J, n, 4, n)
    found = torch.bmm(scales, series.flatten(2)).view(-1, n, 4 * n)  # (R·K, n, 4n)
    q = q.repeat_interleave(h.shape[1]) if isinstance(q, Tensor) else q
    return _doubled(found[..., :n].contiguous(), found[..., n:].contiguous(), q, halves)


def exponential_of_multiples(
    A: Tensor,  # (R, n, n)
    h: Tensor,  # (R, K)
    doublings: int | Tensor | None = None,
) -> Tensor:  # (R·K, n, n)
    """e^{h_rk A_r} alone, as `phi_of_multiples` makes it: a quarter of the series, and no products beside the squares."""
    n = A.shape[-1]
    q = doublings_for_multiples(A, h) if doublings is None else doublings
    scales, powers = _powers(A, h, q)
    series = powers * constants(_SERIES, A.dtype, A.device)[:, :1, None]
    e = torch.bmm(scales, series.flatten(2)).view(-1, n, n)
    count = (int(q.amax()) if q.numel() else 0) if isinstance(q, Tensor) else q
    each = q.repeat_interleave(h.shape[1])[:, None, None] if isinstance(q, Tensor) else None
    for left in range(count, 0, -1):
        e = e @ e if each is None else torch.where(each >= left, e @ e, e)
    return e


def _powers(
    A: Tensor,  # (R, n, n)
    h: Tensor,  # (R, K)
    q: int | Tensor,
) -> tuple[Tensor, Tensor]:  # (R, K, J), (R, J, n, n)
    """The powers of every A over its size, and what they are multiplied by for every h/2^q."""
    R, n = A.shape[0], A.shape[-1]
    size = A.detach().abs().sum(-1).amax(-1)  # powers of A/‖A‖ neither over- nor underflow
    size = torch.where(torch.isfinite(size) & (size > 0), size, 1.0)
    unit = (A / size[:, None, None])[:, None]  # (R, 1, n, n)
    t = h[..., None] * (size[:, None, None] / _power(q))  # (R, K, 1), 2 at most
    powers = torch.eye(n, dtype=A.dtype, device=A.device).expand(R, 1, n, n)
    scales = torch.ones_like(t)
    while powers.shape[1] < _POWERS:  # the powers so far, and the same times the next one
        powers, unit = torch.cat([powers, powers @ unit], 1), unit @ unit
        scales, t = torch.cat([scales, scales * t], -1), t * t
    return scales, powers


@lru_cache(maxsize=64)
def _mix(n: int) -> tuple[tuple[float, ...], ...]:
    """The Kronecker product of [S, diag S] with the identity of n, S those numbers."""
    both = [[*row, *(row[k] if k == j else 0.0 for j in range(3))] for k, row in enumerate(_SUMS)]
    return tuple(tuple(v if i == j else 0.0 for v in row for j in range(n)) for row in both for i in range(n))


def _doubled(
    e: Tensor,  # (..., n, n)
    p: Tensor,  # (..., n, 3n)
    doublings: int | Tensor,
    halves: int,
) -> list[tuple[Tensor, Tensor]]:
    """e^Z and [φ₁ φ₂ φ₃](Z) at 2^q Z, and before it the last `halves` on the way."""
    n = e.shape[-1]
    # 2^{−k} Σ_{l≤k} φ_l/(k−l)! and 2^{−k} φ_k as one product with numbers
    mix = constants(_mix(n), e.dtype, e.device)  # (3n, 6n)
    found = [(e, p)]
    count = (int(doublings.amax()) if doublings.numel() else 0) if isinstance(doublings, Tensor) else doublings
    for left in range(count, 0, -1):
        beside, shared = (p @ mix).split(3 * n, -1)
        twice = e @ e, beside + e @ shared
        if isinstance(doublings, Tensor):  # who needs fewer begins later, so that all are done at once
            begun = (doublings >= left)[..., None, None]
            twice = torch.where(begun, twice[0], e), torch.where(begun, twice[1], p)
        e, p = twice
        found.append((e, p))
    return found[len(found) - 1 - halves :]


def _at_least(halves: int, doublings: int | Tensor) -> int | Tensor:
    """As many, and no fewer than there are halves."""
    return doublings.clamp(min=halves) if isinstance(doublings, Tensor) else max(halves, doublings)


def _power(doublings: int | Tensor) -> float | Tensor:
    """2^q, of every matrix its own where q says so: a power of 2, by which nothing is rounded."""
    if not isinstance(doublings, Tensor):
        return 2.0**doublings
    return torch.ldexp(torch.ones(doublings.shape, dtype=torch.float64, device=doublings.device), doublings)[..., None, None]


def own_doublings(
    size: Tensor,  # (...,)
    most: float = 0.5,
) -> Tensor:  # (...,), whole numbers
    """For every size by itself: a q ≥ 0 with size/2^q below `most`, a power of 2; 0 for what is not finite."""
    _, exponent = torch.frexp(torch.nan_to_num(values_of(size), 0.0, 0.0, 0.0) / most)
    return exponent.clamp(min=0)


def doublings_for(
    Z: Tensor,  # (..., n, n)
) -> int:
    """The least q ≥ 0 that makes the norm of Z/2^q ½ or less, for every Z that is finite.

    What is not finite stays so, and whoever integrates with it says whose it is.
    """
    if not Z.numel():
        return 0
    norm = float(torch.nan_to_num(values_of(Z).abs().sum(-1), 0.0, 0.0, 0.0).amax())
    return max(math.ceil(math.log2(max(norm, 1e-30))) + 1, 0)


def doublings_for_multiples(
    A: Tensor,  # (R, n, n)
    h: Tensor,  # (R, K)
) -> int:
    """The least q ≥ 0 that makes the norm of every finite h_rk A_r/2^q 2 or less."""
    if not A.numel() or not h.numel():
        return 0
    sizes, lengths = values_of(A).abs().sum(-1).amax(-1), values_of(h).abs()
    # a batch of torch.func.vmap has an axis of its own, so that nobody's length is seen beside their A
    norms = sizes.amax() * lengths.amax() if mapped(A) or mapped(h) else sizes * lengths.amax(-1)
    norm = float(torch.nan_to_num(norms, 0.0, 0.0, 0.0).amax())
    return max(math.ceil(math.log2(max(norm, 1e-30))) - 1, 0)
