"""The functions φ_k of matrices, in which a linear equation is solved exactly."""

import math

import torch
from torch import Tensor

from hybrid.derivative import values_of

_TERMS = 16  # of the series of φ₃ for ‖Z‖ ≤ ½: the next one is ½¹⁶/19! < 1e-22


def phi(
    Z: Tensor,  # (..., n, n)
    halves: int = 0,
    doublings: int | None = None,
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """(e^Z, φ₁(Z), φ₂(Z), φ₃(Z)), and before it the same at Z/2, Z/4, … as often as `halves` asks.

    `doublings` q: how often Z is halved; by default `doublings_for(Z)`.

    φ_k(Z) = ∫₀¹ e^{(1−s)Z} s^{k−1}/(k−1)! ds, so that φ_k(Z) Z = φ_{k−1}(Z) − 1/(k−1)!. Scaling and doubling: the Taylor
    series of φ₃ at Z/2^q of norm ½ or less, then φ_k(2Z) = 2^{−k} [e^Z φ_k(Z) + Σ_{l≤k} φ_l(Z)/(k−l)!], in which nothing
    cancels. Differentiable in Z.
    Law: e^Z is the matrix exponential.
    Source: Skaflestad & Wright, Appl. Numer. Math. 59 (2009) 783.
    """
    n = Z.shape[-1]
    doublings = max(halves, doublings_for(Z) if doublings is None else doublings)
    z = Z / 2.0**doublings
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
    found = [(e, p1, p2, p3)]
    for _ in range(doublings):
        q1, q2, q3 = (e @ torch.cat([p1, p2, p3], -1)).split(n, -1)
        e, p1, p2, p3 = e @ e, (q1 + p1) / 2.0, (q2 + p2 + p1) / 4.0, (q3 + p3 + p2 + p1 / 2.0) / 8.0
        found.append((e, p1, p2, p3))
    return found[len(found) - 1 - halves :]


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
