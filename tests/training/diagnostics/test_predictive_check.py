"""Predictive checks: coverage under the model, doses that a correction takes out, wrong models seen, bins and ties."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hybrid import Concentration, HybridModel
from learned import AdditiveProportional
from physics import LogNormal, MixedPopulation, OneCompartmentOral
from tests.builders import BOXES
from tests.training.diagnostics.studies import linear, measured_by, oral
from training import Cohort, personalise
from training.diagnostics import PredictiveCheck, eta_against_covariates, predictive_check, simulated_cohorts

D = torch.float64


def check_of(model: HybridModel, cohort: Cohort, *, draws: int = 400, corrected: bool = False) -> PredictiveCheck:
    return predictive_check(simulated_cohorts(model, cohort, draws, torch.Generator().manual_seed(1)), corrected=corrected)


@pytest.mark.slow
@pytest.mark.parametrize("corrected", [False, True])
def test_the_bands_hold_their_share_of_right_studies(corrected: bool) -> None:
    """100 studies of 20 people, doses of 100 to 900 mg, 3 levels × 3 bins each; strays exceed their count in 5 % of them."""
    model, inside, beyond = oral(), [], 0
    for seed in range(100):
        cohort = measured_by(model, 20, 500 + seed, doses=(100.0, 300.0, 900.0), times=(1.0, 4.0, 10.0))
        found = check_of(model, cohort, draws=200, corrected=corrected)
        inside.append(((found.low <= found.observed) & (found.observed <= found.high)).mean())
        beyond += found.strays.observed > found.strays.upper
    # 95 % less 1 % for bands of 200 draws; a study's share has a standard deviation of at most .12 (nine dependent gates)
    assert abs(np.mean(inside) - 0.945) < 4 * 0.12 / 10
    assert beyond <= 14  # binomial(100, .05): more in 2e-4 of runs


def test_a_correction_takes_doses_out() -> None:
    """Of a linear model without additive noise doses scale everything: corrected, three doses have the law of one."""
    model = oral()
    with torch.no_grad():
        for name, parameter in model.noise.named_parameters():
            if "additive" in name:
                parameter.fill_(-20.0)  # its floor of .02 mg/L is all that is left
    cohort = measured_by(model, 900, 3, doses=(100.0, 300.0, 900.0))
    drawn = simulated_cohorts(model, cohort, 40, torch.Generator().manual_seed(1))
    every = predictive_check(drawn, corrected=True)
    plain = predictive_check(drawn)
    dose = cohort.conditions.covariates["DOSE"]
    ratio = []
    for amount in (100.0, 300.0, 900.0):
        mine = predictive_check(drawn.people(dose == amount), corrected=True)
        # the bin's median prediction is that of the dose in the middle for all, and of one dose for one
        ratio.append(mine.observed / (amount / 300.0))
    for one in ratio:
        # quantiles of 300 people, log sd about .4: 1.25 × .4/√300/(density at the 10 % quantile, .44 of the middle's) = 6.6 %
        np.testing.assert_allclose(one, every.observed, rtol=0.27)
    spread, narrow = (np.log(c.observed[2] / c.observed[0]).mean() for c in (plain, every))
    assert spread > narrow + 0.7  # nine times as large a dose is ln 9 = 2.2 apart
    assert every.corrected
    assert not plain.corrected


@pytest.mark.parametrize("fault", ["spread doubled", "absorption wrong"])
def test_a_wrong_model_is_seen(fault: str) -> None:
    wrong = oral((0.6, 0.6, 0.6)) if fault == "spread doubled" else oral(ka=3.5)
    cohort = measured_by(oral(), 150, 7)
    right, found = check_of(oral(), cohort), check_of(wrong, cohort)
    assert right.strays.observed <= right.strays.upper
    assert found.strays.observed > found.strays.upper
    if fault == "spread doubled":  # the lower tenth lies above what the model expects, and the upper below
        assert (found.observed[0] > found.middle[0]).all()
        assert (found.observed[2] < found.middle[2]).all()
    else:
        assert found.observed[1, 0] < found.low[1, 0]


def test_quantiles_are_those_of_numpy_at_the_measurements_that_are_there() -> None:
    cohort = measured_by(oral(), 30, 2)
    y = cohort.y.clone()
    y[:7, 2] = torch.nan
    cohort = replace(cohort, y=y)
    drawn = simulated_cohorts(oral(), cohort, 50, torch.Generator().manual_seed(1))
    found = predictive_check(drawn, levels=(0.25, 0.5))
    assert found.count.tolist() == [30, 30, 23, 30, 30, 30]
    assert found.at.tolist() == [0.5, 1.0, 2.0, 4.0, 8.0, 12.0]
    np.testing.assert_allclose(found.observed[:, 2], np.quantile(y[7:, 2, 0], (0.25, 0.5)))
    every = np.quantile(drawn.values[:, 7:, 2, 0].numpy(), (0.25, 0.5), axis=1)
    np.testing.assert_allclose(found.low[:, 2], np.quantile(every, 0.025, axis=1))
    assert len(found.to_frame()) == 12


def test_bins_never_part_measurements_of_one_time() -> None:
    rng = np.random.default_rng(1)
    model, cohort, _, _ = linear(1, 60)
    drawn = simulated_cohorts(model, cohort, 20, torch.Generator().manual_seed(1))
    for _ in range(20):
        times = torch.from_numpy(np.round(rng.exponential(4.0, (60, 4)), rng.integers(0, 3)))
        found = predictive_check(replace(drawn, times=times))
        assert found.count.sum() == 240
        assert (found.count > 0).all()
        assert len(found.count) <= 12
        assert (np.diff(found.edges) > 0).all() or len(found.edges) == 2
        for value in np.unique(times):
            assert ((found.edges[:-1] <= value) & (value < np.append(found.edges[1:-1], np.inf))).sum() == 1
    given = predictive_check(replace(drawn, times=times), bins=[0.0, 1.0, 3.0])
    assert given.count.sum() + given.left_out == 240
    assert given.left_out == int((times > 3.0).sum())
    assert "outside the bins" in given.why


def test_below_a_limit_quantiles_are_not_said_and_their_share_is() -> None:
    model = oral()
    cohort = measured_by(model, 100, 8)
    drawn = simulated_cohorts(model, cohort, 200, torch.Generator().manual_seed(1))
    limit = float(cohort.y[:, -1].quantile(0.4))
    below = cohort.y < limit
    limits = torch.stack([torch.full_like(cohort.y, -torch.inf), torch.where(below, limit, torch.inf)], -1)
    censored = replace(drawn, y=torch.where(below, torch.nan, drawn.y), limits=limits)
    found, whole = predictive_check(censored), predictive_check(drawn)
    assert found.beyond is not None
    assert found.count.tolist() == whole.count.tolist() == [100] * 6
    assert found.beyond[0, -1] == pytest.approx(0.4, abs=0.011)
    assert (found.beyond[1] <= found.beyond[0]).all()
    assert (found.beyond[0] <= found.beyond[2]).all()
    assert np.isnan(found.observed[0, -1])
    assert found.observed[1, -1] == pytest.approx(whole.observed[1, -1])
    assert found.strays.observed <= found.strays.upper
    with pytest.raises(ValueError, match="limit alone"):
        predictive_check(censored, corrected=True)
    two = limits.clone()
    two[:50, :, :, 1] *= 0.5
    with pytest.raises(ValueError, match="several limits"):
        predictive_check(replace(censored, limits=two))


def test_what_cannot_be_checked_is_refused_in_a_sentence() -> None:
    cohort = measured_by(oral(), 3, 1)
    drawn = simulated_cohorts(oral(), cohort, 30, torch.Generator())
    for words, call in (
        ("20 or more", lambda: predictive_check(simulated_cohorts(oral(), cohort, 19, torch.Generator()))),
        ("is one of concentration", lambda: predictive_check(drawn, "plasma")),
        ("edges of bins increase", lambda: predictive_check(drawn, bins=[2.0, 1.0])),
        ("within the edges", lambda: predictive_check(drawn, bins=[100.0, 200.0])),
        ("nothing is measured", lambda: predictive_check(replace(drawn, y=torch.full_like(drawn.y, torch.nan)))),
        ("levels lie strictly", lambda: predictive_check(drawn, levels=(0.0, 0.5))),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_a_covariate_that_moves_a_parameter_is_seen_against_its_eta() -> None:
    """V grows with the covariate in the truth and not in the model: η of V goes with it, that of ke does not."""
    model = oral()
    cohort = measured_by(model, 80, 4)
    rng = np.random.default_rng(0)
    weight = torch.from_numpy(70.0 * np.exp(0.25 * rng.standard_normal(80)))
    y = cohort.y / (weight / 70.0)[:, None, None]  # concentrations of volumes that grow with weight
    sex = torch.from_numpy(rng.integers(0, 2, 80).astype(float))
    conditions = replace(cohort.conditions, covariates={"WT": weight, "SEX": sex, "SAME": torch.ones(80, dtype=D)})
    cohort = replace(cohort, y=y, conditions=conditions)
    found = eta_against_covariates(model, cohort, generator=torch.Generator().manual_seed(1))
    assert found.effects == ("ka", "ke", "V")
    assert found.covariates == ("WT", "SEX", "SAME")
    assert found.correlation[2, 0] > 0.4
    assert found.chance[2, 0] == 1e-3
    assert (found.chance[:2, :2] > 1e-3).all()
    assert np.isnan(found.chance[:, 2]).all()
    assert list(found.to_frame().columns) == ["person", "eta(ka)", "eta(ke)", "eta(V)", "WT", "SEX", "SAME"]


def test_of_correlated_effects_eta_is_each_parameters_own() -> None:
    """What is shown is L η over ω: the deviation of ln θ itself, in its own standard deviations."""
    backbone = OneCompartmentOral(**BOXES)
    spread = {"ka": LogNormal(0.4), "ke": LogNormal(0.2), "V": LogNormal(0.3)}
    population = MixedPopulation(backbone, spread, correlated=[("ke", "V")], omega={("ke", "V"): 0.04})
    noise = AdditiveProportional([0.1], [0.1], [0.02])
    model = HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=noise)
    cohort = measured_by(model, 12, 3)
    personal = personalise(model, cohort)
    found = eta_against_covariates(
        model,
        replace(cohort, conditions=replace(cohort.conditions, covariates={"WT": torch.arange(12.0, dtype=D)})),
        personal,
        generator=torch.Generator().manual_seed(1),
    )
    theta = model.theta(personal.mode, {})[0].detach().log().numpy()
    typical = model.theta(torch.zeros_like(personal.mode), {})[0].detach().log().numpy()
    # the box bends ln θ near its ends alone, which are far from these people
    np.testing.assert_allclose(found.eta * np.array([0.4, 0.2, 0.3]), theta - typical, atol=0.02)
    assert not np.allclose(found.eta, personal.mode[0].numpy(), atol=0.05)


def test_a_prediction_near_zero_is_left_out_and_bins_stay() -> None:
    """A correction by more than a hundred shows noise alone; the bins are those of the check that is not corrected."""
    drawn = simulated_cohorts(oral(), measured_by(oral(), 12, 4, times=(1.0, 4.0, 10.0)), 40, torch.Generator().manual_seed(1))
    population = drawn.population.clone()
    population[0, 0], population[1, 0], population[2, 1] = 1e-6, -1.0, 0.0
    near = replace(drawn, population=population)
    plain, found = predictive_check(near), predictive_check(near, corrected=True)
    np.testing.assert_array_equal(found.edges, plain.edges)
    np.testing.assert_array_equal(plain.count - found.count, [2, 1, 0])
    assert found.left_out == 3
    assert "not above 0" in found.why
    assert "more than 100 times" in found.why
    assert np.abs(found.values).max() < 100.0 * np.abs(plain.values).max()
    without = predictive_check(drawn.people(torch.arange(3, 12)), corrected=True)
    assert without.left_out == 0


def test_of_logarithms_a_correction_is_added() -> None:
    """y + median(PRED) − PRED (Bergstrand et al. 2011, equation 2), by the definition; a PRED below 0 has its place."""
    drawn = simulated_cohorts(oral(), measured_by(oral(), 6, 4, times=(1.0, 4.0)), 40, torch.Generator().manual_seed(1))
    logs = replace(drawn, population=drawn.population - 3.0, about=replace(drawn.about, logarithms=True))
    found = predictive_check(logs, corrected=True)
    pred, y = logs.population[..., 0].numpy(), logs.y[..., 0].numpy()
    want = (y + np.median(pred, 0) - pred).T.ravel()
    np.testing.assert_allclose(np.sort(found.values), np.sort(want), rtol=1e-12)
    assert found.left_out == 0
