"""The activations of a layered network, unit by unit; and several networks beside each other as one.

A sum of networks Σ_b W_L^b φ(… φ(W_1^b x + W_u^b u + b_1^b) …) + b_L^b is one network: first layers under each other, hidden
weights block by block on the diagonal, last weights beside each other. A network with fewer hidden layers than the deepest goes
on with its last layer through units φ(v) = v, the identity, whose slopes are [1, 1]. All of that moves numbers to other places
and adds zeros and ones, which is exact. The output biases are added: exact too, as for every state at most one of them may be
other than zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stability.proof.activation import SLOPES
from stability.proof.arithmetic import Array
from stability.proof.budget import Meter
from stability.proof.reading import Unusable, sequence, shown

# What a unit may be, and the slopes of each over the real line.
UNITS = {**SLOPES, "identity": (1.0, 1.0)}
_MOST = 2**27  # numbers that one layer of several networks may take

Layer = str | tuple[str, ...]  # the activation of all units of a layer, or of each
Activation = str | tuple[tuple[str, ...], ...]  # the same of a whole network, as it is written


def read_activation(value: object, widths: Sequence[int]) -> Activation:
    """A name for all units, or a list for each hidden layer of names, one for each unit; one name where all are the same.

    Errors: Unusable for anything else, in a sentence.
    """
    if isinstance(value, str):
        return _known(value)
    if not isinstance(value, list | tuple) or len(value) != len(widths) or not value:
        raise Unusable(
            f"the activation is {shown(value)}; it is one of {', '.join(UNITS)}, or for each of the {len(widths)} hidden layers "
            "a list of these, one for each unit"
        )
    found = tuple(tuple(_known(name) for name in sequence(layer)) for layer in value)
    for k, (names, width) in enumerate(zip(found, widths, strict=True)):
        if len(names) != width:
            raise Unusable(f"hidden layer {k} has {width} units and {len(names)} activations; give one for each unit")
    return joined(found)


def _known(name: object) -> str:
    if not isinstance(name, str) or name not in UNITS:
        raise Unusable(f"the activation {shown(name)} is not one of {', '.join(UNITS)}")
    return name


def joined(names: tuple[tuple[str, ...], ...]) -> Activation:
    """One name where all units have it."""
    different = {name for layer in names for name in layer}
    return different.pop() if len(different) == 1 else names


def layers(activation: Activation, depth: int) -> tuple[Layer, ...]:
    """The activation of each of so many hidden layers: one name where its units agree."""
    if isinstance(activation, str):
        return (activation,) * depth
    return tuple(names[0] if len(set(names)) == 1 else names for names in activation)


def slope_ends(activation: Activation, widths: Sequence[int]) -> tuple[Array, Array]:
    """α and β (H,) of all units, layer after layer."""
    found = [unit_slopes(layer, width) for layer, width in zip(layers(activation, len(widths)), widths, strict=True)]
    none = np.zeros(0)
    return np.concatenate([none, *(low for low, _ in found)]), np.concatenate([none, *(high for _, high in found)])


def unit_slopes(layer: Layer, width: int) -> tuple[Array, Array]:
    """The same of one layer."""
    ends = np.array([UNITS[name] for name in units(layer, width)], dtype=np.float64).reshape(-1, 2)
    return ends[:, 0], ends[:, 1]


def units(layer: Layer, width: int) -> tuple[str, ...]:
    """The name of each unit."""
    return (layer,) * width if isinstance(layer, str) else layer


def slope_hull(activation: Activation) -> tuple[float, float]:
    """The least and the largest slope that any unit has."""
    names = [activation] if isinstance(activation, str) else sorted({name for layer in activation for name in layer})
    return min(UNITS[name][0] for name in names), max(UNITS[name][1] for name in names)


@dataclass(frozen=True)
class Network:
    """One layered network, L ≥ 2 weights."""

    weights: tuple[Array, ...]  # (..., out, in)
    biases: tuple[Array, ...]  # (..., out)
    activation: Activation
    input_weights: Array | None  # (..., h_1, m)

    @property
    def widths(self) -> list[int]:
        """h_1 … h_{L−1}."""
        return [w.shape[-2] for w in self.weights[:-1]]


def beside(networks: Sequence[Network], meter: Meter | None = None) -> Network:
    """Several networks as one, layer by layer in their order; see the head of this file.

    Errors: Unusable where the leading axes do not broadcast, or two output biases move one state; with a meter `NotDecided`
    before a layer is made that would take more than its budget allows.
    """
    if len(networks) == 1:
        return networks[0]
    depth = max(len(one.widths) for one in networks)
    deep = [_deepened(one, depth) for one in networks]
    weights = [along([one.weights[0] for one in deep], 2, -2, meter)]
    weights += [diagonal([one.weights[k] for one in deep], meter) for k in range(1, depth)]
    weights += [along([one.weights[-1] for one in deep], 2, -1, meter)]
    biases = [along([one.biases[k] for one in deep], 1, -1, meter) for k in range(depth)]
    names = [names_of(one.activation, one.widths) for one in deep]
    activation = joined(tuple(tuple(name for one in names for name in one[k]) for k in range(depth)))
    output = _output([one.biases[-1] for one in deep], meter)
    return Network(tuple(weights), (*biases, output), activation, _felt(deep, meter))


def names_of(activation: Activation, widths: Sequence[int]) -> list[tuple[str, ...]]:
    """The activation of every unit, layer by layer."""
    return [units(layer, width) for layer, width in zip(layers(activation, len(widths)), widths, strict=True)]


def _deepened(one: Network, depth: int) -> Network:
    """With layers of the identity before its last weight, up to so many hidden layers."""
    more, width = depth - len(one.widths), one.widths[-1]
    if not more:
        return one
    names = names_of(one.activation, one.widths)
    weights = (*one.weights[:-1], *(np.eye(width) for _ in range(more)), one.weights[-1])
    biases = (*one.biases[:-1], *(np.zeros(width) for _ in range(more)), one.biases[-1])
    return Network(weights, biases, joined((*names, *(("identity",) * width for _ in range(more)))), one.input_weights)


def _leading(arrays: Sequence[Array], rank: int, size: int, meter: Meter | None) -> tuple[int, ...]:
    try:
        lead = np.broadcast_shapes(*(a.shape[: a.ndim - rank] for a in arrays))
    except ValueError as error:
        raise Unusable("the leading axes of the branches do not broadcast together") from error
    what = f"{math.prod(lead)} systems with a layer of {size} numbers from several branches"
    if math.prod(lead) * size > _MOST:
        raise Unusable(f"{what} are too many")
    if meter is not None:
        meter.look("putting networks together")
        meter.room(8.0 * math.prod(lead) * size, what)
    return lead


def along(arrays: Sequence[Array], rank: int, axis: int, meter: Meter | None = None) -> Array:
    """One behind the other along an axis of the last `rank`."""
    lead = _leading(arrays, rank, sum(math.prod(a.shape[a.ndim - rank :]) for a in arrays), meter)
    return np.concatenate([np.broadcast_to(a, lead + a.shape[a.ndim - rank :]) for a in arrays], axis=axis)


def diagonal(arrays: Sequence[Array], meter: Meter | None = None) -> Array:
    """Block by block."""
    rows, columns = (sum(a.shape[axis] for a in arrays) for axis in (-2, -1))
    found = np.zeros((*_leading(arrays, 2, rows * columns, meter), rows, columns))
    row = column = 0
    for a in arrays:
        found[..., row : row + a.shape[-2], column : column + a.shape[-1]] = a
        row, column = row + a.shape[-2], column + a.shape[-1]
    return found


def _output(biases: Sequence[Array], meter: Meter | None) -> Array:
    """The sum of the output biases, of which at most one is not zero for any state."""
    moved = np.array([(b != 0).reshape(-1, b.shape[-1]).any(0) for b in biases])  # (branches, n)
    twice = np.flatnonzero(moved.sum(0) > 1)
    if len(twice):
        raise Unusable(
            f"the output biases of two branches move state {int(twice[0])}, and their sum may be rounded: write it into one of "
            "them and 0 into the others"
        )
    total = np.zeros((*_leading(biases, 1, biases[0].shape[-1], meter), biases[0].shape[-1]))
    for b in biases:
        total = total + b
    return total


def _felt(networks: Sequence[Network], meter: Meter | None) -> Array | None:
    """The input weights of all first layers; rows of zeros where a network sees no input."""
    given = [one.input_weights for one in networks if one.input_weights is not None]
    if not given:
        return None
    m = given[0].shape[-1]
    rows = [np.zeros((one.widths[0], m)) if one.input_weights is None else one.input_weights for one in networks]
    return along(rows, 2, -2, meter)
