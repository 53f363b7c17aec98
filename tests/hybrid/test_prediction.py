"""Gaussian-mixture predictions against textbook loops, scipy and numerical integration."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, special, stats

from hybrid import mixture as module
from hybrid.mixture import mixture_crps, mixture_quantile
from hybrid.prediction import Prediction

LEVELS = (1e-9, 0.01, 0.1, 0.25, 0.5, 0.6, 0.9, 0.99, 1.0 - 1e-9)
laws = settings(deadline=None, max_examples=40, derandomize=True)


def build(
    M: int = 3, S: int = 2, N: int = 2, T: int = 3, p: int = 2, *, seed: int = 0, spread: float = 1.0, padded: int = 0
) -> Prediction:
    g = torch.Generator().manual_seed(seed)
    shape = (M, S, N, T, p)
    mask = torch.ones(N, T, dtype=torch.bool)
    if padded:
        mask[-1, -padded:] = False
    return Prediction(
        mean=spread * torch.randn(shape, generator=g, dtype=torch.float64),
        variance=torch.exp(torch.randn(shape, generator=g, dtype=torch.float64)),
        times=torch.arange(T, dtype=torch.float64).expand(N, T),
        mask=mask,
        channels=tuple(f"y{i}" for i in range(p)),
        units=("mg/L",) * p,
    )


def single(mean: list[float], sd: list[float]) -> Prediction:
    """One observation, members with these means and standard deviations."""
    shape = (len(mean), 1, 1, 1, 1)
    mu = torch.tensor(mean, dtype=torch.float64).reshape(shape)
    v = torch.tensor(sd, dtype=torch.float64).square().reshape(shape)
    return Prediction(mu, v, torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool), ("y",), ("1",))


def cells(prediction: Prediction):
    """Every observation's place and its components' means and standard deviations."""
    for place in np.ndindex(*prediction.mean.shape[2:]):
        where = (slice(None), slice(None), *place)
        yield place, prediction.mean[where].numpy(), prediction.variance[where].sqrt().numpy()


sizes = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 10_000), st.sampled_from([0.0, 1.0, 30.0, 1e4]))


@laws
@given(sizes)
def test_the_parts_add_up_to_the_mixtures_own_variance(size):
    M, S, seed, spread = size
    prediction = build(M, S, seed=seed, spread=spread)
    for place, mean, sd in cells(prediction):
        centre = np.mean(mean)
        direct = np.mean(sd**2 + (mean - centre) ** 2)  # all M·S components, centred, no law of total variance
        # A dozen float64 roundings of numbers of the same sign: 1e-12 relative leaves three digits to spare.
        assert float(prediction.total[place]) == pytest.approx(direct, rel=1e-12)
        assert float(prediction.point[place]) == pytest.approx(centre, rel=1e-12, abs=1e-12 * max(spread, 1.0))
    parts = prediction.aleatoric + prediction.epistemic + prediction.personal
    assert torch.equal(prediction.total, parts)


def test_each_part_is_its_textbook_loop():
    prediction = build(4, 3)
    M, S = 4, 3
    for place, mean, sd in cells(prediction):
        member = [sum(mean[m]) / S for m in range(M)]
        grand = sum(member) / M
        aleatoric = sum(sd[m, s] ** 2 for m in range(M) for s in range(S)) / (M * S)
        epistemic = sum((x - grand) ** 2 for x in member) / M
        personal = sum((mean[m, s] - member[m]) ** 2 for m in range(M) for s in range(S)) / (M * S)
        within = sum((mean[m, s] - member[m]) ** 2 for m in range(M) for s in range(S)) / (M * (S - 1))
        posterior = sum((x - grand) ** 2 for x in member) / (M - 1) - within / S
        assert float(prediction.aleatoric[place]) == pytest.approx(aleatoric, rel=1e-13)
        assert float(prediction.epistemic[place]) == pytest.approx(epistemic, rel=1e-12)
        assert float(prediction.personal[place]) == pytest.approx(personal, rel=1e-12)
        assert float(prediction.epistemic_posterior[place]) == pytest.approx(posterior, rel=1e-11, abs=1e-13)


def test_members_are_mixed_and_their_parameters_never_averaged():
    # N(−1, 1) and N(+1, 1): the averaged parameters would say variance 1.
    both = single([-1.0, 1.0], [1.0, 1.0])
    assert float(both.total) == pytest.approx(2.0, rel=1e-15)
    assert float(both.epistemic) == float(both.aleatoric) == 1.0
    assert float(both.personal) == 0.0


@laws
@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.floats(-5, 5))
def test_one_member_with_one_draw_is_the_gaussian(mean, sd, z):
    prediction, y = single([mean], [sd]), mean + sd * z
    at, z = torch.full((1, 1, 1), y, dtype=torch.float64), (y - mean) / sd
    density, below = stats.norm.pdf(z), special.ndtr(z)
    crps = sd * (z * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi))
    assert float(prediction.cdf(at)) == pytest.approx(below, rel=1e-12)
    assert float(prediction.log_prob(at)) == pytest.approx(math.log(density / sd), rel=1e-12, abs=1e-12)
    assert float(prediction.exceeds(y)) == pytest.approx(special.ndtr(-z), rel=1e-12)
    assert float(prediction.crps(at)) == pytest.approx(crps, rel=1e-10, abs=1e-13 * sd)
    assert float(prediction.total) == pytest.approx(sd**2, rel=1e-14)
    assert float(prediction.epistemic) == float(prediction.personal) == 0.0
    found = prediction.quantile(LEVELS).reshape(-1).numpy()
    assert found == pytest.approx(mean + sd * special.ndtri(LEVELS), rel=1e-12, abs=1e-12 * (sd + abs(mean)))


def test_functions_of_a_mixture_against_scipy():
    prediction = build(3, 2, spread=2.0, seed=4)
    y = 2.0 * torch.randn(prediction.mean.shape[2:], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = prediction.quantile(LEVELS)
    for place, mean, sd in cells(prediction):
        parts, at = stats.norm(mean.ravel(), sd.ravel()), float(y[place])
        assert float(prediction.cdf(y)[place]) == pytest.approx(parts.cdf(at).mean(), rel=1e-12)
        assert float(prediction.log_prob(y)[place]) == pytest.approx(
            math.log(parts.pdf(at).mean()), rel=1e-12, abs=1e-12
        )
        assert float(prediction.exceeds(y)[place]) == pytest.approx(parts.sf(at).mean(), rel=1e-12)
        for level, quantile in zip(LEVELS, found[(slice(None), *place)], strict=True):
            # The nearer tail, so that the reference does not lose digits where the level is close to one.
            tail, mass = (parts.cdf, level) if level <= 0.5 else (parts.sf, 1.0 - level)

            def excess(x: float, tail=tail, mass=mass) -> float:
                return tail(x).mean() / mass - 1.0

            reference = optimize.brentq(excess, -60.0, 60.0, xtol=1e-14, rtol=1e-14)
            assert float(quantile) == pytest.approx(reference, rel=1e-10, abs=1e-13)


@laws
@given(sizes, st.lists(st.floats(1e-6, 1.0 - 1e-6), min_size=2, max_size=5))
def test_quantile_inverts_the_distribution_function_and_is_monotone(size, levels):
    M, S, seed, spread = size
    prediction, levels = build(M, S, seed=seed, spread=spread), sorted(levels)
    quantiles = prediction.quantile(levels)
    assert bool((quantiles.diff(dim=0) >= -1e-12 * (1.0 + quantiles[1:].abs())).all())
    back = prediction.cdf(quantiles)
    # Far from zero a float64 cannot place y closer than ε|y|, which moves F by at most ε|y| / (σ_min √2π).
    resolution = 4e-16 * quantiles.abs() / prediction.variance.amin((0, 1)).sqrt()
    for level, value, slack in zip(levels, back, resolution, strict=True):
        assert bool(((value - level).abs() <= 1e-12 + slack).all())
    lower, upper = prediction.interval(0.8)
    assert bool((prediction.cdf(upper) - prediction.cdf(lower) - 0.8).abs().max() < 1e-11)


def test_quantile_across_an_empty_gap_between_modes():
    far = single([-100.0, 100.0], [1.0, 1.0])
    middle = float(far.quantile((0.5,)))
    assert -95.0 < middle < 95.0  # F is one half, to the last digit, anywhere in there
    # Below one half only the left mode counts: quantile 0.25 of the mixture is its median.
    assert far.quantile((0.25, 0.75)).reshape(-1).tolist() == pytest.approx([-100.0, 100.0], rel=1e-14)
    needle = single([0.0, 0.0, 50.0], [1e-9, 10.0, 1e3])  # scales twelve decades apart
    levels = [0.001, 0.2, 0.33, 0.5, 0.7, 0.999]
    assert needle.cdf(needle.quantile(levels)).reshape(-1).tolist() == pytest.approx(levels, rel=1e-13)


def test_quantile_keeps_relative_precision_far_out_in_both_tails():
    mean, variance = (
        torch.tensor([[0.0], [0.3]], dtype=torch.float64),
        torch.tensor([[1.0], [0.5]], dtype=torch.float64),
    )
    low = mixture_quantile(1e-200, mean, variance)
    tail = 0.5 * stats.norm.cdf(float(low)) + 0.5 * stats.norm.cdf(float(low), 0.3, math.sqrt(0.5))
    assert tail == pytest.approx(1e-200, rel=1e-9, abs=0.0)  # F moves by z² ≈ 900 times the relative error of y
    prediction = single([0.0, 0.5], [1.0, 1.0])
    expected = 0.5 * stats.norm.sf(20.0) + 0.5 * stats.norm.sf(19.5)
    assert float(prediction.exceeds(20.0)) == pytest.approx(expected, rel=1e-10, abs=0.0)


def test_crps_is_the_integral_that_defines_it():
    prediction = build(3, 2, 1, 2, 1, seed=2, spread=2.0)
    y = torch.tensor([[[0.4], [-2.0]]], dtype=torch.float64)
    for place, mean, sd in cells(prediction):
        parts, at = stats.norm(mean.ravel(), sd.ravel()), float(y[place])
        left = integrate.quad(lambda z, parts=parts: parts.cdf(z).mean() ** 2, -60, at, epsabs=1e-12, limit=300)[0]
        right = integrate.quad(lambda z, parts=parts: parts.sf(z).mean() ** 2, at, 60, epsabs=1e-12, limit=300)[0]
        assert float(prediction.crps(y)[place]) == pytest.approx(left + right, abs=1e-9)


def test_crps_and_log_score_of_the_printed_mixture():
    prediction, y = single([0.0, -2.9, 0.9], [0.5, 1.4, 0.7]), torch.full((1, 1, 1), 0.3, dtype=torch.float64)
    # Printed to seven digits by an independent library.
    assert float(prediction.crps(y)) == pytest.approx(0.4510451, abs=5e-8)
    assert -float(prediction.log_prob(y)) == pytest.approx(1.019742, abs=5e-7)


@laws
@given(st.integers(1, 6), st.integers(0, 10_000), st.floats(-100, 100))
def test_crps_is_its_double_sum_and_never_negative(K, seed, at):
    g = torch.Generator().manual_seed(seed)
    mean, sd = (
        3 * torch.randn(K, 1, generator=g, dtype=torch.float64),
        torch.rand(K, 1, generator=g, dtype=torch.float64) + 0.01,
    )

    def distance(d: float, s: float) -> float:
        return d * (2 * stats.norm.cdf(d / s) - 1) + 2 * s * stats.norm.pdf(d / s)

    mu, s = mean[:, 0].tolist(), sd[:, 0].tolist()
    near = sum(distance(at - a, b) for a, b in zip(mu, s, strict=True)) / K
    pairs = sum(distance(mu[i] - mu[j], math.hypot(s[i], s[j])) for i in range(K) for j in range(K)) / K**2
    found = float(mixture_crps(torch.tensor([at], dtype=torch.float64), mean, sd.square()))
    assert found == pytest.approx(near - pairs / 2, rel=1e-11, abs=1e-12)
    assert found > 0.0


def test_identical_members_have_no_corrected_epistemic_variance():
    # Five members that differ only by the 20 draws each was given: the naive spread is A/S = 1/20.
    M, S, N = 5, 20, 20_000
    g = torch.Generator().manual_seed(3)
    draws = torch.randn((M, S, N, 1, 1), generator=g, dtype=torch.float64)
    mask = torch.ones(N, 1, dtype=torch.bool)
    same = Prediction(draws, torch.ones_like(draws), torch.zeros(N, 1), mask, ("y",), ("1",))
    naive, corrected = same.mean.mean(1).var(0, correction=1), same.epistemic_posterior
    # Standard error of the naive mean over N cells: (1/S)√(2/(M−1))/√N = 2.5e-4; four of them.
    assert float(naive.mean()) == pytest.approx(0.050, abs=1e-3)
    assert abs(float(corrected.mean())) < 1e-3
    assert 0.3 < float((corrected < 0).double().mean()) < 0.8  # an honest estimate of nothing is often below it
    # And with a real spread of variance 0.3 between members, the estimate finds it.
    offset = math.sqrt(0.3) * torch.randn((M, 1, N, 1, 1), generator=g, dtype=torch.float64)
    differing = replace(same, mean=draws + offset)
    assert float(differing.epistemic_posterior.mean()) == pytest.approx(0.3, abs=4 * 0.35 * math.sqrt(0.5 / N))


def test_corrected_epistemic_variance_at_the_edges():
    several = build(4, 1)
    expected = several.mean[:, 0].var(0, correction=1)
    assert torch.allclose(several.epistemic_posterior, expected, rtol=1e-14)
    assert bool(build(1, 3).epistemic_posterior.isnan().all())


def test_a_path_keeps_its_member_and_draw():
    quiet = build(3, 4, 2, 6, 1, seed=5)
    quiet = replace(quiet, variance=torch.full_like(quiet.mean, 1e-18))
    paths = quiet.sample(4000, torch.Generator().manual_seed(0))
    components = quiet.mean.reshape(12, 2, 6, 1)
    apart = (paths[:, None] - components).abs().amax((-2, -1))  # (count, 12, N): over the whole path
    assert bool((apart.amin(1) < 1e-7).all())
    which = apart.argmin(1)
    for person in range(2):
        counts = torch.bincount(which[:, person], minlength=12).numpy()
        assert stats.chisquare(counts).pvalue > 1e-4
    both = torch.bincount(12 * which[:, 0] + which[:, 1], minlength=144).numpy()
    assert stats.chisquare(both).pvalue > 1e-4  # two people's components are independent ...
    shared = quiet.sample(500, torch.Generator().manual_seed(0), shared_member=True)
    which = (shared[:, None] - components).abs().amax((-2, -1)).argmin(1) // 4
    assert torch.equal(which[:, 0], which[:, 1])  # ... unless the member is the cohort's


def test_sampled_moments_coverage_and_repeatability():
    prediction = build(3, 2, 1, 2, 1, seed=6, padded=1)
    count = 40_000
    paths = prediction.sample(count, torch.Generator().manual_seed(1))
    assert paths.shape == (count, 1, 2, 1)
    assert bool(paths[:, 0, 1].isnan().all())
    real, sd = paths[:, 0, 0, 0], float(prediction.total[0, 0].sqrt())
    # Four standard errors: sd/√count of the mean, and about var·√(3/count) of the variance (kurtosis ≤ 4 here).
    assert float(real.mean()) == pytest.approx(float(prediction.point[0, 0]), abs=4 * sd / math.sqrt(count))
    assert float(real.var()) == pytest.approx(sd**2, rel=4 * math.sqrt(3 / count))
    lower, upper = prediction.interval(0.8)
    inside = ((paths >= lower) & (paths <= upper))[:, 0, 0].double().mean()
    assert float(inside) == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / count))
    again = prediction.sample(count, torch.Generator().manual_seed(1))
    assert torch.equal(again[:, :, 0], paths[:, :, 0])


def test_padding_is_never_looked_at_and_comes_out_missing():
    clean = build(padded=2)
    mean, variance = clean.mean.clone(), clean.variance.clone()
    mean[..., -1, -2:, :], variance[..., -1, -2:, :] = torch.nan, -1.0
    dirty = replace(clean, mean=mean, variance=variance)
    y = torch.zeros(clean.mean.shape[2:], dtype=torch.float64)
    for name in ("point", "aleatoric", "epistemic", "personal", "total", "epistemic_posterior"):
        ours, theirs = getattr(dirty, name), getattr(clean, name)
        assert torch.equal(ours.isnan(), ~clean.mask[..., None].expand_as(ours))
        assert torch.equal(ours[clean.mask], theirs[clean.mask])
    for name in ("cdf", "log_prob", "crps"):
        assert torch.equal(getattr(dirty, name)(y)[clean.mask], getattr(clean, name)(y)[clean.mask])
        assert bool(getattr(dirty, name)(y)[~clean.mask].isnan().all())
    assert torch.equal(dirty.quantile((0.3,))[:, clean.mask], clean.quantile((0.3,))[:, clean.mask])
    nothing = replace(clean, mask=torch.zeros_like(clean.mask))
    assert bool(nothing.quantile((0.5,)).isnan().all())
    assert bool(nothing.crps(y).isnan().all())


def test_missing_observations_and_leading_axes():
    prediction = build()
    y = torch.randn((5, *prediction.mean.shape[2:]), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y[2, 1, 0, 1] = torch.nan
    for name in ("cdf", "log_prob", "crps"):
        function = getattr(prediction, name)
        together = function(y)
        assert torch.equal(together.isnan(), y.isnan())
        assert torch.allclose(together[0], function(y[0]), rtol=1e-14, atol=0.0)


def test_blocks_do_not_change_results(monkeypatch):
    prediction, y = build(3, 2, 4, 5, 2), torch.zeros(4, 5, 2, dtype=torch.float64)
    whole = prediction.crps(y), prediction.cdf(y), prediction.quantile((0.1, 0.7))
    monkeypatch.setattr(module, "BLOCK", 7)
    for a, b in zip(whole, (prediction.crps(y), prediction.cdf(y), prediction.quantile((0.1, 0.7))), strict=True):
        assert torch.allclose(a, b, rtol=1e-13, atol=1e-14)


def test_scores_are_differentiable():
    g = torch.Generator().manual_seed(0)
    mean = torch.randn(2, 2, 1, 2, 1, generator=g, dtype=torch.float64, requires_grad=True)
    log_variance = torch.randn(2, 2, 1, 2, 1, generator=g, dtype=torch.float64, requires_grad=True)
    y = torch.randn(1, 2, 1, generator=g, dtype=torch.float64)

    def scores(mean, log_variance):
        mask = torch.ones(1, 2, dtype=torch.bool)
        p = Prediction(mean, log_variance.exp(), torch.zeros(1, 2), mask, ("y",), ("1",))
        return p.log_prob(y), p.crps(y), p.cdf(y), p.total

    assert torch.autograd.gradcheck(scores, (mean, log_variance))


def test_crossing_at_one_time_is_the_exceedance_there():
    prediction = build(4, 3, 3, 5, 2, spread=1.5, padded=2)
    for t in range(5):
        found = prediction.during(t, t).crosses(0.7)
        expected = prediction.exceeds(0.7)[:, t]
        assert torch.allclose(found, expected, rtol=1e-11, atol=0.0, equal_nan=True)
    low = prediction.during(0, 0).crosses(0.7, side="below")
    assert torch.allclose(low, prediction.cdf(torch.full((3, 5, 2), 0.7))[:, 0], rtol=1e-11)
    assert bool(prediction.during(3, 4).crosses(0.7)[-1].isnan().all())  # the last person has no time there


def test_crossing_a_window_is_the_share_of_drawn_paths_that_do():
    prediction = build(3, 2, 2, 6, 2, seed=8, padded=1)
    threshold, count = torch.tensor([1.0, 2.0], dtype=torch.float64), 40_000
    paths = prediction.sample(count, torch.Generator().manual_seed(2))
    for start, end in ((0.0, 5.0), (1.0, 3.0), (4.0, 9.0)):
        inside = (prediction.times >= start) & (prediction.times <= end) & prediction.mask
        window = prediction.during(start, end)
        for side, beyond in (("above", paths > threshold), ("below", paths < threshold)):
            share = (beyond & inside[..., None]).any(2).double().mean(0)
            found = window.crosses(threshold, side=side)
            sd = (found * (1.0 - found) / count).sqrt()
            assert bool(((share - found).abs() <= 4.5 * sd + 1e-12).all())  # eight numbers a window
    assert bool((prediction.during(1, 3).crosses(1.0) <= prediction.crosses(1.0)).all())


def test_crossing_keeps_the_member_along_the_path_and_the_noise_apart():
    # Two members, one always at 3 and one always at 0: the mean path crosses 2 with probability one half, however long.
    mean = torch.zeros(2, 1, 1, 50, 1, dtype=torch.float64)
    mean[1] = 3.0
    p = Prediction(mean, torch.full_like(mean, 0.01), torch.arange(50.0)[None], torch.ones(1, 50) > 0, ("y",), ("1",))
    assert float(p.crosses(2.0, measured=False)) == 0.5
    assert float(p.crosses(2.0)) == pytest.approx(0.5, abs=1e-12)
    independent = 1.0 - float((1.0 - p.exceeds(2.0)).prod())
    assert independent == pytest.approx(1.0)  # what marginal probabilities multiplied would say
    # Far out: fifty times a tail that 1 − Π would round to zero.
    far = replace(p, mean=torch.zeros_like(mean), variance=torch.ones_like(mean))
    assert float(far.crosses(20.0)) == pytest.approx(50 * stats.norm.sf(20.0), rel=1e-10, abs=0.0)
    with pytest.raises(ValueError, match="write \"above\" or \"below\""):
        p.crosses(1.0, side="up")
    with pytest.raises(ValueError, match="no later than its end"):
        p.during(2.0, 1.0)


def test_selecting_members_and_people():
    prediction = build(4, 2, 3, 3, 2, padded=1)
    some = prediction.members([2, 0])
    assert torch.equal(some.mean, prediction.mean[[2, 0]])
    assert torch.equal(prediction.members(torch.tensor([True, False, False, True])).mean, prediction.mean[[0, 3]])
    one = prediction.people([2])
    assert torch.equal(one.mean, prediction.mean[:, :, 2:])
    assert torch.equal(one.mask, prediction.mask[2:])
    y = torch.zeros(3, 3, 2, dtype=torch.float64)
    # A vectorised loop may round its remainder differently, so equal up to a few last digits.
    assert torch.allclose(one.cdf(y[2:])[0, :2], prediction.cdf(y)[2, :2], rtol=1e-14, atol=0.0)
    for wrong in ([], [4], [-5], [0.5], [[0]], [True]):
        with pytest.raises(ValueError, match="member indices"):
            prediction.members(wrong)
    with pytest.raises(ValueError, match="person indices"):
        prediction.people([3])


def test_float32_is_promoted():
    prediction = build()
    assert replace(prediction, mean=prediction.mean.float()).point.dtype == torch.float64


@pytest.mark.parametrize(
    ("field", "change", "sentence"),
    [
        ("mean", lambda v: v[:, 0], "members, draws, people, times, channels"),
        ("variance", lambda v: v[:1], "members, draws, people, times, channels"),
        ("mean", lambda v: v.fill_(torch.inf), "mean holds values that are not finite"),
        ("variance", lambda v: v * 0.0, "finite and positive"),
        ("variance", lambda v: v * torch.nan, "finite and positive"),
        ("variance", lambda v: v + torch.inf, "finite and positive"),
        ("times", lambda v: v[:, :1], "times has shape"),
        ("mask", lambda v: v[:1], "times has shape"),
        ("mask", lambda v: v.double(), "torch.bool"),
        ("channels", lambda v: v[:1], "channel names"),
        ("units", lambda v: (*v, "h"), "channel names"),
    ],
)
def test_bad_parts_are_refused(field, change, sentence):
    prediction = build()
    with pytest.raises(ValueError, match=sentence):
        replace(prediction, **{field: change(getattr(prediction, field))})


def test_bad_arguments_are_refused():
    prediction = build()
    with pytest.raises(ValueError, match="Observations have shape"):
        prediction.cdf(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="Observations have shape"):
        prediction.crps(torch.zeros(3, 2, 2))
    for level in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="strictly between 0 and 1"):
            prediction.quantile((level,))
        with pytest.raises(ValueError, match="strictly between 0 and 1"):
            prediction.interval(level)
    with pytest.raises(ValueError, match="at least 1"):
        prediction.sample(0, torch.Generator())
