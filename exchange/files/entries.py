"""The names of a file's entries: those that this program knows, and what others may be called."""

import re
from collections.abc import Mapping

from physics.arguments import quote, require_kind

MANIFEST, SIGNATURE, CARD = "manifest.json", "signature.json", "card.md"
REFERENCE = "reference.json"  # what the training looked like: an earlier program keeps it without knowing what it is
# in the order in which they are written; the card follows from the others, and a reader may do without it
KNOWN = (MANIFEST, "model.json", "weights.safetensors", "proof.json", "calibration.json", REFERENCE, CARD)
NEEDED = frozenset({"model.json", "weights.safetensors", "calibration.json"})
MOST = 16  # entries that this program does not know
# what some systems open instead of a file, whatever ending is behind it
_DEVICE = r"(?!(con|prn|aux|nul|com[0-9]|lpt[0-9])\.)"
_NAME = re.compile(_DEVICE + r"[a-z0-9][a-z0-9_-]{0,39}(\.[a-z0-9_-]{1,15}){1,3}")


def legal(name: str) -> bool:
    """May an entry be called so: small letters, digits, - and _, and an ending; no folder, no name of a device?"""
    return _NAME.fullmatch(name) is not None


def require_others(others: object) -> None:
    """Raise `ValueError` unless these are entries beside ours: at most 16, bytes, under names that an entry may have."""
    require_kind(others, Mapping, "Bundle: others", '{"alarms.json": b"…"}')
    assert isinstance(others, Mapping)  # for the type checker: said above
    if len(others) > MOST:
        raise ValueError(
            f"Bundle: others holds {len(others)} entries, and a file at most {MOST} beside ours; keep fewer"
        )
    for name, data in others.items():
        if not isinstance(name, str) or not legal(name) or name in (*KNOWN, SIGNATURE):
            raise ValueError(
                f"Bundle: others has an entry {quote(name)}; a name of small letters, digits, - and _ with an ending, which is "
                'none of ours and of no device, is needed, as "alarms.json"'
            )
        if not isinstance(data, bytes):
            raise ValueError(
                f"Bundle: the entry {quote(name)} of others is bytes, and is {quote(data)}; write text.encode()"
            )
