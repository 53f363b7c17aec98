"""Everything that is public on a second device: a pretended one everywhere, and a GPU where there is one.

The law: what stands on one device stays there, what reads arrays takes it from anywhere, and the numbers are the processor's.
"""

import copy
import csv
import runpy
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from exchange import load, lure_of, save
from homeostat import demo
from homeostat.c_peptide import demo as c_peptide
from homeostat.cli import app
from homeostat.data import THEOPHYLLINE_UNITS, theophylline
from homeostat.gallery import Asked, reliability_numbers
from homeostat.gallery.judged import judge_uncertainty, rings_of
from homeostat.gallery.made import Made
from homeostat.pictures.bands import Bands
from homeostat.pictures.flow import member_mean_field
from homeostat.pictures.what_if import Exceedance
from homeostat.study import (
    Settings,
    bundle_of,
    crps_difference,
    dense_of,
    evaluate,
    split,
    train,
)
from homeostat.study.backbones import backbone_named
from homeostat.study.recipe import hybrid_recipe
from hybrid import (
    Concentration,
    Dose,
    Exponential,
    HybridModel,
    Mesh,
    Prediction,
    RungeKutta,
    Schedule,
    Solver,
    Torchdiffeq,
    conditions_of,
    field_spread,
    rollout,
    sample_paths,
    simulate,
)
from learned import MLP, AdditiveProportional, ContractingMLP, DiagonalDiffusion, Ensemble, NeuralNoise
from physics import LogNormalPopulation, OneCompartmentOral
from stability import Certificate, certify, check
from tests.pretended_device import pretended
from training import (
    Anchor,
    Checkpoint,
    Cohort,
    Looks,
    Objective,
    Record,
    Search,
    Stability,
    diagnostics,
    fit,
    fit_population,
    forecast,
    gaussian_crps,
    laplace_marginal,
    personalise,
    prior,
    read_nonmem,
    shoot,
)
from training.trust import (
    Horizons,
    Outcome,
    innovations,
    mean_scores,
    score_table,
    scores_by_horizon,
    uncertainty_report,
)
from training.trust.recalibration import CrossScaling, Scaling

F64 = torch.float64
MESH = Mesh(0.65, 0.3, 0.5)


@pytest.fixture
def weighed(people_of: Any) -> tuple[Record, ...]:
    """Three people with a weight."""
    some = people_of(3, times=(0.5, 1.5, 4.0))
    return tuple(
        Record(r.id, r.schedule, r.times, r.values, r.channels, {"WT": 60.0 + 10.0 * i}, {**r.units, "WT": "kg"})
        for i, r in enumerate(some)
    )


@pytest.fixture
def stack() -> HybridModel:
    """Two members whose volume goes with the weight and whose residual sees it too."""
    backbone = OneCompartmentOral()
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, (0.4, 0.2, 0.2), powers={"V": {"WT": (70.0, 1.0, "kg")}}),
        MLP(2, covariates=1, hidden=(3,), state_scale=300.0, rate_scale=0.1),
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
        covariates={"WT": (70.0, 10.0)},
    )
    return Ensemble(2).stack(model, torch.Generator().manual_seed(1))


def zeros(*shape: int, device: torch.device | str = "cpu") -> torch.Tensor:
    return torch.zeros(shape, dtype=F64, device=device)


def last(steps: Iterable[Any]) -> Any:
    *_, step = steps
    return step


# the pretended device itself


def test_the_pretended_device_computes_what_the_processor_computes() -> None:
    there = pretended()
    generator = torch.Generator().manual_seed(0)
    weight, x = (torch.randn(3, 3, dtype=F64, generator=generator) for _ in range(2))
    found = []
    for where in ("cpu", there):
        w = weight.detach().clone().to(where).requires_grad_()
        z = w * 2.0
        z[1:, 1] *= 3.0  # in place on a view
        z.T[0].add_(1.0)
        value = torch.linalg.solve(z.T @ z + torch.eye(3, dtype=F64, device=where), x.to(where).tanh()).square().sum()
        value.backward()
        found.append([value.detach().cpu(), w.grad.cpu(), copy.deepcopy(torch.nn.ParameterList([w]))[0].detach().cpu()])
        assert w.grad.device == w.device == torch.device(where)
    for have, want in zip(*found, strict=True):
        torch.testing.assert_close(have, want, rtol=0.0, atol=0.0)


def test_the_pretended_device_refuses_what_a_gpu_refuses() -> None:
    there = pretended()
    here, other = torch.ones(2, 2), torch.ones(2, 2, device=there)
    number = torch.tensor(2.0)
    index = torch.tensor([1])
    assert (other * number + other[index]).device == there
    refused = [
        lambda: other.numpy(),
        lambda: np.asarray(other),
        lambda: here + other,
        lambda: here * number.to(there),  # a number may stay on the processor, and may not come from elsewhere
        lambda: torch.where(other > 0, here, 1.0),
        lambda: torch.stack([here, other]),
        lambda: here @ other,
        lambda: torch.einsum("ij,jk->ik", other, here),
        lambda: here[index.to(there)],
        lambda: torch.randn(2, device=there, generator=torch.Generator()),
        lambda: here.add_(other.sum()),
    ]
    for attempt in refused:
        with pytest.raises((RuntimeError, TypeError), match=r"device|cpu|convert"):
            attempt()


# what stands together, and what moves


def test_a_penalty_is_made_where_the_model_is(
    stack: HybridModel, weighed: tuple[Record, ...], device: torch.device
) -> None:
    cohort = Cohort.of(weighed, stack, MESH)
    want = Stability.of(stack, cohort.conditions.covariates)
    there = copy.deepcopy(stack).to(device)
    for model, covariates in (
        (stack, cohort.to(device).conditions.covariates),  # the model is moved later, as in a study
        (there, cohort.to(device).conditions.covariates),
        (there, cohort.conditions.covariates),
    ):
        found = Stability.of(model, covariates)
        assert found.metric.device == model.device
        torch.testing.assert_close(found.metric.cpu(), want.metric, rtol=1e-6, atol=1e-9)
    step = last(fit(there, cohort.to(device), objective=Objective(stability=want), search=Search(steps=1)))
    assert step.loss.device == device


def test_all_of_a_prediction_is_where_its_means_are(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(2)
    mean = torch.randn((2, 3, 4, 5, 1), dtype=F64, generator=generator)
    mask = torch.arange(5).expand(4, 5) < torch.tensor([5, 4, 3, 5])[:, None]
    here = Prediction(mean, torch.full_like(mean, 0.3), torch.arange(5.0).expand(4, 5), mask, ("y",), ("mg/L",))
    there = Prediction(mean.to(device), here.variance, here.times, mask, ("y",), ("mg/L",))
    assert {getattr(there, n).device for n in ("mean", "variance", "times", "mask")} == {device}
    assert here.to(device).mask.device == device
    y = torch.where(mask[..., None], torch.randn((4, 5, 1), dtype=F64, generator=generator), torch.nan)
    people = [f"P{i}" for i in range(4)]

    def scored(prediction: Prediction, seen: torch.Tensor) -> list[np.ndarray]:
        def own() -> torch.Generator:
            return torch.Generator().manual_seed(5)

        outcome = Outcome(prediction, seen, people)
        table = score_table(outcome, generator=own())
        rows = scores_by_horizon(outcome, horizons=Horizons.of(prediction, count=2))
        scaling = Scaling.fit(outcome)
        mended = scaling.apply(prediction, people, in_sample=True)
        cross = CrossScaling.fit(outcome, folds=2, generator=own())
        report = uncertainty_report(
            replace(outcome, prediction=cross.apply(prediction, people)), generator=own(), calibration=cross, replicates=40
        )
        tensors = [
            *(prediction.point, prediction.total, prediction.epistemic_posterior, prediction.cdf(seen), mended.mean),
            *(prediction.exceeds(0.2), prediction.crosses(0.5), *prediction.interval(0.8), prediction.sample(3, own())),
            *(prediction.people([2, 0]).members([1]).during(1.0, 3.0).log_prob(seen[[2, 0]]), mended.variance),
        ]
        assert {t.device for t in tensors} == {prediction.mean.device}
        scores = mean_scores(outcome)
        exceedance = Exceedance.of(prediction, 0.1, person=0, channel=0)
        return [
            *(t.cpu().numpy() for t in tensors),
            *(np.array(list(table.values())), np.array([r.scores["crps"] for r in rows]), scores["nll"], scores["crps"]),
            *(innovations(outcome), Bands.of(prediction).total, np.array([exceedance.duration, exceedance.peak])),
            *(np.array([report.channels[0].crps, report.channels[0].zms.lower, report.failed]), np.array(scaling.aleatoric)),
        ]

    want = scored(here, y)
    for seen in (y, y.to(device)):
        for a, b in zip(scored(there, seen), want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_a_cohort_is_cut_where_the_model_is_and_what_does_not_stand_together_is_named(
    stack: HybridModel, weighed: tuple[Record, ...], device: torch.device
) -> None:
    there = copy.deepcopy(stack).to(device)
    cohort = Cohort.of(weighed, there, MESH)
    given = conditions_of(
        there, [r.schedule for r in weighed], [[1.0, 2.0]] * 3, covariates={"WT": [60.0, 70.0, 80.0]}, mesh=MESH
    )
    plain = Cohort.of(weighed, there)
    for conditions in (cohort.conditions, plain.conditions, given, cohort.people(torch.tensor([2, 0])).conditions):
        each = [getattr(conditions.segments, f.name) for f in fields(conditions.segments)]
        parts = [part for part in each if isinstance(part, torch.Tensor)]  # the rest are flags, and what is there of few
        assert {t.device for t in (*parts, conditions.baseline, *conditions.covariates.values())} == {device}
    assert rollout(there, given, zeros(2, 3, 3, device=device)).mean.device == device
    assert cohort.until(2.0).after(1.0).y.device == cohort.to("cpu").to(device).y.device == device
    with pytest.raises(ValueError, match=r"on cpu and what is given about the people .*; write cohort.to\(model.device"):
        rollout(stack, cohort.conditions, zeros(2, 3, 3))
    with pytest.raises(ValueError, match=r"their coordinates torch.float64 on cpu; write personal.to\("):
        rollout(there, cohort.conditions, zeros(2, 3, 3))
    with pytest.raises(ValueError, match=r"the cohort on .*cohort.to\(model.device\)"):
        next(fit(stack, cohort, search=Search(steps=1)))
    known = prior(stack, 3)
    assert {getattr(known.to(device), n).device for n in ("mode", "covariance", "objective", "converged")} == {device}


@pytest.mark.parametrize(
    "solver",
    [RungeKutta(), Exponential(), RungeKutta("tsit5", rtol=1e-4), Exponential(rtol=1e-4), Torchdiffeq("rk4")],
    ids=["rk4", "exponential", "tsit5", "adaptive exponential", "torchdiffeq"],
)
def test_a_simulation_and_its_derivatives_are_those_of_the_processor(
    stack: HybridModel, device: torch.device, solver: Solver
) -> None:
    found = []
    for where in ("cpu", device):
        model = copy.deepcopy(stack).to(where)
        time, amount, rate = (torch.tensor(v, dtype=F64, device=where, requires_grad=True) for v in (0.5, 300.0, 0.75))
        doses = (Dose("gut", time, amount), Dose("plasma", 1.0, amount, duration=rate))
        states = simulate(
            model, Schedule(doses), [1.0, 2.5], [1.5, 0.1, 30.0], [10.0, 0.0], c=zeros(1), solver=solver, mesh=MESH
        )
        slopes = torch.autograd.grad(states.square().sum(), (time, amount, rate, model.residual.weights[0]))
        assert {t.device for t in (states, *slopes)} == {torch.device(where)}
        found.append([v.detach().cpu() for v in (states, *slopes)])
    for have, want in zip(*found[::-1], strict=True):
        torch.testing.assert_close(have, want, rtol=1e-7, atol=1e-7)


def test_every_way_of_fitting_is_that_of_the_processor(
    stack: HybridModel, weighed: tuple[Record, ...], device: torch.device, tmp_path: Path
) -> None:
    found = []
    for where in ("cpu", device):
        model = copy.deepcopy(stack).to(where)
        cohort = Cohort.of(weighed, stack, MESH).to(where)
        covariates = cohort.conditions.covariates
        held_out = torch.tensor([[False, False, True], [True, False, False]])
        stability = Stability.of(stack, covariates)
        anchors = Anchor.of(stack, cohort, torch.Generator().manual_seed(3), variance=1.0)
        file = Checkpoint(tmp_path / f"{torch.device(where).type}.checkpoint", every=1)
        ways = [
            fit(
                model,
                cohort,
                objective=Objective(held_out=held_out, weights=(~held_out).to(F64), forecast_from=2.0),
                search=Search(steps=2),
                looks=Looks(every=1),
            ),
            fit(
                model,
                cohort,
                objective=Objective(likelihood=gaussian_crps),
                search=Search(steps=1, solver=Exponential()),
            ),
            fit(model, cohort, objective=Objective(anchors=anchors, least_residual=0.0), search=Search(steps=1)),
            shoot(
                model,
                cohort,
                objective=Objective(stability=stability),
                search=Search(steps=2),
                count=2,
                rounds=1,
                polish=1,
            ),
            fit_population(model, cohort, objective=Objective(stability=stability), search=Search(steps=1)),
        ]
        steps = [last(way) for way in ways]
        interrupted = fit(model, cohort, search=Search(steps=2), looks=Looks(checkpoint=file))
        next(interrupted)
        interrupted.close()
        steps.append(
            last(fit(model, cohort, search=Search(steps=2), looks=Looks(checkpoint=file)))
        )  # goes on from the file
        for step in steps:
            assert {t.device for t in (step.loss, step.best.personal, step.best.model.residual.weights[0])} == {
                torch.device(where)
            }
        before = prior(stack, 3)  # of the processor, as a file gives it
        own = personalise(model, cohort, before=before, start=zeros(2, 3, 3), curvature="observed", iterations=4)
        marginal = laplace_marginal(model, cohort, iterations=4)
        forecasts, _ = forecast(
            model, cohort.until(2.0), cohort.after(2.0), draws=2, generator=torch.Generator().manual_seed(4)
        )
        assert {own.mode.device, marginal.value.device, forecasts.mask.device} == {torch.device(where)}
        found.append([*(s.loss for s in steps), own.mode, own.covariance, marginal.value, forecasts.mean])
    for have, want in zip(*found[::-1], strict=True):
        torch.testing.assert_close(have.detach().cpu(), want.detach(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("from_there", [True, False], ids=["from there to here", "from here to there"])
def test_a_fit_goes_on_where_another_device_left_it(
    stack: HybridModel, weighed: tuple[Record, ...], device: torch.device, tmp_path: Path, from_there: bool
) -> None:
    cohort = Cohort.of(weighed, stack, MESH)

    def fitting(where: torch.device | str, file: Checkpoint | None) -> Iterator[Any]:
        model = copy.deepcopy(stack).to(where)
        return fit(model, cohort.to(where), search=Search(steps=4), looks=Looks(checkpoint=file))

    first, second = (device, "cpu") if from_there else ("cpu", device)
    file = Checkpoint(tmp_path / "fit.checkpoint", every=1)
    begun = fitting(first, file)
    next(begun), next(begun)
    begun.close()
    steps = list(fitting(second, file))
    assert [step.index for step in steps] == [2, 3, 4]  # the saved one once more
    whole = last(fitting("cpu", None))
    there = (steps[-1].best.personal, *steps[-1].best.model.parameters())
    assert {t.device for t in there} == {torch.device(second)}
    for have, want in zip(there, (whole.best.personal, *whole.best.model.parameters()), strict=True):
        torch.testing.assert_close(have.detach().cpu(), want.detach(), rtol=1e-7, atol=1e-9)


def test_every_part_of_a_model_moves_with_it(
    device: torch.device, people_of: Any
) -> None:
    backbone = OneCompartmentOral()
    vertices = backbone.matrices(torch.tensor([[1.0, 0.1, 30.0], [2.0, 0.2, 40.0]], dtype=F64))[0]
    plain = people_of(2, times=(0.5, 2.0))
    for residual, noise in (
        (ContractingMLP(2, hidden=(3,), vertices=vertices), NeuralNoise([0.5], [0.02], states=2, hidden=(3,))),
        (None, AdditiveProportional([0.5], [0.1], [0.02])),
    ):
        made = HybridModel(
            backbone,
            LogNormalPopulation(backbone.physical, (0.4, 0.2, 0.2)),
            residual,
            observation=Concentration(1, 2),
            noise=noise,
            process=DiagonalDiffusion([0.1, 0.1]),
        )
        found = []
        for where in ("cpu", device):
            model = Ensemble(2).stack(copy.deepcopy(made).to(where), torch.Generator().manual_seed(1))
            cohort = Cohort.of(plain, model, MESH)
            run = rollout(model, cohort.conditions, zeros(2, 2, 3, device=where))
            (slope,) = torch.autograd.grad(run.variance.sum(), next(iter(model.parameters())))
            paths = sample_paths(
                model, cohort.conditions, zeros(2, 2, 3, device=where), 2, torch.Generator().manual_seed(6)
            )
            points = torch.ones(4, 2, dtype=F64)
            spread = field_spread(model, points)
            assert {t.device for t in (run.mean, slope, paths.measurement, spread)} == {torch.device(where)}
            found.append([v.detach().cpu() for v in (run.mean, run.variance, slope, paths.measurement, spread)])
        for have, want in zip(*found[::-1], strict=True):
            torch.testing.assert_close(have, want, rtol=1e-8, atol=1e-10)


def test_types_follow_the_model_or_are_named(stack: HybridModel, weighed: tuple[Record, ...]) -> None:
    cohort = Cohort.of(weighed, stack, MESH)
    single, short = copy.deepcopy(stack).to(torch.float32), cohort.to(torch.float32)
    assert rollout(single, short.conditions, zeros(2, 3, 3).float()).mean.dtype == torch.float32
    given = conditions_of(single, [r.schedule for r in weighed], [[1.0]] * 3, covariates={"WT": [60.0, 70.0, 80.0]}, mesh=MESH)
    assert rollout(single, given, zeros(2, 3, 3).float()).mean.dtype == torch.float32
    step = last(
        fit(
            single,
            short,
            objective=Objective(stability=Stability.of(stack, cohort.conditions.covariates)),
            search=Search(steps=1),
        )
    )
    assert step.loss.dtype == torch.float32
    want = personalise(copy.deepcopy(single).to(F64), cohort)  # of the numbers that float32 has kept
    for given in (cohort, short):
        found = personalise(single, given)
        assert found.mode.dtype == F64
        torch.testing.assert_close(found.mode, want.mode, rtol=1e-4, atol=1e-4)
    assert single.dtype == torch.float32  # a copy was taken
    generator = torch.Generator().manual_seed(0)
    assert forecast(single, short, short, draws=2, generator=generator)[0].mean.dtype == F64
    with pytest.raises(ValueError, match=r"float32 on cpu and what is given about the people torch.float64"):
        rollout(single, cohort.conditions, zeros(2, 3, 3).float())
    with pytest.raises(ValueError, match=r"float64 on cpu and their coordinates torch.float32"):
        sample_paths(stack, cohort.conditions, zeros(2, 3, 3).float(), 1, generator)
    for attempt in (
        lambda: laplace_marginal(single, short),
        lambda: next(fit_population(single, short, search=Search(steps=1))),
    ):
        with pytest.raises(ValueError, match="a marginal likelihood needs float64"):
            attempt()


# the whole path


def study(device: torch.device | str, folder: Path) -> tuple[dict[str, float], list[np.ndarray], Path]:
    """What the demo does, small: scores, everything else that is a number, and the saved bundle."""
    records = read_nonmem(theophylline(), units=THEOPHYLLINE_UNITS)
    records = [replace(r, times=r.times[1:7:2], values=r.values[1:7:2]) for r in records[:4]]
    settings = Settings(members=2, folds=2, steps=1, draws=2, forecast_from=1.0, device=str(device))
    recipe = hybrid_recipe(backbone_named("OneCompartmentOral"), records, hidden=(2,))
    trained = train(recipe, records, settings, Console(quiet=True))
    found = evaluate(trained, settings, 5.0)
    asked = Asked("concentration", "mg/L", 5.0, 1.0, "h")
    judged = judge_uncertainty(found.prediction.to(device), found.y.to(device), [r.id for r in records], asked)
    bundle = bundle_of(trained, None, {}, {})
    assert trained.model.device == trained.personal.mode.device == torch.device(device)  # it stays where it was
    system = bundle.system()
    # what a claim is about is made on the processor wherever the model is: a claim that is made there is of the saved bundle
    assert lure_of(trained.model, trained.personal.mode, trained.cohort.conditions.covariates).digest() == system.digest()
    certificate = certify(system, rate=0.03)
    assert isinstance(certificate, Certificate)
    assert check(certificate, system)
    path = save(bundle_of(trained, certificate, {"uncertainty": judged.to_dict()}, {}), folder / "model.twin")
    known, _ = split(trained.cohort, 1.0)
    asked_of = dense_of(trained.cohort, trained.model, 4.0, points=5)
    dense, _ = forecast(trained.model, known, asked_of, draws=2, generator=torch.Generator().manual_seed(1))
    rings = rings_of(trained.model, trained.cohort, trained.personal)
    assert dense.mean.device == asked_of.y.device == torch.device(device)
    assert rings is not None
    there = load(path)
    there.model.to(device)  # a loaded model on a GPU: what is given about its people goes there too
    whatif = there.forecast(there.people[0].id, None, [1.0, 2.0], draws=2)
    assert whatif.mean.device == torch.device(device)
    assert check(certificate, there.system())
    field = member_mean_field(there.model, bundle.personal.mode[:, [0]], there.people[0].covariates)
    numbers = reliability_numbers(found, asked)
    arrays = [
        *(found.pit, found.joint_pit, Bands.of(dense).median, rings.spread, whatif.point.cpu().numpy()),
        *(np.array(judged.before.channels[0].zms.upper), np.array(judged.change["crps"]), numbers.fraction),
        *(np.array(crps_difference(found, found)), field(np.array([[100.0, 50.0], [0.0, 1.0]]))),
    ]
    return dict(found.scores), arrays, path


def test_the_whole_path_is_that_of_the_processor(device: torch.device, tmp_path: Path) -> None:
    scores, arrays, _ = study(device, tmp_path / "there")
    wanted, others, _ = study("cpu", tmp_path / "here")
    assert scores == pytest.approx(wanted, rel=1e-6, abs=1e-9, nan_ok=True)
    for have, want in zip(arrays, others, strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-6, atol=1e-8)


def some_people(folder: Path, name: str, first: int, end: int) -> Path:
    """The rows of some of the twelve, as a table of its own."""
    with theophylline().open(newline="") as file:
        rows = list(csv.reader(file))
    some = list(dict.fromkeys(row[0] for row in rows[1:]))[first:end]
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *(row for row in rows[1:] if row[0] in some)])
    return folder / name


class Here:
    """A second process that is this one: a pretended device is nowhere else."""

    def __init__(self, load: str) -> None:
        pass

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def ask(self, function: Any, *arguments: Any) -> Any:
        value = function(*arguments)
        return SimpleNamespace(get=lambda: value, ready=lambda: True)


@pytest.mark.slow
def test_the_demo_runs_on_a_device(device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = some_people(tmp_path, "four.csv", 0, 4)
    monkeypatch.setattr(demo, "theophylline", lambda: table)
    monkeypatch.setattr(demo, "SecondProcess", Here)
    settings = Settings(members=2, folds=2, steps=1, draws=2, forecast_from=demo.FORECAST_FROM, device=str(device))
    summary = demo.run_demo(tmp_path / "demo", settings, Console(quiet=True))
    assert summary["certified"]
    assert summary["identical_after_load"]
    assert set(summary["scores"]) == {"hybrid", "backbone alone", "neural ODE alone"}


@pytest.mark.slow
def test_the_second_demo_runs_on_a_device(device: torch.device, tmp_path: Path) -> None:
    settings = replace(c_peptide.SETTINGS, members=2, folds=2, steps=2, draws=2, device=str(device))
    console, made = Console(quiet=True), Made.now("homeostat demo c-peptide")
    summary = c_peptide.run_c_peptide(tmp_path / "demo", settings, console, made=made)
    assert summary["identical_after_load"]
    assert load(tmp_path / "demo" / "model.twin").model.device == torch.device("cpu")


def test_diagnostics_of_a_population_on_a_device(
    device: torch.device, stack: HybridModel, weighed: tuple[Record, ...]
) -> None:
    """Drawn and judged there, with a value that is known by a limit alone, they are what the processor makes of them."""
    found = []
    for where in (torch.device("cpu"), device):
        model = stack.to(where)
        cohort = Cohort.of(weighed, model)
        y = cohort.y.clone()
        limits = torch.stack([torch.full_like(y, -torch.inf), torch.full_like(y, torch.inf)], -1)
        limits[0, 0, 0, 1], y[0, 0, 0] = 2.0, torch.nan
        cohort = replace(cohort, y=y, limits=limits)
        generator = torch.Generator().manual_seed(3)
        drawn = diagnostics.simulated_cohorts(model, cohort, 30, generator)
        errors, left = diagnostics.npde(drawn, generator), diagnostics.residuals(model, cohort, member=1)
        curves = diagnostics.fitted_curves(model, cohort, points=5)
        eta = diagnostics.eta_against_covariates(model, cohort, generator=generator, permutations=9)
        check = diagnostics.predictive_check(drawn)
        assert errors.npde.device == left.cwres.device == curves.individual.device == where
        found.append([errors.npde.cpu(), left.cwres.cpu(), curves.individual.cpu(), *map(torch.from_numpy, (eta.eta, check.low))])
    for here, there in zip(*found, strict=True):
        # two machines' sums differ in their last digits, and a mode is found to 1e-4 standard deviations
        torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-3, equal_nan=True)


@pytest.mark.slow
def test_the_shell_fits_on_a_device_and_reports_on_others(device: torch.device, tmp_path: Path) -> None:
    these, others = (some_people(tmp_path, n, *ends) for n, ends in (("these.csv", (0, 4)), ("others.csv", (4, 6))))
    units = ",".join(f"{name}={unit}" for name, unit in THEOPHYLLINE_UNITS.items())
    small = ["--members", "2", "--folds", "2", "--steps", "2", "--hidden", "2", "--device", str(device)]
    fitted = CliRunner().invoke(
        app, ["fit", str(these), "--units", units, "--out", str(tmp_path / "fit"), *small]
    )
    assert fitted.exit_code == 0, fitted.output
    twin = str(tmp_path / "fit" / "model.twin")
    reported = CliRunner().invoke(app, ["report", twin, "--data", str(others), "--units", units])
    assert reported.exit_code == 0, reported.output


@pytest.mark.slow
def test_the_example_runs_on_a_device(
    device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Path(__file__).parents[1] / "examples/theophylline.py"
    out = tmp_path / "model.twin"
    monkeypatch.setattr("sys.argv", [str(script), "--device", str(device), "--steps", "1", "--out", str(out)])
    runpy.run_path(str(script), run_name="__main__")
    assert isinstance(load(out).certificate, Certificate)
