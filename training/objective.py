"""What a fit makes small: how it scores, what it is pulled to, and whom it counts."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from physics.arguments import require_callable, require_kind, require_number, require_tensor
from physics.glance import glance
from training.anchor import Anchor
from training.losses import Stability
from training.people.likelihoods import Likelihood, gaussian_nll


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Member m minimises the weighted mean over people of −log p(y | η) − log p(η) + least residual + stability penalty.

    - `likelihood`: what stands for −log p(y | η), in nats, by default that; `beta_nll(0.5)`, `gaussian_crps` or one's own
      (y, mean, variance) -> (M, N). Whatever it is, looks at held-out people are scored by the likelihood.
    - `anchors`: adds ½|φ − a_m|²_Λ divided by the sum of the weights, takes targets of the member's own and draws of the
      prior of η: then the members are draws of a posterior (`Anchor` says when exactly). For that, `least_residual=0`,
      everyone weighs 1, and nobody stops a member early.
    - `stability`: the penalty outside the set that is certified to contract; none by default.
    - `least_residual`: how much the residual's share of the field counts (Yin et al. 2021), in nats; 0 for not at all.
    - `forecast_from`: up to this time since everyone's first dose, or start, a held-out person's measurements are known, and
      the rest are asked for, in the model's own unit of time; None: everything is known, and everything is scored. It says
      nothing of those whom a member learns from, so that without `held_out` `fit` refuses it.
    - `weights` (M, N): how often each member counts each person, 1 for all by default. A person with weight 0 teaches the
      member nothing.
    - `held_out` (M, N), bool: the people by whom a member is judged while it trains; nobody by default.
    - `judged` (N, T), or (M, N, T) for members that differ, bool: the measurements that teach nothing, and by which a member is
      judged while it trains, given the others of the same person: `judged_tail(cohort)`, `judged_blocks`, `judged_people`,
      `judged_records`, or one's own. It stands for `held_out` and `forecast_from`: who weighs 0 teaches nothing, and is judged by
      what is judged of them, their other measurements known.
    - `decay`: adds `decay`/2 Σ w² over the weights of the residual (its matrices, not its biases), in nats a person.
    - `sparsity`: adds `sparsity` Σ |w| over the same weights.

    Errors: `ValueError` for what cannot be such a thing. How many members and people there are is for the fit to say.
    """

    likelihood: Likelihood = gaussian_nll
    anchors: Anchor | None = None
    stability: Stability | None = None
    least_residual: float = 1.0
    forecast_from: float | None = None
    weights: Tensor | None = None
    held_out: Tensor | None = None
    judged: Tensor | None = None
    decay: float = 0.0
    sparsity: float = 0.0

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        if self.likelihood is None:
            raise ValueError("Objective: likelihood is a function, and is None; leave it out for the default")
        require_callable(self.likelihood, "Objective: likelihood", "likelihood=gaussian_nll, or beta_nll(0.5)", 0, 0, 0)
        for name in ("least_residual", "decay", "sparsity"):
            require_number(getattr(self, name), f"Objective: {name}", least=0.0)
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.forecast_from is not None:
            require_number(self.forecast_from, "Objective: forecast_from")
            object.__setattr__(self, "forecast_from", float(self.forecast_from))
        if self.stability is not None:
            write = "Stability.of(model, cohort.conditions.covariates)"
            require_kind(self.stability, Stability, "Objective: stability", write)
        if self.anchors is not None:
            require_kind(self.anchors, Anchor, "Objective: anchors", "Anchor.of(model, cohort, generator)")
        for name, tensor, write in (
            ("weights", self.weights, "torch.ones(M, N)"),
            ("held_out", self.held_out, "torch.zeros(M, N, dtype=torch.bool)"),
        ):
            require_tensor(tensor, f"Objective: {name} (M, N)", write)
            if tensor is not None and tensor.ndim != 2:
                have = tuple(tensor.shape)
                raise ValueError(f"Objective: {name} needs shape (M, N), members and people, got {have}; write {write}")
        if self.weights is not None and not bool((torch.isfinite(self.weights) & (self.weights >= 0)).all()):
            raise ValueError("Objective: weights must be finite and not negative, and one is not; write torch.ones(M, N)")
        if self.held_out is not None and self.held_out.dtype != torch.bool:
            raise ValueError(
                f"Objective: held_out says yes or no, dtype bool, and has {self.held_out.dtype}; write held_out > 0"
            )
        if self.judged is None:
            return
        require_tensor(self.judged, "Objective: judged (N, T) or (M, N, T)", "judged_tail(cohort)")
        if self.judged.ndim not in (2, 3):
            have = tuple(self.judged.shape)
            raise ValueError(f"Objective: judged needs shape (N, T), or (M, N, T), got {have}; write judged_tail(cohort)")
        if self.judged.dtype != torch.bool:
            raise ValueError(f"Objective: judged says yes or no, dtype bool, and has {self.judged.dtype}; write judged > 0")
        for name in ("held_out", "forecast_from"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"Objective: judged and {name} both say what judges; leave {name} out, and give whom it held out weight 0"
                )


def people_counted(
    objective: Objective,
    like: Tensor,
    shape: tuple[int, int],
    name: str,
    total: Callable[[Tensor], Tensor] = lambda part: part,
) -> tuple[Tensor, Tensor, Tensor]:  # (M, N), (M, N) bool, (M, 1)
    """Whom each member learns from and is judged by, as tensors of these M and N beside `like`; and its weights' sum.

    `name`: the fit that asks, with which a sentence begins · `total` sums over the processes that share the people.
    Errors: `ValueError` for another shape, a negative weight, a member that nobody teaches, and somebody who does both.
    """
    weights = like.new_ones(shape) if objective.weights is None else objective.weights.to(like)
    held_out = like.new_zeros(shape, dtype=torch.bool) if objective.held_out is None else objective.held_out.to(like.device)
    for what, value in (("weights", weights), ("held_out", held_out)):
        if value.shape != shape:
            raise ValueError(f"{name}: {what} needs shape (M, N) = {shape}, got {tuple(value.shape)}")
    everyone = total(weights.sum(1, keepdim=True))
    if not bool((everyone > 0).all()):
        raise ValueError(f"{name}: weights of a member are all 0, and every member needs someone to learn from")
    if bool(((weights > 0) & held_out).any()):
        raise ValueError(f"{name}: someone is held out of a member that trains on them; make one of weights and held_out 0")
    return weights, held_out, everyone
