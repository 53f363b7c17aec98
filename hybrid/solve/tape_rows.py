"""The tape of a mechanism for rows of people: folded to few operations, with what nothing moves computed once.

Factors in front of a value (k·v, v/V, −v) are gathered into one, products go into the sums that they stand in, and for an
exponential step A x is taken off: what is left on the way of every stage are few operations on long rows of numbers.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from physics.operation import OPERATIONS, Value
from physics.tape import LEAVES, BoundTape, Line, Tape

# beside those of a tape: a + s·b·c, with a number s
PLUS_PRODUCT = "plus product"


class Place(NamedTuple):
    """Where a value stands: a `state`, an `input`, `held`, a `constant` or the result of a `line`, by its position there."""

    kind: str
    position: int


class Work(NamedTuple):
    """One operation on values that stand somewhere; `number` where it has one."""

    operation: str
    arguments: tuple[Place, ...]
    number: float | None = None


@dataclass(frozen=True)
class TapeRows:
    """f(x, u, θ), or f − A x, for rows of people whose θ is held.

    `code`: the operations · `rate`: where every state's rate stands · `constants` · `held` (H, rows): everyone's values that
    neither x nor u enters, differentiable in θ and A · `source`: the tape, and whether A x is taken off, which
    say what `code` is.
    Law: `ordinary` gives what `BoundTape.rate` gives, to rounding.
    """

    code: tuple[Work, ...]
    rate: tuple[Place, ...]
    constants: tuple[float, ...]
    held: Tensor
    source: tuple[Tape, bool]

    @staticmethod
    def of(
        bound: BoundTape,
        lead: tuple[int, int],  # (M, N), in rows M·N
        A: Tensor | None = None,  # (M|1, N|1, n, n), to be taken off
    ) -> "TapeRows":
        """The rows of a tape."""
        folding = _Folding(bound)
        rate = tuple(folding.placed(i) for i in bound.tape.rate)
        if A is not None:
            rate = tuple(folding.without(i, place, A) for i, place in enumerate(rate))
        columns = [h.expand(lead).reshape(-1) for h in folding.held]
        held = torch.stack(columns) if columns else bound.theta.new_empty(0, lead[0] * lead[1])
        return TapeRows(tuple(folding.code), rate, tuple(folding.constants), held, (bound.tape, A is not None))

    @cached_property
    def width(self) -> int:
        """How many rows of numbers one evaluation keeps."""
        return len(self.rate) + len(self.code) + sum(w.operation == "saturating" for w in self.code)

    def ordinary(
        self,
        held: Tensor,  # (H, rows)
        x: Tensor,  # (Mw, R, n)
        u: Tensor | None,  # (R, m)
    ) -> Tensor:  # (Mw, R, n)
        """The rates in ordinary operations on `held`, which stands for its own."""
        lead = x.shape[:-1]
        given = {
            "state": x.unbind(-1),
            "input": () if u is None else u.unbind(-1),
            "held": held.unflatten(-1, lead).unbind(0) if len(held) else (),
            "constant": self.constants,
        }
        lines: list[Value] = []

        def at(place: Place) -> Value:
            return lines[place.position] if place.kind == "line" else given[place.kind][place.position]

        for operation, arguments, number in self.code:
            values = [at(place) for place in arguments]
            if operation == PLUS_PRODUCT:
                lines.append(values[0] + number * (values[1] * values[2]))
            else:
                lines.append(OPERATIONS[operation].value(*values, *(() if number is None else (number,))))
        rates = [at(place) for place in self.rate]
        return torch.stack([r.expand(lead) if isinstance(r, Tensor) else x.new_full(lead, r) for r in rates], -1)


class _Folding:
    """A tape on its way to few operations."""

    def __init__(self, bound: BoundTape) -> None:
        self.tape, self.values = bound.tape, bound.held
        self.code: list[Work] = []
        self.held: list[Tensor] = []
        self.constants: list[float] = []
        self._known: dict[object, Place] = {}
        self._lines: dict[int, Place] = {}
        self._factors: dict[int, tuple[Value, int]] = {}  # of a line: what it is times which other line
        moves, code = self.tape.moves, self.tape.code
        self._reads = [0] * len(code)
        for i, line in enumerate(code):
            for j in line.arguments if moves[i] and line.operation not in LEAVES else ():
                self._reads[j] += 1
        for i in self.tape.rate:
            self._reads[i] += 1
        self.reach: list[frozenset[int]] = []  # the states that each line depends on
        for i, line in enumerate(code):
            self.reach.append(self._reach(line))
            if moves[i] and line.operation not in LEAVES:
                self._take(i, line)

    def _reach(self, line: Line) -> frozenset[int]:
        if line.operation in LEAVES:
            return frozenset(line.arguments if line.operation == "state" else ())
        return frozenset[int]().union(*(self.reach[j] for j in line.arguments))

    def _take(self, i: int, line: Line) -> None:
        factor = self._factor(line)
        if factor is not None:
            value, j = factor
            if j in self._factors and self._reads[j] == 1:
                inner, j = self._factors[j]
                value = value * inner
            self._factors[i] = value, j
            return
        if line.operation in ("add", "subtract"):
            a, b = line.arguments
            sign = 1.0 if line.operation == "add" else -1.0
            if not self._once(b) and self._once(a) and sign > 0.0:
                a, b = b, a
            if self._once(b):
                value, j = self._factors[b]
                self._lines[i] = self._plus(self.placed(a), sign, value, self.placed(j))
                return
        self._lines[i] = self._add(Work(line.operation, tuple(self.placed(j) for j in line.arguments), line.number))

    def _factor(self, line: Line) -> tuple[Value, int] | None:
        """What this line is times which other one, where it is that."""
        moves, operation = self.tape.moves, line.operation
        if operation == "negate":
            return -1.0, line.arguments[0]
        if operation not in ("multiply", "divide") or all(moves[j] for j in line.arguments):
            return None
        a, b = line.arguments
        if operation == "multiply":
            return (self.values[b], a) if moves[a] else (self.values[a], b)
        return (1.0 / self.values[b], a) if moves[a] else None  # type: ignore[operator]

    def _once(self, i: int) -> bool:
        return i in self._factors and self._reads[i] == 1

    def placed(self, i: int) -> Place:
        """Where the value of line i of the tape stands."""
        if i in self._lines:
            return self._lines[i]
        line = self.tape.code[i]
        if not self.tape.moves[i]:
            found = self._hold(self.values[i])
        elif line.operation in LEAVES:
            found = Place(line.operation, line.arguments[0])
        else:
            value, j = self._factors[i]
            inner = self.placed(j)
            negated = not isinstance(value, Tensor) and value == -1.0
            found = self._add(Work("negate", (inner,)) if negated else Work("multiply", (self._hold(value), inner)))
        self._lines[i] = found
        return found

    def without(self, i: int, place: Place, A: Tensor) -> Place:
        """Where the rate of state i without (A x)_i stands; where its rate does not depend on a state A has no entry."""
        for j in sorted(self.reach[self.tape.rate[i]]):
            place = self._plus(place, -1.0, A[..., i, j], Place("state", j))
        return place

    def _plus(self, a: Place, sign: float, value: Value, b: Place) -> Place:
        if isinstance(value, Tensor):
            return self._add(Work(PLUS_PRODUCT, (a, self._hold(value), b), sign))
        if abs(value) == 1.0:
            return self._add(Work("add" if sign * value > 0.0 else "subtract", (a, b)))
        return self._add(Work(PLUS_PRODUCT, (a, self._hold(value), b), sign))

    def _hold(self, value: Value | None) -> Place:
        tensor = isinstance(value, Tensor)
        key: object = id(value) if tensor else value
        if key not in self._known:
            where: list[object] = self.held if tensor else self.constants  # type: ignore[assignment]
            self._known[key] = Place("held" if tensor else "constant", len(where))
            where.append(value)
        return self._known[key]

    def _add(self, work: Work) -> Place:
        self.code.append(work)
        return Place("line", len(self.code) - 1)
