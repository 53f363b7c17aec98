"""How fast the log of a twin takes events and gives them back: `python -m benchmarks.log [FOLDER]`.

Each commit of a file waits for the disk (`synchronous=FULL`), so single commits say as much about the disk as about us.
"""

import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from twin.log import Event, SqliteLog, as_line, canonical, read_event, read_time

START = read_time("2026-01-01T00:00:00Z")
MINUTE = 60_000_000
DAY = 288  # values of a sensor that measures every five minutes


def sensor(count: int, patient: str = "P1") -> list[Event]:
    """So many values, five minutes apart."""
    first = Event(patient, "cgm", "0", 1, "measurement", START, "glucose", 120.0, "mg/dL")
    return [replace(first, id=str(i), time=START + 5 * i * MINUTE, value=100.0 + i % 50) for i in range(count)]


def timed(action: Callable[[], object], repeats: int = 1) -> tuple[float, float]:
    """Seconds of one call, by the clock and of the processor: the medians."""
    found = []
    for _ in range(repeats):
        wall, own = time.perf_counter(), time.process_time()
        action()
        found.append((time.perf_counter() - wall, time.process_time() - own))
    return median(w for w, _ in found), median(o for _, o in found)


def say(what: str, count: int, seconds: tuple[float, float]) -> None:
    wall, own = (1e6 * s / count for s in seconds)
    print(f"{what}: {wall:,.0f} µs each, {own:,.0f} of the processor; {1e6 / wall:,.0f} a second")


def main(folder: Path) -> None:
    print(f"{platform.machine()}, Python {platform.python_version()}, the file in {folder}")
    lines = [as_line(event) for event in sensor(10_000)]
    say("lines read", len(lines), timed(lambda: [read_event(line) for line in lines]))
    few = sensor(2_000)
    for name, path in (("in a file", folder / "single.db"), ("in memory", None)):
        with SqliteLog(path) as log:
            say(f"events {name}, each by itself", len(few), timed(lambda log=log: [log.add([e], START) for e in few]))
    with SqliteLog(folder / "year.db") as log:
        year = sensor(365 * DAY)
        batches = [year[i : i + 100] for i in range(0, len(year), 100)]
        taken = timed(lambda: [log.add(batch, START, horizon=7 * DAY * 5 * MINUTE) for batch in batches])
        say("events in a file, a hundred a commit", len(year), taken)
        for days in (1, 7):
            after = log.timeline("P1")[-1 - days * DAY].key
            say(f"the last {days * DAY} of {len(year):,} events", 1, timed(lambda k=after: log.timeline("P1", k), 50))
        late = Event("P1", "cgm", "clock", 1, "offset", year[-DAY].time, value=2.0, unit="min")
        say("an offset that moves a day in a year", 1, timed(lambda: log.add([late], START)))
        say("the canonical order of a year, from nothing", 1, timed(lambda: canonical(year)))
    size = (folder / "year.db").stat().st_size / len(year)
    print(f"{size:.0f} bytes of file an event, its arrival and its answer included")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
