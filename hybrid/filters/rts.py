"""The Rauch–Tung–Striebel smoother in square-root form: what is known of a state once all measurements are in.

On arrays below: the law of a state given a later one. With deviations δ before and δ₊ after a step, in columns of weight one,
[[δ₊, w], [δ, 0]] (w: the noise of the step) is a root of their joint covariance, and its triangle [[L₊, 0], [K, E]] says it all:

    z | z₊ ~ N(m + G (z₊ − m₊), E Eᵀ),    G = K L₊⁻¹.

Nothing is subtracted from a covariance, so none loses its sign. Laws of this kind compose: from one observation to the next over
every step of the mesh between. With a filter's own deviations δ, δ₊ the same serves linear, linearised and sigma-point filters.

Source: Rauch, Tung & Striebel, AIAA J. 3 (1965) 1445; Park & Kailath, Int. J. Control 62 (1995) 1049 (square root); Särkkä, IEEE
Trans. Autom. Control 53 (2008) 845 (sigma points).
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hybrid.triangular import tria
from physics.arguments import require_shape
from physics.glance import glance


@dataclass(frozen=True)
class Backward:
    """The law of a state given a later one, N(m + `gain` (z₊ − m₊), `root` `root`ᵀ): both (..., z, z), `root` lower."""

    gain: Tensor
    root: Tensor

    __repr__, _repr_html_ = glance()

    def then(self, later: "Backward") -> "Backward":
        """The law given a state that is later still: `later` is that of the state between the two.

        Law: associative; a step of no length changes nothing.
        """
        return Backward(self.gain @ later.gain, tria(torch.cat([self.root, self.gain @ later.root], -1)))


def backward(
    before: Tensor,  # (..., z, k)
    after: Tensor,  # (..., z, k)
    noise: Tensor,  # (..., z, r), r ≥ 0
) -> Backward:
    """The law of the state before a step, given that after it, from the deviations of both.

    `before` and `after`: the same k deviations, weights inside, so that before beforeᵀ is the covariance before the step;
    `noise`: what the step adds by itself, noise noiseᵀ.
    A component of the later state that those before it give exactly, to rounding (a state that nothing moves and of which all is
    known), says nothing new: its column of the gain is 0.
    Law: linear and Gaussian, it is the conditional law of the textbook. Differentiable.
    Errors: `ValueError` for what are not deviations of as many components and columns.
    """
    require_shape(after, "backward: after", ..., "z", "k", write="the deviations after the step")
    z, k = after.shape[-2:]
    require_shape(before, "backward: before", ..., z, k, write="the deviations before it", like=after)
    require_shape(noise, "backward: noise", ..., z, "r", write="the noise of the step, torch.zeros(…, z, 0) for none", like=after)
    rows = torch.broadcast_shapes(before.shape[:-2], after.shape[:-2], noise.shape[:-2])
    before, after, noise = (v.expand(*rows, *v.shape[-2:]) for v in (before, after, noise))
    later = torch.cat([after, noise], -1)
    earlier = torch.cat([before, torch.zeros_like(noise)], -1)
    joint = tria(torch.cat([later, earlier], -2))  # (..., 2z, 2z)
    ahead, across, left = joint[..., :z, :z], joint[..., z:, :z], joint[..., z:, z:]
    # what the rows before it give has no pivot to divide by; its column is 0 in all rows, and so is that of the gain
    known = ahead.detach().diagonal(dim1=-2, dim2=-1) == 0.0
    gain = torch.linalg.solve_triangular(ahead + torch.diag_embed(known.to(ahead.dtype)), across, upper=False, left=False)
    return Backward(gain, left)


def corrected(
    mean: Tensor,  # (..., z)
    law: Backward,
    predicted: Tensor,  # (..., z)
    later: tuple[Tensor, Tensor],  # (..., z), (..., z, z)
) -> tuple[Tensor, Tensor]:  # (..., z), (..., z, z)
    """One step of the smoother: mean and root of a state, from its own `mean`, its law given the later state, what was
    `predicted` of that one and what is now known of it.

    Law: where nothing more is known of the later state than was predicted, the covariance is that before.
    """
    gap = (later[0] - predicted)[..., None]
    return mean + (law.gain @ gap)[..., 0], tria(torch.cat([law.gain @ later[1], law.root], -1))


class Passed(Protocol):
    """What a filter leaves behind for a smoother: `Track` with keep="all".

    `mean` (M, N, T, z) and `root` (M, N, T, z, z) after each update, `predicted_mean` (M, N, T, z) before it, and `backward`, the
    law of the state at the time before given that at each (entry 0: of the start).
    """

    @property
    def mean(self) -> Tensor | None: ...
    @property
    def root(self) -> Tensor | None: ...
    @property
    def predicted_mean(self) -> Tensor | None: ...
    @property
    def backward(self) -> Backward | None: ...


def smooth(track: Passed) -> tuple[Tensor, Tensor]:  # (M, N, T, z), (M, N, T, z, z)
    """The mean and the root of the state at every time, given all measurements, those that came later too.

    From the last time, which has nothing after it and stays, backwards. Differentiable. Exact where the filter is (linear
    models whose θ is known), else as good as its linearisation or its points. Of who is lost on the way the last belief that
    there was is the last time, and what comes after it is NaN.
    Arguments: `track`, of `along(…, keep="all")`.
    Errors: `ValueError` for a track that kept less, and that of a filter without deviations from step to step (`EnKF`).
    Law: linear and Gaussian, the posterior of all states together; no variance is above the filtered one.
    """
    laws, means, roots, predicted = (getattr(track, name, None) for name in ("backward", "mean", "root", "predicted_mean"))
    if not isinstance(laws, Backward) or means is None or roots is None or predicted is None:
        raise ValueError(
            "smooth: this track holds no laws of a state given the next one; write along(…, keep=\"all\") with UKF or EKF (an "
            "EnKF's particles have no such law)"
        )
    later = means[:, :, -1], roots[:, :, -1]
    found = [later]
    for t in reversed(range(means.shape[2] - 1)):
        gone = ~torch.isfinite(later[0]).all(-1)[..., None]  # a number stands for them meanwhile, and sends no gradient
        law = Backward(laws.gain[:, :, t + 1], laws.root[:, :, t + 1])
        mean, root = means[:, :, t], roots[:, :, t]
        safe = torch.where(gone, 0.0, later[0]), torch.where(gone[..., None], 0.0, later[1])
        then = corrected(mean, law, torch.where(gone, 0.0, predicted[:, :, t + 1]), safe)
        later = torch.where(gone, mean, then[0]), torch.where(gone[..., None], root, then[1])
        found.append(later)
    ends = tuple(zip(*reversed(found), strict=True))
    return torch.stack(ends[0], 2), torch.stack(ends[1], 2)
