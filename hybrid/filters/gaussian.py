"""A Gaussian conditioned on a measurement, in root form, on plain arrays.

With joint deviations [S; H] of a state and of what is predicted of it, and the noise's root N, the covariances are S Sᵀ,
H Hᵀ + N Nᵀ and S Hᵀ. The lower triangle of

    [H  N]       [V  0 ]
    [S  0]  is   [K  S⁺],

V the innovation's root and S⁺ the root of what is left, and the mean moves by K V⁻¹ (y − ŷ): no covariance is formed, nothing is
subtracted from one, and S⁺ S⁺ᵀ is positive semidefinite by construction. Source: Kailath, Sayed & Hassibi, Linear Estimation
(2000), chapter 12.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from hybrid.triangular import tria
from physics.arguments import require_shape


@dataclass(frozen=True)
class Conditioned:
    """What a measurement made of a Gaussian, and what it said of the prediction.

    `mean` (..., z) and `root` (..., z, z) lower · `value` (..., p) = y − ŷ, NaN where missing · `innovation_root` V (..., p, p)
    lower, rows of the identity where missing · `nis` (...,) = |V⁻¹ value|² of what was seen · `count` (...,) of channels seen ·
    `log_likelihood` (...,) of all that was seen together, in nats · `by_channel` (..., p): of each channel alone, NaN where
    missing · `particles` (..., z, P), of a filter that moves some: the others have none.
    """

    mean: Tensor
    root: Tensor
    value: Tensor
    innovation_root: Tensor
    nis: Tensor
    count: Tensor
    log_likelihood: Tensor
    by_channel: Tensor
    particles: Tensor | None = None


def condition(
    mean: Tensor,  # (..., z)
    root: Tensor,  # (..., z, k)
    y: Tensor,  # (..., p)
    predicted: Tensor,  # (..., p)
    shadow: Tensor,  # (..., p, k)
    noise: Tensor,  # (..., p)
    *,
    beside: Tensor | None = None,  # (..., p, e)
) -> Conditioned:
    """The Gaussian given y = ŷ + a deviation + noise, with joint deviations [root; shadow] in k columns of weight 1.

    Arguments: `mean`, `root` of the state; `y`, NaN where a channel is missing; `predicted` ŷ; `shadow`, how y deviates with
    each column of the root (H S of a linear measurement); `noise`, its standard deviations; `beside`, deviations that y alone
    has (what of a nonlinear measurement is even in the state). Leading axes broadcast.
    Of a missing channel nothing is learned: it is as if it were not there. Where all are missing, mean and root come back as they
    are, to the bit (the root where k = z; of another one its triangle). NaN elsewhere makes that belief NaN, alone.
    A channel that is certain (no noise and no deviation, or those of channels before it, to rounding) has no density: the belief
    does not move by it, and where its value is another than what is certain the log-likelihood is −∞ and the NIS ∞, else +∞.
    Differentiable as `tria` is. Bits of a row depend on that row alone.
    Law: linear and Gaussian, mean and covariance are those of Kalman's update; joint log-likelihoods add up over channels that
    are conditioned on one after another.
    Errors: `ValueError` for arrays of other sizes, types or devices.
    """
    lead = _together(mean, root, y, predicted, shadow, noise)
    (z, k), p = root.shape[-2:], y.shape[-1]
    missing = torch.isnan(y)
    value = y - predicted
    apart = torch.diag_embed(torch.where(missing, 1.0, noise))  # (..., p, p)
    if beside is not None:
        require_shape(beside, "condition: beside", ..., p, "e", write="the even half of what the points would be", like=mean)
        own = torch.where(missing[..., None], 0.0, beside)
        # columns of y alone come to p of them, and a missing channel's stays as it is
        apart = tria(torch.cat([own.expand(*lead, p, -1), apart.expand(*lead, p, p)], -1)) if p else apart
    shadow = torch.where(missing[..., None], 0.0, shadow)
    upper = torch.cat([shadow.expand(*lead, p, k), apart.expand(*lead, p, p)], -1)
    L = tria(torch.cat([upper, pad(root, (0, p)).expand(*lead, z, k + p)], -2)) if k + p else upper.new_zeros(*lead, z, z)
    V, K = L[..., :p, :p], L[..., p:, :p]
    seen = torch.where(missing, 0.0, value)
    white: list[Tensor] = []
    joint, alone, after = [], [], mean
    for i in range(p):  # V⁻¹ value, channel by channel: a row's bits are its own
        rest = seen[..., i]
        for j, w in enumerate(white):
            rest = rest - V[..., i, j] * w
        density, w = _density(rest, V[..., i, i])
        after = after + K[..., i] * w[..., None]
        white.append(w)
        joint.append(torch.where(missing[..., i], 0.0, density))
        alone.append(_density(seen[..., i], _length(V[..., i, : i + 1]))[0])
    zero = L.new_zeros(lead)
    none = missing.all(-1)
    certain = [j == -torch.inf for j in joint]
    nis = sum((w.square() for w in white), zero)
    log_likelihood = sum(joint, zero)
    for c in certain:  # what is certain and did not happen is stronger than what is certain and did
        nis, log_likelihood = torch.where(c, torch.inf, nis), torch.where(c, -torch.inf, log_likelihood)
    return Conditioned(
        torch.where(none[..., None], mean, after).expand(*lead, z),
        torch.where(none[..., None, None], root if k == z else tria(root), L[..., p:, p:]).expand(*lead, z, z),
        value.expand(*lead, p),
        V,
        nis,
        (~missing).sum(-1).expand(lead),
        log_likelihood,
        torch.where(missing, torch.nan, torch.stack(alone, -1)) if p else value.expand(*lead, p),
    )


def _density(value: Tensor, sd: Tensor) -> tuple[Tensor, Tensor]:  # (...,)
    """log N(value; 0, sd²) and value/sd; of no deviation ±∞, and 0."""
    certain = sd == 0.0
    scale = torch.where(certain, 1.0, sd)
    white = torch.where(certain, 0.0, value / scale)
    exact = torch.where(value == 0.0, torch.inf, torch.where(torch.isnan(value), torch.nan, -torch.inf))
    return torch.where(certain, exact, -0.5 * (white.square() + math.log(2.0 * math.pi)) - scale.log()), white


def _length(row: Tensor) -> Tensor:  # (..., k) -> (...,)
    """√(Σ r²), added in one order; with a derivative at 0 too, 0."""
    square = sum((r.square() for r in row.unbind(-1)[1:]), row[..., 0].square())
    none = square == 0.0
    return torch.where(none, 0.0, torch.where(none, 1.0, square).sqrt())


def _together(mean: Tensor, root: Tensor, y: Tensor, predicted: Tensor, shadow: Tensor, noise: Tensor) -> tuple[int, ...]:
    """The leading axes of all. Errors: `ValueError` for arrays that do not go together."""
    require_shape(mean, "condition: mean", ..., "z", write="belief.mean")
    require_shape(y, "condition: y", ..., "p", write="a row of channels, NaN where missing", like=mean)
    z, p = mean.shape[-1], y.shape[-1]
    require_shape(root, "condition: root", ..., z, "k", write="belief.root", like=mean)
    require_shape(predicted, "condition: predicted", ..., p, write="the measurement's mean", like=mean)
    require_shape(shadow, "condition: shadow", ..., p, root.shape[-1], write="the measurement's slope @ root", like=mean)
    require_shape(noise, "condition: noise", ..., p, write="noise.variance(predicted, x, u).sqrt()", like=mean)
    for what, value in (("root", root), ("y", y), ("predicted", predicted), ("shadow", shadow), ("noise", noise)):
        if value.dtype != mean.dtype:
            raise ValueError(f"condition: mean is {mean.dtype} and {what} {value.dtype}; give all of one type")
    given = (mean.shape[:-1], root.shape[:-2], y.shape[:-1], predicted.shape[:-1], shadow.shape[:-2], noise.shape[:-1])
    if all(one == given[0] for one in given):
        return given[0]
    try:
        return tuple(torch.broadcast_shapes(*given))
    except RuntimeError as error:
        shapes = ", ".join(str(tuple(s)) for s in given)
        raise ValueError(
            f"condition: mean, root, y, predicted, shadow and noise are of {shapes} before their last axes; give as many of "
            "each, or one for all"
        ) from error
