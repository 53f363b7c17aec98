"""Laws of personalisation: the linear Gaussian case is exact, the network stays as it is, missing values do not count."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hybrid import (
    Cause,
    Failure,
    HybridModel,
    Mesh,
    RungeKutta,
    Schedule,
    SemilinearField,
    Signal,
    SimulationError,
    Solution,
    Solver,
    States,
    Torchdiffeq,
    rollout,
)
from learned import MLP, AdditiveProportional, Ensemble, Residual, select
from physics import LinearBackbone, SharedPopulation, VanCauter, VanCauterPopulation
from training import Cohort, Personal, Record, forecast, observed_information, personalise, prior, sensitivity
from training.people.mode import modes

SAID = pytest.mark.filterwarnings("ignore:personalise. . of 4 people could not be simulated")  # that it is said has its own test

A = torch.tensor([[-1.0, 0.4], [0.3, -0.7]], dtype=torch.float64)
TIMES = (0.0, 0.4, 1.0, 1.7, 3.0)
SIGMA = 0.3
TIGHT = Torchdiffeq("dopri8", rtol=1e-11, atol=1e-12)


class Constant(Residual):
    """ε = G c: what the latents add is the same at every state, so the mean is linear in them."""

    def __init__(self, gain: Tensor) -> None:
        super().__init__()
        self.gain = gain  # (n, r)
        self.states, self.inputs, self.covariates = gain.shape[0], 0, gain.shape[1]
        self.vanishes_at_origin = False

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return (c @ self.gain.T).expand(*torch.broadcast_shapes(x.shape[:-1], c.shape[:-1]), self.states)

    def reset(self, generator: torch.Generator) -> None:
        return None

    def config(self) -> dict[str, Any]:
        return {}


def linear_model(gain: Tensor) -> HybridModel:
    # floor² + a² = SIGMA² up to 1e-16; b = 1e-9 makes the noise constant to far below the tolerance
    noise = AdditiveProportional([SIGMA], [1e-9], [1e-8])
    return HybridModel(
        LinearBackbone(A, state_units=["mg", "mg"], time_unit="h"),
        SharedPopulation(),
        Constant(gain),
        observation=States([0], ["y"], ["mg"]),
        noise=noise,
        latents=gain.shape[1],
    )


def record(values: np.ndarray, name: str = "1") -> Record:
    # the sample at 0 comes first so that the scored ones lie after the start
    return Record(id=name, schedule=Schedule(), times=np.array(TIMES), values=values[:, None], channels=("y",))


def exact_posterior(gain: Tensor, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y_t = J_t η + noise with J_t = [A⁻¹(e^{At} − I) G]_0, started at 0: the conjugate Gaussian posterior."""
    J = torch.stack([(torch.linalg.inv(A) @ (torch.linalg.matrix_exp(A * t) - torch.eye(2)) @ gain)[0] for t in TIMES])
    J = J.numpy()
    there = np.isfinite(values) & (np.array(TIMES) > 0.0)
    covariance = np.linalg.inv(J[there].T @ J[there] / SIGMA**2 + np.eye(gain.shape[1]))
    return covariance @ J[there].T @ values[there] / SIGMA**2, covariance


@settings(deadline=None, max_examples=8, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    latents=st.integers(1, 3),
    measured=st.lists(st.booleans(), min_size=4, max_size=4),
    size=st.sampled_from([0.5, 3.0]),
)
def test_linear_gaussian_is_the_exact_posterior(seed: int, latents: int, measured: list[bool], size: float) -> None:
    # NaN observations do not count: the textbook posterior is computed from the others alone
    generator = torch.Generator().manual_seed(seed)
    gain = size * torch.randn(2, latents, generator=generator, dtype=torch.float64)
    values = torch.randn(5, generator=generator, dtype=torch.float64).numpy()
    values[1:] = np.where(measured, values[1:], np.nan)
    model = linear_model(gain)
    cohort = Cohort.of([record(values)], model)
    found = personalise(model, cohort, solver=TIGHT)
    mean, covariance = exact_posterior(gain, values)
    # 1e-8: the solver's tolerance (1e-11), the differences' rounding (1e-16/1e-5) and the conditioning (size/SIGMA)² ≈ 1e2
    np.testing.assert_allclose(found.mode[0, 0].numpy(), mean, atol=1e-8)
    np.testing.assert_allclose(found.covariance[0, 0].numpy(), covariance, atol=1e-8)
    assert found.converged.all()


def test_nothing_measured_gives_the_prior() -> None:
    model = linear_model(torch.ones(2, 2, dtype=torch.float64))
    cohort = Cohort.of([record(np.arange(5.0))], model).until(0.0)
    found, nothing = personalise(model, cohort, solver=TIGHT), prior(model, 1)
    torch.testing.assert_close(found.mode, nothing.mode, atol=0.0, rtol=0.0)
    torch.testing.assert_close(found.covariance, nothing.covariance, atol=1e-12, rtol=0.0)
    assert found.converged.all()
    assert nothing.converged.all()


def secretion(members: int, latents: int = 1) -> tuple[HybridModel, Cohort]:
    """A nonlinear model whose noise depends on the mean, with three people of unequal glucose."""
    generator = torch.Generator().manual_seed(1)
    network = MLP(
        2,
        2,
        latents,
        (5,),
        sees_states=False,
        acts_on=(0,),
        input_scale=(1.0, 4.0),
        rate_scale=1.0,
        generator=generator,
    )
    one = HybridModel(
        VanCauter(),
        VanCauterPopulation(),
        network,
        observation=States([0], ["C-peptide"], ["nmol/L"]),
        # noise of about the misfit: with far less, scoring zigzags, since the curvature is then not the information
        noise=AdditiveProportional([0.5], [0.2], [0.01]),
        latents=latents,
    )
    model = Ensemble(members=members, resample="init").stack(one, generator)
    with torch.no_grad():  # a first draw hardly leaves the backbone: make secretion depend on β
        model.residual.weights[-1].mul_(3.0)
    people = [
        Record(
            id=str(k),
            schedule=Schedule(
                inputs={"basal": Signal((0.0,), (0.5,)), "glucose": Signal((0.0, 20.0, 60.0), (0.0, 3.0 + k, 1.0))}
            ),
            times=np.array([0.0, 20.0, 40.0, 60.0]),
            values=np.array([[0.5], [1.0 + 0.5 * k], [2.0], [1.5 - 0.3 * k]]),
            channels=("C-peptide",),
            covariates={"age": 40.0 + 10 * k, "type2": float(k == 2)},
        )
        for k in range(3)
    ]
    return model, Cohort.of(people, model, Mesh(step=10.0))


@pytest.mark.parametrize("latents", [1, 3])
def test_sensitivities_against_autograd(latents: int) -> None:
    model, cohort = secretion(2, latents)
    generator = torch.Generator().manual_seed(2)
    personal = torch.randn(2, 3, latents, generator=generator, dtype=torch.float64)
    found = sensitivity(model, cohort.conditions, personal)
    own = personal.clone().requires_grad_()
    run = rollout(model, cohort.conditions, own, RungeKutta("rk4"))
    for value, slope in ((run.mean, found.mean_slope), (run.variance, found.variance_slope)):
        for t in range(value.shape[2]):
            # a person's coordinates move no one else's mean, so the gradient of the sum is every person's own
            (gradient,) = torch.autograd.grad(value[:, :, t, 0].sum(), own, retain_graph=True)
            # central differences with h = 1e-5: truncation h²·f''' ≈ 1e-10, rounding 1e-16/h ≈ 1e-11, times values ≈ 10
            torch.testing.assert_close(slope[:, :, t, 0], gradient, atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(found.mean, run.mean.detach(), atol=1e-12, rtol=0.0)
    torch.testing.assert_close(found.variance, run.variance.detach(), atol=1e-12, rtol=0.0)
    assert found.mean_slope.abs().max() > 0.01  # the test would pass on a model that ignores β


def objective(model: HybridModel, cohort: Cohort, personal: Tensor, solver: Solver | None = None) -> Tensor:  # (M, N)
    """−log posterior, written out again."""
    run = rollout(model, cohort.conditions, personal, solver or RungeKutta("rk4"))
    there = torch.isfinite(cohort.y)
    error = torch.nan_to_num(cohort.y - run.mean)
    each = 0.5 * (error.square() / run.variance + run.variance.log())
    return torch.where(there, each, 0.0).sum((2, 3)) + 0.5 * personal.square().sum(-1)


def test_the_mode_is_stationary_and_no_worse_than_a_grid() -> None:
    model, cohort = secretion(2)
    # the information is not the curvature, so scoring converges linearly, not quadratically: it is given time
    found = personalise(model, cohort, iterations=80, tolerance=1e-8)
    assert found.converged.all()
    own = found.mode.clone().requires_grad_()
    value = objective(model, cohort, own)
    (gradient,) = torch.autograd.grad(value.sum(), own)
    # a last step of 1e-8 times an information below 1e3
    assert gradient.abs().max() < 1e-4
    torch.testing.assert_close(found.objective, value.detach(), atol=1e-10, rtol=0.0)
    with torch.no_grad():
        grid = torch.stack([objective(model, cohort, torch.full_like(own, float(b))) for b in np.linspace(-3, 3, 61)])
    # the problem has one coordinate, so a grid sees every basin of attraction within three standard deviations
    assert (found.objective <= grid.amin(0) + 1e-3).all()


def test_converged_says_who_is_there() -> None:
    model, cohort = secretion(2)
    there = personalise(model, cohort, iterations=80, tolerance=1e-8)
    assert not personalise(model, cohort, iterations=1).converged.any()
    far = there.mode.clone()
    far[0, 1] += 1.5
    one = personalise(model, cohort, start=far, iterations=1, tolerance=1e-3)
    expected = torch.ones(2, 3, dtype=torch.bool)
    expected[0, 1] = False
    assert torch.equal(one.converged, expected)
    back = personalise(model, cohort, start=far, iterations=80, tolerance=1e-8)
    torch.testing.assert_close(back.mode, there.mode, atol=1e-6, rtol=0.0)


def test_members_and_people_do_not_influence_each_other() -> None:
    model, cohort = secretion(3)
    together = personalise(model, cohort, tolerance=0.0)
    for m in range(3):
        alone = personalise(select(model, torch.tensor([m])), cohort.people(torch.tensor([2])), tolerance=0.0)
        # tolerance 0: everyone takes the same number of steps; what is left is the order of sums in a batch, a few 1e-16,
        # which the differences behind the slopes divide by 1e-5
        torch.testing.assert_close(alone.mode[0, 0], together.mode[m, 2], atol=1e-7, rtol=0.0)


def test_the_network_stays_as_it_is() -> None:
    model, cohort = secretion(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = personalise(model, cohort)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not found.mode.requires_grad
    assert (found.mode.abs() > 0.01).any()  # something was learned, and not by the network


def test_missing_values_do_not_count() -> None:
    model, cohort = secretion(2)
    late = cohort.times[..., None] > 40.0
    nonsense = Cohort(cohort.records, cohort.conditions, cohort.times, torch.where(late, 99.0, cohort.y)).until(40.0)
    first, second = personalise(model, cohort.until(40.0)), personalise(model, nonsense)
    assert torch.equal(first.mode, second.mode)
    assert torch.equal(first.covariance, second.covariance)
    assert (first.mode - personalise(model, cohort).mode).abs().max() > 0.01  # the later sample would have mattered
    assert torch.isfinite(first.covariance).all()


def test_someone_without_coordinates() -> None:
    one = HybridModel(
        VanCauter(),
        VanCauterPopulation(),
        observation=States([0], ["C-peptide"], ["nmol/L"]),
        noise=AdditiveProportional([0.1], [0.2], [0.01]),
    )
    _, cohort = secretion(1)
    found = personalise(one, cohort)
    assert found.mode.shape == (1, 3, 0)
    assert found.covariance.shape == (1, 3, 0, 0)
    assert found.converged.all()
    assert found.draws(4, torch.Generator().manual_seed(0)).shape == (1, 4, 3, 0)
    torch.testing.assert_close(found.objective, objective(one, cohort, found.mode).detach(), atol=1e-12, rtol=0.0)


def test_draws_have_the_mean_and_covariance() -> None:
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(2, 3, 2, 2, generator=generator, dtype=torch.float64)
    covariance = root @ root.mT + 0.1 * torch.eye(2)
    mode = torch.randn(2, 3, 2, generator=generator, dtype=torch.float64)
    known = Personal(mode, covariance, mode[..., 0], mode[..., 0] > 0)
    S = 40_000
    draws = known.draws(S, generator)
    assert draws.shape == (2, S, 3, 2)
    centred = draws - mode[:, None]
    sample = torch.einsum("msni,msnj->mnij", centred, centred) / S
    spread = covariance.diagonal(dim1=-2, dim2=-1)
    # five standard errors: √(σ²/S) of a mean, √((σ_i²σ_j² + σ_ij²)/S) of a covariance
    assert (centred.mean(1).abs() < 5.0 * (spread / S).sqrt()).all()
    error = ((spread[..., :, None] * spread[..., None, :] + covariance.square()) / S).sqrt()
    assert ((sample - covariance).abs() < 5.0 * error).all()


def test_a_solver_is_the_callers_choice() -> None:
    model, cohort = secretion(1)

    class Counting(Solver):
        adaptive = False
        calls = 0

        def solve(self, field: Any, x0: Tensor) -> Tensor:
            Counting.calls += 1
            return Torchdiffeq().solve(field, x0)

    have, want = (personalise(model, cohort, solver=s).mode for s in (Counting(), Torchdiffeq()))
    torch.testing.assert_close(have, want)
    assert Counting.calls > 0


# --- many people, and some who cannot be simulated --------------------------------------------------------------------


def broken(cohort: Cohort, *people: int) -> Cohort:
    """The same people, whose simulation of these overflows at whatever coordinates."""
    baseline = cohort.conditions.baseline.clone()
    baseline[list(people)] = 1e308
    return replace(cohort, conditions=replace(cohort.conditions, baseline=baseline))


class Steep(Solver):
    """Simulates only where no rate is above a limit, and says who broke it: what a diverging step looks like."""

    adaptive = False

    def __init__(self, limit: float) -> None:
        self.limit, self.broke = limit, 0

    def solve(self, field: SemilinearField, x0: Tensor) -> Solution:
        bad = (field.A[..., 0, 0] < -self.limit).any(0)
        self.broke += int(bad.any())
        found = Torchdiffeq().solve(field, x0)
        states = torch.where(bad[None, :, None, None], torch.nan, found.states)
        lost = tuple(Failure(i, 1.0, Cause.COLLAPSED) for i in bad.nonzero()[:, 0].tolist())
        return Solution(states, lost)


def test_two_halves_of_the_data_are_the_whole() -> None:
    # what the first half says is what is known before the second
    gain = torch.tensor([[1.0, 0.3], [0.2, 2.0]], dtype=torch.float64)
    model = linear_model(gain)
    cohort = Cohort.of([record(np.array([0.0, 0.3, -0.2, 0.8, 0.5])), record(np.arange(5.0), "2")], model)
    whole = personalise(model, cohort, solver=TIGHT)
    first = personalise(model, cohort.until(1.0), solver=TIGHT)
    both = personalise(model, cohort.after(1.0), before=first, solver=TIGHT)
    torch.testing.assert_close(both.mode, whole.mode, atol=1e-8, rtol=0.0)
    torch.testing.assert_close(both.covariance, whole.covariance, atol=1e-8, rtol=0.0)
    assert (first.mode - whole.mode).abs().max() > 0.01


def test_prior_knowledge_is_the_callers() -> None:
    model, cohort = secretion(2, 2)
    mean = torch.tensor([0.7, -0.4], dtype=torch.float64)
    covariance = torch.tensor([[0.3, 0.1], [0.1, 0.2]], dtype=torch.float64)
    before = prior(model, 3, mean=mean, covariance=covariance)
    nothing = personalise(model, cohort.until(0.0), before=before)
    torch.testing.assert_close(nothing.mode, before.mode, atol=1e-12, rtol=0.0)
    torch.testing.assert_close(nothing.covariance, before.covariance, atol=1e-12, rtol=0.0)
    assert nothing.converged.all()
    found = personalise(model, cohort, before=before, iterations=80, tolerance=1e-8)
    own = found.mode.clone().requires_grad_()
    away = own - mean
    prior_of = 0.5 * (away @ torch.linalg.inv(covariance) * away).sum(-1) - 0.5 * own.square().sum(-1)
    value = objective(model, cohort, own) + prior_of
    (gradient,) = torch.autograd.grad(value.sum(), own)
    assert gradient.abs().max() < 1e-4
    torch.testing.assert_close(found.objective, value.detach(), atol=1e-10, rtol=0.0)
    # hardly any doubt beforehand: the data change nothing
    sure = personalise(model, cohort, before=prior(model, 3, mean=mean, covariance=1e-12 * covariance))
    torch.testing.assert_close(sure.mode, mean.expand(2, 3, 2), atol=1e-6, rtol=0.0)
    for wrong in (
        {"mean": torch.zeros(3)},
        {"covariance": torch.eye(3)},
        {"covariance": -torch.eye(2)},
        {"covariance": torch.tensor([[1.0, 0.5], [0.0, 1.0]])},
        {"mean": torch.tensor([0.0, torch.nan]), "covariance": torch.eye(2)},
    ):
        with pytest.raises(ValueError, match="prior: "):
            prior(model, 3, **wrong)
    with pytest.raises(ValueError, match="before needs"):
        personalise(model, cohort, before=prior(model, 2))
    with pytest.raises(ValueError, match="start needs"):
        personalise(model, cohort, start=torch.zeros(2, 3, 1))
    with pytest.raises(ValueError, match="curvature"):
        personalise(model, cohort, curvature="exact")  # type: ignore[arg-type]


@pytest.mark.parametrize("latents", [1, 3])
def test_observed_information_against_the_hessian(latents: int) -> None:
    model, cohort = secretion(2, latents)
    solver = Torchdiffeq()  # its every operation can be differentiated twice
    found = personalise(model, cohort, curvature="observed", iterations=80, tolerance=1e-8, solver=solver)
    own = found.mode.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(model, cohort, own, solver).sum(), own, create_graph=True)
    rows = [torch.autograd.grad(gradient[..., j].sum(), own, retain_graph=True)[0] for j in range(latents)]
    hessian = torch.stack(rows, -2)
    # central differences of an exact gradient: h² φ⁗ ≈ 1e-10 and rounding 1e-16/1e-5, of entries of about 10
    torch.testing.assert_close(
        observed_information(model, cohort, found.mode, solver=solver), hessian, atol=1e-7, rtol=1e-7
    )
    torch.testing.assert_close(found.covariance, torch.linalg.inv(hessian), atol=1e-7, rtol=1e-7)
    ours = observed_information(
        model, cohort, found.mode
    )  # the same curve, on another discretisation of steps of 10 min
    torch.testing.assert_close(ours, hessian, rtol=1e-2, atol=1e-2)
    fisher = personalise(model, cohort, iterations=80, tolerance=1e-8, solver=solver)
    assert torch.equal(fisher.mode, found.mode)
    assert (fisher.covariance - found.covariance).abs().max() > 1e-3  # it is another matrix where data disagree


def test_an_indefinite_curvature_falls_back_to_fisher(model: HybridModel, people: tuple[Record, ...]) -> None:
    # far from every mode, where a search that is given no time ends, the likelihood bends downwards for some
    many = [replace(r, id=f"{r.id}.{k}") for k in range(10) for r in people]
    cohort = Cohort.of(many, model, Mesh(0.65, 0.2, 0.5))
    start = 2.0 * torch.randn(1, 40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fisher = personalise(model, cohort, start=start, iterations=0)
    observed = personalise(model, cohort, start=start, iterations=0, curvature="observed")
    curvature = observed_information(model, cohort, fisher.mode)
    down = torch.linalg.eigvalsh(curvature)[..., 0] <= 0
    assert down.any()
    assert not down.all()
    assert torch.equal(observed.covariance[down], fisher.covariance[down])
    torch.testing.assert_close(observed.covariance[~down], torch.linalg.inv(curvature)[~down], rtol=1e-6, atol=1e-9)


def test_a_mesh_too_coarse_for_the_solver_is_said(model: HybridModel, people: tuple[Record, ...]) -> None:
    cohort = Cohort.of(people, model, Mesh(30.0))
    with pytest.warns(UserWarning, match=r"^personalise: 4 of 4 people could not .* and of 3 more") as said:
        found = personalise(model, cohort)
    assert set(found.failed) == {0, 1, 2, 3}
    assert "becomes unstable. Cut the record for these parameters, Mesh.of(model, records)" in str(said[0].message)
    assert said[0].filename == __file__  # where it is asked, not where it is found
    assert "4 of 4: person P1: the step of" in repr(found)
    silent = modes(model, cohort)
    assert torch.equal(silent.mode, found.mode)
    with pytest.warns(UserWarning, match=r"4 of 4 people could not be simulated"):
        forecast(model, cohort, cohort, draws=1, generator=torch.Generator().manual_seed(0))


@SAID
def test_who_cannot_be_simulated_stops_nobody(model: HybridModel, people: tuple[Record, ...]) -> None:
    stack = Ensemble(2).stack(model, torch.Generator().manual_seed(0))
    cohort = Cohort.of(people, stack, Mesh(0.65, 0.2, 0.5))
    whole, found = personalise(stack, cohort), personalise(stack, broken(cohort, 1, 3))
    assert set(found.failed) == {1, 3}
    assert found.failed[1].startswith("person P2: the state is not finite at time")
    assert whole.failed == {}
    others, lost = torch.tensor([0, 2]), torch.tensor([1, 3])
    for name in ("mode", "covariance", "objective"):
        torch.testing.assert_close(
            getattr(found, name)[:, others], getattr(whole, name)[:, others], atol=1e-9, rtol=0.0
        )
    assert found.converged[:, others].all()
    assert not found.converged[:, lost].any()
    nothing = prior(stack, 2)
    assert torch.equal(found.mode[:, lost], nothing.mode)
    assert torch.equal(found.covariance[:, lost], nothing.covariance)
    assert torch.isfinite(found.objective).all()
    assert torch.isfinite(found.draws(3, torch.Generator().manual_seed(0))).all()
    assert found.people(torch.tensor([3, 0])).failed == {0: found.failed[3]}
    everyone = personalise(stack, broken(cohort, 0, 1, 2, 3), curvature="observed")
    assert set(everyone.failed) == {0, 1, 2, 3}
    assert torch.equal(everyone.mode, prior(stack, 4).mode)
    known = prior(stack, 4, mean=torch.ones(3), covariance=0.5 * torch.eye(3))
    before = personalise(stack, broken(cohort, 1), before=known)
    assert torch.equal(before.mode[:, 1], known.mode[:, 1])
    assert torch.equal(before.covariance[:, 1], known.covariance[:, 1])


@SAID
def test_a_prediction_that_is_not_finite_is_a_failure_too(model: HybridModel, cohort: Cohort) -> None:
    class Silent(Solver):
        """Returns what it has, NaN and all, for whoever starts below nothing."""

        adaptive = False

        def solve(self, field: SemilinearField, x0: Tensor) -> Solution:
            states = Torchdiffeq().solve(field, x0).states
            return Solution(torch.where((x0 < -1.0).any(-1)[..., None, None], torch.nan, states))

    baseline = cohort.conditions.baseline.clone()
    baseline[2] = -5.0
    below = replace(cohort, conditions=replace(cohort.conditions, baseline=baseline))
    found, whole = personalise(model, below, solver=Silent()), personalise(model, cohort, solver=Torchdiffeq())
    assert set(found.failed) == {2}
    assert "not finite" in found.failed[2]
    others = torch.tensor([0, 1, 3])
    torch.testing.assert_close(found.mode[:, others], whole.mode[:, others], atol=1e-9, rtol=0.0)


def test_a_step_into_failure_is_not_taken(model: HybridModel, people: tuple[Record, ...]) -> None:
    cohort = Cohort.of(people, model, Mesh(0.65, 0.2, 0.5))
    whole = personalise(model, cohort)
    fastest = float(model.theta(whole.mode, {})[0, :, 0].detach().max())
    solver = Steep(1.01 * fastest)  # the modes can be simulated, but not much more
    slow = whole.mode.clone()
    slow[..., 0], slow[..., 1] = -1.0, 0.0  # the first step from here goes too far
    found = personalise(model, cohort, start=slow, solver=solver, iterations=80)
    assert solver.broke > 0
    assert found.failed == {}
    torch.testing.assert_close(found.mode, whole.mode, atol=1e-4, rtol=0.0)
    # a warm start that cannot be simulated is no reason to fail: begin again at what was known before
    far = whole.mode.clone()
    far[0, 1, 0] = 6.0
    found = personalise(model, cohort, start=far, solver=Steep(1.5 * fastest), iterations=80)
    assert found.failed == {}
    torch.testing.assert_close(found.mode, whole.mode, atol=1e-4, rtol=0.0)


@SAID
def test_a_failure_under_one_member_is_that_members(model: HybridModel, people: tuple[Record, ...]) -> None:
    stack = Ensemble(2).stack(model, torch.Generator().manual_seed(0))
    cohort = Cohort.of(people, stack, Mesh(0.65, 0.2, 0.5))
    with torch.no_grad():
        stack.population.shift[1, 0] += 2.0  # absorption so fast under the second member
    limit = 0.5 * float(
        stack.theta(prior(stack, 4).mode, {})[:, 0, 0].detach().sum()
    )  # between the two members' typical rates
    found = personalise(stack, cohort, solver=Steep(limit), iterations=80)
    assert set(found.failed) == {0, 1, 2, 3}
    assert not found.converged[1].any()
    assert found.converged[0].any()
    alone = personalise(select(stack, torch.tensor([0])), cohort, solver=Steep(limit), iterations=80)
    torch.testing.assert_close(found.mode[0], alone.mode[0], atol=1e-9, rtol=0.0)


@SAID
def test_an_unnamed_failure_is_found_by_halves(model: HybridModel, people: tuple[Record, ...]) -> None:
    cohort = Cohort.of(people, model, Mesh(0.65, 0.2, 0.5))

    class Nameless(Solver):
        adaptive = False

        def solve(self, field: SemilinearField, x0: Tensor) -> Solution:
            if not bool(torch.isfinite(1e4 * x0).all()):
                raise SimulationError("the tolerance could not be kept")
            return Torchdiffeq().solve(field, x0)

    found = personalise(model, broken(cohort, 2), solver=Nameless())
    whole = personalise(model, cohort, solver=Torchdiffeq())
    assert found.failed == {2: "person P3: the tolerance could not be kept"}
    others = torch.tensor([0, 1, 3])
    torch.testing.assert_close(found.mode[:, others], whole.mode[:, others], atol=1e-9, rtol=0.0)


def test_the_converged_leave_the_batch(people_of: Callable[..., tuple[Record, ...]], model: HybridModel) -> None:
    rows: list[int] = []

    class Counting(Solver):
        adaptive = False

        def solve(self, field: SemilinearField, x0: Tensor) -> Solution:
            rows.append(x0.shape[1] // 7)
            return Torchdiffeq().solve(field, x0)

    many = people_of(40, seed=8)
    cohort = Cohort.of(many, model, Mesh(0.65, 0.2, 0.5))
    found = personalise(model, cohort, solver=Counting())
    assert found.converged.all()
    assert rows[0] == 40
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] < 20
    # and whoever left is where they would be alone: nobody is moved after convergence
    for i in (0, 13, 39):
        alone = personalise(model, Cohort.of([many[i]], model, Mesh(0.65, 0.2, 0.5)), solver=Torchdiffeq())
        torch.testing.assert_close(alone.mode[:, 0], found.mode[:, i], atol=1e-9, rtol=0.0)
        torch.testing.assert_close(alone.covariance[:, 0], found.covariance[:, i], atol=1e-9, rtol=0.0)


def test_converged_means_near_the_mode(people_of: Callable[..., tuple[Record, ...]], model: HybridModel) -> None:
    cohort = Cohort.of(people_of(30, seed=9), model, Mesh(0.65, 0.2, 0.5))
    exact = personalise(model, cohort, iterations=200, tolerance=1e-9)
    assert exact.converged.all()
    for tolerance in (1e-1, 1e-2, 1e-4):
        found = personalise(model, cohort, tolerance=tolerance)
        assert found.converged.all()
        away = found.mode - exact.mode
        distance = (away * torch.linalg.solve(exact.covariance, away[..., None])[..., 0]).sum(-1).sqrt()
        # the last step was taken from within the tolerance; scoring gains a factor of two and more by each
        assert distance.max() < tolerance
    few = personalise(model, cohort, iterations=2)
    assert not few.converged.all()
    again = personalise(model, cohort, start=exact.mode, iterations=1)
    assert again.converged.all()  # at the mode nothing is left to do, and that shows at once


def test_a_thousand_new_people_in_seconds(people_of: Callable[..., tuple[Record, ...]], model: HybridModel) -> None:
    times = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 12.0)
    cohort = Cohort.of(people_of(1000, seed=3, times=times), model, Mesh(0.65, 0.2, 0.5))
    begin = time.perf_counter()
    found = personalise(model, cohort)
    assert time.perf_counter() - begin < 10.0  # half a second on one core of a small machine
    assert found.converged.all()
    assert (torch.linalg.eigvalsh(found.covariance) > 0).all()
    assert (torch.linalg.eigvalsh(found.covariance) < 1.0 + 1e-12).all()  # data never make the prior wider


def test_people_counted_from_the_end_keep_the_reason_of_their_failure(model: HybridModel, people: tuple[Record, ...]) -> None:
    found = replace(prior(model, len(people)), failed={3: "too stiff"})
    assert found.people(torch.tensor([0, -1])).failed == {1: "too stiff"} == found.people(torch.tensor([0, 3])).failed
