"""A second process: it answers, is told, and one sentence says that it died."""

import os
import signal
import time
from collections.abc import Iterator
from operator import mul, truediv
from pathlib import Path

import pytest

from homeostat.second_process import SecondProcess


@pytest.fixture(scope="module")
def second() -> Iterator[SecondProcess]:
    with SecondProcess("operator") as process:
        yield process


def test_calls_are_answered_in_any_order_of_asking_for_them_and_errors_are_raised_here(second: SecondProcess) -> None:
    first, wrong, last = second.ask(mul, 6, 7), second.ask(truediv, 1, 0), second.ask(mul, 2, 3)
    assert last.get() == 6
    assert first.ready()
    assert first.get() == 42
    with pytest.raises(ZeroDivisionError):
        wrong.get()


def test_a_large_answer_that_nobody_reads_keeps_no_call_waiting(second: SecondProcess, tmp_path: Path) -> None:
    large, there = second.ask(mul, b"x", 10_000_000), tmp_path / "there"
    made = second.ask(os.mkdir, there)
    until = time.monotonic() + 30.0
    while not there.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert there.exists()  # before any answer was read, which a pipe cannot hold
    assert len(large.get()) == 10_000_000
    assert made.get() is None


def test_what_cannot_be_sent_back_is_an_error_here(second: SecondProcess) -> None:
    with pytest.raises((TypeError, AttributeError), match="pickle"):
        second.ask(open, os.devnull).get()
    assert second.ask(mul, 3, 3).get() == 9


def test_ctrl_c_is_for_the_first_process_alone(second: SecondProcess) -> None:
    os.kill(second.ask(os.getpid).get(), signal.SIGINT)
    assert second.ask(mul, 2, 2).get() == 4


def test_one_that_dies_is_one_sentence() -> None:
    with SecondProcess("operator") as second:
        number = second.ask(os.getpid).get()
        os.kill(number, signal.SIGKILL)
        with pytest.raises(ChildProcessError, match="the second process was ended by SIGKILL before it had answered"):
            second.ask(mul, 1, 1).get()
