"""A record's segments without the cuts of a mesh: for who finds their own steps."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hybrid.cutting.segments import Segments
from hybrid.derivative import transforming, varies


def unmeshed(segments: Segments) -> Segments:
    """Neighbouring segments between which nothing happens, and nothing is read, as one.

    A step by error control would end at every cut of a mesh otherwise. What varies with a derivative stays cut, and so does a
    stretch along which an input changes.
    Law: it changes no solution; every observation is read where it was.
    """
    tensors = (segments.dt, segments.jump, segments.rate, segments.u0, segments.u1, segments.fraction)
    if not segments.meshed or transforming() or any(varies(t) for t in tensors):
        return segments
    dt, segment, fraction = segments.dt, segments.segment, segments.fraction
    N, K = dt.shape
    held = (segments.u0 == segments.u1).all(-1)  # (N, K)
    same = held[:, 1:] & held[:, :-1] & (segments.u0[:, 1:] == segments.u1[:, :-1]).all(-1)
    same = same & (segments.rate[:, 1:] == segments.rate[:, :-1]).all(-1) & (segments.jump[:, 1:] == 0).all(-1)
    read = torch.zeros_like(dt).scatter_add(1, segment, (fraction == 1).to(dt)) > 0  # at its end
    begins = torch.cat([torch.ones_like(held[:, :1]), ~same | read[:, :-1]], 1)
    group = begins.long().cumsum(1) - 1  # (N, K)
    G = int(group.max()) + 1
    if G == K:
        return segments
    # the first and the last segment of every group; behind a record's last group there is padding
    order = torch.arange(K, device=dt.device).expand(N, K)
    first = torch.full((N, G), K - 1, device=dt.device).scatter_reduce(1, group, order, "amin")
    last = torch.zeros((N, G), dtype=torch.long, device=dt.device).scatter_reduce(1, group, order, "amax")
    there = torch.zeros_like(dt[:, :G]).scatter_add(1, group, torch.ones_like(dt)) > 0
    last = torch.where(there, last, K - 1)

    def pick(value: Tensor, index: Tensor) -> Tensor:
        wide = index.reshape(N, G, *[1] * (value.ndim - 2)).expand(-1, -1, *value.shape[2:])
        return value.gather(1, wide)

    whole = torch.zeros_like(dt[:, :G]).scatter_add(1, group, dt)
    passed = dt.cumsum(1) - dt  # up to a segment's beginning
    offset = (passed - passed.gather(1, first.gather(1, group))).gather(1, segment)  # (N, T), within the group
    into = group.gather(1, segment)
    length = whole.gather(1, into)
    inside = (offset + fraction * dt.gather(1, segment)) / length.clamp(min=torch.finfo(dt.dtype).tiny)
    alone = first.gather(1, into) == last.gather(1, into)
    moved: dict[str, Any] = {
        "dt": torch.where(there, whole, 0.0),
        "start": pick(segments.start, first),
        "jump": torch.where(there[..., None], pick(segments.jump, first), 0.0),
        "rate": pick(segments.rate, first),
        "u0": pick(segments.u0, first),
        "u1": pick(segments.u1, last),
        "segment": into,
        "fraction": torch.where((fraction == 1) | alone, fraction, inside.clamp(max=1.0)),
    }
    return replace(segments, **moved)


def whole(segments: Segments) -> Segments:
    """`unmeshed`, looked for once: many copies of people then take theirs, and a graph that is captured asks for no value.

    What varies with a derivative stays as it is, and nothing is kept of it; nor is what is cut once more for a θ, or into what
    lies between restarts.
    """
    if segments.restarts is not None or (segments.doses is not None and not segments.delivered):
        return segments
    found = segments.without_mesh
    if found is None:
        found = unmeshed(segments)
        if found is not segments:
            segments.__dict__["without_mesh"] = found
    return found
