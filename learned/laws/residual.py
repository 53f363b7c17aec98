"""A residual held against its laws: it vanishes where it says so, and its layers are what it computes."""

import copy

import torch
from torch import Tensor

from learned.ensemble import Ensemble, select
from learned.laws.rebuilt import rebuilt, require_member_axis
from learned.residual import ACTIVATIONS, LayeredResidual, Layers, Residual
from learned.sizes import drawn_from, shown, sizes_of

MEMBERS, PEOPLE = 2, 4
Points = tuple[Tensor, Tensor, Tensor]


def check_residual(residual: Residual, *, parameters: int = 0, generator: torch.Generator | None = None) -> None:
    """Raise `ValueError`, which says the law and the numbers that break it, unless a residual keeps the laws of residuals.

    Every trainable tensor leads with the member axis, and `reset` draws it from the generator alone · ε has the shape (M, N, n),
    and each member's and person's value is its own, however they are batched · where `vanishes_at_origin`, ε(0, 0, c) is 0
    without any rounding, for every c · the layers of a `LayeredResidual`, evaluated plainly in float64, are `forward` · ε is
    differentiable in x · `config` rebuilds it.
    Two members are drawn, and their weights moved by standard normal numbers, as large as training makes them; the residual
    itself stays as it is. Tried at points, by default the same ones each time, and not proved.
    Arguments: `residual`, one that is not stacked and has its sizes (names are resolved by a model) · `parameters`, how many θ
    has, for one that sees it as it is (a built-in one knows) · `generator`, by default
    one of its own with seed 0.
    """
    if not isinstance(residual, Residual):
        raise ValueError(f"check_residual: residual inherits from learned.Residual, and got {shown(residual)}")
    generator = drawn_from(generator, "check_residual: generator")
    name = f"check_residual: {type(residual).__name__}"
    require_member_axis(residual, name)
    _reset(residual, name)
    stacked = Ensemble(MEMBERS).stack(residual, generator)
    with torch.no_grad():
        for parameter in stacked.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    sizes_of({"parameters": parameters}, "check_residual")
    if residual.seen_theta is not None:  # what it makes of θ stands there, however many θ has
        parameters = residual.seen_theta.count
    if parameters < 0 or (residual.sees_theta and parameters < 1):
        raise ValueError(
            f"{name}: θ stands behind c for one that sees it, so say how many there are, parameters=3, and got {parameters}"
        )
    sizes = (residual.states, residual.inputs, residual.covariates + (parameters if residual.sees_theta else 0))
    x, u, c = (3.0 * torch.randn(MEMBERS, PEOPLE, size, generator=generator, dtype=torch.float64) for size in sizes)
    with torch.no_grad():
        _own_values(stacked, (x, u, c), name)
        _vanishes(stacked, c, name)
        if isinstance(stacked, LayeredResidual):
            _layers(stacked, (x, u, c), name)
        _same_again(residual, (x, u, c), name)
    _differentiable(stacked, (x, u, c), generator, name)


def _reset(residual: Residual, name: str) -> None:
    drawn = []
    for seed in (3, 3, 4):
        one = copy.deepcopy(residual)
        one.reset(torch.Generator().manual_seed(seed))
        drawn.append([p.detach().clone() for p in one.parameters()])
    if not all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[1], strict=True)):
        raise ValueError(
            f"{name}: reset gives other weights for the same generator; draw with torch.randn(…, generator=generator) alone"
        )
    if drawn[0] and all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[2], strict=True)):
        raise ValueError(
            f"{name}: reset gives the same weights for every generator, so that all members of an ensemble are one; draw every "
            "trainable tensor anew"
        )


def _own_values(residual: Residual, at: Points, name: str) -> None:
    whole = residual(*at)
    if tuple(whole.shape) != (MEMBERS, PEOPLE, residual.states) or whole.dtype != torch.float64:
        raise ValueError(
            f"{name}: of x {tuple(at[0].shape)} it gives {tuple(whole.shape)} in {whole.dtype}; it needs (members, people, "
            f"states) = {(MEMBERS, PEOPLE, residual.states)} in the type of x"
        )
    if not bool(torch.isfinite(whole).all()):
        raise ValueError(f"{name}: ε is not finite at x = {at[0][0, 0].tolist()}, u = {at[1][0, 0].tolist()}")
    for m in range(MEMBERS):
        alone = select(residual, torch.tensor([m]))(*(v[m : m + 1] for v in at))
        _require_equal(alone, whole[m : m + 1], f"{name}: member {m} alone", "when it is stacked with others")
    for i in range(PEOPLE):
        alone = residual(*(v[:, i : i + 1] for v in at))
        _require_equal(alone, whole[:, i : i + 1], f"{name}: person {i} alone", "among other people")
    shared = residual(*(v[:1, :1] for v in at))
    wide = residual(*(v[:1, :1].expand(MEMBERS, PEOPLE, -1) for v in at))
    _require_equal(shared.expand_as(wide), wide, f"{name}: arguments of size 1", "when they are written out for everyone")


def _require_equal(found: Tensor, wanted: Tensor, what: str, when: str) -> None:
    gap, size = float((found - wanted).abs().max()), float(wanted.abs().max())
    if gap > 1e-12 * max(1.0, size):
        raise ValueError(f"{what} has another value {when}, by {gap:.3g} of {size:.3g}; every member and person has its own")


def _vanishes(residual: Residual, c: Tensor, name: str) -> None:
    if not residual.vanishes_at_origin:
        return
    zero = torch.zeros(MEMBERS, PEOPLE, residual.states, dtype=c.dtype)
    at_origin = residual(zero, zero.new_zeros(MEMBERS, PEOPLE, residual.inputs), 10.0 * c)
    if bool((at_origin != 0.0).any()):
        raise ValueError(
            f"{name}: says vanishes_at_origin, and ε(0, 0, c) is {float(at_origin.abs().max()):.3g}; subtract its value there, "
            "layer by layer so that nothing is left of rounding, or set vanishes_at_origin = False"
        )


def plainly(layers: Layers, x: Tensor, u: Tensor, c: Tensor) -> Tensor:  # (M, N, n)
    """The layers as a textbook writes them: S x + W_L φ(… φ(W_1 x + U u + C c + b_1) …) + b_L, less its rest at the origin."""

    def rest(x: Tensor, u: Tensor) -> Tensor:
        v = x @ layers.weights[0].mT + u @ layers.input_weights.mT if layers.input_weights.shape[-1] else x @ layers.weights[0].mT
        v = v + c @ layers.covariate_weights.mT if layers.covariate_weights.shape[-1] else v
        v = v + layers.biases[0][:, None]
        for weight, bias in zip(layers.weights[1:], layers.biases[1:], strict=True):
            v = ACTIVATIONS[layers.activation](v) @ weight.mT + bias[:, None]
        return v

    value = rest(x, u) - rest(torch.zeros_like(x), torch.zeros_like(u)) if layers.vanishes_at_origin else rest(x, u)
    return value if layers.skip is None else value + x @ layers.skip.mT


def _layers(residual: LayeredResidual, at: Points, name: str) -> None:
    have, want = plainly(residual.layers(), *at), residual(*at)
    size = max(1.0, float(want.abs().max()))
    gap = float((have.expand_as(want) - want).abs().max())
    if gap > 1e-11 * size:
        raise ValueError(
            f"{name}: its layers differ from its forward pass by {gap:.3g} of {size:.3g}: a certificate would be of another "
            "function. layers() holds everything, scales of states and rates folded into the weights"
        )


def _differentiable(residual: Residual, at: Points, generator: torch.Generator, name: str) -> None:
    x, u, c = at
    direction, h = torch.randn(x.shape, generator=generator, dtype=x.dtype), 1e-6
    z = x.clone().requires_grad_()
    value = residual(z, u, c)
    slope = torch.zeros_like(x)
    if value.requires_grad:
        (found,) = torch.autograd.grad(value.sum(), z, allow_unused=True)
        slope = slope if found is None else found
    with torch.no_grad():
        ends = [residual(x + sign * h * direction, u, c).sum((0, 1, 2)) for sign in (1.0, -1.0)]
    wanted, got = float((ends[0] - ends[1]) / (2.0 * h)), float((slope * direction).sum())
    if abs(wanted - got) > 1e-4 * max(1.0, abs(wanted), float(value.detach().abs().max())):
        raise ValueError(
            f"{name}: the derivative of ε along x is {got:.6g} by autograd and {wanted:.6g} by differences; compute it with "
            "torch on x itself, without .item(), numpy or detach()"
        )


def _same_again(residual: Residual, at: Points, name: str) -> None:
    again = rebuilt(residual, name)
    for what in ("states", "inputs", "covariates", "vanishes_at_origin"):
        if getattr(again, what) != getattr(residual, what):
            raise ValueError(
                f"{name}: rebuilt by its configuration its {what} is {getattr(again, what)}, and was {getattr(residual, what)}; "
                "config() gives every argument of the constructor"
            )
    one = tuple(v[:1] for v in at)
    if not torch.equal(again(*one), residual(*one)):
        raise ValueError(
            f"{name}: rebuilt by its configuration and its tensors ε differs; config() gives every argument of the constructor"
        )
