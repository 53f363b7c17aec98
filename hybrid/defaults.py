"""The solvers that are taken where none is named."""

from typing import Protocol

import torch

from hybrid.solve.exponential import Exponential
from hybrid.solve.runge_kutta import RungeKutta
from hybrid.solve.solver import Solver
from physics.administered import Delivery


class Differentiated(Protocol):
    """A model, as far as it says which method suits it."""

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


def differentiating(model: Differentiated) -> Solver:
    """Of what differentiates, thousands of times: the classic method on the mesh that a cohort carries.

    Where θ moves doses that mesh moves too, and its error jumps by as much as it is whenever a stretch gets one step more or less:
    a search for a mode would see jumps. A linear model is solved exactly instead, in one step from event to event.
    """
    return Exponential() if exact(model) else RungeKutta("rk4")


def exact(model: Differentiated) -> bool:
    """Is this a model that is solved without a mesh: linear, with doses that move?"""
    return bool(model.linear and model.delivery)
