"""One step after the other of a march, forwards and backwards, in buffers that are used again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from hybrid.cutting.segments import Segments
from hybrid.solve.kernel import Kernel, Network
from hybrid.solve.pool import Pool, Tape
from hybrid.solve.schemes.scheme import Combination, Driving, Scheme
from hybrid.solve.tape_kernel import TapeKernel
from hybrid.solve.tape_rows import TapeRows

_T = TypeVar("_T")


@dataclass(frozen=True)
class Plan:
    """Everything that the steps need, with its tensors listed for the derivative."""

    scheme: Scheme
    dense: bool
    chunk: int
    segments: Segments
    smooth: list[bool]
    network: Network | None
    tape: TapeRows | None
    driving: Driving
    combination: Combination
    pool: Pool

    def tensors(self) -> list[Tensor | None]:
        """The differentiable tensors, in the order of `gradients`."""
        net, d = self.network, self.driving
        return [
            *(() if net is None else (*net.weights, *net.biases, net.input_weights)),
            *(() if self.tape is None else (self.tape.held,)),
            *(getattr(d, f.name) for f in fields(d)),
            *self.combination.tensors(),
        ]

    def parts(self, each: Sequence[_T]) -> tuple[Sequence[_T], ...]:
        """Something for each of the `tensors`, apart: the network's, the tape's, the driving's and the combination's."""
        first = 0 if self.network is None else 2 * len(self.network.weights) + 1
        second = first + (self.tape is not None)
        third = second + len(fields(Driving))
        return each[:first], each[first:second], each[second:third], each[third:]

    def needs(self, needed: Sequence[bool]) -> tuple[bool, bool, dict[str, bool], list[bool]]:
        """Which of the `tensors` want a gradient: any of network and tape, the driving's by name, the combination's."""
        network, tape, driving, rest = self.parts(needed)
        by_name = dict(zip((f.name for f in fields(Driving)), driving, strict=True))
        return any(network), any(tape), by_name, list(rest)

    def repeats(self, needed: Sequence[bool]) -> bool:
        """May the steps be kept as a list of operations? Not where a network's inputs are put together on the way, and not
        where lengths or inputs want a gradient.
        """
        driving = self.needs(needed)[2]
        fixed = self.driving.u0 is None or (self.network is None and not (driving["u0"] or driving["u1"]))
        return self.combination.repeats and fixed and not driving["h"]

    def held(self) -> "Plan":
        """The same on copies of its tensors, which stay and may be written anew."""
        net, d = self.network, self.driving

        def copy(value: Tensor) -> Tensor:
            return value.detach().clone(memory_format=torch.contiguous_format)

        held: dict[str, Any] = {f.name: getattr(d, f.name) for f in fields(d)}
        held = {name: None if value is None else copy(value) for name, value in held.items()}
        if net is not None:
            net = replace(net, weights=tuple(map(copy, net.weights)), biases=tuple(map(copy, net.biases)))
        return replace(
            self,
            network=net,
            tape=None if self.tape is None else replace(self.tape, held=copy(self.tape.held)),
            driving=Driving(**held),
            combination=self.combination.held(),
        )


class Work:
    """The buffers of `chunk` steps, and the steps forwards and backwards in them.

    `given`: the states at the boundaries and the slopes, where they are known and only the derivative is wanted.
    """

    def __init__(self, plan: Plan, like: Tensor, chunk: int, given: tuple[Tensor, Tensor] | None = None) -> None:
        self.plan, self.c = plan, plan.scheme.times(plan.dense)
        self.stages, self.chunk = len(self.c), chunk
        d = plan.driving
        K = d.h.shape[0]
        self.do = Tape()
        self.forwards: list[Callable[[], Any]] | None = None
        self.backwards: list[Callable[[], Any]] | None = None
        inputs = None if d.u0 is None else d.u0[0]
        size: dict[str, Any] = {"steps": chunk, "stages": self.stages, "inputs": inputs, "pool": plan.pool, "do": self.do}
        self.kernel = None if plan.network is None else Kernel(plan.network, like, **size)
        self.taped = None if plan.tape is None else TapeKernel(plan.tape, like, **size)
        shape = (self.stages, *like.shape)
        flat = like.shape[0] == 1
        self.x = plan.pool.take(like, chunk, *shape)  # the stages' states
        room = plan.combination.room(like, self.stages, chunk, self.do)
        self.f, self.forth, self.back, self.gathers = room.slopes, room.forwards, room.backwards, room.gathers  # and slopes
        self.kappa, self.mu = like.new_empty(shape), like.new_empty(like.shape)
        self.lam, self.carry = like.new_empty(like.shape), like.new_empty(like.shape)
        if given is None:
            self.path = like.new_empty(K + 1, *like.shape)
            self.slopes = like.new_empty(K, *shape) if plan.dense else like.new_empty(0)
        else:
            self.path, self.slopes = given
        self.after = like.new_empty(K, *like.shape) if plan.dense and given is None else like.new_empty(0)

        def views(whole: Tensor) -> list[list[Tensor]]:
            return [list(step.unbind(0)) for step in (whole[:, :, 0] if flat else whole).unbind(0)]

        self.xs, self.fs = views(self.x), views(self.f)
        (self.kappas,) = views(self.kappa[None])
        self.mu_flat = self.mu[0] if flat else self.mu
        self.carried = False
        self.g: dict[str, Tensor] = {}
        self.incoming: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self, x0: Tensor, tensors: tuple[Tensor | None, ...], needs: Sequence[bool], *, slots: bool) -> None:
        """All steps, each in a slot of its own or all in the first one."""
        repeats = slots and self.plan.repeats(needs)
        self.path[0].copy_(x0)
        if self.forwards is not None:
            for mine, new in zip(self.plan.tensors(), tensors, strict=True):
                if mine is not None and new is not None:
                    mine.copy_(new)
            self.forth.renew()
            for call in self.forwards:
                call()
            return
        self.do.calls = [] if repeats else None
        for k in range(self.plan.driving.h.shape[0]):
            self.step(k, k if slots else 0)
        self.forwards, self.do.calls = self.do.calls, None

    def backward(self, needs: list[bool], gx: Tensor, gafter: Tensor, gslopes: Tensor, *, again: bool) -> None:
        """From the cotangents of the outputs to `lam`, that of the start, and the `gradients`."""
        if self.backwards is not None and self.incoming is not None:
            for mine, new in zip(self.incoming, (gx, gafter, gslopes), strict=True):
                mine.copy_(new)
            for call in self.backwards:
                call()
            return
        repeats = not again and self.forwards is not None
        if repeats:
            gx, gafter, gslopes = (v.clone(memory_format=torch.contiguous_format) for v in (gx, gafter, gslopes))
            self.incoming = (gx, gafter, gslopes)
        self.do.calls = [] if repeats else None
        K, chunk = self.plan.driving.h.shape[0], self.chunk
        self.begin_gradients(needs)
        self.do(self.lam.copy_, gx[K])
        for first in range((K - 1) // chunk * chunk, -1, -chunk):
            steps = range(first, min(first + chunk, K))
            if again:
                for k in steps:
                    self.step(k, k - first, again=True)
            for k in reversed(steps):
                self.step_back(k, k - first, self.lam, gafter, gslopes)
                self.do(self.lam.add_, gx[k])
        self.backwards, self.do.calls = self.do.calls, None

    @property
    def buffers(self) -> list[Tensor]:
        """What goes back to the pool."""
        return [*(b for kernel in (self.kernel, self.taped) if kernel is not None for b in kernel.buffers), self.x]

    # ---- forwards

    def step(self, k: int, c: int, again: bool = False) -> None:
        """Step k in slot c, from path[k] to path[k+1]; `again`: only what the derivative needs is computed anew."""
        plan, d, do = self.plan, self.plan.driving, self.do
        X, F = self.x[c], self.f[c]
        now = X[0]
        do(now.copy_, self.path[k])
        if plan.segments.jumps[k]:
            do(now.add_, d.jump[k])
        if plan.dense and not again:
            do(self.after[k].copy_, now)
        self._drive(k)
        closing = plan.scheme.closing(plan.dense)
        last = self.stages - 1 if closing else self.stages
        for i in range(last):
            if i:
                self.forth.stage(k, c, i, X, F)
            if i == 0 and plan.smooth[k]:
                do(F[0].copy_, self.slopes[k, 0] if again else self.slopes[k - 1, -1])
            else:
                self._slope(k, c, i)
        if closing:
            self.forth.stage(k, c, last, X, F)
            if not again:
                do(self.path[k + 1].copy_, X[last])
            self._slope(k, c, last)
        elif not again:
            self.forth.finish(k, c, X, F, self.path[k + 1])
        if plan.dense and not again:
            do(self.slopes[k].copy_, F)

    def _drive(self, k: int) -> None:
        d = self.plan.driving
        for kernel in (self.kernel, self.taped):
            if kernel is not None and d.u0 is not None:
                kernel.drive(d.u0[k], None if d.u1 is None else d.u1[k], self.c)

    def _slope(self, k: int, c: int, i: int) -> None:
        d, out = self.plan.driving, self.fs[c][i]
        if self.kernel is not None:
            self.kernel.evaluate(c, i, self.xs[c][i], out)
        if self.taped is not None:
            self.taped.evaluate(c, i, self.x[c, i], self.f[c, i], add=self.kernel is not None)
        self.forth.add_linear(self.x[c, i], self.f[c, i])
        if d.f0 is not None:
            self.do(self.f[c, i].add_, d.f0[k])
            if d.f1 is not None and self.c[i] != 0.0:
                self.do(self.f[c, i].add_, d.f1[k], alpha=self.c[i])

    # ---- backwards

    def begin_gradients(self, needs: list[bool]) -> None:
        """Forget the gradients so far; `needs` says which of the plan's tensors want one."""
        d = self.plan.driving
        self.weights_needed, tape_needed, wanted, rest = self.plan.needs(needs)
        if self.kernel is not None:
            self.kernel.begin_gradients()
        if self.taped is not None:
            self.taped.begin_gradients(tape_needed, wanted["u0"] or wanted["u1"])
        self.g = {
            name: torch.zeros_like(getattr(d, name))
            for name, want in wanted.items()
            if want and getattr(d, name) is not None
        }
        for total in self.g.values():
            self.do(total.zero_)
        self.gathers.begin(rest)
        self.carried = False

    def step_back(self, k: int, c: int, lam: Tensor, gafter: Tensor, gslopes: Tensor) -> None:
        """Turn `lam`, the cotangent of path[k+1], into that of path[k], in place."""
        plan, how, do = self.plan, self.back, self.do
        X, F, kappa = self.x[c], self.f[c], self.kappa
        self._drive(k)
        extra = gslopes[k] if plan.dense else None
        last = self.stages
        if plan.scheme.closing(plan.dense):
            last -= 1
            assert extra is not None
            do(kappa[last].copy_, extra[last])
            if self.carried:
                do(kappa[last].add_, self.carry)
            self._pull(c, last)
            do(lam.add_, self.mu)
        how.finish(k, c, lam)  # the slopes' own cotangents, and lam's way to the step's beginning
        for i in range(last - 1, 0, -1):
            how.kappa(k, i, None if extra is None else extra[i], kappa[i])
            self._pull(c, i)
            how.stage(k, c, i, self.mu, lam)
        how.kappa(k, 0, None if extra is None else extra[0], kappa[0])
        self.carried = plan.smooth[k]
        if self.carried:
            # f at the beginning was f at the end of the step before: it goes on from there
            do(self.carry.copy_, kappa[0])
        else:
            self._pull(c, 0)
            do(lam.add_, self.mu)
        self._collect(k, c, X, F)
        if plan.dense:
            do(lam.add_, gafter[k])
        if plan.segments.jumps[k] and "jump" in self.g:
            for one in lam:
                do(self.g["jump"][k].add_, one)

    def _pull(self, c: int, i: int) -> None:
        if self.kernel is not None:
            self.kernel.pull(c, i, self.kappas[i], self.mu_flat)
        if self.taped is not None:
            self.taped.pull(c, i, self.kappa[i], self.mu, add=self.kernel is not None)
        self.back.add_linear(self.kappa[i], self.mu)

    def _collect(self, k: int, c: int, X: Tensor, F: Tensor) -> None:
        """The gradients of what this step used."""
        first = 1 if self.plan.smooth[k] else 0
        if self.weights_needed and self.kernel is not None:
            self.kernel.collect(c, first, X, self.kappa)
        self.gathers.collect(k, X[first:], F, self.kappa[first:], self.g.get("h"))
        for name in ("f0", "f1"):
            if name not in self.g:
                continue
            total = self.g[name][k]  # (Mw|1, R, n)
            for i in range(first, self.stages):
                for one in self.kappa[i] if total.shape[0] < self.kappa.shape[1] else (self.kappa[i],):
                    self.do(total.add_, one, alpha=self.c[i] if name == "f1" else 1.0)
        for name in ("u0", "u1"):
            if name in self.g:
                for i in range(first, self.stages):
                    share = self.c[i] if name == "u1" else 1.0 if self.plan.driving.u1 is None else 1.0 - self.c[i]
                    if self.kernel is not None and self.kernel.push is not None:
                        self.g[name][k] += share * self.kernel.input_cotangent(i, self.kappas[i])
                    if self.taped is not None:
                        self.g[name][k] += share * self.taped.input_cotangent(i)

    def gradients(self) -> list[Tensor | None]:
        """In the order of `Plan.tensors`."""
        found: list[Tensor | None] = []
        if self.kernel is not None and self.plan.network is not None:
            found += [*self.kernel.gradients, *(() if self.plan.network.input_weights is not None else (None,))]
        if self.taped is not None:
            found.append(self.taped.total)
        return [*found, *(self.g.get(f.name) for f in fields(self.plan.driving)), *self.gathers.gradients()]

