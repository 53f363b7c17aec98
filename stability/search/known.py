"""A system with a tape over a box: its loop, the entries of the tape as units, or its corners; and Jacobians at its states."""

from dataclasses import replace

import numpy as np

from stability.lure import Array, Loop, Lure
from stability.proof.known import Entries
from stability.proof.system import Stack
from stability.proof.tape import slopes as slopes_at
from stability.search.climb.interior_point import lyapunov_frame
from stability.search.states.jacobians import jacobians_at
from stability.search.states.sampling import Samples

CORNERS, _MOST_SYSTEMS = 8, 20_000  # entries, and systems times corners, up to which corners are taken
RIM = 1e-7  # of a box: so far from its faces states are sampled
FAR = 1e3  # of a scale: how far states are sampled where a box has no end


def few_corners(entries: Entries) -> bool:
    """Whether a search takes the corners of the entries, not units."""
    return entries.units <= CORNERS and len(entries.lower) << entries.units <= _MOST_SYSTEMS


def scale_of(system: Lure) -> Array:
    """The typical sizes of the states (n,), 1 where nobody says them."""
    return np.ones(system.states) if system.scale is None else system.scale


def inside(lower: Array, upper: Array, scale: Array) -> tuple[Array, Array]:
    """A box (n,) strictly inside, where states are sampled, so many scales long where it has no end.

    At a kink on a face the slope of a table may be that of outside, which no two states of the box see.
    """
    low = np.where(np.isfinite(lower), lower, np.minimum(-FAR * scale, upper - FAR * scale))
    high = np.where(np.isfinite(upper), upper, np.maximum(FAR * scale, lower + FAR * scale))
    rim = RIM * (high - low)
    return low + rim, high - rim


def scaled_frame(A: Array, scale: Array, condition: float) -> Array:
    """Coordinates (n, n) for a climb over metrics whose condition number is limited in units of the scale."""
    frame = np.diag(1.0 / scale)
    inner = lyapunov_frame(A * scale[None, None, :] / scale[None, :, None], condition)
    return frame if inner is None else frame @ inner


def without_known(system: Lure) -> Lure:
    """What stands beside the tape, of each of the V systems, all layers in one network."""
    return replace(system.merged(), tape=None, theta=None, theta_upper=None)


def corner_loop(system: Lure, entries: Entries, slopes: tuple[Array, Array]) -> Loop:
    """Every corner of the entries as a system of its own, (V 2^K): see `Entries.corners`."""
    count = len(entries.lower)
    which, known = entries.corners(np.arange(count << entries.units))
    loop = without_known(system).loop()
    A, E, W, N = (part[which] for part in (loop.A, loop.E, loop.W, loop.N))
    return Loop(A + known.centre, E, W, N, slopes[0][which], slopes[1][which], loop.widths)


def unit_loop(system: Lure, entries: Entries, slopes: tuple[Array, Array]) -> Loop:
    """The entries as units in [−1, 1], before those of the first layer: z = s x_j / r, and r e_i is their column of E."""
    loop, known, K = without_known(system).loop(), entries.some(slice(None)), entries.units
    V, n, H = loop.E.shape
    E, W, N = np.zeros((V, n, K + H)), np.zeros((V, K + H, n)), np.zeros((V, K + H, K + H))
    E[:, :, K:], W[:, K:], N[:, K:, K:] = loop.E, loop.W, loop.N
    E[:, known.rows, np.arange(K)] = known.reach
    W[:, np.arange(K), known.columns] = 1.0
    ends = [np.concatenate([np.full((V, K), end), side], axis=1) for end, side in zip((-1.0, 1.0), slopes, strict=True)]
    widths = (K + loop.widths[0], *loop.widths[1:]) if loop.widths else (K,)
    return Loop(loop.A + known.centre, E, W, N, ends[0], ends[1], widths)


def unit_multipliers(found: Array, entries: Entries) -> Array:
    """Multipliers of `unit_loop` as a claim has them: the layers' first, then the entries', of units in [−r, r]."""
    K, reach = entries.units, entries.some(slice(None)).reach
    return np.concatenate([found[:, K:], found[:, :K] / np.maximum(reach, 1e-150) ** 2], axis=1)


def known_jacobians(
    flat: Lure,  # what stands beside the tape
    stack: Stack,
    points: Array,  # (V, S, n + m + q): x, u and θ
) -> tuple[tuple[Array, ...], Array]:
    """Slopes of the layers' units, and Jacobians (V, S, n, n) of the whole; where there is no slope, one that decays fast."""
    assert stack.tape is not None
    n, m = flat.states, stack.inputs
    x, u, theta = points[..., :n], points[..., n : n + m], points[..., n + m :]
    slopes: tuple[Array, ...] = ()
    J = np.broadcast_to(flat.linear()[:, None], (*points.shape[:2], n, n))
    if flat.widths:
        slopes, J = jacobians_at(flat, points[..., : n + m] if flat.input_weights is not None else x)
    J = J + slopes_at(stack.tape, x, u, theta)
    return slopes, np.where(np.isfinite(J).all((-1, -2), keepdims=True), J, -np.eye(n) * 1e6)


def known_around(
    system: Lure,
    stack: Stack,
    point: Array,  # (n + m,)
    ends: tuple[Array, Array],  # (n + m,) each, finite
    *,
    count: int = 16,
) -> Array:
    """Jacobians (V, count, n, n) of every system at a point and beside it, within the ends; θ between its own."""
    assert stack.theta is not None
    generator, (low, high) = np.random.default_rng(0), ends
    noise = generator.standard_normal((count, len(point))) * 0.02 * (high - low)
    noise[0] = 0.0
    y = np.clip(point + noise, low, high)
    least, most = (theta[:][:, None] for theta in stack.theta)
    theta = least + generator.uniform(0, 1, (1, count, 1)) * (most - least)
    points = np.concatenate([np.broadcast_to(y, (len(theta), *y.shape)), theta], axis=2)
    return known_jacobians(without_known(system), stack, points)[1]


def sample_known(
    system: Lure,
    stack: Stack,
    lower: Array,  # (n,), finite
    upper: Array,
    levels: tuple[Array, Array],
    *,
    samples: int = 256,
    rounds: int = 4,
) -> Samples:
    """Jacobians at states, inputs and θ of the box: its corners, random points, then steps about the worst."""
    assert stack.tape is not None
    assert stack.theta is not None
    generator, n, m = np.random.default_rng(0), len(lower), len(levels[0])
    flat = without_known(system)
    V = len(flat.A)
    ends = [
        np.concatenate([np.broadcast_to(np.concatenate([a, b]), (V, n + m)), theta[:]], axis=1)
        for a, b, theta in ((lower, levels[0], stack.theta[0]), (upper, levels[1], stack.theta[1]))
    ]
    low, high = ends[0][:, None], ends[1][:, None]
    unit = generator.uniform(0, 1, (V, samples, low.shape[2]))
    corners = min(n + m, 7)
    unit[:, : 1 << corners, :corners] = (np.arange(1 << corners)[:, None] >> np.arange(corners)) & 1
    points, seen = low + unit * (high - low), []
    for step in range(rounds):
        slopes, J = known_jacobians(flat, stack, points)
        seen.append((points, slopes, J))
        worst = np.linalg.eigvals(J).real.max(-1).argmax(1)
        start = np.take_along_axis(points, worst[:, None, None], 1)
        noise = generator.standard_normal((V, samples // 4, points.shape[2])) * 0.3**step * 0.3
        points = np.clip(start + noise * (high - low), low, high)
    points = np.concatenate([p for p, _, _ in seen], 1)
    merged = tuple(np.concatenate(layer, 1) for layer in zip(*(s for _, s, _ in seen), strict=True))
    J = np.concatenate([j for _, _, j in seen], 1)
    return Samples(J, points[..., :n], points[..., n : n + m] if m else None, merged, J[:, :0])
