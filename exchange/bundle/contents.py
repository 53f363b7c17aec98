"""What a bundle's file holds, entry by entry, as the same bytes for equal content; and the hash that names this content."""

from dataclasses import asdict

from exchange.bundle import proofs
from exchange.bundle.bundle import Bundle
from exchange.bundle.consistency import require_named
from exchange.bundle.joined import require_float64
from exchange.bundle.person import written
from exchange.bundle.proofs import Stated, require_known
from exchange.bundle.structures import describe
from exchange.bundle.tensors import packed
from exchange.bundle.units import units_of
from exchange.files.archive import content_of
from exchange.files.entries import REFERENCE
from exchange.files.plain_json import as_json, in_order
from physics.arguments import require_kind
from stability import Claim


def contents_of(bundle: Bundle) -> dict[str, bytes]:
    """The entries by name: model, weights, calibration, claims where there are any, and what this program does not know.

    Law: equal content gives equal bytes, whatever the order of mappings whose order says nothing, in any process and with any
    number of threads. In the structure order is content: columns are counted by it.
    Errors: `ValueError` for what nobody could read again, as `save`.
    """
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
                "provenance": in_order(bundle.provenance),
                # only where there is something to say: a bundle of people who could all be simulated is as it was before
                **({"failed": {str(i): why for i, why in sorted(known.failed.items())}} if known.failed else {}),
                **({"nonnegative": list(bundle.nonnegative)} if bundle.nonnegative else {}),
            }
        ),
        "weights.safetensors": packed(bundle.model, known),
        "calibration.json": as_json(in_order(bundle.calibration)),
    }
    if bundle.reference is not None:
        entries[REFERENCE] = as_json(in_order(bundle.reference.to_dict()))
    if bundle.claims:
        stated = [Stated(c, bundle.units_made_in(c) if isinstance(c, Claim) else {}) for c in bundle.claims]
        # what claims are about is made of the weights, as it is where they are read
        system = bundle.system() if bundle.made_in else None
        entries["proof.json"] = as_json(in_order(proofs.written(stated, system)))
    return {**entries, **bundle.others}


def content_hash(bundle: Bundle) -> str:
    """SHA-256, 64 hexadecimal digits, of everything that the bundle says: model, weights, people, claims, calibration, others.

    It is of the lines `NAME SHA-256`, sorted and each ended by a line feed, of the entries that `contents_of` gives. The model
    card, which follows from these, the manifest and a signature are not in it, nor is how the archive was compressed.
    Law: equal content, equal hash; a bundle loaded has the hash of the one that was saved.
    Errors: `ValueError` for what cannot be saved.
    """
    require_kind(bundle, Bundle, "content_hash: bundle", "content_hash(load('model.twin'))")
    return content_of(contents_of(bundle))
