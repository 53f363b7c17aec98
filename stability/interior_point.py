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
    scale = float(np.abs(loop.A).max())
    problem = _Problem(loop, fixed, condition, 1e6 * multipliers.max(axis=1, initial=1e-300, keepdims=True))
    point = problem.start(float(rates.min()) - START * (abs(float(rates.min())) + scale), P, multipliers)
    if point is None:  # the metric is singular to float64
        return Ascent(float(rates.min()), P, multipliers, np.inf, np.zeros_like(loop.A), 0)
    best, bound, duals = point, np.inf, np.zeros_like(loop.A)
    share, iteration = 0.3, 0  # σ: how much of the gap the next step leaves
    for iteration in range(200):  # noqa: B007 (reported at the end)
        above = problem.bound(point)
        if above < bound:
            bound, duals = above, point.Z[:, : P.shape[0], : P.shape[0]]
        if point.rate > best.rate:
            best = point
        if target is not None and (point.rate >= target or bound < target):
            break
        if np.isfinite(bound) and bound - best.rate <= max(tolerance * abs(bound), 1e-6 * scale):
            break  # (rates far below the entries of A count as zero)
        if time.monotonic() > deadline:
            break
        moved = problem.move(point, share)
        if moved is None:
            break
        if DEBUG: print(iteration, f"rate {point.rate:.6f} bound {above:.5f} share {share:.2g} primal {moved[1]:.3g} dual {moved[2]:.3g}")
        point, primal, dual = moved
        shortest = min(primal, dual)
        share = float(np.clip((1.0 - shortest) ** 2, 0.03, 0.8))
    return Ascent(best.rate, best.P, best.L, bound, duals, iteration)

START=0.2
DEBUG=False

@dataclass(frozen=True)
class _Point:
    """The unknowns, and the multipliers of the constraints on them."""

    rate: float
    P: Array  # (n, n)
    L: Array  # (V, H)
    Z: Array  # (V, n + H, n + H): of M ≻ 0
    low: Array  # (n, n): of P ⪰ I
    high: Array  # (n, n): of P ⪯ κI
    under: Array  # (V, H): of Λ > 0
    over: Array  # (V, H): of Λ < U


class _Problem:
    """The inequality of one problem, the Newton step on its conditions of optimality, its dual bound."""

    def __init__(self, loop: Loop, fixed: bool, condition: float, most: Array) -> None:
        V, n, H = loop.E.shape
        self.most = most  # U (V, 1)
        self.loop, self.fixed, self.condition = loop, fixed, condition
        self.plain = not loop.lower.any()  # J = [0; I]: products with it are slices
        rows, columns = np.triu_indices(n)
        self.basis = np.zeros((n * n, 0 if fixed else rows.size))  # symmetric matrices from their upper triangle
        if not fixed:
            self.basis[rows * n + columns, np.arange(rows.size)] = 1.0
            self.basis[columns * n + rows, np.arange(rows.size)] = 1.0
        edges = np.concatenate([[0], np.cumsum(loop.widths, dtype=int)])
        self.layers = [slice(edges[k], edges[k + 1]) for k in range(len(loop.widths))]
        self.n, self.H, self.V, self.size = n, H, V, V * (n + H + 2 * H) + (0 if fixed else 2 * n)

    def T(self, rate: float) -> Array:
        return np.concatenate([self.loop.A + rate * np.eye(self.n), self.loop.E], axis=2)

    def side(self, X: Array, slope: Array) -> Array:
        """X [−Wᵀs; I − Nᵀs] for s = α or β: layer by layer, since a unit sees only the layer before its own."""
        n, loop = self.n, self.loop
        out = np.empty((*X.shape[:2], self.H))
        for k, layer in enumerate(self.layers):
            weight = loop.N[:, layer, self.layers[k - 1]] if k else loop.W[:, layer]
            before = X[:, :, n + self.layers[k - 1].start : n + layer.start] if k else X[:, :, :n]
            out[:, :, layer] = X[:, :, n + layer.start : n + layer.stop]
            out[:, :, layer] -= (before @ weight.swapaxes(1, 2)) * slope[:, None, layer]
        return out

    def right(self, X: Array) -> Array:
        """X R."""
        return self.side(X, self.loop.upper)

    def across(self, X: Array) -> Array:
        """X J."""
        return X[:, :, self.n :] if self.plain else self.side(X, self.loop.lower)

    def matrix(self, rate: float, P: Array, L: Array, shift: Array | None = None) -> Array:
        """M; with P and Λ in place of a step and `shift` = dλ P, its derivative along that step."""
        n = self.n
        X = P @ self.T(rate)
        if shift is not None:
            X[:, :, :n] += shift
        half = np.zeros((self.V, n + self.H, n + self.H))
        half[:, :n] = -X
        if self.H:
            if self.plain:
                half[:, :, n:] += self._columns(L)
            else:
                J, R = sides(self.loop)
                half += (R * L[:, None, :]) @ J.swapaxes(1, 2)
        half += half.swapaxes(1, 2).copy()
        return half

    def _columns(self, L: Array) -> Array:
        """R Λ."""
        n, loop = self.n, self.loop
        out = np.zeros((self.V, n + self.H, self.H))
        for k, layer in enumerate(self.layers):
            weight = loop.N[:, layer, self.layers[k - 1]] if k else loop.W[:, layer]
            before = slice(n + self.layers[k - 1].start, n + layer.start) if k else slice(0, n)
            out[:, before, layer] = -weight.swapaxes(1, 2) * (loop.upper[:, layer] * L[:, layer])[:, None, :]
        diagonal = np.arange(self.H)
        out[:, n + diagonal, diagonal] += L
        return out

    def start(self, rate: float, P: Array, L: Array) -> _Point | None:
        """The multipliers μ/slack, with the μ that satisfies the condition on λ: 2 Σ⟨Z_xx, P⟩ = 1."""
        M = self.matrix(rate, P, L)
        if not _positive(M):
            return None
        K = _inverse(M)
        mu = 1.0 / (2.0 * float(np.sum(K[:, : self.n, : self.n] * P)))
        low, high = self.box(P)
        return _Point(rate, P, L, mu * K, mu * low, mu * high, mu / L, mu / (self.most - L))

    def box(self, P: Array) -> tuple[Array, Array]:
        """(P − I)⁻¹ and (κI − P)⁻¹; zeros where P is given."""
        if self.fixed:
            return np.zeros_like(P), np.zeros_like(P)
        eye = np.eye(self.n)
        return _inverse(P - eye), _inverse(self.condition * eye - P)

    def gap(self, point: _Point, M: Array) -> float:
        """Σ slack · multiplier: what lies between the rate and the bound, once the multipliers are feasible."""
        total = float(np.sum(M * point.Z) + np.sum(point.L * point.under) + np.sum((self.most - point.L) * point.over))
        if not self.fixed:
            eye = np.eye(self.n)
            total += float(np.sum((point.P - eye) * point.low) + np.sum((self.condition * eye - point.P) * point.high))
        return total

    def bound(self, point: _Point) -> float:
        """The dual bound on the rate."""
        n, Z = self.n, point.Z
        xx = Z[:, :n, :n].sum(0)
        b = (self.T(point.rate) @ Z[:, :, :n]).sum(0)
        G = -(b + b.T)
        slopes = np.einsum("vji,vji->vi", self.across(np.broadcast_to(np.eye(n + self.H), Z.shape)), self.right(Z))
        excess = 2.0 * float(np.sum(np.maximum(slopes, 0.0) * self.most))
        if self.fixed:
            return point.rate + 0.5 * (float(np.sum(G * point.P)) + excess) / float(np.sum(xx * point.P))
        return point.rate + 0.5 * _largest_ratio(G, xx, self.condition, excess)

    def move(self, point: _Point, share: float) -> tuple[_Point, float, float] | None:
        """The Newton step, as long as slacks and multipliers stay positive; its two lengths. None at the end of float64."""
        M = self.matrix(point.rate, point.P, point.L)
        mu = self.gap(point, M) / self.size
        try:
            solve = self.system(point, _inverse(M))
            guess = solve(0.0, None)
            if guess is None: return None
            primal, dual = self._room(point, guess, False), self._room(point, guess, True)
            after = self.ahead(point, guess, primal, dual)
            share = min(1.0, max(after / (mu * self.size), 0.0)) ** 2
            share = max(share, 1e-3)
            step = solve(share * mu, guess)
        except np.linalg.LinAlgError:
            return None
        if step is None or not np.isfinite(step.Z).all():
            return None
        primal, dual = self._room(point, step, False), self._room(point, step, True)
        if max(primal, dual) < 1e-6:
            return None
        y = [getattr(point, k) + primal * getattr(step, k) for k in ("rate", "P", "L")]
        z = [getattr(point, k) + dual * getattr(step, k) for k in ("Z", "low", "high", "under", "over")]
        if DEBUG: print('share',share)
        return _Point(*y, *z), primal, dual

    def ahead(self, point, step, primal, dual):
        y = [getattr(point, k) + primal * getattr(step, k) for k in ('rate', 'P', 'L')]
        z = [getattr(point, k) + dual * getattr(step, k) for k in ('Z', 'low', 'high', 'under', 'over')]
        return self.gap(_Point(*y, *z), self.matrix(*y))

    def _inside(self, point: _Point, step: _Point, length: float, dual: bool) -> bool:
        if dual:
            if not _positive(point.Z + length * step.Z):
                return False
            return self.fixed or _positive(np.stack([point.low + length * step.low, point.high + length * step.high]))
        P, L = point.P + length * step.P, point.L + length * step.L
        eye = np.eye(self.n)
        return (self.fixed or _positive(np.stack([P - eye, self.condition * eye - P]))) and _positive(self.matrix(point.rate + length * step.rate, P, L))

    def _room(self, point: _Point, step: _Point, dual: bool) -> float:
        length = 1.0
        pairs = ((point.under, step.under), (point.over, step.over)) if dual else ((point.L, step.L), (self.most - point.L, -step.L))
        for value, change in pairs:
            if self.H: length = min(length, 0.999/max(1e-300, float((-change / value).max())) if (change<0).any() else 1.0)
        for _ in range(40):
            if self._inside(point, step, length, dual):
                return length if length == 1.0 else 0.9 * length
            length *= 0.85
        return 0.0

    def system(self, point: _Point, K: Array) -> "Callable[[float, _Point | None], _Point | None]":
        """The step towards slack · multiplier = μ."""
        n, P, L, Z, diagonal = self.n, point.P, point.L, point.Z, np.arange(self.H)
        T, d = self.T(point.rate), self.basis.shape[1]
        low, high = self.box(P)
        views = []
        for X in (K, Z):
            XJ, XR = self.across(X), self.right(X)
            Jt = XJ.swapaxes(1, 2)
            er = self.right(Jt) 
            rr, ee = self.right(XR.swapaxes(1, 2)), self.across(Jt)
            XI = X[:, :, :n]
            views.append((ee, er, rr, XJ[:, :n], XR[:, :n], T @ XJ, T @ XR, XI[:, :n], T @ XI, T @ (X @ T.swapaxes(1, 2))))
        (ee, er, rr, Ie, Ir, Te, Tr, a, b, c), (eeZ, erZ, rrZ, IeZ, IrZ, TeZ, TrZ, aZ, bZ, cZ) = views
        inside = rr * eeZ + ee * rrZ + er.swapaxes(1, 2) * erZ + er * erZ.swapaxes(1, 2)
        inside[:, diagonal, diagonal] += point.under / L + point.over / (self.most - L)
        toward = 2.0 * er[:, diagonal, diagonal] + 1.0 / L - 1.0 / (self.most - L)
        with_rate = -2.0 * np.sum(IeZ * (P @ Ir) + Ie * (P @ IrZ), axis=1)  # (V, H)
        S = np.zeros((self.V, self.H, d))
        outer, right = np.zeros((1 + d, 1 + d)), np.zeros(1 + d)
        if d:
            pairs = ((Ir, TeZ), (Tr, IeZ), (Ie, TrZ), (Te, IrZ))
            S = -sum(np.einsum("vih,vkh->vhik", x, y) for x, y in pairs).reshape(self.V, self.H, n * n) @ self.basis
            quartic = _pairs(b, bZ) + _pairs(c, aZ) + _pairs(a, cZ) + _pairs(b.swapaxes(1, 2), bZ.swapaxes(1, 2))
            quartic += _pairs(low[None], point.low[None]) + _pairs(high[None], point.high[None])
            outer[1:, 1:] = self.basis.T @ quartic @ self.basis
            mixed = 2.0 * (b @ P @ aZ + a @ P @ bZ.swapaxes(1, 2)).sum(0).T
            outer[0, 1:] = outer[1:, 0] = mixed.reshape(-1) @ self.basis
            total = b.sum(0)
            right[1:] = (low - high - total - total.T).reshape(-1) @ self.basis
        outer[0, 0] = 4.0 * float(np.sum((P @ a) * (P @ aZ).swapaxes(1, 2)))
        right[0] = -2.0 * float(np.sum(a * P))
        border = np.concatenate([with_rate[:, :, None], S], axis=2)
        inside = _ridge(inside)
        solved = np.linalg.solve(inside, border)
        schur = outer - np.einsum("vhi,vhj->ij", border, solved)
        curved = schur.copy()  # with what λP adds to the curvature of the Lagrangian: 2⟨Z_xx, dP⟩ dλ
        twist = 2.0 * aZ.sum(0).reshape(-1) @ self.basis
        curved[0, 1:] += twist
        curved[1:, 0] += twist

        def solve(mu: float, before: _Point | None) -> _Point | None:
            rhs, rhs_L = mu * right, mu * toward
            rhs[0] += 1.0
            Q = second_low = second_high = second_under = second_over = 0.0
            if before is not None:
                dS = self.matrix(point.rate, before.P, before.L, before.rate * P)
                Q = K @ (dS @ before.Z)
                bent = K[:, :, :n] @ (-2.0 * before.rate * before.P @ Z[:, :n])
                Q = _symmetric(Q + bent)
                second_low, second_high = _symmetric(low @ before.P @ before.low), -_symmetric(high @ before.P @ before.high)
                second_under, second_over = before.L * before.under / L, -before.L * before.over / (self.most - L)
                bQ = (T @ Q[:, :, :n]).sum(0)
                rhs[0] += 2.0 * float(np.sum(Q[:, :n, :n] * P))
                rhs[1:] += (bQ + bQ.T - second_low + second_high).reshape(-1) @ self.basis
                eQ = np.einsum("vji,vji->vi", Jfull, self.right(Q))
                rhs_L = rhs_L - 2.0 * eQ - second_under + second_over
            rhs = rhs - np.einsum("vhi,vh->i", solved, rhs_L)
            out = None
            for candidate in (curved, schur):
                half = np.linalg.solve(_ridge(candidate[1:, 1:]), np.stack([candidate[1:, 0], rhs[1:]], axis=1))
                pivot = candidate[0, 0] - candidate[0, 1:] @ half[:, 0]
                if pivot > 0:
                    rate = (rhs[0] - candidate[0, 1:] @ half[:, 1]) / pivot
                    out = np.concatenate([[rate], half[:, 1] - rate * half[:, 0]])
                    break
            if out is None:
                return None
            dL = np.linalg.solve(inside, rhs_L[:, :, None])[:, :, 0] - solved @ out
            dP = (self.basis @ out[1:]).reshape(n, n)
            dS = self.matrix(point.rate, dP, dL, out[0] * P)
            dZ = mu * K - Z - _symmetric(K @ (dS @ Z)) - Q
            dlow = mu * low - point.low - _symmetric(low @ dP @ point.low) - second_low
            dhigh = mu * high - point.high + _symmetric(high @ dP @ point.high) - second_high
            under = mu / L - point.under - point.under / L * dL - second_under
            over = mu / (self.most - L) - point.over + point.over / (self.most - L) * dL - second_over
            return _Point(float(out[0]), dP, dL, dZ, dlow, dhigh, under, over)

        Jfull = self.across(np.broadcast_to(np.eye(n + self.H), Z.shape))
        return solve


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


def _positive(matrices: Array) -> bool:
    try:
        np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        return False
    return True


def _inverse(matrices: Array) -> Array:
    return _symmetric(np.asarray(np.linalg.inv(matrices), dtype=np.float64))


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
    M = _Problem(loop, True, 0.0, L).matrix(0.0, P, L)
    Q = -M[:, :n, :n]
    if H:
        Q = Q + M[:, :n, n:] @ np.linalg.solve(M[:, n:, n:], M[:, n:, :n])
    inverse = np.linalg.inv(np.linalg.cholesky(P))
    norms = np.linalg.eigvalsh(inverse @ ((Q + Q.swapaxes(1, 2)) / 2) @ inverse.T)[:, -1]
    return np.asarray(-0.5 * norms, dtype=np.float64), L
