"""Records and cohorts: what is a baseline, what is scored, and that a cohort of one gives what the record gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid import (
    Concentration,
    Dose,
    Exponential,
    HybridModel,
    Mesh,
    RungeKutta,
    Schedule,
    States,
    Torchdiffeq,
    predict,
    rollout,
)
from learned import MLP, AdditiveProportional, Ensemble
from physics import LogNormalPopulation, OneCompartmentOral
from training import Cohort, Record, personalise
from training.long_records.shooting import rollout_windows
from training.long_records.window import windows
from training.trust import Outcome, innovations, score_table

NAN = float("nan")
UNITS = {"time": "h", "dose": "mg", "concentration": "mg/L"}


def model(members: int = 1) -> HybridModel:
    backbone = OneCompartmentOral()
    one = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.5, 0.3, 0.3], {"V": {"WT": (70.0, 1.0)}}),
        MLP(2, 0, 2, (6,), separable=True, state_scale=300.0, rate_scale=0.1),
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.3], [0.1], [0.05]),
        latents=1,
        covariates={"WT": (70.0, 20.0)},
    )
    return Ensemble(members).stack(one, torch.Generator().manual_seed(3)) if members > 1 else one


def record(
    name: str = "a", times=(0.0, 1.0, 4.0), values=(0.5, 6.0, 3.0), *, dose: float = 300.0, wt: float = 70.0
) -> Record:
    return Record(
        id=name,
        schedule=Schedule((Dose("gut", 0.0, dose),), start=min(0.0, *times)),
        times=np.array(times),
        values=np.array(values)[:, None],
        channels=("concentration",),
        covariates={"WT": wt},
        units=UNITS,
    )


def test_baseline_and_scores():
    one = record(times=(-2.0, -1.0, 0.0, 1.0, 4.0), values=(0.1, 0.2, NAN, 6.0, NAN))
    assert one.first_dose == 0.0
    assert one.scored.tolist() == [False, False, False, True, True]
    assert one.baseline.tolist() == [0.2]
    np.testing.assert_array_equal(record(times=(1.0, 2.0), values=(3.0, 4.0)).baseline, [NAN])
    undosed = Record("b", Schedule(start=1.0), np.array([1.0, 2.0]), np.array([[7.0], [8.0]]), ("concentration",))
    assert undosed.first_dose == 1.0
    assert undosed.baseline.tolist() == [7.0]


def test_what_was_known_at_a_time():
    one = record().until(1.0)
    np.testing.assert_array_equal(one.values[:, 0], [0.5, 6.0, NAN])
    with pytest.raises(ValueError, match="nothing was measured up to -1"):
        record().until(-1.0)
    cohort = Cohort.of([record(), record("b", (0.0, 2.0), (0.0, 5.0))], model())
    early, late = cohort.until(1.0), cohort.after(1.0)
    np.testing.assert_array_equal(early.y[..., 0], [[NAN, 6.0, NAN], [NAN, NAN, NAN]])
    np.testing.assert_array_equal(late.y[..., 0], [[NAN, NAN, 3.0], [NAN, 5.0, NAN]])
    assert torch.equal(early.mask ^ late.mask, cohort.mask)


def test_a_cohort_is_padded_with_what_is_never_scored():
    cohort = Cohort.of([record(), record("b", (0.0, 2.0), (0.7, 5.0), wt=80.0)], model())
    assert cohort.ids == ("a", "b")
    assert cohort.times.tolist() == [[0.0, 1.0, 4.0], [0.0, 2.0, 2.0]]
    np.testing.assert_array_equal(cohort.y[..., 0], [[NAN, 6.0, 3.0], [NAN, 5.0, NAN]])
    assert cohort.mask[..., 0].tolist() == [[False, True, True], [False, True, False]]
    assert cohort.conditions.baseline.tolist() == [[0.5], [0.7]]
    assert cohort.conditions.covariates["WT"].tolist() == [70.0, 80.0]
    assert cohort.conditions.size == 2
    picked = cohort.people(torch.tensor([1]))
    assert picked.ids == ("b",)
    assert picked.times.tolist() == [[0.0, 2.0, 2.0]]
    assert torch.equal(cohort.to("cpu").conditions.segments.dt, cohort.conditions.segments.dt)


times = st.lists(st.integers(0, 60).map(lambda k: k / 5), min_size=1, max_size=5, unique=True).map(sorted)


@settings(deadline=None, max_examples=12, derandomize=True)
@given(
    st.lists(st.tuples(times, st.floats(50.0, 500.0), st.floats(50.0, 100.0)), min_size=1, max_size=3),
    st.integers(1, 2),
)
def test_a_cohort_of_one_gives_what_the_record_gives(people, members):
    # A fixed-step solver, since an adaptive one controls one error norm for the whole batch. Products of batched
    # matrices may add in another order for another batch size: a few units in the last place, times some 40 steps.
    hybrid, mesh, solver = model(members), Mesh(0.5), Torchdiffeq("rk4")
    records = [
        record(f"p{i}", tuple(t), tuple(0.2 for _ in t), dose=dose, wt=wt) for i, (t, dose, wt) in enumerate(people)
    ]
    generator = torch.Generator().manual_seed(5)
    personal = torch.randn(members, len(records), hybrid.personal, generator=generator, dtype=torch.float64)
    together = Cohort.of(records, hybrid, mesh)
    run = rollout(hybrid, together.conditions, personal, solver)
    for i, one in enumerate(records):
        alone = Cohort.of([one], hybrid, mesh)
        T = len(one.times)
        assert torch.equal(alone.y[0].nan_to_num(-1.0), together.y[i, :T].nan_to_num(-1.0))
        np.testing.assert_array_equal(alone.conditions.baseline[0], together.conditions.baseline[i])
        run_alone = rollout(hybrid, alone.conditions, personal[:, i : i + 1], solver)
        for name in ("states", "mean", "variance"):
            mine, theirs = getattr(run_alone, name)[:, 0], getattr(run, name)[:, i]
            torch.testing.assert_close(mine, theirs[:, :T], rtol=1e-12, atol=1e-12)
            # padding repeats the record's end
            torch.testing.assert_close(theirs[:, T:], theirs[:, T - 1 : T].expand_as(theirs[:, T:]), rtol=0, atol=0)


def test_channels_missing_in_a_record_stay_missing_in_the_cohort():
    backbone = OneCompartmentOral()
    two = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.5, 0.3, 0.3]),
        observation=States([0, 1], ["gut", "plasma"], ["mg", "mg"]),
        noise=AdditiveProportional([1.0, 1.0], [0.1, 0.1], [0.1, 0.1]),
    )
    values = np.array([[1.0, NAN], [2.0, 3.0], [NAN, 4.0]])
    one = Record("a", Schedule((Dose("gut", 0.0, 9.0),)), np.array([0.0, 1.0, 2.0]), values, ("gut", "plasma"))
    np.testing.assert_array_equal(one.baseline, [1.0, NAN])
    cohort = Cohort.of([one], two)
    # the gut starts empty whatever was measured of it: that value sets nothing, and is scored
    np.testing.assert_array_equal(cohort.y[0], [[1.0, NAN], [2.0, 3.0], [NAN, 4.0]])


def bad(**changes: object) -> Record:
    given: dict[str, object] = {
        "id": "a",
        "schedule": Schedule(),
        "times": np.array([0.0, 1.0]),
        "values": np.array([[1.0], [2.0]]),
        "channels": ("concentration",),
    }
    return Record(**{**given, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"times": np.array([0.0, 1.0, 2.0])}, r"values \(T, 1\) with T ≥ 1, got \(3,\) and \(2, 1\)"),
        ({"times": np.array([]), "values": np.zeros((0, 1))}, "T ≥ 1"),
        ({"times": np.array([0.0, np.inf])}, "times must be finite"),
        ({"values": np.array([[1.0], [np.inf]])}, "values finite or missing"),
        ({"times": np.array([2.0, 1.0])}, "must increase, and 2 is followed by 1"),
        ({"schedule": Schedule(start=0.5)}, "observed at 0, before it starts at 0.5"),
        ({"values": np.array([[NAN], [NAN]])}, "no channel was ever measured"),
    ],
)
def test_records_that_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=f"record a: .*{sentence}"):
        bad(**changes)


def test_cohorts_that_are_refused():
    hybrid = model()
    with pytest.raises(ValueError, match="at least one record"):
        Cohort.of([], hybrid)
    with pytest.raises(ValueError, match=r"\['a'\] repeat"):
        Cohort.of([record(), record()], hybrid)
    with pytest.raises(ValueError, match=r"record b lacks the covariates \['WT'\], which the model reads"):
        Cohort.of([record(), bad(id="b")], hybrid)
    with pytest.raises(ValueError, match="name the channels alike"):
        Cohort.of([bad(channels=("glucose",), units={"time": "h"})], hybrid)
    with pytest.raises(ValueError, match=r"a dose goes into \['brain'\]"):
        Cohort.of([bad(schedule=Schedule((Dose("brain", 0.0, 1.0),)))], hybrid)
    for name, unit, said in (
        ("time", "mg", "time is in mg and h is needed"),
        ("dose", "mmol", "the dose into gut is in mmol and mg is needed: moles become grams by a molar mass"),
        ("concentration", "ng", "concentration is in ng and mg/L is needed"),
    ):
        wrong = bad(schedule=Schedule((Dose("gut", 0.0, 1.0),)), units={**UNITS, name: unit})
        with pytest.raises(ValueError, match=f"record a: {said}"):
            Cohort.of([wrong], hybrid)
    with pytest.raises(ValueError, match="record a: the unit of time: 'hr' is not a UCUM code; write 'h'"):
        bad(units={**UNITS, "time": "hr"})
    with pytest.raises(ValueError, match=r"units name \['TIME', 'BMI'\], which the record does not have"):
        bad(units={**UNITS, "TIME": "h", "BMI": "kg/m2"})


def replicated(apart: float) -> Record:
    """Two values of one time, or `apart`: what is measured twice counts twice."""
    times = (0.0, 1.0, 1.0 + apart, 4.0, 4.0 + apart, 4.0 + 2 * apart)
    return record(times=times, values=(0.5, 6.0, 6.4, 3.0, 3.1, NAN))


@pytest.mark.parametrize(
    ("solver", "mesh"),
    [
        (Exponential(rtol=1e-8), None),
        (Exponential(), Mesh(0.25)),
        (Exponential(), Mesh(0.25, observed=False)),
        (RungeKutta("rk4"), Mesh(0.25)),
        (RungeKutta("rk4"), Mesh(0.25, observed=False)),
        (Torchdiffeq("rk4"), Mesh(0.25)),
        (Torchdiffeq("dopri5"), Mesh(0.25)),
    ],
    ids=str,
)
def test_replicates_are_predicted_alike(solver, mesh):
    hybrid = model()
    other = record("b", (0.0, 1.0, 2.0), (0.1, 5.0, 5.5))
    cohort = Cohort.of([replicated(0.0), other], hybrid, mesh)
    assert cohort.times[0].tolist() == [0.0, 1.0, 1.0, 4.0, 4.0, 4.0]
    assert cohort.mask[0, :, 0].tolist() == [False, True, True, True, True, False]
    personal = torch.zeros(1, 2, hybrid.personal, dtype=torch.float64)
    mean = rollout(hybrid, cohort.conditions, personal, solver).mean[0, :, :, 0]
    assert torch.equal(mean[0, 1], mean[0, 2])
    assert torch.equal(mean[0, 3], mean[0, 4])
    once = Cohort.of([record(times=(0.0, 1.0, 4.0), values=(0.5, 6.0, 3.0)), other], hybrid, mesh)
    alone = rollout(hybrid, once.conditions, personal, solver).mean[0, :, :, 0]
    torch.testing.assert_close(mean[0, [0, 1, 3]], alone[0], rtol=1e-12, atol=1e-12)
    assert cohort.until(1.0).mask.sum() == 4 - 1  # b at 1 h, and both of the replicates
    assert cohort.after(1.0).mask.sum() == 2 + 1


def test_replicates_teach_as_values_a_moment_apart_do():
    hybrid = model()
    found, scored = [], []
    for apart in (0.0, 1e-7):
        cohort = Cohort.of([replicated(apart)], hybrid, Mesh(0.25))
        personal = personalise(hybrid, cohort, iterations=80, tolerance=1e-9)
        found.append(personal)
        draws = personal.draws(4, torch.Generator().manual_seed(1))
        prediction = predict(hybrid, cohort, draws)
        outcome = Outcome.of(prediction, cohort)
        scored.append([innovations(outcome), score_table(outcome)["count"]])
        cut = windows(cohort.conditions.segments, 2)
        solver = RungeKutta("rk4")
        one = rollout(hybrid, cohort.conditions, personal.mode, solver)
        starts = rollout(hybrid, replace(cohort.conditions, segments=cut.borders), personal.mode, solver).states
        run, gap = rollout_windows(hybrid, cohort.conditions, cut, personal.mode, starts, solver)
        torch.testing.assert_close(run.mean, one.mean, rtol=1e-8, atol=1e-8)
        assert gap.abs().max() < 1e-6
    torch.testing.assert_close(found[0].mode, found[1].mode, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[0].covariance, found[1].covariance, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scored[0][0], scored[1][0], rtol=1e-3, atol=1e-3)
    assert scored[0][1] == scored[1][1] == 4


def test_the_baseline_of_replicates_is_their_mean():
    one = record(times=(-1.0, 0.0, 0.0, 0.0, 2.0), values=(9.0, 0.5, NAN, 0.8, 6.0))
    assert one.baseline.tolist() == [0.65]
    assert record(times=(-1.0, -1.0, 0.0), values=(0.4, 0.2, 0.7)).baseline.tolist() == [0.7]  # the last time alone
    cohort = Cohort.of([one], model())
    assert cohort.conditions.baseline.tolist() == [[0.65]]
    assert int(cohort.mask.sum()) == 1


def test_what_changes_is_known_from_the_start() -> None:
    """A covariate or an occasion that begins later would be read backwards without a word."""
    given = Schedule((Dose("gut", 0.0, 100.0),))
    for more, said in (
        ({"changing": {"WT": ([24.0, 25.0], [140.0, 150.0])}}, "the covariate WT is not known before 24, .* starts at 0; begin"),
        ({"changing": {"WT": ([24.0], [140.0])}}, "the covariate WT is not known before 24"),
        ({"occasions": (1.0, 24.0)}, "the occasion is not known before 1, and the person starts at 0"),
    ):
        with pytest.raises(ValueError, match=f"record 1: {said}"):
            Record("1", given, [1.0, 30.0], [1.0, 2.0], "concentration", **more)
    at = {"WT": ([-1.0, 24.0], [140.0, 150.0])}
    assert Record("1", given, [1.0, 30.0], [1.0, 2.0], "concentration", changing=at).changing["WT"][0][0] == -1.0


@pytest.mark.parametrize("begin", [0.0, 7.3, 1000.1])
def test_a_start_that_is_a_rounding_before_what_is_known_is_the_same_on_every_clock(begin: float) -> None:
    """A person's own clock reads 0 there, of which a rounding is no share."""
    start = begin - 3.0 * np.spacing(begin) if begin else 0.0
    first = begin if begin else 1e-16
    given = Schedule((Dose("gut", begin, 100.0),), start=start)
    one = Record("a", given, [begin + 1.0, begin + 30.0], [1.0, 2.0], "concentration", occasions=(first, begin + 24.0))
    own = one.on_own_clock()
    assert own.occasions == pytest.approx((0.0, 24.0), abs=1e-9)
    with pytest.raises(ValueError, match="the occasion is not known before"):
        replace(one, occasions=(begin + 1e-3, begin + 24.0))
