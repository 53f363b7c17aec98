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
from tests.builders import as_values
from training import Cohort, Record, Search, Stability, fit, gaussian_nll, shoot, windows
from training.long_records.shooting import ShootingStep
from training.long_records.windowed import rollout_windows, simulated_starts

MEMBERS = 2
# windows of 12 h in four begin at 3, 6 and 9: a dose arrives and a reading is taken just there, an infusion and a signal
# go across; the other person has other times, windows of 2 h, a held input and less to read
SCHEDULES = (
    Schedule(
        doses=(Dose("a", 0.0, 2.0), Dose("a", 3.0, 1.5), Dose("b", 5.0, 1.0, duration=2.5), Dose("b", 9.0, 0.5)),
        inputs={"u": Signal((0.0, 4.0, 10.0), (0.0, 1.0, -0.5))},
    ),
    Schedule(
        doses=(Dose("a", 1.0, 3.0), Dose("b", 4.0, 1.0)), inputs={"u": Signal((0.0, 2.0, 4.5), (1.0, 0.2, 0.7), "held")}
    ),
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
        Mesh(1.0),
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
            ends.append(float(loss(*arguments).detach()))
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
    assert float(slope) == pytest.approx(float((energy(time + h) - energy(time - h)).detach()) / (2 * h), rel=1e-6)


def test_the_joints_close_and_the_minimum_is_that_of_single_shooting(model: HybridModel, cohort: Cohort) -> None:
    alone = HybridModel(model.backbone, model.population, observation=model.observation, noise=model.noise)
    settings: dict[str, Any] = {"steps": 400, "rate": 0.1, "solver": RungeKutta("rk4")}
    single = list(shoot(alone, cohort, **as_values(count=1, polish=0, **settings)))
    steps = list(shoot(alone, cohort, **as_values(count=3, polish=1, **settings)))
    joined, polished = steps[-2], steps[-1]
    assert float(single[0].loss) > float(single[-1].loss) + 1.0
    assert {float(s.defect) for s in single} == {0.0}
    assert float(joined.defect) < 5e-3 < max(float(s.defect) for s in steps)
    # a twentieth of a nat: of single shooting's own minimum the last hundredth is not reached in these steps either
    assert float(joined.loss) == pytest.approx(float(single[-1].loss), abs=0.06)
    # the data determine the shifts to ω/√4 = (.2, .1, .1)
    shifts = [s.best.model.population.shift for s in (joined, single[-1])]
    torch.testing.assert_close(shifts[0], shifts[1], rtol=0.0, atol=0.03)
    torch.testing.assert_close(joined.best.personal, single[-1].best.personal, rtol=0.0, atol=0.15)
    # from there, whole records say the same as windows did
    assert polished.phase == "polish"
    assert float(polished.loss) == pytest.approx(float(joined.loss), abs=0.02)


def oscillator(seed: int) -> HybridModel:
    """A backbone with a period of 2π that is all but undamped, measured in one of its two states."""
    backbone = LinearBackbone([[-0.003, 1.0], [-1.0, -0.003]], states=("a", "b"))
    model = HybridModel(
        backbone,
        SharedPopulation(),
        MLP(2, hidden=(8,), generator=torch.Generator().manual_seed(seed)),
        observation=States([0], ["a"], ["1"]),
        noise=AdditiveProportional([0.1], [0.001], [0.005]),
    )
    with torch.no_grad():
        model.residual.weights[-1].mul_(0.1)
    return model


def test_a_long_horizon_traps_single_shooting_and_not_windows() -> None:
    solver, mesh, noise = RungeKutta("rk4"), Mesh(1.0), 0.02
    truth = oscillator(0)
    with torch.no_grad():
        # ε turns the state faster, by about a third, and by less where it is large
        for k in range(8):
            truth.residual.weights[0][0, k] = torch.tensor([0.6 * (k % 2 == 0), 0.6 * (k % 2)])
            truth.residual.weights[1][0, :, k] = torch.tensor([0.13 * (k % 2), -0.13 * (k % 2 == 0)])
        truth.residual.biases[0].zero_()
    # twenty periods, the first seven of which nobody sees
    schedule, times = Schedule(doses=(Dose("a", 0.0, 1.0),)), np.arange(35.0, 101.0)
    nothing = torch.zeros(0, dtype=torch.float64)
    start = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        clean = simulate(truth, schedule, times.tolist(), nothing, start, solver=RungeKutta(rtol=1e-8))[:, 0].numpy()
    values = clean + noise * np.random.default_rng(1).standard_normal(len(times))
    model = oscillator(3)
    cohort = Cohort.of([Record("P", schedule, times, values[:, None], ("a",))], model, mesh)

    def error(found: HybridModel, personal: torch.Tensor) -> float:
        with torch.no_grad():
            mean = rollout(found, cohort.conditions, personal, solver).mean[0, 0, :, 0].numpy()
        return float(np.sqrt(np.mean((mean - clean) ** 2)))

    size = float(np.sqrt(np.mean(clean**2)))
    settings: dict[str, Any] = {"rate": 0.05, "least_residual": 0.0, "solver": solver}
    single = list(fit(model, cohort, **as_values(steps=100, **settings)))
    steps = list(shoot(model, cohort, **as_values(count=16, steps=360, polish=40, **settings)))
    joined = steps[-1]
    # flattened out (Turan & Jäschke 2021): no oscillation at all is the best that is near, and there it stays
    assert error(single[-1].best.model, single[-1].best.personal) > 0.95 * size
    assert abs(float(single[-1].loss - single[-20].loss)) < 0.1
    # windows find the oscillation, to the level of the noise, against the truth without noise and by the likelihood: the
    # truth's own, Σ log σ + ½ per observation, is more than 200 nats from the flat line's
    assert error(joined.best.model, joined.best.personal) < 1.5 * noise
    own_loss = len(times) * (np.log(noise) + 0.5)
    assert float(joined.loss) < own_loss + 30.0
    assert float(single[-1].loss) > own_loss + 200.0
    assert float(steps[359].defect) < 0.02


def test_members_and_weights_keep_to_themselves(model: HybridModel, cohort: Cohort) -> None:
    model = Ensemble(3).stack(model, torch.Generator().manual_seed(3))
    weights = torch.ones(3, 4, dtype=torch.float64)
    weights[1] = torch.tensor([2.0, 1.0, 1.0, 0.0])
    settings: dict[str, Any] = {"count": 3, "steps": 6, "rounds": 3, "polish": 2, "stability": Stability.of(model, {})}
    together = list(shoot(model, cohort, **as_values(weights=weights, **settings)))
    for k in range(3):
        one = select(model, torch.tensor([k]))
        alone = list(shoot(one, cohort, **as_values(weights=weights[[k]], **settings)))
        assert len(alone) == len(together) == 8
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a.loss[k], b.loss[0], rtol=1e-9, atol=0.0)
            torch.testing.assert_close(a.defect[k], b.defect[0], rtol=1e-7, atol=1e-10)
        for p, q in zip(together[-1].best.model.parameters(), alone[-1].best.model.parameters(), strict=True):
            # Adam divides by √v: sums in another order show at a few ulp of the steps, not more
            torch.testing.assert_close(p[[k]], q, rtol=1e-9, atol=1e-10)
    # a person of weight zero: nothing about them matters to the member
    y = cohort.y.clone()
    y[3] *= 3.0
    factor = torch.tensor([1.0, 1.0, 1.0, 9.0], dtype=torch.float64)[:, None, None]
    segments = cohort.conditions.segments
    changed = replace(cohort.conditions, segments=replace(segments, jump=factor * segments.jump))
    other = last(shoot(model, replace(cohort, y=y, conditions=changed), **as_values(weights=weights, **settings)))
    for p, q in zip(together[-1].best.model.parameters(), other.best.model.parameters(), strict=True):
        assert torch.equal(p[1], q[1])
    assert torch.equal(together[-1].defect[1], other.defect[1])
    assert not torch.equal(together[-1].loss[0], other.loss[0])


def test_every_step_says_where_it_is(model: HybridModel, cohort: Cohort) -> None:
    before = [p.clone() for p in model.parameters()]
    steps = list(shoot(model, cohort, search=Search(steps=6), count=3, rounds=2, polish=2))
    assert [s.index for s in steps] == list(range(1, 9))
    assert {s.total for s in steps} == {8}
    assert [s.phase for s in steps] == ["shooting"] * 6 + ["polish"] * 2
    # the first starts lie on the model's own solution, so the first loss is that of single shooting
    torch.testing.assert_close(steps[0].loss, next(fit(model, cohort)).loss, rtol=1e-9, atol=0.0)
    assert float(steps[0].defect) < 1e-9
    assert all(float(s.defect) > 0 for s in steps[1:6])
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    # the noise rests for four of the six
    noise = [s.best.model.noise.log_additive for s in steps]
    assert torch.equal(noise[3], model.noise.log_additive)
    assert not torch.equal(noise[4], noise[3])
    # what was handed out can be gone on from
    again = shoot(steps[-1].best.model, cohort, count=3, personal=steps[-1].best.personal)
    assert float(next(again).loss) == pytest.approx(float(steps[-1].loss), abs=1.0)
    next(fit(steps[-1].best.model, cohort))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"count": 0}, "count must be at least 1, and is 0"),
        ({"count": 1000}, "1000 windows are asked for and the longest record has .* Mesh of a shorter step"),
        ({"by": "doses"}, "by is 'time' or 'steps', got 'doses'"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"rounds": 11}, "rounds ≤ steps"),
        ({"starts": "Data"}, r"starts, where it is no tensor and no StartEncoder\(\), is None or 'data', got 'Data'"),
        ({"polish": -1}, "polish ≥ 0"),
        ({"growth": 0.5}, "growth ≥ 1"),
        ({"rate": float("nan")}, "rate must be a finite number"),
        ({"stiffness": -1.0}, "stiffness must be above 0"),
        ({"weights": torch.ones(1, 3)}, r"weights needs shape \(M, N\) = \(1, 4\), got \(1, 3\)"),
        ({"weights": -torch.ones(1, 4)}, "not negative"),
        ({"weights": torch.zeros(1, 4)}, "every member needs someone"),
        ({"personal": torch.zeros(1, 4, 2)}, r"personal needs shape \(1, 4, 3\)"),
        ({"starts": torch.zeros(1, 4, 3, 2)}, r"starts needs shape \(1, 4, 2, 2\), got \(1, 4, 3, 2\)"),
        ({"scale": torch.ones(3)}, "scale needs 2 positive"),
        ({"scale": torch.tensor([1.0, 0.0])}, "scale needs 2 positive"),
    ],
)
def test_arguments_are_checked(model: HybridModel, cohort: Cohort, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        next(shoot(model, cohort, **as_values(**{"count": 3, "steps": 10, "rounds": 5, **arguments})))


def test_a_short_fit_has_as_many_rounds_as_steps(model: HybridModel, cohort: Cohort) -> None:
    """By default; the rounds of a fit that is given them are those."""
    few = last(shoot(model, cohort, search=Search(steps=3), count=3, polish=0))
    asked = last(shoot(model, cohort, search=Search(steps=3), count=3, polish=0, rounds=3))
    for name, p in few.best.model.named_parameters():
        assert torch.equal(p, asked.best.model.get_parameter(name))


def test_a_failing_simulation_names_the_person(model: HybridModel, cohort: Cohort) -> None:
    far = cohort.conditions.baseline.clone()
    far[2] = 1e308
    broken = replace(cohort, conditions=replace(cohort.conditions, baseline=far))
    with pytest.raises(SimulationError, match=r"^person P3: .* not finite at time"):
        next(shoot(model, broken, count=3))
    # with starts of one's own there is no simulation of whole records, and the windows fail by the same name
    starts = torch.zeros(1, 4, 2, 2, dtype=torch.float64)
    starts[0, 2, 1] = torch.inf
    with pytest.raises(SimulationError, match=r"^person P3: .* not finite at time"):
        next(shoot(model, cohort, count=3, starts=starts))
