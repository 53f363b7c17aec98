"""The tape of a mechanism evaluated and differentiated by hand, in buffers that are used again.

As `kernel.py` does for a layered residual: operations write where they are told to, every value of a stage is a row of numbers,
one for each person, and the derivative is reverse mode along the tape (Griewank & Walther, Evaluating Derivatives (2008) § 3.2).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hybrid.solve.pool import Pool, Tape
from hybrid.solve.tape_rows import PLUS_PRODUCT, Place, TapeRows, Task
from physics.operation import OPERATIONS


@dataclass(frozen=True)
class _Summand:
    """A summand of a cotangent, number · one · two."""

    number: float
    one: Tensor
    two: Tensor | None = None


class TapeKernel:
    """Evaluates the rates of `rows` and pulls cotangents back through them, for `steps` × `stages` evaluations that are kept."""

    def __init__(
        self,
        rows: TapeRows,
        like: Tensor,  # (Mw, R, n)
        *,
        steps: int,
        stages: int,
        inputs: Tensor | None,  # (R, m), such as they are
        pool: Pool,
        do: Tape,
    ) -> None:
        self.do, self.rows = do, rows
        self.members, self.count, self.n = like.shape
        long = self.members * self.count
        self.values = pool.take(like, steps, stages, max(1, rows.width), long)
        self.buffers = [self.values]  # to give back to the pool
        self.constants = [like.new_tensor(v) for v in rows.constants]
        # the derivative does not read the others, so that all stages write them into the same rows; those of the rates stand
        # in a block that is handed on as a whole
        self.passing = like.new_empty(self.n + len(rows.code), long)
        self.rates = self.passing[: self.n]
        kept = [*sorted(rows.kept), *(k for k, task in enumerate(rows.code) if task.operation == "saturating")]
        count = len(rows.kept)
        self.kept = {k: self.n + i for i, k in enumerate(kept[:count])}
        self.beside = {k: self.n + count + i for i, k in enumerate(kept[count:])}  # 1 + v
        self.passes = {k: self.n + k for k in range(len(rows.code)) if k not in self.kept}
        self.copies: list[tuple[int, Place]] = []  # the rates that stand elsewhere
        for i, place in enumerate(rows.rate):
            if place.kind == "line" and self.passes.get(place.position, 0) >= self.n:
                self.passes[place.position] = i
            else:
                self.copies.append((i, place))
        self.bars = like.new_empty(max(1, len(rows.code)), long)
        self.more = like.new_empty(max(1, len(rows.code)), long)
        self.kappa, self.mu = like.new_empty(self.n, long), like.new_empty(self.n, long)
        self.total: Tensor | None = None  # the gradient of what is held
        self.held = rows.held.detach()
        m = 0 if inputs is None else inputs.shape[-1]
        self.u, self.gu = like.new_empty(stages, m, long), like.new_empty(stages, m, long)
        self.wants_inputs = False
        self.same: list[int] = [0] * stages  # where the inputs of each stage stand

    def drive(self, u0: Tensor, u1: Tensor | None, c: Sequence[float]) -> None:
        """Set the inputs (R, m) of this step, from u0 to u1 (None: constant); `c` are the stages' times."""
        lead = (self.u.shape[1], self.members, self.count)
        for i, at in enumerate(c):
            self.same[i] = 0 if u1 is None else i
            if i and u1 is None:
                continue
            one, first = self.u[i].view(lead), u0.T[:, None].expand(lead)
            if u1 is None or at == 0.0:
                self.do(one.copy_, first)
            else:
                self.do(torch.lerp, first, u1.T[:, None].expand(lead), at, out=one)

    def _found(self, c: int, i: int) -> Callable[[Place], Tensor]:
        values, passing = self.values[c, i].unbind(0), self.passing.unbind(0)
        given = {"input": self.u[self.same[i]].unbind(0), "held": self.held.unbind(0), "constant": self.constants}

        def at(place: Place) -> Tensor:
            kind, k = place
            if kind == "line":
                return values[self.kept[k]] if k in self.kept else passing[self.passes[k]]
            return values[k] if kind == "state" else given[kind][k]

        return at

    def evaluate(self, c: int, i: int, x: Tensor, out: Tensor, *, add: bool) -> None:
        """The rates into `out`, or added to it, keeping what `pull` needs."""
        do, n, at, values = self.do, self.n, self._found(c, i), self.values[c, i]
        do(values[:n].copy_, x.view(-1, n).T)
        for k, task in enumerate(self.rows.code):
            z, read = at(Place("line", k)), [at(place) for place in task.arguments]
            if task.operation == "saturating":
                below = values[self.beside[k]]
                do(torch.add, read[0], 1.0, out=below)
                do(torch.div, read[0], below, out=z)
            else:
                _forwards(do, task, read, z)
        for i, place in self.copies:
            do(self.rates[i].copy_, at(place))
        whole = out.view(-1, n)
        do(whole.add_ if add else whole.copy_, self.rates.T)

    def begin_gradients(self, needed: bool, inputs: bool) -> None:
        """Forget the gradients so far; who is asked for: that of what is held, those of the inputs."""
        self.wants_inputs = inputs
        self.total = torch.zeros_like(self.held) if needed else None
        if self.total is not None:
            self.do(self.total.zero_)

    def pull(self, c: int, i: int, kappa: Tensor, out: Tensor, *, add: bool) -> None:
        """The cotangent of x into `out`, or added to it, given that of the rates; those of what is held are gathered."""
        do, n, at, values = self.do, self.n, self._found(c, i), self.values[c, i]
        do(self.kappa.copy_, kappa.view(-1, n).T)
        found: dict[Place, list[_Summand]] = {}

        def give(place: Place, number: float, one: Tensor, two: Tensor | None = None) -> None:
            if place.kind == "held":
                if self.total is not None:
                    self._sum(self.total[place.position], number, one, two)
            elif place.kind == "line" or place.kind == "state" or (place.kind == "input" and self.wants_inputs):
                found.setdefault(place, []).append(_Summand(number, one, two))

        for row, place in enumerate(self.rows.rate):
            give(place, 1.0, self.kappa[row])
        for k in reversed(range(len(self.rows.code))):
            summands = found.pop(Place("line", k), None)
            if summands is None:
                continue
            task, z = self.rows.code[k], at(Place("line", k))
            bar = _put_together(do, summands, self.bars[k])
            beside = values[self.beside[k]] if k in self.beside else None
            _backwards(do, task, [at(place) for place in task.arguments], z, beside, bar, self.more[k], give)
        ends = [(Place("state", j), row) for j, row in enumerate(self.mu.unbind(0))]
        ends += [(Place("input", j), row) for j, row in enumerate(self.gu[i].unbind(0)) if self.wants_inputs]
        for place, out_row in ends:
            summands = found.get(place)
            if summands is None:
                do(out_row.zero_)
                continue
            bar = _put_together(do, summands, out_row)
            if bar.one is not out_row or bar.number != 1.0:
                do(torch.mul, bar.one, bar.number, out=out_row)
        whole = out.view(-1, n)
        do(whole.add_ if add else whole.copy_, self.mu.T)

    def input_cotangent(self, i: int) -> Tensor:  # (R, m)
        """The cotangent of u at stage i, summed over members, after `pull`."""
        return self.gu[i].unflatten(-1, (self.members, self.count)).sum(1).T

    def _sum(self, total: Tensor, number: float, one: Tensor, two: Tensor | None) -> None:
        if two is None:
            self.do(total.add_, one, alpha=number)
        else:
            self.do(total.addcmul_, one, two, value=number)


def _put_together(do: Tape, summands: Sequence[_Summand], out: Tensor) -> _Summand:
    """Their sum as one number times one tensor: `out`, where there is anything to compute."""
    first, *others = sorted(summands, key=lambda s: s.two is not None)  # what is only one tensor begins
    value = first.one
    if first.two is not None:
        do(torch.mul, first.one, first.two, out=out)
        value = out
    for other in others:
        share = other.number / first.number
        if other.two is None:
            do(torch.add, value, other.one, alpha=share, out=out)
        else:
            do(torch.addcmul, value, other.one, other.two, value=share, out=out)
        value = out
    return _Summand(first.number, value)


# those of a tape that torch writes into a place
_INTO: dict[str, Callable[..., Any]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "divide": torch.div,
    "negate": torch.neg,
    "power": torch.pow,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "sin": torch.sin,
    "cos": torch.cos,
    "atan": torch.atan,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "abs": torch.abs,
    "minimum": torch.minimum,
    "maximum": torch.maximum,
    "square": torch.square,
}


def _forwards(do: Tape, task: Task, read: Sequence[Tensor], z: Tensor) -> None:
    """The value of a task into z."""
    operation, more = task.operation, () if task.number is None else (task.number,)
    if operation == PLUS_PRODUCT:
        do(torch.addcmul, *read, out=z)
    elif operation == "relu":
        do(torch.clamp, *read, min=0.0, out=z)
    elif operation in _INTO:
        do(_INTO[operation], *read, *more, out=z)
    else:  # hill, softplus
        value = OPERATIONS[operation].value
        do(lambda: z.copy_(value(*read, *more)))


def _backwards(
    do: Tape,
    task: Task,
    read: Sequence[Tensor],
    z: Tensor,
    beside: Tensor | None,
    bar: _Summand,
    out: Tensor,
    give: Callable[..., None],
) -> None:
    """Hand the cotangent of a task on to what it reads; `out` is room for one row."""
    operation, places, number, g = task.operation, task.arguments, bar.number, bar.one
    if operation == "add":
        give(places[0], number, g)
        give(places[1], number, g)
    elif operation == "subtract":
        give(places[0], number, g)
        give(places[1], -number, g)
    elif operation == "negate":
        give(places[0], -number, g)
    elif operation == "multiply":
        give(places[0], number, g, read[1])
        give(places[1], number, g, read[0])
    elif operation == PLUS_PRODUCT:
        give(places[0], number, g)
        give(places[1], number, g, read[2])
        give(places[2], number, g, read[1])
    elif operation == "divide":
        do(torch.div, g, read[1], out=out)
        give(places[0], number, out)
        give(places[1], -number, out, z)
    elif operation == "square":
        give(places[0], 2.0 * number, g, read[0])
    elif operation == "exp":
        give(places[0], number, g, z)
    elif operation in ("log", "sqrt"):
        do(torch.div, g, read[0] if operation == "log" else z, out=out)
        give(places[0], number * (1.0 if operation == "log" else 0.5), out)
    elif operation == "saturating":
        assert beside is not None
        do(torch.div, g, beside, out=out)
        do(out.div_, beside)
        give(places[0], number, out)
    elif operation == "power":
        assert task.number is not None
        do(torch.pow, read[0], task.number - 1.0, out=out)
        give(places[0], number * task.number, g, out)
    elif operation in _PULLS:
        do(_PULLS[operation], g, z, grad_input=out)
        give(places[0], number, out)
    else:
        slopes, more = OPERATIONS[operation].slopes, () if task.number is None else (task.number,)
        do(lambda: out.copy_(slopes(z, *read, *more)[0]))
        give(places[0], number, g, out)
        if len(places) > 1:  # of two, one is chosen
            give(places[1], number, g)
            give(places[1], -number, g, out)


_PULLS: dict[str, Callable[..., Any]] = {
    "tanh": torch.ops.aten.tanh_backward.grad_input,
    "sigmoid": torch.ops.aten.sigmoid_backward.grad_input,
}
