"""How a step of an explicit Runge–Kutta method puts its stages together: by numbers."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from hybrid.field import SemilinearField, rate_in
from hybrid.solve.pool import Tape
from hybrid.solve.schemes.scheme import (
    Backwards,
    Combination,
    Forwards,
    Gathers,
    Inside,
    Ordinary,
    Room,
    Scheme,
    Step,
    Trials,
)
from hybrid.solve.schemes.tableau import TABLEAUS, Tableau, constants
from learned.residual import Bound

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Polynomials(Scheme):
    """X_i = x + h Σ_j a_ij f_j with f = A x + ε + forcing."""

    tableau: Tableau

    @staticmethod
    def of(method: str) -> "Polynomials":
        """A method of `TABLEAUS`."""
        t = TABLEAUS[method]
        return Polynomials(method, t.c, t.closing, t.error_order, False, t)

    def combination(self, field: SemilinearField, M: int, Mw: int, R: int) -> Combination:
        n, A, N = field.A.shape[-1], field.A, field.segments.dt.shape[0]
        rows: Tensor | None = A[:1, :1].reshape(1, n, n) if field.shared else A.expand(M, N, n, n).reshape(-1, n, n)
        if field.tape is not None:
            rows = None  # its rates hold all that is linear
        h = field.segments.dt.T[:, :, None]
        if field.segments.one_length:
            h = h[:, :1]
        elif Mw != M:
            h = h.repeat(1, M, 1)
        return _Numbers(self.tableau, rows, h)

    def steps(self, field: SemilinearField, M: int, *, dense: bool, compiled: bool) -> Step:
        alone = field.learned if compiled and isinstance(field.learned, Bound) else None

        def step(k: int, x: Tensor) -> tuple[Tensor, Tensor]:
            h = field.segments.dt[None, :, k, None]
            if alone is not None:
                return _compiled(self, dense)(alone.residual, alone.c, field.A, x, h, *field.driving(k))
            return _stages(self, dense, lambda c, stage: field.rate(k, c, stage), x, h)

        return step

    def trials(self, field: SemilinearField) -> Trials:
        return _Trials(self.tableau, field)

    def read(self, field: SemilinearField, inside: Inside) -> Tensor:
        x = inside.pick(inside.after)
        dense = constants(self.tableau.dense, x.dtype, x.device)  # (S, P)
        powers = inside.fraction[..., None] ** torch.arange(1, dense.shape[1] + 1, device=x.device)  # (N|1, T, P)
        weights = inside.length[..., None] * (powers @ dense.T)  # (N|1, T, S)
        if not inside.alike:
            return x + torch.einsum("its,tsmin->tmin", weights, inside.pick(inside.slopes))
        T, S = weights.shape[1:]
        K = inside.slopes.shape[0]
        if T * K * S <= 200_000:
            # one product with all slopes costs less than picking the few that each reading needs
            place = (torch.arange(T, device=x.device), inside.segment[0])
            whole = weights.new_zeros(T, K, S).index_put(place, weights[0])
            return torch.addmm(x.flatten(1), whole.flatten(1), inside.slopes.flatten(0, 1).flatten(1)).view_as(x)
        f = inside.pick(inside.slopes)
        return torch.baddbmm(x.flatten(1)[:, None], weights[0][:, None], f.flatten(2)).view_as(x)


class _Numbers(Combination):
    """On rows with A (Mw·R, n, n), one for all, or none, and lengths h."""

    def __init__(self, tableau: Tableau, A: Tensor | None, h: Tensor) -> None:
        self.tableau, self.A, self.h = tableau, A, h.detach()
        self.repeats = True

    def held(self) -> Combination:
        A = None if self.A is None else self.A.detach().clone(memory_format=torch.contiguous_format)
        return _Numbers(self.tableau, A, self.h.clone())

    def tensors(self) -> list[Tensor | None]:
        return [self.A]

    def room(self, like: Tensor, stages: int, chunk: int, do: Tape) -> Room:
        there = _There(self, like, stages, do)
        slopes = like.new_empty(chunk, stages, *like.shape)
        return Room(slopes, _NumbersForwards(there), _NumbersBackwards(there), _NumbersGathers(there))

    def ordinary(self, own: Sequence[Tensor | None]) -> Ordinary:
        (A,) = own
        return _NumbersOrdinary(self.tableau, A)


class _There:
    """What all three ways share: the numbers, the lengths, A and the cotangents of h f."""

    def __init__(self, numbers: _Numbers, like: Tensor, stages: int, do: Tape) -> None:
        self.do, self.A, self.h = do, numbers.A, numbers.h
        t, S = numbers.tableau, stages
        self.n = like.shape[-1]
        full = constants((*(r[:S] for r in t.a), t.b[:S]), like.dtype, like.device)
        self.weigh = [full[i, :i] for i in range(S)] + [full[-1]]
        self.one = self.h.shape[1] == 1
        # with one length for all the length is in the coefficients already
        self.scaled = [[row * step for row in self.weigh] for step in self.h[:, 0, 0].unbind(0)] if self.one else []
        self.tmp = like.new_empty(like.shape)
        self.up = like.new_empty(S, *like.shape)  # cotangents of h f
        self.A_rows = None if self.A is None else self.A.detach().contiguous()
        self.shared = self.A is not None and self.A.shape[0] == 1


class _NumbersForwards(Forwards):
    def __init__(self, there: _There) -> None:
        self.there, self.do = there, there.do

    def renew(self) -> None:
        t = self.there
        if t.A_rows is not None and t.A is not None and t.A_rows is not t.A:
            t.A_rows.copy_(t.A.detach())

    def _advance(self, k: int, row: int, count: int, X: Tensor, F: Tensor, out: Tensor) -> None:
        t = self.there
        slopes = F[:count].view(count, -1).T
        if t.one:
            self.do(torch.addmv, X[0].view(-1), slopes, t.scaled[k][row], out=out.view(-1))
            return
        self.do(torch.mv, slopes, t.weigh[row], out=t.tmp.view(-1))
        self.do(torch.addcmul, X[0], t.tmp, t.h[k], out=out)

    def stage(self, k: int, c: int, i: int, X: Tensor, F: Tensor) -> None:
        self._advance(k, i, i, X, F, X[i])

    def finish(self, k: int, c: int, X: Tensor, F: Tensor, out: Tensor) -> None:
        self._advance(k, -1, F.shape[0], X, F, out)

    def add_linear(self, x: Tensor, out: Tensor) -> None:
        t = self.there
        if t.A_rows is None:
            return
        if t.shared:
            self.do(out.view(-1, t.n).addmm_, x.view(-1, t.n), t.A_rows.mT[0])
        else:
            self.do(out.view(-1, 1, t.n).baddbmm_, x.view(-1, 1, t.n), t.A_rows.mT)


class _NumbersBackwards(Backwards):
    def __init__(self, there: _There) -> None:
        self.there, self.do = there, there.do

    def finish(self, k: int, c: int, lam: Tensor) -> None:
        t = self.there
        S = t.up.shape[0]
        self.do(torch.mul, t.weigh[-1].view(S, 1), lam.view(1, -1), out=t.up.view(S, -1))

    def kappa(self, k: int, i: int, extra: Tensor | None, out: Tensor) -> None:
        t = self.there
        if extra is None:
            self.do(torch.mul, t.up[i], t.h[k], out=out)
        else:
            self.do(torch.addcmul, extra, t.up[i], t.h[k], out=out)

    def stage(self, k: int, c: int, i: int, mu: Tensor, lam: Tensor) -> None:
        t = self.there
        self.do(lam.add_, mu)
        self.do(t.up[:i].view(i, -1).addr_, t.weigh[i], mu.view(-1))

    def add_linear(self, kappa: Tensor, mu: Tensor) -> None:
        t = self.there
        if t.A_rows is None:
            return
        if t.shared:
            self.do(mu.view(-1, t.n).addmm_, kappa.view(-1, t.n), t.A_rows[0])
        else:
            self.do(mu.view(-1, 1, t.n).baddbmm_, kappa.view(-1, 1, t.n), t.A_rows)


class _NumbersGathers(Gathers):
    def __init__(self, there: _There) -> None:
        self.there, self.do = there, there.do

    def begin(self, needs: list[bool]) -> None:
        A = self.there.A_rows
        self.gA = None if A is None or not needs[0] else torch.zeros_like(A)
        if self.gA is not None:
            self.do(self.gA.zero_)

    def collect(self, k: int, X: Tensor, F: Tensor, kappa: Tensor, gh: Tensor | None) -> None:
        t = self.there
        if gh is not None:
            gh[k] += (t.up * F).sum((0, 1, 3))[:, None]
        if self.gA is None:
            return
        S = kappa.shape[0]
        rows = kappa.reshape(S, -1, t.n), X.reshape(S, -1, t.n)
        if t.shared:
            self.do(self.gA[0].addmm_, rows[0].reshape(-1, t.n).T, rows[1].reshape(-1, t.n))
        else:
            self.do(self.gA.baddbmm_, rows[0].permute(1, 2, 0), rows[1].transpose(0, 1))

    def gradients(self) -> list[Tensor | None]:
        return [self.gA]


class _NumbersOrdinary(Ordinary):
    def __init__(self, tableau: Tableau, A: Tensor | None) -> None:
        self.tableau, self.A = tableau, A

    def state(self, h: Tensor, k: int, i: int, x: Tensor, f: Sequence[Tensor]) -> Tensor:
        row = self.tableau.b if i < 0 else self.tableau.a[i]
        return x + h * sum((b * g for b, g in zip(row, f, strict=False) if b), torch.zeros_like(x))

    def plus_linear(self, x: Tensor, value: Tensor) -> Tensor:
        if self.A is None:
            return value
        if len(self.A) == 1:
            return value + x @ self.A[0].mT
        return value + (self.A.unflatten(0, x.shape[:2]) @ x[..., None])[..., 0]


class _Trials(Trials):
    def __init__(self, tableau: Tableau, field: SemilinearField) -> None:
        self.tableau, self.field = tableau, field

    def step(
        self, index: Tensor, begin: Tensor, delta: Tensor, x: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        t, field, stage, rate = self.tableau, self.field, x, rate_in(self.field, index)
        h = (delta * field.segments.dt[torch.arange(len(index), device=x.device), index])[None, :, None]
        f: list[Tensor] = []
        for c, row in zip(t.c, t.a, strict=True):
            if row:
                stage = x + h * torch.tensordot(constants((row,), x.dtype, x.device)[0], torch.stack(f), 1)
            f.append(rate(begin + c * delta, stage))
        slopes = torch.stack(f)
        error = h * torch.tensordot(constants((t.error,), x.dtype, x.device)[0], slopes, 1)
        if t.closing:
            return stage, error
        return x + h * torch.tensordot(constants((t.b,), x.dtype, x.device)[0], slopes, 1), error


def _stages(
    scheme: Polynomials, dense: bool, rate: Callable[[float, Tensor], Tensor], x: Tensor, h: Tensor
) -> tuple[Tensor, Tensor]:
    """The state at the step's end, and the slopes (S, M, N, n)."""
    t = scheme.tableau
    f: list[Tensor] = []
    for c, row in zip(scheme.times(dense), t.a, strict=False):
        stage = x + h * sum((a * g for a, g in zip(row, f, strict=True) if a), torch.zeros_like(x)) if row else x
        f.append(rate(c, stage))
    return x + h * sum((b * g for b, g in zip(t.b, f, strict=False) if b), torch.zeros_like(x)), torch.stack(f)


@lru_cache(maxsize=16)
def _compiled(scheme: Polynomials, dense: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    """One step as a function of tensors alone, compiled at its first call for every shape."""

    def step(
        residual: Callable[[Tensor, Tensor, Tensor], Tensor],
        c: Tensor,
        A: Tensor,
        x: Tensor,
        h: Tensor,
        u0: Tensor,
        du: Tensor,
        f0: Tensor | None,
        f1: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        def rate(s: float, stage: Tensor) -> Tensor:
            value = (A @ stage[..., None])[..., 0] + residual(stage, u0 + s * du, c)
            return value if f0 is None or f1 is None else value + f0 + s * f1

        return _stages(scheme, dense, rate, x, h)

    fast: Callable[..., Any] | None = None
    broken = False

    def guarded(*arguments: Any) -> tuple[Tensor, Tensor]:
        nonlocal fast, broken
        if not broken:
            try:
                fast = fast or torch.compile(step, dynamic=False)
                result: tuple[Tensor, Tensor] = fast(*arguments)
                return result
            except Exception as error:  # a compiler that is missing or fails says so in many ways
                broken = True
                first = (str(error) or type(error).__name__).splitlines()[0]
                _LOG.warning("steps run operation by operation: torch.compile failed with %s", first)
        return step(*arguments)

    return guarded
