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
    layers = len(plan.network.weights)
    weights, biases, push = tensors[:layers], tensors[layers : 2 * layers], tensors[2 * layers]
    fields = tensors[2 * layers + 1 :]
    h, f0, f1, jump, u0, u1 = fields[:6]
    assert h is not None
    assert jump is not None
    driving = Driving(h, f0, f1, jump, u0, u1)
    network, how, times = plan.network, plan.combination.ordinary(fields[6:]), plan.scheme.times(plan.dense)
    phi = ACTIVATIONS[network.activation]
    closing = plan.scheme.closing(plan.dense)
    last = len(times) - 1 if closing else len(times)

    def slope(k: int, c: float, x: Tensor) -> Tensor:
        value = x
        for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
            assert W is not None
            assert b is not None
            value = value @ W.mT + b
            if layer == 0 and push is not None and driving.u0 is not None:
                u = driving.u0[k] if driving.u1 is None else torch.lerp(driving.u0[k], driving.u1[k], c)
                value = value + u @ push.mT
            if layer < layers - 1:
                value = phi(value)
        value = how.plus_linear(x, value)
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

