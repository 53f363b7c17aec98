"""One stretch of time of each of N people as arrays: what a filter steps over, without schedules or a loop over people."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hybrid.cutting.mesh import Mesh
from hybrid.cutting.segments import Segments
from hybrid.cutting.stretches import meshed
from hybrid.derivative import array_of
from physics.arguments import require_flag, require_kind, require_number, require_people, require_shape
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

        Errors: `ValueError` for shapes and types that differ, a length below 0, and a jump or rate that is not finite.
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
        for what, value in (("jump", jump), ("rate", rate)):
            if value is not None and value.device.type == "cpu" and not bool(torch.isfinite(value.detach()).all()):
                raise ValueError(f"Interval.of: {what} holds NaN or infinity; give 0 where nothing arrives")
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
        segments.require_unbroken("Interval.at", "follow each stretch as a record of its own")
        require_number(k, "Interval.at: k, a segment,", least=0.0, most=segments.dt.shape[1] - 1.0, whole=True)
        s = segments
        return Interval(s.dt[:, k], s.jump[:, k], s.rate[:, k], s.u0[:, k], s.u1[:, k], s.start[:, k], s.meshed)

    def cut(
        self,
        mesh: Mesh,
        since: Tensor | None = None,  # (N,)
    ) -> "list[Interval]":
        """The same in pieces of which one step of a fixed-step solver is right for each.

        Person i's cuts are those of the mesh for i alone; whose pieces are fewer has some of no length at the end. What arrives
        does so in the first piece; the inputs go on along their line. A mesh without a step cuts nothing.

        Arguments: `mesh`; `since`, for each person the time since the last jump when the interval begins. By default the
        beginning counts as one, as it does wherever something arrives: steps are short there, and grow.
        Errors: `ValueError` for shapes that differ, a time below 0, and more than a million pieces.
        Law: the pieces are the segments into which `build_segments` cuts the same record; nobody's depend on who else is
        there, to the bit; gradients of all that the interval holds are kept.
        """
        require_kind(mesh, Mesh, "Interval.cut: mesh", "Mesh(0.1), or Mesh.fastest(model, covariates, people)")
        N = len(self.dt)
        if since is not None:
            require_shape(since, "Interval.cut: since", N, write="torch.zeros(N)")
        if mesh.step is None:
            return [self]
        passed = np.zeros(N) if since is None else array_of(since).astype(np.float64)
        if self.dt.device.type != "cpu" and not bool((self.dt.detach() >= 0).all() & torch.isfinite(self.dt.detach()).all()):
            raise ValueError("Interval.cut: dt must be finite and 0 or longer; time does not run backwards")
        pieces = meshed(self.segments(), mesh, passed)
        return [Interval.at(pieces, k) for k in range(pieces.dt.shape[1])]

    def people(self, index: Tensor) -> "Interval":
        """The same for the chosen people, with repeats."""
        require_people(index, len(self.dt), "Interval.people: index")
        return replace(self, **{name: getattr(self, name)[index] for name in _TENSORS})

    def to(self, like: Tensor) -> "Interval":
        """The same in the dtype and on the device of `like`."""
        require_shape(like, "Interval.to: like", ..., write="cohort.y, or another tensor of the type and device wanted")
        return replace(self, **{name: getattr(self, name).to(like) for name in _TENSORS})

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


_TENSORS = ("dt", "jump", "rate", "u0", "u1", "start")
