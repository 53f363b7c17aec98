"""Members as draws of a posterior: exact where it is known in closed form, and what is no posterior is told from one."""

import functools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest
from torch import Tensor, nn

from hybrid import HybridModel, Mesh, RungeKutta, Schedule, Signal, States, rollout
from learned import MLP, Constant, Ensemble, NeuralNoise, Residual, select
from physics import LinearBackbone, SharedPopulation
from tests.builders import as_values
from training import Anchor, Checkpoint, Cohort, Objective, Record, Search, beta_nll, fit, gaussian_crps, gaussian_nll

SIGMA, PRIOR, MEMBERS, PEOPLE = 0.3, 0.25, 8, 24
TIMES = (0.7, 1.5, 2.4, 4.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Linear(Residual):
    """ε = W u: not certified, but linear in W, so that the posterior of W is known."""

    def __init__(self, states: int, inputs: int) -> None:
        super().__init__()
        self.states, self.inputs, self.covariates, self.vanishes_at_origin = states, inputs, 0, True
        self.weight = nn.Parameter(torch.zeros(1, states, inputs, dtype=torch.float64))
        self.reset(generator())

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return (u @ self.weight.mT).expand(x.shape)

    def reset(self, generator: torch.Generator) -> None:
        with torch.no_grad():
            draw = torch.randn(self.weight.shape, generator=generator, dtype=torch.float64)
            self.weight.copy_(math.sqrt(PRIOR) * draw)

    def config(self) -> dict[str, Any]:
        return {"states": self.states, "inputs": self.inputs}


def linear_model(latents: int = 0) -> HybridModel:
    """dx/dt = −.8 x + W u, x observed with noise of known σ; W has two weights."""
    noise = Constant([math.sqrt(SIGMA**2 - 1e-8)], [1e-4])
    noise.log_sd.requires_grad_(False)
    return HybridModel(
        LinearBackbone([[-0.8]], [[0.0, 0.0]]),
        SharedPopulation(),
        Linear(1, 2),
        observation=States([0], ["x"], ["1"]),
        noise=noise,
        latents=latents,
    )


@functools.cache
def linear_cohort(people: int = PEOPLE) -> tuple[Cohort, Tensor]:
    """People without measurements' noise, and what their measurements are made of, X (N·T, 2)."""
    rng = np.random.default_rng(1)
    records = []
    for i in range(people):
        inputs = {f"u{j + 1}": Signal((0.0, 1.0, 3.0), tuple(rng.normal(size=3)), "held") for j in range(2)}
        records.append(
            Record(f"P{i}", Schedule(inputs=inputs), np.array(TIMES), np.zeros((len(TIMES), 1)), ("x",), {}, {"x": "1"})
        )
    model = linear_model()
    cohort = Cohort.of(records, model, Mesh(0.4))
    columns = []
    with torch.no_grad():
        for j in range(2):
            model.residual.weight.zero_()
            model.residual.weight[0, 0, j] = 1.0
            nobody = torch.zeros(1, people, 0, dtype=torch.float64)
            columns.append(rollout(model, cohort.conditions, nobody, RungeKutta("rk4")).mean.flatten())
    return cohort, torch.stack(columns, -1)


@dataclass(frozen=True)
class Posterior:
    """Of W under N(0, PRIOR): what is known in closed form."""

    X: Tensor
    y: Tensor

    @property
    def covariance(self) -> Tensor:
        return torch.linalg.inv(self.X.mT @ self.X / SIGMA**2 + torch.eye(2, dtype=torch.float64) / PRIOR)

    @property
    def mean(self) -> Tensor:
        return self.covariance @ (self.X.mT @ self.y) / SIGMA**2

    def minimisers(self, anchor: Anchor) -> Tensor:  # (M, 2)
        """Of every member's objective: the normal equations."""
        targets = self.y + SIGMA * anchor.noise.flatten(1)  # (M, N·T)
        a = anchor.centre["residual.weight"][:, 0]
        return (targets @ self.X / SIGMA**2 + a / PRIOR) @ self.covariance


def data(seed: int) -> tuple[Cohort, Posterior]:
    """A truth from the prior and its measurements."""
    cohort, X = linear_cohort()
    g = generator(seed)
    y = X @ (math.sqrt(PRIOR) * torch.randn(2, generator=g, dtype=torch.float64))
    y = y + SIGMA * torch.randn(y.shape, generator=g, dtype=torch.float64)
    return replace(cohort, y=y.reshape(cohort.y.shape)), Posterior(X, y)


ASKED = torch.tensor([1.3, -0.4], dtype=torch.float64)  # a forecast is one linear function of W


@functools.cache
def pooled(seeds: int = 200) -> tuple[np.ndarray, ...]:
    """For every seed Ê/E of anchored members, of trajectory bootstraps, and of anchors without perturbed targets."""
    found: list[list[float]] = []
    model = Ensemble(MEMBERS, "anchored").stack(linear_model(), generator())
    for seed in range(seeds):
        cohort, posterior = data(seed)
        anchor = Anchor.of(model, cohort, generator(10_000 + seed), variance=PRIOR)
        exact = ASKED @ posterior.covariance @ ASKED
        quiet = replace(anchor, noise=torch.zeros_like(anchor.noise))
        weights = Ensemble(MEMBERS).record_weights(PEOPLE, generator(20_000 + seed)).repeat_interleave(len(TIMES), 1)
        information = torch.einsum("ki,mk,kj->mij", posterior.X, weights, posterior.X) / SIGMA**2
        information = information + torch.eye(2, dtype=torch.float64) / PRIOR
        boot = torch.linalg.solve(information, torch.einsum("ki,mk,k->mi", posterior.X, weights, posterior.y) / SIGMA**2)
        members = (posterior.minimisers(anchor), boot, posterior.minimisers(quiet))
        found.append([float((w @ ASKED).var() / exact) for w in members])
    return tuple(np.array(found).T)


def test_the_spread_of_anchored_members_is_the_posteriors() -> None:
    # (M − 1) Ê/E is χ²_{M−1} for independent exact draws; over 200 seeds one χ²_{200(M−1)}, two-sided 99 %
    anchored, boot, quiet = pooled()
    low, high = chi2.interval(0.99, len(anchored) * (MEMBERS - 1))
    total = (MEMBERS - 1) * anchored.sum()
    assert low < total < high, f"{total:.0f} outside {low:.0f}–{high:.0f}"
    # and not the sum alone: each of the 200 is such a draw
    assert kstest((MEMBERS - 1) * anchored, chi2(MEMBERS - 1).cdf).pvalue > 0.005
    # a bootstrap of these people is approximately right: 6 to 7 % too wide where there are few of them
    assert 0.9 < boot.mean() < 1.25
    # the gate would refuse what is no posterior
    assert (MEMBERS - 1) * quiet.sum() < 0.2 * low


def test_the_mean_of_anchored_members_is_the_posteriors() -> None:
    model = Ensemble(400, "anchored").stack(linear_model(), generator())
    cohort, posterior = data(3)
    found = posterior.minimisers(Anchor.of(model, cohort, generator(4), variance=PRIOR))
    # whitened: 400 draws of N(0, I), so 400 times the squared distance of the mean is χ²_2
    root = torch.linalg.cholesky(torch.linalg.inv(posterior.covariance))
    away = (found.mean(0) - posterior.mean) @ root
    assert 400 * float(away @ away) < chi2.ppf(0.995, 2)
    assert 400 * float((found.mean(0) @ root).square().sum()) > chi2.ppf(0.999, 2)  # the truth is not 0


def ended(model: HybridModel, cohort: Cohort, anchors: Anchor | None, steps: int = 400, **settings: Any) -> HybridModel:
    # SGD on a quadratic, with a momentum that its condition number of 2 does not need, is at its minimum long before the end
    given = {"rate": 0.3, "optimiser": functools.partial(torch.optim.SGD, momentum=0.5), "clip": None} | settings
    constant = lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0)  # noqa: E731
    *_, last = fit(
        model, cohort, **as_values(anchors=anchors, steps=steps, least_residual=0.0, schedule=constant, **given)
    )
    return last.best.model


def test_fit_finds_the_minimisers_of_the_closed_form() -> None:
    model = Ensemble(3, "anchored").stack(linear_model(), generator(5))
    cohort, posterior = data(6)
    anchor = Anchor.of(model, cohort, generator(7), variance=PRIOR)
    scale = posterior.covariance.diagonal().sqrt()
    got = ended(model, cohort, anchor, rate=0.02, steps=150).residual.weight[:, 0].detach()
    want = posterior.minimisers(anchor)
    assert ((got - want) / scale).abs().max() < 1e-6
    assert ((want[0] - want[1]) / scale).abs().max() > 0.1


def test_first_weights_alone_are_not_epistemic_on_a_convex_residual() -> None:
    model = Ensemble(3, "init").stack(linear_model(), generator(5))
    cohort, posterior = data(6)
    got = ended(model, cohort, None, rate=0.02, steps=150).residual.weight[:, 0].detach()
    exact = ASKED @ posterior.covariance @ ASKED
    assert float((model.residual.weight[:, 0].detach() @ ASKED).var() / exact) > 1.0  # where they began
    assert float((got @ ASKED).var() / exact) < 1e-8
    assert not Ensemble(3, "init").epistemic
    assert Ensemble(3, "anchored").epistemic
    assert Ensemble(3).epistemic


def test_peoples_own_coordinates_are_drawn_with_the_members() -> None:
    # The residual sees a latent of the person: ε = W (u, c) with c ~ N(0, 1) is not linear in both; with W for c held at 1 it
    # is. Then y = X W + Z c + σ z, and the marginal posterior of W has the noise σ² I + Z Zᵀ.
    class WithLatent(Linear):
        def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
            return (u @ self.weight.mT + c).expand(torch.broadcast_shapes(x.shape, c.shape))

    residual = WithLatent(1, 2)
    residual.covariates = 1
    plain = linear_model()
    model = HybridModel(
        plain.backbone, plain.population, residual, observation=plain.observation, noise=plain.noise, latents=1
    )
    people, members = 6, 3
    cohort, posterior = data(2)
    cohort = cohort.people(torch.arange(people))
    X, y = posterior.X[: people * len(TIMES)], posterior.y[: people * len(TIMES)]
    model = Ensemble(members, "anchored").stack(model, generator(1))
    anchor = Anchor.of(model, cohort, generator(3), variance=PRIOR)
    with torch.no_grad():
        model.residual.weight.zero_()
        one = torch.ones(members, people, 1, dtype=torch.float64)
        effect = rollout(model, cohort.conditions, one, RungeKutta("rk4")).mean[0, :, :, 0]  # (N, T)
        model.residual.reset(generator(1))
    Z = torch.block_diag(*(e[:, None] for e in effect))
    both = torch.cat([X, Z], 1)
    precision = torch.diag(torch.cat([torch.full((2,), 1.0 / PRIOR), torch.ones(people)]).to(torch.float64))
    information = both.mT @ both / SIGMA**2 + precision
    drawn = torch.cat([anchor.centre["residual.weight"][:, 0], anchor.personal[..., 0]], 1)
    want = torch.linalg.solve(information, ((y + SIGMA * anchor.noise.flatten(1)) @ both / SIGMA**2 + drawn @ precision).mT).mT
    *_, last = fit(
        model,
        cohort,
        objective=Objective(anchors=anchor, least_residual=0.0),
        search=Search(
            steps=300,
            rate=0.05,
            clip=None,
            optimiser=functools.partial(torch.optim.SGD, momentum=0.9),
            schedule=lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0),
        ),
    )
    torch.testing.assert_close(last.best.model.residual.weight[:, 0].detach(), want[:, :2], rtol=0.0, atol=1e-4)
    torch.testing.assert_close(last.best.personal[..., 0], want[:, 2:], rtol=0.0, atol=1e-4)
    # the joint minimisers' W are draws of the marginal posterior: their covariance, exactly, by the same linear map
    R = torch.eye(len(y), dtype=torch.float64) * SIGMA**2 + Z @ Z.mT
    marginal = torch.linalg.inv(X.mT @ torch.linalg.solve(R, X) + torch.eye(2, dtype=torch.float64) / PRIOR)
    torch.testing.assert_close(torch.linalg.inv(information)[:2, :2], marginal, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("loss", [gaussian_nll, beta_nll(0.5), gaussian_crps], ids=["nll", "beta", "crps"])
def test_without_a_perturbation_nothing_changes(loss: Any) -> None:
    g = generator(1)
    cohort, _ = data(1)
    y = cohort.y.clone()
    y[3, 1] = torch.nan
    shape = (2, *y.shape)
    mean = torch.randn(shape, generator=g, dtype=torch.float64, requires_grad=True)
    variance = (torch.rand(shape, generator=g, dtype=torch.float64) + 0.1).requires_grad_()
    anchor = Anchor({}, {}, torch.zeros(2, PEOPLE, 0), torch.zeros(shape, dtype=torch.float64))
    plain, moved = loss(y, mean, variance), anchor.likelihood(loss, y, mean, variance)
    torch.testing.assert_close(moved, plain, rtol=1e-14, atol=1e-14)
    for a, b in zip(*(torch.autograd.grad(v.sum(), (mean, variance)) for v in (moved, plain)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)
    # with one, the mean is drawn to the member's own targets, and the variance still to the measurements
    anchor = replace(anchor, noise=torch.randn(shape, generator=g, dtype=torch.float64))
    by_mean, by_variance = torch.autograd.grad(anchor.likelihood(loss, y, mean, variance).sum(), (mean, variance))
    for m in range(2):
        own = y + variance.detach()[m].sqrt() * anchor.noise[m]
        at_own, _ = torch.autograd.grad(loss(own, mean[[m]], variance[[m]]).sum(), (mean, variance))
        _, at_y = torch.autograd.grad(loss(y, mean[[m]], variance[[m]]).sum(), (mean, variance))
        torch.testing.assert_close(by_mean[m], at_own[m], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(by_variance[m], at_y[m], rtol=1e-12, atol=1e-14)


def test_a_learned_noise_is_not_taken_in_by_the_perturbation() -> None:
    model = linear_model()
    noise = Constant([1.0], [0.01])
    model = HybridModel(model.backbone, model.population, model.residual, observation=model.observation, noise=noise)
    model = Ensemble(4, "anchored").stack(model, generator(8))
    cohort, _ = data(9)
    anchor = Anchor.of(model, cohort, generator(1), variance=PRIOR)
    got = ended(model, cohort, anchor, rate=0.05, steps=300, optimiser=torch.optim.Adam)
    y = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    sd = got.noise.variance(y, y, y)[:, 0, 0, 0].sqrt().detach()
    # 96 residuals: the standard error of σ is σ/√192 = 7 %; taken in, it would be √2 σ or more
    assert (sd / SIGMA - 1.0).abs().max() < 0.25


def test_the_prior_is_the_distribution_at_the_start() -> None:
    noise = NeuralNoise([0.3], [0.1], 2, hidden=(16,))
    model = HybridModel(
        LinearBackbone([[-1.0, 0.0], [0.0, -2.0]]),
        SharedPopulation(),
        MLP(2, hidden=(16, 12), vanishes_at_origin=False),
        observation=States([0], ["x"], ["1"]),
        noise=noise,
    )
    stack = Ensemble(50).stack(model, generator(2))
    cohort = Cohort.of(
        [Record("A", Schedule(), np.array([1.0]), np.zeros((1, 1)), ("x",))], model, Mesh(0.5)
    )
    anchor = Anchor.of(stack, cohort, generator(3))
    want = {"residual.weights.0": 1 / 2, "residual.weights.1": 1 / 16, "residual.weights.2": 0.01 / 12}
    want |= {"residual.biases.0": 0.25, "residual.biases.1": 0.25}  # half-normal wide; the last starts at 0
    want |= {"noise.weights.0": 1 / 3, "noise.weights.1": 0.01 / 16, "noise.biases.0": 0.25}
    assert anchor.centre.keys() == want.keys()
    for name, variance in want.items():
        # 4,096 numbers or more: √(2/4096) = 2.2 % each, four of them
        assert 1.0 / anchor.precision[name] == pytest.approx(variance, rel=0.09), name
        a = anchor.centre[name]
        assert a.shape == stack.get_parameter(name).shape
        # the anchors are draws of that: a standard error of √(2/count), five of them
        assert float(a.square().mean()) == pytest.approx(variance, rel=5 * math.sqrt(2 / a.numel()) + 0.09)
    assert anchor.personal.shape == (50, 1, 0)
    assert anchor.noise.shape == (50, 1, 1, 1)
    before = [p.detach().clone() for p in stack.parameters()]
    assert all(torch.equal(p, q) for p, q in zip(stack.parameters(), before, strict=True))  # the model is left alone


def test_named_priors_and_parts() -> None:
    stack = Ensemble(3).stack(linear_model(), generator(1))
    cohort, _ = data(0)
    anchor = Anchor.of(stack, cohort, generator(2), variance={"residual.weight": 4.0})
    assert anchor.precision == {"residual.weight": 0.25}
    part = anchor.members(torch.tensor([2, 0])).people(torch.tensor([1, 5]))
    assert torch.equal(part.centre["residual.weight"], anchor.centre["residual.weight"][[2, 0]])
    assert torch.equal(part.noise, anchor.noise[[2, 0]][:, [1, 5]])
    away = stack.residual.weight.detach() - anchor.centre["residual.weight"]
    torch.testing.assert_close(anchor.penalty(stack).detach(), 0.125 * away.square().sum((1, 2)), rtol=1e-14, atol=0.0)
    for wrong, words in (({"residual.weights": 1.0}, "trains no 'residual.weights'"), (-1.0, "positive"), (0.0, "positive")):
        with pytest.raises(ValueError, match=words):
            Anchor.of(stack, cohort, generator(2), variance=wrong)
    with pytest.raises(ValueError, match="the anchors are for"):
        next(fit(stack, cohort.people(torch.arange(4)), objective=Objective(anchors=anchor)))
    with pytest.raises(ValueError, match="the anchors are for"):
        next(fit(Ensemble(2).stack(linear_model(), generator(1)), cohort, objective=Objective(anchors=anchor)))


def test_members_do_not_influence_each_other() -> None:
    stack = Ensemble(3).stack(linear_model(), generator(1))
    cohort, _ = data(0)
    anchor = Anchor.of(stack, cohort, generator(2))
    together = ended(stack, cohort, anchor, steps=5, rate=0.01)
    one = Ensemble(3).stack(linear_model(), generator(1))
    row = torch.tensor([1])
    alone = ended(select(one, row), cohort, anchor.members(row), steps=5, rate=0.01)
    torch.testing.assert_close(together.residual.weight[row], alone.residual.weight, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"likelihood": beta_nll(0.25)}, "the likelihood changed"),
        ({"likelihood": gaussian_crps}, "the likelihood changed"),
        ({"anchors": None}, "the anchors changed"),
        ({"anchors": "other"}, "the anchors changed"),
    ],
)
def test_a_checkpoint_knows_the_likelihood_and_the_anchors(changed: dict[str, Any], words: str, tmp_path: Path) -> None:
    stack = Ensemble(2).stack(linear_model(), generator(1))
    cohort, _ = data(0)
    checkpoint = Checkpoint(tmp_path / "fit")
    given: dict[str, Any] = {"likelihood": beta_nll(0.5), "anchors": Anchor.of(stack, cohort, generator(2))}
    list(fit(stack, cohort, **as_values(steps=2, checkpoint=checkpoint, **given)))
    if changed.get("anchors") == "other":
        changed = {"anchors": Anchor.of(stack, cohort, generator(3))}
    with pytest.raises(ValueError, match=words):
        next(fit(stack, cohort, **as_values(steps=2, checkpoint=checkpoint, **{**given, **changed})))
    again = {"likelihood": beta_nll(0.5), "anchors": Anchor.of(stack, cohort, generator(2))}
    assert next(fit(stack, cohort, **as_values(steps=2, checkpoint=checkpoint, **again))).index == 2
