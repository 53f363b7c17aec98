"""Modes and marginal likelihoods of people whose lag may pass an observation, against brute force."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from hybrid import Concentration, Dose, HybridModel, Rollout, Schedule
from learned import AdditiveProportional
from physics import Administered, LogNormalPopulation, OneCompartmentOral, Parameter
from tests.training.typical_slopes import slopes_and_differences
from training import Cohort, Record, Search, fit_population, laplace_marginal, personalise
from training.inference import standard_errors
from training.marginal.laplace import penalised_marginal
from training.people.passing import beside

TIMES = np.array([0.5, 1.0, 2.0, 4.0, 8.0, 12.0])
KA, CL, V, OMEGA_V, OMEGA_LAG = 1.5, 2.8, 32.0, 0.2, 0.4
ADDED, SHARE, FLOOR = 0.1, 0.1, 1e-6
FINE = 0.1  # of the noise of people whose likelihood is to be near a Gaussian on either side of the kink


def curve(v: np.ndarray, lag: np.ndarray) -> np.ndarray:  # (..., T)
    """The closed form after 320 mg."""
    ke, tau = (CL / v)[..., None], np.clip(TIMES - lag[..., None], 0.0, None)
    return 320.0 * KA / (v[..., None] * (KA - ke)) * (np.exp(-ke * tau) - np.exp(-KA * tau))


def made(lag: float, noise: float = 1.0) -> HybridModel:
    inner = OneCompartmentOral(parameters="clearance", typical={"ka": KA, "CL": CL, "V": V})
    backbone = Administered(inner, lag={"gut": Parameter("Tlag", "h", lag, 1e-4, 1e3)}, start="empty")
    population = LogNormalPopulation(backbone, {"ka": None, "CL": None, "V": OMEGA_V, "Tlag": OMEGA_LAG})
    head = AdditiveProportional([noise * ADDED], [noise * SHARE], [FLOOR])
    return HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=head)


def records(y: np.ndarray) -> list[Record]:
    dose = Schedule((Dose("gut", 0.0, 320.0),))
    return [Record(f"{i}", dose, TIMES, row[:, None], ("concentration",)) for i, row in enumerate(y)]


def phi(model: HybridModel, y: np.ndarray, one: np.ndarray, other: np.ndarray, noise: float = 1.0) -> np.ndarray:  # (A, L)
    """−log p(y, η) without the constant of the prior, at η = (one, other)."""

    def theta(eta: np.ndarray, j: int) -> np.ndarray:
        with torch.no_grad():
            return model.theta(torch.from_numpy(eta)[None], {})[0, :, j].numpy()

    v, lag = theta(np.stack([one, 0 * one], -1), 2), theta(np.stack([0 * other, other], -1), 3)
    f = curve(v[:, None], lag[None, :])
    variance = noise**2 * (ADDED**2 + (SHARE * f) ** 2) + FLOOR**2
    data = 0.5 * ((y - f) ** 2 / variance + np.log(2.0 * math.pi * variance)).sum(-1)
    return data + 0.5 * (one[:, None] ** 2 + other[None, :] ** 2)


def integral(model: HybridModel, y: np.ndarray, mode: np.ndarray, width: tuple[float, float], noise: float) -> float:
    """−log p(y) on a grid around the mode that is finer than any of its kinks needs."""
    one, other = (m + np.linspace(-w, w, size) for m, w, size in zip(mode, width, (161, 3001), strict=True))
    values = phi(model, y, one, other, noise)
    least = values.min()
    cell = (one[1] - one[0]) * (other[1] - other[0])
    return float(least - math.log(np.exp(least - values).sum() * cell / (2.0 * math.pi)))


def people(count: int, seed: int) -> np.ndarray:  # (N, T)
    rng = np.random.default_rng(seed)
    v = V * np.exp(OMEGA_V * rng.standard_normal(count))
    f = curve(v, 0.5 * np.exp(OMEGA_LAG * rng.standard_normal(count)))
    return f + np.sqrt(ADDED**2 + (SHARE * f) ** 2) * rng.standard_normal(f.shape)


def test_modes_are_found_on_both_sides_of_every_observation() -> None:
    """The typical lag is an observation's own time: a search from there alone ends on the wrong side for some."""
    model, y = made(0.5), people(12, 0)
    cohort = Cohort.of(records(y), model)
    found = personalise(model, cohort)
    alone = personalise(model, cohort, start=torch.zeros_like(found.mode))
    for i, row in enumerate(y):
        one, other = np.linspace(-4.0, 4.0, 161), np.linspace(-4.0, 4.0, 1601)
        constant = 0.5 * len(TIMES) * math.log(2.0 * math.pi)
        least = float(phi(model, row, one, other).min()) - constant
        # the lowest point of the grid is never below the mode but for rounding, and a mode on the wrong side is far above it
        assert float(found.objective[0, i]) < least + 1e-3, i
    assert bool((found.objective <= alone.objective + 1e-6).all())
    assert float((alone.objective - found.objective).max()) > 1.0  # or these people would test nothing


def at_a_kink() -> np.ndarray:  # (1, T)
    """A person whose later samples say that the dose arrived a little before 1 h, where nothing was found."""
    y = curve(np.array([V]), np.array([0.99]))
    y[0, :2] = (0.005, -0.015)
    return y


def test_at_a_kink_the_marginal_likelihood_and_its_slope_are_those_of_the_integral() -> None:
    model, y = made(0.7, FINE), at_a_kink()
    cohort = Cohort.of(records(y), model)
    found = laplace_marginal(model, cohort)
    mode = found.mode[0, 0].numpy()
    lag = model.theta(found.mode, {})[0, 0, 3].detach()
    assert abs(float(lag) - 1.0) < 1e-4
    assert not bool(found.converged.any())

    def exact(lag: float) -> float:
        # twelve standard deviations of V, and the lags that are likely at all
        return integral(made(lag, FINE), y[0], mode, (0.6, 0.2), FINE)

    # of six samples what is left of Laplace's method is less than a tenth
    assert abs(float(found.value.detach()) - exact(0.7)) < 0.1
    slope = slopes_as_differences(model, lambda: laplace_marginal(model, cohort, start=found.mode).value.sum())
    ends = [exact(0.7 * math.exp(h)) for h in (0.001, -0.001)]
    assert abs(float(slope[3]) - (ends[0] - ends[1]) / 0.002) < 0.1


def slopes_as_differences(model: HybridModel, value: Callable[[], torch.Tensor]) -> torch.Tensor:  # (q,)
    """The slope along the typical values, which is that of differences."""
    slopes, differences = slopes_and_differences(model, value)
    for k, (slope, difference) in enumerate(zip(slopes, differences, strict=True)):
        assert abs(float(slope - difference)) < 1e-2 + 1e-3 * abs(float(slope)), k
    return slopes


def test_at_a_kink_a_penalty_is_added_and_its_slope_follows_the_mode() -> None:
    model = made(0.7, FINE)
    cohort = Cohort.of(records(at_a_kink()), model)
    alone = laplace_marginal(model, cohort)

    def cost(one: HybridModel, run: Rollout, rows: torch.Tensor) -> torch.Tensor:
        assert rows.tolist() == [0]
        assert run.theta.shape[:2] == (1, 1)
        return 100.0 * run.theta[..., 2].log()

    def value() -> torch.Tensor:
        return penalised_marginal(model, cohort, alone.mode, "fisher", cost, 40, None).value.sum()

    more = 100.0 * math.log(float(model.theta(alone.mode, {})[0, 0, 2].detach()))
    # the mode that the formula takes is on the kink itself, within 1e-4 of the lag of the one that the search found
    assert abs(float(value().detach() - alone.value.detach().sum()) - more) < 0.05
    (place,) = [p for p in model.population.parameters() if p.requires_grad]
    (own,) = torch.autograd.grad(alone.value.sum(), place)
    assert float((slopes_as_differences(model, value) - own[0]).abs().max()) > 1.0  # or the penalty would test nothing


def test_a_fit_has_the_likelihood_of_a_kink() -> None:
    """The objective and the slope with which it begins are those of `laplace_marginal`."""
    model = made(0.7, FINE)
    cohort = Cohort.of(records(at_a_kink()), model)
    step = next(iter(fit_population(model, cohort, search=Search(steps=1))))
    found = laplace_marginal(model, cohort)
    assert not bool(found.converged.any())
    assert float(step.loss) == pytest.approx(float(found.value.detach().mean()), abs=1e-9)
    learned = [p for p in model.parameters() if p.requires_grad]
    largest = max(float(g.abs().max()) for g in torch.autograd.grad(found.value.mean(), learned))
    assert float(step.slope) == pytest.approx(largest, rel=1e-6)


def test_who_is_beside_a_kink_is_said() -> None:
    cohort = Cohort.of(records(people(3, 3)), made(0.75, FINE))
    model = made(0.75, FINE)
    assert laplace_marginal(model, cohort).beside is not None
    # log lag ± .004 of their own from ln 1 h, where the third of them is measured; and from ln .75 h, where nobody is
    eta, covariance = torch.zeros(1, 3, 2, dtype=torch.float64), 1e-4 * torch.eye(2, dtype=torch.float64).expand(1, 3, 2, 2)
    assert not beside(model, cohort, eta, covariance).any()
    near = (math.log(1.0 / 0.75) - 0.006) / OMEGA_LAG
    eta[0, 2, 1] = near
    assert beside(model, cohort, eta, covariance).tolist() == [[False, False, True]]
    eta[0, 2, 1] = near - 0.01 / OMEGA_LAG
    assert not beside(model, cohort, eta, covariance).any()
    assert laplace_marginal(plain(), Cohort.of(records(people(3, 3)), plain())).beside is None


@pytest.mark.slow
def test_whoever_is_far_from_the_integral_is_said_to_be_beside_a_kink() -> None:
    model, y = made(0.5), people(24, 3)
    cohort = Cohort.of(records(y), model)
    found = laplace_marginal(model, cohort)
    assert found.beside is not None
    whole = [integral(model, row, np.zeros(2), (5.0, 5.0), 1.0) for row in y]
    off = (found.value[0].detach() - torch.tensor(whole, dtype=torch.float64)).abs()
    # two of these are 1.3 and 2.3 nats off, and the worst of the others .21, which is what Laplace's method leaves
    assert float(off.max()) > 1.0
    assert float(off[~found.beside[0]].max()) < 0.3


def plain() -> HybridModel:
    """Without a lag."""
    inner = OneCompartmentOral(parameters="clearance", typical={"ka": KA, "CL": CL, "V": V})
    population = LogNormalPopulation(inner, {"ka": None, "CL": None, "V": OMEGA_V})
    head = AdditiveProportional([ADDED], [SHARE], [FLOOR])
    return HybridModel(inner, population, observation=Concentration("plasma", "V"), noise=head)


@pytest.mark.slow
def test_the_error_of_a_lag_says_that_kinks_are_near() -> None:
    model, cohort = made(0.5), Cohort.of(records(people(6, 3)), made(0.5))
    said = [one for one in standard_errors(model, cohort).sentences() if "the standard error of Tlag" in one]
    assert len(said) == 1
    near = laplace_marginal(model, cohort).beside
    assert near is not None
    assert said[0].startswith(f"The dose of {int(near.sum())} of 6 people would begin to arrive")
    assert not any("Tlag" in one for one in standard_errors(plain(), Cohort.of(records(people(6, 3)), plain())).sentences())
