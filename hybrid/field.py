"""The right-hand side on the segment clock, with its parts apart."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from hybrid.cutting.segments import Segments
from hybrid.remainder import Whole
from learned.residual import Field
from physics.arguments import quote, require_callable, require_kind, require_names, require_number, require_shape
from physics.tape import BoundTape


class HasRecord(Protocol):
    """What names a record by its index."""

    @property
    def record(self) -> int:
        """The index."""


def among(
    failures: Sequence[HasRecord],
    people: Tensor,  # (N, …)
) -> Tensor:  # (N,) bool
    """True for the records that failed."""
    found = torch.zeros(people.shape[0], dtype=torch.bool, device=people.device)
    found[[f.record for f in failures]] = True
    return found


class SemilinearField:
    """dx/dt = A x + forcing(t) + ε(t, x) on the segment clock: t = k + s means the fraction s of segment k.

    `A` (M, N, n, n) stable; `forcing(t)` (M, N, n) = B u(t) + infusions; `residual(t, x)` (M, N, n). All three are in
    state units per time; the call returns dx/ds = Δt_k · (A x + forcing + ε), which is what a solver integrates.
    ε is everything that is neither: what is learned, and the known terms of the model where it has any.
    For solvers that use the structure: `network`, the residual as layers, where it has them; `tape`, the mechanism that is
    part of `unsplit`; `in_buffers`: what is not linear is these two at most, whose steps are differentiated by hand; and
    `forced`, the forcing at the beginning of every segment and its change along it, (M|1, N, K, n) each, or None where nothing
    drives.
    `tensors`: what the residual is made from, for the adjoint method. `unsplit`: A x + B u + ε as one function of x and u, where
    it costs less than its parts (a mechanism, of which A and B are slopes); who needs no split calls it. `states`: their names,
    whoever says in which of them something went wrong; none where nobody knows them. `again`: the same right-hand side for chosen
    rows of its people, on other segments, (segments, rows) -> field; None where only what bound it could say.
    Law: the call is the sum of its parts.
    """

    def __init__(
        self,
        A: Tensor,  # (M|1, N, n, n)
        B: Tensor,  # (M|1, N, n, m)
        residual: Callable[[Tensor, Tensor], Tensor] | None,
        segments: Segments,
        tensors: Sequence[Tensor] = (),
        *,
        unsplit: Callable[[Tensor, Tensor], Tensor] | None = None,
        states: Sequence[str] = (),
        again: "Callable[[Segments, Tensor], SemilinearField] | None" = None,
    ) -> None:
        require_kind(segments, Segments, "SemilinearField: segments", "conditions.segments")
        require_shape(A, "SemilinearField: A", ..., "n", "n", write="backbone.matrices(theta)[0]")
        n, m = A.shape[-1], segments.u0.shape[-1]
        require_shape(B, "SemilinearField: B", ..., n, m, write="backbone.matrices(theta)[1]", like=A)
        if A.shape[-1] != A.shape[-2] or A.shape[-1] != segments.jump.shape[-1]:
            raise ValueError(f"SemilinearField: A has shape {tuple(A.shape)} and the records {segments.jump.shape[-1]} states")
        if residual is not None and not callable(residual):
            raise ValueError(f"SemilinearField: residual is a function of (x, u), or None, and is {quote(residual)}")
        tensors = [tensors] if isinstance(tensors, Tensor) or not isinstance(tensors, Iterable) else list(tensors)
        if not all(isinstance(t, Tensor) for t in tensors):
            raise ValueError(f"SemilinearField: tensors are those that the residual is made from, and are {quote(tensors)}")
        self.A, self.B, self.segments, self.learned = A, B, segments, residual
        self.network = residual if isinstance(residual, Field) else None
        require_callable(unsplit, "SemilinearField: unsplit", "bound.rate", A, A)
        self.unsplit, self.again = unsplit, again
        self.states = require_names(states, "SemilinearField: states", "backbone.states")
        if len(self.states) not in (0, n):
            raise ValueError(f"SemilinearField: states names {len(self.states)}, and A has {n}; write backbone.states, or ()")
        self.tape: BoundTape | None = None
        self.in_buffers = self.network is not None
        if isinstance(unsplit, Whole):
            self.tape, beside = unsplit.tape, next(iter(unsplit.others), None)
            if len(unsplit.others) < 2 and (beside is None or (isinstance(beside, Field) and beside.skip is None)):
                self.in_buffers, self.network = True, beside
        self._infused = segments.rate[None].unbind(2) if unsplit is not None and segments.infused else ()
        self._tensors = tuple(tensors)
        self._flat = A.reshape(-1, n, n) if A.ndim == 4 else None  # (M·N, n, n)
        self._dt = segments.dt[None, :, :, None].unbind(2)  # K × (1, N, 1)
        # with nothing driving it a field saves two operations in every evaluation
        driven = B.shape[-1] > 0 or segments.infused
        self._bends = segments.bends
        self._u0 = segments.u0[None].unbind(2)  # K × (1, N, m)
        self._slope = (segments.u1 - segments.u0)[None].unbind(2)
        self.forced: tuple[Tensor, Tensor] | None = None
        self._f0: tuple[Tensor, ...] = ()  # K × (M|1, N, n), forcing at the beginning and its change
        self._f1: tuple[Tensor, ...] = ()
        if driven:
            first = torch.einsum("...nij,nkj->...nki", B, segments.u0) + segments.rate
            change = torch.einsum("...nij,nkj->...nki", B, segments.u1 - segments.u0)
            self.forced = (first, change)
            self._f0, self._f1 = first.unbind(2), change.unbind(2)

    @property
    def shared(self) -> bool:
        """Is one A behind all members and people, by the way it is stored?"""
        A = self.A
        return 0 in (A.stride(0), A.shape[0] - 1) and 0 in (A.stride(1), A.shape[1] - 1)

    def on(self, segments: Segments) -> "SemilinearField":
        """The same right-hand side on the same records, cut otherwise."""
        require_kind(segments, Segments, "SemilinearField.on: segments", "conditions.segments")
        return SemilinearField(self.A, self.B, self.learned, segments, self._tensors, unsplit=self.unsplit, states=self.states)

    def without(self, failures: Sequence["HasRecord"]) -> "SemilinearField":
        """The same with some records at rest: nothing happens to them, and no gradient comes from them."""
        records = self.segments.dt.shape[0]
        failures = list(failures) if isinstance(failures, Iterable) and not isinstance(failures, str) else [failures]
        for f in failures:
            if not isinstance(getattr(f, "record", None), int) or not 0 <= f.record < records:
                raise ValueError(
                    f"SemilinearField.without: failures name records from 0 to {records - 1}, and one is {quote(f)}; write "
                    "solution.failures"
                )
        away = among(failures, self.segments.dt[:, 0])

        def still(value: Tensor, axis: int) -> Tensor:
            if value.shape[axis] == 1 and len(away) > 1:
                return value
            return torch.where(away.reshape(-1, *[1] * (value.ndim - axis - 1)), torch.zeros_like(value), value)

        s = self.segments
        resting: dict[str, Any] = {name: still(getattr(s, name), 0) for name in ("dt", "jump", "rate", "u0", "u1")}
        quiet = replace(s, **resting)
        learned = self.learned
        if isinstance(learned, Field):
            origin, active = (tuple(still(v, 1) for v in vs) for vs in (learned.origin, learned.active))
            learned = replace(learned, origin=origin, active=active)
        A, B = still(self.A, 1), still(self.B, 1)
        return SemilinearField(A, B, learned, quiet, self._tensors, unsplit=self.unsplit, states=self.states)

    def slowed(
        self,
        factor: Tensor,  # (M|1, N|1)
    ) -> "SemilinearField":
        """The same with A times a factor: a stand-in for those whose result will not be used."""
        require_shape(factor, "SemilinearField.slowed: factor", "M", "N", write="torch.ones(M, N)", like=self.A)
        if not all(a == b or 1 in (a, b) for a, b in zip(factor.shape, self.A.shape, strict=False)):
            raise ValueError(f"SemilinearField.slowed: factor has shape {tuple(factor.shape)} and A {tuple(self.A.shape)}")
        A = self.A * factor[..., None, None]
        return SemilinearField(A, self.B, self.learned, self.segments, self._tensors, states=self.states)

    def named(
        self,
        some: Tensor,  # (n,), yes or no
    ) -> tuple[str, ...]:
        """The names of these states, and none where they are all, or nobody knows the names."""
        n = self.A.shape[-1]
        if not isinstance(some, Tensor) or some.dtype != torch.bool or some.shape != (n,) or some.device != self.A.device:
            raise ValueError(
                f"SemilinearField.named: some says yes or no of {n} states, on {self.A.device}, and is {quote(some)}; write "
                "x[m, i] > 1"
            )
        index = torch.nonzero(some)[:, 0].tolist()
        return tuple(self.states[i] for i in index) if self.states and len(index) < len(some) else ()

    def _locate(self, t: Tensor | float) -> tuple[int, float]:
        require_number(t, "SemilinearField: t, on the segment clock,", least=0.0, most=float(len(self._dt)))
        value = float(t)
        k = min(math.floor(value), len(self._dt) - 1)
        return k, value - k

    def input(self, t: Tensor | float) -> Tensor:  # (1, N, m)
        """u(t)."""
        return self._input(*self._locate(t))

    def forcing(self, t: Tensor | float) -> Tensor:  # (M|1, N, n)
        """B u(t) plus the infusions."""
        k, s = self._locate(t)
        return self.segments.rate[None, :, k] if not self._f0 else self._forcing(k, s)

    def residual(self, t: Tensor | float, x: Tensor) -> Tensor:  # (M, N, n)
        """ε(x, u(t), c)."""
        self._require_state(x)
        return torch.zeros_like(x) if self.learned is None else self.learned(x, self.input(t))

    def __call__(
        self,
        t: Tensor | float,
        x: Tensor,  # (M, N, n)
    ) -> Tensor:  # (M, N, n)
        self._require_state(x)
        return self.within(*self._locate(t), x)

    def _require_state(self, x: Tensor) -> None:
        """Raise `ValueError` unless x is a state of these people under these members."""
        N, n = self.segments.dt.shape[0], self.A.shape[-1]
        require_shape(x, "SemilinearField: x", "M", N, n, write="torch.zeros(M, N, n)", like=self.A)
        if x.dtype != self.A.dtype or (self.A.ndim == 4 and 1 not in (len(x), len(self.A)) and len(x) != len(self.A)):
            raise ValueError(
                f"SemilinearField: x is {x.dtype} of {len(x)} members, and A {self.A.dtype} of {len(self.A)}; give both alike"
            )

    def _require_place(self, k: int, s: float | Tensor = 0.0) -> None:
        """Raise `ValueError` unless k is a segment and s a place in one."""
        count = len(self._dt)
        require_number(k, "SemilinearField: k, a segment,", least=-float(count), most=count - 1.0, whole=True)
        if not isinstance(s, Tensor) or s.ndim == 0:
            require_number(s, "SemilinearField: s, a share of the segment,", least=0.0, most=1.0)

    def driving(self, k: int) -> tuple[Tensor | None, ...]:
        """u at the beginning of segment k and its change along it, and the same of the forcing (None where nothing drives)."""
        self._require_place(k)
        forced = (self._f0[k], self._f1[k]) if self._f0 else (None, None)
        return self._u0[k], self._slope[k], *forced

    def within(
        self,
        k: int,
        s: float | Tensor,
        x: Tensor,  # (M, N, n)
    ) -> Tensor:  # (M, N, n)
        """dx/ds in segment k at its own clock s ∈ [0, 1]: at s = 1 still this segment's inputs, not the next one's."""
        try:
            return self._dt[k] * self._rate(k, s, x)
        except (TypeError, AttributeError, RuntimeError, IndexError):  # this runs in every stage of every step: only now look
            self._require_place(k, s)
            self._require_state(x)
            raise

    def rate(
        self,
        k: int,
        s: float | Tensor,
        x: Tensor,  # (M, N, n)
    ) -> Tensor:  # (M, N, n)
        """dx/dt in segment k at its own clock s."""
        try:
            return self._rate(k, s, x)
        except (TypeError, AttributeError, RuntimeError, IndexError):  # this runs in every stage of every step: only now look
            self._require_place(k, s)
            self._require_state(x)
            raise

    def _rate(self, k: int, s: float | Tensor, x: Tensor) -> Tensor:
        if self.unsplit is None:
            return self._linear(x) + self._nonlinear(k, s, x)
        rate = self.unsplit(x, self._input(k, s))
        return rate + self._infused[k] if self._infused else rate

    def linear(
        self,
        x: Tensor,  # (M, N, n)
    ) -> Tensor:  # (M, N, n)
        """A x."""
        try:
            return self._linear(x)
        except (TypeError, AttributeError, RuntimeError, IndexError):
            self._require_state(x)
            raise

    def _linear(self, x: Tensor) -> Tensor:
        A = self._linear_in(x)
        if A.ndim == 3:
            # the same product with a third of the calls that a broadcasting matmul makes: there is one per stage
            return torch.bmm(A, x.reshape(-1, x.shape[-1], 1)).view_as(x)
        return (A @ x[..., None])[..., 0]

    def nonlinear(
        self,
        k: int,
        s: float | Tensor,
        x: Tensor,  # (M, N, n)
    ) -> Tensor:  # (M, N, n)
        """What is left of dx/dt: the residual and the forcing."""
        try:
            return self._nonlinear(k, s, x)
        except (TypeError, AttributeError, RuntimeError, IndexError):
            self._require_place(k, s)
            self._require_state(x)
            raise

    def _nonlinear(self, k: int, s: float | Tensor, x: Tensor) -> Tensor:
        if self.learned is None:
            return self._forcing(k, s).expand_as(x) if self._f0 else torch.zeros_like(x)
        if self.unsplit is not None:
            return self.rate(k, s, x) - self._linear(x)
        rate = self.learned(x, self._input(k, s))
        return rate + self._forcing(k, s) if self._f0 else rate

    def nonlinear_at(
        self,
        index: Tensor,  # (N,) each record's segment
        s: Tensor,  # (N,) and where in it
        x: Tensor,  # (M, N, n)
    ) -> Tensor:  # (M, N, n)
        """The same where every record is somewhere else."""
        self._require_state(x)
        N = self.segments.dt.shape[0]
        require_shape(index, "SemilinearField: index, everyone's segment,", N, write="torch.zeros(N)", whole=True, like=self.A)
        require_shape(s, "SemilinearField: s, everyone's share of it,", N, write="torch.zeros(N)", like=self.A)
        if s.dtype != x.dtype:
            raise ValueError(f"SemilinearField: s is {s.dtype} and x {x.dtype}; write s.to(x)")
        return nonlinear_in(self, index)(s, x)

    def depends_on(
        self,
        k: int,
        x: Tensor,  # (M, N, n)
    ) -> list[Tensor]:
        """The tensors that `within(k, …, x)` is differentiable in, beside the state, none of them made from another."""
        self._require_place(k)
        self._require_state(x)
        found = [self._linear_in(x), self._dt[k], self._u0[k], self._slope[k]]
        found += [v[k] for v in (self._f0, self._f1) if v]
        return [*found, *self._tensors]

    @property
    def made_from(self) -> list[Tensor]:
        """Every tensor behind the right-hand side."""
        given = [getattr(self.segments, f.name) for f in fields(self.segments)]
        return [self.A, self.B, *(v for v in given if isinstance(v, Tensor)), *self._tensors]

    def _linear_in(self, x: Tensor) -> Tensor:
        """A as `linear` reads it for such a state."""
        return self._flat if self._flat is not None and x.shape[:2] == self.A.shape[:2] else self.A

    def _input(self, k: int, s: float | Tensor) -> Tensor:
        return self._u0[k] + s * self._slope[k] if self._bends else self._u0[k]

    def _forcing(self, k: int, s: float | Tensor) -> Tensor:
        return self._f0[k] + s * self._f1[k] if self._bends else self._f0[k]


def nonlinear_in(
    field: SemilinearField,
    index: Tensor,  # (N,) each record's segment
) -> Callable[[Tensor, Tensor], Tensor]:
    """`field.nonlinear_at(index, s, x)` as a function of s (N,) and x (M, N, n) alone, for all stages of a step.

    What drives everyone's segment is looked up once; s and x are taken as they are.
    """
    everyone, learned, forced = torch.arange(len(index), device=index.device), field.learned, field.forced
    u0, u1 = field.segments.u0[everyone, index], field.segments.u1[everyone, index]
    first, change = (None, None) if forced is None else (v[:, everyone, index] for v in forced)

    if field.unsplit is not None:
        whole = rate_in(field, index)
        return lambda s, x: whole(s, x) - field.linear(x)

    def rate(s: Tensor, x: Tensor) -> Tensor:  # (M, N, n)
        found = torch.zeros_like(x) if learned is None else learned(x, torch.lerp(u0, u1, s[:, None])[None])
        return found if first is None or change is None else found + first + s[:, None] * change

    return rate


def rate_in(
    field: SemilinearField,
    index: Tensor,  # (N,) each record's segment
) -> Callable[[Tensor, Tensor], Tensor]:
    """The same of all of dx/dt."""
    if field.unsplit is None:
        nonlinear = nonlinear_in(field, index)
        return lambda s, x: field.linear(x) + nonlinear(s, x)
    everyone, unsplit, given = torch.arange(len(index), device=index.device), field.unsplit, field.segments
    u0, u1 = given.u0[everyone, index], given.u1[everyone, index]
    infused = given.rate[everyone, index] if given.infused else None

    def rate(s: Tensor, x: Tensor) -> Tensor:  # (M, N, n)
        found = unsplit(x, torch.lerp(u0, u1, s[:, None])[None])
        return found if infused is None else found + infused

    return rate
