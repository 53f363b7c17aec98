"""A person's β: found from their samples with stated weights, and in a unit that people and members share."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hybrid import HybridModel, RungeKutta, rollout
from learned import MLP, NoiseHead
from training import Cohort, Fitted, Personal, gaussian_nll, personalise

# with the fastest rate near .2/min and steps of 7.5 min: the distance from dopri5 is measured wherever figures are printed
SOLVER = RungeKutta("rk4")

# What β is fitted to: a standard deviation in nmol/L for each of the five samples (0 min is the baseline, and not scored).
# The prior of β is standard normal, so these say how far a person's own samples are trusted against it, and which of them.
ALL_FIVE = (0.03,) * 5  # least squares in all but name: the prior is there for who has next to no rise of glucose
# For a forecast, what comes last counts most. In cross-validation 5 % better than the learned noise (.53 against .56), which
# thinks the errors of one person independent; at 30 and 60 min they pull β apart.
AHEAD = (0.4, 0.4, 0.15, 0.15, 0.15)
# For the first phase, what comes first. Cross-validated members agree with the clamp to ρ = .83 with it, .80 by least squares.
FIRST_PHASE = (0.1, 0.1, 0.2, 0.3, 0.4)


class Stated(NoiseHead):
    """σ²_t as stated for each sample, T of them, and not learned: what β is fitted to where the likelihood is not meant.

    Arguments: `deviations` (T,), in the channel's unit.
    """

    def __init__(self, deviations: Sequence[float]) -> None:
        super().__init__()
        self.channels = 1
        self.deviations: Tensor
        self.register_buffer("deviations", torch.tensor([float(s) for s in deviations], dtype=torch.float64))

    def variance(self, y: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.deviations.square()[:, None].expand(y.shape)

    def reset(self, generator: torch.Generator) -> None:
        return None

    def config(self) -> dict[str, Any]:
        return {"deviations": self.deviations.tolist()}


def fit_beta(model: HybridModel, cohort: Cohort, deviations: Sequence[float] | None, known_until: float) -> Personal:
    """β of everyone under every member from what was measured up to then: mode (M, N, 1) and Laplace covariance.

    β minimises Σ_t (y_t − μ_t)²/2σ_t² + β²/2 with the σ_t of `deviations`; without any, the model's own −log likelihood + β²/2.
    The sum can have more than one valley: the search starts from the lowest of the values at −4, −3.5, … 4.
    """
    judged = copy.deepcopy(model)
    if deviations is not None:
        judged.noise = Stated(deviations).to(cohort.y.device)
    known = cohort.until(known_until)
    grid = torch.linspace(-4.0, 4.0, 17, dtype=torch.float64, device=cohort.y.device)
    with torch.no_grad():
        sums = []
        for b in grid:
            run = rollout(judged, known.conditions, b.expand(model.members, known.conditions.size, 1), SOLVER)
            sums.append(gaussian_nll(known.y, run.mean, run.variance) + 0.5 * b.square())
        start = grid[torch.stack(sums).argmin(0)][..., None]  # (M, N, 1)
    return personalise(judged, known, start=start, solver=SOLVER)


def means(model: HybridModel, cohort: Cohort, deviations: Sequence[float], known_until: float) -> tuple[Tensor, Tensor]:
    """Every member's predicted C-peptide (M, N, T) and β (M, N), with β from what was measured up to then."""
    beta = fit_beta(model, cohort, deviations, known_until).mode
    with torch.no_grad():
        return rollout(model, cohort.conditions, beta, SOLVER).mean[..., 0], beta[..., 0]


def standardise(fitted: Fitted, weights: Tensor) -> Fitted:  # weights (M, N)
    """The same function of each person in the unit in which β has mean 0 and variance 1 over the people of each member.

    β enters the first layer as C β + b. With β = μ + s z that is (C s) z + (b + C μ): z takes the place of β, exactly.
    The joint fit rewards small β with large C, since the prior counts |β|² and not C; in the end the prior means nothing.
    After this change it says again what the population looks like, which is what a new person of few samples needs.
    """
    share = (weights / weights.sum(1, keepdim=True))[..., None]  # (M, N, 1)
    mean = (share * fitted.personal).sum(1, keepdim=True)  # (M, 1, 1)
    spread = (share * (fitted.personal - mean).square()).sum(1, keepdim=True).sqrt().clamp(min=1e-6)
    model = copy.deepcopy(fitted.model)
    network = model.residual
    if not isinstance(network, MLP):
        raise ValueError(f"standardise: needs the network that build() makes, got {type(network).__name__}")
    with torch.no_grad():
        network.biases[0].add_((mean @ network.covariate_weights.mT)[:, 0])
        network.covariate_weights.mul_(spread)
    return Fitted(model, (fitted.personal - mean) / spread)
