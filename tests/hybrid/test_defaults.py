"""Right by default: whatever simulates, called with its defaults alone, agrees with the matrix exponential."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hybrid import (
    Concentration,
    Dose,
    Exponential,
    HybridModel,
    Mesh,
    RungeKutta,
    Schedule,
    Signal,
    SimulationError,
    States,
    Torchdiffeq,
    conditions_of,
    integrate,
    predict,
    rollout,
    sample_paths,
    simulate,
)
from hybrid.solve.unmesh import unmeshed
from learned import MLP, AdditiveProportional, DiagonalDiffusion
from physics import (
    LinearBackbone,
    LogNormalPopulation,
    OneCompartmentOral,
    SharedPopulation,
    VanCauter,
    VanCauterPopulation,
)
from training import Cohort, Record, Search, fit, fit_population, forecast, personalise, prior, shoot

D = torch.float64
PHASES = (Phase.explicit, Phase.generate)  # a failing example is small enough as it is drawn
NOISE = ([0.5], [0.1], [0.03])


def oral(residual: bool = False, spread: Sequence[float] = (0.6, 0.2, 0.2)) -> HybridModel:
    """The README's model; without a residual, or with one whose last layer is 0, the exponential is exact."""
    backbone = OneCompartmentOral()
    learned = MLP(2, hidden=(8,), separable=True, state_scale=320.0, rate_scale=0.01) if residual else None
    if learned is not None:
        torch.nn.init.zeros_(learned.weights[-1])
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, spread=list(spread)),
        learned,
        observation=Concentration(1, 2),
        noise=AdditiveProportional(*NOISE),
    )


def linear(A: Sequence[Sequence[float]], B: Sequence[Sequence[float]] | None = None) -> HybridModel:
    backbone = LinearBackbone(A, B)
    n = len(A)
    return HybridModel(
        backbone,
        SharedPopulation(),
        observation=States(list(range(n)), [f"y{i}" for i in range(n)], ["1"] * n),
        noise=AdditiveProportional([0.1] * n, [0.1] * n, [0.01] * n),
    )


def cpeptide() -> HybridModel:
    return HybridModel(
        VanCauter(),
        VanCauterPopulation(),
        observation=States([0], ["C-peptide"], ["nmol/L"]),
        noise=AdditiveProportional([0.1], [0.1], [0.01]),
    )


def exactly(A: Tensor, B: Tensor, x: Tensor, schedule: Schedule, names: Sequence[str], times: Sequence[float]) -> Tensor:
    """The states (T, n) by matrix exponentials alone, from event to event: boluses, infusions, and inputs held or linear."""
    n, m = B.shape
    inputs = list(schedule.inputs.values())
    edges = {schedule.start, *times, *(t for s in inputs for t in s.times if t > schedule.start)}
    for d in schedule.doses:
        edges |= {float(d.arrival), float(d.arrival) + float(d.duration)}
    order, found = sorted(edges), {}
    lengths = torch.tensor([b - a for a, b in itertools.pairwise(order)], dtype=D)
    # x' = A x + (b + c s), as one linear system with the states b + c s and c beside it
    G = torch.zeros(2 * n + n, 2 * n + n, dtype=D)
    G[:n, :n], G[:n, n : 2 * n], G[n : 2 * n, 2 * n :] = A, torch.eye(n, dtype=D), torch.eye(n, dtype=D)
    moves = torch.linalg.matrix_exp(G * lengths[:, None, None])[:, :n]
    for k, t in enumerate(order):
        found[t] = x.clone()
        for d in schedule.doses:
            if d.bolus and float(d.arrival) == t:
                x = x + float(d.amount) * torch.eye(n, dtype=D)[list(names).index(d.state)]
        if k + 1 == len(order):
            break
        h = order[k + 1] - t
        rate = torch.zeros(n, dtype=D)
        for d in schedule.doses:
            if not d.bolus and float(d.arrival) <= t < float(d.arrival) + float(d.duration):
                rate[list(names).index(d.state)] += float(d.amount) / float(d.duration)
        u0 = torch.tensor([s.at(t) for s in inputs], dtype=D).reshape(m)
        u1 = torch.tensor([s.at(t + h, "left") for s in inputs], dtype=D).reshape(m)
        x = moves[k] @ torch.cat([x, B @ u0 + rate, B @ (u1 - u0) / h])
    return torch.stack([found[t] for t in times])


def near(found: Tensor, exact: Tensor, scale: Tensor | None = None) -> None:
    largest = exact.abs().max() if scale is None else scale
    worst = (found - exact).abs().max()
    assert worst <= 1e-4 * largest, f"{worst:.3e} of {largest:.3e}"


def schedules(draw: st.DrawFn, states: Sequence[str], inputs: Sequence[str], unit: float) -> tuple[Schedule, list[float]]:
    """Doses, infusions and inputs on a record of up to 60 units, and times with long gaps."""
    fraction = st.floats(0.0, 1.0, allow_nan=False)
    doses = []
    for _ in range(draw(st.integers(1, 3))):
        at, long = 20.0 * unit * draw(fraction), draw(st.sampled_from([0.0, 0.0, 3.0])) * unit
        doses.append(Dose(draw(st.sampled_from(list(states))), at, 10.0 + 300.0 * draw(fraction), long))
    signals = {}
    for name in inputs:
        points = sorted({round(60.0 * unit * draw(fraction), 3) for _ in range(4)})
        values = tuple(5.0 * draw(fraction) for _ in points)
        signals[name] = Signal(tuple(points), values, draw(st.sampled_from(["held", "linear"])))
    times = sorted({round(60.0 * unit * draw(fraction), 3) for _ in range(draw(st.integers(1, 6)))} | {60.0 * unit})
    return Schedule(tuple(sorted(doses, key=lambda d: float(d.time))), signals), times


def everything_agrees(
    model: HybridModel, schedule: Schedule, times: list[float], eta: Tensor, covariates: dict[str, float], baseline: float
) -> None:
    """`simulate`, `integrate`, `rollout`, `predict`, `sample_paths`, and the mesh that training takes."""
    p = len(model.observation.channels)
    about, before = {k: [v] for k, v in covariates.items()}, torch.full((1, p), baseline, dtype=D)
    given = conditions_of(model, [schedule], [times], covariates=about, baseline=before)
    theta = model.theta(eta[None, None], given.covariates)
    A, B = model.backbone.matrices(theta[0, 0])
    x0 = model.initial(theta, given.baseline)[0, 0]
    grid = np.linspace(0.0, times[-1], 400).tolist()  # on which the largest state is sought
    both = exactly(A, B, x0, schedule, model.backbone.states, [*times, *grid])
    exact, largest = both[: len(times)], both[len(times) :].abs().max()
    mean = model.observation.mean(exact[None, None], theta)[0, 0]
    share = largest * (mean.abs().max() / exact.abs().max().clamp(min=1e-300)).clamp(min=1e-12)
    with torch.no_grad():
        near(simulate(model, schedule, times, theta[0, 0], x0), exact, largest)
        near(integrate(model, [schedule], [times], theta[0, 0], x0).require()[0, 0], exact, largest)
        near(rollout(model, given, eta[None, None]).states[0, 0], exact, largest)
        read = torch.tensor([times], dtype=D)
        found = predict(model, given, eta[None, None, None], times=read, mask=torch.ones_like(read, dtype=torch.bool))
        near(found.point[0], mean, share)
        paths = sample_paths(model, given, eta[None, None], 1, torch.Generator().manual_seed(0))
        near(paths.states[0, 0, 0], exact, largest)
        # what differentiates: one step per segment of the mesh that the conditions carry
        near(rollout(model, given, eta[None, None], RungeKutta("rk4")).states[0, 0], exact, largest)


@settings(max_examples=4, deadline=None, derandomize=True, phases=PHASES)
@given(data=st.data())
def test_by_default_one_compartment_is_the_matrix_exponential(data: st.DataObject) -> None:
    schedule, times = data.draw(st.composite(schedules)(("gut", "plasma"), (), 1.0))
    eta = torch.tensor([data.draw(st.floats(-3.0, 3.0)) for _ in range(3)], dtype=D)
    everything_agrees(oral(data.draw(st.booleans())), schedule, times, eta, {}, 2.0)


@settings(max_examples=4, deadline=None, derandomize=True, phases=PHASES)
@given(data=st.data())
def test_by_default_cpeptide_is_the_matrix_exponential(data: st.DataObject) -> None:
    schedule, times = data.draw(st.composite(schedules)(("plasma", "second"), ("basal", "glucose"), 4.0))
    about = {"age": data.draw(st.floats(10.0, 110.0)), "type2": data.draw(st.sampled_from([0.0, 1.0]))}
    everything_agrees(cpeptide(), schedule, times, torch.zeros(0, dtype=D), about, 0.7)


MATRICES = {
    "decay": [[-0.3]],
    "stiff": [[-40.0, 0.0], [1.0, -0.02]],
    "oscillator": [[-0.05, 2.0], [-2.0, -0.05]],
    "fast decay beside an oscillator": [[-9.0, 1.0, 0.0], [0.0, -0.1, 1.5], [0.0, -1.5, -0.1]],
    "far from normal": [[-1.0, 30.0], [0.0, -1.2]],
    "chain": [[-3.0, 0.0, 0.0], [3.0, -1.0, 0.0], [0.0, 1.0, -0.05]],
}


@pytest.mark.parametrize("name", MATRICES)
@settings(max_examples=2, deadline=None, derandomize=True, phases=PHASES)
@given(data=st.data())
def test_by_default_any_linear_backbone_is_the_matrix_exponential(name: str, data: st.DataObject) -> None:
    A = MATRICES[name]
    model = linear(A, [[1.0]] + [[0.0]] * (len(A) - 1))
    schedule, times = data.draw(st.composite(schedules)([f"x{i + 1}" for i in range(len(A))], ["u1"], 0.3))
    everything_agrees(model, schedule, times, torch.zeros(0, dtype=D), {}, 0.0)


# 320 mg, read at 0, 1, 6 and 24 h


def person(name: str = "1", theta: tuple[float, float, float] = (1.5, 0.086, 31.5), amount: float = 320.0) -> Record:
    ka, ke, V = theta
    times = np.array([0.0, 1.0, 6.0, 24.0])
    values = amount * ka / (ka - ke) / V * (np.exp(-ke * times) - np.exp(-ka * times))
    schedule = Schedule((Dose("gut", 0.0, amount),))
    return Record(name, schedule, times, values[:, None], ("concentration",), units={"time": "h", "dose": "mg"})


def test_the_readme_model_is_predicted_right() -> None:
    model, record = oral(), person()
    cohort = Cohort.of([record], model)
    eta = torch.zeros(1, 1, 1, 3, dtype=D)
    found = predict(model, cohort, eta)
    theta = model.theta(eta[0], {})[0, 0].tolist()
    exact = person("1", (theta[0], theta[1], theta[2])).values[:, 0]
    assert found.point[0, :, 0].tolist() == pytest.approx(exact, rel=1e-4, abs=1e-6)
    assert found.point[0, -1, 0] == pytest.approx(1.37, abs=0.02)


def test_the_cohort_carries_its_mesh() -> None:
    model, records = oral(), [person("1"), person("2")]
    cohort = Cohort.of(records, model)
    assert cohort.conditions.mesh == Mesh.of(model, records)
    kept = (cohort.to(torch.float32), cohort.people(torch.tensor([1])), cohort.until(1.0), cohort.after(1.0))
    assert all(c.conditions.mesh == cohort.conditions.mesh for c in kept)
    assert all(c.conditions.segments.meshed for c in kept)
    named = Mesh(0.25)
    assert Cohort.of(records, model, named).conditions.mesh == named


def test_a_mesh_leaves_a_learned_rate_without_a_spread_three_times_its_start() -> None:
    def of(spread: list[float | None]) -> HybridModel:
        backbone = OneCompartmentOral()
        population = LogNormalPopulation(backbone.physical, spread)
        noise = AdditiveProportional([0.5], [0.1], [0.03])
        return HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=noise)

    shared, given = of([None, None, None]), [person()]
    room, none = Mesh.of(shared, given), Mesh.of(shared, given, room=1.0)
    assert none == Mesh.fastest(shared, {}, 1)
    # its fastest rate is the absorption, which may become three times as fast
    assert room.step == pytest.approx(none.step / 3.0)
    assert room.first == pytest.approx(none.first / 3.0, rel=0.01)
    wide = of([0.6, 0.3, 0.2])  # e^1.8 is more than three times
    assert Mesh.of(wide, given) == Mesh.of(wide, given, room=1.0)
    with pytest.raises(ValueError, match="room"):
        Mesh.of(shared, given, room=0.5)


def test_personalise_fit_and_marginal_likelihood_take_the_mesh() -> None:
    """Against the same with steps much finer than needed."""
    model = oral()
    people = [person(str(k), (1.5 * math.exp(0.5 * k), 0.086, 31.5)) for k in (-1, 0, 1)]
    cohort, fine = Cohort.of(people, model), Cohort.of(people, model, Mesh(0.05, 0.01))
    mode, exact = personalise(model, cohort).mode, personalise(model, fine).mode
    assert (mode - exact).abs().max() < 1e-3
    *_, step = fit(model, cohort, search=Search(steps=3))
    *_, other = fit(model, fine, search=Search(steps=3))
    assert step.loss.item() == pytest.approx(other.loss.item(), rel=1e-4)
    a, b = (next(iter(shoot(model, c, search=Search(steps=3), count=2, rounds=1))) for c in (cohort, fine))
    assert a.loss.item() == pytest.approx(b.loss.item(), rel=1e-3)
    learnable = HybridModel(
        model.backbone,
        LogNormalPopulation(model.backbone.physical, spread=[0.6, 0.2, 0.2], learn_spread=True),
        observation=model.observation,
        noise=model.noise,
    )
    p, q = next(iter(fit_population(learnable, cohort))), next(iter(fit_population(learnable, fine)))
    assert p.loss.item() == pytest.approx(q.loss.item(), rel=1e-4)


def test_a_forecast_by_default() -> None:
    model, cohort = oral(), Cohort.of([person("1"), person("2", (3.0, 0.1, 25.0))], oral())
    found, personal = forecast(model, cohort.until(1.0), cohort.after(1.0), generator=torch.Generator().manual_seed(1))
    exact, _ = forecast(
        model, cohort.until(1.0), cohort.after(1.0), generator=torch.Generator().manual_seed(1), solver=Exponential(rtol=1e-9)
    )
    assert not personal.failed
    near(found.point, exact.point)


# fixed steps where none can be right


@pytest.mark.parametrize(
    "solver", [RungeKutta("rk4"), RungeKutta("tsit5"), Exponential(), Torchdiffeq("rk4"), Torchdiffeq("euler")]
)
def test_fixed_steps_over_an_uncut_record_are_refused(solver: RungeKutta | Exponential | Torchdiffeq) -> None:
    model = oral(residual=True)
    with pytest.raises(ValueError, match=r"record 0 would be stepped over in 18 at once\. .*Mesh\.of\(model, records\)"):
        simulate(model, person().schedule, [0.0, 1.0, 6.0, 24.0], torch.tensor([1.5, 0.086, 31.5]), torch.zeros(2), solver=solver)


def test_one_exact_step_needs_no_mesh() -> None:
    model, theta = oral(), torch.tensor([1.5, 0.086, 31.5], dtype=D)
    found = simulate(model, person().schedule, [1.0, 24.0], theta, torch.zeros(2), solver=Exponential())
    assert found[:, 1] / 31.5 == pytest.approx(person().values[[1, 3], 0], rel=1e-12)


@pytest.mark.parametrize("solver", [RungeKutta("rk4"), RungeKutta("bosh3"), Torchdiffeq("rk4"), Torchdiffeq("midpoint")])
def test_a_step_beyond_the_limit_of_stability_fails_with_its_numbers(solver: RungeKutta | Torchdiffeq) -> None:
    model = oral()
    theta = torch.tensor([[1.0, 0.086, 31.5], [3.9, 0.086, 31.5]], dtype=D)
    schedule = person().schedule
    found = integrate(model, [schedule] * 2, [[6.0, 24.0]] * 2, theta, torch.zeros(2), solver=solver, mesh=Mesh(1.0))
    (failure,) = found.failures
    assert failure.record == 1
    assert "the step of 1 from time" in failure.sentence
    assert "times the fastest rate 3.9 is 3.9, beyond" in failure.sentence
    assert "Mesh.of(model, records)" in failure.sentence
    assert torch.isfinite(found.states[:, 0]).all()
    with pytest.raises(SimulationError, match="record 1"):
        simulate(model, [schedule] * 2, [[6.0, 24.0]] * 2, theta, torch.zeros(2), solver=solver, mesh=Mesh(1.0))
    # the people of a cohort are named
    cohort = Cohort.of([person("A"), person("B")], oral(spread=(3.0, 0.2, 0.2)), Mesh(1.0))
    far = prior(oral(spread=(3.0, 0.2, 0.2)), 2, mean=torch.tensor([3.0, 0.0, 0.0]))
    with pytest.warns(UserWarning, match="2 of 2 people could not be simulated"):
        lost = personalise(oral(spread=(3.0, 0.2, 0.2)), cohort, before=far, solver=solver, iterations=1)
    assert all("beyond" in lost.failed[k] for k in (0, 1))


def test_the_limits_of_stability_are_those_of_the_textbooks() -> None:
    from hybrid.solve.stability_limit import real_limit

    # Hairer & Wanner (1996), IV.2: 2.51, 2.79 and 3.31 for the explicit methods of order 3, 4 and of Dormand & Prince
    assert real_limit("bosh3") == pytest.approx(2.5127, abs=1e-3)
    assert real_limit("rk4") == pytest.approx(2.7853, abs=1e-3)
    assert real_limit("dopri5") == pytest.approx(3.3066, abs=1e-3)


SWINGS = [(RungeKutta("bosh3"), 1.0), (RungeKutta("dopri5"), 1.0), (Torchdiffeq("euler"), 0.05), (Torchdiffeq("midpoint"), 0.5)]


@pytest.mark.parametrize(("solver", "step"), SWINGS, ids=lambda v: getattr(v, "method", str(v)))
def test_an_oscillation_beyond_the_limit_of_stability_is_a_failure(solver: RungeKutta | Torchdiffeq, step: float) -> None:
    """It dies out, and these steps make it grow, although step times rate is below the limit on the real axis."""
    model, schedule = linear([[-0.01, 2.0], [-2.0, -0.01]]), Schedule((Dose("x1", 0.0, 100.0),))
    found = integrate(model, [schedule], [[60.0]], torch.zeros(0), torch.zeros(2), solver=solver, mesh=Mesh(step))
    (failure,) = found.failures
    assert "an oscillation that dies out grows by" in failure.sentence


@pytest.mark.parametrize(("method", "step"), [("rk4", 1.3), ("tsit5", 0.1)])
def test_an_oscillation_that_grows_by_rounding_alone_or_not_at_all_is_taken(method: str, step: float) -> None:
    model, schedule = linear([[-0.01, 2.0], [-2.0, -0.01]]), Schedule((Dose("x1", 0.0, 100.0),))
    solver, mesh = RungeKutta(method), Mesh(step)
    assert not integrate(model, [schedule], [[600.0]], torch.zeros(0), torch.zeros(2), solver=solver, mesh=mesh).failures


def test_process_noise_beside_a_residual_needs_a_mesh() -> None:
    model = oral(residual=True)
    noisy = HybridModel(
        model.backbone,
        model.population,
        model.residual,
        observation=model.observation,
        noise=model.noise,
        process=DiagonalDiffusion([1.0, 1.0], [0.01, 0.01]),
    )
    bare = conditions_of(noisy, [person().schedule], [[1.0, 24.0]], mesh=Mesh())
    with pytest.raises(ValueError, match="no mesh has cut"):
        rollout(noisy, bare, torch.zeros(1, 1, 3, dtype=D))
    with pytest.raises(ValueError, match="no mesh has cut"):
        sample_paths(noisy, bare, torch.zeros(1, 1, 3, dtype=D), 1, torch.Generator())
    rollout(noisy, conditions_of(noisy, [person().schedule], [[1.0, 24.0]]), torch.zeros(1, 1, 3, dtype=D))


@pytest.mark.parametrize("wrong", [float("inf"), float("nan"), "0.1", True])
def test_a_mesh_is_made_of_numbers(wrong: object) -> None:
    with pytest.raises(ValueError, match="Mesh: step must be"):
        Mesh(step=wrong)  # type: ignore[arg-type]


def test_a_mesh_of_nobody() -> None:
    with pytest.raises(ValueError, match="needs the records"):
        Mesh.of(oral(), [])


def test_a_fast_residual_shortens_the_mesh() -> None:
    model = oral(residual=True)
    slow = Mesh.of(model, [person()])
    assert isinstance(model.residual, MLP)
    torch.nn.init.constant_(model.residual.weights[-1], 1e4)
    fast = Mesh.of(model, [person()])
    assert slow.step is not None
    assert fast.step is not None
    assert fast.step < 0.5 * slow.step


@pytest.mark.parametrize(
    ("gain", "separable", "most"),
    [(10.0, True, 2000), (10.0, False, 1400), (-10.0, False, 700)],
    ids=["states apart", "pushes away", "pulls back"],
)
def test_a_strong_residual_beside_a_slow_rate_is_cut_no_finer_than_it_needs(gain: float, separable: bool, most: int) -> None:
    """Slopes of some 10 to 30 /h beside ke = .01 /h: 3,700 to 4,000 steps, were all of it taken for undamped."""
    backbone = OneCompartmentOral(typical={"ka": 1.5, "ke": 0.01, "V": 30.0})
    learned = MLP(2, hidden=(8,), separable=separable, state_scale=300.0, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        learned.weights[-1].mul_(gain)
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, spread=[0.6, 0.2, 0.2]),
        learned,
        observation=Concentration(1, 2),
        noise=AdditiveProportional(*NOISE),
    )
    schedules = [Schedule((Dose("gut", 0.0, 300.0), Dose("gut", 24.0, 300.0)))] * 3
    times = [np.linspace(0.6, 72.0, 60).tolist()] * 3
    eta = torch.tensor([[[0.0, 0.0, 0.0], [3.0, -3.0, 0.0], [-3.0, 3.0, 0.0]]], dtype=D)
    made = conditions_of(model, schedules, times).mesh
    assert made is not None
    assert made.step is not None
    assert made.first is not None
    fine = Mesh(made.step / 2, made.first / 2, made.growth / 2, observed=False)
    by_default = conditions_of(model, schedules, times, mesh=replace(made, observed=False))
    with torch.no_grad():
        found, exact = (
            rollout(model, given, eta, RungeKutta("rk4")).states
            for given in (by_default, conditions_of(model, schedules, times, mesh=fine))
        )
    near(found, exact)
    assert by_default.segments.dt.shape[1] <= most


def test_who_is_too_fast_under_one_member_is_lost_under_that_one_alone() -> None:
    model = oral(spread=(3.0, 0.2, 0.2))
    personal = torch.zeros(2, 3, 3, dtype=D)
    personal[1, 2, 0] = 3.0  # person 3 absorbs at the box's end under the second member
    cohort = Cohort.of([person(n) for n in "ABC"], model, Mesh(0.5))
    run = rollout(model, cohort.conditions, personal, RungeKutta("rk4"), on_failure="return")
    (failure,) = run.failures
    assert (failure.record, failure.members) == (2, (1,))
    assert torch.isnan(run.states[1, 2]).all()
    alone = rollout(model, cohort.conditions, personal[[0]], RungeKutta("rk4"))
    torch.testing.assert_close(run.states[[0]], alone.states, rtol=1e-12, atol=1e-12)
    assert torch.isfinite(run.states[1, :2]).all()
    with pytest.raises(SimulationError, match="record 2"):
        rollout(model, cohort.conditions, personal, RungeKutta("rk4"))


@pytest.mark.parametrize("observed", [True, False])
def test_what_finds_its_own_steps_is_not_held_up_by_a_mesh(observed: bool) -> None:
    """The segments without a mesh's cuts: the same solution, of fewer pieces, read in the same places."""
    model = linear([[-1.0, 0.2], [0.4, -0.3]], [[1.0], [0.0]])
    held = {"u1": Signal((0.0, 2.0, 2.5), (1.0, 3.0, 0.5), "held")}
    bent = {"u1": Signal((0.0, 2.0, 9.0), (1.0, 3.0, 0.5))}
    schedules = [
        Schedule((Dose("x1", 1.0, 5.0), Dose("x2", 3.0, 6.0, 2.0)), held),
        Schedule((Dose("x1", 0.0, 2.0),), bent),
        Schedule((), {"u1": Signal((0.0,), (0.0,))}),
    ]
    times = [[0.0, 1.0, 1.5, 6.0], [4.0, 8.0], [0.5, 0.5, 20.0]]
    given = conditions_of(model, schedules, times, mesh=Mesh(0.1, 0.02, 0.1, observed=observed))
    whole, nobody = unmeshed(given.segments), torch.zeros(1, 3, 0, dtype=D)
    assert whole.dt.shape[1] < 0.7 * given.segments.dt.shape[1]
    torch.testing.assert_close(whole.dt.sum(1), given.segments.dt.sum(1), rtol=1e-13, atol=0.0)
    assert whole.cut == observed
    fine = rollout(model, given, nobody, Exponential()).states
    coarse = rollout(model, replace(given, segments=whole), nobody, Exponential()).states
    torch.testing.assert_close(coarse, fine, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(
        replace(given, segments=whole).segments.read_inputs(), given.segments.read_inputs(), rtol=1e-11, atol=1e-11
    )
    # where a derivative is asked for, every cut stays
    amount = torch.tensor(0.0, dtype=D, requires_grad=True)
    moving = conditions_of(model, [Schedule((Dose("x1", 1.0, amount),), held)], [[6.0]], mesh=Mesh(0.1))
    assert unmeshed(moving.segments) is moving.segments
