"""How many of torch's threads a call takes: one for small products, all that the caller has for large ones.

A product that is done in some microseconds is no faster on two threads, which spend their time waiting for each other; and on a
machine that does something else too, the one that waits is the one whose turn it is not, so that a fit takes twenty times as
long. A process has one number of threads, so whoever changes it puts it back: at the end of a call, after an error, and at
every yield of a generator, whose caller's code then runs.
"""

import inspect
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

LARGE = 1 << 17  # numbers in the widest layer of all members and people: a product over them takes about a millisecond

Size = Callable[[Mapping[str, Any]], int]  # how many numbers the largest tensor of a call has, from its arguments by name


@contextmanager
def few_threads(elements: int) -> Iterator[None]:
    """One thread inside, where the largest tensor has fewer than `LARGE` elements; else as many as the caller has.

    The caller's number is there again afterwards, and is never raised. In any thread but the main one nothing is changed:
    the number is the process's, and two threads that put it back would put back each other's. May be nested.
    Law: no value depends on it, but for the rounding of a sum in another order.
    """
    before = torch.get_num_threads()
    small = elements < LARGE and before > 1
    if not small or threading.current_thread() is not threading.main_thread():
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    """The size of simulating `conditions`, once for each of the `draws` where there are any."""
    draws = given["draws"].shape[1] if "draws" in given else 1
    return _widest(given["model"]) * int(given["conditions"].size) * int(draws)


def of_schedules(given: Mapping[str, Any]) -> int:
    """The size of simulating one record for each of `schedules`."""
    return _widest(given["model"]) * len(given["schedules"])


def of_blocks(given: Mapping[str, Any]) -> int:
    """Scores go through their numbers block by block, none of which is large."""
    return 0


def _widest(model: Any) -> int:
    """Numbers a person in the widest layer of all members."""
    layers = [max(p.shape[1:]) for p in model.residual.parameters() if p.ndim > 1]
    return int(model.members) * max([len(model.backbone.states), *layers])
