"""Predictions of a bundle's people, with the solver and the mesh that it was trained with."""

from collections.abc import Sequence

import torch

from exchange import Bundle
from homeostat.study.solvers import DEFAULT, solver_named
from hybrid import (
    Mesh,
    Prediction,
    Schedule,
    Solver,
    Torchdiffeq,
    conditions_of,
    predict,
)
from hybrid.defaults import predicting
from hybrid.mesh import MOST_STEPS
from training import (
    Personal,
)


def solver_of(bundle: Bundle) -> Solver:
    """The solver that a bundle was trained with, by its provenance: a person is found with the same one."""
    return solver_named(str(bundle.provenance.get("settings.solver", DEFAULT)))


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
