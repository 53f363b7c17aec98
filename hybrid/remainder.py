"""What A x + B u leave of a mechanism: the known term beside the linear part, and the mechanism whole for who needs no split."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from physics import LinearisedBackbone
from physics.glance import glance
from physics.tape import BoundTape


@dataclass(frozen=True)
class Remainder:
    """f(x, u, θ) − A(θ) x − B(θ) u of people whose θ is held, as a function of x and u.

    `A` (M|1, N|1, n, n) and `B` (M|1, N|1, n, m), those of the model's backbone, made from the same θ as the `tape` of f.
    Law: `slope` is the derivative of the call; A x + B u + the call is `tape.rate`.
    """

    A: Tensor
    B: Tensor
    tape: BoundTape

    __repr__, _repr_html_ = glance()

    def __call__(
        self,
        x: Tensor,  # (M, N, n)
        u: Tensor,  # (M|1, N, m)
    ) -> Tensor:  # (M, N, n)
        rate = self.tape.rate(x, u) - (self.A @ x[..., None])[..., 0]
        return rate - (self.B @ u[..., None])[..., 0] if u.shape[-1] else rate

    def slope(
        self,
        x: Tensor,  # (M, N, n)
        u: Tensor,  # (M|1, N, m)
    ) -> Tensor:  # (M, N, n, n)
        """∂/∂x."""
        return self.tape.jacobian(x, u) - self.A


@dataclass(frozen=True)
class Whole:
    """The rate of a mechanism and of what stands beside it as one function of x and u: all of dx/dt, without any split."""

    tape: BoundTape
    others: tuple[Callable[[Tensor, Tensor], Tensor], ...] = ()

    __repr__, _repr_html_ = glance()

    def __call__(
        self,
        x: Tensor,  # (M, N, n)
        u: Tensor,  # (M|1, N, m)
    ) -> Tensor:  # (M, N, n)
        found = self.tape.rate(x, u)
        for rate in self.others:
            found = found + rate(x, u)
        return found


def remainder_at(
    backbone: LinearisedBackbone,
    theta: Tensor,  # (M, N, q)
) -> Remainder:
    """The remainder for people whose θ is held."""
    return Remainder(*backbone.matrices(theta), backbone.mechanism.tape.at(theta))
