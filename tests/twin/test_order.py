"""Whatever the order of arrival: what is believed is that of the canonical log, bit for bit."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.twin.builders import HOUR, NOW, START, dosed, driven, linear_bundle, measured, oral_bundle, withdrawn
from twin import Event, Twin
from twin.descent import Job
from twin.log import canonical
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
    for k in range(4):
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
    bundle, everyone = oral_bundle(), [f"P{k}" for k in range(16)]  # more than a block holds
    together, alone = Twin(bundle), Twin(bundle)
    events = [e for k, id in enumerate(everyone) for e in (doses(id) + arrivals(id))[: 3 + k % 4]]
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
        if k % 24:
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
    assert moved.arrive(measured("A", 7, 3.0, "seven"), now=NOW)[0].effective == START + 7 * HOUR
    moved.arrive(withdrawn(measured("A", 7, 3.0, "seven")), now=NOW)
    change = moved.arrive(clock, now=NOW)[0]
    seven = moved.arrive(measured("A", 7, 3.0, "again"), now=NOW)[0]
    assert seven.effective == START + 8 * HOUR  # by the clock that is known now
    moved.arrive(withdrawn(measured("A", 7, 3.0, "again")), now=NOW)
    assert change.moved["concentration"].after != change.moved["concentration"].before
    assert moved.state("A") == plain.state("A")


def test_fifteen_orders_one_by_one() -> None:
    bundle, rng, everyone = oral_bundle(), random.Random(11), [str(k) for k in range(15)]
    twin, fresh = Twin(bundle), Twin(bundle)
    twin.arrive([e for id in everyone for e in doses(id)], now=NOW)
    orders = [rng.sample(arrivals(id), 8) for id in everyone]
    for together in zip(*orders, strict=True):  # one of everybody's: to each of them they come one by one
        assert all(c.verdict != "refused" for c in twin.arrive(together, now=NOW))
    fresh.arrive([*doses(), *arrivals()], now=NOW)
    assert {twin.state(id) for id in everyone} == {fresh.state("A")}


def all_that_counts(twin: Twin, id: str) -> tuple[object, ...]:
    """Everything of a person that what the twin does next is computed from: snapshots, what the log holds, the base."""
    person = twin._memory.people[id]
    rows = twin.log._database.run("SELECT * FROM live WHERE patient = ?", (id,)).fetchall()
    kept = (tuple(person.snapshots.keys), tuple(person.snapshots.packed), person.trouble, person.known.packed())
    return (*kept, tuple(tuple(v for v in row if v != id) for row in rows), twin.log.base(id))


@pytest.mark.slow
def test_all_forty_thousand_orders_end_in_the_same_bits() -> None:
    """Every order of 6 results, 1 duplicate and 1 correction, one by one.

    An order is a way through the sets of what has arrived, from none to all, one event a step. Each of the 1,024 steps of such
    ways is taken here, in full, by somebody of their own: who comes to one set by any last event has the same snapshots and
    the same rows in the log, to the bit. What comes next is computed from these alone, so by induction all ways that meet in
    a set go on as one; and the ways from none to all are the 40,320 orders.
    """
    events, everything = arrivals(), frozenset(range(8))
    sets = [frozenset(s) for size in range(8) for s in itertools.combinations(range(8), size)]
    steps = [(arrived, last) for arrived in sets for last in sorted(everything - arrived)]
    ways = {frozenset[int](): 1}
    for arrived, last in steps:  # smaller sets first
        ways[arrived | {last}] = ways.get(arrived | {last}, 0) + ways[arrived]
    assert (len(steps), ways[everything]) == (1024, 40_320)
    twin = Twin(oral_bundle(), block=64)
    ids = {step: f"{sorted(step[0])} then {step[1]}" for step in steps}
    twin.arrive([e for id in ids.values() for e in doses(id)], now=NOW)
    for k in range(8):
        orders = ((id, [*sorted(arrived), last]) for (arrived, last), id in ids.items())
        together = [replace(events[order[k]], patient=id) for id, order in orders if k < len(order)]
        assert all(c.verdict != "refused" for c in twin.arrive(together, now=NOW))
    reached: dict[frozenset[int], set[tuple[object, ...]]] = {}
    for (arrived, last), id in ids.items():
        reached.setdefault(arrived | {last}, set()).add(all_that_counts(twin, id))
    assert {len(found) for found in reached.values()} == {1}
    assert len({next(iter(found)) for found in reached.values()}) > 64  # sets differ: the test can fail


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
