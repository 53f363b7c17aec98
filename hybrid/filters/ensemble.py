"""The ensemble Kalman filter on plain arrays: particles that stand for a belief, and what a measurement does to them.

A belief is P equally likely particles, carried each by itself, so that a bent or skew law keeps its shape between measurements.
A measurement moves them as the Kalman filter moves a Gaussian of their mean and covariance, channel by channel, in the serial
square-root form: the mean by the gain, deviations by a smaller gain that leaves exactly the covariance (I − K H) P. No
measurement is perturbed by drawn noise, so an update adds no error of sampling and needs no random number. What remains of
sampling is the noise of the steps, an error of the order 1/√P.

Source: Evensen, J. Geophys. Res. 99 (1994) 10143; Whitaker & Hamill, Mon. Weather Rev. 130 (2002) 1913, eq. 7–13 (serial square
root); Pham, Mon. Weather Rev. 129 (2001) 1194 (draws with the very mean and covariance).
"""

import math

import torch
from torch import Tensor

from hybrid.triangular import tria
from physics.arguments import require_shape


def whitened(
    drawn: Tensor,  # (..., z, P), P > z
) -> Tensor:  # (..., z, P)
    """Drawn standard normal numbers with their very mean 0 and covariance I over the P particles (divisor P − 1).

    Law: particles m + L w have the mean m and the covariance L Lᵀ to rounding.
    Errors: `ValueError` for no more particles than components.
    """
    require_shape(drawn, "whitened: drawn", ..., "z", "P", write="keyed_normals(…)")
    z, P = drawn.shape[-2:]
    if z >= P:
        raise ValueError(f"whitened: {P} particles have no covariance of {z} components; take {z + 1} at least, better {10 * z}")
    centred = drawn - drawn.mean(-1, keepdim=True)
    return torch.linalg.solve_triangular(tria(centred), centred, upper=False) * math.sqrt(P - 1)


def summed(
    particles: Tensor,  # (..., a, P)
) -> tuple[Tensor, Tensor]:  # (..., a), (..., a, P)
    """The particles' mean, and their deviations over √(P − 1): deviations @ deviationsᵀ is their covariance."""
    require_shape(particles, "summed: particles", ..., "a", "P", write="belief.particles")
    mean = particles.mean(-1)
    return mean, (particles - mean[..., None]) / math.sqrt(particles.shape[-1] - 1)


def assimilated(
    particles: Tensor,  # (..., z, P)
    shown: Tensor,  # (..., p, P)
    y: Tensor,  # (..., p)
    noise: Tensor,  # (..., p)
) -> Tensor:  # (..., z, P)
    """The particles after a measurement y with independent noise of these standard deviations; a channel that is NaN is missing.

    `shown`: h of every particle. Channel by channel, in their order: with s the deviations of what it shows, v = s sᵀ/(P − 1),
    S = v + σ² and K = X sᵀ/((P − 1) S), the mean moves by K (y − h̄) and the deviations X become X − α K s, α = 1/(1 + σ/√S);
    what is not yet read of `shown` moves along.
    Laws: mean and covariance are those that `condition` makes of the particles' own, whatever the order of the channels;
    a measurement of which all is missing changes nothing, to the bit. Differentiable.
    """
    z, P = particles.shape[-2:]
    p = shown.shape[-2]
    require_shape(particles, "assimilated: particles", ..., z, "P", write="belief.particles")
    require_shape(shown, "assimilated: shown", ..., p, P, write="h of the particles", like=particles)
    require_shape(y, "assimilated: y", ..., p, write="the measurement, NaN where missing", like=particles)
    require_shape(noise, "assimilated: noise", ..., p, write="standard deviations", like=particles)
    both = torch.cat([particles, shown], -2)
    for j in range(p):
        mean = both.mean(-1, keepdim=True)
        away = both - mean  # (..., z + p, P)
        s = away[..., z + j, None, :]  # (..., 1, P)
        seen = ~torch.isnan(y[..., j, None, None])
        sd = noise[..., j, None, None]
        total = s.square().sum(-1, keepdim=True) / (P - 1) + sd.square()
        gain = (away * s).sum(-1, keepdim=True) / ((P - 1) * total)
        value = torch.where(seen, y[..., j, None, None] - mean[..., z + j, None, :], 0.0)
        moved = mean + gain * value + away - gain * s / (1.0 + sd / total.sqrt())
        both = torch.where(seen, moved, both)
    return both[..., :z, :]
