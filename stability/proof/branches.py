"""The further networks of a system, read: every array verified, and the bytes of them in the digest."""

from collections.abc import Mapping, Sequence

import numpy as np

from stability.proof.arithmetic import Array
from stability.proof.reading import Unusable, array, get, has, sequence, shown
from stability.proof.units import Activation, Network, read_activation

_PARTS = ("weights", "biases", "activation", "input_weights")
Named = list[tuple[str, Array | None, int]]  # a name, what it holds, and how many axes are its own


def read_branches(value: object, n: int) -> list[Network]:
    """Each of a system's branches: n states in, n out, at least one hidden layer. Errors: Unusable."""
    return [] if value is None else [_branch(one, f"branches[{k}]", n) for k, one in enumerate(sequence(value))]


def _branch(one: object, name: str, n: int) -> Network:
    if isinstance(one, Mapping) and not one.keys() <= set(_PARTS):
        other = next(part for part in one if part not in _PARTS)
        raise Unusable(f"{name} has {shown(other)}, which the proof would not see; its parts are {', '.join(_PARTS)}")
    if not has(one, "weights", "biases"):
        raise Unusable(f"{name} is {shown(one)}; a branch has weights and biases")
    weights = [array(w, f"{name}.weights[{k}]") for k, w in enumerate(sequence(get(one, "weights")))]
    biases = [array(b, f"{name}.biases[{k}]") for k, b in enumerate(sequence(get(one, "biases")))]
    felt = get(one, "input_weights", None)
    Wu = None if felt is None else array(felt, f"{name}.input_weights")
    network = Network(tuple(weights), tuple(biases), "tanh", Wu)
    for what, entries, rank in arrays_of(network, name):
        if entries is not None and (entries.ndim < rank or not np.isfinite(entries).all()):
            raise Unusable(f"{what} has too few axes, or values that are not finite")
    if len(weights) < 2:
        raise Unusable(f"{name} has no hidden layer: it is linear, and belongs into A or the skip")
    sizes = [n] + [w.shape[-2] for w in weights]
    fits = sizes[-1] == n and len(biases) == len(weights) and 0 not in sizes
    fits = fits and all(w.shape[-1] == size for w, size in zip(weights, sizes[:-1], strict=True))
    fits = fits and all(b.shape[-1] == size for b, size in zip(biases, sizes[1:], strict=True))
    if not fits or (Wu is not None and Wu.shape[-2] != sizes[1]):
        raise Unusable(f"the shapes of the weights and biases of {name} do not fit together, or not to {n} states")
    activation = read_activation(get(one, "activation", "tanh"), network.widths)
    return Network(network.weights, network.biases, activation, Wu)


def arrays_of(network: Network, name: str) -> Named:
    """All arrays of a branch, in the order of the digest."""
    found: Named = [(f"{name}.weights[{k}]", w, 2) for k, w in enumerate(network.weights)]
    found += [(f"{name}.biases[{k}]", b, 1) for k, b in enumerate(network.biases)]
    return [*found, (f"{name}.input_weights", network.input_weights, 2)]


def activation_bytes(activation: Activation) -> bytes:
    """The lines of an activation in a digest."""
    if isinstance(activation, str):
        return f"activation {activation}\n".encode("ascii")
    return "\n".join(["activation units", *(" ".join(layer) for layer in activation), ""]).encode("ascii")


def branch_bytes(networks: Sequence[Network]) -> list[bytes]:
    """The bytes of the branches in a digest; `Lure.digest` says which, and has the other implementation."""
    chunks = [b"branches %d\n" % len(networks)] if networks else []
    for network in networks:
        chunks.append(activation_bytes(network.activation))
        for name, entries, _ in arrays_of(network, ""):
            shape = "none" if entries is None else ",".join(str(s) for s in entries.shape)
            chunks.append(f"{name.removeprefix('.')} {shape}\n".encode("ascii"))
            if entries is not None:
                chunks.append(entries.astype("<f8").tobytes("C"))
    return chunks
