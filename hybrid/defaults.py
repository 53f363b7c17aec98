"""The solvers that are taken where none is named."""

import torch

from hybrid.solve.exponential import Exponential
from hybrid.solve.runge_kutta import RungeKutta
from hybrid.solve.solver import Solver


def simulating(dtype: torch.dtype) -> Solver:
    """Of what only simulates: steps by error control, to a tolerance that the type can keep. It needs no mesh."""
    return Exponential(rtol=1e-6) if dtype == torch.float64 else Exponential(rtol=1e-4)


def predicting(fitted: Solver | None, dtype: torch.dtype) -> Solver:
    """Of a prediction after a fit: the fit's own solver where that adapts its steps, else error control.

    Draws of a person's parameters may be faster than those for whom the mesh was made.
    """
    return fitted if fitted is not None and fitted.adaptive else simulating(dtype)


def differentiating() -> Solver:
    """Of what differentiates, thousands of times: the classic method on the mesh that a cohort carries."""
    return RungeKutta("rk4")
