"""From infinitely many matrices to finitely many: the vertices on which one metric proves them all.

For fixed P and λ the inequality is linear in (A, Λ). If one P holds with Λ_v at the vertices A_v, it holds at every convex
combination Σ c_v A_v, with Σ c_v Λ_v; so `certify(Lure(A=vertices, …))` proves every matrix in the hull, and every trajectory
along which the matrix moves inside it. The multipliers need not be known for the matrices between.

Rounding: the vertices are float64 arrays. Where they are computed (sums of parameters), the claim is about the hull of the stored
numbers; `vertices` takes ends that the caller has rounded outward.
Source: Boyd, El Ghaoui, Feron & Balakrishnan, Linear Matrix Inequalities in System and Control Theory (1994), section 4.3.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from stability.arguments import array, shown
from stability.lure import Array

MOST = 12  # entries or coordinates that vary: 4,096 vertices


def vertices(
    lower: ArrayLike,  # (n, n)
    upper: ArrayLike,  # (n, n)
) -> Array:  # (2^k, n, n)
    """The matrices whose hull is all A with lower ≤ A ≤ upper, entry by entry; k is the number of entries whose ends differ.

    One P that `certify` proves for these, as systems on a leading axis, proves every A between the ends and every convex
    combination of members.
    Errors: ValueError for ends that do not fit or are the wrong way round, and for more than 12 entries that vary.
    """
    low, high = (array(end, "an end") for end in (lower, upper))
    if low.ndim != 2 or low.shape[0] != low.shape[1] or low.shape != high.shape:
        raise ValueError(f"the ends have shapes {low.shape} and {high.shape}; both must be (n, n).")
    _require_ends(low, high)
    where = np.argwhere(low < high)
    _require_few(len(where), "entries")
    found = np.repeat(low[None], 2 ** len(where), axis=0)
    for index, choice in enumerate(product((False, True), repeat=len(where))):
        for (i, j), up in zip(where, choice, strict=True):
            if up:
                found[index, i, j] = high[i, j]
    return found


def multi_affine(
    A: Callable[[Array], ArrayLike],  # θ (q,) → (n, n)
    lower: ArrayLike,  # (q,)
    upper: ArrayLike,  # (q,)
) -> Array:  # (2^k, n, n)
    """A at the corners of a box of θ, for an A that is affine in each coordinate while the others are held.

    One P that `certify` proves for these proves every θ in the box (also a θ that moves inside it), and every convex combination
    of members.
    Errors: ValueError where A is seen not to be multi-affine (at the centres of the box and of its edges, which a multi-affine A
    takes to the mean of the corners; a necessary condition only), for ends that do not fit, and for more than 12 that vary.
    """
    if not callable(A):
        raise ValueError(f"A is {shown(A)}; give a function from θ (q,) to the matrix (n, n).")
    low, high = (array(end, "an end") for end in (lower, upper))
    if low.ndim != 1 or low.shape != high.shape:
        raise ValueError(f"the ends have shapes {low.shape} and {high.shape}; both must be (q,).")
    _require_ends(low, high)
    free = np.flatnonzero(low < high)
    _require_few(len(free), "coordinates")

    def at(choice: tuple[float, ...]) -> Array:
        theta = low.copy()
        theta[free] = low[free] + np.array(choice) * (high - low)[free]
        theta[free] = np.where(np.array(choice) == 1.0, high[free], theta[free])  # the end itself, without rounding
        try:
            found = A(theta)
        except (TypeError, NotImplementedError) as error:
            why = str(error)[:100]
            raise ValueError(f"A cannot be called with θ {theta.shape}: {why}; give a function of θ (q,).") from error
        matrix = array(found, "A(θ)", 2)
        if not np.isfinite(matrix).all() or not matrix.size:
            raise ValueError(f"A(θ) has shape {matrix.shape} and must be finite at the corners of the box; narrow the box.")
        return matrix

    corners = list(product((0.0, 1.0), repeat=len(free)))
    if len({at(choice).shape for choice in (corners[0], corners[-1])}) > 1:
        raise ValueError("A(θ) changes its shape from corner to corner; give one (n, n) for every θ.")
    found = np.stack([at(choice) for choice in corners])
    probes = [(0.5,) * len(free)]
    probes += [tuple(0.5 if k == j else 0.0 for k in range(len(free))) for j in range(len(free))]
    for probe in probes if len(free) else []:
        weights = np.array([np.prod([c if b else 1 - c for c, b in zip(probe, choice, strict=True)]) for choice in corners])
        gap = np.abs(at(probe) - np.tensordot(weights, found, 1)).max()
        if gap > 1e-9 * np.abs(found).max():
            raise ValueError(
                f"A is not multi-affine: between the corners it is off by {gap:.3g}, so they prove nothing about the rest of "
                "the box. Choose coordinates in which it is, or enclose its entries and use vertices(lower, upper)."
            )
    return found


def _require_ends(low: Array, high: Array) -> None:
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
        raise ValueError("the ends must be finite, the lower nowhere above the upper; check their order.")


def _require_few(count: int, what: str) -> None:
    if count > MOST:
        raise ValueError(
            f"{count} {what} vary, which makes 2^{count} vertices; at most {MOST} may. Hold some at one value, or split the box."
        )
