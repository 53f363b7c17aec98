"""Doses that arrive as the person's own θ says: every record cut anew for its θ, all of them at once, differentiable in θ.

Where θ changes on the way (an occasion, a covariate) each dose arrives as the θ says in which it was given; what begins anew, a
reset or a steady state, takes back what was given before and has yet to arrive.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from hybrid.cutting.mesh import Mesh
from hybrid.cutting.segments import Segments
from hybrid.cutting.stretches import meshed
from hybrid.derivative import mapped
from hybrid.schedules.dose import SAME, as_float, as_time, next_after
from hybrid.schedules.schedule import Schedule
from physics import capture
from physics.administered import Delivery
from physics.arguments import require_shape

_LEFT = {"": 0, "rate": 1, "duration": 2}


@dataclass(frozen=True)
class Doses:
    """What is given to N people, at most D doses each, as it was said: none of it has been moved by any θ yet.

    `time`, `lag`, `duration`, `amount` (N, D), and `state` (N, D) by number; who has fewer has some of amount 0 at the end.
    `left` (N, D): 0 where the duration is said, 1 where the model knows the rate, 2 where it knows the duration, 3 where the rate
    is said, and so the duration of the whole dose. `piece` (N, D): how often θ has turned by the time at which it is given ·
    `stop` (N, D): when everything begins anew after that, +∞ for never. `fixed`: the records cut where nothing moves, at
    observations, points of inputs, turns, resets and steady states; `edges` (N, K0 + 1), the ends of those stretches, each the
    very number of its observation; `times` (N, T) of the observations. `who` (N,): the same number for copies of one person,
    whose stretches are cut into equally many steps, so that differences between copies hold nothing of the solver's error. `mesh`
    cuts the steps.
    """

    fixed: Segments
    edges: Tensor
    times: Tensor
    time: Tensor
    lag: Tensor
    duration: Tensor
    amount: Tensor
    state: Tensor
    left: Tensor
    piece: Tensor
    stop: Tensor
    who: Tensor
    mesh: Mesh

    @property
    def slow(self) -> Tensor:  # (N, D) bool
        """What runs in, and so has an end."""
        return (self.left > 0) | (self.duration.detach() > 0)

    @staticmethod
    def of(
        schedules: Sequence[Schedule],
        times: Sequence[np.ndarray],  # N × (T_i,)
        fixed: Segments,
        states: Sequence[str],
        mesh: Mesh,
        turns: Sequence[np.ndarray] = (),  # N × (C_i,)
    ) -> "Doses":
        """Of these people, whose records without their doses are `fixed` and go on with another θ at `turns`."""
        N, D, T = len(schedules), max((len(s.doses) for s in schedules), default=0), fixed.segment.shape[1]
        seen = np.stack([np.concatenate([t, np.full(T - len(t), t[-1])]) for t in times])
        number = {name: k for k, name in enumerate(states)}

        def table(name: str) -> Tensor:  # (N, D)
            column = [[getattr(d, name) for d in s.doses] for s in schedules]
            if all(isinstance(v, float | int) for row in column for v in row):
                plain = [[*map(float, row), *[0.0] * (D - len(row))] for row in column]
                return torch.tensor(plain, dtype=torch.float64).view(N, D)
            rows = [torch.stack([*map(as_time, row), *[as_time(0.0)] * (D - len(row))]) for row in column]
            return torch.stack(rows)

        def whole(rows: Sequence[Sequence[int]]) -> Tensor:  # (N, D)
            return torch.tensor([[*row, *[0] * (D - len(row))] for row in rows], dtype=torch.long).view(N, D)

        piece, stop = np.zeros((N, D), dtype=np.int64), np.full((N, D), np.inf)
        for i, schedule in enumerate(schedules):
            given = np.array([as_float(d.time) for d in schedule.doses])
            if turns:  # a dose at the time of a change comes after it
                piece[i, : len(given)] = np.searchsorted(turns[i], given, side="right")
            stop[i, : len(given)] = [next_after(schedule.anew, t) for t in given]
        numbers = {name: table(name) for name in ("time", "lag", "duration", "amount")}
        return Doses(
            fixed,
            _edges(fixed, torch.from_numpy(seen[:, -1:])),
            torch.from_numpy(seen),
            **numbers,
            state=whole([[number[d.state] for d in s.doses] for s in schedules]),
            left=whole([[3 if d.kept == "rate" else _LEFT[d.modelled] for d in s.doses] for s in schedules]),
            piece=torch.from_numpy(piece),
            stop=torch.from_numpy(stop),
            who=torch.arange(N),
            mesh=mesh,
        )

    def people(self, index: Tensor) -> "Doses":
        """The same of the chosen records, with repeats."""
        return replace(self, fixed=self.fixed.people(index), **{name: getattr(self, name)[index] for name in _TABLES})

    def to(self, like: Tensor) -> "Doses":
        """The same in the dtype and on the device of `like`."""
        moved = {name: getattr(self, name) for name in _TABLES}
        moved = {name: v.to(like) if v.is_floating_point() else v.to(like.device) for name, v in moved.items()}
        return replace(self, fixed=self.fixed.to(like), **moved)

    def padded(self, T: int) -> "Doses":
        """The same read at T times, the last one again."""
        more = T - self.times.shape[1]
        times = torch.cat([self.times, self.times[:, -1:].expand(-1, more)], 1)
        return replace(self, fixed=self.fixed.padded(self.fixed.dt.shape[1], T), times=times)


def require_said(schedules: Sequence[Schedule], states: Sequence[str], delivery: Delivery) -> None:
    """Raise `ValueError` for a dose that leaves its rate or duration to a model that does not know it, for a part of an infusion
    whose end a fraction would move, and for a steady state of doses that this θ makes arrive otherwise.
    """
    known = {"rate": {states[s] for s, _ in delivery.rate}, "duration": {states[s] for s, _ in delivery.duration}}
    shared, late = ({states[s] for s, _ in pairs} for pairs in (delivery.fraction, delivery.lag))
    for schedule in schedules:
        for one in schedule.steady:
            if one.state in late:
                raise ValueError(
                    f"the doses that led to the steady state at {one.time:g} are taken to arrive in {one.state} when they are "
                    f"given, and the model has a lag there; write the earlier doses as doses, or leave the lag of {one.state} out"
                )
            if one.kept == "rate" and one.state in shared and one.duration >= one.every * (1.0 - 1e-9):
                raise ValueError(
                    f"the steady state at {one.time:g} is of infusions into {one.state} that follow one another without a pause, "
                    "and the model's fraction there would make each of them shorter at its rate; say their duration (DUR, "
                    f"kept='duration'), kept='always' of one that never stopped (AMT 0), or leave the fraction of {one.state} out"
                )
        for dose in schedule.doses:
            if dose.kept == "cut" and dose.state in shared:
                raise ValueError(
                    f"the infusion into {dose.state} at {as_float(dose.time):g} is a part of one whose rate was said, and how "
                    f"long all of it lasts depends on the model's fraction; change nothing that goes into {dose.state} while it "
                    "runs, or say its duration (DUR, kept='duration')"
                )
        for dose in schedule.doses:
            if dose.modelled and dose.state not in known[dose.modelled]:
                raise ValueError(
                    f"a dose into {dose.state} leaves its {dose.modelled} to the model, which has none for {dose.state}; write "
                    f"Administered(backbone, {dose.modelled}={{{dose.state!r}: Parameter(…)}}), or give the dose a duration"
                )


def delivered(
    segments: Segments,
    delivery: Delivery,
    theta: Tensor,  # (N, q), or (N, P, q) of the pieces between turns
) -> Segments:
    """The segments of these records for these θ: each dose arrives when, how fast and as much of it as the person's θ says.

    Errors: `ValueError` for segments that hold no doses to move, and under `torch.func.vmap`, `RuntimeError` in a graph that is
    captured: there nobody can look at the order in which doses arrive.
    Law: with lag 0 and fraction 1 it is what `build_segments` cuts; differentiable in θ, and in the numbers of doses.
    """
    given = segments.doses
    if not isinstance(given, Doses):
        raise ValueError(
            "these segments were cut for a model in which θ says nothing of doses, and this one's says how they arrive; cut the "
            "people for this model: Cohort.of(records, model) or conditions_of(model, schedules, times)"
        )
    if capture.capturing():  # as torch itself says it: who tries a capture goes on without
        raise RuntimeError("how doses arrive is θ's here, and a graph that is captured cannot look at the order of arrivals")
    if mapped(theta):
        raise ValueError(
            "how doses arrive is θ's here, and torch.func.vmap hides the order of arrivals; give people or members as rows, "
            "(M, N, …), without vmap"
        )
    N, D = given.time.shape
    n = segments.jump.shape[-1]
    if theta.ndim != 3:
        require_shape(theta, "delivered: theta", N, "q", write="model.theta(personal, covariates)[m]", like=segments.dt)
    arrives, lasts, amount, slow = _arrivals(given, delivery, theta, n)
    fixed, ends = given.fixed, given.edges
    end = ends[:, -1:]
    # what begins at the end of a record or later is not read
    begin = torch.where((arrives < end) & (arrives < given.stop), arrives, end)
    until = torch.minimum(arrives + lasts, given.stop)
    finish = torch.where((until < end) & slow, until, end)
    infusing = torch.nonzero(slow.any(0))[:, 0]  # (I,) the columns with an infusion of anybody
    edges = torch.cat([ends, begin, finish[:, infusing]], 1)  # (N, L)
    # of one time those that stay come first: an observation is before a dose
    order = edges.detach().sort(dim=1, stable=True).indices
    place = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    edges = edges.gather(1, order)
    K, K0 = edges.shape[1] - 1, fixed.dt.shape[1]
    dt = edges[:, 1:] - edges[:, :-1]
    # which of the fixed stretches each lies in
    of = ((order <= K0).long().cumsum(1)[:, :-1] - 1).clamp(max=K0 - 1)
    u0, u1 = _inputs(fixed, of, edges)
    first, last = place[:, K0 + 1 : K0 + 1 + D], place[:, K0 + 1 + D :]
    zeros = dt.new_zeros(N, K * n)
    counts = (begin < end) & ~slow
    jump = zeros.scatter_add(1, first.clamp(max=K - 1) * n + given.state, torch.where(counts, amount, 0.0))
    rate = zeros
    if len(infusing):
        runs, state = ((begin < end) & slow)[:, infusing], given.state[:, infusing]
        speed = torch.where(runs, amount[:, infusing] / torch.where(runs, lasts[:, infusing], 1.0), 0.0)
        on, off = (v * n + state for v in (first[:, infusing], last))
        steps = dt.new_zeros(N, (K + 1) * n).scatter_add(1, on, speed).scatter_add(1, off, -speed)
        many = torch.zeros(N, (K + 1) * n, dtype=torch.long, device=dt.device)
        many = many.scatter_add(1, on, runs.long()).scatter_add(1, off, -runs.long())
        # where nothing runs there is 0, and not what rounding left of a sum
        running = many.view(N, K + 1, n).cumsum(1)[:, :K] > 0
        rate = torch.where(running, steps.view(N, K + 1, n).cumsum(1)[:, :K], 0.0).reshape(N, K * n)
    if fixed.cut:
        boundary = place.gather(1, fixed.boundary)
        segment, fraction = (boundary - 1).clamp(min=0), (boundary > 0).to(dt)
    else:
        asked = given.times
        segment = (torch.searchsorted(edges.detach().contiguous(), asked.contiguous()) - 1).clamp(0, K - 1)
        length = dt.gather(1, segment)
        passed = (asked - edges.gather(1, segment)) / torch.where(length > 0, length, 1.0)
        fraction = passed + (passed.clamp(0.0, 1.0) - passed).detach()  # a rounding beyond an end keeps its gradient
    whole = Segments(
        dt=dt,
        start=edges[:, :-1],
        jump=jump.view(N, K, n),
        rate=rate.view(N, K, n),
        u0=u0,
        u1=u1,
        segment=segment,
        fraction=fraction,
        apart=segments.apart,
        delivered=True,
        # what happens at one of the fixed ends happens there still, before a dose of its time
        restarts=None if fixed.restarts is None else fixed.restarts.moved(place),
    )
    return meshed(whole, given.mesh, np.zeros(N), given.who)


def _edges(
    fixed: Segments,
    end: Tensor,  # (N, 1)
) -> Tensor:  # (N, K + 1)
    """The ends of stretches: start + dt may be a rounding away from the number that was said, and a dose comes exactly then."""
    found = fixed.start + fixed.dt
    following = torch.cat([fixed.start[:, 1:], end], 1)
    near = SAME * (fixed.start[:, :1].abs() + end.abs())
    found = torch.where((following - found).abs() <= near, following, found)
    found = torch.where((end - found).abs() <= near, end, found)
    return torch.cat([fixed.start[:, :1], found], 1).cummax(1).values


def delays(
    given: Doses,
    delivery: Delivery,
    theta: Tensor,  # (N, q) or (N, P, q)
    n: int,
) -> tuple[Tensor, Tensor, Tensor]:  # (N, D) each
    """How much later than the dose says it begins to arrive, how long it lasts, and how much of it there is."""
    pieces = theta if theta.ndim == 3 else theta[:, None]
    piece = given.piece if theta.ndim == 3 else torch.zeros_like(given.piece)

    def of(pairs: tuple[tuple[int, int], ...], otherwise: float) -> Tensor:
        known, columns = dict(pairs), pieces.unbind(-1)
        plain = pieces.new_full(pieces.shape[:-1], otherwise)
        by_state = torch.stack([columns[known[s]] if s in known else plain for s in range(n)], -1)  # (N, P, n)
        return by_state.flatten(1).gather(1, piece * n + given.state)

    share = of(delivery.fraction, 1.0)
    amount = given.amount * share
    lasts = torch.where(given.left == 2, of(delivery.duration, 1.0), given.duration)
    lasts = torch.where(given.left == 1, amount / of(delivery.rate, 1.0), lasts)
    # where the rate was said it stays: less runs in for less time
    lasts = torch.where(given.left == 3, given.duration * share, lasts)
    return of(delivery.lag, 0.0), lasts, amount


def _arrivals(
    given: Doses,
    delivery: Delivery,
    theta: Tensor,  # (N, q) or (N, P, q)
    n: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # (N, D) each
    """When each dose begins to arrive, how long it lasts, how much of it there is, and whether it is an infusion."""
    late, lasts, amount = delays(given, delivery, theta, n)
    arrives = given.time + given.lag + late
    # what lasts no time that a number can tell is there at once: no rate divides by it
    slow = given.slow & ((arrives + lasts).detach() > arrives.detach())
    return arrives, lasts, amount, slow


def _inputs(
    fixed: Segments,
    of: Tensor,  # (N, K) the fixed stretch that each segment lies in
    edges: Tensor,  # (N, K + 1)
) -> tuple[Tensor, Tensor]:  # (N, K, m)
    """The inputs at both ends of every segment; where an edge moves with a dose they move along their slope."""
    m = fixed.u0.shape[-1]
    if not m:
        nothing = edges.new_zeros(*of.shape, 0)
        return nothing, nothing
    wide = of[..., None].expand(-1, -1, m)
    length = fixed.dt.gather(1, of)[..., None]
    begin, u0, u1 = fixed.start.gather(1, of), fixed.u0.gather(1, wide), fixed.u1.gather(1, wide)
    slope = torch.where(length > 0, (u1 - u0) / torch.where(length > 0, length, 1.0), 0.0)
    first, last = ((edge - begin)[..., None] for edge in (edges[:, :-1], edges[:, 1:]))
    return u0 + slope * first, torch.where(first < length, u1 + slope * (last - length), u0 + slope * last)


_TABLES = tuple(f.name for f in fields(Doses) if f.name not in ("fixed", "mesh"))
