"""Contraction certificates for a linear backbone plus a layered residual: search, refuse, and prove.

Names are resolved on first use (PEP 562), so that `from stability import check` and `python -m stability.proof FILE` need
numpy alone, while the search, the training penalty (torch) and the conic solver (cvxpy) load only where they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stability.attack import Counterexample, falsify
    from stability.certificate import Certificate, Refusal
    from stability.compartmental import WeightedL1, weighted_l1
    from stability.decay import decay_in_words
    from stability.elimination import contraction_barrier, contraction_rate
    from stability.exact import exactly
    from stability.gain import Gain, l2_gain, tube
    from stability.jacobians import metric_cap, spectral_cap
    from stability.layered import best_multipliers
    from stability.lipschitz import LipschitzBound, lipschitz_bound
    from stability.lure import Lure
    from stability.margin import contraction_margin
    from stability.polytope import multi_affine, vertices
    from stability.proof import Budget, check
    from stability.region import Box, Ellipsoid, Inputs
    from stability.search import certify
    from stability.semidefinite import common_metric
    from stability.step import Step, certify_step

__all__ = [
    "Box",
    "Budget",
    "Certificate",
    "Counterexample",
    "Ellipsoid",
    "Gain",
    "Inputs",
    "LipschitzBound",
    "Lure",
    "Refusal",
    "Step",
    "WeightedL1",
    "best_multipliers",
    "certify",
    "certify_step",
    "check",
    "common_metric",
    "contraction_barrier",
    "contraction_margin",
    "contraction_rate",
    "decay_in_words",
    "exactly",
    "falsify",
    "l2_gain",
    "lipschitz_bound",
    "metric_cap",
    "multi_affine",
    "spectral_cap",
    "tube",
    "vertices",
    "weighted_l1",
]

_HOME = {
    "Box": "region",
    "Budget": "proof",
    "Certificate": "certificate",
    "Counterexample": "attack",
    "Ellipsoid": "region",
    "Gain": "gain",
    "Inputs": "region",
    "LipschitzBound": "lipschitz",
    "Lure": "lure",
    "Refusal": "certificate",
    "Step": "step",
    "WeightedL1": "compartmental",
    "best_multipliers": "layered",
    "certify": "search",
    "certify_step": "step",
    "check": "proof",
    "common_metric": "semidefinite",
    "contraction_barrier": "elimination",
    "contraction_margin": "margin",
    "contraction_rate": "elimination",
    "decay_in_words": "decay",
    "exactly": "exact",
    "falsify": "attack",
    "l2_gain": "gain",
    "lipschitz_bound": "lipschitz",
    "metric_cap": "jacobians",
    "multi_affine": "polytope",
    "spectral_cap": "jacobians",
    "tube": "gain",
    "vertices": "polytope",
    "weighted_l1": "compartmental",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'stability' has no attribute {name!r}; it offers {', '.join(__all__)}.")
    return getattr(import_module(f"stability.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
