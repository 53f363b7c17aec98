"""The system that a claim is about, as an artefact carries it: its field and slopes, where the claim speaks, and its inequality.

What an FMU or a graph answers by itself is held against these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learned.residual import ACTIVATIONS
from physics import Tape
from stability import Box, Lure
from stability.region import claimed
from stability.search.states.jacobians import jacobians_at

Array = NDArray[np.float64]


def system_of(system: Lure, member: int, person: int) -> Lure:
    """The system of one member and person, without leading axes; what all share stands for each."""
    M, N = (1, 1, *system.leading)[-2:]
    return system.one((member if M > 1 else 0) * N + (person if N > 1 else 0))


def rates_at(
    system: Lure,  # one, without leading axes
    x: Array,  # (S, n)
    u: Array,  # (S, m)
) -> Array:  # (S, n)
    """f(x, u), by the system's arrays and its tape alone.

    Errors: `ValueError` for parts that no model of ours has.
    """
    if system.branches or system.feedback is not None or not isinstance(system.activation, str):
        raise ValueError(
            "the stored system has branches, a policy or activations unit by unit, which no exported model has"
        )
    at, level = torch.from_numpy(x), torch.from_numpy(u)

    def of(array: Any) -> Tensor:
        return torch.from_numpy(np.array(array, dtype=np.float64))

    found = at @ of(system.A).mT
    if system.B is not None:
        found = found + level @ of(system.B).mT
    if system.skip is not None:
        found = found + at @ of(system.skip).mT
    if system.tape is not None and system.theta is not None:
        found = found + Tape.from_dict(system.tape).at(of(system.theta)).rate(at, level)
    if system.weights:
        value, activation = at, ACTIVATIONS[system.activation] if len(system.weights) > 1 else None
        for k, (weight, bias) in enumerate(zip(system.weights, system.biases, strict=True)):
            if k and activation is not None:
                value = activation(value)
            value = value @ of(weight).mT + of(bias)
            if not k and system.input_weights is not None:
                value = value + level @ of(system.input_weights).mT
        found = found + value
    return np.asarray(found.numpy())


def jacobians_of(
    system: Lure,  # one, without leading axes
    x: Array,  # (S, n)
    u: Array,  # (S, m)
) -> Array:  # (S, n, n)
    """∂f/∂x, by the system's arrays and its tape alone."""
    flat = replace(system, tape=None, theta=None, theta_upper=None, scale=None).merged()
    if flat.widths:
        points = np.concatenate([x, u], 1) if flat.input_weights is not None else x
        J = jacobians_at(flat, points[None])[1][0]
    else:
        J = np.broadcast_to(flat.jacobian([]).reshape(1, *flat.A.shape[-2:]), (len(x), *flat.A.shape[-2:]))
    if system.tape is None:
        return np.asarray(J)
    theta = np.broadcast_to(np.asarray(system.theta).reshape(1, -1), (len(x), np.asarray(system.theta).shape[-1]))
    tape = Tape.from_dict(system.tape).at(torch.from_numpy(theta.copy()))
    return np.asarray(J + tape.jacobian(torch.from_numpy(x), torch.from_numpy(u)).numpy())


def eigenvalues_of(metric: Array, jacobians: Array, rate: float) -> Array:  # (n, n), (S, n, n) -> (S,)
    """The largest of L⁻¹(PJ + JᵀP + 2λP)L⁻ᵀ, P = LLᵀ, for each J: above 0 where a claim of the rate λ is false."""
    inverse = np.linalg.inv(np.linalg.cholesky(metric))
    product = metric @ jacobians
    both = inverse @ (product + product.swapaxes(-1, -2) + 2.0 * rate * metric) @ inverse.T
    return np.asarray(np.linalg.eigvalsh(both)[..., -1])


def sampled_states(
    region: str | Mapping[str, Any],
    metric: Array,  # P (n, n)
    *,
    nominal: Sequence[float],  # (n,)
    levels: Sequence[float],  # (m,), where inputs begin
    count: int,
    seed: int,
    most: float = 10.0,
    share: float = 1.0 - 1e-9,
) -> tuple[Array, Array]:  # (count, n), (count, m)
    """States and inputs at which a claim is tried, inside its region, drawn by a seed.

    Of a claim about all states: from 0.001 · `most` to `most` times the states' size, of both signs, 0 first.
    Of a region: all over that `share` of it that is about its middle (of an ellipsoid's radius, of a box's edges), with inputs
    within its levels; where a box has no end, as far as `most` times the size.
    """
    draw = np.random.default_rng(seed)
    size, begun = np.asarray(nominal, dtype=np.float64), np.asarray(levels, dtype=np.float64)
    n, m = len(size), len(begun)
    u = begun + np.maximum(np.abs(begun), 1.0) * draw.uniform(-1.0, 1.0, (count, m))
    if isinstance(region, str):
        x = size * draw.choice([-1.0, 1.0], (count, n)) * most * 10.0 ** draw.uniform(-3.0, 0.0, (count, n))
        x[:1] = 0.0
        return x, u
    within, inputs = claimed(region)
    if inputs is not None:
        u = draw.uniform(inputs.lower, inputs.upper, (count, m))
    if isinstance(within, Box):
        reach = most * size
        low = np.where(np.isfinite(within.lower), within.lower, np.minimum(-reach, within.upper - reach))
        high = np.where(np.isfinite(within.upper), within.upper, np.maximum(reach, low + reach))
        edge = 0.5 * (1.0 - share) * (high - low)
        return draw.uniform(low + edge, high - edge, (count, n)), u
    direction = draw.standard_normal((count, n))
    direction *= (draw.uniform(0.0, 1.0, count) ** (1.0 / n) / np.linalg.norm(direction, axis=1))[:, None]
    root = np.linalg.cholesky(np.asarray(metric, dtype=np.float64))  # P = L Lᵀ, and ‖Lᵀ(x − centre)‖ ≤ radius
    return within.centre + within.radius * share * np.linalg.solve(root.T, direction.T).T, u
