"""A tape as a system carries it: plain JSON values of its own, and the bytes that its digest hashes."""

import json
import struct
from collections.abc import Mapping
from typing import Any

from stability.arguments import shown
from stability.proof.tape import NUMBERED, Tape, read_tape


def plain_tape(value: object) -> dict[str, Any]:
    """A copy of what a tape's `to_dict` gives, in plain values; a tape itself is taken too.

    Errors: ValueError for what is no tape, naming the line and the operation.
    """
    data: Any = value.to_dict() if hasattr(value, "to_dict") and not isinstance(value, Mapping) else value
    if not isinstance(data, Mapping):
        raise ValueError(f"the tape is {shown(data)}; give what mechanism.tape.to_dict() writes, or None.")
    try:
        copied: dict[str, Any] = json.loads(json.dumps(dict(data)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the tape holds what JSON cannot ({str(error)[:100]}); give what its to_dict writes.") from error
    read_tape(copied)
    return copied


def written_tape(tape: Tape) -> dict[str, Any]:
    """What a tape that was read is written as."""
    code = [[o, *arguments, *([number] if o in NUMBERED else [])] for o, arguments, number in tape.code]
    names: dict[str, Any] = {what: list(getattr(tape, what)) for what in ("states", "inputs", "parameters")}
    return {"tape": 1, **names, "code": code, "rate": list(tape.rate)}


def tape_bytes(tape: Mapping[str, Any]) -> bytes:
    """The bytes of a tape in a digest; `Lure.digest` says which."""
    out = [b"tape\n"]
    for what in ("states", "inputs", "parameters"):
        names = [str(name).encode() for name in tape[what]]
        out.append(f"{what} {len(names)}\n".encode())
        out += [str(len(name)).encode() + b" " + name + b"\n" for name in names]
    out.append(f"code {len(tape['code'])}\n".encode())
    for operation, *rest in tape["code"]:
        read, number = (rest[:-1], rest[-1:]) if operation in NUMBERED else (rest, [])
        out.append(" ".join([operation, *(str(int(j)) for j in read)]).encode() + b"\n")
        out += [struct.pack("<d", float(value)) for value in number]
    out.append(("rate " + ",".join(str(int(i)) for i in tape["rate"]) + "\n").encode())
    return b"".join(out)
