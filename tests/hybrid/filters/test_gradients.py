"""The gradient of a filter's log-likelihood is the one of differences, in everything that a fit may want to move.

A state that nothing drives and that is known exactly (the gut, which starts empty and is filled by doses) has no variance at
all, so that the roots are singular throughout: where a derivative of a triangular root is taken carelessly it is NaN here.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hybrid import Concentration, HybridModel, Interval, Mesh, States
from hybrid.filters import FILTERS, Filter, Followed, starting_belief
from learned import MLP, AdditiveProportional, DiagonalDiffusion, Ensemble
from physics import LinearisedBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from tests.builders import BOXES
from tests.homeostat.own_mechanism import TwoWays
from tests.hybrid.filters.followed import F64

KINDS = [kind for kind in FILTERS if kind.__name__ in ("UKF", "EKF")]  # the particles of the ensemble filter are drawn
COARSE = Mesh(1.0)  # what is differentiated is the step as it is taken, however coarse


def _known(d: int) -> tuple[Any, Any]:
    backbone = OneCompartmentOral(**BOXES)
    if d:
        return backbone, LogNormalPopulation(backbone.physical, (0.2, 0.2, 0.2), learn_spread=True)
    return backbone, SharedPopulation(backbone, values={"ka": 1.1, "ke": 0.12, "V": 35.0})


def linear(d: int) -> HybridModel:
    backbone, population = _known(d)
    return _seen(backbone, population, None, Concentration("plasma", "V"))


def learned(d: int) -> HybridModel:
    backbone, population = _known(d)
    residual = MLP(2, hidden=(3,), state_scale=200.0, rate_scale=8.0)
    return _seen(backbone, population, residual, Concentration("plasma", "V"))


def mechanism(d: int) -> HybridModel:
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
        self.kind, self.drift = kind, 20.0 if d else None
        model = make(d)
        self.model = model if members == 1 else Ensemble(members, "init").stack(model, torch.Generator().manual_seed(3))
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for name, value in self.model.named_parameters():
                value.requires_grad_(True)  # the spread of a population too
                if members > 1 and "residual" not in name:
                    value += 0.05 * torch.randn(value.shape, generator=generator, dtype=F64)
        self.y = SEEN * (30.0 if make is mechanism else 1.0)  # an amount of plasma, not a concentration
        self.amounts = torch.tensor([[300.0, 120.0], [250.0, 150.0]], dtype=F64, requires_grad=True)
        # the second person's first dose comes as the record begins
        self.times = torch.tensor([[0.3, 3.6], [0.0, 2.7]], dtype=F64, requires_grad=True)
        self.prior: tuple[Tensor, Tensor] | None = None
        if d:
            root = 0.3 * torch.randn(members, 2, d, d, generator=generator, dtype=F64)
            covariance = 0.4 * torch.eye(d, dtype=F64) + root @ root.mT
            mean = 0.3 * torch.randn(members, 2, d, generator=generator, dtype=F64)
            self.prior = mean.requires_grad_(True), covariance.requires_grad_(True)

    def leaves(self) -> dict[str, list[Tensor]]:
        """Everything that the log-likelihood depends on, by what it is."""
        found: dict[str, list[Tensor]] = {}
        for name, value in self.model.named_parameters():
            if value.numel():  # without inputs there are no weights of inputs
                found.setdefault(name.split(".")[0], []).append(value)  # weights, the population, g and σ
        found |= {"doses": [self.amounts], "their times": [self.times]}
        if self.prior is not None:
            found |= {"η's mean": [self.prior[0]], "η's covariance": [self.prior[1]]}
        return found

    def log_likelihood(self) -> Tensor:
        """Of all that was seen of both people under all members."""
        filter = self.kind(Followed.of(self.model, 2, mesh=COARSE, drift=self.drift))
        belief = starting_belief(filter.people, personal=self.prior)
        total, reached, nothing = torch.zeros((), dtype=F64), torch.zeros(2, dtype=F64), torch.zeros(2, dtype=F64)
        # until when, what arrives as it begins, what is seen at its end
        for end, amount, k in (
            *((self.times[:, 0], nothing, None), (1.0 + nothing, self.amounts[:, 0], 0), (2.5 + nothing, nothing, 1)),
            *((self.times[:, 1], nothing, None), (4.5 + nothing, self.amounts[:, 1], 2)),
        ):
            jump = torch.stack([amount, nothing], -1)
            belief = filter.predict(belief, Interval.of(end - reached, 2, jump=jump, start=reached))
            reached = end
            if k is not None:
                belief, said = filter.update(belief, self.y[k][:, None])
                total = total + said.log_likelihood.sum()
        return total


def difference(case: Case, leaves: list[Tensor], directions: list[Tensor], step: float) -> float:
    """The derivative along a direction, by central differences."""

    def at(distance: float) -> float:
        with torch.no_grad():
            before = [leaf.clone() for leaf in leaves]
            for leaf, direction in zip(leaves, directions, strict=True):
                leaf.add_(distance * direction)
            found = float(case.log_likelihood())
            for leaf, value in zip(leaves, before, strict=True):
                leaf.copy_(value)
        return found

    return (at(step) - at(-step)) / (2.0 * step)


def along_a_line(name: str, leaves: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    """A random direction: it sees an error in any coordinate. Amounts are hundreds of milligrams."""
    found = [torch.randn(leaf.shape, generator=generator, dtype=F64) for leaf in leaves]
    if name == "doses":
        return [100.0 * v for v in found]
    if name == "η's covariance":
        return [0.2 * (v + v.mT) for v in found]
    if name == "their times":
        # of a state that is known exactly there, a root has no derivative along the noise of a stretch of no length
        found[0][1, 0] = 0.0
    return found


def require_gradient(kind: type[Filter], make: Callable[[int], HybridModel], d: int, members: int) -> None:
    case = Case(kind, make, d, members)
    leaves, generator = case.leaves(), torch.Generator().manual_seed(11)
    everything = [leaf for some in leaves.values() for leaf in some]
    value = case.log_likelihood()
    assert torch.isfinite(value)  # nobody diverged
    found = dict(zip(map(id, everything), torch.autograd.grad(value, everything), strict=True))
    for name, some in leaves.items():
        gradients, directions = [found[id(leaf)] for leaf in some], along_a_line(name, some, generator)
        assert all(torch.isfinite(g).all() for g in gradients), name
        slope = sum(float((g * v).sum()) for g, v in zip(gradients, directions, strict=True))
        # truncation: the square of the step, some 1e-9; rounding: 1e-14 of a value of some tens over it, 1e-9
        assert slope == pytest.approx(difference(case, some, directions, 3e-5), rel=1e-6, abs=1e-7), name


CASES = [(kind, make, d, M) for kind in KINDS for make in (linear, learned, mechanism) for d in (0, 3) for M in (1, 2)]
# of each filter a mechanism with η, and learned weights of two members; a linear model, which both follow alike, of one filter
QUICK = [
    (kind, *rest)
    for kind in KINDS
    for rest in ((linear, 3, 1), (learned, 0, 2), (mechanism, 3, 1))
    if (kind.__name__, rest[0]) != ("EKF", linear)
]


def _named(one: Any) -> str:
    return getattr(one, "__name__", str(one))


@pytest.mark.parametrize(("kind", "make", "d", "members"), QUICK, ids=_named)
def test_the_gradient_is_that_of_differences(
    kind: type[Filter], make: Callable[[int], HybridModel], d: int, members: int
) -> None:
    require_gradient(kind, make, d, members)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "make", "d", "members"), [case for case in CASES if case not in QUICK], ids=_named)
def test_the_gradient_is_that_of_differences_everywhere(
    kind: type[Filter], make: Callable[[int], HybridModel], d: int, members: int
) -> None:
    require_gradient(kind, make, d, members)
