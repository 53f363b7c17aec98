"""Incremental gains from the input to the state: the tube, which bounds the largest distance, and the L2 gain, which does not.

Two trajectories with inputs that differ by δu have δv = W δx + N δz + U δu, where U is W_u on the first layer's rows. With the
inequality of the certificate bordered by the input,

    M = −[ AᵀP + PA + 2λ'P + CᵀC   PE   PB  ]
         [          ·               0    0  ]  +  (D − αV)ᵀΛ(D − βV) + its transpose  ≻ 0,     V = [W N U], D = [0 I 0],
         [          ·               0   −μI ]

it follows that V̇ + 2λ'V + |Cδx|² ≤ μ|δu|² for V = δxᵀPδx. Two readings, and a number is one or the other:
- *tube* (C = 0, 0 < λ' < λ): |δx(t)|_P ≤ e^{−λ't}|δx(0)|_P + √(μ/2λ') sup|δu|, at every time, for every input;
- *L2 gain* (λ' = 0): ∫|Cδx|² ≤ μ∫|δu|² + V(0), an energy. A lightly damped oscillator stays below its L2 gain in energy and
  above it in height, so this is no tube.

For fixed P, Λ and λ' the smallest μ is λmax(bᵀ M₁₁⁻¹ b − s), M₁₁ being M's block of (δx, δz), b the border, s the sector's
part of the block of δu. Source: Willems, Archive for Rational Mechanics 45 (1972), for dissipation; Abedor, Nagpal & Poolla,
International Journal of Robust and Nonlinear Control 6 (1996), for the tube ("star norm") of linear systems.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stability.arguments import array, flag, kind, number, time_limit
from stability.claims.certificate import Certificate
from stability.claims.gain import Gain
from stability.lure import Array, Loop, Lure, System, one_activation, sides
from stability.proof.checker import prove
from stability.refusal import Refusal
from stability.threads import of_system, threads_by


@threads_by(of_system)
def tube(
    certificate: Certificate | Refusal, system: System, *, search: bool = False, state: int | None = None, seconds: float = 60.0
) -> Gain | Refusal:
    """How far apart bounded input differences can keep two trajectories, at every time.

    Equation: |δx(t)|_P ≤ e^{−λ't}|δx(0)|_P + value · sup|δu|, with λ' < λ chosen to make value = √(μ/2λ') small.
    Arguments: a certificate that `check` accepts for the system; `search`, to look for a better metric and multipliers with
    the conic solver (dense: n + H up to about 60 and few systems), for the height in the state `state` (all of them together
    if None); `seconds` for that search.
    Returns a `Gain` of kind "tube" that `check` accepts, or a `Refusal`; the refusal that `certify` gave is handed on.
    Errors: ValueError for a certificate of another system, or a system without inputs.
    """
    flag(search, "search")
    time_limit(seconds)
    if isinstance(certificate, Refusal):
        return certificate
    system = one_activation(system, "tube or L2 gain")
    problem, C = _problem(certificate, system), _selected(system.states, state)
    rate, metric, multipliers = certificate.rate, certificate.metric, certificate.multipliers

    def height(at: float) -> float:
        mu = problem.supply(metric, multipliers, at, 0.0 * C)
        return float(np.sqrt(mu / (2.0 * at)))

    if search:
        from stability.search.semidefinite import bordered  # cvxpy, only where it is asked for

        tried: dict[float, tuple[Array, Array] | None] = {}

        def searched(at: float) -> float:
            tried[at] = bordered(problem.loop, problem.B, problem.U, at, C, tube=True, seconds=seconds / 30)
            found = tried[at]
            return np.inf if found is None else float(np.sqrt(problem.supply(*found, at, 0.0 * C) / (2.0 * at)))

        best = _smallest(searched, 1e-3 * rate, (1 - 1e-3) * rate, 8, 16)
        found = tried[best]
        if found is not None:
            # This metric was found at the edge of what it reaches: look for λ' below that, not below the certificate's rate.
            (metric, multipliers), rate = found, best * (1 + 1e-6)
    at = _smallest(height, 1e-3 * rate, (1 - 1e-6) * rate, 40, 40)
    return problem.proved("tube", metric, multipliers, at, np.zeros((0, system.states)))


@threads_by(of_system)
def l2_gain(
    certificate: Certificate | Refusal,
    system: System,
    output: ArrayLike | None = None,  # C (p, n)
    *,
    search: bool = False,
    seconds: float = 60.0,
) -> Gain | Refusal:
    """The incremental L2 gain γ from the input to Cx: ∫|Cδx|² ≤ γ²∫|δu|² + V(0). An energy, not a tube.

    Arguments as for `tube`; `output` is C, all states if None. Without `search`, P and Λ are the certificate's up to a common
    factor.
    Returns a `Gain` of kind "l2" that `check` accepts, or a `Refusal`; the refusal that `certify` gave is handed on.
    Errors: ValueError as for `tube`, or an output of the wrong shape.
    """
    flag(search, "search")
    time_limit(seconds)
    if isinstance(certificate, Refusal):
        return certificate
    system = one_activation(system, "tube or L2 gain")
    problem, n = _problem(certificate, system), system.states
    C = np.eye(n) if output is None else array(output, "the output")
    if C.ndim != 2 or C.shape[1] != n or not C.size or not (np.abs(C) <= 1e100).all() or not C.any():
        raise ValueError(f"the output has shape {C.shape}; give a finite matrix with {n} columns: (p, {n}).")
    metric, multipliers = certificate.metric, certificate.multipliers
    if search:
        from stability.search.semidefinite import bordered

        found = bordered(problem.loop, problem.B, problem.U, 0.0, C, tube=False, seconds=seconds)
        metric, multipliers = (metric, multipliers) if found is None else found

    def gain(log_scale: float) -> float:
        t = np.exp(log_scale)
        return problem.supply(t * metric, t * multipliers, 0.0, C)

    # The factor t starts where t(−AᵀP − PA) may exceed CᵀC at all, and nine decades of it hold every sensible optimum.
    largest = [float(np.linalg.eigvalsh(square)[-1]) for square in (C.T @ C, metric)]
    start = float(np.log(max(largest[0], 1e-300) / (2.0 * certificate.rate * largest[1])))
    t = np.exp(_smallest(gain, start - 7.0, start + 14.0, 80, 50))
    return problem.proved("l2", t * metric, t * multipliers, 0.0, C)


@dataclass(frozen=True)
class _Problem:
    """One system with its inputs, and the smallest supply rate at given metric and multipliers."""

    system: Lure
    loop: Loop
    B: Array  # (V, n, m)
    U: Array  # (V, H, m)

    def supply(self, P: Array, L: Array, rate: float, C: Array) -> float:
        """The smallest μ over all systems, inf where the unbordered inequality fails."""
        n = self.loop.E.shape[1]
        J, R = sides(self.loop)
        M = (J * L[:, None, :]) @ R.swapaxes(1, 2)
        M = M + M.swapaxes(1, 2)
        T = np.concatenate([self.loop.A + rate * np.eye(n), self.loop.E], 2)
        M[:, :n] -= P @ T
        M[:, :, :n] -= (P @ T).swapaxes(1, 2)
        M[:, :n, :n] -= C.T @ C
        lower, upper = self.loop.lower[:, :, None] * self.U, self.loop.upper[:, :, None] * self.U
        weigh = L[:, :, None]
        border = -(J @ (weigh * upper) + R @ (weigh * lower))  # (V, n + H, m)
        border[:, :n] -= P @ self.B
        own = lower.swapaxes(1, 2) @ (weigh * upper)
        try:
            np.linalg.cholesky(M)
            needed = border.swapaxes(1, 2) @ np.linalg.solve(M, border) - own - own.swapaxes(1, 2)
            worst = np.linalg.eigvalsh((needed + needed.swapaxes(1, 2)) / 2).max()
        except np.linalg.LinAlgError:
            return np.inf
        return float(max(worst, 0.0))

    def proved(self, kind: Literal["tube", "l2"], P: Array, L: Array, rate: float, C: Array) -> Gain | Refusal:
        P = (P + P.T) / 2
        mu = self.supply(P, L, rate, C)
        if np.isfinite(mu):
            largest = float(np.abs(P).max())
            for slack in (1e-8, 1e-6, 1e-4, 1e-2, 0.5):
                supply = mu * (1.0 + slack) + slack * 1e-6 * largest
                value = float(np.sqrt(supply / (2.0 * rate) if kind == "tube" else supply) * (1 + 1e-14))
                gain = Gain(
                    kind=kind,
                    value=value,
                    rate=rate,
                    supply=supply,
                    metric=P,
                    multipliers=L,
                    output=C,
                    units=np.sqrt(np.diagonal(np.linalg.inv(P))) * (1 + 1e-9),
                    slope_range=self.system.slope_range,
                    leading=self.system.leading,
                    digest=self.system.digest(),
                )
                if prove(gain, self.system):
                    return gain
        what = "tube" if kind == "tube" else "L2 gain"
        return Refusal(
            reason="not proved",
            message=f"No {what} was proved in this metric with these multipliers; search=True looks for others.",
        )


def _problem(certificate: Certificate, system: Lure) -> _Problem:
    kind(certificate, Certificate, "the certificate", "certify(system), which gives a Certificate")
    verdict = prove(certificate, system)
    if not verdict:
        raise ValueError(f"the certificate is not proved for this system: {verdict.reason}; certify it first.")
    flat, loop = system.merged(), system.loop()
    V, n, H = loop.E.shape
    if flat.B is None and flat.input_weights is None:
        raise ValueError("the system has no input, neither B nor input_weights: there is no gain from it.")
    m = next(a.shape[-1] for a in (flat.B, flat.input_weights) if a is not None)
    if m == 0:
        raise ValueError("the system's B has no columns: there is no input to have a gain from.")
    B, U = np.zeros((V, n, m)) if flat.B is None else np.array(flat.B), np.zeros((V, H, m))
    if flat.input_weights is not None:
        if H:
            U[:, : loop.widths[0]] = flat.input_weights
        else:  # a residual without hidden units adds to B
            B = B + flat.input_weights
    return _Problem(system, loop, B, U)


def _selected(n: int, state: int | None) -> Array:
    if state is None:
        return np.eye(n)
    state = int(number(state, "state", f"one of the system's states 0 … {n - 1}", least=0.0, most=n - 1.0, whole=True))
    return np.eye(n)[state : state + 1]


def _smallest(function: Callable[[float], float], low: float, high: float, grid: int, steps: int) -> float:
    """Where a function of one variable is smallest: a grid, then golden sections about the best point."""
    points: NDArray[np.float64] = np.linspace(low, high, grid)
    values = [function(float(p)) for p in points]
    best = int(np.argmin(values))
    a, b = points[max(best - 1, 0)], points[min(best + 1, grid - 1)]
    ratio = (np.sqrt(5.0) - 1.0) / 2.0
    seen = {float(points[best]): values[best]}
    left, right = float(b - ratio * (b - a)), float(a + ratio * (b - a))
    for _ in range(steps):
        for p in (left, right):
            if p not in seen:
                seen[p] = function(p)
        if seen[left] < seen[right]:
            b, right, left = right, left, float(right - ratio * (right - a))
        else:
            a, left, right = left, right, float(left + ratio * (b - left))
    return min(seen, key=lambda p: seen[p])
