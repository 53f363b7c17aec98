"""Programs that differ in numbers alone, as one: members of an ensemble share their code, and bring their numbers."""

from collections.abc import Sequence

import numpy as np

from exchange.program.program import Program
from physics.arguments import require_kind
from physics.tape import Line

NUMBERS = "numbers"


def shared(programs: Sequence[Program]) -> tuple[Program, np.ndarray] | None:
    """One program for all of them, with a further group of inputs, `numbers`, and what that is for each, (M, k).

    None where they differ in more than their constants: two numbers that are one for a member, a factor that is 1.
    Law: the program with the m-th row as `numbers` is the m-th program, to the last bit.
    """
    require_kind(programs, (tuple, list), "shared: programs", "[parts.theta for parts in parts_of_members(model)]")
    if not programs:
        raise ValueError("shared: programs are none; write [parts.theta for parts in parts_of_members(model)]")
    for one in programs:
        require_kind(one, Program, "shared: each of programs", "parts.theta")
    first = programs[0]
    for other in programs[1:]:
        if (dict(other.inputs), other.outputs, len(other.code)) != (dict(first.inputs), first.outputs, len(first.code)):
            return None
        for line, its in zip(first.code, other.code, strict=True):
            alike = line.operation == its.operation and line.arguments == its.arguments
            if not alike or (line.operation != "constant" and line.number != its.number):
                return None
    columns, code, group = list[list[float]](), list[Line](), len(first.inputs)
    for lines in zip(*(one.code for one in programs), strict=True):
        numbers = [0.0 if line.number is None else line.number for line in lines]
        if lines[0].operation == "constant" and len({number.hex() for number in numbers}) > 1:
            code.append(Line("given", (group, len(columns))))
            columns.append(numbers)
        else:
            code.append(lines[0])
    made = Program({**first.inputs, NUMBERS: len(columns)}, tuple(code), first.outputs)
    return made, np.array(columns, dtype=np.float64).reshape(len(columns), len(programs)).T
