"""Sizes, widths and scales that a constructor was given, looked at before anything is made of them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from types import EllipsisType

import numpy as np
import torch
from torch import Tensor


def shown(value: object) -> str:
    """A value as a message shows it, never long: arrays by their shape, objects by their kind."""
    if isinstance(value, Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')}, shape {tuple(value.shape)}, on {value.device}"
    if not isinstance(value, str | bytes | int | float | complex | list | tuple | dict | set | None):
        shape = getattr(value, "shape", None)
        return f"a {type(value).__name__}" + (f" of shape {tuple(shape)}" if isinstance(shape, tuple) and shape else "")
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 100 else f"{text[:80]} …"


def tensor_of(value: object, name: str, *sizes: int | str | EllipsisType, like: Tensor | None = None) -> None:
    """Raise `ValueError`, which begins with `name`, unless the value is a tensor of real numbers with these axes.

    `sizes`: a number for an axis that must have it, a letter for any, `...` first for any axes before; `like`: a tensor on whose
    device it must be.
    """
    tail = sizes[1:] if sizes[:1] == (...,) else sizes
    alike = isinstance(value, Tensor) and (like is None or (value.device, value.dtype) == (like.device, like.dtype))
    if alike and isinstance(value, Tensor) and value.is_floating_point() and not value.is_meta:
        have = value.shape
        if (len(have) == len(sizes) or (len(tail) < len(sizes) and len(have) >= len(tail))) and all(
            isinstance(n, str) or n == h for n, h in zip(tail, have[len(have) - len(tail) :], strict=True)
        ):
            return
    shape = ", ".join("..." if n is ... else str(n) for n in sizes)
    where = "" if like is None else f", {like.dtype} on {like.device}"
    raise ValueError(f"{name} is a tensor of real numbers of shape ({shape}){where}, and got {shown(value)}")


def broadcast(name: str, *tensors: Tensor) -> None:
    """Raise `ValueError`, which begins with `name`, unless the axes before the last broadcast, member by member."""
    for axis in range(1, max(t.ndim for t in tensors)):
        # a list: a length that is open while a program is exported has no hash
        sizes = [size for t in tensors if t.ndim > axis and (size := t.shape[-1 - axis]) != 1]
        if any(size != sizes[0] for size in sizes):
            shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
            raise ValueError(f"{name} go together, and have the shapes {shapes}; give all for the same members, people and times")


def number_of(value: object, name: str, *, least: float = -math.inf, above: float = -math.inf) -> float:
    """One finite number. Errors: `ValueError`, which begins with `name`."""
    single = value.detach() if isinstance(value, Tensor) else value
    odd = isinstance(single, str | bytes | bool | type) or not hasattr(single, "__float__") or getattr(single, "ndim", None)
    try:
        number = math.nan if odd or "bool" in str(getattr(single, "dtype", "")) else float(single)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = math.nan
    if not math.isfinite(number) or number < least or not number > above:
        range_of = f"above {above:g}" if above > -math.inf else f"at least {least:g}" if least > -math.inf else "finite"
        needed = "positive and finite" if above == 0.0 else range_of
        raise ValueError(f"{name} is one number, {needed}, and got {shown(value)}")
    return number


def flag_of(value: object, name: str) -> None:
    """Raise `ValueError`, which begins with `name`, unless the value is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is True or False, and got {shown(value)}")


def choice_of(value: object, choices: Iterable[str], name: str) -> None:
    """Raise `ValueError`, which begins with `name`, unless the value is one of these words."""
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        *first, last = map(repr, choices)
        raise ValueError(f"{name} is {', '.join(first)} or {last}, got {shown(value)}")


def matrix_of(value: object, name: str) -> Tensor:
    """An array of numbers as a float64 tensor on the CPU, off any graph. Errors: `ValueError`, which begins with `name`."""
    try:
        if not isinstance(value, Tensor):
            value = np.asarray(value)  # which takes a list of arrays too
            if value.dtype.kind not in "fiu":
                raise TypeError
        given = torch.as_tensor(value)
        if given.is_complex() or given.dtype == torch.bool:
            raise TypeError
        return given.detach().to("cpu", torch.float64).clone()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name} is a matrix of numbers, rows of equal length, and got {shown(value)}") from error


def named_numbers(values: Mapping[str, float], name: str) -> None:
    """Raise `ValueError`, which begins with `name`, unless these are numbers by names."""
    for key, value in values.items():
        if not isinstance(key, str):
            raise ValueError(f"{name} goes by names, and one is {shown(key)}; write {{'plasma': 1.0}}, or numbers in order")
        number_of(value, f"{name}: {key[:60]}")


def listed_of(values: object, name: str) -> list[int | str]:
    """What is in a list of names or positions. Errors: `ValueError`, which begins with `name`, for what is no list."""
    if isinstance(values, str | bytes | Mapping | set) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        write = f"({values[:60]!r},)" if isinstance(values, str) else "(0,)"
        raise ValueError(f"{name} is a list of names or positions, even of one, and got {shown(values)}; write {write}")
    return list(values.tolist() if hasattr(values, "tolist") else values)


def module_of(value: object, name: str) -> None:
    """Raise `ValueError`, which begins with `name`, unless the value is a module."""
    if not isinstance(value, torch.nn.Module):
        raise ValueError(f"{name} is a module, a HybridModel or a part of one, and got {shown(value)}")


def generator_of(value: object, name: str) -> None:
    """Raise `ValueError`, which begins with `name`, for what draws nothing: a draw that nobody can repeat is none."""
    if not isinstance(value, torch.Generator):
        raise ValueError(f"{name} is a generator, and got {shown(value)}; write torch.Generator().manual_seed(0)")


def drawn_from(generator: torch.Generator | None, name: str) -> torch.Generator:
    """The generator, or one with seed 0 where there is none. Errors: `ValueError`, beginning with `name`."""
    if generator is None:
        return torch.Generator().manual_seed(0)
    generator_of(generator, name)
    return generator


def scale_of(scale: Mapping[str, float] | Sequence[float] | float, size: int, name: str) -> tuple[float, ...]:
    """`size` positive scales, each the nearest power of two: these fold into weights without rounding, so the certified
    arrays are the model's. Errors: `ValueError`, which begins with `name`; so does that for scales by name, which wait for a
    model and never come here.
    """
    if isinstance(scale, Mapping):
        raise ValueError(f"{name} goes by name, {str(list(scale))[:100]}, which is resolved when a HybridModel is built")
    try:
        if isinstance(scale, str | bytes | bool | Mapping | set | type):
            raise TypeError
        one = hasattr(scale, "__float__") and not getattr(scale, "ndim", 0)
        values = [float(scale)] * size if one else [float(s) for s in scale]  # type: ignore[arg-type, union-attr]
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name} needs one number or {size} of them, got {shown(scale)}") from error
    if len(values) != size or not all(0.0 < s < float("inf") for s in values):
        raise ValueError(f"{name} needs {size} positive finite numbers, got {shown(values)}")
    return tuple(2.0 ** round(math.log2(s)) for s in values)


def widths_of(hidden: Sequence[int], name: str) -> tuple[int, ...]:
    """The widths of hidden layers. Errors: `ValueError`, which begins with `name`, for what is no list of whole numbers."""
    if isinstance(hidden, str | bytes | Mapping) or not isinstance(hidden, Iterable) or getattr(hidden, "ndim", 1) != 1:
        raise ValueError(f"{name} needs hidden widths ≥ 1 in a list, one a layer, and got {shown(hidden)}; write hidden=(8,)")
    widths = list(hidden.tolist() if hasattr(hidden, "tolist") else hidden)
    if not widths or not all(isinstance(h, Integral) and not isinstance(h, bool) and 0 < int(h) < 10**6 for h in widths):
        raise ValueError(f"{name} needs hidden widths ≥ 1 in a list, one a layer, and got {shown(widths)}; write hidden=(8,)")
    return tuple(int(h) for h in widths)


def sizes_of(sizes: Mapping[str, object], name: str) -> None:
    """Raise `ValueError`, which begins with `name`, for a size that is no whole number."""
    for what, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral) or not -(10**6) < int(size) < 10**6:
            raise ValueError(f"{name}: {what} is how many there are, a whole number, and is {shown(size)}")


def column_of(values: Sequence[float], name: str) -> tuple[float, ...]:
    """One number a channel. Errors: `ValueError`, which begins with `name`, for what is no list of numbers."""
    try:
        kept = [*values]
        if isinstance(values, str | bytes | Mapping) or any(isinstance(v, str | bytes | bool) for v in kept) or not kept:
            raise TypeError
        return tuple(float(v) for v in kept)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        seen = shown(values)
        raise ValueError(f"{name} is a list of numbers, one for each channel, and is {seen}; write [0.5]") from error
