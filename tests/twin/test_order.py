"""Whatever the order of arrival: what is believed is that of the canonical log, bit for bit."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import pytest

from tests.twin.builders import NOW, dosed, driven, linear_bundle, measured, oral_bundle, withdrawn
from twin import Event, Twin
from twin.log import canonical
from twin.replay import Job, Replay
from twin.snapshots import State


def arrivals(patient: str = "A") -> list[Event]:
    """Two doses and six results, one of them told twice and one corrected: 8 arrivals after the doses."""
    told = ((0.05, 0.4), (0.1, 0.9), (0.15, 1.3), (0.25, 2.0), (0.3, 2.1), (0.5, 2.9))  # near each other: few steps between
    results = [measured(patient, h, v, f"m{h}") for h, v in told]
    again, corrected = results[2], replace(results[3], version=2, value=3.7)
    return [*results, again, corrected]


def doses(patient: str = "A") -> list[Event]:
    return [dosed(patient, 0, 300.0, "d1"), dosed(patient, 0.2, 150.0, "d2")]


def split(events: Sequence[Event], rng: random.Random) -> list[list[Event]]:
    """The same in batches, cut at random."""
    cuts = sorted(rng.sample(range(1, len(events)), rng.randrange(len(events))))
    return [list(events[a:b]) for a, b in zip((0, *cuts), (*cuts, len(events)), strict=True)]


def test_any_order_in_any_batches_gives_the_same_bits() -> None:
    twin, rng = Twin(oral_bundle(2)), random.Random(3)
    wanted = None
    for k in range(6):
        events = [*doses(str(k)), *arrivals(str(k))]
        rng.shuffle(events)
        for batch in split(events, rng):
            changes = twin.arrive(batch, now=NOW)
            assert all(c.verdict in ("new", "duplicate", "older version") for c in changes)
        wanted = wanted or twin.state(str(k))
        assert twin.state(str(k)) == wanted
    # and the state moves with what is told: the test can fail
    twin.arrive(measured("0", 3, 4.2, "one more"), now=NOW)
    assert twin.state("0") != wanted


def test_what_arrives_at_once_is_what_arrives_one_by_one() -> None:
    bundle, everyone = oral_bundle(), [f"P{k}" for k in range(20)]
    together, alone = Twin(bundle), Twin(bundle)
    events = [e for k, id in enumerate(everyone) for e in (doses(id) + arrivals(id))[: 3 + k % 8]]
    random.Random(1).shuffle(events)
    together.arrive(events, now=NOW)
    for event in events:
        alone.arrive(event, now=NOW)
    for id in everyone:
        assert together.state(id) == alone.state(id)
        a, b = together.estimate(id), alone.estimate(id)
        assert (a.channels, a.last, a.overall, a.evidence) == (b.channels, b.last, b.overall, b.evidence)


def test_events_of_one_time_in_any_order() -> None:
    """Measurements, doses and inputs of one time, two of them of the same channel from two sources."""
    twin = Twin(linear_bundle())
    at_once = [
        measured("x", 2, 1.5, "1", channel="a", unit="mg"),
        measured("x", 2, 1.7, "1", channel="a", unit="mg", source="other lab"),
        measured("x", 2, 0.4, "2", channel="b", unit="mg"),
        dosed("x", 2, 3.0, "1", compartment="a"),
        driven("x", 2, 0.9, "3", name="u"),
    ]
    first = [driven("x", 0, 0.5, "1", name="u"), driven("x", 0, 0.2, "2", name="v")]
    last = [measured("x", 3, 2.0, "9", channel="b", unit="mg")]
    states = set()
    for k, order in enumerate(itertools.permutations(at_once)):
        if k % 15:
            continue
        id = f"x{k}"
        for event in (*first, *order, *last):
            twin.arrive(replace(event, patient=id), now=NOW)
        states.add(twin.state(id))
    assert len(states) == 1


def test_withdrawals_and_offsets_end_in_the_state_without_them() -> None:
    bundle = oral_bundle()
    plain, moved = Twin(bundle), Twin(bundle)
    plain.arrive([*doses(), measured("A", 3, 4.0, "m"), measured("A", 5, 3.5, "n")], now=NOW)
    wrong = measured("A", 4, 9.0, "wrong")
    # a clock that is an hour behind: what its stamps say plus an hour is true
    late = [replace(e, time=e.time - 3_600_000_000) for e in (measured("A", 3, 4.0, "m"), measured("A", 5, 3.5, "n"))]
    clock = Event("A", "lab", "clock", 1, "offset", late[0].time - 1, value=1.0, unit="h")
    for event in (*late, wrong, *doses()):
        moved.arrive(event, now=NOW)
    assert moved.state("A") != plain.state("A")
    moved.arrive(withdrawn(wrong), now=NOW)
    change = moved.arrive(clock, now=NOW)[0]
    assert change.moved["concentration"].after != change.moved["concentration"].before
    assert moved.state("A") == plain.state("A")


def remembering(monkeypatch: pytest.MonkeyPatch, twin: Twin) -> None:
    """Compute each step from one time to the next once.

    It is a function of a state and the events of the next time; what depends on the order of arrival, the log, the snapshots and
    from which of them is replayed, is gone through every time.
    """
    known: dict[tuple[bytes, tuple[tuple[object, ...], ...]], State] = {}
    run = Replay.run

    def once(self: Replay, jobs: Sequence[Job]) -> None:
        for job in jobs:
            every = []
            for _, together in groupby(job.events, key=lambda one: one.time):
                events = list(together)
                key = job.state.packed(), tuple((one.time, *one.event.content[1:]) for one in events)
                if key not in known:
                    part = replace(job, events=events)
                    run(self, [part])
                    known[key] = part.state
                job.state = known[key]
                every.append((events[-1].key, job.state))
            kept = job.keep([key[0] for key, _ in every]) | {len(every) - 1}
            job.found, job.replayed = [one for k, one in enumerate(every) if k in kept], len(every)

    monkeypatch.setattr(Replay, "run", once)
    # what is shown of a belief is no part of it
    monkeypatch.setattr(twin, "_estimates", dict)
    monkeypatch.setattr(twin, "_means", lambda asked: {})


def ends_of(twin: Twin, orders: Sequence[Sequence[int]]) -> set[bytes]:
    """The states in which people end whose results arrive in these orders, one by one."""
    events, states = arrivals(), set()
    for k, order in enumerate(orders):
        id = str(k)
        twin.arrive([replace(e, patient=id) for e in doses()], now=NOW)
        for j in order:
            assert twin.arrive(replace(events[j], patient=id), now=NOW)[0].verdict != "refused"
        states.add(twin.state(id))
        twin._memory.people.pop(id)
    return states


def test_three_hundred_orders_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, rng = oral_bundle(), random.Random(11)
    with monkeypatch.context() as patched:
        twin = Twin(bundle)
        remembering(patched, twin)
        found = ends_of(twin, [rng.sample(range(8), 8) for _ in range(300)])
    fresh = Twin(bundle)  # which remembers nothing
    fresh.arrive([*doses(), *arrivals()], now=NOW)
    assert found == {fresh.state("A")}


@pytest.mark.slow
def test_all_forty_thousand_orders_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every order of 6 results, 1 duplicate and 1 correction: some ten minutes."""
    twin = Twin(oral_bundle())
    remembering(monkeypatch, twin)
    orders = list(itertools.permutations(range(8)))
    assert len(orders) == 40_320
    assert len(ends_of(twin, orders)) == 1


def test_the_canonical_log_in_one_piece_gives_the_same_bits() -> None:
    """A replay from the very beginning, of `canonical` itself, without log or snapshots."""
    bundle = oral_bundle(2)
    twin = Twin(bundle)
    events = [*doses(), *arrivals()]
    random.Random(7).shuffle(events)
    for event in events:
        twin.arrive(event, now=NOW)
    person = twin._memory.people["A"]
    job = Job("A", person.known, State(twin._joints.unborn(()), None), canonical(events), person.key)
    twin._memory.replay.run([job])
    assert job.state.packed() == twin.state("A")
