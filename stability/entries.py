"""A dataclass as entries in JSON: written field by field, and read back with each entry held against its field's type."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from stability.arguments import array, shown


def as_written(found: dict[str, Any]) -> dict[str, Any]:
    """What every version wrote alike needs no translation."""
    return found


def written(value: Any) -> dict[str, Any]:
    """The fields as plain lists, numbers and strings for JSON, in their order, exact to the last bit."""
    return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}


def kinds_of(cls: type) -> tuple[str, ...]:
    """The words that the field `kind` may hold, which its `Literal` names. Errors: ValueError where there is no such field."""
    kinds = get_args(_hints(cls).get("kind"))
    if not kinds:
        raise ValueError(f'{cls.__name__} names no kind that it reads; write kind: Literal["step"] = "step" among its fields.')
    return kinds


def own_arrays(value: Any) -> None:
    """Make every array of a dataclass a read-only float64 copy: what was proved stays what it was."""
    cls: Any = type(value)
    for name, hint in _hints(cls).items():
        if _origin(hint) is np.ndarray:
            held = np.array(getattr(value, name), dtype=np.float64)
            held.setflags(write=False)
            object.__setattr__(value, name, held)


def entries_of(
    cls: type,
    data: object,
    of_now: Callable[[dict[str, Any]], dict[str, Any]] = as_written,
) -> dict[str, Any]:
    """The entries of a dataclass as its `to_dict` writes them, each of its field's type. Errors: ValueError."""
    hints, kinds, names = _hints(cls), kinds_of(cls), [f.name for f in fields(cls)]
    what = f"a {kinds[0]}" if len(kinds) == 1 else f"one of {', '.join(kinds)}"
    if not isinstance(data, Mapping) or not all(isinstance(name, str) for name in data):
        raise ValueError(f"{what} is read from what its to_dict writes, and this is {shown(data)}.")
    if data.get("kind") not in kinds:
        wanted = " or ".join(map(repr, kinds))
        raise ValueError(f"the kind is {shown(data.get('kind'))}, not {wanted}; read it with the class that wrote it.")
    found = of_now(dict(data))
    needed = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    lacks, more = [name for name in needed if name not in found], [name for name in found if name not in names]
    if lacks or more:
        wrong = f"it lacks {', '.join(lacks)}" if lacks else f"{shown(more[0])} is none of its entries"
        raise ValueError(f"this is not {what} as to_dict writes it: {wrong}.")
    return {name: _read(value, hints[name], f"{name} of the {data['kind']}") for name, value in found.items()}


@cache
def _hints(cls: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, by name, which are looked up once: that takes longer than all else."""
    known = get_type_hints(cls)
    return {f.name: known[f.name] for f in fields(cls)}


def _origin(hint: Any) -> Any:
    """What the type is made of; where it is a name for another (as NDArray is from numpy 2.5 on), what that one is made of."""
    named = getattr(get_origin(hint), "__value__", None)
    return get_origin(hint) if named is None else get_origin(named)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value


def _read(value: Any, hint: Any, name: str) -> Any:
    """An entry, if it can be what a field of this type holds."""
    origin, inner = _origin(hint), get_args(hint)
    if origin is np.ndarray:
        found = array(value, name)
        if not found.ndim:
            raise ValueError(f"{name} is the single number {shown(value)}; it is a list, as to_dict writes it.")
        return found
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} is {shown(value)}; it is a list, as to_dict writes it.")
        types = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        if len(value) != len(types):
            raise ValueError(f"{name} has {len(value)} entries; it has {len(types)}, as to_dict writes it.")
        return tuple(_read(one, kind, f"an entry of {name}") for one, kind in zip(value, types, strict=True))
    allowed = inner if origin in (Union, UnionType) else (hint,)
    if not any(_fits(value, one) for one in allowed):
        words = " or ".join(_in_words(one) for one in allowed)
        raise ValueError(f"{name} is {shown(value)}; it is {words}, as to_dict writes it.")
    if isinstance(value, int) and not isinstance(value, bool) and int not in allowed:  # other writers of JSON leave out the .0
        try:
            return float(value)
        except OverflowError as error:
            raise ValueError(f"{name} is {shown(value)}, beyond the numbers of float64.") from error
    return value


_WORDS: dict[Any, str] = {
    float: "a number",
    int: "a whole number",
    bool: "True or False",
    str: "a text",
    NoneType: "None",
    Mapping: "a mapping",
    dict: "a mapping",
}


def _in_words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, get_args(hint)))}"
    return _WORDS.get(get_origin(hint) or hint, "of another type")


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if hint in (float, int):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return isinstance(value, get_origin(hint) or hint)
