"""Fitting a population with its spread: the marginal likelihood of every member, by L-BFGS."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hybrid import HybridModel, Rollout, SimulationError, Solver, rollout
from hybrid.defaults import differentiating
from hybrid.threads import of_cohort, threads_by
from learned import select
from physics.arguments import require_choice, require_kind, require_number, require_tensor
from physics.glance import Summary, glance
from training.descent import NOT_OF_LBFGS, Point, descend, flat, place, reasons_in_words
from training.fitted import Fitted
from training.looks import Looks
from training.losses import Stability, mean_square, residual_share
from training.marginal import Marginal, penalised_marginal, require_float64
from training.objective import Objective, people_counted
from training.people.arguments import require_trainable, require_untouched
from training.people.cohort import Cohort
from training.people.mode import Curvature, modes
from training.search import Search

_NEARER = "a start from the data: build the model of `starting_values(records, backbone).backbone`"

# what of `Objective`, `Search` and `Looks` this search has not
_WITHOUT = {
    **NOT_OF_LBFGS,
    "likelihood": "a population is fitted by the marginal likelihood",
    "anchors": "the marginal likelihood draws no posterior",
    "forecast_from": "held-out people judge by all that was measured of them",
    "bfloat16": "a marginal likelihood needs float64",
    "checkpoint": "the search is short, and keeps no file",
    "judged": "this search does not judge by measurements yet",
    "decay": "not here yet",
    "sparsity": "not here yet",
}


def _summary(step: Any) -> Summary:
    more = [("slope", step.slope), ("converged", step.converged), ("on held-out people", step.held_out), ("ended", step.ended)]
    return f"PopulationStep {step.index} of {step.total}", [("loss", step.loss), *more, ("best", step.best.model)]


@dataclass(frozen=True)
class PopulationStep:
    """One step of `fit_population`.

    `index` of at most `total` · `loss` (M,) each member's objective where its search is · `slope` (M,) its largest
    derivative there · `converged` (M,) · `held_out` (M,) the mean objective of its held-out people there, NaN without any ·
    `best`, the fit to keep if the search ends here, with everyone's modes · `ended` (M,) why each member's search is over:
    "converged", "flat" (ten steps gained next to nothing), "short" (its step has shrunk to nothing), "judged" (its held-out
    people have had it), "out of steps" at the last of `total`, or "" where it goes on.
    """

    index: int
    total: int
    loss: Tensor
    slope: Tensor
    converged: Tensor
    held_out: Tensor
    best: Fitted
    ended: tuple[str, ...] = ()

    __repr__, _repr_html_ = glance(_summary)

    def sentences(self) -> list[str]:
        """What a reader of the result must know of the search, in words; nothing where every member has arrived."""
        return reasons_in_words(self.ended, self.slope, _NEARER)


@threads_by(of_cohort)
def fit_population(
    model: HybridModel,
    cohort: Cohort,
    objective: Objective = Objective(),
    search: Search = Search(),
    looks: Looks = Looks(),
    *,
    tolerance: float = 1e-4,
    longest: float = 0.5,
    curvature: Curvature = "fisher",
    start: Tensor | None = None,  # (M, N, d)
) -> Iterator[PopulationStep]:
    """Fit every member's population, spread, noise and weights by marginal likelihood, all members in one computation.

    Member m minimises the weighted mean over people of −log p(y_i) (`laplace_marginal`) + `least_residual`·(residual's
    share) + stability penalty, the last two at the person's mode, over the model's trainable tensors, and those that the
    population names in `by_marginal`: with `LogNormalPopulation(…, learn_spread=True)` the spread ω. Every step starts
    the search for modes at the last accepted ones.
    The method is L-BFGS with Armijo's condition, each member with its own memory and step length; one step is one
    evaluation of the objective and its gradient, for all members at once. A trial that is no better, or in which someone
    cannot be simulated, is taken back and its step shortened.

    Arguments
    - `objective`: `weights`, `least_residual` and `stability`, as in `fit`, but that the residual's share is measured in
      scales of the states that are held from the first modes on, and differentiated whole: a line search needs one function.
      And `held_out`: the people by whom a member is judged while it searches, by the same objective, in which their own
      coordinates are integrated out too. A member keeps the best point of its path by this judgement. Without anyone to judge
      it a member keeps the last point: fine for a population, too much for a network, which this search takes further into
      its training people than Adam does.
    - `search`: at most so many `steps`, evaluations (100 where it does not say), and the `solver`. A member is converged when no
      derivative of its objective is above `tolerance`, and finished then, or when ten steps gained no more than a tenth of
      `tolerance` (the objective is per person: a network has directions that no likelihood minds), or when its step has shrunk
      to nothing. `fit_population` ends early once every member is finished.
    - `looks`: the `patience`: after so many points in a row that held-out people find no better (10 where it does not say) a
      member is finished. Every point is looked at.
    - `longest`: no step moves any number of a member by more than this (they are logarithms and weights of order 1).
    - `curvature`: as in `laplace_marginal`. `start`: where the first search for modes begins.

    The search begins at the typical values of the model that it is given, and takes none from the data unasked: the model may be
    fitted already, and a member must learn nothing of people whom its weights, or a cohort cut by `until`, keep from it. Three
    times off, it needs some ten times as many steps: build the model of `starting_values(records, backbone).backbone`, with
    records that everybody may see.

    Yields a `PopulationStep` after every evaluation; that of the last says in `ended` and `sentences()` how each member's search
    ended, and `training.at_ends` what it left at an end of its range. Interrupting the loop loses nothing.
    Errors: `ValueError` for shapes and numbers that cannot be, and for what `objective`, `search` and `looks` ask that this
    search has not; `SimulationError` that names the person when the model cannot simulate someone at the very start.
    Law: members do not influence each other; a person with weight 0 does not influence the member.
    Source: Liu & Nocedal, Math. Program. 45 (1989) 503 (L-BFGS); Armijo, Pacific J. Math. 16 (1966) 1.
    """
    require_trainable(model, cohort, "fit_population")
    require_kind(objective, Objective, "fit_population: objective", "fit_population(model, cohort, Objective(weights=…))")
    require_kind(search, Search, "fit_population: search", "fit_population(model, cohort, search=Search(steps=100))")
    require_kind(looks, Looks, "fit_population: looks", "fit_population(model, cohort, looks=Looks(patience=10))")
    for value in (objective, search, looks):
        require_untouched(value, "fit_population", _WITHOUT)
    require_float64(model, cohort)
    solver = search.solver or differentiating(model)  # one for all rounds: it keeps its buffers between them
    for name, size in (("tolerance", tolerance), ("longest", longest)):
        require_number(size, f"fit_population: {name}", above=0.0)
    require_choice(curvature, ("fisher", "observed"), "fit_population: curvature")
    steps = 100 if search.steps is None else search.steps
    patience = 10 if looks.patience is None else looks.patience
    tolerance, longest = float(tolerance), float(longest)
    require_tensor(start, "fit_population: start (M, N, d)", "Marginal.mode of an earlier call")
    M, N, d = model.members, cohort.conditions.size, model.personal
    device = cohort.y.device
    weights, held_out, everyone = people_counted(objective, cohort.y, (M, N), "fit_population")
    if start is not None and start.shape != (M, N, d):
        raise ValueError(f"fit_population: start needs shape (M, N, d) = {(M, N, d)}, got {tuple(start.shape)}")
    stability = None if objective.stability is None else objective.stability.to(device)
    whole = Marginals.of(
        model, cohort, weights / everyone, held_out, start, objective.least_residual, stability, curvature, solver
    )

    best = copy.deepcopy(model)  # carries the point to keep; what asks for gradients in it stays as it was
    trial = copy.deepcopy(model)
    for name in trial.population.by_marginal:
        trial.population.get_parameter(name).requires_grad_()
    names = [name for name, p in trial.named_parameters() if p.requires_grad]
    for name in names:
        if trial.get_parameter(name).shape[0] != M:
            raise ValueError(
                f"fit_population: {name} has {trial.get_parameter(name).shape[0]} members and the model {M}"
            )
    if not names:
        raise ValueError("fit_population: nothing in the model asks to be trained")
    point = flat(trial, names)  # (M, P)
    first = whole.at(trial, names, start)
    if not bool(torch.isfinite(first.loss).all()):
        why = next(iter(first.failed.values()), "the objective is not finite")
        raise SimulationError(f"the population cannot be fitted from here: {why}")

    def objective_at(point: Tensor, mode: Tensor) -> Point:
        place(trial, names, point)
        return whole.at(trial, names, mode).point

    for step in descend(
        objective_at,
        point,
        first.point,
        held_out.any(1),
        steps=steps,
        patience=patience,
        tolerance=tolerance,
        longest=longest,
    ):
        place(best, names, step.best)
        fitted = Fitted(copy.deepcopy(best), step.carried.clone())
        yield PopulationStep(step.index, steps, step.loss, step.slope, step.converged, step.held_out, fitted, step.ended)


@dataclass(frozen=True)
class _Point:
    """The objective (M,), infinite where someone who counts failed; its gradient (M, P); modes (M, N, d).

    `held_out` (M,): the held-out people's mean, infinite where one failed, NaN where there is none.
    """

    loss: Tensor
    held_out: Tensor
    gradient: Tensor
    mode: Tensor
    failed: dict[int, str]

    @property
    def point(self) -> Point:
        """As a search asks for it."""
        return Point(self.loss, self.held_out, self.gradient, self.mode)


@dataclass(frozen=True)
class Marginals:
    """The mean marginal likelihood with its penalties, weighted by `share` (M, N), and that of who is `held_out` (M, N).

    `scale` (M, 1, 1, n) of the states, held for the whole fit.
    """

    cohort: Cohort
    share: Tensor
    held_out: Tensor
    scale: Tensor | None
    least_residual: float
    stability: Stability | None
    curvature: Curvature
    solver: Solver | None

    @staticmethod
    def of(
        model: HybridModel,
        cohort: Cohort,
        share: Tensor,  # (M, N)
        held_out: Tensor,  # (M, N)
        start: Tensor | None,  # (M, N, d)
        least_residual: float,
        stability: Stability | None,
        curvature: Curvature,
        solver: Solver | None,
    ) -> "Marginals":
        """With the scale of the states at a few steps from the start."""
        scale: Tensor | None = None
        if least_residual > 0 and not model.residual.vanishes:
            found = modes(model, cohort, start=start, iterations=4, solver=solver)
            fine = [i for i in range(cohort.conditions.size) if i not in found.failed]
            if fine:
                rows = torch.tensor(fine, device=share.device)
                with torch.no_grad():
                    run = rollout(model, cohort.people(rows).conditions, found.mode[:, rows], solver)
                scale = mean_square(run, share[:, rows])
        return Marginals(cohort, share, held_out, scale, least_residual, stability, curvature, solver)

    def at(self, model: HybridModel, names: list[str], start: Tensor | None) -> _Point:
        """The objective and its gradient along the named tensors, the modes searched for from `start`."""
        M, share = model.members, self.share
        try:
            # a search that starts at the last step's modes is a few iterations away from the new ones
            found = penalised_marginal(model, self.cohort, start, self.curvature, self._penalty, 40, self.solver)
            failed = found.failed
        except SimulationError as error:
            failed = {-1: str(error)}
        if failed and M > 1:  # who failed under one member must not stop the others
            parts = []
            for m in range(M):
                row = torch.tensor([m], device=share.device)
                scale = None if self.scale is None else self.scale[row]
                alone = replace(self, share=share[row], held_out=self.held_out[row], scale=scale)
                parts.append(alone.at(select(model, row), names, None if start is None else start[row]))
            return _Point(
                torch.cat([p.loss for p in parts]),
                torch.cat([p.held_out for p in parts]),
                torch.cat([p.gradient for p in parts]),
                torch.cat([p.mode for p in parts]),
                failed,
            )
        trained = [model.get_parameter(name) for name in names]
        size = sum(p.numel() // p.shape[0] for p in trained)
        if -1 in failed:
            shape = (M, self.cohort.conditions.size, model.personal)
            nothing = share.new_zeros(shape) if start is None else start
            lost = share.new_full((M,), torch.inf)
            return _Point(lost, lost, share.new_zeros(M, size), nothing, failed)
        counted = share > 0
        loss = (share * torch.where(counted, found.value, 0.0)).sum(1)
        good = torch.isfinite(loss.detach())
        if not bool(good.any()):  # nobody could be simulated: there is nothing to differentiate
            nothing = share.new_zeros(M, size)
            return _Point(torch.full_like(loss.detach(), torch.inf), self._judge(found), nothing, found.mode, failed)
        gradients = torch.autograd.grad(loss[good].sum(), trained, allow_unused=True)
        flat = torch.cat(
            [(torch.zeros_like(p) if g is None else g).reshape(M, -1) for p, g in zip(trained, gradients, strict=True)],
            1,
        )
        good = good & torch.isfinite(flat).all(1)
        flat = torch.where(good[:, None], flat, 0.0)
        return _Point(torch.where(good, loss.detach(), torch.inf), self._judge(found), flat, found.mode, failed)

    def _judge(self, found: Marginal) -> Tensor:  # (M,)
        """The held-out people's mean, infinite where one failed, NaN where there is none."""
        others = torch.where(self.held_out, found.value.detach().nan_to_num(nan=torch.inf), 0.0).sum(1)
        return others / self.held_out.sum(1)  # 0/0 is NaN: nobody judges

    def _penalty(self, model: HybridModel, run: Rollout, rows: Tensor) -> Tensor:
        total = run.states.new_zeros(run.states.shape[:2])
        if self.scale is not None:
            part = residual_share(model, run, self.share[:, rows], scale=self.scale, hold_field=False)
            total = total + self.least_residual * part
        return total if self.stability is None else total + self.stability.penalty(model, run.theta)
