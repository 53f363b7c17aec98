"""What a bundle's forecasts were, and whom it saw: what is asked of others by default, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest

from exchange import Bundle
from homeostat.bundles.seen import asked_as_in, forecast_from_in, horizons_verdicts, seen_verdict, some_of
from homeostat.study.asked import asked_of
from hybrid import Dose, Schedule
from tests.homeostat.test_odd_pages import bare
from training import Record

TIMES = (0.37, 1.0, 2.5, 5.0, 9.0)


def people(*ends: int) -> list[Record]:
    """Each with so many of the times."""
    schedule, given = Schedule((Dose("gut", 0.0, 20.0),)), (("plasma",), {}, {"time": "h"})
    return [Record(f"P{k}", schedule, np.array(TIMES[:n]), 4.0 + np.arange(n)[:, None], *given) for k, n in enumerate(ends)]


def from_time(value: object) -> Bundle:
    return replace(bare(), provenance={"settings.forecast_from": value})


def test_people_are_forecast_from_when_those_of_the_bundle_were_where_they_can_be() -> None:
    records = people(5, 5)
    assert asked_of(records, "mg", None, None).forecast_from == 0.37
    for own, given, expected in (
        (2.5, None, 2.5),
        (2.5, 1.0, 1.0),  # who asks for a time gets it
        (None, None, 0.37),
        (True, None, 0.37),
        ("2.5", None, 0.37),
        (float("nan"), None, 0.37),
        (0.1, None, 0.37),  # nothing is known of anybody by then
        (9.0, None, 0.37),  # and nothing follows
        (1e9, None, 0.37),
    ):
        assert asked_as_in(from_time(own), records, None, given).forecast_from == expected


def test_a_recalibration_at_other_horizons_is_said() -> None:
    records = people(5, 5)
    asked = asked_as_in(from_time(2.5), records, None, 0.37)
    (verdict,) = horizons_verdicts(from_time(2.5), asked)
    assert verdict.claim == "The recalibration is of forecasts from 2.5 h, and these are from 0.37 h, since the first dose"
    assert verdict.good is None
    assert "--forecast-from 2.5 asks what they were fitted for" in verdict.detail
    assert horizons_verdicts(from_time(2.5), asked_as_in(from_time(2.5), records, None, None)) == []
    (unknown,) = horizons_verdicts(bare(), asked)
    assert unknown.claim.startswith("The bundle does not say from when")
    assert forecast_from_in(bare()) is None


@pytest.mark.parametrize(
    ("seen", "count", "same", "claim", "about"),
    [
        (1, 1, False, "This person has an id that the model was trained on", "people seen"),
        (1, 12, False, "1 of 12 people has an id that the model was trained on", "people seen"),
        (4, 4, True, "4 of 4 people have ids that the model was trained on", "people seen"),
        (0, 4, True, "The model was trained on this very table", "people seen"),
        (0, 4, False, "Whether the model has seen these people in training is not known", "people unknown"),
        (0, 1, False, "Whether the model has seen this person in training is not known", "people unknown"),
    ],
)
def test_whether_people_were_seen_is_said_as_far_as_it_is_known(
    seen: int, count: int, same: bool, claim: str, about: str
) -> None:
    verdict = seen_verdict(bare(), seen, count, same=same)
    assert (verdict.claim, verdict.good, verdict.about) == (claim, None, (about,))
    assert some_of(2, 12) == "2 of 12 people"
