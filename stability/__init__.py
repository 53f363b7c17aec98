"""Contraction certificates for a linear backbone plus a layered residual: search, refuse, and prove.

Names are resolved on first use (PEP 562), so that `from stability import check` and `python -m stability.proof FILE` need
numpy alone, while the search, the training penalty (torch) and the conic solver (cvxpy) load only where they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stability.branches import Branch
    from stability.claims import CLAIMS, check, prove, read_claim
    from stability.claims.certificate import Certificate
    from stability.claims.claim import Claim
    from stability.claims.gain import Gain
    from stability.claims.lipschitz import LipschitzBound
    from stability.claims.regional_rate import RegionalRate
    from stability.claims.step import Step
    from stability.claims.weighted_l1 import WeightedL1
    from stability.decay import decay_in_words
    from stability.feedback import close_loop
    from stability.lure import Lure
    from stability.policy import Policy
    from stability.proof.budget import Budget
    from stability.proof.rational import exactly
    from stability.proof.verdict import Verdict
    from stability.refusal import Refusal
    from stability.region import Box, Ellipsoid, Inputs
    from stability.search.caps import metric_cap, spectral_cap
    from stability.search.certify import certify
    from stability.search.climb.elimination import contraction_barrier, contraction_rate
    from stability.search.climb.layered import best_multipliers
    from stability.search.climb.margin import contraction_margin
    from stability.search.conic import common_metric
    from stability.search.gain import l2_gain, tube
    from stability.search.lipschitz_bounds.bounded import lipschitz_bound
    from stability.search.polytope import multi_affine, vertices
    from stability.search.regional_rate import regional_rate
    from stability.search.states.attack import falsify
    from stability.search.states.counterexample import Counterexample
    from stability.search.step import certify_step
    from stability.search.weighted_l1 import weighted_l1

__all__ = [
    "CLAIMS",
    "Box",
    "Branch",
    "Budget",
    "Certificate",
    "Claim",
    "Counterexample",
    "Ellipsoid",
    "Gain",
    "Inputs",
    "LipschitzBound",
    "Lure",
    "Policy",
    "Refusal",
    "RegionalRate",
    "Step",
    "Verdict",
    "WeightedL1",
    "best_multipliers",
    "certify",
    "certify_step",
    "check",
    "close_loop",
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
    "prove",
    "read_claim",
    "regional_rate",
    "spectral_cap",
    "tube",
    "vertices",
    "weighted_l1",
]

_HOME = {
    "CLAIMS": "claims",
    "Box": "region",
    "Branch": "branches",
    "Budget": "proof.budget",
    "Certificate": "claims.certificate",
    "Claim": "claims.claim",
    "Counterexample": "search.states.counterexample",
    "Ellipsoid": "region",
    "Gain": "claims.gain",
    "Inputs": "region",
    "LipschitzBound": "claims.lipschitz",
    "Lure": "lure",
    "Policy": "policy",
    "Refusal": "refusal",
    "RegionalRate": "claims.regional_rate",
    "Step": "claims.step",
    "Verdict": "proof.verdict",
    "WeightedL1": "claims.weighted_l1",
    "best_multipliers": "search.climb.layered",
    "certify": "search.certify",
    "certify_step": "search.step",
    "check": "claims",
    "close_loop": "feedback",
    "common_metric": "search.conic",
    "contraction_barrier": "search.climb.elimination",
    "contraction_margin": "search.climb.margin",
    "contraction_rate": "search.climb.elimination",
    "decay_in_words": "decay",
    "exactly": "proof.rational",
    "falsify": "search.states.attack",
    "l2_gain": "search.gain",
    "lipschitz_bound": "search.lipschitz_bounds.bounded",
    "metric_cap": "search.caps",
    "multi_affine": "search.polytope",
    "prove": "claims",
    "read_claim": "claims",
    "regional_rate": "search.regional_rate",
    "spectral_cap": "search.caps",
    "tube": "search.gain",
    "vertices": "search.polytope",
    "weighted_l1": "search.weighted_l1",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'stability' has no attribute {name!r}; it offers {', '.join(__all__)}.")
    return getattr(import_module(f"stability.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
