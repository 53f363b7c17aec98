"""A twin that runs: one event of one person, a result that is a day late, memory over a month, kill −9 on the way.

n = 4, d = 3, one channel every five minutes, residual of 16, UKF. Claims: one event of one person with 8 members in less than
10 ms without the disk's fsync (median of 200); a result that is 24 h late, 288 updates gone through again, in less than 1.5 s;
10,000 people with a horizon of 7 days in less than 4 GB, 8 members in less than 12 GB, flat over 30 simulated days; killed 50
times during 10,000 arrivals nothing acknowledged is lost or doubled, and the state is the same to the bit.
Memory is measured on some people over all the days and on many over a few results, and extrapolated openly.
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.memory import peak_memory
from exchange import Bundle
from hybrid import HybridModel, Mesh, States
from learned import MLP, Constant, DiagonalDiffusion, Ensemble
from physics import LogNormalPopulation, Mechanism, Parameter
from training import Personal
from twin import Event, SqliteLog, Twin, as_line

MINUTE = 60_000_000
START = 1_790_000_000_000_000
NOW = START + 400 * 1440 * MINUTE
_GUESS = "the benchmark's own"


class Chain(Mechanism):
    """A drug from the gut through plasma, with a tissue beside it and a sensor behind."""

    time_unit = "h"
    states = {"gut": "mg", "plasma": "mg", "tissue": "mg", "sensor": "mg"}
    physical = (
        Parameter("ka", "/h", 1.5, 0.2, 6.0, _GUESS),
        Parameter("ke", "/h", 0.2, 0.02, 1.0, _GUESS),
        Parameter("ks", "/h", 4.0, 1.0, 10.0, _GUESS),
    )
    scale = {"gut": 100.0, "plasma": 100.0, "tissue": 100.0, "sensor": 100.0}
    starts_empty = True

    def rate(self, x: Any, u: Any, theta: Any) -> dict[str, Any]:
        return {
            "gut": -theta.ka * x.gut,
            "plasma": theta.ka * x.gut - (theta.ke + 0.3) * x.plasma + 0.2 * x.tissue,
            "tissue": 0.3 * x.plasma - 0.2 * x.tissue,
            "sensor": theta.ks * (x.plasma - x.sensor),
        }


def bundle_of(members: int) -> Bundle:
    """The model, which nobody trained, with weights drawn at random."""
    mechanism = Chain()
    model = HybridModel(
        mechanism,
        LogNormalPopulation(mechanism.physical, [0.3, 0.3, 0.2]),
        MLP(4, hidden=(16,), state_scale=100.0, rate_scale=1.0),
        observation=States(("sensor",)),
        noise=Constant([3.0], [0.3]),
        process=DiagonalDiffusion({"plasma": 4.0, "tissue": 1.0}),
    )
    model = Ensemble(members).stack(model, torch.Generator().manual_seed(1))
    none = torch.zeros(members, 0, 3, dtype=torch.float64)
    known = Personal(none, torch.zeros(members, 0, 3, 3, dtype=torch.float64), none[..., 0], none[..., 0] > 0, ids=())
    return Bundle(model, (), known, Mesh())


def measured(patient: str, k: int, minutes: float = 5.0) -> Event:
    """The k-th result."""
    value = 60.0 + 20.0 * ((k * 7919) % 13 - 6) / 13
    return Event(patient, "sensor", f"m{k}", 1, "measurement", START + round(k * minutes * MINUTE), "sensor", value, "mg")


def dosed(patient: str) -> Event:
    return Event(patient, "ward", "d", 1, "dose", START - 5 * MINUTE, "gut", 300.0, "mg")


def latency(members: int = 8, count: int = 200) -> dict[str, float]:
    """Seconds: the median of single events, and one event 24 h late, with processor seconds beside them."""
    twin = Twin(bundle_of(members))
    twin.arrive(dosed("A"), now=NOW)
    walls, processor = [], []
    for k in range(count + 20):
        wall, begun = time.perf_counter(), time.process_time()
        twin.arrive(measured("A", k), now=NOW)
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - begun)
    for k in range(count + 20, 310, 10):
        twin.arrive([measured("A", j) for j in range(k, k + 10)], now=NOW)
    late = Event("A", "lab", "late", 1, "measurement", START + round(21.5 * 5 * MINUTE), "sensor", 61.0, "mg")
    wall, begun = time.perf_counter(), time.process_time()
    change = twin.arrive(late, now=NOW)[0]
    found = {"one event": statistics.median(walls[20:]), "processor": statistics.median(processor[20:])}
    return found | {
        "24 h late": time.perf_counter() - wall,
        "its processor": time.process_time() - begun,
        "gone through": float(change.replayed),
    }


def held_bytes(twin: Twin) -> tuple[float, float]:
    """Of one person, on average: bytes of the snapshots as Python holds them, and how many there are."""
    people = list(twin._memory.people.values())
    sizes = [
        sum(sys.getsizeof(v) for v in (*s.packed, *s.keys, *(part for key in s.keys for part in key), s.times, s.keys, s.packed))
        for s in (person.snapshots for person in people)
    ]
    return statistics.mean(sizes), statistics.mean(len(person.snapshots.times) for person in people)


def days(members: int, people: int, count: int, minutes: float) -> list[tuple[int, float, float, float]]:
    """Of so many people followed for `count` days: day, bytes a person, snapshots a person, GB of the process."""
    found = []
    with tempfile.TemporaryDirectory() as folder, SqliteLog(Path(folder) / "people.db") as log:
        twin = Twin(bundle_of(members), log)
        each = round(1440 / minutes)
        twin.arrive([dosed(f"P{i}") for i in range(people)], now=NOW)
        for day in range(count):
            for k in range(day * each, (day + 1) * each):
                twin.arrive([measured(f"P{i}", k, minutes) for i in range(people)], now=NOW)
            found.append((day + 1, *held_bytes(twin), peak_memory()))
    return found


def many(members: int, people: int, times: int) -> tuple[float, float, float]:
    """So many people at once, a few results each: GB of the process before and at most, bytes a person."""
    with tempfile.TemporaryDirectory() as folder, SqliteLog(Path(folder) / "people.db") as log:
        twin = Twin(bundle_of(members), log)
        twin.arrive([dosed("P0")], now=NOW)
        before = peak_memory()
        twin.arrive([dosed(f"P{i}") for i in range(1, people)], now=NOW)
        for k in range(times):
            twin.arrive([measured(f"P{i}", k, 5.0) for i in range(people)], now=NOW)
        return before, peak_memory(), held_bytes(twin)[0]


def arrivals(count: int, people: int = 20) -> list[Event]:
    """Results of people, some late, some told twice."""
    found = [dosed(f"P{i}") for i in range(people)]
    for k in range(count - people):
        step = k // people - (3 if k % 9 == 4 else 0)
        found.append(measured(f"P{k % people}", max(0, step)))
    return found


def child(file: str, count: int) -> None:
    """Take what is not yet taken, and say each acknowledgement."""
    with SqliteLog(file) as log:
        twin, events = Twin(bundle_of(1), log), arrivals(count)
        told = len(log.arrivals())
        for k in range(told, count, 20):
            for change in twin.arrive(events[k : k + 20], now=NOW):
                print(as_line(change.event))
            sys.stdout.flush()
        print("done", flush=True)


def killed(count: int, kills: int) -> dict[str, Any]:
    """Killed on the way: how often, whether anything was lost or doubled, whether the states are the same."""
    events, rng, acknowledged, done, happened = arrivals(count), random.Random(3), set[str](), False, 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "people.db"
        while not done:
            code = f"from benchmarks.twin import child; child({str(file)!r}, {count})"
            with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                limit = rng.randrange(1, 2 * count // kills) if happened < kills else count + 1
                for _ in range(limit):
                    line = process.stdout.readline().strip()
                    if line == "done" or not line:
                        break
                    acknowledged.add(line)
                if happened < kills and line != "done":
                    process.send_signal(signal.SIGKILL)
                    happened += 1
                rest = process.stdout.read().splitlines()
                acknowledged |= {one for one in rest if one.endswith("}")}
                done = line == "done" or "done" in rest
        with SqliteLog(file) as log:
            told = [as_line(event) for _, event, _ in log.arrivals()]
            bundle = bundle_of(1)
            again, plain = Twin(bundle, log), Twin(bundle)
            for k in range(0, count, 20):
                plain.arrive(events[k : k + 20], now=NOW)
            same = all(again.state(id) == plain.state(id) for id in plain.people)
    return {
        "kills": happened,
        "lost": len(acknowledged - set(told)),
        "in the log": len(told),
        "as sent, each once": told == [as_line(event) for event in events],
        "states the same to the bit": same,
    }


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.twin", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works")
    rows = ("latency", "days", "many", "kill")
    parser.add_argument("--only", nargs="+", choices=rows, default=rows)
    parser.add_argument("--members", type=int, default=1, help="members in the rows of memory (1)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (1)")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    if "latency" in a.only:
        for name, value in latency(count=40 if a.quick else 200).items():
            print(f"latency, 8 members: {name} {value:.4g}")
    if "days" in a.only:
        people, count, minutes = (15, 9, 120.0) if a.quick else (15, 30, 30.0)
        for day, size, snapshots, memory in days(a.members, people, count, minutes):
            gb = 10_000 * size / 1e9
            each = f"day {day}: {size:.0f} bytes and {snapshots:.0f} snapshots a person"
            print(f"{each}, 10,000 people: {gb:.2f} GB; process {memory:.2f} GB", flush=True)
    if "many" in a.only:
        people, times = (300, 3) if a.quick else (10_000, 3)
        before, after, size = many(a.members, people, times)
        print(f"{people} people, {times} results each: {before:.2f} GB before, {after:.2f} GB at most, {size:.0f} bytes a person")
    if "kill" in a.only:
        print(killed(400 if a.quick else 10_000, 4 if a.quick else 50))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())

