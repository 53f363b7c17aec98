"""Which models are nested: what they take for granted beside their estimates decides, not the names of these alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hybrid import Concentration, Dose, HybridModel, Offset, Schedule, States
from learned import Combined1, Combined2, Constant, Correlated
from physics import (
    Administered,
    Backbone,
    ExponentialOf,
    Fixed,
    LogitNormal,
    LogNormal,
    LogNormalPopulation,
    MixedPopulation,
    Occasions,
    OneCompartmentOral,
    Parameter,
    Population,
    PowerOf,
    Shared,
    SharedPopulation,
)
from training import Cohort, Record, convergence, personalise
from training.inference import ObjectiveValue, estimates, likelihood_ratio, objective_value, shrinkage
from training.inference.estimates import jacobian, trained
from training.inference.taken import difference, taken

ORAL = OneCompartmentOral(parameters="clearance")
SPREADS = {"ka": LogNormal(0.6), "CL": LogNormal(0.3), "V": LogNormal(0.2)}
WT = PowerOf("WT", 70.0, 1.0, unit="kg")


def backbone(lag: float | None = None, **more: Any) -> Administered:
    given = {} if lag is None else {"lag": {"gut": Parameter("Tlag", "h", lag, 0.001, 2.0, "chosen")}}
    return Administered(ORAL, start="empty", **given, **more)


def of(own: Backbone, population: Population, noise: Any = None, observation: Any = None) -> HybridModel:
    seen = observation or Concentration("plasma", "V")
    return HybridModel(own, population, None, observation=seen, noise=noise or Constant([0.7], [0.01]))


def model_of(
    own: Administered | None = None, effects: dict | None = None, noise: Any = None, observation: Any = None, **more: Any
) -> HybridModel:
    own = backbone() if own is None else own
    effects = {**SPREADS, **(effects or {})}
    return of(own, MixedPopulation(own, effects, **more), noise, observation)


def value(model: HybridModel, ofv: float) -> ObjectiveValue:
    """Of some data; what is compared here needs no simulation."""
    trial, names, _ = trained(model, "a test")
    estimated, _, _, _ = jacobian(trial, names)
    one = torch.tensor([ofv], dtype=torch.float64)
    effects = model.population.effects
    return ObjectiveValue(one, one[:, None], "focei", 0, 100, 0, 10, "data", estimated, effects, 0, taken(model, estimated))


E0 = Parameter("E0", "mg/L", 0.02, 0.001, 1.0, "chosen")
LEARNED = PowerOf("WT", 70.0, 1.0, unit="kg", learn=True)


def frozen(noise: Constant) -> Constant:
    noise.log_sd.requires_grad_(False)
    return noise


NESTED = {
    "a lag": (model_of(), model_of(backbone(0.1), {"Tlag": Shared()})),
    "a lag that was held": (model_of(backbone(0.1), {"Tlag": Fixed()}), model_of(backbone(0.1), {"Tlag": Shared()})),
    "an offset": (
        model_of(),
        model_of(backbone(observed=(E0,)), {"E0": Shared()}, observation=Offset(Concentration("plasma", "V"), by="E0")),
    ),
    "a covariate": (model_of(), model_of(covariates={"V": [LEARNED]})),
    "its exponent": (model_of(covariates={"V": [WT]}), model_of(covariates={"V": [LEARNED]})),
    "a spread": (model_of(effects={"ka": Shared()}), model_of()),
    "a value and its spread": (model_of(effects={"ka": Fixed()}), model_of()),
    "a spread that was given": (model_of(learn_spread=False), model_of()),
    "a correlation": (model_of(), model_of(correlated=[("CL", "V")])),
    "an occasion's spread": (model_of(), model_of(occasions=Occasions({"CL": 0.2}, 2))),
    "a proportional part": (model_of(), model_of(noise=Combined1([0.7], [0.1], [0.01]))),
    "another": (model_of(), model_of(noise=Combined2([0.7], [0.1], [0.01]))),
    "noise that was held": (model_of(noise=frozen(Constant([0.5], [0.01]))), model_of()),
    "a population of another class": (
        of(backbone(), LogNormalPopulation(backbone(), spread={"ka": 0.6, "CL": 0.3, "V": 0.2}, learn_spread=True)),
        model_of(correlated=[("CL", "V")]),
    ),
    "everyone alike": (
        of(backbone(), SharedPopulation(backbone(), learned=True)),
        model_of(effects={"ka": Shared(), "CL": Shared()}),
    ),
}


@pytest.mark.parametrize("name", NESTED)
def test_a_model_with_some_numbers_held_lies_in_the_other(name: str) -> None:
    smaller, larger = (value(m, ofv) for m, ofv in zip(NESTED[name], (100.0, 96.0), strict=True))
    found = likelihood_ratio(smaller, larger)
    assert set(found.added) == set(larger.estimated) - set(smaller.estimated)


MORE = {"correlated": [("CL", "V")]}  # a number more, which names alone would take for the whole difference
OTHER = {
    "a covariate that is given": (model_of(), model_of(covariates={"V": [WT]}, **MORE), "the larger alone has WT on V"),
    "one that only the smaller has": (model_of(covariates={"V": [WT]}), model_of(**MORE), "the smaller alone has WT on V"),
    "another exponent": (
        model_of(covariates={"V": [PowerOf("WT", 70.0, 0.75, unit="kg")]}),
        model_of(covariates={"V": [WT]}, **MORE),
        "WT on V is held at 0.75 in the smaller and at 1 in the larger",
    ),
    "another covariate model": (
        model_of(covariates={"V": [LEARNED]}),
        model_of(covariates={"V": [ExponentialOf("WT", 70.0, 0.01, unit="kg", learn=True)]}, **MORE),
        "WT on V differs",
    ),
    "a lag that is held": (model_of(), model_of(backbone(0.1), {"Tlag": Fixed()}, **MORE), "the larger alone has lag of gut"),
    "another lag": (
        model_of(backbone(0.1), {"Tlag": Fixed()}),
        model_of(backbone(0.3), {"Tlag": Fixed()}, **MORE),
        "Tlag is held at 0.1 in the smaller and at 0.3 in the larger",
    ),
    "another law": (model_of(), model_of(effects={"V": LogitNormal(0.2)}, **MORE), "the law of V differs"),
    "another noise": (
        model_of(noise=Combined1([0.7], [0.1], [0.01])),
        model_of(noise=Combined2([0.7], [0.1], [0.01]), **MORE),
        "the noise head differs",
    ),
    "another floor": (model_of(), model_of(noise=Constant([0.7], [0.1]), **MORE), "the rest of the noise head differs"),
    "another start": (
        model_of(),
        of(ORAL, MixedPopulation(ORAL, SPREADS, **MORE)),
        "start differs",
    ),
    "another observation": (model_of(), model_of(observation=Concentration("gut", "V"), **MORE), "observation differs"),
    "an offset that is a number": (
        model_of(),
        model_of(observation=Offset(Concentration("plasma", "V"), by=0.3), **MORE),
        "the larger alone has the offset of concentration",
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_what_else_differs_is_said_and_no_p_is_given(name: str) -> None:
    small, large, said = OTHER[name]
    with pytest.raises(ValueError, match=f"does not lie in the larger: beside .*corr\\(CL,V\\), which .*{said}"):
        likelihood_ratio(value(small, 100.0), value(large, 96.0))


def test_what_is_taken_for_granted_of_a_new_parameter_is_said() -> None:
    smaller, larger = (value(m, ofv) for m, ofv in zip(NESTED["a lag"], (100.0, 96.0), strict=True))
    said = "takes Tlag for inside its range (0.001 to 2) in the smaller model, and 0, what it is there, lies at an end: write"
    assert said in likelihood_ratio(smaller, larger).sentence()
    assert "ends=('Tlag',)" in likelihood_ratio(smaller, larger).law
    ends = likelihood_ratio(smaller, larger, ends=("Tlag",))
    assert "for inside" not in ends.law
    held = [value(m, ofv) for m, ofv in zip(NESTED["a lag that was held"], (100.0, 96.0), strict=True)]
    assert likelihood_ratio(*held).law == "χ²(1)"
    # an offset that may be negative: 0, which a model without it has, is no end
    wide = model_of(
        backbone(observed=(Parameter("E0", "mg/L", 0.02, -5.0, 5.0, "chosen"),)), {"E0": Shared()},
        observation=Offset(Concentration("plasma", "V"), by="E0"),
    )
    assert likelihood_ratio(smaller, value(wide, 96.0)).law == "χ²(1)"
    with pytest.raises(ValueError, match=r"ends names E0, and .*, which has it at 0, lies inside its range, -5 to 5"):
        likelihood_ratio(smaller, value(wide, 96.0), ends=("E0",))
    narrow = [value(m, ofv) for m, ofv in zip(NESTED["an offset"], (100.0, 96.0), strict=True)]
    assert "E0 for inside its range (0.001 to 1) in the smaller model, and 0" in likelihood_ratio(*narrow).law
    assert likelihood_ratio(*narrow, ends=("E0",)).boundary == 1
    part = backbone(fraction={"gut": Parameter("F", "1", 0.7, 0.0, 1.0, "chosen")})
    assert "F for inside its range (0 to 1) in the smaller model, and 1" in likelihood_ratio(
        smaller, value(model_of(part, {"F": Shared()}), 96.0)
    ).law
    noise = [value(m, ofv) for m, ofv in zip(NESTED["noise that was held"], (100.0, 96.0), strict=True)]
    assert likelihood_ratio(*noise).law == "χ²(1)"  # it was held inside its range


def people(occasions: tuple[tuple[float, ...], ...]) -> list[Record]:
    rng = np.random.default_rng(4)
    found = []
    for i, begins in enumerate(occasions):
        times = [t + s for t in begins for s in (1.0, 4.0, 10.0)]
        doses = tuple(Dose("gut", t, 100.0) for t in begins)
        y = 2.0 * np.exp(-0.1 * (np.array(times) % 24.0)) * np.exp(0.3 * rng.standard_normal(len(times)))
        more = {"occasions": begins, "units": {"time": "h", "concentration": "mg/L"}}
        found.append(Record(str(i), Schedule(doses), times, y, "concentration", {"WT": 70.0}, **more))
    return found


def test_an_objective_says_what_it_took_for_granted() -> None:
    model = model_of(covariates={"V": [WT]})
    cohort = Cohort.of(people(((0.0,),) * 4), model)
    found = objective_value(model, cohort)
    assert found.taken.numbers == {"WT on V": (1.0,)}
    assert difference(found.taken, found.taken, ()) is None


def test_shrinkage_of_an_occasion_is_of_those_who_had_it() -> None:
    model = model_of(occasions=Occasions({"CL": 0.4}, 3))
    both = (0.0, 24.0)
    cohort = Cohort.of(people((both, (*both, 48.0), both, (*both, 48.0), (*both, 48.0))), model)
    personal = personalise(model, cohort)
    found = shrinkage(model, cohort, personal)
    for o in range(3):
        effect = found.effects.index(f"CL in occasion {o + 1}")
        who = [1, 3, 4] if o == 2 else [0, 1, 2, 3, 4]
        assert float(found.eta[0, effect]) == pytest.approx(1.0 - float(personal.mode[0, who, effect].std()), rel=1e-9)
    alone = shrinkage(model, cohort.people(torch.tensor([0, 1])), personal.people(torch.tensor([0, 1])))
    assert bool(torch.isnan(alone.eta[0, found.effects.index("CL in occasion 3")]))  # of one person there is no spread


def test_convergence_of_a_population_with_occasions_is_of_its_typical_values() -> None:
    """η and κ of a parameter say one thing twice: a typical value away from its end is that far away, whatever κ made up for."""
    model = model_of(occasions=Occasions({"CL": 0.2}, 2), noise=Combined1([0.05], [0.2], [0.01]))
    cohort = Cohort.of(people(((0.0, 24.0),) * 6), model)
    omega = model.population.between.omega
    for _ in range(4):  # Newton's steps
        found = convergence(model, personalise(model, cohort), cohort.ids)
        with torch.no_grad():
            model.population.shift += found.moves * omega
    people_there = personalise(model, cohort)
    assert found.names == ("ka", "CL", "V")
    # where the typical values have arrived the modes of the effects between people have the mean 0
    assert float(people_there.mode[..., :3].mean((0, 1)).abs().max()) < 0.02
    assert convergence(model, people_there, cohort.ids).converged
    with torch.no_grad():
        model.population.shift[0, 1] += 0.3
    off = convergence(model, personalise(model, cohort), cohort.ids)
    assert not off.converged
    # one step of Newton goes nearly back: log CL is all but linear here, and ka and V give way a little
    assert float(off.moves[0, 1] * omega[0, 1]) == pytest.approx(-0.3, rel=0.25)
    assert "the typical CL is" in off.sentences()[0]
    assert "too high" in off.sentences()[0]


def test_two_numbers_of_one_name_are_refused() -> None:
    names = ["CL", "V"]
    noise = Correlated(Combined2([3.0, 2.0], [0.1, 0.2], [0.01, 0.01]))
    model = model_of(noise=noise, observation=States([0, 1], names, ["mg", "mg"]), correlated=[("CL", "V")])
    with pytest.raises(ValueError, match=r"two parts of this model have a number called corr\(CL,V\), the later one Correlated"):
        estimates(model)


def test_other_doses_are_other_data() -> None:
    """The same people with the same values, and one of them was given a tenth more."""
    model = model_of()
    times, values = np.array([1.0, 4.0, 12.0]), np.array([7.0, 6.0, 2.0])

    def cohort(doses: tuple[float, ...]) -> Cohort:
        given = [Schedule((Dose("gut", 0.0, amount),)) for amount in doses]
        return Cohort.of([Record(str(i), s, times, values, "concentration") for i, s in enumerate(given)], model)

    one, same, other = (objective_value(model, cohort(d)) for d in ((320.0, 320.0), (320.0, 320.0), (320.0, 352.0)))
    assert one.data == same.data
    with pytest.raises(ValueError, match="different data"):
        likelihood_ratio(one, replace(other, estimated=(*other.estimated, "more")))
