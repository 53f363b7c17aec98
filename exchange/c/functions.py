"""Scalar programs of all members as one C function each: members whose programs differ in numbers alone share its code."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from exchange.c.numbers import Real, table
from exchange.program import Program, lines_in_c
from physics.tape import Line

NUMBER = "number"  # the group of inputs that holds what differs from member to member


@dataclass(frozen=True)
class OfMembers:
    """The programs of a part: one for all members, which may read `numbers` (M, k) of their own, or one each.

    Law: for every member what is written computes what its own program computes.
    """

    programs: tuple[Program, ...]
    numbers: np.ndarray

    @staticmethod
    def of(programs: Sequence[Program]) -> "OfMembers":
        """The programs of members 0, 1, …, shared where they can be."""
        first, *others = programs
        if not all(_alike(first, other) for other in others):
            return OfMembers(tuple(programs), np.zeros((len(programs), 0)))
        places = [
            i
            for i, line in enumerate(first.code)
            if line.operation == "constant" and len({_exact(p.code[i].number) for p in programs}) > 1
        ]
        numbers = np.array([[p.code[i].number for i in places] for p in programs], dtype=np.float64).reshape(
            len(programs), -1
        )
        if not places:
            return OfMembers((first,), numbers)
        code, group = list(first.code), len(first.inputs)
        for k, i in enumerate(places):
            code[i] = Line("given", (group, k), None)
        return OfMembers((Program({**first.inputs, NUMBER: len(places)}, tuple(code), first.outputs),), numbers)

    def each(self, change: Callable[[Program], Program]) -> "OfMembers":
        """The same with another program in the place of each: a derivative."""
        return OfMembers(tuple(change(program) for program in self.programs), self.numbers)


def function_in_c(
    name: str,  # with its prefix
    members: OfMembers,
    signature: str,  # the C arguments, which hold `person` or `member`
    names: Mapping[str, str],  # of every group of inputs and outputs, as `lines_in_c` takes them
    real: Real,
) -> str:
    """`static inline void NAME(SIGNATURE)`, ahead of it the table of numbers that differ."""
    member = "person->member" if "*person" in signature else "member"
    own = f"{name}_numbers"
    parts = [table(own, members.numbers, real)] if members.numbers.shape[1] else []
    names = {**names, NUMBER: f"{own}[{member}][{{i}}]"}
    words = [word.split()[-1].lstrip("*") for word in signature.split(",")]
    lines = [f"static inline void {name}({signature})", "{", *(f"    (void){word};" for word in words)]
    bodies = [lines_in_c(program, names, real) for program in members.programs]
    if len(bodies) == 1:
        lines += ["    {", *(f"        {line}" for line in bodies[0]), "    }"]
    else:
        lines.append(f"    switch ({member}) {{")
        for k, body in enumerate(bodies):
            lines += [f"    case {k}: {{", *(f"        {line}" for line in body), "    } break;"]
        lines += ["    default: break;", "    }"]
    return "\n".join([*parts, *lines, "}"])


def _alike(first: Program, other: Program) -> bool:
    """Do they differ in the numbers of constants at most?"""
    same = (first.inputs, first.outputs, len(first.code)) == (other.inputs, other.outputs, len(other.code))
    return same and all(
        a.operation == b.operation
        and a.arguments == b.arguments
        and (a.operation == "constant" or a.number == b.number)
        for a, b in zip(first.code, other.code, strict=True)
    )


def _exact(number: float | None) -> str | None:
    return None if number is None else float(number).hex()
