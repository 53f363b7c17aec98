"""Which states and inputs the slopes of a tape depend on: those along which cutting a region makes their bounds narrower.

Line by line: a sum hands on what its terms' slopes depend on; a product's slope by a state is that of one factor times the other
factor, so that the other's leaves join where the one moves with a state; a function that moves with a state joins its
argument's leaves. Nothing is proved by it: bounds are taken over whole boxes, cut or not.
"""

import numpy as np
from numpy.typing import NDArray

from stability.proof.tape.reading import LEAVES, Tape


def seen_by_slopes(tape: Tape) -> NDArray[np.int64]:
    """Positions in y = (x, u) on which some entry of ∂f/∂x may depend, in order."""
    n = len(tape.states)
    states = (1 << n) - 1
    leaves: list[int] = []  # of each line, as bits: what its value depends on
    found: list[int] = []  # what its slopes by the states depend on
    for operation, arguments, _ in tape.code:
        if operation in LEAVES:
            at = {"state": 0, "input": n}.get(operation)
            leaves.append(0 if at is None else 1 << (at + arguments[0]))
            found.append(0)
            continue
        value, slopes = 0, 0
        for j in arguments:
            value, slopes = value | leaves[j], slopes | found[j]
        moves = [bool(leaves[j] & states) for j in arguments]
        if operation in ("multiply", "divide"):
            first, second = arguments
            slopes |= leaves[second] if moves[0] else 0
            slopes |= (leaves[first] if operation == "multiply" else value) if moves[1] else 0
        elif operation not in ("add", "subtract", "negate") and any(moves):
            slopes |= value
        leaves.append(value)
        found.append(slopes)
    bits = 0
    for i in tape.rate:
        bits |= found[i]
    return np.array([k for k in range(n + len(tape.inputs)) if bits >> k & 1], dtype=np.int64)
