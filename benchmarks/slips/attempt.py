"""One slip: the call with one argument replaced, what came of it, and whether an error is ours."""

import ast
import contextlib
import functools
import inspect
import random
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, GeneratorType
from typing import Any

from benchmarks.slips.alike import finite, like, same
from benchmarks.slips.wrong_values import slips

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("hybrid", "physics", "learned", "stability", "training", "exchange", "twin", "homeostat")
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


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """Work in an empty folder that goes away again: a slip may be taken for the name of a file."""
    with tempfile.TemporaryDirectory(prefix="slip") as folder, contextlib.chdir(folder):
        yield


@elsewhere()
def attempt(name: str, call: Call, argument: str, slip: str, value: Any, wanted: Any) -> Answer:
    """The call with one argument replaced, in a folder of its own."""
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


def _default(function: Callable[..., Any], argument: str) -> Any:
    parameter = inspect.signature(function).parameters.get(argument)
    return ... if parameter is None else parameter.default



def of(module: str, rows: Mapping[str, Call | Callable[[], Any]]) -> dict[str, Call]:
    """The rows by their whole names."""
    return {f"{module}.{name}": row if isinstance(row, Call) else Call(row) for name, row in rows.items()}


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
            with elsewhere():
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


