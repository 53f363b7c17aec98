"""Where a learned part joins the model: names of states, inputs and channels, and what they resolve to."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

from learned.sizes import number_of, shown, sizes_of


@dataclass(frozen=True)
class Joint:
    """What a model tells its learned parts: the names of its `states`, `inputs` and `channels`, in order, and how many
    `covariates` (latents counted) the residual sees.
    """

    states: tuple[str, ...]
    inputs: tuple[str, ...]
    channels: tuple[str, ...]
    covariates: int

    def __post_init__(self) -> None:
        for what in ("states", "inputs", "channels"):
            names = getattr(self, what)
            if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
                raise ValueError(f"Joint: {what} are names in a tuple, and are {shown(names)}; write ('gut', 'plasma')")
            object.__setattr__(self, what, tuple(names))
        sizes_of({"covariates": self.covariates}, "Joint")
        if self.covariates < 0:
            raise ValueError(f"Joint: covariates is how many there are, from 0 on, and is {self.covariates}")


@runtime_checkable
class Joins(Protocol):
    """A part that was given names, which mean something in a model alone.

    Law: a part without names is given back itself; one with names, joined twice, is what it is joined once.
    """

    def joined(self, joint: Joint) -> Self:
        """The part as this model has it: names resolved, sizes that were left out filled in."""


def name_or_place(given: object, where: str) -> int | str:
    """A name, or a position as a plain int. Errors: `ValueError`, beginning with `where`, for anything else."""
    if isinstance(given, str) and given.strip():
        return given
    if isinstance(given, bool | type) or not hasattr(given, "__index__"):
        raise ValueError(f"{where} is a name, or a position as a whole number, and is {str(given)[:60]!r}")
    try:
        return operator.index(given)
    except TypeError as error:
        raise ValueError(f"{where} is a name, or a position as a whole number, and is {shown(given)}") from error


def places(
    given: Sequence[int | str],
    names: Sequence[str] | int,
    where: str,
) -> tuple[int, ...]:
    """The positions of names, or positions themselves, among `names` (or among so many that have none).

    Errors: `ValueError`, beginning with `where`, that lists what there is.
    """
    if isinstance(given, str):
        raise ValueError(f"{where} is a sequence of names, and got the text {given[:60]!r}; write ({given[:60]!r},)")
    if not isinstance(given, Iterable):
        raise ValueError(f"{where} is a sequence of names or positions, and got {shown(given)}; write (0,)")
    known = [] if isinstance(names, int) else list(names)
    count = names if isinstance(names, int) else len(known)
    there = ", ".join(f"{i} {name}" for i, name in enumerate(known)) if known else f"positions 0 to {count - 1}"
    if not count:
        there = "none"
    found = []
    for given_one in given:
        one = name_or_place(given_one, where)
        if isinstance(one, str) and one in known:
            found.append(known.index(one))
        elif not isinstance(one, str) and 0 <= one < count:
            found.append(one)
        else:
            raise ValueError(f"{where} names {str(one)[:60]!r}, and there are: {there}")
    if len(set(found)) < len(found):
        raise ValueError(f"{where} names one twice, {[str(g)[:60] for g in given]}; name each once")
    return tuple(found)


def in_order(
    given: Mapping[str, float],
    names: Sequence[str],
    where: str,
    missing: float | None = None,
) -> list[float]:
    """Numbers by name in the order of `names`; a name that is left out gets `missing`, where there is such a number.

    Errors: `ValueError`, beginning with `where`, for names that are not there, or left out.
    """
    unknown = [name for name in given if name not in names]
    absent = [name for name in names if name not in given]
    if unknown or (absent and missing is None):
        wrong = [f"names {shown(unknown[0])}"] if unknown else []
        wrong += [f"lacks {absent[0]!r}"] if absent and missing is None else []
        raise ValueError(f"{where} {' and '.join(wrong)}; give one number for each of {', '.join(names) or 'none'}")
    return [number_of(given[name], f"{where}: {name}") if name in given else float(missing or 0.0) for name in names]


def by_name(*given: Any) -> bool:
    """Is any of these a mapping by name, or a sequence with a name in it?"""
    return any(
        isinstance(one, str | Mapping) or (isinstance(one, Sequence) and any(isinstance(v, str) for v in one)) for one in given
    )
