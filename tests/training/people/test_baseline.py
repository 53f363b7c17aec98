"""What is measured at or before the first dose: where a person starts from, and what may still be scored."""

import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from exchange import Bundle, Person, load, save
from homeostat.gallery import baseline_notes
from hybrid import (
    Concentration,
    Dose,
    Exponential,
    HybridModel,
    Mesh,
    Schedule,
    Signal,
    States,
    conditions_of,
    predict,
    rollout,
    simulate,
)
from learned import AdditiveProportional
from physics import Backbone, LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from physics.parameter import Parameter
from physics.van_cauter import VanCauter, VanCauterPopulation
from tests.builders import BACKBONE_BUILDERS
from training import Cohort, Record, Search, fit, personalise, shoot

NAN = math.nan
MESH = Mesh(0.65, 0.2, 0.5)


def oral() -> HybridModel:
    backbone = OneCompartmentOral()
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.4, 0.2, 0.2]),
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.3], [0.1], [0.05]),
    )


def linear(channels: int = 1) -> HybridModel:
    names = ("response", "marker")[:channels]
    return HybridModel(
        LinearBackbone([[-0.1, 0.0], [0.05, -0.2]], states=("response", "marker")),
        SharedPopulation(),
        observation=States(range(channels), names, ["1"] * channels),
        noise=AdditiveProportional([0.3] * channels, [0.1] * channels, [0.05] * channels),
    )


class Resting(Backbone):
    """A drug, and an effect whose resting value `rest` is a parameter: dE/dt = −k (E − rest) in the deviation E − rest."""

    def __init__(self) -> None:
        super().__init__()
        self.states, self.state_units, self.inputs, self.input_units = ("drug", "effect"), ("mg", "1"), (), ()
        self.physical = (Parameter("k", "/h", 0.2, 0.05, 1.0, "made up"), Parameter("rest", "1", 5.0, 1.0, 20.0, "made up"))
        self.time_unit = "h"

    def matrices(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        k, zero = theta[..., 0], torch.zeros_like(theta[..., 0])
        A = torch.stack([torch.stack([-k, zero], -1), torch.stack([k, -k], -1)], -2)
        return A, theta.new_zeros(*theta.shape[:-1], 2, 0)

    def hull(self, lower: Tensor, upper: Tensor) -> Tensor:
        raise NotImplementedError

    def initial(self, theta: Tensor, baseline: Tensor) -> Tensor:
        drug = torch.where(torch.isnan(baseline[..., 0]), 0.0, baseline[..., 0]) + torch.zeros_like(theta[..., 0])
        return torch.stack([drug, theta[..., 1].expand(drug.shape)], -1)

    def config(self) -> dict[str, Any]:
        return {}


def resting() -> HybridModel:
    backbone = Resting()
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.3, 0.3]),
        observation=States([0, 1], ["drug", "effect"], ["mg", "1"]),
        noise=AdditiveProportional([0.3, 0.3], [0.1, 0.1], [0.05, 0.05]),
    )


def person(
    name: str,
    values: Sequence[Sequence[float]],
    times: Sequence[float],
    channels: Sequence[str] = ("concentration",),
    dose: str = "gut",
) -> Record:
    schedule = Schedule((Dose(dose, 0.0, 100.0),), start=min(0.0, *times))
    return Record(name, schedule, np.array(times), np.array(values), tuple(channels))


# ---- which values set the start --------------------------------------------------------------------------------------


def test_each_backbone_is_asked_which_channels_set_its_start() -> None:
    assert oral().starts_from == (True,)
    assert linear(2).starts_from == (False, False)
    assert resting().starts_from == (True, False)
    assert oral().to(torch.float32).starts_from == (True,)


def test_values_that_set_no_start_are_scored_and_the_others_counted() -> None:
    """The drug before the dose is where the drug starts from; the effect before it says what the resting value is."""
    values = [[0.1, 4.0], [0.2, 4.5], [9.0, NAN], [5.0, 6.0]]
    one = person("a", values, (-1.0, 0.0, 1.0, 4.0), ("drug", "effect"), "drug")
    cohort = Cohort.of([one], resting(), MESH)
    np.testing.assert_array_equal(cohort.y[0], [[NAN, 4.0], [NAN, 4.5], [9.0, NAN], [5.0, 6.0]])
    assert cohort.unscored == (2,)
    assert baseline_notes(cohort) == ["2 values at or before the first dose are the baseline and are not scored."]
    # they move the person: a resting value of 20 is learned from the two values before the dose
    high = Cohort.of([replace(one, values=np.where([[False, True]] * 4, 20.0, one.values))], resting(), MESH).until(0.0)
    assert int(high.mask.sum()) == 2
    model = resting()
    modes = [personalise(model, c).mode for c in (cohort.until(0.0), high)]
    rest = [float(model.theta(mode, {}).detach()[0, 0, 1]) for mode in modes]
    assert rest[0] < 5.0 < rest[1]


def test_one_value_is_said_as_one_and_none_is_not_said() -> None:
    undosed = Record("u", Schedule(start=3.0), np.array([3.0, 5.0]), np.array([[7.0], [8.0]]), ("concentration",))
    assert baseline_notes(Cohort.of([undosed], oral(), MESH)) == [
        "1 value at or before the start is the baseline and is not scored."
    ]
    no_value = replace(undosed, times=np.array([4.0, 5.0]))
    assert baseline_notes(Cohort.of([no_value], oral(), MESH)) == []
    both = Cohort.of([undosed, replace(undosed, id="v")], oral(), MESH)
    assert both.people(torch.tensor([1])).unscored == (1,)
    assert both.until(1.0).unscored == both.to(torch.float32).unscored == (1, 1)


def test_a_start_at_the_origin_is_scored_from_the_first_value_on() -> None:
    """LinearBackbone starts at 0 whatever was measured, and so is judged by what was measured then."""
    one = Record("u", Schedule(start=3.0), np.array([3.0, 5.0]), np.array([[7.0], [8.0]]), ("response",))
    cohort = Cohort.of([one], linear(), MESH)
    assert cohort.y[0, :, 0].tolist() == [7.0, 8.0]
    assert cohort.unscored == (0,)


def test_the_last_value_is_the_state_of_its_own_time() -> None:
    """A residue of 3 mg/L at the dose is 3 mg/L at the dose, whatever was measured, or noted, half a day before."""
    model = oral()
    plain = person("a", [[3.0], [6.0], [4.0]], (0.0, 1.0, 6.0))
    earlier = person("b", [[8.0], [3.0], [6.0], [4.0]], (-12.0, 0.0, 1.0, 6.0))
    noted = replace(plain, id="c", schedule=replace(plain.schedule, start=-24.0))
    cohort = Cohort.of([plain, earlier, noted], model, MESH)
    assert cohort.unscored == (1, 2, 1)
    assert [r.schedule.start for r in cohort.records] == [0.0, 0.0, 0.0]
    run = rollout(model, cohort.conditions, torch.zeros(1, 3, 3, dtype=torch.float64))
    torch.testing.assert_close(run.mean[:, :, 0], torch.full((1, 3, 1), 3.0, dtype=torch.float64))
    torch.testing.assert_close(run.mean[:, 1:], run.mean[:, :1].expand(-1, 2, -1, -1), rtol=1e-12, atol=1e-12)
    # an hour before the dose it is still to decay
    early = Cohort.of([person("d", [[8.0], [3.0], [6.0]], (-12.0, -1.0, 1.0))], model, MESH)
    assert early.times.tolist() == [[-1.0, 1.0]]
    # each channel keeps the last value of its own
    backbone = Resting()
    backbone.initial = lambda theta, baseline: baseline + torch.zeros_like(theta[..., :1])  # type: ignore[method-assign]
    parts = resting()
    two = HybridModel(backbone, parts.population, observation=parts.observation, noise=parts.noise)
    apart = person("f", [[2.0, NAN], [NAN, 5.0], [9.0, 6.0]], (-5.0, -1.0, 1.0), ("drug", "effect"), "drug")
    joint = Cohort.of([apart], two, MESH)
    assert joint.conditions.baseline.tolist() == [[2.0, 5.0]]
    assert joint.times.tolist() == [[-1.0, 1.0]]
    # what is scored is never cut away
    both = person("e", [[0.1, 4.0], [0.2, 4.5], [9.0, 6.0]], (-1.0, 0.0, 1.0), ("drug", "effect"), "drug")
    assert Cohort.of([both], resting(), MESH).times.tolist() == [[-1.0, 0.0, 1.0]]


# ---- no value at all -------------------------------------------------------------------------------------------------


def test_without_a_value_the_compartments_are_empty_and_nothing_is_nan() -> None:
    model = oral()
    known = person("a", [[0.0], [3.0], [1.0]], (0.0, 1.0, 6.0))
    unknown = person("b", [[3.0], [1.0]], (1.0, 6.0))
    assert np.isnan(unknown.baseline).all()
    cohort = Cohort.of([known, unknown], model, MESH)
    assert cohort.conditions.baseline[:, 0].isnan().tolist() == [False, True]
    run = rollout(model, cohort.conditions, torch.zeros(1, 2, 3, dtype=torch.float64))
    torch.testing.assert_close(run.mean[:, 0, 1:], run.mean[:, 1, :2], rtol=1e-12, atol=1e-12)  # a measured 0 says the same
    for loss in (
        next(iter(fit(model, cohort, search=Search(steps=1)))).loss,
        next(iter(shoot(model, cohort, search=Search(steps=1), count=2, rounds=1, polish=0))).loss,
        personalise(model, cohort).objective,
    ):
        assert torch.isfinite(loss).all()
    gradient = torch.autograd.grad(
        model.initial(theta := torch.ones(1, 2, 3, dtype=torch.float64, requires_grad=True), cohort.conditions.baseline).sum(),
        theta,
    )[0]
    assert torch.isfinite(gradient).all()


def test_conditions_without_a_baseline_say_that_nothing_was_measured() -> None:
    model = oral()
    schedule = Schedule((Dose("gut", 0.0, 320.0),))
    given = conditions_of(model, [schedule], [[0.0, 2.0]], mesh=MESH)
    assert given.baseline.isnan().all()
    run = rollout(model, given, torch.zeros(1, 1, 3, dtype=torch.float64), Exponential())
    theta = model.theta(torch.zeros(1, 1, 3, dtype=torch.float64), {})[0, 0]
    exact = simulate(model, schedule, [0.0, 2.0], theta, torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(run.states[0, 0], exact, rtol=1e-9, atol=1e-9)


def glucose(start: float = 0.0) -> Schedule:
    return Schedule(
        inputs={"basal": Signal((start,), (0.4,)), "glucose": Signal((start, start + 60.0), (5.0, 9.0))}, start=start
    )


def cpeptide() -> HybridModel:
    return HybridModel(
        VanCauter(),
        VanCauterPopulation(),
        observation=States([0], ["C-peptide"], ["nmol/L"]),
        noise=AdditiveProportional([0.2], [0.02], [0.02]),
    )


def test_who_cannot_start_without_a_value_is_refused_by_name() -> None:
    known = Record(
        "a", glucose(), np.array([0.0, 30.0]), np.array([[0.4], [1.0]]), ("C-peptide",), {"age": 50.0, "type2": 0.0}
    )
    late = replace(known, id="b", times=np.array([15.0, 30.0]))
    Cohort.of([known], cpeptide())
    with pytest.raises(ValueError, match="record b: VanCauter starts from the measured plasma C-peptide"):
        Cohort.of([known, late], cpeptide())
    given = {"age": [50.0, 60.0], "type2": [0.0, 0.0]}
    conditions = conditions_of(cpeptide(), [glucose()] * 2, [[0.0, 9.0]] * 2, covariates=given, mesh=Mesh(1.0))
    with pytest.raises(ValueError, match="2 of 2 people have no value of it"):
        rollout(cpeptide(), conditions, torch.zeros(1, 2, 0, dtype=torch.float64))


@pytest.mark.parametrize("name", BACKBONE_BUILDERS)
def test_every_backbone_starts_or_refuses_without_a_value(name: str) -> None:
    """No start is NaN: `initial` gives numbers, or a sentence."""
    backbone = BACKBONE_BUILDERS[name]()
    typical = torch.tensor([p.typical for p in backbone.physical], dtype=torch.float64)
    nothing = torch.tensor([NAN], dtype=torch.float64)
    if isinstance(backbone, VanCauter):
        with pytest.raises(ValueError, match="1 of 1 people have no value of it"):
            backbone.initial(typical, nothing)
    else:
        assert torch.isfinite(backbone.initial(typical, nothing)).all()


# ---- what travels ----------------------------------------------------------------------------------------------------


def test_a_bundle_keeps_that_nothing_was_measured(tmp_path: Path) -> None:
    model = oral()
    records = [
        person("a", [[0.5], [3.0], [1.0]], (0.0, 1.0, 6.0)),
        person("b", [[3.0], [1.0]], (1.0, 6.0)),
    ]
    cohort = Cohort.of(records, model, MESH)
    baseline = cohort.conditions.baseline.tolist()
    who = tuple(Person(r.id, r.schedule, {}, tuple(b)) for r, b in zip(cohort.records, baseline, strict=True))
    bundle = Bundle(model, who, personalise(model, cohort), MESH)
    path = save(bundle, tmp_path / "model.twin")
    again = load(path)
    assert again.people[0].baseline == (0.5,)
    assert math.isnan(again.people[1].baseline[0])
    times = [[0.0, 2.0, 9.0]] * 2
    grid, mask = torch.tensor(times, dtype=torch.float64), torch.ones(2, 3, dtype=torch.bool)
    first, second = (
        predict(b.model, b.conditions(times), b.personal.mode[:, None], times=grid, mask=mask) for b in (bundle, again)
    )
    assert torch.equal(first.mean, second.mean)
    assert path.read_bytes() == save(again, tmp_path / "again.twin").read_bytes()
    with zipfile.ZipFile(path) as archive:
        stored = json.loads(archive.read("model.json"), parse_constant=pytest.fail)
    assert [p["baseline"] for p in stored["people"]] == [[0.5], [None]]


# ---- covariates ------------------------------------------------------------------------------------------------------


def test_a_covariate_that_nothing_reads_is_nobodys_hindrance() -> None:
    backbone = OneCompartmentOral()
    weighed = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.4, 0.2, 0.2], {"V": {"WT": (70.0, 1.0)}}),
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.3], [0.1], [0.05]),
    )
    one = person("a", [[3.0], [1.0]], (1.0, 6.0))
    group = [replace(one, covariates={"WT": 70.0, "AGE": 30.0}), replace(one, id="b", covariates={"WT": 80.0, "HT": 1.8})]
    assert set(Cohort.of(group, weighed).conditions.covariates) == {"WT"}
    assert set(Cohort.of(group, oral()).conditions.covariates) == {"WT"}
    lacking = [group[0], replace(one, id="b", covariates={"AGE": 30.0})]
    assert set(Cohort.of(lacking, oral()).conditions.covariates) == {"AGE"}
    with pytest.raises(ValueError, match=r"record b lacks the covariates \['WT'\], which the model reads"):
        Cohort.of(lacking, weighed)
