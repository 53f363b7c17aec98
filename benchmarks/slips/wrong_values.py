"""What a hand might put in the place of an argument."""

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def slips(value: Any, others: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What might stand in the place of a value, each with a name; `others`: objects of this project's own kinds."""
    yield "None", None
    yield "words", "abc"
    yield "no words", ""
    yield "a page", "z" * 5000
    yield "a list of words", ["a", "b"]
    yield "an empty list", []
    yield "an empty mapping", {}
    yield "a mapping", {"a": 1.0}
    yield "an object", object()
    yield "True", True
    yield "3.5", 3.5
    yield "-1", -1
    yield "NaN", math.nan
    yield "inf", math.inf
    yield "a complex number", 1.0 + 2.0j
    yield "bytes", b"abc"
    yield "a class", type(value)
    yield "a tensor of another shape", torch.zeros(2, 3, 5, dtype=torch.float64)
    yield "an array of words", np.array(["a", "b"])
    for name, other in others.items():
        if type(other) is not type(value):
            yield name, other
    for name, one in _own(value):
        yield name, one


def _own(value: Any) -> Iterator[tuple[str, Any]]:
    """Slips that only this kind of value has."""
    if isinstance(value, Tensor):
        yield from _tensors(value)
    elif isinstance(value, np.ndarray):
        for name, one in _tensors(torch.from_numpy(value.copy())) if value.dtype.kind in "fiub" else ():
            if isinstance(one, Tensor):
                yield name, one.numpy() if name != "on another device" else one
    elif isinstance(value, bool):
        yield from (("'no'", "no"), ("2", 2), ("0.0", 0.0))
    elif isinstance(value, int | float):
        kind = torch.float64 if isinstance(value, float) else None
        yield from (("zero", 0), ("negative", -value), ("2.5", 2.5), ("huge", 1e300), ("tiny", 1e-300))
        yield from (("in quotes", str(value)), ("in a list", [value]), ("an int beyond float", 10**400))
        yield from (("as a tensor", torch.tensor(value, dtype=kind)), ("as an array", np.array(value)))
        yield "as a tensor of two", torch.tensor([float(value)] * 2)
    elif isinstance(value, str):
        yield from (("in a list", [value]), ("a number", 3), ("with blanks", f" {value} "), ("upper case", value.upper() + "_"))
    elif isinstance(value, Mapping) and value:
        first = next(iter(value))
        for name, one in (("None", None), ("words", "abc"), ("NaN", math.nan), ("a list", [1.0, "a"]), ("an object", object())):
            yield f"{name} in it", {**value, first: one}
        yield "a name too many", {**value, "another": value[first]}
        yield "a name too few", {k: v for k, v in value.items() if k != first}
        yield "a number for a name", {**value, 7: value[first]}
        yield "as a list", list(value.values())
        yield "as pairs", list(value.items())
    elif isinstance(value, list | tuple) and value:
        kind = list if isinstance(value, list) else tuple
        for name, one in (("None", None), ("words", "abc"), ("NaN", math.nan), ("inf", math.inf), ("an object", object())):
            yield f"{name} in it", kind([one, *value[1:]])
        yield "one too many", kind([*value, value[-1]])
        yield "one too few", kind(value[:-1])
        yield "nested", kind([value])
        yield "its first alone", value[0]
        yield "as a generator", (v for v in value)
        yield "as a set", set(map(str, value))
        yield "as a mapping", dict(enumerate(value))
        if all(isinstance(v, int | float) for v in value):
            yield "as an array", np.array(value)
            yield "as a tensor", torch.tensor(value, dtype=torch.float64)
            yield "negative", kind([-v for v in value])
        for name, one in _own(value[0]) if isinstance(value[0], Tensor | np.ndarray | list | tuple) else ():
            yield f"its first {name}", kind([one, *value[1:]])
    elif isinstance(value, nn.Module):
        yield "in float32", _moved(value, torch.float32)
        yield "another model", nn.Linear(2, 2)
    elif isinstance(value, torch.Generator):
        yield "numpy's generator", np.random.default_rng(0)
        yield "a seed", 0
    elif callable(value):
        yield "a function of nothing", lambda: None
        yield "a function to words", lambda *_, **__: "abc"


def _moved(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    return copy.deepcopy(module).to(dtype)


def _tensors(value: Tensor) -> Iterator[tuple[str, Any]]:
    yield "as nested lists", value.tolist()
    yield "as an array", value.detach().numpy().copy()
    yield "in float32", value.to(torch.float32) if value.is_floating_point() else value.to(torch.float64)
    yield "as integers", value.to(torch.int64) if value.is_floating_point() else value.to(torch.int32)
    yield "as booleans", value > 0
    yield "as complex numbers", value.to(torch.complex128)
    yield "on another device", value.to("meta")
    yield "in words", np.array(value.tolist()).astype(str)
    yield "one axis more", value[None]
    yield "of no axis", torch.tensor(1.0, dtype=torch.float64)
    if value.ndim:
        yield "one axis fewer", value[0] if len(value) else value.sum(0)
        last = value[..., -1:] if value.shape[-1] else value.new_zeros(*value.shape[:-1], 1)
        yield "one column too many", torch.cat([value, last], -1)
        yield "one row too many", torch.cat([value, value[-1:] if len(value) else value.new_zeros(1, *value.shape[1:])], 0)
        yield "one column too few", value[..., :-1]
        yield "one row too few", value[:-1]
        yield "empty", value[:0]
        yield "transposed", value.mT if value.ndim > 1 else value[:, None]
    if value.is_floating_point() and value.numel():
        for name, one in (("NaN", math.nan), ("inf", math.inf), ("-inf", -math.inf)):
            spoiled = value.detach().clone(memory_format=torch.contiguous_format)
            spoiled.view(-1)[0] = one
            yield f"{name} in it", spoiled
        yield "all NaN", torch.full_like(value, math.nan)
        yield "negative", -value
        yield "zeros", torch.zeros_like(value)
        yield "huge", value * 1e300
    elif value.numel() and value.dtype == torch.int64:
        yield "beyond", value + 10_000
        yield "negative", -1 - value


