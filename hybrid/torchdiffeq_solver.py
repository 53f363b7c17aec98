"""torchdiffeq's methods behind our interface: the one file that imports it."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torchdiffeq
from torch import Tensor

from hybrid.field import SemilinearField
from hybrid.solver import SimulationError, Solution, Solver, not_finite, without

FIXED = {"euler": 1, "midpoint": 2, "heun3": 3, "rk4": 4}
ADAPTIVE = {"bosh3": 3, "dopri5": 5, "dopri8": 8}


@dataclass(frozen=True)
class Torchdiffeq(Solver):
    """A Runge–Kutta method of torchdiffeq (Chen et al. 2018), run on the segment clock.

    `method`: euler, midpoint, heun3 or rk4 take one step per segment (the `Mesh` says how long); bosh3, dopri5 and
    dopri8 adapt their steps to `rtol` and `atol` inside every segment, with one error norm for the whole batch.
    Gradients flow through the steps (discretise, then optimise).
    """

    method: Literal["euler", "midpoint", "heun3", "rk4", "bosh3", "dopri5", "dopri8"] = "rk4"
    rtol: float = 1e-6
    atol: float = 1e-8

    def __post_init__(self) -> None:
        if self.method not in FIXED and self.method not in ADAPTIVE:
            raise ValueError(f"Torchdiffeq: method is one of {[*FIXED, *ADAPTIVE]}, got {self.method!r}")

    @property
    def order(self) -> int:
        """The declared order of convergence."""
        return {**FIXED, **ADAPTIVE}[self.method]

    def solve(self, field: SemilinearField, x0: Tensor) -> Solution:
        states = self._boundaries(field, x0)
        failures = not_finite(states, field)
        if failures:
            still = torch.ones(x0.shape[1], 1, dtype=torch.bool, device=x0.device)
            still[[f.record for f in failures]] = False
            states = self._boundaries(field.without(failures), torch.where(still, x0, 0.0))
        return without(field.segments.read(states), failures)

    def _boundaries(self, field: SemilinearField, x0: Tensor) -> Tensor:  # (M, N, K+1, n)
        segments = field.segments
        K = segments.dt.shape[1]
        jumps = segments.jumps
        clock = torch.tensor([0.0, 1.0], dtype=x0.dtype, device=x0.device)
        # an adaptive method must land on the segment's end: its interpolation, from a step beyond, does not obey the tolerance
        options: dict[str, object] = {"step_size": 1.0} if self.method in FIXED else {"step_t": clock[1:]}
        x = x0
        path = [x0]
        # One call per segment: the right-hand side is smooth inside one, and a call that returns many times costs a
        # backward pass over the whole solution for each of them.
        for k in range(K):
            if jumps[k]:
                x = x + segments.jump[None, :, k]
            try:
                x = torchdiffeq.odeint(
                    partial(field.within, k), x, clock, method=self.method, rtol=self.rtol, atol=self.atol, options=options
                )[1]
            except AssertionError as error:  # torchdiffeq reports a step that shrinks to nothing by a bare assert
                time = float(segments.start[:, k].min())
                raise SimulationError(
                    f"{self.method} could not keep its tolerance (rtol {self.rtol:g}, atol {self.atol:g}) in the segment "
                    f"that begins at {time:g} or later ({error}). Likely causes, in order: a non-finite parameter or "
                    "dose, a residual that grows without bound, a very fast rate (use a fixed-step method, short Mesh)",
                    time=time,
                ) from error
            path.append(x)
        return torch.stack(path, 2)
