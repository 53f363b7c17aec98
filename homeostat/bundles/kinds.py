"""What kind of file somebody has: by how its name ends, and where that says nothing by what is in it."""

import os
from pathlib import Path
from typing import BinaryIO, Literal

from exchange import EXPORTS

Kind = Literal["bundle", "fmu", "onnx"]
_END, _DIRECTORY = 2**16 + 22, 2**22  # bytes that the end of a zip archive may take, and that its directory may
_OF_A_FMU = b"modelDescription.xml"


def kind_of(path: Path) -> Kind:
    """Is it an FMU, an ONNX graph, or else a bundle, whose reader says what is wrong with whatever it is?

    Nothing of it is unpacked, and no more than the directory of an archive is read.
    Errors: `ValueError` for what we write and nobody can check.
    """
    if not path.is_file():
        return "bundle"  # whose reader says that it is not there
    if path.suffix in (".fmu", ".onnx"):
        return "fmu" if path.suffix == ".fmu" else "onnx"
    named = {kind.suffix: kind.name for kind in EXPORTS}
    if path.suffix in named:
        raise ValueError(
            f"{path}: what `--to {named[path.suffix]}` writes cannot be checked by itself; check the bundle that it was made "
            "from, or an FMU or ONNX graph of the same"
        )
    with open(path, "rb") as file:
        return "fmu" if file.read(4) == b"PK\x03\x04" and _OF_A_FMU in _directory(file) else "bundle"


def _directory(file: BinaryIO) -> bytes:
    """The names in a zip archive, and what stands between them; nothing where it has no directory, or one of absurd size."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END))
    end = file.read(_END)
    at = end.rfind(b"PK\x05\x06")
    record = end[at : at + 22] if at >= 0 else b""
    if len(record) < 22:
        return b""
    length, begins = (int.from_bytes(record[a : a + 4], "little") for a in (12, 16))
    file.seek(min(begins, size))
    return file.read(min(length, _DIRECTORY))
