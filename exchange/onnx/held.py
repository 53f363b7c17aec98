"""A graph held against the system that its claims are about: the same field, with the slopes that the claims say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hybrid.derivative import slope_of
from learned.residual import ACTIVATIONS
from physics import Tape
from stability import Certificate, Lure, RegionalRate
from stability.region import Box, claimed

Array = NDArray[np.float64]
Rate = Callable[[Array, Array], Array]  # of x (S, n) and u (S, m), for one member and person: (S, n)
# The stencil of order 6 at distances h, 2h, 3h (Fornberg 1988, table 1), and its step over the size of x: truncation ~ h⁶,
# rounding ~ 1e-16/h
_STENCIL = ((1, 3.0 / 4.0), (2, -3.0 / 20.0), (3, 1.0 / 60.0))
_STEP = {"float64": 2e-3, "float32": 2e-2}


@dataclass(frozen=True)
class Held:
    """`states` at which the graph was asked · how far its rate (`value`) and its Jacobian (`slope`) are from those of the stored
    system, over their largest entries · `eigenvalue`: the largest of L⁻¹(PJ + JᵀP + 2λP)L⁻ᵀ, P = LLᵀ, of the graph's own J, per
    unit of time; None where no claim states a rate · `allowed`: how far above 0 it may lie by the distance of that J from the
    stored system's.
    """

    states: int
    value: float
    slope: float
    eigenvalue: float | None
    allowed: float = 0.0

    @property
    def holds(self) -> bool:
        """Has the graph's Jacobian the inequality of the claim, or is there none?"""
        return self.eigenvalue is None or self.eigenvalue <= self.allowed


def rate_of(
    system: Lure,  # one, without leading axes
    x: Tensor,  # (S, n)
    u: Tensor,  # (S, m)
) -> Tensor:  # (S, n)
    """f(x, u) of the stored system, by its arrays and its tape alone.

    Errors: `ValueError` for parts that no model of ours has.
    """
    if system.branches or system.feedback is not None or not isinstance(system.activation, str):
        raise ValueError(
            "the stored system has branches, a policy or activations unit by unit, which no exported model has"
        )

    def of(array: Any) -> Tensor:
        return torch.from_numpy(np.array(array, dtype=np.float64))

    found = x @ of(system.A).mT
    if system.B is not None:
        found = found + u @ of(system.B).mT
    if system.skip is not None:
        found = found + x @ of(system.skip).mT
    if system.tape is not None and system.theta is not None:
        found = found + Tape.from_dict(system.tape).at(of(system.theta)).rate(x, u)
    if system.weights:
        value, activation = x, ACTIVATIONS[system.activation] if len(system.weights) > 1 else None
        for k, (weight, bias) in enumerate(zip(system.weights, system.biases, strict=True)):
            if k and activation is not None:
                value = activation(value)
            value = value @ of(weight).mT + of(bias)
            if not k and system.input_weights is not None:
                value = value + u @ of(system.input_weights).mT
        found = found + value
    return found


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
    """The graph's rate beside that of the stored system, at states where the claim speaks, or around states of this `size`."""
    x, u = points(claim, size, inputs, states, seed)
    known = rate_of(system, torch.from_numpy(x), torch.from_numpy(u))
    slopes = slope_of(lambda at: rate_of(system, at, torch.from_numpy(u)), torch.from_numpy(x)).numpy()
    found, J = rate(x, u), differenced(rate, x, u, _STEP[precision])
    top, allowed = None, 0.0
    if claim is not None:
        root = np.linalg.cholesky(claim.metric)
        inverse = np.linalg.inv(root)
        # of Lᵀ ΔJ L⁻ᵀ and its transpose
        allowed = 1e-9 + 2.0 * J.shape[-1] * float(np.linalg.cond(root)) * float(np.abs(J - slopes).max())
        both = claim.metric @ J
        both = both + both.swapaxes(-1, -2) + 2.0 * claim.rate * claim.metric
        top = float(np.linalg.eigvalsh(inverse @ both @ inverse.T).max())
    return Held(len(x), _apart(found, known.numpy()), _apart(J, slopes), top, allowed)


def _apart(found: Array, known: Array) -> float:
    there = np.isfinite(known)
    if not np.array_equal(there, np.isfinite(found)):
        return float("inf")
    largest = np.abs(known[there]).max(initial=1e-300)
    return float(np.abs(found[there] - known[there]).max(initial=0.0) / largest)


def differenced(
    rate: Rate,
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


def points(
    claim: Certificate | RegionalRate | None, size: Array, inputs: int, states: int, seed: int
) -> tuple[Array, Array]:  # x (S, n), u (S, m)
    """States where the claim speaks, and levels of inputs that it allows."""
    random, n = np.random.default_rng(seed), len(size)
    x = random.standard_normal((states, n)) * size
    u = random.uniform(0.0, 1.0, (states, inputs))
    if claim is None or isinstance(claim.region, str):
        return x, u
    region, given = claimed(claim.region)
    if given is not None and len(given.lower) == inputs:
        u = given.lower + u * (given.upper - given.lower)
    if isinstance(region, Box):
        lower = np.where(np.isfinite(region.lower), region.lower, np.minimum(-size, region.upper - size))
        upper = np.where(np.isfinite(region.upper), region.upper, np.maximum(size, lower + size))
        # from the middle of the box: what is differenced must stay within it
        return lower + (0.05 + 0.9 * random.uniform(size=(states, n))) * (upper - lower), u
    directions = random.standard_normal((states, n))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    inverse = np.linalg.inv(np.linalg.cholesky(claim.metric))
    radii = 0.9 * region.radius * random.uniform(size=(states, 1)) ** (1.0 / n)
    return region.centre + radii * directions @ inverse, u


def runner(
    run: Callable[[Mapping[str, Array]], Array],  # the field of the file, by names of inputs
    member: int,  # of those in the file
    given: Mapping[str, Array],  # θ (q,) and c (r,) of the person
    axes: Mapping[str, list[Any]],
) -> Rate:
    """The field of one member and person: every member stands where this one does."""

    def rate(x: Array, u: Array) -> Array:
        rows = {"x": x, "u": u, "infused": np.zeros_like(x)}
        rows |= {name: np.broadcast_to(value, (len(x), len(value))) for name, value in given.items()}
        fed = {
            name: np.broadcast_to(rows[name], (sizes[0], *rows[name].shape)) if len(sizes) == 3 else rows[name]
            for name, sizes in axes.items()
        }
        found = run(fed)
        return np.asarray(found[member] if found.ndim == 3 else found, dtype=np.float64)

    return rate
