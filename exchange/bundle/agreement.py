"""What stands in a bundle's file and has to follow from the rest of it: the model card, and the systems beside the claims.

Whoever reads the file without this program reads these, and not what they follow from.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from exchange.bundle.bundle import Bundle
from exchange.bundle.cards.card import card_of
from exchange.bundle.systems import Subjects, plain
from exchange.files.archive import DAMAGE, read_archive
from exchange.files.entries import CARD
from exchange.files.json_parts import says
from exchange.files.plain_json import plain_json
from physics.arguments import require_kind, require_path
from stability import Lure
from stability.proof.lipschitz import digest


def card_follows(bundle: Bundle, path: str | os.PathLike[str]) -> bool | None:
    """Is the card in the file the one that its content gives, byte for byte? None where there is no card.

    Another one was written by hand, or by another version of this program, whose words may be others.
    """
    require_kind(bundle, Bundle, "card_follows: bundle", "load('model.twin')")
    require_path(path, "card_follows: path", "card_follows(load('model.twin'), 'model.twin')")
    file = read_archive(Path(path))
    if CARD not in file.entries:
        return None
    return file.entries[CARD] == card_of(bundle, file.content).encode()


def strange_systems(bundle: Bundle, path: str | os.PathLike[str]) -> int:
    """How many of the systems in the file's proof.json the bundle's own weights do not give, by their digests."""
    require_kind(bundle, Bundle, "strange_systems: bundle", "load('model.twin')")
    require_path(path, "strange_systems: path", "strange_systems(load('model.twin'), 'model.twin')")
    file = read_archive(Path(path))
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
