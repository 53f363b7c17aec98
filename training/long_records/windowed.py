"""Long records simulated in windows, all windows of everyone side by side, and where these start."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hybrid import Conditions, HybridModel, Rollout, Solver, rollout
from hybrid.defaults import differentiating
from hybrid.problem import Problem
from training.long_records.window import Windows


def rollout_windows(
    model: HybridModel,
    conditions: Conditions,
    cut: Windows,
    personal: Tensor,  # (M, N, d)
    starts: Tensor,  # (M, N, W-1, n) of the windows after the first
    solver: Solver | None = None,
) -> tuple[Rollout, Tensor]:  # and the gaps (M, N, W-1, n)
    """Simulate all windows of everyone side by side: what `rollout` gives, from these starts, and how far they gape.

    The first window starts where the model says. gap_w = x(end of window w) − start of window w+1, in the states' units, and
    0 where nothing follows. Errors: `SimulationError`; its record is a row, whose person is record mod N.
    Law: without gaps it is `rollout`.
    """
    if model.process is not None:
        raise ValueError("shoot: process noise is carried along whole records, which windows cut; fit this model with fit")
    problem = Problem.of(model, conditions, personal)
    if problem.changes is not None:
        raise ValueError(
            "shoot: an occasion or a covariate changes θ on the way, and windows take one θ of each person; fit these records by "
            "fit or fit_population"
        )
    theta, c = (v.repeat(1, cut.count, 1) for v in (problem.theta, problem.context))
    parts = Problem(model, cut.segments, theta, c, cut.stack(problem.start.expand(starts.shape[0], -1, -1), starts))
    states, ends = cut.back(parts.solve(solver or differentiating(model)).require())
    gap = torch.where(cut.joined[..., None], ends[:, :, :-1] - starts, 0.0)
    inputs = conditions.segments.read_inputs()
    mean, variance = problem.measured(states, inputs)
    infused = conditions.segments.read_rates() if conditions.segments.infused else None
    said = model.noise.correlation()
    run = Rollout(problem.theta, problem.context, states, inputs, mean, variance, infused=infused, correlation=said)
    return run, gap


def simulated_starts(
    model: HybridModel,
    conditions: Conditions,
    cut: Windows,
    personal: Tensor,  # (M, N, d)
    solver: Solver | None = None,
) -> Tensor:  # (M, N, W-1, n)
    """The states of whole records where their windows 1 … W−1 start, before any dose of that moment."""
    if cut.count == 1:
        n = len(model.backbone.states)
        return personal.new_zeros(*personal.shape[:2], 0, n)
    with torch.no_grad():
        return rollout(model, replace(conditions, segments=cut.borders), personal, solver).states


def states_scale(
    model: HybridModel,
    conditions: Conditions,
    cut: Windows,
    personal: Tensor,  # (M, N, d)
    starts: Tensor,  # (M, N, W-1, n)
    share: Tensor,  # (M, N)
    total: Callable[[Tensor], Tensor] = lambda part: part,
    solver: Solver | None = None,
) -> Tensor:  # (M, 1, 1, n)
    """Every state's root mean square over people, who count by their share, and time; 1 where that is 0.

    `total` sums over the processes that share the people.
    """
    with torch.no_grad():
        run, _ = rollout_windows(model, conditions, cut, personal, starts, solver)
    square = total((share[:, :, None, None] * run.states.square().mean(2, keepdim=True)).sum(1, keepdim=True))
    return torch.where(square > 0, square.sqrt(), 1.0)
