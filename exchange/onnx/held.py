"""A graph held against the system that its claims are about: the same field, with the slopes that the claims say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange.stored_system import eigenvalues_of, jacobians_of, rates_at, sampled_states
from stability import Certificate, Lure, RegionalRate

Array = NDArray[np.float64]
Rate = Callable[[Array, Array, Array], Array]  # of x, u (S, m) and infused, for one member and person: (S, n)
# The stencil of order 6 at distances h, 2h, 3h (Fornberg 1988, table 1), and its step over the size of x: truncation ~ h⁶,
# rounding ~ 1e-16/h
_STENCIL = ((1, 3.0 / 4.0), (2, -3.0 / 20.0), (3, 1.0 / 60.0))
_STEP = {"float64": 2e-3, "float32": 2e-2}


# Of a claim about all states also this far out, in units of the states' size or of 1, whichever is more: a sender says the size
_FAR = (1e3, 1e6)


@dataclass(frozen=True)
class Held:
    """`states` at which the graph was asked, and `far` ones at which it was asked for its rate alone · how far its rate (`value`,
    with infusions and without) and its Jacobian (`slope`, without) are from those of the stored system, over their largest
    entries, ∞ where the graph gives what is not finite · `eigenvalue`: the largest of L⁻¹(PJ + JᵀP + 2λP)L⁻ᵀ, P = LLᵀ, of the
    graph's own J, per unit of time; None where no claim states a rate · `allowed`: how far above 0 it may lie by the distance of
    that J from the stored system's.
    """

    states: int
    value: float
    slope: float
    eigenvalue: float | None
    allowed: float = 0.0
    far: int = 0

    @property
    def holds(self) -> bool:
        """Has the graph's Jacobian the inequality of the claim, or is there none?"""
        return self.eigenvalue is None or self.eigenvalue <= self.allowed


def held(
    rate: Rate,
    system: Lure,  # one, without leading axes
    claim: Certificate | RegionalRate | None,
    size: Array,  # (n,)
    *,
    inputs: int,
    precision: str,
    states: int,
    seed: int,
) -> Held:
    """The graph's rate beside that of the stored system, at states where the claim speaks, or around states of this `size`.

    Errors: `ValueError` where the stored system itself has no finite rate or slope where its claim speaks, and where it has none
    at any of the states.
    """
    region, metric = ("global", np.eye(len(size))) if claim is None else (claim.region, claim.metric)
    # not to the region's edge: what is differenced must stay within it
    x, u = sampled_states(
        region, metric, nominal=size.tolist(), levels=[0.0] * inputs, count=states, seed=seed, most=2.0, share=0.9
    )
    known, slopes = rates_at(system, x, u), jacobians_of(system, x, u)
    there = np.isfinite(known).all(-1) & np.isfinite(slopes).all((-2, -1))
    if not there.any() or (claim is not None and not there.all()):
        raise ValueError("the stored system has no finite rates where it was to be asked")
    x, u, known, slopes = x[there], u[there], known[there], slopes[there]
    J = differenced(lambda at, level: rate(at, level, np.zeros_like(at)), x, u, _STEP[precision])
    off, slope = _value_apart(rate, x, u, known, seed), _apart(J, slopes)
    far = 0
    for reach in _FAR if claim is not None and isinstance(region, str) else ():
        beyond, level = sampled_states(
            region,
            metric,
            nominal=np.maximum(size, 1.0).tolist(),
            levels=[0.0] * inputs,
            count=states,
            seed=seed,
            most=reach,
        )
        rates = rates_at(system, beyond, level)
        there = np.isfinite(rates).all(-1)
        if there.any():
            off, far = (
                max(off, _value_apart(rate, beyond[there], level[there], rates[there], seed)),
                far + int(there.sum()),
            )
    if claim is None:
        return Held(len(x), off, slope, None, far=far)
    top, allowed = np.inf, 0.0
    if np.isfinite(slope):
        # of Lᵀ ΔJ L⁻ᵀ and its transpose
        most = J.shape[-1] * float(np.linalg.cond(np.linalg.cholesky(claim.metric)) * np.abs(J - slopes).max())
        top, allowed = float(eigenvalues_of(claim.metric, J, claim.rate).max()), 1e-9 + 2.0 * most
    return Held(len(x), off, slope, top, allowed, far)


def _value_apart(rate: Rate, x: Array, u: Array, known: Array, seed: int) -> float:
    """Of the rate: of a whole batch, of a row by itself, and with infusions, which add to it."""
    draw = np.random.default_rng(seed)
    largest = np.abs(known).max(0)
    largest = np.where(largest > 0.0, largest, largest.max() or 1.0)
    given = largest * draw.choice([-1.0, 1.0], x.shape) * 10.0 ** draw.uniform(-2.0, 1.0, x.shape)
    nothing = np.zeros_like(x)
    alone = np.concatenate([known[:-1], rate(x[-1:], u[-1:], nothing[-1:])])
    return max(_apart(rate(x, u, nothing), known), _apart(alone, known), _apart(rate(x, u, given), known + given))


def _apart(found: Array, known: Array) -> float:
    """Over the largest entry; ∞ where anything is not finite, or not of the shape."""
    if found.shape != known.shape or not np.isfinite(found).all():
        return float("inf")
    gap = float(np.abs(found - known).max(initial=0.0) / np.abs(known).max(initial=1e-300))
    return gap if np.isfinite(gap) else float("inf")


def differenced(
    rate: Callable[[Array, Array], Array],
    x: Array,  # (S, n)
    u: Array,  # (S, m)
    step: float,
) -> Array:  # (S, n, n)
    """∂f/∂x by central differences of order 6, all in one call."""
    n = x.shape[1]
    h = step * np.maximum(np.abs(x), np.abs(x).max(axis=0, initial=1e-6))  # (S, n)
    moved = [x + sign * k * h[:, j, None] * np.eye(n)[j] for j in range(n) for k, _ in _STENCIL for sign in (1.0, -1.0)]
    values = rate(np.concatenate(moved), np.tile(u, (len(moved), 1))).reshape(n, len(_STENCIL), 2, len(x), n)
    weights = np.array([weight for _, weight in _STENCIL])
    slopes = np.einsum("k,jksi->jsi", weights, values[:, :, 0] - values[:, :, 1])  # (n, S, n)
    return np.asarray(np.moveaxis(slopes, 0, -1) / h[:, None, :])


def runner(
    run: Callable[[Mapping[str, Array]], Array],  # the field of the file, by names of inputs
    member: int,  # of those in the file
    given: Mapping[str, Array],  # θ (q,) and c (r,) of the person
    axes: Mapping[str, list[Any]],
) -> Rate:
    """The field of one member and person: every member stands where this one does."""

    def rate(x: Array, u: Array, infused: Array) -> Array:
        rows = {"x": x, "u": u, "infused": infused}
        rows |= {name: np.broadcast_to(value, (len(x), len(value))) for name, value in given.items()}
        fed = {
            name: np.broadcast_to(rows[name], (sizes[0], *rows[name].shape)) if len(sizes) == 3 else rows[name]
            for name, sizes in axes.items()
        }
        found = run(fed)
        if found.shape != fed["x"].shape:
            raise ValueError(f"it gives rates of the shape {found.shape} for states of the shape {fed['x'].shape}")
        return np.asarray(found[member] if found.ndim == 3 else found, dtype=np.float64)

    return rate
