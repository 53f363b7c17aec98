"""Every argument of every public call in turn replaced by what a hand might put there instead.

Claim: no call answers with an error of Python, torch or numpy, and none takes longer than five seconds to answer. `slip_calls.py`
holds one valid call for every public name and method; here its arguments are replaced, one at a time, by None, words, lists,
objects of another kind, wrong widths, types and devices, NaN and infinity, and what comes back is sorted:

ours      an error that this project wrote: raised by a `raise` statement of ours, a sentence of 20 to 600 characters
the same  taken, with the result of the valid call (a list for a tensor, None for a default)
not finite   NaN or infinity went in, and came out again
another   taken, since it is another value of the right kind: 2.5 for 0.5, a tensor of the same axes with finite numbers in it
taken     taken, and listed in the table with the reason why that is right
bare, silent, slow     an error of somebody else's; nonsense taken in silence; more than five seconds: none of these may be

    python -m benchmarks.slips [--quick] [--only hybrid.Dose] [--show ours]
"""

import argparse
import ast
import copy
import functools
import inspect
import math
import random
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import FrameType, GeneratorType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hybrid", "physics", "learned", "stability", "training", "exchange", "homeostat")
SECONDS = 5.0
WRONG = ("bare", "silent", "slow")  # outcomes that may not be


@dataclass(frozen=True)
class Call:
    """One valid call: `make` gives the callable and its arguments by name, anew each time, since a call may change them.

    `taken`: slips that are right to take, by argument: {"mesh": {"None": "no mesh is asked for"}}; "*" stands for any argument.
    `dear`: takes more than some milliseconds, so that a quick run tries a few of its slips only. `star`: the argument whose
    values are spread, as in `Cohort.to(*where)`.
    """

    make: Callable[[], tuple[Callable[..., Any], dict[str, Any]]]
    taken: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    dear: bool = False
    star: str | None = None


class _Slow(BaseException):
    """More than five seconds have passed."""


def _wake(_: int, __: FrameType | None) -> None:
    raise _Slow


@dataclass(frozen=True)
class Answer:
    """What became of one slip."""

    call: str
    argument: str
    slip: str
    kind: str
    words: str = ""
    seconds: float = 0.0


def invoke(function: Callable[..., Any], arguments: Mapping[str, Any], star: str | None) -> Any:
    """The result; of a generator its first value."""
    if star is None:
        result = function(**arguments)
    else:
        names = list(arguments)
        before, after = names[: names.index(star)], names[names.index(star) + 1 :]
        spread = arguments[star] if isinstance(arguments[star], tuple | list) else (arguments[star],)
        result = function(*(arguments[k] for k in before), *spread, **{k: arguments[k] for k in after})
    if isinstance(result, GeneratorType):
        try:
            return next(result, None)
        finally:
            result.close()
    return result


def attempt(name: str, call: Call, argument: str, slip: str, value: Any, wanted: Any) -> Answer:
    """The call with one argument replaced."""
    function, arguments = call.make()
    given, default = arguments[argument], _default(function, argument)
    begin = time.perf_counter()
    previous = signal.signal(signal.SIGALRM, _wake)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = invoke(function, {**arguments, argument: value}, call.star)
        signal.setitimer(signal.ITIMER_REAL, 0.0)
    except _Slow:
        return Answer(name, argument, slip, "slow", f"more than {SECONDS:g} s", SECONDS)
    except BaseException as error:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        kind = "ours" if is_ours(error) else "bare"
        return Answer(name, argument, slip, kind, f"{type(error).__name__}: {error}", time.perf_counter() - begin)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)
    seconds = time.perf_counter() - begin
    if same(found, wanted):
        return Answer(name, argument, slip, "the same", "", seconds)
    allowed = {**call.taken.get("*", {}), **call.taken.get(argument, {})}
    if slip in allowed or "*" in allowed:
        return Answer(name, argument, slip, "taken", allowed.get(slip, allowed.get("*", "")), seconds)
    if ("NaN" in slip or "inf" in slip) and not finite(found):
        return Answer(name, argument, slip, "not finite", "", seconds)
    if (value is None and default is None) or like(value, given):
        return Answer(name, argument, slip, "another", "", seconds)
    return Answer(name, argument, slip, "silent", repr(found)[:150], seconds)


# --- is an error ours? ---


def is_ours(error: BaseException) -> bool:
    """Was it raised by a `raise` statement of this project, in a sentence that a person can read?"""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    where = Path(frames[-1].filename).resolve()
    if not where.is_relative_to(ROOT) or where.relative_to(ROOT).parts[0] not in PACKAGES:
        return False
    return frames[-1].lineno in _raises(where) and 20 <= len(str(error)) <= 600


@functools.cache
def _raises(file: Path) -> frozenset[int]:
    """The lines on which a new exception is raised."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Raise) and node.exc is not None:
            found |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return frozenset(found)


# --- are two results the same? ---


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


def _default(function: Callable[..., Any], argument: str) -> Any:
    parameter = inspect.signature(function).parameters.get(argument)
    return ... if parameter is None else parameter.default


# --- the slips ---


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


# --- a run ---


def run(
    calls: Mapping[str, Call],
    others: Mapping[str, Any],
    *,
    few: int | None = None,
    most: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Answer]:
    """Every slip of every argument; with `few`, that many of each argument of a dear call, and `most` of any other's, drawn."""
    found, chance = [], random.Random(seed)
    for name, call in calls.items():
        progress(name)
        function, arguments = call.make()
        try:
            wanted = invoke(function, arguments, call.star)
        except ImportError:  # an optional library is not installed: what is looked at before it is looked at all the same
            wanted = _Slow  # nothing is the same as this
        for argument in arguments:
            _, fresh = call.make()
            every = list(slips(fresh[argument], others))
            limit = few if call.dear else most
            if limit is not None:
                every = chance.sample(every, min(limit, len(every)))
            for slip, value in every:
                found.append(attempt(name, call, argument, slip, value, wanted))
    return found


def main() -> int:
    """Run them; 1 where any call answers as none may."""
    from benchmarks.slip_calls import calls, others, unlisted

    parser = argparse.ArgumentParser(prog="python -m benchmarks.slips", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="some slips of each call that takes long")
    parser.add_argument("--only", default="", help="calls whose name begins so: hybrid.Dose")
    parser.add_argument("--show", nargs="*", default=[], help="print outcomes of these kinds too: ours taken 'the same'")
    a = parser.parse_args()
    table = {name: call for name, call in calls().items() if name.startswith(a.only)}
    begin = time.perf_counter()
    found = run(table, others(), few=3 if a.quick else None, progress=lambda name: print(name, file=sys.stderr))
    for one in found:
        if one.kind in (*WRONG, *a.show):
            print(f"{one.kind:9} {one.call}({one.argument} = {one.slip}): {one.words[:300]}")
    missing = unlisted()
    counts = Counter(one.kind for one in found)
    print(f"{len(table)} calls, {len(found):,} slips in {time.perf_counter() - begin:.0f} s: "
          + ", ".join(f"{counts[kind]:,} {kind}" for kind in ("ours", "the same", "another", "not finite", "taken", *WRONG)))
    print(f"longest: {max(found, key=lambda o: o.seconds).seconds:.2f} s" if found else "")
    if missing:
        print(f"public, and in no row of the table: {', '.join(missing)}")
    return 1 if missing or any(counts[kind] for kind in WRONG) else 0


if __name__ == "__main__":
    sys.exit(main())
