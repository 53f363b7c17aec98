"""Fitting: the truth comes back, members and people keep to themselves, and nothing is lost by stopping."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from hybrid import HybridModel, Mesh, RungeKutta, SimulationError, rollout
from learned import Ensemble, select
from tests.builders import as_values
from training import Cohort, Looks, Objective, Record, Search, Stability, Step, fit, gaussian_nll

MESH = Mesh(0.65, 0.2, 0.5)


def stacked(model: HybridModel, members: int, seed: int = 3) -> HybridModel:
    return Ensemble(members).stack(model, torch.Generator().manual_seed(seed))


def last(steps: Iterator[Step]) -> Step:
    *_, final = steps
    return final


def ones(members: int, people: int = 4) -> torch.Tensor:
    return torch.ones(members, people, dtype=torch.float64)


def equal(a: HybridModel, b: HybridModel) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_the_truth_comes_back(people_of: Callable[..., tuple[Record, ...]], model: HybridModel) -> None:
    truth, noise = (0.35, 0.4, -0.3), (0.15, 0.05)
    times = (0.25, 0.5, 1.0, 1.5, 2.5, 4.0, 6.0, 9.0)
    people = people_of(16, seed=4, shift=truth, noise=noise, times=times)
    alone = HybridModel(model.backbone, model.population, observation=model.observation, noise=model.noise)
    final = last(fit(alone, Cohort.of(people, alone, MESH), search=Search(steps=120, rate=0.05)))
    # A mean over 16 people has the standard error ω/4 = (.10, .05, .05) from the spread between people alone; what one
    # person's eight samples leave open is smaller. Four standard errors; that the shifts were found at all is the check
    # after that: started from 0, each is several errors away.
    shift = final.best.model.population.shift[0].detach().numpy()
    error = 4.0 * np.array([0.4, 0.2, 0.2]) / 4.0
    assert (np.abs(shift - truth) < error).all()
    assert (np.abs(shift - truth) < np.abs(truth)).all()
    # Noise from 16 × 8 = 128 residuals, 48 of them spent on the people's own coordinates: maximising jointly over both
    # shrinks the standard deviation by up to √(80/128) = .79, and its standard error is 1/√160 = 8 %
    run = rollout(final.best.model, Cohort.of(people, alone, MESH).conditions, final.best.personal, RungeKutta("rk4"))
    true_variance = noise[0] ** 2 + noise[1] ** 2 * run.mean.detach().square()
    ratio = float((run.variance.detach() / true_variance).mean().sqrt())
    assert 0.79 * (1 - 3 * 0.08) < ratio < 1 + 3 * 0.08
    # and people are told apart: with ω = .2 and this noise, volumes are known to a few per cent
    rng = np.random.default_rng(4)
    eta = torch.from_numpy(rng.standard_normal((1, 16, 3)))
    with torch.no_grad():
        alone.population.shift.copy_(torch.tensor([truth], dtype=torch.float64))
        volumes = torch.stack([run.theta[0, :, 2], alone.population.theta(eta, {})[0, :, 2]]).detach()
    assert torch.corrcoef(volumes)[0, 1] > 0.9


def test_the_loss_is_the_objective_and_falls(model: HybridModel, cohort: Cohort) -> None:
    model = stacked(model, 2)
    steps = list(fit(model, cohort, objective=Objective(least_residual=0.0), search=Search(steps=15, rate=0.05)))
    with torch.no_grad():
        eta = torch.zeros(2, 4, 3, dtype=torch.float64)
        run = rollout(model, cohort.conditions, eta, RungeKutta("rk4"))
        first = (gaussian_nll(cohort.y, run.mean, run.variance) - model.log_prior(eta)).mean(1)
    # the first step's loss is that of what was handed in; the sum over people is weighted in another order
    torch.testing.assert_close(steps[0].loss, first, rtol=1e-13, atol=0.0)
    assert (steps[-1].loss < steps[0].loss - 1.0).all()
    assert [s.index for s in steps] == list(range(1, 16))
    assert {s.total for s in steps} == {15}
    rates = [s.rate for s in steps]
    assert rates[0] == 0.05
    assert rates == sorted(rates, reverse=True)
    assert all(torch.isnan(s.held_out).all() for s in steps)


def test_fitting_leaves_the_model_that_it_was_given_alone(model: HybridModel, cohort: Cohort) -> None:
    before = copy.deepcopy(model)
    last(fit(model, cohort, search=Search(steps=2)))
    assert equal(model, before)


def test_the_same_call_gives_the_same_fit(model: HybridModel, cohort: Cohort) -> None:
    a, b = (last(fit(stacked(model, 2), cohort, search=Search(steps=3))) for _ in range(2))
    assert equal(a.best.model, b.best.model)
    assert torch.equal(a.best.personal, b.best.personal)


@pytest.mark.parametrize("judged", [False, True])
def test_members_do_not_influence_each_other(model: HybridModel, cohort: Cohort, judged: bool) -> None:
    model = stacked(model, 3)
    weights, held_out = ones(3), torch.zeros(3, 4, dtype=torch.bool)
    weights[1] = torch.tensor([2.0, 1.0, 1.0, 0.0])
    if judged:
        weights[:, 3], held_out[:, 3] = 0.0, True
    stability = Stability.of(model, {})
    settings = {"steps": 4, "every": 2, "forecast_from": 1.0, "stability": stability}
    together = last(fit(model, cohort, **as_values(weights=weights, held_out=held_out, **settings)))
    for k in range(3):
        one = select(model, torch.tensor([k]))
        alone = last(fit(one, cohort, **as_values(weights=weights[[k]], held_out=held_out[[k]], **settings)))
        for a, b in zip(together.best.model.parameters(), alone.best.model.parameters(), strict=True):
            # Adam divides by √v: sums in another order show at a few ulp of the steps, not more
            torch.testing.assert_close(a[[k]], b, rtol=1e-10, atol=1e-11)
        torch.testing.assert_close(together.held_out[k], alone.held_out[0], rtol=1e-9, atol=0.0, equal_nan=True)


def test_a_finished_member_is_not_reopened_by_another(model: HybridModel, cohort: Cohort) -> None:
    # judged by person P3, the second look is a little worse than the first, and later ones are better; judged by P2 every
    # look is better. With a patience of one the first member is finished, however long the second goes on.
    model = select(stacked(model, 4), torch.tensor([2, 1]))
    held_out = torch.eye(4, dtype=torch.bool)[[2, 1]]
    weights = (~held_out).to(torch.float64)
    settings = {"steps": 24, "rate": 0.1, "every": 2, "patience": 1}

    def run(*members: int) -> list[Step]:
        rows = torch.tensor(members)
        return list(
            fit(select(model, rows), cohort, **as_values(weights=weights[rows], held_out=held_out[rows], **settings))
        )

    first, second, together = run(0), run(1), run(0, 1)
    assert len(first) == 4
    assert len(second) == len(together) == 24
    scores = [float(s.held_out[0]) for s in together]
    assert min(scores[4:]) < min(scores[1:4])  # the case is the one that it is meant to be
    for k, alone in enumerate((first, second)):
        for a, b in zip(together[-1].best.model.parameters(), alone[-1].best.model.parameters(), strict=True):
            # Adam on sums in another order, for up to 24 steps
            torch.testing.assert_close(a[[k]], b, rtol=1e-7, atol=1e-9)


def test_a_person_of_weight_zero_teaches_nothing(model: HybridModel, cohort: Cohort) -> None:
    model = stacked(model, 2)
    weights = ones(2)
    weights[:, 2] = 0.0
    stability = Stability.of(model, {})
    y = cohort.y.clone()
    y[2] *= 3.0
    segments = cohort.conditions.segments
    factor = torch.tensor([1.0, 1.0, 9.0, 1.0], dtype=torch.float64)[:, None, None]
    conditions = replace(cohort.conditions, segments=replace(segments, jump=factor * segments.jump))
    a = last(fit(model, cohort, objective=Objective(weights=weights, stability=stability), search=Search(steps=3)))
    b = last(
        fit(
            model,
            replace(cohort, y=y, conditions=conditions),
            objective=Objective(weights=weights, stability=stability),
            search=Search(steps=3),
        )
    )
    assert equal(a.best.model, b.best.model)
    c = last(
        fit(
            model,
            replace(cohort, y=y, conditions=conditions),
            objective=Objective(stability=stability),
            search=Search(steps=3),
        )
    )
    assert not equal(a.best.model, c.best.model)


def test_a_person_of_weight_two_counts_like_two(people: tuple[Record, ...], model: HybridModel, cohort: Cohort) -> None:
    twice = Cohort.of([*people, replace(people[1], id="again")], model, MESH)
    a = next(fit(model, cohort, objective=Objective(weights=torch.tensor([[1.0, 2.0, 1.0, 1.0]], dtype=torch.float64))))
    b = next(fit(model, twice))
    torch.testing.assert_close(a.loss, b.loss, rtol=1e-12, atol=0.0)
    assert abs(float(a.loss - next(fit(model, cohort)).loss)) > 1e-3


def test_early_stopping_keeps_every_members_best_look(model: HybridModel, cohort: Cohort) -> None:
    model = stacked(model, 4)
    held_out = torch.eye(4, dtype=torch.bool)
    weights = (~held_out).to(torch.float64)
    steps = list(
        fit(
            model,
            cohort,
            objective=Objective(weights=weights, held_out=held_out),
            search=Search(steps=24, rate=0.1),
            looks=Looks(every=2, patience=3),
        )
    )
    looks = [s for s in steps if s.index % 2 == 0]
    scores = torch.stack([s.held_out for s in looks])  # (looks, M)
    best_at = scores.argmin(0)  # nobody loses patience here, so the best look is the best of all
    assert len(looks) == 12
    assert set(best_at.tolist()) >= {6, 11}  # one member's best is past, the others' is the last
    best = steps[-1].best
    # without a judge `best` is the current state; being judged does not change what is learned
    states = [
        s.best
        for s in fit(model, cohort, objective=Objective(weights=weights), search=Search(steps=24, rate=0.1))
        if s.index % 2 == 0
    ]
    for m, k in enumerate(best_at.tolist()):
        at_best = states[k]
        for kept, then in zip(best.model.parameters(), at_best.model.parameters(), strict=True):
            assert torch.equal(kept[m], then[m])
        assert torch.equal(best.personal[m], at_best.personal[m])
    # before the first look there is nothing but the start, and nothing is known of the held-out people
    assert torch.isnan(steps[0].held_out).all()
    assert equal(steps[0].best.model, model)


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_ends_the_fit(model: HybridModel, cohort: Cohort, patience: int) -> None:
    # P4's record is turned round: whoever learns from it forecasts the others worse from the first look on
    y = cohort.y.clone()
    y[3] = 0.3 * y[3].flip(0)
    held_out = torch.eye(4, dtype=torch.bool)[:3]
    settings = {"weights": (~held_out).to(torch.float64), "held_out": held_out, "rate": 0.2, "every": 2}
    steps = list(fit(stacked(model, 3), replace(cohort, y=y), **as_values(steps=24, patience=patience, **settings)))
    assert len(steps) == 2 * (1 + patience)
    assert steps[-1].best is not steps[0].best
    assert equal(steps[-1].best.model, steps[1].best.model)


def test_a_member_that_nobody_judges_keeps_its_last_state(model: HybridModel, cohort: Cohort) -> None:
    model = stacked(model, 2)
    weights, held_out = ones(2), torch.zeros(2, 4, dtype=torch.bool)
    weights[0, 3], held_out[0, 3] = 0.0, True
    steps = list(
        fit(
            model,
            cohort,
            objective=Objective(weights=weights, held_out=held_out),
            search=Search(steps=6),
            looks=Looks(every=2),
        )
    )
    free = last(fit(select(model, torch.tensor([1])), cohort, search=Search(steps=6)))
    for a, b in zip(steps[-1].best.model.parameters(), free.best.model.parameters(), strict=True):
        torch.testing.assert_close(a[[1]], b, rtol=1e-9, atol=1e-11)
    assert torch.isfinite(steps[-1].held_out[0])
    assert torch.isnan(steps[-1].held_out[1])


def test_forecasts_of_held_out_people_are_scored_after_the_time_alone(model: HybridModel, cohort: Cohort) -> None:
    weights, held_out = ones(1), torch.zeros(1, 4, dtype=torch.bool)
    weights[0, 1], held_out[0, 1] = 0.0, True

    def looked(y: torch.Tensor) -> float:
        steps = fit(
            model,
            replace(cohort, y=y),
            objective=Objective(weights=weights, held_out=held_out, forecast_from=2.0),
            search=Search(steps=1),
        )
        return float(last(steps).held_out[0])

    base = looked(cohort.y)
    later, other = cohort.y.clone(), cohort.y.clone()
    later[1, 4] += 1.0
    other[2, 4] += 1.0
    assert looked(later) != base
    # another person's later data move the model, by one step; they are not what the look is about
    assert abs(looked(other) - base) < abs(looked(later) - base)
    unknown = cohort.y.clone()
    unknown[1, 3:] = torch.nan  # nothing to score: the member has no judge
    assert np.isnan(looked(unknown))


@pytest.mark.parametrize("how", ["interrupt", "close"])
def test_stopping_midway_keeps_a_usable_best(model: HybridModel, cohort: Cohort, how: str) -> None:
    model = stacked(model, 2)
    kept: Step | None = None
    steps = fit(model, cohort, search=Search(steps=50))
    try:
        for step in steps:
            kept = step
            if step.index == 3:
                if how == "close":
                    steps.close()
                    break
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert kept is not None
    best = kept.best
    assert kept.index == 3
    assert all(torch.isfinite(p).all() for p in best.model.parameters())
    assert best.personal.shape == (2, 4, 3)
    # three steps and then nothing is the same as three of the fifty
    again = iter(fit(model, cohort, search=Search(steps=50)))
    third = [next(again) for _ in range(3)][-1]
    assert equal(best.model, third.best.model)
    next(again)
    assert equal(best.model, third.best.model)  # going on does not change what was handed out
    assert torch.isfinite(rollout(best.model, cohort.conditions, best.personal).mean).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weights": ones(1)}, r"weights needs shape \(M, N\) = \(2, 4\), got \(1, 4\)"),
        ({"weights": ones(2, 3)}, "weights needs shape"),
        ({"held_out": torch.zeros(4, dtype=torch.bool)}, "held_out needs shape"),
        ({"weights": -ones(2)}, "not negative"),
        ({"weights": torch.nan * ones(2)}, "finite"),
        ({"weights": ones(2) * torch.tensor([[1.0], [0.0]])}, "every member needs someone"),
        ({"held_out": torch.ones(2, 4, dtype=torch.bool)}, "held out of a member that trains on them"),
        ({"held_out": ones(2)}, "held_out"),
        ({"steps": 0}, "steps"),
        ({"every": 0}, "every"),
        ({"patience": 0}, "patience"),
        ({"rate": -1.0}, "rate"),
    ],
)
def test_arguments_are_checked(model: HybridModel, cohort: Cohort, arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        next(fit(stacked(model, 2), cohort, **as_values(**arguments)))


def test_a_failing_simulation_names_the_person_and_the_time(
    people: tuple[Record, ...], model: HybridModel, cohort: Cohort
) -> None:
    # a residual that grows without bound, for the one person who started far away
    far = cohort.conditions.baseline.clone()
    far[2] = 1e308
    conditions = replace(cohort.conditions, baseline=far)
    with pytest.raises(SimulationError, match=r"^person P3: .* not finite at time") as caught:
        next(fit(model, replace(cohort, conditions=conditions)))
    assert caught.value.record == 2
    assert "Mesh.step" in str(caught.value)
    # a mesh so coarse that the explicit method would blow up
    many = [replace(r, times=np.linspace(0.5, 3000.0, 60), values=np.ones((60, 1))) for r in people]
    with pytest.raises(SimulationError, match=r"^person P\d: the step of 50.8\d from time .* beyond 2\.79, where rk4"):
        next(fit(model, Cohort.of(many, model, Mesh(1000.0))))
