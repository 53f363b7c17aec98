"""From a model and schedules to states and observations."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from hybrid.conditions import Conditions
from hybrid.cutting.cut import build_segments
from hybrid.cutting.delivered import delivered
from hybrid.cutting.given_rows import require_rows
from hybrid.cutting.mesh import Mesh
from hybrid.cutting.segments import Segments
from hybrid.derivative import lasting, values_of
from hybrid.each_member import members_of, of_member, start_of_member
from hybrid.leading_axes import leading
from hybrid.model import HybridModel
from hybrid.model_arguments import require_given
from hybrid.problem import Problem, Start, require_admissible, starting
from hybrid.process_noise import process_variance, read_boundaries
from hybrid.schedules.schedule import Schedule
from hybrid.solve.solver import Failure, Solution, Solver, require_solver
from hybrid.threads import of_conditions, of_schedules, threads_by
from physics import capture
from physics.arguments import quote, require_choice, require_kind, require_shape
from physics.glance import glance


@dataclass(frozen=True)
class Rollout:
    """One simulation of N people under M members.

    `theta` (M, N, q) and `context` c (M, N, r), or (M, N, P, q) and (M, N, P, r) where θ changes on the way (`Changes`)
    · `states` (M, N, T, n) at the observation times, before a dose of the
    same time, `inputs` (1, N, T, m) and `infused` (1, N, T, n), what runs in, there (None where nothing does) · `mean`,
    `variance` (M, N, T, p) of a measurement, given the member: the variance is that of the measurement and, with process
    noise, of the state · `correlation` (M|1, p, p) of the errors of one time, None where channels are independent.
    """

    theta: Tensor
    context: Tensor
    states: Tensor
    inputs: Tensor
    mean: Tensor
    variance: Tensor
    failures: tuple[Failure, ...] = ()
    infused: Tensor | None = None
    correlation: Tensor | None = None

    __repr__, _repr_html_ = glance()


@threads_by(of_conditions)
def rollout(
    model: HybridModel,
    conditions: Conditions,
    personal: Tensor,  # (M, N, d)
    solver: Solver | None = None,
    *,
    start: Start | None = None,
    on_failure: Literal["raise", "return"] = "raise",
) -> Rollout:
    """Simulate every person under every member.

    Differentiable in the weights, the personal coordinates, and doses and dose times that are tensors.
    `solver`: `Exponential(rtol=1e-6)` by default (1e-4 in float32), accurate on any record. What takes many gradients names a
    solver with fixed steps, `RungeKutta("rk4")`, on the mesh that the conditions carry.
    `start`: a state x (n,), (N, n) or (M, N, n) at the records' start, in place of the model's own; or (x, S), its mean and
    its covariance (…, n, n), which is then carried along the mean path into the variance of a measurement.
    A record that cannot be simulated is an error by default; with on_failure="return" it stands in `failures`, its numbers
    are NaN, and the other records are as they would be without it, gradients included.
    Errors: `SimulationError`, naming record and time; `ValueError` where model, conditions and coordinates are of different
    types or on different devices.
    """
    require_given(model, conditions, "rollout")
    if not isinstance(personal, Tensor) or personal.ndim != 3 or personal.shape[1:] != (conditions.size, model.personal):
        raise ValueError(
            f"rollout: personal needs shape (M, N, d) = ({model.members}, {conditions.size}, {model.personal}), got "
            f"{quote(personal)}; Personal.mode has it, and zeros are the typical person"
        )
    if not len(personal) or (personal.shape[0] not in (1, model.members) and model.members != 1):
        raise ValueError(
            f"rollout: personal is of {personal.shape[0]} members and the model has {model.members}; give it as many, or one "
            "for all"
        )
    require_solver(solver, "rollout")
    require_choice(on_failure, ("raise", "return"), "rollout: on_failure")
    members = max(model.members, len(personal), members_of(start))
    if model.delivery and members > 1:
        return _each_member(model, conditions, personal, members, solver, start, on_failure)
    problem = Problem.of(model, conditions, personal, start, "rollout")
    inputs = conditions.segments.read_inputs()
    spread = model.process is not None or problem.covariance is not None
    # the covariance needs the states at the boundaries too: they are read in the same simulation
    solution = problem.solve(solver, read_boundaries(problem.segments) if spread else None)
    states = solution.states if on_failure == "return" else solution.require()
    driven: Tensor | None = None
    if spread:
        states, driven = process_variance(problem, states)
    mean, variance = problem.measured(states, inputs)
    if driven is not None:
        variance = variance + driven
    infused = problem.segments.read_rates() if problem.segments.infused else None
    said = model.noise.correlation()
    return Rollout(problem.theta, problem.context, states, inputs, mean, variance, solution.failures, infused, said)


def _each_member(
    model: HybridModel,
    conditions: Conditions,
    personal: Tensor,  # (M|1, N, d)
    members: int,
    solver: Solver | None,
    start: Start | None,
    on_failure: Literal["raise", "return"],
) -> Rollout:
    """`rollout`, one member after the other: where θ says how doses arrive, each has segments of its own."""
    runs = []
    for m in range(members):
        row = torch.tensor([m if len(personal) > 1 else 0], device=personal.device)
        begun = start_of_member(start, m)

        def alone(one: HybridModel, row: Tensor = row, begun: Start | None = begun) -> Rollout:
            return rollout(one, conditions, personal[row], solver, start=begun, on_failure=on_failure)

        run = of_member(model, m, alone)
        runs.append(replace(run, failures=tuple(replace(f, members=(m,)) for f in run.failures)))
    rates, said = [r.infused for r in runs], [r.correlation for r in runs if r.correlation is not None]
    nothing = runs[0].states.new_zeros(1, *runs[0].states.shape[1:])
    return Rollout(
        theta=torch.cat([r.theta for r in runs]),
        context=torch.cat([r.context for r in runs]),
        states=torch.cat([r.states for r in runs]),
        inputs=runs[0].inputs,
        mean=torch.cat([r.mean for r in runs]),
        variance=torch.cat([r.variance for r in runs]),
        failures=tuple(f for r in runs for f in r.failures),
        correlation=torch.cat(said) if said else None,
        infused=None if all(r is None for r in rates) else torch.cat([nothing if r is None else r for r in rates]),
    )


def simulate(
    model: HybridModel,
    schedule: Schedule | Sequence[Schedule],
    times: Sequence[float] | Sequence[Sequence[float]] | Tensor,  # (T,) for one schedule, else N × (T_i,)
    theta: Tensor,  # (q,), (N, q) or (M, N, q)
    start: Tensor | None = None,  # (n,), (N, n) or (M, N, n)
    *,
    c: Tensor | None = None,  # (r,), (N, r) or (M, N, r): standardised covariates, then latents
    solver: Solver | None = None,
    mesh: Mesh | None = None,
) -> Tensor:  # (M, N, T, n); one schedule: (M, T, n); one schedule and M = 1: (T, n)
    """States at `times` from the state `start` at each schedule's start on, in the model's dtype; by default the model's own
    start of somebody of whom nothing was measured.

    The state at the time of a dose is the one before it. Differentiable in everything that is a tensor.
    `solver` is `Exponential(rtol=1e-6)` by default (1e-4 in float32); without a tolerance it needs a `mesh` that cuts the
    record, as `Mesh.of(model, records)` does.
    Errors: `ValueError` for shapes, unsorted times, unknown compartments, numbers that are not finite; `SimulationError` for
    a failure on the way (`integrate` returns what went well).
    """
    require_kind(model, HybridModel, "simulate: model", "simulate(model, schedule, times, theta)")
    _require_finite_start(start, tuple(model.backbone.states))
    if isinstance(times, str | bytes | Mapping | set) or not isinstance(times, Iterable) or getattr(times, "ndim", 1) == 0:
        raise ValueError(f"simulate: times is a list of times, even of one, and is {quote(times)}; write [1.0, 6.0, 24.0]")
    given: list[Any] = times.tolist() if isinstance(times, Tensor | np.ndarray) else list(times)
    if not isinstance(schedule, Schedule):
        if isinstance(schedule, str | Mapping) or not isinstance(schedule, Sequence):
            raise ValueError(
                f"simulate: schedule is a Schedule, or a list of them for many people, and is {quote(schedule)}; write "
                'Schedule((Dose("gut", 0.0, 320.0),)), or Schedule() for nothing'
            )
        return integrate(model, schedule, given, theta, start, c=c, solver=solver, mesh=mesh).require()
    if any(isinstance(t, Sequence | np.ndarray) for t in given):
        raise ValueError("simulate: one schedule goes with one list of times; write [1.0, 6.0], not [[1.0, 6.0]]")
    states = integrate(model, [schedule], [given], theta, start, c=c, solver=solver, mesh=mesh).require()
    return states[0, 0] if states.shape[0] == 1 else states[:, 0]


def _require_finite_start(start: object, names: tuple[str, ...]) -> None:
    """Raise `ValueError` for a start that holds NaN or infinity; what is none at all is answered by whoever reads it."""
    if start is None:
        return
    try:
        values = values_of(torch.as_tensor(start))
    except (TypeError, ValueError, RuntimeError):
        return
    if capture.capturing() or values.is_meta or bool(torch.isfinite(values).all()):
        return
    *record, state = (int(i) for i in (~torch.isfinite(values)).nonzero()[0][-2:]) if values.ndim else (0,)
    of = f" of record {record[0]}" if record else ""
    seen = "NaN" if bool(values.isnan().any()) else "infinity"
    name = f"{names[state]} (position {state})" if state < len(names) else f"at position {state}"
    raise ValueError(f"simulate: start holds {seen}, in the state {name}{of}; give finite numbers, or leave it out")


@threads_by(of_schedules)
def integrate(
    model: HybridModel,
    schedules: Sequence[Schedule],
    times: Sequence[Sequence[float]],  # N × (T_i,)
    theta: Tensor,  # (q,), (N, q) or (M, N, q)
    start: Tensor | None = None,  # (n,), (N, n) or (M, N, n)
    *,
    c: Tensor | None = None,  # (r,), (N, r) or (M, N, r)
    solver: Solver | None = None,
    mesh: Mesh | None = None,
) -> Solution:
    """As `simulate`, for N records, with failures as values: a record that cannot be finished is NaN and has its reason in
    `failures`, and the others are as they would be without it.
    """
    require_kind(model, HybridModel, "simulate: model", "simulate(model, schedule, times, theta)")
    people, rows = require_rows(schedules, times, "simulate")
    require_solver(solver, "simulate")
    if mesh is not None:
        require_kind(mesh, Mesh, "simulate: mesh", "Mesh(0.1) or Mesh.of(model, records)")
    backbone = model.backbone
    like = torch.zeros((), dtype=model.dtype, device=model.device)
    segments = build_segments(people, rows, backbone.states, backbone.inputs, mesh, delivery=model.delivery).to(like)
    N, r = len(people), model.sees
    theta = leading(theta, len(backbone.physical), N, "theta", like)
    require_admissible(backbone.physical, theta)
    c = leading(like.new_zeros(r) if c is None else c, r, N, "c", like)
    if not capture.capturing() and bool(torch.isinf(values_of(c)).any()):
        raise ValueError("simulate: c holds infinite values, at which the residual is not learned; give finite ones")
    if start is None:
        nothing = like.new_full((N, len(model.observation.channels)), torch.nan)
        x = model.initial(theta.expand(-1, N, -1), nothing, segments.u0[:, 0])
    else:
        x, S = starting(start, len(backbone.states), N, "simulate", like)
        if S is not None:
            raise ValueError("simulate: start is a state, and a covariance came with it; rollout(…, start=(x, S)) carries both")
    M = max(model.members, theta.shape[0], x.shape[0], c.shape[0])
    theta, x, c = (v.expand(M, N, v.shape[-1]) for v in (theta, x, c))
    if not model.delivery:
        return Problem(model, segments, theta, c, x).solve(solver)
    found = []
    for m in range(M):
        own = delivered(segments, model.delivery, theta[m])

        def solved(one: HybridModel, m: int = m, own: Segments = own) -> Solution:
            return Problem(one, own, theta[m : m + 1], c[m : m + 1], x[m : m + 1]).solve(solver)

        found.append(of_member(model, m, solved))
    failures = tuple(replace(f, members=(m,) if M > 1 else None) for m, one in enumerate(found) for f in one.failures)
    return Solution(torch.cat([one.states for one in found]), failures)


@lasting()
def conditions_of(
    model: HybridModel,
    schedules: Sequence[Schedule],
    times: Sequence[Sequence[float]],
    *,
    covariates: Mapping[str, Sequence[float]] | None = None,
    baseline: Tensor | None = None,  # (N, p)
    mesh: Mesh | None = None,
) -> Conditions:
    """What is given about N people, in the model's type and where it is, ready to simulate; without a baseline (NaN) nothing
    was measured before the start.

    `mesh`: `Mesh.of` these people by default.
    Errors: `ValueError` for shapes and kinds that do not fit, and what `build_segments` refuses.
    """
    require_kind(model, HybridModel, "conditions_of: model", "conditions_of(model, [schedule], [[1.0, 6.0, 24.0]])")
    people, rows = require_rows(schedules, times, "conditions_of")
    if covariates is not None:
        require_kind(covariates, Mapping, "conditions_of: covariates", '{"WT": [70.0]}, one value a person')
    if mesh is not None:
        require_kind(mesh, Mesh, "conditions_of: mesh", "Mesh(0.1), or none for Mesh.of these people")
    values = {}
    for name, given in (covariates or {}).items():
        try:
            if isinstance(given, str | bytes | bool) or not isinstance(given, Sized):
                raise TypeError
            column: Any = given if isinstance(given, Tensor) else np.asarray(list(given))
            if str(column.dtype).removeprefix("torch.").startswith(("bool", "complex")):
                raise TypeError
            values[name] = torch.as_tensor(column, dtype=torch.float64, device="cpu")
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"conditions_of: the covariate {name} must be numbers, one for each person, and is {quote(given)}; write [70.0]"
            ) from error
    for name, column in values.items():
        if column.shape != (len(people),):
            raise ValueError(
                f"conditions_of: the covariate {name} needs one value for each of {len(people)} people, got "
                f"{quote(covariates[name] if covariates else None)}; write a list"
            )
    mesh = Mesh.fastest(model, values, len(people)) if mesh is None else mesh
    backbone = model.backbone
    segments = build_segments(people, rows, backbone.states, backbone.inputs, mesh, delivery=model.delivery)
    if baseline is not None:
        require_kind(baseline, Tensor, "conditions_of: baseline", "torch.tensor([[0.0]]), a row of channels for each person")
        require_shape(baseline, "conditions_of: baseline", "N", "p", write="a row of channels for each person, NaN for none")
    else:
        baseline = torch.full((len(people), len(model.observation.channels)), torch.nan, dtype=torch.float64)
    if bool(torch.isinf(baseline).any()):
        raise ValueError("conditions_of: baseline holds infinite values; write NaN where nothing was measured")
    shape = (len(people), len(model.observation.channels))
    if baseline.shape != shape:
        raise ValueError(f"conditions_of: baseline needs shape (people, channels) = {shape}, got {tuple(baseline.shape)}")
    return Conditions(segments, values, baseline, mesh).to(torch.zeros((), dtype=model.dtype, device=model.device))
