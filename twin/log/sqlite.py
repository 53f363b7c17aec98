"""The log of people's events in SQLite: what arrives, what was answered, and what of it counts, in canonical order."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from physics.arguments import quote, require_kind, require_names, require_text
from twin.log.canonical import Key, Timed
from twin.log.database import Database
from twin.log.events import LONGEST, Event
from twin.log.judging import Receipt, judge
from twin.log.rows import FIELDS, MARKS, columns_of, folded_to, is_key_of, newest_of, row_of, timeline_of
from twin.log.times import require_stamp

_RECEIVED = (
    "INSERT INTO people (patient, received) VALUES (?, ?) "
    "ON CONFLICT (patient) DO UPDATE SET received = excluded.received"
)


class SqliteLog:
    """The log in a file, which this process alone holds until it is closed; without a path in memory, by the same code.

    Law: after any arrivals, `timeline(patient)` is `canonical` of the events that were not refused, in whatever order they came.

    Errors, here and in every method: `ValueError` for a file that is no log, or a log of another format; `OSError` where the disk
    is full, the file cannot be written, or another process holds it. Nothing of the call was written then.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = path
        self._database = Database(path)

    def open_for(self, bundle_hash: str, settings: Mapping[str, Any]) -> None:
        """Say what the states that are folded here, and the refusals, are of: a bundle, by its hash, and the settings.

        Errors: `ValueError`, which names the first difference, for a log that was opened for another bundle or other settings.
        """
        require_text(bundle_hash, "SqliteLog.open_for: bundle_hash", "the hash of the bundle's content")
        require_kind(settings, Mapping, "SqliteLog.open_for: settings", '{"horizon": 604_800_000_000}')
        require_names(list(settings), "SqliteLog.open_for: the names of settings", '{"horizon": 604_800_000_000}')
        try:
            said = {f"setting {name}": json.dumps(settings[name], sort_keys=True, allow_nan=False) for name in settings}
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"SqliteLog.open_for: settings are what JSON holds ({error}); write numbers and texts"
            ) from error
        wanted = {"bundle": bundle_hash} | said
        with self._database.together():
            known = dict(self._database.run("SELECT name, value FROM meta"))
            if not known:
                for name, value in wanted.items():
                    self._database.run("INSERT INTO meta VALUES (?, ?)", (name, value))
                return
        for name in sorted({*known, *wanted}):
            was, now = known.get(name, "absent"), wanted.get(name, "absent")
            if was != now:
                raise ValueError(
                    f"{self._database.name}: this log was written with the {name} {was} and is opened with {now}, and the same "
                    "events would mean something else; open it as it was written, or begin another file"
                )

    def add(
        self,
        events: Sequence[Event],
        received: int,
        judged: Sequence[str | None] | None = None,
        *,
        horizon: int | None = None,
        ahead: int | None = None,
    ) -> list[Receipt]:
        """Take the events, one after the other, and answer each; all of it, with the answers, is one transaction.

        It returns when that is on the disk: who acknowledges an event after this has not lost it.

        Arguments:
            events: what arrived, in the order in which it did; of any number of people.
            received: when that was, by our own clock (µs UTC). It is kept, and decides nothing but what `ahead` says.
            judged: for each event why the caller refuses it, or None; None for all: nothing is refused so.
            horizon: µs; what would change a person's past before their newest effective time minus this is refused.
            ahead: µs; an effective time later than `received` plus this is refused.

        Errors: `ValueError` for what is no event, or another number of `judged`.
        """
        require_kind(events, (list, tuple), "SqliteLog.add: events", "[event]")
        for event in events:
            require_kind(event, Event, "SqliteLog.add: each of the events", "Event(…), or read_event(line)")
        require_stamp(received, "received")
        for what, span in (("horizon", horizon), ("ahead", ahead)):
            if span is not None and (type(span) is not int or not 0 <= span <= LONGEST):
                said = f"SqliteLog.add: {what} is whole microseconds, of a hundred years at most, and is {quote(span)}"
                raise ValueError(f"{said}; write 7 * DAY, or None")
        reasons = _of_each(judged, len(events), "SqliteLog.add: judged", "event")
        for reason in reasons:
            if reason is not None:
                require_text(reason, "SqliteLog.add: judged: why an event is refused", "None for one that is not")
        receipts = []
        with self._database.together():
            for event, reason in zip(events, reasons, strict=True):
                refused = Receipt("refused", reason) if reason else None
                receipts.append(refused or judge(self._database, event, received, horizon, ahead))
                if receipts[-1].verdict != "refused":
                    self._database.run(_RECEIVED, (event.patient, received))
                self._database.run(
                    f"INSERT INTO arrivals (received, {FIELDS}, verdict, reason) VALUES (?, {MARKS}, ?, ?)",
                    (received, *row_of(event), receipts[-1].verdict, receipts[-1].reason),
                )
        return receipts

    def timeline(self, patient: str, after: Key | None = None) -> list[Timed]:
        """What counts of this patient and is not folded, in canonical order; with `after`, what comes behind that key."""
        _require_patient(patient)
        with self._database.reading():
            return timeline_of(self._database, patient, after)

    def history(self, patient: str) -> list[Timed]:
        """What counts of this patient, what is folded too, in canonical order."""
        _require_patient(patient)
        with self._database.reading():
            return timeline_of(self._database, patient, None, whole=True)

    def timelines(self, patients: Sequence[str], after: Sequence[Key | None] | None = None) -> list[list[Timed]]:
        """`timeline` of each of the patients, as they are at one time."""
        patients = require_names(patients, "SqliteLog.timelines: patients", '["P1"]')
        for patient in patients:
            _require_patient(patient)
        keys = _of_each(after, len(patients), "SqliteLog.timelines: after", "patient")
        with self._database.reading():
            return [timeline_of(self._database, patient, key) for patient, key in zip(patients, keys, strict=True)]

    def newest(self, patient: str) -> int | None:
        """The latest effective time of what counts of this patient (µs UTC), from which the horizon is counted."""
        _require_patient(patient)
        with self._database.reading():
            return newest_of(self._database, patient)

    def arrivals(self, patient: str | None = None) -> list[tuple[int, Event, Receipt]]:
        """All that ever arrived, of one patient or of all, in that order: when it was received, the event, what was answered.

        Of the answer, verdict and reason are kept.
        """
        if patient is not None:
            _require_patient(patient)
        which, values = ("", ()) if patient is None else ("WHERE patient = ?", (patient,))
        with self._database.reading():
            sql = f"SELECT received, verdict, reason, {FIELDS} FROM arrivals {which} ORDER BY number"
            rows = self._database.run(sql, values).fetchall()
        return [(received, Event(*event), Receipt(verdict, reason)) for received, verdict, reason, *event in rows]

    def received(self, patient: str) -> int | None:
        """When the last event of this patient came that was not refused, by our own clock (µs UTC)."""
        _require_patient(patient)
        with self._database.reading():
            row = self._database.run("SELECT received FROM people WHERE patient = ?", (patient,)).fetchone()
        return None if row is None else row[0]

    def patients(self) -> tuple[str, ...]:
        """Everyone who was admitted, or of whom something was taken, the first one first."""
        with self._database.reading():
            return tuple(patient for (patient,) in self._database.run("SELECT patient FROM people ORDER BY number"))

    def admit(self, patient: str, data: bytes) -> None:
        """Keep what must be known of somebody who is followed. Errors: `ValueError` where other data of them are kept."""
        _require_patient(patient)
        require_kind(data, bytes, "SqliteLog.admit: data", "bytes")
        with self._database.together():
            known = self.person(patient)
            if known is not None and known != data:
                said = f"{self._database.name}: of {quote(patient)} other data are kept"
                raise ValueError(f"{said}; give those, or begin another file")
            self._database.run("INSERT OR IGNORE INTO people (patient) VALUES (?)", (patient,))
            self._database.run("UPDATE people SET data = ? WHERE patient = ?", (data, patient))

    def person(self, patient: str) -> bytes | None:
        """What `admit` was given; None for somebody who was not admitted."""
        _require_patient(patient)
        with self._database.reading():
            row = self._database.run("SELECT data FROM people WHERE patient = ?", (patient,)).fetchone()
        return None if row is None else row[0]

    def fold(self, patient: str, key: Key, state: bytes) -> None:
        """Settle this patient's past: everything up to and with `key` is in `state`, and later changes to it are refused, as is
        whatever else would count at the time of `key`.

        The events stay in the file, so that a duplicate is known and a correction refused; `timeline` begins behind `key`.

        Errors: `ValueError` for the key of nothing that counts of this patient, and for one before an earlier fold.
        """
        _require_patient(patient)
        require_kind(state, bytes, "SqliteLog.fold: state", "bytes")
        with self._database.together():
            if not is_key_of(self._database, patient, key):
                said = f"SqliteLog.fold: {quote(key)} is the key of nothing that counts of {quote(patient)}"
                raise ValueError(f"{said}; write the key of something in its timeline")
            present = folded_to(self._database, patient)
            if present is not None and key < present:
                raise ValueError(
                    f"SqliteLog.fold: {quote(patient)} is folded further, to {quote(present)}; write a key behind that"
                )
            values = (patient, *columns_of(key), state)
            self._database.run("INSERT OR REPLACE INTO base VALUES (?, ?, ?, ?, ?, ?)", values)

    def base(self, patient: str) -> tuple[Key, bytes] | None:
        """Up to where this patient's past is folded, and what it came to; None where it is not."""
        _require_patient(patient)
        with self._database.reading():
            key = folded_to(self._database, patient)
            if key is None:
                return None
            return key, self._database.run("SELECT state FROM base WHERE patient = ?", (patient,)).fetchone()[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is added, admitted and folded inside is one transaction: all of it or nothing, on the disk when it ends.

        A receipt that `add` returns inside holds only from then on: acknowledge nothing before.
        """
        with self._database.together():
            yield

    def close(self) -> None:
        """Let the file go. What was answered is in it, and another process may open it now."""
        self._database.close()

    def __enter__(self) -> "SqliteLog":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SqliteLog({'' if self.path is None else repr(str(self.path))})"


def _require_patient(patient: object) -> None:
    """Raise `ValueError` for what is no id that an event could have."""
    require_text(patient, "SqliteLog: patient", '"P1"')
    try:
        str(patient).encode()
    except UnicodeEncodeError as error:
        said = f"SqliteLog: patient is {quote(patient)}, with half of a character"
        raise ValueError(f"{said}; write it as its events have it") from error


def _of_each(values: Sequence[Any] | None, count: int, what: str, each: str) -> list[Any]:
    """The values in a list, one of each; as many None where there are none. Errors: `ValueError`, beginning with `what`."""
    if values is None:
        return [None] * count
    if not isinstance(values, list | tuple) or len(values) != count:
        seen = f"has {len(values)}" if isinstance(values, list | tuple) else f"is {quote(values)}"
        raise ValueError(f"{what} {seen}, for {count} of {each}s; give one, or None, for each {each}, in a list")
    return list(values)
