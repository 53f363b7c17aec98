"""Known plus learned: models, schedules, observation, simulation, predictions."""

from homeostat_siblings import require_siblings

require_siblings("hybrid", ("physics", "learned"))  # before the first of them is imported

from hybrid.conditions import Conditions
from hybrid.cutting.cut import build_segments
from hybrid.cutting.interval import Interval
from hybrid.cutting.mesh import Mesh
from hybrid.cutting.segments import Segments
from hybrid.cutting.stretches import segments_of
from hybrid.field import SemilinearField
from hybrid.field_spread import field_spread
from hybrid.laws.observation import check_observation
from hybrid.laws.solver import check_solver
from hybrid.laws.term import check_term
from hybrid.log_observation import Log
from hybrid.model import HybridModel
from hybrid.observation import Concentration, Observation, States
from hybrid.offset import Offset
from hybrid.predicting import predict
from hybrid.prediction import Prediction
from hybrid.process_noise import Paths, sample_paths
from hybrid.propagate import Moves, propagate, root, transition
from hybrid.schedules.dose import Dose
from hybrid.schedules.schedule import Schedule
from hybrid.schedules.signal import Signal
from hybrid.schedules.steady import Steady
from hybrid.shift import Shift, ShiftReason
from hybrid.simulate import Rollout, conditions_of, integrate, rollout, simulate
from hybrid.solve import Cause, Exponential, Failure, RungeKutta, SimulationError, Solution, Solver, Torchdiffeq
from hybrid.terms import BoundTerm, Parts, RightHandSide, Term

# a new member is one file and one word here: the contract tests and the bundle loader run over these tuples
OBSERVATIONS: tuple[type[Observation], ...] = (Concentration, States, Offset, Log)
TERMS: tuple[type[Term], ...] = ()
SOLVERS: tuple[type[Solver], ...] = (RungeKutta, Exponential, Torchdiffeq)

__all__ = [
    "OBSERVATIONS",
    "SOLVERS",
    "TERMS",
    "BoundTerm",
    "Cause",
    "Concentration",
    "Conditions",
    "Dose",
    "Exponential",
    "Failure",
    "HybridModel",
    "Interval",
    "Log",
    "Mesh",
    "Moves",
    "Observation",
    "Offset",
    "Parts",
    "Paths",
    "Prediction",
    "RightHandSide",
    "Rollout",
    "RungeKutta",
    "Schedule",
    "Segments",
    "SemilinearField",
    "Shift",
    "ShiftReason",
    "Signal",
    "SimulationError",
    "Solution",
    "Solver",
    "States",
    "Steady",
    "Term",
    "Torchdiffeq",
    "build_segments",
    "check_observation",
    "check_solver",
    "check_term",
    "conditions_of",
    "field_spread",
    "integrate",
    "predict",
    "propagate",
    "rollout",
    "root",
    "sample_paths",
    "segments_of",
    "simulate",
    "transition",
]
