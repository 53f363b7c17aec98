"""What no constant metric can do: the eigenvalue that forbids a rate, in words for any system, and what to claim instead."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stability.decay import rounded
from stability.lure import Array, Lure
from stability.refusal import Refusal
from stability.search.climb.interior_point import Ascent, climb
from stability.search.states.counterexample import Counterexample, worst
from stability.search.states.duals import dual_bound, dual_holds
from stability.search.states.jacobians import linear
from stability.search.states.sampling import Samples, sample

Where = Literal["linear", "state", "limit"]  # the system is linear; at a real state; in the limit of far states


# φ' tends to zero far out, so that along nearly every ray the Jacobian tends to the linear part.
_SATURATING = ("tanh", "sigmoid")


def disproof(system: Lure, samples: Samples, goal: float, *, everywhere: bool = True) -> Refusal | None:
    """A Jacobian at a real state, or among all states a limit of such, whose eigenvalue forbids the rate."""
    where: Where = "state" if system.widths or system.tape is not None else "linear"
    found = worst(system, samples, goal)
    if found is None and everywhere and system.widths and system.together().activation in _SATURATING:
        found, where = of_the_linear_part(system, goal), "limit"
    if found is None:
        return None
    example = found.to_dict()
    if where == "limit":  # of no single state
        example = {name: example[name] for name in ("index", "jacobian", "eigenvalue", "eigenvector")}
    elif system.feedback is not None:
        example["policy"] = system.feedback.policy(found.state).tolist()  # the inputs that it gives there
    return Refusal(
        reason="disproved",
        message=f"{disproof_in_words(found, goal, where)} {instead(found, goal, where)}",
        counterexample=example,
        rate_bound=0.0 - found.eigenvalue.real,
        metric_cap=0.0 - found.eigenvalue.real,
    )


def of_the_linear_part(system: Lure, goal: float) -> Counterexample | None:
    """What `worst` says of the systems without their hidden units."""
    lead = np.zeros((*system.leading, system.states, system.states))
    bare = Lure(A=system.A + lead, weights=(), biases=(), skip=system.skip)
    return worst(bare, sample(bare), goal)


def disproof_in_words(found: Counterexample, goal: float, where: Where) -> str:
    """What the eigenvalue does, for any system: which one, along what, and that no constant metric contracts."""
    shown, does = mode(found)
    of = "" if not found.index else f" of system {list(found.index)}"
    what = {
        "linear": f"The linear part{of} has the eigenvalue {shown}",
        "state": f"At a real state{of} the Jacobian has the eigenvalue {shown}{f', above -{goal:g},' if goal else ''}",
        "limit": f"Far out, where all units saturate, the Jacobian{of} tends to the linear part; that has the eigenvalue {shown}",
    }[where]
    along = "a difference along it" if where == "linear" else "a small difference along it"
    return (
        f"{what} with the eigenvector {direction(found.eigenvector)}: {along} {does}{' at first' if where == 'state' else ''}, "
        f"so that in no constant metric does this system contract at {'that' if goal else 'any'} rate."
    )


def mode(found: Counterexample) -> tuple[str, str]:
    """The eigenvalue in few digits, and what a difference along its eigenvector does."""
    value, scale = found.eigenvalue, float(np.abs(found.jacobian).max())
    real = value.real if abs(value.real) > 1e-12 * scale else 0.0
    shown = f"{real:.6g}" if abs(value.imag) <= 1e-7 * scale else f"{real:.6g} ± {abs(value.imag):.6g}i"
    if real > 1e-7 * scale:
        return shown, f"grows as e^({real:.4g} t)"
    if real < -1e-7 * scale:
        return shown, f"shrinks no faster than e^(-{rounded(-real, 4, 'up')} t)"
    # So near to the axis float64 does not tell what the rational decision found.
    return shown, "does not shrink" + (" (an integrator)" if shown == "0" else " (an undamped oscillation)" if not real else "")


def instead(found: Counterexample, goal: float, where: Where) -> str:
    """What could be claimed in its place."""
    reached = -found.eigenvalue.real
    if goal and reached > 1e-6 * goal:
        return f"A rate below {reached:.6g} may hold; without a rate the best one is looked for."
    ways = ["the system under a feedback that damps this mode, where an input reaches it (A + BK in the place of A)"]
    if where != "linear":
        ways.append("contraction in a region that leaves such states out (region=Box(…))")
    if (np.linalg.eigvals(found.jacobian).real < -1e-7 * np.abs(found.jacobian).max()).any():  # something else decays
        ways.append("the other states alone, with this mode as their input")
    return f"What may be claimed instead: {'; '.join(ways)}."


def direction(vector: NDArray[np.complex128]) -> str:
    """An eigenvector in few digits: all of a short one, the states that it moves most of a long one."""
    if len(vector) <= 4:
        parts = [complex(round(float(v.real), 3), round(float(v.imag), 3)) for v in vector]
        return "(" + ", ".join(f"{p.real + 0.0:g}" if not p.imag else f"{p.real + 0.0:g}{p.imag:+g}i" for p in parts) + ")"
    most = [int(i) for i in np.argsort(-np.abs(vector))[:4] if abs(vector[i]) > 0.05]
    return f"mostly in {'state' if len(most) == 1 else 'states'} {', '.join(map(str, most))} (counted from 0)"


def no_common_metric(
    jacobians: Array, start: Ascent, goal: float, frame: Array | None, deadline: float
) -> Refusal | None:
    """The dual of a common metric for Jacobians at real states, where it can be verified."""
    if start.bound >= goal:
        return None
    # Few matrices suffice: those with the largest dual weight, climbed again on their own.
    J = jacobians[np.argsort(-np.trace(start.duals, axis1=1, axis2=2))[:24]]
    ascent = climb(linear(J), start.metric, tolerance=1e-6, frame=frame, deadline=deadline)
    if not dual_holds(J, ascent.duals, goal):
        return None
    return Refusal(
        reason="no common metric",
        message=(
            "The Jacobians at real states are each stable, but no single metric contracts all of them"
            + (f" at rate {goal:g}" if goal else "")
            + "; the dual matrices in the counterexample show it."
        ),
        counterexample={"jacobians": J.tolist(), "duals": ascent.duals.tolist()},
        best_rate=ascent.rate,
        rate_bound=ascent.bound,
        metric_cap=dual_bound(J, ascent.duals),
    )
