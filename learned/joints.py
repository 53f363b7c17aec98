"""Where a learned part joins the model: names of states, inputs and channels, and what they resolve to."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

from learned.sizes import number_of, shown, sizes_of


@dataclass(frozen=True)
class Joint:
    """What a model tells its learned parts: the names of its `states`, `inputs` and `channels`, in order, how many
    `covariates` (latents counted) the residual sees, and the `boxes` (low, high) of θ by name, in its order.
    """

    states: tuple[str, ...]
    inputs: tuple[str, ...]
    channels: tuple[str, ...]
    covariates: int
    boxes: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what in ("states", "inputs", "channels"):
            names = getattr(self, what)
            if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
                raise ValueError(f"Joint: {what} are names in a tuple, and are {shown(names)}; write ('gut', 'plasma')")
            object.__setattr__(self, what, tuple(names))
        sizes_of({"covariates": self.covariates}, "Joint")
        if self.covariates < 0:
            raise ValueError(f"Joint: covariates is how many there are, from 0 on, and is {self.covariates}")
        if not isinstance(self.boxes, Mapping) or not all(isinstance(name, str) for name in self.boxes):
            raise ValueError(f"Joint: boxes go by the names of θ, and are {shown(self.boxes)}; write {{'V': (5.0, 200.0)}}")
        for name, ends in self.boxes.items():
            if not isinstance(ends, tuple | list) or len(ends) != 2:
                raise ValueError(f"Joint: boxes: that of {name[:60]} is its low and its high end, and is {shown(ends)}")
            for end in ends:
                number_of(end, f"Joint: boxes: an end of {name[:60]}")


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


def inputs_of(given: Sequence[int | str] | None, inputs: int, where: str) -> tuple[int, ...]:
    """The positions of the inputs that a residual sees, all of them where none are `given`; names wait for the model.

    Errors: `ValueError`, beginning with `where`, for one that is not there.
    """
    found = tuple(int(name_or_place(i, f"{where}: sees_inputs")) for i in (range(inputs) if given is None else given))
    if not set(found) <= set(range(inputs)):
        raise ValueError(
            f"{where}: sees_inputs names inputs by their index, 0 to {inputs - 1} here, and got {found}; the order is that of "
            "the backbone's inputs"
            if inputs
            else f"{where}: sees_inputs is {found} and the residual is made for no inputs; leave it out"
        )
    return found


def by_name(*given: Any) -> bool:
    """Is any of these a mapping by name, or a sequence with a name in it?"""
    return any(
        isinstance(one, str | Mapping) or (isinstance(one, Sequence) and any(isinstance(v, str) for v in one)) for one in given
    )


def waits(
    sizes: tuple[int | None, int | None, int | None],  # states, inputs, covariates
    scales: Sequence[object],
    *named: object,
    where: str,
) -> bool:
    """Does a residual wait for its model: without sizes, with a scale by name, or with a name among the `named` options?

    Errors: `ValueError`, beginning with `where`, for some of the sizes without the states.
    """
    states, *others = sizes
    if states is None and any(size is not None for size in others):
        raise ValueError(f"{where}: give all three sizes, states, inputs and covariates, or leave them to the model")
    return states is None or any(isinstance(scale, Mapping) for scale in scales) or by_name(*named)


def with_sizes(given: Mapping[str, Any], joint: Joint, where: str) -> dict[str, Any]:
    """The arguments that a residual was given, its sizes those of the model where they were left out, its scales in order.

    Errors: `ValueError`, beginning with `where`, for another number of states, and names that the model does not have.
    """
    made = dict(given)
    if given["states"] is None:
        made |= {"states": len(joint.states), "inputs": len(joint.inputs), "covariates": joint.covariates}
    elif given["states"] != len(joint.states):
        raise ValueError(
            f"{where}: made for {given['states']} states, and the model's are {', '.join(joint.states)}; leave the sizes out"
        )
    elif given["inputs"] is None and by_name(given.get("sees_inputs"), given["input_scale"]):
        made["inputs"] = len(joint.inputs)
    for option, there in (("state_scale", joint.states), ("input_scale", joint.inputs)):
        if isinstance(given[option], Mapping):
            made[option] = in_order(given[option], there, f"{where}: {option}")
    return made


def require_joined(waiting: object, where: str, give: str) -> None:
    """Raise `ValueError`, beginning with `where`, while a part is `waiting` for its model; `give`: what it can do without."""
    if waiting is not None:
        raise ValueError(
            f"{where}: names and sizes that were left out are resolved when a HybridModel is built with it, which has not "
            f"happened; build the model, or give {give}"
        )
