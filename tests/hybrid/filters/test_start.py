"""The first belief against closed forms and against many draws."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from hybrid import Concentration, HybridModel, Mesh, States
from hybrid.filters import Followed, starting_belief
from learned import AdditiveProportional, Constant, Ensemble
from physics import LinearBackbone, LogNormalPopulation, Mechanism, OneCompartmentOral, Parameter, SharedPopulation
from tests.builders import BOXES, SPREAD
from tests.hybrid.filters.followed import F64


def oral(people: int = 2, **parts: Any) -> Followed:
    """Plasma starts from what was measured: x = y V(η)."""
    backbone = OneCompartmentOral(**BOXES)
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, SPREAD),
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([0.2], [0.1], [0.05]),
        **parts,
    )
    return Followed.of(model, people, mesh=Mesh(0.2), floor={})


class Basin(Mechanism):
    """A vessel that fills at u and at k, and empties at a rate of its own: it starts at its equilibrium (u + k)/r."""

    time_unit, scale = "h", {"level": 10.0}
    states = {"level": "L"}
    inputs = {"u": "L/h"}
    physical = (Parameter("r", "/h", 0.5, 0.1, 2.0), Parameter("k", "L/h", 3.0, 1.0, 9.0))

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"level": u.u + theta.k - theta.r * x.level}


def basin(people: int) -> Followed:
    model = HybridModel(
        Basin(),
        LogNormalPopulation(Basin(), {"r": 0.2, "k": 0.1}),
        observation=States(["level"]),
        noise=Constant([0.5], [0.01]),
    )
    return Followed.of(model, people, mesh=Mesh(0.2), floor={"level": 0.1})


def moments(people: Followed, baseline: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of (x, η) of the first person by draws of the baseline and of η, as the definition says."""
    model, g = people.model, torch.Generator().manual_seed(0)
    eta = torch.randn(1, count, model.personal, generator=g, dtype=F64)
    y = baseline[:1].expand(count, -1).clone()
    with torch.no_grad():
        nothing = torch.zeros(1, count, 1, people.states, dtype=F64), torch.zeros(1, count, 1, 0, dtype=F64)
        sd = model.noise.variance(y[None, :, None], *nothing)[0, :, 0].sqrt()
        y = y + sd * torch.randn(y.shape, generator=g, dtype=F64)
        x = model.initial(model.theta(eta, {}), y)
    whole = torch.cat([x, eta], -1)[0]
    return whole.mean(0), torch.cov(whole.T)


def test_a_measured_baseline_with_its_noise_and_the_person_in_it() -> None:
    """x = y V: mean and variance of a product, and its covariance with log V's coordinate, by draws."""
    people = oral()
    y = torch.tensor([[4.0], [math.nan]], dtype=F64)
    with torch.no_grad():
        found = starting_belief(people, baseline=y)
    mean, covariance = moments(people, y, 200_000)
    sd = covariance.diagonal().sqrt()
    # sigma points see a log-normal of spread .2 to third order: 2 % of a standard deviation, and 5 % of a covariance
    assert float(((found.mean[0, 0] - mean).abs() / sd.clamp(min=1e-9))[1:].max()) < 0.02
    assert float(((found.covariance[0, 0] - covariance).abs() / (sd[:, None] * sd + 1e-9))[1:, 1:].max()) < 0.05
    assert found.covariance[0, 0, 1, 4] > 0.8 * sd[1]  # whose V is larger has more of it
    assert float(found.mean[0, 0, 0]) == 0.0  # nothing in the gut, and that is known
    assert float(found.root[0, 0, 0].abs().max()) == 0.0


def test_nothing_measured_is_what_the_model_says() -> None:
    people = oral()
    with torch.no_grad():
        found = starting_belief(people, baseline=torch.full((2, 1), torch.nan, dtype=F64))
    assert float(found.x.abs().max()) == 0.0
    assert float(found.root[..., :2, :].abs().max()) == 0.0
    assert torch.allclose(found.covariance[..., 2:, 2:], torch.eye(3, dtype=F64).expand(1, 2, 3, 3), atol=1e-15)
    assert torch.equal(starting_belief(people).mean, found.mean)
    assert torch.equal(starting_belief(people).root, found.root)


def test_with_a_known_person_it_is_the_closed_form() -> None:
    """η is known: x = y V(η), and its standard deviation σ(y) V(η), to rounding."""
    people = oral()
    eta = torch.tensor([[[0.3, -0.5, 0.8], [0.0, 0.0, 0.0]]], dtype=F64)
    y = torch.tensor([[4.0], [9.0]], dtype=F64)
    with torch.no_grad():
        found = starting_belief(people, baseline=y, personal=(eta, torch.zeros(1, 2, 3, 3, dtype=F64)))
        V = people.model.theta(eta, {})[0, :, 2]
    sd = (0.05**2 + 0.2**2 + (0.1 * y[:, 0]) ** 2).sqrt()
    assert torch.allclose(found.x[0, :, 1], y[:, 0] * V, rtol=1e-14)
    assert torch.allclose(found.root[0, :, 1].norm(dim=-1), sd * V, rtol=1e-13)
    assert torch.equal(found.personal, eta)
    assert float(found.root[..., 2:, :].abs().max()) == 0.0


def test_a_personal_posterior_is_carried_with_its_covariance() -> None:
    people = oral()
    g = torch.Generator().manual_seed(1)
    half = 0.3 * torch.randn(1, 2, 3, 3, generator=g, dtype=F64) + 0.2 * torch.eye(3, dtype=F64)
    covariance, mean = half @ half.mT, 0.5 * torch.randn(1, 2, 3, generator=g, dtype=F64)
    found = starting_belief(people, baseline=torch.tensor([[4.0], [5.0]], dtype=F64), personal=(mean, covariance))
    assert torch.allclose(found.covariance[..., 2:, 2:], covariance, atol=1e-14)
    assert torch.allclose(found.personal, mean, atol=1e-15)


def test_a_mechanism_starts_at_everyones_own_equilibrium_at_their_inputs() -> None:
    """level = (u + k)/r with log r and log k normal: the moments of a log-normal."""
    people = basin(2)
    u = torch.tensor([[1.0], [6.0]], dtype=F64)
    with torch.no_grad():
        found = starting_belief(people, inputs=u)
    for i, given in enumerate(u[:, 0].tolist()):
        one, two = math.exp(0.5 * 0.2**2) / 0.5, math.exp(2.0 * 0.2**2) / 0.5**2  # E 1/r and E 1/r²
        filled = given + 3.0 * math.exp(0.5 * 0.1**2)
        square = given**2 + 2.0 * given * 3.0 * math.exp(0.5 * 0.1**2) + 9.0 * math.exp(2.0 * 0.1**2)
        mean, variance = filled * one, square * two - (filled * one) ** 2
        sd = math.sqrt(variance)
        # points are right to third order in the spread: the next terms are .2⁴ of the mean and .2² of the variance
        assert abs(float(found.x[0, i, 0]) - mean) < 0.01 * sd
        assert float(found.covariance[0, i, 0, 0]) == pytest.approx(variance, rel=0.05)
        # Cov(x, η_r) = −σ E x and Cov(x, η_k) = σ k E(1/r): Stein's identity
        assert float(found.covariance[0, i, 0, 1]) == pytest.approx(-0.2 * mean, rel=0.02)
        assert float(found.covariance[0, i, 0, 2]) == pytest.approx(0.1 * 3.0 * math.exp(0.5 * 0.1**2) * one, rel=0.03)


def test_spread_adds_to_what_the_model_says() -> None:
    people = oral()
    y = torch.tensor([[4.0], [5.0]], dtype=F64)
    plain, more = starting_belief(people, baseline=y), starting_belief(people, baseline=y, spread={"gut": 3.0, "plasma": 2.0})
    gap = more.covariance - plain.covariance
    assert torch.allclose(gap[0, 0], torch.diag(torch.tensor([9.0, 4.0, 0, 0, 0], dtype=F64)), atol=1e-11)
    own = torch.tensor([[3.0, 2.0], [1.0, 0.0]], dtype=F64)
    each = starting_belief(people, baseline=y, spread=own)
    assert torch.allclose((each.covariance - plain.covariance)[0, 1, :2, :2], torch.diag(own[1] ** 2), atol=1e-11)
    assert torch.equal(each.covariance[0, 0], more.covariance[0, 0])


def test_a_channel_that_the_model_does_not_start_from_is_not_read() -> None:
    backbone = LinearBackbone([[-1.0, 0.2], [0.0, -0.5]], states=("a", "b"), state_units=("mg", "mg"))
    model = HybridModel(backbone, SharedPopulation(), observation=States(["a", "b"]), noise=Constant([0.3, 0.2], [0.01, 0.01]))
    people = Followed.of(model, 1, floor={})
    found = starting_belief(people, baseline=torch.tensor([[5.0, 7.0]], dtype=F64), spread={"a": 1.0})
    starts = torch.tensor(model.starts_from)
    assert torch.equal(found.x[0, 0] != 0.0, starts)


def test_members_start_by_their_own_noise() -> None:
    people = oral(2)
    model = Ensemble(3).stack(people.model, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.noise.log_additive += torch.tensor([[0.0], [1.0], [2.0]], dtype=F64)
    found = starting_belief(Followed.of(model, 2, mesh=Mesh(0.2), floor={}), baseline=torch.tensor([[4.0], [4.0]], dtype=F64))
    assert found.mean.shape == (3, 2, 5)
    spread = found.root[:, 0, 1].norm(dim=-1)
    assert bool((spread.diff() > 0.0).all())


def test_it_is_differentiable() -> None:
    people = oral()
    y = torch.tensor([[4.0], [math.nan]], dtype=F64)
    weights = [people.model.population.shift, people.model.noise.log_proportional]

    def value() -> torch.Tensor:
        found = starting_belief(people, baseline=y, spread={"gut": 1.0})
        return found.mean.square().sum() + found.covariance.sum()

    slopes = torch.autograd.grad(value(), weights)
    for weight, slope in zip(weights, slopes, strict=True):
        assert bool(torch.isfinite(slope).all())
        place = (0, weight.shape[1] - 1)
        ends = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                weight[place] += sign * 1e-5
                ends.append(float(value()))
                weight[place] -= sign * 1e-5
        assert float(slope[place]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"baseline": torch.zeros(3, 1, dtype=F64)}, "baseline"),
        ({"baseline": torch.full((2, 1), math.inf, dtype=F64)}, "infinite"),
        ({"personal": torch.zeros(1, 2, 3, dtype=F64)}, "mean and a covariance"),
        ({"personal": (torch.zeros(1, 2, 3, dtype=F64), torch.full((1, 2, 3, 3), torch.nan, dtype=F64))}, "NaN or infinity"),
        ({"personal": (torch.zeros(2, 2, 3, dtype=F64), torch.zeros(1, 2, 3, 3, dtype=F64))}, "members"),
        ({"spread": {"liver": 1.0}}, "liver"),
        ({"spread": {"gut": -1.0}}, "at least 0"),
        ({"spread": torch.tensor([-1.0, 0.0], dtype=F64)}, "below 0"),
        ({"spread": torch.tensor([torch.inf, 0.0], dtype=F64)}, "infinity"),
        ({"time": torch.zeros(3, dtype=F64)}, "time"),
        ({"baseline": torch.zeros(2, 1)}, "float32"),
    ],
)
def test_what_cannot_be_is_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        starting_belief(oral(), **given)


def test_a_model_with_inputs_needs_them() -> None:
    with pytest.raises(ValueError, match="inputs"):
        starting_belief(basin(2))


@pytest.mark.parametrize(
    "covariance", [-torch.eye(3), torch.diag(torch.tensor([1.0, 1.0, -0.5])), torch.eye(3) + torch.eye(3).roll(1, 0)]
)
def test_what_is_no_covariance_is_refused(covariance: torch.Tensor) -> None:
    """Read by its lower half or its roots it would say that a person is known exactly."""
    people = oral()
    given = covariance.to(F64).expand(1, 2, 3, 3)
    with pytest.raises(ValueError, match="its covariance, is not one of anybody"):
        starting_belief(people, personal=(torch.zeros(1, 2, 3, dtype=F64), given))
