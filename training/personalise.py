"""A new person: their own coordinates from their own data, with the population and the network frozen."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid import Conditions, HybridModel, Solver, rollout
from training.losses import gaussian_nll
from training.records import Cohort


@dataclass(frozen=True)
class Personal:
    """What is known of N people's own coordinates under each of M members.

    `mode` (M, N, d), the maximum a posteriori · `covariance` (M, N, d, d), Laplace · `objective` (M, N), −log posterior
    at the mode up to a constant · `converged` (M, N).
    """

    mode: Tensor
    covariance: Tensor
    objective: Tensor
    converged: Tensor

    def draws(self, count: int, generator: torch.Generator) -> Tensor:  # (M, S, N, d)
        """Independent draws of the Laplace posterior N(mode, covariance)."""
        M, N, d = self.mode.shape
        z = torch.randn(M, count, N, d, 1, generator=generator, dtype=torch.float64).to(self.mode.device)
        if d == 0:
            return z[..., 0]
        root = torch.linalg.cholesky(self.covariance)  # (M, N, d, d)
        return self.mode[:, None] + (root[:, None] @ z)[..., 0]


def prior(model: HybridModel, people: int) -> Personal:
    """Someone of whom nothing was measured: mode 0, covariance I."""
    M, d = model.members, model.personal
    device = next(iter(model.parameters())).device
    eye = torch.eye(d, dtype=torch.float64, device=device).expand(M, people, d, d)
    zero = torch.zeros(M, people, dtype=torch.float64, device=device)
    return Personal(zero[..., None].expand(M, people, d).clone(), eye.clone(), zero, zero == 0)


def personalise(
    model: HybridModel,
    cohort: Cohort,
    *,
    start: Tensor | None = None,  # (M, N, d)
    iterations: int = 40,
    tolerance: float = 1e-4,
    solver: Solver | None = None,
) -> Personal:
    """Maximum a posteriori coordinates of every person under every member, all at once, with Laplace covariances.

    Minimises φ(η) = Σ_t ½[(y_t − μ_t)²/v_t + log v_t] + ½|η|² by Fisher scoring with Levenberg–Marquardt damping, each
    person and member with their own: with μ' and v' the derivatives along η, the gradient is
    Σ_t [−e μ'/v + ½ v'(1 − e²/v)/v] + η and the Fisher information Σ_t [μ'μ'ᵀ/v + ½ v'v'ᵀ/v²] + I. The covariance is the
    inverse of that information at the mode.

    Arguments: `model`; `cohort`, whose NaN observations do not count; `start`, where to begin (0); at most `iterations`;
    converged when a step moves no coordinate by more than `tolerance`.
    Law: with a mean that is linear in η and constant noise, the result is the exact Gaussian posterior.
    Source: Osborne, Int. Stat. Rev. 60 (1992) 99 (Fisher's method of scoring); Nielsen, IMM-REP-1999-05 (1999) (damping);
    MacKay, Neural Comput. 4 (1992) 448 (Laplace).
    """
    M, N, d = model.members, cohort.conditions.size, model.personal
    known = prior(model, N)
    with torch.no_grad():
        eta = known.mode if start is None else start.detach().clone()
        if d == 0:
            return Personal(eta, known.covariance, _objective(model, cohort, eta, solver), known.converged)
        damping = torch.full((M, N), 1e-3, dtype=torch.float64, device=eta.device)
        value, gradient, information = _expand(model, cohort, eta, solver)
        converged = torch.zeros(M, N, dtype=torch.bool, device=eta.device)
        for _ in range(iterations):
            diagonal = torch.diag_embed(information.diagonal(dim1=-2, dim2=-1))
            step = -torch.linalg.solve(information + damping[..., None, None] * diagonal, gradient[..., None])[..., 0]
            # a person's coordinates are a priori standard normal: no single step needs to be longer than 2
            step = step.clamp(-2.0, 2.0)
            trial_value, trial_gradient, trial_information = _expand(model, cohort, eta + step, solver)
            better = trial_value <= value
            promised = -(gradient * step).sum(-1) - 0.5 * ((information @ step[..., None])[..., 0] * step).sum(-1)
            gain = (value - trial_value) / promised.clamp(min=1e-300)
            small = step.abs().amax(-1) <= tolerance
            keep = better[..., None]
            eta = torch.where(keep, eta + step, eta)
            value = torch.where(better, trial_value, value)
            gradient = torch.where(keep, trial_gradient, gradient)
            information = torch.where(keep[..., None], trial_information, information)
            # The information is not the curvature: where the model misfits, a whole step overshoots and is still better.
            # The gain, as a share of what the quadratic promised, says so: near 1 trust more, below ½ less (Nielsen 1999).
            factor = (1.0 - (2.0 * gain - 1.0).clamp(-1.0, 1.0) ** 3).clamp(min=0.1)
            damping = torch.where(better, damping * factor, damping * 10.0).clamp(1e-9, 1e9)
            converged = converged | small
            if bool(converged.all()):
                break
        return Personal(eta, torch.linalg.inv(information), value, converged)


def _objective(model: HybridModel, cohort: Cohort, personal: Tensor, solver: Solver | None) -> Tensor:
    run = rollout(model, cohort.conditions, personal, solver)
    return gaussian_nll(cohort.y, run.mean, run.variance) - model.log_prior(personal)


@dataclass(frozen=True)
class Sensitivity:
    """Means and variances (M, N, T, p) and their derivatives (M, N, T, p, d) along every person's own coordinates."""

    mean: Tensor
    variance: Tensor
    mean_slope: Tensor
    variance_slope: Tensor


def sensitivity(
    model: HybridModel,
    conditions: Conditions,
    personal: Tensor,  # (M, N, d)
    solver: Solver | None = None,
) -> Sensitivity:
    """How every measurement depends on the person's own coordinates, in one simulation.

    Every person is copied 2d + 1 times, moved by ±h along each coordinate in turn: central differences, whose error is
    O(h²) ≈ 1e-10 here. All copies share one batch and so one sequence of steps, adaptive or not, so that the solver's
    own error cancels in the differences. Forward-mode differentiation would be exact, and is eight times slower on the
    many small tensors of this simulation; reverse mode needs a backward pass per observation.
    """
    M, N, d = personal.shape
    h = 1e-5
    offsets = torch.cat([torch.zeros(1, d), h * torch.eye(d), -h * torch.eye(d)]).to(personal)  # (2d+1, d)
    copies = torch.arange(N, device=personal.device).repeat(2 * d + 1)
    moved = (personal[:, None] + offsets[None, :, None, :]).reshape(M, (2 * d + 1) * N, d)
    with torch.no_grad():
        run = rollout(model, conditions.people(copies), moved, solver)
    mean = run.mean.reshape(M, 2 * d + 1, N, *run.mean.shape[2:])
    variance = run.variance.reshape(mean.shape)

    def slope(value: Tensor) -> Tensor:
        return ((value[:, 1 : d + 1] - value[:, d + 1 :]) / (2.0 * h)).movedim(1, -1)

    return Sensitivity(mean[:, 0], variance[:, 0], slope(mean), slope(variance))


def _expand(
    model: HybridModel, cohort: Cohort, personal: Tensor, solver: Solver | None
) -> tuple[Tensor, Tensor, Tensor]:
    """φ (M, N), its gradient (M, N, d) and its Fisher information (M, N, d, d)."""
    s = sensitivity(model, cohort.conditions, personal, solver)
    slope, bend = s.mean_slope.flatten(2, 3), s.variance_slope.flatten(2, 3)  # (M, N, T·p, d)
    variance = s.variance.flatten(2)
    y = cohort.y.flatten(1)
    there = torch.isfinite(y)
    e = torch.where(there, y - s.mean.flatten(2), 0.0)
    weight = torch.where(there, 1.0 / variance, 0.0)
    by_mean = -e * weight
    by_variance = 0.5 * weight * (1.0 - e.square() * weight)
    gradient = (by_mean[..., None] * slope + by_variance[..., None] * bend).sum(2) + personal
    information = slope.mT @ (weight[..., None] * slope) + 0.5 * bend.mT @ (weight.square()[..., None] * bend)
    value = 0.5 * torch.where(there, e.square() * weight + variance.log(), 0.0).sum(-1) - model.log_prior(personal)
    return value, gradient, information + torch.eye(personal.shape[-1], dtype=personal.dtype, device=personal.device)
