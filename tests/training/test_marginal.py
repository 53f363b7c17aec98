"""The marginal likelihood: exact where it must be, near quadrature elsewhere, with true gradients, and the spread comes back."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from homeostat.data import THEOPHYLLINE_UNITS, theophylline
from hybrid import (
    Cause,
    Concentration,
    Dose,
    Exponential,
    Failure,
    HybridModel,
    Mesh,
    RungeKutta,
    Schedule,
    SimulationError,
    Solution,
    Solver,
    States,
    Torchdiffeq,
    rollout,
)
from learned import MLP, AdditiveProportional, Ensemble, concatenate, select
from physics import LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from tests.builders import as_values
from tests.training.people.test_personalise import Constant
from training import (
    Cohort,
    Looks,
    Objective,
    PopulationStep,
    Record,
    Search,
    Stability,
    fit,
    fit_population,
    gaussian_nll,
    laplace_marginal,
    observed_information,
    personalise,
    read_nonmem,
    residual_share,
    sensitivity,
)
from training.loop.lessons import lessons
from training.marginal.laplace import penalised_marginal
from training.marginal.marginals import Costs, Marginals
from training.people.information import Sensitivity, copies, difference_offsets, expand, simulate_copies, slopes

MESH = Mesh(0.65, 0.2, 0.5)
SPREAD = (0.4, 0.2, 0.2)
TIGHT = Torchdiffeq("dopri8", rtol=1e-11, atol=1e-12)


def last(steps: Iterator[PopulationStep]) -> PopulationStep:
    *_, final = steps
    return final


def oral(residual: bool = False, spread: tuple[float, ...] = SPREAD) -> HybridModel:
    """One compartment with a learnable spread."""
    backbone = OneCompartmentOral()
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, spread, learn_spread=True),
        MLP(2, hidden=(4,), separable=True, state_scale=300.0, rate_scale=0.1) if residual else None,
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
    )


# --- the value ---------------------------------------------------------------------------------------------------------

A = torch.tensor([[-1.0, 0.4], [0.3, -0.7]], dtype=torch.float64)
TIMES = (0.0, 0.4, 1.0, 1.7, 3.0)


@pytest.mark.parametrize("latents", [1, 2, 3])
def test_linear_and_gaussian_is_the_multivariate_normal_density(latents: int) -> None:
    generator = torch.Generator().manual_seed(latents)
    gain = torch.randn(2, latents, generator=generator, dtype=torch.float64)
    model = HybridModel(
        LinearBackbone(A, state_units=["mg", "mg"], time_unit="h"),
        SharedPopulation(),
        Constant(gain),
        observation=States([0], ["y"], ["mg"]),
        noise=AdditiveProportional([0.3], [1e-9], [1e-8]),  # constant to far below the tolerance
        latents=latents,
    )
    values = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    values[1, 2] = torch.nan
    records = [
        Record(id=str(i), schedule=Schedule(), times=np.array(TIMES), values=v[:, None].numpy(), channels=("y",))
        for i, v in enumerate(values)
    ]
    cohort = Cohort.of(records, model)
    found = laplace_marginal(model, cohort, solver=TIGHT)
    # y_t = J_t η + noise with J_t = [A⁻¹(e^{At} − I) G]_0, so y ~ N(0, JJᵀ + σ²I), at the start too, where J = 0
    eye = torch.eye(2, dtype=torch.float64)
    J = torch.stack([(torch.linalg.inv(A) @ (torch.linalg.matrix_exp(A * t) - eye) @ gain)[0] for t in TIMES])
    log_sigma = torch.tensor(math.log(0.3), dtype=torch.float64, requires_grad=True)
    expected = []
    for v in values:
        there = torch.isfinite(v)
        n = int(there.sum())
        covariance = J[there] @ J[there].T + torch.exp(2 * log_sigma) * torch.eye(n, dtype=torch.float64)
        y = torch.distributions.MultivariateNormal(torch.zeros(n, dtype=torch.float64), covariance)
        expected.append(-y.log_prob(v[there]))
    # the solver's tolerance (1e-11) over variances of .1 and up
    torch.testing.assert_close(found.value[0], torch.stack(expected), atol=1e-9, rtol=0.0)
    assert found.converged.all()
    (ours,) = torch.autograd.grad(found.value.sum(), model.noise.log_additive)
    (theirs,) = torch.autograd.grad(torch.stack(expected).sum(), log_sigma)
    torch.testing.assert_close(ours[0, 0], theirs, atol=1e-8, rtol=0.0)
    # second differences of φ ≈ 10 with steps of 2e-4: rounding 1e-16 · 10/4e-8 = 2e-8, times a few
    observed = laplace_marginal(model, cohort, curvature="observed", solver=TIGHT)
    torch.testing.assert_close(observed.value[0], torch.stack(expected), atol=1e-6, rtol=0.0)


def curved() -> tuple[HybridModel, Cohort]:
    """One latent coordinate that acts through a network on a nonlinear state, with noise that depends on the mean."""
    generator = torch.Generator().manual_seed(5)
    backbone = OneCompartmentOral()
    model = HybridModel(
        backbone,
        SharedPopulation([1.5, 0.086, 31.5]),
        MLP(2, covariates=1, hidden=(5,), acts_on=(1,), state_scale=300.0, rate_scale=1.0, generator=generator),
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.4], [0.1], [0.02]),
        latents=1,
    )
    with torch.no_grad():
        model.residual.weights[-1].mul_(8.0)
    times = np.array([0.5, 1.0, 2.0, 4.0, 7.0])
    values = np.array([[4.0, 6.0, 7.5, 6.0, 4.0], [3.0, 5.0, 5.5, 4.0, 2.0], [5.0, 8.0, 9.5, 9.5, 8.0]])
    people = [
        Record(str(k), Schedule(doses=(Dose("gut", 0.0, 320.0),)), times, v[:, None], ("concentration",))
        for k, v in enumerate(values)
    ]
    return model, Cohort.of(people, model, MESH)


def negative_log_posterior(model: HybridModel, cohort: Cohort, eta: Tensor) -> Tensor:  # (N, K)
    """φ with its constants at K coordinates per person, written out again."""
    N, K = eta.shape
    index = torch.arange(N).repeat_interleave(K)
    run = rollout(model, cohort.conditions.people(index), eta.reshape(1, N * K, 1), RungeKutta("rk4"))
    y = cohort.y[index]
    nll = gaussian_nll(y, run.mean, run.variance)[0] + 0.5 * math.log(2 * math.pi) * torch.isfinite(y).double().sum(
        (1, 2)
    )
    return nll.reshape(N, K) + 0.5 * eta.square() + 0.5 * math.log(2 * math.pi)


def test_against_quadrature_where_nothing_is_linear() -> None:
    model, cohort = curved()

    def quadrature(nodes: int) -> Tensor:  # (N,)
        # Gauss–Hermite as in a textbook: ∫ f(η) N(η; 0, 1) dη = Σ w_k f(√2 x_k)/√π
        x, w = np.polynomial.hermite.hermgauss(nodes)
        eta = math.sqrt(2.0) * torch.from_numpy(x).expand(3, nodes)
        with torch.no_grad():
            log_f = -negative_log_posterior(model, cohort, eta) + 0.5 * eta.square() + 0.5 * math.log(2 * math.pi)
        return -torch.logsumexp(log_f + torch.from_numpy(w / math.sqrt(math.pi)).log(), 1)

    truth = quadrature(160)
    torch.testing.assert_close(quadrature(120), truth, atol=1e-7, rtol=0.0)
    observed = laplace_marginal(model, cohort, curvature="observed")
    with torch.no_grad():
        # The next term of the expansion, from derivatives of φ at the mode by central differences of step .05:
        # log ∫e^{−φ} = Laplace + (5/24)φ‴²/φ″³ − (1/8)φ⁗/φ″² + … (Tierney & Kadane 1986)
        h = 0.05
        points = observed.mode[0] + h * torch.arange(-2.0, 3.0, dtype=torch.float64)
        f = negative_log_posterior(model, cohort, points).T  # (5, N)
        second = (-f[0] + 16 * f[1] - 30 * f[2] + 16 * f[3] - f[4]) / (12 * h**2)
        third = (-f[0] + 2 * f[1] - 2 * f[3] + f[4]) / (2 * h**3)
        fourth = (f[0] - 4 * f[1] + 6 * f[2] - 4 * f[3] + f[4]) / h**4
        following = 5 / 24 * third**2 / second**3 - fourth / 8 / second**2
    error = truth - observed.value[0].detach()  # of −log p
    # what Laplace leaves out is its next term, up to the one after, which is smaller by about as much again: a quarter
    assert following.abs().max() > 5e-3
    assert ((error + following).abs() < 0.25 * following.abs()).all()
    # the Fisher information instead of the curvature is a stated difference, no more
    fisher = laplace_marginal(model, cohort)
    _, _, H = expand(cohort, sensitivity(model, cohort.conditions, fisher.mode), fisher.mode)
    K = observed_information(model, cohort, fisher.mode)
    between = 0.5 * (H.logdet() - K.logdet())
    torch.testing.assert_close(fisher.value - observed.value, between, atol=1e-6, rtol=0.0)
    assert between.abs().max() > 1e-3


def test_a_persons_marginal_is_their_own(people_of: Callable[..., tuple[Record, ...]]) -> None:
    model = Ensemble(2).stack(oral(residual=True), torch.Generator().manual_seed(0))
    records = people_of(9, seed=2)
    together = laplace_marginal(model, Cohort.of(records, model, MESH))
    for i in (0, 4, 8):
        for m in range(2):
            alone = laplace_marginal(select(model, torch.tensor([m])), Cohort.of([records[i]], model, MESH))
            # sums in another order (1e-15), through differences of step 1e-5 that the logarithm of H sees
            torch.testing.assert_close(alone.value[0, 0], together.value[m, i], atol=1e-8, rtol=0.0)
            torch.testing.assert_close(alone.mode[0, 0], together.mode[m, i], atol=1e-8, rtol=0.0)


def test_nobody_and_nothing(people_of: Callable[..., tuple[Record, ...]]) -> None:
    backbone = OneCompartmentOral()
    shared = HybridModel(
        backbone,
        SharedPopulation([1.5, 0.086, 31.5]),
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
    )
    cohort = Cohort.of(people_of(3), shared, MESH)
    found = laplace_marginal(shared, cohort)  # no coordinates: nothing to integrate over
    # the same solver: of a linear model a fit solves exactly
    run = rollout(shared, cohort.conditions, torch.zeros(1, 3, 0, dtype=torch.float64), Exponential())
    plain = gaussian_nll(cohort.y, run.mean, run.variance) + 0.5 * math.log(2 * math.pi) * cohort.mask.double().sum(
        (1, 2)
    )
    torch.testing.assert_close(found.value, plain, atol=1e-11, rtol=0.0)
    assert found.value.requires_grad
    nothing = laplace_marginal(oral(), cohort.until(0.0))  # no data: the density of nothing is 1
    torch.testing.assert_close(nothing.value, torch.zeros(1, 3, dtype=torch.float64), atol=1e-10, rtol=0.0)


def test_who_cannot_be_simulated_is_a_value(people_of: Callable[..., tuple[Record, ...]]) -> None:
    model = oral()
    cohort = Cohort.of(people_of(4), model, MESH)
    far = cohort.conditions.baseline.clone()
    far[2] = 1e308
    broken = replace(cohort, conditions=replace(cohort.conditions, baseline=far))
    found, whole = laplace_marginal(model, broken), laplace_marginal(model, cohort)
    assert torch.isnan(found.value[0]).tolist() == [False, False, True, False]
    others = torch.tensor([0, 1, 3])
    torch.testing.assert_close(found.value[:, others], whole.value[:, others], atol=1e-9, rtol=0.0)
    assert "P3" in found.failed[2]
    gradient = torch.autograd.grad(found.value[0, 0], model.population.shift)[0]
    assert torch.isfinite(gradient).all()
    with pytest.raises(SimulationError, match="P3"):
        next(fit_population(model, broken))
    # who counts for nothing stops nothing
    weights = torch.ones(1, 4, dtype=torch.float64)
    weights[0, 2] = 0.0
    a, b = (
        last(fit_population(model, c, objective=Objective(weights=weights), search=Search(steps=4)))
        for c in (broken, cohort)
    )
    torch.testing.assert_close(a.loss, b.loss, atol=1e-9, rtol=0.0)


def test_the_penalty_sees_what_runs_in(people_of: Callable[..., tuple[Record, ...]]) -> None:
    model = oral(residual=True)
    people = [replace(r, schedule=r.schedule.added(Dose("plasma", 1.0, 200.0, 4.0))) for r in people_of(3)]
    cohort = Cohort.of(people, model, MESH)
    found = penalised_marginal(model, cohort, None, "fisher", lambda m, run, rows: residual_share(m, run), 60, None)
    plain = laplace_marginal(model, cohort)
    run = rollout(model, cohort.conditions, found.mode, RungeKutta("rk4"))
    assert run.infused is not None
    assert bool((run.infused > 0).any())
    torch.testing.assert_close(found.value - plain.value, residual_share(model, run), atol=1e-8, rtol=1e-4)
    step = next(fit_population(model, cohort, search=Search(steps=1)))
    assert torch.isfinite(step.loss).all()


# --- the gradient ------------------------------------------------------------------------------------------------------


def trainable(model: HybridModel) -> dict[str, torch.nn.Parameter]:
    for name in model.population.by_marginal:
        model.population.get_parameter(name).requires_grad_()
    return {k: p for k, p in model.named_parameters() if p.numel()}


def nudged(model: HybridModel, name: str, step: Tensor) -> HybridModel:
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_parameter(name).add_(step)
    return other


@pytest.mark.parametrize("curvature", ["fisher", "observed"])
def test_gradients_against_differences_of_the_profiled_function(
    people_of: Callable[..., tuple[Record, ...]], curvature: Any
) -> None:
    model = Ensemble(2).stack(oral(residual=True), torch.Generator().manual_seed(1))
    cohort = Cohort.of(people_of(4), model, MESH)
    parameters = trainable(model)
    assert set(parameters) >= {"population.shift", "population.log_spread", "noise.log_additive", "residual.weights.0"}
    found = laplace_marginal(model, cohort, curvature=curvature)
    gradients = torch.autograd.grad(found.value.sum(), list(parameters.values()), allow_unused=True)
    # at the modes held fixed: what a gradient without the implicit function theorem would be
    values, _, H = expand(cohort, tracked(model, cohort, found.mode), found.mode)
    fixed = torch.autograd.grad((values + 0.5 * H.logdet()).sum(), list(parameters.values()), allow_unused=True)
    generator = torch.Generator().manual_seed(2)
    h = 1e-3 if curvature == "fisher" else 1e-2
    asked = []
    for name, gradient in zip(parameters, gradients, strict=True):
        if gradient is None:  # weights of inputs that the residual does not have
            continue
        for _ in range(2):
            way = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
            asked.append((name, way / way.norm()))
    # members do not influence each other: all models, each a little aside, are members of one
    aside = concatenate([nudged(model, name, k * h * way) for name, way in asked for k in (-2, -1, 1, 2)])
    start = found.mode.repeat(4 * len(asked), 1, 1)
    sums = laplace_marginal(aside, cohort, start=start, curvature=curvature).value.detach().reshape(len(asked), 4, -1).sum(2)
    missed, of = 0.0, dict(zip(parameters, zip(gradients, fixed, strict=True), strict=True))
    for (name, way), values in zip(asked, sums, strict=True):
        gradient, partial = of[name]
        difference = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
        # truncation h⁴ f⁽⁵⁾/30, and the value's own noise over h: 1e-10/1e-3 (differences of step 1e-5 in H), or, with
        # the second differences in H, 1e-7/1e-2
        tolerance = 1e-6 if curvature == "fisher" else 1e-4
        scale = max(1.0, float(gradient.norm()))
        assert abs(float((gradient * way).sum() - difference)) < tolerance * scale, name
        missed = max(missed, abs(float((partial * way).sum() - difference)) / scale)
    assert missed > 1e-3  # the implicit term is no formality here


def tracked(model: HybridModel, cohort: Cohort, mode: Tensor) -> Sensitivity:
    moved = copies(mode, difference_offsets(mode))
    return slopes(simulate_copies(model, cohort.conditions, moved, 4, None), 4, 3)


def test_the_gradient_of_the_whole_objective(people_of: Callable[..., tuple[Record, ...]]) -> None:
    model = oral(residual=True)
    with torch.no_grad():
        model.residual.weights[-1].mul_(20.0)  # so that the penalties have something to say
    cohort = Cohort.of(people_of(4), model, MESH)
    stability = Stability.of(model, {}, weight=10.0)
    share = torch.tensor([[0.1, 0.4, 0.3, 0.2]], dtype=torch.float64)
    taught = lessons(Objective(weights=share), cohort, 1, "fit_population")
    objective = Marginals.of(model, taught, None, Costs(3.0, stability, decay=0.3, sparsity=0.2), "fisher", None)
    names = list(trainable(model))
    here = objective.at(model, names, None)
    plain = float((share * laplace_marginal(model, cohort).value.detach()).sum())
    assert float(here.loss) > plain + 0.1
    at = 0
    for name in names:
        step = torch.zeros(model.get_parameter(name).numel(), dtype=torch.float64)
        step[0] = 1e-4
        step = step.reshape(model.get_parameter(name).shape)
        up, down = (objective.at(nudged(model, name, s * step), names, here.mode).loss for s in (1, -1))
        # the penalties bend more than the likelihood: h² f‴ ≈ 1e-6
        assert abs(float(here.gradient[0, at]) - float(up - down) / 2e-4) < 1e-5, name
        at += step.numel()
    assert at == here.gradient.shape[1]


# --- the fit -----------------------------------------------------------------------------------------------------------


def test_the_spread_comes_back(people_of: Callable[..., tuple[Record, ...]]) -> None:
    N, noise, times = 60, (0.15, 0.05), (0.25, 0.5, 1.0, 1.5, 2.5, 4.0, 6.0, 9.0)
    start = (1.0, 0.08, 0.5)
    model = oral(spread=start)
    cohort = Cohort.of(people_of(N, seed=6, shift=(0.3, 0.3, -0.2), noise=noise, times=times), model, MESH)
    final = last(fit_population(model, cohort))
    assert final.converged.all()
    assert final.index < final.total
    fitted = final.best.model
    omega = fitted.population.omega[0].detach().numpy()
    # A variance from N people has the relative standard error √(2/N), its root half of that; what the data leave open of
    # each person, the share c of the prior's variance, makes it larger by 1/(1 − c)
    known = personalise(fitted, cohort)
    c = known.covariance.diagonal(dim1=-2, dim2=-1).mean((0, 1)).numpy()
    error = 1.0 / math.sqrt(2 * N) / (1.0 - c)
    assert (np.abs(np.log(omega / np.array(SPREAD))) < 3.0 * error).all()
    assert (np.abs(np.log(omega / np.array(SPREAD))) < np.abs(np.log(np.array(start) / np.array(SPREAD)))).all()
    shift = fitted.population.shift[0].detach().numpy()
    assert (np.abs(shift - [0.3, 0.3, -0.2]) < 3.0 * np.array(SPREAD) / np.sqrt(N * (1.0 - c))).all()
    # the noise is not too small, as it is where people's coordinates are maximised along with it (√(300/480) = .79)
    run = rollout(fitted, cohort.conditions, known.mode, RungeKutta("rk4"))
    truth = noise[0] ** 2 + noise[1] ** 2 * run.mean.detach().square()
    ratio = float((run.variance.detach() / truth).mean().sqrt())
    assert abs(ratio - 1.0) < 3.0 / math.sqrt(2 * 5 * N)


def test_the_joint_maximum_has_no_spread_to_offer(people_of: Callable[..., tuple[Record, ...]]) -> None:
    # Maximised over everyone's deviations b = ωη and ω together, the density of y and b is unbounded as ω → 0; in the
    # coordinates η it grows without end as ω → ∞. The marginal likelihood has its maximum between.
    N, truth = 20, oral()
    cohort = Cohort.of(people_of(N, seed=3), truth, MESH)
    factors = (1e-6, 1e-4, 1e-2, 0.1, 1.0, 10.0)
    in_b, in_eta, marginal = [], [], []
    for factor in factors:
        model = oral(spread=tuple(factor * s for s in SPREAD))
        # for one ω both have the same modes; −log N(b; 0, ω²) is ½η² + log ω, up to a constant
        best = float(personalise(model, cohort, iterations=200).objective.sum())
        in_eta.append(best)
        in_b.append(best + N * sum(math.log(factor * s) for s in SPREAD))
        marginal.append(float(laplace_marginal(model, cohort, iterations=200).value.detach().sum()))
    assert in_b[0] < in_b[1] < in_b[2]
    assert in_b[0] < in_b[1] - 3 * N * math.log(99.0)  # a hundredth of ω gains 3 N log 100, without limit
    assert in_b[0] < in_b[factors.index(1.0)]
    assert in_eta == sorted(in_eta, reverse=True)
    assert factors[int(np.argmin(marginal))] == 1.0


@pytest.mark.slow
def test_theophylline_has_the_published_spread() -> None:
    records = read_nonmem(theophylline(), units=THEOPHYLLINE_UNITS)
    model = oral(spread=(0.5, 0.3, 0.3))
    exact = Exponential()  # without a residual every segment is one exact step, however fast someone absorbs
    cohort = Cohort.of(records, model)
    final = last(fit_population(model, cohort, search=Search(solver=exact)))
    assert final.converged.all()
    fitted = final.best.model
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        eta = torch.randn(1, 20_000, 3, generator=generator, dtype=torch.float64)
        log_theta = fitted.population.theta(eta, {})[0].log()  # the box bends ω: this is the spread that people have
        ka, ke, V = log_theta.unbind(-1)
    # Pinheiro & Bates (2000), § 8.2.1: SD of log ka .64 and log Cl .17, at V without a spread of its own; with one, and
    # the combined error, programs print .60–.66, .17–.26 and .13–.15. Twelve people know an SD to 1/√24 = 20 %.
    for found, published in ((ka.std(), 0.64), ((ke + V).std(), 0.22), (V.std(), 0.14)):
        assert abs(math.log(float(found) / published)) < 0.2
    assert abs(float(ka.median().exp()) - 1.6) < 0.2
    assert abs(float((ke + V).median().exp()) - 2.8) < 0.2
    assert abs(float(V.median().exp()) - 32.0) < 1.5


def test_an_optimiser_that_knows_nothing_of_ours_ends_at_the_same_value(people_of: Callable[..., tuple[Record, ...]]) -> None:
    """On the same function, from a start of its own."""
    model, exact = oral(spread=(0.5, 0.3, 0.3)), Exponential()  # without a residual every segment is one exact step
    cohort = Cohort.of(people_of(8, seed=4), model, MESH)
    final = last(fit_population(model, cohort, search=Search(solver=exact)))
    assert final.converged.all()
    names = ["population.shift", "population.log_spread", "noise.log_additive", "noise.log_proportional"]
    trial = copy.deepcopy(final.best.model)
    parameters = [p for k, p in trainable(trial).items() if k in names]

    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        at = 0
        with torch.no_grad():
            for p in parameters:
                p.copy_(torch.from_numpy(x[at : at + p.numel()]).reshape(p.shape))
                at += p.numel()
        value = laplace_marginal(trial, cohort, solver=exact).value.mean()
        gradient = torch.autograd.grad(value, parameters)
        return float(value.detach()), torch.cat([g.flatten() for g in gradient]).numpy()

    x0 = torch.cat([p.detach().flatten() for p in parameters]).numpy() + 0.1  # a tenth of everything away
    theirs = minimize(function, x0, jac=True, method="BFGS", options={"gtol": 1e-4, "maxiter": 60})
    # both stop at slopes of 1e-4, and the least curvature of the mean is about 1e-2: ½ · 1e-8/1e-2
    assert abs(float(final.loss[0]) - float(theirs.fun)) < 1e-5


def test_members_do_not_influence_each_other(people_of: Callable[..., tuple[Record, ...]]) -> None:
    model = Ensemble(3).stack(oral(residual=True), torch.Generator().manual_seed(3))
    cohort = Cohort.of(people_of(4), model, MESH)
    weights = torch.tensor([[1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 3.0]], dtype=torch.float64)
    together = last(fit_population(model, cohort, objective=Objective(weights=weights), search=Search(steps=6)))
    for k in range(3):
        one = last(
            fit_population(
                select(model, torch.tensor([k])),
                cohort,
                objective=Objective(weights=weights[[k]]),
                search=Search(steps=6),
            )
        )
        torch.testing.assert_close(one.loss[0], together.loss[k], rtol=1e-7, atol=0.0)
        for a, b in zip(together.best.model.parameters(), one.best.model.parameters(), strict=True):
            # a quasi-Newton step divides differences of gradients: sums in another order show
            torch.testing.assert_close(a[[k]], b, rtol=1e-5, atol=1e-6)


def test_a_person_of_weight_zero_teaches_nothing(people_of: Callable[..., tuple[Record, ...]]) -> None:
    model = oral(residual=True)
    cohort = Cohort.of(people_of(4), model, MESH)
    weights = torch.tensor([[1.0, 1.0, 0.0, 1.0]], dtype=torch.float64)
    y = cohort.y.clone()
    y[2] *= 3.0
    a, b = (
        last(
            fit_population(
                model,
                c,
                objective=Objective(weights=weights, stability=Stability.of(model, {})),
                search=Search(steps=4),
            )
        )
        for c in (cohort, replace(cohort, y=y))
    )
    assert all(torch.equal(p, q) for p, q in zip(a.best.model.parameters(), b.best.model.parameters(), strict=True))
    c = last(fit_population(model, replace(cohort, y=y), search=Search(steps=4)))
    assert not torch.equal(c.best.model.population.shift, a.best.model.population.shift)


def test_held_out_people_say_which_point_to_keep(people_of: Callable[..., tuple[Record, ...]]) -> None:
    model = Ensemble(3).stack(oral(residual=True), torch.Generator().manual_seed(5))
    cohort = Cohort.of(people_of(5, seed=2), model, MESH)
    held_out = torch.zeros(3, 5, dtype=torch.bool)
    held_out[0, 1] = held_out[1, 3] = True  # nobody judges the third member
    settings = {"weights": (~held_out).double(), "least_residual": 0.0, "longest": 0.3}
    steps = list(fit_population(model, cohort, **as_values(held_out=held_out, steps=12, patience=4, **settings)))
    free = list(fit_population(model, cohort, **as_values(steps=12, **settings)))
    scores = torch.stack([s.held_out for s in steps])
    assert torch.isnan(scores[:, 2]).all()
    at = scores[:, :2].argmin(0)
    assert (at < len(steps) - 1).all()  # the case is the one that it is meant to be: training on makes it worse
    best = steps[-1].best
    alone = laplace_marginal(best.model, cohort, start=best.personal)
    torch.testing.assert_close(alone.value[held_out].detach(), scores[:, :2].amin(0), atol=1e-7, rtol=0.0)
    for name, p in best.model.named_parameters():
        assert torch.equal(p[2], dict(free[len(steps) - 1].best.model.named_parameters())[name][2])
    # judged alone, the first two end when their patience does
    short = list(
        fit_population(
            select(model, torch.tensor([0, 1])),
            cohort,
            objective=Objective(held_out=held_out[:2], weights=settings["weights"][:2], least_residual=0.0),
            search=Search(steps=60),
            looks=Looks(patience=2),
        )
    )
    assert len(short) < 60


def test_losses_fall_and_interrupting_loses_nothing(people_of: Callable[..., tuple[Record, ...]]) -> None:
    model = oral()
    before = copy.deepcopy(model)
    cohort = Cohort.of(people_of(6, seed=2), model, MESH)
    steps = list(fit_population(model, cohort, search=Search(steps=8)))
    assert [s.index for s in steps] == list(range(1, 9))
    losses = [float(s.loss) for s in steps]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.05
    third = steps[2]
    value = laplace_marginal(third.best.model, cohort).value.mean()
    torch.testing.assert_close(value.detach(), third.loss[0], atol=1e-8, rtol=0.0)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before.parameters(), strict=True))
    # what asks for a gradient is as it was: the fitted spread is not the joint objective's to move
    assert not steps[-1].best.model.population.log_spread.requires_grad
    assert steps[-1].best.model.population.shift.requires_grad
    assert not torch.equal(steps[-1].best.model.population.log_spread, model.population.log_spread)
    again = last(fit_population(steps[-1].best.model, cohort, start=steps[-1].best.personal))
    # six people show no spread of ke: log ω drifts off, gaining less and less, and that ends the search before its steps do
    assert again.index < again.total
    assert again.best.model.population.omega[0, 1] < 0.01
    assert again.slope.max() < 1e-2


def test_a_step_where_someone_cannot_be_simulated_is_taken_back(people_of: Callable[..., tuple[Record, ...]]) -> None:
    model = oral()
    cohort = Cohort.of(people_of(4, seed=2), model, MESH)
    exact = Exponential()  # without a residual
    free = last(fit_population(model, cohort, search=Search(solver=exact)))
    fallen = 0

    class Fragile(Solver):
        """Breaks down where ke is above what the population's first, long step would like."""

        adaptive = False

        def solve(self, field: Any, x0: Tensor) -> Solution:
            nonlocal fallen
            states = exact.solve(field, x0).states
            bad = (field.A[..., 1, 1] < -0.17).any(0)
            fallen += int(bad.any())
            lost = tuple(Failure(i, 1.0, Cause.COLLAPSED) for i in bad.nonzero()[:, 0].tolist())
            return Solution(torch.where(bad[None, :, None, None], torch.nan, states), lost)

    far = oral()
    with torch.no_grad():
        far.population.shift[0, 1] = -0.4
    final = last(fit_population(far, cohort, search=Search(solver=Fragile()), longest=3.0))
    assert fallen > 0
    assert torch.isfinite(final.loss).all()
    torch.testing.assert_close(final.loss, free.loss, atol=1e-4, rtol=0.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weights": torch.ones(2, 4)}, r"weights needs shape \(M, N\) = \(1, 4\)"),
        ({"weights": -torch.ones(1, 4)}, "not negative"),
        ({"weights": torch.zeros(1, 4)}, "someone to learn from"),
        ({"held_out": torch.zeros(1, 3, dtype=torch.bool)}, "held_out needs shape"),
        ({"held_out": torch.zeros(1, 4)}, "dtype bool"),
        ({"held_out": torch.ones(1, 4, dtype=torch.bool)}, "held out of a member that trains on them"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"tolerance": 0.0}, "tolerance must be above 0"),
        ({"longest": -1.0}, "longest must be above 0"),
        ({"start": torch.zeros(1, 4, 2)}, "start needs shape"),
        ({"curvature": "exact"}, "is 'fisher' or 'observed', got 'exact'"),
    ],
)
def test_arguments_are_checked(people_of: Callable[..., tuple[Record, ...]], arguments: dict, words: str) -> None:
    model = oral()
    with pytest.raises(ValueError, match=words):
        next(fit_population(model, Cohort.of(people_of(4), model, MESH), **as_values(**arguments)))


# --- the trainable spread ----------------------------------------------------------------------------------------------


def test_the_joint_fit_leaves_the_spread_alone(people_of: Callable[..., tuple[Record, ...]]) -> None:
    learnable = Ensemble(2).stack(oral(residual=True), torch.Generator().manual_seed(4))
    fixed = copy.deepcopy(learnable)
    backbone = OneCompartmentOral()
    fixed.population = LogNormalPopulation(backbone.physical, SPREAD)
    fixed.population.shift.data = learnable.population.shift.detach().clone()
    cohort = Cohort.of(people_of(4), learnable, MESH)
    *_, a = fit(learnable, cohort, search=Search(steps=4))
    *_, b = fit(fixed, cohort, search=Search(steps=4))
    assert torch.equal(a.best.model.population.log_spread, learnable.population.log_spread)
    assert torch.equal(a.best.model.population.shift, b.best.model.population.shift)
    assert not a.best.model.population.log_spread.requires_grad


def test_members_carry_their_own_spread() -> None:
    one = oral()
    stack = Ensemble(3).stack(one, torch.Generator().manual_seed(0))
    assert stack.population.log_spread.shape == (3, 3)
    with torch.no_grad():
        stack.population.log_spread += torch.arange(3.0, dtype=torch.float64)[:, None]
    eta, nobody = torch.ones(3, 2, 3, dtype=torch.float64), {}
    whole = stack.population.theta(eta, nobody)
    parts = [select(stack, torch.tensor([k])) for k in range(3)]
    for k, part in enumerate(parts):
        assert not part.population.log_spread.requires_grad
        torch.testing.assert_close(part.population.theta(eta[[k]], nobody), whole[[k]], rtol=0.0, atol=0.0)
    assert torch.equal(concatenate(parts).population.omega, stack.population.omega)
    assert (whole > one.population.box[:, 0]).all()
    assert (whole < one.population.box[:, 1]).all()
    plain = LogNormalPopulation(OneCompartmentOral().physical, SPREAD)
    assert plain.by_marginal == ()
    assert [k for k, _ in plain.named_parameters()] == ["shift"]
    assert torch.equal(plain.omega, plain.spread[None])
