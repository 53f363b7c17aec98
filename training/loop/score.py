"""What simulated people cost each member, and how a look judges it: one objective for `fit` and `shoot`."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid import HybridModel, Rollout, SimulationError, Solver
from learned import select
from training.anchor import Anchor
from training.fitted import Compared
from training.loop.lessons import Lessons, judgement, lessons, looked, scored
from training.losses import Stability, require_weights, residual_share, weight_penalty
from training.machinery.distributed import Shard
from training.objective import Objective
from training.people.cohort import Cohort


@dataclass(frozen=True)
class Score:
    """An `Objective` of these people, where the model is.

    `taught`: what each member is taught, and by what it is judged · `judged` (M,): is there anything that judges it · `anchors`
    and `stability` of the objective, where the cohort is · `name`, the fit that asks, with which a sentence begins.
    """

    objective: Objective
    cohort: Cohort
    taught: Lessons
    judged: Tensor
    anchors: Anchor | None
    stability: Stability | None
    shard: Shard
    name: str

    @staticmethod
    def of(model: HybridModel, cohort: Cohort, objective: Objective, shard: Shard, name: str) -> "Score":
        """Errors: `ValueError`, beginning with `name`, for another type, device or shape than the model's."""
        y, there = cohort.y, model.device
        if y.device != there:
            raise ValueError(f"{name}: the model is on {there} and the cohort on {y.device}; write cohort.to(model.device)")
        if y.dtype != model.dtype:
            raise ValueError(f"{name}: the model is {model.dtype} and the cohort {y.dtype}; write cohort.to({model.dtype})")
        require_weights(model, objective.decay, objective.sparsity, name)
        taught = lessons(objective, cohort, model.members, name, shard.total)
        anchors, stability = objective.anchors, objective.stability
        if anchors is not None:
            anchors = anchors.to(y)
            anchors.require(model.members, y.shape)
        if stability is not None:  # once, here: a graph that is captured copies nothing from elsewhere
            stability = stability.to(y.device)
        # a held-out person with nothing left to forecast judges nobody
        judged = shard.total(taught.of_members(lambda lesson: lesson.count)) > 0  # (M,)
        return Score(objective, cohort, taught, judged, anchors, stability, shard, name)

    @property
    def share(self) -> Tensor:  # (M, N)
        """How much of a member's objective each person is."""
        return self.taught.share

    def compared(self, held_out: Tensor) -> Compared:  # (M,)
        """By what members may be compared, of whom what judges said so of their best."""
        known = self.judged & torch.isfinite(held_out)
        alike = self.taught.alike and self.anchors is None
        return Compared(torch.where(known, held_out, torch.nan), self.taught.everyone[:, 0], alike)

    def loss(
        self,
        model: HybridModel,
        run: Rollout,
        personal: Tensor,  # (M, N, d)
    ) -> Tensor:  # (M,)
        """Each member's objective, of people who were simulated so."""
        share, anchors, asked, everyone = self.share, self.anchors, self.objective, self.taught.everyone
        each = self.taught.of_members(lambda lesson: scored(lesson, run, asked.likelihood, anchors, self.name))
        if anchors is None:
            each = each - model.log_prior(personal)
        else:
            each = each - model.log_prior(personal - anchors.personal) + anchors.penalty(model)[:, None] / everyone
        if asked.least_residual:  # the share costs a fifth of a step
            each = each + asked.least_residual * residual_share(model, run, share, everyone=self.shard.total)
        if self.stability is not None:
            each = each + self.stability.penalty(model, run.theta)
        if asked.decay or asked.sparsity:
            each = each + weight_penalty(model, asked.decay, asked.sparsity)[:, None]
        return (share * each).sum(1)

    def judge(
        self,
        model: HybridModel,
        warm: Tensor | None,  # (M, N, d)
        solver: Solver | None,
    ) -> tuple[Tensor, Tensor]:  # (M,), (M, N, d)
        """Mean −log predictive density per measurement that judges each member, and everyone's coordinates."""
        return looked(self.taught, model, warm, solver, self.shard.total)

    def judge_or_lose(
        self,
        model: HybridModel,
        warm: Tensor | None,  # (M, N, d)
        solver: Solver | None,
    ) -> tuple[Tensor, Tensor]:  # (M,), (M, N, d)
        """As `judge`, and infinite for a member that cannot be simulated over whole records (yet)."""
        M, N, like = model.members, self.cohort.conditions.size, self.share.double()
        start = like.new_zeros(M, N, model.personal) if warm is None else warm
        try:
            return self.judge(model, start, solver)
        except SimulationError:
            if self.shard.world > 1:  # processes that share people ask each other the same number of times
                return like.new_full((M,), torch.inf), start
        scores: list[Tensor] = []
        modes: list[Tensor] = []
        for m in range(M):
            part = next(p for p in self.taught.parts if bool((p.members == m).any()))
            row, at = torch.tensor([m], device=like.device), part.members == m
            alone = replace(part, members=row, judges=part.judges[at], every=True)
            try:
                score, mode = judgement(select(model, row), alone, start[row], solver)
            except SimulationError:
                score, mode = like.new_full((1,), torch.inf), start[row]
            scores, modes = [*scores, score], [*modes, mode]
        return torch.cat(scores), torch.cat(modes)


def require_forecast(objective: Objective, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, for a time to forecast from where nobody is held out to be forecast."""
    if objective.forecast_from is not None and objective.held_out is None:
        raise ValueError(
            f"{name}: forecast_from is {objective.forecast_from:g} and nobody is held out, so nothing would be forecast from "
            "there: everyone's measurements teach, late ones too; say who is held out, Objective(held_out=…, weights=…), or "
            f"teach by the early ones alone, {name}(model, cohort.until(time))"
        )
