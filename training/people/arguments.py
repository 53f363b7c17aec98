"""What every fit is given, looked at before anything runs."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from torch import Tensor

from hybrid import HybridModel, Solver
from hybrid.model_arguments import require_given
from hybrid.solve.solver import require_solver
from physics.arguments import quote, require_kind
from training.people.cohort import Cohort
from training.people.likelihoods import require_apart


def require_fit(model: HybridModel, cohort: Cohort, name: str, solver: Solver | None = None) -> None:
    """Raise `ValueError` unless a model, a cohort that was cut for it, and a solver (or None) were given.

    `name`: the function that asks, with which the sentence begins.
    """
    require_kind(model, HybridModel, f"{name}: model", f"{name}(model, cohort, …)")
    require_kind(cohort, Cohort, f"{name}: cohort", f"{name}(model, Cohort.of(records, model), …)")
    require_given(model, cohort.conditions, name)
    require_solver(solver, name)
    if model.noise.correlation() is not None:
        require_apart(cohort.limits, cohort.censoring == "m4", name)


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


def require_trainable(model: HybridModel, cohort: Cohort, name: str) -> None:
    """`require_fit`, and raise `ValueError` for a dose that asks for a gradient: a search learns the model's numbers alone."""
    require_fit(model, cohort, name)
    for record in cohort.records:
        for dose in record.schedule.doses:
            for what in ("time", "amount", "duration", "lag"):
                number = getattr(dose, what)
                if isinstance(number, Tensor) and number.requires_grad:
                    raise ValueError(
                        f"{name}: the {what} of a dose into {dose.state} of record {record.id} asks for a gradient, and a fit "
                        "learns the model's own numbers alone; for a lag, a fraction, a duration or a rate of the person write "
                        "Administered(backbone, lag={…}), else give the dose a number: .item()"
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
