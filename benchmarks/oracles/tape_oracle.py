"""Whether what is said of a system with a tape is false: an adversary in float64, and its finds looked at again with 60 digits.

A rate on a region says (x₂ − x₁)ᵀP(f(x₂) − f(x₁)) ≤ −λ(x₂ − x₁)ᵀP(x₂ − x₁) for any two of its states with the same input and θ.
The adversary climbs over states, by Jacobians from dual numbers; no line here is the checker's. Two states beside the worst one,
on its worst direction, then contradict the sentence itself, or do not, in arithmetic of 60 digits. Where none is found nothing is
said.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

from benchmarks.oracles.adversary import Network, climb, contradicted, networks

Array = np.ndarray
Tree = Mapping[str, Any]

_DIGITS = 60
_FAR = 1e3  # in place of an end at infinity


@dataclass(frozen=True)
class Dual:
    """A number at S points, and its gradient by x."""

    value: Array  # (S,)
    gradient: Array  # (S, n)
    size: Array  # (S,): the sum of the magnitudes of its last terms


def _function(operation: str, v: Array, number: float) -> tuple[Array, Array]:
    """φ(v) and φ'(v); at a kink the slope on one side."""
    one = np.ones_like(v)
    s = np.where(v >= 0, 1.0 / (1.0 + np.exp(-np.abs(v))), 1.0 - 1.0 / (1.0 + np.exp(-np.abs(v))))
    if operation == "power":
        return v**number, number * v ** (number - 1.0)
    if operation == "hill":
        w = np.where(v > 0, v, 1.0)
        less = np.minimum(w, 1.0 / w) ** number  # the smaller of vⁿ and v⁻ⁿ, neither of which may overflow
        value = np.where(w > 1.0, 1.0 / (1.0 + less), less / (1.0 + less))
        return np.where(v > 0, value, 0.0), np.where(v > 0, number * less / (1.0 + less) ** 2 / w, 0.0)
    found: dict[str, Callable[[], tuple[Array, Array]]] = {
        "negate": lambda: (-v, -one),
        "square": lambda: (v * v, 2.0 * v),
        "exp": lambda: (np.exp(v), np.exp(v)),
        "log": lambda: (np.log(v), 1.0 / v),
        "sqrt": lambda: (np.sqrt(v), 0.5 / np.sqrt(v)),
        "sin": lambda: (np.sin(v), np.cos(v)),
        "cos": lambda: (np.cos(v), -np.sin(v)),
        "atan": lambda: (np.arctan(v), 1.0 / (1.0 + v * v)),
        "tanh": lambda: (np.tanh(v), 1.0 - np.tanh(v) ** 2),
        "sigmoid": lambda: (s, s * (1.0 - s)),
        "softplus": lambda: (np.logaddexp(0.0, v), s),
        "relu": lambda: (np.maximum(v, 0.0), (v > 0) * one),
        "abs": lambda: (np.abs(v), np.sign(v)),
        "saturating": lambda: (v / (1.0 + v), 1.0 / (1.0 + v) ** 2),
    }
    return found[operation]()


def dual_rate(tape: Tree, x: Array, u: Array, theta: Array) -> tuple[Array, Array, Array]:
    """f (S, n), ∂f/∂x (S, n, n) and the magnitudes in f (S, n) at points (S, n), (S, m), (S, q)."""
    S, n = x.shape
    unit, none = np.eye(n), np.zeros((S, n))
    given = {"state": x, "input": u, "parameter": theta}
    lines: list[Dual] = []
    for operation, *rest in tape["code"]:
        if operation in given:
            slope = np.tile(unit[rest[0]], (S, 1)) if operation == "state" else none
            lines.append(_dual(given[operation][:, rest[0]], slope))
        elif operation == "constant":
            lines.append(_dual(np.full(S, rest[0]), none))
        elif operation in _PAIRS:
            lines.append(_pair(operation, lines[rest[0]], lines[rest[1]]))
        else:
            inner = lines[rest[0]]
            value, slope = _function(operation, inner.value, rest[1] if len(rest) > 1 else 0.0)
            lines.append(_dual(value, slope[:, None] * inner.gradient))
    found = [lines[k] for k in tape["rate"]]
    return (
        np.stack([d.value for d in found], 1),
        np.stack([d.gradient for d in found], 1),
        np.stack([d.size for d in found], 1),
    )


def _dual(value: Array, gradient: Array) -> Dual:
    return Dual(value, gradient, np.abs(value))


_PAIRS = ("add", "subtract", "multiply", "divide", "minimum", "maximum")


def _pair(operation: str, a: Dual, b: Dual) -> Dual:
    v, w, dv, dw = a.value, b.value, a.gradient, b.gradient
    if operation == "add":
        return Dual(v + w, dv + dw, a.size + b.size)
    if operation == "subtract":
        return Dual(v - w, dv - dw, a.size + b.size)
    if operation == "multiply":
        return _dual(v * w, v[:, None] * dw + w[:, None] * dv)
    if operation == "divide":
        return _dual(v / w, dv / w[:, None] - (v / w**2)[:, None] * dw)
    first = v <= w if operation == "minimum" else v >= w
    return _dual(np.where(first, v, w), np.where(first[:, None], dv, dw))


def exact_rate(tape: Tree, x: Sequence[Any], u: Sequence[Any], theta: Sequence[Any]) -> list[Any]:
    """f(x, u, θ) with mpmath's numbers, at its present precision."""
    given = {"state": x, "input": u, "parameter": theta}
    one: dict[str, Callable[[Any], Any]] = {
        "negate": lambda v: -v,
        "square": lambda v: v * v,
        "exp": mpmath.exp,
        "log": mpmath.log,
        "sqrt": mpmath.sqrt,
        "sin": mpmath.sin,
        "cos": mpmath.cos,
        "atan": mpmath.atan,
        "tanh": mpmath.tanh,
        "sigmoid": lambda v: 1 / (1 + mpmath.exp(-v)),
        "softplus": lambda v: max(v, mpmath.mpf(0)) + mpmath.log1p(mpmath.exp(-abs(v))),
        "relu": lambda v: max(v, mpmath.mpf(0)),
        "abs": abs,
        "saturating": lambda v: v / (1 + v),
    }
    two: dict[str, Callable[[Any, Any], Any]] = {
        "add": lambda a, b: a + b,
        "subtract": lambda a, b: a - b,
        "multiply": lambda a, b: a * b,
        "divide": lambda a, b: a / b,
        "minimum": min,
        "maximum": max,
    }
    lines: list[Any] = []
    for operation, *rest in tape["code"]:
        if operation in given:
            lines.append(given[operation][rest[0]])
        elif operation == "constant":
            lines.append(mpmath.mpf(rest[0]))
        elif operation == "power":
            lines.append(mpmath.power(lines[rest[0]], mpmath.mpf(rest[1])))
        elif operation == "hill":
            raised = mpmath.power(max(lines[rest[0]], mpmath.mpf(0)), mpmath.mpf(rest[1]))
            lines.append(raised / (1 + raised))
        elif operation in two:
            lines.append(two[operation](lines[rest[0]], lines[rest[1]]))
        else:
            lines.append(one[operation](lines[rest[0]]))
    return [lines[k] for k in tape["rate"]]


def beside(system: Tree) -> list[Network]:
    """What is added beside the tape, for every system, whether θ or the arrays tell them apart; u is that of the tape."""
    A, m = np.asarray(system["A"], dtype=np.float64), len(system["tape"]["inputs"])
    given = [np.asarray(system[name]) for name in ("theta", "theta_upper") if system.get(name) is not None]
    leading = np.broadcast_shapes(A.shape[:-2], *(theta.shape[:-1] for theta in given))
    more = {"A": np.broadcast_to(A, (*leading, *A.shape[-2:]))}
    more |= {"B": np.zeros((A.shape[-1], m))} if m and system.get("B") is None else {}
    return networks({**system, **more})


def exact_network(one: Network, x: Sequence[Any], u: Sequence[Any]) -> list[Any]:
    """What is added beside the tape, of one system, with mpmath's numbers; of tanh and relu alone."""
    total = _product(one.linear, [*x, *u])
    z: Sequence[Any] = [*x, *u]
    for k, (w, b) in enumerate(zip(one.weights, one.biases, strict=True)):
        v = [a + mpmath.mpf(float(c)) for a, c in zip(_product(w, z), b, strict=True)]
        last = k == len(one.weights) - 1
        z = v if last else [mpmath.tanh(a) if one.activation == "tanh" else max(a, mpmath.mpf(0)) for a in v]
    return [a + b for a, b in zip(total, z, strict=True)] if one.weights else total


def _product(matrix: Array, vector: Sequence[Any]) -> list[Any]:
    return [sum((mpmath.mpf(float(a)) * v for a, v in zip(row, vector, strict=True)), mpmath.mpf(0)) for row in matrix]


def thetas(system: Tree, count: int) -> tuple[Array, Array]:
    """The ends of each system's θ, (V, q) each."""
    low = np.asarray(system["theta"], dtype=np.float64)
    given = system.get("theta_upper")
    high = low if given is None else np.asarray(given, dtype=np.float64)
    low, high = np.broadcast_arrays(low, high)
    q = low.shape[-1]
    low, high = (np.broadcast_to(end.reshape(-1, q), (count, q)) for end in (low, high))
    return low, high


@dataclass(frozen=True)
class Taped:
    """One system with one θ, as `adversary.Field` sees it."""

    beside: Network
    tape: Tree
    theta: Array  # (q,)

    def field(self, y: Array) -> tuple[Array, Array]:
        f, size = self.beside.field(y)
        rate, _, magnitude = self._known(y)
        return f + rate, size + magnitude

    def jacobian(self, y: Array) -> Array:
        return self.beside.jacobian(y) + self._known(y)[1]

    def _known(self, y: Array) -> tuple[Array, Array, Array]:
        n = self.beside.states
        return dual_rate(self.tape, y[:, :n], y[:, n:], np.broadcast_to(self.theta, (len(y), len(self.theta))))


def taped(system: Tree, rng: np.random.Generator) -> list[Taped]:
    """Every system at its θ; where θ is a box, at its ends, its middle, and two between."""
    found, fields = list[Taped](), beside(system)
    low, high = thetas(system, len(fields))
    for one, a, b in zip(fields, low, high, strict=True):
        shares = (
            [np.zeros(1)]
            if (a == b).all()
            else [np.zeros(1), np.ones(1), *rng.uniform(0, 1, (2, len(a))), np.full(1, 0.5)]
        )
        found += [Taped(one, system["tape"], a + share * (b - a)) for share in shares]
    return found


def contradicts_claim(claim: Tree, system: Tree, rng: np.random.Generator) -> str:
    """What contradicts a rate on a region, or a certificate, which says that trajectories stay as well; empty where nothing does.

    That they leave is found on the faces, in the arithmetic of the ball, and by simulation, in float64, beyond rounding.
    """
    region = claim["region"]
    found = contradicts_rate(claim, system, rng)
    if found or region == "global" or "stays" not in region:
        return found
    if any(end is None for side in ("lower", "upper") for end in region[side]):
        return ""  # the adversary wants walls; only the rate was looked at
    with np.errstate(all="ignore"):
        return contradicted({**claim, "region": region}, taped(system, rng), rng)


def contradicts_rate(claim: Tree, system: Tree, rng: np.random.Generator) -> str:
    """Two states, an input and θ that contradict the rate, with 60 digits; empty where none was found.

    A state at which the tape has no value contradicts too: there is no rate of what is not defined.
    """
    region, P, rate = claim["region"], np.array(claim["metric"], dtype=np.float64), float(claim["rate"])
    n = len(P)
    if not (np.isfinite(P).all() and rate > 0 and (least := np.linalg.eigvalsh(P / np.abs(P).max())[0]) > -1e-12):
        return "the metric or the rate is not positive"
    if least < 1e-13:
        return ""  # so near to singular that nothing is said
    if region == "global":  # any state, any input
        ends, far = [None] * n, [1e2] * len(system["tape"]["inputs"])
        region = {"lower": ends, "upper": ends, "inputs": {"lower": [-level for level in far], "upper": far}}
    inputs = region["inputs"] or {"lower": [], "upper": []}
    levels = [np.array(inputs[side], dtype=np.float64) for side in ("lower", "upper")]
    lower = np.array([-np.inf if end is None else end for end in region["lower"]], dtype=np.float64)
    upper = np.array([np.inf if end is None else end for end in region["upper"]], dtype=np.float64)
    lower = np.where(np.isfinite(lower), lower, np.where(np.isfinite(upper), upper, 0.0) - _FAR)
    upper = np.where(np.isfinite(upper), upper, lower + 2.0 * _FAR)
    rim = 1e-6 * (upper - lower)  # two states beside one another have to be in the region
    scale = np.abs(P).max()
    root = np.linalg.cholesky(P / scale) * np.sqrt(scale)
    fields, m = beside(system), len(levels[0])
    low, high = thetas(system, count := len(fields))
    tape = system["tape"]
    for k in range(count):
        one = fields[k]

        def excess(y: Array, k: int = k) -> Array:
            """The largest eigenvalue of (PJ + JᵀP)/2 + λP in P's own coordinates; without a value infinite."""
            f, J, _ = dual_rate(tape, y[:, :n], y[:, n : n + m], y[:, n + m :])
            J = J + fields[k].jacobian(y[:, : n + m])
            bad = ~(np.isfinite(f).all(1) & np.isfinite(J).all((1, 2)))
            turned = root.T @ np.where(bad[:, None, None], 0.0, J) @ np.linalg.inv(root).T
            worst = np.linalg.eigvalsh((turned + turned.swapaxes(1, 2)) / 2)[:, -1] + rate
            return np.where(bad, np.inf, worst)

        with np.errstate(all="ignore"):
            ends = [
                np.concatenate(parts) for parts in ((lower + rim, levels[0], low[k]), (upper - rim, levels[1], high[k]))
            ]
            worst, at = climb(excess, *ends, rng)
            if worst == np.inf:
                return f"the tape of system {k} has no finite value or slope at {at.tolist()}"
            if worst > 0:
                J = dual_rate(tape, at[None, :n], at[None, n : n + m], at[None, n + m :])[1] + one.jacobian(
                    at[None, : n + m]
                )
                turned = root.T @ J[0] @ np.linalg.inv(root).T
                v = np.linalg.solve(root.T, np.linalg.eigh((turned + turned.T) / 2)[1][:, -1])
                if _pair_contradicts(claim, system, one, at, v / np.abs(v / (upper - lower)).max(), n, m):
                    return f"states beside {at.tolist()} of system {k} approach by less than the rate: {worst:.2e}"
    return ""


def _pair_contradicts(claim: Tree, system: Tree, one: Network, at: Array, v: Array, n: int, m: int) -> bool:
    """Whether the two states at ∓ v contradict the sentence, at one of a few small distances, with 60 digits."""
    with mpmath.workdps(_DIGITS):
        P = np.array(claim["metric"], dtype=np.float64)
        u, theta = ([mpmath.mpf(float(a)) for a in part] for part in (at[n : n + m], at[n + m :]))
        for share in ("1e-7", "1e-12", "1e-20"):
            ends = []
            for sign in (-1, 1):
                x = [
                    mpmath.mpf(float(a)) + sign * mpmath.mpf(share) * mpmath.mpf(float(b))
                    for a, b in zip(at[:n], v, strict=True)
                ]
                f = exact_rate(system["tape"], x, u, theta)
                ends.append((x, [a + b for a, b in zip(f, exact_network(one, x, u), strict=True)]))
            dx = [b - a for a, b in zip(ends[0][0], ends[1][0], strict=True)]
            df = [b - a for a, b in zip(ends[0][1], ends[1][1], strict=True)]
            Pdx = _product(P, dx)
            moved = sum((a * b for a, b in zip(Pdx, df, strict=True)), mpmath.mpf(0))
            size = sum((a * b for a, b in zip(Pdx, dx, strict=True)), mpmath.mpf(0))
            if moved + mpmath.mpf(float(claim["rate"])) * size > mpmath.mpf("1e-15") * size:
                return True
    return False
