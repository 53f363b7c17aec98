"""How many of torch's threads a call takes: one for small products, for large ones those of the caller's that are free.

A product that is done in some microseconds is no faster on two threads, which spend their time waiting for each other; and on a
machine that does something else too, the one that waits is the one whose turn it is not, so that a fit takes ten times as
long, whatever the size. A process has one number of threads, so whoever changes it puts it back: at the end of a call, after an
error, and at every yield of a generator, whose caller's code then runs.
"""

import inspect
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

LARGE = 1 << 17  # numbers in the widest layer of all members and people: a product over them takes about a millisecond

Size = Callable[[Mapping[str, Any]], int]  # how many numbers the largest tensor of a call has, from its arguments by name


@contextmanager
def few_threads(elements: int) -> Iterator[None]:
    """One thread inside, where the largest tensor has fewer than `LARGE` elements; else as many as the caller has and
    nobody else on the machine is using (`free_processors`); a fit asks anew at each of its steps.

    The caller's number is there again afterwards, and is never raised. In any thread but the main one nothing is changed:
    the number is the process's, and two threads that put it back would put back each other's. May be nested.
    Law: no value depends on it, but for the rounding of a sum in another order.
    """
    before = torch.get_num_threads()
    if before == 1 or threading.current_thread() is not threading.main_thread():
        yield
        return
    torch.set_num_threads(1 if elements < LARGE else min(before, free_processors()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


# The same two functions stand in stability/threads.py, since neither package knows the other; a test holds them together.
def free_processors() -> int:
    """Processors that this process may use, less those on which others compute at this moment; at least one.

    Others are the threads that the machine runs, less our own of that state: the least of three looks a millisecond apart, so
    that what runs for a moment does not count. They are taken to be spread evenly over all processors. Where the system does
    not tell (no /proc), the load of the last minute stands for them, ours included.
    """
    whole = os.cpu_count() or 1
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else whole
    try:
        others = min(_others_now() for _ in range(3))
    except (OSError, ValueError, IndexError):
        others = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1, math.floor(mine - others * mine / whole + 0.5))


def _others_now() -> float:
    """Threads of other processes that run or could: proc(5), the fourth field of loadavg and the third of a task's stat."""
    time.sleep(0.001)
    running = int(Path("/proc/loadavg").read_text().split()[3].split("/")[0])
    ours = [task.read_text().rpartition(")")[2].split()[0] for task in Path("/proc/self/task").glob("*/stat")]
    return max(0.0, float(running - ours.count("R")))


def threads_by(size: Size) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function, or a generator between its yields, run under `few_threads` of the size of its arguments."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        def elements(*arguments: P.args, **named: P.kwargs) -> int:
            try:
                return size(signature.bind(*arguments, **named).arguments)
            except (AttributeError, KeyError, TypeError, IndexError):
                return 0  # what cannot be measured is for the function itself to refuse, in its own words

        if inspect.isgeneratorfunction(function):

            @wraps(function)
            def stepwise(*arguments: P.args, **named: P.kwargs) -> Any:
                steps = cast(Generator[Any, None, None], function(*arguments, **named))
                return (yield from _between(steps, elements(*arguments, **named)))

            return cast(Callable[P, R], stepwise)

        @wraps(function)
        def whole(*arguments: P.args, **named: P.kwargs) -> R:
            if torch.get_num_threads() == 1:  # no fewer, and nothing to be asked
                return function(*arguments, **named)
            with few_threads(elements(*arguments, **named)):
                return function(*arguments, **named)

        return whole

    return decorate


def _between(steps: Generator[T, None, None], elements: int) -> Generator[T, None, None]:
    """The same generator, the threads limited while it runs and not while its caller does."""
    resume: Callable[[], T] = partial(next, steps)
    while True:
        with few_threads(elements):
            try:
                value = resume()
            except StopIteration:
                return
        try:
            yield value
        except GeneratorExit:
            with few_threads(elements):
                steps.close()
            raise
        except BaseException as error:
            resume = partial(steps.throw, error)
        else:
            resume = partial(next, steps)


def of_cohort(given: Mapping[str, Any]) -> int:
    """The size of simulating `cohort` under `model`."""
    return _widest(given["model"]) * int(given["cohort"].conditions.size)


def of_slopes(given: Mapping[str, Any]) -> int:
    """The size of simulating everyone once for every direction in which they are moved."""
    people = given["cohort"].conditions if "cohort" in given else given["conditions"]
    return _widest(given["model"]) * int(people.size) * (2 * int(given["model"].personal) + 1)


def of_conditions(given: Mapping[str, Any]) -> int:
    """The size of simulating `conditions`, or those of a `cohort`, once for each of the `draws` where there are any."""
    draws = given["draws"].shape[1] if "draws" in given else 1
    people = given["conditions"] if "conditions" in given else given["cohort"]
    return _widest(given["model"]) * int(getattr(people, "conditions", people).size) * int(draws)


def of_schedules(given: Mapping[str, Any]) -> int:
    """The size of simulating one record for each of `schedules`."""
    return _widest(given["model"]) * len(given["schedules"])


def of_followed(given: Mapping[str, Any]) -> int:
    """The size of carrying the points of everyone whom the filter `self` follows."""
    people = given["self"].people
    return _widest(people.model) * int(people.size) * 2 * (int(people.states) + int(people.model.personal))


def of_blocks(given: Mapping[str, Any]) -> int:
    """Scores go through their numbers block by block, none of which is large."""
    return 0


def _widest(model: Any) -> int:
    """Numbers a person in the widest layer of all members."""
    layers = [max(p.shape[1:]) for p in model.residual.parameters() if p.ndim > 1]
    return int(model.members) * max([len(model.backbone.states), *layers])
