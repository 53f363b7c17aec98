"""Explicit Runge–Kutta methods, with steps of their own for every record."""

from dataclasses import dataclass, field

from torch import Tensor

from hybrid.field import SemilinearField
from hybrid.solve.adapt import Tolerance
from hybrid.solve.one_step import solve_by_steps
from hybrid.solve.pool import Pool
from hybrid.solve.schemes.explicit import Polynomials
from hybrid.solve.schemes.tableau import TABLEAUS, Method
from hybrid.solve.solver import Solution, Solver, require_problem
from physics.arguments import quote, require_flag, require_number


@dataclass(frozen=True)
class RungeKutta(Solver):
    """An explicit Runge–Kutta method, differentiated step by step (discretise, then optimise).

    `method`: tsit5 and dopri5 (order 5), rk4 (4) or bosh3 (3). Without `rtol` it takes one step per segment, and the
    `Mesh` says how long; records that no mesh has cut are refused, and one whose longest step times the fastest rate of A is
    beyond the method's limit of stability fails with these numbers. With `rtol` (and `atol`, rtol/100 by default) every record
    takes the steps that its own error asks for (not rk4, which has no error estimate), `max_steps` at most. Observations
    inside a step are read off the method's own polynomial.
    `chunk`: how many steps' activities are kept for the gradient at a time, the rest is computed twice; by default all
    while they fit in 1 GiB, else √K of K steps. Large buffers stay with the solver, for its next call.
    `compiled`: residuals without layers step by torch.compile, which takes about a minute for every new shape and pays from
    some hundreds of people on; layered ones have a faster way of their own and do not need it.
    """

    method: Method = "tsit5"
    rtol: float | None = None
    atol: float | None = None
    chunk: int | None = None
    max_steps: int = 10_000
    compiled: bool = False
    pool: Pool = field(default_factory=Pool, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.method, str) or self.method not in TABLEAUS:
            raise ValueError(f"RungeKutta: method is one of {sorted(TABLEAUS)}, got {quote(self.method)}")
        require_flag(self.compiled, "RungeKutta: compiled")
        require_number(self.max_steps, "RungeKutta: max_steps", least=1.0, whole=True)
        if self.rtol is not None and not TABLEAUS[self.method].error:
            raise ValueError(f"RungeKutta: {self.method} has no error estimate; use tsit5, dopri5 or bosh3 with rtol")
        require_numbers("RungeKutta", self.rtol, self.atol, self.chunk)

    @property
    def order(self) -> int:
        """The declared order of convergence."""
        return TABLEAUS[self.method].order

    @property
    def adaptive(self) -> bool:
        return self.rtol is not None

    def solve(self, field: SemilinearField, x0: Tensor) -> Solution:
        require_problem(field, x0, "RungeKutta.solve")
        tolerance = tolerance_of(self.rtol, self.atol, self.max_steps)
        return solve_by_steps(
            field,
            x0,
            Polynomials.of(self.method),
            tolerance,
            chunk=self.chunk,
            pool=self.pool,
            compiled=self.compiled,
        )


def tolerance_of(rtol: float | None, atol: float | None, max_steps: int) -> Tolerance | None:
    """The tolerance, where there is one."""
    return None if rtol is None else Tolerance(rtol, rtol / 100 if atol is None else atol, max_steps)


def require_numbers(name: str, rtol: float | None, atol: float | None, chunk: int | None) -> None:
    """Refuse tolerances and chunks that cannot be."""
    for what, value in (("rtol", rtol), ("atol", atol), ("chunk", chunk)):
        if value is not None:
            require_number(value, f"{name}: {what}", whole=what == "chunk")
    if rtol is None and atol is not None:
        raise ValueError(f"{name}: atol goes with rtol; give both for steps that adapt, or neither for those of the mesh")
    if not all(v is None or 0.0 < v < float("inf") for v in (rtol, atol)) or (chunk is not None and chunk < 1):
        raise ValueError(f"{name}: rtol and atol are positive and chunk at least 1, got {rtol}, {atol} and {chunk}")
