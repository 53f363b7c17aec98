"""The file of a log: whose it is, who holds it, and what is said where it cannot be used; nothing of it is lost."""

import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.twin.log.drawn import START, result
from tests.twin.log.elsewhere import copied, limited, opened, told_by
from twin.log import SqliteLog
from twin.log.database import FORMAT

EVENTS = [result(str(i), i, float(i)) for i in range(50)]


def one_sentence(error: BaseException, *words: str) -> None:
    text = str(error)
    assert "\n" not in text
    assert "; " in text
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    "name",
    [
        "a b.db",
        "it's.db",
        'quo"te.db',
        "100%41.db",
        "who?mode=memory",
        "a#b",
        "file:x?mode=ro",
        "é€😀.db",
        "x';--",
        "-",
        "~",
        "$HOME",
    ],
)
def test_any_path_is_a_path(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (name, Path(name), str(tmp_path / name)):
        with SqliteLog(path) as log:
            log.add(EVENTS[:3], START)
            assert len(log.timeline("P")) == 3
        assert [p.name for p in tmp_path.iterdir()] == [name]


def test_what_is_no_path(tmp_path: Path) -> None:
    for path in ("", " ", 5, b"x", "a\0b", "x" * 300):
        with pytest.raises(ValueError, match="SqliteLog: the file is a path, and is"):
            SqliteLog(path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"is no file; write SqliteLog\(\) for a log in memory"):
        SqliteLog(":memory:")
    with pytest.raises(ValueError, match="this is a folder; name a file in it"):
        SqliteLog(tmp_path)
    with pytest.raises(ValueError, match=r"there is no folder .*absent.*; make it first"):
        SqliteLog(tmp_path / "absent" / "x.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"x", b"not a database, " * 100, b"SQLite format 3\0" + b"\0" * 20, b"\0" * 5000, b'{"a": 1}\n']
)
def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="this is no database, or a damaged one") as raised:
        SqliteLog(path)
    one_sentence(raised.value, str(path), "name another file")
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA journal_mode={mode}")
        other.execute("CREATE TABLE live (a)")
        other.execute("INSERT INTO live VALUES (1)")
        other.commit()
    before = path.read_bytes()
    with pytest.raises(ValueError, match="a database of another program, and no log; name another file"):
        SqliteLog(path)
    assert path.read_bytes() == before
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT a FROM live").fetchall() == [(1,)]


def test_an_empty_file_becomes_a_log(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.touch()
    with SqliteLog(path) as log:
        assert log.add(EVENTS, START)[-1].verdict == "new"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        (
            f"PRAGMA user_version={FORMAT + 1}",
            f"has format {FORMAT + 1}, and this version .* reads format {FORMAT}; use a newer",
        ),
        ("PRAGMA user_version=0", "has format 0, .*; use the homeostat that wrote it"),
        ("PRAGMA application_id=5", "a database of another program"),
        ("CREATE TABLE more (a)", "this log's tables are not those of format 1; name a file that nobody has changed"),
        ("CREATE TRIGGER t AFTER INSERT ON live BEGIN DELETE FROM arrivals; END", "this log's tables are not those"),
        ("DROP INDEX in_order", "this log's tables are not those"),
        ("ALTER TABLE live ADD COLUMN more", "this log's tables are not those"),
    ],
)
def test_a_file_of_another_format_is_left_as_it_is(tmp_path: Path, sql: str, words: str) -> None:
    path = tmp_path / "x.db"
    with SqliteLog(path) as log:
        log.add(EVENTS, START)
    with closing(sqlite3.connect(path)) as other:
        other.execute(sql)
        other.commit()
    with pytest.raises(ValueError, match=words) as raised:
        SqliteLog(path)
    one_sentence(raised.value, str(path))
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM live").fetchone() == (50,)


def test_what_an_administrator_does_to_a_database_does_not_hurt(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with SqliteLog(path) as log:
        log.add(EVENTS, START)
        before = log.timeline("P")
    with closing(sqlite3.connect(path)) as other:
        for sql in ("PRAGMA journal_mode=DELETE", "ANALYZE", "VACUUM", "REINDEX"):
            other.execute(sql)
    with SqliteLog(path) as log:
        assert log.timeline("P") == before
        assert log._database._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_how_safely_it_is_written(tmp_path: Path) -> None:
    with SqliteLog(tmp_path / "x.db") as log:
        asked = {
            name: log._database._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        }
        assert asked == {"journal_mode": "wal", "synchronous": 2}  # 2 is FULL


def test_a_damaged_page_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with SqliteLog(path) as log:
        log.add([result(str(i), i, float(i)) for i in range(3000)], START)
    data = bytearray(path.read_bytes())
    for page in range(12, len(data) // 4096):
        data[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    path.write_bytes(data)
    with SqliteLog(path) as log, pytest.raises(ValueError, match="this is no database, or a damaged one") as raised:
        log.timeline("P")
    one_sentence(raised.value)


# ---- who holds it ------------------------------------------------------------------------------------------------------


def test_one_process_holds_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one is told so, whether it is in this process or another; and asking does not let the first one's lock go."""
    monkeypatch.setattr("twin.log.database._WAIT", 0.1)
    path = tmp_path / "x.db"
    with SqliteLog(path) as log:
        log.add(EVENTS[:5], START)
        for _ in range(2):
            with pytest.raises(
                OSError, match="it is in use by another process, or by another log of this one"
            ) as raised:
                SqliteLog(path)
            one_sentence(raised.value, str(path))
        (answer,) = told_by(opened, str(path))
        assert answer.startswith(f"{path}: it is in use")
        log.add(EVENTS[5:], START)
        assert len(log.timeline("P")) == 50
    assert told_by(opened, str(path)) == [50]


def test_a_second_process_waits_for_one_that_is_just_ending(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    log = SqliteLog(path)
    log.add(EVENTS, START)
    timer = threading.Timer(0.3, log.close)
    timer.start()
    with SqliteLog(path) as second:
        assert len(second.timeline("P")) == 50
    timer.join()


def test_a_log_that_is_closed(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "x.db")
    log.close()
    log.close()
    calls = (
        lambda: log.add(EVENTS, START),
        lambda: log.timeline("P"),
        lambda: log.base("P"),
        lambda: log.open_for("a", {}),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"the log is closed .*; open it again"):
            call()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can be copied here")
def test_a_copy_of_the_process_leaves_the_log_alone(tmp_path: Path) -> None:
    """It is refused, and its end does not close what the other one writes to (which would delete the write-ahead log)."""
    path = tmp_path / "x.db"
    refused, after = told_by(copied, str(path))
    assert "this process is a copy of the one that opened it; open a log of its own in each" in refused
    assert after == "new"
    with SqliteLog(path) as log:
        assert [t.event.id for t in log.timeline("P")] == ["1", "3"]


# ---- what the disk does not allow --------------------------------------------------------------------------------------


def test_a_full_disk_takes_nothing_and_loses_nothing(tmp_path: Path) -> None:
    """SQLite's own limit of pages ends as a full disk does; with room, the same events are taken."""
    path = tmp_path / "x.db"
    with SqliteLog(path) as log:
        log.add(EVENTS, START)
        before = log.timeline("P"), log.arrivals(), log.patients()
        connection = log._database._db
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages + 2}")
        more = [result(f"more {i}", 100 + i, 1.0, patient="Q") for i in range(500)]
        with pytest.raises(
            OSError, match="the disk is full, and nothing of this was written; make room, and send it again"
        ) as raised:
            log.add(more, START)
        one_sentence(raised.value, str(path))
        assert (log.timeline("P"), log.arrivals(), log.patients()) == before
        connection.execute("PRAGMA max_page_count=1000000")
        assert {r.verdict for r in log.add(more, START)} == {"new"}
        before = log.timeline("P"), log.arrivals(), log.patients()
    with SqliteLog(path) as log:
        assert (log.timeline("P"), log.arrivals(), log.patients()) == before


def test_a_limit_of_the_system_loses_nothing(tmp_path: Path) -> None:
    """The system refuses to let the file grow: the writes themselves fail, in another process, whose limit it is."""
    path = tmp_path / "x.db"
    said, (taken, there), after = told_by(limited, str(path))
    assert said.startswith(f"{path}: the disk ")
    assert "; " in said
    assert 0 < taken < 1_999
    assert (there, after) == (taken, "new")
    with SqliteLog(path) as log:
        assert [t.event.id for t in log.timeline("P")] == [str(i) for i in range(taken + 1)]


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A folder of this process, which lays down the rights of an administrator meanwhile, who may write to any file."""
    administrator = os.geteuid() == 0
    try:
        if administrator:
            os.seteuid(65534)
        folder = Path(tempfile.mkdtemp())
        yield folder
    finally:
        if administrator:
            os.seteuid(0)
    folder.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions are told in another way here")
def test_what_may_not_be_written() -> None:
    with as_nobody() as folder:
        path = folder / "x.db"
        with SqliteLog(path) as log:
            log.add(EVENTS, START)
        before = path.read_bytes()
        for mode in (0o444, 0o000):
            path.chmod(mode)
            with pytest.raises(
                OSError, match="it cannot be written; change its permissions, or write to another file"
            ) as raised:
                SqliteLog(path)
            one_sentence(raised.value, str(path))
        path.chmod(0o644)
        folder.chmod(0o555)
        with pytest.raises(OSError, match=r"; (name a file in a folder of yours|change its permissions)"):
            SqliteLog(path)
        with pytest.raises(OSError, match="; name a file in a folder of yours"):
            SqliteLog(folder / "new.db")
        folder.chmod(0o777)
        assert path.read_bytes() == before
        with SqliteLog(path) as log:
            assert len(log.timeline("P")) == 50
