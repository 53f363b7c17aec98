"""Multiple shooting: windows are the record, their joints close, and a long horizon is no trap any more."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hybrid import (
    Conditions,
    Dose,
    Exponential,
    HybridModel,
    Mesh,
    RungeKutta,
    Schedule,
    Signal,
    SimulationError,
    Solver,
    States,
    Torchdiffeq,
    build_segments,
    rollout,
    simulate,
)
from learned import MLP, AdditiveProportional, Ensemble, select
from physics import LinearBackbone, SharedPopulation
from training import Cohort, Record, Stability, fit, gaussian_nll, shoot, windows
from training.shooting import ShootingStep, rollout_windows, simulated_starts

MEMBERS = 2
# windows of 12 h in four begin at 3, 6 and 9: a dose arrives and a reading is taken just there, an infusion and a signal
# go across; the other person has other times, windows of 2 h, a held input and less to read
SCHEDULES = (
    Schedule(
        doses=(Dose("a", 0.0, 2.0), Dose("a", 3.0, 1.5), Dose("b", 5.0, 1.0, duration=2.5), Dose("b", 9.0, 0.5)),
        inputs={"u": Signal((0.0, 4.0, 10.0), (0.0, 1.0, -0.5))},
    ),
    Schedule(doses=(Dose("a", 1.0, 3.0), Dose("b", 4.0, 1.0)), inputs={"u": Signal((0.0, 2.0, 4.5), (1.0, 0.2, 0.7), "held")}),
)
TIMES = ([0.0, 0.7, 3.0, 4.0, 6.0, 6.5, 8.9, 9.0, 10.0, 12.0], [0.5, 2.0, 2.1, 4.5, 8.0])


def driven(members: int = MEMBERS) -> HybridModel:
    """Two states, one input and a latent; everyone's own."""
    backbone = LinearBackbone([[-0.5, 0.3], [-0.4, -0.3]], [[0.4], [0.0]], states=("a", "b"), inputs=("u",))
    model = HybridModel(
        backbone,
        SharedPopulation(),
        MLP(2, 1, 1, hidden=(5,), rate_scale=2.0),
        observation=States([1], ["b"], ["1"]),
        noise=AdditiveProportional([0.3], [0.1], [0.02]),
        latents=1,
    )
    return Ensemble(members).stack(model, torch.Generator().manual_seed(5))


def conditions(model: HybridModel, mesh: Mesh) -> Conditions:
    segments = build_segments(SCHEDULES, TIMES, model.backbone.states, model.backbone.inputs, mesh)
    return Conditions(segments, {}, torch.zeros(2, 1, dtype=torch.float64))


def own(members: int, people: int = 2) -> torch.Tensor:
    draw = np.random.default_rng(2).standard_normal((members, people, 1))
    return torch.from_numpy(draw)


def last(steps: Iterator[ShootingStep]) -> ShootingStep:
    *_, final = steps
    return final


@pytest.mark.parametrize("by", ["time", "steps"])
@pytest.mark.parametrize(
    ("solver", "mesh"),
    [
        (Torchdiffeq(), Mesh(0.5)),
        (RungeKutta(), Mesh(0.5, observed=False)),
        (Exponential(), Mesh(0.7, 0.2, 0.5, observed=False)),
    ],
)
@pytest.mark.parametrize("count", [1, 4, 7])
def test_windows_without_gaps_are_the_record(by: Any, solver: Solver, mesh: Mesh, count: int) -> None:
    model = driven()
    given, personal = conditions(model, mesh), own(MEMBERS)
    cut = windows(given.segments, count, by)
    starts = simulated_starts(model, given, cut, personal, solver)
    assert starts.shape == (MEMBERS, 2, count - 1, 2)
    whole = rollout(model, given, personal, solver)
    run, gap = rollout_windows(model, given, cut, personal, starts, solver)
    for name in ("states", "inputs", "mean", "variance", "theta", "context"):
        torch.testing.assert_close(getattr(run, name), getattr(whole, name), rtol=0.0, atol=1e-10)
    assert float(gap.detach().abs().sum()) < 1e-10
    # and time is neither lost nor counted twice
    lengths = cut.segments.dt.sum(1).reshape(count, 2).sum(0)
    torch.testing.assert_close(lengths, given.segments.dt.sum(1))
    if by == "steps":
        assert cut.segments.dt.shape[1] <= -(-given.segments.dt.shape[1] // count)


def test_the_borders_are_where_they_were_asked_for() -> None:
    model = driven()
    given = conditions(model, Mesh(0.5))
    cut = windows(given.segments, 4)
    begin = cut.segments.start[:, 0].reshape(4, 2).T
    torch.testing.assert_close(begin, torch.tensor([[0.0, 3.0, 6.0, 9.0], [0.0, 2.0, 4.0, 6.0]], dtype=torch.float64))
    # the dose at a border comes at the beginning of the later window, whose start is the state before it
    jump = cut.segments.jump[:, 0].reshape(4, 2, 2)
    torch.testing.assert_close(jump[1, 0], torch.tensor([1.5, 0.0], dtype=torch.float64))
    torch.testing.assert_close(jump[2, 1], torch.tensor([0.0, 1.0], dtype=torch.float64))
    # readings at a border are the earlier window's last moment
    assert cut.window[0].tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    assert cut.window[1, :5].tolist() == [0, 0, 1, 2, 3]


def test_a_record_with_fewer_segments_than_windows_has_empty_ones() -> None:
    model = driven()
    segments = build_segments(
        [Schedule(inputs=SCHEDULES[0].inputs), replace(SCHEDULES[1], doses=())],
        [TIMES[0], [0.0]],
        model.backbone.states,
        model.backbone.inputs,
    )
    given = Conditions(segments, {}, torch.zeros(2, 1, dtype=torch.float64))
    cut = windows(segments, 4)
    assert cut.joined.tolist() == [[True, True, True], [False, False, False]]
    starts = torch.ones(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    one = driven(1)
    run, gap = rollout_windows(one, given, cut, own(1), starts)
    assert gap[0, 1].abs().sum() == 0.0
    (run.states.square().sum() + gap.square().sum()).backward()
    assert starts.grad is not None
    assert starts.grad[0, 1].abs().sum() == 0.0
    assert (starts.grad[0, 0].abs().sum(-1) > 0).all()


def test_the_gradient_agrees_with_finite_differences() -> None:
    model = driven()
    given = conditions(model, Mesh(1.0))
    cut = windows(given.segments, 4)
    y = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 10, 1)))
    y[1, 5:] = torch.nan
    personal = own(MEMBERS).requires_grad_()
    starts = simulated_starts(model, given, cut, personal, RungeKutta("rk4")) + 0.3
    weight = model.residual.weights[0]

    def loss(starts: torch.Tensor, personal: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            weight.copy_(values)
        run, gap = rollout_windows(model, given, cut, personal, starts, RungeKutta("rk4"))
        return gaussian_nll(y, run.mean, run.variance).sum() + (3.0 * gap - gap.square()).sum()

    values = weight.detach().clone()
    starts.requires_grad_()
    loss(starts, personal, values).backward()
    checked = ((starts, starts.grad, 0), (personal, personal.grad, 1), (values, weight.grad, 2))
    rng = np.random.default_rng(7)
    for tensor, gradient, place in checked:
        direction = torch.from_numpy(rng.standard_normal(tuple(tensor.shape)))
        ends = []
        for sign in (1.0, -1.0):
            arguments = [starts.detach(), personal.detach(), values]
            arguments[place] = tensor.detach() + sign * 1e-5 * direction
            ends.append(float(loss(*arguments)))
        assert gradient is not None
        expected = (ends[0] - ends[1]) / 2e-5
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-7)


def test_the_time_of_a_dose_keeps_its_gradient() -> None:
    model = driven(1)
    starts = torch.ones(1, 1, 3, 2, dtype=torch.float64)

    def energy(time: torch.Tensor) -> torch.Tensor:
        schedule = replace(SCHEDULES[0], doses=(Dose("a", time, 2.0),))
        segments = build_segments([schedule], [TIMES[0]], model.backbone.states, ("u",), Mesh(0.5))
        given = Conditions(segments, {}, torch.zeros(1, 1, dtype=torch.float64))
        run, gap = rollout_windows(model, given, windows(segments, 4), own(1, 1), starts)
        return run.states.square().sum() + gap.sum()

    time = torch.tensor(4.3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(energy(time), time)
    h = 1e-5
    assert float(slope) == pytest.approx(float(energy(time + h) - energy(time - h)) / (2 * h), rel=1e-6)


def test_the_joints_close_and_the_minimum_is_that_of_single_shooting(model: HybridModel, cohort: Cohort) -> None:
    alone = HybridModel(model.backbone, model.population, observation=model.observation, noise=model.noise)
    settings: dict[str, Any] = {"steps": 300, "rate": 0.1, "polish": 0}
    single = last(shoot(alone, cohort, count=1, **settings))
    joined = last(shoot(alone, cohort, count=3, **settings))
    assert single.defect.tolist() == [0.0]
    assert float(joined.defect) < 2e-3
    assert float(joined.loss) == pytest.approx(float(single.loss), abs=0.02)
    first = next(shoot(alone, cohort, count=1, **settings))
    assert float(first.loss) > float(single.loss) + 1.0
    torch.testing.assert_close(
        joined.best.model.population.shift, single.best.model.population.shift, rtol=0.0, atol=0.01
    )
    torch.testing.assert_close(joined.best.personal, single.best.personal, rtol=0.0, atol=0.05)
    # from there, whole records say the same as windows did
    final = last(shoot(alone, cohort, count=3, **{**settings, "polish": 1}))
    assert final.phase == "polish"
    assert float(final.loss) == pytest.approx(float(joined.loss), abs=0.02)
