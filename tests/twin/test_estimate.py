"""What is said of a person where it is not simply a number: far outside a channel, of somebody of whom nothing counts."""

from datetime import timedelta

import numpy as np
import pytest
import torch
from scipy.stats import norm

from learned import AdditiveProportional
from tests.twin.builders import HOUR, NOW, START, dosed, driven, linear_bundle, measured, oral_bundle, withdrawn
from twin import Event, Twin
from twin.estimate import bands

TOLD = [dosed("A", 0, 320.0, "d"), measured("A", 1, 6.0, "m1")]


def one(mean: float, sd: float, noise: float, *, cut: bool = True) -> list[float]:
    """Mean, low, high and whether it lies outside, of one member, person and channel."""
    found = bands(*(torch.full((1, 1, 1), v, dtype=torch.float64) for v in (mean, sd**2, noise**2)), 0.9, torch.tensor([cut]))
    return [float(v) for v in found]


def test_a_band_of_a_channel_that_is_never_below_0_holds_the_noise_of_measuring() -> None:
    z = norm.ppf(0.95)
    assert one(5.0, 1.0, 0.5) == pytest.approx([5.0, 5.0 - z, 5.0 + z, 0.0], rel=1e-12)
    assert one(1.0, 1.0, 0.5) == pytest.approx([1.0, 0.0, 1.0 + z, 0.0], rel=1e-12)
    assert one(-100.0, 1.0, 0.5) == pytest.approx([0.0, 0.0, 0.5 * z, 1.0], rel=1e-12)
    assert one(-100.0, 1.0, 0.5, cut=False) == pytest.approx([-100.0, -100.0 - z, -100.0 + z, 0.0], rel=1e-12)
    # it never says more than a measurement of max(signal, 0) with its noise would: drawn
    rng = np.random.default_rng(1)
    for mean in (-3.0, -1.0, -0.4, 0.2):
        drawn = np.maximum(mean + 0.8 * rng.standard_normal(200_000), 0.0) + 0.6 * rng.standard_normal(200_000)
        _, _, high, _ = one(mean, 1.0, 0.6)
        assert max(0.6 * z, mean + z) == pytest.approx(high, rel=1e-12)
        assert high <= np.quantile(drawn, 0.95) + 0.01  # of 200,000 draws the quantile is known to .003


def test_a_belief_far_below_0_is_said_to_be_so() -> None:
    twin = Twin(oral_bundle())
    twin.arrive(TOLD, now=NOW)
    assert twin.estimate("A").notes == ()
    slip = twin.arrive(measured("A", 2, 700.0, "slip"), now=NOW)[0]  # a point misplaced by two: linear bounds take x far below 0
    assert slip.estimate is not None
    band = slip.estimate.channels["concentration"]
    assert (band.mean, band.low) == (0.0, 0.0)
    noise = twin.bundle.model.noise.variance(*(torch.zeros(1, 1, 1, k, dtype=torch.float64) for k in (1, 2, 0)))
    assert band.high == pytest.approx(norm.ppf(0.95) * float(noise.detach().sqrt()), rel=1e-9)
    (note,) = slip.estimate.notes
    assert note.startswith("of concentration, which is never below 0, the filter believes -")
    assert slip.estimate.to_dict()["notes"] == [note]
    assert twin.arrive(withdrawn(measured("A", 2, 700.0, "slip")), now=NOW)[0].verdict == "new"
    assert twin.estimate("A").notes == ()


def test_what_would_be_measured_beyond_any_number_is_not_shown() -> None:
    """States that are numbers, and of which the variance of measuring is none."""
    twin = Twin(linear_bundle(noise=AdditiveProportional([0.3, 0.2], [1e40, 1e40], floor=[0.05, 0.05])))
    much = dosed("x", 1, 1e120, "much", compartment="a")
    twin.arrive([driven("x", 0, 0.5, "1", name="u"), driven("x", 0, 0.2, "2", name="v"), much], now=NOW)
    there = twin.estimate("x")
    assert (len(there.channels), there.held) == (2, None)
    ahead = twin.estimate("x", START + 2 * HOUR)
    assert ahead.channels == there.channels
    assert "the prediction from" in (ahead.held or "")
    found = twin.arrive(driven("x", 2, 0.5, "3", name="u"), now=NOW)[0].estimate
    assert found is not None
    assert (dict(found.channels), found.held) == (
        {}, "what would be measured is beyond any number; correct or withdraw what led there"
    )
    late = twin.arrive(driven("x", 0.5, 0.4, "4", name="u"), now=NOW)[0]
    assert (late.verdict, late.moved) == ("new", {})  # between what are no numbers nothing is said


def test_of_whom_nothing_counts_nothing_is_said() -> None:
    twin, only = Twin(oral_bundle()), TOLD[1]
    twin.arrive(only, now=NOW)
    change = twin.arrive(withdrawn(only), now=NOW)[0]
    clock = Event("B", "lab", "clock", 1, "offset", START, value=1.0, unit="h")
    assert change.estimate is not None
    assert change.moved == {}
    twin.arrive([withdrawn(measured("C", 1, 2.0, "m")), clock], now=NOW)
    for found in (change.estimate, *(twin.estimate(id) for id in ("A", "B", "C"))):
        assert (found.time, found.effective, found.lag, found.held, found.waits) == (None, None, None, None, ())
        assert (dict(found.channels), found.notes) == ({}, ("nothing that counts was told of this person",))
        assert found.to_dict()["time"] is None
        assert "1970" not in str(found.to_dict())
    at = twin.estimate("A", START)
    assert (at.time, at.held, at.notes) == (START, None, ("nothing that counts was told of this person up to then",))
    # nor of somebody before their first event
    twin.arrive(replaced := measured("A", 3, 4.0, "m3"), now=NOW)
    assert twin.estimate("A", replaced.time - 1).notes == at.notes
    assert twin.estimate("A").held is None
    # the inputs that must be told are said then too
    inputs = Twin(linear_bundle())
    inputs.arrive(first := driven("x", 0, 0.5, "1", name="u"), now=NOW)
    inputs.arrive(withdrawn(first), now=NOW)
    assert (inputs.estimate("x").time, inputs.estimate("x").waits) == (None, ("u", "v"))


def test_of_whom_everything_was_refused_nothing_was_taken() -> None:
    twin = Twin(oral_bundle(), ahead=timedelta(minutes=5))
    assert twin.arrive(TOLD[1], now=START - HOUR)[0].verdict == "refused"
    assert twin.people == ()
    with pytest.raises(ValueError, match="nothing was taken of 'A' yet"):
        twin.estimate("A")
    assert twin.arrive(TOLD, now=NOW)[1].new
    assert twin.people == ("A",)
