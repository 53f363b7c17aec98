"""The model bundle: one file that another twin can load, with the certificate and the calibration inside.

A `.twin` file is a zip archive of five fixed entries: `model.json` (structure, units, people, mesh), `weights.safetensors`,
`proof.json` (certificate and system, as `python -m stability.proof` reads them; absent where there is no certificate),
`calibration.json`, and `manifest.json` with the format's version and the SHA-256 of the others. Nothing executes on load,
and nothing is extracted to disk.
"""

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from exchange.structures import BUILTIN, describe, rebuild
from hybrid import Conditions, Dose, HybridModel, Mesh, Schedule, Signal, conditions_of, rollout
from hybrid.schedule import as_float
from physics.arguments import quote, require_covariates, require_kind, require_number, require_shape, require_text
from stability import Certificate, Lure, Refusal
from training import Personal
from training.arguments import require_path

FORMAT, VERSION = "homeostat.twin", 1
_LARGEST = 2**30  # bytes in one entry; a bundle is small, and a claim of more is damage or malice
_PERSONAL = ("mode", "covariance", "objective", "converged")
_ENTRIES = ("manifest.json", "model.json", "weights.safetensors", "proof.json", "calibration.json")
# what reading values that are not what was written can raise: torch's own errors are RuntimeErrors, and so is the recursion
# limit that deeply nested JSON reaches
_DAMAGE = (KeyError, IndexError, TypeError, AttributeError, OverflowError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class Person:
    """What a bundle keeps of a fitted person: who, what was done, what is known; no measurements but the baseline (NaN: none).

    Made of a cohort's records, the schedule is on the person's own clock, which reads 0 at the first dose (or start).
    """

    id: str
    schedule: Schedule
    covariates: Mapping[str, float]
    baseline: tuple[float, ...]

    def __post_init__(self) -> None:
        require_text(self.id, "Person: id", 'Person("1", …)')
        require_kind(self.schedule, Schedule, "Person: schedule", "record.schedule")
        require_kind(self.covariates, Mapping, "Person: covariates", '{"WT": 70.0}')
        for name, value in self.covariates.items():
            require_text(name, "Person: a covariate's name", '{"WT": 70.0}')
            require_number(value, f"Person: the covariate {quote(name, 60)}")
        require_kind(self.baseline, (tuple, list), "Person: baseline", "one number a channel, NaN for none")
        for number in self.baseline:
            if not (isinstance(number, float) and math.isnan(number)):
                require_number(number, "Person: baseline, each number,")


@dataclass(frozen=True)
class Bundle:
    """A trained model with everything that it must be judged by.

    `model` (M members) · `people` (N) and their `personal` coordinates (M, N, d) · `mesh` of the solver · `certificate`,
    or the `Refusal`, or None where neither was asked for · `calibration`, scores on unseen people, plain JSON ·
    `provenance`: data, versions, seed, settings, plain JSON.
    """

    model: HybridModel
    people: tuple[Person, ...]
    personal: Personal
    mesh: Mesh
    certificate: Certificate | Refusal | None = None
    calibration: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

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

    def person(self, id: str) -> int:
        """The index of a fitted person. Errors: `ValueError` listing who is there."""
        require_text(id, "Bundle.person: id", f'"{self.people[0].id if self.people else "1"}"')
        ids = [p.id for p in self.people]
        if id not in ids:
            raise ValueError(f"no person {quote(id)} in this bundle; it has {', '.join(ids)[:120]}")
        return ids.index(id)


def lure_of(
    model: HybridModel,
    personal: Tensor,  # (M, N, d)
    covariates: dict[str, Tensor],  # each (N,)
) -> Lure:
    """The arrays that a certificate of this model for these people is about."""
    require_kind(model, HybridModel, "lure_of: model", "lure_of(model, personal.mode, cohort.conditions.covariates)")
    require_shape(personal, "lure_of: personal", "M", "N", model.personal, write="Personal.mode")
    if personal.dtype != model.dtype:
        raise ValueError(f"lure_of: personal is {personal.dtype} and the model {model.dtype}; write personal.to(model.dtype)")
    require_covariates(covariates, personal.shape[1], "lure_of: covariates")
    personal = personal.to(model.device)
    covariates = {name: value.to(model.device) for name, value in covariates.items()}
    with torch.no_grad():
        return Lure(**model.lure(model.theta(personal, covariates), model.context(personal, covariates)))


def units_of(model: HybridModel) -> dict[str, Any]:
    """The UCUM code of everything that has one, by name: time, states, inputs, parameters, channels and covariates."""
    backbone, observation = model.backbone, model.observation
    return {
        "time": backbone.time_unit,
        "states": dict(zip(backbone.states, backbone.state_units, strict=True)),
        "inputs": dict(zip(backbone.inputs, backbone.input_units, strict=True)),
        "parameters": {p.name: p.unit for p in backbone.physical},
        "channels": dict(zip(observation.channels, observation.units, strict=True)),
        "covariates": {name: unit for name, unit in model.uses.items() if unit is not None},
    }


def save(bundle: Bundle, path: str | os.PathLike[str]) -> Path:
    """Write the bundle; the file appears whole or not at all. The same bundle gives the same bytes.

    Errors: `OSError` where the folder cannot be written; `ValueError`, before anything is written, for a claim of another kind
    than a bundle carries.
    """
    require_kind(bundle, Bundle, "save: bundle", "save(Bundle(model, people, personal, mesh), path)")
    require_path(path, "save: path", "save(bundle, 'model.twin')")
    claim: object = bundle.certificate
    if not (claim is None or isinstance(claim, Certificate | Refusal)):
        raise ValueError(
            f"a bundle carries a Certificate, a Refusal or None, and its certificate is a {type(claim).__name__}; nothing was "
            "written: save(replace(bundle, certificate=None), path), and the other claim in a file of its own, as "
            "json.dumps(claim.to_dict())"
        )
    if bundle.model.dtype != torch.float64:
        raise ValueError(
            f"a bundle carries float64, what is certified and reported, and the model is {bundle.model.dtype}; nothing was "
            "written: save(replace(bundle, model=model.to(torch.float64)), path)"
        )
    tensors = {f"model.{k}": v.detach().cpu().contiguous() for k, v in bundle.model.named_parameters()}
    known = bundle.personal
    tensors |= {f"personal.{k}": getattr(known, k).detach().cpu().contiguous() for k in _PERSONAL}
    entries = {
        "model.json": _json(
            {
                "structure": describe(bundle.model),
                "units": units_of(bundle.model),
                "mesh": asdict(bundle.mesh),
                "people": [_person(p) for p in bundle.people],
                "provenance": bundle.provenance,
                # only where there is something to say: a bundle of people who could all be simulated is as it was before
                **({"failed": {str(i): why for i, why in sorted(known.failed.items())}} if known.failed else {}),
            }
        ),
        "weights.safetensors": safetensors.torch.save(tensors),
        "calibration.json": _json(bundle.calibration),
    }
    if isinstance(bundle.certificate, Certificate):
        proof = {"certificate": bundle.certificate.to_dict(), "system": bundle.system().to_dict()}
        entries["proof.json"] = _json(proof)
    elif isinstance(bundle.certificate, Refusal):
        entries["proof.json"] = _json({"refusal": bundle.certificate.to_dict()})
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in entries.items()}
    entries["manifest.json"] = _json({"format": FORMAT, "version": VERSION, "sha256": hashes})
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in _ENTRIES:
            if name in entries:
                archive.writestr(zipfile.ZipInfo(name), entries[name], zipfile.ZIP_DEFLATED)
    partial.replace(target)
    return target


def load(path: str | os.PathLike[str], structures: Mapping[str, type[nn.Module]] = BUILTIN) -> Bundle:
    """Read a bundle; nothing in it is executed.

    `structures`: the classes that it may name; anything else is refused.
    Errors: `ValueError`, one sentence, for a file that is missing, truncated, of another format or version, whose hashes do
    not match, that has unexpected entries, or whose parts do not fit.
    Law: predictions of the loaded model equal those of the saved one to the last bit.
    """
    require_path(path, "load: path", "load('model.twin')")
    require_kind(structures, Mapping, "load: structures", "BUILTIN, or {**BUILTIN, 'Name': Class}")
    entries = _read(Path(path))
    try:
        about = _value(entries["model.json"])
        tensors = safetensors.torch.load(entries["weights.safetensors"])
        weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        model = rebuild(about["structure"], weights, structures)
        _require_same_units(about["units"], units_of(model))
        people = tuple(_person_from(p) for p in about["people"])
        personal = replace(_personal(tensors, model, len(people)), failed=_failed(about.get("failed", {}), len(people)))
        certificate: Certificate | Refusal | None = None
        if "proof.json" in entries:
            proof = _value(entries["proof.json"])
            certificate = (
                Refusal.from_dict(proof["refusal"])
                if "refusal" in proof
                else Certificate.from_dict(proof["certificate"])
            )
        bundle = Bundle(
            model=model,
            people=people,
            personal=personal,
            mesh=Mesh(**about["mesh"]),
            certificate=certificate,
            calibration=dict(_value(entries["calibration.json"])),
            provenance=dict(about["provenance"]),
        )
        _require_fit(bundle)
        return bundle
    except (*_DAMAGE, json.JSONDecodeError, safetensors.SafetensorError) as error:
        raise ValueError(
            f"{path}: an entry of the bundle is damaged or incomplete ({error!r}); save it again"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            names = [i.filename for i in infos]
            if len(set(names)) < len(names) or not set(names) <= set(_ENTRIES):
                stray = sorted({n for n in names if n not in _ENTRIES or names.count(n) > 1})
                raise ValueError(f"{path}: unexpected or repeated entries {stray}; this is not a bundle that we wrote")
            if any(i.file_size > _LARGEST for i in infos):
                raise ValueError(
                    f"{path}: an entry claims more than {_LARGEST} bytes; this is not a bundle that we wrote"
                )
            entries = {i.filename: archive.read(i) for i in infos}
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file; train one with `homeostat demo` or `homeostat fit`") from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{path}: not a whole bundle ({error}); it is truncated or another kind of file") from error
    except Exception as error:
        # damaged deflate streams raise zlib.error and others, depending on where the damage is
        if isinstance(error, ValueError):
            raise
        raise ValueError(f"{path}: not a whole bundle ({error}); it is truncated or damaged") from error
    try:
        manifest = _value(entries["manifest.json"])
        known = manifest["format"] == FORMAT
        version, hashes = manifest["version"], dict(manifest["sha256"])
    except (*_DAMAGE, ValueError) as error:
        raise ValueError(f"{path}: no readable manifest.json inside; this is not a bundle") from error
    if not known or version != VERSION:
        raise ValueError(
            f"{path}: format {manifest['format']!r} version {version!r}, and this program reads {FORMAT!r} version {VERSION}; "
            "use the version that wrote it, or save it again"
        )
    found = {n: hashlib.sha256(d).hexdigest() for n, d in entries.items() if n != "manifest.json"}
    if found != hashes:
        wrong = sorted(n for n in found.keys() | hashes.keys() if found.get(n) != hashes.get(n))
        raise ValueError(
            f"{path}: the hash of {', '.join(wrong)} does not match the manifest; the file was changed or damaged"
        )
    missing = {"model.json", "weights.safetensors", "calibration.json"} - found.keys()
    if missing:
        raise ValueError(f"{path}: the bundle lacks {', '.join(sorted(missing))}; save it again")
    return entries


def _personal(tensors: Mapping[str, Tensor], model: HybridModel, people: int) -> Personal:
    """The people's coordinates out of the stored tensors, which must be all that there is beside the model's."""
    M, N, d = model.members, people, model.personal
    wanted = {"mode": (M, N, d), "covariance": (M, N, d, d), "objective": (M, N), "converged": (M, N)}
    found = {k.removeprefix("personal."): v for k, v in tensors.items() if not k.startswith("model.")}
    if found.keys() != wanted.keys():
        raise ValueError(f"the tensors {sorted(found.keys() ^ wanted.keys())} are missing or unexpected; save it again")
    for name, shape in wanted.items():
        kind = torch.bool if name == "converged" else torch.float64
        if found[name].shape != shape or found[name].dtype != kind or not torch.isfinite(found[name]).all():
            raise ValueError(
                f"the people's {name} has shape {tuple(found[name].shape)} and type {found[name].dtype}; {shape} of finite "
                f"{kind} is needed, for {M} members and {N} people"
            )
    if d and N and bool((torch.linalg.cholesky_ex(found["covariance"]).info > 0).any()):
        raise ValueError("the covariance of a person's coordinates is not positive definite; save it again")
    return Personal(found["mode"], found["covariance"], found["objective"], found["converged"])


def _failed(value: Mapping[str, Any], people: int) -> dict[int, str]:
    """Who could not be personalised and why, out of the stored indices."""
    found = {int(i): why for i, why in value.items()}
    if not all(0 <= i < people and isinstance(why, str) for i, why in found.items()):
        raise ValueError(f"the people who failed are named by {sorted(found)}, and there are {people}; save it again")
    return found


def _require_same_units(saved: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """The units in which the people and weights were saved are those of the model as this program builds it."""
    for kind, units in saved.items():  # a bundle of before says less
        if units != found.get(kind):
            raise ValueError(
                f"the bundle was saved with the {kind} in {str(units)[:150]}, and this program builds its model with "
                f"{str(found.get(kind))[:150]}; use the version that wrote it"
            )


def _require_fit(bundle: Bundle) -> None:
    """Every part meets every other one once, at the start of the records, so that what does not fit is found here."""
    ids = [p.id for p in bundle.people]
    if len(set(ids)) < len(ids):
        raise ValueError(f"the people's ids must differ, and {sorted({i for i in ids if ids.count(i) > 1})} repeat")
    channels = len(bundle.model.observation.channels)
    for person in bundle.people:
        if len(person.baseline) != channels or person.covariates.keys() != bundle.people[0].covariates.keys():
            raise ValueError(
                f"person {person.id} has {len(person.baseline)} baseline values and the covariates "
                f"{sorted(person.covariates)}; {channels} values and the same covariates for everyone are needed"
            )
    if bundle.people:
        with torch.no_grad():
            rollout(bundle.model, bundle.conditions(), bundle.personal.mode)


def _value(data: bytes) -> Any:
    """The JSON value; NaN and infinities, which Python would read, are no JSON."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not a JSON number; save it again")

    return json.loads(data, parse_constant=refuse)


def _json(value: object) -> bytes:
    # repr-exact floats; NaN and infinities are not JSON, and a bundle has no use for them
    try:
        return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        why = str(error)[:150]
        raise ValueError(f"a bundle carries plain JSON, and {why}; give texts, finite numbers, lists and mappings") from error


def _person(person: Person) -> dict[str, Any]:
    doses = [
        {"state": d.state, **{name: as_float(getattr(d, name)) for name in ("time", "amount", "duration", "lag")}}
        for d in person.schedule.doses
    ]
    inputs = {
        name: {"times": list(s.times), "values": list(s.values), "kind": s.kind}
        for name, s in person.schedule.inputs.items()
    }
    schedule = {"start": person.schedule.start, "doses": doses, "inputs": inputs}
    return {
        "id": person.id,
        "schedule": schedule,
        "covariates": dict(person.covariates),
        "baseline": [None if math.isnan(v) else v for v in person.baseline],  # NaN is no JSON
    }


def _person_from(value: Mapping[str, Any]) -> Person:
    given = value["schedule"]
    schedule = Schedule(
        doses=tuple(Dose(**d) for d in given["doses"]),
        inputs={k: Signal(tuple(s["times"]), tuple(s["values"]), s["kind"]) for k, s in given["inputs"].items()},
        start=given["start"],
    )
    covariates = {str(k): _number(v) for k, v in value["covariates"].items()}
    if not isinstance(value["id"], str):
        raise ValueError(f"a person's id is text, got {value['id']!r}; save it again")
    baseline = tuple(math.nan if v is None else _number(v) for v in value["baseline"])
    return Person(value["id"], schedule, covariates, baseline)


def _number(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"a finite number is needed where {value!r} stands; save it again")
    return float(value)
