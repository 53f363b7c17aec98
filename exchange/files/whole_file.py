"""A file that is written whole or not at all: what was there before stays until what is new is complete."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A name beside `path` to write to, which becomes `path` when the block ends well; after any error nothing of it is left.

    Makes the folder. Errors: `OSError` with the path that was meant, also where the system does not say it (a full disk).
    """
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(partial)):
            raise type(error)(error.errno, error.strerror, str(target)) from error
        raise
