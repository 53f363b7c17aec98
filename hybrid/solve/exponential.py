"""An exponential integrator: the linear backbone exactly, the residual by a method of order four."""

from dataclasses import dataclass, field

from torch import Tensor

from hybrid.field import SemilinearField
from hybrid.solve.one_step import solve_by_steps
from hybrid.solve.pool import Pool
from hybrid.solve.runge_kutta import require_numbers, tolerance_of
from hybrid.solve.schemes.exponentials import KROGSTAD
from hybrid.solve.solver import Solution, Solver, require_problem
from physics.arguments import require_number


@dataclass(frozen=True)
class Exponential(Solver):
    """Krogstad's exponential Runge–Kutta method: a fast rate in A costs no steps, only what ε does with it.

    Without `rtol` one step per segment of the `Mesh` (records that no mesh has cut are refused, unless a single step is exact
    on them); with it every record takes the steps that its own error asks for,
    short ones after a jump and growing from there. A(θ) may differ per person and member. Where ε is zero and inputs are
    held or linear, a step of any length is exact. Observations inside a step are read exactly in the same sense.
    Its order is 4; where a fast rate meets a residual that moves with it, 3 or less (Hochbruck & Ostermann 2005).
    `chunk`, `max_steps`: as in `RungeKutta`.
    Source: Krogstad, J. Comput. Phys. 203 (2005) 72; Cox & Matthews, J. Comput. Phys. 176 (2002) 430.
    """

    rtol: float | None = None
    atol: float | None = None
    chunk: int | None = None
    max_steps: int = 10_000
    pool: Pool = field(default_factory=Pool, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_number(self.max_steps, "Exponential: max_steps", least=1.0, whole=True)
        require_numbers("Exponential", self.rtol, self.atol, self.chunk)

    @property
    def order(self) -> int:
        """The declared order of convergence, on problems that are not stiff."""
        return 4

    @property
    def adaptive(self) -> bool:
        return self.rtol is not None

    def solve(self, field: SemilinearField, x0: Tensor) -> Solution:
        require_problem(field, x0, "Exponential.solve")
        tolerance = tolerance_of(self.rtol, self.atol, self.max_steps)
        return solve_by_steps(field, x0, KROGSTAD, tolerance, chunk=self.chunk, pool=self.pool)
