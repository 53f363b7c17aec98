"""Beliefs and who is followed: what they hold, what they refuse, and in which words."""

from typing import Any

import pytest
import torch

from hybrid import Exponential, HybridModel, Interval, Mesh, RungeKutta, States
from hybrid.filters import FILTERS, UKF, Belief, Filter, Followed, Innovation, starting_belief
from learned import MLP, Constant, DiagonalDiffusion, ProcessNoise
from physics import LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from tests.builders import BOXES, SPREAD, oral_of
from tests.hybrid.filters.followed import F64


def model(process: Any = None, residual: Any = None, *, inputs: bool = False, population: Any = None) -> HybridModel:
    B = [[1.0], [0.0]] if inputs else None
    return HybridModel(
        LinearBackbone([[-1.0, 0.2], [0.0, -0.5]], B, states=("a", "b"), state_units=("mg", "mg")),
        SharedPopulation() if population is None else population,
        residual,
        observation=States(["a", "b"]),
        noise=Constant([0.3, 0.2], [0.01, 0.01]),
        process=process,
    )


def belief(people: int = 3, members: int = 1, states: int = 2, d: int = 0) -> Belief:
    z = states + d
    root = torch.eye(z, dtype=F64).expand(members, people, z, z)
    return Belief(torch.ones(members, people, z, dtype=F64), root, torch.zeros(people, dtype=F64), states)


# ---- beliefs


def test_a_belief_gives_its_parts() -> None:
    mean = torch.arange(10.0, dtype=F64).view(1, 2, 5)
    root = torch.tril(torch.randn(1, 2, 5, 5, dtype=F64, generator=torch.Generator().manual_seed(0)))
    one = Belief(mean, root, torch.tensor([1.0, 2.0], dtype=F64), 2)
    assert torch.equal(one.x, mean[..., :2])
    assert torch.equal(one.personal, mean[..., 2:])
    assert torch.equal(one.covariance, root @ root.mT)
    assert one.lost.tolist() == [False, False]
    second = one.people(torch.tensor([1, 1]))
    assert second.time.tolist() == [2.0, 2.0]
    assert torch.equal(second.mean[0, 0], mean[0, 1])
    assert one.to(torch.zeros((), dtype=torch.float32)).root.dtype == torch.float32
    assert "Belief" in repr(one)


def test_lost_is_who_is_nan_under_some_member() -> None:
    mean = torch.zeros(2, 3, 2, dtype=F64)
    mean[1, 2, 0] = torch.nan
    one = Belief(mean, torch.zeros(2, 3, 2, 2, dtype=F64), torch.zeros(3, dtype=F64), 2)
    assert one.lost.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mean": torch.zeros(3, 2, dtype=F64)}, "mean"),
        ({"root": torch.zeros(1, 3, 2, 3, dtype=F64)}, "root"),
        ({"time": torch.zeros(2, dtype=F64)}, "time"),
        ({"states": 3}, "states"),
        ({"states": 0}, "states"),
        ({"root": torch.zeros(1, 3, 2, 2)}, "float32"),
        ({"particles": torch.zeros(1, 3, 3, 8, dtype=F64)}, "particles"),
    ],
)
def test_what_is_no_belief(given: dict[str, Any], said: str) -> None:
    own = {"mean": torch.zeros(1, 3, 2, dtype=F64), "root": torch.zeros(1, 3, 2, 2, dtype=F64)}
    with pytest.raises(ValueError, match=said):
        Belief(**{**own, "time": torch.zeros(3, dtype=F64), "states": 2, **given})


def test_innovations_of_some() -> None:
    filter = UKF(Followed.of(model(DiagonalDiffusion([0.1, 0.0])), 3))
    _, said = filter.update(belief(), torch.tensor([[1.0, float("nan")], [0.0, 1.0], [float("nan")] * 2], dtype=F64))
    assert said.count.tolist() == [[1, 2, 0]]
    two = said.people(torch.tensor([2, 0]))
    assert isinstance(two, Innovation)
    assert two.count.tolist() == [[0, 1]]
    assert torch.equal(two.root[:, 1], said.root[:, 0])
    assert torch.equal(two.root[:, 0], torch.eye(2, dtype=F64)[None])
    assert two.by_channel.isnan().tolist() == [[[True, True], [False, True]]]


# ---- who is followed


def test_defaults_of_who_is_followed() -> None:
    linear = Followed.of(model(DiagonalDiffusion([0.1, 0.0])), 3)
    assert linear.solver == Exponential()
    assert linear.exact
    assert linear.driven_states == (0,)
    bent = Followed.of(model(DiagonalDiffusion([0.1, 0.0]), MLP(2)), 3, floor={"b": 0.2})
    assert bent.solver == RungeKutta("rk4")
    assert not bent.exact
    assert bent.driven_states == (0, 1)
    assert bent.mesh == Mesh.fastest(bent.model, {}, 3)
    assert bent.states == 2
    assert bent.drift is None


def test_a_model_without_process_noise_needs_a_floor_or_says_that_there_is_none() -> None:
    with pytest.raises(ValueError, match=r"no process noise.*floor=\{'a'.*floor=\{\}"):
        Followed.of(model(), 3)
    none = Followed.of(model(), 3, floor={})
    assert not none.noisy
    assert none.exact
    some = Followed.of(model(), 3, floor={"b": 0.4})
    assert some.floor.tolist() == [0.0, 0.4]
    assert torch.equal(some.driven(torch.zeros(1, 3, 2, dtype=F64)), torch.tensor([0.0, 0.4], dtype=F64).expand(1, 3, 2))


def test_the_floor_is_beside_what_the_model_has() -> None:
    both = Followed.of(model(DiagonalDiffusion([0.3, 0.3])), 1, floor={"b": 0.4})
    g = both.driven(torch.zeros(1, 1, 2, dtype=F64))
    assert g[0, 0].tolist() == pytest.approx([0.3, 0.5], rel=1e-15)
    (slope,) = torch.autograd.grad(g.sum(), both.model.process.log_scale)
    assert slope[0].tolist() == pytest.approx([0.3, 0.09 / 0.5], rel=1e-14)
    rest = Followed.of(model(DiagonalDiffusion([0.3, 0.0])), 1, floor={})
    (slope,) = torch.autograd.grad(rest.driven(torch.zeros(1, 1, 2, dtype=F64)).sum(), rest.model.process.log_scale)
    assert bool(torch.isfinite(slope).all())


class Own(ProcessNoise):
    """g of one's own, of which nobody knows whether it is constant."""

    def __init__(self) -> None:
        super().__init__()
        self.states = 2

    def diffusion(self, x: torch.Tensor) -> torch.Tensor:
        return 0.1 * torch.ones_like(x)

    def config(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("people", "exact"),
    [
        (lambda: Followed.of(model(DiagonalDiffusion([0.1, 0.1], [0.2, 0.0])), 1), False),
        (lambda: Followed.of(model(Own()), 1), False),
        (lambda: Followed.of(model(DiagonalDiffusion([0.1, 0.1])), 1, solver=RungeKutta("rk4")), False),
        (lambda: Followed.of(oral_of(process=DiagonalDiffusion([0.1, 0.1])), 1), False),  # Q depends on who it is
        (lambda: Followed.of(oral_of(), 1, floor={}), True),
        (lambda: Followed.of(oral_of(), 1, floor={}, drift=3.0), False),
        (lambda: Followed.of(model(DiagonalDiffusion([0.1, 0.1])), 1, drift=3.0), True),  # nothing is there that drifts
    ],
)
def test_what_one_step_is_exact_for(people: Any, exact: bool) -> None:
    assert people().exact is exact


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"people": 0}, "people"),
        ({"drift": 0.0}, "drift"),
        ({"floor": {"c": 1.0}}, "'c', and the states are a, b"),
        ({"floor": {"a": -1.0}}, "floor of a"),
        ({"floor": 0.1}, "floor"),
        ({"mesh": 0.1}, "mesh"),
        ({"solver": "rk4"}, "solver"),
        ({"mesh": Mesh()}, "no step"),
        ({"covariates": {"WT": torch.zeros(7, dtype=F64)}}, "7 numbers"),
    ],
)
def test_what_cannot_be_followed(given: dict[str, Any], said: str) -> None:
    bent = model(DiagonalDiffusion([0.1, 0.1]), MLP(2))
    with pytest.raises(ValueError, match=said):
        Followed.of(bent, **{"people": 3, **given})


def test_covariates_that_the_model_reads_are_asked_for() -> None:
    backbone = OneCompartmentOral(**BOXES)
    population = LogNormalPopulation(backbone.physical, SPREAD, {"V": {"WT": (70.0, 1.0)}})
    weighed = HybridModel(backbone, population, observation=States(["plasma"]), noise=Constant([0.3], [0.01]))
    with pytest.raises(ValueError, match="WT"):
        Followed.of(weighed, 2, floor={})
    found = Followed.of(weighed, 2, covariates={"WT": torch.tensor([60.0, 90.0])}, floor={})
    assert found.covariates["WT"].dtype == F64
    some = found.people(torch.tensor([True, False]))
    assert (some.size, some.covariates["WT"].tolist()) == (1, [60.0])
    assert found.people(torch.tensor([1, 1, 0])).size == 3


# ---- what a filter refuses


@pytest.mark.parametrize("kind", FILTERS, ids=lambda k: k.__name__)
def test_filters_say_what_does_not_fit(kind: type[Filter]) -> None:
    filter = kind(Followed.of(model(DiagonalDiffusion([0.1, 0.1]), inputs=True), 3))
    dt, u = torch.full((3,), 0.1, dtype=F64), torch.zeros(3, 1, dtype=F64)
    interval, y = Interval.of(dt, 2, inputs=u), torch.zeros(3, 2, dtype=F64)
    right = belief()
    for call, said in (
        (lambda: filter.predict(belief(2), interval), "people"),
        (lambda: filter.predict(belief(3, 2), interval), None),  # the belief of two members, of a model of one
        (lambda: filter.predict(belief(d=1), interval), "coordinates"),
        (lambda: filter.predict(right, Interval.of(dt, 2)), "inputs"),
        (lambda: filter.predict(right, Interval.of(dt[:2], 2, inputs=u[:2])), "people"),
        (lambda: filter.predict(right, Interval.of(dt.float(), 2, inputs=u.float())), "float32"),
        (lambda: filter.predict(right.to(torch.zeros(())), interval), "float32"),
        (lambda: filter.predict(None, interval), "belief"),
        (lambda: filter.predict(right, 0.1), "interval"),
        (lambda: filter.update(right, y), "give inputs"),
        (lambda: filter.update(right, y, inputs=u[:2]), "inputs"),
        (lambda: filter.update(right, y[:, :1], inputs=u), "y"),
        (lambda: filter.update(right, y.float(), inputs=u), "float32"),
        (lambda: filter.update(right, y + torch.inf, inputs=u), "infinite"),
        (lambda: filter.update(right, y[None].expand(4, -1, -1), inputs=u), "members"),
        (lambda: filter.update(right, None, inputs=u), "y"),
    ):
        if said is None:
            assert call().mean.shape[0] == 2
            continue
        with pytest.raises(ValueError, match=said):
            call()
    with pytest.raises(ValueError, match="people"):
        kind(None)


def test_a_measurement_may_differ_from_member_to_member() -> None:
    filter = UKF(Followed.of(model(DiagonalDiffusion([0.1, 0.1])), 3))
    y = torch.randn(2, 3, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    both, _ = filter.update(belief(3, 2), y)
    for m in range(2):
        one, _ = filter.update(belief(), y[m])
        assert torch.allclose(both.mean[m], one.mean[0], rtol=1e-14)


def test_a_first_belief_is_one_of_the_filter() -> None:
    people = Followed.of(oral_of(process=DiagonalDiffusion([1.0, 1.0])), 2)
    start = starting_belief(people, spread={"gut": 1.0})
    found = UKF(people).predict(start, Interval.of(torch.full((2,), 0.5, dtype=F64), 2))
    assert found.mean.shape == (1, 2, 5)
