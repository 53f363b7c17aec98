"""Whether a model, its cohort, what is known of the people, claims and a calibration are of each other."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from exchange.bundle.calibration import scaling_in
from exchange.bundle.systems import Subjects
from hybrid import HybridModel
from physics.arguments import quote, require_kind, require_same_people, shortened
from stability import Claim, Lure, Refusal
from training.people import Cohort, Personal


def require_float64(model: HybridModel, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, for a model in another type than what is certified and reported."""
    if model.dtype != torch.float64:
        raise ValueError(
            f"{name}: a bundle carries float64, what is certified and reported, and the model is {model.dtype}; write "
            "model.to(torch.float64)"
        )


def require_joined(model: HybridModel, cohort: Cohort, people: Personal) -> None:
    """Raise `ValueError` unless these coordinates are of this cohort's people under this model's members."""
    require_kind(model, HybridModel, "Bundle.of: model", "Bundle.of(model, cohort, personalise(model, cohort))")
    require_kind(cohort, Cohort, "Bundle.of: cohort", "Cohort.of(records, model)")
    require_kind(people, Personal, "Bundle.of: people", "personalise(model, cohort)")
    require_float64(model, "Bundle.of")
    (M, N, d), channels = people.mode.shape, model.observation.channels
    if len(cohort.ids) != N:
        raise ValueError(
            f"Bundle.of: the cohort has {len(cohort.ids)} people ({shortened(', '.join(cohort.ids))}) and people {N}; write "
            "personalise(model, cohort) of the same cohort"
        )
    write = "write personalise(model, cohort) of the same cohort"
    require_same_people(people.ids, cohort.ids, "Bundle.of: people and cohort", write)
    if model.members != M or model.personal != d:
        raise ValueError(
            f"Bundle.of: the model has {model.members} members and {model.personal} coordinates a person, and people are of {M} "
            f"members and {d}; write personalise(model, cohort) with the same model"
        )
    if cohort.y.shape[-1] != len(channels):
        raise ValueError(f"Bundle.of: the cohort has {cohort.y.shape[-1]} channels and the model {quote(list(channels))}")
    changes = cohort.conditions.changes
    if changes is not None:
        raise ValueError(
            f"Bundle.of: {', '.join(changes.values)} changes on the way of these people, and a bundle keeps one number of each; "
            "keep the model alone, Bundle(model, (), prior(model, 0), cohort.mesh)"
        )
    lacking = [name for name in model.uses if name not in cohort.conditions.covariates]
    if lacking:
        some = ", ".join(lacking)
        raise ValueError(f"Bundle.of: the model reads {some}, and the cohort does not have it; write Cohort.of(records, model)")


def require_claims(claims: object) -> tuple[Claim | Refusal, ...]:
    """The claims in a tuple. Errors: `ValueError` for one alone, and for what is none."""
    if isinstance(claims, Claim | Refusal | str | bytes | Mapping) or not isinstance(claims, Iterable):
        shown = type(claims).__name__ if isinstance(claims, Claim | Refusal) else quote(claims)
        raise ValueError(f"Bundle: claims are in a list, even one, and are {shown}; write [certify(system)]")
    found = tuple(claims)
    for claim in found:
        require_kind(claim, (Claim, Refusal), "Bundle: each of claims", "what certify and its like return: [certify(system)]")
    return found


def require_about(claims: Iterable[Claim | Refusal], system: Lure) -> None:
    """Raise `ValueError` for a claim that is not about this system, nor about the learned layers of a member of it."""
    subjects = Subjects(system)
    for claim in claims:
        if isinstance(claim, Claim) and subjects.of(claim) is None:
            raise ValueError(
                f"Bundle.of: the claim of the kind {quote(claim.kind)} is about another system than the one of this model and "
                "these people: its digest is another. Make it anew of lure_of(model, people.mode, cohort.conditions.covariates), "
                "after the last change of the model"
            )


def require_own_calibration(calibration: Mapping[str, Any], ids: tuple[str, ...]) -> None:
    """Raise `ValueError` for a recalibration that was fitted on others than these people, naming them."""
    scaling = scaling_in(calibration)
    others = [] if scaling is None else sorted(set(scaling.people) - set(ids))
    if others:
        some = ", ".join(shortened(name, 40) for name in others[:5]) + (" …" if len(others) > 5 else "")
        raise ValueError(
            f"Bundle.of: the calibration was fitted on {len(others)} people who are not in the cohort ({some}); give the one "
            "that was made of forecasts of this cohort by members that had not seen them"
        )
