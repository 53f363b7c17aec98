"""Contraction certificates for a linear backbone plus a layered residual: search, refuse, and prove.

Names are resolved on first use (PEP 562), so that `from stability import check` and `python -m stability.proof FILE` need
numpy alone, while the search, the training penalty (torch) and the conic solver (cvxpy) load only where they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stability.certificate import Certificate, Refusal
    from stability.elimination import contraction_barrier, contraction_rate
    from stability.falsify import metric_cap, spectral_cap
    from stability.layered import best_multipliers
    from stability.lipschitz import LipschitzBound, lipschitz_bound
    from stability.lure import Lure
    from stability.margin import contraction_margin
    from stability.proof import check
    from stability.search import certify
    from stability.semidefinite import common_metric

__all__ = [
    "Certificate",
    "LipschitzBound",
    "Lure",
    "Refusal",
    "best_multipliers",
    "certify",
    "check",
    "common_metric",
    "contraction_barrier",
    "contraction_margin",
    "contraction_rate",
    "lipschitz_bound",
    "metric_cap",
    "spectral_cap",
]

_HOME = {
    "Certificate": "certificate",
    "LipschitzBound": "lipschitz",
    "Lure": "lure",
    "Refusal": "certificate",
    "best_multipliers": "layered",
    "certify": "search",
    "check": "proof",
    "common_metric": "semidefinite",
    "contraction_barrier": "elimination",
    "contraction_margin": "margin",
    "contraction_rate": "elimination",
    "lipschitz_bound": "lipschitz",
    "metric_cap": "falsify",
    "spectral_cap": "falsify",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'stability' has no attribute {name!r}; it offers {', '.join(__all__)}.")
    return getattr(import_module(f"stability.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
