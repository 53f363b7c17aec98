"""The falsifier: states and inputs that are climbed, by gradient, to a Jacobian that breaks contraction.

Random states miss what sits far out and is narrow: a unit with a large weight and a large bias acts in a slab that hardly any
draw meets, and outside of it its slope is zero to the last bit. So the climb starts where units are steepest (`_aimed`), and
then follows the gradient of the spectral abscissa. For a simple eigenvalue of J = A + S + W_L D_{L−1} … D_1 W_1 with right and
left eigenvectors r, y (yr = 1) and D_l = diag φ'(v_l),

    ∂(Re λ)/∂(D_l)_jj = Re (y W_L D … W_{l+1})_j (W_l D … D_1 W_1 r)_j,     ∂(D_l)_jj/∂v_lj = φ''(v_lj),

and the chain rule takes it back to x and u. Source: Lancaster, Numerische Mathematik 6 (1964), for the derivative of an
eigenvalue; the starts are ours. Relu has φ'' = 0 and keeps a random climb.
"""

import time
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stability.arguments import array, number, time_limit
from stability.lure import Array, Lure, System, without_tape
from stability.proof.units import Layer
from stability.search.states.activation import slope, unit_by_unit, value
from stability.search.states.counterexample import Counterexample, worst
from stability.search.states.jacobians import abscissa, jacobians_at
from stability.search.states.sampling import Samples, sample
from stability.threads import of_system, threads_by


class BoxLike(Protocol):
    """What `region` needs: the ends of a box of states, each (n,)."""

    @property
    def lower(self) -> Any: ...

    @property
    def upper(self) -> Any: ...


@threads_by(of_system)
def falsify(
    system: System,
    rate: float | None = None,  # 1/time
    region: BoxLike | None = None,
    *,
    seconds: float = 10.0,
    seed: int = 0,
) -> Counterexample | None:
    """Search a real state and input at which the Jacobian has an eigenvalue with real part above −rate.

    Arguments: `rate` in 1/time, or None for any positive rate (an eigenvalue right of the imaginary axis); `region`, a box
    with `lower` and `upper` (n,) that the state stays in, or None for all states (an `Ellipsoid` is one only in a metric,
    which there is none of here: give the box in which to search); `seconds`, after which it gives up; it
    gives up earlier when three rounds of new starts find nothing worse.
    Returns a `Counterexample`, which disproves contraction at that rate in every constant metric, or None, which proves
    nothing.
    Errors: ValueError for arguments that cannot be used.
    Law: the Jacobian of the counterexample is the derivative of the vector field at its state and input.
    """
    system = without_tape(system, "falsifier")
    if rate is not None:
        rate = number(rate, "the rate", "a finite positive rate in 1/time, or None for any", above=0.0)
    seconds = time_limit(seconds)
    seed = int(number(seed, "seed", "a whole number from 0 on", least=0.0, most=2.0**62, whole=True))
    goal, deadline = 0.0 if rate is None else rate, time.monotonic() + seconds
    found: list[float] = []
    while True:
        samples = attack(
            system, sample(system, seed=seed + len(found)), region, steps=60, seed=seed + len(found), deadline=deadline
        )
        counterexample = worst(system, samples, goal)
        if counterexample is not None or not system.widths or time.monotonic() > deadline:
            return counterexample
        found.append(float(abscissa(samples.attained).max()))
        if len(found) > 3 and max(found[-3:]) <= max(found[:-3]) + 1e-9 * abs(max(found[:-3])):
            return None


def attack(
    system: Lure,
    samples: Samples,
    region: BoxLike | None = None,
    levels: tuple[Array, Array] | None = None,  # (m,) each
    *,
    steps: int = 20,
    seed: int = 0,
    deadline: float = float("inf"),
) -> Samples:
    """The samples, and the points that gradient ascent of the abscissa reached from the worst of them and from aimed starts.

    With a region, points outside of it are moved onto its nearest point before anything is evaluated, and none of the
    samples' own states outside of it stays; with levels, the same holds of the inputs.
    """
    flat = system.merged()
    if not flat.widths:
        return samples
    generator = np.random.default_rng(seed)
    box = _box(region, levels, flat.states, flat.input_weights)
    points = samples.states if samples.inputs is None else np.concatenate([samples.states, samples.inputs], 2)
    starts = int(np.clip(2**18 // (len(points) * (64 + sum(flat.widths))), 16, 128))  # per system: many people need few each
    if box is not None:
        points = _clipped(_drawn_inside(points, box, generator), box)
    aimed = _clipped(_aimed(flat, points, generator, starts, deadline), box)
    pool = np.concatenate([points, aimed], 1)
    slopes, jacobians = jacobians_at(flat, pool)
    order = np.argsort(-abscissa(jacobians), axis=1)[:, : max(starts // 4, 8)]
    top = _ascend(flat, np.take_along_axis(pool, order[:, :, None], 1), box, steps, generator, deadline)
    more, steepest = jacobians_at(flat, top)
    everything = np.concatenate([pool, top], 1)
    n = flat.states
    return replace(
        samples,
        attained=np.concatenate([jacobians, steepest], 1),
        states=everything[..., :n],
        inputs=None if samples.inputs is None else everything[..., n:],
        slopes=tuple(np.concatenate(pair, 1) for pair in zip(slopes, more, strict=True)),
    )


def ascent_direction(flat: Lure, points: Array) -> tuple[Array, Array]:
    """The abscissa (V, S) at points (V, S, n + m), and its gradient there (V, S, n + m)."""
    arguments = _arguments(flat, points)
    slopes = [slope(layer, v) for layer, v in zip(flat.units, arguments, strict=True)]
    _, jacobians = jacobians_at(flat, points)
    values, vectors = np.linalg.eig(jacobians)
    index = values.real.argmax(-1)[..., None, None]
    right = np.take_along_axis(vectors, index, -1)[..., 0]
    left = np.take_along_axis(np.linalg.pinv(vectors), index, -2)[..., 0, :]
    forward = [_through(right, flat.weights[0])]
    for weight, s in zip(flat.weights[1:-1], slopes[:-1], strict=True):
        forward.append(_through(s * forward[-1], weight))
    backward = [left @ flat.weights[-1]]
    for weight, s in zip(flat.weights[-2:0:-1], slopes[:0:-1], strict=True):
        backward.insert(0, (s * backward[0]) @ weight)
    bend = [curvature(layer, v) for layer, v in zip(flat.units, arguments, strict=True)]
    seeds = [(f * b).real * c for f, b, c in zip(forward, backward, bend, strict=True)]
    return values.real.max(-1), _pulled_back(flat, slopes, seeds)


def curvature(activation: Layer, v: NDArray[np.float64]) -> Array:
    """φ''(v), zero for relu."""
    if not isinstance(activation, str):
        return unit_by_unit(curvature, activation, v)
    if activation == "tanh":
        t = np.tanh(v)
        return np.asarray(-2.0 * t * (1.0 - t * t), dtype=np.float64)
    if activation in ("relu", "identity"):
        return np.zeros_like(v)
    if activation == "gelu":
        return np.asarray((2.0 - v * v) * np.exp(-0.5 * v * v) / np.sqrt(2.0 * np.pi), dtype=np.float64)
    s = 0.5 * (1.0 + np.tanh(0.5 * v))
    hump = s * (1.0 - s)
    if activation == "softplus":
        return hump
    return hump * (1.0 - 2.0 * s) if activation == "sigmoid" else hump * (2.0 + v * (1.0 - 2.0 * s))


# Where a unit is steepest, or changes its slope most: what starts are aimed at.
STEEP = {
    "tanh": (0.0,),
    "sigmoid": (0.0,),
    "relu": (-1e-3, 1e-3),  # either side of the kink
    "softplus": (-3.0, 0.0, 3.0),
    "silu": (-2.3994, 2.3994),
    "gelu": (-1.4142, 1.4142),
    "identity": (0.0,),
}


def _steep(flat: Lure, layer: int, unit: int) -> tuple[float, ...]:
    names = flat.units[layer]
    return STEEP[names if isinstance(names, str) else names[unit]]


def _aimed(flat: Lure, points: Array, generator: np.random.Generator, count: int, deadline: float) -> Array:
    """Points at which one unit, or as many as there are coordinates, sit where they are steepest, near a sampled point."""
    first = flat.weights[0]
    if flat.input_weights is not None:
        first = np.concatenate([first, flat.input_weights], 2)  # (V, h, n + m)
    base = points[:, generator.integers(0, points.shape[1], count)]
    h, most = first.shape[1], min(first.shape[1:])
    order = np.concatenate([generator.permutation(h) for _ in range(-(-count // h))])
    for s in range(count):
        units = [int(order[s])] if s % 2 or most == 1 else generator.choice(h, generator.integers(2, most + 1), False)
        rows, goal = first[:, units], generator.choice(_steep(flat, 0, units[0]), len(units))
        miss = np.einsum("vki,vi->vk", rows, base[:, s]) + flat.biases[0][:, units] - goal
        base[:, s] -= np.einsum("vik,vk->vi", np.linalg.pinv(rows, rcond=1e-6), miss)
    deep = len(flat.widths) > 1
    for _ in range(6 if deep else 0):  # Newton steps of one deeper unit each, for half of the starts
        if time.monotonic() > deadline:
            break
        base = _towards(flat, base, generator)
    return base


def _towards(flat: Lure, base: Array, generator: np.random.Generator) -> Array:
    arguments = _arguments(flat, base)
    slopes = [slope(layer, v) for layer, v in zip(flat.units, arguments, strict=True)]
    seeds, miss = [np.zeros_like(v) for v in arguments], np.zeros(base.shape[:2])
    for s in range(0, base.shape[1], 2):
        layer = 1 + (s // 2) % (len(flat.widths) - 1)
        unit = (s // 2) % flat.widths[layer]
        seeds[layer][:, s, unit] = 1.0
        steep = _steep(flat, layer, unit)
        miss[:, s] = arguments[layer][:, s, unit] - steep[s // 4 % len(steep)]
    gradient = _pulled_back(flat, slopes, seeds)
    square = np.sum(gradient**2, -1, keepdims=True)
    step = gradient * miss[..., None] / np.maximum(square, 1e-12)
    # A step far beyond the point's own size is a flat spot, not a Newton step.
    length, most = np.linalg.norm(step, axis=-1, keepdims=True), 1.0 + np.linalg.norm(base, axis=-1, keepdims=True)
    return base - step * np.minimum(1.0, most / np.maximum(length, 1e-300))


def _ascend(
    flat: Lure, points: Array, box: tuple[Array, Array] | None, steps: int, generator: np.random.Generator, deadline: float
) -> Array:
    """Normalised gradient steps with a length for each start: half as long after a failure, twice after a success."""
    here, gradient = ascent_direction(flat, points)
    # One step of this length changes the arguments of the first layer by about one.
    length = np.full((*here.shape, 1), 0.3) / np.maximum(np.linalg.norm(flat.weights[0], axis=(1, 2)), 1e-12)[:, None, None]
    for _ in range(steps):
        if time.monotonic() > deadline:
            break
        norm = np.linalg.norm(gradient, axis=-1, keepdims=True)
        flatland = norm <= 1e-300
        noise = generator.standard_normal(points.shape)
        direction = np.where(flatland, noise, gradient / np.where(flatland, 1.0, norm))
        trial = _clipped(points + length * direction, box)
        there, uphill = ascent_direction(flat, trial)
        better = (there > here)[..., None]
        points, here = np.where(better, trial, points), np.maximum(there, here)
        gradient = np.where(better, uphill, gradient)
        length = length * np.where(better, 2.0, np.where(flatland, 0.8, 0.4))
    return points


def _arguments(flat: Lure, points: Array) -> list[Array]:
    """v_1 … v_{L−1} (V, S, h) at points (V, S, n + m)."""
    n = flat.states
    argument = _through(points[..., :n], flat.weights[0]) + flat.biases[0][:, None]
    if flat.input_weights is not None:
        argument = argument + _through(points[..., n:], flat.input_weights)
    arguments = [argument]
    for layer, weight, bias in zip(flat.units, flat.weights[1:-1], flat.biases[1:-1], strict=False):
        arguments.append(_through(value(layer, arguments[-1]), weight) + bias[:, None])
    return arguments


def _through(rows: NDArray[Any], weight: Array) -> Any:  # real or complex, (V, S, in) → (V, S, out)
    return rows @ weight.swapaxes(1, 2)


def _pulled_back(flat: Lure, slopes: list[Array], seeds: list[Array]) -> Array:
    """Σ_l (∂v_l/∂(x, u))ᵀ seed_l by the chain rule, from the last layer to the first."""
    total = seeds[-1]
    for weight, s, seed in zip(flat.weights[-2:0:-1], slopes[-2::-1], seeds[-2::-1], strict=True):
        total = seed + s * (total @ weight)
    state = total @ flat.weights[0]
    return state if flat.input_weights is None else np.concatenate([state, total @ flat.input_weights], -1)


def _box(
    region: BoxLike | None, levels: tuple[Array, Array] | None, n: int, input_weights: Array | None
) -> tuple[Array, Array] | None:
    """The ends of the box in (x, u); inputs are free without levels."""
    if region is None:
        return None
    if not (hasattr(region, "lower") and hasattr(region, "upper")):
        raise ValueError(
            f"the region is a {type(region).__name__}; give a box with `lower` and `upper`. An ellipsoid has its shape from a "
            "certificate's metric, and there is none here."
        )
    lower, upper = (array(end, "an end of the box") for end in (region.lower, region.upper))
    if lower.shape != (n,) or upper.shape != (n,) or not (lower <= upper).all():
        raise ValueError(f"the box runs from {lower} to {upper}; it needs {n} ends each, lower ≤ upper.")
    free = np.full(0 if input_weights is None else input_weights.shape[-1], np.inf)
    ends = (-free, free) if levels is None or input_weights is None else levels
    return np.concatenate([lower, ends[0]]), np.concatenate([upper, ends[1]])


def _drawn_inside(points: Array, box: tuple[Array, Array], generator: np.random.Generator) -> Array:
    """Of the points outside the box every second one drawn anew, uniformly in the bounded part of it."""
    finite = np.isfinite(box[0]) & np.isfinite(box[1])
    lower, upper = (end[finite] for end in box)
    drawn = points.copy()
    drawn[:, 1::2, finite] = generator.uniform(lower, upper, (len(points), points[:, 1::2].shape[1], len(lower)))
    outside = ((points < box[0]) | (points > box[1])).any(-1, keepdims=True)
    return np.where(outside, drawn, points)


def _clipped(points: Array, box: tuple[Array, Array] | None) -> Array:
    return points if box is None else np.clip(points, *box)
