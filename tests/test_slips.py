"""No argument of a public call is answered in somebody else's words: the fast part of `benchmarks/slips/`."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import benchmarks.slips.attempt as slips
import homeostat.pictures
import hybrid
from benchmarks.slips.attempt import WRONG, Answer, Call, attempt, is_ours, run
from benchmarks.slips.exported import public
from benchmarks.slips.table import calls, pictures, unlisted
from benchmarks.slips.world import generator, others, world
from learned import DiagonalDiffusion, Ensemble
from training import forecast, gaussian_nll
from training.trust import Horizons, Outcome, innovations, mean_scores, score_table, scores_by_horizon
from training.trust.recalibration import FittedOn, Scaling

PACKAGES = ("exchange", "hybrid", "learned", "physics", "stability", "training")


def test_every_public_call_is_in_the_table() -> None:
    """A new public name, or method of one, needs a row in a file of `benchmarks/slips/`."""
    assert unlisted() == []
    assert calls().keys() <= public().keys()


# every slip of what costs little; of the rest some, drawn by the seed: `python -m benchmarks.slips` tries all
@pytest.mark.parametrize("package", PACKAGES)
def test_a_slip_is_answered_in_our_words_or_is_none(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slips, "SECONDS", 60.0)  # a busy machine is none of our calls' faults
    table = {name: call for name, call in calls().items() if name.startswith(package)}
    found = run(table, others(), few=1, most=8, seed=1)
    assert [one for one in found if one.kind in WRONG] == []
    assert {one.kind for one in found} >= {"ours", "the same"}


def test_a_slip_in_a_picture_is_answered_in_our_words() -> None:
    table = pictures()
    assert {name.removeprefix("homeostat.pictures.").split(".")[0] for name in table} <= set(homeostat.pictures.__all__)
    found = run(table, others(), few=8, seed=1)
    assert [one for one in found if one.kind in WRONG] == []
    assert {one.kind for one in found} >= {"ours", "the same"}


def test_the_known_slips_say_what_to_write() -> None:
    w = world()
    for call, words in (
        (lambda: Scaling.fit(Outcome(w.prediction, w.cohort, w.cohort.ids)), "numbers in an array"),
        (lambda: w.cohort.to("gpu"), "is a device of this machine"),
        (lambda: forecast(w.cohort, w.model, w.cohort, generator=generator()), r"forecast\(model, cohort, …\)"),
        (lambda: w.prediction.during("a", "b"), "during: start must be one number"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_an_outcome_and_its_scores_answer_in_our_words() -> None:
    w = world()
    outcome, missing = Outcome(w.prediction, w.y, w.cohort.ids), {"NaN in it": "not measured", "all NaN": "not measured"}
    table = {
        "Outcome": lambda: (Outcome, {"prediction": w.prediction, "y": w.y.clone(), "people": list(w.cohort.ids)}),
        "Outcome.of": lambda: (Outcome.of, {"prediction": w.prediction, "cohort": w.cohort}),
        "Outcome.rows": lambda: (outcome.rows, {"index": [2, 0]}),
        "Outcome.during": lambda: (outcome.during, {"start": 0.5, "end": 3.0}),
        "Outcome.above": lambda: (outcome.above, {"threshold": 5.0}),
        "mean_scores": lambda: (mean_scores, {"outcome": outcome}),
        "innovations": lambda: (innovations, {"outcome": outcome}),
        "score_table": lambda: (score_table, {
            "outcome": outcome, "mask": torch.ones(4, 3), "levels": (0.5, 0.8), "generator": generator()}),
        "scores_by_horizon": lambda: (scores_by_horizon, {
            "outcome": outcome, "horizons": Horizons((0.0, 3.0, 8.0)), "levels": (0.5,), "generator": generator()}),
    }  # fmt: skip
    taken = {"y": missing, "end": {"inf": "a window may be open"}, "levels": {"an empty list": "none is asked for"}}
    found = run({name: Call(make, taken) for name, make in table.items()}, others(), most=30)
    assert [one for one in found if one.kind in WRONG] == []


# what was taken in silence, and is nonsense
def test_an_infinite_measurement_is_none() -> None:
    w = world()
    y = w.y.clone()
    y[0, 0, 0] = torch.inf
    with pytest.raises(ValueError, match="finite or NaN"):
        type(w.cohort)(w.cohort.records, w.cohort.conditions, w.cohort.times, y)
    with pytest.raises(ValueError, match="infinite"):
        FittedOn.of(w.cohort.ids, y)
    # what was masked as if it had not been measured is seen in the score
    mean = torch.zeros(1, *y.shape, dtype=y.dtype)
    assert gaussian_nll(y, mean, mean + 1.0)[0, 0] == torch.inf


def test_a_cohort_is_not_made_whole_numbers() -> None:
    with pytest.raises(ValueError, match="no type of these"):
        world().cohort.to(torch.int64)


def test_noise_hands_NaN_on() -> None:
    found = DiagonalDiffusion([0.1, 0.2], [0.1, 0.1]).diffusion(torch.tensor([[[torch.nan, 1.0]]], dtype=torch.float64))
    assert found.isnan().tolist() == [[[True, False]]]


def test_a_text_is_not_the_ids_of_its_letters() -> None:
    w = world()
    with pytest.raises(ValueError, match="ids in a list"):
        Scaling.fit(Outcome(w.prediction, w.y, "abcd"))
    with pytest.raises(ValueError, match="ids in a list"):
        Scaling.fit(Outcome(w.prediction, w.y, {"a", "b", "c", "d"}))  # in no order


def test_people_of_two_cohorts_are_not_forecast_for_each_other() -> None:
    w = world()
    with pytest.raises(ValueError, match="same people in the same order"):
        forecast(w.model, w.cohort, w.cohort.people(torch.tensor([1, 0, 2, 3])), generator=generator())


def test_what_has_no_member_axis_is_not_stacked() -> None:
    with pytest.raises(ValueError, match="no member axis of size 1"):
        Ensemble(3).stack(torch.nn.Linear(2, 2), generator())


# the harness itself
def answer(function: Any, value: Any, taken: Mapping[str, Mapping[str, str]] | None = None) -> Answer:
    call = Call(lambda: (function, {"x": 2.0}), taken or {})
    return attempt("call", call, "x", "slip", value, 4.0)


def test_the_harness_tells_our_words_from_others() -> None:
    def square(x: Any) -> Any:
        return x * x

    assert answer(square, 2.0).kind == "the same"
    assert answer(square, 3.0).kind == "another"
    assert answer(square, "a").kind == "bare"
    assert answer(square, [1, 2]).kind == "bare"
    assert answer(square, np.ones(2)).kind == "silent"
    assert answer(square, np.ones(2), {"x": {"slip": "any axes"}}).kind == "taken"
    assert answer(lambda x: hybrid.Dose("gut", 0.0, x), "a").kind == "ours"
    # from a line of ours, and the words are Python's
    assert answer(lambda x: hybrid.mixture.mixture_quantile(x, None, None), 0.5).kind == "bare"
    with pytest.raises(ZeroDivisionError) as caught:
        square(1 / SimpleNamespace(zero=0).zero)
    assert not is_ours(caught.value)


def test_the_harness_gives_up_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slips, "SECONDS", 0.05)

    def never(x: float) -> None:
        while True:
            x += 1.0

    assert answer(never, 1.0).kind == "slow"


def test_a_slip_that_is_taken_for_the_name_of_a_file_leaves_none_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Any) -> Path:
        Path(path).write_text("written")
        return Path(path)

    monkeypatch.chdir(tmp_path)
    call = Call(lambda: (write, {"path": "right"}))
    found = run({"call": call}, {})
    assert {one.slip for one in found if one.kind == "another"} >= {"words", "with blanks"}  # they were written
    written = {name: call for name, call in calls().items() if name in ("training.Checkpoint", "exchange.save")}
    assert len(written) == 2
    run(written, others(), few=8, most=8)
    assert list(tmp_path.iterdir()) == []
    assert Path.cwd() == tmp_path
