"""Judge on people never seen: scores with the bands of a perfect forecaster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from exchange import solver_named
from homeostat.study.dense import split
from homeostat.study.recipe import Recipe
from homeostat.study.settings import Settings
from homeostat.study.training import Trained, train, why_not_converged
from hybrid import Prediction
from physics.glance import glance
from training import (
    Record,
    forecast_unseen,
)
from training.trust.calibration import (
    EVENT_BINS,
    calibration_null_band,
    expected_calibration_error,
    quantile_null_band,
)
from training.trust.outcome import Outcome
from training.trust.score_rows import mean_scores, paired_difference
from training.trust.scores import brier_decomposition, score_table


@dataclass(frozen=True)
class Evaluation:
    """How well people were forecast.

    `prediction` at the observed times · `y` (N, T, p) what was then measured, NaN elsewhere · `threshold` of the event
    "a measurement above it" · `scores` by name, with null bands (a coverage's, `drawn`, is of whole cohorts drawn from the
    forecast) · `probability`, `outcome`, `pit` (n,), one per scored observation, and `joint_outcome`, `joint_pit` (R, n) of R
    draws of whole predictive paths.
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

    __repr__, _repr_html_ = glance()


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
    scores = score_table(Outcome(prediction, y, range(len(y))), generator=generator)
    scores["event_ece"] = expected_calibration_error(probability, outcome, bins=EVENT_BINS)
    scores["event_brier"] = brier_decomposition(probability, outcome).score
    event = calibration_null_band(probability, bins=EVENT_BINS, joint=joint_outcome, generator=generator)
    quantile = quantile_null_band(pit, joint=joint_pit, generator=generator)
    for name, band in (("event_ece", event), ("quantile_calibration_error", quantile)):
        scores |= {f"{name}_null_mean": band.mean, f"{name}_null_lower": band.lower, f"{name}_null_upper": band.upper}
    for level in (50, 80, 90, 95):
        inside = (np.abs(joint_pit - 0.5) <= level / 200).mean(1)
        low, high = np.quantile(inside, [0.025, 0.975])
        # of cohorts drawn from this forecast as it stands: the band that a page shows (a `Gate`'s `alone_lower`, `alone_upper`)
        # takes everyone from a draw of their own, and allows for the luck of a recalibration's people
        scores |= {f"coverage_{level}_drawn_lower": float(low), f"coverage_{level}_drawn_upper": float(high)}
    return Evaluation(prediction, y, threshold, scores, probability, outcome, pit, joint_outcome, joint_pit)


def evaluate(trained: Trained, settings: Settings, threshold: float) -> Evaluation:
    """Forecast everyone by the ensemble that never saw them, and score it: nothing is refitted, nothing is chosen."""
    known, asked = split(trained.cohort, settings.forecast_from)
    generator = torch.Generator().manual_seed(settings.seed + 1)
    prediction = forecast_unseen(
        trained.plan, trained.stack, known, asked, draws=settings.draws, generator=generator, solver=solver_named(settings.solver)
    )
    return score(prediction, asked.y, threshold, generator)


def judge(
    recipe: Recipe, records: Sequence[Record], settings: Settings, threshold: float
) -> tuple[Evaluation, str, str]:
    """Train without a word and judge: what a second process does for a baseline. The evaluation; why the training counts as
    not converged, "" where it has: to be better than what was not trained to its end is no news; and in which members it has.
    """
    trained = train(recipe, records, settings, Console(quiet=True))
    why = why_not_converged(trained.convergence, trained.interrupted)
    return evaluate(trained, settings, threshold), why, trained.convergence.where


def crps_difference(a: Evaluation, b: Evaluation, seed: int = 11) -> tuple[float, float, float]:
    """Mean CRPS of `a` minus that of `b` over the same people, with a 95 % interval by resampling people.

    Errors: `ValueError` for evaluations of other observations.
    """
    first, second = (mean_scores(Outcome(e.prediction, e.y, range(len(e.y))))["crps"] for e in (a, b))
    people = [str(person) for person in range(len(first))]  # a row each
    found = paired_difference(first, second, people, generator=torch.Generator().manual_seed(seed))
    return found.difference, found.lower, found.upper
