"""A trained model as it travels."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from exchange import Bundle, Person
from homeostat.study.training import Trained
from stability import Certificate, Refusal
from training import Record
from training.people.records import never_negative


def bundle_of(
    trained: Trained,
    certificate: Certificate | Refusal | None,
    calibration: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> Bundle:
    """The trained model as it travels."""
    given = trained.cohort.conditions
    people = tuple(
        Person(r.id, r.schedule, {name: r.covariates[name] for name in given.covariates}, tuple(b), _last(r))
        for r, b in zip(trained.cohort.records, given.baseline.tolist(), strict=True)
    )
    return Bundle(
        model=copy.deepcopy(trained.model).to("cpu"),  # `to` moves a module itself, and the caller goes on with this one
        people=people,
        personal=trained.personal.to("cpu"),
        mesh=trained.cohort.mesh,
        certificate=certificate,
        calibration=calibration,
        provenance=provenance,
        nonnegative=never_negative(trained.cohort.records),
    )


def _last(record: Record) -> float:
    """When a person was last measured."""
    return float(record.times[np.isfinite(record.values).any(1)][-1])


def marked(stopped: str) -> dict[str, Any]:
    """The mark of a training that was cut short, among the first things that a bundle says of where it came from."""
    return {"interrupted": stopped} if stopped else {}
