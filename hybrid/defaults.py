"""The solvers that are taken where none is named."""

from typing import Protocol

import torch

from hybrid.solve.exponential import Exponential
from hybrid.solve.runge_kutta import RungeKutta
from hybrid.solve.solver import Solver
from physics.administered import Delivery


class HasShape(Protocol):
    """A model, as far as it says whether A(θ) x is all that there is, and what θ says of doses."""

    @property
    def linear(self) -> bool:
        """Is A(θ) x all that there is?"""

    @property
    def delivery(self) -> Delivery:
        """What θ says of doses."""


def simulating(dtype: torch.dtype) -> Solver:
    """Of what only simulates: steps by error control, to a tolerance that the type can keep. It needs no mesh."""
    return Exponential(rtol=1e-6) if dtype == torch.float64 else Exponential(rtol=1e-4)


def predicting(fitted: Solver | None, dtype: torch.dtype) -> Solver:
    """Of a prediction after a fit: the fit's own solver where that adapts its steps, else error control.

    Draws of a person's parameters may be faster than those for whom the mesh was made.
    """
    return fitted if fitted is not None and fitted.adaptive else simulating(dtype)


def differentiating(model: HasShape | None = None) -> Solver:
    """Of what differentiates, thousands of times: the classic method on the mesh that a cohort carries.

    Of a model that is linear, the exponential of A, which is exact in a step of any length: no parameter is too fast for it,
    however far from the start a search goes.
    """
    return Exponential() if model is not None and model.linear else RungeKutta("rk4")


def exact(model: HasShape) -> bool:
    """Is this a model whose records are cut by no mesh: linear, with doses that θ moves?

    A mesh would move with them, and its error jump by as much as it is whenever a stretch gets a step more or less.
    """
    return bool(model.linear and model.delivery)
