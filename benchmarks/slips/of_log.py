"""One valid call of every public name and method of the log of `twin`, tiny."""

from itertools import count

import twin
from benchmarks.slips.attempt import Call, of
from benchmarks.slips.world import world

NOW = twin.read_time("2026-11-27T08:00:00Z")
DAY = 86_400_000_000


def rows() -> dict[str, Call]:
    w, fresh = world(), count()
    fields = {"patient": "P1", "source": "lab", "id": "4711", "version": 1, "kind": "dose", "time": NOW, "name": "gut",
              "value": 5.4, "unit": "mg", "duration": 60_000_000, "arrived": NOW + 5}
    line = {"patient": "P1", "source": "lab", "id": "4711", "version": 1, "kind": "measurement", "time": "2026-11-27T08:00:00Z",
            "channel": "glucose", "value": 5.4, "unit": "mmol/L"}
    event = twin.Event(**fields)  # type: ignore[arg-type]

    def log() -> twin.SqliteLog:
        """One that has heard of somebody."""
        opened = twin.SqliteLog()
        opened.add([event], NOW)
        return opened

    key = log().timeline("P1")[0].key
    return of("twin", {
        "Event": lambda: (twin.Event, dict(fields)),
        "read_event": lambda: (twin.read_event, {"line": dict(line)}),
        "as_line": lambda: (twin.as_line, {"event": event}),
        "canonical": lambda: (twin.canonical, {"events": [event]}),
        "read_time": lambda: (twin.read_time, {"text": "2026-11-27T08:00:00Z", "what": "time"}),
        "time_text": lambda: (twin.time_text, {"time": NOW}),
        "SqliteLog": lambda: (twin.SqliteLog, {"path": str(w.folder / f"{next(fresh)}.db")}),
        "SqliteLog.open_for": lambda: (log().open_for, {"bundle_hash": "abc", "settings": {"horizon": 7 * DAY}}),
        "SqliteLog.add": lambda: (log().add, {"events": [event], "received": NOW, "judged": [None], "horizon": 7 * DAY,
                                              "ahead": DAY}),
        "SqliteLog.timeline": lambda: (log().timeline, {"patient": "P1", "after": key}),
        "SqliteLog.history": lambda: (log().history, {"patient": "P1"}),
        "SqliteLog.timelines": lambda: (log().timelines, {"patients": ["P1"], "after": [key]}),
        "SqliteLog.newest": lambda: (log().newest, {"patient": "P1"}),
        "SqliteLog.received": lambda: (log().received, {"patient": "P1"}),
        "SqliteLog.arrivals": lambda: (log().arrivals, {"patient": "P1"}),
        "SqliteLog.admit": lambda: (log().admit, {"patient": "P1", "data": b"data"}),
        "SqliteLog.person": lambda: (log().person, {"patient": "P1"}),
        "SqliteLog.fold": lambda: (log().fold, {"patient": "P1", "key": key, "state": b"state"}),
        "SqliteLog.base": lambda: (log().base, {"patient": "P1"}),
    })
