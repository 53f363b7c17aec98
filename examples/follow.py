"""A night on a ward, followed: blood is drawn all night; the laboratory answers hours later, once wrongly, once of somebody else.

    python examples/follow.py [--out runs/follow]

Everybody is simulated, so that the truth is known. Two capsules of a drug are given, at 20:00 and at 2:00; how much of it is in
the blood is moved by chance as well, so that no curve that was fitted in the evening tells what is there in the morning.
"""

import argparse
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure

from exchange import Bundle, save
from hybrid import Concentration, Dose, HybridModel, Schedule, conditions_of, sample_paths
from learned import AdditiveProportional, DiagonalDiffusion
from physics import LogNormalPopulation, OneCompartmentOral
from training import Cohort, Record, personalise
from twin import Change, Estimate, Twin
from twin.log import Event, as_line

EVENING = datetime(2026, 3, 1, 20, tzinfo=UTC)
PATIENTS = ("anna", "ben", "carla", "dan")
GIVEN = Schedule((Dose("gut", 0.0, 320.0), Dose("gut", 6.0, 320.0)))
HOURS = tuple(np.arange(0.5, 13.01, 0.5).tolist())  # h after 20:00: when the twin is asked
DRAWN = (1.0, 2.0, 3.5, 5.0, 6.5, 8.0, 9.0, 10.0)  # when blood is drawn
CORRECTED, WITHDRAWN = ("anna", "tube 3"), ("ben", "tube 4")  # two wrong results
ASKED = ("anna", "ben")  # of whom the twin is asked each half hour


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
        Record(f"earlier {k + 1}", GIVEN, DRAWN, row, "concentration", units=units, nonnegative=("concentration",))
        for k, row in enumerate(np.maximum(values, 0.0))
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
    """Of anna's third tube the result is typed with its point in the wrong place, and corrected; ben's fourth was somebody else's
    blood, and is withdrawn."""
    found = []
    for arrival in came:
        event, hours = arrival.event, arrival.hours
        if (event.patient, event.id) == CORRECTED:
            found += [Arrival(hours, _other(event, 0.1)), Arrival(hours + 2.0, _other(event, version=2))]
        elif (event.patient, event.id) == WITHDRAWN:
            gone = Event(event.patient, event.source, event.id, 2, "withdrawal", event.time)
            found += [Arrival(hours, _other(event, 1.8)), Arrival(hours + 1.5, gone)]
        else:
            found.append(arrival)
    return found


def _other(event: Event, factor: float = 1.0, version: int = 1) -> Event:
    assert event.value is not None
    value = round(event.value * factor, 3)
    return Event(event.patient, event.source, event.id, version, event.kind, event.time, event.name, value, event.unit)


@dataclass(frozen=True)
class Night:
    """What the twin answered: to every arrival, and each half hour when it was asked what is in the blood now, by person."""

    changes: list[Change]
    asked: dict[str, list[Estimate]]


def follow(twin: Twin, night: list[Arrival]) -> Night:
    """The night as it was: events when they came, each answered in a line that begins with the time of its arrival."""
    changes, asked, waiting = [], {who: list[Estimate]() for who in ASKED}, list(night)
    for hour in HOURS:
        while waiting and waiting[0].hours <= hour:
            arrival = waiting.pop(0)
            (change,) = twin.arrive(arrival.event, now=micros(arrival.hours))
            changes.append(change)
            print(in_words(arrival, change))
        for who in ASKED:
            asked[who].append(twin.estimate(who, micros(hour)))
    changes += [change for arrival in waiting for change in twin.arrive(arrival.event, now=micros(arrival.hours))]
    return Night(changes, asked)


def in_words(arrival: Arrival, change: Change) -> str:
    """When it came, what it was, what is believed of the person's newest event, and what was before, where that is another."""
    event, estimate = arrival.event, change.estimate
    assert estimate is not None
    band, moved = estimate.channels["concentration"], change.moved.get("concentration")
    what = f"{event.patient:<5}  {event.kind:<11} {event.id:<9} of {clock(event.time):%H:%M}"
    said = f"{band.mean:5.2f} [{band.low:5.2f}, {band.high:5.2f}] mg/L at {clock(estimate.time):%H:%M}"
    return f"{clock(micros(arrival.hours)):%H:%M}  {what}   {said}" + (
        "" if moved is None else f", before it {moved.before:5.2f}"
    )


def distance(estimates: dict[str, list[Estimate]], truth: np.ndarray) -> float:
    """The mean distance of what was said from what was in the blood, over half hours, mg/L."""
    said = np.array([[e.channels["concentration"].mean for e in estimates[who]] for who in ASKED])
    return float(np.abs(said - truth[[PATIENTS.index(who) for who in ASKED]]).mean())


def picture(
    night: list[Arrival], then: list[Estimate], later: list[Estimate], truth: np.ndarray, who: str, axes: Axes
) -> None:
    """One person: what was in the blood, what was said of it on the night and had nothing been late, and the results."""
    times = [clock(estimate.time) for estimate in later]
    bands = [estimate.channels["concentration"] for estimate in later]
    axes.fill_between(
        times, [b.low for b in bands], [b.high for b in bands], color="#d3e3f0", label="had nothing been late, 90 %"
    )
    axes.plot(times, [b.mean for b in bands], color="#0b4a7a", label="its mean")
    axes.plot(times, truth, color="#1b2733", linestyle=":", label="what was in the blood")
    said = [e.channels["concentration"].mean for e in then]
    axes.plot(times, said, color="#c2570c", drawstyle="steps-mid", label="said on the night")
    for arrival in night:
        event = arrival.event
        if event.patient != who or event.kind != "measurement":
            continue
        wrong = event.version == 1 and (who, event.id) in (CORRECTED, WITHDRAWN)
        drawn, came = clock(event.time), clock(micros(arrival.hours))
        mark, meant = ("x", "a wrong result") if wrong else ("o", "a result: drawn, and when it came")
        axes.plot(
            [drawn, came], [event.value] * 2, mark + "-", color="#5b6772", linewidth=0.7, markevery=[0], label=meant
        )
    axes.set(title=who, ylabel="concentration (mg/L)", xlim=(times[0], times[-1]), ylim=(0.0, None))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """The night, in words, as files and as a picture; the mean distances that the last lines print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/follow"), help="where the bundle, the stream and the picture go"
    )
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(7)
    model = ward_model()
    bundle = ward_bundle(model, generator)
    truth, values = paths(model, len(PATIENTS), HOURS, generator)
    night = ward_night(values[:, [HOURS.index(hour) for hour in DRAWN]], seed=3)

    # what the shell follows: homeostat follow runs/follow/model.twin --stream runs/follow/night.ndjson
    save(bundle, out / "model.twin")
    (out / "night.ndjson").write_text("".join(f"{as_line(arrival.event)}\n" for arrival in night), encoding="utf-8")

    twin = Twin(bundle)
    found = follow(twin, night)
    later = {who: twin.track(who, [micros(hour) for hour in HOURS]) for who in ASKED}
    said = {"on the night": distance(found.asked, truth), "had nothing been late": distance(later, truth)}
    print(
        "\nmean distance from what was in the blood, mg/L: "
        + ", ".join(f"{name} {value:.2f}" for name, value in said.items())
    )

    # the order in which things come is no part of what is believed
    orderly = Twin(bundle)
    orderly.arrive(
        arrival.event for arrival in sorted(night, key=lambda arrival: (arrival.event.time, arrival.event.version))
    )
    same = all(orderly.state(who) == twin.state(who) for who in PATIENTS)
    print(f"the same events in order: {'the same belief of everybody, to the bit' if same else 'ANOTHER BELIEF'}")

    figure = Figure(figsize=(8.0, 6.4), layout="constrained")
    for axes, who in zip(figure.subplots(2, 1, sharex=True), ASKED, strict=True):
        picture(night, found.asked[who], later[who], truth[PATIENTS.index(who)], who, axes)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    meant = dict(zip(labels, handles, strict=True))
    figure.legend(meant.values(), meant.keys(), loc="outside lower center", ncols=3, fontsize="small")
    figure.savefig(out / "follow.png", dpi=120)
    print(f"written: {out / 'model.twin'}, {out / 'night.ndjson'}, {out / 'follow.png'}")
    return {**said, "same": float(same)}


if __name__ == "__main__":
    main()
