"""Each system as the enclosures see it: dx/dt = linear x + B u + last z + bias + tape, z the last hidden layer in (x, u)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stability.proof.arithmetic import Array
from stability.proof.region.enclosure import Layers
from stability.proof.system import Stack
from stability.proof.tape import Tape


@dataclass(frozen=True)
class Field:
    """One system dx/dt = linear x + B u + last z + bias + f(x, u, θ), z the last hidden layer in (x, u), f a tape's."""

    linear: tuple[Array, ...]  # (n, n) each; the linear part is their sum
    B: tuple[Array, ...]  # (n, m) each; what the input adds to dx/dt beside the layers is their sum times u
    layers: Layers | None  # None where there is no hidden layer
    last: Array  # (n, h)
    bias: Array  # (n,)
    tape: Tape | None = None
    theta: tuple[Array, Array] | None = None  # (q,) each: every θ between the two, which may be one

    @property
    def states(self) -> int:
        return self.linear[0].shape[0]


def fields_of(stack: Stack, with_inputs: bool) -> list[Field]:
    """Each system as the enclosures see it; without inputs only where the layers see none, and then u is left out."""
    return list(each_field(stack, with_inputs))


def each_field(stack: Stack, with_inputs: bool) -> Iterator[Field]:
    """The same, one after the other."""
    m = stack.inputs if with_inputs else 0
    for v in range(stack.count):
        n = stack.A.shape[-1]
        Wu = None if stack.input_weights is None else stack.input_weights[v]
        B = [np.zeros((n, m))]
        if with_inputs and stack.B is not None:
            B.append(stack.B[v])
        if with_inputs and Wu is not None and len(stack.weights) == 1:
            B.append(Wu)  # without a hidden layer it acts on dx/dt itself
        layers, last, bias = None, np.zeros((n, 0)), np.zeros(n)
        if len(stack.weights) > 1:
            first = stack.weights[0][v]
            if with_inputs:
                first = np.concatenate([first, np.zeros((len(first), m)) if Wu is None else Wu], axis=1)
            hidden = (first, *(w[v] for w in stack.weights[1:-1]))
            layers = Layers(hidden, tuple(b[v] for b in stack.biases[:-1]), stack.activation)
            last = stack.weights[-1][v]
        if stack.weights:
            bias = stack.biases[-1][v]
        theta = None if stack.theta is None else (stack.theta[0][v], stack.theta[1][v])
        yield Field(tuple(a[v] for a in stack.linear), tuple(B), layers, last, bias, stack.tape, theta)
