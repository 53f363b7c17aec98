"""What is measured beside the states: numbers, θ, inputs and covariates, in every place that reads a measurement."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hybrid import (
    Concentration,
    Dose,
    Exponential,
    HybridModel,
    Log,
    Mesh,
    Offset,
    Schedule,
    Signal,
    States,
    check_observation,
    conditions_of,
    rollout,
    sample_paths,
)
from hybrid.filters import EKF, UKF, EnKF, Followed, follow
from learned import Constant, DiagonalDiffusion
from physics import (
    Administered,
    Backbone,
    LinearBackbone,
    LogNormal,
    MixedPopulation,
    Normal,
    OneCompartmentOral,
    Parameter,
    Shared,
    SharedPopulation,
)
from physics.laws.rebuilt import rebuilt
from training import Cohort, Record, Search, fit_population, personalise, starting_values

D = torch.float64
TIMES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 24.0)
E0 = Parameter("E0", "mg/L", 0.5, -3.0, 6.0)
SLOPE = Parameter("beta", "mg/L", 0.6, -3.0, 3.0)
NAN = torch.full((1, 1), torch.nan, dtype=D)


def oral(observed: tuple[Parameter, ...] = (E0, SLOPE)) -> Administered:
    return Administered(
        OneCompartmentOral(parameters="clearance", typical={"ka": 1.5, "CL": 2.8, "V": 32.0}), observed=observed
    )


def person(by: str | float = "E0", gain: str | float = "beta", spread: float = 0.7) -> HybridModel:
    """A drug that the body makes itself: E0 of everyone's own, and more of it where BASE is high."""
    backbone = oral()
    observation = Offset(Concentration("plasma", "V"), by, covariates={"BASE": (gain, "1")})
    laws = {"ka": LogNormal(0.3), "CL": LogNormal(0.2), "V": LogNormal(0.2), "E0": Normal(spread), "beta": Shared()}
    return HybridModel(backbone, MixedPopulation(backbone, laws), observation=observation, noise=Constant([0.1], [0.001]))


def driven(offset: bool = True, process: bool = False) -> HybridModel:
    """dx/dt = A x + B u, y = (3 x₂ + 0.25 u + 1.5, x₁): what is measured jumps with the input."""
    backbone = LinearBackbone(
        [[-0.7, 0.2], [0.4, -1.1]], [[1.0], [0.5]],
        states=("a", "b"), inputs=("u",), state_units=("mg", "g"), input_units=("mg",), time_unit="h",
    )  # fmt: skip
    seen = States(("b", "a"), ("second", "first"), ("g", "mg"))
    observation = Offset(seen, 1.5, channel="second", inputs={"u": 0.25}, covariates={"z": (0.1, "1")}) if offset else seen
    noise = Constant([0.2, 0.2], [0.01, 0.01])
    drift = DiagonalDiffusion([0.3, 0.2]) if process else None
    return HybridModel(backbone, SharedPopulation(), observation=observation, noise=noise, process=drift)


INPUT = Schedule((), {"u": Signal((0.0, 1.0, 3.0), (0.5, 2.0, -1.0), "held")})
AT = [0.0, 0.5, 1.5, 2.5, 3.5]
BESIDE = np.array([1.5 + 0.25 * u + 0.1 * 4.0 for u in (0.5, 0.5, 2.0, 2.0, -1.0)])  # by hand


def test_what_is_measured_is_the_sum() -> None:
    with_it, without = (
        rollout(m, conditions_of(m, [INPUT], [AT], covariates={"z": [4.0]}), torch.zeros(1, 1, 0, dtype=D))
        for m in (driven(), driven(False))
    )
    assert torch.equal(with_it.states, without.states)
    found = (with_it.mean - without.mean)[0, 0].detach().numpy()
    np.testing.assert_allclose(found, np.stack([BESIDE, 0.0 * BESIDE], 1), rtol=0.0, atol=1e-14)


def test_of_a_person_the_closed_form() -> None:
    model = person()
    eta = torch.tensor([[[0.3, -0.5, 0.2, 1.1], [0.0, 0.4, -1.0, -0.8]]], dtype=D)
    given = conditions_of(model, [Schedule((Dose("gut", 0.0, 320.0),))] * 2, [list(TIMES)] * 2, covariates={"BASE": [2.0, -1.0]})
    ka, CL, V, e0, beta = model.theta(eta, given.covariates)[0, :, :, None].unbind(1)
    t = torch.tensor(TIMES, dtype=D)
    wanted = 320.0 * ka / (V * ka - CL) * (torch.exp(-CL / V * t) - torch.exp(-ka * t)) + e0
    wanted = wanted + beta * torch.tensor([[2.0], [-1.0]])
    assert torch.allclose(rollout(model, given, eta, Exponential()).mean[0, :, :, 0], wanted, rtol=1e-10, atol=1e-12)
    assert float(e0.detach().std()) > 0.5


@pytest.mark.parametrize(
    "observation",
    [
        Offset(Concentration("plasma", "V"), 0.3),
        Offset(Concentration("plasma", "V", unit="ug/L"), "high", covariates={"BASE": (None, "mg/L"), "WT": (0.1, "kg")}),
        Offset(Offset(States(("plasma", "gut")), "amount", channel="gut"), -2.0, channel="plasma"),
    ],
    ids=["a number", "in another unit", "one on another"],
)
def test_it_keeps_the_laws(observation: Offset) -> None:
    more = (E0, Parameter("high", "ug/L", 10.0, 0.0, 90.0), Parameter("amount", "mg", 2.0, -1.0, 9.0))
    check_observation(observation, oral(more))


def test_the_laws_tell_who_forgets_the_offset() -> None:
    class Forgets(Offset):
        def offset(self, theta, u=None, covariates=None):  # type: ignore[no-untyped-def, override]
            return 0.0 * super().offset(theta, u, covariates)

        def joined(self, backbone: Backbone) -> "Forgets":
            found = super().joined(backbone)
            found.__class__ = Forgets
            return found  # type: ignore[return-value]

    with pytest.raises(ValueError, match="more than its `offset` says"):
        check_observation(Forgets(Concentration("plasma", "V"), 0.3), OneCompartmentOral())


def test_a_baseline_without_the_offset_is_the_state() -> None:
    """x₀ = (y₀ − E0 − β BASE) V, and differentiable in E0; nothing is needed where nothing was measured."""
    model, who = person(), {"BASE": torch.tensor([2.0], dtype=D)}
    assert model.starts_from == (True,)
    theta = model.typical.clone().requires_grad_()
    y0 = torch.tensor([[5.0]], dtype=D)
    x0 = model.initial(theta, y0, None, who)
    assert x0[0, 0].tolist() == pytest.approx([0.0, (5.0 - 0.5 - 1.2) * 32.0])
    slope = torch.autograd.grad(x0.sum(), theta)[0][0, 0]
    assert slope.tolist() == pytest.approx([0.0, 0.0, 3.3, -32.0, -64.0])
    assert torch.equal(model.initial(model.typical, NAN), torch.zeros(1, 1, 2, dtype=D))
    with pytest.raises(ValueError, match="reads the covariate BASE"):
        model.initial(model.typical, y0)
    given = conditions_of(model, [Schedule()], [[0.0]], covariates={"BASE": [2.0]}, baseline=y0)
    eta = torch.tensor([[[0.1, 0.2, -0.3, 0.9]]], dtype=D)
    assert float(rollout(model, given, eta).mean.squeeze().detach()) == pytest.approx(5.0)  # what was measured, whatever η is
    empty = HybridModel(
        Administered(OneCompartmentOral(), observed=(E0,), start="empty"),
        MixedPopulation(
            oral((E0,)).around(OneCompartmentOral()), {"ka": Shared(), "ke": Shared(), "V": Shared(), "E0": Normal(1.0)}
        ),
        observation=Offset(Concentration("plasma", "V"), "E0"), noise=Constant([0.1], [0.01]),
    )  # fmt: skip
    assert empty.starts_from == (False,)


def test_the_logarithm_of_a_sum() -> None:
    """log(x/V + E0 + β BASE), and its baseline is taken off as a measurement."""
    model = person()
    inside = Offset(Concentration("plasma", "V"), "E0", covariates={"BASE": ("beta", "1")})
    logs = HybridModel(model.backbone, model.population, observation=Log(inside, 1e-6), noise=model.noise)
    y0, eta = torch.tensor([[5.0]], dtype=D), torch.tensor([[[0.1, 0.2, -0.3, 0.9]]], dtype=D)
    runs = [
        rollout(m, conditions_of(m, [Schedule()], [list(TIMES)], covariates={"BASE": [2.0]}, baseline=y), eta, Exponential())
        for m, y in ((model, y0), (logs, y0.log()))
    ]
    assert torch.allclose(runs[0].mean.log(), runs[1].mean, rtol=1e-12)
    assert logs.uses == {"BASE": "1"}
    assert logs.starts_from == (True,)


def test_slopes_are_those_of_differences() -> None:
    model = person()
    given = conditions_of(model, [Schedule((Dose("gut", 0.0, 320.0),))], [list(TIMES)], covariates={"BASE": [2.0]},
                          baseline=torch.tensor([[4.0]], dtype=D))  # fmt: skip
    eta = torch.tensor([[[0.3, -0.5, 0.2, 1.1]]], dtype=D, requires_grad=True)
    weight = torch.arange(1.0, 9.0, dtype=D)
    value = lambda eta: (rollout(model, given, eta, Exponential()).mean[0, 0, :, 0] * weight).sum()  # noqa: E731
    assert torch.autograd.gradcheck(value, (eta,), eps=1e-6, atol=1e-6)


def records(model: HybridModel, count: int, seed: int) -> list[Record]:
    generator = torch.Generator().manual_seed(seed)
    eta = torch.randn(1, count, model.personal, generator=generator, dtype=D)
    base = torch.randn(count, generator=generator, dtype=D)
    schedule = Schedule((Dose("gut", 0.0, 320.0),))
    given = conditions_of(model, [schedule] * count, [list(TIMES[1:])] * count, covariates={"BASE": base.tolist()})
    run = rollout(model, given, eta, Exponential())
    noise = torch.randn(run.mean.shape, generator=generator, dtype=D)
    y = (run.mean + run.variance.sqrt() * noise)[0].detach().numpy()
    return [
        Record(f"{i}", schedule, np.array(TIMES[1:]), y[i], ("concentration",), covariates={"BASE": float(base[i])})
        for i in range(count)
    ]


def test_a_population_is_recovered() -> None:
    """40 people: E0 = 2 (sd .7), β = −.8, from a start at .5 and .6."""
    truth = person()
    low = Administered(oral((replace(E0, typical=2.0), replace(SLOPE, typical=-0.8))).within, observed=(
        replace(E0, typical=2.0), replace(SLOPE, typical=-0.8)))  # fmt: skip
    truth = HybridModel(low, MixedPopulation(low, {"ka": LogNormal(0.3), "CL": LogNormal(0.2), "V": LogNormal(0.2),
                                                   "E0": Normal(0.7), "beta": Shared()}),
                        observation=truth.observation, noise=truth.noise)  # fmt: skip
    people = records(truth, 40, 3)
    start = person()
    cohort = Cohort.of(people, start)
    *_, last = fit_population(start, cohort, search=Search(steps=25))
    fitted = last.best.model
    e0, beta = fitted.theta(torch.zeros(1, 1, 4, dtype=D), {})[0, 0, 3:].tolist()
    # the mean of 40 E0 has a standard error of .7/√40 = .11, and β, over covariates of unit variance, too: 3.5 of them
    assert e0 == pytest.approx(2.0, abs=0.39)
    assert beta == pytest.approx(-0.8, abs=0.39)
    found = personalise(fitted, cohort)
    assert bool(found.converged.all())
    assert float(found.mode[0, :, 3].std().detach()) > 0.3  # people have an E0 of their own


def test_filters_see_it_as_the_kalman_filter_does() -> None:
    """Taken off the measurements beforehand, nothing else is left of it."""
    with_it, without = driven(process=True), driven(False, process=True)
    y = torch.tensor([[[1.9, 0.1], [2.2, 0.3], [2.9, 1.0], [3.0, 1.2], [1.9, 0.2]]], dtype=D)
    less = y - torch.stack([torch.from_numpy(BESIDE), torch.zeros(5, dtype=D)], 1)
    given = conditions_of(with_it, [INPUT], [AT], covariates={"z": [4.0]})
    for kind in (EKF, UKF, lambda people: EnKF(people, particles=64)):
        tracks = [
            follow(kind(Followed.of(m, 1, covariates={"z": torch.tensor([4.0], dtype=D)})), given, data)
            for m, data in ((with_it, y), (without, less))
        ]
        assert torch.allclose(tracks[0].last.mean, tracks[1].last.mean, rtol=1e-9, atol=1e-11)
        assert torch.allclose(tracks[0].log_likelihood, tracks[1].log_likelihood, rtol=1e-9)


def test_a_filter_starts_and_learns_as_the_model_does() -> None:
    """With η, whose E0 a filter learns from two people at once as from each alone."""
    model, who = person(), {"BASE": torch.tensor([2.0, -1.0], dtype=D)}
    schedules = [Schedule((Dose("gut", 0.0, 320.0),))] * 2
    baseline = torch.tensor([[3.0], [1.0]], dtype=D)
    given = conditions_of(model, schedules, [[0.5, 2.0, 12.0]] * 2, covariates={"BASE": [2.0, -1.0]}, baseline=baseline)
    y = torch.tensor([[[7.0], [9.0], [4.0]], [[3.0], [6.0], [2.5]]], dtype=D)
    track = follow(UKF(Followed.of(model, 2, covariates=who, floor={})), given, y)
    for i in range(2):
        one = {"BASE": who["BASE"][i : i + 1]}
        alone = follow(UKF(Followed.of(model, 1, covariates=one, floor={})), given.people(torch.tensor([i])), y[i : i + 1])
        assert torch.allclose(alone.last.mean[:, 0], track.last.mean[:, i], rtol=1e-9, atol=1e-10)
    assert float((track.last.mean[0, :, 5].detach()).abs().max()) > 0.1  # E0 moved


def test_paths_and_process_noise_have_it() -> None:
    model, mesh = driven(process=True), Mesh(0.1)
    given = conditions_of(model, [INPUT, INPUT], [AT, AT], covariates={"z": [4.0, -2.0]}, mesh=mesh)
    nobody = torch.zeros(1, 2, 0, dtype=D)
    paths = sample_paths(model, given, nobody, 4000, torch.Generator().manual_seed(0))
    run = rollout(model, given, nobody)
    plain = rollout(driven(False, process=True), given, nobody)
    assert torch.equal(run.variance, plain.variance)  # an offset has no spread
    spread = run.variance.sqrt().detach()
    # 20 means of 4,000 paths, each within four standard errors
    assert bool(((paths.measurement.mean(1) - run.mean).abs() < 4.0 * spread / 4000**0.5).all())


def test_a_configuration_brings_it_back() -> None:
    observation = person().observation
    again = rebuilt(observation, "test")
    assert json.loads(json.dumps(again.config())) == json.loads(json.dumps(observation.config()))
    assert starting_values(records(person(), 2, 0), oral()).people == 0  # its measurements are not the drug alone


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Offset(Concentration("plasma", "V")), "nothing is added"),
        (lambda: Offset(Log(Concentration("plasma", "V"), 0.01), 1.0), "a factor; write Log\\(Offset"),
        (lambda: Offset(States(("gut", "plasma")), 1.0), "channel='gut'"),
        (lambda: Offset(States(("gut", "plasma")), 1.0, channel="urine"), "no channel 'urine'"),
        (lambda: Offset(Concentration("plasma", "V"), "E9").joined(oral()), "observed=\\(Parameter\\('E9', 'mg/L', …\\),\\)"),
        (lambda: Offset(Concentration("plasma", "V"), "CL").joined(oral()), "L/h and mg/L is needed"),
        (lambda: Offset(Concentration("plasma", "V", unit="ug/L"), "E0").joined(oral()), "times 1000"),
        (lambda: Offset(Concentration("plasma", "V"), inputs={"u": 1.0}).joined(oral()), "no input 'u'"),
        (lambda: Offset(Concentration("plasma", "V"), covariates={"B": (None, "kg")}).joined(oral()), "kg and mg/L is needed"),
        (lambda: Offset(Concentration("plasma", "V"), covariates={"B": ("beta", None)}).joined(oral()), "has no unit"),
        (lambda: Offset(Concentration("plasma", "V"), covariates={"B": 1.0}), "a gain and its unit"),
        (lambda: Administered(OneCompartmentOral(), observed=(Parameter("V", "L", 1.0, 0.5, 2.0),)), "two parameters 'V'"),
        (lambda: Administered(OneCompartmentOral(), observed=(E0, E0)), "twice"),
        (lambda: Administered(OneCompartmentOral(), observed={"E0": E0}), "a sequence of parameters"),
        (lambda: person(by=0.5), "E0 is there to be observed"),
        (lambda: person().observation.mean(torch.ones(1, 1, 1, 2, dtype=D), person().typical), "reads the covariate BASE"),
        (lambda: Cohort.of([replace(records(person(), 1, 0)[0], covariates={})], person()), "lacks the covariates"),
    ],
)
def test_what_is_refused(make, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=said):
        make()


def test_a_covariate_that_changes_is_that_of_its_time() -> None:
    """BASE 2 until 3 h, −1 from then on: the drug alone is as it was."""
    model = person()
    schedule = Schedule((Dose("gut", 0.0, 320.0),))
    times = np.array(TIMES[1:])
    record = Record("1", schedule, times, np.ones((7, 1)), ("concentration",),
                    changing={"BASE": (np.array([0.0, 3.0]), np.array([2.0, -1.0]))})  # fmt: skip
    eta = torch.tensor([[[0.1, 0.2, -0.3, 0.9]]], dtype=D)
    moving = rollout(model, Cohort.of([record], model).conditions, eta, Exponential()).mean[0, 0, :, 0]
    held = rollout(model, conditions_of(model, [schedule], [times.tolist()], covariates={"BASE": [0.0]}), eta, Exponential())
    wanted = held.mean[0, 0, :, 0] + 0.6 * torch.tensor([2.0] * 3 + [-1.0] * 4, dtype=D)
    assert torch.allclose(moving, wanted, rtol=1e-9)
