"""What a first user types: it works, or the answer is one sentence of ours that says what to write."""

import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import hybrid
from hybrid import (
    Concentration,
    Dose,
    Exponential,
    HybridModel,
    Mesh,
    RungeKutta,
    Schedule,
    Signal,
    SimulationError,
    States,
    conditions_of,
    integrate,
    predict,
    rollout,
    sample_paths,
    simulate,
)
from learned import MLP, AdditiveProportional, ContractingMLP, DiagonalDiffusion, Ensemble
from physics import LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation, VanCauterPopulation
from stability import Lure, certify
from training import (
    Cohort,
    Looks,
    Objective,
    Record,
    Search,
    Stability,
    at_ends,
    fit,
    fit_population,
    personalise,
    prior,
    read_nonmem,
    shoot,
    starting_values,
)
from training.people.likelihoods import beta_nll

D = torch.float64
BACKBONE = OneCompartmentOral()
SPREAD = {"ka": 0.6, "ke": 0.2, "V": 0.2}
MODEL = HybridModel(
    BACKBONE,
    LogNormalPopulation(BACKBONE, spread=SPREAD),
    MLP(2, hidden=(8,), separable=True, state_scale=320.0, rate_scale=0.01),
    observation=Concentration("plasma", "V"),
    noise=AdditiveProportional([0.5], [0.1], [0.03]),
)
LINEAR = LinearBackbone([[-1.0]])
OTHER = HybridModel(
    LINEAR, SharedPopulation(), observation=States([0], ["y"], ["1"]), noise=AdditiveProportional([0.1], [0.1], [0.01])
)
GIVEN = Schedule((Dose("gut", 0.0, 320.0),))
UNITS = {"time": "h", "concentration": "mg/L", "dose": "mg"}
PEOPLE = [
    Record(name, GIVEN, np.array([1.0, 2.0, 6.0]), np.array([[5.0], [8.0], [6.0]]), ("concentration",), units=UNITS)
    for name in ("1", "2")
]
COHORT = Cohort.of(PEOPLE, MODEL)
THETA = torch.tensor([1.5, 0.086, 31.5], dtype=D)
KNOWN = prior(MODEL, 2)
SYSTEM = Lure.of(MODEL.lure(THETA))


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


THREE = Ensemble(3).stack(MODEL, chance())


def drawn() -> hybrid.Prediction:
    return predict(MODEL, COHORT, KNOWN.draws(2, chance()), solver=RungeKutta("rk4"))


PREDICTION = drawn()


def first(steps: object) -> object:
    return next(iter(steps))  # type: ignore[call-overload]


SLIPS: dict[str, Callable[[], object]] = {
    # records for a cohort, a cohort of another model, arguments in another order
    "fit: records": lambda: first(fit(MODEL, PEOPLE)),
    "fit: another model's cohort": lambda: first(fit(OTHER, COHORT)),
    "fit: swapped": lambda: first(fit(COHORT, MODEL)),
    "personalise: records": lambda: personalise(MODEL, PEOPLE),
    "personalise: another model's cohort": lambda: personalise(OTHER, COHORT),
    "fit_population: records": lambda: first(fit_population(MODEL, PEOPLE)),
    "fit_population: another model's cohort": lambda: first(fit_population(OTHER, COHORT)),
    "shoot: records": lambda: first(shoot(MODEL, PEOPLE, count=2)),
    "shoot: another model's cohort": lambda: first(shoot(OTHER, COHORT, count=2)),
    "rollout: a cohort": lambda: rollout(MODEL, COHORT, KNOWN.mode),
    "rollout: another model": lambda: rollout(OTHER, COHORT.conditions, KNOWN.mode),
    "predict: a cohort and times": lambda: predict(MODEL, COHORT, KNOWN.draws(2, chance()), times=COHORT.times),
    "predict: a cohort and a mask of none": lambda: predict(MODEL, COHORT, KNOWN.draws(2, chance()), mask=COHORT.times[0] > 0),
    "predict: conditions alone": lambda: predict(MODEL, COHORT.conditions, KNOWN.draws(2, chance())),
    "predict: records": lambda: predict(MODEL, PEOPLE, KNOWN.draws(2, chance())),
    "predict: modes for draws": lambda: predict(MODEL, COHORT, KNOWN.mode),
    "simulate: start=(x, S)": lambda: simulate(MODEL, GIVEN, [1.0], THETA, (torch.zeros(2, dtype=D), torch.eye(2, dtype=D))),
    "rollout: start of three states": lambda: rollout(MODEL, COHORT.conditions, KNOWN.mode, start=torch.zeros(3, dtype=D)),
    "rollout: start, a skew covariance": lambda: rollout(
        MODEL, COHORT.conditions, KNOWN.mode, start=(torch.zeros(2, dtype=D), torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=D))
    ),
    "Cohort: one record": lambda: Cohort.of(PEOPLE[0], MODEL),
    "Cohort: swapped": lambda: Cohort.of(MODEL, PEOPLE),
    "Cohort: another model": lambda: Cohort.of(PEOPLE, OTHER),
    "Stability: records": lambda: Stability.of(MODEL, PEOPLE),
    "HybridModel: swapped": lambda: HybridModel(
        MODEL.population, BACKBONE, observation=MODEL.observation, noise=MODEL.noise
    ),
    "HybridModel: no noise": lambda: HybridModel(BACKBONE, MODEL.population, observation=MODEL.observation, noise=None),
    # a word or a number for an object
    "fit: optimiser='adam'": lambda: first(fit(MODEL, COHORT, search=Search(optimiser="adam"))),
    "fit: schedule='cosine'": lambda: first(fit(MODEL, COHORT, search=Search(schedule="cosine"))),
    "fit: likelihood='nll'": lambda: first(fit(MODEL, COHORT, objective=Objective(likelihood="nll"))),
    "fit: solver='rk4'": lambda: first(fit(MODEL, COHORT, search=Search(solver="rk4"))),
    "fit: stability=1.0": lambda: first(fit(MODEL, COHORT, objective=Objective(stability=1.0))),
    "fit: checkpoint='file'": lambda: first(fit(MODEL, COHORT, looks=Looks(checkpoint="file"))),
    "personalise: solver='rk4'": lambda: personalise(MODEL, COHORT, solver="rk4"),
    "simulate: solver='rk4'": lambda: simulate(MODEL, GIVEN, [1.0], THETA, torch.zeros(2), solver="rk4"),
    "simulate: mesh=0.1": lambda: simulate(MODEL, GIVEN, [1.0], THETA, torch.zeros(2), mesh=0.1),
    "Cohort: mesh=0.1": lambda: Cohort.of(PEOPLE, MODEL, 0.1),
    "certify: region='box'": lambda: certify(SYSTEM, region="box"),
    "certify: a model": lambda: certify(MODEL),
    # numbers that are none, or cannot be
    "fit: steps='10'": lambda: first(fit(MODEL, COHORT, search=Search(steps="10"))),
    "fit: steps=2.5": lambda: first(fit(MODEL, COHORT, search=Search(steps=2.5))),
    "fit: rate=None": lambda: first(fit(MODEL, COHORT, search=Search(rate=None))),
    "fit: clip='a'": lambda: first(fit(MODEL, COHORT, search=Search(clip="a"))),
    "fit: weights as a list": lambda: first(fit(MODEL, COHORT, objective=Objective(weights=[1, 1]))),
    "fit: held_out as a list": lambda: first(fit(MODEL, COHORT, objective=Objective(held_out=[True, False]))),
    "shoot: count=2.5": lambda: first(shoot(MODEL, COHORT, count=2.5)),
    "Mesh: step=inf": lambda: Mesh(step=float("inf")),
    "quantile(-1)": lambda: PREDICTION.quantile(-1),
    "quantile(0.5)": lambda: PREDICTION.quantile(0.5),
    "quantile([1.5])": lambda: PREDICTION.quantile([1.5]),
    "interval('0.9')": lambda: PREDICTION.interval("0.9"),
    "interval(90)": lambda: PREDICTION.interval(90),
    "sample('3')": lambda: PREDICTION.sample("3", chance()),
    "sample without generator": lambda: PREDICTION.sample(3, None),
    "exceeds('5')": lambda: PREDICTION.exceeds("5"),
    "cdf('a')": lambda: PREDICTION.cdf("a"),
    "draws('2')": lambda: KNOWN.draws("2", chance()),
    "draws(0)": lambda: KNOWN.draws(0, chance()),
    "prior('2')": lambda: prior(MODEL, "2"),
    "sample_paths('3')": lambda: sample_paths(MODEL, COHORT.conditions, KNOWN.mode, "3", chance()),
    "certify: rate='fast'": lambda: certify(SYSTEM, rate="fast"),
    "certify: seconds='1'": lambda: certify(SYSTEM, seconds="1"),
    "beta_nll('a')": lambda: beta_nll("a"),
    "RungeKutta: rtol='1e-6'": lambda: RungeKutta("tsit5", rtol="1e-6"),
    "Exponential: rtol='1e-6'": lambda: Exponential(rtol="1e-6"),
    "until('2')": lambda: COHORT.until("2"),
    # sizes, widths and matrices
    "MLP: hidden=8": lambda: MLP(2, hidden=8),
    "MLP: hidden='8'": lambda: MLP(2, hidden="8"),
    "MLP: hidden=(8.5,)": lambda: MLP(2, hidden=(8.5,)),
    "MLP: states='2'": lambda: MLP("2"),
    "MLP: state_scale='a'": lambda: MLP(2, state_scale="a"),
    "ContractingMLP: hidden=8": lambda: ContractingMLP(2, hidden=8, vertices=torch.zeros(1, 2, 2), rate=0.1),
    "Ensemble('3')": lambda: Ensemble("3"),
    "stack without generator": lambda: Ensemble(3).stack(MODEL, None),
    "AdditiveProportional(0.5, …)": lambda: AdditiveProportional(0.5, 0.1, 0.03),
    "AdditiveProportional(['a'], …)": lambda: AdditiveProportional(["a"], [0.1], [0.03]),
    "LinearBackbone('a')": lambda: LinearBackbone("a"),
    "LinearBackbone: ragged": lambda: LinearBackbone([[-1.0, 0.0], [1.0]]),
    "LinearBackbone: states='x'": lambda: LinearBackbone([[-1.0]], states="x"),
    "LogNormalPopulation: spread=0.3": lambda: LogNormalPopulation(BACKBONE, spread=0.3),
    "LogNormalPopulation: words": lambda: LogNormalPopulation(BACKBONE, spread=dict.fromkeys(SPREAD, "a")),
    "LogNormalPopulation: powers": lambda: LogNormalPopulation(BACKBONE, spread=SPREAD, powers={"V": {"WT": 70.0}}),
    # doses, schedules, signals, records
    "Dose: amount='320'": lambda: Dose("gut", 0.0, "320"),
    "Dose: time=None": lambda: Dose("gut", None, 1.0),
    "Dose: swapped": lambda: Dose(0.0, "gut", 1.0),
    "Schedule: a mapping": lambda: Schedule({"gut": 1}),
    "Schedule: inputs as a list": lambda: Schedule((), [1, 2]),
    "do: a list": lambda: GIVEN.do([Dose("gut", 0.0, 1.0)]),
    "do: words": lambda: GIVEN.do("scale"),
    "do: an unknown compartment": lambda: GIVEN.do("scale gutt by 2"),
    "do: two texts": lambda: GIVEN.do("clear gut", "clear gut"),
    "do: a unit that nobody knows": lambda: GIVEN.do("dose 320 mg -> gut @ 0"),
    "do: a dose before since": lambda: GIVEN.do(Dose("gut", 1.0, 5.0), since=2.0),
    "do: since before the start": lambda: GIVEN.do(Dose("gut", 1.0, 5.0), since=-1.0),
    "since('2')": lambda: GIVEN.since("2"),
    "added: a number": lambda: GIVEN.added(320.0),
    "scaled('2')": lambda: GIVEN.scaled("gut", "2"),
    "scaled: unknown compartment": lambda: GIVEN.scaled("gutt", 2.0),
    "split: unknown compartment": lambda: GIVEN.split("gutt", 2, 1.0),
    "Signal: words": lambda: Signal("abc", "def"),
    "Signal: a matrix": lambda: Signal(np.zeros((2, 2)), [1]),
    "Signal: one NaN of 5,000": lambda: Signal(np.arange(5000.0), np.r_[np.nan, np.arange(4999.0)]),
    "Record: no schedule": lambda: Record("1", None, [1.0], [[1.0]], ("c",)),
    "Record: words": lambda: Record("1", GIVEN, [1.0, 2.0], [["a"], ["b"]], ("c",)),
    "Record: one NaN of 5,000 times": lambda: Record("1", GIVEN, np.r_[np.nan, np.arange(4999.0)], np.ones((5000, 1)), ("c",)),
    "Record: a covariate in words": lambda: Record("1", GIVEN, [1.0], [[1.0]], ("c",), covariates={"WT": "70"}),
    "simulate: θ too short": lambda: simulate(MODEL, GIVEN, [1.0], THETA[:2], torch.zeros(2)),
    "simulate: θ in words": lambda: simulate(MODEL, GIVEN, [1.0], "abc", torch.zeros(2)),
    "simulate: times=6.0": lambda: simulate(MODEL, GIVEN, 6.0, THETA, torch.zeros(2)),
    "simulate: times='6'": lambda: simulate(MODEL, GIVEN, "6", THETA, torch.zeros(2)),
    "simulate: nested times": lambda: simulate(MODEL, GIVEN, [[1.0]], THETA, torch.zeros(2)),
    "simulate: no schedule": lambda: simulate(MODEL, None, [1.0], THETA, torch.zeros(2)),
    "simulate: a dose": lambda: simulate(MODEL, Dose("gut", 0.0, 1.0), [1.0], THETA, torch.zeros(2)),
    "simulate: swapped": lambda: simulate(torch.zeros(2), GIVEN, [1.0], THETA, MODEL),
    "conditions_of: times of another": lambda: conditions_of(MODEL, [GIVEN], [[1.0], [2.0]]),
    "conditions_of: one number for people": lambda: conditions_of(MODEL, [GIVEN], [[1.0]], covariates={"WT": 70.0}),
    "conditions_of: baseline": lambda: conditions_of(MODEL, [GIVEN], [[1.0]], baseline=torch.zeros(3)),
    # the same of what cuts and simulates by hand
    "conditions_of: one schedule": lambda: conditions_of(MODEL, GIVEN, [1.0]),
    "conditions_of: one list of times": lambda: conditions_of(MODEL, [GIVEN], [1.0]),
    "conditions_of: words for times": lambda: conditions_of(MODEL, [GIVEN], "a"),
    "conditions_of: baseline as a list": lambda: conditions_of(MODEL, [GIVEN], [[1.0]], baseline=[[1.0]]),
    "conditions_of: mesh=0.1": lambda: conditions_of(MODEL, [GIVEN], [[1.0]], mesh=0.1),
    "conditions_of: swapped": lambda: conditions_of([GIVEN], MODEL, [[1.0]]),
    "conditions_of: covariates as a list": lambda: conditions_of(MODEL, [GIVEN], [[1.0]], covariates=[70.0]),
    "integrate: one schedule": lambda: integrate(MODEL, GIVEN, [1.0], THETA, torch.zeros(2)),
    "simulate: two schedules, one list": lambda: simulate(MODEL, [GIVEN] * 2, [1.0, 2.0], THETA, torch.zeros(2)),
    "predict: solver='rk4'": lambda: predict(
        MODEL, COHORT, KNOWN.draws(2, chance()), solver="rk4"
    ),
    "rollout: on_failure='ignore'": lambda: rollout(MODEL, COHORT.conditions, KNOWN.mode, on_failure="ignore"),
    "rollout: two members for three": lambda: rollout(THREE, COHORT.conditions, KNOWN.mode.expand(2, 2, 3)),
    "predict: two members for three": lambda: predict(
        THREE, COHORT, KNOWN.mode.expand(2, 1, 2, 3)
    ),
    "personalise: before=a tensor": lambda: personalise(MODEL, COHORT, before=KNOWN.mode),
    "personalise: iterations='3'": lambda: personalise(MODEL, COHORT, iterations="3"),
    "Mesh.of: swapped": lambda: Mesh.of(PEOPLE, MODEL),
    "Mesh.of: one record": lambda: Mesh.of(MODEL, PEOPLE[0]),
    "Mesh.of: a cohort": lambda: Mesh.of(MODEL, COHORT),
    "Mesh: observed='no'": lambda: Mesh(1.0, observed="no"),
    "starting_values: swapped": lambda: starting_values(BACKBONE, PEOPLE),
    "starting_values: a cohort": lambda: starting_values(COHORT, BACKBONE),
    "starting_values: a model": lambda: starting_values(PEOPLE, MODEL),
    "starting_values: powers": lambda: starting_values(PEOPLE, BACKBONE, {"V": 70.0}),
    "at_ends: swapped": lambda: at_ends(COHORT, MODEL),
    "at_ends: a Personal": lambda: at_ends(MODEL, COHORT, KNOWN),
    "repeated('3')": lambda: Dose("gut", 0.0, 1.0).repeated("3", 12.0),
    "repeated(2.5)": lambda: Dose("gut", 0.0, 1.0).repeated(2.5, 12.0),
    "Schedule(None)": lambda: Schedule(None),
    "Record: covariates as a list": lambda: Record("1", GIVEN, [1.0], [1.0], ("c",), covariates=[70.0]),
    "Record: units='mg/L'": lambda: Record("1", GIVEN, [1.0], [1.0], ("c",), units="mg/L"),
    "Record: nonnegative as text": lambda: Record("1", GIVEN, [1.0], [1.0], ("c",), nonnegative="c"),
    "Record: no channels": lambda: Record("1", GIVEN, [1.0], [1.0], None),
    "Record.until('2')": lambda: PEOPLE[0].until("2"),
    "people([0])": lambda: COHORT.people([0]),
    "States(1)": lambda: States(1),
    "LogNormalPopulation: spread in words": lambda: LogNormalPopulation(BACKBONE.physical, spread=["a", 0.2, 0.2]),
    "LogNormalPopulation: powers as a list": lambda: LogNormalPopulation(BACKBONE, spread=SPREAD, powers=["V"]),
    "OneCompartmentOral: CL=None": lambda: OneCompartmentOral(CL=None),
    "OneCompartmentOral: typical as a list": lambda: OneCompartmentOral(typical=[1.5, 0.1, 30.0]),
    "OneCompartmentOral: typical in words": lambda: OneCompartmentOral(typical={"ka": "a"}),
    "HybridModel: covariates as a list": lambda: HybridModel(
        BACKBONE, MODEL.population, observation=MODEL.observation, noise=MODEL.noise, covariates=["WT"]
    ),
    "HybridModel: covariates={'WT': 70.0}": lambda: HybridModel(
        BACKBONE, MODEL.population, observation=MODEL.observation, noise=MODEL.noise, covariates={"WT": 70.0}
    ),
    "DiagonalDiffusion(1.0)": lambda: DiagonalDiffusion(1.0),
    "read_nonmem: no file": lambda: read_nonmem("nowhere.csv", units={"TIME": "h", "AMT": "mg", "DV": "mg/L"}),
}


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_is_answered_in_a_sentence_of_ours(name: str) -> None:
    with pytest.raises(ValueError) as caught:
        SLIPS[name]()
    here = Path(hybrid.__file__).parent.parent
    where = Path(traceback.extract_tb(caught.value.__traceback__)[-1].filename)
    assert where.is_relative_to(here), f"the error is {where.name}'s own: {caught.value}"
    assert ".venv" not in where.parts
    assert "site-packages" not in where.parts
    assert 20 < len(str(caught.value)) < 500


@pytest.mark.parametrize("make", [list, tuple, np.array, torch.tensor])
def test_arrays_tensors_and_lists_are_taken_alike(make: Callable[[list[float]], object]) -> None:
    times, values = [0.0, 1.0, 2.5], [1.0, 4.0, 2.0]
    assert Signal(make(times), make(values)) == Signal((0.0, 1.0, 2.5), (1.0, 4.0, 2.0))
    record = Record("1", GIVEN, make(times), make([[v] for v in values]), ("concentration",))
    assert record.times.tolist() == times
    assert record.values[:, 0].tolist() == values
    column = Record("1", GIVEN, make(times), make(values), ("concentration",))  # of one channel, without its axis
    assert column.values.tolist() == record.values.tolist()
    theta = make(THETA.tolist())
    found = simulate(MODEL, GIVEN, make(times), theta, make([0.0, 0.0]))
    torch.testing.assert_close(found, simulate(MODEL, GIVEN, times, torch.as_tensor(theta), torch.zeros(2)))


@pytest.mark.parametrize(
    "theta", [(-1.5, 0.086, 31.5), (0.0, 0.086, 31.5), (1.5, 0.0, 31.5), (1.5, 0.086, 1e9), (1.5, float("nan"), 31.5)]
)
def test_a_theta_outside_its_box_is_refused(theta: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match=r"(ka|ke|V) is .* and its box is"):
        simulate(MODEL, GIVEN, [1.0, 6.0], torch.tensor(theta, dtype=D), torch.zeros(2))


def test_float64_is_not_rounded_in_silence() -> None:
    model = HybridModel(
        BACKBONE,
        LogNormalPopulation(BACKBONE, spread=SPREAD, powers={"V": {"WT": (70.0, 1.0, "kg")}}),
        MODEL.residual,
        observation=MODEL.observation,
        noise=MODEL.noise,
    ).to(torch.float32)
    try:
        with pytest.raises(ValueError, match=r"theta is float64 and the model computes in torch\.float32"):
            simulate(model, GIVEN, [1.0], THETA, torch.zeros(2))
        assert simulate(model, GIVEN, [1.0], THETA.float(), torch.zeros(2)).dtype == torch.float32
        # a model in float32 stays there, powers of covariates included
        theta = model.theta(torch.zeros(1, 1, 3), {"WT": torch.tensor([70.0])})
        assert theta.dtype == torch.float32
    finally:
        MODEL.to(torch.float64)


@pytest.mark.parametrize(
    "long",
    [
        lambda: simulate(MODEL, GIVEN, list(np.arange(900.0)[::-1]), THETA, torch.zeros(2)),
        lambda: LogNormalPopulation(BACKBONE.physical, spread=[0.1] * 800),
        lambda: simulate(MODEL, Schedule((Dose("z" * 600, 0.0, 1.0),)), [1.0], THETA, torch.zeros(2)),
        lambda: Cohort.of([Record("1", GIVEN, [1.0], [1.0], ("c" * 600,))], MODEL),
        lambda: VanCauterPopulation().theta(torch.zeros(1, 500, 0), {"age": torch.zeros(500), "type2": torch.zeros(500)}),
        lambda: RungeKutta("r" * 600),
        lambda: Record("n " * 600, GIVEN, [1.0], [1.0], ("c",)),
        lambda: Record("n " * 50, GIVEN, [2.0, 1.0], [1.0, 1.0], ("c",)),
        lambda: Record("n " * 50, GIVEN, [1.0], [1.0], ("c",), units={"time": "parsec/fortnight"}),
        lambda: Record("1", GIVEN, [1.0], [1.0], ("c",), nonnegative=("z" * 600,)),
        lambda: Cohort.of([replace(PEOPLE[0], id="n " * 50, units={**UNITS, "time": "kg"})], MODEL),
        lambda: replace(PEOPLE[0], id="n " * 50).until(0.5),
        lambda: conditions_of(MODEL, [GIVEN], [[1.0]], covariates={"WT": ["70" * 300]}),
    ],
)
def test_no_message_quotes_all_that_it_was_given(long: Callable[[], object]) -> None:
    with pytest.raises(ValueError) as caught:
        long()
    assert len(str(caught.value)) < 350


def test_people_cut_under_inference_mode_can_be_trained_on() -> None:
    with torch.inference_mode():
        cohort = Cohort.of(PEOPLE, MODEL)
        conditions = conditions_of(MODEL, [GIVEN], [[1.0, 6.0]])
    *_, step = fit(MODEL, cohort, search=Search(steps=2))
    assert torch.isfinite(step.loss).all()
    rollout(MODEL, conditions, KNOWN.mode[:, :1], RungeKutta("rk4")).mean.sum().backward()


def test_a_theta_that_is_no_number_fails_at_once() -> None:
    with pytest.raises(SimulationError, match="the state is not finite at time 0"):
        rollout(MODEL, COHORT.conditions, KNOWN.mode * float("nan"))


def test_whole_numbers_of_numpy_are_sizes() -> None:
    made = MLP(np.int64(2), hidden=[np.int64(8)])
    assert (made.states, made.hidden) == (2, (8,))
    assert all(type(v) is int for v in (made.states, *made.hidden))  # what a bundle writes
