"""Lines as they are written: what is constant is computed at once, and what is there already is not written again."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from exchange.program.operations import LEAVES, OPERATIONS
from exchange.program.program import Program
from physics.tape import Line

_SWAPS = ("add", "multiply", "equal", "and", "or")


class Lines:
    """The lines of a program while it is made; a line is known by its number.

    `inputs`: the size of each group of inputs.
    """

    def __init__(self, inputs: Mapping[str, int]) -> None:
        self.inputs = dict(inputs)
        self._groups = {name: k for k, name in enumerate(self.inputs)}
        self._code: list[Line] = []
        self._known: dict[tuple[str, tuple[int, ...], str | None], int] = {}

    def given(self, group: str, position: int) -> int:
        """The line of one input."""
        return self._line("given", (self._groups[group], position))

    def constant(self, number: float) -> int:
        """The line of a number; it may be infinite or NaN."""
        return self._line(
            "constant", (), math.nan if math.isnan(number) else float(number)
        )  # of NaN one, so that it is like itself

    def number(self, line: int) -> float | None:
        """The number of a line that is constant."""
        return self._code[line].number if self._code[line].operation == "constant" else None

    def write(self, operation: str, *arguments: int, number: float | None = None) -> int:
        """The line of an operation on earlier lines."""
        numbers = [self.number(a) for a in arguments]
        values = [np.float64(n) for n in numbers if n is not None]
        if len(values) == len(arguments):
            with np.errstate(all="ignore"):
                return self.constant(
                    float(OPERATIONS[operation].plain(*values, *(() if number is None else (number,))))
                )
        plainer = self._plainer(operation, arguments, numbers)
        if plainer is not None:
            return plainer
        if operation in _SWAPS:
            arguments = tuple(sorted(arguments))
        return self._line(operation, arguments, number)

    def _plainer(self, operation: str, arguments: tuple[int, ...], numbers: Sequence[float | None]) -> int | None:
        """A line that says the same with less; None where there is none. Nothing that is 0 or NaN for some input is left out."""
        a, *more = arguments
        b = more[0] if more else a
        match operation:
            case "add" if 0.0 in numbers:
                return b if numbers[0] == 0.0 else a
            case "add" if (opposite := self._opposite(b)) is not None:
                return self.write("subtract", a, opposite)
            case "add" if (opposite := self._opposite(a)) is not None:
                return self.write("subtract", b, opposite)
            case "subtract" if numbers[1] == 0.0:
                return a
            case "subtract" if numbers[0] == 0.0:
                return self.write("negate", b)
            case "subtract" if (opposite := self._opposite(b)) is not None:
                return self.write("add", a, opposite)
            case "multiply" if 1.0 in numbers:
                return b if numbers[0] == 1.0 else a
            case "multiply" if -1.0 in numbers:
                return self.write("negate", b if numbers[0] == -1.0 else a)
            case "divide" if numbers[1] == 1.0:
                return a
            case "negate" if (opposite := self._opposite(a)) is not None:
                return opposite
            case "where" if numbers[0] is not None:
                return more[0] if numbers[0] else more[1]
            case "where" if more[0] == more[1]:
                return more[0]
            case "and" | "or" if numbers[0] is not None or numbers[1] is not None:
                known, other = (numbers[0], b) if numbers[0] is not None else (numbers[1], a)
                if bool(known) == (operation == "or"):
                    return self.constant(float(operation == "or"))
                return other if self._true_or_false(other) else None
        return None

    def _true_or_false(self, line: int) -> bool:
        operation = self._code[line].operation
        return operation not in LEAVES and OPERATIONS[operation].truth

    def _opposite(self, line: int) -> int | None:
        operation, arguments, _ = self._code[line]
        return arguments[0] if operation == "negate" else None

    def _line(self, operation: str, arguments: tuple[int, ...], number: float | None = None) -> int:
        key = (operation, arguments, None if number is None else float(number).hex())
        if key not in self._known:
            self._known[key] = len(self._code)
            self._code.append(Line(operation, arguments, number))
        return self._known[key]

    def copy_of(self, program: Program, groups: Mapping[str, Sequence[int]] | None = None) -> list[int]:
        """Every line of a program, written here; `groups`: the lines that stand for its inputs, by group; else our own."""
        names, found = list(program.inputs), list[int]()
        for operation, arguments, number in program.code:
            if operation == "given":
                group, place = names[arguments[0]], arguments[1]
                known = None if groups is None else groups.get(group)
                found.append(self.given(group, place) if known is None else known[place])
            elif operation == "constant":
                found.append(self.constant(0.0 if number is None else number))
            else:
                found.append(self.write(operation, *(found[j] for j in arguments), number=number))
        return found

    def program(self, outputs: Mapping[str, Sequence[int]]) -> Program:
        """The program that gives these lines, without those that nothing needs."""
        needed = {line for lines in outputs.values() for line in lines}
        for i in range(len(self._code) - 1, -1, -1):
            if i in needed and self._code[i].operation not in LEAVES:
                needed.update(self._code[i].arguments)
        place = {line: k for k, line in enumerate(sorted(needed))}
        code = []
        for i in sorted(needed):
            operation, arguments, number = self._code[i]
            read = arguments if operation in LEAVES else tuple(place[j] for j in arguments)
            code.append(Line(operation, read, number))
        return Program(
            self.inputs, tuple(code), {name: tuple(place[i] for i in lines) for name, lines in outputs.items()}
        )
