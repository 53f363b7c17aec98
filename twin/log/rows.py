"""What the tables of a log hold of a person, as events: one row each, read and written by these functions alone."""

from physics.arguments import quote
from twin.log.canonical import RANK, Key, Timed
from twin.log.database import Database
from twin.log.events import Event, offset

FIELDS = "patient, source, id, version, kind, stamp, name, value, unit, duration, arrived"  # those of `Event`, in their order
MARKS = ", ".join("?" * len(FIELDS.split(", ")))
_BEGINNING: Key = (1 - 2**63, -1, b"", b"")  # before every key


def row_of(event: Event) -> tuple[object, ...]:
    """The event's fields in the order of the columns."""
    head = (event.patient, event.source, event.id, event.version, event.kind, event.time)
    return (*head, event.name, event.value, event.unit, event.duration, event.arrived)


def columns_of(key: Key) -> tuple[int, int, str, str]:
    """A key as the columns of `live` have it. Errors: `ValueError` for what is no key."""
    if not isinstance(key, tuple) or [type(part) for part in key] != [int, int, bytes, bytes]:
        raise ValueError(
            f"SqliteLog: a key is that of something in a timeline, and this is {quote(key)}; write timed.key"
        )
    time, rank, source, name = key
    if not max(abs(time), abs(rank)) < 2**63:
        raise ValueError(f"SqliteLog: the numbers of a key have 64 bits, and this is {quote(key)}; write timed.key")
    try:
        return time, rank, source.decode(), name.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"SqliteLog: source and id of a key are UTF-8, and this is {quote(key)}; write timed.key"
        ) from error


def put(database: Database, event: Event, time: int | None) -> None:
    """Let this event be what counts of its identity."""
    values = (*row_of(event), time, RANK.get(event.kind))
    database.run(f"INSERT OR REPLACE INTO live VALUES ({MARKS}, ?, ?)", values)


def move(database: Database, event: Event, time: int) -> None:
    """Give what counts of this identity another effective time."""
    database.run("UPDATE live SET time = ? WHERE patient = ? AND source = ? AND id = ?", (time, *event.identity))


def present_of(database: Database, event: Event) -> tuple[Event | None, int | None]:
    """What counts of the event's identity, and its effective time."""
    sql = f"SELECT time, {FIELDS} FROM live WHERE patient = ? AND source = ? AND id = ?"
    row = database.run(sql, event.identity).fetchone()
    return (None, None) if row is None else (Event(*row[1:]), row[0])


def added_to(database: Database, event: Event) -> int:
    """What the offset in force adds to the stamp of a measurement, a dose or an input."""
    sql = (
        f"SELECT {FIELDS} FROM live INDEXED BY clocks WHERE patient = ? AND source = ? AND kind = 'offset' AND stamp <= ? "
        "AND id <> ? ORDER BY stamp DESC, id DESC LIMIT 1"
    )
    row = database.run(sql, (event.patient, event.source, event.time, event.id)).fetchone()
    return 0 if row is None else offset(Event(*row))


def offsets_beside(database: Database, event: Event) -> list[Event]:
    """The offsets of the event's patient and source that count, but for that of its own identity."""
    sql = (
        f"SELECT {FIELDS} FROM live INDEXED BY clocks WHERE patient = ? AND source = ? AND id <> ? AND kind = 'offset'"
    )
    return [Event(*row) for row in database.run(sql, (event.patient, event.source, event.id))]


def stamped_beside(database: Database, event: Event, since: int) -> list[Timed]:
    """What else of the event's patient and source has a place in the order and was stamped at `since` or later."""
    sql = f"SELECT time, {FIELDS} FROM live WHERE patient = ? AND source = ? AND id <> ? AND rank IS NOT NULL AND stamp >= ?"
    rows = database.run(sql, (event.patient, event.source, event.id, since))
    return [Timed(time, Event(*row)) for time, *row in rows]


def timeline_of(database: Database, patient: str, after: Key | None, *, whole: bool = False) -> list[Timed]:
    """What counts of this patient, behind what is folded, unless it is the `whole`, and behind `after`, in canonical order."""
    folded = None if whole else folded_to(database, patient)
    if after is not None:
        columns_of(after)
    begin = max(_BEGINNING if after is None else after, _BEGINNING if folded is None else folded)
    sql = (
        f"SELECT time, {FIELDS} FROM live WHERE patient = ? AND rank IS NOT NULL "
        "AND (time, rank, source, id) > (?, ?, ?, ?) ORDER BY time, rank, source, id"
    )
    return [Timed(time, Event(*row)) for time, *row in database.run(sql, (patient, *columns_of(begin)))]


def newest_of(database: Database, patient: str) -> int | None:
    """The latest effective time of what counts of this patient."""
    sql = "SELECT time FROM live WHERE patient = ? AND rank IS NOT NULL ORDER BY time DESC LIMIT 1"
    row = database.run(sql, (patient,)).fetchone()
    return None if row is None else row[0]


def folded_to(database: Database, patient: str) -> Key | None:
    """The key up to which, and with which, this patient's past is folded."""
    row = database.run("SELECT time, rank, source, id FROM base WHERE patient = ?", (patient,)).fetchone()
    return None if row is None else (row[0], row[1], row[2].encode(), row[3].encode())


def is_key_of(database: Database, patient: str, key: Key) -> bool:
    """Is this the key of something that counts of this patient?"""
    sql = "SELECT 1 FROM live WHERE patient = ? AND rank IS NOT NULL AND (time, rank, source, id) = (?, ?, ?, ?)"
    return database.run(sql, (patient, *columns_of(key))).fetchone() is not None
