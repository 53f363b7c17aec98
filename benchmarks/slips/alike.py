"""Are two results the same, is a value finite, and is it of the kind that was meant?"""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hybrid.frames import is_frame


def same(a: Any, b: Any) -> bool:
    """The same values, whatever holds them: tensors and arrays up to the rounding of float32."""
    if isinstance(a, Tensor) and a.is_meta and isinstance(b, Tensor):
        return a.shape == b.shape  # another device, on which nothing can be read
    if isinstance(a, Tensor | np.ndarray) and isinstance(b, Tensor | np.ndarray):
        x, y = (np.asarray(v.detach().cpu() if isinstance(v, Tensor) else v) for v in (a, b))
        if x.shape != y.shape or x.dtype.kind not in "fiubc" or y.dtype.kind not in "fiubc":
            return x.shape == y.shape and bool((x == y).all())
        return bool(np.allclose(x, y, rtol=1e-5, atol=1e-6, equal_nan=True))
    if isinstance(a, nn.Module) and isinstance(b, nn.Module):
        told = [_config(part) for part in (a, b)]
        return type(a) is type(b) and same(dict(a.state_dict()), dict(b.state_dict())) and same(*told)
    if is_dataclass(a) and type(a) is type(b) and not isinstance(a, type):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a) if f.compare)
    if is_frame(a) and is_frame(b):
        return same(a.to_dict("list"), b.to_dict("list"))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float | int) and isinstance(b, float | int):
        return math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))
    if callable(a) and callable(b):
        return type(a) is type(b)
    try:
        return bool(a == b) or (type(a) is type(b) and not hasattr(a, "__eq__"))
    except (TypeError, ValueError, RuntimeError):
        return False


def _config(part: nn.Module) -> object:
    try:
        return part.config() if hasattr(part, "config") else None
    except ValueError:  # what waits for its model has none yet
        return "waiting"


def finite(value: Any) -> bool:
    """Is every number in it finite? What cannot be read, on a device that holds none, is not."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or (not value.is_meta and bool(value.isfinite().all()))
    if isinstance(value, np.ndarray):
        return value.dtype.kind != "f" or bool(np.isfinite(value).all())
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, nn.Module):
        return all(finite(v) for v in value.state_dict().values())
    if is_dataclass(value) and not isinstance(value, type):
        return all(finite(getattr(value, f.name)) for f in fields(value))
    if isinstance(value, Mapping):
        return all(finite(v) for v in value.values())
    return not isinstance(value, list | tuple) or all(finite(v) for v in value)


def like(value: Any, given: Any) -> bool:
    """Is it a value of the same kind, as a caller may mean it?"""
    if isinstance(given, bool) or isinstance(value, bool):
        return isinstance(given, bool) and isinstance(value, bool)
    if isinstance(given, int | float) and isinstance(value, int | float):
        return math.isfinite(value) and (isinstance(given, float) or value == int(value))
    if isinstance(given, Tensor | np.ndarray) and isinstance(value, Tensor | np.ndarray):
        kinds = [_numbers(v) for v in (given, value)]
        return given.ndim == value.ndim and (kinds[1] == kinds[0] or kinds == ["f", "i"]) and finite(value)
    if isinstance(given, Mapping) and isinstance(value, Mapping):
        kept = list(given.values())
        return all(isinstance(k, str) for k in value) and all(not kept or like(v, kept[0]) for v in value.values())
    if isinstance(given, list | tuple) and isinstance(value, list | tuple):
        return all(not given or any(like(v, one) for one in given) for v in value)
    if isinstance(given, list | tuple) and isinstance(value, Tensor | np.ndarray):
        return like(value.tolist(), given)
    return isinstance(value, type(given)) and given is not None


def _numbers(array: Tensor | np.ndarray) -> str:
    if isinstance(array, np.ndarray):
        return "i" if array.dtype.kind in "iu" else array.dtype.kind
    return "f" if array.is_floating_point() else "c" if array.is_complex() else "b" if array.dtype == torch.bool else "i"


