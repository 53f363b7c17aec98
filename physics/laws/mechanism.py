"""A mechanism held against its laws: its tape is its Python, its slopes are derivatives, and its split is exact."""

import json

import numpy as np
import torch
from torch import Tensor

from physics.arguments import drawn_from, require_number
from physics.linearised import split
from physics.linearised_backbone import LinearisedBackbone
from physics.mechanism import Mechanism, TapedMechanism, require_mechanism
from physics.trace import Named

ROUNDING = 1e-13  # of |A||x| + |B||u| + |remainder|: some hundred operations


def check_mechanism(mechanism: Mechanism, *, draws: int = 1000, generator: torch.Generator | None = None) -> None:
    """Raise `ValueError`, which says the law and the numbers that break it, unless a mechanism keeps the laws of mechanisms.

    Names, units and numbers fit together · `rate` can be traced · the rate and its slopes are finite at `draws` points, up to
    twice the `scale` in x, around the `typical_inputs` in u (from 0 to 1 where these are 0), anywhere in the box of θ · the tape
    in torch, in numpy, and the Python give the same · A x + B u + remainder is the rate · the slopes are its derivatives · what
    `to_dict` writes is read back to the same · there is a point at which it can be made linear: an equilibrium at the typical
    θ and inputs, at which everything decays.
    Where it names `signs`, its slopes at these points are those of an order: σ_i σ_j ∂f_i/∂x_j ≥ 0 for i ≠ j.
    Agreement is to 1e-13 of |A||x| + |B||u| + |remainder|, each rate by itself.
    Arguments: `mechanism` · `draws`, points · `generator`, by default one of its own with seed 0.
    """
    require_mechanism(mechanism)
    require_number(draws, "check_mechanism: draws", least=1.0, most=1e6, whole=True)
    drawn = drawn_from(generator, "check_mechanism: generator")
    name = f"check_mechanism: {mechanism.name}"
    backbone = LinearisedBackbone(mechanism)
    x, u, theta = points(mechanism, int(draws), drawn)
    tape = mechanism.tape
    bound = tape.at(theta)
    rate, J = bound.rate(x, u), bound.jacobian(x, u)
    _finite(mechanism, (rate, J), (x, u, theta), name)
    _monotone(mechanism, J, (x, u, theta), name)
    found = split(mechanism, backbone.x, backbone.u, theta)
    remainder = found.remainder(x, u)
    size = found.A.abs() @ x.abs()[..., None] + found.B.abs() @ u.abs()[..., None]
    size = size[..., 0] + remainder.abs()
    whole = (found.A @ x[..., None])[..., 0] + (found.B @ u[..., None])[..., 0] + remainder
    read = TapedMechanism(json.loads(json.dumps(mechanism.to_dict())))
    for what, other in (
        ("A x + B u + remainder", whole),
        ("the tape in numpy", torch.as_tensor(tape.plain(x.numpy(), u.numpy(), theta.numpy()))),
        ("the Python of `rate`", _python(mechanism, x, u, theta)),
        ("what a bundle would bring back", read.tape.evaluate(x, u, theta)),
    ):
        away = (other - rate).abs() - ROUNDING * size
        if not bool((away <= 0.0).all()):
            k, i = divmod(int(away.argmax()), len(mechanism.states))
            raise ValueError(
                f"{name}: the rate of {list(mechanism.states)[i]} is {float(rate[k, i]):.17g} by the tape and "
                f"{float(other[k, i]):.17g} by {what}, at {_said(mechanism, x[k], u[k], theta[k])}; keep no values between two "
                "calls of rate, and draw none"
            )
    few = slice(0, 20)
    automatic = torch.func.vmap(torch.func.jacrev(tape.evaluate))(x[few], u[few], theta[few])
    # where a tanh is level its slope 1 − z² is known to the rounding of 1: of the row's largest, each state in its typical size
    scale = torch.tensor([mechanism.scale[s] for s in mechanism.states], dtype=torch.float64)
    floor = 1e-14 * (J[few].abs() * scale).amax(-1, keepdim=True) / scale
    gap = (automatic - J[few]).abs() - 1e-10 * (J[few].abs() + automatic.abs()) - floor - 1e-300
    if not bool((gap <= 0.0).all()):
        k = int(gap.flatten(1).amax(1).argmax())
        raise ValueError(f"{name}: its slopes differ from autograd's at {_said(mechanism, x[k], u[k], theta[k])}")


def points(mechanism: Mechanism, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """x (count, n), u (count, m), θ (count, q) at which a mechanism is tried."""

    def some(size: int) -> Tensor:
        return torch.rand(count, size, generator=generator, dtype=torch.float64)

    def row(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    scale = row([float(mechanism.scale[s]) for s in mechanism.states])
    level = row([float(mechanism.typical_inputs.get(name, 0.0)) for name in mechanism.inputs])
    low, high = (row([getattr(p, end) for p in mechanism.physical]) for end in ("low", "high"))
    x = scale * (0.01 + 2.0 * some(len(scale)))
    part = some(len(level))
    u = torch.where(level == 0.0, part, level * (0.5 + part))
    theta = torch.exp(low.log() + some(len(low)) * (high.log() - low.log()))
    return x, u, theta.clamp(low, high)


def _finite(mechanism: Mechanism, values: tuple[Tensor, Tensor], at: tuple[Tensor, Tensor, Tensor], name: str) -> None:
    for what, value in zip(("rate", "slope"), values, strict=True):
        bad = ~torch.isfinite(value).flatten(1)
        if bool(bad.any()):
            k, i = divmod(int(bad.flatten().to(torch.uint8).argmax()), bad.shape[1])
            state = list(mechanism.states)[i // (bad.shape[1] // len(mechanism.states))]
            raise ValueError(
                f"{name}: the {what} of {state} is not finite at {_said(mechanism, *(v[k] for v in at))}; shrink the boxes of θ, "
                "or write saturating, relu or hill of physics.operations where the rate divides"
            )


def _monotone(mechanism: Mechanism, J: Tensor, at: tuple[Tensor, Tensor, Tensor], name: str) -> None:
    """Raise `ValueError` unless the slopes are those of the orthant's order that the mechanism names, if it names one."""
    if mechanism.signs is None:
        return
    states = list(mechanism.states)
    sigma = torch.tensor([float(mechanism.signs[s]) for s in states], dtype=torch.float64)
    scale = torch.tensor([float(mechanism.scale[s]) for s in states], dtype=torch.float64)
    slopes = sigma[:, None] * sigma * J * (1.0 - torch.eye(len(states), dtype=torch.float64))
    size = (J.abs() * scale).amax(-1, keepdim=True) / scale  # what rounds to 0 beside it has no sign
    wrong = slopes < -1e-13 * size
    if bool(wrong.any()):
        k, i, j = wrong.nonzero()[0].tolist()
        needed = "not below 0" if sigma[i] == sigma[j] else "not above 0"
        raise ValueError(
            f"{name}: by its signs the slope of the rate of {states[i]} by {states[j]} is {needed}, and it is "
            f"{float(J[k, i, j]):.6g} at {_said(mechanism, *(v[k] for v in at))}; give other signs, or leave signs out"
        )


def _python(mechanism: Mechanism, x: Tensor, u: Tensor, theta: Tensor) -> Tensor:
    names = mechanism.states, mechanism.inputs, [p.name for p in mechanism.physical]
    named = [
        Named("values", dict(zip(keys, values.numpy().T, strict=True))) for keys, values in zip(names, (x, u, theta), strict=True)
    ]
    found = mechanism.rate(*named)
    columns = [np.broadcast_to(np.asarray(found[s], dtype=np.float64), len(x)) for s in mechanism.states]
    return torch.tensor(np.stack(columns, -1))


def _said(mechanism: Mechanism, x: Tensor, u: Tensor, theta: Tensor) -> str:
    """The point by names and units."""
    units = {**mechanism.states, **mechanism.inputs, **{p.name: p.unit for p in mechanism.physical}}
    values = [*x.tolist(), *u.tolist(), *theta.tolist()]
    return ", ".join(f"{name} {value:.6g} {unit}" for (name, unit), value in zip(units.items(), values, strict=True))
