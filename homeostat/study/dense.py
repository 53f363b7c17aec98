"""What is known at a time, what is asked then, and the same on a dense grid for drawing."""

from dataclasses import replace

import numpy as np
import torch

from exchange import solver_named
from homeostat.study.settings import Settings
from homeostat.study.training import Trained
from hybrid import (
    HybridModel,
    Prediction,
    build_segments,
)
from training import (
    Cohort,
    at_times,
    forecast_unseen,
)


def split(cohort: Cohort, time: float | None) -> tuple[Cohort, Cohort]:
    """What is known at `time` since everyone's origin, and what is then asked; without a time, everything is known and asked
    again.
    """
    return (cohort, cohort) if time is None else (cohort.until(time), cohort.after(time))


def dense_of(cohort: Cohort, model: HybridModel, end: float, points: int = 97) -> Cohort:
    """The cohort asked on a dense grid from every record's start to `end`, on everyone's own clock, for drawing."""
    grid = [np.linspace(r.schedule.start, end, points).tolist() for r in cohort.records]
    backbone, given = model.backbone, cohort.conditions
    schedules = [r.schedule for r in cohort.records]
    states, inputs, delivery = backbone.states, backbone.inputs, model.delivery
    segments = build_segments(schedules, grid, states, inputs, given.mesh, delivery=delivery, turns=given.turns)
    times = torch.tensor(grid, dtype=torch.float64, device=given.baseline.device)
    conditions = given.recut(segments, times)
    return at_times(cohort, conditions, times)


def dense_unseen(trained: Trained, settings: Settings, end: float, most: int | None = None) -> Prediction:
    """Forecasts of unseen people, the first `most` of them or all, on a dense grid, from the same early samples."""
    cohort, plan = trained.cohort, trained.plan
    if most is not None and most < len(cohort.ids):
        cohort = cohort.people(torch.arange(most, device=cohort.y.device))
        plan = replace(plan, weights=plan.weights[:, :most], held_out=plan.held_out[:, :most], fold=plan.fold[:most])
    known, _ = split(cohort, settings.forecast_from)
    generator = torch.Generator().manual_seed(settings.seed + 1)
    return forecast_unseen(
        plan,
        trained.stack,
        known,
        dense_of(cohort, trained.model, end),
        draws=settings.draws,
        generator=generator,
        solver=solver_named(settings.solver),
    )
