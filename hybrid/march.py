"""Steps of a one-step method over the segments of a cohort, with the derivative of the steps by hand.

Two ways of the same arithmetic. `march` (this file) takes a layered residual through buffers that are used again, and
differentiates the steps themselves (discretise, then optimise): its memory is that of the states and of one chunk of
steps. `plain_march` in `plain.py` writes the steps in ordinary tensor operations, for every other residual.

Rows: people under Mw members of a network are Mw × R rows of states, R = N; under one network they are one long row.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from hybrid.combine import Combination, Driving, Exponentials, Polynomials
from hybrid.field import SemilinearField
from hybrid.kernel import Kernel, Network
from hybrid.pool import Pool
from learned.residual import Field

_KEEP = 2**28  # bytes of activities that a whole solve may keep before it is cut into chunks


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
    scheme: Polynomials | Exponentials,
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
    assert network is not None
    Mw = network.weights[0].shape[0]
    R = N if Mw == M else M * N
    K = segments.dt.shape[1]

    def rows(value: Tensor) -> Tensor:  # (M|1, N, …) to (Mw, R, …)
        if Mw == M:
            return value
        return value.expand(M, *value.shape[1:]).reshape(1, R, *value.shape[2:])

    net = Network.of(network, R) if Mw == M else Network.of(_spread(network, M, N), R)
    h = segments.dt.T[:, :, None]  # (K, N, 1)
    if segments.one_length:
        h = h[:, :1]
    elif Mw != M:
        h = h.repeat(1, M, 1)
    forced = None if field.forced is None else [rows(v).permute(2, 0, 1, 3) for v in field.forced]  # (K, Mw|1, R, n)
    per = segments.jump[None], segments.u0[None], segments.u1[None]
    jump, u0, u1 = (rows(v)[0].transpose(0, 1).contiguous() for v in per)  # (K, R, ·)
    driving = Driving(
        h=h,
        f0=None if forced is None else forced[0].contiguous(),
        f1=None if forced is None or not segments.bends else forced[1].contiguous(),
        jump=jump,
        u0=u0 if net.input_weights is not None else None,
        u1=u1 if net.input_weights is not None and segments.bends else None,
    )
    start = rows(x0)
    combination = scheme.bind(field, M, Mw, R)
    stages = scheme.stages(dense)
    if chunk is None:
        size = K * stages * Mw * R * sum(net.widths) * x0.element_size()
        chunk = K if size <= _KEEP else max(1, math.isqrt(K - 1) + 1)
    smooth = segments.smooth if scheme.closing(dense) else [False] * K
    plan = Plan(scheme, dense, min(chunk, K), segments.jumps, smooth, net, driving, combination, pool or Pool())
    out = _March.apply(plan, start, *plan.tensors())

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


@dataclass(frozen=True)
class Plan:
    """Everything that the steps need, with its tensors listed for the derivative."""

    scheme: Polynomials | Exponentials
    dense: bool
    chunk: int
    jumps: list[bool]
    smooth: list[bool]
    network: Network
    driving: Driving
    combination: Combination
    pool: Pool

    def tensors(self) -> list[Tensor | None]:
        """The differentiable tensors, in the order of `gradients`."""
        net, d = self.network, self.driving
        return [
            *net.weights,
            *net.biases,
            net.input_weights,
            *(getattr(d, f.name) for f in fields(d)),
            *self.combination.tensors(),
        ]


class _March(torch.autograd.Function):
    """The steps as one node: (x0, tensors of the plan) to (x, after, slopes)."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, x0: Tensor, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        K = plan.driving.h.shape[0]
        x = x0.new_empty(K + 1, *x0.shape)
        x[0] = x0
        after = x0.new_empty(K, *x0.shape) if plan.dense else x0.new_empty(0)
        slopes = x0.new_empty(K, plan.scheme.stages(plan.dense), *x0.shape) if plan.dense else x0.new_empty(0)
        needed = any(ctx.needs_input_grad)
        whole = needed and plan.chunk >= K
        work = _Work(plan, x0, plan.chunk if whole else 1)
        for k in range(K):
            work.step(k, k if whole else 0, x, after, slopes)
        ctx.plan, ctx.work = plan, work if whole else None
        if not whole:
            plan.pool.give(work.buffers)
        ctx.save_for_backward(x, slopes)
        return x, after, slopes

    @staticmethod
    def backward(ctx: Any, gx: Tensor, gafter: Tensor, gslopes: Tensor) -> tuple[Any, ...]:
        plan: Plan = ctx.plan
        x, slopes = ctx.saved_tensors
        K = plan.driving.h.shape[0]
        needs = ctx.needs_input_grad[2:]
        work = ctx.work or _Work(plan, x[0], plan.chunk)
        work.begin_gradients(list(needs))
        lam = gx[K].clone(memory_format=torch.contiguous_format)
        chunk = plan.chunk
        for first in range((K - 1) // chunk * chunk, -1, -chunk):
            steps = range(first, min(first + chunk, K))
            if ctx.work is None:
                for k in steps:
                    work.step(k, k - first, x, x, slopes, again=True)
            for k in reversed(steps):
                work.step_back(k, k - first, lam, gafter, gslopes)
                lam += gx[k]
        ctx.work = None  # its buffers are the next one's; who comes back computes the chunk again
        plan.pool.give(work.buffers)
        return (None, lam, *work.gradients())


class _Work:
    """The buffers of `chunk` steps, and one step forwards and backwards in them."""

    def __init__(self, plan: Plan, like: Tensor, chunk: int) -> None:
        self.plan, self.c = plan, plan.scheme.times(plan.dense)
        self.stages = len(self.c)
        d = plan.driving
        self.kernel = Kernel(
            plan.network, like, steps=chunk, stages=self.stages, inputs=None if d.u0 is None else d.u0[0], pool=plan.pool
        )
        self.combination = plan.combination
        shape = (self.stages, *like.shape)
        flat = self.kernel.flat
        self.x = plan.pool.take(like, chunk, *shape)  # the stages' states
        self.f = plan.combination.begin(like, self.stages, chunk)  # and their slopes
        self.kappa, self.mu = like.new_empty(shape), like.new_empty(like.shape)

        def views(whole: Tensor) -> list[list[Tensor]]:
            return [list(step.unbind(0)) for step in (whole[:, :, 0] if flat else whole).unbind(0)]

        self.xs, self.fs = views(self.x), views(self.f)
        (self.kappas,) = views(self.kappa[None])
        self.mu_flat = self.mu[0] if flat else self.mu
        self.carry: Tensor | None = None
        self.needs: list[bool] = []

    @property
    def buffers(self) -> list[Tensor]:
        """What goes back to the pool."""
        return [*self.kernel.buffers, self.x]

    # ---- forwards

    def step(self, k: int, c: int, x: Tensor, after: Tensor, slopes: Tensor, again: bool = False) -> None:
        """Step k in slot c, from x[k] to x[k+1]; `again`: only what the derivative needs is computed anew."""
        plan, d, kernel = self.plan, self.plan.driving, self.kernel
        X, F = self.x[c], self.f[c]
        now = X[0]
        now.copy_(x[k])
        if plan.jumps[k]:
            now += d.jump[k]
        if plan.dense and not again:
            after[k] = now
        if d.u0 is not None:
            kernel.drive(d.u0[k], None if d.u1 is None else d.u1[k], self.c)
        closing = plan.scheme.closing(plan.dense)
        last = self.stages - 1 if closing else self.stages
        for i in range(last):
            if i:
                self.combination.stage(k, c, i, X, F)
            if i == 0 and plan.smooth[k] and not again:
                F[0].copy_(slopes[k - 1, -1])
            elif i == 0 and plan.smooth[k]:
                F[0].copy_(slopes[k, 0])
            else:
                self._slope(k, c, i)
        if closing:
            self.combination.stage(k, c, last, X, F)
            if not again:
                x[k + 1] = X[last]
            self._slope(k, c, last)
        elif not again:
            self.combination.finish(k, c, X, F, x[k + 1])
        if plan.dense and not again:
            slopes[k] = F

    def _slope(self, k: int, c: int, i: int) -> None:
        d, out = self.plan.driving, self.fs[c][i]
        self.kernel.evaluate(c, i, self.xs[c][i], out)
        self.combination.add_linear(self.x[c, i], self.f[c, i])
        if d.f0 is not None:
            self.f[c, i] += d.f0[k] if d.f1 is None or self.c[i] == 0.0 else torch.add(d.f0[k], d.f1[k], alpha=self.c[i])

    # ---- backwards

    def begin_gradients(self, needs: list[bool]) -> None:
        self.kernel.begin_gradients()
        d = self.plan.driving
        count = len(self.plan.network.weights) * 2 + 1
        names = [f.name for f in fields(d)]
        wanted = dict(zip(names, needs[count : count + len(names)], strict=True))
        self.g: dict[str, Tensor] = {
            name: torch.zeros_like(getattr(d, name)) for name in names if wanted[name] and getattr(d, name) is not None
        }
        self.combination.begin_gradients(needs[count + len(names) :])
        self.carry = None
        self.weights_needed = any(needs[:count])
        self.weigh = torch.tensor(self.c, dtype=self.x.dtype, device=self.x.device)

    def step_back(self, k: int, c: int, lam: Tensor, gafter: Tensor, gslopes: Tensor) -> None:
        """Turn `lam`, the cotangent of x[k+1], into that of x[k], in place."""
        plan, d, kernel, how = self.plan, self.plan.driving, self.kernel, self.combination
        X, F, kappa = self.x[c], self.f[c], self.kappa
        if d.u0 is not None:
            kernel.drive(d.u0[k], None if d.u1 is None else d.u1[k], self.c)
        extra = gslopes[k] if plan.dense else None
        last = self.stages
        if plan.scheme.closing(plan.dense):
            last -= 1
            assert extra is not None
            if self.carry is None:
                kappa[last] = extra[last]
            else:
                torch.add(extra[last], self.carry, out=kappa[last])
            self._pull(c, last)
            lam += self.mu
        how.finish_back(k, c, lam, X, F)  # the slopes' own cotangents, and lam's way to the step's beginning
        for i in range(last - 1, 0, -1):
            how.kappa(k, i, None if extra is None else extra[i], kappa[i])
            self._pull(c, i)
            how.stage_back(k, c, i, self.mu, X, F, lam)
        how.kappa(k, 0, None if extra is None else extra[0], kappa[0])
        if plan.smooth[k]:
            # f at the beginning was f at the end of the step before: it goes on from there
            self.carry = kappa[0].clone()
        else:
            self.carry = None
            self._pull(c, 0)
            lam += self.mu
        self._collect(k, c, X, F)
        if plan.dense:
            lam += gafter[k]
        if plan.jumps[k] and "jump" in self.g:
            self.g["jump"][k] = lam.sum(0)

    def _pull(self, c: int, i: int) -> None:
        self.kernel.pull(c, i, self.kappas[i], self.mu_flat)
        self.combination.add_linear_back(self.kappa[i], self.mu)

    def _collect(self, k: int, c: int, X: Tensor, F: Tensor) -> None:
        """The gradients of what this step used."""
        first = 1 if self.plan.smooth[k] else 0
        if self.weights_needed:
            self.kernel.collect(c, first, X, self.kappa)
        kappa = self.kappa[first:]
        self.combination.collect(k, X[first:], F, kappa, self.g.get("h"))
        for name, weigh in (("f0", None), ("f1", self.weigh[first:])):
            if name in self.g:
                total = kappa.sum(0) if weigh is None else torch.tensordot(weigh, kappa, 1)
                self.g[name][k] += total if self.g[name].shape[1] == total.shape[0] else total.sum(0, keepdim=True)
        for name in ("u0", "u1"):
            if name in self.g:
                for i in range(first, self.stages):
                    share = self.c[i] if name == "u1" else 1.0 if self.plan.driving.u1 is None else 1.0 - self.c[i]
                    self.g[name][k] += share * self.kernel.input_cotangent(i, self.kappas[i])

    def gradients(self) -> list[Tensor | None]:
        """In the order of `Plan.tensors`."""
        net = self.kernel.gradients
        if self.plan.network.input_weights is None:
            net = [*net, None]  # type: ignore[list-item]
        return [*net, *(self.g.get(f.name) for f in fields(self.plan.driving)), *self.combination.gradients()]

