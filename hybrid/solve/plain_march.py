"""The steps of `march` in ordinary tensor operations: for residuals without layers, and to check the other one."""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hybrid.derivative import once, transforming
from hybrid.field import SemilinearField
from hybrid.solve.march import March
from hybrid.solve.schemes.scheme import Scheme
from learned.residual import Bound


def plain_march(
    field: SemilinearField,
    x0: Tensor,  # (M, N, n)
    scheme: Scheme,
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
    step = scheme.steps(field, x0.shape[0], dense=dense, compiled=compiled)

    def steps(x: Tensor, first: int, last: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        xs, starts, fs = [], [], []
        for k in range(first, last):
            if field.segments.jumps[k]:
                x = x + field.segments.jump[None, :, k]
            starts.append(x)
            x, f = step(k, x)
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
