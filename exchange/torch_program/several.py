"""Several files of one stem that are written all or none."""

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from exchange.export import Export, target_of
from exchange.files.whole_file import whole_file


def targets_of(export: Export, path: str | os.PathLike[str], names: tuple[str, ...], what: str) -> dict[str, Path]:
    """model.onnx becomes model.field.onnx, model.step.onnx, …, each a name that is free, or may be replaced.

    Errors: `ValueError`, beginning with `what`, for one that exists.
    """
    whole = target_of(export, path, what)
    stem = whole.name.removesuffix(export.suffix)
    return {name: target_of(export, whole.with_name(f"{stem}.{name}{export.suffix}"), what) for name in names}


def write_all(targets: Mapping[str, Path], write: Callable[[str, Path], None]) -> None:
    """`write(name, partial)` for each, and then all of them in their places; after an error none that was not there before."""
    there = {path: path.exists() for path in targets.values()}
    try:
        with contextlib.ExitStack() as stack:
            for name, path in targets.items():
                write(name, stack.enter_context(whole_file(path)))
    except BaseException:
        for path, before in there.items():
            if not before:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        raise
