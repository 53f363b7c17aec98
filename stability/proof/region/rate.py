"""A rate on a region proved: contraction of any two trajectories while both are there, and nothing on whether they stay.

It is the first half of a regional certificate (`contraction.py`): the same inequality, or the same cells, over a box that may be
without an end where the system has a tape (with cells only along what no slope depends on). Between two states of a convex set
the secant slopes lie within the bounds of the whole set, at every moment at which both trajectories are in it; so its length in
P shrinks at λ then. A dose that both get moves their difference by nothing.
Underflow as there: every number of the system and the region is zero or between 1e-100 and 1e50.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from stability.proof.arithmetic import LARGEST, SMALLEST, Array, proved_positive
from stability.proof.budget import Meter
from stability.proof.contraction import NOT_COVERED as OF_CONTRACTION
from stability.proof.contraction import disagreement, not_covered, same_parameters, under
from stability.proof.known import entries_in
from stability.proof.reading import Unusable, array, get, number, sequence, shown
from stability.proof.region.cells import Frame
from stability.proof.region.claim import box_in_words, ends_of, extremes
from stability.proof.region.contraction import multipliers_shape, rate_by_cells, rate_by_slopes, unproved_kind
from stability.proof.system import Stack, another, read_system
from stability.proof.verdict import Verdict

NOT_COVERED = ("that trajectories stay in the region: beyond the moment at which one leaves it nothing is said", *OF_CONTRACTION)


def statement(
    rate: float, states: int, systems: int, region: Mapping[str, Any], *, wide: bool = False, feedback: str = ""
) -> str:
    """The sentence of a rate on a region. `wide`: the systems' tape has a box of θ; `feedback`: a policy's name."""
    policy, felt = under(feedback)
    inputs = region["inputs"]
    levels = felt
    if inputs is not None and len(inputs["lower"]):
        levels = f"{felt}, any signals within {list(inputs['lower'])!r} <= u <= {list(inputs['upper'])!r}"
    return (
        f"For every pair of trajectories in R^{states}{policy} with the same {levels}, and the same doses, "
        f"{same_parameters(wide)} and member, for as long as both stay in {box_in_words(region)}: the distance sqrt(dx' P dx) "
        f"shrinks at rate {rate!r} per unit of time or faster, for each of the {systems} systems, in real arithmetic with the "
        "stored float64 arrays; that they stay is not proved."
    )


@np.errstate(all="ignore")  # overflow and NaN are meant to arrive at the comparisons, where they refuse
def judge(claim: object, system: object, meter: Meter) -> Verdict:
    """Prove a rate on a region, or say why it is refused. Law: accepted ⇒ its sentence holds in real arithmetic."""
    stack, region = read_system(system, tapes=True, mixed=True, policies=True, meter=meter), get(claim, "region")
    if not isinstance(region, Mapping):
        raise Unusable(f"the region {shown(region)} is not one that this checker knows")
    if set(region) != {"kind", "lower", "upper", "inputs", "proof"} or get(region, "kind") != "box":
        raise Unusable("the region of a rate is a box with the entries kind, lower, upper, inputs and proof")
    (lower, upper), (levels, inputs), proof = ends_of(region), _levels(region), get(region, "proof")
    if proof not in ("slopes", "vertices", "cells"):
        raise Unusable(f"a rate on a region proved by {shown(proof)} is not one that this checker knows")
    rate, P = number(get(claim, "rate")), array(get(claim, "metric"), "metric")
    multipliers = array(get(claim, "multipliers"), "multipliers")
    refusal = another(claim, stack) or _unusable_region(stack, lower, upper, levels)
    if refusal:  # before a tape is bounded, which may take long
        return Verdict(False, refusal)
    said = {**region, "inputs": inputs}
    words = statement(rate, stack.A.shape[-1], stack.count, said, wide=stack.wide, feedback=stack.feedback)
    # cells bound a tape on each of them, and may do so where over the whole box nothing does
    entries = None if proof == "cells" else entries_in(stack, lower, upper, levels, meter)
    needed = multipliers_shape(stack, entries, proof)
    refusal = disagreement(claim, stack, rate, P, multipliers, words, needed) or extremes(stack)
    refusal = refusal or unproved_kind(proof, entries) or _lacks(claim, stack)
    if not refusal and not proved_positive(P[None], np.zeros_like(P[None]))[0]:
        refusal = "the metric P is not proved positive definite"
    if refusal:
        return Verdict(False, refusal)
    if proof == "cells":
        frame = Frame.of(P)
        if not frame.usable:
            return Verdict(False, "the metric P is scaled so that the error bounds are not stated; multiply it by a number")
        refusal = rate_by_cells((lower, upper), levels, stack, rate, frame, most=math.inf, meter=meter)
    else:
        refusal = rate_by_slopes((lower, upper), levels, stack, (rate, P, multipliers), entries, proof, meter)
    return Verdict(not refusal, refusal or words, rate, stack.count)


def _levels(region: Mapping[str, Any]) -> tuple[tuple[Array, Array], Mapping[str, Any] | None]:
    inputs = get(region, "inputs")
    if inputs is None:
        return (np.zeros(0), np.zeros(0)), None
    if not isinstance(inputs, Mapping) or set(inputs) != {"lower", "upper"}:
        raise Unusable("the inputs of a rate on a region are their levels, lower and upper, and nothing else")
    for name in ("lower", "upper"):
        for value in sequence(inputs[name]):
            number(value)
    return (array(inputs["lower"], "inputs"), array(inputs["upper"], "inputs")), inputs


def _unusable_region(stack: Stack, lower: Array, upper: Array, levels: tuple[Array, Array]) -> str:
    n, m = stack.A.shape[-1], stack.inputs
    if lower.shape != (n,) or upper.shape != (n,) or not (lower < upper).all():
        return "the region is empty, flat, or not of the system's dimension"
    if levels[0].shape != (m,) or levels[1].shape != (m,) or not (levels[0] <= levels[1]).all():
        return f"the input levels are empty, or not those of the system's {m} inputs"
    for values in (lower, upper, *levels):
        size = np.abs(values)
        free = np.isinf(values) if values is lower or values is upper else np.zeros(len(values), dtype=bool)
        if not (free | (values == 0) | ((size >= SMALLEST) & (size < LARGEST))).all():
            return f"the region holds values that are no numbers, beyond {LARGEST:.0e}, or below {SMALLEST:g} without being zero"
    return ""


def _lacks(claim: object, stack: Stack) -> str:
    said = {s for s in sequence(get(claim, "not_covered")) if isinstance(s, str)}
    return "" if set(not_covered(stack.feedback, NOT_COVERED)) <= said else "the list of what is not covered lacks a sentence"
