"""Where a mechanism rests: f(x, u, θ) = 0 for people whose u and θ are held."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physics.arguments import require_shape, require_together
from physics.capture import capturing, exporting
from physics.glance import Summary, glance
from physics.mechanism import Mechanism, require_mechanism
from physics.tape import BoundTape

# times the typical sizes: whoever finds one equilibrium from all of them has not proved that there is no other
_STARTS = (1.0, 0.1, 3.0, 0.01, 0.0)
_BELOW = (-1.0, -0.1, -3.0)  # beside them, where the states may be negative and people start from the equilibrium
_STEPS = 60
_DAMPING = tuple(0.5**k for k in range(9))
_CLOSE = 1e-9  # a step of that share of the typical size is the last: the next one is its square
_FAR = 1e6  # times the typical size: a rate that only tends to 0 has no root there
_SAME = 1e-6
_SINGULAR = 1e-10


def _summary(found: Any) -> Summary:
    return f"Equilibrium: {int(found.found.sum())} of {found.found.numel()} found", [
        ("x", found.x),
        ("message", found.message),
    ]


@dataclass(frozen=True)
class Equilibrium:
    """Where everyone rests, as far as that is one place.

    `x` (..., n), the equilibrium, in state units; where there is none, or no one of several, the place where the search of the
    first start ended, or the first of them · `found` (...) bool · `message`: what is wrong with the first who has none, "" where
    all have one (and under `torch.func.vmap`, where nobody can be named).
    """

    x: Tensor
    found: Tensor
    message: str = ""

    __repr__, _repr_html_ = glance(_summary)


def equilibrium(
    mechanism: Mechanism,
    u: Tensor,  # (..., m)
    theta: Tensor,  # (..., q)
) -> Equilibrium:
    """x with f(x, u, θ) = 0 for everyone, by damped Newton steps from several starts, multiples of the mechanism's `scale`.

    One that is found from every start that ends anywhere is the equilibrium. Of several it is the one that is stable, where
    exactly one is: nothing rests in the others. None, several that are stable, several of which none is, and one that is not
    isolated (a total that nothing changes) are a value with its diagnosis. Steps across a pole of the rate are not taken, and
    none below 0 where the mechanism's states are amounts. Starts are of both signs, unless these are amounts or people
    start empty; what lies below 0 in a state that rises at 0 does not count, as nobody who starts above gets there.
    That no start finds another is no proof that there is none.
    Differentiable in u and θ, thrice: two Newton steps from the solution carry the derivatives of the implicit function.
    Errors: `ValueError` for what is no mechanism, and shapes that do not fit.
    Law: f(x, u, θ) = 0 to rounding where `found`.
    Source: Deuflhard, Newton Methods for Nonlinear Problems (2011) § 3.1; Griewank & Walther, Evaluating Derivatives (2008) § 15.
    """
    require_mechanism(mechanism)
    name = mechanism.name
    require_shape(u, f"equilibrium of {name}: u", ..., len(mechanism.inputs), write="torch.tensor([…]), a number for each input")
    require_shape(theta, f"equilibrium of {name}: theta", ..., len(mechanism.physical), write="model.theta(…)", like=u)
    require_together(u, theta, f"equilibrium of {name}: u and theta")
    if exporting():
        raise ValueError(
            f"equilibrium of {name}: it is searched for, from several starts, which no program that is exported does; export the "
            "start as numbers"
        )
    tape = mechanism.tape
    with torch.no_grad():  # the search is of constants, in float64 whatever the type of what is asked
        held, level = theta.detach().double(), u.detach().double()
        lead = torch.broadcast_shapes(held.shape[:-1], level.shape[:-1])
        held, level = held.expand(*lead, -1), level.expand(*lead, -1)
        bound = tape.at(held)
        scale = held.new_tensor([float(mechanism.scale[s]) for s in mechanism.states])
        factors = held.new_tensor(_starts(mechanism)).reshape(-1, *[1] * (len(lead) + 1))
        starts = (factors * scale).expand(-1, *lead, -1)
        ends, arrived = _search(bound, starts, level, scale, positive=mechanism.defaults.amounts)
        if not mechanism.defaults.amounts:
            arrived = arrived & ~_beyond_reach(bound, ends, arrived, level, scale)
        x, found, count, stable, isolated = _chosen(bound, ends, arrived, level, scale)
        message = _message(mechanism, found, (count, stable, isolated), (ends, arrived), (level, held))
    x = x.to(torch.promote_types(u.dtype, theta.dtype))
    exact = tape.at(theta)
    for _ in range(2):
        step = _solved(exact.jacobian(x, u), exact.rate(x, u))
        x = torch.where(found[..., None] & torch.isfinite(step), x - step, x)
    return Equilibrium(x, found, message)


def _starts(mechanism: Mechanism) -> tuple[float, ...]:
    """Multiples of the typical sizes. Whoever starts empty needs a point to hold, not what rests on the other side of 0."""
    return _STARTS if mechanism.defaults.amounts or mechanism.starts_empty else _STARTS + _BELOW


def _search(
    bound: BoundTape, x: Tensor, u: Tensor, scale: Tensor, *, positive: bool
) -> tuple[Tensor, Tensor]:  # (S, ..., n), (S, ...) bool
    """The ends of damped Newton steps, and which of them are roots.

    A step is halved until it lowers max |f_i|/scale_i and crosses no pole; near a root the whole step does.
    """
    side = bound.divisors(x, u) > 0.0
    arrived = torch.zeros(x.shape[:-1], dtype=torch.bool, device=x.device)
    shares = x.new_tensor(_DAMPING).reshape(-1, *[1] * x.ndim)
    for _ in range(_STEPS):
        f, J = bound.rate(x, u), bound.jacobian(x, u)
        step = _solved(J * scale / scale[:, None], f / scale) * scale
        tried = x - shares * step
        if positive:
            tried = tried.clamp(min=0.0)
        size = (bound.rate(tried, u) / scale).abs().amax(-1)
        across = ((bound.divisors(tried, u) > 0.0) != side).any(-1)
        size = torch.where(torch.isfinite(size) & ~across, size, torch.inf)
        before = (f / scale).abs().amax(-1)
        better = size <= (1.0 - 0.25 * shares[..., 0]) * before
        # the first that is better, else the one that is least bad, if it is no worse
        pick = torch.where(better.any(0), better.to(torch.uint8).argmax(0), size.argmin(0))
        there = tried.gather(0, pick[None, ..., None].expand(1, *x.shape))[0]
        lowest = size.gather(0, pick[None])[0]
        moves = lowest <= before
        length = (step.abs() / (scale + x.abs())).amax(-1)
        level = (J * scale / scale[:, None]).abs().sum(-1).amax(-1) * (1.0 + (x.abs() / scale).amax(-1))
        near = (x.abs() / scale).amax(-1) <= _FAR
        arrived = torch.isfinite(length) & near & (length <= _CLOSE) & (before <= 1e-6 * level)
        if _every(arrived | ~moves):
            return x, arrived
        x = torch.where((moves & ~arrived)[..., None], there, x)
    return x, arrived


def _beyond_reach(
    bound: BoundTape, ends: Tensor, arrived: Tensor, u: Tensor, scale: Tensor
) -> Tensor:  # (S, ...) bool
    """Roots with a state below 0 that rises where it is 0, the others being at the first root: who starts at or above 0 stays so.

    Exact of one state. Of several the others could be elsewhere, and that they are not is a guess, as all of the search is.
    """
    pick = arrived.to(torch.uint8).argmax(0)
    first = ends.gather(0, pick[None, ..., None].expand(1, *ends.shape[1:]))[0]  # (..., n)
    n = len(scale)
    eye = torch.eye(n, dtype=torch.bool, device=ends.device).reshape(n, *[1] * (first.ndim - 1), n)
    rises = torch.where(eye, bound.rate(torch.where(eye, 0.0, first), u), 0.0).sum(0)
    size = (bound.jacobian(first, u).abs() * (scale + first.abs())[..., None, :]).sum(-1)
    lost = ((ends < -_SAME * scale) & (rises > _CLOSE * size)).any(-1)
    own = torch.arange(len(ends), device=ends.device).reshape(-1, *[1] * pick.ndim) == pick
    return lost & ~own & arrived.any(0)


def _solved(J: Tensor, f: Tensor) -> Tensor:
    """J⁻¹ f; where J is singular its least squares, a little damped."""
    found = torch.linalg.solve_ex(J, f[..., None])[0][..., 0]
    square = J.mT @ J
    damped = 1e-12 * square.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] + torch.finfo(J.dtype).tiny
    eye = torch.eye(J.shape[-1], dtype=J.dtype, device=J.device)
    other = torch.linalg.solve_ex(square + damped * eye, J.mT @ f[..., None])[0][..., 0]
    return torch.where(torch.isfinite(found).all(-1, keepdim=True), found, other)


def _chosen(
    bound: BoundTape, ends: Tensor, arrived: Tensor, u: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # (..., n), (...) bool, (...) twice, (...) bool
    """The equilibrium, whether it is found, of how many, how many of these are stable, and whether they are isolated."""
    apart = ((ends[:, None] - ends[None]).abs() / (scale + ends[None].abs())).amax(-1)  # (S, S, ...)
    same = (apart <= _SAME) & arrived[:, None] & arrived[None]
    earlier = torch.ones(len(ends), len(ends), dtype=torch.bool, device=ends.device).tril(-1)
    first = arrived & ~(same & earlier.reshape(*earlier.shape, *[1] * (same.ndim - 2))).any(1)  # (S, ...)
    J = bound.jacobian(ends, u) * scale / scale[:, None]
    J = torch.where((arrived & torch.isfinite(J).all(-1).all(-1))[..., None, None], J, -torch.eye(len(scale)).to(J))
    rates = torch.linalg.eigvals(J).real.amax(-1)
    singular = torch.linalg.svdvals(J)
    isolated = ~(arrived & (singular[..., -1] <= _SINGULAR * singular[..., 0])).any(0)
    stable = first & (rates < 0.0)
    count, stables = first.sum(0), stable.sum(0)
    found = isolated & ((count == 1) | (stables == 1))
    rank = stable.long() * 2 + first.long()
    pick = rank.argmax(0)
    return ends.gather(0, pick[None, ..., None].expand(1, *ends.shape[1:]))[0], found, count, stables, isolated


def _every(value: Tensor) -> bool:
    """Is it true of all? Unknown, and so no, where nobody may look: under `torch.func.vmap`, while a graph is captured."""
    if capturing():
        return False
    try:
        return bool(value.all())
    except RuntimeError:  # a batch of vmap has no one value
        return False


def _message(
    mechanism: Mechanism,
    found: Tensor,
    counts: tuple[Tensor, Tensor, Tensor],
    ends: tuple[Tensor, Tensor],
    given: tuple[Tensor, Tensor],
) -> str:
    """What is wrong with the first who has no equilibrium."""
    try:
        if capturing() or bool(found.all()):
            return ""
        row = tuple((~found).nonzero()[0].tolist())
    except RuntimeError:
        return ""
    u, theta = (v[row].tolist() for v in given)
    count, stable, isolated = (int(v[row]) for v in counts)
    places = ends[0][(slice(None), *row)]
    ours = places[ends[1][(slice(None), *row)]]
    where = ", ".join(
        (*_named(mechanism.inputs, u), *_named({p.name: p.unit for p in mechanism.physical}, theta))
    )
    where = f" ({where})" if where else ""
    begin = f"{mechanism.name} has no equilibrium that was found" if not count else f"{mechanism.name} has {count} equilibria"
    if not isolated:
        one = ", ".join(_named(mechanism.states, ours[0].tolist()))
        return (
            f"{mechanism.name} has equilibria that are not isolated, as {one}{where}: a sum of states stays as it began, as "
            "in compartments that nothing leaves; remove one of the states, or add what leaves them"
        )
    starts, empty = _starts(mechanism), "" if mechanism.starts_empty else ", or set starts_empty = True in the class"
    if not count:
        return (
            f"{begin} from {len(places)} starts between {min(starts):g} and {max(starts):g} times its scale{where}: more may "
            f"come in than can leave, or a rate is not finite there; give another u or θ{empty}"
        )
    each = "; ".join(", ".join(_named(mechanism.states, one.tolist())) for one in _unlike(ours, mechanism))
    which = "none of them stable" if not stable else f"{stable} of them stable"
    below = bool((ours < 0.0).any()) and not mechanism.defaults.amounts
    amounts = ", or defaults = Defaults(amounts=True) where no state is ever below 0" if below else ""
    return f"{begin}, {which}: {each}{where}; give the state to start from{empty}{amounts}"


def _unlike(places: Tensor, mechanism: Mechanism) -> list[Tensor]:
    """The rows that are no copy of an earlier one, to the typical sizes: 1e-10 of them is 0."""
    scale = places.new_tensor([float(mechanism.scale[s]) for s in mechanism.states])
    kept = list[Tensor]()
    for one in places:
        one = torch.where(one.abs() <= 1e-3 * _SAME * scale, 0.0, one)
        if not any(bool(((one - other).abs() <= _SAME * (scale + other.abs())).all()) for other in kept):
            kept.append(one)
    return kept


def _named(units: Any, values: list[float]) -> list[str]:
    return [f"{name} {value:.6g} {unit}" for (name, unit), value in zip(units.items(), values, strict=True)]
