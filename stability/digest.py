"""The bytes that name a system: `Lure.digest` says which they are; the checker has the other implementation."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from stability.branches import Branch
from stability.loop import Array
from stability.proof.units import Activation
from stability.tapes import tape_bytes


def digest_of(system: Any) -> str:
    """SHA-256 (hexadecimal) of a `Lure`."""
    if system.feedback is not None:
        return hashlib.sha256(_bytes(system.feedback.system) + _policy_bytes(system.feedback)).hexdigest()
    return hashlib.sha256(_bytes(system)).hexdigest()


def _policy_bytes(feedback: Any) -> bytes:
    out = [f"policy {','.join(map(str, feedback.inputs))}\n".encode(), activation_bytes(feedback.activation)]
    out += [array_bytes(f"weights[{k}]", w) for k, w in enumerate(feedback.weights)]
    return b"".join([*out, *(array_bytes(f"biases[{k}]", b) for k, b in enumerate(feedback.biases))])


def _bytes(system: Any) -> bytes:
    parts = [b"lure 1\n", activation_bytes(system.activation)]
    named: list[tuple[str, Array | None]] = [("A", system.A), ("B", system.B)]
    named += [(f"weights[{k}]", w) for k, w in enumerate(system.weights)]
    named += [(f"biases[{k}]", b) for k, b in enumerate(system.biases)]
    named += [("input_weights", system.input_weights)]
    if system.skip is not None:
        named += [("skip", system.skip)]
    for name, array in named:
        parts.append(array_bytes(name, array))
    if system.tape is not None:
        parts.append(tape_bytes(system.tape))
        for name in ("theta", "theta_upper"):
            parts.append(array_bytes(name, getattr(system, name)))
    parts.append(branch_bytes(system.branches))
    return b"".join(parts)


def branch_bytes(branches: Sequence[Branch]) -> bytes:
    """The bytes of the branches in a digest; `Lure.digest` says which."""
    out = [f"branches {len(branches)}\n".encode()] if branches else []
    for one in branches:
        out.append(activation_bytes(one.activation))
        named: list[tuple[str, Array | None]] = [(f"weights[{k}]", w) for k, w in enumerate(one.weights)]
        named += [(f"biases[{k}]", b) for k, b in enumerate(one.biases)]
        for name, array in [*named, ("input_weights", one.input_weights)]:
            out.append(array_bytes(name, array))
    return b"".join(out)


def activation_bytes(activation: Activation) -> bytes:
    """The line, or lines, of an activation."""
    if isinstance(activation, str):
        return f"activation {activation}\n".encode()
    return "".join(["activation units\n", *(f"{' '.join(layer)}\n" for layer in activation)]).encode()


def array_bytes(name: str, array: Array | None) -> bytes:
    """A line of name and shape, and the entries."""
    if array is None:
        return f"{name} none\n".encode()
    return f"{name} {','.join(map(str, array.shape))}\n".encode() + np.ascontiguousarray(array, dtype="<f8").tobytes()
