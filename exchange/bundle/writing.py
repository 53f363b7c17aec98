"""`save`: a bundle becomes a file, whole or not at all."""

import os
from pathlib import Path

from exchange.bundle.bundle import Bundle
from exchange.bundle.cards.card import card_of
from exchange.bundle.contents import contents_of
from exchange.files.archive import content_of, write_archive
from exchange.files.entries import CARD
from physics.arguments import require_kind, require_path


def save(bundle: Bundle, path: str | os.PathLike[str]) -> Path:
    """Write the bundle, with its model card; the file appears whole or not at all. Equal content gives the same bytes.

    Errors: `OSError`, naming the file, where it cannot be written (a full disk): what was there before is still there;
    `ValueError`, before anything is written, for a claim of a kind that is not in `stability.CLAIMS`, a model that is not in
    float64, and for ids and names that are not one line of printable text.
    Law: equal bytes in any process and with any number of threads, where the compression is the same (zlib of one version);
    `content_hash` is the same everywhere.
    """
    require_kind(bundle, Bundle, "save: bundle", "save(Bundle(model, people, personal, mesh), path)")
    require_path(path, "save: path", "save(bundle, 'model.twin')")
    entries, target = contents_of(bundle), Path(path)
    write_archive(target, {**entries, CARD: card_of(bundle, content_of(entries)).encode()})
    return target
