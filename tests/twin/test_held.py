"""Somebody whose prediction diverges is held where they were last good, marked, until that is mended or over."""

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from hybrid import Interval
from hybrid.filters import UKF, Belief
from tests.twin.builders import HOUR, NOW, START, dosed, measured, oral_bundle, withdrawn
from twin import Event, Twin, time_text

GOOD = [dosed("A", 0, 300.0, "d"), measured("A", 1, 4.0, "m1"), measured("A", 2, 4.5, "m2")]
MAD = dosed("A", 3, 1e308, "mad")  # nothing that is computed of it is finite
AFTER = [measured("A", 4, 4.0, "m4"), measured("A", 5, 3.6, "m5")]


@dataclass(frozen=True)
class Refusing(UKF):
    """One that raises where much is given."""

    def predict(self, belief: Belief, interval: Interval) -> Belief:
        if bool((interval.jump > 1e5).any()):
            raise ArithmeticError("that is too much")
        return super().predict(belief, interval)


@pytest.fixture(scope="module")
def sane() -> bytes:
    twin = Twin(oral_bundle(2))
    twin.arrive([*GOOD, *AFTER], now=NOW)
    return twin.state("A")


def lost(order: list[Event]) -> Twin:
    twin = Twin(oral_bundle(2), horizon=timedelta(hours=24))
    for event in order:
        twin.arrive(event, now=NOW)
    return twin


def test_held_at_the_last_good_belief_and_marked() -> None:
    good = Twin(oral_bundle(2), horizon=timedelta(hours=24))
    good.arrive(GOOD, now=NOW)
    twin = lost([*GOOD, MAD, *AFTER])
    estimate, last = twin.estimate("A"), good.estimate("A")
    # the dose arrives after 3 h: up to there everything was good
    held = twin._memory.tip("A").belief
    assert held is not None
    assert held.held == START + 3 * HOUR
    assert time_text(held.held) in (estimate.held or "")
    assert estimate.time == START + 5 * HOUR
    assert estimate.channels == good.estimate("A", START + 3 * HOUR).channels
    assert estimate.evidence == last.evidence  # nothing later was learned of
    # the same in any order
    for order in ([MAD, *GOOD[::-1], *AFTER[::-1]], [AFTER[1], *GOOD, AFTER[0], MAD]):
        assert lost(order).state("A") == twin.state("A")


def test_a_withdrawal_or_a_correction_brings_them_back(sane: bytes) -> None:
    twin = lost([*GOOD, MAD, *AFTER])
    change = twin.arrive(withdrawn(MAD), now=NOW)[0]
    assert change.estimate is not None
    assert change.estimate.held is None
    assert twin.state("A") == sane


def test_they_start_anew_when_nothing_can_be_corrected_any_more() -> None:
    late = [measured("A", h, 2.0, f"late{h}") for h in (26, 27.5, 30)]  # the first is 23 h after the last good belief
    twin = lost([*GOOD, MAD, *AFTER, *late])
    belief, estimate = twin._memory.tip("A").belief, twin.estimate("A")
    assert belief is not None
    assert (belief.held, belief.restarts, estimate.held) == (None, 1, None)
    assert "started anew" in estimate.notes[0]
    assert estimate.overall is not None
    assert estimate.overall.count == 1  # of what came since: the model started from the first
    # told at once, and so in canonical order
    once = Twin(oral_bundle(2), horizon=timedelta(hours=24))
    once.arrive([*GOOD, MAD, *AFTER, *late], now=NOW)
    assert once.state("A") == twin.state("A")


def test_a_start_that_fails_is_said_and_tried_again_with_what_comes_next() -> None:
    bundle = oral_bundle()
    twin, plain = Twin(bundle), Twin(bundle)
    first = twin.arrive(measured("A", 0, 1e308, "m0"), now=NOW)[0]  # an amount beyond any number to start from
    assert first.verdict == "new"
    assert first.estimate is not None
    assert dict(first.estimate.channels) == {}
    assert "could not start" in (first.estimate.held or "")
    following = [measured("A", 1, 2.0, "m1"), dosed("A", 1, 100.0, "d"), measured("A", 2, 3.0, "m2")]
    twin.arrive(following, now=NOW)
    plain.arrive(following, now=NOW)
    assert twin.estimate("A").channels == plain.estimate("A").channels
    assert twin.estimate("A").notes == ("doses and measurements from before the start could not be used: 1",)
    for event in following[::-1]:  # in another order, one by one
        plain.arrive(replace(event, patient="B"), now=NOW)
    plain.arrive(measured("B", 0, 1e308, "m0"), now=NOW)
    assert plain.state("B") == twin.state("A")


@pytest.mark.parametrize("told", [GOOD, [dosed("A", 0, 300.0, "d")]], ids=["measured", "given alone"])
def test_an_estimate_ahead_of_somebody_who_diverges_on_the_way_is_held_too(told: list[Event]) -> None:
    """As one at the time of a measurement is: nothing goes on without the dose that led there."""
    twin = Twin(oral_bundle(2))
    twin.arrive([*told, MAD, *(replace(event, patient="B") for event in [*told, *AFTER])], now=NOW)
    there = twin.estimate("A")
    assert there.held is None  # before what arrives at that time
    for hours in (3.0001, 4, 30):
        ahead = twin.estimate("A", START + round(hours * HOUR))
        assert ahead.channels == there.channels
        assert ahead.evidence == there.evidence
        assert f"the prediction from {time_text(there.time or 0)} to {time_text(ahead.time or 0)} diverges" in (ahead.held or "")
    at = START + 6 * HOUR
    both = twin._estimates({"A": at, "B": at})  # and the others are as they are alone
    assert both["A"].held is not None
    assert both["B"] == twin.estimate("B", at)
    assert both["B"].held is None


def test_a_filter_that_raises_on_the_way_ahead_holds_whom_it_raises_for() -> None:
    twin = Twin(oral_bundle(2), filter=Refusing)
    twin.arrive([*GOOD, dosed("A", 3, 1e6, "much"), *(replace(event, patient="B") for event in GOOD)], now=NOW)
    at = START + 4 * HOUR
    both = twin._estimates({"A": at, "B": at})
    assert both["A"].held is not None
    assert both["A"].channels == twin.estimate("A").channels
    assert both["B"].held is None
    assert both["B"] == twin.estimate("B", at)
