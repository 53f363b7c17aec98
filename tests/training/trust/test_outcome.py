"""One value of prediction, observations and people: what it takes, what it refuses, and that nothing is lost in it."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from exchange import Bundle, load, save
from homeostat.pictures.people import people_axes
from hybrid import Prediction, predict
from tests.builders import MESH, oral_model, oral_people
from training import Cohort, Plan, convergence, forecast_unseen, personalise
from training.trust import Outcome, paired_difference, score_table, uncertainty_report
from training.trust.controls import parameters_averaged
from training.trust.recalibration import IsotonicEvents, Scaling


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def forecast(N: int = 6, T: int = 3, p: int = 2) -> Prediction:
    mean = torch.randn((2, 1, N, T, p), generator=seeded(1), dtype=torch.float64)
    mask = torch.ones(N, T, dtype=torch.bool)
    mask[0, 2] = False
    times = torch.arange(float(T)).expand(N, T)
    return Prediction(mean, torch.ones_like(mean), times, mask, ("a", "b")[:p], ("mg/L",) * p)


def test_it_holds_what_was_given_and_nothing_at_padding() -> None:
    prediction = forecast()
    y = prediction.sample(1, seeded(2))[0].nan_to_num(math.inf)  # whatever stands at padding is not looked at
    y[3, 1, 0] = math.nan
    for given in (y, y.numpy(), y.tolist(), y.clone().requires_grad_()):
        outcome = Outcome(prediction, given, ["u", "v", "v", "w", "x", "u"])
        assert outcome.y.dtype == torch.float64
        assert not outcome.y.requires_grad
        assert torch.equal(outcome.y.isnan().nonzero(), torch.tensor([[0, 2, 0], [0, 2, 1], [3, 1, 0]]))
        assert torch.equal(outcome.y[1], y[1])
    assert outcome.names == ("u", "v", "w", "x")
    assert outcome.person.tolist() == [0, 1, 1, 2, 3, 0]
    y[1] = 7.0  # its own copy
    assert not bool((outcome.y[1] == 7.0).any())
    by_number = Outcome(prediction, y, np.array([3, 1, 1, 2, 0, 3]))
    assert by_number.people == ("3", "1", "1", "2", "0", "3")
    assert Outcome(prediction, y, range(6)).names == tuple("012345")


def test_rows_and_windows_are_of_all_three() -> None:
    prediction = forecast()
    outcome = Outcome(prediction, prediction.sample(1, seeded(2))[0], list("abcdef"))
    some = outcome.rows([4, 1])
    assert some.people == ("e", "b")
    assert torch.equal(some.y, outcome.y[[4, 1]])
    assert torch.equal(some.prediction.mean, prediction.mean[:, :, [4, 1]])
    chosen = [False, True, False, False, True, False]
    for index in (chosen, np.array(chosen), torch.tensor(chosen), np.array([1, 4]), torch.tensor([1, -2])):
        assert outcome.rows(index).people == ("b", "e")
        assert torch.equal(outcome.rows(index).y, outcome.y[[1, 4]])
    with pytest.raises(ValueError, match="do not select from 6"):
        outcome.rows(chosen[:5])
    late = outcome.during(1.0, 9.0)
    assert bool(late.y[:, 0].isnan().all())
    assert torch.equal(late.y[1:, 1:], outcome.y[1:, 1:])
    again = replace(outcome, prediction=replace(prediction, variance=4.0 * prediction.variance))
    assert torch.equal(again.y.nan_to_num(), outcome.y.nan_to_num())
    assert again.people == outcome.people


def test_what_does_not_belong_together_is_refused() -> None:
    prediction, y = forecast(), torch.zeros(6, 3, 2)
    for arguments, words in (
        ((y, y, range(6)), "Outcome: prediction must be a Prediction"),
        ((prediction, y[..., :1], range(6)), r"\(people, times, channels\) = \(6, 3, 2\)"),
        ((prediction, y, range(5)), "5 ids came with 6 rows"),
        ((prediction, y, "abcdef"), "ids in a list"),
        ((prediction, y > 0, range(6)), "numbers in an array"),
        ((prediction, torch.full_like(y, torch.inf), range(6)), "infinite values"),
    ):
        with pytest.raises(ValueError, match=words):
            Outcome(*arguments)
    for call in (Scaling.fit, score_table, lambda outcome: uncertainty_report(outcome, generator=seeded())):
        with pytest.raises(ValueError, match=r"outcome must be a Outcome, and is .*; write Outcome\(prediction, y, people\)"):
            call(prediction)


def test_an_event_that_was_not_observed_did_not_fail_to_come() -> None:
    prediction = forecast(p=1)
    y = prediction.sample(1, seeded(2))[0]
    y[3, 1] = math.nan
    outcome = Outcome(prediction, y, range(6))
    probability, came = outcome.above(0.3)
    assert np.array_equal(probability, prediction.exceeds(0.3).numpy(), equal_nan=True)
    assert np.isnan(came).sum() == 2  # that one, and the padding
    assert np.array_equal(came[1], (y[1] > 0.3).numpy().astype(float))
    assert IsotonicEvents.fit(probability, came, outcome.people).count == 16


def test_of_a_cohort_in_its_own_units_and_at_its_own_times() -> None:
    model, people = oral_model(), oral_people()
    cohort = Cohort.of(people, model, MESH)
    prediction = predict(model, cohort, torch.zeros(1, 1, 4, 3, dtype=torch.float64))
    outcome = Outcome.of(prediction, cohort)
    assert outcome.people == cohort.ids
    assert torch.equal(outcome.y.nan_to_num(), cohort.y.nan_to_num())
    late = Outcome.of(prediction, cohort.after(2.0))
    assert int((~late.y.isnan()).sum()) < int((~outcome.y.isnan()).sum())
    with pytest.raises(ValueError, match=r"P1 was observed at 0.25 and predicted at 0.75"):
        Outcome.of(replace(prediction, times=cohort.times + 0.5), cohort)
    with pytest.raises(ValueError, match=r"concentration \(mg/L\), and the prediction is of concentration \(ng/mL\)"):
        Outcome.of(replace(prediction, units=("ng/mL",)), cohort)
    with pytest.raises(ValueError, match=r"the prediction is of glucose"):
        Outcome.of(replace(prediction, channels=("glucose",)), cohort)
    with pytest.raises(ValueError, match=r"\(people, times, channels\)"):
        Outcome.of(prediction.people([0, 1, 2]), cohort)
    with pytest.raises(ValueError, match=r"write Cohort.of\(records, model\)"):
        Outcome.of(prediction, cohort.y)
    # a time that a rounding parts is the same
    Outcome.of(replace(prediction, times=cohort.times * (1.0 + 1e-14)), cohort)


def test_a_difference_is_of_the_same_people() -> None:
    scores = np.arange(6.0)[:, None]
    with pytest.raises(ValueError, match="5 ids came with 6 rows"):
        paired_difference(scores, scores, range(5), generator=seeded())


def test_what_knows_whose_it_is_meets_no_other_people() -> None:
    model, people = oral_model(), oral_people()
    cohort = Cohort.of(people, model, MESH)
    back = torch.tensor([3, 2, 1, 0])
    other = cohort.people(back)
    known = personalise(model, cohort)
    prediction = predict(model, cohort, known.mode[:, None])
    assert prediction.ids == known.ids == cohort.ids == ("P1", "P2", "P3", "P4")
    assert prediction.people([2, 0]).ids == known.people(torch.tensor([2, 0])).ids == ("P3", "P1")
    assert prediction.members([0]).ids == known.to("cpu").ids == prediction.during(0.0, 2.0).ids == cohort.ids
    assert torch.equal(Outcome.of(prediction.people(back), other).y.nan_to_num(), other.y.nan_to_num())
    named = "number 0 is P1 in the first and P4 in the second"
    for call in (
        lambda: Outcome.of(prediction, other),
        lambda: personalise(model, other, before=known),
        lambda: convergence(model, known, other.ids),
        lambda: Bundle.of(model, other, known),
        lambda: replace(Bundle.of(model, other, known.people(back)), personal=known),
        lambda: parameters_averaged(prediction, prediction.people(back)),
        lambda: people_axes(prediction, other.records),
    ):
        with pytest.raises(ValueError, match=named):
            call()
    with pytest.raises(ValueError, match=f"Outcome: prediction and people .*{named}"):
        Outcome(prediction, other.y, other.ids)
    with pytest.raises(ValueError, match=f"Outcome: prediction and people .*{named}"):
        replace(Outcome.of(prediction.people(back), other), prediction=prediction)
    scaling = Scaling.fit(Outcome(prediction, cohort.y, list("abcd")))
    with pytest.raises(ValueError, match=f"Scaling.apply: prediction and people .*{named}"):
        scaling.apply(prediction, other.ids)
    assert scaling.apply(prediction, cohort.ids).ids == cohort.ids
    # records of one person are named as one, and what does not know whose it is meets anybody
    assert Outcome(prediction, cohort.y, ["P1", "P1", "P3", "P4"]).names == ("P1", "P3", "P4")
    assert Outcome(replace(prediction, ids=tuple("1234")), cohort.y, range(4)).people == tuple("0123")
    assert Outcome.of(replace(prediction, ids=None), cohort).people == cohort.ids
    assert convergence(model, replace(known, ids=None), other.ids).people == 4
    assert predict(model, cohort.conditions, known.mode[:, None], times=cohort.times, mask=cohort.real).ids is None
    for ids, words in (("P1", "names in a list"), (("a", "b"), "ids names 2 people, and there are 4"), (range(4), "is a text")):
        with pytest.raises(ValueError, match=words):
            replace(prediction, ids=ids)
        with pytest.raises(ValueError, match=words):
            replace(known, ids=ids)


def test_forecasts_and_bundles_know_whose_they_are(tmp_path: Path) -> None:
    model = oral_model()
    cohort = Cohort.of(oral_people(), model, MESH)
    bundle = Bundle.of(model, cohort, replace(personalise(model, cohort), ids=None))
    again = load(save(bundle, tmp_path / "a.twin"))
    assert bundle.personal.ids == again.personal.ids == cohort.ids
    assert again.forecast("P3", None, [1.0]).ids == ("P3",)
    plan = Plan.of(4, 1, 2, seeded())
    stack = plan.stack(model, seeded())
    found = forecast_unseen(plan, stack, cohort.until(2.0), cohort.after(2.0), draws=2, generator=seeded())
    assert found.ids == cohort.ids
