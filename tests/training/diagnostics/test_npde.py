"""NPDE: standard normal and independent for a right model, whatever is missing or censored; a wrong one is seen."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from hybrid import HybridModel
from learned import DiagonalDiffusion, Ensemble
from tests.training.diagnostics.studies import linear, measured_by, oral
from training.diagnostics import npde, simulated_cohorts
from training.diagnostics.npde import PredictionErrors, kolmogorov

D = torch.float64


def errors_of(model: HybridModel, cohort: object, seed: int = 1, draws: int = 300, level: float = 0.95) -> PredictionErrors:
    generator = torch.Generator().manual_seed(seed)
    drawn = simulated_cohorts(model, cohort, draws, generator)  # type: ignore[arg-type]
    return npde(drawn, generator, level=level)


def bound(count: int, level: float = 0.999) -> float:
    """Massart (1990): exceeded by the distance of `count` independent uniform numbers in at most 1 − level of all samples."""
    return float(np.sqrt(np.log(2.0 / (1.0 - level)) / (2.0 * count)))


def test_of_a_linear_mixed_model_they_are_standard_normal_and_independent() -> None:
    """300 people × 4 times: Kolmogorov's distance, and all six correlations between times within 4/√300."""
    model, cohort, _, _ = linear(2, 300, seed=2)
    found = errors_of(model, cohort)
    z = found.npde[..., 0]
    assert kolmogorov(torch.special.ndtr(z).flatten().numpy()[None])[0] < bound(z.numel())
    away = np.corrcoef(z.T.numpy()) - np.eye(4)
    assert np.abs(away).max() < 4.0 / np.sqrt(300)  # six of them: 4 standard errors leave 4e-4
    # the measurements themselves are correlated, which is what was taken out
    places = torch.special.ndtri(found.pd[..., 0])
    assert np.abs(np.corrcoef(places.T.numpy()) - np.eye(4)).max() > 0.3


def test_of_a_linear_mixed_model_they_are_the_whitened_measurements() -> None:
    """With many draws npde → L⁻¹ y with the Cholesky factor of the population's covariance."""
    model, cohort, _, C = linear(2, 6, seed=4)
    found = errors_of(model, cohort, draws=5000)
    exact = torch.linalg.solve_triangular(torch.linalg.cholesky(C), cohort.y.flatten(1).T, upper=False).T
    near = exact.abs() < 2.0  # farther out a rank says less
    # moments of 5,000 draws are off by 1/√5000 = .014 each, a rank by up to .5 × .014/φ(2) = .13 at the ends
    assert ((found.npde[..., 0] - exact)[near].abs() < 0.4).all()


@pytest.mark.slow
def test_the_bands_hold_for_right_models_in_95_of_100_studies() -> None:
    """200 studies of 8 people by a model that is not linear: each statistic leaves its band in 5 % of them."""
    model = oral()
    outside = np.zeros(3)
    for seed in range(200):
        found = errors_of(model, measured_by(model, 8, 1000 + seed, times=(1.0, 4.0, 10.0)), seed, draws=100)
        bands = found.statistics["concentration"].values()
        outside += [not one.lower <= one.observed <= one.upper for one in bands]
    # binomial(200, .05 + 2/100): among 100 draws 2.5 % at either end are a few ranks; beyond 30 or below 1 in < .1 % of runs
    assert (outside <= 30).all()
    assert (outside >= 1).all()


WRONG: dict[str, tuple[Callable[[], HybridModel], str]] = {
    "spread doubled": (lambda: oral((0.6, 0.6, 0.6)), "standard deviation"),
    "spread halved": (lambda: oral((0.15, 0.15, 0.15)), "standard deviation"),
    "absorption wrong": (lambda: oral(ka=3.5), "mean"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_model_is_seen(fault: str) -> None:
    make, name = WRONG[fault]
    cohort = measured_by(oral(), 100, 7)
    right = errors_of(oral(), cohort, level=0.998).statistics["concentration"]
    wrong = errors_of(make(), cohort).statistics["concentration"]
    assert all(band.lower <= band.observed <= band.upper for band in right.values())
    assert not wrong[name].lower <= wrong[name].observed <= wrong[name].upper


def test_missing_channels_replicates_and_one_person() -> None:
    model, cohort, _, _ = linear(2, 300, seed=5, channels=2)
    y = cohort.y.clone()
    y[:, 1, 0] = y[::2, 2, 1] = y[3] = torch.nan
    found = errors_of(model, replace(cohort, y=y))
    assert torch.equal(torch.isfinite(found.npde), torch.isfinite(y))
    z = found.npde[torch.isfinite(y)]
    assert kolmogorov(torch.special.ndtr(z).numpy()[None])[0] < bound(len(z))
    assert set(found.statistics) == {"y", "z"}
    assert len(found.to_frame()) == len(z)
    single = measured_by(oral(), 1, 3, times=(1.0, 1.0, 2.0, 2.0, 2.0))  # replicates: the same state, other noise
    assert torch.isfinite(errors_of(oral(), single).npde).all()


def test_values_below_a_limit_keep_them_standard_normal() -> None:
    """A third of the measurements known to lie below a limit alone: the law stays; their places are below that limit's."""
    model = oral()
    cohort = measured_by(model, 300, 8, times=(1.0, 4.0, 10.0))
    drawn = simulated_cohorts(model, cohort, 500, torch.Generator().manual_seed(1))
    limit = float(cohort.y.quantile(0.33))
    below = cohort.y < limit
    limits = torch.stack([torch.full_like(cohort.y, -torch.inf), torch.where(below, limit, torch.inf)], -1)
    censored = replace(drawn, y=torch.where(below, torch.nan, drawn.y), limits=limits)
    found = npde(censored, torch.Generator().manual_seed(2), level=0.998)
    assert torch.equal(found.censored, below)
    share = (drawn.values < limit).double().mean(0)
    assert (found.pd[below] <= share[below] + 2.0 / 501).all()
    for band in found.statistics["concentration"].values():
        assert band.lower <= band.observed <= band.upper
    ignored = npde(replace(censored, limits=None), torch.Generator().manual_seed(2)).statistics["concentration"]["mean"]
    assert ignored.observed > ignored.upper  # who leaves them out sees high values alone


def test_process_noise_is_drawn_as_whole_paths() -> None:
    model = oral(process=DiagonalDiffusion([2.0, 20.0]))
    cohort = measured_by(model, 60, 9)
    for band in errors_of(model, cohort, draws=200, level=0.998).statistics["concentration"].values():
        assert band.lower <= band.observed <= band.upper
    without = errors_of(oral(), cohort).statistics["concentration"]["Kolmogorov distance"]
    assert without.observed > without.upper


def test_the_mixture_draws_every_member_and_one_member_is_that_one() -> None:
    model = Ensemble(2).stack(oral(), torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.population.shift[1, 2] -= 1.0  # the second member's volumes are a third as large
    cohort = measured_by(oral(), 5, 1)
    both = simulated_cohorts(model, cohort, 400, torch.Generator().manual_seed(1))
    assert both.about.members == "the mixture of 2 members"
    assert both.member.unique().tolist() == [0, 1]
    first, second = (simulated_cohorts(model, cohort, 400, torch.Generator().manual_seed(1), member=m) for m in (0, 1))
    assert second.values.mean() > 2.0 * first.values.mean()
    # the share of a member is binomial(400, ½): .5 ± 4 × .025
    assert abs(float((both.member == 0).double().mean()) - 0.5) < 0.1
    torch.testing.assert_close(both.values[both.member == 1].mean(), second.values.mean(), rtol=0.1, atol=0.0)


def test_the_same_seed_gives_the_same_and_too_few_draws_are_refused() -> None:
    cohort = measured_by(oral(), 3, 1)
    one, other = (errors_of(oral(), cohort, seed=4, draws=40) for _ in range(2))
    assert torch.equal(one.npde, other.npde)
    drawn = simulated_cohorts(oral(), cohort, 12, torch.Generator())
    with pytest.raises(ValueError, match=r"6 measurements.*more than 12"):
        npde(drawn, torch.Generator())
    assert torch.isfinite(npde(drawn, torch.Generator(), decorrelate=False).pd).all()
