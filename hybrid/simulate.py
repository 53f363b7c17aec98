"""From a model and schedules to states, observations and predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hybrid.mesh import Mesh
from hybrid.model import Conditions, HybridModel
from hybrid.prediction import Prediction
from hybrid.schedule import Schedule
from hybrid.segments import build_segments
from hybrid.solver import Solver
from hybrid.torchdiffeq_solver import Torchdiffeq


@dataclass(frozen=True)
class Rollout:
    """One simulation of N people under M members.

    `theta` (M, N, q) and `context` c (M, N, r) · `states` (M, N, T, n) at the observation times, before a dose of the
    same time, and `inputs` (1, N, T, m) there · `mean`, `variance` (M, N, T, p) of a measurement, given the member.
    """

    theta: Tensor
    context: Tensor
    states: Tensor
    inputs: Tensor
    mean: Tensor
    variance: Tensor


def rollout(
    model: HybridModel,
    conditions: Conditions,
    personal: Tensor,  # (M, N, d)
    solver: Solver | None = None,
) -> Rollout:
    """Simulate every person under every member.

    Differentiable in the weights, the personal coordinates, and doses and dose times that are tensors.
    Errors: `SimulationError`, naming record and time.
    """
    theta = model.theta(personal, conditions.covariates)
    context = model.context(personal, conditions.covariates)
    field = model.bind(conditions.segments, theta, context)
    x0 = model.initial(theta, conditions.baseline)
    x0 = x0.expand(max(model.members, x0.shape[0]), *x0.shape[1:])
    solution = (solver or Torchdiffeq()).solve(field, x0)
    states = solution.require()
    inputs = conditions.segments.read_inputs()
    mean = model.observation.mean(states, theta)
    return Rollout(theta, context, states, inputs, mean, model.noise.variance(mean, states, inputs))


def predict(
    model: HybridModel,
    conditions: Conditions,
    draws: Tensor,  # (M, S, N, d)
    *,
    times: Tensor,  # (N, T)
    mask: Tensor,  # (N, T)
    solver: Solver | None = None,
) -> Prediction:
    """The predictive distribution over members m and draws s of every person's own coordinates."""
    M, S, N, d = draws.shape
    repeated = torch.arange(N, device=draws.device).repeat(S)  # the draws of one person are copies of that person
    with torch.no_grad():
        run = rollout(model, conditions.people(repeated), draws.reshape(M, S * N, d), solver)
    shape = (M, S, N, *run.mean.shape[2:])
    return Prediction(
        mean=run.mean.reshape(shape),
        variance=run.variance.reshape(shape),
        times=times,
        mask=mask,
        channels=model.observation.channels,
        units=model.observation.units,
    )


def simulate(
    model: HybridModel,
    x0: Tensor,  # (n,), (N, n) or (M, N, n)
    schedule: Schedule | Sequence[Schedule],
    times: Sequence[float] | Sequence[Sequence[float]] | Tensor,  # (T,) for one schedule, else N × (T_i,)
    theta: Tensor,  # (q,), (N, q) or (M, N, q)
    *,
    c: Tensor | None = None,  # (r,), (N, r) or (M, N, r): standardised covariates, then latents
    solver: Solver | None = None,
    mesh: Mesh | None = None,
) -> Tensor:  # (M, N, T, n); one schedule: (M, T, n); one schedule and M = 1: (T, n)
    """States at `times`, starting from x0 at each schedule's start.

    The state at the time of a dose is the one before it. Differentiable in everything that is a tensor.
    `solver` is `Torchdiffeq("dopri5")` by default; a fixed-step one needs a `mesh` that cuts the record.
    Errors: `ValueError` for shapes, unsorted times, unknown compartments; `SimulationError` for a failure on the way.
    """
    single = isinstance(schedule, Schedule)
    schedules = [schedule] if isinstance(schedule, Schedule) else list(schedule)
    given: list[Any] = times.tolist() if isinstance(times, Tensor) else list(times)
    rows: list[list[float]] = [given] if single else given
    if len(rows) != len(schedules):
        raise ValueError(f"simulate: {len(schedules)} schedules need as many lists of times, got {len(rows)}")
    backbone = model.backbone
    segments = build_segments(schedules, rows, backbone.states, backbone.inputs, mesh)
    segments = segments.to(theta)
    theta, x0 = _lead(theta, len(backbone.physical), "theta"), _lead(x0, len(backbone.states), "x0")
    r = model.residual.covariates
    c = _lead(theta.new_zeros(r) if c is None else c, r, "c")
    M = max(model.members, theta.shape[0], x0.shape[0], c.shape[0])
    N = len(schedules)
    theta, x0, c = (v.expand(M, N, v.shape[-1]) for v in (theta, x0, c))
    field = model.bind(segments, theta, c)
    states = (solver or Torchdiffeq("dopri5")).solve(field, x0).require()
    if not single:
        return states
    return states[0, 0] if M == 1 else states[:, 0]


def _lead(value: Tensor, size: int, name: str) -> Tensor:
    value = torch.as_tensor(value, dtype=torch.float64)
    if value.ndim == 0 or value.ndim > 3 or value.shape[-1] != size:
        raise ValueError(
            f"simulate: {name} needs shape ({size},), (N, {size}) or (M, N, {size}), got {tuple(value.shape)}"
        )
    return value.reshape((1,) * (3 - value.ndim) + tuple(value.shape))


def conditions_of(
    model: HybridModel,
    schedules: Sequence[Schedule],
    times: Sequence[Sequence[float]],
    *,
    covariates: Mapping[str, Sequence[float]] | None = None,
    baseline: Tensor | None = None,  # (N, p)
    mesh: Mesh | None = None,
) -> Conditions:
    """What is given about N people, ready to simulate; without a baseline nothing was measured before the start."""
    segments = build_segments(schedules, times, model.backbone.states, model.backbone.inputs, mesh)
    if baseline is None:
        baseline = torch.zeros(len(schedules), len(model.observation.channels), dtype=torch.float64)
    values = {k: torch.as_tensor(v, dtype=torch.float64) for k, v in (covariates or {}).items()}
    return Conditions(segments, values, baseline)
