"""The steps of `march` in ordinary tensor operations: for residuals without layers, and to check the other one."""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hybrid.combine import Exponentials, Polynomials, stage_matrices
from hybrid.field import SemilinearField
from hybrid.march import March


def plain_march(
    field: SemilinearField,
    x0: Tensor,  # (M, N, n)
    scheme: Polynomials | Exponentials,
    *,
    dense: bool,
    chunk: int | None = None,
) -> March:
    """As `march`, by automatic differentiation; with `chunk`, as many steps at a time are kept (Chen et al. 2016)."""
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
                x, f = _explicit(field, scheme, k, x, dense)
            else:
                assert matrices is not None
                x, f = _exponential(field, matrices, k, x)
            xs.append(x)
            fs.append(torch.stack(f))
        return xs, starts, fs

    size = chunk or K
    for first in range(0, K, size):
        last = min(first + size, K)
        if chunk is None or not torch.is_grad_enabled():
            found = steps(x, first, last)
        else:
            found = checkpoint(steps, x, first, last, use_reentrant=False)
        path += found[0]
        x = path[-1]
        if dense:
            after += found[1]
            slopes += found[2]
    if not dense:
        return March(torch.stack(path), None, None)
    return March(torch.stack(path), torch.stack(after), torch.stack(slopes))


def _explicit(
    field: SemilinearField, scheme: Polynomials, k: int, x: Tensor, dense: bool
) -> tuple[Tensor, list[Tensor]]:
    t = scheme.tableau
    h = field.segments.dt[None, :, k, None]
    f: list[Tensor] = []
    for c, row in zip(scheme.times(dense), t.a, strict=False):
        stage = x + h * sum((a * g for a, g in zip(row, f, strict=True) if a), torch.zeros_like(x)) if row else x
        f.append(field.linear(stage) + field.nonlinear(k, c, stage))
    return x + h * sum((b * g for b, g in zip(t.b, f, strict=False) if b), torch.zeros_like(x)), f


def _exponential(
    field: SemilinearField, matrices: tuple[list[Tensor], Tensor], k: int, x: Tensor
) -> tuple[Tensor, list[Tensor]]:
    M, N, n = x.shape
    C, index = matrices
    v, g, stage = x, [], x
    for i, c in enumerate((0.0, 0.5, 0.5, 1.0)):
        g.append(field.nonlinear(k, c, stage))
        v = torch.cat([v, g[-1]], -1)
        matrix = C[i][index[k]].to(x.dtype)
        stage = v @ matrix if index.ndim == 1 else (v[..., None, :] @ matrix.reshape(M, N, -1, n))[..., 0, :]
    return stage, g
