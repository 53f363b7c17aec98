"""The least Lipschitz bound that diagonal multipliers prove: the closed form, then the climb of the contraction certificate.

In the coordinates of `loop_shift` the least γ with diag(γ²I, μ) − GᵀG − Vᵀdiag(μ)V ⪰ 0 is the climb's problem with A = 0, E = 0,
P = I, slopes in [−1, 1] and a constant −GᵀG: −2λ in the place of γ².
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stability.lure import Array, Loop
from stability.proof.loop_shift import multipliers_of, rows
from stability.search.climb.interior_point import Ascent, ascend
from stability.search.climb.problem import Problem, positive
from stability.search.lipschitz_bounds.closed_form import closed_between


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def least(
    weights: Sequence[Array],  # (out, in)
    lower: Array,  # (H,): α per hidden unit
    upper: Array,  # (H,): β
    *,
    skip: Array | None = None,  # (out, in)
    largest: float | None = None,  # of the activation's own slopes; the largest here where not given
    deadline: float = float("inf"),
) -> Ascent:
    """The least γ: the answer's rate is −γ²/2, its bound that of the least γ, its multipliers prove γ for slopes in [α, β].

    The closed form is there before anything is climbed. Units whose slope hardly varies are linear for the climb, and get
    multipliers of their own afterwards: what is left of them is μ δv² on one side and (r · what they lead to)²/μ on the other.
    """
    largest = max(float(np.abs(lower).max(initial=0.0)), float(np.abs(upper).max(initial=0.0))) if largest is None else largest
    weights, skip = _few_inputs(weights, skip)
    square, mu, centre, radius = closed_between(weights, lower, upper, skip, largest, 0.0)
    n, outputs, H = weights[0].shape[1], weights[-1].shape[0], len(mu)
    A, _, _ = rows(weights, centre, radius, skip)
    at_centre = float(np.linalg.norm(A[:outputs, :n], 2))  # a slope pattern like any other
    best = Ascent(-0.5 * square, np.eye(n), multipliers_of(mu, radius)[None], -0.5 * at_centre**2, np.zeros((1, n, n)), 0)
    seen, leads = _sensitivities(A, square, mu, radius, n, outputs)
    share = radius * seen * leads
    order = np.argsort(share)
    wide = np.sort(order[np.cumsum(share[order]) > _LINEAR])
    if len(wide) > _LARGE or time.monotonic() > deadline:
        return best
    reached, bound = square, best.bound
    if len(wide):
        ascent = _climb(weights, lower, upper, skip, largest, A, wide, deadline)
        bound = min(bound, ascent.bound)
        reached, mu[wide] = -2.0 * ascent.rate, ascent.multipliers[0]
    # The narrow ones, by what the wide ones are now: where its two sides are equal their sum is smallest.
    seen, leads = _sensitivities(A, max(reached, at_centre**2, 1e-300), mu, radius, n, outputs, wide)
    narrow = np.setdiff1d(np.arange(H), wide)
    if len(narrow):
        least_seen, least_led = 1e-9 * seen.max() + 1e-300, 1e-9 * leads.max() + 1e-300
        mu[narrow] = (radius * np.maximum(leads, least_led) / np.maximum(seen, least_seen))[narrow]
    reached = _square(A, mu, n, outputs)
    if reached < square:
        best = replace(best, rate=-0.5 * reached, multipliers=multipliers_of(mu, radius)[None])
    return replace(best, bound=max(bound, best.rate))


def _few_inputs(weights: Sequence[Array], skip: Array | None) -> tuple[list[Array], Array | None]:
    """The same bound with as many inputs as there are rows that see them: x in an orthogonal basis of these rows."""
    seen = weights[0] if skip is None else np.concatenate([weights[0], skip])
    if seen.shape[1] <= seen.shape[0]:
        return list(weights), skip
    turned = np.asarray(np.linalg.qr(seen.T, mode="r"), dtype=np.float64).T
    first = len(weights[0])
    return [turned[:first], *weights[1:]], None if skip is None else turned[first:]


# The sum of the shares r |what a unit sees| |what it leads to| of γ up to which units count as linear in the climb.
_LINEAR = 1e-4


# Above so many units that are not, a Newton step costs more memory and time than it is worth; the closed form is the answer.
_LARGE = 3000


def _sensitivities(
    A: Array, square: float, mu: Array, radius: Array, n: int, outputs: int, units: NDArray[np.int_] | None = None
) -> tuple[Array, Array]:
    """What a unit sees, and what it leads to (H,), in coordinates in which γx, √μ q and √μ δv are the unit vectors.

    A product of r and both bounds what the unit's nonlinearity adds to a map of norm one. `units`: those that count.
    """
    chosen = slice(None) if units is None else units
    scale = np.concatenate([np.full(n, max(square, 1e-300)), mu])
    rows_, columns = A[outputs:], A[:, n:] / radius
    seen = (rows_[:, :n] ** 2 / scale[:n]).sum(1) + (rows_[:, n:][:, chosen] ** 2 / mu[chosen]).sum(1)
    leads = (columns[:outputs] ** 2).sum(0) + (mu[chosen, None] * columns[outputs:][chosen] ** 2).sum(0)
    return np.sqrt(seen), np.sqrt(leads)


def _climb(
    weights: Sequence[Array],
    lower: Array,
    upper: Array,
    skip: Array | None,
    largest: float,
    A: Array,  # [G; V] (p + H, n + H)
    wide: NDArray[np.int_],  # the units that are not linear
    deadline: float,
) -> Ascent:  # its multipliers are μ
    """The climb over the μ of those units, the others being linear: slopes in [−1, 1], v = Vξ, and a constant −GᵀG.

    It starts from the closed form with room, of which leaving units out (columns of A) and their μ δv² (rows) makes F larger.
    Where no unit is left out and none is nearly linear, in (x, z), where a unit sees one layer alone and a step costs half.
    """
    n, outputs, depth = weights[0].shape[1], weights[-1].shape[0], len(weights)
    square, mu, _, radius = closed_between(weights, lower, upper, skip, largest, 4.0 ** (1.0 / depth) - 1.0)
    edges = np.cumsum([0, *(w.shape[0] for w in weights[:-1])])
    H, first, layered = len(wide), (-0.75 * square, np.eye(n)), len(wide) == len(mu) and radius.min() > 0.05 * largest
    none = np.zeros((1, n, n)), np.zeros((1, n, H))
    if layered:
        W, N, E = np.zeros((1, H, n)), np.zeros((1, H, H)), np.zeros((outputs, n + H))
        W[0, : edges[1]] = weights[0]
        for a, b, c, w in zip(edges, edges[1:], edges[2:], weights[1:-1], strict=False):
            N[0, b:c, a:b] = w
        E[:, n + edges[-2] :] = weights[-1]
        if skip is not None:
            E[:, :n] = skip
        widths = tuple(w.shape[0] for w in weights[:-1])
        start = multipliers_of(mu, radius)[None]
        loop, constant = Loop(*none, W, N, lower[None], upper[None], widths), -(E.T @ E)[None]
    else:
        columns = np.concatenate([np.arange(n), n + wide])
        G, V = A[:outputs, columns], A[outputs + wide][:, columns]
        one, widths = np.ones((1, H)), tuple(int(h) for h in np.histogram(wide, edges)[0] if h)
        start = 0.5 * mu[wide][None]
        loop, constant = Loop(*none, V[None, :, :n], V[None, :, n:], -one, one, widths), -(G.T @ G)[None]
    problem = Problem(loop, True, 1.0, np.array([[1e6 * start.max()]]), constant, dense=not layered)
    found = ascend(problem, (*first, start), tolerance=2e-3, deadline=deadline)
    return replace(found, multipliers=2.0 * found.multipliers * (radius**2 if layered else 1.0))


def _square(A: Array, mu: Array, n: int, outputs: int) -> float:
    """The least γ² with these μ, by the Schur complement of F's block of q; inf where there is none."""
    weight = np.concatenate([np.ones(outputs), mu])[:, None]
    product = A.T @ (weight * A)
    scale = np.sqrt(mu)  # q in units of its own, for the factor
    block = np.eye(len(mu)) - product[n:, n:] / np.outer(scale, scale)
    side = product[:n, n:] / scale
    if not (np.isfinite(block).all() and np.isfinite(side).all() and positive(block)):
        return np.inf
    return max(float(np.linalg.eigvalsh(product[:n, :n] + side @ np.linalg.solve(block, side.T))[-1]), 0.0)
