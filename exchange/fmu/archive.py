"""The zip file of an FMU: written with the same bytes for the same content, opened without trusting a byte of it."""

import os
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from exchange.files.plain_xml import require_plain_xml
from exchange.files.whole_file import whole_file
from exchange.files.zipped import opened_zip, unpacked
from physics.arguments import quote

_MOST_ENTRIES, _MOST_BYTES = 2_000, 2**28  # of an FMU that is opened: files, and bytes that they unpack to
_RATIO = 200  # bytes that a byte of the file may unpack to: text packs thirtyfold, zeros a thousandfold
_DIRECTORY = 2**20


def write_fmu(target: Path, entries: Mapping[str, bytes]) -> None:
    """The entries as a zip file that appears whole or not at all, in the order of their names, dated 1980."""
    with whole_file(target) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(entries, key=lambda one: (one != "modelDescription.xml", one)):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (0o755 if name.startswith("binaries/") else 0o644) << 16
            archive.writestr(info, entries[name], zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Opened:
    """The files of an FMU by their names, each whole."""

    path: Path
    entries: Mapping[str, bytes]

    def write_to(self, folder: Path) -> None:
        """Put the files under a folder that exists; their names were looked at when the file was opened."""
        for name, data in self.entries.items():
            target = folder.joinpath(*PurePosixPath(name).parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb") as file:
                file.write(data)


def open_fmu(path: str | os.PathLike[str]) -> Opened:
    """What is in an FMU, in memory: sizes are bounded before anything is unpacked, names stay inside, links are none.

    Errors: `ValueError`, one sentence that names the file.
    """
    source, where = Path(path), "write one with `homeostat export BUNDLE --to fmu`"
    with opened_zip(source, "FMU", from_where=where, directory=_DIRECTORY) as (archive, size):
        return Opened(source, _entries(archive, source, size))


def _entries(archive: zipfile.ZipFile, path: Path, size: int) -> dict[str, bytes]:
    infos = [info for info in archive.infolist() if not (info.is_dir() and info.file_size == 0)]
    if len(infos) > _MOST_ENTRIES:
        raise ValueError(
            f"{path}: {len(infos):,} files inside, and {_MOST_ENTRIES:,} are opened; this is no model of ours"
        )
    seen = set[str]()
    for info in infos:
        _require_inside(info, path)
        folded = info.filename.casefold()
        if folded in seen:
            raise ValueError(f"{path}: {quote(info.filename)} stands in it twice; one of the two is not what it seems")
        seen.add(folded)
    claimed = sum(info.file_size for info in infos)
    most = min(_MOST_BYTES, 2**20 + _RATIO * size)
    if claimed > most:
        raise ValueError(
            f"{path}: its files claim {claimed:,} bytes, and {most:,} are unpacked of a file of its size; not opened"
        )
    entries = {info.filename: unpacked(archive, info) for info in infos}
    for name, data in entries.items():
        if name.casefold().endswith(".xml"):  # before any parser of an importer sees it
            try:
                require_plain_xml(data)
            except ValueError as error:
                raise ValueError(f"{path}: {quote(name)} inside is not read: {error}; not opened") from error
    return entries


def _require_inside(info: zipfile.ZipInfo, path: Path) -> None:
    name, mode = info.filename, info.external_attr >> 16
    parts = PurePosixPath(name).parts
    # "x" stands for the folder: what is not below it by its own text leads out, on some system
    odd = (
        not parts
        or name.startswith("/")
        or ".." in parts
        or "\\" in info.orig_filename
        or ":" in name
        or len(name) > 300
    )
    if odd or "\0" in info.orig_filename or not name.isprintable() or info.is_dir():
        raise ValueError(f"{path}: a file inside is called {quote(name)}, which may lead out of its folder; not opened")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise ValueError(f"{path}: {quote(name)} inside is a link or no regular file; not opened")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
        raise ValueError(f"{path}: {quote(name)} is packed or locked in a way that FMI has no place for; not opened")
