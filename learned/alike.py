"""What modules are beside their trainable tensors, and by what two of them differ."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from learned.sizes import shown


@runtime_checkable
class Held(Protocol):
    """A part whose configuration also says where its trainable tensors start, or says one thing in two ways.

    `held` is what of it no trainable tensor carries, in one form for equal parts: it speaks for the part's own buffers too, and
    not for parts within. Of a part without it `config()` and the buffers are taken, and of one without either its public
    attributes that are plain values.
    """

    def held(self) -> dict[str, Any]: ...


def difference(one: nn.Module, other: nn.Module) -> str | None:
    """By what two modules with the same trainable tensors differ, "backbone: lag.gut.typical is 0.8 and 1.6"; None for nothing.

    What is trainable, and where it started, is not looked at.
    """
    ours, theirs = dict(one.named_modules()), dict(other.named_modules())
    spoken = tuple(name for name, part in ours.items() if isinstance(part, Held) or _config(part) is not None)
    for name, part in ours.items():
        where = name or type(part).__name__
        fellow = theirs.get(name)
        if fellow is None or type(fellow) is not type(part):
            return f"{where} is {type(part).__name__} and {'none' if fellow is None else type(fellow).__name__}"
        within = any(name != up and (not up or name.startswith(f"{up}.")) for up in spoken)
        for said, also in zip(_told(part, within), _told(fellow, within), strict=True):
            found = _first(said, also, "")
            if found is not None:
                return f"{where}: {found}"
    extra = next((name for name in theirs if name not in ours), None)
    return None if extra is None else f"{extra} is none and {type(theirs[extra]).__name__}"


def _told(part: nn.Module, within: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a part says of itself, and its buffers; `within`: a part that it lies in has spoken for it, but for its buffers."""
    if isinstance(part, Held):
        return part.held(), {}
    buffers = {name: b.detach() for name, b in part.named_buffers(recurse=False)}
    said = _config(part)
    if said is None:
        said = {} if within else {k: v for k, v in vars(part).items() if not k.startswith("_") and k != "training" and _plain(v)}
    return said, buffers


def _config(part: nn.Module) -> dict[str, Any] | None:
    config = getattr(part, "config", None)
    said = config() if callable(config) else None
    return dict(said) if isinstance(said, Mapping) else None


def _plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(_plain(v) for v in value.values())
    if isinstance(value, list | tuple):
        return all(_plain(v) for v in value)
    return value is None or isinstance(value, str | int | float | bool)


def _first(one: Any, other: Any, at: str) -> str | None:
    """The first place at which two values differ, in words."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape:
            return f"{at} has the shapes {tuple(one.shape)} and {tuple(other.shape)}"
        unlike = (one != other.to(one)) & ~((one != one) & (other != other).to(one.device))  # NaN is like NaN
        if not bool(unlike.any()):
            return None
        place = tuple(int(i) for i in torch.nonzero(unlike)[0])
        mark = f"[{', '.join(map(str, place))}]" if place else ""
        return f"{at}{mark} is {shown(one[place].item())} and {shown(other[place].item())}"
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in [*one, *(k for k in other if k not in one)]:
            inside = f"{at}.{key}" if at else str(key)
            if key not in one or key not in other:
                return f"{inside} is {shown(one[key]) if key in one else 'not there'} and {shown(other.get(key, 'not there'))}"
            if (found := _first(one[key], other[key], inside)) is not None:
                return found
        return None
    if _listed(one) and _listed(other):
        if len(one) != len(other):
            return f"{at} is {shown(one)} and {shown(other)}"
        for k, (a, b) in enumerate(zip(one, other, strict=True)):
            name = a["name"] if isinstance(a, Mapping) and isinstance(a.get("name"), str) else k
            if (found := _first(a, b, f"{at}.{name}")) is not None:
                return found
        return None
    same: Any = one is other or one == other  # of an array each of its numbers
    alike = bool(same.all()) if hasattr(same, "all") else bool(same)
    both_nan = isinstance(one, float) and isinstance(other, float) and one != one and other != other
    return None if alike or both_nan else f"{at} is {shown(one)} and {shown(other)}"


def _listed(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
