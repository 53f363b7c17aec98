"""The tape of a mechanism as a program: the same lines."""

from exchange.program.lines import Lines
from exchange.program.program import Program
from physics import Tape
from physics.arguments import require_kind


def of_tape(tape: Tape) -> Program:
    """f(x, u, θ) of a tape: from the groups x, u and theta, the group rate.

    Law: `evaluate` of it equals `Tape.evaluate`, and `directional` of it `BoundTape.jacobian` times the direction.
    """
    require_kind(tape, Tape, "of_tape: tape", "mechanism.tape")
    groups = {"state": "x", "input": "u", "parameter": "theta"}
    lines = Lines({"x": len(tape.states), "u": len(tape.inputs), "theta": len(tape.parameters)})
    found = list[int]()
    for operation, arguments, number in tape.code:
        if operation == "constant":
            found.append(lines.constant(0.0 if number is None else number))
        elif operation in groups:
            found.append(lines.given(groups[operation], arguments[0]))
        else:
            found.append(lines.write(operation, *(found[j] for j in arguments), number=number))
    return lines.program({"rate": [found[i] for i in tape.rate]})
