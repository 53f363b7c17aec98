"""A fit on disk: one file that is written whole or not at all, read without executing anything, and refused elsewhere.

The file is safetensors, whose header carries JSON text: the fingerprint of the fit that wrote it, its plain values, and the
SHA-256 of all of it. No pickle is written or read.
"""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from hybrid import HybridModel
from physics.arguments import quote, require_kind, require_number, require_path
from training.people.cohort import Cohort

FORMAT, VERSION = "homeostat.checkpoint", "1"
# a function that has moved keeps, in a fingerprint, the module by which the fits before the move know it
_WAS = {"training.people.likelihoods": "training.losses"}
# what reading values that are not what was written can raise
_DAMAGE = (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class Saved:
    """The state of a fit after step `index`: `values`, plain JSON, and `tensors` by name, on the CPU."""

    index: int
    values: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """Where a fit keeps its state, `every` so many steps and when it is stopped.

    `path`: the file; the one before stays beside it as `<name>.previous`. If the file is there when a fit begins, the
    fit goes on from it; delete it (or call `remove`) to start anew.
    Law: killed at any moment and called again, the fit is the one that was never killed, bit for bit on a CPU.
    """

    path: Path
    every: int = 20

    def __post_init__(self) -> None:
        require_path(self.path, "Checkpoint: path", "Checkpoint(Path('fit.checkpoint'))")
        object.__setattr__(self, "path", Path(self.path))
        require_number(self.every, "Checkpoint: every, a number of steps,", least=1.0, whole=True)

    @property
    def previous(self) -> Path:
        """The state before the last one, for when the last one is damaged."""
        return self.path.with_name(self.path.name + ".previous")

    def write(
        self,
        fingerprint: Mapping[str, Any],
        saved: Saved,
    ) -> None:
        """Put a state on disk: into a file beside it, flushed to the disk, and then in one move in its place.

        Errors: `OSError` where the folder cannot be written.
        """
        require_kind(fingerprint, Mapping, "Checkpoint.write: fingerprint", "fingerprint_of(model, cohort, settings)")
        require_kind(saved, Saved, "Checkpoint.write: saved", "Saved(index, values, tensors)")
        try:
            json.dumps([fingerprint, saved.values])
        except (TypeError, ValueError) as error:
            raise ValueError(f"Checkpoint.write: fingerprint and values are plain JSON, and {str(error)[:150]}") from error
        tensors = {name: _on_cpu(t) for name, t in saved.tensors.items()}
        text = {"fingerprint": json.dumps(fingerprint), "values": json.dumps({"index": saved.index, **saved.values})}
        about = {"format": FORMAT, "version": VERSION, **text, "sha256": _sum(text, tensors)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = _beside(self.path, "partial")
        try:
            with open(partial, "wb") as file:
                file.write(safetensors.torch.save(tensors, about))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:  # a full disk, of which the system does not say whose
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        if self.path.exists():
            # a second name for the old file, not a move: at every moment there is a whole file by the first name
            other = _beside(self.previous, "partial")
            other.unlink(missing_ok=True)
            try:
                os.link(self.path, other)
            except OSError:  # some file systems have no links
                shutil.copyfile(self.path, other)
            other.replace(self.previous)
        else:
            self.previous.unlink(missing_ok=True)  # it belongs to a file that someone deleted
        partial.replace(self.path)
        if os.name == "posix":
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the move itself is on the disk
            finally:
                os.close(folder)

    def read(
        self,
        fingerprint: Mapping[str, Any],
    ) -> list[Saved]:
        """The states that this fit can go on from, the latest first; none where there is no file.

        A damaged file is passed over with a warning where the one before it is whole.
        Errors: `ValueError`, one sentence, for the state of another fit, and where every file is damaged.
        """
        require_kind(fingerprint, Mapping, "Checkpoint.read: fingerprint", "fingerprint_of(model, cohort, settings)")
        if not self.path.exists():
            return []
        found: list[Saved] = []
        damage: dict[Path, ValueError] = {}
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                of, saved = _load(path)
            except ValueError as error:
                damage[path] = error
                continue
            differences = _differences(of, fingerprint)
            if not differences:
                found.append(saved)
            elif not found:
                raise ValueError(
                    f"{path} is the checkpoint of another fit: {', '.join(differences)}; give what it was given to go on with "
                    "it, or delete it to start anew"
                )
        if not found:
            raise ValueError(f"{next(iter(damage.values()))}; there is no whole one before it: delete it to start anew")
        if self.path in damage:  # the one before it is not needed
            warnings.warn(f"{damage[self.path]}; going on from the one before it, step {found[0].index}", stacklevel=3)
        return found

    def back_to(self, saved: Saved) -> None:
        """Forget what is newer than `saved`, one of those that `read` returned."""
        require_kind(saved, Saved, "Checkpoint.back_to: saved", "one of checkpoint.read(fingerprint)")
        if not _whole(self.path, saved.index):
            self.previous.replace(self.path)

    def remove(self) -> None:
        """Delete the files: the next fit starts anew."""
        for path in (self.path, self.previous):
            path.unlink(missing_ok=True)
            _beside(path, "partial").unlink(missing_ok=True)


def fingerprint_of(model: HybridModel, cohort: Cohort, settings: Mapping[str, object]) -> dict[str, Any]:
    """What a fit is of, by name: equal for two calls exactly if they are the same fit, wherever it is computed.

    The device is left out on purpose: a fit may go on elsewhere, though not bit for bit.
    """
    parts = {name: [type(part).__qualname__, plain(_config(part))] for name, part in model.named_children()}
    shapes = [[name, list(p.shape), str(p.dtype)] for name, p in model.named_parameters()]
    given = cohort.conditions
    return {
        "model": [parts, model.latents, plain(model.covariates), shapes],
        "first weights": _digest([*model.parameters(), *model.buffers()]),
        "people": list(cohort.ids),
        "measurements": _digest([cohort.times, cohort.y, *([] if cohort.limits is None else [cohort.limits])]),
        **({} if cohort.censoring == "m3" else {"censoring": cohort.censoring}),
        "schedules": plain(given.segments),
        "covariates": plain([given.covariates, given.baseline]),
        **({} if given.changes is None else {"what changes on the way": plain(given.changes)}),
        **{name: plain(value) for name, value in settings.items()},
    }


def plain(value: object) -> Any:
    """A value as JSON that is equal for equal values; tensors as their SHA-256, functions by their names."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)} {hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()}"
    if isinstance(value, Tensor):
        return f"{value.dtype} {list(value.shape)} {_digest([value])}"
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, functools.partial):
        return ["partial", plain(value.func), plain(value.args), plain(value.keywords)]
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__qualname__, {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.compare}]
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{_WAS.get(value.__module__, value.__module__)}.{value.__qualname__}"
    return [type(value).__qualname__, plain(vars(value)) if hasattr(value, "__dict__") else repr(value)]


def _config(part: object) -> Any:
    return part.config() if hasattr(part, "config") else {}


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = []
    odd = [name for name in now if not isinstance(name, str)]
    if odd:
        raise ValueError(f"Checkpoint: fingerprint goes by names, and one is {quote(odd[0])}; write fingerprint_of(model, …)")
    for name in sorted(then.keys() | now.keys()):
        # as text, in which NaN equals NaN and a tuple equals a list
        a, b = (json.dumps(v.get(name), default=repr) for v in (then, now))
        if a != b:
            short = max(len(a), len(b)) < 40
            found.append(f"{name} was {a} and is {b}" if short else f"the {name} changed")
    return found


def _load(path: Path) -> tuple[dict[str, Any], Saved]:
    data = path.read_bytes()
    try:
        size = int.from_bytes(data[:8], "little")
        about = json.loads(data[8 : 8 + size])["__metadata__"]
        known = about["format"] == FORMAT
        if known and about["version"] != VERSION:
            raise ValueError(f"its version is {about['version']}, and this program reads {VERSION}")
        tensors = safetensors.torch.load(data)
        text = {name: about[name] for name in ("fingerprint", "values")}
        if not known or about["sha256"] != _sum(text, tensors):
            raise ValueError("its hash does not match" if known else "it has another format")
        values = json.loads(text["values"])
        return json.loads(text["fingerprint"]), Saved(values.pop("index"), values, tensors)
    except (*_DAMAGE, safetensors.SafetensorError) as error:
        reason = str(error) if type(error) is ValueError else repr(error)
        raise ValueError(f"{path} is no whole checkpoint ({reason}); it is truncated, damaged or another file") from error


def _whole(path: Path, index: int | None = None) -> bool:
    try:
        return index in (None, _load(path)[1].index)
    except (ValueError, OSError):
        return False


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


def _on_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def _digest(tensors: Sequence[Tensor]) -> str:
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(f"{tensor.dtype} {list(tensor.shape)}".encode())
        # a tensor of one element is contiguous whatever its stride is (one that is expanded), and `view` wants 1: a copy has it
        flat = _on_cpu(tensor).reshape(-1)
        flat = flat if flat.stride(0) == 1 else flat.clone(memory_format=torch.contiguous_format)
        total.update(flat.view(torch.uint8).numpy().data)
    return total.hexdigest()


def _sum(text: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    names = sorted(tensors)
    return hashlib.sha256(json.dumps([text, names, _digest([tensors[n] for n in names])]).encode()).hexdigest()
