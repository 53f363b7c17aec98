"""From a mechanism's `rate`, written in Python, to its tape: it is run once on scalars that record what is done to them."""

import linecache
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from physics.arguments import quote, require_kind
from physics.operation import OPERATIONS
from physics.operations import Traced, apply
from physics.tape import Line, Tape

# the names that other libraries give to the operations which are called as functions
_OURS = {
    **{
        name: name
        for name in ("exp", "log", "sqrt", "sin", "cos", "atan", "tanh", "sigmoid", "softplus", "relu", "square")
    },
    **{"arctan": "atan", "expit": "sigmoid", "logistic": "sigmoid", "minimum": "minimum", "maximum": "maximum"},
    **{"min": "minimum", "max": "maximum", "fmin": "minimum", "fmax": "maximum"},
}
_HERE = {Path(__file__).resolve().with_name(name) for name in ("trace.py", "operations.py", "arguments.py")}


class Named:
    """Values by name, as attributes (`x.plasma`) or in brackets (`x["C-peptide"]`), in their declared order when iterated."""

    def __init__(self, what: str, values: Mapping[str, Any]) -> None:
        self._what, self._values = what, dict(values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            known = ", ".join(self._values) or "none"
            raise AttributeError(f"{name!r} is none of the {self._what}; there are: {known}") from None

    def __iter__(self) -> Any:
        return iter(self._values.values())


class _Recorder:
    """The lines so far; the same operation on the same lines is recorded once."""

    def __init__(self) -> None:
        self.code: list[Line] = []
        self._known: dict[Line, int] = {}

    def add(self, line: Line) -> int:
        if line not in self._known:
            self._known[line] = len(self.code)
            self.code.append(line)
        return self._known[line]


class _Scalar(Traced):
    """One line of a tape in the making."""

    __array_ufunc__ = None  # numpy then leaves operators to us, and refuses its own functions

    def __init__(self, recorder: _Recorder, index: int) -> None:
        self.recorder, self.index = recorder, index

    def record(self, operation: str, *arguments: Any, number: float | None = None) -> "_Scalar":
        lines = tuple(_index(self.recorder, argument) for argument in arguments)
        return _Scalar(self.recorder, self.recorder.add(Line(operation, lines, number)))

    def __add__(self, other: Any) -> "_Scalar":
        return self.record("add", self, other)

    def __radd__(self, other: Any) -> "_Scalar":
        return self.record("add", other, self)

    def __sub__(self, other: Any) -> "_Scalar":
        return self.record("subtract", self, other)

    def __rsub__(self, other: Any) -> "_Scalar":
        return self.record("subtract", other, self)

    def __mul__(self, other: Any) -> "_Scalar":
        return self.record("multiply", self, other)

    def __rmul__(self, other: Any) -> "_Scalar":
        return self.record("multiply", other, self)

    def __truediv__(self, other: Any) -> "_Scalar":
        if isinstance(other, int | float) and other == 0:
            raise TypeError("it divides by 0; write what is not 0, or leave the term out")
        return self.record("divide", self, other)

    def __rtruediv__(self, other: Any) -> "_Scalar":
        return self.record("divide", other, self)

    def __neg__(self) -> "_Scalar":
        return self.record("negate", self)

    def __pos__(self) -> "_Scalar":
        return self

    def __abs__(self) -> "_Scalar":
        return self.record("abs", self)

    def __pow__(self, exponent: Any) -> "_Scalar":
        if isinstance(exponent, Traced):
            raise TypeError("an exponent is a constant; where it varies, write exp(n * log(v)), of physics.operations")
        if exponent == 2:
            return self.record("square", self)
        return self if exponent == 1 else self.record("power", self, number=float(exponent))

    def __rpow__(self, base: Any) -> "_Scalar":
        raise TypeError(f"write exp(v * log({base})), with exp and log of physics.operations, for a power of {base}")

    def __bool__(self) -> bool:
        raise TypeError(
            "it branches on a value, and a tape has no branches; write relu, minimum or maximum of physics.operations"
        )

    def _compared(self, *_: object) -> Any:
        raise TypeError(
            "it compares values, and a tape has no branches; write relu, minimum or maximum of physics.operations"
        )

    def _valueless(self, *_: object) -> Any:
        raise TypeError(
            "it needs a value, or an operation that is not listed; write what physics.operations has (exp, log, sqrt, sin, cos, "
            "atan, tanh, sigmoid, softplus, relu, minimum, maximum, saturating, hill, square), + − × ÷, abs and constant powers"
        )

    __float__ = __int__ = __index__ = __complex__ = __round__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = (
        _valueless
    )
    __matmul__ = __divmod__ = __iter__ = __len__ = __getitem__ = _valueless
    __lt__ = __le__ = __gt__ = __ge__ = _compared
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return True if self is other else bool(self._compared())


def _index(recorder: _Recorder, value: Any) -> int:
    if isinstance(value, _Scalar):
        if value.recorder is not recorder:
            raise TypeError("it uses a value of another tracing; keep nothing between two calls of rate")
        return value.index
    try:
        if isinstance(value, str | bytes | bool | None):
            raise TypeError
        return recorder.add(Line("constant", (), float(value)))
    except (TypeError, ValueError) as error:
        raise TypeError(f"it uses {quote(value)}, which is neither a number nor made of x, u and theta") from error


def trace(
    rate: Callable[[Named, Named, Named], Mapping[str, Any]],
    states: Sequence[str],
    inputs: Sequence[str],
    parameters: Sequence[str],
    name: str = "rate",
) -> Tape:
    """The tape of rate(x, u, theta), which gets named scalars and gives the rate of every state by its name.

    Errors: `ValueError`, beginning with `name`, that quotes the line of Python in which an operation is not listed, a value is
    branched on or a name is not known; for rates of other states than there are.
    """
    recorder = _Recorder()
    given = []
    for leaf, what, names in (
        ("state", "states", states),
        ("input", "inputs", inputs),
        ("parameter", "parameters", parameters),
    ):
        given.append(Named(what, {n: _Scalar(recorder, recorder.add(Line(leaf, (k,)))) for k, n in enumerate(names)}))
    try:
        found = rate(*given)
    except Exception as error:  # whatever the Python of a user does
        place, part = _place(error)
        raise ValueError(f"{name}: {place}: {_said(error, part)}") from error
    require_kind(found, Mapping, f"{name}: what it gives", '{"plasma": -theta.ke * x.plasma}')
    lacks, more = [s for s in states if s not in found], [s for s in found if s not in states]
    if lacks or more:
        wrong = (
            f"gives no rate of {', '.join(lacks)}" if lacks else f"gives a rate of {quote(more[0])}, which is no state"
        )
        raise ValueError(f"{name} {wrong}; the states are {', '.join(states)}")
    try:
        ends = [_index(recorder, found[state]) for state in states]
    except TypeError as error:
        raise ValueError(f"{name}: the rate of a state cannot be used: {error}") from error
    return _without_unread(tuple(states), tuple(inputs), tuple(parameters), recorder.code, ends)


def replay(tape: Tape, x: Any, u: Any, theta: Any) -> dict[str, Any]:
    """The rates by name, line by line on whatever x, u and theta hold: scalars of another tracing, arrays, tensors."""
    given = {"state": list(x), "input": list(u), "parameter": list(theta)}
    values: list[Any] = []
    for operation, arguments, number in tape.code:
        if operation == "constant":
            values.append(number)
        elif operation in given:
            values.append(given[operation][arguments[0]])
        else:
            values.append(apply(operation, *(values[j] for j in arguments), number=number))
    return {state: values[i] for state, i in zip(tape.states, tape.rate, strict=True)}


def _without_unread(
    states: tuple[str, ...],
    inputs: tuple[str, ...],
    parameters: tuple[str, ...],
    code: Sequence[Line],
    ends: Sequence[int],
) -> Tape:
    """The tape without lines that no rate needs, and with constants computed."""
    code = list(code)
    for i, (operation, arguments, number) in enumerate(code):
        if operation in OPERATIONS and all(code[j].operation == "constant" for j in arguments):
            with np.errstate(all="ignore"):  # a constant that is not finite is refused by name
                value = float(apply(operation, *(code[j].number for j in arguments), number=number))
            code[i] = Line("constant", (), value)
    needed = set(ends)
    for i in reversed(range(len(code))):
        if i in needed and code[i].operation in OPERATIONS:
            needed |= set(code[i].arguments)
    kept = sorted(needed)
    place = {old: new for new, old in enumerate(kept)}
    moved = [
        code[i]._replace(arguments=tuple(place[j] for j in code[i].arguments))
        if code[i].operation in OPERATIONS
        else code[i]
        for i in kept
    ]
    return Tape(states, inputs, parameters, tuple(moved), tuple(place[i] for i in ends))


def _place(error: Exception) -> tuple[str, str]:
    """The line of Python that failed, the last that is not ours, and what of it did."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).resolve() not in _HERE]
    if not frames:
        return "the call", ""
    last = frames[-1]
    source = linecache.getline(last.filename, last.lineno or 0) if last.lineno == last.end_lineno else ""
    part = source.encode()[last.colno : last.end_colno].decode() if source and last.colno is not None else ""
    return f"line {last.lineno}, `{(last.line or '').strip()}`", part.strip()


def _said(error: Exception, part: str) -> str:
    """What is wrong, with `part`, the words that failed, named where they are a comparison or another library's function."""
    said = str(error) or type(error).__name__
    if not isinstance(error, TypeError):
        return said
    called = re.match(r"([\w.]*?)(\w+)\(", part)
    ours = called and _OURS.get(called[2])
    if called and ours and not part.startswith("physics.operations"):
        return f"`{called[1]}{called[2]}` needs a value, and a tape has none yet; use physics.operations.{ours}"
    if "it compares values" in said and part and not called:
        return f"`{part}` compares values" + said.removeprefix("it compares values")
    return said if "physics.operations" in said else f"{said}; functions come from physics.operations"
