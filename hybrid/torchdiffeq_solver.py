"""torchdiffeq's methods behind our interface: the one file that imports it."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torchdiffeq
from torch import Tensor

from hybrid.field import SemilinearField
from hybrid.solver import Failure, SimulationError, Solution, Solver, at_rest, not_finite, without
from hybrid.stability_limit import require_mesh, unstable

FIXED = {"euler": 1, "midpoint": 2, "heun3": 3, "rk4": 4}
# how far left on the real axis they are stable: an explicit method of s = 1…4 stages and order s has 1 + z + … + zˢ/s!
_LIMITS = {"euler": 2.0, "midpoint": 2.0, "heun3": 2.5127, "rk4": 2.7852}
ADAPTIVE = {"bosh3": 3, "dopri5": 5, "dopri8": 8}


@dataclass(frozen=True)
class Torchdiffeq(Solver):
    """A Runge–Kutta method of torchdiffeq (Chen et al. 2018), run on the segment clock.

    `method`: euler, midpoint, heun3 or rk4 take one step per segment (the `Mesh` says how long); bosh3, dopri5 and
    dopri8 adapt their steps to `rtol` and `atol` inside every segment, with one error norm for the whole batch.
    Gradients flow through the steps (discretise, then optimise). With `adjoint` they come from the adjoint equation, solved
    backwards with the same method and tolerances: memory of one segment, and the gradient of the continuous problem, which
    is not quite that of the steps. torchdiffeq's own right-hand side is called for both, so this is the reference that our
    solvers are held against, and not the fast one.
    """

    method: Literal["euler", "midpoint", "heun3", "rk4", "bosh3", "dopri5", "dopri8"] = "rk4"
    rtol: float = 1e-6
    atol: float = 1e-8
    adjoint: bool = False

    def __post_init__(self) -> None:
        if self.method not in FIXED and self.method not in ADAPTIVE:
            raise ValueError(f"Torchdiffeq: method is one of {[*FIXED, *ADAPTIVE]}, got {self.method!r}")

    @property
    def order(self) -> int:
        """The declared order of convergence."""
        return {**FIXED, **ADAPTIVE}[self.method]

    def solve(self, field: SemilinearField, x0: Tensor) -> Solution:
        failures: tuple[Failure, ...] = ()
        if self.method in FIXED:
            require_mesh(field.segments, self.method)
            failures = unstable(field, self.method, _LIMITS[self.method])
            if failures:
                field, x0 = field.without(failures), at_rest(x0, failures)
        while True:
            states, found = self._boundaries(field, x0)
            if not found:
                return without(field.segments.read(states), failures)
            # the others once more without them: an adaptive method measures everyone's error in one norm
            failures = tuple(sorted((*failures, *found), key=lambda f: f.record))
            field, x0 = field.without(found), at_rest(x0, found)

    def _boundaries(
        self, field: SemilinearField, x0: Tensor
    ) -> tuple[Tensor, tuple[Failure, ...]]:  # (M, N, K+1, n)
        """The states at the boundaries as far as everyone gets, and who gets no further."""
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
                x = self._segment(field, k, x, clock, options)
            except AssertionError as error:  # torchdiffeq reports a step that shrinks to nothing by a bare assert
                lost = not_finite(field.within(k, 0.0, x)[:, :, None], field, k)
                if lost:
                    return torch.stack(path, 2), lost
                time = float(segments.start[:, k].min())
                raise SimulationError(
                    f"{self.method} could not keep its tolerance (rtol {self.rtol:g}, atol {self.atol:g}) in the segment "
                    f"that begins at {time:g} or later ({error}). Likely causes, in order: a non-finite parameter or "
                    "dose, a residual that grows without bound, a very fast rate (use a fixed-step method, short Mesh)",
                    time=time,
                ) from error
            path.append(x)
        states = torch.stack(path, 2)
        return states, not_finite(states, field)

    def _segment(
        self, field: SemilinearField, k: int, x: Tensor, clock: Tensor, options: dict[str, object]
    ) -> Tensor:  # (M, N, n)
        f = partial(field.within, k)
        if not self.adjoint:
            solved = torchdiffeq.odeint(
                f, x, clock, method=self.method, rtol=self.rtol, atol=self.atol, options=options
            )
            return solved[1]
        solved = torchdiffeq.odeint_adjoint(
            f,
            x,
            clock,
            method=self.method,
            rtol=self.rtol,
            atol=self.atol,
            options=options,
            adjoint_params=tuple(t for t in field.depends_on(k) if t.requires_grad),
        )
        return solved[1]
