"""The steps of `march` on the tensors of its plan in ordinary operations, which torch differentiates as often as it is asked."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hybrid.solve.schemes.scheme import Driving
from hybrid.solve.steps import Plan
from learned.residual import ACTIVATIONS


def replay(
    plan: Plan,
    x0: Tensor,  # (Mw, R, n)
    tensors: Sequence[Tensor | None],
) -> tuple[Tensor, Tensor, Tensor]:
    """What `march` computes by hand: path (K+1, Mw, R, n), and where it is dense the states after the jumps (K, Mw, R, n) and
    the slopes (K, S, Mw, R, n), else empty ones.

    `tensors` stand for `plan.tensors()`, in that order. Everything is kept for the derivative.
    Law: the numbers are those of `march`.
    """
    layered, taped, driven, combined = plan.parts(tensors)
    layers = len(layered) // 2
    h, f0, f1, jump, u0, u1 = driven
    assert h is not None
    assert jump is not None
    driving = Driving(h, f0, f1, jump, u0, u1)
    how, times = plan.combination.ordinary(combined), plan.scheme.times(plan.dense)
    closing = plan.scheme.closing(plan.dense)
    last = len(times) - 1 if closing else len(times)

    def network(x: Tensor, u: Tensor | None) -> Tensor:
        assert plan.network is not None
        value, push, phi = x, layered[-1], ACTIVATIONS[plan.network.activation]
        for layer, (W, b) in enumerate(zip(layered[:layers], layered[layers : 2 * layers], strict=True)):
            assert W is not None
            assert b is not None
            value = value @ W.mT + b
            if layer == 0 and push is not None and u is not None:
                value = value + u @ push.mT
            if layer < layers - 1:
                value = phi(value)
        return value

    def slope(k: int, c: float, x: Tensor) -> Tensor:
        u = driving.u0 if driving.u0 is None else driving.u0[k]
        if u is not None and driving.u1 is not None:
            u = torch.lerp(u, driving.u1[k], c)
        parts = [network(x, u)] if plan.network is not None else []
        if plan.tape is not None:
            (held,) = taped
            assert held is not None
            parts.append(plan.tape.ordinary(held, x, u))
        value = how.plus_linear(x, parts[0] if len(parts) == 1 else parts[0] + parts[1])
        if driving.f0 is not None:
            value = value + driving.f0[k]
            if driving.f1 is not None and c != 0.0:
                value = value + c * driving.f1[k]
        return value

    x, path, after, slopes = x0, [x0], [], []
    end: Tensor | None = None  # the slope at the end of the step before
    for k in range(driving.h.shape[0]):
        if plan.segments.jumps[k]:
            x = x + jump[k]
        after.append(x)
        f = [end if plan.smooth[k] and end is not None else slope(k, times[0], x)]
        for i in range(1, last):
            f.append(slope(k, times[i], how.state(driving.h[k], k, i, x, f)))
        x = how.state(driving.h[k], k, -1, x, f)
        if closing:
            end = slope(k, times[last], x)
            f.append(end)
        path.append(x)
        slopes.append(torch.stack(f))
    empty = x0.new_empty(0)
    return torch.stack(path), torch.stack(after) if plan.dense else empty, torch.stack(slopes) if plan.dense else empty

