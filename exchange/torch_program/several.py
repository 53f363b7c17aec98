"""Several files of one stem that are written all or none."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from exchange.export import Export, target_of
from exchange.files.whole_files import whole_files


def targets_of(export: Export, path: str | os.PathLike[str], names: tuple[str, ...], what: str) -> dict[str, Path]:
    """model.onnx becomes model.field.onnx, model.step.onnx, …, each a name that is free, or may be replaced.

    So does the name of one of them, model.field.onnx. Errors: `ValueError`, beginning with `what`, for one that exists.
    """
    whole = target_of(export, path, what)
    stem = whole.name.removesuffix(export.suffix)
    base = stem.removesuffix(next((f".{name}" for name in names if stem.endswith(f".{name}")), "")) or stem
    return {name: target_of(export, whole.with_name(f"{base}.{name}{export.suffix}"), what) for name in names}


def write_all(
    targets: Mapping[str, Path], names: Mapping[str, object], write: Callable[[str, Path], None]
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """`write(name, partial)` for each of `names`, and then all of them in their places; after an error everything is as before.

    A file at the place of one that is not among `names` is of another model: it goes. Returns the files, and what to say of them.
    """
    files = {name: targets[name] for name in names}
    stale = [path for name, path in targets.items() if name not in files and (path.exists() or path.is_symlink())]
    whole_files(files, write, instead_of=stale)
    first, *others = files.values()
    gone = [f"removed, of what was there before: {', '.join(path.name for path in stale)}"] if stale else []
    return (first, *others), (f"beside it: {', '.join(path.name for path in others)}", *gone)
