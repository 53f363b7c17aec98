"""What alternative texts say is what the pictures show: their numbers, computed once more the naive way."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from homeostat.pictures import Bands, Observed, Phase, Reliability, observed_axes, observed_panel_axes, theta_axes
from homeostat.pictures.in_words import (
    observed_in_words,
    people_in_words,
    phase_in_words,
    reliability_in_words,
    what_if_in_words,
)
from homeostat.pictures.observed import WIDE
from homeostat.pictures.reliability import strays_in_words
from homeostat.pictures.style import new_figure
from homeostat.pictures.theta import shown_in_words
from homeostat.pictures.what_if import Exceedance
from tests.homeostat.test_pictures import artists, build, events, people, phase
from tests.homeostat.test_svg import THETA, observed


def numbers_in(words: str) -> list[float]:
    return [float(v) for v in re.findall(r"-?\d+\.?\d*(?:e[-+]?\d+)?", words)]


@pytest.mark.parametrize("until", [3.0, None])
def test_measurements_inside_the_band_are_counted_as_they_are_drawn(until: float | None) -> None:
    prediction, records = build(N=3), people(3)
    bands = Bands.of(prediction, level=0.8)
    counts = {"early": [0, 0], "late": [0, 0]}
    for i, record in enumerate(records):
        for t, value in zip(record.times, record.values[:, 0], strict=True):
            if math.isnan(value):
                continue
            k = max(j for j in range(12) if bands.times[i, j] <= t)
            part = 0.0 if k == 11 else (t - bands.times[i, k]) / (bands.times[i, k + 1] - bands.times[i, k])
            ends = [v[i, k] if k == 11 else v[i, k] + part * (v[i, k + 1] - v[i, k]) for v in bands.total]
            if until is None and t <= 0.0:  # a baseline, which no score counts either
                continue
            count = counts["early" if until is None or t <= until else "late"]
            count[0] += bool(ends[0] <= value <= ends[1])
            count[1] += 1
    words = people_in_words(prediction, records, forecast_from=until)
    assert words.startswith("3 panels, one a person, of drug in mg/L from 0 to 22 h since the first dose.")
    assert f"reach from {bands.extent()[0]:.3g} to {bands.extent()[1]:.3g} mg/L" in words
    inside, whole = counts["early" if until is None else "late"]
    assert f"{inside} of {whole} measurements" in words
    assert ("made after the forecast" in words) is (until is not None)
    assert ("; 3 at or before the first dose are drawn and not counted." in words) is (until is None)


def test_observed_numbers_are_those_of_the_pairs() -> None:
    prediction = build()
    y = prediction.sample(1, torch.Generator().manual_seed(1))[0]
    y[0, 3] = math.nan
    one = Observed.of(prediction, y)
    low, high = prediction.interval(0.8)
    pairs = [
        (float(prediction.point[i, k, 0]), float(y[i, k, 0]), float(low[i, k, 0]), float(high[i, k, 0]))
        for i in range(2)
        for k in range(12)
        if not math.isnan(y[i, k, 0])
    ]
    assert len(pairs) == len(one.measured) == 23
    errors = [b - a for a, b, *_ in pairs]
    assert one.rmse == pytest.approx(math.sqrt(sum(e * e for e in errors) / 23), rel=1e-12)
    assert one.bias == pytest.approx(sum(errors) / 23, rel=1e-12)
    assert one.inside == sum(a <= v <= b for _, v, a, b in pairs)
    panels = observed_axes({"forecast": one})
    (dots,) = artists(panels[0], "observed")
    assert list(zip(dots.get_xdata(), dots.get_ydata(), strict=True)) == [pair[:2] for pair in pairs]
    assert panels[0].get_xlim() == panels[0].get_ylim()
    assert (panels[0].get_xlabel(), panels[0].get_ylabel()) == ("Predicted drug (mg/L)", "Measured drug (mg/L)")
    words = observed_in_words({"forecast": one})
    assert f"forecast: 23 measurements from {one.measured.min():.3g} to {one.measured.max():.3g} mg/L" in words
    assert f"{one.rmse:.3g} mg/L" in words
    assert f"{one.inside} inside their 80\u00a0% interval" in words


def test_axes_are_logarithmic_where_the_span_asks_for_it() -> None:
    for span, scale in ((WIDE * 1.1, "log"), (WIDE * 0.9, "linear")):
        values = np.array([1.0, span])
        one = Observed(values, values, values, values, 0.8, "drug", "mg/L")
        axes = observed_panel_axes(one)
        assert (axes.get_xscale(), axes.get_yscale()) == (scale, scale)
    zero = Observed(np.array([0.0, 99.0]), np.array([1.0, 99.0]), np.zeros(2), np.zeros(2), 0.8, "drug", "1")
    assert observed_panel_axes(zero).get_xscale() == "linear"  # 0 has no logarithm
    nothing = Observed(*np.zeros((4, 0)), 0.8, "drug", "1")
    observed_axes({"forecast": nothing})
    assert "forecast: no measurement" in observed_in_words({"forecast": nothing})


def test_observed_refuses_what_does_not_fit() -> None:
    prediction = build()
    with pytest.raises(ValueError, match="y has shape"):
        Observed.of(prediction, prediction.point[:1])
    with pytest.raises(ValueError, match="Channel 3 was asked for"):
        Observed.of(prediction, prediction.point, channel=3)
    with pytest.raises(ValueError, match="from 1 to 3"):
        observed_axes({})
    other = Observed(*np.zeros((4, 1)), 0.8, "sugar", "1")
    with pytest.raises(ValueError, match="one picture shows one channel"):
        observed_axes({**observed(), "other": other})


def test_everyones_theta_is_in_its_strip_and_in_the_words() -> None:
    strips = theta_axes(THETA)
    for j, axes in enumerate(strips):
        mean = THETA.values[:, :, j].mean(0)
        drawn = [line[0][0] for gid in ("people", "leaning") for c in artists(axes, gid) for line in c.get_segments()]
        assert sorted(drawn) == pytest.approx(sorted(mean), rel=1e-12)
        assert axes.get_xlim() == tuple(THETA.box[j])
        (typical,) = artists(axes, "typical")
        assert list(typical.get_xdata()) == [THETA.typical[:, j].mean()]
        (bar,) = artists(axes, "expected")
        xs = bar.get_paths()[0].vertices[:, 0]
        reach = math.exp(1.96 * THETA.spread[:, j].mean())
        assert (xs.min(), xs.max()) == pytest.approx((typical.get_xdata()[0] / reach, typical.get_xdata()[0] * reach))
    assert [len(c.get_segments()) for c in artists(strips[0], "leaning")] == [1]
    words = shown_in_words(THETA)
    assert words == (
        "ka: typical 1.5 /h, people from 0.8 to 19 /h, box 0.05 to 20 /h, 1 of 3 people leans on an end; "
        "V: typical 31 L, people from 26 to 41 L, box 0.5 to 2000 L"
    )


def test_the_phase_says_how_far_its_first_pair_has_come() -> None:
    shown: Phase = phase()
    words = phase_in_words(shown)
    first, last = ((d @ shown.metric @ d) ** 0.5 for d in (shown.pairs[0, 1] - shown.pairs[0, 0])[[0, -1]])
    assert f"is {100 * last / first:.2g}\u00a0% of the first" in words
    assert f"at most {100 * math.exp(-0.05 * 20):.2g}\u00a0% is promised. Every pair stays" in words
    assert phase_in_words(phase(None)).endswith("No proof is drawn.")


def test_reliability_says_its_errors_and_strays() -> None:
    p, y, pit = events(60)
    numbers = Reliability.of(p, y, pit, event="above 5 mg/L", bins=3, draws=50)
    words = reliability_in_words(numbers)
    for value in (numbers.error.observed, numbers.error.upper, numbers.quantile_error.observed):
        assert f"{value:.3f}" in words
    outside = int(((numbers.fraction < numbers.fraction_band[0]) | (numbers.fraction > numbers.fraction_band[1])).sum())
    assert f"{outside} of 20 points outside their own band" in words


def test_more_points_outside_than_chance_gives_are_evidence_and_the_caption_says_it() -> None:
    p, y, pit = events(60)
    numbers = Reliability.of(p, y, pit, event="above 5 mg/L", bins=3, draws=50)
    strays = numbers.fraction_strays
    few, many = (replace(numbers, curve=replace(numbers.curve, strays=None), fraction_strays=one) for one in (
        replace(strays, observed=strays.upper), replace(strays, observed=strays.upper + 1.0)))  # fmt: skip
    assert strays_in_words(few).startswith("Not more than that is no evidence")
    said = f"(right {strays.upper + 1:.0f}, where chance gives up to {strays.upper:.0f}), which is evidence against"
    assert said in strays_in_words(many)


def test_a_question_says_what_its_panels_say() -> None:
    predictions = {"as given": build(), "more": build(seed=1)}
    words = what_if_in_words(predictions, threshold=5.0, person=1, time_unit="h", beyond={"more": [(0.0, 4.0)]})
    for prediction in predictions.values():
        one = Exceedance.of(prediction, 5.0, person=1, channel=0)
        assert f"median peaks at {one.peak:.3g} mg/L, {one.peak_time:.1f} h" in words
    assert words.count("beyond what was trained from 0 to 4 h") == 1
    assert new_figure(1.0, 1.0).axes == []
