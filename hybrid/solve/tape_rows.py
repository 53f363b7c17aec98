"""The tape of a mechanism for rows of people: folded to few operations, with what nothing moves computed once.

Factors in front of a value (k·v, v/V, −v) are gathered into one, products go into the sums that they stand in, and for an
exponential step A x is taken off: what is left on the way of every stage are few operations on long rows of numbers.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from physics.operation import OPERATIONS, Value
from physics.tape import LEAVES, BoundTape, Line, Tape

# beside those of a tape: a + b·c
PLUS_PRODUCT = "plus product"

_Term = tuple[Value, int]  # a value that nothing moves, and the line that it multiplies


class Place(NamedTuple):
    """Where a value stands: a `state`, an `input`, `held`, a `constant` or the result of a `line`, by its position there."""

    kind: str
    position: int


class Task(NamedTuple):
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

    code: tuple[Task, ...]
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
        rate = folding.rates(A)
        columns = [h.expand(lead).reshape(-1) for h in folding.held]
        held = torch.stack(columns) if columns else bound.theta.new_empty(0, lead[0] * lead[1])
        return TapeRows(tuple(folding.code), rate, tuple(folding.constants), held, (bound.tape, A is not None))

    @cached_property
    def kept(self) -> frozenset[int]:
        """The lines whose values the derivative reads."""
        found = set[int]()
        for k, task in enumerate(self.code):
            read = task.arguments
            if task.operation in ("add", "subtract", "negate", "saturating"):
                continue  # of the last it is 1 + v
            if task.operation == PLUS_PRODUCT:
                read = read[1:]
            elif task.operation not in ("multiply", "square", "log", "power"):
                found.add(k)
            found |= {place.position for place in read if place.kind == "line"}
        return frozenset(found)

    @cached_property
    def width(self) -> int:
        """How many rows of numbers an evaluation leaves for its derivative."""
        return len(self.rate) + len(self.kept) + sum(task.operation == "saturating" for task in self.code)

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
                lines.append(values[0] + values[1] * values[2])
            else:
                lines.append(OPERATIONS[operation].value(*values, *(() if number is None else (number,))))
        rates = [at(place) for place in self.rate]
        return torch.stack([r.expand(lead) if isinstance(r, Tensor) else x.new_full(lead, r) for r in rates], -1)


class _Folding:
    """A tape on its way to few operations.

    A line is a value times another line, a sum of such ones, or an operation that is computed. Sums that only a sum reads are
    not computed by themselves: their summands go on into it.
    """

    def __init__(self, bound: BoundTape) -> None:
        self.tape, self.values = bound.tape, bound.held
        self.code: list[Task] = []
        self.held: list[Tensor] = []
        self.constants: list[float] = []
        self._known: dict[object, Place] = {}
        self._lines: dict[int, Place] = {}
        self._factors: dict[int, _Term] = {}
        self._sums: dict[int, list[_Term]] = {}
        moves, code = self.tape.moves, self.tape.code
        self._readers: list[list[str]] = [[] for _ in code]
        for i, line in enumerate(code):
            for j in line.arguments if moves[i] and line.operation not in LEAVES else ():
                self._readers[j].append(line.operation)
        for i in self.tape.rate:
            self._readers[i].append("rate")
        self.reach: list[frozenset[int]] = []  # the states that each line depends on
        for i, line in enumerate(code):
            self.reach.append(self._reach(line))
            if moves[i] and line.operation not in LEAVES and self._readers[i]:
                self._take(i, line)

    def _reach(self, line: Line) -> frozenset[int]:
        if line.operation in LEAVES:
            return frozenset(line.arguments if line.operation == "state" else ())
        return frozenset[int]().union(*(self.reach[j] for j in line.arguments))

    def _take(self, i: int, line: Line) -> None:
        factor = self._factor(line)
        if factor is not None:
            value, j = factor
            if j in self._factors and len(self._readers[j]) == 1:
                inner, j = self._factors[j]
                value = value * inner
            self._factors[i] = value, j
        elif line.operation in ("add", "subtract"):
            a, b = line.arguments
            sign = 1.0 if line.operation == "add" else -1.0
            terms = self._terms(a) + [(sign * value, j) for value, j in self._terms(b)]
            if len(self._readers[i]) == 1 and self._readers[i][0] in ("add", "subtract", "rate"):
                self._sums[i] = terms
            else:
                self._lines[i] = self._sum(terms)
        else:
            self._lines[i] = self._add(Task(line.operation, tuple(self.placed(j) for j in line.arguments), line.number))

    def _factor(self, line: Line) -> _Term | None:
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

    def _terms(self, i: int) -> list[_Term]:
        """Line i as a sum."""
        return self._sums.pop(i, None) or [self._factors.get(i, (1.0, i))]

    def rates(self, A: Tensor | None) -> tuple[Place, ...]:
        """Where the rate of every state stands, or where that stands without (A x)_i."""
        found = []
        state = {line.arguments[0]: i for i, line in enumerate(self.tape.code) if line.operation == "state"}
        for i, line in enumerate(self.tape.rate):
            terms = self._terms(line)
            if A is not None:
                terms = terms + [(-A[..., i, j], state[j]) for j in sorted(self.reach[line])]
            found.append(self._sum(terms) if len(terms) > 1 else self.placed(line))
        return tuple(found)

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
            found = self._product(*self._factors[i])
        self._lines[i] = found
        return found

    def _sum(self, terms: list[_Term]) -> Place:
        """Their sum, those of one line together; what stands alone begins."""
        by_line: dict[int, Value] = {}
        for value, j in terms:
            by_line[j] = by_line[j] + value if j in by_line else value
        alone = [j for j, value in by_line.items() if not isinstance(value, Tensor) and value == 1.0]
        first = alone[0] if alone else next(iter(by_line))
        value = by_line.pop(first)
        found = self.placed(first) if alone else self._product(value, first)
        for j, value in by_line.items():
            inner = self.placed(j)
            if isinstance(value, Tensor) or abs(value) != 1.0:
                found = self._add(Task(PLUS_PRODUCT, (found, self._hold(value), inner)))
            else:
                found = self._add(Task("add" if value > 0.0 else "subtract", (found, inner)))
        return found

    def _product(self, value: Value, j: int) -> Place:
        inner = self.placed(j)
        negated = not isinstance(value, Tensor) and value == -1.0
        return self._add(Task("negate", (inner,)) if negated else Task("multiply", (self._hold(value), inner)))

    def _hold(self, value: Value | None) -> Place:
        tensor = isinstance(value, Tensor)
        key: object = id(value) if tensor else value
        if key not in self._known:
            where: list[Any] = self.held if tensor else self.constants
            self._known[key] = Place("held" if tensor else "constant", len(where))
            where.append(value)
        return self._known[key]

    def _add(self, task: Task) -> Place:
        self.code.append(task)
        return Place("line", len(self.code) - 1)
