"""`save`: a bundle becomes a file, whole or not at all."""

import os
from dataclasses import asdict
from pathlib import Path

from exchange.bundle import proofs
from exchange.bundle.bundle import Bundle
from exchange.bundle.consistency import require_named
from exchange.bundle.joined import require_float64
from exchange.bundle.person import written
from exchange.bundle.proofs import Stated, require_known
from exchange.bundle.structures import describe
from exchange.bundle.tensors import packed
from exchange.bundle.units import units_of
from exchange.files.archive import write_archive
from exchange.files.plain_json import as_json
from physics.arguments import require_kind, require_path
from stability import Claim


def save(bundle: Bundle, path: str | os.PathLike[str]) -> Path:
    """Write the bundle; the file appears whole or not at all. The same bundle gives the same bytes.

    Errors: `OSError`, naming the file, where it cannot be written (a full disk): what was there before is still there;
    `ValueError`, before anything is written, for a claim of a kind that is not in `stability.CLAIMS`, a model that is not in
    float64, and for ids and names that are not one line of printable text.
    """
    require_kind(bundle, Bundle, "save: bundle", "save(Bundle(model, people, personal, mesh), path)")
    require_path(path, "save: path", "save(bundle, 'model.twin')")
    require_named(bundle)
    require_known(bundle.claims, "nothing was written")
    require_float64(bundle.model, "nothing was written")
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
    if bundle.claims:
        stated = [Stated(c, bundle.units_made_in(c) if isinstance(c, Claim) else {}) for c in bundle.claims]
        # what claims are about is made of the weights, as it is where they are read
        system = bundle.system() if bundle.made_in else None
        entries["proof.json"] = as_json(proofs.written(stated, system))
    target = Path(path)
    write_archive(target, entries)
    return target
