"""A tape: the rate of a mechanism as a list of scalar operations, which torch evaluates and JSON carries.

Line i of a tape is one operation on earlier lines, or a leaf: a constant, a state, an input, a parameter. Nothing on it can be
executed but the operations of the closed list (`physics/operation.py`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from physics.arguments import (
    as_written,
    quote,
    require_kind,
    require_names,
    require_number,
    require_shape,
    require_together,
)
from physics.glance import Summary, glance
from physics.operation import OPERATIONS, Value

LEAVES = ("constant", "state", "input", "parameter")
_MOST = 100_000  # lines; a file that says more is no mechanism that anyone wrote


class Line(NamedTuple):
    """The operation, the lines that it reads (of a state, input or parameter: its position), and its number where it has one."""

    operation: str
    arguments: tuple[int, ...] = ()
    number: float | None = None


def _summary(tape: Any) -> Summary:
    return f"Tape: {len(tape.code)} lines, {len(tape.states)} states, {len(tape.inputs)} inputs", [
        ("states", ", ".join(tape.states)),
        ("inputs", ", ".join(tape.inputs)),
        ("parameters", ", ".join(tape.parameters)),
        ("operations", ", ".join(sorted({line.operation for line in tape.code} - set(LEAVES)))),
    ]


@dataclass(frozen=True)
class Tape:
    """f(x, u, θ) as scalar operations.

    `states`, `inputs`, `parameters`: names, in the order of x (..., n), u (..., m), θ (..., q) · `code`: the lines · `rate`: for
    each state the line that holds its rate, in state units per time.
    Errors: `ValueError` for a line that reads a later one, an operation that is not listed, numbers that are not finite.
    Laws: `evaluate` = the Python that was traced = `plain`; `at(θ).jacobian` is the derivative of `at(θ).rate`.
    """

    states: tuple[str, ...]
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    code: tuple[Line, ...]
    rate: tuple[int, ...]

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        for what in ("states", "inputs", "parameters"):
            names = require_names(getattr(self, what), f"Tape: {what}", f'{what}=("a",)')
            if len(set(names)) < len(names):
                raise ValueError(f"Tape: {what} need names that differ, and are {quote(names)}")
            object.__setattr__(self, what, names)
        for what in ("code", "rate"):
            require_kind(getattr(self, what), (tuple, list), f"Tape: {what}", "mechanism.tape")
            object.__setattr__(self, what, tuple(getattr(self, what)))
        if not self.states or len(self.code) > _MOST:
            raise ValueError(f"Tape: needs a state and at most {_MOST} lines, and has {len(self.code)}")
        for i, line in enumerate(self.code):
            _require_line(
                i, line, {"state": len(self.states), "input": len(self.inputs), "parameter": len(self.parameters)}
            )
        if len(self.rate) != len(self.states):
            raise ValueError(f"Tape: {len(self.states)} states need as many rates, and there are {len(self.rate)}")
        for end in self.rate:
            require_number(end, "Tape: the line of a rate", least=0.0, most=len(self.code) - 1.0, whole=True)

    @cached_property
    def moves(self) -> tuple[bool, ...]:
        """For each line: does it depend on x or u?"""
        found: list[bool] = []
        for operation, arguments, _ in self.code:
            leaf = operation in LEAVES
            found.append(operation in ("state", "input") if leaf else any(found[j] for j in arguments))
        return tuple(found)

    @cached_property
    def bent(self) -> tuple[tuple[str, int], ...]:
        """The lines that x or u move and whose slope jumps ("jump") or steps within a short stretch ("middle")."""
        found = []
        for i, (operation, _, number) in enumerate(self.code):
            if not self.moves[i]:
                continue
            if operation in ("relu", "abs", "minimum", "maximum") or (operation == "hill" and (number or 0.0) <= 1.0):
                found.append(("jump", i))
            elif operation in ("sigmoid", "tanh") or (operation == "hill" and (number or 0.0) >= 4.0):
                found.append(("middle", i))
        return tuple(found)

    @property
    def kinked(self) -> int:
        """In how many lines the slope jumps."""
        return sum(kind == "jump" for kind, _ in self.bent)

    def at(
        self,
        theta: Tensor,  # (..., q)
    ) -> "BoundTape":
        """The tape for people whose θ is held: everything that neither x nor u enters is evaluated once."""
        require_shape(theta, "Tape: theta", ..., len(self.parameters), write="model.theta(personal, covariates)")
        held: list[Value | None] = [None] * len(self.code)
        columns = theta.unbind(-1)
        for i, line in enumerate(self.code):
            if line.operation == "constant":
                held[i] = line.number
            elif line.operation == "parameter":
                held[i] = columns[line.arguments[0]]
            elif not self.moves[i]:
                held[i] = _value(line, held)
        return BoundTape(self, tuple(held), theta)

    def evaluate(
        self,
        x: Tensor,  # (..., n)
        u: Tensor,  # (..., m)
        theta: Tensor,  # (..., q)
    ) -> Tensor:  # (..., n)
        """f(x, u, θ), in state units per time; leading axes broadcast."""
        bound = self.at(theta)
        bound.require_point(x, u, "Tape")
        return bound.rate(x, u)

    def plain(
        self,
        x: Any,  # (..., n)
        u: Any,  # (..., m)
        theta: Any,  # (..., q)
    ) -> np.ndarray:  # (..., n)
        """The same in numpy, float64, by the table's other column: the reference that the tests hold `evaluate` against."""
        given = {"state": (x, self.states), "input": (u, self.inputs), "parameter": (theta, self.parameters)}
        arrays = {name: _array(value, len(names), f"Tape.plain: {name}s") for name, (value, names) in given.items()}
        try:
            np.broadcast_shapes(*(array.shape[:-1] for array in arrays.values()))
        except ValueError as error:
            have = ", ".join(str(array.shape) for array in arrays.values())
            raise ValueError(
                f"Tape.plain: x, u and theta have the shapes {have}; give all three for the same people"
            ) from error
        values: list[Any] = []
        for operation, arguments, number in self.code:
            if operation == "constant":
                values.append(np.float64(number))
            elif operation in arrays:
                values.append(arrays[operation][..., arguments[0]])
            else:
                more = () if number is None else (number,)
                with np.errstate(all="ignore"):  # what is not finite comes out as it is
                    values.append(OPERATIONS[operation].plain(*(values[j] for j in arguments), *more))
        return np.stack(np.broadcast_arrays(*(values[i] for i in self.rate)), -1)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: names, and for each line its operation, what it reads, and its number where it has one."""
        return {
            "tape": 1,
            "states": list(self.states),
            "inputs": list(self.inputs),
            "parameters": list(self.parameters),
            "code": [
                [line.operation, *line.arguments, *(() if line.number is None else (line.number,))]
                for line in self.code
            ],
            "rate": list(self.rate),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Tape":
        """The inverse of `to_dict`. Errors: `ValueError` for what is no tape."""
        with as_written(data, "Tape"):
            if data["tape"] != 1 or set(data) != {"tape", "states", "inputs", "parameters", "code", "rate"}:
                raise ValueError(f"its version is {quote(data['tape'])} and its entries are {quote(list(data))}")
            code = tuple(_line_of(one) for one in data["code"])
            states, inputs, parameters, rate = (
                tuple(data[name]) for name in ("states", "inputs", "parameters", "rate")
            )
            return Tape(states, inputs, parameters, code, rate)


@dataclass(frozen=True)
class BoundTape:
    """A tape for people whose θ is held. `held`: the value of each line that neither x nor u enters, None for the others."""

    tape: Tape
    held: tuple[Value | None, ...]
    theta: Tensor

    __repr__, _repr_html_ = glance()

    def require_point(self, x: Tensor, u: Tensor, name: str) -> None:
        """Raise `ValueError`, beginning with `name`, unless x (..., n) and u (..., m) are states and inputs of these people."""
        require_shape(x, f"{name}: x", ..., len(self.tape.states), write="torch.zeros(M, N, n)", like=self.theta)
        require_shape(u, f"{name}: u", ..., len(self.tape.inputs), write="torch.zeros(1, N, m)", like=self.theta)
        require_together(x, self.theta, f"{name}: x and theta")
        require_together(u, self.theta, f"{name}: u and theta")
        require_together(x, u, f"{name}: x and u")
        if not x.dtype == u.dtype == self.theta.dtype:
            raise ValueError(
                f"{name}: x is {x.dtype}, u {u.dtype} and theta {self.theta.dtype}; write x.to(theta), u.to(theta)"
            )

    def rate(
        self,
        x: Tensor,  # (..., n)
        u: Tensor,  # (..., m)
    ) -> Tensor:  # (..., n)
        """f(x, u, θ)."""
        values = self._values(x, u)
        return _stacked([values[i] for i in self.tape.rate], self._like(x, u))

    def jacobian(
        self,
        x: Tensor,  # (..., n)
        u: Tensor,  # (..., m)
        *,
        by_inputs: bool = False,
    ) -> Tensor:  # (..., n, n), or (..., n, m)
        """∂f/∂x, or ∂f/∂u, by forward mode along the tape; differentiable in turn.

        Source: Griewank & Walther, Evaluating Derivatives (2008) § 3.1.
        """
        like, leaf = self._like(x, u), "input" if by_inputs else "state"
        count = len(self.tape.inputs if by_inputs else self.tape.states)
        if not count:
            return like.new_zeros(*like.shape, len(self.tape.rate), 0)
        values = self._values(x, u)
        slopes: list[dict[int, Value]] = []
        for i, (operation, arguments, number) in enumerate(self.tape.code):
            if operation == leaf:
                slopes.append({arguments[0]: 1.0})
            elif operation in LEAVES or not any(slopes[j] for j in arguments):
                slopes.append({})
            else:
                more = () if number is None else (number,)
                parts = OPERATIONS[operation].slopes(values[i], *(values[j] for j in arguments), *more)
                slopes.append(_chained([slopes[j] for j in arguments], parts))
        rows = [[slopes[i].get(j, 0.0) for j in range(count)] for i in self.tape.rate]
        return torch.stack([_stacked(row, like) for row in rows], -2)

    def divisors(
        self,
        x: Tensor,  # (..., n)
        u: Tensor,  # (..., m)
    ) -> Tensor:  # (..., d)
        """What the rate divides by at a point, as far as x or u move it: between two signs of one lies a pole."""
        values, found = self._values(x, u), list[Value]()
        for i, (operation, arguments, _) in enumerate(self.tape.code):
            if self.tape.moves[i] and operation in ("divide", "saturating"):
                below = values[arguments[-1]]
                found.append(1.0 + below if operation == "saturating" else below)
        like = self._like(x, u)
        return _stacked(found, like) if found else like.new_zeros(*like.shape, 0)

    def kinks(
        self,
        x: Tensor,  # (..., n)
        u: Tensor,  # (..., m)
    ) -> Tensor:  # (..., d)
        """What is 0 where the slope jumps: what relu and abs are taken of, the difference of two of which one is chosen; and the
        middles of steep steps, the argument of sigmoid and tanh, n log v of a Hill function with n of 4 or more.

        The first `Tape.kinked` of them are jumps of a slope, the others middles.
        """
        values, jumps, middles = self._values(x, u), list[Value](), list[Value]()
        for kind, i in self.tape.bent:
            a, *more = (values[j] for j in self.tape.code[i].arguments)
            if kind == "jump":
                jumps.append(a - more[0] if more else a)
            elif self.tape.code[i].operation == "hill":
                middles.append((self.tape.code[i].number or 1.0) * torch.log(a.clamp(min=1e-30)))
            else:
                middles.append(a)
        like, found = self._like(x, u), [*jumps, *middles]
        return _stacked(found, like) if found else like.new_zeros(*like.shape, 0)

    def _values(self, x: Tensor, u: Tensor) -> list[Value]:
        values: list[Value] = list(self.held)
        given = {"state": x.unbind(-1), "input": u.unbind(-1)}
        for i, line in enumerate(self.tape.code):
            if self.tape.moves[i]:
                leaf = given.get(line.operation)
                values[i] = _value(line, values) if leaf is None else leaf[line.arguments[0]]
        return values

    def _like(self, x: Tensor, u: Tensor) -> Tensor:
        """Something of the shape that all leading axes have together."""
        lead = torch.broadcast_shapes(x.shape[:-1], u.shape[:-1], self.theta.shape[:-1])
        return x[..., 0].expand(lead)


def _array(value: Any, count: int, what: str) -> np.ndarray:
    """Real numbers (..., count) in float64. Errors: `ValueError` for anything else."""
    try:
        found = np.asarray(value)
        if found.dtype.kind not in "fiu" or found.ndim < 1 or found.shape[-1] != count:
            raise TypeError
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{what} are an array of numbers (..., {count}), and are {quote(value)}; write np.ones({count})"
        ) from error
    return found.astype(np.float64)


def _value(line: Line, values: Sequence[Value | None]) -> Value:
    more = () if line.number is None else (line.number,)
    return OPERATIONS[line.operation].value(*[values[j] for j in line.arguments], *more)


def _chained(inner: Sequence[dict[int, Value]], outer: Sequence[Value]) -> dict[int, Value]:
    """Σ_k ∂z/∂a_k · ∂a_k/∂x_j, for each j that any a_k depends on."""
    found: dict[int, Value] = {}
    for slopes, part in zip(inner, outer, strict=True):
        for j, slope in slopes.items():
            term = part if isinstance(slope, float) and slope == 1.0 else part * slope
            found[j] = found[j] + term if j in found else term
    return found


def _stacked(parts: Sequence[Value], like: Tensor) -> Tensor:
    """Numbers and tensors (...), those that nothing varies among them, as one (..., k)."""
    whole = [p.expand(like.shape) if isinstance(p, Tensor) else torch.full_like(like, p) for p in parts]
    return torch.stack(whole, -1)


def _line_of(entry: Sequence[Any]) -> Line:
    operation, *rest = entry
    numbered = operation == "constant" or (operation in OPERATIONS and OPERATIONS[operation].numbered)
    number = float(rest.pop()) if numbered else None
    if any(isinstance(j, bool) or not isinstance(j, int) for j in rest):
        raise ValueError(f"a line reads others by their whole numbers, and one is {quote(entry)}")
    return Line(operation, tuple(rest), number)


def _require_line(i: int, line: Line, sizes: Mapping[str, int]) -> None:
    """Raise `ValueError` unless line i is one that a tape may hold."""
    if not isinstance(line, Line) or not isinstance(line.operation, str) or not isinstance(line.arguments, tuple):
        raise ValueError(f"Tape: line {i} is {quote(line)}; write Line('multiply', (0, 1))")
    operation, arguments, number = line
    if operation not in LEAVES and operation not in OPERATIONS:
        raise ValueError(f"Tape: line {i} is {quote(operation)}, which is none of {', '.join((*LEAVES, *OPERATIONS))}")
    leaf = operation in LEAVES
    arity = (0 if operation == "constant" else 1) if leaf else OPERATIONS[operation].arity
    most = sizes.get(operation, i)
    fits = len(arguments) == arity and all(isinstance(j, int) and 0 <= j < most for j in arguments)
    if not fits:
        what = f"the position of one of {most} {operation}s" if operation in sizes else f"{arity} earlier lines"
        raise ValueError(f"Tape: line {i}, {operation}, reads {what}, and has {quote(list(arguments))}")
    numbered = operation == "constant" or (not leaf and OPERATIONS[operation].numbered)
    if numbered != (number is not None) or (number is not None and not math.isfinite(number)):
        needed = "a finite one" if numbered else "none"
        raise ValueError(f"Tape: line {i}, {operation}, has the number {quote(number)}; needed is {needed}")
    if operation == "hill" and not (number or 0.0) > 0.0:
        raise ValueError(f"Tape: line {i}, hill, has the exponent {quote(number)}; needed is a positive one")
    if operation == "power" and abs(number or 0.0) >= 2.0**53:  # from there on n − 1, of the slope, loses its parity
        raise ValueError(f"Tape: line {i}, power, has the exponent {quote(number)}; needed is one of a size below 2^53")
