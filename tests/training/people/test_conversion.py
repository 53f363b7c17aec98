"""A table in other units is the same table: times, doses, inputs, values and covariates are converted at the door, or refused."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange import Bundle, Person, load, save
from homeostat.study import unstated
from homeostat.study.backbones import backbone_named
from homeostat.study.recipe import hybrid_recipe, neural_ode_recipe
from hybrid import Concentration, Dose, HybridModel, Mesh, RungeKutta, Schedule, Signal, States, rollout
from learned import MLP, AdditiveProportional, Constant
from physics import LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from training import Cohort, Record, prior, read_nonmem
from training.people.conversion import as_shown, converted

F64 = torch.float64
UNITS = {"time": "h", "dose": "mg", "concentration": "mg/L", "WT": "kg"}
# how many of the model's unit each is, written here by hand
TIME = {"h": 1.0, "min": 1.0 / 60.0, "d": 24.0, "s": 1.0 / 3600.0}
MASS = {"mg": 1.0, "g": 1e3, "ug": 1e-3, "kg": 1e6}
LEVEL = {"mg/L": 1.0, "ug/mL": 1.0, "ng/mL": 1e-3, "g/L": 1e3, "mg/dL": 10.0}
WEIGHT = {"kg": 1.0, "g": 1e-3, "[lb_av]": 0.45359237}
WEIGHT_IN_GRAMS = """ID,TIME,AMT,DV,EVID,CMT,WT
1,0,320,.,1,1,70000
1,2,.,8,0,2,70000
1,8,.,5,0,2,70000
2,0,320,.,1,1,80000
2,2,.,7,0,2,80000
2,8,.,4,0,2,80000
"""


def oral(unit: str | None = "kg") -> HybridModel:
    backbone = OneCompartmentOral()
    weight = (70.0, 1.0) if unit is None else (70.0, 1.0, unit)
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone, {"ka": 0.5, "ke": 0.3, "V": 0.3}, {"V": {"WT": weight}}),
        MLP(hidden=(6,), separable=True, state_scale=300.0, rate_scale=0.1),
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([0.3], [0.1], [0.05]),
        covariates={"WT": (70.0, 20.0) if unit is None else (70.0, 20.0, unit)},
    )


def person(name: str = "a", wt: float = 82.0, start: float = -1.5, units: Mapping[str, str] = UNITS) -> Record:
    """A baseline, a tablet, an infusion that is late, and what was then measured."""
    doses = (Dose("gut", 0.0, 300.0), Dose("plasma", 3.25, 90.0, duration=1.5, lag=0.25), Dose("gut", 7.0, 150.0))
    times = np.array([-1.0, 0.5, 2.0, 5.0, 7.0, 11.5])
    values = np.array([0.4, 5.0, 7.5, 6.0, np.nan, 4.0])[:, None]
    return Record(name, Schedule(doses, start=start), times, values, ("concentration",), {"WT": wt, "AGE": 40.0}, units)


def restated(record: Record, time: str, dose: str, level: str, weight: str) -> Record:
    """The same person as a table in these units would have them."""
    t = TIME[time]
    doses = [
        Dose(d.state, float(d.time) / t, float(d.amount) / MASS[dose], float(d.duration) / t, float(d.lag) / t)
        for d in record.schedule.doses
    ]
    return Record(
        record.id,
        Schedule(tuple(doses), start=record.schedule.start / t),
        record.times / t,
        record.values / LEVEL[level],
        record.channels,
        {**record.covariates, "WT": record.covariates["WT"] / WEIGHT[weight]},
        {"time": time, "dose": dose, "concentration": level, "WT": weight},
    )


@settings(deadline=None, max_examples=8, derandomize=True)
@given(st.sampled_from(list(TIME)), st.sampled_from(list(MASS)), st.sampled_from(list(LEVEL)), st.sampled_from(list(WEIGHT)))
def test_converting_a_table_changes_no_prediction(time: str, dose: str, level: str, weight: str) -> None:
    model, mesh, solver = oral(), Mesh(0.5), RungeKutta("rk4")
    people = [person("a"), person("b", 61.0, -2.0)]
    eta = torch.randn(1, 2, model.personal, generator=torch.Generator().manual_seed(4), dtype=F64)
    want = Cohort.of(people, model, mesh)
    have = Cohort.of([restated(p, time, dose, level, weight) for p in people], model, mesh)
    torch.testing.assert_close(have.times, want.times, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(have.y, want.y, rtol=1e-13, atol=0.0, equal_nan=True)
    torch.testing.assert_close(have.conditions.baseline, want.conditions.baseline, rtol=1e-13, atol=0.0)
    runs = [rollout(model, cohort.conditions, eta, solver) for cohort in (want, have)]
    for name in ("theta", "context", "states", "mean", "variance"):
        torch.testing.assert_close(getattr(runs[1], name), getattr(runs[0], name), rtol=1e-12, atol=1e-12)
    # what is asked for later is in the model's unit
    assert torch.equal(have.until(5.1).mask, want.until(5.1).mask)
    assert have.records[0].units == {"time": "h", "dose": "mg", "concentration": "mg/L", "WT": "kg"}
    again = converted(have.records[0], model)
    assert again is have.records[0]


@pytest.mark.parametrize(("unit", "V"), [("g", [31.5, 36.0]), ("kg", None)])
def test_weight_in_grams(tmp_path: Path, unit: str, V: list[float] | None) -> None:
    (tmp_path / "weights.csv").write_text(WEIGHT_IN_GRAMS)
    records = read_nonmem(tmp_path / "weights.csv", units={"TIME": "h", "AMT": "mg", "DV": "mg/L", "WT": unit})
    model = hybrid_recipe(OneCompartmentOral(), records).model
    assert model.uses == {"WT": "kg"}
    model = oral(unit="kg")
    cohort = Cohort.of(records, model)
    theta = model.theta(prior(model, 2).mode, cohort.conditions.covariates)[0, :, 2].tolist()
    if V is None:  # 70,000 kg is what the table says then
        assert min(theta) > 1900.0
    else:
        assert theta == pytest.approx(V, rel=1e-3)  # to the bend of the box
    model = oral(unit=None)
    with pytest.raises(ValueError, match=rf'record 1: the covariate WT is in {unit}.*"WT": \(70.0, 1.0, "{unit}"\)'):
        Cohort.of(records, model)
    bare = read_nonmem(tmp_path / "weights.csv", units={"TIME": "h", "AMT": "mg", "DV": "mg/L"})
    assert Cohort.of(bare, model).conditions.covariates["WT"].tolist() == [7e4, 8e4]
    (sentence,) = unstated(bare, oral())
    assert sentence.startswith("WT is taken to be in kg, since the table states no unit for it")
    assert unstated(records, oral()) == []


def test_a_recipe_does_not_depend_on_the_units_of_the_table() -> None:
    people = [person("a"), person("b", 61.0, -2.0), person("c", 75.0)]
    other = [restated(p, "min", "g", "ng/mL", "[lb_av]") for p in people]
    backbone = backbone_named("OneCompartmentOral")
    mine, theirs = hybrid_recipe(backbone, people).model, hybrid_recipe(backbone, other).model
    assert theirs.residual.config() == mine.residual.config()
    for key, values in mine.noise.config().items():
        assert theirs.noise.config()[key] == pytest.approx(values, rel=1e-12)
    swallowed = [replace(p, schedule=p.schedule.do({"plasma": []})) for p in (*other, *people)]
    other, people = swallowed[:3], swallowed[3:]
    free = neural_ode_recipe(backbone, other).model  # measures what the table measures, in its unit
    assert free.observation.units == ("ng/mL",)
    assert free.uses == {"WT": "[lb_av]"}
    assert Cohort.of(other, free).y[0, 2, 0].item() == 7500.0
    assert Cohort.of(people, free).y[0, 2, 0].item() == 7500.0


def test_inputs_have_units() -> None:
    backbone = LinearBackbone(
        [[-0.1, 0.0], [0.05, -0.2]],
        [[1.0, 0.0], [0.0, 0.01]],
        states=("plasma", "remote"),
        inputs=("feed", "glucose"),
        state_units=("mmol", "1"),
        input_units=("mmol/min", "mmol/L"),
        time_unit="min",
    )
    model = HybridModel(backbone, SharedPopulation(), observation=States(("plasma",)), noise=Constant([1.0], [0.1]))
    inputs = {"feed": Signal((0.0, 60.0), (2.0, 1.0), "held"), "glucose": Signal((0.0, 30.0, 90.0), (5.0, 9.0, 6.0))}
    plain = Record("a", Schedule(inputs=inputs), np.array([0.0, 45.0, 90.0]), np.array([[1.0], [2.0], [3.0]]), ("plasma",))
    in_hours = {
        "feed": Signal((0.0, 1.0), (120.0, 60.0), "held"),
        "glucose": Signal((0.0, 0.5, 1.5), (5000.0, 9000.0, 6000.0)),
    }
    units = {"time": "h", "plasma": "mol", "feed": "mmol/h", "glucose": "umol/L"}
    stated = Record("a", Schedule(inputs=in_hours), np.array([0.0, 0.75, 1.5]), plain.values / 1e3, ("plasma",), units=units)
    found = converted(stated, model)
    assert found.schedule == plain.schedule
    np.testing.assert_array_equal(found.times, plain.times)
    np.testing.assert_allclose(found.values, plain.values, rtol=1e-15)
    assert found.units == {"time": "min", "plasma": "mmol", "feed": "mmol/min", "glucose": "mmol/L"}
    with pytest.raises(ValueError, match="record a: the input glucose is in mg/dL and mmol/L is needed: moles become grams"):
        converted(replace(stated, units={**units, "glucose": "mg/dL"}), model)


def test_doses_into_compartments_of_several_units() -> None:
    backbone = LinearBackbone(
        [[-1.0, 0.0], [0.0, -1.0]], states=("drug", "antidote"), state_units=("mg", "ug"), time_unit="h"
    )
    model = HybridModel(backbone, SharedPopulation(), observation=States(("drug",)), noise=Constant([1.0], [0.1]))
    doses = (Dose("drug", 0.0, 0.5), Dose("antidote", 1.0, 0.25))
    one = Record("a", Schedule(doses), np.array([2.0]), np.array([[1.0]]), ("drug",), units={"dose": "g"})
    found = converted(one, model)
    assert [d.amount for d in found.schedule.doses] == [500.0, 250_000.0]
    assert found.units == {}  # no one code says it any more
    assert converted(found, model) is found


def test_channels_are_put_in_the_order_of_the_model() -> None:
    backbone = OneCompartmentOral()
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone, {"ka": 0.5, "ke": 0.3, "V": 0.3}),
        observation=States(("gut", "plasma")),
        noise=Constant([1.0, 1.0], [0.1, 0.1]),
    )
    values = np.array([[3.0, 1.0], [np.nan, 0.002]])
    one = Record("a", Schedule(), np.array([1.0, 2.0]), values, ("plasma", "gut"), units={"gut": "g", "plasma": "mg"})
    found = converted(one, model)
    np.testing.assert_array_equal(found.values, [[1000.0, 3.0], [2.0, np.nan]])
    assert found.channels == ("gut", "plasma")
    with pytest.raises(ValueError, match="name the channels alike"):
        converted(replace(one, channels=("plasma", "stomach"), units={}), model)


def test_a_dose_just_before_an_observation_stays_before_it() -> None:
    model = oral()
    for time in np.arange(61.0, 400.0, 7.3):
        before = float(np.nextafter(time, -np.inf))
        schedule = Schedule((Dose("gut", before, 300.0),), start=0.0)
        one = Record("a", schedule, np.array([time, time + 60.0]), np.array([[1.0], [2.0]]), ("concentration",), {"WT": 70.0})
        found = converted(replace(one, units={"time": "min"}), model)
        dose = float(found.schedule.doses[0].time)
        assert dose < found.times[0]
        assert dose == pytest.approx(time / 60.0, rel=1e-14)


def test_gradients_pass_the_door() -> None:
    amount, when, lag = (torch.tensor(v, dtype=F64, requires_grad=True) for v in (0.3, 30.0, 6.0))
    schedule = Schedule((Dose("gut", when, amount, lag=lag),))
    units = {"time": "min", "dose": "g"}
    one = Record("a", schedule, np.array([120.0]), np.array([[5.0]]), ("concentration",), {"WT": 70.0}, units)
    model = oral()
    cohort = Cohort.of([one], model, Mesh(0.1))
    run = rollout(model, cohort.conditions, prior(model, 1).mode, RungeKutta("rk4"))
    got = torch.autograd.grad(run.mean.sum(), (amount, when, lag))
    assert got[0].item() == pytest.approx(run.mean.item() / 0.3, rel=0.05)  # nearly linear in the dose
    assert got[1].item() == pytest.approx(got[2].item(), rel=1e-12)
    assert got[1].item() != 0.0


def test_a_picture_shows_the_data_in_the_units_of_the_forecast() -> None:
    one = restated(person(), "min", "g", "ng/mL", "kg")
    shown = as_shown(one, {"concentration": "mg/L"}, "h")
    np.testing.assert_allclose(shown.values, person().values, rtol=1e-14)
    np.testing.assert_allclose(shown.times, person().times, rtol=1e-14)
    assert float(shown.schedule.doses[2].time) == pytest.approx(7.0, rel=1e-14)
    plain = person()
    assert as_shown(plain, {"concentration": "mg/L"}) is plain


def test_a_bundle_is_refused_where_its_units_are_not_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = oral()
    cohort = Cohort.of([restated(person(), "min", "g", "ng/mL", "[lb_av]")], model, Mesh(0.5))
    who = cohort.records[0]
    people = (Person(who.id, who.schedule, who.covariates, tuple(cohort.conditions.baseline[0].tolist())),)
    path = save(Bundle(model, people, prior(model, 1), Mesh(0.5)), tmp_path / "a.twin")
    assert load(path).people[0].covariates["WT"] == pytest.approx(82.0, rel=1e-15)
    assert load(path).model.uses == {"WT": "kg"}

    built = OneCompartmentOral.__init__

    def in_grams(self: OneCompartmentOral, *args: Any, **options: Any) -> None:  # a later program's backbone
        built(self, *args, **options)
        self.state_units = ("g", "g")

    monkeypatch.setattr(OneCompartmentOral, "__init__", in_grams)
    with pytest.raises(ValueError, match=r"saved with the states in \{'gut': 'mg'"):
        load(path)
