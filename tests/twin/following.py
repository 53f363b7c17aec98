"""A process that follows people and acknowledges, to be killed: `python -m tests.twin.following FILE EVENTS`."""

import sys

from tests.twin.builders import NOW, dosed, measured, oral_bundle
from twin import Event, SqliteLog, Twin, as_line


def stream(count: int, people: int = 3) -> list[Event]:
    """Results of people, some of them late and some told twice, as a process meets them."""
    found: list[Event] = [dosed(f"P{k}", 0.0, 300.0, "d") for k in range(people)]
    for k in range(count - people):
        shift = -0.7 if k % 7 == 3 else 0.0
        found.append(measured(f"P{k % people}", max(0.05, 1.0 + 0.1 * k + shift), 3.0 + (k % 5) / 10, f"m{k - (k % 11 == 5)}"))
    return found


def follow(file: str, count: int) -> None:
    """Everything that is not acknowledged yet, in small batches; a line for each event once it is on the disk."""
    with SqliteLog(file) as log:
        twin = Twin(oral_bundle(), log)
        events = stream(count)
        told = len(log.arrivals())
        for k in range(told, count, 4):
            for change in twin.arrive(events[k : k + 4], now=NOW):
                print(as_line(change.event), flush=True)
        print("done", flush=True)


if __name__ == "__main__":
    follow(sys.argv[1], int(sys.argv[2]))
