"""The database of a log: one SQLite file that one process holds, opened only where it is a log of this format.

`journal_mode=WAL` and `synchronous=FULL`: what is committed survives the end of the process and of the power. The lock is held
from opening to closing (`locking_mode=EXCLUSIVE`), since whoever follows people keeps in memory what follows from the file: a
second writer would make that wrong. The system lets the lock go when a process dies, however it dies.
"""

import ctypes
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from physics.arguments import quote, require_path

FORMAT = 1
_APPLICATION = 0x686F6D65  # "home" in a file's header: whose file it is
_SMALLEST = 512  # bytes of the smallest database that is not empty
_WAIT = 2.0  # seconds, for a process that is just ending

# `arrivals` is all that ever came, with its acknowledgement, and is only appended to. `live` has one row an identity: the event
# that counts (or the withdrawal), with its effective time and rank where it has a place in the order. `base` is what a person's
# folded past came to. Columns are in the order of the fields of `Event`; `stamp` is its `time`.
_COLUMNS = (
    "patient TEXT NOT NULL, source TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL, "
    "stamp INTEGER NOT NULL, name TEXT NOT NULL, value REAL, unit TEXT NOT NULL, duration INTEGER NOT NULL, arrived INTEGER"
)
_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE people (number INTEGER PRIMARY KEY, patient TEXT NOT NULL UNIQUE, data BLOB, received INTEGER)",
    f"CREATE TABLE arrivals (number INTEGER PRIMARY KEY, received INTEGER NOT NULL, {_COLUMNS}, "
    "verdict TEXT NOT NULL, reason TEXT NOT NULL)",
    f"CREATE TABLE live ({_COLUMNS}, time INTEGER, rank INTEGER, PRIMARY KEY (patient, source, id)) WITHOUT ROWID",
    "CREATE INDEX in_order ON live (patient, time, rank, source, id) WHERE rank IS NOT NULL",
    "CREATE INDEX clocks ON live (patient, source, stamp, id) WHERE kind = 'offset'",
    "CREATE TABLE base (patient TEXT PRIMARY KEY, time INTEGER NOT NULL, rank INTEGER NOT NULL, source TEXT NOT NULL, "
    "id TEXT NOT NULL, state BLOB NOT NULL) WITHOUT ROWID",
)
_BUSY = "it is in use by another process, or by another log of this one; end that, or write to another file"
_SAID = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_FULL: "the disk is full, and nothing of this was written; make room, and send it again",
    sqlite3.SQLITE_IOERR: "the disk did not take the data, and nothing was acknowledged; look at the disk, and send it again",
    sqlite3.SQLITE_READONLY: "it cannot be written; change its permissions, or write to another file",
    sqlite3.SQLITE_PERM: "it cannot be written; change its permissions, or write to another file",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened, or its folder not be written to; name a file in a folder of yours",
}
_DAMAGED = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


class Database:
    """One open file, or a database in memory. `run` runs a statement, `together` makes several of them one.

    Errors: `ValueError` for what is no log of this format, `OSError` for what the disk or another process does not allow; both
    are one sentence that names the file.
    """

    def __init__(self, path: Path | str | None) -> None:
        self.name = "the log in memory" if path is None else str(path)
        self._lock = threading.RLock()
        self._depth = 0
        self._process = os.getpid()
        file = ":memory:" if path is None else _usable(path)
        with self._said():
            # an absolute path is never taken for a URI or for ":memory:", whatever it is made of
            self._db = sqlite3.connect(
                file, timeout=_WAIT, isolation_level=None, check_same_thread=False, cached_statements=64
            )
        try:
            with self._said():
                self._prepare()
        except BaseException:
            self._db.close()
            raise
        _OPEN.add(self)

    def _prepare(self) -> None:
        run = self._db.execute
        for pragma in (
            "locking_mode=EXCLUSIVE",
            "synchronous=FULL",
            "fullfsync=1",
            "checkpoint_fullfsync=1",
            "trusted_schema=0",
        ):
            run(f"PRAGMA {pragma}")
        run("BEGIN EXCLUSIVE")
        found = tuple(
            sql
            for (sql,) in run(
                "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
            )
        )
        application, version = run("PRAGMA application_id").fetchone()[0], run("PRAGMA user_version").fetchone()[0]
        if not found and not application:  # a new file, or one in which nothing was ever committed
            for sql in _SCHEMA:
                run(sql)
            run(f"PRAGMA application_id={_APPLICATION}")
            run(f"PRAGMA user_version={FORMAT}")
        elif application != _APPLICATION:
            raise ValueError(f"{self.name}: this is a database of another program, and no log; name another file")
        elif version != FORMAT:
            raise ValueError(
                f"{self.name}: this log has format {version}, and this version of homeostat reads format {FORMAT}; "
                f"{'use a newer homeostat' if version > FORMAT else 'use the homeostat that wrote it'}, or write to another file"
            )
        elif sorted(found) != sorted(_SCHEMA):
            raise ValueError(
                f"{self.name}: this log's tables are not those of format {FORMAT}; name a file that nobody has changed"
            )
        run("COMMIT")
        run("PRAGMA journal_mode=WAL")  # the lock is kept: from here on nobody else reads or writes

    def run(self, sql: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        """The rows of one statement, whose values are never part of its text."""
        if self._depth and not self._db.in_transaction:  # somebody went on after an error that undid the whole
            raise OSError(
                f"{self.name}: an error undid all that was begun together, and nothing of it was written; send it again"
            )
        return self._db.execute(sql, values)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Statements that change nothing, and errors that say what is wrong."""
        self._require_own()
        with self._lock, self._said():
            yield

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is done inside is done as a whole or not at all, and is on the disk when the outermost one ends."""
        self._require_own()
        with self._lock, self._said():
            depth = self._depth
            begin, end, undo = ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
            if depth:
                begin, end, undo = (f"{word} inner_{depth}" for word in ("SAVEPOINT", "RELEASE", "ROLLBACK TO"))
            try:
                self.run(begin)
                self._depth += 1
                yield
                self.run(end)
            except BaseException:
                # a full disk may have undone everything already
                with suppress(sqlite3.Error):
                    if self._db.in_transaction:
                        self._db.execute(undo)
                raise
            finally:
                self._depth = depth

    def close(self) -> None:
        """Let the file go; what was committed is in it. Closing twice is closing once."""
        if os.getpid() == self._process:
            with self._lock:
                self._db.close()

    def disown(self) -> None:
        """In a forked copy of the process: never close what is the other one's.

        Closing is what Python does to a connection that nobody needs, and what SQLite does then is to move the write-ahead log
        into the database and delete it: the process that goes on would commit into a file without a name.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._db))

    def _require_own(self) -> None:
        if os.getpid() != self._process:
            raise ValueError(
                f"{self.name}: this process is a copy of the one that opened it; open a log of its own in each"
            )

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError as error:
            raise ValueError(f"{self.name}: the log is closed ({error}); open it again") from error
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _DAMAGED:
                raise ValueError(
                    f"{self.name}: this is no database, or a damaged one ({error}); name another file"
                ) from error
            if code in _SAID:
                raise OSError(f"{self.name}: {_SAID[code]}") from error
            raise


_OPEN: weakref.WeakSet[Database] = weakref.WeakSet()


def _disown_all() -> None:
    for database in _OPEN:
        database.disown()


if hasattr(os, "register_at_fork"):  # where processes can be copied
    os.register_at_fork(after_in_child=_disown_all)


def _usable(path: Path | str) -> str:
    """The absolute path of a file that may be a log. Errors: `ValueError`, `OSError`."""
    require_path(path, "SqliteLog: the file", 'SqliteLog("people.db"), or SqliteLog() for a log in memory')
    if str(path) == ":memory:":
        raise ValueError('SqliteLog: ":memory:" is no file; write SqliteLog() for a log in memory')
    file = os.path.abspath(path)
    if os.path.isdir(file):
        raise ValueError(f"{path}: this is a folder; name a file in it")
    if not os.path.isdir(os.path.dirname(file)):
        raise ValueError(f"{path}: there is no folder {quote(os.path.dirname(file))}; make it first")
    # never opened here: closing a file lets go of every lock that this process has on it, another log's too
    size = os.path.getsize(file) if os.path.exists(file) else 0
    if 0 < size < _SMALLEST:  # SQLite takes one byte for nothing, and would write over it
        raise ValueError(f"{path}: this is no database, or a damaged one (it has {size} bytes); name another file")
    writable = os.access(file, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    if os.path.exists(file) and not writable:
        raise OSError(f"{path}: {_SAID[sqlite3.SQLITE_READONLY]}")
    return file
