"""Our scores on random inputs against two independent libraries each; skipped where these are not installed.

`pip install 'homeostat[crosscheck]'` brings them. Only the pairs that are known to agree in definition are compared: what
differs is said in `benchmarks/README.md`.
"""

import importlib
import warnings
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy import special

from training.trust.calibration import expected_calibration_error
from training.trust.scores import (
    brier,
    coverage,
    crps_gaussian,
    crps_mixture,
    crps_samples,
    energy_score,
    interval_score,
    nll_gaussian,
    nll_mixture,
    pooled,
)

CLOSE = {"rel": 1e-6, "abs": 1e-6}


def library(name: str) -> ModuleType:
    """An optional library; its own warnings at import are no failures of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            pytest.skip(f"{name} is not installed: pip install 'homeostat[crosscheck]'")


@pytest.fixture(params=[0, 1, 2])
def gaussians(request):
    """Observations, means and standard deviations."""
    rng = np.random.default_rng(request.param)
    return rng.normal(size=40), rng.normal(size=40), rng.uniform(0.2, 3.0, 40)


def test_gaussian_scores(gaussians):
    y, mean, sd = gaussians
    ours, density = crps_gaussian(y, mean, sd**2), nll_gaussian(y, mean, sd**2)
    scoringrules, properscoring = library("scoringrules"), library("properscoring")
    assert ours == pytest.approx(scoringrules.crps_normal(y, mean, sd), **CLOSE)
    assert ours == pytest.approx(properscoring.crps_gaussian(y, mean, sd), **CLOSE)
    assert density == pytest.approx(scoringrules.logs_normal(y, mean, sd), **CLOSE)
    toolbox = library("uncertainty_toolbox.metrics_scoring_rule")
    assert pooled(density) == pytest.approx(toolbox.nll_gaussian(mean, sd, y), **CLOSE)
    assert pooled(ours) == pytest.approx(toolbox.crps_gaussian(mean, sd, y), **CLOSE)


def test_interval_scores_and_central_coverage(gaussians):
    y, mean, sd = gaussians
    scoringrules = library("scoringrules")
    half = special.ndtri(0.9) * sd
    found = interval_score(y, mean - half, mean + half, level=0.8)
    assert found == pytest.approx(scoringrules.interval_score(y, mean - half, mean + half, 0.2), **CLOSE)
    toolbox = library("uncertainty_toolbox.metrics_scoring_rule")
    levels = np.linspace(0.01, 0.99, 99)
    halves = special.ndtri(0.5 + levels / 2)[:, None] * sd
    scores = [
        pooled(interval_score(y, mean - h, mean + h, level=a)) for a, h in zip(levels.tolist(), halves, strict=True)
    ]
    assert np.mean(scores) == pytest.approx(toolbox.interval_score(mean, sd, y), **CLOSE)
    calibration = library("uncertainty_toolbox.metrics_calibration")
    central = np.linspace(0.0, 1.0, 100)
    gaps = []
    for a in central:
        h = special.ndtri(0.5 + a / 2) * sd
        gaps.append(abs(float(coverage(y, mean - h, mean + h)) - a))
    assert np.mean(gaps) == pytest.approx(calibration.mean_absolute_calibration_error(mean, sd, y), **CLOSE)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mixture_scores(seed):
    scoringrules, rng = library("scoringrules"), np.random.default_rng(seed)
    y, mean, sd = rng.normal(size=30), 2.0 * rng.normal(size=(7, 30)), rng.uniform(0.3, 2.0, (7, 30))
    ours, density = crps_mixture(y, mean, sd**2), nll_mixture(y, mean, sd**2)
    assert ours == pytest.approx(scoringrules.crps_mixnorm(y, mean, sd, m_axis=0), **CLOSE)
    assert density == pytest.approx(scoringrules.logs_mixnorm(y, mean, sd, mc_axis=0), **CLOSE)
    # The second one is torch's own mixture: its density as it is, its CRPS from the distribution function.
    parts = torch.distributions.Normal(torch.from_numpy(mean.T), torch.from_numpy(sd.T))
    whole = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(torch.ones(30, 7)), parts)
    assert density == pytest.approx(-whole.log_prob(torch.from_numpy(y)).numpy(), **CLOSE)
    grid = torch.linspace(-30.0, 30.0, 200_001, dtype=torch.float64)
    for i in range(3):
        one = torch.distributions.MixtureSameFamily(
            torch.distributions.Categorical(torch.ones(7)),
            torch.distributions.Normal(torch.from_numpy(mean[:, i]), torch.from_numpy(sd[:, i])),
        )
        step = (grid >= y[i]).double()
        # the jump falls between two points of the grid: an error of their distance, 3e-4, at most
        assert ours[i] == pytest.approx(float(torch.trapezoid((one.cdf(grid) - step) ** 2, grid)), abs=3e-4)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sample_scores(seed):
    scoringrules, properscoring = library("scoringrules"), library("properscoring")
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(9, 25)), rng.normal(size=25)
    ours = crps_samples(x, y)
    assert ours == pytest.approx(scoringrules.crps_ensemble(y, x, m_axis=0, estimator="fair"), **CLOSE)
    near = np.abs(x - y).mean(0)
    theirs = properscoring.crps_ensemble(y, x, axis=0)  # with 1/2M² in place of 1/2M(M − 1)
    assert ours == pytest.approx(near - (near - theirs) * 9 / 8, **CLOSE)
    paths, seen = rng.normal(size=(9, 6, 4)), rng.normal(size=(6, 4))
    found = energy_score(paths, seen, event_axes=1)
    assert found == pytest.approx(scoringrules.es_ensemble(seen, paths, m_axis=0, v_axis=-1, estimator="fair"), **CLOSE)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_event_scores(seed):
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.0, 0.999, 600)  # a bin at exactly 1 is a bin of its own in torchmetrics
    y = (rng.uniform(size=600) < p**1.3).astype(np.int64)
    torchmetrics = library("torchmetrics.functional.classification")
    for norm, name in ((1, "l1"), (2, "l2"), (np.inf, "max")):
        theirs = torchmetrics.binary_calibration_error(
            torch.from_numpy(p), torch.from_numpy(y), n_bins=15, norm=name
        )
        assert expected_calibration_error(p, y, binning="width", norm=norm) == pytest.approx(float(theirs), **CLOSE)
    netcal = library("netcal.metrics")
    assert expected_calibration_error(p, y, binning="width") == pytest.approx(netcal.ECE(15).measure(p, y), **CLOSE)
    equal_mass = library("calibration")
    theirs = equal_mass.get_ece_em(p, y, num_bins=15)  # 600 events in 15 bins: no remainder to place
    assert expected_calibration_error(p, y, bins=15) == pytest.approx(theirs, **CLOSE)
    scoringrules, properscoring = library("scoringrules"), library("properscoring")
    assert brier(p, y) == pytest.approx(np.mean(scoringrules.brier_score(y, p)), **CLOSE)
    assert brier(p, y) == pytest.approx(np.mean(properscoring.brier_score(y, p)), **CLOSE)
