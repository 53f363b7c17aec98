"""What cannot be is said before the work, and what a bad step loses is not the fit."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from hybrid import Dose, Schedule, SimulationError, Steady
from learned import MLP, Zero
from tests.builders import oral_model, oral_of
from training import Cohort, Objective, Search, fit, fit_population, last, shoot
from training.loop.score import Score


def one_cycle(steps: int) -> Callable[[torch.optim.Optimizer], Any]:
    return lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.01, total_steps=steps)


@pytest.mark.parametrize("name", ["fit", "fit_population", "shoot"])
def test_a_schedule_that_ends_before_the_fit_is_refused_before_the_first_step(cohort: Cohort, name: str) -> None:
    how: dict[str, Any] = {"fit": fit, "fit_population": fit_population, "shoot": partial(shoot, count=2, polish=2, rounds=2)}
    by = partial(how[name], oral_of(), cohort)
    adam = torch.optim.Adam
    with pytest.raises(ValueError, match=rf"{name}: the schedule ends at step 5 and the fit takes \d+ \("):
        next(by(search=Search(steps=12, optimiser=adam, schedule=one_cycle(5))))
    next(by(search=Search(steps=12, optimiser=adam, schedule=one_cycle(12))))


@pytest.mark.parametrize("asked", [{"decay": 0.5}, {"sparsity": 0.5}])
@pytest.mark.parametrize("how", [fit, fit_population])
def test_weights_are_made_small_where_there_are_some(cohort: Cohort, how: Callable[..., Any], asked: dict[str, float]) -> None:
    name = next(iter(asked))
    with pytest.raises(ValueError, match=rf"Objective\({name}=0.5\) makes the trained matrices of the residual small.* has none"):
        next(how(oral_of(), cohort, Objective(**asked)))


def test_a_residual_of_nothing_says_what_to_write() -> None:
    with pytest.raises(ValueError, match=r"needs states ≥ 1.*HybridModel\(backbone, population, None"):
        Zero()


def test_a_line_search_that_goes_too_far_is_taken_back(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every evaluation within a step after the second is of nobody who can be simulated."""
    asked = 0
    loss = Score.loss

    def far(self: Score, *given: Any) -> torch.Tensor:
        nonlocal asked
        asked += 1
        if asked in lost:
            raise SimulationError("person 1: the state is not finite at time 2")
        return loss(self, *given)

    monkeypatch.setattr(Score, "loss", far)
    search = Search(optimiser=partial(torch.optim.LBFGS, max_iter=3), rate=1.0, steps=6)
    lost: Any = {5}  # a step asks thrice, and the first time where it stands: this is within the second step
    found = last(fit(oral_of(), cohort, search=search))
    assert found.step is not None
    assert found.step.index == 6
    lost, asked = range(5, 10_000), 0
    with pytest.raises(SimulationError):  # where it stands nobody can be simulated either: nothing is left to do
        last(fit(oral_of(), cohort, search=search))
    lost, asked = {5, 7}, 0  # twice running
    with pytest.warns(UserWarning, match=r"fit: the search by L-BFGS ends at step \d of 6.*what it had reached is kept"):
        found = last(fit(oral_of(), cohort, search=search))
    assert found.step is not None
    assert found.step.index < 6
    first = last(fit(oral_of(), cohort, search=Search(optimiser=search.optimiser, rate=1.0, steps=1)))
    assert first.step is not None
    assert float(found.step.loss[0]) <= float(first.step.loss[0])


def test_scale_is_of_every_dose_of_somebody_in_steady_state() -> None:
    given = Schedule((Dose("gut", 0.0, 100.0),), steady=(Steady("gut", 0.0, 100.0, every=12.0),))
    doubled = given.do("scale gut by 2")
    assert [d.amount for d in doubled.doses] == [200.0]
    assert [s.amount for s in doubled.steady] == [200.0]
    assert doubled == given.scaled("gut", 2.0)
    later = given.do("from 0: scale gut by 2")  # what led to it was given before
    assert ([d.amount for d in later.doses], [s.amount for s in later.steady]) == ([200.0], [100.0])
    past = Schedule((), steady=given.steady)
    assert [s.amount for s in past.do("scale gut by 0.5").steady] == [50.0]
    with pytest.raises(ValueError, match="there is no dose into gut to scale from 0 on"):
        past.do("from 0: scale gut by 0.5")
    with pytest.raises(ValueError, match="no dose goes into 'gut'"):
        past.scaled("gut", 0.5, history=False)


def test_a_residual_has_weights_to_make_small(cohort: Cohort) -> None:
    assert isinstance(oral_model().residual, MLP)
    next(fit(oral_model(), cohort, Objective(decay=0.5), Search(steps=1)))
