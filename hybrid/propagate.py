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
from hybrid.transition_root import noise_root as noise_root
from hybrid.transition_root import transition_root as transition_root
from physics.arguments import quote, require_kind, require_shape

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
    Arguments: `field`, what moves the state (`Moves`); `x` and `S`, of the same M members, or one of them for all.
    Errors: `ValueError` for arrays of other people, states, types or devices than the interval's, and arrays that are no tensors.
    Source: Jazwinski, Stochastic Processes and Filtering Theory (1970) § 9; Van Loan, IEEE Trans. Autom. Control 23 (1978) 395.
    """
    _require_state(field, x, S, interval)
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
    Errors: `ValueError` for what are not two tensors of square matrices of one size, type and device.
    """
    _require_square(J, "transition: J")
    _require_square(D, "transition: D", J)
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
    Errors: `ValueError` for what is no tensor of square matrices, and a covariance that is not finite beside finite variances.
    """
    _require_square(Q, "root: Q")
    variances = Q.diagonal(dim1=-2, dim2=-1)  # rounding may leave one below 0
    sd = torch.where(variances == -torch.inf, torch.nan, variances.clamp(min=0.0)).sqrt()
    there = sd > 0.0
    safe = torch.where(there, sd, 1.0)
    eye = torch.eye(Q.shape[-1], dtype=Q.dtype, device=Q.device)
    correlation = torch.where(there[..., None] & there[..., None, :], Q / (safe[..., :, None] * safe[..., None, :]), eye)
    L, failed = torch.linalg.cholesky_ex(correlation)
    lost = failed > 0
    if bool(lost.any()):
        if not bool(torch.isfinite(correlation).all()):
            raise ValueError("root: Q holds NaN or infinity off its diagonal, and no covariance does; give finite numbers")
        values, vectors = torch.linalg.eigh(correlation)
        upper = torch.linalg.qr((vectors * values.clamp(min=0.0).sqrt()[..., None, :]).mT).R
        signs = torch.where(upper.diagonal(dim1=-2, dim2=-1) < 0.0, -1.0, 1.0)
        L = torch.where(lost[..., None, None], (upper * signs[..., :, None]).mT, L)
    return sd[..., None] * L


def _require_state(field: object, x: Tensor, S: Tensor, interval: Interval) -> None:
    """Raise `ValueError` unless x and S are those of the interval's people, and the field moves them."""
    lacks = [name for name in ("flow", "slope", "intensity") if not callable(getattr(field, name, None))]
    if lacks or isinstance(field, type):
        raise ValueError(
            f"propagate: field has the methods flow(x, interval), slope(x, u) and intensity(x), and is {quote(field)}; write a "
            "class with the three, and give an object of it"
        )
    require_kind(interval, Interval, "propagate: interval", "Interval.of(dt, states)")
    N, n = interval.jump.shape
    require_shape(x, "propagate: x", "M", N, n, write="torch.zeros(M, N, n)", like=interval.dt)
    require_shape(S, "propagate: S", "M", N, n, n, write="torch.zeros(M, N, n, n)", like=interval.dt)
    for what, value in (("x", x), ("S", S)):
        if value.dtype != interval.dt.dtype:
            raise ValueError(
                f"propagate: the interval is {interval.dt.dtype} and {what} {value.dtype}; write {what}.to(interval.dt)"
            )
    if not len(x) or not len(S) or (len(x) != len(S) and 1 not in (len(x), len(S))):
        raise ValueError(f"propagate: x is of {len(x)} members and S of {len(S)}; give both of as many, or one of them for all")


def _require_square(value: object, what: str, beside: Tensor | None = None) -> None:
    """Raise `ValueError` unless the value holds square matrices, of the size and type of those `beside` it and broadcasting."""
    n = "n" if beside is None else beside.shape[-1]
    require_shape(value, what, ..., n, n, write="a tensor of square matrices, torch.as_tensor(…)", like=beside)
    if not isinstance(value, Tensor) or value.shape[-1] != value.shape[-2]:
        seen = tuple(getattr(value, "shape", ()))
        raise ValueError(f"{what} holds square matrices, and has the shape {seen}; give (..., n, n)")
    if beside is None:
        return
    if value.dtype != beside.dtype:
        raise ValueError(f"{what} is {value.dtype} and the matrices before it {beside.dtype}; give both of one type")
    pairs = zip(value.shape[-3::-1], beside.shape[-3::-1], strict=False)
    if not all(a == b or 1 in (a, b) for a, b in pairs):
        raise ValueError(
            f"{what} has the shape {tuple(value.shape)} and the matrices before it {tuple(beside.shape)}; give as many of both"
        )
