"""What simulated people cost each member, and how a look judges it: one objective for `fit` and `shoot`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid import HybridModel, Rollout, SimulationError, Solver
from learned import select
from physics.arguments import quote
from training.anchor import Anchor
from training.losses import Stability, residual_share
from training.machinery.distributed import Shard
from training.objective import Objective, people_counted
from training.people.cohort import Cohort, in_float64
from training.people.information import sensitivity
from training.people.likelihoods import gaussian_nll
from training.people.mode import modes


@dataclass(frozen=True)
class Score:
    """An `Objective` of these people, where the model is.

    `weights` (M, N) and `held_out` (M, N): whom each member learns from and is judged by · `everyone` (M, 1), the weights' sum
    over all processes · `anchors` and `stability` of the objective, where the cohort is · `judged` (M,): is there anything that
    judges the member · `name`, the fit that asks, with which a sentence begins.
    """

    objective: Objective
    cohort: Cohort
    weights: Tensor
    held_out: Tensor
    everyone: Tensor
    anchors: Anchor | None
    stability: Stability | None
    judged: Tensor
    shard: Shard
    name: str

    @staticmethod
    def of(model: HybridModel, cohort: Cohort, objective: Objective, shard: Shard, name: str) -> "Score":
        """Errors: `ValueError`, beginning with `name`, for another type, device or shape than the model's."""
        M, N, y = model.members, cohort.conditions.size, cohort.y
        there = model.device
        if y.device != there:
            raise ValueError(f"{name}: the model is on {there} and the cohort on {y.device}; write cohort.to(model.device)")
        if y.dtype != model.dtype:
            raise ValueError(f"{name}: the model is {model.dtype} and the cohort {y.dtype}; write cohort.to({model.dtype})")
        weights, held_out, everyone = people_counted(objective, y, (M, N), name, shard.total)
        anchors, stability = objective.anchors, objective.stability
        if anchors is not None:
            anchors = anchors.to(y)
            anchors.require(M, y.shape)
        if stability is not None:  # once, here: a graph that is captured copies nothing from elsewhere
            stability = stability.to(y.device)
        # a held-out person with nothing left to forecast judges nobody
        asked = _asked(cohort, objective.forecast_from).mask.sum((-1, -2))
        judged = shard.total((held_out * asked).sum(1)) > 0  # (M,)
        return Score(objective, cohort, weights, held_out, everyone, anchors, stability, judged, shard, name)

    @property
    def share(self) -> Tensor:  # (M, N)
        """How much of a member's objective each person is."""
        return self.weights / self.everyone

    def loss(
        self,
        model: HybridModel,
        run: Rollout,
        personal: Tensor,  # (M, N, d)
    ) -> Tensor:  # (M,)
        """Each member's objective, of people who were simulated so."""
        share, anchors = self.share, self.anchors
        if anchors is None:
            each = self._likelihood(run) - model.log_prior(personal)
        else:
            each = anchors.likelihood(self.objective.likelihood, self.cohort.y, run.mean, run.variance)
            each = each - model.log_prior(personal - anchors.personal) + anchors.penalty(model)[:, None] / self.everyone
        if self.objective.least_residual:  # the share costs a fifth of a step
            part = residual_share(model, run, share, everyone=self.shard.total)
            each = each + self.objective.least_residual * part
        if self.stability is not None:
            each = each + self.stability.penalty(model, run.theta)
        return (share * each).sum(1)

    def _likelihood(self, run: Rollout) -> Tensor:  # (M, N)
        y = self.cohort.y
        try:
            each = self.objective.likelihood(y, run.mean, run.variance)
        except (TypeError, NotImplementedError) as error:
            why = str(error)[:100]
            raise ValueError(
                f"{self.name}: likelihood cannot score (y, mean, variance): {why}; write gaussian_nll"
            ) from error
        shape = tuple(self.weights.shape)
        if not isinstance(each, Tensor) or each.shape != shape:
            raise ValueError(f"{self.name}: likelihood gives one number a member and person, {shape}, and gave {quote(each)}")
        return each

    def judge(
        self,
        model: HybridModel,
        warm: Tensor | None,  # (M, N, d)
        solver: Solver | None,
    ) -> tuple[Tensor, Tensor]:  # (M,), (M, N, d)
        """Mean −log predictive density per observation of each member's held-out people, and their coordinates."""
        model, cohort = in_float64(model, self.cohort)
        since = self.objective.forecast_from
        known, asked = cohort if since is None else cohort.until(since), _asked(cohort, since)
        # a few damped steps suffice: the next look goes on from here; all of them, so that nobody waits for who else converged
        found = modes(model, known, start=warm, iterations=4, tolerance=0.0, solver=solver)
        with torch.no_grad():
            # a forecaster does not know the person exactly: their posterior widens what is predicted (to first order)
            s = sensitivity(model, asked.conditions, found.mode, solver)
            own = torch.einsum("mntpi,mnij,mntpj->mntp", s.mean_slope, found.covariance, s.mean_slope)
            each = gaussian_nll(asked.y, s.mean, s.variance + own)  # (M, N)
        count = asked.mask.sum((-1, -2))  # (N,)
        total = self.shard.total((self.held_out * count).sum(1))
        score = self.shard.total(torch.where(self.held_out, each, 0.0).sum(1)) / total.clamp(min=1)
        return torch.where(total > 0, score, torch.nan), found.mode.contiguous()

    def judge_or_lose(
        self,
        model: HybridModel,
        warm: Tensor | None,  # (M, N, d)
        solver: Solver | None,
    ) -> tuple[Tensor, Tensor | None]:  # (M,), (M, N, d)
        """As `judge`, and infinite for a member that cannot be simulated over whole records (yet)."""
        try:
            return self.judge(model, warm, solver)
        except SimulationError:
            M = model.members
            if M == 1 or self.shard.world > 1:  # processes that share people ask each other the same number of times
                return torch.full((M,), torch.inf, dtype=torch.float64, device=self.weights.device), warm
        rows = [torch.tensor([m], device=self.weights.device) for m in range(M)]
        found = [self._of(row).judge_or_lose(select(model, row), None, solver) for row in rows]
        d, like = model.personal, self.weights.new_zeros((), dtype=torch.float64)
        own = [like.new_zeros(1, self.weights.shape[1], d) if w is None else w for _, w in found]
        return torch.cat([s for s, _ in found]), torch.cat(own)

    def _of(self, row: Tensor) -> "Score":
        """For one member's look: whom it is judged by."""
        return Score(
            self.objective,
            self.cohort,
            self.weights[row],
            self.held_out[row],
            self.everyone[row],
            None,
            None,
            self.judged[row],
            self.shard,
            self.name,
        )



def _asked(cohort: Cohort, forecast_from: float | None) -> Cohort:
    """What a held-out person is scored on."""
    return cohort if forecast_from is None else cohort.after(forecast_from)
