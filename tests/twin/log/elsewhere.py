"""Other processes that use a log: what they run, and how a test has it run."""

import gc
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from tests.twin.log.drawn import START, result
from twin.log import Event, SqliteLog


def context() -> ForkServerContext:
    """Processes are copies of one that has loaded the log, and nothing of the test's: a start takes milliseconds."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.twin.log.elsewhere"])
    return found


def begin(run: Callable[..., None], *arguments: Any) -> tuple[ForkServerProcess, Connection]:
    """A process that runs this with the end of a pipe and the arguments; the other end of the pipe."""
    here, there = context().Pipe(duplex=False)
    process = context().Process(target=run, args=(there, *arguments), daemon=True)
    process.start()
    there.close()
    return process, here


def told_by(run: Callable[..., None], *arguments: Any) -> list[Any]:
    """All that a process says through its pipe until it ends."""
    process, pipe = begin(run, *arguments)
    said = list(rest_of(pipe))
    process.join(60)
    assert process.exitcode is not None
    return said


def rest_of(pipe: Connection) -> list[Any]:
    """What is in the pipe and still comes, until nobody writes to it."""
    said = []
    with suppress(EOFError), pipe:
        while True:
            said.append(pipe.recv())
    return said


# ---- what they run -----------------------------------------------------------------------------------------------------


def opened(pipe: Connection, path: str) -> None:
    """How long patient P's timeline is, or why that cannot be said."""
    try:
        with SqliteLog(path) as log:
            pipe.send(len(log.timeline("P")))
    except OSError as error:
        pipe.send(str(error))


def copied(pipe: Connection, path: str) -> None:
    """Write, have a copy of this process try to and end as processes do, write once more, and be killed."""
    log = SqliteLog(path)
    log.add([result("1", 5, 1.0)], START)
    copy = os.fork()
    if copy == 0:
        try:
            log.add([result("2", 5, 1.0)], START)
        except ValueError as error:
            pipe.send(str(error))
        log.close()
        del log
        gc.collect()  # nobody has the log any more, and Python would close its connection
        os._exit(0)
    os.waitpid(copy, 0)
    pipe.send(log.add([result("3", 5, 1.0)], START)[0].verdict)
    os.kill(os.getpid(), signal.SIGKILL)


def limited(pipe: Connection, path: str) -> None:
    """Write until the system lets no file of this process grow; then without that limit once more."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    log, taken = SqliteLog(path), 0
    try:
        for taken in range(2_000):
            log.add([result(str(taken), taken, 1.0)], START)
    except OSError as error:
        pipe.send(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    pipe.send((taken, len(log.timeline("P"))))
    pipe.send(log.add([result(str(taken), taken, 1.0)], START)[0].verdict)
    log.close()


def follow(pipe: Connection, path: str, events: list[Event], batch: int) -> None:
    """Take the events and acknowledge each, by its position and the verdict, once it is on the disk."""
    log = SqliteLog(path)
    for first in range(0, len(events), batch):
        receipts = log.add(events[first : first + batch], START + first)
        pipe.send([(first + i, receipt.verdict) for i, receipt in enumerate(receipts)])
    log.close()
