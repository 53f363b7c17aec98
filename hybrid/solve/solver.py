"""What a solver is, and what it says when it fails."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from string import Formatter

import torch
from torch import Tensor

from hybrid.derivative import mapped, values_of
from hybrid.field import SemilinearField, among
from physics import capture
from physics.arguments import quote, require_kind, require_names, require_shape
from physics.glance import glance


class Cause(Enum):
    """Why a record cannot be simulated: there are no other causes, and who watches a model acts on them by name.

    The value is the sentence that is said, with a place for the time and for the numbers of the one failure.
    """

    NOT_FINITE = (
        "the state is not finite at time {time}. Likely causes, in order: of steps by a mesh, one too long for the fastest "
        "rate (shorten Mesh.step, or give the solver an rtol), a residual that grows (train it with the stability penalty, or "
        "certify it), a parameter far outside its box"
    )
    OUT_OF_STEPS = (
        "{steps} steps were not enough, they reached time {time}. Likely causes, in order: {fast}, "
        "a tolerance below rounding, a very long record (max_steps)"
    )
    COLLAPSED = (
        "the step size collapsed at time {time}: no step keeps the tolerance. Likely causes, in order: a right-hand side that "
        "jumps or is not smooth there, a residual that grows without bound, a tolerance below rounding"
    )
    UNSETTLED = (
        "no steady state is reached at time {time}: dose after dose adds up without an end, or what they lead to swings. Likely "
        "causes, in order: more is given than a saturable elimination takes away, a parameter far outside its box, a "
        "residual that "
        "grows"
    )
    UNSTABLE = (
        "the step of {step:.4g} from time {time} times the fastest rate {rate:.4g} is {product:.3g}, "
        "beyond {limit:.3g}, where {method} becomes unstable. Cut the record for these parameters, "
        "Mesh.of(model, records) or Mesh(step={shorter:.2g}), or use Exponential(rtol=1e-6)"
    )
    SWINGS = (
        "the step of {step:.4g} from time {time} times the fastest rate {rate:.4g} is {product:.3g}, "
        "with which an oscillation that dies out grows by {grown:.2g} a step of {method}. Use "
        'RungeKutta("rk4") on Mesh.of(model, records), or Exponential(rtol=1e-6)'
    )


@cache
def needs(cause: Cause) -> frozenset[str]:
    """The names of the numbers that a cause's sentence says beside the time."""
    return frozenset(name for _, name, _, _ in Formatter().parse(cause.value) if name) - {"time"}


@dataclass(frozen=True)
class Failure:
    """Why one record could not be simulated: its index, the time where it failed, and the cause, one of `Cause`.

    `members`: those under which it failed, where the others' states are known; None where it failed for all together.
    `numbers`: what the cause's sentence says beside the time, by name. `states`: the names of those in which it failed, where
    they are known and not all.
    """

    record: int
    time: float
    cause: Cause
    members: tuple[int, ...] | None = None
    numbers: Mapping[str, float | str] = field(default_factory=dict, hash=False)
    states: tuple[str, ...] = ()

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_kind(self.cause, Cause, "Failure: cause", "Cause.NOT_FINITE, or another of Cause")
        require_kind(self.numbers, Mapping, "Failure: numbers", "{}, what the cause's sentence says, by name")
        object.__setattr__(self, "states", require_names(self.states, "Failure: states", "states=()"))
        missing = needs(self.cause) - self.numbers.keys()
        if missing:
            raise ValueError(
                f"Failure: {self.cause.name} needs numbers for {quote(self.cause.value)}; {', '.join(sorted(missing))} is missing"
            )

    @property
    def sentence(self) -> str:
        """The cause in words."""
        some = ", ".join(self.states[:3]) + (f" and {len(self.states) - 3} more" if len(self.states) > 3 else "")
        where = f", in {some}" if self.states else ""
        return self.cause.value.format(time=f"{self.time:g}{where}", **self.numbers)

    def __str__(self) -> str:
        return f"record {self.record}: {self.sentence}"


@dataclass(frozen=True)
class Solution:
    """What a solver returns: `states` (M, N, T, n) at the observations, NaN for the records of `failures` (under the members
    that these name).
    """

    states: Tensor
    failures: tuple[Failure, ...] = ()

    __repr__, _repr_html_ = glance()

    def require(self) -> Tensor:
        """The states, or a `SimulationError` for the record that failed first."""
        if self.failures:
            first = min(self.failures, key=lambda f: f.time)
            raise SimulationError(str(first), record=first.record, time=first.time, failures=self.failures)
        return self.states


class SimulationError(RuntimeError):
    """A simulation that failed: `record` is the index of the person, `time` where it failed (None where unknown).

    `failures` are all that are known, one a record.
    """

    def __init__(
        self,
        message: str,
        record: int | None = None,
        time: float | None = None,
        failures: tuple[Failure, ...] = (),
    ) -> None:
        super().__init__(message)
        self.record, self.time, self.failures = record, time, failures


class Solver(ABC):
    """Integrates a field over its segments.

    Law: the measured order of convergence is the declared one on a problem that is not stiff.
    """

    @property
    @abstractmethod
    def adaptive(self) -> bool:
        """Does it find its own steps, to a tolerance, or take those of the mesh?"""

    @abstractmethod
    def solve(
        self,
        field: SemilinearField,
        x0: Tensor,  # (M, N, n)
    ) -> Solution:
        """The states at the observations, before a dose of the same time.

        A record that fails does not stop the others: its states are NaN and its reason is a `Failure`.
        """


def not_finite(
    states: Tensor,  # (M, N, K'+1, n) at the boundaries from `first` on
    field: SemilinearField,
    first: int = 0,
) -> tuple[Failure, ...]:
    """Where each record's state first is not finite, if it ever is; nobody looks while a graph is captured.

    Errors: `SimulationError` for a batch of `torch.func.vmap`, in which nobody can be named.
    """
    if capture.capturing() or torch.isfinite(values_of(states)).all():
        return ()
    if mapped(states):
        raise SimulationError(
            "under torch.func.vmap a state is not finite, and it cannot be said whose; simulate the same as people or members "
            "(shapes (M, N, …)) without vmap, and the record and the time are named"
        )
    bad = ~torch.isfinite(states).all(-1).all(0)  # (N, K+1)
    start, dt = field.segments.start.detach(), field.segments.dt.detach()
    found = []
    for record in torch.nonzero(bad.any(1))[:, 0].tolist():
        boundary = first + int(bad[record].long().argmax())
        k = max(boundary - 1, 0)
        at = float(start[record, k] + (dt[record, k] if boundary else 0.0))
        lost = ~torch.isfinite(states[:, record, boundary - first]).all(0)  # (n,)
        found.append(Failure(record, at, Cause.NOT_FINITE, states=field.named(lost)))
    return tuple(found)


def without(
    states: Tensor,  # (M, N, T, n)
    failures: tuple[Failure, ...],
) -> Solution:
    """The solution in which the failed records are NaN, and send no gradient to anybody."""
    if not failures:
        return Solution(states)
    failed = torch.zeros(states.shape[:2], dtype=torch.bool, device=states.device)
    for f in failures:
        failed[slice(None) if f.members is None else list(f.members), f.record] = True
    return Solution(torch.where(failed[..., None, None], torch.nan, states), failures)


def at_rest(
    x0: Tensor,  # (M, N, n)
    failures: tuple[Failure, ...],
) -> Tensor:  # (M, N, n)
    """The starts, 0 for the failed records, to go with `SemilinearField.without`."""
    return torch.where(among(failures, x0[0])[:, None], 0.0, x0)


def require_solver(solver: object, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, for what is no solver, where None stands for a default."""
    if solver is not None:
        require_kind(solver, Solver, f"{name}: solver", 'RungeKutta("rk4"), Exponential(rtol=1e-6) or Torchdiffeq("dopri5")')


def require_problem(field: SemilinearField, x0: Tensor, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, unless x0 (M, N, n) are starts for the field's people, of its type."""
    require_kind(field, SemilinearField, f"{name}: field", "model.bind(segments, theta, c)")
    N, n = field.segments.dt.shape[0], field.A.shape[-1]
    require_shape(x0, f"{name}: x0", "M", N, n, write="model.initial(theta, baseline)", like=field.A)
    if x0.dtype != field.A.dtype or (1 not in (len(x0), field.A.shape[0]) and len(x0) != field.A.shape[0]):
        raise ValueError(
            f"{name}: x0 is {x0.dtype} of {len(x0)} members and the field {field.A.dtype} of {field.A.shape[0]}; give both alike"
        )
