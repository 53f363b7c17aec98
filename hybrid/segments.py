"""The segment clock: a whole cohort with different times and doses on one shared grid.

Segment k of record i runs from t[i, k] to t[i, k+1]; in its own clock s ∈ [0, 1] the equation is
dx/ds = Δt[i, k] f(x). Doses are jumps between segments, and padding is a segment of length zero.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid.schedule import Number, Schedule, as_float, as_time


@dataclass(frozen=True)
class Mesh:
    """How long a step of a fixed-step solver may be: h(τ) = min(step, first + growth·τ), τ since the last jump.

    The error of an explicit method is made in the layers after jumps, so steps start at `first` there and grow.
    `step` must keep the solver stable: for the classic fourth-order method, step × (fastest rate) < 2.78.
    `step=None` cuts nothing between events (for adaptive solvers).
    """

    step: float | None = None
    first: float | None = None
    growth: float = 0.25

    def __post_init__(self) -> None:
        if self.step is not None and not self.step > 0:
            raise ValueError(f"Mesh: step must be positive, got {self.step}")
        if self.first is not None and (self.step is None or not 0 < self.first <= self.step or not self.growth > 0):
            raise ValueError(
                f"Mesh: needs 0 < first ≤ step and growth > 0, got {self.first}, {self.step}, {self.growth}"
            )

    def cuts(self, begin: float, end: float) -> list[float]:
        """Fractions of (begin, end), both measured from the last jump, at which to cut: equal parts of ∫ dτ/h."""
        if self.step is None or end <= begin:
            return []
        step, growth = self.step, self.growth
        first = step if self.first is None else self.first
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


@dataclass(frozen=True)
class Segments:
    """N records cut into K segments each, as tensors.

    `dt` (N, K) segment lengths · `start` (N, K) their beginning · `jump` (N, K, n) amounts that arrive just before the
    segment · `rate` (N, K, n) infusion rates in it · `u0`, `u1` (N, K, m) inputs at its two ends (linear between) ·
    `boundary` (N, T) the boundary, 0…K, at which each observation is read, before any dose of the same time.
    """

    dt: Tensor
    start: Tensor
    jump: Tensor
    rate: Tensor
    u0: Tensor
    u1: Tensor
    boundary: Tensor

    @property
    def jumps(self) -> list[bool]:
        """For each segment: does anyone's state jump at its beginning?"""
        if self.jump.requires_grad:
            return [True] * self.dt.shape[1]
        flags: list[bool] = (self.jump != 0).any(-1).any(0).tolist()
        return flags

    def people(self, index: Tensor) -> "Segments":
        """The same for the chosen records, with repeats."""
        return Segments(**{name: value[index] for name, value in vars(self).items()})

    def to(self, like: Tensor) -> "Segments":
        """The same in the dtype and on the device of `like`."""
        moved = {k: v.to(like) for k, v in vars(self).items() if k != "boundary"}
        return replace(self, **moved, boundary=self.boundary.to(like.device))

    def read(
        self,
        states: Tensor,  # (M, N, K+1, n)
    ) -> Tensor:  # (M, N, T, n)
        """The states at the observation times."""
        index = self.boundary[None, :, :, None].expand(states.shape[0], -1, -1, states.shape[-1])
        return states.gather(2, index)

    def read_inputs(self) -> Tensor:  # (1, N, T, m)
        """The inputs at the observation times."""
        ends = torch.cat([self.u0, self.u1[:, -1:]], 1)[None]  # (1, N, K+1, m)
        return self.read(ends)


def build_segments(
    schedules: Sequence[Schedule],
    times: Sequence[Sequence[float]],  # N × (T_i,)
    states: Sequence[str],
    inputs: Sequence[str] = (),
    mesh: Mesh | None = None,
) -> Segments:
    """Cut every record at its observations, doses, infusion ends and input points, and by the mesh; pad to one K and T.

    Errors: `ValueError` for unknown compartments, missing inputs, unsorted or early times.
    Law: `dt`, and so every solution, is differentiable in the times and amounts of doses that are tensors.
    """
    mesh = mesh or Mesh()
    rows = [_cut(s, t, tuple(states), tuple(inputs), mesh) for s, t in zip(schedules, times, strict=True)]
    K = max(1, max(row["dt"].shape[0] for row in rows))
    T = max(row["boundary"].shape[0] for row in rows)

    def pad(name: str, length: int) -> Tensor:
        parts = []
        for row in rows:
            value = row[name]
            missing = length - value.shape[0]
            if missing and name in ("start", "boundary"):  # padding sits at the record's end
                value = torch.cat([value, value[-1:].expand(missing)])
            elif missing:
                value = torch.cat([value, value.new_zeros(missing, *value.shape[1:])])
            parts.append(value)
        return torch.stack(parts)

    return Segments(
        **{name: pad(name, K) for name in ("dt", "start", "jump", "rate", "u0", "u1")}, boundary=pad("boundary", T)
    )


def _cut(
    schedule: Schedule, times: Sequence[float], states: tuple[str, ...], inputs: tuple[str, ...], mesh: Mesh
) -> dict[str, Tensor]:
    unknown = {d.state for d in schedule.doses} - set(states)
    if unknown:
        raise ValueError(f"a dose goes into {sorted(unknown)}; the compartments are {list(states)}")
    if schedule.inputs.keys() != set(inputs):
        raise ValueError(
            f"the schedule sets the inputs {sorted(schedule.inputs)} and the model has {list(inputs)}; give one Signal for "
            "each of the model's and no other"
        )
    when = [float(t) for t in times]
    if not when or not all(map(math.isfinite, when)) or any(b < a for a, b in itertools.pairwise(when)):
        raise ValueError(f"observation times must be sorted, finite and at least one; got {when}")
    if when[0] < schedule.start:
        raise ValueError(f"the first observation is at {when[0]:g}, before the record starts at {schedule.start:g}")
    end = when[-1]
    # A plain time has one knot, shared by all equal ones. A time that carries a gradient has a knot of its own behind
    # it, at first a segment of length zero away: when a dose moves, the observation at the same time must not.
    knots: dict[tuple[float, int], Number] = {}

    def knot(t: Number) -> tuple[float, int]:
        key = (as_float(t), len(knots) + 1 if isinstance(t, Tensor) else 0)
        knots[key] = t
        return key

    for t in (schedule.start, *when):
        knot(t)
    given = [d for d in schedule.doses if as_float(d.time) < end]  # after the last observation nothing is read
    begins = [knot(d.time) for d in given]
    ends = [knot(d.time + d.duration) if d.duration > 0 else key for d, key in zip(given, begins, strict=True)]
    for signal in schedule.inputs.values():
        for t in signal.times:
            if schedule.start < t < end:
                knot(t)
    order = sorted(key for key in knots if key[0] <= end)
    jumps_at = sorted({schedule.start, *(key[0] for key in (*begins, *ends))})
    edges, at = [as_time(knots[order[0]])], {order[0]: 0}
    for a, b in itertools.pairwise(order):
        since = max(j for j in jumps_at if j <= a[0])
        left, right = as_time(knots[a]), as_time(knots[b])
        edges += [left + f * (right - left) for f in mesh.cuts(a[0] - since, b[0] - since)] + [right]
        at[b] = len(edges) - 1
    if len(edges) == 1:
        edges = edges * 2  # a record that is read at its start alone still has one segment, of length zero
    grid = torch.stack(edges)  # (K+1,)
    K, n = len(edges) - 1, len(states)
    unit = torch.eye(n, dtype=torch.float64)
    jump = [torch.zeros(n, dtype=torch.float64) for _ in range(K)]
    rate = torch.zeros(K, n, dtype=torch.float64)
    for dose, begin, finish in zip(given, begins, ends, strict=True):
        arriving = as_time(dose.amount) * unit[states.index(dose.state)]
        if dose.duration == 0.0:
            jump[at[begin]] = jump[at[begin]] + arriving
        else:
            on = torch.zeros(K, 1, dtype=torch.float64)
            on[at[begin] : at.get(finish, K)] = 1.0
            rate = rate + on * arriving / dose.duration
    values = grid.detach().tolist()
    at_left = [[schedule.inputs[name].at(v, "right") for name in inputs] for v in values[:-1]]
    at_right = [[schedule.inputs[name].at(v, "left") for name in inputs] for v in values[1:]]
    u0 = torch.tensor(at_left, dtype=torch.float64).reshape(K, len(inputs))
    u1 = torch.tensor(at_right, dtype=torch.float64).reshape(K, len(inputs))
    if grid.requires_grad:
        # where an edge moves with a dose, the input there moves along its slope; in no time it does nothing
        length = (grid[1:] - grid[:-1]).detach()[:, None]
        slope = torch.where(length > 0, (u1 - u0) / length.clamp(min=1e-300), torch.zeros_like(u0))
        moved = (grid - grid.detach())[:, None]  # zero, with a gradient
        u0, u1 = u0 + slope * moved[:-1], u1 + slope * moved[1:]
    return {
        "dt": grid[1:] - grid[:-1],
        "start": grid[:-1],
        "jump": torch.stack(jump),
        "rate": rate,
        "u0": u0,
        "u1": u1,
        "boundary": torch.tensor([at[(t, 0)] for t in when], dtype=torch.long),
    }
