"""Long records cut into short ones: windows that are simulated side by side, and the way back."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from hybrid import Conditions, Segments
from physics.arguments import require_choice, require_kind, require_number, require_shape
from physics.glance import glance


@dataclass(frozen=True)
class Windows:
    """N records in W windows each, as W·N short records in one batch; window w of record i is row w·N + i.

    `whole`, the records · `edge` (N, W+1) the boundaries of the record at which they are cut, window w has the segments
    edge[w] … edge[w+1]−1 · `segments` of the W·N rows; each is read at its own observations and, last, at its end ·
    `window` and `place` (N, T): in which window each observation is read, and as which of its readings.
    A window begins before the dose of its first segment and ends before the next window's: its end and the next one's
    start are the same moment. A record with fewer segments than windows has empty ones, without any time, behind.
    """

    whole: Segments
    edge: Tensor
    segments: Segments
    window: Tensor
    place: Tensor

    __repr__, _repr_html_ = glance()

    @property
    def count(self) -> int:
        """W."""
        return self.edge.shape[1] - 1

    @cached_property
    def joined(self) -> Tensor:  # (N, W-1) bool
        """Whether anything follows: True where the later of two neighbouring windows has any segment."""
        return self.edge[:, 2:] > self.edge[:, 1:-1]

    @property
    def borders(self) -> Segments:
        """The whole records, read where each of their windows 1 … W−1 starts: (N, W−1) readings, before any dose."""
        inner = self.edge[:, 1:-1]
        ended = torch.ones_like(self.whole.dt[:, :1]).expand(inner.shape)
        return replace(self.whole, segment=inner - 1, fraction=ended)

    def conditions(self, given: Conditions) -> Conditions:
        """What is given about the W·N rows: everyone's covariates and baseline, once for every window."""
        require_kind(given, Conditions, "Windows.conditions: given", "cohort.conditions")
        if given.size != self.edge.shape[0]:
            raise ValueError(
                f"Windows.conditions: given is of {given.size} people and the windows of {self.edge.shape[0]}; give the same"
            )
        repeated = torch.arange(given.size, device=given.baseline.device).repeat(self.count)
        covariates = {k: v[repeated] for k, v in given.covariates.items()}
        return replace(
            given, segments=self.segments, covariates=covariates, baseline=given.baseline[repeated]
        )

    def stack(
        self,
        x0: Tensor,  # (M, N, n) the records' starts
        starts: Tensor,  # (M, N, W-1, n) and those of the later windows
    ) -> Tensor:  # (M, W·N, n)
        """The starts of all windows in the order of the rows."""
        N, W, n = self.edge.shape[0], self.count, self.whole.jump.shape[-1]
        require_shape(x0, "Windows.stack: x0", "M", N, n, write="model.initial(theta, baseline)", like=self.whole.dt)
        require_shape(starts, "Windows.stack: starts", len(x0), N, W - 1, n, write="torch.zeros(M, N, W-1, n)", like=x0)
        return torch.cat([x0[:, :, None], starts], 2).transpose(1, 2).flatten(1, 2)

    def back(
        self,
        states: Tensor,  # (M, W·N, L, n) at the rows' readings
    ) -> tuple[Tensor, Tensor]:  # (M, N, T, n) at the records' observations, (M, N, W, n) at the windows' ends
        """From the windows to the records."""
        rows, L = self.segments.segment.shape
        where = self.whole.dt
        require_shape(states, "Windows.back: states", "M", rows, L, "n", write="the states at the rows' readings", like=where)
        M, _, L, n = states.shape
        N = self.edge.shape[0]
        by_record = states.reshape(M, self.count, N, L, n).transpose(1, 2)  # (M, N, W, L, n)
        at = (self.window * L + self.place)[None, :, :, None].expand(M, -1, -1, n)
        return by_record.flatten(2, 3).gather(2, at), by_record[:, :, :, -1]


def window_count(segments: Segments) -> int:
    """About as many windows as each has segments, √K of the longest record, each with four readings or more."""
    require_kind(segments, Segments, "window_count: segments", "cohort.conditions.segments")
    stop = int(segments.segment.max()) + 1 if segments.segment.numel() else 1
    other = (segments.segment[:, 1:] != segments.segment[:, :-1]) | (segments.fraction[:, 1:] != segments.fraction[:, :-1])
    readings = 1 + int(other.sum(1).max()) if other.numel() else 1
    return max(1, min(round(stop**0.5), readings // 4))


def windows(
    segments: Segments,
    count: int,
    by: Literal["time", "steps"] = "time",
) -> Windows:
    """Cut every record into `count` windows, at boundaries of its segments.

    `by` "time" gives windows of about equal length, cut at the first boundary that is not earlier, which bounds how long
    an error can grow; "steps" gives equal numbers of segments, which makes the batch as short as it can be. Where a
    segment is longer than a window, a `Mesh` with a shorter step gives boundaries to cut at.
    An observation belongs to the window in whose segment it is read, at the window's end too; one at the record's very
    start is read at the first window's. The readings of a window are padded by repeats of its end.
    Errors: `ValueError` for a count below 1, an unknown `by`, or more windows than any record has segments.
    Law: windows that start where their predecessors end have the states of the whole; gradients with respect to
    lengths, jumps, rates and inputs are kept.
    """
    require_kind(segments, Segments, "windows: segments", "cohort.conditions.segments")
    require_number(count, "windows: count", least=1.0, whole=True)
    count = int(count)
    require_choice(by, ("time", "steps"), "windows: by")
    segments.require_unbroken("windows", "fit such records by fit or fit_population, or give each stretch a record of its own")
    K = segments.dt.shape[1]
    busy = (segments.dt > 0) | (segments.jump != 0).any(-1)
    steps = torch.arange(1, K + 1, device=segments.dt.device)
    # behind the last segment in which anything happens or is read there is padding
    stop = torch.maximum(torch.where(busy, steps, 1).amax(1), segments.segment.amax(1) + 1)  # (N,)
    if count > int(stop.max()):
        raise ValueError(
            f"windows: {count} windows are asked for and the longest record has {int(stop.max())} segments; ask for fewer, "
            "or cut the records with a Mesh of a shorter step"
        )
    edge = _edges(segments.dt.detach(), stop, count, by)
    return Windows(segments, edge, *_cut(segments, edge))


def _edges(dt: Tensor, stop: Tensor, count: int, by: str) -> Tensor:  # (N, W+1)
    N, K = dt.shape
    position = torch.arange(K + 1, device=dt.device).expand(N, -1)
    passed = torch.cat([torch.zeros_like(dt[:, :1]), dt.cumsum(1)], 1) if by == "time" else position.to(dt.dtype)
    share = torch.arange(1, count, device=dt.device, dtype=dt.dtype) / count
    wanted = share * passed.gather(1, stop[:, None])  # (N, W-1)
    # a boundary that rounding puts a hair before the wanted time is the one that was meant
    inner = torch.searchsorted(passed.contiguous(), (wanted * (1.0 - 1e-6)).contiguous())
    edge = torch.cat([torch.zeros_like(stop[:, None]), inner.clamp(min=1), stop[:, None]], 1)
    # one segment that spans several windows is one window; what is left over is empty, and goes behind
    repeated = edge[:, 1:] <= edge[:, :-1]
    later = torch.where(repeated | (edge[:, 1:] >= stop[:, None]), stop[:, None], edge[:, 1:]).sort(1).values
    return torch.cat([edge[:, :1], later], 1)


def _cut(whole: Segments, edge: Tensor) -> tuple[Segments, Tensor, Tensor]:
    """The rows' segments, and the window and place (N, T) of every observation."""
    N, W = edge.shape[0], edge.shape[1] - 1
    first, length = edge[:, :-1], edge[:, 1:] - edge[:, :-1]  # (N, W)
    longest = max(1, int(length.max()))
    local = torch.arange(longest, device=edge.device)
    within = local < length[..., None]  # (N, W, K_w)
    # padding sits at the window's end, lasts no time, and nothing happens in it
    last = (edge[:, 1:] - 1)[..., None]
    index = torch.minimum(first[..., None] + local, last)

    def rows(value: Tensor) -> Tensor:  # (N, W, ...) to (W·N, ...)
        return value.transpose(0, 1).flatten(0, 1)

    def pick(value: Tensor) -> Tensor:  # (N, K, ...) to (N, W, K_w, ...)
        flat = index.flatten(1).reshape(N, -1, *[1] * (value.ndim - 2)).expand(-1, -1, *value.shape[2:])
        return value.gather(1, flat).reshape(*index.shape, *value.shape[2:])

    def inside(value: Tensor, otherwise: Tensor) -> Tensor:
        return torch.where(within.reshape(*within.shape, *[1] * (value.ndim - 3)), value, otherwise)

    dt, start, jump, rate, u0, u1 = (
        pick(v) for v in (whole.dt, whole.start, whole.jump, whole.rate, whole.u0, whole.u1)
    )
    window = torch.searchsorted(edge[:, 1:].contiguous(), whole.segment.contiguous(), right=True)  # (N, T)
    # what is read at the same place as the observation before it, as padding is, is read once
    other = (whole.segment[:, 1:] != whole.segment[:, :-1]) | (whole.fraction[:, 1:] != whole.fraction[:, :-1])
    fresh = torch.cat([other.new_ones(N, 1), other], 1).long()
    read = fresh.new_zeros(N, W).scatter_add_(1, window, fresh)  # how many readings each window has
    readings = int(read.max()) + 1
    # observations come in the order of time, so those of a window stand behind those of all earlier ones
    place = fresh.cumsum(1) - 1 - (read.cumsum(1) - read).gather(1, window)
    # of each reading the observation that it is for, −1 for the windows' ends
    source = torch.full((N, W * readings), -1, device=edge.device)
    everything = torch.arange(window.shape[1], device=edge.device).expand(N, -1)
    source = source.scatter_reduce(1, window * readings + place, everything, "amax")
    asked, known = source.clamp(min=0), source >= 0
    begun = first[..., None].expand(-1, -1, readings).flatten(1)
    ended = (length - 1).clamp(min=0)[..., None].expand(-1, -1, readings).flatten(1)  # an empty window has one segment
    segment = torch.where(known, whole.segment.gather(1, asked) - begun, ended).reshape(N, W, -1)
    fraction = torch.where(known, whole.fraction.gather(1, asked), torch.ones_like(whole.fraction[:, :1]))
    fraction = fraction.reshape(N, W, -1)
    cut = replace(
        whole,
        dt=rows(inside(dt, torch.zeros_like(dt))),
        start=rows(inside(start, start + dt)),
        jump=rows(inside(jump, torch.zeros_like(jump))),
        rate=rows(inside(rate, torch.zeros_like(rate))),
        u0=rows(inside(u0, u1)),
        u1=rows(u1),
        segment=rows(segment),
        fraction=rows(fraction),
    )
    return cut, window, place
