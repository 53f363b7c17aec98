"""A backbone held against its laws: stable all over its box, inside its hull, and what its names and configuration say."""

import itertools

import torch
from torch import Tensor

from physics.arguments import drawn_from, require_kind, require_number
from physics.backbone import Backbone, spectral_abscissa
from physics.defaults import Defaults
from physics.laws.rebuilt import rebuilt
from physics.parameter import Parameter
from physics.units import require

LEADS = ((), (3,), (2, 3), (2, 1, 4))
DIRECTIONS = 200
_SAID = ("states", "state_units", "inputs", "input_units", "physical", "time_unit")


def check_backbone(backbone: Backbone, *, draws: int = 64, generator: torch.Generator | None = None) -> None:
    """Raise `ValueError`, which says the law and the numbers that break it, unless a backbone keeps the laws of backbones.

    Names and units are as many as states and inputs, and `defaults` names none but these · every leading index of θ has its own
    A (n, n) and B (n, m), in float64 and finite · every eigenvalue of A(θ) has a negative real part, at the corners of the box
    of θ and at `draws` points in it · A(θ) lies in `hull(lower, upper)` for the whole box and for a part of it · A and B are
    differentiable in θ · `initial` gives a state or says what it needs · `config` rebuilds it.
    A law is tried at points, by default the same ones each time, and not proved: a box that loses stability between them
    passes. `stability.certify` proves.
    Arguments: `backbone` · `draws`, points of the box · `generator`, by default one of its own with seed 0.
    """
    require_kind(backbone, Backbone, "check_backbone: backbone", "MyBackbone(), a class that inherits from physics.Backbone")
    require_number(draws, "check_backbone: draws", least=1.0, most=1e6, whole=True)
    generator = drawn_from(generator, "check_backbone: generator")
    name = f"check_backbone: {type(backbone).__name__}"
    _names(backbone, name)
    theta = _points(backbone.physical, int(draws), generator)
    _shapes(backbone, theta, name)
    _stable(backbone, theta, name)
    _own_pair(backbone, theta, name)
    _inside_hull(backbone, theta, generator, name)
    _differentiable(backbone, theta, name)
    _initial(backbone, theta, name)
    _same_again(backbone, theta, name)


def _names(backbone: Backbone, name: str) -> None:
    lacking = [what for what in _SAID if not hasattr(backbone, what)]
    if lacking:
        raise ValueError(f"{name}: says nothing of {', '.join(lacking)}; set each in __init__, as physics.Backbone lists them")
    n, m = len(backbone.states), len(backbone.inputs)
    names = (*backbone.states, *backbone.inputs)
    if n < 1 or len(set(names)) < n + m or not all(names):
        raise ValueError(f"{name}: its states and inputs need names that differ, and are {names}")
    if (len(backbone.state_units), len(backbone.input_units)) != (n, m):
        raise ValueError(
            f"{name}: has {n} states with {len(backbone.state_units)} units and {m} inputs with {len(backbone.input_units)}; "
            "give each its UCUM code, '1' where it has none"
        )
    if not all((*backbone.state_units, *backbone.input_units, backbone.time_unit)):
        raise ValueError(f"{name}: a unit is empty; write the UCUM code, '1' where there is none, 'h' for the time")
    units = zip((*names, "time"), (*backbone.state_units, *backbone.input_units, backbone.time_unit), strict=True)
    for what, unit in units:
        require(unit, f"{name}: {what}")
    for one in backbone.physical:
        require_kind(one, Parameter, f"{name}: each of physical", "Parameter('ka', '/h', 1.5, 0.05, 20.0)")
    require_kind(backbone.defaults, Defaults, f"{name}: its defaults", 'Defaults(observed=(Observed("plasma", "V"),))')
    said, parameters = backbone.defaults, {one.name for one in backbone.physical}
    of_states = {*(one.state for one in said.observed), *said.compartments.values()}
    of_parameters = {*(one.volume for one in said.observed if one.volume), *said.spread, *said.powers}
    for what, named, there in (("states", of_states, set(backbone.states)), ("parameters", of_parameters, parameters)):
        if not named <= there:
            raise ValueError(f"{name}: its defaults name {sorted(named - there)}, and its {what} are {sorted(there)}")


def _points(physical: tuple[Parameter, ...], draws: int, generator: torch.Generator) -> Tensor:  # (K, q)
    """The corners of the box (of many, some) and points in it, spread by their logarithms."""
    low, high = (torch.tensor([getattr(p, end) for p in physical], dtype=torch.float64).log() for end in ("low", "high"))
    q = len(physical)
    if q == 0:
        return torch.zeros(1, 0, dtype=torch.float64)
    if q <= 8:
        corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=q)), dtype=torch.float64)
    else:
        corners = torch.randint(2, (256, q), generator=generator).double()
    inside = torch.rand(draws, q, generator=generator, dtype=torch.float64)
    theta = torch.exp(low + torch.cat([inside, corners]) * (high - low))
    return theta.clamp(low.exp(), high.exp())


def _said(backbone: Backbone, theta: Tensor) -> str:
    """θ by name: ka=1.5 /h, ke=0.08 /h."""
    pairs = zip(backbone.physical, theta.tolist(), strict=True)
    return ", ".join(f"{p.name}={value:.6g} {p.unit}" for p, value in pairs) or "no θ"


def _shapes(backbone: Backbone, theta: Tensor, name: str) -> None:
    n, m, q = len(backbone.states), len(backbone.inputs), len(backbone.physical)
    for lead in LEADS:
        count = int(torch.tensor(lead).prod()) if lead else 1
        at = theta[torch.arange(count) % len(theta)].reshape(*lead, q)
        A, B = backbone.matrices(at)
        for what, found, shape in (("A", A, (*lead, n, n)), ("B", B, (*lead, n, m))):
            if tuple(found.shape) != shape or found.dtype != torch.float64:
                raise ValueError(
                    f"{name}: of θ {tuple(at.shape)} its {what} is {tuple(found.shape)} in {found.dtype}; it needs {shape} in "
                    "the type of θ, one for every leading index: build it with torch.stack(…, -1) and expand"
                )


def _stable(backbone: Backbone, theta: Tensor, name: str) -> None:
    A, B = backbone.matrices(theta)
    if not bool(torch.isfinite(A).all() and torch.isfinite(B).all()):
        bad = int((~torch.isfinite(A).all((1, 2)) | ~torch.isfinite(B).all((1, 2))).nonzero()[0])
        raise ValueError(f"{name}: A or B is not finite at {_said(backbone, theta[bad])}")
    rate = spectral_abscissa(A)
    worst = int(rate.argmax())
    if float(rate[worst]) >= 0.0:
        raise ValueError(
            f"{name}: is not stable, an eigenvalue of A has the real part {float(rate[worst]):.3g} (needed: below 0) at "
            f"{_said(backbone, theta[worst])}. Likely a compartment that nothing leaves, a total kept as a state, a sign, or "
            "a box that is too wide"
        )


def _own_pair(backbone: Backbone, theta: Tensor, name: str) -> None:
    together = backbone.matrices(theta)
    for k in range(0, len(theta), max(1, len(theta) // 8)):
        for what, found, alone in zip(("A", "B"), together, backbone.matrices(theta[k]), strict=True):
            gap = float((found[k] - alone).abs().max()) if alone.numel() else 0.0
            if gap > 1e-12 * float(alone.abs().max() if alone.numel() else 1.0):
                raise ValueError(
                    f"{name}: {what} at {_said(backbone, theta[k])} differs by {gap:.3g} when other people's θ stand beside it; "
                    "one person's matrices depend on nobody else"
                )


def _inside_hull(backbone: Backbone, theta: Tensor, generator: torch.Generator, name: str) -> None:
    """In every direction D, ⟨D, A⟩ ≤ max_v ⟨D, V_v⟩: what lies outside of a hull is parted from it by some plane."""
    low, high = theta.amin(0), theta.amax(0)
    n = len(backbone.states)
    for lower, upper in ((low, high), (low + 0.3 * (high - low), low + 0.6 * (high - low))):
        V = backbone.hull(lower, upper)
        if V.ndim != 3 or V.shape[1:] != (n, n) or not bool(torch.isfinite(V).all()):
            raise ValueError(f"{name}: hull(lower, upper) needs finite matrices (V, {n}, {n}), and has {tuple(V.shape)}")
        part = torch.rand(len(theta), len(low), generator=generator, dtype=torch.float64)
        points = torch.cat([lower + part * (upper - lower), lower[None], upper[None]]).clamp(lower, upper)
        A = backbone.matrices(points)[0].flatten(1)  # (K, n²)
        corners = V.flatten(1)
        size = corners.abs().amax(0).clamp_min(1e-300)
        D = torch.randn(DIRECTIONS, n * n, generator=generator, dtype=torch.float64)
        D = torch.cat([D, torch.eye(n * n, dtype=torch.float64), -torch.eye(n * n, dtype=torch.float64)])
        beyond = (A / size) @ D.mT - ((corners / size) @ D.mT).amax(0)  # (K, directions)
        k = int(beyond.amax(1).argmax())
        if float(beyond.max()) > 1e-9 * n:
            raise ValueError(
                f"{name}: A at {_said(backbone, points[k])} lies outside of hull(lower, upper), by {float(beyond.max()):.3g} of "
                "the size of its entries: a certificate over these corners would not hold there. Where A is not multi-affine in "
                "θ, enclose it entry by entry"
            )


def _differentiable(backbone: Backbone, theta: Tensor, name: str) -> None:
    """d/dz of the matrices at θ e^z along one direction, by autograd and by a central difference."""
    if theta.shape[1] == 0:
        return
    h, at = 1e-5, theta[: min(4, len(theta))]
    for j, parameter in enumerate(backbone.physical):
        step = torch.zeros_like(at)
        step[:, j] = h
        ends = [backbone.matrices(at * torch.exp(sign * step)) for sign in (1.0, -1.0)]
        z = torch.zeros_like(at).requires_grad_()
        for what, plus, minus, value in zip(("A", "B"), *ends, backbone.matrices(at * z.exp()), strict=True):
            difference = (plus - minus) / (2.0 * h)
            weight = torch.linspace(0.5, 1.5, max(value.numel(), 1), dtype=torch.float64)[: value.numel()].reshape(value.shape)
            slope = torch.zeros_like(at)
            if value.requires_grad:
                (slope,) = torch.autograd.grad((weight * value).sum(), z, retain_graph=True)
            wanted, found = (weight * difference).flatten(1).sum(1), slope[:, j]
            size = float((weight * difference).abs().max()) if value.numel() else 0.0
            # rounding of the difference: 1e-16 of the entries over h
            allowed = 1e-5 * size + 1e-9 * float(value.detach().abs().max() if value.numel() else 0.0)
            if float((found - wanted).abs().max()) > allowed:
                k = int((found - wanted).abs().argmax())
                raise ValueError(
                    f"{name}: the derivative of {what} by log {parameter.name} is {float(found[k]):.6g} by autograd and "
                    f"{float(wanted[k]):.6g} by differences at {_said(backbone, at[k])}; compute it with torch on θ itself, "
                    "without .item(), numpy or detach()"
                )


def _initial(backbone: Backbone, theta: Tensor, name: str) -> None:
    n = len(backbone.states)
    size = max(n, len(backbone.starts or ()))
    for baseline in (torch.linspace(0.5, 1.5, size, dtype=torch.float64), torch.full((size,), torch.nan, dtype=torch.float64)):
        known = bool(torch.isfinite(baseline).all())
        try:
            x0 = backbone.initial(theta, baseline.expand(len(theta), size))
        except ValueError as error:
            if known:
                raise ValueError(f"{name}: initial refuses the baseline {baseline.tolist()}: {error}") from error
            continue
        if tuple(x0.shape) != (len(theta), n) or not bool(torch.isfinite(x0).all()):
            given = "a measured baseline" if known else "no baseline (NaN)"
            raise ValueError(
                f"{name}: with {given} initial gives {tuple(x0.shape)}, finite: {bool(torch.isfinite(x0).all())}; it needs "
                f"finite states {(len(theta), n)}, or a ValueError that says what has to be measured"
            )


def _same_again(backbone: Backbone, theta: Tensor, name: str) -> None:
    again = rebuilt(backbone, name)
    for what in ("states", "inputs", "state_units", "input_units", "time_unit", "physical", "starts"):
        if getattr(again, what) != getattr(backbone, what):
            raise ValueError(
                f"{name}: rebuilt by its configuration its {what} are {getattr(again, what)}, and were "
                f"{getattr(backbone, what)}; config() gives every argument of the constructor"
            )
    for what, found, wanted in zip(("A", "B"), again.matrices(theta), backbone.matrices(theta), strict=True):
        if not torch.equal(found, wanted):
            gap = float((found - wanted).abs().max())
            raise ValueError(
                f"{name}: rebuilt by its configuration its {what} differs by {gap:.3g}; config() gives every argument of the "
                "constructor"
            )
