"""θ that changes within a record, by occasion or covariate: against pieces put together by hand, scipy, and closed forms."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.integrate
import torch
from torch import Tensor

from exchange import Bundle, load, save
from hybrid import (
    Concentration,
    Dose,
    Exponential,
    HybridModel,
    RungeKutta,
    Schedule,
    Signal,
    States,
    rollout,
    sample_paths,
)
from hybrid.filters import UKF, Followed, follow
from hybrid.schedules.steady import Steady
from hybrid.simulate import conditions_of
from learned import MLP, AdditiveProportional, Constant, DiagonalDiffusion
from physics import (
    Administered,
    Backbone,
    ExponentialOf,
    Fixed,
    LogNormal,
    MixedPopulation,
    Normal,
    Occasions,
    OneCompartmentOral,
    Parameter,
    PowerOf,
    Shared,
)
from training import Cohort, Record, Search, fit_population, laplace_marginal, personalise, prior, shoot
from training.losses import Stability

D = torch.float64
TIMES = [0.5, 2.0, 12.0, 13.0, 20.0, 24.0, 25.0, 30.0, 36.0, 47.0, 48.0, 49.0, 60.0, 72.0]
GIVEN = Schedule((*(Dose("gut", 12.0 * k, 100.0) for k in range(5)), Dose("plasma", 22.0, 30.0, duration=6.0)))


def model_of(residual: bool = False, **more: object) -> HybridModel:
    backbone = OneCompartmentOral(parameters="clearance")
    population = MixedPopulation(
        backbone,
        {"ka": LogNormal(0.5), "CL": LogNormal(0.3), "V": LogNormal(0.2)},
        occasions=Occasions({"CL": 0.2, "ka": 0.4}, count=3),
        covariates={"V": [PowerOf("WT", 70.0, 1.0, unit="kg")]},
    )
    net = MLP(2, hidden=(4,), state_scale=100.0, rate_scale=0.2) if residual else None
    if net is not None:
        generator = torch.Generator().manual_seed(3)
        for p in net.parameters():
            p.data = 0.3 * torch.randn(p.shape, generator=generator, dtype=D)
    noise = AdditiveProportional([0.1], [0.1], [0.01])
    return HybridModel(backbone, population, net, observation=Concentration("plasma", "V"), noise=noise, **more)


def record(id: str = "1", times: list[float] = TIMES, schedule: Schedule = GIVEN, **more: object) -> Record:
    said = {"occasions": (0.0, 24.0, 48.0), "changing": {"WT": ([0.0, 30.0], [70.0, 60.0])}, **more}
    return Record(id, schedule, times, np.full(len(times), 2.0), "concentration", **said)


def drawn(model: HybridModel, people: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(1, people, model.personal, generator=torch.Generator().manual_seed(seed), dtype=D)


def by_hand(model: HybridModel, personal: Tensor, edges: list[float], covariates: list[dict[str, float]]) -> dict[float, float]:
    """One simulation after the other, each from where the one before ended: the mean at every time; at an edge, the old θ's."""
    found: dict[float, float] = {}
    start = None
    for low, high, given in zip(edges[:-1], edges[1:], covariates, strict=True):
        doses = []
        for dose in GIVEN.doses:  # an infusion goes on into the next piece
            if dose.bolus:
                doses += [dose] if low <= dose.time < high else []
                continue
            begin, end = max(low, dose.time), min(high, dose.time + dose.duration)
            if begin < end:
                doses.append(Dose(dose.state, begin, dose.amount * (end - begin) / dose.duration, duration=end - begin))
        inside = [t for t in TIMES if low < t <= high]
        asked = sorted({low, *inside, high})
        values = {k: [v] for k, v in given.items()}
        conditions = conditions_of(model, [Schedule(tuple(doses), start=low)], [asked], covariates=values)
        run = rollout(model, conditions, personal, Exponential(rtol=1e-8), start=start)
        start = run.states[:, :, -1]
        found |= {t: run.mean[0, 0, asked.index(t), 0].item() for t in inside}
    return found


EDGES = [0.0, 24.0, 30.0, 48.0, 72.0]
PIECES = [
    {"WT": 70.0, "occasion": 1.0},
    {"WT": 70.0, "occasion": 2.0},
    {"WT": 60.0, "occasion": 2.0},
    {"WT": 60.0, "occasion": 3.0},
]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("solver", [Exponential(rtol=1e-8), RungeKutta("rk4")], ids=["exponential", "rk4"])
def test_pieces_are_simulations_by_hand_one_after_the_other(residual: bool, solver: object) -> None:
    model = model_of(residual)
    cohort = Cohort.of([record(), record("2", TIMES[:5]), record("3", TIMES[:9], occasions=(0.0, 24.0), changing={},
                                                                covariates={"WT": 70.0})], model)
    personal = drawn(model).expand(1, 3, -1)
    run = rollout(model, cohort.conditions, personal, solver)
    right = by_hand(model, personal[:, :1], EDGES, PIECES)
    # rk4 keeps what the mesh promises, 1e-4 of the largest value
    tolerance = {"rtol": 1e-6} if isinstance(solver, Exponential) else {"rtol": 0.0, "atol": 1e-4 * max(right.values())}
    np.testing.assert_allclose(run.mean[0, 0, :, 0].detach(), [right[t] for t in TIMES], **tolerance)
    # who has fewer pieces goes through those; the last reading of a record that ends earlier is the same curve
    np.testing.assert_allclose(run.mean[0, 1, :5, 0].detach(), [right[t] for t in TIMES[:5]], **tolerance)
    np.testing.assert_allclose(run.mean[0, 2, :7, 0].detach(), [right[t] for t in TIMES[:7]], **tolerance)


def test_a_covariate_that_changes_is_what_scipy_integrates() -> None:
    model = model_of()
    cohort = Cohort.of([record()], model)
    personal = drawn(model, seed=4)
    each = [model.theta(personal, {k: torch.tensor([v], dtype=D) for k, v in p.items()})[0, 0].tolist() for p in PIECES]

    def theta(t: float) -> list[float]:
        return each[int(np.searchsorted(EDGES[1:-1], t, side="right"))]

    def slope(t: float, x: np.ndarray, middle: float) -> list[float]:
        ka, CL, V = theta(middle)
        return [-ka * x[0], ka * x[0] - CL / V * x[1] + (5.0 if 22.0 <= middle < 28.0 else 0.0)]

    x, found = np.zeros(2), {}
    stops = sorted({0.0, *TIMES, 12.0, 22.0, 24.0, 28.0, 30.0, 36.0, 48.0})
    for low, high in itertools.pairwise(stops):
        x = x + np.array([100.0 if low in (0.0, 12.0, 24.0, 36.0, 48.0) else 0.0, 0.0])
        middle = 0.5 * (low + high)
        x = scipy.integrate.solve_ivp(slope, (low, high), x, args=(middle,), rtol=1e-11, atol=1e-11, method="DOP853").y[:, -1]
        found[high] = x[1] / theta(middle)[2]  # at the time of a change an observation comes first
    run = rollout(model, cohort.conditions, personal)
    # the solver's own tolerance is 1e-6
    np.testing.assert_allclose(run.mean[0, 0, :, 0].detach(), [found[t] for t in TIMES], rtol=2e-6)


def test_gradients_are_finite_differences() -> None:
    model = model_of(residual=True)
    cohort = Cohort.of([record()], model)
    eta = drawn(model).requires_grad_()
    solver = RungeKutta("rk4")

    def value(at: Tensor) -> Tensor:
        return (rollout(model, cohort.conditions, at, solver).mean * torch.arange(1.0, 15.0, dtype=D)[:, None]).sum()

    (gradient,) = torch.autograd.grad(value(eta), eta)
    for j in range(eta.shape[-1]):
        step = torch.zeros_like(eta)
        step[..., j] = 1e-5
        with torch.no_grad():
            difference = float(value(eta + step) - value(eta - step)) / 2e-5
        assert float(gradient[0, 0, j]) == pytest.approx(difference, rel=1e-6, abs=1e-8)
    assert float(gradient.abs().min()) > 0.0  # every occasion is seen


def test_a_reset_at_an_occasion_begins_there_with_the_occasions_own_parameters() -> None:
    model = model_of()
    both = Schedule((Dose("gut", 0.0, 100.0), Dose("gut", 48.0, 100.0)), resets=(48.0,))
    cohort = Cohort.of([record(times=[2.0, 30.0, 50.0, 60.0], schedule=both, occasions=(0.0, 48.0), changing={},
                               covariates={"WT": 70.0})], model)
    personal = drawn(model, seed=2)
    run = rollout(model, cohort.conditions, personal)
    alone = Schedule((Dose("gut", 0.0, 100.0),))
    for rows, o in (([0, 1], 1.0), ([2, 3], 2.0)):
        times = [cohort.times[0, k].item() - 48.0 * (o - 1.0) for k in rows]
        one = conditions_of(model, [alone], [times], covariates={"WT": [70.0], "occasion": [o]})
        np.testing.assert_allclose(run.mean[0, 0, rows].detach(), rollout(model, one, personal).mean[0, 0].detach(), rtol=1e-6)


def test_nobodys_numbers_depend_on_who_else_is_there_and_constant_is_constant() -> None:
    model = model_of()
    plain = {"occasions": (0.0,), "changing": {}, "covariates": {"WT": 70.0}}
    mesh = Cohort.of([record()], model).mesh
    together = Cohort.of([record(), record("2", **plain)], model, mesh)
    alone = Cohort.of([record("2", **plain)], model, mesh)
    assert together.conditions.changes is not None
    assert alone.conditions.changes is None
    eta = drawn(model, 2)
    both, one = rollout(model, together.conditions, eta), rollout(model, alone.conditions, eta[:, 1:])
    torch.testing.assert_close(both.mean[:, 1:], one.mean, rtol=1e-10, atol=0.0)
    part = together.people(torch.tensor([1]))
    torch.testing.assert_close(rollout(model, part.conditions, eta[:, 1:]).mean, one.mean, rtol=1e-10, atol=0.0)




# --- what the likelihood makes of it


class Level(Backbone):
    """x' = a − x from rest: linear in the one θ, a, of either sign."""

    states = ("x",)
    state_units = ("mg",)
    inputs = ("one",)
    input_units = ("1",)
    time_unit = "h"
    physical = (Parameter("a", "mg/h", 3.0, -1e4, 1e4),)

    def matrices(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(theta)[..., None], theta[..., None]

    def hull(self, lower: Tensor, upper: Tensor) -> Tensor:
        return -lower.new_ones(1, 1, 1)

    def initial(self, theta: Tensor, baseline: Tensor) -> Tensor:
        return theta.new_zeros(*torch.broadcast_shapes(theta.shape[:-1], baseline.shape[:-1]), 1)

    def config(self) -> dict[str, object]:
        return {}


BEGINS, AT = (0.0, 3.0, 6.0), [0.5, 1.5, 3.0, 4.0, 5.5, 6.5, 8.0, 9.0]
ON = Schedule(inputs={"one": Signal((0.0, 20.0), (1.0, 1.0))})


def design() -> np.ndarray:  # (T, 3)
    """What a unit of a in each occasion gives at each time: ∫ e^{−(t−s)} ds over the part of it before t."""
    ends = [*BEGINS[1:], np.inf]
    times = np.array(AT)[:, None]
    low, high = np.minimum(np.array(BEGINS), times), np.minimum(np.array(ends), times)
    return np.exp(high - times) - np.exp(low - times)


def linear() -> HybridModel:
    backbone = Level()
    population = MixedPopulation(backbone, {"a": Normal(1.5)}, occasions=Occasions({"a": 0.9}, count=3))
    return HybridModel(backbone, population, observation=States(["x"]), noise=AdditiveProportional([0.5], [1e-9], [1e-8]))


def linear_people(count: int, model: HybridModel, seed: int = 0) -> Cohort:
    rng, X = np.random.default_rng(seed), design()
    records = []
    for i in range(count):
        a = 2.0 + rng.standard_normal() + 0.7 * rng.standard_normal(3)
        T = 5 if i % 4 == 0 else len(AT)  # some leave before their third occasion
        y = (X @ a + 0.2 * rng.standard_normal(len(AT)))[:T]
        records.append(Record(str(i), ON, AT[:T], y, "x", occasions=BEGINS[: 2 if T == 5 else 3]))
    return Cohort.of(records, model)


def exact(cohort: Cohort, model: HybridModel) -> Tensor:  # (N,)
    """−log p(y) of every person: y ~ N(X1 a, ω² X11ᵀXᵀ + γ² X Xᵀ + σ² I)."""
    numbers = {name: value[0] for name, (_, value) in model.population.estimates().items()}  # type: ignore[operator]
    sd = model.noise.log_additive[0, 0].exp()  # type: ignore[index]
    X = torch.tensor(design(), dtype=D)
    found = []
    for y in cohort.y[..., 0]:
        there = torch.isfinite(y)
        own = X[there]
        whole = own.sum(1)
        covariance = (
            numbers["omega(a)"] ** 2 * torch.outer(whole, whole)
            + numbers["iov(a)"] ** 2 * own @ own.T
            + sd**2 * torch.eye(len(own), dtype=D)
        )
        found.append(-torch.distributions.MultivariateNormal(whole * numbers["a"], covariance).log_prob(y[there]))
    return torch.stack(found)


def test_the_marginal_is_that_of_the_linear_mixed_model_with_occasions_and_so_are_its_gradients() -> None:
    model = linear()
    for name, p in model.named_parameters():
        p.requires_grad_("proportional" not in name)
    cohort = linear_people(6, model)
    found, wanted = laplace_marginal(model, cohort, solver=Exponential(rtol=1e-9)), exact(cohort, model)
    # linear and Gaussian: exact but for the solver
    torch.testing.assert_close(found.value[0], wanted, rtol=0.0, atol=1e-7)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == 4  # μ, log ω, log γ, σ
    ours, theirs = (torch.autograd.grad(v.sum(), trained) for v in (found.value, wanted))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_the_spread_between_occasions_is_recovered() -> None:
    """From a start that is far off, to the maximum of the exact likelihood, and that is near what made the data."""
    model = linear()
    cohort = linear_people(60, model, seed=1)
    *_, last = fit_population(model, cohort, search=Search(steps=60), tolerance=1e-5)
    found = last.best.model
    numbers = {name: value[0].item() for name, (_, value) in found.population.estimates().items()}  # type: ignore[operator]
    # the maximum: the exact likelihood's own gradient is next to nothing there, beside 60 people's
    for name, p in found.named_parameters():
        p.requires_grad_("proportional" not in name)
    slopes = torch.autograd.grad(exact(cohort, found).sum(), [p for p in found.parameters() if p.requires_grad])
    assert max(float(s.abs().max()) for s in slopes) < 0.05
    # γ = .7 from 60 people's 165 occasions: a standard error of about .7/√(2·105) ≈ .05, of which this is four
    assert numbers["iov(a)"] == pytest.approx(0.7, abs=0.2)
    assert numbers["omega(a)"] == pytest.approx(1.0, abs=0.5)


def test_an_occasion_that_a_person_never_had_says_nothing_and_costs_nothing() -> None:
    model = linear()
    cohort = linear_people(1, model)  # who has two of the three
    known = personalise(model, cohort)
    assert float(known.mode[0, 0, 3]) == pytest.approx(0.0, abs=1e-9)
    assert float(known.covariance[0, 0, 3, 3]) == pytest.approx(1.0, abs=1e-9)
    fewer = MixedPopulation(Level(), {"a": Normal(1.5)}, occasions=Occasions({"a": 0.9}, count=2))
    smaller = HybridModel(Level(), fewer, observation=model.observation, noise=model.noise)
    one, other = laplace_marginal(model, cohort), laplace_marginal(smaller, Cohort.of(cohort.records, smaller))
    torch.testing.assert_close(one.value, other.value, rtol=0.0, atol=1e-9)  # the modes are found to 1e-6


# --- what cannot be: one sentence each

PLAIN = {"occasions": (), "changing": {}, "covariates": {"WT": 70.0}}


def people(**more: object) -> Cohort:
    return Cohort.of([record(**more)], model_of())


def pop(**more: object) -> MixedPopulation:
    backbone = OneCompartmentOral(parameters="clearance")
    effects = {"ka": LogNormal(0.5), "CL": LogNormal(0.3), "V": Shared()}
    return MixedPopulation(backbone, effects, **{"occasions": Occasions({"CL": 0.2}, 2), **more})


def process() -> tuple[HybridModel, Cohort]:
    model = model_of(process=DiagonalDiffusion({"gut": 1.0, "plasma": 1.0}))
    return model, Cohort.of([record()], model)


def delivered() -> Cohort:
    backbone = Administered(OneCompartmentOral(), lag={"gut": Parameter("Tlag", "h", 0.5, 0.01, 4.0)})
    effects = {"ka": Shared(), "ke": Shared(), "V": LogNormal(0.2), "Tlag": LogNormal(0.1)}
    population = MixedPopulation(backbone, effects, occasions=Occasions({"Tlag": 0.2}, 3))
    model = HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=Constant([0.1], [0.01]))
    return Cohort.of([record()], model)


def added() -> object:
    steady = Schedule((Dose("gut", 0.0, 100.0),), steady=(Steady("gut", 0.0, 100.0, 12.0, added=True),))
    cohort = people(schedule=steady)
    return rollout(model_of(), cohort.conditions, drawn(model_of()))


def followed() -> object:
    cohort = people()
    return follow(UKF(Followed.of(model_of(), 1, covariates=cohort.conditions.covariates)), cohort.conditions, cohort.y)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "no occasions said": (lambda: people(**PLAIN), "does not say when its occasions begin"),
    "more occasions than there are": (lambda: people(occasions=(0.0, 1.0, 2.0, 3.0)), "has 4 occasions, and the population 3"),
    "an occasion said twice": (lambda: people(covariates={"occasion": 1.0}), "name that otherwise"),
    "an occasion that is none": (lambda: rollout(model_of(), people(**{**PLAIN, "covariates": {"WT": 70.0, "occasion": 4.0}})
                                                 .conditions, drawn(model_of())), "the occasion is 4"),
    "a covariate that is missing": (lambda: people(changing={}), r"lacks the covariates \['WT'\]"),
    "one θ for a person with several": (lambda: model_of().theta(drawn(model_of()), {"WT": torch.ones(1, dtype=D)}),
                                        "without saying of which occasion"),
    "occasions of no parameter": (lambda: Occasions({}, 2), "no parameter differs"),
    "one occasion alone": (lambda: Occasions({"CL": 0.2}, 1), "count"),
    "a spread that is none": (lambda: Occasions({"CL": -0.2}, 2), "the spread of CL"),
    "occasions of what is unknown": (lambda: pop(occasions=Occasions({"k": 0.2}, 2)), "'k', which is not among"),
    "occasions of what is fixed": (lambda: MixedPopulation([Parameter("a", "1", 1.0, 0.1, 2.0)], {"a": Fixed()},
                                                           occasions=Occasions({"a": 0.2}, 2)), "a is Fixed"),
    "occasions that are none": (lambda: pop(occasions={"CL": 0.2}), "occasions is"),
    "a covariate called occasion": (lambda: pop(covariates={"CL": [ExponentialOf("occasion", 1.0, 0.1)]}), "name that otherwise"),
    "a lag that differs between occasions": (delivered, "Tlag is a lag and changes within a record, by occasion"),
    "a steady state that is added": (added, "SS=2"),
    "process noise": (lambda: rollout(process()[0], process()[1].conditions, drawn(model_of())), "an occasion that changes"),
    "paths": (lambda: sample_paths(process()[0], process()[1].conditions, drawn(model_of()), 4,
                                   torch.Generator().manual_seed(0)), "an occasion that changes"),
    "windows": (lambda: next(shoot(model_of(), people(), count=2)), "an occasion that changes"),
    "a filter": (followed, "occasion"),
    "the stability penalty's metric": (lambda: Stability.of(model_of(), people().conditions.covariates), "occasion|WT"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_meaning_is_refused_in_one_sentence(case: str) -> None:
    call, words = REFUSED[case]
    with pytest.raises(ValueError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_paths_without_process_noise_are_the_rollout() -> None:
    model, cohort = model_of(), people()
    eta = drawn(model)
    paths = sample_paths(model, cohort.conditions, eta, 3, torch.Generator().manual_seed(0))
    whole = rollout(model, cohort.conditions, eta).mean
    torch.testing.assert_close(paths.mean, whole[:, None].expand_as(paths.mean), rtol=1e-12, atol=0.0)


def test_a_bundle_keeps_the_occasions_and_takes_no_people_whose_covariates_change(tmp_path: Path) -> None:
    model, cohort = model_of(), people()
    save(Bundle(model, (), prior(model, 0), cohort.mesh), tmp_path / "model")
    again = load(tmp_path / "model").model
    known = {"WT": torch.tensor([80.0], dtype=D), "occasion": torch.tensor([2.0], dtype=D)}
    assert torch.equal(again.theta(drawn(model), known), model.theta(drawn(model), known))
    with pytest.raises(ValueError, match="occasion"):
        Bundle.of(model, cohort, personalise(model, cohort))


def test_occasions_are_not_looked_at_where_the_population_has_none() -> None:
    backbone = OneCompartmentOral()
    model = HybridModel(
        backbone, MixedPopulation(backbone, {"ka": LogNormal(0.5), "ke": Shared(), "V": Shared()}),
        observation=Concentration("plasma", "V"), noise=Constant([0.1], [0.01]),
    )
    with_, without = (Cohort.of([record(occasions=o, changing={})], model) for o in ((0.0, 24.0, 48.0), ()))
    assert with_.conditions.changes is None
    assert torch.equal(with_.conditions.segments.dt, without.conditions.segments.dt)
