"""The solvers by the names that the command line knows."""

from typing import cast

from hybrid import Exponential, RungeKutta, Solver, Torchdiffeq
from hybrid.solve.tableau import TABLEAUS
from hybrid.solve.torchdiffeq_solver import ADAPTIVE, FIXED, Method

DEFAULT = "rk4"


def solver_named(name: str) -> Solver:
    """rk4, tsit5, dopri5, bosh3 or exponential, ours on the mesh of the cohort; torchdiffeq:METHOD for any method of
    torchdiffeq, with :adjoint behind it for gradients by the adjoint equation (scipy_solver has no others).

    Errors: `ValueError`, listing the choices, for any other name.
    """
    family, *rest = name.strip().split(":")
    if not rest and family in TABLEAUS:
        return RungeKutta(family)  # type: ignore[arg-type]
    if not rest and family == "exponential":
        return Exponential()
    if family == "torchdiffeq" and rest and rest[0] in FIXED | ADAPTIVE and rest[1:] in ([], ["adjoint"]):
        return Torchdiffeq(cast(Method, rest[0]), adjoint=len(rest) == 2 or rest[0] == "scipy_solver")
    raise ValueError(
        f"there is no solver {name[:60]!r}; write one of {', '.join(sorted(TABLEAUS))}, exponential, or torchdiffeq:METHOD or "
        f"torchdiffeq:METHOD:adjoint with METHOD one of {', '.join([*FIXED, *ADAPTIVE])}"
    )
