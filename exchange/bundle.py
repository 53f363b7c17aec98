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
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from exchange.coverage import Outside, outside, outside_units, subjects_of
from exchange.names import printable, require_names
from exchange.plain_json import memory_of, plain_json
from exchange.structures import BUILTIN, LARGEST, describe, rebuild
from exchange.whole_file import whole_file
from hybrid import Conditions, Dose, HybridModel, Mesh, Schedule, Signal, conditions_of, rollout
from hybrid.dose import as_float
from physics.arguments import (
    InputError,
    quote,
    require_covariates,
    require_kind,
    require_number,
    require_path,
    require_shape,
    require_text,
)
from stability import Certificate, Lure, Refusal
from stability.region import claimed
from training.people import Personal
from training.people.records import LONGEST_ID

FORMAT, VERSION = "homeostat.twin", 1
# Memory that reading may take: so much, and so much for each byte of the file. Weights hardly compress, and as JSON text they
# take ten times their bytes in the file; a file that asks for more than this was not written by `save`
_ROOM, _FOR_EACH_BYTE = 2**25, 16
_MANIFEST, _HEADER, _DIRECTORY = 2**14, 2**20, 2**12  # bytes: of the manifest, of the tensors' names, of the archive's
_CHUNK = 2**20
_UNITS = ("time", "states", "inputs", "channels")  # what every bundle says the units of; later ones say more
_PERSONAL = ("mode", "covariance", "objective", "converged")
_ENTRIES = ("manifest.json", "model.json", "weights.safetensors", "proof.json", "calibration.json")
# what each part holds, and nothing else: a word that this program does not know may change what all the others mean
_MODEL = ({"structure", "units", "mesh", "people", "provenance"}, {"failed", "nonnegative"})
_PERSON = ({"id", "schedule", "covariates", "baseline"}, {"until"})
_SCHEDULE = ({"start", "doses", "inputs"}, set[str]())
_SIGNAL = ({"times", "values", "kind"}, set[str]())
_CLAIMS = ({"certificate", "system"}, {"units"}), ({"refusal"}, set[str]())
# what reading values that are not what was written can raise: torch's own errors are RuntimeErrors, and so is the recursion
# limit that deeply nested JSON reaches
_DAMAGE = (KeyError, IndexError, TypeError, AttributeError, OverflowError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class Person:
    """What a bundle keeps of a fitted person: who, what was done, what is known; no measurements but the baseline (NaN: none).

    Made of a cohort's records, the schedule is on the person's own clock, which reads 0 at the first dose (or start), and
    `until` is the last time on it at which anything was measured, where that is known.
    """

    id: str
    schedule: Schedule
    covariates: Mapping[str, float]
    baseline: tuple[float, ...]
    until: float | None = None

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

    Errors: `OSError`, naming the file, where it cannot be written (a full disk): what was there before is still there;
    `ValueError`, before anything is written, for a claim of another kind than a bundle carries, and for ids and names that are
    not one line of printable text.
    """
    require_kind(bundle, Bundle, "save: bundle", "save(Bundle(model, people, personal, mesh), path)")
    require_path(path, "save: path", "save(bundle, 'model.twin')")
    claim: object = bundle.certificate
    _require_named(bundle)
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
                **({"nonnegative": list(bundle.nonnegative)} if bundle.nonnegative else {}),
            }
        ),
        "weights.safetensors": safetensors.torch.save(tensors),
        "calibration.json": _json(bundle.calibration),
    }
    if isinstance(bundle.certificate, Certificate):
        proof = {"certificate": bundle.certificate.to_dict(), "system": bundle.system().to_dict()}
        # one that is of before, and does not say its units, goes on saying nothing
        units = {kind: unit for kind, unit in (bundle.certified_in or {}).items() if kind != "digest"}
        entries["proof.json"] = _json({**proof, **({"units": units} if units else {})})
    elif isinstance(bundle.certificate, Refusal):
        entries["proof.json"] = _json({"refusal": bundle.certificate.to_dict()})
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in entries.items()}
    entries["manifest.json"] = _json({"format": FORMAT, "version": VERSION, "sha256": hashes})
    target = Path(path)
    with whole_file(target) as partial:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in _ENTRIES:
                if name in entries:
                    archive.writestr(zipfile.ZipInfo(name), entries[name], zipfile.ZIP_DEFLATED)
        # what nobody could read again must not take the place of what can be read
        room = _room(partial.stat().st_size)
        needed = sum(memory_of(data) if name.endswith(".json") else len(data) for name, data in entries.items())
        if needed > room or len(entries["manifest.json"]) > _MANIFEST:
            raise ValueError(
                f"{target}: reading this bundle would take {needed / 1e6:.0f} MB, and a file of its size may take "
                f"{room / 1e6:.0f} MB; nothing was written: keep less in calibration and provenance"
            )
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
    entries, room = _read(Path(path))
    try:
        about = _only(plain_json(entries["model.json"], room), *_MODEL, "model.json")
        tensors = _tensors(entries["weights.safetensors"])
        weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        model = rebuild(about["structure"], weights, structures)
        _require_same_units(about["units"], units_of(model))
        if not _says(describe(model), about["structure"]):
            # a constructor takes nothing, 0 or "" for what it makes itself: another program may take it for something else
            raise ValueError("its structure is not what the model that is built of it says of itself; save it again")
        people = tuple(_person_from(p) for p in _list(about["people"], "people"))
        personal = replace(_personal(tensors, model, len(people)), failed=_failed(about.get("failed", {}), len(people)))
        certificate: Certificate | Refusal | None = None
        certified_in: dict[str, Any] | None = None
        if "proof.json" in entries:
            proof = plain_json(entries["proof.json"], room)
            which = _CLAIMS["refusal" in proof]
            proof = _only(proof, *which, "proof.json")
            for name in ("slope_range", "leading", "not_covered") if "certificate" in proof else ():
                _list(_mapping(proof["certificate"], "the certificate")[name], name)
            if "refusal" in proof:
                certificate = Refusal.from_dict(proof["refusal"])
            else:
                certificate = Certificate.from_dict(proof["certificate"])
                certified_in = {**_mapping(proof.get("units", {}), "units"), "digest": certificate.digest}
            _require_readable(certificate)
            if not _says(certificate.to_dict(), proof["refusal" if "refusal" in proof else "certificate"]):
                raise ValueError("proof.json is not what the certificate or refusal that is made of it says; save it again")
        bundle = Bundle(
            model=model,
            people=people,
            personal=personal,
            mesh=Mesh(**about["mesh"]),
            certificate=certificate,
            calibration=_mapping(plain_json(entries["calibration.json"], room), "calibration.json"),
            provenance=_mapping(about["provenance"], "provenance"),
            nonnegative=_channels(about.get("nonnegative", []), model),
            certified_in=certified_in,
        )
        _require_named(bundle)
        _require_fit(bundle)
        return bundle
    except (*_DAMAGE, safetensors.SafetensorError) as error:
        raise ValueError(
            f"{path}: an entry of the bundle is damaged or incomplete ({_line(repr(error), 200)}); save it again"
        ) from error
    except InputError as error:
        raise error.about(path) from error
    except ValueError as error:
        raise ValueError(f"{path}: {_line(str(error), 800)}") from error


def _line(text: str, most: int) -> str:
    """What someone else's error says of a stranger's file, as a part of one sentence: no line's end, no page."""
    text = re.sub(r"\S{200,}", lambda found: f"{found[0][:120]}…", text[: 2 * most])
    shown = "".join(c if printable(c) else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= most else f"{shown[:most]}…"


def certified_system(path: str | os.PathLike[str]) -> Lure | None:
    """The system that stands beside the certificate in a bundle; None where there is none, or none that can be read.

    The bundle's own weights need not give it, nor need the certificate be about it: its digest says whether it is.
    """
    entries, room = _read(Path(path))
    try:
        return Lure.from_dict(plain_json(entries["proof.json"], room)["system"])
    except (*_DAMAGE, ValueError):
        return None


def _room(size: int) -> int:
    """Bytes of memory that a file of `size` bytes may take."""
    return _ROOM + _FOR_EACH_BYTE * size


def _read(path: Path) -> tuple[dict[str, bytes], int]:
    """The entries, whole and as the manifest has them, and the memory that reading them may take."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"{path}: not a whole bundle (no regular file); give the path of a bundle")
        with open(path, "rb") as file:
            room = _room(_require_archive(file, path))
            with zipfile.ZipFile(file) as archive:
                entries = _entries(archive, path, room)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file; train one with `homeostat demo` or `homeostat fit`") from error
    except ValueError:
        raise
    # damaged deflate streams raise zlib.error and others, depending on where the damage is
    except Exception as error:
        why = _line(str(error), 200)
        raise ValueError(f"{path}: not a whole bundle ({why}); it is truncated, damaged or another kind of file") from error
    try:
        manifest = _only(plain_json(entries["manifest.json"], room), {"format", "version", "sha256"}, set(), "manifest.json")
        known = manifest["format"] == FORMAT
        version, hashes = manifest["version"], _mapping(manifest["sha256"], "sha256")
    except (*_DAMAGE, ValueError) as error:
        raise ValueError(f"{path}: no readable manifest.json inside; this is not a bundle") from error
    if not known or type(version) is not int or version != VERSION:
        raise ValueError(
            f"{path}: format {quote(manifest['format'])} version {quote(version)}, and this program reads {FORMAT!r} version "
            f"{VERSION}; use the version that wrote it, or save it again"
        )
    found = {n: hashlib.sha256(d).hexdigest() for n, d in entries.items() if n != "manifest.json"}
    if found != hashes:
        wrong = sorted(n for n in found.keys() | hashes.keys() if found.get(n) != hashes.get(n))
        raise ValueError(
            f"{path}: the hash of {quote(', '.join(wrong))[1:-1]} does not match the manifest; the file was changed or damaged"
        )
    missing = {"model.json", "weights.safetensors", "calibration.json"} - found.keys()
    if missing:
        raise ValueError(f"{path}: the bundle lacks {', '.join(sorted(missing))}; save it again")
    return entries, room


def _require_archive(file: BinaryIO, path: Path) -> int:
    """The size of the file, which ends as an archive of ours does: a directory of a few entries, and nothing behind it.

    The directory is read into memory before it can be asked how many entries it has, so its size is looked at first
    (APPNOTE.TXT of the zip format, 4.3.16).
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 42))
    end = file.read(42)
    file.seek(0)
    if size < 22 or end[-22:-18] != b"PK\x05\x06":
        raise ValueError(f"{path}: not a whole bundle (it does not end as one); it is truncated or another kind of file")
    directory = int.from_bytes(end[-10:-6], "little")
    if directory > _DIRECTORY or end[:4] == b"PK\x06\x07":
        raise ValueError(
            f"{path}: its directory claims {directory} bytes, and the five entries of a bundle take less than {_DIRECTORY}; this "
            "is not a bundle that we wrote"
        )
    return size


def _entries(archive: zipfile.ZipFile, path: Path, room: int) -> dict[str, bytes]:
    infos = archive.infolist()
    names = [i.filename for i in infos]
    if len(set(names)) < len(names) or not set(names) <= set(_ENTRIES):
        stray = sorted({n for n in names if n not in _ENTRIES or names.count(n) > 1})
        raise ValueError(f"{path}: unexpected or repeated entries {quote(stray)}; this is not a bundle that we wrote")
    claimed_size = sum(i.file_size for i in infos)
    if claimed_size > room or any(i.filename == "manifest.json" and i.file_size > _MANIFEST for i in infos):
        raise ValueError(
            f"{path}: its entries claim {claimed_size:,} bytes, more than a file of this size may hold ({room:,}); this is not a "
            "bundle that we wrote"
        )
    # of other methods one step may take any amount of memory
    odd = [i.filename for i in infos if i.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or i.flag_bits & 1]
    if odd:
        raise ValueError(f"{path}: {', '.join(odd)} is packed or locked in a way that no bundle is; save it again")
    return {i.filename: _unpacked(archive, i) for i in infos}


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """One entry, never more of it in memory than it claims to hold: `ZipFile.read` would unpack first and cut afterwards."""
    parts, left = [], info.file_size
    with archive.open(info) as stream:
        while part := stream.read(min(_CHUNK, left + 1)):
            left -= len(part)
            if left < 0:
                raise ValueError("an entry holds more than it claims")
            parts.append(part)
    if left:
        raise EOFError("an entry ends early")
    return b"".join(parts)


def _tensors(data: bytes) -> dict[str, Tensor]:
    """The tensors; their names, which are read before anything else, may not take much."""
    header = int.from_bytes(data[:8], "little")
    if header > min(_HEADER, len(data)):
        raise ValueError(f"the names of its tensors claim {header:,} bytes, and {_HEADER:,} are allowed; save it again")
    names = plain_json(data[8 : 8 + header], 64 * _HEADER)
    if len(names) > _HEADER // 64:
        raise ValueError(f"it has {len(names):,} tensors; save it again")
    return safetensors.torch.load(data)


def _only(value: Any, needed: set[str], allowed: set[str], what: str) -> dict[str, Any]:
    """The mapping that has these names and no other. Errors: `ValueError` naming what lacks and what is not known."""
    found = _mapping(value, what)
    if not needed <= found.keys() or not found.keys() <= needed | allowed:
        strange = sorted(found.keys() - needed - allowed)
        raise ValueError(
            f"{what} holds {', '.join(sorted(needed))}, and lacks {sorted(needed - found.keys())} and has {quote(strange)} "
            "besides; save it again, or use the version that wrote it"
        )
    return found


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is a {type(value).__name__}, and names with values are needed; save it again")
    return value


def _says(full: Any, part: Any) -> bool:
    """Does a JSON value say all that another says? Whole numbers may have become numbers; names may have been added."""
    if isinstance(part, dict):
        return isinstance(full, dict) and all(k in full and _says(full[k], v) for k, v in part.items())
    if isinstance(part, list):
        return isinstance(full, list | tuple) and len(full) == len(part) and all(map(_says, full, part))
    return isinstance(full, bool) == isinstance(part, bool) and bool(full == part)


def _list(value: Any, what: str) -> list[Any]:
    # a tuple of a text is its letters, and of a mapping its names
    if not isinstance(value, list):
        raise ValueError(f"{what} is a {type(value).__name__}, and a list is needed; save it again")
    return value


def _require_named(bundle: Bundle) -> None:
    """Everything that a person would be called by is one line of text, and shows what it is."""
    require_names((p.id for p in bundle.people), "a person's id")
    require_names({name for p in bundle.people for name in p.covariates}, "the name of a covariate")
    require_names(filter(None, _texts(describe(bundle.model))), "a name in the model")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield name
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _require_readable(claim: Certificate | Refusal) -> None:
    """Its numbers are numbers and its words are words; whether it is true is for `check` to say."""

    def number(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    if isinstance(claim, Refusal):
        rates = (claim.best_rate, claim.rate_bound)
        fine = isinstance(claim.message, str) and all(r is None or number(r) for r in rates)
        fine = fine and isinstance(claim.counterexample, dict | None)
    else:
        n, caps = len(claim.metric), (claim.metric_cap,)
        fine = all(map(number, (claim.rate, claim.condition, claim.spectral_cap, *claim.slope_range)))
        fine = fine and len(claim.slope_range) == 2 and all(c is None or number(c) for c in caps)
        fine = fine and claim.metric.shape == (n, n) and n > 0 and claim.multipliers.ndim == 2
        fine = fine and all(type(k) is int and k >= 0 for k in claim.leading)
        fine = fine and all(isinstance(text, str) for text in (claim.digest, claim.claim, *claim.not_covered))
        fine = fine and isinstance(claim.identity_refused, bool | None)
        if isinstance(claim.region, str):
            fine = fine and claim.region == "global"
        elif fine:
            claimed(claim.region)
    if not fine:
        raise ValueError("the certificate or refusal in proof.json is not as it is written; save it again")


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
    if any(bool((found[name].abs() > LARGEST).any()) for name in ("mode", "covariance", "objective")):
        raise ValueError(f"a number of the people's coordinates is beyond {LARGEST:g}; save it again")
    if d and N and bool((torch.linalg.cholesky_ex(found["covariance"]).info > 0).any()):
        raise ValueError("the covariance of a person's coordinates is not positive definite; save it again")
    return Personal(found["mode"], found["covariance"], found["objective"], found["converged"])


def _failed(value: Mapping[str, Any], people: int) -> dict[int, str]:
    """Who could not be personalised and why, out of the stored indices."""
    found = {int(i): why for i, why in _mapping(value, "failed").items()}
    if list(map(str, found)) != list(value):  # int reads " 1" and "1_0" too
        raise ValueError(f"the people who failed are named by {quote(list(value))}; save it again")
    if not all(0 <= i < people and isinstance(why, str) for i, why in found.items()):
        raise ValueError(f"the people who failed are named by {sorted(found)}, and there are {people}; save it again")
    return found


def _channels(value: Any, model: HybridModel) -> tuple[str, ...]:
    """Names of the model's channels, out of the stored list."""
    if not isinstance(value, list) or not all(name in model.observation.channels for name in value):
        raise ValueError(
            f"nonnegative names {quote(value)}, and the channels are {quote(list(model.observation.channels))}; save it again"
        )
    return tuple(value)


def _require_same_units(saved: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """The units in which the people and weights were saved are those of the model as this program builds it."""
    saved = _mapping(saved, "units")
    missing = [kind for kind in _UNITS if kind not in saved]
    if missing:
        raise ValueError(f"the bundle does not say the units of its {', '.join(missing)}; save it again")
    for kind, units in saved.items():
        own = found.get(kind)
        if kind in found and units == own:
            continue
        if isinstance(units, Mapping) and isinstance(own, Mapping):  # of many names those that differ
            units, own = ({k: v for k, v in a.items() if b.get(k) != v} for a, b in ((units, own), (own, units)))
        raise ValueError(
            f"the bundle was saved with the {kind} in {quote(units)}, and this program builds its model with {quote(own)}: other "
            "units; use the version that wrote it, or save it again if it was changed by hand"
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
        **({} if person.until is None else {"until": person.until}),
    }


def _person_from(value: Mapping[str, Any]) -> Person:
    _only(value, *_PERSON, "a person")
    given = _only(value["schedule"], *_SCHEDULE, "a schedule")
    signals = _mapping(given["inputs"], "inputs")
    schedule = Schedule(
        doses=tuple(Dose(**d) for d in _list(given["doses"], "doses")),
        inputs={k: Signal(**_only(s, *_SIGNAL, f"the input {quote(k)}")) for k, s in signals.items()},
        start=given["start"],
    )
    covariates = {str(k): _number(v) for k, v in value["covariates"].items()}
    if not isinstance(value["id"], str) or len(value["id"]) > LONGEST_ID:
        raise ValueError(f"a person's id is one line of at most {LONGEST_ID} characters, got {quote(value['id'])}; save it again")
    baseline = tuple(math.nan if v is None else _number(v) for v in _list(value["baseline"], "baseline"))
    until = None if value.get("until") is None else _number(value["until"])
    return Person(value["id"], schedule, covariates, baseline, until)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"a finite number is needed where {quote(value)} stands; save it again")
    return float(value)
