"""Jacobians sampled over all states or in a box: of states that exist, and of slope patterns that need not be attained.

Two kinds of slope patterns are kept apart. *Attained* patterns come from real states and inputs: a Jacobian there is a
linearisation of the system itself, and an eigenvalue with real part above −r disproves contraction at rate r in every
constant metric. *Corner* patterns put each slope at an end of its range without asking whether any state does so: they bound
what the inequality can prove, since it covers every pattern, but disprove nothing about the system: another proof of the same
claim (cell by cell, in a region) may exceed them.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from stability.lure import Array, Lure
from stability.proof.units import slope_ends
from stability.search.states.jacobians import abscissa, jacobians_at, jacobians_of, log_norm


@dataclass(frozen=True)
class Samples:
    """Jacobians of V systems: S at real states (with the states, inputs and slopes that give them), C at corner patterns."""

    attained: Array  # (V, S, n, n)
    states: Array  # (V, S, n)
    inputs: Array | None  # (V, S, m); None where the layers see no input
    slopes: tuple[Array, ...]  # per hidden layer (V, S, h)
    corners: Array  # (V, C, n, n)


def sample(system: Lure, *, samples: int = 64, seed: int = 0, rounds: int = 4) -> Samples:
    """Draw states and inputs over several orders of magnitude, then climb from the worst; and try corner patterns.

    Half of the draws lie about the state that makes the first layer's arguments smallest (where the slopes of tanh and
    sigmoid are largest), half about the origin; both points are in the sample. Every later round perturbs the worst point
    found.
    """
    generator = np.random.default_rng(seed)
    flat = system.merged()
    count, n = flat.A.shape[0], flat.states
    if not flat.widths:
        jacobians = flat.jacobian([])[:, None]
        return Samples(jacobians, np.zeros((count, 1, n)), None, (), jacobians)
    first = flat.weights[0]
    if flat.input_weights is not None:
        first = np.concatenate([first, flat.input_weights], axis=2)  # one combined argument (x, u)
    spread = 1.0 / np.maximum(np.linalg.norm(first, axis=(1, 2)), 1e-12)[:, None, None]
    centre = -(np.linalg.pinv(first) @ flat.biases[0][:, :, None]).swapaxes(1, 2)  # (V, 1, n + m)
    direction = generator.standard_normal((count, samples, first.shape[2]))
    points = direction * spread * 10.0 ** generator.uniform(-2, 2, (count, samples, 1))
    points[:, ::2] += centre
    points[:, :1], points[:, 1:2] = centre, 0.0
    if "relu" in (units if isinstance(units := flat.units[0], tuple) else (units,)):
        # There the arguments are zero, on the kink, where rounding would choose the slopes: step off it.
        points[:, :2] += 1e-3 * spread * generator.standard_normal((count, 2, first.shape[2]))
    best, slopes, jacobians = points, *jacobians_at(flat, points)
    everything = [(best, slopes, jacobians)]
    for step in range(rounds - 1):
        worst = abscissa(everything[-1][2]).argmax(1)
        start = np.take_along_axis(everything[-1][0], worst[:, None, None], 1)
        noise = generator.standard_normal(points[:, : samples // 4 + 1].shape)
        noise[:, 0] = 0.0  # the worst point stays in the next round
        points = start + noise * (np.abs(start) + spread) * 0.5**step
        slopes, jacobians = jacobians_at(flat, points)
        everything.append((points, slopes, jacobians))
    points = np.concatenate([p for p, _, _ in everything], 1)
    merged = tuple(np.concatenate(layer, 1) for layer in zip(*(s for _, s, _ in everything), strict=True))
    inputs = None if flat.input_weights is None else points[..., n:]
    corners = _corners(flat, generator, samples // 4 + 2, rounds)
    return Samples(np.concatenate([j for _, _, j in everything], 1), points[..., :n], inputs, merged, corners)


def _corners(flat: Lure, generator: np.random.Generator, count: int, rounds: int) -> Array:
    """Jacobians at corner patterns: all slopes at α, all at β, random ones, and sign steps that raise the abscissa.

    For an eigenvalue with left and right eigenvectors y, x (yx = 1) the derivative with respect to the slope of unit j in
    layer l is Re (y W_L D … W_{l+1})_j (W_l D … W_1 x)_j; each step sets every slope to the end that this sign favours.
    """
    edges = np.cumsum(flat.widths)[:-1]
    alpha, beta = (np.split(end, edges) for end in slope_ends(flat.activation, flat.widths))
    V = flat.A.shape[0]
    layers = list(zip(flat.widths, alpha, beta, strict=True))
    slopes = [np.where(generator.integers(0, 2, (V, count, h)) == 1, high, low) for h, low, high in layers]
    for layer, (_, low, high) in zip(slopes, layers, strict=True):
        layer[:, 0], layer[:, 1] = low, high
    jacobians = [jacobians_of(flat, slopes)]
    for _ in range(rounds):
        values, vectors = np.linalg.eig(jacobians[-1])
        index = values.real.argmax(-1)[..., None, None]
        right = np.take_along_axis(vectors, index, -1)[..., 0]
        left = np.take_along_axis(np.linalg.pinv(vectors), index, -2)[..., 0, :]
        forward = [np.einsum("vhi,vsi->vsh", flat.weights[0], right)]
        for weight, slope in zip(flat.weights[1:-1], slopes[:-1], strict=True):
            forward.append(np.einsum("vhi,vsi->vsh", weight, slope * forward[-1]))
        backward = [np.einsum("vih,vsi->vsh", flat.weights[-1], left)]
        for weight, slope in zip(flat.weights[-2:0:-1], slopes[:0:-1], strict=True):
            backward.insert(0, np.einsum("vih,vsi->vsh", weight, slope * backward[0]))
        both = zip(forward, backward, layers, strict=True)
        slopes = [np.where((f * b).real > 0, high, low) for f, b, (_, low, high) in both]
        jacobians.append(jacobians_of(flat, slopes))
    return np.concatenate(jacobians, axis=1)


def sample_in(
    system: Lure,
    lower: Array,
    upper: Array,
    levels: tuple[Array, Array],
    *,
    samples: int = 512,
    seed: int = 0,
    rounds: int = 4,
) -> Samples:
    """Jacobians at states of a box and inputs within their levels: corners, random points, then steps about the worst."""
    generator = np.random.default_rng(seed)
    flat = system.merged()
    count, n = flat.A.shape[0], flat.states
    felt = flat.input_weights is not None
    low = np.concatenate([lower, levels[0]]) if felt else lower
    high = np.concatenate([upper, levels[1]]) if felt else upper
    d = len(low)
    corners = np.array(list(product((0.0, 1.0), repeat=min(d, 8))), dtype=np.float64)
    unit = generator.uniform(0, 1, (max(samples, 2 * len(corners)), d))
    unit[: len(corners), : corners.shape[1]] = corners
    points = np.broadcast_to(low + unit * (high - low), (count, len(unit), d))
    everything = []
    for step in range(rounds):
        slopes, jacobians = jacobians_at(flat, points) if flat.widths else ((), _constant(flat, points.shape[1]))
        everything.append((points, slopes, jacobians))
        worst = log_norm(jacobians, np.eye(n)).argmax(1), abscissa(jacobians).argmax(1)
        start = np.concatenate([np.take_along_axis(points, w[:, None, None], 1) for w in worst], 1)
        noise = generator.standard_normal((count, samples // 8, 2, d)) * 0.3**step * 0.2
        points = np.clip(start[:, None] + noise * (high - low), low, high).reshape(count, -1, d)
    points = np.concatenate([p for p, _, _ in everything], 1)
    merged = tuple(np.concatenate(layer, 1) for layer in zip(*(s for _, s, _ in everything), strict=True))
    jacobians = np.concatenate([j for _, _, j in everything], 1)
    return Samples(jacobians, points[..., :n], points[..., n:] if felt else None, merged, jacobians[:, :0])


def _constant(flat: Lure, samples: int) -> Array:
    return np.repeat(flat.linear()[:, None], samples, axis=1)
