"""The problem of the climb: the matrices M_v of the joint inequality, the conditions on the unknowns, the dual bound."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stability.lure import Loop

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """The unknowns, strictly feasible, and the positive multipliers of the constraints on them; or a step in all of these."""

    rate: float
    P: Array  # (n, n)
    L: Array  # (V, H)
    Z: Array  # (V, n + H, n + H), of M ≻ 0
    low: Array  # B (n, n), of P ⪰ I
    high: Array  # C (n, n), of P ⪯ κI
    under: Array  # s (V, H), of Λ > 0
    over: Array  # t (V, H), of Λ < U

    def along(self, step: "Point", primal: float, dual: float) -> "Point":
        return Point(
            self.rate + primal * step.rate,
            self.P + primal * step.P,
            self.L + primal * step.L,
            self.Z + dual * step.Z,
            self.low + dual * step.low,
            self.high + dual * step.high,
            self.under + dual * step.under,
            self.over + dual * step.over,
        )


class Problem:
    """One problem: its matrices M_v, and its dual bound.

    `constant` is added to M; `dense`: a unit sees all layers before its own, not the last of them alone.
    """
    def __init__(
        self,
        loop: Loop,
        fixed: bool,
        condition: float,
        most: Array,  # U (V, 1)
        constant: Array | None = None,  # (V, n + H, n + H)
        *,
        dense: bool = False,
    ) -> None:
        V, n, H = loop.E.shape
        self.dense = dense
        self.loop, self.fixed, self.condition, self.most, self.constant = loop, fixed, condition, most, constant
        self.plain = not loop.lower.any()  # J = [0; I]: products with it are slices
        rows, columns = np.triu_indices(0 if fixed else n)
        self.basis = np.zeros((n * n, rows.size))  # symmetric matrices from their upper triangle
        self.basis[rows * n + columns, np.arange(rows.size)] = 1.0
        self.basis[columns * n + rows, np.arange(rows.size)] = 1.0
        edges = np.concatenate([[0], np.cumsum(loop.widths, dtype=int)])
        self.layers = [slice(int(edges[k]), int(edges[k + 1])) for k in range(len(loop.widths))]
        self.n, self.H, self.V = n, H, V
        self.slacks = V * (n + 3 * H) + (0 if fixed else 2 * n)

    def T(self, rate: float) -> Array:
        """[A + λI, E]."""
        return np.concatenate([self.loop.A + rate * np.eye(self.n), self.loop.E], axis=2)

    def right(self, X: Array) -> Array:
        """X R."""
        return self._side(X, self.loop.upper)

    def across(self, X: Array) -> Array:
        """X J."""
        return X[:, :, self.n :] if self.plain else self._side(X, self.loop.lower)

    def _side(self, X: Array, slope: Array) -> Array:
        """X [−Wᵀs; I − Nᵀs], layer by layer: a unit sees only the layer before its own."""
        n = self.n
        out = X[:, :, n:].copy()
        for k, layer in enumerate(self.layers):
            before = self._before(k)
            out[:, :, layer] -= (X[:, :, before] @ self._weight(k).swapaxes(1, 2)) * slope[:, None, layer]
        return out

    def _before(self, k: int) -> slice:
        """What layer k sees, among the rows of M."""
        if self.dense:
            return slice(0, self.n + self.layers[k].start)
        return slice(self.n + self.layers[k - 1].start, self.n + self.layers[k - 1].stop) if k else slice(0, self.n)

    def _weight(self, k: int) -> Array:
        if self.dense:
            layer = self.layers[k]
            return np.concatenate([self.loop.W[:, layer], self.loop.N[:, layer, : layer.start]], axis=2)
        return self.loop.N[:, self.layers[k], self.layers[k - 1]] if k else self.loop.W[:, self.layers[0]]

    def matrix(self, rate: float, P: Array, L: Array) -> Array:
        """M."""
        M = self.change(rate, P, L, 0.0 * P)
        if self.constant is not None:
            M += self.constant
        return M

    def change(self, rate: float, P: Array, L: Array, shift: Array) -> Array:
        """The derivative of M along P and Λ, and along λ by `shift` = dλ P."""
        n = self.n
        half = np.zeros((self.V, n + self.H, n + self.H))
        half[:, :n] = -(P @ self.T(rate))
        half[:, :n, :n] -= shift
        units = np.arange(n, n + self.H)
        scaled = half[:, :, n:] if self.plain else np.zeros((self.V, n + self.H, self.H))  # R Λ, then R Λ Jᵀ
        for k, layer in enumerate(self.layers):
            column = (self.loop.upper[:, layer] * L[:, layer])[:, None, :]
            scaled[:, self._before(k), layer] -= self._weight(k).swapaxes(1, 2) * column
        scaled[:, units, units - n] += L
        if not self.plain:
            half[:, :, n:] += scaled
            for k, layer in enumerate(self.layers):
                column = scaled[:, :, layer] * self.loop.lower[:, None, layer]
                half[:, :, self._before(k)] -= column @ self._weight(k)
        return half + half.swapaxes(1, 2)

    def change_times(self, rate: float, P: Array, L: Array, shift: Array, X: Array) -> Array:
        """`change` times a matrix, layer by layer where J is a slice."""
        if not self.plain:
            return self.change(rate, P, L, shift) @ X
        n, scaled = self.n, self.loop.upper * L
        border = P @ self.T(rate)
        border[:, :, :n] += shift
        out = -(border.swapaxes(1, 2) @ X[:, :n])
        out[:, :n] -= border @ X
        out[:, n:] += 2.0 * L[:, :, None] * X[:, n:]
        for k, layer in enumerate(self.layers):
            before, weight, s = self._before(k), self._weight(k), scaled[:, layer, None]
            here = slice(n + layer.start, n + layer.stop)
            out[:, before] -= weight.swapaxes(1, 2) @ (s * X[:, here])
            out[:, here] -= s * (weight @ X[:, before])
        return out

    def start(self, rate: float, P: Array, L: Array) -> Point | None:
        """Multipliers μ/slack, with the μ that meets the condition on λ; None where M is not positive."""
        M = self.matrix(rate, P, L)
        if not positive(M):
            return None
        K = inverse(M)
        mu = 0.5 / float(np.sum(K[:, : self.n, : self.n] * P))
        low, high = self.box(P)
        return Point(rate, P, L, mu * K, mu * low, mu * high, mu / L, mu / (self.most - L))

    def bound(self, point: Point) -> float:
        """The dual bound on the rate, for any Z ≻ 0."""
        n, Z = self.n, point.Z
        xx = Z[:, :n, :n].sum(0)
        b = (self.T(point.rate) @ Z[:, :, :n]).sum(0)
        excess = 2.0 * float(np.sum(np.maximum(self.slopes(Z), 0.0) * self.most))
        if self.constant is not None:
            excess += float(np.sum(self.constant * Z))
        if self.fixed:
            return point.rate + 0.5 * (excess - 2.0 * float(np.sum(b * point.P))) / float(np.sum(xx * point.P))
        return point.rate + 0.5 * _largest_ratio(-(b + b.T), xx, self.condition, excess)

    def gap(self, point: Point, M: Array) -> float:
        """Σ slack · multiplier."""
        total = np.sum(M * point.Z) + np.sum(point.L * point.under) + np.sum((self.most - point.L) * point.over)
        if not self.fixed:
            eye = np.eye(self.n)
            total += np.sum((point.P - eye) * point.low) + np.sum((self.condition * eye - point.P) * point.high)
        return float(total)

    def box(self, P: Array) -> tuple[Array, Array]:
        """(P − I)⁻¹ and (κI − P)⁻¹; zeros where P is given."""
        if self.fixed:
            return np.zeros_like(P), np.zeros_like(P)
        eye = np.eye(self.n)
        return inverse(P - eye), inverse(self.condition * eye - P)

    def slopes(self, X: Array) -> Array:
        """(JᵀXR)_jj."""
        XR = self.right(X)
        if self.plain:
            return np.asarray(np.diagonal(XR[:, self.n :], axis1=1, axis2=2))
        return np.asarray(np.diagonal(self._side(XR.swapaxes(1, 2), self.loop.lower), axis1=1, axis2=2))


def positive(matrices: Array) -> bool:
    """Whether Cholesky factors of all of them exist."""
    try:
        np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        return False
    return True


def inverse(matrices: Array) -> Array:
    """The inverses of symmetric matrices, symmetric again. Errors: LinAlgError where one is not finite."""
    found = symmetric(np.asarray(np.linalg.inv(matrices), dtype=np.float64))
    if not np.isfinite(found).all():
        raise np.linalg.LinAlgError("an inverse is not finite")
    return found


def symmetric(matrix: Array) -> Array:
    """Half of the sum with the transpose."""
    return (matrix + matrix.swapaxes(-1, -2)) / 2


def _largest_ratio(G: Array, Z: Array, condition: float, g: float) -> float:
    """max (⟨G, P⟩ + g)/⟨Z, P⟩ over I ⪯ P ⪯ κI, for Z ≻ 0 and g ≥ 0, from above.

    The excess g + max_P ⟨G − rZ, P⟩ is convex and falling in r, and zero at the answer; the P that attains it takes κ on the
    positive eigenvalues of G − rZ and 1 on the others, and the ratio at that P is Newton's next r, which comes from below
    (Dinkelbach 1967). With P ⪰ I the excess falls by tr Z at least, which says how far above r the answer can be.
    """
    size = max(float(np.trace(Z)), 1e-300)
    reach = (g + condition * float(np.abs(np.linalg.eigvalsh(G)).sum())) / size
    ratio = (g + float(np.trace(G))) / size  # at P = I
    while True:
        values, vectors = np.linalg.eigh(G - ratio * Z)
        weights = np.where(values > 0, condition, 1.0)
        above = max(g + float(weights @ values), 0.0) / size
        if not above > 1e-6 * abs(ratio + above) + 1e-9 * reach / condition:
            return ratio + above
        P = (vectors * weights) @ vectors.T
        following = (g + float(np.sum(G * P))) / float(np.sum(Z * P))
        if not following > ratio:  # rounding has the last word
            return ratio + above
        ratio = following
