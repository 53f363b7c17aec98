"""Curves along time: what the population's typical person with these covariates would have, and what each has of their own."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hybrid import HybridModel, Solver, build_segments
from hybrid.defaults import predicting
from physics.arguments import require_number
from physics.glance import Summary, glance
from training.diagnostics.members import About, chosen, personal_of, simulated_rows, without
from training.people.arguments import require_fit
from training.people.cohort import Cohort
from training.people.posterior import Personal


def _summary(fits: "FittedCurves") -> Summary:
    N, P = fits.times.shape
    return f"FittedCurves of {N} people at {P} times each, {fits.about.members}", [
        ("channels", ", ".join(fits.about.channels)),
        ("failed", f"{len(fits.about.failed)} of {N}" if fits.about.failed else None),
        ("population", fits.population),
        ("individual", fits.individual),
    ]


@dataclass(frozen=True, eq=False)
class FittedCurves:
    """Population and individual fits of N people on a grid, without noise.

    `times` (N, P) since everyone's origin, from the record's start to its last time · `population`, `individual` (N, P, p), for
    η = 0 and for everyone's most likely η, means over the members, NaN for who failed · `measured` (N, T, p) at `measured_at` (N,
    T), NaN where nothing was · `about` · `limits` (N, T, p, 2), between which lies what is known by limits alone, NaN of all
    else, None where nobody has such a value.
    """

    times: Tensor
    population: Tensor
    individual: Tensor
    measured_at: Tensor
    measured: Tensor
    about: About
    limits: Tensor | None = None

    __repr__, _repr_html_ = glance(_summary)


def fitted_curves(
    model: HybridModel,
    cohort: Cohort,
    personal: Personal | None = None,
    *,
    points: int = 97,
    member: int | None = None,
    solver: Solver | None = None,
) -> FittedCurves:
    """Individual and population fits: f(x(θ(η, c))) along time for η = 0 and for everyone's most likely η.

    Arguments: `personal`, of all members, found now where it is left out; `points` P of each grid; `member`, its place from 0, by
    default the mean over all members.
    Errors: `ValueError` for arguments that do not fit.
    """
    require_fit(model, cohort, "fitted_curves", solver)
    require_number(points, "fitted_curves: points", least=2.0, most=1e5, whole=True)
    model, cohort, about = chosen(model, cohort, member, "fitted_curves")
    personal = personal_of(model, cohort, personal, member, solver, "fitted_curves")
    backbone, given, by = model.backbone, cohort.conditions, predicting(solver, model.dtype)
    grid = [np.linspace(r.schedule.start, float(r.times[-1]), int(points)).tolist() for r in cohort.records]
    schedules = [r.schedule for r in cohort.records]
    # doses may arrive as each person's θ has them, so that the segments are cut for this model
    states, inputs, delivery = backbone.states, backbone.inputs, model.delivery
    segments = build_segments(schedules, grid, states, inputs, given.mesh, delivery=delivery, turns=given.turns)
    times = torch.tensor(grid, dtype=torch.float64, device=given.baseline.device).reshape(len(grid), int(points))
    conditions = given.recut(segments, times)
    found, failed = [], dict(personal.failed)
    for eta in (torch.zeros_like(personal.mode), personal.mode):
        run, lost = simulated_rows(model, conditions, eta.to(cohort.y), by)
        failed = {**lost, **failed}
        found.append(run.mean.mean(0))
    y, gone = cohort.y.clone(), torch.tensor(sorted(failed), dtype=torch.long, device=cohort.y.device)
    for value in found:
        value[gone] = torch.nan
    population, individual = found
    limits = None
    if cohort.limits is not None:
        limits = torch.where(cohort.censored[..., None], cohort.limits, torch.nan)
    return FittedCurves(times, population, individual, cohort.times, y, without(about, failed), limits)
