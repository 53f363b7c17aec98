"""A certificate about all states: caps, counterexamples, then the joint climb; what it finds is proved before it is returned."""

import time
from dataclasses import replace
from typing import Any

import numpy as np

from stability.claims.certificate import Certificate, no_metric_exceeds
from stability.decay import rounded
from stability.lure import Array, Lure
from stability.proof.checker import prove
from stability.proof.units import slope_ends
from stability.refusal import Refusal
from stability.search.aim import beyond, share
from stability.search.caps import Caps
from stability.search.climb.candidate import candidate_rate, capped
from stability.search.climb.few_systems import climb_few
from stability.search.climb.interior_point import Ascent, climb, lyapunov_frame
from stability.search.states.attack import attack
from stability.search.states.disproof import direction, disproof, instead, mode, no_common_metric, of_the_linear_part
from stability.search.states.duals import metric_bound, one_metric
from stability.search.states.jacobians import log_norm
from stability.search.states.sampling import Samples, sample


def certify_everywhere(
    system: Lure, rate: float | None, given: Array | None, condition: float, seconds: float
) -> Certificate | Refusal:
    """All states."""
    deadline = time.monotonic() + seconds
    goal = 0.0 if rate is None else rate
    samples = attack(system, sample(system), deadline=share(deadline, 0.1))
    refusal = disproof(system, samples, goal)
    if refusal is not None:
        return refusal
    caps = Caps.of(samples)
    if given is not None:
        ascent = _ascent(system, given, True, None, beyond(rate), deadline)
    else:
        frame = lyapunov_frame(system.flatten().linear())
        P = np.eye(system.states) if frame is None else frame @ frame.T
        first = share(deadline, 0.2)
        jacobians, start = one_metric(
            samples, P, with_corners=False, frame=frame, condition=condition, deadline=first
        )
        refusal = no_common_metric(jacobians, start, goal, frame, share(deadline, 0.2))
        if refusal is not None:
            return refusal
        _, capped = one_metric(
            samples, start.metric, with_corners=True, frame=frame, condition=condition, deadline=share(deadline, 0.2)
        )
        caps = caps.narrowed(metric_bound(jacobians, start, caps.spectral), capped.bound)
        ascent = _ascent(system, capped.metric, False, frame, beyond(rate), deadline, condition)
    caps = caps.narrowed(np.inf, ascent.bound)
    if ascent.rate > goal or ascent.rate == rate:
        certificate = _proved(system, ascent, rate, caps.facts(_identity_refused(system, samples, share(deadline, 0.5))))
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


def certify_given(system: Lure, rate: float | None, P: Array | None, multipliers: Array) -> Certificate | None:
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
        from stability.search.climb.layered import climb_layers  # torch, which small systems do without

        flat = system.merged()
        edges = np.cumsum(flat.widths)[:-1]
        lower, upper = (np.split(end[None], edges, axis=1) for end in slope_ends(flat.activation, flat.widths))
        A, weights = flat.linear(), flat.weights
        return climb_layers(
            A, weights, lower, upper, metric, fixed=fixed, target=target, condition=condition, deadline=deadline
        )
    loop = system.loop()
    if fixed:
        return climb(loop, metric, fixed=True, target=target, deadline=deadline)
    return climb_few(loop, metric, frame, target, deadline, condition)


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
            slope_range=system.slope_range,
            condition=float(np.linalg.cond(P)),
            leading=system.leading,
            digest=system.digest(),
            feedback=system.under,
            **facts,
        )
        if prove(certificate, system):
            return certificate
    return None


def _not_proved(ascent: Ascent, rate: float | None, caps: Caps, given: bool, late: bool) -> Refusal:
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
