"""A second process: it answers, is told, and one sentence says that it died."""

import os
import signal
from collections.abc import Iterator
from operator import mul, truediv

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


def test_ctrl_c_is_for_the_first_process_alone(second: SecondProcess) -> None:
    os.kill(second.ask(os.getpid).get(), signal.SIGINT)
    assert second.ask(mul, 2, 2).get() == 4


def test_one_that_dies_is_one_sentence() -> None:
    with SecondProcess("operator") as second:
        number = second.ask(os.getpid).get()
        os.kill(number, signal.SIGKILL)
        with pytest.raises(ChildProcessError, match="the second process was ended by SIGKILL before it had answered"):
            second.ask(mul, 1, 1).get()
