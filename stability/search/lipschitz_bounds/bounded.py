"""Lipschitz bounds of layered networks, everywhere or in a box: what was climbed, then the closed form with room, proved."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stability.arguments import array, choice, kind, listed, shown, time_limit
from stability.claims.lipschitz import LipschitzBound
from stability.lure import SLOPES, Array
from stability.proof.checker import check
from stability.proof.lipschitz import MOST_INPUTS, digest, holds_shifted, statement
from stability.proof.loop_shift import multipliers_of
from stability.proof.region.slopes import slopes_in_box
from stability.region import Box
from stability.search.climb.interior_point import Ascent
from stability.search.lipschitz_bounds.climbed import least
from stability.search.lipschitz_bounds.closed_form import closed_between
from stability.threads import of_weights, threads_by


@threads_by(of_weights)
@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # of numbers beyond float64 nothing is proved
def lipschitz_bound(
    weights: Sequence[ArrayLike],  # L arrays (out, in), the first in = inputs, the last out = outputs
    activation: str = "tanh",
    region: Box | None = None,
    *,
    biases: Sequence[ArrayLike] | None = None,  # L arrays (out,), with a region
    skip: ArrayLike | None = None,  # S (out of the last, in of the first)
    seconds: float = 60.0,
) -> LipschitzBound:
    """The best Euclidean Lipschitz constant that diagonal multipliers prove for S x + W_L φ(… φ(W_1 x + b_1) …) + b_L.

    Arguments: `region`, a `Box` of inputs x (at most 40) between any two points of which the bound is to hold, or None for all
    of Rⁿ. In the box each unit has slopes of its own range, which depends on the biases. `skip`, the residual's own linear term
    S, or None where it has none. `seconds`, after which the best so far is used: the closed form first, then the climb.
    Returns a bound that `check(bound, {"weights": weights, "activation": activation})` accepts, in a region with "biases" too,
    and with "skip" where there is one.
    Errors: ValueError for weights that are not a chain of finite matrices, an unknown activation, a region that is not a box of
    the network's inputs, a region without biases, or a skip that does not fit.
    Law: never below the norm of any Jacobian (in the region); whatever the time limit, at most max(β, −α)^(L−1) ‖W_L‖ … ‖W_1‖
    + ‖S‖, up to a relative 1e-6 (wide and deep networks 1e-4) that the proof needs; equal to ‖W_L … W_1‖ where all weights are
    ≥ 0 and the slopes in [0, 1] (to the climb's tolerance of 0.2 %); near the norm of the one Jacobian in a small region.
    Source: the inequality of Fazlyab et al., NeurIPS 2019; the search is `closed_form`, then the climb of `interior_point`.
    """
    if isinstance(weights, Mapping):
        write = 'lipschitz_bound(system["weights"], system["activation"])'
        raise ValueError(f"weights is {shown(weights)}; of a system write {write}.")
    choice(activation, SLOPES, "the activation, whose slope range must be known:")
    time_limit(seconds)
    if region is not None:
        kind(region, Box, "the region", "Box([-1.0], [1.0]), a box of the inputs, or leave it out for all of Rⁿ")
    chain, deadline = _chain(weights, activation), time.monotonic() + seconds
    extra = None if skip is None else _skip(chain, skip)
    ends = tuple(np.full(sum(w.shape[0] for w in chain[:-1]), end) for end in SLOPES[activation])
    offsets, slopes = None, None
    system: dict[str, Any] = {"weights": chain, "activation": activation}
    if extra is not None:
        system["skip"] = extra
    if region is not None:
        offsets = _offsets(chain, region, biases)
        system = {**system, "biases": offsets}
        slopes = slopes_in_box(chain, offsets, activation, region.lower, region.upper)
    lower, upper = slopes or ends
    largest = max(abs(end) for end in SLOPES[activation])
    ascent = least(chain, lower, upper, skip=extra, largest=largest, deadline=deadline)
    where = None if region is None else region.to_dict()
    for bound, multipliers in _candidates(chain, lower, upper, extra, largest, ascent):
        if not holds_shifted(chain, activation, bound, multipliers, slopes, extra):
            continue
        candidate = LipschitzBound(
            bound=bound,
            multipliers=multipliers,
            slope_range=SLOPES[activation],
            digest=digest(chain, activation, offsets, extra),
            floor=float(np.sqrt(max(-2.0 * ascent.bound, 0.0))) if np.isfinite(ascent.bound) else 0.0,
            claim=statement(bound, chain[0].shape[1], chain[-1].shape[0], where, skip=extra is not None),
            region=where,
        )
        if check(candidate, system):
            return candidate
    found = np.sqrt(max(-2.0 * ascent.rate, 0.0))
    raise ArithmeticError(f"the bound {found:.6g} was found but not proved in float64; rescale weights that differ by 1e10.")


def _candidates(
    weights: Sequence[Array], lower: Array, upper: Array, skip: Array | None, largest: float, ascent: Ascent
) -> Iterator[tuple[float, Array]]:
    """Bounds with their multipliers, best first: what was climbed, then the closed form with more and more room for the proof."""
    smallest = 1e-90 * (1.0 + max(float(np.abs(w).max()) for w in weights))
    reached = float(np.sqrt(max(-2.0 * ascent.rate, 0.0)))
    most = closed_between(weights, lower, upper, skip, largest, 0.0)[0] ** 0.5
    raised = [max(reached * (1.0 + up), smallest) for up in (1e-9, 1e-7, 1e-5, 1e-3)]
    yield from ((bound, ascent.multipliers[0]) for bound in raised if bound < most)
    # What a proof by factors of k rows needs grows with k².
    size = weights[0].shape[1] + sum(w.shape[0] for w in weights[:-1])
    for room in (min(1e-12 * size**2 * 10.0**power, 0.1) for power in range(9)):
        square, mu, _, radius = closed_between(weights, lower, upper, skip, largest, room)
        yield max(math.sqrt(square) * (1.0 + room), smallest), multipliers_of(mu, radius)
    yield from ((bound, ascent.multipliers[0]) for bound in raised if bound >= most)


def _chain(weights: Sequence[ArrayLike], activation: str) -> list[Array]:
    if activation not in SLOPES:
        raise ValueError(f"activation {activation!r} has no known slope range; use one of {', '.join(SLOPES)}.")
    given = listed(weights, "weights", "a list of matrices (out, in)")
    chain = [array(w, f"weights[{k}]").copy() for k, w in enumerate(given)]
    if not chain:
        raise ValueError("there are no weights; give at least one matrix (out, in).")
    for k, w in enumerate(chain):
        if w.ndim != 2 or w.size == 0 or not (np.abs(w) <= 1e100).all():
            raise ValueError(f"weights[{k}] has shape {w.shape}; needed is a finite matrix (out, in) that is not empty.")
        if k and w.shape[1] != chain[k - 1].shape[0]:
            raise ValueError(f"weights[{k}] takes {w.shape[1]} inputs, weights[{k - 1}] gives {chain[k - 1].shape[0]}.")
    return chain


def _skip(chain: Sequence[Array], skip: ArrayLike) -> Array:
    """The linear term, and that it fits."""
    try:
        found = np.array(skip.detach() if hasattr(skip, "detach") else skip, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the skip is not a matrix of numbers: {str(skip)[:100]!r}; give (outputs, inputs).") from error
    needed = (chain[-1].shape[0], chain[0].shape[1])
    if found.shape != needed or not np.isfinite(found).all():
        raise ValueError(f"the skip has shape {found.shape}; needed is a finite matrix {needed}: outputs, inputs.")
    return found


def _offsets(chain: Sequence[Array], region: Box, biases: Sequence[ArrayLike] | None) -> list[Array]:
    """The biases, one per weight, and that the region fits."""
    inputs = chain[0].shape[1]
    if not isinstance(region, Box):
        raise ValueError(f"the region is {type(region).__name__}; a bound is proved in a Box of the network's inputs; give one.")
    if len(region.lower) != inputs or inputs > MOST_INPUTS:
        raise ValueError(
            f"the box has {len(region.lower)} axes and the network {inputs} inputs; give one bound per input, of at most "
            f"{MOST_INPUTS}."
        )
    if biases is None:
        raise ValueError("in a region the slopes depend on the biases; give biases=[b_1, …, b_L], one array per weight.")
    given = listed(biases, "biases", "[b_1, …, b_L], one array per weight")
    offsets = [array(b, f"biases[{k}]").copy() for k, b in enumerate(given)]
    shapes = [b.shape for b in offsets]
    if shapes != [(w.shape[0],) for w in chain] or not all(np.isfinite(b).all() for b in offsets):
        raise ValueError(f"the biases have shapes {shapes}; needed are finite arrays {[(w.shape[0],) for w in chain]}.")
    return offsets
