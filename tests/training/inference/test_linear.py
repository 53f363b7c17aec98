"""Where the mean is linear in η and noise constant, every number after a fit has a closed form: that of the normal density."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import chi2, norm

from hybrid import Exponential, HybridModel
from learned import Ensemble
from physics import CategoryOf, Fixed, LinearOf, Normal, Shared
from tests.training.inference.linear import APPROXIMATIONS, SPREAD, TIMES, closed_form, cohort_of, lines, regressors
from training import Cohort, last, personalise
from training.inference import (
    ObjectiveValue,
    bootstrap,
    likelihood_ratio,
    objective_value,
    parameter_table,
    polish,
    quadrature_marginal,
    shrinkage,
    standard_errors,
)
from training.inference.bootstrap import people_drawn
from training.inference.curvature import seen
from training.inference.estimates import jacobian, loosest, trained
from training.inference.unseen import numbers_unseen

F64 = torch.float64


def test_the_objective_is_that_of_the_normal_density() -> None:
    model, cohort = lines(), cohort_of(seed=1)
    exact = closed_form(cohort)(torch.tensor([1.0, -2.0, math.log(0.8), math.log(0.5), math.log(0.3)], dtype=F64))
    n = int(cohort.mask.sum())
    assert n == 12 * len(TIMES) - 1  # one value is missing
    for approximation in APPROXIMATIONS:
        found = objective_value(model, cohort, approximation=approximation, nodes=3, solver=Exponential())
        # second differences of φ ≈ 30 with steps of 2e-4 leave 1e-16 · 30/4e-8 ≈ 1e-7 a person ("laplace")
        assert float(found.ofv[0]) == pytest.approx(float(exact) - n * math.log(2.0 * math.pi), abs=1e-5)
        assert float(found.minus_two_log_likelihood[0]) == pytest.approx(float(exact), abs=1e-5)
        assert found.measurements == n
        assert found.people == 12
        assert found.estimated == ("a", "b", "omega(a)", "omega(b)", "additive(y)")
        assert float(found.aic[0]) == pytest.approx(float(exact) + 10.0, abs=1e-5)
        assert float(found.bic("people")[0]) == pytest.approx(float(exact) + 5.0 * math.log(12.0), abs=1e-5)
        assert float(found.bic("measurements")[0]) == pytest.approx(float(exact) + 5.0 * math.log(n), abs=1e-5)
        assert float(found.bic("mixed")[0]) == pytest.approx(
            float(exact) + 4.0 * math.log(12.0) + math.log(n), abs=1e-5
        )
        torch.testing.assert_close(found.each.sum(1), found.ofv)


@pytest.mark.parametrize("approximation", APPROXIMATIONS)
def test_newton_ends_where_another_optimiser_ends_and_the_errors_are_those_of_the_density(approximation: Any) -> None:
    cohort = cohort_of(seed=2, people=20)
    function = closed_form(cohort)
    x0 = torch.tensor([1.0, -2.0, math.log(0.8), math.log(0.5), math.log(0.3)], dtype=F64)

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(x).requires_grad_()
        total = function(point)
        (slope,) = torch.autograd.grad(total, point)
        return float(total.detach()), slope.numpy()

    theirs = minimize(value, x0.numpy(), jac=True, method="BFGS", options={"gtol": 1e-8})
    fitted = last(polish(lines(), cohort, approximation=approximation, nodes=3, solver=Exponential(), tolerance=1e-8))
    assert bool(fitted.step.converged.all())  # type: ignore[union-attr]
    n = int(cohort.mask.sum())
    ours = objective_value(fitted.model, cohort, approximation=approximation, nodes=3, solver=Exponential())
    assert float(ours.ofv[0]) == pytest.approx(theirs.fun - n * math.log(2.0 * math.pi), abs=1e-5)
    found = standard_errors(fitted.model, cohort, approximation=approximation, nodes=3, solver=Exponential())
    at = torch.tensor(theirs.x, dtype=F64)
    hessian = torch.autograd.functional.hessian(function, at) / 2.0
    expected = torch.linalg.inv(hessian)
    # truncation of the Hessian's differences, h² f⁗/12f″ ≈ 1e-6, and the place: √1e-8 of a standard error
    torch.testing.assert_close(found.covariance[0], expected, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found.value[0], torch.cat([at[:2], at[2:].exp()]), rtol=2e-4, atol=1e-5)
    sd = expected.diagonal().sqrt()
    torch.testing.assert_close(found.se[0], torch.cat([sd[:2], at[2:].exp() * sd[2:]]), rtol=1e-3, atol=0.0)
    assert found.scales == ("linear", "linear", "log", "log", "log")
    assert float(found.away[0]) < 1e-6
    assert found.sentences() == []
    z = norm.ppf(0.95)
    low, high = found.interval(0.9)[0].unbind(-1)
    for j in range(5):
        middle, error = float(at[j]), float(sd[j])
        ends = (middle - z * error, middle + z * error)
        ends = ends if j < 2 else (math.exp(ends[0]), math.exp(ends[1]))
        assert (float(low[j]), float(high[j])) == pytest.approx(ends, rel=1e-3)
    correlation = expected / torch.outer(sd, sd)
    size = torch.linalg.eigvalsh(correlation)
    assert float(found.condition[0]) == pytest.approx(float(size[-1] / size[0]), rel=1e-3)


def test_the_sandwich_is_that_of_the_persons_own_slopes() -> None:
    model, cohort = lines(), cohort_of(seed=3)
    at = torch.tensor([1.0, -2.0, math.log(0.8), math.log(0.5), math.log(0.3)], dtype=F64)
    slopes = []
    for i in range(12):
        point = at.clone().requires_grad_()
        (slope,) = torch.autograd.grad(closed_form(cohort.people(torch.tensor([i])))(point) / 2.0, point)
        slopes.append(slope)
    s = torch.stack(slopes)
    inverse = torch.linalg.inv(torch.autograd.functional.hessian(closed_form(cohort), at) / 2.0)
    found = standard_errors(model, cohort, covariance="sandwich", solver=Exponential())
    expected = inverse @ s.T @ s @ inverse
    torch.testing.assert_close(found.covariance[0], expected, rtol=1e-3, atol=1e-5)
    # it is not at the optimum, and says by how much: gᵀ I⁻¹ g
    g = s.sum(0)
    assert float(found.away[0]) == pytest.approx(float(g @ inverse @ g), rel=1e-3)
    assert "polish" in found.sentences()[0]


def test_a_direction_that_the_data_cannot_see_is_said_and_not_invented() -> None:
    # of a line measured at one time, a and b are seen as one sum alone
    cohort = cohort_of(seed=4, times=(0.5, 0.5 + 1e-13))
    model = lines({"a": Normal(0.8), "b": Shared()})
    found = standard_errors(model, cohort, solver=Exponential())
    x = float(regressors(cohort)[0, 0])
    assert len(found.unseen[0]) == 1
    way = found.unseen[0][0]
    expected = torch.tensor([x, -1.0, 0.0, 0.0], dtype=F64) / math.hypot(x, 1.0)
    torch.testing.assert_close(way * torch.sign(way[0]), expected, atol=1e-3, rtol=0.0)
    names = dict(zip(found.names, found.se[0].tolist(), strict=True))
    assert names["a"] == math.inf
    assert names["b"] == math.inf
    assert math.isfinite(names["omega(a)"])
    assert math.isfinite(names["additive(y)"])
    assert float(found.condition[0]) == math.inf
    assert "cannot see the direction (b" in found.sentences()[0]
    low, high = found.interval()[0, 0].tolist()
    assert (low, high) == (-math.inf, math.inf)


def test_a_spread_at_zero_has_no_standard_error() -> None:
    rng = np.random.default_rng(0)
    values = 1.0 - 2.0 * np.exp(-np.array(TIMES)) + 0.3 * rng.standard_normal((12, len(TIMES)))
    cohort = cohort_of(values=values - values.mean(1, keepdims=True) + values.mean())  # nobody differs in level
    model = lines({"a": Normal(1e-4), "b": Shared()})
    found = standard_errors(model, cohort, solver=Exponential())
    j = found.names.index("omega(a)")
    assert float(found.se[0, j]) == math.inf
    assert math.isfinite(float(found.se[0, 0]))
    assert any("omega(a) lies at 0" in said for said in found.sentences())


def test_each_scale_has_a_rule_of_its_own_for_what_is_not_known() -> None:
    rho = 0.98
    model = lines(correlated=[("a", "b")], omega={("a", "b"): rho * SPREAD[0] * SPREAD[1]})
    trial, names, _ = trained(model, "a test")
    limit = dict(zip(names, loosest(trial, names)[0].split([trial.get_parameter(n)[0].numel() for n in names]), strict=True))
    assert torch.isinf(limit["population.shift"]).all()  # with a unit: an error is as large as it is
    torch.testing.assert_close(limit["population.between.log_spread"], torch.full((2,), 10.0, dtype=F64))
    # of ρ = k/√(1 + k²): d artanh ρ/dk = √(1 − ρ²), and the lower end of the interval reaches −.999
    (found,) = limit["population.between.pairs"].tolist()
    most = (math.atanh(0.999) + math.atanh(rho)) / 1.96
    assert found * math.sqrt(1.0 - rho**2) == pytest.approx(most, rel=1e-9)
    assert math.tanh(math.atanh(rho) - 1.96 * most) == pytest.approx(-0.999, abs=1e-9)
    # an information that knows artanh ρ to ± 4 says nothing about ρ, though that of k = 5 would be ± 20; to ± 2.9 it does
    for error, known in ((4.0, False), (2.9, True)):
        information = torch.tensor([[(error / math.sqrt(1.0 - rho**2)) ** -2]], dtype=F64)
        split = seen(information, torch.ones(1, dtype=F64), limit["population.between.pairs"], torch.zeros((), dtype=F64))
        assert (len(split.unseen) == 0) == known
    # a number with a unit is seen however large its error is, as soon as the likelihood bends
    large = torch.tensor([[1e-8]], dtype=F64)
    split = seen(large, torch.tensor([1e4], dtype=F64), limit["population.shift"][:1], torch.zeros((), dtype=F64))
    assert float(split.covariance) == pytest.approx(1e8)


def test_one_unit_or_another_is_the_same_error() -> None:
    """With everything thousandfold, standard errors are too, and those of logarithms stay."""
    small, large = cohort_of(seed=5), cohort_of(seed=5, unit=1000.0)
    one = standard_errors(lines(), small, solver=Exponential())
    other = standard_errors(lines(unit=1000.0), large, solver=Exponential())
    torch.testing.assert_close(other.se[0], 1000.0 * one.se[0], rtol=2e-3, atol=0.0)
    assert float(other.condition[0]) == pytest.approx(float(one.condition[0]), rel=2e-3)


def test_members_do_not_influence_each_other_and_weights_count_people() -> None:
    cohort = cohort_of(seed=6)
    stack = Ensemble(2).stack(lines(), torch.Generator().manual_seed(0))
    with torch.no_grad():
        stack.population.get_parameter("shift")[1] += 0.1
    weights = torch.ones(2, 12, dtype=F64)
    weights[1, :4] = torch.tensor([2.0, 0.0, 3.0, 1.0], dtype=F64)
    both = standard_errors(stack, cohort, weights=weights, solver=Exponential())
    rows = torch.tensor([0, 0, 2, 2, 2, 3, *range(4, 12)])
    repeated = [replace(cohort.records[i], id=f"{k}") for k, i in enumerate(rows.tolist())]
    alone = lines()
    with torch.no_grad():
        alone.population.get_parameter("shift").add_(0.1)
    one = standard_errors(alone, Cohort.of(repeated, alone), solver=Exponential())
    torch.testing.assert_close(both.covariance[1], one.covariance[0], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(both.away[1], one.away[0], rtol=1e-4, atol=1e-7)


def test_values_between_limits_count_by_their_probability() -> None:
    """One coordinate: scipy integrates the normal densities and tails of one person after the other."""
    whole = cohort_of(seed=11)
    model = lines({"a": Normal(0.8), "b": Fixed()})
    low = torch.quantile(whole.y[torch.isfinite(whole.y)], 0.3)
    below = whole.y < low
    limits = torch.full((*whole.y.shape, 2), math.inf, dtype=F64)
    limits[..., 0] = -math.inf
    limits[..., 1] = torch.where(below, low, math.inf)
    cohort = replace(whole, y=torch.where(below, torch.nan, whole.y), limits=limits)
    expected = []
    for i in range(12):
        y, x, those = cohort.y[i, :, 0].numpy(), regressors(cohort)[i].numpy(), below[i, :, 0].numpy()

        def density(eta: float, y: np.ndarray = y, x: np.ndarray = x, under: np.ndarray = those) -> float:
            mean = 1.0 + 0.8 * eta - 2.0 * x
            known = norm.logpdf(y, mean, 0.3)[np.isfinite(y)].sum()
            return float(np.exp(known + norm.logcdf((float(low) - mean) / 0.3)[under].sum()) * norm.pdf(eta))

        expected.append(-math.log(quad(density, -6.0, 6.0, epsabs=0.0, epsrel=1e-10, limit=200)[0]))
    found = quadrature_marginal(model, cohort, nodes=25, solver=Exponential()).value[0].detach()
    # a posterior whose tails are not the normal's takes more nodes: 25 leave this
    np.testing.assert_allclose(found.numpy(), np.array(expected), atol=1e-6)
    value = objective_value(model, cohort, approximation="quadrature", nodes=25, solver=Exponential())
    assert value.between == int(below.sum())
    assert value.measurements == int(cohort.mask.sum())
    without = objective_value(
        model, replace(cohort, censoring="m1"), approximation="quadrature", nodes=25, solver=Exponential()
    )
    with pytest.raises(ValueError, match="different data"):
        likelihood_ratio(value, replace(without, estimated=(*without.estimated, "more")))


def test_members_of_a_search_end_at_their_own_optima() -> None:
    cohort = cohort_of(seed=12)
    stack = Ensemble(2).stack(lines({"a": Normal(0.8), "b": Shared()}), torch.Generator().manual_seed(0))
    with torch.no_grad():
        stack.population.get_parameter("shift")[1] += 3.0  # far away, in the unit of a and b
        stack.noise.get_parameter("log_sd")[1] += 1.0
    weights = torch.ones(2, 12, dtype=F64)
    weights[1, 3] = 0.0
    both = last(polish(stack, cohort, weights=weights, solver=Exponential()))
    for m in range(2):
        one = last(polish(lines({"a": Normal(0.8), "b": Shared()}), cohort, weights=weights[[m]], solver=Exponential()))
        # each is within 1e-6 of the least −2 log L per optimum, half of that per person less
        assert float(both.step.loss[m]) == pytest.approx(float(one.step.loss[0]), abs=1e-6)  # type: ignore[union-attr]
    assert bool(both.step.converged.all())  # type: ignore[union-attr]


# --- comparisons


def test_the_test_of_a_spread_knows_that_zero_is_the_end_of_its_range() -> None:
    cohort = cohort_of(seed=7, people=20)
    fits = {}
    for name, effects in (("none", {"a": Shared(), "b": Shared()}), ("a", {"a": Normal(0.8), "b": Shared()})):
        fitted = last(polish(lines(effects), cohort, solver=Exponential()))
        fits[name] = objective_value(fitted.model, cohort, solver=Exponential())
    test = likelihood_ratio(fits["none"], fits["a"])
    fall = float(fits["none"].ofv[0] - fits["a"].ofv[0])
    assert test.added == ("omega(a)",)
    assert test.boundary == 1
    assert float(test.fall[0]) == pytest.approx(fall)
    assert float(test.p[0]) == pytest.approx(0.5 * chi2.sf(fall, 1), rel=1e-6)
    assert "½ χ²(0) + ½ χ²(1)" in test.sentence()


def value_of(ofv: float, estimated: tuple[str, ...], spreads: tuple[str, ...], **other: Any) -> ObjectiveValue:
    one = torch.tensor([ofv], dtype=F64)
    return replace(ObjectiveValue(one, one[:, None], "focei", 0, 100, 0, 10, "data", estimated, spreads, 0), **other)


@pytest.mark.parametrize("fall", [0.0, 0.3, 2.7055, 3.8415, 11.0])
def test_tails_against_scipy(fall: float) -> None:
    small = value_of(100.0, ("ka", "V"), ())
    regular = likelihood_ratio(small, value_of(100.0 - fall, ("ka", "V", "WT on V", "AGE on V"), ()))
    assert float(regular.p[0]) == pytest.approx(chi2.sf(fall, 2), rel=1e-9)
    spread = likelihood_ratio(small, value_of(100.0 - fall, ("ka", "V", "omega(V)"), ("V",)))
    assert float(spread.p[0]) == pytest.approx(0.5 * chi2.sf(fall, 1) + 0.5 * (fall <= 0.0), rel=1e-9)
    with_v = value_of(100.0, ("ka", "V", "omega(V)"), ("V",))
    block = likelihood_ratio(
        with_v, value_of(100.0 - fall, ("ka", "V", "omega(V)", "omega(ka)", "corr(ka,V)"), ("ka", "V"))
    )
    assert float(block.p[0]) == pytest.approx(0.5 * chi2.sf(fall, 1) + 0.5 * chi2.sf(fall, 2), rel=1e-9)
    assert block.boundary == 1
    # a spread that was held at a number is inside its range
    inside = likelihood_ratio(
        value_of(100.0, ("ka", "V"), ("V",)), value_of(100.0 - fall, ("ka", "V", "omega(V)"), ("V",))
    )
    assert float(inside.p[0]) == pytest.approx(chi2.sf(fall, 1), rel=1e-9)
    assert inside.boundary == 0
    # a part of the noise, a spread between occasions, and what only the caller knows lie at 0 as a new spread does
    of_one = 0.5 * chi2.sf(fall, 1) + 0.5 * (fall <= 0.0)
    noisy = likelihood_ratio(small, value_of(100.0 - fall, ("ka", "V", "proportional(y)"), ()))
    effects = ("V", "V in occasion 1", "V in occasion 2")
    occasions = likelihood_ratio(with_v, value_of(100.0 - fall, ("ka", "V", "omega(V)", "iov(V)"), effects))
    lagged = likelihood_ratio(small, value_of(100.0 - fall, ("ka", "V", "Tlag"), ()), ends=("Tlag",))
    for one in (noisy, occasions, lagged):
        assert float(one.p[0]) == pytest.approx(of_one, rel=1e-9)
        assert one.boundary == 1
    with pytest.raises(ValueError, match="ends names 'F', which the larger model does not add"):
        likelihood_ratio(small, value_of(100.0 - fall, ("ka", "V", "Tlag"), ()), ends=("F",))


def test_what_counts_people_in_the_mixed_criterion() -> None:
    """A correlation of errors is of measurements, one of parameters of people (Delattre, Lavielle & Poursat 2014)."""
    one = value_of(100.0, ("ka", "V", "omega(V)", "iov(V)", "corr(V,ka)", "corr(y1,y2)"), ("V", "ka", "V in occasion 1"))
    constant = 100.0 * math.log(2.0 * math.pi)
    assert float(one.bic("mixed")) == pytest.approx(100.0 + constant + 5 * math.log(10) + math.log(100), rel=1e-12)


@pytest.mark.parametrize(
    ("smaller", "larger", "said"),
    [
        (value_of(1.0, ("a",), ()), value_of(0.0, ("a", "b"), (), approximation="laplace"), "never subtracted"),
        (
            value_of(1.0, ("a",), (), approximation="quadrature", nodes=7),
            value_of(0.0, ("a", "b"), (), approximation="quadrature", nodes=13),
            "never subtracted",
        ),
        (value_of(1.0, ("a",), ()), value_of(0.0, ("a", "b"), (), data="other"), "different data"),
        (value_of(1.0, ("a", "c"), ()), value_of(0.0, ("a", "b"), ()), "does not lie in the larger"),
        (value_of(1.0, ("a",), ()), value_of(0.0, ("a",), ()), "same numbers"),
        (value_of(1.0, ("a",), ()), value_of(0.0, ("a", "omega(a)", "omega(b)"), ("a", "b")), "add one at a time"),
        (value_of(1.0, ("a",), ("a",)), value_of(0.0, ("a", "b"), ()), "has a spread of a"),
        (value_of(1.0, ("a",), ()), value_of(0.0, ("a", "b"), ("a",)), "given and not estimated"),
        (value_of(1.0, ("a",), ()), value_of(2.0, ("a", "b"), ()), "its search is not over"),
        (value_of(1.0, ("a",), (), held=5), value_of(0.0, ("a", "b"), (), held=5), "weights of networks"),
    ],
)
def test_what_cannot_be_compared_is_refused(smaller: ObjectiveValue, larger: ObjectiveValue, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        likelihood_ratio(smaller, larger)


def test_one_spread_of_zero_is_found_at_the_level_that_is_asked() -> None:
    """The mixture by simulation, on the closed form of a balanced one-way layout: half of all falls are 0."""
    N, T, draws = 5000, 4, 20_000
    rng = np.random.default_rng(3)
    # of T values of each of N people without a spread: the sums of squares within people, and T times those between them
    within = torch.from_numpy(rng.chisquare(N * (T - 1), draws))
    between = torch.from_numpy(rng.chisquare(N - 1, draws))
    # −2 log L at its maxima: σ² = within/(N(T−1)) and σ² + Tω² = between/N, or one variance where the second is the smaller
    free = N * (T - 1) * (within / (N * (T - 1))).log() + N * (between / N).log()
    one = N * T * ((within + between) / (N * T)).log()
    fall = torch.where(between / N > within / (N * (T - 1)), one - free, 0.0)
    small = value_of(0.0, ("a", "additive(y)"), ())
    p = likelihood_ratio(
        replace(small, ofv=fall, each=fall[:, None]),
        replace(
            small,
            ofv=torch.zeros_like(fall),
            each=fall[:, None],
            estimated=("a", "additive(y)", "omega(a)"),
            spreads=("a",),
        ),
    ).p
    # a share of 20,000 has a standard deviation of √(level/20000); ML divides by N instead of N − 1, and ½ is Φ(√2/√N/2) here
    for level in (0.01, 0.05, 0.1, 0.2):
        assert float((p <= level).double().mean()) == pytest.approx(
            level, abs=3.5 * math.sqrt(level / draws) + 0.05 * level
        )
    assert float((p == 1.0).double().mean()) == pytest.approx(0.5, abs=0.025)


# --- shrinkage, bootstrap, the table


def test_shrinkage_is_that_of_the_best_linear_prediction() -> None:
    """Of a level with spread ω seen T times with noise σ, a mode is the mean's deviation times ω²/(ω² + σ²/T)."""
    cohort = cohort_of(seed=8, people=40)
    model = lines({"a": Normal(0.8), "b": Fixed()})
    personal = personalise(model, cohort, solver=Exponential())
    found = shrinkage(model, cohort, personal, solver=Exponential())
    x = regressors(cohort)
    there = torch.isfinite(cohort.y[..., 0])
    each = there.sum(1)
    level = torch.where(there, cohort.y[..., 0] + 2.0 * x - 1.0, 0.0).sum(1) / each
    mode = level * 0.64 / (0.64 + 0.09 / each)
    assert float(found.eta[0, 0]) == pytest.approx(1.0 - float(mode.std()) / 0.8, abs=1e-6)
    residual = (cohort.y[..., 0] + 2.0 * x - 1.0 - mode[:, None])[there] / 0.3
    assert float(found.epsilon[0, 0]) == pytest.approx(1.0 - float(residual.std()), abs=1e-6)
    assert found.effects == ("a",)
    assert found.sentences() == []
    few = cohort.until(0.0)  # nothing of anybody
    nothing = shrinkage(model, few, personalise(model, few, solver=Exponential()), solver=Exponential())
    assert float(nothing.eta[0, 0]) == pytest.approx(1.0)
    assert math.isnan(float(nothing.epsilon[0, 0]))
    assert "shrinkage is large for a (100%)" in nothing.sentences()[0]
    with pytest.raises(ValueError, match="the cohort"):
        shrinkage(model, cohort.people(torch.arange(39, -1, -1)), personal)


def test_the_bootstrap_scatters_as_the_errors_say() -> None:
    cohort = cohort_of(seed=9, people=30)
    model = lines({"a": Normal(0.8), "b": Shared()})
    fitted = last(polish(model, cohort, solver=Exponential()))
    errors = standard_errors(fitted.model, cohort, covariance="sandwich", solver=Exponential())
    found = bootstrap(fitted.model, cohort, 40, torch.Generator().manual_seed(1), solver=Exponential(), together=40)
    assert found.names == errors.names
    assert bool(found.arrived.all())
    # the sd of 40 draws is known to 1/√80 = 11 %, those of four numbers to ± 3.5 of that
    ratio = found.sd / errors.se[0]
    assert bool(((ratio > 0.6) & (ratio < 1.5)).all())
    assert "40 draws say little" in found.sentences()[0]
    low, high = found.interval(0.9).unbind(-1)
    assert bool((low < errors.value[0]).all())
    assert bool((high > errors.value[0]).all())
    # the draws' models are those of their own weights: the objective of one of them is at its own optimum
    again = last(
        polish(lines({"a": Normal(0.8), "b": Shared()}), cohort, weights=found.counts[:1], solver=Exponential())
    )
    mine = standard_errors(again.model, cohort, weights=found.counts[:1], solver=Exponential())
    # a slope of 1e-4 per person leaves ½·60·1e-8/curvature: a thousandth of a standard error, or so
    assert bool(((mine.value[0] - found.value[0]).abs() < 0.02 * mine.se[0]).all())


def test_a_draw_says_nothing_of_a_category_that_nobody_in_it_has() -> None:
    """One person of six is of group 2: a draw without them keeps no start for it; and with one group the two groups act alike."""
    base = cohort_of(seed=12, people=6)
    records = [replace(r, covariates={"G": 2.0 if i == 0 else 0.0}) for i, r in enumerate(base.records)]
    levels = {"a": [CategoryOf("G", {0: 0.0, 2: 0.5}, learn=True)]}
    model = lines({"a": Normal(0.8), "b": Shared()}, covariates=levels)
    cohort = Cohort.of(records, model)
    found = bootstrap(model, cohort, 8, torch.Generator().manual_seed(3), solver=Exponential(), steps=25)
    j = found.names.index("G=2 on a")
    without = found.counts[:, 0] == 0.0
    alone = found.counts[:, 1:].sum(1) == 0.0
    assert 0 < int(without.sum()) < 8
    assert torch.equal(torch.isnan(found.value[:, j]), without | alone)
    others = [k for k in range(len(found.names)) if k != j]
    assert bool(torch.isfinite(found.value[~alone][:, others]).all())
    good = found.value[found.arrived & ~without, j]
    assert len(good) > 1
    torch.testing.assert_close(found.sd[j], good.std())
    assert "G=2 on a" in " ".join(found.sentences())
    assert "strata" in " ".join(found.sentences())


def test_numbers_that_act_alike_in_a_draw_are_not_seen_apart() -> None:
    """Who all have W = 2 tell a + log-linear slope as one number; of two weights they tell both."""
    base = cohort_of(seed=12, people=6)
    records = [replace(r, covariates={"W": 3.0 if i == 0 else 2.0}) for i, r in enumerate(base.records)]
    model = lines({"a": Normal(0.8), "b": Shared()}, covariates={"a": [LinearOf("W", 1.0, 0.3, learn=True)]})
    cohort = Cohort.of(records, model)
    trial, names, _ = trained(model, "test")
    counts = torch.tensor([[1.0, 1, 1, 1, 1, 1], [0.0, 2, 1, 1, 1, 1], [3.0, 0, 0, 0, 0, 0], [1.0, 5, 0, 0, 0, 0]], dtype=F64)
    found = numbers_unseen(trial, names, cohort, counts, "focei", None, Exponential())
    told, _, _, _ = jacobian(trial, names)
    assert [{n for n, one in zip(told, row, strict=True) if one} for row in found.tolist()] == [
        set(), {"a", "W on a"}, {"a", "W on a"}, set()
    ]


def test_people_are_drawn_whole_and_within_their_strata() -> None:
    generator = torch.Generator().manual_seed(2)
    counts = people_drawn(10, 2000, generator, ["x"] * 3 + ["y"] * 7)
    assert bool((counts[:, :3].sum(1) == 3.0).all())
    assert bool((counts[:, 3:].sum(1) == 7.0).all())
    # a count is binomial: variance below 1, so the mean of 2,000 is within 4.5/√2000 = .1
    assert float((counts.mean(0) - 1.0).abs().max()) < 0.1
    with pytest.raises(ValueError, match="a label for each"):
        people_drawn(10, 5, generator, ["x"])


def test_the_table_says_all_of_it() -> None:
    pytest.importorskip("pandas")
    cohort = cohort_of(seed=10)
    fitted = last(polish(lines(), cohort, solver=Exponential()))
    table = parameter_table(fitted, cohort, solver=Exponential(), level=0.9)
    frame = table.to_frame()
    assert list(frame["name"]) == ["a", "b", "omega(a)", "omega(b)", "additive(y)"]
    assert list(frame["unit"]) == ["mg", "mg", "mg", "mg", "mg"]
    assert frame["estimate"].tolist() == pytest.approx(table.errors.value[0].tolist())
    assert frame["rse"].tolist() == pytest.approx((frame["se"] / frame["estimate"].abs()).tolist())
    assert frame["low"].tolist() == pytest.approx(table.errors.interval(0.9)[0, :, 0].tolist())
    assert frame["shrinkage"].isna().tolist() == [True, True, False, False, False]
    assert table.to_dict()["ofv"][0] == pytest.approx(float(table.objective.ofv[0]))
    with pytest.raises(ValueError, match="last\\(fit_population"):
        parameter_table(fitted.model, cohort)  # type: ignore[arg-type]


# --- bad input


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"approximation": "foce"}, "approximation"),
        ({"nodes": 0}, "nodes"),
        ({"weights": torch.zeros(1, 12, dtype=F64)}, "not all 0"),
        ({"weights": torch.ones(1, 11, dtype=F64)}, r"\(M, N\) = \(1, 12\)"),
        ({"weights": -torch.ones(1, 12, dtype=F64)}, "not negative"),
        ({"covariance": "robust"}, "covariance"),
    ],
)
def test_bad_arguments_are_refused(how: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        standard_errors(lines(), cohort_of(seed=1), **how)


def test_nothing_to_estimate_and_too_many_effects() -> None:
    cohort = cohort_of(seed=1)
    model = lines({"a": Fixed(), "b": Fixed()})
    model.noise.get_parameter("log_sd").requires_grad_(False)
    with pytest.raises(ValueError, match="is trained"):
        standard_errors(model, cohort)
    wide = HybridModel(model.backbone, model.population, observation=model.observation, noise=model.noise, latents=5)
    with pytest.raises(ValueError, match="at most 4"):
        quadrature_marginal(wide, cohort)
