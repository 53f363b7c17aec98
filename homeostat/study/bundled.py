"""A trained model as it travels."""

from collections.abc import Mapping
from typing import Any

from exchange import Bundle
from homeostat.study.training import Trained, why_not_converged
from stability import Certificate, Claim, Refusal


def bundle_of(
    trained: Trained,
    certificate: Certificate | Refusal | None,
    calibration: Mapping[str, Any],
    provenance: Mapping[str, Any],
    *,
    beside: Claim | None = None,
) -> Bundle:
    """The trained model as it travels, with another claim `beside` the certificate where there is one.

    Where its fit has not converged, or was cut short, its provenance says so under `not_converged`.
    """
    why = why_not_converged(trained.convergence, trained.interrupted)
    if why:
        provenance = {"not_converged": why, **provenance}
    claims = [claim for claim in (certificate, beside) if claim is not None]
    return Bundle.of(
        trained.model, trained.cohort, trained.personal, claims=claims, calibration=calibration, provenance=provenance
    )


def marked(stopped: str) -> dict[str, Any]:
    """The mark of a training that was cut short, among the first things that a bundle says of where it came from."""
    return {"interrupted": stopped} if stopped else {}
