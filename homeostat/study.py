"""One study: train an ensemble beside its cross-validation, personalise, judge on people never seen, certify."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from exchange import Bundle, Person
from homeostat.progress import Interruption, watched
from homeostat.recipe import Recipe
from homeostat.solvers import DEFAULT, solver_named
from hybrid import (
    HybridModel,
    Mesh,
    Prediction,
    Schedule,
    SimulationError,
    Solver,
    Torchdiffeq,
    build_segments,
    conditions_of,
    predict,
    rollout,
)
from hybrid.defaults import predicting
from hybrid.mesh import MOST_STEPS
from hybrid.schedule import as_float
from stability import Box, Certificate, Inputs, Lure, Refusal, certify
from stability.region import Region
from training import (
    AtEnd,
    Checkpoint,
    Cohort,
    Convergence,
    Looks,
    Objective,
    Personal,
    Plan,
    Record,
    Search,
    Stability,
    at_ends,
    at_times,
    convergence,
    fit,
    forecast_unseen,
    gaussian_nll,
    log_steps,
    personalise,
    recorded,
)
from training.people.records import never_negative
from training.trust.calibration import (
    EVENT_BINS,
    calibration_null_band,
    expected_calibration_error,
    quantile_null_band,
)
from training.trust.null_band import as_array
from training.trust.scores import brier_decomposition, score_table


@dataclass(frozen=True)
class Settings:
    """How a study is run. Times in the model's unit, since everyone's first dose (or start).

    `members` of the ensemble, `folds` of the cross-validation, at most `steps` of training at learning `rate`,
    `forecast_from`: unseen people are forecast from what was measured up to this time; `draws` of a person's own
    parameters; `seed` of everything random; `solver`, by its name (`solver_named`), of training and of the
    search for a person; predictions are made by it where it adapts its steps, and by error control otherwise.
    """

    members: int = 8
    folds: int = 6
    steps: int = 120
    rate: float = 0.03
    forecast_from: float | None = None
    draws: int = 16
    seed: int = 2026
    device: str = "cpu"
    solver: str = DEFAULT


@dataclass(frozen=True)
class Trained:
    """A fitted stack: the final `model` and the `stack` that also holds the folds' ensembles; the people's coordinates.

    `interrupted`: where training was cut short, None where it was not · `ends`: what the final model has at an end of its range ·
    `convergence`: how far it is from where its people would have it.
    """

    recipe: Recipe
    plan: Plan
    cohort: Cohort
    stack: HybridModel
    model: HybridModel
    personal: Personal
    interrupted: Interruption | None
    ends: tuple[AtEnd, ...]
    convergence: Convergence


def train(
    recipe: Recipe,
    records: Sequence[Record],
    settings: Settings,
    console: Console,
    *,
    checkpoint: Checkpoint | None = None,
    log: Path | None = None,
) -> Trained:
    """Train the final ensemble and every fold's ensemble in one computation, with the stability penalty.

    `checkpoint`: go on from it if it is there, and save into it; `log`: a folder for TensorBoard.
    Errors: `ValueError` for records that do not fit the model; `SimulationError` naming the person.
    """
    try:
        torch.empty(0, device=settings.device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise ValueError(
            f"device {settings.device}: this torch sees no such GPU; use --device cpu, or a CUDA build of torch"
        ) from error
    solver = solver_named(settings.solver)
    generator = torch.Generator().manual_seed(settings.seed)
    require_folds(settings.folds, len(records))
    plan = Plan.of(len(records), settings.members, settings.folds, generator)
    stack = plan.stack(recipe.model, generator).to(settings.device)
    cohort = Cohort.of(records, recipe.model, recipe.mesh).to(settings.device)
    # what cannot contract by physics alone (a neural ODE) is trained without the penalty
    contracting = len(recipe.model.backbone.physical) > 0
    stability = Stability.of(recipe.model, cohort.conditions.covariates) if contracting else None
    steps = fit(
        stack,
        cohort,
        objective=Objective(
            weights=plan.weights, held_out=plan.held_out, stability=stability, forecast_from=settings.forecast_from
        ),
        search=Search(steps=settings.steps, rate=settings.rate, solver=solver),
        # the budget is small, and a member that stalls for a while often goes on: each keeps the best of all its looks
        looks=Looks(every=15, patience=settings.steps, checkpoint=checkpoint),
    )
    losses: list[Tensor] = []
    steps = recorded(steps, losses)
    best, interrupted = watched(steps if log is None else log_steps(steps, log), recipe.name, console)
    model = plan.final(best.model)
    personal = personalise(model, cohort, solver=solver)
    for index, why in personal.failed.items():  # someone on whom the members were trained: the fit itself is broken
        raise SimulationError(why, record=index)
    arrived = convergence(
        model,
        personal,
        cohort.ids,
        weights=plan.weights[: plan.members],
        losses=[loss[: plan.members] for loss in losses],
    )
    ends = at_ends(model, cohort, personal.mode)
    return Trained(recipe, plan, cohort, best.model, model, personal, interrupted, ends, arrived)


def require_folds(folds: int, people: int) -> None:
    """Raise `ValueError` for more folds than people: each fold holds back somebody."""
    if folds > people >= 2:  # of one person nobody is left to learn from, which is said where that is planned
        raise ValueError(
            f"{folds} folds were asked for and there are {people} people; each fold holds back at least one of them: write "
            f"--folds {people} or fewer"
        )


def solver_of(bundle: Bundle) -> Solver:
    """The solver that a bundle was trained with, by its provenance: a person is found with the same one."""
    return solver_named(str(bundle.provenance.get("settings.solver", DEFAULT)))


def gradient_difference(trained: Trained, settings: Settings) -> float:
    """How far the gradient that trains is from torchdiffeq's, at the trained weights: |g − g'|∞/|g'|∞, with g' by dopri5.

    Of the mean over people of −log p(y | η) − log p(η), added over members, along the weights and everyone's η. Both solvers
    work on the cohort's mesh, dopri5 to a tolerance of 1e-8.
    """
    model, cohort = copy.deepcopy(trained.model), trained.cohort
    found = []
    for solver in (solver_named(settings.solver), Torchdiffeq("dopri5", rtol=1e-8, atol=1e-10)):
        personal = trained.personal.mode.clone().requires_grad_()
        model.zero_grad(set_to_none=True)
        run = rollout(model, cohort.conditions, personal, solver)
        (gaussian_nll(cohort.y, run.mean, run.variance) - model.log_prior(personal)).mean(1).sum().backward()
        given = (personal.grad, *(p.grad for p in model.parameters()))
        found.append(torch.cat([g.flatten() for g in given if g is not None]))
    have, want = found
    return float((have - want).abs().max() / want.abs().max())


@dataclass(frozen=True)
class Evaluation:
    """How well people were forecast.

    `prediction` at the observed times · `y` (N, T, p) what was then measured, NaN elsewhere · `threshold` of the event
    "a measurement above it" · `scores` by name, with null bands · `probability`, `outcome`, `pit` (n,), one per scored
    observation, and `joint_outcome`, `joint_pit` (R, n) of R draws of whole predictive paths.
    """

    prediction: Prediction
    y: Tensor
    threshold: float
    scores: Mapping[str, float]
    probability: np.ndarray
    outcome: np.ndarray
    pit: np.ndarray
    joint_outcome: np.ndarray
    joint_pit: np.ndarray


def score(
    prediction: Prediction, y: Tensor, threshold: float, generator: torch.Generator, paths: int = 400
) -> Evaluation:
    """All scores of a forecast, each calibration measure with the band of a perfect forecaster of this sample.

    Observations of one person share their member and draw, so the bands come from draws of whole predictive paths.
    """
    prediction, y = prediction.to("cpu"), y.detach().cpu()  # scores are read as arrays
    there = torch.isfinite(y)
    probability = prediction.exceeds(threshold)[there].numpy()
    outcome = (y[there] > threshold).numpy().astype(float)
    pit = prediction.cdf(y)[there].numpy()
    drawn = torch.where(there, prediction.sample(paths, generator), torch.nan)  # (R, N, T, p)
    joint_outcome = (drawn[:, there] > threshold).numpy().astype(float)
    joint_pit = prediction.cdf(drawn)[:, there].numpy()
    scores = score_table(prediction, y, generator=generator)
    scores["event_ece"] = expected_calibration_error(probability, outcome, bins=EVENT_BINS)
    scores["event_brier"] = brier_decomposition(probability, outcome).score
    event = calibration_null_band(probability, bins=EVENT_BINS, joint=joint_outcome, generator=generator)
    quantile = quantile_null_band(pit, joint=joint_pit, generator=generator)
    for name, band in (("event_ece", event), ("quantile_calibration_error", quantile)):
        scores |= {f"{name}_null_mean": band.mean, f"{name}_null_lower": band.lower, f"{name}_null_upper": band.upper}
    for level in (50, 80, 90, 95):
        inside = (np.abs(joint_pit - 0.5) <= level / 200).mean(1)
        low, high = np.quantile(inside, [0.025, 0.975])
        scores |= {f"coverage_{level}_null_lower": float(low), f"coverage_{level}_null_upper": float(high)}
    return Evaluation(prediction, y, threshold, scores, probability, outcome, pit, joint_outcome, joint_pit)


def evaluate(trained: Trained, settings: Settings, threshold: float) -> Evaluation:
    """Forecast everyone by the ensemble that never saw them, and score it: nothing is refitted, nothing is chosen."""
    known, asked = split(trained.cohort, settings.forecast_from)
    generator = torch.Generator().manual_seed(settings.seed + 1)
    prediction = forecast_unseen(
        trained.plan, trained.stack, known, asked, draws=settings.draws, generator=generator, solver=solver_named(settings.solver)
    )
    return score(prediction, asked.y, threshold, generator)


def judge(recipe: Recipe, records: Sequence[Record], settings: Settings, threshold: float) -> Evaluation:
    """Train without a word and judge: what a second process does for a baseline."""
    return evaluate(train(recipe, records, settings, Console(quiet=True)), settings, threshold)


def split(cohort: Cohort, time: float | None) -> tuple[Cohort, Cohort]:
    """What is known at `time` since everyone's origin, and what is then asked; without a time, everything is known and asked
    again.
    """
    return (cohort, cohort) if time is None else (cohort.until(time), cohort.after(time))


def paired_difference(a: Evaluation, b: Evaluation, draws: int = 2000, seed: int = 11) -> tuple[float, float, float]:
    """Mean CRPS of `a` minus that of `b` over the same people, with a 95 % interval by resampling people."""
    difference = as_array(a.prediction.crps(a.y)) - as_array(b.prediction.crps(b.y))  # (N, T, p), NaN where nothing is scored
    total, count = np.nansum(difference, (1, 2)), np.isfinite(difference).sum((1, 2))
    rows = np.random.default_rng(seed).integers(0, len(total), (draws, len(total)))
    resampled = total[rows].sum(1) / count[rows].sum(1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(total.sum() / count.sum()), float(low), float(high)


def dense_of(cohort: Cohort, model: HybridModel, end: float, points: int = 97) -> Cohort:
    """The cohort asked on a dense grid from every record's start to `end`, on everyone's own clock, for drawing."""
    grid = [np.linspace(r.schedule.start, end, points).tolist() for r in cohort.records]
    backbone, given = model.backbone, cohort.conditions
    segments = build_segments([r.schedule for r in cohort.records], grid, backbone.states, backbone.inputs, given.mesh)
    conditions = replace(given, segments=segments.to(given.baseline))
    return at_times(cohort, conditions, torch.tensor(grid, dtype=torch.float64, device=given.baseline.device))


def dense_unseen(trained: Trained, settings: Settings, end: float) -> Prediction:
    """Forecasts of unseen people on a dense grid, from the same early samples."""
    known, _ = split(trained.cohort, settings.forecast_from)
    generator = torch.Generator().manual_seed(settings.seed + 1)
    return forecast_unseen(
        trained.plan,
        trained.stack,
        known,
        dense_of(trained.cohort, trained.model, end),
        draws=settings.draws,
        generator=generator,
        solver=solver_named(settings.solver),
    )


def certify_rounded(
    system: Lure,
    seconds: float = 60.0,
    share: float = 0.9,
    *,
    region: Region | None = None,
    inputs: Inputs | None = None,
) -> tuple[Certificate | Refusal, float | None]:
    """The certificate to keep, and the best rate that was certified at all.

    The metric of the best rate is close to singular, and its bound |δx(t)| ≤ √κ e^{−λt} |δx(0)| says little early on. A tenth
    of the rate is given up for a rounder metric: of those that reach `share` × best, one of nearly the least condition number.
    Where the best one is round, as that of one state always is, nothing is given up.
    """
    best = kept = certify(system, None, region, inputs, seconds)
    undosed = isinstance(best, Refusal) and inputs is not None and inputs.doses is not None
    if undosed and inputs is not None:
        # the metric of the best rate may be too long for the doses, and a rounder one not
        best = certify(system, None, region, replace(inputs, doses=None, gap=None), seconds)
    if isinstance(best, Refusal):
        return kept, None
    low, high = 1.0, best.condition
    for _ in range(3):  # its logarithm to within an eighth of where it can be
        if high < 1.05:
            break
        middle = float(np.sqrt(low * high))
        rounder = certify(system, share * best.rate, region, inputs, seconds, condition=middle)
        if isinstance(rounder, Certificate) and rounder.condition < high:
            # the cap of rounder metrics is lower, and is not what the best rate has to be seen beside
            kept, high = replace(rounder, inequality_cap=best.inequality_cap, metric_cap=best.metric_cap), rounder.condition
        else:
            low = middle
    return kept, None if undosed else best.rate


def dosed_region(
    records: Sequence[Record],
    states: Sequence[str],
    gap: float,
    room: float = 10.0,
) -> tuple[Box, Inputs]:
    """Amounts up to `room` times the largest bolus of anyone, in every compartment, and that bolus every `gap` or less often.

    For backbones without inputs, whose states are amounts that end at 0: the ball in which a certificate is then proved to
    keep trajectories lies about 0, and so takes in negative amounts, which nobody has, too.
    """
    largest = np.zeros(len(states))
    for record in records:
        for dose in record.schedule.doses:
            at = list(states).index(dose.state)
            largest[at] = max(largest[at], as_float(dose.amount))
    side = np.full(len(states), room * largest.max())
    return Box(-side, side), Inputs(np.zeros(0), np.zeros(0), np.diag(largest)[largest > 0], gap)


def bundle_of(
    trained: Trained,
    certificate: Certificate | Refusal | None,
    calibration: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> Bundle:
    """The trained model as it travels."""
    given = trained.cohort.conditions
    people = tuple(
        Person(r.id, r.schedule, {name: r.covariates[name] for name in given.covariates}, tuple(b), _last(r))
        for r, b in zip(trained.cohort.records, given.baseline.tolist(), strict=True)
    )
    return Bundle(
        model=copy.deepcopy(trained.model).to("cpu"),  # `to` moves a module itself, and the caller goes on with this one
        people=people,
        personal=trained.personal.to("cpu"),
        mesh=trained.cohort.mesh,
        certificate=certificate,
        calibration=calibration,
        provenance=provenance,
        nonnegative=never_negative(trained.cohort.records),
    )


def _last(record: Record) -> float:
    """When a person was last measured."""
    return float(record.times[np.isfinite(record.values).any(1)][-1])


def needs_mesh(bundle: Bundle) -> bool:
    """Do predictions step over the mesh? Steps by error control do not, and a long time cut by one takes memory for nothing;
    torchdiffeq steps from cut to cut, and process noise takes a step for each.
    """
    steps = predicting(solver_of(bundle), bundle.model.dtype)
    return isinstance(steps, Torchdiffeq) or bundle.model.process is not None


_MOST_CUTS = 20_000  # steps of a mesh in one prediction, all of which are in memory


def most_steps(bundle: Bundle) -> int:
    """How many of the mesh's longest steps a prediction may go through."""
    return _MOST_CUTS if needs_mesh(bundle) else MOST_STEPS


def mesh_of(bundle: Bundle) -> Mesh:
    """The mesh that the bundle's predictions are cut by: none where they adapt their steps."""
    return bundle.mesh if needs_mesh(bundle) else Mesh(observed=bundle.mesh.observed)


def predict_person(
    bundle: Bundle, index: int, schedules: Sequence[Schedule], times: Sequence[float], *, draws: int = 16, seed: int = 7
) -> list[Prediction]:
    """One fitted person under each of several schedules, with the same draws of their parameters for all of them; `times` and
    schedules on the clock of the person's own schedule.
    """
    person = bundle.people[index]
    known = bundle.personal
    own = Personal(
        known.mode[:, [index]], known.covariance[:, [index]], known.objective[:, [index]], known.converged[:, [index]]
    )
    sample = own.draws(draws, torch.Generator().manual_seed(seed)).to(bundle.model.device)
    found, steps = [], predicting(solver_of(bundle), bundle.model.dtype)
    for schedule in schedules:
        conditions = conditions_of(
            bundle.model,
            [schedule],
            [list(times)],
            covariates={k: [v] for k, v in person.covariates.items()},
            baseline=torch.tensor([person.baseline], dtype=torch.float64),
            mesh=mesh_of(bundle),
        )
        conditions = conditions.to(conditions.baseline.to(bundle.model.device))
        grid = torch.tensor([list(times)], dtype=torch.float64)
        mask = torch.ones_like(grid, dtype=torch.bool)
        found.append(predict(bundle.model, conditions, sample, times=grid, mask=mask, solver=steps))
    return found
