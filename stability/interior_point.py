"""The joint search for the rate λ, one metric P and diagonal multipliers Λ_v: a structured interior-point climb.

Over V systems in the form dx/dt = A x + E z, v = W x + N z, z = φ(v), slopes in [α, β] (differences of trajectories), let

    M_v(λ, P, Λ_v) = −(IᵀP T_λ + T_λᵀP I) + JΛRᵀ + RΛJᵀ,     T_λ = [A + λI, E],   I = [I_n 0],
    J = [−Wᵀα; I − Nᵀα]  and  R = [−Wᵀβ; I − Nᵀβ]:  the rows of Jᵀ and Rᵀ take (δx, δz) to δz − αδv and δz − βδv.

For α = 0 this is −[AᵀP + PA + 2λP, PE + WᵀβΛ; ·, βΛN + NᵀΛβ − 2Λ]. At fixed λ the barrier

    φ_λ(P, Λ) = −Σ_v log det M_v − Σ (log Λ + log(U − Λ)) − log det(P − I) − log det(κI − P)

is convex, and its minimiser is the centre (U, far above any multiplier of use, keeps those of dead units finite). The
climb follows the path of centres: Newton steps at fixed λ, then a step along the tangent, most of the way to the edge of
the domain, which raises λ. The Hessian is an arrow: each Λ_v meets the others only through P, and is eliminated on its own
(V solves of size H, then one of size n(n+1)/2). Every iterate is strictly feasible, hence a candidate certificate: a time
limit costs only rate.

Dual bound. Take any K_v ≻ 0 (here near M_v⁻¹), and let λ', P' ≻ 0, Λ' ⪰ 0 be feasible. M is linear in (P, Λ), so
    0 ≤ Σ⟨K_v, M_v(λ', P', Λ'_v)⟩ = ⟨G, P'⟩ + Σ_vj 2(JᵀK_vR)_jj Λ'_vj − 2(λ' − λ)⟨Σ(K_v)_xx, P'⟩,
with G = −Σ(T_λ K Iᵀ + its transpose). With g = Σ 2 max(0, (JᵀK_vR)_jj) U_vj it follows, for Λ' ⪯ U, that
    λ' ≤ λ + ½ max (⟨G, P'⟩ + g)/⟨Σ(K_v)_xx, P'⟩ over the P' in question: the given one, or I ⪯ P' ⪯ κI.

Sources: Boyd & El Ghaoui, Linear Algebra and its Applications 188 (1993), on generalised eigenvalues by centres; Boyd and
Vandenberghe, Convex Optimization (2004), chapter 11, on barriers. The elimination and the bound are derived here.
"""

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stability.lure import Loop

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ascent:
    """Where the climb ended: a strictly feasible (rate, metric, multipliers), and how far any other could get."""

    rate: float
    metric: Array  # (n, n)
    multipliers: Array  # (V, H)
    bound: float  # no (P, Λ) reaches a higher rate in this inequality (computed in float64, not proved); inf if unknown
    duals: Array  # (V, n, n): the matrices (K_v)_xx ≻ 0 behind the bound
    iterations: int


def climb(
    loop: Loop,
    metric: Array,  # (n, n): where to start, and with `fixed` where to stay
    *,
    fixed: bool = False,
    target: float | None = None,
    tolerance: float = 3e-3,
    condition: float = 1e4,
    frame: Array | None = None,  # (n, n)
    deadline: float = float("inf"),
) -> Ascent:
    """Maximise the rate at which all systems contract in one metric.

    Arguments: `fixed` keeps the metric and searches λ and the multipliers alone; `target` ends the climb as soon as that
    rate is passed, or found out of reach by the dual bound; `tolerance` is the relative gap between rate and bound at which
    to stop; `condition` the κ in I ⪯ P ⪯ κI, and `frame` the C of the coordinates Cᵀx in which that is meant; `deadline` a
    time.monotonic() after which the best iterate is returned.
    Law: the returned point is strictly feasible, up to rounding; the proof is made elsewhere.
    """
    if frame is not None:
        back = np.linalg.inv(frame)  # x̃ = Cᵀx: A ↦ CᵀAC⁻ᵀ, E ↦ CᵀE, W ↦ WC⁻ᵀ, P ↦ C⁻¹PC⁻ᵀ, Z ↦ CᵀZC
        turned = replace(loop, A=frame.T @ loop.A @ back.T, E=frame.T @ loop.E, W=loop.W @ back.T)
        found = climb(
            turned,
            _symmetric(back @ metric @ back.T),
            fixed=fixed,
            target=target,
            tolerance=tolerance,
            condition=condition,
            deadline=deadline,
        )
        duals = _symmetric(back.T @ found.duals @ back)
        return replace(found, metric=_symmetric(frame @ found.metric @ frame.T), duals=duals)
    P = metric if fixed else _into_box(metric, condition)
    rates, multipliers = explicit(loop, P)
    worst = float(rates.min())
    point: _Point = (worst - 0.2 * abs(worst) - 1e-3 * float(np.abs(loop.A).max()), P, multipliers)
    problem = _Problem(loop, fixed, condition, 1e6 * multipliers.max(axis=1, initial=1e-300, keepdims=True))
    best, bound, duals = point, np.inf, np.zeros_like(loop.A)
    scale = float(np.abs(loop.A).max()) * 1e-6  # rates this far below the entries of A count as zero
    iteration, reach = 0, 10.0 * float(np.abs(loop.A).max())
    for iteration in range(1000):  # noqa: B007 (reported at the end)
        K = problem.inverse(point) if time.monotonic() < deadline else None
        if K is None:  # out of time, or the point sits at the edge of float64
            break
        step, tangent, decrement = problem.newton(point, K)
        above, xx = problem.bound(point, K, step) if decrement < 0.9 else (np.inf, duals)
        if above < bound:
            bound, duals = above, xx
        if point[0] > best[0]:
            best = point
        if target is not None and (point[0] >= target or bound < target):
            break
        if np.isfinite(bound) and bound - point[0] <= max(tolerance * abs(bound), scale):
            break
        moved = problem.search(point, step, decrement) if decrement > 0.1 else None
        if moved is None:  # centred, as far as float64 goes: raise the rate along the path of centres
            reach = min(4.0 * reach, bound - point[0])
            moved, reach = problem.raise_rate(point, tangent, reach)
        if moved is None:
            break
        point = moved
    return Ascent(*best, bound, duals, iteration)


_Point = tuple[float, Array, Array]  # λ, P, Λ


class _Problem:
    """The barrier of one problem: its inverse matrices, its Newton step, its line search, its dual bound."""

    def __init__(self, loop: Loop, fixed: bool, condition: float, most: Array) -> None:
        V, n, H = loop.E.shape
        self.most = most  # U (V, 1)
        self.loop, self.fixed, self.condition = loop, fixed, condition
        self.J, self.R = sides(loop)
        self.plain = not loop.lower.any()  # J = [0; I]: products with it are slices
        rows, columns = np.triu_indices(n)
        self.basis = np.zeros((n * n, rows.size))  # symmetric matrices from their upper triangle
        self.basis[rows * n + columns, np.arange(rows.size)] = 1.0
        self.basis[columns * n + rows, np.arange(rows.size)] = 1.0
        self.n, self.H, self.V = n, H, V

    def T(self, rate: float) -> Array:
        return np.concatenate([self.loop.A + rate * np.eye(self.n), self.loop.E], axis=2)

    def matrix(self, point: _Point) -> Array:
        rate, P, L = point
        n, H = self.n, self.H
        M = np.zeros((self.V, n + H, n + H))
        X = P @ self.T(rate)
        M[:, :n, :] -= X
        M[:, :, :n] -= X.swapaxes(1, 2)
        scaled = self.R * L[:, None, :]
        if not self.plain:
            scaled = scaled @ self.J.swapaxes(1, 2)
        M[:, :, n if self.plain else 0 :] += scaled
        M[:, n if self.plain else 0 :, :] += scaled.swapaxes(1, 2)
        return M

    def across(self, K: Array) -> Array:
        """K J."""
        return K[:, :, self.n :] if self.plain else K @ self.J

    def down(self, X: Array) -> Array:
        """Jᵀ X."""
        return X[:, self.n :] if self.plain else self.J.swapaxes(1, 2) @ X

    def inverse(self, point: _Point) -> Array | None:
        try:
            K = np.linalg.inv(self.matrix(point))
        except np.linalg.LinAlgError:
            return None
        return (K + K.swapaxes(1, 2)) / 2 if np.isfinite(K).all() else None

    def value(self, point: _Point) -> float:
        """φ, or inf outside its domain."""
        _, P, L = point
        if L.size and not (L.min() > 0 and (self.most > L).all()):
            return np.inf
        try:
            total = -float(np.sum(np.log(L) + np.log(self.most - L))) - _log_det(self.matrix(point))
            if not self.fixed:
                total -= _log_det(np.stack([P - np.eye(self.n), self.condition * np.eye(self.n) - P]))
        except np.linalg.LinAlgError:
            return np.inf
        return total if np.isfinite(total) else np.inf

    def bound(self, point: _Point, K: Array, step: _Point) -> tuple[float, Array]:
        """The dual bound on the rate (inf where it does not apply) and the matrices (Z_v)_xx behind it.

        Z = K − K dM(step) K in place of K: for a squared Newton decrement below 1 it is positive definite and satisfies
        the stationarity equations, linear in Z, exactly, where K does so only at the centre itself.
        """
        rate, P, _ = point
        n = self.n
        Z = K - K @ self.matrix((rate, step[1], step[2])) @ K
        xx = (Z[:, :n, :n] + Z[:, :n, :n].swapaxes(1, 2)) / 2
        total = xx.sum(0)
        b = (self.T(rate) @ Z[:, :, :n]).sum(0)
        G = -(b + b.T)
        excess = 2.0 * float(np.sum(np.maximum(np.einsum("vij,vij->vj", self.across(Z), self.R), 0.0) * self.most))
        if self.fixed:
            return rate + 0.5 * (float(np.sum(G * P)) + excess) / float(np.sum(total * P)), xx
        return rate + 0.5 * _largest_ratio(G, total, self.condition, excess), xx

    def newton(self, point: _Point, K: Array) -> tuple[_Point, _Point, float]:
        """The Newton step (0, dP, dΛ) at fixed λ, the tangent (1, dP/dλ, dΛ/dλ) of the path of centres, the decrement².

        With a = IKIᵀ, b = TKIᵀ, c = TKTᵀ (all n × n) and F_j = e_jr_jᵀ + r_je_jᵀ = ∂M/∂Λ_j, where e_j and r_j are the columns
        of J and R, cyclic traces give
        ⟨K dM(X) K, dM(Y)⟩ = tr(XbYb) + tr(XcYa) + tr(XaYc) + tr(XbᵀYbᵀ) and
        ⟨K F_i K, F_j⟩ = 2(e_iᵀKe_j r_iᵀKr_j + e_iᵀKr_j e_jᵀKr_i).
        """
        rate, P, L = point
        n, d = self.n, 0 if self.fixed else self.basis.shape[1]
        T = self.T(rate)
        KI, KJ, KR = K[:, :, :n], self.across(K), K @ self.R
        a, b = KI[:, :n], T @ KI
        er, rr, ee = self.down(KR), self.R.swapaxes(1, 2) @ KR, self.down(KJ)
        inside = 2.0 * (ee * rr + er * er.swapaxes(1, 2))
        diagonal = np.arange(self.H)
        inside[:, diagonal, diagonal] += 1.0 / L**2 + 1.0 / (self.most - L) ** 2
        Ie, Ir, Te, Tr = KJ[:, :n], KR[:, :n], T @ KJ, T @ KR  # (V, n, H)
        gradient_L = -2.0 * er[:, diagonal, diagonal] - 1.0 / L + 1.0 / (self.most - L)
        across_L = -4.0 * np.sum(Ie * (P @ Ir), axis=1)  # ∂/∂λ of gradient_L
        border, outer = np.zeros((self.V, self.H, d)), np.zeros((d, d))
        gradient, across = np.zeros(d), np.zeros(d)
        if not self.fixed:
            c = T @ (K @ T.swapaxes(1, 2))
            S = np.einsum("vij,vkj->vjik", Ir, Te) + np.einsum("vij,vkj->vjik", Ie, Tr)
            border = -(S + S.swapaxes(2, 3)).reshape(self.V, self.H, n * n) @ self.basis
            low = np.asarray(np.linalg.inv(P - np.eye(n)), dtype=np.float64)
            high = np.asarray(np.linalg.inv(self.condition * np.eye(n) - P), dtype=np.float64)
            quartic = _pairs(b, b) + _pairs(c, a) + _pairs(a, c) + _pairs(b.swapaxes(1, 2), b.swapaxes(1, 2))
            quartic += _pairs(low[None], low[None]) + _pairs(high[None], high[None])
            outer = self.basis.T @ quartic @ self.basis
            total, mixed = b.sum(0), (b @ P @ a + a).sum(0)
            gradient = (total + total.T - low + high).reshape(-1) @ self.basis
            across = 2.0 * (mixed + mixed.T).reshape(-1) @ self.basis - 2.0 * a.sum(0).reshape(-1) @ self.basis
        right_L = np.stack([gradient_L, across_L], axis=2)
        solved = np.linalg.solve(_ridge(inside), np.concatenate([border, right_L], axis=2))
        schur = outer - np.einsum("vhi,vhj->ij", border, solved[:, :, :d])
        right = np.stack([gradient, across], axis=1) - np.einsum("vhi,vhj->ij", border, solved[:, :, d:])
        out = -np.linalg.solve(_ridge((schur + schur.T) / 2), right)
        out_L = -solved[:, :, d:] - solved[:, :, :d] @ out
        decrement = -float(gradient @ out[:, 0] + np.sum(gradient_L * out_L[:, :, 0]))

        def matrix(coordinates: Array) -> Array:
            return np.zeros((n, n)) if self.fixed else (self.basis @ coordinates).reshape(n, n)

        return (0.0, matrix(out[:, 0]), out_L[:, :, 0]), (1.0, matrix(out[:, 1]), out_L[:, :, 1]), decrement

    def search(self, point: _Point, step: _Point, decrement: float) -> _Point | None:
        """Backtrack until φ falls by a tenth of what the slope promises; None where no step does."""
        here, length = self.value(point), 1.0
        while length > 1e-9:
            moved = _along(point, step, length)
            if self.value(moved) < here - 0.1 * length * decrement:
                return moved
            length *= 0.5
        return None

    def raise_rate(self, point: _Point, tangent: _Point, reach: float) -> tuple[_Point | None, float]:
        """Follow the tangent most of the way to the edge of the domain; `reach` is where to look for the edge first."""
        for _ in range(80):
            if np.isfinite(self.value(_along(point, tangent, reach))):
                return _along(point, tangent, 0.75 * reach), reach
            reach *= 0.7
        return None, reach


def _along(point: _Point, step: _Point, length: float) -> _Point:
    return point[0] + length * step[0], point[1] + length * step[1], point[2] + length * step[2]


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


def lyapunov_frame(A: Array, condition: float = 1e4) -> Array | None:
    """Coordinates C, P = CCᵀ, for systems whose own units leave no room: None where they do.

    P solves (A + rI)ᵀP + P(A + rI) = −I for the mean A and half its decay rate r: a metric in which A contracts. A long chain of
    compartments has a P of condition number beyond κ in any case; seen from C, it lies in the middle of the box.
    """
    mean = A.mean(0)
    n = mean.shape[0]
    decay = -float(np.linalg.eigvals(mean).real.max())
    if decay <= 0:  # stable matrices whose mean is not
        return None
    shifted = mean.T + 0.5 * decay * np.eye(n)
    P = np.linalg.solve(np.kron(shifted, np.eye(n)) + np.kron(np.eye(n), shifted), -np.eye(n).reshape(-1)).reshape(n, n)
    values = np.linalg.eigvalsh(_symmetric(P))
    if values[0] <= 0 or values[-1] < condition * values[0]:
        return None
    return np.asarray(np.linalg.cholesky(_symmetric(P) / values[-1]), dtype=np.float64)


def _symmetric(matrix: Array) -> Array:
    return (matrix + matrix.swapaxes(-1, -2)) / 2


def _pairs(left: Array, right: Array) -> Array:
    """Σ_v of the form tr(X left Y right) over matrices X, Y written as vectors: [ij, kl] ↦ left_jk right_li."""
    n = left.shape[-1]
    product = left.reshape(-1, n * n).T @ right.reshape(-1, n * n)
    return product.reshape(n, n, n, n).transpose(3, 0, 1, 2).reshape(n * n, n * n)


def _ridge(matrix: Array) -> Array:
    """A relative 1e-14 on the diagonal: the Newton step needs a direction, not an exact solution."""
    diagonal = np.diagonal(matrix, axis1=-2, axis2=-1)
    return matrix + 1e-14 * diagonal[..., None] * np.eye(matrix.shape[-1])


def _log_det(matrices: Array) -> float:
    factor = np.linalg.cholesky(matrices)
    return 2.0 * float(np.sum(np.log(np.diagonal(factor, axis1=-2, axis2=-1))))


def _into_box(metric: Array, condition: float) -> Array:
    """The metric scaled into the middle of I ≺ P ≺ κI, its eigenvalues squeezed where they spread too far."""
    values, vectors = np.linalg.eigh(metric)
    room = condition**0.9
    values = np.maximum(values, values.max() / room)
    values *= np.sqrt(condition / (values.max() * values.min()))
    P = (vectors * values) @ vectors.T
    return (P + P.T) / 2


def sides(loop: Loop) -> tuple[Array, Array]:
    """J = [−Wᵀα; I − Nᵀα] and R = [−Wᵀβ; I − Nᵀβ], each (V, n + H, H)."""
    stacked = np.concatenate([-loop.W, -loop.N], axis=2).swapaxes(1, 2)  # (V, n + H, H)
    both = []
    for slope in (loop.lower, loop.upper):
        side = stacked * slope[:, None, :]
        side[:, loop.W.shape[2] :] += np.eye(loop.N.shape[1])
        both.append(side)
    return both[0], both[1]


def explicit(loop: Loop, P: Array) -> tuple[Array, Array]:
    """Each system's rate (V,) with explicit multipliers (V, H), which make M's block of z positive for any depth.

    With one number t_l per layer and a = max (α + β)₊, b = max (−αβ)₊, the block of layer l, over t_l, is at least
    2 − 2b s², beside off-diagonal blocks of norm a s, if t_{l+1} = t_l (s/‖W_{l+1}‖)²: positive for b s² + a s < 1. A common
    factor balances the two sides of the border.
    """
    V, n, H = loop.E.shape
    L = np.ones((V, H))
    a = float(np.maximum(loop.lower + loop.upper, 0.0).max(initial=0.0))
    b = float(np.maximum(-loop.lower * loop.upper, 0.0).max(initial=0.0))
    s = 0.95 * 2.0 / (a + np.sqrt(a * a + 4.0 * b)) if a > 0 else 1.0  # the root of b s² + a s = 1, with some room
    edges = np.concatenate([[0], np.cumsum(loop.widths, dtype=int)])
    for k in range(1, len(loop.widths)):
        here, before = slice(edges[k], edges[k + 1]), slice(edges[k - 1], edges[k])
        norm = np.linalg.norm(loop.N[:, here, before], ord=2, axis=(1, 2))
        # The norm is raised off zero: a smaller Λ is as valid, and a layer of zeros gets an ordinary number.
        L[:, here] = L[:, before][:, :1] / np.maximum(norm / s, 0.1)[:, None] ** 2
    if H:
        left, right = np.abs(P @ loop.E).max((1, 2)), np.abs(loop.W).max((1, 2)) * max(a, 1e-9)
        L *= (np.maximum(left, 1e-9) / np.maximum(right, 1e-9) / L[:, 0])[:, None]
    M = _Problem(loop, True, 0.0, L).matrix((0.0, P, L))
    Q = -M[:, :n, :n]
    if H:
        Q = Q + M[:, :n, n:] @ np.linalg.solve(M[:, n:, n:], M[:, n:, :n])
    inverse = np.linalg.inv(np.linalg.cholesky(P))
    norms = np.linalg.eigvalsh(inverse @ ((Q + Q.swapaxes(1, 2)) / 2) @ inverse.T)[:, -1]
    return np.asarray(-0.5 * norms, dtype=np.float64), L
