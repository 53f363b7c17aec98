"""A trained model as it travels."""

from collections.abc import Mapping
from typing import Any

from exchange import Bundle
from homeostat.study.training import Trained
from stability import Certificate, Refusal


def bundle_of(
    trained: Trained,
    certificate: Certificate | Refusal | None,
    calibration: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> Bundle:
    """The trained model as it travels; where its fit has not converged, its provenance says so under `not_converged`."""
    if not trained.convergence.converged:
        provenance = {"not_converged": " ".join(trained.convergence.sentences()), **provenance}
    claims = [] if certificate is None else [certificate]
    return Bundle.of(
        trained.model, trained.cohort, trained.personal, claims=claims, calibration=calibration, provenance=provenance
    )


def marked(stopped: str) -> dict[str, Any]:
    """The mark of a training that was cut short, among the first things that a bundle says of where it came from."""
    return {"interrupted": stopped} if stopped else {}
