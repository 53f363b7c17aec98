"""A second process beside this one: calls that are asked of it, waited for, and one sentence where it dies."""

import contextlib
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class SecondProcess:
    """A process that answers the calls asked of it, in their order; at the end of the `with` it is ended, whatever it does.

    `load`: the module that it imports at once, since that takes seconds. Ctrl-C is for the first process alone, which decides
    what is kept; where the first one ends, for whatever reason, so does the second.
    """

    def __init__(self, load: str) -> None:
        context = get_context("spawn")  # a fork would inherit torch's threads, or half of them
        self._here, there = context.Pipe()
        self._process = context.Process(target=_answer_calls, args=(there, load), daemon=True)
        with _ignoring_interrupts():  # which a process inherits
            self._process.start()
        there.close()  # so that what comes from it ends when it ends
        self._answers: list[tuple[bool, Any]] = []
        self._asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._process.kill()
        self._process.join()
        self._here.close()

    def ask(self, function: Callable[..., T], *arguments: Any) -> "Answer[T]":
        """Call a function of a module there, and go on here. It and its arguments are pickled.

        Errors: `ChildProcessError` where the process has died.
        """
        try:
            self._here.send((function, arguments))
        except OSError as error:
            raise self._died() from error
        self._asked += 1
        return Answer(self, self._asked - 1)

    def answered(self, index: int, *, wait: bool) -> bool:
        """Has the call of this number been answered? With `wait`, go on only when it has."""
        try:
            # whoever is interrupted is so while waiting, not amid an answer
            while len(self._answers) <= index and self._here.poll(None if wait else 0.0):
                self._answers.append(self._here.recv())
        except (EOFError, OSError) as error:
            if not wait:
                return False  # whoever waits for it is told
            raise self._died() from error
        return len(self._answers) > index

    def answer(self, index: int) -> Any:
        """What the call of this number returned, waited for; what it raised is raised."""
        self.answered(index, wait=True)
        good, found = self._answers[index]
        if not good:
            raise found
        return found

    def _died(self) -> ChildProcessError:
        self._process.join(1.0)
        code = self._process.exitcode
        why = f"was ended by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with exit code {code}"
        return ChildProcessError(
            f"the second process {why} before it had answered, and its part of the work is lost; run it again, with fewer "
            "members where memory is short"
        )


class Answer(Generic[T]):
    """What a call in a second process will have returned."""

    def __init__(self, process: SecondProcess, index: int) -> None:
        self._process, self._index = process, index

    def ready(self) -> bool:
        """Is it there?"""
        return self._process.answered(self._index, wait=False)

    def get(self) -> T:
        """Wait for it. Errors: what the call raised; `ChildProcessError` where the process died."""
        found: T = self._process.answer(self._index)
        return found


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what a signal does
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _answer_calls(there: Connection, load: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import_module(load)
    calls: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()

    def read() -> None:  # beside the work, so that nobody who asks waits for it to end
        try:
            while True:
                calls.put(there.recv())
        except EOFError:
            os._exit(0)

    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def write() -> None:  # a pipe holds little, and the next call does not wait until somebody reads the answer to the last
        while True:
            with contextlib.suppress(OSError):  # nobody is there any more, which `read` is told
                there.send_bytes(answers.get())

    for beside in (read, write):
        threading.Thread(target=beside, daemon=True).start()
    while True:
        function, arguments = calls.get()
        try:
            answers.put(ForkingPickler.dumps((True, function(*arguments))))
        except Exception as error:
            error.add_note(traceback.format_exc())  # a traceback is not pickled
            answers.put(ForkingPickler.dumps((False, error)))
