"""What tests of the twin build: bundles that were never trained, and the events of people."""

from collections.abc import Sequence
from typing import Any

import torch

from exchange import Bundle, Person
from hybrid import HybridModel, Mesh, Schedule, Signal, States
from learned import MLP, Constant, DiagonalDiffusion, Ensemble, Residual
from physics import LinearBackbone, SharedPopulation
from tests.builders import oral_of
from training import Personal
from twin.log import Event

HOUR = 3_600_000_000
START = 1_790_000_000_000_000  # µs: in September 2026
NOW = START + 1000 * 24 * HOUR  # when all of it has long happened


def bundle_of(model: HybridModel, ids: Sequence[str] = (), *, nonnegative: Sequence[str] = ()) -> Bundle:
    """A model as a bundle, with people of whom nothing but the population is known."""
    M, N, d, p = model.members, len(ids), model.personal, len(model.observation.channels)
    zeros = torch.zeros(M, N, d, dtype=torch.float64)
    eye = torch.eye(d, dtype=torch.float64).expand(M, N, d, d).clone()
    known = Personal(zeros, eye, zeros[..., :0].sum(-1), torch.ones(M, N, dtype=torch.bool), ids=tuple(ids))
    given = Schedule(inputs={name: Signal((0.0,), (1.0,)) for name in model.backbone.inputs})
    people = tuple(Person(id, given, {}, (float("nan"),) * p) for id in ids)
    return Bundle(model, people, known, Mesh(), nonnegative=tuple(nonnegative))


def oral_bundle(members: int = 1, ids: Sequence[str] = (), *, residual: Residual | None = None, **parts: Any) -> Bundle:
    """One compartment by mouth (h, mg, mg/L), η of three, a residual, process noise in plasma."""
    residual = residual or MLP(2, hidden=(4,), separable=True, state_scale=300.0, rate_scale=0.1)
    model = oral_of(residual, process=DiagonalDiffusion({"plasma": 6.0}), **parts)
    if members > 1:
        model = Ensemble(members).stack(model, torch.Generator().manual_seed(1))
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():  # members that differ
        for parameter in model.residual.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=g, dtype=torch.float64)
    return bundle_of(model, ids, nonnegative=("concentration",))


def linear_bundle(**parts: Any) -> Bundle:
    """Two states, two inputs, two channels, all of it linear (h, mg)."""
    backbone = LinearBackbone(
        [[-1.0, 0.3], [0.6, -0.5]],
        [[1.0, 0.0], [0.0, -0.4]],
        states=("a", "b"),
        inputs=("u", "v"),
        state_units=("mg", "mg"),
        input_units=("mg/h", "mg/h"),
        time_unit="h",
    )
    model = HybridModel(
        backbone,
        SharedPopulation(),
        observation=States(("a", "b")),
        **{"noise": Constant([0.3, 0.2], [0.05, 0.05]), "process": DiagonalDiffusion([0.4, 0.1]), **parts},
    )
    return bundle_of(model)


def measured(
    patient: str, hours: float, value: float, id: str, *, channel: str = "concentration", unit: str = "mg/L", source: str = "lab",
    version: int = 1,
) -> Event:
    """A measurement so many hours after `START`."""
    return Event(patient, source, id, version, "measurement", START + round(hours * HOUR), channel, value, unit)


def dosed(
    patient: str, hours: float, amount: float, id: str, *, compartment: str = "gut", unit: str = "mg", lasts: float = 0.0,
    source: str = "ward", version: int = 1,
) -> Event:
    """A dose, or an infusion that lasts so many hours."""
    return Event(
        patient, source, id, version, "dose", START + round(hours * HOUR), compartment, amount, unit, round(lasts * HOUR)
    )


def driven(patient: str, hours: float, value: float, id: str, *, name: str, unit: str = "mg/h", source: str = "pump") -> Event:
    """An input from then on."""
    return Event(patient, source, id, 1, "input", START + round(hours * HOUR), name, value, unit)


def withdrawn(event: Event, version: int = 2) -> Event:
    """What takes an event back."""
    return Event(event.patient, event.source, event.id, version, "withdrawal", event.time)
