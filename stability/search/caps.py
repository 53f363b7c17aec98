"""What limits a rate: any constant metric, by Jacobians at states that exist; and one inequality, by any slope pattern."""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stability.arguments import number, time_limit
from stability.lure import Lure, System, without_tape
from stability.search.climb.interior_point import lyapunov_frame
from stability.search.states.duals import metric_bound, one_metric
from stability.search.states.jacobians import abscissa
from stability.search.states.sampling import Samples, sample
from stability.threads import of_system, threads_by


@threads_by(of_system)
def spectral_cap(system: System, *, samples: int = 64, seed: int = 0) -> float:
    """The smallest −(spectral abscissa) over sampled Jacobians of all systems, at real states and inputs.

    Returns a rate in 1/time: no constant metric can exceed it, whatever the proof. Negative or zero: there is none. It is an
    upper bound on the best rate for all states, and itself only as sharp as the sample.
    """
    system, samples, seed = _require_sample(system, samples, seed)
    return float(-abscissa(sample(system, samples=samples, seed=seed).attained).max())


@threads_by(of_system)
def metric_cap(system: System, *, samples: int = 64, seed: int = 0, seconds: float = 10.0) -> float:
    """What no constant metric can exceed at real states and inputs: the dual bound of one metric for all sampled Jacobians.

    Returns a rate in 1/time, at or below `spectral_cap`; it holds for metrics of any condition number (`metric_bound`).
    """
    system, samples, seed = _require_sample(system, samples, seed)
    time_limit(seconds)
    drawn = sample(system, samples=samples, seed=seed)
    frame, deadline = lyapunov_frame(system.loop().A), time.monotonic() + seconds
    start = np.eye(system.states) if frame is None else frame @ frame.T
    jacobians, ascent = one_metric(drawn, start, with_corners=False, frame=frame, deadline=deadline)
    return metric_bound(jacobians, ascent, float(-abscissa(drawn.attained).max()))


def _require_sample(system: System, samples: int, seed: int) -> tuple[Lure, int, int]:
    found = without_tape(system, "spectral or metric cap")
    number(samples, "samples", "how many states are drawn, from 4 on", least=4.0, most=1e6, whole=True)
    number(seed, "seed", "a whole number from 0 on", least=0.0, most=2.0**62, whole=True)
    return found, int(samples), int(seed)


@dataclass(frozen=True)
class Caps:
    """What limits the rate: any constant metric, by states that exist; and this inequality, by any slope pattern as well."""

    spectral: float
    metric: float  # inf where unknown
    inequality: float  # inf where unknown
    sampled: int

    @staticmethod
    def of(samples: Samples) -> "Caps":
        real = float(-abscissa(samples.attained).max())
        corners = float(-abscissa(samples.corners).max()) if samples.corners.size else np.inf
        return Caps(real, np.inf, min(real, corners), samples.attained.shape[0] * samples.attained.shape[1])

    @property
    def best(self) -> float:
        """What no constant metric can exceed, as far as it was found out."""
        return min(self.metric, self.spectral)

    def narrowed(self, metric: float, inequality: float) -> "Caps":
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
