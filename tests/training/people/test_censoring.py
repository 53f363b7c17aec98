"""Values between limits in everything that is made small: closed forms, differences, one-dimensional quadrature, refusals."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import minimize_scalar

from homeostat.gallery.opening import what_it_is
from hybrid import Concentration, Dose, HybridModel, Schedule, predict, rollout
from hybrid.defaults import differentiating
from hybrid.filters import UKF, Followed, follow
from learned import AdditiveProportional, Constant, Zero
from physics import LogNormalPopulation, OneCompartmentOral
from training import (
    Cohort,
    Objective,
    Record,
    Search,
    beta_nll,
    fit,
    fit_population,
    gaussian_crps,
    laplace_marginal,
    last,
    personalise,
    shoot,
)
from training.people.between import log_between
from training.people.information import expand, limits_information, observed_information, sensitivity
from training.people.likelihoods import gaussian_nll, standardised
from training.trust import Outcome

NAN, INF = float("nan"), float("inf")
D = torch.float64
UNITS = {"time": "h", "dose": "mg", "concentration": "mg/L"}
TIMES = (0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 24.0, 30.0)


def model(spread=(0.4, 0.3, 0.3), noise=None) -> HybridModel:
    backbone = OneCompartmentOral()
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, list(spread)),
        Zero(2, 0, 0),
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([0.2], [0.1], [0.05]) if noise is None else noise,
    )


def people(count: int = 4, low: float = 1.0, high: float = INF, seed: int = 3) -> list[Record]:
    """Simulated, with whatever is below `low` or above `high` only known to be so."""
    m, g = model(), torch.Generator().manual_seed(seed)
    schedule = Schedule((Dose("gut", 0.0, 300.0),))
    blank = [Record(f"{i}", schedule, TIMES, [1.0] * len(TIMES), "concentration", units=UNITS) for i in range(count)]
    eta = torch.randn(1, count, 3, generator=g, dtype=D)
    with torch.no_grad():
        run = rollout(m, Cohort.of(blank, m).conditions, eta)
        y = (run.mean + run.variance.sqrt() * torch.randn(run.mean.shape, generator=g, dtype=D))[0, ..., 0].numpy()
    found = []
    for record, own in zip(blank, y, strict=True):
        below, above = own < low, own > high
        found.append(
            replace(
                record,
                values=np.where(below | above, NAN, own)[:, None],
                upper=np.where(below, low, NAN)[:, None],
                lower=np.where(above, high, NAN)[:, None],
            )
        )
    return found


def test_the_likelihood_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    mean, sd = rng.normal(2.0, 1.0, (2, 3, 4, 1)), rng.uniform(0.2, 1.5, (2, 3, 4, 1))
    y = rng.normal(2.0, 1.5, (3, 4, 1))
    lower, upper = np.full(y.shape, -INF), np.full(y.shape, INF)
    upper[0, :2], y[0, :2] = 1.0, NAN  # below
    lower[1, 1], y[1, 1] = 2.5, NAN  # above
    lower[2, 3], upper[2, 3], y[2, 3] = 0.5, 1.5, NAN  # between
    y[2, 0] = NAN  # missing
    limits = np.stack([lower, upper], -1)
    law = stats.norm(mean, sd)
    numbers = np.where(np.isnan(y), 0.0, law.logpdf(np.nan_to_num(y)) + 0.5 * np.log(2 * np.pi))
    there = np.isfinite(limits).any(-1)
    between = np.where(there, np.log(law.cdf(upper) - law.cdf(lower)), 0.0)
    given = [torch.from_numpy(v) for v in (y, mean, sd**2, limits)]
    np.testing.assert_allclose(gaussian_nll(*given), -(numbers + between).sum((-1, -2)), rtol=1e-12)
    # M4: everything known, measured or not, given that it is above 0
    conditioned = np.where(there, np.log(law.cdf(upper) - law.cdf(np.maximum(lower, 0.0))), 0.0)
    known = np.where(there | ~np.isnan(y), law.logsf(0.0), 0.0)
    np.testing.assert_allclose(
        gaussian_nll(*given, positive=True), -(numbers + conditioned - known).sum((-1, -2)), rtol=1e-11
    )
    # M1: what is not a number is left out
    np.testing.assert_allclose(gaussian_nll(*given[:3]), -numbers.sum((-1, -2)), rtol=1e-12)


def test_the_value_of_an_interval_and_its_complement_add_up_to_one() -> None:
    mean, variance = torch.full((1, 1, 1, 1), 1.3, dtype=D), torch.full((1, 1, 1, 1), 0.8, dtype=D)
    nothing = torch.full((1, 1, 1), NAN, dtype=D)
    total = sum(
        float(torch.exp(-gaussian_nll(nothing, mean, variance, torch.tensor(ends, dtype=D).reshape(1, 1, 1, 2))))
        for ends in ((-INF, 0.4), (0.4, 2.0), (2.0, INF))
    )
    assert total == pytest.approx(1.0, rel=1e-14)


@pytest.mark.parametrize("censoring", ["m3", "m4"])
def test_gradient_and_hessian_of_a_person_are_those_of_differences(censoring: str) -> None:
    m = model()
    cohort = Cohort.of(people(2, low=1.5, high=7.0), m, censoring=censoring)
    assert int(cohort.censored.sum()) > 2
    eta = 0.3 * torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(1), dtype=D)

    def objective(at: torch.Tensor) -> torch.Tensor:  # (1, N)
        run = rollout(m, cohort.conditions, at, differentiating(m))
        return cohort.nll(run.mean, run.variance, None) + 0.5 * at.square().sum(-1)

    with torch.no_grad():
        value, gradient, information = expand(cohort, sensitivity(m, cohort.conditions, eta), eta)
    torch.testing.assert_close(value, objective(eta).detach(), rtol=1e-10, atol=1e-10)
    exact = torch.autograd.functional.hessian(lambda v: objective(v).sum(), eta)
    (slope,) = torch.autograd.grad(objective(leaf := eta.clone().requires_grad_()).sum(), leaf)
    torch.testing.assert_close(gradient, slope, rtol=1e-6, atol=1e-6)
    exact = torch.stack([exact[0, i, :, 0, i] for i in range(2)])[None]
    torch.testing.assert_close(observed_information(m, cohort, eta), exact, rtol=1e-5, atol=1e-5)
    assert bool((torch.linalg.eigvalsh(information) > 0).all())


def test_the_information_of_limits_is_the_curvature_of_their_probability_along_slopes() -> None:
    # JᵀKJ with K by automatic second derivatives of log[Φ(b) − Φ(a)], each value's own, and J of (a, b) by reverse mode
    m = model()
    cohort = Cohort.of(people(2, low=1.5, high=7.0), m)
    eta = 0.3 * torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(1), dtype=D)

    def ends(at: torch.Tensor) -> torch.Tensor:  # (2, 1, N, T, p)
        run = rollout(m, cohort.conditions, at, differentiating(m))
        z = standardised(cohort.limits, run.mean, run.variance)
        return torch.stack([z.a, z.b])

    J = torch.autograd.functional.jacobian(ends, eta)  # (2, 1, N, T, p, 1, N, d)
    at, z = ends(eta).detach(), standardised(cohort.limits, *(torch.ones(1, 2, len(TIMES), 1, dtype=D),) * 2)
    wanted = torch.zeros(1, 2, 3, 3, dtype=D)
    for _, i, t, _ in torch.nonzero(z.there).tolist():
        here = [v[0, i, t, 0] for v in (z.low, z.high)]
        K = -torch.autograd.functional.hessian(lambda v, here=here: log_between(v[0], v[1], *here)[0], at[:, 0, i, t, 0])
        own = J[:, 0, i, t, 0, 0, i]  # (2, d)
        wanted[0, i] += own.T @ K @ own
    part = limits_information(cohort, sensitivity(m, cohort.conditions, eta))
    torch.testing.assert_close(part, wanted, rtol=1e-6, atol=1e-6)
    assert bool((torch.linalg.eigvalsh(part) > -1e-12).all())


def test_one_persons_marginal_is_that_of_quadrature() -> None:
    # one effect, so that ∫ p(y | η) N(η) dη is one integral: Laplace's method errs by O(1/observations), and its error is the
    # same with and without limits to a few hundredths of a nat
    m = model((0.0001, 0.3, 0.0001))
    for record in people(3, low=2.0, seed=5):
        cohort = Cohort.of([record], m)
        assert cohort.limits is not None

        z, weight = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(400))
        z = 8.0 * z
        eta = torch.stack([torch.zeros(400, dtype=D), z, torch.zeros(400, dtype=D)], -1)[None]
        with torch.no_grad():
            run = rollout(m, cohort.conditions.people(torch.zeros(400, dtype=torch.long)), eta)
            nll = cohort.nll(run.mean, run.variance, None)[0] + 0.5 * math.log(2 * math.pi) * int(cohort.mask.sum())
        wanted = -math.log(float((8.0 * weight * torch.exp(-nll - 0.5 * z.square())).sum()) / math.sqrt(2 * math.pi))
        observed = laplace_marginal(m, cohort, curvature="observed").value
        mixed = laplace_marginal(m, cohort).value
        assert float(observed.detach()) == pytest.approx(wanted, abs=0.03)
        assert float(mixed.detach()) == pytest.approx(wanted, abs=0.1)


@pytest.mark.parametrize("curvature", ["fisher", "observed"])
@pytest.mark.parametrize("censoring", ["m3", "m4"])
def test_the_marginal_slopes_are_those_of_differences(curvature: str, censoring: str) -> None:
    m = model()
    cohort = Cohort.of(people(2, low=1.5, high=7.0), m, censoring=censoring)
    loss = laplace_marginal(m, cohort, curvature=curvature).value.sum()
    names = ["noise.log_additive", "noise.log_proportional", *[n for n, _ in m.population.named_parameters()]]
    names = [n if n.startswith("noise") else f"population.{n}" for n in names]
    found = torch.autograd.grad(loss, [m.get_parameter(n) for n in names], allow_unused=True)
    start = laplace_marginal(m, cohort, curvature=curvature).mode
    h = 1e-4
    for name, slope in zip(names, found, strict=True):
        p = m.get_parameter(name)
        if slope is None:
            continue
        flat = p.data.view(-1)
        for k in range(min(len(flat), 1)):
            sides = []
            for sign in (1, -1):
                flat[k] += sign * h
                sides.append(float(laplace_marginal(m, cohort, curvature=curvature, start=start).value.sum().detach()))
                flat[k] -= sign * h
            # second differences of φ leave 1e-7 of noise in a value, so 1e-3 in this quotient
            assert float(slope.view(-1)[k]) == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=2e-3, abs=4e-3), name


def test_nobody_else_and_no_padding_changes_a_persons_marginal() -> None:
    m = model()
    some = people(3, low=1.5)
    some[1] = replace(some[1], values=np.where(some[1].censored, 1.4, some[1].values), upper=None)  # measured throughout
    together = laplace_marginal(m, Cohort.of(some, m)).value
    alone = torch.cat([laplace_marginal(m, Cohort.of([r], m)).value for r in some], 1)
    torch.testing.assert_close(together, alone, rtol=1e-7, atol=1e-7)


def test_a_fit_to_noise_alone_is_the_tobit_model() -> None:
    # no spread: mean and noise are those of a tobit regression, whose maximum scipy finds by itself
    m = model((1e-4, 1e-4, 1e-4), Constant([0.5], [1e-6]))
    cohort = Cohort.of(people(4, low=2.0, seed=11), m)
    with torch.no_grad():
        run = rollout(m, cohort.conditions, torch.zeros(1, 4, 3, dtype=D))
    mean, y, limits = run.mean[0].numpy(), cohort.y.numpy(), cohort.limits.numpy()
    there = np.isfinite(limits).any(-1)

    def tobit(log_sd: float) -> float:
        law = stats.norm(mean, math.exp(log_sd))
        censored = np.where(there, law.logcdf(limits[..., 1]), 0.0)
        return -float(np.where(there, censored, law.logpdf(np.nan_to_num(y))).sum())

    best = minimize_scalar(tobit, bounds=(-3.0, 2.0), method="bounded", options={"xatol": 1e-8}).x
    for p in m.population.parameters():
        p.requires_grad_(False)
    found = last(fit_population(m, cohort, search=Search(steps=20))).model
    sd = float(found.noise.estimates()["additive(concentration)"][1].detach())
    assert sd == pytest.approx(math.exp(best), rel=2e-3)


def test_personalise_and_fit_take_the_limits_and_shooting_too() -> None:
    m = model()
    records = people(3, low=1.0, high=6.0)
    with_limits, without = Cohort.of(records, m), Cohort.of(records, m, censoring="m1")
    assert without.limits is None
    there = with_limits.censored[..., 0].any(1)
    a, b = personalise(m, with_limits), personalise(m, without)
    assert bool(a.converged.all())
    assert bool(((a.mode - b.mode).abs().amax(-1)[0] > 1e-3)[there].all())
    # −log posterior at the mode, by hand
    with torch.no_grad():
        run = rollout(m, with_limits.conditions, a.mode)
    torch.testing.assert_close(
        a.objective, with_limits.nll(run.mean, run.variance, None) + 0.5 * a.mode.square().sum(-1), rtol=2e-5, atol=1e-6
    )
    losses = [float(next(iter(fit(m, c, Objective(least_residual=0.0)))).loss) for c in (with_limits, without)]
    with torch.no_grad():
        run = rollout(m, with_limits.conditions, torch.zeros(1, 3, 3, dtype=D))
        wanted = [float(c.nll(run.mean, run.variance, None).mean()) for c in (with_limits, without)]
    assert losses == pytest.approx(wanted, rel=1e-5)
    shot = next(iter(shoot(m, with_limits, Objective(least_residual=0.0), Search(steps=30), count=2)))
    assert float(shot.loss) == pytest.approx(wanted[0], rel=1e-5)


def test_what_takes_numbers_alone_refuses_limits() -> None:
    m = model()
    cohort = Cohort.of(people(3, low=3.0), m)
    for likelihood in (beta_nll(0.5), gaussian_crps):
        with pytest.raises(ValueError, match=r'only known to lie between limits.*censoring="m1"'):
            next(iter(fit(m, cohort, Objective(likelihood=likelihood))))
    with pytest.raises(ValueError, match=r"m4 conditions every value on being above 0"):
        Cohort.of([replace(people(1)[0], values=[-0.1, *[1.0] * 7], lower=None, upper=None)], m, censoring="m4")
    with pytest.raises(ValueError, match="Cohort: censoring is"):
        Cohort.of(people(1), m, censoring="m5")


def test_scores_refuse_what_is_no_number_and_m1_leaves_it_out() -> None:
    m = model()
    records = people(3, low=3.0)
    cohort = Cohort.of(records, m)
    prediction = predict(m, cohort, torch.zeros(1, 1, 3, 3, dtype=D))
    with pytest.raises(ValueError, match=r"Outcome\.of: \d+ values are only known to lie between limits"):
        Outcome.of(prediction, cohort)
    plain = Cohort.of(records, m, censoring="m1")
    assert int(Outcome.of(prediction, plain).y.isfinite().sum()) == int(cohort.mask.sum())
    assert "only known to lie between limits: that counts in what is learned" in what_it_is(m, records, "a table")
    assert "limits" not in what_it_is(m, [replace(r, lower=None, upper=None) for r in records], "a table")


def test_a_filter_refuses_measurements_of_which_limits_alone_are_known() -> None:
    own = model()
    record = Record(
        "1", Schedule((Dose("gut", 0.0, 320.0),)), [1.0, 12.0], [[8.0], [NAN]], ("concentration",), units=UNITS,
        upper=np.array([[INF], [0.5]]),
    )  # fmt: skip
    limited = Cohort.of([record], own)
    assert limited.conditions.limited
    assert limited.people(torch.tensor([0])).conditions.limited
    filter = UKF(Followed.of(own, 1, floor={"gut": 1.0, "plasma": 1.0}))
    with pytest.raises(ValueError, match="limits alone are known"):
        follow(filter, limited.conditions, limited.y)
    for fine in (limited.until(2.0), Cohort.of([record], own, censoring="m1")):  # what has limits is taken away, or left out
        assert not fine.conditions.limited
        assert torch.isfinite(follow(filter, fine.conditions, fine.y).last.mean).all()
