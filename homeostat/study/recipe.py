"""From a backbone's name and a table to a model: the defaults of the shell and of the demo, in one place.

A script needs none of this: it builds its own `HybridModel`, as `examples/theophylline.py` does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hybrid import Concentration, HybridModel, Mesh, Observation, States
from hybrid.dose import as_float
from learned import MLP, AdditiveProportional
from physics import (
    BACKBONES,
    Backbone,
    LinearBackbone,
    LogNormalPopulation,
    OneCompartmentOral,
    Population,
    SharedPopulation,
)
from physics.arguments import quote
from training import Record, Start, starting_values
from training.people.conversion import in_units


@dataclass(frozen=True)
class Recipe:
    """A model with one member, not trained, the mesh that its solver needs, and where its typical values come from."""

    name: str
    model: HybridModel
    mesh: Mesh
    start: Start | None = None


def backbone_named(name: str, config: Mapping[str, Any] | None = None) -> Backbone:
    """A built-in backbone by its class name. Errors: `ValueError` that lists the names."""
    known = {b.__name__: b for b in BACKBONES}
    if name not in known:
        raise ValueError(f"unknown backbone {quote(name)}; choose one of {', '.join(known)}")
    if config is not None and not isinstance(config, Mapping):
        raise ValueError(
            f"{name}: its constructor's arguments do not fit: they go by name, and are {quote(config)}; write a JSON object, as "
            '{"A": [[-1.0]], "states": ["x"]} for a LinearBackbone: see --backbone-config'
        )
    try:
        return known[name](**(config or {}))
    except TypeError as error:
        raise ValueError(f"{name}: its constructor's arguments do not fit ({error}); see --backbone-config") from error


def hybrid_recipe(
    backbone: Backbone,
    records: Sequence[Record],
    *,
    hidden: Sequence[int] = (8,),
    with_residual: bool = True,
) -> Recipe:
    """The backbone, log-normal people around typical parameters from the data, and a small tanh residual with ε(0) = 0.

    The model is in the backbone's units, and so are its scales: the records are read in them. All records say where the fit
    starts, those of people too whom a member will never see: a start, like the scale of the noise, is forgotten by a fit
    that converges.
    """
    powers = _powers(backbone, records)
    population, observation = _population(backbone, powers), _observation(backbone, records)
    own = dict(zip(backbone.states, backbone.state_units, strict=True))
    channels = {name: unit or own[name] for name, unit in zip(observation.channels, observation.units, strict=True)}
    records = [in_units(record, backbone, channels, population.covariates) for record in records]
    start = starting_values(records, backbone, powers)
    backbone = start.backbone
    population = _population(backbone, powers)
    residual = None
    if with_residual:
        residual = MLP(
            hidden=hidden,
            # amounts stay ≥ 0 if a compartment's residual vanishes where it is empty
            separable=not isinstance(backbone, LinearBackbone),
            state_scale=_state_scale(backbone, records),
            rate_scale=_slowest(backbone),
        )
    noise = noise_for(records)
    model = HybridModel(backbone, population, residual, observation=observation, noise=noise)
    return Recipe("hybrid" if with_residual else "backbone alone", model, Mesh.of(model, records), start)


def neural_ode_recipe(backbone: Backbone, records: Sequence[Record], *, hidden: Sequence[int] = (12,)) -> Recipe:
    """No physics: dx/dt is a network of the state, the person's covariates and three latents.

    Times and doses are in the backbone's units, what is observed in the records'. What remains of a backbone is a leak of
    1/100 h, so weak that it decides nothing within a record; the network changes every state from every state. It reads the
    same doses and measures the same channel.
    """
    n = len(backbone.states)
    channels = {c: records[0].units.get(c, "1") for c in records[0].channels}
    records = [in_units(record, backbone, channels, {}) for record in records]
    units = list(backbone.state_units)
    p = len(records[0].channels)
    observed = list(range(n - p, n))
    for index, channel in zip(observed, records[0].channels, strict=True):
        units[index] = records[0].units.get(channel, "1")
    leak = LinearBackbone(
        (-0.01 * torch.eye(n)).tolist(), states=backbone.states, state_units=units, time_unit=backbone.time_unit
    )
    scale = _state_scale(backbone, records)
    values = np.concatenate([r.values for r in records])
    for index in observed:
        scale[index] = float(np.nanstd(values[:, index - (n - p)]))
    covariates = {}
    for name in sorted(set.intersection(*(set(r.covariates) for r in records))):
        column = np.array([r.covariates[name] for r in records])
        if column.std() > 0:
            unit = records[0].units.get(name)
            numbers = (float(column.mean()), float(column.std()))
            covariates[name] = numbers if unit is None else (*numbers, unit)
    latents = 3
    residual = MLP(n, covariates=len(covariates) + latents, hidden=hidden, state_scale=scale, rate_scale=1.0)
    model = HybridModel(
        leak,
        SharedPopulation(),
        residual,
        observation=States(observed, records[0].channels, [units[i] for i in observed]),
        noise=noise_for(records),
        latents=latents,
        covariates=covariates,
    )
    return Recipe("neural ODE alone", model, Mesh(step=1.5, first=0.3, growth=0.5))


def noise_for(records: Sequence[Record]) -> AdditiveProportional:
    """Noise that starts at a sixth of a channel's spread plus a tenth of its value, with a floor of one in a hundred."""
    spread = np.nanstd(np.concatenate([r.values[r.scored] for r in records]), axis=0)
    spread = np.where(np.isfinite(spread) & (spread > 0), spread, 1.0)
    return AdditiveProportional((spread / 6).tolist(), [0.1] * len(spread), (spread / 100).tolist())


def _powers(backbone: Backbone, records: Sequence[Record]) -> dict[str, dict[str, tuple[float, float, str]]]:
    """Where everyone was weighed, volumes go with the weight, and a clearance with its power .75, at 70 kg.

    Source: Anderson & Holford, Annu. Rev. Pharmacol. Toxicol. 48 (2008) 303.
    """
    if not isinstance(backbone, OneCompartmentOral) or not all("WT" in r.covariates for r in records):
        return {}
    return {"V": {"WT": (70.0, 1.0, "kg")}, **({"CL": {"WT": (70.0, 0.75, "kg")}} if backbone.by_clearance else {})}


def _population(backbone: Backbone, powers: Mapping[str, Mapping[str, Sequence[Any]]]) -> Population:
    if not backbone.physical:
        return SharedPopulation()
    if isinstance(backbone, OneCompartmentOral):
        # Between-person coefficients of variation of oral theophylline: about 60 % in ka and 20 % in ke and V/weight
        # (Davidian & Giltinan 1995, chapter 5, give .64, .2 and .13 on the log scale for this table)
        spread = {"ka": 0.6, "CL" if backbone.by_clearance else "ke": 0.2, "V": 0.2}
        return LogNormalPopulation(backbone, spread, powers)
    raise ValueError(
        f"{type(backbone).__name__} needs inputs or covariates that a table of doses does not hold; build its model in "
        "Python, as examples/cpeptide.py does for VanCauter"
    )


def _observation(backbone: Backbone, records: Sequence[Record]) -> Observation:
    channels = records[0].channels
    if isinstance(backbone, OneCompartmentOral):
        if len(channels) != 1:
            raise ValueError(
                f"OneCompartmentOral is observed through one concentration, the table has {list(channels)}"
            )
        return Concentration("plasma", "V", channels[0], "mg/L")
    missing = [c for c in channels if c not in backbone.states]
    if missing:
        raise ValueError(
            f"channels {missing} are no states of {type(backbone).__name__}; name its states like the channels"
        )
    return States(channels)


def _state_scale(backbone: Backbone, records: Sequence[Record]) -> list[float]:
    amounts = [as_float(d.amount) for r in records for d in r.schedule.doses]
    if amounts:
        return [float(np.median(amounts))] * len(backbone.states)
    values = np.abs(np.concatenate([r.values for r in records]))
    return [float(np.nanmedian(values[values > 0]))] * len(backbone.states)


def _slowest(backbone: Backbone) -> float:
    """The slowest typical rate: what a residual may change without overruling the backbone."""
    typical = [p.typical for p in backbone.physical]
    A, _ = backbone.matrices(torch.tensor(typical, dtype=torch.float64))
    return float((-torch.linalg.eigvals(A).real).min())
