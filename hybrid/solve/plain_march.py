"""The steps of `march` in ordinary tensor operations: for residuals without layers, and to check the other one."""

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hybrid.derivative import once, transforming
from hybrid.field import SemilinearField
from hybrid.solve.combine import Polynomials
from hybrid.solve.exponentials import Exponentials, stage_matrices
from hybrid.solve.march import March
from learned.residual import Bound

_LOG = logging.getLogger(__name__)


def plain_march(
    field: SemilinearField,
    x0: Tensor,  # (M, N, n)
    scheme: Polynomials | Exponentials,
    *,
    dense: bool,
    chunk: int | None = None,
    compiled: bool = False,
) -> March:
    """As `march`, by automatic differentiation; with `chunk`, as many steps at a time are kept (Chen et al. 2016).

    `compiled`: explicit steps by torch.compile, which gives first derivatives alone; where that fails they run operation by
    operation, and one line says why.
    """
    if transforming():  # neither hooks on what is saved nor a compiled step goes with torch.func
        chunk, compiled = None, False
    K = field.segments.dt.shape[1]
    x, path, after, slopes = x0, [x0], [], []
    matrices = None if isinstance(scheme, Polynomials) else stage_matrices(field, x0.shape[0])

    def steps(x: Tensor, first: int, last: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        xs, starts, fs = [], [], []
        for k in range(first, last):
            if field.segments.jumps[k]:
                x = x + field.segments.jump[None, :, k]
            starts.append(x)
            if isinstance(scheme, Polynomials):
                x, f = _explicit(field, scheme, k, x, dense, compiled)
            else:
                assert matrices is not None
                x, f = _exponential(field, matrices, k, x)
            xs.append(x)
            fs.append(f)
        return xs, starts, fs

    size = chunk or K
    for first in range(0, K, size):
        last = min(first + size, K)
        if chunk is None or not torch.is_grad_enabled():
            stretch = steps(x, first, last)
        else:
            stretch = checkpoint(steps, x, first, last, use_reentrant=False)
        path += stretch[0]
        x = path[-1]
        if dense:
            after += stretch[1]
            slopes += stretch[2]
    found = [torch.stack(v) for v in ((path, after, slopes) if dense else (path,))]
    if compiled and isinstance(field.learned, Bound):
        found = [once(v, _COMPILED) for v in found]
    return March(*found) if dense else March(found[0], None, None)


_COMPILED = (
    "second derivatives (create_graph=True) do not go through steps by torch.compile; write the solver without compiled=True"
)


def _explicit(
    field: SemilinearField, scheme: Polynomials, k: int, x: Tensor, dense: bool, compiled: bool
) -> tuple[Tensor, Tensor]:
    h = field.segments.dt[None, :, k, None]
    if compiled and isinstance(field.learned, Bound):
        step = _compiled(scheme, dense)
        found: tuple[Tensor, Tensor] = step(field.learned.residual, field.learned.c, field.A, x, h, *field.driving(k))
        return found
    return _stages(
        scheme, dense, lambda c, stage: field.linear(stage) + field.nonlinear(k, c, stage), x, h
    )


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


def _exponential(
    field: SemilinearField, matrices: tuple[list[Tensor], Tensor | None], k: int, x: Tensor
) -> tuple[Tensor, Tensor]:
    M, N, n = x.shape
    C, index = matrices
    v, stage = x, x
    g: list[Tensor] = []
    for i, c in enumerate((0.0, 0.5, 0.5, 1.0)):
        g.append(field.nonlinear(k, c, stage))
        v = torch.cat([v, g[-1]], -1)
        matrix = (C[i][k * M * N : (k + 1) * M * N] if index is None else C[i][index[k]]).to(x.dtype)
        stage = v @ matrix if matrix.ndim == 2 else (v[..., None, :] @ matrix.reshape(M, N, -1, n))[..., 0, :]
    return stage, torch.stack(g)
