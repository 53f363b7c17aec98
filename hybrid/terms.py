"""The right-hand side as the sum of its terms, bound once for people whose θ and c are held.

dx/dt = A(θ) x + B(θ) u + infusions + Σ k(x, u; θ, c) + ε_φ(x, u, c): linear, forced, known and learned. Whoever asks for the
field, a part of it or its slope (a solver, a share, a penalty, a spread, a covariance, a picture, a certificate) asks here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hybrid.derivative import slope_of
from hybrid.remainder import Remainder, Whole, remainder_at
from learned.of_theta import with_theta
from learned.residual import Bound, Field, LayeredResidual, Residual
from physics import LinearisedBackbone
from physics.arguments import require_callable, require_kind, require_shape
from physics.glance import glance

Rate = Callable[[Tensor, Tensor], Tensor]  # of x (M, N, n) and u (M|1, N, m), (M, N, n) in state units per time


@dataclass(frozen=True)
class BoundTerm:
    """One summand f(x, u) of dx/dt for people whose θ and c are held, in state units per time.

    `value`: f as a function of x (M, N, n) and u (M|1, N, m), (M, N, n), that works person by person · `slope`: ∂f/∂x
    (M, N, n, n) in the same arguments, where the term knows it; else it is found by forward mode · `layers`: the same function
    as layers, where it has them.
    Law: `jacobian` is the derivative of `rate`.
    """

    value: Rate
    slope: Rate | None = None
    layers: Field | None = None

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        if self.layers is not None:
            require_kind(self.layers, Field, "BoundTerm: layers", "residual.layers().at(c), or None")
        if self.value is None:
            raise ValueError("BoundTerm: value is a function of x and u, and is None; write BoundTerm(lambda x, u: -x)")
        for what, function in (("value", self.value), ("slope", self.slope)):
            owner = getattr(function, "__self__", None)
            ours = isinstance(function, Field | Bound | Remainder) or owner is self.layers is not None
            ours = ours or isinstance(owner, Remainder)
            if not ours:  # ours are made in every solve
                require_callable(function, f"BoundTerm: {what}", "BoundTerm(lambda x, u: -x)", *[torch.zeros(1, 1, 1)] * 2)

    def rate(
        self,
        x: Tensor,  # (M, N, n)
        u: Tensor,  # (M|1, N, m)
    ) -> Tensor:  # (M, N, n)
        """f(x, u)."""
        _require_point(x, u, "BoundTerm.rate")
        return self.value(x, u)

    def jacobian(
        self,
        x: Tensor,  # (M, N, n)
        u: Tensor,  # (M|1, N, m)
    ) -> Tensor:  # (M, N, n, n)
        """∂f/∂x, in state units per time and state unit; differentiable in turn."""
        _require_point(x, u, "BoundTerm.jacobian")
        return slope_of(lambda at: self.value(at, u), x) if self.slope is None else self.slope(x, u)


class Term(nn.Module, ABC):
    """A known summand k(x, u; θ, c) of dx/dt beside A(θ) x + B(θ) u: what physics says and no matrix can.

    A class of one's own is one file: `at` and `config`, and then HybridModel(…, known=(Mine(),)). Everything that asks for
    the field sees it: solvers, shares, spreads, covariances, pictures. Numbers of its own are buffers.
    A model with such a term is not linear in x, so no certificate covers it until the term brings a form that one can be
    made of.
    Law: the field is the sum of its terms.
    """

    @abstractmethod
    def at(
        self,
        theta: Tensor,  # (M|1, N|1, q), in the backbone's order and units
        c: Tensor,  # (M|1, N|1, r), standardised covariates and latents
    ) -> BoundTerm:
        """The term for people whose θ and c are held: its rate, and its slope where it is known."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON values."""


@dataclass(frozen=True)
class Parts:
    """The terms of the field at a point, (M, N, n) each; None for what there is none of."""

    linear: Tensor
    forced: Tensor | None
    known: Tensor | None
    learned: Tensor | None

    __repr__, _repr_html_ = glance()

    @property
    def total(self) -> Tensor:  # (M, N, n)
        """Their sum, dx/dt."""
        found = self.linear
        for part in (self.forced, self.known, self.learned):
            found = found if part is None else found + part
        return found


@dataclass(frozen=True)
class RightHandSide:
    """dx/dt of people whose θ and c are held: what `HybridModel.at(theta, c)` gives.

    `A` (M|1, N|1, n, n), `B` (M|1, N|1, n, m) · `known`: the known terms beside them, first what they leave of a mechanism ·
    `learned`: ε, None where it is 0 everywhere · `tensors`: what known and learned terms are made from, none of them made from
    another.
    Laws: `rate` is the sum of `parts`; `jacobian` is its derivative.
    """

    A: Tensor
    B: Tensor
    known: tuple[BoundTerm, ...] = ()
    learned: BoundTerm | None = None
    tensors: tuple[Tensor, ...] = ()

    __repr__, _repr_html_ = glance()

    @property
    def linear(self) -> bool:
        """Is there nothing beside A x and what drives it?"""
        return not self.known and self.learned is None

    def parts(
        self,
        x: Tensor,  # (M, N, n)
        u: Tensor,  # (M|1, N, m)
        infused: Tensor | None = None,  # (M|1, N, n)
    ) -> Parts:
        """Every term at a point; `infused`: what runs in there, in state units per time."""
        self._require(x, u, "RightHandSide.parts")
        forced = (self.B @ u[..., None])[..., 0] if self.B.shape[-1] else None
        if infused is not None:
            require_shape(infused, "RightHandSide.parts: infused", "M", "N", x.shape[-1], write="run.infused", like=x)
            forced = infused if forced is None else forced + infused
        known: Tensor | None = None
        for term in self.known:
            value = term.value(x, u)
            known = value if known is None else known + value
        learned = None if self.learned is None else self.learned.value(x, u)
        return Parts((self.A @ x[..., None])[..., 0], forced, known, learned)

    def rate(
        self,
        x: Tensor,  # (M, N, n)
        u: Tensor,  # (M|1, N, m)
        infused: Tensor | None = None,  # (M|1, N, n)
    ) -> Tensor:  # (M, N, n)
        """dx/dt."""
        return self.parts(x, u, infused).total

    def jacobian(
        self,
        x: Tensor,  # (M, N, n)
        u: Tensor,  # (M|1, N, m)
    ) -> Tensor:  # (M, N, n, n)
        """∂(dx/dt)/∂x; differentiable in turn."""
        self._require(x, u, "RightHandSide.jacobian")
        J = self.A
        for term in (*self.known, *(() if self.learned is None else (self.learned,))):
            J = J + term.jacobian(x, u)
        return J.expand(*torch.broadcast_shapes(J.shape[:2], x.shape[:2]), *J.shape[2:])

    def semilinear(self) -> tuple[Tensor, Rate | None]:
        """A and what is left of known and learned terms, with everything that is linear in x in A, for an exponential step."""
        if self.learned is None or self.known:
            beside = (*self.known, *(() if self.learned is None else (self.learned,)))
            return self.A, Sum(tuple(term.value for term in beside)) if beside else None
        layers = self.learned.layers
        if layers is None or layers.skip is None:
            return self.A, self.learned.value
        return _plus(self.A, layers.skip), replace(layers, skip=None)

    @property
    def remainder(self) -> Remainder | None:
        """What A x + B u leave of a mechanism, None where there is none, or nothing is left of it."""
        first = self.known[0].value if self.known else None
        return first if isinstance(first, Remainder) else None

    def unsplit(self) -> Whole | None:
        """A x + B u and all other terms as one function of x and u, where a mechanism gives them without the split; else None."""
        remainder = self.remainder
        if remainder is None:
            return None
        others = (*self.known[1:], *(() if self.learned is None else (self.learned,)))
        return Whole(remainder.tape, tuple(term.value for term in others))

    def lure(self) -> dict[str, Any]:
        """The arrays of the Lur'e form, float64, as `HybridModel.lure` says, without the `scale` of a mechanism.

        Errors: `ValueError` where a term has neither layers nor a tape.
        """
        layers, remainder = None if self.learned is None else self.learned.layers, self.remainder
        if len(self.known) > (remainder is not None) or (self.learned is not None and layers is None):
            raise ValueError("RightHandSide.lure: a term has neither layers nor a tape, so there is no Lur'e form to certify")
        arrays: dict[str, Any] = {"A": _array(self.A), "B": _array(self.B), "weights": [], "biases": [], "activation": "tanh"}
        if remainder is not None:  # a proof is of the field, whatever split a solver takes
            tape = remainder.tape
            arrays |= {"A": np.zeros_like(arrays["A"][:1, :1]), "tape": tape.tape.to_dict(), "theta": _array(tape.theta)}
            del arrays["B"]
        if layers is None:
            return arrays
        arrays["weights"] = [_array(w[:, None]) for w in layers.weights]
        arrays["biases"] = [_array(b) for b in layers.biases()]
        if layers.input_weights.shape[-1]:
            arrays["input_weights"] = _array(layers.input_weights[:, None])
        arrays["activation"] = layers.activation
        if layers.skip is not None:
            arrays["skip"] = _array(layers.skip[:, None])
        return arrays

    def _require(self, x: Tensor, u: Tensor, name: str) -> None:
        _require_point(x, u, name)
        have, need = (x.shape[-1], u.shape[-1]), tuple(self.B.shape[-2:])
        if have != need:
            raise ValueError(f"{name}: x and u have {have} components and the model has {need} states and inputs; give as many")


@dataclass(frozen=True)
class Sum:
    """Several rates as one."""

    rates: tuple[Rate, ...]

    def __call__(self, x: Tensor, u: Tensor) -> Tensor:
        first, *others = self.rates
        found = first(x, u)
        for rate in others:
            found = found + rate(x, u)
        return found


def bound(
    matrices: tuple[Tensor, Tensor],  # A (M|1, N|1, n, n), B (M|1, N|1, n, m)
    known: Sequence[Term],
    residual: Residual,
    theta: Tensor,  # (M, N, q)
    c: Tensor,  # (M, N, r)
    mechanism: LinearisedBackbone | None = None,
) -> RightHandSide:
    """The right-hand side that these terms make for people whose θ and c are held; `mechanism`: what A and B are slopes of,
    where they leave something of it.
    """
    learned, tensors = learned_at(residual, theta, c)
    if not known and mechanism is None:
        return RightHandSide(*matrices, learned=learned, tensors=tensors)
    # aliases: A is made from θ too, and what one is differentiated in must not be made from the other (the adjoint's law)
    theta, c = theta.view_as(theta), c.view_as(c)
    terms = tuple(term.at(theta, c) for term in known)
    if mechanism is not None:
        left = remainder_at(mechanism, theta)
        terms = (BoundTerm(left, left.slope), *terms)
    own = (p for term in known for p in term.parameters())
    return RightHandSide(*matrices, terms, learned, (*tensors, theta, c, *own))


def learned_at(
    residual: Residual,
    theta: Tensor,  # (M, N, q)
    c: Tensor,  # (M, N, r)
) -> tuple[BoundTerm | None, tuple[Tensor, ...]]:
    """ε for people whose θ and c are held, None where it is 0 everywhere, and the tensors that it is made from.

    A residual that `sees_theta` gets it here: behind c.
    """
    if residual.vanishes:
        return None, ()
    c = with_theta(residual, theta, c)
    if not isinstance(residual, LayeredResidual):
        return BoundTerm(Bound(residual, c)), (c, *residual.parameters())
    layers = residual.layers()  # folded once
    field = layers.at(c)
    made_from = (c, *layers.weights, *layers.biases, layers.input_weights, layers.covariate_weights)
    return BoundTerm(field, field.jacobian, field), made_from


def _require_point(x: Tensor, u: Tensor, name: str) -> None:
    """Raise `ValueError` unless x and u are states and inputs of the same people."""
    require_shape(x, f"{name}: x", "M", "N", "n", write="torch.zeros(M, N, n)")
    require_shape(u, f"{name}: u", "M", "N", "m", write="torch.zeros(1, N, m), and (1, N, 0) without inputs", like=x)
    if x.shape[1] != u.shape[1] and 1 not in (x.shape[1], u.shape[1]):
        raise ValueError(f"{name}: x is of {x.shape[1]} people and u of {u.shape[1]}; give both for the same")


def _plus(
    A: Tensor,  # (M|1, N|1, n, n)
    skip: Tensor,  # (M|1, n, n)
) -> Tensor:  # (M, N|1, n, n)
    """A + S for every member. What people or members share stays shared in memory: matrix functions are made once for it."""
    shape = torch.broadcast_shapes(A.shape, (len(skip), 1, 1, 1))
    for axis in (0, 1):
        if A.stride(axis) == 0:
            A = A.narrow(axis, 0, 1)
    return (A + skip[:, None]).expand(shape)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float64).numpy()
