"""A regional certificate's `region`, read: what its sentence says, and what of its numbers cannot be used."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stability.proof.arithmetic import LARGEST, SMALLEST, UP, Array
from stability.proof.contraction import same_parameters, under
from stability.proof.reading import Unusable, array, get, number, sequence, shown
from stability.proof.region.cells import Frame
from stability.proof.region.invariance import extents
from stability.proof.region.order_claim import Order, read_order
from stability.proof.system import Stack


@dataclass(frozen=True)
class Stay:
    """The set that trajectories do not leave, and where they may start.

    The region's box itself, or within it a ball in P, or what lies between two curves after a dose ("order").
    """

    kind: str  # "box", "ball" or "order"
    centre: Array | None  # x̂ (n,), for a ball
    radius: float | None  # ρ
    start: float | None  # starts lie within this distance of x̂: ρ, or with doses ρ − sup|d|_P
    doses: bool  # whether the stated doses are covered
    order: Order | None = None  # the curves

    def to_dict(self) -> dict[str, Any]:
        """As a certificate has it: plain values for JSON."""
        found: dict[str, Any] = {"set": self.kind, "doses": self.doses}
        if self.centre is not None:
            found |= {"centre": self.centre.tolist(), "radius": self.radius, "start": self.start}
        return found if self.order is None else found | self.order.to_dict()


@dataclass(frozen=True)
class RegionalClaim:
    """A certificate's `region`, read."""

    kind: str  # "box" or "ellipsoid"
    lower: Array  # of the box, or of the smallest box around the ellipsoid
    upper: Array
    ellipsoid: tuple[Array, float] | None  # centre and radius
    levels: tuple[Array, Array]  # (m,) each
    doses: Array  # (D, n)
    gap: float
    exactly: bool  # doses at multiples of the gap alone
    proof: str  # "slopes", "vertices" or "cells"
    stay: Stay


def ends_of(region: Mapping[str, Any]) -> tuple[Array, Array]:
    """The ends of a box (n,); None, as JSON has no infinity, where it has no end."""
    found = []
    for name, none in (("lower", -np.inf), ("upper", np.inf)):
        ends = [none if value is None else number(value) for value in sequence(get(region, name))]
        found.append(np.array(ends, dtype=np.float64))
    return found[0], found[1]


def _written(region: Mapping[str, Any], name: str) -> list[Any]:
    none = float("-inf") if name == "lower" else float("inf")
    return [none if value is None else value for value in region[name]]


def box_in_words(region: Mapping[str, Any]) -> str:
    """The box as sentences have it, every digit."""
    return f"the box {_written(region, 'lower')!r} <= x <= {_written(region, 'upper')!r}"


def regional_statement(
    rate: float, states: int, systems: int, region: Mapping[str, Any], *, wide: bool = False, feedback: str = ""
) -> str:
    """The sentence that a regional certificate claims. `wide`: the systems' tape has a box of θ; `feedback`: a policy's name."""
    policy, felt = under(feedback)
    stays, inputs = region["stays"], region["inputs"]
    if region["kind"] == "box":
        where = box_in_words(region)
    else:
        where = f"the ellipsoid |x - {list(region['centre'])!r}|_P <= {region['radius']!r}"
    if stays["set"] == "box":
        start, kept = f"in {where}", "it"
    elif stays["set"] == "order":
        start, kept = f"in {box_in_words(stays)}", where
    else:
        about = f"|x - {list(stays['centre'])!r}|_P <= "
        start, kept = f"with {about}{stays['start']!r}", f"{about}{stays['radius']!r}, which lies in {where}"
    levels = f"no {felt}"
    if inputs is not None and len(inputs["lower"]):
        levels = f"the same {felt}, any signals within {list(inputs['lower'])!r} <= u <= {list(inputs['upper'])!r}"
    doses = "no doses"
    if stays["doses"]:
        bolus = [list(d) for d in inputs["doses"]]
        apart = f"at least {inputs['gap']!r} apart"
        if inputs.get("exactly", False):
            apart = f"at multiples of {inputs['gap']!r} since the start exactly, or left out there"
        doses = f"the same doses, each x -> x + d with d among {bolus!r} or a mean of them, {apart}"
    return (
        f"For every pair of trajectories in R^{states}{policy} that start {start}, with {levels}, {doses}, and the same "
        f"{same_parameters(wide)} and member: both stay in {kept}, and the distance sqrt(dx' P dx) shrinks at rate {rate!r} "
        "per unit of time or faster, "
        f"for each of the {systems} systems, in real arithmetic with the stored float64 arrays."
    )


def extremes(stack: Stack) -> str:
    """Weights whose products underflow would escape the error bounds."""
    arrays = [*stack.linear, *stack.weights, *stack.biases]
    arrays += [a for a in (stack.B, stack.input_weights) if a is not None]
    sizes = [np.abs(a.held) for a in arrays]
    if any(a.max(initial=0.0) > LARGEST or (a[a != 0] < SMALLEST).any() for a in sizes):
        return "a weight, a bias or an entry of A or B is so large or so small that the error bounds are not stated"
    return ""


def empty(claim: RegionalClaim, stack: Stack) -> str:
    n, m = stack.A.shape[-1], stack.inputs
    walls = [claim.lower, claim.upper]
    if stack.tape is not None and claim.kind == "box":  # a box may be without an end there
        walls = [wall[np.isfinite(wall)] for wall in walls]
    arrays = [*walls, *claim.levels, claim.doses]
    arrays += [] if claim.stay.centre is None else [claim.stay.centre]
    if not all(np.isfinite(a).all() and np.abs(a).max(initial=0.0) < LARGEST for a in arrays):
        return f"the region holds values that are not finite, or beyond {LARGEST:.0e}"
    if claim.lower.shape != (n,) or claim.upper.shape != (n,) or not (claim.lower < claim.upper).all():
        return "the region is empty, flat, or not of the system's dimension"
    if claim.levels[0].shape != (m,) or claim.levels[1].shape != (m,) or not (claim.levels[0] <= claim.levels[1]).all():
        return f"the input levels are empty, or not those of the system's {m} inputs"
    if claim.doses.shape[1:] != (n,) or (claim.stay.doses and not (len(claim.doses) and claim.gap > 0)):
        return "the doses are not vectors of states at a positive distance in time"
    if claim.stay.centre is not None and claim.stay.centre.shape != (n,):
        return "the ball's centre is not a state"
    return ""


def faint(claim: RegionalClaim, rate: float) -> str:
    """What is so near to zero, without being zero, that products with it underflow; empty if nothing is."""
    stay = claim.stay
    given: list[tuple[str, Any]] = [("a level of the input", a) for a in claim.levels]
    given += [("a dose", claim.doses), ("the rate", rate), ("the gap between doses", claim.gap)]
    if claim.ellipsoid is None:
        given += [("a wall of the box", claim.lower), ("a wall of the box", claim.upper)]
    else:
        given += [("the ellipsoid's centre", claim.ellipsoid[0]), ("the ellipsoid's radius", claim.ellipsoid[1])]
    given += [("the centre of the ball that is kept", () if stay.centre is None else stay.centre)]
    given += [("the radius of the ball that is kept", stay.radius or 0.0), ("the distance of the starts", stay.start or 0.0)]
    for what, values in given:
        for value in np.ravel(np.asarray(values, dtype=np.float64)).tolist():
            if 0 < abs(value) < SMALLEST:
                return (
                    f"{what} is {value!r}, which is not zero and below {SMALLEST:g}: products with it underflow, and the error "
                    "bounds are not stated for them; it can be 0"
                )
    return ""


def check_plain(region: Mapping[str, Any]) -> None:
    """That what the sentence quotes are numbers. Errors: Unusable for anything else, which may be long, or deep, or no value."""
    ball, inputs = get(region, "stays"), get(region, "inputs")
    words = (get(region, "kind"), get(region, "proof"), get(ball, "set"))
    if not all(isinstance(word, str) for word in words) or not isinstance(get(ball, "doses"), bool):
        raise Unusable("the region's kind, its proof, the set that is kept or whether with doses is not said in a word")
    vectors = [get(region, name) for name in (("lower", "upper") if get(region, "kind") == "box" else ("centre",))]
    if get(ball, "set") == "ball":
        vectors.append(get(ball, "centre"))
    if get(ball, "set") == "order":
        vectors += [get(ball, "lower"), get(ball, "upper")]
    if inputs is not None:
        doses, gap = get(inputs, "doses", None), get(inputs, "gap", None)
        if not isinstance(get(inputs, "exactly", False), bool):
            raise Unusable("it is not said in a word whether doses come at multiples of the gap exactly")
        vectors += [get(inputs, "lower"), get(inputs, "upper"), *(() if doses is None else sequence(doses))]
        number(0.0 if gap is None else gap)
    for vector in vectors:
        for value in sequence(vector):
            number(0.0 if value is None and get(region, "kind") == "box" else value)
    for name in ("radius", "start"):
        number(get(ball, name, 0.0))
    number(get(region, "radius", 0.0))


def read_region(region: Mapping[str, Any], frame: Frame, n: int) -> RegionalClaim:
    kind, proof = get(region, "kind"), get(region, "proof")
    if kind not in ("box", "ellipsoid") or proof not in ("slopes", "vertices", "cells"):
        raise Unusable(f"a region of the kind {shown(kind)} proved by {shown(proof)} is not one that this checker knows")
    ellipsoid = None
    if kind == "box":
        lower, upper = ends_of(region)
    else:
        ellipsoid = array(get(region, "centre"), "centre"), number(get(region, "radius"))
        if ellipsoid[0].shape != (n,) or not ellipsoid[1] > 0:
            raise Unusable("the ellipsoid has no centre among the states, or no positive radius")
        lower, upper = box_around(ellipsoid[0], ellipsoid[1], frame)
    inputs, stays = get(region, "inputs"), get(region, "stays")
    doses, gap = np.zeros((0, n)), np.inf
    levels = np.zeros(0), np.zeros(0)
    if inputs is not None:
        levels = array(get(inputs, "lower"), "inputs"), array(get(inputs, "upper"), "inputs")
        if get(inputs, "doses", None) is not None:
            doses, gap = array(get(inputs, "doses"), "doses"), number(get(inputs, "gap"))
    what = get(stays, "set")
    if what not in ("box", "ball", "order") or not isinstance(get(stays, "doses"), bool):
        raise Unusable("it is not stated in which set trajectories stay, or whether with doses")
    if what == "box":
        stay = Stay("box", None, None, None, get(stays, "doses"))
    elif what == "order":
        stay = Stay("order", None, None, None, get(stays, "doses"), read_order(stays, n))
    else:
        stay = Stay(
            "ball",
            array(get(stays, "centre"), "centre"),
            number(get(stays, "radius")),
            number(get(stays, "start")),
            get(stays, "doses"),
        )
    exactly = inputs is not None and get(inputs, "exactly", False)
    return RegionalClaim(kind, lower, upper, ellipsoid, levels, doses, gap, exactly, proof, stay)


def box_around(centre: Array, radius: float, frame: Frame) -> tuple[Array, Array]:
    """A box that contains {|x − centre|_P ≤ radius}."""
    reach = UP * (radius * extents(frame) + 2.0**-50 * np.abs(centre))
    return centre - reach, centre + reach
