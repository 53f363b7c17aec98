"""`Bundle.forecast`: a fitted person under a schedule, as `predict` gives it by hand, and as the shell shows it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exchange import Bundle, load, save
from homeostat.bundles.simulated import simulate_person
from hybrid import Dose, Exponential, Mesh, Schedule, Torchdiffeq, predict
from learned import Ensemble
from tests.builders import MESH, oral_model, oral_people
from training import Cohort, personalise

TIMES = [0.5, 2.0, 6.0, 24.0]


@pytest.fixture(scope="module")
def made() -> tuple[Bundle, Cohort]:
    stack = Ensemble(2).stack(oral_model(), torch.Generator().manual_seed(3))
    cohort = Cohort.of(oral_people(3), stack, MESH)
    return Bundle.of(stack, cohort, personalise(stack, cohort, iterations=5)), cohort


def test_it_is_predict_by_hand(made: tuple[Bundle, Cohort]) -> None:
    bundle, cohort = made
    given = cohort.records[1].schedule
    infused = Schedule((Dose("gut", 0.0, 100.0), Dose("plasma", 3.0, 50.0, duration=2.0)))
    for schedule in (given, given.scaled("gut", 2.0), infused):
        found = bundle.forecast("P2", schedule, TIMES, draws=4, seed=5)
        asked = replace(cohort.records[1], schedule=schedule, times=np.array(TIMES), values=np.ones((4, 1)))
        index = torch.tensor([1])
        draws = bundle.personal.people(index).draws(4, torch.Generator().manual_seed(5))
        one = Cohort.of([asked], bundle.model, Mesh())
        by_hand = predict(bundle.model, one, draws, solver=Exponential(rtol=1e-6))
        assert found.mean.shape == (2, 4, 1, 4, 1)
        at = [one.times[0].tolist().index(t) for t in TIMES]
        assert torch.equal(found.mean, by_hand.mean[:, :, :, at])
        assert torch.equal(found.variance, by_hand.variance[:, :, :, at])
        assert (found.channels, found.units) == (("concentration",), ("mg/L",))


def test_what_was_given_a_text_and_a_schedule(made: tuple[Bundle, Cohort]) -> None:
    bundle, cohort = made
    given = cohort.records[0].schedule
    assert torch.equal(bundle.forecast("P1", None, TIMES).mean, bundle.forecast("P1", given, TIMES).mean)
    assert torch.equal(bundle.forecast("P1", "", TIMES).mean, bundle.forecast("P1", given, TIMES).mean)
    doubled = bundle.forecast("P1", given.scaled("gut", 2.0), TIMES).mean
    assert torch.equal(bundle.forecast("P1", "scale gut by 2", TIMES).mean, doubled)
    assert torch.equal(bundle.forecast("P1", given.scaled("gut", 2.0), np.array(TIMES)).mean, doubled)
    assert torch.equal(bundle.forecast("P1", given.scaled("gut", 2.0), torch.tensor(TIMES)).mean, doubled)
    # the same draws under every schedule: of no dose at all nothing is measured, by nobody
    assert (bundle.forecast("P1", Schedule(), TIMES).mean == 0.0).all()
    assert not torch.equal(bundle.forecast("P1", None, TIMES, seed=8).mean, bundle.forecast("P1", None, TIMES).mean)


def test_it_is_what_the_shell_shows(made: tuple[Bundle, Cohort], tmp_path: Path) -> None:
    bundle, _ = made
    path = save(bundle, tmp_path / "a.twin")
    text = "dose 100 mg -> gut @ 12 h"
    shown, _ = simulate_person(path, text, person="P3", until=24.0, points=9, level=0.8, picture=None)
    found = load(path).forecast("P3", text, np.linspace(0.0, 24.0, 9).tolist())
    assert shown["channels"]["concentration"]["mean"] == found.point[0, :, 0].tolist()


def test_the_bundles_solver_is_taken_where_it_adapts_its_steps(made: tuple[Bundle, Cohort]) -> None:
    bundle, _ = made
    ours = bundle.forecast("P1", None, TIMES).mean
    fixed = replace(bundle, provenance={"settings.solver": "torchdiffeq:euler"})
    other = replace(bundle, provenance={"settings.solver": "torchdiffeq:dopri5"})
    assert torch.equal(fixed.forecast("P1", None, TIMES).mean, ours)
    assert other.solver == Torchdiffeq("dopri5")
    assert not torch.equal(other.forecast("P1", None, TIMES).mean, ours)
    assert torch.allclose(other.forecast("P1", None, TIMES).mean, ours, rtol=1e-4)


def test_schedules_and_times_count_from_the_first_dose(made: tuple[Bundle, Cohort]) -> None:
    bundle, _ = made
    given = bundle.people[0].schedule
    late = replace(given, start=50.0, doses=(replace(given.doses[0], time=50.0),))
    # a script may have kept a table's clock: what was given is asked about from 0 on all the same
    kept = replace(bundle, people=(replace(bundle.people[0], schedule=late), *bundle.people[1:]))
    assert torch.equal(kept.forecast("P1", None, TIMES).mean, bundle.forecast("P1", None, TIMES).mean)
    assert torch.equal(kept.forecast("P1", "scale gut by 3", TIMES).mean, bundle.forecast("P1", "scale gut by 3", TIMES).mean)


@pytest.mark.parametrize(
    ("person", "schedule", "times", "words"),
    [
        ("Eve", None, TIMES, "no person 'Eve' in this bundle; it has P1, P2, P3"),
        (1, None, TIMES, "id is a text"),
        ("P1", None, [-1.0, 2.0], "-1 h is before the start of person P1, 0 h since their first dose; write times from 0 on"),
        ("P1", None, [2.0, 1.0], "times increase, and 2 h is followed by 1 h; sort them"),
        ("P1", None, [], "a list of finite times, even of one"),
        ("P1", None, 3.0, "a list of finite times, even of one"),
        ("P1", None, "3", "a list of finite times, even of one"),
        ("P1", None, [1.0, float("nan")], "a list of finite times, even of one"),
        ("P1", None, [[1.0]], "a list of finite times, even of one"),
        ("P1", None, [True], "a list of finite times, even of one"),
        ("P1", "scale liver by 2", TIMES, "liver"),
        ("P1", "dose 1 g -> gut @ 2 h", TIMES, "gut is in mg, and this is g"),
        ("P1", "dose 1 mg -> gut @ 2 min", TIMES, "time is in h, and this is min"),
        ("P1", Dose("gut", 0.0, 1.0), TIMES, "schedule"),
        ("P1", Schedule((Dose("liver", 0.0, 1.0),)), TIMES, "liver"),
    ],
)
def test_a_slip_is_answered_by_a_sentence(
    made: tuple[Bundle, Cohort], person: Any, schedule: Any, times: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        made[0].forecast(person, schedule, times)


@pytest.mark.parametrize("given", [{"draws": 0}, {"draws": 1.5}, {"draws": "many"}, {"seed": -1}, {"seed": None}])
def test_draws_and_seed_are_whole_numbers(made: tuple[Bundle, Cohort], given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"forecast: {next(iter(given))}"):
        made[0].forecast("P1", None, TIMES, **given)
