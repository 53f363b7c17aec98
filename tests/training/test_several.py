"""Several starts in one batch, the optimisers that a population may be fitted with, and what a checkpoint keeps of them."""

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hybrid import Concentration, HybridModel, SimulationError
from learned import Combined2, Ensemble, select
from physics import LogNormalPopulation, OneCompartmentOral
from training import (
    Checkpoint,
    Cohort,
    Fitted,
    Looks,
    Objective,
    PopulationStep,
    Record,
    Search,
    best_of,
    fit,
    fit_population,
    judged_tail,
    last,
    several,
    shoot,
)


def oral() -> HybridModel:
    backbone = OneCompartmentOral()
    population = LogNormalPopulation(backbone, {"ka": 0.5, "ke": 0.2, "V": 0.2}, learn_spread=True)
    return HybridModel(
        backbone, population, observation=Concentration("plasma", "V"), noise=Combined2([0.3], [0.1], [0.02])
    )


@pytest.fixture
def data(people_of: Callable[..., tuple[Record, ...]]) -> Cohort:
    times = (0.25, 0.5, 1.0, 2.0, 4.0, 6.0, 9.0)
    return Cohort.of(people_of(8, seed=5, shift=(0.2, 0.1, -0.1), noise=(0.15, 0.05), times=times), oral())


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_starts_lie_within_the_factor_and_the_first_is_the_model_itself() -> None:
    model = oral()
    many = several(model, 200, draws(), spread=3.0)
    assert many.members == 200
    for name, p in model.named_parameters():
        q = many.get_parameter(name)
        assert torch.equal(q[:1], p), name
        away = (q - p)[1:].detach().abs()
        # of 199 uniform draws each the largest is below .9 of the end once in 10⁹
        assert float(away.max()) <= math.log(3.0) + 1e-12
        assert float(away.max()) > 0.9 * math.log(3.0), name
    assert torch.equal(many.population.shift, several(model, 200, draws()).population.shift)


def test_starts_agree_and_one_that_does_not_is_named(data: Cohort) -> None:
    found = last(fit_population(several(oral(), 4, draws(1)), data, search=Search(steps=80)))
    best = best_of(found)
    assert best.agree.all(), best.sentence
    assert "4 of 4 starts ended there (within 0.1)" in best.sentence
    assert best.fitted.model.members == 1
    torch.testing.assert_close(best.objective.min(), 8.0 * found.step.loss.min(), rtol=1e-14, atol=0.0)
    assert best.sentence.startswith(f"Start {best.member} of 4 (counted from 0) is kept: it ended lowest")
    assert best.by == "objective"
    # of two optima, a search that did not end, and one that has no value
    found = of_steps(found.step, [0.0, 0.5, 0.001, 1.0], ("converged", "converged", "flat", "out of steps"))
    said = best_of(found)
    assert said.member == 0
    assert said.agree.tolist() == [True, False, True, False]
    assert "2 of 4 starts ended there" in said.sentence
    assert "a different optimum" in said.sentence.split("Start 1:")[1].split("Start 3:")[0]
    assert "not converged (its steps were used up)" in said.sentence.split("Start 3:")[1]
    # the objective of everyone together: a start half a nat a person away is four nats away
    torch.testing.assert_close(said.objective[1] - said.objective[0], torch.tensor(4.0, dtype=torch.float64))


def of_steps(step: PopulationStep, beside: list[float], ended: tuple[str, ...], judged: list[float] | None = None) -> Fitted:
    """What a fit of four would leave that ended so far above the first."""
    loss = step.loss[0] + torch.tensor(beside, dtype=torch.float64)
    compared = step.compared
    if judged is not None:
        compared = replace(compared, held_out=torch.tensor(judged, dtype=torch.float64))
    step = replace(step, loss=loss, ended=ended, compared=compared)
    return Fitted(step.best.model, step.best.personal, step)


@pytest.fixture
def four(data: Cohort) -> PopulationStep:
    return next(iter(fit_population(several(oral(), 4, draws(1)), data)))


def test_a_start_that_failed_is_never_kept_and_of_ties_the_first_is(four: PopulationStep) -> None:
    nan = math.nan
    best = best_of(of_steps(four, [nan, 0.0, 0.0, math.inf], ("converged",) * 4))
    assert best.member == 1
    assert best.agree.tolist() == [False, True, True, False]
    assert "Start 0: failed" in best.sentence
    assert "Start 3: failed" in best.sentence
    assert "Start 2:" not in best.sentence
    with pytest.raises(ValueError, match="no member has an objective that is finite"):
        best_of(of_steps(four, [nan] * 4, ("",) * 4))
    # who judges has not said anything of a failed one, nor of one whose whole records could not be simulated
    best = best_of(of_steps(four, [0.0, 2.0, nan, 1.0], ("judged",) * 4, judged=[0.7, 0.5, 0.1, nan]))
    assert (best.member, best.by) == (1, "judged")
    assert best.fitted.personal.shape == (1, 8, 3)
    assert "what judges says 0.5 of it, and 0.7 of start 0" in best.sentence
    assert best.sentence.count("stopped by what judges") == 2  # starts 0 and 3; 2 has failed


def test_one_start_says_that_it_is_alone(data: Cohort) -> None:
    said = best_of(last(fit_population(oral(), data, search=Search(steps=3)))).sentence
    assert said.startswith("There is one start")
    assert "It is not converged (its steps were used up)." in said


@pytest.mark.parametrize("by", [fit, functools.partial(shoot, count=2, polish=4, rounds=2)])
def test_a_fit_that_stops_by_its_steps_is_not_called_unconverged(data: Cohort, by: Callable[..., Any]) -> None:
    starts, judged = several(oral(), 3, draws(3)), judged_tail(data, 0.3)
    found = last(by(starts, data, search=Search(steps=6)))
    best = best_of(found)
    assert best.by == "objective"
    assert best.member == int(found.step.loss.argmin())
    assert "not converged" not in best.sentence
    assert best.sentence.count("stopped by its steps") == int((~best.agree).sum()) > 0
    # who judges chooses, though another one may have the least objective
    found = last(by(starts, data, Objective(judged=judged), Search(steps=6), Looks(every=2)))
    best, said = best_of(found), found.step.compared.held_out
    assert best.by == "judged"
    assert best.member == int(said.argmin())
    # it is what judges says of what is kept: the look of a fit that begins with it is at most a step away
    again = Looks(every=1)
    look = next(iter(fit(best.fitted.model, data, Objective(judged=judged), Search(steps=1, rate=1e-9), again))).held_out
    torch.testing.assert_close(look[0], said[best.member], rtol=1e-4, atol=1e-4)


def test_members_that_were_taught_by_others_are_not_compared(data: Cohort) -> None:
    weights = torch.ones(2, 8, dtype=torch.float64)
    weights[1, 3] = 0.0
    found = last(fit(several(oral(), 2, draws(3)), data, Objective(weights=weights), Search(steps=2)))
    with pytest.raises(ValueError, match="not taught and judged by the same people"):
        best_of(found)
    # alike, and two people less: nats of those who count
    weights[:, :2] = 0.0
    weights[1] = weights[0]
    found = last(fit(several(oral(), 2, draws(3)), data, Objective(weights=weights), Search(steps=2)))
    torch.testing.assert_close(best_of(found).objective, 6.0 * found.step.loss)


def test_what_cannot_be_started_is_one_sentence(model: HybridModel, data: Cohort) -> None:
    stacked = Ensemble(2, "init").stack(oral(), draws())
    for make, said in (
        (lambda: several(stacked, 3, draws()), "2 members already"),
        (lambda: several(oral(), 3, draws(), spread=0.5), "spread"),
        (lambda: best_of(Fitted(stacked, torch.zeros(2, 8, 3))), "has no step"),
    ):
        with pytest.raises(ValueError, match=said):
            make()


OPTIMISERS: dict[str, dict[str, Any]] = {
    "L-BFGS": {},
    "Adam": {"optimiser": torch.optim.Adam, "rate": 0.1},
    "momentum": {"optimiser": functools.partial(torch.optim.SGD, momentum=0.5), "rate": 0.05, "clip": 1.0},
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_population_goes_down_by_any_optimiser_and_on_from_its_file(data: Cohort, tmp_path: Path, name: str) -> None:
    model, search = several(oral(), 2, draws(2)), Search(steps=8, **OPTIMISERS[name])
    whole = list(fit_population(model, data, search=search))
    assert (whole[-1].loss < whole[0].loss).all()
    looks = Looks(checkpoint=Checkpoint(tmp_path / "fit.checkpoint", every=3))
    for step in fit_population(model, data, search=search, looks=looks):
        if step.index == 4:
            break
    again = list(fit_population(model, data, search=search, looks=looks))
    assert [s.index for s in again] == list(range(4, 9))
    for a, b in zip(whole[3:], again, strict=True):
        assert torch.equal(a.loss, b.loss)
        assert torch.equal(a.slope, b.slope)
    assert torch.equal(whole[-1].best.personal, again[-1].best.personal)
    with pytest.raises(ValueError, match=r"checkpoint of another fit: .*steps"):
        next(iter(fit_population(model, data, search=Search(steps=9, **OPTIMISERS[name]), looks=looks)))


def test_adam_ends_where_l_bfgs_ends(data: Cohort) -> None:
    there = last(fit_population(oral(), data)).step
    assert there.converged.all()
    away = copy.deepcopy(there.best.model)
    with torch.no_grad():
        away.population.shift += 0.2
        away.noise.log_additive += 0.2
    first, *_, here = fit_population(away, data, search=Search(optimiser=torch.optim.Adam, rate=0.1, steps=40))
    assert float((first.loss - there.loss).min()) > 0.1
    # Adam circles: its best point in 40 steps is within two hundredths of a nat a person
    assert float((here.best.model.population.shift - there.best.model.population.shift).detach().abs().max()) < 0.05
    assert float(torch.abs(here.loss - there.loss).max()) < 0.02


def test_members_do_not_meet_in_an_optimiser(data: Cohort) -> None:
    model, search = several(oral(), 2, draws(2)), Search(steps=6, optimiser=torch.optim.Adam)
    both = list(fit_population(model, data, search=search))
    one = list(fit_population(select(model, torch.tensor([1])), data, search=search))
    for a, b in zip(both, one, strict=True):
        torch.testing.assert_close(a.loss[1], b.loss[0], rtol=1e-8, atol=0.0)


def test_a_population_with_a_tail_stops_by_it(data: Cohort) -> None:
    judged = judged_tail(data, 0.3)
    steps = list(fit_population(oral(), data, Objective(judged=judged), Search(steps=40), Looks(patience=3)))
    assert torch.isfinite(steps[-1].held_out).all()
    seen = torch.stack([s.held_out for s in steps]).min()
    best = steps[-1].best.model
    again = next(iter(fit_population(best, data, Objective(judged=judged))))
    torch.testing.assert_close(again.held_out[0], seen, rtol=1e-6, atol=1e-8)


def test_an_optimiser_of_its_own_line_is_refused(data: Cohort) -> None:
    with pytest.raises(ValueError, match=r"fit_population: optimiser is one of torch.optim that works by element"):
        next(iter(fit_population(oral(), data, search=Search(optimiser=torch.optim.LBFGS))))


def test_a_start_outside_what_can_be_simulated_is_one_sentence(data: Cohort) -> None:
    model = oral()
    with torch.no_grad():
        model.noise.log_additive.fill_(math.nan)
    with pytest.raises((SimulationError, ValueError), match="the population cannot be fitted from here") as caught:
        next(iter(fit_population(model, data)))
    assert "\n" not in str(caught.value)
