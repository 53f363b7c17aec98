"""The search: caps, counterexamples, then the joint climb; what it finds is proved before it is returned."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stability.arguments import array, number, time_limit
from stability.claims.certificate import Certificate, no_metric_exceeds
from stability.decay import rounded
from stability.lure import SLOPES, Array, Loop, Lure
from stability.proof.checker import prove
from stability.refusal import Refusal
from stability.region import Box, Ellipsoid, Inputs, Region
from stability.search.attack import attack
from stability.search.candidate import candidate_rate, capped
from stability.search.disproof import direction, disproof, instead, mode, of_the_linear_part
from stability.search.interior_point import Ascent, climb, explicit, lyapunov_frame
from stability.search.jacobians import (
    Samples,
    abscissa,
    dual_bound,
    dual_holds,
    linear,
    log_norm,
    metric_bound,
    one_metric,
    sample,
)
from stability.threads import of_system, threads_by


@threads_by(of_system)
def certify(
    system: Lure | Sequence[Lure],
    rate: float | None = None,  # 1/time
    region: Region | None = None,
    inputs: Inputs | None = None,
    seconds: float = 60.0,
    *,
    metric: ArrayLike | None = None,  # (n, n)
    multipliers: ArrayLike | None = None,  # (V, H)
    condition: float = 1e4,
) -> Certificate | Refusal:
    """Search a common metric P and multipliers that prove contraction of every system, and prove what was found.

    Arguments: `system`, whose leading axes are members and people, or several of one structure, which are proved as
    `Lure.stack` of them; `rate`, the rate to prove, or None for the best one (to about 1 % of what metrics as round as
    `condition` reach; where a system needs a metric that is less round, another `condition` finds more); `metric`, the only
    metric to try, or None to search it with condition number ≤ `condition` in the states' own units (where those leave no
    room, in the coordinates of `lyapunov_frame`; 1: the identity alone); `region`, a `Box` or `Ellipsoid` in which to prove
    it, with the `inputs` (levels, doses) under which trajectories stay there, or None for all states and any input (doses
    that are asked for are covered, or it is a refusal that says what is proved without them); `seconds`, after which the best
    candidate so far is used;
    `multipliers`, with a metric: that pair is proved before anything is searched (`learned.ContractingMLP.witness` gives
    one), at `rate` or the best that it reaches.
    Returns a `Certificate` that `check` accepts, or a `Refusal`: where the linear part does not decay (an integrator, an
    oscillation without damping, growth) and nothing in the residual outweighs it, with the eigenvalue, the eigenvector, and
    what may be claimed instead.
    Errors: ValueError for arguments that cannot be used.
    Law: a certificate's rate, for all states, never exceeds `spectral_cap(system)` or `metric_cap(system)`.
    Source: the inequality of Revay, Wang & Manchester (IEEE TAC 2023) and NodeREN (CDC 2023), one P for all systems.
    """
    if region is not None and not isinstance(region, Box | Ellipsoid):
        raise ValueError(f"the region is a Box or an Ellipsoid, not {str(region)[:100]!r}; write Box([-1.0], [1.0]).")
    system = system if isinstance(system, Lure) else Lure.stack(system)
    given = _check_arguments(rate, metric, seconds, system, condition)
    beyond = _beyond_numbers(system)
    if beyond is not None:
        return beyond
    if multipliers is not None and region is not None:
        raise ValueError("multipliers belong to a claim about all states; leave them out with a region, or the region.")
    if region is None and inputs is not None:
        raise ValueError("inputs are for a region; without one the certificate holds for any input. Give a region, or neither.")
    try:
        if multipliers is not None:
            certificate = _given(system, rate, given, array(multipliers, "the multipliers"))
            if certificate is not None:
                return certificate
        if region is not None:
            from stability.search.certify_region import certify_in_region  # which builds on this file

            return certify_in_region(system, region, inputs, rate, given, condition, seconds)
        return _everywhere(system, rate, given, condition, seconds)
    except np.linalg.LinAlgError as error:
        message = f"The system's numbers are too far apart for float64 ({error}): take units in which they are nearer to 1."
        return Refusal(reason="not proved", message=message)


def _everywhere(
    system: Lure, rate: float | None, given: Array | None, condition: float, seconds: float
) -> Certificate | Refusal:
    """All states."""
    deadline = time.monotonic() + seconds
    goal = 0.0 if rate is None else rate
    samples = attack(system, sample(system), deadline=_share(deadline, 0.1))
    refusal = disproof(system, samples, goal)
    if refusal is not None:
        return refusal
    caps = _Caps.of(samples)
    if given is not None:
        ascent = _ascent(system, given, True, None, _beyond(rate), deadline)
    else:
        frame = lyapunov_frame(system.flatten().linear())
        P = np.eye(system.states) if frame is None else frame @ frame.T
        first = _share(deadline, 0.2)
        jacobians, start = one_metric(
            samples, P, with_corners=False, frame=frame, condition=condition, deadline=first
        )
        refusal = _no_common_metric(jacobians, start, goal, frame, _share(deadline, 0.2))
        if refusal is not None:
            return refusal
        _, capped = one_metric(
            samples, start.metric, with_corners=True, frame=frame, condition=condition, deadline=_share(deadline, 0.2)
        )
        caps = caps.narrowed(metric_bound(jacobians, start, caps.spectral), capped.bound)
        ascent = _ascent(system, capped.metric, False, frame, _beyond(rate), deadline, condition)
    caps = caps.narrowed(np.inf, ascent.bound)
    if ascent.rate > goal or ascent.rate == rate:
        certificate = _proved(system, ascent, rate, caps.facts(_identity_refused(system, samples, _share(deadline, 0.5))))
        if certificate is not None:
            return certificate
    refusal = _not_proved(ascent, rate, caps, given is not None, time.monotonic() > deadline)
    found = of_the_linear_part(system, goal) if system.widths else None
    if found is None:
        return refusal
    shown, does = mode(found)
    alone = (
        f"The inequality covers slopes of zero too, where the linear part is alone; that has the eigenvalue {shown} with the "
        f"eigenvector {direction(found.eigenvector)}, along which a difference {does}. {instead(found, goal, 'state')}"
    )
    return replace(refusal, message=f"{refusal.message} {alone}")


@dataclass(frozen=True)
class _Caps:
    """What limits the rate: any constant metric, by states that exist; and this inequality, by any slope pattern as well."""

    spectral: float
    metric: float  # inf where unknown
    inequality: float  # inf where unknown
    sampled: int

    @staticmethod
    def of(samples: Samples) -> "_Caps":
        real = float(-abscissa(samples.attained).max())
        corners = float(-abscissa(samples.corners).max()) if samples.corners.size else np.inf
        return _Caps(real, np.inf, min(real, corners), samples.attained.shape[0] * samples.attained.shape[1])

    @property
    def best(self) -> float:
        """What no constant metric can exceed, as far as it was found out."""
        return min(self.metric, self.spectral)

    def narrowed(self, metric: float, inequality: float) -> "_Caps":
        """With further bounds, which count where they are smaller; whatever no metric can exceed the inequality cannot."""
        known = min(self.metric, max(metric, -np.inf), self.spectral) if np.isfinite(metric) else self.metric
        return replace(self, metric=known, inequality=min(self.inequality, inequality, known))

    def facts(self, identity_refused: bool | None) -> dict[str, Any]:
        """The fields of a certificate."""
        return {
            "spectral_cap": self.spectral,
            "metric_cap": self.metric if np.isfinite(self.metric) else None,
            "inequality_cap": self.inequality if np.isfinite(self.inequality) else None,
            "sampled": self.sampled,
            "identity_refused": identity_refused,
        }


def _check_arguments(
    rate: float | None, metric: ArrayLike | None, seconds: float, system: Lure, condition: float
) -> Array | None:
    number(condition, "the condition number", "a finite number from 1 on", least=1.0)
    if rate is not None:
        number(rate, "the rate", "one finite positive rate in 1/time, or None for the best one", above=0.0)
    time_limit(seconds)
    if metric is None and condition < _ROUND_ENOUGH:
        return np.eye(system.states)
    return _check_metric(system, metric)


def _beyond_numbers(system: Lure) -> Refusal | None:
    """A refusal where the checker's error bounds are not stated, and a search in float64 means little."""
    parts = [system.A, *system.weights] + ([] if system.skip is None else [system.skip])
    largest = max(float(np.abs(part).max(initial=0.0)) for part in parts)
    if not 0.0 < largest < 1e-100 and largest <= 1e50:
        return None
    size = "at most" if largest < 1.0 else "up to"
    message = f"The entries of the system are {size} {largest:.3g}, and a proof is stated for 1e-100 to 1e50: take other units."
    return Refusal(reason="not proved", message=message)


# A condition number so near to 1 leaves the climb no interior, and its metrics are the identity to a thousandth.
_ROUND_ENOUGH = 1.001


def _check_metric(system: Lure, metric: ArrayLike | None) -> Array | None:
    if metric is None:
        return None
    P = array(metric, "the metric")
    n = system.states
    if P.shape != (n, n) or not np.isfinite(P).all() or not np.allclose(P, P.T, rtol=1e-12, atol=0.0):
        raise ValueError(f"the metric has shape {P.shape}; give a finite symmetric ({n}, {n}) matrix.")
    P = (P + P.T) / 2
    if np.linalg.eigvalsh(P)[0] <= 0:
        raise ValueError(f"the metric has the eigenvalue {np.linalg.eigvalsh(P)[0]:.3g}; it must be positive definite.")
    return P


def _given(system: Lure, rate: float | None, P: Array | None, multipliers: Array) -> Certificate | None:
    """The candidate, proved, or None: then it is searched as if there were none."""
    shape = (int(np.prod(system.leading, dtype=int)), sum(system.widths))
    if P is None:
        raise ValueError("the multipliers belong to a metric; give both, as ContractingMLP.witness() does.")
    if multipliers.ndim == 2 and 0 < len(multipliers) < shape[0] and shape[0] % max(len(multipliers), 1) == 0:
        # members' multipliers for all their people: members come first
        multipliers = multipliers.repeat(shape[0] // len(multipliers), axis=0)
    if multipliers.shape != shape or not (np.isfinite(multipliers).all() and (multipliers > 0).all()):
        raise ValueError(f"the multipliers have shape {multipliers.shape}; give positive numbers {shape}: systems, units.")
    best = candidate_rate(system, P, multipliers) if rate is None else rate
    if not best > 0:
        return None
    ascent = Ascent(best, P, multipliers, np.inf, np.zeros((0, *P.shape)), 0)
    facts = {"spectral_cap": None, "metric_cap": None, "identity_refused": None, "inequality_cap": capped(system)}
    return _proved(system, ascent, rate, facts)


def _share(deadline: float, part: float) -> float:
    """A deadline that leaves the rest of the remaining time to what follows."""
    now = time.monotonic()
    return now + part * max(deadline - now, 0.0)


def _beyond(rate: float | None) -> float | None:
    """A little beyond the requested rate, so that the inequality is strict by more than the rounding of its proof."""
    return None if rate is None else rate * (1.0 + 1e-4)


# Above this many units a Newton step on the dense matrix (some 14 (n + H)³ operations, 40 arrays of its size) no longer pays.
_LARGE = 2000


def _ascent(
    system: Lure,
    metric: Array,
    fixed: bool,
    frame: Array | None,
    target: float | None,
    deadline: float,
    condition: float = 1e4,
) -> Ascent:
    """The climb that suits the size: on the dense matrices, or on the layers without ever building one."""
    if sum(system.widths) > _LARGE:
        from stability.search.layered import climb_layers  # torch, which small systems do without

        flat = system.flatten()
        lower, upper = ([np.full((1, h), end) for h in system.widths] for end in SLOPES[system.activation])
        A, weights = flat.linear(), flat.weights
        return climb_layers(
            A, weights, lower, upper, metric, fixed=fixed, target=target, condition=condition, deadline=deadline
        )
    loop = system.loop()
    if fixed:
        return climb(loop, metric, fixed=True, target=target, deadline=deadline)
    return _climb(loop, metric, frame, target, deadline, condition)


def _climb(
    loop: Loop, metric: Array, frame: Array | None, target: float | None, deadline: float, condition: float = 1e4
) -> Ascent:
    """The climb over all systems, by cutting planes where there are many.

    The metric is searched on the few systems that limit it; with that metric the multipliers of all are found, each system
    on its own; those that fall short join. The bound over a few systems bounds the rate over all.
    """
    count, few = loop.A.shape[0], 8
    if count <= 2 * few:
        return climb(loop, metric, target=target, frame=frame, condition=condition, deadline=deadline)
    best: Ascent | None = None
    bound, chosen = np.inf, set(np.argsort(explicit(loop, metric)[0])[:few].tolist())
    while time.monotonic() < deadline and len(chosen) < count / 2:
        few_loop = _subset(loop, sorted(chosen))
        part = climb(few_loop, metric, target=target, frame=frame, condition=condition, deadline=deadline)
        bound = min(bound, part.bound)
        metric = part.metric
        if part.interrupted:
            deadline = time.monotonic()  # what is known of the few is still a candidate for all
        wanted = part.rate - 2e-3 * abs(part.rate) if target is None else target
        whole = climb(loop, metric, fixed=True, target=wanted, deadline=deadline)
        if best is None or whole.rate > best.rate:
            best = whole
        settled = target is not None and (whole.rate >= target or bound < target)
        settled = settled or part.interrupted or whole.interrupted
        if settled or whole.rate >= wanted or bound - best.rate <= 5e-3 * abs(bound):
            return replace(best, bound=bound)
        # The dual matrices weigh the systems that hold the common rate down.
        worse = set(np.argsort(-np.trace(whole.duals, axis1=1, axis2=2))[:few].tolist())
        if worse <= chosen:
            break
        chosen |= worse
    whole = climb(loop, metric, target=target, frame=frame, condition=condition, deadline=deadline)
    best = whole if best is None or whole.rate > best.rate else best
    return replace(best, bound=min(bound, whole.bound))


def _subset(loop: Loop, chosen: list[int]) -> Loop:
    def few(array: Array) -> Array:
        return array if len(array) == 1 else array[chosen]

    return Loop(
        loop.A[chosen], loop.E[chosen], loop.W[chosen], loop.N[chosen], few(loop.lower), few(loop.upper), loop.widths
    )


def _identity_refused(system: Lure, samples: Samples, deadline: float) -> bool | None:
    """True where the Euclidean distance grows at a state that was sampled; False where P = I is within reach of the climb."""
    if (log_norm(samples.attained, np.eye(system.states)) >= 0).any():
        return True
    if sum(system.widths) > _LARGE:
        return None
    return False if climb(system.loop(), np.eye(system.states), fixed=True, target=0.0, deadline=deadline).rate > 0 else None


def _proved(system: Lure, ascent: Ascent, rate: float | None, facts: dict[str, Any]) -> Certificate | None:
    """The first of a few rates at which the candidate is proved; only the requested one where a rate was requested."""
    values = np.linalg.eigvalsh(ascent.metric)
    unit = float(
        values[0] if values[0] > 1e-12 * values[-1] else values[-1]
    )  # a sound scale where the smallest is noise
    P = (ascent.metric + ascent.metric.T) / 2 / unit
    for shrink in (1e-4, 1e-3, 1e-2, 0.1) if rate is None else (0.0,):
        certificate = Certificate(
            rate=float(ascent.rate * (1.0 - shrink) if rate is None else rate),
            metric=P,
            multipliers=ascent.multipliers / unit,
            slope_range=SLOPES[system.activation],
            condition=float(np.linalg.cond(P)),
            leading=system.leading,
            digest=system.digest(),
            **facts,
        )
        if prove(certificate, system):
            return certificate
    return None


def _no_common_metric(
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


def _not_proved(ascent: Ascent, rate: float | None, caps: _Caps, given: bool, late: bool) -> Refusal:
    wanted = "a positive rate" if rate is None else f"the rate {rate:g}"
    what = "This metric fails" if given else "No metric was found"
    message = f"{what} for {wanted}; the best that the multipliers proved is {ascent.rate + 0.0:.6g}."
    if np.isfinite(caps.inequality):
        most = rounded(caps.inequality, 6, "up")
        message += f" This inequality cannot give more than {most} in {'it' if given else 'metrics as round as those searched'}."
    message += f" {no_metric_exceeds(caps.best, caps.sampled)}"
    if late:
        message += " The time ran out; give more seconds."
    return Refusal(
        reason="not proved",
        message=message,
        best_rate=ascent.rate,
        rate_bound=caps.inequality if np.isfinite(caps.inequality) else None,
        metric_cap=caps.best,
    )
