"""Steps of a one-step method over the segments of a cohort, with the derivative of the steps by hand.

Two ways of the same arithmetic. `march` (this file) takes a layered residual through buffers that are used again, and
differentiates the steps themselves (discretise, then optimise): its memory is that of the states and of one chunk of
steps. Where a gradient is to be differentiated in turn (`create_graph=True`) or a transform of `torch.func` is at work, the
same steps run in ordinary operations (`replay`), with the memory that these take. `plain_march` in `plain_march.py` writes
the steps in ordinary tensor operations, for every other residual.

Rows: people under Mw members of a network are Mw × R rows of states, R = N; under one network they are one long row.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hybrid.derivative import kept, transforming
from hybrid.field import SemilinearField
from hybrid.solve.kernel import Network
from hybrid.solve.pool import Pool
from hybrid.solve.replay import replay
from hybrid.solve.schemes.scheme import Driving, Scheme
from hybrid.solve.steps import Plan, Work
from hybrid.solve.tape_rows import TapeRows
from learned.residual import Field

_KEEP = 2**30  # bytes of activities that a whole solve may keep before it is cut into chunks


@dataclass(frozen=True)
class March:
    """What a march gives: `x` (K+1, M, N, n), the states at the boundaries before their jumps, and for reading inside the
    steps `after` (K, M, N, n), the states after them, and `slopes` (K, S, M, N, n), the stages' f or g (None unless asked).
    """

    x: Tensor
    after: Tensor | None
    slopes: Tensor | None


def march(
    field: SemilinearField,
    x0: Tensor,  # (M, N, n)
    scheme: Scheme,
    *,
    dense: bool,
    chunk: int | None = None,
    pool: Pool | None = None,
) -> March:
    """All steps, one per segment. `dense`: keep what reading inside the steps needs. `chunk`: steps that are kept at a time;
    by default all while they fit, else √K, so that memory grows with √K (each chunk is then computed twice). `pool`: where
    buffers come from and go to.
    """
    M, N, n = x0.shape
    segments, network = field.segments, field.network
    Mw = 1 if network is None else network.weights[0].shape[0]
    R = N if Mw == M else M * N
    K = segments.dt.shape[1]

    def rows(value: Tensor) -> Tensor:  # (M|1, N, …) to (Mw, R, …)
        if Mw == M:
            return value
        return value.expand(M, *value.shape[1:]).reshape(1, R, *value.shape[2:])

    net = None if network is None else Network.of(network if Mw == M else _spread(network, M, N), R)
    tape = None if field.tape is None else TapeRows.of(field.tape, (M, N), field.A if scheme.exact else None)
    h = segments.dt.T[:, :, None]  # (K, N, 1)
    if segments.one_length:
        h = h[:, :1]
    elif Mw != M:
        h = h.repeat(1, M, 1)
    given = field.forced
    if tape is not None:  # which holds what the inputs do
        given = (segments.rate[None], torch.zeros_like(segments.rate[None])) if segments.infused else None
    forced = None if given is None else [rows(v).permute(2, 0, 1, 3) for v in given]  # (K, Mw|1, R, n)
    reads = (net is not None and net.input_weights is not None) or (tape is not None and segments.u0.shape[-1] > 0)
    per = segments.jump[None], segments.u0[None], segments.u1[None]
    jump, u0, u1 = (rows(v)[0].transpose(0, 1).contiguous() for v in per)  # (K, R, ·)
    driving = Driving(
        h=h,
        f0=None if forced is None else forced[0].contiguous(),
        f1=None if forced is None or tape is not None or not segments.bends else forced[1].contiguous(),
        jump=jump,
        u0=u0 if reads else None,
        u1=u1 if reads and segments.bends else None,
    )
    start = rows(x0)
    combination = scheme.combination(field, M, Mw, R)
    stages = scheme.stages(dense)
    if chunk is None:
        width = (0 if net is None else sum(net.widths)) + (0 if tape is None else tape.width)
        size = K * stages * Mw * R * width * x0.element_size()
        chunk = K if size <= _KEEP else max(1, math.isqrt(K - 1) + 1)
    smooth = segments.smooth if scheme.closing(dense) else [False] * K
    plan = Plan(scheme, dense, min(chunk, K), segments, smooth, net, tape, driving, combination, pool or Pool())
    # a transform of torch.func does not see the derivative by hand, nor does forward mode
    out = replay(plan, start, plan.tensors()) if transforming() else _March.apply(plan, start, *plan.tensors())

    def back(value: Tensor) -> Tensor:  # (…, Mw, R, n) to (…, M, N, n)
        return value.reshape(*value.shape[:-3], M, N, n)

    if not dense:
        return March(back(out[0]), None, None)
    return March(back(out[0]), back(out[1]), back(out[2]))


def _spread(network: Field, M: int, N: int) -> Field:
    """One network under M members of people: what is bound to people is repeated for each member."""

    def rows(value: Tensor) -> Tensor:
        if value.shape[:2] == (1, 1):
            return value
        return value.expand(M, N, value.shape[-1]).reshape(1, M * N, value.shape[-1])

    return replace(network, origin=tuple(map(rows, network.origin)), active=tuple(map(rows, network.active)))


class _March(torch.autograd.Function):
    """The steps as one node: (x0, tensors of the plan) to (x, after, slopes)."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, x0: Tensor, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        with kept():  # the buffers stay with the solver, and the next call may train
            return _March._steps(ctx, plan, x0, tensors)

    @staticmethod
    def _steps(ctx: Any, plan: Plan, x0: Tensor, tensors: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
        needs = ctx.needs_input_grad[2:]
        K = plan.driving.h.shape[0]
        whole = any(ctx.needs_input_grad) and plan.chunk >= K
        if whole and plan.repeats(needs):
            # the same steps as last time run without the Python between their operations
            shapes = (x0.shape, *(None if t is None else t.shape for t in tensors))
            # the work holds the segments, so that no others can have their identity
            code = None if plan.network is None else plan.network.activation, None if plan.tape is None else plan.tape.source
            key = (id(plan.segments), plan.scheme, plan.dense, x0.dtype, x0.device, needs, shapes, code)
            work = plan.pool.borrow(key)
            if not isinstance(work, Work):
                work = Work(plan.held(), x0, K)
            ctx.key = key
        else:
            work, ctx.key = Work(plan, x0, plan.chunk if whole else 1), None
        work.forward(x0, tensors, needs, slots=whole)
        ctx.plan, ctx.work = plan, work if whole else None
        if not whole:
            plan.pool.give(work.buffers)
        outputs: tuple[Tensor, ...] = (work.path, work.after, work.slopes)
        if ctx.key is not None:
            outputs = tuple(v.clone() for v in outputs)
        ctx.save_for_backward(outputs[0], outputs[2], x0, *tensors)
        return outputs

    @staticmethod
    def backward(ctx: Any, gx: Tensor, gafter: Tensor, gslopes: Tensor) -> tuple[Any, ...]:
        plan: Plan = ctx.plan
        x, slopes, *inputs = ctx.saved_tensors
        needs = list(ctx.needs_input_grad[2:])
        if torch.is_grad_enabled():  # create_graph=True: the gradient is to be differentiated in turn
            _March._release(ctx)
            return (None, *_March._again(ctx, inputs, (gx, gafter, gslopes)))
        if ctx.work is not None:
            work: Work = ctx.work
            work.backward(needs, gx, gafter, gslopes, again=False)
        else:
            work = Work(plan, x[0], plan.chunk, given=(x, slopes))
            work.backward(needs, gx, gafter, gslopes, again=True)
        found = (None, work.lam, *work.gradients())
        if ctx.work is None:
            plan.pool.give(work.buffers)
        elif ctx.key is not None:
            found = tuple(None if v is None else v.clone() for v in found)
        _March._release(ctx)
        return found

    @staticmethod
    def _release(ctx: Any) -> None:
        """The buffers are the next solve's; who comes back computes the chunk again."""
        work, ctx.work = ctx.work, None
        if work is None:
            return
        if ctx.key is not None:
            ctx.plan.pool.keep(ctx.key, work)
        else:
            ctx.plan.pool.give(work.buffers)

    @staticmethod
    def _again(ctx: Any, inputs: Sequence[Tensor | None], cotangents: tuple[Tensor, ...]) -> list[Tensor | None]:
        """The gradients as functions of inputs and cotangents, by the same steps in ordinary operations."""
        # aliases: some inputs are made from others, and each gradient ends at its own
        start, *own = [None if v is None else v.view_as(v) for v in inputs]
        assert start is not None
        outputs = replay(ctx.plan, start, own)
        needed = zip([start, *own], ctx.needs_input_grad[1:], strict=True)
        wanted = {i: v for i, (v, need) in enumerate(needed) if need and v is not None}
        pairs = [(o, g) for o, g in zip(outputs, cotangents, strict=True) if o.requires_grad]
        gradients = torch.autograd.grad(
            [o for o, _ in pairs],
            list(wanted.values()),
            [g for _, g in pairs],
            create_graph=True,
            allow_unused=True,
        )
        found: list[Tensor | None] = [None] * len(inputs)
        for i, gradient in zip(wanted, gradients, strict=True):
            found[i] = gradient
        return found
