"""Sampled Jacobians: what no constant metric can exceed, and what the inequality cannot.

Two kinds of slope patterns are kept apart. *Attained* patterns come from real states and inputs: a Jacobian there is a
linearisation of the system itself, and an eigenvalue with real part above −r disproves contraction at rate r in every
constant metric. *Corner* patterns put each slope at an end of its range without asking whether any state does so: they bound
what the inequality can prove, since it covers every pattern, but disprove nothing about the system: another proof of the same
claim (cell by cell, in a region) may exceed them.
"""

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stability.arguments import kind, number, time_limit
from stability.lure import SLOPES, Array, Loop, Lure
from stability.search.interior_point import Ascent, climb, lyapunov_frame
from stability.threads import of_system, threads_by


@dataclass(frozen=True)
class Samples:
    """Jacobians of V systems: S at real states (with the states, inputs and slopes that give them), C at corner patterns."""

    attained: Array  # (V, S, n, n)
    states: Array  # (V, S, n)
    inputs: Array | None  # (V, S, m); None where the layers see no input
    slopes: tuple[Array, ...]  # per hidden layer (V, S, h)
    corners: Array  # (V, C, n, n)


@threads_by(of_system)
def spectral_cap(system: Lure, *, samples: int = 64, seed: int = 0) -> float:
    """The smallest −(spectral abscissa) over sampled Jacobians of all systems, at real states and inputs.

    Returns a rate in 1/time: no constant metric can exceed it, whatever the proof. Negative or zero: there is none. It is an
    upper bound on the best rate for all states, and itself only as sharp as the sample.
    """
    samples, seed = _require_sample(system, samples, seed)
    return float(-abscissa(sample(system, samples=samples, seed=seed).attained).max())


@threads_by(of_system)
def metric_cap(system: Lure, *, samples: int = 64, seed: int = 0, seconds: float = 10.0) -> float:
    """What no constant metric can exceed at real states and inputs: the dual bound of one metric for all sampled Jacobians.

    Returns a rate in 1/time, at or below `spectral_cap`; it holds for metrics of any condition number (`metric_bound`).
    """
    samples, seed = _require_sample(system, samples, seed)
    time_limit(seconds)
    drawn = sample(system, samples=samples, seed=seed)
    frame, deadline = lyapunov_frame(system.loop().A), time.monotonic() + seconds
    start = np.eye(system.states) if frame is None else frame @ frame.T
    jacobians, ascent = one_metric(drawn, start, with_corners=False, frame=frame, deadline=deadline)
    return metric_bound(jacobians, ascent, float(-abscissa(drawn.attained).max()))


def _require_sample(system: Lure, samples: int, seed: int) -> tuple[int, int]:
    kind(system, Lure, "the system", "Lure(**model.lure(theta, c))")
    number(samples, "samples", "how many states are drawn, from 4 on", least=4.0, most=1e6, whole=True)
    number(seed, "seed", "a whole number from 0 on", least=0.0, most=2.0**62, whole=True)
    return int(samples), int(seed)


def abscissa(jacobians: Array) -> Array:
    """The largest real part of the eigenvalues, matrix by matrix."""
    return np.linalg.eigvals(jacobians).real.max(-1)


def sample(system: Lure, *, samples: int = 64, seed: int = 0, rounds: int = 4) -> Samples:
    """Draw states and inputs over several orders of magnitude, then climb from the worst; and try corner patterns.

    Half of the draws lie about the state that makes the first layer's arguments smallest (where the slopes of tanh and
    sigmoid are largest), half about the origin; both points are in the sample. Every later round perturbs the worst point
    found.
    """
    generator = np.random.default_rng(seed)
    flat = system.flatten()
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
    if flat.activation == "relu":
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


def one_metric(
    samples: Samples,
    metric: Array,  # (n, n): where the search starts
    *,
    with_corners: bool,
    frame: Array | None = None,  # (n, n), see `climb`
    rounds: int = 4,
    condition: float = 1e4,
    deadline: float = float("inf"),
) -> tuple[Array, Ascent]:
    """Sampled Jacobians that decide how far one metric gets, their best common rate, and the dual matrices that bound it.

    Cutting planes: the worst by abscissa and by logarithmic norm, then those that the metric found treats worst. Fewer
    Jacobians can only raise the bound, so it bounds the rate over all of them.
    """
    n = samples.attained.shape[-1]
    pool = samples.attained.reshape(-1, n, n)
    if with_corners:
        pool = np.concatenate([pool, samples.corners.reshape(-1, n, n)])
    chosen = set(np.argsort(-abscissa(pool))[:12].tolist()) | set(np.argsort(-log_norm(pool, metric))[:12].tolist())
    while True:
        jacobians = pool[sorted(chosen)]
        ascent = climb(
            linear(jacobians), metric, tolerance=1e-3, condition=condition, frame=frame, deadline=deadline
        )
        norms = log_norm(pool, ascent.metric)
        worse = {int(i) for i in np.argsort(-norms)[:12] if norms[i] > -ascent.rate + 1e-3 * abs(ascent.rate)}
        rounds -= 1
        if worse <= chosen or rounds == 0 or time.monotonic() > deadline:
            return jacobians, ascent
        chosen |= worse


def linear(jacobians: Array) -> Loop:
    """Matrices (V, n, n) as systems without a residual."""
    count, n, _ = jacobians.shape
    none = np.zeros((1, 0))
    return Loop(jacobians, np.zeros((count, n, 0)), np.zeros((count, 0, n)), np.zeros((count, 0, 0)), none, none, ())


def log_norm(jacobians: Array, metric: Array) -> Array:
    """The logarithmic norm in √(xᵀPx): ½ λmax(C⁻¹(JᵀP + PJ)C⁻ᵀ), P = CCᵀ. Contraction at r in P means ≤ −r."""
    inverse = np.linalg.inv(np.linalg.cholesky(metric))
    product = metric @ jacobians
    values = np.linalg.eigvalsh(inverse @ (product + product.swapaxes(-1, -2)) @ inverse.T)
    return np.asarray(0.5 * values[..., -1], dtype=np.float64)


def metric_bound(jacobians: Array, ascent: Ascent, spectral: float) -> float:
    """What no constant metric of any condition number can exceed on these Jacobians, with the climb's answer for them.

    The climb's own bound holds for metrics of a limited condition number. A little above it, matrices are sought that exclude
    every metric; where there are none, what the climb's duals say of every metric, or each Jacobian alone.
    """
    known = min(spectral, dual_bound(jacobians, ascent.duals))
    heaviest = jacobians[np.argsort(-np.trace(ascent.duals, axis1=1, axis2=2))[:24]]
    for share in (2e-3, 1e-2):
        near = ascent.bound + share * abs(ascent.bound)
        if not near < known or jacobians.shape[-1] > 8:
            break
        if excluding(heaviest, near) is not None:
            return near
    return known


def excluding(jacobians: Array, rate: float, steps: int = 60) -> Array | None:
    """Z_v ≻ 0 of `dual_holds` at the rate, of good condition; None where they are not found.

    With K = J + rI the largest s of −(K_vᵀP + PK_v) ⪰ sI, tr P = 1, is sought by Newton's method along the central path. There
    Z_v = (−(K_vᵀP + PK_v) − sI)⁻¹ has Σ(K_vZ_v + Z_vK_vᵀ) = P⁻¹ + θI, positive as soon as θ is, where no P has s ≥ 0.
    """
    n, eye = jacobians.shape[-1], np.eye(jacobians.shape[-1])
    K, (rows, columns) = jacobians + rate * eye, np.triu_indices(n)
    B = np.zeros((len(rows), n, n))  # changes of P that leave its trace; the last one, of s, leaves P
    B[np.arange(len(rows)), rows, columns] = B[np.arange(len(rows)), columns, rows] = 1.0
    B -= np.trace(B, axis1=1, axis2=2)[:, None, None] / n * eye
    B[-1] = 0.0
    product = K.swapaxes(1, 2)[:, None] @ B
    A = -(product + product.swapaxes(2, 3))  # (V, d, n, n): changes of F
    A[:, -1] = -eye
    P, F, scale = eye / n, -(K + K.swapaxes(1, 2)) / n, max(float(np.abs(K).max()), 1e-300)
    s = float(np.linalg.eigvalsh(F).min()) - scale
    F, weight = F - s * eye, 10.0 * len(K) * n / scale

    def value(s: float, P: Array, F: Array) -> float:
        try:
            factors = [np.diagonal(np.linalg.cholesky(matrix), axis1=-2, axis2=-1) for matrix in (P, F)]
        except np.linalg.LinAlgError:
            return np.inf
        return -weight * s - 2.0 * sum(float(np.log(factor).sum()) for factor in factors)

    for _ in range(steps):
        try:
            Z = np.linalg.inv(F)
            Z = (Z + Z.swapaxes(1, 2)) / 2
            if s > 0 or dual_holds(jacobians, Z, rate):
                return None if s > 0 else Z
            ZA, PB = Z[:, None] @ A, np.linalg.inv(P) @ B
            gradient = -np.trace(ZA, axis1=2, axis2=3).sum(0) - np.trace(PB, axis1=1, axis2=2)
            gradient[-1] -= weight
            hessian = np.tensordot(ZA, ZA.swapaxes(2, 3), ((0, 2, 3), (0, 2, 3)))
            hessian += np.tensordot(PB, PB.swapaxes(1, 2), ((1, 2), (1, 2)))
            step = -np.linalg.solve(hessian, gradient)
        except np.linalg.LinAlgError:
            return None
        decrease, here, length = -float(gradient @ step), value(s, P, F), 1.0
        move, turn = np.tensordot(step, B, 1), np.tensordot(A, step, (1, 0))
        while length > 1e-8:
            there = s + length * float(step[-1]), P + length * move, F + length * turn
            if value(*there) < here - 0.1 * length * decrease:
                s, P, F = there
                break
            length *= 0.5
        weight *= 5.0 if decrease < 1.0 or length <= 1e-8 else 1.0
    return None


def dual_bound(jacobians: Array, duals: Array) -> float:
    """The largest r at which the Z_v of `dual_holds` do not yet exclude a common P ≻ 0, of any condition number; inf without any.

    Σ(J_vZ_v + Z_vJ_vᵀ + 2rZ_v) ≻ 0 from −½ λmin of the pencil (Σ(J_vZ_v + Z_vJ_vᵀ), ΣZ_v) on.
    """
    total, product = duals.sum(0), (jacobians @ duals).sum(0)
    try:
        inverse = np.linalg.inv(np.linalg.cholesky((total + total.T) / 2))
    except np.linalg.LinAlgError:  # time ran out before there were any
        return float("inf")
    margin = 1e-10 * float(np.abs(jacobians).max())
    return -0.5 * float(np.linalg.eigvalsh(inverse @ (product + product.T) @ inverse.T)[0]) + margin


def dual_holds(jacobians: Array, duals: Array, rate: float) -> bool:
    """Whether Σ(J_vZ_v + Z_vJ_vᵀ + 2rZ_v) ≻ 0 with all Z_v ≻ 0: then no P ≻ 0 has J_vᵀP + PJ_v + 2rP ⪯ 0 for all v.

    (Take the trace of that inequality with Z_v and sum.) Computed in float64 with a margin well above its rounding.
    """
    product = jacobians @ duals
    total = (product + product.swapaxes(1, 2) + 2.0 * rate * duals).sum(0)
    margin = 1e-10 * float(np.abs(product).sum())
    return bool(np.linalg.eigvalsh(duals).min() > 0 and np.linalg.eigvalsh(total)[0] > margin)


def jacobians_at(flat: Lure, points: Array) -> tuple[tuple[Array, ...], Array]:
    """Slopes and Jacobians at points (V, S, n + m) of the combined argument (x, u)."""
    n = flat.states
    argument = points[..., :n] @ flat.weights[0].swapaxes(1, 2) + flat.biases[0][:, None, :]
    if flat.input_weights is not None:
        argument = argument + points[..., n:] @ flat.input_weights.swapaxes(1, 2)
    slopes = [slope(flat.activation, argument)]
    for weight, bias in zip(flat.weights[1:-1], flat.biases[1:-1], strict=True):
        argument = value(flat.activation, argument) @ weight.swapaxes(1, 2) + bias[:, None, :]
        slopes.append(slope(flat.activation, argument))
    return tuple(slopes), _jacobians(flat, slopes)


def _jacobians(flat: Lure, slopes: list[Array] | tuple[Array, ...]) -> Array:
    """Jacobians (V, S, n, n) for slopes (V, S, h), without repeating the weights along S."""
    product = np.broadcast_to(flat.weights[-1][:, None], (*slopes[0].shape[:2], *flat.weights[-1].shape[1:]))
    for weight, slope in zip(flat.weights[-2::-1], slopes[::-1], strict=True):
        product = (product * slope[:, :, None, :]) @ weight[:, None]
    return flat.linear()[:, None] + product


def _corners(flat: Lure, generator: np.random.Generator, count: int, rounds: int) -> Array:
    """Jacobians at corner patterns: all slopes at α, all at β, random ones, and sign steps that raise the abscissa.

    For an eigenvalue with left and right eigenvectors y, x (yx = 1) the derivative with respect to the slope of unit j in
    layer l is Re (y W_L D … W_{l+1})_j (W_l D … W_1 x)_j; each step sets every slope to the end that this sign favours.
    """
    alpha, beta = SLOPES[flat.activation]
    V = flat.A.shape[0]
    slopes = [np.where(generator.integers(0, 2, (V, count, h)) == 1, beta, alpha) for h in flat.widths]
    for layer in slopes:
        layer[:, 0], layer[:, 1] = alpha, beta
    jacobians = [_jacobians(flat, slopes)]
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
        slopes = [np.where((f * b).real > 0, beta, alpha) for f, b in zip(forward, backward, strict=True)]
        jacobians.append(_jacobians(flat, slopes))
    return np.concatenate(jacobians, axis=1)


def value(activation: str, v: NDArray[np.float64]) -> Array:
    if activation == "tanh":
        return np.tanh(v)
    if activation == "relu":
        return np.maximum(v, 0.0)
    if activation == "softplus":
        return np.logaddexp(0.0, v)
    if activation == "gelu":
        return v * _normal(v)
    s = _logistic(v)
    return s if activation == "sigmoid" else v * s


def slope(activation: str, v: NDArray[np.float64]) -> Array:
    if activation == "tanh":
        return 1.0 - np.tanh(v) ** 2
    if activation == "relu":
        return (v > 0).astype(np.float64)
    if activation == "gelu":
        return _normal(v) + v * np.exp(-0.5 * v * v) / np.sqrt(2.0 * np.pi)
    s = _logistic(v)
    if activation == "softplus":
        return s
    return s * (1.0 - s) if activation == "sigmoid" else s + v * s * (1.0 - s)


def _logistic(v: NDArray[np.float64]) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * v))


_ERF = np.vectorize(math.erf, otypes=[np.float64])  # numpy has none; a sample is small


def _normal(v: NDArray[np.float64]) -> Array:
    """Φ, the normal distribution function."""
    return 0.5 * (1.0 + np.asarray(_ERF(v / np.sqrt(2.0)), dtype=np.float64))
