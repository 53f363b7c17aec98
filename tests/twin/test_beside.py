"""Whether a person who is followed looks like the training: event by event as of the whole, and the same in any order."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid import Dose, HybridModel, Schedule
from tests.training.shift.test_shift import people, world
from tests.twin.builders import HOUR, NOW, START, bundle_of, dosed, driven, linear_bundle, measured, oral_bundle
from training import Cohort, personalise
from training.shift import Reference
from training.shift.envelope import Envelope, Events
from training.shift.measured import Spread
from training.shift.seen import distances
from twin import Event, Patient, SqliteLog, Twin
from twin.beside import KEPT, Came, believed_of
from twin.joining import Joints
from twin.log.canonical import Timed

HOURS = tuple(float(h) for h in range(25))


def reference(**parts: Any) -> Reference:
    """Of people dosed once with 300 mg and measured once an hour."""
    once, often = (1.0,) * 25, tuple(h + 1.0 for h in HOURS)
    given = {
        "sampling": Envelope(HOURS, often, often, True),
        "doses gut": Envelope(HOURS, once, once, True),
        "amount gut": Envelope(HOURS, (300.0,) * 25, (300.0,) * 25, False),
    }
    basis = Reference(50, {}, 0.01, {}, {}, given, {}, Spread(50), Spread(50), 0.5, {}, 1.0)
    return replace(basis, **parts)


def looks(twin: Twin, patient: str = "A") -> list[tuple[str, str]]:
    return [(reason.look, reason.name) for reason in twin.estimate(patient).shift.reasons]


def test_event_by_event_is_what_is_said_of_the_whole() -> None:
    """Sums and where they first left, against `Envelope.left` of all events; and levels against the definition of a mean."""
    bundle = linear_bundle()
    joints, rng = Joints.of(bundle.model, ()), np.random.default_rng(3)
    keys = ("sampling", "doses a", "amount a", "points u")
    grid = tuple(np.linspace(0.0, 12.0, 25).tolist())
    least, most = tuple(0.5 * g for g in grid), tuple(1.0 + g for g in grid)
    envelopes = {key: Envelope(grid, least, most, not key.startswith("amount")) for key in keys}
    for trial in range(8):
        events: list[Timed] = []
        for k in range(int(rng.integers(3, 30))):
            hours, kind = float(rng.integers(0, 24)) / 2.0, int(rng.integers(0, 3))
            event = (
                measured("A", hours, 1.0, f"m{k}", channel="a", unit="mg"),
                dosed("A", hours, float(rng.uniform(0.5, 3.0)), f"d{k}", compartment="a"),
                driven("A", hours, float(rng.uniform(0.0, 2.0)), f"i{k}", name="u"),
            )[kind]
            events.append(Timed(event.time, event))
        events.sort(key=lambda one: one.key)
        found = Came.of(reference(envelopes=envelopes), joints, (0.5, 0.0), events)
        assert len(found) <= KEPT
        first = next((one.time for one in events if one.event.kind == "dose"), events[0].time)
        end = (events[-1].time - first) / HOUR
        rows: dict[str, list[tuple[float, float]]] = {}
        for one in events:
            at, event = (one.time - first) / HOUR, one.event
            value = event.value or 0.0
            if event.kind == "measurement":
                if (at, 1.0) not in rows.setdefault("sampling", []):
                    rows["sampling"].append((at, 1.0))
            elif event.kind == "dose":
                rows.setdefault("doses a", []).append((at, 1.0))
                rows.setdefault("amount a", []).append((at, value))
            else:
                rows.setdefault("points u", []).append((at, 1.0))
        came = found[-1].until(events[-1].time, {}).came
        for key, pairs in rows.items():
            times, sizes = (np.array(v) for v in zip(*pairs, strict=True))
            whole = Events(times, sizes, float(times[-1]) if key == "sampling" else end)
            total, left = came[key]
            want = envelopes[key].left(whole)
            assert total == pytest.approx(sizes.sum()), (trial, key)
            assert (left is None) == (want is None), (trial, key, left, want)
            assert left is None or want is None or left == pytest.approx(want)
        level = [0.5] + [one.event.value or 0.0 for one in events if one.event.kind == "input"]
        cuts = [(events[0].time - first) / HOUR] + [(o.time - first) / HOUR for o in events if o.event.kind == "input"] + [end]
        mean, low, high = found[-1].until(events[-1].time, {}).levels["u"]
        assert (low, high) == (min(level), max(level))
        if end > cuts[0]:
            assert mean == pytest.approx(np.dot(level, np.diff(cuts)) / (end - cuts[0]))


def test_the_distance_is_that_of_the_training() -> None:
    """Where curves are linear in η to some thousandths: T and ΣNIS − T of the filter are those of the mode."""
    model: HybridModel = world(spread=(1e-3, 2e-3, 1e-3))
    model.noise = type(model.noise)([0.004], [1e-9], [1e-6])
    records = people(model, 2, seed=3)
    cohort = Cohort.of(records, model)
    own, freedom, rest, left = distances(model, cohort, personalise(model, cohort, tolerance=1e-9))
    bundle = bundle_of(model)
    who = {r.id: Patient(covariates=dict(r.covariates)) for r in records}
    twin = Twin(bundle, people=who, floor={})
    for record in records:
        twin.arrive(_told(record.id, record.schedule, record.times, record.values[:, 0]), now=NOW)
    for i, record in enumerate(records):
        memory = twin._memory
        found = believed_of(memory.people[record.id].known, memory.tip(record.id), 2)
        assert found.own is not None
        assert found.rest is not None
        assert found.freedom is not None
        assert found.left is not None
        assert (found.freedom[0], found.left[0]) == (float(freedom[i]), float(left[i]))
        assert found.own[0] == pytest.approx(float(own[i]), rel=0.05, abs=0.02)
        assert found.own[0] + found.rest[0] == pytest.approx(float(own[i] + rest[i]), rel=0.02)
        known = replace(memory.people[record.id].known, mean=np.full((1, 3), 0.1))
        afresh = believed_of(known, memory.tip(record.id), 2)
        assert afresh.rest is not None
        assert afresh.rest[0] == pytest.approx(found.own[0] + found.rest[0])


def _told(id: str, schedule: Schedule, times: np.ndarray, values: np.ndarray) -> list[Event]:
    doses: tuple[Dose, ...] = schedule.doses
    return [dosed(id, float(d.time), float(d.amount), f"d{k}") for k, d in enumerate(doses)] + [
        measured(id, float(t), float(v), f"m{k}") for k, (t, v) in enumerate(zip(times, values, strict=True))
    ]


def stream() -> list[Event]:
    """Somebody who is measured every quarter of an hour and dosed twice as much."""
    return [dosed("A", 0.0, 600.0, "d")] + [measured("A", 0.25 * k, 4.0 + 0.1 * (k % 3), f"m{k}") for k in range(1, 9)]


def test_the_flag_is_that_of_the_log_in_any_order(tmp_path: Path) -> None:
    """In order, backwards, with results late, reopened, and with the past folded: one sentence."""
    bundle = replace(oral_bundle(), reference=reference(own=Spread(), rest=Spread()))
    events = stream()
    said = []
    for order in (events, events[::-1], events[3:] + events[:3]):
        twin = Twin(bundle)
        for event in order:
            twin.arrive(event, now=NOW)
        said.append(twin.estimate("A").shift)
    file = tmp_path / "people.db"
    for part in (events[:6], events[6:]):
        with SqliteLog(file) as log:
            twin = Twin(bundle, log, horizon=timedelta(hours=1))
            for event in part:
                twin.arrive(event, now=NOW)
            said.append(twin.estimate("A").shift)
    assert all(one == said[0] for one in said)  # after six of them too: what was first too much stays the reason
    assert [(r.look, r.name) for r in said[0].reasons] == [("given", "gut"), ("sampling", "")]
    twin = Twin(bundle)
    twin.arrive(events, now=NOW)
    early = twin.estimate("A", START + HOUR // 2).shift
    assert [r.look for r in early.reasons] == ["given"]  # of that time, and of no later one
    assert twin.estimate("A", START + 30 * HOUR).shift.reasons == said[0].reasons


def test_what_is_withdrawn_is_no_reason() -> None:
    bundle = replace(oral_bundle(), reference=reference(own=Spread(), rest=Spread()))
    twin = Twin(bundle)
    twin.arrive([dosed("A", 0.0, 300.0, "d"), measured("A", 1.0, 4.0, "m")], now=NOW)
    assert twin.estimate("A").shift.flagged is False
    more = dosed("A", 2.0, 900.0, "e")
    (change,) = twin.arrive(more, now=NOW)
    assert change.estimate is not None
    assert change.estimate.shift.flagged is True
    twin.arrive(Event("A", "ward", "e", 2, "withdrawal", more.time), now=NOW)
    assert twin.estimate("A").shift.flagged is False


def test_covariates_members_and_kinetics_are_looked_at() -> None:
    bundle = replace(oral_bundle(members=3), reference=reference(beside={"AGE": (20.0, 60.0)}))
    twin = Twin(bundle, people={"A": Patient(covariates={"AGE": 90.0}), "B": Patient()})
    twin.arrive([dosed("A", 0.0, 300.0, "d"), dosed("B", 0.0, 300.0, "d"), measured("A", 1.0, 4.0, "m")], now=NOW)
    assert twin.estimate("A").shift.looked == ("covariates", "sampling", "given", "kinetics", "disagreement")
    assert ("covariates", "AGE") in looks(twin)
    nobody = twin.estimate("B").shift
    assert nobody.looked == ("given", "disagreement")
    assert "AGE is not known" in nobody.unknown
    seen = twin._ahead.led([twin._asked("A", twin._memory.tip("A"), START + HOUR)])
    apart = float((seen.mean.var(0, correction=0).sum() / seen.noise.mean(0).sum()).sqrt())
    near = replace(bundle, reference=replace(bundle.reference or reference(), apart=apart / 1.6))
    other = Twin(near, people={"A": Patient(covariates={"AGE": 30.0})})
    other.arrive([dosed("A", 0.0, 300.0, "d"), measured("A", 1.0, 4.0, "m")], now=NOW)
    assert "disagreement" in {look for look, _ in looks(other)}
    for k in range(2, 8):  # measurements that nobody's parameters explain
        other.arrive(measured("A", float(k), 80.0 if k % 2 else 0.1, f"w{k}"), now=NOW)
    assert "kinetics" in {look for look, _ in looks(other)}


def test_a_bundle_that_does_not_say_what_its_training_was_says_so() -> None:
    twin = Twin(oral_bundle())
    (change,) = twin.arrive(measured("A", 1.0, 4.0, "m"), now=NOW)
    assert change.estimate is not None
    shift = change.estimate.shift
    assert shift.flagged is None
    assert "not known: nothing says what the training looked like" in shift.sentence()
    assert change.estimate.to_dict()["shift"]["flagged"] is None
