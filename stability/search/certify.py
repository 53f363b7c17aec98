"""The search for a certificate of contraction, in all states or in a region; what it finds is proved before it is returned."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from stability.arguments import array, metric_of, number, shown, time_limit
from stability.claims.certificate import Certificate
from stability.lure import Array, Lure, System
from stability.refusal import Refusal
from stability.region import Box, Ellipsoid, Inputs, Region
from stability.search.everywhere import certify_everywhere, certify_given
from stability.search.in_region import certify_in_region
from stability.search.taped import certify_taped
from stability.threads import of_system, threads_by


@threads_by(of_system)
def certify(
    system: System | Sequence[System],
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

    Arguments: `system`, a `Lure`, what it writes, or the arrays that `model.lure(theta)` returns, whose leading axes are members
    and people; or several of one structure, which are proved as `Lure.stack` of them; `rate`, the rate to prove, or None for the
    best one (to about 1 % of what metrics as round as `condition` reach; where a system needs a metric that is less round,
    another `condition` finds more); `metric`, the only metric to try, or None to search it with condition number ≤ `condition`
    in the states' own units (where those leave no room, in the coordinates of `lyapunov_frame`; 1: the identity alone);
    `region`, a `Box` or `Ellipsoid` in which to prove it, with the `inputs` (levels, doses) under which trajectories stay there,
    or None for all states and any input (doses that are asked for are covered, or it is a refusal that says what is proved
    without them); of a system with a tape the box may be without an end, its metric is limited in units of `scale`, and where
    staying alone is not proved the refusal says the rate; `seconds`, after which the best candidate so far is used;
    `multipliers`, with a metric (not of a tape): that pair is proved before anything is searched
    (`learned.ContractingMLP.witness` gives one), at `rate` or the best that it reaches.
    Returns a `Certificate` that `check` accepts, or a `Refusal`: where the linear part does not decay (an integrator, an
    oscillation without damping, growth) and nothing in the residual outweighs it, with the eigenvalue, the eigenvector, and
    what may be claimed instead.
    Errors: ValueError for arguments that cannot be used.
    Law: a certificate's rate, for all states, never exceeds `spectral_cap(system)` or `metric_cap(system)`.
    Source: the inequality of Revay, Wang & Manchester (IEEE TAC 2023) and NodeREN (CDC 2023), one P for all systems.
    """
    if region is not None and not isinstance(region, Box | Ellipsoid):
        raise ValueError(f"the region is a Box or an Ellipsoid, not {str(region)[:100]!r}; write Box([-1.0], [1.0]).")
    if inputs is not None and not isinstance(inputs, Inputs):
        raise ValueError(f"the inputs are {shown(inputs)}; give Inputs(lower, upper), the levels that u may take, or None.")
    system = Lure.stack(system) if isinstance(system, Sequence) else Lure.of(system)
    if isinstance(region, Box) and not region.finite and system.tape is None:
        raise ValueError("the box has no end on some side; of a system without a tape a certificate is searched in a finite one.")
    given = _check_arguments(rate, metric, seconds, system, condition)
    beyond = _beyond_numbers(system)
    if beyond is not None:
        return beyond
    if multipliers is not None and system.tape is not None:
        raise ValueError("multipliers are taken of systems without a tape; leave them out, or give the metric alone.")
    if multipliers is not None and region is not None:
        raise ValueError("multipliers belong to a claim about all states; leave them out with a region, or the region.")
    if region is None and inputs is not None:
        raise ValueError("inputs are for a region; without one the certificate holds for any input. Give a region, or neither.")
    try:
        if system.tape is not None:
            return certify_taped(system, region, inputs, rate, given, condition=condition, seconds=seconds)
        if multipliers is not None:
            certificate = certify_given(system, rate, given, array(multipliers, "the multipliers"))
            if certificate is not None:
                return certificate
        if region is not None:
            return certify_in_region(system, region, inputs, rate, given, condition=condition, seconds=seconds)
        return certify_everywhere(system, rate, given, condition, seconds)
    except np.linalg.LinAlgError as error:
        message = f"The system's numbers are too far apart for float64 ({error}): take units in which they are nearer to 1."
        return Refusal(reason="not proved", message=message)


def _check_arguments(
    rate: float | None, metric: ArrayLike | None, seconds: float, system: Lure, condition: float
) -> Array | None:
    number(condition, "the condition number", "a finite number from 1 on", least=1.0)
    if rate is not None:
        number(rate, "the rate", "one finite positive rate in 1/time, or None for the best one", above=0.0)
    time_limit(seconds)
    if metric is None and condition < _ROUND_ENOUGH:
        return np.eye(system.states)
    return None if metric is None else metric_of(metric, system.states)


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
