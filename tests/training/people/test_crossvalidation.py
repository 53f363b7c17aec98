"""Cross-validation by person: who is unseen stays unseen, from the plan through training to the forecast."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid import HybridModel, Mesh, Prediction, build_segments, predict
from learned import Ensemble, select
from training import (
    Cohort,
    Looks,
    Objective,
    Plan,
    Record,
    Search,
    Stability,
    at_times,
    fit,
    forecast,
    forecast_unseen,
    personalise,
)

MESH = Mesh(0.65, 0.2, 0.5)
FROM = 2.0  # three samples are known, three are asked


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(people=st.integers(3, 14), members=st.integers(1, 4), folds=st.integers(2, 6), seed=st.integers(0, 2**31))
def test_plan(people: int, members: int, folds: int, seed: int) -> None:
    if folds > people:
        with pytest.raises(ValueError, match="folds"):
            Plan.of(people, members, folds, generator(seed))
        return
    plan = Plan.of(people, members, folds, generator(seed))
    rows = members * (1 + folds)
    assert plan.weights.shape == plan.held_out.shape == (rows, people)
    assert not ((plan.weights > 0) & plan.held_out).any()
    assert set(plan.fold.tolist()) == set(range(folds))  # everyone is unseen by exactly one ensemble, none is idle
    # the final ensemble: a resample of everyone, and the rest of everyone stops it
    assert (plan.weights[:members].sum(1) == people).all()
    assert torch.equal(plan.held_out[:members], plan.weights[:members] == 0)
    for k in range(folds):
        own = slice(members * (k + 1), members * (k + 2))
        unseen = plan.fold == k
        assert plan.weights[own][:, unseen].sum() == 0
        assert not plan.held_out[own][:, unseen].any()
        assert (plan.weights[own].sum(1) == (~unseen).sum()).all()
        assert torch.equal(plan.held_out[own][:, ~unseen], plan.weights[own][:, ~unseen] == 0)
    again = Plan.of(people, members, folds, generator(seed))
    assert torch.equal(plan.weights, again.weights)
    assert torch.equal(plan.fold, again.fold)


def test_two_people_judge_each_other_and_one_is_too_few() -> None:
    plan = Plan.of(2, 3, 2, generator())
    for k in range(2):
        own = slice((k + 1) * 3, (k + 2) * 3)
        assert plan.weights[own][:, plan.fold == k].sum() == 0
        assert (plan.weights[own][:, plan.fold != k] == 1).all()
    with pytest.raises(ValueError, match="at least 2 people, got 1"):
        Plan.of(1, 2, 1, generator())


def test_ensembles_come_out_of_the_stack_as_planned(model: HybridModel) -> None:
    plan = Plan.of(6, 2, 3, generator())
    stack = plan.stack(model, generator(1))
    assert stack.members == 8
    parts = [plan.final(stack), *(plan.unseen(stack, k) for k in range(3))]
    for k, part in enumerate(parts):
        assert part.members == 2
        for a, b in zip(part.parameters(), stack.parameters(), strict=True):
            assert torch.equal(a, b[2 * k : 2 * k + 2])


@pytest.fixture(scope="module")
def six(people_of: Callable[..., tuple[Record, ...]]) -> tuple[Record, ...]:
    return people_of(6, seed=7)


def study(model: HybridModel, cohort: Cohort) -> tuple[Plan, HybridModel]:
    """A stack trained for a few steps, early stopping and penalty included."""
    plan = Plan.of(cohort.conditions.size, 2, 3, generator(2))
    steps = fit(
        plan.stack(model, generator(3)),
        cohort,
        objective=Objective(
            weights=plan.weights,
            held_out=plan.held_out,
            forecast_from=FROM,
            stability=Stability.of(model, cohort.conditions.covariates),
        ),
        search=Search(steps=4),
        looks=Looks(every=2),
    )
    *_, last = steps
    return plan, last.best.model


def forecasts(plan: Plan, stack: HybridModel, cohort: Cohort) -> Prediction:
    return forecast_unseen(plan, stack, cohort.until(FROM), cohort.after(FROM), draws=3, generator=generator(5))


def test_everyone_is_forecast_by_the_ensemble_that_never_saw_them(model: HybridModel, six: tuple[Record, ...]) -> None:
    cohort = Cohort.of(six, model, MESH)
    plan = Plan.of(6, 2, 3, generator(2))
    stack = plan.stack(model, generator(3))
    with torch.no_grad():  # members that are easy to tell apart: each has its own volume
        stack.population.shift[:, 2] = torch.linspace(-1.0, 1.0, stack.members, dtype=torch.float64)
    got = forecasts(plan, stack, cohort)
    assert got.mean.shape == (2, 3, 6, 6, 1)
    assert torch.equal(got.times, cohort.times)
    g = generator(5)
    for k in range(3):
        index = torch.nonzero(plan.fold == k)[:, 0]
        one = plan.unseen(stack, k)
        known = cohort.until(FROM).people(index)
        sample = personalise(one, known).draws(3, g)
        part = predict(one, known, sample)
        assert torch.equal(got.mean[:, :, index], part.mean)
        assert torch.equal(got.variance[:, :, index], part.variance)


def test_what_is_measured_later_cannot_change_a_forecast(model: HybridModel, six: tuple[Record, ...]) -> None:
    cohort = Cohort.of(six, model, MESH)
    plan, stack = study(model, cohort)
    later = cohort.times[..., None] > FROM
    a = forecasts(plan, stack, cohort)
    b = forecasts(plan, stack, replace(cohort, y=torch.where(later, 7.0 * cohort.y, cohort.y)))
    assert torch.equal(a.mean, b.mean)
    assert torch.equal(a.variance, b.variance)
    # and what was measured before does change it
    c = forecasts(plan, stack, replace(cohort, y=torch.where(later, cohort.y, 1.3 * cohort.y)))
    assert (a.mean - c.mean).abs().amax((0, 1, 3, 4)).min() > 1e-3


@pytest.mark.parametrize("person", [0, 3])
def test_an_unseen_persons_own_future_cannot_reach_their_forecast_through_training(
    model: HybridModel, six: tuple[Record, ...], person: int
) -> None:
    # trained anew with another future for one person: everyone else's forecast may change, theirs may not, to the last bit
    cohort = Cohort.of(six, model, MESH)
    y = cohort.y.clone()
    y[person] = torch.where(cohort.times[person, :, None] > FROM, 5.0 * y[person] + 1.0, y[person])
    plan, first = study(model, cohort)
    _, second = study(model, replace(cohort, y=y))
    a, b = forecasts(plan, first, cohort), forecasts(plan, second, replace(cohort, y=y))
    assert torch.equal(a.mean[:, :, person], b.mean[:, :, person])
    assert torch.equal(a.variance[:, :, person], b.variance[:, :, person])
    unseen = plan.fold == plan.fold[person]
    assert torch.equal(a.mean[:, :, unseen], b.mean[:, :, unseen])  # their fold's ensemble is the same one
    assert (a.mean[:, :, ~unseen] - b.mean[:, :, ~unseen]).abs().max() > 1e-6


def test_an_unseen_persons_whole_record_cannot_reach_their_ensemble(
    model: HybridModel, six: tuple[Record, ...]
) -> None:
    # dose and early samples as well: the weights of the ensemble that never saw the person stay what they were
    cohort = Cohort.of(six, model, MESH)
    factor = torch.ones(6, 1, 1, dtype=torch.float64)
    factor[1] = 2.0
    segments = cohort.conditions.segments
    conditions = replace(cohort.conditions, segments=replace(segments, jump=factor * segments.jump))
    plan, first = study(model, cohort)
    _, second = study(model, replace(cohort, y=cohort.y * factor**2, conditions=conditions))
    k = int(plan.fold[1])
    for a, b in zip(plan.unseen(first, k).parameters(), plan.unseen(second, k).parameters(), strict=True):
        # whoever is personalised beside them in the early stopping may take a step more or less, below its tolerance;
        # the weights that are kept are those of the same look
        assert torch.equal(a, b)
    others = zip(first.parameters(), second.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in others)


def test_a_forecast_is_the_members_own(model: HybridModel, cohort: Cohort) -> None:
    stack = Ensemble(3).stack(model, generator(4))
    known, asked = cohort.until(FROM), cohort.after(FROM)
    whole, personal = forecast(stack, known, asked, draws=2, generator=generator(1))
    assert whole.mean.shape == (3, 2, 4, 6, 1)
    for k in range(3):
        one, own = forecast(select(stack, torch.tensor([k])), known, asked, draws=2, generator=generator(1))
        # modes agree to the tolerance at which the search ends
        torch.testing.assert_close(own.mode[0], personal.mode[k], rtol=0.0, atol=1e-3)
        assert one.channels == whole.channels


def test_other_times_are_asked_of_the_same_people(model: HybridModel, cohort: Cohort) -> None:
    grid = [[0.0, 1.0, 4.0]] * 4
    backbone = model.backbone
    segments = build_segments([r.schedule for r in cohort.records], grid, backbone.states, backbone.inputs, MESH)
    times = torch.tensor(grid, dtype=torch.float64)
    asked = at_times(cohort, replace(cohort.conditions, segments=segments), times)
    assert asked.ids == cohort.ids
    assert torch.isnan(asked.y).all()
    assert asked.y.shape == (4, 3, 1)
    found, _ = forecast(model, cohort, asked, draws=2, generator=generator())
    assert torch.equal(found.times, times)
    assert found.mean[:, :, :, 0].abs().max() == 0.0  # nothing was in the plasma before the dose
    assert (found.mean[:, :, :, 1:] > 0.0).all()
