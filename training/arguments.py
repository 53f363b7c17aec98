"""What every fit is given, looked at before anything runs."""

import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
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
    if value is not None and (not isinstance(value, Tensor) or value.is_meta or value.is_complex()):
        raise ValueError(f"{what} must be a tensor, and is {quote(value)}; write {write}")


def require_callable(value: object, what: str, write: str, *given: object, **named: object) -> None:
    """Raise `ValueError` for what cannot be called, or not with as many arguments, where None stands for a default."""
    if value is None:
        return
    if not callable(value):
        raise ValueError(f"{what} must be a function, and is {quote(value)}; write {write}")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # some of C have none
        return
    try:
        signature.bind(*given, **named)
    except TypeError as error:
        takes = f"{len(given)} argument{'s' if len(given) != 1 else ''}"
        raise ValueError(f"{what} must be a function of {takes}, and takes {quote(str(signature))}; write {write}") from error


def require_generator(value: object, what: str) -> None:
    """Raise `ValueError` for what draws nothing: a draw that nobody can repeat is none."""
    require_kind(value, torch.Generator, what, "torch.Generator().manual_seed(0)")


def require_path(value: object, what: str, write: str) -> None:
    """Raise `ValueError` for what names no file or folder."""
    named = isinstance(value, str | os.PathLike) and str(value).strip() and "\0" not in str(value)
    if not named or any(len(os.fsencode(part)) > 255 for part in str(value).split(os.sep)):
        raise ValueError(f"{what} is a path, and is {quote(value)}; write {write}")


def require_alike(first: Cohort, second: Cohort, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, unless two cohorts are of the same people in the same order."""
    if first.ids != second.ids:
        raise ValueError(
            f"{name}: known and asked are of the same people in the same order, and have {quote(first.ids)} and "
            f"{quote(second.ids)}; write cohort.until(time) and cohort.after(time) of one cohort"
        )


@contextmanager
def as_written(data: object, what: str) -> Iterator[None]:
    """Raise `ValueError` where what is read inside is not what `to_dict` of `what` writes."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{what} is read from what its to_dict writes, a mapping, and got {quote(data)}")
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError, RuntimeError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"this is no {what} as its to_dict writes it: {said[:200]}; save it again") from error
