"""What one move does to a Gaussian, on plain arrays: the joint deviations of before and after it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid.derivative import varies
from hybrid.triangular import tria
from physics.glance import glance


@dataclass(frozen=True)
class Moved:
    """A Gaussian moved from one time to the next: [before, 0; after, noise] are the columns of the joint deviation.

    `mean` (M, N, z) after it · `before` and `after` (M, N, z, k), deviations that belong together: before beforeᵀ is the
    covariance there was · `noise` (M, N, z, r), what came in on the way · `lost` (N,), who diverged (None: nobody can): their
    numbers stand for nothing, and are finite, so that no derivative of the others meets NaN.
    """

    mean: Tensor
    before: Tensor
    after: Tensor
    noise: Tensor
    lost: Tensor | None = None

    __repr__, _repr_html_ = glance()

    def root(self) -> Tensor:  # (M, N, z, z)
        """Lower, of the covariance after it."""
        return tria(torch.cat([self.after, self.noise], -1))


def root_of_variance(variance: Tensor) -> Tensor:
    """√v, where v may be 0 and a derivative is asked for: what is then too small to be seen is added to it.

    With L a root of P + v b bᵀ the derivative along v is finite at 0, and goes through √v, whose own is not: the two meet at a v
    that is next to nothing, not at 0.
    """
    return (variance + torch.finfo(variance.dtype).tiny ** 0.5).sqrt() if varies(variance) else variance.sqrt()
