"""Laplace's method at a minimum that is not smooth: where a dose begins to arrive, or ends, at the time of an observation."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid import HybridModel, Rollout, Solver
from training.people.cohort import Cohort
from training.people.information import copies, difference_offsets, expand, simulate_copies, slopes
from training.people.passing import Pinned, log_delays

_ASIDE = 1e-4  # of a person's coordinates: how far on either side of the edge φ is looked at
_ROUNDS = 30
_FAR = 1e6  # of log delay: as good as +∞, whose slope would be no number
_CLIFF = 1e-3  # nats: a larger difference between the sides is a jump, for at a kink both are one number


def at_kinks(
    model: HybridModel,
    cohort: Cohort,
    mode: Tensor,  # (M, N, d)
    edge: Pinned,
    solver: Solver | None,
    cost: Callable[[Rollout], Tensor] | None = None,
) -> Tensor:  # (M, N)
    """−log ∫ p(y | η) N(η; 0, I) dη of people whose mode lies on the surface at which a dose is at an observation.

    Across that surface, c(η) = log delay − log delay at the observation = 0, φ has a kink (what is measured bends there) or a
    cliff (a bolus goes into what is measured: the value jumps). So the integral is that of two half-spaces, each with φ of its
    own. On the side ± let η± be the lowest point of φ± on the surface, s± the slope there away from it, H_oo of the tangents
    (all coordinates but one), h± the curvature across as the others follow, h = H_kk − H_ko H_oo⁻¹ H_ok. Then

        p ≈ e^{−φ₊} |H_oo₊|^{−½} (2π)^{−½} T₊ + e^{−φ₋} |H_oo₋|^{−½} (2π)^{−½} T₋,   T = ∫₀^r e^{−sx − ½hx²} dx,

    each with its own φ± = φ±(η±), for the integral over the tangents is Gaussian. With r = ∞, T = √(π/2h) erfcx(s/√2h). At a
    kink φ₊ = φ₋ and η₊ = η₋, and it is the sum of both T; there r = ∞. At a cliff the far side may fall towards
    where no formula of this side holds: r is where the next observation is met, and what lies beyond is left out.
    Conditions: φ is quadratic on each side up to r (s may be of either sign); no other edge passes through the mode; the surface
    is flat over the person's standard deviations, as it is of a log-normal delay; where it is the sum of a lag and a duration,
    its curvature is not counted.

    The mode stays on the surface, whatever the trainable numbers become, and the tangents follow. `cost` (M, N), of the
    simulation of everyone's copies, is added on each side.
    Law: φ = ½|η|² + c|η_k| gives the integral; so does ½|η|² + c·1[η_k > 0]; without either, s = 0, it is Laplace's method.
    """
    sides = [_Side.of(model, cohort, mode, edge, sign, solver) for sign in (1.0, -1.0)]
    with torch.enable_grad():
        looked = [side.levelled(model, cohort, edge, solver, cost) for side in sides]
        jump = (looked[0].height - looked[1].height).detach().abs() > _CLIFF
        level = [
            one.level(torch.where(jump, room, torch.inf)) for one, room in zip(looked, edge.room.unbind(0), strict=True)
        ]
        both = -torch.logsumexp(-torch.stack(level), 0)
        return both + 0.5 * math.log(2.0 * math.pi) * (cohort.mask.to(both.dtype).sum((-1, -2)) + 1.0)


def log_half(
    slope: Tensor,
    curvature: Tensor,  # above 0
    room: Tensor,  # above 0; where it is long, a whole half-line
) -> Tensor:
    """log ∫₀^r e^{−sx − ½hx²} dx, for slopes of either sign.

    With z = s/√2h and w = (s + hr)/√2h the integral is √(π/2h) e^{z²} [erfc(z) − erfc(w)], which is put together so that neither
    e^{z²} nor a difference of two numbers near 2 is ever formed.
    """
    z = slope / (2.0 * curvature).sqrt()
    w = z + room * (0.5 * curvature).sqrt()
    falls, beyond = z >= 0.0, (z < 0.0) & (w <= 0.0)
    z_up, w_up = torch.where(falls, z, 1.0), torch.where(falls, w, 2.0)
    up = (torch.special.erfcx(z_up) - ((z_up - w_up) * (z_up + w_up)).exp() * torch.special.erfcx(w_up)).log()
    z_down, w_down = torch.where(beyond, z, -2.0), torch.where(beyond, w, -1.0)
    less = (w_down - z_down) * (w_down + z_down)
    down = (torch.special.erfcx(-w_down) - less.exp() * torch.special.erfcx(-z_down)).log() - less
    z_over, w_over = torch.where(falls | beyond, -1.0, z), torch.where(falls | beyond, 1.0, w)
    over = z_over.square() + (torch.special.erfc(z_over) - torch.special.erfc(w_over)).log()
    return 0.5 * (0.5 * math.pi / curvature).log() + torch.where(falls, up, torch.where(beyond, down, over))


@dataclass(frozen=True)
class _Looked:
    """One side at its lowest point on the surface, each (M, N): φ there with nothing added (`height`), with the cost and
    ½ log |H_oo| (`value`), its slope away from the surface and curvature, and how `steep` log delay is; `tied` makes a number at
    that point follow it, as it moves with the trainable numbers.
    """

    height: Tensor
    value: Tensor
    slope: Tensor
    curved: Tensor
    steep: Tensor
    tied: Callable[[Tensor], Tensor]

    def level(self, room: Tensor) -> Tensor:  # (M, N)
        """−log of the side's integral, but for (2π)^{−½}; `room` in log delay."""
        return self.tied(self.value - log_half(self.slope, self.curved, room.clamp(max=_FAR) / self.steep))


@dataclass(frozen=True)
class _Side:
    """Later (sign 1) or earlier (−1) than the observation, at the lowest point on the surface, `eta` (M, N, d)."""

    eta: Tensor
    sign: float

    @staticmethod
    def of(
        model: HybridModel, cohort: Cohort, mode: Tensor, edge: Pinned, sign: float, solver: Solver | None
    ) -> "_Side":
        """By damped Fisher scoring along the tangents, back onto the surface after every step."""
        with torch.no_grad():
            eta = _on_surface(model, cohort, mode.detach(), edge)
            frame, _ = _frame(model, cohort, eta, edge)
            value, g, H = _look(model, cohort, eta, frame, sign, solver)
            if mode.shape[-1] == 1:
                return _Side(eta, sign)
            damping = torch.full_like(value, 1e-6)
            for _ in range(_ROUNDS):
                go, Hoo = g[..., 1:], H[..., 1:, 1:]
                damped = Hoo + torch.diag_embed(damping[..., None] * Hoo.diagonal(dim1=-2, dim2=-1))
                step = -torch.linalg.solve(damped, go[..., None]).clamp(-1.0, 1.0)
                trial = _on_surface(model, cohort, eta + (frame[..., 1:] @ step)[..., 0], edge)
                turned, _ = _frame(model, cohort, trial, edge)
                there = _look(model, cohort, trial, turned, sign, solver)
                # what a step promises may be less than the rounding of φ: then the slope says whether it was good
                blind = _decrement(g, H) <= 1e-8 * (1.0 + value.abs())
                better = torch.where(blind, _decrement(*there[1:]) < _decrement(g, H), there[0] <= value)
                damping = torch.where(better, 0.1 * damping, 10.0 * damping.clamp(min=0.1))
                eta, frame = torch.where(better[..., None], trial, eta), torch.where(better[..., None, None], turned, frame)
                value, g = torch.where(better, there[0], value), torch.where(better[..., None], there[1], g)
                H = torch.where(better[..., None, None], there[2], H)
                if bool((step.abs().amax((-1, -2)) < 1e-9).all()):
                    break
        return _Side(eta, sign)

    def levelled(
        self,
        model: HybridModel,
        cohort: Cohort,
        edge: Pinned,
        solver: Solver | None,
        cost: Callable[[Rollout], Tensor] | None,
    ) -> _Looked:
        """The same, differentiable."""
        eta = self.eta.detach().clone().requires_grad_()
        frame, along = _frame(model, cohort, eta, edge, differentiable=True)
        value, g, H, more = _look_with(model, cohort, eta, frame, self.sign, solver, cost)
        go, Hoo, Hok = g[..., 1:], H[..., 1:, 1:], H[..., 1:, 0]
        curved, half = H[..., 0, 0], torch.zeros_like(value)
        if eta.shape[-1] > 1:
            curved = curved - (Hok * torch.linalg.solve(Hoo, Hok[..., None])[..., 0]).sum(-1)
            half = torch.linalg.cholesky(Hoo).diagonal(dim1=-2, dim2=-1).log().sum(-1)
        steep = along.square().sum(-1).sqrt()
        log_delay = _log_delay(model, cohort, eta, edge)

        def tied(level: Tensor) -> Tensor:
            """The point stays on the surface and lowest there: with J of c and of the slope along the tangents, −J⁻ᵀ∂level."""
            axes = frame.detach()
            (pull,) = torch.autograd.grad(level.sum(), eta, retain_graph=True)
            pull = (axes.mT @ pull[..., None])[..., 0]
            across, follow = pull[..., 0], torch.zeros_like(level)
            if eta.shape[-1] > 1:
                rows = [torch.autograd.grad(v.sum(), eta, retain_graph=True)[0] for v in go.unbind(-1)]
                K = torch.stack(rows, -2) @ axes  # (M, N, d − 1, d), exact: the information is not the curvature
                definite = torch.linalg.cholesky_ex(0.5 * (K[..., 1:] + K[..., 1:].mT)).info == 0
                K = torch.where(definite[..., None, None], K, H[..., 1:, :].detach())
                w = torch.linalg.solve(K[..., 1:].mT, (pull[..., 1:] - go.detach())[..., None])[..., 0]
                across = across - (w * K[..., 0]).sum(-1)
                # to second order in what is left of the way to the lowest point; far from it, for its slope alone
                newton = torch.linalg.solve(K[..., 1:], go[..., None])[..., 0]
                near = (go * newton).sum(-1).detach().abs() <= 1e-4
                follow = (w * (go - go.detach())).sum(-1)
                follow = torch.where(near, (w * go).sum(-1) + 0.5 * (go * newton).sum(-1), follow)
            return level - follow - (across / steep).detach() * (log_delay - log_delay.detach())

        return _Looked(value, value + more + half, self.sign * g[..., 0], curved.clamp(min=1e-6), steep, tied)


def _decrement(g: Tensor, H: Tensor) -> Tensor:  # (M, N)
    """gᵀH⁻¹g of the tangents: twice what the lowest point is below this one."""
    go = g[..., 1:]
    return (go * torch.linalg.solve(H[..., 1:, 1:], go[..., None])[..., 0]).sum(-1)


def _log_delay(model: HybridModel, cohort: Cohort, eta: Tensor, edge: Pinned) -> Tensor:  # (M, N)
    return log_delays(model, cohort, eta).gather(2, edge.which[..., None])[..., 0]


def _frame(
    model: HybridModel, cohort: Cohort, eta: Tensor, edge: Pinned, *, differentiable: bool = False
) -> tuple[Tensor, Tensor]:  # (M, N, d, d), (M, N, d)
    """Orthonormal axes in columns, the first across the surface towards later, and the slope of log delay.

    By Householder's reflection that takes ±e₁ to the slope's direction; the other columns are its tangents.
    """
    with torch.enable_grad():
        at = eta if differentiable else eta.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(_log_delay(model, cohort, at, edge).sum(), at, create_graph=differentiable)
    normal = slope / slope.square().sum(-1, keepdim=True).sqrt()
    first = torch.zeros_like(normal)
    first[..., 0] = torch.where(normal[..., 0] > 0.0, -1.0, 1.0).detach()  # the farther of the two: nothing cancels
    v = normal - first
    v = v / v.square().sum(-1, keepdim=True).sqrt()
    axes = torch.eye(eta.shape[-1], dtype=eta.dtype, device=eta.device) - 2.0 * v[..., :, None] * v[..., None, :]
    return torch.cat([normal[..., None], axes[..., 1:]], -1), slope


def _on_surface(model: HybridModel, cohort: Cohort, eta: Tensor, edge: Pinned) -> Tensor:
    """The same with the dose exactly at the observation."""
    for _ in range(4):
        _, slope = _frame(model, cohort, eta, edge)
        away = _log_delay(model, cohort, eta, edge).detach() - edge.delay.log()
        eta = eta - (away / slope.square().sum(-1))[..., None] * slope
    return eta


def _look(
    model: HybridModel, cohort: Cohort, eta: Tensor, frame: Tensor, sign: float, solver: Solver | None
) -> tuple[Tensor, Tensor, Tensor]:  # (M, N), (M, N, d), (M, N, d, d)
    value, g, H, _ = _look_with(model, cohort, eta, frame, sign, solver, None)
    return value, g, H


def _look_with(
    model: HybridModel,
    cohort: Cohort,
    eta: Tensor,
    frame: Tensor,  # (M, N, d, d)
    sign: float,
    solver: Solver | None,
    cost: Callable[[Rollout], Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # (M, N), (M, N, d), (M, N, d, d), (M, N)
    """φ on the surface as that side sees it, its gradient and information along the axes, from a little aside; the cost."""
    side = sign * _ASIDE
    aside = eta + side * frame[..., 0]
    run = simulate_copies(model, cohort.conditions, copies(aside, difference_offsets(aside)), eta.shape[1], solver)
    value, g, H = expand(cohort, slopes(run, *eta.shape[1:]), aside)
    g, H = (frame.mT @ g[..., None])[..., 0], frame.mT @ H @ frame
    value = value - side * g[..., 0] + 0.5 * side**2 * H[..., 0, 0]
    return value, g - side * H[..., 0], H, torch.zeros_like(value) if cost is None else cost(run)
