"""From a backbone's name and a table to a model: the defaults of the shell and of the demo, in one place.

A script needs none of this: it builds its own `HybridModel`, as `examples/theophylline.py` does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from homeostat.study.alone import Alone, ErrorModel
from homeostat.study.backbones import observation_of, require_driven
from hybrid import HybridModel, Mesh, States
from hybrid.schedules.dose import as_float
from learned import MLP, Combined1, Combined2, Constant, NoiseHead
from physics import (
    Backbone,
    LinearBackbone,
    LogNormal,
    LogNormalPopulation,
    MixedPopulation,
    Normal,
    Population,
    PowerOf,
    SharedPopulation,
)
from physics.effects import Effect
from physics.glance import glance
from training import Record, Start, starting_values
from training.people.conversion import in_units

_SPREAD = 0.3  # of log θ between people, where a backbone does not say


@dataclass(frozen=True)
class Recipe:
    """A model with one member, not trained, the mesh that its solver needs, and where its typical values come from."""

    name: str
    model: HybridModel
    mesh: Mesh
    start: Start | None = None

    __repr__, _repr_html_ = glance()


def hybrid_recipe(
    backbone: Backbone,
    records: Sequence[Record],
    *,
    hidden: Sequence[int] = (8,),
    with_residual: bool = True,
    alone: Alone | None = None,
) -> Recipe:
    """The backbone, log-normal people around typical parameters from the data, and a small tanh residual with ε(0) = 0.

    `alone`: no residual, and a population and noise as it says, whose spread is learned.

    The model is in the backbone's units, and so are its scales: the records are read in them. All records say where the fit
    starts, those of people too whom a member will never see: a start, like the scale of the noise, is forgotten by a fit
    that converges.
    """
    require_driven(backbone, set.intersection(*(set(r.schedule.inputs) for r in records)))
    powers = _powers(backbone, records)
    population, observation = _population(backbone, powers, alone), observation_of(backbone, records[0].channels)
    own = dict(zip(backbone.states, backbone.state_units, strict=True))
    channels = {name: unit or own[name] for name, unit in zip(observation.channels, observation.units, strict=True)}
    records = [in_units(record, backbone, channels, population.covariates) for record in records]
    start = starting_values(records, backbone, powers)
    backbone = start.backbone
    population = _population(backbone, powers, alone)
    residual = None
    if with_residual and alone is None:
        residual = MLP(
            hidden=hidden,
            # amounts stay ≥ 0 if a compartment's residual vanishes where it is empty
            separable=backbone.defaults.amounts,
            state_scale=_state_scale(backbone, records),
            rate_scale=_slowest(backbone),
        )
    noise = noise_for(records, "combined2" if alone is None else alone.error)
    model = HybridModel(backbone, population, residual, observation=observation, noise=noise)
    name = "population alone" if alone is not None else "hybrid" if with_residual else "backbone alone"
    return Recipe(name, model, Mesh.of(model, records), start)


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


def noise_for(records: Sequence[Record], error: ErrorModel = "combined2") -> NoiseHead:
    """Noise that starts at a sixth of a channel's spread, a tenth of its value beside it unless the error is additive, with a
    floor of one in a hundred.
    """
    spread = np.nanstd(np.concatenate([r.values[r.scored] for r in records]), axis=0)
    spread = np.where(np.isfinite(spread) & (spread > 0), spread, 1.0)
    additive, floor = (spread / 6).tolist(), (spread / 100).tolist()
    if error == "additive":
        return Constant(additive, floor)
    head = Combined1 if error == "combined1" else Combined2
    return head(additive, [0.1] * len(spread), floor)


def _powers(backbone: Backbone, records: Sequence[Record]) -> dict[str, dict[str, tuple[float, float, str]]]:
    """The covariate powers that the backbone knows, of covariates that everyone has."""
    found: dict[str, dict[str, tuple[float, float, str]]] = {}
    for parameter, by in backbone.defaults.powers.items():
        for name, power in by.items():
            if all(name in r.covariates for r in records):
                found.setdefault(parameter, {})[name] = power
    return found


def _population(
    backbone: Backbone, powers: Mapping[str, Mapping[str, Sequence[Any]]], alone: Alone | None = None
) -> Population:
    if not backbone.physical and alone is None:
        return SharedPopulation()
    spread = {p.name: backbone.defaults.spread.get(p.name, _SPREAD) for p in backbone.physical}
    if alone is None and all(p.positive for p in backbone.physical):
        return LogNormalPopulation(backbone, spread, powers)
    # of one that may be negative, the same part of its typical size
    effects: dict[str, Effect] = {
        p.name: LogNormal(spread[p.name])
        if p.positive
        else Normal(spread[p.name] * (abs(p.typical) or 0.25 * (p.high - p.low)))
        for p in backbone.physical
    }
    covariates = {
        parameter: [PowerOf(name, float(given[0]), float(given[1]), *given[2:3]) for name, given in by.items()]
        for parameter, by in powers.items()
    }
    if alone is not None:
        return alone.population(backbone, effects, covariates)
    return MixedPopulation(backbone, effects, covariates=covariates, learn_spread=False)


def _state_scale(backbone: Backbone, records: Sequence[Record]) -> list[float]:
    amounts = [as_float(d.amount) for r in records for d in r.schedule.given]
    if amounts:
        return [float(np.median(amounts))] * len(backbone.states)
    values = np.abs(np.concatenate([r.values for r in records]))
    return [float(np.nanmedian(values[values > 0]))] * len(backbone.states)


def _slowest(backbone: Backbone) -> float:
    """The slowest typical rate: what a residual may change without overruling the backbone."""
    typical = [p.typical for p in backbone.physical]
    A, _ = backbone.matrices(torch.tensor(typical, dtype=torch.float64))
    return float((-torch.linalg.eigvals(A).real).min())
