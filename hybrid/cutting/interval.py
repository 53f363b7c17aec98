"""One stretch of time of each of N people as arrays: what a filter steps over, without schedules or a loop over people."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid.cutting.segments import Segments
from physics.arguments import require_flag, require_kind, require_number, require_shape
from physics.glance import glance


@dataclass(frozen=True)
class Interval:
    """A stretch of each of N people, on a time of their own.

    `dt` (N,) how long it lasts, in the records' time unit · `jump` (N, n) what arrives at its beginning, in the states' units ·
    `rate` (N, n) what is infused in it, per time · `u0`, `u1` (N, m) the inputs at its beginning and its end, linear between ·
    `start` (N,) when it begins. All of them may carry gradients. `meshed`: whether one step of a fixed-step solver is right for
    it, as for `Segments`.
    """

    dt: Tensor
    jump: Tensor
    rate: Tensor
    u0: Tensor
    u1: Tensor
    start: Tensor
    meshed: bool = False

    __repr__, _repr_html_ = glance()

    @staticmethod
    def of(
        dt: Tensor,  # (N,)
        states: int,
        *,
        jump: Tensor | None = None,  # (N, n)
        rate: Tensor | None = None,  # (N, n)
        inputs: Tensor | tuple[Tensor, Tensor] | None = None,  # (N, m), at both ends where they differ
        start: Tensor | None = None,  # (N,)
        meshed: bool = False,
    ) -> "Interval":
        """Intervals of these lengths for `states` states: nothing arrives, nothing is infused and nothing drives where nothing
        is given; the inputs are constant or go from the first of a pair to the second.

        Errors: `ValueError` for shapes and types that differ, and a length below 0.
        """
        require_shape(dt, "Interval.of: dt", "N", write="torch.full((N,), 0.5)")
        require_number(states, "Interval.of: states, how many,", least=1.0, whole=True)
        N, n = dt.shape[0], int(states)
        require_flag(meshed, "Interval.of: meshed")
        first, last = inputs if isinstance(inputs, tuple | list) and len(inputs) == 2 else (inputs, inputs)
        for what, value in (("jump", jump), ("rate", rate)):
            if value is not None:
                require_shape(value, f"Interval.of: {what}", N, n, write="torch.zeros(N, n)", like=dt)
        for value in (first, last):
            if inputs is not None:
                require_shape(value, "Interval.of: inputs", N, "m", write="torch.zeros(N, m), or a pair of them", like=dt)
        if first is not None and last is not None and first.shape != last.shape:
            raise ValueError(f"Interval.of: inputs go from {tuple(first.shape)} to {tuple(last.shape)}; give both of one shape")
        if start is not None:
            require_shape(start, "Interval.of: start", N, write="torch.zeros(N)", like=dt)
        for what, value in (("jump", jump), ("rate", rate), ("inputs", first), ("inputs", last), ("start", start)):
            if value is not None and value.dtype != dt.dtype:
                raise ValueError(f"Interval.of: dt is {dt.dtype} and {what} {value.dtype}; write {what}.to(dt.dtype)")
        if dt.device.type == "cpu" and not bool((dt.detach() >= 0).all() & torch.isfinite(dt.detach()).all()):
            raise ValueError("Interval.of: dt must be finite and 0 or longer; time does not run backwards")
        nothing = dt.new_zeros(N, n)
        return Interval(
            dt,
            nothing if jump is None else jump,
            nothing if rate is None else rate,
            dt.new_zeros(N, 0) if first is None else first,
            dt.new_zeros(N, 0) if last is None else last,
            dt.new_zeros(N) if start is None else start,
            meshed,
        )

    @staticmethod
    def at(segments: Segments, k: int) -> "Interval":
        """Everyone's segment k."""
        require_kind(segments, Segments, "Interval.at: segments", "conditions.segments")
        require_number(k, "Interval.at: k, a segment,", least=0.0, most=segments.dt.shape[1] - 1.0, whole=True)
        s = segments
        return Interval(s.dt[:, k], s.jump[:, k], s.rate[:, k], s.u0[:, k], s.u1[:, k], s.start[:, k], s.meshed)

    def quiet(self) -> "Interval":
        """The same after what arrives at its beginning has arrived."""
        return replace(self, jump=torch.zeros_like(self.jump))

    def segments(self) -> Segments:
        """The same as records of one segment, read at its end."""
        return Segments(
            *(self.dt[:, None], self.start[:, None], self.jump[:, None], self.rate[:, None], self.u0[:, None], self.u1[:, None]),
            segment=torch.zeros(len(self.dt), 1, dtype=torch.long, device=self.dt.device),
            fraction=torch.ones_like(self.dt)[:, None].detach(),
            meshed=self.meshed,
        )
