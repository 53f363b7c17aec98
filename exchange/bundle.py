"""The model bundle: a trained model with everything that it must be judged by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from exchange.coverage import Outside, outside, outside_units, subjects_of
from exchange.person import Person
from exchange.systems import lure_of
from exchange.units import units_of
from hybrid import Conditions, HybridModel, Mesh, conditions_of
from physics.arguments import quote, require_kind, require_text
from stability import Certificate, Lure, Refusal
from training.people import Personal


@dataclass(frozen=True)
class Bundle:
    """A trained model with everything that it must be judged by.

    `model` (M members) · `people` (N) and their `personal` coordinates (M, N, d) · `mesh` of the solver · `certificate`,
    or the `Refusal`, or None where neither was asked for · `calibration`, scores on unseen people, plain JSON ·
    `provenance`: data, versions, seed, settings, plain JSON; "interrupted" says there what training was cut short ·
    `nonnegative`: the channels that are declared never to be below 0 ·
    `certified_in`: the units of time, states and inputs in which the certificate was made, with the digest of what it is about;
    by default the model's, when the certificate and the model first meet, and from then on what they were.
    """

    model: HybridModel
    people: tuple[Person, ...]
    personal: Personal
    mesh: Mesh
    certificate: Certificate | Refusal | None = None
    calibration: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    nonnegative: tuple[str, ...] = ()
    certified_in: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        require_kind(self.model, HybridModel, "Bundle: model", "Bundle(model, people, personal, mesh)")
        require_kind(self.people, (tuple, list), "Bundle: people", "a tuple of Person")
        for person in self.people:
            require_kind(person, Person, "Bundle: each of people", "Person(record.id, record.schedule, …)")
        require_kind(self.personal, Personal, "Bundle: personal", "personalise(model, cohort)")
        require_kind(self.mesh, Mesh, "Bundle: mesh", "cohort.mesh")
        if self.personal.mode.shape[1] != len(self.people):
            raise ValueError(f"Bundle: personal is of {self.personal.mode.shape[1]} people and people of {len(self.people)}")
        for what, value in (("calibration", self.calibration), ("provenance", self.provenance)):
            require_kind(value, Mapping, f"Bundle: {what}", "{}, plain JSON by name")
        if not isinstance(self.certificate, Certificate):
            return
        # replace(bundle, certificate=another) keeps what was said of the one before
        if self.certified_in is None or self.certified_in.get("digest") != self.certificate.digest:
            units = units_of(self.model)
            stamp = {"digest": self.certificate.digest, **{kind: units[kind] for kind in ("time", "states", "inputs")}}
            object.__setattr__(self, "certified_in", stamp)

    def system(self) -> Lure:
        """The Lur'e arrays of every member and fitted person, built anew from the model's weights."""
        return lure_of(self.model, self.personal.mode, self.conditions().covariates)

    def conditions(self, times: Sequence[Sequence[float]] | None = None) -> Conditions:
        """The fitted people, ready to simulate at `times` (their schedule's start where None), where the model is."""
        times = times if times is not None else [[p.schedule.start] for p in self.people]
        names = sorted(self.people[0].covariates) if self.people else []
        return conditions_of(
            self.model,
            [p.schedule for p in self.people],
            times,
            covariates={k: [p.covariates[k] for p in self.people] for k in names},
            baseline=torch.tensor([p.baseline for p in self.people], dtype=torch.float64),
            mesh=self.mesh,
        )

    def outside(self) -> list[Outside]:
        """What the certificate, taken to be true, does not cover of the bundle's own people; nothing without a certificate."""
        if not isinstance(self.certificate, Certificate):
            return []
        units = outside_units(self.certified_in or {}, units_of(self.model))
        if not self.people:
            return units
        given = self.conditions()
        ids, schedules = [p.id for p in self.people], [p.schedule for p in self.people]
        subjects = subjects_of(self.model, ids, schedules, self.personal.mode, given.covariates, given.baseline)
        return [*units, *outside(self.certificate, self.model, subjects)]

    def person(self, id: str) -> int:
        """The index of a fitted person. Errors: `ValueError` listing who is there."""
        require_text(id, "Bundle.person: id", f'"{self.people[0].id if self.people else "1"}"')
        ids = [p.id for p in self.people]
        if id not in ids:
            raise ValueError(f"no person {quote(id)} in this bundle; it has {', '.join(ids)[:120]}")
        return ids.index(id)
