"""What training makes small: the likelihood is the textbook's, the residual's share has no unit, the penalty has a set."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from hybrid import HybridModel, RungeKutta, States, rollout
from learned import MLP, AdditiveProportional, Ensemble
from physics import Backbone, LogNormalPopulation, Parameter
from physics.hull import entries
from physics.shelf import MichaelisMenten
from stability import Lure, certify
from training import Cohort, Stability, beta_nll, gaussian_crps, gaussian_nll, residual_share


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stacked(model: HybridModel, members: int = 2) -> HybridModel:
    return Ensemble(members).stack(model, generator())


def origin(model: HybridModel, cohort: Cohort) -> torch.Tensor:
    return torch.zeros(model.members, cohort.conditions.size, 3, dtype=torch.float64)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(seed=st.integers(0, 2**31), missing=st.floats(0.0, 1.0), exponent=st.floats(-3.0, 3.0))
def test_likelihood_is_the_textbooks(seed: int, missing: float, exponent: float) -> None:
    g = generator(seed)
    unit = 10.0**exponent
    y = unit * torch.randn(3, 5, 2, generator=g, dtype=torch.float64)
    mean = unit * torch.randn(2, 3, 5, 2, generator=g, dtype=torch.float64)
    variance = unit**2 * (torch.rand(2, 3, 5, 2, generator=g, dtype=torch.float64) + 0.1)
    y[torch.rand(y.shape, generator=g) < missing] = torch.nan
    exact = torch.zeros(2, 3, dtype=torch.float64)
    for i, t, j in torch.nonzero(torch.isfinite(y)).tolist():
        normal = torch.distributions.Normal(mean[:, i, t, j], variance[:, i, t, j].sqrt())
        exact[:, i] -= normal.log_prob(y[i, t, j]) + 0.5 * math.log(2.0 * math.pi)
    # ten terms of size up to 50, each rounded to 1e-16 relative
    torch.testing.assert_close(gaussian_nll(y, mean, variance), exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", [gaussian_nll, gaussian_crps, beta_nll(0.5)], ids=["nll", "crps", "beta"])
def test_no_loss_lets_a_missing_measurement_through(loss: Callable[..., torch.Tensor]) -> None:
    g = generator(2)
    y, sd = torch.randn(3, 4, 2, generator=g, dtype=torch.float64), torch.rand(1, 3, 4, 2, generator=g, dtype=torch.float64)
    y[0, 1, 0] = y[2] = torch.nan
    mean = torch.where(torch.isfinite(y), 0.0, torch.nan)[None].requires_grad_()
    variance = torch.where(torch.isfinite(y), sd, 0.0).requires_grad_()
    value = loss(y, mean, variance)
    value.sum().backward()
    assert value[0, 2] == 0.0
    assert torch.isfinite(mean.grad).all()
    assert torch.isfinite(variance.grad).all()
    assert (mean.grad[0, 0, 1, 0], variance.grad[0, 0, 1, 0]) == (0.0, 0.0)
    assert (mean.grad[0, 1] != 0.0).all()


@settings(deadline=None, max_examples=40, derandomize=True)
@given(y=st.floats(-50.0, 50.0), mean=st.floats(-3.0, 3.0), sd=st.floats(0.01, 20.0))
def test_crps_is_the_integral_that_defines_it(y: float, mean: float, sd: float) -> None:
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    got = gaussian_crps(y * one[0], mean * one, sd**2 * one)
    # ∫ (F(z) − 1{z ≥ y})² dz in units of sd, both sides of y apart; ten deviations out F and 1 − F are 0 or 1
    z = (y - mean) / sd
    below, _ = quad(lambda v: norm.cdf(v) ** 2, -10.0, min(z, 10.0)) if z > -10.0 else (0.0, 0.0)
    above, _ = quad(lambda v: norm.sf(v) ** 2, max(z, -10.0), 10.0) if z < 10.0 else (0.0, 0.0)
    integral = sd * (below + above + max(z - 10.0, 0.0) + max(-10.0 - z, 0.0))
    assert float(got) == pytest.approx(integral, rel=1e-7)


def test_beta_nll_weighs_gradients_and_keeps_the_stationary_point() -> None:
    g = generator(5)
    y = torch.randn(2, 3, 2, generator=g, dtype=torch.float64)
    mean = torch.randn(1, 2, 3, 2, generator=g, dtype=torch.float64, requires_grad=True)
    variance = (torch.rand(1, 2, 3, 2, generator=g, dtype=torch.float64) + 0.2).requires_grad_()

    def gradients(loss: Callable[..., torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(loss(y, mean, variance).sum(), (mean, variance))

    plain = gradients(gaussian_nll)
    for beta in (0.0, 0.3, 1.0):
        for a, b in zip(gradients(beta_nll(beta)), plain, strict=True):
            torch.testing.assert_close(a, variance.detach() ** beta * b, rtol=1e-13, atol=0.0)
    torch.testing.assert_close(gradients(beta_nll(1.0))[0], mean.detach() - y, rtol=1e-13, atol=1e-15)
    assert torch.equal(beta_nll(0.0)(y, mean, variance), gaussian_nll(y, mean, variance))
    with pytest.raises(ValueError, match="β lies between"):
        beta_nll(1.5)


def test_missing_measurements_send_no_gradient_not_even_nan() -> None:
    y = torch.tensor([[[1.0], [torch.nan]]], dtype=torch.float64)
    mean = torch.tensor([[[[0.0], [torch.nan]]]], dtype=torch.float64, requires_grad=True)
    variance = torch.tensor([[[[2.0], [0.0]]]], dtype=torch.float64, requires_grad=True)
    gaussian_nll(y, mean, variance).sum().backward()
    # d/dμ ½(y−μ)²/v = −½ and d/dv ½[(y−μ)²/v + log v] = ½(−¼ + ½) = ⅛
    assert mean.grad.flatten().tolist() == [-0.5, 0.0]
    assert variance.grad.flatten().tolist() == [0.125, 0.0]


def test_share_is_that_of_the_formula(model: HybridModel, cohort: Cohort) -> None:
    model = stacked(model)
    with torch.no_grad():
        run = rollout(model, cohort.conditions, origin(model, cohort))
        got = residual_share(model, run)
        A, _ = model.backbone.matrices(run.theta)
    nothing = torch.zeros(1, 1, 0, dtype=torch.float64)
    for m in range(2):
        scale = run.states[m].square().mean((0, 1))
        for i in range(4):
            top = bottom = 0.0
            for t in range(run.states.shape[2]):
                x = run.states[m, i, t]
                e = model.residual(x.expand(2, 1, 2), nothing, nothing)[m, 0].detach()
                top += float((e.square() / scale).sum())
                bottom += float(((A[m, i] @ x + e).square() / scale).sum())
            # the small constants that keep empty states from dividing by zero are 1e-12
            assert got[m, i].item() == pytest.approx(top / bottom, rel=1e-9)


def test_share_does_not_depend_on_units(model: HybridModel, cohort: Cohort) -> None:
    # the same people in µg instead of mg: doses and scales × 1024 (a power of two, as scales are rounded to one)
    unit = 1024.0
    config = model.residual.config()
    model.residual.reset(generator(2))
    residual = MLP(**{**config, "state_scale": [unit * s for s in config["state_scale"]]})
    residual.load_state_dict(model.residual.state_dict())
    other = HybridModel(model.backbone, model.population, residual, observation=model.observation, noise=model.noise)
    segments = replace(cohort.conditions.segments, jump=unit * cohort.conditions.segments.jump)
    solver = RungeKutta("rk4")  # the same steps in both units
    a = residual_share(model, rollout(model, cohort.conditions, origin(model, cohort), solver))
    b = residual_share(other, rollout(other, replace(cohort.conditions, segments=segments), origin(model, cohort), solver))
    assert a.min() > 0.0
    # the constant 1e-12 beside squared amounts of 1e4 and more is all that knows the unit
    torch.testing.assert_close(a, b, rtol=1e-9, atol=0.0)


def test_share_of_nothing_is_zero_and_of_more_is_more(model: HybridModel, cohort: Cohort) -> None:
    alone = HybridModel(model.backbone, model.population, observation=model.observation, noise=model.noise)
    assert residual_share(alone, rollout(alone, cohort.conditions, origin(alone, cohort))).tolist() == [[0.0] * 4]
    shares = []
    for factor in (0.0, 0.5, 2.0):
        with torch.no_grad():
            model.residual.weights[-1].mul_(factor)
        shares.append(residual_share(model, rollout(model, cohort.conditions, origin(model, cohort))))
        if factor == 0.0:
            model.residual.reset(generator(0))
    assert shares[0].tolist() == [[0.0] * 4]
    assert (shares[1] > 0.0).all()
    assert (shares[2] > shares[1]).all()


def test_share_sends_no_gradient_through_the_whole(model: HybridModel, cohort: Cohort) -> None:
    # pulling the residual down may not be avoided by making the backbone faster: θ has no gradient from the denominator
    run = rollout(model, cohort.conditions, origin(model, cohort))
    held = replace(run, states=run.states.detach())
    model.zero_grad()
    residual_share(model, held).sum().backward()
    assert model.population.shift.grad is None
    assert model.residual.weights[0].grad.abs().max() > 0.0


def test_people_who_do_not_count_do_not_set_the_scale(model: HybridModel, cohort: Cohort) -> None:
    weights = torch.tensor([[1.0, 1.0, 2.0, 0.0]], dtype=torch.float64)
    segments = cohort.conditions.segments
    factor = torch.tensor([1.0, 1.0, 1.0, 50.0], dtype=torch.float64)[:, None, None]
    other = replace(cohort.conditions, segments=replace(segments, jump=factor * segments.jump))
    a = residual_share(model, rollout(model, cohort.conditions, origin(model, cohort)), weights)
    b = residual_share(model, rollout(model, other, origin(model, cohort)), weights)
    assert torch.equal(a[:, :3], b[:, :3])


def test_penalty_is_zero_inside_and_felt_outside(model: HybridModel, cohort: Cohort) -> None:
    model = stacked(model)
    stability = Stability.of(model, cohort.conditions.covariates)
    theta = model.theta(origin(model, cohort), cohort.conditions.covariates)
    assert stability.penalty(model, theta).tolist() == [[0.0] * 4] * 2
    with torch.no_grad():
        model.residual.weights[-1][1] *= 500.0
    outside = stability.penalty(model, theta)
    assert outside[0].tolist() == [0.0] * 4  # the other member is still inside
    assert (outside[1] > 0.0).all()
    outside.sum().backward()
    for parameter in (*model.residual.weights, model.population.shift):
        assert torch.isfinite(parameter.grad).all()
    assert model.residual.weights[0].grad[1].abs().max() > 0.0
    assert model.residual.weights[0].grad[0].abs().max() == 0.0


def test_no_penalty_means_that_the_rate_can_be_certified(model: HybridModel, cohort: Cohort) -> None:
    # the claim of the penalty: where it is 0, the metric proves contraction at the rate that it asks for
    stability = Stability.of(model, cohort.conditions.covariates)
    theta = model.theta(origin(model, cohort), cohort.conditions.covariates)
    factor = 1.0
    with torch.no_grad():
        while stability.penalty(model, theta).max() == 0.0 and factor < 1e6:
            factor *= 1.5
            model.residual.weights[-1] *= 1.5
        model.residual.weights[-1] /= 1.5
        assert 1.0 < factor < 1e6  # the border was found
        assert stability.penalty(model, theta).max() == 0.0
        system = Lure.of(model.lure(theta, model.context(origin(model, cohort), {})))
    # the search stops a relative 1e-6 short of the border that it looks for
    assert certify(system, metric=stability.metric.numpy(), rate=0.999 * stability.rate)


def test_the_penalty_knows_its_weight_and_share(model: HybridModel, cohort: Cohort) -> None:
    a = Stability.of(model, {}, share=0.5, weight=10.0)
    b = replace(a, weight=30.0)
    with torch.no_grad():
        model.residual.weights[-1] *= 500.0
    theta = model.theta(origin(model, cohort), {})
    torch.testing.assert_close(3.0 * a.penalty(model, theta), b.penalty(model, theta), rtol=1e-14, atol=0.0)
    assert Stability.of(model, {}, share=0.25).rate == pytest.approx(0.5 * a.rate, rel=1e-9)


class Seesaw(Backbone):
    """A = [[−1, θ], [1/(2θ), −1]]: Hurwitz for every θ, and between θ and 1/θ there is a saddle."""

    def __init__(self) -> None:
        super().__init__()
        self.states, self.state_units, self.inputs, self.input_units = ("x1", "x2"), ("1", "1"), (), ()
        self.time_unit, self.physical = "1", (Parameter("theta", "1", 1.0, 0.05, 20.0),)

    def matrices(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        c = theta[..., 0]
        one = torch.ones_like(c)
        A = torch.stack([torch.stack([-one, c], -1), torch.stack([0.5 / c, -one], -1)], -2)
        return A, theta.new_zeros(*theta.shape[:-1], 2, 0)

    def hull(self, lower: torch.Tensor, upper: torch.Tensor) -> torch.Tensor:
        one = torch.ones((), dtype=lower.dtype)  # 1/(2θ) is not affine in θ: enclosed entry by entry
        low, high = (
            torch.stack([-one, c, 0.5 / d, -one]).reshape(2, 2) for c, d in ((lower[0], upper[0]), (upper[0], lower[0]))
        )
        return entries(low, high)

    def initial(self, theta: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*theta.shape[:-1], 2, dtype=theta.dtype)

    def config(self) -> dict:
        return {}


@pytest.mark.parametrize(("spread", "served"), [(0.1, True), (1.5, False)])
def test_backbones_without_a_common_metric_are_refused(spread: float, served: bool) -> None:
    # a common metric would make the mean of A(θ) and A(1/θ) contract too; both of its off-diagonal entries exceed 1 where θ
    # is large, so that it has a positive eigenvalue there, and at θ = 1 it is A(1), whose eigenvalues are −1 ± √½
    backbone = Seesaw()
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [spread]),
        observation=States([0], ["y"], ["1"]),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
    )
    if served:
        assert Stability.of(model, {}).rate > 0.0
    else:
        with pytest.raises(ValueError, match="no single metric"):
            Stability.of(model, {})


def test_a_model_without_layers_has_no_penalty(model: HybridModel, cohort: Cohort) -> None:
    stability = Stability.of(model, {})
    alone = HybridModel(model.backbone, model.population, observation=model.observation, noise=model.noise)
    theta = alone.theta(origin(alone, cohort), {})
    assert stability.penalty(alone, theta).tolist() == [[0.0] * 4]


def test_of_a_mechanism_the_penalty_sees_its_slopes_where_they_are_small() -> None:
    """Saturable elimination: a gain of 1 /d is held where plasma is empty, by 2.5 /d, and not at 300 mg, by .4 /d."""
    mechanism = MichaelisMenten()
    model = HybridModel(
        mechanism,
        LogNormalPopulation(mechanism.physical, [0.01] * 4),
        observation=States(["plasma"], ["c"], ["mg"]),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
        residual=MLP(2, 0, hidden=(2,), generator=torch.Generator().manual_seed(0)),
    )
    stability = Stability.of(model, {})
    assert stability.points is not None
    assert stability.points[0].tolist() == [[0.0, 0.0], [300.0, 0.0], [0.0, 300.0]]
    assert 0.1 < stability.rate < 0.4
    theta = model.theta(torch.zeros(1, 3, 4), {})
    theta[0, 1, 1] *= 1.05
    gain = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    with torch.no_grad():
        for weight, to in zip(model.residual.weights, (torch.eye(2), gain), strict=True):
            weight.copy_(to)
        outside = stability.penalty(model, theta)
        assert (outside > 0).all()
        assert outside[0, 1] < outside[0, 0] == outside[0, 2]  # each person by their own θ: more elimination holds more
        assert (replace(stability, points=None).penalty(model, theta) == 0).all()
        model.residual.weights[1].mul_(0.05)
        assert (stability.penalty(model, theta) == 0).all()
