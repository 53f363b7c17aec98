"""Numbers of one person, of each of N or of each under M members, as whoever calls us holds them."""

import numpy as np
import torch
from torch import Tensor

from physics.arguments import quote


def leading(
    value: object, size: int, people: int | None, what: str, like: Tensor, *, square: bool = False, name: str = "simulate"
) -> Tensor:
    """Numbers (size,), (N, size) or (M, N, size), with two last axes of `size` where `square`, as (M|1, N|1, size), in the
    type of `like` and where it is. Lists and arrays are taken too. `people` N, None where any number may be.

    Errors: `ValueError`, beginning with `name` and `what`, for other shapes, and a loss of digits.
    """
    tail = (size, size) if square else (size,)
    last = ", ".join(map(str, tail))
    listed = isinstance(value, list | tuple)
    if listed and any(isinstance(v, np.ndarray) for v in value):  # type: ignore[attr-defined]  # just found to be one
        value, listed = np.asarray(value), False
    try:
        given = torch.as_tensor(value)
        if given.is_complex() or given.dtype == torch.bool or given.is_meta:
            raise TypeError
        if listed and given.is_floating_point():  # torch reads plain numbers in its default type, and would round them
            given = torch.as_tensor(value, dtype=like.dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name}: {what} must be numbers in a tensor of last axis {size}, and is {quote(value)}") from error
    if given.dtype == torch.float64 and like.dtype != torch.float64:
        raise ValueError(
            f"{name}: {what} is float64 and the model computes in {like.dtype}, which would round it; write "
            f"model.to(torch.float64), or {what}.to({like.dtype})"
        )
    given = given.to(like)
    lead = given.ndim - len(tail)
    others = lead > 0 and people is not None and given.shape[lead - 1] not in (1, people)
    if lead not in (0, 1, 2) or given.shape[lead:] != tail or others:
        known = "" if people is None else f" with N = {people}"
        raise ValueError(
            f"{name}: {what} needs shape ({last}{',' if not square else ''}), (N, {last}) or (M, N, {last}){known}, "
            f"got {tuple(given.shape)}"
        )
    return given.reshape((1,) * (2 - lead) + tuple(given.shape))
