"""The file: a zip archive of a few entries and their hashes, read within what a file of its size may take.

Its manifest names every other entry with its hash, and says which of them are *optional*: a reader that does not know one of
these keeps it and goes on. One that it does not know and that is not optional may change what all the others mean: then the file
is refused.
"""

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exchange.files.entries import CARD, KNOWN, MANIFEST, MOST, NEEDED, REFERENCE, SIGNATURE, legal
from exchange.files.json_parts import mapping, only
from exchange.files.plain_json import as_json, memory_of, plain_json
from exchange.files.schema import require_schema
from exchange.files.whole_file import whole_file
from exchange.files.zipped import opened_zip, unpacked
from physics.arguments import quote

FORMAT, VERSION = "homeostat.twin", 3
_READ = (1, 2, 3)  # versions that are read: 1 carried one claim, 2 many, 3 what a later program adds, and its own card
# what reading values that are not what was written can raise: torch's own errors are RuntimeErrors, and so is the recursion
# limit that deeply nested JSON reaches
DAMAGE = (KeyError, IndexError, TypeError, AttributeError, OverflowError, RuntimeError, MemoryError)
_BEFORE = frozenset(KNOWN) - {CARD, REFERENCE}  # what a file of format 1 or 2 holds
# Memory that reading may take: so much, and so much for each byte of the file. Weights hardly compress, and as JSON text they
# take ten times their bytes in the file; a file that asks for more than this was not written by `save`
_ROOM, _FOR_EACH_BYTE = 2**25, 16
_MANIFEST, _DIRECTORY = 2**14, 2**12  # bytes: of the manifest, of the archive's directory


def content_of(entries: Mapping[str, bytes]) -> str:
    """The hash of what entries say: SHA-256 of the lines `NAME SHA-256`, sorted, each ended by a line feed.

    The lines are of all of them but the manifest, the card, which follows from the others, and a signature.
    """
    hashes = {
        n: hashlib.sha256(data).hexdigest() for n, data in entries.items() if n not in (MANIFEST, CARD, SIGNATURE)
    }
    return hashlib.sha256("".join(f"{name} {one}\n" for name, one in sorted(hashes.items())).encode()).hexdigest()


def room_of(size: int) -> int:
    """Bytes of memory that a file of `size` bytes may take."""
    return _ROOM + _FOR_EACH_BYTE * size


def write_archive(target: Path, entries: Mapping[str, bytes]) -> None:
    """The entries and their manifest as a file, which appears whole or not at all; the same entries give the same bytes.

    Those that this program does not know, the card, and what the training looked like are marked as optional.
    Errors: `ValueError`, before anything that was there is replaced, for what nobody could read again.
    """
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(entries.items())}
    optional = [name for name in hashes if name not in KNOWN or name in (CARD, REFERENCE)]
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "content": content_of(entries),
        "sha256": hashes,
        "optional": optional,
    }
    write_entries(target, {**entries, MANIFEST: as_json(manifest)})


def write_entries(target: Path, entries: Mapping[str, bytes]) -> None:
    """The entries as they are, the manifest among them: ours first, then the others by name.

    Errors: as `write_archive`.
    """
    names = [*(name for name in KNOWN if name in entries), *sorted(entries.keys() - set(KNOWN))]
    with whole_file(target) as partial:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.writestr(zipfile.ZipInfo(name), entries[name], zipfile.ZIP_DEFLATED)
        # what nobody could read again must not take the place of what can be read
        room = room_of(partial.stat().st_size)
        needed = sum(memory_of(data) if name.endswith(".json") else len(data) for name, data in entries.items())
        if needed > room or len(entries[MANIFEST]) > _MANIFEST:
            raise ValueError(
                f"{target}: reading this bundle would take {needed / 1e6:.0f} MB, and a file of its size may take "
                f"{room / 1e6:.0f} MB; nothing was written: keep less in calibration and provenance"
            )


@dataclass(frozen=True)
class Archive:
    """What a file holds: the `entries`, whole and as its manifest has them, in which `version` of the format, and how much memory
    reading them may take, `room`.
    """

    entries: Mapping[str, bytes]
    version: int
    room: int

    @property
    def others(self) -> dict[str, bytes]:
        """The optional entries that this program does not know."""
        return {name: data for name, data in self.entries.items() if name not in (*KNOWN, SIGNATURE)}

    @property
    def content(self) -> str:
        """The hash of what the entries say, in whichever format."""
        return content_of(self.entries)


def read_archive(path: Path) -> Archive:
    """What is in the file.

    Errors: `ValueError`, one sentence that names the file.
    """
    where = "train one with `homeostat demo` or `homeostat fit`"
    with opened_zip(path, "bundle", from_where=where, directory=_DIRECTORY) as (archive, size):
        room = room_of(size)
        entries = _entries(archive, path, room)
    version, hashes, optional, content = _manifest(entries, room, path)
    found = {n: hashlib.sha256(d).hexdigest() for n, d in entries.items() if n not in (MANIFEST, SIGNATURE)}
    if found != hashes:
        wrong = sorted(n for n in found.keys() | hashes.keys() if found.get(n) != hashes.get(n))
        raise ValueError(
            f"{path}: the hash of {quote(', '.join(wrong))[1:-1]} does not match the manifest; the file was changed or damaged"
        )
    missing = NEEDED - found.keys()
    if missing:
        raise ValueError(f"{path}: the bundle lacks {', '.join(sorted(missing))}; save it again")
    unknown = sorted(name for name in entries if name not in (*KNOWN, SIGNATURE) and name not in optional)
    if unknown:
        raise ValueError(
            f"{path}: it holds {quote(', '.join(unknown))[1:-1]}, which this program does not know and its manifest does not "
            "call optional: it may change what the rest means; use the version that wrote it"
        )
    if version > 2 and content != content_of(entries):
        raise ValueError(f"{path}: the content's hash does not match its entries; the file was changed or damaged")
    return Archive(entries, version, room)


def _manifest(entries: Mapping[str, bytes], room: int, path: Path) -> tuple[int, dict[str, Any], list[str], str | None]:
    """The version, the hash of every entry, which of them are optional, and the hash of the content, as the manifest has them."""
    try:
        manifest = mapping(plain_json(entries[MANIFEST], room), MANIFEST)
        known, version = manifest["format"] == FORMAT, manifest["version"]
    except (*DAMAGE, ValueError) as error:
        raise ValueError(f"{path}: no readable manifest.json inside; this is not a bundle") from error
    if not known or type(version) is not int or version not in _READ:
        some = f"{', '.join(map(str, _READ[:-1]))} and {_READ[-1]}"
        raise ValueError(
            f"{path}: format {quote(manifest['format'])} version {quote(version)}, and this program reads {FORMAT!r} "
            f"versions {some}; use the version that wrote it, or save it again"
        )
    if version > 2:
        try:
            require_schema(manifest, MANIFEST)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        strange = sorted(set(manifest["optional"]) - manifest["sha256"].keys())
        if strange:
            raise ValueError(
                f"{path}: manifest.json calls {quote(strange)} optional and has no hash of it; save it again"
            )
        return version, manifest["sha256"], manifest["optional"], manifest["content"]
    try:
        hashes = mapping(only(manifest, {"format", "version", "sha256"}, set(), MANIFEST)["sha256"], "sha256")
    except ValueError as error:
        raise ValueError(f"{path}: no readable manifest.json inside; this is not a bundle") from error
    stray = sorted(entries.keys() - _BEFORE)
    if stray:
        raise ValueError(f"{path}: unexpected or repeated entries {quote(stray)}; this is not a bundle that we wrote")
    return version, hashes, [], None


def _entries(archive: zipfile.ZipFile, path: Path, room: int) -> dict[str, bytes]:
    infos = archive.infolist()
    names = [i.filename for i in infos]
    if len(set(names)) < len(names) or not all(map(legal, names)):
        stray = sorted({n for n in names if not legal(n) or names.count(n) > 1})
        raise ValueError(f"{path}: unexpected or repeated entries {quote(stray)}; this is not a bundle that we wrote")
    if len(names) > len(KNOWN) + 1 + MOST:  # a signature beside them
        raise ValueError(
            f"{path}: it has {len(names)} entries, and a bundle at most {len(KNOWN) + 1} and {MOST} that are optional; this is "
            "not a bundle that we wrote"
        )
    claimed_size = sum(i.file_size for i in infos)
    if claimed_size > room or any(i.filename in (MANIFEST, SIGNATURE) and i.file_size > _MANIFEST for i in infos):
        raise ValueError(
            f"{path}: its entries claim {claimed_size:,} bytes, more than a file of this size may hold ({room:,}); this is not a "
            "bundle that we wrote"
        )
    # of other methods one step may take any amount of memory
    odd = [
        i.filename
        for i in infos
        if i.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or i.flag_bits & 1
    ]
    if odd:
        raise ValueError(f"{path}: {', '.join(odd)} is packed or locked in a way that no bundle is; save it again")
    return {i.filename: unpacked(archive, i) for i in infos}
