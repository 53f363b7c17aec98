"""The right-hand side on the segment clock, with its parts apart."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hybrid.segments import Segments


class SemilinearField:
    """dx/dt = A x + forcing(t) + ε(t, x) on the segment clock: t = k + s means the fraction s of segment k.

    `A` (M, N, n, n) stable; `forcing(t)` (M, N, n) = B u(t) + infusions; `residual(t, x)` (M, N, n). All three are in
    state units per time; the call returns dx/ds = Δt_k · (A x + forcing + ε), which is what a solver integrates.
    Law: the call is the sum of its parts.
    """

    def __init__(
        self,
        A: Tensor,  # (M|1, N, n, n)
        B: Tensor,  # (M|1, N, n, m)
        residual: Callable[[Tensor, Tensor], Tensor] | None,
        segments: Segments,
    ) -> None:
        self.A, self.segments = A, segments
        self._residual = residual
        n = A.shape[-1]
        self._flat = A.reshape(-1, n, n) if A.ndim == 4 else None  # (M·N, n, n)
        self._dt = segments.dt[None, :, :, None].unbind(2)  # K × (1, N, 1)
        # with nothing driving it a field saves two operations in every evaluation
        driven = B.shape[-1] > 0 or bool((segments.rate != 0).any()) or segments.rate.requires_grad
        self._bend = not torch.equal(segments.u0, segments.u1)
        self._u0 = segments.u0[None].unbind(2)  # K × (1, N, m)
        self._slope = (segments.u1 - segments.u0)[None].unbind(2)
        self._f0: tuple[Tensor, ...] = ()  # K × (M|1, N, n), forcing at the beginning and its change
        self._f1: tuple[Tensor, ...] = ()
        if driven:
            self._f0 = (torch.einsum("...nij,nkj->...nki", B, segments.u0) + segments.rate).unbind(2)
            self._f1 = torch.einsum("...nij,nkj->...nki", B, segments.u1 - segments.u0).unbind(2)

    def _locate(self, t: Tensor | float) -> tuple[int, float]:
        value = float(t)
        k = min(math.floor(value), len(self._dt) - 1)
        return k, value - k

    def input(self, t: Tensor | float) -> Tensor:  # (1, N, m)
        """u(t)."""
        return self._input(*self._locate(t))

    def forcing(self, t: Tensor | float) -> Tensor:  # (M|1, N, n)
        """B u(t) plus the infusions."""
        k, s = self._locate(t)
        return self.segments.rate[None, :, k] if not self._f0 else self._forcing(k, s)

    def residual(self, t: Tensor | float, x: Tensor) -> Tensor:  # (M, N, n)
        """ε(x, u(t), c)."""
        return torch.zeros_like(x) if self._residual is None else self._residual(x, self.input(t))

    def __call__(
        self,
        t: Tensor | float,
        x: Tensor,  # (M, N, n)
    ) -> Tensor:  # (M, N, n)
        return self.within(*self._locate(t), x)

    def within(
        self,
        k: int,
        s: float | Tensor,
        x: Tensor,  # (M, N, n)
    ) -> Tensor:  # (M, N, n)
        """dx/ds in segment k at its own clock s ∈ [0, 1]: at s = 1 still this segment's inputs, not the next one's."""
        if self._flat is not None and x.shape[:2] == self.A.shape[:2]:
            # the same product with a third of the calls that a broadcasting matmul makes: there is one per stage
            rate = torch.bmm(self._flat, x.reshape(-1, x.shape[-1], 1)).view_as(x)
        else:
            rate = (self.A @ x[..., None])[..., 0]
        if self._residual is not None:
            rate = rate + self._residual(x, self._input(k, s))
        if self._f0:
            rate = rate + self._forcing(k, s)
        return self._dt[k] * rate

    def _input(self, k: int, s: float | Tensor) -> Tensor:
        return self._u0[k] + s * self._slope[k] if self._bend else self._u0[k]

    def _forcing(self, k: int, s: float | Tensor) -> Tensor:
        return self._f0[k] + s * self._f1[k] if self._bend else self._f0[k]
