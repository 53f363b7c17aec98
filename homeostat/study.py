"""One study: train an ensemble beside its cross-validation, personalise, judge on people never seen, certify."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from exchange import Bundle, Person, lure_of
from homeostat.progress import watch
from homeostat.recipe import Recipe
from hybrid import HybridModel, Prediction, Solver, Torchdiffeq, build_segments, predict
from hybrid.model import Conditions
from stability import Certificate, Refusal, certify
from training import Cohort, Personal, Plan, Record, Stability, at_times, fit, forecast_unseen, personalise
from training.calibration import (
    calibration_null_band,
    describe_convention,
    expected_calibration_error,
    quantile_calibration_error,
    quantile_null_band,
)
from training.scores import brier_decomposition, score_table


@dataclass(frozen=True)
class Settings:
    """How a study is run. Times in the records' unit.

    `members` of the ensemble, `folds` of the cross-validation, at most `steps` of training at learning `rate`,
    `forecast_from`: unseen people are forecast from what was measured up to this time; `draws` of a person's own
    parameters; `seed` of everything random.
    """

    members: int = 8
    folds: int = 6
    steps: int = 120
    rate: float = 0.03
    forecast_from: float | None = None
    draws: int = 16
    seed: int = 2026
    device: str = "cpu"


@dataclass(frozen=True)
class Trained:
    """A fitted stack: the final `model` and the `stack` that also holds the folds' ensembles; the people's coordinates."""

    recipe: Recipe
    plan: Plan
    cohort: Cohort
    stack: HybridModel
    model: HybridModel
    personal: Personal
    interrupted: bool


def train(recipe: Recipe, records: Sequence[Record], settings: Settings, console: Console) -> Trained:
    """Train the final ensemble and every fold's ensemble in one computation, with the stability penalty.

    Errors: `ValueError` for records that do not fit the model; `SimulationError` naming the person.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    plan = Plan.of(len(records), settings.members, min(settings.folds, len(records)), generator)
    stack = plan.stack(recipe.model, generator).to(settings.device)
    cohort = Cohort.of(records, recipe.model, recipe.mesh).to(settings.device)
    # what cannot contract by physics alone (a neural ODE) is trained without the penalty
    contracting = len(recipe.model.backbone.physical) > 0
    stability = Stability.of(recipe.model, cohort.conditions.covariates) if contracting else None
    best, interrupted = watch(
        fit(
            stack,
            cohort,
            weights=plan.weights,
            held_out=plan.held_out,
            steps=settings.steps,
            rate=settings.rate,
            stability=stability,
            forecast_from=settings.forecast_from,
            look_every=10,
            patience=6,
            solver=solver(),
        ),
        recipe.name,
        console,
    )
    model = plan.final(best.model)
    return Trained(recipe, plan, cohort, best.model, model, personalise(model, cohort, solver=solver()), interrupted)


def solver() -> Solver:
    """The solver of training and of every prediction: they must be the same function."""
    return Torchdiffeq("rk4")


@dataclass(frozen=True)
class Evaluation:
    """How well people were forecast whom no member had seen.

    `prediction` at the observed times · `y` (N, T, p) what was then measured, NaN elsewhere · `scores` by name ·
    `probability`, `outcome` of the event and `pit`, one per scored observation.
    """

    prediction: Prediction
    y: Tensor
    scores: Mapping[str, float]
    probability: np.ndarray
    outcome: np.ndarray
    pit: np.ndarray
    bands: Mapping[str, Any] = field(default_factory=dict)


def evaluate(trained: Trained, settings: Settings, threshold: float, bins: int = 10) -> Evaluation:
    """Forecast everyone by the ensemble that never saw them, and score it: nothing is refitted, nothing is chosen."""
    cohort, start = trained.cohort, settings.forecast_from
    generator = torch.Generator().manual_seed(settings.seed + 1)
    known = cohort if start is None else cohort.until(start)
    asked = cohort if start is None else cohort.after(start)
    prediction = forecast_unseen(
        trained.plan, trained.stack, known, asked, draws=settings.draws, generator=generator, solver=solver()
    )
    y = asked.y
    there = torch.isfinite(y)
    probability = prediction.exceeds(threshold)[there].numpy()
    outcome = (y[there] > threshold).numpy().astype(float)
    pit = prediction.cdf(torch.where(there, y, 0.0))[there].numpy()
    # paths of one person share their member and draw: what a perfect forecaster would score comes from whole paths
    paths = prediction.sample(1000, generator)[:, there]  # (R, n)
    joint = (paths > threshold).numpy().astype(float)
    scores = score_table(prediction, y, generator=generator)
    scores["ece"] = expected_calibration_error(probability, outcome, bins=bins)
    scores["brier"] = brier_decomposition(probability, outcome).score
    band = calibration_null_band(probability, bins=bins, joint=joint, generator=generator)
    scores |= {"ece_null_mean": band.mean, "ece_null_lower": band.lower, "ece_null_upper": band.upper}
    scores["quantile_ece"] = quantile_calibration_error(pit)
    joint_pit = np.stack([_pit_of(prediction, path, there) for path in paths[:200]])
    quantile = quantile_null_band(pit, joint=joint_pit, generator=generator)
    scores |= {"quantile_ece_null_upper": quantile.upper}
    bands = {"event": band, "quantile": quantile, "convention": describe_convention(bins=bins), "joint_pit": joint_pit}
    return Evaluation(prediction, y, scores, probability, outcome, pit, bands)


def _pit_of(prediction: Prediction, path: Tensor, there: Tensor) -> np.ndarray:
    full = torch.zeros(there.shape, dtype=torch.float64)
    full[there] = path
    values: np.ndarray = prediction.cdf(full)[there].numpy()
    return values


def dense(trained: Trained, end: float, points: int = 97) -> Cohort:
    """The cohort asked on a dense grid from every record's start to `end`, for drawing."""
    records, model = trained.cohort.records, trained.model
    grid = [np.linspace(r.schedule.start, end, points).tolist() for r in records]
    backbone = model.backbone
    segments = build_segments(
        [r.schedule for r in records], grid, backbone.states, backbone.inputs, trained.recipe.mesh
    )
    given = trained.cohort.conditions
    conditions = Conditions(segments.to(given.baseline), given.covariates, given.baseline)
    return at_times(trained.cohort, conditions, torch.tensor(grid, dtype=torch.float64))


def dense_unseen(trained: Trained, settings: Settings, end: float) -> Prediction:
    """Forecasts of unseen people on a dense grid, from the same early samples."""
    known = trained.cohort if settings.forecast_from is None else trained.cohort.until(settings.forecast_from)
    generator = torch.Generator().manual_seed(settings.seed + 1)
    return forecast_unseen(
        trained.plan,
        trained.stack,
        known,
        dense(trained, end),
        draws=settings.draws,
        generator=generator,
        solver=solver(),
    )


def certificate_of(trained: Trained, seconds: float = 60.0) -> Certificate | Refusal:
    """One metric for every member and every fitted person, or the refusal."""
    return certify(lure_of(trained.model, trained.personal.mode, trained.cohort.conditions.covariates), seconds=seconds)


def bundle_of(
    trained: Trained,
    certificate: Certificate | Refusal | None,
    calibration: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> Bundle:
    """The trained model as it travels."""
    baseline = trained.cohort.conditions.baseline.tolist()
    people = tuple(
        Person(r.id, r.schedule, dict(r.covariates), tuple(b))
        for r, b in zip(trained.cohort.records, baseline, strict=True)
    )
    return Bundle(
        model=trained.model.to("cpu"),
        people=people,
        personal=trained.personal,
        mesh=trained.recipe.mesh,
        certificate=certificate,
        calibration=calibration,
        provenance=provenance,
    )


def predict_person(bundle: Bundle, index: int, schedules: Sequence[Any], times: Sequence[float], *, draws: int = 16,
                   seed: int = 7) -> list[Prediction]:  # fmt: skip
    """One fitted person under each of several schedules, with the same draws of their parameters for all of them."""
    person = bundle.people[index]
    known = bundle.personal
    own = Personal(
        known.mode[:, [index]], known.covariance[:, [index]], known.objective[:, [index]], known.converged[:, [index]]
    )
    sample = own.draws(draws, torch.Generator().manual_seed(seed))
    backbone = bundle.model.backbone
    found = []
    for schedule in schedules:
        segments = build_segments([schedule], [list(times)], backbone.states, backbone.inputs, bundle.mesh)
        conditions = Conditions(
            segments,
            {k: torch.tensor([v], dtype=torch.float64) for k, v in person.covariates.items()},
            torch.tensor([person.baseline], dtype=torch.float64),
        )
        grid = torch.tensor([list(times)], dtype=torch.float64)
        mask = torch.ones_like(grid, dtype=torch.bool)
        found.append(predict(bundle.model, conditions, sample, times=grid, mask=mask, solver=solver()))
    return found
