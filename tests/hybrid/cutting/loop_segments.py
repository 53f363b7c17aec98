"""The plain loop over people that `build_segments` is held against: one record after the other, one knot after the other."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hybrid import Dose, Mesh, Schedule, Segments, Signal
from hybrid.derivative import array_of
from hybrid.schedules.dose import Number, as_float, as_time

TENSORS = ("dt", "start", "jump", "rate", "u0", "u1", "segment", "fraction")


def loop_segments(
    schedules: Sequence[Schedule],
    times: Sequence[Sequence[float]],  # N × (T_i,)
    states: Sequence[str],
    inputs: Sequence[str] = (),
    mesh: Mesh | None = None,
) -> Segments:
    """As `build_segments`."""
    mesh = mesh or Mesh()
    rows: list[dict[str, Tensor]] = []
    for schedule, when in zip(schedules, times, strict=True):
        rows.append(_cut(schedule, np.asarray(when, dtype=np.float64), tuple(states), tuple(inputs), mesh))
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

    return Segments(**{name: pad(name) for name in TENSORS}, meshed=mesh.step is not None)


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
    schedule: Schedule, when: np.ndarray, states: tuple[str, ...], inputs: tuple[str, ...], mesh: Mesh
) -> dict[str, Tensor]:
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
        inner = cuts(mesh, a[0] - since, b[0] - since)
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
    right = [sample(schedule.inputs[name], edges[:-1], "right") for name in inputs]
    left = [sample(schedule.inputs[name], edges[1:], "left") for name in inputs]
    shape = (len(inputs), len(edges) - 1)
    return (
        torch.from_numpy(np.array(right, dtype=np.float64).reshape(shape).T.copy()),
        torch.from_numpy(np.array(left, dtype=np.float64).reshape(shape).T.copy()),
    )


def cuts(mesh: Mesh, begin: float, end: float) -> list[float]:
    """Fractions of (begin, end), both measured from the last jump, at which to cut: equal parts of ∫ dτ/h."""
    if mesh.step is None or end <= begin:
        return []
    step, growth = mesh.step, mesh.growth
    first = step if mesh.first is None else mesh.first
    graded = (step - first) / growth  # h reaches `step` here

    def steps(tau: float) -> float:
        inner = min(tau, graded)
        return math.log1p(growth * inner / first) / growth + max(tau - graded, 0.0) / step

    def inverse(count: float) -> float:
        whole = steps(graded)
        if count <= whole:
            return first * math.expm1(growth * count) / growth
        return graded + (count - whole) * step

    low, high = steps(begin), steps(end)
    parts = max(1, math.ceil(high - low - 1e-9))
    return [(inverse(low + (high - low) * j / parts) - begin) / (end - begin) for j in range(1, parts)]


def sample(signal: Signal, times: np.ndarray, side: str) -> np.ndarray:
    """u at these times, the value of a held signal on this side of its steps."""
    return np.array([_at(signal, float(t), side) for t in times])


def _at(signal: Signal, time: float, side: str) -> float:
    x, y = signal.times, signal.values
    before = [k for k, t in enumerate(x) if t < time or (t == time and side == "right")]
    if signal.kind == "held" or not before or time in x:
        return y[before[-1] if before else 0] if signal.kind == "held" or time not in x else y[x.index(time)]
    k = before[-1]
    return y[k] if k == len(x) - 1 else (y[k + 1] - y[k]) / (x[k + 1] - x[k]) * (time - x[k]) + y[k]
