"""`save`: a bundle becomes a file, whole or not at all."""

import os
from dataclasses import asdict
from pathlib import Path

import torch

from exchange.archive import write_archive
from exchange.bundle import Bundle
from exchange.consistency import require_named
from exchange.person import written
from exchange.plain_json import as_json
from exchange.proofs import proof_of
from exchange.structures import describe
from exchange.tensors import packed
from exchange.units import units_of
from physics.arguments import require_kind, require_path
from stability import Certificate, Refusal


def save(bundle: Bundle, path: str | os.PathLike[str]) -> Path:
    """Write the bundle; the file appears whole or not at all. The same bundle gives the same bytes.

    Errors: `OSError`, naming the file, where it cannot be written (a full disk): what was there before is still there;
    `ValueError`, before anything is written, for a claim of another kind than a bundle carries, and for ids and names that are
    not one line of printable text.
    """
    require_kind(bundle, Bundle, "save: bundle", "save(Bundle(model, people, personal, mesh), path)")
    require_path(path, "save: path", "save(bundle, 'model.twin')")
    claim: object = bundle.certificate
    require_named(bundle)
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
    known = bundle.personal
    entries = {
        "model.json": as_json(
            {
                "structure": describe(bundle.model),
                "units": units_of(bundle.model),
                "mesh": asdict(bundle.mesh),
                "people": [written(p) for p in bundle.people],
                "provenance": bundle.provenance,
                # only where there is something to say: a bundle of people who could all be simulated is as it was before
                **({"failed": {str(i): why for i, why in sorted(known.failed.items())}} if known.failed else {}),
                **({"nonnegative": list(bundle.nonnegative)} if bundle.nonnegative else {}),
            }
        ),
        "weights.safetensors": packed(bundle.model, known),
        "calibration.json": as_json(bundle.calibration),
    }
    proof = proof_of(bundle)
    if proof is not None:
        entries["proof.json"] = as_json(proof)
    target = Path(path)
    write_archive(target, entries)
    return target
