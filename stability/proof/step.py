"""The checker's part for the discretised step: its matrices rebuilt with error bounds, and the inequality proved.

A step of an explicit method is a loop of its own, with one copy z_s of the network's hidden units per stage:

    X_s = x + a_s h (A X_{s−1} + E z_{s−1}),   v_s = W X_s + N z_s,   z_s = φ(v_s),   x⁺ = x + h Σ b_s (A X_s + E z_s)

(differences; the inputs, the same on both sides, cancel). With all z stacked, x⁺ = G (x, z), v = V (x, z), z = D (x, z), and

    M = [ρ²P 0; 0 0] − GᵀPG + (D − αV)ᵀΛ(D − βV) + its transpose  ≻ 0    ⇒    |δx⁺|_P ≤ ρ|δx|_P.

Every matrix is a pair (mid, radius), entry by entry; the coefficients are the method's own fractions, enclosed.

Underflow, widened: every operation on such a pair adds TINY to the radius (`outward`), and has products of two factors only,
which lose at most 2⁻¹⁰²² each; radii themselves are at least TINY after the first, and what their products lose is widened
again. The step is at least SMALLEST, so that h·a and h·b are normal numbers, rounded relatively.
"""

from dataclasses import dataclass

import numpy as np

from stability.proof.arithmetic import SMALLEST, Array, gamma, outward, proved_positive
from stability.proof.budget import Meter
from stability.proof.reading import array, get, number, shown
from stability.proof.system import Stack, another, read_system, unlike
from stability.proof.verdict import Verdict

# (a_s, b_s): each stage starts from the one before.
METHODS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "euler": ((0.0,), (1.0,)),
    "rk4": ((0.0, 0.5, 0.5, 1.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),  # Kutta (1901), the classical one
}

NOT_COVERED = (
    "steps of another size, or of another method",
    "rounding in the solver, and deployment in lower precision than the stored float64 arrays",
    "feedback u = κ(x): the input must be the same signal on both trajectories",
    "member weights that depend on the state",
    "parameters averaged over members or people",
    "process noise",
    "parameters θ estimated jointly with the state x",
)


def statement(method: str, step: float, factor: float, states: int, systems: int) -> str:
    """The sentence that a step certificate claims; the checker refuses one that carries another."""
    return (
        f"For every pair of states in R^{states} with the same inputs, doses, parameters and member, one step of size {step!r} "
        f"of the method {method} takes the distance sqrt(dx' P dx) to at most {factor!r} times itself, for each of the {systems} "
        "systems, in real arithmetic with the stored float64 arrays."
    )


@dataclass(frozen=True)
class Ball:
    """Matrices known to lie within `radius` of `mid`, entry by entry."""

    mid: Array
    radius: Array

    def __add__(self, other: "Ball") -> "Ball":
        mid = self.mid + other.mid
        return Ball(mid, outward(self.radius + other.radius + gamma(2) * np.abs(mid), 3))

    def __matmul__(self, other: "Ball") -> "Ball":
        k = self.mid.shape[-1]
        left, right = np.abs(self.mid) + self.radius, np.abs(other.mid) + other.radius
        radius = left @ other.radius + self.radius @ np.abs(other.mid) + gamma(k + 2) * (left @ right)
        return Ball(self.mid @ other.mid, outward(radius, 3 * k))

    def times(self, factor: Array | float) -> "Ball":
        """Entry by entry with exact numbers, which broadcast."""
        mid, size = self.mid * factor, np.abs(factor)
        return Ball(mid, outward(self.radius * size + gamma(2) * np.abs(mid), 3))

    def about(self, relative: float) -> "Ball":
        """The same with this relative error more: for a factor that was itself rounded."""
        return Ball(self.mid, outward(self.radius + relative * (np.abs(self.mid) + self.radius), 3))

    @property
    def T(self) -> "Ball":
        return Ball(self.mid.swapaxes(-1, -2), self.radius.swapaxes(-1, -2))


@np.errstate(all="ignore")  # overflow and NaN are meant to arrive at the comparisons, where they refuse
def judge(claim: object, system: object, meter: Meter) -> Verdict:
    """Prove a step certificate for the system, or say why it is refused."""
    stack = read_system(system, meter=meter)
    n, method = stack.A.shape[-1], get(claim, "method")
    step, factor = number(get(claim, "step")), number(get(claim, "factor"))
    P, multipliers = (array(get(claim, name), name) for name in ("metric", "multipliers"))
    if not isinstance(method, str) or method not in METHODS:
        return Verdict(False, f"the method {shown(method)} is not one of {', '.join(METHODS)}")
    if not (np.isfinite(step) and step >= SMALLEST and 0 < factor < 1):
        return Verdict(False, f"the step is not finite and at least {SMALLEST:g}, or the factor not between 0 and 1")
    units = len(METHODS[method][0]) * sum(stack.widths)
    if P.shape != (n, n) or multipliers.shape != (stack.count, units):
        shape = "the metric or the multipliers do not have the shape of the system and the method"
        return Verdict(False, another(claim, stack) or shape)
    if not (np.isfinite(P).all() and np.isfinite(multipliers).all() and (P == P.T).all() and (multipliers > 0).all()):
        return Verdict(False, "the metric is not finite and exactly symmetric, or a multiplier not finite and positive")
    if max(np.abs(P).max(), multipliers.max(initial=0.0), step, stack.largest) > 1e30:
        return Verdict(False, "some entry exceeds 1e30, beyond which the error bounds are not stated")
    refusal = unlike(claim, stack, statement(method, step, factor, n, stack.count), NOT_COVERED)
    if refusal:
        return Verdict(False, refusal)
    if not proved_positive(P[None], np.zeros_like(P[None]))[0]:
        return Verdict(False, "the metric P is not proved positive definite")
    for first in range(0, stack.count, chunk := meter.matrices(n + units, stack.count, 22, 1_000_000)):
        meter.look(f"at system {first} of {stack.count}")
        part = slice(first, first + chunk)
        M = inequality(stack, part, method, step, factor, P, multipliers[part])
        good = proved_positive(M.mid, M.radius)
        if not good.all():
            where = [int(i) for i in np.unravel_index(first + int(np.argmin(good)), stack.leading)]
            return Verdict(False, f"the inequality of the step is not proved for system {where}", None, stack.count)
    return Verdict(True, statement(method, step, factor, n, stack.count), None, stack.count)


def _exact(entries: Array) -> Ball:
    return Ball(entries, np.zeros_like(entries))


def inequality(
    stack: Stack, part: slice, method: str, step: float, factor: float, P: Array, multipliers: Array
) -> Ball:
    """M of some systems, with its radius."""
    alpha, beta = stack.slope_range
    n, H, (starts, parts) = stack.A.shape[-1], sum(stack.widths), METHODS[method]
    size, count = n + len(starts) * H, len(multipliers)
    A = _exact(stack.linear[0][part])
    for linear in stack.linear[1:]:
        A = A + _exact(linear[part])
    E, W, N = (_exact(block) for block in _loop(stack, part))
    first = np.zeros((count, n, size))
    first[:, :, :n] = np.eye(n)
    stage, end, arguments = _exact(first), _exact(first), []
    slope = None
    for s, (a, b) in enumerate(zip(starts, parts, strict=True)):
        if slope is not None:  # h·a is one rounding, its a exact
            stage = _exact(first) + slope.times(step * a).about(gamma(2))
        own = np.zeros((count, H, size))  # z_s among (x, z)
        own[:, :, n + s * H : n + (s + 1) * H] = np.eye(H)
        slope = A @ stage + E @ _exact(own)
        end = end + slope.times(step * b).about(gamma(3))  # b is rounded too, as 1/6 is
        arguments.append(W @ stage + N @ _exact(own))
    V = Ball(np.concatenate([v.mid for v in arguments], 1), np.concatenate([v.radius for v in arguments], 1))
    D = np.zeros((count, size - n, size))
    D[:, :, n:] = np.eye(size - n)
    left, right = _exact(D) + V.times(-alpha), _exact(D) + V.times(-beta)
    half = left.T @ right.times(multipliers[:, :, None])
    metric = np.zeros((count, size, size))
    metric[:, :n, :n] = P
    M = _exact(metric).times(factor * factor).about(gamma(2)) + half + half.T
    M = M + (end.T @ (_exact(np.broadcast_to(P, (count, n, n))) @ end)).times(-1.0)
    # The true M is symmetric, so the mean of the computed M and its transpose is as near to it.
    return (M + M.T).times(0.5)


def _loop(stack: Stack, part: slice) -> tuple[Array, Array, Array]:
    """E, W and N of some systems: entries of the weights, moved to their places."""
    weights, widths = [w[part] for w in stack.weights], stack.widths
    count, n, H = len(stack.A[part]), stack.A.shape[-1], sum(widths)
    E, W, N = np.zeros((count, n, H)), np.zeros((count, H, n)), np.zeros((count, H, H))
    if H:
        E[:, :, H - widths[-1] :], W[:, : widths[0]] = weights[-1], weights[0]
    row, column = (widths[0] if H else 0), 0
    for k in range(1, len(widths)):
        N[:, row : row + widths[k], column : column + widths[k - 1]] = weights[k]
        row, column = row + widths[k], column + widths[k - 1]
    return E, W, N
