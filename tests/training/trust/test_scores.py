"""Scores against printed vectors, textbook sums, numerical integration and what must hold on average."""

import math
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from hybrid.prediction import Prediction
from training.trust.calibration import ence, ence_null_band, quantile_calibration_error, zms
from training.trust.outcome import Outcome
from training.trust.scores import (
    brier,
    brier_decomposition,
    coverage,
    covered,
    crps_gaussian,
    crps_mixture,
    crps_samples,
    energy_score,
    interval_score,
    nll_gaussian,
    nll_mixture,
    path_coverage,
    pit,
    pooled,
    score_table,
    sharpness,
)

laws = settings(deadline=None, max_examples=40, derandomize=True)
MEAN, SD, TRUE = np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.5, 1.0]), np.array([1.5, 3.0, 2.0])


def test_printed_scores_of_three_gaussians():
    # uncertainty-toolbox, printed to seven digits.
    assert pooled(nll_gaussian(TRUE, MEAN, SD**2)) == pytest.approx(4.9203611, abs=5e-8)
    assert pooled(crps_gaussian(TRUE, MEAN, SD**2)) == pytest.approx(0.5908061, abs=5e-8)
    # Its interval score averages central intervals of 1 %, 2 % … 99 %.
    scores = []
    for level in np.linspace(0.01, 0.99, 99):
        half = special.ndtri(0.5 + level / 2) * SD
        scores.append(pooled(interval_score(TRUE, MEAN - half, MEAN + half, level=level)))
    assert np.mean(scores) == pytest.approx(3.2075570, abs=5e-8)
    # Its calibration errors compare central intervals of 0 … 100 % (100 levels) with their coverage.
    levels, found = np.linspace(0.0, 1.0, 100), []
    for level in levels:
        half = special.ndtri(0.5 + level / 2) * SD
        found.append(float(coverage(TRUE, MEAN - half, MEAN + half)))
    assert np.abs(found - levels).mean() == pytest.approx(0.3733333, abs=5e-8)
    assert math.sqrt(np.square(found - levels).mean()) == pytest.approx(0.4165757, abs=5e-8)


def test_printed_scores_of_a_mixture():
    mean, variance = np.array([[0.0], [-2.9], [0.9]]), np.array([[0.5], [1.4], [0.7]]) ** 2
    assert crps_mixture([0.3], mean, variance) == pytest.approx([0.4510451], abs=5e-8)
    assert nll_mixture([0.3], mean, variance) == pytest.approx([1.019742], abs=5e-7)


@laws
@given(st.integers(1, 5), st.integers(0, 10_000))
def test_mixture_scores_are_their_definitions(K, seed):
    rng = np.random.default_rng(seed)
    mean, sd, y = rng.normal(0, 2, (K, 2)), rng.uniform(0.3, 2.0, (K, 2)), rng.normal(0, 2, 2)
    density = stats.norm.pdf(y, mean, sd).mean(0)
    assert nll_mixture(y, mean, sd**2) == pytest.approx(-np.log(density), rel=1e-12, abs=1e-13)
    assert pit(y, mean, sd**2) == pytest.approx(special.ndtr((y - mean) / sd).mean(0), rel=1e-12)
    # A fine trapezoid of (F − 1[y ≤ z])², on either side of its jump: error h² ≈ 1e-6.
    for j in range(2):
        total = 0.0
        for grid, step in ((np.linspace(-25, y[j], 20_001), 0.0), (np.linspace(y[j], 25, 20_001), 1.0)):
            below = special.ndtr((grid[:, None] - mean[:, j]) / sd[:, j]).mean(1)
            total += integrate.trapezoid((below - step) ** 2, grid)
        assert crps_mixture(y, mean, sd**2)[j] == pytest.approx(total, abs=1e-5)


def test_one_component_is_the_gaussian_and_missing_stays_missing():
    y = np.array([[1.0, math.nan], [0.0, 2.0]])
    mean, variance = np.full((2, 2), 0.5), np.full((2, 2), 2.0)
    mean[0, 1], variance[0, 1] = math.nan, -1.0  # nothing is asked of a forecast where nothing was observed
    for gaussian, mixture in ((nll_gaussian, nll_mixture), (crps_gaussian, crps_mixture)):
        one = gaussian(torch.from_numpy(y), torch.from_numpy(mean), variance)
        assert one.dtype == np.float64
        assert np.isnan(one).tolist() == [[False, True], [False, False]]
        assert np.array_equal(one, mixture(y, mean[None], variance[None]), equal_nan=True)
    z = 0.5 / math.sqrt(2.0)
    by_hand = math.sqrt(2.0) * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))
    assert crps_gaussian(y, mean, variance)[0, 0] == pytest.approx(by_hand, rel=1e-13)
    assert nll_gaussian(y, mean, variance)[0, 0] == pytest.approx(-stats.norm.logpdf(z) + 0.5 * math.log(2), rel=1e-13)


def test_the_mixtures_density_is_not_the_moment_matched_gaussians():
    y, mean, variance = np.zeros(1), np.array([[-1.0], [1.0]]), np.ones((2, 1))
    assert nll_mixture(y, mean, variance)[0] == pytest.approx(0.5 + 0.5 * math.log(2 * math.pi), rel=1e-14)
    assert nll_gaussian(y, np.zeros(1), np.full(1, 2.0))[0] == pytest.approx(0.5 * math.log(4 * math.pi), rel=1e-14)


@laws
@given(st.integers(2, 12), st.integers(0, 10_000), st.floats(-1e6, 1e6))
def test_sample_score_is_its_double_sum_wherever_it_sits(R, seed, offset):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(R, 3)), rng.normal(size=3)
    pairs = np.abs(x[:, None] - x).sum((0, 1)) / (2 * R * (R - 1))
    # The shift costs ε|offset| ≈ 1e-10 in the data themselves.
    assert crps_samples(x + offset, y + offset) == pytest.approx(
        np.abs(x - y).mean(0) - pairs, abs=1e-12 + 1e-15 * abs(offset)
    )
    assert crps_samples(x, y) == pytest.approx(
        energy_score(x[..., None], y[..., None], event_axes=1), rel=1e-11, abs=1e-13
    )


def test_sample_score_is_unbiased_where_the_usual_one_is_not():
    # y and five draws from the same standard normal: E|y − x| − ½E|x − x'| = 1/√π = .564; with 1/M² it reads .677.
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 200_000)), rng.normal(size=200_000)
    fair = crps_samples(x, y)
    error = 4 * fair.std() / math.sqrt(fair.size)
    assert float(pooled(fair)) == pytest.approx(1 / math.sqrt(math.pi), abs=error)
    usual = np.abs(x - y).mean(0) - np.abs(x[:, None] - x).sum((0, 1)) / (2 * 25)
    assert usual.mean() == pytest.approx(0.677, abs=error + 5e-4)
    assert float(pooled(crps_gaussian(y, np.zeros_like(y), np.ones_like(y)))) == pytest.approx(0.564, abs=error + 5e-4)


def test_energy_score_is_its_double_sum_over_what_was_observed():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(7, 3, 4, 2)), rng.normal(size=(3, 4, 2))
    y[0, 1, 0] = y[1, :2, 1] = math.nan
    y[2] = math.nan
    found = energy_score(x, y)
    assert found.shape == (3,)
    for person in range(2):
        here = ~np.isnan(y[person])
        rows, seen = x[:, person][:, here], y[person][here]
        near = np.mean([np.linalg.norm(r - seen) for r in rows])
        apart = sum(np.linalg.norm(a - b) for a in rows for b in rows) / (2 * 7 * 6)
        assert found[person] == pytest.approx(near - apart, rel=1e-12)
    assert math.isnan(found[2])
    assert energy_score(x[:, 0], np.zeros((4, 2))).shape == ()


def test_energy_score_prefers_the_right_dependence_that_marginal_scores_cannot_see():
    rng = np.random.default_rng(2)
    level, noise = rng.normal(size=(400, 200, 1)), rng.normal(size=(400, 200, 6))
    constant, scattered = np.repeat(level, 6, axis=2), noise  # the same standard normal margins at each time
    truth = np.repeat(rng.normal(size=(200, 1)), 6, axis=1)
    right, wrong = energy_score(constant, truth, event_axes=1), energy_score(scattered, truth, event_axes=1)
    gain = wrong - right
    assert gain.mean() > 4 * gain.std() / math.sqrt(200)


def test_coverage_over_axes_with_gaps():
    y = np.array([[[1.0], [5.0], [math.nan]], [[2.0], [0.0], [math.nan]]])  # (N=2, T=3, p=1)
    lower, upper = np.full(y.shape, 1.0), np.full(y.shape, 2.0)
    assert covered(y, lower, upper)[..., 0].tolist()[0][:2] == [1.0, 0.0]  # the interval is closed
    assert float(coverage(y, lower, upper)) == 0.5
    per_horizon = coverage(y, lower, upper, axis=(0, 2))
    assert per_horizon[:2].tolist() == [1.0, 0.0]
    assert math.isnan(per_horizon[2])
    assert float(path_coverage(y, lower, upper)) == 0.0
    assert float(path_coverage(y, lower - 1, upper + 5)) == 1.0
    upper[0] = 9.0
    assert float(path_coverage(y, lower, upper)) == 0.5


def test_interval_score_and_sharpness_by_hand():
    y, lower, upper = np.array([0.0, -1.0, 3.5, math.nan]), np.full(4, -0.5), np.full(4, 1.5)
    score = interval_score(y, lower, upper, level=0.9)
    assert score[:3] == pytest.approx([2.0, 2.0 + 20 * 0.5, 2.0 + 20 * 2.0], rel=1e-12)
    assert math.isnan(score[3])
    assert float(sharpness([0.0, 1.0, math.nan], [1.0, 4.0, math.nan])) == 2.0
    assert sharpness([[0.0, 1.0]], [[1.0, 4.0]], axis=0).tolist() == [1.0, 3.0]


chances = st.one_of(st.integers(0, 10).map(lambda k: k / 10), st.floats(0.0, 1.0))
forecasts = st.lists(st.tuples(chances, st.integers(0, 1)), min_size=1, max_size=40)


@laws
@given(forecasts, st.integers(1, 20), st.sampled_from(["mass", "width"]))
def test_brier_score_is_the_sum_of_its_parts(pairs, bins, binning):
    p, y = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    parts = brier_decomposition(p, y, bins=bins, binning=binning)
    naive = sum((a - b) ** 2 for a, b in pairs) / len(pairs)
    assert parts.score == pytest.approx(naive, rel=1e-13)
    assert brier([*p, 0.2], [*y, math.nan]) == pytest.approx(naive, rel=1e-13)
    whole = (
        parts.reliability
        - parts.resolution
        + parts.uncertainty
        + parts.within_bin_variance
        - parts.within_bin_covariance
    )
    assert whole == pytest.approx(naive, abs=1e-14)
    assert min(parts.reliability, parts.resolution, parts.uncertainty, parts.within_bin_variance) >= 0.0


def test_brier_parts_tell_a_constant_forecaster_from_a_sharp_one():
    rng = np.random.default_rng(3)
    p = rng.choice([0.05, 0.4, 0.8], 3000)
    y = (rng.uniform(size=3000) < p).astype(float)
    sharp, flat = brier_decomposition(p, y, bins=15), brier_decomposition(np.full(3000, y.mean()), y)
    assert flat.resolution == pytest.approx(0.0, abs=1e-30)
    assert flat.score == pytest.approx(flat.uncertainty, rel=1e-12)
    # Three probabilities, each its own bin: nothing is left inside bins, and the resolution is by hand.
    assert sharp.within_bin_variance == pytest.approx(0.0, abs=1e-30)
    assert sharp.within_bin_covariance == pytest.approx(0.0, abs=1e-15)
    by_hand = sum((p == q).mean() * (y[p == q].mean() - y.mean()) ** 2 for q in (0.05, 0.4, 0.8))
    assert sharp.resolution == pytest.approx(by_hand, rel=1e-12)
    assert sharp.resolution > 0.05
    assert len(astuple(sharp)) == 6


def cohort(*, seed: int = 0, S: int = 3) -> tuple[Prediction, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    shape = (4, S, 30, 8, 2)
    mask = torch.ones(30, 8, dtype=torch.bool)
    mask[::4, 6:] = False
    prediction = Prediction(
        mean=torch.randn(shape, generator=g, dtype=torch.float64),
        variance=torch.rand(shape, generator=g, dtype=torch.float64) + 0.2,
        times=torch.arange(8.0).expand(30, 8),
        mask=mask,
        channels=("a", "b"),
        units=("mg/L", "mg/L"),
    )
    y = prediction.sample(1, g)[0]
    y[3, 2, 0] = torch.nan
    return prediction, y


def test_table_is_each_score_on_the_chosen_observations():
    prediction, y = cohort()
    chosen = torch.zeros(30, 8, 2, dtype=torch.bool)
    chosen[:, 2:, 1] = True
    outcome = Outcome(prediction, y, range(30))
    table = score_table(outcome, mask=chosen, levels=(0.5, 0.975))
    kept = torch.where(chosen, y, torch.nan)
    here = ~kept.isnan()
    assert table["count"] == int(here.sum()) == 30 * 6 - 8 * 2
    flat = kept.numpy()
    mean, variance = (v.reshape(12, 30, 8, 2).numpy() for v in (prediction.mean, prediction.variance))
    error, total = (y - prediction.point)[here].numpy() ** 2, prediction.total[here].numpy()
    expected = {
        "nll": pooled(nll_mixture(flat, mean, variance)),
        "crps": pooled(crps_mixture(flat, mean, variance)),
        "rmse": math.sqrt(error.mean()),
        "coverage_50": coverage(flat, *prediction.interval(0.5)),
        "coverage_97.5": coverage(flat, *prediction.interval(0.975)),
        "ence": ence(total, error),
        "zms": zms(total, error),
        "quantile_calibration_error": quantile_calibration_error(pit(flat, mean, variance)),
        "aleatoric_sd": math.sqrt(prediction.aleatoric[here].mean()),
        "epistemic_sd": math.sqrt(prediction.epistemic[here].mean()),
        "personal_sd": math.sqrt(prediction.personal[here].mean()),
    }
    lower, upper = prediction.interval(0.8)
    expected["sharpness_80"] = sharpness(lower[here], upper[here])
    for name, value in expected.items():
        assert table[name] == pytest.approx(float(value), rel=1e-11), name
    assert set(table) == {*expected, "count"}
    assert all(type(value) is float for value in table.values())
    horizon = torch.zeros(30, 8, dtype=torch.bool)
    horizon[:, 2] = True
    assert score_table(outcome, mask=horizon)["count"] == 2 * 30 - 1  # two channels, one observation missing


def test_table_of_a_perfect_forecaster_with_its_reference():
    prediction, _ = cohort(S=1)
    y = prediction.sample(60, torch.Generator().manual_seed(1)).permute(1, 0, 2, 3).reshape(30, -1, 2)
    repeated = replace(
        prediction,
        mean=prediction.mean.repeat(1, 1, 1, 60, 1),
        variance=prediction.variance.repeat(1, 1, 1, 60, 1),
        times=prediction.times.repeat(1, 60),
        mask=prediction.mask.repeat(1, 60),
    )
    table = score_table(Outcome(repeated, y, range(30)), generator=torch.Generator().manual_seed(0))
    n = table["count"]
    for level in (0.5, 0.8, 0.9, 0.95):
        # Observations of one path share a member, so paths of 8 times and 2 channels count for at most 16 times as little.
        assert table[f"coverage_{100 * level:g}"] == pytest.approx(
            level, abs=4 * math.sqrt(level * (1 - level) * 16 / n)
        )
    assert table["zms"] == pytest.approx(1.0, abs=4 * math.sqrt(2 * 16 / n))
    assert table["personal_sd"] == 0.0
    here = ~y.isnan()
    band = ence_null_band(
        repeated.total[here],
        (y - repeated.point)[here] ** 2,
        generator=torch.Generator().manual_seed(0),
        draws=200,
    )
    assert table["ence_reference"] == pytest.approx(band.mean, rel=1e-9)


def test_table_refuses_what_has_no_meaning():
    prediction, y = cohort()
    mixed = replace(prediction, units=("mg/L", "mmol/L"))
    with pytest.raises(ValueError, match=r"different units \(mg/L, mmol/L\)"):
        score_table(Outcome(mixed, y, range(30)))
    one = torch.zeros(30, 8, 2, dtype=torch.bool)
    one[..., 1] = True
    assert score_table(Outcome(mixed, y, range(30)), mask=one) == score_table(Outcome(prediction, y, range(30)), mask=one)
    with pytest.raises(ValueError, match="at least one"):
        score_table(Outcome(prediction, y, range(30)), mask=torch.zeros(30, 8))
    with pytest.raises(ValueError, match="at least one"):
        score_table(Outcome(prediction, torch.full_like(y, torch.nan), range(30)))
    with pytest.raises(ValueError, match="people, times, channels"):
        score_table(Outcome(prediction, y[..., 0], range(30)))
    with pytest.raises(ValueError, match="mask has shape"):
        score_table(Outcome(prediction, y, range(30)), mask=torch.ones(30))
    with pytest.raises(ValueError, match="coverage level of 95"):
        score_table(Outcome(prediction, y, range(30)), levels=(95,))
    with pytest.raises(ValueError, match="infinite values"):
        score_table(Outcome(prediction, y + torch.inf, range(30)))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: nll_mixture([1.0, 2.0], [1.0, 2.0], [1.0, 1.0]), "leading axis of components"),
        (lambda: nll_gaussian([1.0, 2.0], [1.0], [1.0]), "the observations' shape itself"),
        (lambda: crps_gaussian([1.0], [1.0], [0.0]), r"variance \+ floor"),
        (lambda: crps_gaussian([1.0], [math.nan], [1.0]), "mean is not finite"),
        (lambda: crps_gaussian([1.0], [1.0], [math.inf]), r"variance \+ floor"),
        (lambda: crps_samples([1.0, 2.0], [1.0]), "leading axis of at least two draws"),
        (lambda: crps_samples([[1.0]], [1.0]), "leading axis of at least two draws"),
        (lambda: crps_samples([[1.0], [math.nan]], [1.0]), "Samples are not finite"),
        (lambda: energy_score([[1.0], [2.0]], [1.0]), "event_axes is 2"),
        (lambda: coverage([1.0], [0.0, 0.0], [1.0, 1.0]), "need the same"),
        (lambda: coverage([1.0], [2.0], [0.0]), "lower is above upper"),
        (lambda: coverage([1.0], [math.nan], [0.0]), "lower is above upper"),
        (lambda: coverage([math.nan], [0.0], [1.0]), "at least one"),
        (lambda: interval_score([1.0], [0.0], [1.0], level=1.0), "strictly between"),
        (lambda: sharpness([1.0], [0.0]), "upper is below lower"),
        (lambda: brier([1.5], [1]), r"lie in \[0, 1\]"),
        (lambda: brier([0.5], [2]), "neither 0 nor 1"),
        (lambda: brier_decomposition([0.5], [math.nan]), "at least one"),
        (lambda: pooled([math.nan]), "at least one"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
