"""What stands in a bundle's file and has to follow from the rest of it: the model card, and the systems beside the claims.

Whoever reads the file without this program reads these, and not what they follow from.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from exchange.bundle.bundle import Bundle
from exchange.bundle.systems import Subjects, plain
from exchange.files.archive import DAMAGE, Archive
from exchange.files.entries import CARD
from exchange.files.json_parts import says
from exchange.files.plain_json import plain_json
from stability import Lure
from stability.proof.lipschitz import digest


def card_follows(card: str, file: Archive) -> bool | None:
    """Is the card in the file the one that its content gives, `card`, byte for byte? None where there is no card.

    Another one was written by hand, or by another version of this program, whose words may be others.
    """
    return file.entries[CARD] == card.encode() if CARD in file.entries else None


def strange_systems(bundle: Bundle, file: Archive) -> int:
    """How many of the systems in the file's proof.json the bundle's own weights do not give, by their digests."""
    proof = plain_json(file.entries["proof.json"], file.room) if "proof.json" in file.entries else {}
    assert isinstance(proof, Mapping)  # it was read as one, when the bundle was
    systems = proof.get("systems", [proof["system"]] if "system" in proof else [])
    if not systems:
        return 0
    subjects = Subjects(bundle.system())
    return sum(not _is_own(one, subjects) for one in systems)


def _is_own(system: Mapping[str, Any], subjects: Subjects) -> bool:
    try:
        if "A" in system:
            return Lure.from_dict(system).digest() == subjects.digest
        weights, biases = (
            [np.asarray(one, dtype=np.float64) for one in system[name]] for name in ("weights", "biases")
        )
        skip = None if system.get("skip") is None else np.asarray(system["skip"], dtype=np.float64)
        own = subjects.layers.get(digest(weights, str(system["activation"]), biases, skip))
        return own is not None and says(plain(own), system)
    except (*DAMAGE, ValueError):
        return False
