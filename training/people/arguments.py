"""What every fit is given, looked at before anything runs."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from hybrid import HybridModel, Solver
from hybrid.model import require_given
from hybrid.solve.solver import require_solver
from physics.arguments import quote, require_kind
from training.people.cohort import Cohort


def require_fit(model: HybridModel, cohort: Cohort, name: str, solver: Solver | None = None) -> None:
    """Raise `ValueError` unless a model, a cohort that was cut for it, and a solver (or None) were given.

    `name`: the function that asks, with which the sentence begins.
    """
    require_kind(model, HybridModel, f"{name}: model", f"{name}(model, cohort, …)")
    require_kind(cohort, Cohort, f"{name}: cohort", f"{name}(model, Cohort.of(records, model), …)")
    require_given(model, cohort.conditions, name)
    require_solver(solver, name)


def require_numbers(cohort: Cohort, name: str, does: str) -> None:
    """Raise `ValueError`, beginning with `name`, for a cohort with values that are only known to lie between limits.

    `does`: what is done with measurements here that needs numbers, "a filter takes numbers".
    """
    if cohort.limits is not None or cohort.censoring == "m4":
        count = int(cohort.censored.sum())
        raise ValueError(
            f"{name}: {count} values are only known to lie between limits, or every value is conditioned on being above 0, and "
            f'{does}; write Cohort.of(records, model, censoring="m1") to leave such values out, and say so beside the result'
        )


def require_alike(first: Cohort, second: Cohort, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, unless two cohorts are of the same people in the same order."""
    if first.ids != second.ids:
        raise ValueError(
            f"{name}: known and asked are of the same people in the same order, and have {quote(first.ids)} and "
            f"{quote(second.ids)}; write cohort.until(time) and cohort.after(time) of one cohort"
        )


def require_untouched(value: object, name: str, without: Mapping[str, str]) -> None:
    """Raise `ValueError`, beginning with `name`, where a field that has no meaning for this call is not at its default.

    `value`: a dataclass whose fields have defaults · `without`: such a field → why, or what to do instead.
    """
    for one in fields(value) if is_dataclass(value) else ():
        given, usual = getattr(value, one.name), one.default
        if one.name in without and given is not usual and not (isinstance(given, bool | int | float) and given == usual):
            raise ValueError(f"{name}: {one.name} has no meaning here: {without[one.name]}; leave it out, or write fit(…)")
