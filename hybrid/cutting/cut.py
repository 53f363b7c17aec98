"""From schedules and times to segments: every record is cut where something happens, all records at once, without a loop."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hybrid.cutting.delivered import Doses, require_said
from hybrid.cutting.given_rows import require_cuttable, require_rows
from hybrid.cutting.knots import Given, Knots, Moments
from hybrid.cutting.mesh import Mesh
from hybrid.cutting.restarts import Restarts
from hybrid.cutting.segments import Segments
from hybrid.derivative import array_of
from hybrid.many_rows import Rows
from hybrid.schedules.dose import Number, as_float, as_time
from hybrid.schedules.schedule import Schedule
from hybrid.schedules.signal import sampled
from hybrid.schedules.steady import Steady
from physics.administered import NO_DELIVERY, Delivery
from physics.arguments import require_kind, require_names


def build_segments(
    schedules: Sequence[Schedule],
    times: Sequence[Sequence[float] | np.ndarray],  # N × (T_i,)
    states: Sequence[str],
    inputs: Sequence[str] = (),
    mesh: Mesh | None = None,
    *,
    delivery: Delivery = NO_DELIVERY,
    turns: Sequence[Sequence[float] | np.ndarray] = (),  # N × (C_i,)
) -> Segments:
    """Cut every record at its doses, infusion ends, input points and (by the mesh) observations and steps; pad to one K, T.

    `delivery`: what θ says of doses (`physics.Administered`). The segments are then those of the doses as they were said, and
    hold the doses: `delivered` cuts them for a θ. `turns`: when each record goes on with another θ (`Changes.turns`).
    Errors: `ValueError`, naming the record, for unknown compartments, missing inputs, unsorted or early times.
    Law: `dt`, and so every solution, is differentiable in the times, lags, durations and amounts of doses that are tensors.
    """
    people, rows = require_rows(schedules, times, "build_segments")
    states = require_names(states, "build_segments: states", "backbone.states")
    inputs = require_names(inputs, "build_segments: inputs", "backbone.inputs")
    if mesh is not None:
        require_kind(mesh, Mesh, "build_segments: mesh", "Mesh(0.1), or none to cut nothing between events")
    require_cuttable(people, rows, tuple(states), tuple(inputs))
    require_said(people, states, delivery)
    mesh = mesh or Mesh()
    turned = _turns(turns, people)
    if delivery:
        # all but the doses, of the whole schedules: what is read at a steady state's own time depends on what was given before
        whole = replace(mesh, step=None, first=None)
        fixed = _shared(people, rows, tuple(states), tuple(inputs), whole, turned, doses=False)
        doses = Doses.of(people, rows, fixed, states, mesh, turned)
        return replace(_shared(people, rows, tuple(states), tuple(inputs), mesh, turned), doses=doses)
    return _shared(people, rows, tuple(states), tuple(inputs), mesh, turned)


def _shared(
    people: list[Schedule],
    rows: list[np.ndarray],
    states: tuple[str, ...],
    inputs: tuple[str, ...],
    mesh: Mesh,
    turns: Sequence[np.ndarray] = (),
    doses: bool = True,
) -> Segments:
    # people who share a schedule and times are cut once
    known: dict[tuple[int, bytes, bytes], int] = {}
    turns = turns or [np.zeros(0)] * len(people)
    each = zip(people, rows, turns, strict=True)
    which = [known.setdefault((id(s), t.tobytes(), c.tobytes()), len(known)) for s, t, c in each]
    if len(known) == len(people):
        return _cut(people, rows, states, inputs, mesh, turns, doses)
    first = np.unique(which, return_index=True)[1]
    some, read, turned = [people[i] for i in first], [rows[i] for i in first], [turns[i] for i in first]
    found = _cut(some, read, states, inputs, mesh, turned, doses)
    return found.people(torch.tensor(which))


def _cut(
    schedules: list[Schedule],
    times: list[np.ndarray],
    states: tuple[str, ...],
    inputs: tuple[str, ...],
    mesh: Mesh,
    turns: Sequence[np.ndarray],
    doses: bool,
) -> Segments:
    """The segments of these people, without `doses` at everything but those."""
    N, n = len(schedules), len(states)
    everyone, seen = np.arange(N), Rows(np.array([len(t) for t in times]))
    when = np.concatenate(times)
    begin, end = np.array([float(s.start) for s in schedules]), when[seen.begin + seen.count - 1]
    given = Given.of([s.arriving if doses else () for s in schedules], end, states)
    within = given.ends.at <= end[given.ends.who]  # an infusion may outlast the record
    bends = [_bends(schedules, name, begin, end) for name in inputs]
    read = Moments.plain(seen.row, when) if mesh.observed else Moments.plain(everyone, end)
    starts, ending = Moments.plain(everyone, begin), given.ends.chosen(within)
    reached = [_reached(s, last) for s, last in zip(schedules, end, strict=True)]
    emptied, turned = _moments([s.resets for s in schedules], end), _moments(turns, end)
    settled = _moments([[one.time for one, _ in own] for own in reached])
    # in this order those of one time, as far as they carry gradients, follow one another
    parts = [(starts, True), (read, False), (given.begins, True), (ending, True), (emptied, True), (turned, True)]
    parts.append((settled, True))
    knots, (_, of_read, of_begin, of_end, of_reset, of_turn, of_steady, *_) = Knots.of(N, [*parts, *((b, True) for b in bends)])

    # every edge is the share f of the way from the knot `left` to the next
    cuts, inner = knots.parts(mesh)
    alone = knots.rows.count == 1  # a record that is read at its start alone still has one segment, of length zero
    first = knots.rows.place == 0
    count = np.ones(len(first), dtype=np.int64)
    count[~first] = cuts
    count[knots.rows.begin[alone]] = 2
    edges_of = Rows(count)  # the edges up to each knot, from the one before
    at = edges_of.begin + count - 1  # the edge of every knot
    at[knots.rows.begin[alone]] -= 1
    share = np.ones(edges_of.size)
    opens = first[edges_of.row]
    share[opens] = 0.0
    share[~opens & (edges_of.place < count[edges_of.row] - 1)] = inner
    left = edges_of.row - ~opens
    right = np.minimum(left + 1, (knots.rows.begin + knots.rows.count - 1)[knots.rows.row][left])
    knot, here, there = knots.values(), torch.from_numpy(left), torch.from_numpy(right)
    f = torch.from_numpy(share)
    # a whole stretch ends at its knot exactly
    grid = torch.where(f == 1.0, knot[there], knot[here] + f * (knot[there] - knot[here]))  # (E,)
    edges = Rows(np.add.reduceat(count, knots.rows.begin))  # of every person
    segments = Rows(edges.count - 1)
    opening = np.flatnonzero(edges.place < edges.count[edges.row] - 1)  # the edge at which each segment begins
    o = torch.from_numpy(opening)
    start, dt = grid[o], grid[o + 1] - grid[o]

    # an edge is the segment that it opens, less one for each person before
    jump, rate = _doses(given, at[of_begin] - given.who, _finish(given, within, at[of_end], segments), segments.size, n)
    restarts = Restarts.of(
        (emptied.who, at[of_reset] - edges.begin[emptied.who]),
        (turned.who, at[of_turn] - edges.begin[turned.who]),
        (settled.who, at[of_steady] - edges.begin[settled.who]),
        [one for own in reached for one, _ in own],
        [opens for own in reached for _, opens in own],
        states,
    )
    plain = array_of(grid)
    u0 = _inputs(schedules, inputs, plain[opening], segments.row, "right")
    u1 = _inputs(schedules, inputs, plain[opening + 1], segments.row, "left")
    if knots.moving:
        # where an edge moves with a dose, the input there moves along its slope; in no time it does nothing
        length, moves = dt.detach()[:, None], torch.from_numpy(np.logical_or.reduceat(knots.own > 0, knots.rows.begin))
        slope = torch.where(length > 0, (u1 - u0) / length.clamp(min=1e-300), torch.zeros_like(u0))
        slope = torch.where(moves[torch.from_numpy(segments.row)][:, None], slope, 0.0)
        moved = (grid - grid.detach())[:, None]  # zero, with a gradient
        u0, u1 = u0 + slope * moved[o], u1 + slope * moved[o + 1]

    if mesh.observed:
        boundary = at[of_read] - edges.begin[seen.row]
        segment, fraction = np.maximum(boundary - 1, 0), torch.from_numpy((boundary > 0).astype(np.float64))
    else:
        # before any dose of the same time: the first edge that is not earlier ends the segment
        segment = np.maximum(edges.search(plain, when, seen.row, "left") - 1, 0)
        s = torch.from_numpy(segment + segments.begin[seen.row])
        fraction = (torch.from_numpy(when) - start[s]) / dt[s].clamp(min=1e-300)

    # padding sits at the record's end; there it lasts no time and asks for what the last observation asks
    return Segments(
        dt=_table(dt, segments, torch.zeros_like(dt)),
        start=_table(start, segments, start),
        jump=_table(jump, segments, torch.zeros_like(jump)),
        rate=_table(rate, segments, torch.zeros_like(rate)),
        u0=_table(u0, segments, u1),
        u1=_table(u1, segments, u1),
        segment=_table(torch.from_numpy(segment), seen),
        fraction=_table(fraction, seen),
        meshed=mesh.step is not None,
        restarts=restarts,
    )


def _turns(turns: Sequence[Sequence[float] | np.ndarray], people: Sequence[Schedule]) -> list[np.ndarray]:
    """When each record goes on with another θ, as arrays: none where nothing was said."""
    found = [np.asarray(t, dtype=np.float64) for t in turns]
    if found and len(found) != len(people):
        raise ValueError(f"build_segments: turns are of {len(found)} people, and there are {len(people)}; give each a list")
    for t, schedule in zip(found, people, strict=bool(found)):
        late = t.ndim == 1 and bool(np.isfinite(t).all()) and bool((np.diff(t) > 0).all())
        if not late or (len(t) and not t[0] > float(schedule.start)):
            raise ValueError("build_segments: turns are times after the record's start, each later than the one before")
    return found


def _reached(schedule: Schedule, end: float) -> list[tuple[Steady, bool]]:
    """The steady states of which anything is read, before the last observation, or at it where nothing else is there then; each
    with whether nothing is given before it.
    """
    if not schedule.steady:
        return []
    first = min(as_float(given.time) for given in schedule.given)
    each = [(one, one.time <= first) for one in schedule.steady]
    return [(one, opens) for one, opens in each if one.time < end or (one.time == end and opens)]


def _moments(
    times: Sequence[Sequence[float] | np.ndarray],  # N × (C_i,)
    end: np.ndarray | None = None,  # (N,)
) -> Moments:
    """These times of each person, those before `end` where it is given."""
    who = np.repeat(np.arange(len(times)), [len(t) for t in times])
    at = np.array([t for own in times for t in own], dtype=np.float64)
    if end is not None:
        there = at < end[who]
        who, at = who[there], at[there]
    return Moments.plain(who, at)


def _table(
    value: Tensor,  # (S, …)
    rows: Rows,
    after: Tensor | None = None,  # (S, …)
) -> Tensor:  # (N, longest, …)
    """A row of the table for each of `rows`; after the end of one stands the last of `after`, by default of itself."""
    if rows.even:
        return value.reshape(len(rows.count), int(rows.count[0]), *value.shape[1:])
    index, there = (torch.from_numpy(v) for v in rows.padded)
    if after is None or after is value:
        return value[index]
    return torch.where(there.reshape(*there.shape, *[1] * (value.ndim - 1)), value[index], after[index])


def _bends(schedules: Sequence[Schedule], name: str, begin: np.ndarray, end: np.ndarray) -> Moments:
    """The points of an input between each person's start and last observation."""
    signals = [s.inputs[name].points[0] for s in schedules]
    who, at = np.repeat(np.arange(len(signals)), [len(t) for t in signals]), np.concatenate(signals)
    within = (begin[who] < at) & (at < end[who])
    return Moments.plain(who[within], at[within])


def _finish(given: Given, within: np.ndarray, ended: np.ndarray, segments: Rows) -> np.ndarray:  # (I,)
    """The segment, of all, before which each infusion ends; the record's last where it outlasts that."""
    who = given.ends.who
    found = segments.begin[who] + segments.count[who]
    found[within] = ended - who[within]
    return found


def _doses(
    given: Given,
    begins: np.ndarray,  # (D,) the segment, of all, at whose beginning each dose begins to arrive
    finish: np.ndarray,  # (I,) and the one before which each infusion ends
    count: int,
    n: int,
) -> tuple[Tensor, Tensor]:  # (count, n) each
    """What arrives just before each segment, and the rates of infusions in it: sums in the order of the doses."""
    amounts = _numbers([d.amount for d in given.doses])
    to, at_once, infused = given.state, np.flatnonzero(given.bolus), given.infused
    jump = _summed(amounts[torch.from_numpy(at_once)], begins[at_once] * n + to[at_once], count * n)
    speed = amounts[torch.from_numpy(infused)] / _numbers([given.doses[k].duration for k in infused])
    lasting = Rows(finish - begins[infused])
    where = (begins[infused][lasting.row] + lasting.place) * n + to[infused][lasting.row]
    rate = _summed(speed[torch.from_numpy(lasting.row)], where, count * n)
    return jump.reshape(count, n), rate.reshape(count, n)


def _summed(values: Tensor, where: np.ndarray, size: int) -> Tensor:
    return torch.zeros(size, dtype=torch.float64).index_add(0, torch.from_numpy(where), values)


def _numbers(values: Sequence[Number]) -> Tensor:
    if set(map(type, values)) <= {float, int}:
        return torch.tensor(values, dtype=torch.float64)
    return torch.stack([as_time(v) for v in values])


def _inputs(
    schedules: Sequence[Schedule], inputs: tuple[str, ...], edges: np.ndarray, who: np.ndarray, side: Literal["left", "right"]
) -> Tensor:  # (S, m)
    """The inputs at one end of every segment."""
    found = np.empty((len(edges), len(inputs)))
    for j, name in enumerate(inputs):
        found[:, j] = sampled([s.inputs[name] for s in schedules], edges, who, side)
    return torch.from_numpy(found)
