"""What every fit is given, looked at before anything runs."""

from torch import Tensor

from hybrid import HybridModel, Solver
from hybrid.model import require_given
from hybrid.solver import require_solver
from physics.arguments import quote, require_kind
from training.records import Cohort


def require_fit(model: HybridModel, cohort: Cohort, name: str, solver: Solver | None = None) -> None:
    """Raise `ValueError` unless a model, a cohort that was cut for it, and a solver (or None) were given.

    `name`: the function that asks, with which the sentence begins.
    """
    require_kind(model, HybridModel, f"{name}: model", f"{name}(model, cohort, …)")
    require_kind(cohort, Cohort, f"{name}: cohort", f"{name}(model, Cohort.of(records, model), …)")
    require_given(model, cohort.conditions, name)
    require_solver(solver, name)


def require_tensor(value: object, what: str, write: str) -> None:
    """Raise `ValueError` for what is no tensor, where None stands for a default."""
    if value is not None and not isinstance(value, Tensor):
        raise ValueError(f"{what} must be a tensor, and is {quote(value)}; write {write}")


def require_callable(value: object, what: str, write: str) -> None:
    """Raise `ValueError` for what cannot be called, where None stands for a default."""
    if value is not None and not callable(value):
        raise ValueError(f"{what} must be a function, and is {quote(value)}; write {write}")
