"""Process noise and noise of measurements, told apart by how errors follow one another: records whose truth is known."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from hybrid import Dose, HybridModel, Mesh, Schedule, SimulationError, States, rollout
from hybrid.filters import EKF, UKF, EnKF, Filter, Followed, follow
from learned import MLP, Constant, DiagonalDiffusion, Ensemble, Residual
from physics import LinearBackbone, LinearisedBackbone, Mechanism, Parameter, SharedPopulation
from tests.builders import oral_of, oral_people
from training import (
    Cohort,
    FitStep,
    Looks,
    Objective,
    Record,
    Search,
    Stability,
    fit,
    gaussian_nll,
    innovation_fit,
    last,
)
from training.innovation_fitting import Innovations
from training.loop.descent import flat, place

F64 = torch.float64
S, SIGMA, STEP, FLOOR = 0.5, 0.1, 0.1, 1e-6

# ---- Ornstein–Uhlenbeck: dx = −x dt + s dW, y = x + N(0, σ²). The record starts when the start is forgotten: e^{−10}


def times(count: int) -> np.ndarray:
    return 10.0 + STEP * np.arange(count)


def ornstein(s: float, sigma: float) -> HybridModel:
    return HybridModel(
        LinearBackbone([[-1.0]]),
        SharedPopulation(),
        observation=States([0], ["y"], ["1"]),
        noise=Constant([sigma], [FLOOR]),
        process=DiagonalDiffusion([s]),
    )


def records(count: int, length: int, seed: int = 0) -> np.ndarray:  # (count, length), drawn exactly
    chance, keeps = np.random.default_rng(seed), np.exp(-STEP)
    x, found = S / np.sqrt(2.0) * chance.normal(size=count), []
    for _ in range(length):
        found.append(x + SIGMA * chance.normal(size=count))
        x = keeps * x + S * np.sqrt(0.5 * (1.0 - keeps**2)) * chance.normal(size=count)
    return np.stack(found, 1)


def covariance(s: float, sigma: float, length: int) -> np.ndarray:
    """Of a whole record: s²/2 e^{−|t − t'|} + σ² I."""
    t = times(length)
    return 0.5 * s**2 * np.exp(-np.abs(t[:, None] - t)) + (sigma**2 + FLOOR**2) * np.eye(length)


def bound(length: int) -> np.ndarray:
    """The least relative standard deviations of s and σ from one record: Fisher's information of a Gaussian, ½ tr(Σ⁻¹Σ'Σ⁻¹Σ')."""
    inverse = np.linalg.inv(covariance(S, SIGMA, length))
    slopes = [2.0 * covariance(S, 0.0, length), 2.0 * covariance(0.0, SIGMA, length)]  # by log s and log σ
    information = [[0.5 * np.trace(inverse @ a @ inverse @ b) for a in slopes] for b in slopes]
    return np.sqrt(np.diag(np.linalg.inv(information)))


def one_record(model: HybridModel, y: np.ndarray, ids: str = "r") -> Cohort:
    rows = np.atleast_2d(y)
    people = [Record(f"{ids}{i}", Schedule(), times(len(row)), row[:, None], ("y",)) for i, row in enumerate(rows)]
    return Cohort.of(people, model)


def recovered(count: int, length: int, begin: tuple[float, float], tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """s and σ of records, each of which is a member's own."""
    y = records(count, length)
    model = ornstein(*begin)
    many = Ensemble(count, "init").stack(model, torch.Generator().manual_seed(0))
    found = last(innovation_fit(many, one_record(model, y[0]), y=torch.from_numpy(y)[:, None, :, None], tolerance=tolerance))
    assert found.step.sentences() == []
    best = found.model
    return best.process.log_scale.detach().exp()[:, 0].numpy(), best.noise.log_sd.detach().exp()[:, 0].numpy()


def test_the_bound_is_the_one_that_was_computed_elsewhere() -> None:
    # the reference page's figures, for 200 times; there the start of a record is known, which says a little of s
    assert bound(200) == pytest.approx([0.102, 0.157], rel=0.02)


def test_the_noises_of_a_hundred_records() -> None:
    count, length = 100, 70
    # a derivative of 1 beside curvatures of 20 and more is a fifth of the bound at most
    s, sigma = recovered(count, length, (0.45, 0.12), 1.0)
    least = bound(length)
    for value, truth, sd in ((s, S, least[0]), (sigma, SIGMA, least[1])):
        # the mean of a hundred is known to a tenth of the bound; beside it stands the estimator's own bias, of order bound²
        assert abs(value.mean() / truth - 1.0) < 0.3 * sd + sd**2
        # the standard deviation of a hundred draws has one of 7 %, and that of σ a long tail below; six other seeds: .81–1.06
        assert 0.75 < value.std(ddof=1) / truth / sd < 1.3


@pytest.mark.slow
def test_the_noises_of_a_thousand_records() -> None:
    # a derivative of .1 beside curvatures of 40 and more is a fiftieth of the bound at most
    s, sigma = recovered(1000, 200, (0.3, 0.2), 0.1)
    least = bound(200)
    print(f"s {s.mean() / S - 1:+.4f}, {s.std(ddof=1) / S / least[0]:.3f} of the bound {least[0]:.4f}")
    print(f"sigma {sigma.mean() / SIGMA - 1:+.4f}, {sigma.std(ddof=1) / SIGMA / least[1]:.3f} of the bound {least[1]:.4f}")
    assert abs(s.mean() / S - 1.0) <= 0.02
    assert abs(sigma.mean() / SIGMA - 1.0) <= 0.035
    assert 0.9 <= s.std(ddof=1) / S / least[0] <= 1.2
    assert 0.9 <= sigma.std(ddof=1) / SIGMA / least[1] <= 1.2


def test_what_the_marginal_fit_cannot_tell_apart_the_innovations_can() -> None:
    # s²/2 + σ² is the variance at each time: two starts of the same sum, one all process, one nearly all measurement
    y = records(6, 25)
    total = 0.5 * S**2 + SIGMA**2
    starts = [(s, float(np.sqrt(total - 0.5 * s**2))) for s in (0.51, 0.1)]
    ends: dict[str, list[tuple[float, float]]] = {"fit": [], "innovations": []}
    marginal = []
    for s, sigma in starts:
        model = ornstein(s, sigma)
        cohort = one_record(model, y)
        by_time = last(fit(model, cohort, Objective(least_residual=0.0), Search(steps=12, rate=0.05)))
        with torch.no_grad():
            run = rollout(by_time.model, cohort.conditions, by_time.personal)
            marginal.append(float(gaussian_nll(cohort.y, run.mean, run.variance).mean()))
        by_filter = last(innovation_fit(model, cohort, tolerance=1e-2))
        for name, found in (("fit", by_time), ("innovations", by_filter)):
            parts = found.model.process.log_scale, found.model.noise.log_sd
            ends[name].append(tuple(float(p.detach().exp()) for p in parts))
    # fit stays where it began: both ends explain what it looks at equally well, and neither is the truth but by its start
    assert marginal[0] == pytest.approx(marginal[1], abs=0.1)  # of some 12 nats a record
    assert abs(ends["fit"][0][0] - ends["fit"][1][0]) > 0.3
    # the innovations end at one place, which is the truth: 6 records of 25 times know s to 13 % and σ to 19 %
    assert ends["innovations"][0] == pytest.approx(ends["innovations"][1], rel=3e-3)
    assert ends["innovations"][0] == pytest.approx((S, SIGMA), rel=0.4)


def test_the_objective_is_the_density_of_whole_records() -> None:
    y = records(3, 40)
    model = ornstein(0.6, 0.2)
    step = next(innovation_fit(model, one_record(model, y)))
    t = times(40)
    # from a start that is known to be 0 at time 0
    whole = 0.18 * (np.exp(-np.abs(t[:, None] - t)) - np.exp(-(t[:, None] + t))) + (0.04 + FLOOR**2) * np.eye(40)
    want = -np.mean([multivariate_normal.logpdf(row, np.zeros(40), whole) for row in y])
    assert float(step.loss) == pytest.approx(want, rel=1e-10)
    assert isinstance(step, FitStep)


# ---- what is fitted, and what stays


def two_states(residual: Residual | None = None, g: tuple[float, float] = (0.4, 0.0)) -> HybridModel:
    return HybridModel(
        LinearBackbone([[-1.0, 0.3], [0.5, -0.8]]),
        SharedPopulation(),
        residual,
        observation=States([0, 1], ["y1", "y2"], ["1", "1"]),
        noise=Constant([0.2, 0.3], [0.15, 0.15]),
        process=DiagonalDiffusion(list(g)),
    )


def of_two_states(model: HybridModel, people: int = 3, seed: int = 0, size: float = 0.5) -> Cohort:
    chance = np.random.default_rng(seed)
    found = []
    for i in range(people):
        t = np.sort(chance.uniform(0.1, 4.0, 6))
        values = size * chance.normal(size=(6, 2))
        values[1, 0] = np.nan
        found.append(Record(f"P{i}", Schedule(), t, values, ("y1", "y2")))
    return Cohort.of(found, model)


def test_zeros_floors_and_weights_stay() -> None:
    model = two_states(MLP(2, hidden=(3,), rate_scale=0.3, state_scale=1.0, generator=torch.Generator().manual_seed(1)))
    cohort = of_two_states(model, size=1e-3)  # far less noise than the floor
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    found = last(innovation_fit(model, cohort, search=Search(steps=8)))
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]), name  # what was given is as it was
    for name, p in found.model.named_parameters():
        if not name.startswith(("process", "noise")):
            assert torch.equal(p, before[name]), name
    x = torch.zeros(1, 1, 2, dtype=F64)
    g = found.model.process.diffusion(x)[0, 0].detach()
    assert float(g[1]) == 0.0  # nothing drives the second state
    assert 0.0 < float(g[0]) < 0.4
    variance = found.model.noise.variance(x[:, :, None], x[:, :, None], torch.zeros(1, 1, 1, 0, dtype=F64)).detach()
    assert bool((variance.sqrt() >= 0.15).all())
    assert variance.sqrt().flatten().tolist() == pytest.approx([0.15, 0.15], rel=0.05)


def test_what_rests_is_not_fitted() -> None:
    model = two_states()
    model.noise.log_sd.requires_grad_(False)
    found = last(innovation_fit(model, of_two_states(model), search=Search(steps=5)))
    assert torch.equal(found.model.noise.log_sd, model.noise.log_sd)
    assert not torch.equal(found.model.process.log_scale, model.process.log_scale)
    assert not found.model.noise.log_sd.requires_grad
    model.process.log_scale.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing of the process noise and noise heads asks to be trained"):
        next(innovation_fit(model, of_two_states(model)))


def test_without_process_noise_it_says_what_to_write() -> None:
    model = two_states()
    model.process = None
    cohort = of_two_states(model)
    with pytest.raises(ValueError, match=r"no process noise.*process=DiagonalDiffusion\(\{'x1': …, 'x2': …\}\)"):
        next(innovation_fit(model, cohort))
    found = last(innovation_fit(model, cohort, floor={"x1": 0.1}, search=Search(steps=5)))
    assert not torch.equal(found.model.noise.log_sd, model.noise.log_sd)


def test_weights_and_typical_values_on_request() -> None:
    people = oral_people(3, noise=(0.2, 0.05), shift=(0.0, 0.7, 0.0), times=(1.0, 3.0, 6.0))
    start = oral_of(process=DiagonalDiffusion({"plasma": 3.0}))  # typical values that are not these people's
    cohort = Cohort.of(people, start, Mesh(1.0))
    noises = last(innovation_fit(start, cohort, search=Search(steps=8)))
    all_of_it = last(innovation_fit(start, cohort, search=Search(steps=8), weights=True))
    assert torch.equal(noises.model.population.shift, start.population.shift)
    assert float(all_of_it.step.loss) < float(noises.step.loss) - 0.1
    # three people know a typical value to ω/√3 = .17 at best; it was .7 away
    assert float(all_of_it.model.population.shift[0, 1].detach()) > 0.2
    assert all_of_it.personal.shape == (1, 3, 3)


# ---- derivatives


def objective_of(model: HybridModel, cohort: Cohort, made: type[Filter] = UKF, **parts) -> Innovations:
    M, N = model.members, cohort.conditions.size
    people = Followed.of(model, N, covariates=cohort.conditions.covariates, mesh=cohort.conditions.mesh)
    share = torch.full((M, N), 1.0 / N, dtype=F64)
    plain = {"held_out": torch.zeros(M, N, dtype=torch.bool), "spread": None, "least_residual": 0.0, "stability": None}
    return Innovations(made, people, cohort, cohort.y[None], share, **(plain | parts))


@pytest.mark.parametrize("made", [UKF, EKF])
def test_gradients_are_those_of_differences(made: type[Filter]) -> None:
    layers = MLP(2, hidden=(3,), rate_scale=0.3, state_scale=20.0, generator=torch.Generator().manual_seed(2))
    model = oral_of(layers, process=DiagonalDiffusion({"plasma": 2.0}))
    cohort = Cohort.of(oral_people(2, times=(0.5, 1.5)), model, Mesh(0.5))
    stability = Stability.of(model, cohort.conditions.covariates, share=0.99)
    whole = objective_of(model, cohort, made, least_residual=1.0, stability=stability).scaled()
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert {name.split(".")[0] for name in names} == {"process", "noise", "residual", "population"}
    point = flat(model, names)
    first = whole.at(names)
    assert bool(torch.isfinite(first.gradient).all())
    chance = torch.Generator().manual_seed(3)
    for _ in range(2 if made is UKF else 1):
        push = torch.randn(point.shape, generator=chance, dtype=F64)
        found = []
        for step in (1e-5, -1e-5):
            place(model, names, point + step * push)
            found.append(float(whole.at(names).loss))
        place(model, names, point)
        slope = float((first.gradient * push).sum())
        assert slope == pytest.approx((found[0] - found[1]) / 2e-5, rel=1e-6, abs=1e-6)


def test_people_in_parts_are_the_whole(monkeypatch) -> None:
    model = two_states()
    cohort = of_two_states(model, 5)
    names = ["process.log_scale", "noise.log_sd"]
    whole = objective_of(model, cohort).at(names)
    monkeypatch.setattr("training.innovation_fitting._AT_ONCE", 1)
    parts = objective_of(model, cohort)
    assert len(parts._parts()) == 5
    found = parts.at(names)
    for name in ("loss", "gradient", "carried"):
        # sums in another order
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), rtol=1e-12, atol=1e-12)


# ---- members and people


def test_members_do_not_influence_each_other() -> None:
    model = two_states()
    many = Ensemble(2, "init").stack(model, torch.Generator().manual_seed(0))
    with torch.no_grad():
        many.process.log_scale[1] += 0.7
    cohort = of_two_states(model, 4)
    weights = torch.tensor([[1.0, 2.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0]], dtype=F64)
    both = last(innovation_fit(many, cohort, Objective(weights=weights), Search(steps=4)))
    for m in range(2):
        single = two_states()
        with torch.no_grad():
            single.process.log_scale += 0.7 * m
        here = torch.nonzero(weights[m])[:, 0]
        alone = last(innovation_fit(single, cohort.people(here), Objective(weights=weights[m : m + 1, here]), Search(steps=4)))
        for name, p in alone.model.named_parameters():
            torch.testing.assert_close(both.model.get_parameter(name)[m : m + 1], p, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(both.step.loss[m : m + 1], alone.step.loss, rtol=1e-9, atol=1e-9)


def test_a_member_under_which_somebody_is_lost_stops_nobody_else() -> None:
    net = MLP(2, hidden=(3,), rate_scale=0.3, state_scale=1.0, generator=torch.Generator().manual_seed(1))
    model = two_states(net)
    many = Ensemble(3, "init").stack(model, torch.Generator().manual_seed(0))
    cohort = of_two_states(model)
    names = [name for name, p in many.named_parameters() if p.requires_grad]
    fine = objective_of(many, cohort).at(names)
    with torch.no_grad():
        many.process.log_scale[1] = 800.0  # g is infinite
    found = objective_of(many, cohort).at(names)
    assert torch.isfinite(found.loss).tolist() == [True, False, True]
    for m in (0, 2):
        torch.testing.assert_close(found.loss[m], fine.loss[m], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.gradient[m], fine.gradient[m], rtol=1e-10, atol=1e-10)
    assert not bool(found.gradient[1].any())
    with pytest.raises(SimulationError, match="the filter loses P0, P1, P2 at these noises"):
        next(innovation_fit(many, cohort))


def test_held_out_people_judge_by_what_the_filter_says_of_them() -> None:
    model = two_states()
    cohort = of_two_states(model, 4)
    held_out = torch.tensor([[False, False, False, True]])
    objective = Objective(weights=(~held_out).to(F64), held_out=held_out)
    steps = list(innovation_fit(model, cohort, objective, Search(steps=12), Looks(patience=2)))
    with torch.no_grad():
        track = follow(UKF(Followed.of(model, 4, mesh=cohort.mesh)), cohort.conditions, cohort.y)
        assert float(steps[0].held_out) == pytest.approx(-float(track.log_likelihood[0, 3]), rel=1e-12)
        best = follow(UKF(Followed.of(steps[-1].best.model, 4, mesh=cohort.mesh)), cohort.conditions, cohort.y)
    seen = [float(s.held_out) for s in steps]
    assert -float(best.log_likelihood[0, 3]) == pytest.approx(min(seen), rel=1e-12)


def test_every_step_is_complete_and_goes_on() -> None:
    model = two_states()
    cohort = of_two_states(model)
    through = list(innovation_fit(model, cohort, search=Search(steps=6)))
    assert [s.index for s in through] == list(range(1, len(through) + 1))
    losses = [float(s.loss) for s in through]
    assert all(b <= a for a, b in itertools.pairwise(losses))
    halfway = through[3].best.model
    again = next(innovation_fit(halfway, cohort))
    assert float(again.loss) == pytest.approx(losses[3], rel=1e-12)
    later = last(innovation_fit(halfway, cohort, search=Search(steps=20)))
    whole = last(innovation_fit(model, cohort, search=Search(steps=20)))
    assert float(later.step.loss) == pytest.approx(float(whole.step.loss), abs=1e-4)


def test_another_filter() -> None:
    model = two_states()
    cohort = of_two_states(model)
    first = [next(innovation_fit(model, cohort, filter=made)) for made in (UKF, EKF)]
    assert float(first[0].loss) == pytest.approx(float(first[1].loss), rel=1e-9)  # linear: one and the same
    particles = next(innovation_fit(model, cohort, filter=lambda people: EnKF(people, particles=500, seed=1)))
    assert float(particles.loss) == pytest.approx(float(first[0].loss), rel=0.05)
    assert bool(torch.isfinite(particles.slope).all())


# ---- what is refused

MODEL = two_states()
COHORT = of_two_states(MODEL)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: innovation_fit(MODEL, 3), "innovation_fit: cohort must be a Cohort"),
        (lambda: innovation_fit(MODEL, COHORT, Search()), "innovation_fit: objective must be a Objective"),
        (lambda: innovation_fit(MODEL, COHORT, Objective(forecast_from=1.0)), "forecast_from has no meaning here"),
        (lambda: innovation_fit(MODEL, COHORT, search=Search(rate=0.1)), "rate has no meaning here"),
        (lambda: innovation_fit(MODEL, COHORT, weights=1), "innovation_fit: weights"),
        (lambda: innovation_fit(MODEL, COHORT, tolerance=0.0), "innovation_fit: tolerance"),
        (lambda: innovation_fit(MODEL, COHORT, y=COHORT.y), "innovation_fit: y must be a tensor"),
        (lambda: innovation_fit(MODEL, COHORT, y=COHORT.y[None].float()), "y is float64"),
        (lambda: innovation_fit(MODEL, COHORT, filter=3), "innovation_fit: filter"),
        (lambda: innovation_fit(MODEL, COHORT, floor={"x9": 1.0}), "floor names 'x9'"),
        (lambda: innovation_fit(MODEL, COHORT, spread={"x9": 1.0}), "spread names 'x9'"),
        (lambda: innovation_fit(MODEL, COHORT, Objective(weights=torch.zeros(1, 3))), "weights of a member are all 0"),
        (lambda: innovation_fit(MODEL, COHORT.to(torch.float32)), "needs float64"),
        (
            lambda: innovation_fit(MODEL, COHORT, Objective(stability=Stability(torch.eye(2, dtype=F64), 0.1))),
            "stability has no meaning where only noises are fitted",
        ),
    ],
)
def test_what_cannot_be_fitted(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        next(call())


class Runaway(Mechanism):
    """A large dose of both states is infinite within an hour."""

    time_unit = "h"
    states = {"a": "1", "b": "1"}
    scale = {"a": 1.0, "b": 1.0}
    physical = (Parameter("k", "/h", 1.0, 0.1, 5.0),)

    def rate(self, x, u, theta):  # type: ignore[no-untyped-def]
        return {"a": -theta.k * x.a + x.a * x.a * x.b, "b": -x.b + x.a * 0.1}


@pytest.mark.parametrize("weights", [False, True])
def test_who_does_not_count_may_be_lost(weights: bool) -> None:
    """The fit of the others is the fit without them, of noises alone and with weights, the least residual included."""
    backbone, chance = LinearisedBackbone(Runaway(), x={"a": 0.0, "b": 0.0}), np.random.default_rng(0)
    residual = MLP(2, hidden=(2,), generator=torch.Generator().manual_seed(0)) if weights else None
    model = HybridModel(
        *(backbone, SharedPopulation(backbone, values={"k": 1.0}), residual),
        observation=States(("a",)),
        noise=Constant([0.3], [0.01]),
        process=DiagonalDiffusion({"a": 0.3, "b": 0.2}),
    )
    made = []
    for i, dose in enumerate((0.0, 0.0, 30.0)):
        doses = (Dose("a", 0.3, dose), Dose("b", 0.3, dose)) if dose else ()
        made.append(Record(f"p{i}", Schedule(doses), 0.2 * np.arange(1, 5), 0.4 * chance.normal(size=(4, 1)), ("a",)))
    least = {"least_residual": 0.1} if weights else {}

    def loss(people: list[Record], counted: list[float]) -> list[torch.Tensor]:
        objective = Objective(weights=torch.tensor([counted], dtype=F64), **least)  # type: ignore[arg-type]
        cohort = Cohort.of(people, model, mesh=Mesh(0.1))
        return [step.loss for step in innovation_fit(model, cohort, objective, Search(steps=2), weights=weights)]

    for a, b in zip(loss(made, [1.0, 1.0, 0.0]), loss(made[:2], [1.0, 1.0]), strict=True):
        assert torch.isfinite(a).all()
        torch.testing.assert_close(a, b, rtol=1e-7, atol=0.0)  # the weights go through sums of another length
    with pytest.raises(SimulationError, match="the filter loses p2 at"):
        loss(made, [1.0, 0.0, 1.0])


def test_a_g_that_no_measurement_shows_is_named() -> None:
    """From 1e-6 the objective is level along log g: the search ends where it began, and says so; from .3 it arrives."""
    y = records(2, 30)
    small, right = (
        last(innovation_fit(model, one_record(model, y), search=Search(steps=20), tolerance=1e-1)).step
        for model in (ornstein(1e-6, 0.1), ornstein(0.3, 0.1))
    )
    assert small.unseen == ("x1",)
    assert "The process noise of x1 is so small" in small.sentences()[-1]
    assert right.unseen == ()
    assert float(right.loss[0]) < float(small.loss[0]) - 1.0
