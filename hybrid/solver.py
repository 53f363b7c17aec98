"""What a solver is, and what it says when it fails."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from hybrid.field import SemilinearField


class SimulationError(RuntimeError):
    """A simulation that failed: `record` is the index of the person, `time` where it failed (None where unknown)."""

    def __init__(self, message: str, record: int | None = None, time: float | None = None) -> None:
        super().__init__(message)
        self.record, self.time = record, time


class Solver(ABC):
    """Integrates a field over its segments.

    Law: the measured order of convergence is the declared one on a problem that is not stiff.
    """

    @abstractmethod
    def solve(
        self,
        field: SemilinearField,
        x0: Tensor,  # (M, N, n)
    ) -> Tensor:  # (M, N, K+1, n)
        """The state at every segment boundary, before the dose that falls on it; the last one is the record's end.

        Errors: `SimulationError` that names the record and the time of the first state that is not finite.
        """


def require_finite(
    states: Tensor,  # (M, N, K+1, n)
    field: SemilinearField,
) -> Tensor:
    """Return `states`, or raise `SimulationError` naming the earliest record and time that are not finite."""
    if torch.isfinite(states).all():
        return states
    bad = ~torch.isfinite(states).all(-1).all(0)  # (N, K+1)
    record, boundary = min(torch.nonzero(bad).tolist(), key=lambda at: at[1])
    start, dt = field.segments.start, field.segments.dt
    k = max(boundary - 1, 0)
    time = float(start[record, k].detach() + (dt[record, k].detach() if boundary else 0.0))
    raise SimulationError(
        f"record {record}: the state is not finite at time {time:g}. Likely causes, in order: a step too long for the "
        "fastest rate (shorten Mesh.step, or use an adaptive solver), a residual that grows (train it with the stability "
        "penalty, or certify it), a parameter far outside its box",
        record=record,
        time=time,
    )
