"""The steady state of doses that are repeated for ever: the fixed point of one interval.

Of a linear model in closed form: dx/dt = A x + b with b constant in each of the interval's two stretches gives
x(τ) = E x(0) + g, E = e^{Aτ}, and x* = (I − E)⁻¹ g, since every eigenvalue of A has a negative real part. Of any other by
Newton's method on x − Φ(x), from doses that are truly given one after the other until it has a contracting fixed point ahead.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid.cutting.segments import Segments
from hybrid.defaults import simulating
from hybrid.derivative import transforming
from hybrid.model import HybridModel
from hybrid.solve.exponential import Exponential
from hybrid.solve.schemes.phi import own_doublings, phi_of_multiples
from hybrid.solve.solver import Solver

_EXACT = torch.float64  # a solve in I − e^{Aτ}, small where an interval is short, rests on it
_ROUNDS, _NEWTON = 7, 8  # each round gives twice as many doses as the one before: 127 in all
_REACHED = {torch.float64: 1e-6, torch.float32: 1e-4}  # of the largest amount: what an interval may still move


@dataclass(frozen=True)
class Settled:
    """Steady states of R people: `state` (R,) by number, `amount` (R,), `added` (R,), `rated` (R,), whether of infusions the rate
    was said, `always` (R,), whether they never stopped, `length` and `rate` (R, 2) of `Course`, and
    the `inputs` (R, m), which are held.
    """

    state: Tensor
    amount: Tensor
    added: Tensor
    rated: Tensor
    always: Tensor
    length: Tensor
    rate: Tensor
    inputs: Tensor

    def shared(
        self,
        share: Tensor,  # (R,)
    ) -> tuple["Settled", Tensor]:  # and (R,) bool
        """The same where this share of each dose arrives, and in whom there is still a pause between infusions whose rate was
        said: those last as much of their time as there is of the dose, and one that runs into the next is not this steady state.
        What never stopped has its rate, and no share changes that.
        """
        share = torch.where(self.always, torch.ones_like(share), share)
        every = self.length.sum(1)
        lasts = torch.where(self.rated, share * self.length[:, 0], self.length[:, 0])
        pauses = ~self.rated | (lasts.detach() < every)
        lasts = torch.where(pauses, lasts, self.length[:, 0])
        length = torch.stack([lasts, every - lasts], 1)
        rate = torch.stack([torch.where(self.rated, 1.0 / lasts.clamp(min=1e-300), self.rate[:, 0]), self.rate[:, 1]], 1)
        return replace(self, amount=self.amount * share, length=length, rate=rate), pauses

    def arriving(self, n: int) -> tuple[Tensor, Tensor]:  # (R, n), (R, 2, n)
        """What comes at the interval's beginning, and what runs in during each stretch."""
        where = torch.nn.functional.one_hot(self.state, n).to(self.amount)
        at_once = (self.rate == 0).all(1).to(self.amount)
        return (self.amount * at_once)[:, None] * where, (self.amount[:, None] * self.rate)[..., None] * where[:, None]


def shares_of(
    model: HybridModel,
    theta: Tensor,  # (R, q)
    state: Tensor,  # (R,)
) -> Tensor:  # (R,)
    """How much of a dose into each of these states arrives."""
    share = torch.ones_like(theta[:, 0])
    for s, place in model.delivery.fraction:
        share = torch.where(state == s, theta[:, place], share)
    return share


@dataclass(frozen=True)
class Found:
    """`state` x* (M, R, n), just before a dose, and whom it was found of, `reached` (R,)."""

    state: Tensor
    reached: Tensor


def settled(
    model: HybridModel,
    theta: Tensor,  # (M|1, R, q)
    context: Tensor,  # (M|1, R, r)
    steady: Settled,
) -> Found:
    """The steady states at these θ and c.

    Differentiable: exactly where the model is linear; else by the fixed point's own equation, twice.
    Law: from x* on, one interval with its dose leads back to x*.
    """
    linear = _of_linear(model, theta, steady)
    if model.linear:
        return Found(linear, torch.isfinite(linear.detach()).all(-1).all(0))
    if transforming():
        raise ValueError(
            "a steady state of a model that is not linear is searched for, which torch.func hides; write the earlier "
            "doses as rows, "
            "or differentiate by torch.autograd.grad"
        )
    return _searched(model, theta, context, steady)


def _of_linear(model: HybridModel, theta: Tensor, steady: Settled) -> Tensor:  # (M|1, R, n)
    A, B = model.backbone.matrices(theta)
    n = A.shape[-1]
    jump, rate = steady.arriving(n)
    driven = (B @ steady.inputs[..., None])[..., 0] if B.shape[-1] else torch.zeros_like(A[..., 0])
    driven = torch.where(steady.added[:, None], torch.zeros_like(driven), driven)  # what drives has its effect there already
    x, left = jump.expand_as(driven).to(_EXACT), torch.zeros_like(A, dtype=_EXACT)
    for k, (E, loses, gains) in enumerate(_stretches(A.to(_EXACT), steady.length.to(_EXACT))):
        x = (E @ x[..., None] + gains @ (driven + rate[:, k]).to(x)[..., None])[..., 0]
        left = loses + E @ left  # I − E₂E₁ = (I − E₂) + E₂ (I − E₁)
    return torch.linalg.solve(left, x[..., None])[..., 0].to(A)


def _stretches(
    A: Tensor,  # (M|1, R, n, n)
    length: Tensor,  # (R, 2)
) -> list[tuple[Tensor, Tensor, Tensor]]:  # 2 × 3 × (M|1, R, n, n)
    """e^{Aτ}, I − e^{Aτ} = −Aτ φ₁(Aτ), and τ φ₁(Aτ), which a constant inflow is multiplied by, of each stretch.

    Nothing cancels, however short an interval is, and backwards it is sums and products: a gradient is right to the same share of
    itself, whatever it is multiplied by. That of `torch.linalg.matrix_exp` is not: it is read out of an exponential of the matrix
    and of what comes back beside it, of whose size its rounding is a power; of second differences, which come back over h², it
    left no digit.
    """
    lead, n = A.shape[:-2], A.shape[-1]
    rows, h = A.reshape(-1, n, n), length.expand(*lead, 2).reshape(-1, 2)
    own = None if transforming() else own_doublings(rows.abs().sum(-1).amax(-1) * h.amax(-1), 2.0)
    e, p = phi_of_multiples(rows, h, doublings=own)[0]
    E, gains = (v.view(*lead, 2, n, n) for v in (e, h.reshape(-1, 1, 1) * p[..., :n]))
    return [(E[..., k, :, :], -A @ gains[..., k, :, :], gains[..., k, :, :]) for k in range(2)]


class _Interval:
    """Φ: the state after one interval, from the one before its dose."""

    def __init__(self, model: HybridModel, theta: Tensor, context: Tensor, steady: Settled, solver: Solver | None = None) -> None:
        n = len(model.backbone.states)
        jump, rate = steady.arriving(n)
        parts = 1 if bool((steady.length[:, 1] == 0).all()) else 2
        dt, u = steady.length[:, :parts], steady.inputs[:, None].expand(-1, parts, -1)
        begins = torch.stack([torch.zeros_like(dt[:, 0]), dt[:, 0]], 1)[:, :parts]
        segments = Segments(
            dt=dt,
            start=begins,
            jump=torch.stack([jump, torch.zeros_like(jump)], 1)[:, :parts],
            rate=rate[:, :parts],
            u0=u,
            u1=u,
            segment=torch.full((len(dt), 1), parts - 1, dtype=torch.long, device=dt.device),
            fraction=torch.ones_like(dt[:, :1]),
            delivered=True,  # as much arrives here as arrives of it
        )
        self.field = model.bind(segments, theta, context)
        self.solver = solver or (Exponential(rtol=1e-7) if model.dtype == torch.float64 else simulating(model.dtype))

    def __call__(self, x: Tensor) -> Tensor:  # (M, R, n)
        return self.solver.solve(self.field, x.contiguous()).states[:, :, 0]

    def with_slope(self, x: Tensor) -> tuple[Tensor, Tensor]:  # (M, R, n), (M, R, n, n)
        """Φ(x) and ∂Φ/∂x, both constants."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = self(x)
            rows = [torch.autograd.grad(v.sum(), x, retain_graph=True)[0] for v in y.unbind(-1)]
        return y.detach(), torch.stack(rows, -2)


def _searched(model: HybridModel, theta: Tensor, context: Tensor, steady: Settled) -> Found:
    R = theta.shape[1]
    M = max(model.members, len(theta), len(context))
    theta, context = theta.expand(M, -1, -1), context.expand(M, -1, -1)
    with torch.no_grad():
        still = _Interval(model, theta.detach(), context.detach(), steady)
        roughly = _Interval(model, theta.detach(), context.detach(), steady, Exponential(rtol=1e-3))
        nothing = theta.new_full((R, len(model.observation.channels)), torch.nan)
        x = model.initial(theta.detach(), nothing, steady.inputs).expand(M, R, -1)
        best, reached = torch.zeros_like(x), torch.zeros(M, R, dtype=torch.bool, device=x.device)
        for doubling in range(_ROUNDS):
            for _ in range(2**doubling):
                x = roughly(x)
            found, good = _newton(still, x, _REACHED[model.dtype], steady.amount)
            best = torch.where((good & ~reached)[..., None], found, best)
            reached = reached | good
            gone = ~torch.isfinite(x).all(-1)
            if bool((reached | gone).all()):
                break
        slope = still.with_slope(best)[1]
        slope = torch.where(reached[..., None, None], slope, torch.zeros_like(slope))
    # a step of Newton's method from x* has the derivative of x* itself, (I − ∂Φ/∂x)⁻¹ ∂Φ/∂θ, with a constant slope; a second one
    # from there, whose start moves with θ as x* does, has its second derivative too
    towards = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device) - slope
    interval = _Interval(model, theta, context, steady) if torch.is_grad_enabled() else still
    for _ in range(2):
        best = best + torch.linalg.solve(towards, (interval(best) - best)[..., None])[..., 0]
    return Found(best, reached.all(0))


def _newton(interval: _Interval, x: Tensor, within: float, amount: Tensor) -> tuple[Tensor, Tensor]:
    """A fixed point ahead of x, and whose is one: contracting, and on the side to which the next doses lead."""
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    y, J = interval.with_slope(x)
    heading, z, before = y - x, x, torch.full_like(x[..., 0], torch.inf)
    for _ in range(_NEWTON):
        z = z + torch.linalg.solve(eye - J, (y - z)[..., None])[..., 0]
        z = torch.where(torch.isfinite(z).all(-1, keepdim=True), z, x)
        y, J = interval.with_slope(z)
        # far out, where next to nothing of what is there leaves, a dose is little beside it and still adds up
        size = torch.minimum(torch.maximum(z.abs(), y.abs()).amax(-1), 1000.0 * amount).clamp(min=1e-300)
        off = (y - z).abs().amax(-1) / size
        near = off <= within
        if bool((near | ~(off < 0.5 * before)).all()):  # arrived, or it leads nowhere from here
            break
        before = off
    scale = torch.maximum(z.abs(), x.abs()).clamp(min=1e-300)
    ahead = ((heading / scale) * ((z - x) / scale)).sum(-1) >= -within
    contracts = torch.zeros_like(near)
    finite = torch.isfinite(J).all(-1).all(-1)
    contracts[finite] = torch.linalg.eigvals(J[finite]).abs().amax(-1) < 1.0
    return z, near & ahead & contracts
