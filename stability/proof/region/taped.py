"""A tape's part of the affine family of `cells.py`: on each cell a centre, one axis for each entry that varies, and an error.

For two points of a cell f(x₂) − f(x₁) = S (x₂ − x₁) with S_ij between bounds that the tape gives for the cell (`slope_bounds`:
mean Jacobians, kinks included). A segment across several cells is a chain of pieces, each in one cell, so its own matrix is a
mean of theirs; what holds in one metric for every matrix of every cell holds for it. With c the centre of an entry's bounds, r
their half and T the frame,

    TᵀP S T ∈ TᵀP C T + Σ_ij [−1, 1] r_ij (TᵀP e_i)(e_jᵀ T):

each entry that varies is one more δ of the family, whatever its neighbours do. Entries of which r is rounding go into the error.

Rounding: of the products with TᵀP and T as for the linear part, of |C| + R; R |·| of what is rounding in full. Ends of cells are
moved outward and taken back to the box, which is all that the cells have to cover: so that an end at zero stays there.
"""

from dataclasses import dataclass

import numpy as np

from stability.proof.arithmetic import LARGEST, TINY, UP, Array, gamma
from stability.proof.known import CONSTANT, halved
from stability.proof.region.enclosure import LOST
from stability.proof.region.jacobian import Jacobian
from stability.proof.tape import slope_bounds, slopes


@dataclass(frozen=True)
class Part:
    """TᵀP S T on K cells."""

    here: Array  # (n, n, K): at the centres, by float64
    centre: Array  # (n, n, K)
    error: Array  # (n, n, K)
    family: Array  # (e, n, n, K): one for each entry that varies


def entries_on(jacobian: Jacobian, centre: Array, radius: Array) -> tuple[Array, Array]:  # (d, …) each
    """Bounds (…, n, n) of the tape's entries on cells; infinite where there are none."""
    tape, n = jacobian.tape, jacobian.states
    assert tape is not None
    shape = (*centre.shape[1:], len(jacobian.lower))
    ends = []
    for end, sign in ((jacobian.lower, -1.0), (jacobian.upper, 1.0)):
        y = np.empty(shape)
        y[...] = end
        out = centre + sign * (radius + 2.0**-50 * (np.abs(centre) + radius) + LOST)
        y[..., jacobian.axes] = np.moveaxis(out, 0, -1)
        ends.append(np.clip(y, jacobian.lower, jacobian.upper))
    low, high = ends
    found = slope_bounds(tape, (low[..., :n], high[..., :n]), (low[..., n:], high[..., n:]), jacobian.theta, strict=False)
    return np.broadcast_to(found[0], (*shape[:-1], n, n)), np.broadcast_to(found[1], (*shape[:-1], n, n))


@np.errstate(over="ignore", invalid="ignore")  # bounds that are infinite prove nothing
def tape_part(jacobian: Jacobian, left: Array, left_error: Array, right: Array, cells: tuple[Array, Array]) -> Part:
    """The part on the cells, (d, K) centres and radii; `left` TᵀP within `left_error`, `right` T."""
    size = gamma(2 * jacobian.states + 6)
    low, high = entries_on(jacobian, *cells)
    lost = ~((np.abs(low) <= LARGEST) & (np.abs(high) <= LARGEST))
    low, high = np.where(lost, 0.0, low), np.where(lost, 0.0, high)
    middle, half = halved(low, high)
    half = np.where(lost, np.inf, half)  # (K, n, n)
    varies = (half > CONSTANT * np.abs(middle)).any(0)
    rest = np.where(varies, 0.0, half)
    extent = np.abs(middle) + half
    error = UP * ((left_error + size * np.abs(left)) @ extent + np.abs(left) @ rest) @ np.abs(right) + TINY
    rows, columns = np.nonzero(varies)
    outer = left[:, rows].T[:, :, None] * right[columns][:, None, :]  # (e, n, n)
    family = half[:, rows, columns].T[:, None, None, :] * outer[..., None]
    here = left @ _at(jacobian, cells[0]) @ right
    return Part(
        here=np.moveaxis(here, 0, 2),
        centre=np.moveaxis(left @ middle @ right, 0, 2),
        error=np.moveaxis(UP * error, 0, 2),
        family=family,
    )


def relief(jacobian: Jacobian, left: Array, right: Array, cells: tuple[Array, Array]) -> Array:  # (d, K)
    """How much narrower TᵀP S T becomes, entries summed, where a cell is cut to its middle along each axis."""
    centre, radius = cells
    d, K = centre.shape
    thin = np.repeat(radius[:, None], d + 1, axis=1)  # (d, d + 1, K): whole, and without each axis in turn
    thin[np.arange(d), np.arange(1, d + 1)] = 0.0
    low, high = entries_on(jacobian, np.broadcast_to(centre[:, None], thin.shape), thin)
    weight = np.abs(left).sum(0)[:, None] * np.abs(right).sum(1)[None, :]
    with np.errstate(invalid="ignore", over="ignore"):
        width = (np.where(weight > 0, high - low, 0.0) * weight).sum((-1, -2))
        found = width[:1] - width[1:]
    return np.where(np.isnan(found), 0.0, np.maximum(found, 0.0)).reshape(d, K)


def _at(jacobian: Jacobian, centre: Array) -> Array:
    """The slopes at the centres and the middle of θ (K, n, n), by float64."""
    assert jacobian.tape is not None
    y, n = jacobian.whole(centre).T, jacobian.states
    theta = 0.5 * jacobian.theta[0] + 0.5 * jacobian.theta[1]
    return np.broadcast_to(slopes(jacobian.tape, y[:, :n], y[:, n:], theta), (len(y), n, n))
