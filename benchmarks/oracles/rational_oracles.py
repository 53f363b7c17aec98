"""Claims other than regional certificates decided in rational arithmetic: gains, weighted ℓ1, steps, Lipschitz bounds.

Each takes the claim and the system as the dictionaries that they write, and says whether what the claim proves by is true. The
inequalities stand here in their dense form, from the page; nothing is taken from the checker. (Certificates about all states
have `stability.proof.rational`, those of linear and relu systems in a box `relu_oracle`.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from benchmarks.oracles.relu_oracle import Piecewise, patterns, vertices
from stability.lure import SLOPES
from stability.proof.rational import positive_definite

Rationals = np.ndarray  # of Fractions
Plain = Mapping[str, Any]


def rational(values: Any) -> Rationals:
    """The same numbers as fractions. Errors: ValueError or OverflowError for NaN and infinities."""
    array = np.asarray(values, dtype=np.float64)
    return np.vectorize(Fraction, otypes=[object])(array) if array.size else array.astype(object)


def zeros(*shape: int) -> Rationals:
    """Fractions that are zero."""
    return np.full(shape, Fraction(0), dtype=object)


def eye(size: int) -> Rationals:
    """The identity."""
    one = zeros(size, size)
    one[np.arange(size), np.arange(size)] = Fraction(1)
    return one


@dataclass(frozen=True)
class Dense:
    """One system, dx/dt = A x + B u + E z, z = φ(W x + N z + U u), slopes in [alpha, beta]."""

    A: Rationals  # (n, n)
    E: Rationals  # (n, H)
    W: Rationals  # (H, n)
    N: Rationals  # (H, H)
    B: Rationals  # (n, m)
    U: Rationals  # (H, m)
    alpha: Fraction
    beta: Fraction


def dense(system: Plain) -> list[Dense]:
    """Every system of the stack."""
    names = [name for name in ("A", "B", "input_weights", "skip") if system.get(name) is not None]
    arrays = {name: np.asarray(system[name], dtype=np.float64) for name in names}
    weights = [np.asarray(w, dtype=np.float64) for w in system["weights"]]
    leading = np.broadcast_shapes(*(a.shape[:-2] for a in (*arrays.values(), *weights)))
    flat = {k: np.broadcast_to(a, leading + a.shape[-2:]).reshape(-1, *a.shape[-2:]) for k, a in arrays.items()}
    layers = [np.broadcast_to(w, leading + w.shape[-2:]).reshape(-1, *w.shape[-2:]) for w in weights]
    n, widths = arrays["A"].shape[-1], [w.shape[-2] for w in weights[:-1]]
    H, m = sum(widths), max([a.shape[-1] for k, a in arrays.items() if k in ("B", "input_weights")], default=0)
    alpha, beta = (Fraction(end) for end in SLOPES[system["activation"]])
    found = []
    for v in range(len(flat["A"])):
        A, B, U = rational(flat["A"][v]), zeros(n, m), zeros(H, m)
        A = A + rational(flat["skip"][v]) if "skip" in flat else A
        B = B + rational(flat["B"][v]) if "B" in flat else B
        E, W, N = zeros(n, H), zeros(H, n), zeros(H, H)
        if len(layers) == 1:
            A = A + rational(layers[0][v])
            B = B + rational(flat["input_weights"][v]) if "input_weights" in flat else B
        elif layers:
            W[: widths[0]] = rational(layers[0][v])
            E[:, H - widths[-1] :] = rational(layers[-1][v])
            if "input_weights" in flat:
                U[: widths[0]] = rational(flat["input_weights"][v])
            row, column = widths[0], 0
            for before, here, w in zip(widths[:-1], widths[1:], layers[1:-1], strict=True):
                N[row : row + here, column : column + before] = rational(w[v])
                row, column = row + here, column + before
        found.append(Dense(A, E, W, N, B, U, alpha, beta))
    return found


def sector(V: Rationals, D: Rationals, L: Rationals, alpha: Fraction, beta: Fraction) -> Rationals:
    """(D − αV)ᵀΛ(D − βV) and its transpose, summed."""
    half = (D - alpha * V).T @ (L[:, None] * (D - beta * V))
    return np.asarray(half + half.T)


def is_metric(P: Rationals) -> bool:
    """P = Pᵀ ≻ 0."""
    return bool((P == P.T).all()) and positive_definite(P.tolist())


def gain_holds(claim: Plain, system: Plain) -> bool:
    """The bordered inequality of a tube or an L2 gain, its value and its units."""
    P, C, units = rational(claim["metric"]), rational(claim["output"]), rational(claim["units"])
    value, rate, supply = (Fraction(claim[name]) for name in ("value", "rate", "supply"))
    if not is_metric(P) or value < 0 or supply < 0 or not all(u > 0 for u in units):
        return False
    if claim["kind"] == "tube":
        if rate <= 0 or C.size or value**2 * 2 * rate < supply:
            return False
    elif rate != 0 or value**2 < supply:
        return False
    n = len(P)
    for i in range(n):
        border = eye(n)[:, i : i + 1]
        if not positive_definite(np.block([[P, border], [border.T, np.array([[units[i] ** 2]], dtype=object)]]).tolist()):
            return False
    for one, L in zip(dense(system), rational(claim["multipliers"]), strict=True):
        H, m = len(L), one.B.shape[1]
        if not all(x > 0 for x in L):
            return False
        M = zeros(n + H + m, n + H + m)
        M[:n, :n] = -(one.A.T @ P + P @ one.A + 2 * rate * P)
        if C.size:
            M[:n, :n] = M[:n, :n] - C.T @ C
        T = np.concatenate([P @ one.E, P @ one.B], axis=1)
        M[:n, n:], M[n:, :n] = -T, -T.T
        M[n + H :, n + H :] = supply * eye(m)
        if H:
            V = np.concatenate([one.W, one.N, one.U], axis=1)
            D = np.concatenate([zeros(H, n), eye(H), zeros(H, m)], axis=1)
            M = M + sector(V, D, L, one.alpha, one.beta)
        if not positive_definite(M.tolist()):
            return False
    return True


def l1_holds(claim: Plain, system: Plain) -> bool:
    """Column sums of the entrywise extremes over all corners of the slopes (of few units), each of which a corner attains."""
    w, rate = rational(claim["weights"]), Fraction(claim["rate"])
    if rate <= 0 or not all(x > 0 for x in w):
        return False
    for one in dense(system):
        n, H = one.A.shape[0], len(one.W)
        ends = []
        for slopes in product((one.alpha, one.beta), repeat=H):
            z = zeros(H, n)
            for j in range(H):  # N is strictly lower triangular
                z[j] = slopes[j] * (one.W[j] + (one.N[j, :j] @ z[:j] if j else 0))
            ends.append(one.A + one.E @ z if H else one.A)
        high, low = np.max(ends, axis=0), np.min(ends, axis=0)
        M = np.maximum(abs(high), abs(low))
        M[np.arange(n), np.arange(n)] = np.diagonal(high)
        if any(c > -rate * x for c, x in zip(w @ M, w, strict=True)):
            return False
    return True


_COEFFICIENTS = {
    "euler": ((Fraction(0),), (Fraction(1),)),
    "rk4": (
        (Fraction(0), Fraction(1, 2), Fraction(1, 2), Fraction(1)),
        (Fraction(1, 6), Fraction(1, 3), Fraction(1, 3), Fraction(1, 6)),
    ),
}


def step_holds(claim: Plain, system: Plain) -> bool:
    """ρ²P̂ − GᵀPG + the sector ≻ 0 with the method's own fractions."""
    P, step, factor = rational(claim["metric"]), Fraction(claim["step"]), Fraction(claim["factor"])
    if not is_metric(P) or step <= 0 or not 0 < factor < 1:
        return False
    starts, parts = _COEFFICIENTS[claim["method"]]
    n = len(P)
    for one, L in zip(dense(system), rational(claim["multipliers"]), strict=True):
        if not all(x > 0 for x in L):
            return False
        H = len(one.W)
        size = n + len(starts) * H
        first = eye(size)[:n]
        end, slope, arguments = first, zeros(n, size), []
        for s, (a, b) in enumerate(zip(starts, parts, strict=True)):
            own = eye(size)[n + s * H : n + (s + 1) * H]
            stage = first + a * step * slope
            slope = one.A @ stage + (one.E @ own if H else 0)
            end = end + b * step * slope
            arguments.append(one.W @ stage + one.N @ own if H else zeros(0, size))
        M = -(end.T @ P @ end)
        M[:n, :n] = M[:n, :n] + factor**2 * P
        if H:
            M = M + sector(np.concatenate(arguments), eye(size)[n:], L, one.alpha, one.beta)
        if not positive_definite(M.tolist()):
            return False
    return True


def lipschitz_holds(claim: Plain, layers: Plain) -> bool:
    """The inequality of a bound everywhere; of a relu network with one hidden layer in a box, ‖J‖ ≤ γ on every piece."""
    weights, bound = [rational(w) for w in layers["weights"]], Fraction(claim["bound"])
    if bound <= 0:
        return False
    if claim["region"] is not None:
        return _on_every_piece(claim, layers, bound)
    L = rational(claim["multipliers"])
    if not all(x > 0 for x in L):
        return False
    sizes = [weights[0].shape[1], *(w.shape[0] for w in weights[:-1])]
    n, H = sizes[0], sum(sizes[1:])
    edges = np.cumsum([0, *sizes])
    V = zeros(H, n + H)
    for k, w in enumerate(weights[:-1]):
        V[edges[k + 1] - n : edges[k + 2] - n, edges[k] : edges[k + 1]] = w
    alpha, beta = (Fraction(end) for end in SLOPES[layers["activation"]])
    M = sector(V, np.concatenate([zeros(H, n), eye(H)], axis=1), L, alpha, beta) if H else zeros(n, n)
    M[:n, :n] = M[:n, :n] + bound**2 * eye(n)
    last = slice(edges[-2], edges[-1])
    M[last, last] = M[last, last] - weights[-1].T @ weights[-1]
    return positive_definite(M.tolist())


def _on_every_piece(claim: Plain, layers: Plain, bound: Fraction) -> bool:
    if layers["activation"] != "relu" or len(layers["weights"]) != 2:
        raise ValueError("in a box this oracle decides relu networks with one hidden layer; give one of those.")
    first, last = (rational(w) for w in layers["weights"])
    lower, upper = (rational(claim["region"][side]).tolist() for side in ("lower", "upper"))
    if not all(a < b for a, b in zip(lower, upper, strict=True)):
        return False
    n = first.shape[1]
    field = Piecewise(zeros(1, n).tolist(), first.tolist(), rational(layers["biases"][0]).tolist(), last.tolist(), [Fraction(0)])
    enough = (bound * (1 + Fraction(1, 10**25))) ** 2 * eye(n)  # false beyond doubt, also where the norm is the bound itself
    for signs in patterns(field, vertices(field, lower, upper), lower, upper):
        J = last @ (np.array([Fraction(s) for s in signs], dtype=object)[:, None] * first)
        if not positive_definite((enough - J.T @ J).tolist()):
            return False
    return True
