"""Who may be followed: what is known of a person before the first event, resolved for a model and kept with the log."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from exchange import Bundle
from hybrid import Mesh
from physics.arguments import quote, require_kind, require_number, require_text, shortened
from physics.glance import glance

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Patient:
    """What is known of somebody before the first event.

    `covariates` by name, in the model's units · `inputs`: levels that hold until an input is told, by name, in the model's
    units · `mean` (M, d) and `covariance` (M, d, d): what is known of their own coordinates η under every member, as of a fit
    to *other* data than the stream brings; by default that of the bundle, if they are one of its people, else the
    population's N(0, I) · `spread`: standard deviations by the states' names that are added to the first belief, for states
    of which nothing is known.
    """

    covariates: Mapping[str, float] = field(default_factory=dict)
    inputs: Mapping[str, float] = field(default_factory=dict)
    mean: Sequence[Sequence[float]] | None = None
    covariance: Sequence[Sequence[Sequence[float]]] | None = None
    spread: Mapping[str, float] = field(default_factory=dict)

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        for name in ("covariates", "inputs", "spread"):
            given = getattr(self, name)
            require_kind(given, Mapping, f"Patient: {name}", f'Patient({name}={{"WT": 70.0}})')
            for key, value in given.items():
                require_text(key, f"Patient: {name}: a name", f'Patient({name}={{"WT": 70.0}})')
                require_number(value, f"Patient: {name}: {quote(key, 60)}", least=0.0 if name == "spread" else -math.inf)
        for name, value, axes in (("mean", self.mean, 2), ("covariance", self.covariance, 3)):
            if value is not None:
                _numbers(value, None, f"Patient: {name}", axes)
        if (self.mean is None) != (self.covariance is None):
            raise ValueError("Patient: mean and covariance are given together, (M, d) and (M, d, d), or not at all")


@dataclass(frozen=True)
class Known:
    """A person as a filter starts from them: `covariates`, `inputs` (m,) with NaN for what is not known, `mean` (M, d) and
    `covariance` (M, d, d) of η, `spread` (n,), and the `mesh` of their own fastest rates; plain numbers, so that a log keeps
    it.
    """

    covariates: dict[str, float]
    inputs: tuple[float, ...]
    mean: Array
    covariance: Array
    spread: tuple[float, ...]
    mesh: Mesh

    def packed(self) -> bytes:
        """As JSON with every digit. Law: `unpacked(known.packed())` is the same, to the bit."""
        value = {
            "covariates": dict(sorted(self.covariates.items())),
            "inputs": [None if math.isnan(v) else v for v in self.inputs],
            "mean": self.mean.tolist(),
            "covariance": self.covariance.tolist(),
            "spread": list(self.spread),
            "mesh": [self.mesh.step, self.mesh.first, self.mesh.growth],
        }
        return json.dumps(value, allow_nan=False).encode()

    @staticmethod
    def unpacked(data: bytes) -> "Known":
        """The inverse of `packed`."""
        value: dict[str, Any] = json.loads(data)
        step, first, growth = value["mesh"]
        return Known(
            value["covariates"],
            tuple(math.nan if v is None else v for v in value["inputs"]),
            np.array(value["mean"], dtype=np.float64).reshape(len(value["mean"]), -1),
            np.array(value["covariance"], dtype=np.float64).reshape(len(value["mean"]), *[len(value["mean"][0])] * 2),
            tuple(value["spread"]),
            Mesh(step, first, growth),
        )


@dataclass(frozen=True)
class People:
    """Everyone who may be followed with a bundle: those who are `given`, and nobody else; where nobody is, the bundle's own
    people, and anyone, as a draw of the population, if the model reads no covariates.
    """

    bundle: Bundle
    given: Mapping[str, Patient] | None = None

    def __post_init__(self) -> None:
        require_kind(self.bundle, Bundle, "Twin: bundle", "Twin(load('model.twin'))")
        if self.given is None:
            return
        require_kind(self.given, Mapping, "Twin: people", 'people={"P1": Patient(covariates={"WT": 70.0})}')
        for name, patient in self.given.items():
            if not isinstance(name, str):
                raise ValueError(f"Twin: people are given by their ids, and {quote(name)} is no text")
            require_kind(patient, Patient, f"Twin: people: {quote(name, 60)}", "Patient(…)")
            self._resolved(name, patient, Mesh())  # what cannot be is refused now; steps are found when somebody is met

    def known(self, id: str, mesh: Mesh | None = None) -> Known | str:
        """The person, or in a sentence why nobody of this id can be followed; `mesh`, their own, if it was found before."""
        try:
            return self._known(id, mesh)
        except ValueError as error:
            return str(error).removeprefix("Twin: ")

    def _known(self, id: str, mesh: Mesh | None) -> Known | str:
        if self.given is not None:
            if id not in self.given:
                some = ", ".join(shortened(name, 40) for name in list(self.given)[:5]) + (" …" if len(self.given) > 5 else "")
                return f"the person {quote(id, 60)} is unknown; those who are followed are {some}"
            return self._resolved(id, self.given[id], mesh)
        if id in self._index:
            return self._resolved(id, Patient(), mesh)
        lacks = sorted(self.bundle.model.uses)
        if lacks:
            return (
                f"the person {quote(id, 60)} is unknown, and the model reads {', '.join(lacks)}; say them: "
                f"Twin(bundle, people={{{id!r}: Patient(covariates={{{lacks[0]!r}: …}})}})"
            )
        return self._resolved(id, Patient(), mesh)

    def new(self, id: str) -> bool:
        """Is the person none of the bundle's, so that only the population is known of their η?"""
        return id not in self._index

    def told(self, id: str) -> dict[str, float]:
        """All covariates that are known of a person, those too that the model does not read."""
        given = None if self.given is None else self.given.get(id)
        return self._told(self._index.get(id), Patient() if given is None else given)

    def _told(self, k: int | None, patient: Patient) -> dict[str, float]:
        own = {} if k is None else self.bundle.people[k].covariates
        return {name: float(value) for name, value in {**own, **patient.covariates}.items()}

    @cached_property
    def _index(self) -> dict[str, int]:
        return {person.id: k for k, person in enumerate(self.bundle.people)}

    def _resolved(self, id: str, patient: Patient, mesh: Mesh | None) -> Known:
        model, where = self.bundle.model, f"Twin: the person {quote(id, 60)}"
        M, d, backbone = model.members, model.personal, model.backbone
        k = self._index.get(id)
        covariates = {name: value for name, value in self._told(k, patient).items() if name in model.uses}
        lacks = sorted(model.uses.keys() - covariates.keys())
        if lacks:
            raise ValueError(f"{where}: the model reads {', '.join(lacks)}; write Patient(covariates={{{lacks[0]!r}: …}})")
        _known_names(patient.inputs, backbone.inputs, f"{where}: inputs")
        _known_names(patient.spread, backbone.states, f"{where}: spread")
        if patient.mean is not None and patient.covariance is not None:
            mean = _numbers(patient.mean, (M, d), f"{where}: mean")
            covariance = _numbers(patient.covariance, (M, d, d), f"{where}: covariance")
        elif k is not None:
            mean = self.bundle.personal.mode[:, k].detach().cpu().numpy().astype(np.float64)
            covariance = self.bundle.personal.covariance[:, k].detach().cpu().numpy().astype(np.float64)
        else:
            mean, covariance = np.zeros((M, d)), np.broadcast_to(np.eye(d), (M, d, d)).copy()
        return Known(
            covariates,
            tuple(float(patient.inputs.get(name, math.nan)) for name in backbone.inputs),
            mean,
            covariance,
            tuple(float(patient.spread.get(name, 0.0)) for name in backbone.states),
            mesh or self._mesh(covariates),
        )

    def _mesh(self, covariates: Mapping[str, float]) -> Mesh:
        """Steps for this person's own rates, whoever else is followed; found once for each set of covariates."""
        key = tuple(sorted(covariates.items()))
        if key not in self._meshes:
            given = {name: torch.tensor([value], dtype=torch.float64) for name, value in covariates.items()}
            self._meshes[key] = Mesh.fastest(self.bundle.model, given, 1)
        return self._meshes[key]

    @cached_property
    def _meshes(self) -> dict[tuple[tuple[str, float], ...], Mesh]:
        return {}


def _known_names(given: Mapping[str, float], names: Sequence[str], where: str) -> None:
    for name in given:
        if name not in names:
            raise ValueError(f"{where} name {quote(name, 60)}, and there are {', '.join(names) or 'none'}")


def _numbers(value: object, shape: tuple[int, ...] | None, where: str, axes: int = 0) -> Array:
    try:
        if isinstance(value, str | bytes | bool | Mapping):
            raise TypeError
        kind = np.asarray(value)
        if kind.dtype.kind not in "fiu":
            raise TypeError
        found = kind.astype(np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{where} is an array of numbers, one axis of members first, and is {quote(value)}") from error
    if (found.ndim != axes if shape is None else found.shape != shape) or not np.isfinite(found).all():
        need = f"of shape {shape}" if shape else f"with {axes} axes"
        raise ValueError(f"{where} has the shape {found.shape}; give finite numbers {need}")
    return found
