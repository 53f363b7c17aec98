"""Which θ a residual sees: what was asked for, by name or written out, and what is given to it behind c."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from learned.joints import name_or_place, places
from learned.residual import Residual
from learned.seen_theta import KEYS, SeenTheta
from learned.sizes import listed_of, number_of, shown


def requested(given: object, where: str) -> bool | list[Any]:
    """The option `sees_theta` as it was written: yes, no, or a list. Errors: `ValueError`, beginning with `where`."""
    if isinstance(given, bool):
        return given
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping | set | Tensor):
        given = list(given)
        if _boxed(given):
            return list(given)
    return [name_or_place(one, where) for one in listed_of(given, where)]


def waiting(given: bool | Sequence[Any]) -> bool:
    """Does it need a model, that has names and boxes?"""
    return bool(given) and not _boxed(given)


def resolved(given: bool | Sequence[Any], where: str) -> SeenTheta | None:
    """What was written out with places and boxes, as `SeenTheta.config` does; None where nothing is seen.

    Errors: `ValueError`, beginning with `where`.
    """
    if isinstance(given, bool) or not given:
        return None
    rows = []
    for one in given:
        if one.keys() != set(KEYS) or not isinstance(one["name"], str) or type(one["at"]) is not int or one["at"] < 0:
            raise ValueError(
                f"{where} written out needs the name of each, at (its place in θ), low and high, and got {shown(dict(one))}; "
                "in a model names alone will do"
            )
        ends = (number_of(one[end], f"{where}: {end} of {one['name'][:60]}") for end in ("low", "high"))
        rows.append((one["name"], one["at"], *ends))
    names, at, low, high = zip(*rows, strict=True)
    if len(set(at)) < len(at):
        raise ValueError(f"{where} has one place in θ twice, {list(at)}; name each once")
    return SeenTheta(names, at, low, high)


def of_model(
    given: bool | Sequence[int | str],
    boxes: Mapping[str, tuple[float, float]],
    where: str,
) -> list[dict[str, Any]]:
    """What was asked for by name or place, written out with the places and boxes of a model's θ.

    Errors: `ValueError`, beginning with `where`, for names that the model does not have, and where it has no θ at all.
    """
    names = list(boxes)
    if not names:
        raise ValueError(f"{where}: this model has no θ that a residual could see; leave it out")
    at = tuple(range(len(names))) if isinstance(given, bool) else places(given, names, where)
    ends = [boxes[names[j]] for j in at]
    return SeenTheta(tuple(names[j] for j in at), at, tuple(e[0] for e in ends), tuple(e[1] for e in ends)).config()


def require_same(seen: SeenTheta | None, boxes: Mapping[str, tuple[float, float]], where: str) -> None:
    """Raise `ValueError`, beginning with `where`, unless the model has these parameters at these places of its θ."""
    names = list(boxes)
    for name, at in zip(seen.names, seen.at, strict=True) if seen is not None else ():
        if at >= len(names) or names[at] != name:
            there = ", ".join(f"{j} {one}" for j, one in enumerate(names)) or "none"
            raise ValueError(f"{where} was resolved for {name[:60]!r} at place {at} of θ; here are: {there}; build it anew")


def with_theta(
    residual: Residual,
    theta: Tensor,  # (M|1, N|1, q)
    c: Tensor,  # (M|1, N|1, r)
) -> Tensor:  # (M|1, N|1, r + k)
    """What the residual takes for c: behind it θ, where the residual sees θ, as it sees it."""
    if not residual.sees_theta:
        return c
    seen = theta if residual.seen_theta is None else residual.seen_theta(theta)
    rows = torch.broadcast_shapes(seen.shape[:2], c.shape[:2])
    return torch.cat([c.expand(*rows, -1), seen.expand(*rows, -1)], -1)


def _boxed(given: object) -> bool:
    """Is it written out?"""
    return isinstance(given, Sequence) and bool(given) and all(isinstance(one, Mapping) for one in given)
