"""A twin that runs: one event of one person, a result that is a day late, memory over a month, kill −9 on the way.

n = 4, d = 3, one channel every five minutes, residual of 16, UKF. Claims: one event of one person with 8 members in less than
10 ms without the disk's fsync (median of 200); a result that is 24 h late, 288 updates gone through again, in less than 1.5 s;
10,000 people with a horizon of 7 days in less than 4 GB, 8 members in less than 12 GB, flat over 30 simulated days; killed 50
times during 10,000 arrivals nothing acknowledged is lost or doubled, and the state is the same to the bit.
Memory is measured on some people over all the days and on many over a few results, and extrapolated openly.
"""

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

from benchmarks import race
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


def remembered(report: race.Report, setup: race.Settings) -> None:
    """Bytes of a person with a week of five-minute results, what that makes of 10,000; a month of hourly ones; many at once."""
    for members, limit in ((1, 4.0), (8, 12.0)):
        setup.progress(f"twin: a week of five-minute results, {members} members")
        week = days(members, 15, 1 if setup.quick else 9, 60.0 if setup.quick else 5.0)
        size, snapshots = week[-1][1:3]
        report.figures |= {
            f"{members} members: bytes of a person in memory": size,
            f"{members} members: snapshots of a person": snapshots,
            f"{members} members: GB of 10,000 people, extrapolated": size * 1e4 / 1e9,
        }
        if not setup.quick:
            claim = f"10,000 people with {members} members and a week of five-minute results: less than {limit:g} GB"
            report.target(claim, f"{size * 1e4 / 1e9:.2f}", size * 1e4 / 1e9 < limit)
    setup.progress("twin: a month of hourly results")
    month = days(1, 15, 3 if setup.quick else 30, 240.0 if setup.quick else 60.0)
    if not setup.quick:
        grown = month[-1][1] / month[8][1]
        report.figures["bytes of a person after 30 days, over those after 9"] = grown
        report.target("memory is flat over 30 days: at most 1.05 of day 9", f"{grown:.3f}", grown <= 1.05)
    people = 300 if setup.quick else 10_000
    setup.progress(f"twin: {people} people at once")
    before, after, size = many(1, people, 3)
    report.figures |= {f"{people} people, 3 results each: GB of the process before": before, "GB at most": after}


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("twin", __doc__)
    report = race.Report("twin", "People followed, event by event")
    setup.progress("twin: one event of one person, and one that is a day late")
    found = latency(count=40 if setup.quick else 200)
    report.figures |= {f"8 members, {name}: s" if "gone" not in name else name: value for name, value in found.items()}
    if not setup.quick:
        for name, what, limit in (("one event", "one event, median of 200", 0.010), ("24 h late", "a result 24 h late", 1.5)):
            report.target(f"8 members, {what}: less than {limit:g} s", f"{found[name]:.4f}", found[name] < limit)
    remembered(report, setup)
    setup.progress("twin: killed on the way")
    kill = killed(200 if setup.quick else 10_000, 3 if setup.quick else 50)
    report.figures |= {"killed": kill["kills"], "acknowledged and lost": kill["lost"], "arrivals in the log": kill["in the log"]}
    report.wrong |= bool(kill["lost"]) or not (kill["as sent, each once"] and kill["states the same to the bit"])
    return setup.finish(report)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
