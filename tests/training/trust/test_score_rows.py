"""Tables per horizon and channel against the whole table, and paired differences against their closed form."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from hybrid.prediction import Prediction
from training.trust import Horizons, Outcome, crps, nll, paired_difference, score_table, scores_by_horizon
from training.trust.scores import crps_gaussian, crps_mixture, nll_gaussian, nll_mixture


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cohort(N: int = 12) -> Outcome:
    shape = (3, 2, N, 4, 2)
    prediction = Prediction(
        torch.randn(shape, generator=seeded(1), dtype=torch.float64),
        torch.rand(shape, generator=seeded(2), dtype=torch.float64) + 0.2,
        torch.arange(4.0).expand(N, 4),
        torch.ones(N, 4, dtype=torch.bool),
        ("a", "b"),
        ("mg/L", "mmol/L"),
    )
    y = prediction.sample(1, seeded(3))[0]
    y[5:, 3, 1] = math.nan
    y[:, 0, 0] = math.nan
    return Outcome(prediction, y, range(N))


def test_rows_are_the_table_of_their_observations():
    outcome = cohort()
    rows = scores_by_horizon(outcome, horizons=Horizons((0.0, 1.0, 2.5, 3.0)))
    assert [(r.channel, r.horizon, r.records) for r in rows] == [
        ("a", "1–2.5", 12),
        ("a", "2.5–3", 12),
        ("b", "0–1", 12),
        ("b", "1–2.5", 12),
        ("b", "2.5–3", 5),
    ]
    mask = np.zeros((12, 4, 2), bool)
    mask[:, 1:3, 0] = True
    assert rows[0].scores == score_table(outcome, mask=mask)
    assert rows[0].scores["count"] == 24
    assert rows[0].sentence is None
    assert rows[4].sentence == (
        "b, 2.5–3: 5 people only; the share inside an 80 % interval has a standard error of 18 points by chance alone."
    )
    whole = sum(r.scores["crps"] * r.scores["count"] for r in rows if r.channel == "b")
    mask = np.zeros((12, 4, 2), bool)
    mask[..., 1] = True
    table = score_table(outcome, mask=mask)
    assert whole == pytest.approx(table["crps"] * table["count"], rel=1e-12)
    with pytest.raises(ValueError, match="present within the horizons"):
        scores_by_horizon(outcome, horizons=Horizons((10.0, 20.0)))


def test_the_short_names_take_gaussians_and_mixtures():
    rng = np.random.default_rng(0)
    y, mean, variance = rng.normal(size=5), rng.normal(size=(3, 5)), rng.uniform(0.5, 2.0, (3, 5))
    assert np.array_equal(nll(y, mean, variance), nll_mixture(y, mean, variance))
    assert np.array_equal(crps(torch.from_numpy(y), mean, variance), crps_mixture(y, mean, variance))
    assert np.array_equal(nll(y, mean[0], variance[0]), nll_gaussian(y, mean[0], variance[0]))
    assert np.array_equal(crps(y, mean[0], variance[0]), crps_gaussian(y, mean[0], variance[0]))
    with pytest.raises(ValueError, match="leading axis of components"):
        nll(y, mean[:, :4], variance[:, :4])


def test_paired_difference_resamples_people_and_not_observations():
    rng = np.random.default_rng(1)
    hard, effect = rng.exponential(5.0, (60, 1)), rng.normal(0.1, 1.0, (60, 1))
    before = hard + np.zeros((60, 20))
    after = before + effect
    before[:5, 3], after[:5, 3] = math.nan, math.nan
    found = paired_difference(after, before, [f"P{i}" for i in range(60)], generator=seeded())
    count = (~np.isnan(after)).sum(1)
    assert found.difference == pytest.approx((effect[:, 0] * count).sum() / count.sum(), rel=1e-12)
    half = stats.norm.isf(0.025) * effect.std() / math.sqrt(60)  # as many as there are people, hard or not
    assert found.upper - found.lower == pytest.approx(2 * half, rel=0.15)
    assert found.people == 60
    two = paired_difference(after, before, [f"P{i // 2}" for i in range(60)], generator=seeded())
    assert two.people == 30
    assert two.difference == pytest.approx(found.difference, rel=1e-12)
    assert paired_difference(before - 1.0, before, [f"P{i}" for i in range(60)], generator=seeded()).no_worse
    assert not paired_difference(before + 1.0, before, [f"P{i}" for i in range(60)], generator=seeded()).no_worse
    for a, b, sentence in (
        (after, before[:, :3], "needs both forecasts' scores"),
        (np.where(hard > 5, after, math.nan), before, "needs both forecasts' scores"),
    ):
        with pytest.raises(ValueError, match=sentence):
            paired_difference(a, b, [f"P{i}" for i in range(60)], generator=seeded())
