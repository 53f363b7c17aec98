"""The log in SQLite: answers, transactions, folding, the horizon; what can be asked of it, and how fast."""

import math
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.twin.log.drawn import HOUR, MINUTE, START, clock, event_of_few, result, withdrawn
from twin.log import Event, SqliteLog, Timed, canonical
from twin.log.judging import Receipt
from twin.log.times import DAY


class Back(Exception):
    """Raised to have a transaction taken back."""


@pytest.fixture(params=["file", "memory"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteLog]:
    with SqliteLog(tmp_path / "people.db" if request.param == "file" else None) as opened:
        yield opened


def day(count: int = 288, patient: str = "P") -> list[Event]:
    """A sensor's values, five minutes apart."""
    return [result(str(i), 5.0 * i, 100.0 + i, patient=patient, source="cgm") for i in range(count)]


def test_what_was_answered_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "people.db"
    with SqliteLog(path) as log:
        log.admit("P", b"\x00data")
        receipts = log.add([*day(20), withdrawn("3"), result("2", 5, 3.0)], START)
        log.fold("P", log.timeline("P")[4].key, b"state")
        before = log.timeline("P"), log.patients(), log.person("P"), log.base("P"), log.arrivals()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["people.db"]  # one file, to be copied or kept
    with SqliteLog(path) as log:
        assert (log.timeline("P"), log.patients(), log.person("P"), log.base("P"), log.arrivals()) == before
        assert [r.verdict for _, _, r in log.arrivals()] == [r.verdict for r in receipts]


def test_the_callers_refusals_are_kept_beside_the_others(log: SqliteLog) -> None:
    receipts = log.add(
        [result("1", 5, 1.0), result("2", 6, 2.0)], START, ["its channel is unknown; write glucose", None]
    )
    assert receipts[0] == Receipt("refused", "its channel is unknown; write glucose")
    assert receipts[1].verdict == "new"
    assert [t.event.id for t in log.timeline("P")] == ["2"]
    assert [(e.id, r) for _, e, r in log.arrivals("P")] == [("1", receipts[0]), ("2", Receipt("new"))]
    assert log.add([result("1", 5, 1.0)], START)[0].verdict == "new"  # what was refused is not known


def test_who_is_known(log: SqliteLog) -> None:
    assert log.patients() == ()
    assert log.timeline("P") == []
    assert (log.person("P"), log.base("P"), log.newest("P")) == (None, None, None)
    log.admit("Q", b"weight 70")
    log.add([result("1", 5, 1.0), result("1", 5, 1.0, patient="R")], START, [None, "refused; so"])
    log.admit("P", b"")
    log.admit("Q", b"weight 70")
    assert log.patients() == ("Q", "P")
    assert (log.person("P"), log.person("Q"), log.person("R")) == (b"", b"weight 70", None)
    with pytest.raises(ValueError, match="of 'Q' other data are kept; give those, or begin another file"):
        log.admit("Q", b"weight 71")
    assert log.person("Q") == b"weight 70"


def test_when_the_last_of_somebody_came(log: SqliteLog) -> None:
    assert log.received("P") is None
    log.add([result("1", 5, 1.0)], START + 1)
    log.add([result("1", 5, 1.0)], START + 3)  # told twice
    log.add([result("1", 5, 2.0)], START + 5)  # refused
    log.add([result("1", 5, 1.0, patient="Q")], START + 7)
    assert (log.received("P"), log.received("Q")) == (START + 3, START + 7)
    log.admit("R", b"")
    assert log.received("R") is None


def test_a_timeline_from_a_key_on(log: SqliteLog) -> None:
    log.add([*day(40), *day(30, "Q"), clock("c", 12, 30.0, source="cgm")], START)
    whole = log.timeline("P")
    assert len(whole) == 40
    for i in (0, 1, 17, 39):
        assert log.timeline("P", whole[i].key) == whole[i + 1 :]
    between = (whole[7].time, 1, b"", b"")  # behind what was measured then
    assert log.timeline("P", between) == whole[8:]
    assert log.timelines(["Q", "P", "R"], [None, whole[9].key, None]) == [log.timeline("Q"), whole[10:], []]
    assert log.timelines(["P"]) == [whole]
    assert log.newest("P") == whole[-1].time
    for count in ([None], "ab", 5):
        with pytest.raises(ValueError, match=r"after .* for 2 of patients; give one, or None, for each"):
            log.timelines(["P", "Q"], count)  # type: ignore[arg-type]
    for no_key in (5, (1, 2), (1, 2, "a", "b"), "key"):
        with pytest.raises(ValueError, match="a key is that of something in a timeline"):
            log.timeline("P", no_key)  # type: ignore[arg-type]


def test_everything_is_found_by_an_index() -> None:
    """No table is walked, nothing is sorted: who keeps years of a sensor takes one value and asks for the last day."""
    with SqliteLog() as log:
        log.add(day(), START)
        log.admit("P", b"")
        seen: list[str] = []
        connection = log._database._db
        connection.set_trace_callback(seen.append)
        log.timeline("P", (START, 0, b"cgm", b"5"))
        timeline = seen[-1]
        events = [result("late", 7, 1.0, source="cgm"), clock("c", 10, 1.0, source="cgm"), withdrawn("4", source="cgm")]
        log.add(events, START, horizon=DAY, ahead=2 * DAY)
        log.fold("P", log.timeline("P")[3].key, b"")
        calls = (log.newest, log.received, log.person, log.base)
        assert all(call("P") is not None for call in calls)
        connection.set_trace_callback(None)
        statements = [sql for sql in seen if sql.split()[0] in ("SELECT", "UPDATE", "DELETE")]
        assert len(statements) > 20
        plans = {sql: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")] for sql in statements}
        assert [sql for sql, plan in plans.items() if any("SCAN" in step or "B-TREE" in step for step in plan)] == []
        assert plans[timeline][-1].endswith("USING INDEX in_order (patient=? AND (time,rank,source,id)>(?,?,?,?))")
        of_a_clock = [plan for sql, plan in plans.items() if "kind = 'offset'" in sql]
        assert of_a_clock
        assert all("USING INDEX clocks" in plan[0] for plan in of_a_clock)


# ---- transactions ------------------------------------------------------------------------------------------------------


def test_a_batch_is_taken_as_a_whole_or_not_at_all(log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.add([result("1", 5, 1.0)], START)
    before = log.timeline("P"), log.arrivals(), log.patients()
    with pytest.raises(ValueError, match="each of the events must be a Event, and is 'text'"):
        log.add([result("2", 6, 2.0), "text"], START)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="judged has 1, for 2 of events; give one, or None, for each event"):
        log.add([result("2", 6, 2.0), result("3", 6, 2.0)], START, [None])
    with pytest.raises(ValueError, match='"received" must be whole microseconds'):
        log.add([result("2", 6, 2.0)], 1.5)  # type: ignore[arg-type]
    assert (log.timeline("P"), log.arrivals(), log.patients()) == before

    run, count = log._database.run, 0

    def ends_early(sql: str, values: tuple[object, ...] = ()) -> Any:
        nonlocal count
        count += "INSERT INTO arrivals" in sql
        if count == 3:
            raise KeyboardInterrupt
        return run(sql, values)

    monkeypatch.setattr(log._database, "run", ends_early)
    with pytest.raises(KeyboardInterrupt):
        log.add([result(str(i), i, 1.0, patient="new") for i in range(5)], START)
    monkeypatch.undo()
    assert (log.timeline("P"), log.arrivals(), log.patients()) == before
    assert log.add([], START) == []


def test_several_calls_in_one_transaction(log: SqliteLog) -> None:
    with suppress(Back), log.together():
        log.admit("P", b"x")
        log.add([result("1", 5, 1.0)], START)
        raise Back
    assert (log.patients(), log.timeline("P"), log.arrivals()) == ((), [], [])
    with log.together():
        log.add([result("1", 5, 1.0)], START)
        with suppress(Back), log.together():  # what fails inside takes only itself back
            log.add([result("2", 6, 2.0)], START)
            raise Back
        with log.together():
            log.add([result("3", 7, 3.0)], START)
    assert [t.event.id for t in log.timeline("P")] == ["1", "3"]


def test_who_goes_on_after_an_error_that_undid_everything_is_told(tmp_path: Path) -> None:
    """SQLite takes the whole transaction back where the disk is full: nothing may then be written outside of one."""
    with SqliteLog(tmp_path / "people.db") as log:
        log.add(day(3), START)
        before = log.arrivals()

        def goes_on() -> None:
            with log.together():
                log.add(day(3, "Q"), START)
                log._database._db.execute("ROLLBACK")  # as SQLite does by itself
                with suppress(OSError):
                    log.add(day(3, "R"), START)

        with pytest.raises(
            OSError, match="an error undid all that was begun together, and nothing of it was written; send"
        ):
            goes_on()
        assert log.arrivals() == before
        assert log.patients() == ("P",)
        assert log.add(day(3, "Q"), START)[0].verdict == "new"


def test_from_several_threads(tmp_path: Path) -> None:
    with SqliteLog(tmp_path / "people.db") as log:
        threads = [
            threading.Thread(target=lambda p=f"P{k}": [log.add([e], START) for e in day(25, p)])  # type: ignore[misc]
            for k in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for k in range(4):
            assert log.timeline(f"P{k}") == list(canonical(day(25, f"P{k}")))


def test_texts_are_never_part_of_a_statement(log: SqliteLog) -> None:
    """Bobby Tables, and whatever else means something to SQL, to a pattern or to a format."""
    names = [
        "'; DROP TABLE live; --",
        '"',
        "'",
        "`",
        "%",
        "_",
        "?",
        ":a",
        "@a",
        "$a",
        "\\",
        "NULL",
        "0",
        "0x10",
        "1e3",
        "x'00'",
        "{0}",
    ]
    for name in names:
        event = Event(name, name, name, 1, "measurement", START, name, 1.0, name)
        assert log.add([event], START, [None])[0].verdict == "new"
        log.admit(name, name.encode())
        assert log.timeline(name) == [Timed(START, event)]
        log.fold(name, log.timeline(name)[0].key, name.encode())
        assert log.base(name) == ((START, 0, name.encode(), name.encode()), name.encode())
    assert log.patients() == tuple(names)


# ---- the horizon -------------------------------------------------------------------------------------------------------


def test_what_is_folded_is_settled(log: SqliteLog) -> None:
    events = day(40)
    log.add(events, START)
    whole = log.timeline("P")
    log.fold("P", whole[19].key, b"after twenty")
    assert log.base("P") == (whole[19].key, b"after twenty")
    assert log.timeline("P") == whole[20:]
    assert log.timeline("P", whole[3].key) == whole[20:]
    assert log.timeline("P", whole[25].key) == whole[26:]
    settled = {
        "late": result("x", 12, 1.0),
        "corrected": replace(events[3], version=2, value=1.0),
        "corrected to a place behind the fold": replace(events[3], version=2, time=events[30].time),
        "corrected to a place before it": replace(events[30], version=2, time=events[3].time),
        "withdrawn": withdrawn("3", source="cgm"),
        "withdrawn, the last": withdrawn("19", source="cgm"),
        "a clock's": clock("c", 12, 1.0, source="cgm"),
        "a clock's, from behind the fold to before it": clock("c", 120, -60.0, source="cgm"),
        "at the same time, in an order before": result("0", 95, 1.0, source="a"),
        "at the same time, in an order behind": result("0", 95, 1.0, source="z"),
        "from behind the fold to its time": replace(events[30], version=2, time=events[19].time),
    }
    for what, event in settled.items():
        (receipt,) = log.add([event], START)
        assert receipt.verdict == "refused", what
        assert "older than the horizon: what was until 2026-11-27T01:35:00Z is settled" in receipt.reason, what
    assert log.timeline("P") == whole[20:]
    # what is known is known
    assert log.add([events[3], replace(events[30], version=2, value=1.0), events[30]], START) == [
        Receipt("duplicate", time=events[3].time),
        Receipt("new", changed_from=whole[30].key, time=events[30].time),
        Receipt("older version", "this is known in version 2"),
    ]
    assert log.add([clock("c", 96, 1.0, source="cgm")], START)[0].changed_from == whole[20].key

    with pytest.raises(ValueError, match="is the key of nothing that counts of 'P'"):
        log.fold("P", (START, 0, b"cgm", b"absent"), b"")
    with pytest.raises(ValueError, match="'P' is folded further"):
        log.fold("P", whole[3].key, b"")
    log.fold("P", log.timeline("P")[10].key, b"further")
    assert log.base("P") is not None
    assert len(log.timeline("P")) == 40 - 20 - 11
    log.add(day(3, "Q"), START)  # of somebody else nothing is settled
    assert len(log.timeline("Q")) == 3


def test_the_horizon_is_counted_from_effective_times(log: SqliteLog) -> None:
    log.add([result("1", 0, 1.0), result("2", 600, 2.0)], START, horizon=DAY)
    early = result("3", 599 - 1440, 3.0)
    (receipt,) = log.add([early], START, horizon=DAY)
    assert receipt.verdict == "refused"
    assert "what was until 2026-11-26T10:00:00Z is settled" in receipt.reason
    assert "it would change what was at 2026-11-26T09:59:00Z" in receipt.reason
    assert log.add([replace(early, time=early.time + MINUTE)], START, horizon=DAY)[0].verdict == "new"
    # of a clock that is an hour late, the same stamp is in time
    log.add([clock("c", -2000, 60.0, source="cgm")], START, horizon=DAY)
    receipt = log.add([replace(early, source="cgm")], START, horizon=DAY)[0]
    assert (receipt.verdict, receipt.time) == ("new", early.time + HOUR)
    # an offset that would carry something to before it; and, as the newest, something far ahead, which moves the horizon
    assert log.add([clock("d", -1441, -61.0)], START, horizon=DAY)[0].verdict == "refused"
    assert log.add([result("9", 5000, 9.0)], START, horizon=DAY)[0].verdict == "new"
    assert log.add([result("10", 2000, 9.0)], START, horizon=DAY)[0].verdict == "refused"
    assert log.add([withdrawn("2")], START, horizon=DAY)[0].verdict == "refused"
    assert log.add([result("10", 2000, 9.0, patient="Q")], START, horizon=DAY)[0].verdict == "new"
    # the newest is taken back, and with it the horizon that it made
    assert log.add([withdrawn("9"), withdrawn("2")], START, horizon=DAY) == [
        Receipt("new", changed_from=(START + 5000 * MINUTE, 0, b"lab", b"9")),
        Receipt("new", changed_from=(START + 600 * MINUTE, 0, b"lab", b"2")),
    ]


def test_what_is_still_to_come_is_refused(log: SqliteLog) -> None:
    late, ahead = result("1", 5, 1.0), 5 * MINUTE
    assert log.add([late], START, ahead=ahead)[0].verdict == "new"
    (receipt,) = log.add([result("2", 5.001, 1.0)], START, ahead=ahead)
    assert receipt.verdict == "refused"
    assert "it is of 2026-11-27T00:05:00.060000Z, which is still to come" in receipt.reason
    log.add([clock("c", 0, -60.0, source="cgm")], START, ahead=ahead)
    assert log.add([result("2", 60, 1.0, source="cgm")], START, ahead=ahead)[0].time == START
    assert log.add([clock("c", 0, 1.0)], START, ahead=ahead)[0].verdict == "refused"  # it would carry the first there


@settings(max_examples=60)
@given(st.lists(event_of_few(), min_size=1, max_size=12), st.integers(0, 5), st.data())
def test_behind_a_fold_the_log_is_the_canonical_one(events: list[Event], at: int, drawn: st.DataObject) -> None:
    """Fold amid the arrivals: what is behind the fold is canonical, and what is in it has not moved."""
    arrivals = drawn.draw(st.permutations(events))
    half = len(arrivals) // 2
    log = SqliteLog()
    log.add(arrivals[:half], START)
    timeline = log.timeline("P")
    taken = list(arrivals[:half])
    folded: tuple[Timed, ...] = ()
    if timeline:
        folded = tuple(timeline[: min(at, len(timeline) - 1) + 1])
        log.fold("P", folded[-1].key, b"")
    for event, receipt in zip(arrivals[half:], log.add(arrivals[half:], START), strict=True):
        if "older than the horizon" in receipt.reason:
            assert folded
        else:
            taken.append(event)
    whole = canonical(taken)
    assert [t.key for t in whole[: len(folded)]] == [t.key for t in folded]
    assert [t.event.content for t in whole[: len(folded)]] == [t.event.content for t in folded]
    assert log.timeline("P") == list(whole[len(folded) :])
    log.close()


def test_an_offset_carries_nothing_out_of_time(log: SqliteLog) -> None:
    far = result("1", 0, 1.0, time=-60 * 365 * DAY)
    log.add([far], START)
    (receipt,) = log.add([clock("c", 0, -40 * 365.25, unit="d", time=far.time)], START)
    assert receipt.verdict == "refused"
    assert "with the offset of its source it is not from 1900 to 2199; correct the offset" in receipt.reason


# ---- for what it was written -------------------------------------------------------------------------------------------


def test_a_log_is_of_one_bundle_and_its_settings(tmp_path: Path) -> None:
    path = tmp_path / "people.db"
    settings_ = {"horizon": 7 * DAY, "filter": "UKF", "floor": {"G": 0.1, "X": 0.2}, "drift": None}
    with SqliteLog(path) as log:
        log.add(day(3), START)
        log.open_for("abc", settings_)
        log.open_for("abc", dict(reversed(settings_.items())) | {"floor": {"X": 0.2, "G": 0.1}})
        before = log.timeline("P")
    with SqliteLog(path) as log:
        log.open_for("abc", settings_)
        for bundle, changed, words in (
            ("xyz", settings_, "with the bundle abc and is opened with xyz"),
            ("abc", settings_ | {"filter": "EKF"}, 'with the setting filter "UKF" and is opened with "EKF"'),
            ("abc", settings_ | {"floor": {"G": 0.1}}, "the setting floor"),
            ("abc", settings_ | {"more": 1}, "the setting more absent and is opened with 1"),
            ("abc", {"horizon": 7 * DAY}, "the setting drift null and is opened with absent"),
        ):
            with pytest.raises(
                ValueError, match="and the same events would mean something else; open it as it was"
            ) as raised:
                log.open_for(bundle, changed)
            assert words in str(raised.value)
            assert str(path) in str(raised.value)
        assert log.timeline("P") == before
        with pytest.raises(ValueError, match="settings are what JSON holds"):
            log.open_for("abc", {"filter": object()})
        with pytest.raises(ValueError, match="bundle_hash is a text"):
            log.open_for("", {})


def test_a_log_shows_where_it_is(tmp_path: Path) -> None:
    with SqliteLog() as log:
        assert repr(log) == "SqliteLog()"
    with SqliteLog(tmp_path / "people.db") as log:
        assert repr(log) == f"SqliteLog('{tmp_path}/people.db')"


def test_values_come_back_to_the_last_bit(log: SqliteLog) -> None:
    numbers = [0.1, 1e-320, 5e-324, math.pi, 1.7976931348623157e308, -0.0, 2.0**53 + 2, 123456789.123456789]
    log.add([result(str(i), i, v) for i, v in enumerate(numbers)], START)
    back = [t.event.value for t in log.timeline("P")]
    assert [v.hex() for v in back if v is not None] == [(v + 0.0).hex() for v in numbers]
