"""What is asked where the caller does not say, and what cannot be."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from homeostat.study import asked_of, require_folds, require_one_unit, require_two_forecasts
from hybrid import Dose, HybridModel, Schedule, States
from learned import AdditiveProportional
from physics import LinearBackbone, SharedPopulation
from training import Record

UNITS = {"time": "h", "concentration": "mg/L"}


def person(name: str, times: Sequence[float], *, dose: float | None = 0.0, start: float = 0.0) -> Record:
    schedule = Schedule(() if dose is None else (Dose("gut", dose, 320.0),), start=start)
    values = np.arange(1.0, len(times) + 1.0)[:, None]
    return Record(name, schedule, np.array(times), values, ("concentration",), units=UNITS)


def test_forecasts_are_from_the_first_time_by_which_everybody_has_a_value() -> None:
    people = [person("a", [0.5, 1.0, 9.0]), person("b", [2.0, 3.0, 30.0]), person("c", [0.25])]
    asked = asked_of(people, "mg/L", None, None)
    assert (asked.forecast_from, asked.note) == (2.0, "")
    # what was measured at or before the first dose is where a person starts from, and is no value of the forecast's
    people = [person("a", [-1.0, 0.0, 4.0, 8.0], start=-1.0), person("b", [1.0, 2.0])]
    assert asked_of(people, "mg/L", None, None).forecast_from == 4.0
    # on everybody's own clock
    people = [person("a", [100.5, 103.0], dose=100.0, start=100.0), person("b", [2.0, 3.0])]
    assert asked_of(people, "mg/L", None, None).forecast_from == 2.0
    # of those who get nothing, from their start
    people = [person("a", [7.0, 8.0, 12.0], dose=None, start=7.0), person("b", [1.0, 2.0])]
    asked = asked_of(people, "mg/L", None, None)
    assert (asked.forecast_from, asked.since) == (1.0, "first dose or start")


def test_a_value_beyond_a_limit_is_known_and_is_none_to_forecast() -> None:
    nothing, limit = np.full((2, 1), np.nan), np.array([[3.0], [np.nan]])
    first = replace(person("a", [0.5, 8.0]), values=np.array([[np.nan], [5.0]]), upper=limit)
    last = replace(person("b", [1.0, 9.0]), values=np.array([[7.0], [np.nan]]), upper=limit[::-1], lower=nothing)
    asked = asked_of([first, person("c", [1.0, 9.0])], "mg/L", None, None)
    assert asked.forecast_from == 1.0  # by which the first is known to lie below 3
    with pytest.raises(ValueError, match="nothing is left to forecast"):
        asked_of([last], "mg/L", None, None)


def test_one_channel_is_value_enough() -> None:
    schedule = Schedule((Dose("gut", 0.0, 320.0),))
    values = np.array([[np.nan, np.nan], [np.nan, 3.0], [4.0, np.nan]])
    record = Record("a", schedule, np.array([0.5, 1.0, 2.0]), values, ("x", "y"), units={"time": "h"})
    assert asked_of([record], "1", 1.0, None).forecast_from == 1.0


def test_a_value_right_behind_its_dose_is_at_it() -> None:
    """As a reader puts it where a bolus and the value after it have one time: a rounding apart."""
    people = [person("a", [1e-15, 6.0]), person("b", [0.0 + 1e-15, 9.0])]
    assert asked_of(people, "mg/L", None, None).forecast_from == 0.0


@pytest.mark.parametrize(
    ("people", "time", "nothing"),
    [
        # the one who was measured once was measured last of all
        ([person("a", [1.0, 4.0]), person("b", [2.0, 5.0]), person("c", [24.0])], 2.0, 1),
        # somebody has a baseline alone
        ([person("a", [1.0, 2.0]), person("b", [1.0, 2.0]), person("c", [0.0])], 1.0, 1),
        # two who were measured once at the end leave the time of the one who was measured before
        ([person("a", [1.0, 2.0]), person("b", [2.0]), person("c", [2.0])], 1.0, 2),
        # everybody once, at different times
        ([person("a", [1.0]), person("b", [2.0]), person("c", [3.0])], 2.0, 1),
    ],
)
def test_where_there_is_no_such_time_a_sentence_says_what_is_taken(people: list[Record], time: float, nothing: int) -> None:
    asked = asked_of(people, "mg/L", None, None)
    assert asked.forecast_from == time
    assert f"forecasts are from {time:g} h, when nothing is known yet of {nothing} of 3 people" in asked.note
    assert "--forecast-from" in asked.note
    assert asked_of(people, "mg/L", None, time).note == ""  # who chose it knows


def test_where_nothing_could_be_forecast_it_is_refused() -> None:
    with pytest.raises(ValueError, match="is of one time, so that nothing is left to forecast"):
        asked_of([person("a", [1.0]), person("b", [1.0])], "mg/L", None, None)
    with pytest.raises(ValueError, match="nobody was measured after the first dose"):
        asked_of([person("a", [0.0]), person("b", [-1.0, 0.0], start=-1.0)], "mg/L", None, None)
    with pytest.raises(ValueError, match="forecasts from 2 h since the first dose leave nothing to forecast"):
        asked_of([person("a", [1.0]), person("b", [2.0])], "mg/L", None, 2.0)


def test_more_folds_than_people_are_refused() -> None:
    with pytest.raises(ValueError, match=r"7 folds were asked for and there are 6 people; .*write --folds 6 or fewer"):
        require_folds(7, 6)
    require_folds(6, 6)
    require_folds(2, 12)


def test_forecasts_are_judged_on_two_people_or_more() -> None:
    people = [person(str(i), [float(i)]) for i in range(1, 5)]  # each measured once: one alone is measured later
    with pytest.raises(ValueError, match="only person 4 is measured again"):
        require_two_forecasts(people, asked_of(people, "mg/L", None, None))
    people = [person("a", [1.0, 4.0]), person("b", [2.0, 5.0])]
    require_two_forecasts(people, asked_of(people, "mg/L", None, None))


@pytest.mark.parametrize("units", [("mg", "mg"), ("mg", "ug")])
def test_channels_in_two_units_are_refused_before_they_are_fitted(units: tuple[str, str]) -> None:
    backbone = LinearBackbone([[-1.0, 0.0], [0.5, -1.0]], states=["x", "y"], state_units=list(units), time_unit="h")
    noise = AdditiveProportional([0.1, 0.1], [0.1, 0.1], [0.01, 0.01])
    model = HybridModel(backbone, SharedPopulation(backbone, values={}), observation=States(["x", "y"]), noise=noise)
    if len(set(units)) == 1:
        require_one_unit(model)
        return
    with pytest.raises(ValueError, match=r"different units \(x in mg, y in ug\)"):
        require_one_unit(model)
