"""What `fit_population` makes small: the weighted mean of the people's marginal likelihoods, with what weights cost besides."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid import HybridModel, Rollout, SimulationError, Solver, rollout
from learned import select
from training.loop.descent import Point
from training.loop.lessons import Lesson, Lessons
from training.losses import Stability, mean_square, residual_share, weight_penalty
from training.marginal.laplace import Marginal, penalised_marginal
from training.people.cohort import Cohort
from training.people.mode import Curvature, modes


@dataclass(frozen=True)
class Costs:
    """What is added to the likelihood: as the fields of `Objective` say."""

    least_residual: float
    stability: Stability | None
    decay: float = 0.0
    sparsity: float = 0.0


@dataclass(frozen=True)
class Evaluated:
    """The objective (M,), infinite where someone who counts failed; its gradient (M, P); modes (M, N, d).

    `judged` (M,): the mean over those who judge, infinite where one failed, NaN where there is none.
    """

    loss: Tensor
    judged: Tensor
    gradient: Tensor
    mode: Tensor
    failed: dict[int, str]

    @property
    def point(self) -> Point:
        """As a search asks for it."""
        return Point(self.loss, self.judged, self.gradient, self.mode)


@dataclass(frozen=True)
class Marginals:
    """The mean over people, weighted by `share` (M, N), of the marginal likelihood of what teaches, with its `costs`.

    Those who judge are scored by −log p(judged | taught) = −log p(all) + log p(taught), their own coordinates integrated out of
    both; by −log p(all) where nothing of them teaches. `scale` (M, 1, 1, n) of the states, held for the whole fit.
    """

    taught: Lessons
    share: Tensor
    scale: Tensor | None
    costs: Costs
    curvature: Curvature
    solver: Solver | None

    @staticmethod
    def of(
        model: HybridModel,
        taught: Lessons,
        start: Tensor | None,  # (M, N, d)
        costs: Costs,
        curvature: Curvature,
        solver: Solver | None,
    ) -> "Marginals":
        """With the scale of the states at a few steps from the start."""
        share, scale = taught.share, None
        if costs.least_residual > 0 and not model.residual.vanishes:
            scale = taught.of_members(lambda lesson: _scale(model, lesson, share, start, solver))
        return Marginals(taught, share, scale, costs, curvature, solver)

    def at(self, model: HybridModel, names: list[str], start: Tensor | None) -> Evaluated:
        """The objective and its gradient along the named tensors, the modes searched for from `start`."""
        parts = self.taught.parts
        if len(parts) > 1:
            return self._together(model, names, start, [(part.members, part) for part in parts])
        (lesson,), M, share = parts, model.members, self.share
        try:
            # a search that starts at the last step's modes is a few iterations away from the new ones
            found = penalised_marginal(model, lesson.taught, start, self.curvature, self._penalty, 40, self.solver)
            failed = found.failed
        except SimulationError as error:
            failed = {-1: str(error)}
        if failed and M > 1:  # who failed under one member must not stop the others
            rows = torch.arange(M, device=share.device)
            return self._together(model, names, start, [(m, replace(lesson, judges=lesson.judges[m])) for m in rows.split(1)])
        trained = [model.get_parameter(name) for name in names]
        size = sum(p.numel() // p.shape[0] for p in trained)
        if -1 in failed:
            nothing = share.new_zeros(*share.shape, model.personal) if start is None else start
            lost = share.new_full((M,), torch.inf)
            return Evaluated(lost, lost, share.new_zeros(M, size), nothing, failed)
        loss = (share * torch.where(share > 0, found.value, 0.0)).sum(1)
        loss = loss + weight_penalty(model, self.costs.decay, self.costs.sparsity)
        good = torch.isfinite(loss.detach())
        judged = self._judged(model, lesson, found)
        if not bool(good.any()):  # nobody could be simulated: there is nothing to differentiate
            return Evaluated(torch.full_like(loss.detach(), torch.inf), judged, share.new_zeros(M, size), found.mode, failed)
        gradients = torch.autograd.grad(loss[good].sum(), trained, allow_unused=True)
        flat = torch.cat(
            [(torch.zeros_like(p) if g is None else g).reshape(M, -1) for p, g in zip(trained, gradients, strict=True)],
            1,
        )
        good = good & torch.isfinite(flat).all(1)
        flat = torch.where(good[:, None], flat, 0.0)
        return Evaluated(torch.where(good, loss.detach(), torch.inf), judged, flat, found.mode, failed)

    def _together(
        self, model: HybridModel, names: list[str], start: Tensor | None, parts: list[tuple[Tensor, Lesson]]
    ) -> Evaluated:
        """Members by themselves, each with their lesson, put in order again."""
        each: list[Evaluated] = []
        for rows, lesson in parts:
            scale = None if self.scale is None else self.scale[rows]
            own = replace(lesson, members=torch.arange(len(rows), device=rows.device), every=True)
            taught = Lessons(self.taught.weights[rows], self.taught.everyone[rows], (own,))
            alone = replace(self, taught=taught, share=self.share[rows], scale=scale)
            each.append(alone.at(select(model, rows), names, None if start is None else start[rows]))
        back = torch.argsort(torch.cat([rows for rows, _ in parts]))
        return Evaluated(
            torch.cat([e.loss for e in each])[back],
            torch.cat([e.judged for e in each])[back],
            torch.cat([e.gradient for e in each])[back],
            torch.cat([e.mode for e in each])[back],
            {k: why for e in reversed(each) for k, why in e.failed.items()},
        )

    def _judged(self, model: HybridModel, lesson: Lesson, found: Marginal) -> Tensor:  # (M,)
        value = found.value.detach()
        if lesson.whole is not lesson.taught and bool(lesson.judges.any()):
            who = torch.nonzero(lesson.judges.any(0))[:, 0]
            value = value.index_copy(1, who, self._given(model, lesson, who, found.mode[:, who]))
        others = torch.where(lesson.judges, value.nan_to_num(nan=torch.inf), 0.0).sum(1)
        return others / lesson.judges.sum(1)  # 0/0 is NaN: nobody judges

    def _given(self, model: HybridModel, lesson: Lesson, who: Tensor, mode: Tensor) -> Tensor:  # (M, n)
        """−log p(judged | taught) of these people, without penalties."""

        def value(cohort: Cohort) -> Tensor:
            return penalised_marginal(model, cohort.people(who), mode, self.curvature, None, 40, self.solver).value.detach()

        try:
            return value(lesson.whole) - value(lesson.taught)
        except SimulationError:
            return torch.full_like(mode[..., 0], torch.inf)

    def _penalty(self, model: HybridModel, run: Rollout, rows: Tensor) -> Tensor:
        total = run.states.new_zeros(run.states.shape[:2])
        if self.scale is not None:
            part = residual_share(model, run, self.share[:, rows], scale=self.scale, hold_field=False)
            total = total + self.costs.least_residual * part
        return total if self.costs.stability is None else total + self.costs.stability.penalty(model, run.theta)


def _scale(model: HybridModel, lesson: Lesson, share: Tensor, start: Tensor | None, solver: Solver | None) -> Tensor:
    """The states' mean squares (k, 1, 1, n) of the lesson's members; 1 where nobody can be simulated."""
    if not lesson.every:
        rows = lesson.members
        model, share, start = select(model, rows), share[rows], None if start is None else start[rows]
    cohort = lesson.taught
    found = modes(model, cohort, start=start, iterations=4, solver=solver)
    fine = [i for i in range(cohort.conditions.size) if i not in found.failed]
    if not fine:
        return share.new_ones(len(share), 1, 1, len(model.backbone.states))
    people = torch.tensor(fine, device=share.device)
    with torch.no_grad():
        run = rollout(model, cohort.people(people).conditions, found.mode[:, people], solver)
    return mean_square(run, share[:, people])
