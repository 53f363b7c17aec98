"""Whether the parts of a model fit together, by the names and units that they state."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

import torch
from torch import Tensor, nn

from hybrid.observation import Observation
from hybrid.terms import BoundTerm, Term
from learned import Joint, NoiseHead, ProcessNoise, Residual
from physics import Administered, Backbone, Population
from physics.arguments import quote, require_kind, require_number, require_text
from physics.units import factor, require


def require_parts(
    backbone: Backbone,
    population: Population,
    residual: Residual | None,
    *,
    observation: Observation,
    noise: NoiseHead,
    process: ProcessNoise | None,
) -> None:
    """Raise `ValueError` unless each part is of its kind."""
    require_kind(backbone, Backbone, "HybridModel: backbone", "OneCompartmentOral()")
    require_kind(population, Population, "HybridModel: population", "LogNormalPopulation(backbone, spread={…})")
    require_kind(observation, Observation, "HybridModel: observation", "Concentration(…) or States(…)")
    require_kind(noise, NoiseHead, "HybridModel: noise", "AdditiveProportional([0.5], [0.1], [0.03])")
    if residual is not None:
        require_kind(residual, Residual, "HybridModel: residual", "MLP(hidden=(8,))")
    if process is not None:
        require_kind(process, ProcessNoise, "HybridModel: process", "DiagonalDiffusion([…])")


    for part in (backbone, population, observation, noise, residual, process):
        _require_begun(part)


def _require_begun(part: nn.Module | None) -> None:
    """Raise `ValueError` for a module of the caller's own that torch knows nothing of; it fails far from there otherwise."""
    if part is not None and "_parameters" not in vars(part):
        raise ValueError(f"{type(part).__name__}: torch's own __init__ never ran; call super().__init__() first in yours")


def require_sizes(joint: Joint, residual: Residual, noise: NoiseHead, process: ProcessNoise | None) -> None:
    """Raise `ValueError` unless the learned parts are made for as many states, inputs, channels and covariates."""
    n, m, r = len(joint.states), len(joint.inputs), joint.covariates
    have = (residual.states, residual.inputs, residual.covariates)
    if have[0] != n or have[1] not in (0, m) or have[2] != r:
        raise ValueError(
            f"HybridModel: the residual is made for (states, inputs, covariates) = {have} and the model has {(n, m, r)} "
            "(covariates counts latents too; inputs may be 0); build the residual with these sizes"
        )
    if process is not None and process.states != n:
        raise ValueError(f"HybridModel: the process noise is made for {process.states} states and the model has {n}")
    if process is not None and noise.correlation() is not None:
        raise ValueError(
            "HybridModel: process noise moves all channels, and what that gives them in common is not added to the correlation "
            "of their errors (Correlated); build it without process noise, or with the head without Correlated"
        )
    if noise.channels != len(joint.channels):
        raise ValueError(f"HybridModel: {len(joint.channels)} channels are observed, noise is given for {noise.channels}")
    made_for = (getattr(noise, "states", n), getattr(noise, "inputs", 0))
    if made_for[0] != n or made_for[1] not in (0, m):
        raise ValueError(
            f"HybridModel: the noise is made for (states, inputs) = {made_for}, the model has {(n, m)}; leave the sizes out"
        )


def require_terms(known: object) -> tuple[Term, ...]:
    """The known terms of a model. Errors: `ValueError` for what is none."""
    require_kind(known, (tuple, list), "HybridModel: known", "known=(Mine(),), terms in a tuple")
    found = list[Term]()
    for term in known if isinstance(known, tuple | list) else ():
        require_kind(term, Term, "HybridModel: each of known", "a class of yours that extends Term")
        _require_begun(term)
        found.append(term)
    return tuple(found)


def require_rates(terms: Iterable[Term], typical: Tensor, joint: Joint) -> None:
    """Raise `ValueError` unless each term gives a rate for each state: what broadcasts is taken for all states in silence."""
    n, m, r = len(joint.states), len(joint.inputs), joint.covariates
    x, u, c = (typical.new_zeros(1, 1, size) for size in (n, m, r))
    for term in terms:
        found = term.at(typical, c)
        require_kind(found, BoundTerm, f"{type(term).__name__}.at(theta, c)", "return BoundTerm(lambda x, u: …)")
        with torch.no_grad():
            rate = found.value(x, u)
        if not isinstance(rate, Tensor) or rate.shape != x.shape or rate.dtype != x.dtype:
            raise ValueError(
                f"{type(term).__name__}: its rate is {quote(rate)} for x of shape (1, 1, {n}), and a rate of that shape and of "
                f"{x.dtype} is needed; write torch.stack([…], -1) of a rate for each of {', '.join(joint.states)}"
            )


def require_read(backbone: Backbone, observation: Observation, typical: Tensor, others: bool) -> None:
    """Raise `ValueError` where a θ that is there to be observed is read by nobody; `others`: whether other parts read θ too."""
    names = backbone.observed_names if isinstance(backbone, Administered) else ()
    if not names or others:
        return
    theta = typical.clone().requires_grad_()
    x, u = typical.new_ones(1, 1, 1, len(backbone.states)), typical.new_ones(1, 1, 1, len(backbone.inputs))
    covariates = dict.fromkeys(observation.covariates, typical.new_ones(1))
    with torch.enable_grad():
        y = observation.seen(x, theta, u, covariates).sum()
    slope = torch.autograd.grad(y, theta, allow_unused=True)[0] if y.requires_grad else None
    places = [p.name for p in backbone.physical]
    for name in names:
        if slope is None or float(slope[..., places.index(name)].detach().abs()) == 0.0:
            raise ValueError(
                f"HybridModel: {name} is there to be observed, and the observation does not read it; write "
                f"Offset({type(observation).__name__}(…), {name!r}), or leave it out of Administered(…, observed=…)"
            )


def require_units(backbone: Backbone) -> None:
    """Raise `ValueError` where a backbone of the caller's own states units that are not UCUM, or not one for each name."""
    for kind, names, units in (
        ("state", backbone.states, backbone.state_units),
        ("input", backbone.inputs, backbone.input_units),
    ):
        if len(names) != len(units):
            raise ValueError(f"{type(backbone).__name__}: {len(names)} {kind} names and {len(units)} units; give each its unit")
        for name, unit in zip(names, units, strict=True):
            require(unit, f"{type(backbone).__name__}: {kind} {name}")
    require(backbone.time_unit, f"{type(backbone).__name__}: time")


def require_parameters(backbone: Backbone, population: Population) -> None:
    """Raise `ValueError` unless the population gives the backbone's parameters, in its order and units."""
    wanted = [p.name for p in backbone.physical]
    box = population.box
    cure = "build it from the backbone: LogNormalPopulation(backbone, spread={…})"
    if population.gives is not None:
        have = [name for name, _ in population.gives]
        if have != wanted:
            why = "in another order" if sorted(have) == sorted(wanted) else "by other names"
            raise ValueError(
                f"HybridModel: the population gives ({', '.join(have)}), the backbone reads ({', '.join(wanted)}), {why}; {cure}"
            )
        for (name, unit), parameter in zip(population.gives, backbone.physical, strict=True):
            if factor(unit, parameter.unit, f"HybridModel: the population's {name}") != 1:
                raise ValueError(
                    f"HybridModel: the population gives {name} in {unit} and the backbone reads it in {parameter.unit}; {cure}"
                )
        for parameter, (low, high) in zip(backbone.physical, box.tolist(), strict=True):
            if not (low >= parameter.low - 1e-6 * abs(parameter.low) and high <= parameter.high + 1e-6 * abs(parameter.high)):
                raise ValueError(
                    f"HybridModel: the population gives {parameter.name} from {low:g} to {high:g} {parameter.unit} and the box "
                    f"of the backbone is {parameter.low:g} to {parameter.high:g}; {cure}, or give the backbone that box"
                )
    elif box.shape[0] != len(wanted):
        raise ValueError(
            f"HybridModel: the backbone reads {len(wanted)} parameters and the population gives {box.shape[0]}; {cure}"
        )
    else:
        for parameter, (low, high) in zip(backbone.physical, box.tolist(), strict=True):
            # one number, by position alone: where it could not be this parameter it is another one's
            if low == high and not parameter.low <= low <= parameter.high:
                raise ValueError(
                    f"HybridModel: {parameter.name} is {low:g} {parameter.unit}, its box {parameter.low:g}–{parameter.high:g}; "
                    "likely the values stand in another order: SharedPopulation(backbone, values={…}) takes them by name"
                )


def standardising(
    given: Mapping[str, Sequence[Any]],
) -> tuple[dict[str, tuple[float, float]], dict[str, str | None]]:
    """Centre and size of each covariate that the residual sees, and its unit, None where it was not said."""
    require_kind(given, Mapping, "HybridModel: covariates", '{"WT": (70.0, 20.0, "kg")}, centre, size and their unit')
    for name, value in given.items():
        require_text(name, "HybridModel: covariates, each name", '{"WT": (70.0, 20.0, "kg")}')
        whole = isinstance(value, Sized) and not isinstance(value, str | Mapping | set) and len(value) in (2, 3)
        if whole:
            for what, number in zip(("centre", "size"), value, strict=False):
                require_number(number, f"HybridModel: the covariate {quote(name)}: its {what}")
        if not whole or not float(value[1]) > 0.0:
            raise ValueError(
                f"HybridModel: the covariate {quote(name)} needs centre, positive size and their unit, as in "
                f'{{"WT": (70.0, 20.0, "kg")}}, and is {str(value)[:80]}'
            )
    numbers = {name: (float(v[0]), float(v[1])) for name, v in given.items()}
    units = {name: require(v[2], f"HybridModel: covariate {name}") if len(v) == 3 else None for name, v in given.items()}
    return numbers, units
