"""Marginal likelihoods of people whose dose begins to arrive, or ends, at an observation of what it goes into: against grids."""

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from hybrid import Concentration, Dose, HybridModel, Schedule
from learned import Constant
from physics import Administered, LinearisedBackbone, LogNormalPopulation, Mechanism, Parameter
from tests.training.typical_slopes import slopes_and_differences
from training import Cohort, Record, laplace_marginal
from training.marginal.kinks import log_half
from training.people.passing import pinned

CL, V, AMOUNT = 6.0, 30.0, 300.0
OMEGA_LAG, OMEGA_V, OMEGA_D, NOISE, FLOOR = 0.3, 0.2, 0.6, 0.5, 0.01
TIMES = np.array([0.8, 1.0, 1.25, 1.5, 3.0, 6.0])
INFUSED = np.array([1.0, 2.0, 3.0, 6.0])


class Plasma(Mechanism):
    time_unit = "h"
    states: ClassVar = {"plasma": "mg"}
    scale: ClassVar = {"plasma": 100.0}
    physical = (Parameter("CL", "L/h", CL, 0.3, 60.0), Parameter("V", "L", V, 3.0, 300.0))

    def rate(self, x, u, theta):  # type: ignore[no-untyped-def]
        return {"plasma": -theta.CL / theta.V * x.plasma}


def made(lag: float = 1.0, volume: float | None = None) -> HybridModel:
    """A bolus with a lag into what is measured; `volume`, the spread of V."""
    backbone = Administered(
        LinearisedBackbone(Plasma(), x={"plasma": 0.0}), lag={"plasma": Parameter("lag", "h", lag, 0.05, 20.0)}, start="empty"
    )
    population = LogNormalPopulation(backbone, {"CL": None, "V": volume, "lag": OMEGA_LAG})
    return HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=Constant([NOISE], [FLOOR]))


def curve(lag: np.ndarray, v: np.ndarray, times: np.ndarray = TIMES) -> np.ndarray:  # (..., T)
    """An observation at the very time of the bolus is read before it."""
    since = times - lag[..., None]
    return np.where(since > 0.0, AMOUNT / v[..., None] * np.exp(-CL / v[..., None] * np.maximum(since, 0.0)), 0.0)


def cohort(model: HybridModel, y: np.ndarray, times: np.ndarray = TIMES, *, dose: Dose | None = None) -> Cohort:
    schedule = Schedule((dose or Dose("plasma", 0.0, AMOUNT),))
    return Cohort.of([Record(f"{i}", schedule, times, row[:, None], ("concentration",)) for i, row in enumerate(y)], model)


def integral(y: np.ndarray, mean: np.ndarray, prior: np.ndarray, cell: float) -> float:
    """−log Σ N(y; mean, noise) prior · cell, over the first axis."""
    variance = NOISE**2 + FLOOR**2
    data = 0.5 * ((y - mean) ** 2 / variance + math.log(2.0 * math.pi * variance)).sum(-1) + prior
    return float(data.min() - math.log(np.exp(data.min() - data).sum() * cell))


def people(count: int, seed: int, spread: float = 0.0, times: np.ndarray = TIMES) -> np.ndarray:
    rng = np.random.default_rng(seed)
    lag, v = np.exp(OMEGA_LAG * rng.standard_normal(count)), V * np.exp(spread * rng.standard_normal(count))
    return curve(lag, v, times) + NOISE * rng.standard_normal((count, len(times)))


def normal(z: np.ndarray) -> np.ndarray:
    return 0.5 * z**2 + 0.5 * math.log(2.0 * math.pi)


@pytest.mark.parametrize(
    ("slope", "curvature", "room"),
    [
        *((3.0, 2.0, 60.0), (-3.0, 2.0, 60.0), (-30.0, 2.0, 60.0), (0.0, 1.0, 60.0)),
        *((5.0, 2.0, 1e-3), (-5.0, 2.0, 0.2), (-5.0, 2.0, 3.0)),
    ],
)
def test_half_of_a_gaussian(slope: float, curvature: float, room: float) -> None:
    s, h, r = (torch.tensor(v, dtype=torch.float64) for v in (slope, curvature, room))
    top = max(0.0, min(-slope / curvature, room))  # where the integrand is largest
    most = -slope * top - 0.5 * curvature * top**2

    def density(x: float) -> float:
        return math.exp(-slope * x - 0.5 * curvature * x**2 - most)

    exact = most + math.log(quad(density, 0.0, room, points=[top], limit=200, epsabs=0.0)[0])
    assert float(log_half(s, h, r)) == pytest.approx(exact, abs=1e-7)
    assert torch.autograd.gradcheck(log_half, tuple(v.clone().requires_grad_() for v in (s, h, r)), eps=1e-6, rtol=1e-4)


def test_a_mode_at_a_cliff_has_the_likelihood_of_the_integral() -> None:
    """A bolus that arrives at a measurement of what it goes into: everyone's own level on either side."""
    model, y = made(), people(60, 3)
    given = cohort(model, y)
    found = laplace_marginal(model, given)
    z = np.linspace(-5.0, 5.0, 20001)
    mean, cell = curve(np.exp(OMEGA_LAG * z), np.full_like(z, V)), z[1] - z[0]
    exact = np.array([integral(row, mean, normal(z), cell) for row in y])
    edge = pinned(model, given, found.mode)
    at = (edge.people & ~found.converged)[0].numpy()
    assert at.sum() >= 20  # of 60, or this would test nothing
    off = found.value[0].detach().numpy() - exact
    # the grid's own cell at a jump, and what Laplace's method leaves of one coordinate: .07 at most of these
    assert np.abs(off[at]).max() < 0.12
    # some measured the dose at its arrival already, others not yet: the low side is the earlier one, and the later one
    measured = y[np.arange(len(y)), np.abs(TIMES - edge.delay[0].numpy()[:, None]).argmin(1)]
    assert (measured[at] > 5.0).sum() >= 3
    assert (measured[at] < 5.0).sum() >= 3
    assert found.beside is not None
    assert bool(found.beside[0][edge.people[0]].all())
    # who is beside a cliff without lying at it has a Gaussian of which at most half is there; all others are as they should be
    assert np.abs(off[~found.beside[0].numpy()]).max(initial=0.0) < 0.2
    assert np.abs(off).max() < 1.2


def test_every_stretch_between_two_measurements_is_looked_into() -> None:
    """No search crosses a cliff: of a dozen measurements within reach of the lag each has a minimum on either side."""
    times = np.array([0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.01, 1.1, 1.25, 1.4, 1.5, 1.8, 2.0, 3.0, 6.0])  # two nearer than the grid
    model, y = made(), people(80, 103, times=times)
    found = laplace_marginal(model, cohort(model, y, times))
    z = np.linspace(-5.0, 5.0, 20001)
    mean = curve(np.exp(OMEGA_LAG * z), np.full_like(z, V), times)
    exact = np.array([integral(row, mean, normal(z), z[1] - z[0]) for row in y])
    # a stretch that is passed over costs some hundred nats; a Gaussian cut off on both sides, a nat or two
    assert np.abs(found.value[0].detach().numpy() - exact).max() < 3.0


def test_a_cliff_of_two_coordinates_and_its_slopes() -> None:
    """Across the edge half-lines, along it the curvature; what is trained moves the value as differences say."""
    model, y = made(volume=OMEGA_V), people(40, 5, OMEGA_V)
    given = cohort(model, y)
    found = laplace_marginal(model, given)
    at = (pinned(model, given, found.mode).people & ~found.converged)[0]
    assert int(at.sum()) >= 10
    one, other = np.linspace(-5.0, 5.0, 301), np.linspace(-5.0, 5.0, 4001)
    mean = curve(np.exp(OMEGA_LAG * other)[None, :], V * np.exp(OMEGA_V * one)[:, None]).reshape(-1, len(TIMES))
    prior = (normal(one)[:, None] + normal(other)[None, :]).reshape(-1)
    cell = (one[1] - one[0]) * (other[1] - other[0])
    for i in torch.nonzero(at)[:8, 0].tolist():
        assert float(found.value[0, i].detach()) == pytest.approx(integral(y[i], mean, prior, cell), abs=0.2), i

    def value() -> torch.Tensor:
        return laplace_marginal(model, given, start=found.mode).value[0, at].sum()

    assert_slope(model, value)


def assert_slope(model: HybridModel, value: Callable[[], torch.Tensor]) -> None:
    """Along the typical values it is that of differences."""
    for k, (slope, difference) in enumerate(zip(*slopes_and_differences(model, value), strict=True)):
        # differences leave 1e-8 of the third derivative, and the modes' own accuracy over the step
        assert abs(float(slope - difference)) < 2e-2 + 2e-3 * abs(float(slope)), k


def infused() -> HybridModel:
    backbone = Administered(
        LinearisedBackbone(Plasma(), x={"plasma": 0.0}), duration={"plasma": Parameter("D", "h", 2.0, 0.05, 20.0)}, start="empty"
    )
    population = LogNormalPopulation(backbone, {"CL": None, "V": None, "D": OMEGA_D})
    return HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=Constant([NOISE], [FLOOR]))


def run_in(duration: np.ndarray) -> np.ndarray:  # (..., T)
    d, k = duration[..., None], CL / V
    there = AMOUNT / d / CL * (1.0 - np.exp(-k * np.minimum(INFUSED, d)))
    return there * np.exp(-k * np.maximum(INFUSED - d, 0.0))


def test_the_end_of_an_infusion_makes_a_kink_as_well() -> None:
    rng = np.random.default_rng(3)
    duration = 2.0 * np.exp(OMEGA_D * rng.standard_normal(200))
    y = run_in(duration) + NOISE * rng.standard_normal((200, len(INFUSED)))
    model = infused()
    given = cohort(model, y, INFUSED, dose=Dose("plasma", 0.0, AMOUNT, modelled="duration"))
    found = laplace_marginal(model, given)
    z = np.linspace(-5.0, 5.0, 10001)
    mean = run_in(2.0 * np.exp(OMEGA_D * z))
    off = found.value[0].detach().numpy() - np.array([integral(row, mean, normal(z), z[1] - z[0]) for row in y])
    at = pinned(model, given, found.mode).people[0].numpy()
    assert at.sum() >= 3
    assert np.abs(off[at]).max() < 0.12
    assert found.beside is not None
    near = found.beside[0].numpy()
    assert near[at].all()
    assert 10 <= (~near).sum() < 200
    # whoever is far from the integral is said to be beside an edge: of four samples Laplace's method leaves half a nat to others
    assert np.abs(off[~near]).max() < 0.6
    assert np.abs(off[near]).max() > 0.7
