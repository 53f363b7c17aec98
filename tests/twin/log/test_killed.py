"""A process that is killed while it writes: what it acknowledged is there, once, and nothing is there in half."""

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.twin.log.drawn import START, clock, result, withdrawn
from tests.twin.log.elsewhere import begin, follow, rest_of
from twin.log import Event, SqliteLog, canonical


def arrivals(count: int, seed: int) -> list[Event]:
    """Results of twenty people in no order, one in ten told twice, one in ten corrected, some withdrawn, clocks moved."""
    draw = random.Random(seed)
    events: list[Event] = []
    while len(events) < count:
        patient, name = f"P{draw.randrange(20)}", str(draw.randrange(count // 10))
        kind = draw.random()
        if kind < 0.1 and events:
            events.append(draw.choice(events))
        elif kind < 0.2:
            events.append(
                result(
                    name,
                    draw.randrange(1440),
                    draw.random(),
                    patient=patient,
                    version=draw.randint(2, 5),
                    arrived=START + len(events),
                )
            )
        elif kind < 0.25:
            events.append(withdrawn(name, draw.randint(2, 6), patient=patient, arrived=START + len(events)))
        elif kind < 0.26:
            events.append(
                clock(f"clock {draw.randrange(3)}", draw.randrange(1440), draw.randrange(-90, 90), patient=patient)
            )
        else:
            events.append(
                result(name, draw.randrange(1440), draw.random(), patient=patient, arrived=START + len(events))
            )
    return events


def survive(path: Path, events: Sequence[Event], kills: int, seed: int) -> None:
    """Have the events written, and the writer killed so many times amid it; look at what is left each time."""
    draw = random.Random(seed)
    acknowledged, rows = 0, 0
    for kill in range(kills + 1):
        # whoever sends does not know what was taken behind the last acknowledgement, and sends that again
        left, batch = list(events[acknowledged:]), draw.choice((1, 1, 7))
        process, pipe = begin(follow, str(path), left, batch)
        said: list[list[tuple[int, str]]] = []
        if kill < kills:
            while sum(map(len, said)) < len(left) // (kills + 1 - kill) - 10 and pipe.poll(60):
                said.append(pipe.recv())
            time.sleep(draw.random() * 0.003)  # amid what comes next
            process.kill()
        answers = [answer for together in (*said, *rest_of(pipe)) for answer in together]
        process.join(60)
        assert process.exitcode == (-9 if kill < kills else 0)

        with SqliteLog(path) as log:
            written = log.arrivals()[rows:]
            # everything acknowledged, in its order and with its answer; behind it at most one batch, whole, that was not yet said
            assert [(i, receipt.verdict) for i, (_, _, receipt) in enumerate(written)][: len(answers)] == answers
            assert [event for _, event, _ in written] == left[: len(written)]
            assert len(written) - len(answers) in (0, batch)
            same(log)
        acknowledged, rows = acknowledged + len(answers), rows + len(written)
    assert acknowledged == len(events)

    with SqliteLog(path) as log, SqliteLog() as undisturbed:
        undisturbed.add(events, START)
        assert sorted(log.patients()) == sorted(undisturbed.patients())
        for patient in log.patients():
            assert log.timeline(patient) == undisturbed.timeline(patient)
        assert len(log.arrivals()) == rows


def same(log: SqliteLog) -> None:
    """The log is what follows from the arrivals that it holds."""
    taken = [event for _, event, receipt in log.arrivals() if receipt.verdict != "refused"]
    timelines = {
        patient: list(canonical(e for e in taken if e.patient == patient)) for patient in {e.patient for e in taken}
    }
    assert dict(zip(log.patients(), log.timelines(log.patients()), strict=True)) == timelines


def test_three_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    survive(tmp_path / "people.db", arrivals(1_500, 0), 3, 1)


@pytest.mark.slow
def test_fifty_kills_amid_ten_thousand_arrivals(tmp_path: Path) -> None:
    survive(tmp_path / "people.db", arrivals(10_000, 2), 50, 3)
