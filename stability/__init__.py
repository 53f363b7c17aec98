"""Contraction certificates for a linear backbone plus a layered residual: search, refuse, and prove.

Names are resolved on first use (PEP 562), so that `from stability import check` and `python -m stability.proof FILE` need
numpy alone, while the search, the training penalty (torch) and the conic solver (cvxpy) load only where they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stability.certificate import Certificate, Refusal
    from stability.falsify import metric_cap, spectral_cap
    from stability.lure import Lure
    from stability.margin import contraction_margin
    from stability.proof import check
    from stability.region import Box, Ellipsoid, Inputs
    from stability.search import certify
    from stability.semidefinite import common_metric

__all__ = [
    "Box",
    "Certificate",
    "Ellipsoid",
    "Inputs",
    "Lure",
    "Refusal",
    "certify",
    "check",
    "common_metric",
    "contraction_margin",
    "metric_cap",
    "spectral_cap",
]

_HOME = {
    "Box": "region",
    "Ellipsoid": "region",
    "Inputs": "region",
    "Certificate": "certificate",
    "Lure": "lure",
    "Refusal": "certificate",
    "certify": "search",
    "check": "proof",
    "common_metric": "semidefinite",
    "contraction_margin": "margin",
    "metric_cap": "falsify",
    "spectral_cap": "falsify",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'stability' has no attribute {name!r}; it offers {', '.join(__all__)}.")
    return getattr(import_module(f"stability.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
