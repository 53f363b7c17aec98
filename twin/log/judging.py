"""What becomes of one event that arrives: whether it counts, what it changes, from where on, and why it may not."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

from physics.glance import Summary, glance
from twin.log.canonical import RANK, Key, Timed, issued, shown_key
from twin.log.database import Database
from twin.log.events import Event, offset
from twin.log.rows import added_to, folded_to, move, newest_of, offsets_beside, present_of, put, stamped_beside
from twin.log.times import EARLIEST, LATEST, time_text

Verdict = Literal["new", "duplicate", "older version", "refused"]
_SECOND = "a second event of the same identity and version with other content"
_WRITE = "write a correction with a higher version"


def _in_brief(receipt: "Receipt") -> Summary:
    return f"Receipt: {receipt.verdict}", [
        ("reason", receipt.reason),
        ("changed from", None if receipt.changed_from is None else shown_key(receipt.changed_from)),
        ("time", None if receipt.time is None else _shown(receipt.time)),
    ]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the log answers to one event, once both are on the disk.

    Attributes:
        verdict: "new" changes what counts; "duplicate" was known, to the last field; "older version" is of an identity of which a
            higher version is known; "refused" changes nothing.
        reason: one sentence; empty where there is nothing to say.
        changed_from: the canonical key of the oldest thing that it changes, from where on a state is to be computed anew;
            None where nothing changes.
        time: the effective time of a measurement, a dose or an input that counts now (µs UTC), else None.
    """

    __repr__, _repr_html_ = glance(_in_brief)

    verdict: Verdict
    reason: str = ""
    changed_from: Key | None = None
    time: int | None = None


def judge(database: Database, event: Event, received: int, horizon: int | None, ahead: int | None) -> Receipt:
    """The answer to one event; where it is "new", what counts is changed. Arguments: as `SqliteLog.add`."""
    present, present_time = present_of(database, event)
    remark = ""
    if present is not None:
        if event.content == present.content:
            if issued(event) > issued(present):  # the same, told once more and later: that one counts
                put(database, event, present_time)
            return Receipt("duplicate", time=present_time)
        if event.version < present.version:
            was = "withdrawn" if present.kind == "withdrawal" else "known"
            return Receipt("older version", f"this is {was} in version {present.version}")
        if event.version == present.version:
            if issued(event) <= issued(present):
                which = "issued before the first" if issued(event) < issued(present) else "and neither was issued later"
                return Receipt("refused", f"{_SECOND}, {which}; {_WRITE}")
            remark = f"{_SECOND}, issued later, counts in the place of the first; {_WRITE}"
    time = event.time + added_to(database, event) if event.kind in RANK else None
    moved = _moved(database, event, present)
    before = [
        *(old for old, _ in moved),
        *([] if present is None or present_time is None else [Timed(present_time, present)]),
    ]
    after = [*(new for _, new in moved), *([] if time is None else [Timed(time, event)])]
    first = min((timed.key for timed in (*before, *after)), default=None)
    refused = _refused(database, event.patient, first, horizon)
    refused = refused or _impossible(after, None if ahead is None else received + ahead)
    if refused:
        return Receipt("refused", refused)
    put(database, event, time)
    for _, new in moved:
        move(database, new.event, new.time)
    return Receipt("new", remark, first, time)


def _moved(database: Database, event: Event, present: Event | None) -> list[tuple[Timed, Timed]]:
    """What else of its source an offset moves that is new, corrected or withdrawn: as it was, and as it will be."""
    changed = [e.time for e in (event, present) if e is not None and e.kind == "offset"]
    if not changed:
        return []
    clock = offsets_beside(database, event) + ([event] if event.kind == "offset" else [])
    clock.sort(key=lambda e: (e.time, e.id.encode()))
    stamps, added = [e.time for e in clock], [offset(e) for e in clock]
    moved = []
    for old in stamped_beside(database, event, min(changed)):
        i = bisect_right(stamps, old.event.time)
        new = Timed(old.event.time + (added[i - 1] if i else 0), old.event)
        if new.time != old.time:
            moved.append((old, new))
    return moved


def _refused(database: Database, patient: str, first: Key | None, horizon: int | None) -> str:
    """Why nothing may change from this key on, where it lies before the horizon; else empty."""
    if first is None:  # a withdrawal of what is not known, an offset that concerns nothing yet
        return ""
    folded = folded_to(database, patient)
    newest = newest_of(database, patient) if horizon is not None else None
    limit = None if newest is None or horizon is None else newest - horizon
    # all of the fold's time is settled with it: what counts at one time is learned of together
    if (folded is None or first[0] > folded[0]) and (limit is None or first[0] >= limit):
        return ""
    settled = max(time for time in (limit, None if folded is None else folded[0]) if time is not None)
    return (
        f"it is older than the horizon: what was until {_shown(settled)} is settled for this person, and it would change "
        f"what was at {_shown(first[0])}; keep it elsewhere, or follow with a longer horizon"
    )


def _impossible(after: list[Timed], latest: int | None) -> str:
    """Why no event can have such an effective time; else empty."""
    for timed in after:
        if not EARLIEST <= timed.time < LATEST:
            return "with the offset of its source it is not from 1900 to 2199; correct the offset"
        if latest is not None and timed.time > latest:
            return (
                f"it is of {time_text(timed.time)}, which is still to come; correct its time, or its clock by an offset"
            )
    return ""


def _shown(time: int) -> str:
    return time_text(min(max(time, EARLIEST), LATEST - 1))
