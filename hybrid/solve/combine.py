"""How a step puts its stages together: by numbers (Runge–Kutta) or by functions of h A (exponential methods)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid.field import SemilinearField
from hybrid.solve.pool import Tape
from hybrid.solve.tableau import Tableau, constants


@dataclass(frozen=True)
class Driving:
    """What drives the rows in step k, each with the steps in front: `h` (K, R|1, 1) lengths, `f0`, `f1` (K, Mw|1, R, n) the
    forcing and its change, `jump` (K, R, n), `u0`, `u1` (K, R, m) the residual's inputs at both ends; None where absent.
    """

    h: Tensor
    f0: Tensor | None
    f1: Tensor | None
    jump: Tensor
    u0: Tensor | None
    u1: Tensor | None


class Combination(ABC):
    """The linear algebra between the evaluations of one step, on rows (Mw, R, n), and its transpose.

    `do` runs every operation; `repeats` says whether they may be kept and run again.
    """

    do: Tape
    repeats: bool

    @abstractmethod
    def tensors(self) -> list[Tensor | None]:
        """What it is differentiable in."""

    @abstractmethod
    def held(self) -> "Combination":
        """The same on copies of its tensors, which stay and may be written anew."""

    @abstractmethod
    def begin(self, like: Tensor, stages: int, chunk: int, do: Tape) -> Tensor:  # (chunk, S, Mw, R, n)
        """Make room for rows like these, and give the place of the slopes."""

    @abstractmethod
    def renew(self) -> None:
        """Take up what was written into the tensors."""

    @abstractmethod
    def stage(self, k: int, c: int, i: int, X: Tensor, F: Tensor) -> None:
        """X_i from X_0 and the slopes before i."""

    @abstractmethod
    def finish(self, k: int, c: int, X: Tensor, F: Tensor, out: Tensor) -> None:
        """The state at the step's end."""

    @abstractmethod
    def add_linear(self, x: Tensor, out: Tensor) -> None:
        """Add A x, where the slopes hold it."""

    @abstractmethod
    def add_linear_back(self, kappa: Tensor, mu: Tensor) -> None:
        """The transpose of `add_linear`."""

    @abstractmethod
    def begin_gradients(self, needs: list[bool]) -> None:
        """Forget the gradients so far."""

    @abstractmethod
    def finish_back(self, k: int, c: int, lam: Tensor, X: Tensor, F: Tensor) -> None:
        """From the cotangent of the end to those of the slopes and, in `lam`, of X_0."""

    @abstractmethod
    def kappa(self, k: int, i: int, extra: Tensor | None, out: Tensor) -> None:
        """The whole cotangent of slope i, `extra` of it from outside the step."""

    @abstractmethod
    def stage_back(self, k: int, c: int, i: int, mu: Tensor, X: Tensor, F: Tensor, lam: Tensor) -> None:
        """Hand the cotangent of X_i on to the slopes before it and to `lam`."""

    @abstractmethod
    def collect(self, k: int, X: Tensor, F: Tensor, kappa: Tensor, gh: Tensor | None) -> None:
        """Add this step's gradients, that of h to `gh`."""

    @abstractmethod
    def gradients(self) -> list[Tensor | None]:
        """In the order of `tensors`."""

    @abstractmethod
    def state(self, own: Sequence[Tensor | None], h: Tensor, k: int, i: int, x: Tensor, f: Sequence[Tensor]) -> Tensor:
        """`stage` i (−1: `finish`) of step k, of length h, in ordinary operations on `own`, which stand for the `tensors`."""

    @abstractmethod
    def plus_linear(self, own: Sequence[Tensor | None], x: Tensor, value: Tensor) -> Tensor:
        """`add_linear`, in the same way."""


@dataclass(frozen=True)
class Polynomials:
    """The scheme of an explicit Runge–Kutta method."""

    tableau: Tableau
    name: str  # of the method, to speak of it

    def closing(self, dense: bool) -> bool:
        """Is the slope at the step's end a stage? Only who reads inside the steps needs it."""
        return dense and self.tableau.closing

    def stages(self, dense: bool) -> int:
        """How many slopes a step has."""
        return len(self.times(dense))

    def times(self, dense: bool) -> tuple[float, ...]:
        """Where in the step they are taken."""
        return self.tableau.c[:-1] if self.tableau.closing and not dense else self.tableau.c

    def bind(self, field: SemilinearField, M: int, Mw: int, R: int) -> "Combination":
        """The combination for the rows of this field."""
        n, A = field.A.shape[-1], field.A
        rows = A[:1, :1].reshape(1, n, n) if field.shared else A.expand(M, -1, n, n).reshape(-1, n, n)
        h = field.segments.dt.T[:, :, None]
        if field.segments.one_length:
            h = h[:, :1]
        elif Mw != M:
            h = h.repeat(1, M, 1)
        return _Numbers(self.tableau, rows, h)


class _Numbers(Combination):
    """X_i = x + h Σ_j a_ij f_j with f = A x + ε + forcing."""

    def __init__(self, tableau: Tableau, A: Tensor, h: Tensor) -> None:
        self.tableau, self.A, self.h = tableau, A, h.detach()
        self.repeats = True

    def held(self) -> Combination:
        return _Numbers(self.tableau, self.A.detach().clone(memory_format=torch.contiguous_format), self.h.clone())

    def tensors(self) -> list[Tensor | None]:
        return [self.A]

    def begin(self, like: Tensor, stages: int, chunk: int, do: Tape) -> Tensor:
        self.do = do
        t, S = self.tableau, stages
        self.Mw, self.R, self.n = like.shape
        self.total = like.numel()
        full = constants((*(r[:S] for r in t.a), t.b[:S]), like.dtype, like.device)
        self.weigh = [full[i, :i] for i in range(S)] + [full[-1]]
        self.one = self.h.shape[1] == 1
        # with one length for all the length is in the coefficients already
        self.scaled = [[row * step for row in self.weigh] for step in self.h[:, 0, 0].unbind(0)] if self.one else []
        self.tmp = like.new_empty(like.shape)
        self.up = like.new_empty(S, *like.shape)  # cotangents of h f
        self.A_rows = self.A.detach().contiguous()
        self.AT = self.A_rows.mT
        self.shared = self.A.shape[0] == 1
        return like.new_empty(chunk, S, *like.shape)

    def renew(self) -> None:
        if self.A_rows is not self.A:
            self.A_rows.copy_(self.A.detach())

    def _advance(self, k: int, row: int, count: int, X: Tensor, F: Tensor, out: Tensor) -> None:
        slopes = F[:count].view(count, -1).T
        if self.one:
            self.do(torch.addmv, X[0].view(-1), slopes, self.scaled[k][row], out=out.view(-1))
            return
        self.do(torch.mv, slopes, self.weigh[row], out=self.tmp.view(-1))
        self.do(torch.addcmul, X[0], self.tmp, self.h[k], out=out)

    def stage(self, k: int, c: int, i: int, X: Tensor, F: Tensor) -> None:
        self._advance(k, i, i, X, F, X[i])

    def finish(self, k: int, c: int, X: Tensor, F: Tensor, out: Tensor) -> None:
        self._advance(k, -1, F.shape[0], X, F, out)

    def add_linear(self, x: Tensor, out: Tensor) -> None:
        if self.shared:
            self.do(out.view(-1, self.n).addmm_, x.view(-1, self.n), self.AT[0])
        else:
            self.do(out.view(-1, 1, self.n).baddbmm_, x.view(-1, 1, self.n), self.AT)

    def add_linear_back(self, kappa: Tensor, mu: Tensor) -> None:
        if self.shared:
            self.do(mu.view(-1, self.n).addmm_, kappa.view(-1, self.n), self.A_rows[0])
        else:
            self.do(mu.view(-1, 1, self.n).baddbmm_, kappa.view(-1, 1, self.n), self.A_rows)

    def begin_gradients(self, needs: list[bool]) -> None:
        self.gA = torch.zeros_like(self.A_rows) if needs[0] else None
        if self.gA is not None:
            self.do(self.gA.zero_)

    def finish_back(self, k: int, c: int, lam: Tensor, X: Tensor, F: Tensor) -> None:
        S = F.shape[0]
        self.do(torch.mul, self.weigh[-1].view(S, 1), lam.view(1, -1), out=self.up.view(S, -1))

    def kappa(self, k: int, i: int, extra: Tensor | None, out: Tensor) -> None:
        if extra is None:
            self.do(torch.mul, self.up[i], self.h[k], out=out)
        else:
            self.do(torch.addcmul, extra, self.up[i], self.h[k], out=out)

    def stage_back(self, k: int, c: int, i: int, mu: Tensor, X: Tensor, F: Tensor, lam: Tensor) -> None:
        self.do(lam.add_, mu)
        self.do(self.up[:i].view(i, -1).addr_, self.weigh[i], mu.view(-1))

    def collect(self, k: int, X: Tensor, F: Tensor, kappa: Tensor, gh: Tensor | None) -> None:
        if gh is not None:
            gh[k] += (self.up * F).sum((0, 1, 3))[:, None]
        if self.gA is None:
            return
        S = kappa.shape[0]
        rows = kappa.reshape(S, -1, self.n), X.reshape(S, -1, self.n)
        if self.shared:
            self.do(self.gA[0].addmm_, rows[0].reshape(-1, self.n).T, rows[1].reshape(-1, self.n))
        else:
            self.do(self.gA.baddbmm_, rows[0].permute(1, 2, 0), rows[1].transpose(0, 1))

    def gradients(self) -> list[Tensor | None]:
        return [self.gA]

    def state(self, own: Sequence[Tensor | None], h: Tensor, k: int, i: int, x: Tensor, f: Sequence[Tensor]) -> Tensor:
        row = self.tableau.b if i < 0 else self.tableau.a[i]
        return x + h * sum((b * g for b, g in zip(row, f, strict=False) if b), torch.zeros_like(x))

    def plus_linear(self, own: Sequence[Tensor | None], x: Tensor, value: Tensor) -> Tensor:
        (A,) = own
        assert A is not None
        if len(A) == 1:
            return value + x @ A[0].mT
        return value + (A.unflatten(0, x.shape[:2]) @ x[..., None])[..., 0]
