"""The machine room: solvers, tableaus, marching, kernels. It knows a field, segments and layers, and no model."""

from hybrid.solve.exponential import Exponential
from hybrid.solve.runge_kutta import RungeKutta
from hybrid.solve.solver import Cause, Failure, SimulationError, Solution, Solver
from hybrid.solve.torchdiffeq_solver import Torchdiffeq

__all__ = ["Cause", "Exponential", "Failure", "RungeKutta", "SimulationError", "Solution", "Solver", "Torchdiffeq"]
