"""What is learned: the residual ε_φ(x, u, c), and the layered form in which it can be certified."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from learned.glance import built_with, glance
from learned.seen_theta import SeenTheta
from learned.sizes import tensor_of

Activation = Literal["tanh", "relu", "sigmoid", "softplus", "silu", "gelu"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softplus": nn.functional.softplus,
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
}


def _tanh(z: Tensor) -> Tensor:
    return 1.0 - torch.tanh(z).square()


def _relu(z: Tensor) -> Tensor:
    return (z > 0).to(z)


def _sigmoid(z: Tensor) -> Tensor:
    a = torch.sigmoid(z)
    return a * (1.0 - a)


def _silu(z: Tensor) -> Tensor:
    a = torch.sigmoid(z)
    return a * (1.0 + z * (1.0 - a))


def _gelu(z: Tensor) -> Tensor:
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2.0 * math.pi)
    return 0.5 * (1.0 + torch.erf(z / math.sqrt(2.0))) + z * density


_SLOPES: dict[str, Callable[[Tensor], Tensor]] = {  # φ'
    "tanh": _tanh,
    "relu": _relu,
    "sigmoid": _sigmoid,
    "softplus": torch.sigmoid,
    "silu": _silu,
    "gelu": _gelu,
}


class Residual(nn.Module, ABC):
    """A learned vector field ε_φ(x, u, c), in state units per time.

    Attributes: `states` n, `inputs` m, `covariates` r: the sizes that `forward` takes.
    `sees_theta`: the physical parameters θ (M, N, q), in the backbone's order and units, then stand behind c, which is
    (M, N, r + q): θ = c[..., r:]; with `seen_theta`, what that makes of θ (M, N, k) stands there in their place ·
    `vanishes`: ε = 0 everywhere, and nobody needs to ask it.
    Law: it vanishes where it is declared to (`vanishes_at_origin`: ε(0, 0, c) = 0 for every c).
    Every trainable tensor has a leading member axis (1 until an ensemble stacks it).
    """

    states: int
    inputs: int
    covariates: int
    vanishes_at_origin: bool
    sees_theta: bool = False
    seen_theta: SeenTheta | None = None
    vanishes: bool = False

    __repr__, _repr_html_ = glance(built_with)

    @abstractmethod
    def forward(
        self,
        x: Tensor,  # (M|1, N|1, n)
        u: Tensor,  # (M|1, N|1, m)
        c: Tensor,  # (M|1, N|1, r), with `sees_theta` (M|1, N|1, r + q), or r + k
    ) -> Tensor:  # (M, N, n)
        """ε_φ(x, u, c)."""

    @abstractmethod
    def reset(self, generator: torch.Generator) -> None:
        """Draw every trainable tensor anew."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON values."""


@dataclass(frozen=True)
class Bound:
    """ε(x, u, c) with c bound, for a residual without layers."""

    residual: Callable[[Tensor, Tensor, Tensor], Tensor]
    c: Tensor

    def __call__(self, x: Tensor, u: Tensor) -> Tensor:
        return self.residual(x, u, self.c)


@dataclass(frozen=True)
class Layers:
    """The plain arrays of a layered residual: ε = S x + W_L φ(… φ(W_1 x + U u + C c + b_1) …) + b_L − offset.

    `weights` (M, out, in), `biases` (M, out), `input_weights` U (M, h_1, m), `covariate_weights` C (M, h_1, r), `skip` S
    (M, n, n) or None for none; scalers are already folded in.
    With `vanishes_at_origin` the offset is the value of the rest at (0, 0, c), else it is 0.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    input_weights: Tensor
    covariate_weights: Tensor
    activation: Activation
    vanishes_at_origin: bool
    skip: Tensor | None = None

    __repr__, _repr_html_ = glance()

    def at(
        self,
        c: Tensor,  # (M|1, N, r)
    ) -> "Field":
        """The residual of people whose covariates and latents c are held for the whole path."""
        first = self.biases[0][:, None, :]  # (M, 1, h)
        if self.covariate_weights.shape[-1]:
            tensor_of(c, "the residual: c", "M", "N", self.covariate_weights.shape[-1], like=first)
            if 1 not in (len(c), len(first)) and len(c) != len(first):
                raise ValueError(f"the residual: c is of {len(c)} members and the weights of {len(first)}; give as many, or one")
        if self.covariate_weights.shape[-1]:
            first = first + c @ self.covariate_weights.mT  # (M, N, h)
        origin = [first]
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            origin.append(ACTIVATIONS[self.activation](origin[-1]) @ weight.mT + bias[:, None, :])
        phi = ACTIVATIONS[self.activation]
        return Field(
            weights=self.weights,
            bias=tuple(b[:, None, :] for b in self.biases),
            origin=tuple(origin),
            active=tuple(phi(o) for o in origin[:-1]),
            input_weights=self.input_weights,
            activation=self.activation,
            zero=self.vanishes_at_origin,
            skip=self.skip,
        )


@dataclass(frozen=True)
class Field:
    """A layered residual with c bound, written in differences from its values at the origin.

    `bias` (M, 1, out): the layers' own, without c · `origin` (M, N|1, out): every layer's value before φ at x = 0, u = 0,
    and `active` = φ(origin) of the hidden ones.
    With v_l the difference of a layer's value from `origin`, v_{l+1} = W_{l+1} (φ(v_l + origin_l) − active_l): the
    origin maps to the origin without any rounding. `zero` leaves out the last `origin`, so that ε(0, 0, c) = 0 exactly.
    """

    weights: tuple[Tensor, ...]
    bias: tuple[Tensor, ...]
    origin: tuple[Tensor, ...]
    active: tuple[Tensor, ...]
    input_weights: Tensor
    activation: Activation
    zero: bool
    skip: Tensor | None = None  # (M, n, n)

    __repr__, _repr_html_ = glance()

    def __call__(
        self,
        x: Tensor,  # (M, N, n)
        u: Tensor,  # (M|1, N, m)
    ) -> Tensor:  # (M, N, n)
        try:
            return self._value(x, u)
        except (TypeError, AttributeError, RuntimeError, IndexError):  # this runs in every stage of every step: only now look
            self._require(x, u)
            raise

    def _require(self, x: Tensor, u: Tensor) -> None:
        """Raise `ValueError` for an x or u that is none of this field's."""
        tensor_of(x, "the residual: x", "M", "N", self.weights[0].shape[-1], like=self.weights[0])
        if self.input_weights.shape[-1]:
            tensor_of(u, "the residual: u", "M", "N", self.input_weights.shape[-1], like=self.weights[0])
        given = (x, u if self.input_weights.shape[-1] else x, self.origin[0])
        for axis, what in enumerate(("members", "people")):
            # a list: a length that is open while a program is exported has no hash
            counts = [t.shape[axis] for t in given if t.shape[axis] != 1]
            if any(count != counts[0] for count in counts):
                seen = sorted(set(counts))
                raise ValueError(f"the residual: x, u and c are of {seen} {what}; give all for the same, or for one")

    def _value(self, x: Tensor, u: Tensor) -> Tensor:
        phi = ACTIVATIONS[self.activation]
        v = _times(x, self.weights[0])
        if self.input_weights.shape[-1]:
            v = v + _times(u, self.input_weights)
        for weight, origin, active in zip(self.weights[1:], self.origin[:-1], self.active, strict=True):
            # v is the difference from the origin's value here
            v = _times(phi(v + origin) - active, weight)
        if self.skip is not None:
            v = v + _times(x, self.skip)
        return v if self.zero else v + self.origin[-1]

    def jacobian(
        self,
        x: Tensor,  # (M, N, n)
        u: Tensor,  # (M|1, N, m)
    ) -> Tensor:  # (M, N, n, n)
        """∂ε/∂x = S + W_L φ'(z_{L−1}) W_{L−1} … φ'(z_1) W_1, z_l a layer's value before φ; differentiable in turn."""
        self._require(x, u)
        phi, slope = ACTIVATIONS[self.activation], _SLOPES[self.activation]
        v, J = _times(x, self.weights[0]), self.weights[0][:, None]
        if self.input_weights.shape[-1]:
            v = v + _times(u, self.input_weights)
        for weight, origin, active in zip(self.weights[1:], self.origin[:-1], self.active, strict=True):
            z = v + origin
            J = weight[:, None] @ (slope(z)[..., None] * J)
            v = _times(phi(z) - active, weight)
        J = J if self.skip is None else J + self.skip[:, None]
        return J.expand(*v.shape[:2], *J.shape[2:])

    def biases(self) -> tuple[Tensor, ...]:  # each (M, N|1, out)
        """The biases b of the plain form S x + W_L φ(… φ(W_1 x + b_1) …) + b_L of the same function, at u = 0."""
        last = self.bias[-1]
        if self.zero:
            last = -(self.active[-1] @ self.weights[-1].mT) if self.active else torch.zeros_like(self.origin[0])
        elif not self.active:
            last = self.origin[0]
        return (*self.origin[:1], *self.bias[1:-1], last) if self.active else (last,)


def _times(
    x: Tensor,  # (M|1, N, i)
    weight: Tensor,  # (M|1, o, i)
) -> Tensor:  # (M, N, o)
    # one call where a broadcasting matmul makes six: this runs in every stage of every step
    return torch.bmm(x, weight.mT) if x.shape[0] == weight.shape[0] else x @ weight.mT


class LayeredResidual(Residual):
    """A residual made of affine layers and one slope-restricted activation: it has the form of a Lur'e loop.

    Law: the layers, evaluated plainly in float64, are the forward pass, scalers included.
    """

    @abstractmethod
    def layers(self) -> Layers:
        """The folded arrays; differentiable in the trainable tensors."""
