"""The canonical order, against its definition in plain words; and the log in SQLite, after whatever comes in whatever order."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import islice, permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.twin.log.drawn import HOUR, MINUTE, START, any_event, clock, event_of_few, result, withdrawn
from twin.log import Event, SqliteLog, Timed, canonical
from twin.log.canonical import counting, issued
from twin.log.events import offset
from twin.log.judging import Receipt
from twin.log.times import EARLIEST, LATEST

SIX = [result(str(i), 30 * i, 100.0 + i) for i in range(6)]
# six results; the third told twice, the fourth corrected in value and time to a place before the second
EIGHT = [*SIX, replace(SIX[2], arrived=START + HOUR), replace(SIX[3], version=2, value=77.0, time=START + 10 * MINUTE)]


def plainly(events: Iterable[Event]) -> list[tuple[int, Event]]:
    """The definition, one word after the other, with no thought of speed."""
    events = list(events)
    counts = [e for e in events if not any(o.identity == e.identity and issued(o) > issued(e) for o in events)]
    counts = [e for i, e in enumerate(counts) if e not in counts[:i]]
    timed = []
    for event in counts:
        if event.kind not in ("measurement", "dose", "input"):
            continue
        before = [
            o
            for o in counts
            if o.kind == "offset" and (o.patient, o.source) == (event.patient, event.source) and o.time <= event.time
        ]
        last = max(before, key=lambda o: (o.time, o.id.encode()), default=None)
        timed.append((event.time + (offset(last) if last else 0), event))
    kinds = ("measurement", "dose", "input")
    return sorted(timed, key=lambda t: (t[0], kinds.index(t[1].kind), t[1].source.encode(), t[1].id.encode()))


def pairs(timeline: Iterable[Timed]) -> list[tuple[int, Event]]:
    return [(timed.time, timed.event) for timed in timeline]


@given(st.lists(event_of_few(), max_size=14), st.randoms(use_true_random=False))
def test_the_definition_in_any_order(events: list[Event], random: object) -> None:
    expected = plainly(events)
    shuffled = [*events, *events[:3]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert pairs(canonical(events)) == expected
    assert pairs(canonical(iter(shuffled))) == expected


@settings(max_examples=120)
@given(st.lists(event_of_few(), max_size=14), st.data())
def test_the_log_is_the_canonical_one_after_every_arrival(events: list[Event], drawn: st.DataObject) -> None:
    """Receipts too: what is not new changes nothing, and nothing changes before `changed_from`, where something does."""
    arrivals = drawn.draw(st.permutations([*events, *events[:4]]))
    log, before = SqliteLog(), []
    for i, event in enumerate(arrivals):
        (receipt,) = log.add([event], START)
        after = log.timeline("P")
        assert after == list(canonical(arrivals[: i + 1]))
        old, new = ({t.key: t.event.content for t in timeline} for timeline in (before, after))
        differ = [key for key in {*old, *new} if old.get(key) != new.get(key)]
        assert receipt.changed_from == min(differ, default=None)
        if receipt.verdict != "new":
            assert differ == []
        if event in arrivals[:i]:
            assert receipt.verdict != "new"
        at = {t.event.identity: t.time for t in after}.get(event.identity)
        assert receipt.time == (at if receipt.verdict in ("new", "duplicate") else None)
        before = after
    at_once = SqliteLog()
    receipts = at_once.add(arrivals, START)
    assert at_once.timeline("P") == before
    assert [(t, e, (r.verdict, r.reason)) for t, e, r in at_once.arrivals()] == [
        (START, event, (receipt.verdict, receipt.reason)) for event, receipt in zip(arrivals, receipts, strict=True)
    ]
    log.close()
    at_once.close()


@settings(max_examples=100)
@given(st.lists(event_of_few(told=False), max_size=10))
def test_what_nothing_tells_apart_is_refused_and_the_rest_is_canonical(arrivals: list[Event]) -> None:
    """Two that say different things as one version, neither issued later: the second is refused, whichever that is."""
    log = SqliteLog()
    receipts = log.add(arrivals, START)
    taken = [e for e, receipt in zip(arrivals, receipts, strict=True) if receipt.verdict != "refused"]
    assert log.timeline("P") == list(canonical(taken))
    for event, receipt in zip(arrivals, receipts, strict=True):
        if receipt.verdict == "refused":
            rivals = [e for e in arrivals if e.identity == event.identity and e.version == event.version]
            assert any(e.content != event.content and issued(e) >= issued(event) for e in rivals)
            assert "a second event of the same identity and version with other content" in receipt.reason
    log.close()


# the first draw of all makes a table of characters, which takes a second or two
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(any_event(), max_size=12, unique_by=lambda e: e.identity))
def test_whatever_texts_and_times_come_back_as_they_were(events: list[Event]) -> None:
    """Every field over its whole range, through the table and back; order by bytes of UTF-8 in both."""
    log = SqliteLog()
    receipts = log.add(events, START)
    # only what an offset moves out of the centuries that have stamps is refused
    kept = [e for e, r in zip(events, receipts, strict=True) if r.verdict == "new"]
    for event, receipt in zip(events, receipts, strict=True):
        assert (receipt.verdict == "new") or "not from 1900 to 2199" in receipt.reason
        assert receipt.time is None or EARLIEST <= receipt.time < LATEST
        assert event in [e for _, e, _ in log.arrivals(event.patient)]
    for patient in {e.patient for e in events}:
        assert log.timeline(patient) == list(canonical(e for e in kept if e.patient == patient))
    assert set(log.patients()) == {e.patient for e in kept}
    log.close()


# every 47th: a prime, so that those that come first, last and side by side are all met
@pytest.mark.parametrize("every", [47, pytest.param(1, marks=pytest.mark.slow)])
def test_all_orders_of_eight_arrivals(every: int) -> None:
    """40,320 of them, or some; after each the log is as it was before."""
    log, expected = SqliteLog(), list(canonical(EIGHT))
    assert [t.event.value for t in expected] == [100.0, 77.0, 101.0, 102.0, 104.0, 105.0]
    orders = 0

    class Back(Exception):
        pass

    for order in islice(permutations(EIGHT), 0, None, every):
        with suppress(Back), log.together():
            log.add(order, START)
            if log.timeline("P") == expected:
                orders += 1
            raise Back
    assert orders == -(-40_320 // every)
    assert log.timeline("P") == []
    log.close()


def test_canonical_of_all_orders_of_seven() -> None:
    """With an offset and a withdrawal among them."""
    seven = [
        *SIX[:3],
        withdrawn("0"),
        clock("c", 20, 25.0),
        result("9", 61, 9.0),
        replace(SIX[1], version=2, value=1.0),
    ]
    expected = canonical(seven)
    assert [(t.time - START) / MINUTE for t in expected] == [55.0, 85.0, 86.0]
    assert all(canonical(order) == expected for order in permutations(seven))


# ---- the rules, one by one ---------------------------------------------------------------------------------------------


def told(*events: Event) -> tuple[list[Receipt], list[tuple[float, float | None]]]:
    """What a log answers, and its timeline as minutes and values, which is the canonical one."""
    log = SqliteLog()
    receipts = log.add(events, START)
    timeline = log.timeline("P")
    taken = [e for e, receipt in zip(events, receipts, strict=True) if receipt.verdict != "refused"]
    assert timeline == list(canonical(taken))
    log.close()
    return receipts, [((t.time - START) / MINUTE, t.event.value) for t in timeline]


def verdicts(*events: Event) -> list[str]:
    return [receipt.verdict for receipt in told(*events)[0]]


def test_what_is_measured_at_one_time_is_measured_before_what_is_given() -> None:
    # their sources come before "lab" as bytes, the input's before the dose's: rank decides
    dose = Event("P", "b", "1", 1, "dose", START + 5 * MINUTE, "gut", 50.0, "mg")
    rate = Event("P", "a", "1", 1, "input", START + 5 * MINUTE, "basal", 60.0, "mg/h")
    assert told(rate, dose, result("1", 5, 1.0))[1] == [(5, 1.0), (5, 50.0), (5, 60.0)]


def test_texts_are_in_the_order_of_their_bytes() -> None:
    names = ["a", "B", "é", "e\u0301", "10", "9", "😀", "\uffee", "Å", "ab"]
    timeline = canonical(result(name, 5, 1.0) for name in names)
    assert [t.event.id for t in timeline] == sorted(names, key=str.encode)
    by_source = canonical(result("1", 5, 1.0, source=name) for name in names)
    assert [t.event.source for t in by_source] == sorted(names, key=str.encode)


def test_a_correction_counts_whenever_it_comes() -> None:
    first, second, third = (result("1", 5 + v, float(v), version=v) for v in (1, 2, 3))
    for order in permutations((first, second, third)):
        assert told(*order)[1] == [(8, 3.0)]
    assert verdicts(third, first, second) == ["new", "older version", "older version"]
    receipts, _ = told(first, third)
    assert receipts[1].changed_from == Timed(first.time, first).key  # the place that it leaves is the older one


def test_a_withdrawal_takes_back_what_comes_before_and_after_it() -> None:
    first, other = result("1", 5, 1.0), result("2", 6, 2.0)
    for order in permutations((first, withdrawn("1"), other)):
        assert told(*order)[1] == [(6, 2.0)]
    receipts, _ = told(withdrawn("1"), first)
    assert receipts[0] == Receipt("new")
    assert receipts[1] == Receipt("older version", "this is withdrawn in version 2")


def test_only_a_higher_version_revives_what_was_withdrawn() -> None:
    first, again = result("1", 5, 1.0), result("1", 5, 3.0, version=3)
    for order in permutations((first, withdrawn("1"), again)):
        assert told(*order)[1] == [(5, 3.0)]
    for order in permutations((first, result("1", 5, 2.0, version=2), withdrawn("1", 3))):
        assert told(*order)[1] == []
    for order in permutations((first, withdrawn("1", 2), again, withdrawn("1", 4))):
        assert told(*order)[1] == []


def test_a_duplicate_changes_nothing_whenever_it_was_passed_on() -> None:
    first, again = result("1", 5, 1.0), result("1", 5, 1.0, arrived=START + HOUR)
    assert verdicts(first, again, first) == ["new", "duplicate", "duplicate"]
    for order in permutations((first, again)):
        (timed,) = canonical(order)
        assert timed.event.arrived == START + HOUR  # of what says the same, what was issued last
    assert verdicts(withdrawn("1"), withdrawn("1")) == ["new", "duplicate"]
    assert verdicts(clock("c", 0, 1.0), clock("c", 0, 1.0)) == ["new", "duplicate"]


def test_other_content_in_the_same_version() -> None:
    """Who issued later is believed, and it is said; where nothing tells, the second is refused: only here arrival decides."""
    plain, other = result("1", 5, 1.0), result("1", 5, 2.0)
    receipts, timeline = told(plain, other)
    assert receipts[1].verdict == "refused"
    assert "same identity and version with other content, and neither was issued later; write" in receipts[1].reason
    assert timeline == [(5, 1.0)]
    assert told(other, plain)[1] == [(5, 2.0)]
    with pytest.raises(ValueError, match="say different things as version 1 of '1' by 'lab' of 'P'"):
        canonical([plain, other])

    early, late = replace(plain, arrived=START), replace(other, arrived=START + HOUR)
    for order in permutations((plain, early, late)):
        assert told(*order)[1] == [(5, 2.0)]
        assert pairs(canonical(order)) == [(late.time, late)]
    receipts, _ = told(early, late)
    assert receipts[1].verdict == "new"
    assert (
        "issued later, counts in the place of the first; write a correction with a higher version" in receipts[1].reason
    )
    receipts, _ = told(late, early)
    assert receipts[1].verdict == "refused"
    assert "issued before the first" in receipts[1].reason
    # below a higher version nobody need know which of two held
    assert told(plain, other, result("1", 5, 3.0, version=2))[1] == [(5, 3.0)]
    assert pairs(canonical([plain, other, result("1", 5, 3.0, version=2)])) == [
        (plain.time, result("1", 5, 3.0, version=2))
    ]


def test_an_offset_moves_what_its_source_stamped_from_then_on() -> None:
    events = [result(str(i), 10 * i, float(i)) for i in range(4)]
    other = result("0", 20, 9.0, source="cgm")
    offset_ = clock("c", 15, -12.0)
    for order in permutations((*events[1:], offset_)):
        assert told(events[0], *order)[1] == [(0, 0.0), (8, 2.0), (10, 1.0), (18, 3.0)]
    assert told(*events, other, offset_)[1] == [(0, 0.0), (8, 2.0), (10, 1.0), (18, 3.0), (20, 9.0)]
    assert canonical([result("0", 20, 8.0, patient="Q"), offset_])[0].time == START + 20 * MINUTE
    receipts, _ = told(*events, offset_)
    assert receipts[-1].changed_from == (START + 8 * MINUTE, 0, b"lab", b"2")


def test_offsets_follow_each_other_and_are_corrected_and_withdrawn() -> None:
    events = [result(str(i), 10 * i, float(i)) for i in range(4)]
    one, two = clock("a", 5, 1.0), clock("b", 25, 2.0)
    assert told(*events, one, two)[1] == [(0, 0.0), (11, 1.0), (21, 2.0), (32, 3.0)]
    corrected = clock("a", 15, 3.0, version=2)
    assert told(one, *events, two, corrected)[1] == [(0, 0.0), (10, 1.0), (23, 2.0), (32, 3.0)]
    assert told(*events, one, two, withdrawn("a"))[1] == [(0, 0.0), (10, 1.0), (20, 2.0), (32, 3.0)]
    assert told(withdrawn("b"), *events, one, two)[1] == [(0, 0.0), (11, 1.0), (21, 2.0), (31, 3.0)]
    # two at one stamp: that with the greater id, as bytes
    assert told(*events[:2], clock("a", 5, 1.0), clock("b", 5, 2.0))[1] == [(0, 0.0), (12, 1.0)]
    # at its own stamp it is in force
    assert told(result("1", 5, 1.0), one)[1] == [(6, 1.0)]
    # before what it was
    moved = clock("b", 1, 2.0, version=2)
    assert told(*events, two, moved)[1] == [(0, 0.0), (12, 1.0), (22, 2.0), (32, 3.0)]


def test_a_correction_may_be_of_another_kind() -> None:
    """What was entered as a measurement was a clock that was set, and the other way round."""
    others = [result("2", 10, 2.0), result("3", 20, 3.0)]
    for order in permutations((result("1", 5, 7.0), clock("1", 15, 1.0, version=2), *others)):
        assert told(*order)[1] == [(10, 2.0), (21, 3.0)]
    for order in permutations((clock("1", 5, 1.0), result("1", 15, 7.0, version=2), *others)):
        assert told(*order)[1] == [(10, 2.0), (15, 7.0), (20, 3.0)]


def test_several_patients() -> None:
    events = [result("1", 5, 1.0, patient=p) for p in ("Q", "P", "é", "R")]
    assert [t.event.patient for t in canonical(events)] == ["P", "Q", "R", "é"]
    assert len(counting(events)) == 4
