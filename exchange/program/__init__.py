"""Parts of a model as scalar programs: traced, differentiated, evaluated in numpy, written as C."""

from exchange.program.derivatives import adjoint, directional
from exchange.program.in_c import functions_in_c, lines_in_c, number_in_c
from exchange.program.members import shared
from exchange.program.of_tape import of_tape
from exchange.program.parts import Parts, parts_of, parts_of_members
from exchange.program.program import Program
from exchange.program.tracing import traced

__all__ = [
    "Parts",
    "Program",
    "adjoint",
    "directional",
    "functions_in_c",
    "lines_in_c",
    "number_in_c",
    "of_tape",
    "parts_of",
    "parts_of_members",
    "shared",
    "traced",
]
