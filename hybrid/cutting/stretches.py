"""From arrays to segments: stretches of many people's time, each with what happens in it, cut by a mesh at once."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from hybrid.cutting.mesh import Mesh
from hybrid.cutting.segments import Segments
from hybrid.derivative import array_of
from hybrid.many_rows import Rows
from physics.arguments import require_kind, require_number, require_shape

_BEND = 1e-9  # slopes that differ by less are those of one straight line, whose points were rounded


def segments_of(
    dt: Tensor,  # (N, K)
    states: int,
    *,
    jump: Tensor | None = None,  # (N, K, n)
    rate: Tensor | None = None,  # (N, K, n)
    inputs: Tensor | tuple[Tensor, Tensor] | None = None,  # (N, K, m), at both ends of a stretch where they differ
    start: Tensor | None = None,  # (N,)
    since: Tensor | None = None,  # (N,)
    mesh: Mesh | None = None,
) -> Segments:
    """The segments of N people whose time is given as arrays: K stretches of each, observed at the end of every one.

    As `build_segments`, without schedules and without a loop over people: what a filter follows, and what a table of events
    already is. Who has fewer stretches has some of length 0 at the end.

    Arguments
    - `dt`, how long each stretch lasts, in the records' time unit · `states`, how many the model has.
    - `jump`, what arrives at a stretch's beginning, in the states' units · `rate`, what is infused in it, per time · `inputs`,
      held in it, or a pair: at its beginning and at its end, linear between. Nothing, where nothing is given.
    - `start`, when each person's first stretch begins, 0 by default.
    - `since`, how long before that the last jump was: by default the beginning counts as one.
    - `mesh`, what cuts the stretches into steps; none: they stay whole. Its steps begin anew where something arrives, an
      infusion begins or ends, and an input steps or bends.
    Returns `Segments` whose observations are the K ends.
    Errors: `ValueError` for shapes and types that differ, a length below 0, and one of more than a million steps.
    Law: the segments of `build_segments` for the same people, to rounding; nobody's depend on who else is there; gradients of
    all arguments are kept.
    """
    require_shape(dt, "segments_of: dt", "N", "K", write="torch.full((N, K), 0.5)")
    require_number(states, "segments_of: states, how many,", least=1.0, whole=True)
    (N, K), n = dt.shape, int(states)
    if not N or not K:
        raise ValueError(f"segments_of: dt is of {N} people and {K} stretches, and needs one at least of both")
    first, last = inputs if isinstance(inputs, tuple | list) and len(inputs) == 2 else (inputs, inputs)
    for what, value, shape in (("jump", jump, (n,)), ("rate", rate, (n,)), ("inputs", first, ("m",)), ("inputs", last, ("m",))):
        if value is not None or (what == "inputs" and inputs is not None):
            require_shape(value, f"segments_of: {what}", N, K, *shape, write="one row for each stretch", like=dt)
    for what, value in (("start", start), ("since", since)):
        if value is not None:
            require_shape(value, f"segments_of: {what}", N, write="torch.zeros(N)", like=dt)
    if first is not None and last is not None and first.shape != last.shape:
        raise ValueError(f"segments_of: inputs go from {tuple(first.shape)} to {tuple(last.shape)}; give both of one shape")
    named = {"jump": jump, "rate": rate, "inputs": first, "inputs at the end": last, "start": start, "since": since}
    for what, value in named.items():
        if value is not None and value.dtype != dt.dtype:
            raise ValueError(f"segments_of: dt is {dt.dtype} and {what} {value.dtype}; write {what}.to(dt.dtype)")
    if dt.device.type == "cpu" and not bool((dt.detach() >= 0).all() & torch.isfinite(dt.detach()).all()):
        raise ValueError("segments_of: dt must be finite and 0 or longer; time does not run backwards")
    nothing, driven = dt.new_zeros(N, K, n), dt.new_zeros(N, K, 0)
    begins = dt.cumsum(1) - dt
    whole = Segments(
        dt=dt,
        start=begins if start is None else begins + start[:, None],
        jump=nothing if jump is None else jump,
        rate=nothing if rate is None else rate,
        u0=driven if first is None else first,
        u1=driven if last is None else last,
        segment=torch.arange(K, device=dt.device).expand(N, K),
        fraction=dt.new_ones(N, K),
    )
    if mesh is None:
        return whole
    require_kind(mesh, Mesh, "segments_of: mesh", "Mesh.fastest(model, covariates, people), or none to cut nothing")
    return meshed(whole, mesh, np.zeros(N) if since is None else array_of(since).astype(np.float64))


def meshed(
    segments: Segments,
    mesh: Mesh,
    since: np.ndarray,  # (N,)
    who: Tensor | None = None,  # (N,)
) -> Segments:
    """The same people cut by a mesh too: `since`, how long before everyone's first segment the last jump was.

    `who`: those with the same number are copies of one person, of whom each segment has as many steps as any of them needs.

    Gradients are kept; where the cuts lie is a constant of them, as the shares of a segment.
    """
    if mesh.step is None:
        return segments
    dt = array_of(segments.dt).astype(np.float64)
    if not np.isfinite(since).all() or (since < 0).any():
        raise ValueError("the time since the last jump must be finite and 0 or longer; leave it out where the beginning is one")
    N, K = dt.shape
    ends = dt.cumsum(1)
    begins = ends - dt
    anew = _anew(segments, dt)
    # when the last jump was, counted from everyone's first segment
    latest = np.maximum.accumulate(np.where(anew, np.arange(K), -1), axis=1)
    jumped = np.where(latest >= 0, np.take_along_axis(begins, np.maximum(latest, 0), 1), -since[:, None])
    passed = np.maximum(begins - jumped, 0.0)
    count, inner = mesh.parts(passed.ravel(), (passed + dt).ravel())
    if who is not None and len(np.unique(alike := array_of(who))) < N:
        most = np.zeros((int(alike.max()) + 1, K), dtype=np.int64)
        np.maximum.at(most, alike, count.reshape(N, K))
        least = most[alike].ravel()
        if (least > count).any():
            count, inner = mesh.parts(passed.ravel(), (passed + dt).ravel(), least)
    if not len(inner):
        return replace(segments, meshed=True)
    # every segment's parts: those of the mesh, the last of them up to its end
    parts = Rows(count)
    closes = parts.place == count[parts.row] - 1
    end = np.ones(parts.size)
    end[~closes] = inner
    begin = np.zeros(parts.size)
    begin[1:][parts.place[1:] > 0] = end[:-1][parts.place[1:] > 0]
    people = Rows(count.reshape(N, K).sum(1))
    index, there = people.padded
    like = segments.dt.detach()
    of = torch.from_numpy((parts.row % K)[index]).to(like.device)
    # behind a person's last part stand some that begin and end at the end of the last segment
    low, high = (torch.from_numpy(np.where(there, v[index], 1.0)).to(like) for v in (begin, end))
    restarts = segments.restarts
    if restarts is not None:
        # the first part of each segment; behind the last one, where a steady state may stand that is read at the record's end
        first = np.concatenate([np.zeros((N, 1), dtype=np.int64), count.reshape(N, K).cumsum(1)], 1)
        restarts = restarts.moved(torch.from_numpy(first).to(like.device))
    return replace(replace(segments, restarts=None).refine(of, low, high), meshed=True, restarts=restarts)


def _anew(segments: Segments, dt: np.ndarray) -> np.ndarray:  # (N, K) bool
    """Does the right-hand side begin anew at a segment's beginning: a dose, another rate, a step or a bend of an input?"""
    jump, rate, u0, u1 = (array_of(v) for v in (segments.jump, segments.rate, segments.u0, segments.u1))
    found = (jump != 0).any(-1)
    if (begun := segments.restarts) is not None:
        for who, at in ((begun.reset_who, begun.reset_at), (begun.turn_who, begun.turn_at), (begun.who, begun.at)):
            inside = array_of(at) < dt.shape[1]  # one at the record's end begins nothing that lasts
            found[array_of(who)[inside], array_of(at)[inside]] = True
    if dt.shape[1] < 2:
        return found
    found[:, 1:] |= (rate[:, 1:] != rate[:, :-1]).any(-1) | (u0[:, 1:] != u1[:, :-1]).any(-1)
    # a bend is looked for between stretches that last
    slope = (u1 - u0) / np.where(dt > 0, dt, 1.0)[..., None]
    lasts = np.maximum.accumulate(np.where(dt > 0, np.arange(dt.shape[1]), 0), axis=1)
    before = np.take_along_axis(slope, lasts[:, :-1, None], 1)
    bends = (np.abs(slope[:, 1:] - before) > _BEND * np.maximum(np.abs(slope[:, 1:]), np.abs(before))).any(-1)
    found[:, 1:] |= bends & (dt[:, 1:] > 0)
    return found
