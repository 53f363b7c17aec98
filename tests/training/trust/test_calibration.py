"""Calibration errors against printed vectors, naive loops, and the scores of forecasters known to be perfect."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from training.trust.calibration import (
    calibration_null_band,
    describe_convention,
    ence,
    ence_null_band,
    expected_calibration_error,
    partition,
    quantile_calibration_error,
    quantile_null_band,
    reliability_curve,
    zms,
)

laws = settings(deadline=None, max_examples=50, derandomize=True)
P, Y = [0.25, 0.25, 0.55, 0.75, 0.75], [0, 0, 1, 1, 1]


def torch_generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("norm", "value"), [(1, 0.2900), (2, 0.2918), (np.inf, 0.3167)])
def test_printed_equal_width_vectors(norm, value):
    # Printed to four digits by torchmetrics; the exact values are 0.29, √(0.0851666…) and 0.95/3.
    assert expected_calibration_error(P, Y, bins=2, binning="width", norm=norm) == pytest.approx(value, abs=5e-5)
    exact = {1: 0.29, 2: math.sqrt(0.4 * 0.0625 + 0.6 * (0.95 / 3) ** 2), np.inf: 0.95 / 3}[norm]
    assert expected_calibration_error(P, Y, bins=2, binning="width", norm=norm) == pytest.approx(exact, rel=1e-14)


def test_printed_equal_mass_vectors():
    assert expected_calibration_error([0.1, 0.7], [0, 1], bins=2) == pytest.approx(0.2, rel=1e-14)
    four = [0.6, 0.7, 0.8, 0.9], [0, 0, 1, 1]
    assert expected_calibration_error(*four, bins=2) == pytest.approx(0.4, rel=1e-14)
    assert expected_calibration_error(*four, bins=2, binning="width") == pytest.approx(0.25, rel=1e-14)


def naive_bins(p: list[float], bins: int, binning: str) -> list[list[int]]:
    """Members of each bin, [lo, hi) with the last one closed, edge by edge."""
    if binning == "width":
        edges = [b / bins for b in range(1, bins)]
    else:
        ordered = sorted(p)
        edges = [ordered[min(math.ceil(len(p) * b / bins), len(p) - 1)] for b in range(1, bins)]
    lows, highs = [-math.inf, *edges], [*edges, math.inf]
    inside = [[i for i, x in enumerate(p) if low <= x < high] for low, high in zip(lows, highs, strict=True)]
    return [members for members in inside if members]


def naive_error(p: list[float], y: list[int], bins: int, binning: str, norm: float, debias: bool) -> float:
    total, largest = 0.0, 0.0
    for members in naive_bins(p, bins, binning):
        n = len(members)
        mean_y = math.fsum(y[i] for i in members) / n
        gap = abs(mean_y - math.fsum(p[i] for i in members) / n)
        largest = max(largest, gap)
        if norm == 1:
            total += n / len(p) * gap
        elif debias:
            total += n / len(p) * (gap**2 - mean_y * (1 - mean_y) / (n - 1)) if n > 1 else 0.0
        else:
            total += n / len(p) * gap**2
    return largest if norm == np.inf else total if norm == 1 else math.sqrt(max(total, 0.0))


# Tenths make ties, and values on the edges of ten bins; the continuous ones make neither.
chances = st.one_of(st.integers(0, 10).map(lambda k: k / 10), st.floats(0.0, 1.0))
forecasts = st.lists(st.tuples(chances, st.integers(0, 1)), min_size=1, max_size=40)
conventions = st.sampled_from([(1, False), (2, False), (2, True), (np.inf, False)])


@laws
@given(
    forecasts, st.integers(1, 20), st.sampled_from(["mass", "width"]), conventions, st.randoms(use_true_random=False)
)
def test_error_is_the_naive_loop_in_any_order_with_gaps(pairs, bins, binning, convention, random):
    norm, debias = convention
    p, y = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    value = expected_calibration_error(p, y, bins=bins, binning=binning, norm=norm, debias=debias)
    # Squares of gaps near 1e-16 floor or root differently in the two orders of summation: hence 1e-7 absolute in L2.
    tolerance = {"rel": 1e-12, "abs": 1e-7 if norm == 2 else 1e-14}
    assert value == pytest.approx(naive_error(p, y, bins, binning, norm, debias), **tolerance)
    assert 0.0 <= value <= 1.0
    shuffled = [*pairs, (0.3, math.nan), (math.nan, math.nan)]
    random.shuffle(shuffled)
    again = expected_calibration_error(
        torch.tensor([pair[0] for pair in shuffled], dtype=torch.float64)[:, None],
        torch.tensor([pair[1] for pair in shuffled], dtype=torch.float64)[:, None],
        bins=bins,
        binning=binning,
        norm=norm,
        debias=debias,
    )
    assert again == pytest.approx(value, **tolerance)


@laws
@given(st.lists(chances, min_size=1, max_size=60), st.integers(1, 20))
def test_equal_mass_bins_never_split_ties_and_are_equal_without_them(values, bins):
    p = np.array(values)
    parts = partition(p, bins=bins)
    groups = np.split(p[parts.order], parts.starts[1:])
    assert sum(parts.counts) == len(p)
    assert all(left.max() < right.min() for left, right in itertools.pairwise(groups))
    if len(np.unique(p)) == len(p):
        assert max(parts.counts) - min(parts.counts) <= 1


def test_a_constant_forecaster_is_one_bin_and_edges_belong_to_the_bin_above():
    assert partition(np.full(100, 0.1), bins=15).counts.tolist() == [100]
    assert partition(np.array([0.0, 0.3, 1.0]), bins=10, binning="width").counts.tolist() == [1, 1, 1]
    # 0.3 starts the bin [0.3, 0.4) although 3 × 0.1 > 0.3 in float64; 1.0 closes the last bin.
    assert partition(np.array([0.3, 0.35]), bins=10, binning="width").counts.tolist() == [2]
    assert partition(np.array([0.95, 1.0]), bins=10, binning="width").counts.tolist() == [2]


def test_debiased_error_by_hand():
    # One bin: gap 3/4 − 1/10, noise (3/4)(1/4)/(4 − 1); 0.65² − 0.0625 = 0.6².
    assert expected_calibration_error([0.1] * 4, [1, 1, 0, 1], norm=2, debias=True) == pytest.approx(0.6, rel=1e-14)
    # Two events that say nothing: the noise exceeds the gap, and the root is of zero.
    assert expected_calibration_error([0.5] * 2, [0, 1], norm=2, debias=True) == 0.0


def test_debiasing_removes_the_bias_of_the_square():
    # A forecaster wrong by 0.1 everywhere: L2 is 0.1 with any number of bins, but the plain estimate grows with them.
    rng = np.random.default_rng(0)
    p = rng.uniform(0.2, 0.7, 4000)
    plain, debiased = [], []
    for _ in range(50):
        y = (rng.uniform(size=p.size) < p + 0.1).astype(float)
        plain.append(expected_calibration_error(p, y, bins=200, norm=2) ** 2)
        debiased.append(expected_calibration_error(p, y, bins=200, norm=2, debias=True) ** 2)
    # Twenty per bin at p(1−p) ≈ 0.23 add 0.0115. Standard error of the mean of 50: measured below, four of them.
    assert np.mean(plain) == pytest.approx(0.0215, abs=0.002)
    assert np.mean(debiased) == pytest.approx(0.01, abs=4 * np.std(debiased) / math.sqrt(50))


def test_convention_in_words():
    assert describe_convention() == (
        "expected calibration error, L1, 15 equal-mass bins (ties never split) [lo, hi), last bin closed, empty bins skipped"
    )
    text = describe_convention(bins=10, binning="width", norm=2, debias=True)
    assert "L2 debiased" in text
    assert "10 equal-width bins" in text


@pytest.mark.parametrize(
    ("n", "rare", "constant"), [(200, 0.0525, 0.016), (1000, 0.0239, 0.0075), (5000, 0.0108, 0.0032)]
)
def test_null_band_of_a_rare_event_forecaster(n, rare, constant):
    # The distribution behind the printed values is not known; Beta(0.9, 8.1) has their base rate, one in ten, and a
    # plausible spread. 15 % covers the difference of shape; the fall with √n and the size are the claim.
    p = stats.beta(0.9, 8.1).ppf((np.arange(n) + 0.5) / n)
    band = calibration_null_band(p, generator=torch_generator(), draws=400)
    assert band.mean == pytest.approx(rare, rel=0.15)
    assert band.lower < band.mean < band.upper
    # The base-rate forecaster has one bin: E|ȳ − p| ≈ √(2p(1−p)/πn). It wins on this measure and knows nothing.
    flat = calibration_null_band(np.full(n, 0.09), generator=torch_generator(), draws=2000)
    assert flat.mean == pytest.approx(math.sqrt(2 * 0.09 * 0.91 / (math.pi * n)), rel=0.07)
    assert flat.mean == pytest.approx(constant, rel=0.15)


def test_null_band_is_the_distribution_of_the_error():
    # Two events, two bins, so four outcomes: the exact mean is |0.1| and |0.7| errors averaged by hand.
    p = np.array([0.1, 0.7])
    exact = 0.5 * (0.1 * 0.9 + 0.9 * 0.1) + 0.5 * (0.7 * 0.3 + 0.3 * 0.7)
    band = calibration_null_band(p, bins=2, generator=torch_generator(1), draws=20_000)
    assert band.mean == pytest.approx(exact, abs=4 * 0.2 / math.sqrt(20_000))
    assert (band.observed, band.level, band.draws) == (None, 0.95, 20_000)


def test_perfect_forecasters_fall_inside_their_band_and_wrong_ones_above():
    rng = np.random.default_rng(2)
    p = rng.beta(1.0, 4.0, 400)
    inside = 0
    for repeat in range(200):
        y = (rng.uniform(size=p.size) < p).astype(float)
        band = calibration_null_band(p, outcome=y, generator=torch_generator(repeat), draws=300)
        assert band.observed == expected_calibration_error(p, y)
        inside += band.lower <= band.observed <= band.upper
    assert stats.binomtest(inside, 200, 0.95).pvalue > 1e-3
    wrong = calibration_null_band(
        p, outcome=(rng.uniform(size=400) < p**0.5).astype(float), generator=torch_generator()
    )
    assert wrong.observed > 2 * wrong.upper


def test_events_of_one_patient_need_joint_draws_and_then_have_a_wider_band():
    rng = np.random.default_rng(3)
    people, times, R = 40, 25, 2000
    p = np.broadcast_to(rng.uniform(0.1, 0.5, people)[:, None], (people, times))
    # One uniform number per person and draw: the events of a person happen together or not at all.
    joint = np.broadcast_to(rng.uniform(size=(R, people, 1)) < p, (R, people, times)).astype(float)
    patient = np.arange(people)[:, None]
    with pytest.raises(ValueError, match="1000 observations belong to 40 groups and no joint draws"):
        calibration_null_band(p, groups=patient, generator=torch_generator())
    independent = calibration_null_band(p, generator=torch_generator())
    whole = calibration_null_band(p, joint=joint, generator=torch_generator())
    by_person = calibration_null_band(p, joint=joint[:200], groups=patient, draws=2000, generator=torch_generator())
    assert whole.draws == 2000
    # Effectively 40 events instead of 1,000; recombining 200 draws by patient gives what 2,000 whole draws do.
    assert whole.mean > 2.5 * independent.mean
    assert by_person.mean == pytest.approx(whole.mean, rel=0.05)
    assert by_person.upper == pytest.approx(whole.upper, rel=0.08)
    # Two draws, everyone or no one. Whole rows miss by one half; recombined by patient they are 40 fair coins.
    coins, half = np.repeat([[[0.0]], [[1.0]]], people, axis=1), np.full((people, 1), 0.5)
    assert calibration_null_band(half, joint=coins, generator=torch_generator()).mean == 0.5
    by_coin = calibration_null_band(half, joint=coins, groups=patient, generator=torch_generator())
    assert by_coin.mean == pytest.approx(math.sqrt(0.5 / (math.pi * people)), rel=0.1)
    alone = calibration_null_band(
        p[:, 0], groups=np.array([f"patient {i}" for i in range(people)]), generator=torch_generator()
    )
    assert alone.mean == calibration_null_band(p[:, 0], generator=torch_generator()).mean  # one event each: independent


def test_joint_draws_of_independent_events_give_the_independent_band_and_gaps_are_left_out():
    rng = np.random.default_rng(4)
    p = rng.uniform(0.0, 1.0, 300)
    outcome = (rng.uniform(size=300) < p).astype(float)
    outcome[::3] = math.nan
    forecast = np.where(np.isnan(outcome), math.nan, p)
    joint = np.where(np.isnan(outcome), math.nan, (rng.uniform(size=(2000, 300)) < p).astype(float))
    band = calibration_null_band(forecast, outcome=outcome, joint=joint, generator=torch_generator())
    here = ~np.isnan(outcome)
    reference = calibration_null_band(p[here], outcome=outcome[here], generator=torch_generator(), draws=2000)
    assert band.mean == pytest.approx(reference.mean, rel=0.03)
    assert band.observed == reference.observed


def test_reliability_curve_is_the_naive_bins_with_a_band():
    rng = np.random.default_rng(5)
    p = np.round(rng.uniform(size=500), 2)
    y = (rng.uniform(size=500) < p).astype(float)
    curve = reliability_curve(p, y, bins=12, generator=torch_generator(), draws=4000)
    for b, members in enumerate(naive_bins(p.tolist(), 12, "mass")):
        assert curve.count[b] == len(members)
        assert curve.mean_probability[b] == pytest.approx(p[members].mean(), rel=1e-13)
        assert curve.mean_outcome[b] == pytest.approx(y[members].mean(), rel=1e-13)
        spread = math.sqrt((p[members] * (1 - p[members])).sum()) / len(members)
        # Counts are whole numbers, so an end of the band may be one event off the Gaussian one.
        slack = 0.25 * spread + 1.0 / len(members)
        assert curve.null_lower[b] == pytest.approx(p[members].mean() - 1.96 * spread, abs=slack)
        assert curve.null_upper[b] == pytest.approx(p[members].mean() + 1.96 * spread, abs=slack)
    assert reliability_curve(p, y).null_lower is None
    weighted = (curve.count * np.abs(curve.mean_outcome - curve.mean_probability)).sum() / 500
    assert weighted == pytest.approx(expected_calibration_error(p, y, bins=12), rel=1e-12)


@pytest.mark.parametrize("norm", [1, 2, np.inf])
def test_quantile_calibration_is_the_naive_fraction(norm):
    rng = np.random.default_rng(6)
    y, J = rng.normal(0.3, 1.4, 200), 9
    gaps = []
    for j in range(1, J + 1):
        level = (j - 0.5) / J
        gaps.append(abs(np.mean(y <= stats.norm.ppf(level)) - level))  # by quantiles, where ours goes by transforms
    reference = {1: np.mean(gaps), 2: math.sqrt(np.mean(np.square(gaps))), np.inf: max(gaps)}[norm]
    assert quantile_calibration_error(stats.norm.cdf(y), levels=J, norm=norm) == pytest.approx(reference, rel=1e-12)


def test_quantile_calibration_is_one_sided_and_small_for_an_even_spread():
    even = (np.arange(50) + 0.5) / 50
    assert quantile_calibration_error(even) <= 1 / 100 + 1e-12
    # All observations below every quantile: a mirrored measure would call this symmetric; every level is wrong by 1 − level.
    assert quantile_calibration_error(np.zeros(10)) == pytest.approx(0.5, rel=1e-12)
    # An observation at its quantile counts as below it: one of three at or below the median, and a missing one.
    assert quantile_calibration_error([0.5, 0.9, 0.95, math.nan], levels=1) == pytest.approx(1 / 6, rel=1e-12)


def test_quantile_null_band_independent_and_clustered():
    rng = np.random.default_rng(7)
    n, J = 500, 20
    band = quantile_null_band(rng.uniform(size=n), generator=torch_generator(), draws=1000)
    grid = (np.arange(J) + 0.5) / J
    expected = np.mean(np.sqrt(2 / math.pi * grid * (1 - grid) / n))  # mean |N(0, a(1−a)/n)| over levels
    assert band.mean == pytest.approx(expected, rel=0.05)
    assert band.lower <= band.observed <= 1.5 * band.upper
    clustered = np.repeat(rng.uniform(size=(1000, 50, 1)), 10, axis=2)
    wide = quantile_null_band(np.repeat(rng.uniform(size=(50, 1)), 10, 1), joint=clustered, generator=torch_generator())
    assert wide.mean == pytest.approx(expected * math.sqrt(10), rel=0.1)
    by_group = quantile_null_band(
        rng.uniform(size=(50, 10)), joint=clustered[:100], groups=np.arange(50)[:, None], generator=torch_generator()
    )
    assert by_group.mean == pytest.approx(wide.mean, rel=0.1)


def test_normalised_error_grows_with_the_root_of_bins_as_printed():
    rng = np.random.default_rng(8)
    variance = rng.uniform(0.5, 2.0, 10_000) ** 2
    error = variance * rng.normal(size=10_000) ** 2
    for bins, printed in ((10, 0.019), (40, 0.033), (160, 0.068), (640, 0.144)):
        band = ence_null_band(variance, error, bins=bins, generator=torch_generator(), draws=100)
        # Printed from one data set each, of unstated variances. A bin of n/b errors with nearly equal σ has RMSE/RMV − 1 of
        # standard deviation √(b/2n), so the mean is ≈ √(b/πn).
        assert band.mean == pytest.approx(math.sqrt(bins / (math.pi * 10_000)), rel=0.08)
        assert band.mean == pytest.approx(printed, rel=0.15)
        assert band.observed == ence(variance, error, bins=bins)
        assert 0.7 * band.lower < band.observed < 1.3 * band.upper


def test_normalised_error_and_mean_square_are_their_naive_loops():
    rng = np.random.default_rng(9)
    variance, error = rng.uniform(0.5, 2.0, 40), rng.uniform(0.0, 3.0, 40)
    order, total = np.argsort(variance), 0.0
    for members in np.split(order, 8):
        rmv, rmse = math.sqrt(np.mean(variance[members])), math.sqrt(np.mean(error[members]))
        total += abs(rmse - rmv) / rmv / 8
    assert ence(variance, error, bins=8) == pytest.approx(total, rel=1e-12)
    assert zms(variance, error) == pytest.approx(np.mean(error / variance), rel=1e-13)
    assert zms([1.0, 2.0, 5.0], [1.0, 2.0, math.nan]) == 1.0
    assert ence(np.ones(30), np.full(30, 4.0)) == pytest.approx(1.0, rel=1e-14)  # errors twice as large as said
    joint = np.stack([error, variance])  # one replicate is the data themselves, one is perfect
    band = ence_null_band(variance, error, bins=8, joint=joint, generator=torch_generator())
    assert band.mean == pytest.approx(total / 2, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: expected_calibration_error([1.2], [1]), r"lie in \[0, 1\]"),
        (lambda: expected_calibration_error([-0.1], [1]), r"lie in \[0, 1\]"),
        (lambda: expected_calibration_error([0.5], [0.5]), "neither 0 nor 1"),
        (lambda: expected_calibration_error([0.5, 0.5], [1]), "need the same shape"),
        (lambda: expected_calibration_error([math.nan], [1]), "not finite where something was observed"),
        (lambda: expected_calibration_error([0.5], [math.nan]), "at least one"),
        (lambda: expected_calibration_error([], []), "at least one"),
        (lambda: expected_calibration_error([0.5], [1], bins=0), "0 bins"),
        (lambda: expected_calibration_error([0.5], [1], binning="mas"), "binning is"),
        (lambda: expected_calibration_error([0.5], [1], norm=3), "norm is 3"),
        (lambda: expected_calibration_error([0.5], [1], debias=True), "write norm=2"),
        (lambda: describe_convention(norm=0), "norm is 0"),
        (lambda: calibration_null_band([0.5], generator=torch_generator(), draws=1), "at least 2"),
        (lambda: calibration_null_band([0.5], generator=torch_generator(), level=1.0), "strictly between"),
        (lambda: calibration_null_band([0.5], generator=torch_generator(), joint=np.ones(5)), "joint has shape"),
        (lambda: calibration_null_band([0.5], generator=torch_generator(), joint=np.ones((1, 1))), "joint has shape"),
        (
            lambda: calibration_null_band([0.5], generator=torch_generator(), joint=[[1], [math.nan]]),
            "joint is not finite",
        ),
        (lambda: calibration_null_band([0.5], generator=torch_generator(), groups=[1, 2]), "does not broadcast"),
        (lambda: reliability_curve([0.5], [1], generator=torch_generator(), level=0.0), "strictly between"),
        (lambda: quantile_calibration_error([1.5]), "cdf"),
        (lambda: quantile_calibration_error([0.5], levels=0), "0 levels"),
        (lambda: quantile_calibration_error([math.nan]), "at least one"),
        (lambda: ence([0.0], [1.0]), "above zero"),
        (lambda: zms([1.0], [-1.0]), "not below it"),
        (lambda: zms([-1.0], [1.0]), "above zero"),
        (lambda: zms([1.0, 1.0], [1.0]), "need the same shape"),
        (lambda: ence([1.0], [1.0], bins=0), "0 bins"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_strays_are_counted_beside_those_of_perfect_forecasters():
    """Of K points each with a 95 % band of its own about one in twenty is outside by chance."""
    rng, g = np.random.default_rng(4), torch.Generator().manual_seed(0)
    p = rng.random(900)
    curve = reliability_curve(p, (rng.random(900) < p).astype(float), bins=30, generator=g, draws=4000)
    assert curve.strays is not None
    assert 0.2 < curve.strays.mean < 1.5  # at most 30/20, fewer where counts are coarse
    outside = (curve.mean_outcome < curve.null_lower) | (curve.mean_outcome > curve.null_upper)
    assert curve.strays.observed == outside.sum()
    assert curve.strays.observed <= curve.strays.upper
    turned = reliability_curve(p, (rng.random(900) < 1.0 - p).astype(float), bins=30, generator=g, draws=400)
    assert turned.strays is not None
    assert turned.strays.observed > 20 > turned.strays.upper
    assert reliability_curve(p, np.zeros(900), bins=30).strays is None
