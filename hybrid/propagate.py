"""Mean and covariance of a state along a stretch of time, on plain arrays.

With J = ∂f/∂x and D = g gᵀ the means of their values at both ends of a stretch of length h, a deviation from the mean path goes
from δ to e^{J h} δ + w, w ~ N(0, Q), Q = ∫₀ʰ e^{J s} D e^{Jᵀ s} ds: exact for linear systems with constant g, whatever the
length, and of second order in it otherwise.
"""

from typing import Protocol

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.solve.schemes.phi import doublings_for, phi

_TERMS = 14  # of the series of Q for ‖J h‖ ≤ ½: (2‖J h‖)^14/15! < 1e-12 of the first, and it falls from there


class Moves(Protocol):
    """dx = f(x, u) dt + g(x) dW, as far as a covariance asks it."""

    def flow(self, x: Tensor, interval: Interval) -> Tensor:  # (M, N, n) -> (M, N, n)
        """The mean path: the state at the interval's end, from the one at its beginning with what arrived there."""

    def slope(self, x: Tensor, u: Tensor) -> Tensor:  # (M, N, n), (N, m) -> (M|1, N, n, n)
        """∂f/∂x."""

    def intensity(self, x: Tensor) -> Tensor:  # (M, N, n) -> (M|1, N, n, n)
        """g gᵀ."""


def propagate(
    field: Moves,
    x: Tensor,  # (M, N, n)
    S: Tensor,  # (M, N, n, n)
    interval: Interval,
) -> tuple[Tensor, Tensor]:  # (M, N, n), (M, N, n, n)
    """The mean and the covariance of the state at the interval's end, from those at its beginning, before what arrives there.

    dS/dt = J S + S Jᵀ + g gᵀ along the mean path. What arrives is known, and adds to the mean alone. Differentiable.
    Law: linear and Gaussian, it is the closed form of Van Loan; an interval of no length changes nothing but the mean, by what
    arrives; cutting an interval in two changes nothing (nonlinear: to second order in its length).
    Source: Jazwinski, Stochastic Processes and Filtering Theory (1970) § 9; Van Loan, IEEE Trans. Autom. Control 23 (1978) 395.
    """
    x = x + interval.jump
    after = field.flow(x, interval)
    F, Q = between(field, (x, after), (interval.u0, interval.u1), interval.dt)
    return after, F @ S @ F.mT + Q


def between(
    field: Moves,
    x: tuple[Tensor, Tensor],  # (M, N, n), at the beginning and the end
    u: tuple[Tensor, Tensor],  # (N, m)
    dt: Tensor,  # (N,)
) -> tuple[Tensor, Tensor]:  # (M, N, n, n) twice
    """e^{J h} and Q of a stretch whose mean path is known at both ends."""
    # both ends in one call
    N = dt.shape[0]
    slopes, D = field.slope(torch.cat(x, 1), torch.cat(u)), field.intensity(torch.cat(x, 1))
    h = dt[:, None, None]
    J = 0.5 * (slopes[:, :N] + slopes[:, N:])
    return transition(J * h, 0.5 * (D[:, :N] + D[:, N:]) * h)


def transition(
    J: Tensor,  # (..., n, n)
    D: Tensor,  # (..., n, n), symmetric
) -> tuple[Tensor, Tensor]:  # (..., n, n) twice
    """e^J and ∫₀¹ e^{Js} D e^{Jᵀs} ds; for a length h give J h and D h.

    The series Σ_k L^k(D)/(k+1)!, L(D) = J D + D Jᵀ, at J/2^q of norm ½ or less, then Q(2J) = Q(J) + e^J Q(J) e^{Jᵀ}: unlike in
    the exponential of [[−J, D], [0, Jᵀ]] (Van Loan 1978), where e^{−J} grows, nothing cancels however fast J decays.
    """
    q = doublings_for(J)
    z, term = J / 2.0**q, D / 2.0**q
    e, total = phi(z, doublings=0)[0][0], term
    for k in range(1, _TERMS):
        half = z @ term
        term = (half + half.mT) / (k + 1)
        total = total + term
    for _ in range(q):
        total = total + e @ total @ e.mT
        e = e @ e
    return e, total


def root(
    Q: Tensor,  # (..., n, n), symmetric, positive semidefinite
) -> Tensor:  # (..., n, n), lower triangular
    """L with L Lᵀ = Q to rounding, also where states are not driven, are driven as one, or no time passes.

    The factor of Cholesky of the correlations. Where these are singular it has no algorithm, and their symmetric root R, by the
    eigenvalues that rounding left at 0 or above, has: R = L̃ᵀ of a QR decomposition is the same triangle.
    """
    sd = Q.diagonal(dim1=-2, dim2=-1).clamp(min=0.0).sqrt()
    there = sd > 0.0
    safe = torch.where(there, sd, 1.0)
    eye = torch.eye(Q.shape[-1], dtype=Q.dtype, device=Q.device)
    correlation = torch.where(there[..., None] & there[..., None, :], Q / (safe[..., :, None] * safe[..., None, :]), eye)
    L, failed = torch.linalg.cholesky_ex(correlation)
    lost = failed > 0
    if bool(lost.any()):
        values, vectors = torch.linalg.eigh(correlation)
        upper = torch.linalg.qr((vectors * values.clamp(min=0.0).sqrt()[..., None, :]).mT).R
        signs = torch.where(upper.diagonal(dim1=-2, dim2=-1) < 0.0, -1.0, 1.0)
        L = torch.where(lost[..., None, None], (upper * signs[..., :, None]).mT, L)
    return sd[..., None] * L
