"""torchdiffeq's methods behind our interface: the one file that imports it."""

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import torch
import torchdiffeq
from torch import Tensor

from hybrid.derivative import constant, once, transforming
from hybrid.field import SemilinearField
from hybrid.solve.solver import (
    Failure,
    SimulationError,
    Solution,
    Solver,
    at_rest,
    not_finite,
    require_problem,
    without,
)
from hybrid.solve.stability_limit import require_mesh, unstable
from physics.arguments import quote, require_flag, require_number

Method = Literal[
    "euler",
    "midpoint",
    "heun2",
    "heun3",
    "rk4",
    "explicit_adams",
    "implicit_adams",
    "fixed_adams",
    "adaptive_heun",
    "fehlberg2",
    "bosh3",
    "dopri5",
    "dopri8",
    "scipy_solver",
]
# the orders of those that take steps of one length, and of those that keep a tolerance (LSODA chooses its own: the least)
_RUNGE_KUTTA: dict[str, int] = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}
_ADAMS: dict[str, int] = {"explicit_adams": 3, "implicit_adams": 4, "fixed_adams": 4}
FIXED = _RUNGE_KUTTA | _ADAMS
# how far left on the real axis they are stable: an explicit method of s = 1…4 stages and order s has 1 + z + … + zˢ/s!
_LIMITS = {"euler": 2.0, "midpoint": 2.0, "heun2": 2.0, "heun3": 2.5127, "rk4": 2.7852}
ADAPTIVE: dict[str, int] = {"adaptive_heun": 2, "fehlberg2": 2, "bosh3": 3, "dopri5": 5, "dopri8": 8, "scipy_solver": 1}


@dataclass(frozen=True)
class Torchdiffeq(Solver):
    """A method of torchdiffeq (Chen et al. 2018), every one that it offers, run on the segment clock.

    `method`: euler, midpoint, heun2, heun3, rk4 take one step per segment (the `Mesh` says how long), explicit_adams and
    implicit_adams (also called fixed_adams) eight, of which the first are Runge-Kutta steps and the next of low order, since a
    multistep method begins anew in every segment; adaptive_heun, fehlberg2, bosh3, dopri5, dopri8 and scipy_solver (LSODA of
    scipy) adapt their steps to `rtol` and `atol` inside every segment, with one error norm for the whole batch.
    `steps`: how many steps a method of fixed steps takes in a segment, where that should be another number.
    Gradients flow through the steps (discretise, then optimise), second ones too. With `adjoint` they come from the adjoint
    equation, solved backwards with the same method and tolerances: memory of one segment, and the gradient of the continuous
    problem, which is not quite that of the steps; second ones there are none. scipy_solver runs in numpy and has gradients by
    the adjoint alone. torchdiffeq's own right-hand side is called for both, so this is the reference that our solvers are held
    against, and not the fast one.
    Errors: `ValueError` for a method that there is not, for gradients of scipy_solver without the adjoint, and for a transform
    of `torch.func` that torchdiffeq does not go with; `RuntimeError` for second derivatives by the adjoint.
    """

    method: Method = "rk4"
    rtol: float = 1e-6
    atol: float = 1e-8
    adjoint: bool = False
    steps: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.method, str) or self.method not in FIXED | ADAPTIVE:
            raise ValueError(f"Torchdiffeq: method is one of {[*FIXED, *ADAPTIVE]}, got {quote(self.method, 60)}")
        for name in ("rtol", "atol"):
            require_number(getattr(self, name), f"Torchdiffeq: {name}", above=0.0)
        require_flag(self.adjoint, "Torchdiffeq: adjoint")
        if self.steps is not None:
            require_number(self.steps, "Torchdiffeq: steps", most=1e6, whole=True)
        if self.steps is not None and (self.steps < 1 or self.method not in FIXED):
            raise ValueError(
                f"Torchdiffeq: steps is how many a method of fixed steps ({', '.join(FIXED)}) takes in a segment, 1 or more; got "
                f"steps={self.steps} with {self.method}"
            )

    @property
    def order(self) -> int:
        """The declared order of convergence."""
        return {**FIXED, **ADAPTIVE}[self.method]

    @property
    def _count(self) -> int:
        """How many steps of one length it takes in a segment."""
        return self.steps or (8 if self.method in _ADAMS else 1)

    @property
    def adaptive(self) -> bool:
        return self.method in ADAPTIVE

    def solve(self, field: SemilinearField, x0: Tensor) -> Solution:
        require_problem(field, x0, "Torchdiffeq.solve")
        asked = torch.is_grad_enabled() and any(v.requires_grad for v in (x0, *field.made_from))
        if self.method == "scipy_solver" and not self.adjoint and (asked or transforming()):
            raise ValueError(
                "Torchdiffeq: scipy_solver runs in numpy, and no gradient flows through its steps; write "
                'Torchdiffeq("scipy_solver", adjoint=True), or simulate under torch.no_grad()'
            )
        failures: tuple[Failure, ...] = ()
        beyond: tuple[Failure, ...] = ()
        if self.method in FIXED:
            require_mesh(field.segments, self.method)
            order = _RUNGE_KUTTA.get(self.method)  # as many stages: R(z) = 1 + z + … + zˢ/s!
            growth = () if order is None else tuple(1.0 / math.factorial(k) for k in range(order + 1))
            beyond, field = unstable(field, self.method, _limit(self.method, self._count), growth, self._count)
        while True:
            try:
                states, found = self._boundaries(field, x0)
            except RuntimeError as error:
                if isinstance(error, SimulationError) or not transforming():
                    raise
                raise ValueError(
                    f"torchdiffeq's {self.method}{' by the adjoint' if self.adjoint else ''} does not go with this transform of "
                    "torch.func (or forward mode); use Exponential or RungeKutta, which do, or torch.autograd.grad"
                ) from error
            if self.adjoint:
                states = once(states, _ADJOINT)
            if not found:
                lost = {f.record for f in failures}
                failures = (*failures, *(f for f in beyond if f.record not in lost))
                return without(field.segments.read(states), tuple(sorted(failures, key=lambda f: f.record)))
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
        options = self._options(clock, 1)
        x = x0
        path = [x0]
        # One call per segment: the right-hand side is smooth inside one, and a call that returns many times costs a
        # backward pass over the whole solution for each of them.
        for k in range(K):
            if jumps[k]:
                x = x + segments.jump[None, :, k]
            try:
                x = self._segment(field, k, x, clock, options)
            except (AssertionError, IndexError) as error:
                # torchdiffeq reports a step that shrinks to nothing by a bare assert, and returns nothing where scipy gave up
                lost = not_finite(field.within(k, 0.0, x)[:, :, None], field, k)
                if lost:
                    return torch.stack(path, 2), lost
                time = float(segments.start[:, k].min())
                raise SimulationError(
                    f"{self.method} could not keep its tolerance (rtol {self.rtol:g}, atol {self.atol:g}) in the segment "
                    f"that begins at {time:g} or later ({str(error)[:100]}). Likely causes, in order: a non-finite parameter or "
                    "dose, a residual that grows without bound, a very fast rate (use a fixed-step method, short Mesh)",
                    time=time,
                ) from error
            path.append(x)
        states = torch.stack(path, 2)
        return states, not_finite(states, field)

    def _options(self, clock: Tensor, end: int) -> dict[str, object]:
        """torchdiffeq's options for a segment that ends at this end of its clock."""
        if self.method == "scipy_solver":
            return {}
        if self.method in ADAPTIVE:
            # it must land on the end: the interpolation, from a step beyond, does not obey the tolerance
            return {"step_t": clock[[end]]}
        return {"grid_constructor": lambda f, y, t: _equal(self._count, t)}

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
            adjoint_options=self._options(clock, 0),
            # torchdiffeq cannot take what has no numbers (the weights of no covariates)
            adjoint_params=tuple(t for t in field.depends_on(k, x) if t.requires_grad and t.numel()),
        )
        return solved[1]


_ADJOINT = (
    "second derivatives (create_graph=True) do not go through the adjoint equation of torchdiffeq; write the solver without "
    "adjoint=True, and they flow through its steps"
)


def _equal(count: int, ends: Tensor) -> Tensor:  # (count + 1,)
    """So many equal steps from the first of the times to the last."""
    shares = torch.linspace(0.0, 1.0, count + 1, dtype=ends.dtype, device=ends.device)
    return ends[0] + shares * (ends[-1] - ends[0])


@lru_cache(maxsize=32)
def _limit(method: str, count: int) -> float:
    """The least z > 0 at which so many steps over one unit of time do not damp dy/dt = −z y any more."""
    if method in _LIMITS:
        return count * _LIMITS[method]
    with constant(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchdiffeq says that its iteration ends early; what comes out is looked at here
        z = torch.linspace(0.01, 4.0 * count, 400 * count, dtype=torch.float64)
        options = {"grid_constructor": lambda f, y, t: _equal(count, t)}
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        y = torchdiffeq.odeint(lambda t, y: -z * y, torch.ones_like(z), ends, method=method, options=options)[1]
        grows = ~(y.abs() <= 1.0)
        return float(z[int(grows.long().argmax())]) if bool(grows.any()) else float(z[-1])
