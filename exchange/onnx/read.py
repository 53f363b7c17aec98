"""An .onnx file from a stranger: read within a bound, as bytes, before any library reads it, and only what we write."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exchange.files.json_parts import listed, mapping
from exchange.files.names import one_line
from exchange.files.plain_json import memory_of, plain_json
from exchange.onnx.sealed import KEY, unsealed
from exchange.onnx.wire import Wire
from physics.arguments import quote, require_path
from physics.glance import glance

LARGEST = 2**24  # bytes of a file: a network of two million numbers
_ROOM = 2**26  # bytes of memory that the JSON of one file may take
_TEXTS = ("certified", "content", "format", "card", "model", "calibration", "proof", "people")
_DAMAGE = (KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError)


@dataclass(frozen=True)
class Read:
    """What an .onnx file of ours says of itself.

    `model` what it computes: function, inputs and outputs with axes, names and units, members, whose θ it starts with ·
    `certified`: "certified", or a sentence that begins with "not certified" · `card` in Markdown · `content`: the hash of the
    bundle it was made from · `calibration` · `proof` and `people`, None where it carries no claim · `graph`, the bytes that
    a runtime loads, whole.
    """

    model: Mapping[str, Any]
    certified: str
    card: str
    content: str
    calibration: Mapping[str, Any]
    proof: Mapping[str, Any] | None
    people: Mapping[str, Any] | None
    graph: bytes

    __repr__, _repr_html_ = glance()


def read(path: str | os.PathLike[str]) -> Read:
    """What the file says of itself, and its graph, of which nothing was run.

    Errors: `ValueError`, one sentence that names the file, for a file that is too large, truncated, changed by a byte, not of
    ours, or holds anything that we do not write.
    Law: never more memory than five times the file and 64 MB, by what is counted before it is read.
    """
    require_path(path, "read: path", 'read("model.field.onnx")')
    path = Path(path)
    try:
        known = path.stat()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no such file; write one with `homeostat export BUNDLE --to onnx`") from error
    if not stat.S_ISREG(known.st_mode) or known.st_size > LARGEST:
        raise ValueError(
            f"{path}: no regular file of at most {LARGEST:,} bytes; what `homeostat export --to onnx` writes is one"
        )
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
        return parsed(data)
    except (*_DAMAGE, ValueError) as error:
        why = one_line(str(error) if isinstance(error, ValueError) else f"{error!r}", 300)
        raise ValueError(f"{path}: not a model that homeostat wrote: {why}") from error


def parsed(data: bytes) -> Read:
    """What the bytes of a file say. Errors: `ValueError` and its like, one clause, for what is no file of ours."""
    if len(data) > LARGEST:
        raise ValueError(f"it has {len(data):,} bytes, and at most {LARGEST:,} are read")
    unsealed(data)
    wire, texts, graphs = Wire(), dict[str, bytes](), 0
    for field, value in wire.entries(memoryview(data), "model"):
        if field == 7:
            graphs += 1
        elif field == 14:
            name, text = _pair(value)
            if name in texts:
                raise ValueError(f"{quote(name)} stands twice in it")
            texts[name] = text
    texts.pop(KEY, None)
    ours = {name.removeprefix("homeostat."): text for name, text in texts.items()}
    if len(ours) < len(texts) or graphs != 1 or not ours.keys() <= set(_TEXTS):
        raise ValueError(f"it holds {graphs} graphs and says of itself {quote(sorted(texts))}")
    needed = set(_TEXTS) - {"proof", "people"}
    if lacks := sorted(needed - ours.keys()):
        raise ValueError(f"it does not say its {', '.join(lacks)}")
    if ours["format"] != b"1":
        raise ValueError(f"its format is {quote(ours['format'].decode(errors='replace'))}, and this program reads 1")
    room = sum(memory_of(ours[name]) for name in ("model", "calibration", "proof", "people") if name in ours)
    if room > _ROOM:
        raise ValueError(f"its JSON would take {room / 1e6:.0f} MB to read, and {_ROOM / 1e6:.0f} MB are allowed")
    parts = {
        name: plain_json(ours[name], _ROOM) for name in ("model", "calibration", "proof", "people") if name in ours
    }
    return Read(
        model=mapping(parts["model"], "model"),
        certified=ours["certified"].decode(),
        card=ours["card"].decode(),
        content=ours["content"].decode(),
        calibration=mapping(parts["calibration"], "calibration"),
        proof=mapping(parts["proof"], "proof") if "proof" in parts else None,
        people=mapping(parts["people"], "people") if "people" in parts else None,
        graph=data,
    )


def _pair(entry: Any) -> tuple[str, bytes]:
    parts = dict[int, bytes]()
    for field, value in Wire().entries(entry, "property"):
        parts[field] = bytes(value)
    return parts[1].decode(), parts.get(2, b"")


def axes_of(given: object) -> dict[str, list[Any]]:
    """The axes of inputs or outputs by name, as a file says them."""
    return {name: listed(mapping(one, name)["axes"], "axes") for name, one in mapping(given, "inputs").items()}
