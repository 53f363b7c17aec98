"""Errors of channels that go together: SciPy's density with channels missing, differences, recovery, and who refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from exchange import Bundle, Person, Selection, load, save, selected
from hybrid import Dose, HybridModel, Mesh, Schedule, States, predict, rollout, sample_paths
from hybrid.defaults import differentiating
from hybrid.filters import Followed
from learned import Combined1, Constant, Correlated, DiagonalDiffusion, Ensemble, Zero
from physics import LogNormalPopulation, OneCompartmentOral
from training import (
    Anchor,
    Cohort,
    Objective,
    Record,
    Search,
    beta_nll,
    fit,
    fit_population,
    laplace_marginal,
    last,
    personalise,
    shoot,
)
from training.diagnostics import residuals, simulated_cohorts
from training.identify import sensitivities
from training.inference import quadrature_marginal
from training.loop.lessons import judgement, lessons
from training.people.information import expand, observed_information, sensitivity
from training.people.likelihoods import gaussian_nll

NAN = float("nan")
D = torch.float64
TIMES = (0.5, 1.0, 2.0, 4.0, 8.0, 12.0)
UNITS = {"time": "h", "dose": "mg", "plasma": "mg", "gut": "mg"}
R3 = [[1.0, 0.6, -0.2], [0.6, 1.0, 0.1], [-0.2, 0.1, 1.0]]


def model(rho: float = 0.7, spread=(0.3, 0.2, 0.0001), head=None, **parts) -> HybridModel:
    backbone = OneCompartmentOral()
    within = Combined1({"gut": 6.0, "plasma": 4.0}, {"gut": 0.05, "plasma": 0.1}, {"gut": 0.5, "plasma": 0.3})
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, list(spread)),
        Zero(2, 0, 0),
        observation=States(("plasma", "gut")),
        noise=Correlated(within, {("gut", "plasma"): rho}) if head is None else head(within),
        **parts,
    )


def people(m: HybridModel, count: int = 3, seed: int = 3, missing: float = 0.2) -> list[Record]:
    """Simulated under the model by its own draws, with some channels missing."""
    g = torch.Generator().manual_seed(seed)
    schedule = Schedule((Dose("gut", 0.0, 300.0),))
    blank = [
        Record(f"{i}", schedule, TIMES, np.ones((len(TIMES), 2)), ("plasma", "gut"), units=UNITS) for i in range(count)
    ]
    eta = torch.randn(1, count, 3, generator=g, dtype=D)
    with torch.no_grad():
        run = rollout(m, Cohort.of(blank, m).conditions, eta)
        L = torch.linalg.cholesky(m.noise.correlation()[0])
        z = torch.randn(run.mean.shape, generator=g, dtype=D) @ L.mT
        y = (run.mean + run.variance.sqrt() * z)[0]
        y = torch.where(torch.rand(y.shape, generator=g, dtype=D) < missing, NAN, y).numpy()
    return [replace(record, values=own) for record, own in zip(blank, y, strict=True)]


def test_the_density_of_any_channels_together_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    M, N, T, p = 2, 3, 8, 3
    mean, sd = rng.normal(2.0, 1.0, (M, N, T, p)), rng.uniform(0.2, 1.5, (M, N, T, p))
    y = rng.normal(2.0, 1.5, (N, T, p))
    y[0] = np.where([[k >> c & 1 for c in range(p)] for k in range(8)], y[0], NAN)  # every pattern of missing channels
    R = np.stack([np.asarray(R3), np.asarray(R3) * 0.5 + 0.5 * np.eye(3)])
    wanted = np.zeros((M, N))
    for m, i, t in np.ndindex(M, N, T):
        k = np.isfinite(y[i, t])
        if k.any():
            covariance = (sd[m, i, t][:, None] * R[m] * sd[m, i, t])[np.ix_(k, k)]
            wanted[m, i] -= stats.multivariate_normal(mean[m, i, t, k], covariance).logpdf(y[i, t, k])
            wanted[m, i] -= 0.5 * np.log(2 * np.pi) * k.sum()
    given = [torch.from_numpy(v) for v in (y, mean, sd**2)]
    np.testing.assert_allclose(gaussian_nll(*given, correlation=torch.from_numpy(R)), wanted, rtol=1e-12)
    each = torch.from_numpy(R)[:, None, None].expand(M, N, T, p, p)  # one of each time: another path to the same
    np.testing.assert_allclose(gaussian_nll(*given, correlation=each), wanted, rtol=1e-12)
    plain = gaussian_nll(*given, correlation=torch.eye(3, dtype=D)[None])
    torch.testing.assert_close(plain, gaussian_nll(*given), rtol=1e-13, atol=0.0)


def test_gradient_hessian_and_information_of_a_person() -> None:
    m = model()
    cohort = Cohort.of(people(m), m)
    eta = 0.3 * torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(1), dtype=D)

    def objective(at: torch.Tensor) -> torch.Tensor:  # (1, N)
        run = rollout(m, cohort.conditions, at, differentiating(m))
        return cohort.nll(run.mean, run.variance, run.correlation) + 0.5 * at.square().sum(-1)

    with torch.no_grad():
        s = sensitivity(m, cohort.conditions, eta)
        value, gradient, information = expand(cohort, s, eta)
    torch.testing.assert_close(value, objective(eta).detach(), rtol=1e-10, atol=1e-10)
    exact = torch.autograd.functional.hessian(lambda v: objective(v).sum(), eta)
    (slope,) = torch.autograd.grad(objective(leaf := eta.clone().requires_grad_()).sum(), leaf)
    torch.testing.assert_close(gradient, slope, rtol=1e-6, atol=1e-6)
    exact = torch.stack([exact[0, i, :, 0, i] for i in range(3)])[None]
    torch.testing.assert_close(observed_information(m, cohort, eta), exact, rtol=1e-5, atol=1e-5)
    # the textbook's JᵀΣ⁻¹J + ½ tr(Σ⁻¹ ∂Σ Σ⁻¹ ∂Σ), time by time, with the rows and columns of what was measured alone
    R = m.noise.correlation()[0].detach()
    wanted = torch.eye(3, dtype=D).repeat(3, 1, 1)
    for i, t in np.ndindex(3, len(TIMES)):
        k = torch.nonzero(torch.isfinite(cohort.y[i, t]))[:, 0]
        sd, J, V = s.variance[0, i, t, k].sqrt(), s.mean_slope[0, i, t, k], s.variance_slope[0, i, t, k]
        inverse = torch.linalg.inv(sd[:, None] * R[k][:, k] * sd)
        by = [torch.diag(V[:, a] / (2.0 * sd)) @ R[k][:, k] @ torch.diag(sd) for a in range(3)]
        by = [one + one.mT for one in by]
        wanted[i] += J.mT @ inverse @ J
        wanted[i] += torch.stack([torch.stack([0.5 * torch.trace(inverse @ a @ inverse @ b) for b in by]) for a in by])
    torch.testing.assert_close(information[0], wanted, rtol=1e-9, atol=1e-9)


def test_without_correlation_everything_is_as_with_the_head_within() -> None:
    m, apart = model(0.0), model(head=lambda within: within)
    records = people(m)
    ours, theirs = (Cohort.of(records, one) for one in (m, apart))
    a, b = personalise(m, ours), personalise(apart, theirs)
    torch.testing.assert_close(a.mode, b.mode, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(a.covariance, b.covariance, rtol=1e-8, atol=1e-9)
    for curvature, rounding in (("fisher", 1e-9), ("observed", 1e-6)):  # second differences of φ leave 1e-7
        values = [laplace_marginal(one, c, curvature=curvature).value.detach() for one, c in ((m, ours), (apart, theirs))]
        torch.testing.assert_close(*values, rtol=rounding, atol=rounding)


def test_the_marginal_and_its_gradient_to_the_correlation() -> None:
    m = model(0.6, spread=(0.0001, 0.25, 0.0001))
    cohort = Cohort.of(people(m, 2), m)
    value = laplace_marginal(m, cohort).value.sum()
    (slope,) = torch.autograd.grad(value, m.noise.free)
    sides = []
    for move in (1e-4, -1e-4):
        with torch.no_grad():
            m.noise.free.add_(move)
        sides.append(float(laplace_marginal(m, cohort).value.sum().detach()))
        with torch.no_grad():
            m.noise.free.sub_(move)
    assert float(slope) == pytest.approx((sides[0] - sides[1]) / 2e-4, rel=1e-5, abs=1e-6)
    # one effect that matters: the integral by 7 nodes each; Laplace is exact to O(1/n), here of 20 values of each
    exact = quadrature_marginal(m, cohort, nodes=7).value.sum()
    assert float(value.detach()) == pytest.approx(float(exact.detach()), abs=0.02)


def test_members_are_their_own() -> None:
    m = Ensemble(2).stack(model(), torch.Generator().manual_seed(0))
    with torch.no_grad():
        m.noise.free[1] = -0.5
    alone = model()
    state = {k: v if "floor" in k else v[1:] for k, v in m.noise.state_dict().items()}
    alone.noise.load_state_dict(state)
    cohort = Cohort.of(people(model()), alone)
    both, one = laplace_marginal(m, cohort).value.detach(), laplace_marginal(alone, cohort).value.detach()
    torch.testing.assert_close(both[1:], one, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(both[0], both[1])


def test_draws_are_correlated_within_a_time_alone() -> None:
    m = model(0.8, spread=(0.0001,) * 3)
    records = people(m, 1)
    cohort, g = Cohort.of(records, m), torch.Generator().manual_seed(2)
    S = 4000
    zeros = torch.zeros(1, 1, 1, 3, dtype=D)
    there = torch.ones(1, len(TIMES), dtype=torch.bool)
    prediction = predict(m, cohort.conditions, zeros, times=cohort.times, mask=there)
    draws = {
        "prediction": prediction.sample(S, g)[:, 0],
        "cohorts": simulated_cohorts(m, cohort, S, g).values[:, 0],
        "paths": sample_paths(m, cohort.conditions, zeros[:, 0], S, g).measurement[0, :, 0],
    }
    # standard error of a correlation of .8 from S draws: .36/√S = .006; of one of 0: .016; 18 numbers each, five of these
    for name, y in draws.items():
        for t in range(len(TIMES)):
            assert float(torch.corrcoef(y[:, t].mT)[0, 1]) == pytest.approx(0.8, abs=0.03), (name, t)
        later = torch.corrcoef(torch.stack([y[:, 0, 0], y[:, 1, 1]]))[0, 1]
        assert abs(float(later)) < 0.08, name
        torch.testing.assert_close(y.std(0), prediction.total[0].sqrt(), rtol=0.06, atol=0.0)
    kept = prediction.people([0]).members([0]).correlation
    torch.testing.assert_close(kept, m.noise.correlation().detach()[:, None])
    found = prediction.to_xarray()["correlation"]
    assert float(found.sel(channel="plasma", other_channel="gut").squeeze()) == pytest.approx(0.8)


def test_weighted_residuals_take_out_what_errors_have_in_common() -> None:
    m = model(0.8, spread=(0.0001,) * 3)  # the population's law is that of the errors
    cohort = Cohort.of(people(m, 200, missing=0.1), m)
    found = residuals(m, cohort, root="cholesky")
    both = torch.isfinite(found.cwres).all(-1)
    z = found.cwres[both]  # about 970 pairs: a correlation has the standard error .032
    assert abs(float(torch.corrcoef(z.mT)[0, 1])) < 0.13
    torch.testing.assert_close(z.std(0), torch.ones(2, dtype=D), rtol=0.1, atol=0.0)
    assert float(torch.corrcoef(found.iwres[both].mT)[0, 1]) > 0.7  # each channel alone


def test_the_correlation_is_found_again() -> None:
    truth, m = model(0.7), model(0.0)
    cohort = Cohort.of(people(truth, 25), m)
    fitted = last(fit_population(m, cohort, search=Search(steps=12)))
    scale, value = fitted.model.noise.estimates()["corr(plasma,gut)"]
    # 25 people, about 96 pairs: standard error (1 − .49)/√96 = .052
    assert scale == "fisher"
    assert float(value.detach()) == pytest.approx(0.7, abs=0.17)


def test_a_fit_learns_it_and_a_look_judges_channels_together() -> None:
    truth, m = model(0.7, spread=(0.0001,) * 3), model(0.0, spread=(0.0001,) * 3)
    cohort = Cohort.of(people(truth, 25), m)
    part = lessons(Objective(), cohort, 1, "fit").parts[0]
    part = replace(part, judges=torch.ones(1, 25, dtype=torch.bool))
    before, after = (float(judgement(one, part, None, None)[0]) for one in (m, truth))
    run = rollout(truth, cohort.conditions, torch.zeros(1, 25, 3, dtype=D))
    exact = float(cohort.nll(run.mean, run.variance, run.correlation).sum().detach() / cohort.mask.sum())
    assert after == pytest.approx(exact, abs=1e-3)  # nobody's coordinates matter here
    assert after < before - 0.1  # −½ log(1 − ρ²) = .34 for each pair, over about 1.8 values
    fitted = last(fit(m, cohort, search=Search(steps=60, rate=0.05)))
    assert float(fitted.model.noise.correlation().detach()[0, 0, 1]) == pytest.approx(0.7, abs=0.17)


def test_names_start_and_config() -> None:
    m = model(0.7)
    assert list(m.noise.estimates())[-1] == "corr(plasma,gut)"
    head = Combined1({"a": 1.0, "b": 2.0, "c": 3.0}, dict.fromkeys("abc", 0.1), dict.fromkeys("abc", 0.01))
    noise = Correlated(head, R3)
    torch.testing.assert_close(noise.correlation()[0].detach(), torch.tensor(R3, dtype=D), rtol=1e-12, atol=1e-12)
    by_name = Correlated(head, {("b", "a"): 0.6, ("a", "c"): -0.2, ("b", "c"): 0.1})
    torch.testing.assert_close(by_name.correlation(), noise.correlation())
    # a correlation of ±1 is never reached
    with torch.no_grad():
        noise.free.fill_(1e9)
    assert float(torch.linalg.eigvalsh(noise.correlation().detach()).min()) > 0.9e-3
    waiting = Correlated(Constant([1.0, 1.0], [0.1, 0.1]), {("plasma", "gut"): 0.4})
    with pytest.raises(ValueError, match="resolved when a HybridModel is built"):
        waiting.correlation()
    assert float(model(head=lambda _: waiting).noise.correlation().detach()[0, 0, 1]) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: Correlated(Constant([1.0], [0.1])), "two or more channels"),
        (lambda: Correlated(Correlated(Constant([1.0, 1.0], [0.1, 0.1]))), "head says"),
        (lambda: Correlated(Constant([1.0, 1.0], [0.1, 0.1]), [[1.0, 1.0], [1.0, 1.0]]), "no errors are correlated so"),
        (lambda: Correlated(Constant([1.0, 1.0], [0.1, 0.1]), [[1.0, 0.3], [0.2, 1.0]]), "symmetric"),
        (lambda: Correlated(Constant([1.0, 1.0], [0.1, 0.1]), [[2.0, 0.3], [0.3, 2.0]]), "symmetric"),
        (lambda: Correlated(Constant([1.0, 1.0], [0.1, 0.1]), "0.3"), "matrix of correlations"),
        (lambda: Correlated(Constant([1.0, 1.0], [0.1, 0.1]), {"a": 0.3}), "pairs of channels"),
        (lambda: model(head=lambda within: Correlated(within, {("gut", "liver"): 0.3})), "liver"),
        (lambda: model(head=lambda w: Correlated(w, {("gut", "plasma"): 0.3, ("plasma", "gut"): 0.3})), "twice"),
    ],
)
def test_what_no_errors_can_be_is_refused(made, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        made()


def test_who_cannot_take_it_says_so() -> None:
    m = model()
    records = people(m)
    cohort = Cohort.of(records, m)
    g = torch.Generator().manual_seed(0)
    objective = Objective(likelihood=beta_nll(0.5))
    for one in (fit, shoot):
        with pytest.raises(ValueError, match="scores each channel alone"):
            next(one(m, cohort, objective, Search(steps=20)))
    with pytest.raises(ValueError, match="err together at one time"):
        sensitivities(m, cohort)
    with pytest.raises(ValueError, match=r"Anchor\.of"):
        Anchor.of(m, cohort, g)
    with pytest.raises(ValueError, match="process noise"):
        model(process=DiagonalDiffusion([0.1, 0.1]))
    with pytest.raises(ValueError, match=r"Followed\.of"):
        Followed.of(m, 1, floor={})
    with pytest.raises(ValueError, match="covariance of the state"):
        rollout(m, cohort.conditions, torch.zeros(1, 3, 3, dtype=D), start=(torch.zeros(2, dtype=D), torch.eye(2, dtype=D)))
    limited = replace(records[0], values=np.full((6, 2), NAN), upper=np.full((6, 2), 1.0))
    beyond = Cohort.of([limited, *records[1:]], m)
    for ask in (personalise, laplace_marginal, lambda *given: next(fit(*given))):
        with pytest.raises(ValueError, match="limits alone"):
            ask(m, beyond)
    run = rollout(m, beyond.conditions, torch.zeros(1, 3, 3, dtype=D))
    with pytest.raises(ValueError, match="limits alone"):
        beyond.nll(run.mean, run.variance, run.correlation)


def test_a_bundle_brings_it_back_and_no_exported_form_carries_it(tmp_path: Path) -> None:
    m = model(0.3)
    with torch.no_grad():
        m.noise.free.add_(0.4)
    cohort = Cohort.of(people(m, 1), m)
    made = Bundle(m, (Person("0", cohort.records[0].schedule, {}, (NAN, NAN)),), personalise(m, cohort), Mesh(0.5, 0.1))
    found = load(save(made, tmp_path / "a.twin"))
    assert isinstance(found.model.noise, Correlated)
    torch.testing.assert_close(found.model.noise.correlation(), m.noise.correlation(), rtol=0.0, atol=0.0)
    with pytest.raises(ValueError, match="Correlated"):
        selected(found, Selection())
