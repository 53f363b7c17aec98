"""The folder that a command writes into: known to take files before anything is computed for it."""

import contextlib
import tempfile
from pathlib import Path

from physics.arguments import InputError


def require_folder(folder: Path, at_shell: str = "name another folder with --out") -> None:
    """See that a file can be written in the folder, or that it can be made; nothing of it is left where it was not there.

    `at_shell`: what helps there. Errors: `ValueError`, one sentence, for a file of that name or on the way to it, and for a place
    that cannot be written.
    """
    cure = "give another folder"
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            way = "" if place == folder else f", so that {folder} cannot be made in it"
            raise InputError(
                f"{place} is a file, where a folder is needed{way}", f"{cure}, or move the file", f"{at_shell}, or move the file"
            )
    try:
        # made and taken away: a name too long, or a place without room, is known only by trying
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        finally:
            for place in made:
                with contextlib.suppress(OSError):  # somebody may have put a file into it meanwhile
                    place.rmdir()
    except OSError as error:
        raise InputError(f"nothing can be written in {folder} ({error.strerror})", cure, at_shell) from error


def require_other(target: Path, source: Path, cure: str) -> None:
    """Raise `ValueError` where a target is the file that is read, by whatever name: written over, it would be lost."""
    try:
        same = target.samefile(source)
    except OSError:  # one of them is not there
        return
    if same:
        called = "" if target == source else f", which is {source},"
        raise ValueError(f"{target}{called} is what is read, and would be lost; {cure}")
