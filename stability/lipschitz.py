"""Lipschitz bounds of layered networks, with the multipliers and the climb of the contraction certificate.

The least γ with [γ²I, ·; 0, −W_LᵀW_L] + (D − αV)ᵀΛ(D − βV) + its transpose ⪰ 0 (`proof_lipschitz`) is the climb's problem with
A = 0, E = 0, P = I and a constant −W_LᵀW_L on the last layer: −2λ in the place of γ².
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stability.arguments import array, choice, kind, listed, read_claim, shown, time_limit
from stability.interior_point import Ascent, ascend
from stability.lure import SLOPES, Loop
from stability.newton import Problem, positive
from stability.proof import check
from stability.proof_lipschitz import MOST_INPUTS, digest, slopes_in_box, statement
from stability.region import Box
from stability.threads import of_weights, threads_by

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LipschitzBound:
    """A candidate proof that a network is `bound`-Lipschitz; `check(bound, {"weights": …, "activation": …})` says whether.

    In a region the system holds "biases" as well.
    """

    bound: float  # γ: |f(x') − f(x)| ≤ γ |x' − x|, Euclidean, for any two points, or any two of the region
    multipliers: Array  # (H,), one positive number per hidden unit
    slope_range: tuple[float, float]  # of the activation
    digest: str  # of the weights and the activation, in a region of the biases too, `proof_lipschitz.digest`
    floor: float  # about the least bound this inequality can give (computed in float64, not proved); 0 where unknown
    claim: str = field(default="")
    region: Mapping[str, Any] | None = None  # what `Box.to_dict` writes; None for all of Rⁿ

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings for JSON, exact to the last bit."""
        return {
            "kind": "lipschitz",
            "claim": self.claim,
            "bound": self.bound,
            "multipliers": self.multipliers.tolist(),
            "slope_range": list(self.slope_range),
            "digest": self.digest,
            "floor": self.floor,
            "region": None if self.region is None else dict(self.region),
        }

    @property
    def kind(self) -> str:
        """What tells the checker which claim this is."""
        return "lipschitz"

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "LipschitzBound":
        """The inverse of `to_dict`. Reads; whether what it reads is true is for `check` to say."""
        data = read_claim(data, "Lipschitz bound", ("bound", "floor"), ("slope_range",), ("multipliers",))
        needed = ("bound", "multipliers", "slope_range", "digest", "floor", "claim")
        missing = [name for name in needed if name not in data]
        if missing or len(data["slope_range"]) != 2 or not isinstance(data.get("region"), Mapping | None):
            raise ValueError(f"this is no Lipschitz bound as to_dict writes it: it lacks {', '.join(missing) or 'two slopes'}.")
        if data.get("kind") != "lipschitz":
            raise ValueError(f"the kind is {shown(data.get('kind'))}, not 'lipschitz'; read it with the class that wrote it.")
        low, high = data["slope_range"]
        return LipschitzBound(
            bound=data["bound"],
            multipliers=np.array(data["multipliers"], dtype=np.float64),
            slope_range=(low, high),
            digest=data["digest"],
            floor=data["floor"],
            claim=data["claim"],
            region=data.get("region"),
        )


@threads_by(of_weights)
def lipschitz_bound(
    weights: Sequence[ArrayLike],  # L arrays (out, in), the first in = inputs, the last out = outputs
    activation: str = "tanh",
    region: Box | None = None,
    *,
    biases: Sequence[ArrayLike] | None = None,  # L arrays (out,), with a region
    seconds: float = 60.0,
) -> LipschitzBound:
    """The best Euclidean Lipschitz constant that diagonal multipliers prove for W_L φ(… φ(W_1 x + b_1) …) + b_L.

    Arguments: `region`, a `Box` of inputs x (at most 40) between any two points of which the bound is to hold, or None for all
    of Rⁿ. In the box each unit has slopes of its own range, which depends on the biases.
    Returns a bound that `check(bound, {"weights": weights, "activation": activation})` accepts, with a region also "biases".
    Errors: ValueError for weights that are not a chain of finite matrices, an unknown activation, a region that is not a box of
    the network's inputs, or a region without biases.
    Law: never below the norm of any Jacobian (in the region); at most β^(L−1) ‖W_L‖ … ‖W_1‖, for α ≥ −β up to the tolerance
    of 0.2 %; equal to ‖W_L … W_1‖ where all weights are ≥ 0 and the slopes in [0, 1] (to the same tolerance).
    Source: the inequality of Fazlyab et al., NeurIPS 2019; the search is the climb of `interior_point`.
    """
    choice(activation, SLOPES, "the activation, whose slope range must be known:")
    time_limit(seconds)
    if region is not None:
        kind(region, Box, "the region", "Box([-1.0], [1.0]), a box of the inputs, or leave it out for all of Rⁿ")
    chain, deadline = _chain(weights, activation), time.monotonic() + seconds
    ends = tuple(np.full(sum(w.shape[0] for w in chain[:-1]), end) for end in SLOPES[activation])
    offsets, system = None, {"weights": chain, "activation": activation}
    if region is not None:
        offsets = _offsets(chain, region, biases)
        system = {**system, "biases": offsets}
        lower, upper = slopes_in_box(chain, offsets, activation, region.lower, region.upper)
        # A little width, so that the climb has an interior where units are off throughout and γ may be zero.
        ends = lower, np.maximum(upper, lower + 1e-6 * max(SLOPES[activation]))
    ascent = least(chain, *ends, deadline=deadline)
    gamma = float(np.sqrt(max(-2.0 * ascent.rate, 0.0)))
    smallest = 1e-100 * (1.0 + max(float(np.abs(w).max()) for w in chain))
    for raise_by in (1e-9, 1e-7, 1e-5, 1e-3, 1e-1):
        bound = max(gamma * (1.0 + raise_by), smallest)
        candidate = LipschitzBound(
            bound=bound,
            multipliers=ascent.multipliers[0],
            slope_range=SLOPES[activation],
            digest=digest(chain, activation, offsets),
            floor=float(np.sqrt(max(-2.0 * ascent.bound, 0.0))) if np.isfinite(ascent.bound) else 0.0,
            claim=statement(bound, chain[0].shape[1], chain[-1].shape[0], None if region is None else region.to_dict()),
            region=None if region is None else region.to_dict(),
        )
        if check(candidate, system):
            return candidate
    raise ArithmeticError(f"the bound {gamma:.6g} was found but not proved in float64; rescale weights that differ by 1e10.")


def least(
    weights: Sequence[Array],  # (out, in)
    lower: Array,  # (H,): α per hidden unit
    upper: Array,  # (H,): β
    *,
    deadline: float = float("inf"),
) -> Ascent:
    """The climb for γ: its rate is −γ²/2, its bound that of the least γ, its multipliers prove γ for slopes in [α, β]."""
    n, widths = weights[0].shape[1], tuple(w.shape[0] for w in weights[:-1])
    size = float(np.linalg.norm(weights[-1], 2))
    if not widths:
        rate = -0.5 * size**2
        return Ascent(rate, np.eye(n), np.zeros((1, 0)), rate, np.zeros((1, n, n)), 0)
    H = sum(widths)
    edges = np.concatenate([[0], np.cumsum(widths)])
    layers = [slice(int(edges[k]), int(edges[k + 1])) for k in range(len(widths))]
    W, N = np.zeros((1, H, n)), np.zeros((1, H, H))
    W[0, layers[0]] = weights[0]
    for k in range(1, len(widths)):
        N[0, layers[k], layers[k - 1]] = weights[k]
    loop = Loop(np.zeros((1, n, n)), np.zeros((1, n, H)), W, N, lower[None], upper[None], widths)
    constant = np.zeros((1, H, H))
    constant[0, layers[-1], layers[-1]] = -weights[-1].T @ weights[-1]
    L = _first(weights, layers, lower, upper, size)
    problem = Problem(loop, True, 1.0, np.array([[1e6 * L.max()]]), constant)
    for _ in range(100):
        M = problem.matrix(0.0, np.eye(n), L)[0]
        if positive(M[n:, n:]):
            break
        L = 2.0 * L
    # Between too small for M_zz ≻ 0 and too large for γ: the best common factor, by trial.
    squares = [(_square(problem, L * factor, n), factor) for factor in 2.0 ** np.arange(0.25, 8.0, 0.5)]
    square, factor = min(squares)
    problem = Problem(loop, True, 1.0, np.array([[1e6 * factor * L.max()]]), constant)
    return ascend(problem, (-0.75 * square, np.eye(n), factor * L), tolerance=2e-3, deadline=deadline)


def _square(problem: Problem, L: Array, n: int) -> float:
    """The least γ² with the multipliers L, by the Schur complement; inf where there is none."""
    M = problem.matrix(0.0, np.eye(n), L)[0]
    if not positive(M[n:, n:]):
        return np.inf
    return max(float(np.linalg.eigvalsh(M[:n, n:] @ np.linalg.solve(M[n:, n:], M[n:, :n]) - M[:n, :n])[-1]), 1e-300)


def _first(weights: Sequence[Array], layers: list[slice], lower: Array, upper: Array, size: float) -> Array:
    """One number per layer, which makes the block of z positive at any depth: see `interior_point.explicit`."""
    a = max(float((lower + upper).max()), 1e-9)
    b = max(float((-lower * upper).max()), 0.0)
    s = 0.95 * 2.0 / (a + np.sqrt(a * a + 4.0 * b))
    L = np.ones((1, int(layers[-1].stop)))
    for k in range(len(layers) - 1, 0, -1):
        norm = max(float(np.linalg.norm(weights[k], 2)), 1e-6)
        L[:, layers[k - 1]] = L[:, layers[k]][:, :1] * (norm / s) ** 2
    return L * max(size**2, 1e-12)


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
