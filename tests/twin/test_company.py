"""Nobody's bits depend on who else is followed, on the number of threads, or on where in a block they stand."""

import math
import random
from typing import Any

import pytest
import torch

from benchmarks.twin import bundle_of as chain_of
from exchange import Bundle
from tests.twin.builders import NOW, dosed, driven, linear_bundle, measured, oral_bundle
from twin import Event, Twin


def oral_events(patient: str, k: int) -> list[Event]:
    """Somebody's own doses, infusions and results at times of their own."""
    rng = random.Random(k)
    times = sorted(rng.uniform(0.05, 2.0) for _ in range(1 + k % 4))
    given = [dosed(patient, 0.0, rng.uniform(50.0, 500.0), "d1")]
    if k % 2:
        given.append(dosed(patient, rng.uniform(0.1, 1.0), 80.0, "d2", compartment="plasma", lasts=rng.uniform(0.05, 0.6)))
    return given + [measured(patient, t, rng.uniform(0.1, 6.0), f"m{t}") for t in times]


def linear_events(patient: str, k: int) -> list[Event]:
    rng = random.Random(k)
    begun = [driven(patient, 0.0, rng.uniform(0.0, 2.0), name, name=name) for name in "uv"]
    times = sorted(rng.uniform(0.05, 9.0) for _ in range(1 + k % 3))
    results = [measured(patient, t, rng.uniform(0.1, 3.0), f"m{t}", channel="ab"[k % 2], unit="mg") for t in times]
    return [*begun, *results, driven(patient, rng.uniform(0.1, 3.0), rng.uniform(0.0, 2.0), "u2", name="u")]


@pytest.mark.parametrize("kind", ["one member", "three members", "linear"])
def test_alone_or_with_forty_others(kind: str) -> None:
    bundle = {"one member": oral_bundle, "three members": lambda: oral_bundle(3), "linear": linear_bundle}[kind]()
    events_of = linear_events if kind == "linear" else oral_events
    everyone = [f"P{k}" for k in range(40)]
    crowd, pair = Twin(bundle), Twin(bundle)
    crowd.arrive([e for k, id in enumerate(everyone) for e in events_of(id, k)], now=NOW)
    pair.arrive([e for k in (5, 6) for e in events_of(f"P{k}", k)], now=NOW)
    assert crowd.state("P5") == pair.state("P5")
    for k in (0, 13, 39):
        alone = Twin(bundle)
        alone.arrive(events_of(f"P{k}", k), now=NOW)
        assert alone.state(f"P{k}") == crowd.state(f"P{k}")
        assert alone.estimate(f"P{k}").channels == crowd.estimate(f"P{k}").channels


def test_somebody_who_diverges_leaves_the_others_as_they_are() -> None:
    bundle, everyone = oral_bundle(), [f"P{k}" for k in range(5)]
    without, beside = Twin(bundle), Twin(bundle)
    events = [e for k, id in enumerate(everyone) for e in oral_events(id, k)]
    without.arrive(events, now=NOW)
    lost = [dosed("Q", 0.0, 1e308, "1"), dosed("Q", 0.1, 1e308, "2"), measured("Q", 0.5, 1.0, "3")]
    beside.arrive([*events[:3], *lost, *events[3:]], now=NOW)
    assert beside.estimate("Q").held is not None
    assert [without.state(id) for id in everyone] == [beside.state(id) for id in everyone]


def test_of_the_same_events_everyone_of_a_block_has_the_same_bits() -> None:
    """Four states, three coordinates and a residual of 16: rows of seven numbers, every other one of which begins at an odd
    place of memory, where a product of matrices may round otherwise.
    """
    twin, everyone = Twin(chain_of(1)), [f"P{k}" for k in range(15)]
    for k in range(4):
        given = [dosed(id, 0.0, 300.0, "d") for id in everyone] if k == 0 else []
        results = [measured(id, 0.1 * (k + 1), 50.0 + k, f"m{k}", channel="sensor", unit="mg") for id in everyone]
        twin.arrive([*given, *results], now=NOW)
    assert len({twin.state(id) for id in everyone}) == 1


@pytest.mark.parametrize("build", [oral_bundle, linear_bundle])
def test_one_thread_or_more(build: Any) -> None:
    states = []
    before = torch.get_num_threads()
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        try:
            twin = Twin(build(), block=64)
            events_of = linear_events if build is linear_bundle else oral_events
            twin.arrive([e for k in range(6) for e in events_of(f"P{k}", k)], now=NOW)
            states.append([twin.state(f"P{k}") for k in range(6)])
        finally:
            torch.set_num_threads(before)
    assert states[0] == states[1] == states[2]


@pytest.mark.slow
@pytest.mark.parametrize("others", [2, 9_999])
def test_alone_with_two_or_with_ten_thousand(others: int) -> None:
    """In blocks of 512, so that as many as that stand beside each other."""
    bundle: Bundle = oral_bundle()
    crowd, alone = Twin(bundle, block=512), Twin(bundle, block=512)
    own = oral_events("own", 7)
    rest = [oral_events(f"P{k}", k)[: 2 + k % 3] for k in range(others)]
    crowd.arrive([e for events in rest[: others // 2] for e in events] + own[:2], now=NOW)
    crowd.arrive([*own[2:], *(e for events in rest[others // 2 :] for e in events)], now=NOW)
    for event in own:
        alone.arrive(event, now=NOW)
    assert crowd.state("own") == alone.state("own")
    assert math.isfinite(crowd.estimate("own").channels["concentration"].mean)
