"""A backbone or population that breaks a law is told which, with the numbers: one broken member for each law."""

from typing import Any

import pytest
import torch
from torch import Tensor

from physics import Backbone, Defaults, Observed, Parameter, Population, check_backbone, check_population
from tests.builders import COVARIATES, POPULATION_BUILDERS

F64 = torch.float64


class Leak(Backbone):
    """One state that leaves at the rate k, unless something is said to be wrong."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong = wrong
        self.states, self.state_units, self.inputs, self.input_units = ("a",), ("mg",), (), ()
        self.physical = (Parameter("k", "/h", 1.0, 0.1, 4.0),)
        self.time_unit = "h"
        if wrong == "units":
            self.state_units = ()
        if wrong == "defaults":
            self.defaults = Defaults(observed=(Observed("plasma"),))
        if wrong == "kind of defaults":
            self.defaults = "a"  # type: ignore[assignment]
        if wrong == "no unit":
            self.time_unit = "hr"
        if wrong == "names":
            self.states, self.state_units = ("a", "a"), ("mg", "mg")

    def matrices(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        k = theta[..., 0]
        if self.wrong == "stable":
            k = k - 0.2
        if self.wrong == "finite":
            k = torch.where(k > 3.9, torch.inf, k)
        if self.wrong == "own" and theta.ndim > 1:
            k = k + 1e-3 * theta[..., 0].mean()
        if self.wrong == "derivative":
            k = k.detach()
        if self.wrong == "half derivative":
            k = 0.5 * k + 0.5 * k.detach()
        A = -k[..., None, None]
        if self.wrong == "shape":
            A = A[..., 0]
        if self.wrong == "float32":
            A = A.float()
        return A, A.new_zeros(*theta.shape[:-1], 1, 0)

    def hull(self, lower: Tensor, upper: Tensor) -> Tensor:
        ends = torch.stack([lower, upper if self.wrong != "hull" else 0.5 * (lower + upper)])
        return self.matrices(ends)[0] if self.wrong != "hull shape" else -ends

    def initial(self, theta: Tensor, baseline: Tensor) -> Tensor:
        if self.wrong == "refuses":
            raise ValueError("never")
        if self.wrong == "says what it needs" and bool(torch.isnan(baseline).any()):
            raise ValueError("a has to be measured")
        return torch.nan_to_num(baseline[..., :1]) if self.wrong != "start" else baseline[..., :1]

    def config(self) -> dict[str, Any]:
        if self.wrong == "json":
            return {"wrong": {1, 2}}
        return {"wrong": self.wrong if self.wrong != "config" else "stable"}


@pytest.mark.parametrize("right", ["", "says what it needs"])
def test_a_backbone_of_ones_own_keeps_the_laws(right: str) -> None:
    check_backbone(Leak(right))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("names", "names that differ"),
        ("units", "1 states with 0 units"),
        ("defaults", r"its defaults name \['plasma'\], and its states are \['a'\]"),
        ("kind of defaults", "its defaults must be a Defaults"),
        ("no unit", "time: 'hr' is not a UCUM code; write 'h'"),
        ("shape", r"its A is \(1,\) in torch.float64; it needs \(1, 1\)"),
        ("float32", "in torch.float32; it needs"),
        ("finite", r"A or B is not finite at k=(3.9\d*|4) /h"),
        ("stable", r"not stable, an eigenvalue of A has the real part 0.1 .* at k=0.1 /h"),
        ("own", "when other people's θ stand beside it"),
        ("hull", r"lies outside of hull\(lower, upper\), by"),
        ("hull shape", r"needs finite matrices \(V, 1, 1\), and has \(2, 1\)"),
        ("derivative", r"derivative of A by log k is 0 by autograd and -"),
        ("half derivative", r"by autograd and .* by differences"),
        ("refuses", "initial refuses the baseline"),
        ("start", r"with no baseline \(NaN\) initial gives"),
        ("json", "not rebuilt by its configuration"),
        ("config", "its A differs by 0.2"),
    ],
)
def test_a_broken_backbone_fails_the_right_law(wrong: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"check_backbone: Leak: .*{sentence}"):
        check_backbone(Leak(wrong))


def test_a_backbone_that_says_nothing_of_itself() -> None:
    class Silent(Leak):
        def __init__(self) -> None:
            Backbone.__init__(self)

    with pytest.raises(ValueError, match="Silent: says nothing of states, state_units, inputs, input_units, physical, time_unit"):
        check_backbone(Silent())


def test_draws_and_generator_say_which_points_are_tried() -> None:
    class Narrow(Leak):
        """Unstable between 1 and 1.0001 alone: a law that is tried at points, and not proved."""

        def matrices(self, theta: Tensor) -> tuple[Tensor, Tensor]:
            A, B = super().matrices(theta)
            return torch.where((theta[..., None] > 1.0) & (theta[..., None] < 1.0001), 1.0, A), B

    check_backbone(Narrow(), draws=2)
    with pytest.raises(ValueError, match="not stable"):
        check_backbone(Narrow(), draws=200_000, generator=torch.Generator().manual_seed(1))


class Spread(Population):
    """θ = 1 + tanh(η)/2 in the box (.5, 1.5), unless something is said to be wrong."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong, self.dimension = wrong, 1
        shape = (1, 1) if wrong != "axis" else (3,)
        self.centre = torch.nn.Parameter(torch.ones(shape, dtype=F64))

    @property
    def box(self) -> Tensor:
        return torch.tensor([[0.5, 1.5 if self.wrong != "ends" else torch.inf]], dtype=F64)

    def theta(self, eta: Tensor, covariates: dict[str, Tensor]) -> Tensor:
        if self.wrong == "box":
            return 1.0 + 0.1 * eta
        if self.wrong == "slope":
            return 1.0 + 0.5 * torch.tanh(eta) + 0.0 * torch.sqrt(0.0 * eta)
        value = 1.0 + 0.5 * torch.tanh(eta)
        return value if self.wrong != "shape" else value[..., 0]

    def log_prior(self, eta: Tensor) -> Tensor:
        square = eta.square().sum(-1)
        return -square if self.wrong == "prior" else -0.5 * square + 3.0

    def config(self) -> dict[str, Any]:
        return {"wrong": self.wrong if self.wrong != "config" else "box"}


def test_a_population_of_ones_own_keeps_the_laws() -> None:
    check_population(Spread())


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("axis", "a member axis of size 1 in front"),
        ("ends", "box needs finite ends"),
        ("shape", r"θ is \(2, 3\); it needs .* \(2, 3, 1\)"),
        ("box", "outside of its box"),
        ("slope", "the gradient of θ by η is not finite"),
        ("prior", "where the standard normal's changes by"),
        ("config", "rebuilt by its configuration"),
    ],
)
def test_a_broken_population_fails_the_right_law(wrong: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"check_population: Spread: .*{sentence}"):
        check_population(Spread(wrong))


def test_a_population_is_checked_for_people_with_its_covariates() -> None:
    population = POPULATION_BUILDERS["van Cauter"]()
    with pytest.raises(ValueError, match=r"θ reads \['age', 'type2'\]; give them, covariates="):
        check_population(population)
    check_population(population, {name: COVARIATES[name] for name in ("age", "type2")})
