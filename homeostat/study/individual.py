"""People described by all of their own data: what an individual fit is, beside a forecast."""

from dataclasses import dataclass, replace

import torch

from homeostat.study.dense import dense_of
from hybrid import HybridModel, Prediction, Solver, predict
from hybrid.defaults import predicting
from physics.glance import glance
from training import Cohort, Personal

DRAWS = 8  # of everyone's own coordinates, per member


@dataclass(frozen=True, eq=False)
class Fits:
    """Individual fits: `dense`, the first people on a grid for drawing; `prediction`, everyone at their measured times."""

    dense: Prediction
    prediction: Prediction

    __repr__, _repr_html_ = glance()


def fits_of(
    model: HybridModel,
    cohort: Cohort,
    personal: Personal,
    end: float,
    *,
    most: int,
    seed: int = 17,
    solver: Solver | None = None,
) -> Fits:
    """What the model says of people once all of their data are known: draws of their Laplace posteriors under every member.

    Arguments: `personal`, what `personalise(model, cohort)` found from the whole records; `end`, the last time drawn; `most`, how
    many people are drawn.
    Errors: `SimulationError` naming the person.
    """
    first = torch.arange(min(most, len(cohort.ids)))
    drawn, own = cohort.people(first), personal.people(first)
    by = predicting(solver, model.dtype)
    grid = dense_of(drawn, model, end)
    dense = predict(model, grid, own.draws(DRAWS, torch.Generator().manual_seed(seed)), solver=by)
    draws = personal.draws(DRAWS, torch.Generator().manual_seed(seed))
    found = predict(model, cohort, draws, solver=by)
    return Fits(dense, replace(found, ids=cohort.ids))
