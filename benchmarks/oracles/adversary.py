"""Claims in a region that no exact arithmetic decides, attacked: exact Jacobians descended on, the set's edges, and simulation.

It judges by example: what it finds is a counterexample beyond rounding, and what it does not find may still be false. The
Jacobian at a state is the chain rule's, in float64 (no differences); the field and the claim are written here anew.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from stability.search.states.activation import slope, value

Array = np.ndarray
Plain = Mapping[str, Any]
_SURE = 1e-9  # of the sum of the magnitudes that enter: what is less may be rounding


@dataclass(frozen=True)
class Network:
    """One system, dx/dt = A x + B u + W_L φ(… φ(W_1 x + W_u u + b_1) …) + b_L, in y = (x, u)."""

    linear: Array  # (n, n + m)
    weights: list[Array]  # the first (h, n + m)
    biases: list[Array]
    activation: str
    states: int

    def field(self, y: Array) -> tuple[Array, Array]:
        """f (S, n) at points (S, n + m), and the sum of the magnitudes in it."""
        total, size = y @ self.linear.T, np.abs(y) @ np.abs(self.linear.T)
        z, blur = y, np.abs(y)
        for k, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            v, blur = z @ w.T + b, blur @ np.abs(w.T) + np.abs(b)
            z = value(self.activation, v) if k < len(self.weights) - 1 else v
        return (total + z, size + blur) if self.weights else (total, size)

    def jacobian(self, y: Array) -> Array:
        """∂f/∂x (S, n, n)."""
        total = np.broadcast_to(self.linear[:, : self.states], (len(y), self.states, self.states))
        if not self.weights:
            return total
        z, J = y, np.broadcast_to(np.eye(len(y[0]))[:, : self.states], (len(y), len(y[0]), self.states))
        for k, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            v, J = z @ w.T + b, w @ J
            if k < len(self.weights) - 1:
                z, J = value(self.activation, v), slope(self.activation, v)[:, :, None] * J
        return total + J


def networks(system: Plain) -> list[Network]:
    """Every system of the stack."""
    given = {name: system.get(name) for name in ("A", "B", "input_weights", "skip")}
    raw = {name: None if v is None else np.asarray(v, dtype=np.float64) for name, v in given.items()}
    weights = [np.asarray(w, dtype=np.float64) for w in system["weights"]]
    biases = [np.asarray(b, dtype=np.float64) for b in system["biases"]]
    leading = np.broadcast_shapes(
        *(a.shape[:-2] for a in (*raw.values(), *weights) if a is not None), *(b.shape[:-1] for b in biases)
    )

    def flat(array: Array, rank: int) -> Array:
        core = array.shape[array.ndim - rank :]
        return np.broadcast_to(array, leading + core).reshape(-1, *core)

    A, n = flat(raw["A"], 2), raw["A"].shape[-1]
    m = max([a.shape[-1] for a in (raw["B"], raw["input_weights"]) if a is not None], default=0)
    found = []
    for v in range(len(A)):
        x = A[v] if raw["skip"] is None else A[v] + flat(raw["skip"], 2)[v]
        u = np.zeros((n, m)) if raw["B"] is None else flat(raw["B"], 2)[v]
        layers = [flat(w, 2)[v] for w in weights]
        if layers:
            rows = len(layers[0])
            felt = np.zeros((rows, m)) if raw["input_weights"] is None else flat(raw["input_weights"], 2)[v]
            layers[0] = np.concatenate([layers[0], felt], axis=1)
        offsets = [flat(b, 1)[v] for b in biases]
        found.append(Network(np.concatenate([x, u], axis=1), layers, offsets, system["activation"], n))
    return found


def climb(score: Callable[[Array], Array], lower: Array, upper: Array, rng: np.random.Generator) -> tuple[float, Array]:
    """The largest score (S,) found in a box: corners, random points, then ever smaller steps about the best."""
    d = len(lower)
    unit = rng.uniform(0, 1, (128, d))
    unit[:64] = np.round(unit[:64])
    points = lower + unit * (upper - lower)
    best, at = -np.inf, points[0]
    for step in range(12):
        values = score(points)
        if np.nanmax(values, initial=-np.inf) > best:
            best, at = float(np.nanmax(values)), points[int(np.nanargmax(values))]
        points = np.clip(at + rng.normal(size=(48, d)) * (upper - lower) * 0.4 * 0.5**step, lower, upper)
    return best, at


class Field(Protocol):
    """dx/dt at points y = (x, u), (S, n + m)."""

    def field(self, y: Array) -> tuple[Array, Array]:
        """f (S, n), and the sum of the magnitudes in it."""

    def jacobian(self, y: Array) -> Array:
        """∂f/∂x (S, n, n)."""


def contradicts(claim: Plain, system: Plain, rng: np.random.Generator) -> str:
    """A sentence on what contradicts a regional certificate; empty where nothing was found."""
    return contradicted(claim, networks(system), rng)


def contradicted(claim: Plain, fields: Sequence[Field], rng: np.random.Generator) -> str:
    """The same of any fields."""
    region, P, rate = claim["region"], np.array(claim["metric"], dtype=np.float64), float(claim["rate"])
    if not np.linalg.eigvalsh(P / np.abs(P).max())[0] > -1e-12 or not rate > 0:
        return "the metric or the rate is not positive"
    if np.linalg.eigvalsh(P / np.abs(P).max())[0] < 1e-13:
        return ""  # so near to singular that nothing is said
    inputs = region["inputs"] or {"lower": [], "upper": [], "doses": None, "gap": None}
    levels = np.array(inputs["lower"], dtype=np.float64), np.array(inputs["upper"], dtype=np.float64)
    root = np.linalg.cholesky(P / np.abs(P).max()) * np.sqrt(np.abs(P).max())
    reach = np.linalg.norm(np.linalg.inv(root), axis=0)  # max |x_i| over |x|_P ≤ 1
    if region["kind"] == "box":
        lower, upper = np.array(region["lower"], dtype=np.float64), np.array(region["upper"], dtype=np.float64)
    else:
        lower, upper = (np.array(region["centre"]) + s * region["radius"] * reach for s in (-1.0, 1.0))
    low, high = np.concatenate([lower, levels[0]]), np.concatenate([upper, levels[1]])
    for k, one in enumerate(fields):

        def excess(y: Array, one: Field = one) -> Array:
            """The largest vᵀ(PJ + JᵀP + 2λP)v over the magnitudes in it."""
            J = one.jacobian(y if region["kind"] == "box" else _into(y, region, root))
            turned = root.T @ J @ np.linalg.inv(root).T
            v = np.linalg.solve(root.T, np.linalg.eigh((turned + turned.swapaxes(1, 2)) / 2)[1][..., -1:])[..., 0]
            found = np.einsum("si,ij,sjk,sk->s", v, P, J, v) + rate * np.einsum("si,ij,sj->s", v, P, v)
            size = np.einsum("si,ij,sjk,sk->s", *(np.abs(a) for a in (v, P, J, v)))
            return found / (size + rate * np.einsum("si,ij,sj->s", *(np.abs(a) for a in (v, P, v))))

        rim = 1e-9 * (high - low)  # at a kink on a face the slope may be that of outside
        worst, at = climb(excess, low + rim, high - rim, rng)
        if worst > _SURE:
            return f"the Jacobian of system {k} at {at.tolist()} exceeds the rate by {worst:.2e} of its size"
    return _leaves(region, fields, P, root, rate, (lower, upper), levels, rng) or _simulated(
        region, fields, root, rate, (lower, upper), levels, rng
    )


def _into(y: Array, region: Plain, root: Array) -> Array:
    """Points of the box around an ellipsoid drawn into it."""
    n, centre = len(root), np.array(region["centre"], dtype=np.float64)
    off = y[:, :n] - centre
    length = np.linalg.norm(off @ root, axis=1, keepdims=True)
    off = off * np.minimum(1.0, region["radius"] / np.maximum(length, 1e-300))
    return np.concatenate([centre + off, y[:, n:]], axis=1)


def _leaves(
    region: Plain,
    fields: Sequence[Field],
    P: Array,
    root: Array,
    rate: float,
    walls: tuple[Array, Array],
    levels: tuple[Array, Array],
    rng: np.random.Generator,
) -> str:
    stays, n = region["stays"], len(P)
    if stays["set"] == "box":
        for k, one in enumerate(fields):
            for i in range(n):
                for sign, at in ((-1.0, walls[0][i]), (1.0, walls[1][i])):
                    low, high = np.concatenate([walls[0], levels[0]]), np.concatenate([walls[1], levels[1]])
                    low[i] = high[i] = at

                    def outward(y: Array, one: Field = one, i: int = i, sign: float = sign) -> Array:
                        f, size = one.field(y)
                        return sign * f[:, i] / np.maximum(size[:, i], 1e-320)

                    worst, point = climb(outward, low, high, rng)
                    if worst > _SURE:
                        return f"system {k} leaves the box at {point.tolist()}"
        return "doses take a corner out of the box" if stays["doses"] and np.any(region["inputs"]["doses"]) else ""
    if stays["set"] == "order":
        return ""  # that they leave is left to the simulation
    centre, radius, start = np.array(stays["centre"], dtype=np.float64), float(stays["radius"]), float(stays["start"])
    reach = np.linalg.norm(np.linalg.inv(root), axis=0)
    if region["kind"] == "box":
        room = np.minimum(walls[1] - centre, centre - walls[0]) / reach
        fits = radius <= room.min() * (1 + _SURE)
    else:
        fits = radius + np.linalg.norm((centre - np.array(region["centre"])) @ root) <= region["radius"] * (1 + _SURE)
    doses = [np.array(d, dtype=np.float64) for d in region["inputs"]["doses"]] if stays["doses"] else []
    longest = max((float(np.linalg.norm(d @ root)) for d in doses), default=0.0)
    if not fits or not start > 0 or not start + longest <= radius * (1 + _SURE):
        return "the ball is not in the region, or starts and doses not in the ball"
    drift = 0.0
    for one in fields:

        def speed(u: Array, one: Field = one) -> Array:
            return np.linalg.norm(
                one.field(np.concatenate([np.tile(centre, (len(u), 1)), u], axis=1))[0] @ root, axis=1
            )

        sizes = one.field(np.concatenate([centre, levels[1]])[None])[1] @ np.abs(root)
        worst, _ = climb(speed, *levels, rng)
        drift = max(drift, worst - _SURE * float(np.linalg.norm(sizes)))
    kick = longest / -np.expm1(-rate * float(region["inputs"]["gap"])) if longest else 0.0
    return (
        "" if drift / rate + kick <= radius * (1 + _SURE) else f"the drift {drift:g} takes trajectories out of the ball"
    )


def _simulated(
    region: Plain,
    fields: Sequence[Field],
    root: Array,
    rate: float,
    walls: tuple[Array, Array],
    levels: tuple[Array, Array],
    rng: np.random.Generator,
) -> str:
    """Eight pairs under a square wave of the levels and every dose when it is allowed: do they stay, and approach as claimed?"""
    stays, n, count = region["stays"], len(root), 8
    for k, one in enumerate(fields):
        if stays["set"] != "ball":
            ends = walls if stays["set"] == "box" else tuple(np.array(stays[end], dtype=np.float64) for end in ("lower", "upper"))
            share = rng.uniform(0, 1, (2, count, n))
            share[:, ::2] = np.round(share[:, ::2])
            x = ends[0] + share * (ends[1] - ends[0])
        else:
            direction = rng.normal(size=(2, count, n))
            direction /= np.linalg.norm(direction @ root, axis=-1, keepdims=True)
            x = np.array(stays["centre"]) + stays["start"] * direction * rng.uniform(0, 1, (2, count, 1))
        middle = np.concatenate([x[0, 0], levels[0]])[None]
        fastest = max(float(np.linalg.norm(one.jacobian(middle)[0], 2)), rate)
        step, apart = 0.2 / fastest, np.linalg.norm((x[0] - x[1]) @ root, axis=-1)
        doses = region["inputs"]["doses"] if stays["doses"] else []
        clock, since, elapsed, gap = 0.0, np.inf, 0, float(region["inputs"]["gap"]) if len(doses) else np.inf
        turns, wait = (int(min(2000.0, 60 + 6 * gap / step)), 0.0) if len(doses) and stays["set"] == "order" else (60, 0.0)
        exactly = bool((region["inputs"] or {}).get("exactly", False))
        if turns > 60:  # a whole number of steps to a gap, and beyond it by less than one step
            step = gap / np.ceil(gap / step)
        for turn in range(turns):
            if len(doses) and since >= gap * (1 - 1e-9) + wait:
                x, since = x + np.array(doses[int(rng.integers(len(doses)))]), 0.0
                wait = 0.0 if exactly or stays["set"] != "order" else float(rng.choice([0.0, 0.0, 0.3, 0.7])) * gap
            u = np.broadcast_to(levels[turn // 10 % 2], (*x.shape[:-1], len(levels[0])))

            def rhs(z: Array, u: Array = u, one: Field = one) -> Array:
                return one.field(np.concatenate([z, u], axis=-1).reshape(-1, z.shape[-1] + u.shape[-1]))[0].reshape(
                    z.shape
                )

            a = rhs(x)
            b = rhs(x + step / 2 * a)
            c = rhs(x + step / 2 * b)
            x = x + step / 6 * (a + 2 * b + 2 * c + rhs(x + step * c))
            elapsed, clock, since = elapsed + 1, clock + step, since + step
            now = np.linalg.norm((x[0] - x[1]) @ root, axis=-1)
            if (now > apart * np.exp(-rate * clock) * (1 + 1e-3) + 1e-9 * apart.max()).any():
                return f"two trajectories of system {k} approach more slowly than claimed"
            if stays["set"] != "ball":
                width = walls[1] - walls[0]
                out = (x < walls[0] - 1e-3 * width).any() or (x > walls[1] + 1e-3 * width).any()
            else:
                out = (
                    np.linalg.norm((x - np.array(stays["centre"])) @ root, axis=-1) > stays["radius"] * (1 + 1e-3)
                ).any()
            if out:
                return f"a trajectory of system {k} leaves the set"
    return ""


def exceeds(claim: Plain, layers: Plain, rng: np.random.Generator) -> str:
    """A point of the box at which the network's Jacobian is larger than a Lipschitz bound; empty where none was found."""
    weights = [np.asarray(w, dtype=np.float64) for w in layers["weights"]]
    biases = [np.asarray(b, dtype=np.float64) for b in layers["biases"]]

    def size(y: Array) -> Array:
        z, J = y, np.broadcast_to(np.eye(y.shape[1]), (len(y), y.shape[1], y.shape[1]))
        for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
            v, J = z @ w.T + b, w @ J
            if k < len(weights) - 1:
                z, J = value(layers["activation"], v), slope(layers["activation"], v)[:, :, None] * J
        return np.linalg.norm(J, 2, axis=(1, 2))

    lower, upper = (np.array(claim["region"][side], dtype=np.float64) for side in ("lower", "upper"))
    worst, at = climb(size, lower, upper, rng)
    return f"the Jacobian at {at.tolist()} has the norm {worst!r}" if worst > claim["bound"] * (1 + _SURE) else ""
