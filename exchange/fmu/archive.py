"""The zip file of an FMU: written with the same bytes for the same content, opened without trusting a byte of it."""

import os
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from exchange.files.names import one_line
from exchange.files.plain_xml import require_plain_xml
from exchange.files.whole_file import whole_file
from physics.arguments import quote

_MOST_ENTRIES, _MOST_BYTES = 2_000, 2**28  # of an FMU that is opened: files, and bytes that they unpack to
_RATIO = 200  # bytes that a byte of the file may unpack to: text packs thirtyfold, zeros a thousandfold
_DIRECTORY = 2**20
_CHUNK = 2**20


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
    source = Path(path)
    try:
        if not stat.S_ISREG(source.stat().st_mode):
            raise ValueError(f"{source}: not an FMU (no regular file); give the path of an .fmu file")
        with open(source, "rb") as file:
            size = _require_end(file.seek(0, os.SEEK_END), file, source)
            with zipfile.ZipFile(file) as archive:
                return Opened(source, _entries(archive, source, size))
    except FileNotFoundError as error:
        raise ValueError(f"{source}: no such file; write one with `homeostat export BUNDLE --to fmu`") from error
    # damaged deflate streams raise zlib.error and others, depending on where the damage is
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(f"{source}: "):
            raise  # our own sentence
        why = one_line(str(error), 200)
        raise ValueError(
            f"{source}: not a whole FMU ({why}); it is truncated, damaged or another kind of file"
        ) from error


def _require_end(size: int, file: object, path: Path) -> int:
    """The size of a file that ends as a zip archive does, with a directory that may be read into memory (APPNOTE.TXT 4.3.16)."""
    file.seek(max(0, size - 42))  # type: ignore[attr-defined]
    end: bytes = file.read(42)  # type: ignore[attr-defined]
    file.seek(0)  # type: ignore[attr-defined]
    if size < 22 or end[-22:-18] != b"PK\x05\x06":
        raise ValueError(
            f"{path}: not a whole FMU (it does not end as a zip file); it is truncated or another kind of file"
        )
    directory = int.from_bytes(end[-10:-6], "little")
    if directory > _DIRECTORY or end[:4] == b"PK\x06\x07":
        raise ValueError(
            f"{path}: its directory claims {directory:,} bytes, and {_DIRECTORY:,} are read; this is no model of ours"
        )
    return size


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
    entries = {info.filename: _unpacked(archive, info) for info in infos}
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


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """One file, never more of it in memory than it claims to hold."""
    pieces, left = list[bytes](), info.file_size
    with archive.open(info) as stream:
        while piece := stream.read(min(_CHUNK, left + 1)):
            left -= len(piece)
            if left < 0:
                raise ValueError("a file holds more than it claims")
            pieces.append(piece)
    if left:
        raise EOFError("a file ends early")
    return b"".join(pieces)
