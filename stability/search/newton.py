"""The Newton system behind the climb: the conditions of optimality of the joint inequality, and a step towards them.

In the notation of `interior_point`, with multipliers Z_v of M_v ≻ 0, B and C of I ⪯ P ⪯ κI, s and t of 0 < Λ < U, the conditions
of optimality of max λ are

    2 Σ⟨(Z_v)_xx, P⟩ = 1,     Σ(T_λ Z_v Iᵀ + its transpose) = B − C,     2(JᵀZ_vR)_jj = t_vj − s_vj,     slack · multiplier = 0.

The last is replaced by slack · multiplier = μ and linearised as dZ = μK − Z − sym(K dM Z), K = M⁻¹ (Helmberg, Rendl, Vanderbei &
Wolkowicz 1996; Kojima, Shindoh & Hara 1997; Monteiro 1997). The λP in M is bilinear and puts 2⟨Z_xx, dP⟩ dλ into the Hessian
of the Lagrangian. Λ_v meets the rest only through (λ, P): it is eliminated on its own, V solves of size H, then one of size
1 + n(n+1)/2. With F_j = e_jr_jᵀ + r_je_jᵀ = ∂M/∂Λ_j, e_j and r_j the columns of J and R, its coefficients are

    tr(F_iKF_jZ) = r_iᵀKr_j e_jᵀZe_i + e_iᵀKe_j r_jᵀZr_i + e_jᵀKr_i e_iᵀZr_j + e_iᵀKr_j e_jᵀZr_i.
"""

from collections.abc import Callable
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
    """One problem: its matrices M_v, its Newton steps, its dual bound.

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
        low, high = self._box(P)
        return Point(rate, P, L, mu * K, mu * low, mu * high, mu / L, mu / (self.most - L))

    def bound(self, point: Point) -> float:
        """The dual bound on the rate, for any Z ≻ 0."""
        n, Z = self.n, point.Z
        xx = Z[:, :n, :n].sum(0)
        b = (self.T(point.rate) @ Z[:, :, :n]).sum(0)
        excess = 2.0 * float(np.sum(np.maximum(self._slopes(Z), 0.0) * self.most))
        if self.constant is not None:
            excess += float(np.sum(self.constant * Z))
        if self.fixed:
            return point.rate + 0.5 * (excess - 2.0 * float(np.sum(b * point.P))) / float(np.sum(xx * point.P))
        return point.rate + 0.5 * _largest_ratio(-(b + b.T), xx, self.condition, excess)

    def move(self, point: Point) -> Point | None:
        """A predictor, a corrector, and as much of the latter's step as keeps slacks and multipliers positive.

        The predictor aims at μ = 0; how much of the gap it leaves says how far the corrector may aim (Mehrotra 1992). None at
        the end of float64.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is no step, and is seen below
            return self._moved(point)

    def _moved(self, point: Point) -> Point | None:
        M = self.matrix(point.rate, point.P, point.L)
        gap = self._gap(point, M)
        try:
            solve = self._system(point, inverse(M))
            guess = solve(0.0, None)
            ahead = point.along(guess, self._room(point, guess, False), self._room(point, guess, True))
            left = self._gap(ahead, self.matrix(ahead.rate, ahead.P, ahead.L)) / gap
            step = solve(float(np.clip(left, 0.03, 1.0)) ** 2 * gap / self.slacks, guess)
            primal, dual = self._room(point, step, False), self._room(point, step, True)
            if min(primal, dual) < 1e-2:  # too near to an edge: first back towards the centre
                step = solve(0.9 * gap / self.slacks, None)
                primal, dual = self._room(point, step, False), self._room(point, step, True)
        except np.linalg.LinAlgError:
            return None
        return None if min(primal, dual) < 1e-3 else point.along(step, primal, dual)

    def _gap(self, point: Point, M: Array) -> float:
        """Σ slack · multiplier."""
        total = np.sum(M * point.Z) + np.sum(point.L * point.under) + np.sum((self.most - point.L) * point.over)
        if not self.fixed:
            eye = np.eye(self.n)
            total += np.sum((point.P - eye) * point.low) + np.sum((self.condition * eye - point.P) * point.high)
        return float(total)

    def _box(self, P: Array) -> tuple[Array, Array]:
        """(P − I)⁻¹ and (κI − P)⁻¹; zeros where P is given."""
        if self.fixed:
            return np.zeros_like(P), np.zeros_like(P)
        eye = np.eye(self.n)
        return inverse(P - eye), inverse(self.condition * eye - P)

    def _slopes(self, X: Array) -> Array:
        """(JᵀXR)_jj."""
        XR = self.right(X)
        if self.plain:
            return np.asarray(np.diagonal(XR[:, self.n :], axis1=1, axis2=2))
        return np.asarray(np.diagonal(self._side(XR.swapaxes(1, 2), self.loop.lower), axis1=1, axis2=2))

    def _room(self, point: Point, step: Point, dual: bool) -> float:
        """How long the step may be: all of it, or nine tenths of what was found to stay inside."""
        sides = [(point.L, step.L), (self.most - point.L, -step.L)]
        if dual:
            sides = [(point.under, step.under), (point.over, step.over)]
        length = 1.0
        for value, change in sides:
            length = min(length, 1.0 / max(float((-change / value).max(initial=0.0)), 1.0))
        eye = np.eye(self.n)
        for _ in range(60):
            at = point.along(step, length, length)
            boxed = (at.low, at.high) if dual else (at.P - eye, self.condition * eye - at.P)
            inside = self.fixed or positive(np.stack(boxed))
            if inside and positive(at.Z if dual else self.matrix(at.rate, at.P, at.L)):
                return 1.0 if length == 1.0 else 0.9 * length
            length *= 0.85
        return 0.0

    def _system(self, point: Point, K: Array) -> "Callable[[float, Point | None], Point]":
        """The conditions linearised at the point, as a function of μ and of the step whose second-order terms to correct for."""
        n, P, L, Z, units = self.n, point.P, point.L, point.Z, np.arange(self.H)
        T, d = self.T(point.rate), self.basis.shape[1]
        low, high = self._box(P)
        k, z = self._views(K, T), self._views(Z, T)
        inside = k.rr * z.ee + k.ee * z.rr + k.er.swapaxes(1, 2) * z.er + k.er * z.er.swapaxes(1, 2)
        inside[:, units, units] += point.under / L + point.over / (self.most - L)
        inside = _ridge(inside)
        centre_L = 2.0 * k.er[:, units, units] + 1.0 / L - 1.0 / (self.most - L)
        border = np.empty((self.V, self.H, 1 + d))
        border[:, :, 0] = -2.0 * np.sum(z.Ie * (P @ k.Ir) + k.Ie * (P @ z.Ir), axis=1)
        pairs = ((k.Ir, z.Te), (k.Tr, z.Ie), (k.Ie, z.Tr), (k.Te, z.Ir))
        outer, centre = np.zeros((1 + d, 1 + d)), np.zeros(1 + d)
        outer[0, 0] = 4.0 * float(np.sum((P @ k.a) * (P @ z.a).swapaxes(1, 2)))
        centre[0] = -2.0 * float(np.sum(k.a * P))
        twist = np.zeros(d)
        if d:
            S = sum(np.einsum("vih,vkh->vhik", x, y) for x, y in pairs).reshape(self.V, self.H, n * n)
            border[:, :, 1:] = -S @ self.basis
            quartic = _pairs(k.b, z.b) + _pairs(k.c, z.a) + _pairs(k.a, z.c)
            quartic += _pairs(k.b.swapaxes(1, 2), z.b.swapaxes(1, 2))
            quartic += _pairs(low[None], point.low[None]) + _pairs(high[None], point.high[None])
            outer[1:, 1:] = self.basis.T @ quartic @ self.basis
            mixed = 2.0 * (k.b @ P @ z.a + k.a @ P @ z.b.swapaxes(1, 2)).sum(0).T
            outer[0, 1:] = outer[1:, 0] = mixed.reshape(-1) @ self.basis
            total = k.b.sum(0)
            centre[1:] = (low - high - total - total.T).reshape(-1) @ self.basis
            twist = 2.0 * z.a.sum(0).reshape(-1) @ self.basis
        solved = np.linalg.solve(inside, border)
        plain = outer - np.einsum("vhi,vhj->ij", border, solved)
        curved = plain.copy()  # with the curvature that λP brings; where it is not positive, without
        curved[0, 1:] += twist
        curved[1:, 0] += twist

        def solve(mu: float, before: Point | None) -> Point:
            right, right_L = mu * centre, mu * centre_L
            right[0] += 1.0
            none = Point(0.0, 0.0 * P, 0.0 * L, np.zeros_like(Z[:, :1, :1]), 0.0 * P, 0.0 * P, 0.0 * L, 0.0 * L)
            bent = none if before is None else second_order(before)
            if before is not None:
                right[0] += 2.0 * float(np.sum(bent.Z[:, :n, :n] * P))
                bQ = (T @ bent.Z[:, :, :n]).sum(0)
                right[1:] += (bQ + bQ.T - bent.low + bent.high).reshape(-1) @ self.basis
                right_L = right_L - 2.0 * self._slopes(bent.Z) - bent.under + bent.over
            right = right - np.einsum("vhi,vh->i", solved, right_L)
            out = _bordered(curved, right)
            out = _bordered(plain, right) if out is None else out
            if out is None:
                raise np.linalg.LinAlgError("the Newton system is not positive")
            dL = np.linalg.solve(inside, right_L[:, :, None])[:, :, 0] - solved @ out
            dP, rate = (self.basis @ out[1:]).reshape(n, n), float(out[0])
            changed = self.change_times(point.rate, dP, dL, rate * P, Z)
            return Point(
                rate,
                dP,
                dL,
                mu * K - Z - symmetric(K @ changed) - bent.Z,
                mu * low - point.low - symmetric(low @ dP @ point.low) - bent.low,
                mu * high - point.high + symmetric(high @ dP @ point.high) - bent.high,
                mu / L - point.under - point.under / L * dL - bent.under,
                mu / (self.most - L) - point.over + point.over / (self.most - L) * dL - bent.over,
            )

        def second_order(step: Point) -> Point:
            """What the linearised products of slack and multiplier leave out, over the slack."""
            Q = K @ self.change_times(point.rate, step.P, step.L, step.rate * P, step.Z)
            Q -= K[:, :, :n] @ (2.0 * step.rate * step.P @ Z[:, :n])
            return Point(
                0.0,
                0.0 * P,
                0.0 * L,
                symmetric(Q),
                symmetric(low @ step.P @ step.low),
                -symmetric(high @ step.P @ step.high),
                step.L * step.under / L,
                -step.L * step.over / (self.most - L),
            )

        return solve

    def _views(self, X: Array, T: Array) -> "_Views":
        n = self.n
        XJ, XR = self.across(X), self.right(X)
        JX, TX = XJ.swapaxes(1, 2), T @ X
        return _Views(
            ee=self.across(JX),
            er=self.right(JX),
            rr=self.right(XR.swapaxes(1, 2)),
            Ie=XJ[:, :n],
            Ir=XR[:, :n],
            Te=T @ XJ,
            Tr=T @ XR,
            a=X[:, :n, :n],
            b=TX[:, :, :n],
            c=TX @ T.swapaxes(1, 2),
        )


@dataclass(frozen=True)
class _Views:
    """A matrix X seen from the columns of J (e), of R (r), of I and of T: the letters name the factors on its two sides."""

    ee: Array  # JᵀXJ (V, H, H)
    er: Array  # JᵀXR
    rr: Array  # RᵀXR
    Ie: Array  # IXJ (V, n, H)
    Ir: Array
    Te: Array
    Tr: Array
    a: Array  # IXIᵀ (V, n, n)
    b: Array  # TXIᵀ
    c: Array  # TXTᵀ


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


def _bordered(matrix: Array, right: Array) -> Array | None:
    """The solution of matrix · x = right, x_0 last; None where eliminating the others leaves nothing positive for it."""
    half = np.linalg.solve(_ridge(matrix[1:, 1:]), np.stack([matrix[1:, 0], right[1:]], axis=1))
    pivot = matrix[0, 0] - matrix[0, 1:] @ half[:, 0]
    if not pivot > 0:
        return None
    first = (right[0] - matrix[0, 1:] @ half[:, 1]) / pivot
    return np.concatenate([[first], half[:, 1] - first * half[:, 0]])


def _pairs(left: Array, right: Array) -> Array:
    """Σ_v of the form tr(X left Y right) over matrices X, Y written as vectors: [ij, kl] ↦ left_jk right_li."""
    n = left.shape[-1]
    product = left.reshape(-1, n * n).T @ right.reshape(-1, n * n)
    return product.reshape(n, n, n, n).transpose(3, 0, 1, 2).reshape(n * n, n * n)


def _ridge(matrix: Array) -> Array:
    """A relative 1e-14 on the diagonal: the Newton step needs a direction, not an exact solution."""
    out = matrix.copy()
    units = np.arange(matrix.shape[-1])
    out[..., units, units] *= 1.0 + 1e-14
    return out


def _largest_ratio(G: Array, Z: Array, condition: float, g: float) -> float:
    """max (⟨G, P⟩ + g)/⟨Z, P⟩ over I ⪯ P ⪯ κI, for Z ≻ 0 and g ≥ 0.

    ⟨G − rZ, P⟩ is largest where P takes κ on the positive eigenvalues of G − rZ and 1 on the others; r is bisected until
    that largest value, plus g, is no longer positive.
    """

    def excess(ratio: float) -> float:
        values = np.linalg.eigvalsh(G - ratio * Z)
        return g + float(np.sum(np.where(values > 0, condition * values, values)))

    reach = (g + condition * float(np.abs(np.linalg.eigvalsh(G)).sum())) / max(float(np.trace(Z)), 1e-300)
    low, high = -reach, reach
    while high - low > 1e-6 * abs(high) + 1e-9 * reach / condition:
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high
