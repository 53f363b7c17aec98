"""An observation, a solver or a term that breaks a law is told which, with the numbers: one broken member for each law."""

import math
from dataclasses import replace
from typing import Any, Self

import pytest
import torch
from torch import Tensor

from hybrid import (
    BoundTerm,
    Cause,
    Failure,
    Observation,
    RungeKutta,
    SemilinearField,
    Solution,
    Solver,
    Term,
    check_observation,
    check_solver,
    check_term,
)
from physics import Backbone, OneCompartmentOral

F64 = torch.float64


class Sight(Observation):
    """y = 2 x_1, unless something is said to be wrong."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong, self.channels, self.units, self.linear = wrong, ("y",), ("mg",), wrong != "bent, and says so"
        if wrong == "names":
            self.channels = ("",)
        self.measured: tuple[tuple[int, int | None, float], ...] = ((1, None, 2.0),)

    def joined(self, backbone: Backbone) -> Self:
        again = type(self)(self.wrong)
        if self.wrong == "joined":
            again.measured = ((1, None, 2.0 * self.measured[0][2]),)
        return again

    def mean(self, x: Tensor, theta: Tensor) -> Tensor:
        y = 2.0 * x[..., 1:2]
        if self.wrong == "offset":
            y = y + 0.1
        if self.wrong.startswith("bent"):
            y = y.square()
        if self.wrong == "people":
            y = y + 0.1 * y.mean(1, keepdim=True)
        if self.wrong == "derivative":
            y = y.detach()
        if self.wrong == "finite":
            y = y / (y > 3.0)
        return y[..., 0] if self.wrong == "shape" else y

    def config(self) -> dict[str, Any]:
        return {"wrong": self.wrong if self.wrong != "config" else "offset"}


@pytest.mark.parametrize("right", ["", "bent, and says so"])
def test_an_observation_of_ones_own_keeps_the_laws(right: str) -> None:
    check_observation(Sight(right), OneCompartmentOral())


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("names", "a name of its own"),
        ("joined", "joined to the backbone twice"),
        ("shape", r"h is \(2, 3, 4\)"),
        ("finite", "finite: False"),
        ("people", "changes with who else is in the batch"),
        ("offset", r"of states that are 0 it shows up to 0\.1 more than its `offset` says"),
        ("bent", "says linear"),
        ("derivative", "is 0 by autograd and .* by differences"),
        ("config", "rebuilt by its configuration h differs"),
    ],
)
def test_a_broken_observation_fails_the_right_law(wrong: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"check_observation: Sight: .*{sentence}"):
        check_observation(Sight(wrong), OneCompartmentOral())


class Crank(Solver):
    """The classic method, unless something is said to be wrong with it."""

    def __init__(self, wrong: str = "", order: int | None = 4) -> None:
        self.wrong, self.within = wrong, RungeKutta("bosh3" if wrong == "order" else "rk4")
        if order is not None:
            self.order = order

    @property
    def adaptive(self) -> bool:
        return self.wrong == "adaptive"

    def solve(self, field: SemilinearField, x0: Tensor) -> Solution:
        if self.adaptive:
            return RungeKutta("tsit5", rtol=1e-3, atol=1e-3).solve(field, x0)
        found = self.within.solve(field, x0)
        if self.wrong == "dose":  # what is measured at its time is measured after it
            given = field.segments.jump[:, 1:].sum(1)
            return replace(found, states=torch.cat([found.states[:, :, :1] + given[:, None], found.states[:, :, 1:]], 2))
        if self.wrong == "batch":
            return replace(found, states=found.states + 1e-6 * (x0.shape[1] - 1))
        if self.wrong == "raises" and found.failures:
            raise RuntimeError("overflow")
        if self.wrong == "silent":
            return replace(found, failures=())
        if self.wrong == "blames all" and found.failures:
            return replace(found, failures=(*found.failures, Failure(0, 1.0, Cause.COLLAPSED)))
        if self.wrong == "no NaN" and found.failures:
            return replace(found, states=torch.nan_to_num(found.states))
        if self.wrong == "gradient":
            return replace(found, states=0.5 * (found.states + found.states.detach()))
        if self.wrong == "no gradient":
            return replace(found, states=found.states.detach())
        return found


def test_a_solver_of_ones_own_keeps_the_laws() -> None:
    check_solver(Crank())


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("order", "declares order 4, and halving the step divides the error by 2\\^2.9"),
        ("dose", "at the time of a dose, before it, the state is off by 0.174"),
        ("batch", "differ by 2e-06 where others are solved beside it"),
        ("raises", r"raises RuntimeError \(overflow\)"),
        ("silent", "the failures are of nobody"),
        ("blames all", r"the failures are of \[0, 1\]"),
        ("no NaN", "its states need to be NaN"),
        ("gradient", "the gradient by a dose is"),
        ("no gradient", "no gradient by a dose"),
    ],
)
def test_a_broken_solver_fails_the_right_law(wrong: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"check_solver: Crank: .*{sentence}"):
        check_solver(Crank(wrong))


def test_what_a_solver_does_not_say_has_to_be_said() -> None:
    with pytest.raises(ValueError, match="has no attribute order; say which it is, order=4"):
        check_solver(Crank(order=None))
    check_solver(Crank(order=None), order=4)
    with pytest.raises(ValueError, match="say how far its tolerance lets it err, accuracy=1e-5"):
        check_solver(Crank("adaptive"))
    with pytest.raises(ValueError, match="and its tolerance was to leave 1e-12 at most"):
        check_solver(Crank("adaptive"), accuracy=1e-12)
    check_solver(Crank("adaptive"), accuracy=1e-2)


def test_the_problem_has_the_solution_that_it_is_said_to_have() -> None:
    from hybrid.laws.solver import BENDS, RATES, exact

    z = torch.tensor([0.9, 0.8], dtype=F64)
    for t in (0.3, 1.0, 2.0):
        h = 1e-5
        slope = (exact(z, t + h) - exact(z, t - h)) / (2.0 * h)
        at = exact(z, t)
        want = [-a * float(v) + b * float(v) ** 2 for a, b, v in zip(RATES, BENDS, at, strict=True)]
        assert slope.tolist() == pytest.approx(want, rel=1e-8)
    assert math.isclose(float(exact(z, 0.0)[0]), 0.9, rel_tol=1e-15)


class Saturating(Term):
    """−v V x/(30 + x) + c u of the plasma; `wrong` in the way that it says."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong = wrong

    def at(self, theta: Tensor, c: Tensor) -> BoundTerm:
        if self.wrong == "no term":
            return None  # type: ignore[return-value]
        v = 0.1 * theta[..., 2] * (1.0 + c[..., 0])
        if self.wrong == "shared":
            v = v + 0.1 * theta.shape[0] * theta.shape[1]
        if self.wrong == "theta":
            v = v.detach()

        def rate(x: Tensor, u: Tensor) -> Tensor:
            fall = -v * x[..., 1] / (30.0 + x[..., 1])
            if self.wrong == "people":
                fall = fall + 0.1 * x[..., 1].mean(1, keepdim=True)
            if self.wrong == "members":
                fall = fall + 0.1 * x[..., 1].mean(0, keepdim=True)
            if self.wrong == "finite":
                fall = fall / (x[..., 1] > 3.0)
            if self.wrong == "detached":
                fall = -v * x[..., 1].detach() / (30.0 + x[..., 1])
            found = torch.stack([torch.zeros_like(fall), fall], -1)
            return found[..., :1] if self.wrong == "shape" else found

        def slope(x: Tensor, u: Tensor) -> Tensor:
            J = torch.zeros(*x.shape, 2, dtype=x.dtype)
            J[..., 1, 1] = -v * 30.0 / (30.0 + x[..., 1]).square()
            if self.wrong == "transposed":
                J[..., 0, 1] = J[..., 1, 1]
            return J[..., 0] if self.wrong == "slope" else J

        return BoundTerm(rate, slope if self.wrong in ("with a slope", "transposed", "slope") else None)

    def config(self) -> dict[str, Any]:
        return {"wrong": self.wrong if self.wrong != "config" else "members"}


@pytest.mark.parametrize("right", ["", "with a slope"])
def test_a_term_of_ones_own_keeps_the_laws(right: str) -> None:
    check_term(Saturating(right), OneCompartmentOral(), covariates=1)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("no term", r"what at\(theta, c\) gives must be a BoundTerm"),
        ("shape", r"the rate is \(2, 3, 1\)"),
        ("finite", "finite: False"),
        ("people", "changes with who else is in the batch"),
        ("members", "changes with who else is in the batch"),
        ("shared", "changes with who else|another rate than the same θ for each"),
        ("transposed", "the jacobian differs from differences of the rate"),
        ("slope", r"the jacobian has shape \(2, 3, 2\)"),
        ("detached", "the jacobian differs from differences of the rate"),
        ("theta", "by autograd and .* by differences"),
        ("config", "rebuilt by its configuration the rate differs"),
    ],
)
def test_a_broken_term_fails_the_right_law(wrong: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"check_term: Saturating: .*({sentence})"):
        check_term(Saturating(wrong), OneCompartmentOral(), covariates=1)
