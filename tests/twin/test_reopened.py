"""What is on the disk is what is believed: reopened, folded, interrupted or killed."""

import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.twin.builders import NOW, START, dosed, measured, oral_bundle, withdrawn
from tests.twin.following import stream
from twin import SqliteLog, Twin, as_line
from twin.replay import Replay

ROOT = Path(__file__).parents[2]


def test_reopened_in_the_middle_and_folded_on_the_way(tmp_path: Path) -> None:
    bundle, horizon = oral_bundle(2), timedelta(hours=6)
    told = [dosed("A", 0, 300.0, "d"), *[measured("A", 0.5 * k, 3.0 + k % 3, f"m{k}") for k in range(1, 50)]]
    late = measured("A", 21.3, 2.5, "late")
    with SqliteLog(tmp_path / "whole.db") as log:
        whole = Twin(bundle, log, horizon=horizon)
        for event in (*told, late):
            whole.arrive(event, now=NOW)
        wanted = whole.state("A")
        assert log.base("A") is not None
        assert whole._memory.people["A"].snapshots.times[0] == log.base("A")[0][0]  # type: ignore[index]
        with pytest.raises(ValueError, match="is folded, being older than the horizon; ask for a later time"):
            whole.estimate("A", START)
    endless = Twin(bundle, horizon=timedelta(days=30))  # which folds nothing
    endless.arrive([*told, late], now=NOW)
    assert endless.state("A") == wanted
    assert endless.log.base("A") is None
    for k, part in enumerate((told[:20], told[20:45], [*told[45:], late])):
        with SqliteLog(tmp_path / "parts.db") as log:
            twin = Twin(bundle, log, horizon=horizon)
            before = twin.estimate("A") if k else None
            for event in part:
                twin.arrive(event, now=NOW)
            assert before is None or before.channels
            end = twin.state("A")
    assert end == wanted
    with SqliteLog(tmp_path / "parts.db") as log:
        again = Twin(bundle, log, horizon=horizon)
        assert again.people == ("A",)
        assert again.state("A") == wanted
        assert again.estimate("A").channels == whole._estimates({"A": None})["A"].channels


def test_nothing_more_is_taken_of_the_time_that_is_folded() -> None:
    """A wrong date folds everything, and is withdrawn: the newest time is then that of the fold itself."""
    bundle, horizon = oral_bundle(), timedelta(hours=2)
    told = [dosed("A", 0, 300.0, "d"), measured("A", 0.5, 4.0, "m1"), measured("A", 1, 4.5, "m2")]
    wrong = measured("A", 9, 5.0, "wrong date")
    log = SqliteLog()
    twin, plain = Twin(bundle, log, horizon=horizon), Twin(bundle, horizon=horizon)
    twin.arrive([*told, wrong], now=NOW)
    base = log.base("A")
    assert base is not None
    assert base[0] == (told[-1].time, 0, b"lab", b"m2")
    twin.arrive(withdrawn(wrong), now=NOW)
    plain.arrive(told, now=NOW)
    assert twin.state("A") == plain.state("A")
    of_that_time = [
        measured("A", 1, 4.6, "n"),  # behind what is folded by its id, its source, its kind
        measured("A", 1, 4.6, "a", source="other lab"),
        dosed("A", 1, 100.0, "d2"),
        replace(told[1], version=2, time=told[2].time),
    ]
    for event in of_that_time:
        change = twin.arrive(event, now=NOW)[0]
        assert (change.verdict, change.estimate) == ("refused", None)
        assert "older than the horizon" in (change.reason or "")
        assert twin.state("A") == plain.state("A")
    after = [dosed("A", 1.1, 100.0, "d2"), measured("A", 1.2, 4.6, "n")]
    for each in (twin, plain):
        each.arrive(after, now=NOW)
    again = Twin(bundle, log, horizon=horizon)
    assert twin.state("A") == plain.state("A") == again.state("A")


def test_interrupted_between_the_commit_and_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = oral_bundle()
    twin, plain = Twin(bundle), Twin(bundle)
    events = [dosed("A", 0, 300.0, "d"), measured("A", 1, 3.0, "m1"), measured("A", 3, 3.5, "m3"), measured("A", 2, 3.2, "m2")]
    plain.arrive(events, now=NOW)
    twin.arrive(events[:3], now=NOW)

    def interrupted(self: Any, jobs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Replay, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            twin.arrive(events[3], now=NOW)
    # it was taken, as it was on the disk
    assert twin.arrive(events[3], now=NOW)[0].verdict == "duplicate"
    assert twin.state("A") == plain.state("A")


def test_a_log_that_cannot_be_written_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = Twin(oral_bundle())
    twin.arrive([dosed("A", 0, 300.0, "d"), measured("A", 1, 3.0, "m1")], now=NOW)
    before = twin.state("A")

    def full(*arguments: Any, **named: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(SqliteLog, "add", full)
        with pytest.raises(OSError, match="full"):
            twin.arrive([measured("A", 2, 3.0, "m2"), measured("B", 2, 3.0, "m2")], now=NOW)
    assert twin.state("A") == before
    assert twin.people == ("A",)
    assert twin.arrive(measured("A", 2, 3.0, "m2"), now=NOW)[0].verdict == "new"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill −9 is of POSIX")
def test_killed_on_the_way_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    count, rng, file, acknowledged = 160, random.Random(2), tmp_path / "people.db", list[str]()
    kills = 0
    while "done" not in acknowledged:
        command = [sys.executable, "-m", "tests.twin.following", str(file), str(count)]
        given = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=given) as process:
            assert process.stdout is not None
            for _ in range(rng.randrange(5, 60)):
                line = process.stdout.readline().strip()
                if not line:
                    break
                acknowledged.append(line)
            if "done" not in acknowledged:
                process.send_signal(signal.SIGKILL)
                kills += 1
            # a line that was written before the end is an acknowledgement too
            acknowledged += [line for line in process.stdout.read().splitlines() if line.endswith("}") or line == "done"]
        acknowledged = [*dict.fromkeys(acknowledged)]
    assert kills >= 3
    events = stream(count)
    with SqliteLog(file) as log:
        told = [as_line(event) for _, event, _ in log.arrivals()]
        assert set(acknowledged) - {"done"} <= set(told)
        assert told == [as_line(event) for event in events]  # each once, in order
        bundle = oral_bundle()
        killed, plain = Twin(bundle, log), Twin(bundle)
        plain.arrive(events, now=NOW)
        assert [killed.state(id) for id in plain.people] == [plain.state(id) for id in plain.people]
