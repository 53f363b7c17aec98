"""A zip file from a stranger: its end looked at before its directory is read, and no entry longer in memory than it claims.

Source: PKWARE, APPNOTE.TXT, 4.3.16.
"""

import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exchange.files.names import one_line

_CHUNK = 2**20


@contextmanager
def opened_zip(
    path: Path,
    kind: str,  # what it should be: "bundle"
    *,
    from_where: str,  # how somebody comes by one, for who has none
    directory: int,  # bytes that its directory may take
) -> Iterator[tuple[zipfile.ZipFile, int]]:
    """The archive, and the size of its file.

    Errors: `ValueError`, one sentence that names the file, for what is none or is damaged, and for whatever is raised within.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"{path}: not a whole {kind} (no regular file); give the path of one")
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 42))
            end = file.read(42)
            file.seek(0)
            if size < 22 or end[-22:-18] != b"PK\x05\x06":
                raise ValueError(
                    f"{path}: not a whole {kind} (it does not end as one); it is truncated or another kind of file"
                )
            # it is read into memory before it can be asked how many entries it has
            claimed = int.from_bytes(end[-10:-6], "little")
            if claimed > directory or end[:4] == b"PK\x06\x07":
                raise ValueError(
                    f"{path}: its directory claims {claimed:,} bytes, and {directory:,} are read of a {kind}; we did not write it"
                )
            with zipfile.ZipFile(file) as archive:
                yield archive, size
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file; {from_where}") from error
    # damaged deflate streams raise zlib.error and others, depending on where the damage is; names that are no UTF-8 a ValueError
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(f"{path}: "):
            raise  # our own sentence
        why = one_line(str(error), 200)
        raise ValueError(
            f"{path}: not a whole {kind} ({why}); it is truncated, damaged or another kind of file"
        ) from error


def unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """One entry, never more of it in memory than it claims to hold: `ZipFile.read` would unpack first and cut afterwards."""
    parts, left = list[bytes](), info.file_size
    with archive.open(info) as stream:
        while part := stream.read(min(_CHUNK, left + 1)):
            left -= len(part)
            if left < 0:
                raise ValueError("an entry holds more than it claims")
            parts.append(part)
    if left:
        raise EOFError("an entry ends early")
    return b"".join(parts)
