"""The climb for networks too large for a dense Newton step: quasi-Newton over log Λ and P, on the layerwise elimination.

For any multipliers and metric the elimination gives −½ eig(P⁻¹Q_v), whose smallest value is the rate that they prove. Maximised
is its smooth minimum

    −τ log Σ_v Σ_i exp(−r_vi/τ) ≤ min r_vi,       r_v = −½ eig(P⁻¹Q_v),

by L-BFGS in the logarithms of Λ and a triangular factor of P, first with one number per layer, then with one per unit, while τ
falls. No constraint remains but a positive block of z, at whose edge r falls to −∞: a step beyond is shortened. Every point
accepted is a candidate certificate. First order: it gives no bound from above, and ends below the Newton climb where both apply.

Sources: Nocedal & Wright, Numerical Optimization (2006), algorithm 7.5 (L-BFGS) and section 3.1 (step lengths).
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stability.arguments import choice, finite, loop_of_tensors, number, time_limit
from stability.lure import SLOPES, Loop
from stability.search.climb.elimination import eliminate, explicit_multipliers, slopes_of
from stability.search.climb.interior_point import Ascent, climb
from stability.threads import of_weights, threads_by

Array = NDArray[np.float64]


def climb_layers(
    A: Array,  # (V, n, n)
    weights: Sequence[Array],  # L ≥ 2 arrays (V|1, out, in)
    lower: Sequence[Array],  # α, L − 1 arrays (V|1, h)
    upper: Sequence[Array],  # β
    metric: Array,  # (n, n): where to start, and with `fixed` where to stay
    *,
    fixed: bool = False,
    target: float | None = None,
    condition: float = 1e4,
    deadline: float = float("inf"),
    tolerance: float = 1e-3,
    device: str = "cpu",
) -> Ascent:
    """Maximise the rate at which all systems contract in one metric, with the layers' weights alone.

    Arguments: as `interior_point.climb`; `condition` limits the metrics that count as candidates; `tolerance`, the relative
    gain over ten steps below which a stage ends; `device` where torch computes (float64).
    Returns the best point met, also after the deadline or an interrupt; its `bound` is inf, its duals are zeros.
    Law: the returned rate is that of the returned metric and multipliers, up to rounding.
    """
    V, n, _ = A.shape

    def tensor(x: Array) -> Tensor:
        return torch.tensor(x, dtype=torch.float64, device=device)

    a, W = tensor(A), [tensor(w) for w in weights]
    low, high = [tensor(x) for x in lower], [tensor(x) for x in upper]
    frame = torch.linalg.cholesky(tensor(metric))
    start = [m.expand(V, -1).log() for m in explicit_multipliers(W, tensor(metric), low, high)]
    rows, columns = torch.tril_indices(n, n, device=device)
    free = 0 if fixed else len(rows)

    def unpack(x: Tensor, shape: list[tuple[int, ...]], base: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        factor = torch.zeros(n, n, dtype=x.dtype, device=x.device)
        if free:
            factor = factor.index_put((rows, columns), x[:free])
        factor = frame @ (factor.tril(-1) + factor.diagonal().exp().diag())
        parts = torch.split(x[free:], [int(np.prod(s)) for s in shape])
        logs = [b + p.reshape(s) for b, p, s in zip(base, parts, shape, strict=True)]
        return factor, [m.exp() for m in logs]

    def rates(factor: Tensor, multipliers: list[Tensor]) -> Tensor | None:
        found = eliminate(a, W, factor @ factor.mT, multipliers, low, high)
        if not bool(found.inside.all()):
            return None
        half = torch.linalg.solve_triangular(factor, found.Q, upper=False)
        half = torch.linalg.solve_triangular(factor, half.mT, upper=False)
        return -0.5 * torch.linalg.eigvalsh((half + half.mT) / 2).reshape(-1)

    best: list[tuple[float, Array, Array]] = []

    def note(rate: float, factor: Tensor, multipliers: list[Tensor]) -> None:
        P = (factor @ factor.mT).cpu().numpy()
        if not best or (rate > best[0][0] and (fixed or np.linalg.cond(P) <= condition)):
            best[:] = [(rate, metric if fixed else P, torch.cat(multipliers, 1).cpu().numpy())]

    def over() -> bool:
        return time.monotonic() > deadline or (target is not None and bool(best) and best[0][0] >= target)

    scale, steps, interrupted = float(np.abs(A).max()), 0, False
    base, x = start, torch.zeros(free, dtype=torch.float64, device=device)
    stages = [(False, 0.1), (True, 0.1), (True, 0.02), (True, 0.004)]
    try:
        for units, part in stages:
            shape: list[tuple[int, ...]] = [(V, m.shape[1] if units else 1) for m in base]
            x = torch.cat([x[:free], x.new_zeros(sum(int(np.prod(s)) for s in shape))])
            tau = part * max(abs(best[0][0]) if best else scale, 1e-3 * scale)

            def value(
                x: Tensor,
                shape: list[tuple[int, ...]] = shape,
                base: list[Tensor] = base,
                tau: float = tau,
            ) -> tuple[float, Tensor] | None:
                x = x.detach().requires_grad_()
                factor, multipliers = unpack(x, shape, base)
                found = rates(factor, multipliers)
                if found is None:
                    return None
                smooth = tau * torch.logsumexp(-found / tau, 0)
                (gradient,) = torch.autograd.grad(smooth, x)
                note(found.min().item(), factor.detach(), [m.detach() for m in multipliers])
                return smooth.item(), gradient

            x, taken = _descend(value, x, over, max(tolerance * tau / part, 1e-9 * scale))
            steps += taken
            base = [m.log().detach() for m in unpack(x, shape, base)[1]]
            if over():
                break
    except KeyboardInterrupt:  # the best so far is an answer
        interrupted = True
    if not best:
        with torch.no_grad():
            found = rates(frame, [m.exp() for m in start])
        rate = -np.inf if found is None else float(found.min())
        best = [(rate, metric, torch.cat(start, 1).exp().cpu().numpy())]
    return Ascent(*best[0], np.inf, np.zeros((V, n, n)), steps, interrupted)


@threads_by(of_weights)
def best_multipliers(
    A: Tensor,  # (n, n) or (V, n, n), 1/time
    weights: Sequence[Tensor],  # L ≥ 2 tensors (..., out, in)
    metric: Tensor,  # (n, n)
    activation: str = "tanh",
    *,
    seconds: float = 10.0,
    small: int = 256,
) -> list[Tensor]:
    """Multipliers, one vector (V, h) or (h,) per hidden layer, that prove nearly the best rate for these weights and this metric.

    To be called between training steps, with `contraction_rate` or `contraction_barrier` in them. At the best multipliers the
    gradient of `contraction_rate` in the weights is that of the best rate itself (envelope theorem). Networks of up to
    `small` hidden units take the dense Newton climb (1 % from the best), larger ones the layered one.
    Errors: ValueError for an unknown activation or a metric that is not positive definite.
    """
    choice(activation, SLOPES, "the activation, whose slope range must be known:")
    loop_of_tensors(A, weights, metric)
    finite(A, *weights, metric)
    if len(weights) < 2:
        raise ValueError(f"{len(weights)} weights have no hidden layer; give two or more: without one there is no multiplier.")
    time_limit(seconds)
    number(small, "small", "how many hidden units are few", least=0.0, whole=True)
    flat = A.detach().reshape(-1, *A.shape[-2:])
    W = [w.detach().reshape(-1, *w.shape[-2:]) for w in weights]
    low, high = slopes_of(activation, [w.new_zeros(1) for w in W[:-1]])
    if float(torch.linalg.eigvalsh(metric.detach())[0]) <= 0:
        raise ValueError("the metric is not positive definite; take it from a certificate or from common_metric.")

    def array(x: Tensor) -> Array:
        return np.asarray(x.cpu().to(torch.float64).numpy())

    deadline = time.monotonic() + seconds
    a, layers, P = array(flat), [array(w) for w in W], array(metric.detach())
    ends = [array(x)[None] for x in low], [array(x)[None] for x in high]
    if sum(w.shape[1] for w in W[:-1]) <= small:
        found = climb(_stacked(a, layers, *ends), P, fixed=True, tolerance=1e-2, deadline=deadline)
    else:
        found = climb_layers(a, layers, *ends, P, fixed=True, deadline=deadline, device=str(A.device))
    parts = torch.as_tensor(found.multipliers, dtype=A.dtype, device=A.device).split([w.shape[1] for w in W[:-1]], 1)
    return [p if A.dim() > 2 else p[0] for p in parts]


def _stacked(A: Array, weights: Sequence[Array], lower: Sequence[Array], upper: Sequence[Array]) -> Loop:
    """The same systems as v = W x + N z; see `Lure.loop`, which asks for a stable A and biases besides."""
    V, n, _ = A.shape
    widths = tuple(w.shape[1] for w in weights[:-1])
    edges = np.cumsum([0, *widths])
    H = int(edges[-1])
    E, W, N = np.zeros((V, n, H)), np.zeros((V, H, n)), np.zeros((V, H, H))
    W[:, : widths[0]], E[:, :, edges[-2] :] = weights[0], weights[-1]
    for k in range(1, len(widths)):
        N[:, edges[k] : edges[k + 1], edges[k - 1] : edges[k]] = weights[k]
    ends = [np.concatenate([np.broadcast_to(x, (1, h)) for x, h in zip(s, widths, strict=True)], 1) for s in (lower, upper)]
    return Loop(A, E, W, N, ends[0], ends[1], widths)


def _descend(
    value: Callable[[Tensor], tuple[float, Tensor] | None],
    x: Tensor,
    over: Callable[[], bool],
    least: float,
    memory: int = 20,
) -> tuple[Tensor, int]:
    """L-BFGS with backtracking, until ten steps gain less than `least`; `value` is None outside the domain."""
    here = value(x)
    if here is None:
        return x, 0
    past: list[tuple[Tensor, Tensor]] = []
    history, step = [here[0]], 0
    while not over() and step < 2000:
        step += 1
        direction = -_two_loops(here[1], past)
        slope = float(here[1] @ direction)
        length = 1.0 if past else 1.0 / max(float(here[1].abs().sum()), 1e-12)
        length = min(length, 2.0 / max(float(direction.abs().max()), 1e-12))  # multipliers change by a factor e² at most
        there = None
        for _ in range(30):
            there = value(x + length * direction)
            if there is not None and there[0] <= here[0] + 1e-4 * length * slope:
                break
            there, length = None, 0.4 * length
            if over():
                break
        if there is None:
            if not past:
                break
            past = []  # once more along the gradient
            continue
        s, y = length * direction, there[1] - here[1]
        if float(s @ y) > 1e-10 * float(s.norm() * y.norm()):
            past = [*past[-memory + 1 :], (s, y)]
        x, here = x + s, there
        history.append(here[0])
        if len(history) > 10 and history[-11] - history[-1] < least:
            break
    return x, step


def _two_loops(gradient: Tensor, past: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The inverse Hessian's estimate times the gradient."""
    q, factors = gradient.clone(), []
    for s, y in reversed(past):
        factors.append(float(s @ q) / float(s @ y))
        q = q - factors[-1] * y
    if past:
        s, y = past[-1]
        q = q * (float(s @ y) / float(y @ y))
    for (s, y), factor in zip(past, reversed(factors), strict=True):
        q = q + s * (factor - float(y @ q) / float(s @ y))
    return q
