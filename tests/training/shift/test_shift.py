"""Whether people look like those of the training: the flag's laws, and what it finds."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chi2, norm

from exchange import Bundle
from hybrid import Concentration, Dose, HybridModel, Prediction, Schedule, Shift, ShiftReason, Signal, predict, rollout
from learned import AdditiveProportional, Ensemble
from physics import LogNormalPopulation, OneCompartmentOral
from tests.builders import oral_of, oral_people
from training import Cohort, Personal, Record, forecast, personalise
from training.people import prior
from training.shift import Reference, compared
from training.shift.envelope import Envelope, Events
from training.shift.given import ratio_of
from training.shift.limits import box_of, lower_limit, upper_limit
from training.shift.measured import Spread
from training.shift.seen import disagreement, distances

TIMES = (0.25, 0.75, 1.5, 3.0, 5.0, 8.0)


def world(spread: Sequence[float] = (0.5, 0.25, 0.2)) -> HybridModel:
    backbone = OneCompartmentOral()
    population = LogNormalPopulation(backbone.physical, list(spread), {"V": {"WT": (70.0, 1.0, "kg")}})
    noise = AdditiveProportional([0.3], [1e-6], [0.01])
    return HybridModel(backbone, population, None, observation=Concentration(1, 2), noise=noise)


def people(
    model: HybridModel,
    count: int,
    *,
    seed: int,
    times: Sequence[float] = TIMES,
    dose: float = 320.0,
    WT: tuple[float, float] = (60.0, 80.0),
    SEX: Sequence[float] = (0.0, 1.0),
    far: Sequence[float] = (0.0, 0.0, 0.0),
) -> list[Record]:
    """People of the model itself, measured with its noise; `far` moves their η."""
    rng = np.random.default_rng(seed)
    blank = []
    for i in range(count):
        given = {"WT": float(rng.uniform(*WT)), "SEX": float(rng.choice(SEX)), "AGE": float(rng.uniform(20.0, 60.0))}
        schedule = Schedule((Dose("gut", 0.0, dose * float(rng.uniform(0.95, 1.05))),))
        units = {"time": "h", "concentration": "mg/L", "WT": "kg", "AGE": "a"}
        blank.append(Record(f"s{seed}-{i}", schedule, times, np.ones((len(times), 1)), ("concentration",), given, units))
    eta = torch.from_numpy(rng.standard_normal((1, count, 3)) + np.asarray(far))
    with torch.no_grad():
        run = rollout(model, Cohort.of(blank, model).conditions, eta)
    y = (run.mean + run.variance.sqrt() * torch.from_numpy(rng.standard_normal(run.mean.shape)))[0].numpy()
    return [replace(r, values=row) for r, row in zip(blank, y, strict=True)]


@pytest.fixture(scope="module")
def training() -> tuple[HybridModel, Cohort, Personal, Reference]:
    model = world()
    cohort = Cohort.of(people(model, 250, seed=1), model)
    personal = personalise(model, cohort)
    return model, cohort, personal, Reference.of(model, cohort, personal)


def flagged(training: tuple[HybridModel, Cohort, Personal, Reference], records: Sequence[Record]) -> tuple[Shift, ...]:
    model, _, _, reference = training
    cohort = Cohort.of(list(records), model)
    personal = personalise(model, cohort)
    found = compared(predict(model, cohort, personal.mode[:, None]), reference, model, cohort, personal=personal).shift
    assert found is not None
    return found


def looks(shift: Shift) -> set[str]:
    return {reason.look for reason in shift.reasons}


# ---- the laws of the parts


def test_the_distance_is_mahalanobis_where_the_mean_is_linear() -> None:
    """Against (y − E y)ᵀ(Cov y)⁻¹(y − E y) and its projection on the slopes, by dense float64 algebra."""
    model = world(spread=(1e-3, 2e-3, 1e-3))  # so narrow that curves are linear in η to 1e-5 of the noise
    model.noise = AdditiveProportional([0.004], [1e-9], [1e-6])  # of the spread's own size, so that η is seen
    cohort = Cohort.of(people(model, 6, seed=3), model)
    personal = personalise(model, cohort, tolerance=1e-9)
    own, freedom, rest, left = distances(model, cohort, personal)
    zero = torch.zeros(1, 6, 3, dtype=torch.float64)

    def at(eta: torch.Tensor) -> torch.Tensor:
        return rollout(model, cohort.conditions, zero + eta).mean

    with torch.no_grad():
        run = rollout(model, cohort.conditions, zero)
        h = 1e-2
        G = torch.stack(
            [
                (at(h * e) - at(-h * e)) / (2 * h)
                for e in torch.eye(3, dtype=torch.float64)
            ],
            -1,
        )[0, :, :, 0]  # (N, T, 3)
    r, R = (cohort.y - run.mean[0])[..., 0], run.variance[0, ..., 0]
    S = G @ G.mT + torch.diag_embed(R)
    whole = torch.einsum("nt,nts,ns->n", r, torch.linalg.inv(S), r)
    W = torch.linalg.inv(S)
    score = torch.einsum("ntj,nts,ns->nj", G, W, r)
    part = torch.einsum("nj,njk,nk->n", score, torch.linalg.inv(G.mT @ W @ G), score)
    assert torch.equal(freedom, torch.full((6,), 3.0, dtype=torch.float64))
    assert torch.equal(left, freedom)
    # the curves bend by about ω of their slope, 2e-3, and so do the distances
    assert torch.allclose(own + rest, whole, rtol=2e-2)
    assert torch.allclose(own, part, rtol=2e-2)


@pytest.mark.parametrize("count", [12, 60, 250])
@pytest.mark.parametrize("law", ["normal", "log-normal"])
def test_a_limit_is_passed_as_often_as_it_says(count: int, law: str) -> None:
    """The mean over 300 samples of the exact probability beyond, which is the share where the law is known to be this one."""
    rng, share = np.random.default_rng(7), 0.01
    samples = rng.standard_normal((300, count))
    back = np.log if law == "log-normal" else np.asarray
    values = np.exp(samples) if law == "log-normal" else samples
    high = np.mean([norm.sf(back(upper_limit(v, share))) for v in values])
    low = np.mean([norm.cdf(back(lower_limit(v, share))) for v in values])
    # which of the two laws it is, a dozen people do not always say, and the sample's own quantile is passed by 1/N more
    assert 0.3 * share < high < 2.5 * share
    assert 0.3 * share < low < 2.5 * share


def test_a_box_of_several_columns_is_left_as_often_as_one_of_one() -> None:
    rng = np.random.default_rng(5)
    for k in (1, 3, 8):
        columns = {str(j): rng.standard_normal(2000) for j in range(k)}
        box, _ = box_of(columns, 0.02)
        new = rng.standard_normal((20000, k))
        out = np.mean([any(not box[str(j)][0] <= row[j] <= box[str(j)][1] for j in range(k)) for row in new])
        assert 0.012 < out < 0.03, k  # binomial sd of the training's own quantiles: about .003
    one = rng.standard_normal(2000)
    same, sides = box_of({"a": one, "b": one, "c": one}, 0.02)
    assert sides == pytest.approx(0.01)
    assert same["a"] == pytest.approx(tuple(np.quantile(one, [0.01, 0.99])))


def test_nobody_of_the_training_leaves_the_envelope_and_twice_the_rate_is_named_at_the_third() -> None:
    rng = np.random.default_rng(2)
    trained = [Events(np.sort(rng.uniform(0.0, 24.0, k)), np.ones(k), 24.0) for k in rng.integers(4, 9, 30)]
    envelope = Envelope.of(trained, 0.0, counted=True)
    assert all(envelope.left(one) is None for one in trained)
    assert Envelope.from_dict(json.loads(json.dumps(envelope.to_dict()))) == envelope
    regular = Envelope.of([Events(np.arange(1.0, 25.0), np.ones(24), 24.0)] * 5, 0.0, counted=True)
    left = regular.left(Events(np.arange(0.5, 12.1, 0.5), np.ones(24), 12.0))
    assert left is not None
    assert left[:2] == (1.5, 3.0)
    rare = regular.left(Events(np.arange(3.0, 25.0, 3.0), np.ones(8), 24.0))
    assert rare is not None
    assert rare[1] == 8.0
    assert rare[2] >= 23.0


def test_the_spread_of_the_training_is_chi_squared_where_the_model_is_true() -> None:
    draws = np.random.default_rng(1).chisquare(5, 100_000)
    found = Spread.of(draws, np.full(len(draws), 5.0))
    assert found.limit(5.0, 0.007) == pytest.approx(float(chi2.isf(0.007, 5)), rel=0.02)
    wide = Spread.of(2.0 * draws, np.full(len(draws), 5.0))
    assert (2.0 * np.random.default_rng(2).chisquare(5, 100_000) > wide.limit(5.0, 0.01)).mean() == pytest.approx(0.01, abs=0.002)
    assert Spread.of(0.1 * draws, np.full(len(draws), 5.0)) == Spread(100_000)  # never closer than chi-squared has it
    assert Spread.of(np.array([math.nan]), np.array([3.0])) == Spread()


# ---- people


def test_people_like_those_of_the_training(training: tuple[HybridModel, Cohort, Personal, Reference]) -> None:
    """The design is 3 %: of 300 people more than 22 are flagged with a probability below 1e-4, more than 5 % being 15."""
    found = flagged(training, people(training[0], 300, seed=11))
    assert sum(one.flagged is True for one in found) <= 22
    assert all(one.looked == ("covariates", "sampling", "given", "kinetics") for one in found)


def test_each_way_of_being_another_cohort_is_named(training: tuple[HybridModel, Cohort, Personal, Reference]) -> None:
    model = training[0]
    for found, look, name in (
        (flagged(training, people(model, 20, seed=21, WT=(110.0, 130.0))), "covariates", "WT"),
        (flagged(training, people(model, 20, seed=22, SEX=(2.0,))), "covariates", "SEX"),
        (flagged(training, people(model, 20, seed=23, dose=640.0)), "given", "gut"),
        (flagged(training, people(model, 20, seed=24, times=sorted({*TIMES, *(t / 2 for t in TIMES)}))), "sampling", ""),
        (flagged(training, people(model, 20, seed=25, far=(0.0, 0.0, 7.0))), "kinetics", "V"),
    ):
        named = [[r.name for r in one.reasons if r.look == look] for one in found]
        assert all(name in row for row in named), (look, named)
        assert all(name in one.sentence() or not name for one in found)


def test_a_covariate_that_the_model_does_not_read_has_room_to_spare(
    training: tuple[HybridModel, Cohort, Personal, Reference],
) -> None:
    records = people(training[0], 2, seed=26)
    aged = [replace(r, covariates={**r.covariates, "AGE": age}) for r, age in zip(records, (70.0, 101.0), strict=True)]
    near, far = flagged(training, aged)
    assert "AGE" not in [r.name for r in near.reasons]
    assert "AGE" in [r.name for r in far.reasons]
    lacking = [replace(r, covariates={"WT": 70.0}, units={"time": "h", "WT": "kg"}) for r in records]
    assert "AGE, SEX is not known" in flagged(training, lacking)[0].unknown


def test_no_outcome_is_looked_at(training: tuple[HybridModel, Cohort, Personal, Reference]) -> None:
    model, _, _, reference = training
    cohort = Cohort.of(people(model, 5, seed=31), model)
    known, asked = cohort.until(2.0), cohort.after(2.0)
    generator = torch.Generator().manual_seed(0)
    prediction, personal = forecast(model, known, asked, draws=2, generator=generator)
    assert prediction.shift is None  # not asked is not fine
    first = compared(prediction, reference, model, known, asked, personal=personal)
    other = compared(prediction, reference, model, known, replace(asked, y=asked.y * 50.0), personal=personal)
    assert first.shift == other.shift
    assert torch.equal(first.mean, prediction.mean)
    two = torch.tensor([4, 0])
    back = compared(prediction.people([4, 0]), reference, model, known.people(two), personal=personal.people(two))
    assert back.shift is not None
    assert first.shift is not None
    assert [one.flagged for one in back.shift] == [first.shift[i].flagged for i in (4, 0)]
    nothing = compared(prediction, None, model, known, asked, personal=personal)
    assert nothing.shift is not None
    assert all(one.flagged is None and "not known" in one.sentence() for one in nothing.shift)
    before = compared(prediction, reference, model, cohort.until(-1.0), asked, personal=prior(model, 5))
    assert before.shift is not None
    assert all("kinetics" not in one.looked and "sampling" not in one.looked for one in before.shift)
    with pytest.raises(ValueError, match="people"):
        compared(prediction, reference, model, known.people(torch.tensor([1, 0, 2, 3, 4])))


def test_members_that_disagree_more_than_in_training_are_named() -> None:
    model = world()
    stack = Ensemble(3).stack(model, torch.Generator().manual_seed(0))
    with torch.no_grad():  # members differ in what the weight does, which is small within the training's weights alone
        stack.population.shift += torch.tensor([[0.0, 0.0, -0.02], [0.0, 0.0, 0.0], [0.0, 0.0, 0.02]]).double()
    cohort = Cohort.of(people(model, 40, seed=1), stack)
    personal = personalise(stack, cohort)
    reference = Reference.of(stack, cohort, personal)
    assert reference.disagreement is not None
    with torch.no_grad():
        run = rollout(stack, cohort.conditions, torch.zeros(3, 40, 3, dtype=torch.float64))
    want = (run.mean.var(0, correction=0).sum((-1, -2)) / run.variance.mean(0).sum((-1, -2))).sqrt()
    found = disagreement(stack, cohort.conditions, cohort.real)
    assert found is not None
    assert torch.allclose(found, want, rtol=1e-9)
    with torch.no_grad():
        stack.population.shift[0] += 0.5
    known = Cohort.of(people(model, 5, seed=2), stack)
    prediction = predict(stack, known, torch.zeros(3, 1, 5, 3, dtype=torch.float64))
    shift = compared(prediction, reference, stack, known).shift
    assert shift is not None
    assert all("disagreement" in looks(one) for one in shift)
    assert disagreement(model, cohort.conditions, cohort.real) is None


def test_inputs_at_twice_the_level_are_named() -> None:
    from training.shift.given import Given
    from training.shift.measured import Measured

    def given(level: float, count: int) -> Given:
        times = tuple(np.linspace(0.0, 12.0, count).tolist())
        schedule = Schedule(inputs={"u": Signal(times, tuple([level] * count), "held")})
        return Given(("x",), (schedule,), np.array([12.0]), None, {})

    model = oral_of(None)
    cohort = Cohort.of(oral_people(5), model)
    reference = replace(
        Reference.of(model, cohort),
        levels={"u": (0.9, 1.1, 0.5, 1.5)},
        envelopes={"points u": Envelope((0.0, 12.0), (1.0, 7.0), (1.0, 7.0), True)},
    )
    assert not reference.judge(given(1.0, 7), Measured())[0].flagged
    (twice,) = reference.judge(given(2.0, 7), Measured())
    assert [r.name for r in twice.reasons] == ["u"]
    assert "the mean of u is 2" in twice.sentence()
    (often,) = reference.judge(given(1.0, 14), Measured())
    assert [r.name for r in often.reasons] == ["u"]
    assert "times as often" in often.sentence()


# ---- values


def test_the_reference_goes_to_json_and_back(training: tuple[HybridModel, Cohort, Personal, Reference]) -> None:
    reference = training[3]
    data = json.loads(json.dumps(reference.to_dict()))
    assert Reference.from_dict(data) == reference
    for broken in (
        {**data, "people": 0},
        {**data, "covariates": {"WT": [90.0, 40.0]}},
        {**data, "own": {**data["own"], "spread": 0.25}},
        {**data, "envelopes": {"sampling": {"times": [1, 0], "least": [0, 0], "most": [1, 1], "counted": True}}},
        {k: v for k, v in data.items() if k != "levels"},
        [],
    ):
        with pytest.raises(ValueError, match="Reference"):
            Reference.from_dict(broken)  # type: ignore[arg-type]


def test_a_flag_travels_with_its_person() -> None:
    mean, real = torch.zeros(1, 1, 3, 2, 1), torch.ones(3, 2, dtype=torch.bool)
    prediction = Prediction(mean, torch.ones_like(mean), torch.zeros(3, 2), real, ("y",), ("1",))
    assert prediction.shift is None
    reason = ShiftReason("given", "twice the dose", "gut", 2.0, 1.0)
    shift = (Shift(), Shift((reason,), ("given",)), Shift((), ("given",)))
    found = replace(prediction, shift=shift)
    assert [one.flagged for one in shift] == [None, True, False]
    assert shift[0].unknown == "nobody asked"
    assert found.people([2, 1]).shift == (shift[2], shift[1])
    assert found.during(0.0, 1.0).shift == shift
    assert found.to_frame()["shift"].tolist() == [None, None, True, True, False, False]
    assert "1 of 2 people are flagged, of 1 it is not known" in repr(found)
    with pytest.raises(ValueError, match="Shift for each of the 3 people"):
        replace(prediction, shift=shift[:2])
    with pytest.raises(ValueError, match="not looked at"):
        Shift((reason,), ("kinetics",))


# ---- what is not known of everybody, or not as a number


def test_who_lacks_a_covariate_blinds_nobody_else(training: tuple[HybridModel, Cohort, Personal, Reference]) -> None:
    """AGE, that the model does not read, is unknown of one: of the others it is compared, in a forecast and in the training."""
    model, cohort, personal, reference = training
    plain, old = people(model, 2, seed=61)
    old = replace(old, covariates={**old.covariates, "AGE": 101.0})
    units = {k: u for k, u in plain.units.items() if k != "AGE"}
    without = replace(plain, covariates={k: v for k, v in plain.covariates.items() if k != "AGE"}, units=units)
    lacking, far = flagged(training, [without, old])
    assert "AGE is not known" in lacking.unknown
    assert far.unknown == ""
    assert [r.name for r in far.reasons if r.look == "covariates"] == ["AGE"]
    first = cohort.records[0]
    trained = Cohort.of(
        [replace(first, covariates={k: v for k, v in first.covariates.items() if k != "AGE"}, units=units), *cohort.records[1:]],
        model,
    )
    found = Reference.of(model, trained, personal)
    assert found.beside["AGE"] == pytest.approx(reference.beside["AGE"], rel=0.05)  # one of 250 people moves the ends little
    assert found.categories == reference.categories
    assert found.units["AGE"] == "a"
    few = [r if i < 9 else trained.records[0] for i, r in enumerate(cohort.records[:20])]
    few = [replace(r, id=str(i)) for i, r in enumerate(few)]
    assert "AGE" not in Reference.of(model, Cohort.of(few, model)).beside  # known of nine of twenty: no range


def test_a_covariate_that_changes_is_compared_at_the_beginning(
    training: tuple[HybridModel, Cohort, Personal, Reference],
) -> None:
    light, heavy, other = people(training[0], 3, seed=62)
    records = [
        replace(
            r,
            covariates={k: v for k, v in r.covariates.items() if k != "WT"},
            changing={"WT": ([0.0, 4.0], values)},
        )
        for r, values in ((light, [70.0, 72.0]), (heavy, [130.0, 128.0]))
    ]
    near, far, same = flagged(training, [*records, replace(other, covariates={**other.covariates, "WT": 131.0})])
    assert "WT changes on the way" in near.unknown
    assert "WT" not in [r.name for r in near.reasons]
    assert "WT" in [r.name for r in far.reasons]
    assert "WT" in [r.name for r in same.reasons]
    assert same.unknown == ""


def censored(record: Record, limit: float) -> Record:
    """The same person by an assay that tells nothing below a limit."""
    below = record.values < limit
    return replace(record, values=np.where(below, np.nan, record.values), upper=np.where(below, limit, np.nan))


def test_measurements_that_are_known_by_limits_alone_are_compared(
    training: tuple[HybridModel, Cohort, Personal, Reference],
) -> None:
    """Everything below .1 mg/L, where the training has 2 to 9: another way of taking it up, and no silent 'like the training'."""
    record = people(training[0], 1, seed=71)[0]
    nothing = replace(record, values=np.full((6, 1), np.nan), upper=np.full((6, 1), 0.1))
    one = replace(record, id="one", values=np.array([[5.0]] + [[np.nan]] * 5), upper=np.array([[np.nan]] + [[0.1]] * 5))
    anything = replace(record, id="any", values=np.full((6, 1), np.nan), upper=np.full((6, 1), 1e3))
    low, some, told = flagged(training, [nothing, one, anything])
    assert "kinetics" in looks(low)
    assert "6 measurements so far (6 of them known by limits alone)" in low.sentence()
    assert "kinetics" in looks(some)
    assert told.flagged is False  # below 1,000 is anybody
    assert "kinetics" in told.looked


def test_limits_flag_nobody_who_is_like_the_training(training: tuple[HybridModel, Cohort, Personal, Reference]) -> None:
    """At most 3 %, as above; half of their values lie below a limit."""
    records = [censored(r, 6.5) for r in people(training[0], 300, seed=72)]
    share = np.mean([np.isnan(r.values).mean() for r in records])
    assert 0.2 < share < 0.8
    found = flagged(training, records)
    assert sum(one.flagged is True for one in found) <= 22
    assert sum("kinetics" in looks(one) for one in found) <= 9  # of 1 %, binomial(300, .01) passes 9 in less than 1 of 1,000


def test_a_covariate_that_no_part_reads_is_compared_in_one_unit(
    training: tuple[HybridModel, Cohort, Personal, Reference],
) -> None:
    """480 months are 40 years; what cannot be converted is said and not compared, in whichever of the two the unit lacks."""
    months, heavy, plain, bare = (
        replace(r, id=str(i), covariates={**r.covariates, "AGE": age}, units={**r.units, "AGE": unit})
        for i, (r, age, unit) in enumerate(
            zip(people(training[0], 4, seed=81), (480.0, 480.0, 480.0, 480.0), ("mo", "kg", "a", "a"), strict=True)
        )
    )
    bare = replace(bare, units={name: unit for name, unit in bare.units.items() if name != "AGE"})
    fine, odd, old, same = flagged(training, [months, heavy, plain, bare])
    assert "AGE" not in [r.name for r in fine.reasons]
    assert fine.unknown == ""
    assert "AGE" not in [r.name for r in odd.reasons]
    assert odd.unknown == "AGE is in kg, and in training in a, which does not join it"
    assert "AGE" in [r.name for r in old.reasons]
    assert "AGE" in [r.name for r in same.reasons]  # no unit is the training's
    model, cohort, _, reference = training
    without = [replace(r, units={n: u for n, u in r.units.items() if n != "AGE"}) for r in cohort.records]
    (told,) = flagged((*training[:3], Reference.of(model, Cohort.of(without, model))), [plain])
    assert told.unknown == "AGE is in a, and in training no unit of it was stated"
    assert "AGE" not in [r.name for r in told.reasons]
    # and so are the training's own people: one unit, that of the first who states one
    mixed = [
        replace(r, covariates={**r.covariates, "AGE": 12.0 * r.covariates["AGE"]}, units={**r.units, "AGE": "mo"}) if i % 2 else r
        for i, r in enumerate(cohort.records)
    ]
    found = Reference.of(model, Cohort.of(mixed, model))
    assert found.units["AGE"] == "a"
    assert found.beside["AGE"] == pytest.approx(reference.beside["AGE"], rel=1e-6)


def test_one_wrong_unit_in_a_training_does_not_rule_the_others(training: tuple[HybridModel, Cohort, Personal, Reference]) -> None:
    """The first of many states kilograms of an age: it is left out, which is said, and the rest is compared as it was."""
    model, cohort, _, reference = training
    wrong = [replace(r, units={**r.units, "AGE": "kg"}) if i == 0 else r for i, r in enumerate(cohort.records)]
    with pytest.warns(UserWarning, match=rf"made without person {cohort.ids[0]}, of whom AGE is in kg, and in training in a, "):
        found = Reference.of(model, Cohort.of(wrong, model))
    assert found.units["AGE"] == "a"
    assert found.beside["AGE"] == pytest.approx(reference.beside["AGE"], rel=0.2)  # without one of them
    assert ratio_of("%", None) is None  # as any other unit of what was had without one
    assert ratio_of("1", None) == ratio_of(None, "a") == 1


def test_people_that_a_bundle_keeps_are_in_the_units_of_its_reference(
    training: tuple[HybridModel, Cohort, Personal, Reference],
) -> None:
    """Half of the training in months: none of its own people is far from it for that, in whichever unit they were."""
    model, cohort, _, _ = training
    records = cohort.records[:40]
    mixed = [
        replace(r, covariates={**r.covariates, "AGE": 12.0 * r.covariates["AGE"]}, units={**r.units, "AGE": "mo"}) if i % 2 else r
        for i, r in enumerate(records)
    ]
    both = Cohort.of(mixed, model)
    bundle = Bundle.of(model, both, personalise(model, both))
    for person, record in zip(bundle.people, records, strict=True):
        assert person.covariates["AGE"] == pytest.approx(record.covariates["AGE"], rel=1e-12)
        (shift,) = bundle.forecast(person.id, person.schedule, [1.0, 2.0]).shift or ()
        assert "AGE" not in [reason.name for reason in shift.reasons]


def test_limits_that_a_cohort_leaves_out_are_said(training: tuple[HybridModel, Cohort, Personal, Reference]) -> None:
    model, _, _, reference = training
    whole = people(model, 1, seed=83)[0]
    some = replace(whole, id="2", values=np.array([[5.0]] * 4 + [[np.nan]] * 2), upper=np.array([[np.nan]] * 4 + [[0.1]] * 2))
    one = replace(whole, id="3", values=np.array([[5.0]] * 5 + [[np.nan]]), upper=np.array([[np.nan]] * 5 + [[0.1]]))
    said = []
    for censoring in ("m1", "m3"):
        cohort = Cohort.of([whole, some, one], model, censoring=censoring)  # type: ignore[arg-type]
        personal = personalise(model, cohort)
        found = compared(predict(model, cohort, personal.mode[:, None]), reference, model, cohort, personal=personal).shift
        said.append([shift.unknown for shift in found or ()])
    many = '2 measurements that are known by limits alone are neither counted nor compared (censoring="m1")'
    single = 'one measurement that is known by limits alone is neither counted nor compared (censoring="m1")'
    assert said == [["", many, single], ["", "", ""]]
