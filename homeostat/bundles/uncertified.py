"""Whether a question about a fitted person is one that the bundle's certificates speak of."""

from collections.abc import Mapping

import torch

from exchange import Bundle
from exchange.bundle.coverage import outside, outside_units, subjects_of
from exchange.bundle.units import units_of
from hybrid import Schedule
from hybrid.schedules.dose import as_float
from stability import Certificate


def outside_certificates(
    bundle: Bundle,
    person: int,
    schedules: Mapping[str, Schedule],  # N, on the person's own clock
) -> dict[str, list[str]]:
    """By schedule what the bundle's certificates, taken to be true, do not cover of it: starts, doses, their gaps, inputs.

    Nothing for a schedule that is covered, or where there is no certificate; one about all states covers every dose and input
    that both trajectories get.
    """
    found: dict[str, list[str]] = {name: [] for name in schedules}
    who, model, count = bundle.people[person], bundle.model, len(schedules)
    at = torch.tensor(
        [
            [as_float(one.inputs[name].at(one.start)) for name in model.backbone.inputs]
            for one in schedules.values()
        ],
        dtype=torch.float64,
    ).reshape(count, len(model.backbone.inputs))
    subjects = subjects_of(
        model,
        list(schedules),
        list(schedules.values()),
        bundle.personal.mode[:, [person]].expand(-1, count, -1),
        {name: torch.full((count,), float(value), dtype=torch.float64) for name, value in who.covariates.items()},
        torch.tensor([who.baseline] * count, dtype=torch.float64),
        at,
    )
    now = units_of(model)
    for certificate, then in bundle.made_in:
        if isinstance(certificate, Certificate):
            everyone = outside_units(then, now, "certificate")
            for name, subject in zip(schedules, subjects, strict=True):
                found[name] += [one.sentence for one in [*everyone, *outside(certificate, model, [subject])]]
    return found


def outside_in_words(sentences: list[str]) -> str:
    """All of it as one warning; "" where there is nothing."""
    return f"Outside what is certified: {'; '.join(sentences)}." if sentences else ""
