"""Several files that are written all or none: what was there before stays until all that is new is complete.

All are written beside their places first. While they are put there, one renaming after the other, a signal that would end the
program (SIGINT, SIGTERM, SIGHUP) waits until all of them are there; if a renaming fails, what was there before is put back. A
process that is killed in between in another way leaves what was there under its name with `.previous` behind it.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

_WAITING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def whole_files(
    targets: Mapping[str, Path], write: Callable[[str, Path], None], *, instead_of: Sequence[Path] = ()
) -> None:
    """`write(name, partial)` for each, and then all of them in their places; after an error everything is as before.

    Ctrl-C while they are written leaves everything as before; while they are put in their places it comes when all are there.

    `instead_of`: files that go when the others come, where they are there. Makes the folders.
    Errors: `OSError` with the path that was meant, also where the system does not say it (a full disk).
    """
    partials = {name: path.with_name(path.name + ".partial") for name, path in targets.items()}
    where = None
    try:
        for name, where in targets.items():
            where.parent.mkdir(parents=True, exist_ok=True)
            write(name, partials[name])
        where = None
        _placed([(partials[name], path) for name, path in targets.items()], instead_of)
    except BaseException as error:
        for partial in partials.values():
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        meant = {str(partials[name]): path for name, path in targets.items()}
        if isinstance(error, OSError) and error.errno is not None:
            where = meant.get(str(error.filename), where if error.filename is None else None)
            if where is not None:
                raise type(error)(error.errno, error.strerror, str(where)) from error
        raise


def _placed(moves: Sequence[tuple[Path, Path]], instead_of: Sequence[Path]) -> None:
    kept, come = list[tuple[Path, Path]](), list[Path]()
    with _waiting():
        try:
            for path in (*(target for _, target in moves), *instead_of):
                if path.exists() or path.is_symlink():
                    aside = path.with_name(path.name + ".previous")
                    path.replace(aside)
                    kept.append((aside, path))
            for partial, target in moves:
                partial.replace(target)
                come.append(target)
        except BaseException:
            _put_back(kept, come)
            raise
        for aside, _ in kept:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)


def _put_back(kept: Sequence[tuple[Path, Path]], come: Sequence[Path]) -> None:
    for path in come:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    for aside, path in kept:
        aside.replace(path)


@contextlib.contextmanager
def _waiting() -> Iterator[None]:
    """Signals are noted, and sent on at the end; they reach Python in its main thread alone."""
    noted, before = list[int](), dict[int, Any]()

    def note(number: int, _: FrameType | None) -> None:
        noted.append(number)

    try:
        for number in _WAITING if threading.current_thread() is threading.main_thread() else ():
            held = signal.getsignal(number)
            if held is not None and held != signal.SIG_IGN:  # None: not set by Python, and could not be set again
                before[number] = held
                signal.signal(number, note)
        yield
    finally:
        for number, held in before.items():
            signal.signal(number, held)
        for number in dict.fromkeys(noted):
            signal.raise_signal(number)
