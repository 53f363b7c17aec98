"""An observation held against its laws: linear where it says so, and everyone's own."""

from collections.abc import Callable

import torch
from torch import Tensor

from hybrid.observation import JoinsBackbone, Observation
from physics import Backbone
from physics.arguments import drawn_from, require_kind
from physics.laws.rebuilt import rebuilt

MEMBERS, PEOPLE, TIMES = 2, 3, 4


def check_observation(
    observation: Observation, backbone: Backbone, *, generator: torch.Generator | None = None
) -> None:
    """Raise `ValueError`, which says the law and the numbers that break it, unless an observation keeps the laws of observations.

    Each channel has a name of its own and a unit · joined to a backbone twice it is what it is joined once · h(x, θ) has the
    shape (M, N, T, p) and is finite, every person's its own, for positive states and θ in the box · where it says `linear`,
    h(a x + b z, θ) = a h(x, θ) + b h(z, θ), with h(0, θ) taken off each · h(0, θ) is `offset`, where it is linear: a
    baseline without it is what the states show · h is differentiable in x · `config` rebuilds it.
    Inputs and covariates are drawn positive.
    Tried at points, by default the same ones each time, and not proved.
    Arguments: `observation`, by names or positions · `backbone` that it is to observe · `generator`, by default one of its own
    with seed 0.
    """
    require_kind(observation, Observation, "check_observation: observation", 'States(("plasma",))')
    require_kind(backbone, Backbone, "check_observation: backbone", "OneCompartmentOral()")
    generator = drawn_from(generator, "check_observation: generator")
    name = f"check_observation: {type(observation).__name__}"
    there = _joined(observation, backbone, name)
    channels = there.channels
    if not channels or len(set(channels)) < len(channels) or not all(channels) or len(there.units) != len(channels):
        raise ValueError(f"{name}: each channel needs a name of its own and a unit, and they are {channels} in {there.units}")
    low, high = (torch.tensor([getattr(p, end) for p in backbone.physical], dtype=torch.float64) for end in ("low", "high"))
    part = torch.rand(MEMBERS, PEOPLE, len(low), generator=generator, dtype=torch.float64)
    theta = low + part * (high - low)
    x, z = (
        3.0 * torch.rand(MEMBERS, PEOPLE, TIMES, len(backbone.states), generator=generator, dtype=torch.float64)
        for _ in range(2)
    )
    m = len(backbone.inputs)
    u = 0.5 + torch.rand(1, PEOPLE, TIMES, m, generator=generator, dtype=torch.float64)
    covariates = {name: 0.5 + torch.rand(PEOPLE, generator=generator, dtype=torch.float64) for name in there.covariates}

    def seen(at: Tensor, of: Observation = there) -> Tensor:
        return of.seen(at, theta, u, covariates)

    y = seen(x)
    if tuple(y.shape) != (MEMBERS, PEOPLE, TIMES, len(channels)) or not bool(torch.isfinite(y).all()):
        raise ValueError(
            f"{name}: of x {tuple(x.shape)} h is {tuple(y.shape)}, finite: {bool(torch.isfinite(y).all())}; it needs finite "
            f"numbers (members, people, times, channels) = {(MEMBERS, PEOPLE, TIMES, len(channels))}"
        )
    alone = there.seen(x[:, 1:2], theta[:, 1:2], u[:, 1:2], {name: v[1:2] for name, v in covariates.items()})
    if not torch.allclose(alone, y[:, 1:2], rtol=1e-12, atol=0.0):
        raise ValueError(f"{name}: a person's h changes with who else is in the batch; everyone has their own x and θ")
    if there.linear:
        _linear(seen, (x, z), name)
        _apart(seen(torch.zeros_like(x)), there.offset(theta, u, covariates), name)
    _differentiable(seen, (x, z), name)
    again = _joined(rebuilt(observation, name), backbone, name)
    if (again.channels, again.units, again.linear) != (channels, there.units, there.linear):
        raise ValueError(
            f"{name}: rebuilt by its configuration it observes {again.channels} in {again.units}, and observed {channels} in "
            f"{there.units}; config() gives every argument of the constructor"
        )
    if not torch.equal(seen(x, again), y):
        raise ValueError(f"{name}: rebuilt by its configuration h differs; config() gives every argument of the constructor")


def _joined(observation: Observation, backbone: Backbone, name: str) -> Observation:
    if not isinstance(observation, JoinsBackbone):
        return observation
    once = observation.joined(backbone)
    twice = once.joined(backbone)
    if once.measured != twice.measured or once.config() != twice.config():
        raise ValueError(
            f"{name}: joined to the backbone twice it shows {twice.measured}, and joined once {once.measured}; what is joined "
            "already stays as it is"
        )
    assert isinstance(once, Observation)
    return once


def _linear(seen: Callable[[Tensor], Tensor], points: tuple[Tensor, Tensor], name: str) -> None:
    x, z = points
    nothing = seen(torch.zeros_like(x))
    found = seen(2.0 * x - 0.7 * z) - nothing
    wanted = 2.0 * (seen(x) - nothing) - 0.7 * (seen(z) - nothing)
    gap, size = float((found - wanted).detach().abs().max()), float(wanted.detach().abs().max())
    if gap > 1e-10 * max(size, float(nothing.detach().abs().max()), 1e-300):
        raise ValueError(
            f"{name}: says linear, and h(2 x − 0.7 z) differs from 2 h(x) − 0.7 h(z) by {gap:.3g} of {size:.3g}; set "
            "linear = False, or leave out what is bent"
        )


def _apart(nothing: Tensor, offset: Tensor | None, name: str) -> None:
    """What is seen of no state is the offset."""
    wanted = torch.zeros_like(nothing) if offset is None else offset.expand_as(nothing)
    if not torch.allclose(nothing, wanted, rtol=1e-10, atol=1e-300):
        gap = float((nothing - wanted).detach().abs().max())
        raise ValueError(
            f"{name}: of states that are 0 it shows up to {gap:.3g} more than its `offset` says, and a baseline would be taken "
            "for states with that in it; return it by offset(theta, u, covariates) too"
        )


def _differentiable(seen: Callable[[Tensor], Tensor], points: tuple[Tensor, Tensor], name: str) -> None:
    (x, direction), h = points, 1e-6
    at = x.clone().requires_grad_()
    value = seen(at).sum()
    slope = torch.autograd.grad(value, at)[0] if value.requires_grad else torch.zeros_like(x)
    with torch.no_grad():
        ends = [seen(x + sign * h * direction).sum() for sign in (1.0, -1.0)]
    wanted, got = float((ends[0] - ends[1]) / (2.0 * h)), float((slope * direction).sum())
    if abs(wanted - got) > 1e-4 * max(abs(wanted), abs(float(value.detach()))):
        raise ValueError(
            f"{name}: the derivative of h along x is {got:.6g} by autograd and {wanted:.6g} by differences; compute it with "
            "torch on x itself, without .item(), numpy or detach()"
        )
