"""A night on a ward, followed: blood is drawn all night; the laboratory answers hours later, once wrongly, once of somebody else.

    python examples/follow.py [--out runs/follow]

Everybody is simulated, so that the truth is known. Two capsules of a drug are given, at 20:00 and at 2:00; how much of it is in
the blood is moved by chance as well, so that no curve that was fitted in the evening tells what is there in the morning.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import torch

from exchange import Bundle
from hybrid import Concentration, Dose, HybridModel, Schedule, conditions_of, sample_paths
from learned import AdditiveProportional, DiagonalDiffusion
from physics import LogNormalPopulation, OneCompartmentOral
from training import Cohort, Record, personalise
from twin.log import Event

EVENING = datetime(2026, 3, 1, 20, tzinfo=UTC)
PATIENTS = ("anna", "ben", "carla", "dan")
GIVEN = Schedule((Dose("gut", 0.0, 320.0), Dose("gut", 6.0, 320.0)))
DRAWN = (1.0, 2.0, 3.5, 5.0, 6.5, 8.0, 9.0, 10.0)  # h after 20:00
FINE = tuple(np.arange(0.1, 12.01, 0.1).round(1).tolist())


def micros(hours: float) -> int:
    """A time of the night, in h after 20:00, as whole microseconds since 1970."""
    return round((EVENING + timedelta(hours=hours)).timestamp()) * 1_000_000


def clock(time: int) -> datetime:
    """The inverse, for a picture."""
    return datetime.fromtimestamp(time / 1_000_000, UTC)


def ward_model() -> HybridModel:
    """What is known of the drug: absorbed and eliminated at rates of each person's own, and moved by 9 mg/√h of chance."""
    backbone = OneCompartmentOral()
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone, spread={"ka": 0.4, "ke": 0.3, "V": 0.2}),
        observation=Concentration("plasma", "V", channel="concentration", unit="mg/L"),
        noise=AdditiveProportional(additive=[0.25], proportional=[0.05], floor=[0.03]),
        process=DiagonalDiffusion({"plasma": 9.0}),
    )


def paths(
    model: HybridModel, people: int, times: tuple[float, ...], generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """People drawn from the model: what is in their blood, and what a laboratory would say of it, each (N, T), mg/L."""
    given = conditions_of(model, [GIVEN] * people, [times] * people)
    eta = torch.randn(1, people, model.personal, generator=generator, dtype=torch.float64)
    drawn = sample_paths(model, given, eta, 1, generator)
    return drawn.mean[0, 0, :, :, 0].numpy(), drawn.measurement[0, 0, :, :, 0].numpy()


def ward_bundle(model: HybridModel, generator: torch.Generator) -> Bundle:
    """The model with twelve people of earlier nights; whoever comes tonight is a draw of its population."""
    _, values = paths(model, 12, DRAWN, generator)
    units = {"time": "h", "dose": "mg", "concentration": "mg/L"}
    records = [
        Record(f"earlier {k + 1}", GIVEN, DRAWN, row, "concentration", units=units) for k, row in enumerate(values)
    ]
    cohort = Cohort.of(records, model)
    return Bundle.of(model, cohort, personalise(model, cohort), provenance={"made by": "examples/follow.py"})


@dataclass(frozen=True)
class Arrival:
    """When an event came, in h after 20:00, and what it was."""

    hours: float
    event: Event


def ward_night(values: np.ndarray, seed: int) -> list[Arrival]:
    """What came in, in the order in which it did: capsules at once, results of blood one to four and a half hours later."""
    chance = random.Random(seed)
    came = []
    for k, who in enumerate(PATIENTS):
        for n, dose in enumerate(GIVEN.doses):
            time = micros(float(dose.time))
            event = Event(who, "ward", f"capsule {n + 1}", 1, "dose", time, "gut", float(dose.amount), "mg")
            came.append(Arrival(float(dose.time) + 0.02, event))
        for n, hours in enumerate(DRAWN):
            value = round(max(float(values[k, n]), 0.0), 2)
            result = Event(who, "lab", f"tube {n + 1}", 1, "measurement", micros(hours), "concentration", value, "mg/L")
            came.append(Arrival(hours + chance.uniform(1.0, 4.5), result))
    return sorted(_mistaken(came), key=lambda arrival: arrival.hours)


def _mistaken(came: list[Arrival]) -> list[Arrival]:
    """Anna's third tube is typed with its point in the wrong place and corrected; Ben's fourth was Carla's, and is taken back."""
    found = []
    for arrival in came:
        event = arrival.event
        if (event.patient, event.id) == ("anna", "tube 3") and event.value is not None:
            found.append(Arrival(arrival.hours, _other(event, value=round(event.value / 10.0, 3))))
            found.append(Arrival(arrival.hours + 2.0, _other(event, version=2)))
        elif (event.patient, event.id) == ("ben", "tube 4") and event.value is not None:
            found.append(Arrival(arrival.hours, _other(event, value=round(event.value * 1.8, 2))))
            found.append(Arrival(arrival.hours + 1.5, Event("ben", "lab", "tube 4", 2, "withdrawal", event.time)))
        else:
            found.append(arrival)
    return found


def _other(event: Event, *, value: float | None = None, version: int = 1) -> Event:
    value = event.value if value is None else value
    return Event(event.patient, event.source, event.id, version, event.kind, event.time, event.name, value, event.unit)
