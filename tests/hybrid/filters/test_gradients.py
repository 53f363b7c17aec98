"""The gradient of a filter's log-likelihood is the one of differences, in everything that a fit may want to move.

A state that nothing drives and that is known exactly (the gut, which starts empty and is filled by doses) has no variance at all, so
that the roots are singular throughout: where a derivative of a triangular root is taken carelessly it is NaN here.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hybrid import Concentration, HybridModel, Interval, Mesh
from hybrid.filters import FILTERS, Filter, Followed, starting_belief
from learned import MLP, AdditiveProportional, DiagonalDiffusion, Ensemble
from physics import LinearisedBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from tests.builders import BOXES
from tests.homeostat.own_mechanism import TwoWays
from tests.hybrid.filters.followed import F64

KINDS = [kind for kind in FILTERS if kind.__name__ in ("UKF", "EKF")]  # the particles of the ensemble filter are drawn
COARSE = Mesh(0.8, 0.4, 0.5)


def _known(d: int) -> tuple[Any, Any]:
    backbone = OneCompartmentOral(**BOXES)
    if d:
        return backbone, LogNormalPopulation(backbone.physical, (0.4, 0.2, 0.2), learn_spread=True)
    return backbone, SharedPopulation(backbone, values={"ka": 1.1, "ke": 0.12, "V": 35.0})


def linear(d: int) -> HybridModel:
    backbone, population = _known(d)
    return _seen(backbone, population, None, Concentration("plasma", "V"))


def learned(d: int) -> HybridModel:
    backbone, population = _known(d)
    residual = MLP(2, hidden=(3,), state_scale=200.0, rate_scale=8.0)
    return _seen(backbone, population, residual, Concentration("plasma", "V"))


def mechanism(d: int) -> HybridModel:
    from hybrid import States

    backbone = LinearisedBackbone(TwoWays())
    values = {"ka": 1.1, "ke": 0.12, "Vmax": 15.0}
    if d:
        population: Any = LogNormalPopulation(backbone.physical, (0.3, 0.2, 0.2), learn_spread=True)
    else:
        population = SharedPopulation(backbone, values=values)
    return _seen(backbone, population, None, States(("plasma",)))


def _seen(backbone: Any, population: Any, residual: Any, observation: Any) -> HybridModel:
    return HybridModel(
        *(backbone, population, residual),
        observation=observation,
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
        process=DiagonalDiffusion({"plasma": 9.0}),
    )


SEEN = torch.tensor([[5.0, 4.0], [3.5, torch.nan], [4.5, 2.0]], dtype=F64)  # (T, N) of concentrations; one is missing


class Case:
    """A short record of two people, with two doses each between three measurements, as a function of everything in it."""

    def __init__(self, kind: type[Filter], make: Callable[[int], HybridModel], d: int, members: int) -> None:
        self.kind, self.d, self.members = kind, d, members
        model = make(d)
        self.model = model if members == 1 else Ensemble(members, "init").stack(model, torch.Generator().manual_seed(3))
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for name, value in self.model.named_parameters():
                value.requires_grad_(True)  # the spread of a population too
                if members > 1 and "residual" not in name:
                    value += 0.05 * torch.randn(value.shape, generator=generator, dtype=F64)
        scale = 30.0 if make is mechanism else 1.0  # an amount of plasma, not a concentration
        self.y = scale * SEEN
        self.given = {
            "amounts": torch.tensor([[300.0, 120.0], [250.0, 150.0]], dtype=F64),
            "times": torch.tensor([[0.3, 3.1], [0.0, 2.7]], dtype=F64),
        }
        if d:
            root = 0.3 * torch.randn(members, 2, d, d, generator=generator, dtype=F64)
            self.given |= {
                "η's mean": 0.3 * torch.randn(members, 2, d, generator=generator, dtype=F64),
                "η's covariance": 0.4 * torch.eye(d, dtype=F64) + root @ root.mT,
            }
        for value in self.given.values():
            value.requires_grad_(True)

    @property
    def leaves(self) -> dict[str, Tensor]:
        """Everything that the log-likelihood depends on."""
        return dict(self.model.named_parameters()) | self.given

    def log_likelihood(self) -> Tensor:
        """Of all that was seen of both people under all members."""
        model, given = self.model, self.given
        people = Followed.of(model, 2, mesh=COARSE, drift=20.0 if self.d else None)
        filter = self.kind(people)
        prior = (given["η's mean"], given["η's covariance"]) if self.d else None
        belief = starting_belief(people, personal=prior)
        total = torch.zeros((), dtype=F64)
        reached = given["times"][:, 0] * 0.0
        amounts, times = given["amounts"], given["times"]
        nothing = torch.zeros(2, dtype=F64)
        # (until when, what arrives as it begins, what is seen at its end)
        stretches = (
            *((times[:, 0], nothing, None), (torch.ones(2, dtype=F64), amounts[:, 0], 0), (2.5 + nothing, nothing, 1)),
            *((times[:, 1], nothing, None), (4.0 + nothing, amounts[:, 1], 2)),
        )
        for end, amount, k in stretches:
            jump = torch.stack([amount, nothing], -1)
            belief = filter.predict(belief, Interval.of(end - reached, 2, jump=jump, start=reached))
            reached = end
            if k is not None:
                belief, said = filter.update(belief, self.y[k][:, None])
                total = total + said.log_likelihood.sum()
        return total


def difference(case: Case, leaf: Tensor, direction: Tensor, step: float) -> float:
    """The derivative along a direction, by central differences of order four."""

    def at(distance: float) -> float:
        with torch.no_grad():
            before = leaf.clone()
            leaf += distance * direction
            found = float(case.log_likelihood())
            leaf.copy_(before)
        return found

    return (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * step)


@pytest.mark.parametrize("members", (1, 2))
@pytest.mark.parametrize("d", (0, 3))
@pytest.mark.parametrize("make", (linear, learned, mechanism), ids=lambda make: make.__name__)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_gradient_is_that_of_differences(
    kind: type[Filter], make: Callable[[int], HybridModel], d: int, members: int
) -> None:
    case = Case(kind, make, d, members)
    leaves = case.leaves
    gradients = torch.autograd.grad(case.log_likelihood(), list(leaves.values()))
    generator = torch.Generator().manual_seed(11)
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        assert torch.isfinite(gradient).all(), name
        # a random direction of each sees an error in any of its coordinates; amounts are hundreds of milligrams
        direction = torch.randn(leaf.shape, generator=generator, dtype=F64) * (100.0 if name == "amounts" else 1.0)
        if name == "times":
            direction[1, 0] = 0.0  # that dose is at the beginning, which is an end of the stretch before it
        if name == "η's covariance":
            direction = 0.2 * (direction + direction.mT)
        found = difference(case, leaf, direction, 1e-4)
        # rounding: 1e-16 of a value of ten over steps of 1e-4 is 1e-11; truncation: the fourth power of 1e-4
        assert found == pytest.approx(float((gradient * direction).sum()), rel=1e-6, abs=2e-8), name
