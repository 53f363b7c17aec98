"""Who diverges is lost alone: the others keep their values and, whatever is differentiated, their derivatives."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hybrid import HybridModel, Interval, Mesh, States, segments_of
from hybrid.filters import FILTERS, UKF, Belief, EnKF, Filter, Followed, along, smooth
from hybrid.observation import Observation
from learned import Constant, DiagonalDiffusion
from physics import LinearisedBackbone, Mechanism, Parameter, SharedPopulation
from tests.hybrid.filters.followed import F64


class Runaway(Mechanism):
    """Harmless near 0; a large dose of both is infinite within an hour. Where a is 0 its rate has no derivative."""

    time_unit = "h"
    states = {"a": "1", "b": "1"}
    scale = {"a": 1.0, "b": 1.0}
    physical = (Parameter("k", "/h", 1.0, 0.1, 5.0),)

    def rate(self, x, u, theta):  # type: ignore[no-untyped-def]
        return {"a": -theta.k * (x.a * x.a) ** 0.5 + x.a * x.a * x.b, "b": -x.b + x.a * 0.1}


class Exponential(Observation):
    """e^a, which leaves the numbers long before a does."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.units, self.linear = ("y",), ("1",), False

    def mean(self, states: Tensor, theta: Tensor) -> Tensor:
        return states[..., :1].exp()

    def config(self) -> dict[str, Any]:
        return {}


def followed(people: int, observation: Observation | None = None) -> Followed:
    backbone = LinearisedBackbone(Runaway(), x={"a": 0.3, "b": 0.1})
    model = HybridModel(
        *(backbone, SharedPopulation(backbone, values={"k": 1.0}), None),
        observation=States(("a",)) if observation is None else observation,
        noise=Constant([0.3], [0.01]),
        process=DiagonalDiffusion({"a": 0.3, "b": 0.2}),
    )
    for p in model.population.parameters():
        p.requires_grad_()
    return Followed.of(model, people, mesh=Mesh(0.1))


def begin(*means: tuple[float, float]) -> Belief:
    """At these states; a root of .02 keeps the points of who stands at .3 away from 0."""
    mean = torch.tensor([means], dtype=F64)
    N = mean.shape[1]
    return Belief(mean, 0.02 * torch.eye(2, dtype=F64).expand(1, N, 2, 2), torch.zeros(N, dtype=F64), 2)


def made(kind: type[Filter], people: Followed) -> Filter:
    return EnKF(people, particles=8) if kind is EnKF else kind(people)  # type: ignore[call-arg]


def stretches(N: int, fatal: int | None, T: int = 4) -> list[Interval]:
    """Three quiet steps of the mesh each; with a dose that is fatal to the last person, where they are told to have one."""
    found = []
    for k in range(T):
        jump = torch.zeros(N, 2, dtype=F64)
        if k == fatal:
            jump[-1] = 30.0
        found.append(Interval.of(torch.full((N,), 0.3, dtype=F64), 2, jump=jump))
    return found


def evidence(filter: Filter, belief: Belief, intervals: list[Interval], whose: slice) -> tuple[Tensor, Belief]:
    total = torch.zeros((), dtype=F64)
    for interval in intervals:
        belief = filter.predict(belief, interval)
        belief, said = filter.update(belief, torch.full((len(belief.time), 1), 0.35, dtype=F64))
        total = total + said.log_likelihood[:, whose].sum()
    return total, belief


def slopes(value: Tensor, people: Followed) -> list[Tensor]:
    weights = [p for p in people.model.parameters() if p.requires_grad and p.numel()]
    return list(torch.autograd.grad(value, weights, materialize_grads=True))


def require_same(found: list[Tensor], wanted: list[Tensor]) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert bool(torch.isfinite(a).all())
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)  # fewer rows go through other kernels


@pytest.mark.parametrize("fatal", [0, 2])
@pytest.mark.parametrize("kind", FILTERS, ids=lambda kind: kind.__name__)
def test_the_others_have_the_derivatives_that_they_have_alone(kind: type[Filter], fatal: int) -> None:
    """Lost in the second piece of a mesh or after two updates: the steps before depend on everything that is fitted."""
    both, alone = followed(2), followed(1)
    value, belief = evidence(made(kind, both), begin((0.3, 0.1), (0.3, 0.1)), stretches(2, fatal), slice(0, 1))
    same, wanted = evidence(made(kind, alone), begin((0.3, 0.1)), stretches(1, None), slice(None))
    assert belief.lost.tolist() == [False, True]
    assert float(value.detach()) == pytest.approx(float(same.detach()), rel=1e-12)
    torch.testing.assert_close(belief.mean[:, 0], wanted.mean[:, 0], rtol=1e-12, atol=1e-12)
    require_same(slopes(value, both), slopes(same, alone))
    with torch.no_grad():
        still, quiet = evidence(made(kind, both), begin((0.3, 0.1), (0.3, 0.1)), stretches(2, fatal), slice(0, 1))
    assert float(still) == float(value.detach())
    assert quiet.lost.tolist() == [False, True]


@pytest.mark.parametrize("kind", FILTERS, ids=lambda kind: kind.__name__)
def test_where_nobody_is_left_no_derivative_is_nan(kind: type[Filter]) -> None:
    people = followed(1)
    value, belief = evidence(made(kind, people), begin((0.3, 0.1)), stretches(1, 1), slice(None))
    assert belief.lost.tolist() == [True]
    masked = torch.where(torch.isfinite(value), value, 0.0)
    if masked.requires_grad:
        assert all(bool((g == 0.0).all()) for g in slopes(masked, people))


@pytest.mark.parametrize("kind", FILTERS, ids=lambda kind: kind.__name__)
def test_a_measurement_that_is_no_number_is_the_same(kind: type[Filter]) -> None:
    """The state is finite, and what it would be measured to be is not."""
    both, alone = followed(2, Exponential()), followed(1, Exponential())
    far = begin((0.3, 0.1), (0.3, -900.0))  # b far below 0 keeps a where the dose has put it, at first
    intervals = [replace(i, dt=i.dt * 1e-3) for i in stretches(2, None, 2)]
    intervals[0] = replace(intervals[0], jump=torch.tensor([[0.0, 0.0], [900.0, 0.0]], dtype=F64))
    value, belief = evidence(made(kind, both), far, intervals, slice(0, 1))
    short = [replace(i, dt=i.dt * 1e-3) for i in stretches(1, None, 2)]
    same, _ = evidence(made(kind, alone), begin((0.3, 0.1)), short, slice(None))
    assert belief.lost.tolist() == [False, True]
    require_same(slopes(value, both), slopes(same, alone))


@pytest.mark.parametrize("kind", FILTERS, ids=lambda kind: kind.__name__)
def test_members_are_lost_together_and_the_others_go_on(kind: type[Filter]) -> None:
    both = followed(2)
    start = begin((0.3, 0.1), (0.3, 0.1))
    mean = torch.cat([start.mean, start.mean])
    mean[1, 1] = 40.0  # of the second member alone
    start = Belief(mean, start.root.expand(2, -1, -1, -1), start.time, 2)
    value, belief = evidence(made(kind, both), start, stretches(2, None), slice(0, 1))
    assert belief.lost.tolist() == [False, True]
    alone = followed(1)
    same, _ = evidence(made(kind, alone), start.people(torch.tensor([0])), stretches(1, None), slice(None))
    require_same(slopes(value, both), slopes(same, alone))


def test_the_smoother_of_the_others() -> None:
    doses = torch.zeros(2, 4, 2, dtype=F64)
    doses[1, 2] = 30.0
    y = torch.full((2, 4, 1), 0.35, dtype=F64)

    def looked_back(rows: torch.Tensor) -> tuple[list[Tensor], Tensor]:
        people, dt = followed(len(rows)), torch.full((len(rows), 4), 0.3, dtype=F64)
        start = begin((0.3, 0.1), (0.3, 0.1)).people(rows)
        track = along(UKF(people), start, segments_of(dt, 2, jump=doses[rows]), y[rows], keep="all")
        mean, root = smooth(track)
        return slopes(mean[:, 0].sum() + root[:, 0].sum(), people), track.lost

    found, lost = looked_back(torch.tensor([0, 1]))
    assert lost.tolist() == [False, True]
    require_same(found, looked_back(torch.tensor([0]))[0])
