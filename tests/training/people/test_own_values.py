"""A measurement at the very time of a change: of which occasion it is, and with which covariate it is read, by closed forms."""

import io
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from hybrid import Concentration, Dose, HybridModel, Schedule, rollout
from learned import Constant
from physics import Administered, Backbone, MixedPopulation, Occasions, OneCompartmentOral, Parameter, PowerOf, Shared
from training import Cohort, Record, personalise, read_nonmem
from training.diagnostics import residuals, simulated_cohorts

D = torch.float64
NAN = math.nan
UNITS = {"TIME": "h", "AMT": "mg", "DV": "mg/L", "WT": "kg"}
CL, V, DOSE = 3.0, 30.0, 100.0
GIVEN = Schedule((Dose("c", 0.0, DOSE), Dose("c", 12.0, DOSE)))


class Vein(Backbone):
    """x' = −CL/V x, from nothing."""

    states = ("c",)
    state_units = ("mg",)
    inputs = ()
    input_units = ()
    time_unit = "h"
    physical = (Parameter("CL", "L/h", CL, 0.03, 300.0), Parameter("V", "L", V, 0.3, 3000.0))

    def matrices(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return -(theta[..., 0] / theta[..., 1])[..., None, None], theta.new_zeros(*theta.shape[:-1], 1, 0)

    def hull(self, lower: Tensor, upper: Tensor) -> Tensor:
        return -(lower[0] / upper[1])[None, None, None]

    def initial(self, theta: Tensor, baseline: Tensor) -> Tensor:
        return theta.new_zeros(*torch.broadcast_shapes(theta.shape[:-1], baseline.shape[:-1]), 1)

    def config(self) -> dict[str, object]:
        return {}


def model_of(by: str = "occasion") -> HybridModel:
    """V differs between two occasions, by .5 κ in its logarithm, or is proportional to the weight."""
    backbone = Administered(Vein(), start="empty")
    heavy = {"covariates": {"V": [PowerOf("WT", 70.0, 1.0, unit="kg")]}}
    more = {"occasions": Occasions({"V": 0.5}, 2)} if by == "occasion" else heavy
    population = MixedPopulation(backbone, {"CL": Shared(), "V": Shared()}, **more)  # type: ignore[arg-type]
    return HybridModel(backbone, population, observation=Concentration("c", "V"), noise=Constant([0.05], [0.01]))


KAPPA = torch.tensor([[[0.0, 1.0]]], dtype=D)  # the second occasion's volume is e^½ times the first one's
NOTHING = torch.zeros(1, 1, 0, dtype=D)
BIG = V * math.exp(0.5)
LEFT = DOSE * math.exp(-CL / V * 12.0)  # what is there at 12 h, before the dose


def people(rows: str, head: str = "ID,TIME,AMT,DV,EVID,CMT,OCC", **given: object) -> list[Record]:
    frame = pd.read_csv(io.StringIO(head + "\n" + rows), dtype=str, keep_default_na=False)
    known = {"units": {k: v for k, v in UNITS.items() if k in head.split(",")}, "channels": {1: "concentration"}}
    return read_nonmem(frame, compartments={1: "c"}, **{**known, **given})  # type: ignore[arg-type]


def mean(model: HybridModel, records: list[Record], personal: Tensor) -> list[float]:
    cohort = Cohort.of(records, model)
    return rollout(model, cohort.conditions, personal.expand(1, len(records), -1)).mean[0, 0, :, 0].detach().tolist()


# the box's bend moves a typical value by 1e-6 of itself, and the exponential solver is right to the same
WITHIN = 1e-5


@pytest.mark.parametrize(("own", "volume"), [(1, V), (2, BIG)])
def test_a_trough_is_read_with_the_occasion_of_its_own_row(own: int, volume: float) -> None:
    """The standard design: drawn just before the dose that opens the second occasion."""
    rows = f"1,0,100,.,1,1,1\n1,6,.,1.8,0,1,1\n1,12,.,1,0,1,{own}\n1,12,100,.,1,1,2\n1,13,.,4,0,1,2"
    (record,) = people(rows)
    assert record.occasions == (0.0, 12.0)
    found = mean(model_of(), [record], KAPPA)
    after = (LEFT + DOSE) * math.exp(-CL / BIG) / BIG
    np.testing.assert_allclose(found, [DOSE * math.exp(-0.6) / V, LEFT / volume, after], rtol=WITHIN)


@pytest.mark.parametrize(("said", "volume"), [({}, V), ({"occasion": [NAN, 1.0, NAN]}, V), ({"occasion": [NAN, 2.0, NAN]}, BIG)])
def test_a_record_says_it_and_by_default_an_observation_comes_first(said: dict[str, list[float]], volume: float) -> None:
    record = Record("a", GIVEN, [6.0, 12.0, 13.0], np.ones(3), "concentration", occasions=(0.0, 12.0), read_with=said)
    assert mean(model_of(), [record], KAPPA)[1] == pytest.approx(LEFT / volume, rel=WITHIN)
    # on another clock it is the same person
    later = Schedule(tuple(Dose("c", d.time + 100.7, d.amount) for d in GIVEN.doses), start=100.7)
    moved = Record("a", later, [106.7, 112.7, 113.7], np.ones(3), "concentration", occasions=(100.7, 112.7), read_with=said)
    assert mean(model_of(), [moved], KAPPA)[1] == pytest.approx(LEFT / volume, rel=WITHIN)


def test_a_value_behind_the_dose_of_its_time_is_of_the_dose_and_its_occasion() -> None:
    rows = "1,0,100,.,1,1,1\n1,6,.,1.8,0,1,1\n1,12,.,1,0,1,1\n1,12,100,.,1,1,2\n1,12,.,4,0,1,2\n1,13,.,4,0,1,2"
    found = mean(model_of(), people(rows), KAPPA)
    np.testing.assert_allclose(found[1:3], [LEFT / V, (LEFT + DOSE) / BIG], rtol=WITHIN)


def test_channels_of_one_time_stay_in_one_row_but_for_a_dose_between() -> None:
    """What is correlated stands in one row; what was drawn behind the dose that opens an occasion is of that occasion."""
    head = "ID,TIME,AMT,DV,EVID,CMT,DVID,OCC"
    rows = ("1,0,100,.,1,1,.,1\n1,6,.,1.8,0,.,1,1\n1,6,.,8,0,.,2,1\n1,12,.,1,0,.,1,1\n1,12,.,7,0,.,2,1\n"
            "1,12,100,.,1,1,.,2\n1,12,.,6,0,.,2,2\n1,13,.,4,0,.,1,2")
    units = {"TIME": "h", "AMT": "mg", "DV": "mg/L", "effect": "1"}
    (record,) = people(rows, head, units=units, channels={1: "concentration", 2: "effect"}, order="observation-first")
    assert record.times.tolist() == [6.0, 12.0, 12.0, 13.0]
    np.testing.assert_array_equal(record.values, [[1.8, 8.0], [1.0, 7.0], [NAN, 6.0], [4.0, NAN]])
    np.testing.assert_array_equal(record.read_with["occasion"], [NAN, NAN, 2.0, NAN])


@pytest.mark.parametrize("own", ["70", "90", "65", "."])
def test_a_covariate_is_that_of_the_measurements_own_row(own: str) -> None:
    """Also one that no other row has; where the row says nothing the last one goes on."""
    head = "ID,TIME,AMT,DV,EVID,CMT,WT"
    rows = f"1,0,100,.,1,1,70\n1,6,.,1.8,0,1,70\n1,12,.,1,0,1,{own}\n1,12,100,.,1,1,90\n1,13,.,4,0,1,90"
    records = people(rows, head)
    model = model_of("weight")
    volume = V * (70.0 if own == "." else float(own)) / 70.0
    heavy = V * 90.0 / 70.0
    right = [DOSE * math.exp(-0.6) / V, LEFT / volume, (LEFT + DOSE) * math.exp(-CL / heavy) / heavy]
    np.testing.assert_allclose(mean(model, records, NOTHING), right, rtol=WITHIN)
    # in another unit it is the same
    grams = [Record(r.id, r.schedule, r.times, r.values, r.channels, {}, {**r.units, "WT": "g"}, changing={
        "WT": (r.changing["WT"][0], 1000.0 * r.changing["WT"][1])}, read_with={k: 1000.0 * v for k, v in r.read_with.items()})
        for r in records]
    np.testing.assert_allclose(mean(model, grams, NOTHING), right, rtol=WITHIN)
    # and where others stand beside, in either order, with more pieces and more times
    other = Record("b", GIVEN, [1.0, 5.0, 12.0, 13.0, 14.0], np.ones(5), "concentration",
                   changing={"WT": ([0.0, 2.0, 5.0, 12.0], [50.0, 60.0, 80.0, 85.0])},
                   read_with={"WT": [NAN, 61.0, 62.0, NAN, NAN]})
    together = Cohort.of([*records, other], model)
    turned = together.people(torch.tensor([1, 0]))
    run = rollout(model, turned.conditions, NOTHING.expand(1, 2, 0)).mean[0, :, :, 0].detach()
    np.testing.assert_allclose(run[1, :3], right, rtol=WITHIN)
    np.testing.assert_allclose(run[0].tolist(), mean(model, [other], NOTHING), rtol=1e-9)
    # what is forgotten of the values changes no reading, and predictions of the population read the same
    run = rollout(model, together.until(6.0).conditions, NOTHING.expand(1, 2, 0))
    np.testing.assert_allclose(run.mean[0, 0, :3, 0].detach(), right, rtol=WITHIN)
    found = residuals(model, Cohort.of(records, model))
    np.testing.assert_allclose(found.pred[0, :, 0], right, rtol=WITHIN)
    draws = simulated_cohorts(model, Cohort.of(records, model), 400, generator=torch.Generator().manual_seed(0))
    # errors of sd .05 and 1 %, 400 draws: a standard error of at most .003; four of them
    np.testing.assert_allclose(draws.values[:, 0, :, 0].mean(0), right, atol=0.012)


def test_an_occasion_that_has_not_begun_is_not_learned_from_a_trough_of_the_one_before() -> None:
    """The second occasion has that one value: read as said by default its κ stays at the prior, and else it does not."""
    model = model_of()
    values = np.array([2.5, LEFT / V * 1.3])
    for own, learns in ((1.0, False), (2.0, True)):
        said = {"occasion": [NAN, own]}
        record = Record("a", GIVEN, [2.0, 12.0], values, "concentration", occasions=(0.0, 12.0), read_with=said)
        known = personalise(model, Cohort.of([record], model))
        assert (abs(float(known.mode[0, 0, 1])) > 0.05) == learns
        assert (float(known.covariance[0, 0, 1, 1]) < 0.9) == learns


def test_a_record_that_begins_at_its_baseline_keeps_the_rows_that_are_left() -> None:
    backbone = OneCompartmentOral(parameters="clearance")
    population = MixedPopulation(backbone, {"ka": Shared(), "CL": Shared(), "V": Shared()}, occasions=Occasions({"V": 0.5}, 2))
    model = HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=Constant([0.05], [0.01]))
    given = Schedule((Dose("gut", 0.0, 100.0), Dose("gut", 12.0, 100.0)), start=-4.0)
    record = Record("a", given, [-4.0, -1.0, 6.0, 12.0], [NAN, 0.1, 1.0, 1.0], "concentration", occasions=(-4.0, 12.0),
                    read_with={"occasion": [NAN, NAN, NAN, 2.0]})
    cohort = Cohort.of([record], model)
    assert cohort.records[0].times.tolist() == [-1.0, 6.0, 12.0]
    assert cohort.conditions.changes is not None
    assert cohort.conditions.changes.reading.tolist() == [[0, 0, 1]]


def said(**more: object) -> Callable[[], object]:
    known = {"occasions": (0.0, 12.0), "changing": {"WT": ([0.0, 12.0], [70.0, 90.0])}, **more}
    return lambda: Record("a", GIVEN, [6.0, 12.0, 13.0], np.ones(3), "concentration", **known)  # type: ignore[arg-type]


def table(*rows: str, **given: object) -> Callable[[], object]:
    return lambda: people("1,0,100,.,1,1,1\n1,6,.,1.8,0,1,1\n" + "\n".join(rows), **given)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "what does not change": (said(read_with={"AGE": [1.0, 1.0, 1.0]}), "names 'AGE', and what changes is WT, occasion"),
    "another number of times": (said(read_with={"WT": [70.0]}), "a number for each of 3 times"),
    "words": (said(read_with={"WT": ["a", "b", "c"]}), "a number for each of 3 times"),
    "infinity": (said(read_with={"WT": [NAN, math.inf, NAN]}), "a number for each of 3 times"),
    "no mapping": (said(read_with=[1.0]), "read_with"),
    "another occasion than its time's": (said(read_with={"occasion": [NAN, NAN, 1.0]}),
                                         "at 13 is read with occasion = 1 and occasion is 2"),
    "an occasion of neither side": (said(read_with={"occasion": [NAN, 3.0, NAN]}), "occasion is 1 then, or 2"),
    "two occasions at one time": (table("1,12,100,.,1,1,2", "1,12,50,.,1,1,3", "1,13,.,4,0,1,3"),
                                  "two occasions of person 1 begin at 12"),
    "an occasion that comes back": (table("1,12,100,.,1,1,2", "1,12,.,4,0,1,1", "1,13,.,4,0,1,2"),
                                    "the order in which they happened"),
    "a dose of the occasion before": (table("1,12,100,.,1,1,1", "1,12,0,.,2,1,2", "1,13,.,4,0,1,2"), "is of an earlier occasion"),
    "a value behind the dose that is of before": (
        table("1,12,.,4,0,1,1", "1,12,100,.,1,1,2", "1,13,.,4,0,1,2", order="dose-first"), "its own row says occasion 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_contradicts_itself_is_refused_in_one_sentence(case: str) -> None:
    call, words = REFUSED[case]
    with pytest.raises(ValueError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
