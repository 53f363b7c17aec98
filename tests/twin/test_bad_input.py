"""What cannot be used is refused with a reason, leaves nothing behind, and the others go on."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.builders import oral_of
from tests.twin.builders import NOW, START, bundle_of, dosed, driven, linear_bundle, measured, oral_bundle, withdrawn
from twin import Event, Patient, SqliteLog, Twin

GOOD = measured("A", 1, 3.0, "good")


@pytest.fixture(scope="module")
def twin() -> Twin:
    """Somebody who was given a dose and measured once; two sources are known."""
    twin = Twin(oral_bundle(), sources=["lab", "ward"])
    twin.arrive([dosed("A", 0, 300.0, "d"), GOOD], now=NOW)
    return twin


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (measured("A", 2, 3.0, "1", channel="pH"), "the channel 'pH' is unknown; the model has the channels concentration"),
        (dosed("A", 2, 3.0, "1", compartment="ear"), "the compartment 'ear' is unknown; the model has the compartments gut"),
        (driven("A", 2, 3.0, "1", name="basal", source="lab"), "the input 'basal' is unknown; the model has the inputs none"),
        (measured("A", 2, 3.0, "1", unit="mg/l/l/l"), "mg/l/l/l"),
        (measured("A", 2, 3.0, "1", unit="mmol/L"), "moles become grams by a molar mass"),
        (measured("A", 2, 3.0, "1", source="stranger"), "the source 'stranger' is unknown; events are taken of lab, ward"),
        (measured("A", 2, -0.5, "1"), "the channel concentration is never below 0"),
        (dosed("A", 2, -10.0, "1"), "a dose is never below 0"),
        (replace(measured("A", 2, 1.0, "1"), time=NOW + 301_000_000), "which is still to come"),
        (replace(GOOD, value=3.5), "a second event of the same identity and version with other content"),
    ],
)
def test_an_event_that_cannot_be_used(twin: Twin, event: Event, reason: str) -> None:
    before = twin.state("A")
    refused, taken = twin.arrive([event, GOOD], now=NOW)
    assert (refused.verdict, refused.estimate) == ("refused", None)
    assert reason in (refused.reason or "")
    assert taken.verdict == "duplicate"
    assert twin.state("A") == before


def test_a_stamp_a_little_ahead_of_our_clock_is_taken(twin: Twin) -> None:
    ahead = replace(measured("B", 0, 1.0, "1"), time=NOW + 299_000_000)
    assert twin.arrive(ahead, now=NOW)[0].verdict == "new"


def test_units_of_the_same_kind_are_converted() -> None:
    bundle = oral_bundle()
    one, other = Twin(bundle), Twin(bundle)
    one.arrive([dosed("A", 0, 500.0, "d"), measured("A", 1, 3.25, "m")], now=NOW)
    other.arrive([dosed("A", 0, 0.5, "d", unit="g"), measured("A", 1, 3250.0, "m", unit="ug/L")], now=NOW)
    assert one.state("A") == other.state("A")


def test_who_may_be_followed() -> None:
    bundle = oral_bundle(ids=["P1"])
    anyone = Twin(bundle)
    assert [c.new for c in anyone.arrive([measured("P1", 1, 3.0, "m"), measured("X", 1, 3.0, "m")], now=NOW)] == [False, True]
    closed = Twin(bundle, people={"Q": Patient()})
    refused = closed.arrive(measured("P1", 1, 3.0, "m"), now=NOW)[0]
    assert (refused.verdict, closed.people) == ("refused", ())
    assert "the person 'P1' is unknown; those who are followed are Q" in (refused.reason or "")
    with pytest.raises(ValueError, match="nothing was taken of 'X' yet"):
        closed.estimate("X")


def test_a_model_that_reads_covariates_must_know_them() -> None:
    from hybrid import Concentration, HybridModel
    from learned import AdditiveProportional, DiagonalDiffusion
    from physics import LogNormalPopulation, OneCompartmentOral

    backbone = OneCompartmentOral()
    population = LogNormalPopulation(backbone.physical, [0.4, 0.2, 0.2], {"V": {"WT": (70.0, 1.0)}})
    model = HybridModel(
        *(backbone, population),
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
        process=DiagonalDiffusion({"plasma": 6.0}),
    )
    bundle = bundle_of(model)
    refused = Twin(bundle).arrive(measured("A", 1, 3.0, "m"), now=NOW)[0]
    assert refused.verdict == "refused"
    assert "the model reads WT" in (refused.reason or "")
    with pytest.raises(ValueError, match="the model reads WT"):
        Twin(bundle, people={"A": Patient()})
    light, heavy = (
        Twin(bundle, people={"A": Patient(covariates={"WT": w})}).arrive(
            [dosed("A", 0, 300.0, "d"), measured("A", 1, 3.0, "m")], now=NOW
        )[1].estimate
        for w in (45.0, 120.0)
    )
    assert light is not None
    assert heavy is not None
    assert light.nis != heavy.nis


def test_a_model_without_process_noise_needs_a_floor() -> None:
    bundle = bundle_of(oral_of())
    with pytest.raises(ValueError, match="has no process noise"):
        Twin(bundle)
    twin = Twin(bundle, floor={"plasma": 3.0})
    assert twin.arrive([dosed("A", 0, 300.0, "d"), measured("A", 1, 3.0, "m")], now=NOW)[1].verdict == "new"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"filter": "UKF"}, "filter is a kind of filter"),
        ({"level": 1.0}, "level"),
        ({"block": 1}, "block"),
        ({"horizon": timedelta(0)}, "horizon"),
        ({"ahead": 5}, "ahead"),
        ({"people": {"A": {"WT": 70.0}}}, "people"),
        ({"log": "people.db"}, "log"),
        ({"sources": "lab"}, "sources"),
        ({"people": {"A": Patient(inputs={"basal": 1.0})}}, "inputs name 'basal'"),
        ({"people": {"A": Patient(mean=[[0.0]], covariance=[[[1.0]]])}}, "mean has the shape"),
    ],
)
def test_arguments_are_refused_in_our_words(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Twin(oral_bundle(), **settings)  # type: ignore[arg-type]


def test_a_log_of_another_bundle_or_other_settings(tmp_path: Path) -> None:
    bundle, file = oral_bundle(), tmp_path / "people.db"
    with SqliteLog(file) as log:
        Twin(bundle, log).arrive(GOOD, now=NOW)
    for other, settings, words in (
        (oral_bundle(2), {}, "bundle"),
        (bundle, {"drift": 24.0}, "drift"),
        (bundle, {"horizon": timedelta(days=2)}, "horizon"),
        (bundle, {"block": 32}, "block"),
        (bundle, {"floor": {"gut": 1.0}}, "floor"),
    ):
        with SqliteLog(file) as log, pytest.raises(ValueError, match=f"written with the .*{words}"):
            Twin(other, log, **settings)  # type: ignore[arg-type]
    with SqliteLog(file) as log:
        changed = Twin(bundle, log, people={"A": Patient(spread={"plasma": 1.0})})
        with pytest.raises(ValueError, match="the log knows other things of 'A'"):
            changed.estimate("A")


def test_what_is_older_than_the_horizon() -> None:
    twin = Twin(oral_bundle(), horizon=timedelta(hours=12))
    told = [dosed("A", 0, 300.0, "d"), *[measured("A", h, 3.0, f"m{h}") for h in range(1, 40)]]
    for event in told:
        assert twin.arrive(event, now=NOW)[0].verdict == "new"
    before = twin.state("A")
    old = [measured("A", 20, 2.0, "late"), replace(told[5], version=2, value=9.0), withdrawn(told[5])]
    for event in old:
        refused = twin.arrive(event, now=NOW)[0]
        assert refused.verdict == "refused"
        assert "older than the horizon" in (refused.reason or "")
    assert twin.state("A") == before
    assert twin.arrive(measured("A", 39 - 11.9, 2.0, "in time"), now=NOW)[0].moved["concentration"].before > 0
    assert twin.arrive(told[5], now=NOW)[0].verdict == "duplicate"


def test_a_model_with_inputs_waits_until_they_are_told() -> None:
    bundle = linear_bundle()
    twin = Twin(bundle)
    changes = twin.arrive([measured("x", 0, 1.0, "m", channel="a", unit="mg"), driven("x", 1, 0.5, "u", name="u")], now=NOW)
    estimate = changes[0].estimate
    assert estimate is not None
    assert (estimate.waits, dict(estimate.channels)) == (("v",), {})
    change = twin.arrive(driven("x", 2, 0.25, "v", name="v"), now=NOW)[0]
    assert change.estimate is not None
    assert (change.estimate.waits, set(change.estimate.channels)) == ((), {"a", "b"})
    assert change.estimate.notes == ("doses and measurements from before the start could not be used: 1",)
    # who brings the inputs along starts at once
    brought = Twin(bundle, people={"x": Patient(inputs={"u": 0.5, "v": 0.25})})
    first = brought.arrive(measured("x", 0, 1.0, "m", channel="a", unit="mg"), now=NOW)[0].estimate
    assert first is not None
    assert first.waits == ()
    assert first.time == START
