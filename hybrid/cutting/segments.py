"""The segment clock: a whole cohort with different times and doses on one shared grid.

Segment k of record i runs from t[i, k] to t[i, k+1]; in its own clock s ∈ [0, 1] the equation is
dx/ds = Δt[i, k] f(x). Doses are jumps between segments, and padding is a segment of length zero.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from hybrid.cutting.pieces import Pieces
from hybrid.cutting.restarts import Restarts
from hybrid.derivative import constant, varies
from physics.arguments import positions, require_number, require_people, require_shape, require_text
from physics.glance import glance


class Said(Protocol):
    """What was said of N people's doses, where θ says how they arrive: `hybrid.cutting.delivered.Doses`."""

    def people(self, index: Tensor) -> "Said":
        """Of the chosen records."""

    def to(self, like: Tensor) -> "Said":
        """In the dtype and on the device of `like`."""

    def padded(self, T: int) -> "Said":
        """Read at T times."""


@dataclass(frozen=True)
class Segments:
    """N records cut into K segments each, as tensors.

    `dt` (N, K) segment lengths · `start` (N, K) their beginning · `jump` (N, K, n) amounts that arrive just before the
    segment · `rate` (N, K, n) infusion rates in it · `u0`, `u1` (N, K, m) inputs at its two ends (linear between) ·
    `segment` (N, T) the segment in which each observation is read, and `fraction` (N, T) of it that has passed by then,
    always before any dose of the same time: 1 is the segment's end, and 0 is the record's start alone.
    `meshed`: whether a mesh with a step cut the stretches between events, so that one step a segment can be accurate.
    `doses`: what was given, where θ says how it arrives, for `delivered` to cut these records for a θ; `delivered`: whether that
    has been done.
    `apart`: whether nobody's numbers may depend on who stands beside them, to the bit: then no solver takes the shorter way that
    it has where everyone's segments happen to be equally long.
    """

    dt: Tensor
    start: Tensor
    jump: Tensor
    rate: Tensor
    u0: Tensor
    u1: Tensor
    segment: Tensor
    fraction: Tensor
    meshed: bool = False
    apart: bool = False
    restarts: Restarts | None = None
    doses: Said | None = None
    delivered: bool = False

    __repr__, _repr_html_ = glance()

    @cached_property
    def pieces(self) -> Pieces:
        """What lies between the restarts of records that have some."""
        return Pieces.of(self)

    @cached_property
    def in_pieces(self) -> "Segments":
        """A row for each of `pieces`."""
        made: dict[str, Any] = self.pieces.rows
        return replace(self, **made, restarts=None)

    @cached_property
    def longest(self) -> Tensor:  # (N,)
        """Every record's longest segment."""
        with constant(self.dt):
            return self.dt.detach().amax(1)

    @cached_property
    def jumps(self) -> list[bool]:
        """For each segment: does anyone's state jump at its beginning?"""
        if varies(self.jump):
            return [True] * self.dt.shape[1]
        flags: list[bool] = (self.jump != 0).any(-1).any(0).tolist()
        return flags

    @cached_property
    def cut(self) -> bool:
        """Is every observation at a boundary?"""
        return not varies(self.fraction) and bool(((self.fraction == 0) | (self.fraction == 1)).all())

    # What a solver must know of the values before it can run is asked once: on a GPU every question waits for the device,
    # and none may be asked while a graph is captured.

    @cached_property
    def one_length(self) -> bool:
        """Are the segments of all records equally long, and constants? Nobody asks for people who stand apart."""
        return not self.apart and not varies(self.dt) and bool((self.dt == self.dt[:1]).all())

    @cached_property
    def alike(self) -> bool:
        """Are all records read at the same places of segments of the same lengths?"""
        if varies(self.fraction) or not self.one_length:
            return False
        return all(bool((v == v[:1]).all()) for v in (self.segment, self.fraction))

    @cached_property
    def infused(self) -> bool:
        """Is anyone given an infusion?"""
        return varies(self.rate) or bool((self.rate != 0).any())

    @cached_property
    def bends(self) -> bool:
        """Does any input change within a segment?"""
        return varies(self.u0) or varies(self.u1) or not torch.equal(self.u0, self.u1)

    @cached_property
    def smooth(self) -> list[bool]:
        """For each segment: does the right-hand side go on from the one before without a jump, for everyone?"""
        if varies(self.rate) or varies(self.u0):
            return [False] * self.dt.shape[1]
        same = (self.rate[:, 1:] == self.rate[:, :-1]).all(-1) & (self.u0[:, 1:] == self.u1[:, :-1]).all(-1)
        flags: list[bool] = same.all(0).tolist()
        return [False, *(a and not b for a, b in zip(flags, self.jumps[1:], strict=True))]

    @cached_property
    def lengths(self) -> tuple[Tensor, Tensor]:
        """The different segment lengths (U,), and which of them each segment has (N, K)."""
        with constant(self.dt):
            different, index = torch.unique(self.dt.detach(), return_inverse=True)
        return different, index

    @cached_property
    def which(self) -> list[int]:
        """The first record's `lengths`, one for each segment."""
        found: list[int] = self.lengths[1][0].tolist()
        return found

    @cached_property
    def own_lengths(self) -> tuple[Tensor, Tensor | None]:
        """Every record's different segment lengths (N, K'), and which of them each of its segments has (N, K).

        (dt, None) where hardly any are equal. In float64 lengths are equal that differ by the rounding of the times alone.
        """
        with constant(self.dt, self.start):
            dt = self.dt.detach()
            N, K = dt.shape
            if K < 2:
                return dt, None
            ordered, order = dt.sort(1)
            # the rounding of float32 adds up to more than its lengths are told apart by
            least = 4.0 * torch.finfo(dt.dtype).eps if dt.dtype == torch.float64 else 0.0
            rounding = least * (self.start.detach().abs() + dt).amax(1, keepdim=True)
            rank = torch.nn.functional.pad((ordered.diff(dim=1) > rounding).long(), (1, 0)).cumsum(1)
            count = int(rank.max()) + 1
            if 4 * count > 3 * K:
                return dt, None
            different = dt.new_zeros(N, count).scatter_reduce(1, rank, ordered, "amax")
            return different, torch.empty_like(rank).scatter(1, order, rank)

    @cached_property
    def spans(self) -> tuple[Tensor, Tensor]:
        """The different pairs (2, U) of time since a segment's beginning and share of the segment at which anything is
        read, and which of them each observation has (N, T).
        """
        with constant(self.dt, self.fraction, self.segment):
            span = self.dt.detach().gather(1, self.segment) * self.fraction.detach()
            pairs = torch.stack([span.reshape(-1), self.fraction.detach().reshape(-1)], -1)
            different, index = torch.unique(pairs, dim=0, return_inverse=True)
            return different.T, index.reshape(self.segment.shape)

    @cached_property
    def slots(self) -> tuple[Tensor, int]:
        """How many observations of the first record come before each in its segment (T,), and the most that one has."""
        with constant(self.segment):
            segment = self.segment[0]
            order = torch.arange(len(segment), device=segment.device)
            slot = order - torch.searchsorted(segment.contiguous(), segment.contiguous())
            return slot, int(slot.max()) + 1

    @property
    def boundary(self) -> Tensor:  # (N, T)
        """The boundary, 0…K, at which each observation is read, where the records are cut at them."""
        return self.segment + (self.fraction > 0).long()

    @cached_property
    def without_mesh(self) -> "Segments | None":
        """The same without the cuts of a mesh, where a solver that needs none has put it (`hybrid.solve.unmesh.whole`)."""
        return None

    def people(self, index: Tensor) -> "Segments":
        """The same for the chosen records, with repeats."""
        require_people(index, self.dt.shape[0], "Segments.people: index")
        doses = None if self.doses is None else self.doses.people(index)
        restarts = None if self.restarts is None else self.restarts.people(positions(index, self.dt.shape[0]))
        chosen: dict[str, Any] = {name: getattr(self, name)[index] for name in _TENSORS}
        found = replace(self, **chosen, doses=doses, restarts=restarts)
        if self.without_mesh is not None:
            found.__dict__["without_mesh"] = self.without_mesh.people(index)
        return found

    def to(self, like: Tensor) -> "Segments":
        """The same in the dtype and on the device of `like`."""
        require_shape(like, "Segments.to: like", ..., write="cohort.y, or another tensor of the type and device wanted")
        moved: dict[str, Any] = {name: getattr(self, name).to(like) for name in _TENSORS if name != "segment"}
        doses = None if self.doses is None else self.doses.to(like)
        restarts = None if self.restarts is None else self.restarts.to(like)
        return replace(self, **moved, segment=self.segment.to(like.device), doses=doses, restarts=restarts)

    def require_unbroken(self, name: str, cure: str) -> None:
        """Raise `ValueError`, beginning with `name`, where anybody's record begins anew or turns to another θ on the way."""
        require_text(name, "require_unbroken: name, who refuses,", '"windows"')
        require_text(cure, "require_unbroken: cure, what to write,", '"take it out"')
        if self.restarts is not None:
            raise ValueError(
                f"{name}: a record has a reset or a steady state (Schedule.resets, Schedule.steady), at which what was before is "
                "forgotten, or a covariate or an occasion that changes on the way, and here people are followed in one piece; "
                f"{cure}"
            )

    def read(
        self,
        states: Tensor,  # (M, N, K+1, n) at the boundaries
    ) -> Tensor:  # (M, N, T, n)
        """The states at the observations of records that are cut at them.

        Errors: `ValueError` for observations inside a segment, which need a solver that interpolates.
        """
        if not self.cut:
            raise ValueError(
                "the observations lie inside the segments, and this solver gives states at their ends alone; cut the "
                "records at their observations, Mesh(..., observed=True), or use RungeKutta or Exponential"
            )
        N, K = self.dt.shape
        require_shape(states, "Segments.read: states", "M", N, K + 1, "n", write="the states at all boundaries", like=self.dt)
        index = self.boundary[None, :, :, None].expand(states.shape[0], -1, -1, states.shape[-1])
        return states.gather(2, index)

    def read_inputs(self) -> Tensor:  # (1, N, T, m)
        """The inputs at the observations; at a step of an input, the value from there on, as far as the record goes."""
        index = self.segment[..., None].expand(-1, -1, self.u0.shape[-1])
        within = self.u0.gather(1, index) + self.fraction[..., None] * (self.u1 - self.u0).gather(1, index)
        following = (index + 1).clamp(max=self.dt.shape[1] - 1)
        after = torch.where(following > index, self.u0.gather(1, following), self.u1.gather(1, index))
        return torch.where((self.fraction == 1)[..., None], after, within)[None]

    def read_rates(self) -> Tensor:  # (1, N, T, n)
        """The infusions at the observations; where one begins or ends, the rate from there on, as far as the record goes."""
        following = self.segment + (self.fraction == 1).long()
        index = following.clamp(max=self.dt.shape[1] - 1)[..., None].expand(-1, -1, self.rate.shape[-1])
        return self.rate.gather(1, index)[None]

    def padded(self, K: int, T: int) -> "Segments":
        """The same with K segments and T observations: those that are added last no time, and repeat the last reading.

        Errors: `ValueError` where there are more already.
        """
        for what, size in (("K", K), ("T", T)):
            require_number(size, f"padded: {what}, how many,", least=1.0, most=1e9, whole=True)
        K, T = int(K), int(T)
        have = (self.dt.shape[1], self.segment.shape[1])
        if have[0] > K or have[1] > T:
            raise ValueError(f"padded: there are (K, T) = {have} already, more than {(K, T)}")

        def widen(value: Tensor, length: int, last: Tensor | None) -> Tensor:
            more = length - value.shape[1]
            fill = value[:, :1] * 0 if last is None else last[:, -1:]
            return torch.cat([value, fill.expand(-1, more, *value.shape[2:])], 1)

        ends = {"start": self.start, "u0": self.u1, "u1": self.u1, "segment": self.segment, "fraction": self.fraction}
        sizes = {"segment": T, "fraction": T}
        wide: dict[str, Any] = {name: widen(getattr(self, name), sizes.get(name, K), ends.get(name)) for name in _TENSORS}
        return replace(self, **wide, doses=None if self.doses is None else self.doses.padded(T))

    def refine(
        self,
        segment: Tensor,  # (N, L) which segment each part is of, ascending
        begin: Tensor,  # (N, L) the fraction of it at which the part begins
        end: Tensor,  # (N, L) and ends
    ) -> "Segments":
        """The same records with segments cut into parts; parts with begin = end are padding.

        Law: cutting changes no solution; gradients with respect to lengths, jumps, rates and inputs are kept.
        """
        self.require_unbroken("Segments.refine", "solve by a Problem, rollout or simulate, which take such records apart")
        N = self.dt.shape[0]
        require_shape(segment, "Segments.refine: segment", N, "L", write="whole numbers", whole=True, like=self.dt)
        if segment.device.type == "cpu" and not bool(((segment >= 0) & (segment < self.dt.shape[1])).all()):
            raise ValueError(f"Segments.refine: segment is a place among {self.dt.shape[1]} segments, from 0 on, and one is not")
        for what, share in (("begin", begin), ("end", end)):
            require_shape(share, f"Segments.refine: {what}", N, segment.shape[1], write="a share of each segment", like=self.dt)
        wide = segment[..., None]
        dt = self.dt.gather(1, segment)
        u0, change = (v.gather(1, wide.expand(-1, -1, v.shape[-1])) for v in (self.u0, self.u1 - self.u0))
        there = wide.expand(-1, -1, self.jump.shape[-1])
        first = (begin == 0) & ((end > 0) | (segment == 0))
        # ascending: how far along the segments a part ends
        reached = segment + end.to(torch.float64)
        asked = self.segment + self.fraction.detach().to(torch.float64)
        part = torch.searchsorted(reached.contiguous(), asked.contiguous()).clamp(max=segment.shape[1] - 1)
        low, high = begin.gather(1, part), end.gather(1, part)
        # rounding of segment + end loses digits of the end: what is at a part's end is so exactly
        passed = (self.fraction - low) / (high - low).clamp(min=torch.finfo(dt.dtype).tiny)
        passed = passed + (passed.clamp(0.0, 1.0) - passed).detach()  # a rounding beyond an end has its gradient all the same
        whole = (asked == reached.gather(1, part)) & (asked > 0)
        return replace(
            self,
            dt=dt * (end - begin),
            start=self.start.gather(1, segment) + begin * dt,
            jump=self.jump.gather(1, there) * first[..., None],
            rate=self.rate.gather(1, there),
            u0=u0 + begin[..., None] * change,
            u1=u0 + end[..., None] * change,
            segment=part,
            fraction=torch.where(whole & (self.fraction.detach() == 1), passed + (1.0 - passed).detach(), passed),
        )


_KEPT = ("meshed", "apart", "doses", "delivered", "restarts")
_TENSORS = tuple(f.name for f in fields(Segments) if f.name not in _KEPT)
