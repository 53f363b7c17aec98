"""Derivatives of a program as programs: along a direction, and of a weighted sum of its outputs."""

from collections.abc import Sequence

from exchange.program.lines import Lines
from exchange.program.operations import FLAT, LEAVES
from exchange.program.program import Program
from exchange.program.slopes import SLOPES
from physics.arguments import quote, require_kind


def directional(program: Program, wrt: Sequence[str] = ("x", "u"), to: str = "rate") -> Program:
    """J v: the derivative of the output `to` where the inputs `wrt` move along a direction, by forward mode.

    The program takes, beside the inputs, a group NAME_dot for every one of `wrt` (1 for what moves at the rate 1), and gives
    TO_dot alone. Where a slope jumps it is one of those beside it, as torch takes it.
    Errors: `ValueError` for groups that the program does not have.
    Law: equals `torch.func.jvp` of what was traced, and is what `adjoint` is the transpose of.
    Source: Griewank & Walther, Evaluating Derivatives (2008) § 3.1.
    """
    wrt = _require(program, wrt, to, "directional")
    lines = Lines({**program.inputs, **{f"{name}_dot": program.inputs[name] for name in wrt}})
    names, here, moves = list(program.inputs), lines.copy_of(program), list[int | None]()
    for i, (operation, arguments, _) in enumerate(program.code):
        if operation == "given" and names[arguments[0]] in wrt:
            moves.append(lines.given(f"{names[arguments[0]]}_dot", arguments[1]))
        elif operation in LEAVES or operation in FLAT or all(moves[j] is None for j in arguments):
            moves.append(None)
        elif operation == "where":
            condition, *both = arguments
            branches = [lines.constant(0.0) if (m := moves[j]) is None else m for j in both]
            moves.append(lines.write("where", here[condition], *branches))
        else:
            moves.append(_along(lines, [moves[j] for j in arguments], _slopes(lines, program, here, i)))
    ends = (moves[i] for i in program.outputs[to])
    return lines.program({f"{to}_dot": [lines.constant(0.0) if end is None else end for end in ends]})


def adjoint(program: Program, wrt: Sequence[str] = ("x", "u"), to: str = "rate") -> Program:
    """Jᵀ w: the derivative of the sum of the outputs `to`, each times its weight, by the inputs `wrt`, by reverse mode.

    The program takes, beside the inputs, a group TO_bar of weights, and gives NAME_bar for every one of `wrt`.
    Errors: `ValueError` for groups that the program does not have.
    Law: Σ w · J v = Σ v · Jᵀ w for all v and w.
    Source: Griewank & Walther, Evaluating Derivatives (2008) § 3.2.
    """
    wrt = _require(program, wrt, to, "adjoint")
    lines = Lines({**program.inputs, f"{to}_bar": len(program.outputs[to])})
    names, here, weights = list(program.inputs), lines.copy_of(program), dict[int, int]()

    def gather(line: int, weight: int) -> None:
        weights[line] = lines.write("add", weights[line], weight) if line in weights else weight

    for place, i in enumerate(program.outputs[to]):
        gather(i, lines.given(f"{to}_bar", place))
    reached = _reached(program, wrt)
    zero = lines.constant(0.0)
    for i in range(len(program.code) - 1, -1, -1):
        operation, arguments, _ = program.code[i]
        if i not in weights or not reached[i] or operation in LEAVES:
            continue
        if operation == "where":
            condition, first, second = arguments
            for j, branches in ((first, (weights[i], zero)), (second, (zero, weights[i]))):
                if reached[j]:
                    gather(j, lines.write("where", here[condition], *branches))
            continue
        for j, slope in zip(arguments, _slopes(lines, program, here, i), strict=True):
            if reached[j]:
                gather(j, lines.write("multiply", weights[i], slope))
    bars = {name: [zero] * program.inputs[name] for name in wrt}
    for i, (operation, arguments, _) in enumerate(program.code):
        if operation == "given" and names[arguments[0]] in wrt and i in weights:
            bars[names[arguments[0]]][arguments[1]] = weights[i]
    return lines.program({f"{name}_bar": bar for name, bar in bars.items()})


def _reached(program: Program, wrt: Sequence[str]) -> list[bool]:
    """For each line: has it a slope by any of these inputs?"""
    names, found = list(program.inputs), list[bool]()
    for operation, arguments, _ in program.code:
        if operation in LEAVES:
            found.append(operation == "given" and names[arguments[0]] in wrt)
        else:
            read = arguments[1:] if operation == "where" else arguments
            found.append(operation not in FLAT and any(found[j] for j in read))
    return found


def _slopes(lines: Lines, program: Program, here: Sequence[int], i: int) -> tuple[int, ...]:
    operation, arguments, number = program.code[i]
    more = () if number is None else (number,)
    return SLOPES[operation](lines, here[i], *(here[j] for j in arguments), *more)


def _along(lines: Lines, moves: Sequence[int | None], slopes: Sequence[int]) -> int:
    """Σ_k ∂z/∂a_k · (what a_k moves by)."""
    found: int | None = None
    for move, slope in zip(moves, slopes, strict=True):
        if move is not None:
            term = lines.write("multiply", slope, move)
            found = term if found is None else lines.write("add", found, term)
    return lines.constant(0.0) if found is None else found


def _require(program: Program, wrt: Sequence[str], to: str, name: str) -> tuple[str, ...]:
    require_kind(program, Program, f"{name}: program", "traced(…), or of_tape(mechanism.tape)")
    if isinstance(wrt, str) or not isinstance(wrt, Sequence) or any(one not in program.inputs for one in wrt):
        raise ValueError(
            f"{name}: wrt names groups of inputs, {', '.join(program.inputs) or 'none'}, and is {quote(wrt)}"
        )
    if not isinstance(to, str) or to not in program.outputs:
        raise ValueError(f"{name}: to is one of the outputs, {', '.join(program.outputs)}, and is {quote(to)}")
    return tuple(wrt)
