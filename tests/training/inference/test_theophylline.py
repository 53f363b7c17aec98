"""Theophylline, the field's own example: each approximation at its own optimum, beside what other programs print."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad_vec
from scipy.optimize import minimize
from torch import Tensor

from homeostat.data import THEOPHYLLINE_UNITS, theophylline
from hybrid import Concentration, HybridModel, RungeKutta
from learned import Constant
from physics import Administered, LogNormalPopulation, OneCompartmentOral
from tests.training.test_marginal import curved, negative_log_posterior
from training import Cohort, Fitted, last, read_nonmem
from training.inference import objective_value, polish, quadrature_marginal, standard_errors

F64 = torch.float64


# --- quadrature where nothing is linear


def test_quadrature_against_an_adaptive_integral() -> None:
    """One coordinate that acts through a network, noise that depends on the mean: scipy integrates the same function."""
    model, cohort = curved()

    def density(away: float) -> np.ndarray:  # (3,), of everyone at once, so far from their mode
        with torch.no_grad():
            return torch.exp(-negative_log_posterior(model, cohort, mode[0] + away)[:, 0]).numpy()

    def value(nodes: int) -> Tensor:
        return quadrature_marginal(model, cohort, nodes=nodes, solver=RungeKutta("rk4")).value[0].detach()

    found, mode = value(25), quadrature_marginal(model, cohort, nodes=1, solver=RungeKutta("rk4")).mode
    whole, _ = quad_vec(density, -6.0, 6.0, epsabs=0.0, epsrel=1e-8, norm="max", limit=100)
    # what lies beyond 6 standard deviations of the prior, and 25 nodes of a smooth function
    np.testing.assert_allclose(found.numpy(), -np.log(whole), rtol=0.0, atol=1e-6)
    errors = [float((value(k) - found).abs().max()) for k in (1, 3, 7)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.1 * errors[0]


def test_its_slope_is_that_of_the_integral() -> None:
    model, cohort = curved()
    tensor = model.noise.get_parameter("log_additive")
    found = quadrature_marginal(model, cohort, nodes=25, solver=RungeKutta("rk4"))
    (slope,) = torch.autograd.grad(found.value.sum(), tensor)
    ends = []
    for step in (1e-3, -1e-3):
        with torch.no_grad():
            tensor.add_(step)
        ends.append(float(quadrature_marginal(model, cohort, nodes=25, solver=RungeKutta("rk4")).value.sum().detach()))
        with torch.no_grad():
            tensor.sub_(step)
    # truncation h² f‴/6 ≈ 1e-6 of a slope of order 1, and the error of 25 nodes over h
    assert float(slope) == pytest.approx((ends[0] - ends[1]) / 2e-3, abs=1e-4)


def test_nobody_depends_on_who_else_is_there_nor_on_how_many_are_simulated_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, cohort = curved()
    together = quadrature_marginal(model, cohort, nodes=9, solver=RungeKutta("rk4")).value.detach()
    monkeypatch.setattr("training.inference.quadrature._ROWS", 4)
    assert torch.allclose(
        quadrature_marginal(model, cohort, nodes=9, solver=RungeKutta("rk4")).value, together, atol=1e-9
    )
    alone = quadrature_marginal(
        model, cohort.people(torch.tensor([1])), nodes=9, solver=RungeKutta("rk4")
    ).value.detach()
    assert float(alone[0, 0]) == pytest.approx(float(together[0, 1]), abs=1e-9)


# --- theophylline


@cache
def study() -> tuple[HybridModel, Cohort]:
    """ka–CL–V of all 132 values, boxes so wide that none bends, started where programs end."""
    inner = OneCompartmentOral(
        *((0.01, 250.0),),
        CL=(0.01, 800.0),
        V=(0.1, 10_000.0),
        parameters="clearance",
        faster=None,
        typical={"ka": 1.59, "CL": 2.75, "V": 31.8},
    )
    backbone = Administered(inner, start="empty")
    population = LogNormalPopulation(backbone, {"ka": 0.63, "CL": 0.26, "V": 0.14}, learn_spread=True)
    model = HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=Constant([0.69], [1e-6]))
    cohort = Cohort.of(read_nonmem(theophylline(), units=THEOPHYLLINE_UNITS), model)
    return model, cohort


@cache
def at_optimum(approximation: Any, nodes: int = 1) -> Fitted:
    model, cohort = study()
    # five nodes are people for whom the mesh still serves; the thirteenth is not
    fitted = last(
        polish(model, cohort, approximation=approximation, nodes=nodes, tolerance=1e-5, solver=RungeKutta("rk4"))
    )
    assert bool(fitted.step.converged.all())  # type: ignore[union-attr]
    return fitted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("approximation", "ofv", "typical", "omega", "sd"),
    [
        # both by a program in numpy on the closed form as well; nlmixr2 prints 116.80 by FOCEI
        ("focei", 116.8078, (1.5902, 2.7516, 31.810), (0.6343, 0.2629, 0.1385), 0.6944),
        # printed is 118.527, at numbers where the function is not level; this is its minimum, below
        ("laplace", 118.5080, (1.5802, 2.7511, 31.618), (0.6312, 0.2648, 0.1351), 0.6956),
    ],
)
def test_each_approximation_ends_where_other_programs_do(
    approximation: Any, ofv: float, typical: tuple[float, ...], omega: tuple[float, ...], sd: float
) -> None:
    _, cohort = study()
    fitted = at_optimum(approximation)
    found = objective_value(fitted.model, cohort, approximation=approximation, start=fitted.personal)
    assert found.measurements == 132
    assert float(found.ofv[0]) == pytest.approx(ofv, abs=2e-3)  # what the steps of the mesh make of it
    errors = standard_errors(fitted.model, cohort, approximation=approximation, start=fitted.personal)
    value = dict(zip(errors.names, errors.value[0].tolist(), strict=True))
    for name, expected in zip(("ka", "CL", "V", "omega(ka)", "omega(CL)", "omega(V)"), (*typical, *omega), strict=True):
        assert value[name] == pytest.approx(expected, rel=0.003)
    assert value["additive(concentration)"] == pytest.approx(sd, rel=0.003)
    assert float(errors.away[0]) < 5e-4  # so near is the optimum
    assert errors.sentences() == []


@pytest.mark.slow
def test_quadrature_ends_where_thirteen_nodes_do() -> None:
    _, cohort = study()
    fitted = at_optimum("quadrature", 5)
    found = objective_value(fitted.model, cohort, approximation="quadrature", nodes=13, start=fitted.personal)
    assert float(found.ofv[0]) == pytest.approx(118.105, abs=0.02)
    assert found.nodes == 13


def closed_form(cohort: Cohort) -> Callable[[Tensor, Tensor], Tensor]:
    """φ (N,) of η (N, 3) and (log ka, log CL, log V, log ω ×3, log σ): −log p(y, η) whole, of the textbook's curve."""
    y, t = cohort.y[..., 0], cohort.times
    dose = torch.tensor([record.schedule.doses[0].amount for record in cohort.records], dtype=F64)[:, None]

    def function(eta: Tensor, point: Tensor) -> Tensor:
        ka, CL, V = torch.exp(point[:3] + point[3:6].exp() * eta).unbind(-1)
        ke = CL / V
        mean = dose * (ka / V / (ka - ke))[:, None] * (torch.exp(-ke[:, None] * t) - torch.exp(-ka[:, None] * t))
        there = torch.isfinite(y)
        z = torch.where(there, (y - mean) / point[6].exp(), 0.0)
        each = torch.where(there, point[6] + 0.5 * math.log(2.0 * math.pi), 0.0)
        return (0.5 * z.square() + each).sum(1) + 0.5 * eta.square().sum(1) + 1.5 * math.log(2.0 * math.pi)

    return function


def by_hand(cohort: Cohort, point: Tensor, eta: Tensor) -> tuple[float, Tensor]:
    """−2 log L by Laplace's method without n log 2π, and the modes, by Newton's method; Hessians are exact, by autograd."""
    function = closed_form(cohort)
    for _ in range(50):
        eta = eta.detach().requires_grad_()
        now = function(eta, point)
        (slope,) = torch.autograd.grad(now.sum(), eta, create_graph=True)
        H = torch.stack([torch.autograd.grad(slope[:, j].sum(), eta, retain_graph=True)[0] for j in range(3)], -1)
        if float(slope.detach().abs().max()) < 1e-10:
            break
        bends, axes = torch.linalg.eigh(H.detach())  # far from a mode H may bend downwards, where Newton would climb
        step = (axes @ ((axes.mT @ slope.detach()[..., None]) / bends.abs()[..., None]))[..., 0]
        share = torch.ones(len(eta), 1, dtype=F64)
        for _ in range(20):  # whoever would go up goes half as far
            up = function(eta.detach() - share * step, point) > now.detach() + 1e-12
            share = torch.where(up[:, None], 0.5 * share, share)
        eta = eta - share * step
    assert float(slope.detach().abs().max()) < 1e-7
    value = 2.0 * (now + 0.5 * torch.logdet(H) - 1.5 * math.log(2.0 * math.pi)).sum()
    return float(value.detach()) - 132 * math.log(2.0 * math.pi), eta.detach()


@pytest.mark.slow
def test_laplace_is_the_textbooks_on_the_closed_form() -> None:
    """No simulation: the same value, and level there."""
    _, cohort = study()
    fitted = at_optimum("laplace")
    found = objective_value(fitted.model, cohort, approximation="laplace", start=fitted.personal)
    errors = standard_errors(fitted.model, cohort, approximation="laplace", start=fitted.personal)
    at, modes = errors.value[0].log(), fitted.personal[0].detach()
    # steps of the mesh against the closed form: some 1e-4
    assert by_hand(cohort, at, modes)[0] == pytest.approx(float(found.ofv[0]), abs=2e-3)
    for j in range(7):
        h = 0.02 * torch.eye(7, dtype=F64)[j]
        low, middle, high = (by_hand(cohort, at + k * h, modes)[0] for k in (-1.0, 0.0, 1.0))
        # the minimum of the parabola lies within a thousandth of where we are: ω within .1 %
        assert abs(0.5 * (low - high) / (low + high - 2.0 * middle) * 0.02) < 2e-3


@pytest.mark.slow
def test_the_printed_optimum_of_laplace_is_a_point_on_the_way() -> None:
    """118.527 is this very function at the printed numbers, where it is not level: its minimum is 118.5080.

    So the value that is asked for and ours are one approximation, to the digit, at two points. Ours is the lower.
    """
    _, cohort = study()
    modes = torch.zeros(12, 3, dtype=F64)
    printed = torch.tensor([1.5821, 2.7401, 31.56, 0.631, 0.262, 0.138, 0.691], dtype=F64).log()

    def value(point: np.ndarray) -> float:
        nonlocal modes
        found, modes = by_hand(cohort, torch.from_numpy(point), modes)
        return found

    # four figures of each number: 118.5261 and 118.527 are printed of it
    assert value(printed.numpy()) == pytest.approx(118.527, abs=1e-3)
    for start in (printed.numpy(), printed.numpy() + 0.1 * np.array([1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0])):
        found = minimize(value, start, method="BFGS", options={"gtol": 1e-4})  # of 1e-4 the rest is 1e-9 in the value
        assert found.fun == pytest.approx(118.508032, abs=2e-6)  # 118.50803233 by a program in numpy, derivatives by hand
        # how flat it is: CL .4 % and ω(V) 2 % away from the printed ones cost .019
        assert np.exp(found.x) == pytest.approx([1.58021, 2.75111, 31.6183, 0.63115, 0.26480, 0.13506, 0.69563], rel=1e-4)
