"""Known plus learned: models, schedules, observation, simulation, predictions."""

from hybrid.field import SemilinearField
from hybrid.model import Conditions, HybridModel
from hybrid.observation import Concentration, Observation, States
from hybrid.prediction import Prediction
from hybrid.schedule import Dose, Schedule, Signal
from hybrid.segments import Mesh, Segments, build_segments
from hybrid.simulate import Rollout, conditions_of, predict, rollout, simulate
from hybrid.solver import SimulationError, Solver
from hybrid.torchdiffeq_solver import Torchdiffeq

# a new member is one file and one word here: the contract tests and the bundle loader run over these tuples
OBSERVATIONS: tuple[type[Observation], ...] = (Concentration, States)
SOLVERS: tuple[type[Solver], ...] = (Torchdiffeq,)

__all__ = [
    "OBSERVATIONS",
    "SOLVERS",
    "Concentration",
    "Conditions",
    "Dose",
    "HybridModel",
    "Mesh",
    "Observation",
    "Prediction",
    "Rollout",
    "Schedule",
    "Segments",
    "SemilinearField",
    "Signal",
    "SimulationError",
    "Solver",
    "States",
    "Torchdiffeq",
    "build_segments",
    "conditions_of",
    "predict",
    "rollout",
    "simulate",
]
