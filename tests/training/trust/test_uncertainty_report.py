"""The report's bands by simulation, its statistics by naive loops, and the four negative controls."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from hybrid.prediction import Prediction
from training.trust import Horizons, Outcome, PersonNull, innovations, simultaneous_band, uncertainty_report
from training.trust.channel_verdicts import coverage_verdict
from training.trust.controls import AVERAGED, CONSTANT, DROPPED, NOT_MEASURED
from training.trust.innovations import neighbour_sums
from training.trust.recalibration import Scaling, scale_parts
from training.trust.report_parts import Gate


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ids(count: int, prefix: str = "P") -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


def forecast(mean: torch.Tensor, variance: torch.Tensor | float, **changes) -> Prediction:
    """A prediction of one channel from (M, S, N, T)."""
    M, S, N, T = mean.shape
    v = torch.as_tensor(variance, dtype=torch.float64).expand(M, S, N, T)
    t = torch.arange(float(T)).expand(N, T)
    given = Prediction(mean[..., None], v[..., None], t, torch.ones(N, T, dtype=torch.bool), ("y",), ("mg/L",))
    return replace(given, **changes)


def cohort(N: int = 60, T: int = 8, *, seed: int = 0, S: int = 2) -> Prediction:
    """Six members who disagree along the whole path, people who differ, noise that grows with time."""
    g = seeded(seed)
    level = 2.0 * torch.randn((1, 1, N, 1), generator=g, dtype=torch.float64)
    apart = 0.6 * torch.randn((6, 1, N, 1), generator=g, dtype=torch.float64)
    own = 0.4 * torch.randn((6, S, N, 1), generator=g, dtype=torch.float64)
    return forecast(
        (level + apart + own) * (1.0 - 0.05 * torch.arange(float(T))), 0.3 + 0.1 * torch.arange(T, dtype=torch.float64)
    )


def judged(prediction: Prediction, y: torch.Tensor) -> Outcome:
    """Everyone with one record."""
    return Outcome(prediction, y, ids(len(y)))


# ---- the band over many gates


def test_band_over_independent_gates_is_the_maximum_of_gaussians():
    rows = np.random.default_rng(0).normal(size=(20_000, 30)) * np.linspace(0.1, 3.0, 30)
    band = simultaneous_band(rows, np.zeros(30))
    expected = stats.norm.isf((1.0 - 0.95 ** (1 / 30)) / 2)  # 3.14 in place of 1.96
    assert band.upper / np.linspace(0.1, 3.0, 30) == pytest.approx(np.full(30, expected), rel=0.05)
    assert (band.gates, band.replicates, band.passes) == (30, 20_000, True)
    assert band.sentence() == "30 of 30 gates are inside one band that holds them all for 95 % of perfect forecasters."
    one_out = simultaneous_band(rows, np.append(np.zeros(29), 20.0))
    assert one_out.outside.tolist() == [False] * 29 + [True]
    assert "29 of 30 gates" in one_out.sentence()


def test_band_holds_all_of_skewed_coarse_and_dependent_gates_as_often_as_it_says():
    rng, inside = np.random.default_rng(1), 0

    def draw(n: int) -> np.ndarray:
        common = rng.normal(size=(n, 1))
        coarse = rng.binomial(12, 0.95, size=(n, 8)) / 12  # ties, and nothing above the median
        rare = (rng.uniform(size=(n, 4)) < 0.01).astype(float)
        skewed = rng.exponential(size=(n, 6)) ** 2
        return np.concatenate([common + 0.3 * rng.normal(size=(n, 10)), coarse, rare, skewed, np.ones((n, 1))], 1)

    for _ in range(300):
        inside += simultaneous_band(draw(400), draw(1)[0]).passes
    # Half-widths of 400 replicates cost a little of the 95 %.
    assert 0.90 < inside / 300 < 0.985
    assert simultaneous_band(draw(100), np.full(29, math.nan)).gates == 0
    with pytest.raises(ValueError, match="it needs at least 19"):
        simultaneous_band(np.zeros((18, 2)), np.zeros(2))
    with pytest.raises(ValueError, match=r"need \(R, G\)"):
        simultaneous_band(np.zeros((100, 2)), np.zeros(3))


# ---- the null, person by person


@pytest.mark.parametrize("shared", [False, True])
def test_null_sums_have_the_spread_of_whole_cohorts(shared):
    prediction = cohort(12, 4)
    y = prediction.sample(1, seeded(1))[0]
    y[0, 1] = y[5] = math.nan
    people = [*ids(10), "P0", "P1"]  # two people with two records each
    here = ~y[..., 0].isnan().numpy()
    null = PersonNull.draw(Outcome(prediction, y, people), generator=seeded(2), replicates=2000, shared_member=shared)
    counted = null.counts(np.where(here, 0, -1), 1, null.drawn[..., 0])[:, 0]
    summed = null.sums(np.nansum(null.drawn[..., 0], 2)[..., None])[:, 0]
    assert counted == pytest.approx(summed, rel=1e-9, abs=1e-9)
    assert null.replicates == 2000
    whole = prediction.sample(20_000, seeded(3), shared_member=shared)[..., 0].numpy()
    direct = np.where(here, whole, 0.0).sum((1, 2))
    assert counted.mean() == pytest.approx(direct.mean(), abs=5 * direct.std() / math.sqrt(2000))
    assert counted.std() == pytest.approx(direct.std(), rel=0.08)
    with pytest.raises(ValueError, match="at least 20"):
        PersonNull.draw(Outcome(prediction, y, people), generator=seeded(), replicates=10)


def test_innovations_are_white_under_the_prediction_and_are_the_naive_ones():
    prediction = cohort(3, 5, S=3)
    y = prediction.sample(1, seeded(4))[0]
    y[1, 2] = y[2, :4] = math.nan
    found = innovations(judged(prediction, y))[..., 0]
    for i in range(3):
        here = ~y[i, :, 0].isnan().numpy()
        paths = prediction.mean[:, :, i, :, 0].reshape(18, 5).numpy()[:, here]
        noise = prediction.variance[:, :, i, :, 0].reshape(18, 5).mean(0).numpy()[here]
        C = np.cov(paths.T, bias=True).reshape(here.sum(), -1) + np.diag(noise)
        naive = np.linalg.solve(np.linalg.cholesky(C), y[i, :, 0].numpy()[here] - paths.mean(0))
        assert found[i, : here.sum()] == pytest.approx(naive, rel=1e-10)
        assert np.isnan(found[i, here.sum() :]).all()
    full = prediction.sample(1, seeded(5))[0]
    many = innovations(judged(prediction, full), prediction.sample(40_000, seeded(6)))[:, 0, :, 0]
    # 25 numbers, each with a standard error of about 1/√40,000 (a little more off the Gaussian).
    assert np.abs(many.T @ many / 40_000 - np.eye(5)).max() < 5 * 1.5 / 200
    pairs = neighbour_sums(found)
    assert pairs[0].tolist() == pytest.approx(
        [(found[0, :-1] * found[0, 1:]).sum(), 0.5 * (found[0, :-1] ** 2 + found[0, 1:] ** 2).sum()]
    )
    assert pairs[2].tolist() == [0.0, 0.0]  # one observation has no neighbour


# ---- a page about a forecaster who is right


def test_right_forecasters_pass_their_page_as_often_as_it_says():
    clean, flags = 0, 0
    for seed in range(40):
        prediction = cohort(40, 5, seed=seed)
        y = prediction.sample(1, seeded(seed + 100))[0]
        report = uncertainty_report(
            Outcome(prediction, y, ids(40)), generator=seeded(seed), replicates=300, resample="bootstrap"
        )
        clean += report.failed == 0
        flags += len(report.flags)
    assert stats.binomtest(clean, 40, 0.95).pvalue > 1e-2
    assert flags <= 2


def test_page_of_one_right_forecaster():
    prediction = cohort(150, 6, seed=3)
    y = prediction.sample(1, seeded(1))[0]
    y[:145, 5] = math.nan
    report = uncertainty_report(
        Outcome(prediction,
        y,
        ids(150)),
        generator=seeded(),
        thresholds={"y": 0.5},
        distance=prediction.point[..., 0].abs(),
        measurement_sd={"y": 0.8},
    )
    (one,) = report.channels
    assert report.failed == 0
    assert report.flags == ()
    assert report.gates == 3 + 3 * 6 + 3 + 20 + 5  # coverage, by horizon, paths, PIT, and zms, ence, quantiles, events, lag
    assert report.observations == one.count == 150 * 5 + 5
    inside = (y >= prediction.interval(0.8)[0]) & (y <= prediction.interval(0.8)[1])
    assert one.coverage["0.8"].observed == pytest.approx(float(inside.sum()) / one.count)
    assert one.coverage["0.8"].mean == pytest.approx(0.8, abs=0.01)
    row = one.coverage_by_horizon[6 + 2]
    assert (row.level, row.horizon, row.count) == (0.8, "1.5–2.5", 150)
    assert row.share.observed == pytest.approx(float(inside[:, 2].double().mean()))
    assert row.sharpness == pytest.approx(float((prediction.interval(0.8)[1] - prediction.interval(0.8)[0])[:, 2].mean()))
    # By person: observations share their member, so the band is wider than that of as many coins.
    assert one.coverage["0.5"].upper - one.coverage["0.5"].lower > 2 * 1.96 * math.sqrt(0.25 / one.count)
    assert sum(gate.observed for gate in one.pit.share) == pytest.approx(1.0)
    assert sum(one.events.count) == one.count
    for rows in (one.split_by_horizon, one.split_by_value, one.split_by_distance):
        assert sum(r.count for r in rows) == 900
        pooled_epistemic = sum(r.count * r.epistemic for r in rows) / 900
        assert pooled_epistemic == pytest.approx(float(prediction.epistemic.mean()), rel=1e-9)
    assert [r.aleatoric for r in one.split_by_horizon] == pytest.approx([0.3 + 0.1 * t for t in range(6)])
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["channels"][0]["coverage"]["0.8"]["observed"] == one.coverage["0.8"].observed
    text = "\n".join(map(str, report.verdicts))
    able = report.gates - report.undecided  # at 4.5–5, of five people, one interval may hold any share
    assert report.undecided <= 3
    assert f"{able} of {able} gates" in report.verdicts[0].claim
    assert "the 80 % interval covers" in text
    assert "no evidence against it" in text
    assert "y, 4.5–5: 5 people only; below 10" in text
    assert "away from the data the model's own uncertainty grows" in text


def test_wrong_widths_and_centres_are_named():
    prediction = cohort(200, 6, seed=5)
    y = prediction.sample(1, seeded(6))[0]
    narrow = uncertainty_report(Outcome(scale_parts(prediction, 0.5, 0.5, 0.5), y, ids(200)), generator=seeded(), replicates=200)
    text = "\n".join(map(str, narrow.verdicts))
    assert "outside its null band of" in text
    assert "it is too narrow, recalibrate." in text
    assert "variances are wrong on average" in text
    wide = uncertainty_report(Outcome(scale_parts(prediction, 2.0, 2.0, 2.0), y, ids(200)), generator=seeded(), replicates=200)
    assert "it is too wide, recalibrate." in "\n".join(map(str, wide.verdicts))
    shifted = uncertainty_report(Outcome(prediction, y + 0.5, ids(200)), generator=seeded(), replicates=200)
    assert "PIT outside its band" in "\n".join(map(str, shifted.verdicts))
    assert narrow.failed > 5


def test_band_after_recalibration_allows_for_the_calibration_people():
    truth = cohort(70, 6, seed=7)
    y = truth.sample(1, seeded(8))[0]
    wrong = scale_parts(truth, 0.3, 0.3, 0.3)
    known, new = list(range(15)), list(range(15, 70))
    fitted = Scaling.fit(Outcome(wrong.people(known), y[known], ids(15)))
    mended = fitted.apply(wrong.people(new), ids(55, "Q"))
    before = uncertainty_report(Outcome(wrong.people(new), y[new], ids(55, "Q")), generator=seeded(), replicates=300)
    plain = uncertainty_report(Outcome(mended, y[new], ids(55, "Q")), generator=seeded(), replicates=300)
    allowed = uncertainty_report(
        Outcome(mended, y[new], ids(55, "Q")), generator=seeded(), replicates=300, calibration=fitted
    )
    assert before.failed > 0
    assert allowed.failed == 0
    width = [r.channels[0].coverage["0.8"].upper - r.channels[0].coverage["0.8"].lower for r in (plain, allowed)]
    assert width[1] > 1.3 * width[0]
    assert allowed.fitted_on == tuple(ids(15))
    assert "other calibration people" in allowed.verdicts[0].detail
    with pytest.raises(ValueError, match="Judge it by people it has not seen"):
        uncertainty_report(Outcome(mended, y[new], [*ids(54, "Q"), "P3"]), generator=seeded(), calibration=fitted)


def test_recalibrated_right_forecasters_pass_their_page_as_often_as_it_says():
    clean, settled = 0, []
    for seed in range(40):
        truth = cohort(50, 4, seed=seed)
        y = truth.sample(1, seeded(seed + 500))[0]
        wrong, known, new = scale_parts(truth, 0.4, 2.0, 0.5), list(range(15)), list(range(15, 50))
        fitted = Scaling.fit(Outcome(wrong.people(known), y[known], ids(15)))
        mended = fitted.apply(wrong.people(new), ids(35, "Q"))
        report = uncertainty_report(
            Outcome(mended, y[new], ids(35, "Q")), generator=seeded(seed), replicates=150, calibration=fitted
        )
        clean += report.failed == 0
        settled.append(math.log(fitted.aleatoric[0] / 2.5) / math.sqrt(fitted.covariance[0][0][0]))
    assert stats.binomtest(clean, 40, 0.95).pvalue > 1e-2
    assert np.std(settled) == pytest.approx(1.0, abs=0.45)


# ---- the negative controls


def linear_people(N: int, T: int, seed: int):
    """Measurements w₀ + w₁ t + w₂ z with noise of variance .25, of people with a covariate z."""
    g = seeded(seed)
    t, z = torch.arange(T, dtype=torch.float64) / T, torch.randn((N, 1), generator=g, dtype=torch.float64)
    features = torch.stack([torch.ones(N, T, dtype=torch.float64), t.expand(N, T), z.expand(N, T)], -1)
    noise = 0.5 * torch.randn((N, T), generator=g, dtype=torch.float64)
    return features, features @ torch.tensor([1.0, -2.0, 0.7], dtype=torch.float64) + noise


def descended(features: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Gradient descent to the optimum of a convex loss, Σ_i weight_i Σ_t (y − features w)²."""
    X, target = (features * weight[:, None, None].sqrt()).flatten(0, 1), (y * weight[:, None].sqrt()).flatten()
    H = X.T @ X
    rate, w = 1.0 / torch.linalg.eigvalsh(H)[-1], start.clone()
    for _ in range(3000):
        w = w - rate * (H @ w - X.T @ target)
    return w


def test_control_members_from_random_starts_on_a_convex_residual():
    features, y = linear_people(25, 5, 0)
    new, seen = linear_people(80, 5, 1)
    g = seeded(2)
    starts = 3.0 * torch.randn((6, 3), generator=g, dtype=torch.float64)
    equal = torch.ones(25, dtype=torch.float64)
    init = torch.stack([descended(features, y, equal, w) for w in starts])
    drawn = [torch.bincount(torch.randint(25, (25,), generator=g), minlength=25).double() for _ in starts]
    bootstrap = torch.stack([descended(features, y, c, w) for c, w in zip(drawn, starts, strict=True)])
    arguments = {"generator": seeded(3), "replicates": 200}
    reports = {
        name: uncertainty_report(judged(forecast((new @ w.T).permute(2, 0, 1)[:, None], 0.25), seen[..., None]), **arguments)
        for name, w in (("init", init), ("bootstrap", bootstrap))
    }
    assert [f.name for f in reports["init"].flags] == [NOT_MEASURED]
    assert "members agree to" in reports["init"].flags[0].sentence
    assert reports["bootstrap"].flags == ()
    # Labelled so, they are flagged whatever their spread (a residual that is not convex).
    labelled = uncertainty_report(
        judged(forecast((new @ bootstrap.T).permute(2, 0, 1)[:, None], 0.25), seen[..., None]), resample="init", **arguments
    )
    assert [f.name for f in labelled.flags] == [NOT_MEASURED]
    assert "first weights alone" in labelled.flags[0].sentence
    alone = forecast((new @ init[:1].T).permute(2, 0, 1)[:, None], 0.25)
    assert "There is one member" in uncertainty_report(judged(alone, seen[..., None]), **arguments).flags[0].sentence


def test_control_a_dropped_term_of_the_physics():
    # dx/dt = −x + sin 2t from x0; the model that leaves out the forcing calls what is left noise, of the right total size.
    g = seeded(4)
    t = torch.arange(16, dtype=torch.float64) / 3.0
    x0 = 2.0 + torch.randn((80, 1), generator=g, dtype=torch.float64)
    forced = (torch.sin(2 * t) - 2 * torch.cos(2 * t) + 2 * torch.exp(-t)) / 5
    free = x0 * torch.exp(-t)
    y = (free + forced + 0.1 * torch.randn((80, 16), generator=g, dtype=torch.float64))[..., None]
    apart = 0.03 * torch.randn((5, 1, 1, 1), generator=g, dtype=torch.float64)
    arguments = {"generator": seeded(5), "replicates": 200, "measurement_sd": {"y": 0.1}}
    whole = uncertainty_report(judged(forecast(free + forced + apart * torch.exp(-t), 0.01), y), **arguments)
    noise = float((y[..., 0] - free).square().mean())
    dropped = uncertainty_report(judged(forecast(free + apart * torch.exp(-t), noise), y), **arguments)
    assert [f.name for f in whole.flags] == []
    assert [f.name for f in dropped.flags] == [DROPPED, DROPPED]
    assert "neighbouring innovations of a person correlate by 0." in dropped.flags[0].sentence
    assert f"{math.sqrt(noise) / 0.1:.1f} times the 0.1" in dropped.flags[1].sentence
    assert dropped.channels[0].autocorrelation.place == "above"


def test_control_a_constant_risk():
    g = seeded(6)
    truth = torch.randn((300, 1), generator=g, dtype=torch.float64).expand(300, 2)
    y = (truth + 0.3 * torch.randn((300, 2), generator=g, dtype=torch.float64))[..., None]
    arguments = {"generator": seeded(7), "replicates": 200, "thresholds": {"y": 1.0}}
    # Everyone's marginal distribution, the member's level shared along a person's path: calibrated, and no use.
    levels = torch.from_numpy(stats.norm.ppf((np.arange(40) + 0.5) / 40))[:, None, None, None]
    constant = uncertainty_report(judged(forecast(levels.expand(40, 1, 300, 2), 0.09), y), **arguments)
    knowing = uncertainty_report(
        judged(forecast(truth + 0.05 * torch.randn((5, 1, 1, 1), generator=g, dtype=torch.float64), 0.09), y), **arguments
    )
    assert constant.channels[0].events.error.place == ""  # well calibrated
    assert constant.channels[0].events.resolution.observed == 0.0
    assert [f.name for f in constant.flags] == [CONSTANT]
    assert [f.name for f in knowing.flags] == []
    # All outcomes alike are not the forecaster's fault: a sentence, and no flag.
    arguments["thresholds"] = {"y": 9.0}
    alike = uncertainty_report(judged(forecast(levels.expand(40, 1, 300, 2), 0.09), y), **arguments)
    assert [f.name for f in alike.flags] == []
    assert any("every measurement is on one side of 9" in v.claim for v in alike.verdicts)


def test_control_averaged_parameters():
    # N(±1, 1): the mixture's variance is 2, and the model with averaged parameters says 1.
    apart = forecast(torch.tensor([-1.0, 1.0], dtype=torch.float64)[:, None, None, None].expand(2, 1, 100, 3), 1.0)
    y = apart.sample(1, seeded(8))[0]
    averaged = forecast(torch.zeros(1, 1, 100, 3, dtype=torch.float64), 1.0)
    arguments = {"generator": seeded(9), "replicates": 200, "members": apart}
    flags = [f for f in uncertainty_report(judged(averaged, y), **arguments).flags if f.name == AVERAGED]
    assert len(flags) == 1
    assert "has a variance of 1 (mg/L)² where its members, kept apart, have 2 (mg/L)²" in flags[0].sentence
    assert AVERAGED not in [f.name for f in uncertainty_report(judged(apart, y), **arguments).flags]
    with pytest.raises(ValueError, match="same people at the same times"):
        uncertainty_report(judged(averaged, y), **(arguments | {"members": apart.people([0])}))


def numbers(value) -> list[float]:
    """Every number in nested lists and dicts, in order."""
    if isinstance(value, (dict, list)):
        return [x for v in (value.values() if isinstance(value, dict) else value) for x in numbers(v)]
    return [float(value)] if isinstance(value, (int, float)) else []


def test_padding_is_never_looked_at():
    clean = cohort(30, 6)
    y = clean.sample(1, seeded(1))[0]
    y[::3, 4:] = math.nan
    mask = clean.mask.clone()
    mask[::3, 4:] = False
    padded = ~mask[..., None].expand_as(y)
    dirty = replace(
        clean,
        mask=mask,
        mean=torch.where(padded, torch.nan, clean.mean),
        variance=torch.where(padded, -1.0, clean.variance),
        times=torch.where(mask, clean.times, 1e6),
    )
    noise = torch.where(padded, 77.0, y)  # what is said to have been observed there
    ours, theirs = (
        uncertainty_report(Outcome(p, seen, ids(30)), generator=seeded(2), replicates=100, horizons=Horizons((0.0, 2.0, 5.0)))
        for p, seen in ((dirty, noise), (replace(clean, mask=mask), y))
    )
    # a vectorised loop rounds its remainder differently, hence equal but for last digits
    found, expected = numbers(ours.to_dict()), numbers(theirs.to_dict())
    assert len(found) > 300
    assert found == pytest.approx(expected, rel=1e-11, abs=1e-13)
    assert ours.verdicts == theirs.verdicts
    assert ours.observations == 30 * 6 - 10 * 2


def test_two_channels_few_people_and_bad_input():
    one = cohort(6, 3)
    both = replace(
        one,
        mean=one.mean.expand(-1, -1, -1, -1, 2),
        variance=one.variance.expand(-1, -1, -1, -1, 2),
        channels=("a", "b"),
        units=("mg/L", "mmol/L"),
    )
    y = both.sample(1, seeded())[0]
    y[:, 1:, 1] = math.nan  # one observation of b each: no neighbours
    report = uncertainty_report(Outcome(both, y, ids(6)), generator=seeded(), replicates=100)
    assert [c.channel for c in report.channels] == ["a", "b"]
    assert math.isnan(report.channels[1].autocorrelation.observed)
    assert report.to_dict()["channels"][1]["autocorrelation"]["observed"] is None
    few = [v for v in report.verdicts if "6 people only" in v.claim]
    assert [len(v.about[2:]) for v in few] == [len(c.by_horizon) for c in report.channels]  # one line each, which names them all
    assert sum(len(v.about[2:]) for v in few) == 4
    assert all(horizon in v.claim for v in few for horizon in v.about[2:])
    for arguments, sentence in (
        ({"thresholds": {"c": 1.0}}, r"thresholds names \['c'\]"),
        ({"levels": (80,)}, "strictly between 0 and 1"),
        ({"distance": np.ones(6)}, "distance has shape"),
    ):
        with pytest.raises(ValueError, match=sentence):
            uncertainty_report(Outcome(both, y, ids(6)), generator=seeded(), **arguments)
    with pytest.raises(ValueError, match="channel 'b' was never observed"):
        uncertainty_report(Outcome(both, torch.cat([y[..., :1], y[..., 1:] * math.nan], -1), ids(6)), generator=seeded())
    with pytest.raises(ValueError, match="people, times, channels"):
        uncertainty_report(Outcome(both, y[..., 0], ids(6)), generator=seeded())
    partly = uncertainty_report(Outcome(both, y, ids(6)), generator=seeded(), horizons=Horizons((0.0, 1.0)), replicates=100)
    assert sum(r.count for r in partly.channels[0].by_horizon) == 12  # what is outside of all horizons has no row


def test_a_share_that_is_outside_its_own_band_alone_is_neither_good_nor_bad():
    """Beside a page's "by this share alone 77 to 83 %" no mark may say that there is nothing against it."""
    gate = Gate(observed=0.70, mean=0.8, lower=0.65, upper=0.95, alone_lower=0.704, alone_upper=0.90)
    between = coverage_verdict("y", "0.8", gate, 40)
    assert (gate.place, gate.place_alone, between.good) == ("", "below", None)
    assert "covers 70.0 %, outside the 70.4–90.0 % of 95 in 100 perfect forecasters by this share alone" in between.claim
    assert "a hint, and no more, that it is too narrow" in between.claim
    assert coverage_verdict("y", "0.8", replace(gate, observed=0.71), 40).good is True
    outside = coverage_verdict("y", "0.8", replace(gate, observed=0.6), 40)
    assert (outside.good, "recalibrate" in outside.claim) == (False, True)
    # who recalibrated already is not told to
    assert "recalibrate" not in coverage_verdict("y", "0.8", replace(gate, observed=0.6), 40, recalibrated=True).claim


def test_gates_that_cannot_fail_pass_nobody():
    """Of one person all measurements may lie inside together, or none: a share from 0 to 1 decides nothing."""
    prediction = cohort(1, 4, seed=2)
    y = prediction.sample(1, seeded(3))[0]
    report = uncertainty_report(Outcome(prediction, y, ids(1)), generator=seeded(), replicates=200)
    (one,) = report.channels
    every = [*one.coverage.values(), *one.path_coverage.values(), *(row.share for row in one.coverage_by_horizon)]
    assert not any(gate.decides for gate in every)
    assert all(gate.lower <= 0.0 and gate.upper >= 1.0 for gate in every)
    assert one.zms.decides
    assert len(every) <= report.undecided < report.gates
    able = report.gates - report.undecided
    assert report.verdicts[0].claim.startswith(f"{able - report.failed} of {able} gates")
    assert f"; {report.undecided} cannot, since the band holds whatever can be observed" in report.verdicts[0].claim
    said = [v for v in report.verdicts if v.about[0] == "coverage"]
    assert [v.good for v in said] == [None] * 3
    assert all("cannot say (one person)" in v.claim for v in said)
    assert sum(v.about[0] == "people" for v in report.verdicts) == 1  # one line, however many horizons
    # a band that ends within what can be observed decides, from whichever side
    rows = np.random.default_rng(0).uniform(size=(200, 2))
    some = simultaneous_band(rows, np.full(2, 0.5), least=0.0, most=[1.0, 3.0])
    assert some.undecided == 0 if some.lower.min() > 0.0 else some.decides.tolist() == [False, True]
    none = simultaneous_band(rows, np.full(2, 0.5), least=0.1, most=0.9)
    with pytest.raises(ValueError, match="most has shape \\(3,\\); it is one number, or one for each of the 2 gates"):
        simultaneous_band(rows, np.full(2, 0.5), most=[1.0, 1.0, 1.0])
    assert (none.undecided, none.passes, none.sentence().startswith("None of 2 gates can decide")) == (2, True, True)


def test_what_is_outside_a_band_is_written_outside_of_it():
    gate = Gate(observed=0.5304, mean=0.0, lower=-0.5, upper=0.5298)
    assert (gate.place, gate.decimals(), gate.decimals(0, scale=100.0)) == ("above", 4, 2)
    claim = coverage_verdict("y", "0.8", gate, 40).claim
    assert claim.startswith("y: the 80 % interval covers 53.04 %, outside its null band of 0.00–52.98 % (all gates together)")
    assert replace(gate, observed=0.4).decimals() == 2
