"""From a model and schedules to states, observations and predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hybrid.exponential import Exponential
from hybrid.mesh import Mesh
from hybrid.model import Conditions, HybridModel, require_alike
from hybrid.prediction import Prediction
from hybrid.process_noise import process_variance, read_boundaries
from hybrid.runge_kutta import RungeKutta
from hybrid.schedule import Schedule
from hybrid.segments import build_segments
from hybrid.solver import Failure, Solution, Solver


@dataclass(frozen=True)
class Rollout:
    """One simulation of N people under M members.

    `theta` (M, N, q) and `context` c (M, N, r) · `states` (M, N, T, n) at the observation times, before a dose of the
    same time, and `inputs` (1, N, T, m) there · `mean`, `variance` (M, N, T, p) of a measurement, given the member: the
    variance is that of the measurement and, with process noise, of the state.
    """

    theta: Tensor
    context: Tensor
    states: Tensor
    inputs: Tensor
    mean: Tensor
    variance: Tensor
    failures: tuple[Failure, ...] = ()


def rollout(
    model: HybridModel,
    conditions: Conditions,
    personal: Tensor,  # (M, N, d)
    solver: Solver | None = None,
    *,
    on_failure: Literal["raise", "return"] = "raise",
) -> Rollout:
    """Simulate every person under every member.

    Differentiable in the weights, the personal coordinates, and doses and dose times that are tensors.
    `solver`: `RungeKutta("rk4")` by default, one step per segment of the conditions' mesh.
    A record that cannot be simulated is an error by default; with on_failure="return" it stands in `failures`, its numbers
    are NaN, and the other records are as they would be without it, gradients included.
    Errors: `SimulationError`, naming record and time; `ValueError` where model, conditions and coordinates are of different
    types or on different devices.
    """
    require_alike(model, conditions, personal)
    theta = model.theta(personal, conditions.covariates)
    context = model.context(personal, conditions.covariates)
    field = model.bind(conditions.segments, theta, context)
    x0 = model.initial(theta, conditions.baseline)
    x0 = x0.expand(max(model.members, x0.shape[0]), *x0.shape[1:])
    inputs = conditions.segments.read_inputs()
    if model.process is not None:
        # the covariance needs the states at the boundaries too: they are read in the same simulation
        field = field.on(read_boundaries(conditions.segments))
    solution = (solver or RungeKutta("rk4")).solve(field, x0)
    states = solution.states if on_failure == "return" else solution.require()
    driven: Tensor | None = None
    if model.process is not None:
        states, driven = process_variance(model, conditions.segments, theta, context, x0, states)
    mean = model.observation.mean(states, theta)
    variance = model.noise.variance(mean, states, inputs)
    if driven is not None:
        variance = variance + driven
    return Rollout(theta, context, states, inputs, mean, variance, solution.failures)


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
    """States at `times`, starting from x0 at each schedule's start, in the model's dtype.

    The state at the time of a dose is the one before it. Differentiable in everything that is a tensor.
    `solver` is `Exponential(rtol=1e-6)` by default; without a tolerance it needs a `mesh` that cuts the record.
    Errors: `ValueError` for shapes, unsorted times, unknown compartments, numbers that are not finite; `SimulationError` for
    a failure on the way (`integrate` returns what went well).
    """
    given: list[Any] = times.tolist() if isinstance(times, Tensor) else list(times)
    if not isinstance(schedule, Schedule):
        return integrate(model, x0, schedule, given, theta, c=c, solver=solver, mesh=mesh).require()
    states = integrate(model, x0, [schedule], [given], theta, c=c, solver=solver, mesh=mesh).require()
    return states[0, 0] if states.shape[0] == 1 else states[:, 0]


def integrate(
    model: HybridModel,
    x0: Tensor,  # (n,), (N, n) or (M, N, n)
    schedules: Sequence[Schedule],
    times: Sequence[Sequence[float]],  # N × (T_i,)
    theta: Tensor,  # (q,), (N, q) or (M, N, q)
    *,
    c: Tensor | None = None,  # (r,), (N, r) or (M, N, r)
    solver: Solver | None = None,
    mesh: Mesh | None = None,
) -> Solution:
    """As `simulate`, for N records, with failures as values: a record that cannot be finished is NaN and has its reason in
    `failures`, and the others are as they would be without it.
    """
    if len(times) != len(schedules):
        raise ValueError(f"simulate: {len(schedules)} schedules need as many lists of times, got {len(times)}")
    backbone = model.backbone
    like = torch.zeros((), dtype=model.dtype, device=model.device)
    segments = build_segments(schedules, times, backbone.states, backbone.inputs, mesh).to(like)
    N, r = len(schedules), model.residual.covariates
    x0 = _lead(x0, len(backbone.states), N, "x0", like)
    theta = _lead(theta, len(backbone.physical), N, "theta", like)
    c = _lead(like.new_zeros(r) if c is None else c, r, N, "c", like)
    M = max(model.members, theta.shape[0], x0.shape[0], c.shape[0])
    theta, x0, c = (v.expand(M, N, v.shape[-1]) for v in (theta, x0, c))
    # a tolerance that the model's own precision can keep
    default = Exponential(rtol=1e-6) if model.dtype == torch.float64 else Exponential(rtol=1e-4)
    return (solver or default).solve(model.bind(segments, theta, c), x0)


def _lead(value: Tensor, size: int, people: int, name: str, like: Tensor) -> Tensor:
    value = torch.as_tensor(value).to(like)
    if value.ndim == 0 or value.ndim > 3 or value.shape[-1] != size or (value.ndim > 1 and value.shape[-2] not in (1, people)):
        raise ValueError(
            f"simulate: {name} needs shape ({size},), (N, {size}) or (M, N, {size}) with N = {people}, got "
            f"{tuple(value.shape)}"
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
    """What is given about N people, in the model's type and where it is; without a baseline nothing was measured before the
    start.
    """
    segments = build_segments(schedules, times, model.backbone.states, model.backbone.inputs, mesh)
    if baseline is None:
        baseline = torch.zeros(len(schedules), len(model.observation.channels), dtype=torch.float64)
    values = {k: torch.as_tensor(v, dtype=torch.float64) for k, v in (covariates or {}).items()}
    return Conditions(segments, values, baseline).to(torch.zeros((), dtype=model.dtype, device=model.device))
