"""A study small enough for every test, and the laws of training that it can show."""

from functools import cache

import numpy as np
import pytest
import torch
from rich.console import Console

from exchange import Bundle
from homeostat.data import THEOPHYLLINE_UNITS, theophylline
from homeostat.study import Settings, Trained, bundle_of, crps_difference, evaluate, train
from homeostat.study.backbones import backbone_named
from homeostat.study.recipe import hybrid_recipe
from hybrid import Mesh, SimulationError
from learned import Ensemble, select
from training import Cohort, Objective, Plan, Record, Search, Stability, fit, forecast_unseen, gaussian_nll, read_nonmem

SETTINGS = Settings(members=2, folds=2, steps=4, forecast_from=2.5, draws=4)


@cache
def records() -> tuple[Record, ...]:
    return tuple(read_nonmem(theophylline(), units=THEOPHYLLINE_UNITS)[:4])


@cache
def tiny() -> Trained:
    recipe = hybrid_recipe(backbone_named("OneCompartmentOral"), records(), hidden=(4,))
    return train(recipe, records(), SETTINGS, Console(quiet=True))


def tiny_bundle() -> Bundle:
    return bundle_of(tiny(), None, {"scores": {}}, {"seed": 1, "units": THEOPHYLLINE_UNITS})


def stacked(members: int):
    recipe = hybrid_recipe(backbone_named("OneCompartmentOral"), records(), hidden=(4,))
    model = Ensemble(members).stack(recipe.model, torch.Generator().manual_seed(3))
    return model, Cohort.of(records(), recipe.model, Mesh(0.65, 0.2, 0.5))


def last(steps):
    *_, final = steps
    return final


def test_members_do_not_influence_each_other() -> None:
    model, cohort = stacked(3)
    together = last(fit(model, cohort, search=Search(steps=3))).best
    alone = last(fit(select(model, torch.tensor([1])), cohort, search=Search(steps=3))).best
    for a, b in zip(together.model.parameters(), alone.model.parameters(), strict=True):
        # Adam divides by √v: sums in another order show at a few ulp of the steps
        torch.testing.assert_close(a[1], b[0], rtol=1e-9, atol=1e-11)


def test_a_person_of_weight_zero_teaches_nothing() -> None:
    model, cohort = stacked(2)
    weights = torch.ones(2, 4, dtype=torch.float64)
    weights[:, 2] = 0.0
    other = cohort.y.clone()
    other[2] *= 3.0
    from dataclasses import replace

    a = last(fit(model, cohort, objective=Objective(weights=weights), search=Search(steps=3))).best.model
    b = last(
        fit(model, replace(cohort, y=other), objective=Objective(weights=weights), search=Search(steps=3))
    ).best.model
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)


def test_training_lowers_the_loss_and_an_interrupt_keeps_the_best() -> None:
    model, cohort = stacked(2)
    losses = []
    steps = fit(model, cohort, search=Search(steps=12, rate=0.05))
    for step in steps:
        losses.append(float(step.loss.mean()))
        if step.index == 8:
            steps.close()
            break
    assert losses[-1] < losses[0]
    assert all(torch.isfinite(p).all() for p in step.best.model.parameters())


def test_arguments_of_fit_are_checked() -> None:
    model, cohort = stacked(2)
    with pytest.raises(ValueError, match="shape"):
        next(fit(model, cohort, objective=Objective(weights=torch.ones(1, 4, dtype=torch.float64))))
    with pytest.raises(ValueError, match="held out"):
        next(fit(model, cohort, objective=Objective(held_out=torch.ones(2, 4, dtype=torch.bool))))


def test_a_failing_simulation_names_the_person() -> None:
    model, cohort = stacked(1)
    cohort.conditions.baseline[1] = torch.inf
    with pytest.raises(SimulationError, match="person 2"):
        next(fit(model, cohort))


def test_plan_keeps_a_fold_unseen() -> None:
    plan = Plan.of(9, members=3, folds=3, generator=torch.Generator().manual_seed(0))
    assert plan.weights.shape == (12, 9)
    for k in range(3):
        rows = slice(3 * (k + 1), 3 * (k + 2))
        assert plan.weights[rows][:, plan.fold == k].sum() == 0
        assert not plan.held_out[rows][:, plan.fold == k].any()
    assert (plan.weights[:3].sum(1) == 9).all()
    assert plan.held_out.any(1).all()


def test_what_comes_later_cannot_change_a_forecast() -> None:
    trained = tiny()
    known, asked = trained.cohort.until(2.5), trained.cohort.after(2.5)
    from dataclasses import replace

    def forecasts(cohort, later):
        return forecast_unseen(
            trained.plan, trained.stack, cohort, later, draws=2, generator=torch.Generator().manual_seed(5)
        )

    a = forecasts(known, asked)
    b = forecasts(known, replace(asked, y=asked.y * 7.0))
    assert torch.equal(a.mean, b.mean)
    # one person's known samples move that person's forecast and nobody else's (draws are theirs by position)
    y = known.y.clone()
    y[1] *= 1.5
    c = forecasts(replace(known, y=y), asked)
    moved = (a.mean - c.mean).abs().amax((0, 1, 3, 4))
    assert moved[1] > 0.01
    assert moved[[0, 2, 3]].max() < 1e-9


def test_likelihood_is_the_textbooks() -> None:
    g = torch.Generator().manual_seed(0)
    y, mean = torch.randn(3, 5, 1, generator=g).double(), torch.randn(2, 3, 5, 1, generator=g).double()
    variance = torch.rand(2, 3, 5, 1, generator=g).double() + 0.1
    y[0, 2] = torch.nan
    there = torch.isfinite(y)
    exact = -torch.distributions.Normal(mean, variance.sqrt()).log_prob(torch.where(there, y, 0.0))
    exact = torch.where(there, exact - 0.5 * np.log(2 * np.pi), 0.0).sum((-1, -2))
    torch.testing.assert_close(gaussian_nll(y, mean, variance), exact, rtol=1e-12, atol=1e-12)


def test_penalty_is_zero_inside_and_felt_outside() -> None:
    model, cohort = stacked(2)
    stability = Stability.of(model, cohort.conditions.covariates)
    theta = model.theta(torch.zeros(2, 4, 3, dtype=torch.float64), cohort.conditions.covariates)
    assert stability.penalty(model, theta).max() == 0.0
    with torch.no_grad():
        model.residual.weights[-1] *= 500.0
    outside = stability.penalty(model, theta)
    assert outside.min() > 0.0
    outside.sum().backward()
    assert torch.isfinite(model.residual.weights[0].grad).all()


def test_an_evaluation_against_itself_differs_by_nothing() -> None:
    evaluation = evaluate(tiny(), SETTINGS, 5.0)
    assert crps_difference(evaluation, evaluation) == (0.0, 0.0, 0.0)
    assert evaluation.scores["event_ece_null_lower"] <= evaluation.scores["event_ece_null_upper"]
