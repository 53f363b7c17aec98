"""Lag, fraction, duration and first amounts as θ of people: slopes of the likelihood, personal modes, and a fit."""

import math

import numpy as np
import pytest
import torch

from hybrid import Concentration, Dose, HybridModel, Schedule, simulate
from learned import AdditiveProportional
from physics import Administered, LogNormalPopulation, OneCompartmentOral, Parameter
from tests.training.typical_slopes import slopes_and_differences
from training import Cohort, Record, Search, fit, fit_population, laplace_marginal, personalise, shoot

LAG = Parameter("Tlag", "h", 0.5, 0.01, 4.0)
F = Parameter("F", "1", 0.8, 0.05, 1.5)
D = Parameter("D2", "h", 2.0, 0.1, 24.0)
FIRST = Parameter("A0", "mg", 20.0, 1.0, 300.0)
TIMES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0, 12.0, 24.0)
SCHEDULE = Schedule((Dose("gut", 0.0, 320.0), Dose("plasma", 6.0, 100.0, modelled="duration")))


def made(typical: tuple[float, ...] = (0.5, 0.8, 2.0, 20.0)) -> HybridModel:
    inner = OneCompartmentOral(parameters="clearance", typical={"ka": 1.5, "CL": 2.8, "V": 32.0})
    lag, fraction, duration, first = (
        Parameter(p.name, p.unit, value, p.low, p.high) for p, value in zip((LAG, F, D, FIRST), typical, strict=True)
    )
    backbone = Administered(
        inner, lag={"gut": lag}, fraction={"gut": fraction}, duration={"plasma": duration}, initial={"plasma": first}
    )
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone, {"ka": 0.3, "CL": 0.2, "V": 0.2, "Tlag": 0.3, "F": 0.1, "D2": 0.2, "A0": 0.2}),
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([0.1], [0.05], [0.01]),
    )


def people(model: HybridModel, count: int, seed: int) -> list[Record]:
    generator = torch.Generator().manual_seed(seed)
    eta = torch.randn(1, count, model.personal, generator=generator, dtype=torch.float64)
    theta = model.theta(eta, {}).detach()
    states = simulate(model, [SCHEDULE] * count, [list(TIMES)] * count, theta)
    mean = model.observation.mean(states, theta)
    noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
    y = (mean + model.noise.variance(mean, states, mean[..., :0]).sqrt() * noise)[0].detach().numpy()
    return [Record(f"{i}", SCHEDULE, np.array(TIMES), y[i], ("concentration",)) for i in range(count)]


@pytest.mark.parametrize("curvature", ["fisher", "observed"])
def test_slopes_of_the_marginal_likelihood_are_those_of_differences(curvature: str) -> None:
    """In the typical values of all seven, where no arrival is within the difference of an observation."""
    model = made((0.61, 0.8, 2.3, 20.0))
    cohort = Cohort.of(people(model, 2, 0), model)
    mode = laplace_marginal(model, cohort).mode

    def value() -> torch.Tensor:
        return laplace_marginal(model, cohort, start=mode, curvature=curvature).value.sum()  # type: ignore[arg-type]

    # of a smaller step the value's own noise, some 1e-6 of second differences, is a share that the gate would feel
    slopes, differences = slopes_and_differences(model, value, 1e-3)
    assert slopes.shape == (7,)
    for k, (slope, difference) in enumerate(zip(slopes.tolist(), differences.tolist(), strict=True)):
        # second differences of φ and the steps of rk4, which are as many at both ends but where they cross a whole number
        assert slope == pytest.approx(difference, rel=2e-3, abs=2e-3), k


def test_personal_modes_are_the_same_whoever_else_is_there() -> None:
    model = made()
    records = people(model, 4, 1)
    together = personalise(model, Cohort.of(records, model))
    alone = personalise(model, Cohort.of(records[2:3], model))
    # a mode may lie where the lag is an observation's time: φ has a kink there, and no step ends the search
    assert int(together.converged.sum()) >= 3
    assert bool(together.converged[0, 2]) == bool(alone.converged[0, 0])
    assert torch.allclose(together.mode[:, 2], alone.mode[:, 0], atol=1e-6)


def test_a_fit_moves_the_lag_and_a_dose_that_asks_for_a_gradient_is_refused() -> None:
    truth, start = made((0.8, 0.8, 2.0, 20.0)), made((0.5, 0.8, 2.0, 20.0))
    cohort = Cohort.of(people(truth, 5, 2), start)
    before = start.theta(torch.zeros(1, 1, 7, dtype=torch.float64), {})[0, 0].detach()
    *_, last = fit_population(start, cohort, search=Search(steps=8))
    after = last.best.model.theta(torch.zeros(1, 1, 7, dtype=torch.float64), {})[0, 0].detach()
    assert abs(float(after[3]) - 0.8) < 0.15 < abs(float(before[3]) - 0.8)
    *_, step = fit(start, cohort, search=Search(steps=3))
    assert math.isfinite(float(step.loss.detach().mean()))
    lag = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    moving = [
        Record("1", Schedule((Dose("gut", 0.0, 320.0, lag=lag),)), np.array(TIMES), np.ones((10, 1)), ("concentration",))
    ]
    with pytest.raises(ValueError, match="from one window into the next"):
        next(iter(shoot(start, cohort, count=2)))
    for fitted in (fit, fit_population):
        with pytest.raises(ValueError, match="asks for a gradient"):
            next(iter(fitted(start, Cohort.of(moving, start))))
