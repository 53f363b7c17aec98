"""Laplace's method at a minimum that is a kink: where somebody's dose arrives at the very time of an observation."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hybrid import HybridModel, Rollout, Solver
from training.people.arriving import Pinned
from training.people.cohort import Cohort
from training.people.information import copies, difference_offsets, expand, simulate_copies, slopes

_ASIDE = 1e-4  # of the lag's coordinate: how far on either side of the kink φ is looked at
_ROUNDS = 6


def at_kinks(
    model: HybridModel,
    cohort: Cohort,
    mode: Tensor,  # (M, N, d)
    pinned: Pinned,
    solver: Solver | None,
    cost: Callable[[Rollout], Tensor] | None = None,
) -> Tensor:  # (M, N)
    """−log ∫ p(y | η) N(η; 0, I) dη of people whose mode lies on a kink across the coordinate k of their lag.

    φ is quadratic on either side, with slopes s₊ and s₋ away from the kink and curvature h± of the profile along k:
    p ≈ e^{−φ} (2π)^{−½} |H_oo|^{−½} (∫₀^∞ e^{−s₊x − ½h₊x²} dx + ∫₀^∞ e^{−s₋x − ½h₋x²} dx), H_oo of the other coordinates, and the
    integrals √(π/2h) erfcx(s/√2h). The mode stays on the kink, at the same lag, whatever the trainable numbers become; the other
    coordinates follow. `cost` (M, N), of the simulation of everyone's copies at the mode, is added.
    Law: φ = ½|η|² + c|η_k| gives the integral; without a kink, s = 0, it is Laplace's method.
    """
    d, k = mode.shape[-1], pinned.coordinate
    others = [i for i in range(d) if i != k]
    unit = torch.nn.functional.one_hot(torch.tensor(k, device=mode.device), d).to(mode)
    covariates = cohort.conditions.begun  # a lag is the same in all pieces of a record
    eta = mode.detach().clone()
    with torch.no_grad():
        for _ in range(_ROUNDS):
            eta = _on_kink(model, cohort, eta, pinned, unit)
            _, g, H = _sides(model, cohort, eta, k, solver)
            if not others:
                break
            step = torch.linalg.solve(_block(H.mean(0), others), g.mean(0)[..., others, None])[..., 0]
            eta[..., others] = eta[..., others] - step.clamp(-1.0, 1.0)
        eta = _on_kink(model, cohort, eta, pinned, unit)
    with torch.enable_grad():
        eta.requires_grad_()
        value, g, H = _sides(model, cohort, eta, k, solver, cost)
        sign = torch.tensor([1.0, -1.0], dtype=eta.dtype, device=eta.device)[:, None, None]
        value = value.mean(0)
        slope, curved = sign * g[..., k], H[..., k, k]
        middle, level, w = H.mean(0), value, g.new_zeros(*value.shape, 0)
        if others:
            Hoo, Hok, go = _block(middle, others), H[..., others, k], g.mean(0)[..., others]
            curved = curved - (Hok * torch.linalg.solve(Hoo.expand(2, *Hoo.shape), Hok[..., None])[..., 0]).sum(-1)
            level = level + torch.linalg.cholesky(Hoo).diagonal(dim1=-2, dim2=-1).log().sum(-1)
        curved = curved.clamp(min=1e-6)
        root = (2.0 * curved).sqrt()
        tails = (math.sqrt(math.pi) / root).log() + torch.special.erfcx(slope / root).log()
        level = level - torch.logsumexp(tails, 0) + 0.5 * math.log(2.0 * math.pi)
        level = level + 0.5 * math.log(2.0 * math.pi) * cohort.mask.to(level.dtype).sum((-1, -2))
        # dη_k/dϕ keeps the lag; the others follow by the implicit function theorem
        log_lag = model.theta(eta, covariates)[..., pinned.parameter].log()
        (along,) = torch.autograd.grad(log_lag.sum(), eta, retain_graph=True)
        (pull,) = torch.autograd.grad(level.sum(), eta, retain_graph=True)
        change, follow = pull[..., k], torch.zeros_like(level)
        if others:
            rows = [torch.autograd.grad(v.sum(), eta, retain_graph=True)[0] for v in go.unbind(-1)]
            K = torch.stack(rows, -2)  # (M, N, d − 1, d), exact: the information is not the curvature
            Koo = K[..., others]
            w = torch.linalg.solve(Koo.mT, (pull[..., others] - go.detach())[..., None])[..., 0]
            change = change - (w * K[..., k]).sum(-1)
            follow = (w * (go - go.detach())).sum(-1)
        return level - follow - (change / along[..., k]).detach() * (log_lag - log_lag.detach())


def _on_kink(model: HybridModel, cohort: Cohort, eta: Tensor, pinned: Pinned, unit: Tensor) -> Tensor:
    """The same with the lag exactly at the observation."""
    for _ in range(4):
        with torch.enable_grad():
            at = eta.detach().clone().requires_grad_()
            log_lag = model.theta(at, cohort.conditions.begun)[..., pinned.parameter].log()
            (along,) = torch.autograd.grad(log_lag.sum(), at)
        eta = eta - ((log_lag.detach() - pinned.lag.log()) / (along * unit).sum(-1))[..., None] * unit
    return eta


def _sides(
    model: HybridModel,
    cohort: Cohort,
    eta: Tensor,
    k: int,
    solver: Solver | None,
    cost: Callable[[Rollout], Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # (2, M, N), (2, M, N, d), (2, M, N, d, d)
    """φ, its gradient and information just later and just earlier than the observation: from a little beside it, and back.

    The `cost` is added to φ alone: it moves no mode.
    """
    found = []
    for side in (_ASIDE, -_ASIDE):
        aside = torch.cat([eta[..., :k], eta[..., k : k + 1] + side, eta[..., k + 1 :]], -1)
        run = simulate_copies(model, cohort.conditions, copies(aside, difference_offsets(aside)), eta.shape[1], solver)
        value, g, H = expand(cohort, slopes(run, *eta.shape[1:]), aside)
        value = value - side * g[..., k] + 0.5 * side**2 * H[..., k, k]
        found.append((value if cost is None else value + cost(run), g - side * H[..., k], H))
    value, gradient, information = (torch.stack(parts) for parts in zip(*found, strict=True))
    return value, gradient, information


def _block(H: Tensor, others: list[int]) -> Tensor:
    return H[..., others, :][..., :, others]
