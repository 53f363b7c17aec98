"""Whole long records simulated through their windows side by side: the same states and slopes, in a share of the time."""

import torch
from torch import Tensor

from hybrid import Segments, Solver
from hybrid.field import SemilinearField
from hybrid.solve.solver import Solution
from training.long_records.window import Windows, windows

_ROUNDS = 15  # of Newton's method; from the last call's joints it takes two or three


class InWindows(Solver):
    """`inner` on windows that start where their predecessors end, found by Newton's method.

    With F_w the flow of window w, the starts solve s_{w+1} = F_w(s_w). Each round simulates all windows from today's starts, side
    by side, with the slopes J_w of their ends by their starts, and takes the starts that solve the linearised chain,
    δ_{w+1} = J_w δ_w + F_w(s_w) − s_{w+1}: it squares the error of all joints, and after k rounds the first k are exact whatever
    the start. The chain is W small products one after the other; the steps of a long record are not any more. The search begins
    at `starts`, which are those of the last call, or set from outside. Where they are not found in a few rounds (a chaotic
    record, a state that is not finite), `inner` simulates the records whole.
    Derivatives: with the J_w held at the solution, the linearised chain has its first derivatives, by the implicit function
    theorem; second derivatives are not those of the solution, and nothing here asks for them.
    Law: states and gradients are those of `inner` on the whole records, to 1e-10 of a state's size (1e-4 in float32).
    Source: Chartier & Philippe, Computing 51 (1993) 209; Gander & Vandewalle, SIAM J. Sci. Comput. 29 (2007) 556: multiple
    shooting in time as a method of Newton.
    """

    def __init__(self, inner: Solver, count: int, starts: Tensor | None = None) -> None:
        self.inner, self.count, self.starts = inner, count, starts
        self._cut: tuple[Segments, Windows] | None = None

    @property
    def adaptive(self) -> bool:
        """As `inner`."""
        return self.inner.adaptive

    def solve(
        self,
        field: SemilinearField,
        x0: Tensor,  # (M, N, n)
    ) -> Solution:
        """The states at the observations, before a dose of the same time."""
        cut = self._windows(field.segments)
        if field.again is None or cut.count == 1:
            return self.inner.solve(field, x0)
        M, (N, W), n = max(len(x0), field.A.shape[0]), cut.joined.shape, x0.shape[-1]
        begun = x0.expand(M, N, n)
        found = self._joints(field, cut, begun.detach())
        if found is None:
            return self.inner.solve(field, x0)
        starts, slopes = found
        self.starts = starts
        parts = field.again(cut.segments, torch.arange(N, device=x0.device).repeat(cut.count))
        solution = self.inner.solve(parts, cut.stack(begun, starts))
        if solution.failures:
            return self.inner.solve(field, x0)
        if solution.states.requires_grad:
            ends = cut.back(solution.states)[1]  # (M, N, W+1, n)
            moved = [ends[:, :, 0]]
            for w in range(1, W):
                back = slopes[:, :, w] @ (moved[-1] - starts[:, :, w - 1])[..., None]
                moved.append(ends[:, :, w] + back[..., 0])
            chain = torch.where(cut.joined[..., None], torch.stack(moved, 2), starts)
            solution = self.inner.solve(parts, cut.stack(begun, chain))
        return Solution(cut.back(solution.states)[0])

    def _windows(self, segments: Segments) -> Windows:
        if self._cut is None or self._cut[0] is not segments:
            self._cut = (segments, windows(segments, min(self.count, segments.dt.shape[1])))
        return self._cut[1]

    def _joints(
        self,
        field: SemilinearField,
        cut: Windows,
        x0: Tensor,  # (M, N, n)
    ) -> tuple[Tensor, Tensor] | None:  # (M, N, W-1, n), (M, N, W, n, n)
        """The starts of the later windows, without gaps, and the slopes of every window's end by its start; None if not found."""
        M, N, n = x0.shape
        W = cut.count
        starts = self._guess(x0, W)
        # one copy of all windows for every state of whose end the slope is asked
        rows = torch.arange(N * W, device=x0.device).repeat(n)
        again = field.again
        if again is None:
            return None
        copies = again(cut.segments.people(rows), rows % N)
        small = 1e-10 if x0.dtype == torch.float64 else 1e-4
        for _ in range(_ROUNDS):
            with torch.enable_grad():
                begin = cut.stack(x0, starts).repeat(1, n, 1).requires_grad_()  # (M, n·W·N, n)
                run = self.inner.solve(copies, begin)
                if run.failures:
                    return None
                last = run.states[:, :, -1].reshape(M, n, W * N, n)
                asked = last.diagonal(dim1=1, dim2=3).sum()  # of copy i the state i
                (by,) = torch.autograd.grad(asked, begin)
            slopes = by.reshape(M, n, W, N, n).permute(0, 3, 2, 1, 4)  # (M, N, W, n of the end, n of the start)
            ends = last[:, 0].detach().reshape(M, W, N, n).transpose(1, 2)  # (M, N, W, n)
            gap = torch.where(cut.joined[..., None], ends[:, :, :-1] - starts, 0.0)
            if not bool(torch.isfinite(gap).all()):
                return None
            scale = ends.abs().amax(2, keepdim=True).clamp(min=1e-12)
            if bool((gap.abs() <= small * scale).all()):
                return starts, slopes
            step = [gap[:, :, 0]]
            for w in range(1, W - 1):
                step.append((slopes[:, :, w] @ step[-1][..., None])[..., 0] + gap[:, :, w])
            starts = starts + torch.where(cut.joined[..., None], torch.stack(step, 2), 0.0)
        return None

    def _guess(self, x0: Tensor, count: int) -> Tensor:  # (M, N, W-1, n)
        """The last call's starts, for copies of its people too; else the records' own."""
        M, N, n = x0.shape
        known = self.starts
        if known is not None and known.shape[2:] == (count - 1, n) and N % known.shape[1] == 0 and known.shape[0] in (1, M):
            return known.detach().to(x0).expand(M, -1, -1, -1).repeat(1, N // known.shape[1], 1, 1)
        return x0[:, :, None].expand(M, N, count - 1, n).clone()
