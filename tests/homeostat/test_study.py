"""The study: its scores know what a perfect forecaster looks like, and its certificate is the round one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from rich.console import Console

from exchange import Bundle, solver_named
from homeostat.bundles.these_people import scaling_in
from homeostat.gallery import comparison_verdict, speaks_of
from homeostat.study import (
    Settings,
    Trained,
    bundle_of,
    certify_rounded,
    crps_difference,
    dense_unseen,
    dosed_region,
    evaluate,
    gradient_difference,
    judge,
    score,
    split,
    train,
)
from homeostat.study.backbones import backbone_named
from homeostat.study.recipe import Recipe, hybrid_recipe, neural_ode_recipe
from hybrid import Dose, Exponential, Mesh, Prediction, RungeKutta, Schedule, Torchdiffeq
from stability import Certificate, Lure, Refusal, certify, check
from training import Record
from training.people.tables.nonmem import read_table
from training.trust import Outcome
from training.trust.recalibration import Scaling

SETTINGS = Settings(members=2, folds=2, steps=3, forecast_from=2.0, draws=3)
QUIET = Console(quiet=True)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def forecaster(seed: int, people: int = 12, times: int = 6) -> Prediction:
    """Someone who knows neither the person nor the model exactly: 3 members, 2 draws, all different."""
    g = generator(seed)
    shape = (3, 2, people, times, 1)
    mean = 5.0 + torch.randn(1, 1, people, times, 1, generator=g, dtype=torch.float64) * 2.0
    mean = mean + torch.randn(3, 2, people, 1, 1, generator=g, dtype=torch.float64)
    t = torch.arange(times, dtype=torch.float64).expand(people, times)
    mask = torch.ones(people, times, dtype=torch.bool)
    return Prediction(mean, torch.full(shape, 0.5, dtype=torch.float64), t, mask, ("y",), ("mg/L",))


BANDS = ("event_ece", "quantile_calibration_error", "coverage_50", "coverage_80", "coverage_90", "coverage_95")


def inside(scores: dict[str, float], name: str) -> bool:
    band = f"{name}_drawn" if name.startswith("coverage") else f"{name}_null"
    return scores[f"{band}_lower"] - 1e-12 <= scores[name] <= scores[f"{band}_upper"] + 1e-12


def test_the_null_bands_hold_a_perfect_forecaster_and_not_a_bold_one() -> None:
    # Outcomes drawn from the forecast itself, whole paths at once: each 95 % band holds them in 95 % of repetitions. Of 40
    # the count inside is binomial with mean 38 and standard deviation 1.4; 32 is more than four of them below.
    held = dict.fromkeys(BANDS, 0)
    bold = dict.fromkeys(BANDS, 0)
    for seed in range(40):
        prediction = forecaster(seed)
        y = prediction.sample(1, generator(1000 + seed))[0]
        good = score(prediction, y, 5.0, generator(seed), paths=200).scores
        # the same outcomes, forecast with an eighth of the spread: too sure of everything
        centre = prediction.mean.mean((0, 1), keepdim=True)
        narrow = replace(prediction, mean=centre + (prediction.mean - centre) / 8.0, variance=prediction.variance / 64.0)
        bad = score(narrow, y, 5.0, generator(seed), paths=200).scores
        for name in BANDS:
            held[name] += inside(good, name)
            bold[name] += inside(bad, name)
    assert min(held.values()) >= 32, held
    assert max(bold[name] for name in BANDS) <= 4, bold


def test_scores_do_not_depend_on_what_stands_at_missing_measurements() -> None:
    prediction = forecaster(3, people=4)
    y = prediction.sample(1, generator(4))[0]
    y[1, 2:] = torch.nan
    found = score(prediction, y, 5.0, generator(), paths=50)
    assert found.probability.shape == found.outcome.shape == found.pit.shape == (20,)
    assert found.joint_outcome.shape == found.joint_pit.shape == (50, 20)
    assert found.scores["count"] == 20.0
    assert all(np.isfinite(v) for v in found.scores.values())
    assert found.outcome.tolist() == (y[torch.isfinite(y)] > 5.0).double().tolist()


def test_an_event_that_never_happens_is_scored_too() -> None:
    prediction = forecaster(5, people=4)
    found = score(prediction, prediction.sample(1, generator(6))[0], 1e6, generator(), paths=50)
    assert found.scores["event_brier"] == 0.0
    assert found.scores["event_ece"] == 0.0


def test_crps_difference() -> None:
    prediction = forecaster(7)
    y = prediction.sample(1, generator(8))[0]
    y[0, 3] = torch.nan
    a = score(prediction, y, 5.0, generator(), paths=50)
    b = score(replace(prediction, mean=prediction.mean + 1.5), y, 5.0, generator(), paths=50)
    assert crps_difference(a, a) == (0.0, 0.0, 0.0)
    mean, low, high = crps_difference(a, b)
    exact = float((prediction.crps(y) - b.prediction.crps(y)).nanmean())
    assert mean == pytest.approx(exact, rel=1e-12)
    assert low < mean < high < 0.0  # the one who is right is better, beyond what twelve people leave open
    other = crps_difference(b, a)
    assert other[0] == -mean
    assert other[1:] == pytest.approx((-high, -low), rel=1e-12)  # the same people are drawn


# ---- certificates ----------------------------------------------------------------------------------------------------


def small_loop(gain: float) -> Lure:
    A = np.array([[[-1.5, 0.0], [1.5, -0.09]]])
    weights = [np.array([[[0.3, 0.0], [0.0, 0.3]]]), gain * np.array([[[0.02, 0.01], [0.01, 0.02]]])]
    return Lure(A=A, weights=weights, biases=[np.zeros((1, 2)), np.zeros((1, 2))])


def test_the_kept_certificate_gives_rate_for_roundness() -> None:
    system = small_loop(1.0)
    best = certify(system)
    kept, rate = certify_rounded(system, share=0.9)
    assert isinstance(kept, Certificate)
    assert isinstance(best, Certificate)
    assert rate == pytest.approx(best.rate, rel=1e-6)
    assert 0.9 * best.rate * (1 - 1e-9) <= kept.rate <= best.rate
    assert kept.condition <= best.condition
    assert kept.condition < best.condition  # here there is something to gain
    assert check(kept, system)


@pytest.mark.parametrize(
    "system",
    [
        Lure(A=[[-1.0]], weights=[[[0.05]], [[0.05]]], biases=[[0.0], [0.0]], activation="tanh"),
        Lure(A=[[-1.0]], weights=[], biases=[]),
        Lure(A=np.array([[[-1.0]], [[-2.0]]]), weights=[], biases=[]),
        Lure(A=-np.eye(3), weights=[], biases=[]),
        Lure(A=[[-1.0, 1e-5], [0.0, -1.0]], weights=[0.01 * np.eye(2), 0.01 * np.eye(2)], biases=[np.zeros(2)] * 2),
        Lure(A=[[-1.0, 0.02], [0.0, -1.01]], weights=[0.01 * np.eye(2), 0.01 * np.ones((2, 2))], biases=[np.zeros(2)] * 2),
    ],
    ids=["one state", "one state, linear", "two of one state", "identity", "nearly the identity", "a little off it"],
)
def test_where_the_best_metric_is_round_nothing_is_given_up(system: Lure) -> None:
    """A condition number of 1 leaves nothing between it and the identity; nor does one a little above."""
    kept, best = certify_rounded(system, seconds=10.0)
    assert isinstance(kept, Certificate)
    assert best is not None
    assert check(kept, system)
    assert kept.condition < 4.0
    assert kept.rate > 0.89 * best
    for condition in (1.0, 1.0 + 1e-9, 1.002, 1.01, 1.5):
        round_one = certify(system, 0.5 * best, condition=condition)
        assert isinstance(round_one, Certificate)
        assert round_one.condition <= condition * (1 + 1e-9)
        assert check(round_one, system)
    with pytest.raises(ValueError, match="a finite number from 1 on"):
        certify(system, condition=0.99)


@pytest.mark.parametrize(
    ("config", "units"),
    [
        ({"A": [[-1.0]], "states": ["x"]}, {"TIME": "1", "AMT": "1", "DV": "1"}),
        ({"A": [[-1.0]], "states": ["x"], "time_unit": "h", "state_units": ["mg"]}, {"TIME": "h", "AMT": "mg", "DV": "mg"}),
    ],
    ids=["the example of fit --help", "with units"],
)
def test_a_model_of_one_state_is_trained_and_certified(
    config: dict[str, object], units: dict[str, str], tmp_path: Path
) -> None:
    """As `homeostat fit --backbone LinearBackbone --backbone-config …` goes: table, recipe, training, bundle, certificate."""
    rows = ["ID,TIME,AMT,DV,EVID,CMT"]
    for person, dose in enumerate((10.0, 10.5, 12.0, 12.5)):
        rows += [f"{person},0,{dose},.,1,1"] + [f"{person},{t},.,{dose * np.exp(-t):.3f},0,1" for t in (0.5, 1.0, 2.0)]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    read = read_table(tmp_path / "table.csv", units=units, compartments={1: "x"}, channels={1: "x"})
    records = [r.on_own_clock() for r in read.records]
    recipe = hybrid_recipe(backbone_named("LinearBackbone", config), records, hidden=(4,))
    trained = train(recipe, records, replace(SETTINGS, steps=1), QUIET)
    system = bundle_of(trained, None, {}, {}).system()
    kept, best = certify_rounded(system)
    assert isinstance(kept, Certificate)
    assert best is not None
    assert kept.rate == best
    assert kept.condition == 1.0
    assert check(kept, system)


def test_what_cannot_contract_is_refused_once() -> None:
    kept, rate = certify_rounded(small_loop(100.0), seconds=10.0)
    assert isinstance(kept, Refusal)
    assert rate is None


def test_the_region_of_daily_doses(people: tuple[Record, ...]) -> None:
    """Ten times the largest bolus in every compartment; what is proved there is said in words that name box, start and doses."""
    box, inputs = dosed_region(people, ("gut", "plasma"), 24.0)
    largest = max(float(d.amount) for r in people for d in r.schedule.doses)
    np.testing.assert_allclose(box.upper, 10.0 * largest)
    np.testing.assert_array_equal(box.lower, -box.upper)
    assert inputs.doses is not None
    np.testing.assert_allclose(inputs.doses, [[largest, 0.0]])
    slow = replace(people[0], schedule=Schedule((Dose("gut", 0.0, 100.0, 2.0),)))
    with pytest.raises(ValueError, match="has an infusion, and a region is of boluses alone"):
        dosed_region([*people, slow], ("gut", "plasma"), 24.0)
    twice = replace(people[0], schedule=Schedule((Dose("gut", 0.0, largest), Dose("gut", 0.0, largest))))
    _, both = dosed_region([*people, twice], ("gut", "plasma"), 24.0)
    assert both.doses is not None
    np.testing.assert_allclose(both.doses, [[2.0 * largest, 0.0]])  # two at one time are one
    system = small_loop(0.1)
    kept, best = certify_rounded(system, share=0.9, region=box, inputs=inputs)
    assert isinstance(kept, Certificate)
    assert best is not None
    assert 0.9 * best * (1 - 1e-9) <= kept.rate <= best
    assert check(kept, system)
    # a picture may draw a promise for starts that the proof speaks of, and for no others
    assert speaks_of(kept, np.array([[largest, 0.0], [0.0, 0.5 * largest]]))
    assert not speaks_of(kept, np.array([[largest, 0.0], [20.0 * largest, 0.0]]))
    assert speaks_of(certify(system), np.array([[1e6, 0.0]]))
    words = kept.where_in_words()
    assert f"under doses of up to {largest:.4g} into x[0], at least 24 apart" in words
    assert certify(system).where_in_words() == "all states"


def test_a_bundles_recalibration_is_for_other_people() -> None:
    """It is found by those of other ids, withheld from those of the same, and refused in one sentence where it is rubbish."""
    prediction = Prediction(
        torch.randn(2, 2, 5, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
        torch.ones(2, 2, 5, 3, 1, dtype=torch.float64),
        torch.arange(3.0).expand(5, 3),
        torch.ones(5, 3, dtype=torch.bool),
        ("y",),
        ("1",),
    )
    scaling = Scaling.fit(Outcome(prediction, torch.zeros(5, 3, 1), list("abcde")))

    def bundle(data: object) -> Bundle:
        return cast(Bundle, SimpleNamespace(calibration={"uncertainty": {"scaling": data}}))

    others, seen = torch.ones(2, 3, 1), torch.zeros(5, 3, 1)
    assert scaling_in(bundle(scaling.to_dict()), ["x", "y"], others) == (scaling, "")
    assert "same ids (a)" in scaling_in(bundle(scaling.to_dict()), ["x", "a"], others)[1]
    assert "very observations" in scaling_in(bundle(scaling.to_dict()), list("vwxyz"), seen)[1]
    assert scaling_in(bundle(None), ["x"], others) == (None, "")
    with pytest.raises(ValueError, match="recalibration cannot be read"):
        scaling_in(bundle({"kind": "scaling"}), ["x"], others)


# ---- a study ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recipe(people: tuple[Record, ...]) -> Recipe:
    return hybrid_recipe(backbone_named("OneCompartmentOral"), people, hidden=(4,))


@pytest.fixture(scope="module")
def trained(recipe: Recipe, people: tuple[Record, ...]) -> Trained:
    return train(recipe, people, SETTINGS, QUIET)


def test_training_holds_everything_that_a_study_needs(trained: Trained) -> None:
    assert trained.stack.members == 6
    assert trained.model.members == 2
    assert trained.personal.mode.shape == (2, 4, 3)
    assert not trained.interrupted
    again = trained.plan.final(trained.stack)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), trained.model.parameters(), strict=True))


def test_a_study_is_reproducible_and_knows_its_seed(
    trained: Trained, recipe: Recipe, people: tuple[Record, ...]
) -> None:
    evaluation = evaluate(trained, SETTINGS, 5.0)
    again, why, where = judge(recipe, people, SETTINGS, 5.0)
    assert why == " ".join(trained.convergence.sentences())
    assert where == trained.convergence.where
    assert again.scores == evaluation.scores
    assert torch.equal(again.prediction.mean, evaluation.prediction.mean)
    other, *_ = judge(recipe, people, replace(SETTINGS, seed=1), 5.0)
    assert not torch.equal(other.prediction.mean, evaluation.prediction.mean)


def test_better_than_what_was_not_trained_to_its_end_is_no_news() -> None:
    why = "The fit has not converged in 2 of 2 members: each for a reason of its own."
    better, worse = (-0.3, -0.4, -0.2), (0.3, 0.2, 0.4)
    plain = comparison_verdict("neural ODE alone", better, "mg/L", unfinished="")
    assert plain.good is True
    assert plain.detail.endswith("The training of the neural ODE alone has converged.")
    some = comparison_verdict("neural ODE alone", better, "mg/L", unfinished="", where="in 5 of 8 members")
    assert some.detail.endswith("The training of the neural ODE alone has converged in 5 of 8 members.")
    early = comparison_verdict("neural ODE alone", better, "mg/L", unfinished=why)
    assert early.good is None
    assert early.claim.endswith("better than the neural ODE alone; the training of the neural ODE alone has not converged")
    assert early.detail.endswith(f"Of the neural ODE alone: {why}")
    # who was beaten by it, was beaten
    assert comparison_verdict("neural ODE alone", worse, "mg/L", unfinished=why).good is False


def test_what_is_known_and_what_is_asked_are_everything_once(trained: Trained) -> None:
    known, asked = split(trained.cohort, 2.0)
    assert not (known.mask & asked.mask).any()
    assert torch.equal(known.mask | asked.mask, trained.cohort.mask)
    assert known.times[known.mask[..., 0]].max() <= 2.0 < asked.times[asked.mask[..., 0]].min()
    assert all(half is trained.cohort for half in split(trained.cohort, None))


def test_the_dense_forecast_passes_through_the_forecast(trained: Trained) -> None:
    dense = dense_unseen(trained, SETTINGS, 8.0)
    evaluation = evaluate(trained, SETTINGS, 5.0)
    assert dense.times.shape == (4, 97)
    # 97 points to 8 h are 1/12 h apart: sample times are among them, and the draws are the same ones
    for j, t in enumerate(trained.cohort.times[0].tolist()):
        k = int((dense.times[0] - t).abs().argmin())
        assert abs(float(dense.times[0, k]) - t) < 1e-9
        # each grid is cut into steps of its own: fourth-order errors of steps of at most 0.65 h
        torch.testing.assert_close(dense.mean[:, :, :, k], evaluation.prediction.mean[:, :, :, j], rtol=2e-3, atol=2e-3)


def test_the_bundle_of_a_study_predicts_what_it_learned(trained: Trained) -> None:
    bundle: Bundle = bundle_of(trained, None, {}, {"seed": 1})
    assert [p.id for p in bundle.people] == list(trained.cohort.ids)
    schedule = bundle.people[0].schedule
    times = trained.cohort.times[0].tolist()
    given = (schedule, schedule.scaled("gut", 2.0))
    same, double = (bundle.forecast(bundle.people[0].id, one, times, draws=4) for one in given)
    assert same.mean.shape == (2, 4, 1, len(times), 1)
    assert (double.mean > 1.5 * same.mean).all()  # the same draws: every path is higher, not just the mean
    # the mode's own path lies among its draws
    error = (same.point[0] - trained.cohort.y[0]).abs()
    assert float(error.mean()) < 2.0


def test_a_device_that_is_not_there_is_a_value_error(recipe: Recipe, people: tuple[Record, ...]) -> None:
    with pytest.raises(ValueError, match="no device 'banana'"):
        train(recipe, people, replace(SETTINGS, device="banana"), QUIET)


def test_one_person_cannot_be_cross_validated(recipe: Recipe, people: tuple[Record, ...]) -> None:
    with pytest.raises(ValueError, match="at least 2 people"):
        train(recipe, people[:1], SETTINGS, QUIET)


# ---- recipes ---------------------------------------------------------------------------------------------------------


def test_recipes_fit_their_people(people_of: Callable[..., tuple[Record, ...]]) -> None:
    people = people_of(3)
    backbone = backbone_named("OneCompartmentOral")
    alone = hybrid_recipe(backbone, people, with_residual=False)
    assert alone.name == "backbone alone"
    assert type(alone.model.residual).__name__ == "Zero"
    free = neural_ode_recipe(backbone, people)
    assert free.model.personal == 3
    assert free.model.backbone.physical == ()
    assert all(type(m) is Mesh for m in (alone.mesh, free.mesh))


def test_unknown_backbones_are_named() -> None:
    with pytest.raises(ValueError, match="choose one of LinearBackbone, OneCompartmentOral, VanCauter"):
        backbone_named("Mystery")
    with pytest.raises(ValueError, match="arguments do not fit"):
        backbone_named("OneCompartmentOral", {"surprise": 1})


def test_the_gradient_that_trains_is_torchdiffeqs(people: tuple[Record, ...]) -> None:
    trained = train(hybrid_recipe(backbone_named("OneCompartmentOral"), people[:3], hidden=(3,)), people[:3], SETTINGS, QUIET)
    near = gradient_difference(trained, SETTINGS)
    assert 0.0 < near < 1e-2
    assert gradient_difference(trained, replace(SETTINGS, solver="torchdiffeq:euler")) > 10.0 * near


def test_solvers_by_name() -> None:
    names = ["rk4", "tsit5", "exponential", "torchdiffeq:dopri5", "torchdiffeq:rk4:adjoint", "torchdiffeq:scipy_solver"]
    assert [solver_named(n) for n in names] == [
        RungeKutta("rk4"),
        RungeKutta("tsit5"),
        Exponential(),
        Torchdiffeq("dopri5"),
        Torchdiffeq("rk4", adjoint=True),
        Torchdiffeq("scipy_solver", adjoint=True),
    ]
    for wrong in ("rk5", "torchdiffeq", "torchdiffeq:rk5", "torchdiffeq:rk4:other", "exponential:rk4", "", "torchdiffeq:rk4:"):
        with pytest.raises(ValueError, match=r"write one of bosh3, .* exponential, or torchdiffeq:METHOD .* scipy_solver"):
            solver_named(wrong)


def test_a_bundle_predicts_with_the_solver_that_trained_it(people: tuple[Record, ...]) -> None:
    settings = replace(SETTINGS, solver="torchdiffeq:rk4", steps=1)
    trained = train(hybrid_recipe(backbone_named("OneCompartmentOral"), people[:3], hidden=(3,)), people[:3], settings, QUIET)
    bundle = bundle_of(trained, None, {}, {"settings.solver": settings.solver})
    assert bundle.solver == Torchdiffeq("rk4")
    assert bundle_of(trained, None, {}, {}).solver == RungeKutta("rk4")
    def predicted(name: str) -> torch.Tensor:
        asked = replace(bundle, provenance={"settings.solver": name})
        return asked.forecast(people[0].id, None, [1.0, 4.0], draws=2).mean

    # a solver that adapts its steps predicts; beside fixed ones error control does, since draws may outrun the mesh
    fixed, ours, other = (predicted(name) for name in ("torchdiffeq:euler", "rk4", "torchdiffeq:dopri5"))
    assert torch.equal(fixed, ours)
    assert not torch.equal(other, ours)
    assert torch.allclose(other, ours, rtol=1e-5)
