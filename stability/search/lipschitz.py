"""Lipschitz bounds of layered networks: a closed form, then the climb of the contraction certificate.

In the coordinates of `loop_shift` the least γ with diag(γ²I, μ) − GᵀG − Vᵀdiag(μ)V ⪰ 0 is the climb's problem with A = 0, E = 0,
P = I, slopes in [−1, 1] and a constant −GᵀG: −2λ in the place of γ².
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stability.arguments import array, choice, kind, listed, time_limit
from stability.claims.lipschitz import LipschitzBound
from stability.lure import SLOPES, Loop
from stability.proof.checker import check
from stability.proof.lipschitz import MOST_INPUTS, digest, holds_shifted, statement
from stability.proof.loop_shift import centre_and_radius, multipliers_of, rows
from stability.proof.slopes import slopes_in_box
from stability.region import Box
from stability.search.interior_point import Ascent, ascend
from stability.search.newton import Problem, positive
from stability.threads import of_weights, threads_by

Array = NDArray[np.float64]


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
    reached, most = float(np.sqrt(max(-2.0 * ascent.rate, 0.0))), _closed(weights, lower, upper, skip, largest, 0.0)[0] ** 0.5
    raised = [max(reached * (1.0 + up), smallest) for up in (1e-9, 1e-7, 1e-5, 1e-3)]
    yield from ((bound, ascent.multipliers[0]) for bound in raised if bound < most)
    # What a proof by factors of k rows needs grows with k².
    size = weights[0].shape[1] + sum(w.shape[0] for w in weights[:-1])
    for room in (min(1e-12 * size**2 * 10.0**power, 0.1) for power in range(9)):
        square, mu, _, radius = _closed(weights, lower, upper, skip, largest, room)
        yield max(math.sqrt(square) * (1.0 + room), smallest), multipliers_of(mu, radius)
    yield from ((bound, ascent.multipliers[0]) for bound in raised if bound >= most)


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
    square, mu, centre, radius = _closed(weights, lower, upper, skip, largest, 0.0)
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


def closed_form(
    weights: Sequence[Array],  # (out, in)
    centre: Array,  # c (H,): slopes are in [c − r, c + r]
    radius: Array,  # r > 0 (H,)
    room: float = 0.0,
    skip: Array | None = None,  # (out, in)
) -> tuple[float, Array]:
    """γ² and the μ (H,) of `loop_shift` that prove it, layer by layer, without a search.

    Let δz' X⁻¹ δz ≤ |δx|² for the layer before (X = I for x) and S = W X Wᵀ. For any diagonal 0 ≺ M ≺ S⁻¹

        X⁺ = C (S⁻¹ − M)⁻¹ C + R M⁻¹ R   has   δz⁺' X⁺⁻¹ δz⁺ + Σ m_j (δv_j² − q_j²) ≤ δv' S⁻¹ δv ≤ |δx|²

    (minimise the left side over all C δv + R q = δz⁺), and γ² = ‖W_L X W_Lᵀ‖, μ = γ² m. With m_j = r_j/(s (r_j + d_j)), s = ‖S‖,
    and b the steepest |c| + r of the layer, X⁺ ⪯ s b² I for every d_j between |c_j| and (b² − c_j² − r_j² − |c_j| r_j)/r_j: the
    bound never exceeds the product of norms and steepest slopes. Taken is the d_j there that is nearest to b, so that m → 0 as
    r → 0, and X⁺ is what the linear layer gives. The same with S_jj in the place of s, and a factor that keeps M ≺ S⁻¹, is better
    where few units are not linear; the smaller γ counts. `room` raises every X by so much, for F ≻ 0 with room to spare. A linear
    term is carried along as a layer of slope one, or added by the triangle inequality.
    Source: for slopes in [0, β] the first is ECLipsE-Fast (Xu & Sivaranjani, NeurIPS 2024); the rest is ours.
    """
    found = []
    for by_unit in (False, True):
        plain = _recursion(weights, centre, radius, room, None, by_unit)
        found.append(plain)
        if skip is not None:
            network, linear = float(np.sqrt(plain[0])), float(np.linalg.norm(skip, 2))
            # |Sx + y|² ≤ (1 + 1/τ)|Sx|² + (1 + τ)|y|² with τ = ‖S‖/γ
            found[-1] = (network + linear) ** 2, plain[1] * (1.0 + linear / max(network, 1e-150))
            found.append(_recursion(weights, centre, radius, room, skip, by_unit))
    return min(found, key=lambda pair: pair[0])


def _recursion(
    weights: Sequence[Array], centre: Array, radius: Array, room: float, skip: Array | None, by_unit: bool
) -> tuple[float, Array]:
    n = weights[0].shape[1]
    z, x = np.eye(n), np.eye(n)  # factors: X = F Fᵀ with F = z, and with a skip F = [z; x]
    multipliers, at = np.zeros(len(centre)), 0
    for W in weights[:-1]:
        here = slice(at, at + W.shape[0])
        c, r, v = centre[here], radius[here], W @ z
        size, b = np.abs(c), float((np.abs(c) + r).max())
        d = np.maximum(np.minimum(b, (b * b - c * c - r * r - size * r) / r), np.maximum(size, 1e-7 * r))
        least_s = max(1e-30 * float(np.linalg.norm(z, 2)) ** 2, 1e-150)
        if by_unit:
            m = r / (np.maximum((v * v).sum(1), least_s) * (r + d))
            m /= max(1.0, 2.0 * float(np.linalg.norm(np.sqrt(m)[:, None] * v, 2)) ** 2)
        else:
            m = r / (max(float(np.linalg.norm(v, 2)) ** 2, least_s) * (r + d))
        # (S⁻¹ − M)⁻¹ = v (I − vᵀMv)⁻¹ vᵀ
        root = np.linalg.cholesky(np.eye(v.shape[1]) - v.T @ (m[:, None] * v))
        parts = [np.concatenate([c[:, None] * np.linalg.solve(root, v.T).T, np.diag(r / np.sqrt(m))], axis=1)]
        if skip is not None:
            parts.append(np.concatenate([np.linalg.solve(root, x.T).T, np.zeros((n, len(c)))], axis=1))
        stacked = np.concatenate(parts) * np.sqrt(1.0 + room)
        if stacked.shape[1] > stacked.shape[0]:  # fewer columns, the same F Fᵀ
            stacked = np.asarray(np.linalg.qr(stacked.T, mode="r"), dtype=np.float64).T
        z, x = stacked[: len(c)], stacked[len(c) :]
        multipliers[here], at = m, at + W.shape[0]
    last = weights[-1] @ z if skip is None else weights[-1] @ z + skip @ x
    # Where the network is nothing, so small a γ that μ is still a number.
    square = max(float(np.linalg.norm(last, 2)) ** 2, 1e-99 / multipliers.min(initial=1.0)) * (1.0 + room)
    return square, multipliers * square


def _closed(
    weights: Sequence[Array], lower: Array, upper: Array, skip: Array | None, largest: float, room: float
) -> tuple[float, Array, Array, Array]:
    """γ², μ, c and r of the closed form for slopes in [α, β]."""
    centre, radius = centre_and_radius(lower, upper, max(largest, 1e-12))
    return *closed_form(weights, centre, radius, room, skip), centre, radius


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
    square, mu, _, radius = _closed(weights, lower, upper, skip, largest, 4.0 ** (1.0 / depth) - 1.0)
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
