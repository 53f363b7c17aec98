"""A known term held against its laws: a rate of everyone's own, and its slope."""

from collections.abc import Callable

import torch
from torch import Tensor

from hybrid.terms import BoundTerm, Term
from physics import Backbone
from physics.arguments import drawn_from, require_kind, require_number
from physics.laws.rebuilt import rebuilt

MEMBERS, PEOPLE, STEP = 2, 3, 1e-6


def check_term(term: Term, backbone: Backbone, *, covariates: int = 0, generator: torch.Generator | None = None) -> None:
    """Raise `ValueError`, which says the law and the numbers that break it, unless a known term keeps the laws of terms.

    For x of positive states, θ in the box and any u and c: k(x, u; θ, c) has the shape (M, N, n) and is finite · everyone's and
    every member's is their own, and θ and c that all share stand for theirs · `jacobian` is ∂k/∂x (M, N, n, n) · k is
    differentiable in x and θ together · `config` rebuilds it.
    Tried at points, by default the same ones each time, and not proved.
    Arguments: `term`; `backbone` beside which it stands, whose states, inputs and θ it reads; `covariates`, how many numbers c
    holds, standardised covariates and latents; `generator`, by default one of its own with seed 0.
    """
    require_kind(term, Term, "check_term: term", "check_term(Mine(), OneCompartmentOral())")
    require_kind(backbone, Backbone, "check_term: backbone", "OneCompartmentOral()")
    require_number(covariates, "check_term: covariates, how many,", least=0.0, most=1e4, whole=True)
    generator = drawn_from(generator, "check_term: generator")
    name, drawn = f"check_term: {type(term).__name__}", generator

    def some(size: int) -> Tensor:
        return torch.rand(MEMBERS, PEOPLE, size, generator=drawn, dtype=torch.float64)

    low, high = (torch.tensor([getattr(p, end) for p in backbone.physical], dtype=torch.float64) for end in ("low", "high"))
    theta, c = low + some(len(low)) * (high - low), 2.0 * some(int(covariates)) - 1.0
    n = len(backbone.states)
    x, u = 3.0 * some(n), some(len(backbone.inputs))
    value = _bound(term, theta, c, name).rate(x, u).detach()
    if tuple(value.shape) != (MEMBERS, PEOPLE, n) or not bool(torch.isfinite(value).all()):
        raise ValueError(
            f"{name}: of x {tuple(x.shape)} the rate is {tuple(value.shape)}, finite: {bool(torch.isfinite(value).all())}; it "
            f"needs finite numbers (members, people, states) = {(MEMBERS, PEOPLE, n)}"
        )
    for m, i in ((slice(None), slice(1, 2)), (slice(1, 2), slice(None))):
        alone = _bound(term, theta[m, i], c[m, i], name).rate(x[m, i], u[m, i]).detach()
        if not torch.allclose(alone, value[m, i], rtol=1e-12, atol=0.0):
            raise ValueError(
                f"{name}: a person's or a member's rate changes with who else is in the batch; everyone has their own x and θ"
            )
    one, its = theta[:1, :1], c[:1, :1]
    for_all = _bound(term, one, its, name).rate(x, u).detach()
    for_each = _bound(term, one.expand_as(theta), its.expand_as(c), name).rate(x, u).detach()
    if for_all.shape != for_each.shape or not torch.allclose(for_all, for_each, rtol=1e-12, atol=0.0):
        raise ValueError(f"{name}: θ (1, 1, q) that all share gives another rate than the same θ for each; let it broadcast")
    _slope(term, (x, u, theta, c), name)
    _differentiable(term, (x, u, theta, c), some, name)
    again = _bound(rebuilt(term, name), theta, c, name).rate(x, u).detach()
    if not torch.equal(again, value):
        raise ValueError(f"{name}: rebuilt by its configuration the rate differs; config() gives what the constructor takes")


def _bound(term: Term, theta: Tensor, c: Tensor, name: str) -> BoundTerm:
    found = term.at(theta, c)
    require_kind(found, BoundTerm, f"{name}: what at(theta, c) gives", "BoundTerm(lambda x, u: -x)")
    return found


def _slope(term: Term, at: tuple[Tensor, Tensor, Tensor, Tensor], name: str) -> None:
    x, u, theta, c = at
    bound = _bound(term, theta, c, name)
    got = bound.jacobian(x, u).detach()
    columns = []
    for step in STEP * torch.eye(x.shape[-1], dtype=torch.float64):
        columns.append((bound.rate(x + step, u) - bound.rate(x - step, u)).detach() / (2.0 * STEP))
    wanted = torch.stack(columns, -1)  # (M, N, n, n), of each rate by each state
    if got.shape != wanted.shape:
        raise ValueError(f"{name}: the jacobian has shape {tuple(got.shape)}, and needs (M, N, n, n) = {tuple(wanted.shape)}")
    gap, size = float((got - wanted).abs().max()), float(wanted.abs().max()) + float(bound.rate(x, u).detach().abs().max())
    if not gap <= 1e-4 * size:
        raise ValueError(
            f"{name}: the jacobian differs from differences of the rate by {gap:.3g} of {size:.3g}; mend the slope, or leave it "
            "out and compute the rate with torch on x itself, without .item(), numpy or detach()"
        )


def _differentiable(term: Term, at: tuple[Tensor, Tensor, Tensor, Tensor], some: Callable[[int], Tensor], name: str) -> None:
    x, u, theta, c = at
    along = some(x.shape[-1]), theta * some(theta.shape[-1])
    leaves = x.clone().requires_grad_(), theta.clone().requires_grad_()
    value = _bound(term, leaves[1], c, name).rate(leaves[0], u).sum()
    slopes = torch.autograd.grad(value, leaves, allow_unused=True) if value.requires_grad else (None, None)
    got = sum(float((s * d).sum()) for s, d in zip(slopes, along, strict=True) if s is not None)
    ends = [
        float(_bound(term, theta + h * along[1], c, name).rate(x + h * along[0], u).detach().sum()) for h in (STEP, -STEP)
    ]
    wanted = (ends[0] - ends[1]) / (2.0 * STEP)
    if not abs(wanted - got) <= 1e-4 * max(abs(wanted), abs(float(value.detach()))):
        raise ValueError(
            f"{name}: the derivative of the rate along x and θ is {got:.6g} by autograd and {wanted:.6g} by differences; compute "
            "it with torch on x and θ themselves, without .item(), numpy or detach()"
        )
