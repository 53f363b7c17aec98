"""The system that a claim is about with its slopes, by the functions that the exported code has.

To a proof softplus is log(1 + eᵛ); to torch, and so to the model and its code, it is v beyond 20, 2e-9 apart. What is held
against code is the latter.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exchange.stored_system import rates_at
from learned.residual import ACTIVATIONS
from physics import Tape
from stability import Lure

Array = NDArray[np.float64]


def linearised(
    system: Lure,  # one, without leading axes
    x: Array,  # (S, n)
    u: Array,  # (S, m)
) -> tuple[Array, Array, Array]:  # (S, n), (S, n, n), (S, n, m)
    """f, ∂f/∂x and ∂f/∂u. Errors: `ValueError` for parts that no exported model has."""
    rates = rates_at(system, x, u)
    (S, n), m = x.shape, u.shape[1]
    at, level = torch.from_numpy(np.array(x)), torch.from_numpy(np.array(u))
    J = _of(system.A).expand(S, n, n)
    G = torch.zeros(S, n, m, dtype=torch.float64) if system.B is None else _of(system.B).expand(S, n, m)
    if system.skip is not None:
        J = J + _of(system.skip)
    if system.tape is not None and system.theta is not None:
        tape = Tape.from_dict(system.tape).at(_of(system.theta).reshape(1, -1).expand(S, -1))
        J, G = J + tape.jacobian(at, level), G + tape.jacobian(at, level, by_inputs=True)
    if system.weights:
        function = ACTIVATIONS[str(system.activation)] if len(system.weights) > 1 else None
        value, by_x, by_u = (
            at,
            torch.eye(n, dtype=torch.float64).expand(S, n, n),
            torch.zeros(S, n, m, dtype=torch.float64),
        )
        for k, (weight, bias) in enumerate(zip(system.weights, system.biases, strict=True)):
            if k and function is not None:
                slope = _slope(str(system.activation), value)
                value, by_x, by_u = function(value), slope[..., None] * by_x, slope[..., None] * by_u
            value, by_x, by_u = value @ _of(weight).mT + _of(bias), _of(weight) @ by_x, _of(weight) @ by_u
            if not k and system.input_weights is not None:
                value, by_u = value + level @ _of(system.input_weights).mT, by_u + _of(system.input_weights)
        J, G = J + by_x, G + by_u
    return rates, np.asarray(J.numpy()), np.asarray(G.numpy())


def _slope(activation: str, value: Tensor) -> Tensor:
    if activation == "softplus":  # torch's own derivative is 1 beyond 20, and the model's the sigmoid everywhere
        return torch.sigmoid(value)
    leaf = value.detach().requires_grad_()
    return torch.autograd.grad(ACTIVATIONS[activation](leaf).sum(), leaf)[0]


def _of(array: Array) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float64))
