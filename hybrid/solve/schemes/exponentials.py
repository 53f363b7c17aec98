"""How an exponential step puts its stages together: by functions of h A, exact for the linear part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid.derivative import varies
from hybrid.field import SemilinearField
from hybrid.solve.pool import Tape
from hybrid.solve.schemes.exponential_matrices import free_ends, own_ends, reading_matrices, stage_matrices
from hybrid.solve.schemes.exponential_trials import ExponentialTrials
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
    rows,
)


@dataclass(frozen=True)
class Exponentials(Scheme):
    """The scheme of the exponential Runge–Kutta method of Krogstad (J. Comput. Phys. 203 (2005) 72), four stages.

    With z = h A and g = ε + forcing:
    X_2 = e^{z/2} x + ½φ₁(z/2) h g_1, X_3 = e^{z/2} x + [½φ₁ − φ₂](z/2) h g_1 + φ₂(z/2) h g_2,
    X_4 = e^z x + [φ₁ − 2φ₂](z) h g_1 + 2φ₂(z) h g_3, and for θ ≤ 1
    x(t + θh) = e^{θz} x + h [θφ₁ − 3θ²φ₂ + 4θ³φ₃] g_1 + h [2θ²φ₂ − 4θ³φ₃] (g_2 + g_3) + h [−θ²φ₂ + 4θ³φ₃] g_4 at θz:
    the exact solution for a g that is quadratic in time through g_1, (g_2 + g_3)/2 and g_4.
    """

    def combination(self, field: SemilinearField, M: int, Mw: int, R: int) -> Combination:
        matrices, index = stage_matrices(field, M)
        together = index is not None and index.ndim == 1
        return _Matrices(matrices, index, field.segments.which if together else None)

    def steps(self, field: SemilinearField, M: int, *, dense: bool, compiled: bool) -> Step:
        if field.learned is None and field.unsplit is None and field.forced is None:
            free = free_ends(field, M)
            if free is not None:
                return self._free(free)
        varied = varies(field.A) or varies(field.segments.dt)
        end = own_ends(field, M) if field.learned is None and field.unsplit is None and not varied else None
        if end is not None:
            return self._exact(field, end)
        C, index = stage_matrices(field, M)

        def step(k: int, x: Tensor) -> tuple[Tensor, Tensor]:
            M, N, n = x.shape
            v, stage = x, x
            g: list[Tensor] = []
            for i, c in enumerate(self.c):
                g.append(field.nonlinear(k, c, stage))
                v = torch.cat([v, g[-1]], -1)
                matrix = (C[i][k * M * N : (k + 1) * M * N] if index is None else C[i][index[k]]).to(x.dtype)
                stage = v @ matrix if matrix.ndim == 2 else (v[..., None, :] @ matrix.reshape(M, N, -1, n))[..., 0, :]
            return stage, torch.stack(g)

        return step

    def _free(self, end: Callable[[int], Tensor]) -> Step:
        """Where nothing drives and nothing is learned x(t + h) = e^{hA} x, and every slope is 0."""

        def step(k: int, x: Tensor) -> tuple[Tensor, Tensor]:
            nothing = x.new_zeros(()).expand(len(self.c), *x.shape)
            return (x[..., None, :] @ end(k).to(x.dtype))[..., 0, :], nothing

        return step

    def _exact(self, field: SemilinearField, end: Callable[[int], Tensor]) -> Step:
        """Without a residual the slopes are the forcing, whatever the stages."""

        def step(k: int, x: Tensor) -> tuple[Tensor, Tensor]:
            M, N, n = x.shape
            g = [field.nonlinear(k, c, x) for c in self.c]
            matrix = end(k).to(x.dtype)
            v = torch.cat([x, *g], -1)
            return (v[..., None, :] @ matrix.reshape(M, N, -1, n))[..., 0, :], torch.stack(g)

        return step

    def trials(self, field: SemilinearField) -> Trials:
        return ExponentialTrials(field)

    def read(self, field: SemilinearField, inside: Inside) -> Tensor:
        x = inside.pick(inside.after)
        segment, s = inside.segment, field.segments
        matrices = reading_matrices(field, x.shape[1]).to(x.dtype)  # (N|1, T, M|1, (S+1)·n, n)
        together = matrices.shape[0] == matrices.shape[2] == 1
        K, T = inside.after.shape[0], segment.shape[1]
        if together and K * s.slots[1] <= 4 * T:
            # one product a segment with all that is read in it, and nothing gathered
            slot, most = s.slots
            width, n = matrices.shape[-2:]
            beside = matrices.new_zeros(K, most, width, n).index_put((segment[0], slot), matrices[0, :, 0])
            v = rows(inside.after, inside.slopes).flatten(1, 2)  # (K, M·N, (S+1)·n)
            read = torch.bmm(v, beside.transpose(1, 2).flatten(2)).unflatten(2, (most, n))
            return read[segment[0], :, slot].view_as(x)
        v = rows(x, inside.pick(inside.slopes))
        if together:
            return torch.bmm(v.flatten(1, 2), matrices[0, :, 0]).view_as(x)
        return (v[..., None, :] @ matrices.permute(1, 2, 0, 3, 4))[..., 0, :]


KROGSTAD = Exponentials("Exponential without rtol", (0.0, 0.5, 0.5, 1.0), False, 3, True)


class _Matrices(Combination):
    """X_i = [x, g_1 … g_{i-1}] C_i with g = ε + forcing."""

    def __init__(self, matrices: list[Tensor], index: Tensor | None, where: list[int] | None) -> None:
        # `where`: one matrix a step for everyone; `index`: which one each row has; neither: the rows' own, step by step
        self.given, self.index, self.where = matrices, index, where
        self.repeats = index is None or where is not None  # nothing is gathered on the way

    def held(self) -> Combination:
        return _Matrices([m.detach().clone() for m in self.given], self.index, self.where)

    def tensors(self) -> list[Tensor | None]:
        return list(self.given)

    def room(self, like: Tensor, stages: int, chunk: int, do: Tape) -> Room:
        there = _There(self, like, stages, chunk, do)
        # the slopes are written where they are multiplied
        slopes = there.v.view(chunk, there.Mw, there.R, stages + 1, there.n)[..., 1:, :].movedim(3, 1)
        gathers = _MatricesGathers(there)
        return Room(slopes, _MatricesForwards(there), _MatricesBackwards(there, gathers), gathers)

    def ordinary(self, own: Sequence[Tensor | None]) -> Ordinary:
        return _MatricesOrdinary(own, self.index, self.where)


class _There:
    """What all three ways share: the matrices, and the rows [x, g_1 … g_S] that they multiply, with their cotangents."""

    def __init__(self, given: _Matrices, like: Tensor, stages: int, chunk: int, do: Tape) -> None:
        self.do, self.given, self.index, self.where = do, given.given, given.index, given.where
        self.Mw, self.R, self.n = like.shape
        self.C = [m.detach().to(like.dtype) for m in self.given]
        self.v = like.new_empty(chunk, self.Mw * self.R, (stages + 1) * self.n)
        self.gv = like.new_empty(self.Mw * self.R, (stages + 1) * self.n)

    def matrix(self, k: int, i: int) -> Tensor:
        """C of stage i (the last: of the end) in step k: one (·, n), or one for every row."""
        return self.of(self.C[i], k)

    def of(self, whole: Tensor, k: int) -> Tensor:
        """What of one number a step, or a row, is step k's."""
        if self.where is not None:
            return whole[self.where[k]]
        if self.index is not None:
            return whole[self.index[k]]
        rows = self.Mw * self.R
        return whole[k * rows : (k + 1) * rows]


class _MatricesForwards(Forwards):
    def __init__(self, there: _There) -> None:
        self.there, self.do = there, there.do

    def renew(self) -> None:
        for mine, new in zip(self.there.C, self.there.given, strict=True):
            mine.copy_(new.detach())

    def _row(self, c: int, i: int, X: Tensor) -> Tensor:
        """[x, g_1 … g_i] of every row."""
        n, v = self.there.n, self.there.v[c]
        if i == 1:
            self.do(v[:, :n].copy_, X[0].view(-1, n))
        return v[:, : (i + 1) * n]

    def _apply(self, v: Tensor, C: Tensor, out: Tensor) -> None:
        if self.there.where is not None:
            self.do(torch.mm, v, C, out=out.view(-1, self.there.n))
        else:
            self.do(torch.bmm, v[:, None], C, out=out.view(-1, 1, self.there.n))

    def stage(self, k: int, c: int, i: int, X: Tensor, F: Tensor) -> None:
        self._apply(self._row(c, i, X), self.there.matrix(k, i - 1), X[i])

    def finish(self, k: int, c: int, X: Tensor, F: Tensor, out: Tensor) -> None:
        self._apply(self._row(c, F.shape[0], X), self.there.matrix(k, -1), out)

    def add_linear(self, x: Tensor, out: Tensor) -> None:
        return None


class _MatricesGathers(Gathers):
    def __init__(self, there: _There) -> None:
        self.there, self.do = there, there.do

    def begin(self, needs: list[bool]) -> None:
        self.g = [torch.zeros_like(m) if need else None for m, need in zip(self.there.C, needs, strict=True)]
        for total in self.g:
            if total is not None:
                self.do(total.zero_)

    def add(self, k: int, i: int, v: Tensor, g: Tensor) -> None:
        """The gradient of C of stage i from the rows that it multiplied and their cotangents."""
        t, total = self.there, self.g[i]
        if total is None:
            return
        if t.where is not None:
            self.do(total[t.where[k]].addmm_, v.T, g)
        elif t.index is not None:
            total.index_add_(0, t.index[k], v[:, :, None] * g[:, None, :])
        else:
            self.do(torch.mul, v[:, :, None], g[:, None, :], out=t.of(total, k))

    def collect(self, k: int, X: Tensor, F: Tensor, kappa: Tensor, gh: Tensor | None) -> None:
        return None  # on the way back, where the rows still stand

    def gradients(self) -> list[Tensor | None]:
        return [None if g is None else g.to(m.dtype) for g, m in zip(self.g, self.there.given, strict=True)]


class _MatricesBackwards(Backwards):
    def __init__(self, there: _There, gathers: _MatricesGathers) -> None:
        self.there, self.gathers, self.do = there, gathers, there.do
        self.back = torch.empty_like(there.gv)

    def _transposed(self, g: Tensor, C: Tensor, out: Tensor) -> None:
        if self.there.where is not None:
            self.do(torch.mm, g, C.T, out=out)
        else:
            self.do(torch.bmm, g[:, None], C.mT, out=out[:, None])

    def finish(self, k: int, c: int, lam: Tensor) -> None:
        t = self.there
        flat = lam.view(-1, t.n)
        self.gathers.add(k, -1, t.v[c], flat)
        self._transposed(flat, t.matrix(k, -1), t.gv)
        self.do(lam.copy_, t.gv[:, : t.n].unflatten(0, lam.shape[:2]))

    def kappa(self, k: int, i: int, extra: Tensor | None, out: Tensor) -> None:
        t = self.there
        mine = t.gv[:, (i + 1) * t.n : (i + 2) * t.n].unflatten(0, out.shape[:2])
        if extra is None:
            self.do(out.copy_, mine)
        else:
            self.do(torch.add, mine, extra, out=out)

    def stage(self, k: int, c: int, i: int, mu: Tensor, lam: Tensor) -> None:
        t = self.there
        n, flat = t.n, mu.view(-1, t.n)
        width = (i + 1) * n
        self.gathers.add(k, i - 1, t.v[c][:, :width], flat)
        back = self.back[:, :width]
        self._transposed(flat, t.matrix(k, i - 1), back)
        self.do(t.gv[:, n:width].add_, back[:, n:])
        self.do(lam.add_, back[:, :n].unflatten(0, lam.shape[:2]))

    def add_linear(self, kappa: Tensor, mu: Tensor) -> None:
        return None


class _MatricesOrdinary(Ordinary):
    def __init__(self, own: Sequence[Tensor | None], index: Tensor | None, where: list[int] | None) -> None:
        self.own, self.index, self.where = own, index, where

    def state(self, h: Tensor, k: int, i: int, x: Tensor, f: Sequence[Tensor]) -> Tensor:
        whole = self.own[-1 if i < 0 else i - 1]
        assert whole is not None
        v = torch.cat([x, *f], -1)
        if self.where is not None:
            return v @ whole[self.where[k]].to(x.dtype)
        count = x.shape[0] * x.shape[1]
        C = whole[self.index[k]] if self.index is not None else whole[k * count : (k + 1) * count]
        return (v[..., None, :] @ C.to(x.dtype).unflatten(0, x.shape[:2]))[..., 0, :]

    def plus_linear(self, x: Tensor, value: Tensor) -> Tensor:
        return value
