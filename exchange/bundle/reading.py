"""`load`: a file becomes a bundle, and nothing in it is executed."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
from torch import nn

from exchange.bundle import proofs
from exchange.bundle.bundle import Bundle
from exchange.bundle.consistency import require_fit, require_named
from exchange.bundle.person import read
from exchange.bundle.structures import BUILTIN, describe, rebuild
from exchange.bundle.tensors import personal_in, unpacked, weights_in
from exchange.bundle.units import require_same_units, units_of
from exchange.files.archive import DAMAGE, read_archive
from exchange.files.entries import REFERENCE
from exchange.files.json_parts import listed, mapping, only, says
from exchange.files.names import one_line
from exchange.files.plain_json import plain_json
from hybrid import HybridModel, Mesh
from physics.arguments import InputError, quote, require_kind, require_path
from stability import Claim, Lure
from training.shift import Reference

# what model.json holds, and nothing else: a word that this program does not know may change what all the others mean
_MODEL = ({"structure", "units", "mesh", "people", "provenance"}, {"failed", "nonnegative"})


def load(path: str | os.PathLike[str], structures: Mapping[str, type[nn.Module]] = BUILTIN) -> Bundle:
    """Read a bundle; nothing in it is executed.

    `structures`: the classes that it may name; anything else is refused.
    Errors: `ValueError`, one sentence, for a file that is missing, truncated, of another format or version, whose hashes do
    not match, that has unexpected entries, or whose parts do not fit.
    Law: predictions of the loaded model equal those of the saved one to the last bit.
    """
    require_path(path, "load: path", "load('model.twin')")
    require_kind(structures, Mapping, "load: structures", "BUILTIN, or {**BUILTIN, 'Name': Class}")
    file = read_archive(Path(path))
    entries, room = file.entries, file.room
    try:
        about = only(plain_json(entries["model.json"], room), *_MODEL, "model.json")
        tensors = unpacked(entries["weights.safetensors"])
        model = rebuild(about["structure"], weights_in(tensors), structures)
        require_same_units(about["units"], units_of(model))
        if not says(describe(model), about["structure"]):
            # a constructor takes nothing, 0 or "" for what it makes itself: another program may take it for something else
            raise ValueError("its structure is not what the model that is built of it says of itself; save it again")
        people = tuple(read(p) for p in listed(about["people"], "people"))
        failed, ids = _failed(about.get("failed", {}), len(people)), tuple(p.id for p in people)
        personal = replace(personal_in(tensors, model, len(people)), failed=failed, ids=ids)
        stated = proofs.read(plain_json(entries["proof.json"], room), file.version) if "proof.json" in entries else ()
        bundle = Bundle(
            model=model,
            people=people,
            personal=personal,
            mesh=Mesh(**about["mesh"]),
            claims=tuple(one.what for one in stated),
            calibration=mapping(plain_json(entries["calibration.json"], room), "calibration.json"),
            provenance=mapping(about["provenance"], "provenance"),
            nonnegative=_channels(about.get("nonnegative", []), model),
            made_in=tuple((one.what, one.units) for one in stated if isinstance(one.what, Claim)),
            others=file.others,
            reference=Reference.from_dict(plain_json(entries[REFERENCE], room)) if REFERENCE in entries else None,
        )
        require_named(bundle)
        require_fit(bundle)
        return bundle
    except (*DAMAGE, safetensors.SafetensorError) as error:
        raise ValueError(
            f"{path}: an entry of the bundle is damaged or incomplete ({one_line(repr(error), 200)}); save it again"
        ) from error
    except InputError as error:
        raise error.about(path) from error
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(str(error), 800)}") from error


def certified_system(path: str | os.PathLike[str]) -> Lure | None:
    """The system that stands beside the certificate in a bundle; None where there is none, or none that can be read.

    The bundle's own weights need not give it, nor need the certificate be about it: its digest says whether it is.
    """
    file = read_archive(Path(path))
    try:
        return proofs.certified_in(plain_json(file.entries["proof.json"], file.room), file.version)
    except (*DAMAGE, ValueError):
        return None


def _failed(value: Mapping[str, Any], people: int) -> dict[int, str]:
    """Who could not be personalised and why, out of the stored indices."""
    found = {int(i): why for i, why in mapping(value, "failed").items()}
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
