"""Multiple shooting: long records fitted in windows whose starts are variables, joined by an augmented Lagrangian."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from hybrid import Conditions, HybridModel, Rollout, SimulationError, Solver, rollout
from hybrid.defaults import differentiating
from hybrid.problem import Problem
from hybrid.threads import of_cohort, threads_by
from physics.arguments import require_kind, require_number, require_shape, require_tensor
from physics.glance import Summary, glance
from training.course import named
from training.fitted import Fitted
from training.looks import Looks
from training.losses import residual_share
from training.objective import Objective, people_counted
from training.people.arguments import require_fit, require_untouched
from training.people.cohort import Cohort
from training.search import Search
from training.window import Windows, windows

# what of `Objective`, `Search` and `Looks` windows have not
_WITHOUT = {
    "likelihood": "windows are fitted by the likelihood",
    "anchors": "windows draw no posterior",
    "forecast_from": "nobody is held out while there are windows",
    "held_out": "nobody is held out while there are windows; give these people weight 0, and judge the result by `fit`",
    "optimiser": "windows are moved by Adam",
    "schedule": "the rate falls by a cosine in `steps`, and again in `polish`",
    "clip": "gradients are clipped to norm 10",
    "bfloat16": "windows are simulated in the model's own type",
    "shard": "windows are not shared out to processes",
    "every": "nobody is held out to be looked at while there are windows",
    "patience": "nobody is held out to be looked at while there are windows",
    "checkpoint": "windows keep no file; keep `ShootingStep.best` as the loop goes",
    "judged": "windows do not judge yet",
    "decay": "not here yet",
    "sparsity": "not here yet",
}


def _summary(step: Any) -> Summary:
    more = [("phase", step.phase), ("defect", step.defect), ("learning rate", step.rate)]
    return f"ShootingStep {step.index} of {step.total}", [("loss", step.loss), *more, ("best", step.best.model)]


@dataclass(frozen=True)
class ShootingStep:
    """One step of `shoot`.

    `index` of `total` · `phase`: "shooting" in windows, then "polish" over whole records · `loss` (M,) each member's
    objective, without multipliers and penalty · `defect` (M,) the largest |end of a window − start of the next|, in the
    states' scales, of the people whom the member counts; 0 in the polish, which has no windows · `rate`, the learning
    rate · `best`, the fit to keep if training ends here.
    """

    index: int
    total: int
    phase: Literal["shooting", "polish"]
    loss: Tensor
    defect: Tensor
    rate: float
    best: Fitted

    __repr__, _repr_html_ = glance(_summary)


@threads_by(of_cohort)
def shoot(
    model: HybridModel,
    cohort: Cohort,
    objective: Objective = Objective(),
    search: Search = Search(),
    looks: Looks = Looks(),
    *,
    count: int,
    by: Literal["time", "steps"] = "time",
    personal: Tensor | None = None,  # (M, N, d)
    starts: Tensor | None = None,  # (M, N, W-1, n)
    scale: Tensor | None = None,  # (n,)
    rounds: int = 10,
    polish: int = 50,
    stiffness: float = 10.0,
    growth: float = 4.0,
) -> Iterator[ShootingStep]:
    """Fit every member as `fit` does, but with the start of every window of a long record as a variable of its own.

    Over a long record the likelihood has a local minimum for about every period that a wrong frequency gains or loses:
    what the first half of a record asks for, the second denies. In windows each part is explained from its own start, and
    the parts are joined gradually. Member m minimises `fit`'s objective over weights, η and the windows' starts s, subject to
    d_w = (x(end of window w) − s_{w+1})/scale = 0, by the augmented Lagrangian: per person

        −log p(y | η, s) − log p(η) + … + Σ_w λ_w·d_w + ρ/2 Σ_w |d_w|².

    In the first third of `steps` ρ is small and λ = 0: every window finds its own. The rest are `rounds` equal parts; at
    the beginning of each, λ ← λ + ρ d, and ρ grows by `growth` for the people whose |d| has not fallen fourfold since the last.
    A penalty alone leaves defects of the size λ/ρ, and a ρ that makes them small makes the problem ill-conditioned for
    gradient steps; with multipliers a moderate ρ suffices. λ is also the pull of later data on the parameters, which a
    free start would swallow (Turan & Jäschke describe either).
    The noise rests for the first two thirds of `steps`: it would grow to explain what the dynamics cannot yet, and then
    nothing pulls at them any more. So start it from what the assay is known to do. At last the windows go: `polish` steps of
    single shooting begin in the basin that the windows found.

    Arguments
    - `objective`: `weights`, `least_residual` and `stability`, as in `fit`; what it scores with is the likelihood.
    - `search`: `rate`, `solver` and `steps` (300 where it does not say). The optimiser is Adam, its rate falling by a cosine
      to 2 % over all of `steps`, and from there again over `polish`. Gradients are clipped to norm 10 per member, those of
      the starts apart from the rest, so that a stiff penalty does not silence the parameters.
    - `looks`: as it is; nobody is looked at while there are windows, and what it asks for is refused by name.
    - `count`, `by`: how many windows, see `windows`. A window of about one period, or of the time over which today's
      model can be trusted, and with several measurements in it: what a window alone does not determine, its neighbours must.
    - `personal`: η to start from, 0 by default.
    - `starts`: where the windows' states start; by default on the solution of the model as given. It has no defects, is
      in the range of the states, needs no inverse of the observations, and the data pull it their way within each window.
      Where that solution is of no use (a residual not to be trusted yet), pass `simulated_starts` of the backbone alone.
    - `scale`: what counts as a large defect in each state; by default its root mean square over people and time on the
      solution of the model as given (people count by their weights), and 1 where that is 0.
    - `stiffness`: the first ρ, in nats: a defect of 1/√ρ of a state's scale costs half a nat.

    Yields a `ShootingStep` after every update; its `best` goes into `fit(...)` for judging by held-out people.
    Errors: `ValueError` for shapes and numbers that cannot be, and for what is asked that windows have not;
    `SimulationError` that names the person.
    Law: members do not influence each other; a person with weight 0 does not influence the member.
    Source: Bock & Plitt, IFAC Proc. 17 (1984) 1603, multiple shooting; Turan & Jäschke, IEEE Control Syst. Lett. 6 (2022)
    1897, for neural ODEs; Nocedal & Wright (2006), framework 17.3, augmented Lagrangian; Kingma & Ba (2015), Adam.
    """
    require_fit(model, cohort, "shoot")
    require_kind(objective, Objective, "shoot: objective", "shoot(model, cohort, objective=Objective(weights=…), count=16)")
    require_kind(search, Search, "shoot: search", "shoot(model, cohort, search=Search(steps=300), count=16)")
    require_kind(looks, Looks, "shoot: looks", "leave it out: shoot(model, cohort, count=16)")
    for value in (objective, search, looks):
        require_untouched(value, "shoot", _WITHOUT)
    steps, rate, stability = 300 if search.steps is None else search.steps, search.rate, objective.stability
    solver = search.solver or differentiating()  # one for all steps: it keeps its buffers between them
    model = copy.deepcopy(model)
    M, N, n = model.members, cohort.conditions.size, len(model.backbone.states)
    like = cohort.y
    for name, number in (("count", count), ("rounds", rounds)):
        require_number(number, f"shoot: {name}", least=1.0, whole=True)
    require_number(stiffness, "shoot: stiffness", above=0.0)
    require_number(polish, "shoot: polish", whole=True)
    require_number(growth, "shoot: growth")
    if scale is not None:
        require_tensor(scale, "shoot: scale", "torch.ones(n)")
        require_shape(scale, "shoot: scale", ..., "n", write="torch.ones(n), one a state")
    for name, tensor in (("personal", personal), ("starts", starts), ("scale", scale)):
        require_tensor(tensor, f"shoot: {name}", "torch.tensor(…)")
    if personal is not None and not personal.is_floating_point():
        raise ValueError(f"shoot: personal is {personal.dtype}, and coordinates are real numbers; write personal.to(model.dtype)")
    count, rounds, polish = int(count), int(rounds), int(polish)
    stiffness, growth = float(stiffness), float(growth)
    if rounds > steps or polish < 0 or not growth >= 1.0:
        raise ValueError(
            f"shoot: needs rounds ≤ steps, polish ≥ 0 and growth ≥ 1, got rounds {rounds} of {steps} steps, polish {polish} "
            f"and growth {growth}"
        )
    cut = windows(cohort.conditions.segments, count, by)
    stability = None if stability is None else stability.to(like.device)
    weights, _, everyone = people_counted(objective, like, (M, N), "shoot")
    personal = like.new_zeros(M, N, model.personal) if personal is None else personal.detach().to(like).clone()
    if personal.shape != (M, N, model.personal):
        raise ValueError(f"shoot: personal needs shape {(M, N, model.personal)}, got {tuple(personal.shape)}")
    share = weights / everyone
    try:
        starts = (
            simulated_starts(model, cohort.conditions, cut, personal, solver) if starts is None else starts.to(like)
        )
        if starts.shape != (M, N, count - 1, n):
            raise ValueError(f"shoot: starts needs shape {(M, N, count - 1, n)}, got {tuple(starts.shape)}")
        unit = (
            _scale(model, cohort.conditions, cut, personal, starts, share, solver) if scale is None else scale.to(like)
        )
    except SimulationError as error:
        raise named(error, cohort) from error
    if not bool((torch.isfinite(unit) & (unit > 0)).all()) or unit.shape[-1] != n:
        raise ValueError(f"shoot: scale needs {n} positive finite numbers, one a state, got {unit.tolist()}")

    # every variable moves by about `rate` in one step of Adam, so the starts are in their scales
    scaled = (starts.detach() / unit).requires_grad_()
    own = [*model.parameters(), personal.requires_grad_()]
    multiplier, rho = torch.zeros_like(scaled), torch.full_like(share, stiffness)
    before = torch.full_like(share, torch.inf)  # each person's |d| at the last update of the multipliers

    noise: list[Tensor] = list(model.noise.parameters())
    quiet = {id(p) for p in noise}
    moving = [p for p in own if id(p) not in quiet]
    settle = steps // 3
    ends = {settle + (steps - settle) * k // rounds for k in range(rounds)}  # the steps that end with new multipliers
    quietly = steps - steps // 3  # until here the noise rests
    total = steps + polish
    optimiser, schedule = _adam([*moving, scaled], noise, (rate, rate), (steps, None))
    for index in range(1, total + 1):
        shooting = index <= steps
        if index == steps + 1:
            # a first step of Adam is a whole one in every weight, and over a whole record a small change goes far
            optimiser, schedule = _adam(moving, noise, (0.02 * rate, rate), (polish, polish))
        for tensor in (*own, scaled):
            tensor.grad = None
        try:
            if shooting:
                run, gap = rollout_windows(model, cohort.conditions, cut, personal, scaled * unit, solver)
            else:
                run = rollout(model, cohort.conditions, personal, solver)
                gap = torch.zeros_like(scaled)
        except SimulationError as error:
            raise named(error, cohort) from error
        each = cohort.nll(run.mean, run.variance) - model.log_prior(personal)
        each = each + objective.least_residual * residual_share(model, run, share)
        if stability is not None:
            each = each + stability.penalty(model, run.theta)
        loss = (share * each).sum(1)  # (M,)
        d = gap / unit
        joint = (multiplier * d).sum((-1, -2)) + 0.5 * rho * d.square().sum((-1, -2))  # (M, N)
        (loss + (share * joint).sum(1)).sum().backward()
        _clip(moving, 10.0)
        _clip([scaled], 10.0)
        _clip(noise, 10.0)
        if index <= quietly:
            for tensor in noise:
                tensor.grad = None  # Adam leaves alone what has no gradient
        now = float(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
        d = d.detach()
        if index in ends:
            multiplier = multiplier + rho[..., None, None] * d
            size = d.square().sum((-1, -2)).sqrt()  # (M, N)
            rho = torch.where(size > 0.25 * before, growth * rho, rho)
            before = size
        counted = torch.where(weights[..., None, None] > 0, d.abs(), 0.0).flatten(1)
        defect = counted.amax(1) if counted.shape[1] else counted.sum(1)
        best = Fitted(copy.deepcopy(model), personal.detach().clone())
        yield ShootingStep(index, total, "shooting" if shooting else "polish", loss.detach(), defect, now, best)


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
    theta, c = (v.repeat(1, cut.count, 1) for v in (problem.theta, problem.context))
    parts = Problem(model, cut.segments, theta, c, cut.stack(problem.start.expand(starts.shape[0], -1, -1), starts))
    states, ends = cut.back(parts.solve(solver or differentiating()).require())
    gap = torch.where(cut.joined[..., None], ends[:, :, :-1] - starts, 0.0)
    inputs = conditions.segments.read_inputs()
    mean, variance = problem.measured(states, inputs)
    infused = conditions.segments.read_rates() if conditions.segments.infused else None
    return Rollout(problem.theta, problem.context, states, inputs, mean, variance, infused=infused), gap


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


def _scale(
    model: HybridModel,
    conditions: Conditions,
    cut: Windows,
    personal: Tensor,
    starts: Tensor,
    share: Tensor,
    solver: Solver | None,
) -> Tensor:  # (M, 1, 1, n)
    with torch.no_grad():
        run, _ = rollout_windows(model, conditions, cut, personal, starts, solver)
    square = (share[:, :, None, None] * run.states.square().mean(2, keepdim=True)).sum(1, keepdim=True)
    return torch.where(square > 0, square.sqrt(), 1.0)


def _adam(
    first: list[Tensor], second: list[Tensor], rates: tuple[float, float], steps: tuple[int, int | None]
) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.LambdaLR]:
    """Adam on two groups, the rate of each falling by a cosine to 2 % in its number of steps, or constant without one."""

    def falling(count: int | None) -> Callable[[int], float]:
        return lambda k: 1.0 if count is None else 0.02 + 0.49 * (1.0 + math.cos(math.pi * min(k / count, 1.0)))

    groups = [{"params": p, "lr": r} for p, r in zip((first, second), rates, strict=True)]
    optimiser = torch.optim.Adam(groups)
    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, [falling(c) for c in steps])


def _clip(tensors: list[Tensor], largest: float) -> None:
    """Scale each member's gradient over all these tensors to at most `largest` in norm."""
    gradients = [t.grad for t in tensors if t.grad is not None]
    M = max((g.shape[0] for g in gradients), default=1)
    stacked = [g for g in gradients if g.shape[0] == M]
    if not stacked:
        return
    norm = torch.stack([g.flatten(1).square().sum(1) for g in stacked]).sum(0).sqrt()  # (M,)
    factor = (largest / norm.clamp(min=1e-12)).clamp(max=1.0)
    for g in stacked:
        g.mul_(factor.reshape(-1, *[1] * (g.ndim - 1)))
