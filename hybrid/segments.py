"""The segment clock: a whole cohort with different times and doses on one shared grid.

Segment k of record i runs from t[i, k] to t[i, k+1]; in its own clock s ∈ [0, 1] the equation is
dx/ds = Δt[i, k] f(x). Doses are jumps between segments, and padding is a segment of length zero.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid.columns import column
from hybrid.derivative import array_of, constant, varies
from hybrid.dose import Dose, Number, as_float, as_time
from hybrid.mesh import Mesh
from hybrid.schedule import Schedule
from physics.arguments import quote, require_kind, require_names, require_number, require_people, require_shape


@dataclass(frozen=True)
class Segments:
    """N records cut into K segments each, as tensors.

    `dt` (N, K) segment lengths · `start` (N, K) their beginning · `jump` (N, K, n) amounts that arrive just before the
    segment · `rate` (N, K, n) infusion rates in it · `u0`, `u1` (N, K, m) inputs at its two ends (linear between) ·
    `segment` (N, T) the segment in which each observation is read, and `fraction` (N, T) of it that has passed by then,
    always before any dose of the same time: 1 is the segment's end, and 0 is the record's start alone.
    `meshed`: whether a mesh with a step cut the stretches between events, so that one step a segment can be accurate.
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
        """Are the segments of all records equally long, and constants?"""
        return not varies(self.dt) and bool((self.dt == self.dt[:1]).all())

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

    def people(self, index: Tensor) -> "Segments":
        """The same for the chosen records, with repeats."""
        require_people(index, self.dt.shape[0], "Segments.people: index")
        return replace(self, **{name: getattr(self, name)[index] for name in _TENSORS})

    def to(self, like: Tensor) -> "Segments":
        """The same in the dtype and on the device of `like`."""
        require_shape(like, "Segments.to: like", ..., write="cohort.y, or another tensor of the type and device wanted")
        moved: dict[str, Any] = {name: getattr(self, name).to(like) for name in _TENSORS if name != "segment"}
        return replace(self, **moved, segment=self.segment.to(like.device))

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
        return replace(self, **wide)

    def refine(
        self,
        segment: Tensor,  # (N, L) which segment each part is of, ascending
        begin: Tensor,  # (N, L) the fraction of it at which the part begins
        end: Tensor,  # (N, L) and ends
    ) -> "Segments":
        """The same records with segments cut into parts; parts with begin = end are padding.

        Law: cutting changes no solution; gradients with respect to lengths, jumps, rates and inputs are kept.
        """
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
        passed = ((self.fraction - low) / (high - low).clamp(min=torch.finfo(dt.dtype).tiny)).clamp(0.0, 1.0)
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
            fraction=torch.where(whole & (self.fraction.detach() == 1), torch.ones_like(passed), passed),
        )


_TENSORS = tuple(f.name for f in fields(Segments) if f.name != "meshed")


def build_segments(
    schedules: Sequence[Schedule],
    times: Sequence[Sequence[float]],  # N × (T_i,)
    states: Sequence[str],
    inputs: Sequence[str] = (),
    mesh: Mesh | None = None,
) -> Segments:
    """Cut every record at its doses, infusion ends, input points and (by the mesh) observations and steps; pad to one K, T.

    Errors: `ValueError`, naming the record, for unknown compartments, missing inputs, unsorted or early times.
    Law: `dt`, and so every solution, is differentiable in the times, lags, durations and amounts of doses that are tensors.
    """
    schedules, times = require_rows(schedules, times, "build_segments")
    states = require_names(states, "build_segments: states", "backbone.states")
    inputs = require_names(inputs, "build_segments: inputs", "backbone.inputs")
    if mesh is not None:
        require_kind(mesh, Mesh, "build_segments: mesh", "Mesh(0.1), or none to cut nothing between events")
    mesh = mesh or Mesh()
    rows: list[dict[str, Tensor]] = []
    known: dict[tuple[int, tuple[float, ...]], int] = {}  # people who share a schedule and times are cut once
    for i, (schedule, when) in enumerate(zip(schedules, times, strict=True)):
        key = (id(schedule), tuple(when))
        if key in known:
            rows.append(rows[known[key]])
            continue
        known[key] = i
        try:
            rows.append(_cut(schedule, when, tuple(states), tuple(inputs), mesh))
        except ValueError as error:
            raise ValueError(f"record {i}: {error}" if len(schedules) > 1 else str(error)) from error
    lengths = {"segment": max(r["segment"].shape[0] for r in rows), "fraction": max(r["segment"].shape[0] for r in rows)}
    K = max(r["dt"].shape[0] for r in rows)

    def pad(name: str) -> Tensor:
        length = lengths.get(name, K)
        # padding sits at the record's end; there it lasts no time and asks for what the last observation asks
        last = {"start": "start", "segment": "segment", "fraction": "fraction", "u0": "u1", "u1": "u1"}.get(name)
        parts = []
        for row in rows:
            value = row[name]
            missing = length - value.shape[0]
            if missing and last:
                value = torch.cat([value, row[last][-1:].expand(missing, *value.shape[1:])])
            elif missing:
                value = torch.cat([value, value.new_zeros(missing, *value.shape[1:])])
            parts.append(value)
        return torch.stack(parts)

    return Segments(**{name: pad(name) for name in _TENSORS}, meshed=mesh.step is not None)


def require_rows(schedules: Any, times: Any, name: str) -> tuple[list[Schedule], list[list[float]]]:
    """One schedule and one list of times for each person.

    Errors: `ValueError`, beginning with `name`, for what is not that.
    """
    if isinstance(schedules, Schedule | str | Mapping) or not isinstance(schedules, Iterable):
        raise ValueError(
            f"{name}: schedules is a list, one for each person, and is {quote(schedules)}; write [schedule] even for one"
        )
    schedules = list(schedules)
    for schedule in schedules:
        require_kind(schedule, Schedule, f"{name}: each schedule", 'Schedule((Dose("gut", 0.0, 320.0),))')
    rows = [] if isinstance(times, str | bytes | Mapping | set) or not isinstance(times, Collection) else list(times)
    if len(rows) != len(schedules) or not rows:
        raise ValueError(
            f"{name}: {len(schedules)} schedules need as many lists of times, at least one; got {len(rows)} in {quote(times)}"
        )
    for row in rows:
        if isinstance(row, str | Mapping | set) or not isinstance(row, Iterable) or getattr(row, "ndim", 1) == 0:
            raise ValueError(
                f"{name}: each person has a list of times, even of one, and got {quote(row)}; write [[1.0, 6.0], [2.0]]"
            )
    return schedules, [column(row if hasattr(row, "ndim") else list(row), f"{name}: times").tolist() for row in rows]


@dataclass
class _Knots:
    """Times at which a record must be cut.

    A plain time has one knot, shared by all equal ones. A time that carries a gradient has a knot of its own behind it,
    at first a segment of length zero away: when a dose moves, the observation at the same time must not.
    """

    at: dict[tuple[float, int], Number]

    def add(self, time: Number) -> tuple[float, int]:
        key = (as_float(time), len(self.at) + 1 if isinstance(time, Tensor) else 0)
        self.at[key] = time
        return key


def _cut(
    schedule: Schedule, times: Sequence[float], states: tuple[str, ...], inputs: tuple[str, ...], mesh: Mesh
) -> dict[str, Tensor]:
    when = _require(schedule, times, states, inputs)
    end = float(when[-1])
    knots = _Knots({})
    for t in (schedule.start, *(when.tolist() if mesh.observed else (end,))):
        knots.add(t)
    given = [d for d in schedule.doses if as_float(d.arrival) < end]  # after the last observation nothing is read
    begins = [knots.add(d.arrival) for d in given]
    ends = [key if d.bolus else knots.add(d.arrival + d.duration) for d, key in zip(given, begins, strict=True)]
    bends = [t for signal in schedule.inputs.values() for t in signal.times if schedule.start < t < end]
    for t in bends:
        knots.add(t)
    order = sorted(key for key in knots.at if key[0] <= end)
    # every step or bend of an input starts the fast rates anew, as a dose does
    jumps_at = np.array(sorted({schedule.start, *(key[0] for key in (*begins, *ends)), *bends}))

    # every edge is the fraction f of the way from the knot `left` to the next
    left, f, at = [0], [0.0], {order[0]: 0}
    for j, (a, b) in enumerate(itertools.pairwise(order)):
        since = jumps_at[np.searchsorted(jumps_at, a[0], side="right") - 1]
        inner = mesh.cuts(a[0] - since, b[0] - since)
        left += [j] * (len(inner) + 1)
        f += [*inner, 1.0]
        at[b] = len(left) - 1
    if len(left) == 1:
        left, f = [0, 0], [0.0, 0.0]  # a record that is read at its start alone still has one segment, of length zero
    values = [knots.at[key] for key in order]
    moving = any(isinstance(v, Tensor) for v in values)
    knot = torch.stack([as_time(v) for v in values]) if moving else torch.tensor(values, dtype=torch.float64)
    here, share = torch.tensor(left), torch.tensor(f, dtype=torch.float64)
    there = (here + 1).clamp(max=len(values) - 1)
    # a whole stretch ends at its knot exactly
    grid = torch.where(share == 1.0, knot[there], knot[here] + share * (knot[there] - knot[here]))  # (K+1,)

    dt = grid[1:] - grid[:-1]
    edges = array_of(grid)
    jump, rate = _doses(given, begins, ends, at, len(dt), states)
    u0, u1 = _inputs(schedule, inputs, edges)
    if moving:
        # where an edge moves with a dose, the input there moves along its slope; in no time it does nothing
        length = dt.detach()[:, None]
        slope = torch.where(length > 0, (u1 - u0) / length.clamp(min=1e-300), torch.zeros_like(u0))
        moved = (grid - grid.detach())[:, None]  # zero, with a gradient
        u0, u1 = u0 + slope * moved[:-1], u1 + slope * moved[1:]

    if mesh.observed:
        boundary = np.array([at[(t, 0)] for t in when.tolist()])
        segment = torch.from_numpy(np.maximum(boundary - 1, 0))
        fraction = torch.from_numpy((boundary > 0).astype(np.float64))
    else:
        # before any dose of the same time: the first edge that is not earlier ends the segment
        segment = torch.from_numpy(np.maximum(np.searchsorted(edges, when, side="left") - 1, 0))
        fraction = (torch.from_numpy(when) - grid[segment]) / dt[segment].clamp(min=1e-300)
    return {
        "dt": dt,
        "start": grid[:-1],
        "jump": jump,
        "rate": rate,
        "u0": u0,
        "u1": u1,
        "segment": segment,
        "fraction": fraction,
    }


def _require(
    schedule: Schedule, times: Sequence[float], states: tuple[str, ...], inputs: tuple[str, ...]
) -> np.ndarray:
    """The observation times (T,), or a `ValueError` that says what cannot be."""
    unknown = {d.state for d in schedule.doses} - set(states)
    if unknown:
        raise ValueError(f"a dose goes into {quote(sorted(unknown))}; the compartments are {list(states)}")
    if schedule.inputs.keys() != set(inputs):
        raise ValueError(
            f"the schedule sets the inputs {quote(sorted(schedule.inputs))} and the model has {list(inputs)}; give one Signal "
            "for each of the model's and no other"
        )
    when = np.asarray(times, dtype=np.float64)
    if when.size == 0 or not np.isfinite(when).all() or (np.diff(when) < 0).any():
        wrong = np.flatnonzero(~np.isfinite(when)) if when.size else when
        if not wrong.size and when.size:
            wrong = np.flatnonzero(np.diff(when) < 0) + 1
        where = f"{when[wrong[0]]:g} at position {wrong[0]} of {len(when)}" if wrong.size else "none"
        raise ValueError(f"observation times must be sorted, finite and at least one; got {where}; sort them")
    if when[0] < schedule.start:
        raise ValueError(f"the first observation is at {when[0]:g}, before the record starts at {schedule.start:g}")
    return when


def _doses(
    given: Sequence[Dose],
    begins: Sequence[tuple[float, int]],
    ends: Sequence[tuple[float, int]],
    at: dict[tuple[float, int], int],
    K: int,
    states: tuple[str, ...],
) -> tuple[Tensor, Tensor]:  # (K, n), (K, n)
    """What arrives just before each segment, and the rates of infusions in it."""
    jump = torch.zeros(K, len(states), dtype=torch.float64)
    rate = torch.zeros(K, len(states), dtype=torch.float64)
    for dose, begin, finish in zip(given, begins, ends, strict=True):
        if not isinstance(dose.amount, Tensor) and not isinstance(dose.duration, Tensor):
            # nothing to differentiate: in place, since a table of its own for every dose is too much for thousands of them
            to = states.index(dose.state)
            if dose.bolus:
                jump[at[begin], to] += dose.amount
            else:
                rate[at[begin] : at.get(finish, K), to] += dose.amount / dose.duration
            continue
        where = torch.zeros(K, len(states), dtype=torch.float64)
        if dose.bolus:
            where[at[begin], states.index(dose.state)] = 1.0
            jump = jump + where * as_time(dose.amount)
        else:
            where[at[begin] : at.get(finish, K), states.index(dose.state)] = 1.0
            rate = rate + where * (as_time(dose.amount) / as_time(dose.duration))
    return jump, rate


def _inputs(schedule: Schedule, inputs: tuple[str, ...], edges: np.ndarray) -> tuple[Tensor, Tensor]:  # (K, m) each
    """The inputs at the two ends of every segment."""
    right = [schedule.inputs[name].sample(edges[:-1], "right") for name in inputs]
    left = [schedule.inputs[name].sample(edges[1:], "left") for name in inputs]
    shape = (len(inputs), len(edges) - 1)
    return (
        torch.from_numpy(np.array(right, dtype=np.float64).reshape(shape).T.copy()),
        torch.from_numpy(np.array(left, dtype=np.float64).reshape(shape).T.copy()),
    )
