"""A system under a policy u = κ(x): the closed loop, put together from the open loop and the policy without a rounding.

κ is a layered network, κ(x) = K_L φ(… φ(K_1 x + c_1) …) + c_L, linear where L = 1; it gives some of the inputs, and the
others stay inputs of the closed loop. Wherever the system reads u, κ stands in its place:

- in B u: a network that goes on from κ, whose last layer is made of units φ(v) = v, with the columns of B as last weight;
- in a network that reads u: κ beside the state and the other inputs, which units φ(v) = v carry on, and then that network, whose
  first weight reads all three;
- in a tape: the lines of κ, and each line that reads such an input reads the line of κ instead.

Nothing is multiplied out: B K or W_u K would be rounded. Every number of the closed loop is one of the open loop's or of the
policy's, at another place, or 0 or 1. So what is proved of the closed loop is proved of the open one under the policy.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stability.proof.activation import FUNCTIONS
from stability.proof.arithmetic import Array
from stability.proof.branches import activation_bytes
from stability.proof.budget import Meter
from stability.proof.reading import Unusable, array, get, has, sequence, shown
from stability.proof.tape import Line, Tape
from stability.proof.units import Activation, Network, along, diagonal, joined, names_of, read_activation

_Put = Callable[..., int]  # adds a line of a tape, and says where it is
_MOST = 100_000  # lines of a tape
_LINE = 300.0  # bytes that one takes
_PARTS = ("inputs", "weights", "biases", "activation")


@dataclass(frozen=True)
class Policy:
    """κ, verified, and which inputs it gives, in the order of its outputs."""

    inputs: tuple[int, ...]
    weights: tuple[Array, ...]  # (out, in)
    biases: tuple[Array, ...]  # (out,)
    activation: Activation

    @property
    def names(self) -> list[tuple[str, ...]]:
        """The activation of every unit, layer by layer; the outputs are a layer whose units are the identity."""
        return [*names_of(self.activation, [len(w) for w in self.weights[:-1]]), ("identity",) * len(self.weights[-1])]

    def value(self, x: Array) -> Array:
        """κ(x) (..., k) in float64: for looking, not for proofs."""
        z = x
        for weight, bias, names in zip(self.weights, self.biases, self.names, strict=True):
            v = z @ weight.T + bias
            z = np.stack([FUNCTIONS[name][0](v[..., j]) for j, name in enumerate(names)], axis=-1)
        return np.asarray(z, dtype=np.float64)

    def bytes(self) -> bytes:
        """What the digest of the system hashes of it, behind the bytes of the open loop."""
        chunks = [f"policy {','.join(map(str, self.inputs))}\n".encode("ascii"), activation_bytes(self.activation)]
        for name, entries in (("weights", self.weights), ("biases", self.biases)):
            for k, held in enumerate(entries):
                chunks.append(f"{name}[{k}] {','.join(map(str, held.shape))}\n".encode("ascii"))
                chunks.append(held.astype("<f8").tobytes("C"))
        return b"".join(chunks)

    @property
    def words(self) -> str:
        """How a sentence names it."""
        name = hashlib.sha256(self.bytes()).hexdigest()[:16]
        return f"u[{', '.join(map(str, self.inputs))}] = kappa(x), kappa the policy {name} that the system carries"


def read_policy(value: object, n: int, m: int) -> Policy:
    """A policy of a system with n states and m inputs. Errors: Unusable."""
    if isinstance(value, Mapping) and not value.keys() <= set(_PARTS):
        other = next(part for part in value if part not in _PARTS)
        raise Unusable(f"the policy has {shown(other)}, which the proof would not see; its parts are {', '.join(_PARTS)}")
    if not has(value, "inputs", "weights", "biases"):
        raise Unusable(f"the policy is {shown(value)}; it has inputs, weights and biases")
    inputs = tuple(sequence(get(value, "inputs")))
    if not inputs or not all(type(k) is int and 0 <= k < m for k in inputs) or len(set(inputs)) < len(inputs):
        raise Unusable(f"the policy gives the inputs {shown(list(inputs))}, which are not different ones of 0 to {m - 1}")
    weights = tuple(array(w, f"the policy's weights[{k}]") for k, w in enumerate(sequence(get(value, "weights"))))
    biases = tuple(array(b, f"the policy's biases[{k}]") for k, b in enumerate(sequence(get(value, "biases"))))
    flat = all(w.ndim == 2 for w in weights) and all(b.ndim == 1 for b in biases)
    if not weights or len(biases) != len(weights) or not flat or not all(np.isfinite(a).all() for a in (*weights, *biases)):
        raise Unusable("the policy needs finite weights (out, in), one layer at least, and a bias (out,) for each")
    sizes = [n, *(len(w) for w in weights)]
    fits = sizes[-1] == len(inputs) and 0 not in sizes and all(w.shape[1] == s for w, s in zip(weights, sizes[:-1], strict=True))
    if not fits or [len(b) for b in biases] != sizes[1:]:
        raise Unusable(f"the policy's shapes do not lead from {n} states to the {len(inputs)} inputs that it gives")
    return Policy(inputs, weights, biases, read_activation(get(value, "activation", "tanh"), sizes[1:-1]))


def closed(
    B: Array | None, networks: Sequence[Network], tape: Tape | None, policy: Policy, meter: Meter | None = None
) -> tuple[Array | None, list[Network], Tape | None]:
    """B, networks and tape of the closed loop, whose inputs are those that the policy does not give, in their order."""
    fed = list(policy.inputs)
    arrays = [a for a in (B, *(one.input_weights for one in networks)) if a is not None]
    m = len(tape.inputs) if tape is not None else arrays[0].shape[-1] if arrays else 0
    left = [k for k in range(m) if k not in fed]
    found = [_through(one, policy, fed, left, meter) for one in networks]
    if B is not None and B[..., fed].any():
        names = joined(tuple(policy.names))
        found.append(Network((*policy.weights, B[..., fed]), (*policy.biases, np.zeros(B.shape[-2])), names, None))
    outer = None if B is None or not left else B[..., left]
    return outer, found, None if tape is None else substituted(tape, policy, meter)


def _through(one: Network, policy: Policy, fed: list[int], left: list[int], meter: Meter | None) -> Network:
    """A network that may read u, with κ before it."""
    Wu = one.input_weights
    if Wu is None or not Wu[..., fed].any():
        kept = None if Wu is None or not left else Wu[..., left]
        return Network(one.weights, one.biases, one.activation, kept)
    n, outer = one.weights[0].shape[-1], len(left) if Wu[..., left].any() else 0
    carried = n + outer
    start = np.concatenate([np.eye(n), np.zeros((outer, n))])
    weights = [along([policy.weights[0], start], 2, -2, meter)]
    weights += [diagonal([w, np.eye(carried)], meter) for w in policy.weights[1:]]
    reads = [Wu[..., fed], one.weights[0], *([Wu[..., left]] if outer else [])]
    biases = [np.concatenate([b, np.zeros(carried)]) for b in policy.biases]
    names = [(*layer, *("identity",) * carried) for layer in policy.names]
    names += names_of(one.activation, one.widths)
    felt = None
    if outer:
        felt = np.concatenate([np.zeros((len(policy.weights[0]) + n, outer)), np.eye(outer)])
    return Network(
        (*weights, along(reads, 2, -1, meter), *one.weights[1:]), (*biases, *one.biases), joined(tuple(names)), felt
    )


def lines_with(tape: Tape, policy: Policy) -> int:
    """How many lines `substituted` writes."""
    found = len(tape.states) + sum(line.operation != "input" or line.arguments[0] not in policy.inputs for line in tape.code)
    for weight, bias, names in zip(policy.weights, policy.biases, policy.names, strict=True):
        terms = (weight != 0.0).sum(1)
        found += int((terms + 2 * ((weight != 0.0) & (weight != 1.0)).sum(1)).sum())  # each a sum, and a product with a number
        found += int(np.where(terms == 0, 1, 2 * (bias != 0.0) - 1).sum())
        found += sum(0 if name == "identity" else 2 if name == "silu" else 1 for name in names)
    return found


def substituted(tape: Tape, policy: Policy, meter: Meter | None = None) -> Tape:
    """The tape with the lines of κ in the place of the inputs that it gives; they are counted before one is written.

    Errors: Unusable; with a meter, `NotDecided` where the budget has no room for them.
    """
    count = lines_with(tape, policy)
    if count > _MOST:
        raise Unusable(f"with the policy the tape has {count} lines; at most {_MOST} are read")
    if meter is not None:
        meter.room(_LINE * count, f"a tape of {count} lines")
        meter.look("putting the policy into the tape")
    lines: list[Line] = []

    def put(operation: str, *arguments: int, number: float = 0.0) -> int:
        lines.append(Line(operation, arguments, number))
        return len(lines) - 1

    def affine(row: Array, bias: float, z: list[int]) -> int:
        total: int | None = None
        for weight, line in zip(row.tolist(), z, strict=True):
            if weight:
                term = line if weight == 1.0 else put("multiply", put("constant", number=weight), line)
                total = term if total is None else put("add", total, term)
        if total is None or bias:
            constant = put("constant", number=bias)
            total = constant if total is None else put("add", total, constant)
        return total

    z = [put("state", k) for k in range(len(tape.states))]
    for weight, bias, names in zip(policy.weights, policy.biases, policy.names, strict=True):
        v = [affine(row, b, z) for row, b in zip(weight, bias.tolist(), strict=True)]
        z = [_activated(name, line, put) for name, line in zip(names, v, strict=True)]
    left = [k for k in range(len(tape.inputs)) if k not in policy.inputs]
    given = dict(zip(policy.inputs, z, strict=True))
    place: list[int] = []
    for operation, arguments, number in tape.code:
        if operation == "input":
            k = arguments[0]
            place.append(given[k] if k in given else put("input", left.index(k)))
        elif operation in ("state", "parameter", "constant"):
            place.append(put(operation, *arguments, number=number))
        else:
            place.append(put(operation, *(place[j] for j in arguments), number=number))
    names = tuple(tape.inputs[k] for k in left)
    return Tape(tape.states, names, tape.parameters, tuple(lines), tuple(place[i] for i in tape.rate))


def _activated(name: str, line: int, put: _Put) -> int:
    if name == "identity":
        return line
    if name == "silu":
        return put("multiply", line, put("sigmoid", line))
    if name == "gelu":
        raise Unusable("gelu is no operation of tapes: a policy with such units cannot stand in one; take another activation")
    return put(name, line)
