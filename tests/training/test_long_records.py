"""Windows take what every fit takes, and whole long records are simulated through them as they are one step after the other."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hybrid import (
    Concentration,
    Dose,
    Exponential,
    HybridModel,
    Mesh,
    RungeKutta,
    Schedule,
    Signal,
    Solver,
    States,
    Torchdiffeq,
    conditions_of,
    rollout,
)
from learned import MLP, AdditiveProportional, Ensemble, select
from physics import LinearBackbone, OneCompartmentOral, SharedPopulation
from tests.training.test_shooting import MEMBERS, conditions, driven, own
from training import (
    Anchor,
    Checkpoint,
    Cohort,
    Looks,
    Objective,
    Record,
    Search,
    fit,
    gaussian_crps,
    judged_tail,
    several,
    shoot,
)
from training.long_records.in_windows import InWindows
from training.long_records.shooting import ShootingStep
from training.long_records.window import window_count
from training.loop.course import Course

SOLVERS: list[tuple[Solver, Mesh]] = [
    (RungeKutta("rk4"), Mesh(0.25)),
    (Exponential(), Mesh(0.7, 0.2, 0.5, observed=False)),
    (Torchdiffeq(rtol=1e-9, atol=1e-11), Mesh(1.0)),
]


@pytest.mark.parametrize(("solver", "mesh"), SOLVERS)
@pytest.mark.parametrize("count", [1, 7, 1000])
def test_a_record_through_its_windows_is_the_record(solver: Solver, mesh: Mesh, count: int) -> None:
    """Doses, an infusion and inputs of both kinds, two people of unequal lengths, two members: states and all gradients."""
    model = driven()
    given, found = conditions(model, mesh), []
    through = InWindows(solver, count)
    assert through.adaptive == solver.adaptive
    for by in (solver, through):
        personal = own(MEMBERS).requires_grad_()
        for p in model.parameters():
            p.grad = None
        run = rollout(model, given, personal, by)
        (run.states.square().sum() + run.mean.sin().sum() + run.variance.sum()).backward()
        gradients = [p.grad for p in (personal, *model.parameters()) if p.grad is not None]
        found.append([run.states.detach(), *gradients])
    assert len(found[0]) == len(found[1]) > 4
    for a, b in zip(*found, strict=True):
        # the joints close to 1e-10 of a state; an adaptive solver keeps its own tolerance in every window anew
        torch.testing.assert_close(a, b, rtol=1e-6 if solver.adaptive else 1e-8, atol=1e-6 if solver.adaptive else 1e-9)


def test_what_newton_does_not_find_is_simulated_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = driven()
    given = conditions(model, Mesh(0.25))
    monkeypatch.setattr("training.long_records.in_windows._ROUNDS", 1)
    through = InWindows(RungeKutta("rk4"), 7)
    a, b = (rollout(model, given, own(MEMBERS), s).states for s in (RungeKutta("rk4"), through))
    assert torch.equal(a, b)
    assert through.starts is None
    # a state that is not finite is the record's, and named so
    broken = replace(given, baseline=given.baseline)
    lost = replace(broken, segments=replace(given.segments, jump=given.segments.jump * 1e308))
    failures = [rollout(model, lost, own(MEMBERS), s, on_failure="return").failures for s in (RungeKutta("rk4"), through)]
    assert [f.record for f in failures[0]] == [f.record for f in failures[1]] != []


def pendulum(seed: int, members: int = 1) -> HybridModel:
    """A driven oscillator with a residual, measured in its place alone."""
    backbone = LinearBackbone([[-0.05, 1.0], [-1.0, -0.2]], [[0.0], [1.0]], states=("a", "b"), inputs=("u",))
    model = HybridModel(
        backbone,
        SharedPopulation(),
        MLP(2, 1, hidden=(6,), generator=torch.Generator().manual_seed(seed)),
        observation=States([0], ["a"], ["1"]),
        noise=AdditiveProportional([0.05], [0.001], [0.005]),
    )
    return model if members == 1 else Ensemble(members).stack(model, torch.Generator().manual_seed(seed))


def records(length: int = 40) -> list[Record]:
    """Two of unequal lengths, with values missing, driven by steps and by a line."""
    rng, found = np.random.default_rng(4), []
    for name, size, how in (("A", length, "held"), ("B", length // 2, "linear")):
        times = 0.25 * np.arange(size)
        u = rng.uniform(-1.0, 1.0, size)
        values = np.sin(times)[:, None] + 0.05 * rng.standard_normal((size, 1))
        values[rng.uniform(size=size) < 0.2] = np.nan
        schedule = Schedule(inputs={"u": Signal(tuple(times), tuple(u), how)})  # type: ignore[arg-type]
        found.append(Record(name, schedule, times, values, ("a",)))
    return found


def cohort_of(model: HybridModel, length: int = 40) -> Cohort:
    return Cohort.of(records(length), model, Mesh(0.25))


def same(a: ShootingStep, b: ShootingStep) -> bool:
    pairs = [(a.loss, b.loss), (a.defect, b.defect), (a.held_out, b.held_out), (a.best.personal, b.best.personal)]
    pairs += zip(a.best.model.parameters(), b.best.model.parameters(), strict=True)
    return (a.index, a.rate, a.phase) == (b.index, b.rate, b.phase) and all(
        torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in pairs
    )


LINE = partial(torch.optim.LBFGS, line_search_fn="strong_wolfe", max_iter=3)
WAYS: dict[str, tuple[Objective, Search, int]] = {
    "adam": (Objective(), Search(steps=6), 2),
    "adamw on a schedule": (
        Objective(decay=0.1, likelihood=gaussian_crps),
        Search(
            steps=6,
            optimiser=partial(torch.optim.AdamW, weight_decay=0.1),
            schedule=lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
            clip=1.0,
        ),
        2,
    ),
    "a line search": (Objective(), Search(steps=6, optimiser=LINE, rate=1.0), 1),
}


# the ways of going down, and of simulating, once each
@pytest.mark.parametrize(
    ("way", "long"), [("adam", False), ("adam", True), ("adamw on a schedule", True), ("a line search", False)]
)
def test_stopped_saved_and_resumed_is_never_stopped(
    tmp_path: Path, way: str, long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In windows, where the noise is free, at the last step of the windows, and in the polish."""
    if long:
        monkeypatch.setattr("training.long_records.shooting.LONG", 1)
    objective, search, members = WAYS[way]
    model = pendulum(1, members)
    cohort = cohort_of(model, 20)
    objective = replace(objective, judged=judged_tail(cohort, 0.25))
    given: dict[str, Any] = {"count": 3, "rounds": 3, "polish": 2}
    whole = list(shoot(model, cohort, objective, search, Looks(every=2), **given))
    assert [s.index for s in whole] == list(range(1, 9))
    for stop in (2, 5, 6, 7) if way == "adam" else (5, 7):
        looks = Looks(every=2, checkpoint=Checkpoint(tmp_path / f"{stop}.checkpoint", every=3))
        for step in shoot(model, cohort, objective, search, looks, **given):
            if step.index == stop:
                break
        resumed = list(shoot(model, cohort, objective, search, looks, **given))
        assert [s.index for s in resumed] == list(range(stop, 9))
        assert all(same(a, b) for a, b in zip(resumed, whole[stop - 1 :], strict=True))
    with pytest.raises(ValueError, match=r"checkpoint of another fit: .*windows"):
        next(shoot(model, cohort, objective, search, looks, **{**given, "count": 4}))


def test_the_tail_judges_as_in_fit_and_teaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pendulum(2, 2)
    cohort = cohort_of(model)
    objective = Objective(judged=judged_tail(cohort, 0.25))
    fitted = next(fit(model, cohort, objective, Search(steps=1), Looks(every=1)))
    step = next(shoot(model, cohort, objective, Search(steps=1), Looks(every=1), count=1, rounds=1, polish=0))
    # one window is the whole record, and the noise at rest is all that differs
    torch.testing.assert_close(step.loss, fitted.loss)
    assert bool(torch.isfinite(step.held_out).all())
    # what judges may say anything: a step is the same, the look is not
    louder = replace(cohort, y=torch.where(objective.judged[..., None], 5.0 + cohort.y, cohort.y))  # type: ignore[index]
    objective_of: Callable[[], Iterator[ShootingStep]] = lambda: shoot(  # noqa: E731
        model, louder, objective, Search(steps=6), Looks(every=3), count=4, rounds=2, polish=2
    )
    *_, changed = objective_of()
    *_, plain = shoot(model, cohort, objective, Search(steps=6), Looks(every=3), count=4, rounds=2, polish=2)
    assert torch.equal(changed.loss, plain.loss)
    assert bool((changed.held_out > plain.held_out).all())
    # a member that is judged keeps its best look, and only in the polish is it finished by looks that are no better
    assert changed.now is not None
    monkeypatch.setattr(Course, "_look", lambda self, state, stage: setattr(state, "latest", torch.ones(2).double()))
    steps = list(
        shoot(model, cohort, objective, Search(steps=8), Looks(every=1, patience=2), count=4, rounds=2, polish=9)
    )
    assert [s.phase for s in steps].count("shooting") == 8
    assert [s.phase for s in steps].count("polish") == 2
    for kept, first in zip(steps[-1].best.model.parameters(), steps[0].best.model.parameters(), strict=True):
        assert torch.equal(kept, first)


def test_members_of_one_computation_keep_to_themselves_whatever_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.long_records.shooting.LONG", 1)
    model = pendulum(3, 3)
    cohort = cohort_of(model)
    tail = judged_tail(cohort, 0.25)
    masks = torch.stack([tail, torch.zeros_like(tail) | (cohort.times < 2.0), tail])
    settings: dict[str, Any] = {"count": 4, "rounds": 2, "polish": 2}
    together = list(shoot(model, cohort, Objective(judged=masks), Search(steps=6), Looks(every=2), **settings))
    for m in range(3):
        one = select(model, torch.tensor([m]))
        alone = list(shoot(one, cohort, Objective(judged=masks[[m]]), Search(steps=6), Looks(every=2), **settings))
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a.loss[m], b.loss[0], rtol=1e-8, atol=0.0)
            torch.testing.assert_close(a.held_out[m], b.held_out[0], rtol=1e-7, atol=0.0, equal_nan=True)


def test_anchors_draw_from_windows_what_they_draw_from_records() -> None:
    model = pendulum(4, 3)
    cohort = cohort_of(model)
    anchors = Anchor.of(model, cohort, torch.Generator().manual_seed(1))
    objective = Objective(anchors=anchors, least_residual=0.0)
    step = next(shoot(model, cohort, objective, Search(steps=3), count=4, rounds=1, polish=0))
    torch.testing.assert_close(step.loss, next(fit(model, cohort, objective)).loss)


def test_a_model_in_float32_stays_there_and_takes_bfloat16() -> None:
    model = pendulum(5, 2).to(torch.float32)
    cohort = cohort_of(model).to(torch.float32)
    tail = Objective(judged=judged_tail(cohort, 0.25))
    for bfloat16 in (False, True):
        by = Search(steps=6, bfloat16=bfloat16)
        steps = list(shoot(model, cohort, tail, by, Looks(every=3), count=4, rounds=2, polish=2))
        assert all(p.dtype == torch.float32 for p in steps[-1].best.model.parameters())
        assert bool((steps[-1].loss < steps[0].loss).all())
        assert bool(torch.isfinite(steps[-1].held_out).all())


def test_windows_by_a_line_search_end_below_those_by_adam() -> None:
    model = pendulum(6)
    cohort = cohort_of(model)
    *_, by_line = shoot(model, cohort, search=Search(steps=18, optimiser=LINE, rate=1.0), count=6, rounds=4, polish=5)
    *_, adam = shoot(model, cohort, search=Search(steps=40), count=6, rounds=4, polish=5)
    # not the model that made the data: some 2,000 nats are to be gained, and steps of a line search gain nearly all
    assert float(by_line.loss) < 0.5 * float(adam.loss)


def test_how_many_windows_and_when_a_fit_says_that_a_record_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pendulum(7)
    cohort = cohort_of(model)  # 39 segments, 40 readings
    assert window_count(cohort.conditions.segments) == 6
    assert window_count(replace(cohort.conditions.segments, segment=cohort.conditions.segments.segment * 0)) == 1
    by_default = next(shoot(model, cohort, search=Search(steps=20)))
    assert torch.equal(by_default.loss, next(shoot(model, cohort, search=Search(steps=20), count=6)).loss)
    monkeypatch.setattr("training.fitting.LONG", 39)
    with pytest.warns(UserWarning, match=r"the longest record has 39 segments.*write last\(shoot\(model, cohort"):
        next(fit(model, cohort))


@pytest.mark.parametrize("solver", [RungeKutta("rk4"), Exponential()])
def test_members_with_their_own_rates_go_through_windows(solver: Solver) -> None:
    """One person under members whose A differs, and copies of that person: A is theirs, whatever axis it came with."""
    backbone = OneCompartmentOral()
    one = HybridModel(
        backbone,
        SharedPopulation(backbone, learned=True),
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([0.5], [0.1], [0.03]),
    )
    model = several(one, 3, torch.Generator().manual_seed(0))
    given = conditions_of(
        model, [Schedule((Dose("gut", 0.0, 320.0),))], [[0.5 * k for k in range(1, 41)]], mesh=Mesh(0.25)
    )
    nobody = torch.zeros(3, 1, 0, dtype=torch.float64)
    whole, through = (rollout(model, given, nobody, by).states for by in (solver, InWindows(solver, 5)))
    torch.testing.assert_close(whole, through, rtol=1e-7, atol=1e-7)
    for m in range(3):  # each member is as alone
        alone = rollout(select(model, torch.tensor([m])), given, nobody[:1], solver).states
        torch.testing.assert_close(alone[0], whole[m], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(whole[0], whole[1])
