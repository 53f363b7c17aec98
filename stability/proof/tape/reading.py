"""A tape, read: every line verified by the checker's own table; and which names a line depends on.

`{"tape": 1, "states": […], "inputs": […], "parameters": […], "code": [[operation, lines…, number], …], "rate": [line of each]}`,
with the leaves `["state", k]`, `["input", k]`, `["parameter", k]`, `["constant", c]`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from stability.proof.reading import Unusable, get, number, sequence, shown
from stability.proof.tape.functions import FUNCTIONS
from stability.proof.tape.functions import NUMBERED as NUMBERED_FUNCTIONS

# what a tape begins with: numbers, and what it is given
LEAVES = ("constant", "state", "input", "parameter")
PAIRS = ("add", "subtract", "multiply", "divide", "minimum", "maximum")
# every operation that the checker can bound; what is not among them is refused by name
OPERATIONS = (*PAIRS, *FUNCTIONS)
# behind which a number stands
NUMBERED = ("constant", *NUMBERED_FUNCTIONS)
_ENTRIES = {"tape", "states", "inputs", "parameters", "code", "rate"}
_MOST = 100_000  # lines
# of a power: from here on every double is even or not told from its neighbour, and n − 1, in the slope n vⁿ⁻¹, loses its parity
_EXPONENT = 2.0**53


class Line(NamedTuple):
    """The operation, the lines that it reads (of a leaf: its position), and its number where it has one, else 0."""

    operation: str
    arguments: tuple[int, ...]
    number: float


@dataclass(frozen=True)
class Tape:
    """f(x, u, θ) as scalar operations, verified; the entries are those of the JSON."""

    states: tuple[str, ...]
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    code: tuple[Line, ...]
    rate: tuple[int, ...]

    @cached_property
    def moves(self) -> tuple[bool, ...]:
        """For each line, whether x or u enters it; the others depend on θ alone."""
        found: list[bool] = []
        for operation, arguments, _ in self.code:
            inner = operation not in LEAVES and any(found[j] for j in arguments)
            found.append(operation in ("state", "input") or inner)
        return tuple(found)

    def names_in(self, line: int) -> list[str]:
        """The states, inputs and parameters that a line depends on, each once, in the order of the tape."""
        leaves = {"state": self.states, "input": self.inputs, "parameter": self.parameters}
        found, waiting, seen = set[tuple[str, int]](), [line], set[int]()
        while waiting:
            i = waiting.pop()
            if i in seen:
                continue
            seen.add(i)
            operation, arguments, _ = self.code[i]
            if operation in leaves:
                found.add((operation, arguments[0]))
            elif operation != "constant":
                waiting += arguments
        return [leaves[leaf][k] for leaf in leaves for k in range(len(leaves[leaf])) if (leaf, k) in found]


class Unbounded(Unusable):
    """A line of a tape that nothing bounds over a box: which operation, on what, over which range, and what to do."""


def read_tape(data: object) -> Tape:
    """The tape that the JSON writes; one that is read already is verified again. Errors: Unusable, naming line and fault."""
    if isinstance(data, Tape):
        if read_tape(_written(data)) != data:
            raise Unusable("the tape is not one that its own JSON gives")
        return data
    if not isinstance(data, Mapping) or set(data) != _ENTRIES:
        needed = ", ".join(sorted(_ENTRIES))
        seen = ", ".join(shown(key) for key in list(data)[:8]) if isinstance(data, Mapping) else shown(data)
        raise Unusable(f"a tape has the entries {needed}, and this one has {seen}")
    if isinstance(get(data, "tape"), bool) or get(data, "tape") != 1:
        raise Unusable(f"a tape of version {shown(get(data, 'tape'))} is not one that this checker knows; it knows 1")
    names = {what: _names(get(data, what), what) for what in ("states", "inputs", "parameters")}
    if not names["states"]:
        raise Unusable("the tape has no states")
    code = sequence(get(data, "code"))
    if len(code) > _MOST:
        raise Unusable(f"the tape has {len(code)} lines; at most {_MOST} are read")
    sizes = {leaf: len(names[f"{leaf}s"]) for leaf in ("state", "input", "parameter")}
    lines = tuple(_line(i, sequence(entry), sizes) for i, entry in enumerate(code))
    rate = sequence(get(data, "rate"))
    if len(rate) != len(names["states"]):
        raise Unusable(f"the tape has {len(names['states'])} states and {len(rate)} rates")
    for end in rate:
        if not _index(end, len(lines)):
            raise Unusable(f"the rate of a state is a line from 0 to {len(lines) - 1}, and {shown(end)} is none")
    return Tape(names["states"], names["inputs"], names["parameters"], lines, tuple(rate))


def _written(tape: Tape) -> dict[str, object]:
    """The JSON of a tape, whatever its parts are."""
    try:
        code = [[o, *lines, *((n,) if o == "constant" or o in NUMBERED else ())] for o, lines, n in tape.code]
        names = {what: list(getattr(tape, what)) for what in ("states", "inputs", "parameters")}
        return {"tape": 1, **names, "code": code, "rate": list(tape.rate)}
    except (TypeError, ValueError) as error:
        raise Unusable(f"the tape's parts are not those of a tape: {error}") from error


def _names(value: object, what: str) -> tuple[str, ...]:
    found = sequence(value)
    if not all(isinstance(name, str) and name for name in found) or len(set(found)) < len(found):
        raise Unusable(f"the tape's {what} are not names that differ")
    if not all(name.isascii() or name.encode("utf-8", "replace").decode("utf-8") == name for name in found):
        raise Unusable(f"the tape's {what} hold characters that no text has")
    return tuple(found)


def _index(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < most


def _line(i: int, entry: object, sizes: Mapping[str, int]) -> Line:
    parts = list(sequence(entry))
    operation = parts.pop(0) if parts else None
    if not isinstance(operation, str) or operation not in (*LEAVES, *OPERATIONS):
        raise Unusable(
            f"line {i} of the tape is {shown(operation)}, which is none of {', '.join((*LEAVES, *OPERATIONS))}"
        )
    numbered = operation in NUMBERED
    arity = 0 if operation == "constant" else 2 if operation in PAIRS else 1
    if len(parts) != arity + numbered:
        needed = f"{arity} lines" + (" and a number" if numbered else "")
        raise Unusable(f"line {i} of the tape, {operation}, needs {needed}, and has {len(parts)} entries")
    value = number(parts.pop()) if numbered else 0.0
    if not math.isfinite(value):
        raise Unusable(f"line {i} of the tape, {operation}, has the number {value}, which is not finite")
    if operation == "hill" and not value > 0.0:
        raise Unusable(f"line {i} of the tape, hill, has the exponent {value:g}; it must be above 0")
    if operation == "power" and abs(value) >= _EXPONENT:
        raise Unusable(f"line {i} of the tape, power, has the exponent {value:g}; its size must be below 2^53")
    most = sizes.get(operation, i)
    for j in parts:
        if not _index(j, most):
            what = f"one of {most} {operation}s" if operation in sizes else "an earlier line"
            raise Unusable(f"line {i} of the tape, {operation}, reads {shown(j)}, which is not the position of {what}")
    return Line(operation, tuple(parts), value)
