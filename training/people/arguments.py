"""What every fit is given, looked at before anything runs."""

from hybrid import HybridModel, Solver
from hybrid.model import require_given
from hybrid.solve.solver import require_solver
from physics.arguments import quote, require_kind
from training.people.records import Cohort


def require_fit(model: HybridModel, cohort: Cohort, name: str, solver: Solver | None = None) -> None:
    """Raise `ValueError` unless a model, a cohort that was cut for it, and a solver (or None) were given.

    `name`: the function that asks, with which the sentence begins.
    """
    require_kind(model, HybridModel, f"{name}: model", f"{name}(model, cohort, …)")
    require_kind(cohort, Cohort, f"{name}: cohort", f"{name}(model, Cohort.of(records, model), …)")
    require_given(model, cohort.conditions, name)
    require_solver(solver, name)


def require_alike(first: Cohort, second: Cohort, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, unless two cohorts are of the same people in the same order."""
    if first.ids != second.ids:
        raise ValueError(
            f"{name}: known and asked are of the same people in the same order, and have {quote(first.ids)} and "
            f"{quote(second.ids)}; write cohort.until(time) and cohort.after(time) of one cohort"
        )
