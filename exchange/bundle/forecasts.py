"""The forecast of a fitted person: every member, and draws of what is not known of them, by error control."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from exchange.bundle.person import Person
from hybrid import HybridModel, Mesh, Prediction, Schedule, Shift, Solver, Torchdiffeq, conditions_of, predict
from hybrid.defaults import predicting
from hybrid.schedules.schedule_text import parse_schedule, schedule_units
from physics.arguments import quote, require_kind, require_number
from training.people import Personal
from training.people.clock import counts_from, origin_of, since
from training.shift import Reference
from training.shift.compared import UNKNOWN
from training.shift.given import Given
from training.shift.measured import Measured
from training.shift.seen import disagreement


def given_to(person: Person) -> Schedule:
    """What was done to them, on their own clock, which reads 0 at the first dose (or start): a script may have kept a table's."""
    return since(person.schedule, np.array([person.schedule.start]), origin_of(person.schedule))[0]


def asked_of(
    model: HybridModel,
    person: Person,
    schedule: Schedule | str | None,
) -> Schedule:
    """The schedule that is asked about: as given where None; a text, as the shell takes it, changes what was given."""
    if schedule is None:
        return given_to(person)
    if isinstance(schedule, str):
        backbone, units = model.backbone, schedule_units(model.backbone)
        return parse_schedule(schedule, states=backbone.states, inputs=backbone.inputs, base=given_to(person), units=units)
    require_kind(schedule, Schedule, "forecast: schedule", 'person.schedule, "scale gut by 2", or None for what was given')
    return schedule


def times_of(model: HybridModel, person: Person, schedule: Schedule, times: object) -> list[float]:
    """The times in a list. Errors: `ValueError` for none, for times that decrease, and for one before the start."""
    try:
        if isinstance(times, str | bytes | Mapping | set):
            raise TypeError
        column = np.asarray(times.detach().cpu() if isinstance(times, torch.Tensor) else times)
        if column.dtype.kind not in "fiu" or column.ndim != 1 or not len(column) or not np.isfinite(column).all():
            raise TypeError
    except (TypeError, ValueError) as error:
        raise ValueError(f"forecast: times is a list of finite times, even of one, and is {quote(times)}; write [1.0]") from error
    found: list[float] = column.astype(np.float64).tolist()
    unit, began = model.backbone.time_unit, counts_from(given_to(person))
    if (np.diff(column) < 0).any():
        k = int(np.argmax(np.diff(column) < 0))
        raise ValueError(f"forecast: times increase, and {found[k]:g} {unit} is followed by {found[k + 1]:g} {unit}; sort them")
    if found[0] < schedule.start:
        raise ValueError(
            f"forecast: {found[0]:g} {unit} is before the start of person {person.id}, {schedule.start:g} {unit} since their "
            f"{began}; write times from {schedule.start:g} on"
        )
    return found


def steps_over_mesh(model: HybridModel, solver: Solver) -> bool:
    """Do predictions step over the mesh? Steps by error control do not, and a long time cut by one takes memory for nothing;
    torchdiffeq steps from cut to cut, and process noise takes a step for each.
    """
    return isinstance(predicting(solver, model.dtype), Torchdiffeq) or model.process is not None


def mesh_for(model: HybridModel, mesh: Mesh, solver: Solver) -> Mesh:
    """The mesh that predictions are cut by: none where they adapt their steps."""
    return mesh if steps_over_mesh(model, solver) else Mesh(observed=mesh.observed)


def forecast(
    model: HybridModel,
    person: Person,
    known: Personal,  # of this person alone, N = 1
    schedule: Schedule,
    times: Sequence[float],  # (T,)
    *,
    mesh: Mesh,
    solver: Solver,
    draws: int,
    seed: int,
) -> Prediction:
    """`predict` for one fitted person under a schedule: the same seed draws the same parameters, whatever the schedule.

    `solver`, of the fit: the prediction takes it where it adapts its steps, else error control, which needs no mesh.
    """
    require_number(draws, "forecast: draws, how many,", least=1.0, most=1e6, whole=True)
    require_number(seed, "forecast: seed", least=0.0, most=2.0**63 - 1.0, whole=True)
    sample = known.draws(int(draws), torch.Generator().manual_seed(int(seed))).to(model.device)
    conditions = conditions_of(
        model,
        [schedule],
        [list(times)],
        covariates={name: [value] for name, value in person.covariates.items()},
        baseline=torch.tensor([person.baseline], dtype=torch.float64),
        mesh=mesh_for(model, mesh, solver),
    )
    grid = torch.tensor([list(times)], dtype=torch.float64, device=model.device)
    mask = torch.ones_like(grid, dtype=torch.bool)
    found = predict(model, conditions, sample, times=grid, mask=mask, solver=predicting(solver, model.dtype))
    return replace(found, ids=(person.id,))


def held_beside(
    reference: Reference | None,
    model: HybridModel,
    person: Person,
    schedule: Schedule,
    times: Sequence[float],  # (T,)
    prediction: Prediction,
    *,
    mesh: Mesh,
    solver: Solver,
) -> Prediction:
    """The forecast of this one person with its `shift`: what is asked of them beside the training, of which they were one."""
    if reference is None:
        return replace(prediction, shift=(Shift(unknown=UNKNOWN),))
    conditions = conditions_of(
        model,
        [schedule],
        [list(times)],
        covariates={name: [value] for name, value in person.covariates.items()},
        baseline=torch.tensor([person.baseline], dtype=torch.float64),
        mesh=mesh_for(model, mesh, solver),
    )
    spread = disagreement(model, conditions, prediction.mask, solver)
    covariates = {name: np.array([value]) for name, value in person.covariates.items()}
    given = Given((person.id,), (schedule,), np.array([times[-1]]), None, covariates)
    measured = Measured(disagreement=None if spread is None else spread.numpy())
    return replace(prediction, shift=reference.judge(given, measured))
